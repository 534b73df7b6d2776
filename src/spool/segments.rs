//! Segments: the files of one spool, and what a crash left of them.
//!
//! A segment is named after the number of its first block. Only the newest is written to; after a start always a new one. `position` beside them
//! says which blocks are done: two slots that are written in turn, so that one of them is whole whatever happens.
//!
//! Invariant: a segment is removed only when all of its blocks are done, and one in which something is damaged never: it is given another name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Found, HEAD, find};
use super::{Error, io_error};
use crate::disk::{self, Disk, DiskFile, Open};
use crate::flow::Count;

const EXTENSION: &str = ".spool";
const DAMAGED: &str = ".damaged";
const POSITION: &str = "position";
/// Each on a page of its own.
const SLOTS: [u64; 2] = [0, 4096];
const MODE: u32 = 0o600;

/// One file of blocks.
#[derive(Debug, Clone)]
pub struct Segment {
    /// The number of its first block, by which it is named.
    pub first: u64,
    /// The number after its last block.
    pub end: u64,
    /// Bytes that hold blocks, or once did.
    pub len: u64,
    /// What those of its blocks count for that were not sent.
    pub waiting: Count,
    pub is_damaged: bool,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Oldest first. None of them is wholly done.
    pub segments: Vec<Segment>,
    /// Where the first block stands that is not done: the segment's number, and bytes.
    pub begin: Option<(u64, u64)>,
    /// Blocks before this number are done.
    pub position: u64,
    /// The number that the next block gets.
    pub next: u64,
    /// What the blocks count for that are not done.
    pub count: Count,
    /// When the first of them was written, in milliseconds since 1970.
    pub oldest: Option<i64>,
    /// Segments in which something is damaged.
    pub damaged: u64,
    /// Bytes in which no block could be read.
    pub lost: u64,
    /// Bytes of a block that a crash had interrupted.
    pub cut: u64,
}

/// The folder of one spool.
#[derive(Debug, Clone)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

/// The file that says which blocks are done.
#[derive(Debug)]
pub struct PositionFile {
    file: Box<dyn DiskFile>,
    slot: usize,
}

