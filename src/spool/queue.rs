//! The queue that both threads of a spool share, and the input's end of it.
//!
//! Invariant: while `cursor` is somewhere, blocks wait to be sent, and nobody but [`super::feed`] sends. Whoever sends holds the lock.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Error;
use super::acks::Acks;
use super::block::{self, Contents, HEAD};
use super::feed::Feed;
use super::segments::{Folder, Recovered, Segment};
use super::settings::{Mode, SpoolSettings, Sync};
use crate::disk::{Disk, DiskFile, advice};
use crate::flow::arena::ARENA_BYTES;
use crate::flow::budget::RECORD_OVERHEAD;
use crate::flow::{
    Arena, Arenas, Batch, Bell, Books, Budget, Charge, Count, Extras, Record, Ring, Run, Sender,
    Share, Stop, TrySend, batch,
};

/// How often it is tried again to write.
pub(super) const RETRY: Duration = Duration::from_millis(500);
/// A spool has so many segments when it is full,
const SEGMENTS: u64 = 16;
/// unless they would be smaller or larger than this, in bytes.
const SEGMENT: (u64, u64) = (64 << 10, 16 << 20);

/// What a spool is made of.
pub struct Ends {
    pub disk: Arc<dyn Disk>,
    /// Its folder: see [`super::folder`].
    pub folder: PathBuf,
    pub settings: SpoolSettings,
    /// The input's name.
    pub input: Arc<str>,
    pub books: Arc<Books>,
    pub share: Share,
    pub arenas: Arenas,
    /// The pipe has to ring `to_feed` when there is room.
    pub sender: Sender<Batch>,
    /// The one bell of the input's thread.
    pub to_input: Arc<Bell>,
    /// The one bell of the spool's thread.
    pub to_feed: Arc<Bell>,
    pub stop: Stop,
}

/// Opens a spool: the input's end, what its thread needs, what can be looked at, and what the input reads into: that is out of the way of what
/// is in flight, so that it can be filled when nothing else can.
///
/// # Errors
/// A folder that cannot be made, read or written.
pub fn open(ends: Ends) -> Result<(Writer, Feed, Facts, Share), Error> {
    let (folder, found, file) = Folder::open(ends.disk, &ends.folder)?;
    let room = Arc::new(Gate::new(ends.to_input.clone()));
    let acks = Acks::new(ends.books.clone(), found.position, room.clone());
    let budget = Arc::new(Gate::new(ends.to_feed.clone()));
    ends.share.rings(budget.clone());
    ends.stop.rings(&(ends.to_feed.clone() as Arc<dyn Ring>));
    say(&ends.input, &found);
    ends.books.spooled(found.count);
    let state = State {
        sender: Some(ends.sender),
        is_closed: false,
        has_ended: false,
        cursor: found.begin.map(|(segment, at)| Cursor {
            segment,
            at,
            least: found.position,
        }),
        since: found.oldest,
        segments: found.segments.iter().cloned().collect(),
        next: found.next,
        unsynced: Unsynced::default(),
        must_roll: false,
        damaged: found.damaged,
    };
    let shared = Arc::new(Shared {
        segment: (ends.settings.max_size / SEGMENTS).clamp(SEGMENT.0, SEGMENT.1),
        settings: ends.settings,
        input: ends.input,
        books: ends.books,
        reserved: reserve(&ends.share),
        share: ends.share,
        acks,
        room,
        budget,
        to_feed: ends.to_feed,
        state: Mutex::new(state),
    });
    let writer = Writer {
        shared: shared.clone(),
        folder: folder.clone(),
        block: Vec::new(),
        active: None,
        trouble: None,
    };
    let facts = Facts {
        shared: shared.clone(),
        found: found.count,
        cut: found.cut,
        lost: found.lost,
    };
    let feed = Feed::new(shared, folder, file, (ends.arenas, ends.stop));
    // One hand is filled at a time, and the first one always gets what it asks for.
    let (_, mut shares) = Budget::split(0, 1);
    Ok((writer, feed, facts, shares.remove(0)))
}

fn say(input: &str, found: &Recovered) {
    if found.cut > 0 {
        tracing::warn!(
            input,
            bytes = found.cut,
            "a block that was being written when the daemon ended was cut off the spool: it was not accepted"
        );
    }
    if found.count != Count::default() {
        let Count { lines, bytes } = found.count;
        tracing::info!(
            input,
            lines,
            bytes,
            "the spool holds lines of before; they are sent first"
        );
    }
}

