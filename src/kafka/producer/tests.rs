//! The producer's thread against the embedded broker.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};

use super::*;
use crate::flow::{
    Arenas, Bell, Budget, Extras, Origin, Receipt, Record, Ring, Run, Sender, Share, SourceId,
    Span, Tracker, TrySend, pipe,
};
use crate::kafka::embedded::Embedded;
use crate::kafka::partition::{Choice, Rule};
use crate::kafka::properties::producer_config;
use crate::kafka::settings::{
    Acks, Brokers, ClusterSettings, Compression, Partitioner, RouteSettings,
};

/// A source that numbers its lines, with everything a pipeline needs.
struct Bench {
    broker: Embedded,
    sender: Option<Sender<Batch>>,
    bell: Arc<Bell>,
    tracker: Arc<Tracker<u64>>,
    share: Share,
    arenas: Arenas,
    stop: Stop,
    state: Arc<ProducerState>,
    refused: Arc<Mutex<Vec<Vec<u8>>>>,
    is_full: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    sent: u64,
    /// For the next batch.
    extras: Option<Extras>,
}

impl Bench {
    fn new(key: Option<&str>, max_record: u64) -> Self {
        let route = RouteSettings {
            topic: "lines".into(),
            key: key.map(Into::into),
            partitioner: Partitioner::Murmur2Random,
            place: None,
            on_refused: OnRefused::DeadLetter,
            dead_letter_after: None,
            pack: None,
        };
        Self::with(&route, max_record)
    }

    /// Records go where their text says.
    fn manual(on_refused: OnRefused) -> Self {
        let route = RouteSettings {
            topic: "lines".into(),
            key: None,
            partitioner: Partitioner::Manual,
            place: Some("{line}".into()),
            on_refused,
            dead_letter_after: None,
            pack: None,
        };
        Self::with(&route, 1_000_000)
    }

    fn with(route: &RouteSettings, max_record: u64) -> Self {
        let broker = Embedded::start().unwrap();
        let settings = producer_settings(max_record);
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        tracker.add(SourceId(0), 0);
        let (to_producer, bell) = (Arc::new(QueueBell::new()), Arc::new(Bell::new()));
        let (sender, batches) = pipe(
            8,
            to_producer.clone() as Arc<dyn Ring>,
            bell.clone() as Arc<dyn Ring>,
        );
        let (_, shares) = Budget::split(64 << 20, 1);
        let (stop, state, metadata) = (
            Stop::new(),
            Arc::new(ProducerState::default()),
            Metadata::new("main"),
        );
        stop.rings(&(to_producer.clone() as Arc<dyn Ring>));
        let refused = Arc::new(Mutex::new(Vec::new()));
        let aside = refused.clone();
        let is_full = Arc::new(AtomicBool::new(false));
        let full = is_full.clone();
        let bootstrap = broker.bootstrap();
        let producer = Producer {
            config: Box::new(move || producer_config(&settings, &bootstrap, "test")),
            settings: producer_settings(max_record),
            pipelines: vec![Pipeline {
                name: "input".into(),
                batches,
                route: Route::new(route, "id", "host").unwrap(),
                on_refused: route.on_refused,
                dead_letter_after: route.dead_letter_after,
                books: tracker.books().clone(),
                admit: Box::new(|_| Ok(())),
                set_aside: Box::new(move |refused| {
                    // Nothing can be set aside for now.
                    if full.load(Ordering::Acquire) {
                        return Err("full".into());
                    }
                    let values = refused.iter().map(|refused| refused.value.to_vec());
                    aside.lock().unwrap().extend(values);
                    Ok(())
                }),
            }],
            metadata: metadata.clone(),
            bell: to_producer.clone(),
            stop: stop.clone(),
            state: state.clone(),
            exactly_once: None,
        };
        let config = (producer.config)().unwrap();
        let asked = stop.clone();
        thread::spawn(move || {
            metadata.run(&|| Ok(config.clone()), &*to_producer, &asked, &|| false)
        });
        let thread = Some(thread::spawn(move || run(producer).unwrap()));
        Self {
            broker,
            sender: Some(sender),
            bell,
            tracker,
            share: shares[0].clone(),
            arenas: Arenas::new(16),
            stop,
            state,
            refused,
            is_full,
            thread,
            sent: 0,
            extras: None,
        }
    }

