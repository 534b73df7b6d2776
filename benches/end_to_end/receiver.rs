//! A consumer that is told of a record as soon as the broker has it.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::Bench;

const PATIENCE: Duration = Duration::from_secs(30);

/// Reads what comes to a topic of one partition from now on.
pub struct Receiver(BaseConsumer);

impl Receiver {
    pub fn new(bench: &Bench, topic: &str) -> Self {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bench.kafka.brokers())
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("fetch.queue.backoff.ms", "5")
            .create()
            .expect("a consumer");
        let (_, end) = consumer
            .fetch_watermarks(topic, 0, PATIENCE)
            .expect("the topic's end");
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Offset(end))
            .expect("an offset");
        consumer.assign(&from).expect("to be assigned");
        Self(consumer)
    }

    /// The next line, when one comes within `patience`.
    pub fn next(&self, patience: Duration) -> Option<Vec<u8>> {
        let message = self.0.poll(patience)?.ok()?;
        message.payload().map(<[u8]>::to_vec)
    }

    /// Whether a line that begins with `name` comes within `patience`.
    pub fn has(&self, name: &str, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(Ok(message)) = self.0.poll(left)
                && message
                    .payload()
                    .and_then(|line| line.strip_prefix(name.as_bytes()))
                    .is_some_and(|rest| rest.starts_with(b" "))
            {
                return true;
            }
            if left.is_zero() {
                return false;
            }
        }
    }
}
