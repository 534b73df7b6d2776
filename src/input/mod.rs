//! Where records come from.
//!
//! Every kind of input frames bytes into [`frame::Lines`], gathers them in an [`outlet::Outlet`] and answers with a [`Report`] when it
//! ends. To add a kind: a file or folder here with a `run(...) -> Report`, and its settings beside it.

pub mod dress;
pub mod encoding;
pub mod file;
pub mod filter;
pub mod frame;
pub mod multiline;
pub mod outlet;
pub mod stdin;
pub mod syslog;

use std::path::Path;

use crate::checkpoint::{Print, Skip};

/// Where a source is continued: what a ledger turns settlements into, and what is saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes of the source before it.
    pub offset: u64,
    /// Whether a piece of the line at `offset` was sent already.
    pub inside_line: bool,
    /// The rest of that line is in no record.
    pub skip: Option<Skip>,
    /// The bytes just before `offset`; `None` where there are none.
    pub tail: Option<Print>,
    /// The bytes before some offset about half way; `None` where nothing is remembered of them.
    pub half: Option<(u64, Print)>,
}

/// What an input did until it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Lines handed on, and their source bytes.
    pub lines: u64,
    pub bytes: u64,
    /// Files that were followed.
    pub files: usize,
    /// Bytes that are known to exist and were not read.
    pub unread: u64,
}

/// A line that is longer than `max_line.size`, with the policy `dead_letter`.
#[derive(Debug)]
pub struct LongLine<'a> {
    /// Its file, for inputs that read files.
    pub path: Option<&'a Path>,
    /// Where it begins in its source, in bytes.
    pub offset: u64,
    /// What it begins with, as UTF-8 if the encoding is another one.
    pub value: &'a [u8],
}

/// Sets the beginning of a long line aside; it is durable when this returns `Ok`. Else the input waits and tries again.
pub type SetAside = Box<dyn FnMut(&LongLine<'_>) -> Result<(), String> + Send>;

/// What an input does with the records of a block that was framed, before they count.
pub struct Finish {
    /// Where `max_line.policy: dead_letter` puts lines.
    pub set_aside: SetAside,
    /// Absent: records are the lines as they are, and the route does the rest.
    pub blocks: Option<dress::block::Blocks>,
}
