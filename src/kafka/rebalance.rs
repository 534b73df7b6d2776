//! Which partitions this member holds, and in what state each is. No Kafka calls: the consumer's thread does what is decided here.
//!
//! Every assignment of a partition has a source of its own in the tracker. A record counts only if its partition is held and flowing
//! and it is not older than what that assignment has read (`consumer::intake` sorts them); anything else is a straggler of an earlier assignment.
//!
//! Invariant: a partition is begun again only when nothing of its earlier assignment is on its way to the disk, because only then does the
//! output know where it ends.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commit::{Key, Upto};
use super::native::PartitionOffset;
use crate::flow::SourceId;

/// One assignment of a partition.
#[derive(Debug)]
pub struct Held {
    pub source: SourceId,
    /// Offset of the next record that counts; negative while only the group knows.
    pub next: i64,
    /// Where it began, as soon as that is known.
    pub begun: Option<i64>,
    /// Nothing that counts lies between `next` and this offset: transaction markers, aborted and compacted records.
    pub empty_to: i64,
    /// How far the client had fetched when it last told.
    pub fetched: Option<i64>,
    /// Records are not taken any more: the partition is about to go.
    leaving: bool,
    /// From which offset on records had which leader epoch; only where it changed.
    epochs: Vec<(i64, i32)>,
}

impl Held {
    /// Whether records are not taken any more.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Records from `offset` on have this leader epoch.
    pub fn epoch(&mut self, offset: i64, leader_epoch: i32) {
        if self.epochs.last().map(|(_, epoch)| *epoch) != Some(leader_epoch) {
            self.epochs.push((offset, leader_epoch));
        }
    }

    /// What to commit when everything below `offset` is settled.
    pub fn upto(&mut self, offset: i64) -> Upto {
        while self.epochs.len() > 1 && self.epochs[1].0 < offset {
            self.epochs.remove(0);
        }
        let leader_epoch = self
            .epochs
            .first()
            .filter(|(from, _)| *from < offset)
            .map_or(-1, |(_, epoch)| *epoch);
        Upto {
            offset,
            leader_epoch,
        }
    }

    /// How far the partition was read, with what lies behind the last record and does not count.
    pub fn read_to(&self) -> i64 {
        self.empty_to.max(self.next)
    }
}

/// The partitions of a member.
#[derive(Debug, Default)]
pub struct Assignment {
    topics: HashMap<Arc<str>, BTreeMap<i32, Held>>,
    by_source: HashMap<SourceId, Key>,
    /// Assignments that ended before everything of them was settled.
    orphans: Vec<(Key, SourceId)>,
    /// Counts changes.
    pub version: u64,
}

impl Assignment {
    /// The partition is ours from `next` on.
    pub fn begin(&mut self, key: &Key, source: SourceId, next: i64) {
        let held = Held {
            source,
            next,
            begun: (next >= 0).then_some(next),
            empty_to: next,
            fetched: None,
            leaving: false,
            epochs: Vec::new(),
        };
        self.by_source.insert(source, key.clone());
        self.topics
            .entry(key.0.clone())
            .or_default()
            .insert(key.1, held);
        self.version += 1;
    }

    /// The partition is read again from `next`, as another source. It goes on leaving if it does.
    pub fn renew(&mut self, key: &Key, source: SourceId, next: i64) {
        let Some(held) = self.held(&key.0, key.1) else {
            return;
        };
        let before = std::mem::replace(&mut held.source, source);
        (held.next, held.empty_to) = (next, next);
        held.epochs.clear();
        self.by_source.remove(&before);
        self.by_source.insert(source, key.clone());
    }

    /// The partition as it is held now.
    pub fn held(&mut self, topic: &str, partition: i32) -> Option<&mut Held> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    /// The topic's name, shared.
    pub fn name(&self, topic: &str) -> Option<Arc<str>> {
        Some(self.topics.get_key_value(topic)?.0.clone())
    }

    /// The partition that an assignment is of, while it is held.
    pub fn of(&mut self, source: SourceId) -> Option<(Key, &mut Held)> {
        let key = self.by_source.get(&source)?.clone();
        let held = self.topics.get_mut(&key.0)?.get_mut(&key.1)?;
        Some((key, held))
    }

