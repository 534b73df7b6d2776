//! Transactions: everything that was taken, with the marks that say so, counts together or not at all.
//!
//! A transaction begins with the first wave. It is committed when it is old enough or has taken enough of the budget: nothing more is taken,
//! what waits is sent, and when all of it is confirmed the marks follow, the stamp last. Only the commit settles receipts, so arenas stay
//! until then. Whatever fails before ends the transaction: it is aborted, the lanes are rewound, and the same records go again from memory
//! before anything new. A record that was refused for its own sake is dealt with once, and left out from then on.
//!
//! librdkafka's calls are made with short times and resumed, so that a stop is noticed; the loop is this thread's own, for it has no other
//! pipeline.
//!
//! Invariant: a receipt is settled only after its transaction is known to be committed.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::types::RDKafkaErrorCode;

use super::{Running, Transacting};
use crate::flow::{EntryId, Marks, SourceId, Stamp};
use crate::kafka::errors::{Verdict, advice, verdict};
use crate::kafka::lane::Lane;
use crate::kafka::native::{Native, Topic};
use crate::kafka::settings::ExactlyOnce;
use crate::kafka::transaction::{Home, TOPIC, record};
use crate::kafka::trouble::without_time;

/// How long librdkafka is waited for until it is looked around.
pub(super) const SLICE: Duration = Duration::from_millis(200);
/// How long a commit that came to nothing is not tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a thread that leaves tries to end what it left open: it would hold up readers until it times out.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where the transactions of a producer stand.
pub(super) struct Transactions {
    /// Of the positions topic, on the present client.
    topic: Topic,
    pub home: Home,
    pub bootstrap: String,
    pub marks: Box<dyn Marks>,
    hold: u64,
    /// This instance.
    pub writer: String,
    /// The last transaction that is known to be committed: at first the predecessor's.
    pub last: Option<Stamp>,
    /// How many were begun.
    number: u64,
    /// It is known where to begin; nothing is taken before.
    pub established: bool,
    /// A transaction of this instance was committed: a predecessor that wakes up finds it.
    claimed: bool,
    /// One is begun.
    open: bool,
    /// The one whose commit was asked for.
    pub deciding: Option<Stamp>,
    /// When the oldest batch of this one was taken.
    since: Option<Instant>,
    /// What its batches have taken of the budget.
    bytes: u64,
    /// Why it cannot be committed.
    pub failed: Option<String>,
    /// What librdkafka says about it: what it purges because of that tells nothing.
    pub trouble: Option<String>,
    /// Why the last ones were aborted, and clients replaced: it is said again when one was committed since.
    said: HashSet<String>,
    /// Records that were refused and are accounted for: by slot and number.
    pub gone: HashSet<(u32, u32)>,
    /// When the source was last asked whether it has something to say.
    asked: Instant,
    /// Why the producer stops for good.
    pub given_up: Option<String>,
}

impl Transactions {
    pub fn new(
        transacting: Transacting,
        settings: &ExactlyOnce,
        native: &Native,
    ) -> Result<Self, String> {
        Ok(Self {
            topic: Topic::new(native, TOPIC)?,
            home: Home::new(settings),
            bootstrap: transacting.bootstrap,
            marks: transacting.marks,
            hold: transacting.hold,
            writer: instance(),
            last: None,
            number: 0,
            established: false,
            claimed: false,
            open: false,
            deciding: None,
            since: None,
            bytes: 0,
            failed: None,
            trouble: None,
            said: HashSet::new(),
            gone: HashSet::new(),
            asked: Instant::now(),
            given_up: None,
        })
    }

    /// A batch is part of the transaction.
    pub fn took(&mut self, bytes: u64, now: Instant) {
        self.since.get_or_insert(now);
        self.bytes += bytes;
    }

    /// What is sent from now on is part of a transaction.
    pub fn begin(&mut self, native: &Native) -> Result<(), String> {
        if !self.open {
            native.begin_transaction().map_err(|error| error.text)?;
            self.open = true;
        }
        Ok(())
    }

