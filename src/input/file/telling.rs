//! What transactions have to be told about files, and how it is written down. Pure.
//!
//! | mark | says |
//! |---|---|
//! | a file's key, in decimal digits | its entry, as in the checkpoint; none: the file is gone and delivered |
//! | `input` | when the input first started, and the first key that was never used |
//!
//! A mark is told when its file changed: it was read on, got another name, came or went. What was told in a transaction that came to nothing
//! is told again.
//!
//! Invariant: a file of which nothing was ever told is not known at the next start, and is read from where `start_at` says.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Entry, FileKey};
use crate::flow::{EntryId, Mark, SourceId};

/// The key of the input's own mark.
const INPUT: &str = "input";

/// The input's own mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct About {
    /// In milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started: Option<i64>,
    next_key: u64,
}

/// Where an input begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begin {
    pub entries: BTreeMap<FileKey, Entry>,
    /// In milliseconds since 1970; absent: it never started.
    pub started: Option<i64>,
    /// Keys from this on were never used.
    pub next_key: u64,
}

/// How a followed file stands once certain entries are settled.
pub struct State {
    pub entry: Entry,
    /// It is to be told that it is gone as soon as nothing of it is on its way.
    pub is_leaving: bool,
}

/// What is to be told, and what was.
#[derive(Debug, Default)]
pub struct Telling {
    /// Files to be told of; `true`: whatever their position is.
    due: BTreeMap<SourceId, bool>,
    /// What the transaction was told that is not decided yet.
    pending: Vec<SourceId>,
    /// The offset that was told last, of each file.
    offsets: HashMap<SourceId, u64>,
    /// Entries that have to be told, of files that were not found yet.
    saved: BTreeMap<SourceId, Entry>,
    about: About,
    about_due: bool,
    about_pending: bool,
}

/// Reads marks that were told.
///
/// # Errors
/// Words about a mark that cannot be understood.
pub fn understand(marks: &[Mark]) -> Result<Begin, String> {
    let mut begin = Begin::default();
    for Mark { key, value } in marks {
        let Some(value) = value else { continue };
        let not_understood = |error: serde_json::Error| {
            format!("the saved position {key} cannot be understood: {error}")
        };
        if key == INPUT {
            let about: About = serde_json::from_str(value).map_err(not_understood)?;
            begin.started = about.started;
            begin.next_key = begin.next_key.max(about.next_key);
        } else {
            let number: u64 = key.parse().map_err(|_| {
                format!("the saved position {key:?} is none that this version knows")
            })?;
            let entry = serde_json::from_str(value).map_err(not_understood)?;
            begin.next_key = begin.next_key.max(number.saturating_add(1));
            begin.entries.insert(FileKey(number), entry);
        }
    }
    Ok(begin)
}

impl Telling {
    /// For an input that begins at `begin`, which was told already.
    pub fn known(begin: &Begin) -> Self {
        let offsets = begin.entries.iter();
        Self {
            offsets: offsets
                .map(|(key, entry)| (SourceId(key.0), entry.offset))
                .collect(),
            about: about(begin),
            ..Self::default()
        }
    }

    /// For an input that begins at `begin`, of which nothing was told: all of it has to be, and that `others` are gone.
    pub fn unknown(begin: &Begin, others: impl Iterator<Item = FileKey>) -> Self {
        let saved = begin.entries.iter();
        let saved: BTreeMap<_, _> = saved
            .map(|(key, entry)| (SourceId(key.0), entry.clone()))
            .collect();
        let others = others.map(|key| SourceId(key.0));
        Self {
            due: saved
                .keys()
                .copied()
                .chain(others)
                .map(|source| (source, true))
                .collect(),
            saved,
            about: about(begin),
            about_due: true,
            ..Self::default()
        }
    }

    /// A file is followed. `is_new`: nothing was told of it as it is.
    pub fn adopted(&mut self, source: SourceId, is_new: bool) {
        self.saved.remove(&source);
        if is_new {
            self.changed(source);
        }
        if source.0 >= self.about.next_key {
            self.about.next_key = source.0 + 1;
            self.about_due = true;
        }
    }

    /// A file has to be told of.
    pub fn changed(&mut self, source: SourceId) {
        self.due.insert(source, true);
    }

    /// A file's position moved.
    pub fn moved(&mut self, source: SourceId) {
        self.due.entry(source).or_insert(false);
    }

    /// A saved position stands for nothing any more.
    pub fn forgotten(&mut self, source: SourceId) {
        self.saved.remove(&source);
        self.changed(source);
    }

    /// All files that exist at the very first start are known.
    pub fn started(&mut self, at: i64) {
        self.about.started = Some(at);
        self.about_due = true;
    }

    pub fn is_due(&self) -> bool {
        self.about_due || !self.due.is_empty()
    }