    fn send(&mut self, lines: &[String]) {
        let mut arena = self.arenas.take(1 << 21);
        let mut records = Vec::new();
        for line in lines {
            let start = arena.len() as u32;
            assert!(arena.push(line.as_bytes()));
            records.push(Record {
                value: Span {
                    start,
                    len: line.len() as u32,
                },
                at: start,
                bytes: line.len() as u32,
                lines: 1,
            });
        }
        let bytes = arena.len() as u64;
        let end = self.sent + bytes;
        let entry = self.tracker.open(SourceId(0), end).unwrap();
        let origin = Arc::new(Origin {
            input: "input".into(),
            path: None,
        });
        let run = Run {
            origin,
            base: self.sent,
            records: 0..records.len() as u32,
        };
        let receipt = Receipt::new(self.tracker.clone(), vec![(SourceId(0), entry)]);
        let charge = loop {
            match self.share.try_take(arena.capacity() as u64) {
                Some(charge) => break charge,
                None => self.bell.wait(Duration::from_millis(10)),
            };
        };
        let mut batch = Batch {
            arena,
            records,
            runs: vec![run],
            extras: self.extras.take().unwrap_or_default(),
            receipt,
            charge,
        };
        self.tracker.reads(batch.count());
        self.sent = end;
        while let TrySend::Full(back) = self.sender.as_ref().unwrap().try_send(batch) {
            batch = back;
            self.bell.wait(Duration::from_millis(100));
        }
    }

    fn finish(&mut self) {
        self.sender = None;
        self.thread.take().unwrap().join().unwrap();
    }

    /// What is in the topic.
    fn reader(&self) -> BaseConsumer {
        self.reader_of("lines")
    }

