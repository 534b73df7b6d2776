//! `delivery: exactly_once`: what the output has made durable and the group's offsets are one transaction.
//!
//! ```text
//!  establish ─► the output settles its files ─► join the group ─► proposals ─► transactions
//!                                                   │ partitions are lost, or go undecided
//!                                                   └─► void: the output cuts; what is still held is read again
//! ```
//!
//! Partitions begin where the group says, without a question: librdkafka waits for each until nobody's transaction is open over its offset,
//! and the others go on meanwhile. A transaction carries who this member is: the group refuses it when it went on without this member, which
//! is all that guards against one that slept. So whoever is no member does not even try.
//!
//! Invariant: a proposal counts only with the offsets of all its entries, and only while all their partitions are held.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use super::session::Session;
use super::transactor::{Contents, Ended, Transactor, Whose};
use super::{Consumer, Worker};
use crate::flow::{
    Backoff, Beginning, Decider, EntryId, Found, Proposal, SourceId, Stamp, Verdict, judge,
};
use crate::kafka::commit::Key;
use crate::kafka::native::PartitionOffset;
use crate::kafka::producer::{TransactionsView, instance};
use crate::kafka::settings::ExactlyOnce;
use crate::kafka::transaction::Home;

/// How soon a transaction is tried again that was aborted.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long one that is no member waits until it looks again.
const NO_MEMBER: Duration = Duration::from_millis(100);
/// How long the last transactions may take when the daemon stops.
pub(super) const LAST: Duration = Duration::from_secs(5);
/// After so many failed transactions partitions that are to go are given back undecided.
const TRIES: u32 = 6;

/// What a consumer that decides needs besides.
pub struct Transacting {
    pub decider: Decider,
    /// The name of the output's folder in Kafka, and how old a transaction may become.
    pub exactly_once: ExactlyOnce,
}

/// Where the transactions of an output stand.
pub(super) struct Deciding {
    decider: Decider,
    whose: Whose,
    /// Absent while a new client could not be established.
    transactor: Option<Transactor>,
    /// This instance.
    writer: String,
    /// The last transaction with a stamp that is known to be committed.
    last: Option<Stamp>,
    /// What is being decided.
    current: Option<Proposal>,
    /// Offsets that were chosen here, not by the group; they go with the next transaction.
    chosen: BTreeMap<Key, i64>,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// How many transactions failed since the last one that was committed.
    failed: u32,
    /// The output has still to cut.
    voiding: bool,
}

/// It is to be stopped for good; in words, why.
pub(super) struct GivenUp(pub String);

impl Deciding {
    pub fn new(transacting: Transacting, consumer: &Consumer) -> Self {
        Self {
            decider: transacting.decider,
            whose: Whose {
                cluster: consumer.settings.cluster.clone(),
                bootstrap: consumer.bootstrap.clone(),
                client_id: consumer.client_id.clone(),
                home: Home::new(&transacting.exactly_once),
            },
            transactor: None,
            writer: instance(),
            last: None,
            current: None,
            chosen: BTreeMap::new(),
            not_before: None,
            backoff: Backoff::new(AGAIN.0, AGAIN.1),
            failed: 0,
            voiding: false,
        }
    }

