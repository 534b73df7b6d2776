//! What the records of the positions topic look like. Pure.
//!
//! | key | value |
//! |---|---|
//! | `{"id":"web-1","pipeline":"nginx"}` | `{"writer":"...","number":12}`: the stamp, in every transaction |
//! | `{"id":"web-1","pipeline":"nginx","mark":"7"}` | `{"writer":"...","mark":{...}}`: a mark, as its source gave it; null when it stands for nothing any more |
//!
//! Invariant: a key is always the same bytes, for compaction goes by them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::{Found, Mark, Stamp};
use crate::kafka::settings::ExactlyOnce;

#[derive(Serialize, Deserialize)]
struct Key {
    id: String,
    pipeline: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct StampValue {
    writer: String,
    number: u64,
}

#[derive(Deserialize)]
struct MarkValue {
    mark: serde_json::Value,
}

/// A record: key and value.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// The record of a mark.
///
/// # Errors
/// Never met: texts can always be written as JSON.
pub fn of_mark(of: &ExactlyOnce, writer: &str, mark: &Mark) -> serde_json::Result<Record> {
    let key = key(of, Some(mark.key.clone()))?;
    let Some(value) = &mark.value else {
        return Ok((key, None));
    };
    // The source's JSON is put in as it is.
    let writer = serde_json::to_string(writer)?;
    let value = format!("{{\"writer\":{writer},\"mark\":{value}}}");
    Ok((key, Some(value.into_bytes())))
}

/// The record of a stamp.
///
/// # Errors
/// Never met.
pub fn of_stamp(of: &ExactlyOnce, stamp: &Stamp) -> serde_json::Result<Record> {
    let value = StampValue {
        writer: stamp.writer.clone(),
        number: stamp.number,
    };
    Ok((key(of, None)?, Some(serde_json::to_vec(&value)?)))
}

fn key(of: &ExactlyOnce, mark: Option<String>) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Key {
        id: of.id.clone(),
        pipeline: of.pipeline.clone(),
        mark,
    })
}

/// What the records of a partition say about one pipeline, in their order.
pub struct Reading<'a> {
    of: &'a ExactlyOnce,
    stamp: Option<Stamp>,
    marks: BTreeMap<String, String>,
}

impl<'a> Reading<'a> {
    pub fn new(of: &'a ExactlyOnce) -> Self {
        Self {
            of,
            stamp: None,
            marks: BTreeMap::new(),
        }
    }

    /// The next record. Those of other pipelines are passed over.
    ///
    /// # Errors
    /// Words about a record of this pipeline that cannot be understood: guessing would repeat or lose lines.
    pub fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), String> {
        let Some(key) = key.and_then(|key| serde_json::from_slice::<Key>(key).ok()) else {
            return Ok(());
        };
        if key.id != self.of.id || key.pipeline != self.of.pipeline {
            return Ok(());
        }
        match (key.mark, value) {
            (None, None) => self.stamp = None,
            (None, Some(value)) => {
                let StampValue { writer, number } =
                    serde_json::from_slice(value).map_err(|error| error.to_string())?;
                self.stamp = Some(Stamp { writer, number });
            }
            (Some(mark), None) => drop(self.marks.remove(&mark)),
            (Some(mark), Some(value)) => {
                let value: MarkValue =
                    serde_json::from_slice(value).map_err(|error| error.to_string())?;
                self.marks.insert(mark, value.mark.to_string());
            }
        }
        Ok(())
    }

    pub fn finish(self) -> Found {
        let marks = self.marks.into_iter().map(|(key, value)| Mark {
            key,
            value: Some(value),
        });
        Found {
            stamp: self.stamp,
            marks: marks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn of(pipeline: &str) -> ExactlyOnce {
        ExactlyOnce {
            id: "web-1".into(),
            pipeline: pipeline.into(),
            commit: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
        }
    }

    fn mark(key: &str, value: Option<&str>) -> Mark {
        Mark {
            key: key.into(),
            value: value.map(Into::into),
        }
    }

    #[test]
    fn what_was_written_last_is_found_again_and_others_are_passed_over() {
        let (ours, others) = (of("nginx"), of("app"));
        let stamp = |number| Stamp {
            writer: "w".into(),
            number,
        };
        let written = [
            of_mark(&ours, "w", &mark("1", Some("{\"offset\":5}"))).unwrap(),
            of_mark(&others, "w", &mark("1", Some("{\"offset\":99}"))).unwrap(),
            of_stamp(&ours, &stamp(1)).unwrap(),
            of_stamp(&others, &stamp(7)).unwrap(),
            (b"somebody else's".to_vec(), None),
            of_mark(&ours, "w", &mark("2", Some("{}"))).unwrap(),
            of_mark(&ours, "w", &mark("1", Some("{\"offset\":6}"))).unwrap(),
            of_mark(&ours, "w", &mark("2", None)).unwrap(),
            of_stamp(&ours, &stamp(2)).unwrap(),
        ];
        let mut reading = Reading::new(&ours);
        for (key, value) in &written {
            reading.take(Some(key), value.as_deref()).unwrap();
        }
        let found = reading.finish();
        assert_eq!(found.stamp, Some(stamp(2)));
        assert_eq!(found.marks, [mark("1", Some("{\"offset\":6}"))]);
    }

    #[test]
    fn a_record_of_ours_that_cannot_be_understood_is_not_passed_over() {
        let ours = of("nginx");
        let (key, _) = of_stamp(
            &ours,
            &Stamp {
                writer: "w".into(),
                number: 1,
            },
        )
        .unwrap();
        assert!(Reading::new(&ours).take(Some(&key), Some(b"{")).is_err());
    }

    #[test]
    fn the_records_look_like_this() {
        let (key, value) = of_mark(&of("nginx"), "w1", &mark("7", Some("{\"a\":1}"))).unwrap();
        assert_eq!(
            String::from_utf8(key).unwrap(),
            r#"{"id":"web-1","pipeline":"nginx","mark":"7"}"#
        );
        assert_eq!(
            String::from_utf8(value.unwrap()).unwrap(),
            r#"{"writer":"w1","mark":{"a":1}}"#
        );
    }
}
