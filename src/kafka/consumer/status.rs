//! What a consumer tells about itself, for status, metrics and readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::kafka::producer::TransactionsView;

/// What a consumer looks like from outside. Brought up to date once a second and at every change of the assignment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// Whether the cluster answers.
    pub connected: bool,
    /// Whether the group has assigned something, be it nothing, since the client was built.
    pub joined: bool,
    pub partitions: Vec<PartitionStatus>,
    /// Partitions that the configuration names and that are not there (or have no leader): they are waited for.
    pub absent: Vec<(Arc<str>, i32)>,
    /// Why the group takes no offsets, as long as that stands. Nothing more is read meanwhile.
    pub refused: Option<String>,
    /// The trouble that stands now, with what to do about it.
    pub last_error: Option<String>,
    /// Records that retention took before they could be read.
    pub skipped: u64,
    /// Rebalances that gave or took partitions.
    pub rebalances: u64,
    /// Assignments that were lost: the group went on without this member.
    pub lost: u64,
    /// Partitions that went before everything of them was durable and committed; their next owners read that again.
    pub unclean: u64,
    /// How often the Kafka client was built anew.
    pub rebuilds: u64,
    /// Commits that the group confirmed, and that failed.
    pub commits: u64,
    pub failed_commits: u64,
    /// Present with `delivery: exactly_once`.
    pub transactions: Option<TransactionsView>,
    /// Another process took over, in words.
    pub fenced: Option<String>,
}

/// One assigned partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Offset of the next record to be read.
    pub position: i64,
    /// What the group has, if this member knows.
    pub committed: Option<i64>,
    /// Offset after the last record, as of the last fetch.
    pub end: Option<i64>,
}

impl PartitionStatus {
    /// Offsets between what is durable (or, before the first commit, what was read) and the end.
    pub fn lag(&self) -> Option<u64> {
        let done = self.committed.unwrap_or(self.position);
        self.end
            .filter(|_| done >= 0)
            .map(|end| u64::try_from(end - done.min(end)).unwrap_or(0))
    }
}

impl ConsumerStatus {
    /// The sum over all partitions whose end is known.
    pub fn lag(&self) -> u64 {
        self.partitions
            .iter()
            .filter_map(PartitionStatus::lag)
            .sum()
    }
}

/// The status, shared.
#[derive(Debug, Default)]
pub struct ConsumerState(Mutex<ConsumerStatus>);

impl ConsumerState {
    pub fn new() -> Self {
        Self::default()
    }

    /// A consistent copy.
    pub fn status(&self) -> ConsumerStatus {
        self.lock().clone()
    }

    /// Changes it in one step.
    pub fn change(&self, change: impl FnOnce(&mut ConsumerStatus)) {
        change(&mut self.lock());
    }

    fn lock(&self) -> MutexGuard<'_, ConsumerStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_what_is_not_durable_yet() {
        let mut partition = PartitionStatus {
            topic: "t".into(),
            partition: 0,
            position: 90,
            committed: Some(70),
            end: Some(100),
        };
        assert_eq!(partition.lag(), Some(30));
        partition.committed = None;
        assert_eq!(partition.lag(), Some(10));
        partition.end = Some(80);
        assert_eq!(partition.lag(), Some(0));
    }
}
