//! Partitions that come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Worker;
use super::decide::Deciding;
use super::session::{Session, bare, ends, names};
use super::start::{self, Begun, Facts, begun};
use crate::flow::durable::{Committed, named_journal};
use crate::flow::{Reason, SourceId};
use crate::kafka::commit::{Key, Upto};
use crate::kafka::native::{Boundary, PartitionOffset};
use crate::kafka::rebalance::{Give, Job, Known, SETTLE, Step, Take, Why};
use crate::kafka::settings::ConsumeFrom;

/// How long after a failed question it is put again.
const AGAIN: Duration = Duration::from_millis(500);

/// How long an answer about partitions that come is waited for at the first try; up to three times as long later.
const PATIENCE: Duration = Duration::from_millis(250);

impl Worker {
    /// Brings the first of the jobs on. `true` when it is done.
    pub(super) fn do_jobs(&mut self, session: &mut Session) -> bool {
        let tracker = self.consumer.tracker.clone();
        self.graves.retain(|client| Arc::strong_count(client) > 1);
        // When nobody holds records of an earlier client any more, what was not settled of them never will be.
        let bygone = if self.graves.is_empty() {
            self.bygone
        } else {
            0
        };
        self.assignment.bury(
            |source| source.0 <= bygone || tracker.open_entries(source) == 0,
            |source| {
                tracker.remove(source);
            },
        );
        let Some(job) = session.jobs.pop_front() else {
            return false;
        };
        let now = Instant::now();
        let left = match job {
            Job::Take(take) => self.bring(session, take, now).map(Job::Take),
            Job::Give(give) => self.part(session, give, now).map(Job::Give),
        };
        match left {
            Some(job) => {
                session.jobs.push_front(job);
                false
            }
            None => {
                self.show(session);
                true
            }
        }
    }

    /// Begins partitions; gives the job back while it is not done.
    fn bring(&mut self, session: &mut Session, mut take: Take, now: Instant) -> Option<Take> {
        if take.keys.is_empty() {
            self.answer(session.member.assign(&[]));
            tracing::debug!(output = %self.consumer.name, "the group gives no further partition");
            return None;
        }
        if self.deciding.is_some() && take.out_of_range.is_none() {
            return self.trust_the_group(session, take, now);
        }
        if self.assignment.is_haunted(&take.keys) {
            if now - take.since < SETTLE {
                if !take.flushed {
                    take.flushed = true;
                    self.flush = true;
                    self.pass_on();
                }
                return Some(take);
            }
            tracing::warn!(output = %self.consumer.name, partitions = %names(&take.keys), "records of an earlier assignment are not durable yet; they are read again and may stand in the files twice");
            let tracker = self.consumer.tracker.clone();
            self.assignment.exorcise(&take.keys, |source| {
                tracker.remove(source);
            });
        }
        if take.not_before.is_some_and(|at| now < at) {
            return Some(take);
        }
        if !self.find_out(session, &mut take) {
            take.not_before = Some(now + AGAIN);
            return Some(take);
        }
        self.begin(session, take, now)
    }

    /// Begins partitions where the group says, without asking where that is. Only when what was written of earlier assignments is decided.
    fn trust_the_group(
        &mut self,
        session: &mut Session,
        mut take: Take,
        now: Instant,
    ) -> Option<Take> {
        if self.is_voiding() || take.not_before.is_some_and(|at| now < at) {
            return Some(take);
        }
        if let Err(text) = session.member.assign(&bare(&take.keys)) {
            take.not_before = Some(now + AGAIN);
            let text = format!("cannot take partitions over: {text}");
            self.trouble(session, "", Code::Fail, &text);
            return Some(take);
        }
        tracing::info!(output = %self.consumer.name, partitions = %names(&take.keys), "takes partitions over");
        for key in &take.keys {
            self.sources += 1;
            let source = SourceId(self.sources);
            self.consumer.tracker.add(source, super::UNKNOWN);
            self.assignment.begin(key, source, super::UNKNOWN);
        }
        None
    }

