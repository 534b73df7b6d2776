//! The topics that the producer writes to, and which lane is whose partition.
//!
//! A topic is opened when a record for it comes and stays open; a lane keeps its home for as long as the producer runs.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Duration;

use super::spread::Spread;
use crate::kafka::lane::Lane;
use crate::kafka::native::{Native, Topic};

/// How long the client is waited for until it knows of partitions that were added.
const LEARN: Duration = Duration::from_secs(1);

/// All topics, by their number.
#[derive(Default)]
pub(super) struct Topics {
    known: Vec<TopicLanes>,
    by_name: HashMap<Arc<str>, usize>,
    /// For each lane, its topic and partition.
    homes: Vec<(usize, i32)>,
}

pub(super) struct TopicLanes {
    pub name: Arc<str>,
    pub handle: Topic,
    pub spread: Spread,
}

impl Topics {
    pub fn find(&self, name: &Arc<str>) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The number of a topic, which is opened when it was not yet.
    ///
    /// # Errors
    /// What librdkafka says against the name.
    pub fn open(&mut self, native: &Native, name: &Arc<str>) -> Result<usize, String> {
        if let Some(topic) = self.find(name) {
            return Ok(topic);
        }
        let topic = self.known.len();
        self.known.push(TopicLanes {
            name: name.clone(),
            handle: Topic::new(native, name)?,
            spread: Spread::default(),
        });
        self.by_name.insert(name.clone(), topic);
        Ok(topic)
    }

    /// Which partitions a topic has now, and which of them have a leader: new ones get a lane, which keeps what it sends if so said.
    pub fn lead(
        &mut self,
        topic: usize,
        leaders: Arc<[bool]>,
        lanes: &mut Vec<Lane>,
        keeps: bool,
        native: &Native,
    ) {
        let (homes, known) = (&mut self.homes, &mut self.known[topic]);
        if (1..leaders.len()).contains(&known.spread.lanes().len()) {
            tracing::info!(topic = %known.name, partitions = leaders.len(), "the topic has more partitions now");
            // The client would learn of it within a minute, and until then know no such partitions. Seldom; no answer is no harm.
            let _ = native.client().fetch_metadata(Some(&known.name), LEARN);
        }
        known.spread.lead(leaders, |partition| {
            let lane = lanes.len() as u32;
            homes.push((topic, partition as i32));
            lanes.push(if keeps {
                Lane::keeping(lane)
            } else {
                Lane::new(lane)
            });
            lane
        });
    }

    /// The topic and partition of a lane.
    pub fn home(&self, lane: usize) -> (&TopicLanes, i32) {
        let (topic, partition) = self.homes[lane];
        (&self.known[topic], partition)
    }

    /// Opens all of them with a client that takes over.
    ///
    /// # Errors
    /// What librdkafka says against a name.
    pub fn renew(&mut self, native: &Native) -> Result<(), String> {
        for topic in &mut self.known {
            topic.handle = Topic::new(native, &topic.name)?;
        }
        Ok(())
    }
}

impl Index<usize> for Topics {
    type Output = TopicLanes;

    fn index(&self, topic: usize) -> &TopicLanes {
        &self.known[topic]
    }
}

impl IndexMut<usize> for Topics {
    fn index_mut(&mut self, topic: usize) -> &mut TopicLanes {
        &mut self.known[topic]
    }
}
