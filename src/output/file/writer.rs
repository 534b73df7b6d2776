//! Turns consumed records into durable bytes, and settles their receipts.
//!
//! Batches are held from when they come until the sync that covers them: that is the window. As soon as a batch is encoded and none of its
//! records can be refused any more it is *released*: its records are dropped while they are still in the processor's cache, and the files
//! keep its encoded bytes. Batches are released in order. A sync does, in exactly this order:
//!
//! 1. (before the first byte into a file that the journal does not know) an intent record in the journal, fdatasynced;
//! 2. the buffers are written;
//! 3. every changed file is fdatasynced;
//! 4. the folders of new files are fsynced;
//! 5. one journal record for the whole output, files and offsets, is fdatasynced;
//! 6. the receipts are settled, and only then may the consumer commit.
//!
//! Invariant: whatever fails before 6, nothing of the window is settled. The journal is repaired first, then the files are cut back to what
//! the journal knows (through new handles: a failed fdatasync is never tried again on the same one), what was released is written again from
//! the bytes that were kept, and the rest of the window is encoded again from the records that are still held.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chunks::FULL;
use super::entry::{FileLine, PlaceLine};
use super::files::Files;
use super::journal::Journal;
use super::path::PathMaker;
use super::settings::OnRefused;
use super::trouble::{Fault, Refusal, Trouble};
use crate::flow::{
    Charge, Consumed, Count, EntryId, Outcome, Receipt, RecordView, SourceId, Stamp,
};
use crate::output::books::OutputBooks;
use crate::output::codec::Codec;

/// When all buffers together hold this much, in bytes, they are written.
const MOST_BUFFERED: u64 = 32 * 1024 * 1024;
/// When so many bytes were encoded since the last release, new files are opened for the next one.
const MOST_UNRELEASED: u64 = 1024 * 1024;
/// No record of the lane in the window.
const NONE: i64 = i64::MIN;

/// A record that cannot be written.
pub struct Refused<'a> {
    pub records: &'a dyn Consumed,
    pub index: usize,
    pub reason: Refusal,
}

