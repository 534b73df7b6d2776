//! The way that an input's bytes go, chosen once: plain, or with everything that was asked for.
//!
//! A byte order mark at the very beginning of a source is no part of its first line, though of its source bytes. One that says the other
//! order than the encoding does is believed, for that source: nothing else begins so.

use std::time::Duration;

use super::general::General;
use super::settings::LineSettings;
use super::{Block, Framed, Half, Lines, Rest};
use crate::flow::{Arena, Record, Span};

/// Settings that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    #[error("the encoding {0:?} is not known")]
    Encoding(String),
    #[error("the line end cannot be written in the encoding {0:?}")]
    LineEnd(String),
    #[error(transparent)]
    Pattern(#[from] regex::Error),
}

/// Cuts one input's bytes into records.
#[derive(Debug)]
pub struct Framer {
    plain: Option<Lines>,
    general: General,
    /// How many bytes of memory a byte of the source may need.
    expansion: usize,
    /// Nothing of the source's bytes is in a record as it is.
    rewrites: bool,
    has_holes: bool,
    partial: Option<Duration>,
    group: Option<Duration>,
}

/// The first bytes of a source, as far as they are there: what a byte order mark takes.
pub type First = [u8; 2];

/// The first bytes among all that are known from the beginning on.
pub fn first(bytes: &[u8]) -> First {
    match bytes {
        [one, two, ..] => [*one, *two],
        [one] => [*one, 0],
        [] => [0; 2],
    }
}

/// One way for each order of the bytes that sources may be in. Both need the same room, and wait equally long.
#[derive(Debug)]
pub struct Framers {
    expected: Framer,
    other: Option<Framer>,
}

impl Framers {
    /// # Errors
    /// As [`Framer::new`].
    pub fn new(settings: &LineSettings) -> Result<Self, LinesError> {
        let expected = Framer::new(settings)?;
        let other = match expected.general.encoding().other_order() {
            Some(encoding) => Some(Framer::new(&LineSettings {
                encoding: encoding.to_owned(),
                ..settings.clone()
            })?),
            None => None,
        };
        Ok(Self { expected, other })
    }

    /// The one that the settings say.
    pub fn expected(&self) -> &Framer {
        &self.expected
    }

    /// The one for a source that begins with `first`.
    pub fn of(&self, first: First) -> &Framer {
        let other = self.other.as_ref();
        other
            .filter(|other| other.is_marked(first))
            .unwrap_or(&self.expected)
    }

    /// The same, to frame with.
    pub fn of_mut(&mut self, first: First) -> &mut Framer {
        let other = self.other.as_mut();
        other
            .filter(|other| other.is_marked(first))
            .unwrap_or(&mut self.expected)
    }
}

impl Framer {
    /// # Errors
    /// When a setting cannot be obeyed; rules of the plan report each of them before.
    pub fn new(settings: &LineSettings) -> Result<Self, LinesError> {
        let lines =
            Lines::new(settings.max_line.size).with_whole_characters(settings.whole_characters);
        let general = General::new(settings, lines.size())?;
        let rewrites = *general.encoding() != crate::input::encoding::Encoding::Utf8;
        Ok(Self {
            plain: general.is_plain().then_some(lines),
            expansion: match (rewrites, &settings.multiline) {
                (true, _) => 3,
                (false, Some(_)) => 2,
                (false, None) => 1,
            },
            rewrites,
            has_holes: general.encoding().is_ascii_compatible()
                && !general.line_end().bytes().contains(&0),
            general,
            partial: settings.partial_line_timeout,
            group: settings.multiline.as_ref().map(|group| group.timeout),
        })
    }

    /// The plain way, if that is the one.
    pub fn plain(&self) -> Option<&Lines> {
        self.plain.as_ref()
    }

    fn is_marked(&self, first: First) -> bool {
        *self.general.encoding().bom() == first
    }

    /// A byte of the source needs at most so many bytes of an arena.
    pub fn expansion(&self) -> usize {
        self.expansion
    }

    /// So many bytes always decide something.
    pub fn lookahead(&self) -> usize {
        self.general.lookahead() + self.general.encoding().bom().len()
    }

