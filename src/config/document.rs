//! The tree into a [`Config`], key by key.
//!
//! The `unwrap_or` values are never met: the tables' defaults are read by the same functions, which a test checks.

use super::fields::Fields;
use super::{
    Cluster, Config, Consume, FileFormat, FileInput, FileOutput, From, Input, Lines, Log,
    LogFormat, Multiline, Output, Property, RecordFormat, Route, ServerTls, SyslogInput, keys,
};
use crate::input::dress::settings::TimestampRange;
use crate::input::file::settings::{HoldDeleted, StartAt, Watch};
use crate::input::frame::settings::{LongLine, MaxLine};
use crate::input::syslog::settings::{Framing, Protocol};
use crate::kafka::settings::{
    Acks, Brokers, Codec, Compression, Delivery, GroupProtocol, Hash, Isolation, Linger, OnRefused,
    OutOfRange, Partitioner, SaslSettings, TlsSettings,
};
use crate::output::file::settings::{
    Codec as FileCodec, Compression as FileCompression, Delivery as OutputDelivery,
    OnRefused as FileOnRefused, Retention, Rotate, Sync,
};
use crate::spool::settings::{self as spool, SpoolSettings};
use crate::value::parse_duration;
use crate::yaml::{Entry, Node, Spanned};

pub(super) fn document(root: &Node) -> Config {
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
                    token_url: sasl.text("token_url").map(|url| url.value),
                    scope: sasl.text("scope").map(|scope| scope.value),
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
            ignore_older: from.duration("ignore_older"),
            max_open_files: from.parsed("max_open_files").map_or(1, |count| count.value),
            hold_deleted: hold_deleted(&from.table("hold_deleted", keys::HOLD_DELETED)),
            lines: lines(&from),
        })),
        Some(("stdin", from)) => Some(From::Stdin {
            span: from.span(),
            lines: lines(&from),
            spool: spool(&from),
        }),
        Some(("syslog", from)) => Some(From::Syslog(Box::new(syslog(&from)))),
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

fn syslog(from: &Fields<'_>) -> SyslogInput {
    SyslogInput {
        span: from.span(),
        listen: match from.text("listen") {
            Some(word) => vec![word],
            None => from.texts("listen"),
        },
        tls: from
            .table_if_present("tls", keys::SERVER_TLS)
            .map(|tls| ServerTls {
                span: tls.span(),
                cert_file: tls.text("cert_file").map(|it| it.value).unwrap_or_default(),
                key_file: tls.text("key_file").map(|it| it.value).unwrap_or_default(),
                client_ca_file: tls.text("client_ca_file").map(|it| it.value),
            }),
        framing: from.word("framing", framing).unwrap_or_default(),
        protocol: from.word("protocol", protocol).unwrap_or_default(),
        time_zone: from
            .text("time_zone")
            .unwrap_or_else(|| Spanned::new("local".to_owned(), from.span())),
        lines: lines(from),
        max_connections: from
            .parsed("max_connections")
            .map_or(1, |count| count.value),
        idle_timeout: from.duration("idle_timeout"),
        receive_buffer: from.size("receive_buffer").map(|size| size.value),
        workers: from
            .parsed("workers")
            .unwrap_or_else(|| Spanned::new(1, from.span())),
        mode: from.mode("mode").unwrap_or_default(),
        owner: from.text("owner"),
        filter_of: from.table("filter", keys::SYSLOG_FILTER).text("of"),
        spool: spool(from),
    }
}

fn spool(from: &Fields<'_>) -> Option<SpoolSettings> {
    let spool = from.table_if_present("spool", keys::SPOOL)?;
    let sync = |text: &str| match text {
        "always" => Some(spool::Sync::Always),
        "none" => Some(spool::Sync::Never),
        text => parse_duration(text).ok().map(spool::Sync::Every),
    };
    let mode = |text: &str| match text {
        "always" => Some(spool::Mode::Always),
        "overflow" => Some(spool::Mode::Overflow),
        _ => None,
    };
    Some(SpoolSettings {
        mode: spool.word("mode", mode).unwrap_or_default(),
        max_size: spool.size("max_size").map_or(0, |size| size.value),
        sync: spool.word("sync", sync).unwrap_or(spool::Sync::Always),
    })
}

