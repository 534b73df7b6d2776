//! Copies: what becomes of a generation whose content was taken away (copytruncate), and of files that hold what is read elsewhere.
//!
//! When a followed file was cut or rewritten, a copy of what it held is looked for in its folder, by content. The old generation goes on
//! there, at the same position and in the same ledger: what was not read before the cut is read from the copy, what was is not sent again,
//! and only what the copy does not hold is lost. Generations that came and went in between stand there under rotated names, and are read.
//!
//! A copy may also be met before the cut. A file with a rotated name of a followed one, that came later and holds nothing but that one's
//! beginning, waits: for the cut, or until it differs.
//!
//! Invariant: a file that waits is read as soon as it holds a byte that the followed one does not; one that is shorter than [`HEAD`] does
//! not wait for long either.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::adopt::{Start, content};
use super::discover::{Name, is_absent};
use super::identity::{HEAD, Id, TAIL, print};
use super::look::{Kind, Look, open};
use super::pursue::names_by_inode;
use super::rotate::{bases, rotated_from, was_between};
use super::tail::Source;
use super::trace::Trace;
use super::unpack::packed_name;
use super::{Follower, fact};
use crate::checkpoint::{Entry, FileKey, Print};
use crate::flow::SourceId;
use crate::input::Position;
use crate::input::outlet::Ended;

/// Generations that ended and are remembered.
const PASTS: usize = 1024;
/// In how many places a file is compared with the one that it may be a copy of: one for so many bytes, within these bounds.
const PLACE: u64 = 64 * 1024;
const PLACES: (u64, u64) = (16, 4096);
/// A folder in which files are renamed meanwhile is looked through so many times.
const TRIES: usize = 8;
/// A copy without a rotated name must have been written within this before the cut was noticed.
const RECENT: Duration = Duration::from_secs(60);

/// A copy of a generation: how many bytes of it are what was read, and the file.
type Copied = (u64, Look, File, PathBuf);

/// A generation that ended.
pub(super) struct Past {
    /// Where it stood.
    pub(super) path: PathBuf,
    /// The file that it stood in.
    id: Id,
    pub(super) trace: Trace,
    pub(super) position: Position,
    /// The largest size that was seen.
    pub(super) size: u64,
    /// When it began, in nanoseconds since 1970.
    began: i64,
    pub(super) ledger: SourceId,
    /// Its ledger is open: a copy goes on with it.
    pub(super) is_open: bool,
    /// It is known from its saved position alone: nothing of it was read by this process.
    pub(super) is_saved: bool,
    is_deleted: bool,
    /// Compressed files that do not hold it.
    pub(super) refuted: Vec<Id>,
    /// As [`Source::is_unproven`].
    is_unproven: bool,
    since: Instant,
}

/// A name whose content is a followed file's, so far.
pub(super) struct Waiting {
    /// The followed file; none: it is not known yet what it is.
    pub(super) slot: Option<u64>,
    look: Look,
    /// When it changed last.
    since: Instant,
    /// It has waited long enough.
    is_over: bool,
}

impl Past {
    pub(super) fn of(source: &Source, size: u64) -> Self {
        Self {
            path: source.path.to_path_buf(),
            id: source.look.id,
            trace: source.trace(),
            position: source.position(),
            size,
            began: source.began,
            ledger: source.id,
            is_open: true,
            is_saved: false,
            is_unproven: source.is_unproven,
            is_deleted: false,
            refuted: Vec::new(),
            since: Instant::now(),
        }
    }

    /// One whose ledger ends with it.
    pub(super) fn ended(source: &Source, size: u64) -> Self {
        Self {
            is_open: false,
            ..Self::of(source, size)
        }
    }

    /// One whose file was deleted while it was closed.
    pub(super) fn deleted(source: &Source, size: u64) -> Self {
        Self {
            is_deleted: true,
            ..Self::of(source, size)
        }
    }

