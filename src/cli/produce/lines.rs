//! Bytes of the input to records of the topic.
//!
//! Plain lines stay where they were read: a record is a span of the arena that the system wrote into. What has to be made (a key by a
//! template, the parts of a JSON line) is copied together into an arena of its own.
//!
//! Invariant: every line becomes a record or a [`Fault`].

use std::borrow::Cow;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use serde_json::Value;

use crate::envelope::read_back::{Told, read_record};
use crate::flow::Arenas;
use crate::flow::arena::ARENA_BYTES;
use crate::kafka::console::parcel::{Besides, Made, Parcel};
use crate::template::{Parts, Template};

/// Room that a read gets at least, in bytes.
const READ: usize = 64 * 1024;
/// No record is as large as this, in bytes: librdkafka's own limit.
const LONGEST: usize = 1_000_000_000;
/// How many free arenas are kept.
const KEEP: usize = 64;

/// How a line is read.
pub struct Style {
    pub key: KeyRule,
    pub place: PlaceRule,
    /// Empty keys and values are null.
    pub empty_is_null: bool,
    /// Lines are records in JSON.
    pub json: bool,
    /// Name and value of the headers that each record gets.
    pub headers: Arc<[(Vec<u8>, Vec<u8>)]>,
    /// Each record is a parcel of its own.
    pub one_each: bool,
}

/// Where a record's key comes from.
pub enum KeyRule {
    None,
    /// It stands before this in the line; a line without it has a null key.
    Before(Vec<u8>),
    Made(Template),
}

/// What names a record's partition.
pub enum PlaceRule {
    None,
    Made(Template),
    /// The `partition` of a line in JSON.
    Told,
}

/// A line that is no record.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub line: u64,
    pub why: String,
}

/// What templates know of where a line was read.
#[derive(Debug, Clone, Default)]
pub struct Place {
    pub host: String,
    pub path: Vec<u8>,
}

/// The lines of one input after another.
pub struct Lines {
    style: Style,
    arenas: Arenas,
    /// What is being read into.
    open: Parcel,
    /// From where on it is not framed yet.
    from: usize,
    /// Of what is made: what is being filled.
    made: Parcel,
    /// Lines that were met so far.
    line: u64,
    /// Where the line that is not framed yet begins in its input, in bytes.
    at: u64,
    /// The rest of this line is skipped: it is too long.
    skip: bool,
    ready: Vec<Parcel>,
    faults: Vec<Fault>,
    place: Place,
}

/// What a read gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Bytes(usize),
    Nothing,
    End,
}

impl Lines {
    pub fn new(style: Style) -> Self {
        let arenas = Arenas::new(KEEP);
        let parcel = |bytes| Parcel::new(arenas.take(bytes), style.headers.clone());
        Self {
            open: parcel(READ),
            made: parcel(READ),
            arenas,
            style,
            from: 0,
            line: 0,
            at: 0,
            skip: false,
            ready: Vec::new(),
            faults: Vec::new(),
            place: Place::default(),
        }
    }

    /// Another input begins; the last one was [ended](Lines::end).
    pub fn begin(&mut self, place: Place) {
        self.place = place;
        self.at = 0;
    }

    /// How many lines were met so far, over all inputs.
    pub fn met(&self) -> u64 {
        self.line
    }

    /// Whether a line was begun that has not ended.
    pub fn has_half_line(&self) -> bool {
        !self.skip && self.from < self.open.arena().len()
    }

    /// Whether what was read is worth sending without waiting for more.
    pub fn is_full(&self) -> bool {
        !self.ready.is_empty() || self.open.arena().room() < READ
    }

