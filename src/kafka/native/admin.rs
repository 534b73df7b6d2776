//! Questions and orders that librdkafka answers by an event on the client's main queue: see [`Native::poll`] and [`Event::answer`].
//!
//! Those that go to a group's coordinator abort the process when it goes away in between (librdkafka issue 4605). The only one of them here
//! is [`Native::ask_group`], which a daemon must not call.

use std::ffi::CString;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, text};
use super::event::Event;
use super::offsets::{self, Boundary, PartitionOffset, words};
use rdsys::rd_kafka_admin_op_t as Op;
use std::time::Duration;

/// A setting of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    pub name: String,
    /// Absent when it is sensitive: the broker does not tell.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// Who gave a setting its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigSource {
    Topic,
    Broker,
    Default,
    Unknown,
}

/// A group as the list of groups has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupListing {
    pub group: String,
    pub state: String,
    /// `Classic` or `Consumer`.
    pub kind: String,
}

/// A member of a group, with the partitions that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberListing {
    pub id: String,
    pub client_id: String,
    pub host: String,
    pub partitions: Vec<PartitionOffset>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Topics were deleted; each with the broker's reason when it was not.
    Topics(Vec<(String, Option<(RDKafkaErrorCode, String)>)>),
    Config(Result<Vec<ConfigValue>, String>),
    /// The groups, and why some are missing.
    Groups(Vec<GroupListing>, Vec<String>),
    Group {
        assignor: String,
        coordinator: Option<i32>,
        members: Vec<MemberListing>,
    },
    /// Nobody did anything about it.
    Failed(RDKafkaErrorCode, String),
}

/// What an answer is waited for with. Freed on drop.
struct Options(*mut rdsys::rd_kafka_AdminOptions_t);

impl Options {
    fn new(client: &Native, op: Op, timeout: Duration) -> Result<Self, String> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the client is alive; the options are owned by this value. An error text that is not wanted may be null.
        unsafe {
            let options = Self(rdsys::rd_kafka_AdminOptions_new(client.ptr(), op));
            let code = rdsys::rd_kafka_AdminOptions_set_request_timeout(
                options.0,
                millis,
                std::ptr::null_mut(),
                0,
            );
            words(code).map_or(Ok(options), Err)
        }
    }

    /// The broker answers when all have done it, or after `timeout`.
    fn until_done(self, timeout: Duration) -> Result<Self, String> {
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the options are alive.
        let code = unsafe {
            rdsys::rd_kafka_AdminOptions_set_operation_timeout(
                self.0,
                millis,
                std::ptr::null_mut(),
                0,
            )
        };
        words(code).map_or(Ok(self), Err)
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: this value owns them.
        unsafe { rdsys::rd_kafka_AdminOptions_destroy(self.0) }
    }
}

/// A text for librdkafka.
fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} has a NUL byte"))
}

impl Native {
    /// Asks for a topic's deletion. Answered by [`Answer::Topics`].
    ///
    /// # Errors
    /// librdkafka's text when it cannot be asked for.
    pub fn ask_to_delete(&self, name: &str, timeout: Duration) -> Result<(), String> {
        let name = c_text(name)?;
        let queue = self.main_queue().ok_or("no queue")?;
        let options =
            Options::new(self, Op::RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout)?.until_done(timeout)?;
        // SAFETY: all pointers are alive during the calls; librdkafka copies what it keeps.
        unsafe {
            let mut topic = rdsys::rd_kafka_DeleteTopic_new(name.as_ptr());
            rdsys::rd_kafka_DeleteTopics(self.ptr(), &mut topic, 1, options.0, queue.ptr());
            rdsys::rd_kafka_DeleteTopic_destroy(topic);
        }
        Ok(())
    }

    /// Asks for a topic's settings. Answered by [`Answer::Config`].
    ///
    /// # Errors
    /// librdkafka's text when it cannot be asked for.
    pub fn ask_for_config(&self, topic: &str, timeout: Duration) -> Result<(), String> {
        let name = c_text(topic)?;
        let queue = self.main_queue().ok_or("no queue")?;
        let options = Options::new(self, Op::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout)?;
        // SAFETY: all pointers are alive during the calls; librdkafka copies what it keeps.
        unsafe {
            let mut resource = rdsys::rd_kafka_ConfigResource_new(
                rdsys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                name.as_ptr(),
            );
            if resource.is_null() {
                return Err("librdkafka takes no such topic".to_owned());
            }
            rdsys::rd_kafka_DescribeConfigs(self.ptr(), &mut resource, 1, options.0, queue.ptr());
            rdsys::rd_kafka_ConfigResource_destroy(resource);
        }
        Ok(())
    }

