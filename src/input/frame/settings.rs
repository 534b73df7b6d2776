//! What an input can be told about lines. Each key is documented where it is obeyed.

use std::time::Duration;

/// The keys about lines; inputs of every kind have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineSettings {
    pub max_line: MaxLine,
    /// A cut never goes through a UTF-8 character, so a record may be up to three bytes shorter: for formats that write text.
    pub whole_characters: bool,
    pub line_end: LineEndText,
    /// A label that [`crate::input::encoding::Encoding::of`] knows.
    pub encoding: String,
    /// An unterminated last line is sent after this time.
    pub partial_line_timeout: Option<Duration>,
    pub multiline: Option<MultilineSettings>,
    pub filter: FilterSettings,
}

/// The longest line, in bytes of the source without its line end, and what is done with a longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLine {
    pub size: u64,
    pub policy: LongLine,
}

/// What is done with a line longer than `max_line.size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongLine {
    /// It becomes several records of `size` bytes, the last one shorter.
    #[default]
    Split,
    /// Its first `size` bytes are a record; the rest is counted as dropped, reason `line_cut`.
    Truncate,
    /// It is counted as dropped, reason `line_too_long`.
    Drop,
    /// Its first `size` bytes are set aside; the rest is counted with them.
    DeadLetter,
}

/// What a line ends with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LineEndText {
    /// LF; a CR before it is cut.
    #[default]
    Lf,
    Nul,
    /// Never empty.
    Text(String),
}

/// Which lines make one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultilineSettings {
    pub rule: GroupRule,
    /// A group of so many lines is over.
    pub max_lines: u32,
    /// A group is over when nothing came for this long.
    pub timeout: Duration,
}

/// A regular expression, and what a line that matches does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRule {
    /// It begins a group.
    Start(String),
    /// It belongs to the line before it.
    Continue(String),
    /// It ends a group.
    End(String),
}

/// Regular expressions on records: lines, or groups of lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterSettings {
    /// Only what matches is sent.
    pub include: Option<String>,
    /// What matches is not.
    pub exclude: Option<String>,
}

impl Default for LineSettings {
    fn default() -> Self {
        Self {
            max_line: MaxLine {
                size: 256 * 1024,
                policy: LongLine::Split,
            },
            whole_characters: false,
            line_end: LineEndText::Lf,
            encoding: "utf-8".into(),
            partial_line_timeout: None,
            multiline: None,
            filter: FilterSettings::default(),
        }
    }
}

impl LineSettings {
    /// Lines of UTF-8 that end with LF, the longest of `size` bytes, longer ones split.
    pub fn plain(size: u64) -> Self {
        Self {
            max_line: MaxLine {
                size,
                policy: LongLine::Split,
            },
            whole_characters: false,
            line_end: LineEndText::default(),
            encoding: "utf-8".to_owned(),
            partial_line_timeout: None,
            multiline: None,
            filter: FilterSettings::default(),
        }
    }

    /// How many bytes of memory a byte of the source may need.
    pub fn expansion(&self) -> u64 {
        if self.encoding != "utf-8" {
            3
        } else if self.multiline.is_some() {
            2
        } else {
            1
        }
    }
}