/// What the input reads into is charged once and for all.
fn reserve(share: &Share) -> Option<Charge> {
    let mut charge = share.try_take(0)?;
    charge.grow(2 * ARENA_BYTES as u64);
    Some(charge)
}

/// What both threads know.
pub(super) struct Shared {
    pub settings: SpoolSettings,
    /// Bytes after which another segment is begun.
    segment: u64,
    pub input: Arc<str>,
    pub books: Arc<Books>,
    pub share: Share,
    reserved: Option<Charge>,
    pub acks: Arc<Acks>,
    /// Rung when something is acknowledged, while the input waits for room.
    room: Arc<Gate>,
    /// Rung when budget is given back, while the feed waits for it.
    budget: Arc<Gate>,
    pub to_feed: Arc<Bell>,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Absent: nothing more is sent.
    pub sender: Option<Sender<Batch>>,
    /// Nobody takes batches any more.
    pub is_closed: bool,
    /// The input has ended.
    pub has_ended: bool,
    /// The first block that waits to be sent.
    pub cursor: Option<Cursor>,
    /// When it was written, or one before it.
    pub since: Option<i64>,
    /// Oldest first.
    pub segments: VecDeque<Segment>,
    /// The number of the next block.
    next: u64,
    pub unsynced: Unsynced,
    /// A sync failed: what is in the newest segment may not be written to again.
    pub must_roll: bool,
    pub damaged: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub segment: u64,
    pub at: u64,
    /// The block's number, or one before it.
    pub least: u64,
}

/// What was written and may not survive a power cut.
#[derive(Default)]
pub(super) struct Unsynced {
    pub files: Vec<(u64, Arc<dyn DiskFile>)>,
    pub since: Option<Instant>,
}

/// Passes rings on only while they are waited for: every settled batch rings.
pub struct Gate {
    is_awaited: AtomicBool,
    bell: Arc<dyn Ring>,
}

impl Gate {
    pub fn new(bell: Arc<dyn Ring>) -> Self {
        Self {
            is_awaited: AtomicBool::new(false),
            bell,
        }
    }

    pub fn set(&self, is_awaited: bool) {
        self.is_awaited.store(is_awaited, Ordering::SeqCst);
    }
}

impl Ring for Gate {
    fn ring(&self) {
        if self.is_awaited.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Budget for a batch to be sent. Where nothing is under way it is given whatever it is; `None`: the bell of the feed rings.
    pub fn charge(&self, bytes: u64) -> Option<Charge> {
        let take = || {
            self.share.try_take(bytes).or_else(|| {
                let reserved = self.reserved.as_ref().map_or(0, Charge::bytes);
                if self.share.used() > reserved {
                    return None;
                }
                let mut charge = self.share.try_take(0)?;
                charge.grow(bytes);
                Some(charge)
            })
        };
        let charge = take().or_else(|| {
            self.budget.set(true);
            take()
        });
        if charge.is_some() {
            self.budget.set(false);
        }
        charge
    }

    /// Bytes of the segments that hold anything that is not done.
    fn used(&self, state: &State) -> u64 {
        let position = self.acks.position();
        let open = state.segments.iter().filter(|it| it.end > position);
        open.map(|segment| segment.len).sum()
    }

    fn is_full(&self, state: &State, more: u64) -> bool {
        let used = self.used(state);
        used > 0 && used + more > self.settings.max_size
    }
}

impl State {
    /// Hands a batch to the pipe; there is room.
    pub fn send(&mut self, batch: Batch) {
        let Some(sender) = &self.sender else {
            batch.receipt.forgo();
            return;
        };
        match sender.try_send(batch) {
            TrySend::Sent => {}
            TrySend::Full(batch) | TrySend::Closed(batch) => {
                self.is_closed = true;
                batch.receipt.forgo();
            }
        }
    }

    pub fn has_room(&self) -> bool {
        self.sender.as_ref().is_some_and(Sender::has_room)
    }
}

/// What an input hands on.
pub struct Parcel {
    pub arena: Arena,
    /// The values of the records, where they are not in the arena.
    pub made: Option<Vec<u8>>,
    pub records: Vec<Record>,
    pub runs: Vec<Run>,
    pub extras: Extras,
    /// Of the share that [`open`] gave.
    pub charge: Charge,
}

/// Why a parcel was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotTaken {
    /// The spool is full, or cannot be written: the input's bell rings, or it is to be tried again after a while.
    Later,
    /// Nobody takes batches any more.
    Closed,
}

