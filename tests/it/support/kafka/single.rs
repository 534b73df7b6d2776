//! A Kafka of one process, broker and controller in one: a listener for everybody, one behind a proxy, one that wants a login.

use super::process::{KafkaProcess, Layout, random_id};
use crate::support::free_ports;

pub struct Single {
    pub process: KafkaProcess,
    pub clients: u16,
    /// The listener that only the proxy is meant to know.
    pub proxied: u16,
    /// The port that the proxied listener advertises.
    pub proxy: u16,
    /// The listener that wants a login: SASL PLAIN, user `me`, password `secret`.
    pub login: u16,
}

impl Single {
    /// Brings the jars if need be, formats a fresh folder and starts. The error says why there is no Kafka.
    pub fn start() -> Result<Self, String> {
        let [clients, proxied, proxy, login, controller] = free_ports();
        let properties = format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
listeners=CLIENTS://127.0.0.1:{clients},PROXIED://127.0.0.1:{proxied},LOGIN://127.0.0.1:{login},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{clients},PROXIED://127.0.0.1:{proxy},LOGIN://127.0.0.1:{login}
listener.security.protocol.map=CLIENTS:PLAINTEXT,PROXIED:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_me=\"secret\";
{ALONE}"
        );
        let mut process = KafkaProcess::new(Layout {
            properties,
            cluster_id: random_id(),
            format: Some(Vec::new()),
            node: 1,
            java: &["-Xmx400m"],
            port: clients,
            files: Vec::new(),
        })?;
        process.run()?;
        Ok(Self {
            process,
            clients,
            proxied,
            proxy,
            login,
        })
    }
}

/// What makes a broker without others quick and small.
pub const ALONE: &str = "auto.create.topics.enable=false
num.partitions=1
offsets.topic.num.partitions=2
offsets.topic.replication.factor=1
log.retention.ms=-1
transaction.state.log.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=6000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=4194304
";
