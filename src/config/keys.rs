//! Every key of the configuration file, in the order of the manual.
//!
//! To add a key: one line here, a field in [`super`], a line in `config/logferry.yaml`. A key that the product will have and this version lacks is
//! listed too, as `later`, so that it is refused by name.

use super::shape::{Key, Kind, Shape, Word, word};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Milliseconds.
const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 3_600_000;

/// The document.
pub const ROOT: &[Key] = &[
    Key::default(
        "id",
        Shape::Text,
        "{host}",
        "This daemon's name in Kafka and in metrics. {host} is the host's name. Letters, digits and . _ - only.",
    ),
    Key::default(
        "data_dir",
        Shape::Text,
        "/var/lib/logferry",
        "Folder of positions, journals and dead letters. One daemon per folder.",
    ),
    Key::optional(
        "log",
        Shape::Table(LOG),
        "The daemon's own log, on standard error.",
    ),
    Key::optional(
        "admin",
        Shape::Table(ADMIN),
        "The HTTP port with /metrics, /live, /ready and /status.",
    ),
    Key::optional("shutdown", Shape::Table(SHUTDOWN), "How the daemon stops."),
    Key::optional(
        "buffer",
        Shape::Table(BUFFER),
        "What may be in memory between source and sink.",
    ),
    Key::optional(
        "checkpoint",
        Shape::Table(CHECKPOINT),
        "How often positions of inputs are saved.",
    ),
    Key::optional(
        "dead_letters",
        Shape::Table(DEAD_LETTERS),
        "The file of records that Kafka refused for their own sake.",
    ),
    Key::optional(
        "clusters",
        Shape::Names(&Shape::Table(CLUSTER)),
        "Kafka clusters by name.",
    ),
    Key::optional(
        "inputs",
        Shape::Names(&Shape::Table(INPUT)),
        "What is read and sent to Kafka, by name.",
    ),
    Key::optional(
        "outputs",
        Shape::Names(&Shape::Table(OUTPUT)),
        "What is consumed from Kafka and written to disk, by name.",
    ),
    Key::later("include", &[]),
    Key::later("defaults", &[]),
];

pub(super) const LOG: &[Key] = &[
    Key::default(
        "level",
        Shape::Word(&[
            word("trace"),
            word("debug"),
            word("info"),
            word("warn"),
            word("error"),
        ]),
        "info",
        "The least severe events that are logged.",
    ),
    Key::default(
        "format",
        Shape::Word(&[word("auto"), word("text"), word("json")]),
        "auto",
        "auto: text on a terminal, text with <N> priorities under systemd.",
    ),
];

pub(super) const ADMIN: &[Key] = &[Key::default_or_off(
    "listen",
    Shape::Address,
    "127.0.0.1:9470",
    "IP:PORT. null turns the port off.",
)];

pub(super) const SHUTDOWN: &[Key] = &[Key::default(
    "timeout",
    Shape::Duration {
        least: 100,
        most: 24 * HOUR,
        word: None,
    },
    "25s",
    "How long a stop may take to deliver what was read. Past it the daemon exits with 75.",
)];

pub(super) const BUFFER: &[Key] = &[Key::default(
    "memory",
    Shape::Size {
        least: MIB,
        most: 1024 * GIB,
    },
    "64MiB",
    "What may be in flight over all pipelines. Half of it is shared out evenly, the rest is a common pool.",
)];

pub(super) const CHECKPOINT: &[Key] = &[
    Key::default(
        "every",
        Shape::Duration {
            least: 1,
            most: HOUR,
            word: None,
        },
        "100ms",
        "Positions are written this often: what a SIGKILL repeats.",
    ),
    Key::default(
        "sync",
        Shape::Duration {
            least: 1,
            most: HOUR,
            word: None,
        },
        "1s",
        "Positions are fsynced this often: what a power cut repeats.",
    ),
];

