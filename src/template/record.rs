//! Templates of inputs: a topic or a key made of where a line was read, and of the line.
//!
//! Data can be absent (a field that the line lacks): [`Template::render`] says so, and the caller knows what that means for what it makes.
//!
//! Invariant: [`Template::render`] cannot fail; a template that could is refused by [`Template::parse`].

use std::io::Write;

use super::scan::{Piece, error, escape, scan};
use super::{Constants, TemplateError};

/// A placeholder of an input's template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// `{id}`: the daemon's `id`.
    Id,
    /// `{host}`: the host's name.
    Host,
    /// `{input}`: the input's name.
    Input,
    /// `{file.path}`: the file's path.
    FilePath,
    /// `{file.name}`: what follows the last `/` of the path.
    FileName,
    /// `{file.dir}`: what stands before the last `/` of the path; `/` for files there.
    FileDir,
    /// `{file.offset}`: the byte offset at which the line begins.
    FileOffset,
    /// `{line}`: the line's bytes, without its line end.
    Line,
    /// `{syslog.facility}`: `kern`, `user` and so on; as all of these `-` when the message does not tell.
    SyslogFacility,
    /// `{syslog.severity}`: `emerg` to `debug`.
    SyslogSeverity,
    /// `{syslog.hostname}`: the host that the message names.
    SyslogHostname,
    /// `{syslog.app_name}`: the application, or the tag.
    SyslogAppName,
    /// `{syslog.proc_id}`: the process id.
    SyslogProcId,
    /// `{syslog.msg_id}`: the kind of message.
    SyslogMsgId,
    /// `{syslog.peer}`: the address that the message came from.
    SyslogPeer,
    /// `{syslog.sd.ID.PARAM}`: a value of the structured data. The last dot ends the id.
    SyslogSd,
    /// `{json.FIELD}`: a field of the line, where that is a JSON object. A dot leads into an object, or is part of a name.
    Json,
}

impl Part {
    /// What an input of files can use.
    pub const FILE: &[Self] = &[
        Self::Id,
        Self::Host,
        Self::Input,
        Self::FilePath,
        Self::FileName,
        Self::FileDir,
        Self::FileOffset,
        Self::Line,
        Self::Json,
    ];
    /// Every one there is.
    pub const ALL: &[Self] = &[
        Self::Id,
        Self::Host,
        Self::Input,
        Self::FilePath,
        Self::FileName,
        Self::FileDir,
        Self::FileOffset,
        Self::Line,
        Self::SyslogFacility,
        Self::SyslogSeverity,
        Self::SyslogHostname,
        Self::SyslogAppName,
        Self::SyslogProcId,
        Self::SyslogMsgId,
        Self::SyslogPeer,
        Self::SyslogSd,
        Self::Json,
    ];
    /// What an input without files can use.
    pub const STREAM: &[Self] = &[Self::Id, Self::Host, Self::Input, Self::Line, Self::Json];
    /// What can stand in the topic of an input of files: neither paths, which a topic cannot be, nor what no two lines have in common.
    pub const FILE_TOPIC: &[Self] = &[
        Self::Id,
        Self::Host,
        Self::Input,
        Self::FileName,
        Self::Line,
        Self::Json,
    ];
    /// What an input of syslog messages can use.
    pub const SYSLOG: &[Self] = &[
        Self::Id,
        Self::Host,
        Self::Input,
        Self::Line,
        Self::SyslogFacility,
        Self::SyslogSeverity,
        Self::SyslogHostname,
        Self::SyslogAppName,
        Self::SyslogProcId,
        Self::SyslogMsgId,
        Self::SyslogPeer,
        Self::SyslogSd,
    ];
    /// What can stand in the topic of an input of syslog messages.
    pub const SYSLOG_TOPIC: &[Self] = &[
        Self::Id,
        Self::Host,
        Self::Input,
        Self::SyslogFacility,
        Self::SyslogSeverity,
        Self::SyslogHostname,
        Self::SyslogAppName,
        Self::SyslogProcId,
        Self::SyslogMsgId,
        Self::SyslogSd,
    ];
    /// What is known before anything is read.
    pub const CONSTANT: &[Self] = &[Self::Id, Self::Host];

