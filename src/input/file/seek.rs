//! A saved entry and its file, looked at from outside the daemon: where the file is now, and what the entry is when its position is
//! put elsewhere.
//!
//! Invariant: an entry that [`Sighting::moved`] makes is taken by the next start as it stands: [`judge`] finds its file and continues.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::adopt::content;
use super::discover::is_absent;
use super::identity::{Found, HEAD, TAIL, Verdict, judge, print};
use super::look::{Kind, Look, open};
use super::pursue::names_of_inode;
use super::tail::end_of_lines;
use super::unpack::{Fault, MAGIC, Packing, Progress, Unpacked};
use super::unpacking::is_same;
use crate::checkpoint::{Entry, Print};
use crate::input::frame::framer::{Framers, first};

/// How far from a place that is inside a line the line's ends are looked for, in bytes.
const SEARCH: u64 = 1 << 20;

/// The file of an entry.
#[derive(Debug)]
pub struct Sighting {
    /// Its name now.
    pub path: PathBuf,
    pub file: File,
    pub look: Look,
    /// Bytes of its content.
    pub size: u64,
    /// What reads it, where it is compressed.
    packed: Option<RefCell<Unpacked>>,
    /// What stands before the position is not what was read: the next start begins it anew.
    pub is_rewritten: bool,
}

/// Where a position is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Beginning,
    /// Behind the last complete line.
    End,
    /// A byte at which a line begins, or the file's size.
    Offset(u64),
}