    /// One whose file is gone, or holds something else.
    pub(super) fn of_saved(key: FileKey, entry: &Entry) -> Self {
        Self {
            path: entry.path.to_path_buf(),
            id: Id::of(entry),
            trace: Trace::of(entry),
            position: super::adopt::position(entry),
            size: entry.offset,
            began: entry.updated.saturating_mul(1_000_000),
            ledger: SourceId(key.0),
            is_open: true,
            is_saved: true,
            is_unproven: false,
            is_deleted: false,
            refuted: Vec::new(),
            since: Instant::now(),
        }
    }

    /// How many bytes of a file are what was read of this generation; `None` when it is no copy of it.
    fn known_in(&self, path: &Path, look: &Look, file: &File) -> Option<u64> {
        let is_rotated = rotated_from(path).contains(&self.path);
        if path == self.path || path.parent() != self.path.parent() || look.id.is_same(&self.id) {
            return None;
        }
        if self.trace.read() == 0 {
            let is_later = look.id.birth.is_some_and(|birth| birth >= self.began);
            return (is_rotated && is_later && self.is_open).then_some(0);
        }
        // Under any other name only what was just made of a file that was just cut.
        let is_recent = || self.trace.is_telling() && !look.is_older_than(RECENT);
        let may_be = is_rotated || (self.is_open && !self.is_deleted && is_recent());
        let known = || {
            self.trace
                .known_in(look.size, |at, len| content(file, at, len))
        };
        may_be.then(known).flatten()
    }

    /// Where a copy is begun that holds `known` bytes of what was read.
    fn start(&self, known: u64, look: &Look, file: &File) -> Option<Start> {
        let is_whole = known == self.trace.read() && look.size >= self.position.offset;
        let position = if is_whole {
            self.position.clone()
        } else {
            Position {
                offset: known,
                tail: print_before(file, known)?,
                ..Position::default()
            }
        };
        Some(Start {
            id: self.ledger,
            ceiling: (!is_whole).then_some((known, position.tail)),
            position,
            is_open: !self.is_saved,
            save: true,
        })
    }
}

impl Follower {
    /// A generation ended because its content is not where it was. It goes on in a copy, or what was not read of it is lost.
    pub(super) fn end_generation(&mut self, mut past: Past) -> Result<(), Ended> {
        let (base, ledger) = (past.path.clone(), past.ledger);
        let (mut id, mut began) = (past.id, past.began);
        let folder = past.path.parent().unwrap_or(Path::new("/")).to_path_buf();
        let starved = self.starved;
        let mut tries = 0;
        let mut found = loop {
            let names = names_by_inode(&folder).ok();
            let (copy, found) = self.copy_of(&past);
            if copy.is_none() && self.starved != starved {
                // For want of descriptors nobody could look. The next walk does.
                self.must_walk = true;
                self.remember(past);
                return Ok(());
            }
            if past.trace.read() == 0 {
                // Which of them is its copy nobody can tell: what one of them can hold is not known to be lost.
                let rotated = found.iter().filter(|(look, name)| {
                    let is_later = look.id.birth.is_some_and(|birth| birth >= began);
                    is_later && rotated_from(name).contains(&base)
                });
                if rotated.map(|(look, _)| look.size).max() >= Some(past.size) {
                    past.size = 0;
                }
            }
            if let Some((known, look, file, name)) = copy
                && let Some(start) = past.start(known, &look, &file)
            {
                if !past.is_unproven {
                    (id, began) = (look.id, look.id.birth.unwrap_or(began));
                }
                self.go_on_in(past, start, name, look, file);
                break found;
            }
            let packed = found.iter().filter(|(_, name)| past.may_be_in(name));
            let packed: Vec<(Look, PathBuf)> = packed.cloned().collect();
            self.remember(past);
            for (look, name) in packed {
                let known = self.name_of(&name, &look);
                self.adopt(name, known)?;
            }
            let is_it = |past: &Past| past.ledger == ledger && past.is_open;
            if self.is_claimed(ledger) {
                break found;
            }
            let at = self.pasts.iter().position(is_it);
            let Some(open) = at.and_then(|at| self.pasts.remove(at)) else {
                break found;
            };
            tries += 1;
            if tries == TRIES || names_by_inode(&folder).ok() == names {
                self.lose(open);
                break found;
            }
            // What holds it may have been renamed since the folder was listed.
            past = open;
        };
        // Generations that nobody saw under their first name.
        found.retain(|(look, name)| {
            let is_later = look.id.birth.is_some_and(|birth| birth >= began);
            rotated_from(name).contains(&base) && is_later && was_between(&id, None, &look.id)
        });
        self.adopt_rotated(
            found
                .into_iter()
                .map(|(look, name)| (look.id, name))
                .collect(),
        )
    }

