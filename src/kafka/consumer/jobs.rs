//! Partitions that come and go.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;

use super::Worker;
use super::session::{ANSWER, Session, bare, ends, names};
use super::start::{self, Begun, Facts, begun};
use crate::flow::durable::{Committed, named_journal};
use crate::flow::{Reason, SourceId};
use crate::kafka::commit::{Key, Upto};
use crate::kafka::native::{Boundary, PartitionOffset};
use crate::kafka::rebalance::{Asked, Give, Job, SETTLE, Step, Take, Why};
use crate::kafka::settings::Isolation;

/// How long after a failed question it is put again.
const AGAIN: Duration = Duration::from_millis(500);

/// What is known about a partition that comes.
struct Known {
    group: BTreeMap<Key, PartitionOffset>,
    first: BTreeMap<Key, i64>,
    end: BTreeMap<Key, i64>,
}

impl Worker {
    /// Brings the first of the jobs on. `true` when it is done.
    pub(super) fn do_jobs(&mut self, session: &mut Session) -> bool {
        let tracker = self.consumer.tracker.clone();
        self.assignment.bury(
            |source| tracker.open_entries(source) == 0,
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
        match take.asked.take() {
            Some(Asked {
                group: (_, Some(group)),
                first: (_, Some(first)),
                end: (_, Some(end)),
                ..
            }) => self.begin(session, take, &group, &first, &end, now),
            Some(asked) if now - asked.since < ANSWER + AGAIN => {
                take.asked = Some(asked);
                Some(take)
            }
            _ => {
                take.asked = self.ask(session, &take, now);
                take.not_before = take.asked.is_none().then(|| now + AGAIN);
                Some(take)
            }
        }
    }

    fn ask(&self, session: &mut Session, take: &Take, now: Instant) -> Option<Asked> {
        let partitions = bare(&take.keys);
        let (group, first, end) = (session.token(), session.token(), session.token());
        let settings = &self.consumer.settings;
        let member = &session.member;
        let mut known = None;
        if take.out_of_range.is_some() {
            known = Some(Vec::new());
        } else {
            let stable = settings.isolation == Isolation::ReadCommitted;
            member
                .ask_group(&settings.group, &partitions, stable, ANSWER, group)
                .then_some(())?;
        }
        member
            .ask_boundary(&partitions, Boundary::First, ANSWER, first)
            .then_some(())?;
        member
            .ask_boundary(&partitions, Boundary::End, ANSWER, end)
            .then_some(())?;
        Some(Asked {
            since: now,
            group: (group, known),
            first: (first, None),
            end: (end, None),
        })
    }

    /// An answer to a question about partitions that come.
    pub(super) fn answered(
        &mut self,
        session: &mut Session,
        token: u64,
        answer: Result<Vec<PartitionOffset>, (Code, String)>,
    ) {
        let Some(Job::Take(take)) = session.jobs.front_mut() else {
            return;
        };
        let Some(asked) = &mut take.asked else { return };
        let (slot, what) = if asked.group.0 == token {
            (&mut asked.group.1, "the group's offsets")
        } else if asked.first.0 == token {
            (&mut asked.first.1, "the partitions' first offsets")
        } else if asked.end.0 == token {
            (&mut asked.end.1, "the partitions' end offsets")
        } else {
            return;
        };
        let failed = match answer {
            Ok(partitions) => match partitions.iter().find_map(|partition| partition.error) {
                None => {
                    *slot = Some(partitions);
                    return;
                }
                Some(code) => (code, code.to_string()),
            },
            Err(failed) => failed,
        };
        take.asked = None;
        take.not_before = Some(Instant::now() + AGAIN);
        let text = format!("{what} cannot be read: {}", failed.1);
        // An open transaction over the offsets ends soon, or is ended by the broker.
        if failed.0 == Code::UnstableOffsetCommit {
            tracing::debug!(output = %self.consumer.name, "{text}");
            return;
        }
        self.trouble(session, "", failed.0, &text);
    }

    /// Everything is known: begins. Gives the job back when librdkafka refuses.
    fn begin(
        &mut self,
        session: &mut Session,
        mut take: Take,
        group: &[PartitionOffset],
        first: &[PartitionOffset],
        end: &[PartitionOffset],
        now: Instant,
    ) -> Option<Take> {
        let (Some(first), Some(end)) = (ends(first), ends(end)) else {
            take.not_before = Some(now + AGAIN);
            return Some(take);
        };
        let group = group
            .iter()
            .map(|partition| {
                let key = (partition.topic.as_str().into(), partition.partition);
                (key, partition.clone())
            })
            .collect();
        let known = Known { group, first, end };
        let starts: Vec<_> = take
            .keys
            .iter()
            .map(|key| (key.clone(), self.decide(&take, key, &known)))
            .collect();
        let list: Vec<_> = starts
            .iter()
            .map(|(key, begun)| PartitionOffset {
                offset: Some(begun.next),
                leader_epoch: known.epoch_at(key, begun.next),
                ..PartitionOffset::bare(&key.0, key.1)
            })
            .collect();
        if let Err(text) = session.member.assign(&list) {
            take.not_before = Some(now + AGAIN);
            self.trouble(
                session,
                "",
                Code::Fail,
                &format!("cannot take partitions over: {text}"),
            );
            return Some(take);
        }
        for (key, begun) in starts {
            self.start(session, &key, &begun, &known);
        }
        None
    }

    fn decide(&self, take: &Take, key: &Key, known: &Known) -> Begun {
        let settings = &self.consumer.settings;
        let durable = &self.consumer.durable;
        let group = known.group.get(key);
        let facts = Facts {
            group: group.and_then(|group| {
                Some(Committed {
                    offset: group.offset?,
                    metadata: &group.metadata,
                    leader_epoch: group.leader_epoch,
                })
            }),
            place: durable.place(&key.0, key.1),
            journal: durable.id(),
            first: known.first.get(key).copied().unwrap_or(0),
            end: known.end.get(key).copied().unwrap_or(0),
            start_at: settings.start_at,
            on_out_of_range: settings.on_out_of_range,
        };
        match take.out_of_range {
            // Everything before it is durable: it is the journal's own word, if it is still there.
            Some(wanted) => start::within(&facts, wanted, Reason::Journal),
            None => begun(&facts),
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
        if begun.adopt {
            self.consumer.durable.adopt(topic, partition, begun.next);
        }
        self.sources += 1;
        let source = SourceId(self.sources);
        self.consumer.tracker.add(source, begun.next);
        self.assignment.begin(key, source, begun.next);
        if let Some(group) = known.group.get(key)
            && let Some(offset) = group.offset
            && named_journal(&group.metadata) == Some(self.consumer.durable.id())
        {
            session.commits.found(key.clone(), offset);
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
    fn drop_out_of_range(session: &mut Session, keys: &[Key]) {
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
        if session.member.is_lost() {
            self.lost(session, &give.keys);
            return None;
        }
        // What the broker has not any more does not concern what was read of it before.
        if give.why == Why::OutOfRange && self.pending.is_some() && now - give.since < SETTLE {
            return Some(give);
        }
        let open = self.open_entries(&give.keys);
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
    }

    /// Returns partitions to the group, and gives their next offsets.
    pub(super) fn give_back(&mut self, session: &mut Session, keys: &[Key]) -> Vec<(Key, i64)> {
        let mut given = Vec::new();
        for key in keys {
            let Some(next) = self.assignment.held(&key.0, key.1).map(|held| held.next) else {
                continue;
            };
            self.forget(key);
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

impl Known {
    /// The leader epoch that the group's commit had, if `offset` is that commit's.
    fn epoch_at(&self, key: &Key, offset: i64) -> i32 {
        self.group
            .get(key)
            .filter(|group| group.offset == Some(offset))
            .map_or(-1, |group| group.leader_epoch)
    }
}
