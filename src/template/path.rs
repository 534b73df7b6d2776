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
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Part(PathPart),
    Time(&'static str, u64),
}

impl PathTemplate {
    /// Parses `text`.
    ///
    /// # Errors
    /// A lone brace, a placeholder or a strftime letter that this version does not know, a path that names a folder.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut template = Self { tokens: Vec::new() };
        for piece in scan(text, true)? {
            match piece {
                Piece::Literal(literal) => template.push_literal(literal),
                Piece::Placeholder(name, at) => template.tokens.push(Token::Part(find(name, at)?)),
                Piece::Time(letter, at) => template.tokens.push(directive(letter, at)?),
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

    /// Whether `part` stands in it.
    pub fn uses(&self, part: PathPart) -> bool {
        self.tokens.contains(&Token::Part(part))
    }

    /// After how many seconds of record time (counted from the epoch, UTC) the path changes; absent when no time stands in it.
    /// Two records with equal topic, partition and key, whose `time / step` is equal, have the same path.
    pub fn time_step(&self) -> Option<u64> {
        self.tokens
            .iter()
            .filter_map(|token| match token {
                Token::Time(_, step) => Some(*step),
                _ => None,
            })
            .min()
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
        let mut filled = Self { tokens: Vec::new() };
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
                Token::Time(directive, _) => text.push_str(directive),
            }
        }
        text
    }

    /// Appends the path of one record to `out`. `time_ms`: milliseconds since the epoch. On refusal `out` is as before.
    ///
    /// # Errors
    /// When the record's own parts make no path below [`Self::literal_folder`].
    pub fn render(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        time_ms: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), PathRefusal> {
        let start = out.len();
        let result = self
            .append(topic, partition, key, time_ms, out)
            .and_then(|()| confined(&out[start..]));
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn append(
        &self,
        topic: &str,
        partition: i32,
        key: Option<&[u8]>,
        time_ms: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), PathRefusal> {
        let mut time = None;
        for token in &self.tokens {
            match token {
                Token::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Token::Part(PathPart::Topic) => out.extend_from_slice(piece(topic.as_bytes())?),
                Token::Part(PathPart::Key) => {
                    out.extend_from_slice(piece(key.ok_or(PathRefusal::NullKey)?)?)
                }
                // Writing into a Vec cannot fail.
                Token::Part(PathPart::Partition) => drop(write!(out, "{partition}")),
                // The plan filled these; a template that was not filled shows them as they are written.
                Token::Part(part @ (PathPart::Id | PathPart::Host)) => {
                    drop(write!(out, "{{{}}}", part.name()))
                }
                Token::Time(directive, _) => {
                    let zoned = match &time {
                        Some(zoned) => zoned,
                        None => {
                            let stamp = Timestamp::from_millisecond(time_ms)
                                .map_err(|_| PathRefusal::Time)?;
                            time.insert(stamp.to_zoned(TimeZone::UTC))
                        }
                    };
                    write!(out, "{}", zoned.strftime(directive)).map_err(|_| PathRefusal::Time)?;
                }
            }
        }
        Ok(())
    }
}

fn find(name: &str, at: usize) -> Result<PathPart, TemplateError> {
    if let Some(part) = PathPart::ALL.into_iter().find(|part| part.name() == name) {
        return Ok(part);
    }
    let here = "here may stand {topic} {partition} {key} {id} {host} and strftime of the record's time, like %Y-%m-%d";
    if matches!(name, "offset" | "timestamp")
        || name.starts_with("header.")
        || name.starts_with("json.")
    {
        return Err(error(at, format!("`{{{name}}}` is not built yet"), here));
    }
    Err(error(at, format!("unknown placeholder `{{{name}}}`"), here))
}

fn directive(letter: char, at: usize) -> Result<Token, TemplateError> {
    match DIRECTIVES.iter().find(|(known, _, _)| *known == letter) {
        Some((_, text, step)) => Ok(Token::Time(text, *step)),
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

    fn rendered(text: &str, topic: &str, key: Option<&[u8]>) -> Result<String, PathRefusal> {
        let mut out = Vec::new();
        PathTemplate::parse(text)
            .unwrap()
            .render(topic, 3, key, TIME, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
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
        assert!(template.render("t", 0, None, TIME, &mut out).is_err());
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
            "`{offset}` is not built yet"
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
            if template.render(&topic, 0, Some(&key), TIME, &mut out).is_ok() {
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
