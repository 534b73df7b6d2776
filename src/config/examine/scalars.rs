//! What single values must look like: numbers, durations, sizes, words, lists of texts, secrets.
//!
//! Each finding says what would be right. Invariant: the text of a secret never becomes part of a message.

use std::collections::BTreeSet;

use super::{Examiner, join};
use crate::config::fields::parse_partition;
use crate::config::shape::{Key, Word};
use crate::value::{parse_duration, parse_percent, parse_size, show_duration, show_size};
use crate::yaml::{Entry, Node, Problem, Value, nearest};

impl Examiner<'_> {
    /// The text of a scalar, or a problem.
    pub(super) fn scalar<'n>(&mut self, node: &'n Node, path: &str, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text { text, .. } => return Some(text),
            Value::Broken => {}
            _ => self.report(Problem::new(
                node.span,
                format!("`{path}` must be {what}, not {}", node.kind()),
            )),
        }
        None
    }

    pub(super) fn switch(&mut self, node: &Node, path: &str) {
        match &node.value {
            Value::Text { text, plain: true } if matches!(text.as_str(), "true" | "false") => {}
            Value::Text { text, .. } => {
                let meant = match text.to_lowercase().as_str() {
                    "yes" | "on" | "true" | "y" | "1" => "write `true`, without quotes",
                    "no" | "off" | "false" | "n" | "0" => "write `false`, without quotes",
                    _ => "write `true` or `false`",
                };
                self.report(
                    Problem::new(
                        node.span,
                        format!("`{path}` must be true or false, not `{text}`"),
                    )
                    .hint(meant),
                );
            }
            _ => drop(self.scalar(node, path, "true or false")),
        }
    }

    pub(super) fn count(&mut self, node: &Node, path: &str, least: u64, most: u64) {
        let Some(text) = self.scalar(node, path, "a whole number") else {
            return;
        };
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => {}
            _ => self.report(
                Problem::new(node.span, format!("`{path}` cannot be `{text}`"))
                    .hint(format!("a whole number from {least} to {most}")),
            ),
        }
    }

    /// An entry of a map from topics to lists of partitions.
    pub(super) fn partitions(&mut self, entry: &Entry, path: &str) {
        let node = &entry.node;
        match &node.value {
            Value::List(items) if items.is_empty() => self.report(
                Problem::new(node.span, format!("`{path}` names no partition"))
                    .hint("for example `[0, 3]`"),
            ),
            Value::List(items) => {
                let mut before = BTreeSet::new();
                for item in items {
                    let Some(text) = self.scalar(item, path, "a list of whole numbers") else {
                        continue;
                    };
                    match parse_partition(text) {
                        Some(number) if before.insert(number) => {}
                        Some(number) => self.report(
                            Problem::new(item.span, format!("`{path}` has {number} twice"))
                                .hint("each partition once"),
                        ),
                        None => self.report(
                            Problem::new(item.span, format!("`{text}` is no partition"))
                                .hint(format!("whole numbers from 0 to {}", i32::MAX)),
                        ),
                    }
                }
            }
            Value::Broken => {}
            Value::Text { text, .. } => self.report(
                Problem::new(node.span, format!("`{path}` must be a list, not a text"))
                    .hint(format!("write `[{text}]`")),
            ),
            _ => self.report(
                Problem::new(
                    node.span,
                    format!("`{path}` must be a list, not {}", node.kind()),
                )
                .hint("for example `[0, 3]`"),
            ),
        }
    }

    pub(super) fn duration(
        &mut self,
        node: &Node,
        path: &str,
        (least, most): (u64, u64),
        word: Option<&str>,
    ) {
        let Some(text) = self.scalar(node, path, "a duration") else {
            return;
        };
        if Some(text) == word {
            return;
        }
        match parse_duration(text) {
            Ok(duration) => {
                let [least, most] = [least, most].map(std::time::Duration::from_millis);
                if !(least..=most).contains(&duration) {
                    self.report(
                        Problem::new(node.span, format!("`{path}` cannot be `{text}`")).hint(
                            format!("from {} to {}", show_duration(least), show_duration(most)),
                        ),
                    );
                }
            }
            Err(error) => {
                let mut problem = Problem::new(node.span, error.message);
                problem.hint = match (error.hint, word) {
                    (Some(hint), Some(word)) => Some(format!("{hint}; or `{word}`")),
                    (hint, _) => hint,
                };
                self.report(problem);
            }
        }
    }

    pub(super) fn size(&mut self, node: &Node, path: &str, least: u64, most: u64) {
        let Some(text) = self.scalar(node, path, "a size") else {
            return;
        };
        match parse_size(text) {
            Ok(bytes) if (least..=most).contains(&bytes) => {}
            Ok(_) => self.report(
                Problem::new(node.span, format!("`{path}` cannot be `{text}`")).hint(format!(
                    "from {} to {}",
                    show_size(least),
                    show_size(most)
                )),
            ),
            Err(error) => {
                let mut problem = Problem::new(node.span, error.message);
                problem.hint = error.hint;
                self.report(problem);
            }
        }
    }

    pub(super) fn percent(&mut self, node: &Node, path: &str) {
        let Some(text) = self.scalar(node, path, "a percentage") else {
            return;
        };
        if let Err(error) = parse_percent(text) {
            let mut problem = Problem::new(node.span, error.message);
            problem.hint = error.hint;
            self.report(problem);
        }
    }

    /// `keys`: of the table that can stand there in place of a word.
    pub(super) fn word(&mut self, words: &[Word], keys: &[Key], node: &Node, path: &str) {
        let built: Vec<_> = words
            .iter()
            .filter(|word| word.built)
            .map(|word| word.text)
            .collect();
        let mut choice = match built.as_slice() {
            [only] if words.len() > 1 => format!("this version has `{only}` only"),
            [only] => format!("`{only}`"),
            _ => format!("one of {}", built.join(", ")),
        };
        if !keys.is_empty() {
            let keys: Vec<_> = keys
                .iter()
                .map(|key| format!("{}: ...", key.name))
                .collect();
            choice.push_str(&format!(", or `{{ {} }}`", keys.join(", ")));
        }
        let refuse = |text: &str| {
            Problem::new(node.span, format!("`{text}` is not built yet")).hint(choice.clone())
        };
        let is_later = |text: &str| words.iter().any(|word| word.text == text && !word.built);
        // A form like `{ exactly_once: { commit: 1s } }`.
        if let Some(entry) = node
            .entries()
            .iter()
            .find(|entry| is_later(&entry.key.value))
        {
            self.report(refuse(&entry.key.value));
            return;
        }
        let Some(text) = self.scalar(node, path, &choice) else {
            return;
        };
        if built.contains(&text) {
            return;
        }
        if is_later(text) {
            self.report(refuse(text));
            return;
        }
        let time = words
            .iter()
            .find(|word| !word.built && word.text.ends_with("time"));
        if let Some(form) = time
            && text.starts_with(|c: char| c.is_ascii_digit())
        {
            self.report(refuse(form.text));
            return;
        }
        let hint = nearest(text, built.iter().copied())
            .map_or(choice, |meant| format!("did you mean `{meant}`?"));
        self.report(Problem::new(node.span, format!("`{path}` cannot be `{text}`")).hint(hint));
    }

    pub(super) fn texts(&mut self, node: &Node, path: &str, least: usize, what: &str) {
        match &node.value {
            Value::List(items) => {
                if items.len() < least {
                    self.report(Problem::new(node.span, format!("`{path}` is empty")));
                }
                for item in items {
                    if item.is_null() {
                        self.report(Problem::new(
                            item.span,
                            format!("an item of `{path}` has no value"),
                        ));
                    } else if let Some(text) =
                        self.scalar(item, &format!("an item of {path}"), what)
                        && text.is_empty()
                    {
                        self.report(Problem::new(
                            item.span,
                            format!("an item of `{path}` is empty"),
                        ));
                    }
                }
            }
            Value::Text { text, .. } => self.report(
                Problem::new(node.span, format!("`{path}` must be a list, not a text"))
                    .hint(format!("write `[\"{text}\"]`")),
            ),
            Value::Broken => {}
            _ => self.report(Problem::new(
                node.span,
                format!("`{path}` must be a list, not {}", node.kind()),
            )),
        }
    }

    pub(super) fn secret(&mut self, node: &Node, path: &str) {
        let forms = "a text, or better { file: PATH }, { env: NAME } or { credential: NAME }";
        match &node.value {
            Value::Text { text, .. } if text.is_empty() => {
                self.report(Problem::new(node.span, format!("`{path}` is empty")).hint(forms));
            }
            Value::Text { .. } | Value::Broken => {}
            Value::Map(entries) => {
                let known = ["file", "env", "credential"];
                match entries.as_slice() {
                    [entry] if known.contains(&entry.key.value.as_str()) => {
                        let path = join(path, &entry.key.value);
                        match self.scalar(&entry.node, &path, "a text") {
                            Some("") => {
                                self.report(Problem::new(
                                    entry.node.span,
                                    format!("`{path}` is empty"),
                                ));
                            }
                            Some(name)
                                if entry.key.value == "credential"
                                    && (name.contains('/') || matches!(name, "." | "..")) =>
                            {
                                self.report(
                                    Problem::new(
                                        entry.node.span,
                                        "a credential is a name, not a path",
                                    )
                                    .hint("the name in the unit's `LoadCredential=NAME:PATH`"),
                                );
                            }
                            _ => {}
                        }
                    }
                    [entry] => {
                        let hint = nearest(&entry.key.value, known)
                            .map_or(forms.to_owned(), |meant| format!("did you mean `{meant}`?"));
                        self.report(
                            Problem::new(
                                entry.key.span,
                                format!("unknown key `{}` in `{path}`", entry.key.value),
                            )
                            .hint(hint),
                        );
                    }
                    _ => self.report(
                        Problem::new(node.span, format!("`{path}` needs exactly one key"))
                            .hint(forms),
                    ),
                }
            }
            _ => self.report(
                Problem::new(
                    node.span,
                    format!("`{path}` must be a secret, not {}", node.kind()),
                )
                .hint(forms),
            ),
        }
    }
}
