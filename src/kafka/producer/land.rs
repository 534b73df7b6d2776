//! What came back: waves that are acknowledged, records that are refused, loads that are settled.
//!
//! A record that failed for its batch, its broker or its client goes again from its lane. One that is refused for its own sake is dealt
//! with as `on_refused` says, and its load is settled only after that: no position passes a record that is neither confirmed nor safe
//! elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::{LINGER, OnRefused, Refused, Running};
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::lane::Lane;
use crate::kafka::native::{Delivery, Ticket};
use crate::kafka::settings::{Acks, Linger};

/// How long a lane waits when its topic or the rights are at fault.
const WAIT: Duration = Duration::from_secs(1);

/// What delivery reports brought, until it is the loop's turn to look at it.
#[derive(Default)]
pub(super) struct Back {
    /// Slots whose last record was confirmed.
    pub finished: Vec<u32>,
    /// Lanes whose wave is wholly back.
    pub landed: Vec<u32>,
}

/// What became of a refused record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Accounted,
    /// It cannot be set aside now.
    Waits,
    /// Its pipeline stops for good.
    Halted,
}

impl Back {
    /// Notes one delivery report.
    pub fn take(&mut self, lanes: &mut [Lane], delivery: Delivery, last_of_load: bool) {
        let Ticket { lane, slot, .. } = delivery.ticket;
        if last_of_load {
            self.finished.push(slot);
        }
        if lanes[lane as usize].came_back(delivery.ticket, delivery.error) {
            self.landed.push(lane);
        }
    }
}

impl Running {
    /// Decides what becomes of the waves that are wholly back.
    pub(super) fn land(&mut self) {
        let (now, mut waves) = (Instant::now(), 0);
        for at in std::mem::take(&mut self.back.landed) {
            let end = self.lanes[at as usize].end_wave(now);
            if end.again == 0 && end.refused.is_empty() {
                self.acknowledged(end.took);
                waves += 1;
            }
            for (ticket, reason, code) in end.refused {
                let is_gone = self.refuse(ticket, reason, code, now);
                if let Some(transactions) = &mut self.transactions
                    && is_gone
                {
                    transactions.gone.insert((ticket.slot, ticket.record));
                }
            }
            if let (Some(code), Some(transactions)) = (end.failed, &mut self.transactions) {
                transactions.fail(code);
                if end.again > 0 && !matches!(verdict(code), Verdict::Record(_)) {
                    self.lanes[at as usize].pause(now + Duration::from_millis(100));
                }
            }
            if let Some((why, code)) = end.wait {
                let (topic, partition) = self.topics.home(at as usize);
                let topic = &topic.name;
                tracing::warn!(%topic, partition, %code, "records wait: {why}");
                self.producer.metadata.doubt(topic);
                self.lanes[at as usize].pause(now + WAIT);
            } else if end.again > 0 && end.failed.is_none() {
                self.lanes[at as usize].pause(now + Duration::from_millis(100));
            }
            if end.client {
                self.renew
                    .get_or_insert_with(|| "the client gave its records back".into());
            }
        }
        if waves > 0 {
            self.tell(waves);
        }
    }

    /// Settles the loads of which every record has come to its end.
    pub(super) fn settle(&mut self) {
        if self.transactions.is_some() {
            // Confirmed is not decided: see `transact`.
            self.back.finished.clear();
            return;
        }
        for slot in std::mem::take(&mut self.back.finished) {
            let Some(load) = self.flight.release(slot) else {
                continue;
            };
            let outcome = load.outcome(self.producer.settings.acks != Acks::None);
            load.batch.receipt.settle(&outcome);
        }
    }

    fn acknowledged(&mut self, took: Duration) {
        self.ack_time = if self.ack_time.is_zero() {
            took
        } else {
            (self.ack_time * 7 + took) / 8
        };
        if self.producer.settings.linger == Linger::Auto {
            self.limits.linger = self.ack_time.clamp(LINGER.0, LINGER.1);
        }
    }

    /// So many waves are acknowledged. Once for all that came back together: there may be many lanes.
    fn tell(&mut self, waves: u64) {
        self.backoff.reset();
        let (ack_time, outstanding) = (self.ack_time, self.flight.outstanding());
        let outstanding_bytes = self.lanes.iter().map(Lane::wave_bytes).sum();
        self.producer.state.change(|view| {
            view.last_error = None;
            view.ack_time = ack_time;
            view.outstanding = outstanding;
            view.outstanding_bytes = outstanding_bytes;
            view.waves += waves;
        });
        self.producer.metadata.answered();
    }

    /// Kafka refuses a record for its own sake. `true` when it is accounted for.
    fn refuse(
        &mut self,
        ticket: Ticket,
        reason: &'static str,
        code: RDKafkaErrorCode,
        now: Instant,
    ) -> bool {
        let topic = self.topics.home(ticket.lane as usize).0.name.clone();
        let record = (ticket.slot, ticket.record);
        let ended = self.end_refused(record, &topic, reason, &code.to_string());
        if ended == Ended::Waits {
            let lane = &mut self.lanes[ticket.lane as usize];
            if self.transactions.is_none() {
                lane.send_again(ticket);
            }
            lane.pause(now + 5 * WAIT);
        }
        ended == Ended::Accounted
    }

    /// Deals with a refused record, named by its slot and number, as `on_refused` says.
    pub(super) fn end_refused(
        &mut self,
        (slot, record): (u32, u32),
        topic: &str,
        reason: &'static str,
        error: &str,
    ) -> Ended {
        let Some(load) = self.flight.load(slot) else {
            return Ended::Halted;
        };
        let record = record as usize;
        let count = load.batch.count_of(record);
        let way = &mut self.pipelines[load.pipeline];
        let path = load
            .batch
            .run_of(record)
            .origin
            .path
            .as_deref()
            .map(Path::to_path_buf);
        let offset = load.batch.position_of(record);
        let input = way.pipeline.name.clone();
        tracing::warn!(%input, %topic, ?path, offset, %error, reason, "a record is refused");
        match way.pipeline.on_refused {
            OnRefused::Stop => {
                way.halt(
                    &self.producer.state,
                    format!(
                        "a record is refused ({error}) and on_refused is stop: {path:?} at {offset}"
                    ),
                );
                return Ended::Halted;
            }
            OnRefused::Drop => {
                if let Some(progress) = self.flight.progress_mut(slot) {
                    progress.dropped(count, reason);
                }
            }
            OnRefused::DeadLetter => {
                let (key, value) = (load.key(record), load.batch.value(record));
                let headers = load.batch.extras.headers_of(record);
                let headers = headers.map(|(name, value)| {
                    let name = name.to_string_lossy().into_owned();
                    (name, value.to_vec())
                });
                let refused = Refused {
                    headers: headers.collect(),
                    topic,
                    key,
                    value,
                    path,
                    offset,
                    reason,
                    error: error.to_owned(),
                };
                if let Err(error) = (way.pipeline.set_aside)(&refused) {
                    tracing::error!(%input, %error, "a refused record cannot be set aside; it waits, and what comes behind it");
                    return Ended::Waits;
                }
                if let Some(progress) = self.flight.progress_mut(slot) {
                    progress.dead_lettered(count);
                }
            }
        }
        if self
            .flight
            .load(slot)
            .is_some_and(|load| load.progress.left == 0)
        {
            self.back.finished.push(slot);
        }
        Ended::Accounted
    }
}
