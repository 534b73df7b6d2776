//! What is done at the start of an output whose lengths transactions decide about: the last one was committed, or it was not.
//!
//! The journal knows what was prepared, and the stamp of its transaction; Kafka knows the stamp of the last one that was committed. That is all
//! it takes. When the journal is gone, or is not the one that wrote last (a restored backup), Kafka's marks say how long each file is; what
//! stands behind is then moved aside, never deleted.
//!
//! A mark is a file's path below the output's folder, with its length and inode.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::entry::FileLine;
use super::journal::Journal;
use super::recover::{Findings, Trust, recover};
use super::rotate::name_all;
use super::trouble::Trouble;
use crate::disk::{Disk, parent_of};
use crate::flow::{Found, Mark, Stamp, Verdict, judge};

/// Why an output cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum NotResumed {
    /// It is tried again.
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// Trying again does not help.
    #[error("{0}")]
    Refused(String),
}

/// What an output is brought back from.
pub struct Resuming<'a> {
    pub disk: &'a dyn Disk,
    /// What no path of the output leaves.
    pub folder: &'a Path,
    /// How many bytes a window can have, over all files.
    pub longest: u64,
    /// Part of the names of moved tails.
    pub now: &'a str,
}

/// The mark of a file.
pub fn mark(folder: &Path, file: &FileLine) -> Mark {
    let line = FileLine {
        path: below(folder, &file.path).to_path_buf(),
        begun: None,
        ..*file
    };
    Mark {
        key: key_of(&line.path),
        value: serde_json::to_string(&line).ok(),
    }
}

/// Says that there is no such file any more.
pub fn gone(folder: &Path, path: &Path) -> Mark {
    Mark {
        key: key_of(below(folder, path)),
        value: None,
    }
}

fn below<'a>(folder: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(folder).unwrap_or(path)
}

fn key_of(path: &Path) -> String {
    path.to_str().map_or_else(
        || serde_json::to_string(path.as_os_str().as_encoded_bytes()).unwrap_or_default(),
        str::to_owned,
    )
}

/// Files that Kafka knows the lengths of, and the journal does not: they are finished, or gone.
///
/// # Errors
/// When Kafka's words cannot be understood.
pub fn not_written(
    folder: &Path,
    journal: &Journal,
    found: &Found,
) -> Result<Vec<PathBuf>, NotResumed> {
    let mut paths = Vec::new();
    for mark in &found.marks {
        let file = file_of(folder, mark).map_err(NotResumed::Refused)?;
        let path = file.map(|file| file.path);
        paths.extend(path.filter(|path| journal.known(path).is_none()));
    }
    Ok(paths)
}

/// The file of a mark.
///
/// # Errors
/// Words about a mark that cannot be understood: guessing would repeat or lose records.
fn file_of(folder: &Path, mark: &Mark) -> Result<Option<FileLine>, String> {
    let Some(value) = &mark.value else {
        return Ok(None);
    };
    let line: FileLine = serde_json::from_str(value).map_err(|error| {
        format!(
            "what Kafka keeps of the file {} cannot be understood: {error}",
            mark.key
        )
    })?;
    Ok(Some(FileLine {
        path: folder.join(&line.path),
        ..line
    }))
}

/// The files that Kafka knows, with their committed lengths in bytes.
///
/// # Errors
/// Words about what cannot be understood.
pub fn lengths(folder: &Path, found: &Found) -> Result<Vec<(PathBuf, u64)>, String> {
    let mut lengths = Vec::new();
    for mark in &found.marks {
        lengths.extend(file_of(folder, mark)?.map(|file| (file.path, file.len)));
    }
    Ok(lengths)
}

