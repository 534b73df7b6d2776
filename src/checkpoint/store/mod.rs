//! The checkpoint as the daemon uses it: opened once, then saved to and synced for life.
//!
//! All of it is held in memory. A save appends one line to the journal; a sync makes the journal durable and, when it
//! has grown far beyond the snapshot, starts a new generation.
//!
//! Nothing is built on what may be lost without a trace. What a process reads may be in the page cache only, also after
//! a sync that reports success, when an earlier one failed. So opening only reads, and the first save, like the one
//! after a failed sync, writes a whole new generation.
//!
//! Nothing that failed is forgotten: changes whose save failed go along with the next one.

mod error;
mod generation;
mod recover;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::error::StoreError;
use self::error::io_error;
use self::generation::JOURNAL_MIN;
pub(super) use self::generation::JournalNames;
pub use self::recover::{Cut, Recovered};
use super::data_dir::DataDir;
use super::format;
use super::state::{Inputs, apply, newest};
use super::{Change, Entry, FileKey, Keeper};
use crate::disk::{Disk, DiskFile};

pub(super) const SNAPSHOT: &str = "checkpoint.json";
/// Without a sync for long, a save writes the snapshot, when the journal is this many times too long.
const UNSYNCED_FACTOR: u64 = 8;

/// Where all inputs resume. Holds the data_dir's lock until it is dropped; dropping syncs nothing.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    dir: DataDir,
    inputs: Inputs,
    /// `None`: what is on disk may not be, or not stay, what it should be, and only a new generation helps.
    journal: Option<Journal>,
    /// The highest generation that was ever begun; some of them may have come to nothing.
    begun: u64,
    /// The journal's length at which a new generation is due.
    limit: u64,
    /// In `inputs`, but not in the journal, because their save failed.
    unsaved: Vec<Change>,
    /// Kept for its capacity.
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    generation: u64,
    /// Number of the next record.
    record: u64,
    /// The good part, in bytes. Always equal to the file's length unless `torn`.
    len: u64,
    /// How much of it is durable.
    synced: u64,
    /// Beyond `len` stands a part of a failed write, which must go before the next one.
    torn: bool,
}

impl Store {
    /// Takes the data_dir (made when missing), and reads what was saved. A torn tail is cut and told in [`Recovered`];
    /// damage is set aside and is an error. But for the lock and the version nothing is written before the first save.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Self, Recovered), StoreError> {
        let dir = DataDir::open(&disk, dir)?;
        let path = dir.path().join(SNAPSHOT);
        match disk.read(&path) {
            Ok(bytes) => Self::resume(disk, dir, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::begin(disk, dir),
            Err(error) => Err(io_error("read", &path, error)),
        }
    }

    /// The positions of an input's files.
    pub fn entries(&self, input: &str) -> impl Iterator<Item = (FileKey, &Entry)> {
        let input = self.inputs.get(input);
        input
            .into_iter()
            .flat_map(|input| &input.entries)
            .map(|(key, entry)| (*key, entry))
    }

    /// Every input that the checkpoint knows, also those that are no longer configured.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.keys().map(String::as_str)
    }

    /// The id of the cluster that this input's positions belong to; `None` before the first [`Change::Bind`].
    pub fn cluster_of(&self, input: &str) -> Option<&str> {
        self.inputs.get(input)?.cluster.as_deref()
    }

    /// Whether this input ever started ([`Change::Started`]).
    pub fn started(&self, input: &str) -> bool {
        let input = self.inputs.get(input);
        input.is_some_and(|input| input.started.is_some())
    }

    /// Who keeps this input's positions in Kafka.
    pub fn keeper(&self, input: &str) -> Option<&Keeper> {
        self.inputs.get(input)?.keeper.as_ref()
    }

    /// A key that no file of this input has or had.
    pub fn next_key(&mut self, input: &str) -> FileKey {
        let input = self.inputs.entry(input.to_owned()).or_default();
        let key = FileKey(input.next_key);
        input.next_key += 1;
        key
    }

    /// Makes the changes so, all or none of them. After `Ok` they survive the process, after [`sync`](Self::sync) the
    /// machine. After an error they are kept in memory and go along with the next save or sync: do not give them again.
    pub fn save(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        if changes.is_empty() && self.unsaved.is_empty() {
            return Ok(());
        }
        for change in changes {
            apply(&mut self.inputs, change.clone());
        }
        let result = if self.journal.is_none() {
            self.start_generation()
        } else if self.unsaved.is_empty() {
            self.append(changes)
        } else {
            self.unsaved.extend_from_slice(changes);
            let all = newest(std::mem::take(&mut self.unsaved));
            let result = self.append(&all);
            self.unsaved = all;
            result
        };
        match result {
            Ok(()) => self.unsaved.clear(),
            Err(error) => {
                // A new generation takes everything from `inputs`.
                if self.journal.is_some() && self.unsaved.is_empty() {
                    self.unsaved = newest(changes.to_vec());
                }
                return Err(error);
            }
        }
        match &self.journal {
            Some(journal) if journal.len > self.limit.saturating_mul(UNSYNCED_FACTOR) => {
                self.start_generation()
            }
            _ => Ok(()),
        }
    }

    /// Makes everything durable that was saved, or should have been. After an error it may not be: try again later.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.save(&[])?;
        let Some(journal) = &mut self.journal else {
            return self.start_generation();
        };
        if journal.synced < journal.len {
            if let Err(error) = journal.file.sync_data() {
                let error = io_error("sync", &journal.path, error);
                self.journal = None;
                return Err(error);
            }
            journal.synced = journal.len;
        }
        if journal.len > self.limit {
            self.start_generation()?;
        }
        Ok(())
    }

    /// What is saved, as a whole.
    pub fn all(&self) -> &Inputs {
        &self.inputs
    }

    /// Puts `inputs` in place of everything that was saved, durably. For tools that change what no [`Change`] can.
    ///
    /// # Errors
    /// It cannot be written; which of both a start would find is unknown then, unless it is looked at again.
    pub fn replace(&mut self, inputs: Inputs) -> Result<(), StoreError> {
        self.inputs = inputs;
        self.start_generation()?;
        self.sync()
    }

    /// One line at the journal's end.
    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let Some(journal) = &mut self.journal else {
            return self.start_generation();
        };
        let Journal {
            path,
            file,
            generation,
            record,
            len,
            synced,
            torn,
        } = journal;
        let failed = |error| io_error("append to", path, error);
        if *torn {
            file.truncate(*len).map_err(failed)?;
            *torn = false;
        }
        self.buffer.clear();
        format::encode_line(&mut self.buffer, *generation, *record, *synced, changes)
            .map_err(|error| failed(error.into()))?;
        if let Err(error) = file.write_at(&self.buffer, *len) {
            // Now, so that a full disk gets its space back; if it fails, before the next write.
            *torn = file.truncate(*len).is_err();
            return Err(failed(error));
        }
        *len += self.buffer.len() as u64;
        *record += 1;
        Ok(())
    }

    fn new(disk: Arc<dyn Disk>, dir: DataDir, begun: u64, inputs: Inputs) -> Self {
        Self {
            disk,
            dir,
            inputs,
            journal: None,
            begun,
            limit: JOURNAL_MIN,
            unsaved: Vec::new(),
            buffer: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
