//! The sweep: names against files. The authority on what exists; everything else is a hint.
//!
//! A steady sweep costs one look per folder, and one per file that no event answers for. Only when a name came, went or leads elsewhere are
//! names and files matched anew: a known file under another name was renamed, a second name of a known file is ignored, a file that no name
//! leads to was moved out of sight or deleted, and what is left is new, or known from a saved position. A name in a folder that cannot be
//! listed is neither gone nor changed.
//!
//! Invariant: a file is left only after it was read to its end, or cannot be reached any more (then what is known to be missing is counted).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::Follower;
use super::adopt::origin;
use super::around::follow_path;
use super::discover::{Name, is_absent};
use super::facts::unix_ms;
use super::identity::Id;
use super::look::{Kind, Look};
use super::rotate::Standing;
use crate::input::outlet::Ended;

/// Every so many sweeps all names are walked over even if no folder says that it changed.
const WALK: u64 = 10;
/// A name that leads to a followed file.
pub(super) struct Known {
    name: Name,
    pub(super) slot: u64,
    /// The sweep that saw it last.
    seen: u64,
    /// It leads to another file, that holds the same so far.
    pub(super) is_copy: bool,
    /// The file that was found there is the one that was listed, or both were found twice.
    is_sure: bool,
}

impl Follower {
    /// Looks at all names and at all files that are not looked at anyway.
    pub(super) fn sweep(&mut self) -> Result<(), Ended> {
        self.sweeps += 1;
        let (began, starved) = (unix_ms(), self.starved);
        let must_walk = std::mem::take(&mut self.must_walk) || self.sweeps.is_multiple_of(WALK);
        if must_walk || !self.discover.is_steady(self.timing.trust) {
            self.walk()?;
        }
        self.look_around()?;
        self.adopt_missed_copies()?;
        self.review_waiting();
        self.give_up_held()?;
        self.close_surplus();
        self.give_up_saved();
        self.outlet.give_back_unused();
        self.tell_unread();
        if self.starved == starved {
            self.facts.looked(began);
        }
        Ok(())
    }

    /// Looks at all names.
    fn walk(&mut self) -> Result<(), Ended> {
        let (sweep, names) = (self.sweeps, &mut self.names);
        let mut kept = 0;
        let found = self.discover.walk(&mut |path, name| {
            let Some(known) = names.get_mut(path) else {
                return false;
            };
            // Where a link leads, its own inode does not tell.
            let is_kept = known.name == *name && known.is_sure && name.kind == Kind::File;
            if is_kept && known.seen != sweep {
                known.seen = sweep;
                kept += 1;
            }
            is_kept
        });
        self.unreadable.clear();
        let starved = self.starved;
        for (folder, error) in found.unreadable {
            self.not_now(&folder, &error);
            self.unreadable.insert(folder);
        }
        if self.starved != starved {
            // What was not listed for want of descriptors is not gone.
            return Ok(());
        }
        // Before the names: what was renamed is finished first.
        self.pursue_saved()?;
        let ignored = std::mem::take(&mut self.ignored);
        if !found.unknown.is_empty() || kept != self.names.len() || self.must_match {
            self.match_names(found.unknown)?;
        }
        if self.ignored != ignored {
            tracing::info!(input = %self.name, files = self.ignored, "files that were not written to for longer than ignore_older are not read");
            self.facts.ignore(self.ignored);
        }
        if !self.predecessors.is_empty() {
            self.adopt_after()?;
        }
        self.end_saved_generations()?;
        self.pursue_packed()?;
        self.forget_unread();
        self.watch.set_folders(&found.folders);
        self.troubles.forget_before(sweep);
        Ok(())
    }