/// Why a position cannot be put somewhere.
#[derive(Debug, Error)]
pub enum Misplaced {
    #[error("{} has {size} bytes: byte {offset} is beyond its end", path.display())]
    BeyondEnd {
        path: PathBuf,
        offset: u64,
        size: u64,
    },
    #[error("byte {offset} of {} is inside a line{}", path.display(), ends(*start, *end))]
    InsideLine {
        path: PathBuf,
        offset: u64,
        /// Where that line begins and ends, when that is near.
        start: Option<u64>,
        end: Option<u64>,
    },
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn ends(start: Option<u64>, end: Option<u64>) -> String {
    let start = start.map(|at| format!("begins at {at}"));
    let end = end.map(|at| format!("the next one at {at}"));
    let both: Vec<String> = start.into_iter().chain(end).collect();
    match both.as_slice() {
        [] => String::new(),
        both => {
            format!("; it {}", both.join(", ")).replace("it the next one", "the next one begins")
        }
    }
}

/// Looks for the file of `entry` as a start would: at its path, then by its inode in the same folder. `None`: it is not there.
///
/// # Errors
/// It is there, perhaps, and cannot be read.
pub fn find(entry: &Entry) -> io::Result<Option<Sighting>> {
    let mut trouble = None;
    let beside = || names_of_inode(&entry.path, entry.inode).unwrap_or_default();
    let names =
        std::iter::once_with(|| vec![entry.path.to_path_buf()]).chain(std::iter::once_with(beside));
    let mut rewritten = None;
    for path in names.flatten() {
        match sight(entry, &path) {
            Ok(Some(sighting)) if sighting.is_rewritten => {
                rewritten.get_or_insert(sighting);
            }
            Ok(Some(sighting)) => return Ok(Some(sighting)),
            Ok(None) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => trouble = Some(error),
        }
    }
    match (rewritten, trouble) {
        (Some(sighting), _) => Ok(Some(sighting)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(None),
    }
}

fn sight(entry: &Entry, path: &Path) -> io::Result<Option<Sighting>> {
    let file = open(path)?;
    let look = Look::of(&file)?;
    if look.kind != Kind::File {
        return Ok(None);
    }
    let mut first = [0; MAGIC];
    let got = file.read_at(&mut first, 0)?;
    if let Some(packing) = Packing::of(&first[..got]) {
        return sight_packed(entry, path, look, file, packing);
    }
    let found = Found {
        path,
        id: look.id,
        size: look.size,
    };
    let is_rewritten = match judge(entry, &found, |at, len| content(&file, at, len)) {
        Verdict::Continue => false,
        Verdict::Rewritten => true,
        Verdict::Other => return Ok(None),
    };
    Ok(Some(Sighting {
        path: path.to_path_buf(),
        file,
        size: look.size,
        packed: None,
        look,
        is_rewritten,
    }))
}

/// A compressed file is unpacked to its end, unless it is known to be read to there.
fn sight_packed(
    entry: &Entry,
    path: &Path,
    look: Look,
    file: File,
    packing: Packing,
) -> io::Result<Option<Sighting>> {
    if !is_same(entry, path, &look) {
        return Ok(None);
    }
    let mut unpacked = Unpacked::new(file.try_clone()?, packing, 2 * SEARCH as usize);
    let is_read = entry.packed == Some(look.size);
    let mut print_of = |print: Option<Print>, end: u64| -> io::Result<bool> {
        let Some(print) = print.filter(|print| u64::from(print.len) <= end) else {
            return Ok(true);
        };
        let mut bytes = vec![0; print.len as usize];
        let got = read_packed(&mut unpacked, &mut bytes, end - u64::from(print.len))?;
        Ok(got == bytes.len() && crc32fast::hash(&bytes) == print.crc)
    };
    let head = u64::from(entry.head.map_or(0, |head| head.len));
    let is_as_read = is_read
        || (print_of(entry.head, head.min(entry.offset))? && print_of(entry.tail, entry.offset)?);
    let size = if is_read && entry.offset > 0 {
        entry.offset
    } else {
        unpacked_size(&mut unpacked)?
    };
    Ok(Some(Sighting {
        path: path.to_path_buf(),
        file,
        look,
        size,
        packed: Some(RefCell::new(unpacked)),
        is_rewritten: !is_as_read,
    }))
}

fn unpacked_size(unpacked: &mut Unpacked) -> io::Result<u64> {
    loop {
        match unpacked.advance(u64::MAX, 16 << 20) {
            Ok(Progress::Ended(size)) => return Ok(size),
            Ok(_) => {}
            // More may come, or the rest is damaged: what there is counts.
            Err(Fault::Io(error)) => return Err(error),
            Err(_) => return Ok(unpacked.decoded()),
        }
    }
}

fn read_packed(unpacked: &mut Unpacked, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match unpacked.read_at(&mut buf[got..], at + got as u64) {
            Ok(0) => break,
            Ok(read) => got += read,
            Err(Fault::NotYet { .. }) => {}
            Err(Fault::Io(error)) => return Err(error),
            Err(_) => break,
        }
    }
    Ok(got)
}

impl Sighting {
    /// The entry of this file with its position at `target`. `framers` know the input's lines, `now` is in milliseconds
    /// since 1970.
    ///
    /// # Errors
    /// There is no such place, it is inside a line, or the file cannot be read.
    pub fn moved(&self, target: Target, framers: &Framers, now: i64) -> Result<Entry, Misplaced> {
        let (offset, inside_line) = match target {
            Target::Beginning => (0, false),
            Target::End if self.packed.is_some() => (self.size, false),
            Target::End => end_of_lines(
                &self.file,
                self.look.size,
                framers.expected().lookahead(),
                framers,
            )
            .map_err(|source| self.unreadable(source))?,
            Target::Offset(offset) => (offset, self.check(offset, framers)?),
        };
        let mut bytes = [0; HEAD];
        let mut print_of = |start: u64, len: u64| {
            let bytes = &mut bytes[..usize::try_from(len).unwrap_or(0)];
            if self.read_at(bytes, start)? < bytes.len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(print(bytes))
        };
        let tail = offset.min(TAIL as u64);
        let prints = print_of(offset - tail, tail)
            .and_then(|tail| Ok((tail, print_of(0, offset.min(HEAD as u64))?)));
        let (tail, head) = prints.map_err(|source| self.unreadable(source))?;
        Ok(Entry {
            path: self.path.as_path().into(),
            dev: self.look.id.dev,
            inode: self.look.id.inode,
            birth: self.look.id.birth,
            offset,
            inside_line,
            skip: None,
            head,
            tail,
            half: None,
            packed: (self.packed.is_some() && offset == self.size).then_some(self.look.size),
            updated: now,
        })
    }

    /// Whether the file's end, which `offset` is, is inside a line; anywhere else a line must begin there.
    fn check(&self, offset: u64, framers: &Framers) -> Result<bool, Misplaced> {
        let (path, size) = (self.path.clone(), self.size);
        if offset > size {
            return Err(Misplaced::BeyondEnd { path, offset, size });
        }
        if offset == 0 {
            return Ok(false);
        }
        let failed = |source| self.unreadable(source);
        let framer = framers.of(first(&self.some(0, 2).map_err(failed)?));
        let from = offset.saturating_sub(SEARCH);
        let near = self.some(from, offset - from).map_err(failed)?;
        let before = framer.find_last_line_end(&near, from);
        if before == Some(near.len()) {
            return Ok(false);
        }
        if offset == size {
            return Ok(true);
        }
        let start = match before {
            Some(at) => Some(from + at as u64),
            None => (from == 0).then_some(0),
        };
        // What follows is looked at from the line's beginning, or a line end of several bytes could be missed.
        let line = start.unwrap_or(offset);
        let near = self.some(line, offset - line + SEARCH).map_err(failed)?;
        let end = framer.find_line_end(&near).map(|at| line + at as u64);
        Err(Misplaced::InsideLine {
            path,
            offset,
            start,
            end,
        })
    }

