//! How letters leave: they are taken from the daemon, removed one by one as they are delivered, and the rest is put back.
//!
//! | step | on disk |
//! |---|---|
//! | [`Resending::take`] | under the file's lock `NAME.jsonl` is renamed to `NAME~resend.jsonl`; the daemon begins a new `NAME.jsonl` with its next letter |
//! | [`Taken::remove`] | delivered letters are overwritten with spaces, and that is synced |
//! | [`Taken::put_back`] | what is left, with what came meanwhile, replaces `NAME.jsonl` under its lock; `NAME~resend.jsonl` is removed |
//!
//! No pipeline can have a file with `~` in its name: see `file_name`.
//!
//! Invariant: at every moment each letter that was not removed stands in one of the two files. What a crash leaves in `NAME~resend.jsonl` is
//! put back first by the next one: a letter may then stand there twice, never not at all.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::read::{LineKind, each_line};
use super::{DeadLetterError, EXTENSION, FOLDER, files, io_error, is_at};
use crate::disk::{self, Disk, DiskFile, Open, with_suffix};
use crate::flow::Bell;

/// What the name of a file that is being sent again ends with.
const TAKEN: &str = "~resend.jsonl";
/// How long a file's lock is waited for, in steps: the daemon holds it for one write to the disk.
const STEP: Duration = Duration::from_millis(20);
const STEPS: u32 = 500;
/// How much is copied at once, in bytes.
const BLOCK: usize = 1 << 20;

/// Why letters cannot be taken.
#[derive(Debug, Error)]
pub enum TakenError {
    #[error("another `logferry dead-letters resend` is at work in {}; wait for its end", .0.display())]
    Held(PathBuf),
    #[error("{} stays locked by another process", .0.display())]
    Locked(PathBuf),
    #[error(transparent)]
    Letters(#[from] DeadLetterError),
}

/// The right to take letters: one process at a time has it.
#[derive(Debug)]
pub struct Resending {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    _lock: Box<dyn DiskFile>,
}

/// The letters of one file, taken.
#[derive(Debug)]
pub struct Taken<'a> {
    of: &'a Resending,
    /// Where the daemon writes.
    home: PathBuf,
    path: PathBuf,
    file: Box<dyn DiskFile>,
}

impl Resending {
    /// `None`: nothing was ever set aside. What an earlier one left in the middle is put back.
    ///
    /// # Errors
    /// When another process has the right, or the disk refuses something.
    pub fn begin(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<Option<Self>, TakenError> {
        let dir = data_dir.join(FOLDER);
        match disk.metadata(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta.map_err(|error| io_error("look at", &dir, error))?,
        };
        let path = dir.join("resend.lock");
        let opened = disk.open(&path, Open::OrCreate { mode: 0o600 });
        let lock = opened.map_err(|error| io_error("open", &path, error))?;
        let is_ours = lock.try_lock();
        if !is_ours.map_err(|error| io_error("lock", &path, error))? {
            return Err(TakenError::Held(dir));
        }
        let this = Self {
            disk,
            dir,
            _lock: lock,
        };
        for home in this.homes()? {
            let path = taken_name(&home);
            match this.disk.open(&path, Open::Existing) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => {
                    let file = file.map_err(|error| io_error("open", &path, error))?;
                    let left = Taken {
                        of: &this,
                        home,
                        path,
                        file,
                    };
                    left.put_back()?;
                }
            }
        }
        Ok(Some(this))
    }

    /// The files of all pipelines, as the daemon names them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn homes(&self) -> Result<Vec<PathBuf>, TakenError> {
        let found = files(self.disk.as_ref(), &self.dir)?;
        let mut homes: Vec<PathBuf> = found.into_iter().map(|(path, _)| home_of(path)).collect();
        homes.sort();
        homes.dedup();
        Ok(homes)
    }

    /// Takes a file's letters away from the daemon. `None`: it is gone.
    ///
    /// # Errors
    /// When the file stays locked, or the disk refuses something.
    pub fn take(&self, home: PathBuf) -> Result<Option<Taken<'_>>, TakenError> {
        let path = taken_name(&home);
        let Some(file) = self.lock(&home, Open::Existing)? else {
            return Ok(None);
        };
        (self.disk.rename(&home, &path)).map_err(|error| io_error("rename", &home, error))?;
        self.sync_names()?;
        Ok(Some(Taken {
            of: self,
            home,
            path,
            file,
        }))
    }

    /// The file under this name, locked. `None` when there is none and none is to be made.
    fn lock(&self, path: &Path, how: Open) -> Result<Option<Box<dyn DiskFile>>, TakenError> {
        let bell = Bell::new();
        for _ in 0..STEPS {
            let file = match self.disk.open(path, how) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(|error| io_error("open", path, error))?,
            };
            let locked = file.try_lock().and_then(|is_locked| {
                Ok(is_locked && is_at(self.disk.as_ref(), path, file.as_ref())?)
            });
            if locked.map_err(|error| io_error("lock", path, error))? {
                return Ok(Some(file));
            }
            bell.wait(STEP);
        }
        Err(TakenError::Locked(path.to_path_buf()))
    }

    fn sync_names(&self) -> Result<(), TakenError> {
        let synced = self.disk.fsync_dir(&self.dir);
        Ok(synced.map_err(|error| io_error("sync", &self.dir, error))?)
    }
}

