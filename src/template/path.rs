//! Templates of outputs: the path of the file that a record belongs to.
//!
//! `/srv/archive/{topic}/{partition}/%Y-%m-%d.log`: placeholders, and strftime of the record's time in UTC.
//!
//! Invariant: what data brings (topic, key) stays one piece of a file name. It never holds a `/` or NUL, and no component becomes empty, `.` or `..`;
//! so no record leaves the folder that [`PathTemplate::literal_folder`] names.

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::scan::{Piece, error, escape, scan};
use super::{Constants, TemplateError};

/// Longest name of a file or folder on Linux file systems, in bytes.
pub const LONGEST_NAME: usize = 255;
/// Longest path that the kernel takes, in bytes, without its final NUL.
const LONGEST_PATH: usize = 4095;

/// Offsets of zones differ in steps of so many seconds, since [`STEADY`].
const ZONES_DIFFER: u64 = 900;
/// Milliseconds since 1970: before 1972 zones had offsets of any seconds.
pub const STEADY: i64 = 63_072_000_000 + 31 * 86_400_000;

/// The strftime letters, the text that jiff knows them by, and the seconds after which they change.
const DIRECTIVES: [(char, &str, u64); 22] = [
    ('Y', "%Y", 86_400),
    ('y', "%y", 86_400),
    ('m', "%m", 86_400),
    ('d', "%d", 86_400),
    ('j', "%j", 86_400),
    ('F', "%F", 86_400),
    ('G', "%G", 86_400),
    ('V', "%V", 86_400),
    ('u', "%u", 86_400),
    ('w', "%w", 86_400),
    ('a', "%a", 86_400),
    ('A', "%A", 86_400),
    ('b', "%b", 86_400),
    ('B', "%B", 86_400),
    ('H', "%H", 3_600),
    ('I', "%I", 3_600),
    ('p', "%p", 3_600),
    ('M', "%M", 60),
    ('R', "%R", 60),
    ('S', "%S", 1),
    ('T', "%T", 1),
    ('s', "%s", 1),
];

/// What of a record can stand in the path, beside its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathPart {
    Topic,
    Partition,
    Key,
    /// Filled when the plan is made.
    Id,
    /// Filled when the plan is made.
    Host,
}

impl PathPart {
    const ALL: [Self; 5] = [
        Self::Topic,
        Self::Partition,
        Self::Key,
        Self::Id,
        Self::Host,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Key => "key",
            Self::Id => "id",
            Self::Host => "host",
        }
    }
}

/// Why a record's path cannot be made. It is a fault of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    #[error("its key is null and the path needs one")]
    NullKey,
    #[error("the path needs a header that it does not have")]
    NoHeader,
    #[error("what it puts into the path is empty")]
    Empty,
    #[error("what it puts into the path contains `/`")]
    Slash,
    #[error("what it puts into the path contains a NUL byte")]
    Nul,
    #[error("it makes a path with the component `.` or `..`")]
    Dots,
    #[error("it makes a file or folder name of more than 255 bytes")]
    LongName,
    #[error("it makes a path of more than 4095 bytes")]
    LongPath,
    #[error("its timestamp is outside of the years -9999 to 9999")]
    Time,
}

/// A parsed path template of an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    tokens: Vec<Token>,
    zone: TimeZone,
}

/// A record, as a path sees it.
pub struct PathFacts<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub key: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub time_ms: i64,
    /// Appends the value of the last header of that name; `false` when there is none.
    pub header: &'a dyn Fn(&str, &mut Vec<u8>) -> bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Part(PathPart),
    Header(String),
    Time(&'static str, u64),
}

