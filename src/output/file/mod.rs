//! The output `file`: records of topics in files, each once, durable before its offset is committed.
//!
//! ```text
//! pipe ─► writer ── path: which file ── codec: which bytes ─► files: buffers, descriptors, fdatasync
//!            │                                                     │
//!            └─ receipts settled ◄─ journal: lengths and offsets ◄─┘      recover: at start, back to the journal
//! ```
//!
//! Reading order: `writer` (the order of a sync), `files`, `chunks`, `journal`, `recover`, `rotate`, `path`. `confined` is the disk that data cannot lead out
//! of the output's folder.
//!
//! Invariant: what is settled is durable and in the journal. A file that cannot be written pauses its output, and only that one: it takes
//! nothing more from the pipe, keeps what it has, says so once, tries again, and goes on by itself.

pub mod chunks;
pub mod confined;
mod deciding;
pub mod entry;
pub mod files;
pub mod folder;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod journal;
pub mod pack;
pub mod path;
pub mod places;
pub mod recover;
pub mod repair;
pub mod resume;
pub mod retain;
pub mod rotate;
pub mod settings;
pub mod trouble;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::files::{Files, Names};
use self::journal::{Journal, JournalError};
use self::pack::Packer;
use self::path::PathMaker;
use self::rotate::{Clock, Naming, Rotation};
use self::settings::{Delivery, FileOutputSettings};
use self::trouble::{Fault, Trouble};
use self::writer::{Parts, Refuse, Writer};
use super::books::OutputBooks;
use super::codec::Codec;
use crate::disk::Disk;
use crate::flow::{
    Backoff, Bell, Call, Durable, Fetched, Listener, Received, Receiver, Ring, Stop,
};
use crate::template::{PathPart, PathTemplate};
use crate::value::zone;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long the writer sleeps when nothing waits; whatever comes rings.
const IDLE: Duration = Duration::from_secs(3600);
/// What a window may have beyond twice `sync.bytes`: the batch that passed the limit, in bytes of the files.
const BATCH_SLACK: u64 = 64 * 1024 * 1024;

/// What an output is made of.
pub struct Setup {
    /// The output's name: of its journal, and in the log.
    pub name: String,
    pub settings: FileOutputSettings,
    /// `settings.path`, parsed, with everything filled in that is the same for all records.
    pub template: PathTemplate,
    pub data_dir: PathBuf,
    /// Where the journal is.
    pub disk: Arc<dyn Disk>,
    /// Where the files are: a [`confined::ConfinedDisk`] of the template's literal folder.
    pub files: Arc<dyn Disk>,
    pub refuse: Refuse,
    pub books: Arc<OutputBooks>,
    /// When the batches that wait for a sync have taken this many bytes from the budget, they are synced at once: well below what the
    /// pipeline can be sure of, or its consumer would stand still until the next sync.
    pub hold: u64,
    pub clock: Clock,
    /// Files are to be closed, and opened again by their names.
    pub reopen: Call,
}

/// An output that is ready to run.
pub struct FileOutput {
    name: String,
    settings: FileOutputSettings,
    folder: PathBuf,
    files: Arc<dyn Disk>,
    books: Arc<OutputBooks>,
    hold: u64,
    clock: Clock,
    rotation: Rotation,
    /// When retention is looked at next, in milliseconds since 1970.
    retain_at: i64,
    /// Retention does not succeed, and that was said.
    retain_failed: bool,
    reopen: Call,
    listener: Option<Listener>,
    /// Files that Kafka keeps lengths of, and that are not written any more: it is to forget them before others have their names.
    untold: Vec<PathBuf>,
    writer: Writer,
    durable: Arc<dyn Durable>,
}

/// Where an output's journal is.
pub fn journal_path(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("outputs").join(format!("{name}.journal"))
}

