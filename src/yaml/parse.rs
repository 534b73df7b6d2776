//! Events of the YAML crate into a tree of nodes.
//!
//! Invariant: what the parser accepts is a tree of at most [`MOST_NODES`] nodes and [`DEEPEST`] levels, whatever aliases do.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{self, Event, Parser, ScalarStyle};

use super::expand::expand;
use super::node::{Entry, Node, Span, Spanned, Value};
use super::problem::{Problem, Source};

/// More than any configuration has; aliases of aliases would multiply without end.
const MOST_NODES: usize = 100_000;
const DEEPEST: usize = 64;

/// Keys whose value is not for the eye, by a part of their name.
const SECRET_KEYS: [&str; 6] = ["pass", "pwd", "secret", "token", "pem", "private"];

/// Parses `text`, the file called `name`. `environment` answers `${NAME}`.
///
/// The source is for showing problems. The node is absent when the text is not YAML; otherwise what could not be read is [`Value::Broken`].
pub fn parse(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> (Source, Option<Node>, Vec<Problem>) {
    // YAML takes a lone CR for a line end too: one kind of line end keeps its lines and those of excerpts the same.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = &text.replace("\r\n", "\n").replace('\r', "\n");
    let mut builder = Builder {
        environment,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
        documents: 0,
        masked: Vec::new(),
        problems: Vec::new(),
    };
    let complete = builder.read(text);
    let mut source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
        masked: builder.masked,
    };
    if !complete {
        mask_by_text(&mut source);
        return (source, None, builder.problems);
    }
    if builder.root.is_none() && builder.problems.is_empty() {
        builder.problems.push(
            Problem::of_file("the file is empty")
                .hint("`inputs:`, `outputs:` and `clusters:` are missing"),
        );
    }
    (source, builder.root, builder.problems)
}

/// A list or map whose end has not come.
enum Open {
    List {
        items: Vec<Node>,
        span: Span,
        anchor: usize,
    },
    Map {
        entries: Vec<Entry>,
        merged: Vec<Entry>,
        /// The key that waits for its value.
        key: Option<Key>,
        span: Span,
        anchor: usize,
    },
}

enum Key {
    Named(Spanned<String>),
    /// `<<`
    Merge(Span),
    /// Reported already; its value is thrown away.
    Unusable,
}

struct Builder<'a> {
    environment: &'a dyn Fn(&str) -> Option<String>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
    masked: Vec<Span>,
    problems: Vec<Problem>,
}

impl Builder<'_> {
    /// Reads all events; false when the text is not YAML.
    fn read(&mut self, text: &str) -> bool {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        options.emit_unresolved_aliases = true;
        options.flow_nesting_limit = DEEPEST;
        options.block_nesting_limit = DEEPEST;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, place) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = error.marker();
                    let span = Span {
                        line: at.line().max(1),
                        column: at.col() + 1,
                        end_line: at.line().max(1),
                        end_column: at.col() + 2,
                    };
                    self.problems.push(
                        Problem::new(span, format!("not YAML: {}", error.info()))
                            .hint("what follows was not looked at"),
                    );
                    return false;
                }
            };
            let span = span_of(&place);
            if let Some(problem) = self.take(event, span) {
                self.problems.push(problem);
                return false;
            }
        }
        true
    }

    /// Takes one event; a problem that makes going on useless is returned.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Some(
                        Problem::new(span, "a second document begins here")
                            .hint("one file is one configuration; leave out the `---`"),
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                let node = if self.at_key() {
                    // Keys are names: no environment, no null.
                    let plain = style == ScalarStyle::Plain;
                    let text = text.into_owned();
                    Node::new(Value::Text { text, plain }, span)
                } else {
                    self.scalar(&text, style, span)
                };
                return self.close(node, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open.push(Open::List {
                    items: Vec::new(),
                    span,
                    anchor,
                });
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.is_some(), span);
                self.open.push(Open::Map {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                    span,
                    anchor,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let end = span;
                return match self.open.pop() {
                    Some(Open::List {
                        items,
                        span,
                        anchor,
                    }) => {
                        let span = until(span, end);
                        let depth = items.iter().map(|node| node.depth).max().unwrap_or(0) + 1;
                        let value = Value::List(items);
                        self.close(Node { value, span, depth }, anchor)
                    }
                    Some(Open::Map {
                        mut entries,
                        merged,
                        span,
                        anchor,
                        ..
                    }) => {
                        let span = until(span, end);
                        for entry in merged {
                            if !entries.iter().any(|own| own.key.value == entry.key.value) {
                                entries.push(entry);
                            }
                        }
                        let depths = entries.iter().map(|entry| entry.node.depth);
                        let depth = depths.max().unwrap_or(0) + 1;
                        let value = Value::Map(entries);
                        self.close(Node { value, span, depth }, anchor)
                    }
                    None => None,
                };
            }
            Event::Alias(anchor) => {
                let node = match self.anchors.get(&anchor) {
                    Some(node) => node.clone(),
                    None => {
                        let problem = Problem::new(span, "this alias stands within what it names");
                        self.problems.push(problem);
                        Node::new(Value::Broken, span)
                    }
                };
                self.nodes += count(&node);
                return self.close(node, 0);
            }
            Event::UnresolvedAlias(name) => {
                let problem = Problem::new(span, format!("`*{name}` names no anchor before it"))
                    .hint(format!("mark what is meant with `&{name}`; a text that begins with `*` needs quotes"));
                self.problems.push(problem);
                return self.close(Node::new(Value::Broken, span), 0);
            }
            _ => {}
        }
        None
    }

    fn at_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn refuse_tag(&mut self, tagged: bool, span: Span) {
        if tagged {
            let problem = Problem::new(span, "YAML tags have no meaning here");
            self.problems.push(problem.hint(
                "leave out the word that begins with `!`; a text that begins with `!` needs quotes",
            ));
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Node {
        let plain = style == ScalarStyle::Plain;
        if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Node::new(Value::Null, span);
        }
        if !text.contains('$') {
            let text = text.to_owned();
            return Node::new(Value::Text { text, plain }, span);
        }
        match expand(text, self.environment) {
            Ok(text) if plain && matches!(text.as_str(), "~" | "null") => {
                Node::new(Value::Null, span)
            }
            Ok(text) => Node::new(Value::Text { text, plain }, span),
            Err(error) => {
                self.problems
                    .push(Problem::new(span, error.message).hint(error.hint));
                Node::new(Value::Broken, span)
            }
        }
    }

    /// A node is complete: it goes into what is open.
    fn close(&mut self, node: Node, anchor: usize) -> Option<Problem> {
        self.nodes += 1;
        if self.nodes > MOST_NODES || self.open.len() + node.depth > DEEPEST {
            return Some(Problem::new(
                node.span,
                "the file is too large or nested too deeply to be a configuration",
            ));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map {
                entries,
                merged,
                key: waiting,
                ..
            }) => match waiting.take() {
                None => *waiting = Some(key_of(node, entries, &mut self.problems)),
                Some(Key::Named(key)) => {
                    if is_secret(&key.value) && !matches!(node.value, Value::Map(_)) {
                        self.masked.push(node.span);
                    }
                    entries.push(Entry { key, node });
                }
                Some(Key::Merge(span)) => merge(node, span, merged, &mut self.problems),
                Some(Key::Unusable) => {}
            },
        }
        None
    }
}