fn framing(word: &str) -> Option<Framing> {
    Some(match word {
        "auto" => Framing::Auto,
        "octet" => Framing::Octet,
        "lf" => Framing::Lf,
        "nul" => Framing::Nul,
        _ => return None,
    })
}

fn protocol(word: &str) -> Option<Protocol> {
    Some(match word {
        "auto" => Protocol::Auto,
        "rfc5424" => Protocol::Rfc5424,
        "rfc3164" => Protocol::Rfc3164,
        "none" => Protocol::None,
        _ => return None,
    })
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

fn hold_deleted(hold: &Fields<'_>) -> HoldDeleted {
    HoldDeleted {
        age: hold.duration("age"),
        bytes: hold.size("bytes").map(|size| size.value),
        min_free: hold.percent("min_free"),
    }
}

fn lines(from: &Fields<'_>) -> Lines {
    let max_line = from.table("max_line", keys::MAX_LINE);
    let size = max_line
        .size("size")
        .unwrap_or_else(|| Spanned::new(0, max_line.span()));
    let policy = max_line.word("policy", policy).unwrap_or_default();
    let text = |name: &str, default: &str| {
        (from.text(name)).unwrap_or_else(|| Spanned::new(default.to_owned(), from.span()))
    };
    let filter = from.table("filter", keys::FILTER);
    Lines {
        max_line: size.map(|size| MaxLine { size, policy }),
        line_end: text("line_end", "lf"),
        encoding: text("encoding", "utf-8"),
        partial_line_timeout: from.duration("partial_line_timeout"),
        multiline: from
            .table_if_present("multiline", keys::MULTILINE)
            .map(|fields| Multiline {
                span: fields.span(),
                start: fields.text("start"),
                r#continue: fields.text("continue"),
                end: fields.text("end"),
                max_lines: fields.parsed("max_lines").map_or(0, |lines| lines.value),
                timeout: fields.duration("timeout").unwrap_or_default(),
            }),
        include: filter.text("include"),
        exclude: filter.text("exclude"),
    }
}

fn policy(word: &str) -> Option<LongLine> {
    Some(match word {
        "split" => LongLine::Split,
        "truncate" => LongLine::Truncate,
        "drop" => LongLine::Drop,
        "dead_letter" => LongLine::DeadLetter,
        _ => return None,
    })
}

fn route(to: &Fields<'_>) -> Route {
    let or_default = |span| Spanned::new(Compression::default(), span);
    let batch = to.table("batch", keys::BATCH);
    let range = to.table("timestamp_range", keys::TIMESTAMP_RANGE);
    let is = |key: &str, word: &str| {
        let text = to.text(key).map(|text| text.map(|text| text == word));
        text.unwrap_or_else(|| Spanned::new(false, to.span()))
    };
    Route {
        span: to.span(),
        cluster: to.text("cluster"),
        topic: to.text("topic"),
        key: to.text("key"),
        partitioner: partitioner(to),
        hash_of: to.table("partitioner", keys::HASH).text("of"),
        partition: to.text("partition"),
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
        pack: to.has("pack").then(|| to.size("pack")).flatten(),
        delivery: delivery(to),
        on_refused: to.word("on_refused", on_refused).unwrap_or_default(),
        dead_letter_after: (to.table_if_present("on_missing_topic", keys::MISSING_TOPIC))
            .and_then(|missing| missing.spanned_duration("dead_letter_after")),
        format: format(to),
        event_time: is("timestamp", "event"),
        timestamp_range: to.has("timestamp_range").then(|| range.span()),
        range: TimestampRange {
            past: range.duration("past").unwrap_or_default(),
            future: range.duration("future").unwrap_or_default(),
        },
        headers: headers(to),
        fields: to
            .pairs("fields")
            .into_iter()
            .map(|(name, value)| Property { name, value })
            .collect(),
    }
}

fn partitioner(to: &Fields<'_>) -> Option<Spanned<Partitioner>> {
    if let Some(table) = to.table_if_present("partitioner", keys::HASH) {
        let hash = table.word("hash", Hash::named)?;
        return Some(Spanned::new(Partitioner::Hash(hash), table.span()));
    }
    let word = to.text("partitioner")?;
    let named = Partitioner::named(&word.value)?;
    if named == Partitioner::Manual && to.has("partition") && to.text("partition").is_none() {
        // What it would need is there, and was reported.
        return None;
    }
    Some(word.map(|_| named))
}

fn format(to: &Fields<'_>) -> RecordFormat {
    let table = to.table_if_present("format", keys::FORMAT);
    if let Some(template) = table.and_then(|table| table.text("template")) {
        return RecordFormat::Template(template);
    }
    let is_json = |text: &str| (text == "json").then_some(RecordFormat::Json);
    to.word("format", is_json).unwrap_or(RecordFormat::Raw)
}

/// A name with a list of values stands for a header of each.
fn headers(to: &Fields<'_>) -> Vec<Property> {
    let mut headers = Vec::new();
    for entry in to.named("headers") {
        let values = match entry.node.text() {
            Some(_) => std::slice::from_ref(&entry.node),
            None => entry.node.items(),
        };
        for value in values {
            headers.extend(value.text().map(|text| Property {
                name: entry.key.clone(),
                value: Spanned::new(text.to_owned(), value.span),
            }));
        }
    }
    headers
}

fn delivery(to: &Fields<'_>) -> Spanned<Delivery> {
    let exactly_once = |fields: &Fields<'_>| Delivery::ExactlyOnce {
        commit: fields.duration("commit").unwrap_or_default(),
        timeout: fields.duration("timeout").unwrap_or_default(),
    };
    if let Some(table) = to.table_if_present("delivery", keys::DELIVERY) {
        let fields = table.table("exactly_once", keys::EXACTLY_ONCE);
        return Spanned::new(exactly_once(&fields), table.span());
    }
    let word = to.text("delivery");
    word.map_or_else(
        || Spanned::new(Delivery::AtLeastOnce, to.span()),
        |word| {
            word.map(|word| match word.as_str() {
                "exactly_once" => exactly_once(&Fields::new(keys::EXACTLY_ONCE, None, to.span())),
                _ => Delivery::AtLeastOnce,
            })
        },
    )
}

