//! What the user wrote.
//!
//! [`keys`] lists every key there is; [`read`] turns the file's text into a [`Config`], in which references are still names, templates are still
//! texts and everything knows where it stands. [`crate::plan`] makes of it what will run.
//!
//! Invariant: reading goes on after a problem. A required value that could not be read is `None` here, and its problem is in the list.

mod examine;
mod fields;
pub mod keys;
mod schema;
pub mod shape;

use std::net::SocketAddr;
use std::time::Duration;

use crate::input::file::settings::{LongLine, MaxLine, StartAt, Watch};
use crate::kafka::settings::{
    Acks, Brokers, Codec, Compression, ConsumeFrom, Isolation, Linger, OnRefused, OutOfRange,
    Partitioner, SaslSettings, TlsSettings,
};
use crate::output::file::settings::{OutputFormat, Sync};
use crate::yaml::{Entry, Node, Problem, Source, Span, Spanned, parse};
use fields::Fields;
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
        max_line: Spanned<MaxLine>,
    },
}

impl From {
    pub fn max_line(&self) -> Spanned<MaxLine> {
        match self {
            Self::File(file) => file.max_line.clone(),
            Self::Stdin { max_line, .. } => max_line.clone(),
        }
    }
}

/// `from:` of an input with `type: file`.
#[derive(Debug, Clone)]
pub struct FileInput {
    pub paths: Vec<Spanned<String>>,
    pub exclude: Vec<Spanned<String>>,
    pub start_at: StartAt,
    pub watch: Watch,
    pub max_line: Spanned<MaxLine>,
}

/// `to:` of an input.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where the section begins.
    pub span: Span,
    pub cluster: Option<Spanned<String>>,
    pub topic: Option<Spanned<String>>,
    pub key: Option<Spanned<String>>,
    pub partitioner: Partitioner,
    pub acks: Spanned<Acks>,
    pub compression: Spanned<Compression>,
    pub linger: Linger,
    /// Absent when the user wrote none: it then follows `max_record`.
    pub batch_size: Option<Spanned<u64>>,
    pub max_record: Spanned<u64>,
    pub on_refused: OnRefused,
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
    pub group: Option<Spanned<String>>,
    pub start_at: ConsumeFrom,
    pub on_out_of_range: OutOfRange,
    pub isolation: Isolation,
    pub options: Vec<Property>,
}

/// `to:` of an output with `type: file`.
#[derive(Debug, Clone)]
pub struct FileOutput {
    pub path: Option<Spanned<String>>,
    pub format: OutputFormat,
    pub sync: Sync,
    pub max_open_files: usize,
    pub mode: u32,
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
            config = Some(document(&root));
        }
    }
    Reading {
        source,
        config,
        problems,
    }
}

// The `unwrap_or` values below are never met: the tables' defaults are read by the same functions, which a test checks.

fn document(root: &Node) -> Config {
    let fields = Fields::new(keys::ROOT, Some(root), root.span);
    let or_empty = |name| {
        fields
            .text(name)
            .unwrap_or_else(|| Spanned::new(String::new(), fields.span()))
    };
    let log = fields.table("log", keys::LOG);
    let admin = fields.table("admin", keys::ADMIN);
    let checkpoint = fields.table("checkpoint", keys::CHECKPOINT);
    Config {
        id: or_empty("id"),
        data_dir: or_empty("data_dir"),
        log: Log {
            level: log.text("level").map(|text| text.value).unwrap_or_default(),
            format: log.word("format", log_format).unwrap_or_default(),
        },
        admin_listen: if fields.is_off("admin") {
            None
        } else {
            admin.parsed("listen").map(|address| address.value)
        },
        shutdown_timeout: fields
            .table("shutdown", keys::SHUTDOWN)
            .duration("timeout")
            .unwrap_or_default(),
        buffer_memory: fields
            .table("buffer", keys::BUFFER)
            .size("memory")
            .unwrap_or_else(|| Spanned::new(0, fields.span())),
        checkpoint_every: checkpoint.duration("every").unwrap_or_default(),
        checkpoint_sync: checkpoint.duration("sync").unwrap_or_default(),
        dead_letters_max_size: fields
            .table("dead_letters", keys::DEAD_LETTERS)
            .size("max_size")
            .map_or(0, |size| size.value),
        clusters: fields.named("clusters").map(cluster).collect(),
        inputs: fields.named("inputs").map(input).collect(),
        outputs: fields.named("outputs").map(output).collect(),
    }
}