    fn reader_of(&self, topic: &str) -> BaseConsumer {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("group.id", "reader");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..4 {
            list.add_partition_offset(topic, partition, rdkafka::Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        consumer
    }

    /// Everything in the topic, partition by partition.
    fn read(&self, count: usize) -> Vec<(i32, Option<Vec<u8>>, Vec<u8>)> {
        self.read_topic("lines", count)
    }

    fn read_topic(&self, topic: &str, count: usize) -> Vec<(i32, Option<Vec<u8>>, Vec<u8>)> {
        let consumer = self.reader_of(topic);
        let mut found = Vec::new();
        while found.len() < count {
            let message = consumer
                .poll(Duration::from_secs(10))
                .expect("nothing more came")
                .unwrap();
            found.push((
                message.partition(),
                message.key().map(<[u8]>::to_vec),
                message.payload().unwrap_or_default().to_vec(),
            ));
        }
        found.sort_by_key(|(partition, ..)| *partition);
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.harden();
    }
}

fn producer_settings(max_record: u64) -> ProducerSettings {
    ProducerSettings {
        cluster: ClusterSettings {
            name: "main".into(),
            brokers: Brokers::Embedded,
            tls: None,
            sasl: None,
            options: BTreeMap::new(),
        },
        acks: Acks::All,
        compression: Compression::default(),
        linger: Linger::Auto,
        batch_size: 100_000,
        max_record,
        exactly_once: None,
    }
}

#[test]
fn every_line_arrives_in_order_per_partition_and_is_accounted_for() {
    let mut bench = Bench::new(None, 1_000_000);
    for batch in 0..40u32 {
        let lines: Vec<_> = (0..500u32)
            .map(|line| format!("{:08}", batch * 500 + line))
            .collect();
        bench.send(&lines);
    }
    bench.finish();
    let found = bench.read(20_000);
    let mut all: Vec<_> = found.iter().map(|(_, _, value)| value.clone()).collect();
    for pair in found.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        assert!(pair[0].2 < pair[1].2, "out of order");
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 20_000);
    let entries = bench.tracker.books().entries();
    assert_eq!((entries.acked.lines, entries.in_flight.lines), (20_000, 0));
    assert!(entries.balanced());
    assert_eq!(bench.tracker.position(SourceId(0)), Some(bench.sent));
    assert!(bench.state.view().waves > 0);
}

#[test]
fn keyed_lines_go_to_the_partition_of_their_key() {
    let mut bench = Bench::new(Some("{line}"), 1_000_000);
    bench.send(
        &(0..200)
            .map(|line| format!("key-{line}"))
            .collect::<Vec<_>>(),
    );
    bench.finish();
    for (partition, key, value) in bench.read(200) {
        assert_eq!(key.as_deref(), Some(&value[..]));
        assert_eq!(
            Rule::of(Partitioner::Murmur2Random).choose(Some(&value), 4),
            Choice::Fixed(partition as u32)
        );
    }
}

#[test]
fn a_record_that_is_too_large_is_set_aside_alone() {
    let mut bench = Bench::new(Some("same"), 1000);
    let mut lines: Vec<_> = (0..50).map(|line| format!("{line:04}")).collect();
    lines[20] = "x".repeat(2000);
    bench.send(&lines);
    bench.finish();
    assert_eq!(
        *bench.refused.lock().unwrap(),
        [lines.remove(20).into_bytes()]
    );
    let values: Vec<_> = bench
        .read(49)
        .into_iter()
        .map(|(_, _, value)| String::from_utf8(value).unwrap())
        .collect();
    assert_eq!(values, lines);
    let entries = bench.tracker.books().entries();
    assert_eq!(
        (
            entries.acked.lines,
            entries.dead_lettered.lines,
            entries.in_flight.lines
        ),
        (49, 1, 0)
    );
    assert!(entries.balanced());
}

#[test]
fn a_hard_stop_leaves_at_once_and_the_position_stays() {
    let mut bench = Bench::new(None, 1_000_000);
    bench.broker.down();
    bench.send(&["never confirmed".into()]);
    bench.stop.harden();
    bench.finish();
    assert_eq!(bench.tracker.position(SourceId(0)), Some(0));
    assert_eq!(bench.tracker.books().entries().in_flight.lines, 1);
}

#[test]
fn what_an_input_made_of_a_record_arrives_with_it() {
    let mut bench = Bench::new(None, 1_000_000);
    let span = |start, len| Some(Span { start, len });
    bench.extras = Some(Extras {
        text: b"abcdef".to_vec(),
        keys: vec![span(0, 1), span(3, 0), None],
        timestamps: vec![1_000, 2_000, 3_000],
        headers: vec![span(0, 3), span(1, 1), span(3, 3), span(3, 0), None, None],
        header_names: [c"twice".into(), c"twice".into()].into(),
        ..Extras::default()
    });
    bench.send(&["one".into(), "two".into(), "three".into()]);
    bench.finish();
    let consumer = bench.reader();
    let mut found = Vec::new();
    while found.len() < 3 {
        let message = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
        let headers = message.headers().into_iter();
        let headers: Vec<_> = headers
            .flat_map(|headers| headers.iter())
            .map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)))
            .collect();
        found.push((
            message.timestamp().to_millis(),
            message.key().map(<[u8]>::to_vec),
            headers,
        ));
    }
    found.sort();
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    assert_eq!(
        found,
        [
            (
                Some(1_000),
                Some(b"a".to_vec()),
                vec![header("twice", "abc"), header("twice", "b")]
            ),
            (
                Some(2_000),
                Some(vec![]),
                vec![header("twice", "def"), header("twice", "")]
            ),
            (Some(3_000), None, vec![]),
        ]
    );
    assert_eq!(bench.tracker.books().entries().acked.lines, 3);
}

