//! Rules about partitions that an output names itself, without a group's balancing.
//!
//! Invariant: what has been let through has a list for each of its topics, and nothing that only members of a group have.

use std::collections::BTreeSet;

use crate::config::Consume;
use crate::kafka::settings::GroupProtocol;
use crate::output::file::settings::Delivery;
use crate::plan::names::Names;
use crate::yaml::{Problem, nearest};

pub(super) fn named_partitions_are_of_the_topics(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for from in outputs.filter_map(|output| output.from.as_ref()) {
        let Some(named) = &from.partitions else {
            continue;
        };
        let has_list = |topic: &str| named.value.iter().any(|it| it.topic.value == topic);
        for topic in &from.topics {
            if topic.value.starts_with('^') {
                problems.push(
                    Problem::new(
                        topic.span,
                        "partitions cannot be named of topics that an expression finds",
                    )
                    .hint("name the topics; or leave `partitions` out, and the group's members share all"),
                );
            } else if !has_list(&topic.value) {
                problems.push(
                    Problem::new(
                        topic.span,
                        format!("`partitions` has no list for `{}`", topic.value),
                    )
                    .hint(format!(
                        "for example `partitions: {{ {}: [0] }}`",
                        topic.value
                    )),
                );
            }
        }
        for it in &named.value {
            let topic = &it.topic;
            let topics = || from.topics.iter().map(|topic| topic.value.as_str());
            if topics().any(|known| known == topic.value) {
                continue;
            }
            let hint = match nearest(&topic.value, topics()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "add it there, or leave it out here".to_owned(),
            };
            problems.push(
                Problem::new(
                    topic.span,
                    format!("`topics` does not have `{}`", topic.value),
                )
                .hint(hint),
            );
        }
    }
}

pub(super) fn named_partitions_need_no_balancing(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for output in &names.config.outputs {
        let Some(from) = &output.from else { continue };
        if from.partitions.is_none() {
            continue;
        }
        if from.protocol.value == GroupProtocol::Consumer {
            problems.push(
                Problem::new(
                    from.protocol.span,
                    "`group_protocol` is about balancing, and `partitions` is without",
                )
                .hint("leave one of the two out"),
            );
        }
        let cluster = names.cluster(from.cluster.as_ref());
        let shared = cluster.map_or([].as_slice(), |cluster| cluster.options.as_slice());
        for property in from.options.iter().chain(shared) {
            if property.name.value == "group.instance.id" {
                problems.push(
                    Problem::new(
                        property.name.span,
                        "`group.instance.id` is about balancing, and `partitions` is without",
                    )
                    .hint("leave one of the two out"),
                );
            }
        }
        if let Some(to) = &output.to
            && to.delivery.value != Delivery::AtLeastOnce
        {
            problems.push(
                Problem::new(
                    to.delivery.span,
                    "`delivery: exactly_once` needs a group's balancing, and `partitions` is without",
                )
                .hint("Kafka takes offsets in transactions from whoever is no member, so nothing would keep a second daemon from the same partitions: leave one of the two out"),
            );
        }
    }
}

/// What to do when two outputs of one group meet in a partition; absent when each names its own, and none in common.
pub(super) fn share_a_partition(one: &Consume, other: &Consume) -> Option<String> {
    let (Some(first), Some(second)) = (named(one), named(other)) else {
        let hint = match (&one.partitions, &other.partitions) {
            (None, None) => {
                "the two would share the partitions, each getting only some: give each a group of its own"
            }
            _ => {
                "the offsets of one that names its `partitions` are refused while another is balanced: give each a group of its own, or name partitions in both"
            }
        };
        return Some(hint.to_owned());
    };
    let (topic, number) = first.intersection(&second).next()?;
    Some(format!(
        "both name partition {number} of {topic}, and would take its offset from each other: name others, or give each a group of its own"
    ))
}

fn named(from: &Consume) -> Option<BTreeSet<(&str, i32)>> {
    let named = from.partitions.as_ref()?;
    let of = named.value.iter();
    Some(
        of.flat_map(|it| {
            it.numbers
                .iter()
                .map(|number| (it.topic.value.as_str(), *number))
        })
        .collect(),
    )
}
