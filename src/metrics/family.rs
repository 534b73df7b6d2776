//! Families of metrics on their way into OpenMetrics text.
//!
//! Plain maps from labels to values, built anew for each scrape, rather than long-lived counters beside those that the parts of the daemon keep: one
//! number has one owner.
//!
//! Invariant: a family stands once, its series in the order of their labels, each once. Values reported twice for one series are added.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::Count;

/// A series' labels, in the order in which they are shown.
pub type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
pub struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    values: Values,
}

#[derive(Debug)]
pub enum Values {
    Counter(BTreeMap<Labels, u64>),
    Gauge(BTreeMap<Labels, u64>),
    Measure(BTreeMap<Labels, f64>),
    Info(Labels),
}

#[derive(Debug, Default)]
pub struct Families(Vec<Family>);

impl Families {
    /// Two counters, one of lines or records and one of bytes.
    pub fn counts(
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
        self.push(name, help, Some("bytes"), Values::Counter(bytes));
    }

    /// Two gauges, of lines and of bytes.
    pub fn present(
        &mut self,
        name: &'static str,
        help: &'static str,
        counts: impl Iterator<Item = (Labels, Count)>,
    ) {
        let counts: Vec<_> = counts.collect();
        self.gauge(
            name,
            help,
            "lines",
            counts
                .iter()
                .map(|(labels, count)| (labels.clone(), count.lines)),
        );
        self.gauge(
            name,
            help,
            "bytes",
            counts
                .into_iter()
                .map(|(labels, count)| (labels, count.bytes)),
        );
    }

    /// A gauge that is 1 and names a state.
    pub fn state<'a>(
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

    /// Only grows.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        values: impl Iterator<Item = (Labels, u64)>,
    ) {
        self.push(name, help, unit, Values::Counter(added(values)));
    }

    /// A whole number that goes up and down.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.push(name, help, Some(unit), Values::Gauge(added(values)));
    }

    /// A fraction that goes up and down.
    pub fn measure(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: &'static str,
        values: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.push(
            name,
            help,
            Some(unit),
            Values::Measure(values.into_iter().collect()),
        );
    }

    /// A family; its unit becomes the end of its name, as OpenMetrics wants.
    pub fn push(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<&'static str>,
        values: Values,
    ) {
        let unit = unit.map(|unit| Unit::Other(unit.to_owned()));
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

/// The values by series.
pub fn added(values: impl IntoIterator<Item = (Labels, u64)>) -> BTreeMap<Labels, u64> {
    let mut sums = BTreeMap::new();
    for (labels, value) in values {
        let sum: &mut u64 = sums.entry(labels).or_default();
        *sum = sum.saturating_add(value);
    }
    sums
}
