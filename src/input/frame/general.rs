//! Bytes to records, with everything that can be asked for: other line ends and encodings, what becomes of long lines, filters, groups of lines. Pure.
//!
//! - `max_line.size` counts the source's bytes of a line without its line end, exactly; a cut moves back to where a character begins
//!   (encodings other than UTF-8, whose bytes are never changed).
//! - A filter is asked once about a record: a line, what stands first in a long one, or a whole group.
//! - A group's lines are joined by LF. It is over when a line begins another one or ends this one, at `max_lines`, when with one more line it
//!   would span more than `max_line.size` bytes, and before a line that is too long, which stands for itself.
//!
//! Invariant: as in [`super`]. A position never lies inside an open group, so what is read again after a restart is grouped again as it was.

use super::line_end::LineEnd;
use super::settings::{LineSettings, LongLine};
use super::{Aside, Block, Framed, Half, Rest, Skipped, small, span, whole_characters};
use crate::checkpoint::Skip;
use crate::flow::{Count, Record};
use crate::input::encoding::Encoding;
use crate::input::filter::Filter;
use crate::input::frame::framer::LinesError;
use crate::input::multiline::Multiline;

/// The rules of one input, and room for text that is not in the source as it is.
#[derive(Debug)]
pub struct General {
    size: usize,
    policy: LongLine,
    whole_characters: bool,
    encoding: Encoding,
    line_end: LineEnd,
    filter: Filter,
    multiline: Option<Multiline>,
    /// What was decoded or joined. Spans that begin at the end of the framed bytes or after it refer to this.
    pub(super) text: Vec<u8>,
}

impl General {
    /// # Errors
    /// When an encoding is not known, a line end does not exist in it, or a pattern is no regular expression.
    pub fn new(settings: &LineSettings, size: usize) -> Result<Self, LinesError> {
        let encoding = Encoding::of(&settings.encoding)
            .ok_or_else(|| LinesError::Encoding(settings.encoding.clone()))?;
        let line_end = LineEnd::new(&settings.line_end, &encoding)
            .ok_or_else(|| LinesError::LineEnd(settings.encoding.clone()))?;
        let multiline = settings.multiline.as_ref().map(Multiline::new);
        Ok(Self {
            size,
            policy: settings.max_line.policy,
            whole_characters: settings.whole_characters,
            encoding,
            line_end,
            filter: Filter::new(&settings.filter)?,
            multiline: multiline.transpose()?,
            text: Vec::new(),
        })
    }

    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    pub fn line_end(&self) -> &LineEnd {
        &self.line_end
    }

    /// Whether the plain way would give the same records.
    pub fn is_plain(&self) -> bool {
        self.policy == LongLine::Split
            && self.encoding == Encoding::Utf8
            && self.line_end.is_plain()
            && self.filter.is_off()
            && self.multiline.is_none()
    }

    /// So many bytes always decide something.
    pub fn lookahead(&self) -> usize {
        self.size + self.line_end.longest()
    }

    /// How many of the first `most` bytes are whole characters.
    fn characters(&self, bytes: &[u8], most: usize) -> usize {
        match self.encoding {
            Encoding::Utf8 if self.whole_characters => {
                whole_characters(&bytes[..most.min(bytes.len())])
            }
            encoding => encoding.cut(bytes, most),
        }
    }

    /// Pushes the records that `block` holds for certain, and says how far they reach.
    pub fn frame(&mut self, block: Block<'_>, half: Half, records: &mut Vec<Record>) -> Framed {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let mut pass = Pass {
            rules: self,
            bytes: block.bytes,
            from: block.from,
            rest: block.rest,
            start: block.from,
            inside: half.inside_line,
            skip: half.skip,
            group: Group::default(),
            first: records.len(),
            records,
            text: &mut text,
            skipped: Skipped::default(),
            aside: None,
            is_endless: false,
        };
        pass.run();
        let framed = pass.framed();
        self.text = text;
        framed
    }
}

/// Lines that are not over.
#[derive(Default)]
struct Group {
    /// Begin and end of each line's content.
    lines: Vec<(usize, usize)>,
    /// After the last line's end.
    next: usize,
    /// The lines stand in the source as they are joined: with one LF between them.
    is_joined: bool,
}

/// What stands next.
enum Next {
    /// A line's content ends at `end`; `ended` says whether a line end follows, which ends at `next`.
    Line {
        end: usize,
        next: usize,
        ended: bool,
    },
    /// More than the longest line.
    Long,
    /// Nothing that is known to be over.
    Nothing,
}

