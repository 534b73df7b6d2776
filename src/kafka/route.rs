//! Where each record of a batch goes: its topic, its key, its partition.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::settings::{Partitioner, RouteSettings};
use crate::flow::{Batch, Count, Origin, Outcome, Run, Span};
use crate::template::{Part, Parts, Template, TemplateError};

/// A batch with what the route added, and what became of its records so far.
pub struct Outgoing {
    pub batch: Batch,
    /// Which of the producer's pipelines it came from.
    pub pipeline: usize,
    keys: Option<Keys>,
    pub progress: Progress,
}

/// What became of a batch's records so far.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records whose end is not known yet.
    pub left: u32,
    /// What became of those that were not simply acknowledged.
    pub astray: Outcome,
    /// How many records those are.
    gone: u32,
}

/// The keys of a batch's records, one after another.
struct Keys {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Outgoing {
    /// A record's key; `None` is a null key.
    pub fn key(&self, record: usize) -> Option<&[u8]> {
        match &self.keys {
            Some(keys) => Some(&keys.bytes[keys.spans[record].range()]),
            None => self.batch.extras.key_of(record),
        }
    }

    /// Whether any record has a key.
    pub fn has_keys(&self) -> bool {
        self.keys.is_some() || !self.batch.extras.keys.is_empty()
    }

    /// Bytes that the keys need, for the budget.
    pub fn key_bytes(&self) -> u64 {
        self.keys.as_ref().map_or(0, |keys| {
            (keys.bytes.capacity() + keys.spans.capacity() * size_of::<Span>()) as u64
        })
    }

    /// What a record weighs on the wire without overhead: key, value and headers, in bytes.
    pub fn weight(&self, record: usize) -> usize {
        let headers = self.batch.extras.headers_of(record);
        // Two lengths stand before a header's name and value.
        let headers: usize = headers
            .map(|(name, value)| name.count_bytes() + value.len() + 6)
            .sum();
        self.batch.records[record].value.len as usize
            + self.key(record).map_or(0, <[u8]>::len)
            + headers
    }

    /// Everything not counted astray counts as acknowledged, or as unconfirmed when nobody was asked to confirm.
    pub fn outcome(&self, confirmed: bool) -> Outcome {
        let mut outcome = self.progress.astray.clone();
        let mut rest = self.batch.count();
        let astray = outcome.total();
        rest.lines -= astray.lines.min(rest.lines);
        rest.bytes -= astray.bytes.min(rest.bytes);
        if confirmed {
            outcome.acked += rest;
        } else {
            outcome.unconfirmed += rest;
        }
        outcome
    }
}

impl Progress {
    /// A record that counts for `count` ends without Kafka, for `reason`.
    pub fn dropped(&mut self, count: Count, reason: &'static str) {
        self.ends();
        match self
            .astray
            .dropped
            .iter_mut()
            .find(|(known, _)| *known == reason)
        {
            Some((_, sum)) => *sum += count,
            None => self.astray.dropped.push((reason, count)),
        }
    }

    /// A record that counts for `count` was set aside.
    pub fn dead_lettered(&mut self, count: Count) {
        self.ends();
        self.astray.dead_lettered += count;
    }

    fn ends(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.gone += 1;
    }

    /// What was confirmed of `records` counts for nothing: only what went astray stays so.
    pub fn rewind(&mut self, records: usize) {
        self.left = (records as u32).saturating_sub(self.gone);
    }
}

/// One pipeline's route.
pub struct Route {
    topic: Template,
    key: Option<Template>,
    pub partitioner: Partitioner,
    id: String,
    host: String,
    /// The topic of each origin met so far: rendered once per file, not per record.
    topics: HashMap<Arc<Origin>, Arc<str>>,
}

impl Route {
    /// # Errors
    /// When a template cannot be parsed; the plan has refused such ones.
    pub fn new(settings: &RouteSettings, id: &str, host: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            topic: Template::parse(&settings.topic, Part::ALL)?,
            key: settings
                .key
                .as_deref()
                .map(|key| Template::parse(key, Part::FILE))
                .transpose()?,
            partitioner: settings.partitioner,
            id: id.to_owned(),
            host: host.to_owned(),
            topics: HashMap::new(),
        })
    }

    /// The topic of a run's records, where the input did not make it.
    pub fn topic(&mut self, run: &Run) -> Arc<str> {
        if let Some(topic) = self.topics.get(&run.origin) {
            return topic.clone();
        }
        // Files come and go; what is cached is cheap to make again.
        if self.topics.len() >= 10_000 {
            self.topics.clear();
        }
        let mut rendered = Vec::new();
        self.topic.render(&self.parts(run, 0, b""), &mut rendered);
        let topic: Arc<str> = String::from_utf8_lossy(&rendered).into();
        self.topics.insert(run.origin.clone(), topic.clone());
        topic
    }

    /// The batch with its keys.
    pub fn dress(&self, batch: Batch, pipeline: usize) -> Outgoing {
        let keys = self.key.as_ref().map(|key| self.keys(key, &batch));
        let left = batch.records.len() as u32;
        let progress = Progress {
            left,
            ..Progress::default()
        };
        let mut outgoing = Outgoing {
            batch,
            pipeline,
            keys,
            progress,
        };
        let bytes = outgoing.key_bytes();
        if bytes > 0 {
            outgoing.batch.charge.grow(bytes);
        }
        outgoing
    }

    fn keys(&self, key: &Template, batch: &Batch) -> Keys {
        let per_record = key.uses(Part::Line) || key.uses(Part::FileOffset);
        let mut keys = Keys {
            bytes: Vec::new(),
            spans: Vec::with_capacity(batch.records.len()),
        };
        for run in &batch.runs {
            let mut same = None;
            for record in run.records.start as usize..run.records.end as usize {
                let span = match same {
                    Some(span) if !per_record => span,
                    _ => {
                        let start = keys.bytes.len();
                        let at = run.base + u64::from(batch.records[record].at);
                        key.render(&self.parts(run, at, batch.value(record)), &mut keys.bytes);
                        Span {
                            start: start as u32,
                            len: (keys.bytes.len() - start) as u32,
                        }
                    }
                };
                same = Some(span);
                keys.spans.push(span);
            }
        }
        keys
    }

    fn parts<'a>(&'a self, run: &'a Run, offset: u64, line: &'a [u8]) -> Parts<'a> {
        let path = run
            .origin
            .path
            .as_deref()
            .map_or(&[][..], |path| path.as_os_str().as_bytes());
        Parts {
            id: &self.id,
            host: &self.host,
            input: &run.origin.input,
            path,
            offset,
            line,
            facts: None,
        }
    }
}
