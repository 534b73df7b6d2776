//! A topic that was made again: what waits for it goes to the partitions that it has now.
//!
//! A topic that is gone may come back with other partitions, so nothing is sent to it until it was asked for again. What is on its way is let
//! come back first. Then all that waits is put into the order in which it was taken, and every record finds its partition anew, so that no line
//! overtakes an earlier one of its file to the same partition, and those of one key go to one.

use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::Running;
use crate::kafka::metadata::TopicState;
use crate::kafka::partition::deal::{Hand, Listed};

/// What was on its way to a partition that is gone is not waited for any longer.
const LOST: Duration = Duration::from_secs(60);

impl Running {
    /// A lane's records came back with `code`: when that is because its partition is gone, its topic has to be asked for again.
    pub(super) fn miss(&mut self, lane: usize, code: RDKafkaErrorCode, now: Instant) {
        use RDKafkaErrorCode as Code;
        if matches!(
            code,
            Code::UnknownPartition | Code::UnknownTopicOrPartition | Code::UnknownTopic
        ) {
            self.hold(self.topics.number_of(lane), now);
        }
    }

    /// Takes note when a topic has fewer partitions than it had. `true`: nothing is sent to it for now.
    pub(super) fn shrinks(&mut self, topic: usize, partitions: usize) -> bool {
        let shrinks = partitions < self.topics[topic].spread.lanes().len();
        if shrinks {
            let asked = self.producer.metadata.asked(&self.topics[topic].name);
            self.hold(topic, asked.unwrap_or_else(Instant::now));
        }
        shrinks
    }

    fn hold(&mut self, topic: usize, since: Instant) {
        if self.topics.hold(topic, since)
            && let Some(transactions) = &mut self.transactions
        {
            // What is in a transaction cannot move.
            let why = || {
                format!(
                    "topic {} is gone, or was made again",
                    self.topics[topic].name
                )
            };
            transactions.failed.get_or_insert_with(why);
        }
    }

    /// Moves what can be moved now.
    pub(super) fn rehome(&mut self) {
        for (topic, since) in self.topics.held() {
            if self.rehomed(topic, since) {
                self.topics.unhold(topic);
            }
        }
    }

    fn rehomed(&mut self, topic: usize, since: Instant) -> bool {
        let name = self.topics[topic].name.clone();
        let asked = self.producer.metadata.asked(&name);
        if asked.is_none_or(|asked| asked < since) {
            return false;
        }
        let TopicState::Known(leaders) = self.producer.metadata.topic(&name) else {
            return false;
        };
        let lanes = self.topics[topic].spread.lanes().to_vec();
        let (partitions, before) = (leaders.len(), lanes.len());
        if partitions == before {
            return true;
        }
        let now = Instant::now();
        let is_lost = |lane: &u32| {
            let sent = self.lanes[*lane as usize].sent_at();
            sent.is_some_and(|sent| now > sent + LOST)
        };
        if lanes.iter().skip(partitions).any(is_lost) {
            self.renew.get_or_insert_with(|| {
                format!("topic {name}: what was on its way to partitions that are gone does not come back")
            });
        }
        let is_busy = |lane: &u32| self.lanes[*lane as usize].busy();
        if lanes.iter().any(is_busy) || !self.is_between_transactions() {
            return false;
        }
        let waiting = lanes
            .iter()
            .flat_map(|lane| self.lanes[*lane as usize].drain());
        let mut waiting: Vec<_> = waiting.collect();
        let order = |slot| self.flight.load(slot).map(|load| load.taken);
        waiting.sort_by_cached_key(|ticket| (order(ticket.slot), ticket.record));
        tracing::warn!(topic = %name, before, partitions, records = waiting.len(), "the topic was made again with other partitions; what waits for it is spread anew");
        let keeps = self.transactions.is_some();
        self.topics[topic].spread.shrink(partitions);
        let native = self.flight.native();
        (self.topics).lead(topic, leaders, &mut self.lanes, keeps, native);
        for of_load in waiting.chunk_by(|one, next| one.slot == next.slot) {
            let slot = of_load[0].slot;
            let Some(load) = self.flight.load(slot) else {
                continue;
            };
            let rule = self.pipelines[load.pipeline].pipeline.route.rule;
            let records: Listed = of_load.iter().map(|ticket| ticket.record).collect();
            self.deal(slot, &rule, topic, &Hand::List(records), now);
        }
        true
    }
}
