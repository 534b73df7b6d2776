//! What is remembered of a file's content, to know a copy of it by. Pure.
//!
//! Nothing but prints: of the first bytes, and of the bytes before some of the offsets that reading stood at, closer together the nearer
//! they are to where it stands now. A copy is as long as the file was at some moment, before or after that, so both cases are answered:
//! it must agree with every print that it is long enough for, and the last of these must not be far from its end.
//!
//! Invariant: what a trace knows of a copy never reaches beyond what was read, nor beyond the copy.

use super::identity::HEAD;
use crate::checkpoint::{Entry, Print};

/// How many offsets are remembered.
const MARKS: usize = 16;

/// Prints of one generation of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Of the first bytes.
    pub head: Option<Print>,
    marks: Marks,
}

/// Prints of the bytes before some offsets. Ascending; the last one is how far the file was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks(Vec<(u64, Print)>);

impl Marks {
    /// The bytes before `offset`, up to which the file is read now, look like this.
    pub fn add(&mut self, offset: u64, print: Print) {
        if self.0.last().is_some_and(|&(last, _)| last >= offset) {
            self.0.retain(|&(known, _)| known < offset);
        }
        if self.0.len() >= MARKS {
            // The one that is missed least: its neighbours are near, as seen from where reading stands.
            let loss = |at: &usize| {
                let gap = self.0[at + 1].0 - self.0[at - 1].0;
                gap.saturating_mul(1024) / (offset - self.0[*at].0)
            };
            if let Some(at) = (1..self.0.len() - 1).min_by_key(loss) {
                self.0.remove(at);
            }
        }
        self.0.push((offset, print));
    }

    /// Of what is remembered before the last offset: the first that is at least half way, or the last before that. What was copied
    /// somewhat earlier holds it.
    pub fn half(&self) -> Option<(u64, Print)> {
        let (&(last, _), before) = self.0.split_last()?;
        let is_far = |(at, _): &&(u64, Print)| *at >= last / 2;
        before.iter().find(is_far).or(before.last()).copied()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Takes no more memory than it needs now.
    pub fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }
}

impl Trace {
    pub fn new(head: Option<Print>, marks: Marks) -> Self {
        Self { head, marks }
    }

    /// What a saved position tells.
    pub fn of(entry: &Entry) -> Self {
        let mut marks = Marks::default();
        if let Some((at, half)) = entry.half.filter(|(at, _)| *at < entry.offset) {
            marks.add(at, half);
        }
        if let Some(tail) = entry.tail {
            marks.add(entry.offset, tail);
        }
        // The head may reach beyond the position: what was read and not settled may be another's by now.
        let head = entry
            .head
            .filter(|head| u64::from(head.len) <= entry.offset);
        Self { head, marks }
    }

    /// All prints with the offsets before which they are found, in their order.
    pub fn checks(&self) -> Vec<(u64, Print)> {
        let head = self.head.map(|head| (u64::from(head.len), head));
        let mut checks: Vec<_> = head.into_iter().chain(self.marks.0.clone()).collect();
        checks.sort_by_key(|(end, _)| *end);
        checks
    }

    /// As [`Marks::half`].
    pub fn half(&self) -> Option<(u64, Print)> {
        self.marks.half()
    }

    /// How far the file was read; nothing is known of one that was not.
    pub fn read(&self) -> u64 {
        self.marks.0.last().map_or(0, |&(offset, _)| offset)
    }

    /// Of the bytes before that.
    pub fn tail(&self) -> Option<Print> {
        self.marks.0.last().map(|&(_, print)| print)
    }

    /// Whether so much was read that equal bytes are no accident, whatever a file is called.
    pub fn is_telling(&self) -> bool {
        self.read() >= HEAD as u64
    }

