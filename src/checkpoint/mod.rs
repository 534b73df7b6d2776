//! Where inputs resume: for every file how far it was read *and delivered*, kept across kills and power cuts.
//!
//! | file in `data_dir` | is |
//! |---|---|
//! | `lock` | held (flock) for the daemon's life; holds its process id |
//! | `version` | the number of the data_dir's format |
//! | `checkpoint.json` | the snapshot: everything at one moment, with its generation and CRC |
//! | `checkpoint.GENERATION.journal` | what was saved since that snapshot, a CRC'd line for each save |
//! | `NAME.damaged-TIME` | what could not be read; set aside, never deleted |
//!
//! The durable order of a new snapshot, at any step of which the process or the machine may end:
//!
//! 1. the next generation's journal is created, empty;
//! 2. the snapshot is written as `checkpoint.json.new` and synced;
//! 3. the folder is synced: both names are durable;
//! 4. the snapshot is renamed into place, and the folder is synced again;
//! 5. only now does anything go into the new journal, and the old one is removed.
//!
//! The new journal's first line changes nothing: it is there so that a snapshot that somebody takes away is missed, while
//! the empty journal of a first start that came to nothing means nothing.
//!
//! [`view()`] reads all that without the lock, also while a daemon writes.
//!
//! Invariant: what [`Store::open`] finds is the state after some [`Store::save`], at or after the last one that a
//! successful [`Store::sync`] covered. What cannot be read is an error that says what to do; it is never read as empty.

mod data_dir;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod state;
mod store;
mod view;

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use data_dir::{DataDir, DataDirError};
pub use state::{Input, Inputs};
pub use store::{Cut, Recovered, Store, StoreError};
pub use view::{ViewError, view};

/// A followed file's name within its input. Chosen by [`Store::next_key`], never used again for another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileKey(pub u64);

/// What is kept about one followed file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "format::EntryText")]
pub struct Entry {
    /// Where it was found last.
    pub path: Arc<Path>,
    pub dev: u64,
    pub inode: u64,
    /// When the file system made it, in nanoseconds since 1970; absent where the file system does not know.
    pub birth: Option<i64>,
    /// The position: everything before this byte is delivered.
    pub offset: u64,
    /// Framing state: the position is inside a line that was split.
    pub inside_line: bool,
    /// Framing state: the rest of that line is in no record.
    pub skip: Option<Skip>,
    /// The file's first bytes.
    pub head: Option<Print>,
    /// The bytes just before the position.
    pub tail: Option<Print>,
    /// The bytes before some offset about half way, to know what was copied or compressed before the last bytes were written.
    pub half: Option<(u64, Print)>,
    /// A compressed file that is read to its end: how many bytes it had. Offsets are those of its content.
    pub packed: Option<u64>,
    /// When all files were looked at last before it was saved, in milliseconds since 1970.
    pub updated: i64,
}

/// Why the rest of a line that was begun is in no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// A filter sorted the line out.
    Filtered,
    /// It is too long: what it begins with was sent, ...
    Truncated,
    /// ... or dropped, ...
    Dropped,
    /// ... or set aside.
    DeadLettered,
}

/// What some bytes looked like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Print {
    /// How many bytes.
    pub len: u32,
    /// Their CRC-32 (IEEE).
    pub crc: u32,
}

/// One thing that [`Store::save`] makes so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Change {
    /// The file stands here now.
    Put {
        input: String,
        key: FileKey,
        entry: Entry,
    },
    /// The file is gone and delivered.
    Remove { input: String, key: FileKey },
    /// The input's positions belong to the Kafka cluster with this id.
    Bind { input: String, cluster: String },
    /// The input started for the first time, at this time in milliseconds since 1970.
    Started { input: String, at: i64 },
    /// From now on the input's positions are those that Kafka has, as this instance writes them; absent: those that stand here.
    Keep {
        input: String,
        keeper: Option<Keeper>,
    },
}

/// An instance that keeps an input's positions in Kafka. What stands here then follows, and is where the input begins when it is told to
/// keep its positions here again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keeper {
    pub writer: String,
    /// Its first transaction is committed: Kafka has what stood here, or newer. Before, that is so only if its record is found there.
    pub took_over: bool,
}

impl Change {
    /// The input that it is about.
    pub fn input(&self) -> &str {
        match self {
            Self::Put { input, .. }
            | Self::Remove { input, .. }
            | Self::Bind { input, .. }
            | Self::Started { input, .. }
            | Self::Keep { input, .. } => input,
        }
    }
}
