//! How many files are held open at once.
//!
//! A file that has a name can be closed and opened again: idle ones are when there are too many, longest idle first, then the least recently
//! active. One that has no name any more stays open, whatever the number: its handle is all that leads to it.
//!
//! Invariant: that no descriptor is left says nothing about files. Nothing is given up for it; what could not be looked at is looked at again.

use std::io;
use std::path::Path;
use std::time::Instant;

use super::discover::is_absent;
use super::look::{Look, open};
use super::rotate::Standing;
use super::{Follower, troubles};

/// Files that are held open even if fewer descriptors seem to be left.
const FEWEST_OPEN: u64 = 16;
/// So many active files are compared for the one that is closed.
const COMPARED: usize = 16;

/// How many files may be held open: as many as the configuration says, at most half of what the process may open.
pub(super) fn most_open(max_open_files: u64) -> u64 {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let half = descriptors.current.map_or(u64::MAX, |most| most / 2);
    max_open_files.min(half.max(FEWEST_OPEN)).max(1)
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

    /// Closes a file if it can be opened again by its name.
    fn close(&mut self, slot: u64) -> bool {
        let Some(source) = self.sources.get_mut(&slot) else {
            return false;
        };
        let may = match source.standing {
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
