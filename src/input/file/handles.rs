//! How many files are held open at once.
//!
//! A file that has a name can be closed and opened again: idle ones are when there are too many, longest idle first. One that has no name any
//! more stays open, whatever the number: its handle is all that leads to it.

use std::io;

use super::discover::is_absent;
use super::look::{Look, open};
use super::rotate::Standing;
use super::{Follower, troubles};

/// Files that are held open at most, unless they have no name any more.
const MOST_OPEN: u64 = 1024;

/// How many files may be held open: half of what the process may open.
pub(super) fn most_open() -> u64 {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    descriptors
        .current
        .map_or(MOST_OPEN, |n| (n / 2).clamp(16, MOST_OPEN))
}

impl Follower {
    /// Closes files while too many are open: idle ones first, else the one that just had its turn.
    pub(super) fn close_some(&mut self, slot: u64) {
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
    pub(super) fn close(&mut self, slot: u64) {
        if let Some(source) = self.sources.get_mut(&slot)
            && source.standing == Standing::Named
            && source
                .packed
                .as_ref()
                .is_none_or(|packed| packed.unpacked.is_none())
            && source.file.take().is_some()
        {
            self.open -= 1;
        }
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
            self.open += 1;
        }
        Ok(())
    }

    /// When no descriptor is left, fewer files are held open from now on.
    pub(super) fn mind_descriptors(&mut self, error: &io::Error) {
        if troubles::is_out_of_descriptors(error) {
            self.most_open = (self.open / 2).max(16);
        }
    }
}
