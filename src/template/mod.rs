//! `{host}`-style templates: parsed once when the configuration is read, rendered for every record.
//!
//! Three kinds: [`Template`] makes topics and keys of what an input read; [`PathTemplate`] makes file paths of what an output consumed, and
//! [`LineTemplate`] what is written there. In all, `{{` and `}}` are literal braces. Rendering appends to the caller's buffer and allocates nothing of its own.
//!
//! Invariant: what is parsed can be rendered; only data (a key, a path) can be refused at run time, and only by [`PathTemplate`].

mod line;
mod path;
mod record;
mod scan;

pub use line::{LineFacts, LineTemplate};
pub use path::{LONGEST_NAME, PathFacts, PathPart, PathRefusal, PathTemplate, STEADY};
pub use record::{Facts, Part, Parts, Template};

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// Byte offset in the template's text.
    pub at: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// Values of placeholders that are the same for the whole life of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constants<'a> {
    pub id: Option<&'a str>,
    pub host: Option<&'a str>,
    pub input: Option<&'a str>,
}
