//! Which librdkafka properties logferry owns, and the key that sets each.
//!
//! Invariant: an owned property never reaches librdkafka from the user's `options`, so what `check` shows is what runs.

/// Names, or beginnings of names that end with `*`; and what to do instead.
const OWNED: &[(&[&str], &str)] = &[
    (
        &["bootstrap.servers", "metadata.broker.list"],
        "`brokers:` of the cluster sets it",
    ),
    (&["client.id"], "`id:` at the top sets it"),
    (
        &["acks", "request.required.acks"],
        "`acks:` in `to:` of the input sets it",
    ),
    (
        &["enable.idempotence"],
        "it is on with `acks: all` and off otherwise",
    ),
    (
        &[
            "enable.gapless.guarantee",
            "transactional.id",
            "transaction.timeout.ms",
        ],
        "logferry sets it as `delivery:` asks",
    ),
    (
        &["linger.ms", "queue.buffering.max.ms"],
        "`batch: { linger: 5ms }` in `to:` of the input sets it",
    ),
    (
        &["batch.size"],
        "`batch: { size: 1MB }` in `to:` of the input sets it",
    ),
    (
        &["message.max.bytes"],
        "`max_record:` in `to:` of the input sets it",
    ),
    (
        &["compression.*"],
        "`compression:` in `to:` of the input sets it",
    ),
    (
        &["partitioner", "sticky.partitioning.linger.ms"],
        "`partitioner:` in `to:` of the input sets it",
    ),
    (
        &["security.protocol"],
        "it follows from `tls:` and `sasl:` of the cluster",
    ),
    (
        &["sasl.*", "enable.sasl.*"],
        "`sasl:` of the cluster sets how to log in",
    ),
    (
        &[
            "ssl.ca.*",
            "ssl_ca",
            "https.ca.*",
            "ssl.key.*",
            "ssl_key",
            "ssl.certificate.*",
            "ssl_certificate",
            "ssl.keystore.*",
        ],
        "`tls: { ca_file, cert_file, key_file, key_password }` of the cluster sets it",
    ),
    (
        &[
            "enable.ssl.certificate.verification",
            "ssl.endpoint.identification.algorithm",
        ],
        "`tls: { verify: true }` of the cluster sets it",
    ),
    (&["group.id"], "`group:` in `from:` of the output sets it"),
    (
        &[
            "group.protocol",
            "group.remote.assignor",
            "partition.assignment.strategy",
        ],
        "`group_protocol:` in `from:` of the output decides it",
    ),
    (
        &["auto.offset.reset"],
        "`start_at:` and `on_out_of_range:` in `from:` of the output set it",
    ),
    (
        &["isolation.level"],
        "`isolation:` in `from:` of the output sets it",
    ),
    (
        &[
            "enable.auto.commit",
            "auto.commit.*",
            "enable.auto.offset.store",
            "offset.store.*",
            "enable.partition.eof",
        ],
        "logferry commits an offset when the data is on disk",
    ),
    (
        &[
            "message.timeout.ms",
            "delivery.timeout.ms",
            "message.send.max.retries",
            "retries",
        ],
        "logferry tries until a record is delivered; `shutdown: { timeout: 25s }` bounds a stop",
    ),
    (
        &["queue.buffering.max.*", "queued.*"],
        "`buffer: { memory: 64MiB }` bounds what is in flight",
    ),
    (
        &[
            "statistics.interval.ms",
            "batch.num.messages",
            "log_level",
            "log.queue",
            "log.thread.name",
            "enabled_events",
            "opaque",
            "default_topic_conf",
        ],
        "logferry sets it",
    ),
    (
        &[
            "delivery.report.only.error",
            "produce.offset.report",
            "queuing.strategy",
            "msg_order_cmp",
            "interceptors",
            "plugin.library.paths",
        ],
        "logferry sets it",
    ),
];

/// Why `property` cannot be set by the user: what to do instead.
pub(super) fn owner(property: &str) -> Option<&'static str> {
    if property.ends_with("_cb") {
        return Some("it is a function, not a value");
    }
    let owns = |name: &&str| match name.strip_suffix('*') {
        Some(beginning) => property.starts_with(beginning),
        None => property == *name,
    };
    OWNED
        .iter()
        .find(|(names, _)| names.iter().any(owns))
        .map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_sets_is_owned() {
        for property in [
            "acks",
            "compression.level",
            "sasl.password",
            "ssl.ca.location",
            "queue.buffering.max.kbytes",
            "dr_msg_cb",
        ] {
            assert!(owner(property).is_some(), "{property}");
        }
    }

    #[test]
    fn what_no_key_sets_is_the_users() {
        for property in [
            "socket.keepalive.enable",
            "debug",
            "client.rack",
            "fetch.min.bytes",
            "group.instance.id",
            "broker.address.family",
            "ssl.cipher.suites",
        ] {
            assert!(owner(property).is_none(), "{property}");
        }
    }
}
