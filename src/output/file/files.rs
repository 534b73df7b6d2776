//! The files of an output: what is buffered for each, which are open, how they become durable.
//!
//! Records are encoded into a buffer per file; a full buffer is one write. A descriptor is needed only to write and to sync, so thousands
//! of files share a few. The *window* is what was buffered or written since the last sync of the whole output. It is either synced whole
//! ([`Files::sync`], then [`Files::commit`] when the journal has it) or taken back whole ([`Files::cut_back`]). What was *released*
//! ([`Files::release`]) is kept in memory until then, and waits to be written again when it was taken back.
//!
//! Invariants: no byte is written into a file before the journal knows the length it had; no descriptor is closed over bytes that were
//! not fdatasynced, unless they are taken back; a file of which bytes were released is never refused, for their records are gone.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::chunks::{Chunks, Pool};
use super::entry::FileLine;
use super::journal::{Journal, Known};
use super::now;
use super::pack::{PIECE, Packer};
use super::recover::move_tail;
use super::rotate::Naming;
use super::trouble::{Fault, Refusal, Trouble};
use crate::disk::{Disk, DiskFile, Open, create_dirs, parent_of, with_suffix};

/// Buffers of more files than these are given back after each sync, and a window of more is not released.
const KEPT_BUFFERS: usize = 64;
/// More files than these are forgotten together after a sync.
const KEPT_FILES: usize = 16_384;
/// Files that were not written for so many syncs are closed.
const IDLE_SYNCS: u64 = 300;
const DIR_MODE: u32 = 0o750;

/// The files of one output.
#[derive(Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    /// What the template names before anything is filled in.
    folder: PathBuf,
    mode: u32,
    most_open: usize,
    /// Whether names come from data, so that what is wrong with them is the record's fault.
    by_data: bool,
    /// What the names of files end with that are written to.
    suffix: String,
    /// Present when files are finished some day.
    naming: Option<Naming>,
    /// Present when files are compressed.
    packer: Option<Packer>,
    /// How many bytes the files got in the last window that counts.
    grown: u64,
    /// How often a file turned out to be moved, removed or changed by somebody else.
    disturbed: u64,
    /// Whether only what the journal knows may stand in a file: anything else is moved aside.
    strict: bool,
    files: Vec<OutputFile>,
    by_path: HashMap<Vec<u8>, usize>,
    /// Files of the window.
    changed: Vec<usize>,
    open: Vec<usize>,
    pool: Pool,
    /// Counts writes, to find what was used least recently.
    writes: u64,
    syncs: u64,
}

/// What the files of an output are called.
#[derive(Debug)]
pub struct Names {
    /// What names end with while a file is written to.
    pub suffix: String,
    /// Present when files are finished some day.
    pub naming: Option<Naming>,
    /// Present when files are compressed.
    pub packer: Option<Packer>,
    /// Whether what stands in a file counts only when the journal knows it.
    pub strict: bool,
}

#[derive(Debug)]
struct OutputFile {
    path: PathBuf,
    /// Encoded records of the window.
    chunks: Chunks,
    handle: Option<Box<dyn DiskFile>>,
    /// What was found when it was opened; absent before.
    found: Option<Found>,
    /// Whether the window has something for it.
    changed: bool,
    /// Offset of the window's first record for it.
    first: i64,
    /// Whether bytes of the window were written.
    written: bool,
    /// Whether bytes were written that no fdatasync covers.
    unsynced: bool,
    refused: Option<Refusal>,
    /// Count of writes and of syncs when it was written last.
    used: (u64, u64),
}

#[derive(Debug, Clone, Copy)]
struct Found {
    id: u64,
    /// Length at the last sync of the output, or when it was found.
    base: u64,
    /// Length now.
    len: u64,
    /// Whether its name is durable.
    named: bool,
}

