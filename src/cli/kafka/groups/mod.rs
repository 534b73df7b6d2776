//! `logferry groups`: consumer groups, what they lag behind, and putting their offsets elsewhere.
//!
//! | command | does |
//! |---|---|
//! | `list` | all groups |
//! | `describe` | one group: its members, and what it has committed and lags behind, per partition |
//! | `reset` | shows where its offsets would be put and, with `--execute`, puts them there |
//!
//! Invariant: without `--execute` nothing is changed, and never while the group has members.

mod describe;
mod list;
mod reset;
mod target;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connect::ConnectArgs;
use super::{Refusal, answer};
use crate::kafka::admin::groups::GroupView;
use target::Target;

/// `logferry groups`
#[derive(Debug, Subcommand)]
pub enum GroupsCommand {
    /// Show all groups
    List(ListArgs),
    /// Show a group's members, and what it lags behind
    Describe(DescribeArgs),
    /// Put a group's offsets elsewhere
    Reset(ResetArgs),
}

/// `logferry groups list`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry groups describe`
#[derive(Debug, Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Also when the last record before each committed offset was written
    #[arg(long)]
    times: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry groups reset`
#[derive(Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The group
    #[arg(value_name = "GROUP")]
    group: String,
    /// Only this topic, or partition of it; left out: all for which the group has an offset
    #[arg(short, long = "topic", value_name = "TOPIC[:PARTITION]", value_parser = scope)]
    topics: Vec<Scope>,
    /// Where to go on: earliest, latest, an offset, a time like 2026-11-21T07:00:00Z, -N (records before the end) or -1h (that long ago)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true, value_parser = target::parse)]
    to: Target,
    /// Do it; without this, what would be done is shown
    #[arg(long)]
    execute: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// What a reset is about: a topic, or a partition of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    topic: String,
    partition: Option<i32>,
}

fn scope(text: &str) -> Result<Scope, String> {
    let wrong = || "TOPIC or TOPIC:PARTITION is expected".to_owned();
    let (topic, partition) = match text.split_once(':') {
        Some((topic, number)) => {
            let number = number.parse().ok().filter(|number| *number >= 0);
            (topic, Some(number.ok_or_else(wrong)?))
        }
        None => (text, None),
    };
    if topic.is_empty() {
        return Err(wrong());
    }
    Ok(Scope {
        topic: topic.to_owned(),
        partition,
    })
}

pub fn groups(command: &GroupsCommand) -> ExitCode {
    answer(match command {
        GroupsCommand::List(args) => list::list(args),
        GroupsCommand::Describe(args) => describe::describe(args),
        GroupsCommand::Reset(args) => reset::reset(args),
    })
}

/// A coordinator for people.
fn coordinator(group: &GroupView) -> String {
    match &group.coordinator {
        Some((id, Some(address))) => format!("{address} ({id})"),
        Some((id, None)) => id.to_string(),
        None => "-".to_owned(),
    }
}

/// Milliseconds since 1970 as RFC 3339 in UTC; absent when no calendar has them.
fn time(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_is_about_a_topic_or_a_partition_of_it() {
        let whole = Scope {
            topic: "web".into(),
            partition: None,
        };
        assert_eq!(scope("web"), Ok(whole));
        assert_eq!(scope("web:3").unwrap().partition, Some(3));
        for wrong in ["", ":1", "web:", "web:x", "web:-1"] {
            assert!(scope(wrong).is_err(), "{wrong}");
        }
    }
}
