//! From a line to a record: the topic, key and headers that templates make of it (here), and its value ([`block`]).
//!
//! What a template lacks means something else for each: a key is null then, a header left out, a topic none that there can be, and in a
//! value nothing stands in its place. A text that is there and empty is not absent.
//!
//! Everything is rendered into buffers that are used again or go with the batch; a line costs no memory of its own. What is the same for
//! all lines of a file is rendered once per block.

pub mod block;
pub mod fields;
mod names;
pub mod settings;

use std::ffi::CString;
use std::sync::Arc;

use self::fields::Fields;
use self::names::Names;
use self::settings::DressSettings;
use crate::flow::{Extras, Span};
use crate::template::{Facts, Part, Parts, Template};

/// What a record is made of.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Absolute path of its file; empty for inputs without files.
    pub path: &'a [u8],
    /// Where it begins in its source.
    pub offset: u64,
    pub line: &'a [u8],
    /// Of inputs that read more out of it. Absent: the fields of the line are.
    pub facts: Option<&'a dyn Facts>,
}

/// What [`Dresser::look_at`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    Fine,
    /// The topic cannot be one; [`Dresser::topic`] has it.
    IllegalTopic,
    /// The line lacks something that its topic needs; [`Dresser::topic`] has the rest.
    NoTopic,
}

/// What a letter says of a record beside its value.
pub struct Copied {
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The daemon's id, the host's name and the input's.
#[derive(Debug, Clone)]
pub struct Here {
    pub id: String,
    pub host: String,
    pub input: String,
}

/// The rules by which one input's records get their topics, keys and headers.
#[derive(Debug)]
pub struct Dresser {
    here: Here,
    /// Absent: the same for all.
    topic: Option<Template>,
    key: Option<Cell>,
    /// What decides the partition where the key does not.
    place: Option<Cell>,
    headers: Vec<Cell>,
    header_names: Arc<[CString]>,
    fields: Fields,
    names: Names,
    topic_text: Vec<u8>,
    /// The topic is that of the whole file, and was found.
    is_found: bool,
}

/// A template, and what it made that is still right.
#[derive(Debug)]
struct Cell {
    template: Template,
    is_same: bool,
    made: Option<Option<Span>>,
}

impl Cell {
    fn new(template: Template) -> Self {
        Self {
            is_same: template.is_constant_per_file(),
            template,
            made: None,
        }
    }

    fn make(&mut self, parts: &Parts<'_>, text: &mut Vec<u8>) -> Option<Span> {
        if let Some(made) = self.made {
            return made;
        }
        let start = text.len();
        let span = match self.template.render(parts, text) {
            true => Some(span(start, text.len())),
            false => {
                text.truncate(start);
                None
            }
        };
        self.made = self.is_same.then_some(span);
        span
    }

    fn text(&self, parts: &Parts<'_>) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        self.template.render(parts, &mut text).then_some(text)
    }
}

impl Dresser {
    /// `allowed`: what may stand in the templates.
    ///
    /// # Errors
    /// A template that cannot be parsed, or too many fields; the plan has refused such ones.
    pub fn new(settings: &DressSettings, allowed: &[Part], here: Here) -> Result<Self, String> {
        let parse =
            |text: &str| Template::parse(text, allowed).map_err(|error| format!("{text}: {error}"));
        let topic = parse(&settings.topic)?;
        let key = settings.key.as_deref().map(parse).transpose()?;
        let place = settings.place.as_deref().map(parse).transpose()?;
        let (mut names, mut headers) = (Vec::new(), Vec::new());
        for (name, value) in &settings.headers {
            names.push(CString::new(name.as_str()).map_err(|error| error.to_string())?);
            headers.push(parse(value)?);
        }
        let value = match &settings.format {
            settings::Format::Template(text) => Some(parse(text)?),
            _ => None,
        };
        let all = [&topic]
            .into_iter()
            .chain(&key)
            .chain(&place)
            .chain(&headers)
            .chain(&value);
        Ok(Self {
            here,
            fields: Fields::new(all.flat_map(Template::json_fields))?,
            topic: topic.constant().is_none().then_some(topic),
            key: key.map(Cell::new),
            place: place.map(Cell::new),
            headers: headers.into_iter().map(Cell::new).collect(),
            header_names: names.into(),
            names: Names::default(),
            topic_text: Vec::new(),
            is_found: false,
        })
    }