#[test]
fn topics_that_take_turns_are_put_together_and_each_keeps_its_order() {
    const TOPICS: u32 = 20;
    const RECORDS: u32 = 2_000;
    let mut bench = Bench::new(None, 1_000_000);
    let names = (0..TOPICS).map(|at| format!("turn-{at}").into());
    let topic_names: Vec<std::sync::Arc<str>> = names.collect();
    for batch in 0..2 {
        bench.extras = Some(Extras {
            topics: (0..RECORDS).map(|at| at % TOPICS).collect(),
            topic_names: topic_names.clone(),
            ..Extras::default()
        });
        let line = |at: u32| format!("{:05}", batch * RECORDS + at);
        bench.send(&(0..RECORDS).map(line).collect::<Vec<_>>());
    }
    bench.finish();
    let entries = bench.tracker.books().entries();
    assert_eq!(entries.acked.lines, u64::from(2 * RECORDS));
    // A wave per topic and batch at most, not one per record.
    let waves = bench.state.view().waves;
    assert!(waves <= u64::from(4 * TOPICS), "{waves} waves");
    for (at, topic) in (0..).zip(topic_names) {
        let found = bench.read_topic(&topic, (2 * RECORDS / TOPICS) as usize);
        let mut by_partition = [const { Vec::new() }; 4];
        for (partition, _, value) in found {
            let number: u32 = String::from_utf8(value).unwrap().parse().unwrap();
            assert_eq!(number % TOPICS, at);
            by_partition[partition as usize].push(number);
        }
        assert!(by_partition.iter().all(|numbers| numbers.is_sorted()));
    }
}