    /// Up to `len` bytes from `at` on.
    fn some(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        let mut got = 0;
        while got < bytes.len() {
            match self.read_at(&mut bytes[got..], at + got as u64)? {
                0 => break,
                read => got += read,
            }
        }
        bytes.truncate(got);
        Ok(bytes)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        match &self.packed {
            Some(packed) => read_packed(&mut packed.borrow_mut(), bytes, at),
            None => self.file.read_at(bytes, at),
        }
    }

    fn unreadable(&self, source: io::Error) -> Misplaced {
        let path = self.path.clone();
        Misplaced::Io { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::file::unpack::gzip;
    use crate::input::frame::settings::LineSettings;

    const TEXT: &[u8] = b"one\ntwo\nthree\nhalf";

    fn file(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    /// An entry at the beginning of what stands at `path`.
    fn entry(path: &Path) -> Entry {
        let look = Look::at(path).unwrap();
        Entry {
            path: path.into(),
            dev: look.id.dev,
            inode: look.id.inode,
            birth: look.id.birth,
            offset: 0,
            inside_line: false,
            skip: None,
            head: None,
            tail: None,
            half: None,
            packed: None,
            updated: 0,
        }
    }

    fn moved(entry: &Entry, target: Target) -> Result<Entry, Misplaced> {
        let framers = Framers::new(&LineSettings::plain(1000)).unwrap();
        find(entry).unwrap().unwrap().moved(target, &framers, 7)
    }

    #[test]
    fn a_position_that_was_moved_is_continued_by_the_next_start() {
        let (_folder, path) = file(TEXT);
        let old = entry(&path);
        for (target, offset, inside) in [
            (Target::Beginning, 0, false),
            (Target::Offset(0), 0, false),
            (Target::Offset(4), 4, false),
            (Target::Offset(8), 8, false),
            (Target::End, 14, false),
            (Target::Offset(18), 18, true),
        ] {
            let new = moved(&old, target).unwrap();
            assert_eq!((new.offset, new.inside_line), (offset, inside));
            assert_eq!(new.updated, 7);
            let again = find(&new).unwrap().unwrap();
            assert!(!again.is_rewritten, "{target:?}");
        }
    }

    #[test]
    fn the_prints_are_those_of_the_bytes_before_the_position() {
        let text = b"0123456789abcde\n".repeat(200);
        let (_folder, path) = file(&text);
        let new = moved(&entry(&path), Target::Offset(1600)).unwrap();
        assert_eq!(new.tail, print(&text[1600 - TAIL..1600]));
        assert_eq!(new.head, print(&text[..HEAD]));
        let new = moved(&entry(&path), Target::Offset(160)).unwrap();
        assert_eq!(
            (new.head, new.tail),
            (print(&text[..160]), print(&text[..160]))
        );
    }

    #[test]
    fn a_place_inside_a_line_is_refused_with_the_lines_ends() {
        let (_folder, path) = file(TEXT);
        let text = |offset| {
            moved(&entry(&path), Target::Offset(offset))
                .unwrap_err()
                .to_string()
        };
        let name = path.display();
        assert_eq!(
            text(5),
            format!("byte 5 of {name} is inside a line; it begins at 4, the next one at 8")
        );
        assert_eq!(
            text(16),
            format!("byte 16 of {name} is inside a line; it begins at 14")
        );
        assert_eq!(
            text(19),
            format!("{name} has 18 bytes: byte 19 is beyond its end")
        );
    }

    #[test]
    fn a_compressed_file_has_the_places_of_its_content() {
        let (_folder, path) = file(&gzip(TEXT));
        let known = entry(&path);
        let sighting = find(&known).unwrap().unwrap();
        assert_eq!((sighting.size, sighting.is_rewritten), (18, false));
        let inside = moved(&known, Target::Offset(8)).unwrap();
        assert_eq!((inside.offset, inside.packed), (8, None));
        assert!(!find(&inside).unwrap().unwrap().is_rewritten);
        assert!(moved(&known, Target::Offset(9)).is_err());
        let end = moved(&known, Target::End).unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        assert_eq!((end.offset, end.packed), (18, Some(size)));
        std::fs::write(&path, gzip(b"other text, and another length\n")).unwrap();
        assert!(find(&inside).unwrap().unwrap().is_rewritten);
    }

    #[test]
    fn a_file_is_found_under_another_name_and_told_from_others() {
        let (folder, path) = file(TEXT);
        let known = moved(&entry(&path), Target::Offset(8)).unwrap();
        let rotated = folder.path().join("a.log.1");
        std::fs::rename(&path, &rotated).unwrap();
        std::fs::write(&path, TEXT).unwrap();
        assert_eq!(find(&known).unwrap().unwrap().path, rotated);
        std::fs::write(&rotated, "cut\n").unwrap();
        assert!(find(&known).unwrap().unwrap().is_rewritten);
        std::fs::remove_file(&rotated).unwrap();
        assert!(find(&known).unwrap().is_none());
    }
}
