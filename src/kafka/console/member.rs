//! Reading as a member of a group: partitions come and go, and what was printed is committed.
//!
//! Invariant: only what was printed is committed, so that what is not may be printed twice, never not at all.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::places::{self, QUESTION};
use super::reader::{Note, Reader, Records, TICK};
use crate::flow::Consumed;
use crate::kafka::native::PartitionOffset;

/// How often is committed.
const EVERY: Duration = Duration::from_secs(1);
/// How long a commit, or leaving the group, is waited for.
const LEAVING: Duration = Duration::from_secs(5);

/// What a member knows of its group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Partitions were given to it at least once.
    pub is_given: bool,
    last: Option<Instant>,
    /// Of the last commit that was sent, and of the last that was answered.
    token: u64,
    answered: u64,
}

impl Reader {
    /// The first `count` of these records were printed.
    pub fn printed(&mut self, records: &Records, count: usize) {
        if self.settings.group.is_none() {
            return;
        }
        for at in 0..count {
            let message = records.message(at);
            // Within a partition only the last one counts, but for the partition's own next message it is cheap to look.
            let same = |next: usize| next < count && records.message(next).same_partition(&message);
            if same(at + 1) {
                continue;
            }
            let (topic, partition) = (message.topic(), message.partition());
            let held = self.held.iter_mut();
            for held in held.filter(|it| it.partition == partition && &*it.topic == topic) {
                held.printed = Some(message.offset() + 1);
            }
        }
        debug_assert!(count <= records.len());
    }

    /// Commits what was printed, once a second, or now.
    pub fn commit(&mut self, now: bool) {
        let due = self.group.last.is_none_or(|last| last.elapsed() >= EVERY);
        if !now && !due {
            return;
        }
        let held = self.held.iter_mut();
        let list: Vec<_> = held
            .filter_map(|held| {
                let offset = held.printed.take()?;
                Some(PartitionOffset {
                    offset: Some(offset),
                    ..PartitionOffset::bare(&held.topic, held.partition)
                })
            })
            .collect();
        if list.is_empty() {
            return;
        }
        self.group.last = Some(Instant::now());
        self.group.token += 1;
        if let Err(why) = self.member.commit(&list, self.group.token) {
            let why = format!("not committed, and so read again by whoever comes next: {why}");
            self.notes.push(Note::Warning(why));
            self.group.answered = self.group.token;
        }
    }

    pub(super) fn committed(&mut self, token: u64, error: Option<RDKafkaErrorCode>) {
        self.group.answered = self.group.answered.max(token);
        if let Some(error) = error {
            let why = format!("not committed, and so read again by whoever comes next: {error}");
            self.notes.push(Note::Warning(why));
        }
    }

    pub(super) fn rebalance(
        &mut self,
        code: RDKafkaErrorCode,
        partitions: &[PartitionOffset],
    ) -> Result<(), String> {
        let names = || {
            let names = partitions.iter();
            let names = names.map(|it| format!("{}[{}]", it.topic, it.partition));
            names.collect::<Vec<_>>().join(" ")
        };
        let count = || match partitions.len() {
            1 => "1 partition".to_owned(),
            more => format!("{more} partitions"),
        };
        if code == RDKafkaErrorCode::AssignPartitions {
            let group = self.settings.group.as_deref().unwrap_or_default();
            self.notes.push(Note::Detail(format!(
                "group {group}: {} come: {}",
                count(),
                names()
            )));
            let committed = if partitions.is_empty() {
                Vec::new()
            } else {
                places::told(self.member.committed(partitions, QUESTION))?
            };
            let list = self.hold(partitions, Some(&committed))?;
            self.group.is_given = true;
            return self.member.assign(&list);
        }
        self.notes
            .push(Note::Detail(format!("{} go: {}", count(), names())));
        if !self.member.is_lost() {
            self.commit(true);
            self.await_commits();
        }
        let gone = |topic: &str, partition: i32| {
            let mut partitions = partitions.iter();
            partitions.any(|it| it.partition == partition && it.topic == topic)
        };
        self.held.retain(|held| !gone(&held.topic, held.partition));
        self.member.unassign(partitions)
    }

    /// Waits until the last commit is answered, while a rebalance is: no other one comes before that has an answer.
    fn await_commits(&mut self) {
        let deadline = Instant::now() + LEAVING;
        while self.group.answered < self.group.token && Instant::now() < deadline {
            match self.member.event() {
                Some(event) => {
                    if let crate::kafka::native::EventKind::Committed(error) = event.kind() {
                        self.committed(event.token(), error);
                    }
                }
                None => drop(self.bell.wait(TICK)),
            }
        }
    }

    /// Commits what was printed and leaves the group. Waits for both, a few seconds.
    pub fn leave(&mut self) {
        if self.settings.group.is_none() {
            return;
        }
        self.commit(true);
        let deadline = Instant::now() + LEAVING;
        while self.group.answered < self.group.token && Instant::now() < deadline {
            self.serve();
            self.bell.wait(TICK);
        }
        if self.member.close().is_err() {
            return;
        }
        while !self.member.is_closed() && Instant::now() < deadline {
            self.serve();
            self.bell.wait(TICK);
        }
    }
}
