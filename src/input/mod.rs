//! Where records come from.
//!
//! Every kind of input frames bytes into [`frame::Lines`], gathers them in an [`outlet::Outlet`] and answers with a [`Report`] when it
//! ends. To add a kind: a file or folder here with a `run(...) -> Report`, and its settings beside it.

pub mod file;
pub mod frame;
pub mod outlet;
pub mod stdin;

use crate::checkpoint::Print;

/// Where a source is continued: what a ledger turns settlements into, and what is saved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Position {
    /// Bytes of the source before it.
    pub offset: u64,
    /// Whether a piece of the line at `offset` was sent already.
    pub inside_line: bool,
    /// The bytes just before `offset`; `None` where there are none.
    pub tail: Option<Print>,
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
