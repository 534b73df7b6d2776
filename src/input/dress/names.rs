//! Names of topics that are made of data: which texts can be one, and the ones that were met.
//!
//! A name is made once and shared by all records that bear it; a batch lists its names once and its records by number.

use std::collections::HashMap;
use std::sync::Arc;

use crate::flow::Extras;

/// How many names are remembered: senders choose them, so there may be any number.
const REMEMBERED: usize = 10_000;
/// The longest name of a topic, in bytes.
const LONGEST: usize = 249;
/// Topics that Kafka writes itself, and our own: no line may choose them.
const INTERNAL: [&[u8]; 5] = [
    b"__consumer_offsets",
    b"__transaction_state",
    b"__share_group_state",
    b"__cluster_metadata",
    b"logferry-positions",
];

#[derive(Debug, Default)]
pub(super) struct Names {
    by_text: HashMap<Vec<u8>, Option<usize>>,
    known: Vec<Known>,
    /// The one that was found last.
    last: Option<usize>,
    /// Counts batches.
    batch: u64,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    /// The batch that listed it last, and its number there.
    listed: (u64, u32),
}

impl Names {
    /// Finds the name that `text` is. `false`: it cannot be one.
    pub fn find(&mut self, text: &[u8]) -> bool {
        if let Some(last) = self.last
            && self.known[last].name.as_bytes() == text
        {
            return true;
        }
        self.last = match self.by_text.get(text) {
            Some(found) => *found,
            None => self.learn(text),
        };
        self.last.is_some()
    }

    fn learn(&mut self, text: &[u8]) -> Option<usize> {
        if self.by_text.len() >= REMEMBERED {
            self.by_text.clear();
            self.known.clear();
        }
        let at = name(text).map(|name| {
            self.known.push(Known {
                name: name.into(),
                listed: (0, 0),
            });
            self.known.len() - 1
        });
        self.by_text.insert(text.to_vec(), at);
        at
    }

    /// The next record of `extras` is for the topic that was found last.
    pub fn list(&mut self, extras: &mut Extras) {
        let Some(last) = self.last else { return };
        if extras.topic_names.is_empty() {
            self.batch += 1;
        }
        let known = &mut self.known[last];
        if known.listed.0 != self.batch {
            let number = u32::try_from(extras.topic_names.len()).unwrap_or(u32::MAX);
            known.listed = (self.batch, number);
            extras.topic_names.push(known.name.clone());
        }
        extras.topics.push(known.listed.1);
    }
}

/// The text when Kafka allows it as the name of a topic, and a line to choose it.
fn name(text: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = (1..=LONGEST).contains(&text.len())
        && text.iter().all(fits)
        && !matches!(text, b"." | b"..")
        && !INTERNAL.contains(&text);
    std::str::from_utf8(text).ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_lists_each_of_its_names_once() {
        let mut names = Names::default();
        let mut list = |extras: &mut Extras, texts: &[&str]| {
            for text in texts {
                assert!(names.find(text.as_bytes()));
                names.list(extras);
            }
        };
        let (mut first, mut second) = (Extras::default(), Extras::default());
        list(&mut first, &["a", "b", "a", "a", "b"]);
        list(&mut second, &["b", "c", "b"]);
        assert_eq!(first.topics, [0, 1, 0, 0, 1]);
        assert_eq!(first.topic_names, ["a".into(), "b".into()]);
        assert_eq!(second.topics, [0, 1, 0]);
        assert_eq!(second.topic_names, ["b".into(), "c".into()]);
    }

    #[test]
    fn what_kafka_would_not_take_and_what_is_its_own_is_no_name() {
        let mut names = Names::default();
        let longest = "x".repeat(LONGEST);
        for text in ["a", "A-1_b.c", &longest, "__mine"] {
            assert!(names.find(text.as_bytes()), "{text}");
        }
        let too_long = "x".repeat(LONGEST + 1);
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "ü",
            &too_long,
            "__consumer_offsets",
            "logferry-positions",
        ] {
            assert!(!names.find(text.as_bytes()), "{text}");
        }
        assert!(!names.find(b"\xff"));
    }

    #[test]
    fn any_number_of_names_needs_bounded_memory_and_mixes_nothing_up() {
        let (mut names, mut extras) = (Names::default(), Extras::default());
        for at in 0..2 * REMEMBERED + 10 {
            assert!(names.find(format!("t{}", at / 2 * 7 % 15_000).as_bytes()));
            names.list(&mut extras);
            let listed = &extras.topic_names[extras.topics[at] as usize];
            assert_eq!(**listed, format!("t{}", at / 2 * 7 % 15_000));
            assert!(names.known.len() <= REMEMBERED);
        }
    }
}
