//! What is done with the files at start, before anything is written: what stands behind their journaled lengths is cut.
//!
//! A tail is the journal's own last window, whose records are consumed again, when
//! - the file is the one that the journal knows (same inode),
//! - the journal is the file that was written and not a copy that was put back ([`Journal::at_home`]), so nothing that it does not know
//!   was ever durable and committed, and
//! - all tails together are no longer than a window can be.
//!
//! Any other tail may hold the only copy of its records: it is moved to `FILE.cut-TIME`, never deleted. A file that somebody replaced is
//! left as it is.

use std::io;
use std::path::{Path, PathBuf};

use super::journal::{Journal, Known};
use super::trouble::Trouble;
use crate::disk::{Disk, DiskFile, Open, parent_of, with_suffix};

const COPY: usize = 256 * 1024;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Findings {
    /// Files that were gone, shorter than journaled, or other files.
    pub missing_files: u64,
    pub cut_bytes: u64,
    pub moved_tails: u64,
}

/// Whose word it is that a tail is the journal's own last window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The journal's.
    Journal,
    /// The journal did not write last: every tail may be the only copy of its records.
    Nobody,
}

/// Brings all files of the journal to their journaled lengths. `longest`: how many bytes a window can have, over all files. `now`: part of
/// the names of moved tails. May be called again after an error.
///
/// # Errors
/// When a file cannot be looked at, cut or moved.
pub fn recover(
    disk: &dyn Disk,
    journal: &mut Journal,
    longest: u64,
    trust: Trust,
    now: &str,
) -> Result<Findings, Trouble> {
    let mut findings = Findings::default();
    let mut corrections = Vec::new();
    let mut tails = Vec::new();
    let mut files: Vec<(&Path, &Known)> = journal.files().collect();
    files.sort_by_key(|(path, _)| *path);
    for (path, known) in files {
        match look(disk, path, known).map_err(Trouble::with("look at", path))? {
            Look::Same => {}
            Look::Longer(len) => tails.push((path.to_path_buf(), known.len, len)),
            // Nothing of it was ever synced.
            Look::Gone if !known.synced && known.len == 0 => {
                corrections.push((path.to_path_buf(), None));
            }
            Look::Gone => {
                findings.missing_files += 1;
                tracing::warn!(path = %path.display(), bytes = known.len, "an output file is gone; its records are not written again");
                corrections.push((path.to_path_buf(), None));
            }
            Look::Other => {
                findings.missing_files += 1;
                tracing::warn!(path = %path.display(), "an output file was replaced by another; that one is left as it is and appended to");
                corrections.push((path.to_path_buf(), None));
            }
            Look::Shorter(len) => {
                findings.missing_files += 1;
                tracing::error!(
                    path = %path.display(), expected = known.len, found = len,
                    "an output file is shorter than what was made durable in it: somebody cut it, or the disk lost data; its records are not written again"
                );
                corrections.push((path.to_path_buf(), Some(len)));
            }
        }
    }
    let total: u64 = tails.iter().map(|(_, good, len)| len - good).sum();
    let own = trust == Trust::Journal && journal.at_home() && total <= longest;
    for (path, good, len) in tails {
        let file = disk
            .open(&path, Open::Existing)
            .map_err(Trouble::with("open", &path))?;
        if !own {
            let aside = move_tail(disk, &path, &*file, good, len, now)
                .map_err(Trouble::with("move aside the end of", &path))?;
            findings.moved_tails += 1;
            tracing::warn!(
                path = %path.display(), bytes = len - good, aside = %aside.display(),
                "an output file has bytes that the journal does not know; they were moved aside"
            );
        }
        let cut = file.truncate(good).and_then(|()| file.sync_data());
        cut.map_err(Trouble::with("cut", &path))?;
        if own {
            findings.cut_bytes += len - good;
            tracing::info!(path = %path.display(), bytes = len - good, "cut what was not yet committed; it is consumed again");
        }
    }
    if !corrections.is_empty() || !journal.at_home() {
        let corrected = journal.correct(corrections);
        corrected.map_err(Trouble::with("write the journal", journal.path()))?;
    }
    Ok(findings)
}

/// How a file stands to what the journal knows of it.
enum Look {
    Same,
    Longer(u64),
    Shorter(u64),
    Gone,
    Other,
}

fn look(disk: &dyn Disk, path: &Path, known: &Known) -> io::Result<Look> {
    let meta = match disk.metadata(path) {
        Ok(meta) => meta,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Look::Gone);
        }
        Err(error) => return Err(error),
    };
    Ok(if meta.is_dir || meta.inode != known.id {
        Look::Other
    } else if meta.len > known.len {
        Look::Longer(meta.len)
    } else if meta.len < known.len {
        Look::Shorter(meta.len)
    } else {
        Look::Same
    })
}

/// Copies what stands in a file between two lengths to a new one beside it, durably. Gives the name of that.
pub(super) fn move_tail(
    disk: &dyn Disk,
    path: &Path,
    file: &dyn DiskFile,
    good: u64,
    len: u64,
    now: &str,
) -> io::Result<PathBuf> {
    let mut aside = with_suffix(path, &format!(".cut-{now}"));
    let mut again = 0;
    let copy = loop {
        match disk.open(&aside, Open::New { mode: 0o600 }) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                again += 1;
                aside = with_suffix(path, &format!(".cut-{now}.{again}"));
            }
            result => break result?,
        }
    };
    let mut buffer = vec![0; COPY];
    let mut at = good;
    while at < len {
        let n = file.read_at(&mut buffer, at)?;
        if n == 0 {
            break;
        }
        copy.write_at(&buffer[..n], at - good)?;
        at += n as u64;
    }
    copy.sync_data()?;
    disk.fsync_dir(&parent_of(&aside))?;
    Ok(aside)
}
