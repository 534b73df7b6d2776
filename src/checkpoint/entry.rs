//! What is saved about one file, and how it changes.

use std::path::PathBuf;

/// Names a file within its input. Never used for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileKey(pub u64);

/// Where one file is continued, and what tells that it is still that file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    pub dev: u64,
    pub inode: u64,
    /// Birth time in nanoseconds since 1970, where the file system has one.
    pub birth: Option<i64>,
    /// Bytes of the file that are settled.
    pub offset: u64,
    /// Whether a piece of the line at `offset` was sent already.
    pub inside_line: bool,
    /// The file's first bytes, up to 1 KiB, as far as they were read.
    pub head: Option<Print>,
    /// The bytes just before `offset`, up to 256.
    pub tail: Option<Print>,
    /// When the entry changed, in milliseconds since 1970.
    pub updated: i64,
}

/// A CRC-32 of `len` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Print {
    pub len: u32,
    pub crc: u32,
}

/// One change of what is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put {
        input: String,
        key: FileKey,
        entry: Entry,
    },
    Remove {
        input: String,
        key: FileKey,
    },
    /// The input has looked at its files for the first time ever, at `at` (milliseconds since 1970).
    Started {
        input: String,
        at: i64,
    },
    /// The input's positions belong to this Kafka cluster.
    Bind {
        input: String,
        cluster: String,
    },
}