pub(super) const DEAD_LETTERS: &[Key] = &[
    Key::default(
        "max_size",
        Shape::Size {
            least: 0,
            most: 1024 * GIB,
        },
        "1GiB",
        "Largest size of the dead letters in data_dir.",
    ),
    Key::default(
        "when_full",
        Shape::Word(&[word("stop")]),
        "stop",
        "stop: the pipeline that has one more pauses.",
    ),
];

pub(super) const CLUSTER: &[Key] = &[
    Key::required(
        "brokers",
        Shape::Brokers,
        "A list of HOST:PORT, or `embedded`: an in-process broker for a first try, in memory only.",
    ),
    Key::optional(
        "tls",
        Shape::Table(TLS),
        "Speak TLS to the brokers. `{}` is TLS with the system's CAs.",
    ),
    Key::optional("sasl", Shape::Table(SASL), "Log in."),
    Key::optional(
        "options",
        Shape::Options,
        "librdkafka properties that logferry does not own.",
    ),
];

pub(super) const TLS: &[Key] = &[
    Key::optional(
        "ca_file",
        Shape::Text,
        "PEM file of the CAs that are trusted. Left out: the system's.",
    ),
    Key::optional(
        "cert_file",
        Shape::Text,
        "PEM file of the client's certificate.",
    ),
    Key::optional("key_file", Shape::Text, "PEM file of the client's key."),
    Key::optional("key_password", Shape::Secret, "Password of the key."),
    Key::default(
        "verify",
        Shape::Switch,
        "true",
        "Verify the brokers' certificates and names.",
    ),
];

pub(super) const SASL: &[Key] = &[
    Key::required(
        "mechanism",
        Shape::Word(&[
            word("PLAIN"),
            word("SCRAM-SHA-256"),
            word("SCRAM-SHA-512"),
            word("OAUTHBEARER"),
        ]),
        "How to log in.",
    ),
    Key::required(
        "username",
        Shape::Secret,
        "Who logs in; of OAUTHBEARER the client's id.",
    ),
    Key::required(
        "password",
        Shape::Secret,
        "The password: a text, or better { file: PATH }, { env: NAME } or { credential: NAME }. Of OAUTHBEARER the client's secret.",
    ),
    Key::optional(
        "token_url",
        Shape::Text,
        "Of OAUTHBEARER: where tokens are asked for (OIDC, client credentials).",
    ),
    Key::optional(
        "scope",
        Shape::Text,
        "Of OAUTHBEARER: what tokens are asked for.",
    ),
];

pub(super) const INPUT: &[Key] = &[
    Key::required("from", Shape::Kinds(INPUT_KINDS), "Where lines come from."),
    Key::required("to", Shape::Table(INPUT_TO), "Where they go in Kafka."),
];

pub(super) const INPUT_KINDS: &[Kind] = &[
    Kind {
        name: "file",
        doc: "Files that grow.",
        keys: Some(INPUT_FILE),
    },
    Kind {
        name: "stdin",
        doc: "Standard input.",
        keys: Some(INPUT_STDIN),
    },
    Kind {
        name: "syslog",
        doc: "Syslog messages from sockets.",
        keys: Some(INPUT_SYSLOG),
    },
];

