//! From a message to a record: its topic, value, key, headers and timestamp.
//!
//! Everything is rendered into buffers that are used again; a message costs no memory of its own.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use super::json::push_syslog;
use super::parse::{Message, ParseError, Protocol};
use super::settings::{DressSettings, TimestampRange};
use crate::envelope::read::Envelope;
use crate::template::{Facts, Part, Parts, Template};

/// How many topics are remembered.
const TOPICS: usize = 10_000;
/// The longest name of a topic, in bytes.
const LONGEST_TOPIC: usize = 249;

/// A message that was taken apart, or not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    pub bytes: &'a [u8],
    pub parsed: Result<&'a Message<'a>, ParseError>,
    pub protocol: Protocol,
    pub peer: Option<&'a str>,
    /// Where it begins in its source.
    pub at: u64,
    /// Microseconds since 1970.
    pub read_time: i64,
}

/// What [`Dresser::dress`] came to.
pub(super) enum Dressed {
    /// Absent: the topic is the same for all records.
    To(Option<Arc<str>>),
    /// The topic cannot be one; [`Dresser::topic`] has it.
    IllegalTopic,
}

/// The rules by which one input's messages become records, and the last record.
pub(super) struct Dresser {
    topic: Option<Template>,
    key: Option<Template>,
    place: Option<Template>,
    headers: Vec<Template>,
    pub header_names: Arc<[CString]>,
    envelope: Option<Envelope>,
    range: Option<TimestampRange>,
    id: String,
    host: String,
    input: String,
    topics: HashMap<Vec<u8>, Option<Arc<str>>>,
    last: Option<Arc<str>>,
    topic_text: Vec<u8>,
    param: Vec<u8>,
    /// The value (unless it is the message), then the key, what decides the partition instead, and the headers.
    pub text: Vec<u8>,
    /// Where in the text each of them ends; the value's comes first.
    pub ends: Vec<usize>,
    /// Milliseconds since 1970, where records have timestamps of their own.
    pub timestamp: Option<i64>,
    /// The event's time was out of range.
    pub out_of_range: bool,
}

impl Dresser {
    /// # Errors
    /// A template that cannot be parsed; the plan has refused such ones.
    pub fn new(
        settings: &DressSettings,
        (id, host, input): (&str, &str, &str),
    ) -> Result<Self, String> {
        let parse = |text: &str| {
            Template::parse(text, Part::SYSLOG).map_err(|error| format!("{text}: {error}"))
        };
        let topic = parse(&settings.topic)?;
        let mut names = Vec::new();
        let mut headers = Vec::new();
        for (name, value) in &settings.headers {
            names.push(CString::new(name.as_str()).map_err(|error| error.to_string())?);
            headers.push(parse(value)?);
        }
        Ok(Self {
            topic: topic.constant().is_none().then_some(topic),
            key: settings.key.as_deref().map(parse).transpose()?,
            place: settings.place.as_deref().map(parse).transpose()?,
            headers,
            header_names: names.into(),
            envelope: settings
                .json
                .then(|| Envelope::new(host, input, &settings.fields)),
            range: settings.timestamp,
            id: id.to_owned(),
            host: host.to_owned(),
            input: input.to_owned(),
            topics: HashMap::new(),
            last: None,
            topic_text: Vec::new(),
            param: Vec::new(),
            text: Vec::new(),
            ends: Vec::new(),
            timestamp: None,
            out_of_range: false,
        })
    }