impl Files {
    /// `folder`: what no path leaves. `by_data`: whether data other than topics makes names.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        mode: u32,
        most_open: usize,
        by_data: bool,
        names: Names,
    ) -> Self {
        Self {
            disk,
            folder: folder.to_path_buf(),
            mode,
            most_open: most_open.max(1),
            by_data,
            suffix: names.suffix,
            naming: names.naming,
            packer: names.packer,
            grown: 0,
            disturbed: 0,
            strict: names.strict,
            files: Vec::new(),
            by_path: HashMap::new(),
            changed: Vec::new(),
            open: Vec::new(),
            pool: Pool::default(),
            writes: 0,
            syncs: 0,
        }
    }

    /// The number of the file at `path`. Good until [`Files::commit`] says that numbers are forgotten.
    pub fn at(&mut self, path: &[u8]) -> usize {
        if let Some(file) = self.by_path.get(path) {
            return *file;
        }
        let file = self.files.len();
        self.by_path.insert(path.to_vec(), file);
        self.files.push(OutputFile {
            path: with_suffix(Path::new(OsStr::from_bytes(path)), &self.suffix),
            chunks: Chunks::default(),
            handle: None,
            found: None,
            changed: false,
            first: 0,
            written: false,
            unsynced: false,
            refused: None,
            used: (0, 0),
        });
        file
    }

    /// Where the next record of a file is to be appended, the one at `offset`. When it is [`FULL`](super::chunks::FULL) afterwards, it is to be written.
    ///
    /// # Errors
    /// When it is known that this file cannot be.
    #[inline]
    pub fn buffer(&mut self, file: usize, offset: i64) -> Result<&mut Vec<u8>, Refusal> {
        let entry = &mut self.files[file];
        if let Some(refusal) = entry.refused {
            return Err(refusal);
        }
        if !entry.changed {
            entry.changed = true;
            entry.first = offset;
            self.changed.push(file);
        }
        Ok(entry.chunks.buffer())
    }

    pub fn open_files(&self) -> usize {
        self.open.len()
    }

    /// Opens the files of the window that are not written yet, and tells the journal, so that the window can be released.
    ///
    /// # Errors
    /// Then the window is to be taken back.
    pub fn prepare(&mut self, journal: &mut Journal) -> Result<(), Fault> {
        if self.may_release() {
            self.announce(journal)?;
        }
        Ok(())
    }

    /// Keeps what the window has up to here even when it is taken back, so that its records can be dropped. `false` when they cannot:
    /// a file that was never open may still turn out to be refused, and of too many files nothing is kept.
    pub fn release(&mut self) -> bool {
        let found = |file: &usize| self.files[*file].found.is_some();
        if !self.may_release() || !self.changed.iter().all(found) {
            return false;
        }
        for file in &self.changed {
            self.files[*file].chunks.release();
        }
        true
    }

    fn may_release(&self) -> bool {
        self.changed.len() <= KEPT_BUFFERS
    }

    /// Whether nothing is written before the sync.
    pub fn waits_for_sync(&self) -> bool {
        self.packer.is_some()
    }

    /// A buffer is full. It is written, but where files are compressed: there all that a window has is one frame.
    ///
    /// # Errors
    /// Then the window is to be taken back.
    pub fn full(&mut self, file: usize, journal: &mut Journal) -> Result<(), Fault> {
        if self.waits_for_sync() {
            self.files[file].chunks.next(&mut self.pool);
            return Ok(());
        }
        self.write(file, journal)
    }

    /// Writes all buffers.
    ///
    /// # Errors
    /// Then the window is to be taken back.
    pub fn write_all(&mut self, journal: &mut Journal) -> Result<(), Fault> {
        self.announce(journal)?;
        for at in 0..self.changed.len() {
            self.write(self.changed[at], journal)?;
        }
        Ok(())
    }

    /// Writes what waits for a file.
    ///
    /// # Errors
    /// Then the window is to be taken back.
    fn write(&mut self, file: usize, journal: &mut Journal) -> Result<(), Fault> {
        if self.files[file].chunks.waiting().is_none() {
            return Ok(());
        }
        self.open(file, journal)?;
        if !self.files[file].written && !self.is_announced(file, journal) {
            self.announce(journal)?;
            self.open(file, journal)?;
        }
        let keep = self.may_release();
        let entry = &mut self.files[file];
        let (Some(handle), Some(found)) = (&entry.handle, &mut entry.found) else {
            return Ok(());
        };
        (entry.written, entry.unsynced) = (true, true);
        let mut append = |bytes: &[u8]| {
            handle.write_at(bytes, found.len)?;
            found.len += bytes.len() as u64;
            Ok(())
        };
        let pool = &mut self.pool;
        let written = match &mut self.packer {
            Some(packer) => pack(packer, &mut entry.chunks, keep, pool, &mut append),
            None => loop {
                let Some(bytes) = entry.chunks.waiting() else {
                    break Ok(());
                };
                if let Err(error) = append(bytes) {
                    break Err(error);
                }
                entry.chunks.wrote(keep, pool);
            },
        };
        written.map_err(Trouble::with("write to", &entry.path))?;
        self.writes += 1;
        entry.used = (self.writes, self.syncs);
        Ok(())
    }

    /// Makes the window durable, but for the journal: data, then the folders of files whose names may not be. Gives the changed files.
    ///
    /// # Errors
    /// Then the window is to be taken back.
    pub fn sync(&mut self, journal: &mut Journal) -> Result<Vec<FileLine>, Fault> {
        self.write_all(journal)?;
        let mut lines = Vec::with_capacity(self.changed.len());
        let mut folders = BTreeSet::new();
        for at in 0..self.changed.len() {
            let entry = &mut self.files[self.changed[at]];
            let Some(found) = entry.found.filter(|_| entry.written) else {
                continue;
            };
            let same = still_there(&*self.disk, &entry.path, found);
            self.disturbed += u64::from(same.is_err());
            same?;
            if let (true, Some(handle)) = (entry.unsynced, &entry.handle) {
                handle
                    .sync_data()
                    .map_err(Trouble::with("sync", &entry.path))?;
                entry.unsynced = false;
            }
            if !found.named {
                // A name may be there from a life that was killed before it could make it durable: all of them, up to the literal folder.
                let above = entry.path.ancestors().skip(1);
                let inside = above.take_while(|dir| dir.starts_with(&self.folder));
                folders.extend(inside.map(Path::to_path_buf));
            }
            lines.push(FileLine {
                path: entry.path.clone(),
                id: found.id,
                len: found.len,
                begun: None,
            });
        }
        if !folders.is_empty() {
            folders.insert(parent_of(&self.folder));
        }
        // Folders before what stands in them.
        for folder in folders {
            match self.disk.fsync_dir(&folder) {
                // A folder that may be written but not read cannot be opened for a sync, and nothing can be done about it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                result => result.map_err(Trouble::with("sync the folder", &folder))?,
            }
        }
        Ok(lines)
    }

    /// The journal has what [`Files::sync`] gave: a new window begins. `true` when the numbers of files are forgotten.
    pub fn commit(&mut self) -> bool {
        self.syncs += 1;
        self.grown = 0;
        let keep = self.may_release();
        for file in self.changed.drain(..) {
            let entry = &mut self.files[file];
            (entry.changed, entry.written) = (false, false);
            if let Some(found) = &mut entry.found {
                self.grown += found.len - found.base;
                (found.base, found.named) = (found.len, true);
            }
            entry.chunks.commit(keep, &mut self.pool);
        }
        let (files, syncs) = (&mut self.files, self.syncs);
        self.open.retain(|file| {
            let entry = &mut files[*file];
            let keep = entry.used.1 + IDLE_SYNCS > syncs;
            if !keep {
                entry.handle = None;
            }
            keep
        });
        let forget = self.files.len() > KEPT_FILES;
        if forget {
            self.files.clear();
            self.by_path.clear();
            self.open.clear();
        }
        forget
    }

    /// How many bytes the files got in the last window that counts.
    pub fn grown(&self) -> u64 {
        self.grown
    }

    /// Takes the window back: files that were written are closed and cut to what they had before it. What was released waits to be
    /// written again, the rest is forgotten.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn cut_back(&mut self) -> Result<(), Trouble> {
        for file in &self.changed {
            let entry = &mut self.files[*file];
            entry.chunks.take_back();
            let handle = entry.handle.take();
            self.open.retain(|open| open != file);
            if let Some(found) = entry.found.filter(|_| entry.written) {
                cut(&*self.disk, &entry.path, found, handle.as_deref())
                    .map_err(Trouble::with("cut back", &entry.path))?;
            }
            entry.found = None;
            (entry.written, entry.unsynced) = (false, false);
        }
        let files = &mut self.files;
        self.changed.retain(|file| {
            let entry = &mut files[*file];
            entry.changed = entry.chunks.released() > 0;
            entry.changed
        });
        Ok(())
    }

    /// Takes the window back and forgets it, released or not: its records are consumed again, by whoever has their partitions then. Files that
    /// have nothing else stay until the next start: their names may come back after a power cut, with what was cut.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn void(&mut self) -> Result<(), Trouble> {
        self.cut_back()?;
        for file in self.changed.drain(..) {
            let entry = &mut self.files[file];
            entry.chunks = Chunks::default();
            entry.changed = false;
        }
        Ok(())
    }

    /// Whether some file of the window is to have so many bytes.
    pub fn have_reached(&self, size: u64) -> bool {
        self.changed.iter().any(|file| {
            let entry = &self.files[*file];
            let len = entry.found.map_or(0, |found| found.len);
            // What waits to be compressed is not known in bytes of the file.
            let waits = entry.chunks.waiting_bytes();
            len + if self.packer.is_some() { 0 } else { waits } >= size
        })
    }

    /// How often a file was found disturbed since this was asked last.
    pub fn take_disturbed(&mut self) -> u64 {
        std::mem::take(&mut self.disturbed)
    }

    /// Closes all files, between two windows: each is looked for under its name when it is written again.
    pub fn close(&mut self) {
        for file in self.open.drain(..) {
            self.files[file].handle = None;
        }
    }

    /// These names are free again: what has them next is another file.
    pub fn let_go(&mut self, paths: &[PathBuf]) {
        for path in paths {
            let name = path.as_os_str().as_bytes();
            let plain = name.strip_suffix(self.suffix.as_bytes()).unwrap_or(name);
            let Some(file) = self.by_path.get(plain) else {
                continue;
            };
            self.files[*file].handle = None;
            self.files[*file].found = None;
            self.open.retain(|open| open != file);
        }
    }

    /// Whether the journal knows the file with the length that it has.
    fn is_announced(&self, file: usize, journal: &Journal) -> bool {
        let entry = &self.files[file];
        entry.found.is_some_and(|found| {
            let is_it = |known: &Known| (known.id, known.len) == (found.id, found.len);
            let known = journal.known(&entry.path).filter(|known| is_it(known));
            known.is_some_and(|known| self.naming.is_none() || known.begun.is_some())
        })
    }

    /// Tells the journal, in one record, of all files of the window that it does not know yet.
    fn announce(&mut self, journal: &mut Journal) -> Result<(), Fault> {
        let mut lines = Vec::new();
        for at in 0..self.changed.len() {
            let file = self.changed[at];
            if self.files[file].written || self.files[file].chunks.waiting().is_none() {
                continue;
            }
            self.open(file, journal)?;
            let entry = &self.files[file];
            if let Some(found) = entry.found.filter(|_| !self.is_announced(file, journal)) {
                let same = journal.known(&entry.path).filter(|it| it.id == found.id);
                let begun = match &self.naming {
                    Some(naming) if same.is_none_or(|known| known.begun.is_none()) => {
                        Some(naming.begun(&entry.path, entry.first))
                    }
                    _ => None,
                };
                lines.push(FileLine {
                    path: entry.path.clone(),
                    id: found.id,
                    len: found.len,
                    begun,
                });
            }
        }
        if lines.is_empty() {
            return Ok(());
        }
        let result = journal.intend(lines);
        Ok(result.map_err(Trouble::with("write the journal", journal.path()))?)
    }

    fn open(&mut self, file: usize, journal: &Journal) -> Result<(), Fault> {
        let entry = &mut self.files[file];
        if entry.handle.is_some() {
            // Before the window's first byte: somebody may have moved, removed or cut it since the last sync.
            let same = match entry.found.filter(|_| !entry.written) {
                Some(found) => still_there(&*self.disk, &entry.path, found),
                None => Ok(()),
            };
            let Err(trouble) = same else { return Ok(()) };
            self.disturbed += 1;
            tracing::warn!(path = %entry.path.display(), error = %trouble.error, "an output file is opened again");
            entry.handle = None;
            self.open.retain(|open| *open != file);
        }
        self.make_room()?;
        let entry = &mut self.files[file];
        let opened = open_or_create(&*self.disk, &entry.path, self.mode);
        let opened = opened.and_then(|handle| Ok((handle.metadata()?, handle)));
        let (meta, handle) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                let may_refuse = self.by_data && entry.chunks.released() == 0;
                if let Some(refusal) = Refusal::from_error(&error).filter(|_| may_refuse) {
                    entry.refused = Some(refusal);
                    return Err(Fault::Refused);
                }
                return Err(Trouble::with("open", &entry.path)(error).into());
            }
        };
        match entry.found {
            Some(found) if (found.id, found.len) == (meta.inode, meta.len) => {}
            Some(_) if entry.written => return Err(changed_by_others(&entry.path).into()),
            _ => {
                let known = journal.known(&entry.path);
                let same = known.filter(|known| known.id == meta.inode);
                let mut len = meta.len;
                if self.strict {
                    len = len.min(same.map_or(0, |known| known.len));
                    keep_only(&*self.disk, &entry.path, &*handle, len, meta.len)
                        .map_err(Trouble::with("move aside the end of", &entry.path))?;
                }
                entry.found = Some(Found {
                    id: meta.inode,
                    base: len,
                    len,
                    named: same.is_some_and(|known| known.synced),
                });
            }
        }
        entry.handle = Some(handle);
        entry.used = (self.writes, self.syncs);
        self.open.push(file);
        Ok(())
    }

    /// Closes what was used least recently.
    fn make_room(&mut self) -> Result<(), Fault> {
        while self.open.len() >= self.most_open {
            let oldest = (0..self.open.len()).min_by_key(|at| self.files[self.open[*at]].used);
            let Some(at) = oldest else { break };
            let entry = &mut self.files[self.open[at]];
            if let (true, Some(handle)) = (entry.unsynced, &entry.handle) {
                handle
                    .sync_data()
                    .map_err(Trouble::with("sync", &entry.path))?;
                entry.unsynced = false;
            }
            entry.handle = None;
            self.open.swap_remove(at);
        }
        Ok(())
    }
}

