//! Lists of partitions with offsets, and questions for offsets that are answered by an event instead of making the asker wait.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, Queue, text};
use super::event::Event;

/// A partition and an offset of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffset {
    pub topic: String,
    pub partition: i32,
    /// Absent: there is none, or it does not matter.
    pub offset: Option<i64>,
    /// What a commit says besides the offset.
    pub metadata: String,
    /// -1 when it is not known.
    pub leader_epoch: i32,
    pub error: Option<RDKafkaErrorCode>,
}

impl PartitionOffset {
    /// A partition, without an offset.
    pub fn bare(topic: &str, partition: i32) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            offset: None,
            metadata: String::new(),
            leader_epoch: -1,
            error: None,
        }
    }
}

/// Which end of a partition is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boundary {
    /// The offset of the first record that is kept.
    First,
    /// The offset after the last record.
    End,
    /// The offset after the last record that no open transaction holds back.
    StableEnd,
}

/// A list in librdkafka's form. Freed on drop.
pub(super) struct List(NonNull<rdsys::rd_kafka_topic_partition_list_t>);

impl List {
    /// `None` when a topic's name has a NUL byte or memory is short.
    pub(super) fn of(partitions: &[PartitionOffset]) -> Option<Self> {
        let size = i32::try_from(partitions.len()).ok()?;
        // SAFETY: a new list, owned by this value.
        let list = Self(NonNull::new(unsafe {
            rdsys::rd_kafka_topic_partition_list_new(size)
        })?);
        for partition in partitions {
            let topic = CString::new(partition.topic.as_str()).ok()?;
            // SAFETY: list and name are alive; the name is copied. The element that comes back is valid until the next is added. Its
            // metadata is freed by librdkafka with `free`, so it is made with `malloc`, by `strdup`.
            unsafe {
                let element = rdsys::rd_kafka_topic_partition_list_add(
                    list.ptr(),
                    topic.as_ptr(),
                    partition.partition,
                );
                (*element).offset = partition
                    .offset
                    .unwrap_or(i64::from(rdsys::RD_KAFKA_OFFSET_INVALID));
                if !partition.metadata.is_empty() {
                    let metadata = CString::new(partition.metadata.as_str()).ok()?;
                    let copy = strdup(metadata.as_ptr());
                    if !copy.is_null() {
                        (*element).metadata = copy.cast();
                        (*element).metadata_size = partition.metadata.len();
                    }
                }
                rdsys::rd_kafka_topic_partition_set_leader_epoch(element, partition.leader_epoch);
            }
        }
        Some(list)
    }

    pub(super) fn ptr(&self) -> *mut rdsys::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: this value owns the list.
        unsafe { rdsys::rd_kafka_topic_partition_list_destroy(self.ptr()) }
    }
}

unsafe extern "C" {
    fn strdup(text: *const std::ffi::c_char) -> *mut std::ffi::c_char;
}

/// A copy of a list.
///
/// # Safety
/// `list` is null or a valid list for as long as the call.
pub(super) unsafe fn copied(
    list: *const rdsys::rd_kafka_topic_partition_list_t,
) -> Vec<PartitionOffset> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: the caller's promise; `elems` has `cnt` elements.
    unsafe {
        let count = usize::try_from((*list).cnt).unwrap_or(0);
        (0..count)
            .map(|at| element(&*(*list).elems.add(at)))
            .collect()
    }
}

/// # Safety
/// The element's pointers are valid.
unsafe fn element(element: &rdsys::rd_kafka_topic_partition_t) -> PartitionOffset {
    // SAFETY: the caller's promise.
    unsafe {
        let metadata = if element.metadata.is_null() {
            String::new()
        } else {
            let bytes = std::slice::from_raw_parts(
                element.metadata.cast::<u8>().cast_const(),
                element.metadata_size,
            );
            String::from_utf8_lossy(bytes)
                .trim_end_matches('\0')
                .to_owned()
        };
        PartitionOffset {
            topic: text(element.topic),
            partition: element.partition,
            offset: (element.offset >= 0).then_some(element.offset),
            metadata,
            leader_epoch: rdsys::rd_kafka_topic_partition_get_leader_epoch(element),
            error: (element.err != rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR)
                .then(|| element.err.into()),
        }
    }
}

/// Options of a question. Freed on drop.
struct Options(NonNull<rdsys::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(
        client: &Native,
        question: rdsys::rd_kafka_admin_op_t,
        timeout: Duration,
        token: u64,
    ) -> Option<Self> {
        // SAFETY: the client is alive; the options are owned by this value.
        let options = Self(NonNull::new(unsafe {
            rdsys::rd_kafka_AdminOptions_new(client.ptr(), question)
        })?);
        let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the options are alive; no text for errors is wanted. The token travels as a pointer that nobody follows.
        unsafe {
            rdsys::rd_kafka_AdminOptions_set_request_timeout(
                options.ptr(),
                millis,
                std::ptr::null_mut(),
                0,
            );
            rdsys::rd_kafka_AdminOptions_set_opaque(
                options.ptr(),
                std::ptr::without_provenance_mut(token as usize),
            );
        }
        Some(options)
    }

    fn ptr(&self) -> *mut rdsys::rd_kafka_AdminOptions_t {
        self.0.as_ptr()
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: this value owns them.
        unsafe { rdsys::rd_kafka_AdminOptions_destroy(self.ptr()) }
    }
}

