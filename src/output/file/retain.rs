//! Finished files that are removed: the oldest beyond a number, an age, or a size of all together.
//!
//! Only what the journal has as finished by this output is ever removed, and only while the name still leads to that very file. Ages count from
//! when a file was finished, as the journal has it: nobody's mtime matters.
//!
//! Invariant: a file that is written to is never removed.

use std::path::Path;
use std::time::Duration;

use super::entry::{FinishedLine, RemovedLine};
use super::journal::Journal;
use super::settings::Retention;
use super::trouble::Trouble;
use crate::disk::Disk;

/// How often ages are looked at.
pub const LOOK: Duration = Duration::from_secs(60);
/// So many are removed until records have their turn again.
const AT_ONCE: usize = 256;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    pub files: u64,
    pub bytes: u64,
    /// There is more to remove now.
    pub more: bool,
}

/// Removes what is too old or too much at `now`, in milliseconds since 1970. May be called again after an error.
///
/// # Errors
/// When a file cannot be looked at or removed, or the journal cannot be told. What was removed before is told then, or found out later.
pub fn retain(
    disk: &dyn Disk,
    journal: &mut Journal,
    retention: Retention,
    now: i64,
) -> Result<Removed, Trouble> {
    let surplus = surplus(journal.finished(), retention, now);
    let mut removed = Removed {
        more: surplus.len() > AT_ONCE,
        ..Removed::default()
    };
    let mut lines = Vec::new();
    let mut result = Ok(());
    for file in surplus.into_iter().take(AT_ONCE) {
        match remove(disk, journal, &file) {
            Ok(true) => {
                removed.files += 1;
                removed.bytes += file.len;
            }
            Ok(false) => {
                tracing::warn!(path = %file.path.display(), "a finished output file is gone or another one; retention leaves it alone");
            }
            Err(error) => {
                result = Err(Trouble::with("remove", &file.path)(error));
                break;
            }
        }
        lines.push(RemovedLine {
            path: file.path,
            id: file.id,
        });
    }
    if !lines.is_empty() {
        let told = journal.removed(lines);
        told.map_err(Trouble::with("write the journal", journal.path()))?;
    }
    result.map(|()| removed)
}

/// The oldest that are to go.
fn surplus<'a>(
    finished: impl DoubleEndedIterator<Item = &'a FinishedLine>,
    retention: Retention,
    now: i64,
) -> Vec<FinishedLine> {
    let oldest = retention.age.map(|age| {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        now.saturating_sub(age)
    });
    let (mut files, mut bytes) = (0u64, 0u64);
    let mut surplus: Vec<FinishedLine> = finished
        .rev()
        .filter(|file| {
            files += 1;
            bytes = bytes.saturating_add(file.len);
            retention.files.is_some_and(|most| files > most)
                || retention.total_size.is_some_and(|most| bytes > most)
                || oldest.is_some_and(|oldest| file.at < oldest)
        })
        .cloned()
        .collect();
    surplus.reverse();
    surplus
}

/// `false` when there is no such file any more.
fn remove(disk: &dyn Disk, journal: &Journal, file: &FinishedLine) -> std::io::Result<bool> {
    let path: &Path = &file.path;
    // A name that data makes may be one that another file has finished with.
    if journal.known(path).is_some() {
        return Ok(false);
    }
    match disk.metadata(path) {
        Ok(meta) if meta.inode == file.id && !meta.is_dir => disk.remove(path).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) if super::rotate::is_no_file(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<FinishedLine> {
        (0..5i64)
            .map(|n| FinishedLine {
                path: format!("/{n}").into(),
                id: n as u64,
                len: 10,
                at: n * 1000,
            })
            .collect()
    }

    fn gone(retention: Retention, now: i64) -> Vec<u64> {
        let gone = surplus(files().iter(), retention, now);
        gone.into_iter().map(|file| file.id).collect()
    }

    #[test]
    fn the_oldest_go_beyond_a_number_a_size_and_an_age() {
        let none = Retention::default();
        let files = |most| Retention {
            files: Some(most),
            ..none
        };
        let size = |most| Retention {
            total_size: Some(most),
            ..none
        };
        let age = |secs| Retention {
            age: Some(Duration::from_secs(secs)),
            ..none
        };
        assert!(gone(none, i64::MAX).is_empty());
        assert_eq!(gone(files(3), 0), [0, 1]);
        assert_eq!(gone(files(0), 0), [0, 1, 2, 3, 4]);
        assert_eq!(gone(size(30), 0), [0, 1]);
        assert_eq!(gone(size(29), 0), [0, 1, 2]);
        assert_eq!(gone(age(2), 4_000), [0, 1]);
        assert_eq!(gone(age(2), 4_001), [0, 1, 2]);
        let both = Retention {
            files: Some(4),
            ..age(2)
        };
        assert_eq!(gone(both, 4_000), [0, 1]);
    }
}