    /// No more records of these partitions are taken.
    pub fn leave(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(held) = self.held(&key.0, key.1) {
                held.leaving = true;
            }
        }
    }

    /// The partition is not ours any more. `settled`: nothing of it is on its way.
    pub fn end(&mut self, key: &Key, settled: bool) -> Option<SourceId> {
        let partitions = self.topics.get_mut(&key.0)?;
        let held = partitions.remove(&key.1)?;
        if partitions.is_empty() {
            self.topics.remove(&key.0);
        }
        self.by_source.remove(&held.source);
        if !settled {
            self.orphans.push((key.clone(), held.source));
        }
        self.version += 1;
        Some(held.source)
    }

    /// Drops the orphans of which nothing is on its way any more, and gives them to `each`.
    pub fn bury(
        &mut self,
        mut is_settled: impl FnMut(SourceId) -> bool,
        mut each: impl FnMut(SourceId),
    ) {
        self.orphans.retain(|(_, source)| {
            let settled = is_settled(*source);
            if settled {
                each(*source);
            }
            !settled
        });
    }

    /// Whether something of an earlier assignment of one of `keys` is still on its way.
    pub fn is_haunted(&self, keys: &[Key]) -> bool {
        self.orphans.iter().any(|(key, _)| keys.contains(key))
    }

    /// Gives up waiting for what is on its way of earlier assignments of `keys`.
    pub fn exorcise(&mut self, keys: &[Key], mut each: impl FnMut(SourceId)) {
        self.orphans.retain(|(key, source)| {
            let ours = keys.contains(key);
            if ours {
                each(*source);
            }
            !ours
        });
    }

    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// All partitions, in no order of topics.
    pub fn keys(&self) -> Vec<Key> {
        self.iter()
            .map(|(topic, partition, _)| (topic.clone(), partition))
            .collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Held)> {
        self.topics.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, held)| (topic, *partition, held))
        })
    }
}

/// Something that the group or the broker asks of this member. Done one after another, in the order they came.
#[derive(Debug)]
pub enum Job {
    /// Partitions come: find out where each begins, and begin.
    Take(Take),
    /// Partitions go: let what was taken become durable, commit it, give them back.
    Give(Give),
}

/// Partitions that come.
#[derive(Debug)]
pub struct Take {
    pub keys: Vec<Key>,
    /// This offset is not there: begin as `on_out_of_range` says instead of where the group or the journal says.
    pub out_of_range: Option<i64>,
    pub since: Instant,
    pub flushed: bool,
    pub not_before: Option<Instant>,
    /// What is known so far of where they begin.
    pub known: Known,
    /// How often that was asked for.
    pub tries: u32,
}

/// What is known about partitions that come.
#[derive(Debug, Default)]
pub struct Known {
    /// What the group has.
    pub group: Option<BTreeMap<Key, PartitionOffset>>,
    /// The first offset of each.
    pub first: Option<BTreeMap<Key, i64>>,
    /// The end of each.
    pub end: Option<BTreeMap<Key, i64>>,
    /// Where each begins that begins at a time; one without so young a record is left out.
    pub since: Option<BTreeMap<Key, i64>>,
}

impl Known {
    /// The leader epoch that the group's commit had, if `offset` is that commit's; else -1.
    pub fn epoch_at(&self, key: &Key, offset: i64) -> i32 {
        self.of_group(key)
            .filter(|group| group.offset == Some(offset))
            .map_or(-1, |group| group.leader_epoch)
    }

    /// What the group has of a partition.
    pub fn of_group(&self, key: &Key) -> Option<&PartitionOffset> {
        self.group.as_ref()?.get(key)
    }
}

/// Why partitions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The group gives them to others.
    Revoked,
    /// The broker does not have the next offset; they come back at once, from another one.
    OutOfRange,
}

/// Partitions that go.
#[derive(Debug)]
pub struct Give {
    pub keys: Vec<Key>,
    pub why: Why,
    pub since: Instant,
    pub flushed: bool,
    /// Since when everything is settled, and committing is all that is left.
    pub settled: Option<Instant>,
}

impl Job {
    pub fn take(keys: Vec<Key>, now: Instant) -> Self {
        Self::Take(Take {
            keys,
            out_of_range: None,
            since: now,
            flushed: false,
            not_before: None,
            known: Known::default(),
            tries: 0,
        })
    }

    /// A partition that comes back from another offset than `wanted`.
    pub fn take_again(key: Key, wanted: i64, now: Instant) -> Self {
        Self::Take(Take {
            keys: vec![key],
            out_of_range: Some(wanted),
            since: now,
            flushed: false,
            not_before: None,
            known: Known::default(),
            tries: 0,
        })
    }

