//! Records of a command line to librdkafka without copying, and what became of each.
//!
//! Like [`super::Flight`], for records that a person or a script named: with null values, headers and times of their own, and with reports
//! that say where each record stands. [`Courier`] owns what librdkafka points into: nothing in it is changed or freed while a message of
//! it is outstanding.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as rdsys;
use rdsys::rd_kafka_vtype_t as VType;
use rustix::event::{EventfdFlags, eventfd};

use super::client::Native;
use super::event::EventKind;
use super::produce::{MOST_RECORDS, MOST_SLOTS, Ticket, Topic};
use crate::kafka::console::parcel::Parcel;

type Value = rdsys::rd_kafka_vu_s__bindgen_ty_1;

/// What librdkafka writes into the descriptor when there is an event: the one that an eventfd takes.
static ONE: [u8; 8] = 1u64.to_ne_bytes();

/// What became of one record.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    pub ticket: Ticket,
    /// The line that the record was, counted from 1; 0 when its parcel is gone.
    pub line: u64,
    /// Absent: confirmed (with acks 0: handed to the network).
    pub error: Option<RDKafkaErrorCode>,
    /// Where it stands; -1 when nobody was asked.
    pub offset: i64,
    /// Milliseconds since 1970; -1 when there are none.
    pub timestamp_ms: i64,
}

/// A producer of one topic, what it may still read from, and a descriptor that is readable when there is an event.
pub struct Courier {
    // Topic handles go before the client that they belong to; when the client is gone no thread of librdkafka reads from the parcels.
    topic: Topic,
    native: Native,
    bell: OwnedFd,
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<u32>,
    scratch: Vec<rdsys::rd_kafka_message_t>,
    outstanding: usize,
}

struct Slot {
    parcel: Parcel,
    /// Messages of this parcel that librdkafka holds.
    outstanding: u32,
    /// Records whose end is not known.
    left: u32,
    /// One bit per record: its end is known.
    ended: Vec<u64>,
}

