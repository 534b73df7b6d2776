//! When a followed file is looked at next: soon where much comes, less and less often where nothing does, and then when an event tells.

use std::time::{Duration, Instant};

use super::rotate::Timing;

/// A file that grows by less than so many bytes a second is looked at together with others.
const SLOW: u64 = 32 * 1024;

/// When a file is looked at next.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub next: Instant,
    wait: Duration,
    /// When bytes came last.
    pub grew: Instant,
    /// Left to events and sweeps.
    pub idle: bool,
    /// It was, until it was woken: how fast it grows now is not known.
    woken: bool,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self {
            next: now,
            wait: Duration::ZERO,
            grew: now,
            idle: true,
            woken: false,
        }
    }

    /// Nothing was written to it for long before it was found: if the first look brings nothing, it is idle.
    pub fn was_quiet(&mut self, timing: &Timing) {
        self.grew = self
            .grew
            .checked_sub(timing.idle_after)
            .unwrap_or(self.grew);
    }

    /// There is something to read: at once.
    pub fn wake(&mut self, now: Instant) {
        self.next = now;
        self.wait = Duration::ZERO;
        self.woken |= self.idle;
        self.idle = false;
    }

    /// After a look that brought so many bytes; `more` when more are there already.
    pub fn brought(&mut self, bytes: u64, more: bool, now: Instant, timing: &Timing) {
        let took = now.saturating_duration_since(self.grew).as_nanos();
        let is_slow = u128::from(bytes) * 1_000_000_000 < u128::from(SLOW) * took;
        let was_woken = std::mem::take(&mut self.woken);
        self.grew = now;
        (self.wait, self.next) = match (more, is_slow && !was_woken) {
            (true, _) => (timing.poll_first, now),
            (false, true) => (timing.beat, timing.next_beat(now)),
            (false, false) => (timing.poll_first, now + timing.poll_first),
        };
    }

    /// Something is due then even if nothing comes. What is due late is left to sweeps.
    pub fn due(&mut self, at: Instant, now: Instant, timing: &Timing) {
        if at <= now + timing.idle_after {
            self.next = self.next.min(at);
            self.idle = false;
        }
    }

    /// After a look that brought nothing.
    pub fn brought_nothing(&mut self, now: Instant, timing: &Timing) {
        self.wait = (self.wait * 2).clamp(timing.poll_first, timing.poll_most);
        let next = now + self.wait;
        // Rather sooner than later: the longest wait is a promise.
        self.next = if self.wait > timing.beat {
            timing.last_beat(next)
        } else {
            next
        };
        self.idle = now.saturating_duration_since(self.grew) >= timing.idle_after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_little_comes_of_are_looked_at_together() {
        let timing = Timing::default();
        let at = |ms| timing.since + Duration::from_millis(ms);
        let next = |came: u64, bytes, looked: u64| {
            let mut pace = Pace::new(at(came));
            pace.wake(at(came));
            pace.brought(1, false, at(came), &timing);
            let soon = at(came) + timing.poll_first;
            assert_eq!(pace.next, soon, "it may be the first of many");
            pace.brought(bytes, false, at(looked), &timing);
            pace.next
                .saturating_duration_since(timing.since)
                .as_millis()
        };
        assert_eq!([next(0, 200, 130), next(40, 900, 149)], [150, 150]);
        assert_eq!(next(100, 200, 150), 300);
        // Many bytes in a short time: the next ones are near.
        assert_eq!(next(110, 4000, 130), 140);
    }

    #[test]
    fn a_slow_file_is_not_looked_at_later_than_promised() {
        let timing = Timing::default();
        let mut now = timing.since + Duration::from_millis(1234);
        let mut pace = Pace::new(timing.since);
        pace.wake(now);
        pace.brought(200, false, now, &timing);
        while !pace.idle {
            let wait = pace.next - now;
            assert!(
                wait > Duration::ZERO && wait <= timing.poll_most,
                "{wait:?}"
            );
            // The thread does not wake at once.
            now = pace.next + Duration::from_millis(3);
            pace.brought_nothing(now, &timing);
        }
    }

    #[test]
    fn a_quiet_file_is_looked_at_less_and_less_and_then_left_to_events() {
        let timing = Timing::default();
        let start = timing.since;
        let mut pace = Pace::new(start);
        pace.wake(start);
        pace.brought(4000, false, start, &timing);
        let mut now = start;
        let mut waits = Vec::new();
        while !pace.idle {
            waits.push((pace.next - now).as_millis());
            now = pace.next;
            pace.brought_nothing(now, &timing);
        }
        assert_eq!(waits[..6], [10, 20, 40, 80, 150, 150]);
        assert!(now - start >= timing.idle_after);
    }
}
