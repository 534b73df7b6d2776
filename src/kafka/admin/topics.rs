//! The topics of a cluster: what there is, where it begins and ends, what was set; making and deleting one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::reach::{FIRST_ANSWER, reach};
use super::{AdminError, PATIENCE, addresses, answer, brokers, short_lived, sizes};
use crate::kafka::native::{
    Answer, Boundary, ConfigSource, ConfigValue, Kind, Native, NewTopic, PartitionOffset,
};
use crate::kafka::settings::ClusterSettings;
use crate::kafka::trouble::Trouble;

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    pub name: String,
    /// By number.
    pub partitions: Vec<PartitionView>,
    /// Why the broker tells nothing more about it.
    pub error: Option<String>,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionView {
    pub id: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
    /// Offset of the first record; absent when nobody could tell.
    pub beginning: Option<i64>,
    /// Offset after the last one.
    pub end: Option<i64>,
    /// What its leader has on disk, in bytes, as far as it was asked and told.
    pub size: Option<u64>,
}

impl TopicView {
    /// How many replicas its partitions have at most.
    pub fn replication(&self) -> usize {
        let counts = self.partitions.iter().map(|one| one.replicas.len());
        counts.max().unwrap_or(0)
    }

    /// How many partitions have fewer replicas in sync than they should.
    pub fn under_replicated(&self) -> usize {
        self.partitions
            .iter()
            .filter(|one| one.in_sync.len() < one.replicas.len())
            .count()
    }

    /// How many partitions nobody serves.
    pub fn without_leader(&self) -> usize {
        self.partitions
            .iter()
            .filter(|one| one.leader.is_none())
            .count()
    }

    /// Offsets between beginning and end of all partitions: records, if nothing was compacted and there were no transactions. Absent when it
    /// is not known of some.
    pub fn records(&self) -> Option<u64> {
        self.partitions
            .iter()
            .map(|one| u64::try_from(one.end?.saturating_sub(one.beginning?)).ok())
            .sum()
    }

    /// Bytes that the leaders of all partitions have on disk; absent when one did not tell.
    pub fn size(&self) -> Option<u64> {
        let mut sizes = self.partitions.iter().map(|one| one.size);
        sizes.try_fold(0u64, |sum, size| Some(sum.saturating_add(size?)))
    }
}

/// Whether Kafka made the topic for itself.
pub fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}

/// What the metadata says of every topic, by name. Offsets are not in it.
pub(super) fn of_metadata(metadata: &rdkafka::metadata::Metadata) -> Vec<TopicView> {
    let mut topics: Vec<TopicView> = metadata
        .topics()
        .iter()
        .map(|topic| {
            let mut partitions: Vec<PartitionView> = topic
                .partitions()
                .iter()
                .map(|partition| PartitionView {
                    id: partition.id(),
                    leader: (partition.leader() >= 0).then(|| partition.leader()),
                    replicas: partition.replicas().to_vec(),
                    in_sync: partition.isr().to_vec(),
                    beginning: None,
                    end: None,
                    size: None,
                })
                .collect();
            partitions.sort_unstable_by_key(|partition| partition.id);
            let error = topic.error().map(RDKafkaErrorCode::from);
            TopicView {
                name: topic.name().to_owned(),
                partitions,
                error: error.map(|error| error.to_string()),
            }
        })
        .collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    topics
}

/// Puts beginnings and ends into the partitions that have a leader.
///
/// # Errors
/// When the leaders do not answer.
pub(super) fn measure(native: &Native, topics: &mut [TopicView]) -> Result<(), AdminError> {
    let led: Vec<PartitionOffset> = topics
        .iter()
        .flat_map(|topic| {
            let led = topic.partitions.iter().filter(|one| one.leader.is_some());
            led.map(|one| PartitionOffset::bare(&topic.name, one.id))
        })
        .collect();
    if led.is_empty() {
        return Ok(());
    }
    for boundary in [Boundary::First, Boundary::End] {
        let found = settled(native, || native.bounds(&led, boundary, PATIENCE))?;
        for offset in found.iter().filter(|offset| offset.error.is_none()) {
            let topic = topics.iter_mut().find(|topic| topic.name == offset.topic);
            let partitions = topic.map(|topic| &mut topic.partitions);
            let one =
                partitions.and_then(|all| all.iter_mut().find(|one| one.id == offset.partition));
            match (one, boundary) {
                (Some(one), Boundary::First) => one.beginning = offset.offset,
                (Some(one), Boundary::End) => one.end = offset.offset,
                (None, _) => {}
            }
        }
    }
    Ok(())
}

/// The offsets that `ask` brings. While leaders are only being found, as of a topic that was just made, it asks again.
///
/// # Errors
/// When the leaders do not answer.
pub(super) fn settled(
    native: &Native,
    ask: impl Fn() -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)>,
) -> Result<Vec<PartitionOffset>, AdminError> {
    use RDKafkaErrorCode as Code;
    let deadline = Instant::now() + SETTLING;
    loop {
        match ask() {
            Ok(found) => return Ok(found),
            Err((
                Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::UnknownLeaderEpoch
                | Code::FencedLeaderEpoch,
                _,
            )) if Instant::now() < deadline => drop(native.poll(NAP)),
            Err((_, text)) => {
                return Err(AdminError::Failed(format!(
                    "the offsets are not told: {text}"
                )));
            }
        }
    }
}

