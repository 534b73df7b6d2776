//! One file that is followed: its handle, how far it was read, and reading on.
//!
//! A read brings, in one system call, the bytes before the position as well: only if they are what they were is anything after them
//! taken. A half line is not kept: it stays in the file and is read again when its end has come; of a long one only the new bytes are
//! searched until then.
//!
//! Invariant: what was read once is never read again, and nothing between is left out, as long as the file keeps its content.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::SeekFrom;

use super::hole::{Behind, Holes};
use super::identity::{HEAD, TAIL, print};
use super::look::Look;
use super::pace::Pace;
use super::packed::Packed;
use super::rotate::{Growth, Standing, growth};
use super::trace::{Marks, Trace};
use crate::checkpoint::Print;
use crate::flow::arena::ARENA_BYTES;
use crate::flow::{Count, Origin, SourceId};
use crate::input::Position;
use crate::input::dress::block::Undone;
use crate::input::frame::framer::{self, First, Framer, Framers};
use crate::input::frame::{Block, Half, Rest, Skipped, find_line_end};
use crate::input::outlet::Filling;
use crate::input::{Finish, LongLine};

/// A half line of at least this many bytes is searched for its end before it is read again.
const LONG_HALF: usize = 4096;

/// A followed file.
///
/// What a sweep asks of every file comes first, in few cache lines: of ten thousand idle ones the memory is what costs.
#[repr(C)]
pub struct Source {
    /// None while it is closed to save descriptors.
    pub file: Option<File>,
    /// Others than this machine may write to it.
    pub is_shared: bool,
    /// Its next write is told by an event.
    pub is_armed: bool,
    /// It is closed for good, though it was not read to its end; left as soon as what is in hand of it was sent.
    pub is_given_up: bool,
    /// Its content was replaced before: it may be again, by as many bytes.
    is_rewritten: bool,
    /// Nothing was read of its content when it was looked at last: nothing can tell whether that is what began then.
    pub is_unproven: bool,
    pub standing: Standing,
    pub pace: Pace,
    /// It is compressed: offsets are those of its content, looks are of the file itself.
    pub packed: Option<Box<Packed>>,
    at: u64,
    /// The largest size that was seen since.
    pub seen: u64,
    /// The last look that was followed by reading.
    pub look: Look,
    half: Half,
    /// The size that it last grew to, when that was seen, and whether its unterminated line was sent then.
    grown: (u64, Instant, bool),
    holes: Holes,
    pub id: SourceId,
    /// What records say about where they come from: the name under which a pattern found the file.
    pub origin: Arc<Origin>,
    /// Where it is now.
    pub path: Arc<Path>,
    /// Nothing is read beyond this, and what is before it is all there will be: `once`, or a last word before it is left.
    pub end: Option<u64>,
    /// What it counts for in the input's unread bytes.
    pub counted: u64,
    /// The sweep that found it, or its present content.
    pub sweep: u64,
    /// When that was, in nanoseconds since 1970.
    pub began: i64,
    head: Head,
    marks: Marks,
    /// What is remembered of it, instead of the above, while nothing of it was read.
    known: Option<Box<Trace>>,
    /// The print of the bytes before `at`, up to [`TAIL`] of them: every read brings these bytes again.
    tail: Option<Print>,
    /// What its content begins with, once any of it was read.
    first: First,
    /// What becomes of the rest of the next block.
    due: Rest,
    /// It was closed for a while: what stands before the position has to be proven.
    pub is_doubtful: bool,
    /// It stands in the queue of files that may be closed.
    pub is_queued: bool,
}

/// What stands at the position.
#[derive(Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Bytes of lines, or nothing.
    Text,
    /// A hole, up to here.
    Hole(u64),
    /// NULs, and nobody looked so far what is behind them.
    Unknown,
}

/// The print of a file's first bytes, as far as they were read.
#[derive(Default)]
struct Head {
    hasher: crc32fast::Hasher,
    len: usize,
}

