//! `logferry topics list`: all topics, and whether their replicas are well.
//!
//! ```json
//! {"topics": [{"topic": "web", "partitions": 3, "replication": 2, "under_replicated": 0, "without_leader": 0, "internal": false}]}
//! ```
//!
//! `replication`: the most replicas that a partition has; `under_replicated` and `without_leader`: how many partitions are.
//!
//! Invariant: keys are only ever added.

use serde_json::{Value, json};

use super::{ListArgs, Refusal};
use crate::cli::table::{Align, Table};
use crate::kafka::admin::topics::{Topics, is_internal};

pub(super) fn list(args: &ListArgs) -> Result<String, Refusal> {
    let topics = Topics::connect(&args.connect.cluster()?)?;
    let shown = topics
        .all()
        .iter()
        .filter(|topic| args.internal || !is_internal(&topic.name));
    if args.json {
        let topics: Vec<Value> = shown
            .map(|topic| {
                json!({
                    "topic": topic.name,
                    "partitions": topic.partitions.len(),
                    "replication": topic.replication(),
                    "under_replicated": topic.under_replicated(),
                    "without_leader": topic.without_leader(),
                    "internal": is_internal(&topic.name),
                })
            })
            .collect();
        return Ok(format!("{:#}\n", json!({ "topics": topics })));
    }
    let mut table = Table::new([
        ("TOPIC", Align::Left),
        ("PARTITIONS", Align::Right),
        ("REPLICATION", Align::Right),
        ("UNDER-REPLICATED", Align::Right),
        ("WITHOUT LEADER", Align::Right),
        ("", Align::Left),
    ]);
    for topic in shown {
        table.push([
            topic.name.clone(),
            topic.partitions.len().to_string(),
            topic.replication().to_string(),
            topic.under_replicated().to_string(),
            topic.without_leader().to_string(),
            topic.error.clone().unwrap_or_default(),
        ]);
    }
    Ok(table.show())
}
