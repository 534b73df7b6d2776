//! Which lines belong together. Pure.
//!
//! Whether a line begins a group, or ends one, is told by the line alone; so a group that is read again from its first line comes out
//! the same. Lines that no rule puts into a group make one of their own.

use regex::bytes::Regex;

use super::frame::settings::{GroupRule, MultilineSettings};

/// The rule of one input.
#[derive(Debug, Clone)]
pub struct Multiline {
    pattern: Regex,
    rule: Rule,
    max_lines: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Start,
    Continue,
    End,
}

/// What a line does to groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Does {
    /// It is the first of its group, whatever came before it.
    pub begins: bool,
    /// It is the last of its group.
    pub ends: bool,
}

impl Multiline {
    /// # Errors
    /// When the pattern is no regular expression.
    pub fn new(settings: &MultilineSettings) -> Result<Self, regex::Error> {
        let (rule, pattern) = match &settings.rule {
            GroupRule::Start(pattern) => (Rule::Start, pattern),
            GroupRule::Continue(pattern) => (Rule::Continue, pattern),
            GroupRule::End(pattern) => (Rule::End, pattern),
        };
        Ok(Self {
            pattern: Regex::new(pattern)?,
            rule,
            max_lines: usize::try_from(settings.max_lines.max(1)).unwrap_or(usize::MAX),
        })
    }

    /// A group has at most so many lines.
    pub fn max_lines(&self) -> usize {
        self.max_lines
    }

    /// What `line` does.
    pub fn does(&self, line: &[u8]) -> Does {
        let matches = self.pattern.is_match(line);
        Does {
            begins: match self.rule {
                Rule::Start => matches,
                Rule::Continue => !matches,
                Rule::End => false,
            },
            ends: self.rule == Rule::End && matches,
        }
    }
}
