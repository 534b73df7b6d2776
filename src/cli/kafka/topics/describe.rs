//! `logferry topics describe`: one topic.
//!
//! ```json
//! {"topic": "web", "records": 10, "size": 4096, "config": [{"name": "retention.ms", "value": "86400000", "source": "topic"}],
//!  "partitions": [{"partition": 0, "leader": 1, "replicas": [1, 2], "isr": [1, 2], "beginning": 5, "end": 15, "size": 4096}]}
//! ```
//!
//! `config`: what has not Kafka's default, and whether it was set for the `topic` or by the `broker`'s own configuration; the `value` of what
//! is secret is `null`. `records`: offsets between beginnings and ends; fewer are there when transactions ended in between or the topic is
//! compacted. `size`: bytes on the leaders' disks. What is not known is `null`: `leader`, and then also `beginning`, `end` and `records`; `size` also
//! where the cluster wants TLS or a login.
//!
//! Invariant: keys are only ever added.

use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::{DescribeArgs, Refusal, missing};
use crate::cli::kafka::number;
use crate::cli::table::{Align, Table};
use crate::kafka::admin::topics::{TopicView, Topics};
use crate::kafka::native::{ConfigSource, ConfigValue};

pub(super) fn describe(args: &DescribeArgs) -> Result<String, Refusal> {
    let topics = Topics::connect(&args.connect.cluster()?)?;
    let mut topic = topics
        .find(&args.name)?
        .ok_or_else(|| missing(&args.name))?;
    topics.weigh(&mut topic);
    let settings = topics.settings(&args.name)?;
    Ok(if args.json {
        format!("{:#}\n", document(&topic, &settings))
    } else {
        text(&topic, &settings)
    })
}

fn source(setting: &ConfigValue) -> &'static str {
    match setting.source {
        ConfigSource::Topic => "topic",
        ConfigSource::Broker => "broker",
        ConfigSource::Default => "default",
        ConfigSource::Unknown => "unknown",
    }
}

fn document(topic: &TopicView, settings: &[ConfigValue]) -> Value {
    let partitions: Vec<Value> = topic
        .partitions
        .iter()
        .map(|one| {
            json!({
                "partition": one.id,
                "leader": one.leader,
                "replicas": one.replicas,
                "isr": one.in_sync,
                "beginning": one.beginning,
                "end": one.end,
                "size": one.size,
            })
        })
        .collect();
    let config: Vec<Value> = settings
        .iter()
        .map(|one| json!({"name": one.name, "value": one.value, "source": source(one)}))
        .collect();
    json!({
        "topic": topic.name,
        "records": topic.records(),
        "size": topic.size(),
        "partitions": partitions,
        "config": config,
    })
}

fn text(topic: &TopicView, settings: &[ConfigValue]) -> String {
    let ids = |ids: &[i32]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        ids.join(",")
    };
    let mut table = Table::new([
        ("PARTITION", Align::Right),
        ("LEADER", Align::Right),
        ("REPLICAS", Align::Left),
        ("ISR", Align::Left),
        ("BEGINNING", Align::Right),
        ("END", Align::Right),
        ("RECORDS", Align::Right),
        ("SIZE", Align::Right),
    ]);
    for one in &topic.partitions {
        let records = one.end.zip(one.beginning).map(|(end, first)| end - first);
        table.push([
            one.id.to_string(),
            number(one.leader),
            ids(&one.replicas),
            ids(&one.in_sync),
            number(one.beginning),
            number(one.end),
            number(records),
            number(one.size.map(HumanBytes)),
        ]);
    }
    let mut text = format!(
        "{}: {} records, {} on disk\n\n{}",
        topic.name,
        number(topic.records()),
        number(topic.size().map(HumanBytes)),
        table.show()
    );
    if !settings.is_empty() {
        let mut table = Table::new([
            ("CONFIG", Align::Left),
            ("VALUE", Align::Left),
            ("SET BY", Align::Left),
        ]);
        for one in settings {
            table.push([
                one.name.clone(),
                one.value.clone().unwrap_or_else(|| "(secret)".to_owned()),
                source(one).to_owned(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.show());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::admin::topics::PartitionView;

    fn topic() -> TopicView {
        let partition = |id, leader, bounds: Option<(i64, i64)>| PartitionView {
            id,
            leader,
            replicas: vec![1, 2],
            in_sync: vec![1],
            beginning: bounds.map(|(first, _)| first),
            end: bounds.map(|(_, end)| end),
            size: bounds.map(|_| 4096),
        };
        TopicView {
            name: "web".into(),
            partitions: vec![
                partition(0, Some(1), Some((5, 15))),
                partition(1, None, None),
            ],
            error: None,
        }
    }

    #[test]
    fn a_partition_without_leader_has_dashes_and_secrets_are_not_shown() {
        let setting = ConfigValue {
            name: "retention.ms".into(),
            value: None,
            source: ConfigSource::Topic,
        };
        let expected = "\
web: - records, - on disk

PARTITION  LEADER  REPLICAS  ISR  BEGINNING  END  RECORDS      SIZE
        0       1  1,2       1            5   15       10  4.00 KiB
        1       -  1,2       1            -    -        -         -

CONFIG        VALUE     SET BY
retention.ms  (secret)  topic
";
        assert_eq!(text(&topic(), &[setting]), expected);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let shown = document(&topic(), &[]);
        assert_eq!(shown["records"], Value::Null);
        assert_eq!(shown["partitions"][1]["leader"], Value::Null);
        assert_eq!(shown["partitions"][0]["end"], 15);
        assert_eq!(shown["size"], Value::Null);
        assert_eq!(shown["partitions"][0]["size"], 4096);
    }
}
