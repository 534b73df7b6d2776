//! The transactions of one output: lengths of files as marks, offsets of the group, and a stamp, which count together or not at all.
//!
//! The calls are made with short times and resumed, as `producer::transact` makes them; a transaction has no records but the marks, so it takes
//! a few round trips. Whatever is not known to have ended well is found out by a new client, which shuts out the one before
//! ([`Transactor::establish`]).
//!
//! Invariant: [`Ended::Aborted`] is said only when nothing of the transaction can count any more.

use std::time::{Duration, Instant};

use crate::flow::{Found, Mark, Stamp};
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::native::{
    Flight, Kind, Membership, Native, PartitionOffset, Topic, TransactionError,
};
use crate::kafka::properties::producer_config;
use crate::kafka::settings::{
    Acks, ClusterSettings, Compression, ExactlyOnce, Linger, ProducerSettings,
};
use crate::kafka::transaction::read::Reader;
use crate::kafka::transaction::{Home, TOPIC, record};

/// How long librdkafka is waited for until it is looked around.
const SLICE: Duration = Duration::from_millis(100);
/// The coordinator's silence is told after this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long somebody who took over is looked for.
const RIVAL: Duration = Duration::from_secs(1);
/// How long a thread that leaves tries to end what it left open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Records of marks are small.
const MOST: u64 = 1_000_000;

/// Whose transactions, and where.
#[derive(Debug, Clone)]
pub(super) struct Whose {
    pub cluster: ClusterSettings,
    pub bootstrap: String,
    /// The client's name, as brokers see it.
    pub client_id: String,
    pub home: Home,
}

/// What a transaction holds.
pub(super) struct Contents<'a> {
    pub marks: &'a [Mark],
    /// Absent when only offsets are told.
    pub stamp: Option<&'a Stamp>,
    /// With the member that they are of.
    pub offsets: Option<(&'a [PartitionOffset], &'a Membership)>,
}

/// How a transaction ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Committed,
    /// Nothing of it counts; in words, why.
    Aborted(String),
    /// It has to be found out, with a new client.
    Unknown(String),
    /// It was left.
    Left,
}

/// A client with a transactional id.
pub(super) struct Transactor {
    // Before the client that it belongs to.
    topic: Topic,
    flight: Flight,
    whose: Whose,
    open: bool,
}

/// Why a transaction was not filled.
enum Not {
    Abort(String),
    Spent(String),
    Left,
}

