//! Against the mock cluster, whose first join of a group takes three seconds, or against the Kafka that `LOGFERRY_TEST_KAFKA` names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::flow::{Books, Budget, Outcome, Place, Received, Receiver};
use crate::kafka::embedded::Embedded;
use crate::kafka::native::{EventKind, Member, PartitionOffset};
use crate::kafka::settings::{
    Brokers, ClusterSettings, ConsumeFrom, GroupProtocol, Isolation, OutOfRange,
};

/// A journal in memory.
#[derive(Default)]
struct Journal {
    places: Mutex<BTreeMap<(String, i32), i64>>,
    adopted: Mutex<Vec<i64>>,
}

impl Durable for Journal {
    fn id(&self) -> &str {
        "j"
    }

    fn place(&self, topic: &str, partition: i32) -> Option<Place> {
        let places = self.places.lock().unwrap();
        let next = *places.get(&(topic.to_owned(), partition))?;
        Some(Place {
            next,
            leader_epoch: -1,
        })
    }

    fn adopt(&self, topic: &str, partition: i32, next: i64) {
        self.adopted.lock().unwrap().push(next);
        let mut places = self.places.lock().unwrap();
        places.insert((topic.to_owned(), partition), next);
    }
}

/// A broker with a topic that no other test knows.
struct Kafka {
    at: String,
    topic: String,
    _embedded: Option<Embedded>,
}

impl Kafka {
    fn start() -> Self {
        static TOPICS: AtomicUsize = AtomicUsize::new(0);
        let number = TOPICS.fetch_add(1, Ordering::Relaxed);
        let topic = format!("t-{}-{number}", std::process::id());
        if let Ok(at) = std::env::var("LOGFERRY_TEST_KAFKA") {
            return Self {
                at,
                topic,
                _embedded: None,
            };
        }
        let embedded = Embedded::start().unwrap();
        Self {
            at: embedded.bootstrap(),
            topic,
            _embedded: Some(embedded),
        }
    }
}

/// A member of a group, its output played by the test.
struct Rig {
    stop: Stop,
    heard: Arc<Bell>,
    state: Arc<ConsumerState>,
    tracker: Arc<Tracker<i64>>,
    journal: Arc<Journal>,
    receiver: Option<Receiver<Fetched>>,
    until_end: Arc<AtomicBool>,
    thread: Option<JoinHandle<Report>>,
    /// Batches that are not settled.
    held: Vec<(Receipt, Count)>,
    values: Vec<String>,
    flushes: usize,
}

fn settings(kafka: &Kafka, group: &str) -> ConsumerSettings {
    ConsumerSettings {
        cluster: ClusterSettings {
            name: "test".into(),
            brokers: Brokers::Embedded,
            tls: None,
            sasl: None,
            options: BTreeMap::new(),
        },
        topics: vec![kafka.topic.clone()],
        partitions: None,
        group: format!("{}-{group}", kafka.topic),
        start_at: ConsumeFrom::Earliest,
        on_out_of_range: OutOfRange::Earliest,
        protocol: GroupProtocol::Classic,
        isolation: Isolation::ReadCommitted,
        options: BTreeMap::from([
            ("session.timeout.ms".to_owned(), "6000".to_owned()),
            ("heartbeat.interval.ms".to_owned(), "200".to_owned()),
        ]),
    }
}

impl Rig {
    fn start(kafka: &Kafka, group: &str, journal: Arc<Journal>, once: bool) -> Self {
        Self::start_with(kafka, settings(kafka, group), journal, once)
    }

