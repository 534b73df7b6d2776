//! The input `file`: follows growing files, also through rotation, and loses nothing that it could have read.
//!
//! One thread per input. It sweeps over the names that the patterns find ([`discover`], `sweep`), tells files apart by evidence
//! ([`identity`]), and gives every file that may have something to read its turns ([`tail`]), a few blocks at a time, so that a backlog in
//! one does not hold up the others. Kernel events ([`watch`]) only make it look earlier. What it knows beside positions lies in [`facts`].
//!
//! Invariant: the thread never waits for one file, nor in the middle of anything: while budget or room in the pipe are missing it goes on
//! sweeping, so that files which are rotated during an outage are found, and held open, before their names are gone.

pub mod discover;
pub mod facts;
pub mod identity;
pub mod look;
pub mod rotate;
pub mod settings;
mod sweep;
pub mod tail;
mod troubles;
pub mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::discover::{Discover, PatternError};
use self::facts::{Fact, Facts};
use self::identity::{Id, Saved};
use self::look::{Look, open};
use self::rotate::{Growth, Standing, Timing, growth, rotated_from};
use self::settings::{FileSettings, Watch as Mode};
use self::sweep::Known;
use self::tail::{Source, Taken};
use self::troubles::Troubles;
use self::watch::Watch;
use super::frame::framer::{Framer, LinesError};
use super::outlet::{Ended, Ends, Outlet};
use super::{Position, Report, SetAside};
use crate::checkpoint::{Entry, FileKey};
use crate::flow::SourceId;

/// Blocks that one file may bring before the others get their turn.
const BLOCKS: usize = 4;
/// A file that brought at least this many bytes is looked at again at once.
const BUSY: u64 = 64 * 1024;
/// What is searched at once for the end of a long line, in bytes.
const SCRATCH: usize = 64 * 1024;
/// Files that are held open at most, unless they have no name any more.
const MOST_OPEN: u64 = 1024;
/// How often writes to idle files are asked for.
const HINTS: Duration = Duration::from_millis(100);

/// What a file input needs to run.
pub struct FileInput {
    pub name: String,
    pub settings: FileSettings,
    /// Where files are continued.
    pub saved: Vec<(FileKey, Entry)>,
    /// Nobody has ever looked at these files for this input: `start_at` applies.
    pub first_start: bool,
    /// Keys from this on were never used.
    pub next_key: u64,
    /// Read what is there now, deliver it and end.
    pub once: bool,
    pub ends: Ends,
    /// Where `max_line.policy: dead_letter` puts lines.
    pub set_aside: SetAside,
    pub facts: Arc<Facts>,
    pub timing: Timing,
}

/// Settings that cannot be obeyed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Lines(#[from] LinesError),
}

/// Follows files until the stop, or with `once` until everything that was there is handed on. Blocks its thread; ends also when nobody
/// takes batches any more.
pub fn run(input: FileInput) -> Result<Report, SettingsError> {
    let mut follower = Follower::new(input)?;
    // Stopped or closed: either way there is nothing left to do here.
    let _ = follower.follow();
    Ok(follower.report())
}

struct Follower {
    name: Arc<str>,
    settings: FileSettings,
    once: bool,
    timing: Timing,
    framer: Framer,
    set_aside: SetAside,
    /// Why the beginning of a long line cannot be set aside.
    not_set_aside: Option<String>,
    discover: Discover,
    watch: Watch,
    facts: Arc<Facts>,
    outlet: Outlet,
    saved: Saved,
    /// Entries of `saved` are given up then.
    saved_until: Instant,
    /// `start_at` applies to files found now.
    first_start: bool,
    /// Files that `start_at` applies to although they could not be read at the very first start.
    late: HashSet<PathBuf>,
    next_key: u64,
    /// By slot: a number that stays with a file also when its content is replaced.
    sources: HashMap<u64, Source>,
    next_slot: u64,
    by_id: HashMap<(u64, u64), u64>,
    names: HashMap<PathBuf, Known>,
    /// What stood last at paths where no followed file stands now.
    predecessors: HashMap<PathBuf, Id>,
    /// Files that are looked at by time, next ones first. A file is in it exactly while its pace is not idle.
    active: VecDeque<u64>,
    /// Open files that went idle, longest ago first; may name some that are not idle any more.
    idle: VecDeque<u64>,
    open: u64,
    most_open: u64,
    /// Bytes that are known to exist and were not read, over all files.
    unread: u64,
    followed: usize,
    sweeps: u64,
    /// Budget or room in the pipe are missing: nothing can be read now.
    is_blocked: bool,
    /// The next sweep walks over all names, whatever the folders say.
    must_walk: bool,
    troubles: Troubles,
    scratch: Vec<u8>,
}