impl FileOutput {
    /// Opens the journal. Files are not looked at before [`run`].
    ///
    /// # Errors
    /// When the journal cannot be opened or is damaged; then this output does not start.
    pub fn open(setup: Setup) -> Result<Self, JournalError> {
        let path = journal_path(&setup.data_dir, &setup.name);
        let refused = |why: String| JournalError::Settings {
            output: setup.name.clone(),
            why,
        };
        let zone = zone(&setup.settings.time_zone).map_err(refused)?;
        let codec = Codec::new(&setup.settings.format, &zone)
            .map_err(|error| refused(error.to_string()))?;
        let template = setup.template.in_zone(zone);
        let packer =
            Packer::new(setup.settings.compression).map_err(|error| refused(error.to_string()))?;
        let mut journal = Journal::open(setup.disk, &path, &now())?;
        let durable: Arc<dyn Durable> = journal.places().clone();
        if setup.settings.delivery == Delivery::AtLeastOnce && journal.exactly().is_some() {
            return Err(JournalError::Undecided {
                path,
                output: setup.name,
            });
        }
        let rotate = setup.settings.rotate;
        if rotate.is_on() {
            let allowed = journal.allow_finishing();
            allowed.map_err(|error| JournalError::Io { path, error })?;
        }
        if setup.settings.retention.is_on() {
            journal.keep_finished();
        }
        let folder = PathBuf::from(template.literal_folder());
        let ending = setup.settings.compression.codec.ending();
        let suffix = setup.settings.suffix().to_owned();
        let uses = |part| template.uses(part);
        // A path that says it itself is not told twice.
        let written = match template.ends_with(ending) {
            true => "",
            false => ending,
        };
        let naming = rotate.is_on().then(|| Naming {
            by_offset: uses(PathPart::Topic) && uses(PathPart::Partition),
            suffix: suffix.clone(),
            ending: ending.to_owned(),
            clock: setup.clock.clone(),
        });
        let tag = if rotate.is_on() {
            rotate::LONGEST_TAG
        } else {
            0
        };
        let paths = PathMaker::new(template, ending.len() + suffix.len().max(tag));
        let files = Files::new(
            setup.files.clone(),
            &folder,
            setup.settings.mode,
            setup.settings.max_open_files,
            paths.by_data(),
            Names {
                suffix: written.to_owned() + &suffix,
                naming,
                packer,
                strict: setup.settings.delivery != Delivery::AtLeastOnce,
            },
        );
        let writer = Writer::new(Parts {
            journal,
            files,
            paths,
            codec,
            on_refused: setup.settings.on_refused,
            refuse: setup.refuse,
            books: setup.books.clone(),
            full_size: rotate.size,
        });
        Ok(Self {
            name: setup.name,
            settings: setup.settings,
            folder,
            files: setup.files,
            books: setup.books,
            hold: setup.hold,
            clock: setup.clock,
            rotation: Rotation::new(rotate),
            retain_at: i64::MIN,
            retain_failed: false,
            reopen: setup.reopen,
            listener: None,
            untold: Vec::new(),
            writer,
            durable,
        })
    }

    /// What the consumer asks where partitions begin.
    pub fn durable(&self) -> Arc<dyn Durable> {
        self.durable.clone()
    }

    /// How many bytes a window can have, over all files.
    fn longest(&self) -> u64 {
        let longest = self.settings.sync.bytes.saturating_mul(2);
        longest.saturating_add(BATCH_SLACK)
    }

    /// Brings the files to what the journal says.
    fn recover(&mut self) -> Result<(), Trouble> {
        let longest = self.longest();
        rotate::name_all(&*self.files, self.writer.journal())?;
        let found = recover::recover(
            &*self.files,
            self.writer.journal(),
            longest,
            recover::Trust::Journal,
            &now(),
        )?;
        self.tell(&found);
        Ok(())
    }

    fn tell(&self, found: &recover::Findings) {
        self.books.change(|entries| {
            entries.missing_files += found.missing_files;
            entries.cut_bytes += found.cut_bytes;
            entries.moved_tails += found.moved_tails;
        });
    }

    /// How long until the window must be synced: zero when it is due, nothing when there is none.
    fn until_due(&self) -> Option<Duration> {
        let since = self.writer.since()?;
        let full = self.writer.window_bytes() >= self.settings.sync.bytes
            || self.writer.charged() >= self.hold
            || self.writer.is_full();
        if full {
            return Some(Duration::ZERO);
        }
        Some(self.settings.sync.every.saturating_sub(since.elapsed()))
    }

    /// How long there is nothing to do unless the bell rings.
    fn rest(&self) -> Duration {
        let boundary = self.rotation.until_due((self.clock)());
        let due = self.until_due().unwrap_or(IDLE);
        let due = boundary.map_or(due, |boundary| boundary.min(due));
        match self.settings.retention.age {
            Some(_) => due.min(retain::LOOK),
            None => due,
        }
    }

    /// The bell is rung by calls to open files again, too.
    fn listen(&mut self, bell: &Arc<dyn Ring>) {
        self.listener = Some(self.reopen.listen(bell));
    }

    fn is_called(&self) -> bool {
        self.listener.as_ref().is_some_and(Listener::is_called)
    }

    /// What is done with files between two windows.
    fn between(&mut self) -> Result<(), Trouble> {
        self.rotate()?;
        if self.is_called() {
            self.listener.iter_mut().for_each(Listener::done);
            self.writer.close_files();
            tracing::info!(
                output = self.name,
                "all files are closed; each is opened by its name when it is written again"
            );
        }
        self.retain();
        Ok(())
    }

    /// Removes finished files that are too old or too many. When that fails it is tried again, and holds nothing up.
    fn retain(&mut self) {
        let (retention, now) = (self.settings.retention, (self.clock)());
        if !retention.is_on() || now < self.retain_at {
            return;
        }
        self.retain_at = now.saturating_add(retain::LOOK.as_millis() as i64);
        match retain::retain(&*self.files, self.writer.journal(), retention, now) {
            Ok(removed) => {
                self.retain_failed = false;
                if removed.more {
                    self.retain_at = now;
                }
                if removed.files > 0 {
                    tracing::info!(
                        output = self.name,
                        files = removed.files,
                        bytes = removed.bytes,
                        "removed finished files, as `retention` says"
                    );
                    self.books
                        .change(|entries| entries.removed_files += removed.files);
                }
            }
            Err(trouble) if !std::mem::replace(&mut self.retain_failed, true) => {
                tracing::error!(output = self.name, error = %trouble, "finished files cannot be removed; it is tried again every minute");
            }
            Err(_) => {}
        }
    }

