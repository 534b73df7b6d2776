//! The thread that drives one producer: batches in, waves out, delivery reports counted, receipts settled.
//!
//! ```text
//!  pipes ─► intake ─► assign ─► lanes ─► Flight (librdkafka) ─► broker
//!                                 ▲            │ delivery reports
//!                                 └─ again ◄── land ──► receipts
//! ```
//!
//! This file has what a producer is made of and its loop; each step that is an idea of its own has its own file: `intake` (taking batches
//! while there is room), `assign` (records to lanes; `spread` picks the one for those without a key, `topics` knows whose lane is which),
//! `land` (what came back), `missing` (what waits for topics that do not exist), `refuse` (what Kafka refuses for its own sake), `waits` (what is waited for, said once), `rehome` (partitions that
//! are gone), `renew` (a new client). `view` is what others may know of it. With `delivery: exactly_once` everything happens within
//! transactions: `transact` begins, commits and aborts them, `establish` is how one gets there, at the start and out of doubt.
//!
//! Nothing is given up: what came back with an error is sent again from memory, and when the client itself is at its end a new one
//! is built and takes over. The one thing that makes a source wait is that nothing is taken from its pipe.

mod assign;
mod establish;
mod intake;
mod land;
mod missing;
mod refuse;
mod rehome;
mod renew;
mod spread;
mod topics;
mod transact;
mod unassigned;
mod view;
mod waits;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;

use self::intake::Way;
use self::land::Back;
use self::missing::Missing;
use self::topics::Topics;
use self::transact::Transactions;
pub use self::transact::instance;
use self::unassigned::Unassigned;
pub use self::view::{ProducerState, ProducerView, TransactionsView};
use self::waits::Waits;
use super::lane::{Lane, WaveLimits};
use super::metadata::Metadata;
use super::native::{EventKind, Flight, Kind, Native, QueueBell, Ticket};
use super::partition::deal::Dealer;
use super::properties::{RECORD_WIRE_OVERHEAD, WAVE_RECORDS};
use super::route::Route;
use super::settings::{Linger, OnRefused, ProducerSettings};
use super::tls_files::TLS_CHANGED;
use super::trouble::Kind as Trouble;
use crate::flow::{Backoff, Batch, Books, Marks, Received, Receiver, Seldom, Stop};

/// The longest sleep of the thread: what nobody rang for is noticed by then.
const IDLE: Duration = Duration::from_secs(1);
/// An acknowledgement that takes longer makes it doubtful that the cluster is there.
const SILENCE: Duration = Duration::from_secs(3);
/// What librdkafka calls the lines of its log about transactions that cannot be committed.
const TRANSACTION_TROUBLE: &str = "TXNERR";
/// What `linger: auto` stays between.
const LINGER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));

/// What a producer is made of.
pub struct Producer {
    pub settings: ProducerSettings,
    /// Makes the client's properties, reading secrets anew.
    pub config: Box<dyn Fn() -> Result<ClientConfig, String> + Send>,
    pub pipelines: Vec<Pipeline>,
    pub metadata: Arc<Metadata>,
    /// The bell that pipes, metadata and the stop ring.
    pub bell: Arc<QueueBell>,
    pub stop: Stop,
    pub state: Arc<ProducerState>,
    /// Present exactly when the settings say `exactly_once`; there is one pipeline then.
    pub exactly_once: Option<Transacting>,
}

/// What transactions need besides.
pub struct Transacting {
    /// Where the cluster is: `HOST:PORT,...`.
    pub bootstrap: String,
    /// The pipeline's positions.
    pub marks: Box<dyn Marks>,
    /// A transaction is committed when its batches have taken so many bytes of the budget.
    pub hold: u64,
}

/// One input's way through the producer.
pub struct Pipeline {
    pub name: Arc<str>,
    pub batches: Receiver<Batch>,
    pub route: Route,
    pub on_refused: OnRefused,
    /// After so long records for a topic that does not exist are set aside. Absent: they wait.
    pub dead_letter_after: Option<Duration>,
    pub books: Arc<Books>,
    /// Asked once, with the cluster's id: may this pipeline's positions be kept for that cluster?
    pub admit: Admit,
    pub set_aside: SetAside,
}

/// Says whether a pipeline may run on the cluster with this id, or why not.
pub type Admit = Box<dyn Fn(&str) -> Result<(), String> + Send>;

