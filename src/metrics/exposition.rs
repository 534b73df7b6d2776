//! OpenMetrics 1.0 text out of a snapshot.
//!
//! | family | labels | counts |
//! |---|---|---|
//! | `logferry_input_read_{lines,bytes}_total` | input | what was taken from the source |
//! | `logferry_input_{lines,bytes}_total` | input, outcome | what became of it: acked, unconfirmed, dead_lettered, filtered, dropped |
//! | `logferry_input_{spooled,in_flight}_{lines,bytes}` | input | what is still under way |
//! | `logferry_input_{dropped,lost}_{lines,bytes}_total` | input, reason | |
//! | `logferry_input_truncated_lines_total` | input | lines of which only the beginning was kept |
//! | `logferry_input_open_connections`, `logferry_input_{accepted,refused,timed_out,broken}_connections_total` | input | of syslog |
//! | `logferry_input_{unparsed,torn,event_time_out_of_range}_messages_total`, `logferry_input_kernel_dropped_datagrams_total` | input | of syslog; the latter has the label socket too |
//! | `logferry_input_spool_{size,capacity,spare}_bytes`, `logferry_input_spool_segments`, `logferry_input_spool_oldest_seconds` | input | of inputs with a spool |
//! | `logferry_input_spool_damaged_segments_total`, `logferry_input_spool_found_lines_total` | input | of inputs with a spool; what was found at the start is among the read |
//! | `logferry_input_transactions_total` | input, outcome | committed, aborted; in_doubt: nobody heard how it ended until it was found out, and it counts as one of the others too |
//! | `logferry_input_last_commit_seconds` | input | since 1970 |
//! | `logferry_output_{consumed,written,synced,committed}_{records,bytes}_total` | output | |
//! | `logferry_output_{assigned,absent}_partitions` | output | those that it holds, and those that the configuration names and that are not there |
//! | `logferry_output_lag_records` | output, topic, partition | |
//! | `logferry_output_transactions_total` | output, outcome | as of inputs |
//! | `logferry_output_last_commit_seconds` | output | since 1970; of transactions |
//! | `logferry_producer_*` | cluster, producer | |
//! | `logferry_budget_{capacity,used}_bytes` | | |
//!
//! The books in metrics: `read = sum over outcome + spooled + in_flight`.
//!
//! Invariant: every family stands once, every series once, in an order that does not change from scrape to scrape. Should two parts report the same
//! series, their values are added.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::family::{Families, Labels, Values, added};
use super::{
    Count, InputSnapshot, OutputSnapshot, ProducerSnapshot, Snapshot, SpoolSnapshot,
    SyslogSnapshot, TransactionsSnapshot,
};

/// The text of `/metrics`, with `# EOF` at its end.
pub fn render(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("logferry");
    registry.register_collector(Box::new(families(snapshot)));
    let mut text = String::new();
    // Writing to a String cannot fail, and the collector has no failures of its own.
    let _ = encode(&mut text, &registry);
    text
}

fn families(snapshot: &Snapshot) -> Families {
    let mut families = Families::default();
    families.push(
        "build",
        "The program",
        None,
        Values::Info(vec![("version", snapshot.version.to_owned())]),
    );
    let alone = Labels::new;
    families.measure(
        "start_time",
        "When the daemon started, since 1970",
        "seconds",
        [(alone(), snapshot.start_time)],
    );
    families.gauge(
        "budget_capacity",
        "What may be in flight over all pipelines",
        "bytes",
        [(alone(), snapshot.budget.capacity)],
    );
    families.gauge(
        "budget_used",
        "What is in flight over all pipelines",
        "bytes",
        [(alone(), snapshot.budget.used)],
    );
    inputs_of(&mut families, &snapshot.inputs);
    outputs_of(&mut families, &snapshot.outputs);
    producers_of(&mut families, &snapshot.producers);
    families
}

