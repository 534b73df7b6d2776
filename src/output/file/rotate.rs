//! Files that are finished: when, under which name, and in which order that is made durable.
//!
//! Only between two windows, when everything in a file counts:
//!
//! 1. each is fdatasynced once more: that something was cut off it may not be durable yet;
//! 2. the journal says which file gets which name ([`Journal::finish`]), durably;
//! 3. each is renamed, never over another;
//! 4. the folders are fsynced ([`name_all`], which a start does too).
//!
//! Only then may a file of the old name begin. So wherever this is interrupted, the file is found by its inode under the one name or the other.
//!
//! Invariant: a name that is taken is left alone, and a file that is not the one that the journal knows is not renamed.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::io::Errno;

use super::entry::{BegunLine, FinishLine};
use super::journal::{Journal, Known};
use super::settings::Rotate;
use super::trouble::Trouble;
use crate::disk::{Disk, Meta, Open, parent_of, with_suffix};

/// What tells the time: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What stands behind a name at most when it is finished: a dot and an offset, and a dot and a number in case that name is taken.
pub const LONGEST_TAG: usize = 1 + 19 + 1 + 10;

/// A clock that is set by hand is noticed after this time.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// How the files of an output are called when they are finished.
#[derive(Clone)]
pub struct Naming {
    /// Each file has records of one partition only: its first offset tells it from the others. Otherwise the time of its beginning does.
    pub by_offset: bool,
    /// What names of files end with while they are written.
    pub suffix: String,
    /// What names end with in any case: the codec's.
    pub ending: String,
    pub clock: Clock,
}

impl std::fmt::Debug for Naming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Naming")
            .field("by_offset", &self.by_offset)
            .finish_non_exhaustive()
    }
}

impl Naming {
    /// Of a file that begins now at `path`, with the record at `offset`.
    pub fn begun(&self, path: &Path, offset: i64) -> BegunLine {
        let at = (self.clock)();
        let plain = without(&without(path, &self.suffix), &self.ending);
        let tag = match self.by_offset {
            true => offset.to_string(),
            false => start_of(at),
        };
        BegunLine {
            at,
            stem: with_suffix(&plain, &format!(".{tag}")),
            ending: self.ending.clone(),
        }
    }
}

fn without(path: &Path, end: &str) -> PathBuf {
    let name = path.as_os_str().as_bytes();
    let plain = name.strip_suffix(end.as_bytes()).unwrap_or(name);
    PathBuf::from(OsStr::from_bytes(plain))
}

/// A moment as part of a name.
fn start_of(ms: i64) -> String {
    let time = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// When the files of an output are finished.
#[derive(Debug)]
pub struct Rotation {
    rotate: Rotate,
    /// The interval in which all files were looked at last.
    seen: Option<i64>,
    /// Some file has reached its size, or what was begun is not done.
    look: bool,
}

impl Rotation {
    pub fn new(rotate: Rotate) -> Self {
        Self {
            rotate,
            seen: None,
            // What was left by the life before.
            look: rotate.size.is_some(),
        }
    }

    /// Some file has reached this size, in bytes.
    pub fn size(&self) -> Option<u64> {
        self.rotate.size
    }

    /// All files are to be looked at.
    pub fn look(&mut self) {
        self.look = true;
    }

    pub fn is_due(&self, now: i64) -> bool {
        self.look || self.interval(now) != self.seen
    }

    /// How long until the next boundary of time; absent when there is none.
    pub fn until_due(&self, now: i64) -> Option<Duration> {
        let every = self.every()?;
        let next = now
            .div_euclid(every)
            .saturating_add(1)
            .saturating_mul(every);
        let left = u64::try_from(next.saturating_sub(now)).unwrap_or(0);
        Some(Duration::from_millis(left).min(LONGEST_SLEEP))
    }

    fn every(&self) -> Option<i64> {
        let every = self.rotate.every?;
        Some(i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1))
    }

    /// Counted from 1970 on; the same for all files of a moment.
    fn interval(&self, now: i64) -> Option<i64> {
        Some(now.div_euclid(self.every()?))
    }

    fn is_over(&self, known: &Known, now: i64) -> bool {
        let Some(begun) = known.begun.as_ref().filter(|_| known.len > 0) else {
            return false;
        };
        let by_size = self.rotate.size.is_some_and(|size| known.len >= size);
        by_size || self.interval(begun.at) < self.interval(now)
    }

    /// Finishes what is to be finished at `now`. Only between two windows. Gives the names that are free again.
    ///
    /// # Errors
    /// Then it is to be done again, before anything is written.
    pub fn rotate(
        &mut self,
        disk: &dyn Disk,
        journal: &mut Journal,
        now: i64,
    ) -> Result<Vec<PathBuf>, Trouble> {
        // Until this ends well.
        self.look = true;
        let mut over: Vec<_> = journal
            .files()
            .filter(|(_, known)| known.synced && self.is_over(known, now))
            .filter_map(|(path, known)| Some((path.to_path_buf(), known.id, known.begun.clone()?)))
            .collect();
        over.sort_by(|a, b| a.0.cmp(&b.0));
        let mut lines = Vec::new();
        let mut taken = HashSet::new();
        for (path, id, begun) in over {
            let meta = meta_of(disk, &path).map_err(Trouble::with("look at", &path))?;
            // What became of another one is found out, and told, when it is written to, or at the next start.
            let Some(meta) = meta.filter(|meta| meta.inode == id) else {
                continue;
            };
            let file = disk
                .open(&path, Open::Existing)
                .map_err(Trouble::with("open", &path))?;
            file.sync_data().map_err(Trouble::with("sync", &path))?;
            let to = free_name(disk, &begun.stem, &begun.ending, &taken)
                .map_err(Trouble::with("look at", &begun.stem))?;
            taken.insert(to.clone());
            lines.push(FinishLine {
                path,
                id,
                len: meta.len,
                to,
                ending: begun.ending,
                at: now,
            });
        }
        let mut free = Vec::new();
        if !lines.is_empty() {
            free.extend(lines.iter().map(|line| line.path.clone()));
            let told = journal.finish(lines);
            told.map_err(Trouble::with("write the journal", journal.path()))?;
        }
        name_all(disk, journal)?;
        self.look = false;
        self.seen = self.interval(now);
        Ok(free)
    }
}

