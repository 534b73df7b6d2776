//! One look at a file: what a single system call tells about it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags};

use super::identity::Id;

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    pub id: Id,
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// What it takes of its file system, in blocks of 512 bytes.
    pub blocks: u64,
    /// How many names lead to it; 0 when it was deleted.
    pub links: u32,
    /// When content and inode changed last, in nanoseconds since 1970.
    pub stamp: (i64, i64),
}

/// What a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Folder,
    Link,
    /// A socket, a pipe, a device.
    Special,
    /// The folder's list does not tell.
    Unknown,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Unknown => Self::Unknown,
            _ => Self::Special,
        }
    }
}

impl Look {
    /// A look at what `path` leads to, links followed.
    pub fn at(path: &Path) -> io::Result<Self> {
        let flags = AtFlags::empty();
        Ok(rustix::fs::statx(CWD, path, flags, wanted())?.into())
    }

    /// A look at `path` itself, even if it is a link.
    pub fn at_name(path: &Path) -> io::Result<Self> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::statx(CWD, path, flags, wanted())?.into())
    }

    /// Whether nothing changed for `age`, by the wall clock.
    pub fn is_older_than(&self, age: Duration) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let (last, age) = (self.stamp.0.max(self.stamp.1), age.as_nanos());
        now.is_ok_and(|now| now.as_nanos().saturating_sub(age) > last.max(0).unsigned_abs().into())
    }

    /// Whether it has holes for certain.
    pub fn is_sparse(&self) -> bool {
        self.blocks.saturating_mul(512) < self.size
    }

    /// Whether its content did not change for `age`, by the wall clock.
    pub fn was_written_before(&self, age: Duration) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let (last, age) = (i128::from(self.stamp.0), age.as_nanos().cast_signed());
        now.is_ok_and(|now| now.as_nanos().cast_signed().saturating_sub(last) > age)
    }

    /// A look at an open file or folder.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted())?.into())
    }
}

/// Whether writes to the file may come from elsewhere (network and user-space file systems), so that this kernel does not tell of them.
pub fn is_shared(file: impl AsFd) -> bool {
    // The `*_SUPER_MAGIC` numbers of statfs(2): NFS, SMB, CIFS, SMB2, FUSE, Ceph, 9P, AFS, GFS2, OCFS2, Lustre.
    const SHARED: [u32; 11] = [
        0x6969,
        0x517b,
        0xff53_4d42,
        0xfe53_4d42,
        0x6573_5546,
        0x00c3_6400,
        0x0102_1997,
        0x5346_414f,
        0x0116_1970,
        0x7461_636f,
        0x0bd0_0bd0,
    ];
    rustix::fs::fstatfs(file).is_ok_and(|stat| {
        // The field is signed on some machines and wider on others; the numbers have 32 bits.
        SHARED.contains(&(stat.f_type as u32))
    })
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME
}

impl From<Statx> for Look {
    fn from(stat: Statx) -> Self {
        let nanos = |at: rustix::fs::StatxTimestamp| {
            at.tv_sec
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(at.tv_nsec))
        };
        let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
        Self {
            id: Id {
                dev: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
                inode: stat.stx_ino,
                birth: has_birth.then(|| nanos(stat.stx_btime)),
            },
            kind: FileType::from_raw_mode(stat.stx_mode.into()).into(),
            size: stat.stx_size,
            blocks: stat.stx_blocks,
            links: stat.stx_nlink,
            stamp: (nanos(stat.stx_mtime), nanos(stat.stx_ctime)),
        }
    }
}

/// Opens a file for reading. Never waits, not even when a pipe stands where a file is expected.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Opens a folder for listing.
pub fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_by_name_and_by_handle_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"12345").unwrap();
        let file = open(&path).unwrap();
        let look = Look::of(&file).unwrap();
        assert_eq!(look, Look::at(&path).unwrap());
        assert_eq!((look.size, look.links, look.kind), (5, 1, Kind::File));
        assert!(!look.was_written_before(Duration::from_secs(3600)));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(Look::of(&file).unwrap().links, 0);
    }
}
