//! `logferry groups`: what they lag behind, compared with Kafka's own tool, and putting their offsets elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::command::{Said, logferry};
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};

/// For what a group needs to come to rest on a loaded machine.
const LONG: Duration = Duration::from_secs(60);
/// Kafka's own tool.
const TOOL: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";

fn groups(kafka: &RealKafka, line: &str) -> Said {
    logferry(&format!("groups {line} -b {}", kafka.brokers()))
}

/// What Kafka's tool says: per partition of the topic committed, end, lag and client id.
fn told(kafka: &RealKafka, group: &str, topic: &str) -> Option<BTreeMap<i32, [String; 4]>> {
    let said = kafka.tool(TOOL, &["--describe", "--group", group])?;
    let rows = said.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID
        (words.len() == 9 && words[1] == topic).then(|| {
            let cells = [words[3], words[4], words[5], words[8]].map(str::to_owned);
            (words[2].parse().expect("a partition"), cells)
        })
    });
    Some(rows.collect())
}

/// The same of `groups describe`, from its document.
fn shown(document: &Value) -> BTreeMap<i32, [String; 4]> {
    let text = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        value => value.to_string(),
    };
    let client = |member: &Value| {
        let members = document["members"].as_array().unwrap();
        let found = members.iter().find(|one| one["member"] == *member);
        found
            .map_or("-", |one| one["client_id"].as_str().unwrap())
            .to_owned()
    };
    let partitions = document["partitions"].as_array().unwrap().iter();
    partitions
        .map(|one| {
            let [committed, end, lag] = ["committed", "end", "lag"].map(|key| text(&one[key]));
            let id = one["partition"].as_i64().unwrap() as i32;
            (id, [committed, end, lag, client(&one["member"])])
        })
        .collect()
}

/// Lets members share partitions out until each has some.
fn settle(members: &[&BaseConsumer], partitions: usize) {
    eventually(LONG, "the partitions are shared out", || {
        let mut counts = Vec::new();
        for member in members {
            drop(member.poll(Duration::from_millis(20)));
            counts.push(
                member
                    .assignment()
                    .map_err(|error| error.to_string())?
                    .count(),
            );
        }
        if counts.iter().sum::<usize>() == partitions && !counts.contains(&0) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    });
}

/// A producer that is in the middle of a transaction.
fn in_transaction(kafka: &RealKafka, id: &str) -> BaseProducer {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("transactional.id", id)
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    producer.begin_transaction().unwrap();
    producer
}

#[test]
fn lag_and_members_are_what_kafkas_own_tool_says() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    for protocol in ["classic", "consumer"] {
        let (topic, group) = (kafka.topic("lag", 4), unique("lag"));
        for (partition, count) in [(0, 10), (1, 20), (3, 5)] {
            kafka.produce_at(&topic, partition, &vec![1_000; count]);
        }
        kafka.commit(&group, &topic, &[(0, 3), (1, 20), (3, 1)]);
        let first = kafka.member(&group, &topic, "first", protocol);
        let second = kafka.member(&group, &topic, "second", protocol);
        settle(&[&first, &second], 4);

        let document = groups(kafka, &format!("describe {group} --json")).json();
        let Some(expected) = told(kafka, &group, &topic) else {
            return;
        };
        assert_eq!(shown(&document), expected, "{protocol}");
        assert_eq!(document["total_lag"], 7 + 4, "{protocol}");
        assert_eq!(document["group"], *group);
        assert_eq!(document["state"], "Stable");
        assert_eq!(document["protocol"], protocol);
        assert_eq!(document["protocol_type"], "consumer");
        assert!(document["coordinator"]["address"].is_string(), "{document}");
        let clients: Vec<&Value> = document["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| {
                assert_eq!(member["host"], "127.0.0.1");
                assert!(!member["partitions"].as_array().unwrap().is_empty());
                &member["client_id"]
            })
            .collect();
        assert_eq!(clients, ["first", "second"]);

        let said = groups(kafka, &format!("reset {group} --to earliest --execute"));
        assert_eq!(said.code, Some(1), "{protocol}: {}", said.err);
        assert!(said.err.contains("first at 127.0.0.1"), "{}", said.err);
        assert!(said.err.contains("second at 127.0.0.1"), "{}", said.err);
        let said = groups(kafka, &format!("reset {group} --to earliest"));
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(said.out.contains("first at 127.0.0.1"), "{}", said.out);
        let expected = [(0, 3), (1, 20), (3, 1)].into();
        assert_eq!(kafka.committed(&group, &topic), expected);

        let list = groups(kafka, "list --json").json();
        let listed = list["groups"].as_array().unwrap().iter();
        let listed = listed.clone().find(|one| one["group"] == *group).unwrap();
        assert_eq!(
            [
                &listed["state"],
                &listed["protocol"],
                &listed["protocol_type"]
            ],
            ["Stable", protocol, "consumer"]
        );
        assert_eq!(list["complete"], true);
    }
}