/// The input's end. Dropping it lets the spool end when it is empty.
pub struct Writer {
    shared: Arc<Shared>,
    folder: Folder,
    /// Used again and again.
    block: Vec<u8>,
    active: Option<Active>,
    /// Since when nothing can be written, and when that was tried last.
    trouble: Option<(Instant, String)>,
}

/// The segment that is written to.
struct Active {
    file: Arc<dyn DiskFile>,
    first: u64,
    len: u64,
}

impl Writer {
    /// Whether a parcel is worth a try.
    pub fn is_worth_a_try(&self) -> bool {
        let wait = self.trouble.as_ref();
        wait.is_none_or(|(tried, _)| tried.elapsed() >= RETRY)
    }

    /// Takes what is in `hand`, which is empty then.
    ///
    /// # Errors
    /// When it is not taken; it is still in `hand`.
    pub fn put(&mut self, hand: &mut Option<Parcel>) -> Result<(), NotTaken> {
        let Some(parcel) = hand.as_ref() else {
            return Ok(());
        };
        let (count, bytes) = (batch::count(&parcel.records), parcel.weight());
        let (time, least) = (
            now(),
            HEAD + parcel.text().len() + parcel.records.len() * 20,
        );
        let shared = self.shared.clone();
        let number = {
            let mut state = shared.lock();
            if state.is_closed {
                return Err(NotTaken::Closed);
            }
            let number = state.next;
            if shared.settings.mode == Mode::Overflow
                && state.cursor.is_none()
                && state.has_room()
                && let Some(charge) = shared.charge(bytes)
            {
                let receipt = shared.acks.receipt(number, count, false, time);
                shared.books.read(count);
                if let Some(parcel) = hand.take() {
                    state.send(parcel.into_batch(receipt, charge));
                }
                return Ok(());
            }
            // Told first, looked at again after: what is acknowledged in between is not missed.
            if shared.is_full(&state, least as u64) {
                shared.room.set(true);
                if shared.is_full(&state, least as u64) {
                    return Err(NotTaken::Later);
                }
            }
            shared.room.set(false);
            if std::mem::take(&mut state.must_roll) {
                self.active = None;
            }
            number
        };
        let written = self.write((number, time, count), parcel);
        if let Err(error) = &written {
            let error = format!("{error}{}", advice(error));
            let is_said = self.trouble.as_ref().is_some_and(|(_, it)| *it == error);
            if !is_said {
                tracing::error!(input = %shared.input, error, "the spool cannot be written; the input waits");
            }
            self.trouble = Some((Instant::now(), error));
        }
        let Ok(at) = written else {
            return Err(NotTaken::Later);
        };
        if self.trouble.take().is_some() {
            tracing::info!(input = %shared.input, "the spool is written again");
        }
        let mut state = shared.lock();
        self.note(&mut state, number);
        if state.cursor.is_none()
            && state.has_room()
            && let Some(charge) = shared.charge(bytes)
        {
            let receipt = shared.acks.receipt(number + 1, count, true, time);
            shared.books.read(count);
            if let Some(parcel) = hand.take() {
                state.send(parcel.into_batch(receipt, charge));
            }
            return Ok(());
        }
        *hand = None;
        shared.books.spooled(count);
        if let Some(segment) = state.segments.back_mut() {
            segment.waiting += count;
        }
        if state.cursor.is_none() {
            state.since = Some(time);
            state.cursor = Some(Cursor {
                at,
                ..self.cursor(number)
            });
            drop(state);
            shared.to_feed.ring();
        }
        Ok(())
    }

    fn cursor(&self, least: u64) -> Cursor {
        Cursor {
            segment: self.active.as_ref().map_or(least, |active| active.first),
            at: 0,
            least,
        }
    }

