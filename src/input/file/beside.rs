//! Compressed files that no pattern finds: which of them are looked into at the start.
//!
//! Rotation may have compressed what was not read to its end, while nobody looked. Such a file was last written after the last look, or after a
//! file came of which nothing was read and that is gone; or a saved position proves what it holds. What is compressed later is known by what it
//! is made of.
//!
//! Invariant: no position of which nothing was read is forgotten before everything that may hold its file has a position of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Follower;
use super::facts::unix_ms;
use super::identity::Id;
use super::look::Look;
use super::pursue::names_by_inode;
use super::rotate::{bases, may_become};
use super::sweep::is_below;
use super::unpack::packed_name;
use crate::checkpoint::{Entry, FileKey};
use crate::input::outlet::Ended;

/// Milliseconds.
const TICK: i64 = 20;
/// How often a folder is looked at again at once, when names in it were given to other files meanwhile.
const TRIES: usize = 4;

/// A compressed file that the patterns do not find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    /// Which one was listed: by now another may have its name, and be taken for it.
    pub id: Id,
    /// It may hold what was never seen.
    pub is_later: bool,
}

impl Follower {
    /// Looks into compressed files beside the patterns that may hold what was rotated while nobody looked. Once, at the start; again where
    /// files were renamed meanwhile.
    pub(super) fn pursue_packed(&mut self) -> Result<(), Ended> {
        let mut folders: HashMap<PathBuf, HashMap<PathBuf, i64>> = HashMap::new();
        for (base, updated) in std::mem::take(&mut self.known_at_start) {
            let folder = base.parent().unwrap_or(Path::new("/")).to_path_buf();
            folders.entry(folder).or_default().insert(base, updated);
        }
        if folders.is_empty() {
            self.of_followed.clear();
        }
        for (folder, known) in folders {
            // The next walk may be after a stop, and then what was written since the last one looks old.
            let mut tries = 0..TRIES;
            let is_done = loop {
                let names = match names_by_inode(&folder) {
                    Ok(names) => names,
                    Err(error) => {
                        self.not_now(&folder, &error);
                        break false;
                    }
                };
                if self.pursue_packed_in(&folder, &names, &known)? {
                    break true;
                }
                if tries.next().is_none() {
                    self.must_walk = true;
                    break false;
                }
            };
            if !is_done {
                self.known_at_start.extend(known);
            }
        }
        Ok(())
    }

    /// As above in one folder, as `names` has it: `false` when names were given to other files meanwhile, so that some may have been passed
    /// over. `known`: when the positions of files of these names were saved last, in milliseconds since 1970.
    fn pursue_packed_in(
        &mut self,
        folder: &Path,
        names: &HashMap<u64, Vec<PathBuf>>,
        known: &HashMap<PathBuf, i64>,
    ) -> Result<bool, Ended> {
        let is_as_it_was = || names_by_inode(folder).is_ok_and(|now| now == *names);
        // Nothing else leads to what was compressed before it was read to its end.
        let has_lost = !self.saved.is_empty();
        let unread = self.saved.entries().map(|(_, entry)| entry);
        let unread: Vec<&Entry> = unread
            .filter(|entry| entry.offset == 0 && entry.path.parent() == Some(folder))
            .filter(|entry| !is_among(names, entry))
            .collect();
        // Of what nothing was read only name and time tell: it was not compressed before it was made.
        let may_be_unread = |path: &Path, written: i64| {
            let may_hold =
                |entry: &&Entry| entry.birth <= Some(written) && may_become(&entry.path, path);
            unread.iter().any(may_hold)
        };
        // What is compressed from now on is known by what it is made of.
        let until = *self.packed_until.get_or_insert(unix_ms());
        let was_there = |look: &Look| look.id.birth.is_none_or(|at| at / 1_000_000 <= until);
        let candidate = |path: &PathBuf| {
            let look = Look::at(path).ok().filter(was_there)?;
            // When that is read to its end it is forgotten.
            if self.of_followed.iter().any(|id| id.is_same(&look.id)) {
                return None;
            }
            let (written, id) = (written_until(&look), look.id);
            let bases = bases(path);
            let updated = bases.iter().filter_map(|base| known.get(base)).max()?;
            // Compressing keeps the time of the last write. File systems keep it coarsely.
            let is_later = written / 1_000_000 + TICK > *updated || may_be_unread(path, written);
            let order = (written, id.birth);
            (is_later || has_lost).then(|| (order, path.clone(), Beside { id, is_later }))
        };
        let paths = names.values().flatten();
        let paths = paths.filter(|path| packed_name(path).is_some() && !self.discover.wants(path));
        let mut packed: Vec<_> = paths.filter_map(candidate).collect();
        packed.sort_by_key(|(order, _, _)| *order);
        let starved = self.starved;
        for (_, path, beside) in packed {
            self.adopt_as(path, None, Some(beside))?;
        }
        Ok(self.starved == starved && is_as_it_was())
    }

    /// Forgets the saved positions of files that nothing was read of and that are gone: what may hold one of them has a position of its own by
    /// now, and what is compressed later is none of them.
    pub(super) fn forget_unread(&mut self) {
        if self.saved.is_empty() || !self.known_at_start.is_empty() {
            return;
        }
        let is_gone = |entry: &Entry| {
            let folder = entry.path.parent().unwrap_or(Path::new("/"));
            // Else it is mounted later, perhaps.
            let is_mounted = Look::at(folder).is_ok_and(|look| look.id.dev == entry.dev);
            let names = names_by_inode(folder);
            is_mounted && names.is_ok_and(|names| !is_among(&names, entry))
        };
        let gone = self.saved.entries().filter(|(_, entry)| {
            entry.offset == 0 && !is_below(&entry.path, &self.unreadable) && is_gone(entry)
        });
        let gone: Vec<FileKey> = gone.map(|(key, _)| key).collect();
        for key in gone {
            self.saved.take(key);
            self.facts.forget(key);
        }
    }
}

/// When a compressed file was written last, at the latest: not every tool keeps all of the time.
pub(super) fn written_until(look: &Look) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    const MICRO: i64 = 1000;
    let at = look.stamp.0;
    let unit = [SECOND, MICRO, 1].into_iter().find(|unit| at % unit == 0);
    at.saturating_add(unit.unwrap_or(1) - 1)
}

/// Whether the file that a position was saved of is among these names.
fn is_among(names: &HashMap<u64, Vec<PathBuf>>, entry: &Entry) -> bool {
    let id = Id::of(entry);
    let is_it = |name: &PathBuf| Look::at(name).is_ok_and(|look| look.id.is_same(&id));
    names
        .get(&entry.inode)
        .is_some_and(|names| names.iter().any(is_it))
}