impl PathTemplate {
    /// Parses `text`.
    ///
    /// # Errors
    /// A lone brace, a placeholder or a strftime letter that this version does not know, a path that names a folder.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self {
            tokens: Vec::new(),
            zone: TimeZone::UTC,
        };
        for piece in scan(text, true)? {
            match piece {
                Piece::Literal(literal) => template.push_literal(literal),
                Piece::Placeholder(name, at) => template.tokens.push(find(name, at)?),
                Piece::Time(letter, at) => {
                    let (text, step) = directive(letter, at)?;
                    template.tokens.push(Token::Time(text, step));
                }
            }
        }
        let name_is_literal = |name: &str| matches!(name, "" | "." | "..");
        if let Some(Token::Literal(last)) = template.tokens.last() {
            let whole = template.tokens.len() == 1;
            let name = last.rsplit_once('/').map(|(_, name)| name);
            if name.or(whole.then_some(last)).is_some_and(name_is_literal) {
                return Err(error(
                    text.len(),
                    "the path names a folder",
                    "end it with a file's name, like `{topic}.log`",
                ));
            }
        } else if template.tokens.is_empty() {
            return Err(error(
                0,
                "the path is empty",
                "for example `/srv/archive/{topic}/{partition}.log`",
            ));
        }
        for part in template.literals() {
            if part.split('/').any(|name| name == "..") || part.contains('\0') {
                return Err(error(
                    0,
                    "the path contains `..` or a NUL character",
                    "write the path without them",
                ));
            }
        }
        Ok(template)
    }

    /// With times in another zone.
    pub fn in_zone(mut self, zone: TimeZone) -> Self {
        self.zone = zone;
        self
    }

    fn push_literal(&mut self, text: &str) {
        match self.tokens.last_mut() {
            Some(Token::Literal(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.tokens.push(Token::Literal(text.to_owned())),
        }
    }

    /// `text` as a literal of a path template.
    pub fn escape(text: &str) -> String {
        let mut escaped = String::new();
        escape(text, true, &mut escaped);
        escaped
    }

    /// The literal text before the first thing that is filled in.
    pub fn literal_prefix(&self) -> &str {
        match self.tokens.first() {
            Some(Token::Literal(text)) => text,
            _ => "",
        }
    }

    /// The folder that no record leaves: the literal prefix up to its last `/`, with it.
    pub fn literal_folder(&self) -> &str {
        let prefix = self.literal_prefix();
        prefix.rfind('/').map_or("", |at| &prefix[..=at])
    }

    /// Whether data of a record beside its topic, partition and time stands in it.
    pub fn uses_data(&self) -> bool {
        let is_header = |token: &Token| matches!(token, Token::Header(_));
        self.uses(PathPart::Key) || self.tokens.iter().any(is_header)
    }

    /// Whether times are in UTC.
    pub fn is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// Whether `part` stands in it.
    pub fn uses(&self, part: PathPart) -> bool {
        self.tokens.contains(&Token::Part(part))
    }

    /// After how many seconds of record time (counted from the epoch, UTC) the path changes; absent when no time stands in it.
    /// Two records with equal topic, partition, key and headers, whose `time / step` is equal, have the same path; in zones other than UTC that is
    /// true since [`STEADY`].
    pub fn time_step(&self) -> Option<u64> {
        let most = match self.zone == TimeZone::UTC {
            true => u64::MAX,
            false => ZONES_DIFFER,
        };
        let steps = self.tokens.iter().filter_map(|token| match token {
            Token::Time(_, step) => Some(*step),
            _ => None,
        });
        steps.min().map(|step| step.min(most))
    }

    /// Whether every path ends with this text.
    pub fn ends_with(&self, text: &str) -> bool {
        matches!(self.tokens.last(), Some(Token::Literal(last)) if last.ends_with(text))
    }

    /// The literal texts in order, `None` for each thing that is filled in.
    pub fn shape(&self) -> impl Iterator<Item = Option<&str>> {
        self.tokens.iter().map(|token| match token {
            Token::Literal(text) => Some(text.as_str()),
            _ => None,
        })
    }

    fn literals(&self) -> impl Iterator<Item = &str> {
        self.shape().flatten()
    }

    /// The template with `{id}` and `{host}` put in.
    pub fn fill(&self, constants: &Constants<'_>) -> Self {
        let mut filled = Self {
            tokens: Vec::new(),
            zone: self.zone.clone(),
        };
        for token in &self.tokens {
            let value = match token {
                Token::Literal(text) => Some(text.as_str()),
                Token::Part(PathPart::Id) => constants.id,
                Token::Part(PathPart::Host) => constants.host,
                _ => None,
            };
            match value {
                Some(text) => filled.push_literal(text),
                None => filled.tokens.push(token.clone()),
            }
        }
        filled
    }

    /// The template as text: parsing it again gives the same template.
    pub fn source(&self) -> String {
        let mut text = String::new();
        for token in &self.tokens {
            match token {
                Token::Literal(literal) => escape(literal, true, &mut text),
                Token::Part(part) => {
                    text.push('{');
                    text.push_str(part.name());
                    text.push('}');
                }
                Token::Header(name) => text.extend(["{header.", name, "}"]),
                Token::Time(directive, _) => text.push_str(directive),
            }
        }
        text
    }

    /// Appends the path of one record to `out`. On refusal `out` is as before.
    ///
    /// # Errors
    /// When the record's own parts make no path below [`Self::literal_folder`].
    pub fn render(&self, record: &PathFacts<'_>, out: &mut Vec<u8>) -> Result<(), PathRefusal> {
        let start = out.len();
        let result = self
            .append(record, out)
            .and_then(|()| confined(&out[start..]));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn append(&self, record: &PathFacts<'_>, out: &mut Vec<u8>) -> Result<(), PathRefusal> {
        let mut time = None;
        for token in &self.tokens {
            match token {
                Token::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Token::Part(PathPart::Topic) => {
                    out.extend_from_slice(piece(record.topic.as_bytes())?)
                }
                Token::Part(PathPart::Key) => {
                    out.extend_from_slice(piece(record.key.ok_or(PathRefusal::NullKey)?)?)
                }
                // Writing into a Vec cannot fail.
                Token::Part(PathPart::Partition) => drop(write!(out, "{}", record.partition)),
                Token::Header(name) => {
                    let start = out.len();
                    if !(record.header)(name, out) {
                        return Err(PathRefusal::NoHeader);
                    }
                    piece(&out[start..])?;
                }
                // The plan filled these; a template that was not filled shows them as they are written.
                Token::Part(part @ (PathPart::Id | PathPart::Host)) => {
                    drop(write!(out, "{{{}}}", part.name()))
                }
                Token::Time(directive, _) => {
                    let zoned = match &time {
                        Some(zoned) => zoned,
                        None => {
                            let stamp = Timestamp::from_millisecond(record.time_ms)
                                .map_err(|_| PathRefusal::Time)?;
                            time.insert(stamp.to_zoned(self.zone.clone()))
                        }
                    };
                    write!(out, "{}", zoned.strftime(directive)).map_err(|_| PathRefusal::Time)?;
                }
            }
        }
        Ok(())
    }
}

fn find(name: &str, at: usize) -> Result<Token, TemplateError> {
    if let Some(part) = PathPart::ALL.into_iter().find(|part| part.name() == name) {
        return Ok(Token::Part(part));
    }
    if let Some(header) = name.strip_prefix("header.").filter(|it| !it.is_empty()) {
        return Ok(Token::Header(header.to_owned()));
    }
    let here = "here may stand {topic} {partition} {key} {header.NAME} {id} {host} and strftime of the record's time, like %Y-%m-%d";
    if matches!(name, "offset" | "timestamp" | "value") {
        let what = format!("`{{{name}}}` would make a file of each record");
        return Err(error(at, what, here));
    }
    Err(error(at, format!("unknown placeholder `{{{name}}}`"), here))
}

/// What a letter stands for, and after how many seconds that changes.
pub(super) fn directive(letter: char, at: usize) -> Result<(&'static str, u64), TemplateError> {
    match DIRECTIVES.iter().find(|(known, _, _)| *known == letter) {
        Some((_, text, step)) => Ok((text, *step)),
        None => {
            let letters: Vec<_> = DIRECTIVES.iter().map(|(_, text, _)| *text).collect();
            Err(error(
                at,
                format!("unknown time directive `%{letter}`"),
                format!(
                    "known are {}; a literal percent sign is written `%%`",
                    letters.join(" ")
                ),
            ))
        }
    }
}

/// What data may bring into a path: not nothing, no `/`, no NUL.
fn piece(data: &[u8]) -> Result<&[u8], PathRefusal> {
    if data.is_empty() {
        return Err(PathRefusal::Empty);
    }
    match memchr::memchr2(b'/', 0, data) {
        None => Ok(data),
        Some(at) if data[at] == 0 => Err(PathRefusal::Nul),
        Some(_) => Err(PathRefusal::Slash),
    }
}

/// A whole path: no component is `.` or `..`, none is too long. (Empty ones can only come from the literal `//`.)
fn confined(path: &[u8]) -> Result<(), PathRefusal> {
    if path.len() > LONGEST_PATH {
        return Err(PathRefusal::LongPath);
    }
    for name in path.split(|byte| *byte == b'/') {
        if matches!(name, b"." | b"..") {
            return Err(PathRefusal::Dots);
        }
        if name.len() > LONGEST_NAME {
            return Err(PathRefusal::LongName);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-21T07:01:25Z, a Saturday.
    const TIME: i64 = 1_795_244_485_401;

    fn facts<'a>(topic: &'a str, key: Option<&'a [u8]>) -> PathFacts<'a> {
        PathFacts {
            topic,
            partition: 3,
            key,
            time_ms: TIME,
            header: &|name, out| {
                out.extend_from_slice(match name {
                    "tenant" => b"acme",
                    "sly" => b"../x",
                    "empty" => b"",
                    _ => return false,
                });
                true
            },
        }
    }

    fn rendered(text: &str, topic: &str, key: Option<&[u8]>) -> Result<String, PathRefusal> {
        let mut out = Vec::new();
        PathTemplate::parse(text)
            .unwrap()
            .render(&facts(topic, key), &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_header_makes_a_name_and_never_leaves_the_folder() {
        let of = |header: &str| rendered(&format!("/srv/{{header.{header}}}/log"), "t", None);
        assert_eq!(of("tenant").unwrap(), "/srv/acme/log");
        assert_eq!(of("sly"), Err(PathRefusal::Slash));
        assert_eq!(of("empty"), Err(PathRefusal::Empty));
        assert_eq!(of("none"), Err(PathRefusal::NoHeader));
    }

    #[test]
    fn times_are_told_in_the_zone_and_change_within_quarters_of_hours() {
        let template = PathTemplate::parse("/srv/%F-%H%M").unwrap();
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(20_700).unwrap());
        let template = template.in_zone(zone);
        let mut out = Vec::new();
        template.render(&facts("t", None), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "/srv/2026-11-21-1246");
        let daily = PathTemplate::parse("/srv/%F").unwrap();
        assert_eq!(
            daily
                .in_zone(TimeZone::fixed(jiff::tz::offset(1)))
                .time_step(),
            Some(900)
        );
    }

    #[test]
    fn a_path_is_made_of_topic_partition_and_time() {
        assert_eq!(
            rendered("/srv/{topic}/{partition}/%Y-%m-%d.log", "web", None).unwrap(),
            "/srv/web/3/2026-11-21.log"
        );
        assert_eq!(
            rendered("/srv/100%%/{{x}}", "web", None).unwrap(),
            "/srv/100%/{x}"
        );
    }

    #[test]
    fn every_time_directive_formats() {
        for (letter, text, _) in DIRECTIVES {
            let path = rendered(&format!("/{text}"), "web", None).unwrap();
            assert!(
                path.len() > 1 && !path[1..].contains('/'),
                "%{letter} gives {path}"
            );
        }
    }

    #[test]
    fn a_key_never_leaves_the_folder() {
        let template = "/srv/{key}/log";
        assert_eq!(rendered(template, "t", None), Err(PathRefusal::NullKey));
        assert_eq!(rendered(template, "t", Some(b"")), Err(PathRefusal::Empty));
        assert_eq!(
            rendered(template, "t", Some(b"../../etc")),
            Err(PathRefusal::Slash)
        );
        assert_eq!(rendered(template, "t", Some(b"..")), Err(PathRefusal::Dots));
        assert_eq!(rendered(template, "t", Some(b".")), Err(PathRefusal::Dots));
        assert_eq!(
            rendered(template, "t", Some(b"a\0b")),
            Err(PathRefusal::Nul)
        );
        assert_eq!(
            rendered("/srv/.{key}/log", "t", Some(b".")),
            Err(PathRefusal::Dots)
        );
        assert_eq!(
            rendered(template, "t", Some(&[b'a'; 256])),
            Err(PathRefusal::LongName)
        );
        assert_eq!(
            rendered(template, "t", Some(b"...")).unwrap(),
            "/srv/.../log"
        );
    }

    #[test]
    fn a_refusal_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        let template = PathTemplate::parse("/srv/{topic}/{key}").unwrap();
        assert!(template.render(&facts("t", None), &mut out).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_path_that_names_a_folder_is_refused() {
        for text in [
            "/srv/",
            "/srv/{topic}/",
            "/srv/..",
            "",
            "/srv/../x",
            "/srv/{topic}/.",
        ] {
            assert!(PathTemplate::parse(text).is_err(), "{text}");
        }
        assert!(PathTemplate::parse("{topic}").is_ok());
        assert!(PathTemplate::parse("/srv/{topic}.").is_ok());
    }

    #[test]
    fn the_time_step_is_the_finest_directive() {
        let step = |text| PathTemplate::parse(text).unwrap().time_step();
        assert_eq!(step("/a/{topic}"), None);
        assert_eq!(step("/a/%Y-%m-%d"), Some(86_400));
        assert_eq!(step("/a/%F/%H"), Some(3_600));
    }

    #[test]
    fn the_literal_folder_ends_before_what_is_filled_in() {
        let folder = |text| {
            PathTemplate::parse(text)
                .unwrap()
                .literal_folder()
                .to_owned()
        };
        assert_eq!(folder("/srv/a-{topic}/x"), "/srv/");
        assert_eq!(folder("/srv/a"), "/srv/");
        assert_eq!(folder("{topic}"), "");
    }

    #[test]
    fn unknown_and_unbuilt_parts_are_told_apart() {
        assert_eq!(
            PathTemplate::parse("/a/{offset}").unwrap_err().message,
            "`{offset}` would make a file of each record"
        );
        assert_eq!(
            PathTemplate::parse("/a/{tpoic}").unwrap_err().message,
            "unknown placeholder `{tpoic}`"
        );
        assert_eq!(
            PathTemplate::parse("/a/%Q").unwrap_err().message,
            "unknown time directive `%Q`"
        );
    }

    proptest! {
        #[test]
        fn no_key_and_no_topic_leaves_the_folder(topic in "[a-z./]{0,5}", key in proptest::collection::vec(any::<u8>(), 0..6)) {
            let template = PathTemplate::parse("/srv/x/{topic}/.{key}").unwrap();
            let mut out = Vec::new();
            if template.render(&facts(&topic, Some(&key)), &mut out).is_ok() {
                let names: Vec<_> = out.split(|byte| *byte == b'/').collect();
                prop_assert_eq!(names.len(), 5);
                prop_assert!(names[3..].iter().all(|name| !matches!(*name, b"" | b"." | b"..")));
            }
        }

        #[test]
        fn source_and_parse_are_inverse(text in "(\\{\\{|\\}\\}|%%|%Y|\\{topic\\}|[a-z/]){0,10}[a-z]") {
            let template = PathTemplate::parse(&text).unwrap();
            prop_assert_eq!(&template.source(), &text);
        }

        #[test]
        fn no_text_panics(text in "[a-zA-Z{}%é. /]{0,20}") {
            let _ = PathTemplate::parse(&text);
        }
    }
}