fn inputs_of(families: &mut Families, inputs: &[InputSnapshot]) {
    let each = |value: fn(&InputSnapshot) -> u64| {
        inputs
            .iter()
            .map(move |input| (label("input", &input.name), value(input)))
    };
    let under_way = |value: fn(&InputSnapshot) -> Count| {
        inputs
            .iter()
            .map(move |input| (label("input", &input.name), value(input)))
    };

    families.state(
        "input_state",
        "What the input is doing",
        inputs
            .iter()
            .map(|input| (("input", input.name.as_str()), input.state)),
    );
    families.counts(
        "input_read",
        "Taken from the source",
        "lines",
        under_way(|input| input.read),
    );
    let outcomes = inputs.iter().flat_map(|input| {
        let dropped = Count::sum(input.dropped.iter().map(|(_, count)| count));
        let outcomes = [
            ("acked", input.acked),
            ("unconfirmed", input.unconfirmed),
            ("dead_lettered", input.dead_lettered),
            ("filtered", input.filtered),
            ("dropped", dropped),
        ];
        outcomes.map(|(outcome, count)| {
            (
                vec![
                    ("input", input.name.clone()),
                    ("outcome", outcome.to_owned()),
                ],
                count,
            )
        })
    });
    families.counts("input", "What became of what was read", "lines", outcomes);
    families.present(
        "input_spooled",
        "On disk and waiting to be sent",
        under_way(|input| input.spooled),
    );
    families.present(
        "input_in_flight",
        "Read and not settled",
        under_way(|input| input.in_flight),
    );
    let dropped = inputs.iter().flat_map(|input| {
        input
            .dropped
            .iter()
            .map(|(reason, count)| (reasons(&input.name, reason), *count))
    });
    families.counts("input_dropped", "Given up", "lines", dropped);
    let lost = inputs.iter().flat_map(|input| {
        input
            .lost
            .iter()
            .map(|(reason, count)| (reasons(&input.name, reason), *count))
    });
    families.counts(
        "input_lost",
        "Gone before it could be read; lines only where they are known",
        "lines",
        lost,
    );
    families.gauge(
        "input_unread",
        "In the source and not yet read",
        "bytes",
        each(|input| input.unread_bytes),
    );
    let oldest = inputs
        .iter()
        .filter_map(|input| Some((label("input", &input.name), input.oldest_unread_seconds?)));
    families.measure(
        "input_oldest_unread",
        "Age of the oldest line that is not settled",
        "seconds",
        oldest,
    );
    families.counter(
        "input_truncated",
        "Longer than max_line.size: only their beginning was kept",
        Some("lines"),
        each(|input| input.truncated),
    );
    families.counter(
        "input_resent",
        "Sent again; readers may see them twice",
        Some("records"),
        each(|input| input.resent),
    );
    families.counter(
        "input_client_rebuilds",
        "How often the Kafka client was built anew",
        None,
        each(|input| input.rebuilds),
    );
    families.counter(
        "input_expired_positions",
        "Saved positions that were forgotten because their files were gone for too long",
        None,
        each(|input| input.expired),
    );
    let syslog = |value: fn(&SyslogSnapshot) -> u64| {
        inputs.iter().filter_map(move |input| {
            Some((label("input", &input.name), value(input.syslog.as_ref()?)))
        })
    };
    families.gauge(
        "input_open",
        "Connections that are open",
        "connections",
        syslog(|it| it.connections),
    );
    type Value = fn(&SyslogSnapshot) -> u64;
    let counters: [(_, _, _, Value); 7] = [
        ("input_accepted", "Accepted", "connections", |it| {
            it.accepted
        }),
        (
            "input_refused",
            "Closed at once, because too many were open",
            "connections",
            |it| it.refused,
        ),
        (
            "input_timed_out",
            "Closed because nothing came",
            "connections",
            |it| it.timed_out,
        ),
        (
            "input_broken",
            "Closed because of what came",
            "connections",
            |it| it.broken,
        ),
        (
            "input_unparsed",
            "Could not be taken apart and were delivered whole",
            "messages",
            |it| it.unparsed,
        ),
        (
            "input_torn",
            "Their stream ended before they did",
            "messages",
            |it| it.torn,
        ),
        (
            "input_event_time_out_of_range",
            "Were given the time of reading",
            "messages",
            |it| it.out_of_range,
        ),
    ];
    for (name, help, unit, value) in counters {
        families.counter(name, help, Some(unit), syslog(value));
    }
    let sockets = inputs.iter().flat_map(|input| {
        let sockets = input.syslog.iter().flat_map(|syslog| &syslog.sockets);
        sockets.map(|socket| {
            let socket_label = ("socket", socket.name.clone());
            let labels = vec![("input", input.name.clone()), socket_label];
            (labels, socket.kernel_drops)
        })
    });
    families.counter(
        "input_kernel_dropped",
        "Dropped by the kernel, because its buffer was full",
        Some("datagrams"),
        sockets,
    );
    spools_of(families, inputs);
    let transactions = inputs.iter().flat_map(|input| {
        let counts = input.transactions.into_iter();
        counts.flat_map(|counts| ends_of("input", &input.name, counts))
    });
    families.counter(
        "input_transactions",
        "How transactions ended; in_doubt: found out later",
        None,
        transactions,
    );
    let commits = inputs.iter().filter_map(|input| {
        Some((
            label("input", &input.name),
            input.transactions?.last_commit?,
        ))
    });
    families.measure(
        "input_last_commit",
        "When a transaction was committed last, since 1970",
        "seconds",
        commits,
    );
    families.gauge(
        "input_ignored",
        "Files that are not read because they are older than ignore_older",
        "files",
        each(|input| input.ignored),
    );
    families.gauge(
        "input_open",
        "Files that are followed",
        "files",
        each(|input| input.files),
    );
}

