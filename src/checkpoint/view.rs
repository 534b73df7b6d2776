//! The checkpoint as everybody else sees it: read without the lock, also while a daemon writes.
//!
//! A snapshot and its journal never change their meaning together: what stands in both is a state that was saved, for as
//! long as both can be read. A writer that starts a new generation takes the old journal away, at the earliest after the
//! new snapshot is in place; a reader that comes between finds no journal, and begins again with the new snapshot.
//!
//! So whatever does not fit is looked at once more, and is a fault only when it is found again just as it was.
//!
//! Invariant: nothing is made, locked, renamed or written.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::data_dir::{self, DataDirError};
use super::format::{self, BadSnapshot};
use super::state::{Inputs, apply};
use super::store::{JournalNames, SNAPSHOT};
use crate::disk::Disk;

/// A daemon that starts new generations faster than they can be read, this often in a row, is none.
const TRIES: usize = 100;

/// Why saved positions cannot be looked at.
#[derive(Debug, Error)]
pub enum ViewError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("cannot read {}: {source}{}", path.display(), hint(source))]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the saved positions cannot be read: {} {what}; nothing was changed; `logferry run` says how to go on from there",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{} has format {found}, which a later logferry wrote; run that version, or a later one",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
}

impl ViewError {
    /// This user may not read it.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as the user that logferry runs as",
        _ => "",
    }
}

/// What is saved in `dir` now; empty when nothing ever was.
///
/// # Errors
/// What stands there cannot be read, is damaged, or is of a later format.
pub fn view(disk: &dyn Disk, dir: &Path) -> Result<Inputs, ViewError> {
    data_dir::check_known(disk, dir).map_err(|error| match error {
        DataDirError::Io { path, source, .. } => ViewError::Io { path, source },
        other => other.into(),
    })?;
    let mut before = None;
    let mut tries = 0;
    loop {
        tries += 1;
        let attempt = Attempt::new(disk, dir)?;
        match attempt.inputs(dir) {
            Err(ViewError::Damaged { .. })
                if before.as_ref() != Some(&attempt) && tries < TRIES =>
            {
                before = Some(attempt);
            }
            result => return result,
        }
    }
}

/// What one reading found.
#[derive(Debug, PartialEq)]
struct Attempt {
    snapshot: Option<Vec<u8>>,
    /// The journal's name and content; without a snapshot the first journal that has anything in it.
    journal: Option<(PathBuf, Vec<u8>)>,
}

impl Attempt {
    fn new(disk: &dyn Disk, dir: &Path) -> Result<Self, ViewError> {
        let snapshot = read(disk, &dir.join(SNAPSHOT))?;
        let journal = match &snapshot {
            Some(bytes) => match format::decode_snapshot(bytes) {
                Ok(snapshot) => {
                    let path = dir.join(JournalNames::name(snapshot.generation));
                    read(disk, &path)?.map(|bytes| (path, bytes))
                }
                Err(_) => None,
            },
            None => in_use(disk, dir)?,
        };
        Ok(Self { snapshot, journal })
    }

    fn inputs(&self, dir: &Path) -> Result<Inputs, ViewError> {
        let path = dir.join(SNAPSHOT);
        let damaged = |path: PathBuf, what: String| ViewError::Damaged { path, what };
        let Some(snapshot) = &self.snapshot else {
            return match &self.journal {
                Some((witness, _)) => Err(damaged(
                    path,
                    format!("is missing, but {} is there", witness.display()),
                )),
                None => Ok(Inputs::new()),
            };
        };
        let snapshot = match format::decode_snapshot(snapshot) {
            Ok(snapshot) => snapshot,
            Err(BadSnapshot::Newer(found)) => return Err(ViewError::Newer { path, found }),
            Err(BadSnapshot::Damaged(what)) => {
                return Err(damaged(path, format!("is damaged ({what})")));
            }
        };
        let Some((path, journal)) = &self.journal else {
            let name = JournalNames::name(snapshot.generation);
            let what = format!("is missing, but {} is there", path.display());
            return Err(damaged(dir.join(name), what));
        };
        let journal = format::decode_journal(journal, snapshot.generation).map_err(|damage| {
            let what = format!("is damaged (line {}: {})", damage.line, damage.what);
            damaged(path.clone(), what)
        })?;
        let mut inputs = snapshot.inputs;
        for change in journal.lines.into_iter().flat_map(|line| line.changes) {
            apply(&mut inputs, change);
        }
        Ok(inputs)
    }
}

/// What shows that there was a snapshot: a journal in which something stands, or a damaged file that was set aside.
fn in_use(disk: &dyn Disk, dir: &Path) -> Result<Option<(PathBuf, Vec<u8>)>, ViewError> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = dir.to_path_buf();
            return Err(ViewError::Io { path, source });
        }
    };
    for name in names.iter().filter_map(|name| name.to_str()) {
        let path = dir.join(name);
        if JournalNames::is_set_aside(name) {
            return Ok(Some((path, Vec::new())));
        }
        if let Some(generation) = JournalNames::generation(name)
            && let Some(bytes) = read(disk, &path)?
            && !format::decode_journal(&bytes, generation)
                .is_ok_and(|journal| journal.lines.is_empty())
        {
            return Ok(Some((path, bytes)));
        }
    }
    Ok(None)
}

/// `None` when nothing has that name.
fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, ViewError> {
    match disk.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ViewError::Io {
            path: path.to_path_buf(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
