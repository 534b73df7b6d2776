//! Records to lanes: which partition each record of a batch goes to.
//!
//! Nearly always one decision holds for a run of records, and it goes to one lane as a range, at no cost per record. Within a lane the order
//! in which batches were taken is kept. A record that names no partition waits apart: see `unplaced`.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Running;
use crate::flow::Batch;
use crate::kafka::lane::Chunk;
use crate::kafka::partition::Rule;
use crate::kafka::partition::deal::Seats;

impl Running {
    /// Holds a batch until its last record is confirmed, and gives every record of it to the lane of its partition.
    pub(super) fn route(&mut self, at: usize, batch: Batch) {
        let way = &mut self.pipelines[at];
        let load = way.pipeline.route.dress(batch, at);
        let rule = way.pipeline.route.rule;
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
            self.assign(slot, &rule, &name, records, now);
        }
        self.place_rest(now);
    }

    /// Gives the records of one run to their lanes.
    fn assign(
        &mut self,
        slot: u32,
        rule: &Rule,
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
        let (leaders, mut turn) = (spread.leaders(), spread.turn);
        let seats = Seats {
            partitions: spread.lanes().len() as u32,
            leaders: &leaders,
            turn: &mut turn,
        };
        let (dealer, lanes, batch) = (&mut self.dealer, &mut self.lanes, self.limits.bytes);
        dealer.deal(rule, records.clone(), load, seats, |bytes| {
            spread.stick(lanes, batch, bytes)
        });
        spread.turn = turn;
        for group in dealer.groups.drain(..) {
            let lane = spread.lanes()[group.partition as usize];
            let chunk = Chunk::of(&group, slot, &records);
            lanes[lane as usize].push(chunk, group.bytes, now);
        }
        let at = (topic, load.pipeline);
        self.unplaced.add(at, slot, &dealer.refused, now);
    }
}
