//! What the user wrote.
//!
//! [`keys`] lists every key there is; [`read`] turns the file's text into a [`Config`], in which references are still names, templates are still
//! texts and everything knows where it stands. [`crate::plan`] makes of it what will run.
//!
//! Invariant: reading goes on after a problem. A required value that could not be read is `None` here, and its problem is in the list.

mod document;
mod examine;
mod fields;
pub mod keys;
mod schema;
pub mod shape;

use std::net::SocketAddr;
use std::time::Duration;

use crate::input::dress::settings::TimestampRange;
use crate::input::file::settings::{HoldDeleted, StartAt, Watch};
use crate::input::frame::settings::MaxLine;
use crate::input::syslog::settings::{Framing, Protocol};
use crate::kafka::settings::{
    Acks, Brokers, Compression, Delivery, GroupProtocol, Isolation, Linger, OnRefused, OutOfRange,
    Partitioner, SaslSettings, TlsSettings,
};
use crate::output::file::settings::{
    Codec as FileCodec, Compression as FileCompression, Delivery as OutputDelivery,
    OnRefused as FileOnRefused, Retention, Rotate, Sync,
};
use crate::spool::settings::SpoolSettings;
use crate::yaml::{Problem, Source, Span, Spanned, parse};
pub use schema::schema;

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    pub id: Spanned<String>,
    pub data_dir: Spanned<String>,
    pub log: Log,
    /// Absent: no port.
    pub admin_listen: Option<SocketAddr>,
    pub shutdown_timeout: Duration,
    pub buffer_memory: Spanned<u64>,
    pub checkpoint_every: Duration,
    pub checkpoint_sync: Duration,
    pub dead_letters_max_size: u64,
    pub clusters: Vec<Cluster>,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
}

/// `log:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub level: String,
    pub format: LogFormat,
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, text with `<N>` priorities under systemd.
    #[default]
    Auto,
    Text,
    Json,
}

/// An entry of `clusters:`.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub name: Spanned<String>,
    pub brokers: Option<Spanned<Brokers>>,
    /// The addresses among them, each with its place.
    pub addresses: Vec<Spanned<String>>,
    pub tls: Option<Spanned<TlsSettings>>,
    /// The mechanism's username and password are always present when this is.
    pub sasl: Option<Spanned<SaslSettings>>,
    pub options: Vec<Property>,
}

/// A librdkafka property as it was written.
#[derive(Debug, Clone)]
pub struct Property {
    pub name: Spanned<String>,
    pub value: Spanned<String>,
}

/// An entry of `inputs:`.
#[derive(Debug, Clone)]
pub struct Input {
    pub name: Spanned<String>,
    pub from: Option<From>,
    pub to: Option<Route>,
}

/// `from:` of an input.
#[derive(Debug, Clone)]
pub enum From {
    File(FileInput),
    Stdin {
        /// Where `type: stdin` stands.
        span: Span,
        lines: Lines,
        spool: Option<SpoolSettings>,
    },
    Syslog(Box<SyslogInput>),
}

impl From {
    pub fn lines(&self) -> &Lines {
        match self {
            Self::File(file) => &file.lines,
            Self::Stdin { lines, .. } => lines,
            Self::Syslog(syslog) => &syslog.lines,
        }
    }
}

/// What an input is told about lines.
#[derive(Debug, Clone)]
pub struct Lines {
    pub max_line: Spanned<MaxLine>,
    pub line_end: Spanned<String>,
    pub encoding: Spanned<String>,
    pub partial_line_timeout: Option<Duration>,
    pub multiline: Option<Multiline>,
    pub include: Option<Spanned<String>>,
    pub exclude: Option<Spanned<String>>,
}

/// `multiline:`
#[derive(Debug, Clone)]
pub struct Multiline {
    /// Where the section begins.
    pub span: Span,
    pub start: Option<Spanned<String>>,
    pub r#continue: Option<Spanned<String>>,
    pub end: Option<Spanned<String>>,
    pub max_lines: u32,
    pub timeout: Duration,
}

/// `from:` of an input with `type: file`.
#[derive(Debug, Clone)]
pub struct FileInput {
    pub paths: Vec<Spanned<String>>,
    pub exclude: Vec<Spanned<String>>,
    pub start_at: StartAt,
    pub watch: Watch,
    pub ignore_older: Option<Duration>,
    pub max_open_files: u64,
    pub hold_deleted: HoldDeleted,
    pub lines: Lines,
}

