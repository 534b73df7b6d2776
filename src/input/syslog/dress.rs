//! From a message to a record: its value, its time, and what its templates can ask of it. Topic, key and headers are made as for any other
//! input, by [`crate::input::dress`].
//!
//! Everything is rendered into buffers that are used again; a message costs no memory of its own.

use super::json::push_syslog;
use super::parse::{Message, ParseError, Protocol};
use super::settings::{DressSettings, TimestampRange};
use crate::envelope::read::Envelope;
use crate::flow::Extras;
use crate::input::dress::settings::Format;
use crate::input::dress::{self, Here, Looked, Subject};
use crate::template::{Facts, Part, Template};

/// The first time that a record can have, in microseconds since 1970: Kafka counts milliseconds from there, and librdkafka takes 0 for none.
const EARLIEST: i64 = 1000;

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

/// The rules by which one input's messages become records, and the last record.
pub(super) struct Dresser {
    common: dress::Dresser,
    form: Form,
    range: Option<TimestampRange>,
    param: Vec<u8>,
    /// What stands around all messages that were read at this time.
    rest: Vec<u8>,
    rest_of: Option<i64>,
    /// The value, unless it is the message.
    pub value: Vec<u8>,
    /// Milliseconds since 1970, where records have timestamps of their own.
    pub timestamp: Option<i64>,
    /// The event's time was out of range.
    pub out_of_range: bool,
}

enum Form {
    Message,
    Json(Envelope),
    Template(Template),
}

impl Dresser {
    /// # Errors
    /// A template that cannot be parsed; the plan has refused such ones.
    pub fn new(
        settings: &DressSettings,
        (id, host, input): (&str, &str, &str),
    ) -> Result<Self, String> {
        let form = match &settings.format {
            Format::Raw => Form::Message,
            Format::Json => Form::Json(Envelope::new(host, input, &settings.fields)),
            Format::Template(text) => Form::Template(
                Template::parse(text, Part::SYSLOG).map_err(|error| format!("{text}: {error}"))?,
            ),
        };
        let here = Here {
            id: id.to_owned(),
            host: host.to_owned(),
            input: input.to_owned(),
        };
        Ok(Self {
            common: dress::Dresser::new(settings, Part::SYSLOG, here)?,
            form,
            range: settings.timestamp,
            param: Vec::new(),
            rest: Vec::new(),
            rest_of: None,
            value: Vec::new(),
            timestamp: None,
            out_of_range: false,
        })
    }

    /// Whether values are the messages themselves.
    pub fn is_raw(&self) -> bool {
        matches!(self.form, Form::Message)
    }

    /// The topic that cannot be one.
    pub fn topic(&self) -> &[u8] {
        self.common.topic()
    }

    /// What `template` makes of a message.
    pub fn render(&mut self, template: &Template, taken: &Taken<'_>, out: &mut Vec<u8>) {
        let facts = MessageFacts::of(taken);
        let subject = taken.subject(&facts);
        self.common.begin();
        self.common.render(template, &subject, out);
    }

    /// Makes value and time. `false`: the topic cannot be one.
    pub fn dress(&mut self, taken: &Taken<'_>) -> bool {
        let facts = MessageFacts::of(taken);
        let subject = taken.subject(&facts);
        self.common.begin();
        let looked = self.common.look_at(&subject);
        self.value.clear();
        let out = &mut self.value;
        match &self.form {
            Form::Message => {}
            Form::Json(envelope) => {
                let message = taken.parsed.map_or(taken.bytes, |parsed| parsed.text);
                let event = taken.parsed.ok().and_then(|parsed| parsed.time);
                if self.rest_of != Some(taken.read_time) {
                    self.rest.clear();
                    envelope.rest(taken.read_time, &mut self.rest);
                    self.rest_of = Some(taken.read_time);
                }
                Envelope::begin(message, event.map(|it| it.0), &self.rest, out);
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
            Form::Template(template) => self.common.render(template, &subject, out),
        }
        self.time(taken);
        looked == Looked::Fine
    }

    /// Adds what the message that was dressed last has beside its value.
    pub fn push(&mut self, taken: &Taken<'_>, extras: &mut Extras) {
        let facts = MessageFacts::of(taken);
        self.common.push(&taken.subject(&facts), extras);
        extras.timestamps.extend(self.timestamp);
    }

    fn time(&mut self, taken: &Taken<'_>) {
        self.out_of_range = false;
        self.timestamp = self.range.map(|range| {
            let limit = |by: std::time::Duration| i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            let from = taken.read_time.saturating_sub(limit(range.past));
            let from = from.max(EARLIEST);
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
}

#[derive(Debug)]
struct MessageFacts<'a> {
    parsed: Option<&'a Message<'a>>,
    peer: Option<&'a str>,
}

impl<'a> MessageFacts<'a> {
    fn of(taken: &Taken<'a>) -> Self {
        Self {
            parsed: taken.parsed.ok(),
            peer: taken.peer,
        }
    }
}

impl<'a> Taken<'a> {
    fn subject(&self, facts: &'a MessageFacts<'a>) -> Subject<'a> {
        Subject {
            path: b"",
            offset: self.at,
            line: self.bytes,
            facts: Some(facts),
        }
    }
}

/// What a message does not tell is `-`, as in the protocol itself: it is never absent.
impl Facts for MessageFacts<'_> {
    fn push(&self, part: Part, out: &mut Vec<u8>) -> bool {
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
        true
    }

    fn push_param(&self, id: &str, param: &str, out: &mut Vec<u8>) -> bool {
        let data = self.parsed.map(|parsed| parsed.structured_data);
        match data.and_then(|data| data.param(id.as_bytes(), param.as_bytes())) {
            Some(value) => value.push(out),
            None => out.push(b'-'),
        }
        true
    }

    fn push_json(&self, _: &str, _: &mut Vec<u8>) -> bool {
        false
    }
}