const INPUT_FILE: &[Key] = &[
    Key::required(
        "paths",
        Shape::Texts { least: 1 },
        "Glob patterns of the files to follow. `*` stays within a folder, `**` crosses folders.",
    ),
    Key::optional(
        "exclude",
        Shape::Texts { least: 0 },
        "Glob patterns of files to leave alone. Without `/` they are matched against the file's name.",
    ),
    Key::default(
        "start_at",
        Shape::Word(&[word("beginning"), word("end")]),
        "beginning",
        "Where files that exist at this input's very first start are begun. Files born later are read whole.",
    ),
    Key::default(
        "watch",
        Shape::Word(&[word("auto"), word("poll")]),
        "auto",
        "auto: inotify, with a sweep as authority. poll: the sweep alone.",
    ),
    Key::optional("max_line", Shape::Table(MAX_LINE), "The longest line."),
    LINE_END,
    ENCODING,
    PARTIAL_LINE_TIMEOUT,
    MULTILINE_KEY,
    FILTER_KEY,
    Key::optional(
        "ignore_older",
        Shape::Duration {
            least: 1,
            most: 36_500 * 24 * HOUR,
            word: None,
        },
        "Files without a saved position that were not written to for so long are not read until they are, then from their beginning. Left out: all are read.",
    ),
    Key::default(
        "max_open_files",
        Shape::Count {
            least: 1,
            most: 1_000_000,
        },
        "16384",
        "Files held open at once, at most half of what the process may open. The least recently active one is closed, and opened again when it grows.",
    ),
    Key::optional(
        "hold_deleted",
        Shape::Table(HOLD_DELETED),
        "How long deleted files that are not read to their end are held open. Past a limit the one that was deleted first is given up, and counted as lost.",
    ),
];

const INPUT_STDIN: &[Key] = &[
    Key::optional("max_line", Shape::Table(MAX_LINE), "The longest line."),
    LINE_END,
    ENCODING,
    PARTIAL_LINE_TIMEOUT,
    MULTILINE_KEY,
    FILTER_KEY,
    SPOOL_KEY,
];

const SPOOL_KEY: Key = Key::optional(
    "spool",
    Shape::Table(SPOOL),
    "What was read waits on disk for Kafka, under data_dir. Left out: in memory alone.",
);

pub(super) const SPOOL: &[Key] = &[
    Key::default(
        "mode",
        Shape::Word(&[word("always"), word("overflow")]),
        "always",
        "always: everything is written before it is sent. overflow: what memory has no room for.",
    ),
    Key::default(
        "max_size",
        Shape::Size {
            least: MIB,
            most: 1 << 50,
        },
        "1GiB",
        "What is not acknowledged may take so much of the disk. Past it senders wait, and the kernel drops datagrams.",
    ),
    Key::default(
        "sync",
        Shape::DurationOrWords {
            least: 1,
            most: HOUR,
            words: &["always", "none"],
        },
        "1s",
        "What a power cut may take: what was written in so long (a duration), nothing (always), or what the kernel had not written back (none).",
    ),
];

pub(super) const HOLD_DELETED: &[Key] = &[
    Key::default_or_off(
        "age",
        Shape::Duration {
            least: 1,
            most: 36_500 * 24 * HOUR,
            word: None,
        },
        "24h",
        "Since a file was deleted. null: no limit.",
    ),
    Key::default_or_off(
        "bytes",
        Shape::Size {
            least: 0,
            most: 1 << 62,
        },
        "5GiB",
        "What the held files of the input may take of their disks. null: no limit.",
    ),
    Key::default_or_off(
        "min_free",
        Shape::Percent,
        "5%",
        "So much of a file system stays free. null: no limit.",
    ),
];

