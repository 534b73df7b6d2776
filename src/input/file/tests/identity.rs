//! The table of [`judge`] as laws, over entries and files of any kind.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::checkpoint::Entry;
use crate::input::file::identity::{Found, HEAD, Id, TAIL, Verdict, judge, print};

/// A file of which `offset` bytes were read, as an input saves it.
fn entry_of(content: &[u8], offset: usize, dev: u64, inode: u64, birth: Option<i64>) -> Entry {
    Entry {
        path: std::path::Path::new("/log/a.log").into(),
        dev,
        inode,
        birth,
        offset: offset as u64,
        inside_line: false,
        skip: None,
        head: print(&content[..content.len().min(HEAD)]),
        tail: print(&content[offset.saturating_sub(TAIL)..offset]),
        half: None,
        packed: None,
        updated: 0,
    }
}

/// A file as it is found later.
#[derive(Debug, Clone)]
struct Later {
    content: Vec<u8>,
    dev: u64,
    inode: u64,
    birth: Option<i64>,
    same_path: bool,
}

impl Later {
    fn verdict(&self, entry: &Entry) -> Verdict {
        let path = if self.same_path {
            "/log/a.log"
        } else {
            "/log/a.log.1"
        };
        let found = Found {
            path: Path::new(path),
            id: Id {
                dev: self.dev,
                inode: self.inode,
                birth: self.birth,
            },
            size: self.content.len() as u64,
        };
        judge(entry, &found, |at, len| {
            let at = usize::try_from(at).unwrap();
            let bytes = self.content.get(at..at + len as usize);
            bytes.map(crc32fast::hash)
        })
    }

    /// Whether head and tail, as far as they were read, stand where they stood.
    fn is_as_saved(&self, before: &[u8], offset: usize) -> bool {
        let tail = offset.saturating_sub(TAIL);
        let head_len = before.len().min(HEAD);
        let head = if head_len <= offset { head_len } else { 0 };
        self.content.len() >= offset
            && self.content[tail..offset] == before[tail..offset]
            && self.content[..head] == before[..head]
    }
}

/// Bytes of which no piece as long as a print stands twice.
fn text(len: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at ^ (at >> 8).wrapping_mul(37)) as u8 ^ seed;
    (0..len).map(byte).collect()
}

/// What happened to the content in between.
fn content_later() -> impl Strategy<Value = (Vec<u8>, usize, Vec<u8>)> {
    let before = (0..2500_usize, any::<u8>()).prop_map(|(len, seed)| text(len, seed));
    (
        before,
        any::<Index>(),
        any::<Index>(),
        0..6u8,
        proptest::collection::vec(any::<u8>(), 0..100),
    )
        .prop_map(|(before, read, place, what, more)| {
            let offset = read.index(before.len() + 1);
            let mut later = before.clone();
            match what {
                0 => {}
                // Appended to.
                1 => later.extend(more),
                // Cut, and perhaps written on.
                2 => later.truncate(place.index(before.len() + 1)),
                3 => {
                    later.truncate(place.index(before.len() + 1));
                    later.extend(more);
                }
                // One byte rewritten.
                4 if !later.is_empty() => {
                    let at = place.index(later.len());
                    later[at] ^= 1;
                }
                _ => later = more,
            }
            (before, offset, later)
        })
}

fn birth() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), (1..3i64).prop_map(Some)]
}

fn case() -> impl Strategy<Value = (Vec<u8>, usize, Entry, Later)> {
    let ids = (
        1..3u64,
        1..3u64,
        birth(),
        1..3u64,
        1..3u64,
        birth(),
        any::<bool>(),
    );
    (content_later(), ids).prop_map(|((before, offset, content), ids)| {
        let (dev, inode, birth, new_dev, new_inode, new_birth, same_path) = ids;
        let entry = entry_of(&before, offset, dev, inode, birth);
        let later = Later {
            content,
            dev: new_dev,
            inode: new_inode,
            birth: new_birth,
            same_path,
        };
        (before, offset, entry, later)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_file_is_continued_whose_bytes_before_the_position_are_others(
        (before, offset, entry, later) in case()
    ) {
        if !later.is_as_saved(&before, offset) {
            prop_assert_ne!(later.verdict(&entry), Verdict::Continue);
        }
    }

    #[test]
    fn a_verdict_is_a_row_of_the_table((before, offset, entry, later) in case()) {
        let same_device = entry.dev == later.dev;
        let births = entry.birth.zip(later.birth).map(|(one, other)| one == other);
        let as_saved = later.is_as_saved(&before, offset);
        let is_empty = offset == 0;
        let expected = match (entry.inode == later.inode, births) {
            (true, Some(true)) if as_saved => Verdict::Continue,
            (true, Some(true) | None) if same_device && as_saved => Verdict::Continue,
            (true, Some(true) | None) if same_device => Verdict::Rewritten,
            (true, None) if as_saved && !is_empty => Verdict::Continue,
            _ if !same_device && later.same_path && as_saved && !is_empty => Verdict::Continue,
            _ => Verdict::Other,
        };
        prop_assert_eq!(later.verdict(&entry), expected);
    }

    #[test]
    fn a_file_that_only_grew_is_continued_under_any_name(
        (before, offset, _) in content_later(),
        more in proptest::collection::vec(any::<u8>(), 0..100),
        birth in birth(),
        same_path in any::<bool>(),
    ) {
        let entry = entry_of(&before, offset, 1, 1, birth);
        let content = [&before[..], &more].concat();
        let later = Later { content, dev: 1, inode: 1, birth, same_path };
        prop_assert_eq!(later.verdict(&entry), Verdict::Continue);
    }

    #[test]
    fn a_file_born_at_another_time_on_the_same_device_is_another_file(
        (_, _, mut entry, mut later) in case()
    ) {
        // Its inode may have been used again, and its bytes copied.
        (entry.birth, later.birth) = (Some(1), Some(2));
        later.dev = entry.dev;
        prop_assert_eq!(later.verdict(&entry), Verdict::Other);
    }

    #[test]
    fn another_inode_on_the_same_device_is_another_file_at_any_name(
        (_, _, entry, mut later) in case()
    ) {
        (later.dev, later.inode) = (entry.dev, entry.inode + 1);
        prop_assert_eq!(later.verdict(&entry), Verdict::Other);
    }

    #[test]
    fn nothing_is_rewritten_on_another_device(
        (_, _, entry, mut later) in case()
    ) {
        // The name and the number of an inode there prove nothing: nobody's position may be thrown away for them.
        later.dev = entry.dev + 1;
        prop_assert_ne!(later.verdict(&entry), Verdict::Rewritten);
    }

    #[test]
    fn the_verdict_does_not_change_when_it_is_asked_again_after_more_was_written(
        (_, _, entry, mut later) in case(),
        more in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let first = later.verdict(&entry);
        later.content.extend(more);
        if first == Verdict::Continue {
            prop_assert_eq!(later.verdict(&entry), first);
        }
    }
}
