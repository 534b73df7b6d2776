//! Which offsets are to be committed, which are on their way, which are there.
//!
//! One commit is on its way at a time. What moves meanwhile goes with the next one, so a slow coordinator gets fewer commits, not a
//! queue of them. A commit that fails is tried again with the newest offsets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::native::PartitionOffset;

/// Positions are committed at most this often, unless somebody waits for it.
const EVERY: Duration = Duration::from_millis(200);
/// How long after a failure the next try is made.
const AGAIN: Duration = Duration::from_millis(500);
/// An answer that did not come within this time is not waited for any more.
const ANSWER: Duration = Duration::from_secs(60);

/// A partition, as a key.
pub type Key = (Arc<str>, i32);

/// How far a partition is to be committed: the next offset, and the leader epoch of the record before it (-1: not known).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upto {
    pub offset: i64,
    pub leader_epoch: i32,
}

/// What an answer changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Commits began to fail, or fail for another reason than before.
    Failing(RDKafkaErrorCode),
    /// Commits succeed again.
    Back,
}

/// The commits of one member of a group.
#[derive(Debug, Default)]
pub struct Commits {
    wanted: BTreeMap<Key, Upto>,
    flight: Option<Flight>,
    done: BTreeMap<Key, i64>,
    last: Option<Instant>,
    /// Until when nothing is tried after a failure.
    not_before: Option<Instant>,
    failing: Option<RDKafkaErrorCode>,
    tokens: u64,
    /// Of somebody who is no member of the group. Only while the group has no members are its commits taken.
    alone: bool,
}

#[derive(Debug)]
struct Flight {
    token: u64,
    since: Instant,
    offsets: BTreeMap<Key, Upto>,
}

impl Commits {
    /// `alone`: of somebody who is no member, so that no rebalance is an excuse.
    pub fn new(alone: bool) -> Self {
        Self {
            alone,
            ..Self::default()
        }
    }

    /// Everything of `key` below this offset is settled.
    pub fn want(&mut self, key: Key, upto: Upto) {
        if self.done.get(&key) == Some(&upto.offset) && !self.is_flying(&key) {
            self.wanted.remove(&key);
            return;
        }
        self.wanted.insert(key, upto);
    }

    /// What the group has, as it answered.
    pub fn found(&mut self, key: Key, offset: i64) {
        self.done.insert(key, offset);
    }

    /// The partition is not ours any more.
    pub fn forget(&mut self, key: &Key) {
        self.wanted.remove(key);
        self.done.remove(key);
        if let Some(flight) = &mut self.flight {
            flight.offsets.remove(key);
        }
    }

    /// What to commit now, with the token that its answer will carry. `urgent`: somebody waits for it, so the pause between two
    /// commits is left out (the one after a failure is not).
    pub fn due(&mut self, now: Instant, urgent: bool) -> Option<(u64, BTreeMap<Key, Upto>)> {
        if let Some(flight) = self.flight.take_if(|flight| now - flight.since > ANSWER) {
            self.restore(flight.offsets);
        }
        let paused = |last: Instant| !urgent && now - last < EVERY;
        if self.wanted.is_empty()
            || self.flight.is_some()
            || self.last.is_some_and(paused)
            || self.not_before.is_some_and(|at| now < at)
        {
            return None;
        }
        self.tokens += 1;
        let offsets = std::mem::take(&mut self.wanted);
        self.last = Some(now);
        self.flight = Some(Flight {
            token: self.tokens,
            since: now,
            offsets: offsets.clone(),
        });
        Some((self.tokens, offsets))
    }

    /// The answer to the commit that went with `token`: failed as a whole, or partition by partition.
    pub fn answered(
        &mut self,
        now: Instant,
        token: u64,
        error: Option<RDKafkaErrorCode>,
        partitions: &[PartitionOffset],
    ) -> Option<News> {
        let flight = self.flight.take_if(|flight| flight.token == token)?;
        let error = error.filter(|error| *error != RDKafkaErrorCode::NoOffset);
        let mut failed = None;
        for (key, upto) in flight.offsets {
            let own = partitions
                .iter()
                .find(|partition| partition.partition == key.1 && *partition.topic == *key.0)
                .and_then(|partition| partition.error);
            match error.or(own) {
                None => {
                    self.done.insert(key, upto.offset);
                }
                Some(error) => {
                    self.wanted.entry(key).or_insert(upto);
                    failed = Some(error);
                }
            }
        }
        self.not_before = failed.map(|_| now + AGAIN);
        let failed = failed.filter(|error| self.alone || !is_rebalance(*error));
        let before = std::mem::replace(&mut self.failing, failed);
        match (before, failed) {
            (before, Some(error)) if before != Some(error) => Some(News::Failing(error)),
            (Some(_), None) => Some(News::Back),
            _ => None,
        }
    }

    /// Whether nothing is wanted or on its way.
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.flight.is_none()
    }

    /// Whether nothing of `key` is wanted or on its way.
    pub fn is_idle_for(&self, key: &Key) -> bool {
        !self.wanted.contains_key(key) && !self.is_flying(key)
    }

    /// When [`Commits::due`] is worth another call, if waiting alone helps.
    pub fn next(&self) -> Option<Instant> {
        if self.wanted.is_empty() || self.flight.is_some() {
            return None;
        }
        self.last.map(|last| last + EVERY).max(self.not_before)
    }

    /// Whether the group has members now, and so refuses what somebody commits who is none.
    pub fn is_refused(&self) -> bool {
        self.alone && self.failing.is_some_and(is_rebalance) && !self.is_idle()
    }

    /// The offset that the group has.
    pub fn committed(&self, key: &Key) -> Option<i64> {
        self.done.get(key).copied()
    }

    fn is_flying(&self, key: &Key) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.offsets.contains_key(key))
    }

    fn restore(&mut self, offsets: BTreeMap<Key, Upto>) {
        for (key, upto) in offsets {
            self.wanted.entry(key).or_insert(upto);
        }
    }
}