    /// Whether files may have to be finished.
    fn is_rotation_due(&self) -> bool {
        self.rotation.is_due((self.clock)())
    }

    /// Finishes what is to be finished, between two windows.
    fn rotate(&mut self) -> Result<(), Trouble> {
        let now = (self.clock)();
        if self.writer.take_full() {
            self.rotation.look();
        }
        if !self.rotation.is_due(now) {
            return Ok(());
        }
        let journal = self.writer.journal();
        let free = self.rotation.rotate(&*self.files, journal, now)?;
        if !free.is_empty() {
            self.writer.let_go(&free);
            self.retain_at = i64::MIN;
            self.books
                .change(|entries| entries.finished_files += free.len() as u64);
            if self.settings.delivery != Delivery::AtLeastOnce {
                self.untold.extend(free);
            }
        }
        Ok(())
    }
}

/// The same as [`run`] where records and offsets are one transaction: what is durable is proposed, and settled when it counts.
pub use deciding::run_exactly_once;

/// Writes what comes through `from` until it is closed (everything is then durable and settled) or `stop` is hard. `bell` is the one that
/// the pipe rings for its receiver. Blocks; for a thread of its own.
pub fn run(mut output: FileOutput, from: &Receiver<Fetched>, bell: &Arc<Bell>, stop: &Stop) {
    let ring: Arc<dyn Ring> = bell.clone();
    stop.rings(&ring);
    output.listen(&ring);
    let mut pause = Pause::new(&output);
    let mut recovered = false;
    let mut sync_now = false;
    let mut closed = false;
    while !stop.is_hard() {
        let result = if recovered {
            step(&mut output, sync_now || closed)
        } else {
            output.recover().map(|()| Step::Synced).map_err(Fault::from)
        };
        match result {
            Ok(step) => {
                recovered = true;
                if step == Step::Synced {
                    pause.over();
                }
                // Nothing waits when a sync was asked for and made, or when there was nothing to be synced.
                if output.writer.is_empty() {
                    sync_now = false;
                    if closed {
                        return;
                    }
                }
            }
            Err(Fault::Refused) => continue,
            Err(Fault::Trouble(trouble)) => {
                pause.wait(&trouble, bell, stop);
                continue;
            }
        }
        match from.try_recv() {
            Received::Item(Fetched::Records {
                records,
                receipt,
                charge,
            }) => output.writer.take(records, receipt, Some(charge)),
            Received::Item(Fetched::Flush) => sync_now = true,
            Received::Closed => closed = true,
            Received::Empty => {
                bell.wait(output.rest());
            }
        }
    }
    let mut left = output.writer.forgo();
    while let Received::Item(fetched) = from.try_recv() {
        if let Fetched::Records {
            records, receipt, ..
        } = fetched
        {
            left += records.len();
            receipt.forgo();
        }
    }
    if left > 0 {
        tracing::warn!(
            output = output.name,
            records = left,
            "stopped at once; what was not made durable is consumed again at the next start"
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Idle,
    /// The files are as they should be.
    Synced,
}

fn step(output: &mut FileOutput, sync_now: bool) -> Result<Step, Fault> {
    if output.writer.is_empty() {
        output.between()?;
    }
    output.writer.begin_again()?;
    output.writer.encode()?;
    let due = output.until_due().is_some_and(|left| left.is_zero());
    if sync_now || due || output.is_rotation_due() || output.is_called() {
        output.writer.sync()?;
        output.between()?;
        return Ok(Step::Synced);
    }
    Ok(Step::Idle)
}

/// What an output does while something is wrong: waits longer and longer, and says so once.
struct Pause {
    name: String,
    books: Arc<OutputBooks>,
    backoff: Backoff,
    /// What was said last.
    said: Option<(&'static str, io::ErrorKind)>,
}

impl Pause {
    fn new(output: &FileOutput) -> Self {
        Self {
            name: output.name.clone(),
            books: output.books.clone(),
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            said: None,
        }
    }

    fn wait(&mut self, trouble: &Trouble, bell: &Bell, stop: &Stop) {
        let kind = (trouble.doing, trouble.error.kind());
        if self.said.replace(kind) != Some(kind) {
            tracing::error!(output = self.name, error = %trouble, "the output pauses; nothing is lost, and it is tried again");
        }
        self.books
            .change(|entries| entries.paused = Some(trouble.to_string()));
        let until = Instant::now() + self.backoff.delay();
        while !stop.is_hard() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            bell.wait(left);
        }
    }

    fn over(&mut self) {
        if self.said.take().is_some() {
            tracing::info!(output = self.name, "the output goes on");
            self.backoff.reset();
            self.books.change(|entries| entries.paused = None);
        }
    }
}

/// The clock of this machine.
pub fn wall_clock() -> Clock {
    Arc::new(|| jiff::Timestamp::now().as_millisecond())
}

/// The time as part of a file's name.
pub fn now() -> String {
    jiff::Timestamp::now()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}
