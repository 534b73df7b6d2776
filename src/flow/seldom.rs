//! Saying the same thing once per interval, and how often it was not said.
//!
//! A broker that is away makes the same complaint many times a second. Each reason speaks at once when it is new, then at most once per interval,
//! and what was held back in between is told with the next one: nothing is silent, nothing floods.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often one reason is logged unless said otherwise.
pub const EVERY: Duration = Duration::from_secs(10);

/// How many reasons are remembered. Reasons may come from data, so their number has an end; the longest silent one is forgotten first.
const MOST_REASONS: usize = 1024;

/// Decides whether a reason should be logged now.
///
/// ```
/// use logferry::flow::Seldom;
///
/// let seldom = Seldom::default();
/// if let Some(held_back) = seldom.speak("no leader for web/3") {
///     tracing::warn!(held_back, "no leader for web/3");
/// }
/// ```
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    reasons: Mutex<HashMap<String, Reason>>,
}

#[derive(Debug)]
struct Reason {
    spoken: Instant,
    held_back: u64,
}

impl Default for Seldom {
    fn default() -> Self {
        Self::new(EVERY)
    }
}

impl Seldom {
    /// Each reason at most once per `every`.
    pub fn new(every: Duration) -> Self {
        Self {
            every,
            reasons: Mutex::new(HashMap::new()),
        }
    }

    /// `Some` when this reason should be logged now, with the number of times it was held back since it last was.
    pub fn speak(&self, reason: &str) -> Option<u64> {
        self.speak_at(reason, Instant::now())
    }

    /// As [`Seldom::speak`], at the given time.
    pub fn speak_at(&self, reason: &str, now: Instant) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = reasons.get_mut(reason) {
            if now.saturating_duration_since(known.spoken) < self.every {
                known.held_back = known.held_back.saturating_add(1);
                return None;
            }
            known.spoken = now;
            return Some(std::mem::take(&mut known.held_back));
        }
        if reasons.len() >= MOST_REASONS {
            let oldest = reasons
                .iter()
                .min_by_key(|(_, known)| known.spoken)
                .map(|(text, _)| text.clone());
            if let Some(oldest) = oldest {
                reasons.remove(&oldest);
            }
        }
        reasons.insert(
            reason.to_owned(),
            Reason {
                spoken: now,
                held_back: 0,
            },
        );
        Some(0)
    }

    /// Forgets a reason, so that it speaks at once when it comes back: for the end of a fault.
    pub fn over(&self, reason: &str) {
        self.reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_speaks_at_once_then_once_per_interval_with_the_count_held_back() {
        let seldom = Seldom::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seldom.speak_at("a", at(0)), Some(0));
        assert_eq!(seldom.speak_at("a", at(1)), None);
        assert_eq!(seldom.speak_at("a", at(9)), None);
        assert_eq!(seldom.speak_at("a", at(10)), Some(2));
        assert_eq!(seldom.speak_at("a", at(19)), None);
        assert_eq!(seldom.speak_at("a", at(40)), Some(1));
    }

    #[test]
    fn reasons_do_not_silence_each_other() {
        let seldom = Seldom::default();
        let now = Instant::now();
        assert_eq!(seldom.speak_at("a", now), Some(0));
        assert_eq!(seldom.speak_at("b", now), Some(0));
        assert_eq!(seldom.speak_at("a", now), None);
    }

    #[test]
    fn a_fault_that_ended_speaks_at_once_when_it_comes_back() {
        let seldom = Seldom::default();
        let now = Instant::now();
        assert_eq!(seldom.speak_at("a", now), Some(0));
        seldom.over("a");
        assert_eq!(seldom.speak_at("a", now), Some(0));
    }

    #[test]
    fn reasons_out_of_data_do_not_fill_the_memory() {
        let seldom = Seldom::default();
        let start = Instant::now();
        for number in 0..(MOST_REASONS as u64 + 500) {
            assert_eq!(
                seldom.speak_at(
                    &format!("topic-{number}"),
                    start + Duration::from_millis(number)
                ),
                Some(0)
            );
        }
        let reasons = seldom
            .reasons
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert_eq!(reasons.len(), MOST_REASONS);
        assert!(!reasons.contains_key("topic-0") && reasons.contains_key("topic-1500"));
    }
}
