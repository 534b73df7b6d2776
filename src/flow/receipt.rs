//! The promise that comes with a batch: somebody will say what became of it.

use std::sync::Arc;

use super::books::Count;
use super::ledger::EntryId;
use super::tracker::SourceId;

/// What became of a batch, in lines and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Confirmed by the broker, or durable on disk.
    pub acked: Count,
    /// Sent, with nobody asked to confirm.
    pub unconfirmed: Count,
    pub dead_lettered: Count,
    pub filtered: Count,
    pub dropped: Vec<(&'static str, Count)>,
}

impl Outcome {
    /// Everything confirmed.
    pub fn acked(count: Count) -> Self {
        Self {
            acked: count,
            ..Self::default()
        }
    }

    /// The sum over all ends.
    pub fn total(&self) -> Count {
        let mut total = self.acked;
        total += self.unconfirmed;
        total += self.dead_lettered;
        total += self.filtered;
        for (_, count) in &self.dropped {
            total += *count;
        }
        total
    }
}

/// Who keeps the ledgers. Swapped for a fake one in tests of sinks.
pub trait Settle: Send + Sync {
    /// These entries are accounted for: positions may pass them.
    fn settle(&self, entries: &[(SourceId, EntryId)], outcome: &Outcome);
    /// These entries will never be accounted for: positions must not pass them.
    fn abandon(&self, entries: &[(SourceId, EntryId)]);
    /// Whoever keeps the ledgers took these entries back: they were as if never opened. `count`: what they counted for.
    fn annul(&self, entries: &[(SourceId, EntryId)], count: Count);
}

/// The right to settle the entries of one batch, once.
///
/// Dropped without [`Receipt::settle`] it is loud: the entries are abandoned, the ledger does not pass them, and they are read again
/// at the next start.
pub struct Receipt {
    ledgers: Option<Arc<dyn Settle>>,
    entries: Vec<(SourceId, EntryId)>,
}

impl Receipt {
    pub fn new(ledgers: Arc<dyn Settle>, entries: Vec<(SourceId, EntryId)>) -> Self {
        Self {
            ledgers: Some(ledgers),
            entries,
        }
    }

    /// Everything in the batch has come to the ends that `outcome` counts.
    pub fn settle(mut self, outcome: &Outcome) {
        if let Some(ledgers) = self.ledgers.take() {
            ledgers.settle(&self.entries, outcome);
        }
    }

    /// Gives the entries up knowingly, at a hard stop: the position does not pass them, and whoever stops says how many lines are left.
    pub fn forgo(mut self) {
        if let Some(ledgers) = self.ledgers.take() {
            ledgers.abandon(&self.entries);
        }
    }

    /// The entries are void, as whoever opened them said: they are not waited for, and what they counted for is read again by whoever has the
    /// partitions now.
    pub fn annul(mut self, count: Count) {
        if let Some(ledgers) = self.ledgers.take() {
            ledgers.annul(&self.entries, count);
        }
    }

    /// The entries that this receipt answers for.
    pub fn entries(&self) -> &[(SourceId, EntryId)] {
        &self.entries
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(ledgers) = self.ledgers.take() {
            tracing::error!(
                entries = self.entries.len(),
                "a batch was given up before anybody confirmed it; its lines are read again at the next start"
            );
            ledgers.abandon(&self.entries);
        }
    }
}