#[test]
fn reset_shows_what_it_would_do_and_does_just_that_with_execute() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("reset", 2), unique("reset"));
    let hour = 3_600_000;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    kafka.produce_at(
        &topic,
        0,
        &[now - 3 * hour, now - 2 * hour, now - hour / 2, now],
    );
    kafka.produce_at(&topic, 1, &[now - 3 * hour; 10]);
    let start = BTreeMap::from([(0, 1), (1, 4)]);
    let moved = |to: &str, expected: [i64; 2]| {
        kafka.commit(&group, &topic, &[(0, 1), (1, 4)]);
        let dry = groups(kafka, &format!("reset {group} --to {to} --json")).json();
        assert_eq!(
            kafka.committed(&group, &topic),
            start,
            "{to}: it was only shown"
        );
        let done = groups(kafka, &format!("reset {group} --to {to} --json --execute")).json();
        assert_eq!(
            (&dry["executed"], &done["executed"]),
            (&json!(false), &json!(true))
        );
        assert_eq!(dry["partitions"], done["partitions"], "{to}");
        let expected: BTreeMap<i32, i64> = (0..).zip(expected).collect();
        assert_eq!(kafka.committed(&group, &topic), expected, "{to}");
        for one in done["partitions"].as_array().unwrap() {
            let partition = one["partition"].as_i64().unwrap() as i32;
            let (from, to) = (start[&partition], expected[&partition]);
            assert_eq!(
                [&one["from"], &one["to"], &one["difference"]],
                [&json!(from), &json!(to), &json!(to - from)]
            );
        }
        done
    };
    moved("earliest", [0, 0]);
    moved("latest", [4, 10]);
    moved("3", [3, 3]);
    moved("-2", [2, 8]);
    moved("-100", [0, 0]);
    let done = moved("7", [4, 7]);
    assert!(done["partitions"][0]["note"].is_string(), "{done}");
    assert_eq!(done["partitions"][1]["note"], Value::Null);
    // Nothing in the second partition is that young.
    moved("-1h", [2, 10]);
    moved("-150m", [1, 10]);
    moved("1970-01-01T00:00:00Z", [0, 0]);
    moved("2100-01-01T00:00:00+01:00", [4, 10]);

    if let Some(rows) = told(kafka, &group, &topic) {
        assert_eq!(rows[&0][..3], ["4", "4", "0"]);
    }

    kafka.commit(&group, &topic, &[(0, 1), (1, 4)]);
    let said = groups(
        kafka,
        &format!("reset {group} -t {topic}:1 --to 2 --execute"),
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    let rows = said.rows();
    assert_eq!(rows[0], ["TOPIC", "PARTITION", "FROM", "TO", "DIFFERENCE"]);
    assert_eq!(rows[1], [&topic, "1", "4", "2", "-2"]);
    assert_eq!(rows[2], ["done"]);
    assert_eq!(kafka.committed(&group, &topic), [(0, 1), (1, 2)].into());
}

