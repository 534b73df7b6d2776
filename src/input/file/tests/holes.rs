//! NULs that nobody wrote as a part of a line: skipped, waited for, or left where they are.

use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use rustix::fs::SeekFrom;

use super::*;
use crate::flow::{Count, Entries};
use crate::input::frame::settings::LineEndText;

/// More than any file system's block.
const FAR: u64 = 1 << 20;

impl Rig {
    /// Writes without appending.
    fn put(&self, name: &str, at: u64, text: &str) {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(name));
        file.unwrap().write_all_at(text.as_bytes(), at).unwrap();
    }

    fn set_len(&self, name: &str, len: u64) {
        let file = OpenOptions::new().write(true).open(self.path(name));
        file.unwrap().set_len(len).unwrap();
    }

    fn entries(&self) -> Entries {
        let entries = self.running.as_ref().unwrap().books.entries();
        assert!(entries.balanced(), "{entries:?}");
        entries
    }

    fn holes(&self) -> Count {
        let dropped = self.entries().dropped;
        dropped.get("hole").copied().unwrap_or_default()
    }
}

fn bytes(bytes: u64) -> Count {
    Count { lines: 0, bytes }
}

#[test]
fn a_writer_that_goes_on_behind_a_truncation_leaves_no_record_of_nuls() {
    let mut rig = Rig::new(&["*.log"]);
    let before = "0123456\n".repeat(1000);
    rig.append("a.log", &before);
    rig.start();
    rig.until_lines(1000);
    rig.set_len("a.log", 0);
    rig.put("a.log", 8000, "after\n");
    rig.until_lines(1001);
    rig.until_read();
    assert_eq!(rig.lines()[1000], "after");
    assert_eq!(rig.holes(), bytes(8000));
    let entries = rig.entries();
    assert_eq!(entries.read.bytes, 8000 + 8006);
    assert_eq!((entries.read.lines, entries.lost.len()), (1001, 0));
    // The next run goes on where this one stood.
    rig.stop();
    rig.put("a.log", 8006, "next\n");
    rig.start();
    rig.until_lines(1002);
    assert_eq!((rig.lines()[1001], rig.holes()), ("next", bytes(0)));
    rig.stop();
}

#[test]
fn a_hole_of_terabytes_is_skipped_at_once() {
    for (first, size) in [("", 10 << 40), ("one\nhalf", 10 << 40), ("one\n", 1 << 40)] {
        let mut rig = Rig::new(&["*.log"]);
        rig.append("a.log", first);
        let file = OpenOptions::new().write(true).open(rig.path("a.log"));
        if file.unwrap().set_len(size).is_err() {
            eprintln!("skipped: no file of {size} bytes here");
            return;
        }
        rig.put("a.log", size, "last\n");
        let begin = Instant::now();
        rig.start();
        rig.until_read();
        assert!(begin.elapsed() < Duration::from_secs(5));
        let expected: Vec<&str> = first.lines().chain(["last"]).collect();
        assert_eq!(rig.lines(), expected);
        assert_eq!(rig.holes(), bytes(size - first.len() as u64));
        assert_eq!(rig.saved[&FileKey(1)].offset, size + 5);
        rig.stop();
        rig.append("a.log", "more\n");
        rig.start();
        rig.until_lines(expected.len() + 1);
        assert_eq!(rig.lines().last(), Some(&"more"));
        rig.stop();
    }
}

#[test]
fn a_restart_right_behind_a_hole_goes_on_there() {
    let mut rig = Rig::new(&["*.log"]);
    rig.put("a.log", FAR, "half");
    rig.start();
    rig.until("skip", |rig| {
        rig.saved.values().any(|entry| entry.offset == FAR)
    });
    rig.kill();
    rig.append("a.log", " line\n");
    rig.start();
    rig.until_read();
    assert_eq!((rig.lines(), rig.holes()), (vec!["half line"], bytes(0)));
    rig.stop();
}

#[test]
fn a_preallocated_file_is_read_as_it_is_written() {
    for is_sparse in [true, false] {
        let mut rig = Rig::new(&["*.log"]);
        rig.append("a.log", "");
        match is_sparse {
            true => rig.set_len("a.log", FAR),
            false => rig.append("a.log", &"\0".repeat(usize::try_from(FAR).unwrap())),
        }
        rig.append("b.log", "other\n");
        rig.start();
        rig.until_lines(1);
        let mut at = 0;
        for (count, text) in ["one\n", "two\nha", "lf\n", "\n"].into_iter().enumerate() {
            rig.put("a.log", at, text);
            at += text.len() as u64;
            let ended = ["one", "two", "half", ""];
            rig.until_lines(count + 2);
            assert_eq!(rig.lines()[1..], ended[..=count]);
        }
        assert_eq!((rig.holes(), rig.entries().lost.len()), (bytes(0), 0));
        // What was never used is cut off: nothing of it was lost.
        rig.set_len("a.log", at);
        rig.until_read();
        assert_eq!(rig.entries().lost.len(), 0);
        rig.append("a.log", "last\n");
        rig.until_lines(6);
        rig.stop();
    }
}

#[test]
fn nuls_up_to_the_end_of_a_deleted_file_do_not_hold_it() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\nhalf");
    rig.set_len("a.log", FAR);
    rig.start();
    rig.until_lines(1);
    fs::remove_file(rig.path("a.log")).unwrap();
    rig.until("removal", |rig| rig.saved.is_empty());
    assert_eq!(rig.lines(), ["one", "half"]);
    assert_eq!(rig.holes(), bytes(FAR - 8));
    rig.stop();
}

#[test]
fn what_was_begun_before_nuls_up_to_the_end_is_sent_in_time() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.lines.partial_line_timeout = Some(Duration::from_millis(20));
    rig.append("a.log", "prompt> ");
    rig.set_len("a.log", FAR);
    rig.start();
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["prompt> "]);
    rig.stop();
}

