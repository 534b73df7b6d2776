//! `logferry topics create`: makes a topic.
//!
//! ```json
//! {"created": "web", "partitions": 3, "replication": 2}
//! ```
//!
//! `replication` is `null` when it was left to the brokers.

use serde_json::json;

use super::{CreateArgs, Refusal};
use crate::cli::kafka::{count, number};
use crate::kafka::admin::topics::Topics;
use crate::kafka::native::TopicOrder;

pub(super) fn create(args: &CreateArgs) -> Result<String, Refusal> {
    let topics = Topics::connect(&args.connect.cluster()?)?;
    topics
        .create(&TopicOrder {
            name: &args.name,
            partitions: args.partitions,
            replication: args.replication.map(i32::from),
            config: &args.settings,
        })
        .map_err(|error| {
            let refusal = Refusal::from(error);
            Refusal {
                text: format!("topic {} was not made: {}", args.name, refusal.text),
                ..refusal
            }
        })?;
    if args.json {
        let done = json!({
            "created": args.name,
            "partitions": args.partitions,
            "replication": args.replication,
        });
        return Ok(format!("{done:#}\n"));
    }
    let partitions = usize::try_from(args.partitions).unwrap_or(0);
    let replication = match args.replication {
        Some(_) => format!("replication {}", number(args.replication)),
        None => "the brokers' replication".to_owned(),
    };
    Ok(format!(
        "created {}: {}, {replication}\n",
        args.name,
        count(partitions, "partition"),
    ))
}
