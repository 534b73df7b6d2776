//! What came back: waves that are acknowledged, records that are refused, loads that are settled.
//!
//! A record that failed for its batch, its broker or its client goes again from its lane. What becomes of one that is refused for its own
//! sake stands in `refuse`; its load is settled only after that: no position passes a record that is neither confirmed nor safe elsewhere.

use std::time::{Duration, Instant};

use super::{LINGER, Running};
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::lane::Lane;
use crate::kafka::native::{Delivery, Ticket};
use crate::kafka::settings::{Acks, Linger};

/// How long a lane waits when its topic or the rights are at fault.
const WAIT: Duration = Duration::from_secs(1);
/// What each lane in which something waits adds to `linger: auto`. A wave costs a request of its own, whatever is in it: among a hundred lanes that
/// send as soon as they may, requests cost more than records.
const EACH: Duration = Duration::from_micros(500);

/// What delivery reports brought, until it is the loop's turn to look at it.
#[derive(Default)]
pub(super) struct Back {
    /// Slots whose last record was confirmed.
    pub finished: Vec<u32>,
    /// Lanes whose wave is wholly back.
    pub landed: Vec<u32>,
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
                if !self.waits.is_empty() {
                    self.moves_again(at as usize, now);
                }
                waves += 1;
            }
            for (ticket, reason, code) in end.refused {
                self.refuse(ticket, reason, code);
            }
            if let (Some(code), Some(transactions)) = (end.failed, &mut self.transactions) {
                transactions.fail(code);
                if end.again > 0 && !matches!(verdict(code), Verdict::Record(_)) {
                    self.lanes[at as usize].pause(now + Duration::from_millis(100));
                }
            }
            if let Some((_, code)) = end.wait {
                let topic = self.topics.home(at as usize).0.name.clone();
                self.waits.refused(&topic, code);
                self.producer.metadata.doubt(&topic);
                self.lanes[at as usize].pause(now + WAIT);
                self.miss(at as usize, code, now);
            } else if end.again > 0 && end.failed.is_none() && !end.searches {
                if let Some(code) = end.fault {
                    let (topic, partition) = self.topics.home(at as usize);
                    let topic = &topic.name;
                    if let Some(held_back) =
                        self.seldom.speak(&format!("{topic} {partition} {code}"))
                    {
                        tracing::info!(%topic, partition, %code, held_back, "records came back and are sent again");
                    }
                }
                self.lanes[at as usize].pause(now + Duration::from_millis(100));
            }
            if end.client {
                self.renew
                    .get_or_insert_with(|| "the client gave its records back".into());
            }
        }
        if waves > 0 {
            self.adapt();
            self.tell(waves);
        }
        self.place_refused(now);
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
    }

    /// How long `linger: auto` is now.
    fn adapt(&mut self) {
        if self.producer.settings.linger == Linger::Auto {
            let waiting = self.lanes.iter().filter(|lane| lane.backlog() > 0).count();
            let crowd = EACH * u32::try_from(waiting).unwrap_or(u32::MAX);
            self.limits.linger = self.ack_time.max(crowd).clamp(LINGER.0, LINGER.1);
        }
    }

    /// So many waves are acknowledged. Once for all that came back together: there may be many lanes.
    fn tell(&mut self, waves: u64) {
        self.backoff.reset();
        self.is_refused = false;
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
}
