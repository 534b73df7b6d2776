//! `logferry groups describe`: one group.
//!
//! ```json
//! {"group": "archive", "state": "Stable", "protocol": "classic", "protocol_type": "consumer", "assignor": "range",
//!  "coordinator": {"id": 1, "address": "kafka-1:9092"}, "total_lag": 5,
//!  "members": [{"member": "web-1-a0b1", "client_id": "web-1", "host": "10.0.0.7", "partitions": [{"topic": "web", "partition": 0}]}],
//!  "partitions": [{"topic": "web", "partition": 0, "committed": 10, "end": 15, "lag": 5, "member": "web-1-a0b1"}]}
//! ```
//!
//! `partitions` are those for which the group has committed an offset, and those that a member has. `lag` is `end - committed`; `total_lag`
//! is the sum of those that are known. What is not known, or is not there, is `null`. With `--times` each partition has `time`: when the
//! last record before `committed` was written, RFC 3339 in UTC; `null` when it is not there any more.
//!
//! Invariant: keys are only ever added.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{DescribeArgs, Refusal, coordinator, time};
use crate::cli::kafka::number;
use crate::cli::table::{Align, Table, plain};
use crate::kafka::admin::groups::{Group, GroupView, MemberView, Place, Standing};

/// Everything about a group.
struct Picture {
    group: GroupView,
    standings: Vec<Standing>,
    /// Absent: they were not asked for.
    times: Option<BTreeMap<Place, i64>>,
}

pub(super) fn describe(args: &DescribeArgs) -> Result<String, Refusal> {
    let mut client = Group::connect(&args.connect.cluster()?, &args.group)?;
    let Some(group) = client.view()? else {
        return Err(Refusal::failed(format!(
            "there is no group {}; `logferry groups list` shows those that there are",
            args.group
        )));
    };
    let mut places: BTreeSet<Place> = client.committed_places()?.into_iter().collect();
    let assigned = group.members().iter().flat_map(|one| &one.partitions);
    places.extend(assigned.flatten().cloned());
    let places: Vec<Place> = places.into_iter().collect();
    let standings = client.standings(&places)?;
    let times = match args.times {
        true => Some(client.times(&standings)?),
        false => None,
    };
    let picture = Picture {
        group,
        standings,
        times,
    };
    Ok(if args.json {
        format!("{:#}\n", picture.document())
    } else {
        picture.text()
    })
}

impl Picture {
    fn member(&self, one: &Standing) -> Option<&MemberView> {
        self.group.members().iter().find(|member| {
            member.partitions.as_ref().is_some_and(|partitions| {
                let mut places = partitions.iter();
                places.any(|(topic, partition)| *topic == one.topic && *partition == one.partition)
            })
        })
    }

    fn total_lag(&self) -> u64 {
        let lags = self.standings.iter().filter_map(Standing::lag);
        lags.fold(0, u64::saturating_add)
    }

    fn time(&self, one: &Standing) -> Option<Option<String>> {
        let times = self.times.as_ref()?;
        let found = times.get(&(one.topic.clone(), one.partition));
        Some(found.and_then(|ms| time(*ms)))
    }

    fn document(&self) -> Value {
        let group = &self.group;
        let members: Vec<Value> = group
            .members()
            .iter()
            .map(|member| {
                let partitions = member.partitions.as_ref().map(|all| {
                    all.iter()
                        .map(|(topic, partition)| json!({"topic": topic, "partition": partition}))
                        .collect::<Vec<_>>()
                });
                json!({
                    "member": member.id,
                    "client_id": member.client_id,
                    "host": member.host,
                    "partitions": partitions,
                })
            })
            .collect();
        let partitions: Vec<Value> = self
            .standings
            .iter()
            .map(|one| {
                let mut partition = json!({
                    "topic": one.topic,
                    "partition": one.partition,
                    "committed": one.committed,
                    "end": one.end,
                    "lag": one.lag(),
                    "member": self.member(one).map(|member| &member.id),
                });
                if let Some(time) = self.time(one) {
                    partition["time"] = json!(time);
                }
                partition
            })
            .collect();
        json!({
            "group": group.name,
            "state": group.state,
            "protocol": group.protocol,
            "protocol_type": group.protocol_type,
            "assignor": group.assignor,
            "coordinator": group
                .coordinator
                .as_ref()
                .map(|(id, address)| json!({"id": id, "address": address})),
            "members": members,
            "partitions": partitions,
            "total_lag": self.total_lag(),
        })
    }

