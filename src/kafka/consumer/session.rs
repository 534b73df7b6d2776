//! The life of one Kafka client: its events, its troubles, its commits.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::intake::News;
use super::status::PartitionStatus;
use super::{End, TICK, Worker};
use crate::flow::Ring;
use crate::flow::durable::metadata;
use crate::kafka::commit::{self, Commits, Key};
use crate::kafka::native::{Boundary, Event, EventKind, Member, PartitionOffset};
use crate::kafka::rebalance::{Job, Why};
use crate::kafka::settings::Isolation;

/// How often a cluster that is away is asked whether it is back.
const PROBE: Duration = Duration::from_secs(2);
/// How long an answer to any question may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// `once`: how long a member without partitions waits for some.
const NOTHING: Duration = Duration::from_secs(20);
/// The same when not even the group has answered: a dead member can hold up a rebalance for its session's time.
const NO_GROUP: Duration = Duration::from_secs(60);

pub(super) struct Session {
    pub member: Member,
    pub commits: Commits,
    pub jobs: VecDeque<Job>,
    pub fatal: Option<String>,
    /// Whether the cluster answered last time.
    pub connected: bool,
    /// Whether the group answered.
    joined: bool,
    pub tick: Instant,
    tokens: u64,
    /// The question that shows whether the cluster is there.
    probe: Option<(u64, Instant)>,
    /// Troubles that were told, so that each is told once.
    told: HashSet<(String, i32)>,
    /// Why the last broker was not reached.
    unreached: Option<String>,
    /// Since when no message lay in the queue.
    pub idle_since: Option<Instant>,
    once: Once,
}

/// What `once` waits for.
#[derive(Default)]
struct Once {
    since: Option<Instant>,
    /// The assignment that the ends belong to.
    version: u64,
    asked: Option<(u64, Instant)>,
    ends: Option<BTreeMap<Key, i64>>,
    flushed: bool,
}

impl Session {
    pub fn new(
        config: &ClientConfig,
        ring: &Arc<dyn Ring>,
        topics: &[String],
    ) -> Result<Self, String> {
        let member = Member::new(config, ring)?;
        member.subscribe(topics)?;
        Ok(Self {
            member,
            commits: Commits::new(),
            jobs: VecDeque::new(),
            fatal: None,
            connected: false,
            joined: false,
            tick: Instant::now(),
            tokens: 0,
            probe: None,
            told: HashSet::new(),
            unreached: None,
            idle_since: None,
            once: Once::default(),
        })
    }

    /// Whether enough was read (`once`).
    pub fn has_enough(&self) -> bool {
        self.once.flushed
    }

