//! What an output knows of its files and partitions, kept on disk: `data_dir/outputs/NAME.journal`.
//!
//! One record per sync for the whole output. After a crash it says how much of each file was made durable together with which offsets;
//! what stands behind that in a file is cut (see `recover`), and its records are consumed again from the places.
//!
//! Invariants: every entry is fdatasynced before anything builds on it. After a failed append nothing is appended any more: what that
//! append left is unknown, so the whole journal is written anew under its name before the next entry, and before any file is cut.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{
    self, BegunLine, Entry, FORMAT, FileLine, FinishLine, FinishedLine, Header, PLAIN_FORMAT,
    PlaceLine, RemovedLine,
};
use super::places::Places;
use crate::disk::{
    Disk, DiskFile, Open, advice, create_afresh, create_dirs, parent_of, with_suffix,
};
use crate::flow::{Place, Stamp};

/// A journal below this size is not made smaller.
const SMALL: u64 = 1024 * 1024;
/// It is written anew when it is this many times as large as it was when it was new.
const GROWTH: u64 = 4;
/// The files that were changed last are kept when it is written anew. A file that comes again after that gets a new intent.
const KEPT_FILES: usize = 10_000;
const MODE: u32 = 0o640;
const DIR_MODE: u32 = 0o700;

/// What the journal knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: u64,
    /// Durable length, in bytes; for a file that was never synced the length it was found with.
    pub len: u64,
    /// Whether a sync of the output covered it. Then its name is durable too.
    pub synced: bool,
    /// Present when it is to be finished some day.
    pub begun: Option<BegunLine>,
    /// Grows with every entry; tells which files were changed last.
    touched: u64,
}

/// The journal of one output, open.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    id: String,
    /// Bytes that are durable and good.
    len: u64,
    /// Its length when it was new.
    new_len: u64,
    /// What stands behind `len` is unknown, or the name may be another file's.
    broken: bool,
    at_home: bool,
    /// The lowest format that a reader must know.
    format: u32,
    files: HashMap<PathBuf, Known>,
    /// Files that are about to get their other names.
    finishing: Vec<FinishLine>,
    /// Those that have them, oldest first.
    finished: VecDeque<FinishedLine>,
    keeps_finished: bool,
    entries: u64,
    places: Arc<Places>,
    /// Present when transactions decide about lengths.
    exactly: Option<Exactly>,
    line: Vec<u8>,
}

/// What the journal knows of transactions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exactly {
    /// The last one that is known to be committed.
    pub last: Option<Stamp>,
    /// What counts when that transaction is.
    pub prepared: Option<(Stamp, Vec<FileLine>)>,
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("the output {output} cannot do what it is told: {why}")]
    Settings { output: String, why: String },
    #[error("cannot open the output's journal {}: {error}{}", path.display(), advice(error))]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "the output's journal {} is damaged at byte {at}; it was set aside as {}. The output does not start: look at that file, \
         then start again, and the output goes on from the group's offsets (records since the last commit may then stand twice in its files)",
        path.display(), aside.display()
    )]
    Damaged {
        path: PathBuf,
        at: u64,
        aside: PathBuf,
    },
    #[error(
        "the output's journal {} has format {found}, and this version reads up to {FORMAT}: it was written by a newer logferry, use that one",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
    #[error(
        "the files of the output were written with `delivery: exactly_once` ({}), and what stands at their ends is not decided here: run `logferry \
         outputs repair {output}`, which finds it out from Kafka, then start again",
        path.display()
    )]
    Undecided { path: PathBuf, output: String },
}

