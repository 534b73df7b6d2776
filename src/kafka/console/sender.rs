//! Sends parcels into one topic, and says of each record what became of it.
//!
//! ```text
//!  parcels ─► lanes ─► Courier (librdkafka) ─► broker
//!               ▲            │ reports
//!               └─ again ◄───┴──► Fate of each record
//! ```
//!
//! The lanes are the daemon's: one wave per partition on its way, order kept, one bad record found out among its neighbours. What differs
//! is the end of patience: a command that gets no acknowledgement for long gives everything up and says so.
//!
//! Invariant: every record of every parcel meets its fate once.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::parcel::Parcel;
use super::reach::{self, Unreached};
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::lane::{Chunk, Lane, WaveLimits};
use crate::kafka::native::{Courier, EventKind, Kind, Native, Report, Ticket};
use crate::kafka::partition::deal::{Dealer, Hand, Seats};
use crate::kafka::partition::{NoPartition, Rule};
use crate::kafka::properties::{RECORD_WIRE_OVERHEAD, WAVE_RECORDS, producer_config};
use crate::kafka::settings::{Partitioner, ProducerSettings};

/// How long a wave may wait for company.
const LINGER: Duration = Duration::from_millis(5);
/// The longest sleep.
const IDLE: Duration = Duration::from_millis(500);
/// How long the topic or the rights may be at fault before that is final.
const FAULT: Duration = Duration::from_secs(5);
/// What is held in memory at least and at most, in bytes.
const HELD: (usize, usize) = (4 << 20, 32 << 20);

/// What to send, and how.
pub struct SenderSettings {
    pub producer: ProducerSettings,
    pub topic: String,
    /// All records go there, whatever the partitioner is.
    pub partition: Option<u32>,
    pub partitioner: Partitioner,
    /// How long no acknowledgement may come before everything is given up.
    pub patience: Duration,
    /// Told to the broker as `client.id`.
    pub client_id: String,
}

/// What became of a record.
#[derive(Debug)]
pub enum Fate<'a> {
    /// Confirmed, or with acks 0 handed to the network (then the offset is -1).
    Delivered {
        line: u64,
        partition: i32,
        offset: i64,
        timestamp_ms: i64,
    },
    /// It is not in the topic, as far as is known.
    Undelivered { line: u64, why: &'a str },
}

/// Sends parcels into one topic. Runs on the caller's thread: call [`Sender::turn`] when [`Sender::bell`] is readable or
/// [`Sender::until_due`] has passed.
pub struct Sender {
    courier: Courier,
    lanes: Vec<Lane>,
    limits: WaveLimits,
    settings: SenderSettings,
    /// Where keyless records go now, and how many bytes went there since.
    sticky: (usize, usize),
    rule: Rule,
    dealer: Dealer,
    /// Whose turn it is, where records take turns.
    turn: u32,
    /// All of them: nobody is asked who leads.
    leaders: Vec<bool>,
    /// Lanes whose wave is wholly back.
    landed: Vec<u32>,
    /// When something was confirmed last, or began to wait.
    heard: Instant,
    /// What librdkafka complained of last.
    complaint: Option<String>,
    /// Why nothing is sent any more.
    over: Option<String>,
}

impl Sender {
    /// Asks for the topic's partitions, and so whether Kafka is there.
    ///
    /// # Errors
    /// When it is not, or the topic or the partition does not exist.
    pub fn connect(settings: SenderSettings) -> Result<Self, Unreached> {
        let brokers = reach::addresses(&settings.producer.cluster.brokers);
        let config = producer_config(&settings.producer, &brokers, &settings.client_id)
            .map_err(Unreached::Settings)?;
        let native = Native::new(&config, Kind::Producer).map_err(Unreached::Settings)?;
        let found = reach::topics(&native, Some(&settings.topic), &brokers)?;
        let partitions = found.get(&settings.topic).copied().unwrap_or(0);
        if let Some(partition) = settings.partition.filter(|at| *at >= partitions) {
            let topic = &settings.topic;
            return Err(Unreached::Refused(format!(
                "topic {topic} has no partition {partition}: it has {partitions}, counted from 0"
            )));
        }
        let courier = Courier::new(native, &settings.topic).map_err(Unreached::Settings)?;
        Ok(Self {
            courier,
            lanes: (0..partitions).map(Lane::new).collect(),
            limits: WaveLimits {
                records: WAVE_RECORDS,
                bytes: usize::try_from(settings.producer.batch_size).unwrap_or(usize::MAX),
                linger: LINGER,
            },
            rule: Rule::of(settings.partitioner),
            settings,
            sticky: (0, 0),
            dealer: Dealer::default(),
            turn: 0,
            leaders: vec![true; partitions as usize],
            landed: Vec::new(),
            heard: Instant::now(),
            complaint: None,
            over: None,
        })
    }