    /// The file that holds most of a generation, and all files beside it that nobody follows, oldest first.
    fn copy_of(&mut self, past: &Past) -> (Option<Copied>, Vec<(Look, PathBuf)>) {
        let folder = past.path.parent().unwrap_or(Path::new("/"));
        let names = names_by_inode(folder).unwrap_or_else(|error| {
            self.not_now(folder, &error);
            HashMap::new()
        });
        // What has a saved position is begun there, as soon as the walk comes to it.
        let is_free = |this: &Self, look: &Look| {
            look.kind == Kind::File && this.slot_of(&look.id).is_none() && !this.saved.has(&look.id)
        };
        let mut found: Vec<(Look, PathBuf)> = names
            .into_iter()
            .filter(|(inode, _)| !self.by_id.contains_key(&(past.id.dev, *inode)))
            .flat_map(|(_, names)| names)
            .filter_map(|name| Some((Look::at(&name).ok()?, name)))
            .filter(|(look, _)| is_free(self, look))
            .collect();
        found.sort_by(|a, b| (a.0.id.birth, &a.1).cmp(&(b.0.id.birth, &b.1)));
        let mut opened = |(_, name): &(Look, PathBuf)| {
            let file = match open(name) {
                Ok(file) => file,
                Err(error) if is_absent(&error) => return None,
                Err(error) => {
                    self.not_now(name, &error);
                    return None;
                }
            };
            // It may be another one by now.
            let look = Look::of(&file).ok().filter(|look| is_free(self, look))?;
            let known = past.known_in(name, &look, &file)?;
            if self.is_of_present(past, &look, &file)
                || self.is_of_another(past, name, &look, &file)
            {
                return None;
            }
            Some((known, look, file, name.clone()))
        };
        // Of equals the oldest.
        let copies = found.iter().filter_map(&mut opened).rev();
        (copies.max_by_key(|(known, ..)| *known), found)
    }

    /// Whether a file holds what stands now where `past` stood, or what was read there since: of one that nothing was read of it is no copy.
    fn is_of_present(&self, past: &Past, look: &Look, file: &File) -> bool {
        if past.trace.read() > 0 {
            return false;
        }
        let slot = self.by_id.get(&(past.id.dev, past.id.inode));
        let Some(source) = slot.and_then(|slot| self.sources.get(slot)) else {
            return false;
        };
        let is_known = || {
            let trace = source.trace();
            let known = trace.known_in(look.size, |at, len| content(file, at, len));
            known.is_some()
        };
        // An empty one may be about to become one.
        look.size == 0 || is_known() || begins_with(source, look, file)
    }

    /// Whether a file holds all that was read of another generation, which may wait for a compressed file that may be its copy as well: of one
    /// that nothing was read of it is no copy.
    fn is_of_another(&self, past: &Past, path: &Path, look: &Look, file: &File) -> bool {
        let mut others = self.pasts.iter().filter(|other| other.trace.read() > 0);
        past.trace.read() == 0
            && others.any(|other| {
                let known = other.known_in(path, look, file);
                other.is_open && known == Some(other.trace.read())
            })
    }

    /// Counts, and gives, what a generation had that its copy does not hold.
    fn lose_beyond(&self, past: &Past, copy: &Look) -> u64 {
        let lost = past
            .size
            .saturating_sub(copy.size.max(past.position.offset));
        if lost > 0 {
            self.outlet.tracker().books().lost("truncated", lost);
        }
        lost
    }

