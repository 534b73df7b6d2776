//! A reader of OpenMetrics text for the tests, as strict as the specification asks a producer to be.
//!
//! It knows the kinds that logferry has (counter, gauge, info) and panics with what is wrong. Invariant: what it accepts a scraper accepts too.

use std::collections::{BTreeMap, BTreeSet};

/// A sample as a reader sees it: full name, labels, value.
#[derive(Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Reads OpenMetrics text as strictly as its specification asks a producer to write it.
pub fn parse(text: &str) -> Vec<Sample> {
    assert!(text.ends_with("\n# EOF\n"), "no end");
    let mut families = BTreeSet::new();
    let mut series = BTreeSet::new();
    let mut samples = Vec::new();
    let (mut family, mut kind) = (String::new(), String::new());
    let body = text.strip_suffix("# EOF\n").unwrap();
    for line in body.lines() {
        assert!(!line.is_empty() && line == line.trim(), "{line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name, text) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            match word {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "{name} stands twice");
                    family = name.to_owned();
                    kind = String::new();
                }
                "TYPE" => {
                    assert_eq!(name, family, "TYPE of another family");
                    assert!(kind.is_empty(), "a second TYPE");
                    assert!(["counter", "gauge", "info"].contains(&text), "{text}");
                    kind = text.to_owned();
                }
                "UNIT" => {
                    assert_eq!(name, family, "UNIT of another family");
                    assert!(
                        name.ends_with(&format!("_{text}")),
                        "{name} does not end in its unit {text}"
                    );
                }
                other => panic!("a line of kind {other}"),
            }
            continue;
        }
        let (id, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match id.split_once('{') {
            Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').unwrap())),
            None => (id, BTreeMap::new()),
        };
        let wanted = match kind.as_str() {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            "gauge" => family.clone(),
            _ => panic!("{name} before its TYPE"),
        };
        assert_eq!(name, wanted, "a sample of another family");
        assert!(
            name.starts_with("logferry_")
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{name}"
        );
        assert!(
            series.insert((name.to_owned(), labels.clone())),
            "{id} stands twice"
        );
        let value: f64 = value.parse().unwrap();
        assert!(value >= 0.0);
        samples.push(Sample {
            name: name.to_owned(),
            labels,
            value,
        });
    }
    samples
}

fn parse_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, quoted) = rest.split_once("=\"").unwrap();
        let mut value = String::new();
        let mut characters = quoted.char_indices();
        let end = loop {
            match characters.next().expect("a value without an end") {
                (at, '"') => break at,
                (_, '\\') => match characters.next().unwrap().1 {
                    'n' => value.push('\n'),
                    other @ ('"' | '\\') => value.push(other),
                    other => panic!("an escape of {other}"),
                },
                (_, '\n') => panic!("a line feed in a value"),
                (_, other) => value.push(other),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "{name} stands twice"
        );
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or_else(|| {
            assert!(rest.is_empty(), "{rest:?} after a value");
            rest
        });
    }
    labels
}

/// The value of one series.
pub fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let wanted: BTreeMap<_, _> = labels
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == wanted)
        .map(|sample| sample.value)
}
