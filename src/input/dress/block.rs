//! The records of a block that was framed, as they are sent: their values made, and those taken out that cannot be sent.
//!
//! Values that are the lines stay where they were read. Made ones lie one after another in the batch's `made`, and the block that was read
//! is not needed any more. A record that is refused for its own sake is dealt with here where that is known: all letters of a block are set
//! aside together, before anything of it counts.
//!
//! Invariant: when a block cannot be finished, what is in hand is as it was before, and the same block can be tried again.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::settings::{DressSettings, Format, OnRefused};
use super::{Copied, Dresser, Here, Looked, Subject, span};
use crate::envelope::read::{Around, Envelope};
use crate::flow::{Count, Origin, Record};
use crate::input::frame::Skipped;
use crate::input::frame::framer::Framer;
use crate::input::outlet::Filling;
use crate::template::{Part, Template};

/// Room for what stands around a message, in bytes, so that a batch's buffer seldom grows.
const ENVELOPE: usize = 256;

/// A record that is not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub path: Option<Arc<Path>>,
    /// Where it begins in its source.
    pub offset: u64,
    pub topic: Option<String>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub value: Vec<u8>,
    pub code: &'static str,
    pub reason: String,
}

/// Sets records aside; all are durable when this returns `Ok`. Else the input waits and tries again with all of them.
pub type SetAside = Box<dyn FnMut(&[Refused]) -> Result<(), String> + Send>;

/// Why a block is not finished.
#[derive(Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is to be tried again.
    NotSetAside(String),
    /// The input has to stop.
    Stop(String),
}

enum Value {
    Line,
    Json(Envelope, Around),
    Template(Template),
}

/// The rules by which one input's lines become records.
pub struct Blocks {
    dresser: Dresser,
    value: Value,
    /// Absent: the topic is the same for all.
    constant_topic: Option<String>,
    on_refused: OnRefused,
    max_record: u64,
    set_aside: SetAside,
    letters: Vec<Refused>,
}

impl Blocks {
    /// # Errors
    /// As [`Dresser::new`].
    pub fn new(settings: &DressSettings, here: Here, set_aside: SetAside) -> Result<Self, String> {
        let value = match &settings.format {
            Format::Raw => Value::Line,
            Format::Json => Value::Json(
                Envelope::new(&here.host, &here.input, &settings.fields),
                Around::default(),
            ),
            Format::Template(text) => Value::Template(
                Template::parse(text, Part::FILE).map_err(|error| format!("{text}: {error}"))?,
            ),
        };
        let topic = Template::parse(&settings.topic, Part::FILE).ok();
        Ok(Self {
            dresser: Dresser::new(settings, Part::FILE, here)?,
            value,
            constant_topic: topic.and_then(|topic| topic.constant().map(str::to_owned)),
            on_refused: settings.on_refused,
            max_record: settings.max_record,
            set_aside,
            letters: Vec::new(),
        })
    }

    /// Whether values are made: then nothing of what was read is in a record as it is.
    pub fn makes_values(&self) -> bool {
        !matches!(self.value, Value::Line)
    }

    /// Dresses the records from `first` on, which `framer` framed last and has not settled; `base` is where their block begins in the source.
    /// What is taken out of them is in what this gives.
    ///
    /// # Errors
    /// When nothing was done.
    pub fn dress(
        &mut self,
        framer: &Framer,
        filling: &mut Filling,
        first: usize,
        origin: &Origin,
        base: u64,
    ) -> Result<Skipped, Undone> {
        let (made, text) = (filling.made.len(), filling.extras.text.len());
        let done = self.dress_all(framer, filling, first, origin, base);
        let done = done.and_then(|skipped| {
            let letters = std::mem::take(&mut self.letters);
            match letters.is_empty() {
                true => Ok(skipped),
                false => (self.set_aside)(&letters)
                    .map(|()| skipped)
                    .map_err(Undone::NotSetAside),
            }
        });
        if done.is_err() {
            self.letters.clear();
            filling.records.truncate(first);
            filling.extras.truncate(first);
            filling.extras.text.truncate(text);
            filling.made.truncate(made);
        }
        done
    }

