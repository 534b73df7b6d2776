//! The folder of an output whose records and offsets are one transaction: locked, and with a name in Kafka that stays with it.
//!
//! `FOLDER/.logferry-OUTPUT` holds the name, made once: transactions decide about these files, whatever becomes of data_dir and of the daemon's
//! own `id`. Whoever starts with the same name shuts the one before out of Kafka, but not out of the files: so the file is locked too.
//!
//! Invariant: two processes never write to one folder for the same output.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::disk::{Disk, DiskFile, Open, advice, create_dirs, parent_of};

const MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o750;
const FORMAT: u32 = 1;
/// More than the file ever has, in bytes.
const MOST: usize = 4096;

/// An output's name in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderName {
    /// The daemon's when the folder was made.
    pub id: String,
    /// The output's name, a slash and a random part.
    pub pipeline: String,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    format: u32,
    #[serde(flatten)]
    name: FolderName,
}

/// The folder, locked until this is dropped.
#[derive(Debug)]
pub struct Folder {
    pub name: FolderName,
    _lock: Box<dyn DiskFile>,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot use {}: {error}{}", path.display(), advice(error))]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{} is locked: another process writes to this folder; give each output a folder of its own, or stop the other",
        path.display()
    )]
    Locked { path: PathBuf },
    #[error(
        "{} is damaged: it says under which name Kafka keeps the lengths of the files here. Restore it, or remove it together with the *.part \
         files, whose ends nobody can tell then",
        path.display()
    )]
    Damaged { path: PathBuf },
    #[error("{} has format {found}: it was written by a newer logferry, use that one", path.display())]
    Newer { path: PathBuf, found: u32 },
}

/// Where the name stands.
pub fn marker(folder: &Path, output: &str) -> PathBuf {
    folder.join(format!(".logferry-{output}"))
}

/// Locks `folder` for `output`, and finds its name, or makes one with the daemon's `id`.
///
/// # Errors
/// See [`FolderError`].
pub fn open(disk: &dyn Disk, folder: &Path, output: &str, id: &str) -> Result<Folder, FolderError> {
    let path = marker(folder, output);
    let failed = |error| FolderError::Io {
        path: path.clone(),
        error,
    };
    create_dirs(disk, folder, DIR_MODE).map_err(failed)?;
    let file = disk
        .open(&path, Open::OrCreate { mode: MODE })
        .map_err(failed)?;
    if !file.try_lock().map_err(failed)? {
        return Err(FolderError::Locked { path });
    }
    let name = match read(&*file, &path)? {
        Some(name) => name,
        None => {
            let name = FolderName {
                id: id.to_owned(),
                pipeline: format!("{output}/{}", random().map_err(failed)?),
            };
            write(&*file, &name).map_err(failed)?;
            name
        }
    };
    // Whoever wrote it may have been killed before the name of the file was durable.
    file.sync_data().map_err(failed)?;
    disk.fsync_dir(&parent_of(&path)).map_err(failed)?;
    Ok(Folder { name, _lock: file })
}

/// Locks `folder` for `output`, if something was ever written there exactly once.
///
/// # Errors
/// See [`FolderError`].
pub fn find(disk: &dyn Disk, folder: &Path, output: &str) -> Result<Folder, FolderError> {
    let path = marker(folder, output);
    let failed = |error| FolderError::Io {
        path: path.clone(),
        error,
    };
    let file = disk.open(&path, Open::Existing).map_err(failed)?;
    if !file.try_lock().map_err(failed)? {
        return Err(FolderError::Locked { path });
    }
    match read(&*file, &path)? {
        Some(name) => Ok(Folder { name, _lock: file }),
        None => Err(FolderError::Damaged { path }),
    }
}

/// The folder's name, without its lock.
///
/// # Errors
/// See [`FolderError`].
pub fn look(disk: &dyn Disk, folder: &Path, output: &str) -> Result<FolderName, FolderError> {
    let path = marker(folder, output);
    let file = disk.open(&path, Open::Read);
    let file = file.map_err(|error| FolderError::Io {
        path: path.clone(),
        error,
    })?;
    read(&*file, &path)?.ok_or(FolderError::Damaged { path })
}

/// What the file says. A line without its end is one whose writer was killed before anything was done under that name.
fn read(file: &dyn DiskFile, path: &Path) -> Result<Option<FolderName>, FolderError> {
    let mut text = vec![0; MOST];
    let len = file
        .read_at(&mut text, 0)
        .map_err(|error| FolderError::Io {
            path: path.to_path_buf(),
            error,
        })?;
    text.truncate(len);
    if !text.ends_with(b"\n") {
        return Ok(None);
    }
    match serde_json::from_slice::<Contents>(&text) {
        Ok(contents) if contents.format > FORMAT => Err(FolderError::Newer {
            path: path.to_path_buf(),
            found: contents.format,
        }),
        Ok(contents) => Ok(Some(contents.name)),
        Err(_) => Err(FolderError::Damaged {
            path: path.to_path_buf(),
        }),
    }
}

fn write(file: &dyn DiskFile, name: &FolderName) -> io::Result<()> {
    let contents = Contents {
        format: FORMAT,
        name: name.clone(),
    };
    let mut text = serde_json::to_vec(&contents)?;
    text.push(b'\n');
    file.truncate(0)?;
    file.write_at(&text, 0)
}

/// 64 random bits in hex.
fn random() -> io::Result<String> {
    use std::io::Read;
    let mut bits = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::model::ModelDisk;

    const FOLDER: &str = "/srv/archive";

    fn name(disk: &dyn Disk, id: &str) -> FolderName {
        open(disk, Path::new(FOLDER), "a", id).unwrap().name
    }

    #[test]
    fn a_folder_keeps_its_name_whatever_the_daemon_is_called() {
        let disk = ModelDisk::new();
        let first = name(&disk, "web-1");
        assert!(first.id == "web-1" && first.pipeline.starts_with("a/"));
        assert_eq!(name(&disk, "web-2"), first);
        let other = open(&disk, Path::new(FOLDER), "b", "web-1").unwrap();
        assert_ne!(other.name, first);
    }

    #[test]
    fn a_name_that_was_used_survives_every_crash() {
        for seed in 0..20 {
            for at in 0.. {
                let disk = ModelDisk::new();
                disk.crash_after(at);
                let given = open(&disk, Path::new(FOLDER), "a", "web-1").map(|folder| folder.name);
                let disk = disk.crash(seed);
                let found = name(&disk, "web-1");
                if let Ok(given) = given {
                    assert_eq!(found, given);
                    break;
                }
            }
        }
    }

    #[test]
    fn a_folder_in_use_and_a_damaged_name_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = crate::disk::RealDisk;
        let folder = open(&disk, dir.path(), "a", "x").unwrap();
        let again = open(&disk, dir.path(), "a", "x");
        assert!(matches!(again, Err(FolderError::Locked { .. })));
        drop(folder);
        std::fs::write(marker(dir.path(), "a"), "{}\n").unwrap();
        let again = open(&disk, dir.path(), "a", "x");
        assert!(matches!(again, Err(FolderError::Damaged { .. })));
        std::fs::write(
            marker(dir.path(), "a"),
            "{\"format\":2,\"id\":\"x\",\"pipeline\":\"a/1\"}\n",
        )
        .unwrap();
        let again = open(&disk, dir.path(), "a", "x");
        assert!(matches!(again, Err(FolderError::Newer { found: 2, .. })));
    }
}