    /// What follows is of another file, or goes into another batch.
    pub fn begin(&mut self) {
        self.is_found = false;
        let texts = self.key.iter_mut().chain(&mut self.place);
        for cell in texts.chain(&mut self.headers) {
            cell.made = None;
        }
    }

    /// The topic that cannot be one.
    pub fn topic(&self) -> &[u8] {
        &self.topic_text
    }

    fn parts<'a>(here: &'a Here, fields: &'a Fields, subject: &Subject<'a>) -> Parts<'a> {
        Parts {
            id: &here.id,
            host: &here.host,
            input: &here.input,
            path: subject.path,
            offset: subject.offset,
            line: subject.line,
            facts: Some(subject.facts.unwrap_or(fields)),
        }
    }

    /// Reads the next line, and finds its topic.
    pub fn look_at(&mut self, subject: &Subject<'_>) -> Looked {
        if subject.facts.is_none() {
            self.fields.read(subject.line);
        }
        let Some(topic) = self.topic.as_ref().filter(|_| !self.is_found) else {
            return Looked::Fine;
        };
        self.topic_text.clear();
        let parts = Self::parts(&self.here, &self.fields, subject);
        if !topic.render(&parts, &mut self.topic_text) {
            return Looked::NoTopic;
        }
        if !self.names.find(&self.topic_text) {
            return Looked::IllegalTopic;
        }
        self.is_found = topic.is_constant_per_file();
        Looked::Fine
    }

    /// Appends what a template makes of the line that was looked at last; what is absent is left out.
    pub fn render(&self, template: &Template, subject: &Subject<'_>, out: &mut Vec<u8>) {
        let parts = Self::parts(&self.here, &self.fields, subject);
        template.render(&parts, out);
    }

    /// Adds topic, key and headers of the line that was looked at last. How many bytes key and headers have, names included.
    pub fn push(&mut self, subject: &Subject<'_>, extras: &mut Extras) -> usize {
        let parts = Self::parts(&self.here, &self.fields, subject);
        let weight = |span: Option<Span>| span.map_or(0, |span| span.len as usize);
        let mut bytes = 0;
        if self.topic.is_some() {
            self.names.list(extras);
        }
        if let Some(key) = &mut self.key {
            let key = key.make(&parts, &mut extras.text);
            bytes += weight(key);
            extras.keys.push(key);
        }
        if let Some(place) = &mut self.place {
            let place = place.make(&parts, &mut extras.text);
            extras.places.push(place);
        }
        if self.headers.is_empty() {
            return bytes;
        }
        if extras.header_names.len() != self.header_names.len() {
            extras.header_names = self.header_names.clone();
        }
        for (header, name) in self.headers.iter_mut().zip(&*self.header_names) {
            let value = header.make(&parts, &mut extras.text);
            extras.headers.push(value);
            bytes += value.map_or(0, |_| weight(value) + name.count_bytes());
        }
        bytes
    }

    /// Key and headers of the line that was looked at last, for a letter.
    pub fn copy(&self, subject: &Subject<'_>) -> Copied {
        let parts = Self::parts(&self.here, &self.fields, subject);
        let key = self.key.as_ref().and_then(|key| key.text(&parts));
        let headers = self.headers.iter().zip(&*self.header_names);
        let headers = headers.filter_map(|(header, name)| {
            Some((name.to_string_lossy().into_owned(), header.text(&parts)?))
        });
        Copied {
            key,
            headers: headers.collect(),
        }
    }
}

/// Texts of batches are far smaller than 4 GiB: see [`block`].
fn span(start: usize, end: usize) -> Span {
    let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Span {
        start: small(start),
        len: small(end - start),
    }
}
