//! `format: { template: TEXT }`: what a template makes of each record. It writes its own line ends.

use crate::flow::{Consumed, TimestampKind};
use crate::template::{LineFacts, LineTemplate};

/// Appends what is written for one record.
pub fn append(template: &LineTemplate, records: &dyn Consumed, index: usize, out: &mut Vec<u8>) {
    let record = records.get(index);
    let header = |name: &str, out: &mut Vec<u8>| {
        last_header(records, index, name, out);
    };
    let facts = LineFacts {
        topic: record.topic,
        partition: record.partition,
        offset: record.offset,
        key: record.key,
        value: record.value,
        time_ms: (record.timestamp_kind != TimestampKind::None).then_some(record.timestamp_ms),
        header: &header,
    };
    template.render(&facts, out);
}

/// Appends the value of the last header called `name`. `false` when there is none, or it has no value.
pub fn last_header(records: &dyn Consumed, index: usize, name: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut found = false;
    records.headers(index, &mut |it, value| {
        if it == name {
            out.truncate(start);
            found = value.is_some();
            out.extend_from_slice(value.unwrap_or_default());
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::RecordView;

    struct One;

    impl Consumed for One {
        fn len(&self) -> usize {
            1
        }

        fn get(&self, _: usize) -> RecordView<'_> {
            RecordView {
                topic: "web",
                partition: 3,
                offset: 42,
                timestamp_ms: 0,
                timestamp_kind: TimestampKind::None,
                key: None,
                value: Some(b"v"),
            }
        }

        fn headers(&self, _: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
            each("a", Some(b"first"));
            each("b", None);
            each("a", Some(b"last"));
        }
    }

    #[test]
    fn a_record_without_a_time_has_none_and_of_headers_with_one_name_the_last_counts() {
        let template = LineTemplate::parse("%Y{timestamp}|{header.a}|{header.b}|{value}").unwrap();
        let mut out = Vec::new();
        append(&template, &One, 0, &mut out);
        assert_eq!(out, b"|last||v");
        assert!(!last_header(&One, 0, "b", &mut out) && !last_header(&One, 0, "c", &mut out));
    }
}
