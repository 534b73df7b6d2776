//! Reads topics once, from one place of each partition to another, on the caller's thread.
//!
//! Records come a batch at a time in librdkafka's own memory. What lies behind the end of a partition is taken out; the rest is the
//! caller's. Where the end is a marker of a transaction or a record that was aborted, no record tells that it was reached: then the client
//! is asked how far it has fetched.
//!
//! Invariant: of each partition, the records come in order and each once, but for a group's members, to whom a rebalance can give
//! some again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;
use regex::Regex;

use super::places::{self, From, Until};
use super::reach::{self, Unreached};
use crate::flow::{Bell, Consumed, RecordView, Ring};
use crate::kafka::cluster::client_config;
use crate::kafka::native::{EventKind, Member, Message, MessageBatch, PartitionOffset};
use crate::kafka::settings::ClusterSettings;

/// How long it is waited at a time.
pub(super) const TICK: Duration = Duration::from_millis(100);
/// How long nothing may come before the client is asked whether anything will.
const QUIET: Duration = Duration::from_millis(200);

/// What to read.
#[derive(Debug, Clone)]
pub struct ReaderSettings {
    pub cluster: ClusterSettings,
    /// Names, or regular expressions that begin with `^`.
    pub topics: Vec<String>,
    /// Only these partitions; all when empty.
    pub partitions: Vec<i32>,
    pub from: From,
    pub until: Option<Until>,
    /// Read as a member of this group, beginning where it has committed.
    pub group: Option<String>,
    /// Told to the broker as `client.id`.
    pub client_id: String,
}

/// A partition that is read.
#[derive(Debug)]
pub(super) struct Held {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Where it was begun.
    pub first: i64,
    /// The offset after the last record that was given out.
    pub next: i64,
    /// Nothing from here on is given out.
    pub stop: Option<i64>,
    /// The offset after the last record that was printed, of a group's member.
    pub printed: Option<i64>,
}

impl Held {
    fn is_done(&self) -> bool {
        self.stop.is_some_and(|stop| self.next >= stop)
    }
}

/// Reads topics.
pub struct Reader {
    pub(super) member: Member,
    pub(super) bell: Arc<Bell>,
    pub(super) settings: ReaderSettings,
    pub(super) held: Vec<Held>,
    /// How far to read is not known yet: the time that was named lies ahead.
    later: bool,
    quiet_since: Option<Instant>,
    /// News for people.
    pub(super) notes: Vec<Note>,
    pub(super) group: super::member::Group,
    failed: Option<String>,
}

/// News for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// What everybody wants to know.
    Warning(String),
    /// Who asked for more.
    Detail(String),
}

/// What came.
pub enum Came {
    Records(Records),
    /// Nothing, for a moment.
    Nothing,
    /// Everything up to the end was given out.
    End,
}

/// Records in the client's memory.
pub struct Records(MessageBatch);

impl Records {
    pub fn message(&self, index: usize) -> Message<'_> {
        self.0.get(index)
    }
}

impl Consumed for Records {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> RecordView<'_> {
        let message = self.0.get(index);
        let (timestamp_ms, timestamp_kind) = message.timestamp();
        RecordView {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms,
            timestamp_kind,
            key: message.key(),
            value: message.value(),
        }
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.0.get(index).headers(each);
    }
}

fn config(settings: &ReaderSettings, brokers: &str) -> Result<ClientConfig, Unreached> {
    let cluster = &settings.cluster;
    let mut config = client_config(cluster, brokers, &settings.client_id)
        .map_err(|error| Unreached::Settings(error.to_string()))?;
    config
        .set("queued.max.messages.kbytes", "32768")
        // More would be memory that is touched for the first time, again and again: it costs more than it saves.
        .set("queued.min.messages", "20000")
        .set("fetch.max.bytes", "16777216")
        .set("max.partition.fetch.bytes", "2097152")
        // The default of a second would cap a fast reader at what one fetch brings in a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "250")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("isolation.level", "read_committed")
        .set(
            "group.id",
            settings.group.as_deref().unwrap_or("logferry-consume"),
        );
    for (name, value) in &cluster.options {
        config.set(name, value);
    }
    if cluster
        .options
        .get("group.protocol")
        .is_some_and(|it| it == "consumer")
    {
        config.remove("partition.assignment.strategy");
    }
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        // What retention takes while it is read is gone: go on with what is kept.
        .set("auto.offset.reset", "earliest")
        // The batch call takes the news of an end for a record.
        .set("enable.partition.eof", "false");
    if settings.until.is_some() {
        config.set("statistics.interval.ms", "200");
    }
    Ok(config)
}

