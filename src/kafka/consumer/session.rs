//! The life of one Kafka client: its events, its commits, its status. What goes wrong is told by `trouble`, and `once` knows when enough
//! was read.
//!
//! What only this client knows dies with it; what outlives it (the assignment, the ledgers, what is pending) is the worker's.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::intake::News;
use super::once::Once;
use super::roster::Roster;
use super::status::PartitionStatus;
use super::trouble::{advice, refused_by};
use super::{TICK, Worker};
use crate::flow::Ring;
use crate::flow::durable::metadata;
use crate::kafka::commit::{self, Commits, Key};
use crate::kafka::native::{Event, EventKind, Member, PartitionOffset};
use crate::kafka::rebalance::{Job, Why};
use crate::kafka::settings::ConsumerSettings;
use crate::kafka::trouble::Trouble;

/// How often a cluster that is away is asked whether it is back.
const PROBE: Duration = Duration::from_secs(2);
/// How long it is waited for then.
pub(super) const PROBED: Duration = Duration::from_millis(300);

pub(super) struct Session {
    pub member: Member,
    pub commits: Commits,
    pub jobs: VecDeque<Job>,
    pub fatal: Option<String>,
    /// Whether the cluster answered last time.
    pub connected: bool,
    /// Whether the group answered.
    pub joined: bool,
    pub tick: Instant,
    /// When a cluster that is away is asked again whether it is there.
    probe: Instant,
    /// Troubles that were told, so that each is told once.
    pub told: HashSet<(String, i32)>,
    /// What the client says while nobody answers.
    pub heard: Trouble,
    /// Why the last broker was not reached.
    pub unreached: Option<String>,
    /// Since when no message lay in the queue.
    pub idle_since: Option<Instant>,
    pub once: Once,
    /// Present when the configuration names the partitions: the group is not joined then.
    pub roster: Option<Roster>,
}

impl Session {
    pub fn new(
        config: &ClientConfig,
        ring: &Arc<dyn Ring>,
        settings: &ConsumerSettings,
    ) -> Result<Self, String> {
        let member = Member::new(config, ring)?;
        let roster = settings.partitions.as_ref().map(Roster::new);
        if roster.is_none() {
            member.subscribe(&settings.topics)?;
        }
        Ok(Self {
            member,
            commits: Commits::new(roster.is_some()),
            roster,
            jobs: VecDeque::new(),
            fatal: None,
            connected: false,
            joined: false,
            tick: Instant::now(),
            probe: Instant::now() + TICK,
            told: HashSet::new(),
            heard: Trouble::default(),
            unreached: None,
            idle_since: None,
            once: Once::default(),
        })
    }

    /// Whether the group went on without this member. Who is none has nothing to lose, whatever librdkafka makes of a commit that is refused.
    pub fn is_lost(&self) -> bool {
        self.roster.is_none() && self.member.is_lost()
    }

    /// Whether enough was read (`once`).
    pub fn has_enough(&self) -> bool {
        self.once.flushed
    }
}

impl Worker {
    /// Serves the events that are there. `true` when there were some.
    pub(super) fn serve(&mut self, session: &mut Session) -> bool {
        let mut any = false;
        while let Some(event) = session.member.event() {
            any = true;
            self.event(session, &event);
        }
        any
    }

    fn event(&mut self, session: &mut Session, event: &Event) {
        let kind = event.kind();
        session.heard.hear(&kind);
        match kind {
            EventKind::Error { text, fatal, .. } if fatal => session.fatal = Some(text),
            EventKind::Error { code, text, .. } => self.trouble(session, "", code, &text),
            EventKind::Log {
                level,
                facility,
                text,
            } => {
                if level <= 2 {
                    tracing::error!(output = %self.consumer.name, facility, "{text}");
                } else {
                    tracing::debug!(output = %self.consumer.name, facility, level, "{text}");
                }
            }
            EventKind::Rebalance(code) => self.rebalance(session, code, event.partitions()),
            EventKind::Committed(error) => self.committed(session, event, error),
            EventKind::Statistics(text) => self.fetched(session, &text),
            EventKind::Strayed { topic, partition } => {
                tracing::debug!(output = %self.consumer.name, topic, partition, "records came where nobody counts them; they are read again");
                let place = PartitionOffset::bare(&topic, partition);
                self.answer(session.member.forward(&[place]));
                self.seat(session, &topic, partition);
            }
            EventKind::Deliveries | EventKind::Other => {}
        }
    }

