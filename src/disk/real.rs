//! The disk of the machine, over std and rustix.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::{Disk, DiskFile, Meta, Open};

/// So many bytes are written at once. For more at a time the system looks for larger pieces of memory, in one go: in virtual machines a new
/// file then costs up to five times the processor time.
pub const PIECE: usize = 64 * 1024;

/// The disk of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let file = match how {
            Open::Read => File::open(path)?,
            Open::Existing => OpenOptions::new().read(true).write(true).open(path)?,
            Open::New { mode } => create(path, mode)?,
            Open::OrCreate { mode } => match create(path, mode) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    // `create` is for a symbolic link that leads nowhere, which `create_new` refuses.
                    let mut options = OpenOptions::new();
                    options.read(true).write(true).create(true).truncate(false);
                    options.mode(mode).open(path)?
                }
                result => result?,
            },
        };
        Ok(Box::new(file))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<Meta> {
        fs::metadata(path).map(meta)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // File systems without the flag: a look first is as good where one process makes the names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => match fs::symlink_metadata(to) {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
                Err(error) => Err(error),
            },
            result => Ok(result?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        DirBuilder::new().mode(mode).create(path)
    }

    fn fsync_dir(&self, dir: &Path) -> io::Result<()> {
        match File::open(dir)?.sync_all() {
            // Some network file systems have no fsync for folders; their names are durable when the server says so.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => Ok(()),
            result => result,
        }
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    if file.metadata()?.permissions().mode() & 0o7777 != mode {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(file)
}

fn meta(meta: fs::Metadata) -> Meta {
    Meta {
        len: meta.len(),
        is_dir: meta.is_dir(),
        dev: meta.dev(),
        inode: meta.ino(),
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for piece in bytes.chunks(PIECE) {
            self.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(File::metadata(self)?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn metadata(&self) -> io::Result<Meta> {
        File::metadata(self).map(meta)
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_read_cut_renamed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let disk = RealDisk;
        let file = disk.open(&a, Open::New { mode: 0o666 }).unwrap();
        assert_eq!(
            fs::metadata(&a).unwrap().permissions().mode() & 0o777,
            0o666
        );
        assert!(disk.open(&a, Open::New { mode: 0o600 }).is_err());
        file.write_at(b"hello", 0).unwrap();
        file.truncate(4).unwrap();
        file.sync_data().unwrap();
        let mut buffer = [0; 8];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 3);
        assert_eq!(&buffer[..3], b"ell");
        disk.fsync_dir(dir.path()).unwrap();

        let other = disk.open(&b, Open::OrCreate { mode: 0o600 }).unwrap();
        let error = disk.rename_new(&a, &b).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.list(dir.path()).unwrap(), ["a", "b"]);
        disk.remove(&b).unwrap();
        disk.rename_new(&a, &b).unwrap();
        assert_eq!(disk.read(&b).unwrap(), b"hell");
        assert_eq!(disk.metadata(&b).unwrap(), file.metadata().unwrap());
        assert_ne!(
            other.metadata().unwrap().inode,
            file.metadata().unwrap().inode
        );
        disk.rename(&b, &a).unwrap();
        assert_eq!(disk.list(dir.path()).unwrap(), ["a"]);
    }

    #[test]
    fn a_lock_is_held_until_its_handle_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = RealDisk
            .open(&path, Open::OrCreate { mode: 0o600 })
            .unwrap();
        let second = RealDisk
            .open(&path, Open::OrCreate { mode: 0o600 })
            .unwrap();
        assert!(first.try_lock().unwrap());
        assert!(!second.try_lock().unwrap());
        drop(first);
        assert!(second.try_lock().unwrap());
    }
}