fn log_format(word: &str) -> Option<LogFormat> {
    Some(match word {
        "auto" => LogFormat::Auto,
        "text" => LogFormat::Text,
        "json" => LogFormat::Json,
        _ => return None,
    })
}

fn cluster(entry: &Entry) -> Cluster {
    let fields = Fields::new(keys::CLUSTER, Some(&entry.node), entry.key.span);
    let brokers = entry.node.get("brokers").and_then(|brokers| {
        let value = match brokers.node.text() {
            Some("embedded") => Brokers::Embedded,
            Some(_) => return None,
            None => Brokers::Addresses(
                fields
                    .texts("brokers")
                    .into_iter()
                    .map(|address| address.value)
                    .collect(),
            ),
        };
        Some(Spanned::new(value, brokers.node.span))
    });
    Cluster {
        name: entry.key.clone(),
        brokers,
        addresses: fields.texts("brokers"),
        tls: fields.table_if_present("tls", keys::TLS).map(|tls| {
            let path = |name| tls.text(name).map(|text| text.value);
            let settings = TlsSettings {
                ca_file: path("ca_file"),
                cert_file: path("cert_file"),
                key_file: path("key_file"),
                key_password: tls.secret("key_password"),
                verify: tls.parsed("verify").is_none_or(|verify| verify.value),
            };
            Spanned::new(settings, tls.span())
        }),
        sasl: fields
            .table_if_present("sasl", keys::SASL)
            .and_then(|sasl| {
                let settings = SaslSettings {
                    mechanism: sasl.text("mechanism")?.value,
                    username: Some(sasl.secret("username")?),
                    password: Some(sasl.secret("password")?),
                };
                Some(Spanned::new(settings, sasl.span()))
            }),
        options: properties(&fields),
    }
}

fn properties(fields: &Fields<'_>) -> Vec<Property> {
    fields
        .pairs("options")
        .into_iter()
        .map(|(name, value)| Property { name, value })
        .collect()
}

fn input(entry: &Entry) -> Input {
    let fields = Fields::new(keys::INPUT, Some(&entry.node), entry.key.span);
    let from = match fields.kind("from", keys::INPUT_KINDS) {
        Some(("file", from)) => Some(From::File(FileInput {
            paths: from.texts("paths"),
            exclude: from.texts("exclude"),
            start_at: from.word("start_at", start_at).unwrap_or_default(),
            watch: from.word("watch", watch).unwrap_or_default(),
            max_line: max_line(&from),
        })),
        Some(("stdin", from)) => Some(From::Stdin {
            span: from.span(),
            max_line: max_line(&from),
        }),
        _ => None,
    };
    let to = fields
        .table_if_present("to", keys::INPUT_TO)
        .map(|to| route(&to));
    Input {
        name: entry.key.clone(),
        from,
        to,
    }
}

fn start_at(word: &str) -> Option<StartAt> {
    Some(match word {
        "beginning" => StartAt::Beginning,
        "end" => StartAt::End,
        _ => return None,
    })
}

fn watch(word: &str) -> Option<Watch> {
    Some(match word {
        "auto" => Watch::Auto,
        "poll" => Watch::Poll,
        _ => return None,
    })
}

fn max_line(from: &Fields<'_>) -> Spanned<MaxLine> {
    let fields = from.table("max_line", keys::MAX_LINE);
    let size = fields
        .size("size")
        .unwrap_or_else(|| Spanned::new(0, fields.span()));
    size.map(|size| MaxLine {
        size,
        policy: LongLine::Split,
    })
}

fn route(to: &Fields<'_>) -> Route {
    let or_default = |span| Spanned::new(Compression::default(), span);
    let batch = to.table("batch", keys::BATCH);
    Route {
        span: to.span(),
        cluster: to.text("cluster"),
        topic: to.text("topic"),
        key: to.text("key"),
        partitioner: to.word("partitioner", partitioner).unwrap_or_default(),
        acks: to.text("acks").map_or_else(
            || Spanned::new(Acks::All, to.span()),
            |text| text.map(|word| acks(&word)),
        ),
        compression: match to.table_if_present("compression", keys::COMPRESSION) {
            Some(fields) => {
                let codec = fields.word("codec", codec).unwrap_or_default();
                let level = fields.parsed("level");
                let span = level.as_ref().map_or(fields.span(), |level| level.span);
                let level = level.map(|level| level.value);
                Spanned::new(Compression { codec, level }, span)
            }
            None => to.text("compression").map_or_else(
                || or_default(to.span()),
                |text| {
                    text.map(|word| Compression {
                        codec: codec(&word).unwrap_or_default(),
                        level: None,
                    })
                },
            ),
        },
        linger: batch.duration("linger").map_or(Linger::Auto, Linger::Fixed),
        batch_size: if batch.has("size") {
            batch.size("size")
        } else {
            None
        },
        max_record: to
            .size("max_record")
            .unwrap_or_else(|| Spanned::new(0, to.span())),
        on_refused: to.word("on_refused", on_refused).unwrap_or_default(),
    }
}

