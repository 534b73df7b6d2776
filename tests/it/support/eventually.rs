//! The one way to wait in tests: until something is so, and never longer than a deadline.
//!
//! Nothing else in the tests sleeps, so a slow machine makes a test slow, not wrong.

use std::thread;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);

/// What a probe may answer: `bool`, `Option<T>`, or `Result<T, String>` whose error is the state that it saw instead.
pub trait Probe {
    type Got;

    fn got(self) -> Result<Self::Got, String>;
}

impl Probe for bool {
    type Got = ();

    fn got(self) -> Result<(), String> {
        if self { Ok(()) } else { Err("false".into()) }
    }
}

impl<T> Probe for Option<T> {
    type Got = T;

    fn got(self) -> Result<T, String> {
        self.ok_or_else(|| "nothing yet".into())
    }
}

impl<T> Probe for Result<T, String> {
    type Got = T;

    fn got(self) -> Result<T, String> {
        self
    }
}

/// Asks `probe` every 10 ms until it has an answer, and gives that.
///
/// # Panics
/// When `deadline` passes first; the message says `what` was waited for and what the probe saw last.
#[track_caller]
pub fn eventually<P: Probe>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> P,
) -> P::Got {
    let begun = Instant::now();
    loop {
        let last = match probe().got() {
            Ok(got) => return got,
            Err(last) => last,
        };
        assert!(
            begun.elapsed() < deadline,
            "waited {deadline:?} in vain until {what}; last seen: {last}"
        );
        pause(EVERY);
    }
}

/// Lets time pass where time itself is the subject: an outage of 20 s, a rate of 1,000 lines a second.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place in the tests that sleeps"
)]
pub fn pause(duration: Duration) {
    thread::sleep(duration);
}