    /// Asks every broker for its groups. Answered by [`Answer::Groups`].
    ///
    /// # Errors
    /// librdkafka's text when it cannot be asked for.
    pub fn ask_for_groups(&self, timeout: Duration) -> Result<(), String> {
        let queue = self.main_queue().ok_or("no queue")?;
        let options = Options::new(self, Op::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS, timeout)?;
        // SAFETY: all pointers are alive during the call.
        unsafe { rdsys::rd_kafka_ListConsumerGroups(self.ptr(), options.0, queue.ptr()) }
        Ok(())
    }

    /// Asks a group's coordinator for its members. Answered by [`Answer::Group`]. For commands only: see the module.
    ///
    /// # Errors
    /// librdkafka's text when it cannot be asked for.
    pub fn ask_group(&self, group: &str, timeout: Duration) -> Result<(), String> {
        let name = c_text(group)?;
        let queue = self.main_queue().ok_or("no queue")?;
        let options = Options::new(self, Op::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, timeout)?;
        let mut names = [name.as_ptr()];
        // SAFETY: all pointers are alive during the call; librdkafka copies what it keeps.
        unsafe {
            rdsys::rd_kafka_DescribeConsumerGroups(
                self.ptr(),
                names.as_mut_ptr(),
                names.len(),
                options.0,
                queue.ptr(),
            );
        }
        Ok(())
    }

    /// Where `partitions` begin or end. Waits for their leaders, at most `timeout`.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn bounds(
        &self,
        partitions: &[PartitionOffset],
        boundary: Boundary,
        timeout: Duration,
    ) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
        offsets::bounds(self, partitions, boundary, timeout)
    }

    /// The first offset of `partitions` whose record is not older than `time` (milliseconds since 1970); absent when there is none. Waits
    /// for their leaders, at most `timeout`.
    ///
    /// # Errors
    /// The code and librdkafka's text.
    pub fn since(
        &self,
        partitions: &[PartitionOffset],
        time: i64,
        timeout: Duration,
    ) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
        offsets::since(self, partitions, time, timeout)
    }
}

impl Event {
    /// The answer to a question, if the event is one.
    pub fn answer(&self) -> Option<Answer> {
        // SAFETY: the event is alive; every accessor is called on its own kind only, and what it gives is copied before it is freed.
        unsafe {
            let kind = rdsys::rd_kafka_event_type(self.ptr());
            let ours = [
                rdsys::RD_KAFKA_EVENT_DELETETOPICS_RESULT,
                rdsys::RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT,
                rdsys::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT,
                rdsys::RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT,
            ];
            if !ours.contains(&kind) {
                return None;
            }
            let code = rdsys::rd_kafka_event_error(self.ptr());
            if words(code).is_some() {
                let said = text(rdsys::rd_kafka_event_error_string(self.ptr()));
                return Some(Answer::Failed(code.into(), said));
            }
            let mut count = 0;
            match kind {
                rdsys::RD_KAFKA_EVENT_DELETETOPICS_RESULT => {
                    let result = rdsys::rd_kafka_event_DeleteTopics_result(self.ptr());
                    let all = rdsys::rd_kafka_DeleteTopics_result_topics(result, &mut count);
                    Some(Answer::Topics(topic_results(all, count)))
                }
                rdsys::RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT => {
                    let result = rdsys::rd_kafka_event_DescribeConfigs_result(self.ptr());
                    let all = rdsys::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
                    slice(all, count)
                        .first()
                        .map(|one| Answer::Config(config(*one)))
                }
                rdsys::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT => {
                    let result = rdsys::rd_kafka_event_ListConsumerGroups_result(self.ptr());
                    let all = rdsys::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
                    let groups = slice(all, count).iter().map(|one| listing(*one)).collect();
                    let all = rdsys::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
                    let errors = slice(all, count)
                        .iter()
                        .map(|one| text(rdsys::rd_kafka_error_string(*one)))
                        .collect();
                    Some(Answer::Groups(groups, errors))
                }
                _ => {
                    let result = rdsys::rd_kafka_event_DescribeConsumerGroups_result(self.ptr());
                    let all =
                        rdsys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                    slice(all, count).first().map(|one| group(*one))
                }
            }
        }
    }
}

/// # Safety
/// `all` is null or has `count` elements that live as long as the result that is used.
unsafe fn slice<'a, T>(all: *mut *const T, count: usize) -> &'a [*const T] {
    if all.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(all, count) }
}