impl Follower {
    fn new(input: FileInput) -> Result<Self, SettingsError> {
        let settings = input.settings;
        let mode = if input.once {
            Mode::Poll
        } else {
            settings.watch
        };
        let outlet = Outlet::new(input.ends);
        let predecessors = predecessors(&input.saved);
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Ok(Self {
            discover: Discover::new(&settings.paths, &settings.exclude)?,
            framer: Framer::new(&settings.lines)?,
            set_aside: input.set_aside,
            not_set_aside: None,
            watch: Watch::new(mode, outlet.bell()),
            settings,
            name: input.name.into(),
            once: input.once,
            timing: input.timing,
            facts: input.facts,
            outlet,
            saved: Saved::new(input.saved),
            saved_until: Instant::now() + input.timing.missing_for,
            first_start: input.first_start,
            late: HashSet::new(),
            next_key: input.next_key,
            sources: HashMap::new(),
            next_slot: 0,
            by_id: HashMap::new(),
            names: HashMap::new(),
            predecessors,
            active: VecDeque::new(),
            idle: VecDeque::new(),
            open: 0,
            most_open: descriptors
                .current
                .map_or(MOST_OPEN, |n| (n / 2).clamp(16, MOST_OPEN)),
            unread: 0,
            followed: 0,
            sweeps: 0,
            is_blocked: false,
            must_walk: true,
            troubles: Troubles::default(),
            scratch: vec![0; SCRATCH],
        })
    }

    fn follow(&mut self) -> Result<(), Ended> {
        self.sweep()?;
        if self.first_start {
            self.facts.started();
            self.first_start = false;
        }
        let mut swept = Instant::now();
        let mut hinted = false;
        while !self.outlet.stop().is_soft() {
            let busy = self.round()? && !self.is_blocked;
            self.is_blocked |= !self.outlet.try_flush()?;
            self.tell_unread();
            if self.once {
                if self.active.is_empty() {
                    break;
                }
                if !busy {
                    self.pause(Instant::now() + self.timing.sweep);
                }
                continue;
            }
            self.hear();
            hinted |= self.watch.names_changed();
            let pause = if hinted {
                self.timing.hint
            } else {
                self.timing.sweep
            };
            if swept.elapsed() >= pause {
                self.must_walk |= hinted;
                hinted = false;
                self.sweep()?;
                swept = Instant::now();
            } else if !busy {
                self.pause(swept + pause);
            }
        }
        self.outlet.flush()?;
        self.give_up_deleted();
        Ok(())
    }

    /// What is deleted and not read is gone when its handle is closed.
    fn give_up_deleted(&mut self) {
        let books = self.outlet.tracker().books();
        for source in self.sources.values_mut() {
            let unread = source.unread();
            if unread > 0 && matches!(source.standing, Standing::Deleted { .. }) {
                tracing::warn!(
                    input = %self.name, file = %source.path.display(), lost_bytes = unread,
                    "the file was deleted before it was read to its end, and the daemon stops; the rest is lost"
                );
                books.lost("deleted", unread);
                self.unread -= std::mem::take(&mut source.counted);
            }
        }
        self.tell_unread();
    }

