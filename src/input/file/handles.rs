//! How many files are held open at once.
//!
//! A file that has a name can be closed and opened again: idle ones are when there are too many, longest idle first, then the least recently
//! active. One that has no name any more stays open, whatever the number: its handle is all that leads to it. Only the limits of
//! `hold_deleted` give it up.
//!
//! Invariant: that no descriptor is left says nothing about files. Nothing is given up for it; what could not be looked at is looked at again.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::discover::is_absent;
use super::hold::{Free, Held, Limit, to_give_up};
use super::look::{Look, open};
use super::rotate::Standing;
use super::tail::Source;
use super::{Follower, troubles};
use crate::input::outlet::Ended;

/// Files that are held open even if fewer descriptors seem to be left.
const FEWEST_OPEN: u64 = 16;
/// How often free space is asked for, at most.
const ASK_FREE: Duration = Duration::from_secs(1);
/// So many active files are compared for the one that is closed.
const COMPARED: usize = 16;

/// How many files may be held open: as many as the configuration says, at most half of what the process may open.
pub(super) fn most_open(max_open_files: u64) -> u64 {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let half = descriptors.current.map_or(u64::MAX, |most| most / 2);
    max_open_files.min(half.max(FEWEST_OPEN)).max(1)
}

/// What the file system of `file` has left for everybody.
fn free(file: &File) -> Option<Free> {
    let stat = rustix::fs::fstatvfs(file).ok()?;
    Some(Free {
        left: stat.f_bavail.saturating_mul(stat.f_frsize),
        size: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

impl Follower {
    /// Closes files while too many are open: idle ones first, then those that grew longest ago. `slot` just had its turn.
    pub(super) fn close_some(&mut self, slot: u64) {
        while self.open > self.most_open {
            if let Some(idle) = self.idle.pop_front() {
                if let Some(source) = self.sources.get_mut(&idle) {
                    source.is_queued = false;
                    if source.pace.idle {
                        self.close(idle);
                    }
                }
                continue;
            }
            let compared = self.active.iter().take(COMPARED).chain([&slot]).copied();
            let open = compared.filter_map(|slot| {
                let source = self.sources.get(&slot)?;
                let is_gone = matches!(source.standing, Standing::Deleted { .. });
                let may = source.file.is_some() && !is_gone;
                may.then_some((source.unread() > 0, source.pace.grew, slot))
            });
            let Some((.., least)) = open.min() else {
                break;
            };
            if !self.close(least) {
                break;
            }
        }
    }

    /// The same between turns, for when all are idle; and lets more be open again after there were no descriptors.
    pub(super) fn close_surplus(&mut self) {
        if self.starved_in != self.sweeps && self.most_open < self.allowed_open {
            self.most_open += 1;
        }
        if self.open <= self.most_open {
            return;
        }
        if self.idle.is_empty() {
            let idle = self
                .sources
                .iter_mut()
                .filter(|(_, source)| source.pace.idle);
            let mut idle: Vec<(Instant, u64)> = idle
                .map(|(slot, source)| {
                    source.is_queued = true;
                    (source.pace.grew, *slot)
                })
                .collect();
            idle.sort_unstable();
            self.idle.extend(idle.into_iter().map(|(_, slot)| slot));
        }
        if let Some(&slot) = self.idle.back().or(self.active.back()) {
            self.close_some(slot);
        }
    }

    /// Gives up deleted files that are held open beyond the limits, also while nothing can be sent.
    pub(super) fn give_up_held(&mut self) -> Result<(), Ended> {
        let (now, limits) = (Instant::now(), &self.settings.hold_deleted);
        let mut held = Vec::new();
        let mut given_up = Vec::new();
        for slot in std::mem::take(&mut self.held) {
            let Some(source) = self.sources.get_mut(&slot) else {
                continue;
            };
            if source.is_given_up {
                given_up.push(slot);
            }
            if let (Standing::Deleted { since }, Some(file)) = (source.standing, &source.file)
                && let Ok(look) = Look::of(file)
            {
                source.seen = source.seen.max(look.size);
                if source.unread() > 0 {
                    held.push(Held {
                        slot,
                        dev: look.id.dev,
                        deleted: since,
                        bytes: look.blocks.saturating_mul(512),
                    });
                }
            }
        }
        if !held.is_empty() {
            let is_due = |at: Instant| now.saturating_duration_since(at) >= ASK_FREE;
            let asks = self.asked_free.is_none_or(is_due);
            if asks {
                self.asked_free = Some(now);
            }
            let sources = &self.sources;
            let limits = to_give_up(held, limits, self.timing.deleted_for, now, |file| {
                let source = sources.get(&file.slot).filter(|_| asks)?;
                free(source.file.as_ref()?)
            });
            for (slot, limit) in limits {
                self.give_up(slot, limit);
                given_up.push(slot);
            }
        }
        for slot in given_up {
            self.leave(slot)?;
        }
        Ok(())
    }

    fn give_up(&mut self, slot: u64, limit: Limit) {
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        self.open -= u64::from(source.file.is_some());
        let lost = source.give_up();
        tracing::warn!(
            input = %self.name, file = %source.path.display(), lost_bytes = lost, limit = %limit,
            "a deleted file that was not read to its end is held open no longer; the rest is lost"
        );
        // Its inode may be given to another file from now on.
        let id = (source.look.id.dev, source.look.id.inode);
        if self.by_id.get(&id) == Some(&slot) {
            self.by_id.remove(&id);
        }
        self.account(slot);
        self.outlet.tracker().books().lost("deleted", lost);
        self.tell_unread();
    }

    /// Closes a file if it can be opened again by its name.
    fn close(&mut self, slot: u64) -> bool {
        let Some(source) = self.sources.get_mut(&slot) else {
            return false;
        };
        let is_unpacking = |source: &Source| {
            let packed = source.packed.as_ref();
            packed.is_some_and(|packed| packed.unpacked.is_some())
        };
        let may = match source.standing {
            _ if is_unpacking(source) => false,
            Standing::Named => true,
            Standing::Moved { .. } => source.unread() == 0,
            Standing::Deleted { .. } => false,
        };
        // The name may have gone since the last sweep.
        let is_there = || Look::at(&source.path).is_ok_and(|look| look.id.is_same(&source.look.id));
        if source.file.is_none() || !may || !is_there() {
            return false;
        }
        source.file = None;
        self.open -= 1;
        true
    }

    /// Opens a file that was closed; it stays closed when its name leads elsewhere.
    pub(super) fn reopen(&mut self, slot: u64) -> io::Result<()> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        if source.file.is_some() {
            return Ok(());
        }
        let file = match open(&source.path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        if Look::of(&file)?.id.is_same(&source.look.id) {
            source.file = Some(file);
            source.is_doubtful = true;
            self.open += 1;
        }
        Ok(())
    }

    /// A file or folder cannot be looked at now.
    pub(super) fn not_now(&mut self, path: &Path, error: &io::Error) {
        self.mind_descriptors(error);
        self.troubles.cannot_read(path, error, self.sweeps);
    }

    /// When no descriptor is left, fewer files are held open from now on, and what was not found may be there.
    pub(super) fn mind_descriptors(&mut self, error: &io::Error) {
        if troubles::is_out_of_descriptors(error) {
            let fewest = FEWEST_OPEN.min(self.allowed_open);
            self.most_open = (self.open / 2).clamp(fewest, self.allowed_open);
            self.starved_in = self.sweeps;
            self.starved += 1;
            self.must_walk = true;
            let until = Instant::now() + self.timing.missing_for;
            self.saved_until = self.saved_until.max(until);
        }
    }
}
