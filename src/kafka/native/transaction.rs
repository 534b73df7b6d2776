//! A producer's transactions.
//!
//! The calls go on in the background when their time is over, and are resumed by calling them again: so each is made with a short time,
//! and whoever calls looks at the world in between. Deliveries have to be drained before a commit: librdkafka waits for them in steps of
//! 100 ms, and does not serve the queue that they come out of.

use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use rdkafka_sys as rdsys;

use super::client::{Native, text};
use super::offsets::{List, PartitionOffset};

/// Why a step of a transaction failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionError {
    pub code: RDKafkaErrorCode,
    pub text: String,
    /// The same call again goes on where this one was left.
    pub retriable: bool,
    /// The client is at its end.
    pub fatal: bool,
    /// The transaction can only be aborted; the client goes on.
    pub abortable: bool,
}

/// Which member of a group somebody is, for [`Native::send_offsets`].
pub struct Membership(NonNull<rdsys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: a copy of texts and a number, read only.
unsafe impl Send for Membership {}

impl Membership {
    /// Takes over what `metadata` points to; `None` for a null pointer.
    ///
    /// # Safety
    /// It is null or a new object that nobody else frees.
    pub(super) unsafe fn from_ptr(
        metadata: *mut rdsys::rd_kafka_consumer_group_metadata_t,
    ) -> Option<Self> {
        NonNull::new(metadata).map(Self)
    }

    /// Whether this is a member of a generation. Offsets of others are accepted, whoever holds the partitions.
    pub fn is_member(&self) -> bool {
        // SAFETY: the object is alive, and owns the text.
        unsafe {
            let id = rdsys::rd_kafka_consumer_group_metadata_member_id(self.0.as_ptr());
            rdsys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) >= 0
                && !id.is_null()
                && *id != 0
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: this value owns the object.
        unsafe { rdsys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}

impl Native {
    /// Shuts out whoever had the transactional id before, and ends what it left open.
    ///
    /// # Errors
    /// Retriable while it goes on.
    pub fn init_transactions(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: the client is alive; the error object is taken over.
        unsafe {
            taken(rdsys::rd_kafka_init_transactions(
                self.ptr(),
                millis(timeout),
            ))
        }
    }

    /// What is sent from now on is part of one transaction. Does not wait for the network.
    ///
    /// # Errors
    /// When the last one is not over, or the client is at its end.
    pub fn begin_transaction(&self) -> Result<(), TransactionError> {
        // SAFETY: as above.
        unsafe { taken(rdsys::rd_kafka_begin_transaction(self.ptr())) }
    }

    /// Makes what was sent count.
    ///
    /// # Errors
    /// Retriable while it goes on. Any other error leaves it open whether it counts.
    pub fn commit_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: as above.
        unsafe {
            taken(rdsys::rd_kafka_commit_transaction(
                self.ptr(),
                millis(timeout),
            ))
        }
    }

    /// Makes offsets part of the transaction. Waits for the group's coordinator.
    ///
    /// # Errors
    /// Retriable while it goes on. Abortable when the group went on without `member`.
    pub fn send_offsets(
        &self,
        offsets: &[PartitionOffset],
        member: &Membership,
        timeout: Duration,
    ) -> Result<(), TransactionError> {
        let Some(list) = List::of(offsets) else {
            return Err(TransactionError {
                code: RDKafkaErrorCode::InvalidArgument,
                text: "a topic's name has a NUL byte".to_owned(),
                retriable: false,
                fatal: false,
                abortable: true,
            });
        };
        // SAFETY: client, list and member are alive, and are copied; the error object is taken over.
        unsafe {
            taken(rdsys::rd_kafka_send_offsets_to_transaction(
                self.ptr(),
                list.ptr(),
                member.0.as_ptr(),
                millis(timeout),
            ))
        }
    }

    /// Makes what was sent count for nothing. What librdkafka still holds of it is reported as purged.
    ///
    /// # Errors
    /// Retriable while it goes on.
    pub fn abort_transaction(&self, timeout: Duration) -> Result<(), TransactionError> {
        // SAFETY: as above.
        unsafe {
            taken(rdsys::rd_kafka_abort_transaction(
                self.ptr(),
                millis(timeout),
            ))
        }
    }
}

/// # Safety
/// `error` is null or an error object that nobody else frees.
unsafe fn taken(error: *mut rdsys::rd_kafka_error_t) -> Result<(), TransactionError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise; the text is copied before the object is freed.
    unsafe {
        let found = TransactionError {
            code: rdsys::rd_kafka_error_code(error).into(),
            text: text(rdsys::rd_kafka_error_string(error)),
            retriable: rdsys::rd_kafka_error_is_retriable(error) != 0,
            fatal: rdsys::rd_kafka_error_is_fatal(error) != 0,
            abortable: rdsys::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        rdsys::rd_kafka_error_destroy(error);
        Err(found)
    }
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