/// What a read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes are in the arena as records.
    Bytes(u64),
    /// No line ends in what is there.
    Half,
    /// The beginning of a long line, or records that are refused, could not be set aside; nothing was read.
    NotSetAside(String),
    /// A record is refused, and that stops the input; nothing was read.
    Refused(String),
    /// There was nothing.
    Nothing,
    /// What stands before the position is not what was read.
    Rewritten,
}

impl Source {
    pub fn new(
        id: SourceId,
        origin: Arc<Origin>,
        path: Arc<Path>,
        look: Look,
        now: Instant,
    ) -> Self {
        Self {
            id,
            origin,
            path,
            file: None,
            packed: None,
            seen: look.size,
            look,
            standing: Standing::Named,
            pace: Pace::new(now),
            end: None,
            is_shared: false,
            is_armed: false,
            is_given_up: false,
            is_doubtful: false,
            is_rewritten: false,
            is_queued: false,
            counted: 0,
            sweep: 0,
            began: nanos_now(),
            is_unproven: true,
            at: 0,
            half: Half::default(),
            first: First::default(),
            due: Rest::Waits,
            grown: (look.size, now, false),
            tail: None,
            head: Head::default(),
            marks: Marks::default(),
            known: None,
            holes: Holes::default(),
        }
    }

    /// Goes to a position that is not the beginning. Reads the bytes before it, to know them again. `UnexpectedEof` or `InvalidData`: they are
    /// not (any more) what the position says.
    pub fn seek(&mut self, position: &Position, file: &File) -> io::Result<()> {
        self.seek_by(position, |bytes, at| file.read_exact_at(bytes, at))
    }

    /// The same in what is unpacked.
    pub fn seek_packed(&mut self, position: &Position) -> io::Result<()> {
        let Some(mut packed) = self.packed.take() else {
            return Ok(());
        };
        let sought = self.seek_by(position, |bytes, at| match packed.read_at(bytes, at) {
            Ok((got, _)) if got == bytes.len() => Ok(()),
            Ok((_, fault)) => Err(fault.map_or(io::ErrorKind::UnexpectedEof.into(), Into::into)),
            Err(fault) => Err(fault.into()),
        });
        self.packed = Some(packed);
        sought
    }

