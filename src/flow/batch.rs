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
}

/// What an input that makes more of its records than their bytes makes of them. Each list is empty, or has an item per record.
///
/// A template that is to be asked for each record once more has its list of spans here, beside the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// What keys, places and headers are pieces of.
    pub text: Vec<u8>,
    /// Absent: a null key.
    pub keys: Vec<Option<Span>>,
    /// What decides the partition where the key does not. Absent: something that it is made of is.
    pub places: Vec<Option<Span>>,
    /// Milliseconds since 1970.
    pub timestamps: Vec<i64>,
    /// The values of the headers; so many per record as there are `header_names`. Absent: the record lacks that header.
    pub headers: Vec<Option<Span>>,
    pub header_names: Arc<[std::ffi::CString]>,
    /// Which of `topic_names` each record is for. Empty: the route knows the topic.
    pub topics: Vec<u32>,
    pub topic_names: Vec<Arc<str>>,
}

impl Extras {
    /// Whether records need more than a key and a value.
    pub fn is_elaborate(&self) -> bool {
        !self.timestamps.is_empty() || !self.headers.is_empty()
    }

    /// A piece of the text.
    pub fn piece(&self, span: Span) -> &[u8] {
        &self.text[span.range()]
    }

    /// A record's key, where the input made it; absent: a null key.
    pub fn key_of(&self, record: usize) -> Option<&[u8]> {
        let span = self.keys.get(record)?;
        span.map(|span| self.piece(span))
    }

    /// What decides a record's partition, where the input made it.
    pub fn place_of(&self, record: usize) -> Option<&[u8]> {
        let span = self.places.get(record)?;
        span.map(|span| self.piece(span))
    }

    /// The headers that a record has.
    pub fn headers_of(&self, record: usize) -> impl Iterator<Item = (&std::ffi::CStr, &[u8])> {
        let most = self.header_names.len();
        let values = self.headers.get(record * most..(record + 1) * most);
        let names = self.header_names.iter().map(std::ops::Deref::deref);
        let values = values.unwrap_or_default().iter();
        names
            .zip(values)
            .filter_map(|(name, value)| Some((name, self.piece((*value)?))))
    }

    /// Forgets what belongs to records from `records` on.
    pub fn truncate(&mut self, records: usize) {
        self.keys.truncate(records);
        self.places.truncate(records);
        self.timestamps.truncate(records);
        self.headers.truncate(records * self.header_names.len());
        self.topics.truncate(records);
    }

    /// Lays them out in another order; `order` has the number of each record once.
    fn lay_out(&mut self, order: &[u32]) {
        self.keys = reordered(&self.keys, order);
        self.places = reordered(&self.places, order);
        self.timestamps = reordered(&self.timestamps, order);
        self.topics = reordered(&self.topics, order);
        let most = self.header_names.len();
        if most > 0 && !self.headers.is_empty() {
            let values = order.iter().map(|record| *record as usize * most);
            let values = values.flat_map(|at| &self.headers[at..at + most]);
            self.headers = values.copied().collect();
        }
    }

    /// Bytes that they need, for the budget.
    pub fn bytes(&self) -> u64 {
        let spans = self.keys.len() + self.places.len() + self.headers.len();
        let numbers =
            self.timestamps.len() * size_of::<i64>() + self.topics.len() * size_of::<u32>();
        (self.text.capacity() + spans * size_of::<Option<Span>>() + numbers) as u64
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
        &self.arena.filled()[self.records[record].value.range()]
    }