    /// Whether this was not said since the last commit.
    pub fn is_news(&mut self, why: &str) -> bool {
        self.said.insert(without_time(why).into_owned())
    }

    /// Something was not delivered.
    pub fn fail(&mut self, code: RDKafkaErrorCode) {
        self.failed.get_or_insert_with(|| code.to_string());
    }

    /// The client takes over from one that is gone, and whatever that one had begun.
    pub fn renew(&mut self, native: &Native) -> Result<(), String> {
        self.topic = Topic::new(native, TOPIC)?;
        self.open = false;
        Ok(())
    }

    /// When it is time for a commit, if there is anything in it then.
    fn due(&self) -> Instant {
        let interval = self.home.exactly_once.commit;
        match self.since {
            _ if !self.claimed => self.asked,
            Some(_) if self.bytes >= self.hold => self.asked,
            Some(since) => since + interval,
            None => self.asked + interval,
        }
    }
}

/// How the sending of a transaction ended.
#[derive(PartialEq, Eq)]
enum Sent {
    All,
    /// Something failed, or it is to be left.
    Not,
}

impl Running {
    /// Whether another batch may be taken now.
    pub(super) fn may_take(&self) -> bool {
        self.transactions
            .as_ref()
            .is_none_or(|it| it.bytes < it.hold && self.may_send())
    }

    /// Whether anything may be sent now.
    pub(super) fn may_send(&self) -> bool {
        let fits =
            |it: &Transactions| it.established && it.failed.is_none() && it.given_up.is_none();
        self.transactions
            .as_ref()
            .is_none_or(|it| fits(it) && self.renew.is_none() && !self.has_unplaced())
    }

    pub(super) fn commit_due(&self) -> Option<Instant> {
        let it = self.transactions.as_ref()?;
        (it.established && !self.has_unplaced()).then(|| it.due())
    }

    pub(super) fn is_given_up(&self) -> bool {
        let it = self.transactions.as_ref();
        it.is_some_and(|it| it.given_up.is_some())
    }

    /// Nothing that was sent is undecided. Always so without transactions.
    pub(super) fn is_between_transactions(&self) -> bool {
        let it = self.transactions.as_ref();
        it.is_none_or(|it| !it.open && it.deciding.is_none() && it.failed.is_none())
    }

    /// Nothing is left that the source has to say.
    pub(super) fn everything_said(&self) -> bool {
        let halted = self.pipelines.iter().all(|way| way.halted);
        self.transactions
            .as_ref()
            .is_none_or(|it| halted || !it.established || (it.claimed && !it.marks.is_due()))
    }

    /// Ends the transaction if it is time, or if it failed. `true` when it tried to.
    pub(super) fn transact(&mut self) -> bool {
        if self.transactions.is_none() {
            return false;
        }
        if let Some(why) = self.renew.take() {
            self.recover(&why);
            return true;
        }
        let is_over = self.pipelines.iter().all(|way| way.done());
        let is_halted = self.pipelines.iter().any(|way| way.halted);
        let has_unplaced = self.has_unplaced();
        let Some(it) = &mut self.transactions else {
            return false;
        };
        if !it.established || it.given_up.is_some() || is_halted {
            return false;
        }
        if let Some(why) = it.failed.take() {
            self.roll_back(&why);
            return true;
        }
        let now = Instant::now();
        if has_unplaced || now < it.asked || (now < it.due() && !is_over) {
            return false;
        }
        it.asked = now;
        let is_due = it.since.is_some() || !it.claimed || it.marks.is_due();
        if is_due {
            self.commit();
        }
        is_due
    }

    fn commit(&mut self) {
        // Nobody comes to keep the rest company.
        let linger = std::mem::replace(&mut self.limits.linger, Duration::ZERO);
        let sent = self.send_rest();
        self.limits.linger = linger;
        if sent == Sent::All && self.send_marks() == Sent::All {
            self.decide();
        }
    }