    /// What is in hand counts as unread until it is sent, and so as read.
    fn tell_unread(&self) {
        let unread = self.unread + self.outlet.holds_bytes();
        self.outlet.tracker().books().set_unread(unread);
    }

    /// Waits until something is due, at the latest `sweep`.
    fn pause(&self, sweep: Instant) {
        let now = Instant::now();
        // Blocked, nothing is due before the bell rings.
        let active = self.active.iter().filter(|_| !self.is_blocked);
        let due = active.filter_map(|slot| self.sources.get(slot));
        let next = due.map(|source| source.pace.next).fold(sweep, Instant::min);
        let mut patience = next.saturating_duration_since(now);
        if self.watch.is_armed() {
            patience = patience.min(HINTS);
        }
        if !patience.is_zero() {
            self.outlet.bell().wait(patience);
        }
    }

    /// Wakes the idle files that were written to.
    fn hear(&mut self) {
        let mut written = Vec::new();
        let missed = self.watch.written(|slot| written.push(slot));
        for slot in written {
            self.wake(slot);
        }
        if missed {
            let idle = self.sources.iter().filter(|(_, source)| source.pace.idle);
            let idle: Vec<u64> = idle.map(|(slot, _)| *slot).collect();
            for slot in idle {
                self.wake(slot);
            }
        }
    }

    /// A file has to be looked at.
    fn wake(&mut self, slot: u64) {
        if let Some(source) = self.sources.get_mut(&slot)
            && source.pace.idle
        {
            source.is_armed = false;
            source.pace.wake(Instant::now());
            self.active.push_back(slot);
        }
    }

    /// Gives every file that is due one turn. `true` when some are due again at once.
    fn round(&mut self) -> Result<bool, Ended> {
        let now = Instant::now();
        let mut busy = false;
        self.is_blocked = false;
        for _ in 0..self.active.len() {
            let Some(slot) = self.active.pop_front() else {
                break;
            };
            let Some(source) = self.sources.get(&slot) else {
                continue;
            };
            if self.is_blocked || self.outlet.stop().is_soft() {
                // It keeps its place in front of those that had their turn.
                self.active.push_front(slot);
                break;
            }
            if source.pace.next > now {
                self.active.push_back(slot);
                continue;
            }
            self.turn(slot)?;
            self.account(slot);
            self.after_turn(slot)?;
            if let Some(source) = self.sources.get(&slot)
                && !source.pace.idle
            {
                busy |= source.pace.next <= now;
                self.active.push_back(slot);
            }
        }
        Ok(busy)
    }

