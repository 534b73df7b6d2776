//! What a `file` output can be told.

use std::time::Duration;

use crate::template::LineTemplate;

/// What the names of files end with that transactions decide about.
pub const PART: &str = ".part";

/// The keys of an output's `to:` with `type: file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOutputSettings {
    /// Template of the file's path: `{topic} {partition} {key}` and strftime of the record's time, UTC. Absolute.
    pub path: String,
    pub format: OutputFormat,
    /// Of times in the path and in templates: `UTC`, `local`, or a name.
    pub time_zone: String,
    pub on_refused: OnRefused,
    pub sync: Sync,
    /// How many files are open at once; the least recently used is closed.
    pub max_open_files: usize,
    /// Permission bits of new files.
    pub mode: u32,
    pub delivery: Delivery,
    pub compression: Compression,
    pub rotate: Rotate,
    pub retention: Retention,
    /// What names of files end with until they are finished.
    pub part_suffix: Option<String>,
}

impl FileOutputSettings {
    /// What the names of files end with that are written to.
    pub fn suffix(&self) -> &str {
        match (&self.part_suffix, self.delivery) {
            (Some(suffix), _) => suffix,
            (None, Delivery::AtLeastOnce) => "",
            (None, Delivery::ExactlyOnce { .. }) => PART,
        }
    }
}

/// What becomes of a record whose path cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefused {
    /// It is set aside.
    #[default]
    DeadLetter,
    /// The output takes nothing more.
    Stop,
    /// It is counted.
    Drop,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compression {
    pub codec: Codec,
    /// The codec's own scale; absent: what the codec does by itself.
    pub level: Option<u32>,
}

/// What files can be compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Codec {
    #[default]
    None,
    Gzip,
    Zstd,
}

impl Codec {
    /// What names of files end with.
    pub fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// How many finished files are kept: what is beyond any of these is removed, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// The newest so many.
    pub files: Option<u64>,
    /// Those that were finished so long ago, or later.
    pub age: Option<Duration>,
    /// The newest that have so many bytes together.
    pub total_size: Option<u64>,
}

impl Retention {
    /// Whether anything is ever removed.
    pub fn is_on(self) -> bool {
        self.files.is_some() || self.age.is_some() || self.total_size.is_some()
    }
}

/// When a file is finished and gets another name: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotate {
    /// When it has so many bytes.
    pub size: Option<u64>,
    /// At multiples of this time since 1970 in UTC.
    pub every: Option<Duration>,
}

impl Rotate {
    /// Whether files are ever finished.
    pub fn is_on(self) -> bool {
        self.size.is_some() || self.every.is_some()
    }
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OutputFormat {
    /// The value and a line feed.
    #[default]
    Raw,
    /// One lossless JSON object a line.
    Json,
    /// What this template makes of it.
    Template(String),
}

impl OutputFormat {
    /// Whether it needs the records' times.
    pub fn uses_time(&self) -> bool {
        match self {
            Self::Raw => false,
            Self::Json => true,
            Self::Template(text) => {
                LineTemplate::parse(text).is_ok_and(|template| template.uses_time())
            }
        }
    }
}

/// When written data is made durable and its offsets are committed: whichever comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    pub every: Duration,
    /// Bytes written, over all files of the output.
    pub bytes: u64,
}
