//! `logferry dead-letters`: what was set aside, and how it gets to Kafka after all.
//!
//! | command | does | while a daemon runs |
//! |---|---|---|
//! | `list` | shows what is set aside, in sum or each | works: it reads without a lock |
//! | `resend` | sends letters to Kafka, and removes what is confirmed | works: it takes whole files, and the daemon begins new ones |
//!
//! Invariant: a letter is removed after Kafka has confirmed it, and for no other reason.

mod list;
mod resend;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};
use jiff::Timestamp;

use super::exit::ExitStatus;
use super::kafka::Refusal;
use super::load::load;
use super::{CONFIG, complain, print};
use crate::dead_letter::{DeadLetterError, Letter};
use crate::plan::Plan;
use crate::value::parse_duration;

/// `logferry dead-letters`
#[derive(Debug, Subcommand)]
pub enum DeadLettersCommand {
    /// Show what was set aside
    List(ListArgs),
    /// Send records that were set aside to Kafka again, and remove those that it confirms
    Resend(ResendArgs),
}

/// Which letters are meant.
#[derive(Debug, Args)]
pub struct Which {
    /// Only those of this input or output; may be given more than once
    #[arg(long, value_name = "NAME")]
    pipeline: Vec<String>,
    /// Only those with this code, such as too_large; may be given more than once
    #[arg(long, value_name = "CODE")]
    reason: Vec<String>,
    /// Only those set aside since: a time like 2026-11-21T07:00:00Z, or 1h for the last hour
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<Timestamp>,
}

/// `logferry dead-letters list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    which: Which,
    /// One by one instead of in sum
    #[arg(long)]
    each: bool,
    /// As JSON, for programs; with --each the letters as they stand in the files, one a line
    #[arg(long)]
    json: bool,
}

/// `logferry dead-letters resend`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true).args(["all", "pipeline", "reason", "since"])))]
pub struct ResendArgs {
    /// The configuration, which has the clusters
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Everything that is set aside
    #[arg(long, conflicts_with_all = ["pipeline", "reason", "since"])]
    all: bool,
    #[command(flatten)]
    which: Which,
    /// To this topic instead of the one that each was meant for
    #[arg(short, long, value_name = "TOPIC")]
    topic: Option<String>,
    /// To this cluster of the configuration instead of that of the input
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Without the times that records had of their own
    #[arg(long)]
    now: bool,
    /// Give up when nothing is acknowledged for this long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = super::duration)]
    timeout: std::time::Duration,
    /// Say nothing but what went wrong
    #[arg(short, long)]
    quiet: bool,
}

fn since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let wrong = |_| "a time like 2026-11-21T07:00:00Z or a duration like 1h is expected".to_owned();
    let ago = parse_duration(text).map_err(|_| ()).map_err(wrong)?;
    Timestamp::now()
        .checked_sub(ago)
        .map_err(|_| ())
        .map_err(wrong)
}

impl Which {
    fn means(&self, letter: &Letter) -> bool {
        let is_among = |list: &[String], name: &String| list.is_empty() || list.contains(name);
        is_among(&self.pipeline, &letter.pipeline)
            && is_among(&self.reason, &letter.code)
            && self.since.is_none_or(|since| letter.time >= since)
    }
}

pub(super) fn dead_letters(command: &DeadLettersCommand) -> ExitCode {
    let result = match command {
        DeadLettersCommand::List(args) => list::list(args),
        DeadLettersCommand::Resend(args) => return ended(resend::resend(args)),
    };
    match result {
        Ok(text) => print(&text),
        Err(refusal) => ended(Err(refusal)),
    }
}

fn ended(result: Result<ExitStatus, Refusal>) -> ExitCode {
    match result {
        Ok(status) => status.into(),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

fn plan(args: &std::path::Path) -> Result<Plan, Refusal> {
    load(args)
        .map(|(plan, _)| plan)
        .map_err(|errors| Refusal::config(errors.to_string()))
}

fn refused(error: &DeadLetterError) -> Refusal {
    let denied = matches!(error, DeadLetterError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied);
    Refusal {
        status: match denied {
            true => ExitStatus::NoPermission,
            false => ExitStatus::Internal,
        },
        text: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        let time: Timestamp = "2026-11-21T07:00:00Z".parse().unwrap();
        assert_eq!(since("2026-11-21T07:00:00Z"), Ok(time));
        let hour = since("1h").unwrap();
        let ago = Timestamp::now().as_second() - hour.as_second();
        assert!((3600..3660).contains(&ago), "{ago}");
        assert!(since("yesterday").is_err());
    }
}