    /// Readable when there is something to do.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.courier.bell()
    }

    /// Whether another parcel may come.
    pub fn has_room(&self) -> bool {
        let most = (self.lanes.len() * 2 * self.limits.bytes).clamp(HELD.0, HELD.1);
        self.over.is_none() && self.courier.held_bytes() < most
    }

    /// Whether the fate of every record is told.
    pub fn is_idle(&self) -> bool {
        self.courier.is_empty()
    }

    /// Why nothing can be sent any more.
    pub fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// Takes a parcel.
    pub fn send(&mut self, parcel: Parcel, tell: &mut dyn FnMut(Fate<'_>)) {
        if parcel.is_empty() {
            return;
        }
        let now = Instant::now();
        if self.courier.is_empty() {
            self.heard = now;
        }
        let records = parcel.len() as u32;
        let slot = match self.courier.hold(parcel) {
            Ok(slot) => slot,
            Err(parcel) => {
                // Never met: there is room for a million parcels, and they are smaller than an arena.
                for record in 0..parcel.len() {
                    let line = parcel.line(record);
                    let why = "too many records wait";
                    tell(Fate::Undelivered { line, why });
                }
                return;
            }
        };
        self.route(slot, records, now, tell);
        self.send_waves(tell);
    }

    /// Gives the records of a parcel to their lanes.
    /// Those that name no partition are told to be undelivered.
    fn route(&mut self, slot: u32, records: u32, now: Instant, tell: &mut dyn FnMut(Fate<'_>)) {
        let Some(parcel) = self.courier.parcel(slot) else {
            return;
        };
        let partitions = self.lanes.len() as u32;
        let seats = Seats {
            partitions,
            leaders: &self.leaders,
            turn: &mut self.turn,
        };
        let (lanes, sticky, batch) = (&mut self.lanes, &mut self.sticky, self.limits.bytes);
        let (dealer, all) = (&mut self.dealer, Hand::Range(0..records));
        match self.settings.partition {
            Some(partition) => dealer.give_all(partition, &all, parcel),
            None => dealer.deal(&self.rule, &all, parcel, seats, |bytes| {
                stick(sticky, lanes, batch, bytes) as u32
            }),
        }
        for group in dealer.groups.drain(..) {
            let (lane, bytes) = (group.partition as usize, group.bytes);
            lanes[lane].push(Chunk::of(group, slot, &all), bytes, now);
        }
        for record in std::mem::take(&mut self.dealer.refused) {
            let parcel = self.courier.parcel(slot);
            let text = parcel.and_then(|parcel| parcel.place(record as usize));
            let why = NoPartition::of(text, partitions).to_string();
            let ticket = Ticket {
                slot,
                lane: 0,
                record,
            };
            self.undelivered(ticket, &why, tell);
        }
    }

    /// Serves what came, decides what becomes of it, and sends what is due. Does not wait.
    pub fn turn(&mut self, tell: &mut dyn FnMut(Fate<'_>)) {
        loop {
            let (lanes, landed) = (&mut self.lanes, &mut self.landed);
            let mut delivered = false;
            let event = self.courier.poll(Duration::ZERO, |report| {
                let Report { ticket, error, .. } = report;
                let lane = ticket.lane;
                if error.is_none() {
                    delivered = true;
                    tell(Fate::Delivered {
                        line: report.line,
                        partition: lane as i32,
                        offset: report.offset,
                        timestamp_ms: report.timestamp_ms,
                    });
                }
                if lanes[lane as usize].came_back(ticket, error) {
                    landed.push(lane);
                }
            });
            if delivered {
                self.heard = Instant::now();
            }
            match event {
                None => break,
                Some(EventKind::Error { text, fatal, .. }) => {
                    if fatal {
                        self.over.get_or_insert(text);
                    } else {
                        self.complaint = Some(text);
                    }
                }
                Some(_) => {}
            }
        }
        self.land(tell);
        self.send_waves(tell);
        if !self.is_idle() && self.heard.elapsed() > self.settings.patience {
            let patience = crate::value::show_duration(self.settings.patience);
            let why = match &self.complaint {
                Some(complaint) => {
                    format!("no acknowledgement for {patience}; the last trouble: {complaint}")
                }
                None => format!("no acknowledgement for {patience}"),
            };
            self.over.get_or_insert(why);
        }
    }

    /// Decides what becomes of the waves that are wholly back.
    fn land(&mut self, tell: &mut dyn FnMut(Fate<'_>)) {
        let now = Instant::now();
        for at in std::mem::take(&mut self.landed) {
            let lane = &mut self.lanes[at as usize];
            let end = lane.end_wave(now);
            if let Some((why, code)) = end.wait {
                lane.pause(now + Duration::from_millis(500));
                if self.heard.elapsed() > FAULT.min(self.settings.patience) {
                    self.over.get_or_insert(format!("{why} ({code})"));
                }
            } else if end.again > 0 {
                lane.pause(now + Duration::from_millis(100));
            }
            if end.client {
                self.over
                    .get_or_insert_with(|| "the client gave its records back".to_owned());
            }
            for (ticket, reason, code) in end.refused {
                // Somebody answered.
                self.heard = now;
                self.undelivered(ticket, &refusal(reason, code), tell);
            }
        }
    }

    fn undelivered(&mut self, ticket: Ticket, why: &str, tell: &mut dyn FnMut(Fate<'_>)) {
        if let Some(parcel) = self.courier.parcel(ticket.slot) {
            let line = parcel.line(ticket.record as usize);
            tell(Fate::Undelivered { line, why });
        }
        self.courier.end(ticket);
    }

    fn send_waves(&mut self, tell: &mut dyn FnMut(Fate<'_>)) {
        if self.over.is_some() {
            return;
        }
        let now = Instant::now();
        // A record that librdkafka refuses at once makes its lane land at once: then the next one is due.
        loop {
            for at in 0..self.lanes.len() {
                let courier = &self.courier;
                let weight = |ticket: Ticket| {
                    courier
                        .parcel(ticket.slot)
                        .map_or(0, |parcel| parcel.weight(ticket.record as usize))
                        + RECORD_WIRE_OVERHEAD
                };
                let wave = self.lanes[at].next_wave(&self.limits, now, weight);
                if wave.is_empty() {
                    continue;
                }
                let mut back = Vec::new();
                self.courier
                    .submit(at as i32, wave, |ticket, code| back.push((ticket, code)));
                for (ticket, code) in back {
                    if self.lanes[at].came_back(ticket, Some(code)) {
                        self.landed.push(at as u32);
                    }
                }
            }
            if self.landed.is_empty() {
                return;
            }
            self.land(tell);
        }
    }

    /// How long nothing is due.
    pub fn until_due(&self) -> Duration {
        let now = Instant::now();
        let due = self.lanes.iter().filter_map(|lane| lane.due(&self.limits));
        due.map(|due| due.saturating_duration_since(now))
            .min()
            .map_or(IDLE, |due| due.min(IDLE))
    }

    /// Waits for nothing more: what has not met its fate is undelivered, for the reason why it is over, or else for `why`.
    pub fn give_up(mut self, why: &str, tell: &mut dyn FnMut(Fate<'_>)) {
        let why = self.over.take().unwrap_or_else(|| why.to_owned());
        for line in self.courier.open_lines() {
            tell(Fate::Undelivered { line, why: &why });
        }
        self.courier.purge();
    }
}

/// What a refused record is told.
fn refusal(reason: &str, code: RDKafkaErrorCode) -> String {
    match reason {
        "too_large" => "larger than a record may be; -X message.max.bytes=N raises the limit here, max.message.bytes of the topic that of the broker".to_owned(),
        _ => match verdict(code) {
            Verdict::Record(_) => format!("Kafka refuses it: {code}"),
            _ => code.to_string(),
        },
    }
}

/// The lane for keyless records that weigh `bytes`: the same until a batch's worth went there, then the one with the least backlog.
fn stick(sticky: &mut (usize, usize), lanes: &[Lane], batch: usize, bytes: usize) -> usize {
    let (current, sent) = *sticky;
    if sent >= batch || lanes[current].pending_bytes() >= batch {
        let after = |at: usize| (at + lanes.len() - current - 1) % lanes.len();
        let best = (0..lanes.len()).min_by_key(|&at| (lanes[at].backlog(), after(at)));
        *sticky = (best.unwrap_or(current), 0);
    }
    sticky.1 += bytes;
    sticky.0
}
