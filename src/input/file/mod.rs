//! The input `file`: follows growing files, also through rotation, and loses nothing that it could have read.
//!
//! One thread per input. It sweeps over the names that the patterns find ([`discover`], `sweep`), tells files apart by evidence
//! ([`identity`]), begins to follow them where they were left (`adopt`; `pursue` finds those that were renamed meanwhile), and gives every
//! file that may have something to read its turns (`turn`, [`tail`]), a few blocks at a time, so that a backlog in one does not hold up the
//! others. Kernel events ([`watch`]) only make it look earlier. What it knows beside positions lies in [`facts`];
//! with `delivery: exactly_once` they tell transactions what to remember ([`telling`]).
//!
//! Invariant: the thread never waits for one file, nor in the middle of anything: while budget or room in the pipe are missing it goes on
//! sweeping, so that files which are rotated during an outage are found, and held open, before their names are gone.

mod adopt;
mod around;
mod awake;
mod beside;
mod copies;
pub mod discover;
pub mod facts;
mod handles;
mod hold;
mod hole;
pub mod identity;
pub mod look;
pub mod pace;
mod packed;
mod proving;
mod pursue;
pub mod rotate;
pub mod seek;
pub mod settings;
mod sweep;
pub mod tail;
pub mod telling;
mod trace;
mod troubles;
mod turn;
pub mod unpack;
mod unpacking;
pub mod watch;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::awake::Awake;
use self::copies::{Past, Waiting};
use self::discover::{Discover, PatternError};
use self::facts::{Fact, Facts};
use self::handles::most_open;
use self::identity::{Id, Saved};
use self::pursue::predecessors;
use self::rotate::{Standing, Timing, bases};
use self::settings::{FileSettings, Watch as Mode};
use self::sweep::Known;
use self::tail::Source;
use self::troubles::Troubles;
use self::unpacking::may_be_packed;
use self::watch::Watch;
use super::frame::framer::{Framers, LinesError};
use super::outlet::{Ended, Ends, Outlet};
use super::{Finish, Report};
use crate::checkpoint::{Entry, FileKey};
use crate::flow::SourceId;

/// What is searched at once for the end of a long line, in bytes.
const SCRATCH: usize = 64 * 1024;

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
    pub finish: Finish,
    pub facts: Arc<Facts>,
    pub timing: Timing,
}

/// Why an input ends before its time.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A record is refused, with `on_refused: stop`.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Pattern(#[from] PatternError),
    #[error(transparent)]
    Lines(#[from] LinesError),
}

/// Follows files until the stop, or with `once` until everything that was there is handed on. Blocks its thread; ends also when nobody
/// takes batches any more.
pub fn run(input: FileInput) -> Result<Report, FileError> {
    let mut follower = Follower::new(input)?;
    // Stopped or closed: either way there is nothing left to do here.
    let _ = follower.follow();
    match follower.refused.take() {
        Some(why) => Err(FileError::Refused(why)),
        None => Ok(follower.report()),
    }
}

struct Follower {
    name: Arc<str>,
    settings: FileSettings,
    once: bool,
    timing: Timing,
    framers: Framers,
    finish: Finish,
    /// Why something cannot be set aside.
    not_set_aside: Option<String>,
    /// Why the input stops by itself.
    refused: Option<String>,
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
    /// By slot: a number that stays with a file also when its content is replaced. In the order in which they were found, which is that of
    /// their places in memory: a sweep goes through all.
    sources: BTreeMap<u64, Box<Source>>,
    next_slot: u64,
    /// As of the last look around: files that are [unproven](Source::is_unproven), and those that are deleted or given up.
    unproven: Vec<u64>,
    held: Vec<u64>,
    awake: Awake,
    by_id: HashMap<(u64, u64), u64>,
    names: HashMap<Arc<Path>, Known>,
    /// What stood last at paths where no followed file stands now.
    predecessors: HashMap<PathBuf, Id>,
    /// Generations that ended.
    pasts: VecDeque<Past>,
    /// Names that lead to copies of followed files.
    waiting: HashMap<PathBuf, Waiting>,
    /// Compressed files that wait for the memory to be unpacked.
    packed: VecDeque<u64>,
    /// How many have it.
    unpacking: usize,
    /// When each path that has saved positions, or that such a file was rotated from, was read last: milliseconds since 1970.
    known_at_start: HashMap<PathBuf, i64>,
    /// When compressed files were looked for first, for these: milliseconds since 1970.
    packed_until: Option<i64>,
    /// Compressed files that were made of what was followed when they were looked at, until there is no need to look any more.
    of_followed: Vec<Id>,
    /// Files that are looked at by time, next ones first. A file is in it exactly while its pace is not idle.
    active: VecDeque<u64>,
    /// Open files that went idle, longest ago first; may name some that are not idle any more.
    idle: VecDeque<u64>,
    open: u64,
    most_open: u64,
    /// What `most_open` may be again after there were no descriptors.
    allowed_open: u64,
    /// How often there was no descriptor, and the sweep of the last time.
    starved: u64,
    starved_in: u64,
    /// Bytes that are known to exist and were not read, over all files.
    unread: u64,
    followed: usize,
    sweeps: u64,
    /// Budget or room in the pipe are missing: nothing can be read now.
    is_blocked: bool,
    /// Whether there is enough space was asked last then.
    asked_free: Option<Instant>,
    /// Names of files that are too old to be read, in the latest walk.
    ignored: u64,
    /// The next sweep walks over all names, whatever the folders say.
    must_walk: bool,
    /// A file lost a name to another one: the next walk gives every file its name anew.
    must_match: bool,
    troubles: Troubles,
    /// Where the last walk could not look: what is there may well exist.
    unreadable: HashSet<PathBuf>,
    scratch: Vec<u8>,
}