/// Everything that waits for a file becomes one frame.
fn pack(
    packer: &mut Packer,
    chunks: &mut Chunks,
    keep: bool,
    pool: &mut Pool,
    append: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    packer.begin(chunks.waiting_bytes())?;
    while let Some(bytes) = chunks.waiting() {
        packer.push(bytes)?;
        chunks.wrote(keep, pool);
        if packer.packed().len() >= PIECE {
            append(packer.packed())?;
            packer.taken();
        }
    }
    packer.end()?;
    append(packer.packed())?;
    packer.taken();
    Ok(())
}

fn open_or_create(disk: &dyn Disk, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
    match disk.open(path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    match disk.open(path, Open::OrCreate { mode }) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    create_dirs(disk, &parent_of(path), DIR_MODE)?;
    disk.open(path, Open::OrCreate { mode })
}

/// Moves aside what stands behind `len`, of the `found` bytes of a file.
fn keep_only(
    disk: &dyn Disk,
    path: &Path,
    file: &dyn DiskFile,
    len: u64,
    found: u64,
) -> io::Result<()> {
    if found <= len {
        return Ok(());
    }
    let aside = move_tail(disk, path, file, len, found, &now())?;
    file.truncate(len)?;
    file.sync_data()?;
    tracing::warn!(
        path = %path.display(), bytes = found - len, aside = %aside.display(),
        "an output file has bytes that no transaction knows; they were moved aside"
    );
    Ok(())
}

/// Whether the name still leads to the file that was written, and nobody else changed its length.
fn still_there(disk: &dyn Disk, path: &Path, found: Found) -> Result<(), Trouble> {
    match disk.metadata(path) {
        Ok(meta) if (meta.inode, meta.len) == (found.id, found.len) => Ok(()),
        Ok(_) => Err(changed_by_others(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(changed_by_others(path)),
        Err(error) => Err(Trouble::with("look at", path)(error)),
    }
}

fn changed_by_others(path: &Path) -> Trouble {
    let error = io::Error::other("somebody else removed, replaced or changed it");
    Trouble::with("go on with", path)(error)
}

/// Cuts what the window wrote off the file that it wrote to: also when somebody gave that another name, since it is written again under this one.
fn cut(
    disk: &dyn Disk,
    path: &Path,
    found: Found,
    handle: Option<&dyn DiskFile>,
) -> io::Result<()> {
    let file = match disk.open(path, Open::Existing) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        result => Some(result?),
    };
    for file in file.as_deref().into_iter().chain(handle) {
        let meta = file.metadata()?;
        if meta.inode == found.id && meta.len > found.base {
            file.truncate(found.base)?;
        }
    }
    Ok(())
}