impl Folder {
    /// Makes the folder (mode 0700) when it is missing, and looks through what is in it.
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
    ) -> Result<(Self, Recovered, PositionFile), Error> {
        disk::create_dirs(disk.as_ref(), path, 0o700)
            .map_err(|error| io_error("make the folder", path, error))?;
        let folder = Self {
            disk,
            path: path.to_owned(),
        };
        let (position, file) = folder.position()?;
        let recovered = folder.recover(position)?;
        Ok((folder, recovered, file))
    }

    pub fn path_of(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}{EXTENSION}"))
    }

    /// A new segment. Its name is durable after [`Folder::sync`].
    pub fn create(&self, first: u64) -> io::Result<Arc<dyn DiskFile>> {
        // One that nothing was written to may have been left under this name.
        disk::create_afresh(self.disk.as_ref(), &self.path_of(first), MODE).map(Arc::from)
    }

    pub fn read_only(&self, segment: u64) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.path_of(segment), Open::Read)
    }

    /// Makes the names of the segments durable.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.fsync_dir(&self.path)
    }

    /// All of its blocks are done.
    pub fn leave(&self, segment: &Segment) -> io::Result<()> {
        let path = self.path_of(segment.first);
        let left = match segment.is_damaged {
            false => self.disk.remove(&path),
            true => self.set_aside(&path),
        };
        match left {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn set_aside(&self, path: &Path) -> io::Result<()> {
        let mut name = disk::with_suffix(path, DAMAGED);
        for more in 2.. {
            match self.disk.rename_new(path, &name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    name = disk::with_suffix(path, &format!("{DAMAGED}-{more}"));
                }
                result => return result,
            }
        }
        Ok(())
    }

    fn recover(&self, position: u64) -> Result<Recovered, Error> {
        let names = self.disk.list(&self.path);
        let names = names.map_err(|error| io_error("list", &self.path, error))?;
        let number = |name: &std::ffi::OsString| -> Option<u64> {
            let name = name.to_str()?.strip_suffix(EXTENSION)?;
            name.parse().ok().filter(|_| name.len() == 20)
        };
        let mut firsts: Vec<u64> = names.iter().filter_map(number).collect();
        firsts.sort_unstable();
        let mut found = Recovered {
            position,
            next: position,
            ..Recovered::default()
        };
        let last = firsts.last().copied();
        let mut least = 0;
        for first in firsts {
            let is_last = Some(first) == last;
            let segment = self.look_through(first, least, is_last, &mut found)?;
            least = segment.end;
            // Its name is taken, whatever is in it.
            found.next = found.next.max(segment.end).max(first.saturating_add(1));
            if segment.end > position {
                found.segments.push(segment);
            } else {
                let path = self.path_of(first);
                (self.leave(&segment)).map_err(|error| io_error("put away", &path, error))?;
            }
        }
        Ok(found)
    }

    /// Reads a segment and notes what is in it. A block that was being written is cut off.
    fn look_through(
        &self,
        first: u64,
        least: u64,
        is_last: bool,
        found: &mut Recovered,
    ) -> Result<Segment, Error> {
        let path = self.path_of(first);
        let bytes = self.disk.read(&path);
        let bytes = bytes.map_err(|error| io_error("read", &path, error))?;
        let mut segment = Segment {
            first,
            end: least,
            len: bytes.len() as u64,
            waiting: Count::default(),
            is_damaged: false,
        };
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match find(rest, segment.end, true) {
                Found::End => break,
                Found::Block(head) => {
                    segment.end = head.number.saturating_add(1);
                    if head.number >= found.position {
                        found.begin.get_or_insert((first, at as u64));
                        found.oldest.get_or_insert(head.time);
                        found.count += head.count;
                        segment.waiting += head.count;
                    }
                    at += head.size();
                }
                Found::Torn if is_last => {
                    found.cut += rest.len() as u64;
                    segment.len = at as u64;
                    let cut = || -> io::Result<()> {
                        let file = self.disk.open(&path, Open::Existing)?;
                        file.truncate(segment.len)?;
                        file.sync_data()
                    };
                    cut().map_err(|error| io_error("cut a torn end off", &path, error))?;
                    break;
                }
                // Where another segment follows, it was whole once.
                Found::Torn => {
                    segment.is_damaged = true;
                    found.lost += rest.len() as u64;
                    break;
                }
                Found::Damage(len) => {
                    segment.is_damaged = true;
                    found.lost += len as u64;
                    at += len;
                }
            }
        }
        if segment.is_damaged {
            found.damaged += 1;
            tracing::error!(
                path = %path.display(), lost = found.lost,
                "a segment of the spool is damaged: what can be read of it is sent, then it is set aside beside the others as *.damaged"
            );
        }
        Ok(segment)
    }

    fn position(&self) -> Result<(u64, PositionFile), Error> {
        let path = self.path.join(POSITION);
        let read = || -> io::Result<(u64, PositionFile)> {
            let file = self.disk.open(&path, Open::OrCreate { mode: MODE })?;
            let mut found = [None; 2];
            for (slot, at) in SLOTS.into_iter().enumerate() {
                let mut bytes = [0; 12];
                let got = file.read_at(&mut bytes, at)?;
                found[slot] = slot_of(&bytes[..got]);
            }
            // The next one is written over the older.
            let slot = usize::from(found[0] > found[1]);
            let position = found.into_iter().flatten().max().unwrap_or(0);
            Ok((position, PositionFile { file, slot }))
        };
        read().map_err(|error| io_error("read", &path, error))
    }
}

fn slot_of(bytes: &[u8]) -> Option<u64> {
    let (number, crc) = bytes.split_first_chunk::<8>()?;
    let crc = u32::from_le_bytes(crc.try_into().ok()?);
    (crc == crc_of(number)).then(|| u64::from_le_bytes(*number))
}

/// Not 0 for zeros, which a power cut may leave.
fn crc_of(number: &[u8; 8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"position");
    hasher.update(number);
    hasher.finalize()
}

impl PositionFile {
    /// Blocks before `position` are done. A process that is killed does not send them again.
    pub fn save(&mut self, position: u64) -> io::Result<()> {
        let number = position.to_le_bytes();
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&number);
        bytes[8..].copy_from_slice(&crc_of(&number).to_le_bytes());
        self.file.write_at(&bytes, SLOTS[self.slot])?;
        self.slot = 1 - self.slot;
        Ok(())
    }

    /// After a power cut neither.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Which spools in `data_dir` hold something that is not done, by folder. For messages: what cannot be read is left out.
pub fn left_over(disk: &dyn Disk, dir: &Path) -> Vec<PathBuf> {
    let folders = disk.list(dir).unwrap_or_default().into_iter();
    let holds = |path: &PathBuf| {
        let names = disk.list(path).unwrap_or_default();
        names.iter().any(|name| {
            let path = path.join(name);
            let len = || disk.metadata(&path).map_or(0, |meta| meta.len);
            name.as_encoded_bytes().ends_with(EXTENSION.as_bytes()) && len() >= HEAD as u64
        })
    };
    folders.map(|name| dir.join(name)).filter(holds).collect()
}