    /// Reads on in one file, as far as its turn goes.
    fn turn(&mut self, slot: u64) -> Result<(), Ended> {
        let now = Instant::now();
        if let Err(error) = self.reopen(slot) {
            return self.cannot_read(slot, &error);
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let look = match source.file.as_ref().map(Look::of) {
            Some(Ok(look)) => look,
            Some(Err(error)) => return self.cannot_read(slot, &error),
            None => {
                // Its name leads elsewhere; the next sweep finds out where it is.
                source.pace.idle = true;
                return Ok(());
            }
        };
        let known = source.seen.max(source.look.size);
        match growth(source.at(), &source.look, &look) {
            Growth::Cut => return self.start_over(slot, known, look),
            Growth::Touched => {
                source.distrust_half();
                match source.is_unchanged_before() {
                    Ok(true) => {}
                    Ok(false) => return self.start_over(slot, known, look),
                    Err(error) => return self.cannot_read(slot, &error),
                }
                let vanished = known.saturating_sub(look.size);
                if vanished > 0 {
                    self.outlet.tracker().books().lost("truncated", vanished);
                }
            }
            Growth::Nothing | Growth::More => {}
        }
        source.saw(look);
        source.note_growth(&self.framer, now);
        source.end = source.end.map(|end| end.min(look.size));
        let (mut brought, mut blocks) = (0, 0);
        let more = loop {
            if blocks == BLOCKS || self.outlet.stop().is_soft() {
                break true;
            }
            let wanted = match source.wanted(&self.framer, &mut self.scratch) {
                Ok(Some(wanted)) => wanted,
                Ok(None) => break false,
                Err(error) => return self.cannot_read(slot, &error),
            };
            let Some(filling) = self.outlet.try_room(wanted)? else {
                self.is_blocked = true;
                break true;
            };
            match source.read(&mut self.framer, filling, &mut self.set_aside) {
                Ok(Taken::Bytes(bytes)) => {
                    brought += bytes;
                    self.not_set_aside = None;
                    blocks += 1;
                }
                Ok(Taken::Half) => {}
                Ok(Taken::NotSetAside(error)) => {
                    if self.not_set_aside.as_ref() != Some(&error) {
                        tracing::error!(
                            input = %self.name, file = %source.path.display(), error,
                            "the beginning of a line longer than max_line cannot be set aside; the file waits, and it is tried again"
                        );
                        self.not_set_aside = Some(error);
                    }
                    break true;
                }
                Ok(Taken::Nothing) => break false,
                Ok(Taken::Rewritten) => return self.start_over(slot, known, look),
                Err(error) => return self.cannot_read(slot, &error),
            }
        };
        if brought > 0 {
            source
                .pace
                .brought(more || brought >= BUSY, now, &self.timing);
        } else {
            source.pace.brought_nothing(now, &self.timing);
        }
        if let Some((at, _)) = source.overdue(&self.framer) {
            source.pace.due(at, now, &self.timing);
        }
        if self.once {
            source.pace.idle = !more;
        }
        Ok(())
    }

    /// Keeps the number of open files low, arms events for a file that went idle, and leaves one that is over.
    fn after_turn(&mut self, slot: u64) -> Result<(), Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        if !self.once && source.end.is_some() {
            if source.unread() == 0 {
                return self.leave(slot);
            }
            // It grew after its last word was asked for.
            source.end = None;
        }
        if source.pace.idle && !self.once {
            source.is_armed =
                !source.is_shared && self.watch.arm(slot, source.file.as_ref(), &source.path);
            if source.is_armed {
                // What was written before the watch stood makes no event.
                let look = match &source.file {
                    Some(file) => Look::of(file),
                    None => Look::at(&source.path),
                };
                match look {
                    Ok(look) if !look.id.is_same(&source.look.id) => source.is_armed = false,
                    Ok(look) if look.size == source.look.size => {}
                    Ok(_) => source.pace.wake(Instant::now()),
                    Err(_) => source.is_armed = false,
                }
            }
            if source.file.is_some() && !source.is_queued {
                source.is_queued = true;
                self.idle.push_back(slot);
            }
        }
        self.close_some(slot);
        Ok(())
    }

    /// Closes files while too many are open: idle ones first, else the one that just had its turn.
    fn close_some(&mut self, slot: u64) {
        while self.open > self.most_open {
            let Some(idle) = self.idle.pop_front() else {
                self.close(slot);
                break;
            };
            if let Some(source) = self.sources.get_mut(&idle) {
                source.is_queued = false;
                if source.pace.idle {
                    self.close(idle);
                }
            }
        }
    }

    /// Closes a file if it can be opened again by its name.
    fn close(&mut self, slot: u64) {
        if let Some(source) = self.sources.get_mut(&slot)
            && source.standing == Standing::Named
            && source.file.take().is_some()
        {
            self.open -= 1;
        }
    }

    /// Opens a file that was closed; it stays closed when its name leads elsewhere.
    fn reopen(&mut self, slot: u64) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        if source.file.is_some() {
            return Ok(());
        }
        let file = match open(&source.path) {
            Ok(file) => file,
            Err(error) if discover::is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if Look::of(&file)?.id.is_same(&source.look.id) {
            source.file = Some(file);
            self.open += 1;
        }
        Ok(())
    }

