//! The producer's thread against the embedded broker.

use std::collections::BTreeMap;
use std::sync::Mutex;
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
use crate::kafka::partition::{Choice, choose};
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
    thread: Option<thread::JoinHandle<()>>,
    sent: u64,
    /// For the next batch.
    extras: Option<Extras>,
}

impl Bench {
    fn new(key: Option<&str>, max_record: u64) -> Self {
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
        let route = RouteSettings {
            topic: "lines".into(),
            key: key.map(Into::into),
            partitioner: Partitioner::Murmur2Random,
            on_refused: OnRefused::DeadLetter,
        };
        let refused = Arc::new(Mutex::new(Vec::new()));
        let aside = refused.clone();
        let bootstrap = broker.bootstrap();
        let producer = Producer {
            config: Box::new(move || producer_config(&settings, &bootstrap, "test")),
            settings: producer_settings(max_record),
            pipelines: vec![Pipeline {
                name: "input".into(),
                batches,
                route: Route::new(&route, "id", "host").unwrap(),
                on_refused: OnRefused::DeadLetter,
                books: tracker.books().clone(),
                admit: Box::new(|_| Ok(())),
                set_aside: Box::new(move |refused| {
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
        thread::spawn(move || metadata.run(&config, &*to_producer, &asked, &|| false));
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
            topic: None,
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
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.broker.bootstrap())
            .set("group.id", "reader");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..4 {
            list.add_partition_offset("lines", partition, rdkafka::Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        consumer
    }

    /// Everything in the topic, partition by partition.
    fn read(&self, count: usize) -> Vec<(i32, Option<Vec<u8>>, Vec<u8>)> {
        let consumer = self.reader();
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
            choose(Partitioner::Murmur2Random, Some(&value), 4),
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
    let span = |start, len| Span { start, len };
    bench.extras = Some(Extras {
        keys: vec![span(0, 1), span(3, 0)],
        timestamps: vec![1_000, 2_000],
        headers: vec![span(0, 3), span(1, 1), span(3, 3), span(4, 1)],
        header_names: [c"whole".into(), c"second".into()].into(),
    });
    bench.send(&["abc".into(), "def".into()]);
    bench.finish();
    let consumer = bench.reader();
    let mut found = Vec::new();
    while found.len() < 2 {
        let message = consumer.poll(Duration::from_secs(10)).unwrap().unwrap();
        let headers = message.headers().unwrap();
        let headers: Vec<_> = headers
            .iter()
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
                vec![header("whole", "abc"), header("second", "b")]
            ),
            (
                Some(2_000),
                Some(vec![]),
                vec![header("whole", "def"), header("second", "e")]
            ),
        ]
    );
    assert_eq!(bench.tracker.books().entries().acked.lines, 2);
}
