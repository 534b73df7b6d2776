//! What `produce` can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::lines::{KeyRule, Style};
use crate::cli::console::{Bytes, client_id, delimiter};
use crate::cli::duration;
use crate::cli::kafka::Refusal;
use crate::cli::kafka::connect::ConnectArgs;
use crate::kafka::console::sender::SenderSettings;
use crate::kafka::settings::{Acks, Codec, Compression, Linger, Partitioner, ProducerSettings};
use crate::template::{Part, Template};

/// What a batch on the wire may have, and a record where nothing says otherwise, in bytes.
const BATCH: u64 = 1_000_000;

/// `logferry produce`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(in crate::cli) struct ProduceArgs {
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The topic
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: String,
    /// Files to read, one after another; standard input when there are none
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The key stands before the first of these in each line (\t, \x1f and the like are understood)
    #[arg(short = 'K', long, value_name = "DELIMITER", value_parser = delimiter, conflicts_with_all = ["key", "json"])]
    pub key_delimiter: Option<Bytes>,
    /// The key of each record, a template: {host} {line} {file.path} {file.name} {file.dir} {file.offset}
    #[arg(short, long, value_name = "TEMPLATE", conflicts_with = "json")]
    pub key: Option<String>,
    /// A header of each record; may be repeated
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = header)]
    pub header: Vec<Header>,
    /// The partition of each record
    #[arg(short, long, value_name = "N", conflicts_with = "partitioner")]
    pub partition: Option<u32>,
    /// How partitions are chosen: murmur2_random (as the Java client), murmur2, consistent_random (as librdkafka), consistent, fnv1a_random (as Sarama), fnv1a, random, sticky
    #[arg(long, value_name = "NAME", default_value = "murmur2_random", value_parser = partitioner)]
    pub partitioner: Chosen,
    /// Who confirms: all replicas that are in sync, 1 (the leader alone) or 0 (nobody)
    #[arg(long, value_name = "WHO", default_value = "all", value_parser = ["all", "-1", "1", "0"], allow_hyphen_values = true)]
    pub acks: String,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none", value_parser = ["none", "gzip", "snappy", "lz4", "zstd"])]
    pub compression: String,
    /// Empty keys and values are null
    #[arg(short = 'Z', long)]
    pub null: bool,
    /// Lines are records in JSON, as `consume --json` writes them: key, value, headers and timestamp_ms are taken over
    #[arg(long)]
    pub json: bool,
    /// One record after another; prints partition, offset and timestamp of each when it is acknowledged
    #[arg(long)]
    pub sync: bool,
    /// Give up when nothing is acknowledged for this long
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    pub timeout: Duration,
    /// Say nothing but what went wrong
    #[arg(short, long)]
    pub quiet: bool,
}

/// A header as it is written on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header(String, String);

/// A partitioner by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen(Partitioner);

fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Header(name.to_owned(), value.to_owned())),
        _ => Err("`name=value` is expected".to_owned()),
    }
}

fn partitioner(name: &str) -> Result<Chosen, String> {
    Partitioner::named(name).map(Chosen).ok_or_else(|| {
        "there is murmur2_random, murmur2, consistent_random, consistent, fnv1a_random, fnv1a, random and sticky"
            .to_owned()
    })
}

impl ProduceArgs {
    /// Whether somebody is asked to confirm.
    pub(super) fn asks_for_acks(&self) -> bool {
        self.acks != "0"
    }

    /// How lines become records.
    pub(super) fn style(&self) -> Result<Style, Refusal> {
        let key = match (&self.key_delimiter, &self.key) {
            (Some(Bytes(delimiter)), _) => KeyRule::Before(delimiter.clone()),
            (None, Some(text)) => {
                let allowed: &[Part] = if self.files.is_empty() {
                    &[Part::Host, Part::Line]
                } else {
                    &[
                        Part::Host,
                        Part::Line,
                        Part::FilePath,
                        Part::FileName,
                        Part::FileDir,
                        Part::FileOffset,
                    ]
                };
                KeyRule::Made(Template::parse(text, allowed).map_err(|error| {
                    let hint = error.hint.map_or(String::new(), |hint| format!(": {hint}"));
                    Refusal::usage(format!("--key {text}: {}{hint}", error.message))
                })?)
            }
            (None, None) => KeyRule::None,
        };
        let headers = self.header.iter();
        let headers =
            headers.map(|Header(name, value)| (name.clone().into(), value.clone().into()));
        Ok(Style {
            key,
            empty_is_null: self.null,
            json: self.json,
            headers: headers.collect(),
            one_each: self.sync,
        })
    }

    /// Where and how they are sent.
    pub(super) fn sender(&self) -> Result<SenderSettings, Refusal> {
        let cluster = self.connect.cluster()?;
        let largest = cluster
            .options
            .get("message.max.bytes")
            .and_then(|bytes| bytes.parse().ok());
        let codec = match self.compression.as_str() {
            "gzip" => Codec::Gzip,
            "snappy" => Codec::Snappy,
            "lz4" => Codec::Lz4,
            "zstd" => Codec::Zstd,
            _ => Codec::None,
        };
        let acks = match self.acks.as_str() {
            "1" => Acks::Leader,
            "0" => Acks::None,
            _ => Acks::All,
        };
        Ok(SenderSettings {
            producer: ProducerSettings {
                cluster,
                acks,
                compression: Compression { codec, level: None },
                linger: Linger::Auto,
                batch_size: BATCH,
                max_record: largest.unwrap_or(BATCH),
                exactly_once: None,
            },
            topic: self.topic.clone(),
            partition: self.partition,
            partitioner: self.partitioner.0,
            patience: self.timeout,
            client_id: client_id(),
        })
    }
}
