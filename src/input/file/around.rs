//! The look around: files themselves, while the sweep matches their names.
//!
//! Most cost nothing: an event tells of their next write, and they sleep until it is their turn. Others are asked for their length, and only
//! when that says nothing, or should not be believed, for all that the system tells about them.
//!
//! Invariant: each file is looked at as a whole every [`LOOK`] times [`LOOK`] sweeps, whatever events say.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Instant;

use super::Follower;
use super::awake::Row;
use super::discover::is_absent;
use super::facts::Facts;
use super::look::Look;
use super::packed;
use super::rotate::{Growth, Standing, growth, is_over};
use super::tail::Source;
use crate::input::outlet::Ended;

/// A file whose next write is told by an event, or that is asked for its length alone, is looked at nevertheless every so many sweeps; one
/// that is both, every so many times as many.
const LOOK: u64 = 8;

/// What a look around brought, by slot.
#[derive(Default)]
struct Found {
    /// There is something to read.
    changed: Vec<u64>,
    /// Closed, and not where they were.
    astray: Vec<u64>,
    /// Nothing comes of them any more.
    over: Vec<u64>,
    /// Shorter than they were, or written anew: with the size that was known, and what they look like now.
    cut: Vec<(u64, u64, Look)>,
    /// Compressed ones of which nothing comes any more.
    gone: Vec<u64>,
}

impl Follower {
    /// Looks at the files that are not looked at by time, and leaves those that are over.
    pub(super) fn look_around(&mut self) -> Result<(), Ended> {
        let mut found = Found::default();
        (self.unproven, self.held) = (Vec::new(), Vec::new());
        for row in 0..self.awake.rows() {
            if let Some(row) = self.awake.row(row, self.sweeps, LOOK) {
                self.look_along(row, &mut found);
            }
        }
        for (slot, known, look) in found.cut {
            self.start_over(slot, known, look)?;
        }
        for slot in found.changed {
            self.account(slot);
            self.wake(slot);
        }
        for slot in found.astray {
            self.search(slot)?;
        }
        for slot in found.gone {
            let unread = self.sources.get(&slot).map_or(0, |source| source.unread());
            self.leave(slot)?;
            if unread > 0 && !self.sources.contains_key(&slot) {
                let books = self.outlet.tracker().books();
                books.lost("unreadable", unread);
            }
        }
        for slot in found.over {
            // An unterminated last line is all that may be left; nobody will end it.
            if let Some(source) = self.sources.get_mut(&slot) {
                source.end = Some(source.look.size);
            }
            self.wake(slot);
        }
        Ok(())
    }

    /// Looks at those files of a row that are awake, or at all when it is their turn.
    fn look_along(&mut self, row: Row, found: &mut Found) {
        let now = Instant::now();
        let is_turn = row.is_turn(LOOK);
        for (&slot, source) in self.sources.range_mut(row.slots()) {
            // Events answer for most of those that have been quiet for long.
            if !is_turn && !row.has(slot) {
                continue;
            }
            let named = source.standing == Standing::Named;
            // Whoever wants these does not go through all files again.
            if source.is_given_up || matches!(source.standing, Standing::Deleted { .. }) {
                self.held.push(slot);
            }
            if source.is_unproven {
                self.unproven.push(slot);
            }
            if source.is_given_up {
                continue;
            }
            let is_active = !source.pace.idle && !self.is_blocked;
            let overdue = source.overdue(self.framers.expected());
            if source.pace.idle && overdue.is_some_and(|(at, _)| at <= now) {
                found.changed.push(slot);
                continue;
            }
            if named
                && source.is_armed
                && source.pace.idle
                && overdue.is_none()
                && !source.is_unproven
            {
                self.awake.sleep(slot);
            }
            if named && (is_active || (source.is_armed && !is_turn)) {
                continue;
            }
            let whole = if source.is_armed { LOOK * LOOK } else { LOOK };
            let asks_length = source.pace.idle && !source.is_shared && !row.is_turn(whole);
            if named && asks_length && source.is_as_long() {
                continue;
            }
            let look = match source.look_now() {
                Ok(look) if source.file.is_some() || look.id.is_same(&source.look.id) => look,
                Ok(_) => {
                    found.astray.push(slot);
                    continue;
                }
                Err(error) if is_absent(&error) => {
                    found.astray.push(slot);
                    continue;
                }
                Err(error) => {
                    self.troubles.cannot_read(&source.path, &error, self.sweeps);
                    continue;
                }
            };
            if !named {
                source.standing = source.standing.out_of_sight(look.links, now);
                // Renamed in the same tick of the file system's clock, it looks the same.
                if is_turn || look.stamp != source.look.stamp {
                    follow_path(source, &self.facts);
                }
            }
            if source.packed.is_some() {
                if packed::is_changed(&source.look, &look) {
                    found.changed.push(slot);
                } else if source.pace.idle
                    && is_over(source.standing, source.pace.grew, now, &self.timing)
                    && !self.packed.contains(&slot)
                {
                    found.gone.push(slot);
                }
                continue;
            }
            // Nobody reads now, or not yet: what is cut and written again until then would never show, or the new size be taken for what
            // the old content had.
            let is_shorter = look.size < source.seen;
            let is_changed =
                is_shorter || growth(source.at(), &source.look, &look) != Growth::Nothing;
            if growth(source.at(), &source.look, &look) == Growth::Cut
                || is_shorter && source.at() == 0
                || is_changed && !source.is_unchanged_before().unwrap_or(true)
            {
                found
                    .cut
                    .push((slot, source.seen.max(source.look.size), look));
                continue;
            }
            source.seen = source.seen.max(look.size);
            if growth(source.at(), &source.look, &look) != Growth::Nothing || source.has_news() {
                found.changed.push(slot);
            } else if source.pace.idle
                && is_over(source.standing, source.pace.grew, now, &self.timing)
            {
                found.over.push(slot);
            }
        }
    }
}

/// Learns where a file went that the patterns do not find. Records keep the name under which they did; the position follows the file.
pub(super) fn follow_path(source: &mut Source, facts: &Facts) {
    if let Some(path) = source.file.as_ref().and_then(present_path)
        && *path != *source.path
    {
        source.path = path.into();
        facts.renamed(source.id, source.path.clone());
    }
}

/// Where an open file is now, when the system can tell and it is not deleted.
fn present_path(file: &File) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let leads_here = Look::at(&path).ok()?.id.is_same(&Look::of(file).ok()?.id);
    leads_here.then_some(path)
}