    /// Writes a block behind the last one, durably if that was asked for.
    /// Gives where it begins.
    fn write(&mut self, head: (u64, i64, Count), parcel: &Parcel) -> io::Result<u64> {
        let contents = Contents {
            text: parcel.text(),
            records: &parcel.records,
            runs: &parcel.runs,
            extras: &parcel.extras,
        };
        let parts = block::parts(&mut self.block, head, &contents)
            .map_err(|_| io::Error::other("a batch of more than 4 GiB"))?;
        let len = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        let is_over = |it: &Active| it.len > 0 && it.len + len > self.shared.segment;
        let is_synced = self.shared.settings.sync == Sync::Always;
        if self.active.as_ref().is_none_or(is_over) {
            let file = self.folder.create(head.0)?;
            if is_synced {
                self.folder.sync()?;
            }
            self.active = Some(Active {
                file,
                first: head.0,
                len: 0,
            });
        }
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let at = active.len;
        // The text is written from where it is.
        let mut behind = at;
        let written = parts.into_iter().try_for_each(|part| {
            let place = behind;
            behind += part.len() as u64;
            active.file.write_at(part, place)
        });
        let synced = match &written {
            Ok(()) if is_synced => active.file.sync_data(),
            _ => Ok(()),
        };
        if written.is_err() || synced.is_err() {
            // Best effort: the next try writes over it.
            let _ = active.file.truncate(active.len);
        }
        if let Err(error) = synced {
            // Nothing is synced twice: the next try is in another segment.
            self.active = None;
            return Err(error);
        }
        written?;
        active.len += len;
        Ok(at)
    }

    /// A block was written.
    fn note(&self, state: &mut State, number: u64) {
        state.next = number + 1;
        let Some(active) = &self.active else { return };
        match state.segments.back_mut() {
            Some(segment) if segment.first == active.first => {
                segment.end = number + 1;
                segment.len = active.len;
            }
            _ => state.segments.push_back(Segment {
                first: active.first,
                end: number + 1,
                len: active.len,
                waiting: Count::default(),
                is_damaged: false,
            }),
        }
        if let Sync::Every(_) = self.shared.settings.sync {
            let unsynced = &mut state.unsynced;
            if unsynced.files.last().map(|(first, _)| *first) != Some(active.first) {
                unsynced.files.push((active.first, active.file.clone()));
            }
            if unsynced.since.is_none() {
                unsynced.since = Some(Instant::now());
                self.shared.to_feed.ring();
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.to_feed.ring();
    }
}

impl Parcel {
    fn text(&self) -> &[u8] {
        self.made.as_deref().unwrap_or(self.arena.filled())
    }

    /// Bytes that it needs in memory, for the budget.
    fn weight(&self) -> u64 {
        let made = self.made.as_ref().map_or(0, Vec::capacity);
        let more = made.saturating_sub(self.arena.capacity()) as u64;
        let records = self.records.len() as u64 * RECORD_OVERHEAD;
        self.charge.bytes() + more + records + self.extras.bytes()
    }

    fn into_batch(self, receipt: crate::flow::Receipt, charge: Charge) -> Batch {
        Batch {
            arena: self.made.map_or(self.arena, Arena::of),
            records: self.records,
            runs: self.runs,
            extras: self.extras,
            receipt,
            charge,
        }
    }
}

/// What can be looked at.
pub struct Facts {
    shared: Arc<Shared>,
    found: Count,
    cut: u64,
    lost: u64,
}

/// A moment of a spool.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct View {
    /// What the segments take that hold anything that is not done.
    pub bytes: u64,
    pub max_bytes: u64,
    pub segments: u64,
    /// Age of the oldest block that is not done.
    pub oldest: Option<Duration>,
    /// What was there at the start.
    pub found: Count,
    /// Segments in which something was damaged.
    pub damaged: u64,
    /// Bytes at the start that no block could be read in.
    pub lost: u64,
    /// Bytes of a block that a crash had interrupted.
    pub cut: u64,
}

impl Facts {
    pub fn view(&self) -> View {
        let state = self.shared.lock();
        let under_way = self.shared.acks.oldest();
        let waiting = state.since.filter(|_| state.cursor.is_some());
        let age = |time: i64| u64::try_from(now().saturating_sub(time)).unwrap_or(0);
        View {
            bytes: self.shared.used(&state),
            max_bytes: self.shared.settings.max_size,
            segments: state.segments.len() as u64,
            oldest: (under_way.into_iter().chain(waiting).min())
                .map(|time| Duration::from_millis(age(time))),
            found: self.found,
            damaged: state.damaged,
            lost: self.lost,
            cut: self.cut,
        }
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