fn spools_of(families: &mut Families, inputs: &[InputSnapshot]) {
    let spool = |value: fn(&SpoolSnapshot) -> u64| {
        inputs.iter().filter_map(move |input| {
            Some((label("input", &input.name), value(input.spool.as_ref()?)))
        })
    };
    families.gauge(
        "input_spool_size",
        "What the spool takes of the disk for what is not acknowledged",
        "bytes",
        spool(|it| it.bytes),
    );
    families.gauge(
        "input_spool_capacity",
        "What it may take",
        "bytes",
        spool(|it| it.max_bytes),
    );
    families.gauge(
        "input_spool_spare",
        "What files of the spool take that are done and are written over",
        "bytes",
        spool(|it| it.spare_bytes),
    );
    families.gauge(
        "input_spool",
        "Files of the spool",
        "segments",
        spool(|it| it.segments),
    );
    families.measure(
        "input_spool_oldest",
        "Age of the oldest in the spool that is not acknowledged",
        "seconds",
        inputs
            .iter()
            .filter_map(|input| Some((label("input", &input.name), input.spool?.oldest_seconds?))),
    );
    families.counter(
        "input_spool_damaged",
        "Files of the spool in which something was damaged",
        Some("segments"),
        spool(|it| it.damaged),
    );
    families.counter(
        "input_spool_found",
        "Were in the spool at the start",
        Some("lines"),
        spool(|it| it.found.lines),
    );
}

