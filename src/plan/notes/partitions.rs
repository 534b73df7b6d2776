//! Where a partitioner does what its user may not expect.

use crate::config::Route;
use crate::kafka::settings::Partitioner;
use crate::yaml::Problem;

/// What is said of one input's way of choosing partitions.
pub(super) fn notes(to: &Route) -> Vec<Problem> {
    let Some(partitioner) = &to.partitioner else {
        return Vec::new();
    };
    let is_written = partitioner.span != to.span;
    let mut notes = Vec::new();
    let mut note = |what: String, hint: &str| {
        notes.push(Problem::new(partitioner.span, what).hint(hint));
    };
    match (partitioner.value, &to.key) {
        (Partitioner::Murmur2 | Partitioner::Consistent | Partitioner::Fnv1a, None) => note(
            format!(
                "records have no key, and {} puts all of those into one partition",
                name(partitioner.value)
            ),
            "add `key:`, or choose the partitioner with `_random`, which spreads them",
        ),
        (Partitioner::SaramaReference, None) => note(
            "records have no key, and each goes to a partition at random".to_owned(),
            "batches are small: `fnv1a_random` keeps records without key together for a batch",
        ),
        (Partitioner::Sticky | Partitioner::Random | Partitioner::RoundRobin, Some(_)) => note(
            format!(
                "with {} the key does not choose the partition",
                name(partitioner.value)
            ),
            "records with the same key lie in several partitions, and have no order among each other there",
        ),
        (Partitioner::Manual, _) => {
            if let Some(partition) = to.partition.as_ref().filter(|it| !it.value.contains('{')) {
                notes.push(
                    Problem::new(partition.span, "all records go to one partition").hint(
                        "while the topic has no partition of that number, each record is refused, as `on_refused` says",
                    ),
                );
            }
        }
        (Partitioner::Hash(_), _)
            if to
                .hash_of
                .as_ref()
                .is_some_and(|of| !of.value.contains('{')) =>
        {
            note(
                "the same text is hashed for every record: all go to one partition".to_owned(),
                "write a template, like `of: \"{file.path}\"`",
            )
        }
        (_, Some(_)) | (Partitioner::Hash(_), _) if is_written => note(
            "partitions that are added to the topic move keys".to_owned(),
            "from then on most keys go to another partition than before; give the topic its partitions before the first record",
        ),
        _ => {}
    }
    notes
}

fn name(partitioner: Partitioner) -> String {
    let found = Partitioner::NAMED.iter().find(|(_, it)| *it == partitioner);
    format!("`{}`", found.map_or("hash", |(name, _)| name))
}
