//! What comes out of a client's main queue.

use std::ptr::NonNull;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::text;
use super::offsets::{self, PartitionOffset};
use super::produce::Delivery;

/// One event. Freed on drop.
pub struct Event(NonNull<rdsys::rd_kafka_event_t>);

// SAFETY: an event belongs to whoever took it from the queue; librdkafka ties it to no thread.
unsafe impl Send for Event {}

/// What an event tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// Delivery reports: `Flight::poll` hands them out.
    Deliveries,
    /// A client-wide error, and whether it ends the client.
    Error {
        code: RDKafkaErrorCode,
        text: String,
        fatal: bool,
    },
    /// A line of librdkafka's log: syslog level (0-7), facility, text.
    Log {
        level: i32,
        facility: String,
        text: String,
    },
    /// Statistics as JSON.
    Statistics(String),
    /// The group's assignment changes: its partitions are read from the event. The code says how.
    Rebalance(RDKafkaErrorCode),
    /// Offsets were committed, or not: its partitions are read from the event and [`Event::token`].
    Committed(Option<RDKafkaErrorCode>),
    /// A message, or an error of a partition, that should have come to the queue of messages: see [`super::Member::fetch_back`].
    Strayed { topic: String, partition: i32 },
    /// Nothing for us.
    Other,
}

impl Event {
    /// Takes over the event; `None` for a null pointer.
    ///
    /// # Safety
    /// `event` is a new event that nobody else frees, or null.
    pub(super) unsafe fn from_ptr(event: *mut rdsys::rd_kafka_event_t) -> Option<Self> {
        NonNull::new(event).map(Self)
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_event_t {
        self.0.as_ptr()
    }

    pub fn kind(&self) -> EventKind {
        if let Some((topic, partition)) = self.strayed() {
            return EventKind::Strayed { topic, partition };
        }
        // SAFETY: the event is alive; every accessor is called on its own kind only, and texts are copied before it is freed.
        unsafe {
            match rdsys::rd_kafka_event_type(self.ptr()) {
                rdsys::RD_KAFKA_EVENT_DR => EventKind::Deliveries,
                rdsys::RD_KAFKA_EVENT_ERROR => EventKind::Error {
                    code: rdsys::rd_kafka_event_error(self.ptr()).into(),
                    text: text(rdsys::rd_kafka_event_error_string(self.ptr())),
                    fatal: rdsys::rd_kafka_event_error_is_fatal(self.ptr()) != 0,
                },
                rdsys::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut line, mut level) =
                        (std::ptr::null(), std::ptr::null(), 0);
                    rdsys::rd_kafka_event_log(self.ptr(), &mut facility, &mut line, &mut level);
                    EventKind::Log {
                        level,
                        facility: text(facility),
                        text: text(line),
                    }
                }
                rdsys::RD_KAFKA_EVENT_STATS => {
                    EventKind::Statistics(text(rdsys::rd_kafka_event_stats(self.ptr())))
                }
                rdsys::RD_KAFKA_EVENT_REBALANCE => {
                    EventKind::Rebalance(rdsys::rd_kafka_event_error(self.ptr()).into())
                }
                rdsys::RD_KAFKA_EVENT_OFFSET_COMMIT => {
                    let code: RDKafkaErrorCode = rdsys::rd_kafka_event_error(self.ptr()).into();
                    EventKind::Committed((code != RDKafkaErrorCode::NoError).then_some(code))
                }
                _ => EventKind::Other,
            }
        }
    }

    /// The partition that a message or an error came from. Looking at the message itself would move librdkafka's position.
    fn strayed(&self) -> Option<(String, i32)> {
        // SAFETY: the event is alive. A new element comes back, or null; its name is copied before it is freed.
        unsafe {
            let kind = rdsys::rd_kafka_event_type(self.ptr());
            if kind != rdsys::RD_KAFKA_EVENT_FETCH && kind != rdsys::RD_KAFKA_EVENT_ERROR {
                return None;
            }
            let place = NonNull::new(rdsys::rd_kafka_event_topic_partition(self.ptr()))?;
            let found = (text(place.as_ref().topic), place.as_ref().partition);
            rdsys::rd_kafka_topic_partition_destroy(place.as_ptr());
            Some(found)
        }
    }

    /// What was given with the commit that this event answers.
    pub fn token(&self) -> u64 {
        // SAFETY: the event is alive; what comes back is the number that was given, never followed as a pointer.
        unsafe { rdsys::rd_kafka_event_opaque(self.ptr()) }.addr() as u64
    }

    /// The partitions of a rebalance or of a commit.
    pub fn partitions(&self) -> Vec<PartitionOffset> {
        // SAFETY: the event is alive and keeps the list; it is copied.
        unsafe { offsets::copied(rdsys::rd_kafka_event_topic_partition_list(self.ptr())) }
    }

    /// Calls `each` for every delivery report in the event.
    pub(super) fn deliveries(&self, mut each: impl FnMut(Delivery)) {
        self.messages(|message| each(Delivery::of(message)));
    }

    /// Calls `each` for every message that an event of deliveries is about.
    pub(super) fn messages(&self, mut each: impl FnMut(&rdsys::rd_kafka_message_t)) {
        const AT_ONCE: usize = 256;
        let mut messages = [std::ptr::null::<rdsys::rd_kafka_message_t>(); AT_ONCE];
        loop {
            // SAFETY: the event is alive and of the kind DR; librdkafka writes at most AT_ONCE pointers, valid until it is freed.
            let count = unsafe {
                rdsys::rd_kafka_event_message_array(self.ptr(), messages.as_mut_ptr(), AT_ONCE)
            };
            if count == 0 {
                return;
            }
            for &message in &messages[..count] {
                // SAFETY: the pointer was just written by librdkafka and lives as long as the event.
                each(unsafe { &*message });
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: this value owns the event, freed once.
        unsafe { rdsys::rd_kafka_event_destroy(self.ptr()) }
    }
}