    /// Asks what is not known yet of partitions that come. These are the only questions that make the thread wait for the network: longer
    /// from one try to the next, and never so long that a stop would notice.
    fn find_out(&mut self, session: &mut Session, take: &mut Take) -> bool {
        take.tries += 1;
        let patience = PATIENCE.saturating_mul(take.tries.min(3));
        let partitions = bare(&take.keys);
        let known = &mut take.known;
        if known.group.is_none() && take.out_of_range.is_none_or(|wanted| wanted < 0) {
            let answer = session.member.committed(&partitions, patience);
            let Some(answer) = self.checked(session, "the group's offsets", take.tries, answer)
            else {
                return false;
            };
            known.group = Some(answer.into_iter().map(|one| (key(&one), one)).collect());
        }
        for (slot, boundary, what) in [
            (&mut known.first, Boundary::First, "the first offsets"),
            (&mut known.end, Boundary::End, "the end offsets"),
        ] {
            if slot.is_none() {
                let answer = session.member.bounds(&partitions, boundary, patience);
                let Some(answer) = self.checked(session, what, take.tries, answer) else {
                    return false;
                };
                *slot = ends(&answer);
            }
        }
        let (first, end) = (known.first.is_some(), known.end.is_some());
        let ConsumeFrom::Time(time) = self.consumer.settings.start_at else {
            return first && end;
        };
        if take.known.since.is_none() && take.out_of_range.is_none_or(|wanted| wanted < 0) {
            let answer = session.member.since(&partitions, time, patience);
            let what = "the offsets of `start_at`";
            let Some(answer) = self.checked(session, what, take.tries, answer) else {
                return false;
            };
            let since = answer.iter().filter_map(|one| {
                let offset = one.offset.filter(|offset| *offset >= 0)?;
                Some((key(one), offset))
            });
            take.known.since = Some(since.collect());
        }
        first && end
    }

    /// An answer without errors. Otherwise the trouble is told; not at once that it took too long, which may be the way to the cluster.
    fn checked(
        &mut self,
        session: &mut Session,
        what: &str,
        tries: u32,
        answer: Result<Vec<PartitionOffset>, (Code, String)>,
    ) -> Option<Vec<PartitionOffset>> {
        let (code, text) = match answer {
            Ok(partitions) => match partitions.iter().find_map(|partition| partition.error) {
                None => {
                    self.answers(session);
                    return Some(partitions);
                }
                Some(code) => (code, code.to_string()),
            },
            Err(failed) => failed,
        };
        let passing = matches!(
            code,
            Code::OperationTimedOut
                | Code::LeaderNotAvailable
                | Code::NotLeaderForPartition
                | Code::UnstableOffsetCommit
        );
        if passing && tries < 10 {
            tracing::debug!(output = %self.consumer.name, "{what}: {text}");
        } else {
            let text = format!("{what} cannot be read: {text}");
            self.trouble(session, "", code, &text);
        }
        None
    }

    /// Everything is known: begins. Gives the job back when librdkafka refuses.
    fn begin(&mut self, session: &mut Session, mut take: Take, now: Instant) -> Option<Take> {
        let starts: Vec<_> = take
            .keys
            .iter()
            .map(|key| (key.clone(), self.decide(&take, key)))
            .collect();
        if let Some((key, begun)) = starts.iter().find(|(_, begun)| begun.stops) {
            self.given_up = Some(self.stopped(key, begun, &take.known));
            return Some(take);
        }
        let list: Vec<_> = starts
            .iter()
            .map(|(key, begun)| PartitionOffset {
                offset: Some(begun.next),
                leader_epoch: take.known.epoch_at(key, begun.next),
                ..PartitionOffset::bare(&key.0, key.1)
            })
            .collect();
        if let Err(text) = session.member.assign(&list) {
            take.not_before = Some(now + AGAIN);
            let text = format!("cannot take partitions over: {text}");
            self.trouble(session, "", Code::Fail, &text);
            return Some(take);
        }
        for (key, begun) in starts {
            self.start(session, &key, &begun, &take.known);
        }
        None
    }

    /// Why the output stops: `on_out_of_range: stop`.
    fn stopped(&self, key: &Key, begun: &Begun, known: &Known) -> String {
        let (topic, partition) = key;
        let of = |ends: &Option<BTreeMap<Key, i64>>| {
            let end = ends.as_ref().and_then(|ends| ends.get(key));
            end.map_or_else(|| "unknown".to_owned(), i64::to_string)
        };
        format!(
            "topic {topic}, partition {partition}: the next record would be at offset {}, which the broker does not have (it has {} up to {}): retention took it, \
             or the topic was made again. `on_out_of_range` is `stop`: say where to go on with `logferry groups reset {} -t {topic}:{partition} --to earliest \
             --execute`, or change `on_out_of_range`, and start again",
            begun.next,
            of(&known.first),
            of(&known.end),
            self.consumer.settings.group,
        )
    }