impl Journal {
    /// Opens the journal at `path`, or makes it. `now`: part of the name under which a damaged one is set aside.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn open(disk: Arc<dyn Disk>, path: &Path, now: &str) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io {
            path: path.to_path_buf(),
            error,
        };
        let bytes = match disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Self::create(disk, path).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        };
        let (at, read) = match entry::read(&bytes) {
            Ok(read) => (0, Some(read)),
            Err(damaged) => (damaged.at, None),
        };
        // A journal gets its name when its first line is durable: one without it was damaged later.
        let Some((header, read)) = read.and_then(|read| match read.entries.first() {
            Some(Entry::Journal(header)) => Some((header.clone(), read)),
            _ => None,
        }) else {
            let aside = with_suffix(path, &format!(".damaged-{now}"));
            disk.rename_new(path, &aside).map_err(failed)?;
            disk.fsync_dir(&parent_of(path)).map_err(failed)?;
            let path = path.to_path_buf();
            return Err(JournalError::Damaged { path, at, aside });
        };
        if header.format > FORMAT {
            return Err(JournalError::Newer {
                path: path.to_path_buf(),
                found: header.format,
            });
        }
        let file = disk.open(path, Open::Existing).map_err(failed)?;
        if read.good < bytes.len() as u64 {
            tracing::info!(
                path = %path.display(),
                bytes = bytes.len() as u64 - read.good,
                "cut the torn end of the journal"
            );
            file.truncate(read.good).map_err(failed)?;
        }
        // Whoever wrote this may have been killed before it was durable. What is read is built on, so now it must be, and its name too.
        file.sync_data().map_err(failed)?;
        disk.fsync_dir(&parent_of(path)).map_err(failed)?;
        let inode = file.metadata().map_err(failed)?.inode;
        let mut journal = Self {
            disk,
            path: path.to_path_buf(),
            file,
            id: header.id.clone(),
            len: read.good,
            new_len: 0,
            broken: false,
            at_home: header.inode == inode,
            format: header.format,
            files: HashMap::new(),
            finishing: Vec::new(),
            finished: VecDeque::new(),
            keeps_finished: false,
            entries: 0,
            places: Arc::new(Places::new(header.id)),
            exactly: None,
            line: Vec::new(),
        };
        for entry in &read.entries {
            journal.learn(entry);
        }
        Ok(journal)
    }

    fn create(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        create_dirs(&*disk, &parent_of(path), DIR_MODE)?;
        let id = random_id()?;
        let files = HashMap::new();
        let places = Arc::new(Places::new(id.clone()));
        let whole = Whole {
            id: &id,
            format: PLAIN_FORMAT,
            files: &files,
            finishing: &[],
            finished: &VecDeque::new(),
            places: &places,
            exactly: None,
        };
        let (file, len) = write_new(&*disk, path, &whole)?;
        Ok(Self {
            disk,
            path: path.to_path_buf(),
            file,
            id,
            len,
            new_len: len,
            broken: false,
            at_home: true,
            format: PLAIN_FORMAT,
            files,
            finishing: Vec::new(),
            finished: VecDeque::new(),
            keeps_finished: false,
            entries: 0,
            places,
            exactly: None,
            line: Vec::new(),
        })
    }

    /// Names this journal in commits.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether this is the file that was written, not a copy that was put back and may be older than the output's files.
    pub fn at_home(&self) -> bool {
        self.at_home
    }

    /// What it knows of a file.
    pub fn known(&self, path: &Path) -> Option<&Known> {
        self.files.get(path)
    }

    /// All files that it knows and that are not finished.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &Known)> {
        self.files
            .iter()
            .map(|(path, known)| (path.as_path(), known))
    }

    /// Files that are finished, and may not have their names yet.
    pub fn finishing(&self) -> &[FinishLine] {
        &self.finishing
    }

    /// Files that have their names, oldest first.
    pub fn finished(&self) -> impl DoubleEndedIterator<Item = &FinishedLine> {
        self.finished.iter()
    }

    /// From now on files are finished: a program that does not know of this may not read the journal.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn allow_finishing(&mut self) -> io::Result<()> {
        if self.format >= FORMAT {
            return Ok(());
        }
        self.format = FORMAT;
        self.rewrite()
    }

    /// These files are about to get their other names. A later word about the same file counts.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else.
    pub fn finish(&mut self, files: Vec<FinishLine>) -> io::Result<()> {
        self.append(&Entry::Finish { files })
    }

    /// Finished files are kept track of however many there are.
    pub fn keep_finished(&mut self) {
        self.keeps_finished = true;
    }

    /// These finished files are gone.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else.
    pub fn removed(&mut self, files: Vec<RemovedLine>) -> io::Result<()> {
        self.append(&Entry::Removed { files })?;
        self.tidy();
        Ok(())
    }

    /// All of [`Journal::finishing`] have their names, durably, but for those at `gone`, which nobody finds any more. Nothing is written: who
    /// reads the journal looks.
    pub fn named(&mut self, gone: &[usize]) {
        for (at, line) in self.finishing.drain(..).enumerate() {
            if !gone.contains(&at) {
                self.finished.push_back(line.into());
            }
        }
    }

    /// How far the partitions are durable.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Whether [`Journal::repair`] has something to do.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Bytes may follow in these files from now on.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else.
    pub fn intend(&mut self, files: Vec<FileLine>) -> io::Result<()> {
        self.append(&Entry::Intent { files })
    }

    /// These files and partitions are durable.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else, and before any file is cut.
    pub fn sync(&mut self, files: Vec<FileLine>, places: Vec<PlaceLine>) -> io::Result<()> {
        self.append(&Entry::Sync { files, places })?;
        // Now no file has bytes that the journal does not cover.
        self.tidy();
        Ok(())
    }

    /// What it knows of transactions; absent while none decides.
    pub fn exactly(&self) -> Option<&Exactly> {
        self.exactly.as_ref()
    }

    /// From now on transactions decide about lengths, or (`None`) not any more. `last` is committed, nothing is prepared, and these are the
    /// lengths of files that were known with others, or not at all.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn settle(&mut self, last: Option<Option<Stamp>>, files: Vec<FileLine>) -> io::Result<()> {
        self.learn_files(&files, true);
        self.exactly = last.map(|last| Exactly {
            last,
            prepared: None,
        });
        self.rewrite()
    }

    /// These files are durable, and count when the transaction with this stamp is committed.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else.
    pub fn prepare(&mut self, stamp: Stamp, files: Vec<FileLine>) -> io::Result<()> {
        self.append(&Entry::Prepare {
            stamp: stamp.into(),
            files,
        })
    }

    /// What was prepared counts. Nothing is written: the next entry says so.
    pub fn committed(&mut self) {
        let prepared = self.exactly.as_mut().and_then(|it| it.prepared.take());
        if let Some((stamp, files)) = prepared {
            self.learn_files(&files, true);
            self.exactly = Some(Exactly {
                last: Some(stamp),
                prepared: None,
            });
        }
    }

    /// What was prepared does not count. Does nothing when nothing was.
    ///
    /// # Errors
    /// Then [`Journal::repair`] comes before anything else.
    pub fn void(&mut self) -> io::Result<()> {
        let prepared = |it: &Exactly| it.prepared.is_some();
        if self.exactly.as_ref().is_some_and(prepared) {
            self.append(&Entry::Void {})?;
        }
        Ok(())
    }

    /// Makes it smaller when it has grown. Only between a commit and the next intent: any file may be forgotten then.
    pub fn tidy(&mut self) {
        if self.len > SMALL && self.len > GROWTH * self.new_len {
            self.drop_oldest();
            // What it says is durable; when this fails, the next entry begins with a repair.
            if let Err(error) = self.rewrite() {
                tracing::warn!(
                    path = %self.path.display(), %error,
                    "the journal could not be made smaller; it is tried again"
                );
            }
        }
    }

    /// Corrects or forgets files, after a look at what really stands on disk.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn correct(&mut self, changes: Vec<(PathBuf, Option<u64>)>) -> io::Result<()> {
        for (path, len) in changes {
            match len {
                None => drop(self.files.remove(&path)),
                Some(len) => {
                    if let Some(known) = self.files.get_mut(&path) {
                        known.len = len;
                    }
                }
            }
        }
        self.rewrite()
    }

    /// Makes the name lead to a journal that holds exactly what is known, after something failed.
    ///
    /// # Errors
    /// Then it is to be done again.
    pub fn repair(&mut self) -> io::Result<()> {
        if self.broken { self.rewrite() } else { Ok(()) }
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        self.repair()?;
        self.line.clear();
        entry.push_line(&mut self.line);
        if self.line.is_empty() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let written = self.file.write_at(&self.line, self.len);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            self.broken = true;
            return Err(error);
        }
        self.len += self.line.len() as u64;
        if self.line.capacity() > 64 * 1024 {
            self.line = Vec::new();
        }
        self.learn(entry);
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        self.broken = true;
        let whole = Whole {
            id: &self.id,
            format: self.format,
            files: &self.files,
            finishing: &self.finishing,
            finished: &self.finished,
            places: &self.places,
            exactly: self.exactly.as_ref(),
        };
        let (file, len) = write_new(&*self.disk, &self.path, &whole)?;
        self.file = file;
        (self.len, self.new_len) = (len, len);
        (self.broken, self.at_home) = (false, true);
        Ok(())
    }

    /// Forgets the files that were changed longest ago, but no unsynced one: its tail is known only by its intent. Where transactions decide,
    /// what the journal does not know does not count, so it forgets nothing.
    fn drop_oldest(&mut self) {
        let surplus = self.finished.len().saturating_sub(KEPT_FILES);
        if !self.keeps_finished {
            self.finished.drain(..surplus);
        }
        if self.exactly.is_some() {
            return;
        }
        let Some(surplus) = self.files.len().checked_sub(KEPT_FILES + 1) else {
            return;
        };
        let mut touched: Vec<u64> = self.files.values().map(|known| known.touched).collect();
        let (_, oldest_kept, _) = touched.select_nth_unstable(surplus + 1);
        let oldest_kept = *oldest_kept;
        self.files
            .retain(|_, known| known.touched >= oldest_kept || !known.synced);
    }

    fn learn(&mut self, entry: &Entry) {
        let (files, synced) = match entry {
            Entry::Journal(_) => return,
            Entry::Exactly { last } => {
                let exactly = self.exactly.get_or_insert_default();
                exactly.last = last.clone().map(Stamp::from);
                return;
            }
            Entry::Prepare { stamp, files } => {
                self.committed();
                let exactly = self.exactly.get_or_insert_default();
                exactly.prepared = Some((stamp.clone().into(), files.clone()));
                return;
            }
            Entry::Void {} => {
                if let Some(exactly) = &mut self.exactly {
                    exactly.prepared = None;
                }
                return;
            }
            Entry::Intent { files } => {
                // A window begins only when the one before it counts.
                self.committed();
                (files, false)
            }
            Entry::Finish { files } => {
                self.committed();
                for line in files {
                    self.finishing.retain(|known| known.id != line.id);
                    let is_same = |known: &Known| known.id == line.id;
                    if self.files.get(&line.path).is_some_and(is_same) {
                        self.files.remove(&line.path);
                    }
                    self.finishing.push(line.clone());
                }
                return;
            }
            Entry::Removed { files } => {
                let is_kept = |path: &Path, id: u64| {
                    !files.iter().any(|line| line.id == id && line.path == path)
                };
                self.finished.retain(|it| is_kept(&it.path, it.id));
                self.finishing.retain(|it| is_kept(&it.to, it.id));
                return;
            }
            Entry::Finished { files } => {
                self.finished.extend(files.iter().cloned());
                return;
            }
            Entry::Sync { files, places } => {
                for line in places {
                    let place = Place {
                        next: line.next,
                        leader_epoch: line.epoch,
                    };
                    self.places.set(&line.topic, line.partition, place);
                }
                (files, true)
            }
        };
        self.learn_files(files, synced);
    }

    fn learn_files(&mut self, files: &[FileLine], synced: bool) {
        for line in files {
            // A name is used again only when the file that had it has its other one.
            if let Some(at) = self.finishing.iter().position(|it| it.path == line.path) {
                let line = self.finishing.remove(at);
                self.finished.push_back(line.into());
            }
            self.entries += 1;
            let mut known = Known {
                id: line.id,
                len: line.len,
                synced,
                begun: line.begun.clone(),
                touched: self.entries,
            };
            match self.files.get_mut(&line.path) {
                Some(file) => {
                    if known.begun.is_none() && file.id == known.id {
                        known.begun = file.begun.take();
                    }
                    *file = known;
                }
                None => drop(self.files.insert(line.path.clone(), known)),
            }
        }
    }
}