fn outputs_of(families: &mut Families, outputs: &[OutputSnapshot]) {
    let each = |value: fn(&OutputSnapshot) -> u64| {
        outputs
            .iter()
            .map(move |output| (label("output", &output.name), value(output)))
    };
    let counts = |value: fn(&OutputSnapshot) -> Count| {
        outputs
            .iter()
            .map(move |output| (label("output", &output.name), value(output)))
    };

    families.state(
        "output_state",
        "What the output is doing",
        outputs
            .iter()
            .map(|output| (("output", output.name.as_str()), output.state)),
    );
    families.counts(
        "output_consumed",
        "Taken from Kafka",
        "records",
        counts(|output| output.consumed),
    );
    families.counts(
        "output_written",
        "Handed to the operating system",
        "records",
        counts(|output| output.written),
    );
    families.counts(
        "output_synced",
        "Made durable",
        "records",
        counts(|output| output.synced),
    );
    families.counts(
        "output_committed",
        "Whose offsets the group has",
        "records",
        counts(|output| output.committed),
    );
    families.counter(
        "output_syncs",
        "How often data was made durable",
        None,
        each(|output| output.syncs),
    );
    families.counter(
        "output_refused",
        "Could not be written for their own sake",
        Some("records"),
        each(|output| output.refused),
    );
    families.counter(
        "output_null_value",
        "Without a value",
        Some("records"),
        each(|output| output.null_values),
    );
    families.counter(
        "output_skipped",
        "Taken by retention before they were read",
        Some("records"),
        each(|output| output.skipped),
    );
    families.counter(
        "output_finished",
        "Renamed because nothing more is written into them",
        Some("files"),
        each(|output| output.finished_files),
    );
    families.counter(
        "output_removed",
        "Finished files that retention removed",
        Some("files"),
        each(|output| output.removed_files),
    );
    families.counter(
        "output_missing",
        "Moved, removed or changed by somebody else while the output had them",
        Some("files"),
        each(|output| output.missing_files),
    );
    let lag = outputs.iter().flat_map(|output| {
        output.lag.iter().map(|(topic, partition, lag)| {
            (
                vec![
                    ("output", output.name.clone()),
                    ("topic", topic.clone()),
                    ("partition", partition.to_string()),
                ],
                *lag,
            )
        })
    });
    families.gauge(
        "output_lag",
        "Between what is committed and the end of the partition",
        "records",
        lag,
    );
    families.gauge(
        "output_open",
        "Files that are open",
        "files",
        each(|output| output.open_files),
    );
    families.gauge(
        "output_assigned",
        "Partitions that this member holds",
        "partitions",
        each(|output| output.assigned),
    );
    families.gauge(
        "output_absent",
        "Partitions that are named and not there",
        "partitions",
        each(|output| output.absent.len() as u64),
    );
    let transactions = outputs.iter().flat_map(|output| {
        let counts = output.transactions.into_iter();
        counts.flat_map(|counts| ends_of("output", &output.name, counts))
    });
    families.counter(
        "output_transactions",
        "How transactions ended; in_doubt: found out later",
        None,
        transactions,
    );
    let commits = outputs.iter().filter_map(|output| {
        Some((
            label("output", &output.name),
            output.transactions?.last_commit?,
        ))
    });
    families.measure(
        "output_last_commit",
        "When a transaction was committed last, since 1970",
        "seconds",
        commits,
    );
}

/// How the transactions of one pipeline ended.
fn ends_of(kind: &'static str, name: &str, counts: TransactionsSnapshot) -> [(Labels, u64); 3] {
    [
        ("committed", counts.committed),
        ("aborted", counts.aborted),
        ("in_doubt", counts.in_doubt),
    ]
    .map(|(outcome, count)| {
        let labels = vec![(kind, name.to_owned()), ("outcome", outcome.to_owned())];
        (labels, count)
    })
}

