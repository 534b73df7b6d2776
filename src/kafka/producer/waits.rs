//! What lines wait for at a topic, said once: no reason is told a second time until the topic takes lines again, and that is told, too.
//!
//! Two kinds of waiting come together here: a broker refuses (rights, a topic that is gone), or it says nothing while the cluster answers
//! (no leader, too few replicas: librdkafka tries again by itself and tells nobody).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::Running;
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::lane::Lane;
use crate::kafka::metadata::TopicState;

/// An acknowledgement that takes longer is not only slow.
const OVERDUE: Duration = Duration::from_secs(10);

/// The topics that are waited for, and what was said about each.
#[derive(Default)]
pub(super) struct Waits(HashMap<Arc<str>, HashSet<&'static str>>);

impl Waits {
    /// Says once what lines for `topic` wait for; `reason` is what makes it another one.
    pub fn say(&mut self, topic: &Arc<str>, reason: &'static str, text: &str) {
        let said = self.0.entry(topic.clone()).or_default();
        if said.insert(reason) {
            tracing::warn!(%topic, "topic {topic}: {text}; lines wait");
        }
    }

    /// The same for a broker's refusal.
    pub fn refused(&mut self, topic: &Arc<str>, code: RDKafkaErrorCode) {
        let why = match verdict(code) {
            Verdict::Wait(why) => why,
            _ => "the broker does not tell about the topic",
        };
        self.say(topic, why, &format!("{why} ({code})"));
    }

    /// Nobody waits for it any more.
    pub fn forget(&mut self, topic: &Arc<str>) {
        self.0.remove(topic);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Running {
    /// Asks whether the cluster is still there when an acknowledgement is long overdue: a broker that hangs closes no connection. When it
    /// is, says what the lines wait for.
    pub(super) fn look_at_overdue(&mut self, now: Instant) {
        let mut overdue: BTreeMap<Arc<str>, Vec<i32>> = BTreeMap::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            if lane.sent_at().is_some_and(|sent| now > sent + OVERDUE) {
                let (topic, partition) = self.topics.home(at);
                let partitions = overdue.entry(topic.name.clone()).or_default();
                partitions.push(partition);
            }
        }
        if overdue.is_empty() || self.producer.metadata.reached().0 != Some(true) {
            return;
        }
        for (topic, partitions) in overdue {
            self.say_why(&topic, &partitions);
        }
    }

    fn say_why(&mut self, topic: &Arc<str>, partitions: &[i32]) {
        let metadata = &self.producer.metadata;
        let leaders = match metadata.topic(topic) {
            TopicState::Known(leaders) => leaders,
            TopicState::Refused(code) => return self.waits.refused(topic, code),
            TopicState::Unknown => return,
        };
        let leaderless = partitions
            .iter()
            .find(|it| leaders.get(**it as usize) == Some(&false));
        if let Some(partition) = leaderless {
            let text = format!(
                "partition {partition} has no leader, none of its brokers is there that has all of it"
            );
            return self.waits.say(topic, "leader", &text);
        }
        let behind = partitions.iter().find_map(|partition| {
            let (in_sync, replicas) = metadata.replicas(topic, *partition)?;
            (in_sync < replicas).then_some((partition, in_sync, replicas))
        });
        if let Some((partition, in_sync, replicas)) = behind {
            let text = format!(
                "partition {partition} has {in_sync} of {replicas} replicas in sync, and brokers take nothing while there are fewer than its \
                 `min.insync.replicas`; bring brokers back"
            );
            return self.waits.say(topic, "replicas", &text);
        }
        let text = format!(
            "partition {} has acknowledged nothing for {} s, though the cluster answers",
            partitions.first().copied().unwrap_or_default(),
            OVERDUE.as_secs()
        );
        self.waits.say(topic, "silence", &text);
    }

    /// A lane's wave was acknowledged: if its topic was waited for and all of its lanes move, that is over.
    pub(super) fn moves_again(&mut self, lane: usize, now: Instant) {
        let topic = self.topics.home(lane).0;
        if !self.waits.0.contains_key(&topic.name) {
            return;
        }
        let stuck = |lane: &Lane| {
            lane.goes_again() || lane.sent_at().is_some_and(|sent| now > sent + OVERDUE)
        };
        let mut lanes = topic.spread.lanes().iter();
        if !lanes.any(|lane| stuck(&self.lanes[*lane as usize])) {
            let topic = topic.name.clone();
            tracing::info!(%topic, "lines for the topic are acknowledged again");
            self.waits.0.remove(&topic);
        }
    }
}