    fn rebalance(&mut self, session: &mut Session, code: Code, partitions: Vec<PartitionOffset>) {
        let now = Instant::now();
        let keys: Vec<Key> = partitions
            .iter()
            .map(|partition| (self.name(&partition.topic), partition.partition))
            .collect();
        // An assignment that is lost is found out without the cluster.
        if !session.is_lost() {
            self.answers(session);
        }
        session.joined = true;
        self.consumer.state.change(|status| {
            status.joined = true;
            status.rebalances += u64::from(!keys.is_empty());
        });
        match code {
            Code::AssignPartitions => {
                session.told.clear();
                self.consumer
                    .state
                    .change(|status| status.last_error = None);
                Self::must(session, Job::take(keys, now));
            }
            Code::RevokePartitions if session.is_lost() => self.lost(session, &keys),
            Code::RevokePartitions => self.revoked(session, keys, now),
            other => {
                self.trouble(session, "", other, "the group could not be joined");
                let keys = self.assignment.keys();
                self.lost(session, &keys);
            }
        }
    }

    fn committed(&mut self, session: &mut Session, event: &Event, error: Option<Code>) {
        let partitions = event.partitions();
        let news = session
            .commits
            .answered(Instant::now(), event.token(), error, &partitions);
        let failed =
            error.is_some() || partitions.iter().any(|partition| partition.error.is_some());
        self.consumer.state.change(|status| {
            if failed {
                status.failed_commits += 1;
            } else {
                status.commits += 1;
            }
        });
        if failed {
            tracing::debug!(output = %self.consumer.name, ?error, ?partitions, "a commit failed");
        } else {
            self.answers(session);
        }
        match news {
            Some(commit::News::Failing(code)) if session.commits.is_refused() => {
                let why = refused_by(&self.consumer.settings.group);
                tracing::warn!(output = %self.consumer.name, group = %self.consumer.settings.group, "offsets cannot be committed: {code}: {why}; tried again until it succeeds, and nothing more is read meanwhile");
            }
            Some(commit::News::Failing(code)) => {
                tracing::warn!(output = %self.consumer.name, group = %self.consumer.settings.group, "offsets cannot be committed: {code}{}; tried again until it succeeds", advice(code));
            }
            Some(commit::News::Back) => {
                tracing::info!(output = %self.consumer.name, group = %self.consumer.settings.group, "offsets are committed again");
            }
            None => {}
        }
    }

    /// What a partition told between its records.
    pub(super) fn hear(&mut self, session: &mut Session, news: News) {
        match news {
            News::OutOfRange(key, text) => {
                tracing::debug!(output = %self.consumer.name, "{text}");
                let held = self.assignment.held(&key.0, key.1);
                if held.is_none_or(|held| held.is_leaving()) {
                    return;
                }
                let keys = vec![key];
                self.assignment.leave(&keys);
                session
                    .jobs
                    .push_back(Job::give(keys, Why::OutOfRange, Instant::now()));
            }
            News::Trouble {
                topic,
                partition,
                code,
                text,
            } => {
                self.trouble(session, &topic, code, &text);
                self.seat(session, &topic, partition);
            }
        }
    }

    /// Tells librdkafka where a partition goes on. After news of a partition it has forgotten: the batch call counts them as a record,
    /// and the next pause would skip one.
    pub(super) fn seat(&mut self, session: &mut Session, topic: &str, partition: i32) {
        let Some(held) = self.assignment.held(topic, partition) else {
            return;
        };
        if held.is_leaving() {
            return;
        }
        if held.next < 0 {
            // Where it goes on is found out by asking.
            let keys = vec![(self.name(topic), partition)];
            self.assignment.leave(&keys);
            let job = Job::give(keys, Why::OutOfRange, Instant::now());
            session.jobs.push_back(job);
            return;
        }
        let place = PartitionOffset {
            offset: Some(held.next),
            ..PartitionOffset::bare(topic, partition)
        };
        if let Err(text) = session.member.seek(&place) {
            tracing::debug!(output = %self.consumer.name, topic, partition, "begins again: {text}");
            let keys = vec![(self.name(topic), partition)];
            self.assignment.leave(&keys);
            let job = Job::give(keys, Why::OutOfRange, Instant::now());
            session.jobs.push_back(job);
        }
    }