/// Asks what `group` has committed for `partitions` (empty: for all that it has). The event that comes on `queue` carries `token`.
/// `false` when the question cannot be put.
pub(super) fn ask_group(
    client: &Native,
    queue: &Queue,
    group: &str,
    partitions: &[PartitionOffset],
    stable: bool,
    timeout: Duration,
    token: u64,
) -> bool {
    let question = rdsys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
    let (Ok(group), Some(list), Some(options)) = (
        CString::new(group),
        List::of(partitions),
        Options::new(client, question, timeout, token),
    ) else {
        return false;
    };
    // SAFETY: all are alive; librdkafka copies what it needs, and what is made here is freed here.
    unsafe {
        free_error(rdsys::rd_kafka_AdminOptions_set_require_stable_offsets(
            options.ptr(),
            i32::from(stable),
        ));
        let wanted = if partitions.is_empty() {
            std::ptr::null_mut()
        } else {
            list.ptr()
        };
        let mut request = rdsys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), wanted);
        if request.is_null() {
            return false;
        }
        rdsys::rd_kafka_ListConsumerGroupOffsets(
            client.ptr(),
            &mut request,
            1,
            options.ptr(),
            queue.ptr(),
        );
        rdsys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
    }
    true
}

/// Asks where `partitions` begin or end. The event that comes on `queue` carries `token`. `false` when the question cannot be put.
pub(super) fn ask_boundary(
    client: &Native,
    queue: &Queue,
    partitions: &[PartitionOffset],
    boundary: Boundary,
    timeout: Duration,
    token: u64,
) -> bool {
    let question = rdsys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
    let (Some(list), Some(options)) = (
        List::of(partitions),
        Options::new(client, question, timeout, token),
    ) else {
        return false;
    };
    let spec = match boundary {
        Boundary::First => rdsys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
        Boundary::End | Boundary::StableEnd => {
            rdsys::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST
        }
    };
    let isolation = match boundary {
        Boundary::StableEnd => {
            rdsys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        }
        Boundary::First | Boundary::End => {
            rdsys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        }
    };
    // SAFETY: all are alive; `elems` has `cnt` elements; librdkafka copies what it needs.
    unsafe {
        free_error(rdsys::rd_kafka_AdminOptions_set_isolation_level(
            options.ptr(),
            isolation,
        ));
        for at in 0..partitions.len() {
            let element = (*list.ptr()).elems.add(at);
            (*element).offset = i64::from(spec as i32);
        }
        rdsys::rd_kafka_ListOffsets(client.ptr(), list.ptr(), options.ptr(), queue.ptr());
    }
    true
}

/// What an [`Event`] of one of the two questions answers, when it did not fail as a whole.
pub(super) fn answer(event: &Event) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
    // SAFETY: the event is alive and keeps everything that is read here; each accessor is called on its own kind only.
    unsafe {
        if rdsys::rd_kafka_event_type(event.ptr()) == rdsys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT {
            let result = rdsys::rd_kafka_event_ListOffsets_result(event.ptr());
            let mut count = 0;
            let infos = rdsys::rd_kafka_ListOffsets_result_infos(result, &mut count);
            return Ok((0..count)
                .map(|at| {
                    let info = *infos.add(at);
                    element(&*rdsys::rd_kafka_ListOffsetsResultInfo_topic_partition(
                        info,
                    ))
                })
                .collect());
        }
        let result = rdsys::rd_kafka_event_ListConsumerGroupOffsets_result(event.ptr());
        let mut count = 0;
        let groups = rdsys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
        let mut partitions = Vec::new();
        for at in 0..count {
            let group = *groups.add(at);
            let error = rdsys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err((
                    rdsys::rd_kafka_error_code(error).into(),
                    text(rdsys::rd_kafka_error_string(error)),
                ));
            }
            partitions.extend(copied(rdsys::rd_kafka_group_result_partitions(group)));
        }
        Ok(partitions)
    }
}

/// Frees an error object, and gives its text. `None` for a null pointer: no error.
///
/// # Safety
/// `error` is null or an error object that nobody else frees.
pub(super) unsafe fn free_error(error: *mut rdsys::rd_kafka_error_t) -> Option<String> {
    if error.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe {
        let said = text(rdsys::rd_kafka_error_string(error));
        rdsys::rd_kafka_error_destroy(error);
        Some(said)
    }
}

/// librdkafka's words for a code.
pub(super) fn words(code: rdsys::rd_kafka_resp_err_t) -> Option<String> {
    if code == rdsys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the text is static.
    Some(
        unsafe { CStr::from_ptr(rdsys::rd_kafka_err2str(code)) }
            .to_string_lossy()
            .into_owned(),
    )
}