impl Reader {
    /// Asks what there is, and begins.
    ///
    /// # Errors
    /// When no broker answers, or what was named does not exist.
    pub fn start(settings: ReaderSettings) -> Result<Self, Unreached> {
        let brokers = reach::addresses(&settings.cluster.brokers);
        let config = config(&settings, &brokers)?;
        let bell = Arc::new(Bell::new());
        let ring: Arc<dyn Ring> = bell.clone();
        let member = Member::new(&config, &ring).map_err(Unreached::Settings)?;
        let found = match settings.topics.as_slice() {
            [one] if !one.starts_with('^') => reach::topics(member.native(), Some(one), &brokers)?,
            _ => reach::topics(member.native(), None, &brokers)?,
        };
        let mut reader = Self {
            member,
            bell,
            later: false,
            held: Vec::new(),
            quiet_since: None,
            notes: Vec::new(),
            group: super::member::Group::default(),
            failed: None,
            settings,
        };
        let chosen = reader.choose(&found)?;
        if reader.settings.group.is_some() {
            reader
                .member
                .subscribe(&reader.settings.topics)
                .map_err(Unreached::Refused)?;
        } else {
            let list = reader.hold(&chosen, None).map_err(Unreached::Refused)?;
            reader.member.assign(&list).map_err(Unreached::Refused)?;
        }
        Ok(reader)
    }

    /// The partitions that were named, among those that there are.
    fn choose(&self, found: &BTreeMap<String, u32>) -> Result<Vec<PartitionOffset>, Unreached> {
        let mut chosen = Vec::new();
        for name in &self.settings.topics {
            let before = chosen.len();
            if name.starts_with('^') {
                let pattern = Regex::new(name).map_err(|error| {
                    Unreached::Settings(format!("{name} is no regular expression: {error}"))
                })?;
                let topics = found.iter().filter(|(topic, _)| pattern.is_match(topic));
                topics.for_each(|topic| self.add(topic, &mut chosen));
                if before == chosen.len() && self.settings.group.is_none() {
                    let why = format!("no topic matches {name}");
                    return Err(Unreached::Refused(why));
                }
            } else {
                match found.get_key_value(name) {
                    Some(topic) => self.add(topic, &mut chosen),
                    None => return Err(Unreached::Refused(reach::words(name, None))),
                }
                for partition in &self.settings.partitions {
                    let there =
                        |it: &PartitionOffset| it.topic == *name && it.partition == *partition;
                    if !chosen.iter().any(there) {
                        let count = found[name];
                        return Err(Unreached::Refused(format!(
                            "topic {name} has no partition {partition}: it has {count}, counted from 0"
                        )));
                    }
                }
            }
        }
        Ok(chosen)
    }

    fn add(&self, (topic, partitions): (&String, &u32), chosen: &mut Vec<PartitionOffset>) {
        for partition in 0..i32::try_from(*partitions).unwrap_or(0) {
            let wanted = &self.settings.partitions;
            let known = |it: &PartitionOffset| it.topic == *topic && it.partition == partition;
            if (wanted.is_empty() || wanted.contains(&partition)) && !chosen.iter().any(known) {
                chosen.push(PartitionOffset::bare(topic, partition));
            }
        }
    }