    fn decide(&self, take: &Take, key: &Key) -> Begun {
        let settings = &self.consumer.settings;
        let durable = &self.consumer.durable;
        let known = &take.known;
        let at = |ends: &Option<BTreeMap<Key, i64>>| {
            ends.as_ref().and_then(|ends| ends.get(key).copied())
        };
        let group = known.of_group(key);
        let decides = self.deciding.is_some();
        let facts = Facts {
            group: group.and_then(|group| {
                Some(Committed {
                    offset: group.offset?,
                    metadata: &group.metadata,
                    leader_epoch: group.leader_epoch,
                })
            }),
            place: durable.place(&key.0, key.1).filter(|_| !decides),
            journal: durable.id(),
            first: at(&known.first).unwrap_or(0),
            end: at(&known.end).unwrap_or(0),
            since: at(&known.since),
            start_at: settings.start_at,
            on_out_of_range: settings.on_out_of_range,
        };
        match take.out_of_range {
            // Everything before it is durable: it is the journal's own word, if it is still there.
            Some(wanted) if wanted >= 0 => start::within(&facts, wanted, Reason::Journal),
            _ => begun(&facts),
        }
    }

    fn start(&mut self, session: &mut Session, key: &Key, begun: &Begun, known: &Known) {
        let (topic, partition) = (&*key.0, key.1);
        let name = &self.consumer.name;
        match begun.out_of_range {
            Some(wanted) => {
                let skipped = begun.skipped();
                self.consumer
                    .state
                    .change(|status| status.skipped += skipped);
                tracing::error!(output = %name, topic, partition, wanted, offset = begun.next, skipped, "the next record is not there any more (retention, or the topic was made again); going on as `on_out_of_range` says");
            }
            None => {
                tracing::info!(output = %name, topic, partition, offset = begun.next, "begins: {}", start::words(begun.why));
            }
        }
        if let Some(deciding) = &mut self.deciding {
            deciding.choose(key, begun.next);
        } else if begun.adopt {
            self.consumer.durable.adopt(topic, partition, begun.next);
        }
        self.sources += 1;
        let source = SourceId(self.sources);
        self.consumer.tracker.add(source, begun.next);
        self.assignment.begin(key, source, begun.next);
        if let Some(group) = known.of_group(key)
            && let Some(offset) = group.offset
            && named_journal(&group.metadata) == Some(self.consumer.durable.id())
        {
            session.commits.found(key.clone(), offset);
        }
        if self.deciding.is_some() {
            return;
        }
        // So that the group knows the journal, and a group that began at the end stays where it began.
        let upto = Upto {
            offset: begun.next,
            leader_epoch: known.epoch_at(key, begun.next),
        };
        session.commits.want(key.clone(), upto);
    }

    /// Puts a job of the group's in the queue, before those that follow from offsets out of range: the group takes the next assignment or
    /// return for its answer.
    pub(super) fn must(session: &mut Session, job: Job) {
        let at = session.jobs.iter().position(Job::is_out_of_range);
        session.jobs.insert(at.unwrap_or(session.jobs.len()), job);
    }

    /// Partitions go for another reason: what was to be done because their offset was out of range is not to be done any more.
    pub(super) fn drop_out_of_range(session: &mut Session, keys: &[Key]) {
        session.jobs.retain_mut(|job| {
            if !job.is_out_of_range() {
                return true;
            }
            let own = job.keys_mut();
            own.retain(|key| !keys.contains(key));
            !own.is_empty()
        });
    }

    /// The group gives partitions to others.
    pub(super) fn revoked(&mut self, session: &mut Session, keys: Vec<Key>, now: Instant) {
        tracing::info!(output = %self.consumer.name, partitions = %names(&keys), "the group gives partitions to others");
        self.let_go(&keys);
        Self::drop_out_of_range(session, &keys);
        Self::must(session, Job::give(keys, Why::Revoked, now));
    }

    /// No more records of `keys` go to the output; what was not sent is dropped, their next owner reads it.
    pub(super) fn let_go(&mut self, keys: &[Key]) {
        self.assignment.leave(keys);
        let mut sources = Vec::new();
        for key in keys {
            sources.extend(self.assignment.held(&key.0, key.1).map(|held| held.source));
        }
        let Some(mut pending) = self.pending.take() else {
            return;
        };
        pending.count = pending.records.without(&sources);
        pending.ends.retain(|(source, _)| !sources.contains(source));
        self.pending = (!pending.records.is_empty()).then_some(pending);
    }