/// How long leaders may take to be found.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two questions.
const NAP: Duration = Duration::from_millis(100);

/// A client that asks about topics.
pub struct Topics {
    native: Native,
    address: String,
    all: Vec<TopicView>,
    brokers: BTreeMap<i32, String>,
    /// A connection is all that it takes to ask.
    is_open: bool,
}

impl Topics {
    /// Connects, and learns which topics there are.
    ///
    /// # Errors
    /// When nobody answers, or the properties are wrong.
    pub fn connect(cluster: &ClusterSettings) -> Result<Self, AdminError> {
        let native =
            Native::new(&short_lived(cluster)?, Kind::Producer).map_err(AdminError::Config)?;
        let address = addresses(cluster);
        let metadata = reach(&native, None, &address, FIRST_ANSWER)?;
        Ok(Self {
            all: of_metadata(&metadata),
            brokers: brokers(&metadata),
            is_open: cluster.tls.is_none() && cluster.sasl.is_none(),
            native,
            address,
        })
    }

    /// All topics, by name, without offsets.
    pub fn all(&self) -> &[TopicView] {
        &self.all
    }

    /// A topic with its offsets; `None` when it does not exist.
    ///
    /// # Errors
    /// When its leaders do not answer.
    pub fn find(&self, name: &str) -> Result<Option<TopicView>, AdminError> {
        let Some(found) = self.all.iter().find(|topic| topic.name == name) else {
            return Ok(None);
        };
        let mut found = [found.clone()];
        measure(&self.native, &mut found)?;
        let [found] = found;
        Ok(Some(found))
    }

    /// Puts sizes into a topic's partitions, as far as their leaders tell.
    pub fn weigh(&self, topic: &mut TopicView) {
        if self.is_open {
            sizes::measure(&topic.name, &mut topic.partitions, &self.brokers);
        }
    }

    /// What was set for a topic: all that has not Kafka's default, by name.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn settings(&self, topic: &str) -> Result<Vec<ConfigValue>, AdminError> {
        self.native
            .ask_for_config(topic, PATIENCE)
            .map_err(AdminError::Failed)?;
        match answer(&self.native, &self.address, PATIENCE + SLACK)? {
            Answer::Config(Ok(mut values)) => {
                values.retain(|value| value.source != ConfigSource::Default);
                values.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                Ok(values)
            }
            Answer::Config(Err(text)) => Err(AdminError::Failed(text)),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a topic, and waits until the broker has done it.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn create(&self, topic: &NewTopic<'_>) -> Result<(), AdminError> {
        self.native
            .create_topic(topic, PATIENCE)
            .map_err(|(code, text)| {
                let mut trouble = Trouble::default();
                while let Some(event) = self.native.poll(Duration::ZERO) {
                    trouble.hear(&event.kind());
                }
                trouble.explain(code, &text, &self.address)
            })
    }

    /// Deletes a topic, and waits until the broker has done it.
    ///
    /// # Errors
    /// The broker's reason.
    pub fn delete(&self, name: &str) -> Result<(), AdminError> {
        self.native
            .ask_to_delete(name, PATIENCE)
            .map_err(AdminError::Failed)?;
        self.done()
    }

    fn done(&self) -> Result<(), AdminError> {
        match answer(&self.native, &self.address, PATIENCE + SLACK)? {
            Answer::Topics(results) => match results.into_iter().find_map(|(_, error)| error) {
                Some((_, text)) => Err(AdminError::Failed(text)),
                None => Ok(()),
            },
            other => Err(unexpected(&other)),
        }
    }
}

/// librdkafka gives up by itself; this much later it is given up on.
pub(super) const SLACK: Duration = Duration::from_secs(1);

pub(super) fn unexpected(answer: &Answer) -> AdminError {
    AdminError::Failed(format!("librdkafka answered another question: {answer:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(
        leader: Option<i32>,
        in_sync: &[i32],
        bounds: Option<(i64, i64)>,
    ) -> PartitionView {
        PartitionView {
            id: 0,
            leader,
            replicas: vec![1, 2],
            in_sync: in_sync.to_vec(),
            beginning: bounds.map(|(beginning, _)| beginning),
            end: bounds.map(|(_, end)| end),
            size: None,
        }
    }

    #[test]
    fn what_is_wrong_with_partitions_is_counted() {
        let topic = TopicView {
            name: "t".into(),
            partitions: vec![
                partition(Some(1), &[1, 2], Some((5, 15))),
                partition(Some(1), &[1], Some((0, 1))),
                partition(None, &[], None),
            ],
            error: None,
        };
        assert_eq!(topic.replication(), 2);
        assert_eq!(topic.under_replicated(), 2);
        assert_eq!(topic.without_leader(), 1);
        assert_eq!(topic.records(), None);
        let known = TopicView {
            partitions: topic.partitions[..2].to_vec(),
            ..topic
        };
        assert_eq!(known.records(), Some(11));
    }
}
