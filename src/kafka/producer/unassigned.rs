//! Records that name no partition of their topic, which only `manual` knows: they get their place after all, or they are refused.
//!
//! What is known of a topic may be a minute old. So before a number is refused because it is too large, the topic is asked for again: partitions
//! may have been added. Nothing more is taken of a pipeline until each of them is placed or refused, so order is kept.
//!
//! Invariant: a record in here is in no lane, and its load is not settled.

use std::collections::VecDeque;
use std::time::Instant;

use super::Running;
use crate::kafka::lane::Chunk;
use crate::kafka::metadata::TopicState;
use crate::kafka::native::Ticket;
use crate::kafka::partition::deal::{Group, Hand, Records};
use crate::kafka::partition::{By, NoPartition, number};

/// One word for counting.
const REASON: &str = "bad_partition";

/// Records without a partition, in the order in which they came.
#[derive(Default)]
pub(super) struct Unassigned {
    waiting: VecDeque<Waiting>,
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

impl Unassigned {
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
}

impl Running {
    /// Places or refuses those of which it is known by now.
    pub(super) fn assign_rest(&mut self, now: Instant) {
        if self.unassigned.is_empty() {
            return;
        }
        let asked = self.learn_of_topics();
        let all = std::mem::take(&mut self.unassigned.waiting);
        let mut doubted = Vec::new();
        for waiting in all {
            let is_fresh = asked
                .iter()
                .any(|(topic, asked)| *topic == waiting.topic && *asked >= waiting.since);
            if self.pipelines[waiting.pipeline].halted {
                self.unassigned.waiting.push_back(waiting);
                continue;
            }
            let Some(why) = self.place(waiting, now) else {
                continue;
            };
            if why.may_come() && !is_fresh {
                self.ask_for(waiting, &mut doubted);
                continue;
            }
            self.refuse_unassigned(waiting, &why);
        }
        self.place_refused(now);
        if !self.back.finished.is_empty() {
            self.settle();
        }
    }

    /// What is known by now of the topics in question, and when that was asked for. From here on it stays so for all of their records.
    fn learn_of_topics(&mut self) -> Vec<(usize, Instant)> {
        let topics = self.unassigned.waiting.iter().map(|waiting| waiting.topic);
        let mut topics: Vec<usize> = topics.collect();
        topics.sort_unstable();
        topics.dedup();
        let mut known = Vec::new();
        for topic in topics {
            let name = self.topics[topic].name.clone();
            if self.topics.is_held(topic) {
                continue;
            }
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
        self.unassigned.waiting.push_back(waiting);
    }

    fn refuse_unassigned(&mut self, waiting: Waiting, why: &NoPartition) {
        let topic = self.topics[waiting.topic].name.clone();
        let ticket = Ticket {
            slot: waiting.slot,
            // It is in none.
            lane: 0,
            record: waiting.record,
        };
        self.end_refused(ticket, topic, REASON, why.to_string());
    }
}