fn key_of(node: Node, entries: &[Entry], problems: &mut Vec<Problem>) -> Key {
    let span = node.span;
    let Value::Text { text, plain } = node.value else {
        problems.push(Problem::new(span, "a key must be a text"));
        return Key::Unusable;
    };
    if plain && text == "<<" {
        return Key::Merge(span);
    }
    if let Some(first) = entries.iter().find(|entry| entry.key.value == text) {
        let line = first.key.span.line;
        problems.push(
            Problem::new(span, format!("the key `{text}` stands here twice"))
                .hint(format!("the first one is in line {line}")),
        );
        return Key::Unusable;
    }
    Key::Named(Spanned::new(text, span))
}

/// `<<: *map` or `<<: [*map, *map]`: keys that are not set yet; the first to bring a key wins.
fn merge(node: Node, span: Span, merged: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    match node.value {
        Value::Map(entries) => {
            for entry in entries {
                if !merged.iter().any(|own| own.key.value == entry.key.value) {
                    merged.push(entry);
                }
            }
        }
        Value::List(items) if items.iter().all(|item| matches!(item.value, Value::Map(_))) => {
            for item in items {
                merge(item, span, merged, problems);
            }
        }
        Value::Broken => {}
        _ => problems.push(
            Problem::new(span, "`<<` takes in a map, or a list of maps").hint(
                "for example `<<: *defaults`, with `x-defaults: &defaults { ... }` at the top",
            ),
        ),
    }
}

fn span_of(place: &granit_parser::Span) -> Span {
    let (start, end) = (place.start, place.end);
    Span {
        line: start.line(),
        column: start.col() + 1,
        end_line: end.line(),
        end_column: end.col() + 1,
    }
}

/// From the beginning of one to the end of the other: a list or map with what is in it.
fn until(start: Span, end: Span) -> Span {
    Span {
        end_line: end.end_line,
        end_column: end.end_column,
        ..start
    }
}

fn count(node: &Node) -> usize {
    let below: usize = match &node.value {
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| count(&entry.node)).sum(),
        _ => 0,
    };
    below + 1
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRET_KEYS.iter().any(|word| key.contains(word))
}

