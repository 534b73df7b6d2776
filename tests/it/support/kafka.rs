//! A real Apache Kafka: one per run of a test binary, or one of a test's own that it may stop and kill.
//!
//! It comes from Maven Central when `java` and `mvn` are there; `LOGFERRY_TEST_BROKERS=HOST:PORT,...` names one that runs already.
//! With neither the test is skipped, and said to be: see [`missing`]. What is read here is read with clients of its own, so
//! that the product is never its own witness.

mod jars;
mod missing;
mod process;
pub mod secured;
mod single;
pub mod three;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Headers;
use rdkafka::producer::{
    BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext,
    ThreadedProducer,
};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use rustix::process::{Pid, Signal};

use self::process::KafkaProcess;
use self::single::Single;
use super::eventually::{eventually, pause};
use super::proxy::Proxy;

/// How long a call to a broker that is up may take on a loaded machine.
const CALL: Duration = Duration::from_secs(30);

pub struct RealKafka {
    brokers: String,
    /// How many replicas a topic has.
    replicas: i32,
    /// Absent when somebody else runs the broker. The proxy goes first, so that nobody connects to what is gone.
    own: Option<(Proxy, Single)>,
}

/// A record as a reader that only sees committed ones finds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

fn headers(message: &impl Message) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    headers
        .map(|it| (it.key.to_owned(), it.value.map(<[u8]>::to_vec)))
        .collect()
}

/// A transaction that is aborted when this is dropped.
pub struct OpenTransaction(BaseProducer);

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let _ = self.0.abort_transaction(CALL);
    }
}