const INPUT_SYSLOG: &[Key] = &[
    Key::required(
        "listen",
        Shape::Listen,
        "A list of udp://IP:PORT, tcp://IP:PORT, tls://IP:PORT, unix+stream:///PATH, unix+dgram:///PATH; or systemd: the sockets that the service manager opened.",
    ),
    Key::optional(
        "tls",
        Shape::Table(SERVER_TLS),
        "The certificate of tls:// and who may send there.",
    ),
    Key::default(
        "framing",
        Shape::Word(&[word("auto"), word("octet"), word("lf"), word("nul")]),
        "auto",
        "How messages of a stream are told apart: by their length (octet), by the byte after them, or by looking at each (auto).",
    ),
    Key::default(
        "protocol",
        Shape::Word(&[word("auto"), word("rfc5424"), word("rfc3164"), word("none")]),
        "auto",
        "Which form messages have. none: they are not looked into.",
    ),
    Key::default(
        "time_zone",
        Shape::Text,
        "local",
        "Of time stamps that name none: a name like Europe/Berlin, or local.",
    ),
    Key::optional("max_line", Shape::Table(MAX_LINE), "The longest message."),
    Key::optional(
        "filter",
        Shape::Table(SYSLOG_FILTER),
        "Which messages are sent. The others are counted as filtered.",
    ),
    Key::default(
        "max_connections",
        Shape::Count {
            least: 1,
            most: 1_000_000,
        },
        "1000",
        "Connections that may be open. Further ones are closed at once.",
    ),
    Key::optional(
        "idle_timeout",
        Shape::Duration {
            least: 1_000,
            most: 24 * HOUR,
            word: None,
        },
        "A connection on which nothing came for so long is closed. Left out: never.",
    ),
    Key::default_or_off(
        "receive_buffer",
        Shape::Size {
            least: 4 * KIB,
            most: GIB,
        },
        "8MiB",
        "The kernel's buffer of each UDP socket; net.core.rmem_max has to allow it. null: what the system gives.",
    ),
    Key::default(
        "workers",
        Shape::Count { least: 1, most: 64 },
        "1",
        "Threads that receive. Each has its own sockets of udp://, tcp:// and tls:// (SO_REUSEPORT), among which the kernel divides the senders.",
    ),
    Key::default(
        "mode",
        Shape::Mode,
        "0660",
        "Permission bits of unix sockets, octal.",
    ),
    Key::optional(
        "owner",
        Shape::Text,
        "Who owns unix sockets: USER, USER:GROUP or :GROUP, by name or number. Left out: the daemon's user and group.",
    ),
    SPOOL_KEY,
];

pub(super) const SERVER_TLS: &[Key] = &[
    Key::required(
        "cert_file",
        Shape::Text,
        "PEM file of the certificate, those between it and its CA after it.",
    ),
    Key::required("key_file", Shape::Text, "PEM file of its key."),
    Key::optional(
        "client_ca_file",
        Shape::Text,
        "PEM file of the CAs whose clients may send. Left out: anybody may.",
    ),
];

pub(super) const TIMESTAMP_RANGE: &[Key] = &[
    Key::default(
        "past",
        Shape::Duration {
            least: 0,
            most: 36_500 * 24 * HOUR,
            word: None,
        },
        "7d",
        "An event's time may be so long ago.",
    ),
    Key::default(
        "future",
        Shape::Duration {
            least: 0,
            most: 36_500 * 24 * HOUR,
            word: None,
        },
        "10m",
        "And so far ahead.",
    ),
];

pub(super) const MISSING_TOPIC: &[Key] = &[Key::required(
    "dead_letter_after",
    Shape::Duration {
        least: 0,
        most: 365 * 24 * HOUR,
        word: None,
    },
    "So long a topic may be missing, from the broker's first word of it on. The time in which no broker answers does not count.",
)];

pub(super) const MAX_LINE: &[Key] = &[
    Key::default(
        "size",
        Shape::Size {
            least: 16,
            most: GIB,
        },
        "256KiB",
        "In bytes, without the line end.",
    ),
    Key::default(
        "policy",
        Shape::Word(&[
            word("split"),
            word("truncate"),
            word("drop"),
            word("dead_letter"),
        ]),
        "split",
        "split: a longer line becomes several records. truncate: its first bytes are sent. dead_letter: they are set aside.",
    ),
];

const LINE_END: Key = Key::default(
    "line_end",
    Shape::Text,
    "lf",
    "lf (a CR before it is cut), nul, or the text that stands between lines.",
);

const ENCODING: Key = Key::default(
    "encoding",
    Shape::Text,
    "utf-8",
    "utf-8, utf-16le, utf-16be, latin-1 or another label of the WHATWG's Encoding Standard. Records are UTF-8.",
);

const PARTIAL_LINE_TIMEOUT: Key = Key::optional(
    "partial_line_timeout",
    Shape::Duration {
        least: 1,
        most: 24 * HOUR,
        word: None,
    },
    "An unterminated last line is sent after this time. Left out: it waits for its end.",
);