    /// Whether nothing is left to be decided.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.chosen.is_empty() && !self.voiding
    }

    /// Whether there is something that waiting alone brings on.
    pub fn next(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.is_idle())
    }

    pub fn is_voiding(&self) -> bool {
        self.voiding
    }

    /// Whether waiting for decisions has come to nothing often enough.
    pub fn is_hopeless(&self) -> bool {
        self.failed >= TRIES
    }

    /// The partition is not ours any more.
    pub fn forget(&mut self, key: &Key) {
        self.chosen.remove(key);
    }

    /// A partition begins where this member says.
    pub fn choose(&mut self, key: &Key, offset: i64) {
        self.chosen.insert(key.clone(), offset);
    }

    /// Whoever goes leaves no transaction open.
    pub fn leave(self) {
        if let Some(transactor) = self.transactor {
            transactor.leave();
        }
    }

    /// Tries until a new client is established. `None` when `stop` says so first.
    fn establish(&mut self, consumer: &Consumer, stop: &dyn Fn() -> bool) -> Option<Found> {
        // The old one is closed first: it is at its end, or there is none.
        self.transactor = None;
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut said = None;
        while !stop() {
            match Transactor::establish(&self.whose, stop) {
                Ok(Some((transactor, found))) => {
                    self.transactor = Some(transactor);
                    consumer.state.change(|status| status.last_error = None);
                    return Some(found);
                }
                Ok(None) => return None,
                Err(why) => {
                    if said.as_ref() != Some(&why) {
                        tracing::error!(output = %consumer.name, "transactions cannot begin yet: {why}; it is tried again");
                        consumer
                            .state
                            .change(|status| status.last_error = Some(why.clone()));
                        said = Some(why);
                    }
                    let until = Instant::now() + backoff.delay();
                    while !stop() {
                        let left = until.saturating_duration_since(Instant::now());
                        if left.is_zero() {
                            break;
                        }
                        consumer.bell.wait(left.min(NO_MEMBER));
                    }
                }
            }
        }
        None
    }

    /// The client is at its end, or nobody heard how a transaction ended: a new one finds out. `None`: it is to be left.
    fn find_out(
        &mut self,
        consumer: &Consumer,
        why: &str,
        stop: &dyn Fn() -> bool,
    ) -> Option<Result<bool, GivenUp>> {
        tracing::warn!(
            output = %consumer.name, why,
            "nobody heard how a transaction ended; a new Kafka client finds it out"
        );
        count(consumer, |counts| counts.in_doubt += 1);
        let attempt = self.current.as_ref().map(|proposal| self.stamp(proposal));
        let judged = |found: &Found, it: &Self| {
            judge(found.stamp.as_ref(), it.last.as_ref(), attempt.as_ref())
        };
        // Whoever took over has said so, or both would go on shutting each other out.
        let looked = Transactor::look(&self.whose, stop).map(|found| judged(&found, self));
        let verdict = match looked {
            Some(rival @ Verdict::Rival(_)) => rival,
            _ => {
                let found = self.establish(consumer, stop)?;
                judged(&found, self)
            }
        };
        Some(match verdict {
            Verdict::Committed => Ok(true),
            Verdict::Aborted => Ok(false),
            Verdict::Rival(rival) => {
                let text = format!(
                    "another process writes as {} (it wrote transaction {} as {}, this is {}): was the folder copied, with its .logferry file? \
                     Nothing more is written from here; remove that file from the copy, and its *.part files",
                    self.whose.home.exactly_once.transactional_id(),
                    rival.number,
                    rival.writer,
                    self.writer
                );
                let told = text.clone();
                consumer.state.change(|status| status.fenced = Some(told));
                Err(GivenUp(text))
            }
            Verdict::Lost => Err(GivenUp(
                "what Kafka knew of the files is gone while the output ran (was the topic logferry-positions made again?): nobody can tell what was \
                 committed"
                    .to_owned(),
            )),
        })
    }

    fn stamp(&self, proposal: &Proposal) -> Stamp {
        Stamp {
            writer: self.writer.clone(),
            number: proposal.number,
        }
    }
}

