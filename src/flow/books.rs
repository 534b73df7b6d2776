//! What became of every line: the books of one input.
//!
//! `seen = read + unread + lost` and `read = acked + unconfirmed + dead_lettered + filtered + dropped + spooled + in_flight`, in
//! lines and in source bytes (line ends included). All of it changes under one lock, so whoever looks finds it balanced.
//! Locked once per batch, never per line.

use std::collections::BTreeMap;
use std::ops::{AddAssign, SubAssign};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::receipt::Outcome;

/// Lines and source bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub lines: u64,
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.lines += other.lines;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Count {
    fn sub_assign(&mut self, other: Self) {
        self.lines = self.lines.saturating_sub(other.lines);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// The entries of the books at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entries {
    pub read: Count,
    pub acked: Count,
    /// Sent with acks 0.
    pub unconfirmed: Count,
    pub dead_lettered: Count,
    pub filtered: Count,
    pub dropped: BTreeMap<&'static str, Count>,
    pub spooled: Count,
    pub in_flight: Count,
    /// Bytes that are known to exist and were not read yet.
    pub unread_bytes: u64,
    /// Bytes that vanished before they could be read, by cause (`truncated`, `deleted`, `unreadable`). Nobody counted their lines.
    pub lost: BTreeMap<&'static str, u64>,
    /// Lines of which only the beginning was kept.
    pub truncated: u64,
    /// Lines that were handed to Kafka again by this process, and may therefore stand there twice.
    pub resent: u64,
    /// How often the Kafka client was built anew.
    pub rebuilds: u64,
}

impl Entries {
    /// Whether everything that was read is accounted for.
    pub fn balanced(&self) -> bool {
        let mut settled = self.in_flight;
        for part in [
            self.acked,
            self.unconfirmed,
            self.dead_lettered,
            self.filtered,
            self.spooled,
        ] {
            settled += part;
        }
        for part in self.dropped.values() {
            settled += *part;
        }
        settled == self.read
    }

    fn settle(&mut self, outcome: &Outcome) {
        self.acked += outcome.acked;
        self.unconfirmed += outcome.unconfirmed;
        self.dead_lettered += outcome.dead_lettered;
        self.filtered += outcome.filtered;
        for (reason, count) in &outcome.dropped {
            *self.dropped.entry(reason).or_default() += *count;
        }
        self.in_flight -= outcome.total();
    }

    /// Everything that this input ever saw, in bytes.
    pub fn seen_bytes(&self) -> u64 {
        self.read.bytes + self.unread_bytes + self.lost.values().sum::<u64>()
    }
}

/// The books of one input.
#[derive(Debug, Default)]
pub struct Books(Mutex<Entries>);

impl Books {
    pub fn new() -> Self {
        Self::default()
    }

    /// A consistent copy.
    pub fn entries(&self) -> Entries {
        self.lock().clone()
    }

    /// Lines were read and are on their way; they are unread no longer.
    pub fn read(&self, count: Count) {
        let mut entries = self.lock();
        entries.unread_bytes = entries.unread_bytes.saturating_sub(count.bytes);
        entries.read += count;
        entries.in_flight += count;
    }

    /// Lines were read and accounted for at once. `truncated`: how many others were cut.
    pub fn skipped(&self, outcome: &Outcome, truncated: u64) {
        let mut entries = self.lock();
        let count = outcome.total();
        entries.unread_bytes = entries.unread_bytes.saturating_sub(count.bytes);
        entries.read += count;
        entries.in_flight += count;
        entries.truncated += truncated;
        entries.settle(outcome);
    }

    /// Lines were read and lie on disk; they are unread no longer.
    pub fn spooled(&self, count: Count) {
        let mut entries = self.lock();
        entries.unread_bytes = entries.unread_bytes.saturating_sub(count.bytes);
        entries.read += count;
        entries.spooled += count;
    }

    /// Lines that lay on disk are on their way.
    pub fn unspooled(&self, count: Count) {
        let mut entries = self.lock();
        entries.spooled -= count;
        entries.in_flight += count;
    }

    /// Lines that were on their way lie on disk, and will not be sent by this process.
    pub fn spooled_again(&self, count: Count) {
        let mut entries = self.lock();
        entries.in_flight -= count;
        entries.spooled += count;
    }

    /// Lines that lay on disk cannot be read any more.
    pub fn spool_lost(&self, reason: &'static str, count: Count) {
        let mut entries = self.lock();
        entries.spooled -= count;
        *entries.dropped.entry(reason).or_default() += count;
    }

    /// What was on its way is accounted for.
    pub fn settled(&self, outcome: &Outcome) {
        self.lock().settle(outcome);
    }

    /// How many bytes are known to exist and were not read yet.
    pub fn set_unread(&self, bytes: u64) {
        self.lock().unread_bytes = bytes;
    }

    /// Bytes vanished before they could be read.
    pub fn lost(&self, cause: &'static str, bytes: u64) {
        *self.lock().lost.entry(cause).or_default() += bytes;
    }

    /// Lines were handed to Kafka again.
    pub fn resent(&self, lines: u64) {
        self.lock().resent += lines;
    }

    /// The client was built anew.
    pub fn rebuilt(&self) {
        self.lock().rebuilds += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_balance_at_every_step() {
        let books = Books::new();
        let ten = Count {
            lines: 10,
            bytes: 100,
        };
        books.read(ten);
        assert!(books.entries().balanced());
        let outcome = Outcome {
            acked: Count {
                lines: 7,
                bytes: 70,
            },
            dead_lettered: Count {
                lines: 2,
                bytes: 20,
            },
            dropped: vec![(
                "too_large",
                Count {
                    lines: 1,
                    bytes: 10,
                },
            )],
            ..Outcome::default()
        };
        books.settled(&outcome);
        let entries = books.entries();
        assert!(entries.balanced());
        assert_eq!(entries.in_flight, Count::default());
        books.spooled(ten);
        assert!(books.entries().balanced());
        books.unspooled(outcome.acked);
        assert!(books.entries().balanced());
        books.spooled_again(outcome.acked);
        assert_eq!(books.entries().spooled, ten);
        books.spool_lost("spool_damaged", ten);
        let entries = books.entries();
        assert!(entries.balanced());
        assert_eq!(entries.spooled, Count::default());
    }
}