/// Brings the journal and all files to what is committed. May be called again after trouble.
///
/// # Errors
/// See [`NotResumed`].
pub fn resume(
    resuming: &Resuming<'_>,
    journal: &mut Journal,
    found: &Found,
) -> Result<Findings, NotResumed> {
    let known = journal.exactly().cloned().unwrap_or_default();
    let attempt = known.prepared.as_ref().map(|(stamp, _)| stamp);
    let verdict = judge(found.stamp.as_ref(), known.last.as_ref(), attempt);
    let (files, trust) = match verdict {
        Verdict::Committed => {
            journal.committed();
            copies(resuming, journal)
        }
        Verdict::Aborted => copies(resuming, journal),
        Verdict::Rival(stamp) => {
            make_names_durable(resuming, &found.marks)?;
            let files = by_marks(resuming, &found.marks)?;
            if known.last.is_some() || !files.is_empty() {
                tracing::warn!(
                    journal = %journal.path().display(), writer = stamp.writer, number = stamp.number, files = files.len(),
                    "the output's journal is missing or older than what Kafka knows of the files; Kafka decides, and what stands behind is moved aside"
                );
            }
            (files, Trust::Nobody)
        }
        Verdict::Lost => return Err(NotResumed::Refused(lost(known.last.as_ref()))),
    };
    name_all(resuming.disk, journal)?;
    let settled = journal.settle(Some(found.stamp.clone()), files);
    settled.map_err(Trouble::with("write the journal", journal.path()))?;
    let findings = recover(
        resuming.disk,
        journal,
        resuming.longest,
        trust,
        resuming.now,
    )?;
    remove_empty(resuming.disk, journal)?;
    Ok(findings)
}

fn lost(last: Option<&Stamp>) -> String {
    let last = last.map_or_else(String::new, |stamp| {
        format!(" (the last was {})", stamp.number)
    });
    format!(
        "Kafka knows nothing of this output's transactions{last}: is it another cluster, or was the topic logferry-positions made again? What was \
         committed cannot be told, so nothing is touched. If that is as it should be, `logferry outputs repair --forget` keeps the files as they are"
    )
}

/// Files that were put back have other inodes than the journal knows. Their names say which they are, and then it does not know what stands
/// behind their lengths.
fn copies(resuming: &Resuming<'_>, journal: &Journal) -> (Vec<FileLine>, Trust) {
    let mut copies = Vec::new();
    for (path, known) in journal.files() {
        if let Ok(meta) = resuming.disk.metadata(path)
            && !meta.is_dir
            && meta.inode != known.id
        {
            copies.push(FileLine {
                path: path.to_path_buf(),
                id: meta.inode,
                len: known.len,
                begun: known.begun.clone(),
            });
        }
    }
    let trust = match copies.is_empty() {
        true => Trust::Journal,
        false => Trust::Nobody,
    };
    (copies, trust)
}

/// A file may have got its other name just before the journal was lost, and not durably. Kafka must not forget the old one before.
fn make_names_durable(resuming: &Resuming<'_>, marks: &[Mark]) -> Result<(), NotResumed> {
    let mut folders = BTreeSet::new();
    for mark in marks {
        let file = file_of(resuming.folder, mark).map_err(NotResumed::Refused)?;
        folders.extend(file.map(|file| parent_of(&file.path)));
    }
    for folder in folders {
        match resuming.disk.fsync_dir(&folder) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) => {}
            result => result.map_err(Trouble::with("sync the folder", &folder))?,
        }
    }
    Ok(())
}

/// The files that Kafka knows, as they are found: a folder that was copied or restored has other inodes.
fn by_marks(resuming: &Resuming<'_>, marks: &[Mark]) -> Result<Vec<FileLine>, NotResumed> {
    let mut files = Vec::new();
    for mark in marks {
        let Some(mut file) = file_of(resuming.folder, mark).map_err(NotResumed::Refused)? else {
            continue;
        };
        if let Ok(meta) = resuming.disk.metadata(&file.path) {
            file.id = meta.inode;
        }
        files.push(file);
    }
    Ok(files)
}

/// Removes files of which nothing was ever committed.
fn remove_empty(disk: &dyn Disk, journal: &mut Journal) -> Result<(), Trouble> {
    let mut gone = Vec::new();
    for (path, known) in journal.files().filter(|(_, known)| known.len == 0) {
        let ours = |meta: crate::disk::Meta| meta.inode == known.id && meta.len == 0;
        if disk.metadata(path).is_ok_and(ours) {
            disk.remove(path).map_err(Trouble::with("remove", path))?;
            gone.push((path.to_path_buf(), None));
        }
    }
    if gone.is_empty() {
        return Ok(());
    }
    let corrected = journal.correct(gone);
    corrected.map_err(Trouble::with("write the journal", journal.path()))
}
