//! What is counted, and how it is shown.
//!
//! The parts of the daemon count for themselves; when somebody looks, the daemon takes a [`Snapshot`] of all of them. It is plain data, and both
//! forms are made from it: [`render`] for `/metrics` and [`status_json`] for `/status`. So the two never disagree about what a number means.
//!
//! Invariant: the books balance in every snapshot, in lines and in bytes:
//! `read = acked + unconfirmed + dead_lettered + filtered + dropped + spooled + in_flight`. This module only shows; who fills it takes the numbers
//! of one input under one lock.

mod exposition;
mod family;
mod status;
#[cfg(test)]
mod strict;

pub use exposition::render;
pub use status::status_json;

/// Lines (of an output: records) and their bytes in the source, line ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub lines: u64,
    pub bytes: u64,
}

impl Count {
    fn sum<'a>(counts: impl IntoIterator<Item = &'a Count>) -> Count {
        counts
            .into_iter()
            .fold(Count::default(), |sum, count| Count {
                lines: sum.lines.saturating_add(count.lines),
                bytes: sum.bytes.saturating_add(count.bytes),
            })
    }
}

/// Everything that is shown, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Of logferry.
    pub version: &'static str,
    /// When the daemon started, in seconds since 1970-01-01T00:00:00Z.
    pub start_time: f64,
    pub inputs: Vec<InputSnapshot>,
    pub outputs: Vec<OutputSnapshot>,
    pub producers: Vec<ProducerSnapshot>,
    pub budget: BudgetSnapshot,
}

/// One input: its books and what is around them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InputSnapshot {
    /// Its key under `inputs:`.
    pub name: String,
    /// One word, such as `running`, `waiting`, `draining`, `stopped`, `failed`.
    pub state: &'static str,
    /// Taken from the source.
    pub read: Count,
    /// Confirmed by the broker.
    pub acked: Count,
    /// Sent with acks 0: nobody confirms them.
    pub unconfirmed: Count,
    /// Set aside.
    pub dead_lettered: Count,
    /// Left out because the configuration says so.
    pub filtered: Count,
    /// Given up, by reason.
    pub dropped: Vec<(String, Count)>,
    /// On disk, waiting to be sent.
    pub spooled: Count,
    /// Read and not settled.
    pub in_flight: Count,
    /// In the source and not yet read.
    pub unread_bytes: u64,
    /// Gone before it could be read, by reason: `truncated`, `deleted`, `unreadable`. Where only the bytes are known, `lines` is 0.
    pub lost: Vec<(&'static str, Count)>,
    /// Lines of which only the beginning was kept.
    pub truncated: u64,
    /// Records that were sent again, which readers may see twice.
    pub resent: u64,
    /// How often the Kafka client was built anew.
    pub rebuilds: u64,
    /// Files that are followed.
    pub files: u64,
    /// Saved positions that were forgotten because their files were gone for too long.
    pub expired: u64,
    /// Files that are not read because they are older than `ignore_older`.
    pub ignored: u64,
    /// Of inputs with a spool.
    pub spool: Option<SpoolSnapshot>,
    /// Of syslog inputs.
    pub syslog: Option<SyslogSnapshot>,
    /// Age of the oldest line that is not settled; `None`: there is none.
    pub oldest_unread_seconds: Option<f64>,
    /// With `delivery: exactly_once`.
    pub transactions: Option<TransactionsSnapshot>,
}

/// What of an input is on disk. How many lines are there and not under way is in the books.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SpoolSnapshot {
    /// What the segments take that hold anything that is not acknowledged.
    pub bytes: u64,
    pub max_bytes: u64,
    /// What files take beside that which are done, and are written over.
    pub spare_bytes: u64,
    pub segments: u64,
    /// Age of the oldest that is not acknowledged; `None`: there is none.
    pub oldest_seconds: Option<f64>,
    /// What was there at the start; it is among the read.
    pub found: Count,
    /// Segments in which something was damaged.
    pub damaged: u64,
    /// Bytes at the start in which nothing could be read.
    pub unreadable_bytes: u64,
    /// Bytes at the start of a block that a crash had interrupted.
    pub cut_bytes: u64,
}

/// How the transactions of an input or an output ended.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TransactionsSnapshot {
    pub committed: u64,
    pub aborted: u64,
    /// Those of which nobody heard how they ended, until it was found out; they are among the committed or the aborted ones too.
    pub in_doubt: u64,
    /// In seconds since 1970; `None`: none was committed yet.
    pub last_commit: Option<f64>,
}

/// What a syslog input counts besides its books.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyslogSnapshot {
    /// Open now.
    pub connections: u64,
    pub accepted: u64,
    /// Closed at once, because too many were open.
    pub refused: u64,
    /// Closed because nothing came.
    pub timed_out: u64,
    /// Closed because of what came.
    pub broken: u64,
    /// Messages that could not be taken apart, and were delivered whole.
    pub unparsed: u64,
    /// Messages of which the stream ended before they did.
    pub torn: u64,
    /// Event times out of `timestamp_range`.
    pub out_of_range: u64,
    /// Datagrams that the kernel dropped, of all sockets.
    pub kernel_drops: u64,
    /// The sockets that it may drop them from.
    pub sockets: Vec<SocketSnapshot>,
}

