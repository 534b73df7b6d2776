//! Records that are refused for their own sake, and what `on_refused` makes of them.
//!
//! Its neighbours were sent on before it came here: a refused record holds up no other. One that is to be set aside and cannot be (the dead
//! letters are full, the disk fails) stays in memory, and its pipeline pauses: nothing more is taken from it, which makes its source wait,
//! until there is room. Other pipelines do not notice.
//!
//! Invariant: a record is counted as set aside only after it is durable elsewhere, all others of one call with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::{OnRefused, Refused, Running};
use crate::kafka::native::{Flight, Ticket};
use crate::kafka::properties::RECORD_WIRE_OVERHEAD;

/// How long a pipeline whose record cannot be set aside waits before it is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// So many records are set aside at once at most: one call waits for the disk, and all pipelines of the producer with it.
const AT_ONCE: usize = 1000;

/// A refused record that is not set aside yet.
pub(super) struct Unplaced {
    pub ticket: Ticket,
    pub topic: Arc<str>,
    /// One word for counting.
    pub reason: &'static str,
    /// For people.
    pub error: String,
}

/// What waits to be set aside.
#[derive(Default)]
pub(super) struct Refusals {
    pub waiting: Vec<Unplaced>,
    /// When setting aside failed, and is tried again.
    pub retry: Option<Instant>,
}

impl Running {
    /// A record is refused for its own sake: it is dealt with as its pipeline wants.
    pub(super) fn refuse(&mut self, ticket: Ticket, reason: &'static str, code: RDKafkaErrorCode) {
        let topic = self.topics.home(ticket.lane as usize).0.name.clone();
        self.end_refused(ticket, topic, reason, code.to_string());
    }

    /// As [`Running::refuse`], whoever refuses it; the ticket's lane does not matter.
    pub(super) fn end_refused(
        &mut self,
        ticket: Ticket,
        topic: Arc<str>,
        reason: &'static str,
        error: String,
    ) {
        let Some(load) = self.flight.load(ticket.slot) else {
            return;
        };
        let at = load.pipeline;
        let record = ticket.record as usize;
        let path = load.batch.run_of(record).origin.path.clone();
        let offset = load.batch.position_of(record);
        let way = &self.pipelines[at];
        if way.halted {
            // It stopped for another one that came back with this one.
            return;
        }
        let input = &way.pipeline.name;
        if let Some(held_back) = self.seldom.speak(&format!("{input} {reason}")) {
            let path = path
                .as_deref()
                .map(Path::display)
                .map(tracing::field::display);
            tracing::warn!(%input, %topic, path, offset, %error, reason, held_back, "a record is refused");
        }
        if way.pipeline.on_refused == OnRefused::Stop {
            let place = match &path {
                Some(path) => format!("{} at byte {offset}", path.display()),
                None => format!("byte {offset} of what was read"),
            };
            self.stop_for(at, format!("the record of topic {topic} from {place} is refused ({error}), and on_refused is stop"));
            return;
        }
        self.give_up(
            at,
            Unplaced {
                ticket,
                topic,
                reason,
                error,
            },
        );
    }

    /// A record that will not reach Kafka is dropped, or waits to be set aside.
    pub(super) fn give_up(&mut self, at: usize, unplaced: Unplaced) {
        let ticket = unplaced.ticket;
        if self.pipelines[at].pipeline.on_refused != OnRefused::Drop {
            self.set_aside(at, unplaced);
            return;
        }
        self.is_gone(ticket);
        let count =
            (self.flight.load(ticket.slot)).map(|load| load.batch.count_of(ticket.record as usize));
        if let (Some(count), Some(progress)) = (count, self.flight.progress_mut(ticket.slot)) {
            progress.dropped(count, unplaced.reason);
            if progress.left == 0 {
                self.back.finished.push(ticket.slot);
            }
        }
    }

    /// A record that will not reach Kafka waits to be set aside.
    pub(super) fn set_aside(&mut self, at: usize, unplaced: Unplaced) {
        self.is_gone(unplaced.ticket);
        self.pipelines[at].refusals.waiting.push(unplaced);
    }

    fn is_gone(&mut self, ticket: Ticket) {
        if let Some(transactions) = &mut self.transactions {
            transactions.gone.insert((ticket.slot, ticket.record));
        }
    }

