//! A disk that does not leave a folder, whatever symbolic links stand in it.
//!
//! Names below an output's literal folder may come from data. They are walked one by one from the folder on, and a symbolic link on the
//! way, or as the file itself, is refused (`ELOOP`). The folder itself and what is above it are the operator's and may be links.
//!
//! Invariant: below the folder nothing is opened by a path of more than one component.
//!
//! Its files also begin to be written to the disk long before they are synced.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    Advice, AtFlags, CWD, Mode, OFlags, RenameFlags, fadvise, fchmod, fstat, mkdirat, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile, Meta, Open, RealDisk};

/// The real disk below one folder; outside of it, as it is.
#[derive(Debug)]
pub struct ConfinedDisk {
    folder: PathBuf,
}

impl ConfinedDisk {
    /// Confines to `folder`: a template's literal folder. It need not exist yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    /// The names from the folder to `path`; `None` when it is not below the folder.
    fn below<'a>(&self, path: &'a Path) -> Option<Vec<&'a OsStr>> {
        let rest = path.strip_prefix(&self.folder).ok()?;
        let mut names = Vec::new();
        for component in rest.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::CurDir => {}
                _ => return None,
            }
        }
        (!names.is_empty()).then_some(names)
    }

    /// The folder that the last of `names` stands in, open.
    fn parent(&self, names: &[&OsStr]) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = openat(CWD, &self.folder, flags, Mode::empty())?;
        for name in &names[..names.len().saturating_sub(1)] {
            at = openat(&at, *name, flags | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|error| not_followed(&at, name, error))?;
        }
        Ok(at)
    }

    fn open_below(&self, names: &[&OsStr], flags: OFlags, mode: Mode) -> io::Result<File> {
        let parent = self.parent(names)?;
        let name = names.last().copied().unwrap_or_default();
        // A pipe without a reader must not hold the output up: it is opened without waiting, and refused.
        let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(openat(&parent, name, flags, mode)?))
    }
}

/// A link where a folder is wanted is told as a link (`ELOOP`), not as "not a directory".
fn not_followed(at: &OwnedFd, name: &OsStr, error: Errno) -> Errno {
    match statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() => Errno::LOOP,
        _ => error,
    }
}

/// A file whose bytes are on their way to the disk long before they are synced, and leave the page cache when they are there.
///
/// Otherwise the disk is idle while a window is filled, and the writer while it is synced. Nobody reads an archive right away, and pages that were
/// just given up are cheaper to write into than new ones: in virtual machines by far. The last bytes stay, for `tail`; of a file that grows slowly
/// they are all.
#[derive(Debug)]
struct DataFile {
    file: File,
    /// Up to where the kernel was asked to begin writing, in bytes.
    begun: AtomicU64,
    /// From where on it may still hold pages.
    cached: AtomicU64,
}

/// How many bytes are handed to the disk at once.
const BEGIN: u64 = 1024 * 1024;
/// What was handed to it before these may be there by now, in bytes.
const BEHIND: u64 = 3 * BEGIN;

impl DataFile {
    /// On Linux this begins to write what is dirty and drops what is clean. It is only advice: its failure means nothing.
    fn leave(&self, from: u64, to: u64) {
        if let Some(len) = NonZeroU64::new(to.saturating_sub(from)) {
            let _ = fadvise(&self.file, from, Some(len), Advice::DontNeed);
        }
    }
}

impl DiskFile for DataFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        DiskFile::read_at(&self.file, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        DiskFile::write_at(&self.file, bytes, offset)?;
        let end = offset + bytes.len() as u64;
        let begun = self.begun.load(Ordering::Relaxed).min(offset);
        if end - begun >= BEGIN {
            self.cached.fetch_min(begun, Ordering::Relaxed);
            let from = self.cached.load(Ordering::Relaxed);
            self.leave(from.max(begun.saturating_sub(BEHIND)), end);
            self.begun.store(end, Ordering::Relaxed);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        DiskFile::len(&self.file)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.truncate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        DiskFile::sync_data(&self.file)?;
        let begun = self.begun.load(Ordering::Relaxed);
        let cached = self.cached.load(Ordering::Relaxed);
        if begun >= cached + BEGIN {
            self.leave(cached, begun);
            self.cached.store(begun, Ordering::Relaxed);
        }
        Ok(())
    }

    fn metadata(&self) -> io::Result<Meta> {
        DiskFile::metadata(&self.file)
    }

    fn try_lock(&self) -> io::Result<bool> {
        DiskFile::try_lock(&self.file)
    }
}

