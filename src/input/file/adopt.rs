//! Beginning to follow a file: where it is begun, and under which position.
//!
//! A file that has a saved position by its evidence goes on there; another one begins at its start, or where `start_at` says if it was there
//! before the input ever ran.
//!
//! Invariant: no saved position is used for a file that only shares the name or the inode.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::beside::Beside;
use super::copies::Past;
use super::discover::{Name, is_absent};
use super::facts::Fact;
use super::identity::{Found, Verdict, judge};
use super::look::{Kind, Look, is_shared, open};
use super::rotate::Standing;
use super::settings::StartAt;
use super::tail::{Source, end_of_lines};
use super::unpack::{MAGIC, Packing, packed_name};
use super::{Follower, fact};
use crate::checkpoint::{Entry, FileKey, Print};
use crate::flow::{Origin, SourceId};
use crate::input::Position;
use crate::input::outlet::Ended;

impl Follower {
    /// Follows the file at `path`: from its saved position, or as a new one. Without a name it was found beside the patterns.
    pub(super) fn adopt(&mut self, path: PathBuf, name: Option<Name>) -> Result<(), Ended> {
        self.adopt_as(path, name, None)
    }

    /// As [`Follower::adopt`]. `beside`: only if it is compressed.
    pub(super) fn adopt_as(
        &mut self,
        path: PathBuf,
        name: Option<Name>,
        beside: Option<Beside>,
    ) -> Result<(), Ended> {
        let opened = open(&path).and_then(|file| Ok((Look::of(&file)?, file)));
        let (look, file) = match opened {
            Ok(opened) => opened,
            Err(error) if is_absent(&error) => return Ok(()),
            Err(error) => {
                self.cannot_adopt(path, &error);
                return Ok(());
            }
        };
        // Between the listing and the opening the name may have come to lead elsewhere.
        if look.kind != Kind::File || beside.is_some_and(|it| !it.id.is_same(&look.id)) {
            return Ok(());
        }
        let is_later = beside.is_some_and(|it| it.is_later);
        if let Some(slot) = self.slot_of(&look.id) {
            if let Some(name) = name {
                self.learn_name(path.into(), name, slot);
            }
            if is_later {
                self.want(slot);
            }
            return Ok(());
        }
        if name.is_some() && self.is_old(&path, &look) && !self.is_saved(&path, &look, &file) {
            self.ignored += 1;
            return Ok(());
        }
        if name.is_some()
            && let Some(before) = self.predecessors.get(&path).copied()
        {
            let starved = self.starved;
            if !before.is_same(&look.id) {
                self.adopt_between(&path, &before, &look.id)?;
            }
            if self.starved != starved {
                // Some may have been passed over; the next walk comes here again.
                return Ok(());
            }
            self.predecessors.remove(&path);
        }
        self.look_at_originals(&path)?;
        // Then it may be followed already, as the copy that it is.
        if let Some(slot) = self.slot_of(&look.id) {
            self.must_walk |= name.is_some();
            if is_later {
                self.want(slot);
            }
            return Ok(());
        }
        let mut first = [0; MAGIC];
        let got = match file.read_at(&mut first, 0) {
            Ok(got) => got,
            Err(error) => {
                self.cannot_adopt(path, &error);
                return Ok(());
            }
        };
        if let Some(packing) = Packing::of(&first[..got]) {
            self.adopt_packed(path, name, look, file, packing, is_later);
            return Ok(());
        }
        if packed_name(&path).is_some() && Packing::is_open(&first[..got]) {
            // It is being written.
            if let Some(name) = name {
                self.wait_for(path, name, look, None);
            }
            return Ok(());
        }
        if beside.is_some() {
            return Ok(());
        }
        let start = match self.start_of(&path, name, &look, &file) {
            Ok(Some(start)) => start,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.cannot_adopt(path, &error);
                return Ok(());
            }
        };
        self.follow_from(path, name, look, file, start);
        Ok(())
    }

    /// Follows a file from where it is begun.
    pub(super) fn follow_from(
        &mut self,
        path: PathBuf,
        name: Option<Name>,
        look: Look,
        file: File,
        start: Start,
    ) {
        let now = Instant::now();
        let id = start.id;
        let shared: Arc<Path> = path.as_path().into();
        let mut source = Source::new(id, origin(&self.name, &shared), shared, look, now);
        if (start.position.offset > 0 || start.position.inside_line)
            && let Err(error) = source.seek(&start.position, &file)
        {
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) {
                // It was rewritten since it was judged; the next walk does that anew.
                self.must_walk = true;
                return;
            }
            return self.cannot_adopt(path, &error);
        }
        self.troubles.over(&path);
        if let Some(entry) = self.saved.take(FileKey(id.0))
            && entry.offset == 0
        {
            // It was saved a moment after it was found.
            const MOMENT: i64 = 1000;
            source.began = (entry.updated - MOMENT).saturating_mul(1_000_000);
        }
        if name.is_none() {
            source.standing = Standing::Named.out_of_sight(look.links, now);
        }
        if look.is_older_than(self.timing.idle_after) {
            source.pace.was_quiet(&self.timing);
        }
        source.is_shared = is_shared(&file);
        source.end = self.once.then_some(look.size);
        source.file = Some(file);
        source.sweep = self.sweeps;
        self.open += 1;
        self.followed += 1;
        let fact = Fact {
            ceiling: start.ceiling.map(Box::new),
            ..fact(&source)
        };
        if start.is_open {
            self.facts.goes_on_in(id, fact);
        } else {
            self.outlet.tracker().add(id, source.position());
            self.facts.add(id, fact, start.save);
        }
        self.insert(source, name);
    }

    pub(super) fn insert(&mut self, source: Source, name: Option<Name>) {
        let slot = self.next_slot;
        self.next_slot += 1;
        let id = source.look.id;
        self.by_id.insert((id.dev, id.inode), slot);
        let path = source.path.clone();
        self.sources.insert(slot, Box::new(source));
        self.awake.wake(slot);
        if let Some(name) = name {
            self.waiting.remove(&*path);
            self.learn_name(path, name, slot);
        }
        self.account(slot);
        self.wake(slot);
        if self.open > self.most_open {
            // What is closed is opened again when it is its turn.
            self.close_some(slot);
        }
    }

    /// Whether a file is not read if it has no saved position. What the very first start passes over has to be followed to be known.
    pub(super) fn is_old(&self, path: &Path, look: &Look) -> bool {
        let existed = self.first_start || self.late.contains(path);
        let is_passed_over = existed && self.settings.start_at == StartAt::End;
        let age = self.settings.ignore_older;
        !is_passed_over && age.is_some_and(|age| look.was_written_before(age))
    }

    /// Whether a file has a saved position, be it one of other content.
    fn is_saved(&self, path: &Path, look: &Look, file: &File) -> bool {
        let found = Found {
            path,
            id: look.id,
            size: look.size,
        };
        let candidates = self.saved.candidates(path, look.id.inode);
        candidates.iter().any(|(_, entry)| {
            judge(entry, &found, |at, len| content(file, at, len)) != Verdict::Other
        })
    }

    /// Where a file is begun; `None` when it waits, because what it holds is read elsewhere.
    fn start_of(
        &mut self,
        path: &Path,
        name: Option<Name>,
        look: &Look,
        file: &File,
    ) -> io::Result<Option<Start>> {
        let found = Found {
            path,
            id: look.id,
            size: look.size,
        };
        let mut rewritten = Vec::new();
        let mut same = None;
        for (key, entry) in self.saved.candidates(path, look.id.inode) {
            match judge(entry, &found, |at, len| content(file, at, len)) {
                Verdict::Continue if same.is_none() => same = Some(key),
                // An older generation of the same file.
                Verdict::Continue | Verdict::Rewritten => rewritten.push(key),
                Verdict::Other => {}
            }
        }
        for key in rewritten {
            // Its content may stand in a copy.
            if let Some(entry) = self.saved.take(key) {
                self.remember(Past::of_saved(key, &entry));
            }
        }
        if let Some((key, entry)) = same.and_then(|key| Some((key, self.saved.get(key)?))) {
            return Ok(Some(Start {
                id: SourceId(key.0),
                position: position(entry),
                ceiling: None,
                is_open: false,
                save: *entry.path != *path || entry.dev != look.id.dev,
            }));
        }
        if let Some(start) = self.copied_start(path, look, file) {
            tracing::info!(
                input = %self.name, file = %path.display(), read = start.position.offset,
                "the file is a copy of one that was read; it is read on from there"
            );
            return Ok(Some(start));
        }
        if self.waits_as_copy(path, name, look, file) {
            return Ok(None);
        }
        let mut position = Position::default();
        let existed = self.first_start || self.late.remove(path);
        if existed && self.settings.start_at == StartAt::End {
            let longest = self.framers.expected().lookahead();
            (position.offset, position.inside_line) =
                end_of_lines(file, look.size, longest, &self.framers)?;
        }
        Ok(Some(Start {
            id: self.new_id(),
            position,
            ceiling: None,
            is_open: false,
            save: true,
        }))
    }

    /// A name that is looked for leads to something that cannot be read now.
    pub(super) fn cannot_adopt(&mut self, path: PathBuf, error: &io::Error) {
        self.not_now(&path, error);
        if self.first_start {
            self.late.insert(path.clone());
        }
        self.unreadable.insert(path);
    }
}

/// Where a file is begun, and what it is called in the ledgers.
pub(super) struct Start {
    pub(super) id: SourceId,
    pub(super) position: Position,
    /// As [`Fact::ceiling`].
    pub(super) ceiling: Option<(u64, Option<Print>)>,
    /// Its ledger is open already.
    pub(super) is_open: bool,
    /// It has to be saved before anything of it is settled.
    pub(super) save: bool,
}

pub(super) fn position(entry: &Entry) -> Position {
    Position {
        offset: entry.offset,
        inside_line: entry.inside_line,
        skip: entry.skip,
        tail: entry.tail,
        half: entry.half,
    }
}

pub(super) fn origin(input: &Arc<str>, path: &Arc<Path>) -> Arc<Origin> {
    Arc::new(Origin {
        input: input.clone(),
        path: Some(path.clone()),
    })
}

/// The CRC-32 of `len` bytes at `at`; `None` when they are not all there.
pub(super) fn content(file: &File, at: u64, len: u32) -> Option<u32> {
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(crc32fast::hash(&bytes))
}