    fn seek_by(
        &mut self,
        position: &Position,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let offset = position.offset;
        let len = usize::try_from(offset).map_or(TAIL, |offset| offset.min(TAIL));
        let mut before = [0; TAIL];
        let before = &mut before[..len];
        read(before, offset - len as u64)?;
        let tail = print(before);
        let known = position.tail.filter(|known| known.len as usize == len);
        if known.is_some() && known != tail {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut first = [0; HEAD];
        let first = &mut first[..usize::try_from(offset).map_or(HEAD, |offset| offset.min(HEAD))];
        read(first, 0)?;
        self.tail = tail;
        self.first = framer::first(first);
        self.head = Head::default();
        self.head.add(0, first);
        self.marks.clear();
        if let Some((at, half)) = position.half.filter(|(at, _)| *at < offset) {
            self.marks.add(at, half);
        }
        if let Some(tail) = self.tail {
            self.marks.add(offset, tail);
        }
        self.holes.forget();
        self.is_unproven = false;
        self.at = offset;
        self.known = None;
        self.stand(position);
        Ok(())
    }

    /// Stands at a position of a compressed file without reading it: `trace` is what is remembered of it.
    pub fn know(&mut self, position: &Position, trace: Trace) {
        self.at = position.offset;
        self.known = Some(Box::new(trace));
        self.stand(position);
    }

    /// Takes over what a position says about the line that it stands in.
    pub fn stand(&mut self, position: &Position) {
        self.half = Half {
            inside_line: position.inside_line,
            skip: position.skip,
            ..Half::default()
        };
    }

    /// Its content was replaced: everything is new, under a new name in the ledgers.
    pub fn restart(&mut self, id: SourceId) {
        self.id = id;
        self.at = 0;
        self.half = Half::default();
        self.grown = (0, Instant::now(), false);
        self.began = nanos_now();
        self.is_unproven = true;
        self.tail = None;
        self.head = Head::default();
        self.marks.clear();
        self.known = None;
        self.holes.forget();
        if let Some(packed) = &mut self.packed {
            packed.restart(VecDeque::new());
        }
        self.is_doubtful = false;
        self.is_rewritten = true;
    }

    /// Closes it for good. Tells how many bytes of it were not read.
    pub fn give_up(&mut self) -> u64 {
        let unread = self.unread();
        self.is_given_up = true;
        self.file = None;
        (self.seen, self.look.size) = (self.at, self.at);
        unread
    }

    /// How far it was read, in bytes.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The print of the bytes before it.
    fn tail(&self) -> Option<Print> {
        match &self.known {
            Some(known) => known.tail(),
            None => self.tail,
        }
    }

    pub fn position(&self) -> Position {
        Position {
            offset: self.at,
            inside_line: self.half.inside_line,
            skip: self.half.skip,
            tail: self.tail(),
            half: match &self.known {
                Some(known) => known.half(),
                None => self.marks.half(),
            },
        }
    }

    /// How many bytes it has, as far as is known.
    pub fn size(&self) -> u64 {
        match self.packed {
            Some(_) => self.at + self.unread(),
            None => self.look.size,
        }
    }

    /// The print of its first bytes, as far as they were read.
    pub fn head(&self) -> Option<Print> {
        match &self.known {
            Some(known) => known.head,
            None => self.head.print(),
        }
    }

    /// What is remembered of what was read.
    pub fn trace(&self) -> Trace {
        if let Some(known) = &self.known {
            return Trace::clone(known);
        }
        Trace::new(self.head(), self.marks.clone())
    }

    /// How many bytes before the position are known by their print.
    fn tail_len(&self) -> usize {
        self.tail.map_or(0, |tail| tail.len as usize)
    }

    /// It goes idle: there may be very many like it.
    pub fn rest(&mut self) {
        self.marks.shrink();
    }

    /// Whether it has as many bytes as at the last look, which is all that this asks the system for: half of what a whole look costs. What
    /// was written over bytes that stood there before only a whole look tells.
    pub fn is_as_long(&self) -> bool {
        let (Some(file), None, None) = (&self.file, &self.packed, self.holes.run()) else {
            return false;
        };
        if self.is_rewritten {
            return false;
        }
        let size = rustix::fs::seek(file, SeekFrom::End(0));
        size.is_ok_and(|size| size == self.look.size && size == self.seen) && !self.has_news()
    }

    /// Bytes that are known to exist and were not read.
    pub fn unread(&self) -> u64 {
        if let Some(packed) = &self.packed {
            return packed.unread(self.look.size);
        }
        self.seen.max(self.look.size).saturating_sub(self.at)
    }

    /// Whether bytes are there that were not even searched.
    pub fn has_news(&self) -> bool {
        let blank = self.blank_from().map(|from| from.saturating_sub(self.at));
        blank.unwrap_or(self.unread()) > self.half.searched as u64
    }

    /// What stands at the position, where NULs are met. `is_over`: what is waited for will not come once an end is set.
    pub fn ahead(&mut self, is_over: bool) -> io::Result<Ahead> {
        let (Some(run), Some(file)) = (self.holes.run(), &self.file) else {
            return Ok(Ahead::Text);
        };
        let size = self.end.unwrap_or(self.look.size);
        if run.behind == Behind::Unknown {
            self.holes.look_on(file, size)?;
        } else if self.at + self.half.searched as u64 >= run.start {
            self.holes.peek(file)?;
        }
        Ok(match self.holes.run() {
            Some(run) if run.behind == Behind::Unknown => Ahead::Unknown,
            Some(run) if run.start > self.at => Ahead::Text,
            Some(run) if run.behind == Behind::Text => Ahead::Hole(run.until),
            Some(_) if is_over && self.end.is_some() => Ahead::Hole(size),
            _ => Ahead::Text,
        })
    }

    /// Goes on behind a hole, where a line begins. `None`: the file became shorter meanwhile.
    pub fn skip_hole(&mut self, to: u64, filling: &mut Filling) -> io::Result<Option<u64>> {
        let Some(file) = self.file.take() else {
            return Ok(None);
        };
        let from = self.at;
        let position = Position {
            offset: to,
            ..Position::default()
        };
        let sought = self.seek(&position, &file);
        self.file = Some(file);
        match sought {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let (none, end) = (filling.records.len(), self.position());
        let skipped = hole(to - from);
        filling.add_run(&self.origin, self.id, from, none..none, &skipped, end);
        Ok(Some(to - from))
    }

    /// Nothing is read beyond this.
    fn limit(&self, end: u64) -> u64 {
        self.holes.run().map_or(end, |run| end.min(run.start))
    }

    /// Whether a hole ends the line that stands before it.
    fn is_before_hole(&self) -> bool {
        let run = self.holes.run();
        run.is_some_and(|run| run.behind == Behind::Text)
    }

    /// Whether nobody looked so far what is behind the next NULs.
    fn is_unknown_behind(&self) -> bool {
        let run = self.holes.run();
        run.is_some_and(|run| run.behind == Behind::Unknown)
    }

    /// Where the NULs begin that reach to the end of the file.
    pub fn blank_from(&self) -> Option<u64> {
        let run = self.holes.run()?;
        (run.behind == Behind::Nothing).then_some(run.start)
    }

    /// What it looks like now: by its handle, or by its name while it is closed.
    pub fn look_now(&self) -> io::Result<Look> {
        match &self.file {
            Some(file) => Look::of(file),
            None => Look::at(&self.path),
        }
    }

    /// A new look at it, that is acted on now.
    pub fn saw(&mut self, look: Look) {
        if look.size != self.look.size || look.stamp != self.look.stamp {
            self.holes.distrust();
        }
        self.look = look;
        self.seen = look.size;
    }

    /// Notes how long nothing came, and whether what is left is to be sent for that.
    pub fn note_growth(&mut self, framer: &Framer, now: Instant) {
        if self.grown.0 != self.look.size {
            self.grown = (self.look.size, now, false);
        }
        self.due = match self.overdue(framer) {
            Some((at, rest)) if at <= now => rest,
            _ => Rest::Waits,
        };
    }

    /// When what is left is to be sent even if nothing comes, and what of it.
    pub fn overdue(&self, framer: &Framer) -> Option<(Instant, Rest)> {
        if self.packed.is_some() {
            return None;
        }
        let (_, since, sent) = self.grown;
        let (patience, rest) = framer.patience(&self.half).filter(|_| !sent)?;
        Some((since + patience, rest))
    }

    /// The half line may have changed: what was searched is searched again.
    pub fn distrust_half(&mut self) {
        self.half.searched = 0;
        self.holes.forget();
    }

    /// Whether the bytes before the position, and the first ones, are still what they were.
    pub fn is_unchanged_before(&self) -> io::Result<bool> {
        let Some(file) = self.file.as_ref().filter(|_| self.packed.is_none()) else {
            return Ok(true);
        };
        let is_at = |known: Option<Print>, end: u64| {
            let mut now = [0; HEAD];
            let now = &mut now[..known.map_or(0, |known| known.len as usize)];
            match file.read_exact_at(now, end - now.len() as u64) {
                Ok(()) => Ok(print(now) == known),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                Err(error) => Err(error),
            }
        };
        // Lines may end alike. What is shorter is the same bytes.
        let head = self.head().filter(|_| self.at > self.tail_len() as u64);
        let first = head.map_or(0, |head| u64::from(head.len));
        Ok(is_at(self.tail, self.at)? && is_at(head, first)?)
    }

    /// Whether its content is surely not what was read, at this moment.
    pub fn was_replaced(&self) -> bool {
        if self.packed.is_some() {
            return false;
        }
        let look = self.file.as_ref().map(Look::of);
        let is_cut = look.is_some_and(|look| {
            look.is_ok_and(|look| growth(self.at, &self.look, &look) == Growth::Cut)
        });
        is_cut || !self.is_unchanged_before().unwrap_or(true)
    }

    /// How much room the next read needs so that it brings something, at most one line more than an ordinary arena; `None` while
    /// there is nothing to bring. `scratch` is for searching.
    pub fn wanted(&mut self, framer: &Framer, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        if let Some(packed) = &self.packed {
            let is_over = packed.end.is_some_and(|end| self.at >= end);
            let (ordinary, most) = Self::block_of(framer);
            let wanted = (2 * self.half.searched).clamp(ordinary, most) * framer.expansion();
            return Ok((!is_over).then_some(wanted));
        }
        let end = self.limit(self.end.unwrap_or(self.look.size));
        let available = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let is_last = self.end.is_some() || self.due > Rest::Waits || self.is_before_hole();
        if available == 0 || (available <= self.half.searched && !is_last) {
            return Ok(None);
        }
        let Some(lines) = framer.plain().filter(|_| self.half.skip.is_none()) else {
            let (ordinary, most) = Self::block_of(framer);
            let wanted = (2 * self.half.searched).clamp(ordinary, most);
            return Ok(Some(available.min(wanted) * framer.expansion()));
        };
        if self.half.searched < LONG_HALF {
            return Ok(Some(available.min(ARENA_BYTES)));
        }
        let Some(file) = &self.file else {
            return Ok(None);
        };
        loop {
            let searched = self.half.searched;
            if searched >= lines.lookahead() {
                return Ok(Some(lines.size()));
            }
            let ahead = available.saturating_sub(searched).min(scratch.len());
            let got = match ahead {
                0 => 0,
                _ => file.read_at(&mut scratch[..ahead], self.at + searched as u64)?,
            };
            if got == 0 {
                let is_last = is_last && available <= searched;
                return Ok(is_last.then_some(available));
            }
            match find_line_end(&scratch[..got]) {
                Some(line_end) => {
                    self.half.searched += line_end;
                    return Ok(Some(self.half.searched + 1));
                }
                None => self.half.searched += got,
            }
        }
    }

    /// How many source bytes are read at once, in general and at most.
    pub fn block_of(framer: &Framer) -> (usize, usize) {
        let ordinary = ARENA_BYTES / framer.expansion();
        (ordinary, framer.lookahead().max(ordinary))
    }

    /// Reads on in what is unpacked. An error may be a [`Fault`](super::unpack::Fault).
    fn read_packed(
        &mut self,
        framers: &mut Framers,
        filling: &mut Filling,
        finish: &mut Finish,
    ) -> io::Result<Taken> {
        let mut before = [0; TAIL];
        let before = &mut before[..self.tail_len()];
        let Some(packed) = &mut self.packed else {
            return Ok(Taken::Nothing);
        };
        let (_, fault) = packed.read_at(before, self.at - before.len() as u64)?;
        if let Some(fault) = fault {
            return Err(fault.into());
        }
        if print(before) != self.tail {
            return Ok(Taken::Rewritten);
        }
        let room = filling.arena.room() / framers.expected().expansion();
        let room = packed.end.map_or(room, |end| {
            usize::try_from(end - self.at).map_or(room, |left| left.min(room))
        });
        let (got, fault) = packed.read_at(&mut filling.arena.spare()[..room], self.at)?;
        let is_last = packed.end == Some(self.at + got as u64);
        match fault {
            Some(fault) if got <= self.half.searched && !is_last => return Err(fault.into()),
            _ if got == 0 => return Ok(Taken::Nothing),
            _ => {}
        }
        let rest = if is_last { Rest::Last } else { Rest::Waits };
        self.take(framers, filling, finish, before, got, rest)
    }

    /// Reads on into `filling`, as much as it has room for.
    pub fn read(
        &mut self,
        framers: &mut Framers,
        filling: &mut Filling,
        finish: &mut Finish,
    ) -> io::Result<Taken> {
        if self.packed.is_some() {
            return self.read_packed(framers, filling, finish);
        }
        let Some(file) = &self.file else {
            return Ok(Taken::Nothing);
        };
        let mut before = [0; TAIL];
        let before = &mut before[..self.tail_len()];
        let until_end = self
            .limit(self.end.unwrap_or(u64::MAX))
            .saturating_sub(self.at);
        let room = filling.arena.room() / framers.expected().expansion();
        let room = usize::try_from(until_end).map_or(room, |end| end.min(room));
        let offset = self.at - before.len() as u64;
        let got = {
            let mut parts = [
                IoSliceMut::new(before),
                IoSliceMut::new(&mut filling.arena.spare()[..room]),
            ];
            // An empty part at the front is allowed.
            rustix::io::retry_on_intr(|| rustix::io::preadv(file, &mut parts, offset))?
        };
        let Some(got) = got
            .checked_sub(before.len())
            .filter(|_| print(before) == self.tail)
        else {
            return Ok(Taken::Rewritten);
        };
        if got == 0 {
            return Ok(Taken::Nothing);
        }
        let until = self.at + got as u64;
        self.look.size = self.look.size.max(until);
        self.seen = self.look.size;
        if framers.expected().has_holes() {
            let block = &filling.arena.spare()[..got];
            let (size, is_sparse) = (self.end.unwrap_or(self.look.size), self.look.is_sparse());
            self.holes.find(file, self.at, block, size, is_sparse)?;
        }
        let until = self.limit(until);
        let got = usize::try_from(until.saturating_sub(self.at)).map_or(got, |len| len.min(got));
        if self.holes.run().is_some() {
            // NULs were searched too, and something may be written into them.
            self.half.searched = self.half.searched.min(got);
        }
        if got == 0 {
            return Ok(Taken::Half);
        }
        let due = std::mem::take(&mut self.due);
        let is_before_hole = self.is_before_hole() && until == self.limit(u64::MAX);
        let rest = match self.end {
            _ if is_before_hole => Rest::Last,
            Some(end) if self.limit(end) == until && !self.is_unknown_behind() => Rest::Last,
            // Unless more came meanwhile.
            _ if self.limit(self.grown.0) == until => due,
            _ => Rest::Waits,
        };
        self.grown.2 |= rest >= Rest::Line && !is_before_hole;
        self.take(framers, filling, finish, before, got, rest)
    }

    /// Makes records of the `got` bytes that were read behind what `filling` holds; `before` stands before them in the source.
    fn take(
        &mut self,
        framers: &mut Framers,
        filling: &mut Filling,
        finish: &mut Finish,
        before: &[u8],
        got: usize,
        rest: Rest,
    ) -> io::Result<Taken> {
        let from = filling.arena.len();
        filling.arena.advance(got);
        let first = filling.records.len();
        let block = Block {
            bytes: filling.arena.filled(),
            from,
            rest,
        };
        let mut half = self.half;
        if half.searched < LONG_HALF {
            // The file may have been cut before it, and written again: nothing else tells when there is more than before.
            half.searched = 0;
        }
        if self.at == 0 {
            self.first = framer::first(&block.bytes[from..]);
        }
        let framer = framers.of_mut(self.first);
        let framed = framer.frame(block, self.at == 0, half, &mut filling.records);
        if framed.consumed == 0 {
            self.half = framed.half;
            filling.arena.truncate(from);
            return Ok(Taken::Half);
        }
        if let Some(aside) = framed.aside {
            let long = LongLine {
                path: self.origin.path.as_deref(),
                offset: self.at + u64::from(aside.at),
                value: framer.value(filling.arena.filled(), aside.value),
            };
            if let Err(error) = (finish.set_aside)(&long) {
                filling.records.truncate(first);
                filling.arena.truncate(from);
                return Ok(Taken::NotSetAside(error));
            }
        }
        let mut skipped = framed.skipped;
        if let Some(blocks) = &mut finish.blocks {
            match blocks.dress(framer, filling, first, &self.origin, self.at) {
                Ok(refused) => skipped += refused,
                Err(undone) => {
                    filling.arena.truncate(from);
                    return Ok(match undone {
                        Undone::NotSetAside(error) => Taken::NotSetAside(error),
                        Undone::Stop(why) => Taken::Refused(why),
                    });
                }
            }
        }
        self.half = framed.half;
        let consumed = &filling.arena.filled()[from..from + framed.consumed];
        self.head.add(self.at, consumed);
        // So much may be read at once that a copy which was made meanwhile would be too far from the next mark.
        let mut mark = (2 * self.at).max(HEAD as u64);
        while let Ok(read) = usize::try_from(mark - self.at)
            && read < consumed.len()
        {
            if let Some(tail) = print(&consumed[read.saturating_sub(TAIL)..read]) {
                self.marks.add(mark, tail);
            }
            mark *= 2;
        }
        self.tail = tail(before, consumed);
        let base = self.at;
        self.at += framed.consumed as u64;
        if filling.is_made {
            filling.arena.truncate(from);
        } else {
            framer.settle(
                &mut filling.arena,
                from,
                &framed,
                &mut filling.records[first..],
            );
        }
        let records = first..filling.records.len();
        if let Some(tail) = self.tail() {
            self.marks.add(self.at, tail);
        }
        // After that: what a position remembers of the half way is half of the way to where it stands.
        let end = self.position();
        filling.add_run(&self.origin, self.id, base, records, &skipped, end);
        Ok(Taken::Bytes(framed.consumed as u64))
    }
}

/// So many bytes of a hole, for the books.
pub fn hole(bytes: u64) -> Skipped {
    Skipped {
        hole: Count { lines: 0, bytes },
        ..Skipped::default()
    }
}

/// Where the last line that is complete within `size` bytes ends, and whether that is inside a line because none ends within the last
/// `longest` bytes.
pub fn end_of_lines(
    file: &File,
    size: u64,
    longest: usize,
    framers: &Framers,
) -> io::Result<(u64, bool)> {
    let mut block = vec![0; ARENA_BYTES];
    let beginning = &mut [0; 2][..usize::try_from(size).map_or(2, |size| size.min(2))];
    file.read_exact_at(beginning, 0)?;
    let framer = framers.of(framer::first(beginning));
    let mut end = size;
    while end > 0 && size - end < longest as u64 {
        let len = usize::try_from(end).map_or(block.len(), |end| end.min(block.len()));
        let start = end - len as u64;
        file.read_exact_at(&mut block[..len], start)?;
        if let Some(line_end) = framer.find_last_line_end(&block[..len], start) {
            return Ok((start + line_end as u64, false));
        }
        if start == 0 {
            end = 0;
            break;
        }
        // It may lie across two blocks.
        end = start + framer.line_end() as u64 - 1;
    }
    Ok(if end == 0 { (0, false) } else { (size, true) })
}

impl Head {
    /// `bytes` stand at `at`; only what continues the first bytes counts.
    fn add(&mut self, at: u64, bytes: &[u8]) {
        if at == self.len as u64 && self.len < HEAD {
            let bytes = &bytes[..bytes.len().min(HEAD - self.len)];
            self.hasher.update(bytes);
            self.len += bytes.len();
        }
    }

    fn print(&self) -> Option<Print> {
        let len = u32::try_from(self.len).ok().filter(|&len| len > 0)?;
        let crc = self.hasher.clone().finalize();
        Some(Print { len, crc })
    }
}

/// Nanoseconds since 1970, a little in the past: file systems keep time coarsely.
fn nanos_now() -> i64 {
    const TICK: Duration = Duration::from_millis(20);
    let since = (SystemTime::now() - TICK).duration_since(UNIX_EPOCH);
    since.map_or(0, |at| i64::try_from(at.as_nanos()).unwrap_or(i64::MAX))
}

/// The print of the last [`TAIL`] bytes of `before` and `bytes`.
fn tail(before: &[u8], bytes: &[u8]) -> Option<Print> {
    let bytes = &bytes[bytes.len().saturating_sub(TAIL)..];
    let before = &before[before.len().saturating_sub(TAIL - bytes.len())..];
    let len = u32::try_from(before.len() + bytes.len()).ok()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(before);
    hasher.update(bytes);
    let crc = hasher.finalize();
    (len > 0).then_some(Print { len, crc })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::frame::settings::LineSettings;

    #[test]
    fn the_last_bytes_are_kept_over_short_and_long_reads() {
        let text: Vec<u8> = (0..2000u32).map(|n| (n % 251) as u8).collect();
        for step in [1, 7, 255, 256, 257, 1000] {
            let mut known = None;
            let mut head = Head::default();
            let mut at = 0;
            for bytes in text.chunks(step) {
                let before = &text[..usize::try_from(at).unwrap()];
                let before = &before[before.len().saturating_sub(TAIL)..];
                assert_eq!(print(before), known);
                known = tail(before, bytes);
                head.add(at, bytes);
                at += bytes.len() as u64;
                let read = &text[..usize::try_from(at).unwrap()];
                assert_eq!(known, print(&read[read.len().saturating_sub(TAIL)..]));
                assert_eq!(head.print(), print(&read[..read.len().min(HEAD)]));
            }
        }
    }

    #[test]
    fn a_file_is_not_begun_in_the_middle_of_what_was_written_since_it_was_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let seek = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let file = File::open(&path).unwrap();
            let shared: Arc<Path> = path.as_path().into();
            let origin = Arc::new(Origin {
                input: "in".into(),
                path: Some(shared.clone()),
            });
            let look = Look::of(&file).unwrap();
            let mut source = Source::new(SourceId(1), origin, shared, look, Instant::now());
            let position = Position {
                offset: 8,
                tail: print(b"one\ntwo\n"),
                ..Position::default()
            };
            source.seek(&position, &file).map_err(|error| error.kind())
        };
        assert_eq!(seek("one\ntwo\nthree\n"), Ok(()));
        assert_eq!(seek("another line\n"), Err(io::ErrorKind::InvalidData));
        assert_eq!(seek("new\n"), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn the_end_of_lines_is_found_from_behind() {
        let mut file = tempfile::tempfile().unwrap();
        let framers = Framers::new(&LineSettings::default()).unwrap();
        let mut end = |text: &[u8], longest| {
            use std::io::{Seek, Write};
            file.set_len(0).unwrap();
            file.rewind().unwrap();
            file.write_all(text).unwrap();
            end_of_lines(&file, text.len() as u64, longest, &framers).unwrap()
        };
        assert_eq!(end(b"", 10), (0, false));
        assert_eq!(end(b"half", 10), (0, false));
        assert_eq!(end(b"one\ntwo\nhalf", 10), (8, false));
        let mut long = b"one\n".to_vec();
        long.resize(3 * ARENA_BYTES, b'x');
        assert_eq!(end(&long, 4 * ARENA_BYTES), (4, false));
        assert_eq!(end(&long, ARENA_BYTES), (long.len() as u64, true));
    }
}
