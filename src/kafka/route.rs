//! Where each record of a batch goes: its topic, its key, its partition.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use super::partition::deal::Records;
use super::partition::{By, Rule};
use super::properties::RECORD_WIRE_OVERHEAD;
use super::settings::RouteSettings;
use crate::flow::batch::reordered;
use crate::flow::{Batch, Count, Origin, Outcome, Run, Span};
use crate::template::{Part, Parts, Template, TemplateError};

/// A batch with what the route added, and what became of its records so far.
pub struct Outgoing {
    pub batch: Batch,
    /// Which of the producer's pipelines it came from.
    pub pipeline: usize,
    keys: Option<Texts>,
    places: Option<Texts>,
    /// How many batches the producer had taken before.
    pub taken: u64,
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

/// A text of each record of a batch, one after another.
struct Texts {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// It does not differ within a run.
    are_alike: bool,
}

impl Outgoing {
    /// A record's key; `None` is a null key.
    pub fn key(&self, record: usize) -> Option<&[u8]> {
        match &self.keys {
            Some(keys) => Some(&keys.bytes[keys.spans[record].range()]),
            None => self.batch.extras.key_of(record),
        }
    }

    /// What decides a record's partition where its key does not.
    pub fn place(&self, record: usize) -> Option<&[u8]> {
        match &self.places {
            Some(places) => Some(&places.bytes[places.spans[record].range()]),
            None => self.batch.extras.place_of(record),
        }
    }

    /// Lays out what is sent by where it goes: what lies among records of other partitions is fetched into the processor's caches by itself
    /// when it is sent, and that costs more than to copy it while it is there. `true`: records have new numbers, as [`Batch::lay_out`]
    /// says.
    pub fn lay_out(&mut self, order: &[u32]) -> bool {
        let is_renumbered = self.batch.lay_out(order);
        if is_renumbered {
            for texts in [&mut self.keys, &mut self.places].into_iter().flatten() {
                texts.lay_out(order);
            }
        }
        is_renumbered
    }

    /// Bytes that keys and places need, for the budget.
    fn text_bytes(&self) -> u64 {
        let texts = self.keys.iter().chain(&self.places);
        let bytes = texts.map(|it| it.bytes.capacity() + it.spans.capacity() * size_of::<Span>());
        bytes.sum::<usize>() as u64
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

impl Texts {
    /// `order` has the number of each record once.
    fn lay_out(&mut self, order: &[u32]) {
        self.spans = reordered(&self.spans, order);
        if self.are_alike {
            return;
        }
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for span in &mut self.spans {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(&self.bytes[span.range()]);
            span.start = start;
        }
        self.bytes = bytes;
    }
}

impl Records for Outgoing {
    fn text(&self, by: By, record: u32) -> Option<&[u8]> {
        match by {
            By::Key => self.key(record as usize),
            By::Place => self.place(record as usize),
        }
    }

    fn are_alike(&self, by: By) -> bool {
        let (made, read) = match by {
            By::Key => (&self.keys, &self.batch.extras.keys),
            By::Place => (&self.places, &self.batch.extras.places),
        };
        made.as_ref().map_or(read.is_empty(), |made| made.are_alike)
    }

    fn weight(&self, record: u32) -> usize {
        Self::weight(self, record as usize) + RECORD_WIRE_OVERHEAD
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
    place: Option<Template>,
    pub rule: Rule,
    pack: Option<u32>,
    id: String,
    host: String,
    /// The topic of each origin met so far: rendered once per file, not per record.
    topics: HashMap<Arc<Origin>, Arc<str>>,
}

impl Route {
    /// # Errors
    /// When a template cannot be parsed; the plan has refused such ones.
    pub fn new(settings: &RouteSettings, id: &str, host: &str) -> Result<Self, TemplateError> {
        let parse = |text: &String| Template::parse(text, Part::FILE);
        Ok(Self {
            topic: Template::parse(&settings.topic, Part::ALL)?,
            key: settings.key.as_ref().map(parse).transpose()?,
            place: settings.place.as_ref().map(parse).transpose()?,
            rule: Rule::of(settings.partitioner),
            pack: settings.pack,
            id: id.to_owned(),
            host: host.to_owned(),
            topics: HashMap::new(),
        })
    }

    /// Whether data name topics here: there may be any.
    pub fn names_topics(&self) -> bool {
        self.topic.constant().is_none()
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

    /// The batch, packed if so configured, with its keys and what else decides partitions.
    pub fn dress(&self, mut batch: Batch, pipeline: usize) -> Outgoing {
        if let Some(most) = self.pack {
            batch.pack(most);
        }
        let texts = |template: &Template| self.texts(template, &batch);
        let (keys, places) = (self.key.as_ref().map(texts), self.place.as_ref().map(texts));
        let left = batch.records.len() as u32;
        let progress = Progress {
            left,
            ..Progress::default()
        };
        let mut outgoing = Outgoing {
            batch,
            pipeline,
            keys,
            places,
            taken: 0,
            progress,
        };
        let bytes = outgoing.text_bytes();
        if bytes > 0 {
            outgoing.batch.charge.grow(bytes);
        }
        outgoing
    }

    fn texts(&self, template: &Template, batch: &Batch) -> Texts {
        let are_alike = template.is_constant_per_file();
        let mut texts = Texts {
            bytes: Vec::new(),
            spans: Vec::with_capacity(batch.records.len()),
            are_alike,
        };
        for run in &batch.runs {
            let mut same = None;
            for record in run.records.start as usize..run.records.end as usize {
                let span = match same {
                    Some(span) if are_alike => span,
                    _ => {
                        let start = texts.bytes.len();
                        let at = run.base + u64::from(batch.records[record].at);
                        let parts = self.parts(run, at, batch.value(record));
                        template.render(&parts, &mut texts.bytes);
                        Span {
                            start: start as u32,
                            len: (texts.bytes.len() - start) as u32,
                        }
                    }
                };
                same = Some(span);
                texts.spans.push(span);
            }
        }
        texts
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
