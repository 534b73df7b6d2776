//! The way back: a line of [`super::consumed`] as the parts of a record.
//!
//! Where a record came from (topic, offset) is read over: it goes somewhere else. Its partition is told, for who wants it in the same one. Parts that are left out are a null key, no
//! headers, no time; the value has to be there, so that no other JSON is taken for records with null values.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Bytes, or null.
type Bytes<'a> = Option<Cow<'a, [u8]>>;

/// A record as a line tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told<'a> {
    pub key: Bytes<'a>,
    pub value: Bytes<'a>,
    /// Name and value.
    pub headers: Vec<(Cow<'a, [u8]>, Bytes<'a>)>,
    /// Milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    /// Whatever stands there.
    pub partition: Value,
}

/// Reads one line, without its line end.
///
/// # Errors
/// What is wrong with it, and where.
pub fn read_record(line: &[u8]) -> Result<Told<'_>, String> {
    let form: Form<'_> = serde_json::from_slice(line).map_err(|error| words(&error))?;
    let Some(value) = form.value else {
        return Err("it has no \"value\"; a null value is written as null".to_owned());
    };
    let headers = form.headers.unwrap_or_default().into_iter().map(|header| {
        Ok((
            bytes(Some(header.name), header.name_base64, "name_base64")?.unwrap_or_default(),
            bytes(header.value, header.value_base64, "value_base64")?,
        ))
    });
    Ok(Told {
        key: bytes(form.key, form.key_base64, "key_base64")?,
        value: bytes(value, form.value_base64, "value_base64")?,
        headers: headers.collect::<Result<_, String>>()?,
        timestamp_ms: form.timestamp_ms,
        partition: form.partition,
    })
}

/// A line is one line: only the column says something.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    format!(
        "it is not a record in JSON: {what} at column {}",
        error.column()
    )
}

/// The exact bytes, when they stand beside the text, are the record's.
fn bytes<'a>(
    text: Option<Cow<'a, str>>,
    exact: Option<Cow<'a, str>>,
    name: &str,
) -> Result<Option<Cow<'a, [u8]>>, String> {
    if let Some(exact) = exact {
        let decoded = STANDARD.decode(exact.as_bytes());
        return decoded
            .map(|bytes| Some(Cow::Owned(bytes)))
            .map_err(|error| format!("{name} is not base64: {error}"));
    }
    Ok(text.map(|text| match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<'a> {
    #[serde(default)]
    #[expect(dead_code, reason = "read over")]
    topic: serde::de::IgnoredAny,
    #[serde(default)]
    partition: Value,
    #[serde(default)]
    #[expect(dead_code, reason = "read over")]
    offset: serde::de::IgnoredAny,
    #[serde(default)]
    #[expect(dead_code, reason = "the broker gives it anew")]
    timestamp_type: serde::de::IgnoredAny,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default, borrow, deserialize_with = "text")]
    key: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    key_base64: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "present")]
    value: Option<Option<Cow<'a, str>>>,
    #[serde(default, borrow, deserialize_with = "text")]
    value_base64: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    headers: Option<Vec<HeaderForm<'a>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderForm<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default, borrow, deserialize_with = "text")]
    name_base64: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    value: Option<Cow<'a, str>>,
    #[serde(default, borrow, deserialize_with = "text")]
    value_base64: Option<Cow<'a, str>>,
}

/// A text that is borrowed from the line where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cow<'de, str>>, D::Error> {
    Ok(Option::<Text<'de>>::deserialize(from)?.map(|text| text.0))
}

/// `Some(None)` is null, `None` is left out.
#[expect(clippy::option_option, reason = "null and left out are told apart")]
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Cow<'de, str>>>, D::Error> {
    text(from).map(Some)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::consumed::push_record;
    use crate::flow::{Consumed, RecordView, TimestampKind};

    type Owned = Option<Vec<u8>>;

    struct One {
        key: Owned,
        value: Owned,
        timestamp: Option<i64>,
        headers: Vec<(String, Owned)>,
    }

    impl Consumed for One {
        fn len(&self) -> usize {
            1
        }

        fn get(&self, _: usize) -> RecordView<'_> {
            RecordView {
                topic: "t",
                partition: 1,
                offset: 2,
                timestamp_ms: self.timestamp.unwrap_or(0),
                timestamp_kind: match self.timestamp {
                    Some(_) => TimestampKind::Create,
                    None => TimestampKind::None,
                },
                key: self.key.as_deref(),
                value: self.value.as_deref(),
            }
        }

        fn headers(&self, _: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
            for (name, value) in &self.headers {
                each(name, value.as_deref());
            }
        }
    }

    fn any_bytes() -> impl Strategy<Value = Owned> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back_exactly(
            key in any_bytes(),
            value in any_bytes(),
            timestamp in proptest::option::of(0..i64::MAX),
            headers in proptest::collection::vec((".{0,5}", any_bytes()), 0..4),
        ) {
            let record = One { key, value, timestamp, headers };
            let mut line = Vec::new();
            push_record(&record, 0, &mut line);
            let told = read_record(&line).unwrap();
            prop_assert_eq!(told.key.as_deref(), record.key.as_deref());
            prop_assert_eq!(told.value.as_deref(), record.value.as_deref());
            prop_assert_eq!(told.timestamp_ms, record.timestamp);
            prop_assert_eq!(told.partition, Value::from(1));
            let headers: Vec<_> = told.headers.iter()
                .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.as_ref().map(|value| value.to_vec())))
                .collect();
            prop_assert_eq!(headers, record.headers);
        }

        #[test]
        fn no_line_panics(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_record(&line);
        }
    }

    #[test]
    fn what_is_left_out_is_null_but_for_the_value() {
        let told = read_record(br#"{"value":"v"}"#).unwrap();
        assert_eq!(
            told,
            Told {
                value: Some(b"v"[..].into()),
                ..Told::default()
            }
        );
        assert_eq!(read_record(br#"{"value":null}"#).unwrap(), Told::default());
        let error = read_record(br#"{"key":"k"}"#).unwrap_err();
        assert!(error.contains("no \"value\""), "{error}");
    }

    #[test]
    fn what_is_no_record_says_why() {
        for (line, word) in [
            (r#"{"value":{"a":1}}"#, "expected a"),
            (r#"{"value":"a","level":"info"}"#, "level"),
            (r#"{"value":"a""#, "EOF"),
            (r#"{"value":"x","value_base64":"*"}"#, "value_base64"),
            ("plain", "column 1"),
        ] {
            let error = read_record(line.as_bytes()).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