    /// Whether a refused record waits to be set aside.
    pub(super) fn has_unplaced(&self) -> bool {
        (self.pipelines.iter()).any(|way| !way.refusals.waiting.is_empty())
    }

    /// When it is tried again to set aside what could not be.
    pub(super) fn place_due(&self) -> Option<Instant> {
        let ways = self.pipelines.iter().filter(|way| !way.halted);
        ways.filter_map(|way| way.refusals.retry).min()
    }

    /// Sets aside what waits for that.
    pub(super) fn place_refused(&mut self, now: Instant) {
        for at in 0..self.pipelines.len() {
            let way = &mut self.pipelines[at];
            let is_due = way.refusals.retry.is_none_or(|retry| retry <= now);
            if way.halted || way.refusals.waiting.is_empty() || !is_due {
                continue;
            }
            while !self.pipelines[at].refusals.waiting.is_empty() {
                if let Err(why) = self.place_some(at) {
                    self.pause(at, now, why);
                    break;
                }
            }
            let way = &mut self.pipelines[at];
            if way.refusals.waiting.is_empty() && way.refusals.retry.take().is_some() {
                let name = way.pipeline.name.clone();
                tracing::info!(input = %name, "refused records are set aside again; the input goes on");
                (self.producer.state)
                    .change(|view| view.paused.retain(|(other, _)| *other != name));
            }
        }
    }

    fn place_some(&mut self, at: usize) -> Result<(), String> {
        let way = &mut self.pipelines[at];
        let some = way.refusals.waiting.len().min(AT_ONCE);
        let letters: Vec<Refused<'_>> = (way.refusals.waiting[..some].iter())
            .filter_map(|unplaced| letter(&self.flight, unplaced))
            .collect();
        (way.pipeline.set_aside)(&letters)?;
        for unplaced in way.refusals.waiting.drain(..some) {
            let Ticket { slot, record, .. } = unplaced.ticket;
            let load = self.flight.load(slot);
            let count = load.map(|load| load.batch.count_of(record as usize));
            if let (Some(count), Some(progress)) = (count, self.flight.progress_mut(slot)) {
                progress.dead_lettered(count);
                if progress.left == 0 {
                    self.back.finished.push(slot);
                }
            }
        }
        Ok(())
    }

    fn pause(&mut self, at: usize, now: Instant, why: String) {
        let way = &mut self.pipelines[at];
        way.refusals.retry = Some(now + RETRY);
        let name = way.pipeline.name.clone();
        if let Some(held_back) = self.seldom.speak(&format!("{name} is paused")) {
            tracing::error!(input = %name, error = why, held_back, "a refused record cannot be set aside; this input waits, the others go on");
        }
        self.producer.state.change(|view| {
            view.paused.retain(|(other, _)| *other != name);
            view.paused.push((name, why));
        });
    }

    /// The pipeline stops for good, and nothing more of it is sent: it would be sent again at the next start.
    pub(super) fn stop_for(&mut self, at: usize, why: String) {
        self.missing.leave(at);
        self.pipelines[at].halt(&self.producer.state, why);
        let flight = &self.flight;
        let load = |slot| flight.load(slot);
        for lane in &mut self.lanes {
            lane.take_out(
                |slot| load(slot).is_some_and(|load| load.pipeline == at),
                |ticket| {
                    load(ticket.slot).map_or(0, |load| load.weight(ticket.record as usize))
                        + RECORD_WIRE_OVERHEAD
                },
            );
        }
    }
}

/// What a refused record is told as.
fn letter<'a>(flight: &'a Flight, unplaced: &'a Unplaced) -> Option<Refused<'a>> {
    let load = flight.load(unplaced.ticket.slot)?;
    let record = unplaced.ticket.record as usize;
    let headers = load.batch.extras.headers_of(record);
    Some(Refused {
        headers: headers
            .map(|(name, value)| {
                let name = name.to_string_lossy().into_owned();
                (name, value)
            })
            .collect(),
        place: load.place(record),
        timestamp_ms: load.batch.extras.timestamps.get(record).copied(),
        topic: &unplaced.topic,
        key: load.key(record),
        value: load.batch.value(record),
        path: load.batch.run_of(record).origin.path.as_deref(),
        offset: load.batch.position_of(record),
        reason: unplaced.reason,
        error: &unplaced.error,
    })
}