impl Worker {
    /// The start: the output brings its files to what is committed, before anything is consumed. `false` when it is to be left.
    pub(super) fn begin_deciding(&mut self) -> Result<bool, GivenUp> {
        let Some(mut it) = self.deciding.take() else {
            return Ok(true);
        };
        let stop = self.consumer.stop.clone();
        count(&self.consumer, |_| {});
        let Some(found) = it.establish(&self.consumer, &|| stop.is_soft()) else {
            return Ok(false);
        };
        it.last = found.stamp.clone();
        it.decider.found(Beginning {
            found,
            writer: it.writer.clone(),
        });
        while !it.decider.has_begun().map_err(GivenUp)? {
            if stop.is_soft() || it.decider.is_over() {
                return Ok(false);
            }
            self.consumer.bell.wait(super::TICK);
        }
        count(&self.consumer, |counts| counts.established = true);
        self.deciding = Some(it);
        Ok(true)
    }

    /// Brings what is proposed to a decision. `true` when something came of it.
    pub(super) fn bring_to_decision(&mut self, session: &mut Session) -> Result<bool, GivenUp> {
        let Some(mut it) = self.deciding.take() else {
            return Ok(false);
        };
        let decided = self.decide_with(&mut it, session);
        self.deciding = Some(it);
        decided
    }

    fn decide_with(&mut self, it: &mut Deciding, session: &mut Session) -> Result<bool, GivenUp> {
        if it.voiding {
            if it.decider.is_void() {
                return Ok(false);
            }
            it.voiding = false;
            self.start_over(session);
            return Ok(true);
        }
        let now = Instant::now();
        if it.not_before.is_some_and(|at| now < at) {
            return Ok(false);
        }
        if it.current.is_none() {
            it.current = it.decider.proposal();
        }
        if it.current.is_none() && it.chosen.is_empty() {
            return Ok(false);
        }
        let Some(offsets) = self.offsets(it) else {
            tracing::warn!(output = %self.consumer.name, "what was written is of partitions that are not held any more");
            self.void_with(it);
            return Ok(true);
        };
        let member = session.member.membership();
        let member = member.filter(|it| it.is_member() && !session.member.is_lost());
        // Marks alone are this member's own business.
        if member.is_none() && !offsets.is_empty() {
            it.not_before = Some(now + NO_MEMBER);
            return Ok(false);
        }
        let stop = self.consumer.stop.clone();
        let stopping = stop.is_soft().then(Instant::now);
        let left =
            move || stop.is_hard() || stopping.is_some_and(|since: Instant| since.elapsed() > LAST);
        let stamp = it.current.as_ref().map(|proposal| it.stamp(proposal));
        let none = Vec::new();
        let contents = Contents {
            marks: it.current.as_ref().map_or(&none, |it| &it.marks),
            stamp: stamp.as_ref(),
            offsets: member
                .as_ref()
                .filter(|_| !offsets.is_empty())
                .map(|member| (offsets.as_slice(), member)),
        };
        let ended = match &mut it.transactor {
            Some(transactor) => transactor.transact(&contents, &left),
            None => Ended::Unknown("there is no client".to_owned()),
        };
        let (committed, why) = match ended {
            Ended::Committed => (true, String::new()),
            Ended::Aborted(why) => (false, why),
            Ended::Left => return Ok(false),
            Ended::Unknown(why) => match it.find_out(&self.consumer, &why, &left) {
                None => return Ok(false),
                Some(found) => (found?, why),
            },
        };
        if committed {
            self.committed_with(it, session, stamp, &offsets);
        } else {
            it.failed += 1;
            it.not_before = Some(Instant::now() + it.backoff.delay());
            count(&self.consumer, |counts| counts.aborted += 1);
            tracing::debug!(output = %self.consumer.name, why, failed = it.failed, "a transaction was aborted; it is tried again while its partitions are held");
            // Every rebalance aborts one or two.
            if it.failed == TRIES {
                tracing::warn!(output = %self.consumer.name, "transactions cannot be committed: {why}; tried again until they are");
                self.consumer
                    .state
                    .change(|status| status.last_error = Some(why));
            }
        }
        Ok(true)
    }

