//! `logferry topics`: what topics there are, making and deleting one.
//!
//! | command | does |
//! |---|---|
//! | `list` | all topics, and whether their replicas are well |
//! | `describe` | one topic: its partitions, their offsets, what was set for it |
//! | `create` | makes one |
//! | `delete` | deletes one, with `--yes` |
//!
//! Invariant: a topic that is only asked about is never made by asking.

mod create;
mod delete;
mod describe;
mod list;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::connect::ConnectArgs;
use super::{Refusal, answer};

/// `logferry topics`
#[derive(Debug, Subcommand)]
pub enum TopicsCommand {
    /// Show all topics
    List(ListArgs),
    /// Show a topic's partitions, offsets and configuration
    Describe(DescribeArgs),
    /// Make a topic
    Create(CreateArgs),
    /// Delete a topic with all its records
    Delete(DeleteArgs),
}

/// `logferry topics list`
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// Also those that Kafka made for itself
    #[arg(long)]
    internal: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry topics describe`
#[derive(Debug, Args)]
pub struct DescribeArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The topic
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry topics create`
///
/// `--config` is a setting of the topic here; the configuration file is `-c` alone.
#[derive(Debug, Args)]
#[command(mut_arg("config", |arg| arg.long(clap::builder::Resettable::Reset)))]
pub struct CreateArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The topic
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// How many partitions it has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// How many brokers keep each partition; left out: the brokers' default
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(i16).range(1..))]
    replication: Option<i16>,
    /// A setting of the topic, like retention.ms=86400000
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry topics delete`
#[derive(Debug, Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    /// The topic: its exact name
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Do it; without this, what would be lost is shown
    #[arg(long)]
    yes: bool,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// The name of one topic, as Kafka allows them: no pattern is one.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if text.is_empty() || text == "." || text == ".." {
        return Err("that is no topic's name".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        return Err(format!(
            "the exact name of one topic is expected: it has only letters, digits and `. _ -`, not {odd:?}"
        ));
    }
    if text.len() > 249 {
        return Err("a topic's name has at most 249 characters".to_owned());
    }
    Ok(text.to_owned())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("`key=value` is expected, like retention.ms=86400000".to_owned()),
    }
}

pub fn topics(command: &TopicsCommand) -> ExitCode {
    answer(match command {
        TopicsCommand::List(args) => list::list(args),
        TopicsCommand::Describe(args) => describe::describe(args),
        TopicsCommand::Create(args) => create::create(args),
        TopicsCommand::Delete(args) => delete::delete(args),
    })
}

fn missing(name: &str) -> Refusal {
    Refusal::failed(format!(
        "there is no topic {name}, or this user may not see it; `logferry topics list` shows those that there are"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_no_names() {
        assert_eq!(name("web-1.a_B").unwrap(), "web-1.a_B");
        for pattern in [
            "*", "web*", "^web", "we?", "a,b", "[ab]", "", ".", "..", "a b",
        ] {
            assert!(name(pattern).is_err(), "{pattern}");
        }
        assert!(name(&"a".repeat(249)).is_ok());
        assert!(name(&"a".repeat(250)).is_err());
    }

    #[test]
    fn a_setting_may_have_equals_signs_in_its_value() {
        let expected = ("a".to_owned(), "b=c".to_owned());
        assert_eq!(setting("a=b=c"), Ok(expected));
        assert!(setting("=b").is_err() && setting("a").is_err());
    }
}
