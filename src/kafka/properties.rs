//! The librdkafka properties that logferry owns, and the probes by which `check` finds what librdkafka itself would refuse.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::cluster::client_config;
use super::consumer::consumer_config;
use super::native::{Kind, Native};
use super::settings::{Acks, Brokers, ClusterSettings, Codec, ConsumerSettings, ProducerSettings};

/// The most records of one wave, and so of one batch on the wire (`batch.num.messages`). A wave that has this many goes at once; at
/// 200 bytes a line it is just under the default batch size.
pub const WAVE_RECORDS: usize = 4000;

/// What librdkafka reckons a record costs on the wire besides key and value, in bytes (its upper bound for message format 2).
pub const RECORD_WIRE_OVERHEAD: usize = 36;

/// The properties of a producer. The client is told nothing of ours that it could time out, drop or hold back by itself: waves,
/// lingering and waiting are the lanes' business.
///
/// # Errors
/// When a secret cannot be read.
pub fn producer_config(
    settings: &ProducerSettings,
    bootstrap: &str,
    name: &str,
) -> Result<ClientConfig, String> {
    let mut config =
        client_config(&settings.cluster, bootstrap, name).map_err(|err| err.to_string())?;
    let idempotent = settings.acks == Acks::All;
    config
        .set(
            "enable.idempotence",
            if idempotent { "true" } else { "false" },
        )
        .set(
            "acks",
            match settings.acks {
                Acks::All => "all",
                Acks::Leader => "1",
                Acks::None => "0",
            },
        )
        // An outage of any length makes no holes.
        .set("message.timeout.ms", "0")
        .set("message.send.max.retries", i32::MAX.to_string())
        .set("retry.backoff.ms", "100")
        .set("retry.backoff.max.ms", "1000")
        // A wave is handed over within a millisecond; it is the lane that lingers.
        .set("linger.ms", "1")
        .set("batch.size", settings.batch_size.to_string())
        .set("batch.num.messages", WAVE_RECORDS.to_string())
        .set("message.max.bytes", settings.max_record.to_string())
        // Never the limits that are met: the budget and the lanes are.
        .set("queue.buffering.max.messages", "0")
        .set("queue.buffering.max.kbytes", i32::MAX.to_string())
        .set("topic.metadata.refresh.interval.ms", "60000")
        .set(
            "compression.codec",
            match settings.compression.codec {
                Codec::None => "none",
                Codec::Gzip => "gzip",
                Codec::Snappy => "snappy",
                Codec::Lz4 => "lz4",
                Codec::Zstd => "zstd",
            },
        );
    if let Some(level) = settings.compression.level {
        config.set("compression.level", level.to_string());
    }
    if let Some(exactly_once) = &settings.exactly_once {
        let millis = exactly_once.timeout.as_millis();
        config
            .set("transactional.id", exactly_once.transactional_id())
            .set("transaction.timeout.ms", millis.to_string())
            // The client gives a transaction up before the broker does.
            .set("message.timeout.ms", (millis * 4 / 5).to_string())
            // A request that nobody answers can be asked again while the transaction lives.
            .set(
                "socket.timeout.ms",
                (millis / 4).clamp(1000, 10_000).to_string(),
            );
    }
    for (property, value) in &settings.cluster.options {
        config.set(property, value);
    }
    Ok(config)
}

/// Builds a producer without brokers and drops it.
///
/// # Errors
/// librdkafka's words; they name the property.
pub fn probe_producer(settings: &ProducerSettings) -> Result<(), String> {
    probe(
        &producer_config(&without_brokers(settings), "", "probe")?,
        Kind::Producer,
    )
}

/// Builds a consumer without brokers and drops it.
///
/// # Errors
/// librdkafka's words; they name the property.
pub fn probe_consumer(settings: &ConsumerSettings) -> Result<(), String> {
    let settings = ConsumerSettings {
        cluster: without_secrets(&settings.cluster),
        ..settings.clone()
    };
    let config = consumer_config(&settings, "", "probe", PROBED_PREFETCH, false)
        .map_err(|error| error.to_string())?;
    probe(&config, Kind::Consumer)
}

/// Whether librdkafka knows a property and takes its value, whatever the others are. No client is built.
///
/// # Errors
/// librdkafka's words.
pub fn probe_property(name: &str, value: &str) -> Result<(), String> {
    let mut config = ClientConfig::new();
    config.set(name, value);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(_, words, ..)) => Err(words),
        Err(error) => Err(error.to_string()),
    }
}

/// Any prefetch will do for a consumer that fetches nothing, in bytes.
const PROBED_PREFETCH: u64 = 1 << 20;

fn probe(config: &ClientConfig, kind: Kind) -> Result<(), String> {
    let mut config = config.clone();
    config.remove("bootstrap.servers");
    Native::new(&config, kind).map(drop)
}

/// The same settings with secrets left out: `check` reads none.
fn without_brokers(settings: &ProducerSettings) -> ProducerSettings {
    ProducerSettings {
        cluster: without_secrets(&settings.cluster),
        ..settings.clone()
    }
}

fn without_secrets(cluster: &ClusterSettings) -> ClusterSettings {
    // Key stores are files and credentials are secrets: neither is touched by a probe.
    ClusterSettings {
        brokers: Brokers::Addresses(Vec::new()),
        tls: None,
        sasl: None,
        ..cluster.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::settings::{Compression, ExactlyOnce, Linger};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn settings(options: &[(&str, &str)]) -> ProducerSettings {
        let options: BTreeMap<_, _> = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        ProducerSettings {
            cluster: ClusterSettings {
                name: "main".into(),
                brokers: Brokers::Embedded,
                tls: None,
                sasl: None,
                options,
            },
            acks: Acks::All,
            compression: Compression::default(),
            linger: Linger::Auto,
            batch_size: 1_000_000,
            max_record: 1_000_000,
            exactly_once: None,
        }
    }

    #[test]
    fn our_own_properties_make_a_client_for_every_kind_of_acks_and_codec() {
        for acks in [Acks::All, Acks::Leader, Acks::None] {
            for codec in [
                Codec::None,
                Codec::Gzip,
                Codec::Snappy,
                Codec::Lz4,
                Codec::Zstd,
            ] {
                let settings = ProducerSettings {
                    acks,
                    compression: Compression { codec, level: None },
                    ..settings(&[])
                };
                assert_eq!(probe_producer(&settings), Ok(()));
            }
        }
    }

    #[test]
    fn the_shortest_and_the_longest_transactions_make_a_client() {
        for seconds in [2, 30, 900] {
            let exactly_once = Some(ExactlyOnce {
                id: "web-1".into(),
                pipeline: "nginx".into(),
                commit: Duration::from_secs(1),
                timeout: Duration::from_secs(seconds),
            });
            let settings = ProducerSettings {
                exactly_once,
                ..settings(&[])
            };
            assert_eq!(probe_producer(&settings), Ok(()));
        }
    }

    #[test]
    fn unknown_and_contradictory_properties_are_found_without_a_broker() {
        let error = probe_producer(&settings(&[("no.such.property", "1")])).unwrap_err();
        assert!(error.contains("no.such.property"), "{error}");
        let error = probe_producer(&settings(&[(
            "max.in.flight.requests.per.connection",
            "50",
        )]))
        .unwrap_err();
        assert!(error.contains("max.in.flight"), "{error}");
    }
}
