//! A member of a consumer group: its queues, its assignment, its commits.
//!
//! Nothing here waits unless it says so. Two queues are polled with a timeout of 0: the client's own (rebalances, commits, errors, answers) and one that
//! all assigned partitions are forwarded to (messages). Both ring the owner's bell when something comes into an empty queue, so the
//! owner sleeps on its bell. librdkafka's batch call would wait its whole timeout unless the batch is full.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Kind, Native, Queue};
use super::consume::MessageBatch;
use super::event::Event;
use super::offsets::{self, Boundary, List, PartitionOffset, free_error, words};
use super::transaction::Membership;
use crate::flow::Ring;

/// How many messages a batch has at most.
const BATCH: usize = 2000;

/// How long a seek waits for librdkafka's thread, in milliseconds.
const SEEK_MS: i32 = 1000;

/// A queue that rings a bell when something comes while it is empty.
pub(super) struct AppQueue {
    queue: Queue,
    // Its address is known to librdkafka until this value is dropped.
    _bell: Box<Arc<dyn Ring>>,
}

impl AppQueue {
    fn new(queue: Queue, bell: Arc<dyn Ring>) -> Self {
        let bell = Box::new(bell);
        let opaque: *const Arc<dyn Ring> = &*bell;
        // SAFETY: the queue is alive; the box does not move what it holds, and outlives the callback: drop disables it first.
        unsafe {
            rdsys::rd_kafka_queue_cb_event_enable(
                queue.ptr(),
                Some(ring),
                opaque.cast_mut().cast::<c_void>(),
            );
        }
        Self { queue, _bell: bell }
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_queue_t {
        self.queue.ptr()
    }
}

impl Drop for AppQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is alive. The callback runs under the queue's lock, which this call takes: none runs after it.
        unsafe { rdsys::rd_kafka_queue_cb_event_enable(self.ptr(), None, std::ptr::null_mut()) }
    }
}

/// librdkafka's way to the bell. Runs on its threads, under the queue's lock.
unsafe extern "C" fn ring(_client: *mut rdsys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: set by `AppQueue::new`, alive until its drop.
    let bell = unsafe { &*bell.cast::<Arc<dyn Ring>>() };
    bell.ring();
}

/// A member of a consumer group.
///
/// Dropping it does not leave the group: see [`Member::close`].
pub struct Member {
    events: AppQueue,
    messages: AppQueue,
    scratch: Vec<*mut rdsys::rd_kafka_message_t>,
    // Last: the queues belong to it.
    native: Arc<Native>,
}

// SAFETY: the scratch's pointers are written and read only within `take`; everything else is Send.
unsafe impl Send for Member {}

impl Member {
    /// A client with `config` that wakes `bell`. It joins the group when it is told to subscribe.
    ///
    /// # Errors
    /// librdkafka's text when it refuses the configuration.
    pub fn new(config: &ClientConfig, bell: &Arc<dyn Ring>) -> Result<Self, String> {
        let native = Arc::new(Native::new(config, Kind::Consumer)?);
        // SAFETY: the client is alive; both calls give a new reference, which Queue owns.
        let (events, messages) = unsafe {
            (
                Queue::from_ptr(rdsys::rd_kafka_queue_get_consumer(native.ptr())),
                Queue::from_ptr(rdsys::rd_kafka_queue_new(native.ptr())),
            )
        };
        let (Some(events), Some(messages)) = (events, messages) else {
            return Err("librdkafka gave no queue".to_owned());
        };
        Ok(Self {
            events: AppQueue::new(events, bell.clone()),
            messages: AppQueue::new(messages, bell.clone()),
            scratch: vec![std::ptr::null_mut(); BATCH],
            native,
        })
    }

    pub fn native(&self) -> &Arc<Native> {
        &self.native
    }

    /// The next event, if there is one now.
    pub fn event(&self) -> Option<Event> {
        self.native.poll(Duration::ZERO)
    }

    /// The messages that are there now; `None` when there are none.
    pub fn take(&mut self) -> Option<MessageBatch> {
        MessageBatch::take(&self.messages, &mut self.scratch, &self.native)
    }

