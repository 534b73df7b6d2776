//! Records to lanes: which partition each record of a batch goes to.
//!
//! Nearly always one decision holds for a run of records, and it goes to one lane as a range, at no cost per record. Where records have
//! topics of their own they are put together by topic first, once per batch, so that a hundred topics that take turns cost no more lookups
//! than a hundred batches. Within a lane the order in which batches were taken, and of records in them, is kept. A record that names no
//! partition waits apart: see `unassigned`.

use std::sync::Arc;
use std::time::Instant;

use super::Running;
use crate::flow::Batch;
use crate::kafka::lane::Chunk;
use crate::kafka::partition::Rule;
use crate::kafka::partition::deal::{Hand, Listed, Seats};
use crate::kafka::route::Route;

/// The topics of a batch, with their records.
pub(super) fn by_topic(batch: &Batch, route: &mut Route) -> Vec<(Arc<str>, Hand)> {
    let extras = &batch.extras;
    if extras.topics.is_empty() {
        let runs = batch.runs.iter();
        return runs
            .map(|run| (route.topic(run), Hand::Range(run.records.clone())))
            .collect();
    }
    if let [only] = &extras.topic_names[..] {
        let all = 0..batch.records.len() as u32;
        return vec![(only.clone(), Hand::Range(all))];
    }
    // Where the records of each topic begin in one list.
    let mut starts = vec![0; extras.topic_names.len()];
    for topic in &extras.topics {
        starts[*topic as usize] += 1;
    }
    let mut next = 0;
    for start in &mut starts {
        next += std::mem::replace(start, next);
    }
    let mut list = vec![0; next];
    for (record, topic) in (0..).zip(&extras.topics) {
        let at = &mut starts[*topic as usize];
        list[*at] = record;
        *at += 1;
    }
    // Each start is now the next one's.
    let list: Arc<[u32]> = list.into();
    let mut start = 0;
    let pieces = extras.topic_names.iter().zip(starts).map(|(name, end)| {
        let at = std::mem::replace(&mut start, end)..end;
        (name.clone(), Hand::List(Listed::piece(&list, at)))
    });
    pieces.collect()
}

impl Running {
    /// Holds a batch until its last record is confirmed, and gives every record of it to the lane of its partition.
    pub(super) fn route(&mut self, at: usize, batch: Batch) {
        let way = &mut self.pipelines[at];
        let mut load = way.pipeline.route.dress(batch, at);
        load.taken = self.taken;
        self.taken += 1;
        if load.progress.left == 0 {
            // Nothing but skipped bytes: settled as it is.
            let outcome = load.outcome(true);
            load.batch.receipt.settle(&outcome);
            return;
        }
        let mut by_topic = by_topic(&load.batch, &mut way.pipeline.route);
        if let [(_, Hand::List(first)), _, ..] = &by_topic[..]
            && load.lay_out(first.whole())
        {
            for (_, records) in &mut by_topic {
                if let Hand::List(listed) = records {
                    *records = Hand::Range(listed.places());
                }
            }
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
        for (name, records) in by_topic {
            self.assign(at, slot, name, records, now);
        }
        self.house(now);
        self.assign_rest(now);
    }

    /// Gives the records of one topic to their lanes.
    fn assign(&mut self, at: usize, slot: u32, name: Arc<str>, records: Hand, now: Instant) {
        match self.topics.find(&name) {
            Some(topic) if !self.missing.has(&name) => {
                self.topics[topic].used = now;
                let rule = self.pipelines[at].pipeline.route.rule;
                self.deal(slot, &rule, topic, &records, now);
            }
            _ => self.park(at, slot, name, records),
        }
    }

    /// Gives records of a load to the lanes of a topic's partitions, in their order.
    pub(super) fn deal(
        &mut self,
        slot: u32,
        rule: &Rule,
        topic: usize,
        records: &Hand,
        now: Instant,
    ) {
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
        dealer.deal(rule, records, load, seats, |bytes| {
            spread.stick(lanes, batch, bytes)
        });
        spread.turn = turn;
        let at = (topic, load.pipeline);
        self.unassigned.add(at, slot, &dealer.refused, now);
        // An order of all records: nobody else knows one of them by its number.
        let is_laid_out = (dealer.order()).is_some_and(|order| self.flight.lay_out(slot, order));
        for group in dealer.groups.drain(..) {
            let lane = spread.lanes()[group.partition as usize];
            let bytes = group.bytes;
            let chunk = match &group.records {
                Some(listed) if is_laid_out => Chunk::Range {
                    slot,
                    records: listed.places(),
                },
                _ => Chunk::of(group, slot, records),
            };
            lanes[lane as usize].push(chunk, bytes, now);
        }
    }
}
