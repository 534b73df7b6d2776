//! What a key of the configuration can look like: the vocabulary of the tables in [`super::keys`].
//!
//! One table serves three readers: `examine` reports what does not fit, `fields` reads what does, `schema` describes it
//! for editors. So a key cannot be accepted and then be unknown to one of them.

/// One key of a map.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// One sentence or two, for editors and the manual.
    pub doc: &'static str,
    pub shape: Shape,
    pub need: Need,
}

/// What happens when the key is left out, or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Both are problems.
    Required,
    /// Both mean: not there.
    Optional,
    /// Left out: this text, read like the user's own. `null` is a problem.
    Default(&'static str),
    /// Left out: this text. `null` turns it off.
    DefaultOrOff(&'static str),
}

/// What a value can look like.
#[derive(Debug)]
pub enum Shape {
    /// Any scalar that is not empty.
    Text,
    /// Any scalar.
    TextOrEmpty,
    /// Any scalar, or a list of texts.
    TextOrTexts,
    /// `true` or `false`.
    Switch,
    /// A whole number.
    Count { least: u64, most: u64 },
    /// A duration of at least and at most so many milliseconds, or the word.
    Duration {
        least: u64,
        most: u64,
        word: Option<&'static str>,
    },
    /// The same, or one of several words.
    DurationOrWords {
        least: u64,
        most: u64,
        words: &'static [&'static str],
    },
    /// A size of at least and at most so many bytes.
    Size { least: u64, most: u64 },
    /// A percentage.
    Percent,
    /// Permission bits in octal.
    Mode,
    /// `IP:PORT`.
    Address,
    /// A text, `{ file: PATH }`, `{ env: NAME }` or `{ credential: NAME }`.
    Secret,
    /// One of these words.
    Word(&'static [Word]),
    /// One of these words, or a map.
    WordOrTable(&'static [Word], &'static [Key]),
    /// A list of texts.
    Texts { least: usize },
    /// A list of `HOST:PORT`, or the word `embedded`.
    Brokers,
    /// A list of texts, or the word `systemd`.
    Listen,
    /// A map from topics to lists of numbers of partitions.
    Partitions,
    /// librdkafka properties.
    Options,
    /// A map from names of the user's choice.
    Names(&'static Shape),
    /// A map with these keys.
    Table(&'static [Key]),
    /// A map whose `type` tells which keys it has.
    Kinds(&'static [Kind]),
    /// A key of the product that this version lacks. `null` and these values, which change nothing, are accepted.
    Later(&'static [&'static str]),
}

/// A word and whether this version has it.
#[derive(Debug, Clone, Copy)]
pub struct Word {
    pub text: &'static str,
    pub built: bool,
}

/// One `type`.
#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    pub doc: &'static str,
    /// Absent: this version lacks it.
    pub keys: Option<&'static [Key]>,
}

impl Key {
    pub(super) const fn required(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            shape,
            need: Need::Required,
        }
    }

    pub(super) const fn optional(name: &'static str, shape: Shape, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            shape,
            need: Need::Optional,
        }
    }

    pub(super) const fn default(
        name: &'static str,
        shape: Shape,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            doc,
            shape,
            need: Need::Default(default),
        }
    }

    pub(super) const fn default_or_off(
        name: &'static str,
        shape: Shape,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self {
            name,
            doc,
            shape,
            need: Need::DefaultOrOff(default),
        }
    }

    /// A key that this version lacks.
    pub(super) const fn later(name: &'static str, off: &'static [&'static str]) -> Self {
        Self {
            name,
            doc: "Not built yet.",
            shape: Shape::Later(off),
            need: Need::Optional,
        }
    }
}

/// A word that this version has.
pub(super) const fn word(text: &'static str) -> Word {
    Word { text, built: true }
}

/// A word (or the key of a map in its place) that this version lacks.
#[allow(
    dead_code,
    reason = "every word of this version is built; the next that is not has its name here"
)]
pub(super) const fn later(text: &'static str) -> Word {
    Word { text, built: false }
}