    /// Whether it follows from an offset out of range, and not from the group.
    pub fn is_out_of_range(&self) -> bool {
        match self {
            Self::Take(take) => take.out_of_range.is_some(),
            Self::Give(give) => give.why == Why::OutOfRange,
        }
    }

    pub fn keys(&self) -> &[Key] {
        match self {
            Self::Take(take) => &take.keys,
            Self::Give(give) => &give.keys,
        }
    }

    pub fn keys_mut(&mut self) -> &mut Vec<Key> {
        match self {
            Self::Take(take) => &mut take.keys,
            Self::Give(give) => &mut give.keys,
        }
    }

    pub fn give(keys: Vec<Key>, why: Why, now: Instant) -> Self {
        Self::Give(Give {
            keys,
            why,
            since: now,
            flushed: false,
            settled: None,
        })
    }
}

/// How long partitions that go are held for what was taken of them to become durable.
pub const SETTLE: Duration = Duration::from_secs(30);
/// How long they are held for the commit after that.
pub const COMMIT: Duration = Duration::from_secs(5);

/// What to do next about partitions that go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// Everything of them is settled: commit it.
    Commit,
    /// Give them back; `true`: everything of them was settled and committed.
    Return(bool),
}

impl Give {
    /// Decides. `open`: entries of theirs that are not settled; `idle`: nothing of theirs is left to commit.
    pub fn step(&mut self, now: Instant, open: usize, idle: bool) -> Step {
        if open > 0 {
            return if now - self.since < SETTLE {
                Step::Wait
            } else {
                Step::Return(false)
            };
        }
        match self.settled {
            None => {
                self.settled = Some(now);
                Step::Commit
            }
            Some(_) if idle => Step::Return(true),
            Some(settled) if now - settled > COMMIT => Step::Return(false),
            Some(_) => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: i32) -> Key {
        ("t".into(), partition)
    }

    fn holding(next: i64) -> Assignment {
        let mut assignment = Assignment::default();
        assignment.begin(&key(0), SourceId(1), next);
        assignment
    }

    #[test]
    fn a_partition_that_leaves_takes_nothing_more() {
        let mut assignment = holding(10);
        assert!(!assignment.held("t", 0).unwrap().is_leaving());
        assignment.leave(&[key(0), key(1)]);
        assert!(assignment.held("t", 0).unwrap().is_leaving());
        assert!(assignment.held("t", 1).is_none());
    }

    #[test]
    fn a_partition_is_haunted_until_its_earlier_assignment_is_settled() {
        let mut assignment = holding(10);
        assert_eq!(assignment.end(&key(0), false), Some(SourceId(1)));
        assert!(assignment.is_haunted(&[key(0)]) && !assignment.is_haunted(&[key(1)]));
        assignment.bury(|_| false, |_| panic!("not settled"));
        let mut buried = Vec::new();
        assignment.bury(|_| true, |source| buried.push(source));
        assert_eq!(buried, [SourceId(1)]);
        assert!(!assignment.is_haunted(&[key(0)]) && assignment.is_empty());
    }

    #[test]
    fn a_commit_carries_the_leader_epoch_of_the_record_before_it() {
        let mut assignment = holding(0);
        let held = assignment.held("t", 0).unwrap();
        held.epoch(0, 3);
        held.epoch(5, 3);
        held.epoch(10, 4);
        let epochs: Vec<_> = [0, 5, 10, 11]
            .iter()
            .map(|offset| held.upto(*offset).leader_epoch)
            .collect();
        assert_eq!(epochs, [-1, 3, 3, 4]);
    }

    #[test]
    fn partitions_go_when_they_are_settled_and_committed_or_when_it_takes_too_long() {
        let start = Instant::now();
        let give = || Give {
            keys: vec![key(0)],
            why: Why::Revoked,
            since: start,
            flushed: false,
            settled: None,
        };
        let mut usual = give();
        assert_eq!(usual.step(start, 1, true), Step::Wait);
        assert_eq!(usual.step(start, 0, false), Step::Commit);
        assert_eq!(usual.step(start, 0, false), Step::Wait);
        assert_eq!(usual.step(start, 0, true), Step::Return(true));
        assert_eq!(give().step(start + SETTLE, 1, true), Step::Return(false));
        let mut slow = give();
        slow.step(start, 0, false);
        let late = start + COMMIT + Duration::from_millis(1);
        assert_eq!(slow.step(late, 0, false), Step::Return(false));
    }
}
