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

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::data_dir::{DataDir, DataDirError};
use super::format::{self, BadSnapshot};
use super::state::{Inputs, apply, newest};
use super::{Change, Entry, FileKey};
use crate::disk::{Disk, DiskFile, advice, create_afresh, with_suffix};

pub(super) const SNAPSHOT: &str = "checkpoint.json";
const DAMAGED: &str = ".damaged-";
const MODE: u32 = 0o600;
/// A journal shorter than this is never worth a new snapshot. In bytes.
const JOURNAL_MIN: u64 = 1 << 20;
/// A new snapshot is written when the journal is this many times as long.
const JOURNAL_FACTOR: u64 = 4;
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

/// What opening found, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// There was no checkpoint: this is the first start with this data_dir.
    pub fresh: bool,
    /// What stood torn at the journal's end, unsynced when the power or the system failed, and was left out.
    pub cut: Option<Cut>,
    /// How many files have a position.
    pub entries: usize,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub path: PathBuf,
    /// The length of the good part, in bytes.
    pub offset: u64,
    /// How many bytes followed it.
    pub bytes: u64,
}

/// Why positions cannot be read or saved.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the saved positions cannot be read: {} is damaged ({what}){}; starting without them would read every file from its beginning, so nothing is started; {recipe}",
        path.display(),
        aside(set_aside)
    )]
    Damaged {
        path: PathBuf,
        what: String,
        /// Its name now; absent when it could not be renamed.
        set_aside: Option<PathBuf>,
        recipe: String,
    },
    #[error(
        "the saved positions cannot be read: {} is missing, but {} is there; starting without it would skip or repeat lines, so nothing is started; {recipe}",
        path.display(),
        witness.display()
    )]
    Missing {
        path: PathBuf,
        /// The file that shows that it was there.
        witness: PathBuf,
        recipe: String,
    },
    #[error(
        "{} has format {found}, which a later logferry wrote; run that version, or a later one",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
}

fn aside(set_aside: &Option<PathBuf>) -> String {
    match set_aside {
        Some(path) => format!(" and was set aside as {}", path.display()),
        None => " and could not be set aside".to_owned(),
    }
}

impl StoreError {
    /// Another daemon holds the data_dir.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::DataDir(DataDirError::Held { .. }))
    }

    /// The data_dir may not be written or read by this user, or not at all.
    pub fn is_permission(&self) -> bool {
        let (Self::Io { source, .. } | Self::DataDir(DataDirError::Io { source, .. })) = self
        else {
            return false;
        };
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem)
    }
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

    /// Writes a snapshot of everything and starts its journal, in the durable order of the module's header.
    fn start_generation(&mut self) -> Result<(), StoreError> {
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

    /// The first start; or somebody took the snapshot away.
    fn begin(disk: Arc<dyn Disk>, dir: DataDir) -> Result<(Self, Recovered), StoreError> {
        let path = dir.path().join(SNAPSHOT);
        let names = disk
            .list(dir.path())
            .map_err(|error| io_error("list", dir.path(), error))?;
        for name in names.iter().filter_map(|name| name.to_str()) {
            let witness = dir.path().join(name);
            let set_aside = JournalNames::is_set_aside(name);
            // A first start that was cut short leaves empty journals behind.
            let in_use = match JournalNames::generation(name) {
                Some(generation) => {
                    let bytes = disk
                        .read(&witness)
                        .map_err(|error| io_error("read", &witness, error))?;
                    !format::decode_journal(&bytes, generation)
                        .is_ok_and(|journal| journal.lines.is_empty())
                }
                None => false,
            };
            if set_aside || in_use {
                let recipe = give_up_recipe(dir.path());
                return Err(StoreError::Missing {
                    path,
                    witness,
                    recipe,
                });
            }
        }
        let recovered = Recovered {
            fresh: true,
            ..Recovered::default()
        };
        Ok((Self::new(disk, dir, 0, Inputs::new()), recovered))
    }

    fn resume(
        disk: Arc<dyn Disk>,
        dir: DataDir,
        snapshot: &[u8],
    ) -> Result<(Self, Recovered), StoreError> {
        let at = dir.path().join(SNAPSHOT);
        let snapshot = match format::decode_snapshot(snapshot) {
            Ok(snapshot) => snapshot,
            Err(BadSnapshot::Newer(found)) => return Err(StoreError::Newer { path: at, found }),
            Err(BadSnapshot::Damaged(what)) => {
                return Err(StoreError::Damaged {
                    set_aside: set_aside(disk.as_ref(), dir.path(), &at),
                    path: at,
                    what,
                    recipe: give_up_recipe(dir.path()),
                });
            }
        };
        let path = journal_path(dir.path(), snapshot.generation);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing_journal(disk.as_ref(), dir.path(), path, &snapshot));
            }
            Err(error) => return Err(io_error("read", &path, error)),
        };
        let found = format::decode_journal(&bytes, snapshot.generation).map_err(|damage| {
            let set_aside = set_aside(disk.as_ref(), dir.path(), &path);
            damaged_journal(path.clone(), &damage, set_aside)
        })?;
        let mut inputs = snapshot.inputs;
        for change in found.lines.into_iter().flat_map(|line| line.changes) {
            apply(&mut inputs, change);
        }
        let torn = bytes.len() as u64 - found.good;
        let recovered = Recovered {
            fresh: false,
            cut: (torn > 0).then_some(Cut {
                path,
                offset: found.good,
                bytes: torn,
            }),
            entries: inputs.values().map(|input| input.entries.len()).sum(),
        };
        let store = Self::new(disk, dir, snapshot.generation, inputs);
        Ok((store, recovered))
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

