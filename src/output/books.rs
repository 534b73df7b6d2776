//! What became of the records of one output, for metrics and status. Locked once per batch and once per sync, never per record.
//!
//! `consumed = written + refused + waiting`; records count as written when they are durable and in the journal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::flow::Count;

/// The entries of an output's books at one moment. In `Count`, lines are records and bytes those of their keys and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutputEntries {
    /// Taken from the pipe.
    pub consumed: Count,
    /// Durable in files.
    pub written: Count,
    /// Set aside, because no path could be made of them.
    pub refused: Count,
    /// What the written records became, in bytes of the files.
    pub file_bytes: u64,
    /// Of the written records, those whose null value became an empty line.
    pub nulls: u64,
    pub syncs: u64,
    /// How long all syncs took.
    pub sync_time: Duration,
    pub open_files: usize,
    /// Files that got their other name because nothing more is written into them.
    pub finished_files: u64,
    /// Finished files that retention removed.
    pub removed_files: u64,
    /// How often records were written again from memory, because something failed.
    pub rewinds: u64,
    /// Files that were gone, shorter or other files when they were looked at or written to: somebody else moved, removed or changed them.
    pub missing_files: u64,
    /// Bytes that were cut off files after a crash; their records are consumed again.
    pub cut_bytes: u64,
    /// Tails that were moved aside as `FILE.cut-TIME`.
    pub moved_tails: u64,
    /// Why nothing is written now.
    pub paused: Option<String>,
}

/// The books of one output.
#[derive(Debug, Default)]
pub struct OutputBooks(Mutex<OutputEntries>);

impl OutputBooks {
    pub fn new() -> Self {
        Self::default()
    }

    /// A consistent copy.
    pub fn entries(&self) -> OutputEntries {
        self.lock().clone()
    }

    /// Changes the entries in one step.
    pub fn change(&self, change: impl FnOnce(&mut OutputEntries)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, OutputEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
