//! Memory that was needed once: given back to the system when it is quiet again.
//!
//! The C library keeps what was freed, per thread: after ten thousand files were found, or a backlog was read, a quarter of the resident
//! memory holds nothing. While much moves it will be needed again, and nothing is given back.

use std::time::{Duration, Instant};

use crate::kafka::native::give_back_what_is_free;

/// How often it is looked whether it is quiet.
const LOOK: Duration = Duration::from_secs(5);
/// It is quiet when fewer bytes than this came to their end between two looks.
const QUIET: u64 = 1 << 20;

/// Whether there is something to give back.
pub struct Heap {
    looked: Instant,
    /// Bytes that had come to their end by then.
    moved: u64,
    /// Since memory was given back last, more than a little moved; so it did at the start.
    is_used: bool,
}

impl Heap {
    pub fn new(now: Instant) -> Self {
        Self {
            looked: now,
            moved: 0,
            is_used: true,
        }
    }

    /// To be called every now and then; `moved` tells how many bytes have come to their end so far.
    pub fn look(&mut self, now: Instant, moved: impl FnOnce() -> u64) {
        if self.is_due(now, moved) {
            give_back_what_is_free();
        }
    }

    fn is_due(&mut self, now: Instant, moved: impl FnOnce() -> u64) -> bool {
        if now.saturating_duration_since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        let moved = moved();
        let since = moved.saturating_sub(std::mem::replace(&mut self.moved, moved));
        if since >= QUIET {
            self.is_used = true;
            return false;
        }
        std::mem::take(&mut self.is_used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_once_after_the_start_and_after_each_time_that_much_moved() {
        let start = Instant::now();
        let mut heap = Heap::new(start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!heap.is_due(at(4), || 0), "before the first look");
        assert!(!heap.is_due(at(5), || QUIET), "busy");
        assert!(heap.is_due(at(10), || QUIET + 1), "quiet");
        assert!(
            !heap.is_due(at(15), || QUIET + 2),
            "nothing new to give back"
        );
        assert!(!heap.is_due(at(20), || 3 * QUIET), "busy again");
        assert!(!heap.is_due(at(22), || 3 * QUIET), "too early");
        assert!(heap.is_due(at(25), || 3 * QUIET), "quiet again");
        assert!(!heap.is_due(at(30), || 3 * QUIET + 5));
    }
}
