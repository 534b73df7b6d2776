//! What is known about the followed files beside their positions, shared with whoever saves positions and whoever asks how things stand.
//!
//! Invariant: a position is saved only as the tracker has settled it; [`Facts::collect`] is the only way from an input to the checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::identity::Id;
use super::telling::{State, Telling};
use crate::checkpoint::{Change, Entry, FileKey, Print};
use crate::flow::{EntryId, Mark, SourceId, Tracker};
use crate::input::Position;

/// The facts of one input.
pub struct Facts {
    input: String,
    tracker: Arc<Tracker<Position>>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Boxed: nodes of a map that grows at its end are half empty.
    files: BTreeMap<SourceId, Box<Fact>>,
    /// What else than a position is to be saved.
    changed: Vec<SourceId>,
    /// Not to be saved any longer, at once.
    dropped: Vec<SourceId>,
    /// Gone from the input; forgotten as soon as nothing of them is on its way.
    leaving: Vec<SourceId>,
    /// The first look at the files is over, and nobody was told.
    started: Option<i64>,
    /// Positions of files that did not turn up, forgotten so far.
    expired: u64,
    /// What transactions have to be told; absent without them.
    telling: Option<Telling>,
    /// Files that are too old to be read, as of the last look at all names.
    ignored: u64,
    /// When the last look at all files began, in milliseconds since 1970.
    looked: Option<i64>,
}

/// What is known about one file.
#[derive(Debug, Clone)]
pub struct Fact {
    pub path: Arc<Path>,
    pub id: Id,
    pub head: Option<Print>,
    /// Bytes that it has, as of the last look.
    pub size: u64,
    /// Bytes that were handed on.
    pub read: u64,
    /// Since when the byte at `read` has been known to exist.
    pub behind_since: Option<Instant>,
    /// It is a copy that holds less than was read: positions beyond its end are saved as its end, with the bytes before that.
    pub ceiling: Option<Box<(u64, Option<Print>)>>,
    /// A compressed file that was read to its end: where that is, and how many bytes the file has.
    pub packed: Option<Box<(u64, u64)>>,
}

/// How one file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    pub path: PathBuf,
    /// Bytes, as of the last look.
    pub size: u64,
    pub read: u64,
    /// Bytes whose position may be saved.
    pub settled: u64,
}

/// How an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    pub files: usize,
    pub unread_bytes: u64,
    /// For how long the oldest line that was not read yet has been known to exist.
    pub oldest_unread: Option<Duration>,
    /// Saved positions that were forgotten because their files were gone for too long.
    pub expired: u64,
    /// Files that are not read because they are older than `ignore_older`.
    pub ignored: u64,
}

impl Facts {
    pub fn new(input: &str, tracker: Arc<Tracker<Position>>) -> Self {
        Self {
            input: input.to_owned(),
            tracker,
            inner: Mutex::new(Inner::default()),
        }
    }

