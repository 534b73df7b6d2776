//! The format of a spool: blocks, one after the other. Pure.
//!
//! A block is a head (magic, CRC-32 of the rest of the head, number, length and CRC-32 of the body, lines and source bytes that it counts for, when it
//! was written, and where the file was used before, its [`Life`]) and a body: what a batch is made of but for its receipt. All numbers are
//! little-endian. Where the records come from is not in it: a spool belongs to one input.
//!
//! Invariant: what is read was written, whole, in this life of its file. Anything else is passed over up to the next block whose head and body are
//! right, and counted.

use std::ffi::CString;
use std::ops::Range;
use std::sync::Arc;

use crate::flow::{Arena, Count, Extras, Origin, Record, Run, Span};

/// Bytes of a head in a new file.
pub const HEAD: usize = 48;
/// No head has more bytes.
pub const ROOM: usize = HEAD + 8;
const NEW: [u8; 4] = *b"LFS1";
const AGAIN: [u8; 4] = *b"LFS2";

/// Which use of its file a block belongs to. One that is written over again holds what is left of its earlier uses, and in that whatever strangers sent:
/// so this is a number that nobody can guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life(u64);

impl Life {
    /// The file was new: it holds nothing else.
    pub const NEW: Self = Self(0);

    /// Another use of a file that was used before.
    pub fn again(number: u64) -> Self {
        Self(number.max(1))
    }

    pub fn number(self) -> u64 {
        self.0
    }

    pub fn is_new(self) -> bool {
        self == Self::NEW
    }

    /// Bytes of a block's head.
    pub fn head(self) -> usize {
        match self.is_new() {
            true => HEAD,
            false => ROOM,
        }
    }

    fn magic(self) -> [u8; 4] {
        match self.is_new() {
            true => NEW,
            false => AGAIN,
        }
    }
}

/// What a block says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Grows from block to block.
    pub number: u64,
    /// Bytes of the body.
    pub len: u32,
    crc: u32,
    pub count: Count,
    /// When it was written, in milliseconds since 1970.
    pub time: i64,
    life: Life,
}

impl Head {
    /// Bytes of the block.
    pub fn size(&self) -> usize {
        self.life.head() + self.len as usize
    }

    /// The body of the block that `bytes` begin with; `None` when they are fewer.
    pub fn body<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(self.life.head()..self.size())
    }

    /// The head of this life that `bytes` begin with; `None` when it is none.
    pub fn read(bytes: &[u8], life: Life) -> Option<Self> {
        let head = bytes.get(..life.head())?;
        let mut cut = Cut(head);
        if cut.array::<4>()? != life.magic() || cut.u32()? != crc32fast::hash(&head[8..]) {
            return None;
        }
        let head = Self {
            number: cut.u64()?,
            len: cut.u32()?,
            crc: cut.u32()?,
            count: Count {
                lines: cut.u64()?,
                bytes: cut.u64()?,
            },
            time: i64::from_le_bytes(cut.array()?),
            life,
        };
        (life.is_new() || cut.u64()? == life.number()).then_some(head)
    }
}

/// What of a batch goes into a block.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    pub text: &'a [u8],
    pub records: &'a [Record],
    pub runs: &'a [Run],
    pub extras: &'a Extras,
}

