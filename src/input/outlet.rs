//! How an input hands its records on: it fills arenas, pays for them, opens ledger entries and sends.
//!
//! A reader asks for [`Outlet::room`], reads into the arena that it gets, and leaves its runs there; small reads of several files share
//! one arena. [`Outlet::flush`] sends what is in hand. Both wait where they must (for budget, for room in the pipe) on the input's one bell;
//! their `try_` forms do not, for readers that have something else to look after meanwhile.
//!
//! Invariant: a ledger entry is opened only for a batch that is sent in the same breath.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Position;
use super::frame::Skipped;
use crate::flow::arena::ARENA_BYTES;
use crate::flow::batch;
use crate::flow::budget::RECORD_OVERHEAD;
use crate::flow::{
    Arena, Arenas, Batch, Bell, Charge, Count, Extras, Origin, Outcome, Receipt, Record, Ring, Run,
    Sender, Share, SourceId, Span, Stop, Tracker, TrySend,
};
use crate::spool::{NotTaken, Parcel, Writer};

/// A waiting input looks up so often even when nobody rings.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Why nothing more can be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The daemon stops.
    Stopped,
    /// Nobody takes batches any more.
    Closed,
}

/// What an outlet is made of.
pub struct Ends {
    pub tracker: Arc<Tracker<Position>>,
    pub share: Share,
    pub arenas: Arenas,
    pub sender: Way,
    /// The one bell of the input's thread. The pipe has to ring it when there is room; the rest is told by [`Outlet::new`].
    pub bell: Arc<Bell>,
    pub stop: Stop,
}

/// Where batches go.
pub enum Way {
    Pipe(Sender<Batch>),
    /// To disk, and from there into the pipe.
    Spool(Box<Writer>),
}

impl From<Sender<Batch>> for Way {
    fn from(sender: Sender<Batch>) -> Self {
        Self::Pipe(sender)
    }
}

/// The way out of an input. Dropping it closes the pipe; what is in hand and was not flushed was never read, as far as anybody knows.
pub struct Outlet {
    ends: Ends,
    budget: Arc<Gate>,
    hand: Option<Filling>,
    sent: Count,
    /// What was not read is lost, so only a hard stop ends the wait for budget.
    reads_on: bool,
}

/// An arena that is being filled.
pub struct Filling {
    pub arena: Arena,
    pub records: Vec<Record>,
    runs: Vec<Run>,
    pub extras: Extras,
    /// The values of the records, one after another, where they are made: the arena has only what they are made of then.
    pub made: Vec<u8>,
    pub is_made: bool,
    /// What is in no record.
    skipped: Skipped,
    ends: Vec<(SourceId, Position)>,
    charge: Charge,
}

/// Passes rings of the budget on only while it is waited for: every settled batch rings it, and waking a reader costs more than reading.
struct Gate {
    is_awaited: AtomicBool,
    bell: Arc<dyn Ring>,
}

impl Ring for Gate {
    fn ring(&self) {
        if self.is_awaited.load(Ordering::SeqCst) {
            self.bell.ring();
        }
    }
}

impl Outlet {
    /// Asks the budget and the stop to ring the bell.
    pub fn new(ends: Ends) -> Self {
        let ring: Arc<dyn Ring> = ends.bell.clone();
        ends.stop.rings(&ring);
        let budget = Arc::new(Gate {
            is_awaited: AtomicBool::new(false),
            bell: ring,
        });
        ends.share.rings(budget.clone());
        Self {
            ends,
            budget,
            hand: None,
            sent: Count::default(),
            reads_on: false,
        }
    }

    /// For sources that cannot be read again: after a soft stop there is still budget to be waited for.
    pub fn reading_on_after_a_soft_stop(mut self) -> Self {
        self.reads_on = true;
        self
    }

    pub fn stop(&self) -> &Stop {
        &self.ends.stop
    }

    pub fn bell(&self) -> &Arc<Bell> {
        &self.ends.bell
    }

    /// Gives back memory that was not used since the last call.
    pub fn give_back_unused(&self) {
        self.ends.arenas.give_back_unused();
    }

    pub fn tracker(&self) -> &Arc<Tracker<Position>> {
        &self.ends.tracker
    }

    /// What was sent so far.
    pub fn sent(&self) -> Count {
        self.sent
    }

    /// An arena with room for at least `wanted` bytes: the one in hand, or a new one after that was sent. Waits for it.
    pub fn room(&mut self, wanted: usize) -> Result<&mut Filling, Ended> {
        while !self.make_room(wanted)? {
            let stop = &self.ends.stop;
            if stop.is_hard() || (stop.is_soft() && !self.reads_on) {
                return Err(Ended::Stopped);
            }
            self.ends.bell.wait(LOOK_UP);
        }
        self.hand.as_mut().ok_or(Ended::Stopped)
    }