fn output_delivery(to: &Fields<'_>) -> Spanned<OutputDelivery> {
    let exactly_once = |fields: &Fields<'_>| OutputDelivery::ExactlyOnce {
        timeout: fields.duration("timeout").unwrap_or_default(),
    };
    if let Some(table) = to.table_if_present("delivery", keys::OUTPUT_DELIVERY) {
        let fields = table.table("exactly_once", keys::OUTPUT_EXACTLY_ONCE);
        return Spanned::new(exactly_once(&fields), table.span());
    }
    let word = to.text("delivery");
    word.map_or_else(
        || Spanned::new(OutputDelivery::AtLeastOnce, to.span()),
        |word| {
            word.map(|word| match word.as_str() {
                "exactly_once" => {
                    exactly_once(&Fields::new(keys::OUTPUT_EXACTLY_ONCE, None, to.span()))
                }
                _ => OutputDelivery::AtLeastOnce,
            })
        },
    )
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
            partitions: from.partitions("partitions"),
            group: from.text("group"),
            start_at: from
                .text("start_at")
                .unwrap_or_else(|| Spanned::new("earliest".to_owned(), from.span())),
            protocol: from.text("group_protocol").map_or_else(
                || Spanned::new(GroupProtocol::default(), from.span()),
                |word| word.map(|word| group_protocol(&word)),
            ),
            on_out_of_range: from
                .word("on_out_of_range", out_of_range)
                .unwrap_or_default(),
            isolation: from.text("isolation").map_or_else(
                || Spanned::new(Isolation::default(), from.span()),
                |word| word.map(|word| isolation(&word).unwrap_or_default()),
            ),
            options: properties(&from),
        });
    let to = match fields.kind("to", keys::OUTPUT_KINDS) {
        Some((_, to)) => {
            let sync = to.table("sync", keys::SYNC);
            Some(FileOutput {
                path: to.text("path"),
                format: output_format(&to),
                time_zone: to
                    .text("time_zone")
                    .unwrap_or_else(|| Spanned::new("UTC".to_owned(), to.span())),
                on_refused: to.word("on_refused", file_on_refused).unwrap_or_default(),
                sync: Sync {
                    every: sync.duration("every").unwrap_or_default(),
                    bytes: sync.size("bytes").map_or(0, |size| size.value),
                },
                max_open_files: to.parsed("max_open_files").map_or(1, |count| count.value),
                mode: to.mode("mode").unwrap_or_default(),
                delivery: output_delivery(&to),
                compression: file_compression(&to),
                rotate: to.table_if_present("rotate", keys::ROTATE).map(|rotate| {
                    let when = Rotate {
                        size: rotate.size("size").map(|size| size.value),
                        every: rotate.duration("every"),
                    };
                    Spanned::new(when, rotate.span())
                }),
                part_suffix: to.text("part_suffix"),
                retention: to
                    .table_if_present("retention", keys::RETENTION)
                    .map(|retention| {
                        let kept = Retention {
                            files: retention.parsed("files").map(|files| files.value),
                            age: retention.duration("age"),
                            total_size: retention.size("total_size").map(|size| size.value),
                        };
                        Spanned::new(kept, retention.span())
                    }),
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

fn file_compression(to: &Fields<'_>) -> Spanned<FileCompression> {
    if let Some(table) = to.table_if_present("compression", keys::FILE_COMPRESSION) {
        let level = table.parsed("level");
        let span = level.as_ref().map_or(table.span(), |level| level.span);
        let compression = FileCompression {
            codec: table.word("codec", file_codec).unwrap_or_default(),
            level: level.map(|level| level.value),
        };
        return Spanned::new(compression, span);
    }
    to.text("compression").map_or_else(
        || Spanned::new(FileCompression::default(), to.span()),
        |text| {
            text.map(|word| FileCompression {
                codec: file_codec(&word).unwrap_or_default(),
                level: None,
            })
        },
    )
}

fn file_codec(word: &str) -> Option<FileCodec> {
    Some(match word {
        "none" => FileCodec::None,
        "gzip" => FileCodec::Gzip,
        "zstd" => FileCodec::Zstd,
        _ => return None,
    })
}

fn group_protocol(word: &str) -> GroupProtocol {
    match word {
        "consumer" => GroupProtocol::Consumer,
        _ => GroupProtocol::Classic,
    }
}

fn out_of_range(word: &str) -> Option<OutOfRange> {
    Some(match word {
        "earliest" => OutOfRange::Earliest,
        "latest" => OutOfRange::Latest,
        "stop" => OutOfRange::Stop,
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

fn output_format(to: &Fields<'_>) -> FileFormat {
    let table = to.table_if_present("format", keys::LINE_FORMAT);
    if let Some(template) = table.and_then(|table| table.text("template")) {
        return FileFormat::Template(template);
    }
    let is_json = |text: &str| (text == "json").then_some(FileFormat::Json);
    to.word("format", is_json).unwrap_or(FileFormat::Raw)
}

fn file_on_refused(word: &str) -> Option<FileOnRefused> {
    Some(match word {
        "dead_letter" => FileOnRefused::DeadLetter,
        "stop" => FileOnRefused::Stop,
        "drop" => FileOnRefused::Drop,
        _ => return None,
    })
}