/// Every rebalance meets some of these; the commit is made again after it, or the partition is another's.
fn is_rebalance(error: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error,
        Code::RebalanceInProgress | Code::IllegalGeneration | Code::UnknownMemberId
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use RDKafkaErrorCode as Code;

    fn key(partition: i32) -> Key {
        ("t".into(), partition)
    }

    fn upto(offset: i64) -> Upto {
        Upto {
            offset,
            leader_epoch: -1,
        }
    }

    fn offsets(due: Option<(u64, BTreeMap<Key, Upto>)>) -> Vec<(i32, i64)> {
        due.map(|(_, offsets)| {
            offsets
                .into_iter()
                .map(|(key, upto)| (key.1, upto.offset))
                .collect()
        })
        .unwrap_or_default()
    }

    #[test]
    fn one_commit_is_on_its_way_at_a_time_and_the_next_takes_the_newest() {
        let (mut commits, start) = (Commits::new(false), Instant::now());
        commits.want(key(0), upto(5));
        assert_eq!(offsets(commits.due(start, false)), [(0, 5)]);
        commits.want(key(0), upto(6));
        commits.want(key(0), upto(7));
        assert_eq!(offsets(commits.due(start + EVERY, true)), []);
        assert_eq!(commits.answered(start, 1, None, &[]), None);
        assert_eq!(commits.committed(&key(0)), Some(5));
        assert_eq!(offsets(commits.due(start, false)), []);
        assert_eq!(offsets(commits.due(start + EVERY, false)), [(0, 7)]);
    }

    #[test]
    fn a_failed_commit_is_said_once_and_tried_again_with_the_newest_offset() {
        let (mut commits, start) = (Commits::new(false), Instant::now());
        commits.want(key(0), upto(5));
        commits.due(start, true);
        commits.want(key(0), upto(9));
        let code = Code::NotCoordinator;
        assert_eq!(
            commits.answered(start, 1, Some(code), &[]),
            Some(News::Failing(code))
        );
        assert_eq!(offsets(commits.due(start, true)), []);
        assert_eq!(offsets(commits.due(start + AGAIN, true)), [(0, 9)]);
        assert_eq!(commits.answered(start + AGAIN, 2, Some(code), &[]), None);
        commits.due(start + 2 * AGAIN, true);
        assert_eq!(
            commits.answered(start + 2 * AGAIN, 3, None, &[]),
            Some(News::Back)
        );
        assert!(commits.is_idle());
    }

    #[test]
    fn a_commit_that_meets_a_rebalance_is_made_again_without_a_word() {
        let (mut commits, start) = (Commits::new(false), Instant::now());
        commits.want(key(0), upto(5));
        commits.due(start, true);
        let code = Code::RebalanceInProgress;
        assert_eq!(commits.answered(start, 1, Some(code), &[]), None);
        assert_eq!(offsets(commits.due(start + AGAIN, true)), [(0, 5)]);
        assert_eq!(commits.answered(start + AGAIN, 2, None, &[]), None);
    }

    #[test]
    fn who_is_no_member_is_refused_while_the_group_has_some_and_says_so() {
        let (mut commits, start) = (Commits::new(true), Instant::now());
        commits.want(key(0), upto(5));
        commits.due(start, true);
        let code = Code::UnknownMemberId;
        assert_eq!(
            commits.answered(start, 1, Some(code), &[]),
            Some(News::Failing(code))
        );
        assert!(commits.is_refused());
        commits.due(start + AGAIN, true);
        assert!(commits.is_refused(), "it is on its way again");
        assert_eq!(
            commits.answered(start + AGAIN, 2, None, &[]),
            Some(News::Back)
        );
        assert!(!commits.is_refused());
    }

    #[test]
    fn who_has_nothing_to_commit_is_not_refused() {
        let (mut commits, start) = (Commits::new(true), Instant::now());
        commits.want(key(0), upto(5));
        commits.due(start, true);
        commits.answered(start, 1, Some(Code::UnknownMemberId), &[]);
        commits.forget(&key(0));
        assert!(!commits.is_refused());
    }

    #[test]
    fn a_partition_that_fails_alone_is_tried_again_alone() {
        let (mut commits, start) = (Commits::new(false), Instant::now());
        commits.want(key(0), upto(5));
        commits.want(key(1), upto(6));
        commits.due(start, true);
        let mut bad = PartitionOffset::bare("t", 1);
        bad.error = Some(Code::UnknownTopicOrPartition);
        commits.answered(start, 1, None, &[PartitionOffset::bare("t", 0), bad]);
        assert!(commits.is_idle_for(&key(0)));
        assert_eq!(offsets(commits.due(start + AGAIN, true)), [(1, 6)]);
    }

    #[test]
    fn what_the_group_has_is_not_committed_again() {
        let mut commits = Commits::new(false);
        commits.found(key(0), 5);
        commits.want(key(0), upto(5));
        assert!(commits.is_idle());
    }

    #[test]
    fn an_answer_for_a_partition_that_left_changes_nothing() {
        let (mut commits, start) = (Commits::new(false), Instant::now());
        commits.want(key(0), upto(5));
        commits.due(start, true);
        commits.forget(&key(0));
        commits.answered(start, 1, None, &[]);
        assert_eq!(commits.committed(&key(0)), None);
    }
}