const MULTILINE_KEY: Key = Key::optional(
    "multiline",
    Shape::Table(MULTILINE),
    "Lines that make one record, by exactly one of start, continue and end.",
);

pub(super) const MULTILINE: &[Key] = &[
    Key::optional(
        "start",
        Shape::Text,
        "Regular expression: a line that matches begins a record.",
    ),
    Key::optional(
        "continue",
        Shape::Text,
        "Regular expression: a line that matches belongs to the line before it.",
    ),
    Key::optional(
        "end",
        Shape::Text,
        "Regular expression: a line that matches ends a record.",
    ),
    Key::default(
        "max_lines",
        Shape::Count {
            least: 1,
            most: 1_000_000,
        },
        "500",
        "A record has at most so many lines; the next line begins another one.",
    ),
    Key::default(
        "timeout",
        Shape::Duration {
            least: 1,
            most: 24 * HOUR,
            word: None,
        },
        "1s",
        "A record is over when nothing came for this long.",
    ),
];

const FILTER_KEY: Key = Key::optional(
    "filter",
    Shape::Table(FILTER),
    "Which records are sent. The others are counted as filtered.",
);

const INCLUDE: Key = Key::optional(
    "include",
    Shape::Text,
    "Regular expression: only what matches is sent.",
);

const EXCLUDE: Key = Key::optional(
    "exclude",
    Shape::Text,
    "Regular expression: what matches is not sent.",
);

pub(super) const FILTER: &[Key] = &[INCLUDE, EXCLUDE];

pub(super) const SYSLOG_FILTER: &[Key] = &[
    Key::optional(
        "of",
        Shape::Text,
        "Template of what is looked at, like {syslog.severity}. Left out: the whole message.",
    ),
    INCLUDE,
    EXCLUDE,
];

pub(super) const INPUT_TO: &[Key] = &[
    Key::optional(
        "cluster",
        Shape::Text,
        "Name of a cluster. May be left out when there is one.",
    ),
    Key::required(
        "topic",
        Shape::Text,
        "Template of the topic's name: {id} {host} {input} {file.name} {line} {json.FIELD}; {syslog.facility} and its like of syslog.",
    ),
    Key::optional(
        "key",
        Shape::TextOrEmpty,
        "Template of the key: {id} {host} {input} {file.path} {file.name} {file.dir} {file.offset} {line} {json.FIELD}. Left out, or where a field is missing: no key.",
    ),
    Key::default(
        "partitioner",
        Shape::WordOrTable(PARTITIONERS, HASH),
        "murmur2_random",
        "How a record's partition is chosen: by its key as other clients do it, by turns, by `partition`, or { hash, of }.",
    ),
    Key::optional(
        "partition",
        Shape::Text,
        "Of partitioner: manual. A number, or a template like the key that makes one. A record for which it makes none is refused.",
    ),
    Key::default(
        "acks",
        Shape::Word(&[word("all"), word("-1"), word("1"), word("0")]),
        "all",
        "Which brokers must have a record before it counts as delivered.",
    ),
    Key::default(
        "compression",
        Shape::WordOrTable(CODECS, COMPRESSION),
        "none",
        "Codec, or { codec, level }.",
    ),
    Key::optional(
        "batch",
        Shape::Table(BATCH),
        "How records are put together.",
    ),
    Key::default(
        "max_record",
        Shape::Size {
            least: 1_000,
            most: 1_000_000_000,
        },
        "1000000B",
        "What one record may have, key and headers included. The brokers' message.max.bytes must allow it.",
    ),
    Key::optional(
        "pack",
        Shape::Size {
            least: KIB,
            most: 1024 * KIB,
        },
        "Lines of files and standard input that follow each other become one record of up to so many bytes, with a line feed between them.",
    ),
    Key::default(
        "format",
        Shape::WordOrTable(&[word("raw"), word("json")], FORMAT),
        "raw",
        "raw: the line's bytes, unchanged. json: an object with what is known of it. { template: TEXT }: what the template makes of it.",
    ),
    Key::default(
        "delivery",
        Shape::WordOrTable(&[word("at_least_once"), word("exactly_once")], DELIVERY),
        "at_least_once",
        "at_least_once: a saved position passes only what the broker confirmed. exactly_once: lines and positions are one transaction; of files only.",
    ),
    Key::default(
        "timestamp",
        Shape::Word(&[word("read"), word("event")]),
        "read",
        "read: when the line was read. event (of syslog): the time that the message tells, within timestamp_range.",
    ),
    Key::default(
        "on_refused",
        Shape::Word(&[word("dead_letter"), word("stop"), word("drop")]),
        "dead_letter",
        "What becomes of a record that Kafka refuses for its own sake, such as one that is too large.",
    ),
    Key::optional(
        "timestamp_range",
        Shape::Table(TIMESTAMP_RANGE),
        "Of timestamp: event. Outside of it the time of reading is taken, and counted.",
    ),
    Key::optional(
        "headers",
        Shape::Names(&Shape::TextOrTexts),
        "Headers of each record, by name; templates like the key, or a list of them for a name that comes several times.",
    ),
    Key::optional(
        "fields",
        Shape::Names(&Shape::TextOrEmpty),
        "With format: json: texts that are added to each object.",
    ),
    Key::default(
        "on_missing_topic",
        Shape::WordOrTable(&[word("wait")], MISSING_TOPIC),
        "wait",
        "Of topics that data name. wait: lines for one that does not exist wait, others flow while memory is left. { dead_letter_after: TIME }: they are set aside then.",
    ),
];