impl Courier {
    /// # Errors
    /// When librdkafka refuses the topic's name, or the system gives no descriptor.
    pub fn new(native: Native, topic: &str) -> Result<Self, String> {
        let topic = Topic::new(&native, topic)?;
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)
            .map_err(|error| format!("cannot make a descriptor to be woken by: {error}"))?;
        let queue = native.main_queue().ok_or("librdkafka gave no main queue")?;
        // SAFETY: queue, descriptor and payload are alive; the descriptor is taken back before it is closed, see drop. It does not block.
        unsafe {
            rdsys::rd_kafka_queue_io_event_enable(
                queue.ptr(),
                bell.as_raw_fd(),
                ONE.as_ptr().cast(),
                ONE.len(),
            );
        }
        Ok(Self {
            topic,
            native,
            bell,
            slots: Vec::new(),
            free: Vec::new(),
            scratch: Vec::new(),
            outstanding: 0,
        })
    }

    /// Readable when there is an event to [`Courier::poll`] for.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes a parcel over and gives the slot that names it, or gives it back when all slots are taken.
    ///
    /// # Errors
    /// The parcel, when all slots are taken or it has more than [`MOST_RECORDS`] records.
    pub fn hold(&mut self, parcel: Parcel) -> Result<u32, Box<Parcel>> {
        if parcel.len() > MOST_RECORDS || (self.free.is_empty() && self.slots.len() >= MOST_SLOTS) {
            return Err(Box::new(parcel));
        }
        let slot = Some(Box::new(Slot {
            left: parcel.len() as u32,
            ended: vec![0; parcel.len().div_ceil(64)],
            parcel,
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
    pub fn parcel(&self, slot: u32) -> Option<&Parcel> {
        let slot = self.slots.get(slot as usize)?.as_ref()?;
        Some(&slot.parcel)
    }

    /// The end of a record is known. A parcel whose records have all ended is given up.
    pub fn end(&mut self, ticket: Ticket) {
        let Some(held) = self.slots.get_mut(ticket.slot as usize) else {
            return;
        };
        let Some(open) = held else { return };
        let (word, bit) = (ticket.record as usize / 64, ticket.record % 64);
        let fresh = open
            .ended
            .get_mut(word)
            .is_some_and(|word| std::mem::replace(word, *word | 1 << bit) & 1 << bit == 0);
        open.left -= u32::from(fresh);
        if open.left == 0 && open.outstanding == 0 {
            *held = None;
            self.free.push(ticket.slot);
        }
    }

    /// The lines of the records whose end is not known, in order.
    pub fn open_lines(&self) -> Vec<u64> {
        let mut lines = Vec::new();
        for slot in self.slots.iter().flatten() {
            let open =
                (0..slot.parcel.len()).filter(|at| slot.ended[at / 64] & 1 << (at % 64) == 0);
            lines.extend(open.map(|record| slot.parcel.line(record)));
        }
        lines.sort_unstable();
        lines
    }

    /// Whether no parcel is held.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Bytes of the parcels that are held.
    pub fn held_bytes(&self) -> usize {
        let slots = self.slots.iter().flatten();
        slots.map(|slot| slot.parcel.bytes()).sum()
    }

    /// Hands the records of `tickets` to librdkafka in this order, for one partition. Those that it does not take are given to `refused`
    /// with the reason; they are not outstanding.
    pub fn submit(
        &mut self,
        partition: i32,
        tickets: &[Ticket],
        mut refused: impl FnMut(Ticket, RDKafkaErrorCode),
    ) {
        self.scratch.clear();
        for &ticket in tickets {
            let Some(Some(slot)) = self.slots.get_mut(ticket.slot as usize) else {
                continue;
            };
            let record = ticket.record as usize;
            if slot.parcel.is_elaborate() {
                // SAFETY: the slot holds the parcel while a message of it is outstanding, and nothing changes a parcel that is held.
                let taken = unsafe {
                    produce(
                        &self.native,
                        &self.topic,
                        partition,
                        &slot.parcel,
                        record,
                        ticket.pack(),
                    )
                };
                match taken {
                    Ok(()) => {
                        slot.outstanding += 1;
                        self.outstanding += 1;
                    }
                    Err(code) => refused(ticket, code),
                }
                continue;
            }
            let (value, value_len) = raw(slot.parcel.value(record));
            let (key, key_len) = raw(slot.parcel.key(record));
            self.scratch.push(rdsys::rd_kafka_message_t {
                err: RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                rkt: std::ptr::null_mut(),
                partition,
                payload: value,
                len: value_len,
                key,
                key_len,
                offset: 0,
                _private: ticket.pack(),
            });
            slot.outstanding += 1;
        }
        if self.scratch.is_empty() {
            return;
        }
        let count = i32::try_from(self.scratch.len()).unwrap_or(i32::MAX);
        // SAFETY: client and topic are alive. The payloads and keys lie in parcels that this value holds: none is given up while a message
        // of it is outstanding, nothing changes a held one, and on drop the client goes first. Without F_COPY and F_FREE librdkafka only
        // reads them. The scratch is not kept by librdkafka.
        let taken = unsafe {
            rdsys::rd_kafka_produce_batch(
                self.topic.ptr(),
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

    /// Serves one event: reports go to `each`, after the end of what was confirmed is noted; anything else is given back. `None` when nothing came within `timeout`.
    pub fn poll(&mut self, timeout: Duration, mut each: impl FnMut(Report)) -> Option<EventKind> {
        let mut rung = [0; 8];
        // Whether it was rung does not matter: the queue is looked at anyway.
        let _ = rustix::io::read(&self.bell, &mut rung);
        let event = self.native.poll(timeout)?;
        let kind = event.kind();
        if kind == EventKind::Deliveries {
            event.messages(|message| {
                let mut report = report(message);
                self.outstanding = self.outstanding.saturating_sub(1);
                if let Some(Some(slot)) = self.slots.get_mut(report.ticket.slot as usize) {
                    slot.outstanding = slot.outstanding.saturating_sub(1);
                    report.line = slot.parcel.line(report.ticket.record as usize);
                }
                if report.error.is_none() {
                    self.end(report.ticket);
                }
                each(report);
            });
        }
        Some(kind)
    }

    /// Makes librdkafka give up what it holds, so that dropping this does not wait for the network.
    pub fn purge(&self) {
        let flags = rdsys::RD_KAFKA_PURGE_F_QUEUE
            | rdsys::RD_KAFKA_PURGE_F_INFLIGHT
            | rdsys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the client is alive.
        unsafe { rdsys::rd_kafka_purge(self.native.ptr(), flags) };
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(queue) = self.native.main_queue() {
            // SAFETY: the queue is alive. Afterwards nothing is written into the descriptor, which is closed next.
            unsafe {
                rdsys::rd_kafka_queue_io_event_enable(queue.ptr(), -1, std::ptr::null(), 0);
            }
        }
    }
}

// SAFETY: the scratch's pointers are written and read only within `submit`; everything else is Send.
unsafe impl Send for Courier {}

/// Bytes as librdkafka takes them: null is a null pointer.
fn raw(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    bytes.map_or((std::ptr::null_mut(), 0), |bytes| {
        (bytes.as_ptr().cast_mut().cast(), bytes.len())
    })
}

fn report(message: &rdsys::rd_kafka_message_t) -> Report {
    let mut kind = rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive.
    let timestamp_ms = unsafe { rdsys::rd_kafka_message_timestamp(message, &mut kind) };
    Report {
        ticket: Ticket::unpack(message._private),
        line: 0,
        error: (message.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR)
            .then(|| message.err.into()),
        offset: message.offset,
        timestamp_ms,
    }
}

/// Hands over one record that has headers or a time of its own: the batch call takes neither. Key and value are not copied.
///
/// # Errors
/// Why librdkafka does not take it; then nothing of it is kept.
///
/// # Safety
/// When it is taken, `parcel` must neither change nor be freed until its report came or the client is gone.
unsafe fn produce(
    client: &Native,
    topic: &Topic,
    partition: i32,
    parcel: &Parcel,
    record: usize,
    ticket: *mut c_void,
) -> Result<(), RDKafkaErrorCode> {
    let memory = |bytes: Option<&[u8]>| {
        let (ptr, size) = raw(bytes);
        Value {
            mem: rdsys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size },
        }
    };
    let mut headers = parcel.headers(record).peekable();
    let list = match headers.peek() {
        None => std::ptr::null_mut(),
        // SAFETY: a new list, which librdkafka takes over below or which is destroyed here. Names and values are copied into it; a name
        // has its length, so that it may hold any byte.
        Some(_) => unsafe {
            let list = rdsys::rd_kafka_headers_new(4);
            for (name, value) in headers {
                let (value, size) = raw(value);
                rdsys::rd_kafka_header_add(
                    list,
                    name.as_ptr().cast(),
                    isize::try_from(name.len()).unwrap_or(0),
                    value,
                    isize::try_from(size).unwrap_or(0),
                );
            }
            list
        },
    };
    let none = rdsys::rd_kafka_vu_t {
        vtype: VType::RD_KAFKA_VTYPE_END,
        u: Value { i: 0 },
    };
    let mut arguments = [none; 8];
    let mut count = 0;
    let mut push = |vtype, u| {
        arguments[count] = rdsys::rd_kafka_vu_t { vtype, u };
        count += 1;
    };
    push(VType::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.ptr() });
    push(VType::RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition });
    push(VType::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: 0 });
    push(VType::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: ticket });
    push(VType::RD_KAFKA_VTYPE_VALUE, memory(parcel.value(record)));
    push(VType::RD_KAFKA_VTYPE_KEY, memory(parcel.key(record)));
    if let Some(timestamp) = parcel.timestamp(record) {
        push(VType::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: timestamp });
    }
    if !list.is_null() {
        push(VType::RD_KAFKA_VTYPE_HEADERS, Value { headers: list });
    }
    // SAFETY: client and topic are alive, every pointer is into `parcel`, and each argument has the type that its tag says. Without F_COPY
    // and F_FREE librdkafka only reads key and value, for which the caller answers. The list of headers is librdkafka's when the record is
    // taken, and ours when it is not.
    unsafe {
        let error = rdsys::rd_kafka_produceva(client.ptr(), arguments.as_ptr(), count);
        if error.is_null() {
            return Ok(());
        }
        let code: RDKafkaRespErr = rdsys::rd_kafka_error_code(error);
        rdsys::rd_kafka_error_destroy(error);
        if !list.is_null() {
            rdsys::rd_kafka_headers_destroy(list);
        }
        Err(code.into())
    }
}
