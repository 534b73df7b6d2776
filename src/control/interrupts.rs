//! SIGINT and SIGTERM for commands that end: a descriptor to poll, and how often it was asked.
//!
//! Invariant: nothing is installed before [`Interrupts::catch`]: until then a command dies of them as usual.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::signals::{FORCED_BY_SIGINT, FORCED_BY_SIGTERM};

/// What the second one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// It is counted, and the command leaves by itself.
    IsTold,
    /// It ends the process at once, wherever it is stuck.
    Ends,
}

/// The interrupts of this process.
pub struct Interrupts {
    arrivals: UnixStream,
    terminated: Arc<AtomicBool>,
    count: usize,
}

impl Interrupts {
    /// Catches them from now on. Call it once.
    ///
    /// # Errors
    /// The system refused a handler or the socket pair.
    pub fn catch(second: Second) -> io::Result<Self> {
        let (arrivals, tell) = UnixStream::pair()?;
        arrivals.set_nonblocking(true)?;
        let terminated = Arc::new(AtomicBool::new(false));
        if second == Second::Ends {
            // Handlers run in the order of their registration: the one that looks comes before the one that sets.
            let asked = Arc::new(AtomicBool::new(false));
            for (signal, code) in [(SIGTERM, FORCED_BY_SIGTERM), (SIGINT, FORCED_BY_SIGINT)] {
                flag::register_conditional_shutdown(signal, code, asked.clone())?;
                flag::register(signal, asked.clone())?;
            }
        }
        flag::register(SIGTERM, terminated.clone())?;
        low_level::pipe::register(SIGTERM, tell.try_clone()?)?;
        low_level::pipe::register(SIGINT, tell)?;
        Ok(Self {
            arrivals,
            terminated,
            count: 0,
        })
    }

    /// Readable when one came that [`Interrupts::count`] has not counted.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.arrivals.as_fd()
    }

    /// How many came so far. Does not wait.
    pub fn count(&mut self) -> usize {
        let mut bytes = [0; 16];
        while let Ok(more @ 1..) = (&self.arrivals).read(&mut bytes) {
            self.count += more;
        }
        self.count
    }

    /// Whether SIGTERM was among them.
    pub fn is_terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }
}