/// `from:` of an input with `type: syslog`.
#[derive(Debug, Clone)]
pub struct SyslogInput {
    /// Where the section begins.
    pub span: Span,
    pub listen: Vec<Spanned<String>>,
    pub tls: Option<ServerTls>,
    pub framing: Framing,
    pub protocol: Protocol,
    pub time_zone: Spanned<String>,
    pub lines: Lines,
    pub max_connections: usize,
    pub idle_timeout: Option<Duration>,
    pub receive_buffer: Option<u64>,
    pub workers: Spanned<usize>,
    pub mode: u32,
    pub owner: Option<Spanned<String>>,
    /// Template of what the filter looks at.
    pub filter_of: Option<Spanned<String>>,
    pub spool: Option<SpoolSettings>,
}

/// `tls:` of an input.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Where the section begins.
    pub span: Span,
    pub cert_file: String,
    pub key_file: String,
    pub client_ca_file: Option<String>,
}

/// `to:` of an input.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where the section begins.
    pub span: Span,
    pub cluster: Option<Spanned<String>>,
    pub topic: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
    /// Absent: the user wrote one that cannot be read. Where none was written, it stands at `span`.
    pub partitioner: Option<Spanned<Partitioner>>,
    /// `of` of a partitioner with `hash`.
    pub hash_of: Option<Spanned<String>>,
    pub partition: Option<Spanned<String>>,
    pub acks: Spanned<Acks>,
    pub compression: Spanned<Compression>,
    pub linger: Linger,
    /// Absent when the user wrote none: it then follows `max_record`.
    pub batch_size: Option<Spanned<u64>>,
    pub max_record: Spanned<u64>,
    /// Absent: a line is a record.
    pub pack: Option<Spanned<u64>>,
    pub delivery: Spanned<Delivery>,
    pub on_refused: OnRefused,
    /// `on_missing_topic`
    pub dead_letter_after: Option<Spanned<Duration>>,
    pub format: RecordFormat,
    /// `timestamp: event`
    pub event_time: Spanned<bool>,
    /// Absent: the user wrote none.
    pub timestamp_range: Option<Span>,
    pub range: TimestampRange,
    pub headers: Vec<Property>,
    pub fields: Vec<Property>,
}

impl Route {
    /// What decides the partition where the key does not: `partition`, or `of` beside `hash`.
    pub fn place(&self) -> Option<&Spanned<String>> {
        match self.partitioner.as_ref()?.value {
            Partitioner::Manual => self.partition.as_ref(),
            Partitioner::Hash(_) => self.hash_of.as_ref(),
            _ => None,
        }
    }
}

/// `format:` of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFormat {
    Raw,
    Json,
    Template(Spanned<String>),
}

/// An entry of `outputs:`.
#[derive(Debug, Clone)]
pub struct Output {
    pub name: Spanned<String>,
    pub from: Option<Consume>,
    pub to: Option<FileOutput>,
}

/// `from:` of an output.
#[derive(Debug, Clone)]
pub struct Consume {
    /// Where the section begins.
    pub span: Span,
    pub cluster: Option<Spanned<String>>,
    pub topics: Vec<Spanned<String>>,
    /// Absent: the group's members share all of them.
    pub partitions: Option<Spanned<Vec<NamedPartitions>>>,
    pub group: Option<Spanned<String>>,
    pub start_at: Spanned<String>,
    pub on_out_of_range: OutOfRange,
    pub protocol: Spanned<GroupProtocol>,
    pub isolation: Spanned<Isolation>,
    pub options: Vec<Property>,
}

/// An entry of `partitions:`.
#[derive(Debug, Clone)]
pub struct NamedPartitions {
    pub topic: Spanned<String>,
    pub numbers: Vec<i32>,
}

/// `to:` of an output with `type: file`.
#[derive(Debug, Clone)]
pub struct FileOutput {
    pub path: Option<Spanned<String>>,
    pub format: FileFormat,
    pub time_zone: Spanned<String>,
    pub on_refused: FileOnRefused,
    pub sync: Sync,
    pub max_open_files: usize,
    pub mode: u32,
    pub delivery: Spanned<OutputDelivery>,
    pub compression: Spanned<FileCompression>,
    /// Absent: files are never finished.
    pub rotate: Option<Spanned<Rotate>>,
    pub part_suffix: Option<Spanned<String>>,
    pub retention: Option<Spanned<Retention>>,
}

/// How a consumed record becomes bytes.
#[derive(Debug, Clone)]
pub enum FileFormat {
    Raw,
    Json,
    Template(Spanned<String>),
}