    /// A number for the next question.
    pub fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
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
        match event.kind() {
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
            EventKind::Offsets => self.offsets(session, event),
            EventKind::Statistics(text) => self.fetched(session, &text),
            EventKind::Deliveries | EventKind::Other => {}
        }
    }

    fn rebalance(&mut self, session: &mut Session, code: Code, partitions: Vec<PartitionOffset>) {
        let now = Instant::now();
        let keys: Vec<Key> = partitions
            .iter()
            .map(|partition| (self.name(&partition.topic), partition.partition))
            .collect();
        self.answers(session);
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
            Code::RevokePartitions if session.member.is_lost() => self.lost(session, &keys),
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
        if !failed {
            self.answers(session);
        }
        match news {
            Some(commit::News::Failing(code)) => {
                tracing::warn!(output = %self.consumer.name, group = %self.consumer.settings.group, "offsets cannot be committed: {code}{}; tried again until it succeeds", advice(code));
            }
            Some(commit::News::Back) => {
                tracing::info!(output = %self.consumer.name, group = %self.consumer.settings.group, "offsets are committed again");
            }
            None => {}
        }
    }

    fn offsets(&mut self, session: &mut Session, event: &Event) {
        let (token, answer) = (event.token(), event.offsets());
        match &answer {
            Ok(_) => self.answers(session),
            // A broker's own code: it is there, whatever it thinks of the question.
            Err((code, text)) if *code as i32 > 0 => {
                self.answers(session);
                self.trouble(session, "", *code, text);
            }
            Err(_) => {}
        }
        if session.probe.is_some_and(|(probe, _)| probe == token) {
            session.probe = None;
        } else if session.once.asked.is_some_and(|(asked, _)| asked == token) {
            session.once.asked = None;
            let wanted = session.once.version == self.assignment.version;
            if let (true, Ok(partitions)) = (wanted, answer) {
                session.once.ends = ends(&partitions);
            }
        } else {
            self.answered(session, token, answer);
        }
    }

    /// The cluster answered something.
    pub(super) fn answers(&mut self, session: &mut Session) {
        if session.connected {
            return;
        }
        session.connected = true;
        session.told.clear();
        self.consumer.state.change(|status| {
            status.connected = true;
            status.last_error = None;
        });
        tracing::info!(output = %self.consumer.name, brokers = %self.consumer.bootstrap, "the cluster answers");
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
    fn seat(&mut self, session: &mut Session, topic: &str, partition: i32) {
        let Some(held) = self.assignment.held(topic, partition) else {
            return;
        };
        if held.is_leaving() {
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

    /// Something is wrong. Said once, until the cluster is back or the group gives something.
    pub(super) fn trouble(&mut self, session: &mut Session, topic: &str, code: Code, text: &str) {
        match code {
            // One broker. When it is all of them, that is said.
            Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
                tracing::debug!(output = %self.consumer.name, "{text}");
                session.unreached = Some(text.to_owned());
                return;
            }
            Code::AllBrokersDown => {
                session.connected = false;
                self.consumer
                    .state
                    .change(|status| status.connected = false);
            }
            _ => {}
        }
        if !session.told.insert((topic.to_owned(), code as i32)) {
            return;
        }
        let reason = match (code, &session.unreached) {
            (Code::AllBrokersDown, Some(reason)) => format!(": {reason}"),
            _ => String::new(),
        };
        let text = format!("{text}{}{reason}", advice(code));
        tracing::warn!(output = %self.consumer.name, brokers = %self.consumer.bootstrap, "{text}; trying on");
        self.consumer
            .state
            .change(|status| status.last_error = Some(text));
    }

    /// Passes on to the group what became durable.
    pub(super) fn commit(&mut self, session: &mut Session) {
        let (assignment, commits) = (&mut self.assignment, &mut session.commits);
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
        self.graves.retain(|client| Arc::strong_count(client) > 1);
        if session
            .probe
            .is_some_and(|(_, since)| now - since > PROBE.max(ANSWER))
        {
            session.probe = None;
        }
        if !session.connected && session.probe.is_none() {
            let token = session.token();
            let group = &self.consumer.settings.group;
            if session.member.ask_group(group, &[], false, PROBE, token) {
                session.probe = Some((token, now));
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
        self.consumer
            .state
            .change(|status| status.partitions = partitions);
    }

    /// `once`: whether everything is done.
    pub(super) fn is_done(&mut self, session: &mut Session, now: Instant) -> Option<End> {
        let until_end = self.consumer.until_end.as_ref()?;
        if !until_end.load(Ordering::Acquire) {
            return None;
        }
        let since = *session.once.since.get_or_insert(now);
        if !session.jobs.is_empty() {
            return None;
        }
        if self.assignment.is_empty() {
            return self.is_given_nothing(session, now - since);
        }
        if session.once.version != self.assignment.version {
            session.once = Once {
                since: Some(since),
                version: self.assignment.version,
                ..Once::default()
            };
        }
        let Some(ends) = &session.once.ends else {
            self.ask_ends(session, now);
            return None;
        };
        let mut behind = Vec::new();
        for (topic, partition, held) in self.assignment.iter() {
            let key = (topic.clone(), partition);
            if ends.get(&key).is_some_and(|end| held.read_to() < *end) {
                behind.push(key);
            }
        }
        let read = behind.is_empty();
        // Transaction markers are not given out, but counted.
        for place in session.member.positions(&bare(&behind)) {
            let held = self.assignment.held(&place.topic, place.partition);
            if let (Some(held), Some(position)) = (held, place.offset) {
                held.empty_to = held.empty_to.max(position);
            }
        }
        if !read || self.pending.is_some() {
            return None;
        }
        if !session.once.flushed {
            session.once.flushed = true;
            self.flush = true;
            self.pass_on();
        }
        let settled = self.consumer.tracker.all_open_entries() == 0;
        (settled && session.commits.is_idle()).then_some(End::CaughtUp)
    }

    fn is_given_nothing(&self, session: &Session, waited: Duration) -> Option<End> {
        let error = self.consumer.state.status().last_error;
        let known = session.joined || error.is_some();
        let enough = if known { NOTHING } else { NO_GROUP };
        (session.connected && waited > enough).then(|| {
            let why = error.unwrap_or_else(|| {
                if session.joined {
                    "the topics do not exist, or other members of the group have all partitions"
                        .to_owned()
                } else {
                    "the group did not answer".to_owned()
                }
            });
            End::NothingAssigned(format!(
                "group {} gave no partition of {} to this member: {why}",
                self.consumer.settings.group,
                self.consumer.settings.topics.join(", ")
            ))
        })
    }

    fn ask_ends(&mut self, session: &mut Session, now: Instant) {
        if session
            .once
            .asked
            .is_some_and(|(_, since)| now - since < ANSWER + TICK)
        {
            return;
        }
        let token = session.token();
        let boundary = match self.consumer.settings.isolation {
            Isolation::ReadCommitted => Boundary::StableEnd,
            Isolation::ReadUncommitted => Boundary::End,
        };
        let partitions = bare(&self.assignment.keys());
        session
            .member
            .ask_boundary(&partitions, boundary, ANSWER, token);
        session.once.asked = Some((token, now));
    }

    fn name(&self, topic: &str) -> Arc<str> {
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

/// What to do about an error, as the end of a sentence.
fn advice(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "; grant READ and DESCRIBE on the topic to this user",
        Code::GroupAuthorizationFailed => "; grant READ on the group to this user",
        Code::UnknownTopicOrPartition | Code::UnknownTopic => {
            "; create the topic, it is picked up within seconds"
        }
        Code::SaslAuthenticationFailed | Code::Authentication => {
            "; check `sasl` of the cluster: the broker refuses the credentials"
        }
        Code::SSL => "; check `tls` of the cluster",
        Code::InconsistentGroupProtocol => {
            "; other members of the group use another assignment strategy; give this output a group of its own"
        }
        Code::OffsetMetadataTooLarge => {
            "; raise the broker's `offset.metadata.max.bytes` to its default of 4096"
        }
        _ => "",
    }
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