/// Sets a record aside, durably: when this returns `Ok`, its offset may be committed. Called once per record and process.
pub type Refuse = Box<dyn FnMut(Refused<'_>) -> io::Result<()> + Send>;

/// What the writer is made of.
pub struct Parts {
    pub journal: Journal,
    pub files: Files,
    pub paths: PathMaker,
    pub codec: Codec,
    /// Asked when records are set aside.
    pub refuse: Refuse,
    pub on_refused: OnRefused,
    pub books: Arc<OutputBooks>,
    /// At which size a file is finished, in bytes.
    pub full_size: Option<u64>,
}

/// The writer of one output.
pub struct Writer {
    parts: Parts,
    held: Vec<Held>,
    /// Which of `held` is encoded next.
    next: usize,
    /// How many of `held` are released.
    released: usize,
    /// What the window was when they were.
    point: Point,
    /// By lane: the offset after the last record of the window.
    ends: Vec<i64>,
    /// Lanes that have records in the window.
    lanes: Vec<usize>,
    tally: Tally,
    charged: u64,
    since: Option<Instant>,
    failed: bool,
    /// Whether some file has reached the size at which it is finished.
    full: bool,
    /// How long it took to make durable what waits for its transaction.
    preparing: Duration,
}

/// What is durable, and counts when a transaction does.
pub struct Prepared {
    pub files: Vec<FileLine>,
    pub entries: Vec<(SourceId, EntryId)>,
}

/// A batch of the window.
struct Held {
    /// Absent when released.
    records: Option<Box<dyn Consumed>>,
    receipt: Receipt,
    charge: Option<Charge>,
    /// What it counts for, as soon as it was encoded once.
    count: Count,
    counted: bool,
    refused_count: Count,
    /// Which records were set aside already, in order, when the window is encoded again.
    refused: Vec<usize>,
    /// Bytes in the files, as soon as it was encoded.
    encoded: u64,
}

/// Where the window is taken back to.
#[derive(Default)]
struct Point {
    /// Lanes and their ends.
    ends: Vec<(usize, i64)>,
    tally: Tally,
}

/// What was encoded in the window.
#[derive(Clone, Copy, Default)]
struct Tally {
    file_bytes: u64,
    nulls: u64,
    buffered: u64,
}

impl Writer {
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            held: Vec::new(),
            next: 0,
            released: 0,
            point: Point::default(),
            ends: Vec::new(),
            lanes: Vec::new(),
            tally: Tally::default(),
            charged: 0,
            since: None,
            failed: false,
            full: false,
            preparing: Duration::ZERO,
        }
    }

    pub fn journal(&mut self) -> &mut Journal {
        &mut self.parts.journal
    }

    /// Closes all files, between two windows.
    pub fn close_files(&mut self) {
        self.parts.files.close();
        self.parts.books.change(|entries| entries.open_files = 0);
    }

    /// These names are free again: what has them next is another file.
    pub fn let_go(&mut self, paths: &[PathBuf]) {
        self.parts.files.let_go(paths);
    }

    /// Takes a batch into the window. [`Writer::encode`] does the work.
    pub fn take(&mut self, records: Box<dyn Consumed>, receipt: Receipt, charge: Option<Charge>) {
        self.since.get_or_insert_with(Instant::now);
        self.charged += charge.as_ref().map_or(0, Charge::bytes);
        self.held.push(Held {
            records: Some(records),
            receipt,
            charge,
            count: Count::default(),
            counted: false,
            refused_count: Count::default(),
            refused: Vec::new(),
            encoded: 0,
        });
    }

    /// Nothing waits for a sync.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the oldest batch of the window came.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Some file has reached the size at which it is finished.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// The same, told once.
    pub fn take_full(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    /// Bytes of the window, as they are in the files.
    pub fn window_bytes(&self) -> u64 {
        self.tally.file_bytes
    }

    /// What the held batches have taken from the budget, in bytes; for released ones that is what their encoded bytes take.
    pub fn charged(&self) -> u64 {
        self.charged
    }

    /// Encodes what was taken, and writes full buffers.
    ///
    /// # Errors
    /// Then [`Writer::begin_again`] comes first.
    pub fn encode(&mut self) -> Result<(), Fault> {
        while self.next < self.held.len() {
            if let Err(fault) = self.encode_batch() {
                self.failed = true;
                return Err(fault);
            }
            self.next += 1;
            self.release();
            let size = self.parts.full_size;
            self.full |= size.is_some_and(|size| self.parts.files.have_reached(size));
        }
        let unreleased = self.tally.file_bytes - self.point.tally.file_bytes;
        if self.released < self.next && unreleased > MOST_UNRELEASED {
            let prepared = self.parts.files.prepare(&mut self.parts.journal);
            self.failed |= prepared.is_err();
            prepared?;
            self.release();
        }
        if self.tally.buffered > MOST_BUFFERED && !self.parts.files.waits_for_sync() {
            return self.write_buffers();
        }
        Ok(())
    }

    /// Writes what is buffered, and makes nothing durable.
    ///
    /// # Errors
    /// Then [`Writer::begin_again`] comes first.
    pub fn write_buffers(&mut self) -> Result<(), Fault> {
        self.tally.buffered = 0;
        let written = self.parts.files.write_all(&mut self.parts.journal);
        self.failed |= written.is_err();
        written?;
        self.release();
        Ok(())
    }

    /// Encodes what was taken, makes all of it durable and settles it. The order stands at the top of this file.
    ///
    /// # Errors
    /// Then [`Writer::begin_again`] comes first.
    pub fn sync(&mut self) -> Result<(), Fault> {
        self.encode()?;
        if self.held.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        if let Err(fault) = self.make_durable() {
            self.failed = true;
            return Err(fault);
        }
        self.settle(started.elapsed());
        Ok(())
    }

    /// Gives up what is held, at a hard stop: it is consumed again at the next start. How many records that are.
    pub fn forgo(&mut self) -> usize {
        let mut records = 0;
        for held in self.held.drain(..) {
            // A batch counts its records as lines.
            let released = || held.count.lines as usize;
            records += held.records.as_ref().map_or_else(released, |it| it.len());
            held.receipt.forgo();
        }
        records
    }

    /// After a failure: repairs the journal, takes the window back from the files, and makes it wait to be written or encoded again.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn begin_again(&mut self) -> Result<(), Trouble> {
        if !self.failed {
            return Ok(());
        }
        let journal = &mut self.parts.journal;
        let repaired = journal.repair();
        repaired.map_err(Trouble::with("write the journal", journal.path()))?;
        self.parts.files.cut_back()?;
        self.clear_window();
        for (lane, end) in &self.point.ends {
            self.ends[*lane] = *end;
            self.lanes.push(*lane);
        }
        self.tally = self.point.tally;
        // None of it is in the files now.
        self.tally.buffered = self.tally.file_bytes;
        self.next = self.released;
        self.failed = false;
        self.parts.books.change(|entries| entries.rewinds += 1);
        Ok(())
    }

    /// Drops the records of what was encoded, when the files answer for it from now on.
    fn release(&mut self) {
        if self.released == self.next || !self.parts.files.release() {
            return;
        }
        for held in &mut self.held[self.released..self.next] {
            (held.records, held.refused) = (None, Vec::new());
            if let Some(charge) = &mut held.charge {
                let before = charge.bytes();
                charge.shrink_to(held.encoded);
                self.charged -= before - charge.bytes();
            }
        }
        self.released = self.next;
        self.point.ends.clear();
        let ends = self.lanes.iter().map(|lane| (*lane, self.ends[*lane]));
        self.point.ends.extend(ends);
        self.point.tally = self.tally;
    }

    fn encode_batch(&mut self) -> Result<(), Fault> {
        let Parts {
            journal,
            files,
            paths,
            codec,
            refuse,
            on_refused,
            books,
            ..
        } = &mut self.parts;
        let held = &mut self.held[self.next];
        held.refused_count = Count::default();
        let Some(records) = held.records.as_deref() else {
            return Ok(());
        };
        let mut tally = Tally::default();
        let mut count = Count::default();
        for index in 0..records.len() {
            let record = records.get(index);
            count += count_of(&record);
            let lane = paths.lane(record.topic, record.partition);
            let refusal = match file_of(files, paths, lane, records, index, &record) {
                Ok(file) => match files.buffer(file, record.offset) {
                    Ok(buffer) => {
                        let before = buffer.len();
                        codec.append(records, index, record.value, buffer);
                        tally.file_bytes += (buffer.len() - before) as u64;
                        tally.nulls += u64::from(record.value.is_none());
                        if buffer.len() >= FULL {
                            files.full(file, journal)?;
                        }
                        None
                    }
                    Err(refusal) => Some(refusal),
                },
                Err(refusal) => Some(refusal),
            };
            if let Some(reason) = refusal {
                if let Err(at) = held.refused.binary_search(&index) {
                    match on_refused {
                        OnRefused::DeadLetter => {
                            let set_aside = refuse(Refused {
                                records,
                                index,
                                reason,
                            });
                            set_aside.map_err(Trouble::with(
                                "set aside a record in",
                                Path::new("the dead letters"),
                            ))?;
                        }
                        OnRefused::Stop => return Err(stopped(&record, reason).into()),
                        OnRefused::Drop => {}
                    }
                    held.refused.insert(at, index);
                }
                held.refused_count += count_of(&record);
            }
            if lane >= self.ends.len() {
                self.ends.resize(lane + 1, NONE);
            }
            if self.ends[lane] == NONE {
                self.lanes.push(lane);
            }
            self.ends[lane] = record.offset.saturating_add(1);
        }
        (held.count, held.encoded) = (count, tally.file_bytes);
        if !std::mem::replace(&mut held.counted, true) {
            books.change(|entries| entries.consumed += count);
        }
        self.tally.file_bytes += tally.file_bytes;
        self.tally.buffered += tally.file_bytes;
        if codec.hides_null() {
            self.tally.nulls += tally.nulls;
        }
        Ok(())
    }

    /// Encodes what was taken, makes all of it durable, and tells the journal that it counts when the transaction with this stamp does. Gives
    /// the changed files and all entries; nothing when nothing waits. Until [`Writer::committed`] or [`Writer::void`] nothing is to be taken.
    ///
    /// # Errors
    /// Then [`Writer::begin_again`] comes first.
    pub fn prepare(&mut self, stamp: Stamp) -> Result<Option<Prepared>, Fault> {
        self.encode()?;
        if self.held.is_empty() {
            return Ok(None);
        }
        let started = Instant::now();
        match self.make_prepared(stamp) {
            Ok(files) => {
                self.preparing = started.elapsed();
                let entries = self.held.iter();
                let entries = entries.flat_map(|held| held.receipt.entries().iter().copied());
                Ok(Some(Prepared {
                    files,
                    entries: entries.collect(),
                }))
            }
            Err(fault) => {
                self.failed = true;
                Err(fault)
            }
        }
    }

    /// What was prepared counts: it is settled.
    pub fn committed(&mut self) {
        let Parts {
            journal,
            files,
            paths,
            ..
        } = &mut self.parts;
        journal.committed();
        journal.tidy();
        if files.commit() {
            paths.forget();
        }
        self.settle(self.preparing);
    }

    /// Nothing of the window counts: the files are cut, and everything held is given up.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn void(&mut self) -> Result<(), Trouble> {
        let Parts { journal, files, .. } = &mut self.parts;
        let told = journal.repair().and_then(|()| journal.void());
        told.map_err(Trouble::with("write the journal", journal.path()))?;
        files.void()?;
        let mut gone = Count::default();
        for held in self.held.drain(..) {
            let released = held.count;
            let count = match &held.records {
                Some(records) if !held.counted => (0..records.len())
                    .map(|at| count_of(&records.get(at)))
                    .fold(Count::default(), |mut sum, count| {
                        sum += count;
                        sum
                    }),
                _ => {
                    gone += released;
                    released
                }
            };
            held.receipt.annul(count);
        }
        self.parts.books.change(|entries| entries.consumed -= gone);
        self.end_window();
        self.failed = false;
        Ok(())
    }

    fn make_prepared(&mut self, stamp: Stamp) -> Result<Vec<FileLine>, Fault> {
        let Parts {
            journal,
            files,
            full_size,
            ..
        } = &mut self.parts;
        let changed = files.sync(journal)?;
        self.full |= full_size.is_some_and(|size| files.have_reached(size));
        let written = journal.prepare(stamp, changed.clone());
        written.map_err(Trouble::with("write the journal", journal.path()))?;
        Ok(changed)
    }

    fn make_durable(&mut self) -> Result<(), Fault> {
        let Parts {
            journal,
            files,
            paths,
            full_size,
            ..
        } = &mut self.parts;
        let changed = files.sync(journal)?;
        self.full |= full_size.is_some_and(|size| files.have_reached(size));
        let places = self.lanes.iter().map(|lane| {
            let (topic, partition) = paths.partition_of(*lane);
            PlaceLine {
                topic: topic.to_owned(),
                partition,
                next: self.ends[*lane],
                epoch: -1,
            }
        });
        let written = journal.sync(changed, places.collect());
        written.map_err(Trouble::with("write the journal", journal.path()))?;
        if files.commit() {
            paths.forget();
        }
        Ok(())
    }

    fn settle(&mut self, took: Duration) {
        let (mut written, mut refused) = (Count::default(), Count::default());
        let held: Vec<_> = self.held.drain(..).collect();
        for held in &held {
            refused += held.refused_count;
            written += held.count;
            written -= held.refused_count;
        }
        let (tally, files) = (self.tally, &mut self.parts.files);
        let (grown, open) = (files.grown(), files.open_files());
        let disturbed = files.take_disturbed();
        self.parts.books.change(|entries| {
            entries.written += written;
            entries.refused += refused;
            entries.file_bytes += grown;
            entries.nulls += tally.nulls;
            entries.syncs += 1;
            entries.sync_time += took;
            entries.open_files = open;
            entries.missing_files += disturbed;
        });
        for held in held {
            let mut acked = held.count;
            acked -= held.refused_count;
            let mut outcome = Outcome::acked(acked);
            match self.parts.on_refused {
                OnRefused::Drop if held.refused_count.lines > 0 => {
                    outcome.dropped.push(("path_refused", held.refused_count));
                }
                _ => outcome.dead_lettered = held.refused_count,
            }
            held.receipt.settle(&outcome);
            drop(held.records);
            drop(held.charge);
        }
        self.end_window();
    }

    fn end_window(&mut self) {
        self.clear_window();
        self.point.ends.clear();
        self.point.tally = Tally::default();
        (self.next, self.released, self.charged, self.since) = (0, 0, 0, None);
    }

    fn clear_window(&mut self) {
        for lane in self.lanes.drain(..) {
            self.ends[lane] = NONE;
        }
        self.tally = Tally::default();
    }
}

/// The number of the file that a record belongs to.
#[inline]
fn file_of(
    files: &mut Files,
    paths: &mut PathMaker,
    lane: usize,
    records: &dyn Consumed,
    index: usize,
    record: &RecordView<'_>,
) -> Result<usize, Refusal> {
    if let Some(file) = paths.remembered(lane, record.timestamp_ms) {
        return Ok(file);
    }
    let file = files.at(paths.make(records, index)?);
    paths.remember(lane, record.timestamp_ms, file);
    Ok(file)
}

/// A record that stops the output.
fn stopped(record: &RecordView<'_>, reason: Refusal) -> Trouble {
    let path = format!(
        "a file of topic {}, partition {}, offset {}",
        record.topic, record.partition, record.offset
    );
    let error = std::io::Error::other(format!(
        "{reason}. `on_refused` is `stop`: nothing more is taken; change it to `dead_letter` or `drop`, or the path, and start again"
    ));
    Trouble::with("write to", Path::new(&path))(error)
}

/// What a record counts for: itself, and the bytes of its key and value.
pub fn count_of(record: &RecordView<'_>) -> Count {
    let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    Count {
        lines: 1,
        bytes: bytes as u64,
    }
}
