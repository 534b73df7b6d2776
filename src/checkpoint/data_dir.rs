//! The daemon's own folder: made when missing, held by one daemon at a time, of a known format.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::disk::{self, Disk, DiskFile, Open, advice};

/// The format of the folder as a whole. A later number is refused, so that going back to an older logferry cannot spoil
/// what a newer one wrote.
const FORMAT: u32 = 1;

/// The folder, held until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Never read: the lock lasts as long as the handle.
    _lock: Box<dyn DiskFile>,
}

/// Why the folder cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    #[error(
        "data_dir {} is held by another logferry{}; stop that one, or give each a data_dir of its own",
        dir.display(),
        pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held {
        dir: PathBuf,
        /// Absent when the other one had no time yet to write it down.
        pid: Option<u32>,
    },
    #[error(
        "data_dir {} has format {found}, and this logferry knows formats up to {FORMAT}; run the version that wrote it, or a later one",
        dir.display()
    )]
    Newer { dir: PathBuf, found: u32 },
    #[error(
        "{} should hold the number of the data_dir's format and holds {found:?}; if this is logferry's data_dir, write {FORMAT} into it",
        path.display()
    )]
    NoVersion { path: PathBuf, found: String },
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the folder (mode 0700) when it is missing, locks it, and sees to its version.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Self, DataDirError> {
        let disk = disk.as_ref();
        disk::create_dirs(disk, dir, 0o700).map_err(io_error("make the folder", dir))?;
        let lock = lock(disk, dir)?;
        check_version(disk, dir)?;
        Ok(Self {
            path: dir.to_path_buf(),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DiskFile>, DataDirError> {
    let path = dir.join("lock");
    let file = disk
        .open(&path, Open::OrCreate { mode: 0o600 })
        .map_err(io_error("open", &path))?;
    if !file.try_lock().map_err(io_error("lock", &path))? {
        let text = disk.read(&path).unwrap_or_default();
        let pid = String::from_utf8_lossy(&text).trim().parse().ok();
        let dir = dir.to_path_buf();
        return Err(DataDirError::Held { dir, pid });
    }
    // The number only serves the message above; a full disk is met, and told, where it matters.
    let pid = format!("{}\n", std::process::id());
    if file.truncate(0).is_ok() {
        let _ = file.write_at(pid.as_bytes(), 0);
    }
    Ok(file)
}

fn check_version(disk: &dyn Disk, dir: &Path) -> Result<(), DataDirError> {
    if check_known(disk, dir)? {
        return Ok(());
    }
    let path = dir.join("version");
    let number = format!("{FORMAT}\n");
    disk::replace(disk, &path, number.as_bytes(), 0o600).map_err(io_error("write", &path))
}

/// Whether the folder has a version; one that this logferry does not know is an error. Only reads.
pub(super) fn check_known(disk: &dyn Disk, dir: &Path) -> Result<bool, DataDirError> {
    let path = dir.join("version");
    let text = match disk.read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read", &path)(error)),
    };
    match text.parse() {
        Ok(found) if found > FORMAT => Err(DataDirError::Newer {
            dir: dir.to_path_buf(),
            found,
        }),
        Ok(1..) => Ok(true),
        _ => Err(DataDirError::NoVersion {
            path,
            found: text.chars().take(40).collect(),
        }),
    }
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |source| DataDirError::Io {
        doing,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rustix::io::Errno;

    use super::*;
    use crate::disk::RealDisk;
    use crate::disk::model::ModelDisk;

    fn open(disk: &ModelDisk) -> Result<DataDir, DataDirError> {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        DataDir::open(&disk, Path::new("/var/lib/logferry"))
    }

    #[test]
    fn a_missing_folder_is_made_for_the_daemon_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/data");
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let held = DataDir::open(&disk, &dir).unwrap();
        let mode = std::fs::metadata(held.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(std::fs::read_to_string(dir.join("version")).unwrap(), "1\n");
    }

    #[test]
    fn a_second_daemon_is_told_who_holds_the_folder() {
        let disk = ModelDisk::new();
        let first = open(&disk).unwrap();
        let error = open(&disk).unwrap_err();
        let expected = format!(
            "data_dir /var/lib/logferry is held by another logferry (process {}); stop that one, or give each a data_dir of its own",
            std::process::id()
        );
        assert_eq!(error.to_string(), expected);
        drop(first);
        open(&disk).unwrap();
    }

    #[test]
    fn a_folder_of_a_later_format_is_refused() {
        let disk = ModelDisk::new();
        drop(open(&disk).unwrap());
        let path = Path::new("/var/lib/logferry/version");
        disk::replace(&disk, path, b"2\n", 0o600).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(matches!(error, DataDirError::Newer { found: 2, .. }));
        for text in ["", "0", "-1", "x"] {
            disk::replace(&disk, path, text.as_bytes(), 0o600).unwrap();
            let error = open(&disk).unwrap_err();
            assert!(matches!(error, DataDirError::NoVersion { .. }), "{text}");
        }
    }

    #[test]
    fn a_read_only_folder_is_named() {
        let disk = ModelDisk::new();
        disk::create_dirs(&disk, Path::new("/var/lib/logferry"), 0o700).unwrap();
        disk.fail_after(0, u64::MAX, Errno::ROFS);
        let text = open(&disk).unwrap_err().to_string();
        assert!(text.contains("/var/lib/logferry"), "{text}");
        assert!(text.contains("mount it writable"), "{text}");
    }

    #[test]
    fn a_crash_at_any_step_leaves_a_folder_that_can_be_used() {
        for seed in 0..30 {
            for at in 0.. {
                let disk = ModelDisk::new();
                disk.crash_after(at);
                let done = open(&disk).is_ok();
                open(&disk.restart()).unwrap();
                open(&disk.crash(seed)).unwrap();
                if done {
                    break;
                }
            }
        }
    }
}