/// Makes refused records durable somewhere else, all or none as far as the caller knows, before their positions may pass.
pub type SetAside = Box<dyn FnMut(&[Refused<'_>]) -> Result<(), String> + Send>;

/// A record that Kafka refuses for its own sake.
#[derive(Debug)]
pub struct Refused<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// Names and values.
    pub headers: Vec<(String, &'a [u8])>,
    /// What its partition was to be made from, where that is not the key.
    pub place: Option<&'a [u8]>,
    /// Its own time, where it has one: milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// The file that it was read from, and where in it.
    pub path: Option<&'a Path>,
    pub offset: u64,
    /// One word for counting.
    pub reason: &'static str,
    /// Kafka's words.
    pub error: &'a str,
}

/// Runs until every pipe is closed and everything is confirmed, or until the stop is hard.
///
/// # Errors
/// When no client can be made at all: a secret that cannot be read, properties that contradict each other. With `exactly_once` also when
/// another daemon took over, which the view tells too.
pub fn run(producer: Producer) -> Result<(), String> {
    let mut running = Running::start(producer)?;
    running.establish_first();
    while !running.over() {
        running.turn();
    }
    running.leave()
}

struct Running {
    // Topic handles go before the client that they belong to.
    transactions: Option<Box<Transactions>>,
    topics: Topics,
    flight: Flight,
    lanes: Vec<Lane>,
    pipelines: Vec<Way>,
    producer: Producer,
    limits: WaveLimits,
    ack_time: Duration,
    /// What came back and was not looked at yet.
    back: Back,
    dealer: Dealer,
    unassigned: Unassigned,
    renew: Option<String>,
    backoff: Backoff,
    /// When it was last looked whether the cluster is silent.
    listened: Instant,
    waits: Waits,
    missing: Missing,
    /// The broker refuses the login, or one of us the other's certificate.
    is_refused: bool,
    /// How many batches were taken.
    taken: u64,
    /// Keeps what is said again and again from flooding the log.
    seldom: Seldom,
}

impl Running {
    fn start(mut producer: Producer) -> Result<Self, String> {
        let native = Native::new(&(producer.config)()?, Kind::Producer)?;
        producer.bell.attach(&native);
        let pipelines = std::mem::take(&mut producer.pipelines).into_iter();
        let transactions = match (
            producer.exactly_once.take(),
            &producer.settings.exactly_once,
        ) {
            (Some(transacting), Some(settings)) => {
                producer
                    .state
                    .change(|view| view.transactions = Some(TransactionsView::default()));
                Some(Box::new(Transactions::new(transacting, settings, &native)?))
            }
            _ => None,
        };
        let limits = WaveLimits {
            records: WAVE_RECORDS,
            bytes: usize::try_from(producer.settings.batch_size).unwrap_or(usize::MAX),
            linger: match producer.settings.linger {
                Linger::Auto => LINGER.0,
                Linger::Fixed(linger) => linger,
            },
        };
        Ok(Self {
            topics: Topics::default(),
            flight: Flight::new(native),
            lanes: Vec::new(),
            pipelines: pipelines.map(Way::new).collect(),
            producer,
            limits,
            ack_time: Duration::ZERO,
            back: Back::default(),
            dealer: Dealer::default(),
            unassigned: Unassigned::default(),
            renew: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            listened: Instant::now(),
            waits: Waits::default(),
            missing: Missing::default(),
            is_refused: false,
            taken: 0,
            seldom: Seldom::default(),
            transactions,
        })
    }

    fn over(&self) -> bool {
        self.producer.stop.is_hard()
            || self.is_given_up()
            || self.pipelines.iter().all(|way| way.done())
                && self.everything_ended()
                && self.everything_said()
    }

    /// Nothing is outstanding but what belongs to pipelines that stopped for good.
    fn everything_ended(&self) -> bool {
        let open = |slot: &u32| {
            self.flight
                .load(*slot)
                .is_some_and(|load| !self.pipelines[load.pipeline].halted)
        };
        !self.flight.held().iter().any(open)
    }

    fn turn(&mut self) {
        self.serve(self.until_due(self.commit_due()));
        self.land();
        self.settle();
        if self.transactions.is_none()
            && let Some(why) = self.renew.take()
        {
            self.build_anew(&why);
        }
        self.rehome();
        self.house(Instant::now());
        self.assign_rest(Instant::now());
        self.take_batches();
        self.send_waves();
        if self.transact() {
            self.rehome();
            // What was held back meanwhile rings no bell.
            self.take_batches();
            self.send_waves();
        }
        self.listen();
    }

    fn serve(&mut self, mut wait: Duration) {
        loop {
            let (lanes, back) = (&mut self.lanes, &mut self.back);
            let event = self.flight.poll(wait, |delivery, last_of_load| {
                back.take(lanes, delivery, last_of_load);
            });
            match event {
                None => return,
                Some(event) => self.notice(event),
            }
            wait = Duration::ZERO;
        }
    }

    fn notice(&mut self, event: EventKind) {
        match event {
            EventKind::Error {
                text, fatal: true, ..
            } => self.renew = Some(text),
            EventKind::Error { code, text, .. } => {
                self.is_refused |= Trouble::of(code, &text) >= Trouble::Tls;
                if code == RDKafkaErrorCode::AllBrokersDown {
                    self.producer.metadata.doubt_all();
                } else {
                    self.producer
                        .state
                        .change(|view| view.last_error = Some(text.clone()));
                }
                tracing::debug!(cluster = %self.producer.settings.cluster.name, %code, %text, "librdkafka reports an error");
            }
            EventKind::Log {
                level,
                facility,
                text,
            } => {
                tracing::debug!(level, facility, text, "librdkafka");
                if let Some(transactions) = &mut self.transactions
                    && facility == TRANSACTION_TROUBLE
                {
                    transactions.trouble = Some(text);
                }
            }
            _ => {}
        }
    }

    /// How long the thread may wait for events before a wave is due, or what else is.
    fn until_due(&self, other: Option<Instant>) -> Duration {
        let due = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(at, _)| !self.topics.holds(*at))
            .filter_map(|(_, lane)| lane.due(&self.limits))
            .chain(other)
            .chain(self.place_due())
            .min();
        due.map_or(IDLE, |due| {
            let wait = due.saturating_duration_since(Instant::now());
            // The queue waits in whole milliseconds: rounding down would be a busy loop.
            if wait.is_zero() {
                wait
            } else {
                wait.min(IDLE) + Duration::from_micros(999)
            }
        })
    }

    fn send_waves(&mut self) {
        let now = Instant::now();
        if !self.may_send() {
            return;
        }
        for at in 0..self.lanes.len() {
            if self.topics.holds(at) {
                continue;
            }
            let flight = &self.flight;
            let weight = |ticket: Ticket| {
                flight
                    .load(ticket.slot)
                    .map_or(0, |load| load.weight(ticket.record as usize))
                    + RECORD_WIRE_OVERHEAD
            };
            let wave = self.lanes[at].next_wave(&self.limits, now, weight);
            if wave.is_empty() {
                continue;
            }
            if let Some(transactions) = &mut self.transactions
                && let Err(why) = transactions.begin(self.flight.native())
            {
                // What is in the wave goes again.
                self.renew = Some(why);
                return;
            }
            let (topic, partition) = self.topics.home(at);
            let mut back = Vec::new();
            self.flight
                .submit(&topic.handle, partition, wave, |ticket, code| {
                    back.push((ticket, code))
                });
            for (ticket, code) in back {
                if self.lanes[at].came_back(ticket, Some(code)) {
                    self.back.landed.push(at as u32);
                }
            }
        }
        if !self.back.landed.is_empty() {
            self.land();
            self.settle();
        }
    }

    /// Asks whether the cluster is still there when an acknowledgement is long overdue: a broker that hangs closes no connection. And
    /// closes topics that are not used any more.
    fn listen(&mut self) {
        let now = Instant::now();
        if now < self.listened + SILENCE {
            return;
        }
        self.listened = now;
        self.log_in();
        let silent = |lane: &Lane| lane.sent_at().is_some_and(|at| now > at + SILENCE);
        if self.lanes.iter().any(silent) {
            self.producer.metadata.doubt_all();
            self.look_at_overdue(now);
        }
        self.look_at_missing(now, topics::UNUSED);
        // Closing changes the numbers of topics, which what waits for them is remembered by.
        let may_close = self.unassigned.is_empty() && self.topics.held().is_empty();
        if let Some(since) = now.checked_sub(topics::UNUSED).filter(|_| may_close) {
            for topic in self.topics.close_unused(since, &mut self.lanes) {
                self.producer.metadata.forget(&topic);
            }
        }
    }

    /// When the login or a certificate is refused, the next try takes what the secrets are by now.
    fn log_in(&mut self) {
        if self.is_refused
            && let Ok(config) = (self.producer.config)()
        {
            let native = self.flight.native();
            native.log_in_as(&config);
            if native.is_outdated(&config) {
                self.renew.get_or_insert_with(|| TLS_CHANGED.to_owned());
            }
        }
    }

    /// Gives up knowingly what is left: at a hard stop, and what belongs to pipelines that stopped for good.
    fn leave(mut self) -> Result<(), String> {
        let end = self.last_words();
        self.producer.bell.detach();
        self.flight.purge(Duration::from_millis(200), |_, _| {});
        self.topics = Topics::default();
        for slot in self.flight.held() {
            if let Some(load) = self.flight.release(slot) {
                load.batch.receipt.forgo();
            }
        }
        for way in self.pipelines {
            if let Some(batch) = way.held {
                batch.receipt.forgo();
            }
            while let Received::Item(batch) = way.pipeline.batches.try_recv() {
                batch.receipt.forgo();
            }
        }
        end
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
