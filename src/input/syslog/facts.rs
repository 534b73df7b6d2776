//! What a syslog input counts besides its books.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by the input's thread, read by whoever looks.
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
    /// Datagrams that the kernel dropped because its buffer was full.
    pub kernel_drops: Counter,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
