//! Bytes to lines with positions. Pure.
//!
//! [`Lines`] is the plain way that most inputs go: UTF-8, LF, long lines split. Everything else is [`general`]'s; [`framer`] chooses once.
//!
//! A line ends with LF; a CR before it belongs to the line end and is cut. An empty line is a record. What a record is depends only on the bytes from its first
//! byte on and on whether a piece of its line was sent before, never on how the bytes came in blocks:
//!
//! - a line of at most `size` bytes (without its line end) is one record, an empty line an empty one;
//! - a longer line is split into records of exactly `size` bytes, the last one shorter but never empty. A CR is a byte like any other
//!   unless LF follows it, so a split never takes half of a line end into a record;
//! - after a piece was sent, a line end with nothing before it ends that line and is no record.
//!
//! Invariant: starting again at the end of any record, with the [`Half`] that stood there, gives the same records. Tests do it at every one.

use std::ops::AddAssign;

pub mod framer;
pub mod general;
pub mod line_end;
pub mod settings;

use memchr::{memchr, memchr_iter};

use crate::checkpoint::Skip;
use crate::flow::{Count, Outcome, Record, Span};

/// The longest `max_line.size` that is obeyed, in bytes; positions within a batch have 32 bits.
pub const LONGEST_LINE: u64 = 1 << 30;

/// The rule by which lines are cut.
#[derive(Debug, Clone, Copy)]
pub struct Lines {
    size: usize,
    /// Pieces of a long line end where a UTF-8 character ends.
    whole_characters: bool,
}

/// What is known about the line that a position lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Half {
    /// A piece of this line was sent already.
    pub inside_line: bool,
    /// The rest of this line is no part of any record.
    pub skip: Option<Skip>,
    /// The framed block ended inside a line.
    pub in_line: bool,
    /// The framed block ended with lines whose group may go on.
    pub in_group: bool,
    /// So many bytes after the position hold no LF. May reach beyond the block that is framed. Knowledge only: zero is always right.
    pub searched: usize,
}

/// A block on its way to records.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    /// The memory that spans refer to.
    pub bytes: &'a [u8],
    /// Where in it the unframed bytes begin; a record's `at` is counted from here.
    pub from: usize,
    /// What becomes of what does not end in it.
    pub rest: Rest,
}

/// What becomes of lines and groups that do not end in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Rest {
    /// More bytes will come.
    #[default]
    Waits,
    /// An open group has waited long enough: its whole lines are a record.
    Group,
    /// An unterminated line has, too. What may be the beginning of its line end still waits.
    Line,
    /// No more bytes will come: everything is in a record.
    Last,
}

/// What framing a block came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framed {
    /// Bytes after `from` that are settled with the records; the rest is a half line, to be framed again with what follows.
    pub consumed: usize,
    /// What is known at the first byte that was not consumed.
    pub half: Half,
    /// What of the consumed bytes is in no record, by what becomes of it.
    pub skipped: Skipped,
    /// The beginning of a long line, that has to be set aside before anything of this block counts. The block was framed up to it.
    pub aside: Option<Aside>,
}

/// Lines and bytes that are read and in no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipped {
    pub filtered: Count,
    /// Of `drop`: lines that were too long.
    pub too_long: Count,
    /// Of `truncate`: what was cut off, in bytes.
    pub cut: Count,
    /// Of `truncate`: how many lines were cut.
    pub truncated: u64,
    pub dead_lettered: Count,
    /// Holes of files, in bytes.
    pub hole: Count,
    /// Of streams whose messages cannot be told apart any more.
    pub unframed: Count,
    /// Records whose topic cannot be one.
    pub illegal_topic: Count,
    /// Records that are larger than they may be with what was made of them.
    pub too_large: Count,
}

impl Skipped {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For [`crate::flow::Books`].
    pub fn outcome(&self) -> Outcome {
        let dropped = [
            ("line_too_long", self.too_long),
            ("line_cut", self.cut),
            ("hole", self.hole),
            ("framing", self.unframed),
            ("illegal_topic", self.illegal_topic),
            ("too_large", self.too_large),
        ];
        Outcome {
            filtered: self.filtered,
            dead_lettered: self.dead_lettered,
            dropped: dropped
                .into_iter()
                .filter(|(_, count)| *count != Count::default())
                .collect(),
            ..Outcome::default()
        }
    }