fn producers_of(families: &mut Families, producers: &[ProducerSnapshot]) {
    let labels = |producer: &ProducerSnapshot| {
        vec![
            ("cluster", producer.cluster.clone()),
            ("producer", producer.producer.clone()),
        ]
    };
    let each = |value: fn(&ProducerSnapshot) -> u64| {
        producers
            .iter()
            .map(move |producer| (labels(producer), value(producer)))
    };

    families.push(
        "producer_connected",
        "1 while any broker of the cluster is connected",
        None,
        Values::Gauge(added(each(|producer| u64::from(producer.connected)))),
    );
    families.gauge(
        "producer_outstanding",
        "Handed to the client and not confirmed",
        "records",
        each(|producer| producer.outstanding_records),
    );
    families.gauge(
        "producer_outstanding",
        "Handed to the client and not confirmed",
        "bytes",
        each(|producer| producer.outstanding_bytes),
    );
    families.counter(
        "producer_requests",
        "Requests sent to brokers",
        None,
        each(|producer| producer.requests),
    );
    let round_trips = producers
        .iter()
        .filter_map(|producer| Some((labels(producer), producer.rtt_ms? / 1000.0)));
    families.measure(
        "producer_round_trip",
        "From a request to its answer, smoothed",
        "seconds",
        round_trips,
    );
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn reasons(input: &str, reason: &str) -> Labels {
    vec![("input", input.to_owned()), ("reason", reason.to_owned())]
}

#[cfg(test)]
mod tests {
    use super::super::strict::{parse, value};
    use super::super::{Snapshot, sample};
    use super::*;

    #[test]
    fn the_text_is_openmetrics() {
        let samples = parse(&render(&sample::snapshot()));
        assert_eq!(
            value(&samples, "logferry_build_info", &[("version", "0.1.0")]),
            Some(1.0)
        );
        assert_eq!(
            value(&samples, "logferry_start_time_seconds", &[]),
            Some(1_795_246_085.5)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_input_lines_total",
                &[("input", "nginx"), ("outcome", "acked")]
            ),
            Some(80.0)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_input_bytes_total",
                &[("input", "nginx"), ("outcome", "acked")]
            ),
            Some(8000.0)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_input_state",
                &[("input", "pipe"), ("state", "stopped")]
            ),
            Some(1.0)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_output_lag_records",
                &[("output", "archive"), ("partition", "0"), ("topic", "web")]
            ),
            Some(11.0)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_output_transactions_total",
                &[("outcome", "aborted"), ("output", "archive")]
            ),
            Some(2.0)
        );
        assert_eq!(
            value(
                &samples,
                "logferry_producer_round_trip_seconds",
                &[("cluster", "main"), ("producer", "main-1")]
            ),
            Some(0.0025)
        );
        assert_eq!(
            value(&samples, "logferry_budget_used_bytes", &[]),
            Some(4096.0)
        );
    }

    #[test]
    fn the_books_balance_in_metrics() {
        let samples = parse(&render(&sample::snapshot()));
        for (input, _) in [("nginx", 0), ("pipe", 1)] {
            for unit in ["lines", "bytes"] {
                let of =
                    |name: &str| value(&samples, name, &[("input", input)]).unwrap_or_default();
                let outcomes: f64 = samples
                    .iter()
                    .filter(|s| {
                        s.name == format!("logferry_input_{unit}_total")
                            && s.labels["input"] == input
                    })
                    .map(|s| s.value)
                    .sum();
                let settled_or_not = outcomes
                    + of(&format!("logferry_input_spooled_{unit}"))
                    + of(&format!("logferry_input_in_flight_{unit}"));
                assert_eq!(
                    of(&format!("logferry_input_read_{unit}_total")),
                    settled_or_not,
                    "{input} {unit}"
                );
            }
        }
    }

    #[test]
    fn a_label_may_hold_anything() {
        let samples = parse(&render(&sample::snapshot()));
        let labels = [("input", "nginx"), ("reason", "too \"large\"\\\n")];
        assert_eq!(
            value(&samples, "logferry_input_dropped_lines_total", &labels),
            Some(1.0)
        );
    }

    #[test]
    fn two_reports_of_one_series_are_added() {
        let mut snapshot = sample::snapshot();
        snapshot.producers.push(snapshot.producers[0].clone());
        let samples = parse(&render(&snapshot));
        assert_eq!(
            value(
                &samples,
                "logferry_producer_requests_total",
                &[("cluster", "main"), ("producer", "main-1")]
            ),
            Some(154.0)
        );
    }

    #[test]
    fn what_is_not_measured_has_no_sample() {
        let mut snapshot = sample::snapshot();
        snapshot.inputs[0].oldest_unread_seconds = None;
        snapshot.producers[0].rtt_ms = None;
        let text = render(&snapshot);
        let samples = parse(&text);
        assert!(
            !samples
                .iter()
                .any(|sample| sample.name.contains("oldest_unread")
                    || sample.name.contains("round_trip"))
        );
    }

    #[test]
    fn an_idle_daemon_renders_too_and_always_the_same() {
        parse(&render(&Snapshot::default()));
        assert_eq!(render(&sample::snapshot()), render(&sample::snapshot()));
    }
}
