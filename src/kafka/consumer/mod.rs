//! The way out of Kafka: one thread per output, from the group's partitions to the output's pipe, and from what the output made durable
//! back to the group.
//!
//! ```text
//!  partitions ─► one queue of messages ─► intake ─► pipe ─► output
//!                                           │ opens an entry per partition      │ settles when durable
//!  group ◄─ commit ◄─ position ◄─ tracker ◄─┴───────────────────────────────────┘
//! ```
//!
//! The thread sleeps on its bell, which is rung by librdkafka (messages, events), by the pipe (room), by the budget, by the tracker
//! (positions) and by the stop. It never waits in a call of librdkafka, so a cluster that is away cannot hold up the stop.
//!
//! Invariant: an offset is committed only when the tracker's position has passed it.

mod config;
mod decide;
mod intake;
mod jobs;
mod leave;
mod once;
mod roster;
mod session;
mod settlement;
mod start;
mod status;
#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
mod transactor;
mod trouble;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use self::decide::{Deciding, GivenUp};
use self::intake::Records;
use self::session::Session;
use super::native::Native;
use super::rebalance::Assignment;
use super::settings::ConsumerSettings;
use crate::flow::{
    Backoff, Bell, Count, Durable, Fetched, Receipt, Ring, Sender, Share, SourceId, Stop, Tracker,
    TrySend,
};

pub use config::consumer_config;
pub use decide::Transacting;
pub use settlement::{Settlement, Standing};
pub use start::{Begun, Facts, begun};
pub use status::{ConsumerState, ConsumerStatus, PartitionStatus};

/// How often positions, ends and lag are looked at.
const TICK: Duration = Duration::from_secs(1);
/// The same while something is waited for that rings no bell.
const QUICK: Duration = Duration::from_millis(50);
/// The offset of a partition that begins where the group says, until its first record tells.
const UNKNOWN: i64 = -1;

/// Everything that a consumer's thread works with.
pub struct Consumer {
    /// The output's name, for the log.
    pub name: String,
    pub settings: ConsumerSettings,
    /// `HOST:PORT,...`
    pub bootstrap: String,
    /// The client's name, as brokers see it.
    pub client_id: String,
    /// How much librdkafka may hold that was not read yet, in bytes.
    pub prefetch_bytes: u64,
    /// Whether the output asks for the records' times; without, they have none. Looking one up reaches for memory that is not in the
    /// processor's cache.
    pub with_time: bool,
    /// To the output. Its bell for "there is room" is `bell`.
    pub pipe: Sender<Fetched>,
    pub share: Share,
    /// In its books lines are records, and bytes those of keys and values. Used by this consumer alone.
    pub tracker: Arc<Tracker<i64>>,
    pub durable: Arc<dyn Durable>,
    pub stop: Stop,
    pub bell: Arc<Bell>,
    pub state: Arc<ConsumerState>,
    /// `once`: when this turns true (ring `bell`), the consumer ends as soon as everything up to the ends that its partitions have
    /// then is durable and committed.
    pub until_end: Option<Arc<AtomicBool>>,
    /// Present with `delivery: exactly_once`: offsets are committed with what the output proposes. `durable` is not asked then.
    pub exactly_once: Option<Transacting>,
}

/// Why a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Stopped,
    /// `once`: everything is durable and committed.
    CaughtUp,
    /// `once`: the group gave it nothing to read; the text says why, as far as that is known.
    NothingAssigned(String),
    /// Nobody takes its records any more.
    OutputGone,
    /// It stopped for good; the text says why, and what to do.
    GivenUp(String),
}

/// How a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub end: End,
    /// Everything that was settled is committed. If not, the output's journal knows better than the group at the next start.
    pub committed: bool,
    /// The group was told. If not, its partitions wait for `session.timeout.ms` before others get them.
    pub left: bool,
    /// A Kafka client could not be closed in time and still runs in the background: end the process without waiting for it.
    pub leaked: bool,
}