const PARTITIONERS: &[Word] = &[
    word("murmur2_random"),
    word("murmur2"),
    word("consistent_random"),
    word("consistent"),
    word("fnv1a_random"),
    word("fnv1a"),
    word("sarama_reference"),
    word("random"),
    word("round_robin"),
    word("sticky"),
    word("manual"),
];

pub(super) const HASH: &[Key] = &[
    Key::required(
        "hash",
        Shape::Word(&[word("crc32"), word("murmur2"), word("fnv1a")]),
        "The hash: as consistent, murmur2 and fnv1a have it.",
    ),
    Key::required(
        "of",
        Shape::TextOrEmpty,
        "Template of what is hashed, like the key; the key does not count.",
    ),
];

const CODECS: &[Word] = &[
    word("none"),
    word("gzip"),
    word("snappy"),
    word("lz4"),
    word("zstd"),
];

pub(super) const COMPRESSION: &[Key] = &[
    Key::required("codec", Shape::Word(CODECS), "The codec."),
    Key::optional(
        "level",
        Shape::Count { least: 0, most: 12 },
        "The codec's own scale: gzip 0 to 9, lz4 0 to 12, zstd 0 to 12.",
    ),
];

pub(super) const FORMAT: &[Key] = &[Key::required(
    "template",
    Shape::TextOrEmpty,
    "Template of the value, with what may stand in the key. What is missing is left out.",
)];

pub(super) const BATCH: &[Key] = &[
    Key::default(
        "linger",
        Shape::Duration {
            least: 0,
            most: 900_000,
            word: Some("auto"),
        },
        "auto",
        "How long a record waits for others. auto follows the acknowledgement time, 5 to 50 ms.",
    ),
    Key::default(
        "size",
        Shape::Size {
            least: KIB,
            most: 1_000_000_000,
        },
        "1MB",
        "Largest batch on the wire.",
    ),
];

pub(super) const DELIVERY: &[Key] = &[Key::required(
    "exactly_once",
    Shape::Table(EXACTLY_ONCE),
    "How transactions are made: { commit: 1s, timeout: 30s }.",
)];

