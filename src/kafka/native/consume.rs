//! Consumed messages, a batch at a time, in librdkafka's own memory.

use std::ffi::CStr;
use std::sync::Arc;

use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka_sys as rdsys;

use super::client::Native;
use super::group::AppQueue;
use crate::flow::TimestampKind;

/// Messages taken from an application queue. They are destroyed on drop, on whatever thread that happens, and keep their client alive.
pub struct MessageBatch {
    messages: Vec<*mut rdsys::rd_kafka_message_t>,
    // Dropped after the messages: they must not outlive it.
    _client: Arc<Native>,
}

// SAFETY: a message belongs to whoever consumed it; librdkafka counts the buffers behind it atomically, and destroying one is
// documented as possible on any thread.
unsafe impl Send for MessageBatch {}

/// One message, borrowed from its batch.
#[derive(Clone, Copy)]
pub struct Message<'a>(&'a rdsys::rd_kafka_message_t);

impl MessageBatch {
    /// Takes what lies in `queue` now, at most as many as `scratch` has room for. Does not wait.
    pub(super) fn take(
        queue: &AppQueue,
        scratch: &mut [*mut rdsys::rd_kafka_message_t],
        client: &Arc<Native>,
    ) -> Option<Self> {
        // SAFETY: the queue is alive; librdkafka writes at most `len` pointers and gives the messages away.
        let count = unsafe {
            rdsys::rd_kafka_consume_batch_queue(queue.ptr(), 0, scratch.as_mut_ptr(), scratch.len())
        };
        let count = usize::try_from(count).unwrap_or(0).min(scratch.len());
        (count > 0).then(|| Self {
            messages: scratch[..count].to_vec(),
            _client: client.clone(),
        })
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The message at `index`, below [`MessageBatch::len`].
    pub fn get(&self, index: usize) -> Message<'_> {
        // SAFETY: the messages are alive until the batch drops them.
        Message(unsafe { &*self.messages[index] })
    }

    /// Keeps the messages that `keep` wants, in their order, and destroys the others at once.
    pub fn retain(&mut self, mut keep: impl FnMut(Message<'_>) -> bool) {
        self.messages.retain(|&message| {
            // SAFETY: the message is alive; it is destroyed only when it leaves the list.
            unsafe {
                let kept = keep(Message(&*message));
                if !kept {
                    rdsys::rd_kafka_message_destroy(message);
                }
                kept
            }
        });
    }
}

impl Drop for MessageBatch {
    fn drop(&mut self) {
        for &message in &self.messages {
            // SAFETY: this value owns the messages, and destroys each once.
            unsafe { rdsys::rd_kafka_message_destroy(message) }
        }
    }
}

impl<'a> Message<'a> {
    /// Not a record but news of its partition; its text is [`Message::error_text`].
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        (self.0.err != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| self.0.err.into())
    }

    pub fn error_text(&self) -> String {
        // SAFETY: the message is alive and an error; the text belongs to it and is copied.
        unsafe { super::client::text(rdsys::rd_kafka_message_errstr(self.0)) }
    }

    /// Whether both messages are of the same partition.
    pub fn same_partition(&self, other: &Message<'_>) -> bool {
        self.0.rkt == other.0.rkt && self.0.partition == other.0.partition
    }

    /// A number that is equal for messages of the same topic while one of them is alive.
    pub fn topic_token(&self) -> usize {
        self.0.rkt.addr()
    }

    /// The topic's name; empty for errors that belong to none.
    pub fn topic(&self) -> &'a str {
        if self.0.rkt.is_null() {
            return "";
        }
        // SAFETY: the message holds the topic's handle, which holds its name. Kafka allows only ASCII in it.
        unsafe { CStr::from_ptr(rdsys::rd_kafka_topic_name(self.0.rkt)) }
            .to_str()
            .unwrap_or("")
    }

    pub fn partition(&self) -> i32 {
        self.0.partition
    }

    pub fn offset(&self) -> i64 {
        self.0.offset
    }

    pub fn key(&self) -> Option<&'a [u8]> {
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(self.0.key, self.0.key_len) }
    }

    pub fn value(&self) -> Option<&'a [u8]> {
        // SAFETY: payload and length belong together and live as long as the message.
        unsafe { bytes(self.0.payload, self.0.len) }
    }

    /// Bytes of key and value.
    pub fn weight(&self) -> u64 {
        let key = if self.0.key.is_null() {
            0
        } else {
            self.0.key_len
        };
        let value = if self.0.payload.is_null() {
            0
        } else {
            self.0.len
        };
        (key + value) as u64
    }

    /// Milliseconds since 1970 and whose clock they are of; 0 when there are none.
    pub fn timestamp(&self) -> (i64, TimestampKind) {
        let mut kind = rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        let millis = unsafe { rdsys::rd_kafka_message_timestamp(self.0, &mut kind) };
        match kind {
            rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => {
                (millis, TimestampKind::Create)
            }
            rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => {
                (millis, TimestampKind::LogAppend)
            }
            rdsys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => {
                (0, TimestampKind::None)
            }
        }
    }

    /// -1 when the broker does not tell.
    pub fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { rdsys::rd_kafka_message_leader_epoch(self.0) }
    }

    /// Calls `each` for every header, in the record's order.
    pub fn headers(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive, and a batch is on one thread at a time (it is not Sync): librdkafka parses the headers at the
        // first call and keeps them in the message. Names are C strings; name and value live as long as the message.
        unsafe {
            let found = rdsys::rd_kafka_message_headers(self.0, &mut headers);
            if found != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || headers.is_null() {
                return;
            }
            for at in 0.. {
                let (mut name, mut value, mut len) = (std::ptr::null(), std::ptr::null(), 0);
                let more =
                    rdsys::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut len);
                if more != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR || name.is_null() {
                    return;
                }
                each(
                    &CStr::from_ptr(name).to_string_lossy(),
                    bytes(value.cast_mut(), len),
                );
            }
        }
    }
}

/// # Safety
/// `start` is null or points to `len` bytes that live as long as the caller's message.
unsafe fn bytes<'a>(start: *mut std::ffi::c_void, len: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>().cast_const(), len) })
}
