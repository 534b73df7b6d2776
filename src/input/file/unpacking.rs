//! Following compressed files: which of them are read, from where, and when.
//!
//! Rotation compresses what was followed, perhaps before it was read to its end. A compressed file is known by its content, as copies are:
//! it goes on where the generation stood that it holds, or it is read from its beginning, once. While the file that it was made of is still
//! followed, it waits. It takes memory to unpack a file, so only a few are read at a time; the others queue.
//!
//! Invariant: nothing is unpacked twice for being started again: a file that was read to its end is known by its size.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::adopt::{content, origin, position};
use super::beside::written_until;
use super::copies::Past;
use super::discover::Name;
use super::identity::HEAD;
use super::look::{Look, is_shared};
use super::packed::{self, Claim, Of, Packed};
use super::pursue::names_by_inode;
use super::rotate::{Standing, bases};
use super::settings::StartAt;
use super::tail::Source;
use super::trace::Trace;
use super::unpack::{Fault, Packing, packed_name};
use super::{Follower, fact};
use crate::checkpoint::{Entry, FileKey};
use crate::flow::SourceId;
use crate::input::Position;
use crate::input::outlet::Ended;

/// Files that are unpacked at the same time.
const SEATS: usize = 4;

impl Follower {
    /// As [`Follower::adopt`], for a compressed file. `is_later`: it may hold what was never seen, although the patterns do not find it.
    pub(super) fn adopt_packed(
        &mut self,
        path: PathBuf,
        name: Option<Name>,
        look: Look,
        file: File,
        packing: Packing,
        is_later: bool,
    ) {
        let head = match packed::head(&file, packing) {
            Ok(head) => head,
            Err(error) => return self.cannot_adopt(path, &error),
        };
        if let Some(slot) = self.original_of(&path, head.as_deref()) {
            match name {
                Some(name) => self.wait_for(path, name, look, Some(slot)),
                None => self.of_followed.push(look.id),
            }
            return;
        }
        let known = self.known_packed(&path, &look);
        let is_read = |entry: &Entry| entry.packed == Some(look.size);
        let claims = match &known {
            Some((_, entry)) if is_read(entry) => VecDeque::new(),
            _ => self.claims(&path, &look, head.as_deref()),
        };
        if name.is_none() && claims.is_empty() && known.is_none() && !is_later {
            return;
        }
        self.troubles.over(&path);
        let now = Instant::now();
        let existed = self.first_start || self.late.remove(&path);
        let is_skipped = existed && self.settings.start_at == StartAt::End;
        let id = match &known {
            Some((key, _)) => SourceId(key.0),
            None => self.new_id(),
        };
        let shared: Arc<Path> = path.as_path().into();
        let mut source = Source::new(id, origin(&self.name, &shared), shared, look, now);
        let (_, most) = Source::block_of(self.framers.expected());
        // What it is is decided at its turn: what was opened before it may be followed by then, and be what it was made of.
        let is_read = known.as_ref().is_some_and(|(_, entry)| is_read(entry));
        let is_open = !is_read && !is_skipped;
        let mut packed = Packed::new(packing, most, is_open.then_some(claims));
        packed.is_done = is_skipped || is_read;
        packed.is_wanted = name.is_some() || is_later || known.is_some();
        // Nothing but its position leads to it again once younger ones are saved.
        packed.is_saved = known.is_some() || is_later || !is_open;
        if name.is_none() {
            source.standing = Standing::Named.out_of_sight(look.links, now);
        }
        source.is_shared = is_shared(&file);
        source.file = Some(file);
        source.sweep = self.sweeps;
        if let Some((key, entry)) = known {
            if entry.offset > 0 {
                source.know(&position(&entry), Trace::of(&entry));
            }
            self.saved.take(key);
        }
        let (is_done, is_saved) = (packed.is_done, packed.is_saved);
        source.packed = Some(Box::new(packed));
        self.open += 1;
        self.followed += 1;
        if is_saved {
            self.outlet.tracker().add(id, source.position());
            self.facts.add(id, fact(&source), true);
        }
        if is_done {
            self.facts.is_unpacked(id, source.at(), look.size);
        }
        self.insert(source, name);
    }

    /// A compressed file that is followed may hold what was never seen, although the patterns do not find it.
    pub(super) fn want(&mut self, slot: u64) {
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        let Some(packed) = source.packed.as_mut().filter(|p| p.proof.is_some()) else {
            return;
        };
        packed.is_wanted = true;
        if !std::mem::replace(&mut packed.is_saved, true) {
            self.outlet.tracker().add(source.id, Position::default());
            self.facts.add(source.id, fact(source), true);
        }
    }