/// An address that datagrams come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SocketSnapshot {
    pub name: String,
    pub kernel_drops: u64,
    /// What its buffer holds, in bytes.
    pub buffer: u64,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OutputSnapshot {
    /// Its key under `outputs:`.
    pub name: String,
    /// As for an input.
    pub state: &'static str,
    /// Taken from Kafka.
    pub consumed: Count,
    /// Handed to the operating system.
    pub written: Count,
    /// Made durable by fdatasync.
    pub synced: Count,
    /// Whose offsets the group has.
    pub committed: Count,
    pub syncs: u64,
    /// Records that could not be written for their own sake.
    pub refused: u64,
    /// Records without a value, which `raw` writes as an empty line.
    pub null_values: u64,
    /// Records that retention took before they were read.
    pub skipped: u64,
    /// Topic, partition, records between what is committed and the end.
    pub lag: Vec<(String, i32, u64)>,
    pub open_files: u64,
    /// Files that got their other name because nothing more is written into them.
    pub finished_files: u64,
    /// Those that retention removed.
    pub removed_files: u64,
    /// Files that somebody else moved, removed or changed.
    pub missing_files: u64,
    /// Partitions that this member holds.
    pub assigned: u64,
    /// Topic and partition of those that the configuration names and that do not exist (or have no leader).
    pub absent: Vec<(String, i32)>,
    /// Why nothing more is read for now.
    pub waits: Option<String>,
    /// Absent without `delivery: exactly_once`.
    pub transactions: Option<TransactionsSnapshot>,
}

/// One Kafka client that produces.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ProducerSnapshot {
    pub cluster: String,
    /// Tells the producers of one cluster apart.
    pub producer: String,
    /// Whether any broker of the cluster is connected.
    pub connected: bool,
    /// Handed to the client and not confirmed.
    pub outstanding_records: u64,
    pub outstanding_bytes: u64,
    /// Requests sent to brokers.
    pub requests: u64,
    /// Time from a request to its answer, smoothed, in milliseconds; `None`: not measured.
    pub rtt_ms: Option<f64>,
}

/// What may be in flight over all pipelines, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetSnapshot {
    pub capacity: u64,
    pub used: u64,
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    pub fn count(lines: u64) -> Count {
        Count {
            lines,
            bytes: lines * 100,
        }
    }

    /// One of everything, with awkward names.
    pub fn snapshot() -> Snapshot {
        Snapshot {
            version: "0.1.0",
            start_time: 1_795_246_085.5,
            inputs: vec![
                InputSnapshot {
                    name: "nginx".to_owned(),
                    state: "running",
                    read: count(100),
                    acked: count(80),
                    unconfirmed: count(0),
                    dead_lettered: count(3),
                    filtered: count(2),
                    dropped: vec![
                        ("too \"large\"\\\n".to_owned(), count(1)),
                        ("invalid".to_owned(), count(4)),
                    ],
                    spooled: count(0),
                    in_flight: count(10),
                    unread_bytes: 5,
                    lost: vec![("truncated", Count { lines: 0, bytes: 7 })],
                    truncated: 8,
                    resent: 6,
                    rebuilds: 1,
                    files: 3,
                    expired: 8,
                    ignored: 2,
                    syslog: Some(SyslogSnapshot {
                        connections: 2,
                        accepted: 9,
                        kernel_drops: 4,
                        sockets: vec![SocketSnapshot {
                            name: "udp://0.0.0.0:514".to_owned(),
                            kernel_drops: 4,
                            buffer: 16 << 20,
                        }],
                        ..SyslogSnapshot::default()
                    }),
                    spool: Some(SpoolSnapshot {
                        bytes: 70_000,
                        max_bytes: 1 << 30,
                        spare_bytes: 65_536,
                        segments: 2,
                        oldest_seconds: Some(2.5),
                        found: count(7),
                        damaged: 1,
                        ..SpoolSnapshot::default()
                    }),
                    oldest_unread_seconds: Some(1.5),
                    transactions: Some(TransactionsSnapshot {
                        committed: 12,
                        aborted: 3,
                        in_doubt: 1,
                        last_commit: Some(1_795_246_090.25),
                    }),
                },
                InputSnapshot {
                    name: "pipe".to_owned(),
                    state: "stopped",
                    read: count(9),
                    acked: count(9),
                    ..InputSnapshot::default()
                },
            ],
            outputs: vec![OutputSnapshot {
                name: "archive".to_owned(),
                state: "running",
                consumed: count(50),
                written: count(40),
                synced: count(30),
                committed: count(20),
                syncs: 2,
                refused: 1,
                null_values: 4,
                skipped: 5,
                lag: vec![("web".to_owned(), 0, 11), ("web".to_owned(), 1, 0)],
                open_files: 2,
                finished_files: 5,
                removed_files: 1,
                missing_files: 0,
                assigned: 2,
                absent: vec![("web".to_owned(), 7)],
                waits: None,
                transactions: Some(TransactionsSnapshot {
                    committed: 6,
                    aborted: 2,
                    in_doubt: 1,
                    last_commit: Some(1_795_246_090.25),
                }),
            }],
            producers: vec![ProducerSnapshot {
                cluster: "main".to_owned(),
                producer: "main-1".to_owned(),
                connected: true,
                outstanding_records: 10,
                outstanding_bytes: 1000,
                requests: 77,
                rtt_ms: Some(2.5),
            }],
            budget: BudgetSnapshot {
                capacity: 67_108_864,
                used: 4096,
            },
        }
    }
}