    fn start_with(
        kafka: &Kafka,
        settings: ConsumerSettings,
        journal: Arc<Journal>,
        once: bool,
    ) -> Self {
        let (bell, heard) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (pipe, receiver) = crate::flow::pipe(4, heard.clone(), bell.clone());
        let (_, mut shares) = Budget::split(64 << 20, 1);
        let until_end = Arc::new(AtomicBool::new(false));
        let rig = Self {
            stop: Stop::new(),
            heard,
            state: Arc::new(ConsumerState::new()),
            tracker: Arc::new(Tracker::new(Arc::new(Books::new()))),
            journal,
            receiver: Some(receiver),
            until_end: until_end.clone(),
            thread: None,
            held: Vec::new(),
            values: Vec::new(),
            flushes: 0,
        };
        let consumer = Consumer {
            name: "out".into(),
            settings,
            bootstrap: kafka.at.clone(),
            client_id: "test".into(),
            prefetch_bytes: 8 << 20,
            with_time: true,
            pipe,
            share: shares.remove(0),
            tracker: rig.tracker.clone(),
            durable: rig.journal.clone(),
            stop: rig.stop.clone(),
            bell,
            state: rig.state.clone(),
            until_end: once.then_some(until_end),
            exactly_once: None,
        };
        Self {
            thread: Some(std::thread::spawn(move || run(consumer))),
            ..rig
        }
    }

    /// Takes what comes until `done`; a batch is settled at once if `settle`.
    fn until(&mut self, settle: bool, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !done(self) {
            assert!(
                Instant::now() < deadline,
                "{} values, {:?}",
                self.values.len(),
                self.state.status()
            );
            self.step(settle);
        }
    }

    fn step(&mut self, settle: bool) {
        let Some(receiver) = &self.receiver else {
            std::thread::yield_now();
            return;
        };
        match receiver.try_recv() {
            Received::Item(Fetched::Records {
                records,
                receipt,
                charge,
            }) => {
                let mut count = Count::default();
                for at in 0..records.len() {
                    let record = records.get(at);
                    let value = record.value.unwrap_or_default();
                    let key = record.key.unwrap_or_default();
                    count.lines += 1;
                    count.bytes += (key.len() + value.len()) as u64;
                    self.values
                        .push(String::from_utf8_lossy(value).into_owned());
                    let mut places = self.journal.places.lock().unwrap();
                    if settle {
                        places.insert(
                            (record.topic.to_owned(), record.partition),
                            record.offset + 1,
                        );
                    }
                }
                drop((records, charge));
                if settle {
                    receipt.settle(&Outcome::acked(count));
                } else {
                    self.held.push((receipt, count));
                }
            }
            Received::Item(Fetched::Flush) => self.flushes += 1,
            Received::Empty => {
                self.heard.wait(Duration::from_millis(20));
            }
            Received::Closed => self.receiver = None,
        }
    }

    fn settle_held(&mut self) {
        for (receipt, count) in self.held.drain(..) {
            receipt.settle(&Outcome::acked(count));
        }
    }

    fn stop(&mut self) -> Report {
        self.stop.soften();
        self.end(true)
    }

    fn end(&mut self, settle: bool) -> Report {
        self.until(settle, |rig| {
            rig.thread.as_ref().is_none_or(JoinHandle::is_finished)
        });
        self.thread.take().unwrap().join().unwrap()
    }

    fn partitions(&self) -> usize {
        self.state.status().partitions.len()
    }

    fn committed(&self) -> i64 {
        let status = self.state.status();
        status
            .partitions
            .iter()
            .filter_map(|partition| partition.committed)
            .sum()
    }
}

fn produce(kafka: &Kafka, from: usize, to: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.at)
        .set("partitioner", "consistent")
        .create()
        .unwrap();
    for at in from..to {
        let (key, value) = (at.to_string(), format!("value {at}"));
        producer
            .send(BaseRecord::to(&kafka.topic).key(&key).payload(&value))
            .unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

fn expected(to: usize) -> Vec<String> {
    let mut values: Vec<_> = (0..to).map(|at| format!("value {at}")).collect();
    values.sort();
    values
}

fn sorted(values: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort();
    values
}

#[test]
fn once_reads_everything_commits_it_and_the_next_member_goes_on_there() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 1000);
    let journal = Arc::new(Journal::default());
    let mut first = Rig::start(at, "g", journal.clone(), true);
    first.until_end.store(true, Ordering::Release);
    let report = first.end(true);
    assert_eq!(report.end, End::CaughtUp);
    assert!(report.committed && report.left && !report.leaked);
    assert_eq!(sorted(first.values.drain(..)), expected(1000));
    assert!(first.tracker.books().entries().balanced());
    // Somebody without this journal goes on where the group is.
    produce(at, 1000, 1100);
    let mut second = Rig::start(at, "g", Arc::new(Journal::default()), true);
    second.until_end.store(true, Ordering::Release);
    assert_eq!(second.end(true).end, End::CaughtUp);
    let all = first.values.into_iter().chain(second.values);
    assert_eq!(all.count(), 100);
}

