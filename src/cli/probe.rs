//! Whether librdkafka takes the settings, found out without a cluster.
//!
//! What it refuses is shown where the property stands that its message names. Invariant: clients are built without brokers and dropped;
//! nothing is connected.

use crate::config::{Config, Property};
use crate::kafka::properties::{probe_consumer, probe_producer, probe_property};
use crate::kafka::settings::{ConsumerSettings, ProducerSettings};
use crate::plan::Plan;
use crate::yaml::{Problem, Span};

/// How librdkafka is asked whether it takes settings: `Err` has its own words.
pub(super) struct Probes {
    pub producer: fn(&ProducerSettings) -> Result<(), String>,
    pub consumer: fn(&ConsumerSettings) -> Result<(), String>,
    pub property: fn(&str, &str) -> Result<(), String>,
}

impl Probes {
    /// Builds a client without brokers and drops it.
    pub const LIBRDKAFKA: Self = Self {
        producer: probe_producer,
        consumer: probe_consumer,
        property: probe_property,
    };

    /// Asks nothing.
    #[cfg(test)]
    pub const NONE: Self = Self {
        producer: |_| Ok(()),
        consumer: |_| Ok(()),
        property: |_, _| Ok(()),
    };
}

/// What librdkafka says to the settings of each client, at the property that it names.
pub(super) fn probe(config: &Config, plan: &Plan, probes: &Probes) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    let producers = plan.producers.iter().map(|settings| {
        let cluster = settings.cluster.name.as_str();
        ((probes.producer)(settings), cluster, None)
    });
    let consumers = plan.outputs.iter().map(|output| {
        let cluster = output.from.cluster.name.as_str();
        (
            (probes.consumer)(&output.from),
            cluster,
            Some(output.name.as_str()),
        )
    });
    for (answer, cluster, output) in producers.chain(consumers) {
        if let Err(message) = answer {
            let at = property_in(config, cluster, output, &message);
            let problem = Problem::new(at, format!("librdkafka refuses this: {message}"));
            // One property of a cluster is refused by every client of it.
            if !problems.iter().any(|other| other.at == problem.at) {
                problems.push(problem);
            }
        }
    }
    problems
}

/// What librdkafka says to each property by itself, when no client can be made of the whole.
pub(super) fn probe_alone(config: &Config, probes: &Probes, problems: &mut Vec<Problem>) {
    let of_clusters = config.clusters.iter().map(|cluster| &cluster.options);
    let of_outputs = config
        .outputs
        .iter()
        .filter_map(|output| Some(&output.from.as_ref()?.options));
    for Property { name, value } in of_clusters.chain(of_outputs).flatten() {
        // A rule has said already what is wrong with it.
        if problems.iter().any(|problem| problem.at == Some(name.span)) {
            continue;
        }
        if let Err(message) = (probes.property)(&name.value, &value.value) {
            let text = format!("librdkafka refuses this: {message}");
            problems.push(Problem::new(name.span, text));
        }
    }
}

/// Where the property stands that `message` names: among the output's options, or the cluster's; else the section itself.
fn property_in(config: &Config, cluster: &str, output: Option<&str>, message: &str) -> Span {
    let cluster = config
        .clusters
        .iter()
        .find(|known| known.name.value == cluster);
    let output = config
        .outputs
        .iter()
        .find(|known| Some(known.name.value.as_str()) == output);
    let of_output = output
        .and_then(|output| output.from.as_ref())
        .map(|from| &from.options);
    let of_cluster = cluster.map(|cluster| &cluster.options);
    let named = of_cluster
        .into_iter()
        .chain(of_output)
        .flatten()
        .filter_map(|property| Some((fit(message, &property.name.value)?, property)))
        // The last of equals: an output's option is stronger than its cluster's.
        .max_by_key(|(fit, _)| *fit)
        .map(|(_, property)| property);
    match (named, output, cluster) {
        (Some(Property { name, .. }), _, _) => name.span,
        (None, Some(output), _) => output.name.span,
        (None, None, Some(cluster)) => cluster.name.span,
        (None, None, None) => Span::default(),
    }
}

/// How well `message` names `property`. librdkafka may say an alias: `max.in.flight` for `max.in.flight.requests.per.connection`.
fn fit(message: &str, property: &str) -> Option<usize> {
    message
        .split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
        .map(|word| word.trim_end_matches('.'))
        .filter_map(|word| {
            let rest = property.strip_prefix(word)?;
            let exact = rest.is_empty();
            let alias = word.contains('.') && rest.starts_with('.');
            (exact || alias).then_some(if exact { usize::MAX } else { word.len() })
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_is_found_by_its_own_name_before_an_alias() {
        let said = "`max.in.flight` must be set <= 5 when `enable.idempotence` is true.";
        let fit = |property| fit(said, property);
        assert!(fit("max.in.flight") > fit("max.in.flight.requests.per.connection"));
        assert!(fit("max.in.flight.requests.per.connection").is_some());
        assert_eq!(fit("debug"), None);
        assert_eq!(fit("max"), None);
    }
}
