//! Signals become events.
//!
//! | signal | event |
//! |---|---|
//! | SIGTERM, SIGINT | [`Signal::Drain`]; the second one, of either, leaves the process at once with 143 or 130 |
//! | SIGHUP | [`Signal::Reload`] |
//! | SIGUSR1 | [`Signal::Report`] |
//! | SIGUSR2 | [`Signal::Reopen`] |
//! | SIGXFSZ | none: the write past the limit on the size of files fails instead, which is said where it happens |
//!
//! Invariant: the second SIGTERM or SIGINT works even when every thread of the runtime is stuck. Its handler looks at a flag and calls `_exit`
//! itself; for that it is registered before the handler that sets the flag, because handlers run in the order of their registration.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};

use futures_util::stream::{Stream, StreamExt};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::flag;
use signal_hook_tokio::Signals as Arrivals;

/// Exit code of a process that a second SIGINT forced to end.
pub const FORCED_BY_SIGINT: i32 = 130;
/// Exit code of a process that a second SIGTERM forced to end.
pub const FORCED_BY_SIGTERM: i32 = 143;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Stop reading, deliver what was read, then end.
    Drain {
        /// The signal's name, for the log.
        by: &'static str,
    },
    /// Tell the state to the log.
    Report,
    /// Apply a changed configuration file.
    Reload,
    /// Reopen the output files.
    Reopen,
}

impl Signal {
    /// What the operator is told when the signal asks for something that this version does not do.
    pub fn not_built_yet(self) -> Option<&'static str> {
        match self {
            Self::Reload => {
                Some("SIGHUP: reload is not built yet; restart to apply a changed file")
            }
            Self::Drain { .. } | Self::Report | Self::Reopen => None,
        }
    }

    fn of(number: i32) -> Option<Self> {
        match number {
            SIGTERM => Some(Self::Drain { by: "SIGTERM" }),
            SIGINT => Some(Self::Drain { by: "SIGINT" }),
            SIGHUP => Some(Self::Reload),
            SIGUSR1 => Some(Self::Report),
            SIGUSR2 => Some(Self::Reopen),
            _ => None,
        }
    }
}

/// The signals of this process, as a stream that does not end. Signals of one kind that arrive together may come as one.
///
/// Dropping it stops the events; the signals stay caught, and a second SIGTERM or SIGINT still ends the process.
pub struct Signals {
    arrivals: Arrivals,
}

impl Signals {
    /// Catches the signals from now on. Call it once, inside the runtime, before anything is started.
    ///
    /// # Errors
    /// The system refused a handler or the socket pair that wakes the stream.
    pub fn catch() -> io::Result<Self> {
        let asked_to_end = Arc::new(AtomicBool::new(false));
        for (signal, code) in [(SIGTERM, FORCED_BY_SIGTERM), (SIGINT, FORCED_BY_SIGINT)] {
            flag::register_conditional_shutdown(signal, code, Arc::clone(&asked_to_end))?;
            flag::register(signal, Arc::clone(&asked_to_end))?;
        }
        // Caught, it does not end the process; that it came does not matter.
        flag::register(SIGXFSZ, Arc::default())?;
        let arrivals = Arrivals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
        Ok(Self { arrivals })
    }

    /// The next signal. Waits for ever when none comes; may be dropped and called again without losing one.
    pub async fn next(&mut self) -> Option<Signal> {
        StreamExt::next(self).await
    }
}

impl Stream for Signals {
    type Item = Signal;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            match ready!(Pin::new(&mut self.arrivals).poll_next(context)) {
                None => return Poll::Ready(None),
                Some(number) => {
                    if let Some(signal) = Signal::of(number) {
                        return Poll::Ready(Some(signal));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_event() {
        assert_eq!(Signal::of(SIGTERM), Some(Signal::Drain { by: "SIGTERM" }));
        assert_eq!(Signal::of(SIGINT), Some(Signal::Drain { by: "SIGINT" }));
        assert_eq!(Signal::of(SIGHUP), Some(Signal::Reload));
        assert_eq!(Signal::of(SIGUSR1), Some(Signal::Report));
        assert_eq!(Signal::of(SIGUSR2), Some(Signal::Reopen));
        assert_eq!(Signal::of(0), None);
    }

    #[test]
    fn what_is_missing_is_said_and_what_is_there_is_not() {
        assert!(
            Signal::Reload
                .not_built_yet()
                .is_some_and(|text| text.contains("not built yet"))
        );
        assert_eq!(Signal::Reopen.not_built_yet(), None);
        assert_eq!(Signal::Report.not_built_yet(), None);
    }

    #[tokio::test]
    async fn signals_that_do_not_end_the_process_arrive_and_leave_it_alive() -> io::Result<()> {
        let mut signals = Signals::catch()?;
        for (number, wanted) in [
            (SIGUSR1, Signal::Report),
            (SIGHUP, Signal::Reload),
            (SIGUSR2, Signal::Reopen),
        ] {
            signal_hook::low_level::raise(number)?;
            assert_eq!(signals.next().await, Some(wanted));
        }
        Ok(())
    }
}