    /// Joins the group for these topics; those that begin with `^` are regular expressions.
    ///
    /// # Errors
    /// librdkafka's text.
    pub fn subscribe(&self, topics: &[String]) -> Result<(), String> {
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| PartitionOffset::bare(topic, -1))
            .collect();
        let list = List::of(&topics).ok_or("a topic's name has a NUL byte")?;
        // SAFETY: client and list are alive; the list is copied.
        let code = unsafe { rdsys::rd_kafka_subscribe(self.native.ptr(), list.ptr()) };
        words(code).map_or(Ok(()), Err)
    }

    /// Whether the member was thrown out: its partitions belong to others already.
    pub fn is_lost(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rdsys::rd_kafka_assignment_lost(self.native.ptr()) != 0 }
    }

    /// Takes partitions over, each from its offset, and answers a rebalance with it. Their messages come out of [`Member::take`].
    /// An empty list is an answer too.
    ///
    /// # Errors
    /// librdkafka's text.
    pub fn assign(&self, partitions: &[PartitionOffset]) -> Result<(), String> {
        // Forwarding is undone, silently, whenever a partition is given back: by another thread, perhaps only now. That thread was through
        // with it when it answers the assignment.
        self.forward(partitions)?;
        let list = List::of(partitions).ok_or("a topic's name has a NUL byte")?;
        // SAFETY: client and list are alive; the list is copied.
        let failed = unsafe {
            free_error(rdsys::rd_kafka_incremental_assign(
                self.native.ptr(),
                list.ptr(),
            ))
        };
        failed.map_or(Ok(()), Err)?;
        self.forward(partitions)
    }

    /// Gives partitions back, and answers a rebalance with it.
    ///
    /// # Errors
    /// librdkafka's text.
    pub fn unassign(&self, partitions: &[PartitionOffset]) -> Result<(), String> {
        let list = List::of(partitions).ok_or("a topic's name has a NUL byte")?;
        // SAFETY: client and list are alive; the list is copied.
        unsafe {
            free_error(rdsys::rd_kafka_incremental_unassign(
                self.native.ptr(),
                list.ptr(),
            ))
            .map_or(Ok(()), Err)
        }
    }

    /// Commits without waiting; the answer is an event with `token`.
    ///
    /// # Errors
    /// librdkafka's text.
    pub fn commit(&self, offsets: &[PartitionOffset], token: u64) -> Result<(), String> {
        let list = List::of(offsets).ok_or("a topic's name has a NUL byte")?;
        // SAFETY: client, list and queue are alive; the list is copied. No callback: the answer comes as an event. The token travels as
        // a pointer that nobody follows.
        let code = unsafe {
            rdsys::rd_kafka_commit_queue(
                self.native.ptr(),
                list.ptr(),
                self.events.ptr(),
                None,
                std::ptr::without_provenance_mut(token as usize),
            )
        };
        words(code).map_or(Ok(()), Err)
    }

    /// What the group has committed for `partitions`. Waits for the coordinator, at most `timeout`; with `read_committed` also for
    /// transactions that are open over these offsets.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn committed(
        &self,
        partitions: &[PartitionOffset],
        timeout: Duration,
    ) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
        offsets::committed(&self.native, partitions, timeout)
    }

    /// Who this member is now, as far as the group has told.
    pub fn membership(&self) -> Option<Membership> {
        // SAFETY: the client is alive; a new object comes back, or null.
        unsafe { Membership::from_ptr(rdsys::rd_kafka_consumer_group_metadata(self.native.ptr())) }
    }

    /// Whether a broker answers. Waits for it, at most `timeout`.
    pub fn is_there(&self, timeout: Duration) -> bool {
        offsets::is_there(&self.native, timeout)
    }

    /// Where partitions begin or end. Waits for their leaders, at most `timeout`.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn bounds(
        &self,
        partitions: &[PartitionOffset],
        boundary: Boundary,
        timeout: Duration,
    ) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
        offsets::bounds(&self.native, partitions, boundary, timeout)
    }

    /// The first offset of partitions whose record is not older than `time` (milliseconds since 1970). Waits for their leaders, at most
    /// `timeout`.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn since(
        &self,
        partitions: &[PartitionOffset],
        time: i64,
        timeout: Duration,
    ) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
        offsets::since(&self.native, partitions, time, timeout)
    }

    /// First and end offset of an assigned partition, as of the last fetch. Costs no request.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topic = std::ffi::CString::new(topic).ok()?;
        let (mut first, mut end) = (-1, -1);
        // SAFETY: client and name are alive.
        let code = unsafe {
            rdsys::rd_kafka_get_watermark_offsets(
                self.native.ptr(),
                topic.as_ptr(),
                partition,
                &mut first,
                &mut end,
            )
        };
        (words(code).is_none() && first >= 0 && end >= 0).then_some((first, end))
    }

    /// Goes on with a partition from another offset. What lay in the queue of it is not given out any more. Waits for a thread of
    /// librdkafka, not for the network.
    ///
    /// # Errors
    /// librdkafka's text, when the partition is not being fetched.
    pub fn seek(&self, place: &PartitionOffset) -> Result<(), String> {
        let list = List::of(std::slice::from_ref(place)).ok_or("a topic's name has a NUL byte")?;
        // SAFETY: client and list are alive; the list is written to and read here before it is freed.
        unsafe {
            let failed = free_error(rdsys::rd_kafka_seek_partitions(
                self.native.ptr(),
                list.ptr(),
                SEEK_MS,
            ));
            if let Some(text) = failed {
                return Err(text);
            }
            words((*(*list.ptr()).elems).err).map_or(Ok(()), Err)
        }
    }

    /// The offsets after what was given out of these partitions, transaction markers included. Costs no request.
    pub fn positions(&self, partitions: &[PartitionOffset]) -> Vec<PartitionOffset> {
        let Some(list) = List::of(partitions).filter(|_| !partitions.is_empty()) else {
            return Vec::new();
        };
        // SAFETY: client and list are alive.
        unsafe {
            rdsys::rd_kafka_position(self.native.ptr(), list.ptr());
            offsets::copied(list.ptr())
        }
    }

    /// Begins to leave the group. Go on serving events until [`Member::is_closed`].
    ///
    /// # Errors
    /// librdkafka's text, when there is nothing to leave (any more).
    pub fn close(&self) -> Result<(), String> {
        // SAFETY: client and queue are alive.
        unsafe {
            free_error(rdsys::rd_kafka_consumer_close_queue(
                self.native.ptr(),
                self.events.ptr(),
            ))
            .map_or(Ok(()), Err)
        }
    }

    /// Whether the group was left.
    pub fn is_closed(&self) -> bool {
        // SAFETY: the client is alive.
        unsafe { rdsys::rd_kafka_consumer_closed(self.native.ptr()) != 0 }
    }

    /// Messages of a partition came to the client's own queue ([`super::EventKind::Strayed`]), where nobody counts them: from now on they come to
    /// the queue of messages, beginning at the offset of `place`. Waits for a thread of librdkafka, not for the network.
    ///
    /// # Errors
    /// librdkafka's text, when the partition is not being fetched.
    pub fn fetch_back(&self, place: &PartitionOffset) -> Result<(), String> {
        self.forward(std::slice::from_ref(place))?;
        self.seek(place)
    }

    /// Messages of these partitions come to the one queue. [`Member::assign`] does it; again where they were given back just before.
    ///
    /// # Errors
    /// What librdkafka does not do.
    pub fn forward(&self, partitions: &[PartitionOffset]) -> Result<(), String> {
        for partition in partitions {
            self.forward_to(partition, &self.messages)?;
        }
        Ok(())
    }

    /// Messages of a partition stray from now on, as where librdkafka undoes the forwarding.
    #[cfg(test)]
    pub fn lead_astray(&self, partition: &PartitionOffset) -> Result<(), String> {
        self.forward_to(partition, &self.events)
    }

    fn forward_to(&self, partition: &PartitionOffset, to: &AppQueue) -> Result<(), String> {
        let topic = std::ffi::CString::new(partition.topic.as_str())
            .map_err(|_| "a topic's name has a NUL byte".to_owned())?;
        // SAFETY: client and name are alive; the reference that comes back is owned by Queue. Forwarding counts the target.
        unsafe {
            let queue = Queue::from_ptr(rdsys::rd_kafka_queue_get_partition(
                self.native.ptr(),
                topic.as_ptr(),
                partition.partition,
            ))
            .ok_or("librdkafka gave no queue for a partition")?;
            rdsys::rd_kafka_queue_forward(queue.ptr(), to.ptr());
        }
        Ok(())
    }
}