    fn of(&mut self, skip: Skip) -> &mut Count {
        match skip {
            Skip::Filtered => &mut self.filtered,
            Skip::Dropped => &mut self.too_long,
            Skip::Truncated => &mut self.cut,
            Skip::DeadLettered => &mut self.dead_lettered,
        }
    }
}

impl AddAssign for Skipped {
    fn add_assign(&mut self, other: Self) {
        self.filtered += other.filtered;
        self.too_long += other.too_long;
        self.cut += other.cut;
        self.truncated += other.truncated;
        self.dead_lettered += other.dead_lettered;
        self.hole += other.hole;
        self.unframed += other.unframed;
        self.illegal_topic += other.illegal_topic;
        self.too_large += other.too_large;
    }
}

/// The beginning of a line that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aside {
    /// As [`Record::value`].
    pub value: Span,
    /// As [`Record::at`].
    pub at: u32,
}

impl Lines {
    /// Lines of at most `size` bytes, from 1 to [`LONGEST_LINE`].
    pub fn new(size: u64) -> Self {
        let size = size.clamp(1, LONGEST_LINE);
        Self {
            size: usize::try_from(size).unwrap_or(usize::MAX),
            whole_characters: false,
        }
    }

    /// As `self`; pieces of a long line are up to three bytes shorter where that keeps a UTF-8 character whole.
    pub fn with_whole_characters(self, whole_characters: bool) -> Self {
        Self {
            whole_characters,
            ..self
        }
    }

    /// The longest record, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// So many bytes without LF always decide that a line is split.
    pub fn lookahead(&self) -> usize {
        self.size + 2
    }

    /// The length of a piece from `start` on that has at most `most` bytes.
    fn piece(&self, bytes: &[u8], start: usize, most: usize) -> usize {
        match self.whole_characters {
            true => whole_characters(&bytes[start..start + most]),
            false => most,
        }
    }

    /// Pushes the records that `block` holds for certain, and says how far they reach.
    pub fn frame(&self, block: Block<'_>, half: Half, records: &mut Vec<Record>) -> Framed {
        let Block { bytes, from, rest } = block;
        let push =
            |records: &mut Vec<Record>, start: usize, len: usize, next: usize, ends: bool| {
                let value = span(start, len);
                let (at, bytes) = (small(start - from), small(next - start));
                let lines = u32::from(ends);
                records.push(Record {
                    value,
                    at,
                    bytes,
                    lines,
                });
            };
        let first = records.len();
        let mut start = from;
        let mut inside = half.inside_line;
        let searched = (from + half.searched).min(bytes.len());
        for lf in memchr_iter(b'\n', &bytes[searched..]) {
            let lf = searched + lf;
            let cr = lf > start && bytes[lf - 1] == b'\r';
            let end = if cr { lf - 1 } else { lf };
            while end - start > self.size {
                let len = self.piece(bytes, start, self.size);
                push(records, start, len, start + len, false);
                start += len;
                inside = true;
            }
            if !(inside && start == end) {
                push(records, start, end - start, lf + 1, true);
            } else if let Some(last) = records[first..].last_mut() {
                last.bytes += small(lf + 1 - start);
            }
            start = lf + 1;
            inside = false;
        }
        // What follows holds no LF.
        let left = bytes.len() - start;
        let mut known = if start == from {
            left.max(half.searched)
        } else {
            left
        };
        while bytes.len() - start >= self.size
            && (known >= self.lookahead()
                || bytes.get(start + self.size).is_some_and(|&b| b != b'\r'))
        {
            let len = self.piece(bytes, start, self.size);
            push(records, start, len, start + len, false);
            start += len;
            known -= len;
            inside = true;
        }
        if rest >= Rest::Line {
            let cr = rest == Rest::Line && bytes.len() > start && bytes.ends_with(b"\r");
            let end = bytes.len() - usize::from(cr);
            while start < end {
                let left = end - start;
                let len = match left > self.size || rest == Rest::Line {
                    true => self.piece(bytes, start, left.min(self.size)),
                    false => left,
                };
                push(records, start, len, start + len, left <= self.size);
                start += len;
                inside = true;
                if left <= self.size {
                    break;
                }
            }
            known = bytes.len() - start;
        }
        Framed {
            consumed: start - from,
            half: Half {
                inside_line: inside,
                in_line: start < bytes.len(),
                searched: known,
                ..Half::default()
            },
            skipped: Skipped::default(),
            aside: None,
        }
    }
}