    /// Gives partitions back; gives the job back while it is not done.
    fn part(&mut self, session: &mut Session, mut give: Give, now: Instant) -> Option<Give> {
        if session.is_lost() {
            self.lost(session, &give.keys);
            return None;
        }
        // What the broker has not any more does not concern what was read of it before.
        if give.why == Why::OutOfRange && self.pending.is_some() && now - give.since < SETTLE {
            return Some(give);
        }
        if self.is_voiding() {
            return Some(give);
        }
        let open = self.open_entries(&give.keys);
        let hopeless = |it: &Deciding| it.is_hopeless() || now - give.since > SETTLE;
        if open > 0 && self.deciding.as_deref().is_some_and(hopeless) {
            let count = give.keys.len() as u64;
            self.consumer.state.change(|status| status.unclean += count);
            tracing::warn!(output = %self.consumer.name, partitions = %names(&give.keys), open, "partitions go before everything of them is decided; it is cut, and their next owner writes it");
            self.void();
            return Some(give);
        }
        if open > 0 && !give.flushed {
            give.flushed = true;
            self.flush = true;
            self.pass_on();
        }
        let idle = give.keys.iter().all(|key| session.commits.is_idle_for(key));
        match give.step(now, open, idle) {
            Step::Wait => Some(give),
            Step::Commit => {
                self.commit(session);
                Some(give)
            }
            Step::Return(clean) => {
                if !clean {
                    let count = give.keys.len() as u64;
                    self.consumer.state.change(|status| status.unclean += count);
                    tracing::warn!(output = %self.consumer.name, partitions = %names(&give.keys), open, "partitions go before everything of them is durable and committed; their next owner reads that again");
                }
                let wanted = self.give_back(session, &give.keys);
                if give.why == Why::OutOfRange {
                    for (key, next) in wanted {
                        session.jobs.push_front(Job::take_again(key, next, now));
                    }
                } else {
                    tracing::info!(output = %self.consumer.name, partitions = %names(&give.keys), "gave partitions back");
                }
                None
            }
        }
    }

    /// The group went on without this member: nothing can be committed any more.
    pub(super) fn lost(&mut self, session: &mut Session, keys: &[Key]) {
        tracing::warn!(output = %self.consumer.name, partitions = %names(keys), "the group went on without this member (it was not heard of for too long); what it has not committed is read again by others");
        self.consumer.state.change(|status| status.lost += 1);
        self.let_go(keys);
        session.jobs.clear();
        self.give_back(session, keys);
        if let Some(roster) = &mut session.roster {
            roster.doubt();
        }
        self.void();
    }

    /// Returns partitions to the group, and gives their next offsets.
    pub(super) fn give_back(&mut self, session: &mut Session, keys: &[Key]) -> Vec<(Key, i64)> {
        let mut given = Vec::new();
        for key in keys {
            let Some(next) = self.assignment.held(&key.0, key.1).map(|held| held.next) else {
                continue;
            };
            self.forget(key);
            if let Some(deciding) = &mut self.deciding {
                deciding.forget(key);
            }
            session.commits.forget(key);
            given.push((key.clone(), next));
        }
        let keys: Vec<Key> = given.iter().map(|(key, _)| key.clone()).collect();
        self.answer(session.member.unassign(&bare(&keys)));
        given
    }

    /// The partition is not held any more; what of it is on its way to the disk is watched until it is there.
    pub(super) fn forget(&mut self, key: &Key) {
        let tracker = self.consumer.tracker.clone();
        let Some(source) = self.assignment.held(&key.0, key.1).map(|held| held.source) else {
            return;
        };
        let settled = tracker.open_entries(source) == 0;
        self.assignment.end(key, settled);
        if settled {
            tracker.remove(source);
        }
    }

    fn open_entries(&mut self, keys: &[Key]) -> usize {
        let mut open = 0;
        for key in keys {
            if let Some(held) = self.assignment.held(&key.0, key.1) {
                open += self.consumer.tracker.open_entries(held.source);
            }
        }
        open
    }

    /// librdkafka refused the answer to a rebalance. It happens when the member was thrown out meanwhile; the group begins anew then.
    pub(super) fn answer(&self, answered: Result<(), String>) {
        if let Err(text) = answered {
            tracing::warn!(output = %self.consumer.name, "an answer to the group was refused: {text}");
        }
    }
}

fn key(partition: &PartitionOffset) -> Key {
    (partition.topic.as_str().into(), partition.partition)
}
