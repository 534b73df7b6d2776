//! What `consume` can be told.

use std::time::Duration;

use clap::Args;
use regex::bytes::Regex;

use super::format::Format;
use super::place;
use crate::cli::console::{Bytes, client_id, delimiter};
use crate::cli::duration;
use crate::cli::kafka::Refusal;
use crate::cli::kafka::connect::ConnectArgs;
use crate::kafka::console::places::{From, Until};
use crate::kafka::console::reader::ReaderSettings;

/// `logferry consume`
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ConsumeArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// A topic, or a regular expression that begins with ^; may be repeated
    #[arg(short, long, value_name = "TOPIC", required = true)]
    pub topic: Vec<String>,
    /// Only these partitions, with commas between them
    #[arg(
        short,
        long,
        value_name = "N",
        value_delimiter = ',',
        conflicts_with = "group"
    )]
    pub partition: Vec<u32>,
    /// Read as a member of this group, from where it has committed; what was printed is committed
    #[arg(short, long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Where to begin: beginning, end, an offset, -N (the last N of each partition), -1h (so long ago) or a time; of a group, where it has committed nothing
    #[arg(short = 'o', long, value_name = "WHERE", default_value = "beginning", value_parser = place::from, allow_hyphen_values = true)]
    pub from: From,
    /// Where to end: end (what is there now), or before an offset or a time; without it, more is waited for
    #[arg(long, value_name = "WHERE", value_parser = place::until, allow_hyphen_values = true)]
    pub until: Option<Until>,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
    /// End after this time, like 10s
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// How a record is printed: %s value, %k key, %t topic, %p partition, %o offset, %T time, %h headers, %S and %K lengths, \n \t \xHH
    #[arg(short, long, value_name = "FORMAT", value_parser = Format::parse, conflicts_with_all = ["json", "key_delimiter"])]
    pub format: Option<Format>,
    /// Print the key and this before the value
    #[arg(
        short = 'K',
        long,
        value_name = "DELIMITER",
        value_parser = delimiter,
        conflicts_with = "json"
    )]
    pub key_delimiter: Option<Bytes>,
    /// Print null values and keys as NULL
    #[arg(short = 'Z', long, conflicts_with = "json")]
    pub null: bool,
    /// Print each record as a line of JSON, which loses nothing
    #[arg(long)]
    pub json: bool,
    /// Only records whose value or key matches
    #[arg(long, value_name = "REGEX")]
    pub grep: Option<Regex>,
    /// Say on standard error what happens: partitions that come and go, and where the end is
    #[arg(short, long)]
    pub verbose: bool,
}

/// How records are printed.
pub(super) enum Print {
    Json,
    Plain,
    Format(Format),
}

impl ConsumeArgs {
    pub(super) fn print(&self) -> Print {
        let format = match (&self.format, &self.key_delimiter) {
            _ if self.json => return Print::Json,
            (Some(format), _) => format.clone(),
            (None, Some(Bytes(delimiter))) => Format::with_key(delimiter),
            (None, None) if self.null => Format::plain(),
            (None, None) => return Print::Plain,
        };
        Print::Format(format.null_as(if self.null { b"NULL" } else { b"" }))
    }

    pub(super) fn reader(&self) -> Result<ReaderSettings, Refusal> {
        let partitions = self.partition.iter();
        Ok(ReaderSettings {
            cluster: self.connect.cluster()?,
            topics: self.topic.clone(),
            partitions: partitions
                .map(|it| i32::try_from(*it).unwrap_or(i32::MAX))
                .collect(),
            from: self.from,
            until: self.until,
            group: self.group.clone(),
            client_id: client_id(),
        })
    }
}
