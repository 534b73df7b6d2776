//! Lists of partitions with offsets, and questions for offsets.
//!
//! The questions make the asker wait, so they are put with short timeouts. librdkafka's admin interface would answer by events, but it
//! aborts the process when a coordinator goes away while a question is open (librdkafka issue 4605), and leaves others unanswered.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, text};

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
    /// The offset after the last record; with `read_committed`: after the last one that no open transaction holds back.
    End,
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

/// What the client's group has committed for `partitions`. Waits for the coordinator, at most `timeout`.
///
/// # Errors
/// The code and librdkafka's text.
pub(super) fn committed(
    client: &Native,
    partitions: &[PartitionOffset],
    timeout: Duration,
) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
    let list = listed(partitions)?;
    // SAFETY: client and list are alive; librdkafka works on a copy when the time is over.
    unsafe {
        let code = rdsys::rd_kafka_committed(client.ptr(), list.ptr(), millis(timeout));
        match words(code) {
            None => Ok(copied(list.ptr())),
            Some(text) => Err((code.into(), text)),
        }
    }
}

/// Whether a broker answers within `timeout`. Waits for it.
pub(super) fn is_there(client: &Native, timeout: Duration) -> bool {
    let mut metadata = std::ptr::null();
    // SAFETY: the client is alive; what comes back is freed here.
    unsafe {
        let code = rdsys::rd_kafka_metadata(
            client.ptr(),
            0,
            std::ptr::null_mut(),
            &mut metadata,
            millis(timeout),
        );
        if !metadata.is_null() {
            rdsys::rd_kafka_metadata_destroy(metadata);
        }
        words(code).is_none()
    }
}

/// Where `partitions` begin or end. Waits for their leaders, at most `timeout`.
///
/// # Errors
/// The code and librdkafka's text.
pub(super) fn bounds(
    client: &Native,
    partitions: &[PartitionOffset],
    boundary: Boundary,
    timeout: Duration,
) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
    // The protocol's own: these two times stand for the ends.
    let time = match boundary {
        Boundary::First => rdsys::RD_KAFKA_OFFSET_BEGINNING,
        Boundary::End => rdsys::RD_KAFKA_OFFSET_END,
    };
    since(client, partitions, i64::from(time), timeout)
}

/// The first offset of `partitions` whose record is not older than `time` (milliseconds since 1970). Waits for their leaders, at most
/// `timeout`.
///
/// # Errors
/// The code and librdkafka's text.
pub(super) fn since(
    client: &Native,
    partitions: &[PartitionOffset],
    time: i64,
    timeout: Duration,
) -> Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)> {
    let list = listed(partitions)?;
    // SAFETY: client and list are alive; `elems` has `cnt` elements.
    unsafe {
        for at in 0..partitions.len() {
            (*(*list.ptr()).elems.add(at)).offset = time;
        }
        let code = rdsys::rd_kafka_offsets_for_times(client.ptr(), list.ptr(), millis(timeout));
        match words(code) {
            None => Ok(copied(list.ptr())),
            Some(text) => Err((code.into(), text)),
        }
    }
}

fn listed(partitions: &[PartitionOffset]) -> Result<List, (RDKafkaErrorCode, String)> {
    List::of(partitions).ok_or_else(|| {
        (
            RDKafkaErrorCode::InvalidArgument,
            "a topic's name has a NUL byte".to_owned(),
        )
    })
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
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