    fn go_on_in(&mut self, past: Past, start: Start, path: PathBuf, look: Look, file: File) {
        let lost = self.lose_beyond(&past, &look);
        tracing::info!(
            input = %self.name, file = %past.path.display(), copy = %path.display(),
            read = past.position.offset, unread = look.size.saturating_sub(past.position.offset), lost_bytes = lost,
            "the file was copied and cut; what was not read of it is read from the copy"
        );
        // Its own name is learnt by the walk, as others are.
        let name = self.name_of(&path, &look);
        self.waiting.remove(&path);
        self.follow_from(path, name, look, file, start);
    }

    /// The name of a file that was found beside the walk, if the patterns find it, too.
    pub(super) fn name_of(&self, path: &Path, look: &Look) -> Option<Name> {
        self.discover.wants(path).then_some(Name {
            dev: look.id.dev,
            inode: look.id.inode,
            kind: Kind::File,
        })
    }

    /// Nothing holds the rest of a generation.
    fn lose(&mut self, mut past: Past) {
        let lost = past.size.saturating_sub(past.position.offset);
        let (cause, what) = if past.is_deleted {
            (
                "deleted",
                "the file was deleted while it was closed; what was not read is lost",
            )
        } else {
            (
                "truncated",
                "the file was cut or rewritten where it was read already; it is read again from its beginning",
            )
        };
        if past.is_deleted && lost == 0 {
            tracing::debug!(
                input = %self.name, file = %past.path.display(), read = past.position.offset,
                "the file was read to its end before it was deleted"
            );
        } else {
            tracing::warn!(
                input = %self.name, file = %past.path.display(), read = past.position.offset, lost_bytes = lost,
                "{what}"
            );
        }
        if past.is_saved {
            self.facts.forget(FileKey(past.ledger.0));
        } else {
            self.facts.replaced(past.ledger);
        }
        if lost > 0 {
            self.outlet.tracker().books().lost(cause, lost);
        }
        past.is_open = false;
        self.remember(past);
    }

    /// Generations whose content is gone from where it was, and for which no copy was met among the names that the patterns find.
    pub(super) fn end_saved_generations(&mut self) -> Result<(), Ended> {
        let open = self.pasts.iter().filter(|past| past.is_open);
        let mut open: Vec<_> = open
            .map(|past| (past.trace.read() == 0, past.ledger))
            .collect();
        // What is known by content is no copy of one that nothing was read of.
        open.sort_by_key(|(is_unread, _)| *is_unread);
        for (_, ledger) in open {
            // What is found for one of them may be a copy of another: they are known until it is their turn.
            let is_it = |past: &Past| past.ledger == ledger && past.is_open;
            if let Some(at) = self.pasts.iter().position(is_it)
                && !self.is_claimed(ledger)
                && let Some(past) = self.pasts.remove(at)
            {
                self.end_generation(past)?;
            }
        }
        Ok(())
    }

    /// Copies that turn up later are known again for a while.
    pub(super) fn remember(&mut self, past: Past) {
        let until = self.timing.moved_for;
        self.pasts.retain(|past| past.since.elapsed() < until);
        if past.is_open || past.trace.read() > 0 {
            self.pasts.push_back(past);
        }
        if self.pasts.len() > PASTS {
            self.pasts.pop_front();
        }
    }

    /// Where the file at `path` is begun if it holds what was read before, elsewhere.
    pub(super) fn copied_start(&mut self, path: &Path, look: &Look, file: &File) -> Option<Start> {
        let tracker = self.outlet.tracker().clone();
        let found = self
            .pasts
            .iter()
            .enumerate()
            // What of an ended generation is still on its way would be passed by a position after it.
            .filter(|(_, past)| past.is_open || tracker.open_entries(past.ledger) == 0)
            .filter_map(|(at, past)| Some((past.known_in(path, look, file)?, at)))
            .filter(|(_, at)| !self.is_of_present(&self.pasts[*at], look, file))
            .max();
        if let Some((known, at)) = found {
            let start = self.pasts[at].start(known, look, file)?;
            // Another file that holds the same is another file.
            let past = self.pasts.remove(at)?;
            if past.is_open {
                // Which file is the copy of one that nothing was read of nobody can tell, nor what it lacks.
                if past.trace.read() > 0 {
                    self.lose_beyond(&past, look);
                }
                return Some(start);
            }
            return Some(Start {
                id: self.new_id(),
                ceiling: None,
                is_open: false,
                ..start
            });
        }
        let (key, known) = self
            .saved
            .entries()
            .filter_map(|(key, entry)| {
                let past = Past {
                    is_deleted: true,
                    ..Past::of_saved(key, entry)
                };
                let known = past.known_in(path, look, file).filter(|known| *known > 0)?;
                Some((key, known))
            })
            .max_by_key(|(_, known)| *known)?;
        Past::of_saved(key, self.saved.get(key)?).start(known, look, file)
    }

