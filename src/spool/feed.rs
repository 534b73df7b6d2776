//! The spool's thread: sends what lies on disk, makes it durable, and puts away what Kafka has.
//!
//! Invariant: a block is left only when it is acknowledged, or when it was found to be damaged, and that is counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::block::{Body, Found, Head, Parts, find};
use super::queue::{Cursor, RETRY, Shared};
use super::segments::{Folder, Name, PositionFile};
use super::settings::Sync;
use crate::disk::{DiskFile, advice};
use crate::flow::arena::ARENA_BYTES;
use crate::flow::budget::RECORD_OVERHEAD;
use crate::flow::{Arenas, Batch, Charge, Count, Origin, Stop};

/// How often positions are saved and segments put away: what SIGKILL repeats.
const TIDY: Duration = Duration::from_millis(100);
/// How often it looks up when there is nothing to do.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How often the position is made durable where blocks always are: what a power cut repeats.
const SYNC: Duration = Duration::from_secs(1);
/// How much is read at once, unless a block is larger.
const WINDOW: usize = 256 * 1024;
/// After a hard stop: how long the input has to hand over what it holds.
const LEAVE: Duration = Duration::from_secs(1);
/// What is dropped because it cannot be read any more.
const DAMAGED: &str = "spool_damaged";

/// What the spool's thread works with.
pub struct Feed {
    shared: Arc<Shared>,
    folder: Folder,
    file: PositionFile,
    arenas: Arenas,
    stop: Stop,
    origin: Arc<Origin>,
    window: Vec<u8>,
    /// The segment that is read.
    reading: Option<(Name, Box<dyn DiskFile>)>,
    /// When it is tried again to read, after that failed.
    again: Option<Instant>,
    saved: u64,
    /// The position that is durable, and since when.
    synced: (u64, Instant),
    tidied: Instant,
    /// What goes wrong, so that it is said once.
    trouble: Option<String>,
}

/// Sends, syncs and tidies until the input has ended and everything is acknowledged, or until the hard stop. Blocks its thread.
///
/// # Errors
/// When in the end what is left cannot be made durable.
pub fn run(mut feed: Feed) -> Result<(), String> {
    let mut hard: Option<Instant> = None;
    loop {
        let is_hard = feed.stop.is_hard();
        let mut has_more = !is_hard;
        while has_more {
            has_more = feed.feed();
            if feed.tidied.elapsed() >= TIDY {
                break;
            }
        }
        feed.tidy();
        let shared = feed.shared.clone();
        let mut state = shared.lock();
        if is_hard {
            state.sender = None;
            let since = *hard.get_or_insert_with(Instant::now);
            if state.has_ended || since.elapsed() >= LEAVE {
                break;
            }
        }
        let is_sent = state.has_ended && (state.cursor.is_none() || state.is_closed);
        if is_sent {
            // What is in the pipe is still taken.
            state.sender = None;
        }
        let acks = &shared.acks;
        if is_sent && (acks.under_way() == 0 || acks.is_given_up()) {
            break;
        }
        if has_more {
            // It was only time to tidy.
            continue;
        }
        let is_busy = state.cursor.is_some() || state.unsynced.since.is_some();
        let is_behind = acks.under_way() > 0 || acks.position() != feed.saved;
        drop(state);
        let patience = match is_busy || is_behind || is_hard {
            true => TIDY,
            false => LOOK_UP,
        };
        shared.to_feed.wait(patience);
    }
    feed.finish()
}