/// An output that names these partitions.
fn naming(kafka: &Kafka, partitions: &[i32]) -> ConsumerSettings {
    let named = (kafka.topic.clone(), partitions.iter().copied().collect());
    ConsumerSettings {
        partitions: Some(BTreeMap::from([named])),
        ..settings(kafka, "named")
    }
}

#[test]
fn once_reads_the_named_partitions_that_there_are_and_goes_on_there_without_a_group() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 400);
    let read = |partitions: &[i32]| {
        let journal = Arc::new(Journal::default());
        let mut rig = Rig::start_with(at, naming(at, partitions), journal, true);
        rig.until(true, |rig| rig.state.status().joined);
        let absent = rig.state.status().absent;
        rig.until_end.store(true, Ordering::Release);
        let report = rig.end(true);
        assert_eq!(report.end, End::CaughtUp);
        assert!(report.committed && report.left && !report.leaked);
        assert!(rig.tracker.books().entries().balanced());
        (rig.values, absent)
    };
    let (one, absent) = read(&[1, 9]);
    assert_eq!(absent, [(Arc::from(at.topic.as_str()), 9)]);
    let (others, absent) = read(&[0, 2, 3]);
    assert_eq!(absent, []);
    assert!(!one.is_empty() && !others.is_empty());
    assert_eq!(sorted(one.into_iter().chain(others)), expected(400));
    assert_eq!(read(&[0, 1, 2, 3]).0.len(), 0, "the group has the offsets");
}

#[test]
fn nothing_is_read_while_the_group_refuses_the_offsets_and_all_of_it_afterwards() {
    let kafka = Kafka::start();
    let Some(embedded) = &kafka._embedded else {
        return;
    };
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
    embedded.fail(RDKafkaApiKey::OffsetCommit, &[refused; 8]);
    produce(&kafka, 0, 100);
    let journal = Arc::new(Journal::default());
    let named = naming(&kafka, &[0, 1, 2, 3]);
    let mut rig = Rig::start_with(&kafka, named, journal, false);
    rig.until(true, |rig| rig.state.status().refused.is_some());
    let before = rig.values.len();
    produce(&kafka, 100, 400);
    rig.until(true, |rig| {
        let status = rig.state.status();
        let refused = status.refused.is_some() && status.commits == 0;
        assert!(
            !refused || rig.values.len() <= before.max(100),
            "it reads on"
        );
        rig.committed() == 400
    });
    assert_eq!(rig.state.status().refused, None);
    assert_eq!(rig.state.status().failed_commits, 8);
    assert_eq!(sorted(rig.values.drain(..)), expected(400));
    assert!(rig.stop().committed);
}

#[test]
fn a_partition_begins_where_the_journal_is_ahead_of_the_group() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 400);
    let journal = Arc::new(Journal::default());
    let mut first = Rig::start(at, "g", journal.clone(), true);
    first.until_end.store(true, Ordering::Release);
    first.end(true);
    produce(at, 400, 800);
    // Durable, but the commit was lost.
    let skipped = {
        let mut places = journal.places.lock().unwrap();
        for place in places.values_mut() {
            *place += 10;
        }
        places.len() * 10
    };
    let mut second = Rig::start(at, "g", journal, true);
    second.until_end.store(true, Ordering::Release);
    second.end(true);
    assert_eq!(second.values.len(), 400 - skipped);
}

