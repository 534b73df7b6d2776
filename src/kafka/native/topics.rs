//! Making a topic.

use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, Queue, text};

/// A topic that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewTopic<'a> {
    pub name: &'a str,
    pub partitions: i32,
    pub replication: i32,
    pub settings: &'a [(&'a str, &'a str)],
}

/// What an error text of librdkafka may need.
const TEXT: usize = 512;

impl Native {
    /// Makes a topic. Waits for the controller, at most `timeout`.
    ///
    /// # Errors
    /// The code and the broker's words. That it exists already is `TopicAlreadyExists`.
    pub fn create_topic(
        &self,
        topic: &NewTopic<'_>,
        timeout: Duration,
    ) -> Result<(), (RDKafkaErrorCode, String)> {
        let invalid = |why: String| (RDKafkaErrorCode::InvalidArgument, why);
        let c_string = |text: &str| {
            CString::new(text).map_err(|_| invalid(format!("{text:?} has a NUL byte")))
        };
        let name = c_string(topic.name)?;
        let mut why = [0; TEXT];
        // SAFETY: the client, the name and the buffer are alive; what is made here is freed by its owner's drop.
        unsafe {
            let made = rdsys::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions,
                topic.replication,
                why.as_mut_ptr(),
                TEXT,
            );
            if made.is_null() {
                return Err(invalid(text(why.as_ptr())));
            }
            let mut made = Asked(made);
            for (key, value) in topic.settings {
                let (key, value) = (c_string(key)?, c_string(value)?);
                rdsys::rd_kafka_NewTopic_set_config(made.0, key.as_ptr(), value.as_ptr());
            }
            let queue = Queue::from_ptr(rdsys::rd_kafka_queue_new(self.ptr()))
                .ok_or_else(|| invalid("librdkafka gave no queue".into()))?;
            let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            let options = Settings(rdsys::rd_kafka_AdminOptions_new(
                self.ptr(),
                rdsys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS,
            ));
            // The broker answers when the topic is there, and librdkafka when the time is over.
            rdsys::rd_kafka_AdminOptions_set_request_timeout(
                options.0,
                millis,
                why.as_mut_ptr(),
                TEXT,
            );
            rdsys::rd_kafka_AdminOptions_set_operation_timeout(
                options.0,
                millis,
                why.as_mut_ptr(),
                TEXT,
            );
            rdsys::rd_kafka_CreateTopics(self.ptr(), &mut made.0, 1, options.0, queue.ptr());
            answer(&queue, timeout)
        }
    }
}

/// Waits for the one answer that comes out of `queue`.
///
/// # Safety
/// The queue is alive and belongs to a question for new topics.
unsafe fn answer(queue: &Queue, timeout: Duration) -> Result<(), (RDKafkaErrorCode, String)> {
    let deadline = Instant::now() + timeout + Duration::from_secs(1);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let millis = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the queue is alive; the event is ours and freed by its owner's drop, after everything was copied out of it.
        unsafe {
            let event = rdsys::rd_kafka_queue_poll(queue.ptr(), millis);
            if event.is_null() {
                if left.is_zero() {
                    return Err((
                        RDKafkaErrorCode::OperationTimedOut,
                        "nobody answered".into(),
                    ));
                }
                continue;
            }
            let event = Answer(event);
            if rdsys::rd_kafka_event_type(event.0) != rdsys::RD_KAFKA_EVENT_CREATETOPICS_RESULT {
                continue;
            }
            let code: RDKafkaErrorCode = rdsys::rd_kafka_event_error(event.0).into();
            if code != RDKafkaErrorCode::NoError {
                return Err((code, text(rdsys::rd_kafka_event_error_string(event.0))));
            }
            let result = rdsys::rd_kafka_event_CreateTopics_result(event.0);
            let mut count = 0;
            let topics = rdsys::rd_kafka_CreateTopics_result_topics(result, &mut count);
            if topics.is_null() || count == 0 {
                return Err((RDKafkaErrorCode::Fail, "an empty answer".into()));
            }
            let code: RDKafkaErrorCode = rdsys::rd_kafka_topic_result_error(*topics).into();
            return match code {
                RDKafkaErrorCode::NoError => Ok(()),
                code => Err((
                    code,
                    text(rdsys::rd_kafka_topic_result_error_string(*topics)),
                )),
            };
        }
    }
}

struct Asked(*mut rdsys::rd_kafka_NewTopic_t);

impl Drop for Asked {
    fn drop(&mut self) {
        // SAFETY: this value owns it; librdkafka has copied what it needs.
        unsafe { rdsys::rd_kafka_NewTopic_destroy(self.0) }
    }
}

struct Settings(*mut rdsys::rd_kafka_AdminOptions_t);

impl Drop for Settings {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { rdsys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

struct Answer(*mut rdsys::rd_kafka_event_t);

impl Drop for Answer {
    fn drop(&mut self) {
        // SAFETY: this value owns the event.
        unsafe { rdsys::rd_kafka_event_destroy(self.0) }
    }
}
