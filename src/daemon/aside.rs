//! From what a pipeline refuses to a dead letter.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::dead_letter::{DeadLetter, DeadLetterError, DeadLetters, Header, Source};
use crate::disk::Disk;
use crate::input::dress::block;
use crate::input::{self, LongLine, syslog};
use crate::kafka::producer::SetAside;
use crate::output::file::writer::{Refuse, Refused};

/// The dead letters of all pipelines. The folder is made with the first one.
#[derive(Clone)]
pub struct Aside(Arc<Shared>);

struct Shared {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    max_size: u64,
    letters: Mutex<Option<DeadLetters>>,
}

impl Aside {
    pub fn new(disk: Arc<dyn Disk>, data_dir: &Path, max_size: u64) -> Self {
        Self(Arc::new(Shared {
            disk,
            data_dir: data_dir.to_owned(),
            max_size,
            letters: Mutex::new(None),
        }))
    }

    /// Durable when it returns `Ok`.
    fn set_aside(&self, aside: &[DeadLetter]) -> Result<(), DeadLetterError> {
        let mut letters = self
            .0
            .letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let open = match letters.take() {
            Some(open) => open,
            None => DeadLetters::open(self.0.disk.clone(), &self.0.data_dir, self.0.max_size)?,
        };
        letters.insert(open).set_aside(aside)
    }
}

/// For messages that a syslog input does not send.
pub fn set_aside_message(aside: Aside, pipeline: String) -> syslog::SetAside {
    Box::new(move |refused| {
        let letter = DeadLetter {
            time: Timestamp::now(),
            pipeline: pipeline.clone(),
            topic: refused.topic.map(str::to_owned),
            key: None,
            value: Some(refused.value.to_vec()),
            headers: Vec::new(),
            place: None,
            timestamp_ms: None,
            source: Source::Syslog {
                peer: refused.peer.map(str::to_owned),
                offset: refused.offset,
            },
            reason: refused.reason.to_owned(),
            code: refused.code.to_owned(),
        };
        aside
            .set_aside(&[letter])
            .map_err(|error| error.to_string())
    })
}

/// For an input's records that Kafka refuses.
pub fn set_aside_input(aside: Aside, pipeline: String, is_syslog: bool) -> SetAside {
    Box::new(move |refused| {
        let time = Timestamp::now();
        let letters: Vec<_> = refused
            .iter()
            .map(|refused| DeadLetter {
                time,
                pipeline: pipeline.clone(),
                topic: Some(refused.topic.to_owned()),
                key: refused.key.map(<[u8]>::to_vec),
                value: Some(refused.value.to_vec()),
                headers: refused
                    .headers
                    .iter()
                    .map(|(name, value)| Header {
                        name: name.clone(),
                        value: Some(value.to_vec()),
                    })
                    .collect(),
                place: refused.place.map(<[u8]>::to_vec),
                timestamp_ms: refused.timestamp_ms,
                source: match refused.path {
                    None if is_syslog => Source::Syslog {
                        peer: None,
                        offset: refused.offset,
                    },
                    Some(path) => Source::File {
                        path: path.to_owned(),
                        offset: refused.offset,
                    },
                    None => Source::Stdin {
                        offset: refused.offset,
                    },
                },
                reason: refused.error.to_owned(),
                code: refused.reason.to_owned(),
            })
            .collect();
        aside.set_aside(&letters).map_err(|error| error.to_string())
    })
}

/// For records that an input does not send.
pub fn set_aside_records(aside: Aside, pipeline: String) -> block::SetAside {
    Box::new(move |refused| {
        let letters = refused.iter().map(|record| {
            let headers = record.headers.iter();
            DeadLetter {
                time: Timestamp::now(),
                pipeline: pipeline.clone(),
                topic: record.topic.clone(),
                key: record.key.clone(),
                value: Some(record.value.clone()),
                headers: headers
                    .map(|(name, value)| Header {
                        name: name.clone(),
                        value: Some(value.clone()),
                    })
                    .collect(),
                place: None,
                timestamp_ms: None,
                source: source(record.path.as_deref(), record.offset),
                reason: record.reason.clone(),
                code: record.code.to_owned(),
            }
        });
        let letters: Vec<_> = letters.collect();
        aside.set_aside(&letters).map_err(|error| error.to_string())
    })
}

/// Where a line stands.
fn source(path: Option<&Path>, offset: u64) -> Source {
    match path {
        Some(path) => Source::File {
            path: path.to_owned(),
            offset,
        },
        None => Source::Stdin { offset },
    }
}

/// For what lines begin with that are too long for an input.
pub fn set_aside_long(aside: Aside, pipeline: String) -> input::SetAside {
    Box::new(move |long: &LongLine<'_>| {
        let letter = DeadLetter {
            time: Timestamp::now(),
            pipeline: pipeline.clone(),
            topic: None,
            key: None,
            value: Some(long.value.to_vec()),
            headers: Vec::new(),
            place: None,
            timestamp_ms: None,
            source: source(long.path, long.offset),
            reason: "the line is longer than max_line.size; this is what it begins with".into(),
            code: "line_too_long".to_owned(),
        };
        aside
            .set_aside(&[letter])
            .map_err(|error| error.to_string())
    })
}

/// For an output's records of which no path can be made.
pub fn refuse_output(aside: Aside, pipeline: String) -> Refuse {
    Box::new(move |refused: Refused<'_>| {
        let record = refused.records.get(refused.index);
        let mut headers = Vec::new();
        refused.records.headers(refused.index, &mut |name, value| {
            headers.push(Header {
                name: name.to_owned(),
                value: value.map(<[u8]>::to_vec),
            });
        });
        let letter = DeadLetter {
            time: Timestamp::now(),
            pipeline: pipeline.clone(),
            topic: Some(record.topic.to_owned()),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers,
            place: None,
            timestamp_ms: (record.timestamp_ms != 0).then_some(record.timestamp_ms),
            source: Source::Topic {
                partition: record.partition,
                offset: record.offset,
            },
            reason: refused.reason.to_string(),
            code: "path_refused".to_owned(),
        };
        aside.set_aside(&[letter]).map_err(io::Error::other)
    })
}
