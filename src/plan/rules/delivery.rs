//! The rules about `delivery: exactly_once`: what it cannot do without.

use std::time::Duration;

use crate::config::From;
use crate::kafka::settings::{Acks, Brokers, Delivery, Isolation};
use crate::output::file::settings::Delivery as OutputDelivery;
use crate::plan::names::Names;
use crate::yaml::Problem;

/// The shortest `timeout` and the longest `commit`.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

pub(super) fn exactly_once_has_what_it_needs(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let Some(to) = &input.to else { continue };
        let delivery = &to.delivery;
        let Delivery::ExactlyOnce { commit, timeout } = delivery.value else {
            continue;
        };
        match &input.from {
            Some(From::File(_)) | None => {}
            Some(From::Stdin { .. }) => problems.push(
                Problem::new(delivery.span, "standard input cannot be delivered exactly once").hint(
                    "what is sent again after a crash has to be read again, and standard input cannot be: `at_least_once`, or a file",
                ),
            ),
            Some(From::Syslog(_)) => problems.push(
                Problem::new(delivery.span, "syslog cannot be delivered exactly once").hint(
                    "its senders have no acknowledgement and send nothing again: `at_least_once`",
                ),
            ),
        }
        if to.acks.value != Acks::All {
            problems.push(
                Problem::new(to.acks.span, "`delivery: exactly_once` needs `acks: all`").hint(
                    "a transaction is committed when all brokers in sync have it: leave `acks` out",
                ),
            );
        }
        let cluster = names.cluster(to.cluster.as_ref());
        let brokers = cluster.and_then(|cluster| cluster.brokers.as_ref());
        if brokers.is_some_and(|brokers| brokers.value == Brokers::Embedded) {
            problems.push(
                Problem::new(delivery.span, "the embedded broker has no transactions")
                    .hint("`exactly_once` needs a real Kafka; leave `delivery` out to try everything else"),
            );
        }
        // Out of their own ranges they were reported already.
        let fits = timeout >= SHORTEST && commit <= LONGEST;
        if fits && commit * 2 > timeout {
            problems.push(
                Problem::new(delivery.span, "`timeout` must be at least twice `commit`")
                    .hint("the broker would abort transactions that are about to be committed"),
            );
        }
    }
}

pub(super) fn outputs_exactly_once_have_what_they_need(
    names: &Names<'_>,
    problems: &mut Vec<Problem>,
) {
    for output in &names.config.outputs {
        let (Some(from), Some(to)) = (&output.from, &output.to) else {
            continue;
        };
        let delivery = &to.delivery;
        if delivery.value == OutputDelivery::AtLeastOnce {
            continue;
        }
        if from.isolation.value == Isolation::ReadUncommitted {
            problems.push(
                Problem::new(
                    from.isolation.span,
                    "`delivery: exactly_once` needs `isolation: read_committed`",
                )
                .hint("who sees offsets of transactions that are not decided writes records twice when it takes partitions over"),
            );
        }
        let cluster = names.cluster(from.cluster.as_ref());
        let brokers = cluster.and_then(|cluster| cluster.brokers.as_ref());
        if brokers.is_some_and(|brokers| brokers.value == Brokers::Embedded) {
            problems.push(
                Problem::new(delivery.span, "the embedded broker has no transactions")
                    .hint("`exactly_once` needs a real Kafka; leave `delivery` out to try everything else"),
            );
        }
    }
}