#[test]
fn partitions_move_to_another_member_only_when_what_was_taken_is_settled() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 2000);
    let mut first = Rig::start(at, "g", Arc::new(Journal::default()), false);
    first.until(false, |rig| rig.values.len() == 2000);
    let mut second = Rig::start(at, "g", Arc::new(Journal::default()), false);
    // The group asks for partitions while nothing of them is durable.
    first.until(false, |rig| rig.flushes > 0);
    assert_eq!(second.partitions(), 0);
    assert_eq!(first.partitions(), 4);
    first.settle_held();
    let started = Instant::now();
    while first.partitions() != 2 || second.partitions() != 2 {
        assert!(started.elapsed() < Duration::from_secs(60));
        first.step(true);
        second.step(true);
    }
    produce(at, 2000, 3000);
    let started = Instant::now();
    // Repeats do not count: the mock cluster can make some, see below.
    let distinct = |first: &Rig, second: &Rig| {
        let both = first.values.iter().chain(&second.values);
        both.collect::<std::collections::HashSet<_>>().len()
    };
    while distinct(&first, &second) < 3000 {
        assert!(started.elapsed() < Duration::from_secs(60));
        first.step(true);
        second.step(true);
    }
    // The mock cluster refuses commits while other members join; a real one takes them.
    let refused = first.state.status().unclean + second.state.status().unclean;
    first.stop();
    second.stop();
    let mut all = sorted(first.values.into_iter().chain(second.values));
    let read = all.len();
    all.dedup();
    assert_eq!(all, expected(3000), "nothing lost");
    assert!(read == 3000 || refused > 0, "{} twice", read - 3000);
}

#[test]
fn messages_that_come_to_the_wrong_queue_are_known_and_come_again_to_the_right_one() {
    const COUNT: usize = 50;
    let kafka = Kafka::start();
    produce(&kafka, 0, COUNT);
    let settings = settings(&kafka, "g");
    let config = config::consumer_config(&settings, &kafka.at, "test", 1 << 20, false).unwrap();
    let bell = Arc::new(Bell::new());
    let mut member = Member::new(&config, &(bell.clone() as Arc<dyn Ring>)).unwrap();
    let places: Vec<PartitionOffset> = (0..4)
        .map(|partition| PartitionOffset {
            offset: Some(0),
            ..PartitionOffset::bare(&kafka.topic, partition)
        })
        .collect();
    member.assign(&places).unwrap();
    for place in &places {
        member.lead_astray(place).unwrap();
    }
    let (mut strayed, mut values) = (BTreeSet::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(120);
    while values.len() < COUNT {
        assert!(Instant::now() < deadline, "{} of {COUNT}", values.len());
        while let Some(event) = member.event() {
            if let EventKind::Strayed { topic, partition } = event.kind() {
                assert_eq!(topic, kafka.topic);
                strayed.insert(partition);
                member.fetch_back(&places[partition as usize]).unwrap();
            }
        }
        while let Some(batch) = member.take() {
            for at in 0..batch.len() {
                let value = batch.get(at).value().unwrap().to_vec();
                values.push(String::from_utf8(value).unwrap());
            }
        }
        bell.wait(Duration::from_millis(100));
    }
    assert_eq!(sorted(values), expected(COUNT));
    assert!(!strayed.is_empty());
}

#[test]
fn only_what_was_settled_is_committed() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 500);
    let mut first = Rig::start(at, "g", Arc::new(Journal::default()), false);
    first.until(true, |rig| {
        rig.values.len() == 500 && rig.committed() == 500
    });
    produce(at, 500, 900);
    first.until(false, |rig| rig.values.len() == 900);
    first.stop.harden();
    let report = first.end(false);
    assert!(report.left);
    let mut second = Rig::start(at, "g", Arc::new(Journal::default()), true);
    second.until_end.store(true, Ordering::Release);
    second.end(true);
    assert_eq!(sorted(second.values.drain(..)), {
        let mut rest: Vec<_> = (500..900).map(|at| format!("value {at}")).collect();
        rest.sort();
        rest
    });
}