fn partitioner(word: &str) -> Option<Partitioner> {
    Some(match word {
        "murmur2_random" => Partitioner::Murmur2Random,
        "murmur2" => Partitioner::Murmur2,
        "consistent_random" => Partitioner::ConsistentRandom,
        "consistent" => Partitioner::Consistent,
        "fnv1a_random" => Partitioner::Fnv1aRandom,
        "fnv1a" => Partitioner::Fnv1a,
        "random" => Partitioner::Random,
        "sticky" => Partitioner::Sticky,
        _ => return None,
    })
}

fn acks(word: &str) -> Acks {
    match word {
        "1" => Acks::Leader,
        "0" => Acks::None,
        _ => Acks::All,
    }
}

fn codec(word: &str) -> Option<Codec> {
    Some(match word {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => return None,
    })
}

fn on_refused(word: &str) -> Option<OnRefused> {
    Some(match word {
        "dead_letter" => OnRefused::DeadLetter,
        "stop" => OnRefused::Stop,
        "drop" => OnRefused::Drop,
        _ => return None,
    })
}

fn output(entry: &Entry) -> Output {
    let fields = Fields::new(keys::OUTPUT, Some(&entry.node), entry.key.span);
    let from = fields
        .table_if_present("from", keys::OUTPUT_FROM)
        .map(|from| Consume {
            span: from.span(),
            cluster: from.text("cluster"),
            topics: from.texts("topics"),
            group: from.text("group"),
            start_at: from.word("start_at", consume_from).unwrap_or_default(),
            on_out_of_range: from
                .word("on_out_of_range", out_of_range)
                .unwrap_or_default(),
            isolation: from.word("isolation", isolation).unwrap_or_default(),
            options: properties(&from),
        });
    let to = match fields.kind("to", keys::OUTPUT_KINDS) {
        Some((_, to)) => {
            let sync = to.table("sync", keys::SYNC);
            Some(FileOutput {
                path: to.text("path"),
                format: to.word("format", output_format).unwrap_or_default(),
                sync: Sync {
                    every: sync.duration("every").unwrap_or_default(),
                    bytes: sync.size("bytes").map_or(0, |size| size.value),
                },
                max_open_files: to.parsed("max_open_files").map_or(1, |count| count.value),
                mode: to.mode("mode").unwrap_or_default(),
            })
        }
        None => None,
    };
    Output {
        name: entry.key.clone(),
        from,
        to,
    }
}

fn consume_from(word: &str) -> Option<ConsumeFrom> {
    Some(match word {
        "earliest" => ConsumeFrom::Earliest,
        "latest" => ConsumeFrom::Latest,
        _ => return None,
    })
}

fn out_of_range(word: &str) -> Option<OutOfRange> {
    Some(match word {
        "earliest" => OutOfRange::Earliest,
        "latest" => OutOfRange::Latest,
        _ => return None,
    })
}

fn isolation(word: &str) -> Option<Isolation> {
    Some(match word {
        "read_committed" => Isolation::ReadCommitted,
        "read_uncommitted" => Isolation::ReadUncommitted,
        _ => return None,
    })
}

fn output_format(word: &str) -> Option<OutputFormat> {
    Some(match word {
        "raw" => OutputFormat::Raw,
        "json" => OutputFormat::Json,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::SecretSource;

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
            input.from.as_ref().unwrap().max_line().value.size,
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
        for on in [
            "ignore_older: 7d",
            "encoding: utf-16le",
            "multiline: { start: x }",
            "hold_deleted: { age: 24h }",
            "max_open_files: 4096",
        ] {
            let problems = input(on);
            assert_eq!(problems.len(), 1, "{on}");
            assert!(problems[0].message.ends_with("is not built yet"), "{on}");
        }
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