impl Feed {
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: Folder,
        file: PositionFile,
        (arenas, stop): (Arenas, Stop),
    ) -> Self {
        let position = shared.acks.position();
        Self {
            origin: Arc::new(Origin {
                input: shared.input.clone(),
                path: None,
            }),
            shared,
            folder,
            file,
            arenas,
            stop,
            window: Vec::new(),
            reading: None,
            again: None,
            saved: position,
            synced: (position, Instant::now()),
            tidied: Instant::now(),
            trouble: None,
        }
    }

    /// Sends a batch of blocks from disk. `false`: there is nothing to send, or it has to wait.
    pub(super) fn feed(&mut self) -> bool {
        if self.again.is_some_and(|again| Instant::now() < again) {
            return false;
        }
        let shared = self.shared.clone();
        let (cursor, len) = {
            let state = shared.lock();
            let Some(cursor) = state.cursor.filter(|_| state.has_room()) else {
                return false;
            };
            let mut segments = state.segments.iter();
            let segment = segments.find(|it| it.name == cursor.segment);
            (cursor, segment.map_or(0, |segment| segment.len))
        };
        let Some(charge) = shared.charge(ARENA_BYTES as u64) else {
            return false;
        };
        let mut taken = Taken::new(cursor);
        if let Err(error) = self.take(&mut taken, len) {
            let path = self.folder.path_of(cursor.segment);
            let error = format!("cannot read {}: {error}{}", path.display(), advice(&error));
            self.say(error);
            // What was read before is sent; if there is nothing, it is tried again after a while.
            if taken.parts.is_none() {
                self.reading = None;
                self.again = Some(Instant::now() + RETRY);
                return false;
            }
        }
        self.send(taken, charge);
        true
    }

    /// Gathers blocks into an arena, as many as fit.
    fn take(&mut self, taken: &mut Taken, len: u64) -> std::io::Result<()> {
        let segment = taken.cursor.segment;
        if self.reading.as_ref().is_none_or(|(it, _)| *it != segment) {
            self.reading = Some((segment, self.folder.read_only(segment)?));
        }
        let Some((_, file)) = &self.reading else {
            return Ok(());
        };
        let mut wanted = WINDOW;
        'window: loop {
            let left = usize::try_from(len.saturating_sub(taken.cursor.at)).unwrap_or(usize::MAX);
            self.window.resize(wanted.min(left), 0);
            let got = file.read_at(&mut self.window, taken.cursor.at)?;
            // Shorter than it was: somebody cut it.
            let is_end = got == left || got < self.window.len();
            self.window.truncate(got);
            let mut at = 0;
            loop {
                let rest = &self.window[at..];
                match find(rest, segment.life, taken.cursor.least, is_end) {
                    Found::Block(head) => match head.body(rest).and_then(Body::read) {
                        Some(body) => {
                            if !taken.add(head, body, &self.arenas, &self.origin) {
                                return Ok(());
                            }
                            at += head.size();
                        }
                        None => {
                            // Of another version: nothing of it is understood.
                            taken.is_damaged = true;
                            taken.cursor.at += head.size() as u64;
                            at += head.size();
                        }
                    },
                    Found::End if is_end => {
                        taken.cursor.at = len;
                        return Ok(());
                    }
                    Found::Torn | Found::Stale if is_end => {
                        taken.is_damaged = true;
                        taken.cursor.at = len;
                        return Ok(());
                    }
                    Found::Damage(damage) if is_end => {
                        taken.is_damaged = true;
                        taken.cursor.at += damage as u64;
                        at += damage;
                    }
                    _ if taken.parts.is_some() => return Ok(()),
                    Found::Torn | Found::End => {
                        let head = Head::read(rest, segment.life);
                        wanted = head.map_or(0, |head| head.size()).max(WINDOW);
                        continue 'window;
                    }
                    // The next block is looked for in all that follows.
                    Found::Damage(_) | Found::Stale => {
                        wanted = usize::MAX;
                        continue 'window;
                    }
                }
            }
        }
    }

    fn send(&mut self, taken: Taken, mut charge: Charge) {
        let shared = &self.shared;
        let mut state = shared.lock();
        let mut next = None;
        if let Some(at) = (state.segments.iter()).position(|it| it.name == taken.cursor.segment) {
            let following = state.segments.get(at + 1).map(|segment| segment.name);
            let segment = &mut state.segments[at];
            segment.waiting -= taken.count;
            let is_over = taken.cursor.at >= segment.len;
            let lost = match is_over {
                true => std::mem::take(&mut segment.waiting),
                false => Count::default(),
            };
            let is_new = taken.is_damaged && !std::mem::replace(&mut segment.is_damaged, true);
            next = match following {
                _ if !is_over => Some(taken.cursor),
                Some(following) => Some(Cursor {
                    segment: following,
                    at: 0,
                    least: taken.cursor.least,
                }),
                None => None,
            };
            if is_new {
                state.damaged += 1;
                let path = self.folder.path_of(taken.cursor.segment);
                tracing::error!(path = %path.display(), "a segment of the spool is damaged: what can be read of it is sent, then it is set aside beside the others as *.damaged");
            }
            if lost != Count::default() {
                let Count { lines, bytes } = lost;
                tracing::error!(input = %shared.input, lines, bytes, "lines are lost in a damaged segment of the spool");
                shared.books.spool_lost(DAMAGED, lost);
            }
        }
        if let Some(parts) = taken.parts {
            let records = parts.records.len() as u64;
            let text = parts.arena.capacity().saturating_sub(ARENA_BYTES) as u64;
            charge.grow(text + records * RECORD_OVERHEAD + parts.extras.bytes());
            let end = taken.cursor.least;
            let receipt = shared.acks.receipt(end, taken.count, true, taken.time);
            shared.books.unspooled(taken.count);
            state.send(Batch {
                arena: parts.arena,
                records: parts.records,
                runs: parts.runs,
                extras: parts.extras,
                receipt,
                charge,
            });
        }
        state.since = state.since.map(|since| since.max(taken.time));
        state.cursor = next;
    }

    /// As if it were due.
    #[cfg(test)]
    pub(super) fn tidy_now(&mut self) {
        self.is_due();
        self.tidy();
    }

    /// It is time to tidy.
    #[cfg(test)]
    pub(super) fn is_due(&mut self) {
        self.tidied = Instant::now().checked_sub(TIDY).unwrap_or(self.tidied);
    }

    /// Saves the position, syncs what is due, and puts segments away.
    fn tidy(&mut self) {
        let is_due = self.tidied.elapsed() >= TIDY;
        let every = match self.shared.settings.sync {
            Sync::Every(every) => Some(every),
            Sync::Always => Some(SYNC),
            Sync::Never => None,
        };
        if let Some(every) = every {
            let since = self.shared.lock().unsynced.since;
            if since.is_some_and(|since| since.elapsed() >= every) {
                self.sync();
            }
        }
        if !is_due {
            return;
        }
        self.tidied = Instant::now();
        let position = self.shared.acks.position();
        if position != self.saved {
            match self.file.save(position) {
                Ok(()) => self.saved = position,
                Err(error) => self.say(format!(
                    "cannot save how far the spool is sent: {error}{}; a restart would repeat lines",
                    advice(&error)
                )),
            }
        }
        if let Some(every) = every
            && self.saved != self.synced.0
            && self.synced.1.elapsed() >= every.max(SYNC)
        {
            match self.file.sync() {
                Ok(()) => self.synced = (self.saved, Instant::now()),
                Err(error) => self.say(format!("cannot sync how far the spool is sent: {error}")),
            }
        }
        self.leave(position, When::Running);
    }

    /// Makes durable what was written.
    fn sync(&mut self) {
        let unsynced = std::mem::take(&mut self.shared.lock().unsynced);
        let files = unsynced.files.into_iter();
        let synced = files
            .map(|(_, file)| file.sync_data())
            .fold(Ok(()), Result::and)
            .and_then(|()| self.folder.sync());
        if let Err(error) = synced {
            // A failed sync is never tried again on the same file.
            let mut state = self.shared.lock();
            state.must_roll = true;
            state.suspect();
            drop(state);
            self.say(format!(
                "the spool cannot be synced: {error}{}; what was written since the last sync survives SIGKILL, but perhaps no power cut",
                advice(&error)
            ));
        }
    }

    /// Puts away the segments of which all blocks are done, the newest only when nobody writes to it any more, and some for being written over.
    fn leave(&mut self, position: u64, when: When) {
        let mut put_by = None;
        loop {
            let next = {
                let state = self.shared.lock();
                let is_left = state.segments.len() > usize::from(when != When::Ended);
                let front = state
                    .segments
                    .front()
                    .filter(|it| is_left && it.end <= position);
                // What is still to be read of it can only be damaged.
                let is_read = state.cursor.map(|cursor| cursor.segment);
                let front = front.filter(|it| is_read != Some(it.name)).cloned();
                front.map(|front| {
                    let is_wanted = when == When::Running && put_by.is_none();
                    (is_wanted && self.shared.may_put_by(&state, &front), front)
                })
            };
            let Some((is_wanted, segment)) = next else {
                break;
            };
            if (self.reading.as_ref()).is_some_and(|(it, _)| *it == segment.name) {
                self.reading = None;
            }
            let left = match is_wanted {
                true => (self.folder.put_by(&segment)).map(|used| put_by = Some(used)),
                false => self.folder.leave(&segment),
            };
            if let Err(error) = left {
                let path = self.folder.path_of(segment.name);
                self.say(format!(
                    "cannot put {} away: {error}{}",
                    path.display(),
                    advice(&error)
                ));
                break;
            }
            let mut state = self.shared.lock();
            state.segments.pop_front();
            (state.unsynced.files).retain(|(name, _)| *name != segment.name);
        }
        let Some(used) = put_by else { return };
        match self.folder.sync() {
            Ok(()) => self.shared.lock().used.push(used),
            // Its old name may come back after a power cut: nothing is written over it. The next start removes it, if this does not.
            Err(_) => drop(self.folder.discard(&used)),
        }
    }

    /// The end: what is left is made durable.
    fn finish(mut self) -> Result<(), String> {
        let position = self.shared.acks.position();
        let (left, has_ended) = {
            let state = self.shared.lock();
            let left: Vec<Name> = state.segments.iter().map(|it| it.name).collect();
            (left, state.has_ended)
        };
        let finish = || -> std::io::Result<()> {
            for segment in left {
                self.folder.read_only(segment)?.sync_data()?;
            }
            self.folder.sync()?;
            self.file.save(position)?;
            self.file.sync()
        };
        finish().map_err(|error| {
            format!(
                "the spool cannot be made durable: {error}{}",
                advice(&error)
            )
        })?;
        self.leave(
            position,
            match has_ended {
                true => When::Ended,
                false => When::Ending,
            },
        );
        let used = std::mem::take(&mut self.shared.lock().used);
        for used in used {
            // The next start removes it, if this does not.
            let _ = self.folder.discard(&used);
        }
        Ok(())
    }

    fn say(&mut self, error: String) {
        // Said once per change: the disk is as full in a moment as it is now.
        if self.trouble.as_ref() != Some(&error) {
            tracing::error!(input = %self.shared.input, "{error}");
            self.trouble = Some(error);
        }
    }
}

/// When segments are put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Running,
    /// The input may write to the newest.
    Ending,
    Ended,
}

/// What is taken from a segment for one batch.
struct Taken {
    /// Behind it.
    cursor: Cursor,
    parts: Option<Parts>,
    count: Count,
    time: i64,
    is_damaged: bool,
}

impl Taken {
    fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            parts: None,
            count: Count::default(),
            time: 0,
            is_damaged: false,
        }
    }

    /// Adds a block; `false` when it has no room here.
    fn add(&mut self, head: Head, body: Body<'_>, arenas: &Arenas, origin: &Arc<Origin>) -> bool {
        let parts = self
            .parts
            .get_or_insert_with(|| Parts::new(arenas.take(body.text.len().max(ARENA_BYTES))));
        if !body.fits(parts) {
            return false;
        }
        body.append(parts, origin);
        if self.count == Count::default() {
            self.time = head.time;
        }
        self.count += head.count;
        self.cursor.at += head.size() as u64;
        self.cursor.least = head.number.saturating_add(1);
        true
    }
}
