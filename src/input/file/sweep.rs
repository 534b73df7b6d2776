//! The sweep: names against files. The authority on what exists; everything else is a hint.
//!
//! A steady sweep costs one look per folder, and one per file that no event answers for. Only when a name came, went or leads elsewhere are names and files
//! matched anew: a known file under another name was renamed, a second name of a known file is ignored, a file that no name leads to was
//! moved out of sight or deleted, and what is left is new, or known from a saved position.
//!
//! Invariant: a file is left only after it was read to its end, or cannot be reached any more (then what is known to be missing is counted).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirEntryExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::discover::{Name, is_absent};
use super::facts::Facts;
use super::identity::{Found, Id, Verdict, judge};
use super::look::{Kind, Look, is_shared, open};
use super::rotate::{Growth, Standing, growth, is_over, rotated_from, was_between};
use super::settings::StartAt;
use super::tail::{Source, end_of_lines};
use super::{Follower, fact};
use crate::checkpoint::{Entry, FileKey};
use crate::flow::{Origin, SourceId};
use crate::input::Position;
use crate::input::outlet::Ended;

/// Every so many sweeps all names are walked over even if no folder says that it changed.
const WALK: u64 = 10;
/// A file whose next write is told by an event is looked at nevertheless every so many sweeps.
const LOOK: u64 = 8;

/// A name that leads to a followed file.
pub(super) struct Known {
    name: Name,
    pub(super) slot: u64,
    /// The sweep that saw it last.
    seen: u64,
}