    /// How many bytes of a file of `size` bytes are what was read; `None` when it is no copy. `content` gives the CRC-32 of so many bytes at
    /// an offset, `None` where they are not there.
    pub fn known_in(
        &self,
        size: u64,
        mut content: impl FnMut(u64, u32) -> Option<u32>,
    ) -> Option<u64> {
        let reach = self.marks.0.partition_point(|&(offset, _)| offset <= size);
        let (last, _) = self.marks.0[..reach].last()?;
        // Between that and its end the copy is taken on trust.
        if size < self.read() && size - last > *last {
            return None;
        }
        let mut is_at = |print: Print, end: u64| {
            content(end - u64::from(print.len), print.len) == Some(print.crc)
        };
        let heads = self.head.filter(|head| u64::from(head.len) <= size);
        let agrees = heads.is_none_or(|head| is_at(head, u64::from(head.len)))
            && self.marks.0[..reach]
                .iter()
                .rev()
                .all(|&(offset, print)| is_at(print, offset));
        agrees.then(|| size.min(self.read()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::{TAIL, print};
    use super::*;

    fn text(len: usize) -> Vec<u8> {
        let lines = (0..).flat_map(|n: u32| format!("line {n}\n").into_bytes());
        lines.take(len).collect()
    }

    /// The trace of `text` after reading it up to each of `offsets`.
    fn trace(text: &[u8], offsets: &[usize]) -> Trace {
        let mut marks = Marks::default();
        for &offset in offsets {
            let tail = print(&text[offset.saturating_sub(TAIL)..offset]);
            marks.add(offset as u64, tail.unwrap());
        }
        let read = *offsets.last().unwrap();
        Trace::new(print(&text[..read.min(HEAD)]), marks)
    }

    fn known(trace: &Trace, copy: &[u8]) -> Option<u64> {
        trace.known_in(copy.len() as u64, |at, len| {
            let at = usize::try_from(at).unwrap();
            copy.get(at..at + len as usize).map(crc32fast::hash)
        })
    }

    #[test]
    fn a_copy_is_known_as_far_as_it_was_read_or_as_it_goes() {
        let text = text(100_000);
        let trace = trace(&text[..80_000], &[3_000, 20_000, 50_000, 79_000, 80_000]);
        assert_eq!(known(&trace, &text), Some(80_000));
        assert_eq!(known(&trace, &text[..80_000]), Some(80_000));
        assert_eq!(known(&trace, &text[..79_500]), Some(79_500));
    }

    #[test]
    fn another_file_with_the_same_beginning_is_no_copy() {
        let (text, mut other) = (text(100_000), text(100_000));
        let trace = trace(&text, &[3_000, 50_000, 90_000]);
        other[89_990] ^= 1;
        assert_eq!(known(&trace, &other), None);
        // Too little of what was read is in it to tell.
        assert_eq!(known(&trace, &text[..2_000]), None);
        assert_eq!(known(&trace, &text[..7_000]), None);
        assert_eq!(known(&trace, b""), None);
    }

    #[test]
    fn of_a_file_that_was_not_read_nothing_is_known() {
        assert_eq!(known(&Trace::default(), b"one\n"), None);
    }

    proptest! {
        #[test]
        fn a_copy_of_any_moment_near_the_end_is_known_and_one_that_differs_is_not(
            steps in proptest::collection::vec(1usize..2_000, 20..200),
            back in 0.0f64..0.3,
            flip in any::<proptest::sample::Index>(),
        ) {
            let offsets: Vec<usize> = steps
                .iter()
                .scan(0, |at, step| { *at += step; Some(*at) })
                .collect();
            let read = *offsets.last().unwrap();
            let text = text(read);
            let trace = trace(&text, &offsets);
            prop_assert_eq!(trace.read(), read as u64);
            prop_assert!(trace.marks.0.len() <= MARKS);
            let size = ((1.0 - back) * read as f64) as usize;
            prop_assert_eq!(known(&trace, &text[..size]), Some(size as u64));
            let mut other = text;
            let at = flip.index(TAIL.min(offsets[0]));
            other[at] ^= 1;
            prop_assert_eq!(known(&trace, &other[..size]), None);
        }
    }
}
