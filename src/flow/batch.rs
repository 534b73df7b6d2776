//! What travels from an input to the producer: bytes and the spans of the lines in them, not a vector of records.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::arena::Arena;
use super::books::Count;
use super::budget::Charge;
use super::receipt::Receipt;

/// A piece of an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// One record: the span of its value, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub value: Span,
    /// Where the record begins in its source, in source bytes after its run's `base`.
    pub at: u32,
    /// Source bytes that it stands for, line ends included.
    pub bytes: u32,
    /// How many lines end with it: one, several for a group of lines, none for all pieces of a split line but the last.
    pub lines: u32,
}

/// Where records come from, as far as templates, messages and dead letters tell of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The input's name.
    pub input: Arc<str>,
    /// The file, for inputs that read files.
    pub path: Option<Arc<Path>>,
}

/// Records of one source in its order. What was filtered or dropped between them is no part of it.
#[derive(Debug, Clone)]
pub struct Run {
    pub origin: Arc<Origin>,
    /// Source position of the run's first byte.
    pub base: u64,
    /// Which of the batch's records.
    pub records: Range<u32>,
    /// The topic, where the input made it: it differs from record to record.
    pub topic: Option<Arc<str>>,
}

/// What an input that reads more out of its records than their bytes makes of them. Each list is empty, or has an item per record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Keys, in the arena.
    pub keys: Vec<Span>,
    /// What decides the partition where the key does not, in the arena.
    pub places: Vec<Span>,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The values of the headers, in the arena; so many per record as there are `header_names`.
    pub headers: Vec<Span>,
    pub header_names: Arc<[std::ffi::CString]>,
}

impl Extras {
    /// Whether records need more than a key and a value.
    pub fn is_elaborate(&self) -> bool {
        !self.timestamps.is_empty() || !self.headers.is_empty()
    }

    /// The headers of a record.
    pub fn headers_of(&self, record: usize) -> impl Iterator<Item = (&std::ffi::CStr, Span)> {
        let most = self.header_names.len();
        let values = self.headers.get(record * most..(record + 1) * most);
        let names = self.header_names.iter().map(std::ops::Deref::deref);
        names.zip(values.unwrap_or_default().iter().copied())
    }

    /// Bytes that the lists need, for the budget.
    pub fn bytes(&self) -> u64 {
        let spans = (self.keys.len() + self.places.len() + self.headers.len()) * size_of::<Span>();
        (spans + self.timestamps.len() * size_of::<i64>()) as u64
    }
}

/// Lines on their way, with the means to answer for them.
///
/// Dropping a batch drops its receipt unsettled, which is loud: the position never passes it.
pub struct Batch {
    pub arena: Arena,
    pub records: Vec<Record>,
    pub runs: Vec<Run>,
    pub extras: Extras,
    pub receipt: Receipt,
    /// What the batch has taken from the budget; given back on drop.
    pub charge: Charge,
}

impl Batch {
    /// The bytes of a record's value.
    pub fn value(&self, record: usize) -> &[u8] {
        self.text(self.records[record].value)
    }

    /// A piece of the arena.
    pub fn text(&self, span: Span) -> &[u8] {
        &self.arena.filled()[span.range()]
    }

    /// The run that a record belongs to.
    pub fn run_of(&self, record: usize) -> &Run {
        let at = self
            .runs
            .partition_point(|run| run.records.end as usize <= record);
        &self.runs[at.min(self.runs.len() - 1)]
    }

    /// Where a record begins in its source, in bytes.
    pub fn position_of(&self, record: usize) -> u64 {
        self.run_of(record).base + u64::from(self.records[record].at)
    }

    /// What a record counts for in the books: the lines that end with it, and its source bytes.
    pub fn count_of(&self, record: usize) -> Count {
        self.records[record].count()
    }

    /// What the whole batch counts for.
    pub fn count(&self) -> Count {
        count(&self.records)
    }
}

impl Record {
    fn count(&self) -> Count {
        Count {
            lines: u64::from(self.lines),
            bytes: u64::from(self.bytes),
        }
    }
}

/// What `records` count for.
pub fn count(records: &[Record]) -> Count {
    let mut sum = Count::default();
    for record in records {
        sum += record.count();
    }
    sum
}
