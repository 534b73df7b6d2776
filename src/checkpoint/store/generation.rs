//! A new generation: a snapshot of everything, with an empty journal of its own.
//!
//! Its journal and, under another name, its snapshot are made durable before the snapshot gets its name: at each moment one whole
//! generation is there.

use std::path::{Path, PathBuf};

use super::error::{StoreError, io_error};
use super::{Journal, SNAPSHOT, Store};
use crate::checkpoint::format;
use crate::checkpoint::state::Inputs;
use crate::disk::{Disk, create_afresh, with_suffix};

const MODE: u32 = 0o600;
/// What stands in the name of a file that was put out of the way because it is damaged.
pub(super) const DAMAGED: &str = ".damaged-";
/// A journal shorter than this is never worth a new snapshot. In bytes.
pub(super) const JOURNAL_MIN: u64 = 1 << 20;
/// A new snapshot is written when the journal is this many times as long.
const JOURNAL_FACTOR: u64 = 4;

impl Store {
    /// Writes a snapshot of everything and starts its journal, in the durable order of [`crate::checkpoint`]'s header.
    pub(super) fn start_generation(&mut self) -> Result<(), StoreError> {
        self.begun += 1;
        let (journal, snapshot_len) = match generation(
            self.disk.as_ref(),
            self.dir.path(),
            self.begun,
            &self.inputs,
        ) {
            Ok(prepared) => prepared,
            Err(error) => {
                // Space for what matters more. What cannot be removed now will be later.
                let _ = self.disk.remove(&journal_path(self.dir.path(), self.begun));
                let _ = self.disk.remove(&fresh_path(self.dir.path()));
                if let Some(journal) = &self.journal {
                    self.limit = self.limit.max(journal.len) + JOURNAL_MIN;
                }
                return Err(error);
            }
        };
        // From here to the end nobody can say which snapshot a power cut would leave, so neither journal will do.
        self.journal = None;
        take_over(self.disk.as_ref(), self.dir.path())?;
        self.remove_leftovers(journal.generation);
        self.journal = Some(journal);
        self.limit = limit(snapshot_len);
        self.unsaved.clear();
        // The sign that there was a snapshot, should it be missed one day. Saves follow, so a failure is of no matter.
        let _ = self.append(&[]);
        Ok(())
    }

    /// Removes the journals of all other generations. A failure is harmless: it is tried again every time, and nothing
    /// reads a journal that is not of the snapshot's generation.
    fn remove_leftovers(&self, generation: u64) {
        let dir = self.dir.path();
        for name in self.disk.list(dir).unwrap_or_default() {
            let of = name.to_str().and_then(JournalNames::generation);
            if of.is_some_and(|of| of != generation) {
                let _ = self.disk.remove(&dir.join(name));
            }
        }
    }
}

pub(super) fn journal_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(JournalNames::name(generation))
}

/// What journals are called, and what is told by a name.
pub(in crate::checkpoint) struct JournalNames;

impl JournalNames {
    pub fn name(generation: u64) -> String {
        format!("checkpoint.{generation}.journal")
    }

    pub fn generation(name: &str) -> Option<u64> {
        name.strip_prefix("checkpoint.")?
            .strip_suffix(".journal")?
            .parse()
            .ok()
    }

    /// A damaged snapshot or journal that was put out of the way.
    pub fn is_set_aside(name: &str) -> bool {
        name.starts_with("checkpoint.") && name.contains(DAMAGED)
    }
}

/// Steps 1 to 3: the journal and, under another name, the snapshot (whose length is returned) are durable.
fn generation(
    disk: &dyn Disk,
    dir: &Path,
    generation: u64,
    inputs: &Inputs,
) -> Result<(Journal, u64), StoreError> {
    let path = journal_path(dir, generation);
    let failed = |error| io_error("write", &path, error);
    let file = create_afresh(disk, &path, MODE).map_err(failed)?;

    let fresh = fresh_path(dir);
    let failed = |error| io_error("write", &fresh, error);
    let bytes =
        format::encode_snapshot(generation, inputs).map_err(|error| failed(error.into()))?;
    let snapshot = create_afresh(disk, &fresh, MODE).map_err(failed)?;
    snapshot
        .write_at(&bytes, 0)
        .and_then(|()| snapshot.sync_data())
        .map_err(failed)?;
    disk.fsync_dir(dir)
        .map_err(|error| io_error("sync", dir, error))?;
    let journal = Journal {
        path,
        file,
        generation,
        record: 0,
        len: 0,
        synced: 0,
        torn: false,
    };
    Ok((journal, bytes.len() as u64))
}

/// Step 4: the prepared snapshot becomes the one that counts.
fn take_over(disk: &dyn Disk, dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(SNAPSHOT);
    disk.rename(&fresh_path(dir), &path)
        .and_then(|()| disk.fsync_dir(dir))
        .map_err(|error| io_error("replace", &path, error))
}

fn fresh_path(dir: &Path) -> PathBuf {
    with_suffix(&dir.join(SNAPSHOT), ".new")
}

fn limit(snapshot_len: u64) -> u64 {
    snapshot_len.saturating_mul(JOURNAL_FACTOR).max(JOURNAL_MIN)
}