    /// What is to be told in a transaction that settles `entries`. `state` gives how a file stands then; `None`: it is gone.
    pub fn tell(
        &mut self,
        entries: &[(SourceId, EntryId)],
        state: impl Fn(SourceId, &[EntryId]) -> Option<State>,
    ) -> Vec<Mark> {
        let mut settled: HashMap<SourceId, Vec<EntryId>> = HashMap::new();
        for (source, entry) in entries {
            settled.entry(*source).or_default().push(*entry);
            self.moved(*source);
        }
        let mut marks = Vec::new();
        let mut later = BTreeMap::new();
        for (source, anyway) in std::mem::take(&mut self.due) {
            let settled = settled.get(&source).map_or(&[][..], Vec::as_slice);
            let state = state(source, settled);
            if state.as_ref().is_some_and(|state| state.is_leaving) {
                later.insert(source, true);
            }
            let entry = state
                .map(|state| state.entry)
                .or_else(|| self.saved.get(&source).cloned());
            let known = self.offsets.get(&source);
            let is_told = match &entry {
                Some(entry) => known == Some(&entry.offset),
                None => known.is_none(),
            };
            if is_told && !anyway {
                continue;
            }
            match &entry {
                Some(entry) => self.offsets.insert(source, entry.offset),
                None => self.offsets.remove(&source),
            };
            self.pending.push(source);
            marks.push(Mark {
                key: source.0.to_string(),
                value: entry.and_then(|entry| serde_json::to_string(&entry).ok()),
            });
        }
        self.due = later;
        if std::mem::take(&mut self.about_due) {
            self.about_pending = true;
            marks.push(Mark {
                key: INPUT.to_owned(),
                value: serde_json::to_string(&self.about).ok(),
            });
        }
        marks
    }

    /// How the transaction ended that what was told last is part of.
    pub fn told(&mut self, committed: bool) {
        let pending = std::mem::take(&mut self.pending);
        let about = std::mem::take(&mut self.about_pending);
        if !committed {
            self.due
                .extend(pending.into_iter().map(|source| (source, true)));
            self.about_due |= about;
        }
    }
}

fn about(begin: &Begin) -> About {
    About {
        started: begin.started,
        next_key: begin.next_key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64) -> Entry {
        Entry {
            path: std::path::Path::new("/log/a").into(),
            dev: 1,
            inode: 2,
            birth: Some(3),
            offset,
            inside_line: false,
            skip: None,
            head: None,
            tail: None,
            half: None,
            packed: None,
            updated: 0,
        }
    }

    fn at(offset: u64) -> impl Fn(SourceId, &[EntryId]) -> Option<State> {
        move |_, _| {
            Some(State {
                entry: entry(offset),
                is_leaving: false,
            })
        }
    }

    fn begin(files: &[(u64, u64)]) -> Begin {
        Begin {
            entries: files
                .iter()
                .map(|(key, offset)| (FileKey(*key), entry(*offset)))
                .collect(),
            started: Some(7),
            next_key: 9,
        }
    }

    const FILE: SourceId = SourceId(3);

    #[test]
    fn what_was_told_is_understood() {
        let begin = begin(&[(3, 5), (4, 6)]);
        let mut telling = Telling::unknown(&begin, [FileKey(1)].into_iter());
        let marks = telling.tell(&[], |_, _| None);
        let gone = Mark {
            key: "1".into(),
            value: None,
        };
        assert!(marks.contains(&gone));
        assert_eq!(understand(&marks), Ok(begin));
        assert!(!telling.is_due());
    }

    #[test]
    fn what_was_told_in_vain_is_told_again() {
        let mut telling = Telling::known(&begin(&[(3, 5)]));
        telling.moved(FILE);
        assert_eq!(telling.tell(&[], at(8)).len(), 1);
        telling.told(false);
        assert!(telling.is_due());
        assert_eq!(telling.tell(&[], at(8)).len(), 1);
        telling.told(true);
        assert!(!telling.is_due());
    }

    #[test]
    fn a_position_that_is_known_is_not_told_again() {
        let mut telling = Telling::known(&begin(&[(3, 5)]));
        telling.moved(FILE);
        assert_eq!(telling.tell(&[], at(5)), []);
        telling.changed(FILE);
        assert_eq!(telling.tell(&[], at(5)).len(), 1);
    }

    #[test]
    fn a_file_that_leaves_is_told_of_until_it_is_gone() {
        let mut telling = Telling::known(&begin(&[(3, 5)]));
        telling.changed(FILE);
        let leaving = |_, _: &[EntryId]| {
            Some(State {
                entry: entry(6),
                is_leaving: true,
            })
        };
        assert!(telling.tell(&[], leaving)[0].value.is_some());
        telling.told(true);
        assert!(telling.is_due());
        assert_eq!(telling.tell(&[], |_, _| None)[0].value, None);
        telling.told(true);
        assert!(!telling.is_due());
    }

    #[test]
    fn a_new_file_uses_its_key_up() {
        let mut telling = Telling::known(&begin(&[]));
        telling.adopted(SourceId(9), true);
        let marks = telling.tell(&[], at(0));
        assert_eq!(understand(&marks).unwrap().next_key, 10);
    }

    #[test]
    fn a_mark_that_cannot_be_understood_is_not_passed_over() {
        let mark = |key: &str, value: &str| Mark {
            key: key.into(),
            value: Some(value.into()),
        };
        assert!(understand(&[mark("3", "{}")]).is_err());
        assert!(understand(&[mark("x", "{}")]).is_err());
    }
}
