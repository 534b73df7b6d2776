//! What a `file` input can be told. Each key is documented where it is obeyed.

use std::time::Duration;

use crate::input::frame::settings::LineSettings;
use crate::value::Percent;

/// The keys of `from:` with `type: file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Glob patterns of the files to follow; `**` crosses folders. Absolute.
    pub paths: Vec<String>,
    /// Glob patterns of files to leave alone; a pattern without `/` is matched against the file's name.
    pub exclude: Vec<String>,
    /// Where the files that exist at this input's very first start begin. Files born later are read whole.
    pub start_at: StartAt,
    /// How growth and new files are noticed.
    pub watch: Watch,
    /// Files without a saved position that were not written to for so long are not read until they are.
    pub ignore_older: Option<Duration>,
    /// More are not held open at once; those without a name count and stay. At least 1.
    pub max_open_files: u64,
    pub hold_deleted: HoldDeleted,
    pub lines: LineSettings,
}

/// How long deleted files that are not read to their end are held open; absent parts are no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldDeleted {
    /// Since it was deleted.
    pub age: Option<Duration>,
    /// What all of them may take of their file systems.
    pub bytes: Option<u64>,
    /// What has to stay free of a file system.
    pub min_free: Option<Percent>,
}

/// Where a file that exists at the input's very first start is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    #[default]
    Beginning,
    End,
}

/// How growth and new files are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// inotify as a hint, the sweep as authority.
    #[default]
    Auto,
    /// The sweep alone.
    Poll,
}
