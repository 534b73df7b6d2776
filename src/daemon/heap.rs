//! Memory that was needed once: given back to the system when it is quiet again.
//!
//! The C library keeps what was freed, per thread: after ten thousand files were found, or a backlog was read, a quarter of the resident
//! memory holds nothing. While much moves it will be needed again, and nothing is given back.

#![allow(unsafe_code)]

use std::time::{Duration, Instant};

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
            give_back();
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

/// malloc_trim(3). A few milliseconds for a hundred megabytes, in which threads that ask for memory wait.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes a number and locks what it looks at; memory that is in use is not touched.
    unsafe {
        libc::malloc_trim(0);
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

    #[test]
    fn what_is_in_use_stays_when_the_rest_is_given_back() {
        let kept: Vec<Vec<u8>> = (0..1000_u32).map(|at| vec![at as u8; 5000]).collect();
        let freed: Vec<Vec<u8>> = (0..1000).map(|_| vec![7; 5000]).collect();
        drop(freed);
        give_back();
        assert!(
            (0..1000_u32)
                .zip(&kept)
                .all(|(at, one)| one[..] == [at as u8; 5000])
        );
    }
}
