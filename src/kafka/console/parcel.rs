//! Records on their way into one topic: spans of an arena, and for each the line of the input that it was.
//!
//! A plain record is a value and perhaps a key. What else a record may have (headers and a time of its own) is kept apart, so that
//! plain ones do not pay for it.

use std::ops::Range;
use std::sync::Arc;

use crate::flow::{Arena, Span};
use crate::kafka::partition::By;
use crate::kafka::partition::deal::Records;
use crate::kafka::properties::RECORD_WIRE_OVERHEAD;

/// Records in an arena. Does not change any more once it is sent.
pub struct Parcel {
    arena: Arena,
    records: Vec<Record>,
    /// What names the partition of each record; empty, or one per record.
    places: Vec<Span>,
    /// Headers that every record has, before its own.
    common: Arc<[(Vec<u8>, Vec<u8>)]>,
    /// Empty, or one per record.
    extras: Vec<Extra>,
    headers: Vec<(Span, Option<Span>)>,
}

/// Stands for a length: there is nothing, not even an empty text.
const NULL: u32 = u32::MAX;

struct Record {
    value: Span,
    key: Span,
    line: u64,
}

struct Extra {
    timestamp: Option<i64>,
    headers: Range<u32>,
}

/// What becomes a record, as ranges of the arena.
#[derive(Debug, Default, Clone)]
pub struct Made {
    /// Absent: null.
    pub value: Option<Range<usize>>,
    /// Absent: null.
    pub key: Option<Range<usize>>,
    /// What names its partition.
    pub place: Option<Range<usize>>,
    /// Counted from 1.
    pub line: u64,
}

/// What a record may have besides.
#[derive(Debug, Default, Clone)]
pub struct Besides {
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Name and value, as ranges of the arena.
    pub headers: Vec<(Range<usize>, Option<Range<usize>>)>,
}

fn span(range: Option<Range<usize>>) -> Span {
    range.map_or(
        Span {
            start: 0,
            len: NULL,
        },
        |range| Span {
            start: range.start as u32,
            len: range.len() as u32,
        },
    )
}

impl Parcel {
    /// An empty one. `common` are headers (name, value) that each record gets.
    pub fn new(arena: Arena, common: Arc<[(Vec<u8>, Vec<u8>)]>) -> Self {
        Self {
            arena,
            records: Vec::new(),
            places: Vec::new(),
            common,
            extras: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    pub fn arena_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }

    /// Adds a record. In one parcel, either all records have [`Besides`] or none.
    pub fn push(&mut self, made: Made, besides: Option<Besides>) {
        if made.place.is_some() || !self.places.is_empty() {
            // Those before it have none.
            self.places.resize(self.records.len(), span(None));
            self.places.push(span(made.place));
        }
        self.records.push(Record {
            value: span(made.value),
            key: span(made.key),
            line: made.line,
        });
        if let Some(besides) = besides {
            let start = self.headers.len() as u32;
            for (name, value) in besides.headers {
                let value = value.map(|value| span(Some(value)));
                self.headers.push((span(Some(name)), value));
            }
            self.extras.push(Extra {
                timestamp: besides.timestamp,
                headers: start..self.headers.len() as u32,
            });
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn text(&self, span: Span) -> Option<&[u8]> {
        (span.len != NULL).then(|| &self.arena.filled()[span.range()])
    }

    /// A record's value; `None` is null.
    pub fn value(&self, record: usize) -> Option<&[u8]> {
        self.text(self.records[record].value)
    }

    /// A record's key; `None` is null.
    pub fn key(&self, record: usize) -> Option<&[u8]> {
        self.text(self.records[record].key)
    }

    /// What names a record's partition.
    pub fn place(&self, record: usize) -> Option<&[u8]> {
        self.text(*self.places.get(record)?)
    }

    /// The line that a record was, counted from 1.
    pub fn line(&self, record: usize) -> u64 {
        self.records[record].line
    }

    /// A record's own time, in milliseconds since 1970.
    pub fn timestamp(&self, record: usize) -> Option<i64> {
        self.extras.get(record)?.timestamp
    }

    /// Whether records have more than a key and a value.
    pub fn is_elaborate(&self) -> bool {
        !self.common.is_empty() || !self.extras.is_empty()
    }

    /// Name and value of each header of a record, in order.
    pub fn headers(&self, record: usize) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let own = self.extras.get(record).map_or(0..0, |extra| {
            extra.headers.start as usize..extra.headers.end as usize
        });
        let common = self.common.iter();
        let own = self.headers[own].iter();
        common
            .map(|(name, value)| (name.as_slice(), Some(value.as_slice())))
            .chain(own.map(|(name, value)| {
                let name = self.text(*name).unwrap_or_default();
                (name, value.and_then(|value| self.text(value)))
            }))
    }

    /// What a record weighs on the wire without overhead, in bytes.
    pub fn weight(&self, record: usize) -> usize {
        let lengths = |span: Span| {
            if span.len == NULL {
                0
            } else {
                span.len as usize
            }
        };
        let Record { value, key, .. } = &self.records[record];
        let plain = lengths(*value) + lengths(*key);
        if !self.is_elaborate() {
            return plain;
        }
        // Two lengths stand before a header's name and value.
        let headers = self
            .headers(record)
            .map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + 6);
        plain + headers.sum::<usize>()
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.arena.capacity()
            + self.records.capacity() * size_of::<Record>()
            + self.places.capacity() * size_of::<Span>()
            + self.extras.capacity() * size_of::<Extra>()
            + self.headers.capacity() * size_of::<(Span, Option<Span>)>()
    }
}

impl Records for Parcel {
    fn text(&self, by: By, record: u32) -> Option<&[u8]> {
        match by {
            By::Key => self.key(record as usize),
            By::Place => self.place(record as usize),
        }
    }

    fn are_alike(&self, by: By) -> bool {
        match by {
            By::Key => self.records.iter().all(|record| record.key.len == NULL),
            By::Place => self.places.is_empty(),
        }
    }

    fn weight(&self, record: u32) -> usize {
        Self::weight(self, record as usize) + RECORD_WIRE_OVERHEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Arenas;

    #[test]
    fn null_and_empty_are_kept_apart_and_own_headers_come_after_common_ones() {
        let mut arena = Arenas::new(0).take(100);
        assert!(arena.push(b"keyvalue"));
        let common = [(b"host".to_vec(), b"web".to_vec())];
        let mut parcel = Parcel::new(arena, common.into());
        let made = |value, key| Made {
            value,
            key,
            place: None,
            line: 7,
        };
        let besides = Besides {
            timestamp: Some(5),
            headers: vec![(0..3, None), (0..3, Some(3..3))],
        };
        parcel.push(made(Some(3..8), Some(0..0)), Some(besides));
        parcel.push(made(None, None), Some(Besides::default()));
        assert_eq!(
            (parcel.value(0), parcel.key(0)),
            (Some(&b"value"[..]), Some(&b""[..]))
        );
        assert_eq!((parcel.value(1), parcel.key(1)), (None, None));
        assert_eq!((parcel.timestamp(0), parcel.timestamp(1)), (Some(5), None));
        let headers: Vec<_> = parcel.headers(0).collect();
        assert_eq!(
            headers,
            [
                (&b"host"[..], Some(&b"web"[..])),
                (b"key", None),
                (b"key", Some(b"")),
            ]
        );
        assert_eq!(parcel.headers(1).count(), 1);
        assert_eq!(parcel.weight(1), 4 + 3 + 6);
    }
}