    fn dress_all(
        &mut self,
        framer: &Framer,
        filling: &mut Filling,
        first: usize,
        origin: &Origin,
        base: u64,
    ) -> Result<Skipped, Undone> {
        let path = origin
            .path
            .as_deref()
            .map(|path| path.as_os_str().as_bytes());
        self.dresser.begin();
        filling.is_made = self.makes_values();
        let count = filling.records.len() - first;
        if filling.is_made {
            let read: usize = (filling.records[first..].iter())
                .map(|record| record.value.len as usize)
                .sum();
            filling.made.reserve(read + count * ENVELOPE);
        }
        if let Value::Json(envelope, around) = &mut self.value {
            envelope.surround(now(), path, around);
        }
        let mut skipped = Skipped::default();
        let mut kept = first;
        for at in first..filling.records.len() {
            let record = filling.records[at];
            let subject = Subject {
                path: path.unwrap_or_default(),
                offset: base + u64::from(record.at),
                line: framer.value(filling.arena.filled(), record.value),
                facts: None,
            };
            let (start, texts) = (filling.made.len(), filling.extras.text.len());
            let looked = self.dresser.look_at(&subject);
            match &self.value {
                Value::Line => {}
                Value::Json(_, around) => {
                    around.push(subject.line, subject.offset, &mut filling.made);
                }
                Value::Template(template) => {
                    (self.dresser).render(template, &subject, &mut filling.made);
                }
            }
            let len = match self.value {
                Value::Line => subject.line.len(),
                _ => filling.made.len() - start,
            };
            let mut refusal = None;
            if looked == Looked::Fine {
                let beside = self.dresser.push(&subject, &mut filling.extras);
                if (len + beside) as u64 > self.max_record {
                    filling.extras.truncate(kept);
                    filling.extras.text.truncate(texts);
                    // What is the same for all was perhaps in what was cut off.
                    self.dresser.begin();
                    refusal = Some(("too_large", &mut skipped.too_large));
                }
            } else {
                refusal = Some(("illegal_topic", &mut skipped.illegal_topic));
            }
            if let Some((code, dropped)) = refusal {
                let count = Count {
                    lines: u64::from(record.lines),
                    bytes: u64::from(record.bytes),
                };
                let value = match self.value {
                    Value::Line => subject.line,
                    _ => &filling.made[start..],
                };
                match self.on_refused {
                    OnRefused::Drop => *dropped += count,
                    OnRefused::DeadLetter => {
                        let letter = self.letter(&subject, origin, value, code, looked);
                        self.letters.push(letter);
                        skipped.dead_lettered += count;
                    }
                    OnRefused::Stop => {
                        let reason = self.reason(code, looked);
                        return Err(Undone::Stop(format!(
                            "{reason}, and on_refused is stop: {} at {}",
                            origin
                                .path
                                .as_deref()
                                .map_or("standard input".into(), Path::to_string_lossy),
                            subject.offset
                        )));
                    }
                }
                filling.made.truncate(start);
                continue;
            }
            let value = match self.value {
                Value::Line => record.value,
                _ => span(start, filling.made.len()),
            };
            filling.records[kept] = Record { value, ..record };
            kept += 1;
        }
        filling.records.truncate(kept);
        Ok(skipped)
    }

    fn letter(
        &self,
        subject: &Subject<'_>,
        origin: &Origin,
        value: &[u8],
        code: &'static str,
        looked: Looked,
    ) -> Refused {
        let Copied { key, headers } = self.dresser.copy(subject);
        let topic = match &self.constant_topic {
            Some(topic) => topic.clone(),
            None => String::from_utf8_lossy(self.dresser.topic()).into_owned(),
        };
        Refused {
            path: origin.path.clone(),
            offset: subject.offset,
            topic: Some(topic),
            key,
            headers,
            value: value.to_vec(),
            code,
            reason: self.reason(code, looked),
        }
    }

    fn reason(&self, code: &str, looked: Looked) -> String {
        let topic = String::from_utf8_lossy(self.dresser.topic());
        match looked {
            Looked::NoTopic => "the line lacks what its topic is made of".to_owned(),
            Looked::IllegalTopic => format!(
                "{topic:?} cannot be a topic that a line chooses: 1 to 249 letters, digits and . _ -, and none of Kafka's own or logferry's"
            ),
            Looked::Fine => format!(
                "the record is larger than max_record, {} bytes, with what was made of it ({code})",
                self.max_record
            ),
        }
    }
}

/// Microseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    i64::try_from(micros).unwrap_or(i64::MAX)
}