fn lines(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Waits for what the producer's thread does.
fn until(what: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !what() {
        assert!(Instant::now() < deadline, "it never came to be");
        thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_record_goes_where_it_says_and_one_that_names_no_partition_is_set_aside() {
    let mut bench = Bench::manual(OnRefused::DeadLetter);
    bench.send(&lines(&[
        "3",
        "0",
        "4",
        "1",
        "x",
        "",
        "-1",
        "3",
        "4294967296",
        " 1",
    ]));
    bench.send(&lines(&["9", "10"]));
    bench.finish();
    // For what a larger topic would have, the topic is asked for again first.
    let refused = ["x", "", "-1", " 1", "4", "4294967296", "9", "10"];
    let refused: Vec<_> = refused
        .iter()
        .map(|text| text.as_bytes().to_vec())
        .collect();
    assert_eq!(*bench.refused.lock().unwrap(), refused);
    let found = bench.read(4);
    let found: Vec<_> = found
        .iter()
        .map(|(at, key, value)| (*at, key.is_none(), &value[..]))
        .collect();
    let expected: [(i32, bool, &[u8]); 4] = [
        (0, true, b"0"),
        (1, true, b"1"),
        (3, true, b"3"),
        (3, true, b"3"),
    ];
    assert_eq!(found, expected);
    let entries = bench.tracker.books().entries();
    let counts = (
        entries.acked.lines,
        entries.dead_lettered.lines,
        entries.in_flight.lines,
    );
    assert_eq!(counts, (4, 8, 0));
    assert!(entries.balanced());
    assert_eq!(bench.tracker.position(SourceId(0)), Some(bench.sent));
}

#[test]
fn what_the_input_made_names_the_partition() {
    let route = RouteSettings {
        topic: "lines".into(),
        key: None,
        partitioner: Partitioner::Manual,
        place: None,
        on_refused: OnRefused::Drop,
        dead_letter_after: None,
        pack: None,
    };
    let mut bench = Bench::with(&route, 1_000_000);
    let span = |start, len| Some(Span { start, len });
    bench.extras = Some(Extras {
        text: b"a2bcd1".to_vec(),
        places: vec![span(1, 1), span(2, 2), span(5, 1)],
        ..Extras::default()
    });
    bench.send(&lines(&["a2", "bc", "d1"]));
    bench.finish();
    let found = bench.read(2);
    let found: Vec<_> = found
        .iter()
        .map(|(at, _, value)| (*at, &value[..]))
        .collect();
    assert_eq!(found, [(1, &b"d1"[..]), (2, b"a2")]);
    let entries = bench.tracker.books().entries();
    let dropped: Vec<_> = entries
        .dropped
        .iter()
        .map(|(reason, count)| (*reason, count.lines))
        .collect();
    assert_eq!(dropped, [("bad_partition", 1)]);
    assert!(entries.balanced());
}

#[test]
fn a_record_that_cannot_be_set_aside_waits_and_what_comes_behind_it() {
    let mut bench = Bench::manual(OnRefused::DeadLetter);
    bench.is_full.store(true, Ordering::Release);
    bench.send(&lines(&["1", "bad"]));
    bench.send(&lines(&["2"]));
    until(|| bench.tracker.books().entries().in_flight.lines == 3 && bench.state.view().waves == 1);
    assert_eq!(bench.tracker.position(SourceId(0)), Some(0));
    bench.is_full.store(false, Ordering::Release);
    bench.finish();
    assert_eq!(*bench.refused.lock().unwrap(), [b"bad"]);
    assert_eq!(bench.read(2).len(), 2);
    assert_eq!(bench.tracker.position(SourceId(0)), Some(bench.sent));
}

#[test]
fn with_on_refused_stop_a_record_that_names_no_partition_stops_its_input() {
    let mut bench = Bench::manual(OnRefused::Stop);
    bench.send(&lines(&["1", "bad", "2"]));
    bench.finish();
    let halted = bench.state.view().halted;
    assert_eq!(halted.len(), 1);
    assert!(
        halted[0].1.contains("\"bad\" should name the partition"),
        "{}",
        halted[0].1
    );
    assert_eq!(bench.tracker.position(SourceId(0)), Some(0));
}

#[test]
fn a_keyed_record_waits_for_its_own_partition_while_the_others_flow() {
    let mut bench = Bench::manual(OnRefused::DeadLetter);
    bench.broker.make_topic("lines");
    bench.broker.leader("lines", 2, None);
    bench.send(&lines(&["0", "2", "1", "3"]));
    bench.send(&lines(&["2", "0"]));
    let values = |count| {
        bench
            .read(count)
            .into_iter()
            .map(|(at, ..)| at)
            .collect::<Vec<_>>()
    };
    assert_eq!(values(4), [0, 0, 1, 3]);
    let entries = bench.tracker.books().entries();
    assert_eq!(
        (entries.acked.lines, entries.in_flight.lines),
        (0, 6),
        "their batches are not whole"
    );
    bench.broker.leader("lines", 2, Some(1));
    assert_eq!(values(6), [0, 0, 1, 2, 2, 3]);
    bench.finish();
    assert_eq!(bench.tracker.books().entries().acked.lines, 6);
}

#[test]
fn records_take_turns_over_all_partitions_exactly() {
    let route = RouteSettings {
        topic: "lines".into(),
        key: Some("{line}".into()),
        partitioner: Partitioner::RoundRobin,
        place: None,
        on_refused: OnRefused::DeadLetter,
        dead_letter_after: None,
        pack: None,
    };
    let mut bench = Bench::with(&route, 1_000_000);
    for batch in 0..9u32 {
        bench.send(
            &(0..7)
                .map(|line| format!("{}", batch * 7 + line))
                .collect::<Vec<_>>(),
        );
    }
    bench.finish();
    for (partition, _, value) in bench.read(63) {
        let number: i32 = String::from_utf8(value).unwrap().parse().unwrap();
        assert_eq!(partition, number % 4);
    }
}