    /// The name between the braces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Host => "host",
            Self::Input => "input",
            Self::FilePath => "file.path",
            Self::FileName => "file.name",
            Self::FileDir => "file.dir",
            Self::FileOffset => "file.offset",
            Self::Line => "line",
            Self::SyslogFacility => "syslog.facility",
            Self::SyslogSeverity => "syslog.severity",
            Self::SyslogHostname => "syslog.hostname",
            Self::SyslogAppName => "syslog.app_name",
            Self::SyslogProcId => "syslog.proc_id",
            Self::SyslogMsgId => "syslog.msg_id",
            Self::SyslogPeer => "syslog.peer",
            Self::SyslogSd => "syslog.sd.ID.PARAM",
            Self::Json => "json.FIELD",
        }
    }
}

/// What a record is told to have beside its line. All of them answer `false`, and append nothing, where that is absent.
pub trait Facts: std::fmt::Debug {
    /// Appends the value of a part of this record.
    fn push(&self, part: Part, out: &mut Vec<u8>) -> bool;
    /// Appends the value of a parameter of its structured data.
    fn push_param(&self, id: &str, param: &str, out: &mut Vec<u8>) -> bool;
    /// Appends a field of its line, as what follows `json.` calls it.
    fn push_json(&self, field: &str, out: &mut Vec<u8>) -> bool;
}

/// What a record brings to its templates.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts<'a> {
    pub id: &'a str,
    pub host: &'a str,
    pub input: &'a str,
    /// Absolute path of the file; empty for inputs without files.
    pub path: &'a [u8],
    /// Byte offset at which the line begins.
    pub offset: u64,
    /// The line without its line end.
    pub line: &'a [u8],
    /// Of inputs that read more out of a record than its line.
    pub facts: Option<&'a dyn Facts>,
}

/// A parsed template of an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(String),
    Part(Part),
    /// `{syslog.sd.ID.PARAM}`
    Param(String, String),
    /// `{json.FIELD}`
    Json(String),
}