/// One block on its way.
struct Pass<'a> {
    rules: &'a General,
    bytes: &'a [u8],
    from: usize,
    rest: Rest,
    /// Everything before it is in a record, in the open group, or skipped.
    start: usize,
    inside: bool,
    skip: Option<Skip>,
    group: Group,
    /// The block's first record.
    first: usize,
    records: &'a mut Vec<Record>,
    text: &'a mut Vec<u8>,
    skipped: Skipped,
    aside: Option<Aside>,
    /// No line ends in the rest of the block.
    is_endless: bool,
}

impl Pass<'_> {
    fn run(&mut self) {
        while self.aside.is_none() {
            match self.next() {
                Next::Line { end, next, ended } => {
                    self.line(end, next, ended);
                    if !ended {
                        return;
                    }
                }
                Next::Long => self.long(),
                Next::Nothing => {
                    let open = self.bytes.len() - self.group_start();
                    if self.rest >= Rest::Group || open >= self.rules.lookahead() {
                        self.close_group();
                    }
                    return;
                }
            }
        }
    }

    fn next(&mut self) -> Next {
        let left = &self.bytes[self.start..];
        let line_end = &self.rules.line_end;
        if left.is_empty() {
            return Next::Nothing;
        }
        // What was searched in vain is not searched again for every piece of a long line.
        let found = (!self.is_endless).then(|| line_end.find(left)).flatten();
        self.is_endless |= found.is_none();
        if let Some(at) = found {
            return Next::Line {
                end: self.start + line_end.content(&left[..at]),
                next: self.start + at + line_end.len(),
                ended: true,
            };
        }
        let mut until = left.len();
        match self.rest {
            Rest::Last => {}
            _ if self.skip.is_some() => {
                // What may be the beginning of a line end is looked at again.
                until = (left.len() + 1).saturating_sub(line_end.len());
                until -= until % line_end.unit();
            }
            // A part of a long line is over when it is long enough.
            _ if left.len() >= self.rules.lookahead() => return Next::Long,
            Rest::Line => {
                until = (self.rules).characters(left, left.len() - line_end.begun(left));
            }
            Rest::Waits | Rest::Group => return Next::Nothing,
        }
        if until == 0 {
            return Next::Nothing;
        }
        let end = self.start + until;
        Next::Line {
            end,
            next: end,
            ended: false,
        }
    }

    /// A line, or the rest of one, is there up to `end`.
    fn line(&mut self, end: usize, next: usize, ended: bool) {
        if let Some(skip) = self.skip {
            self.skipped.of(skip).bytes += (next - self.start) as u64;
            self.start = next;
            self.over(ended, Some(skip));
        } else if self.inside {
            while end - self.start > self.rules.size {
                self.piece();
            }
            let start = self.start;
            if end > start {
                let value = self.value(start, end);
                self.push(start, value, next, 1);
            } else if let Some(last) = self.records[self.first..].last_mut() {
                last.bytes += small(next - start);
            }
            self.start = next;
            self.over(ended, None);
        } else if end - self.start > self.rules.size {
            self.long();
            if self.aside.is_none() {
                self.line(end, next, ended);
            }
        } else if self.rules.multiline.is_some() {
            self.group_line(end, next, ended);
        } else {
            let start = self.start;
            let value = self.value(start, end);
            self.start = next;
            let passes = self.emit(start, value, next, 1);
            self.over(ended, (!passes).then_some(Skip::Filtered));
        }
    }

    fn over(&mut self, ended: bool, skip: Option<Skip>) {
        self.inside = !ended;
        self.skip = skip.filter(|_| !ended);
    }

    /// The next `size` bytes of a split line.
    fn piece(&mut self) {
        let start = self.start;
        let cut = self.cut();
        let value = self.value(start, cut);
        self.push(start, value, cut, 0);
        self.start = cut;
    }

    /// Where a record of at most `size` bytes from `start` on ends.
    fn cut(&self) -> usize {
        let (left, size) = (&self.bytes[self.start..], self.rules.size);
        self.start
            + match self.rules.characters(left, size) {
                // Bytes that mean nothing.
                0 => (size - size % self.rules.line_end.unit()).max(1),
                cut => cut,
            }
    }

    /// A line is too long, or a split one goes on for another piece: what it begins with meets its end.
    fn long(&mut self) {
        if self.inside {
            return self.piece();
        }
        self.close_group();
        let (start, cut) = (self.start, self.cut());
        let kept = self.text.len();
        let value = self.value(start, cut);
        let bytes = (cut - start) as u64;
        let one = Count { lines: 1, bytes };
        self.start = cut;
        self.inside = true;
        if !self.passes(value) {
            self.text.truncate(kept);
            self.skipped.filtered += one;
            self.skip = Some(Skip::Filtered);
            return;
        }
        match self.rules.policy {
            LongLine::Split => self.push(start, value, cut, 0),
            LongLine::Truncate => {
                self.push(start, value, cut, 1);
                self.skipped.truncated += 1;
                self.skip = Some(Skip::Truncated);
            }
            LongLine::Drop => {
                self.text.truncate(kept);
                self.skipped.too_long += one;
                self.skip = Some(Skip::Dropped);
            }
            LongLine::DeadLetter => {
                self.skipped.dead_lettered += one;
                self.skip = Some(Skip::DeadLettered);
                let (value, at) = (span(value.0, value.1), small(start - self.from));
                self.aside = Some(Aside { value, at });
            }
        }
    }

    /// A whole line goes into the open group, or into one of its own.
    fn group_line(&mut self, end: usize, next: usize, ended: bool) {
        let Some(multiline) = &self.rules.multiline else {
            return;
        };
        let start = self.start;
        let does = match self.rules.encoding {
            Encoding::Utf8 => multiline.does(&self.bytes[start..end]),
            encoding => {
                let kept = self.text.len();
                encoding.decode(&self.bytes[start..end], self.text);
                let does = multiline.does(&self.text[kept..]);
                self.text.truncate(kept);
                does
            }
        };
        if does.begins || end - self.group_start() > self.rules.size {
            self.close_group();
        }
        let last = self.group.lines.last().map(|(_, end)| *end);
        self.group.is_joined = last.is_none_or(|last| {
            self.group.is_joined && start == last + 1 && self.bytes[last] == b'\n'
        });
        self.group.lines.push((start, end));
        self.group.next = next;
        self.start = next;
        let mut passes = true;
        if does.ends || !ended || self.group.lines.len() >= multiline.max_lines() {
            passes = self.close_group();
        }
        self.over(ended, (!passes).then_some(Skip::Filtered));
    }

    /// Where the open group begins, or the next one would.
    fn group_start(&self) -> usize {
        self.group.lines.first().map_or(self.start, |line| line.0)
    }

    /// The open group is a record. `false` when the filter sorts it out.
    fn close_group(&mut self) -> bool {
        let Some(&(start, _)) = self.group.lines.first() else {
            return true;
        };
        let mut lines = std::mem::take(&mut self.group.lines);
        let last = lines.last().map_or(start, |(_, end)| *end);
        let value = if self.rules.encoding == Encoding::Utf8 && self.group.is_joined {
            (start, last - start)
        } else {
            let kept = self.text.len();
            for (at, &(start, end)) in lines.iter().enumerate() {
                if at > 0 {
                    self.text.push(b'\n');
                }
                (self.rules.encoding).decode(&self.bytes[start..end], self.text);
            }
            (self.bytes.len() + kept, self.text.len() - kept)
        };
        let passes = self.emit(start, value, self.group.next, lines.len());
        lines.clear();
        self.group.lines = lines;
        passes
    }

    /// The text of some source bytes: where it begins, and how long it is.
    fn value(&mut self, start: usize, end: usize) -> (usize, usize) {
        if self.rules.encoding == Encoding::Utf8 {
            return (start, end - start);
        }
        let kept = self.text.len();
        (self.rules.encoding).decode(&self.bytes[start..end], self.text);
        (self.bytes.len() + kept, self.text.len() - kept)
    }

    fn passes(&self, value: (usize, usize)) -> bool {
        if self.rules.filter.is_off() {
            return true;
        }
        let (from, len) = value;
        self.rules
            .filter
            .passes(match from.checked_sub(self.bytes.len()) {
                Some(at) => &self.text[at..at + len],
                None => &self.bytes[from..from + len],
            })
    }

    /// A record, unless the filter sorts it out.
    fn emit(&mut self, start: usize, value: (usize, usize), next: usize, lines: usize) -> bool {
        let passes = self.passes(value);
        if passes {
            self.push(start, value, next, lines);
        } else {
            if let Some(at) = value.0.checked_sub(self.bytes.len()) {
                self.text.truncate(at);
            }
            self.skipped.filtered += Count {
                lines: lines as u64,
                bytes: (next - start) as u64,
            };
        }
        passes
    }

    fn push(&mut self, start: usize, value: (usize, usize), next: usize, lines: usize) {
        self.records.push(Record {
            value: span(value.0, value.1),
            at: small(start - self.from),
            bytes: small(next - start),
            lines: small(lines),
        });
    }

    fn framed(self) -> Framed {
        let until = self.group_start();
        let searched = match self.aside {
            Some(_) => 0,
            None => self.bytes.len() - until,
        };
        Framed {
            consumed: until - self.from,
            half: Half {
                inside_line: self.inside,
                skip: self.skip,
                in_line: self.start < self.bytes.len() && self.skip.is_none(),
                in_group: !self.group.lines.is_empty(),
                searched,
            },
            skipped: self.skipped,
            aside: self.aside,
        }
    }
}