    /// What has to be saved since the last call.
    pub fn collect(&self, out: &mut Vec<Change>) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let now = inner.looked.unwrap_or_else(unix_ms);
        let put = |source: SourceId, fact: &Fact, position: &Position| Change::Put {
            input: self.input.clone(),
            key: FileKey(source.0),
            entry: entry(fact, position, now),
        };
        let remove = |source: SourceId| Change::Remove {
            input: self.input.clone(),
            key: FileKey(source.0),
        };
        let mut moved = std::mem::take(&mut inner.changed);
        self.tracker.take_moved(|source, _| {
            if let Some(telling) = &mut inner.telling {
                telling.moved(source);
            }
            moved.push(source);
        });
        moved.sort_unstable();
        moved.dedup();
        for source in moved {
            let Some(fact) = inner.files.get(&source) else {
                continue;
            };
            if let Some(position) = self.tracker.position(source) {
                out.push(put(source, fact, &position));
            }
        }
        out.extend(inner.dropped.drain(..).map(remove));
        inner.leaving.retain(|&source| {
            if self.tracker.open_entries(source) > 0 {
                return true;
            }
            self.tracker.remove(source);
            if inner.files.remove(&source).is_some() {
                out.push(remove(source));
            }
            false
        });
        // After the positions: an input that is said to have started has all of them saved.
        out.extend(inner.started.take().map(|at| Change::Started {
            input: self.input.clone(),
            at,
        }));
    }

    /// Every file, by age.
    pub fn files(&self) -> Vec<FileStatus> {
        let inner = self.lock();
        let status = |source: &SourceId, fact: &Fact| FileStatus {
            path: fact.path.to_path_buf(),
            size: fact.size,
            read: fact.read,
            settled: self
                .tracker
                .position(*source)
                .map_or(0, |at| at.offset)
                .min(fact.ceiling.as_ref().map_or(u64::MAX, |ceiling| ceiling.0)),
        };
        let files = inner.files.iter();
        files.map(|(source, fact)| status(source, fact)).collect()
    }

    pub fn summary(&self) -> Summary {
        let inner = self.lock();
        let files = inner.files.values();
        Summary {
            files: inner.files.len(),
            unread_bytes: files.clone().map(|fact| fact.unread()).sum(),
            oldest_unread: files
                .filter_map(|fact| fact.behind_since)
                .min()
                .map(|at| at.elapsed()),
            expired: inner.expired,
            ignored: inner.ignored,
        }
    }

    #[cfg(test)]
    pub(super) fn facts(&self) -> BTreeMap<SourceId, Fact> {
        let inner = self.lock();
        let facts = inner.files.iter();
        facts.map(|(id, fact)| (*id, (**fact).clone())).collect()
    }

    /// A file is followed. `save` says whether it has to be saved before anything of it is settled.
    pub(super) fn add(&self, source: SourceId, fact: Fact, save: bool) {
        let mut inner = self.lock();
        inner.files.insert(source, Box::new(fact));
        if save {
            inner.changed.push(source);
        }
        if let Some(telling) = &mut inner.telling {
            telling.adopted(source, save);
        }
    }

    /// What was read of one file is read on in another: it holds the same.
    pub(super) fn goes_on_in(&self, source: SourceId, fact: Fact) {
        let mut inner = self.lock();
        inner.files.insert(source, Box::new(fact));
        inner.changed.push(source);
        inner.tells(source);
    }

    /// A compressed file is read to its end, at `end`; it has `size` bytes.
    pub(super) fn is_unpacked(&self, source: SourceId, end: u64, size: u64) {
        let mut inner = self.lock();
        if let Some(fact) = inner.files.get_mut(&source) {
            fact.packed = Some(Box::new((end, size)));
            inner.changed.push(source);
            inner.tells(source);
        }
    }

    /// A file has another name.
    pub(super) fn renamed(&self, source: SourceId, path: Arc<Path>) {
        let mut inner = self.lock();
        if let Some(fact) = inner.files.get_mut(&source) {
            fact.path = path;
            inner.changed.push(source);
            inner.tells(source);
        }
    }

    /// How far a file was read, and how large it is.
    pub(super) fn progress(&self, source: SourceId, head: Option<Print>, size: u64, read: u64) {
        let mut inner = self.lock();
        if let Some(fact) = inner.files.get_mut(&source) {
            // What was unread before is older than what came since.
            if read > fact.read || fact.behind_since.is_none() {
                fact.behind_since = Some(Instant::now());
            }
            (fact.head, fact.size, fact.read) = (head, size, read);
            if fact.unread() == 0 {
                fact.behind_since = None;
            }
        }
    }

    /// A saved entry stands for nothing any more: it is removed at once.
    pub(super) fn forget(&self, key: FileKey) {
        let mut inner = self.lock();
        inner.dropped.push(SourceId(key.0));
        inner.forgets(SourceId(key.0));
    }

    /// The same for a position whose file did not turn up in time; counted.
    pub(super) fn expire(&self, key: FileKey) {
        let mut inner = self.lock();
        inner.dropped.push(SourceId(key.0));
        inner.forgets(SourceId(key.0));
        inner.expired += 1;
    }

    /// So many files are too old to be read.
    pub(super) fn ignore(&self, files: u64) {
        self.lock().ignored = files;
    }

    /// A generation ended because its content was replaced. Its position is removed at once, its ledger when nothing is on its way.
    pub(super) fn replaced(&self, source: SourceId) {
        let mut inner = self.lock();
        inner.files.remove(&source);
        inner.dropped.push(source);
        inner.leaving.push(source);
        inner.tells(source);
    }

    /// A file is not followed any longer. Its position is removed when everything of it is settled.
    pub(super) fn leave(&self, source: SourceId) {
        let mut inner = self.lock();
        inner.leaving.push(source);
        inner.tells(source);
    }

    /// All files were looked at, from that moment on. What is saved from now on is as of then: what comes later was not seen, also when the
    /// position of another file is saved after that.
    pub(super) fn looked(&self, at: i64) {
        self.lock().looked = Some(at);
    }

    /// As [`looked`](Self::looked) was told last.
    #[cfg(test)]
    pub(super) fn looked_at(&self) -> Option<i64> {
        self.lock().looked
    }

    /// All files that exist at the very first start are known.
    pub(super) fn started(&self) {
        let mut inner = self.lock();
        let now = unix_ms();
        inner.started = Some(now);
        if let Some(telling) = &mut inner.telling {
            telling.started(now);
        }
    }

    /// Transactions decide about positions, and have to be told what follows from here.
    pub fn tell_transactions(&self, telling: Telling) {
        self.lock().telling = Some(telling);
    }

    /// Whether transactions have to be told something.
    pub fn has_to_tell(&self) -> bool {
        let inner = self.lock();
        inner.telling.as_ref().is_some_and(Telling::is_due)
    }

    /// What is true as soon as `entries` are settled, as far as it was not said before.
    pub fn tell(&self, entries: &[(SourceId, EntryId)]) -> Vec<Mark> {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(telling) = &mut inner.telling else {
            return Vec::new();
        };
        let now = inner.looked.unwrap_or_else(unix_ms);
        let (files, leaving, tracker) = (&inner.files, &inner.leaving, &self.tracker);
        telling.tell(entries, |source, settled| {
            let fact = files.get(&source)?;
            let (position, is_done) = tracker.position_with(source, settled)?;
            let is_leaving = leaving.contains(&source);
            (!is_leaving || !is_done).then(|| State {
                entry: entry(fact, &position, now),
                is_leaving,
            })
        })
    }

    /// How the transaction ended that what was told last is part of.
    pub fn told(&self, committed: bool) {
        if let Some(telling) = &mut self.lock().telling {
            telling.told(committed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Transactions have to be told of a file whatever its position is.
    fn tells(&mut self, source: SourceId) {
        if let Some(telling) = &mut self.telling {
            telling.changed(source);
        }
    }

    /// A saved position stands for nothing any more.
    fn forgets(&mut self, source: SourceId) {
        if let Some(telling) = &mut self.telling {
            telling.forgotten(source);
        }
    }
}

impl Fact {
    fn unread(&self) -> u64 {
        self.size.saturating_sub(self.read)
    }
}

fn entry(fact: &Fact, position: &Position, now: i64) -> Entry {
    let end = fact.ceiling.as_deref().copied();
    let end = end.filter(|(end, _)| *end < position.offset);
    let end = end.map(|(offset, tail)| Position {
        offset,
        tail,
        ..Position::default()
    });
    let position = end.as_ref().unwrap_or(position);
    Entry {
        path: fact.path.clone(),
        dev: fact.id.dev,
        inode: fact.id.inode,
        birth: fact.id.birth,
        offset: position.offset,
        inside_line: position.inside_line,
        skip: position.skip,
        head: fact.head,
        tail: position.tail,
        half: position.half,
        // Only what is settled to its end is never looked into again.
        packed: fact
            .packed
            .as_deref()
            .filter(|(end, _)| *end <= position.offset)
            .map(|(_, size)| *size),
        updated: now,
    }
}

pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Books, Outcome, Settle};

    fn fact() -> Fact {
        Fact {
            path: Path::new("/a").into(),
            id: Id {
                dev: 1,
                inode: 2,
                birth: Some(3),
            },
            head: None,
            size: 20,
            read: 0,
            behind_since: None,
            ceiling: None,
            packed: None,
        }
    }

    fn facts() -> Facts {
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        tracker.add(SourceId(1), Position::default());
        Facts::new("in", tracker)
    }

    fn at(offset: u64) -> Position {
        Position {
            offset,
            ..Position::default()
        }
    }

    fn collected(facts: &Facts) -> Vec<Change> {
        let mut out = Vec::new();
        facts.collect(&mut out);
        out
    }

    #[test]
    fn only_settled_positions_are_collected() {
        let facts = facts();
        facts.add(SourceId(1), fact(), false);
        let first = facts.tracker.open(SourceId(1), at(5)).unwrap();
        let second = facts.tracker.open(SourceId(1), at(9)).unwrap();
        let settle = |id| {
            facts
                .tracker
                .settle(&[(SourceId(1), id)], &Outcome::default());
        };
        settle(second);
        assert_eq!(collected(&facts), []);
        settle(first);
        let changes = collected(&facts);
        assert!(matches!(&changes[..], [Change::Put { entry, .. }] if entry.offset == 9));
        assert_eq!(collected(&facts), []);
    }

    #[test]
    fn a_file_that_left_is_removed_once_everything_of_it_is_settled() {
        let facts = facts();
        facts.add(SourceId(1), fact(), false);
        let open = facts.tracker.open(SourceId(1), at(5)).unwrap();
        facts.leave(SourceId(1));
        assert_eq!(collected(&facts), []);
        let entries = [(SourceId(1), open)];
        facts.tracker.settle(&entries, &Outcome::default());
        assert!(matches!(
            collected(&facts)[..],
            [
                Change::Put { .. },
                Change::Remove {
                    key: FileKey(1),
                    ..
                }
            ]
        ));
        assert_eq!(facts.tracker.position(SourceId(1)), None);
    }

    #[test]
    fn a_first_start_is_told_after_the_positions_that_belong_to_it() {
        let facts = facts();
        facts.started();
        facts.add(SourceId(1), fact(), true);
        assert!(matches!(
            collected(&facts)[..],
            [Change::Put { .. }, Change::Started { .. }]
        ));
        assert_eq!(collected(&facts), []);
    }

    #[test]
    fn the_age_of_unread_bytes_ends_when_they_are_read() {
        let facts = facts();
        facts.add(SourceId(1), fact(), false);
        facts.progress(SourceId(1), None, 20, 0);
        let summary = facts.summary();
        assert_eq!((summary.files, summary.unread_bytes), (1, 20));
        assert!(summary.oldest_unread.is_some());
        facts.progress(SourceId(1), None, 20, 20);
        assert_eq!(facts.summary().oldest_unread, None);
    }
}
