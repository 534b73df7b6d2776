//! The few file operations that everything durable is built from, so that a model can crash between any two of them.
//!
//! Checkpoint, journals and dead letters never touch `std::fs`: they are given a [`Disk`]. The daemon gives them
//! [`RealDisk`]; tests give them `model::ModelDisk`, which loses at a crash whatever was not made durable.
//!
//! The rules that both keep, and that callers build on:
//!
//! - what was written survives SIGKILL at once, and a power cut only after [`DiskFile::sync_data`];
//! - a new, renamed or removed *name* survives a power cut only after [`Disk::fsync_dir`] of its folder, whatever was
//!   done to the file itself;
//! - unsynced effects survive in any combination, not in the order in which they were made;
//! - a failed `sync_data` is never tried again on the same data: what it covered may be gone although the next call
//!   succeeds. Write it again (to another file, or after a truncate). A failed `fsync_dir` can be tried again: a file
//!   system that cannot keep its names refuses everything from then on.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
pub mod model;
mod real;

pub use real::{PIECE, RealDisk};

/// How [`Disk::open`] treats a file that exists or does not. Every handle reads and, but for `Read`, writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must exist; the handle only reads.
    Read,
    /// It must exist.
    Existing,
    /// It is created when missing, with exactly this mode whatever the umask is.
    OrCreate { mode: u32 },
    /// It must not exist (`AlreadyExists`); it is created with exactly this mode whatever the umask is.
    New { mode: u32 },
}

/// What a name leads to. Symbolic links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// In bytes.
    pub len: u64,
    pub is_dir: bool,
    /// The file system; with `inode` it tells files apart as long as both exist.
    pub dev: u64,
    pub inode: u64,
}

/// A place for files. Errors are the operating system's own and do not name the path: whoever calls adds it.
pub trait Disk: Debug + Send + Sync {
    /// A handle to a regular file. A name created by this is durable after [`fsync_dir`](Disk::fsync_dir).
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What the name leads to; `NotFound` when there is nothing.
    fn metadata(&self, path: &Path) -> io::Result<Meta>;

    /// The names in a folder, sorted, without `.` and `..`.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Gives a file another name, in one step, over whatever had that name before.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name unless something has that name already (`AlreadyExists`).
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles go on working.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes one folder, with this mode less the umask. Its parent must exist. See [`create_dirs`].
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;

    /// Makes the names in this folder (not in the folders below it) durable as they are now.
    fn fsync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. Reads and writes carry their offset, so a handle has no position of its own and can be shared.
pub trait DiskFile: Debug + Send + Sync {
    /// Up to `buffer.len()` bytes from `offset` on; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes`. To append is to write at the length that the writer knows to be good. After an error any
    /// part of `bytes` may stand in the file: truncate to that length before going on.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// In bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len` bytes, or fills it up with NULs.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes content and length durable (`fdatasync`), not the name.
    fn sync_data(&self) -> io::Result<()>;

    /// What is open, also after its name was removed or given to another file.
    fn metadata(&self) -> io::Result<Meta>;

    /// Takes the file's exclusive lock (`flock`) without waiting; `false` when another handle holds it. It is held until
    /// the handle is dropped, so also a killed process lets it go.
    fn try_lock(&self) -> io::Result<bool>;
}

/// Makes a folder and those above it that are missing, durably. A folder that exists is left as it is; the name of the
/// lowest that exists is synced, because whoever made it may have been killed before that.
pub fn create_dirs(disk: &dyn Disk, path: &Path, mode: u32) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        match disk.metadata(at) {
            Ok(meta) if meta.is_dir => break,
            Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(at),
            Err(error) => return Err(error),
        }
        match at.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => at = parent,
            _ => break,
        }
    }
    sync_parent(disk, at)?;
    for dir in missing.into_iter().rev() {
        match disk.create_dir(dir, mode) {
            // Another pipeline of this daemon may have been quicker.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => sync_parent(disk, dir)?,
        }
    }
    Ok(())
}

/// Makes the name `path` durable in its folder. A folder that may be written but not read cannot be opened for a sync,
/// and a read-only file system has nothing to sync: neither is an error.
pub fn sync_parent(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match disk.fsync_dir(&parent_of(path)) {
        Err(error) if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => Ok(()),
        result => result,
    }
}

/// Puts `bytes` under the name `path` so that, whatever happens, either the old or the new content is found there, and
/// the new one once this returned `Ok`. After an error it is unknown which of the two will be found after a power cut.
/// `NAME.new` beside it is used on the way, and may be left there.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let fresh = with_suffix(path, ".new");
    let file = create_afresh(disk, &fresh, mode)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&fresh, path)?;
    disk.fsync_dir(&parent_of(path))
}

/// A new, empty file, in place of one that may have been left under this name. The old one is removed rather than
/// emptied: after a crash it may still be the same file as one under another name.
pub fn create_afresh(disk: &dyn Disk, path: &Path, mode: u32) -> io::Result<Box<dyn DiskFile>> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => disk.open(path, Open::New { mode }),
    }
}

/// The folder of `path`; `.` for a bare name.
pub fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) => PathBuf::from("."),
        None => path.to_path_buf(),
    }
}

/// `path` with `suffix` put behind its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// What whoever reads the log can do about a failed operation, as the end of a sentence; empty when there is nothing
/// that the error does not say itself.
pub fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there, and it goes on by itself"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount it writable (under systemd: ReadWritePaths= or StateDirectory=)"
        }
        io::ErrorKind::PermissionDenied => "; give it to the user that logferry runs as",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::model::{Fate, ModelDisk};
    use super::*;

    #[test]
    fn replace_leaves_the_old_or_the_new_content_at_every_crash() {
        for seed in 0..50 {
            for at in 0.. {
                let disk = ModelDisk::new();
                replace(&disk, Path::new("/f"), b"old", 0o600).unwrap();
                disk.crash_after(at);
                let done = replace(&disk, Path::new("/f"), b"new content", 0o600).is_ok();
                let after = disk.crash(seed).read(Path::new("/f")).unwrap();
                assert!(after == b"new content" || (after == b"old" && !done));
                if done {
                    break;
                }
            }
        }
    }

    #[test]
    fn created_folders_survive_a_crash() {
        let disk = ModelDisk::new();
        create_dirs(&disk, Path::new("/a/b/c"), 0o700).unwrap();
        let disk = disk.crash_with(|_| Fate::Lost);
        assert!(disk.metadata(Path::new("/a/b/c")).unwrap().is_dir);
        create_dirs(&disk, Path::new("/a/b/c"), 0o700).unwrap();
    }

    #[test]
    fn folders_that_a_killed_process_made_are_made_durable() {
        for at in 0..12 {
            let disk = ModelDisk::new();
            disk.crash_after(at);
            let _ = create_dirs(&disk, Path::new("/a/b/c"), 0o700);
            let disk = disk.restart();
            create_dirs(&disk, Path::new("/a/b/c"), 0o700).unwrap();
            let disk = disk.crash_with(|_| Fate::Lost);
            assert!(disk.metadata(Path::new("/a/b/c")).unwrap().is_dir);
        }
    }

    #[test]
    fn a_file_where_a_folder_is_wanted_is_an_error() {
        let disk = ModelDisk::new();
        disk.open(Path::new("/a"), Open::New { mode: 0o600 })
            .unwrap();
        let error = create_dirs(&disk, Path::new("/a/b"), 0o700).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }
}
