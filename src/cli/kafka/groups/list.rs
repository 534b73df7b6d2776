//! `logferry groups list`: all groups.
//!
//! ```json
//! {"groups": [{"group": "archive", "state": "Stable", "protocol": "classic", "protocol_type": "consumer", "members": 2, "coordinator": 1}],
//!  "complete": true}
//! ```
//!
//! `protocol`: `classic`, or `consumer` (KIP-848), whose `members` are not counted here: `null`. `complete` is false when some brokers did not
//! answer, so that groups may be missing; `members` and `coordinator` may then be `null` too.
//!
//! Invariant: keys are only ever added.

use serde_json::{Value, json};

use super::{ListArgs, Refusal, coordinator};
use crate::cli::kafka::number;
use crate::cli::table::{Align, Table};
use crate::kafka::admin::groups;

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
                    "members": group.members.as_ref().map(Vec::len),
                    "coordinator": group.coordinator.as_ref().map(|(id, _)| id),
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
        let members = group.members.as_ref().map(Vec::len);
        table.push([
            group.name.clone(),
            group.state.clone(),
            group.protocol.to_owned(),
            match group.protocol_type.as_str() {
                "" => "-".to_owned(),
                named => named.to_owned(),
            },
            number(members),
            coordinator(group),
        ]);
    }
    let mut text = table.show();
    if !complete {
        text.push_str("some brokers did not answer: groups may be missing\n");
    }
    Ok(text)
}