impl Template {
    /// Parses `text`, in which the placeholders of `allowed` may stand.
    ///
    /// # Errors
    /// A lone brace, an unknown placeholder, or one that is not allowed here.
    pub fn parse(text: &str, allowed: &[Part]) -> Result<Self, TemplateError> {
        let mut template = Self { tokens: Vec::new() };
        for piece in scan(text, false)? {
            match piece {
                Piece::Literal(literal) => template.push_literal(literal),
                Piece::Placeholder(name, at) => template.tokens.push(find(name, at, allowed)?),
                Piece::Time(letter, at) => {
                    return Err(error(
                        at,
                        format!("`%{letter}` has no meaning here"),
                        "times belong into paths of outputs",
                    ));
                }
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

    /// The text when it is the same for every record there will ever be.
    pub fn constant(&self) -> Option<&str> {
        match self.tokens.as_slice() {
            [] => Some(""),
            [Token::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether all lines of a file render alike.
    pub fn is_constant_per_file(&self) -> bool {
        self.tokens.iter().all(|token| match token {
            Token::Literal(_) => true,
            Token::Part(part) => matches!(
                part,
                Part::Id
                    | Part::Host
                    | Part::Input
                    | Part::FilePath
                    | Part::FileName
                    | Part::FileDir
            ),
            Token::Param(..) | Token::Json(_) => false,
        })
    }

    /// The fields of the line that it needs, as what follows `json.` calls them.
    pub fn json_fields(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Json(field) => Some(field.as_str()),
            _ => None,
        })
    }

    /// Whether `part` stands in it.
    pub fn uses(&self, part: Part) -> bool {
        self.tokens.iter().any(|token| match token {
            Token::Literal(_) => false,
            Token::Part(used) => *used == part,
            Token::Param(..) => part == Part::SyslogSd,
            Token::Json(_) => part == Part::Json,
        })
    }

    /// The literal texts, in order.
    pub fn literals(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter_map(|token| match token {
            Token::Literal(text) => Some(text.as_str()),
            Token::Part(_) | Token::Param(..) | Token::Json(_) => None,
        })
    }

    /// The template with what is constant for the daemon put in.
    pub fn fill(&self, constants: &Constants<'_>) -> Self {
        let mut filled = Self { tokens: Vec::new() };
        for token in &self.tokens {
            let value = match token {
                Token::Literal(text) => Some(text.as_str()),
                Token::Part(Part::Id) => constants.id,
                Token::Part(Part::Host) => constants.host,
                Token::Part(Part::Input) => constants.input,
                Token::Part(_) | Token::Param(..) | Token::Json(_) => None,
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
                Token::Literal(literal) => escape(literal, false, &mut text),
                Token::Part(part) => {
                    text.push('{');
                    text.push_str(part.name());
                    text.push('}');
                }
                Token::Param(id, param) => {
                    text.push_str(&format!("{{{SD}{id}.{param}}}"));
                }
                Token::Json(field) => {
                    text.push_str(&format!("{{{JSON}{field}}}"));
                }
            }
        }
        text
    }

    /// Appends the text for one record to `out`. `false`: something that it needs is absent, and left out.
    pub fn render(&self, parts: &Parts<'_>, out: &mut Vec<u8>) -> bool {
        let mut is_whole = true;
        for token in &self.tokens {
            match token {
                Token::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Token::Part(Part::Id) => out.extend_from_slice(parts.id.as_bytes()),
                Token::Part(Part::Host) => out.extend_from_slice(parts.host.as_bytes()),
                Token::Part(Part::Input) => out.extend_from_slice(parts.input.as_bytes()),
                Token::Part(Part::FilePath) => out.extend_from_slice(parts.path),
                Token::Part(Part::FileName) => out.extend_from_slice(split_path(parts.path).1),
                Token::Part(Part::FileDir) => out.extend_from_slice(split_path(parts.path).0),
                // Writing into a Vec cannot fail.
                Token::Part(Part::FileOffset) => drop(write!(out, "{}", parts.offset)),
                Token::Part(Part::Line) => out.extend_from_slice(parts.line),
                Token::Part(part) => {
                    is_whole &= parts.facts.is_some_and(|facts| facts.push(*part, out));
                }
                Token::Param(id, param) => {
                    let facts = parts.facts;
                    is_whole &= facts.is_some_and(|facts| facts.push_param(id, param, out));
                }
                Token::Json(field) => {
                    is_whole &= parts.facts.is_some_and(|facts| facts.push_json(field, out));
                }
            }
        }
        is_whole
    }
}

/// What the name of a parameter of structured data begins with.
const SD: &str = "syslog.sd.";
/// What the name of a field of the line begins with.
const JSON: &str = "json.";

fn find(name: &str, at: usize, allowed: &[Part]) -> Result<Token, TemplateError> {
    if let Some((id, param)) = name.strip_prefix(SD).and_then(|it| it.rsplit_once('.')) {
        if id.is_empty() || param.is_empty() {
            return Err(error(
                at,
                format!("`{{{name}}}` does not name a parameter"),
                "write `{syslog.sd.ID.PARAM}`, like `{syslog.sd.exampleSDID@32473.iut}`",
            ));
        }
        if allowed.contains(&Part::SyslogSd) {
            return Ok(Token::Param(id.to_owned(), param.to_owned()));
        }
    } else if let Some(field) = name.strip_prefix(JSON)
        && allowed.contains(&Part::Json)
    {
        if field.is_empty() {
            return Err(error(
                at,
                format!("`{{{name}}}` does not name a field"),
                "write `{json.FIELD}`, like `{json.user}` or `{json.http.status}`",
            ));
        }
        return Ok(Token::Json(field.to_owned()));
    } else if let Some(part) = allowed.iter().find(|part| part.name() == name) {
        return Ok(Token::Part(*part));
    }
    let names: Vec<_> = allowed
        .iter()
        .map(|part| format!("{{{}}}", part.name()))
        .collect();
    let here = format!("here may stand {}", names.join(" "));
    if name.starts_with(JSON) && allowed.contains(&Part::SyslogPeer) {
        return Err(error(
            at,
            format!("`{{{name}}}` is not built yet for syslog"),
            here,
        ));
    }
    let is_known = name.starts_with(SD) || name.starts_with(JSON);
    if is_known || Part::ALL.iter().any(|part| part.name() == name) {
        return Err(error(at, format!("`{{{name}}}` has no meaning here"), here));
    }
    Err(error(at, format!("unknown placeholder `{{{name}}}`"), here))
}

/// Folder and name of a path.
fn split_path(path: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b'/', path) {
        Some(0) => (&path[..1], &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rendered(text: &str) -> String {
        let template = Template::parse(text, Part::FILE).unwrap();
        let mut out = Vec::new();
        template.render(
            &Parts {
                id: "ferry",
                host: "web-1",
                input: "nginx",
                path: b"/var/log/nginx/access.log",
                offset: 1234,
                line: b"GET /",
                facts: None,
            },
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_placeholder_has_its_value() {
        assert_eq!(rendered("{id} {host} {input}"), "ferry web-1 nginx");
        assert_eq!(rendered("{file.path}"), "/var/log/nginx/access.log");
        assert_eq!(
            rendered("{file.dir}|{file.name}"),
            "/var/log/nginx|access.log"
        );
        assert_eq!(rendered("{file.offset}: {line}"), "1234: GET /");
        assert_eq!(rendered("{{{host}}}"), "{web-1}");
    }

    #[test]
    fn what_differs_from_line_to_line_is_not_constant_per_file() {
        let parse = |text| Template::parse(text, Part::FILE).unwrap();
        assert!(parse("a-{file.name}").is_constant_per_file());
        assert!(!parse("{file.offset}").is_constant_per_file());
        assert!(!parse("{line}").is_constant_per_file());
        assert!(!parse("a{json.user}").is_constant_per_file());
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_those_there_are() {
        let error = Template::parse("x{hots}", Part::CONSTANT).unwrap_err();
        assert_eq!(error.at, 1);
        assert_eq!(error.message, "unknown placeholder `{hots}`");
        assert_eq!(error.hint.unwrap(), "here may stand {id} {host}");
    }

    #[test]
    fn what_is_not_built_yet_says_so() {
        let error = Template::parse("{json.user}", Part::SYSLOG).unwrap_err();
        assert_eq!(error.message, "`{json.user}` is not built yet for syslog");
        let error = Template::parse("{json.user}", Part::CONSTANT).unwrap_err();
        assert_eq!(error.message, "`{json.user}` has no meaning here");
    }

    /// A line with one field.
    #[derive(Debug)]
    struct OneField(&'static str, &'static str);

    impl Facts for OneField {
        fn push(&self, _: Part, _: &mut Vec<u8>) -> bool {
            false
        }

        fn push_param(&self, _: &str, _: &str, _: &mut Vec<u8>) -> bool {
            false
        }

        fn push_json(&self, field: &str, out: &mut Vec<u8>) -> bool {
            let is_there = field == self.0;
            if is_there {
                out.extend_from_slice(self.1.as_bytes());
            }
            is_there
        }
    }

    #[test]
    fn what_is_absent_is_told_and_what_is_empty_is_not_absent() {
        let rendered = |text: &str, facts: &dyn Facts| {
            let (template, mut out) = (Template::parse(text, Part::FILE).unwrap(), Vec::new());
            assert_eq!(template.source(), text);
            assert_eq!(template.uses(Part::Json), text.contains("json."));
            let parts = Parts {
                facts: Some(facts),
                ..Parts::default()
            };
            let is_whole = template.render(&parts, &mut out);
            (is_whole, String::from_utf8(out).unwrap())
        };
        let one = OneField("a.b", "x");
        assert_eq!(rendered("{json.a.b}-y", &one), (true, "x-y".into()));
        assert_eq!(rendered("{json.c}-y", &one), (false, "-y".into()));
        assert_eq!(rendered("{json.e}", &OneField("e", "")), (true, "".into()));
        let template = Template::parse("{json.a.b}{line}{json.c}", Part::STREAM).unwrap();
        assert_eq!(template.json_fields().collect::<Vec<_>>(), ["a.b", "c"]);
        let error = Template::parse("{json.}", Part::FILE).unwrap_err();
        assert_eq!(error.message, "`{json.}` does not name a field");
    }

    #[test]
    fn what_only_syslog_messages_have_is_refused_elsewhere() {
        for name in ["syslog.facility", "syslog.sd.a@1.b"] {
            let text = format!("{{{name}}}");
            let error = Template::parse(&text, Part::FILE).unwrap_err();
            assert_eq!(error.message, format!("`{text}` has no meaning here"));
            let template = Template::parse(&text, Part::SYSLOG).unwrap();
            assert_eq!(template.source(), text);
            assert_eq!(template.uses(Part::SyslogSd), name.contains(".sd."));
        }
        assert!(Template::parse("{syslog.sd.a.}", Part::SYSLOG).is_err());
    }

    #[test]
    fn filling_constants_leaves_a_template_that_parses_to_the_same() {
        let template = Template::parse("{host}/{file.name}", Part::FILE).unwrap();
        let filled = template.fill(&Constants {
            id: None,
            host: Some("we{b}"),
            input: None,
        });
        assert_eq!(filled.source(), "we{{b}}/{file.name}");
        assert_eq!(
            Template::parse(&filled.source(), Part::FILE).unwrap(),
            filled
        );
    }

    proptest! {
        #[test]
        fn source_and_parse_are_inverse(text in "(\\{\\{|\\}\\}|\\{host\\}|\\{line\\}|[a-z/]){0,10}") {
            let template = Template::parse(&text, Part::FILE).unwrap();
            prop_assert_eq!(&template.source(), &text);
        }

        #[test]
        fn no_text_panics(text in "[a-z{}%é. ]{0,20}") {
            let _ = Template::parse(&text, Part::FILE);
        }
    }
}