/// What outlives a client that is built anew.
struct Worker {
    consumer: Consumer,
    /// Absent once the pipe is closed.
    pipe: Option<Sender<Fetched>>,
    ring: Arc<dyn Ring>,
    assignment: Assignment,
    pending: Option<Pending>,
    /// The output is to be told to make everything durable.
    flush: bool,
    sources: u64,
    /// The last source of the clients before this one.
    bygone: u64,
    /// How many entries were given up when the client was built.
    abandoned: u64,
    /// Clients that are not used any more, while the output still holds records of theirs.
    graves: Vec<Arc<Native>>,
    /// Why the output stops for good.
    given_up: Option<String>,
    /// Present with `delivery: exactly_once`.
    deciding: Option<Box<Deciding>>,
}

/// Records that were read and wait for room or budget. Nothing knows of them yet: dropping them is as if they had not been read.
struct Pending {
    records: Records,
    ends: Vec<(SourceId, i64)>,
    count: Count,
}

/// How a client's time ends.
enum Over {
    Rebuild(String),
    End(End),
}

/// Consumes until the stop, or (`once`) until the end. Blocks: give it a thread of its own.
pub fn run(consumer: Consumer) -> Report {
    let mut worker = Worker::new(consumer);
    match worker.begin_deciding() {
        Ok(true) => {}
        Ok(false) => return worker.end_without_client(End::Stopped),
        Err(GivenUp(why)) => return worker.end_without_client(End::GivenUp(why)),
    }
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        let over = match worker.connect() {
            Ok(mut session) => {
                let began = Instant::now();
                match worker.drive(&mut session) {
                    Over::End(end) => return worker.leave(session, end),
                    Over::Rebuild(why) => {
                        worker.lose(session);
                        if began.elapsed() > Duration::from_secs(60) {
                            backoff.reset();
                        }
                        why
                    }
                }
            }
            Err(why) => why,
        };
        let delay = backoff.delay();
        tracing::error!(output = %worker.consumer.name, delay_ms = delay.as_millis() as u64, "the consumer's Kafka client is built anew: {over}");
        worker.consumer.state.change(|status| {
            status.rebuilds += 1;
            status.last_error = Some(over);
        });
        if worker.pause(delay) {
            return worker.end_without_client(End::Stopped);
        }
    }
}

impl Worker {
    fn new(mut consumer: Consumer) -> Self {
        let ring: Arc<dyn Ring> = consumer.bell.clone();
        consumer.stop.rings(&ring);
        consumer.share.rings(ring.clone());
        consumer.tracker.rings(ring.clone());
        // The pipe is taken out, so that it can be closed before the rest goes.
        let (closed, _) = crate::flow::pipe(1, ring.clone(), ring.clone());
        let pipe = std::mem::replace(&mut consumer.pipe, closed);
        let transacting = consumer.exactly_once.take();
        let deciding = transacting.map(|it| Box::new(Deciding::new(it, &consumer)));
        Self {
            given_up: None,
            deciding,
            consumer,
            pipe: Some(pipe),
            ring,
            assignment: Assignment::default(),
            pending: None,
            flush: false,
            sources: 0,
            bygone: 0,
            abandoned: 0,
            graves: Vec::new(),
        }
    }

    fn connect(&mut self) -> Result<Session, String> {
        let consumer = &self.consumer;
        self.abandoned = consumer.tracker.abandoned();
        self.bygone = self.sources;
        let config = consumer_config(
            &consumer.settings,
            &consumer.bootstrap,
            &consumer.client_id,
            consumer.prefetch_bytes,
            consumer.until_end.is_some(),
        )
        .map_err(|err| err.to_string())?;
        Session::new(&config, &self.ring, &consumer.settings)
    }

