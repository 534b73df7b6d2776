//! How one thread is woken for several reasons at once.
//!
//! A thread that waits for bytes in files, for room in a pipe, for budget and for the end of the daemon has one bell, and all of them
//! ring it. A ring that comes while nobody waits is kept, so none is lost; several rings before a wait count as one.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Something that can be woken.
pub trait Ring: Send + Sync {
    /// Wakes it, now or as soon as it waits. Never blocks for long.
    fn ring(&self);
}

/// A kept wake-up for one waiting thread.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits until somebody rings, at most `timeout`. `true` when it was rung.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !*rung {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            rung = self
                .heard
                .wait_timeout(rung, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *rung = false;
        true
    }
}

impl Ring for Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }
}

/// Bells that are rung together.
pub struct Peal(pub Vec<Arc<dyn Ring>>);

impl Ring for Peal {
    fn ring(&self) {
        for bell in &self.0 {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peal_rings_all_of_its_bells() {
        let bells = [(); 3].map(|()| Arc::new(Bell::new()));
        let rings = bells.iter().map(|bell| bell.clone() as Arc<dyn Ring>);
        Peal(rings.collect()).ring();
        assert!(bells.iter().all(|bell| bell.wait(Duration::ZERO)));
    }

    #[test]
    fn a_ring_before_the_wait_is_kept_and_counts_once() {
        let bell = Bell::new();
        bell.ring();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(5)));
        assert!(!bell.wait(Duration::ZERO));
    }
}
