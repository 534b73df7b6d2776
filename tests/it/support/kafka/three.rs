//! Three brokers and a controller, one for all tests of a binary: topics of three replicas, and `min.insync.replicas` 2.
//!
//! A test has it for itself while it holds the [`Lease`], and may kill brokers: who comes next starts them again first. The
//! controller is a process of its own and stays, so that two brokers can be down and the third knows that they are.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::consumer::Consumer;

use super::process::{KafkaProcess, Layout, random_id};
use super::{CALL, RealKafka, given, missing};
use crate::support::eventually::eventually;
use crate::support::free_ports;

const BROKERS: usize = 3;

/// Small, and quick to start: what is compiled well takes longer to be there than these tests last.
const JAVA: &[&str] = &[
    "-Xmx160m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xss512k",
];

const SETTINGS: &str = "auto.create.topics.enable=false
num.partitions=1
default.replication.factor=3
min.insync.replicas=2
offsets.topic.num.partitions=2
offsets.topic.replication.factor=3
log.retention.ms=-1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=300
replica.lag.time.max.ms=3000
log.cleaner.dedupe.buffer.size=4194304
";

pub struct ThreeBrokers {
    kafka: RealKafka,
    /// By number, from 0; Kafka counts them from 1.
    brokers: Vec<KafkaProcess>,
    _controller: KafkaProcess,
}

/// The cluster, for one test at a time.
pub struct Lease(MutexGuard<'static, ThreeBrokers>);

impl Deref for Lease {
    type Target = RealKafka;

    fn deref(&self) -> &RealKafka {
        &self.0.kafka
    }
}

impl Lease {
    /// Waits until nobody else has it, and until all of its brokers are there. `None`: the test is skipped, which has been noted.
    pub fn take() -> Option<Self> {
        static SHARED: OnceLock<Result<Mutex<ThreeBrokers>, String>> = OnceLock::new();
        let hint = match given() {
            Some(_) => "; LOGFERRY_TEST_BROKERS is not ours to stop",
            None => "",
        };
        let shared = SHARED.get_or_init(|| ThreeBrokers::start().map(Mutex::new));
        let shared = shared
            .as_ref()
            .map_err(|why| missing::skip(&format!("{why}{hint}")))
            .ok()?;
        let mut lease = Self(shared.lock().unwrap_or_else(PoisonError::into_inner));
        lease.restart_all();
        Some(lease)
    }

    /// Which broker leads a partition, as far as any broker knows.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<usize> {
        let metadata = self.client().fetch_metadata(Some(topic), CALL).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let found = partitions.iter().find(|found| found.id() == partition)?;
        usize::try_from(found.leader() - 1).ok()
    }

    /// SIGKILL for one broker.
    pub fn kill(&mut self, broker: usize) {
        self.0.brokers[broker].kill();
    }

    /// Starts a killed broker again, and waits until it takes connections.
    pub fn restart(&mut self, broker: usize) {
        self.0.brokers[broker].run().expect("a broker starts again");
    }

    /// Starts what is down, and waits until every replica of every topic is in sync.
    pub fn restart_all(&mut self) {
        let down: Vec<_> = (0..BROKERS)
            .filter(|at| self.0.brokers[*at].is_down())
            .collect();
        for at in &down {
            self.0.brokers[*at].launch().expect("a broker starts again");
        }
        for at in down {
            self.0.brokers[at].wait().expect("a broker starts again");
        }
        self.in_sync();
    }

    /// Waits until every replica of every topic is in sync.
    pub fn in_sync(&self) {
        let client = self.client();
        eventually(CALL * 2, "every replica is in sync", || {
            let metadata = client
                .fetch_metadata(None, CALL)
                .map_err(|error| error.to_string())?;
            let topics = metadata.topics().iter();
            let behind = topics
                .flat_map(|topic| topic.partitions().iter().map(move |it| (topic.name(), it)))
                .find(|(_, it)| it.leader() < 0 || it.isr().len() < it.replicas().len());
            match behind {
                _ if metadata.brokers().len() < BROKERS => Err("a broker is away".to_owned()),
                Some((topic, it)) => Err(format!("{topic} {}: in sync {:?}", it.id(), it.isr())),
                None => Ok(()),
            }
        });
    }
}

impl Drop for Lease {
    /// Who comes next need not wait for it so long, and what a killed broker leaves behind goes with the process.
    fn drop(&mut self) {
        for broker in self.0.brokers.iter_mut().filter(|it| it.is_down()) {
            let _ = broker.launch();
        }
    }
}

impl ThreeBrokers {
    fn start() -> Result<Self, String> {
        let [controller, first, second, third] = free_ports();
        let (ports, cluster_id) = ([first, second, third], random_id());
        let quorum = format!(
            "controller.quorum.voters=9@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
{SETTINGS}"
        );
        let node = |node, port, roles: &str, format| {
            KafkaProcess::new(Layout {
                properties: format!("node.id={node}\n{roles}\n{quorum}"),
                cluster_id: cluster_id.clone(),
                format,
                node,
                java: JAVA,
                port,
                files: Vec::new(),
            })
        };
        let roles =
            format!("process.roles=controller\nlisteners=CONTROLLER://127.0.0.1:{controller}");
        let mut controller = node(9, controller, &roles, Some(Vec::new()))?;
        controller.launch()?;
        let mut brokers = Vec::new();
        for (at, port) in (1..).zip(ports) {
            let roles = format!(
                "process.roles=broker\nlisteners=CLIENTS://127.0.0.1:{port}\ninter.broker.listener.name=CLIENTS"
            );
            let mut broker = node(at, port, &roles, None)?;
            broker.launch()?;
            brokers.push(broker);
        }
        brokers.iter().try_for_each(KafkaProcess::wait)?;
        let addresses = ports.map(|port| format!("127.0.0.1:{port}"));
        let kafka = RealKafka {
            brokers: addresses.join(","),
            replicas: BROKERS as i32,
            own: None,
        };
        Ok(Self {
            kafka,
            brokers,
            _controller: controller,
        })
    }
}
