//! OpenMetrics 1.0 text out of a snapshot.
//!
//! | family | labels | counts |
//! |---|---|---|
//! | `logferry_input_read_{lines,bytes}_total` | input | what was taken from the source |
//! | `logferry_input_{lines,bytes}_total` | input, outcome | what became of it: acked, unconfirmed, dead_lettered, filtered, dropped |
//! | `logferry_input_{spooled,in_flight}_{lines,bytes}` | input | what is still under way |
//! | `logferry_input_{dropped,lost}_{lines,bytes}_total` | input, reason | |
//! | `logferry_output_{consumed,written,synced,committed}_{records,bytes}_total` | output | |
//! | `logferry_output_lag_records` | output, topic, partition | |
//! | `logferry_producer_*` | cluster, producer | |
//! | `logferry_budget_{capacity,used}_bytes` | | |
//!
//! The books in metrics: `read = sum over outcome + spooled + in_flight`.
//!
//! Invariant: every family stands once, every series once, in an order that does not change from scrape to scrape. Should two parts report the same
//! series, their values are added.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Count, InputSnapshot, OutputSnapshot, ProducerSnapshot, Snapshot};

/// The text of `/metrics`, with `# EOF` at its end.
pub fn render(snapshot: &Snapshot) -> String {
    let mut registry = Registry::with_prefix("logferry");
    registry.register_collector(Box::new(Families::of(snapshot)));
    let mut text = String::new();
    // Writing to a String cannot fail, and the collector has no failures of its own.
    let _ = encode(&mut text, &registry);
    text
}

/// A series' labels, in the order of the table above.
type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Counter(BTreeMap<Labels, u64>),
    Gauge(BTreeMap<Labels, u64>),
    Measure(BTreeMap<Labels, f64>),
    Info(Labels),
}

#[derive(Debug)]
struct Families(Vec<Family>);

impl Families {
    fn of(snapshot: &Snapshot) -> Self {
        let mut families = Self(Vec::new());
        families.0.push(Family {
            name: "build",
            help: "The program",
            unit: None,
            values: Values::Info(vec![("version", snapshot.version.to_owned())]),
        });
        families.measure(
            "start_time",
            "When the daemon started, since 1970",
            Unit::Seconds,
            [(Labels::new(), snapshot.start_time)],
        );
        families.gauge(
            "budget_capacity",
            "What may be in flight over all pipelines",
            Unit::Bytes,
            [(Labels::new(), snapshot.budget.capacity)],
        );
        families.gauge(
            "budget_used",
            "What is in flight over all pipelines",
            Unit::Bytes,
            [(Labels::new(), snapshot.budget.used)],
        );
        families.inputs(&snapshot.inputs);
        families.outputs(&snapshot.outputs);
        families.producers(&snapshot.producers);
        families
    }

