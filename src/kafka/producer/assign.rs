//! Records to lanes: which partition each record of a batch goes to.
//!
//! Nearly always no record has a key, and the whole batch goes to one lane as a range, at no cost per record. Within a lane the order in
//! which batches were taken is kept.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Running;
use crate::flow::Batch;
use crate::kafka::lane::Chunk;
use crate::kafka::partition::{Choice, choose};
use crate::kafka::properties::RECORD_WIRE_OVERHEAD;
use crate::kafka::settings::Partitioner;

impl Running {
    /// Holds a batch until its last record is confirmed, and gives every record of it to the lane of its partition.
    pub(super) fn route(&mut self, at: usize, batch: Batch) {
        let way = &mut self.pipelines[at];
        let load = way.pipeline.route.dress(batch, at);
        let partitioner = way.pipeline.route.partitioner;
        let runs: Vec<_> = load
            .batch
            .runs
            .iter()
            .map(|run| (way.pipeline.route.topic(run), run.records.clone()))
            .collect();
        if load.progress.left == 0 {
            // Nothing but skipped bytes: settled as it is.
            let outcome = load.outcome(true);
            load.batch.receipt.settle(&outcome);
            return;
        }
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
        for (name, records) in runs {
            self.assign(slot, partitioner, &name, records, now);
        }
    }

    /// Gives the records of one run to their lanes.
    fn assign(
        &mut self,
        slot: u32,
        partitioner: Partitioner,
        name: &Arc<str>,
        records: Range<u32>,
        now: Instant,
    ) {
        let Some(topic) = self.topics.find(name) else {
            return;
        };
        let spread = &mut self.topics[topic].spread;
        let Some(load) = self.flight.load(slot) else {
            return;
        };
        let weight = |record: u32| load.weight(record as usize) + RECORD_WIRE_OVERHEAD;
        let partitions = spread.lanes().len() as u32;
        if !load.has_keys() && choose(partitioner, None, partitions) == Choice::Sticky {
            // The common case costs nothing per record: all of them go where the batch goes.
            let bytes = records.clone().map(weight).sum();
            let lane = spread.stick(&self.lanes, self.limits.bytes, bytes);
            self.lanes[lane as usize].push(Chunk::Range { slot, records }, bytes, now);
            return;
        }
        let mut by_lane: HashMap<u32, (Vec<u32>, usize)> = HashMap::new();
        let (mut keyless, mut keyless_bytes) = (Vec::new(), 0);
        for record in records.clone() {
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
            let chunk = if keyless.len() == records.len() {
                Chunk::Range { slot, records }
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