#[test]
fn records_that_the_output_gave_up_are_read_again() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 300);
    let mut rig = Rig::start(at, "g", Arc::new(Journal::default()), false);
    rig.until(false, |rig| rig.values.len() == 300);
    rig.held.truncate(rig.held.len() / 2);
    rig.settle_held();
    rig.values.clear();
    rig.until(true, |rig| !rig.values.is_empty() && rig.committed() == 300);
    assert_eq!(rig.state.status().rebuilds, 1);
    assert!(rig.stop().committed);
}

#[test]
fn a_soft_stop_waits_for_the_output_and_commits_what_it_settles() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 300);
    let mut first = Rig::start(at, "g", Arc::new(Journal::default()), false);
    first.until(false, |rig| rig.values.len() == 300);
    first.stop.soften();
    first.until(false, |rig| rig.receiver.is_none());
    first.settle_held();
    let report = first.end(true);
    assert!(report.committed && report.left && !report.leaked);
    let mut second = Rig::start(at, "g", Arc::new(Journal::default()), true);
    second.until_end.store(true, Ordering::Release);
    assert_eq!(second.end(true).end, End::CaughtUp);
    assert_eq!(second.values.len(), 0);
}

#[test]
fn a_stop_ends_at_once_while_no_broker_answers() {
    let kafka = Kafka {
        at: "127.0.0.1:1".into(),
        topic: "t".into(),
        _embedded: None,
    };
    let mut rig = Rig::start(&kafka, "g", Arc::new(Journal::default()), false);
    rig.until(true, |rig| rig.state.status().last_error.is_some());
    assert!(!rig.state.status().connected);
    let started = Instant::now();
    let report = rig.stop();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{report:?} after {:?}",
        started.elapsed()
    );
    assert_eq!(report.end, End::Stopped);
}

#[test]
fn a_topic_that_is_made_later_is_picked_up() {
    let kafka = Kafka::start();
    let at = &kafka;
    let mut rig = Rig::start(at, "g", Arc::new(Journal::default()), false);
    rig.until(true, |rig| rig.state.status().connected);
    produce(at, 0, 10);
    rig.until(true, |rig| rig.values.len() == 10);
    assert!(rig.stop().committed);
}

#[test]
fn a_topic_that_may_not_be_read_is_said_with_what_to_do_and_read_when_it_may() {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = Kafka {
        at: cluster.bootstrap_servers(),
        topic: "t".into(),
        _embedded: None,
    };
    produce(&kafka, 0, 10);
    let error = |error| cluster.topic_error("t", error).unwrap();
    error(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    let mut rig = Rig::start(&kafka, "g", Arc::new(Journal::default()), false);
    let said = |rig: &Rig| rig.state.status().last_error.unwrap_or_default();
    rig.until(true, |rig| said(rig).contains("grant READ"));
    error(RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    rig.until(true, |rig| rig.values.len() == 10);
    assert_eq!(rig.state.status().last_error, None);
    assert!(rig.stop().committed);
}

#[test]
fn a_commit_that_is_refused_is_made_again() {
    let cluster = MockCluster::new(1).unwrap();
    let kafka = Kafka {
        at: cluster.bootstrap_servers(),
        topic: "t".into(),
        _embedded: None,
    };
    produce(&kafka, 0, 10);
    let refusals = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 3];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refusals);
    let mut rig = Rig::start(&kafka, "g", Arc::new(Journal::default()), false);
    rig.until(true, |rig| rig.committed() == 10);
    assert_eq!(rig.state.status().failed_commits, 3);
    assert!(rig.stop().committed);
}

#[test]
fn an_offset_beyond_the_end_begins_as_configured_and_the_journal_learns_of_it() {
    let kafka = Kafka::start();
    let at = &kafka;
    produce(at, 0, 40);
    let journal = Arc::new(Journal::default());
    for partition in 0..4 {
        journal.adopt(&kafka.topic, partition, 1_000_000);
    }
    journal.adopted.lock().unwrap().clear();
    let mut rig = Rig::start(at, "g", journal.clone(), true);
    rig.until_end.store(true, Ordering::Release);
    rig.end(true);
    assert_eq!(sorted(rig.values.drain(..)), expected(40));
    assert_eq!(*journal.adopted.lock().unwrap(), [0, 0, 0, 0]);
}