/// What a whole journal says.
struct Whole<'a> {
    id: &'a str,
    format: u32,
    files: &'a HashMap<PathBuf, Known>,
    finishing: &'a [FinishLine],
    finished: &'a VecDeque<FinishedLine>,
    places: &'a Places,
    exactly: Option<&'a Exactly>,
}

/// Writes a whole journal under another name, makes it durable, and gives it its name.
fn write_new(
    disk: &dyn Disk,
    path: &Path,
    whole: &Whole<'_>,
) -> io::Result<(Box<dyn DiskFile>, u64)> {
    let (files, places) = (whole.files, whole.places);
    let fresh = with_suffix(path, ".new");
    let file = create_afresh(disk, &fresh, MODE)?;
    let header = Header {
        format: whole.exactly.map_or(whole.format, |_| FORMAT),
        id: whole.id.to_owned(),
        inode: file.metadata()?.inode,
    };
    let mut bytes = Vec::new();
    Entry::Journal(header).push_line(&mut bytes);
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by_key(|(_, known)| known.touched);
    let lines = |synced| -> Vec<FileLine> {
        sorted
            .iter()
            .filter(|(_, known)| known.synced == synced)
            .map(|(path, known)| FileLine {
                path: (*path).clone(),
                id: known.id,
                len: known.len,
                begun: known.begun.clone(),
            })
            .collect()
    };
    let places: Vec<_> = places
        .all()
        .into_iter()
        .map(|(topic, partition, place)| PlaceLine {
            topic,
            partition,
            next: place.next,
            epoch: place.leader_epoch,
        })
        .collect();
    let (synced, intended) = (lines(true), lines(false));
    if !synced.is_empty() || !places.is_empty() {
        let files = synced;
        Entry::Sync { files, places }.push_line(&mut bytes);
    }
    if !intended.is_empty() {
        Entry::Intent { files: intended }.push_line(&mut bytes);
    }
    if !whole.finished.is_empty() {
        let files = whole.finished.iter().cloned().collect();
        Entry::Finished { files }.push_line(&mut bytes);
    }
    if !whole.finishing.is_empty() {
        let files = whole.finishing.to_vec();
        Entry::Finish { files }.push_line(&mut bytes);
    }
    if let Some(Exactly { last, prepared }) = whole.exactly {
        let last = last.clone().map(Into::into);
        Entry::Exactly { last }.push_line(&mut bytes);
        if let Some((stamp, files)) = prepared.clone() {
            let stamp = stamp.into();
            Entry::Prepare { stamp, files }.push_line(&mut bytes);
        }
    }
    file.write_at(&bytes, 0)?;
    file.sync_data()?;
    disk.rename(&fresh, path)?;
    disk.fsync_dir(&parent_of(path))?;
    Ok((file, bytes.len() as u64))
}

