//! How far each partition is durable: what the journal says, shared between the writer, which moves it, and the consumer, which asks.
//!
//! Invariant: a place is moved only after the journal's record of it is durable; only [`Durable::adopt`] takes it elsewhere.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::flow::{Durable, Place};

/// The places of one output.
#[derive(Debug)]
pub struct Places {
    journal: String,
    by_topic: Mutex<HashMap<String, BTreeMap<i32, Place>>>,
}

impl Places {
    /// No places, for the journal of that id.
    pub fn new(journal: String) -> Self {
        Self {
            journal,
            by_topic: Mutex::default(),
        }
    }

    /// Moves a place.
    pub fn set(&self, topic: &str, partition: i32, place: Place) {
        let mut by_topic = self.lock();
        match by_topic.get_mut(topic) {
            Some(partitions) => drop(partitions.insert(partition, place)),
            None => drop(by_topic.insert(topic.to_owned(), BTreeMap::from([(partition, place)]))),
        }
    }

    /// All of them, by topic and partition.
    pub fn all(&self) -> Vec<(String, i32, Place)> {
        let by_topic = self.lock();
        let mut all: Vec<_> = by_topic
            .iter()
            .flat_map(|(topic, partitions)| {
                partitions
                    .iter()
                    .map(|(partition, place)| (topic.clone(), *partition, *place))
            })
            .collect();
        all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BTreeMap<i32, Place>>> {
        self.by_topic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Durable for Places {
    fn id(&self) -> &str {
        &self.journal
    }

    fn place(&self, topic: &str, partition: i32) -> Option<Place> {
        self.lock().get(topic)?.get(&partition).copied()
    }

    fn adopt(&self, topic: &str, partition: i32, next: i64) {
        let place = Place {
            next,
            leader_epoch: -1,
        };
        self.set(topic, partition, place);
    }
}