    /// The saved position of a compressed file that is its own: it is read to its end, or nothing of it was read.
    fn known_packed(&self, path: &Path, look: &Look) -> Option<(FileKey, Entry)> {
        let found = self.saved.candidates(path, look.id.inode);
        let known = found.into_iter().find(|(_, entry)| {
            let is_read = entry.packed == Some(look.size);
            is_same(entry, path, look) && (is_read || entry.offset == 0)
        });
        known.map(|(key, entry)| (key, entry.clone()))
    }

    /// The generations that a compressed file with this `head` may hold.
    fn claims(&self, path: &Path, look: &Look, head: Option<&[u8]>) -> VecDeque<Claim> {
        let kin = bases(path);
        let is_kin = |other: &Path| {
            other.parent() == path.parent() && bases(other).iter().any(|base| kin.contains(base))
        };
        let saved = self.saved.entries();
        let saved = saved.filter(|(_, entry)| is_same(entry, path, look) || is_kin(&entry.path));
        let saved = saved.map(|(key, entry)| Claim {
            of: Of::Saved(key),
            trace: Trace::of(entry),
            position: position(entry),
        });
        let past = self.pasts.iter().rev();
        let past = past.filter(|past| is_kin(&past.path) && !past.refuted.contains(&look.id));
        let past = past.map(|past| Claim {
            of: Of::Past(past.ledger),
            trace: past.trace.clone(),
            position: past.position.clone(),
        });
        let begins_alike = |claim: &Claim, head: &[u8]| {
            claim.trace.head.is_none_or(|print| {
                let first = head.get(..print.len as usize);
                first.is_none_or(|first| crc32fast::hash(first) == print.crc)
            })
        };
        // What nothing was read of cannot be proven.
        let claims = saved.chain(past).filter(|claim| claim.trace.read() > 0);
        claims
            .filter(|claim| head.is_none_or(|head| begins_alike(claim, head)))
            .collect()
    }

    /// The followed file that a compressed one was made of, as far as name and beginning tell.
    pub(super) fn original_of(&self, path: &Path, head: Option<&[u8]>) -> Option<u64> {
        let plain = packed_name(path)?;
        let kin = bases(path);
        // How many bytes agree, of those that can be compared.
        let begins = |source: &Source| {
            let len = head.map_or(0, |head| head.len().min(HEAD)) as u64;
            // It may have been written since the last look at it.
            let size = |file| Look::of(file).map_or(source.look.size, |look| look.size);
            let len = len.min(source.file.as_ref().map_or(0, size));
            let len = u32::try_from(len).unwrap_or(0);
            let first = source.file.as_ref().map(|file| content(file, 0, len));
            match (head, first) {
                (Some(head), Some(first)) => {
                    let is_same = first == Some(crc32fast::hash(&head[..len as usize]));
                    (len > 0 && is_same).then_some(len)
                }
                _ => Some(0),
            }
        };
        let is_kin = |source: &Source| {
            source.path.parent() == path.parent()
                && bases(&source.path).iter().any(|base| kin.contains(base))
        };
        // No walk may have come by since the name was given to another file.
        let is_elsewhere = |source: &Source| {
            let at_name = Look::at(&source.path);
            source.standing != Standing::Named
                || !at_name.is_ok_and(|look| look.id.is_same(&source.look.id))
        };
        let rank = |source: &Source| {
            let is_plain = *source.path == *plain;
            let is_near = is_plain || (is_kin(source) && is_elsewhere(source));
            let agree = (is_near && source.packed.is_none()).then(|| begins(source));
            Some((is_plain, agree??))
        };
        let ranked = self.sources.iter();
        let ranked = ranked.filter_map(|(slot, source)| Some((rank(source)?, *slot)));
        ranked.max().map(|(_, slot)| slot)
    }

