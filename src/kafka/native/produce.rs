//! Batches to librdkafka without copying, and their delivery reports.
//!
//! [`Flight`] owns what librdkafka points into. Nothing in it can be changed or freed while a message of it is outstanding: that is
//! what makes the rest of the program safe to write without thinking of pointers.

use std::ffi::CString;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as rdsys;

use super::client::Native;
use super::elaborate;
use super::event::{Event, EventKind};
use crate::kafka::route::{Outgoing, Progress};

/// Names one record on its way: which load, which lane it goes through, which record of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// Below 2^20.
    pub slot: u32,
    /// Below 2^20.
    pub lane: u32,
    /// Below 2^24.
    pub record: u32,
}

const SLOT_BITS: u32 = 20;
const LANE_BITS: u32 = 20;
const RECORD_BITS: u32 = 24;

/// How many records one load may have: what fits a [`Ticket`].
pub const MOST_RECORDS: usize = (1 << RECORD_BITS) - 1;
/// How many loads may be held, and how many lanes there may be.
pub const MOST_SLOTS: usize = (1 << SLOT_BITS) - 1;

impl Ticket {
    /// Names something that is in no load: see [`Flight::send_apart`].
    const APART: Self = Self {
        slot: MOST_SLOTS as u32,
        lane: 0,
        record: 0,
    };

    pub(super) fn pack(self) -> *mut std::ffi::c_void {
        const { assert!(usize::BITS == 64, "tickets travel in a pointer of 64 bits") };
        let bits = (u64::from(self.slot) << (LANE_BITS + RECORD_BITS))
            | (u64::from(self.lane) << RECORD_BITS)
            | u64::from(self.record);
        std::ptr::without_provenance_mut(bits as usize)
    }

    pub(super) fn unpack(bits: *mut std::ffi::c_void) -> Self {
        let bits = bits.addr() as u64;
        Self {
            slot: (bits >> (LANE_BITS + RECORD_BITS)) as u32,
            lane: (bits >> RECORD_BITS) as u32 & ((1 << LANE_BITS) - 1),
            record: bits as u32 & ((1 << RECORD_BITS) - 1),
        }
    }
}

/// One delivery report.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub ticket: Ticket,
    /// Absent: confirmed (with acks 0: handed to the network).
    pub error: Option<RDKafkaErrorCode>,
}

impl Delivery {
    pub(super) fn of(message: &rdsys::rd_kafka_message_t) -> Self {
        let error = (message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
            .then(|| RDKafkaErrorCode::from(message.err));
        Self {
            ticket: Ticket::unpack(message._private),
            error,
        }
    }
}

/// A topic's handle.
pub struct Topic(NonNull<rdsys::rd_kafka_topic_t>);

// SAFETY: topic handles are counted and locked inside librdkafka.
unsafe impl Send for Topic {}

impl Topic {
    /// A handle of `name` on `client`.
    ///
    /// # Errors
    /// When the name has a NUL or librdkafka refuses it.
    pub fn new(client: &Native, name: &str) -> Result<Self, String> {
        let text = CString::new(name).map_err(|_| format!("topic name {name:?} has a NUL byte"))?;
        // SAFETY: the client and the text are alive; no topic configuration is given.
        let topic =
            unsafe { rdsys::rd_kafka_topic_new(client.ptr(), text.as_ptr(), std::ptr::null_mut()) };
        NonNull::new(topic)
            .map(Self)
            .ok_or_else(|| format!("librdkafka refuses the topic name {name:?}"))
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_topic_t {
        self.0.as_ptr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: this value owns one reference.
        unsafe { rdsys::rd_kafka_topic_destroy(self.0.as_ptr()) }
    }
}

/// A producer and everything it may still read from.
pub struct Flight {
    // Dropped first: when the client is gone no thread of librdkafka reads from the loads.
    native: Native,
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    scratch: Vec<rdsys::rd_kafka_message_t>,
    outstanding: usize,
    /// Of the messages that are in no load: how many are outstanding, and what the first one that failed came back with.
    apart: usize,
    apart_failed: Option<RDKafkaErrorCode>,
}

// SAFETY: the scratch's pointers are written and read only within `submit`; everything else is Send.
unsafe impl Send for Flight {}

struct Slot {
    load: Outgoing,
    /// Messages of this load that librdkafka holds.
    outstanding: u32,
}

impl Flight {
    pub fn new(native: Native) -> Self {
        Self {
            native,
            slots: Vec::new(),
            free: Vec::new(),
            scratch: Vec::new(),
            outstanding: 0,
            apart: 0,
            apart_failed: None,
        }
    }