    fn committed_with(
        &mut self,
        it: &mut Deciding,
        session: &mut Session,
        stamp: Option<Stamp>,
        offsets: &[PartitionOffset],
    ) {
        if it.current.take().is_some() {
            it.last = stamp;
            it.decider.committed();
        }
        it.chosen.clear();
        if it.failed >= TRIES {
            tracing::info!(output = %self.consumer.name, "transactions are committed again");
            self.consumer
                .state
                .change(|status| status.last_error = None);
        }
        (it.failed, it.not_before) = (0, None);
        it.backoff.reset();
        for place in offsets {
            if let Some(offset) = place.offset {
                let key = (self.name(&place.topic), place.partition);
                session.commits.found(key, offset);
            }
        }
        self.answers(session);
        count(&self.consumer, |counts| {
            counts.committed += 1;
            counts.last_commit = Some(SystemTime::now());
        });
    }

    /// The offsets that the proposal makes true, with those that were chosen; nothing when a partition of it is not held any more.
    fn offsets(&mut self, it: &Deciding) -> Option<Vec<PartitionOffset>> {
        let mut by_source: BTreeMap<SourceId, Vec<EntryId>> = BTreeMap::new();
        for (source, entry) in it.current.iter().flat_map(|proposal| &proposal.entries) {
            by_source.entry(*source).or_default().push(*entry);
        }
        let mut offsets = BTreeMap::new();
        for (key, offset) in &it.chosen {
            offsets.insert(key.clone(), (*offset, -1));
        }
        for (source, entries) in by_source {
            let (position, _) = self.consumer.tracker.position_with(source, &entries)?;
            let (key, held) = self.assignment.of(source)?;
            let upto = held.upto(position);
            offsets.insert(key, (upto.offset, upto.leader_epoch));
        }
        let offsets = offsets.into_iter();
        Some(
            offsets
                .map(
                    |((topic, partition), (offset, leader_epoch))| PartitionOffset {
                        offset: Some(offset),
                        leader_epoch,
                        ..PartitionOffset::bare(&topic, partition)
                    },
                )
                .collect(),
        )
    }

    /// Nothing that was sent and is not decided counts. Does nothing when there is no such thing.
    pub(super) fn void(&mut self) {
        let Some(mut it) = self.deciding.take() else {
            return;
        };
        if !it.voiding && (self.consumer.tracker.all_open_entries() > 0 || it.current.is_some()) {
            self.void_with(&mut it);
        }
        self.deciding = Some(it);
    }

    fn void_with(&mut self, it: &mut Deciding) {
        it.voiding = true;
        (it.current, it.not_before) = (None, None);
        (it.failed, self.flush) = (0, false);
        self.pending = None;
        it.decider.void();
    }

    pub(super) fn is_voiding(&self) -> bool {
        self.deciding.as_ref().is_some_and(|it| it.is_voiding())
    }

    /// The output has cut and forgotten: what is still held is read again from what was committed.
    fn start_over(&mut self, session: &mut Session) {
        let tracker = self.consumer.tracker.clone();
        self.assignment.bury(
            |_| true,
            |source| {
                tracker.remove(source);
            },
        );
        for key in self.assignment.keys() {
            let Some(held) = self.assignment.held(&key.0, key.1) else {
                continue;
            };
            let (source, begun) = (held.source, held.begun);
            let settled = tracker.remove(source).filter(|offset| *offset >= 0);
            let next = settled.or(begun).unwrap_or(super::UNKNOWN);
            self.sources += 1;
            let fresh = SourceId(self.sources);
            tracker.add(fresh, next);
            self.assignment.renew(&key, fresh, next);
            if next != super::UNKNOWN && self.pipe.is_some() {
                self.seat(session, &key.0, key.1);
            }
        }
        tracing::info!(output = %self.consumer.name, "what was not decided was cut; what is still held is read again");
    }
}

fn count(consumer: &Consumer, change: impl FnOnce(&mut TransactionsView)) {
    consumer.state.change(|status| {
        change(status.transactions.get_or_insert_default());
    });
}
