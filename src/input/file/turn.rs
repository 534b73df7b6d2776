//! One file's turn: reading on where it was left, and what follows from it.
//!
//! A turn begins with a look at what became of the file: what was read already must still be there, else its new content is read from the
//! beginning, as a new generation. It ends when nothing is left, after a few blocks, or when budget or room in the pipe are missing.
//!
//! Invariant: a generation ends, and a file is left, only after what is in hand of it was sent: its ledger takes nothing afterwards.

use std::io;
use std::time::Instant;

use super::Follower;
use super::copies::Past;
use super::look::Look;
use super::rotate::{Growth, Standing, growth};
use super::tail::{Ahead, Source, Taken, hole};
use super::unpack::Fault;
use crate::input::outlet::Ended;

/// Blocks that one file may bring before the others get their turn.
const BLOCKS: usize = 4;
/// A file that brought at least this many bytes is looked at again at once.
const BUSY: u64 = 64 * 1024;

impl Follower {
    /// Reads on in one file, as far as its turn goes.
    pub(super) fn turn(&mut self, slot: u64) -> Result<(), Ended> {
        let now = Instant::now();
        if self.sources.get(&slot).is_some_and(|s| s.is_given_up) {
            // The sweep leaves it.
            return Ok(());
        }
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
        if source.packed.is_some() {
            if !self.look_into(slot, look)? {
                return Ok(());
            }
        } else if !self.look_again(slot, known, look, now)? {
            return Ok(());
        }
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(());
        };
        let (mut brought, mut blocks) = (0, 0);
        let more = loop {
            if blocks == BLOCKS || self.outlet.stop().is_soft() {
                break true;
            }
            match source.ahead(!self.once) {
                Ok(Ahead::Text) => {}
                Ok(Ahead::Unknown) => {
                    blocks += 1;
                    continue;
                }
                Ok(Ahead::Hole(to)) => {
                    let Some(filling) = self.outlet.try_room(1)? else {
                        self.is_blocked = true;
                        break true;
                    };
                    match source.skip_hole(to, filling) {
                        Ok(Some(bytes)) => brought += bytes,
                        // The next look tells what became of it.
                        Ok(None) => break true,
                        Err(error) => return self.cannot_read(slot, &error),
                    }
                    blocks += 1;
                    continue;
                }
                Err(error) => return self.cannot_read(slot, &error),
            }
            let wanted = match source.wanted(self.framers.expected(), &mut self.scratch) {
                Ok(Some(wanted)) => wanted,
                Ok(None) => break false,
                Err(error) => return self.cannot_read(slot, &error),
            };
            let Some(filling) = self.outlet.try_room(wanted)? else {
                self.is_blocked = true;
                // Its new size is taken for that of what was read.
                if !source.is_unchanged_before().unwrap_or(true) {
                    return self.start_over(slot, known, look);
                }
                break true;
            };
            match source.read(&mut self.framers, filling, &mut self.finish) {
                Ok(Taken::Bytes(bytes)) => {
                    brought += bytes;
                    self.not_set_aside = None;
                    blocks += 1;
                }
                // The size may be from before a cut: what is half would stay so, and only the next look tells.
                Ok(Taken::Half) => blocks += 1,
                Ok(Taken::NotSetAside(error)) => {
                    if self.not_set_aside.as_ref() != Some(&error) {
                        tracing::error!(
                            input = %self.name, file = %source.path.display(), error,
                            "a record, or the beginning of a line longer than max_line, cannot be set aside; the file waits, and it is tried again"
                        );
                        self.not_set_aside = Some(error);
                    }
                    break true;
                }
                Ok(Taken::Refused(why)) => {
                    self.refused = Some(why);
                    // What was read before it still goes.
                    self.outlet.flush()?;
                    return Err(Ended::Stopped);
                }
                Ok(Taken::Nothing) => break false,
                Ok(Taken::Rewritten) => return self.start_over(slot, known, look),
                Err(error) => return self.cannot_read(slot, &error),
            }
        };
        if brought > 0 {
            let more = more || brought >= BUSY;
            source.pace.brought(brought, more, now, &self.timing);
        } else {
            source.pace.brought_nothing(now, &self.timing);
        }
        if let Some((at, _)) = source.overdue(self.framers.expected()) {
            source.pace.due(at, now, &self.timing);
        }
        // No sweep sees that a compressed file has more.
        source.pace.idle &= !more || source.packed.is_none();
        if self.once {
            source.pace.idle = !more;
        }
        self.finish_packed(slot);
        Ok(())
    }

    /// What became of a file since the last look. `false`: nothing is read in this turn. `known` is the size that it was known to have.
    fn look_again(
        &mut self,
        slot: u64,
        known: u64,
        look: Look,
        now: Instant,
    ) -> Result<bool, Ended> {
        let Some(source) = self.sources.get_mut(&slot) else {
            return Ok(false);
        };
        match growth(source.at(), &source.look, &look) {
            Growth::Nothing | Growth::More if !source.is_doubtful => {}
            Growth::Cut => {
                self.start_over(slot, known, look)?;
                return Ok(false);
            }
            Growth::Touched | Growth::Nothing | Growth::More => {
                let blank = source.blank_from();
                source.distrust_half();
                match source.is_unchanged_before() {
                    Ok(true) => {}
                    Ok(false) => {
                        self.start_over(slot, known, look)?;
                        return Ok(false);
                    }
                    Err(error) => {
                        self.cannot_read(slot, &error)?;
                        return Ok(false);
                    }
                }
                let vanished = known.saturating_sub(look.size);
                if vanished > 0 && blank.is_some_and(|from| from <= look.size) {
                    self.outlet.tracker().skips(&hole(vanished).outcome(), 0);
                } else if vanished > 0 {
                    self.outlet.tracker().books().lost("truncated", vanished);
                }
            }
        }
        source.is_doubtful = false;
        source.saw(look);
        source.note_growth(self.framers.expected(), now);
        source.end = source.end.map(|end| end.min(look.size));
        Ok(true)
    }

    /// Keeps the number of open files low, arms events for a file that went idle, and leaves one that is over.
    pub(super) fn after_turn(&mut self, slot: u64) -> Result<(), Ended> {
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
        source.pace.idle |= source.is_given_up;
        if source.pace.idle && !source.is_given_up && !self.once {
            source.is_armed =
                !source.is_shared && self.watch.arm(slot, source.file.as_ref(), &source.path);
            if source.is_armed {
                // What was written before the watch stood makes no event.
                match source.look_now() {
                    Ok(look) if !look.id.is_same(&source.look.id) => source.is_armed = false,
                    Ok(look) if look.size == source.look.size => {}
                    Ok(_) => source.pace.wake(Instant::now()),
                    Err(_) => source.is_armed = false,
                }
            }
            source.rest();
            if source.file.is_some() && !source.is_queued {
                source.is_queued = true;
                self.idle.push_back(slot);
            }
        }
        self.close_some(slot);
        Ok(())
    }

    /// Brings what is told about a file up to date.
    pub(super) fn account(&mut self, slot: u64) {
        let Some(source) = self.sources.get_mut(&slot) else {
            return;
        };
        let unread = source.unread();
        self.unread = self.unread - source.counted + unread;
        source.counted = unread;
        let (size, read) = (source.size(), source.at());
        self.facts.progress(source.id, source.head(), size, read);
    }

    /// A file is not followed any longer; its position is forgotten when everything of it is settled.
    pub(super) fn leave(&mut self, slot: u64) -> Result<(), Ended> {
        // Entries are opened when a batch is sent: before that nobody would wait for them.
        if !self.outlet.try_flush()? {
            self.is_blocked = true;
            return Ok(());
        }
        let Some(source) = self.detach(slot) else {
            return Ok(());
        };
        tracing::debug!(input = %self.name, file = %source.path.display(), "the file is read to its end and left");
        let waits = self.waiting.values().any(|copy| copy.slot == Some(slot));
        let is_deleted = matches!(source.standing, Standing::Deleted { .. });
        let may_be_packed =
            || is_deleted && source.packed.is_none() && self.was_packed_unseen(&source);
        // Of what nothing was read any file that comes later might be the copy.
        if source.at() > 0 && (waits || may_be_packed()) {
            // Its position stays until it is known which of these files goes on with it: a stop may come before that.
            let size = source.seen.max(source.size());
            self.remember(Past::deleted(&source, size));
            self.must_walk = true;
            return Ok(());
        }
        self.must_walk |= waits;
        self.facts.leave(source.id);
        let size = source.seen.max(source.size());
        self.remember(Past::ended(&source, size));
        Ok(())
    }

    /// Takes a file out of everything that leads to it; its ledger stays.
    pub(super) fn detach(&mut self, slot: u64) -> Option<Source> {
        self.awake.sleep(slot);
        let source = self.sources.remove(&slot)?;
        self.open -= u64::from(source.file.is_some());
        self.unread -= source.counted;
        if source
            .packed
            .as_ref()
            .is_some_and(|packed| packed.unpacked.is_some())
        {
            self.free_seat();
        }
        let id = (source.look.id.dev, source.look.id.inode);
        if self.by_id.get(&id) == Some(&slot) {
            self.by_id.remove(&id);
        }
        self.names.retain(|_, known| known.slot != slot);
        Some(*source)
    }

    /// Reading failed: said once, tried again at every sweep.
    pub(super) fn cannot_read(&mut self, slot: u64, error: &io::Error) -> Result<(), Ended> {
        if let Some(fault) = Fault::of(error) {
            self.cannot_unpack(slot, fault);
            return Ok(());
        }
        self.mind_descriptors(error);
        if let Some(source) = self.sources.get_mut(&slot) {
            source.pace.idle = true;
            self.troubles.cannot_read(&source.path, error, self.sweeps);
        }
        Ok(())
    }
}