    /// Before reading on in a compressed file. `false`: nothing is read in this turn.
    pub(super) fn look_into(&mut self, slot: u64, look: Look) -> Result<bool, Ended> {
        let now = Instant::now();
        let seats = self.unpacking;
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(false);
        };
        let (trace, at) = (source.trace(), source.position());
        let Some(packed) = &mut source.packed else {
            return Ok(false);
        };
        if packed::is_changed(&source.look, &look) {
            if packed.is_done || packed.end.is_some() || look.size < source.look.size {
                packed.distrust(trace, at);
            }
            source.look = look;
        }
        if packed.is_done {
            source.pace.idle = true;
            return Ok(false);
        }
        if let Some(retry) = packed.retry.filter(|retry| *retry > now) {
            source.pace.next = retry;
            return Ok(false);
        }
        if packed.unpacked.is_none() {
            let file = source.file.as_ref().map(File::try_clone);
            match file {
                Some(Ok(file)) if seats < SEATS => packed.open(file),
                Some(Err(error)) => {
                    self.cannot_read(slot, &error)?;
                    return Ok(false);
                }
                _ => {
                    source.pace.idle = true;
                    self.packed.push_back(slot);
                    return Ok(false);
                }
            }
            self.unpacking += 1;
        }
        self.prove(slot)
    }

    /// Whether a deleted file may have been compressed to one that the patterns find, and that no walk came to so far.
    pub(super) fn was_packed_unseen(&self, source: &Source) -> bool {
        let packed = packed_forms(source);
        packed
            .iter()
            .any(|(path, look)| self.discover.wants(path) && self.slot_of(&look.id).is_none())
    }

    /// A compressed file gives no more bytes, for now or for good.
    pub(super) fn cannot_unpack(&mut self, slot: u64, fault: &Fault) {
        let now = Instant::now();
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        let read = source.at();
        let Some(packed) = &mut source.packed else {
            return;
        };
        match fault {
            Fault::NotYet { .. } => source.pace.next = now,
            Fault::Torn { .. } => {
                packed.is_torn(now, self.timing.poll_most);
                source.pace.idle = true;
                tracing::debug!(input = %self.name, file = %source.path.display(), reason = %fault, "a compressed file is not complete");
                self.leave_seat(slot);
            }
            Fault::Damaged { at, .. } | Fault::TooLarge { at, .. } => {
                packed.end = Some(match fault {
                    Fault::Damaged { plain, .. } => *plain,
                    _ => read,
                });
                packed.damaged = source.look.size.saturating_sub(*at);
                tracing::error!(input = %self.name, file = %source.path.display(), reason = %fault, "a compressed file cannot be read to its end");
                source.pace.next = now;
            }
            Fault::Io(error) => {
                source.pace.idle = true;
                self.troubles.cannot_read(&source.path, error, self.sweeps);
            }
        }
    }

    /// After a turn: a compressed file that is read to its end needs no memory any more.
    pub(super) fn finish_packed(&mut self, slot: u64) {
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        let (at, size) = (source.at(), source.look.size);
        let Some(packed) = &mut source.packed else {
            return;
        };
        if packed.is_done || packed.proof.is_some() || packed.end.is_none_or(|end| at < end) {
            return;
        }
        packed.is_done = true;
        source.pace.idle = true;
        let books = self.outlet.tracker().books();
        let (whole, read) = std::mem::take(&mut packed.whole);
        let missing = whole.saturating_sub(at.max(read));
        if packed.damaged > 0 {
            books.lost("unreadable", packed.damaged);
        } else if missing > 0 {
            tracing::warn!(
                input = %self.name, file = %source.path.display(), lost_bytes = missing,
                "the compressed file holds less than the file had that it was made of; the rest is lost"
            );
            books.lost("truncated", missing);
        }
        self.facts.is_unpacked(source.id, at, size);
        self.leave_seat(slot);
    }

    /// Gives the memory to the next one.
    pub(super) fn leave_seat(&mut self, slot: u64) {
        let packed = self.sources.get_mut(&slot).and_then(|s| s.packed.as_mut());
        if packed.is_some_and(|packed| packed.unpacked.take().is_some()) {
            self.free_seat();
        }
    }

    pub(super) fn free_seat(&mut self) {
        self.unpacking -= 1;
        while let Some(next) = self.packed.pop_front() {
            if self.sources.contains_key(&next) {
                self.wake(next);
                break;
            }
        }
    }
}

/// Whether a compressed file stands beside a deleted one that may have been made of it.
pub(super) fn may_be_packed(source: &Source) -> bool {
    !packed_forms(source).is_empty()
}

/// The compressed files beside a deleted one that may have been made of it.
fn packed_forms(source: &Source) -> Vec<(PathBuf, Look)> {
    let folder = source.path.parent().unwrap_or(Path::new("/"));
    let kin = bases(&source.path);
    let names = names_by_inode(folder).unwrap_or_default();
    let names = names.into_values().flatten();
    let packed = names.filter(|name| {
        packed_name(name).is_some() && bases(name).iter().any(|base| kin.contains(base))
    });
    packed
        .filter_map(|name| Some((Look::at(&name).ok()?, name)))
        // A copy may have the time of what was copied.
        .filter(|(look, _)| source.at() > 0 || Some(written_until(look)) >= source.look.id.birth)
        .map(|(look, name)| (name, look))
        .collect()
}

/// Whether a saved position is this very file's, whatever it holds.
pub(super) fn is_same(entry: &Entry, path: &Path, look: &Look) -> bool {
    let births_differ = matches!((entry.birth, look.id.birth), (Some(a), Some(b)) if a != b);
    let same_inode = entry.inode == look.id.inode && !births_differ;
    same_inode || (entry.dev != look.id.dev && *entry.path == *path)
}

impl Past {
    /// Whether a compressed file beside it may hold it.
    pub(super) fn may_be_in(&self, path: &Path) -> bool {
        let kin = bases(path);
        packed_name(path).is_some() && bases(&self.path).iter().any(|base| kin.contains(base))
    }
}