    /// Holds partitions from now on, each from `committed` or where it was said to begin. Gives them with their offsets.
    pub(super) fn hold(
        &mut self,
        partitions: &[PartitionOffset],
        committed: Option<&[Option<i64>]>,
    ) -> Result<Vec<PartitionOffset>, String> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let bounds = places::bounds(&self.member, partitions)?;
        let starts = places::begin(&self.member, partitions, &bounds, self.settings.from)?;
        let stops = match self.settings.until {
            None => None,
            Some(until) => {
                let stops = places::stop(&self.member, partitions, &bounds, until, now_ms())?;
                self.later |= stops.is_none();
                stops
            }
        };
        let mut list = Vec::new();
        for (at, place) in partitions.iter().enumerate() {
            let committed = committed.and_then(|committed| committed[at]);
            let next = committed.unwrap_or(starts[at]);
            if let (None, From::Offset(wanted)) = (committed, self.settings.from)
                && next != wanted
            {
                self.notes.push(Note::Warning(format!(
                    "topic {}, partition {}: offset {wanted} is not kept any more; the first one is {next}",
                    place.topic, place.partition
                )));
            }
            self.held.push(Held {
                topic: place.topic.as_str().into(),
                partition: place.partition,
                first: next,
                next,
                stop: stops.as_ref().map(|stops| stops[at]),
                printed: None,
            });
            list.push(PartitionOffset {
                offset: Some(next),
                ..place.clone()
            });
        }
        Ok(list)
    }

    /// How many offsets were read, and how many there are to read, of the partitions that are held; absent where no end is known.
    pub fn progress(&self) -> Option<(u64, u64)> {
        self.settings.until?;
        let held = self.held.iter().map(|held| {
            let (all, done) = (held.stop? - held.first, held.next - held.first);
            let all = u64::try_from(all).unwrap_or(0);
            Some((u64::try_from(done).unwrap_or(0).min(all), all))
        });
        let sums = held.collect::<Option<Vec<_>>>()?.into_iter();
        Some(sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
    }

    /// News for people, since it was asked last.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// What comes next. Waits a moment for it.
    ///
    /// # Errors
    /// When a topic or the rights to it are gone.
    pub fn more(&mut self) -> Result<Came, String> {
        self.serve();
        if let Some(why) = self.failed.take() {
            return Err(why);
        }
        if self.is_over() {
            return Ok(Came::End);
        }
        if let Some(batch) = self.member.take() {
            self.quiet_since = None;
            let records = self.sort(batch);
            return Ok(if records.is_empty() {
                Came::Nothing
            } else {
                Came::Records(records)
            });
        }
        self.quiet_since.get_or_insert_with(Instant::now);
        self.resolve_later()?;
        self.skip_what_is_no_record();
        if !self.is_over() {
            self.bell.wait(TICK);
        }
        Ok(Came::Nothing)
    }

    fn is_over(&self) -> bool {
        let known = self.settings.group.is_none() || self.group.is_given;
        self.settings.until.is_some() && known && !self.later && self.held.iter().all(Held::is_done)
    }

    /// Takes out what is no record and what lies behind an end.
    fn sort(&mut self, mut batch: MessageBatch) -> Records {
        let (held, failed) = (&mut self.held, &mut self.failed);
        // A record of that time can come before it is that late here.
        let ahead = match self.settings.until {
            Some(Until::Time(time)) if self.later => Some(time),
            _ => None,
        };
        // The partition that the last message was of, and where it is among those that are held.
        let mut last: Option<(usize, i32, Option<usize>)> = None;
        batch.retain(|message| {
            if let Some(code) = message.error() {
                *failed = failure(&message, code).or(failed.take());
                return false;
            }
            let (token, partition) = (message.topic_token(), message.partition());
            let at = match last {
                Some((known, of, at)) if known == token && of == partition => at,
                _ => {
                    let topic = message.topic();
                    let at = held
                        .iter()
                        .position(|it| it.partition == partition && &*it.topic == topic);
                    last = Some((token, partition, at));
                    at
                }
            };
            let Some(held) = at.map(|at| &mut held[at]) else {
                return false;
            };
            let offset = message.offset();
            if offset < held.next {
                return false;
            }
            held.next = offset + 1;
            if let (Some(ahead), None) = (ahead, held.stop)
                && message.timestamp().0 >= ahead
            {
                held.stop = Some(offset);
            }
            held.stop.is_none_or(|stop| offset < stop)
        });
        Records(batch)
    }

    /// Nothing comes any more: whether the rest up to the end is markers and aborted records.
    fn skip_what_is_no_record(&mut self) {
        let quiet = self
            .quiet_since
            .is_some_and(|since| since.elapsed() > QUIET);
        if !quiet || self.settings.until.is_none() {
            return;
        }
        let behind = self.held.iter().filter(|held| !held.is_done());
        let behind: Vec<_> = behind
            .map(|held| PartitionOffset::bare(&held.topic, held.partition))
            .collect();
        for place in self.member.positions(&behind) {
            self.reached(&place.topic, place.partition, place.offset.unwrap_or(0));
        }
    }

    fn reached(&mut self, topic: &str, partition: i32, offset: i64) {
        let held = self.held.iter_mut();
        for held in held.filter(|held| held.partition == partition && &*held.topic == topic) {
            held.next = held.next.max(offset);
        }
    }

    fn resolve_later(&mut self) -> Result<(), String> {
        let Some(until @ Until::Time(time)) = self.settings.until.filter(|_| self.later) else {
            return Ok(());
        };
        if now_ms() < time {
            return Ok(());
        }
        let held = self.held.iter();
        let partitions: Vec<_> = held
            .map(|held| PartitionOffset::bare(&held.topic, held.partition))
            .collect();
        if !partitions.is_empty() {
            let bounds = places::bounds(&self.member, &partitions)?;
            let stops = places::stop(&self.member, &partitions, &bounds, until, now_ms())?;
            for (held, stop) in self.held.iter_mut().zip(stops.unwrap_or_default()) {
                held.stop.get_or_insert(stop);
            }
        }
        self.later = false;
        Ok(())
    }

    /// Serves what the client tells besides records.
    pub(super) fn serve(&mut self) {
        while let Some(event) = self.member.event() {
            match event.kind() {
                EventKind::Rebalance(code) => {
                    if let Err(why) = self.rebalance(code, &event.partitions()) {
                        self.failed.get_or_insert(why);
                    }
                }
                EventKind::Committed(error) => self.committed(event.token(), error),
                EventKind::Statistics(text) => self.fetched(&text),
                EventKind::Error { code, text, fatal } => self.trouble(code, text, fatal),
                EventKind::Strayed { topic, partition } => self.fetch_back(&topic, partition),
                _ => {}
            }
        }
    }

    /// Records of a partition are not given out: it goes on where it was.
    fn fetch_back(&mut self, topic: &str, partition: i32) {
        let is_it = |held: &&Held| *held.topic == *topic && held.partition == partition;
        if let Some(held) = self.held.iter().find(is_it) {
            let place = PartitionOffset {
                offset: Some(held.next),
                ..PartitionOffset::bare(topic, partition)
            };
            if let Err(why) = self.member.fetch_back(&place) {
                self.failed.get_or_insert(why);
            }
        }
    }

    fn trouble(&mut self, code: RDKafkaErrorCode, text: String, fatal: bool) {
        let in_group = self.settings.group.is_some();
        let final_for_group = matches!(
            code,
            RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::InvalidGroupId
        );
        if fatal || in_group && final_for_group {
            self.failed.get_or_insert(text);
        } else if code == RDKafkaErrorCode::AllBrokersDown {
            let why = format!("no broker answers any more; waiting for one: {text}");
            self.notes.push(Note::Warning(why));
        } else if in_group || !final_for_group {
            self.notes.push(Note::Detail(text));
        }
    }

    /// How far the client has fetched, when everything that it fetched was given out.
    fn fetched(&mut self, statistics: &str) {
        let quiet = self
            .quiet_since
            .is_some_and(|since| since.elapsed() > QUIET);
        let Ok(statistics) = serde_json::from_str::<serde_json::Value>(statistics) else {
            return;
        };
        if !quiet {
            return;
        }
        for at in 0..self.held.len() {
            let held = &mut self.held[at];
            let told = &statistics["topics"][&*held.topic]["partitions"];
            let told = &told[held.partition.to_string()];
            let waiting = told["fetchq_cnt"].as_i64();
            if let (Some(offset), Some(0)) = (told["next_offset"].as_i64(), waiting) {
                held.next = held.next.max(offset);
            }
        }
    }
}

/// What of a partition's news ends the command.
fn failure(message: &Message<'_>, code: RDKafkaErrorCode) -> Option<String> {
    let (topic, partition) = (message.topic(), message.partition());
    match code {
        RDKafkaErrorCode::TopicAuthorizationFailed
        | RDKafkaErrorCode::UnknownTopicOrPartition
        | RDKafkaErrorCode::UnknownTopic => Some(reach::words(topic, Some(code))),
        RDKafkaErrorCode::UnknownPartition => {
            Some(format!("topic {topic}: partition {partition} is gone"))
        }
        RDKafkaErrorCode::BadMessage | RDKafkaErrorCode::BadCompression => Some(format!(
            "topic {topic}, partition {partition}: {}",
            message.error_text()
        )),
        // The client goes on by itself.
        _ => None,
    }
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