    /// As [`Outlet::room`], but `None` where that would wait; the bell rings when it is worth another try.
    pub fn try_room(&mut self, wanted: usize) -> Result<Option<&mut Filling>, Ended> {
        Ok(if self.make_room(wanted)? {
            self.hand.as_mut()
        } else {
            None
        })
    }

    /// The arena in hand, that [`Outlet::room`] gave.
    pub fn hand(&mut self) -> Option<&mut Filling> {
        self.hand.as_mut()
    }

    /// Whether something is in hand that was not sent.
    pub fn holds_records(&self) -> bool {
        self.hand.as_ref().is_some_and(|hand| !hand.ends.is_empty())
    }

    /// Source bytes in hand that were not sent.
    pub fn holds_bytes(&self) -> u64 {
        self.hand.as_ref().map_or(0, |hand| {
            hand.count().bytes + hand.skipped.outcome().total().bytes
        })
    }

    /// Sends what is in hand, and waits until it is gone.
    pub fn flush(&mut self) -> Result<(), Ended> {
        while !self.try_flush()? {
            if self.ends.stop.is_hard() {
                let hand = self.hand.take().filter(|_| self.reads_on);
                if let Some(hand) = hand {
                    // It cannot be read again: it shows in the books as what was not delivered.
                    self.ends.tracker.reads(hand.count());
                    let outcome = hand.skipped.outcome();
                    self.ends.tracker.skips(&outcome, hand.skipped.truncated);
                }
                return Err(Ended::Stopped);
            }
            self.ends.bell.wait(LOOK_UP);
        }
        Ok(())
    }

    /// As [`Outlet::flush`], but `false` where that would wait; the bell rings when it is worth another try.
    pub fn try_flush(&mut self) -> Result<bool, Ended> {
        if self.hand.as_ref().is_some_and(|hand| hand.ends.is_empty()) {
            self.hand = None;
        }
        if self.hand.is_none() {
            return Ok(true);
        }
        let has_room = match &self.ends.sender {
            Way::Pipe(sender) => sender.has_room(),
            Way::Spool(writer) => writer.is_worth_a_try(),
        };
        if !has_room {
            return Ok(false);
        }
        let Some(hand) = self.hand.take() else {
            return Ok(true);
        };
        match &self.ends.sender {
            Way::Pipe(_) => self.send(hand).map(|()| true),
            Way::Spool(_) => self.spool(hand),
        }
    }

    /// Hands what was in hand to the spool, where its ledger is; `false`: it is in hand again.
    fn spool(&mut self, hand: Filling) -> Result<bool, Ended> {
        let Way::Spool(writer) = &mut self.ends.sender else {
            return Ok(false);
        };
        let count = hand.count();
        let Filling {
            arena,
            records,
            runs,
            extras,
            made,
            is_made,
            skipped,
            ends,
            charge,
        } = hand;
        let mut parcel = (!records.is_empty()).then_some(Parcel {
            arena,
            made: is_made.then_some(made),
            records,
            runs,
            extras,
            charge,
        });
        let taken = writer.put(&mut parcel);
        if taken == Err(NotTaken::Closed) {
            // It shows in the books as what was not delivered.
            self.ends.tracker.reads(count);
            return Err(Ended::Closed);
        }
        if let Some(parcel) = parcel {
            let Parcel {
                arena,
                made,
                records,
                runs,
                extras,
                charge,
            } = parcel;
            self.hand = Some(Filling {
                arena,
                records,
                runs,
                extras,
                is_made: made.is_some(),
                made: made.unwrap_or_default(),
                skipped,
                ends,
                charge,
            });
            return Ok(false);
        }
        if !skipped.is_empty() {
            let tracker = &self.ends.tracker;
            tracker.skips(&skipped.outcome(), skipped.truncated);
        }
        self.sent += count;
        Ok(true)
    }