/// How many of `bytes` are left when a UTF-8 character that does not end in them is cut off; all of them if nothing else is there.
pub fn whole_characters(bytes: &[u8]) -> usize {
    for (back, &byte) in (1..=3).zip(bytes.iter().rev()) {
        let len = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => 1,
        };
        let whole = bytes.len() - back;
        return if len > back && whole > 0 {
            whole
        } else {
            bytes.len()
        };
    }
    bytes.len()
}

/// Where the first line end in `bytes` is.
pub fn find_line_end(bytes: &[u8]) -> Option<usize> {
    memchr(b'\n', bytes)
}

/// Arenas are far smaller than 4 GiB ([`LONGEST_LINE`]), so nothing is cut here.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn span(start: usize, len: usize) -> Span {
    Span {
        start: small(start),
        len: small(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Source position, value, whether it ends a line.
    type Seen = (usize, Vec<u8>, bool);

    fn collect(bytes: &[u8], base: usize, records: &[Record], seen: &mut Vec<Seen>) {
        for record in records {
            let value = bytes[record.value.range()].to_vec();
            seen.push((base + record.at as usize, value, record.lines == 1));
        }
    }

    /// Frames `text` from `start`, with more of it there at each of `cuts`. Gives the records and every position at which it stood.
    fn read(
        lines: Lines,
        text: &[u8],
        start: usize,
        half: Half,
        cuts: &[usize],
    ) -> (Vec<Seen>, Vec<(usize, bool, usize)>) {
        let (mut at, mut half, mut seen, mut stood) = (start, half, Vec::new(), Vec::new());
        let ends = cuts.iter().copied().filter(|&end| end > start);
        for end in ends.chain([text.len()]) {
            let (mut records, last) = (Vec::new(), end == text.len());
            let bytes = &text[at..end.max(at)];
            let block = Block {
                bytes,
                from: 0,
                rest: if last { Rest::Last } else { Rest::Waits },
            };
            let framed = lines.frame(block, half, &mut records);
            collect(bytes, at, &records, &mut seen);
            at += framed.consumed;
            half = framed.half;
            stood.push((at, half.inside_line, seen.len()));
        }
        (seen, stood)
    }

    fn values(size: u64, text: &[u8]) -> Vec<(String, bool)> {
        let (seen, _) = read(Lines::new(size), text, 0, Half::default(), &[]);
        seen.into_iter()
            .map(|(_, value, ends)| (String::from_utf8(value).unwrap(), ends))
            .collect()
    }

    fn of(parts: &[(&str, bool)]) -> Vec<(String, bool)> {
        parts.iter().map(|(s, e)| ((*s).to_owned(), *e)).collect()
    }

    #[test]
    fn a_carriage_return_is_cut_only_before_a_line_feed() {
        let expected = of(&[("a", true), ("", true), ("b\rc", true), ("d\r", true)]);
        assert_eq!(values(9, b"a\r\n\r\nb\rc\nd\r"), expected);
    }

    #[test]
    fn a_line_of_exactly_the_longest_size_is_not_split() {
        assert_eq!(values(3, b"abc\nabc\r\n"), of(&[("abc", true); 2]));
        assert_eq!(
            values(3, b"abcd\nabc\rx\n"),
            of(&[("abc", false), ("d", true), ("abc", false), ("\rx", true)])
        );
    }

    #[test]
    fn pieces_end_where_characters_end_if_asked_to() {
        let lines = Lines::new(4).with_whole_characters(true);
        let (seen, _) = read(lines, "abcü€😀😀x\n".as_bytes(), 0, Half::default(), &[]);
        let pieces: Vec<_> = seen.iter().map(|(_, piece, _)| piece.as_slice()).collect();
        let expected = ["abc", "ü", "€", "😀", "😀", "x"].map(str::as_bytes);
        assert_eq!(pieces, expected);
        // What is no UTF-8 is cut like anything else.
        let (seen, _) = read(
            lines,
            b"\x80\x80\x80\x80\xff\xffab\n",
            0,
            Half::default(),
            &[],
        );
        assert_eq!(seen[0].1.len(), 4);
    }

    #[test]
    fn a_half_line_waits_for_its_end() {
        let (lines, mut records) = (Lines::new(100), Vec::new());
        let block = Block {
            bytes: b"one\ntw",
            from: 0,
            rest: Rest::Waits,
        };
        let framed = lines.frame(block, Half::default(), &mut records);
        assert_eq!((framed.consumed, framed.half.searched), (4, 2));
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn what_was_searched_is_not_searched_again() {
        let (lines, mut records) = (Lines::new(100), Vec::new());
        // An LF within the part that is said to hold none is not found: it was not looked at.
        let block = Block {
            bytes: b"a\nb\n",
            from: 0,
            rest: Rest::Waits,
        };
        let half = Half {
            inside_line: false,
            searched: 2,
            ..Half::default()
        };
        assert_eq!(lines.frame(block, half, &mut records).consumed, 4);
        assert_eq!(records.len(), 1);
    }

    #[test]
    fn knowledge_beyond_the_block_decides_a_split() {
        let (lines, mut records) = (Lines::new(3), Vec::new());
        let block = Block {
            bytes: b"abc",
            from: 0,
            rest: Rest::Waits,
        };
        let half = Half {
            inside_line: false,
            searched: 7,
            ..Half::default()
        };
        let framed = lines.frame(block, half, &mut records);
        assert_eq!(framed.consumed, 3);
        assert_eq!(
            framed.half,
            Half {
                inside_line: true,
                in_line: false,
                searched: 4,
                ..Half::default()
            }
        );
    }

    #[test]
    fn a_lone_line_end_after_a_sent_piece_is_no_record() {
        for end in ["\n", "\r\n"] {
            let half = Half {
                inside_line: true,
                searched: 0,
                ..Half::default()
            };
            let text = format!("{end}next\n");
            let (seen, _) = read(Lines::new(9), text.as_bytes(), 0, half, &[]);
            assert_eq!(seen, [(end.len(), b"next".to_vec(), true)]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn blocks_and_restarts_change_nothing(
            text in proptest::collection::vec(prop_oneof![4 => Just(b'x'), 2 => Just(b'\n'), 1 => Just(b'\r'), 1 => Just(0xe2), 2 => Just(0x82)], 0..60),
            size in 1..9u64,
            is_whole in any::<bool>(),
            cuts in proptest::collection::btree_set(0..60usize, 0..20),
            again in proptest::collection::btree_set(0..60usize, 0..20),
        ) {
            let lines = Lines::new(size).with_whole_characters(is_whole);
            let within = |cuts: std::collections::BTreeSet<usize>| -> Vec<usize> {
                cuts.into_iter().filter(|&cut| cut < text.len()).collect()
            };
            let (cuts, again) = (within(cuts), within(again));
            let (whole, _) = read(lines, &text, 0, Half::default(), &[]);
            let (seen, stood) = read(lines, &text, 0, Half::default(), &cuts);
            prop_assert_eq!(&seen, &whole);
            for (at, inside_line, count) in stood {
                let half = Half { inside_line, ..Half::default() };
                let (rest, _) = read(lines, &text, at, half, &again);
                prop_assert_eq!(&rest[..], &whole[count..]);
            }
        }

        #[test]
        fn every_byte_but_line_ends_is_in_a_record(
            text in proptest::collection::vec(prop_oneof![4 => Just(b'x'), 1 => Just(b'\n')], 0..60),
            size in 1..9u64,
        ) {
            let (seen, _) = read(Lines::new(size), &text, 0, Half::default(), &[]);
            let kept: usize = seen.iter().map(|(_, value, _)| value.len()).sum();
            prop_assert_eq!(kept, text.iter().filter(|&&b| b == b'x').count());
            prop_assert!(seen.iter().all(|(_, value, _)| value.len() as u64 <= size));
        }
    }
}