pub(super) const EXACTLY_ONCE: &[Key] = &[
    Key::default(
        "commit",
        Shape::Duration {
            least: 10,
            most: MINUTE,
            word: None,
        },
        "1s",
        "A transaction is committed after this time, or when it fills half of the input's share of the memory.",
    ),
    Key::default(
        "timeout",
        Shape::Duration {
            least: 2_000,
            most: 15 * MINUTE,
            word: None,
        },
        "30s",
        "The broker aborts a transaction that is older: so long a killed daemon can hold up readers and its successor.",
    ),
];

pub(super) const OUTPUT: &[Key] = &[
    Key::required("from", Shape::Table(OUTPUT_FROM), "What is consumed."),
    Key::required("to", Shape::Kinds(OUTPUT_KINDS), "Where it is written."),
];

pub(super) const OUTPUT_FROM: &[Key] = &[
    Key::optional(
        "cluster",
        Shape::Text,
        "Name of a cluster. May be left out when there is one.",
    ),
    Key::required(
        "topics",
        Shape::Texts { least: 1 },
        "Names, or regular expressions that begin with ^.",
    ),
    Key::required(
        "group",
        Shape::Text,
        "The consumer group. {id} and {host} may stand in it.",
    ),
    Key::default(
        "start_at",
        Shape::Text,
        "earliest",
        "Where a group without an offset begins: earliest, latest, or the first record since a time, like 2026-11-21T07:00:00Z.",
    ),
    Key::default(
        "on_out_of_range",
        Shape::Word(&[word("earliest"), word("latest"), word("stop")]),
        "earliest",
        "Where to go on when retention took the next record. stop: not at all, the output stops and says so.",
    ),
    Key::default(
        "isolation",
        Shape::Word(&[word("read_committed"), word("read_uncommitted")]),
        "read_committed",
        "Whether records of open and aborted transactions are seen.",
    ),
    Key::default(
        "group_protocol",
        Shape::Word(&[word("classic"), word("consumer")]),
        "classic",
        "classic: cooperative-sticky. consumer: the brokers assign (KIP-848, Kafka 4).",
    ),
    Key::optional(
        "options",
        Shape::Options,
        "librdkafka properties of this consumer. {id} and {host} may stand in values.",
    ),
    Key::optional(
        "partitions",
        Shape::Partitions,
        "Consume these partitions, like { web: [0, 3] }, without a group's balancing. Each of the topics needs its list.",
    ),
];

pub(super) const OUTPUT_KINDS: &[Kind] = &[Kind {
    name: "file",
    doc: "Files on disk.",
    keys: Some(OUTPUT_FILE),
}];

const OUTPUT_FILE: &[Key] = &[
    Key::required(
        "path",
        Shape::Text,
        "Template of the file's path: {topic} {partition} {key} {header.NAME} {id} {host} and strftime of the record's time.",
    ),
    Key::default(
        "format",
        Shape::WordOrTable(&[word("raw"), word("json")], LINE_FORMAT),
        "raw",
        "raw: the value and a line feed. json: one lossless object a line. { template: TEXT }: what it makes, line ends included.",
    ),
    Key::default(
        "time_zone",
        Shape::Text,
        "UTC",
        "Of strftime in path and template: UTC, local, or a name like Europe/Berlin.",
    ),
    Key::optional(
        "sync",
        Shape::Table(SYNC),
        "When data is made durable and offsets are committed: whichever comes first.",
    ),
    Key::default(
        "max_open_files",
        Shape::Count {
            least: 1,
            most: 65_536,
        },
        "256",
        "The least recently used one is closed.",
    ),
    Key::default(
        "mode",
        Shape::Mode,
        "0640",
        "Permission bits of new files, octal.",
    ),
    Key::default(
        "delivery",
        Shape::WordOrTable(
            &[word("at_least_once"), word("exactly_once")],
            OUTPUT_DELIVERY,
        ),
        "at_least_once",
        "at_least_once: data is on disk before its offset is committed. exactly_once: offsets and lengths of files are one transaction.",
    ),
    Key::default(
        "compression",
        Shape::WordOrTable(FILE_CODECS, FILE_COMPRESSION),
        "none",
        "Codec of the files, or { codec: zstd, level: 3 }. A frame ends at every sync. Names end with .gz or .zst.",
    ),
    Key::default(
        "on_refused",
        Shape::Word(&[word("dead_letter"), word("stop"), word("drop")]),
        "dead_letter",
        "What becomes of a record whose path cannot be made. stop: the output takes nothing more. drop: it is counted.",
    ),
    Key::optional(
        "rotate",
        Shape::Table(ROTATE),
        "When a file is finished: it is renamed NAME.FIRST, by its first offset or the time when it began, never over another.",
    ),
    Key::optional(
        "part_suffix",
        Shape::Text,
        "What names of files end with until they are finished, like .part; without it they have it under exactly_once only.",
    ),
    Key::optional(
        "retention",
        Shape::Table(RETENTION),
        "Which finished files are kept; only what this output finished and has in its journal is ever removed.",
    ),
];