    /// Some names came, went or lead elsewhere.
    fn match_names(&mut self, unknown: Vec<(PathBuf, Name)>) -> Result<(), Ended> {
        let sweep = self.sweeps;
        let mut new = Vec::new();
        for (path, name) in unknown {
            let look = match Look::at(&path) {
                Ok(look) => look,
                Err(error) if is_absent(&error) => continue,
                Err(error) => {
                    self.cannot_adopt(path, &error);
                    continue;
                }
            };
            if look.kind != Kind::File {
                if look.kind != Kind::Folder || self.discover.expects_file(&path) {
                    self.troubles.no_file(&path, look.kind, sweep);
                }
                continue;
            }
            match self.slot_of(&look.id) {
                Some(slot) => self.learn_name(path.into(), name, slot),
                // Cheaper than to open it at every walk.
                None if self.is_old(&path, &look) && !self.saved.may_have(&path, &look.id) => {
                    self.ignored += 1;
                }
                None => new.push((path, name)),
            }
        }
        // Where nobody could look, nothing is known to be gone.
        for (path, known) in &mut self.names {
            if is_below(path, &self.unreadable) {
                known.seen = sweep;
            }
        }
        self.names.retain(|_, known| known.seen == sweep);
        self.rename_sources();
        self.must_match = false;
        // What has a saved position comes first: others may be copies of it.
        let (known, unknown): (Vec<_>, Vec<_>) = new.into_iter().partition(|(path, name)| {
            let found = self.saved.candidates(path, name.inode);
            !found.is_empty()
        });
        for (path, name) in known.into_iter().chain(unknown) {
            self.adopt(path, Some(name))?;
        }
        self.end_saved_generations()
    }

    pub(super) fn slot_of(&self, id: &Id) -> Option<u64> {
        let slot = self.by_id.get(&(id.dev, id.inode))?;
        let source = self.sources.get(slot)?;
        source.look.id.is_same(id).then_some(*slot)
    }

    pub(super) fn learn_name(&mut self, path: Arc<Path>, name: Name, slot: u64) {
        let id = self.sources.get(&slot).map(|source| source.look.id);
        let before = self.know(path, name, slot, false, id);
        if before.is_some_and(|before| before != slot) {
            (self.must_match, self.must_walk) = (true, true);
        }
    }

    /// Gives the slot that a name led to before. `id` is the file that was found there.
    fn know(
        &mut self,
        path: Arc<Path>,
        name: Name,
        slot: u64,
        is_copy: bool,
        id: Option<Id>,
    ) -> Option<u64> {
        let is_same = |known: &Known| (known.name, known.slot) == (name, slot);
        // Another file may have come to that name since it was listed, and the inode may be used again there.
        let is_sure = name.kind != Kind::File
            || id.is_none_or(|id| id.inode == name.inode)
            || self.names.get(&path).is_some_and(is_same);
        self.must_walk |= !is_sure;
        let known = Known {
            name,
            slot,
            seen: self.sweeps,
            is_copy,
            is_sure,
        };
        self.names.insert(path, known).map(|before| before.slot)
    }

    /// The names that lead to a followed file.
    pub(super) fn names_of(&self, slot: u64) -> Vec<(PathBuf, Name)> {
        let names = self.names.iter();
        names
            .filter(|(_, known)| known.slot == slot && !known.is_copy)
            .map(|(path, known)| (path.to_path_buf(), known.name))
            .collect()
    }

    /// A name of a file that holds the same as a followed one.
    pub(super) fn learn_copy(&mut self, path: Arc<Path>, name: Name, slot: u64, id: Id) {
        self.know(path, name, slot, true, Some(id));
    }

    /// Gives every file the name that leads to it now.
    fn rename_sources(&mut self) {
        let now = Instant::now();
        // The smallest of its names, or its present one.
        let mut names: HashMap<u64, &Arc<Path>> = HashMap::with_capacity(self.names.len());
        for (path, known) in self.names.iter().filter(|(_, known)| !known.is_copy) {
            let present = self.sources.get(&known.slot).map(|source| &source.path);
            let best = names.entry(known.slot).or_insert(path);
            if Some(*best) != present && (Some(path) == present || path < *best) {
                *best = path;
            }
        }
        for (slot, source) in &mut self.sources {
            let Some(path) = names.get(slot) else {
                let links = source.file.as_ref().and_then(|file| Look::of(file).ok());
                let links = links.map_or(1, |look| look.links);
                self.awake.wake(*slot);
                let was = source.standing;
                source.standing = was.out_of_sight(links, now);
                if was == Standing::Named {
                    let left = source.path.to_path_buf();
                    self.predecessors.insert(left, source.look.id);
                    follow_path(source, &self.facts);
                }
                continue;
            };
            source.standing = Standing::Named;
            if source.path != **path {
                let left = source.path.to_path_buf();
                self.predecessors.insert(left, source.look.id);
                source.path = Arc::clone(path);
                source.origin = origin(&self.name, &source.path);
                self.facts.renamed(source.id, source.path.clone());
            }
        }
    }
}

/// Whether `path` is one of `places`, or within one.
pub(super) fn is_below(path: &Path, places: &HashSet<PathBuf>) -> bool {
    !places.is_empty() && path.ancestors().any(|above| places.contains(above))
}
