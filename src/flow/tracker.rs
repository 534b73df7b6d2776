//! The ledgers of one pipeline: one per file on the way in, one per partition on the way out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Ring;
use super::books::{Books, Count};
use super::ledger::{EntryId, Ledger};
use super::receipt::{Outcome, Settle};

/// Names a source within its pipeline: a file, or an assignment of a partition. Never used twice in the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u64);

/// What books say of records that were consumed and are void: whoever has their partitions consumes them again.
pub const TAKEN_BACK: &str = "taken_back";

/// The ledgers and the books of one pipeline. Locked once per batch.
pub struct Tracker<P> {
    books: Arc<Books>,
    ledgers: Mutex<Ledgers<P>>,
    /// Woken when a position moved.
    bell: Mutex<Option<Arc<dyn Ring>>>,
}

struct Ledgers<P> {
    by_source: HashMap<SourceId, Tracked<P>>,
    /// Sources whose position moved since [`Tracker::take_moved`].
    moved: Vec<SourceId>,
    /// Entries whose receipt was dropped without an answer.
    abandoned: u64,
}

struct Tracked<P> {
    ledger: Ledger<P>,
    moved: bool,
}

impl<P: Clone> Tracker<P> {
    pub fn new(books: Arc<Books>) -> Self {
        let ledgers = Ledgers {
            by_source: HashMap::new(),
            moved: Vec::new(),
            abandoned: 0,
        };
        Self {
            books,
            ledgers: Mutex::new(ledgers),
            bell: Mutex::new(None),
        }
    }

    /// Wakes `bell` whenever a position moves.
    pub fn rings(&self, bell: Arc<dyn Ring>) {
        *self.bell.lock().unwrap_or_else(PoisonError::into_inner) = Some(bell);
    }

    pub fn books(&self) -> &Arc<Books> {
        &self.books
    }

    /// A source that starts at `position`. What it had before is forgotten.
    pub fn add(&self, source: SourceId, position: P) {
        self.lock().by_source.insert(
            source,
            Tracked {
                ledger: Ledger::new(position),
                moved: false,
            },
        );
    }

    /// The source is gone; settlements that still come for it are ignored. Gives its last settled position.
    pub fn remove(&self, source: SourceId) -> Option<P> {
        self.lock()
            .by_source
            .remove(&source)
            .map(|tracked| tracked.ledger.position().clone())
    }

    /// Opens an entry for what was read up to `end`; `None` when the source is not (or no longer) known.
    /// [`Books::read`] is told by [`Tracker::reads`], once per batch.
    pub fn open(&self, source: SourceId, end: P) -> Option<EntryId> {
        self.lock()
            .by_source
            .get_mut(&source)
            .map(|tracked| tracked.ledger.open(end))
    }

    /// Lines of a batch are on their way.
    pub fn reads(&self, count: Count) {
        self.books.read(count);
    }

    /// Lines were read that are in no batch: they are settled at once. `truncated` of those that are in one were cut.
    pub fn skips(&self, outcome: &Outcome, truncated: u64) {
        self.books.skipped(outcome, truncated);
    }

    /// The settled position of a source.
    pub fn position(&self, source: SourceId) -> Option<P> {
        self.lock()
            .by_source
            .get(&source)
            .map(|tracked| tracked.ledger.position().clone())
    }

    /// The position of a source as it will be when `also` are settled too, and whether nothing of it is open then.
    pub fn position_with(&self, source: SourceId, also: &[EntryId]) -> Option<(P, bool)> {
        let guard = self.lock();
        let ledger = &guard.by_source.get(&source)?.ledger;
        let position = ledger.position_with(also).clone();
        Some((position, ledger.passes_all_with(also)))
    }

    /// How many entries of a source are not settled up to.
    pub fn open_entries(&self, source: SourceId) -> usize {
        self.lock()
            .by_source
            .get(&source)
            .map_or(0, |tracked| tracked.ledger.open_entries())
    }

    /// How many entries of all sources are not settled up to.
    pub fn all_open_entries(&self) -> usize {
        self.lock()
            .by_source
            .values()
            .map(|tracked| tracked.ledger.open_entries())
            .sum()
    }

    /// How many entries were abandoned: their batches were dropped without an answer.
    pub fn abandoned(&self) -> u64 {
        self.lock().abandoned
    }

    /// The positions that moved since the last call: what is to be saved.
    pub fn take_moved(&self, mut each: impl FnMut(SourceId, &P)) {
        let mut ledgers = self.lock();
        for source in std::mem::take(&mut ledgers.moved) {
            if let Some(tracked) = ledgers.by_source.get_mut(&source) {
                tracked.moved = false;
                tracked.ledger.shrink();
                each(source, tracked.ledger.position());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledgers<P>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Clone + Send> Settle for Tracker<P> {
    fn settle(&self, entries: &[(SourceId, EntryId)], outcome: &Outcome) {
        {
            let mut guard = self.lock();
            let ledgers = &mut *guard;
            for (source, id) in entries {
                let Some(tracked) = ledgers.by_source.get_mut(source) else {
                    continue;
                };
                if tracked.ledger.settle(*id) && !tracked.moved {
                    tracked.moved = true;
                    ledgers.moved.push(*source);
                }
            }
        }
        self.books.settled(outcome);
        if let Some(bell) = &*self.bell.lock().unwrap_or_else(PoisonError::into_inner) {
            bell.ring();
        }
    }

    fn abandon(&self, entries: &[(SourceId, EntryId)]) {
        self.lock().abandoned += entries.len() as u64;
    }

    /// The sources themselves are removed by whoever said that they are void.
    fn annul(&self, _: &[(SourceId, EntryId)], count: Count) {
        self.books.settled(&Outcome {
            dropped: vec![(TAKEN_BACK, count)],
            ..Outcome::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Receipt;

    fn tracker() -> Arc<Tracker<u64>> {
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        tracker.add(SourceId(1), 0);
        tracker
    }

    #[test]
    fn a_settled_receipt_moves_the_position_once() {
        let tracker = tracker();
        let entry = tracker.open(SourceId(1), 7).unwrap();
        let count = Count { lines: 1, bytes: 7 };
        tracker.reads(count);
        Receipt::new(tracker.clone(), vec![(SourceId(1), entry)]).settle(&Outcome::acked(count));
        let mut moved = Vec::new();
        tracker.take_moved(|source, at| moved.push((source, *at)));
        assert_eq!(moved, [(SourceId(1), 7)]);
        tracker.take_moved(|_, _| panic!("nothing moved since"));
        assert_eq!(tracker.books().entries().acked, count);
    }

    #[test]
    fn a_receipt_dropped_without_an_answer_holds_the_position() {
        let tracker = tracker();
        let first = tracker.open(SourceId(1), 7).unwrap();
        let second = tracker.open(SourceId(1), 9).unwrap();
        drop(Receipt::new(tracker.clone(), vec![(SourceId(1), first)]));
        Receipt::new(tracker.clone(), vec![(SourceId(1), second)]).settle(&Outcome::default());
        assert_eq!(tracker.position(SourceId(1)), Some(0));
        assert_eq!(tracker.abandoned(), 1);
    }

    #[test]
    fn a_source_that_is_gone_is_not_saved() {
        let tracker = tracker();
        let entry = tracker.open(SourceId(1), 7).unwrap();
        tracker.remove(SourceId(1));
        Receipt::new(tracker.clone(), vec![(SourceId(1), entry)]).settle(&Outcome::default());
        tracker.take_moved(|_, _| panic!("it is gone"));
    }
}