    /// Whether the file at `path` may be a copy that is being made of a followed file: it waits then. `false`: it is a file of its own.
    /// One that the patterns do not find is looked for again when the other one is cut.
    pub(super) fn waits_as_copy(
        &mut self,
        path: &Path,
        name: Option<Name>,
        look: &Look,
        file: &File,
    ) -> bool {
        if self.first_start || self.waiting.get(path).is_some_and(|copy| copy.is_over) {
            self.waiting.remove(path);
            return false;
        }
        let slot = rotated_from(path).iter().find_map(|base| {
            let known = self
                .names
                .get(base.as_path())
                .filter(|known| !known.is_copy)?;
            let source = self.sources.get(&known.slot)?;
            let is_born_later = look.id.birth > source.look.id.birth;
            let is_later = source.sweep < self.sweeps || is_born_later;
            let is_older = is_later && source.look.id.dev == look.id.dev && source.packed.is_none();
            // When it was cut meanwhile, what it held is known as soon as that is noticed, and compared.
            let is_copy = || begins_with(source, look, file) || source.was_replaced();
            (is_older && is_copy()).then_some(known.slot)
        });
        let Some(slot) = slot else {
            self.waiting.remove(path);
            return false;
        };
        let Some(name) = name else {
            return true;
        };
        let known = self.waiting.get(path).filter(|known| known.look == *look);
        let since = known.map_or_else(Instant::now, |known| known.since);
        if known.is_none() {
            tracing::debug!(input = %self.name, file = %path.display(), "holds what is read from another file; it waits");
        }
        self.wait_for(path.to_path_buf(), name, *look, Some(slot));
        if let Some(copy) = self.waiting.get_mut(path) {
            copy.since = since;
        }
        true
    }

    /// A file that is not read now: until the followed file in `slot` is gone, or it changes itself.
    pub(super) fn wait_for(&mut self, path: PathBuf, name: Name, look: Look, slot: Option<u64>) {
        let copy = Waiting {
            slot,
            look,
            since: Instant::now(),
            is_over: false,
        };
        self.waiting.insert(path.clone(), copy);
        self.learn_copy(path.into(), name, slot.unwrap_or(u64::MAX), look.id);
    }

    /// Files that wait, and for which followed ones.
    pub(super) fn waiting_for(&self) -> Vec<(PathBuf, u64)> {
        let waiting = self.waiting.iter();
        waiting
            .filter_map(|(path, copy)| Some((path.clone(), copy.slot?)))
            .collect()
    }

    /// Files that wait are judged again when they changed, when the file that they are copies of is gone, or after a while.
    pub(super) fn review_waiting(&mut self) {
        let now = Instant::now();
        let (names, sources, timing) = (&mut self.names, &self.sources, &self.timing);
        let mut is_due = false;
        // Not one that leads to a followed file by now: the walk has to find that gone.
        let mut judge_anew = |path: &Path| {
            if names.get(path).is_some_and(|known| known.is_copy) {
                names.remove(path);
            }
            is_due = true;
        };
        self.waiting.retain(|path, copy| {
            let is_there = copy.slot.is_none_or(|slot| sources.contains_key(&slot));
            let is_packed = packed_name(path).is_some();
            match Look::at(path) {
                Ok(look) if is_there && look == copy.look => {
                    let is_long = now.saturating_duration_since(copy.since) >= timing.copy_for;
                    if look.size >= HEAD as u64 || !is_long || is_packed {
                        return true;
                    }
                    copy.is_over = true;
                }
                Ok(look) if look.id.is_same(&copy.look.id) => {}
                _ => {
                    judge_anew(path);
                    return false;
                }
            }
            judge_anew(path);
            true
        });
        self.must_walk |= is_due;
    }

