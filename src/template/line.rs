//! Templates of outputs: what is written for a record.
//!
//! `{timestamp} {key}: {value}` and a line end, which a template writes itself. What a record does not have leaves nothing.
//!
//! Invariant: rendering cannot fail; a template that could is refused by [`LineTemplate::parse`].

use std::io::Write;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::path::directive;
use super::scan::{Piece, error, escape, scan};
use super::{Constants, TemplateError};

/// What of a record can stand in a line, beside its headers and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Topic,
    Partition,
    Offset,
    Key,
    Value,
    Timestamp,
    /// Filled when the plan is made.
    Id,
    /// Filled when the plan is made.
    Host,
}

const PARTS: [(&str, Part); 8] = [
    ("topic", Part::Topic),
    ("partition", Part::Partition),
    ("offset", Part::Offset),
    ("key", Part::Key),
    ("value", Part::Value),
    ("timestamp", Part::Timestamp),
    ("id", Part::Id),
    ("host", Part::Host),
];

/// A record, as a template sees it.
pub struct LineFacts<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; absent when the record has no time.
    pub time_ms: Option<i64>,
    /// Appends the value of the last header of that name, if it has one.
    pub header: &'a dyn Fn(&str, &mut Vec<u8>),
}

/// A parsed template of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineTemplate {
    tokens: Vec<Token>,
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Part(&'static str, Part),
    Header(String),
    Time(&'static str),
}

impl LineTemplate {
    /// Parses `text`. Times are in UTC until [`LineTemplate::in_zone`].
    ///
    /// # Errors
    /// A lone brace, a placeholder or a strftime letter that this version does not know.
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
                    template.tokens.push(Token::Time(directive(letter, at)?.0));
                }
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

    /// Whether the records' times stand in it.
    pub fn uses_time(&self) -> bool {
        let is_time =
            |token: &Token| matches!(token, Token::Time(_) | Token::Part(_, Part::Timestamp));
        self.tokens.iter().any(is_time)
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
                Token::Part(_, Part::Id) => constants.id,
                Token::Part(_, Part::Host) => constants.host,
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
                Token::Part(name, _) => text.extend(["{", name, "}"]),
                Token::Header(name) => text.extend(["{header.", name, "}"]),
                Token::Time(directive) => text.push_str(directive),
            }
        }
        text
    }

    /// Appends what is written for a record.
    pub fn render(&self, record: &LineFacts<'_>, out: &mut Vec<u8>) {
        let mut time = None;
        for token in &self.tokens {
            match token {
                Token::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Token::Header(name) => (record.header)(name, out),
                Token::Part(name, part) => match part {
                    Part::Topic => out.extend_from_slice(record.topic.as_bytes()),
                    // Writing into a Vec cannot fail.
                    Part::Partition => drop(write!(out, "{}", record.partition)),
                    Part::Offset => drop(write!(out, "{}", record.offset)),
                    Part::Key => out.extend_from_slice(record.key.unwrap_or_default()),
                    Part::Value => out.extend_from_slice(record.value.unwrap_or_default()),
                    Part::Timestamp => {
                        if let Some(time) = at(record) {
                            drop(write!(out, "{time:.3}"));
                        }
                    }
                    // The plan filled these; a template that was not filled shows them as they are written.
                    Part::Id | Part::Host => drop(write!(out, "{{{name}}}")),
                },
                Token::Time(directive) => {
                    let zoned =
                        time.get_or_insert_with(|| Some(at(record)?.to_zoned(self.zone.clone())));
                    if let Some(zoned) = zoned {
                        // All known directives can be written for any time.
                        drop(write!(out, "{}", zoned.strftime(directive)));
                    }
                }
            }
        }
    }
}

fn at(record: &LineFacts<'_>) -> Option<Timestamp> {
    Timestamp::from_millisecond(record.time_ms?).ok()
}

fn find(name: &str, at: usize) -> Result<Token, TemplateError> {
    if let Some(header) = name.strip_prefix("header.").filter(|it| !it.is_empty()) {
        return Ok(Token::Header(header.to_owned()));
    }
    match PARTS.iter().find(|(known, _)| *known == name) {
        Some((known, part)) => Ok(Token::Part(known, *part)),
        None => Err(error(
            at,
            format!("unknown placeholder `{{{name}}}`"),
            "here may stand {topic} {partition} {offset} {key} {value} {timestamp} {header.NAME} {id} {host} and strftime of the record's time, \
             like %H:%M:%S",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T07:01:25.401Z.
    const TIME: i64 = 1_795_244_485_401;

    fn rendered(template: &LineTemplate, full: bool) -> String {
        let header = |name: &str, out: &mut Vec<u8>| {
            if full && name == "trace.id" {
                out.extend_from_slice(b"7");
            }
        };
        let record = LineFacts {
            topic: "web",
            partition: 3,
            offset: 42,
            key: full.then_some(b"k"),
            value: full.then_some(b"v"),
            time_ms: full.then_some(TIME),
            header: &header,
        };
        let mut out = Vec::new();
        template.render(&record, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn everything_of_a_record_can_stand_in_a_line_and_what_it_lacks_leaves_nothing() {
        let text = "{topic}/{partition}@{offset} {timestamp} %H:%M {key}={value} {{{header.trace.id}}} 100%%\n";
        let template = LineTemplate::parse(text).unwrap();
        assert_eq!(
            rendered(&template, true),
            "web/3@42 2026-11-21T07:01:25.401Z 07:01 k=v {7} 100%\n"
        );
        assert_eq!(rendered(&template, false), "web/3@42  : = {} 100%\n");
        assert_eq!(template.source(), text);
        assert!(template.uses_time() && !LineTemplate::parse("{value}").unwrap().uses_time());
    }

    #[test]
    fn times_are_told_in_the_zone_and_timestamps_in_utc() {
        let template = LineTemplate::parse("%H:%M {timestamp}").unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(
            rendered(&template.in_zone(zone), true),
            "09:01 2026-11-21T07:01:25.401Z"
        );
    }

    #[test]
    fn constants_are_filled_and_what_is_unknown_is_refused_where_it_stands() {
        let constants = Constants {
            id: Some("{a}%"),
            host: Some("h"),
            input: None,
        };
        let template = LineTemplate::parse("{id} {host} {value}").unwrap();
        let filled = template.fill(&constants);
        assert_eq!(rendered(&filled, true), "{a}% h v");
        assert_eq!(LineTemplate::parse(&filled.source()).unwrap(), filled);
        for text in ["ab{vlaue}", "ab{header.}", "ab%Q"] {
            assert_eq!(LineTemplate::parse(text).unwrap_err().at, 2, "{text}");
        }
    }
}
