//! Finds everything in a tree that does not fit the tables, and goes on after each finding. This file goes down the tables; what a single
//! value must look like is in `scalars`.
//!
//! Invariant: the text of a secret never becomes part of a message.

mod scalars;

use std::net::SocketAddr;

use super::keys::ROOT;
use super::shape::{Key, Kind, Need, Shape};
use crate::yaml::{Entry, Node, Problem, Span, Value, nearest};

/// Top-level keys with this beginning are the user's own, for anchors.
const OWN: &str = "x-";

/// Adds a problem for everything in `root` that does not fit.
pub(super) fn examine(root: &Node, problems: &mut Vec<Problem>) {
    let mut examiner = Examiner { problems };
    match &root.value {
        Value::Map(_) => examiner.table(ROOT, root, root.span, "", |name| name.starts_with(OWN)),
        Value::Broken => {}
        Value::Null => examiner.report(
            Problem::new(root.span, "the file is empty")
                .hint("`inputs:`, `outputs:` and `clusters:` are missing"),
        ),
        _ => examiner.report(
            Problem::new(
                root.span,
                format!(
                    "the file must be a map of keys and values, not {}",
                    root.kind()
                ),
            )
            .hint("for example `data_dir: /var/lib/logferry`"),
        ),
    }
}

struct Examiner<'a> {
    problems: &'a mut Vec<Problem>,
}