    /// The followed file that `path` may be a copy of was cut, perhaps: then it comes first.
    pub(super) fn look_at_originals(&mut self, path: &Path) -> Result<(), Ended> {
        let may_be = match packed_name(path) {
            // The copy may have been compressed before anybody saw that the file was cut.
            Some(_) => bases(path),
            None => rotated_from(path),
        };
        for base in may_be {
            let known = self.names.get(base.as_path()).map(|known| known.slot);
            if let Some(slot) = known {
                self.look_at_original(slot)?;
            }
        }
        Ok(())
    }

    /// If the content of this file was replaced, what it held is looked for now.
    pub(super) fn look_at_original(&mut self, slot: u64) -> Result<(), Ended> {
        let Some(source) = self.sources.get(&slot) else {
            return Ok(());
        };
        if let Ok(look) = source.look_now()
            && look.id.is_same(&source.look.id)
            && source.was_replaced()
        {
            let known = source.seen.max(source.look.size);
            self.start_over(slot, known, look)?;
        }
        Ok(())
    }

    /// The content of a file was replaced: what it has now is read from its beginning, as a new generation. `known` is the size that it
    /// was known to have before.
    pub(super) fn start_over(&mut self, slot: u64, known: u64, look: Look) -> Result<(), Ended> {
        let id = self.new_id();
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        // The look that led here may be from before the cut: the new content is not that large.
        let present = source.file.as_ref().and_then(|file| Look::of(file).ok());
        let look = present.unwrap_or(look);
        let past = Past::of(source, known);
        source.restart(id);
        source.saw(look);
        let has_end = self.once && source.packed.is_none();
        source.end = has_end.then_some(look.size);
        source.sweep = self.sweeps;
        self.outlet.tracker().add(id, Position::default());
        self.facts.add(id, fact(source), true);
        if source.pace.idle {
            self.wake(slot);
        } else {
            source.pace.wake(Instant::now());
        }
        self.remember(past);
        self.end_saved_generations()?;
        // What waited because it held the same is judged anew.
        let (names, waiting) = (&mut self.names, &self.waiting);
        for (path, copy) in waiting {
            if copy.slot == Some(slot) {
                names.remove(path.as_path());
                self.must_walk = true;
            }
        }
        Ok(())
    }
}

/// Whether `file` holds nothing but what the followed file begins with, as far as a few places tell.
fn begins_with(source: &Source, look: &Look, file: &File) -> bool {
    let opened = match &source.file {
        Some(file) => file.try_clone(),
        None => open(&source.path),
    };
    let Ok(original) = opened else {
        return false;
    };
    let Ok(present) = Look::of(&original) else {
        return false;
    };
    let is_same = |at: u64, len: u32| {
        let here = content(file, at, len);
        here.is_some() && here == content(&original, at, len)
    };
    let short = |len: u64, most: usize| u32::try_from(len.min(most as u64)).unwrap_or(0);
    let size = look.size;
    let count = (size / PLACE).clamp(PLACES.0, PLACES.1);
    let places = || {
        (1..=count).all(|n| {
            let end = size / count * n + if n == count { size % count } else { 0 };
            let len = short(end, TAIL);
            len == 0 || is_same(end - u64::from(len), len)
        })
    };
    size == 0 || (size <= present.size && is_same(0, short(size, HEAD)) && places())
}

fn print_before(file: &File, offset: u64) -> Option<Option<Print>> {
    use std::os::unix::fs::FileExt;
    let len = usize::try_from(offset).map_or(TAIL, |offset| offset.min(TAIL));
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset - len as u64).ok()?;
    Some(print(&bytes))
}