    /// Works until there is a reason to end.
    fn drive(&mut self, session: &mut Session) -> Over {
        loop {
            if self.consumer.stop.is_soft() {
                return Over::End(End::Stopped);
            }
            let mut busy = self.serve(session);
            if let Some(why) = session.fatal.take() {
                return Over::Rebuild(why);
            }
            if self.consumer.tracker.abandoned() > self.abandoned {
                return Over::Rebuild("the output gave records up; they are read again".to_owned());
            }
            if !self.pass_on() {
                return Over::End(End::OutputGone);
            }
            match self.bring_to_decision(session) {
                Ok(decided) => busy |= decided,
                Err(GivenUp(why)) => return Over::End(End::GivenUp(why)),
            }
            let waits = session.has_enough() || session.commits.is_refused();
            if self.pending.is_none() && !waits && !self.is_voiding() {
                busy |= self.take(session);
            }
            self.call_the_roll(session);
            busy |= self.do_jobs(session);
            if let Some(why) = self.given_up.take() {
                return Over::End(End::GivenUp(why));
            }
            self.commit(session);
            let now = Instant::now();
            if now >= session.tick {
                session.tick = now + TICK;
                self.log_in(session);
                self.look(session, now);
            }
            if let Some(end) = self.is_done(session, now) {
                return Over::End(end);
            }
            if !busy {
                self.consumer.bell.wait(self.rest(session, now));
            }
        }
    }

    /// How long there is nothing to do unless the bell rings.
    fn rest(&self, session: &Session, now: Instant) -> Duration {
        let mut until = session.tick;
        if let Some(next) = session.commits.next() {
            until = until.min(next);
        }
        if let Some(next) = self.deciding.as_ref().and_then(|it| it.next()) {
            until = until.min(next);
        }
        let mut rest = until.saturating_duration_since(now);
        if !session.jobs.is_empty() || self.consumer.until_end.is_some() {
            rest = rest.min(QUICK);
        }
        rest.max(Duration::from_millis(1))
    }

    /// Takes what is there. `true` when there was something.
    fn take(&mut self, session: &mut Session) -> bool {
        let Some(batch) = session.member.take() else {
            session.idle_since.get_or_insert_with(Instant::now);
            return false;
        };
        session.idle_since = None;
        let intake = intake::sort(batch, &mut self.assignment, self.consumer.with_time);
        for (topic, partition, offset) in &intake.begun {
            tracing::info!(output = %self.consumer.name, topic = &**topic, partition, offset, "begins: the group's offset");
        }
        self.answers(session);
        for news in intake.news {
            self.hear(session, news);
        }
        if !intake.records.is_empty() {
            self.pending = Some(Pending {
                records: intake.records,
                ends: intake.ends,
                count: intake.count,
            });
            // Most often there is room.
            self.pass_on();
        }
        true
    }

    /// Gives the output what waits for it, as far as there is room and budget. `false` when nobody takes it any more.
    fn pass_on(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return true };
        if self.is_voiding() {
            return true;
        }
        if let Some(pending) = self.pending.take() {
            let charge = if pipe.has_room() {
                let cost = pending.records.cost(pending.count);
                self.consumer.share.try_take(cost)
            } else {
                None
            };
            let Some(charge) = charge else {
                self.pending = Some(pending);
                return true;
            };
            let tracker = &self.consumer.tracker;
            let entries = pending
                .ends
                .iter()
                .filter_map(|(source, end)| Some((*source, tracker.open(*source, *end)?)))
                .collect();
            tracker.reads(pending.count);
            let sent = pipe.try_send(Fetched::Records {
                records: Box::new(pending.records),
                receipt: Receipt::new(tracker.clone(), entries),
                charge,
            });
            if matches!(sent, TrySend::Closed(_)) {
                return false;
            }
        }
        if self.flush {
            match pipe.try_send(Fetched::Flush) {
                TrySend::Sent => self.flush = false,
                TrySend::Full(_) => {}
                TrySend::Closed(_) => return false,
            }
        }
        true
    }

    /// Waits `delay` without a client. `true` when the stop came.
    fn pause(&mut self, delay: Duration) -> bool {
        let until = Instant::now() + delay;
        while !self.consumer.stop.is_soft() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            self.pass_on();
            self.consumer.bell.wait(left.min(TICK));
        }
        true
    }
}