impl RealKafka {
    /// The Kafka that the tests of this binary share. A test makes topics and groups of its own on it, and leaves its
    /// process alone. `None`: the test is skipped, which has been noted.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<RealKafka, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| match given() {
            Some(brokers) => Ok(Self {
                brokers,
                replicas: 1,
                own: None,
            }),
            None => Self::start().map_err(|why| format!("{why}; set LOGFERRY_TEST_BROKERS")),
        });
        shared.as_ref().map_err(|why| missing::skip(why)).ok()
    }

    /// A Kafka of the test's own, which it may stop, kill, start again and put a bad network before. It ends when it is
    /// dropped.
    pub fn private() -> Option<Self> {
        let hint = match given() {
            Some(_) => ", and LOGFERRY_TEST_BROKERS is not ours to stop",
            None => "; set LOGFERRY_TEST_BROKERS",
        };
        Self::start()
            .map_err(|why| missing::skip(&format!("{why}{hint}")))
            .ok()
    }

    fn start() -> Result<Self, String> {
        let single = Single::start()?;
        let proxy = Proxy::start(single.proxy, single.proxied)
            .map_err(|error| format!("the proxy: {error}"))?;
        let kafka = Self {
            brokers: format!("127.0.0.1:{}", single.clients),
            replicas: 1,
            own: Some((proxy, single)),
        };
        kafka.answers();
        Ok(kafka)
    }

    /// The addresses for `brokers:`, with commas between them.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// The address of the listener that wants a login: SASL PLAIN, user `me`, password `secret`. `None`: the broker is somebody else's and has
    /// none, which has been noted.
    pub fn login_brokers(&self) -> Option<String> {
        match &self.own {
            Some((_, single)) => Some(format!("127.0.0.1:{}", single.login)),
            None => {
                missing::skip("LOGFERRY_TEST_BROKERS has no listener that wants a login");
                None
            }
        }
    }

    /// The address through [`proxy`](Self::proxy): who begins there stays there, since it is what the broker advertises.
    pub fn proxied_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.proxy().port())
    }

    /// The network before [`proxied_brokers`](Self::proxied_brokers). On the shared Kafka it is everybody's: leave it as it is.
    pub fn proxy(&self) -> &Proxy {
        &self.own().0
    }

    /// The broker's process.
    pub fn pid(&self) -> Pid {
        self.own().1.process.pid().expect("Kafka was started")
    }

    /// SIGSTOP: it holds its connections and answers nothing.
    pub fn stop_process(&self) {
        self.own().1.process.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn cont_process(&self) {
        self.own().1.process.signal(Signal::CONT);
    }

    /// SIGKILL: connections break, new ones are refused.
    pub fn kill(&mut self) {
        self.own_mut().kill();
    }

    /// Starts a killed broker on what it had stored, and waits until it answers.
    pub fn restart(&mut self) {
        self.own_mut().run().expect("Kafka starts again");
        self.answers();
    }

    fn own(&self) -> &(Proxy, Single) {
        self.own
            .as_ref()
            .expect("a Kafka of our own: LOGFERRY_TEST_BROKERS serves shared() only")
    }

    fn own_mut(&mut self) -> &mut KafkaProcess {
        &mut self
            .own
            .as_mut()
            .expect("a Kafka of our own: LOGFERRY_TEST_BROKERS serves shared() only")
            .1
            .process
    }

    fn answers(&self) {
        let client = self.client();
        eventually(CALL, "Kafka answers", || {
            let metadata = client
                .fetch_metadata(None, Duration::from_secs(5))
                .map_err(|error| error.to_string())?;
            if metadata.brokers().is_empty() {
                Err("no broker".to_owned())
            } else {
                Ok(())
            }
        });
    }

    /// Makes a topic whose name begins with `prefix` and is not anybody else's, and gives the name.
    pub fn topic(&self, prefix: &str, partitions: i32) -> String {
        let name = unique(prefix);
        self.create_topic(&name, partitions);
        name
    }

    /// Makes a topic, and waits until each partition can be written to.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// The same with settings of the topic's own, such as `("max.message.bytes", "1000")`.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.create_topic_of(name, partitions, self.replicas, settings);
    }

    /// The same with as many replicas as said.
    pub fn create_topic_of(
        &self,
        name: &str,
        partitions: i32,
        replicas: i32,
        settings: &[(&str, &str)],
    ) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(CALL));
        let made =
            wait(self.admin().create_topics([&topic], &options)).expect("to ask for a topic");
        made.into_iter()
            .for_each(|made| drop(made.expect("to make a topic")));
        self.has_leaders(name, partitions);
    }

    /// Adds partitions to a topic, so that it has so many, and waits until each can be written to.
    pub fn add_partitions(&self, name: &str, partitions: i32) {
        let options = AdminOptions::new().operation_timeout(Some(CALL));
        let wanted = NewPartitions::new(name, partitions as usize);
        let made = wait(self.admin().create_partitions([&wanted], &options))
            .expect("to ask for partitions");
        made.into_iter()
            .for_each(|made| drop(made.expect("to make partitions")));
        self.has_leaders(name, partitions);
    }

    fn has_leaders(&self, name: &str, partitions: i32) {
        let client = self.client();
        eventually(CALL, &format!("the topic {name} has leaders"), || {
            let metadata = client
                .fetch_metadata(Some(name), CALL)
                .map_err(|error| error.to_string())?;
            let led = metadata.topics()[0]
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count();
            if led == partitions as usize {
                Ok(())
            } else {
                Err(format!("{led} of {partitions}"))
            }
        });
    }

    pub fn delete_topic(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(CALL));
        let deleted =
            wait(self.admin().delete_topics(&[name], &options)).expect("to ask for a deletion");
        deleted
            .into_iter()
            .for_each(|deleted| drop(deleted.expect("to delete a topic")));
    }

    /// What retention does: the records of a partition before `offset` are gone.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let options = AdminOptions::new().operation_timeout(Some(CALL));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("a partition");
        wait(self.admin().delete_records(&list, &options)).expect("to delete records");
    }

    /// The topic's partitions.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        let metadata = self
            .client()
            .fetch_metadata(Some(topic), CALL)
            .expect("metadata");
        let mut partitions: Vec<_> = metadata.topics()[0]
            .partitions()
            .iter()
            .map(|partition| partition.id())
            .collect();
        partitions.sort_unstable();
        partitions
    }

    /// The offset after the last record of each partition. Transaction marks count.
    pub fn end_offsets(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.partitions(topic)
            .into_iter()
            .map(|partition| (partition, self.end_offset(topic, partition)))
            .collect()
    }

    /// The same of one partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        let client = self.client();
        let offsets = client.fetch_watermarks(topic, partition, CALL);
        offsets.expect("the partition's offsets").1
    }

    /// How many records were ever written to the topic; transaction marks count.
    pub fn written(&self, topic: &str) -> u64 {
        self.end_offsets(topic)
            .values()
            .map(|&end| end as u64)
            .sum()
    }

    /// Every committed record, by partition and offset.
    pub fn read_all(&self, topic: &str) -> Vec<Record> {
        let reader: BaseConsumer = self
            .config()
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a reader");
        let mut unread: HashSet<i32> = self.partitions(topic).into_iter().collect();
        let mut from = TopicPartitionList::new();
        for &partition in &unread {
            from.add_partition_offset(topic, partition, Offset::Beginning)
                .expect("an offset");
        }
        reader.assign(&from).expect("to be assigned");
        let mut records = Vec::new();
        let mut heard = Instant::now();
        while !unread.is_empty() {
            assert!(
                heard.elapsed() < CALL,
                "{topic}: nothing came of partitions {unread:?} for {CALL:?}"
            );
            match reader.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
                // One of several brokers is down, and another has the partition, or will.
                Some(Err(KafkaError::MessageConsumption(
                    RDKafkaErrorCode::BrokerTransportFailure,
                ))) => continue,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                Some(Ok(message)) => records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: headers(&message),
                    timestamp: message.timestamp().to_millis(),
                }),
            }
            heard = Instant::now();
        }
        records.sort_unstable_by_key(|record| (record.partition, record.offset));
        records
    }

    /// The values of every committed record, each with its partition, by partition and offset.
    pub fn read_partitions(&self, topic: &str) -> Vec<(i32, Vec<u8>)> {
        self.read_all(topic)
            .into_iter()
            .map(|record| (record.partition, record.value.unwrap_or_default()))
            .collect()
    }

    /// The values of every committed record, by partition and offset; a null value is an empty one.
    pub fn read_values(&self, topic: &str) -> Vec<Vec<u8>> {
        self.read_all(topic)
            .into_iter()
            .map(|record| record.value.unwrap_or_default())
            .collect()
    }

    /// Fills the topic with `count` records, each once, whose key and value `record` gives by number. Keyless records of a
    /// topic with several partitions spread at random.
    pub fn produce(
        &self,
        topic: &str,
        count: u64,
        mut record: impl FnMut(u64) -> (Option<Vec<u8>>, Vec<u8>),
    ) {
        let producer: ThreadedProducer<Failures> = self
            .config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .create_with_context(Failures::default())
            .expect("a producer");
        for number in 0..count {
            let (key, value) = record(number);
            let mut next = BaseRecord::<[u8], [u8]>::to(topic).payload(&value);
            if let Some(key) = &key {
                next = next.key(key);
            }
            while let Err((error, back)) = producer.send(next) {
                assert_eq!(
                    error.rdkafka_error_code(),
                    Some(RDKafkaErrorCode::QueueFull),
                    "producing to {topic}"
                );
                pause(Duration::from_millis(1));
                next = back;
            }
        }
        producer.flush(CALL * 10).expect("to flush");
        assert_eq!(
            producer.context().0.load(Ordering::Relaxed),
            0,
            "records that could not be delivered to {topic}"
        );
    }

    /// A stranger's transaction with a record in every partition of the topic. It stays open for as long as what is given is kept.
    pub fn open_transaction(&self, topic: &str) -> OpenTransaction {
        let producer: BaseProducer = self
            .config()
            .set("transactional.id", unique("stranger"))
            .set("transaction.timeout.ms", "600000")
            .create()
            .expect("a producer");
        producer.init_transactions(CALL).expect("to be let in");
        producer.begin_transaction().expect("to begin");
        for partition in self.partitions(topic) {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
            let sent = producer.send(record.key(b"stranger").payload(b"1"));
            sent.map_err(|(error, _)| error).expect("to send");
        }
        producer.flush(CALL).expect("to flush");
        OpenTransaction(producer)
    }

    /// The offsets that the group has committed; partitions without one are left out.
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        let member: BaseConsumer = self
            .config()
            .set("group.id", group)
            .create()
            .expect("a member");
        let mut asked = TopicPartitionList::new();
        for partition in self.partitions(topic) {
            asked.add_partition(topic, partition);
        }
        let committed = eventually(
            CALL,
            &format!("the offsets of the group {group} are told"),
            || {
                member
                    .committed_offsets(asked.clone(), CALL)
                    .map_err(|error| error.to_string())
            },
        );
        let offsets = committed.elements();
        offsets
            .iter()
            .filter_map(|element| Some((element.partition(), element.offset().to_raw()?)))
            .filter(|(_, offset)| *offset >= 0)
            .collect()
    }

    /// Commits offsets for a group that nobody is in.
    pub fn commit(&self, group: &str, topic: &str, offsets: &[(i32, i64)]) {
        let member: BaseConsumer = self
            .config()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .create()
            .expect("a member");
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
                .expect("an offset");
        }
        eventually(CALL, "offsets are committed", || {
            member
                .commit(&list, CommitMode::Sync)
                .map_err(|error| error.to_string())
        });
    }

    /// A member of a group, that joins while it is polled and leaves when it is dropped. `protocol`: `classic` or `consumer`.
    pub fn member(&self, group: &str, topic: &str, client: &str, protocol: &str) -> BaseConsumer {
        let mut config = self.config();
        config
            .set("group.id", group)
            .set("client.id", client)
            .set("group.protocol", protocol)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "latest");
        if protocol == "classic" {
            // Each of several members that join in turn gets some.
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        let member: BaseConsumer = config.create().expect("a member");
        member.subscribe(&[topic]).expect("to subscribe");
        member
    }

    /// Writes one record for each timestamp (milliseconds since 1970) to a partition, in this order.
    pub fn produce_at(&self, topic: &str, partition: i32, timestamps: &[i64]) {
        let producer: ThreadedProducer<Failures> = self
            .config()
            .set("enable.idempotence", "true")
            .create_with_context(Failures::default())
            .expect("a producer");
        for timestamp in timestamps {
            let record = BaseRecord::<[u8], [u8]>::to(topic)
                .partition(partition)
                .timestamp(*timestamp)
                .payload(b"x");
            assert!(producer.send(record).is_ok(), "producing to {topic}");
        }
        producer.flush(CALL).expect("to flush");
        assert_eq!(producer.context().0.load(Ordering::Relaxed), 0, "{topic}");
    }

    /// The folder with Kafka's jars. `None`: there is none, which has been noted.
    pub fn jars() -> Option<PathBuf> {
        jars::bring().map_err(|why| missing::skip(&why)).ok()
    }

    /// What a tool of Kafka's own prints: `class` with `--bootstrap-server` and `args`. `None`: its jars are not there, which has been noted.
    pub fn tool(&self, class: &str, args: &[&str]) -> Option<String> {
        let libs = Self::jars()?;
        let said = Command::new("java")
            .args(["-Xmx200m", "-Xshare:auto", "-cp"])
            .arg(libs.join("*"))
            .args([class, "--bootstrap-server", &self.brokers])
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("java");
        let told = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "{class}: {told}");
        Some(String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// How many records of the topic the group has not committed yet. A partition without an offset counts from its beginning.
    pub fn group_lag(&self, group: &str, topic: &str) -> u64 {
        let committed = self.committed(group, topic);
        let client = self.client();
        let lag = |partition| {
            let (begin, end) = client
                .fetch_watermarks(topic, partition, CALL)
                .expect("the partition's offsets");
            (end - committed.get(&partition).copied().unwrap_or(begin)) as u64
        };
        self.partitions(topic).into_iter().map(lag).sum()
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers);
        // A broker that was stopped on purpose is soon found again.
        config.set("reconnect.backoff.max.ms", "500");
        config
    }

    fn client(&self) -> BaseConsumer {
        self.config().create().expect("a client")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("an administrator")
    }
}

/// The brokers that the environment names.
fn given() -> Option<String> {
    std::env::var("LOGFERRY_TEST_BROKERS")
        .ok()
        .filter(|brokers| !brokers.is_empty())
}

/// A name that begins with `prefix` and is given once: runs that share a Kafka do not meet.
pub fn unique(prefix: &str) -> String {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_millis();
    format!(
        "{prefix}-{}-{now}-{}",
        std::process::id(),
        GIVEN.fetch_add(1, Ordering::Relaxed)
    )
}

/// Counts the records that a producer could not deliver.
#[derive(Default)]
struct Failures(AtomicU64);

impl ClientContext for Failures {}

impl ProducerContext<NoCustomPartitioner> for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits for an answer of the administrator, which librdkafka's threads bring.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(answer)
}
