//! Records to lanes: which partition each record of a batch goes to.
//!
//! Nearly always no record has a key, and the whole batch goes to one lane as a range, at no cost per record. Where records have topics of
//! their own they are put together by topic first, once per batch, so that a hundred topics that take turns cost no more lookups than a
//! hundred batches. Within a lane the order in which batches were taken, and of records in them, is kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Running;
use crate::flow::Batch;
use crate::kafka::lane::Chunk;
use crate::kafka::partition::{Choice, choose};
use crate::kafka::properties::RECORD_WIRE_OVERHEAD;
use crate::kafka::route::Route;
use crate::kafka::settings::Partitioner;

/// Records of a batch that are for the same topic, in their order.
pub(super) enum Group {
    Range(Range<u32>),
    List(Vec<u32>),
}

impl Group {
    fn len(&self) -> usize {
        match self {
            Self::Range(records) => records.len(),
            Self::List(records) => records.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let (range, list) = match self {
            Self::Range(records) => (records.clone(), &[][..]),
            Self::List(records) => (0..0, &records[..]),
        };
        range.chain(list.iter().copied())
    }

    fn chunk(self, slot: u32) -> Chunk {
        match self {
            Self::Range(records) => Chunk::Range { slot, records },
            Self::List(records) => Chunk::List { slot, records },
        }
    }
}

/// The topics of a batch, with their records.
pub(super) fn groups(batch: &Batch, route: &mut Route) -> Vec<(Arc<str>, Group)> {
    let extras = &batch.extras;
    if extras.topics.is_empty() {
        let runs = batch.runs.iter();
        return runs
            .map(|run| (route.topic(run), Group::Range(run.records.clone())))
            .collect();
    }
    if let [only] = &extras.topic_names[..] {
        let all = 0..batch.records.len() as u32;
        return vec![(only.clone(), Group::Range(all))];
    }
    let mut counts = vec![0; extras.topic_names.len()];
    for topic in &extras.topics {
        counts[*topic as usize] += 1;
    }
    let mut lists: Vec<Vec<u32>> = counts.into_iter().map(Vec::with_capacity).collect();
    for (record, topic) in (0..).zip(&extras.topics) {
        lists[*topic as usize].push(record);
    }
    let names = extras.topic_names.iter().cloned();
    names.zip(lists.into_iter().map(Group::List)).collect()
}

impl Running {
    /// Holds a batch until its last record is confirmed, and gives every record of it to the lane of its partition.
    pub(super) fn route(&mut self, at: usize, batch: Batch) {
        let way = &mut self.pipelines[at];
        let load = way.pipeline.route.dress(batch, at);
        let partitioner = way.pipeline.route.partitioner;
        if load.progress.left == 0 {
            // Nothing but skipped bytes: settled as it is.
            let outcome = load.outcome(true);
            load.batch.receipt.settle(&outcome);
            return;
        }
        let groups = groups(&load.batch, &mut way.pipeline.route);
        let slot = match self.flight.hold(load) {
            Ok(slot) => slot,
            Err(load) => {
                // Never met with a budget that fits into memory; the batch waits for a slot.
                self.pipelines[at].held = Some(load.batch);
                return;
            }
        };
        let now = Instant::now();
        if let (Some(transactions), Some(load)) = (&mut self.transactions, self.flight.load(slot)) {
            transactions.took(load.batch.charge.bytes(), now);
        }
        for (name, group) in groups {
            self.assign(slot, partitioner, &name, group, now);
        }
    }

    /// Gives the records of one topic to their lanes.
    fn assign(
        &mut self,
        slot: u32,
        partitioner: Partitioner,
        name: &Arc<str>,
        group: Group,
        now: Instant,
    ) {
        let Some(topic) = self.topics.find(name) else {
            return;
        };
        let topic = &mut self.topics[topic];
        topic.used = now;
        let spread = &mut topic.spread;
        let Some(load) = self.flight.load(slot) else {
            return;
        };
        let weight = |record: u32| load.weight(record as usize) + RECORD_WIRE_OVERHEAD;
        let partitions = spread.lanes().len() as u32;
        if !load.has_keys() && choose(partitioner, None, partitions) == Choice::Sticky {
            // The common case costs nothing per record: all of them go where the batch goes.
            let bytes = group.iter().map(weight).sum();
            let lane = spread.stick(&self.lanes, self.limits.bytes, bytes);
            self.lanes[lane as usize].push(group.chunk(slot), bytes, now);
            return;
        }
        let mut by_lane: HashMap<u32, (Vec<u32>, usize)> = HashMap::new();
        let (mut keyless, mut keyless_bytes) = (Vec::new(), 0);
        for record in group.iter() {
            let partition = match choose(partitioner, load.key(record as usize), partitions) {
                Choice::Fixed(partition) => partition,
                Choice::Random => (xorshift(&mut self.random) % u64::from(partitions)) as u32,
                Choice::Sticky => {
                    keyless.push(record);
                    keyless_bytes += weight(record);
                    continue;
                }
            };
            let lane = spread.lanes()[partition as usize];
            let (list, bytes) = by_lane.entry(lane).or_default();
            list.push(record);
            *bytes += weight(record);
        }
        for (lane, (records, bytes)) in by_lane {
            self.lanes[lane as usize].push(Chunk::List { slot, records }, bytes, now);
        }
        if !keyless.is_empty() {
            let lane = spread.stick(&self.lanes, self.limits.bytes, keyless_bytes);
            let chunk = if keyless.len() == group.len() {
                group.chunk(slot)
            } else {
                Chunk::List {
                    slot,
                    records: keyless,
                }
            };
            self.lanes[lane as usize].push(chunk, keyless_bytes, now);
        }
    }
}

/// xorshift64: spread is all that is asked of it.
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
