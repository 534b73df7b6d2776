//! Following compressed files: which of them are read, from where, and when.
//!
//! Rotation compresses what was followed, perhaps before it was read to its end. A compressed file is known by its content, as copies are:
//! it goes on where the generation stood that it holds, or it is read from its beginning, once. While the file that it was made of is still
//! followed, it waits. It takes memory to unpack a file, so only a few are read at a time; the others queue.
//!
//! Invariant: nothing is unpacked twice for being started again: a file that was read to its end is known by its size.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::adopt::{content, origin, position};
use super::copies::Past;
use super::discover::Name;
use super::facts::{Fact, unix_ms};
use super::identity::{HEAD, Id};
use super::look::{Look, is_shared};
use super::packed::{self, Claim, Of, Packed, Proof, Proven};
use super::pursue::names_by_inode;
use super::rotate::{Standing, bases, may_become};
use super::settings::StartAt;
use super::sweep::is_below;
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
/// Milliseconds.
const TICK: i64 = 20;
/// How often a folder is looked at again at once, when names in it were given to other files meanwhile.
const TRIES: usize = 4;

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
        let is_same = |claim: &Claim, head: &[u8]| {
            claim.trace.head.is_none_or(|print| {
                let first = head.get(..print.len as usize);
                first.is_none_or(|first| crc32fast::hash(first) == print.crc)
            })
        };
        // What nothing was read of cannot be proven.
        let claims = saved.chain(past).filter(|claim| claim.trace.read() > 0);
        claims
            .filter(|claim| head.is_none_or(|head| is_same(claim, head)))
            .collect()
    }

    /// The followed file that a compressed one was made of, as far as name and beginning tell.
    fn original_of(&self, path: &Path, head: Option<&[u8]>) -> Option<u64> {
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

    /// A compressed file that nothing is known of waits, if what it was made of is followed by now: that may have been opened before it was
    /// deleted, and been found a moment later.
    fn gives_way(&mut self, slot: u64) -> bool {
        let Some(source) = self.sources.get(&slot) else {
            return false;
        };
        let (Some(packed), Some(file)) = (&source.packed, &source.file) else {
            return false;
        };
        let Ok(head) = packed::head(file, packed.packing()) else {
            return false;
        };
        let original = self.original_of(&source.path, head.as_deref());
        if let Some(original) = original {
            self.yield_to(slot, original);
        }
        original.is_some()
    }

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

    /// Proves what a compressed file holds. `true` when that is settled, and it can be read.
    fn prove(&mut self, slot: u64) -> Result<bool, Ended> {
        loop {
            let Some(source) = self.sources.get_mut(&slot) else {
                return Ok(false);
            };
            let Some(packed) = source.packed.as_mut() else {
                return Ok(false);
            };
            if packed.proof.is_none() {
                return Ok(true);
            }
            match packed.prove() {
                Ok(Proven::Further) => {
                    source.pace.next = Instant::now();
                    return Ok(false);
                }
                Ok(Proven::Yes(known)) => {
                    if !self.proven(slot, known)? {
                        return Ok(false);
                    }
                }
                Ok(Proven::No) => self.refuted(slot)?,
                Err(fault) => {
                    self.cannot_unpack(slot, &fault);
                    return Ok(false);
                }
            }
        }
    }

    /// The file holds `known` bytes of the generation that its first claim is about.
    fn proven(&mut self, slot: u64, known: u64) -> Result<bool, Ended> {
        let Some(mut claim) = self.proof_of(slot).and_then(Proof::next) else {
            return Ok(false);
        };
        let of = self.present(claim.of);
        if of != claim.of {
            claim.of = of;
            let mut pasts = self.pasts.iter().filter(|past| !past.is_saved);
            if let Some(past) = pasts.find(|past| of == Of::Past(past.ledger)) {
                // More of it was read since.
                claim.trace = past.trace.clone();
                claim.position = past.position.clone();
                if let Some(proof) = self.proof_of(slot) {
                    proof.claims.push_front(claim);
                }
                return Ok(true);
            }
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(false);
        };
        let past = match claim.of {
            Of::Past(ledger) => self.pasts.iter().position(|past| past.ledger == ledger),
            _ => None,
        };
        let is_taken = match claim.of {
            Of::Past(_) => past.is_none(),
            Of::Saved(key) => self.saved.get(key).is_none(),
            Of::Own => false,
        };
        if is_taken {
            if let Some(original) = self.plain_source_of(claim.of) {
                self.yield_to(slot, original);
                return Ok(false);
            }
            // It goes on in another compressed file: this one holds the same, and is another generation.
            self.refuted_claim(slot, Some(claim))?;
            return Ok(true);
        }
        if let Some(past) = past.map(|at| &self.pasts[at])
            && !past.is_open
            && self.outlet.tracker().open_entries(past.ledger) > 0
        {
            // What is still on its way would be passed by a position after it.
            source.pace.next = Instant::now() + self.timing.poll_most;
            if let Some(proof) = self.proof_of(slot) {
                proof.claims.push_front(claim);
            }
            return Ok(false);
        }
        if known > 0
            && let Err(error) = source.seek_packed(&Position {
                offset: known,
                ..Position::default()
            })
        {
            self.cannot_read(slot, &error)?;
            return Ok(false);
        }
        let tail = source.position().tail;
        let place = claim.position_at(known, tail);
        source.stand(&place);
        if let Some(packed) = &mut source.packed {
            packed.proof = None;
            let past = past.filter(|at| self.pasts[*at].is_open);
            packed.whole = past.map_or((0, 0), |at| {
                let past = &self.pasts[at];
                (past.size, past.position.offset)
            });
        }
        tracing::info!(
            input = %self.name, file = %source.path.display(), read = known,
            "the compressed file holds what was read before; it is read on from there"
        );
        let (own, is_saved) = (
            source.id,
            source.packed.as_ref().is_some_and(|p| p.is_saved),
        );
        let ceiling = (known < claim.trace.read()).then_some((known, tail));
        let fact = Fact {
            ceiling: ceiling.map(Box::new),
            ..fact(source)
        };
        match (claim.of, past) {
            (Of::Own, _) => {}
            (Of::Saved(key), _) if self.saved.take(key).is_some() => {
                source.id = SourceId(key.0);
                self.outlet.tracker().add(source.id, place);
                self.facts.add(source.id, fact, true);
            }
            (Of::Past(ledger), Some(at)) if self.pasts[at].is_open => {
                source.id = ledger;
                if self.pasts[at].is_saved {
                    self.outlet.tracker().add(ledger, place);
                    self.facts.add(ledger, fact, true);
                } else {
                    self.facts.goes_on_in(ledger, fact);
                }
                self.pasts.remove(at);
            }
            _ => {
                self.outlet.tracker().add(source.id, place);
                let fact = Fact {
                    ceiling: None,
                    ..fact
                };
                self.facts.add(source.id, fact, true);
                if let Some(at) = past {
                    self.pasts.remove(at);
                }
            }
        }
        if is_saved
            && self
                .sources
                .get(&slot)
                .is_some_and(|source| source.id != own)
        {
            self.facts.replaced(own);
        }
        self.end_saved_generations()?;
        Ok(true)
    }

    fn proof_of(&mut self, slot: u64) -> Option<&mut Proof> {
        self.sources.get_mut(&slot)?.packed.as_mut()?.proof.as_mut()
    }

    /// The followed file that the generation goes on in, if that is not compressed.
    fn plain_source_of(&self, of: Of) -> Option<u64> {
        let id = match of {
            Of::Past(ledger) => ledger,
            Of::Saved(key) => SourceId(key.0),
            Of::Own => return None,
        };
        let mut sources = self.sources.iter();
        sources
            .find(|(_, source)| source.id == id && source.packed.is_none())
            .map(|(slot, _)| *slot)
    }

    /// What a compressed file holds is read from the file that it was made of, which was found after all: it waits for that one.
    fn yield_to(&mut self, slot: u64, original: u64) {
        let names: Vec<_> = self.names_of(slot);
        let Some(source) = self.detach(slot) else {
            return;
        };
        if source.packed.as_ref().is_some_and(|packed| packed.is_saved) {
            self.facts.replaced(source.id);
        }
        for (path, name) in names {
            self.wait_for(path, name, source.look, Some(original));
        }
    }

    /// The file does not hold the generation that its first claim is about.
    fn refuted(&mut self, slot: u64) -> Result<(), Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let Some(packed) = &mut source.packed else {
            return Ok(());
        };
        let Some(proof) = &mut packed.proof else {
            return Ok(());
        };
        let claim = proof.next();
        self.refuted_claim(slot, claim)
    }

    fn refuted_claim(&mut self, slot: u64, claim: Option<Claim>) -> Result<(), Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let Some(packed) = &source.packed else {
            return Ok(());
        };
        let is_last = packed
            .proof
            .as_ref()
            .is_none_or(|proof| proof.claims.is_empty());
        let is_wanted = packed.is_wanted;
        let id = source.look.id;
        let of = claim.as_ref().map(|claim| self.present(claim.of));
        let mut pasts = self.pasts.iter_mut();
        if let Some(past) = pasts.find(|past| of == Some(Of::Past(past.ledger))) {
            // When it is looked for again, this file is not asked again.
            past.refuted.push(id);
        }
        let is_own = claim.as_ref().is_some_and(|claim| claim.of == Of::Own);
        if is_last && !is_own && self.gives_way(slot) {
            return Ok(());
        }
        if is_last && !is_own && !is_wanted {
            self.detach(slot);
            return self.end_saved_generations();
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        if let Some(packed) = source.packed.as_mut().filter(|_| is_last) {
            packed.proof = None;
        }
        match claim.map(|claim| claim.of) {
            Some(Of::Own) => {
                let (look, read) = (source.look, source.at());
                return self.start_over(slot, read, look);
            }
            Some(Of::Saved(key)) => {
                let is_own = self
                    .saved
                    .get(key)
                    .is_some_and(|entry| is_same(entry, &source.path, &source.look));
                if is_own {
                    self.saved.take(key);
                    self.facts.forget(key);
                }
            }
            _ => {}
        }
        if is_last {
            self.outlet.tracker().add(source.id, Position::default());
            self.facts.add(source.id, fact(source), true);
            self.end_saved_generations()?;
        }
        Ok(())
    }

    /// Whether a compressed file may still turn out to hold this generation.
    pub(super) fn is_claimed(&self, ledger: SourceId) -> bool {
        let packed = self.sources.values().filter_map(|s| s.packed.as_ref());
        let mut claims = packed
            .filter_map(|packed| packed.proof.as_ref())
            .flat_map(|proof| &proof.claims);
        claims.any(|claim| self.present(claim.of) == Of::Past(ledger))
    }

    /// A saved position whose content is not where it was has become a generation that ended.
    fn present(&self, of: Of) -> Of {
        match of {
            Of::Saved(key) if self.pasts.iter().any(|past| past.ledger.0 == key.0) => {
                Of::Past(SourceId(key.0))
            }
            of => of,
        }
    }

    /// Whether a deleted file may have been compressed to one that the patterns find, and that no walk came to so far.
    pub(super) fn was_packed_unseen(&self, source: &Source) -> bool {
        let packed = packed_forms(source);
        packed
            .iter()
            .any(|(path, look)| self.discover.wants(path) && self.slot_of(look).is_none())
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

/// A compressed file that the patterns do not find.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside {
    /// Which one was listed: by now another may have its name, and be taken for it.
    pub id: Id,
    /// It may hold what was never seen.
    pub is_later: bool,
}

/// When a compressed file was written last, at the latest: not every tool keeps all of the time.
fn written_until(look: &Look) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    const MICRO: i64 = 1000;
    let at = look.stamp.0;
    let unit = [SECOND, MICRO, 1].into_iter().find(|unit| at % unit == 0);
    at.saturating_add(unit.unwrap_or(1) - 1)
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

/// Whether the file that a position was saved of is among these names.
fn is_among(names: &HashMap<u64, Vec<PathBuf>>, entry: &Entry) -> bool {
    let id = Id::of(entry);
    let is_it = |name: &PathBuf| Look::at(name).is_ok_and(|look| look.id.is_same(&id));
    names
        .get(&entry.inode)
        .is_some_and(|names| names.iter().any(is_it))
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