/// Gives all files their names that the journal says are finished, durably. May be called again after an error.
///
/// # Errors
/// Then it is to be done again, before anything is written.
pub fn name_all(disk: &dyn Disk, journal: &mut Journal) -> Result<(), Trouble> {
    while !journal.finishing().is_empty() {
        let (mut folders, mut gone) = (BTreeSet::new(), Vec::new());
        let mut other = Vec::new();
        for (at, line) in journal.finishing().iter().enumerate() {
            let named = name(disk, line).map_err(Trouble::with("rename", &line.path))?;
            match named {
                Named::Done => drop(folders.insert(parent_of(&line.to))),
                Named::Gone => gone.push(at),
                Named::Taken => other.push(line.clone()),
            }
        }
        for folder in folders {
            match disk.fsync_dir(&folder) {
                // As where files are made: such a folder cannot be opened for a sync, and nothing can be done about it.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                result => result.map_err(Trouble::with("sync the folder", &folder))?,
            }
        }
        if other.is_empty() {
            for line in gone.iter().map(|at| &journal.finishing()[*at]) {
                tracing::warn!(path = %line.to.display(), "a finished output file is gone, or somebody else's");
            }
            journal.named(&gone);
            return Ok(());
        }
        // Somebody was quicker with the name: another one is looked for, and told before it is used.
        for line in &mut other {
            let stem = without(&line.to, &line.ending);
            line.to = free_name(disk, &stem, &line.ending, &HashSet::new())
                .map_err(Trouble::with("look at", &stem))?;
        }
        let told = journal.finish(other);
        told.map_err(Trouble::with("write the journal", journal.path()))?;
    }
    Ok(())
}

enum Named {
    Done,
    /// It is under neither name.
    Gone,
    /// Another file has the name.
    Taken,
}

fn name(disk: &dyn Disk, line: &FinishLine) -> io::Result<Named> {
    let is_it = |meta: &Meta| !meta.is_dir && meta.inode == line.id && meta.len >= line.len;
    let (old, new) = (meta_of(disk, &line.path)?, meta_of(disk, &line.to)?);
    match (old.filter(is_it), new) {
        (old, Some(new)) if is_it(&new) => {
            // Both names, where a rename is a link and a removal.
            if old.is_some() && line.path != line.to {
                disk.remove(&line.path)?;
            }
            Ok(Named::Done)
        }
        (None, _) => Ok(Named::Gone),
        (Some(_), Some(_)) => Ok(Named::Taken),
        (Some(_), None) => match disk.rename_new(&line.path, &line.to) {
            Ok(()) => Ok(Named::Done),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Named::Taken),
            Err(error) => Err(error),
        },
    }
}

fn meta_of(disk: &dyn Disk, path: &Path) -> io::Result<Option<Meta>> {
    match disk.metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if is_no_file(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// There is no file of ours under that name.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    is_nothing(error) || is_link(error)
}

fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// A link is no file of ours.
fn is_link(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// `STEM``ENDING`, or `STEM.1``ENDING` and so on, if that is taken.
fn free_name(
    disk: &dyn Disk,
    stem: &Path,
    ending: &str,
    taken: &HashSet<PathBuf>,
) -> io::Result<PathBuf> {
    let mut number = 0u64;
    loop {
        let name = match number {
            0 => with_suffix(stem, ending),
            _ => with_suffix(stem, &format!(".{number}{ending}")),
        };
        let is_free = !taken.contains(&name)
            && match disk.metadata(&name) {
                Ok(_) => false,
                Err(error) if is_link(&error) => false,
                Err(error) if is_nothing(&error) => true,
                Err(error) => return Err(error),
            };
        if is_free {
            return Ok(name);
        }
        number += 1;
    }
}