    pub fn native(&self) -> &Native {
        &self.native
    }

    /// Takes a load over and gives the slot that names it, or gives it back when all slots are taken.
    ///
    /// # Errors
    /// The load, when all slots are taken or it has more than [`MOST_RECORDS`] records.
    pub fn hold(&mut self, load: Outgoing) -> Result<u32, Box<Outgoing>> {
        if load.batch.records.len() > MOST_RECORDS
            || (self.free.is_empty() && self.slots.len() >= MOST_SLOTS)
        {
            return Err(Box::new(load));
        }
        let slot = Some(Box::new(Slot {
            load,
            outstanding: 0,
        }));
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return Ok(at);
        }
        self.slots.push(slot);
        Ok(self.slots.len() as u32 - 1)
    }

    /// What a slot holds.
    pub fn load(&self, slot: u32) -> Option<&Outgoing> {
        self.slots
            .get(slot as usize)?
            .as_ref()
            .map(|slot| &slot.load)
    }

    /// Lays a slot's load out as its [`Outgoing::lay_out`] says. Not while librdkafka holds a message of it.
    pub fn lay_out(&mut self, slot: u32, order: &[u32]) -> bool {
        match self.slots.get_mut(slot as usize) {
            Some(Some(slot)) if slot.outstanding == 0 => slot.load.lay_out(order),
            _ => false,
        }
    }

    /// What became of a slot's records so far, to be changed.
    pub fn progress_mut(&mut self, slot: u32) -> Option<&mut Progress> {
        self.slots
            .get_mut(slot as usize)?
            .as_mut()
            .map(|slot| &mut slot.load.progress)
    }

    /// Gives a load back when librdkafka holds none of its messages.
    pub fn release(&mut self, slot: u32) -> Option<Outgoing> {
        let held = self.slots.get_mut(slot as usize)?;
        if held.as_ref().is_some_and(|slot| slot.outstanding > 0) {
            return None;
        }
        let load = held.take()?.load;
        self.free.push(slot);
        Some(load)
    }