impl Examiner<'_> {
    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// A map with the keys of a table. `at`: where to point when a key is missing. `path`: how the map is called, empty for the document.
    fn table(
        &mut self,
        keys: &[Key],
        node: &Node,
        at: Span,
        path: &str,
        own: impl Fn(&str) -> bool,
    ) {
        let place = if path.is_empty() {
            String::new()
        } else {
            format!(" in `{path}`")
        };
        let mut misspelt = Vec::new();
        for entry in node.entries() {
            let name = entry.key.value.as_str();
            match keys.iter().find(|key| key.name == name) {
                Some(key) => self.key(key, entry, &join(path, name)),
                None if own(name) => {}
                None => {
                    let names = || keys.iter().filter(|key| !is_later(key)).map(|key| key.name);
                    let meant = nearest(name, keys.iter().map(|key| key.name));
                    misspelt.extend(meant);
                    let hint = match meant {
                        Some(meant) => format!("did you mean `{meant}`?"),
                        None => format!(
                            "the keys{place} are {}",
                            names().collect::<Vec<_>>().join(", ")
                        ),
                    };
                    self.report(
                        Problem::new(entry.key.span, format!("unknown key `{name}`{place}"))
                            .hint(hint),
                    );
                }
            }
        }
        for key in keys {
            let missing = key.need == Need::Required && node.get(key.name).is_none();
            if missing && !misspelt.contains(&key.name) {
                self.report(
                    Problem::new(at, format!("`{}` is missing{place}", key.name))
                        .hint(as_hint(key.doc)),
                );
            }
        }
    }

    fn key(&mut self, key: &Key, entry: &Entry, path: &str) {
        let node = &entry.node;
        if node.is_null() {
            match key.need {
                Need::Optional | Need::DefaultOrOff(_) => {}
                Need::Default(default) => self.report(
                    Problem::new(entry.key.span, format!("`{path}` has no value"))
                        .hint(format!("leave the key out for the default, `{default}`")),
                ),
                Need::Required => self.report(
                    Problem::new(entry.key.span, format!("`{path}` has no value"))
                        .hint(as_hint(key.doc)),
                ),
            }
            return;
        }
        if let Shape::Later(off) = key.shape {
            let is_off = match &node.value {
                Value::Text { text, .. } => off.contains(&text.as_str()),
                Value::List(items) => items.is_empty(),
                Value::Map(entries) => entries.iter().all(|entry| entry.node.is_null()),
                Value::Null | Value::Broken => true,
            };
            if !is_off {
                let problem =
                    Problem::new(entry.key.span, format!("`{}` is not built yet", key.name));
                self.report(match off.first() {
                    Some(value) => {
                        problem.hint(format!("this version has `{}: {value}` only", key.name))
                    }
                    None => problem.hint("leave the key out"),
                });
            }
            return;
        }
        self.value(&key.shape, entry.key.span, node, path);
    }

    /// A value that is not null.
    fn value(&mut self, shape: &Shape, at: Span, node: &Node, path: &str) {
        match shape {
            _ if matches!(node.value, Value::Broken) => {}
            Shape::Text => {
                if let Some(text) = self.scalar(node, path, "a text")
                    && text.is_empty()
                {
                    self.report(Problem::new(node.span, format!("`{path}` is empty")));
                }
            }
            Shape::TextOrEmpty => {
                self.scalar(node, path, "a text");
            }
            Shape::TextOrTexts => match node.value {
                Value::List(_) => self.texts(node, path, 1, "a text"),
                _ => drop(self.scalar(node, path, "a text, or a list of texts")),
            },
            Shape::Switch => self.switch(node, path),
            Shape::Count { least, most } => self.count(node, path, *least, *most),
            Shape::Duration { least, most, word } => {
                self.duration(node, path, (*least, *most), *word);
            }
            Shape::DurationOrWords { least, most, words } => {
                if node.text().is_none_or(|text| !words.contains(&text)) {
                    let words = words.join("` or `");
                    self.duration(node, path, (*least, *most), Some(&words));
                }
            }
            Shape::Size { least, most } => self.size(node, path, *least, *most),
            Shape::Percent => self.percent(node, path),
            Shape::Mode => {
                if let Some(text) = self.scalar(node, path, "permission bits")
                    && super::fields::parse_mode(text).is_none()
                {
                    self.report(
                        Problem::new(node.span, format!("`{text}` are no permission bits"))
                            .hint("three or four octal digits, like `\"0640\"`"),
                    );
                }
            }
            Shape::Address => {
                if let Some(text) = self.scalar(node, path, "an address")
                    && text.parse::<SocketAddr>().is_err()
                {
                    self.report(
                        Problem::new(node.span, format!("`{text}` is not an address to listen on"))
                            .hint("write IP:PORT, like `127.0.0.1:9470` or `[::1]:9470`; null turns it off"),
                    );
                }
            }
            Shape::Secret => self.secret(node, path),
            Shape::Word(words) => self.word(words, &[], node, path),
            Shape::WordOrTable(words, keys) => match node.value {
                Value::Map(_) => self.table(keys, node, at, path, |_| false),
                _ => self.word(words, keys, node, path),
            },
            Shape::Texts { least } => self.texts(node, path, *least, "a text"),
            Shape::Listen => match node.text() {
                Some("systemd") => {}
                _ => self.texts(node, path, 1, "a text like `udp://0.0.0.0:514`"),
            },
            Shape::Brokers => match node.text() {
                Some("embedded") => {}
                Some(text) if text.contains(':') => self.report(
                    Problem::new(
                        node.span,
                        format!("`{path}` must be a list, or `embedded`, not a text"),
                    )
                    .hint(format!("write `[{text}]`")),
                ),
                Some(text) => self.report(
                    Problem::new(
                        node.span,
                        format!("`{path}` must be a list, or `embedded`, not `{text}`"),
                    )
                    .hint("for example `[kafka-1:9092, kafka-2:9092]`"),
                ),
                None => self.texts(node, path, 1, "HOST:PORT"),
            },
            Shape::Partitions => {
                if self.is_map(node, path) {
                    for entry in node.entries() {
                        self.partitions(entry, &join(path, &entry.key.value));
                    }
                }
            }
            Shape::Options => {
                if self.is_map(node, path) {
                    for entry in node.entries() {
                        let path = join(path, &entry.key.value);
                        match entry.node.value {
                            Value::Null => self.report(
                                Problem::new(entry.key.span, format!("`{path}` has no value"))
                                    .hint("leave the property out for librdkafka's default"),
                            ),
                            _ => drop(self.scalar(&entry.node, &path, "a text")),
                        }
                    }
                }
            }
            Shape::Names(of) => {
                if self.is_map(node, path) {
                    for entry in node.entries() {
                        self.named(of, entry, &join(path, &entry.key.value));
                    }
                }
            }
            Shape::Table(keys) => {
                if self.is_map(node, path) {
                    self.table(keys, node, at, path, |_| false);
                }
            }
            Shape::Kinds(kinds) => {
                if self.is_map(node, path) {
                    self.kinds(kinds, node, at, path);
                }
            }
            Shape::Later(_) => {}
        }
    }

    fn named(&mut self, of: &Shape, entry: &Entry, path: &str) {
        let name = entry.key.value.as_str();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.len() > 100
            || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
            || !name.chars().all(fits)
        {
            self.report(
                Problem::new(entry.key.span, format!("`{name}` cannot be a name here")).hint(
                    "names begin with a letter or digit and have letters, digits and . _ - only, at most 100",
                ),
            );
        }
        if entry.node.is_null() {
            self.report(Problem::new(
                entry.key.span,
                format!("`{path}` has no value"),
            ));
        } else {
            self.value(of, entry.key.span, &entry.node, path);
        }
    }

    fn kinds(&mut self, kinds: &[Kind], node: &Node, at: Span, path: &str) {
        let built: Vec<_> = kinds
            .iter()
            .filter(|kind| kind.keys.is_some())
            .map(|kind| kind.name)
            .collect();
        let choice = format!("`type` is one of {}", built.join(", "));
        let Some(entry) = node.get("type") else {
            let meant = node
                .entries()
                .iter()
                .find(|entry| nearest(&entry.key.value, ["type"]).is_some());
            self.report(
                Problem::new(
                    meant.map_or(at, |entry| entry.key.span),
                    format!("`type` is missing in `{path}`"),
                )
                .hint(choice),
            );
            return;
        };
        let Some(name) = self.scalar(&entry.node, &join(path, "type"), "a text") else {
            return;
        };
        match kinds.iter().find(|kind| kind.name == name) {
            Some(Kind {
                keys: Some(keys), ..
            }) => self.table(keys, node, at, path, |name| name == "type"),
            Some(kind) => self.report(
                Problem::new(
                    entry.node.span,
                    format!("the type `{}` is not built yet", kind.name),
                )
                .hint(choice),
            ),
            None => {
                let hint = nearest(name, kinds.iter().map(|kind| kind.name))
                    .map_or(choice, |meant| format!("did you mean `{meant}`?"));
                self.report(
                    Problem::new(entry.node.span, format!("unknown type `{name}`")).hint(hint),
                );
            }
        }
    }

    fn is_map(&mut self, node: &Node, path: &str) -> bool {
        let is_map = matches!(node.value, Value::Map(_));
        if !is_map && node.value != Value::Broken {
            self.report(
                Problem::new(
                    node.span,
                    format!("`{path}` must be a map, not {}", node.kind()),
                )
                .hint("write `key: value` lines below it"),
            );
        }
        is_map
    }
}

/// A sentence of the tables as the hints are written: no capital, no full stop.
fn as_hint(doc: &str) -> String {
    let mut letters = doc.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_lowercase());
    first.into_iter().flatten().chain(letters).collect()
}

fn is_later(key: &Key) -> bool {
    matches!(key.shape, Shape::Later(_))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
