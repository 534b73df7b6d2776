//! The thread that drives one producer: batches in, waves out, delivery reports counted, receipts settled.
//!
//! ```text
//!  pipes ─► route ─► lanes ─► Flight (librdkafka) ─► broker
//!                      ▲                │ delivery reports
//!                      └── again ◄──────┴──► receipts
//! ```
//!
//! Nothing is given up: what came back with an error is sent again from memory, and when the client itself is at its end a new one
//! is built and takes over. The one thing that makes a source wait is that nothing is taken from its pipe.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;

use super::lane::{Chunk, Lane, WaveLimits};
use super::metadata::{Metadata, TopicState};
use super::native::{EventKind, Flight, Kind, Native, QueueBell, Ticket, Topic};
use super::partition::{Choice, choose};
use super::properties::{RECORD_WIRE_OVERHEAD, WAVE_RECORDS};
use super::route::Route;
use super::settings::{Acks, Linger, OnRefused, ProducerSettings};
use crate::flow::{Backoff, Batch, Books, Received, Receiver, Stop};

/// The longest sleep of the thread: what nobody rang for is noticed by then.
const IDLE: Duration = Duration::from_secs(1);
/// An acknowledgement that takes longer makes it doubtful that the cluster is there.
const SILENCE: Duration = Duration::from_secs(3);
/// What `linger: auto` stays between.
const LINGER: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(50));
/// How long a lane waits when its topic or the rights are at fault.
const WAIT: Duration = Duration::from_secs(1);

/// One input's way through the producer.
pub struct Pipeline {
    pub name: Arc<str>,
    pub batches: Receiver<Batch>,
    pub route: Route,
    pub on_refused: OnRefused,
    pub books: Arc<Books>,
    /// Asked once, with the cluster's id: may this pipeline's positions be kept for that cluster?
    pub admit: Admit,
    pub set_aside: SetAside,
}

/// Says whether a pipeline may run on the cluster with this id, or why not.
pub type Admit = Box<dyn Fn(&str) -> Result<(), String> + Send>;

/// Makes a refused record durable somewhere else, before its position may pass.
pub type SetAside = Box<dyn FnMut(&Refused<'_>) -> Result<(), String> + Send>;

/// A record that Kafka refuses for its own sake.
#[derive(Debug)]
pub struct Refused<'a> {
    pub topic: &'a str,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// The file that it was read from, and where in it.
    pub path: Option<PathBuf>,
    pub offset: u64,
    /// One word for counting.
    pub reason: &'static str,
    /// Kafka's words.
    pub error: String,
}

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
}

/// What others may know of a producer while it runs.
#[derive(Debug, Default)]
pub struct ProducerState(Mutex<ProducerView>);

/// A moment of a producer.
#[derive(Debug, Clone, Default)]
pub struct ProducerView {
    pub last_error: Option<String>,
    /// Records that librdkafka holds, and their bytes on the wire.
    pub outstanding: usize,
    pub outstanding_bytes: usize,
    /// Waves that came back.
    pub waves: u64,
    /// From handing a wave over to its last acknowledgement, smoothed.
    pub ack_time: Duration,
    /// Pipelines that stopped for good, and why.
    pub halted: Vec<(Arc<str>, String)>,
}