    /// Sends what was taken, until all of it is confirmed.
    fn send_rest(&mut self) -> Sent {
        loop {
            if !self.may_send() || self.producer.stop.is_hard() {
                return Sent::Not;
            }
            self.assign_rest(Instant::now());
            if self.pipelines.iter().any(|way| way.halted) {
                return Sent::Not;
            }
            let waiting =
                !self.unassigned.is_empty() || self.lanes.iter().any(|lane| lane.backlog() > 0);
            if !waiting && self.flight.outstanding() == 0 {
                return Sent::All;
            }
            self.send_waves();
            self.serve(self.until_due(None));
            self.land();
            self.settle();
            self.listen();
        }
    }

    /// Sends what is true when the transaction is committed.
    fn send_marks(&mut self) -> Sent {
        let entries: Vec<(SourceId, EntryId)> = self
            .flight
            .held()
            .into_iter()
            .filter_map(|slot| self.flight.load(slot))
            .flat_map(|load| load.batch.receipt.entries().iter().copied())
            .collect();
        let Some(it) = &mut self.transactions else {
            return Sent::Not;
        };
        let marks = it.marks.prepare(&entries);
        if marks.is_empty() && entries.is_empty() && it.claimed {
            it.marks.decided(true);
            return Sent::Not;
        }
        if let Err(why) = it.begin(self.flight.native()) {
            self.renew = Some(why);
            return Sent::Not;
        }
        it.number += 1;
        let stamp = Stamp {
            writer: it.writer.clone(),
            number: it.number,
        };
        let of = &it.home.exactly_once;
        let records = marks
            .iter()
            .map(|mark| record::of_mark(of, &it.writer, mark))
            .chain([record::of_stamp(of, &stamp)]);
        // What failed before is of a transaction that is over.
        self.flight.apart();
        for record in records {
            let sent = match record {
                Ok((key, value)) => self
                    .flight
                    .send_apart(&it.topic, it.home.partition, &key, value.as_deref())
                    .map_err(|code| code.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(why) = sent {
                it.failed = Some(format!("{TOPIC}: {why}"));
                return Sent::Not;
            }
        }
        it.deciding = Some(stamp);
        self.wait_for_marks()
    }

    fn wait_for_marks(&mut self) -> Sent {
        loop {
            if !self.may_send() || self.producer.stop.is_hard() {
                break;
            }
            match self.flight.apart() {
                (0, None) => return Sent::All,
                (0, Some(code)) => {
                    if let Some(it) = &mut self.transactions {
                        it.failed = Some(match verdict(code) {
                            Verdict::Wait(why) => format!("{TOPIC}: {why} ({code})"),
                            _ => format!("{TOPIC}: {code}"),
                        });
                    }
                    break;
                }
                _ => self.serve(SLICE),
            }
        }
        // The commit was never asked for, so there is no doubt.
        if let Some(it) = &mut self.transactions {
            it.deciding = None;
        }
        Sent::Not
    }

    /// Asks for the commit, until it is known how it ended.
    fn decide(&mut self) {
        let Some(it) = &self.transactions else { return };
        let deadline = Instant::now() + it.home.exactly_once.timeout;
        loop {
            let error = match self.flight.native().commit_transaction(SLICE) {
                Ok(()) => {
                    self.decided(true);
                    return;
                }
                Err(error) => error,
            };
            // Also the reports of a client that is at its end are read.
            self.serve(Duration::from_millis(1));
            if self.producer.stop.is_hard() {
                return;
            }
            if !error.retriable || Instant::now() > deadline {
                self.renew = None;
                self.recover(&format!("a commit did not end well: {}", error.text));
                return;
            }
        }
    }

    /// The transaction is over, and it is known how.
    pub(super) fn decided(&mut self, committed: bool) {
        let Some(it) = &mut self.transactions else {
            return;
        };
        let stamp = it.deciding.take();
        it.open = false;
        (it.failed, it.trouble) = (None, None);
        it.marks.decided(committed);
        self.back.finished.clear();
        self.back.landed.clear();
        if committed {
            it.last = stamp;
            it.claimed = true;
            it.said.clear();
            (it.since, it.bytes) = (None, 0);
            it.gone.clear();
            self.lanes.iter_mut().for_each(Lane::forget);
            for slot in self.flight.held() {
                if let Some(load) = self.flight.release(slot) {
                    let outcome = load.outcome(true);
                    load.batch.receipt.settle(&outcome);
                }
            }
        } else {
            let gone = &it.gone;
            for lane in &mut self.lanes {
                lane.rewind(|ticket| gone.contains(&(ticket.slot, ticket.record)));
            }
            for slot in self.flight.held() {
                let records = self.flight.load(slot).map(|load| load.batch.records.len());
                if let (Some(progress), Some(records)) = (self.flight.progress_mut(slot), records) {
                    progress.rewind(records);
                }
            }
            let now = Instant::now();
            it.asked = now + PAUSE;
            if it.since.is_some() {
                it.since = Some(now);
            }
        }
        self.producer.state.change(|view| {
            if let Some(counts) = &mut view.transactions {
                if committed {
                    counts.committed += 1;
                    counts.last_commit = Some(SystemTime::now());
                } else {
                    counts.aborted += 1;
                }
            }
        });
    }

    /// Aborts the transaction; what was sent in it goes again.
    fn roll_back(&mut self, why: &str) {
        let Some(it) = &mut self.transactions else {
            return;
        };
        it.deciding = None;
        let trouble = it.trouble.take();
        let why = trouble.as_deref().unwrap_or(why);
        let (input, open) = (it.home.exactly_once.pipeline.clone(), it.open);
        let deadline = Instant::now() + it.home.exactly_once.timeout;
        let why = format!("{}{}", without_time(why), advice(why));
        if it.is_news(&why) {
            tracing::warn!(%input, why, "a transaction is aborted; its lines go again from memory until one is committed");
        } else {
            tracing::debug!(%input, why, "another transaction is aborted");
        }
        if open && !self.abort(deadline) {
            return;
        }
        // What came back while it was aborted may tell of refused records.
        self.land();
        self.decided(false);
    }

    /// `false`: the client is replaced, or it is to be left.
    fn abort(&mut self, deadline: Instant) -> bool {
        // The first call gives back what librdkafka has not sent. What is on its way has to come back by itself: librdkafka waits for it in
        // long steps.
        let mut wait = Duration::from_millis(1);
        loop {
            let error = match self.flight.native().abort_transaction(wait) {
                Ok(()) => return true,
                Err(error) => error,
            };
            wait = SLICE;
            while self.flight.outstanding() > 0
                && Instant::now() < deadline
                && !self.producer.stop.is_hard()
            {
                self.serve(Duration::from_millis(50));
            }
            self.serve(Duration::from_millis(1));
            if self.producer.stop.is_hard() {
                return false;
            }
            if !error.retriable || Instant::now() > deadline {
                self.recover(&error.text);
                return false;
            }
        }
    }

    /// Leaves nothing open behind that would hold up readers. `Err`: why the producer gave up.
    pub(super) fn last_words(&mut self) -> Result<(), String> {
        let Some(mut it) = self.transactions.take() else {
            return Ok(());
        };
        let deadline = Instant::now() + LAST_WORDS;
        while it.open && it.deciding.is_none() && Instant::now() < deadline {
            match self.flight.native().abort_transaction(SLICE) {
                Err(error) if error.retriable => self.serve(Duration::from_millis(10)),
                _ => it.open = false,
            }
        }
        it.given_up.map_or(Ok(()), Err)
    }
}

/// A name that no other instance has.
pub fn instance() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    format!("{random:016x}-{nanos:x}")
}
