//! Which file is which, by evidence. Pure: content is read through a closure.
//!
//! While running, an open file is known by its handle, and a name leads to a known file when device and inode are the same and the
//! birth times (where both are known) too; an inode cannot be used again while its file is open. At a restart, a saved entry and a file
//! that was found are judged by this table, first row that fits; *content* is the bytes before the position (CRC-32 of up to 256) and the
//! file's first bytes (up to 1 KiB):
//!
//! | inode, birth | device | path | size and content before the position | verdict |
//! |---|---|---|---|---|
//! | same, same | any | any | as saved | the same file: continue |
//! | same, same | same | any | shorter or other | the same file, rewritten: from its beginning, as a new generation |
//! | same, unknown | same | any | as saved | the same file |
//! | same, unknown | same | any | shorter or other | rewritten |
//! | same, unknown | other | any | as saved, not empty | the same file |
//! | any | other | same | as saved, not empty | the same file: the device's number or the inodes changed (reboot, restore) |
//! | other | | | | another file |
//!
//! A birth time that differs makes it another file on the same device: its inode was used again. Not decidable, and taken for the same:
//! no birth time, the same inode used again, and the same bytes before the position.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::checkpoint::{Entry, FileKey, Print};

/// How many bytes before a position are remembered.
pub const TAIL: usize = 256;
/// How many of a file's first bytes are remembered.
pub const HEAD: usize = 1024;

/// What the file system knows a file by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    pub dev: u64,
    pub inode: u64,
    /// Nanoseconds since 1970, where the file system has it.
    pub birth: Option<i64>,
}

impl Id {
    /// The file that a position was saved of.
    pub fn of(entry: &Entry) -> Self {
        Self {
            dev: entry.dev,
            inode: entry.inode,
            birth: entry.birth,
        }
    }

    /// Whether both are one file, both seen while one of them was known to exist.
    pub fn is_same(&self, other: &Self) -> bool {
        self.dev == other.dev
            && self.inode == other.inode
            && births_agree(self.birth, other.birth) != Some(false)
    }
}

/// What a saved entry is to a file that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same file: continue at the position.
    Continue,
    /// The same file, but what stands before the position is not what was read.
    Rewritten,
    Other,
}

/// A file that was found, as far as it can be compared.
pub struct Found<'a> {
    pub path: &'a Path,
    pub id: Id,
    pub size: u64,
}

/// Judges by the table above. `content` gives the CRC-32 of so many bytes at an offset, `None` where they are not there.
pub fn judge(
    entry: &Entry,
    found: &Found<'_>,
    mut content: impl FnMut(u64, u32) -> Option<u32>,
) -> Verdict {
    let births = births_agree(entry.birth, found.id.birth);
    let same_device = entry.dev == found.id.dev;
    let same_inode = entry.inode == found.id.inode && births != Some(false);
    let same_path_elsewhere = !same_device && *entry.path == *found.path;
    if !same_inode && !same_path_elsewhere {
        return Verdict::Other;
    }
    let mut is_at = |print: Option<Print>, offset: u64| {
        print.is_none_or(|print| content(offset, print.len) == Some(print.crc))
    };
    let tail_at = entry
        .offset
        .saturating_sub(entry.tail.map_or(0, |tail| u64::from(tail.len)));
    // The head may reach beyond the position: what was read and not settled may have been cut since.
    let head = entry
        .head
        .filter(|head| u64::from(head.len) <= entry.offset);
    let as_saved = entry.offset <= found.size && is_at(entry.tail, tail_at) && is_at(head, 0);
    let proven = entry.tail.is_some() || (same_inode && births == Some(true));
    match (as_saved, same_device) {
        (true, true) => Verdict::Continue,
        (true, false) if proven => Verdict::Continue,
        (false, true) => Verdict::Rewritten,
        _ => Verdict::Other,
    }
}

fn births_agree(one: Option<i64>, other: Option<i64>) -> Option<bool> {
    Some(one? == other?)
}

/// The print of `bytes`; `None` when there are none.
pub fn print(bytes: &[u8]) -> Option<Print> {
    let len = u32::try_from(bytes.len()).ok().filter(|&len| len > 0)?;
    Some(Print {
        len,
        crc: crc32fast::hash(bytes),
    })
}

/// The saved entries that no file was found for yet.
#[derive(Debug, Default)]
pub struct Saved {
    entries: BTreeMap<FileKey, Entry>,
    by_inode: HashMap<u64, Vec<FileKey>>,
    by_path: HashMap<PathBuf, Vec<FileKey>>,
}

