//! How the end travels: softly to the sources, hard to everybody.
//!
//! After a soft stop sources read nothing more and close their pipes; sinks learn of the end only because their pipes closed. A hard
//! stop (the drain's deadline, a second signal) makes everybody leave with what they have.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::bell::Ring;

const SOFT: u8 = 1;
const HARD: u8 = 2;

/// A stop that is shared by everything it ends. Cloning gives another handle to the same stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    level: AtomicU8,
    /// Who is to be woken. Weak: a thread that has ended is not kept alive by its bell.
    bells: Mutex<Vec<Weak<dyn Ring>>>,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes `bell` at every change from now on.
    pub fn rings(&self, bell: &Arc<dyn Ring>) {
        let mut bells = self.0.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    /// Sources read nothing more.
    pub fn soften(&self) {
        self.raise(SOFT);
    }

    /// Everybody leaves with what they have.
    pub fn harden(&self) {
        self.raise(HARD);
    }

    /// Soft or hard.
    pub fn is_soft(&self) -> bool {
        self.0.level.load(Ordering::Acquire) >= SOFT
    }

    pub fn is_hard(&self) -> bool {
        self.0.level.load(Ordering::Acquire) >= HARD
    }

    fn raise(&self, level: u8) {
        self.0.level.fetch_max(level, Ordering::AcqRel);
        let bells: Vec<_> = self
            .0
            .bells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for bell in bells {
            bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Bell;
    use std::time::Duration;

    #[test]
    fn a_hard_stop_is_also_a_soft_one_and_never_softens_again() {
        let stop = Stop::new();
        assert!(!stop.is_soft());
        stop.harden();
        stop.soften();
        assert!(stop.is_soft() && stop.is_hard());
    }

    #[test]
    fn a_stop_rings_the_bells_that_asked() {
        let (stop, bell) = (Stop::new(), Arc::new(Bell::new()));
        stop.rings(&(bell.clone() as Arc<dyn Ring>));
        stop.soften();
        assert!(bell.wait(Duration::ZERO));
    }
}
