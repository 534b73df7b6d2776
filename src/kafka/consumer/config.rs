//! A consumer's properties.

use rdkafka::ClientConfig;

use super::intake::RECORD_OVERHEAD;
use crate::kafka::cluster::client_config;
use crate::kafka::settings::{Brokers, ConsumerSettings, GroupProtocol, Isolation};
use crate::value::SecretError;

/// Fewer prefetched messages than this starve the reader between two fetches.
const LEAST_MESSAGES: u64 = 20_000;

/// The properties of a member of the settings' group.
///
/// `until_end`: the client tells once a second how far it has fetched. `prefetch_bytes`: how much librdkafka may hold that was not read yet, over all partitions (they share one queue).
///
/// # Errors
/// When a secret cannot be read.
pub fn consumer_config(
    settings: &ConsumerSettings,
    bootstrap: &str,
    client_id: &str,
    prefetch_bytes: u64,
    until_end: bool,
) -> Result<ClientConfig, SecretError> {
    let mut config = client_config(&settings.cluster, bootstrap, client_id)?;
    // Topics that are made later, and new partitions, are found by asking again. The embedded broker makes them when the first
    // producer names them, and whoever tries it out waits for it.
    let refresh = match settings.cluster.brokers {
        Brokers::Embedded => "1000",
        Brokers::Addresses(_) => "10000",
    };
    let kib = (prefetch_bytes / 1024).clamp(1024, 2_097_151);
    // librdkafka counts only the bytes of keys and values.
    let messages = (prefetch_bytes / RECORD_OVERHEAD).clamp(LEAST_MESSAGES, 1_000_000);
    let fetch = (prefetch_bytes / 2).clamp(1_000_000, 50_000_000);
    config
        .set("group.id", &settings.group)
        .set("max.poll.interval.ms", "300000")
        .set("topic.metadata.refresh.interval.ms", refresh)
        .set("topic.metadata.propagation.max.ms", refresh)
        .set("queued.max.messages.kbytes", kib.to_string())
        .set("queued.min.messages", messages.to_string())
        .set("fetch.max.bytes", fetch.to_string())
        // The default of a second would cap a fast reader at what one fetch brings in a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "250");
    match settings.protocol {
        GroupProtocol::Classic => {
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
        }
    }
    if settings.cluster.brokers == Brokers::Embedded {
        // When a member's subscription changes while it joins, the embedded broker waits for its first incarnation to time out.
        config
            .set("session.timeout.ms", "4000")
            .set("heartbeat.interval.ms", "500");
    }
    for (name, value) in &settings.options {
        config.set(name, value);
    }
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        // An offset out of range is said and decided here, with numbers, not by librdkafka.
        .set("auto.offset.reset", "error")
        // The batch call takes the news of an end for a record (rdkafka_queue.c, rd_kafka_q_serve_rkmessages): the position moves past a
        // record that is not there yet, and the next pause, any rebalance, would skip it.
        .set("enable.partition.eof", "false")
        .set(
            "isolation.level",
            match settings.isolation {
                Isolation::ReadCommitted => "read_committed",
                Isolation::ReadUncommitted => "read_uncommitted",
            },
        );
    if until_end {
        config.set("statistics.interval.ms", "1000");
    }
    Ok(config)
}
