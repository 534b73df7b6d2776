//! What a `file` output can be told.

use std::time::Duration;

/// The keys of an output's `to:` with `type: file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutputSettings {
    /// Template of the file's path: `{topic} {partition} {key}` and strftime of the record's time, UTC. Absolute.
    pub path: String,
    pub format: OutputFormat,
    pub sync: Sync,
    /// How many files are open at once; the least recently used is closed.
    pub max_open_files: usize,
    /// Permission bits of new files.
    pub mode: u32,
    pub delivery: Delivery,
}

/// What a record's offset and its bytes have to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Bytes are durable before the offset is committed.
    #[default]
    AtLeastOnce,
    /// Offsets and lengths are one transaction, which the brokers abort when it is older than `timeout`.
    ExactlyOnce { timeout: Duration },
}

/// How a consumed record becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// The value and a line feed.
    #[default]
    Raw,
    /// One lossless JSON object a line.
    Json,
}

/// When written data is made durable and its offsets are committed: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    pub every: Duration,
    /// Bytes written, over all files of the output.
    pub bytes: u64,
}
