//! Finding files that the patterns do not lead to: what was renamed or rotated while nobody looked.
//!
//! Three traces lead to them: a saved position whose file has another name now, a file that stood at a followed path between two that were
//! seen there, and the inode of a closed file that is not where it was. All are looked for in the folder where the file was last.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::Follower;
use super::adopt::content;
use super::copies::Past;
use super::discover::is_absent;
use super::identity::{Found, Id, Verdict, judge};
use super::look::{Look, open};
use super::rotate::{is_over, rotated_from, was_between};
use super::sweep::is_below;
use crate::checkpoint::{Entry, FileKey};
use crate::input::outlet::Ended;

/// A file that is renamed meanwhile is looked for so many times.
const TRIES: usize = 8;

impl Follower {
    /// Follows files that have saved positions and whose names the patterns do not find (any more).
    pub(super) fn pursue_saved(&mut self) -> Result<(), Ended> {
        if self.saved.is_empty() {
            return Ok(());
        }
        let mut folders: HashMap<PathBuf, HashMap<u64, Vec<PathBuf>>> = HashMap::new();
        let mut finds = Vec::new();
        let mut failed = Vec::new();
        for (_, entry) in self.saved.entries() {
            let folder = entry.path.parent().unwrap_or(Path::new("/"));
            let names = folders.entry(folder.to_path_buf()).or_insert_with(|| {
                names_by_inode(folder).unwrap_or_else(|error| {
                    failed.push((folder.to_path_buf(), error));
                    HashMap::new()
                })
            });
            let beside = names.get(&entry.inode).into_iter().flatten();
            finds.extend(beside.cloned());
        }
        for (folder, error) in failed {
            self.not_now(&folder, &error);
        }
        // Names that the patterns find are judged when they are adopted.
        finds.retain(|path| !self.discover.wants(path));
        for path in finds {
            // Only what is known is followed here: a file that merely has the inode is none of ours.
            let opened = open(&path).and_then(|file| Ok((Look::of(&file)?, file)));
            let (look, file) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    self.mind_descriptors(&error);
                    continue;
                }
            };
            let found = Found {
                path: &path,
                id: look.id,
                size: look.size,
            };
            let candidates = self.saved.candidates(&path, look.id.inode);
            let is_ours = candidates.iter().any(|(_, entry)| {
                match judge(entry, &found, |at, len| content(&file, at, len)) {
                    Verdict::Continue => true,
                    // Cut, and renamed after that.
                    Verdict::Rewritten => entry.birth.is_some() && entry.birth == look.id.birth,
                    Verdict::Other => false,
                }
            });
            drop(file);
            if is_ours {
                self.adopt(path, None)?;
            }
        }
        Ok(())
    }

    /// Follows the files that stood at `path` between two others and were rotated away before anybody saw them there.
    pub(super) fn adopt_between(
        &mut self,
        path: &Path,
        before: &Id,
        after: &Id,
    ) -> Result<(), Ended> {
        self.look_at_predecessor(before)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let names = match settled_names(folder) {
            Ok(names) => names.into_values().flatten(),
            Err(error) => {
                self.not_now(folder, &error);
                return Ok(());
            }
        };
        let rotated = names.filter(|name| rotated_from(name).iter().any(|from| from == path));
        let between = rotated
            .filter_map(|name| Some((Look::at(&name).ok()?.id, name)))
            .filter(|(id, _)| was_between(before, Some(after), id));
        self.adopt_rotated(between.collect())
    }

    /// The same where nothing stands at the path now.
    pub(super) fn adopt_after(&mut self) -> Result<(), Ended> {
        let starved = self.starved;
        let seen = self.rotated_after();
        let Some(youngest) = seen.iter().map(|(id, _)| id.birth).max() else {
            return Ok(());
        };
        let before: Vec<Id> = self.predecessors.values().copied().collect();
        for id in before {
            self.look_at_predecessor(&id)?;
        }
        // A listing may miss what was renamed while it was made, though it shows what was renamed after that. Everything up to the
        // youngest is surely in the next one, and nothing may be passed over: the youngest is what later ones are compared with.
        let mut found = self.rotated_after();
        if self.starved != starved {
            // A list is missing; the next walk comes here again.
            return Ok(());
        }
        found.retain(|(id, _)| id.birth <= youngest);
        self.adopt_rotated(found)
    }

    /// The file stood where another one does now, or none: what stands beside it may be a copy of what it held until it was cut.
    fn look_at_predecessor(&mut self, id: &Id) -> Result<(), Ended> {
        match self.slot_of(id) {
            Some(slot) => self.look_at_original(slot),
            None => Ok(()),
        }
    }

    fn rotated_after(&mut self) -> Vec<(Id, PathBuf)> {
        let paths = self.predecessors.keys();
        let mut folders: Vec<PathBuf> = paths
            .filter_map(|path| Some(path.parent()?.into()))
            .collect();
        folders.sort_unstable();
        folders.dedup();
        let mut names = Vec::new();
        for folder in folders {
            match settled_names(&folder) {
                Ok(by_inode) => names.extend(by_inode.into_values().flatten()),
                Err(error) => self.not_now(&folder, &error),
            }
        }
        let mut found = Vec::new();
        for name in names {
            for path in rotated_from(&name) {
                let Some(before) = self.predecessors.get(&path) else {
                    continue;
                };
                if let Ok(look) = Look::at(&name)
                    && was_between(before, None, &look.id)
                {
                    found.push((look.id, name.clone()));
                    break;
                }
            }
        }
        found.retain(|(id, _)| !self.by_id.contains_key(&(id.dev, id.inode)));
        found
    }

    /// Follows the copies of what followed files held before they were cut, when nothing was read of them then: when they grow beyond what
    /// they were, nothing else tells of the cut. They stand under rotated names, and came after the file began.
    pub(super) fn adopt_missed_copies(&mut self) -> Result<(), Ended> {
        let mut folders: HashMap<PathBuf, Vec<u64>> = HashMap::new();
        for slot in std::mem::take(&mut self.unproven) {
            if let Some(source) = self.sources.get(&slot)
                && source.is_unproven
                && source.at() > 0
                && source.packed.is_none()
            {
                let folder = source.path.parent().unwrap_or(Path::new("/"));
                folders.entry(folder.into()).or_default().push(slot);
            }
        }
        // What waits because such a file held the same is judged anew.
        for (path, slot) in self.waiting_for() {
            if folders.values().any(|slots| slots.contains(&slot)) {
                self.names.remove(path.as_path());
                self.must_walk = true;
            }
        }
        let mut found = Vec::new();
        for (folder, slots) in folders {
            let names = match names_by_inode(&folder) {
                Ok(names) => names,
                Err(error) => {
                    // The next sweep comes here again.
                    self.not_now(&folder, &error);
                    continue;
                }
            };
            let unknown = names.into_values().flatten();
            let unknown: Vec<(Vec<PathBuf>, PathBuf)> = unknown
                .map(|name| (rotated_from(&name), name))
                .filter(|(bases, _)| !bases.is_empty())
                .collect();
            for slot in slots {
                let Some(source) = self.sources.get_mut(&slot) else {
                    continue;
                };
                let rotated = unknown
                    .iter()
                    .filter(|(bases, _)| bases.iter().any(|base| *base == *source.path));
                let before = found.len();
                found.extend(
                    rotated
                        .filter(|(_, name)| !self.discover.wants(name))
                        .filter_map(|(_, name)| Some((Look::at(name).ok()?.id, name.clone())))
                        .filter(|(id, _)| id.birth.is_some_and(|birth| birth >= source.began))
                        .filter(|(id, _)| was_between(&source.look.id, None, id))
                        .filter(|(id, _)| !self.by_id.contains_key(&(id.dev, id.inode))),
                );
                // One that may still be a copy of what it holds now is looked at again.
                source.is_unproven = found.len() > before;
            }
        }
        self.adopt_rotated(found)
    }

    pub(super) fn adopt_rotated(&mut self, mut found: Vec<(Id, PathBuf)>) -> Result<(), Ended> {
        // Names that the patterns find are adopted as such.
        found.retain(|(_, name)| !self.discover.wants(name));
        found.sort_by_key(|(id, _)| id.birth);
        for (id, name) in found {
            self.adopt(name.clone(), None)?;
            // It may have been renamed since its folder was listed.
            for _ in 0..TRIES {
                let is_it = |name: &Path| Look::at(name).is_ok_and(|look| look.id.is_same(&id));
                if self.by_id.contains_key(&(id.dev, id.inode)) || is_it(&name) {
                    break;
                }
                let Ok(Some((name, ..))) = find_again(&name, &id) else {
                    break;
                };
                self.adopt(name, None)?;
            }
        }
        Ok(())
    }

    /// A closed file is not where it was: looks for it in its folder.
    pub(super) fn search(&mut self, slot: u64) -> Result<(), Ended> {
        self.awake.wake(slot);
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let (id, path) = (source.look.id, source.path.clone());
        // Whatever stands at that name now is another file.
        if self
            .names
            .get(&path)
            .is_some_and(|known| known.slot == slot)
        {
            self.names.remove(&path);
        }
        let found = match find_again(&path, &id) {
            Ok(found) => found,
            // It may be there.
            Err(error) => {
                self.not_now(&path, &error);
                return Ok(());
            }
        };
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let Some((path, file, look)) = found else {
            let now = Instant::now();
            let is_mounted = path
                .parent()
                .map(Look::at)
                .is_some_and(|folder| folder.is_ok_and(|folder| folder.id.dev == id.dev));
            source.standing = source.standing.out_of_sight(1, now);
            if !is_mounted && !is_over(source.standing, source.pace.grew, now, &self.timing) {
                return Ok(());
            }
            if !self.outlet.try_flush()? {
                return Ok(());
            }
            if source.unread() == 0 {
                return self.leave(slot);
            }
            // It may have been compressed.
            let Some(source) = self.detach(slot) else {
                return Ok(());
            };
            let size = source.seen.max(source.size());
            return self.end_generation(Past::deleted(&source, size));
        };
        source.file = Some(file);
        source.is_doubtful = true;
        source.standing = source.standing.out_of_sight(look.links, Instant::now());
        source.path = path.into();
        self.open += 1;
        self.facts.renamed(source.id, source.path.clone());
        self.wake(slot);
        Ok(())
    }

    /// Saved positions whose files did not turn up for long are forgotten. What cannot be looked at is not taken for gone.
    pub(super) fn give_up_saved(&mut self) {
        if self.saved.is_empty() || Instant::now() < self.saved_until {
            return;
        }
        let entries = self.saved.entries();
        let gone = entries.filter(|(_, entry)| !is_below(&entry.path, &self.unreadable));
        let keys: Vec<FileKey> = gone.map(|(key, _)| key).collect();
        if keys.is_empty() {
            return;
        }
        tracing::info!(input = %self.name, files = keys.len(), "the saved positions of files that are gone are forgotten");
        for key in keys {
            self.saved.take(key);
            self.facts.expire(key);
        }
    }
}