/// Appends a block to `out`, in one piece.
///
/// # Errors
/// A body of 4 GiB or more.
#[cfg(any(test, fuzzing))]
pub fn write(
    out: &mut Vec<u8>,
    life: Life,
    facts: (u64, i64, Count),
    contents: &Contents<'_>,
) -> Result<(), TooLong> {
    let mut made = Vec::new();
    let laid = Laid::of(&mut made, contents)?;
    for part in laid.parts(&mut made, life, facts, contents.text) {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// What stands around the text of a block, made in memory that is used again, without a head.
#[derive(Debug)]
pub struct Laid {
    /// Where the text comes, counted in what was made: behind the room for a head and the lengths.
    text_at: usize,
    /// Bytes of the body, and its CRC-32.
    len: u32,
    crc: u32,
}

impl Laid {
    /// Makes it in `made`.
    ///
    /// # Errors
    /// A body of 4 GiB or more.
    pub fn of(made: &mut Vec<u8>, contents: &Contents<'_>) -> Result<Self, TooLong> {
        made.clear();
        made.resize(ROOM, 0);
        push_lens(made, contents)?;
        let text_at = made.len();
        push_rest(made, contents)?;
        let (lens, rest) = (&made[ROOM..text_at], &made[text_at..]);
        let mut hasher = crc32fast::Hasher::new();
        for part in [lens, contents.text, rest] {
            hasher.update(part);
        }
        Ok(Self {
            text_at,
            len: u32::try_from(lens.len() + contents.text.len() + rest.len())
                .map_err(|_| TooLong)?,
            crc: hasher.finalize(),
        })
    }

    /// Bytes of the block, at most.
    pub fn most(&self) -> u64 {
        ROOM as u64 + u64::from(self.len)
    }

    /// The three parts of the block: what was made before the text, the text where it is, and what was made behind it.
    pub fn parts<'a>(
        &self,
        made: &'a mut [u8],
        life: Life,
        facts: (u64, i64, Count),
        text: &'a [u8],
    ) -> [&'a [u8]; 3] {
        let begin = ROOM - life.head();
        self.fill(&mut made[begin..ROOM], life, facts);
        [&made[begin..self.text_at], text, &made[self.text_at..]]
    }

    fn fill(&self, head: &mut [u8], life: Life, (number, time, count): (u64, i64, Count)) {
        head[..4].copy_from_slice(&life.magic());
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..20].copy_from_slice(&self.len.to_le_bytes());
        head[20..24].copy_from_slice(&self.crc.to_le_bytes());
        head[24..32].copy_from_slice(&count.lines.to_le_bytes());
        head[32..40].copy_from_slice(&count.bytes.to_le_bytes());
        head[40..48].copy_from_slice(&time.to_le_bytes());
        if let Some(place) = head.get_mut(HEAD..ROOM) {
            place.copy_from_slice(&life.number().to_le_bytes());
        }
        let crc = crc32fast::hash(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Stands for a span that is not there. No text is so long.
const ABSENT: Span = Span {
    start: 0,
    len: u32::MAX,
};

/// A batch that no block can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

fn push_lens(out: &mut Vec<u8>, contents: &Contents<'_>) -> Result<(), TooLong> {
    let extras = contents.extras;
    let lens = [
        contents.text.len(),
        extras.text.len(),
        contents.records.len(),
        extras.keys.len(),
        extras.places.len(),
        extras.timestamps.len(),
        extras.header_names.len(),
        extras.headers.len(),
        extras.topic_names.len(),
        extras.topics.len(),
        contents.runs.len(),
    ];
    lens.into_iter().try_for_each(|len| push_len(out, len))
}

/// What follows the text.
fn push_rest(out: &mut Vec<u8>, contents: &Contents<'_>) -> Result<(), TooLong> {
    let Contents {
        text: _,
        records,
        runs,
        extras,
    } = contents;
    // Taken apart by name, so that nothing new is forgotten here.
    let Extras {
        text: pieces,
        keys,
        places,
        timestamps,
        headers,
        header_names,
        topics,
        topic_names,
    } = extras;
    let spans = keys.len() + places.len() + headers.len();
    out.reserve(pieces.len() + records.len() * 32 + spans * 8 + 64);
    out.extend_from_slice(pieces);
    for record in *records {
        push_span(out, record.value);
        for number in [record.at, record.bytes, record.lines] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    for span in keys.iter().chain(places) {
        push_span(out, span.unwrap_or(ABSENT));
    }
    for time in timestamps {
        out.extend_from_slice(&time.to_le_bytes());
    }
    for name in header_names.iter() {
        push_text(out, name.as_bytes())?;
    }
    for header in headers {
        push_span(out, header.unwrap_or(ABSENT));
    }
    for name in topic_names {
        push_text(out, name.as_bytes())?;
    }
    for topic in topics {
        out.extend_from_slice(&topic.to_le_bytes());
    }
    for run in *runs {
        out.extend_from_slice(&run.base.to_le_bytes());
        out.extend_from_slice(&run.records.start.to_le_bytes());
        out.extend_from_slice(&run.records.end.to_le_bytes());
    }
    Ok(())
}

fn push_len(out: &mut Vec<u8>, len: usize) -> Result<(), TooLong> {
    let len = u32::try_from(len).map_err(|_| TooLong)?;
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

fn push_text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), TooLong> {
    push_len(out, text.len())?;
    out.extend_from_slice(text);
    Ok(())
}

fn push_span(out: &mut Vec<u8>, span: Span) {
    out.extend_from_slice(&span.start.to_le_bytes());
    out.extend_from_slice(&span.len.to_le_bytes());
}

/// What stands somewhere in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A whole block; its body is there.
    Block(Head),
    /// The beginning of a block, and nothing behind it.
    Torn,
    /// So many bytes are of no block. Another one, or the end, follows.
    Damage(usize),
    /// Nothing of this life: an earlier one left it, or a block that was begun without its head.
    Stale,
    End,
}

/// What `bytes` begin with. `is_end`: nothing comes after them. Otherwise `Torn` asks for more. Blocks have at least the number `least`.
pub fn find(bytes: &[u8], life: Life, least: u64, is_end: bool) -> Found {
    if bytes.is_empty() {
        return Found::End;
    }
    if let Some(head) = Head::read(bytes, life).filter(|head| head.number >= least) {
        match head.body(bytes) {
            Some(body) if crc32fast::hash(body) == head.crc => return Found::Block(head),
            // The head is right, and so is the length: nothing is looked for in what somebody else wrote.
            Some(_) => return Found::Damage(head.size()),
            // The rest of it may have been written over, or never have come.
            None if !is_end => return Found::Torn,
            None if next(bytes, life, least).is_none() => return Found::Torn,
            None => {}
        }
    } else if !is_end && bytes.len() < life.head() {
        return Found::Torn;
    } else if is_end && !life.is_new() && next(bytes, life, least).is_none() {
        return Found::Stale;
    } else if is_end && life.is_new() && (is_short(bytes) || bytes.iter().all(|byte| *byte == 0)) {
        return Found::Torn;
    }
    Found::Damage(next(bytes, life, least).unwrap_or(bytes.len()))
}

/// Whether this may be the beginning of a head in a new file.
fn is_short(bytes: &[u8]) -> bool {
    bytes.len() < HEAD && bytes.iter().zip(NEW).all(|(byte, magic)| *byte == magic)
}

/// Where the next whole block begins, the first byte left out.
fn next(bytes: &[u8], life: Life, least: u64) -> Option<usize> {
    let mut from = 1;
    while let Some(at) = memchr::memmem::find(bytes.get(from..)?, &life.magic()) {
        let at = from + at;
        let rest = &bytes[at..];
        let whole = Head::read(rest, life)
            .filter(|head| head.number >= least)
            .and_then(|head| Some((head, head.body(rest)?)))
            .is_some_and(|(head, body)| crc32fast::hash(body) == head.crc);
        if whole {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// What a batch is made of, read back from blocks.
pub struct Parts {
    pub arena: Arena,
    pub records: Vec<Record>,
    pub runs: Vec<Run>,
    pub extras: Extras,
}

impl Parts {
    pub fn new(arena: Arena) -> Self {
        Self {
            arena,
            records: Vec::new(),
            runs: Vec::new(),
            extras: Extras::default(),
        }
    }
}

/// The body of a block whose CRC is right, looked through: everything in it lies where it says.
#[derive(Debug)]
pub struct Body<'a> {
    pub text: &'a [u8],
    records: Vec<Record>,
    extras: Extras,
    runs: Vec<(u64, Range<u32>)>,
}

impl<'a> Body<'a> {
    /// `None`: it is not what this version writes.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut cut = Cut(bytes);
        let mut lens = [0; 11];
        for len in &mut lens {
            *len = cut.u32()? as usize;
        }
        let [
            text,
            pieces,
            records,
            keys,
            places,
            timestamps,
            names,
            headers,
            topic_names,
            topics,
            runs,
        ] = lens;
        let fits = |len: usize| len == 0 || len == records;
        if records == 0
            || !fits(keys)
            || !fits(places)
            || !fits(topics)
            || !fits(timestamps)
            || headers != records.checked_mul(names)?
        {
            return None;
        }
        let (text, pieces) = (cut.take(text)?, cut.take(pieces)?);
        let is_inside = |span: &Span| span.range().end <= text.len();
        let piece = |cut: &mut Cut<'_>| match cut.span() {
            Some(ABSENT) => Some(None),
            span => span
                .filter(|span| span.range().end <= pieces.len())
                .map(Some),
        };
        let records = cut.many(records, 20, |cut| {
            let value = cut.span().filter(is_inside)?;
            let (at, bytes, lines) = (cut.u32()?, cut.u32()?, cut.u32()?);
            Some(Record {
                value,
                at,
                bytes,
                lines,
            })
        })?;
        let (keys, places) = (cut.many(keys, 8, piece)?, cut.many(places, 8, piece)?);
        let timestamps = cut.many(timestamps, 8, |cut| Some(i64::from_le_bytes(cut.array()?)))?;
        let names = cut.many(names, 4, |cut| CString::new(cut.text()?).ok())?;
        let headers = cut.many(headers, 8, piece)?;
        let topic_names = cut.many(topic_names, 4, |cut| {
            let name = std::str::from_utf8(cut.text()?).ok()?;
            Some(Arc::from(name))
        })?;
        let topics = cut.many(topics, 4, |cut| {
            cut.u32()
                .filter(|topic| (*topic as usize) < topic_names.len())
        })?;
        let mut last = 0;
        let runs = cut.many(runs, 16, |cut| {
            let (base, range) = (cut.u64()?, cut.u32()?..cut.u32()?);
            if range.start != last || range.is_empty() {
                return None;
            }
            last = range.end;
            Some((base, range))
        })?;
        let extras = Extras {
            text: pieces.to_vec(),
            keys,
            places,
            timestamps,
            headers,
            header_names: names.into(),
            topics,
            topic_names,
        };
        let is_whole = cut.0.is_empty() && last as usize == records.len();
        is_whole.then_some(Self {
            text,
            records,
            extras,
            runs,
        })
    }

    /// Whether its records may stand in one batch with those of `parts`, and there is room for them.
    pub fn fits(&self, parts: &Parts) -> bool {
        let (own, other) = (&self.extras, &parts.extras);
        let is_alike = parts.records.is_empty()
            || own.keys.is_empty() == other.keys.is_empty()
                && own.places.is_empty() == other.places.is_empty()
                && own.topics.is_empty() == other.topics.is_empty()
                && own.timestamps.is_empty() == other.timestamps.is_empty()
                && own.header_names == other.header_names;
        let most = u32::MAX as usize - self.records.len();
        let pieces = own.text.len() + other.text.len();
        is_alike
            && parts.records.len() < most
            && pieces < u32::MAX as usize
            && self.text.len() <= parts.arena.room()
    }

    /// Appends its records to those of a batch into which it [`Body::fits`].
    pub fn append(self, parts: &mut Parts, origin: &Arc<Origin>) {
        let base = u32::try_from(parts.arena.len()).unwrap_or(u32::MAX);
        let first = u32::try_from(parts.records.len()).unwrap_or(u32::MAX);
        let fits = parts.arena.push(self.text);
        debug_assert!(fits, "it was asked whether it fits");
        let moved = |span: Span, base| Span {
            start: span.start + base,
            len: span.len,
        };
        let records = self.records.into_iter().map(|record| Record {
            value: moved(record.value, base),
            ..record
        });
        parts.records.extend(records);
        let Extras {
            text,
            keys,
            places,
            timestamps,
            headers,
            header_names,
            topics,
            topic_names,
        } = self.extras;
        let extras = &mut parts.extras;
        let base = u32::try_from(extras.text.len()).unwrap_or(u32::MAX);
        let moved = |span: Option<Span>| span.map(|span| moved(span, base));
        extras.text.extend_from_slice(&text);
        extras.keys.extend(keys.into_iter().map(moved));
        extras.places.extend(places.into_iter().map(moved));
        extras.timestamps.extend(timestamps);
        extras.headers.extend(headers.into_iter().map(moved));
        if first == 0 {
            extras.header_names = header_names;
        }
        let numbers = topic_names.into_iter().map(|name| number(name, extras));
        let numbers: Vec<u32> = numbers.collect();
        let topics = topics.into_iter().map(|topic| numbers[topic as usize]);
        parts.extras.topics.extend(topics);
        for (base, records) in self.runs {
            parts.runs.push(Run {
                origin: origin.clone(),
                base,
                records: records.start + first..records.end + first,
            });
        }
    }
}

/// The number of a topic's name, which is added when it is not there yet.
fn number(name: Arc<str>, extras: &mut Extras) -> u32 {
    let names = &mut extras.topic_names;
    let known = names.iter().position(|known| *known == name);
    let at = known.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    at as u32
}

/// Bytes that are taken from the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    fn span(&mut self) -> Option<Span> {
        let (start, len) = (self.u32()?, self.u32()?);
        start.checked_add(len)?;
        Some(Span { start, len })
    }

    /// So many items, each of at least `least` bytes: what a wrong number asks for is never allocated.
    fn many<T>(
        &mut self,
        len: usize,
        least: usize,
        mut each: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        if len.checked_mul(least)? > self.0.len() {
            return None;
        }
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(each(self)?);
        }
        Some(items)
    }
}