#[test]
fn nuls_in_a_line_are_bytes_of_it() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "a\0b\n\0\0\nc\0");
    rig.start();
    rig.until_lines(2);
    rig.append("a.log", "d\n");
    rig.until_read();
    assert_eq!(rig.lines(), ["a\0b", "\0\0", "c\0d"]);
    assert_eq!(rig.holes(), bytes(0));
    rig.stop();
}

#[test]
fn nuls_that_mean_something_are_no_hole() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.lines.line_end = LineEndText::Nul;
    rig.put("a.log", 3, "one\0");
    rig.start();
    rig.until_read();
    assert_eq!(rig.lines(), ["", "", "", "one"]);
    rig.stop();
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.lines.encoding = "utf-16be".into();
    rig.append("a.log", "\0o\0k\0\n");
    rig.start();
    rig.until_read();
    assert_eq!((rig.lines(), rig.holes()), (vec!["ok"], bytes(0)));
    rig.stop();
}

/// A piece of a file.
#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Nuls(usize),
    Hole(u64),
}

fn piece() -> impl Strategy<Value = Piece> {
    prop_oneof![
        "[ab\n]{1,12}".prop_map(Piece::Text),
        (1..3usize).prop_map(|n| Piece::Text("x".repeat(n * 4096 - 7))),
        (1..6000usize).prop_map(Piece::Nuls),
        (1..5u64).prop_map(|n| Piece::Hole(n * 4096)),
        (1..20_000u64).prop_map(Piece::Hole),
        Just(Piece::Hole(1 << 33)),
    ]
}

/// Where the file system has holes.
fn holes_of(file: &File) -> Vec<std::ops::Range<u64>> {
    let size = file.metadata().unwrap().len();
    let (mut holes, mut at) = (Vec::new(), 0);
    while at < size {
        let hole = rustix::fs::seek(file, SeekFrom::Hole(at)).unwrap();
        if hole >= size {
            break;
        }
        at = rustix::fs::seek(file, SeekFrom::Data(hole)).unwrap_or(size);
        holes.push(hole..at);
    }
    holes
}

/// What stands in a file, as the table says: records, bytes of holes, bytes that are waited for.
fn expected(pieces: &[Piece], holes: &[std::ops::Range<u64>]) -> (Vec<String>, u64, u64) {
    // Text, or so many NULs; neighbours of one kind are one.
    let mut parts: Vec<(String, u64)> = Vec::new();
    let written = pieces.iter().map(|piece| match piece {
        Piece::Text(text) => (text.clone(), 0),
        Piece::Nuls(count) => (String::new(), *count as u64),
        Piece::Hole(count) => (String::new(), *count),
    });
    for (text, nuls) in written {
        match parts.last_mut() {
            Some((_, before)) if nuls > 0 && *before > 0 => *before += nuls,
            Some((before, 0)) if nuls == 0 => before.push_str(&text),
            _ => parts.push((text, nuls)),
        }
    }
    let (mut stretches, mut at, mut skipped, mut waits) = (vec![String::new()], 0, 0, 0);
    let last = parts.len().saturating_sub(1);
    for (number, (text, nuls)) in parts.into_iter().enumerate() {
        let end = at + text.len() as u64 + nuls;
        let is_hole = holes.iter().any(|hole| hole.start < end && at < hole.end);
        if nuls == 0 {
            stretches.last_mut().unwrap().push_str(&text);
        } else if number == last {
            waits = nuls;
        } else if at == 0 || is_hole {
            skipped += nuls;
            stretches.push(String::new());
        } else {
            let nuls = "\0".repeat(usize::try_from(nuls).unwrap());
            stretches.last_mut().unwrap().push_str(&nuls);
        }
        at = end;
    }
    let lines = stretches.iter().flat_map(|stretch| {
        let ended = stretch.strip_suffix('\n').unwrap_or(stretch);
        let lines = ended.split('\n').filter(|_| !stretch.is_empty());
        lines.map(str::to_owned)
    });
    (lines.collect(), skipped, waits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_layout_of_text_and_nuls_is_read_as_it_is_told(
        pieces in proptest::collection::vec(piece(), 1..9),
    ) {
        let mut rig = Rig::new(&["a.log"]);
        rig.settings.lines.max_line.size = 100_000;
        let mut at = 0;
        for piece in &pieces {
            match piece {
                Piece::Text(text) => rig.put("a.log", at, text),
                Piece::Nuls(count) => rig.put("a.log", at, &"\0".repeat(*count)),
                Piece::Hole(_) => {}
            }
            at += match piece {
                Piece::Text(text) => text.len() as u64,
                Piece::Nuls(count) => *count as u64,
                Piece::Hole(count) => *count,
            };
        }
        rig.put("a.log", 0, "");
        rig.set_len("a.log", at);
        let file = File::open(rig.path("a.log")).unwrap();
        let (lines, skipped, waits) = expected(&pieces, &holes_of(&file));
        rig.start_with(true);
        let books = rig.running.as_ref().unwrap().books.clone();
        let report = rig.end();
        prop_assert_eq!(rig.lines(), lines);
        let entries = books.entries();
        prop_assert!(entries.balanced());
        let dropped = entries.dropped.get("hole").copied().unwrap_or_default();
        prop_assert_eq!(dropped, bytes(skipped));
        prop_assert_eq!((report.unread, entries.seen_bytes()), (waits, at));
        // Nothing is read twice by the next run.
        let count = rig.arrived.len();
        rig.start_with(true);
        prop_assert_eq!(rig.end().unread, waits);
        prop_assert_eq!(rig.arrived.len(), count);
    }
}
