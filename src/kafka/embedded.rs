//! The embedded broker: librdkafka's mock cluster, for a first try and for tests of failures.
//!
//! It listens on loopback at a random port, lives in memory, makes topics of four partitions when they are first named, and keeps
//! 5 MiB of each partition. Positions that belong to it are thrown away: the next start finds an empty broker.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

/// How many partitions its topics have.
const PARTITIONS: i32 = 4;

/// A broker in this process, for as long as this value lives.
pub struct Embedded {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Embedded {
    /// Starts one.
    ///
    /// # Errors
    /// When loopback cannot be listened on.
    pub fn start() -> Result<Self, String> {
        let cluster = MockCluster::new(1)
            .map_err(|err| format!("cannot start the embedded broker on loopback: {err}"))?;
        Ok(Self { cluster })
    }

    /// Makes a topic, so that groups find it when they join. One that is there already is left as it is.
    pub fn make_topic(&self, name: &str) {
        if let Err(error) = self.cluster.create_topic(name, PARTITIONS, 1) {
            tracing::debug!(topic = name, %error, "the embedded broker did not make a topic");
        }
    }

    /// `HOST:PORT` of it.
    pub fn bootstrap(&self) -> String {
        self.cluster.bootstrap_servers()
    }
}

#[cfg(test)]
impl Embedded {
    /// Cuts every connection and accepts none.
    pub fn down(&self) {
        self.cluster.broker_down(1).unwrap();
    }

    /// Accepts connections again.
    pub fn up(&self) {
        self.cluster.broker_up(1).unwrap();
    }

    /// Gives a partition a leader, or takes it away.
    pub fn leader(&self, topic: &str, partition: i32, broker: Option<i32>) {
        let lead = self.cluster.partition_leader(topic, partition, broker);
        lead.unwrap();
    }

    /// The next requests of the kind `api` are answered with these errors.
    pub fn fail(
        &self,
        api: rdkafka::types::RDKafkaApiKey,
        errors: &[rdkafka::types::RDKafkaRespErr],
    ) {
        self.cluster.request_errors(api, errors);
    }
}
