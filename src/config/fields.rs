//! Reads values out of a map that [`super::examine`] has looked at, with the defaults of the tables.
//!
//! Invariant: nothing is reported here. What does not fit was reported already and reads as the default, or as absent.

use std::time::Duration;

use super::NamedPartitions;
use super::shape::{Key, Kind, Need, Shape};
use crate::value::{Percent, Secret, SecretSource, parse_duration, parse_percent, parse_size};
use crate::yaml::{Entry, Node, Span, Spanned, Value};

/// The keys of one map.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    keys: &'static [Key],
    node: Option<&'a Node>,
    /// Where a default is said to stand.
    span: Span,
}

impl<'a> Fields<'a> {
    pub(super) fn new(keys: &'static [Key], node: Option<&'a Node>, span: Span) -> Self {
        Self { keys, node, span }
    }

    pub(super) fn span(&self) -> Span {
        self.span
    }

    fn entry(&self, name: &str) -> Option<&'a Entry> {
        self.node?.get(name)
    }

    /// Whether the user wrote a value.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| !entry.node.is_null())
    }

    /// Whether the user wrote `null`.
    pub(super) fn is_off(&self, name: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.node.is_null())
    }

    /// The default's text, unless the user turned the key off.
    fn default(&self, name: &str) -> Option<&'static str> {
        let key = self.keys.iter().find(|key| key.name == name)?;
        match key.need {
            Need::Default(text) => Some(text),
            Need::DefaultOrOff(text) if !self.is_off(name) => Some(text),
            _ => None,
        }
    }

    /// The value as `read` reads it, else the default.
    fn read<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<Spanned<T>> {
        let own = self.entry(name).and_then(|entry| {
            let value = read(entry.node.text()?)?;
            Some(Spanned::new(value, entry.node.span))
        });
        own.or_else(|| Some(Spanned::new(read(self.default(name)?)?, self.span)))
    }

    pub(super) fn text(&self, name: &str) -> Option<Spanned<String>> {
        self.read(name, |text| Some(text.to_owned()))
    }

    pub(super) fn size(&self, name: &str) -> Option<Spanned<u64>> {
        // A size out of range was reported; reading it would break rules besides.
        let range = self.keys.iter().find_map(|key| match key.shape {
            Shape::Size { least, most } if key.name == name => Some(least..=most),
            _ => None,
        });
        let fits = |bytes: &u64| range.as_ref().is_none_or(|range| range.contains(bytes));
        self.read(name, |text| parse_size(text).ok().filter(fits))
    }

    pub(super) fn percent(&self, name: &str) -> Option<Percent> {
        self.read(name, |text| parse_percent(text).ok())
            .map(|spanned| spanned.value)
    }

    pub(super) fn duration(&self, name: &str) -> Option<Duration> {
        self.spanned_duration(name).map(|spanned| spanned.value)
    }

    pub(super) fn spanned_duration(&self, name: &str) -> Option<Spanned<Duration>> {
        self.read(name, |text| parse_duration(text).ok())
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<Spanned<T>> {
        self.read(name, |text| text.parse().ok())
    }

    pub(super) fn mode(&self, name: &str) -> Option<u32> {
        self.read(name, parse_mode).map(|spanned| spanned.value)
    }

    /// The word, turned into what it means.
    pub(super) fn word<T>(&self, name: &str, meaning: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.read(name, meaning).map(|spanned| spanned.value)
    }

    pub(super) fn texts(&self, name: &str) -> Vec<Spanned<String>> {
        self.entry(name)
            .map(|entry| entry.node.items())
            .unwrap_or_default()
            .iter()
            .filter_map(|item| Some(Spanned::new(item.text()?.to_owned(), item.span)))
            .collect()
    }

    /// Lists of partitions by topic. What is no list of numbers is left out.
    pub(super) fn partitions(&self, name: &str) -> Option<Spanned<Vec<NamedPartitions>>> {
        let entry = self.entry(name)?;
        let Value::Map(topics) = &entry.node.value else {
            return None;
        };
        let of = |topic: &Entry| NamedPartitions {
            topic: topic.key.clone(),
            numbers: topic
                .node
                .items()
                .iter()
                .filter_map(|item| parse_partition(item.text()?))
                .collect(),
        };
        let named = topics.iter().map(of).collect();
        Some(Spanned::new(named, entry.key.span))
    }

    pub(super) fn secret(&self, name: &str) -> Option<SecretSource> {
        let node = &self.entry(name)?.node;
        if let Some(text) = node.text() {
            return Some(SecretSource::Text(Secret::new(text)));
        }
        let entry = node.entries().first()?;
        let text = entry.node.text()?.to_owned();
        match entry.key.value.as_str() {
            "file" => Some(SecretSource::File(text.into())),
            "env" => Some(SecretSource::Env(text)),
            "credential" => Some(SecretSource::Credential(text)),
            _ => None,
        }
    }

    /// The scalars of a map of the user's own keys.
    pub(super) fn pairs(&self, name: &str) -> Vec<(Spanned<String>, Spanned<String>)> {
        self.named(name)
            .filter_map(|entry| {
                let value = entry.node.text()?.to_owned();
                Some((entry.key.clone(), Spanned::new(value, entry.node.span)))
            })
            .collect()
    }

    /// The entries of a map of the user's own keys.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.entry(name)
            .map(|entry| entry.node.entries())
            .unwrap_or_default()
            .iter()
    }

    /// The map under `name`; its defaults when it is absent.
    pub(super) fn table(&self, name: &str, keys: &'static [Key]) -> Self {
        match self.entry(name) {
            Some(entry) => Self::new(keys, Some(&entry.node), entry.key.span),
            None => Self::new(keys, None, self.span),
        }
    }

    /// The map under `name`, if the user wrote one.
    pub(super) fn table_if_present(&self, name: &str, keys: &'static [Key]) -> Option<Self> {
        let entry = self.entry(name)?;
        matches!(entry.node.value, Value::Map(_))
            .then(|| Self::new(keys, Some(&entry.node), entry.key.span))
    }

    /// The map under `name` by its `type`.
    pub(super) fn kind(&self, name: &str, kinds: &'static [Kind]) -> Option<(&'static str, Self)> {
        let entry = self.entry(name)?;
        let named = entry.node.get("type")?.node.text()?;
        let kind = kinds.iter().find(|kind| kind.name == named)?;
        let fields = Self::new(kind.keys?, Some(&entry.node), entry.key.span);
        Some((kind.name, fields))
    }
}

/// A number that a partition can have.
pub(super) fn parse_partition(text: &str) -> Option<i32> {
    text.parse().ok().filter(|number| *number >= 0)
}

/// Three or four octal digits.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let fits =
        matches!(digits.len(), 3 | 4) && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
    fits.then(|| u32::from_str_radix(digits, 8).ok()).flatten()
}