    /// The slots that hold a load.
    pub fn held(&self) -> Vec<u32> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.is_some())
            .map(|(at, _)| at as u32)
            .collect()
    }

    /// How many messages librdkafka holds.
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Hands the records of `tickets` to librdkafka in this order, for one partition of `topic`. Those that it does not take are given
    /// to `refused` with the reason; they are not outstanding.
    pub fn submit(
        &mut self,
        topic: &Topic,
        partition: i32,
        tickets: &[Ticket],
        mut refused: impl FnMut(Ticket, RDKafkaErrorCode),
    ) {
        self.scratch.clear();
        for ticket in tickets {
            let Some(Some(slot)) = self.slots.get_mut(ticket.slot as usize) else {
                continue;
            };
            if slot.load.batch.extras.is_elaborate() {
                let record = ticket.record as usize;
                // SAFETY: as for the batch call below: the slot holds the load while a message of it is outstanding.
                let taken = unsafe {
                    elaborate::produce(
                        &self.native,
                        topic,
                        partition,
                        &slot.load,
                        record,
                        ticket.pack(),
                    )
                };
                match taken {
                    Ok(()) => {
                        slot.outstanding += 1;
                        self.outstanding += 1;
                    }
                    Err(code) => refused(*ticket, code),
                }
                continue;
            }
            let value = slot.load.batch.value(ticket.record as usize);
            let key = slot.load.key(ticket.record as usize);
            self.scratch.push(rdsys::rd_kafka_message_t {
                err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: std::ptr::null_mut(),
                partition,
                payload: value.as_ptr().cast_mut().cast(),
                len: value.len(),
                key: key.map_or(std::ptr::null_mut(), |key| key.as_ptr().cast_mut().cast()),
                key_len: key.map_or(0, <[u8]>::len),
                offset: 0,
                _private: ticket.pack(),
            });
            slot.outstanding += 1;
        }
        if self.scratch.is_empty() {
            return;
        }
        let count = i32::try_from(self.scratch.len()).unwrap_or(i32::MAX);
        // SAFETY: client and topic are alive. The payloads and keys lie in loads that this value holds: `release` gives none back
        // while a message of it is outstanding, nothing changes a load then, and on drop the client goes first. Without F_COPY and
        // F_FREE librdkafka only reads them. The scratch is not kept by librdkafka.
        let taken = unsafe {
            rdsys::rd_kafka_produce_batch(
                topic.0.as_ptr(),
                partition,
                0,
                self.scratch.as_mut_ptr(),
                count,
            )
        };
        self.outstanding += taken.max(0) as usize;
        if taken == count {
            return;
        }
        for message in &self.scratch {
            if message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                let ticket = Ticket::unpack(message._private);
                if let Some(Some(slot)) = self.slots.get_mut(ticket.slot as usize) {
                    slot.outstanding -= 1;
                }
                refused(ticket, message.err.into());
            }
        }
    }

    /// Hands over a message that belongs to no load; it is copied. How it ended is told by [`Flight::apart`].
    ///
    /// # Errors
    /// When librdkafka does not take it.
    pub fn send_apart(
        &mut self,
        topic: &Topic,
        partition: i32,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RDKafkaErrorCode> {
        let payload = value.map_or(std::ptr::null_mut(), |value| value.as_ptr().cast_mut());
        // SAFETY: client and topic are alive; with F_COPY librdkafka copies payload and key before it returns.
        let refused = unsafe {
            rdsys::rd_kafka_produce(
                topic.0.as_ptr(),
                partition,
                rdsys::RD_KAFKA_MSG_F_COPY,
                payload.cast(),
                value.map_or(0, <[u8]>::len),
                key.as_ptr().cast(),
                key.len(),
                Ticket::APART.pack(),
            )
        };
        if refused != 0 {
            // SAFETY: reads the thread's last error.
            return Err(unsafe { rdsys::rd_kafka_last_error() }.into());
        }
        self.outstanding += 1;
        self.apart += 1;
        Ok(())
    }

    /// How many of the messages that belong to no load are outstanding, and why the first one failed that did. Asking when none is
    /// outstanding begins anew.
    pub fn apart(&mut self) -> (usize, Option<RDKafkaErrorCode>) {
        let failed = if self.apart == 0 {
            self.apart_failed.take()
        } else {
            self.apart_failed
        };
        (self.apart, failed)
    }

    /// Serves one event: delivery reports go to `each`, anything else is given back. `None` when nothing came within `timeout`.
    /// A confirmed record is counted off its load here; `each` learns whether that was the load's last one.
    pub fn poll(
        &mut self,
        timeout: Duration,
        each: impl FnMut(Delivery, bool),
    ) -> Option<EventKind> {
        let event = self.native.poll(timeout)?;
        match event.kind() {
            EventKind::Deliveries => {
                self.deliver(&event, each);
                Some(EventKind::Deliveries)
            }
            other => Some(other),
        }
    }

    fn deliver(&mut self, event: &Event, mut each: impl FnMut(Delivery, bool)) {
        event.deliveries(|delivery| {
            self.outstanding = self.outstanding.saturating_sub(1);
            let mut finished = false;
            if let Some(Some(slot)) = self.slots.get_mut(delivery.ticket.slot as usize) {
                slot.outstanding = slot.outstanding.saturating_sub(1);
                if delivery.error.is_none() {
                    let left = &mut slot.load.progress.left;
                    *left = left.saturating_sub(1);
                    finished = *left == 0;
                }
            } else if delivery.ticket == Ticket::APART {
                // Its slot is none that there can be, so that ordinary records cost nothing here.
                self.apart = self.apart.saturating_sub(1);
                self.apart_failed = self.apart_failed.or(delivery.error);
                return;
            }
            each(delivery, finished);
        });
    }

    /// Makes librdkafka give everything up, and reports it, for at most `timeout`. Afterwards the loads go to another client with
    /// [`Flight::renew`].
    pub fn purge(&mut self, timeout: Duration, mut each: impl FnMut(Delivery, bool)) {
        let flags = rdsys::RD_KAFKA_PURGE_F_QUEUE
            | rdsys::RD_KAFKA_PURGE_F_INFLIGHT
            | rdsys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive.
        unsafe { rdsys::rd_kafka_purge(self.native.ptr(), flags) };
        let deadline = Instant::now() + timeout;
        while self.outstanding > 0 && Instant::now() < deadline {
            self.poll(Duration::from_millis(50), &mut each);
        }
    }

    /// Puts a new client in the place of the old one, which is closed first. The loads stay; what the old client had not reported is
    /// reported to nobody any more.
    pub fn renew(&mut self, native: Native) {
        self.native = native;
        self.outstanding = 0;
        (self.apart, self.apart_failed) = (0, None);
        for slot in self.slots.iter_mut().flatten() {
            slot.outstanding = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_its_way_through_a_pointer() {
        let ticket = Ticket {
            slot: (1 << SLOT_BITS) - 1,
            lane: (1 << LANE_BITS) - 2,
            record: (1 << RECORD_BITS) - 3,
        };
        assert_eq!(Ticket::unpack(ticket.pack()), ticket);
    }
}