impl Follower {
    fn new(input: FileInput) -> Result<Self, FileError> {
        let settings = input.settings;
        let mode = if input.once {
            Mode::Poll
        } else {
            settings.watch
        };
        let outlet = Outlet::new(input.ends);
        let predecessors = predecessors(&input.saved);
        let mut known_at_start: HashMap<PathBuf, i64> = HashMap::new();
        for (_, entry) in &input.saved {
            for base in bases(&entry.path) {
                let known = known_at_start.entry(base).or_insert(entry.updated);
                *known = (*known).max(entry.updated);
            }
        }
        if let Some(looked) = known_at_start.values().max() {
            input.facts.looked(*looked);
        }
        let allowed_open = most_open(settings.max_open_files);
        Ok(Self {
            discover: Discover::new(&settings.paths, &settings.exclude)?,
            framers: Framers::new(&settings.lines)?,
            finish: input.finish,
            not_set_aside: None,
            refused: None,
            watch: Watch::new(mode, outlet.bell()),
            settings,
            name: input.name.into(),
            once: input.once,
            timing: timing_of(mode, input.timing),
            facts: input.facts,
            outlet,
            saved: Saved::new(input.saved),
            saved_until: Instant::now() + input.timing.missing_for,
            first_start: input.first_start,
            late: HashSet::new(),
            next_key: input.next_key,
            sources: BTreeMap::new(),
            next_slot: 0,
            unproven: Vec::new(),
            held: Vec::new(),
            awake: Awake::default(),
            by_id: HashMap::new(),
            names: HashMap::new(),
            predecessors,
            pasts: VecDeque::new(),
            waiting: HashMap::new(),
            packed: VecDeque::new(),
            unpacking: 0,
            known_at_start,
            packed_until: None,
            of_followed: Vec::new(),
            active: VecDeque::new(),
            idle: VecDeque::new(),
            open: 0,
            most_open: allowed_open,
            allowed_open,
            starved: 0,
            starved_in: 0,
            unread: 0,
            followed: 0,
            sweeps: 0,
            is_blocked: false,
            asked_free: None,
            ignored: 0,
            must_walk: true,
            must_match: false,
            troubles: Troubles::default(),
            unreadable: HashSet::new(),
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
            if !matches!(source.standing, Standing::Deleted { .. }) || source.is_given_up {
                continue;
            }
            let (unread, is_packed) = (source.unread(), may_be_packed(source));
            if unread > 0 && is_packed {
                tracing::info!(
                    input = %self.name, file = %source.path.display(), unread_bytes = unread,
                    "the file was deleted before it was read to its end, and the daemon stops; the next start looks for the rest in compressed files"
                );
            } else if unread > 0 {
                tracing::warn!(
                    input = %self.name, file = %source.path.display(), lost_bytes = unread,
                    "the file was deleted before it was read to its end, and the daemon stops; the rest is lost"
                );
                books.lost("deleted", unread);
                self.unread -= std::mem::take(&mut source.counted);
            }
            if !is_packed {
                // Nothing else can be continued there.
                self.facts.leave(source.id);
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
        let next = if self.watch.is_armed() {
            next.min(self.timing.next_beat(now))
        } else {
            next
        };
        let patience = next.saturating_duration_since(now);
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
        self.awake.wake(slot);
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

/// Without events a line waits for a sweep, and shall not wait for more than a second with all that comes after.
fn timing_of(mode: Mode, timing: Timing) -> Timing {
    const MOST: Duration = Duration::from_millis(850);
    match mode {
        Mode::Auto => timing,
        Mode::Poll => Timing {
            sweep: timing.sweep.min(MOST),
            ..timing
        },
    }
}

fn fact(source: &Source) -> Fact {
    Fact {
        path: source.path.clone(),
        id: source.look.id,
        head: source.head(),
        size: source.size(),
        read: source.at(),
        behind_since: (source.unread() > 0).then(Instant::now),
        ceiling: None,
        packed: None,
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