impl Saved {
    pub fn new(entries: Vec<(FileKey, Entry)>) -> Self {
        let mut saved = Self::default();
        for (key, entry) in entries {
            saved.by_inode.entry(entry.inode).or_default().push(key);
            let path = saved.by_path.entry(entry.path.to_path_buf()).or_default();
            path.push(key);
            saved.entries.insert(key, entry);
        }
        saved
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a file may have an entry.
    pub fn may_have(&self, path: &Path, id: &Id) -> bool {
        !self.candidates(path, id.inode).is_empty()
    }

    /// The entries that may be the file, newest first.
    pub fn candidates(&self, path: &Path, inode: u64) -> Vec<(FileKey, &Entry)> {
        let by_inode = self.by_inode.get(&inode).into_iter().flatten();
        let by_path = self.by_path.get(path).into_iter().flatten();
        let mut keys: Vec<FileKey> = by_inode.chain(by_path).copied().collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.dedup();
        keys.into_iter()
            .filter_map(|key| Some((key, self.entries.get(&key)?)))
            .collect()
    }

    /// Whether a position is saved for this very file, whatever it holds.
    pub fn has(&self, id: &Id) -> bool {
        let keys = self.by_inode.get(&id.inode).into_iter().flatten();
        let mut entries = keys.filter_map(|key| self.entries.get(key));
        entries.any(|entry| births_agree(entry.birth, id.birth) == Some(true))
    }

    pub fn get(&self, key: FileKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub fn take(&mut self, key: FileKey) -> Option<Entry> {
        self.entries.remove(&key)
    }

    /// What is left, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = (FileKey, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"one\ntwo\nthree\n";

    fn entry(offset: usize) -> Entry {
        Entry {
            path: Path::new("/log/app.log").into(),
            dev: 1,
            inode: 10,
            birth: Some(100),
            offset: offset as u64,
            inside_line: false,
            skip: None,
            head: print(&TEXT[..offset]),
            tail: print(&TEXT[..offset]),
            half: None,
            packed: None,
            updated: 0,
        }
    }

    fn verdict(entry: &Entry, path: &str, id: (u64, u64, Option<i64>), text: &[u8]) -> Verdict {
        let (dev, inode, birth) = id;
        let found = Found {
            path: Path::new(path),
            id: Id { dev, inode, birth },
            size: text.len() as u64,
        };
        judge(entry, &found, |at, len| {
            let at = usize::try_from(at).unwrap();
            text.get(at..at + len as usize).map(crc32fast::hash)
        })
    }

    #[test]
    fn a_file_is_known_again_under_any_name_and_device_number() {
        for dev in [1, 2] {
            let got = verdict(&entry(8), "/log/app.log.1", (dev, 10, Some(100)), TEXT);
            assert_eq!(got, Verdict::Continue);
        }
        let unread = verdict(&entry(0), "/log/app.log.1", (2, 10, Some(100)), TEXT);
        assert_eq!(unread, Verdict::Continue);
    }

    #[test]
    fn an_inode_used_again_is_another_file() {
        let got = verdict(&entry(8), "/log/app.log", (1, 10, Some(101)), TEXT);
        assert_eq!(got, Verdict::Other);
    }

    #[test]
    fn a_new_file_at_the_old_name_is_another_file_even_with_the_same_beginning() {
        let got = verdict(&entry(8), "/log/app.log", (1, 11, Some(100)), TEXT);
        assert_eq!(got, Verdict::Other);
    }

    #[test]
    fn a_file_cut_or_rewritten_in_place_is_not_continued() {
        for text in [&TEXT[..4], b"ONE\nTWO\nthree\n", b"one\nTWO\nthree\n"] {
            let got = verdict(&entry(8), "/log/app.log", (1, 10, Some(100)), text);
            assert_eq!(got, Verdict::Rewritten);
        }
    }

    #[test]
    fn another_device_needs_the_same_path_and_content() {
        let id = (2, 77, Some(5));
        let at = |path, text| verdict(&entry(8), path, id, text);
        assert_eq!(at("/log/app.log", TEXT), Verdict::Continue);
        assert_eq!(at("/log/other.log", TEXT), Verdict::Other);
        assert_eq!(at("/log/app.log", b"other\nbytes\n"), Verdict::Other);
        let unread = verdict(&entry(0), "/log/app.log", id, TEXT);
        assert_eq!(unread, Verdict::Other);
    }

    #[test]
    fn without_birth_times_the_content_decides() {
        let mut old = entry(8);
        old.birth = None;
        let at = |dev, text| verdict(&old, "/log/x", (dev, 10, Some(1)), text);
        assert_eq!(at(1, TEXT), Verdict::Continue);
        assert_eq!(at(1, b"other\nbytes\n"), Verdict::Rewritten);
        assert_eq!(at(2, TEXT), Verdict::Continue);
        assert_eq!(at(2, b"other\nbytes\n"), Verdict::Other);
    }

    #[test]
    fn saved_entries_are_found_by_inode_and_by_path_newest_first() {
        let (old, mut new) = (entry(8), entry(0));
        new.inode = 11;
        let mut saved = Saved::new(vec![(FileKey(1), old), (FileKey(2), new)]);
        let keys = |saved: &Saved| -> Vec<FileKey> {
            let found = saved.candidates(Path::new("/log/app.log"), 10);
            found.iter().map(|(key, _)| *key).collect()
        };
        assert_eq!(keys(&saved), [FileKey(2), FileKey(1)]);
        saved.take(FileKey(2));
        assert_eq!(keys(&saved), [FileKey(1)]);
    }
}
