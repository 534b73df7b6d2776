//! What travels from a consumer to an output: records that still lie in the client's own memory.

use super::budget::Charge;
use super::receipt::Receipt;

/// Whose clock a record's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampKind {
    /// The broker gave none.
    None,
    /// The producer's.
    Create,
    /// The broker's, when it appended.
    LogAppend,
}

/// One consumed record, borrowed from its batch.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// Milliseconds since 1970, UTC; 0 when there is none.
    pub timestamp_ms: i64,
    pub timestamp_kind: TimestampKind,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// Records in the memory of whoever consumed them. Freed on drop.
pub trait Consumed: Send {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record at `index`, below [`Consumed::len`].
    fn get(&self, index: usize) -> RecordView<'_>;

    /// Calls `each` with the name and value of every header of the record at `index`, in the record's order.
    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>));
}

/// What a consumer hands to an output.
pub enum Fetched {
    /// Records, in order per partition. The receipt is settled when they are durable.
    Records {
        records: Box<dyn Consumed>,
        receipt: Receipt,
        charge: Charge,
    },
    /// Make everything durable that came before, and settle it, now: partitions are about to move away, or the daemon ends.
    Flush,
}