/// 128 random bits in hex.
fn random_id() -> io::Result<String> {
    use std::io::Read;
    let mut bits = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::model::ModelDisk;
    use crate::flow::Durable;

    const PATH: &str = "/data/outputs/a.journal";

    fn open(disk: &ModelDisk) -> Result<Journal, JournalError> {
        Journal::open(Arc::new(disk.clone()), Path::new(PATH), "NOW")
    }

    fn file(path: &str, len: u64) -> FileLine {
        FileLine {
            begun: None,
            path: PathBuf::from(path),
            id: 7,
            len,
        }
    }

    fn place(next: i64) -> PlaceLine {
        PlaceLine {
            topic: "web".to_owned(),
            partition: 0,
            next,
            epoch: -1,
        }
    }

    fn next(journal: &Journal) -> Option<i64> {
        Some(journal.places().place("web", 0)?.next)
    }

    #[test]
    fn what_was_said_is_known_after_a_restart() {
        let disk = ModelDisk::new();
        let mut journal = open(&disk).unwrap();
        journal.intend(vec![file("/a", 3)]).unwrap();
        journal.intend(vec![file("/b", 0)]).unwrap();
        journal.sync(vec![file("/a", 9)], vec![place(5)]).unwrap();
        let again = open(&disk.crash(1)).unwrap();
        assert_eq!(again.id(), journal.id());
        assert!(again.at_home());
        let a = again.known(Path::new("/a")).unwrap();
        assert_eq!((a.len, a.synced), (9, true));
        let b = again.known(Path::new("/b")).unwrap();
        assert_eq!((b.len, b.synced), (0, false));
        assert_eq!(next(&again), Some(5));
    }

    #[test]
    fn a_crash_at_any_operation_leaves_the_last_entry_or_the_one_before() {
        for seed in 0..20 {
            for at in 0.. {
                let disk = ModelDisk::new();
                disk.crash_after(at);
                let mut said = None;
                if let Ok(mut journal) = open(&disk) {
                    for next in 1..6 {
                        if journal
                            .sync(vec![file("/a", 9)], vec![place(next)])
                            .is_err()
                        {
                            break;
                        }
                        said = Some(next);
                        if journal.rewrite().is_err() {
                            break;
                        }
                    }
                }
                let disk = disk.crash(seed);
                let known = next(&open(&disk).unwrap());
                assert!(known == said || known == Some(said.unwrap_or(0) + 1));
                if at > 100 {
                    assert_eq!(said, Some(5));
                    break;
                }
            }
        }
    }

    #[test]
    fn a_failed_append_is_repaired_before_the_next_one() {
        use rustix::io::Errno;
        for (error, more) in [(Errno::NOSPC, 0), (Errno::IO, 1)] {
            let disk = ModelDisk::new();
            let mut journal = open(&disk).unwrap();
            journal.sync(vec![], vec![place(1)]).unwrap();
            disk.fail_after(more, 1, error);
            journal.sync(vec![], vec![place(2)]).unwrap_err();
            assert!(journal.is_broken());
            assert_eq!(next(&journal), Some(1));
            journal.sync(vec![], vec![place(3)]).unwrap();
            for seed in 0..20 {
                assert_eq!(next(&open(&disk.crash(seed)).unwrap()), Some(3));
            }
        }
    }

    #[test]
    fn damage_before_good_entries_is_set_aside_and_said() {
        let disk = ModelDisk::new();
        let mut journal = open(&disk).unwrap();
        let at = journal.len;
        journal.sync(vec![], vec![place(1)]).unwrap();
        journal.sync(vec![], vec![place(2)]).unwrap();
        journal.file.write_at(b"x", at + 20).unwrap();
        let error = open(&disk).unwrap_err();
        assert!(matches!(&error, JournalError::Damaged { at: found, .. } if *found == at));
        assert!(
            error
                .to_string()
                .contains("/data/outputs/a.journal.damaged-NOW")
        );
        assert_eq!(next(&open(&disk).unwrap()), None);
    }

    #[test]
    fn a_copy_is_known_for_a_copy() {
        let disk = ModelDisk::new();
        open(&disk).unwrap();
        let bytes = disk.read(Path::new(PATH)).unwrap();
        disk.remove(Path::new(PATH)).unwrap();
        let copy = disk
            .open(Path::new(PATH), Open::New { mode: 0o600 })
            .unwrap();
        copy.write_at(&bytes, 0).unwrap();
        let mut journal = open(&disk).unwrap();
        assert!(!journal.at_home());
        journal.rewrite().unwrap();
        assert!(open(&disk).unwrap().at_home());
    }

    #[test]
    fn a_newer_format_is_left_alone() {
        let disk = ModelDisk::new();
        open(&disk).unwrap();
        let mut line = Vec::new();
        let header = Header {
            format: FORMAT + 1,
            id: String::new(),
            inode: 0,
        };
        Entry::Journal(header).push_line(&mut line);
        let file = disk.open(Path::new(PATH), Open::Existing).unwrap();
        file.truncate(0).unwrap();
        file.write_at(&line, 0).unwrap();
        assert!(matches!(open(&disk), Err(JournalError::Newer { .. })));
        assert_eq!(disk.read(Path::new(PATH)).unwrap(), line);
    }

    #[test]
    fn it_stays_small_and_keeps_the_files_that_were_changed_last() {
        let disk = ModelDisk::new();
        let mut journal = open(&disk).unwrap();
        for round in 0..3 {
            let files = (0..8000)
                .map(|n| file(&format!("/{round}/{n}"), n))
                .collect();
            journal.sync(files, vec![place(round)]).unwrap();
        }
        journal.drop_oldest();
        journal.rewrite().unwrap();
        let journal = open(&disk).unwrap();
        assert_eq!(journal.files().count(), KEPT_FILES);
        assert!(journal.known(Path::new("/2/0")).is_some());
        assert!(journal.known(Path::new("/1/7999")).is_some());
        assert!(journal.known(Path::new("/1/5999")).is_none());
        let mut journal = journal;
        for next in 0..20_000 {
            journal
                .sync(vec![file("/a", 1)], vec![place(next)])
                .unwrap();
        }
        assert!(journal.len < 8 * SMALL);
    }
}