/// The journal that the snapshot calls for is not there: because it was set aside at an earlier start, or for a reason
/// that is not known.
fn missing_journal(
    disk: &dyn Disk,
    dir: &Path,
    path: PathBuf,
    snapshot: &format::Snapshot,
) -> StoreError {
    let is_aside = |aside: &PathBuf| {
        let prefix = with_suffix(&path, DAMAGED);
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        bytes(aside).starts_with(&bytes(&prefix))
    };
    let names = disk.list(dir).unwrap_or_default();
    let aside = names.iter().map(|name| dir.join(name)).rfind(is_aside);
    if let Some(aside) = aside
        && let Ok(bytes) = disk.read(&aside)
        && let Err(damage) = format::decode_journal(&bytes, snapshot.generation)
    {
        return damaged_journal(path, &damage, Some(aside));
    }
    let witness = dir.join(SNAPSHOT);
    let recipe = format!(
        "put it back from a backup, or go on from {SNAPSHOT} alone (what was sent since then is sent again): `cp -p {} {path} && truncate -s 0 {path}`",
        witness.display(),
        path = path.display(),
    );
    StoreError::Missing {
        path,
        witness,
        recipe,
    }
}

fn damaged_journal(
    path: PathBuf,
    damage: &format::Damage,
    set_aside: Option<PathBuf>,
) -> StoreError {
    let offset = damage.offset;
    let cut = format!("truncate -s {offset} {}", path.display());
    // Copied, not made anew, for the sake of its owner and mode.
    let command = match &set_aside {
        Some(aside) => format!("cp -p {} {} && {cut}", aside.display(), path.display()),
        None => cut,
    };
    let recipe = format!(
        "to go on from the last good position before the damage (what was sent since then is sent again): `{command}`"
    );
    StoreError::Damaged {
        path,
        what: format!("line {}: {}", damage.line, damage.what),
        set_aside,
        recipe,
    }
}

fn give_up_recipe(dir: &Path) -> String {
    format!(
        "put a good {SNAPSHOT} back from a backup, or give up the positions by removing every checkpoint.* from {}",
        dir.display()
    )
}

/// Renames a damaged file so that nothing reads or overwrites it. Its new name, unless that failed.
fn set_aside(disk: &dyn Disk, dir: &Path, path: &Path) -> Option<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let to = with_suffix(path, &format!("{DAMAGED}{time}"));
    disk.rename_new(path, &to).ok()?;
    // Best effort: should a power cut take the new name back, the damage is found again.
    let _ = disk.fsync_dir(dir);
    Some(to)
}

fn limit(snapshot_len: u64) -> u64 {
    snapshot_len.saturating_mul(JOURNAL_FACTOR).max(JOURNAL_MIN)
}

fn fresh_path(dir: &Path) -> PathBuf {
    with_suffix(&dir.join(SNAPSHOT), ".new")
}

fn journal_path(dir: &Path, generation: u64) -> PathBuf {
    dir.join(JournalNames::name(generation))
}

/// What journals are called, and what is told by a name.
pub(super) struct JournalNames;

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

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests;