    /// Reading failed: said once, tried again at every sweep.
    fn cannot_read(&mut self, slot: u64, error: &io::Error) -> Result<(), Ended> {
        self.mind_descriptors(error);
        if let Some(source) = self.sources.get_mut(&slot) {
            source.pace.idle = true;
            self.troubles.cannot_read(&source.path, error, self.sweeps);
        }
        Ok(())
    }

    /// When no descriptor is left, fewer files are held open from now on.
    fn mind_descriptors(&mut self, error: &io::Error) {
        if troubles::is_out_of_descriptors(error) {
            self.most_open = (self.open / 2).max(16);
        }
    }

    /// The content of a file was replaced: what it has now is read from its beginning, as a new generation. `known` is the size that it
    /// was known to have before.
    fn start_over(&mut self, slot: u64, known: u64, look: Look) -> Result<(), Ended> {
        // Records of the old generation that are still in hand belong to its ledger.
        if !self.outlet.try_flush()? {
            self.is_blocked = true;
            return Ok(());
        }
        let id = self.new_id();
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let lost = known.saturating_sub(source.at());
        tracing::warn!(
            input = %self.name, file = %source.path.display(), read = source.at(), size = look.size, lost_bytes = lost,
            "the file was cut or rewritten where it was read already; it is read again from its beginning"
        );
        if lost > 0 {
            self.outlet.tracker().books().lost("truncated", lost);
        }
        self.facts.replaced(source.id);
        source.restart(id);
        source.saw(look);
        source.end = self.once.then_some(look.size);
        source.pace.wake(Instant::now());
        let position = Position::default();
        self.outlet.tracker().add(id, position);
        self.facts.add(id, fact(source), true);
        Ok(())
    }

    /// A file is not followed any longer; its position is forgotten when everything of it is settled.
    fn leave(&mut self, slot: u64) -> Result<(), Ended> {
        // Entries are opened when a batch is sent: before that nobody would wait for them.
        if !self.outlet.try_flush()? {
            self.is_blocked = true;
            return Ok(());
        }
        let Some(source) = self.sources.remove(&slot) else {
            return Ok(());
        };
        tracing::debug!(input = %self.name, file = %source.path.display(), "the file is read to its end and left");
        self.open -= u64::from(source.file.is_some());
        self.unread -= source.counted;
        let id = (source.look.id.dev, source.look.id.inode);
        if self.by_id.get(&id) == Some(&slot) {
            self.by_id.remove(&id);
        }
        self.names.retain(|_, known| known.slot != slot);
        self.facts.leave(source.id);
        Ok(())
    }

    /// Brings what is told about a file up to date.
    fn account(&mut self, slot: u64) {
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        let unread = source.unread();
        self.unread = self.unread - source.counted + unread;
        source.counted = unread;
        let (size, read) = (source.look.size, source.at());
        self.facts.progress(source.id, source.head(), size, read);
    }

    fn new_id(&mut self) -> SourceId {
        let id = SourceId(self.next_key);
        self.next_key += 1;
        id
    }

    fn report(&self) -> Report {
        let sent = self.outlet.sent();
        Report {
            lines: sent.lines,
            bytes: sent.bytes,
            files: self.followed,
            unread: self.unread,
        }
    }
}

/// The youngest file that is known to have stood at each path, rotated ones at the path that they were rotated from.
fn predecessors(saved: &[(FileKey, Entry)]) -> HashMap<PathBuf, Id> {
    let mut youngest: HashMap<PathBuf, Id> = HashMap::new();
    for (_, entry) in saved {
        let id = Id {
            dev: entry.dev,
            inode: entry.inode,
            birth: entry.birth,
        };
        for path in rotated_from(&entry.path)
            .into_iter()
            .chain([entry.path.clone()])
        {
            let known = youngest.entry(path).or_insert(id);
            if known.birth < id.birth {
                *known = id;
            }
        }
    }
    youngest
}

fn fact(source: &Source) -> Fact {
    Fact {
        path: source.path.clone(),
        id: source.look.id,
        head: source.head(),
        size: source.look.size,
        read: source.at(),
        behind_since: (source.unread() > 0).then(Instant::now),
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
