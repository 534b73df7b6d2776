//! `logferry topics delete`: deletes one topic.
//!
//! ```json
//! {"deleted": "web", "partitions": 3, "records": 1000}
//! ```
//!
//! Invariant: without `--yes` nothing is deleted, and only the topic that was named letter by letter is.

use serde_json::json;

use super::{DeleteArgs, Refusal, missing};
use crate::cli::kafka::count;
use crate::kafka::admin::topics::Topics;

pub(super) fn delete(args: &DeleteArgs) -> Result<String, Refusal> {
    let topics = Topics::connect(&args.connect.cluster()?)?;
    let topic = topics
        .find(&args.name)?
        .ok_or_else(|| missing(&args.name))?;
    let partitions = topic.partitions.len();
    let records = match topic.records() {
        Some(1) => "1 record".to_owned(),
        Some(records) => format!("{records} records"),
        None => "an unknown number of records".to_owned(),
    };
    let what = format!(
        "{} ({}, {records})",
        args.name,
        count(partitions, "partition")
    );
    if !args.yes {
        return Err(Refusal::usage(format!(
            "nothing was deleted; add --yes to delete {what}"
        )));
    }
    topics.delete(&args.name).map_err(|error| {
        let refusal = Refusal::from(error);
        Refusal {
            text: format!("topic {} was not deleted: {}", args.name, refusal.text),
            ..refusal
        }
    })?;
    if args.json {
        let done = json!({
            "deleted": args.name,
            "partitions": partitions,
            "records": topic.records(),
        });
        return Ok(format!("{done:#}\n"));
    }
    Ok(format!("deleted {what}\n"))
}