/// The youngest file that is known to have stood at each path, rotated ones at the path that they were rotated from.
pub(super) fn predecessors(saved: &[(FileKey, Entry)]) -> HashMap<PathBuf, Id> {
    let mut youngest: HashMap<PathBuf, Id> = HashMap::new();
    for (_, entry) in saved {
        let id = Id::of(entry);
        for path in rotated_from(&entry.path)
            .into_iter()
            .chain([entry.path.to_path_buf()])
        {
            let known = youngest.entry(path).or_insert(id);
            if known.birth < id.birth {
                *known = id;
            }
        }
    }
    youngest
}

/// Opens the file `id` under the name that it has now in the folder of `path`. `None`: it is not there. An error says nothing about that.
fn find_again(path: &Path, id: &Id) -> io::Result<Option<(PathBuf, File, Look)>> {
    for path in names_of_inode(path, id.inode)? {
        let opened = Look::at(&path).and_then(|look| match look.id.is_same(id) {
            true => open(&path).and_then(|file| Ok(Some((Look::of(&file)?, file)))),
            false => Ok(None),
        });
        match opened {
            Ok(Some((look, file))) if look.id.is_same(id) => return Ok(Some((path, file, look))),
            Ok(_) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The names beside `path` that may lead to `inode`.
pub(super) fn names_of_inode(path: &Path, inode: u64) -> io::Result<Vec<PathBuf>> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    Ok(names_by_inode(folder)?.remove(&inode).unwrap_or_default())
}

/// As [`names_by_inode`], when two lists agree: one that is made while files are renamed may miss some of them.
fn settled_names(folder: &Path) -> io::Result<HashMap<u64, Vec<PathBuf>>> {
    const MOST: usize = 8;
    let mut names = names_by_inode(folder)?;
    for _ in 0..MOST {
        let again = names_by_inode(folder)?;
        if again == names {
            break;
        }
        names = again;
    }
    Ok(names)
}

/// The files of a folder by inode; none where there is no folder.
pub(super) fn names_by_inode(folder: &Path) -> io::Result<HashMap<u64, Vec<PathBuf>>> {
    let mut names: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(names),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            names.entry(entry.ino()).or_default().push(entry.path());
        }
    }
    Ok(names)
}
