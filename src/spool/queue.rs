//! The queue that both threads of a spool share, and the input's end of it.
//!
//! Invariant: while `cursor` is somewhere, blocks wait to be sent, and nobody but [`super::feed`] sends. Whoever sends holds the lock.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::Error;
use super::acks::Acks;
use super::block::{Contents, HEAD, Laid, Life};
use super::feed::Feed;
use super::segments::{Folder, Name, Recovered, Segment, Used};
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
/// So many used segments are put by: while one is written, another is acknowledged.
const PUT_BY: usize = 2;

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
        used: Vec::new(),
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
        lives: RandomState::new(),
        active: None,
        begun: None,
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
    /// Files that may be written over.
    pub used: Vec<Used>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub segment: Name,
    pub at: u64,
    /// The block's number, or one before it.
    pub least: u64,
}

/// What was written and may not survive a power cut.
#[derive(Default)]
pub(super) struct Unsynced {
    pub files: Vec<(Name, Arc<dyn DiskFile>)>,
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

    /// Whether a segment that is done may be written over: while what is put by can be, the disk has room for all that is not done, and for one more
    /// segment that is being written.
    pub fn may_put_by(&self, state: &State, segment: &Segment) -> bool {
        let all = self.used(state) + state.spare() + self.segment;
        // What overflows seldom is not worth the room.
        self.settings.mode == Mode::Always
            && !segment.is_damaged
            && !segment.is_suspect
            && segment.size <= self.segment
            && state.used.len() < PUT_BY
            && all + segment.size <= self.settings.max_size
    }

    fn is_full(&self, state: &State, more: u64) -> bool {
        let used = self.used(state);
        used > 0 && used + more > self.settings.max_size
    }
}

impl State {
    /// A sync failed: no file is used again that may have been meant.
    pub fn suspect(&mut self) {
        for segment in &mut self.segments {
            segment.is_suspect = true;
        }
    }

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

    /// Bytes of files that hold nothing, and are written over.
    fn spare(&self) -> u64 {
        let behind = self.segments.iter().map(|it| it.size - it.len);
        self.used.iter().map(|it| it.size).chain(behind).sum()
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
    /// Where the lives of files come from.
    lives: RandomState,
    active: Option<Active>,
    /// A segment that was begun, and of which nothing was accepted.
    begun: Option<Name>,
    /// Since when nothing can be written, and when that was tried last.
    trouble: Option<(Instant, String)>,
}

/// The segment that is written to.
struct Active {
    file: Arc<dyn DiskFile>,
    name: Name,
    len: u64,
    /// Bytes of the file.
    size: u64,
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
            state.cursor = self.active.as_ref().map(|active| Cursor {
                segment: active.name,
                at,
                least: number,
            });
            drop(state);
            shared.to_feed.ring();
        }
        Ok(())
    }

    /// Writes a block behind the last one, durably if that was asked for. Gives where it begins.
    fn write(&mut self, head: (u64, i64, Count), parcel: &Parcel) -> io::Result<u64> {
        let contents = Contents {
            text: parcel.text(),
            records: &parcel.records,
            runs: &parcel.runs,
            extras: &parcel.extras,
        };
        let laid = Laid::of(&mut self.block, &contents)
            .map_err(|_| io::Error::other("a batch of more than 4 GiB"))?;
        let is_over = |it: &Active| it.len > 0 && it.len + laid.most() > self.shared.segment;
        if self.active.as_ref().is_none_or(is_over) {
            self.active = None;
            self.active = Some(self.begin(head.0)?);
        }
        let Some(active) = &mut self.active else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let (life, at) = (active.name.life, active.len);
        let [begin, text, rest] = laid.parts(&mut self.block, life, head, contents.text);
        let behind = at + begin.len() as u64;
        let end = behind + text.len() as u64;
        let len = end + rest.len() as u64 - at;
        // The text is written from where it is.
        let written = match life.is_new() {
            true => (active.file.write_at(begin, at))
                .and_then(|()| active.file.write_at(text, behind))
                .and_then(|()| active.file.write_at(rest, end)),
            // What was there before stands behind it: so a block that has a head has all of it.
            false => (active.file.write_at(text, behind))
                .and_then(|()| active.file.write_at(rest, end))
                .and_then(|()| active.file.write_at(begin, at)),
        };
        let synced = match &written {
            Ok(()) if self.shared.settings.sync == Sync::Always => active.file.sync_data(),
            _ => Ok(()),
        };
        if written.is_err() || synced.is_err() {
            // Best effort: the next try writes over it.
            if active.file.truncate(active.len).is_ok() {
                active.size = active.len;
            }
        }
        if let Err(error) = synced {
            // Nothing is synced twice: the next try is in another segment.
            self.shared.lock().suspect();
            self.active = None;
            return Err(error);
        }
        written?;
        active.len += len;
        active.size = active.size.max(active.len);
        self.begun = None;
        Ok(at)
    }

    /// Another segment, in a file that is done if there is one.
    fn begin(&mut self, first: u64) -> io::Result<Active> {
        if let Some(begun) = self.begun {
            // There may be no other of the same number.
            self.folder.take_back(begun)?;
        }
        let used = self.shared.lock().used.pop();
        let over = used.and_then(|used| {
            let life = Life::again(self.lives.hash_one(first));
            let name = Name { first, life };
            self.begun = Some(name);
            match self.folder.create_over(&used, name) {
                Ok(file) => Some((file, name, used.size)),
                // It is worth nothing but the time that it saves.
                Err(_) => {
                    let _ = self.folder.discard(&used);
                    let _ = self.folder.take_back(name);
                    None
                }
            }
        });
        let (file, name, size) = match over {
            Some(over) => over,
            None => {
                let life = Life::NEW;
                let name = Name { first, life };
                self.begun = Some(name);
                (self.folder.create(first)?, name, 0)
            }
        };
        if self.shared.settings.sync == Sync::Always {
            self.folder.sync()?;
        }
        Ok(Active {
            file,
            name,
            len: 0,
            size,
        })
    }

    /// A block was written.
    fn note(&self, state: &mut State, number: u64) {
        state.next = number + 1;
        let Some(active) = &self.active else { return };
        match state.segments.back_mut() {
            Some(segment) if segment.name == active.name => {
                segment.end = number + 1;
                (segment.len, segment.size) = (active.len, active.size);
            }
            _ => state.segments.push_back(Segment {
                name: active.name,
                end: number + 1,
                len: active.len,
                size: active.size,
                waiting: Count::default(),
                is_damaged: false,
                is_suspect: false,
            }),
        }
        if let Sync::Every(_) = self.shared.settings.sync {
            let unsynced = &mut state.unsynced;
            if unsynced.files.last().map(|(name, _)| *name) != Some(active.name) {
                unsynced.files.push((active.name, active.file.clone()));
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
    /// What files take that are written over.
    pub spare_bytes: u64,
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
            spare_bytes: state.spare(),
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
