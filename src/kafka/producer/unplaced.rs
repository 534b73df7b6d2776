//! Records that name no partition of their topic, which only `manual` knows: they get their place after all, or they are refused.
//!
//! What is known of a topic may be a minute old. So before a number is refused because it is too large, the topic is asked for again: partitions
//! may have been added. Nothing more is taken of a pipeline until each of them is placed or accounted for, so order is kept; and a record that
//! cannot be set aside makes its pipeline wait.
//!
//! Invariant: a record in here is in no lane, and its load is not settled.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Running;
use super::land::Ended;
use crate::kafka::lane::Chunk;
use crate::kafka::metadata::TopicState;
use crate::kafka::partition::deal::{Group, Hand, Records};
use crate::kafka::partition::{By, NoPartition, number};

/// One word for counting.
const REASON: &str = "bad_partition";
/// Setting aside waits for the disk: after so long it is the turn of what came back meanwhile.
const SPELL: Duration = Duration::from_millis(100);
/// How often it is tried again to set something aside.
const RETRY: Duration = Duration::from_secs(5);

/// Records without a partition, in the order in which they came.
#[derive(Default)]
pub(super) struct Unplaced {
    waiting: VecDeque<Waiting>,
    /// When it goes on with those that were left.
    not_before: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Waiting {
    topic: usize,
    pipeline: usize,
    slot: u32,
    record: u32,
    since: Instant,
    /// Its topic was asked for since.
    asked: bool,
}

impl Unplaced {
    pub fn add(
        &mut self,
        (topic, pipeline): (usize, usize),
        slot: u32,
        records: &[u32],
        now: Instant,
    ) {
        self.waiting.extend(records.iter().map(|&record| Waiting {
            topic,
            pipeline,
            slot,
            record,
            since: now,
            asked: false,
        }));
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a record of this pipeline is among them.
    pub fn has_of(&self, pipeline: usize) -> bool {
        self.waiting
            .iter()
            .any(|waiting| waiting.pipeline == pipeline)
    }

    /// When to look again, if nothing rings before.
    pub fn due(&self) -> Option<Instant> {
        self.not_before
    }
}

impl Running {
    /// Places or refuses those of which it is known by now.
    pub(super) fn place_rest(&mut self, now: Instant) {
        let is_early = self.unplaced.not_before.is_some_and(|at| at > now);
        if self.unplaced.is_empty() || is_early {
            return;
        }
        let asked = self.learn_of_topics();
        let all = std::mem::take(&mut self.unplaced.waiting);
        let (mut go_on, mut doubted) = (None, Vec::new());
        for waiting in all {
            let is_fresh = asked
                .iter()
                .any(|(topic, asked)| *topic == waiting.topic && *asked >= waiting.since);
            if self.pipelines[waiting.pipeline].halted || go_on.is_some() {
                self.unplaced.waiting.push_back(waiting);
                continue;
            }
            let Some(why) = self.place(waiting, now) else {
                continue;
            };
            if why.may_come() && !is_fresh {
                self.ask_for(waiting, &mut doubted);
                continue;
            }
            let ended = self.refuse_unplaced(waiting, &why);
            if ended != Ended::Accounted {
                self.unplaced.waiting.push_back(waiting);
            }
            if ended == Ended::Waits {
                go_on = Some(now + RETRY);
            } else if now.elapsed() > SPELL {
                go_on = Some(now);
            }
        }
        self.unplaced.not_before = go_on;
        if !self.back.finished.is_empty() {
            self.settle();
        }
    }

    /// What is known by now of the topics in question, and when that was asked for. From here on it stays so for all of their records.
    fn learn_of_topics(&mut self) -> Vec<(usize, Instant)> {
        let topics = self.unplaced.waiting.iter().map(|waiting| waiting.topic);
        let mut topics: Vec<usize> = topics.collect();
        topics.sort_unstable();
        topics.dedup();
        let mut known = Vec::new();
        for topic in topics {
            let name = self.topics[topic].name.clone();
            // In this order: what is learned in between is newer than it is taken for.
            let asked = self.producer.metadata.asked(&name);
            if let TopicState::Known(leaders) = self.producer.metadata.topic(&name) {
                let keeps = self.transactions.is_some();
                let native = self.flight.native();
                (self.topics).lead(topic, leaders, &mut self.lanes, keeps, native);
                known.extend(asked.map(|asked| (topic, asked)));
            }
        }
        known
    }

    /// Gives a record to the lane of the partition that it names, or tells why there is none.
    fn place(&mut self, waiting: Waiting, now: Instant) -> Option<NoPartition> {
        let load = self.flight.load(waiting.slot)?;
        let lanes = self.topics[waiting.topic].spread.lanes();
        let (text, partitions) = (load.text(By::Place, waiting.record), lanes.len() as u32);
        let Some(partition) = number(text, partitions) else {
            return Some(NoPartition::of(text, partitions));
        };
        let group = Group {
            partition,
            records: None,
            bytes: Records::weight(load, waiting.record),
        };
        let bytes = group.bytes;
        let only = Hand::Range(waiting.record..waiting.record + 1);
        let chunk = Chunk::of(group, waiting.slot, &only);
        let lane = lanes[partition as usize] as usize;
        self.lanes[lane].push(chunk, bytes, now);
        None
    }

    /// `doubted`: the topics that are asked for in this pass already.
    fn ask_for(&mut self, mut waiting: Waiting, doubted: &mut Vec<usize>) {
        if !waiting.asked && !doubted.contains(&waiting.topic) {
            let name = &self.topics[waiting.topic].name;
            self.producer.metadata.doubt(name);
            doubted.push(waiting.topic);
        }
        waiting.asked = true;
        self.unplaced.waiting.push_back(waiting);
    }

    fn refuse_unplaced(&mut self, waiting: Waiting, why: &NoPartition) -> Ended {
        let topic = self.topics[waiting.topic].name.clone();
        let record = (waiting.slot, waiting.record);
        self.end_refused(record, &topic, REASON, &why.to_string())
    }
}