    /// The client tells how far it has fetched. What it told before, when nothing came since, holds no records that count: the log ends
    /// with what was compacted away.
    fn fetched(&mut self, session: &Session, statistics: &str) {
        let since = session.idle_since.map(|since| since.elapsed());
        let idle = self.pending.is_none() && since.is_some_and(|idle| idle > TICK);
        let Ok(statistics) = serde_json::from_str::<serde_json::Value>(statistics) else {
            return;
        };
        for key in self.assignment.keys() {
            let Some(held) = self.assignment.held(&key.0, key.1) else {
                continue;
            };
            let fetched =
                statistics["topics"][&*key.0]["partitions"][key.1.to_string()]["next_offset"]
                    .as_i64();
            if let Some(fetched) = fetched.filter(|_| idle && held.fetched == fetched) {
                held.empty_to = held.empty_to.max(fetched);
            }
            held.fetched = fetched;
        }
    }

    /// Passes on to the group what became durable.
    pub(super) fn commit(&mut self, session: &mut Session) {
        let (assignment, commits) = (&mut self.assignment, &mut session.commits);
        if self.deciding.is_some() {
            // They are in the group already.
            self.consumer.tracker.take_moved(|_, _| {});
            return;
        }
        self.consumer.tracker.take_moved(|source, position| {
            if let Some((key, held)) = assignment.of(source) {
                commits.want(key, held.upto(*position));
            }
        });
        let urgent = matches!(session.jobs.front(), Some(Job::Give(_)))
            || self.consumer.stop.is_soft()
            || session.once.flushed;
        let Some((token, offsets)) = commits.due(Instant::now(), urgent) else {
            return;
        };
        let metadata = metadata(self.consumer.durable.id());
        let list: Vec<_> = offsets
            .into_iter()
            .map(|((topic, partition), upto)| PartitionOffset {
                offset: Some(upto.offset),
                metadata: metadata.clone(),
                leader_epoch: upto.leader_epoch,
                ..PartitionOffset::bare(&topic, partition)
            })
            .collect();
        if let Err(text) = session.member.commit(&list, token) {
            tracing::debug!(output = %self.consumer.name, "{text}");
            session
                .commits
                .answered(Instant::now(), token, Some(Code::Fail), &[]);
        }
    }

    /// What is done once a second.
    pub(super) fn look(&mut self, session: &mut Session, now: Instant) {
        if !session.connected && now >= session.probe {
            session.probe = now + PROBE;
            if session.member.is_there(PROBED) {
                self.answers(session);
            }
        }
        self.show(session);
    }

    /// Brings the status up to date.
    pub(super) fn show(&mut self, session: &Session) {
        let mut partitions: Vec<_> = self
            .assignment
            .iter()
            .map(|(topic, partition, held)| PartitionStatus {
                topic: topic.clone(),
                partition,
                position: held.read_to(),
                committed: session.commits.committed(&(topic.clone(), partition)),
                end: session
                    .member
                    .watermarks(topic, partition)
                    .map(|(_, end)| end),
            })
            .collect();
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let refused = session.commits.is_refused();
        let refused = refused.then(|| refused_by(&self.consumer.settings.group));
        self.consumer.state.change(|status| {
            status.partitions = partitions;
            status.refused = refused;
        });
    }

    pub(super) fn name(&self, topic: &str) -> Arc<str> {
        self.assignment.name(topic).unwrap_or_else(|| topic.into())
    }
}

/// The offsets of an answer, by partition; absent when one of them failed.
pub(super) fn ends(partitions: &[PartitionOffset]) -> Option<BTreeMap<Key, i64>> {
    partitions
        .iter()
        .map(|partition| {
            let offset = partition.offset.filter(|_| partition.error.is_none())?;
            Some((
                (partition.topic.as_str().into(), partition.partition),
                offset,
            ))
        })
        .collect()
}

pub(super) fn bare(keys: &[Key]) -> Vec<PartitionOffset> {
    keys.iter()
        .map(|(topic, partition)| PartitionOffset::bare(topic, *partition))
        .collect()
}

/// Partitions in words: `logs[0,1] audit[3]`.
pub(super) fn names(keys: &[Key]) -> String {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in keys {
        topics.entry(topic).or_default().push(*partition);
    }
    let mut words = Vec::new();
    for (topic, mut partitions) in topics {
        partitions.sort_unstable();
        let list: Vec<_> = partitions.iter().map(i32::to_string).collect();
        words.push(format!("{topic}[{}]", list.join(",")));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_by_topic() {
        let keys = [("b".into(), 3), ("a".into(), 10), ("a".into(), 2)];
        assert_eq!(names(&keys), "a[2,10] b[3]");
        assert_eq!(names(&[]), "");
    }
}
