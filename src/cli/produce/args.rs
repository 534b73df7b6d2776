//! What `produce` can be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::lines::{KeyRule, PlaceRule, Style};
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
    /// The partition of each record: a number, or a template as for the key that makes one
    #[arg(short, long, value_name = "N")]
    pub partition: Option<String>,
    /// How partitions are chosen: murmur2_random (the default, as the Java client), murmur2, consistent_random (as librdkafka), consistent, fnv1a_random (as Sarama), fnv1a, sarama_reference, random, round_robin, sticky, or manual (as --partition says, or the `partition` of each line with --json)
    #[arg(long, value_name = "NAME", value_parser = partitioner)]
    pub partitioner: Option<Chosen>,
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

/// Who says where records go.
enum Place {
    Fixed(u32),
    /// Each names its partition.
    OfRecord,
    Chosen(Partitioner),
}

fn header(text: &str) -> Result<Header, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Header(name.to_owned(), value.to_owned())),
        _ => Err("`name=value` is expected".to_owned()),
    }
}

fn partitioner(name: &str) -> Result<Chosen, String> {
    Partitioner::named(name).map(Chosen).ok_or_else(|| {
        let names: Vec<_> = Partitioner::NAMED.iter().map(|(name, _)| *name).collect();
        format!("there is {}", names.join(", "))
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
            (None, Some(text)) => KeyRule::Made(self.template("--key", text)?),
            (None, None) => KeyRule::None,
        };
        let place = match (self.place()?, &self.partition) {
            (Place::OfRecord, Some(text)) => PlaceRule::Made(self.template("--partition", text)?),
            (Place::OfRecord, None) => PlaceRule::Told,
            _ => PlaceRule::None,
        };
        let headers = self.header.iter();
        let headers =
            headers.map(|Header(name, value)| (name.clone().into(), value.clone().into()));
        Ok(Style {
            key,
            place,
            empty_is_null: self.null,
            json: self.json,
            headers: headers.collect(),
            one_each: self.sync,
        })
    }

    fn template(&self, option: &str, text: &str) -> Result<Template, Refusal> {
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
        Template::parse(text, allowed).map_err(|error| {
            let hint = error.hint.map_or(String::new(), |hint| format!(": {hint}"));
            Refusal::usage(format!("{option} {text}: {}{hint}", error.message))
        })
    }

    /// Who says where records go.
    fn place(&self) -> Result<Place, Refusal> {
        let chosen = self.partitioner.map(|Chosen(partitioner)| partitioner);
        let Some(text) = &self.partition else {
            return match chosen {
                Some(Partitioner::Manual) if self.json => Ok(Place::OfRecord),
                Some(Partitioner::Manual) => Err(Refusal::usage(
                    "--partitioner manual needs --partition, or --json, where each line names its partition",
                )),
                chosen => Ok(Place::Chosen(chosen.unwrap_or_default())),
            };
        };
        if chosen.is_some_and(|chosen| chosen != Partitioner::Manual) {
            return Err(Refusal::usage(
                "--partition says where records go: leave --partitioner out, or choose `manual`",
            ));
        }
        if text.contains(['{', '}']) {
            return Ok(Place::OfRecord);
        }
        let number = text.parse().map_err(|_| {
            Refusal::usage(format!(
                "--partition {text}: a number from 0, or a template like {{line}}"
            ))
        })?;
        Ok(Place::Fixed(number))
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
        let (partition, partitioner) = match self.place()? {
            Place::Fixed(partition) => (Some(partition), Partitioner::Manual),
            Place::OfRecord => (None, Partitioner::Manual),
            Place::Chosen(partitioner) => (None, partitioner),
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
            partition,
            partitioner,
            patience: self.timeout,
            client_id: client_id(),
        })
    }
}
