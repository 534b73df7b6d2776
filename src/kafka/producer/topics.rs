//! The topics that the producer writes to, and which lane is whose partition.
//!
//! A topic is opened when a record for it comes, and closed when none came for long: topics made of data may be many, each for a while. Its
//! lanes are given to others then. (librdkafka keeps its own part of a topic, with the numbers that idempotence goes by, as long as the
//! client lives.)
//!
//! Invariant: a lane keeps its home as long as anything is in it.

use std::collections::HashMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::spread::Spread;
use crate::kafka::lane::Lane;
use crate::kafka::native::{Native, Topic};

/// How long the client is waited for until it knows of partitions that were added.
const LEARN: Duration = Duration::from_secs(1);
/// A topic that nothing was sent to for so long is closed.
pub(super) const UNUSED: Duration = Duration::from_secs(300);

/// All topics, by their number. Numbers change when one is closed.
#[derive(Default)]
pub(super) struct Topics {
    known: Vec<TopicLanes>,
    by_name: HashMap<Arc<str>, usize>,
    /// For each lane, its topic and partition.
    homes: Vec<(usize, i32)>,
    /// Those to which nothing is sent, until what waits for them has moved to the partitions that they have.
    held: Vec<(usize, Instant)>,
    /// Lanes that have no home now.
    free: Vec<u32>,
}

pub(super) struct TopicLanes {
    pub name: Arc<str>,
    pub handle: Topic,
    pub spread: Spread,
    /// When records for it came last.
    pub used: Instant,
}

impl Topics {
    pub fn find(&self, name: &Arc<str>) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.known.iter().map(|topic| topic.name.clone()).collect()
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
            used: Instant::now(),
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
        let (homes, free) = (&mut self.homes, &mut self.free);
        let known = &mut self.known[topic];
        if (1..leaders.len()).contains(&known.spread.lanes().len()) {
            tracing::info!(topic = %known.name, partitions = leaders.len(), "the topic has more partitions now");
            // The client would learn of it within a minute, and until then know no such partitions. Seldom; no answer is no harm.
            let _ = native.client().fetch_metadata(Some(&known.name), LEARN);
        }
        known.spread.lead(leaders, |partition| {
            let home = (topic, partition as i32);
            let index = free.pop().unwrap_or(lanes.len() as u32);
            let lane = if keeps {
                Lane::keeping(index)
            } else {
                Lane::new(index)
            };
            if let Some(old) = lanes.get_mut(index as usize) {
                (*old, homes[index as usize]) = (lane, home);
            } else {
                lanes.push(lane);
                homes.push(home);
            }
            index
        });
    }

    /// Closes the topics for which nothing came since `since` and of which nothing is left, and gives their names.
    pub fn close_unused(&mut self, since: Instant, lanes: &mut [Lane]) -> Vec<Arc<str>> {
        let mut closed = Vec::new();
        let mut at = 0;
        while let Some(topic) = self.known.get(at) {
            let lanes_of = topic.spread.all_lanes();
            let is_empty = |lane: &u32| lanes[*lane as usize].is_empty();
            if topic.used > since || !lanes_of.iter().all(is_empty) {
                at += 1;
                continue;
            }
            let gone = self.known.swap_remove(at);
            self.by_name.remove(&gone.name);
            for &lane in gone.spread.all_lanes() {
                // What it had room for goes back to the system.
                lanes[lane as usize] = Lane::new(lane);
                self.free.push(lane);
            }
            if let Some(moved) = self.known.get(at) {
                self.by_name.insert(moved.name.clone(), at);
                for &lane in moved.spread.all_lanes() {
                    self.homes[lane as usize].0 = at;
                }
            }
            closed.push(gone.name);
        }
        closed
    }

    /// The topic and partition of a lane.
    pub fn home(&self, lane: usize) -> (&TopicLanes, i32) {
        let (topic, partition) = self.homes[lane];
        (&self.known[topic], partition)
    }

    pub fn number_of(&self, lane: usize) -> usize {
        self.homes[lane].0
    }

    /// Nothing is sent to a topic from now on, until it is known which partitions it had at `since` or later. `false` when that was so.
    pub fn hold(&mut self, topic: usize, since: Instant) -> bool {
        let is_new = !self.is_held(topic);
        if is_new {
            self.held.push((topic, since));
        }
        is_new
    }

    pub fn unhold(&mut self, topic: usize) {
        self.held.retain(|(held, _)| *held != topic);
    }

    /// With the time since which what is known of it may be wrong.
    pub fn held(&self) -> Vec<(usize, Instant)> {
        self.held.clone()
    }

    pub fn is_held(&self, topic: usize) -> bool {
        self.held.iter().any(|(held, _)| *held == topic)
    }

    /// Whether nothing is sent from a lane.
    pub fn holds(&self, lane: usize) -> bool {
        !self.held.is_empty() && self.is_held(self.homes[lane].0)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::lane::Chunk;
    use crate::kafka::native::Kind;

    #[test]
    fn a_topic_that_is_not_used_gives_its_lanes_to_others_and_one_with_a_backlog_stays() {
        let native = Native::new(&rdkafka::ClientConfig::new(), Kind::Producer).unwrap();
        let (mut topics, mut lanes) = (Topics::default(), Vec::new());
        let open = |topics: &mut Topics, lanes: &mut Vec<Lane>, name: &str, partitions: usize| {
            let topic = topics.open(&native, &name.into()).unwrap();
            topics.lead(topic, vec![true; partitions].into(), lanes, false, &native);
            topics[topic].spread.lanes().to_vec()
        };
        assert_eq!(open(&mut topics, &mut lanes, "a", 2), [0, 1]);
        assert_eq!(open(&mut topics, &mut lanes, "b", 1), [2]);
        assert_eq!(open(&mut topics, &mut lanes, "c", 1), [3]);
        let now = Instant::now();
        let records = 0..1;
        lanes[2].push(Chunk::Range { slot: 0, records }, 10, now);
        let later = now + Duration::from_secs(1);
        topics[2].used = later + Duration::from_secs(1);
        assert_eq!(topics.close_unused(later, &mut lanes), ["a".into()]);
        assert_eq!(topics.find(&"a".into()), None);
        for (name, lane) in [("b", 2), ("c", 3)] {
            let (home, partition) = topics.home(lane);
            assert_eq!((&*home.name, partition), (name, 0));
            assert_eq!(
                topics.find(&name.into()).map(|at| &*topics[at].name),
                Some(name)
            );
        }
        let mut taken = open(&mut topics, &mut lanes, "d", 3);
        taken.sort_unstable();
        assert_eq!(taken, [0, 1, 4]);
        assert_eq!((lanes.len(), &*topics.home(1).0.name), (5, "d"));
    }
}