/// Without a tree nobody knows where a secret ends: such lines are masked as a whole, and the one below too.
fn mask_by_text(source: &mut Source) {
    for (line, text) in (1..).zip(source.text.lines()) {
        if is_secret(text) {
            source.masked.push(Span {
                line,
                column: 1,
                end_line: line + 2,
                end_column: 1,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> (Node, Vec<Problem>) {
        let (_, node, problems) = parse("a.yaml", text, &|name| {
            (name == "SET").then(|| "value".to_owned())
        });
        (node.unwrap(), problems)
    }

    fn text_at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
        path.iter()
            .try_fold(node, |node, key| Some(&node.get(key)?.node))?
            .text()
    }

    #[test]
    fn values_know_where_they_stand() {
        let (node, problems) = parsed("a:\n  b: [x, 'yé']\n");
        assert!(problems.is_empty());
        let b = node.get("a").unwrap().node.get("b").unwrap();
        assert_eq!((b.key.span.line, b.key.span.column), (2, 3));
        let items = b.node.items();
        assert_eq!((items[1].span.line, items[1].span.column), (2, 10));
        assert_eq!(items[1].span.end_column, 14);
    }

    #[test]
    fn anchors_and_merge_keys_work() {
        let (node, problems) = parsed(
            "x-a: &a { p: 1, q: 2 }\nx-b: &b { q: 3, r: 4 }\nm:\n  <<: [*a, *b]\n  p: 9\nn: *a\n",
        );
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(text_at(&node, &["m", "p"]), Some("9"));
        assert_eq!(text_at(&node, &["m", "q"]), Some("2"));
        assert_eq!(text_at(&node, &["m", "r"]), Some("4"));
        assert_eq!(text_at(&node, &["n", "q"]), Some("2"));
    }

    #[test]
    fn a_duplicate_key_is_a_problem_and_the_first_one_counts() {
        let (node, problems) = parsed("a: 1\nb: 2\na: 3\n");
        assert_eq!(text_at(&node, &["a"]), Some("1"));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].at.unwrap().line, 3);
    }

    #[test]
    fn the_environment_is_put_in_but_not_into_keys() {
        let (node, problems) = parsed("${SET}: ${SET}\nb: ${UNSET}\nc: ${UNSET:-null}\n");
        assert_eq!(text_at(&node, &["${SET}"]), Some("value"));
        assert_eq!(node.get("b").unwrap().node.value, Value::Broken);
        assert!(node.get("c").unwrap().node.is_null());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn quoted_null_is_a_text() {
        let (node, _) = parsed("a: 'null'\nb: null\nc:\n");
        assert_eq!(text_at(&node, &["a"]), Some("null"));
        assert!(node.get("b").unwrap().node.is_null());
        assert!(node.get("c").unwrap().node.is_null());
    }

    #[test]
    fn a_long_comment_is_read_over() {
        let (node, problems) = parsed(&format!("{}a: 1\n", "# word\n".repeat(500)));
        assert!(problems.is_empty());
        assert_eq!(text_at(&node, &["a"]), Some("1"));
    }

    #[test]
    fn tags_second_documents_and_unknown_aliases_are_refused() {
        assert_eq!(parsed("a: !x 1\n").1.len(), 1);
        assert_eq!(parsed("a: *nobody\nb: *nobody\n").1.len(), 2);
        let (_, node, problems) = parse("a.yaml", "a: 1\n---\nb: 1\n", &|_| None);
        assert!(node.is_none());
        assert_eq!(problems.len(), 1);
    }

    #[test]
    fn text_that_is_not_yaml_names_the_place() {
        let (source, node, problems) = parse("a.yaml", "a: [1,\nb: {\n", &|_| None);
        assert!(node.is_none());
        assert_eq!(problems.len(), 1);
        assert!(source.show(&problems[0], "").starts_with("a.yaml:"));
    }

    #[test]
    fn secrets_are_masked_even_when_the_file_is_not_yaml() {
        for text in [
            "password: hunter2\nx: [",
            "a: { password: hunter2\nx: ]",
            "key_password: 'hunter2",
        ] {
            let (source, _, problems) = parse("a.yaml", text, &|_| None);
            assert!(!problems.is_empty());
            for problem in &problems {
                assert!(!source.show(problem, "").contains("hunter2"), "{text}");
            }
            for line in 1..3 {
                let span = Span {
                    line,
                    column: 1,
                    end_line: line,
                    end_column: 2,
                };
                assert!(
                    !source
                        .show(&Problem::new(span, "m"), "")
                        .contains("hunter2")
                );
            }
        }
    }

    #[test]
    fn a_secret_in_the_wrong_form_is_masked_too() {
        for text in [
            "password: [hunter2, hunter2]",
            "password:\n  - hunter2\nx: 1",
            "password: |\n  hunter2\nx: 1",
            "password: >-\n  a\n  hunter2\n",
        ] {
            let (source, _, _) = parse("a.yaml", text, &|_| None);
            for line in 1..5 {
                let span = Span {
                    line,
                    column: 1,
                    end_line: line,
                    end_column: 2,
                };
                let shown = source.show(&Problem::new(span, "m"), "");
                assert!(!shown.contains("hunter2"), "{text}: {shown}");
            }
        }
    }

    #[test]
    fn aliases_of_aliases_do_not_fill_the_memory() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let last = level - 1;
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{last}"); 10].join(", ")
            ));
        }
        let (_, node, problems) = parse("a.yaml", &text, &|_| None);
        assert!(node.is_none());
        assert!(problems[0].message.contains("too large"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn no_text_panics(text in "[a-c:&*!<>|{}\\[\\],'\"$# \n\t-]{0,60}") {
            let (source, _, problems) = parse("a.yaml", &text, &|_| None);
            for problem in problems {
                source.show(&problem, "");
            }
        }
    }
}
