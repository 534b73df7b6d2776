//! Taking batches: each pipeline's way into the producer, and when it is its turn.
//!
//! A pipeline may run on this cluster or not (asked once, when the cluster's id is known); its topics must be known; and one of their lanes
//! must be hungry. Until then its batch is held here and nothing more is taken from its pipe, which is what makes its source wait.

use std::sync::Arc;
use std::time::Instant;

use super::refuse::Refusals;
use super::{Pipeline, ProducerState, Running};
use crate::flow::{Batch, Received};
use crate::kafka::metadata::TopicState;
use crate::kafka::route::Route;

/// A pipeline and where it stands.
pub(super) struct Way {
    pub pipeline: Pipeline,
    /// Taken from the pipe, and not yet routed because its topic is not known or its lanes are full.
    pub held: Option<Batch>,
    closed: bool,
    admitted: bool,
    pub halted: bool,
    /// Its records that Kafka refused and that are not set aside yet. Nothing is taken meanwhile.
    pub refusals: Refusals,
    /// What it waits for, so that it is said once.
    waiting_for: Option<String>,
}

impl Running {
    /// Takes what the pipes offer while there is room for it.
    pub(super) fn take_batches(&mut self) {
        let mut took = true;
        while took {
            took = false;
            for at in 0..self.pipelines.len() {
                took |= self.take_one(at);
            }
        }
    }

    fn take_one(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        if way.halted || !way.refusals.waiting.is_empty() {
            return false;
        }
        if way.held.is_none() {
            match way.pipeline.batches.try_recv() {
                Received::Item(batch) => way.held = Some(batch),
                Received::Empty => return false,
                Received::Closed => {
                    way.closed = true;
                    return false;
                }
            }
        }
        if self.unassigned.has_of(at) || !self.may_take() || !self.admit(at) || !self.has_room(at) {
            return false;
        }
        let Some(batch) = self.pipelines[at].held.take() else {
            return false;
        };
        self.route(at, batch);
        true
    }

    pub(super) fn admit(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        if way.admitted {
            return true;
        }
        let Some(cluster) = self.producer.metadata.cluster_id() else {
            // The topic is asked for meanwhile.
            if let Some(batch) = &way.held {
                for name in names(batch, &mut way.pipeline.route) {
                    self.producer.metadata.topic(&name);
                }
            }
            return false;
        };
        match (way.pipeline.admit)(&cluster) {
            Ok(()) => way.admitted = true,
            Err(why) => way.halt(&self.producer.state, why),
        }
        way.admitted
    }

    /// Whether the held batch's topics are known and one of their lanes is hungry.
    fn has_room(&mut self, at: usize) -> bool {
        let way = &mut self.pipelines[at];
        let Some(batch) = &way.held else { return false };
        let is_made = !batch.extras.topics.is_empty() || way.pipeline.route.names_topics();
        for name in names(batch, &mut way.pipeline.route) {
            let way = &mut self.pipelines[at];
            let state = self.producer.metadata.topic(&name);
            let leaders = match state {
                TopicState::Known(leaders) => leaders,
                TopicState::Unknown => return false,
                TopicState::Refused(code) => {
                    self.waits.refused(&name, code);
                    if self.may_park(at, &name, is_made) {
                        self.missing.meet(&name, Instant::now());
                        continue;
                    }
                    return false;
                }
            };
            way.waiting_for = None;
            let topic = match self.topics.open(self.flight.native(), &name) {
                Ok(topic) => topic,
                Err(error) => {
                    way.wait_for(error);
                    return false;
                }
            };
            if self.topics.is_held(topic) || self.shrinks(topic, leaders.len()) {
                return false;
            }
            let keeps = self.transactions.is_some();
            let native = self.flight.native();
            (self.topics).lead(topic, leaders, &mut self.lanes, keeps, native);
            let is_hungry =
                |lane: &u32| self.lanes[*lane as usize].pending_bytes() < self.limits.bytes;
            if !self.topics[topic].spread.lanes().iter().any(is_hungry) {
                return false;
            }
        }
        true
    }
}

/// The topics of a batch's records. Runs that follow each other mostly have the same.
fn names(batch: &Batch, route: &mut Route) -> Vec<Arc<str>> {
    if !batch.extras.topics.is_empty() {
        return batch.extras.topic_names.clone();
    }
    let mut names: Vec<_> = batch.runs.iter().map(|run| route.topic(run)).collect();
    names.dedup();
    names
}

impl Way {
    pub fn new(pipeline: Pipeline) -> Self {
        Self {
            pipeline,
            held: None,
            closed: false,
            admitted: false,
            halted: false,
            refusals: Refusals::default(),
            waiting_for: None,
        }
    }

    pub fn done(&self) -> bool {
        self.halted || (self.closed && self.held.is_none())
    }

    /// The pipeline stops for good; the others go on.
    pub fn halt(&mut self, state: &ProducerState, why: String) {
        tracing::error!(input = %self.pipeline.name, why, "this input stops");
        self.halted = true;
        let name = self.pipeline.name.clone();
        state.change(|view| view.halted.push((name, why)));
    }

    /// Says once what the pipeline waits for.
    fn wait_for(&mut self, what: String) {
        if self.waiting_for.as_ref() != Some(&what) {
            tracing::warn!(input = %self.pipeline.name, "{what}; lines wait");
            self.waiting_for = Some(what);
        }
    }
}
