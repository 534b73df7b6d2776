//! Records whose topics do not exist: they wait apart, so that those for other topics flow, or are set aside after a while.
//!
//! Only for topics that data name. What waits is in flight: memory bounds it, as it bounds everything that is read. Within transactions nothing
//! waits so, since what is in one has to end with it: there the whole batch is held, as long as it may wait.
//!
//! Invariant: a record in here is in no lane, and nothing is dealt to its topic while it is here: order is kept.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Running;
use super::refuse::Unplaced;
use crate::kafka::metadata::TopicState;
use crate::kafka::native::Ticket;
use crate::kafka::partition::deal::{Hand, Records};

/// One word for counting.
const REASON: &str = "missing_topic";

/// Records without a topic, in the order in which they came.
#[derive(Default)]
pub(super) struct Missing {
    parked: Vec<Parked>,
    /// When a record for it came last, by topic.
    met: HashMap<Arc<str>, Instant>,
}

struct Parked {
    name: Arc<str>,
    pipeline: usize,
    slot: u32,
    records: Hand,
}

impl Missing {
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Whether records wait for this topic.
    pub fn has(&self, name: &Arc<str>) -> bool {
        self.parked.iter().any(|parked| parked.name == *name)
    }

    pub fn meet(&mut self, name: &Arc<str>, now: Instant) {
        self.met.insert(name.clone(), now);
    }

    /// What waits of a pipeline that stopped is left where it is.
    pub fn leave(&mut self, pipeline: usize) {
        self.parked.retain(|parked| parked.pipeline != pipeline);
    }

    fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.parked.iter().map(|it| it.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn take(&mut self, is_meant: impl Fn(&Parked) -> bool) -> Vec<Parked> {
        self.parked.extract_if(.., |it| is_meant(it)).collect()
    }

    /// Topics that nothing came for since `since`, and that nothing waits for.
    fn unused(&mut self, since: Instant) -> Vec<Arc<str>> {
        let parked = &self.parked;
        let is_unused = |name: &Arc<str>, met: &mut Instant| {
            *met < since && !parked.iter().any(|it| it.name == *name)
        };
        let unused = self.met.extract_if(|name, met| is_unused(name, met));
        unused.map(|(name, _)| name).collect()
    }
}

impl Running {
    /// Whether records of a pipeline may wait apart for a topic that does not answer as it should, while others flow.
    pub(super) fn may_park(&mut self, at: usize, name: &Arc<str>, is_made: bool) -> bool {
        is_made && (self.transactions.is_none() || self.is_overdue(at, name))
    }

    /// Whether a topic is missing for longer than a pipeline waits.
    fn is_overdue(&self, at: usize, name: &str) -> bool {
        let patience = self.pipelines[at].pipeline.dead_letter_after;
        let missing = self.producer.metadata.missing_for(name);
        patience.is_some_and(|patience| missing.is_some_and(|missing| missing >= patience))
    }

    /// Puts records apart until their topic is there.
    pub(super) fn park(&mut self, pipeline: usize, slot: u32, name: Arc<str>, records: Hand) {
        self.missing.parked.push(Parked {
            name,
            pipeline,
            slot,
            records,
        });
    }

    /// Deals out what waited for topics that there are by now, and sets aside what waited long enough.
    pub(super) fn house(&mut self, now: Instant) {
        if self.missing.is_empty() {
            return;
        }
        for name in self.missing.names() {
            match self.producer.metadata.topic(&name) {
                TopicState::Known(leaders) => {
                    let topic = match self.topics.open(self.flight.native(), &name) {
                        Ok(topic) => topic,
                        Err(error) => {
                            self.waits.say(&name, "name", &error);
                            continue;
                        }
                    };
                    if self.topics.is_held(topic) || self.shrinks(topic, leaders.len()) {
                        continue;
                    }
                    let (keeps, native) = (self.transactions.is_some(), self.flight.native());
                    (self.topics).lead(topic, leaders, &mut self.lanes, keeps, native);
                    for parked in self.missing.take(|it| it.name == name) {
                        let rule = self.pipelines[parked.pipeline].pipeline.route.rule;
                        self.deal(parked.slot, &rule, topic, &parked.records, now);
                    }
                }
                TopicState::Refused(_) | TopicState::Unknown => self.give_up_parked(&name),
            }
        }
        self.place_refused(now);
        if !self.back.finished.is_empty() {
            self.settle();
        }
    }

    fn give_up_parked(&mut self, name: &Arc<str>) {
        let overdue: Vec<_> = (0..self.pipelines.len())
            .map(|at| self.is_overdue(at, name) && !self.pipelines[at].halted)
            .collect();
        let parked = (self.missing).take(|it| it.name == *name && overdue[it.pipeline]);
        for Parked {
            pipeline,
            slot,
            records,
            ..
        } in parked
        {
            let ticket = |record| Ticket {
                slot,
                // They are in none.
                lane: 0,
                record,
            };
            let tickets = records.iter().map(ticket).collect();
            self.set_aside_missing(pipeline, name, tickets);
        }
    }

    fn set_aside_missing(&mut self, at: usize, name: &Arc<str>, tickets: Vec<Ticket>) {
        let missing = self.producer.metadata.missing_for(name);
        let missing = missing.unwrap_or_default().as_secs();
        let error =
            format!("the topic {name} does not exist, {missing} s after it was first asked for");
        let input = &self.pipelines[at].pipeline.name;
        if let Some(held_back) = self.seldom.speak(&format!("{input} {name} {REASON}")) {
            tracing::warn!(%input, topic = %name, held_back, records = tickets.len(), "{error}: records are set aside");
        }
        for ticket in tickets {
            self.set_aside(
                at,
                Unplaced {
                    ticket,
                    topic: name.clone(),
                    reason: REASON,
                    error: error.clone(),
                },
            );
        }
    }

    /// What waits in lanes for a topic that was deleted is set aside, too. And topics that were never there are forgotten when nothing comes
    /// for them any more: data may name any number.
    pub(super) fn look_at_missing(&mut self, now: Instant, unused: Duration) {
        if let Some(since) = now.checked_sub(unused) {
            for name in self.missing.unused(since) {
                if self.topics.find(&name).is_none() {
                    self.producer.metadata.forget(&name);
                    self.waits.forget(&name);
                }
            }
        }
        let is_patient = |way: &super::Way| way.pipeline.dead_letter_after.is_none();
        if self.transactions.is_some() || self.pipelines.iter().all(is_patient) {
            return;
        }
        for name in self.topics.names() {
            for at in 0..self.pipelines.len() {
                if !self.pipelines[at].halted && self.is_overdue(at, &name) {
                    let tickets = self.take_back(at, &name);
                    if !tickets.is_empty() {
                        self.set_aside_missing(at, &name, tickets);
                    }
                }
            }
        }
        self.place_refused(now);
        if !self.back.finished.is_empty() {
            self.settle();
        }
    }

    /// Takes a pipeline's records for a topic out of its lanes, but for those that are on their way.
    fn take_back(&mut self, at: usize, name: &Arc<str>) -> Vec<Ticket> {
        let Some(topic) = self.topics.find(name) else {
            return Vec::new();
        };
        let flight = &self.flight;
        let mut tickets = Vec::new();
        for &lane in self.topics[topic].spread.lanes() {
            tickets.extend(self.lanes[lane as usize].take_out(
                |slot| flight.load(slot).is_some_and(|load| load.pipeline == at),
                |ticket| {
                    let load = flight.load(ticket.slot);
                    load.map_or(0, |load| Records::weight(load, ticket.record))
                },
            ));
        }
        tickets
    }
}