fn regular(file: File) -> io::Result<Box<dyn DiskFile>> {
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let len = metadata.len();
    let (begun, cached) = (AtomicU64::new(len), AtomicU64::new(len));
    Ok(Box::new(DataFile {
        file,
        begun,
        cached,
    }))
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode)
}

impl Disk for ConfinedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let Some(names) = self.below(path) else {
            return RealDisk.open(path, how);
        };
        let create = |mode| {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
            let file = self.open_below(&names, flags, bits(mode))?;
            if fstat(&file)?.st_mode & 0o7777 != mode {
                fchmod(&file, bits(mode))?;
            }
            Ok::<_, io::Error>(file)
        };
        let existing = |flags| self.open_below(&names, flags, Mode::empty());
        match how {
            Open::Read => regular(existing(OFlags::RDONLY)?),
            Open::Existing => regular(existing(OFlags::RDWR)?),
            Open::New { mode } => regular(create(mode)?),
            Open::OrCreate { mode } => match create(mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    regular(existing(OFlags::RDWR)?)
                }
                result => regular(result?),
            },
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, Open::Read)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(usize::MAX)];
        let n = file.read_at(&mut bytes, 0)?;
        bytes.truncate(n);
        Ok(bytes)
    }

    fn metadata(&self, path: &Path) -> io::Result<Meta> {
        let Some(names) = self.below(path) else {
            return RealDisk.metadata(path);
        };
        let parent = self.parent(&names)?;
        let name = names.last().copied().unwrap_or_default();
        let stat = statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        if kind.is_symlink() {
            return Err(Errno::LOOP.into());
        }
        Ok(Meta {
            len: u64::try_from(stat.st_size).unwrap_or_default(),
            is_dir: kind.is_dir(),
            dev: stat.st_dev,
            inode: stat.st_ino,
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let Some(names) = self.below(dir) else {
            return RealDisk.list(dir);
        };
        let dir = self.open_below(&names, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_os_string();
            if name != "." && name != ".." {
                found.push(name);
            }
        }
        found.sort();
        Ok(found)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (Some(from_names), Some(to_names)) = (self.below(from), self.below(to)) else {
            return RealDisk.rename(from, to);
        };
        let (from_dir, to_dir) = (self.parent(&from_names)?, self.parent(&to_names)?);
        let (from, to) = (from_names.last(), to_names.last());
        let (from, to) = (
            from.copied().unwrap_or_default(),
            to.copied().unwrap_or_default(),
        );
        Ok(renameat(&from_dir, from, &to_dir, to)?)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (Some(from_names), Some(to_names)) = (self.below(from), self.below(to)) else {
            return RealDisk.rename_new(from, to);
        };
        let (from_dir, to_dir) = (self.parent(&from_names)?, self.parent(&to_names)?);
        let (from, to) = (from_names.last(), to_names.last());
        let (from, to) = (
            from.copied().unwrap_or_default(),
            to.copied().unwrap_or_default(),
        );
        match renameat_with(&from_dir, from, &to_dir, to, RenameFlags::NOREPLACE) {
            // File systems without the flag: a look first is as good where one process makes the names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match statat(&to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                    Err(Errno::NOENT) => Ok(renameat(&from_dir, from, &to_dir, to)?),
                    Err(error) => Err(error.into()),
                }
            }
            result => Ok(result?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(names) = self.below(path) else {
            return RealDisk.remove(path);
        };
        let parent = self.parent(&names)?;
        let name = names.last().copied().unwrap_or_default();
        Ok(unlinkat(&parent, name, AtFlags::empty())?)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let Some(names) = self.below(path) else {
            return RealDisk.create_dir(path, mode);
        };
        let parent = self.parent(&names)?;
        let name = names.last().copied().unwrap_or_default();
        Ok(mkdirat(parent.as_fd(), name, bits(mode))?)
    }

    fn fsync_dir(&self, dir: &Path) -> io::Result<()> {
        let Some(names) = self.below(dir) else {
            return RealDisk.fsync_dir(dir);
        };
        let dir = self.open_below(&names, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
        match dir.sync_all() {
            // Some network file systems have no fsync for folders; their names are durable when the server says so.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::disk::create_dirs;

    fn is_loop(result: io::Result<impl Sized>) -> bool {
        result.is_err_and(|error| error.raw_os_error() == Some(Errno::LOOP.raw_os_error()))
    }

    #[test]
    fn links_below_the_folder_are_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let disk = ConfinedDisk::new(inside.path());
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), inside.path().join("dir")).unwrap();
        symlink(outside.path().join("secret"), inside.path().join("file")).unwrap();
        symlink(outside.path().join("new"), inside.path().join("dangling")).unwrap();
        let at = |name: &str| inside.path().join(name);
        for how in [Open::Read, Open::Existing, Open::OrCreate { mode: 0o600 }] {
            assert!(is_loop(disk.open(&at("dir/secret"), how)));
            assert!(is_loop(disk.open(&at("file"), how)));
            assert!(is_loop(disk.open(&at("dangling"), how)));
        }
        assert!(is_loop(disk.open(&at("dir/n"), Open::New { mode: 0o600 })));
        assert!(is_loop(create_dirs(&disk, &at("dir/sub"), 0o700)));
        assert!(is_loop(disk.metadata(&at("dir"))));
        assert!(is_loop(disk.remove(&at("dir/secret"))));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_folder_itself_may_be_a_link() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let folder = inside.path().join("archive");
        symlink(outside.path(), &folder).unwrap();
        let disk = ConfinedDisk::new(&folder);
        create_dirs(&disk, &folder.join("a/b"), 0o750).unwrap();
        let path = folder.join("a/b/c");
        let file = disk.open(&path, Open::New { mode: 0o604 }).unwrap();
        file.write_at(b"hello", 0).unwrap();
        disk.fsync_dir(&folder.join("a/b")).unwrap();
        disk.fsync_dir(&folder).unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"hello");
        assert_eq!(disk.metadata(&path).unwrap(), file.metadata().unwrap());
        assert_eq!(disk.list(&folder.join("a/b")).unwrap(), ["c"]);
        assert_eq!(
            disk.rename_new(&path, &path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        disk.rename_new(&path, &folder.join("d")).unwrap();
        disk.rename(&folder.join("d"), &path).unwrap();
        disk.remove(&path).unwrap();
        assert!(!outside.path().join("a/b/c").exists());
    }

    #[test]
    fn a_large_file_holds_what_was_written_also_after_a_cut() {
        let inside = tempfile::tempdir().unwrap();
        let disk = ConfinedDisk::new(inside.path());
        let path = inside.path().join("large");
        let file = disk.open(&path, Open::New { mode: 0o600 }).unwrap();
        let block = vec![7; 300_000];
        for at in 0..10 {
            file.write_at(&block, at * 300_000).unwrap();
        }
        file.truncate(300_000).unwrap();
        for at in 1..10 {
            file.write_at(&block, at * 300_000).unwrap();
        }
        file.sync_data().unwrap();
        assert_eq!(disk.read(&path).unwrap(), vec![7; 3_000_000]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let inside = tempfile::tempdir().unwrap();
        let disk = ConfinedDisk::new(inside.path());
        let pipe = inside.path().join("pipe");
        rustix::fs::mknodat(CWD, &pipe, rustix::fs::FileType::Fifo, bits(0o600), 0).unwrap();
        fs::create_dir(inside.path().join("dir")).unwrap();
        assert!(disk.open(&pipe, Open::Existing).is_err());
        let error = disk
            .open(&inside.path().join("dir"), Open::Existing)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    }
}