    /// After which quiet time what is left of a block is sent, and as what.
    pub fn patience(&self, half: &Half) -> Option<(Duration, Rest)> {
        let line = self.partial.filter(|_| half.in_line);
        let group = self.group.filter(|_| half.in_group);
        match (line, group) {
            (Some(line), Some(group)) if group < line => Some((group, Rest::Group)),
            (Some(line), _) => Some((line, Rest::Line)),
            (None, Some(group)) => Some((group, Rest::Group)),
            (None, None) => None,
        }
    }

    /// Where the last line end in `bytes` ends; they stand at `base` of the source.
    pub fn find_last_line_end(&self, bytes: &[u8], base: u64) -> Option<usize> {
        self.general.line_end().find_last(bytes, base)
    }

    /// Where the first line end in `bytes` ends; a line begins with them.
    pub fn find_line_end(&self, bytes: &[u8]) -> Option<usize> {
        let at = self.general.line_end().find(bytes)?;
        Some(at + self.line_end())
    }

    /// Whether a NUL is no part of any character or line end, so that a run of them may be a hole.
    pub fn has_holes(&self) -> bool {
        self.has_holes
    }

    /// The length of a line end, in bytes.
    pub fn line_end(&self) -> usize {
        self.general.line_end().len()
    }

    /// Pushes the records that `block` holds for certain, and says how far they reach. `beginning`: the block is the beginning of its source.
    /// Values are in place only after [`Framer::settle`].
    pub fn frame(
        &mut self,
        mut block: Block<'_>,
        beginning: bool,
        mut half: Half,
        records: &mut Vec<Record>,
    ) -> Framed {
        let bom = self.general.encoding().bom();
        if !beginning || half.inside_line || !block.bytes[block.from..].starts_with(bom) {
            return self.frame_text(block, half, records);
        }
        let first = records.len();
        block.from += bom.len();
        half.searched = half.searched.saturating_sub(bom.len());
        let mut framed = self.frame_text(block, half, records);
        if framed.consumed == 0 && (block.rest != Rest::Last || block.from < block.bytes.len()) {
            framed.half.searched += bom.len();
            return framed;
        }
        framed.consumed += bom.len();
        let len = super::small(bom.len());
        for record in &mut records[first..] {
            record.at += len;
        }
        if let Some(record) = records[first..].first_mut().filter(|first| first.at == len) {
            record.at = 0;
            record.bytes += len;
        }
        if let Some(aside) = &mut framed.aside {
            aside.at += len;
        }
        framed
    }

    fn frame_text(&mut self, block: Block<'_>, half: Half, records: &mut Vec<Record>) -> Framed {
        match &self.plain {
            // What other settings began to skip is skipped to its end.
            Some(lines) if half.skip.is_none() => {
                self.general.text.clear();
                lines.frame(block, half, records)
            }
            _ => self.general.frame(block, half, records),
        }
    }

    /// The bytes of a value that is not in place yet.
    pub fn value<'a>(&'a self, bytes: &'a [u8], value: Span) -> &'a [u8] {
        let range = value.range();
        match range.start.checked_sub(bytes.len()) {
            Some(at) => &self.general.text[at..at + range.len()],
            None => &bytes[range],
        }
    }

    /// Keeps in the arena what the `records` of the block that was framed last, from `from` on, need, and puts their values in place.
    /// There is room if the block was no longer than the arena's room divided by [`Framer::expansion`].
    pub fn settle(
        &mut self,
        arena: &mut Arena,
        from: usize,
        framed: &Framed,
        records: &mut [Record],
    ) {
        let before = arena.len();
        let kept = if self.rewrites && self.plain.is_none() {
            0
        } else {
            framed.consumed
        };
        arena.truncate(from + kept);
        let text = &self.general.text;
        if text.is_empty() && !self.rewrites {
            return;
        }
        let (to, fits) = (arena.len(), arena.push(text));
        debug_assert!(fits, "a block that expands was not bounded");
        for record in records {
            let start = record.value.start as usize;
            if let Some(at) = start.checked_sub(before) {
                record.value.start = super::small(to + at);
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
pub mod reading;
#[cfg(test)]
mod tests;
