//! What others may know of a producer while it runs: the metrics and `status` read it, the producer's thread writes it.
//!
//! It is a value under a lock that is held for a copy, and changed once per wave: nobody who looks makes the thread wait.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What others may know of a producer while it runs.
#[derive(Debug, Default)]
pub struct ProducerState(Mutex<ProducerView>);

/// A moment of a producer.
#[derive(Debug, Clone, Default)]
pub struct ProducerView {
    pub last_error: Option<String>,
    /// Records that librdkafka holds, and their bytes on the wire.
    pub outstanding: usize,
    pub outstanding_bytes: usize,
    /// Waves that came back.
    pub waves: u64,
    /// From handing a wave over to its last acknowledgement, smoothed.
    pub ack_time: Duration,
    /// Pipelines that stopped for good, and why.
    pub halted: Vec<(Arc<str>, String)>,
    /// Pipelines that wait because a refused record cannot be set aside, and why.
    pub paused: Vec<(Arc<str>, String)>,
    /// Present with `exactly_once`.
    pub transactions: Option<TransactionsView>,
    /// Another daemon with the same id took over, in words.
    pub fenced: Option<String>,
}

/// How the transactions of a producer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TransactionsView {
    /// It is known where to begin; nothing is read before.
    pub established: bool,
    pub committed: u64,
    pub aborted: u64,
    /// Those of which nobody heard how they ended, until it was found out; they are counted as committed or aborted then.
    pub in_doubt: u64,
    pub last_commit: Option<SystemTime>,
}

impl ProducerState {
    pub fn view(&self) -> ProducerView {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ProducerView)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
