//! What Kafka has of a spool: the ledger whose position is a block's number.
//!
//! Invariant: whatever is given up while it stands on disk is `spooled` in the books again, and not lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::flow::{Count, EntryId, Outcome, Receipt, Ring, Settle, SourceId, Tracker};

/// The only source of a spool.
const SOURCE: SourceId = SourceId(0);

/// Settles batches that were sent.
pub(super) struct Acks {
    tracker: Tracker<u64>,
    open: Mutex<HashMap<EntryId, Open>>,
}

/// A batch that is under way.
struct Open {
    count: Count,
    is_on_disk: bool,
    /// When it was written, in milliseconds since 1970.
    time: i64,
}

impl Acks {
    /// Blocks before `position` are done. `bell` rings when it moves.
    pub fn new(books: Arc<crate::flow::Books>, position: u64, bell: Arc<dyn Ring>) -> Arc<Self> {
        let tracker = Tracker::new(books);
        tracker.add(SOURCE, position);
        tracker.rings(bell);
        let open = Mutex::default();
        Arc::new(Self { tracker, open })
    }

    /// A batch that ends before the block `end` is sent.
    pub fn receipt(
        self: &Arc<Self>,
        end: u64,
        count: Count,
        is_on_disk: bool,
        time: i64,
    ) -> Receipt {
        let mut entries = Vec::new();
        if let Some(entry) = self.tracker.open(SOURCE, end) {
            let open = Open {
                count,
                is_on_disk,
                time,
            };
            self.lock().insert(entry, open);
            entries.push((SOURCE, entry));
        }
        Receipt::new(self.clone(), entries)
    }

    /// Blocks before this are done.
    pub fn position(&self) -> u64 {
        self.tracker.position(SOURCE).unwrap_or(0)
    }

    /// How many batches are under way, or stand before one that is.
    pub fn under_way(&self) -> usize {
        self.tracker.open_entries(SOURCE)
    }

    /// Whether a batch was given up: the position will never pass it.
    pub fn is_given_up(&self) -> bool {
        self.tracker.abandoned() > 0
    }

    /// When the oldest batch was written that is under way.
    pub fn oldest(&self) -> Option<i64> {
        let open = self.lock();
        let on_disk = open.values().filter(|open| open.is_on_disk);
        on_disk.map(|open| open.time).min()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntryId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settle for Acks {
    fn settle(&self, entries: &[(SourceId, EntryId)], outcome: &Outcome) {
        for (_, entry) in entries {
            self.lock().remove(entry);
        }
        self.tracker.settle(entries, outcome);
    }

    /// Producers take nothing back: it is as if it was given up.
    fn annul(&self, entries: &[(SourceId, EntryId)], _: Count) {
        self.abandon(entries);
    }

    fn abandon(&self, entries: &[(SourceId, EntryId)]) {
        for (_, entry) in entries {
            let open = self.lock().remove(entry);
            if let Some(open) = open.filter(|open| open.is_on_disk) {
                self.tracker.books().spooled_again(open.count);
            }
        }
        self.tracker.abandon(entries);
    }
}