impl ProducerState {
    pub fn view(&self) -> ProducerView {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn change(&self, change: impl FnOnce(&mut ProducerView)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Runs until every pipe is closed and everything is confirmed, or until the stop is hard.
///
/// # Errors
/// When no client can be made at all: a secret that cannot be read, properties that contradict each other.
pub fn run(producer: Producer) -> Result<(), String> {
    let mut running = Running::start(producer)?;
    while !running.over() {
        running.turn();
    }
    running.leave();
    Ok(())
}

struct Running {
    // Topic handles go before the client that they belong to.
    topics: Vec<TopicLanes>,
    flight: Flight,
    by_name: HashMap<Arc<str>, usize>,
    lanes: Vec<Lane>,
    /// For each lane, its topic and partition.
    homes: Vec<(usize, i32)>,
    pipelines: Vec<Way>,
    producer: Producer,
    limits: WaveLimits,
    ack_time: Duration,
    /// Slots whose last record was confirmed.
    finished: Vec<u32>,
    /// Lanes whose wave is wholly back.
    landed: Vec<u32>,
    random: u64,
    renew: Option<String>,
    backoff: Backoff,
    /// When it was last looked whether the cluster is silent.
    listened: Instant,
}

struct TopicLanes {
    name: Arc<str>,
    handle: Topic,
    /// The lane of each partition.
    lanes: Vec<u32>,
    leaders: Arc<[bool]>,
    /// Which partition keyless records go to now, and how many bytes went there since it was chosen.
    sticky: usize,
    sticky_bytes: usize,
}

/// A pipeline and where it stands.
struct Way {
    pipeline: Pipeline,
    /// Taken from the pipe, and not yet routed because its topic is not known or its lanes are full.
    held: Option<Batch>,
    closed: bool,
    admitted: bool,
    halted: bool,
    /// When the pipeline was last told to wait, so that it is said once.
    waiting_for: Option<String>,
}

impl Running {
    fn start(mut producer: Producer) -> Result<Self, String> {
        let native = Native::new(&(producer.config)()?, Kind::Producer)?;
        producer.bell.attach(&native);
        let pipelines = std::mem::take(&mut producer.pipelines).into_iter();
        let limits = WaveLimits {
            records: WAVE_RECORDS,
            bytes: usize::try_from(producer.settings.batch_size).unwrap_or(usize::MAX),
            linger: match producer.settings.linger {
                Linger::Auto => LINGER.0,
                Linger::Fixed(linger) => linger,
            },
        };
        Ok(Self {
            topics: Vec::new(),
            flight: Flight::new(native),
            by_name: HashMap::new(),
            lanes: Vec::new(),
            homes: Vec::new(),
            pipelines: pipelines.map(Way::new).collect(),
            producer,
            limits,
            ack_time: Duration::ZERO,
            finished: Vec::new(),
            landed: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            renew: None,
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            listened: Instant::now(),
        })
    }

    fn over(&self) -> bool {
        self.producer.stop.is_hard()
            || self.pipelines.iter().all(|way| way.done()) && self.everything_ended()
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
        self.serve(self.until_due());
        self.land();
        self.settle();
        if let Some(why) = self.renew.take() {
            self.build_anew(&why);
        }
        self.take_batches();
        self.send_waves();
        self.listen();
    }

    /// Asks whether the cluster is still there when an acknowledgement is long overdue: a broker that hangs closes no connection.
    fn listen(&mut self) {
        let now = Instant::now();
        if now < self.listened + SILENCE {
            return;
        }
        self.listened = now;
        let silent = |lane: &Lane| lane.sent_at().is_some_and(|at| now > at + SILENCE);
        if self.lanes.iter().any(silent) {
            self.producer.metadata.doubt_all();
        }
    }

    /// How long the thread may wait for events before a wave is due.
    fn until_due(&self) -> Duration {
        let due = self
            .lanes
            .iter()
            .filter_map(|lane| lane.due(&self.limits))
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

    fn serve(&mut self, mut wait: Duration) {
        loop {
            let (lanes, finished, landed) = (&mut self.lanes, &mut self.finished, &mut self.landed);
            let event = self.flight.poll(wait, |delivery, last_of_load| {
                let lane = delivery.ticket.lane;
                if last_of_load {
                    finished.push(delivery.ticket.slot);
                }
                if lanes[lane as usize].came_back(delivery.ticket, delivery.error) {
                    landed.push(lane);
                }
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
            } => tracing::debug!(level, facility, text, "librdkafka"),
            _ => {}
        }
    }

    /// Decides what becomes of the waves that are wholly back.
    fn land(&mut self) {
        let now = Instant::now();
        for at in std::mem::take(&mut self.landed) {
            let end = self.lanes[at as usize].end_wave(now);
            if end.again == 0 && end.refused.is_empty() {
                self.acknowledged(end.took);
            }
            for (ticket, reason, code) in end.refused {
                self.refuse(ticket, reason, code, now);
            }
            if let Some((why, code)) = end.wait {
                let (topic, partition) = self.homes[at as usize];
                let topic = &self.topics[topic].name;
                tracing::warn!(%topic, partition, %code, "records wait: {why}");
                self.producer.metadata.doubt(topic);
                self.lanes[at as usize].pause(now + WAIT);
            } else if end.again > 0 {
                self.lanes[at as usize].pause(now + Duration::from_millis(100));
            }
            if end.client {
                self.renew
                    .get_or_insert_with(|| "the client gave its records back".into());
            }
        }
    }

    fn acknowledged(&mut self, took: Duration) {
        self.ack_time = if self.ack_time.is_zero() {
            took
        } else {
            (self.ack_time * 7 + took) / 8
        };
        if self.producer.settings.linger == Linger::Auto {
            self.limits.linger = self.ack_time.clamp(LINGER.0, LINGER.1);
        }
        self.backoff.reset();
        let (ack_time, outstanding) = (self.ack_time, self.flight.outstanding());
        let outstanding_bytes = self.lanes.iter().map(Lane::wave_bytes).sum();
        self.producer.state.change(|view| {
            view.last_error = None;
            view.ack_time = ack_time;
            view.outstanding = outstanding;
            view.outstanding_bytes = outstanding_bytes;
            view.waves += 1;
        });
        self.producer.metadata.answered();
    }

    /// Settles the loads of which every record has come to its end.
    fn settle(&mut self) {
        for slot in std::mem::take(&mut self.finished) {
            let Some(load) = self.flight.release(slot) else {
                continue;
            };
            let outcome = load.outcome(self.producer.settings.acks != Acks::None);
            load.batch.receipt.settle(&outcome);
        }
    }

    /// A record is refused for its own sake.
    fn refuse(
        &mut self,
        ticket: Ticket,
        reason: &'static str,
        code: RDKafkaErrorCode,
        now: Instant,
    ) {
        let Some(load) = self.flight.load(ticket.slot) else {
            return;
        };
        let record = ticket.record as usize;
        let count = load.batch.count_of(record);
        let way = &mut self.pipelines[load.pipeline];
        let topic = self.topics[self.homes[ticket.lane as usize].0].name.clone();
        let path = load.batch.run_of(record).origin.path.clone();
        let offset = load.batch.position_of(record);
        let input = way.pipeline.name.clone();
        tracing::warn!(%input, %topic, ?path, offset, %code, reason, "Kafka refuses a record");
        match way.pipeline.on_refused {
            OnRefused::Stop => {
                way.halt(&self.producer.state, format!("Kafka refused a record ({code}) and on_refused is stop: {path:?} at {offset}"));
                return;
            }
            OnRefused::Drop => {
                if let Some(progress) = self.flight.progress_mut(ticket.slot) {
                    progress.dropped(count, reason);
                }
            }
            OnRefused::DeadLetter => {
                let (key, value) = (load.key(record), load.batch.value(record));
                let refused = Refused {
                    topic: &topic,
                    key,
                    value,
                    path,
                    offset,
                    reason,
                    error: code.to_string(),
                };
                if let Err(error) = (way.pipeline.set_aside)(&refused) {
                    tracing::error!(%input, %error, "a refused record cannot be set aside; its partition waits");
                    let lane = &mut self.lanes[ticket.lane as usize];
                    lane.send_again(ticket);
                    lane.pause(now + 5 * WAIT);
                    return;
                }
                if let Some(progress) = self.flight.progress_mut(ticket.slot) {
                    progress.dead_lettered(count);
                }
            }
        }
        if self
            .flight
            .load(ticket.slot)
            .is_some_and(|load| load.progress.left == 0)
        {
            self.finished.push(ticket.slot);
        }
    }

    /// Takes what the pipes offer while there is room for it.
    fn take_batches(&mut self) {
        let mut took = true;
        while took {
            took = false;
            for at in 0..self.pipelines.len() {
                took |= self.take_one(at);
            }
        }
    }

    fn take_one(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        if way.halted {
            return false;
        }
        if way.held.is_none() {
            match way.pipeline.batches.try_recv() {
                Received::Item(batch) => way.held = Some(batch),
                Received::Empty => return false,
                Received::Closed => {
                    way.closed = true;
                    return false;
                }
            }
        }
        if !self.admit(at) || !self.has_room(at) {
            return false;
        }
        let Some(batch) = self.pipelines[at].held.take() else {
            return false;
        };
        self.route(at, batch);
        true
    }

    fn admit(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        if way.admitted {
            return true;
        }
        let Some(cluster) = self.producer.metadata.cluster_id() else {
            // The topic is asked for meanwhile.
            if let Some(batch) = &way.held {
                for run in &batch.runs {
                    self.producer.metadata.topic(&way.pipeline.route.topic(run));
                }
            }
            return false;
        };
        match (way.pipeline.admit)(&cluster) {
            Ok(()) => way.admitted = true,
            Err(why) => way.halt(&self.producer.state, why),
        }
        way.admitted
    }

    /// Whether the held batch's topics are known and one of their lanes is hungry.
    fn has_room(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        let Some(batch) = &way.held else { return false };
        for run in &batch.runs {
            let name = way.pipeline.route.topic(run);
            let state = self.producer.metadata.topic(&name);
            let leaders = match state {
                TopicState::Known(leaders) => leaders,
                TopicState::Unknown => return false,
                TopicState::Refused(code) => {
                    let what = match super::errors::verdict(code) {
                        super::errors::Verdict::Wait(why) => why,
                        _ => "the broker does not tell about the topic",
                    };
                    way.wait_for(format!("topic {name}: {what} ({code})"));
                    return false;
                }
            };
            way.waiting_for = None;
            let topic = match self.by_name.get(&name) {
                Some(&topic) => topic,
                None => match Topic::new(self.flight.native(), &name) {
                    Ok(handle) => {
                        let lanes = Vec::new();
                        self.topics.push(TopicLanes {
                            name: name.clone(),
                            handle,
                            lanes,
                            leaders: [].into(),
                            sticky: 0,
                            sticky_bytes: 0,
                        });
                        self.by_name.insert(name, self.topics.len() - 1);
                        self.topics.len() - 1
                    }
                    Err(error) => {
                        way.wait_for(error);
                        return false;
                    }
                },
            };
            let lanes = &mut self.topics[topic];
            lanes.leaders = leaders;
            while lanes.lanes.len() < lanes.leaders.len() {
                let lane = self.lanes.len() as u32;
                self.homes.push((topic, lanes.lanes.len() as i32));
                lanes.lanes.push(lane);
                self.lanes.push(Lane::new(lane));
            }
            if !lanes
                .lanes
                .iter()
                .any(|lane| self.lanes[*lane as usize].pending_bytes() < self.limits.bytes)
            {
                return false;
            }
        }
        true
    }

    /// Gives every record of a batch to the lane of its partition.
    fn route(&mut self, at: usize, batch: Batch) {
        let way = &mut self.pipelines[at];
        let load = way.pipeline.route.dress(batch, at);
        let partitioner = way.pipeline.route.partitioner;
        let runs: Vec<_> = load
            .batch
            .runs
            .iter()
            .map(|run| (way.pipeline.route.topic(run), run.records.clone()))
            .collect();
        if load.progress.left == 0 {
            // Nothing but skipped bytes: settled as it is.
            let outcome = load.outcome(true);
            load.batch.receipt.settle(&outcome);
            return;
        }
        let slot = match self.flight.hold(load) {
            Ok(slot) => slot,
            Err(load) => {
                // Never met with a budget that fits into memory; the batch waits for a slot.
                self.pipelines[at].held = Some(load.batch);
                return;
            }
        };
        let now = Instant::now();
        for (name, records) in runs {
            let Some(&topic) = self.by_name.get(&name) else {
                continue;
            };
            let Some(load) = self.flight.load(slot) else {
                continue;
            };
            let weight = |record: u32| load.weight(record as usize) + RECORD_WIRE_OVERHEAD;
            let partitions = self.topics[topic].lanes.len() as u32;
            if !load.has_keys() && choose(partitioner, None, partitions) == Choice::Sticky {
                // The common case costs nothing per record: all of them go where the batch goes.
                let bytes = records.clone().map(weight).sum();
                let lane = self.topics[topic].stick(&self.lanes, self.limits.bytes, bytes);
                self.lanes[lane as usize].push(Chunk::Range { slot, records }, bytes, now);
                continue;
            }
            let mut by_lane: HashMap<u32, (Vec<u32>, usize)> = HashMap::new();
            let (mut keyless, mut keyless_bytes) = (Vec::new(), 0);
            for record in records.clone() {
                let partition = match choose(partitioner, load.key(record as usize), partitions) {
                    Choice::Fixed(partition) => partition,
                    Choice::Random => {
                        // xorshift64: spread is all that is asked of it.
                        self.random ^= self.random << 13;
                        self.random ^= self.random >> 7;
                        self.random ^= self.random << 17;
                        (self.random % u64::from(partitions)) as u32
                    }
                    Choice::Sticky => {
                        keyless.push(record);
                        keyless_bytes += weight(record);
                        continue;
                    }
                };
                let lane = self.topics[topic].lanes[partition as usize];
                let (list, bytes) = by_lane.entry(lane).or_default();
                list.push(record);
                *bytes += weight(record);
            }
            for (lane, (records, bytes)) in by_lane {
                self.lanes[lane as usize].push(Chunk::List { slot, records }, bytes, now);
            }
            if !keyless.is_empty() {
                let lane = self.topics[topic].stick(&self.lanes, self.limits.bytes, keyless_bytes);
                let chunk = if keyless.len() == records.len() {
                    Chunk::Range { slot, records }
                } else {
                    Chunk::List {
                        slot,
                        records: keyless,
                    }
                };
                self.lanes[lane as usize].push(chunk, keyless_bytes, now);
            }
        }
    }

    fn send_waves(&mut self) {
        let now = Instant::now();
        for at in 0..self.lanes.len() {
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
            let (topic, partition) = self.homes[at];
            let mut back = Vec::new();
            self.flight.submit(
                &self.topics[topic].handle,
                partition,
                wave,
                |ticket, code| back.push((ticket, code)),
            );
            for (ticket, code) in back {
                if self.lanes[at].came_back(ticket, Some(code)) {
                    self.landed.push(at as u32);
                }
            }
        }
        if !self.landed.is_empty() {
            self.land();
            self.settle();
        }
    }

    /// Puts a new client in the place of one that is at its end, and sends again from memory what that one did not confirm.
    fn build_anew(&mut self, why: &str) {
        let cluster = self.producer.settings.cluster.name.clone();
        tracing::error!(%cluster, why, "the Kafka client is at its end; a new one is built and sends again what was not confirmed");
        let mut resent: HashMap<usize, u64> = HashMap::new();
        while self.flight.outstanding() > 0 && !self.producer.stop.is_hard() {
            let (lanes, finished, landed) = (&mut self.lanes, &mut self.finished, &mut self.landed);
            let mut maybe_there = Vec::new();
            self.flight
                .purge(Duration::from_secs(1), |delivery, last_of_load| {
                    if last_of_load {
                        finished.push(delivery.ticket.slot);
                    }
                    if delivery
                        .error
                        .is_some_and(|code| code != RDKafkaErrorCode::PurgeQueue)
                    {
                        maybe_there.push(delivery.ticket.slot);
                    }
                    if lanes[delivery.ticket.lane as usize]
                        .came_back(delivery.ticket, delivery.error)
                    {
                        landed.push(delivery.ticket.lane);
                    }
                });
            for slot in maybe_there {
                if let Some(load) = self.flight.load(slot) {
                    *resent.entry(load.pipeline).or_default() += 1;
                }
            }
        }
        self.land();
        self.renew = None;
        self.settle();
        for (pipeline, lines) in resent {
            self.pipelines[pipeline].pipeline.books.resent(lines);
        }
        for way in &self.pipelines {
            way.pipeline.books.rebuilt();
        }
        self.producer.bell.detach();
        while !self.producer.stop.is_hard() {
            match self.new_client() {
                Ok(()) => return,
                Err(error) => {
                    let wait = self.backoff.delay();
                    tracing::error!(%cluster, error, "the new Kafka client cannot be built; trying again");
                    self.serve(wait);
                }
            }
        }
    }

    fn new_client(&mut self) -> Result<(), String> {
        let native = Native::new(&(self.producer.config)()?, Kind::Producer)?;
        for topic in &mut self.topics {
            topic.handle = Topic::new(&native, &topic.name)?;
        }
        self.producer.bell.attach(&native);
        self.flight.renew(native);
        Ok(())
    }

    /// Gives up knowingly what is left: at a hard stop, and what belongs to pipelines that stopped for good.
    fn leave(mut self) {
        self.producer.bell.detach();
        self.flight.purge(Duration::from_millis(200), |_, _| {});
        self.topics.clear();
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
    }
}

impl Way {
    fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            held: None,
            closed: false,
            admitted: false,
            halted: false,
            waiting_for: None,
        }
    }

    fn done(&self) -> bool {
        self.halted || (self.closed && self.held.is_none())
    }

    /// The pipeline stops for good; the others go on.
    fn halt(&mut self, state: &ProducerState, why: String) {
        tracing::error!(input = %self.pipeline.name, why, "this input stops");
        self.halted = true;
        let name = self.pipeline.name.clone();
        state.change(|view| view.halted.push((name, why)));
    }

    /// Says once what the pipeline waits for.
    fn wait_for(&mut self, what: String) {
        if self.waiting_for.as_ref() != Some(&what) {
            tracing::warn!(input = %self.pipeline.name, "{what}; lines wait");
            self.waiting_for = Some(what);
        }
    }
}

impl TopicLanes {
    /// The lane for keyless records that weigh `bytes`. It stays the same until a batch's worth went there or it is backed up, then
    /// the one with a leader and the least backlog follows.
    fn stick(&mut self, lanes: &[Lane], batch: usize, bytes: usize) -> u32 {
        let current = self.sticky.min(self.lanes.len() - 1);
        let backed_up = |at: usize| lanes[self.lanes[at] as usize].pending_bytes() >= batch;
        if self.sticky_bytes >= batch
            || backed_up(current)
            || !self.leaders.get(current).copied().unwrap_or(false)
        {
            let after = |at: usize| (at + self.lanes.len() - current - 1) % self.lanes.len();
            let best = (0..self.lanes.len()).min_by_key(|&at| {
                let leaderless = !self.leaders.get(at).copied().unwrap_or(false);
                (
                    leaderless,
                    backed_up(at),
                    lanes[self.lanes[at] as usize].backlog(),
                    after(at),
                )
            });
            self.sticky = best.unwrap_or(current);
            self.sticky_bytes = 0;
        }
        self.sticky_bytes += bytes;
        self.lanes[self.sticky.min(self.lanes.len() - 1)]
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
