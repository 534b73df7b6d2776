//! Settling the files of an output that does not run: what `logferry outputs repair` does on disk.
//!
//! Files are brought to what is committed as at every start ([`resume`]), then each gets its name without `.part`, never over another, and the
//! journal forgets that transactions decided: whatever comes next begins with new files.
//!
//! Can be done again after it was interrupted anywhere.

use std::io;
use std::path::{Path, PathBuf};

use super::BATCH_SLACK;
use super::journal::Journal;
use super::recover::Findings;
use super::resume::{NotResumed, Resuming, resume};
use super::rotate::name_all;
use super::trouble::Trouble;
use crate::disk::{Disk, parent_of, with_suffix};
use crate::flow::Found;

/// What became of the files.
#[derive(Debug, Default)]
pub struct Repaired {
    /// Names before and after, and lengths in bytes.
    pub finished: Vec<(PathBuf, PathBuf, u64)>,
    pub findings: Findings,
}

/// Where the output's files and its journal are.
pub struct Repairing<'a> {
    pub files: &'a dyn Disk,
    pub folder: &'a Path,
    /// How much is made durable at once, in bytes.
    pub sync_bytes: u64,
    /// What the names of files end with until they are finished.
    pub suffix: &'a str,
    /// Part of names that are made.
    pub now: &'a str,
}

/// Settles the files. `found`: what Kafka knows; absent, the files are taken as they are.
///
/// # Errors
/// See [`NotResumed`].
pub fn repair(
    repairing: &Repairing<'_>,
    journal: &mut Journal,
    found: Option<&Found>,
) -> Result<Repaired, NotResumed> {
    let mut repaired = Repaired::default();
    if let Some(found) = found {
        let resuming = Resuming {
            disk: repairing.files,
            folder: repairing.folder,
            longest: repairing
                .sync_bytes
                .saturating_mul(2)
                .saturating_add(BATCH_SLACK),
            now: repairing.now,
        };
        repaired.findings = resume(&resuming, journal, found)?;
    }
    name_all(repairing.files, journal)?;
    let mut forget = Vec::new();
    let mut parts: Vec<PathBuf> = journal
        .files()
        .map(|(path, _)| path.to_path_buf())
        .collect();
    parts.retain(|path| {
        path.as_os_str()
            .as_encoded_bytes()
            .ends_with(repairing.suffix.as_bytes())
    });
    parts.sort();
    for part in parts {
        match repairing.files.metadata(&part) {
            Ok(meta) => {
                let name = finish(repairing, &part).map_err(Trouble::with("rename", &part))?;
                repaired.finished.push((part.clone(), name, meta.len));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Trouble::with("look at", &part)(error).into()),
        }
        forget.push((part, None));
    }
    let told = journal
        .correct(forget)
        .and_then(|()| journal.settle(None, Vec::new()));
    told.map_err(Trouble::with("write the journal", journal.path()))?;
    Ok(repaired)
}

/// Gives a file its name without the suffix, durably. A name that is taken is left alone.
fn finish(repairing: &Repairing<'_>, part: &Path) -> io::Result<PathBuf> {
    let (disk, now) = (repairing.files, repairing.now);
    let name = part.as_os_str().as_encoded_bytes();
    let name = &name[..name.len() - repairing.suffix.len()];
    let plain = PathBuf::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
    let mut to = plain.clone();
    let mut again = 0;
    loop {
        match disk.rename_new(part, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                to = match again {
                    0 => with_suffix(&plain, &format!(".{now}")),
                    _ => with_suffix(&plain, &format!(".{now}.{again}")),
                };
                again += 1;
            }
            result => break result?,
        }
    }
    disk.fsync_dir(&parent_of(&to))?;
    Ok(to)
}