    fn send(&mut self, hand: Filling) -> Result<(), Ended> {
        let count = hand.count();
        let Filling {
            mut arena,
            records,
            runs,
            extras,
            made,
            is_made,
            skipped,
            ends,
            mut charge,
        } = hand;
        if is_made {
            let more = made.capacity().saturating_sub(arena.capacity());
            charge.grow(more as u64);
            arena = Arena::of(made);
        }
        charge.grow(records.len() as u64 * RECORD_OVERHEAD + extras.bytes());
        // Only now, when nothing is between it and the pipe: an entry whose batch was never sent would hold its position for ever.
        let entries = ends
            .into_iter()
            .filter_map(|(source, end)| Some((source, self.ends.tracker.open(source, end)?)))
            .collect();
        let receipt = Receipt::new(self.ends.tracker.clone(), entries);
        if !skipped.is_empty() {
            let tracker = &self.ends.tracker;
            tracker.skips(&skipped.outcome(), skipped.truncated);
        }
        if records.is_empty() {
            // Nobody else has to answer for it.
            receipt.settle(&Outcome::default());
            return Ok(());
        }
        let mut batch = Batch {
            arena,
            records,
            runs,
            extras,
            receipt,
            charge,
        };
        self.ends.tracker.reads(count);
        let Way::Pipe(sender) = &self.ends.sender else {
            return Err(Ended::Closed);
        };
        // There was room, and nobody else sends: the loop is for the type's sake.
        loop {
            batch = match sender.try_send(batch) {
                TrySend::Sent => break,
                TrySend::Closed(_) => return Err(Ended::Closed),
                TrySend::Full(batch) => batch,
            };
            if self.ends.stop.is_hard() {
                return Err(Ended::Stopped);
            }
            self.ends.bell.wait(LOOK_UP);
        }
        self.sent += count;
        Ok(())
    }

    /// Makes sure that something with enough room is in hand; `false` when it would have to wait for that.
    fn make_room(&mut self, wanted: usize) -> Result<bool, Ended> {
        if let Some(hand) = &self.hand {
            if hand.arena.room() >= wanted && hand.made.len() < ARENA_BYTES {
                return Ok(true);
            }
            if !self.try_flush()? {
                return Ok(false);
            }
        }
        let capacity = wanted.max(ARENA_BYTES);
        let share = &self.ends.share;
        let charge = share.try_take(capacity as u64).or_else(|| {
            // Told first, tried again after: what is given back in between is not missed.
            self.budget.is_awaited.store(true, Ordering::SeqCst);
            share.try_take(capacity as u64)
        });
        let Some(charge) = charge else {
            return Ok(false);
        };
        self.budget.is_awaited.store(false, Ordering::SeqCst);
        self.hand = Some(Filling {
            arena: self.ends.arenas.take(capacity),
            records: Vec::new(),
            runs: Vec::new(),
            extras: Extras::default(),
            made: Vec::new(),
            is_made: false,
            skipped: Skipped::default(),
            ends: Vec::new(),
            charge,
        });
        Ok(true)
    }
}

impl Filling {
    /// As [`Batch::count`].
    fn count(&self) -> Count {
        batch::count(&self.records)
    }

    /// Notes that `records` are what the source holds after `base`, but for what was `skipped`, and that it stands at `end` after them.
    pub fn add_run(
        &mut self,
        origin: &Arc<Origin>,
        source: SourceId,
        base: u64,
        records: Range<usize>,
        skipped: &Skipped,
        end: Position,
    ) {
        if records.is_empty() && skipped.is_empty() {
            return;
        }
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        if !records.is_empty() {
            self.runs.push(Run {
                origin: origin.clone(),
                base,
                records: small(records.start)..small(records.end),
            });
        }
        self.skip(source, skipped, end);
    }

    /// Adds one record of `bytes` source bytes that begins at `at` of its source and ends `lines` lines.
    pub fn add_record(
        &mut self,
        origin: &Arc<Origin>,
        source: SourceId,
        value: Span,
        (at, count): (u64, Count),
    ) {
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let index = small(self.records.len() as u64);
        let same = |run: &Run| Arc::ptr_eq(&run.origin, origin) && at - run.base < 1 << 30;
        let base = match self.runs.last_mut().filter(|run| same(run)) {
            Some(run) => {
                run.records.end = index + 1;
                run.base
            }
            None => {
                self.runs.push(Run {
                    origin: origin.clone(),
                    base: at,
                    records: index..index + 1,
                });
                at
            }
        };
        self.records.push(Record {
            value,
            at: small(at - base),
            bytes: small(count.bytes),
            lines: small(count.lines),
        });
        let end = Position {
            offset: at + count.bytes,
            ..Position::default()
        };
        self.skip(source, &Skipped::default(), end);
    }

    /// Notes that the source stands at `end`, after what was skipped.
    pub fn skip(&mut self, source: SourceId, skipped: &Skipped, end: Position) {
        self.skipped += *skipped;
        match self.ends.last_mut() {
            // The batch is settled as one: an entry up to the last end says it all.
            Some((same, reached)) if *same == source => *reached = end,
            _ => self.ends.push((source, end)),
        }
    }
}