    /// The parcels that are ready, in order.
    pub fn take_ready(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.ready)
    }

    pub fn take_faults(&mut self) -> Vec<Fault> {
        std::mem::take(&mut self.faults)
    }

    /// One read.
    ///
    /// # Errors
    /// The descriptor's.
    pub fn read(&mut self, from: BorrowedFd<'_>) -> Result<Got, Errno> {
        if self.open.arena().room() < READ {
            self.renew();
        }
        match rustix::io::read(from, self.open.arena_mut().spare()) {
            Ok(0) => Ok(Got::End),
            Ok(got) => {
                self.open.arena_mut().advance(got);
                self.frame();
                Ok(Got::Bytes(got))
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(Got::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Nothing comes after what was read: a half line is a line.
    pub fn end(&mut self) {
        if !std::mem::take(&mut self.skip) {
            let (from, to) = (self.from, self.open.arena().len());
            if from < to {
                self.from = to;
                self.line(from..to, 0);
            }
        }
        self.flush();
    }

    /// What was read is ready, but for a half line.
    pub fn flush(&mut self) {
        if !self.open.is_empty() {
            self.renew();
        }
        if !self.made.is_empty() {
            self.renew_made(READ);
        }
    }

    /// The arena in hand goes as it is; the half line at its end moves to the next one.
    fn renew(&mut self) {
        let rest = self.open.arena().len() - self.from;
        // A line that fills an arena gets one that is twice as large, again and again.
        let wanted = rest + READ.max(rest);
        let wanted = if wanted > ARENA_BYTES { wanted } else { READ };
        let next = Parcel::new(self.arenas.take(wanted), self.style.headers.clone());
        let mut last = std::mem::replace(&mut self.open, next);
        // It was made that large.
        let _ = self
            .open
            .arena_mut()
            .push(&last.arena().filled()[self.from..]);
        last.arena_mut().truncate(self.from);
        self.from = 0;
        if !last.is_empty() {
            self.ready.push(last);
        }
    }

    fn renew_made(&mut self, room: usize) {
        let next = Parcel::new(self.arenas.take(room), self.style.headers.clone());
        let last = std::mem::replace(&mut self.made, next);
        if !last.is_empty() {
            self.ready.push(last);
        }
    }

    fn frame(&mut self) {
        loop {
            let rest = &self.open.arena().filled()[self.from..];
            let Some(end) = memchr::memchr(b'\n', rest) else {
                if self.skip {
                    self.at += rest.len() as u64;
                    self.from += rest.len();
                } else if rest.len() > LONGEST {
                    self.line += 1;
                    self.fault(format!("longer than {LONGEST} bytes"));
                    self.skip = true;
                    continue;
                }
                return;
            };
            let (from, end) = (self.from, self.from + end);
            self.from = end + 1;
            if std::mem::take(&mut self.skip) {
                self.at += (end + 1 - from) as u64;
                continue;
            }
            let carriage = end > from && self.open.arena().filled()[end - 1] == b'\r';
            self.line(from..end - usize::from(carriage), 1 + usize::from(carriage));
        }
    }

    /// One line, and how many bytes its end has.
    fn line(&mut self, text: Range<usize>, end: usize) {
        self.line += 1;
        let offset = self.at;
        self.at += (text.len() + end) as u64;
        let copied = self.style.json || self.style.one_each;
        let is_made = matches!(self.style.key, KeyRule::Made(_))
            || matches!(self.style.place, PlaceRule::Made(_));
        if copied || is_made {
            self.make(text, offset);
            return;
        }
        let (key, value) = match &self.style.key {
            KeyRule::Before(delimiter) => {
                match split(&self.open.arena().filled()[text.clone()], delimiter) {
                    Some((key, rest)) => (
                        Some(text.start..text.start + key),
                        text.start + rest..text.end,
                    ),
                    None => (None, text),
                }
            }
            _ => (None, text),
        };
        let null = |range: &Range<usize>| self.style.empty_is_null && range.is_empty();
        let made = Made {
            key: key.filter(|key| !null(key)),
            value: Some(value).filter(|value| !null(value)),
            place: None,
            line: self.line,
        };
        self.open.push(made, None);
    }

    /// A record that is put together.
    fn make(&mut self, text: Range<usize>, offset: u64) {
        let line = &self.open.arena().filled()[text];
        let parts = Parts {
            host: &self.place.host,
            path: &self.place.path,
            offset,
            line,
            ..Parts::default()
        };
        let (mut rendered, mut place) = (Vec::new(), Vec::new());
        let told = if self.style.json {
            match read_record(line) {
                Ok(told) => told,
                Err(why) => return self.fault(why),
            }
        } else {
            let (key, value) = match &self.style.key {
                KeyRule::None => (None, line),
                KeyRule::Before(delimiter) => match split(line, delimiter) {
                    Some((key, rest)) => (Some(&line[..key]), &line[rest..]),
                    None => (None, line),
                },
                KeyRule::Made(template) => {
                    template.render(&parts, &mut rendered);
                    (Some(rendered.as_slice()), line)
                }
            };
            Told {
                key: key.map(Into::into),
                value: Some(value.into()),
                ..Told::default()
            }
        };
        match &self.style.place {
            PlaceRule::None => {}
            PlaceRule::Made(template) => {
                template.render(&parts, &mut place);
            }
            PlaceRule::Told => match &told.partition {
                Value::Null => {}
                Value::String(text) => place.extend_from_slice(text.as_bytes()),
                other => place.extend_from_slice(other.to_string().as_bytes()),
            },
        }
        let wanted = size(&told) + place.len();
        if self.made.arena().room() < wanted || (self.style.one_each && !self.made.is_empty()) {
            let next = Parcel::new(self.arenas.take(wanted), self.style.headers.clone());
            let last = std::mem::replace(&mut self.made, next);
            if !last.is_empty() {
                self.ready.push(last);
            }
        }
        let arena = self.made.arena_mut();
        let mut put = |bytes: &[u8]| {
            let start = arena.len();
            // The room was asked for.
            let _ = arena.push(bytes);
            start..arena.len()
        };
        let empty_is_null = self.style.empty_is_null;
        let wanted = |bytes: &&[u8]| !empty_is_null || !bytes.is_empty();
        let made = Made {
            key: told.key.as_deref().filter(wanted).map(&mut put),
            value: told.value.as_deref().filter(wanted).map(&mut put),
            place: (!matches!(self.style.place, PlaceRule::None)).then(|| put(&place)),
            line: self.line,
        };
        let headers = told.headers.iter();
        let besides = self.style.json.then(|| Besides {
            timestamp: told.timestamp_ms,
            headers: headers
                .map(|(name, value)| (put(name), value.as_deref().map(&mut put)))
                .collect(),
        });
        self.made.push(made, besides);
    }

    fn fault(&mut self, why: String) {
        self.faults.push(Fault {
            line: self.line,
            why,
        });
    }
}

/// Where the key ends and the value begins.
fn split(line: &[u8], delimiter: &[u8]) -> Option<(usize, usize)> {
    let at = match delimiter {
        [one] => memchr::memchr(*one, line)?,
        several => memchr::memmem::find(line, several)?,
    };
    Some((at, at + delimiter.len()))
}

/// Bytes of all parts of a record.
fn size(told: &Told<'_>) -> usize {
    let len = |bytes: &Option<Cow<'_, [u8]>>| bytes.as_ref().map_or(0, |bytes| bytes.len());
    let headers = told.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + len(value)).sum();
    len(&told.key) + len(&told.value) + headers
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;
    use crate::template::Part;

    fn style() -> Style {
        Style {
            key: KeyRule::None,
            place: PlaceRule::None,
            empty_is_null: false,
            json: false,
            headers: Arc::new([]),
            one_each: false,
        }
    }

    type Record = (u64, Option<Vec<u8>>, Option<Vec<u8>>);

    /// Reads `bytes` from a pipe that gives `piece` bytes at a time: records, faults, and the number of parcels.
    fn read(style: Style, bytes: &[u8], piece: usize) -> (Vec<Record>, Vec<Fault>, usize) {
        let mut lines = Lines::new(style);
        lines.begin(Place {
            host: "web".into(),
            path: b"/a/b.log".into(),
        });
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut parcels = Vec::new();
        for piece in bytes.chunks(piece) {
            writer.write_all(piece).unwrap();
            assert_eq!(lines.read(reader.as_fd()), Ok(Got::Bytes(piece.len())));
            parcels.append(&mut lines.take_ready());
        }
        drop(writer);
        assert_eq!(lines.read(reader.as_fd()), Ok(Got::End));
        lines.end();
        parcels.append(&mut lines.take_ready());
        let mut records = Vec::new();
        for parcel in &parcels {
            for at in 0..parcel.len() {
                let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let (key, value) = (own(parcel.key(at)), own(parcel.value(at)));
                records.push((parcel.line(at), key, value));
            }
        }
        (records, lines.take_faults(), parcels.len())
    }

    fn some(text: &str) -> Option<Vec<u8>> {
        Some(text.into())
    }

    #[test]
    fn the_last_line_needs_no_end_and_an_empty_one_is_a_record() {
        let (records, ..) = read(style(), b"one\r\n\ntwo\rx\nthree", 5);
        let expected = [
            (1, None, some("one")),
            (2, None, some("")),
            (3, None, some("two\rx")),
            (4, None, some("three")),
        ];
        assert_eq!(records, expected);
        assert_eq!(read(style(), b"", 1).0, []);
    }

    #[test]
    fn keys_stand_before_the_first_delimiter() {
        let with = |empty_is_null| Style {
            key: KeyRule::Before(b"::".into()),
            empty_is_null,
            ..style()
        };
        let text = b"k::v::w\n::v\nk::\nplain\n";
        let (records, ..) = read(with(false), text, 100);
        let expected = [
            (1, some("k"), some("v::w")),
            (2, some(""), some("v")),
            (3, some("k"), some("")),
            (4, None, some("plain")),
        ];
        assert_eq!(records, expected);
        let (records, ..) = read(with(true), text, 100);
        assert_eq!(records[1], (2, None, some("v")));
        assert_eq!(records[2], (3, some("k"), None));
    }

    #[test]
    fn keys_are_made_of_place_and_line() {
        let template = "{host} {file.name} {file.offset} {line}";
        let key = KeyRule::Made(Template::parse(template, Part::FILE).unwrap());
        let (records, ..) = read(Style { key, ..style() }, b"ab\r\nc\n", 100);
        assert_eq!(records[0], (1, some("web b.log 0 ab"), some("ab")));
        assert_eq!(records[1], (2, some("web b.log 4 c"), some("c")));
    }

    #[test]
    fn what_names_the_partition_is_made_or_told() {
        let places = |style: Style, bytes: &[u8]| {
            let mut lines = Lines::new(style);
            lines.begin(Place::default());
            let (reader, mut writer) = std::io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            lines.read(reader.as_fd()).unwrap();
            lines.end();
            let place = |parcel: &Parcel, at| parcel.place(at).map(<[u8]>::to_vec);
            let parcels = lines.take_ready();
            let all = parcels
                .iter()
                .flat_map(|it| (0..it.len()).map(move |at| place(it, at)));
            all.collect::<Vec<_>>()
        };
        let made = PlaceRule::Made(Template::parse("1{line}", Part::FILE).unwrap());
        let with = |place, json| Style {
            place,
            json,
            ..style()
        };
        assert_eq!(places(with(made, false), b"2\n\n"), [some("12"), some("1")]);
        let text = b"{\"value\":null,\"partition\":3}\n{\"value\":\"\",\"partition\":\"4\"}\n{\"value\":\"\"}\n{\"value\":\"\",\"partition\":-1.5}\n";
        let told = [some("3"), some("4"), some(""), some("-1.5")];
        assert_eq!(places(with(PlaceRule::Told, true), text), told);
        assert_eq!(
            places(with(PlaceRule::None, true), text),
            [None, None, None, None]
        );
    }

    #[test]
    fn a_line_that_is_no_json_is_a_fault_and_the_others_are_records() {
        let style = Style {
            json: true,
            ..style()
        };
        let text = b"{\"value\":\"a\",\"key\":null}\nnonsense\n{\"value\":null,\"key\":\"\"}\n";
        let (records, faults, _) = read(style, text, 1000);
        assert_eq!(records, [(1, None, some("a")), (3, some(""), None)]);
        assert_eq!(faults.len(), 1);
        assert_eq!(faults[0].line, 2);
    }

    #[test]
    fn one_by_one_each_record_is_a_parcel() {
        let style = Style {
            one_each: true,
            ..style()
        };
        assert_eq!(read(style, b"a\nb\nc\n", 100).2, 3);
    }

    #[test]
    fn a_line_larger_than_an_arena_stays_whole() {
        let long = vec![b'x'; 3 * ARENA_BYTES];
        let mut text = b"a\n".to_vec();
        text.extend_from_slice(&long);
        text.extend_from_slice(b"\nb\n");
        let (records, ..) = read(style(), &text, 60_000);
        assert_eq!(records.len(), 3);
        assert_eq!(records[1].2.as_ref(), Some(&long));
        assert_eq!(records[2], (3, None, some("b")));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_lines_are_the_same(text in "([a-c:]{0,4}\n?){0,40}", piece in 1..20usize) {
            let with = || Style { key: KeyRule::Before(b":".into()), ..style() };
            let whole = read(with(), text.as_bytes(), 60_000).0;
            prop_assert_eq!(read(with(), text.as_bytes(), piece).0, whole);
        }
    }
}
