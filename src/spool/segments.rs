//! Segments: the files of one spool, and what a crash left of them.
//!
//! A segment is named after the number of its first block. Only the newest is written to; after a start always a new one. `position` beside them
//! says which blocks are done: two slots that are written in turn, so that one of them is whole whatever happens.
//!
//! A segment whose blocks are all done may be put by, as `*.used`, and is then written over as a later one, whose name has the file's [`Life`] as well:
//! to write over pages that the kernel has costs less than half of what it costs to write new ones.
//!
//! Invariants: a segment is removed or put by only when all of its blocks are done, and one in which something is damaged never: it is given another
//! name. Nothing is written over before it is durable that the file has lost its old name: under that it would stand before blocks that are older.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{Found, HEAD, Life, find};
use super::{Error, io_error};
use crate::disk::{self, Disk, DiskFile, Open};
use crate::flow::Count;

const EXTENSION: &str = ".spool";
const USED: &str = ".used";
const DAMAGED: &str = ".damaged";
const POSITION: &str = "position";
/// Each on a page of its own.
const SLOTS: [u64; 2] = [0, 4096];
const MODE: u32 = 0o600;

/// What tells segments apart. They are in the order of their blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The number of its first block.
    pub first: u64,
    pub life: Life,
}

impl Name {
    fn read(name: &std::ffi::OsStr) -> Option<Self> {
        let name = name.to_str()?.strip_suffix(EXTENSION)?;
        let (first, life) = match name.split_once('-') {
            Some((first, life)) if life.len() == 16 => {
                (first, Life::again(u64::from_str_radix(life, 16).ok()?))
            }
            Some(_) => return None,
            None => (name, Life::NEW),
        };
        let first = first.parse().ok().filter(|_| first.len() == 20)?;
        Some(Self { first, life })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.life.is_new() {
            true => write!(out, "{:020}{EXTENSION}", self.first),
            false => write!(
                out,
                "{:020}-{:016x}{EXTENSION}",
                self.first,
                self.life.number()
            ),
        }
    }
}

/// A file that is written over as the next segment.
#[derive(Debug)]
pub struct Used {
    path: PathBuf,
    /// In bytes.
    pub size: u64,
}

/// One file of blocks.
#[derive(Debug, Clone)]
pub struct Segment {
    pub name: Name,
    /// The number after its last block.
    pub end: u64,
    /// Bytes that hold blocks, or once did.
    pub len: u64,
    /// Bytes of the file. What is behind `len` is of an earlier life.
    pub size: u64,
    /// What those of its blocks count for that were not sent.
    pub waiting: Count,
    pub is_damaged: bool,
    /// It could not be synced once: it is not written over.
    pub is_suspect: bool,
}

