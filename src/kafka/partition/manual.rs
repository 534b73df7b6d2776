//! `manual`: a text of the record's own is the number of its partition.
//!
//! Invariant: a number is taken as it is or not at all; nothing is wrapped, rounded or guessed.

use std::fmt;

/// Why a text names no partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPartition {
    /// There is no text.
    Missing,
    /// It has something else than the digits 0 to 9: also a sign or a blank.
    NotANumber(String),
    /// There are only `partitions`, counted from 0.
    Beyond { text: String, partitions: u32 },
}

/// How much of a text is shown, in characters.
const SHOWN: usize = 40;

/// The partition below `partitions` that `text` names.
pub fn number(text: Option<&[u8]>, partitions: u32) -> Option<u32> {
    let text = text?;
    let mut number = 0u32;
    for byte in text {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    (!text.is_empty() && number < partitions).then_some(number)
}

impl NoPartition {
    /// Why `text` names none below `partitions`.
    pub fn of(text: Option<&[u8]>, partitions: u32) -> Self {
        let text = text.unwrap_or_default();
        let shown = || {
            let text = String::from_utf8_lossy(text);
            let more = text.chars().nth(SHOWN).map_or("", |_| "...");
            format!("{}{more}", text.chars().take(SHOWN).collect::<String>())
        };
        if text.is_empty() {
            Self::Missing
        } else if text.iter().all(u8::is_ascii_digit) {
            let text = shown();
            Self::Beyond { text, partitions }
        } else {
            Self::NotANumber(shown())
        }
    }

    /// Whether it would be one if the topic had more partitions.
    pub fn may_come(&self) -> bool {
        matches!(self, Self::Beyond { .. })
    }
}

impl fmt::Display for NoPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the text that should name the partition is empty"),
            Self::NotANumber(text) => {
                write!(f, "{text:?} should name the partition and is no number")
            }
            Self::Beyond { text, partitions } => {
                write!(
                    f,
                    "there is no partition {text}: the topic has {partitions}, counted from 0"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_partition_is_a_number_below_the_count() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("007", Some(7)),
            ("8", None),
            ("4294967296", None),
            ("4294967303", None),
            ("99999999999999999999999", None),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("1\n", None),
            ("1.0", None),
            ("0x1", None),
            ("", None),
            ("-", None),
            ("١", None),
        ] {
            assert_eq!(number(Some(text.as_bytes()), 8), expected, "{text:?}");
        }
        assert_eq!(number(None, 8), None);
    }

    #[test]
    fn what_is_refused_says_why() {
        let why = |text: &[u8]| NoPartition::of(Some(text), 4).to_string();
        assert_eq!(
            why(b"4"),
            "there is no partition 4: the topic has 4, counted from 0"
        );
        assert_eq!(
            why(b"-1"),
            "\"-1\" should name the partition and is no number"
        );
        assert_eq!(why(b""), "the text that should name the partition is empty");
        assert!(NoPartition::of(Some(b"99999999999"), 4).may_come());
        assert!(!NoPartition::of(None, 4).may_come());
        assert!(why(&[b'x'; 1000]).len() < 100);
    }

    proptest! {
        #[test]
        fn every_text_is_a_number_or_is_refused(text in proptest::collection::vec(any::<u8>(), 0..12), partitions in 1..100u32) {
            let parsed: Option<u32> = std::str::from_utf8(&text).ok().filter(|it| it.bytes().all(|byte| byte.is_ascii_digit())).and_then(|it| it.parse().ok());
            prop_assert_eq!(number(Some(&text), partitions), parsed.filter(|it| *it < partitions));
        }

        #[test]
        fn every_number_is_itself(number_ in 0..200u32) {
            prop_assert_eq!(number(Some(number_.to_string().as_bytes()), 100), (number_ < 100).then_some(number_));
        }
    }
}