impl Transactor {
    /// A new client shuts out whoever had the id before, and reads what is committed. Nothing when `stop` says so first.
    ///
    /// # Errors
    /// In words; it is worth trying again.
    pub fn establish(
        whose: &Whose,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<(Self, Found)>, String> {
        let settings = producer_settings(&whose.cluster, &whose.home.exactly_once);
        let config = producer_config(&settings, &whose.bootstrap, &whose.client_id)?;
        let native = Native::new(&config, Kind::Producer)?;
        let mut it = Self {
            topic: Topic::new(&native, TOPIC)?,
            flight: Flight::new(native),
            whose: whose.clone(),
            open: false,
        };
        let (begun, mut said) = (Instant::now(), false);
        while !stop() {
            match it.flight.native().init_transactions(SLICE) {
                Ok(()) => {
                    let found = reader(whose).read(stop)?;
                    return Ok(found.map(|found| (it, found)));
                }
                Err(error) if error.retriable => {
                    if !said && begun.elapsed() > PATIENCE {
                        said = true;
                        tracing::warn!(
                            why = error.text,
                            "the transaction coordinator is waited for"
                        );
                    }
                    it.serve(Duration::from_millis(20));
                }
                Err(error) => {
                    let id = whose.home.exactly_once.transactional_id();
                    return Err(format!("transactional id {id}: {}", error.text));
                }
            }
        }
        Ok(None)
    }

    /// What is committed, without shutting anybody out. Nothing when `stop` says so first.
    ///
    /// # Errors
    /// In words.
    pub fn read(whose: &Whose, stop: &dyn Fn() -> bool) -> Result<Option<Found>, String> {
        reader(whose).read(stop)
    }

    /// The same, as far as it can be seen within a moment.
    pub fn look(whose: &Whose, stop: &dyn Fn() -> bool) -> Option<Found> {
        let until = Instant::now() + RIVAL;
        let over = || Instant::now() > until || stop();
        Self::read(whose, &over).ok().flatten()
    }

    /// Makes and ends a transaction.
    pub fn transact(&mut self, contents: &Contents<'_>, stop: &dyn Fn() -> bool) -> Ended {
        let deadline = Instant::now() + self.whose.home.exactly_once.timeout;
        let filled = self.fill(contents, deadline, stop);
        match filled {
            Ok(()) => {}
            Err(Not::Abort(why)) => return self.abort(why, deadline, stop),
            Err(Not::Spent(why)) => return Ended::Unknown(why),
            Err(Not::Left) => return Ended::Left,
        }
        loop {
            let error = match self.flight.native().commit_transaction(SLICE) {
                Ok(()) => {
                    self.open = false;
                    return Ended::Committed;
                }
                Err(error) => error,
            };
            self.serve(Duration::from_millis(1));
            if error.abortable {
                return self.abort(error.text, deadline, stop);
            }
            if stop() {
                return Ended::Left;
            }
            if !error.retriable || Instant::now() > deadline {
                return Ended::Unknown(error.text);
            }
        }
    }

    fn fill(
        &mut self,
        contents: &Contents<'_>,
        deadline: Instant,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Not> {
        let begun = self.flight.native().begin_transaction();
        begun.map_err(|error| Not::Spent(error.text))?;
        self.open = true;
        // What failed before is of a transaction that is over.
        self.flight.apart();
        let of = &self.whose.home.exactly_once;
        let writer = contents.stamp.map_or("", |stamp| stamp.writer.as_str());
        let marks = contents
            .marks
            .iter()
            .map(|mark| record::of_mark(of, writer, mark));
        let stamp = contents.stamp.map(|stamp| record::of_stamp(of, stamp));
        for made in marks.chain(stamp) {
            let (key, value) = made.map_err(|error| Not::Abort(error.to_string()))?;
            let partition = self.whose.home.partition;
            self.flight
                .send_apart(&self.topic, partition, &key, value.as_deref())
                .map_err(|code| Not::Abort(format!("{TOPIC}: {code}")))?;
        }
        if let Some((offsets, member)) = contents.offsets {
            self.send_offsets(offsets, member, deadline, stop)?;
        }
        loop {
            match self.flight.apart() {
                (0, None) => return Ok(()),
                (0, Some(code)) => {
                    return Err(Not::Abort(match verdict(code) {
                        Verdict::Wait(why) => format!("{TOPIC}: {why} ({code})"),
                        _ => format!("{TOPIC}: {code}"),
                    }));
                }
                _ if stop() => return Err(Not::Left),
                _ => self.serve(SLICE),
            }
        }
    }

    fn send_offsets(
        &mut self,
        offsets: &[PartitionOffset],
        member: &Membership,
        deadline: Instant,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Not> {
        loop {
            let sent = self.flight.native().send_offsets(offsets, member, SLICE);
            let Err(TransactionError {
                text,
                retriable,
                abortable,
                ..
            }) = sent
            else {
                return Ok(());
            };
            self.serve(Duration::from_millis(1));
            if stop() {
                return Err(Not::Left);
            }
            if retriable && Instant::now() < deadline {
                continue;
            }
            return Err(if abortable || retriable {
                Not::Abort(text)
            } else {
                Not::Spent(text)
            });
        }
    }

    fn abort(&mut self, why: String, deadline: Instant, stop: &dyn Fn() -> bool) -> Ended {
        // What is on its way has to come back by itself: librdkafka waits for it in long steps.
        let mut wait = Duration::from_millis(1);
        loop {
            let error = match self.flight.native().abort_transaction(wait) {
                Ok(()) => {
                    self.open = false;
                    return Ended::Aborted(why);
                }
                Err(error) => error,
            };
            wait = SLICE;
            while self.flight.apart().0 > 0 && Instant::now() < deadline && !stop() {
                self.serve(Duration::from_millis(20));
            }
            self.serve(Duration::from_millis(1));
            if stop() {
                return Ended::Left;
            }
            if !error.retriable || Instant::now() > deadline {
                return Ended::Unknown(format!("{why}; {}", error.text));
            }
        }
    }

    /// Serves what comes within `timeout`.
    fn serve(&mut self, timeout: Duration) {
        let mut timeout = timeout;
        while let Some(event) = self.flight.poll(timeout, |_, _| {}) {
            tracing::trace!(?event, "transactions");
            timeout = Duration::ZERO;
        }
    }

    /// Leaves nothing open behind that would hold up readers and the next owners of the partitions.
    pub fn leave(mut self) {
        let deadline = Instant::now() + LAST_WORDS;
        while self.open && Instant::now() < deadline {
            match self.flight.native().abort_transaction(SLICE) {
                Err(error) if error.retriable => self.serve(Duration::from_millis(10)),
                _ => self.open = false,
            }
        }
    }
}

fn reader(whose: &Whose) -> Reader<'_> {
    Reader {
        cluster: &whose.cluster,
        bootstrap: &whose.bootstrap,
        home: &whose.home,
    }
}

/// What the client of an output's transactions is told.
pub(in crate::kafka) fn producer_settings(
    cluster: &ClusterSettings,
    of: &ExactlyOnce,
) -> ProducerSettings {
    ProducerSettings {
        cluster: cluster.clone(),
        acks: Acks::All,
        compression: Compression::default(),
        linger: Linger::Auto,
        batch_size: MOST,
        max_record: MOST,
        exactly_once: Some(of.clone()),
    }
}
