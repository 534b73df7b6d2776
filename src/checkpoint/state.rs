//! What the checkpoint says at one moment, and how a change alters it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Change, Entry, FileKey, Keeper};

/// All inputs that were ever bound, started or saved, by name.
pub type Inputs = BTreeMap<String, Input>;

/// One input's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The id of the Kafka cluster that the positions belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// When it first started, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// Who keeps the positions in Kafka; absent: nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<Keeper>,
    /// Above every key that was ever given out and saved.
    pub next_key: u64,
    pub entries: BTreeMap<FileKey, Entry>,
}

/// Makes `change` so.
pub fn apply(inputs: &mut Inputs, change: Change) {
    match change {
        Change::Put { input, key, entry } => {
            let input = inputs.entry(input).or_default();
            input.next_key = input.next_key.max(key.0.saturating_add(1));
            input.entries.insert(key, entry);
        }
        Change::Remove { input, key } => {
            if let Some(input) = inputs.get_mut(&input) {
                input.entries.remove(&key);
            }
        }
        Change::Bind { input, cluster } => {
            inputs.entry(input).or_default().cluster = Some(cluster);
        }
        Change::Started { input, at } => {
            inputs.entry(input).or_default().started = Some(at);
        }
        Change::Keep { input, keeper } => {
            inputs.entry(input).or_default().keeper = keeper;
        }
    }
}

/// Leaves out each change that a later one makes void, so that what waits for a full disk does not grow without end.
pub fn newest(changes: Vec<Change>) -> Vec<Change> {
    let mut seen = BTreeSet::new();
    let void: Vec<bool> = changes
        .iter()
        .rev()
        .map(|change| {
            let slot = match change {
                Change::Put { key, .. } | Change::Remove { key, .. } => (0, key.0),
                Change::Bind { .. } => (1, 0),
                Change::Started { .. } => (2, 0),
                Change::Keep { .. } => (3, 0),
            };
            !seen.insert((change.input(), slot))
        })
        .collect();
    drop(seen);
    let kept = changes.into_iter().zip(void.into_iter().rev());
    kept.filter(|(_, void)| !void)
        .map(|(change, _)| change)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remove(input: &str, key: u64) -> Change {
        Change::Remove {
            input: input.into(),
            key: FileKey(key),
        }
    }

    fn bind(cluster: &str) -> Change {
        Change::Bind {
            input: "a".into(),
            cluster: cluster.into(),
        }
    }

    #[test]
    fn only_the_newest_change_of_a_thing_is_kept() {
        let changes = vec![
            remove("a", 1),
            bind("x"),
            remove("b", 1),
            bind("y"),
            remove("a", 1),
        ];
        assert_eq!(newest(changes), [remove("b", 1), bind("y"), remove("a", 1)]);
    }
}