impl FileOutput {
    /// Whether names of files can be longer than `path` makes them.
    pub fn has_longer_names(&self) -> bool {
        self.compression.value.codec != FileCodec::None
            || self.rotate.is_some()
            || self.part_suffix.is_some()
            || self.delivery.value != OutputDelivery::AtLeastOnce
    }
}

/// What came of reading a file.
#[derive(Debug)]
pub struct Reading {
    pub source: Source,
    /// Absent when the text is not YAML, or not a map.
    pub config: Option<Config>,
    pub problems: Vec<Problem>,
}

/// Reads the configuration `text`, the file called `name`. `environment` answers `${NAME}`.
pub fn read(name: &str, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Reading {
    let (source, root, mut problems) = parse(name, text, environment);
    let mut config = None;
    if let Some(root) = root {
        examine::examine(&root, &mut problems);
        if matches!(root.value, crate::yaml::Value::Map(_)) {
            config = Some(document::document(&root));
        }
    }
    Reading {
        source,
        config,
        problems,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::settings::Codec;
    use crate::value::{SecretSource, parse_percent};

    fn read_text(text: &str) -> (Config, Vec<Problem>) {
        let reading = read("a.yaml", text, &|_| None);
        (reading.config.unwrap(), reading.problems)
    }

    const SMALLEST: &str = "
clusters: { main: { brokers: [k:9092] } }
inputs:
  web:
    from: { type: file, paths: [/var/log/*.log] }
    to: { topic: web }
outputs:
  disk:
    from: { topics: [web], group: g }
    to: { type: file, path: '/srv/{topic}.log' }
";

    #[test]
    fn the_defaults_are_those_of_the_tables() {
        let (config, problems) = read_text(SMALLEST);
        assert_eq!(problems, []);
        assert_eq!(config.id.value, "{host}");
        assert_eq!(config.data_dir.value, "/var/lib/logferry");
        assert_eq!(config.log.level, "info");
        assert_eq!(config.admin_listen, "127.0.0.1:9470".parse().ok());
        assert_eq!(config.shutdown_timeout, Duration::from_secs(25));
        assert_eq!(config.buffer_memory.value, 64 << 20);
        assert_eq!(config.checkpoint_every, Duration::from_millis(100));
        assert_eq!(config.dead_letters_max_size, 1 << 30);
        let input = &config.inputs[0];
        assert_eq!(
            input.from.as_ref().unwrap().lines().max_line.value.size,
            256 << 10
        );
        let to = input.to.as_ref().unwrap();
        assert_eq!(to.max_record.value, 1_000_000);
        assert_eq!(to.linger, Linger::Auto);
        assert_eq!(to.key, None);
        let output = config.outputs[0].to.as_ref().unwrap();
        assert_eq!(output.mode, 0o640);
        assert_eq!(output.max_open_files, 256);
        assert_eq!(output.sync.every, Duration::from_secs(1));
    }

    #[test]
    fn null_turns_the_port_off() {
        for text in [
            "admin: null",
            "admin: { listen: null }",
            "admin:\n  listen:",
        ] {
            assert_eq!(read_text(text).0.admin_listen, None, "{text}");
        }
        assert!(read_text("admin: {}").0.admin_listen.is_some());
    }

    #[test]
    fn a_secret_is_read_as_a_reference() {
        let (config, problems) = read_text(
            "clusters: { m: { brokers: [k], sasl: { mechanism: PLAIN, username: shipper, password: { credential: pw } } } }",
        );
        assert_eq!(problems, []);
        let sasl = config.clusters[0].sasl.clone().unwrap().value;
        assert_eq!(sasl.password, Some(SecretSource::Credential("pw".into())));
        assert!(!format!("{sasl:?}").contains("shipper"));
    }

    #[test]
    fn codec_and_level_are_read_in_both_forms() {
        let of = |compression: &str| {
            let text = format!(
                "inputs: {{ a: {{ from: {{ type: stdin }}, to: {{ topic: t, compression: {compression} }} }} }}"
            );
            let (config, problems) = read_text(&text);
            assert_eq!(problems, []);
            config.inputs[0].to.as_ref().unwrap().compression.value
        };
        assert_eq!(of("zstd").codec, Codec::Zstd);
        let full = of("{ codec: zstd, level: 3 }");
        assert_eq!((full.codec, full.level), (Codec::Zstd, Some(3)));
        assert_eq!(of("none").codec, Codec::None);
    }

    #[test]
    fn exactly_once_is_read_in_both_forms() {
        let of = |delivery: &str| {
            let text = format!(
                "inputs: {{ a: {{ from: {{ type: stdin }}, to: {{ topic: t, delivery: {delivery} }} }} }}"
            );
            let (config, problems) = read_text(&text);
            assert_eq!(problems, []);
            config.inputs[0].to.as_ref().unwrap().delivery.value
        };
        let exactly_once = |commit, timeout| Delivery::ExactlyOnce {
            commit: Duration::from_millis(commit),
            timeout: Duration::from_millis(timeout),
        };
        assert_eq!(of("at_least_once"), Delivery::AtLeastOnce);
        for text in ["exactly_once", "{ exactly_once: {} }"] {
            assert_eq!(of(text), exactly_once(1000, 30_000), "{text}");
        }
        assert_eq!(
            of("{ exactly_once: { commit: 200ms } }"),
            exactly_once(200, 30_000)
        );
        assert_eq!(
            of("{ exactly_once: { timeout: 5s } }"),
            exactly_once(1000, 5000)
        );
    }

    #[test]
    fn what_the_product_will_have_is_refused_by_name_and_its_off_value_accepted() {
        let input = |line: &str| {
            let text = format!(
                "inputs:\n  a:\n    from:\n      type: file\n      paths: [/a]\n      {line}\n    to: {{ topic: t }}\n"
            );
            read_text(&text).1
        };
        for off in [
            "ignore_older: null",
            "encoding: utf-8",
            "line_end: lf",
            "multiline:",
            "filter: { include: , exclude: }",
        ] {
            assert_eq!(input(off), [], "{off}");
        }
        let (_, problems) = read_text(
            "include: [b.yaml]\ninputs: { a: { from: { type: stdin }, to: { topic: t } } }",
        );
        assert_eq!(problems.len(), 1);
        assert!(problems[0].message.ends_with("is not built yet"));
    }

    #[test]
    fn a_spool_that_is_asked_for_has_its_defaults() {
        use crate::spool::settings::{Mode, Sync};

        let of = |spool: &str| {
            let text = format!(
                "inputs: {{ a: {{ from: {{ type: stdin, {spool} }}, to: {{ topic: t }} }} }}"
            );
            let (config, problems) = read_text(&text);
            assert_eq!(problems, []);
            match config.inputs.into_iter().next().unwrap().from {
                Some(From::Stdin { spool, .. }) => spool,
                _ => panic!(),
            }
        };
        assert_eq!(of(""), None);
        let default = SpoolSettings {
            mode: Mode::Always,
            max_size: 1 << 30,
            sync: Sync::Every(Duration::from_secs(1)),
        };
        assert_eq!(of("spool: {}"), Some(default));
        let other = SpoolSettings {
            mode: Mode::Overflow,
            max_size: 2 << 20,
            sync: Sync::Never,
        };
        let asked = "spool: { mode: overflow, max_size: 2MiB, sync: none }";
        assert_eq!(of(asked), Some(other));
        let always = of("spool: { sync: always }").unwrap();
        assert_eq!(always.sync, Sync::Always);
    }

    #[test]
    fn a_part_of_hold_deleted_keeps_the_other_limits() {
        let of = |hold: &str| {
            let text = format!(
                "inputs: {{ a: {{ from: {{ type: file, paths: [/a], {hold} }}, to: {{ topic: t }} }} }}"
            );
            let (config, problems) = read_text(&text);
            assert_eq!(problems, [], "{hold}");
            match config.inputs[0].from.clone() {
                Some(From::File(file)) => file.hold_deleted,
                _ => panic!("no file"),
            }
        };
        let default = HoldDeleted {
            age: Some(Duration::from_secs(86_400)),
            bytes: Some(5 << 30),
            min_free: parse_percent("5%").ok(),
        };
        assert_eq!(of("start_at: end"), default);
        assert_eq!(of("hold_deleted: { }"), default);
        let age = HoldDeleted {
            age: Some(Duration::from_secs(60)),
            ..default
        };
        assert_eq!(of("hold_deleted: { age: 1m }"), age);
        let off = HoldDeleted {
            min_free: None,
            ..default
        };
        assert_eq!(of("hold_deleted: { min_free: null }"), off);
    }

    #[test]
    fn anchors_can_live_in_keys_of_ones_own() {
        let (config, problems) = read_text(
            "x-to: &to { topic: t, acks: 1 }\ninputs: { a: { from: { type: stdin }, to: { <<: *to, topic: u } } }",
        );
        assert_eq!(problems, []);
        let to = config.inputs[0].to.as_ref().unwrap();
        assert_eq!(to.topic.as_ref().unwrap().value, "u");
        assert_eq!(to.acks.value, Acks::Leader);
    }
}