impl Taken<'_> {
    /// The letters, to be read with [`each_line`].
    pub fn file(&self) -> &dyn DiskFile {
        self.file.as_ref()
    }

    /// The name that the daemon knows.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// These lines (offset, length without the line feed) are delivered: they are durably gone when this returns `Ok`.
    ///
    /// # Errors
    /// What the disk says. Then some may come back.
    pub fn remove(&mut self, lines: &[(u64, usize)]) -> Result<(), TakenError> {
        if lines.is_empty() {
            return Ok(());
        }
        let longest = lines.iter().map(|(_, len)| *len).max().unwrap_or(0);
        let blank = vec![b' '; longest];
        let mut blanked = Ok(());
        for (offset, len) in lines {
            blanked = blanked.and_then(|()| self.file.write_at(&blank[..*len], *offset));
        }
        let blanked = blanked.and_then(|()| self.file.sync_data());
        Ok(blanked.map_err(|error| io_error("write to", &self.path, error))?)
    }

    /// Gives the rest back to the daemon.
    ///
    /// # Errors
    /// What the disk says. Then the rest stays where it is, and the next [`Resending::begin`] puts it back.
    pub fn put_back(self) -> Result<(), TakenError> {
        let (disk, path) = (self.of.disk.as_ref(), &self.path);
        let reads = |error| io_error("read", path, error);
        let mut is_empty = true;
        let mut look = |_, line: &[u8]| match LineKind::of(line) {
            LineKind::Blank => ControlFlow::Continue(()),
            _ => {
                is_empty = false;
                ControlFlow::Break(())
            }
        };
        each_line(self.file.as_ref(), &mut look).map_err(reads)?;
        if !is_empty {
            let how = Open::OrCreate { mode: 0o600 };
            let Some(home) = self.of.lock(&self.home, how)? else {
                return Err(TakenError::Locked(self.home.clone()));
            };
            let fresh = with_suffix(&self.home, ".new");
            let writes = |error| io_error("write to", &fresh, error);
            let new = disk::create_afresh(disk, &fresh, 0o600).map_err(writes)?;
            let mut copy = Copy {
                to: new.as_ref(),
                at: 0,
                held: Vec::new(),
            };
            for from in [&self.file, &home] {
                copy.lines_of(from.as_ref()).map_err(writes)?;
            }
            copy.flush()
                .and_then(|()| new.sync_data())
                .map_err(writes)?;
            (disk.rename(&fresh, &self.home)).map_err(writes)?;
            self.of.sync_names()?;
            // The lock of what was replaced is held until here: who waits for it looks for the name again.
            drop(home);
        }
        (disk.remove(path)).map_err(|error| io_error("remove", path, error))?;
        self.of.sync_names()
    }
}

/// Lines on their way into another file; what was taken out is left out.
struct Copy<'a> {
    to: &'a dyn DiskFile,
    at: u64,
    held: Vec<u8>,
}

impl Copy<'_> {
    fn lines_of(&mut self, from: &dyn DiskFile) -> io::Result<()> {
        let mut failed = Ok(());
        let mut take = |_, line: &[u8]| {
            if LineKind::of(line) == LineKind::Blank {
                return ControlFlow::Continue(());
            }
            self.held.extend_from_slice(line);
            self.held.push(b'\n');
            if self.held.len() >= BLOCK {
                failed = self.flush();
            }
            match failed {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        each_line(from, &mut take)?;
        failed
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.write_at(&self.held, self.at)?;
        self.at += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }
}

fn taken_name(home: &Path) -> PathBuf {
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(EXTENSION).unwrap_or(&name);
    home.with_file_name(format!("{stem}{TAKEN}"))
}

fn home_of(path: PathBuf) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix(TAKEN) {
        Some(stem) => path.with_file_name(format!("{stem}{EXTENSION}")),
        None => path,
    }
}

#[cfg(test)]
mod tests;