pub(super) const RETENTION: &[Key] = &[
    Key::optional(
        "files",
        Shape::Count {
            least: 1,
            most: 1_000_000,
        },
        "The newest so many of the output.",
    ),
    Key::optional(
        "age",
        Shape::Duration {
            least: MINUTE,
            most: 3650 * 24 * HOUR,
            word: None,
        },
        "Those that were finished so long ago, or later.",
    ),
    Key::optional(
        "total_size",
        Shape::Size {
            least: 1,
            most: 1024 * 1024 * GIB,
        },
        "The newest that have so many bytes together.",
    ),
];

pub(super) const LINE_FORMAT: &[Key] = &[Key::required(
    "template",
    Shape::TextOrEmpty,
    "Template with {topic} {partition} {offset} {key} {value} {timestamp} {header.NAME} {id} {host} and strftime of the record's time. What is missing \
     is left out.",
)];

const FILE_CODECS: &[Word] = &[word("none"), word("gzip"), word("zstd")];

pub(super) const FILE_COMPRESSION: &[Key] = &[
    Key::required("codec", Shape::Word(FILE_CODECS), "The codec."),
    Key::optional(
        "level",
        Shape::Count { least: 1, most: 19 },
        "The codec's own scale: gzip 1 to 9 (6 by itself), zstd 1 to 19 (3 by itself).",
    ),
];

pub(super) const ROTATE: &[Key] = &[
    Key::optional(
        "size",
        Shape::Size {
            least: 1,
            most: 1024 * GIB,
        },
        "With the records that bring it to so many bytes.",
    ),
    Key::optional(
        "every",
        Shape::Duration {
            least: 1_000,
            most: 365 * 24 * HOUR,
            word: None,
        },
        "At multiples of this time since 1970 in UTC, like every full hour; also when nothing comes.",
    ),
];

pub(super) const OUTPUT_DELIVERY: &[Key] = &[Key::required(
    "exactly_once",
    Shape::Table(OUTPUT_EXACTLY_ONCE),
    "How transactions are made: { timeout: 10s }.",
)];

pub(super) const OUTPUT_EXACTLY_ONCE: &[Key] = &[Key::default(
    "timeout",
    Shape::Duration {
        least: 2_000,
        most: 900_000,
        word: None,
    },
    "10s",
    "The broker aborts a transaction that is older: so long a member that was killed can hold up those that take its partitions over.",
)];

pub(super) const SYNC: &[Key] = &[
    Key::default(
        "every",
        Shape::Duration {
            least: 1,
            most: HOUR,
            word: None,
        },
        "1s",
        "After this time.",
    ),
    Key::default(
        "bytes",
        Shape::Size {
            least: 1,
            most: 1024 * GIB,
        },
        "16MiB",
        "After so many bytes over all files of the output.",
    ),
];