    /// Whether values are the messages themselves.
    pub fn is_raw(&self) -> bool {
        self.envelope.is_none()
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    pub fn has_place(&self) -> bool {
        self.place.is_some()
    }

    /// The topic that cannot be one.
    pub fn topic(&self) -> &[u8] {
        &self.topic_text
    }

    pub fn dress(&mut self, taken: &Taken<'_>) -> Dressed {
        self.text.clear();
        self.ends.clear();
        if let Some(envelope) = &self.envelope {
            let message = taken.parsed.map_or(taken.bytes, |parsed| parsed.text);
            let event = taken.parsed.ok().and_then(|parsed| parsed.time);
            let out = &mut self.text;
            envelope.begin(message, event.map(|it| it.0), taken.read_time, out);
            let is_looked_into = taken.protocol != Protocol::None;
            push_syslog(
                taken.parsed,
                is_looked_into,
                taken.peer,
                &mut self.param,
                out,
            );
            Envelope::end(out);
        }
        self.ends.push(self.text.len());
        self.time(taken);
        let facts = MessageFacts {
            parsed: taken.parsed.ok(),
            peer: taken.peer,
        };
        let parts = Parts {
            id: &self.id,
            host: &self.host,
            input: &self.input,
            path: b"",
            offset: taken.at,
            line: taken.bytes,
            facts: Some(&facts),
        };
        let texts = self.key.iter().chain(&self.place);
        for template in texts.chain(&self.headers) {
            template.render(&parts, &mut self.text);
            self.ends.push(self.text.len());
        }
        let Some(topic) = &self.topic else {
            return Dressed::To(None);
        };
        self.topic_text.clear();
        topic.render(&parts, &mut self.topic_text);
        self.find_topic()
    }

    fn time(&mut self, taken: &Taken<'_>) {
        self.out_of_range = false;
        self.timestamp = self.range.map(|range| {
            let limit = |by: std::time::Duration| i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            let from = taken.read_time.saturating_sub(limit(range.past));
            let to = taken.read_time.saturating_add(limit(range.future));
            let event = taken.parsed.ok().and_then(|parsed| parsed.time);
            let micros = match event {
                Some(event) if (from..=to).contains(&event.0) => event.0,
                event => {
                    self.out_of_range = event.is_some();
                    taken.read_time
                }
            };
            micros.div_euclid(1000)
        });
    }

    fn find_topic(&mut self) -> Dressed {
        if let Some(last) = &self.last
            && last.as_bytes() == self.topic_text
        {
            return Dressed::To(Some(last.clone()));
        }
        let found = match self.topics.get(&self.topic_text) {
            Some(found) => found.clone(),
            None => {
                // Senders choose the names, so there may be any number of them.
                if self.topics.len() >= TOPICS {
                    self.topics.clear();
                }
                let made = name(&self.topic_text).map(Arc::from);
                self.topics.insert(self.topic_text.clone(), made.clone());
                made
            }
        };
        match found {
            Some(topic) => {
                self.last = Some(topic.clone());
                Dressed::To(Some(topic))
            }
            None => Dressed::IllegalTopic,
        }
    }
}

/// The text when Kafka allows it as the name of a topic.
fn name(text: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = (1..=LONGEST_TOPIC).contains(&text.len())
        && text.iter().all(fits)
        && !matches!(text, b"." | b"..");
    std::str::from_utf8(text).ok().filter(|_| is_name)
}

#[derive(Debug)]
struct MessageFacts<'a> {
    parsed: Option<&'a Message<'a>>,
    peer: Option<&'a str>,
}

impl Facts for MessageFacts<'_> {
    fn push(&self, part: Part, out: &mut Vec<u8>) {
        let priority = self.parsed.and_then(|parsed| parsed.priority);
        let value: Option<&[u8]> = match part {
            Part::SyslogFacility => priority.map(|it| it.facility().as_bytes()),
            Part::SyslogSeverity => priority.map(|it| it.severity().as_bytes()),
            Part::SyslogHostname => self.parsed.and_then(|it| it.hostname),
            Part::SyslogAppName => self.parsed.and_then(|it| it.app_name),
            Part::SyslogProcId => self.parsed.and_then(|it| it.proc_id),
            Part::SyslogMsgId => self.parsed.and_then(|it| it.msg_id),
            Part::SyslogPeer => self.peer.map(str::as_bytes),
            _ => None,
        };
        out.extend_from_slice(value.unwrap_or(b"-"));
    }

    fn push_param(&self, id: &str, param: &str, out: &mut Vec<u8>) {
        let data = self.parsed.map(|parsed| parsed.structured_data);
        match data.and_then(|data| data.param(id.as_bytes(), param.as_bytes())) {
            Some(value) => value.push(out),
            None => out.push(b'-'),
        }
    }
}