    fn inputs(&mut self, inputs: &[InputSnapshot]) {
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

        self.state(
            "input_state",
            "What the input is doing",
            inputs
                .iter()
                .map(|input| (("input", input.name.as_str()), input.state)),
        );
        self.counts(
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
        self.counts("input", "What became of what was read", "lines", outcomes);
        self.present(
            "input_spooled",
            "On disk and waiting to be sent",
            under_way(|input| input.spooled),
        );
        self.present(
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
        self.counts("input_dropped", "Given up", "lines", dropped);
        let lost = inputs.iter().flat_map(|input| {
            input
                .lost
                .iter()
                .map(|(reason, count)| (reasons(&input.name, reason), *count))
        });
        self.counts(
            "input_lost",
            "Gone before it could be read; lines only where they are known",
            "lines",
            lost,
        );
        self.gauge(
            "input_unread",
            "In the source and not yet read",
            Unit::Bytes,
            each(|input| input.unread_bytes),
        );
        let oldest = inputs
            .iter()
            .filter_map(|input| Some((label("input", &input.name), input.oldest_unread_seconds?)));
        self.measure(
            "input_oldest_unread",
            "Age of the oldest line that is not settled",
            Unit::Seconds,
            oldest,
        );
        self.counter(
            "input_resent",
            "Sent again; readers may see them twice",
            Some("records"),
            each(|input| input.resent),
        );
        self.counter(
            "input_client_rebuilds",
            "How often the Kafka client was built anew",
            None,
            each(|input| input.rebuilds),
        );
        self.gauge(
            "input_open",
            "Files that are followed",
            Unit::Other("files".to_owned()),
            each(|input| input.files),
        );
    }

    fn outputs(&mut self, outputs: &[OutputSnapshot]) {
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

        self.state(
            "output_state",
            "What the output is doing",
            outputs
                .iter()
                .map(|output| (("output", output.name.as_str()), output.state)),
        );
        self.counts(
            "output_consumed",
            "Taken from Kafka",
            "records",
            counts(|output| output.consumed),
        );
        self.counts(
            "output_written",
            "Handed to the operating system",
            "records",
            counts(|output| output.written),
        );
        self.counts(
            "output_synced",
            "Made durable",
            "records",
            counts(|output| output.synced),
        );
        self.counts(
            "output_committed",
            "Whose offsets the group has",
            "records",
            counts(|output| output.committed),
        );
        self.counter(
            "output_syncs",
            "How often data was made durable",
            None,
            each(|output| output.syncs),
        );
        self.counter(
            "output_refused",
            "Could not be written for their own sake",
            Some("records"),
            each(|output| output.refused),
        );
        self.counter(
            "output_null_value",
            "Without a value",
            Some("records"),
            each(|output| output.null_values),
        );
        self.counter(
            "output_skipped",
            "Taken by retention before they were read",
            Some("records"),
            each(|output| output.skipped),
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
        self.gauge(
            "output_lag",
            "Between what is committed and the end of the partition",
            Unit::Other("records".to_owned()),
            lag,
        );
        self.gauge(
            "output_open",
            "Files that are open",
            Unit::Other("files".to_owned()),
            each(|output| output.open_files),
        );
        self.gauge(
            "output_assigned",
            "Partitions that this member holds",
            Unit::Other("partitions".to_owned()),
            each(|output| output.assigned),
        );
    }

    fn producers(&mut self, producers: &[ProducerSnapshot]) {
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

        self.push(
            "producer_connected",
            "1 while any broker of the cluster is connected",
            None,
            Values::Gauge(added(each(|producer| u64::from(producer.connected)))),
        );
        self.gauge(
            "producer_outstanding",
            "Handed to the client and not confirmed",
            Unit::Other("records".to_owned()),
            each(|producer| producer.outstanding_records),
        );
        self.gauge(
            "producer_outstanding",
            "Handed to the client and not confirmed",
            Unit::Bytes,
            each(|producer| producer.outstanding_bytes),
        );
        self.counter(
            "producer_requests",
            "Requests sent to brokers",
            None,
            each(|producer| producer.requests),
        );
        let round_trips = producers
            .iter()
            .filter_map(|producer| Some((labels(producer), producer.rtt_ms? / 1000.0)));
        self.measure(
            "producer_round_trip",
            "From a request to its answer, smoothed",
            Unit::Seconds,
            round_trips,
        );
    }

    /// Two counters, one of lines or records and one of bytes.
    fn counts(
        &mut self,
        name: &'static str,
        help: &'static str,
        things: &'static str,
        counts: impl Iterator<Item = (Labels, Count)>,
    ) {
        let counts: Vec<_> = counts.collect();
        self.counter(
            name,
            help,
            Some(things),
            counts
                .iter()
                .map(|(labels, count)| (labels.clone(), count.lines)),
        );
        let bytes = added(
            counts
                .into_iter()
                .map(|(labels, count)| (labels, count.bytes)),
        );
        self.push(name, help, Some(Unit::Bytes), Values::Counter(bytes));
    }

    /// Two gauges, of lines and of bytes.
    fn present(
        &mut self,
        name: &'static str,
        help: &'static str,
        counts: impl Iterator<Item = (Labels, Count)>,
    ) {
        let counts: Vec<_> = counts.collect();
        self.gauge(
            name,
            help,
            Unit::Other("lines".to_owned()),
            counts
                .iter()
                .map(|(labels, count)| (labels.clone(), count.lines)),
        );
        self.gauge(
            name,
            help,
            Unit::Bytes,
            counts
                .into_iter()
                .map(|(labels, count)| (labels, count.bytes)),
        );
    }

    fn state<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        states: impl Iterator<Item = ((&'static str, &'a str), &'static str)>,
    ) {
        let states = states.map(|((kind, of), state)| {
            (vec![(kind, of.to_owned()), ("state", state.to_owned())], 1)
        });
        self.push(name, help, None, Values::Gauge(states.collect()));
    }

    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        values: impl Iterator<Item = (Labels, u64)>,
    ) {
        self.push(
            name,
            help,
            unit.map(|unit| Unit::Other(unit.to_owned())),
            Values::Counter(added(values)),
        );
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.push(name, help, Some(unit), Values::Gauge(added(values)));
    }

    fn measure(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Unit,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.push(
            name,
            help,
            Some(unit),
            Values::Measure(values.into_iter().collect()),
        );
    }

    fn push(&mut self, name: &'static str, help: &'static str, unit: Option<Unit>, values: Values) {
        self.0.push(Family {
            name,
            help,
            unit,
            values,
        });
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let kind = match family.values {
                Values::Counter(_) => MetricType::Counter,
                Values::Gauge(_) | Values::Measure(_) => MetricType::Gauge,
                Values::Info(_) => MetricType::Info,
            };
            let mut series =
                encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), kind)?;
            match &family.values {
                Values::Counter(values) => {
                    for (labels, value) in values {
                        series
                            .encode_family(labels)?
                            .encode_counter::<NoLabelSet, u64, u64>(value, None)?;
                    }
                }
                Values::Gauge(values) => {
                    for (labels, value) in values {
                        series.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
                Values::Measure(values) => {
                    for (labels, value) in values {
                        series.encode_family(labels)?.encode_gauge(value)?;
                    }
                }
                Values::Info(labels) => series.encode_info(labels)?,
            }
        }
        Ok(())
    }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn reasons(input: &str, reason: &str) -> Labels {
    vec![("input", input.to_owned()), ("reason", reason.to_owned())]
}

fn added(values: impl IntoIterator<Item = (Labels, u64)>) -> BTreeMap<Labels, u64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in values {
        let sum: &mut u64 = sums.entry(labels).or_default();
        *sum = sum.saturating_add(value);
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{Snapshot, sample};
    use super::*;

    /// A sample as a reader sees it: full name, labels, value.
    #[derive(Debug, PartialEq)]
    struct Sample {
        name: String,
        labels: BTreeMap<String, String>,
        value: f64,
    }

    /// Reads OpenMetrics text as strictly as its specification asks a producer to write it.
    fn parse(text: &str) -> Vec<Sample> {
        assert!(text.ends_with("\n# EOF\n"), "no end");
        let mut families = BTreeSet::new();
        let mut series = BTreeSet::new();
        let mut samples = Vec::new();
        let (mut family, mut kind) = (String::new(), String::new());
        let body = text.strip_suffix("# EOF\n").unwrap();
        for line in body.lines() {
            assert!(!line.is_empty() && line == line.trim(), "{line:?}");
            if let Some(rest) = line.strip_prefix("# ") {
                let mut words = rest.splitn(3, ' ');
                let (word, name, text) = (
                    words.next().unwrap(),
                    words.next().unwrap(),
                    words.next().unwrap(),
                );
                match word {
                    "HELP" => {
                        assert!(families.insert(name.to_owned()), "{name} stands twice");
                        family = name.to_owned();
                        kind = String::new();
                    }
                    "TYPE" => {
                        assert_eq!(name, family, "TYPE of another family");
                        assert!(kind.is_empty(), "a second TYPE");
                        assert!(["counter", "gauge", "info"].contains(&text), "{text}");
                        kind = text.to_owned();
                    }
                    "UNIT" => {
                        assert_eq!(name, family, "UNIT of another family");
                        assert!(
                            name.ends_with(&format!("_{text}")),
                            "{name} does not end in its unit {text}"
                        );
                    }
                    other => panic!("a line of kind {other}"),
                }
                continue;
            }
            let (id, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = match id.split_once('{') {
                Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
                None => (id, BTreeMap::new()),
            };
            let wanted = match kind.as_str() {
                "counter" => format!("{family}_total"),
                "info" => format!("{family}_info"),
                "gauge" => family.clone(),
                _ => panic!("{name} before its TYPE"),
            };
            assert_eq!(name, wanted, "a sample of another family");
            assert!(
                name.starts_with("logferry_")
                    && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{name}"
            );
            assert!(
                series.insert((name.to_owned(), labels.clone())),
                "{id} stands twice"
            );
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0);
            samples.push(Sample {
                name: name.to_owned(),
                labels,
                value,
            });
        }
        samples
    }

    fn parse_labels(text: &str) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, quoted) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut characters = quoted.char_indices();
            let end = loop {
                match characters.next().expect("a value without an end") {
                    (at, '"') => break at,
                    (_, '\\') => match characters.next().unwrap().1 {
                        'n' => value.push('\n'),
                        other @ ('"' | '\\') => value.push(other),
                        other => panic!("an escape of {other}"),
                    },
                    (_, '\n') => panic!("a line feed in a value"),
                    (_, other) => value.push(other),
                }
            };
            assert!(
                labels.insert(name.to_owned(), value).is_none(),
                "{name} stands twice"
            );
            rest = &quoted[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or_else(|| {
                assert!(rest.is_empty(), "{rest:?} after a value");
                rest
            });
        }
        labels
    }

    fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeMap<_, _> = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        samples
            .iter()
            .find(|sample| sample.name == name && sample.labels == wanted)
            .map(|sample| sample.value)
    }

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
                .any(|sample| sample.name.contains("oldest") || sample.name.contains("round_trip"))
        );
    }

    #[test]
    fn an_idle_daemon_renders_too_and_always_the_same() {
        parse(&render(&Snapshot::default()));
        assert_eq!(render(&sample::snapshot()), render(&sample::snapshot()));
    }
}