#[test]
fn a_group_that_is_not_there_yet_gets_offsets_for_the_topic_that_is_named() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("fresh", 2), unique("fresh"));
    kafka.produce_at(&topic, 0, &[1_000; 3]);
    let said = groups(kafka, &format!("describe {group}"));
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("there is no group"), "{}", said.err);
    for (flags, words) in [
        ("", "-t TOPIC"),
        ("-t no-such-topic", "no topic no-such-topic"),
        (&format!("-t {topic}:7"), "no partition 7"),
    ] {
        let said = groups(
            kafka,
            &format!("reset {group} --to latest {flags} --execute"),
        );
        assert_eq!(said.code, Some(2), "{flags}: {}", said.err);
        assert!(said.err.contains(words), "{flags}: {}", said.err);
    }
    let said = groups(
        kafka,
        &format!("reset {group} -t {topic} --to latest --execute"),
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(kafka.committed(&group, &topic), [(0, 3), (1, 0)].into());

    let said = groups(kafka, &format!("describe {group}"));
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.starts_with(&format!("{group}: Empty, ")),
        "{}",
        said.out
    );
    assert!(!said.out.contains('\x1b'), "{}", said.out);
    let rows = said.rows();
    assert_eq!(
        rows[2].join(" "),
        "TOPIC PARTITION COMMITTED END LAG CLIENT ID"
    );
    assert_eq!(rows[3], [&topic, "0", "3", "3", "0", "-"]);

    for wrong in ["", "--to tomorrow", "--to 2026-11-21", "-t : --to latest"] {
        let said = groups(kafka, &format!("reset {group} {wrong}"));
        assert_eq!(said.code, Some(2), "{wrong}");
    }
}

#[test]
fn records_of_an_open_transaction_count_as_lag() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("open", 1), unique("open"));
    kafka.produce_at(&topic, 0, &[1_000; 2]);
    kafka.commit(&group, &topic, &[(0, 1)]);
    let producer = in_transaction(kafka, &group);
    let record = BaseRecord::<[u8], [u8]>::to(&topic).payload(b"x");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(LONG).unwrap();

    let document = groups(kafka, &format!("describe {group} --json")).json();
    assert_eq!(document["partitions"][0]["end"], 3);
    assert_eq!(document["total_lag"], 2);
    let described = logferry(&format!(
        "topics describe {topic} -b {} --json",
        kafka.brokers()
    ));
    assert_eq!(described.json()["records"], 3);
    producer.abort_transaction(LONG).unwrap();
}

#[test]
fn the_time_of_what_was_committed_last_is_told() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("times", 2), unique("times"));
    kafka.produce_at(&topic, 0, &[1_000, 2_000, 3_000]);
    kafka.commit(&group, &topic, &[(0, 2), (1, 0)]);
    let document = groups(kafka, &format!("describe {group} --times --json")).json();
    assert_eq!(
        document["partitions"][0]["time"],
        "1970-01-01T00:00:02.000Z"
    );
    assert_eq!(document["partitions"][1]["time"], Value::Null);
    let said = groups(kafka, &format!("describe {group} --times"));
    assert!(
        said.out.contains("1970-01-01T00:00:02.000Z"),
        "{}",
        said.out
    );
    let document = groups(kafka, &format!("describe {group} --json")).json();
    assert_eq!(document["partitions"][0].get("time"), None);
}

#[test]
fn the_time_is_told_where_a_transaction_ended_before_the_committed_offset() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("marks", 1), unique("marks"));
    kafka.produce_at(&topic, 0, &[1_000]);
    let producer = in_transaction(kafka, &group);
    let record = BaseRecord::<[u8], [u8]>::to(&topic).payload(b"x");
    let record = record.timestamp(2_000);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.commit_transaction(LONG).unwrap();
    // Offset 2 is the mark of its end.
    kafka.commit(&group, &topic, &[(0, 3)]);
    let said = groups(kafka, &format!("describe {group} --times --json"));
    let document = said.json();
    assert_eq!(document["total_lag"], 0);
    let time = &document["partitions"][0]["time"];
    assert_eq!(time, "1970-01-01T00:00:02.000Z", "{document} {}", said.err);
}
