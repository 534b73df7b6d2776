//! `logferry groups list`: all groups.
//!
//! ```json
//! {"groups": [{"group": "archive", "state": "Stable", "protocol": "classic", "protocol_type": "consumer", "members": 2, "coordinator": 1}],
//!  "complete": true}
//! ```
//!
//! `protocol`: `classic`, or `consumer` (KIP-848), whose `members` are not counted here: `null`. `complete` is false when some brokers did not
//! answer, so that groups are missing.
//!
//! Invariant: keys are only ever added.

use serde_json::{Value, json};

use super::{ListArgs, Refusal, coordinator};
use crate::cli::kafka::number;
use crate::cli::table::{Align, Table};
use crate::kafka::admin::groups::{self, GroupView};

pub(super) fn list(args: &ListArgs) -> Result<String, Refusal> {
    let (groups, complete) = groups::list(&args.connect.cluster()?)?;
    if args.json {
        let groups: Vec<Value> = groups
            .iter()
            .map(|group| {
                json!({
                    "group": group.name,
                    "state": group.state,
                    "protocol": group.protocol,
                    "protocol_type": group.protocol_type,
                    "members": members(group),
                    "coordinator": group.coordinator.0,
                })
            })
            .collect();
        let document = json!({"groups": groups, "complete": complete});
        return Ok(format!("{document:#}\n"));
    }
    let mut table = Table::new([
        ("GROUP", Align::Left),
        ("STATE", Align::Left),
        ("PROTOCOL", Align::Left),
        ("TYPE", Align::Left),
        ("MEMBERS", Align::Right),
        ("COORDINATOR", Align::Left),
    ]);
    for group in &groups {
        table.push([
            group.name.clone(),
            group.state.clone(),
            group.protocol.to_owned(),
            match group.protocol_type.as_str() {
                "" => "-".to_owned(),
                named => named.to_owned(),
            },
            number(members(group)),
            coordinator(group),
        ]);
    }
    let mut text = table.show();
    if !complete {
        text.push_str("some brokers did not answer: their groups are missing\n");
    }
    Ok(text)
}

/// How many members a group has, if the list tells.
fn members(group: &GroupView) -> Option<usize> {
    (group.protocol == "classic" || group.state == "Empty").then_some(group.members.len())
}