/// What was found at the start.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Oldest first. None of them is wholly done.
    pub segments: Vec<Segment>,
    /// Where the first block stands that is not done: the segment, and bytes.
    pub begin: Option<(Name, u64)>,
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

    pub fn path_of(&self, segment: Name) -> PathBuf {
        self.path.join(segment.to_string())
    }

    /// A new segment. Its name is durable after [`Folder::sync`].
    pub fn create(&self, first: u64) -> io::Result<Arc<dyn DiskFile>> {
        let life = Life::NEW;
        // One that nothing was written to may have been left under this name.
        let path = self.path_of(Name { first, life });
        disk::create_afresh(self.disk.as_ref(), &path, MODE).map(Arc::from)
    }

    /// A segment that is written over what is in `used`. Its name is durable after [`Folder::sync`].
    pub fn create_over(&self, used: &Used, name: Name) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path_of(name);
        self.disk.rename(&used.path, &path)?;
        self.disk.open(&path, Open::Existing).map(Arc::from)
    }

    /// All of its blocks are done: it is put by. It may be written over only after [`Folder::sync`].
    pub fn put_by(&self, segment: &Segment) -> io::Result<Used> {
        let path = self.path.join(format!("{:020}{USED}", segment.name.first));
        let size = segment.size;
        self.disk.rename(&self.path_of(segment.name), &path)?;
        Ok(Used { path, size })
    }

    /// What was put by is not needed.
    pub fn discard(&self, used: &Used) -> io::Result<()> {
        gone(self.disk.remove(&used.path))
    }

    /// Nothing that was written to a segment was accepted.
    pub fn take_back(&self, segment: Name) -> io::Result<()> {
        gone(self.disk.remove(&self.path_of(segment)))
    }

    pub fn read_only(&self, segment: Name) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&self.path_of(segment), Open::Read)
    }

    /// Makes the names of the segments durable.
    pub fn sync(&self) -> io::Result<()> {
        self.disk.fsync_dir(&self.path)
    }

    /// All of its blocks are done.
    pub fn leave(&self, segment: &Segment) -> io::Result<()> {
        let path = self.path_of(segment.name);
        gone(match segment.is_damaged {
            false => self.disk.remove(&path),
            true => self.set_aside(&path),
        })
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
        // What an earlier process put by.
        for name in &names {
            if name.as_encoded_bytes().ends_with(USED.as_bytes()) {
                let path = self.path.join(name);
                gone(self.disk.remove(&path)).map_err(|error| io_error("remove", &path, error))?;
            }
        }
        let mut names: Vec<Name> = names.iter().filter_map(|it| Name::read(it)).collect();
        names.sort_unstable();
        let mut found = Recovered {
            position,
            next: position,
            ..Recovered::default()
        };
        let mut least = 0;
        for (at, name) in names.iter().enumerate() {
            let next = names.get(at + 1).map(|next| next.first);
            let segment = self.look_through(*name, least, next, &mut found)?;
            least = segment.end;
            // Its name is taken, whatever is in it.
            found.next = (found.next)
                .max(segment.end)
                .max(name.first.saturating_add(1));
            if segment.end > position {
                found.segments.push(segment);
            } else {
                let path = self.path_of(*name);
                (self.leave(&segment)).map_err(|error| io_error("put away", &path, error))?;
            }
        }
        Ok(found)
    }

    /// Reads a segment and notes what is in it. A block that was being written is cut off, and so is what an earlier life left. `next`: the first
    /// block of the segment that follows.
    fn look_through(
        &self,
        name: Name,
        least: u64,
        next: Option<u64>,
        found: &mut Recovered,
    ) -> Result<Segment, Error> {
        let path = self.path_of(name);
        let bytes = self.disk.read(&path);
        let bytes = bytes.map_err(|error| io_error("read", &path, error))?;
        let mut segment = Segment {
            name,
            end: least,
            len: bytes.len() as u64,
            size: bytes.len() as u64,
            waiting: Count::default(),
            is_damaged: false,
            is_suspect: false,
        };
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match find(rest, name.life, segment.end, true) {
                Found::End => break,
                Found::Block(head) => {
                    segment.end = head.number.saturating_add(1);
                    if head.number >= found.position {
                        found.begin.get_or_insert((name, at as u64));
                        found.oldest.get_or_insert(head.time);
                        found.count += head.count;
                        segment.waiting += head.count;
                    }
                    at += head.size();
                }
                Found::Torn if next.is_none() => {
                    found.cut += rest.len() as u64;
                    self.cut(&mut segment, at)?;
                    break;
                }
                // Whether a block was begun there cannot be told from what was there before.
                Found::Stale if next.is_none() => {
                    self.cut(&mut segment, at)?;
                    break;
                }
                Found::Stale if next == Some(segment.end) => {
                    segment.len = at as u64;
                    break;
                }
                // Where another segment follows, it was whole once.
                Found::Torn | Found::Stale => {
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

    fn cut(&self, segment: &mut Segment, at: usize) -> Result<(), Error> {
        let path = self.path_of(segment.name);
        (segment.len, segment.size) = (at as u64, at as u64);
        let cut = || -> io::Result<()> {
            let file = self.disk.open(&path, Open::Existing)?;
            file.truncate(segment.len)?;
            file.sync_data()
        };
        cut().map_err(|error| io_error("cut a torn end off", &path, error))
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

/// What is not there any more need not be removed.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
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