    fn text(&self) -> String {
        let group = &self.group;
        let assignor = match group.assignor.as_str() {
            "" => String::new(),
            named => format!(", {}", plain(named)),
        };
        let mut text = format!(
            "{}: {}, {} protocol{assignor}, coordinator {}, lag {}\n",
            plain(&group.name),
            group.state,
            group.protocol,
            coordinator(group),
            self.total_lag(),
        );
        if !group.members().is_empty() {
            let mut table = Table::new([
                ("CLIENT ID", Align::Left),
                ("HOST", Align::Left),
                ("PARTITIONS", Align::Right),
                ("MEMBER", Align::Left),
            ]);
            for member in group.members() {
                table.push([
                    member.client_id.clone(),
                    member.host.clone(),
                    number(member.partitions.as_ref().map(Vec::len)),
                    member.id.clone(),
                ]);
            }
            text.push('\n');
            text.push_str(&table.show());
        }
        if self.standings.is_empty() {
            text.push_str("\nnothing was committed\n");
            return text;
        }
        text.push('\n');
        text.push_str(&if self.times.is_some() {
            let mut table = Table::new([
                ("TOPIC", Align::Left),
                ("PARTITION", Align::Right),
                ("COMMITTED", Align::Right),
                ("END", Align::Right),
                ("LAG", Align::Right),
                ("TIME", Align::Left),
                ("CLIENT ID", Align::Left),
            ]);
            for one in &self.standings {
                let [topic, partition, committed, end, lag, client] = self.cells(one);
                let time = number(self.time(one).flatten());
                table.push([topic, partition, committed, end, lag, time, client]);
            }
            table.show()
        } else {
            let mut table = Table::new([
                ("TOPIC", Align::Left),
                ("PARTITION", Align::Right),
                ("COMMITTED", Align::Right),
                ("END", Align::Right),
                ("LAG", Align::Right),
                ("CLIENT ID", Align::Left),
            ]);
            for one in &self.standings {
                table.push(self.cells(one));
            }
            table.show()
        });
        text
    }

    fn cells(&self, one: &Standing) -> [String; 6] {
        [
            one.topic.clone(),
            one.partition.to_string(),
            number(one.committed),
            number(one.end),
            number(one.lag()),
            number(self.member(one).map(|member| &member.client_id)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let standing = |partition, committed, end| Standing {
            topic: "web".into(),
            partition,
            committed,
            beginning: Some(0),
            end,
        };
        Picture {
            group: GroupView {
                name: "archive".into(),
                state: "Stable".into(),
                protocol: "classic",
                protocol_type: "consumer".into(),
                assignor: "range".into(),
                coordinator: Some((1, Some("kafka-1:9092".into()))),
                members: Some(vec![MemberView {
                    id: "web-1-a0".into(),
                    client_id: "web-1".into(),
                    host: "10.0.0.7".into(),
                    partitions: Some(vec![("web".into(), 0), ("web".into(), 2)]),
                }]),
            },
            standings: vec![
                standing(0, Some(10), Some(15)),
                standing(1, Some(3), None),
                standing(2, None, Some(7)),
            ],
            times: None,
        }
    }

    #[test]
    fn lag_is_what_lies_between_committed_and_end_and_unknown_is_a_dash() {
        let expected = "\
archive: Stable, classic protocol, range, coordinator kafka-1:9092 (1), lag 5

CLIENT ID  HOST      PARTITIONS  MEMBER
web-1      10.0.0.7           2  web-1-a0

TOPIC  PARTITION  COMMITTED  END  LAG  CLIENT ID
web            0         10   15    5  web-1
web            1          3    -    -  -
web            2          -    7    -  web-1
";
        assert_eq!(picture().text(), expected);
    }

    #[test]
    fn the_document_has_what_it_promises() {
        let mut picture = picture();
        picture.times = Some([(("web".to_owned(), 0), 1000)].into());
        let shown = picture.document();
        assert_eq!(shown["total_lag"], 5);
        assert_eq!(
            shown["partitions"][0],
            json!({"topic": "web", "partition": 0, "committed": 10, "end": 15, "lag": 5, "member": "web-1-a0",
                "time": "1970-01-01T00:00:01.000Z"})
        );
        assert_eq!(
            shown["partitions"][1],
            json!({"topic": "web", "partition": 1, "committed": 3, "end": null, "lag": null, "member": null, "time": null})
        );
        assert_eq!(shown["members"][0]["partitions"][1]["partition"], 2);
    }
}
