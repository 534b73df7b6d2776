//! When it is over: how long a stop waits for what was read to be delivered.
//!
//! Pure: it is told the time and how far delivery got, and says what to do. A stop that somebody asked for has a fixed deadline. One that
//! began because everything is read moves on with every byte that is delivered: only a Kafka that stays away ends it. Past the deadline the
//! stop is made hard, and the threads get [`LEAVE`] to go.

use std::time::{Duration, Instant};

/// What threads get to leave after a hard stop.
pub const LEAVE: Duration = Duration::from_secs(5);

/// Why the end began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody asked for it, or something is broken: the deadline stands.
    Asked,
    /// Everything is read: the deadline moves on while delivery does.
    EverythingRead,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    GoOn,
    /// The time has passed: leave with lines that are not delivered. `by_limit`: it was the limit of the whole run.
    Harden {
        by_limit: bool,
    },
    /// Even the threads' time to leave has passed.
    Leave,
}

/// The deadlines of a run.
#[derive(Debug)]
pub struct Drain {
    /// How long a stop may take.
    patience: Duration,
    /// When the whole run has to be over.
    limit: Option<Instant>,
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    why: Why,
    deadline: Instant,
    /// How far delivery had got when the deadline was set.
    progress: u64,
    hard: bool,
}

impl Drain {
    /// A run whose end has not begun. A stop may take `patience`, the whole run until `limit`.
    pub fn new(patience: Duration, limit: Option<Instant>) -> Self {
        Self {
            patience,
            limit,
            begun: None,
        }
    }

    /// The end begins. `false`: it had begun already, and this changes nothing.
    pub fn begin(&mut self, why: Why, now: Instant, progress: u64) -> bool {
        let stands =
            |begun: &Begun| begun.hard || begun.why == Why::Asked || why == Why::EverythingRead;
        if self.begun.as_ref().is_some_and(stands) {
            return false;
        }
        self.begun = Some(Begun {
            why,
            deadline: now + self.patience,
            progress,
            hard: false,
        });
        true
    }

    /// What is to be done now that delivery got as far as `progress`.
    pub fn step(&mut self, now: Instant, progress: u64) -> Step {
        let by_limit = self.limit.is_some_and(|limit| limit <= now) && !self.is_hard();
        if by_limit {
            self.begun = Some(Begun {
                why: Why::Asked,
                deadline: now,
                progress,
                hard: false,
            });
        }
        let Some(begun) = &mut self.begun else {
            return Step::GoOn;
        };
        if !begun.hard && begun.why == Why::EverythingRead && progress != begun.progress {
            begun.progress = progress;
            begun.deadline = now + self.patience;
        }
        if now < begun.deadline {
            return Step::GoOn;
        }
        if begun.hard {
            return Step::Leave;
        }
        begun.hard = true;
        begun.deadline = now + LEAVE;
        Step::Harden { by_limit }
    }

    pub fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// The time has passed, and the threads were told to leave.
    pub fn is_hard(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.hard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);
    const HARDEN: Step = Step::Harden { by_limit: false };

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn without_a_stop_it_goes_on_forever() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        assert_eq!(drain.step(start + seconds(1_000_000), 0), Step::GoOn);
        assert!(!drain.has_begun());
    }

    #[test]
    fn a_hard_stop_is_final() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        drain.begin(Why::EverythingRead, start, 0);
        assert_eq!(drain.step(start + PATIENCE, 0), HARDEN);
        assert!(!drain.begin(Why::Asked, start + PATIENCE, 5));
        assert_eq!(drain.step(start + PATIENCE + LEAVE, 7), Step::Leave);
    }

    #[test]
    fn a_stop_that_was_asked_for_has_a_fixed_deadline() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        assert!(drain.begin(Why::Asked, start, 0));
        assert_eq!(drain.step(start + seconds(29), 100), Step::GoOn);
        assert_eq!(drain.step(start + seconds(30), 200), HARDEN);
    }

    #[test]
    fn when_everything_is_read_the_deadline_moves_on_with_delivery() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        assert!(drain.begin(Why::EverythingRead, start, 100));
        assert_eq!(drain.step(start + seconds(29), 101), Step::GoOn);
        assert_eq!(drain.step(start + seconds(58), 101), Step::GoOn);
        assert_eq!(drain.step(start + seconds(59), 101), HARDEN);
    }

    #[test]
    fn past_the_deadline_threads_have_their_time_to_leave() {
        let start = Instant::now();
        for why in [Why::Asked, Why::EverythingRead] {
            let mut drain = Drain::new(PATIENCE, None);
            drain.begin(why, start, 0);
            let hardened = start + PATIENCE;
            assert_eq!(drain.step(hardened, 0), HARDEN);
            assert!(drain.is_hard());
            assert_eq!(drain.step(hardened + seconds(4), 0), Step::GoOn);
            assert_eq!(drain.step(hardened + LEAVE, 0), Step::Leave);
        }
    }

    #[test]
    fn a_second_request_does_not_move_the_deadline() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        drain.begin(Why::Asked, start, 0);
        assert!(!drain.begin(Why::Asked, start + seconds(20), 0));
        assert!(!drain.begin(Why::EverythingRead, start + seconds(20), 0));
        assert_eq!(drain.step(start + PATIENCE, 0), HARDEN);
    }

    #[test]
    fn a_request_fixes_the_deadline_of_an_end_that_began_by_itself() {
        let start = Instant::now();
        let mut drain = Drain::new(PATIENCE, None);
        drain.begin(Why::EverythingRead, start, 0);
        assert!(!drain.begin(Why::EverythingRead, start + seconds(10), 0));
        assert!(drain.begin(Why::Asked, start + seconds(10), 0));
        assert_eq!(drain.step(start + seconds(39), 100), Step::GoOn);
        assert_eq!(drain.step(start + seconds(40), 200), HARDEN);
    }

    #[test]
    fn the_limit_of_the_run_ends_it_whatever_is_going_on() {
        let start = Instant::now();
        let limit = start + seconds(10);
        for why in [None, Some(Why::Asked), Some(Why::EverythingRead)] {
            let mut drain = Drain::new(PATIENCE, Some(limit));
            if let Some(why) = why {
                drain.begin(why, start, 0);
            }
            assert_eq!(drain.step(limit - seconds(1), 0), Step::GoOn);
            assert_eq!(drain.step(limit, 1), Step::Harden { by_limit: true });
            assert_eq!(drain.step(limit + seconds(1), 2), Step::GoOn);
            assert_eq!(drain.step(limit + LEAVE, 3), Step::Leave);
        }
    }
}