impl Follower {
    /// Looks at all names and at all files that are not looked at anyway.
    pub(super) fn sweep(&mut self) -> Result<(), Ended> {
        self.sweeps += 1;
        let must_walk = std::mem::take(&mut self.must_walk) || self.sweeps.is_multiple_of(WALK);
        if must_walk || !self.discover.is_steady(self.timing.trust) {
            self.walk()?;
        }
        self.look_around()?;
        self.give_up_saved();
        self.tell_unread();
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
            let is_kept = known.name == *name && name.kind == Kind::File;
            if is_kept && known.seen != sweep {
                known.seen = sweep;
                kept += 1;
            }
            is_kept
        });
        for (folder, error) in &found.unreadable {
            self.troubles.cannot_read(folder, error, sweep);
        }
        // Before the names: what was renamed is finished first.
        self.pursue_saved()?;
        if !found.unknown.is_empty() || kept != self.names.len() {
            self.match_names(found.unknown)?;
        }
        if !self.predecessors.is_empty() {
            self.adopt_after()?;
        }
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
            match self.slot_of(&look) {
                Some(slot) => self.learn_name(path, name, slot),
                None => new.push((path, name)),
            }
        }
        self.names.retain(|_, known| known.seen == sweep);
        self.rename_sources();
        for (path, name) in new {
            self.adopt(path, Some(name))?;
        }
        Ok(())
    }

    fn slot_of(&self, look: &Look) -> Option<u64> {
        let slot = self.by_id.get(&(look.id.dev, look.id.inode))?;
        let source = self.sources.get(slot)?;
        source.look.id.is_same(&look.id).then_some(*slot)
    }

    fn learn_name(&mut self, path: PathBuf, name: Name, slot: u64) {
        let seen = self.sweeps;
        self.names.insert(path, Known { name, slot, seen });
    }

    /// Gives every file the name that leads to it now.
    fn rename_sources(&mut self) {
        let now = Instant::now();
        // The smallest of its names, or its present one.
        let mut names: HashMap<u64, &Path> = HashMap::with_capacity(self.names.len());
        for (path, known) in &self.names {
            let present = self.sources.get(&known.slot).map(|s| s.path.as_path());
            let best = names.entry(known.slot).or_insert(path);
            if Some(*best) != present && (Some(path.as_path()) == present || path.as_path() < *best)
            {
                *best = path;
            }
        }
        for (slot, source) in &mut self.sources {
            let Some(&path) = names.get(slot) else {
                let links = source.file.as_ref().and_then(|file| Look::of(file).ok());
                let links = links.map_or(1, |look| look.links);
                let was = source.standing;
                source.standing = was.out_of_sight(links, now);
                if was == Standing::Named {
                    let left = source.path.clone();
                    self.predecessors.insert(left, source.look.id);
                    follow_path(source, &self.facts);
                }
                continue;
            };
            source.standing = Standing::Named;
            if source.path != path {
                let left = source.path.clone();
                self.predecessors.insert(left, source.look.id);
                source.path = path.to_path_buf();
                source.origin = origin(&self.name, path);
                self.facts.renamed(source.id, source.path.clone());
            }
        }
    }

    /// Looks at the files that are not looked at by time, and leaves those that are over.
    fn look_around(&mut self) -> Result<(), Ended> {
        let now = Instant::now();
        let (mut changed, mut astray, mut over) = (Vec::new(), Vec::new(), Vec::new());
        for (&slot, source) in &mut self.sources {
            let named = source.standing == Standing::Named;
            // Events answer for most of those that have been quiet for long.
            let is_turn = (self.sweeps + slot).is_multiple_of(LOOK);
            let is_active = !source.pace.idle && !self.is_blocked;
            let overdue = source.overdue(&self.framer);
            if source.pace.idle && overdue.is_some_and(|(at, _)| at <= now) {
                changed.push(slot);
                continue;
            }
            if named && (is_active || (source.is_armed && !is_turn)) {
                continue;
            }
            let look = match &source.file {
                Some(file) => Look::of(file),
                None => Look::at(&source.path),
            };
            let look = match look {
                Ok(look) if source.file.is_some() || look.id.is_same(&source.look.id) => look,
                Ok(_) => {
                    astray.push(slot);
                    continue;
                }
                Err(error) if is_absent(&error) => {
                    astray.push(slot);
                    continue;
                }
                Err(error) => {
                    self.troubles.cannot_read(&source.path, &error, self.sweeps);
                    continue;
                }
            };
            if !named {
                source.standing = source.standing.out_of_sight(look.links, now);
                if look.stamp != source.look.stamp {
                    follow_path(source, &self.facts);
                }
            }
            source.seen = source.seen.max(look.size);
            if growth(source.at(), &source.look, &look) != Growth::Nothing || source.has_news() {
                changed.push(slot);
            } else if source.pace.idle
                && is_over(source.standing, source.pace.grew, now, &self.timing)
            {
                over.push(slot);
            }
        }
        for slot in changed {
            self.account(slot);
            self.wake(slot);
        }
        for slot in astray {
            self.search(slot)?;
        }
        for slot in over {
            // An unterminated last line is all that may be left; nobody will end it.
            if let Some(source) = self.sources.get_mut(&slot) {
                source.end = Some(source.look.size);
            }
            self.wake(slot);
        }
        Ok(())
    }

    /// A closed file is not where it was: looks for it in its folder.
    fn search(&mut self, slot: u64) -> Result<(), Ended> {
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
        let found = names_of_inode(&path, id.inode)
            .into_iter()
            .find_map(|path| {
                let file = open(&path).ok()?;
                let look = Look::of(&file).ok()?;
                look.id.is_same(&id).then_some((path, file, look))
            });
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
            let lost = source.unread();
            tracing::warn!(
                input = %self.name, file = %source.path.display(), lost_bytes = lost,
                "the file was deleted while it was closed; what was not read is lost"
            );
            if lost > 0 {
                self.outlet.tracker().books().lost("deleted", lost);
            }
            return self.leave(slot);
        };
        source.file = Some(file);
        source.standing = source.standing.out_of_sight(look.links, Instant::now());
        source.path = path;
        self.open += 1;
        self.facts.renamed(source.id, source.path.clone());
        self.wake(slot);
        Ok(())
    }

    /// Follows the file at `path`: from its saved position, or as a new one. Without a name it was found beside the patterns.
    fn adopt(&mut self, path: PathBuf, name: Option<Name>) -> Result<(), Ended> {
        let opened = open(&path).and_then(|file| Ok((Look::of(&file)?, file)));
        let (look, file) = match opened {
            Ok(opened) => opened,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => {
                self.cannot_adopt(path, &error);
                return Ok(());
            }
        };
        // Between the listing and the opening the name may have come to lead elsewhere.
        if look.kind != Kind::File {
            return Ok(());
        }
        if let Some(slot) = self.slot_of(&look) {
            if let Some(name) = name {
                self.learn_name(path, name, slot);
            }
            return Ok(());
        }
        if name.is_some()
            && let Some(before) = self.predecessors.remove(&path)
            && !before.is_same(&look.id)
        {
            self.adopt_between(&path, &before, &look.id)?;
        }
        let (start, save) = match self.start_of(&path, &look, &file) {
            Ok(start) => start,
            Err(error) => {
                self.cannot_adopt(path, &error);
                return Ok(());
            }
        };
        self.troubles.over(&path);
        let now = Instant::now();
        let id = start.id;
        let mut source = Source::new(id, origin(&self.name, &path), path.clone(), look, now);
        if (start.position.offset > 0 || start.position.inside_line)
            && let Err(error) = source.seek(&start.position, &file)
        {
            self.cannot_adopt(path, &error);
            return Ok(());
        }
        self.saved.take(FileKey(id.0));
        if name.is_none() {
            source.standing = Standing::Named.out_of_sight(look.links, now);
        }
        if look.is_older_than(self.timing.idle_after) {
            source.pace.was_quiet(&self.timing);
        }
        source.is_shared = is_shared(&file);
        source.end = self.once.then_some(look.size);
        source.file = Some(file);
        self.open += 1;
        self.followed += 1;
        self.outlet.tracker().add(id, source.position());
        self.facts.add(id, fact(&source), save);
        let slot = self.next_slot;
        self.next_slot += 1;
        self.by_id.insert((look.id.dev, look.id.inode), slot);
        if let Some(name) = name {
            self.learn_name(path, name, slot);
        }
        self.sources.insert(slot, source);
        self.account(slot);
        self.wake(slot);
        if self.open > self.most_open {
            // It is opened again when it is its turn.
            self.close(slot);
        }
        Ok(())
    }

    /// Follows the files that stood at `path` between two others and were rotated away before anybody saw them there.
    fn adopt_between(&mut self, path: &Path, before: &Id, after: &Id) -> Result<(), Ended> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let names = names_by_inode(folder).into_values().flatten();
        let rotated = names.filter(|name| rotated_from(name).iter().any(|from| from == path));
        let between = rotated
            .filter_map(|name| Some((Look::at(&name).ok()?.id, name)))
            .filter(|(id, _)| was_between(before, Some(after), id));
        self.adopt_rotated(between.collect())
    }

    /// The same where nothing stands at the path now.
    fn adopt_after(&mut self) -> Result<(), Ended> {
        let seen = self.rotated_after();
        let Some(youngest) = seen.iter().map(|(id, _)| id.birth).max() else {
            return Ok(());
        };
        // A listing may miss what was renamed while it was made, though it shows what was renamed after that. Everything up to the
        // youngest is surely in the next one, and nothing may be passed over: the youngest is what later ones are compared with.
        let mut found = self.rotated_after();
        found.retain(|(id, _)| id.birth <= youngest);
        self.adopt_rotated(found)
    }

    fn rotated_after(&self) -> Vec<(Id, PathBuf)> {
        let paths = self.predecessors.keys();
        let mut folders: Vec<PathBuf> = paths
            .filter_map(|path| Some(path.parent()?.into()))
            .collect();
        folders.sort_unstable();
        folders.dedup();
        let mut found = Vec::new();
        for name in folders
            .iter()
            .flat_map(|folder| names_by_inode(folder).into_values().flatten())
        {
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

    fn adopt_rotated(&mut self, mut found: Vec<(Id, PathBuf)>) -> Result<(), Ended> {
        // Names that the patterns find are adopted as such.
        found.retain(|(_, name)| !self.discover.wants(name));
        found.sort_by_key(|(id, _)| id.birth);
        for (_, name) in found {
            self.adopt(name, None)?;
        }
        Ok(())
    }

    /// A name that is looked for leads to something that cannot be read now.
    fn cannot_adopt(&mut self, path: PathBuf, error: &io::Error) {
        self.mind_descriptors(error);
        self.troubles.cannot_read(&path, error, self.sweeps);
        if self.first_start {
            self.late.insert(path);
        }
    }

    /// Where a file is begun, and whether that has to be saved at once.
    fn start_of(&mut self, path: &Path, look: &Look, file: &File) -> io::Result<(Start, bool)> {
        let found = Found {
            path,
            id: look.id,
            size: look.size,
        };
        let mut rewritten = Vec::new();
        let mut same = None;
        for (key, entry) in self.saved.candidates(path, look.id.inode) {
            match judge(entry, &found, |at, len| content(file, at, len)) {
                Verdict::Continue if same.is_none() => same = Some(key),
                // An older generation of the same file.
                Verdict::Continue | Verdict::Rewritten => rewritten.push(key),
                Verdict::Other => {}
            }
        }
        for key in rewritten {
            self.saved.take(key);
            self.facts.forget(key);
            if same.is_none() {
                tracing::warn!(
                    input = %self.name, file = %path.display(),
                    "the file was cut or rewritten since it was read; it is read again from its beginning"
                );
            }
        }
        if let Some((key, entry)) = same.and_then(|key| Some((key, self.saved.get(key)?))) {
            let moved = entry.path != path || entry.dev != look.id.dev;
            let start = Start {
                id: SourceId(key.0),
                position: position(entry),
            };
            return Ok((start, moved));
        }
        let mut position = Position::default();
        let existed = self.first_start || self.late.remove(path);
        if existed && self.settings.start_at == StartAt::End {
            let longest = self.framer.lookahead();
            (position.offset, position.inside_line) =
                end_of_lines(file, look.size, longest, &self.framer)?;
        }
        let id = self.new_id();
        Ok((Start { id, position }, true))
    }

    /// Follows files that have saved positions and whose names the patterns do not find (any more).
    fn pursue_saved(&mut self) -> Result<(), Ended> {
        if self.saved.is_empty() {
            return Ok(());
        }
        let mut folders: HashMap<PathBuf, HashMap<u64, Vec<PathBuf>>> = HashMap::new();
        let mut finds = Vec::new();
        for (_, entry) in self.saved.entries() {
            let folder = entry.path.parent().unwrap_or(Path::new("/"));
            let names = folders
                .entry(folder.to_path_buf())
                .or_insert_with(|| names_by_inode(folder));
            let beside = names.get(&entry.inode).into_iter().flatten();
            finds.extend(beside.cloned());
        }
        // Names that the patterns find are judged when they are adopted.
        finds.retain(|path| !self.discover.wants(path));
        for path in finds {
            // Only what is known is followed here: a file that merely has the inode is none of ours.
            let Ok((look, file)) = open(&path).and_then(|file| Ok((Look::of(&file)?, file))) else {
                continue;
            };
            let found = Found {
                path: &path,
                id: look.id,
                size: look.size,
            };
            let candidates = self.saved.candidates(&path, look.id.inode);
            let is_ours = candidates.iter().any(|(_, entry)| {
                judge(entry, &found, |at, len| content(&file, at, len)) == Verdict::Continue
            });
            drop(file);
            if is_ours {
                self.adopt(path, None)?;
            }
        }
        Ok(())
    }

    /// Saved positions whose files did not turn up for long are forgotten.
    fn give_up_saved(&mut self) {
        if self.saved.is_empty() || Instant::now() < self.saved_until {
            return;
        }
        let keys: Vec<FileKey> = self.saved.entries().map(|(key, _)| key).collect();
        tracing::info!(input = %self.name, files = keys.len(), "the saved positions of files that are gone are forgotten");
        for key in keys {
            self.saved.take(key);
            self.facts.forget(key);
        }
    }
}

/// Learns where a file went that the patterns do not find. Records keep the name under which they did; the position follows the file.
fn follow_path(source: &mut Source, facts: &Facts) {
    if let Some(path) = source.file.as_ref().and_then(present_path)
        && path != source.path
    {
        source.path = path;
        facts.renamed(source.id, source.path.clone());
    }
}

/// Where a file is begun, and what it is called in the ledgers.
struct Start {
    id: SourceId,
    position: Position,
}

fn position(entry: &Entry) -> Position {
    Position {
        offset: entry.offset,
        inside_line: entry.inside_line,
        skip: entry.skip,
        tail: entry.tail,
    }
}

fn origin(input: &Arc<str>, path: &Path) -> Arc<Origin> {
    Arc::new(Origin {
        input: input.clone(),
        path: Some(path.to_path_buf()),
    })
}

/// The CRC-32 of `len` bytes at `at`; `None` when they are not all there.
fn content(file: &File, at: u64, len: u32) -> Option<u32> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(crc32fast::hash(&bytes))
}

/// Where an open file is now, when the system can tell and it is not deleted.
fn present_path(file: &File) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let leads_here = Look::at(&path).ok()?.id.is_same(&Look::of(file).ok()?.id);
    leads_here.then_some(path)
}

/// The names beside `path` that may lead to `inode`.
fn names_of_inode(path: &Path, inode: u64) -> Vec<PathBuf> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    names_by_inode(folder).remove(&inode).unwrap_or_default()
}

/// The files of a folder by inode; empty when it cannot be listed.
fn names_by_inode(folder: &Path) -> HashMap<u64, Vec<PathBuf>> {
    let mut names: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            names.entry(entry.ino()).or_default().push(entry.path());
        }
    }
    names
}