/// # Safety
/// As for [`slice()`].
unsafe fn topic_results(
    all: *mut *const rdsys::rd_kafka_topic_result_t,
    count: usize,
) -> Vec<(String, Option<(RDKafkaErrorCode, String)>)> {
    // SAFETY: the caller's promise.
    unsafe {
        slice(all, count)
            .iter()
            .map(|one| {
                let code = rdsys::rd_kafka_topic_result_error(*one);
                let error = words(code).map(|words| {
                    let said = text(rdsys::rd_kafka_topic_result_error_string(*one));
                    (code.into(), if said.is_empty() { words } else { said })
                });
                (text(rdsys::rd_kafka_topic_result_name(*one)), error)
            })
            .collect()
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn config(
    resource: *const rdsys::rd_kafka_ConfigResource_t,
) -> Result<Vec<ConfigValue>, String> {
    use rdsys::rd_kafka_ConfigSource_t as Source;
    // SAFETY: the caller's promise; entries live as long as their resource.
    unsafe {
        if let Some(words) = words(rdsys::rd_kafka_ConfigResource_error(resource)) {
            let said = text(rdsys::rd_kafka_ConfigResource_error_string(resource));
            return Err(if said.is_empty() { words } else { said });
        }
        let mut count = 0;
        let all = rdsys::rd_kafka_ConfigResource_configs(resource, &mut count);
        let entries = slice(all, count).iter().map(|entry| {
            let value = rdsys::rd_kafka_ConfigEntry_value(*entry);
            let is_secret = rdsys::rd_kafka_ConfigEntry_is_sensitive(*entry) == 1;
            ConfigValue {
                name: text(rdsys::rd_kafka_ConfigEntry_name(*entry)),
                value: (!value.is_null() && !is_secret).then(|| text(value)),
                source: match rdsys::rd_kafka_ConfigEntry_source(*entry) {
                    Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => ConfigSource::Topic,
                    Source::RD_KAFKA_CONFIG_SOURCE_DEFAULT_CONFIG => ConfigSource::Default,
                    Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_BROKER_CONFIG
                    | Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_DEFAULT_BROKER_CONFIG
                    | Source::RD_KAFKA_CONFIG_SOURCE_STATIC_BROKER_CONFIG => ConfigSource::Broker,
                    _ => ConfigSource::Unknown,
                },
            }
        });
        Ok(entries.collect())
    }
}

/// # Safety
/// `one` is alive.
unsafe fn listing(one: *const rdsys::rd_kafka_ConsumerGroupListing_t) -> GroupListing {
    // SAFETY: the caller's promise; the names are static.
    unsafe {
        GroupListing {
            group: text(rdsys::rd_kafka_ConsumerGroupListing_group_id(one)),
            state: text(rdsys::rd_kafka_consumer_group_state_name(
                rdsys::rd_kafka_ConsumerGroupListing_state(one),
            )),
            kind: text(rdsys::rd_kafka_consumer_group_type_name(
                rdsys::rd_kafka_ConsumerGroupListing_type(one),
            )),
        }
    }
}

/// # Safety
/// `one` is alive.
unsafe fn group(one: *const rdsys::rd_kafka_ConsumerGroupDescription_t) -> Answer {
    // SAFETY: the caller's promise; members and lists live as long as the description.
    unsafe {
        let error = rdsys::rd_kafka_ConsumerGroupDescription_error(one);
        if !error.is_null() {
            let code = rdsys::rd_kafka_error_code(error);
            if words(code).is_some() {
                return Answer::Failed(code.into(), text(rdsys::rd_kafka_error_string(error)));
            }
        }
        let count = rdsys::rd_kafka_ConsumerGroupDescription_member_count(one);
        let members = (0..count)
            .map(|at| {
                let member = rdsys::rd_kafka_ConsumerGroupDescription_member(one, at);
                let assignment = rdsys::rd_kafka_MemberDescription_assignment(member);
                MemberListing {
                    id: text(rdsys::rd_kafka_MemberDescription_consumer_id(member)),
                    client_id: text(rdsys::rd_kafka_MemberDescription_client_id(member)),
                    host: text(rdsys::rd_kafka_MemberDescription_host(member)),
                    partitions: if assignment.is_null() {
                        Vec::new()
                    } else {
                        offsets::copied(rdsys::rd_kafka_MemberAssignment_partitions(assignment))
                    },
                }
            })
            .collect();
        let assignor = rdsys::rd_kafka_ConsumerGroupDescription_partition_assignor(one);
        let coordinator = rdsys::rd_kafka_ConsumerGroupDescription_coordinator(one);
        Answer::Group {
            assignor: text(assignor),
            coordinator: (!coordinator.is_null()).then(|| rdsys::rd_kafka_Node_id(coordinator)),
            members,
        }
    }
}
