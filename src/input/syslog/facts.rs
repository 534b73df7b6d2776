//! What a syslog input counts besides its books.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counted by the input's threads, read by whoever looks.
#[derive(Debug, Default)]
pub struct SyslogFacts {
    /// Connections that are open.
    pub connections: Counter,
    pub accepted: Counter,
    /// Connections that were closed at once, because too many were open.
    pub refused: Counter,
    /// Connections that were closed because nothing came, or no TLS handshake.
    pub timed_out: Counter,
    /// Connections that were closed because of what came: TLS that is none, frames that cannot be told apart.
    pub broken: Counter,
    /// Messages that could not be taken apart, and were delivered whole.
    pub unparsed: Counter,
    /// Messages of which the stream ended before they did.
    pub torn: Counter,
    /// Event times out of `timestamp_range`, for which the time of reading was taken.
    pub out_of_range: Counter,
    /// The sockets of datagrams that the kernel may drop.
    pub sockets: Vec<SocketFacts>,
    /// A worker could not go on, so the others do not either.
    pub has_failed: AtomicBool,
}

/// What is told of one address that datagrams come to.
#[derive(Debug, Clone)]
pub struct SocketFacts {
    pub name: Arc<str>,
    /// Datagrams that the kernel dropped because the buffer was full.
    pub kernel_drops: Arc<Counter>,
    /// What the buffer holds at most, in bytes, as the kernel counts.
    pub buffer: usize,
}

impl SyslogFacts {
    /// Of an input that receives by `sockets`.
    pub fn of(sockets: Vec<SocketFacts>) -> Self {
        Self {
            sockets,
            ..Self::default()
        }
    }

    /// What the kernel dropped, of all sockets.
    pub fn kernel_drops(&self) -> u64 {
        let drops = self.sockets.iter().map(|socket| socket.kernel_drops.get());
        drops.sum()
    }
}

/// A number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn take_back(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
