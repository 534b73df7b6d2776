//! `json`: one lossless object a line, the form of [`crate::envelope::consumed`].

use crate::envelope::consumed::push_record;
use crate::flow::Consumed;

/// Appends one record.
pub fn append(records: &dyn Consumed, index: usize, out: &mut Vec<u8>) {
    push_record(records, index, out);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{RecordView, TimestampKind};

    struct Samples(Vec<RecordView<'static>>);

    impl Consumed for Samples {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn get(&self, index: usize) -> RecordView<'_> {
            self.0[index]
        }

        fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
            if index == 0 {
                each("n", Some(b"v"));
                each("trace \"id\"", None);
                each("raw", Some(b"\x00\xfe"));
            }
        }
    }

    const RECORD: RecordView<'static> = RecordView {
        topic: "web",
        partition: 3,
        offset: 42,
        timestamp_ms: 1_795_246_085_401,
        timestamp_kind: TimestampKind::Create,
        key: Some(b"k"),
        value: Some(b"v"),
    };

    fn line(record: RecordView<'static>, index: usize) -> String {
        let mut out = Vec::new();
        append(&Samples(vec![record; index + 1]), index, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_record_with_headers_is_told_whole() {
        assert_eq!(
            line(RECORD, 0),
            concat!(
                r#"{"topic":"web","partition":3,"offset":42,"timestamp_ms":1795246085401,"timestamp_type":"create","key":"k","value":"v","#,
                r#""headers":[{"name":"n","value":"v"},{"name":"trace \"id\"","value":null},"#,
                "{\"name\":\"raw\",\"value\":\"\\u0000\u{fffd}\",\"value_base64\":\"AP4=\"}]}\n",
            )
        );
    }

    #[test]
    fn nulls_stay_null_and_empty_stays_empty() {
        let record = RecordView {
            key: None,
            value: None,
            timestamp_kind: TimestampKind::None,
            timestamp_ms: 0,
            ..RECORD
        };
        assert_eq!(
            line(record, 1),
            concat!(
                r#"{"topic":"web","partition":3,"offset":42,"timestamp_ms":null,"timestamp_type":"none","key":null,"value":null,"headers":[]}"#,
                "\n"
            )
        );
        let record = RecordView {
            key: Some(b""),
            value: Some(b""),
            timestamp_kind: TimestampKind::LogAppend,
            ..RECORD
        };
        assert_eq!(
            line(record, 1),
            concat!(
                r#"{"topic":"web","partition":3,"offset":42,"timestamp_ms":1795246085401,"timestamp_type":"log_append","key":"","value":"","headers":[]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn bytes_that_are_not_text_stand_beside_it_in_base64() {
        let record = RecordView {
            key: Some(b"\xff"),
            value: Some(b"tab\there\n\xc3"),
            ..RECORD
        };
        assert_eq!(
            line(record, 1),
            concat!(
                r#"{"topic":"web","partition":3,"offset":42,"timestamp_ms":1795246085401,"timestamp_type":"create","#,
                "\"key\":\"\u{fffd}\",\"key_base64\":\"/w==\",\"value\":\"tab\\there\\n\u{fffd}\",\"value_base64\":\"dGFiCWhlcmUKww==\",\"headers\":[]}\n",
            )
        );
    }
}