    /// Lays the records out in another order, so that those that are sent together stand together. `order` has the number of each record
    /// once; else nothing happens.
    ///
    /// `true`: they have new numbers, those of their places in `order`. Records of several runs keep their numbers, by which their runs are
    /// found, and only their values are laid out.
    pub fn lay_out(&mut self, order: &[u32]) -> bool {
        const NOWHERE: u32 = u32::MAX;
        let bytes = (self.records.iter()).map(|record| record.value.len as usize);
        let mut arena = self.arena.another(bytes.sum());
        let mut starts = vec![NOWHERE; self.records.len()];
        for &record in order {
            let (record, start) = (record as usize, arena.len() as u32);
            if starts.get(record) != Some(&NOWHERE) || !arena.push(self.value(record)) {
                return false;
            }
            starts[record] = start;
        }
        if starts.contains(&NOWHERE) {
            return false;
        }
        for (record, start) in self.records.iter_mut().zip(starts) {
            record.value.start = start;
        }
        self.arena = arena;
        let are_of_one_run = self.runs.len() == 1;
        if are_of_one_run {
            self.records = reordered(&self.records, order);
            self.extras.lay_out(order);
        }
        are_of_one_run
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

/// One item per record, in another order. None at all stay none.
pub fn reordered<T: Copy>(items: &[T], order: &[u32]) -> Vec<T> {
    let items = |record: &u32| items.get(*record as usize).copied();
    order.iter().filter_map(items).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::arena::Arenas;
    use crate::flow::{Budget, Tracker};
    use proptest::prelude::*;

    fn batch(values: &[String], runs: usize) -> Batch {
        let (_, share) = Budget::split(1 << 20, 1);
        let mut arena = Arenas::new(2).take(0);
        let mut records = Vec::new();
        for value in values {
            let start = arena.len() as u32;
            assert!(arena.push(value.as_bytes()) && arena.push(b"\n"));
            let len = value.len() as u32;
            records.push(Record {
                value: Span { start, len },
                at: start,
                bytes: len + 1,
                lines: 1,
            });
        }
        let run = Run {
            origin: Arc::new(Origin {
                input: "a".into(),
                path: None,
            }),
            base: 0,
            records: 0..records.len() as u32,
        };
        let numbers = 0..records.len();
        let extras = Extras {
            text: numbers.clone().map(|at| at as u8).collect(),
            keys: numbers.clone().map(piece).map(Some).collect(),
            timestamps: numbers.clone().map(|at| at as i64).collect(),
            headers: numbers.flat_map(|at| [Some(piece(at)), None]).collect(),
            header_names: [c"a", c"b"].map(Into::into).into(),
            ..Extras::default()
        };
        Batch {
            arena,
            records,
            runs: vec![run; runs],
            extras,
            receipt: Receipt::new(Arc::new(Tracker::<u64>::new(Arc::default())), Vec::new()),
            charge: share[0].try_take(1).unwrap(),
        }
    }

    fn piece(at: usize) -> Span {
        Span {
            start: at as u32,
            len: 1,
        }
    }

    fn values(batch: &Batch) -> Vec<String> {
        let values = (0..batch.records.len()).map(|at| batch.value(at));
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    fn given() -> impl Strategy<Value = (Vec<String>, Vec<u32>)> {
        proptest::collection::vec(".{0,9}", 0..30).prop_flat_map(|given| {
            let order: Vec<u32> = (0..given.len() as u32).collect();
            (Just(given), Just(order).prop_shuffle())
        })
    }

    proptest! {
        #[test]
        fn records_of_one_run_are_numbered_anew_with_all_that_belongs_to_them((given, order) in given()) {
            let mut batch = batch(&given, 1);
            let counted = batch.count();
            prop_assert!(batch.lay_out(&order));
            prop_assert_eq!(batch.count(), counted);
            prop_assert_eq!(batch.records.len(), given.len());
            for (at, was) in order.iter().map(|was| *was as usize).enumerate() {
                prop_assert_eq!(batch.value(at), given[was].as_bytes());
                prop_assert_eq!(batch.extras.key_of(at), Some(&[was as u8][..]));
                prop_assert_eq!(batch.extras.timestamps[at], was as i64);
                let headers: Vec<_> = batch.extras.headers_of(at).collect();
                prop_assert_eq!(headers, [(c"a", &[was as u8][..])]);
            }
            let starts = batch.records.iter().map(|record| record.value.start);
            prop_assert!(starts.is_sorted());
        }

        #[test]
        fn records_of_several_runs_keep_their_numbers_and_values((given, order) in given()) {
            let mut batch = batch(&given, 2);
            prop_assert!(!batch.lay_out(&order));
            prop_assert_eq!(values(&batch), &given[..]);
            let starts = order.iter().map(|at| batch.records[*at as usize].value.start);
            prop_assert!(starts.is_sorted());
        }
    }

    #[test]
    fn an_order_that_is_none_changes_nothing() {
        let given = ["one", "two", "three"].map(String::from);
        for order in [&[0, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 2]] {
            let mut batch = batch(&given, 1);
            assert!(!batch.lay_out(order));
            assert_eq!(values(&batch), given);
            assert_eq!(batch.records[2].value.start, 8);
        }
    }
}
