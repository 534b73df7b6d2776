//! The whole input on a real file system, with a sink that takes and settles.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::facts::{Facts, FileStatus};
use super::rotate::Timing;
use super::settings::{FileSettings, HoldDeleted, StartAt, Watch};
use super::{FileInput, run};
use crate::checkpoint::{Change, Entry, FileKey};
use crate::flow::{
    Arenas, Batch, Bell, Books, Budget, Outcome, Received, Receiver, Stop, Tracker, pipe,
};
use crate::input::dress::Here;
use crate::input::dress::block::{self, Blocks, Refused};
use crate::input::dress::settings::DressSettings;
use crate::input::frame::settings::LineSettings;
use crate::input::outlet::Ends;
use crate::input::{Finish, Position, Report, SetAside};

mod copies;
mod discovery;
mod dress;
mod holes;
mod identity;
mod limits;
mod lines;
mod model;
mod packed;

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of logs, what is saved about them, and what arrived.
struct Rig {
    folder: tempfile::TempDir,
    settings: FileSettings,
    timing: Timing,
    memory: u64,
    saved: BTreeMap<FileKey, Entry>,
    started: bool,
    next_key: u64,
    running: Option<Running>,
    /// Values in the order of arrival, over all runs, with the paths that they came with.
    arrived: Vec<(PathBuf, String)>,
    /// What was set aside, with where it began; nothing can be while `is_full`.
    aside: Arc<Mutex<Vec<(u64, String)>>>,
    is_full: Arc<AtomicBool>,
    /// What is made of lines, and what was refused then.
    dress: Option<DressSettings>,
    refused: Arc<Mutex<Vec<Refused>>>,
    /// What arrived beside values.
    beside: Vec<dress::Beside>,
}

struct Running {
    thread: JoinHandle<Report>,
    receiver: Receiver<Batch>,
    bell: Arc<Bell>,
    stop: Stop,
    facts: Arc<Facts>,
    books: Arc<Books>,
}

impl Rig {
    /// Follows `patterns` in a new folder.
    fn new(patterns: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let absolute = |p: &&str| folder.path().join(p).to_str().unwrap().to_owned();
        let settings = FileSettings {
            paths: patterns.iter().map(absolute).collect(),
            exclude: Vec::new(),
            start_at: StartAt::Beginning,
            watch: Watch::Auto,
            ignore_older: None,
            max_open_files: 4096,
            hold_deleted: HoldDeleted {
                age: None,
                bytes: None,
                min_free: None,
            },
            lines: LineSettings::default(),
        };
        Self {
            folder,
            settings,
            timing: Timing {
                sweep: Duration::from_millis(10),
                hint: Duration::from_millis(1),
                trust: Duration::from_millis(50),
                poll_first: Duration::from_millis(1),
                poll_most: Duration::from_millis(5),
                idle_after: Duration::from_millis(20),
                deleted_for: Duration::from_millis(100),
                moved_for: Duration::from_secs(3600),
                copy_for: Duration::from_millis(200),
                missing_for: Duration::from_secs(3600),
                beat: Duration::from_millis(3),
                since: Instant::now(),
            },
            memory: 16 << 20,
            saved: BTreeMap::new(),
            started: false,
            next_key: 1,
            running: None,
            arrived: Vec::new(),
            aside: Arc::default(),
            refused: Arc::default(),
            dress: None,
            beside: Vec::new(),
            is_full: Arc::default(),
        }
    }

    fn blocks(&self) -> Option<Blocks> {
        let (refused, is_full) = (self.refused.clone(), self.is_full.clone());
        let set_aside: block::SetAside = Box::new(move |letters| {
            if is_full.load(Ordering::SeqCst) {
                return Err("full".into());
            }
            refused.lock().unwrap().extend_from_slice(letters);
            Ok(())
        });
        let here = Here {
            id: "ferry".into(),
            host: "web-1".into(),
            input: "in".into(),
        };
        let settings = self.dress.as_ref();
        settings.map(|settings| Blocks::new(settings, here, set_aside).unwrap())
    }

    fn set_aside(&self) -> SetAside {
        let (aside, is_full) = (self.aside.clone(), self.is_full.clone());
        Box::new(move |long| {
            if is_full.load(Ordering::SeqCst) {
                return Err("full".into());
            }
            let value = String::from_utf8_lossy(long.value).into_owned();
            aside.lock().unwrap().push((long.offset, value));
            Ok(())
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        self.append_bytes(name, text.as_bytes());
    }

    fn append_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(bytes).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn start(&mut self) {
        self.start_with(false);
    }

    fn start_with(&mut self, once: bool) {
        let (reader, bell) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (sender, receiver) = pipe(4, bell.clone(), reader.clone());
        let books = Arc::new(Books::new());
        let tracker = Arc::new(Tracker::<Position>::new(books.clone()));
        let facts = Arc::new(Facts::new("in", tracker.clone()));
        let (_, shares) = Budget::split(self.memory, 1);
        let stop = Stop::new();
        let input = FileInput {
            name: "in".into(),
            settings: self.settings.clone(),
            saved: self.saved.clone().into_iter().collect(),
            first_start: !self.started,
            next_key: self.next_key,
            once,
            ends: Ends {
                tracker,
                share: shares[0].clone(),
                arenas: Arenas::new(4),
                sender: sender.into(),
                bell: reader,
                stop: stop.clone(),
            },
            finish: Finish {
                set_aside: self.set_aside(),
                blocks: self.blocks(),
            },
            facts: facts.clone(),
            timing: self.timing,
        };
        let thread = std::thread::Builder::new()
            .name("follower".into())
            .spawn(move || run(input).unwrap())
            .unwrap();
        self.running = Some(Running {
            thread,
            receiver,
            bell,
            stop,
            facts,
            books,
        });
    }

    /// Takes and settles what has arrived; `false` when the pipe is closed.
    fn take(&mut self) -> bool {
        let running = self.running.as_ref().unwrap();
        loop {
            match running.receiver.try_recv() {
                Received::Item(batch) => {
                    for (at, record) in batch.records.iter().enumerate() {
                        let value =
                            String::from_utf8_lossy(&batch.arena.filled()[record.value.range()]);
                        let path = batch
                            .run_of(at)
                            .origin
                            .path
                            .as_deref()
                            .unwrap()
                            .to_path_buf();
                        if self.dress.is_some() {
                            self.beside.push(dress::Beside::of(&batch, at));
                        }
                        self.arrived.push((path, value.into_owned()));
                    }
                    let count = batch.count();
                    let mut sum = crate::flow::Count::default();
                    (0..batch.records.len()).for_each(|at| sum += batch.count_of(at));
                    assert_eq!(sum, count);
                    batch.receipt.settle(&Outcome::acked(count));
                }
                Received::Empty => return true,
                Received::Closed => return false,
            }
        }
    }

    /// Saves what is settled.
    fn save(&mut self) {
        let mut changes = Vec::new();
        self.running.as_ref().unwrap().facts.collect(&mut changes);
        for change in changes {
            match change {
                Change::Put { key, entry, .. } => {
                    self.next_key = self.next_key.max(key.0 + 1);
                    self.saved.insert(key, entry);
                }
                Change::Remove { key, .. } => {
                    self.saved.remove(&key);
                }
                Change::Started { .. } => self.started = true,
                Change::Bind { .. } | Change::Keep { .. } => {}
            }
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.take();
            self.save();
            if done(self) {
                return;
            }
            let latest = &self.arrived[self.arrived.len().saturating_sub(20)..];
            let files = || self.running.as_ref().unwrap().facts.files();
            assert!(
                Instant::now() < deadline,
                "no {what}: {:#?}, {latest:?}",
                files()
            );
            let bell = self.running.as_ref().unwrap().bell.clone();
            bell.wait(Duration::from_millis(2));
        }
    }

    fn until_lines(&mut self, count: usize) {
        self.until("lines", |rig| rig.arrived.len() >= count);
    }

    /// Waits until the input has read all that is there, and everything is saved.
    fn until_read(&mut self) {
        self.until("end", |rig| {
            let files = rig.running.as_ref().unwrap().facts.files();
            let is_read = |file: &FileStatus| {
                fs::metadata(&file.path).is_ok_and(|found| found.len() == file.settled)
            };
            !files.is_empty() && files.iter().all(is_read)
        });
    }

    fn stop(&mut self) -> Report {
        self.running.as_ref().unwrap().stop.soften();
        self.end()
    }

    /// Takes everything until the input ends.
    fn end(&mut self) -> Report {
        let deadline = Instant::now() + PATIENCE;
        while self.take() {
            assert!(Instant::now() < deadline, "the input does not end");
            self.running
                .as_ref()
                .unwrap()
                .bell
                .wait(Duration::from_millis(5));
        }
        self.save();
        let running = self.running.take().unwrap();
        assert!(running.books.entries().balanced());
        running.thread.join().unwrap()
    }

    /// Ends at once, with nothing more saved.
    fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.stop.harden();
        drop(running.receiver);
        running.thread.join().unwrap();
    }

    fn lines(&self) -> Vec<&str> {
        self.arrived.iter().map(|(_, line)| line.as_str()).collect()
    }

    fn lost(&self, cause: &str) -> u64 {
        let entries = self.running.as_ref().unwrap().books.entries();
        entries.lost.get(cause).copied().unwrap_or(0)
    }

    /// Until a file is known under a path.
    fn until_known(&mut self, name: &str) {
        let path = self.path(name);
        self.until(name, |rig| {
            let files = rig.running.as_ref().unwrap().facts.files();
            files.iter().any(|file| file.path == path)
        });
    }
}

#[test]
fn lines_arrive_as_they_are_appended_and_half_ones_when_they_end() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\ntwo\nthr");
    rig.start();
    rig.until_lines(2);
    rig.append("a.log", "ee\r\n\nfive");
    rig.until_lines(4);
    assert_eq!(rig.lines(), ["one", "two", "three", ""]);
    assert_eq!(rig.saved[&FileKey(1)].offset, 16);
    let report = rig.stop();
    assert_eq!((report.lines, report.files, report.unread), (4, 1, 4));
}

#[test]
fn polling_without_events_finds_growth_and_new_files_and_folders_too() {
    let mut rig = Rig::new(&["later/**/*.log"]);
    rig.settings.watch = Watch::Poll;
    rig.start();
    rig.append("later/a.log", "1\n");
    rig.until_lines(1);
    rig.append("later/deep/er/b.log", "2\n");
    rig.until_lines(2);
    rig.append("later/a.log", "3\n");
    rig.until_lines(3);
    assert_eq!(rig.lines(), ["1", "2", "3"]);
    rig.stop();
}

#[test]
fn a_renamed_file_is_followed_to_its_end_and_the_new_one_from_its_beginning() {
    for pattern in ["app.log", "app.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.append("app.log", "1\n");
        rig.start();
        rig.until_lines(1);
        for generation in 2..6 {
            let mut old = OpenOptions::new()
                .append(true)
                .open(rig.path("app.log"))
                .unwrap();
            for to in (1..generation - 1).rev() {
                rig.rename(&format!("app.log.{to}"), &format!("app.log.{}", to + 1));
            }
            rig.rename("app.log", "app.log.1");
            rig.append("app.log", &format!("{generation}\n"));
            rig.until_known("app.log.1");
            let line = generation.to_string();
            rig.until("line", |rig| rig.lines().contains(&line.as_str()));
            old.write_all(b"late\n").unwrap();
            rig.until("late line", |rig| rig.lines().last() == Some(&"late"));
        }
        assert_eq!(
            rig.lines(),
            ["1", "2", "late", "3", "late", "4", "late", "5", "late"]
        );
        rig.until_read();
        rig.stop();
        rig.start();
        rig.append("app.log", "6\n");
        rig.until("next line", |rig| rig.lines().last() == Some(&"6"));
        assert_eq!(rig.arrived.len(), 10);
        rig.stop();
    }
}

/// Renames every generation of `app.log` and writes a line into a new one.
fn rotate(rig: &Rig, generations: usize) {
    for to in (1..=generations).rev() {
        if rig.path(&format!("app.log.{to}")).exists() {
            rig.rename(&format!("app.log.{to}"), &format!("app.log.{}", to + 1));
        }
    }
    rig.rename("app.log", "app.log.1");
}

#[test]
fn generations_that_were_never_seen_under_their_first_name_are_read() {
    for stopped in [false, true] {
        let mut rig = Rig::new(&["app.log"]);
        rig.settings.watch = Watch::Poll;
        // Compressed, of another application, or older than what is known: none of ours.
        for other in ["app.log.7.gz", "app-error.log", "app.log.err", "app.log.9"] {
            rig.append(other, "not ours\n");
        }
        rig.append("app.log", "0\n");
        rig.start();
        rig.until_lines(1);
        rig.until_read();
        let mut count = 1;
        for round in 0..5 {
            if stopped {
                rig.kill();
            }
            for _ in 0..round {
                rotate(&rig, count);
                rig.append("app.log", &format!("{count}\n"));
                count += 1;
            }
            if stopped {
                rig.start();
            }
            rig.until_lines(count);
            rig.until_read();
        }
        rig.stop();
        let expected: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        let mut lines = rig.lines();
        lines.sort_by_key(|line| line.parse::<u32>().unwrap());
        assert_eq!(lines, expected);
    }
}

#[test]
fn what_rotates_while_nobody_takes_batches_is_held_and_read_later() {
    let mut rig = Rig::new(&["app.log"]);
    rig.memory = 600_000;
    let line = "x".repeat(999);
    let generation = |n: usize| format!("{n}{line}\n").repeat(2000);
    rig.append("app.log", &generation(0));
    rig.start();
    for n in 1..6 {
        let known = |rig: &Rig, name: &str| {
            let (path, facts) = (rig.path(name), &rig.running.as_ref().unwrap().facts);
            facts.files().iter().any(|file| file.path == path)
        };
        let wait = |rig: &Rig, name: &str| {
            let deadline = Instant::now() + PATIENCE;
            while !known(rig, name) {
                assert!(Instant::now() < deadline);
                std::thread::yield_now();
            }
        };
        wait(&rig, "app.log");
        let rotated = format!("app.log.{n}");
        rig.rename("app.log", &rotated);
        wait(&rig, &rotated);
        // The older ones go for good.
        if n > 1 {
            fs::remove_file(rig.path(&format!("app.log.{}", n - 1))).unwrap();
        }
        rig.append("app.log", &generation(n));
    }
    let summary = rig.running.as_ref().unwrap().facts.summary();
    assert!(summary.unread_bytes > 8_000_000);
    rig.until_lines(12_000);
    for n in 0..6 {
        let start = n.to_string();
        let lines = rig.lines();
        assert_eq!(lines.iter().filter(|l| l.starts_with(&start)).count(), 2000);
    }
    rig.stop();
}

#[test]
fn what_was_deleted_and_not_read_is_counted_at_the_stop() {
    let mut rig = Rig::new(&["app.log", "b.log"]);
    rig.memory = 600_000;
    rig.append("app.log", &format!("{}\n", "x".repeat(99)).repeat(50_000));
    rig.start();
    while rig.running.as_ref().unwrap().facts.files().is_empty() {
        std::thread::yield_now();
    }
    fs::remove_file(rig.path("app.log")).unwrap();
    // The sweep that finds this one misses the other.
    rig.append("b.log", "");
    let deadline = Instant::now() + PATIENCE;
    while rig.running.as_ref().unwrap().facts.files().len() < 2 {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    let books = rig.running.as_ref().unwrap().books.clone();
    let report = rig.stop();
    let entries = books.entries();
    assert_eq!((report.unread, entries.unread_bytes), (0, 0));
    assert_eq!(entries.seen_bytes(), 5_000_000);
    assert!(entries.lost["deleted"] > 4_000_000);
}

#[test]
fn a_file_renamed_while_nobody_looked_is_finished_first() {
    for (pattern, to) in [
        ("app.log", "app.log.1"),
        ("app.log", "old.txt"),
        ("app*", "app.log.1"),
    ] {
        let mut rig = Rig::new(&[pattern]);
        rig.append("app.log", "1\n2\n");
        rig.start();
        rig.until_read();
        rig.kill();
        rig.append("app.log", "3\n");
        rig.rename("app.log", to);
        rig.append("app.log", "4\n");
        rig.start();
        rig.until_lines(4);
        let mut lines = rig.lines();
        lines[2..].sort_unstable();
        assert_eq!(lines, ["1", "2", "3", "4"]);
        if pattern == "app.log" {
            assert_eq!(rig.lines()[2], "3");
        }
        rig.until_read();
        rig.stop();
        assert_eq!(rig.arrived.len(), 4);
    }
}

#[test]
fn a_cut_file_is_read_again_from_its_beginning_and_what_was_unread_is_counted() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\ntwo\nhalf");
    rig.start();
    rig.until_lines(2);
    fs::write(rig.path("a.log"), "new\n").unwrap();
    rig.until_lines(3);
    assert_eq!(rig.lines(), ["one", "two", "new"]);
    assert_eq!(rig.lost("truncated"), 4);
    rig.until_read();
    assert_eq!(rig.saved.len(), 1);
    assert_eq!(rig.saved[&FileKey(2)].offset, 4);
    rig.stop();
}

#[test]
fn a_file_rewritten_in_place_is_noticed_at_any_length() {
    for text in ["new\n", "NEW\nTWO\n", "NEW\nTWO\nTHREE\n"] {
        let mut rig = Rig::new(&["a.log"]);
        rig.append("a.log", "one\ntwo\n");
        rig.start();
        rig.until_lines(2);
        fs::write(rig.path("a.log"), text).unwrap();
        rig.until_lines(2 + text.lines().count());
        let expected: Vec<&str> = ["one", "two"].into_iter().chain(text.lines()).collect();
        assert_eq!(rig.lines(), expected);
        rig.stop();
    }
}

#[test]
fn a_file_rewritten_while_nobody_looked_is_read_from_its_beginning() {
    let mut rig = Rig::new(&["a.log"]);
    rig.append("a.log", "one\ntwo\n");
    rig.start();
    rig.until_read();
    rig.stop();
    fs::write(rig.path("a.log"), "ONE\nTWO\nthree\n").unwrap();
    rig.start();
    rig.until_lines(5);
    assert_eq!(rig.lines()[2..], ["ONE", "TWO", "three"]);
    rig.until_read();
    rig.stop();
    assert_eq!(rig.saved.len(), 1);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_then_forgotten() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\n");
    rig.start();
    rig.until_lines(1);
    let mut file = OpenOptions::new()
        .append(true)
        .open(rig.path("a.log"))
        .unwrap();
    fs::remove_file(rig.path("a.log")).unwrap();
    file.write_all(b"two\nlast words").unwrap();
    rig.until("removal", |rig| rig.saved.is_empty());
    assert_eq!(rig.lines(), ["one", "two", "last words"]);
    rig.append("a.log", "again\n");
    rig.until_lines(4);
    rig.stop();
}

#[test]
fn a_position_whose_file_stays_away_expires_and_is_counted() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("gone.log", "one\n");
    rig.append("kept.log", "two\n");
    rig.start();
    rig.until_lines(2);
    rig.until_read();
    rig.stop();
    assert_eq!(rig.saved.len(), 2);
    fs::remove_file(rig.path("gone.log")).unwrap();
    rig.timing.missing_for = Duration::from_millis(30);
    rig.start();
    rig.until("expiry", |rig| rig.saved.len() == 1);
    let expired = |rig: &Rig| rig.running.as_ref().unwrap().facts.summary().expired;
    assert_eq!(expired(&rig), 1);
    assert!(
        rig.saved
            .values()
            .all(|entry| entry.path.ends_with("kept.log"))
    );
    rig.stop();
}

#[test]
fn an_inode_used_again_is_a_new_file() {
    let mut rig = Rig::new(&["a.log"]);
    for round in 0..20 {
        let first = rig.arrived.len();
        fs::write(rig.path("a.log"), "same\nlines\n").unwrap();
        rig.start();
        rig.until_lines(first + 2);
        rig.until_read();
        rig.stop();
        fs::remove_file(rig.path("a.log")).unwrap();
        assert_eq!(rig.arrived.len(), first + 2, "round {round}");
    }
}

#[test]
fn start_at_end_is_about_the_files_of_the_very_first_start_only() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.start_at = StartAt::End;
    rig.append("a.log", "old\nhalf");
    rig.start();
    rig.until("start", |rig| rig.started && rig.saved.len() == 1);
    rig.append("b.log", "born later\n");
    rig.until_lines(1);
    rig.append("a.log", " line\n");
    rig.until_lines(2);
    rig.kill();
    rig.append("c.log", "born while away\n");
    rig.start();
    rig.until_lines(3);
    assert_eq!(rig.lines(), ["born later", "half line", "born while away"]);
    rig.stop();
}

#[test]
fn once_delivers_what_is_there_and_ends() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", "one\ntwo\nhalf");
    rig.append("b.log", "");
    rig.append("c.log", &"x".repeat(1_000_000));
    rig.start_with(true);
    let report = rig.end();
    assert_eq!((report.lines, report.files, report.unread), (4, 3, 0));
    assert_eq!(rig.lines()[..3], ["one", "two", "half"]);
    let sizes: Vec<usize> = rig.lines()[3..].iter().map(|line| line.len()).collect();
    assert_eq!(sizes, [262_144, 262_144, 262_144, 1_000_000 - 3 * 262_144]);
    assert!(rig.started);
    // The rest of the half line is a record of its own; a lone line end is none.
    rig.append("a.log", "\nthree\n");
    rig.append("c.log", "y\n");
    rig.start_with(true);
    rig.end();
    let mut lines = rig.lines().split_off(7);
    lines.sort_unstable();
    assert_eq!(lines, ["three", "y"]);
}

#[test]
fn one_file_under_several_names_is_read_once() {
    let mut rig = Rig::new(&["**/*.log"]);
    rig.append("real/a.log", "1\n");
    symlink(rig.path("real/a.log"), rig.path("b.log")).unwrap();
    symlink(rig.path("real"), rig.path("linked")).unwrap();
    fs::hard_link(rig.path("real/a.log"), rig.path("c.log")).unwrap();
    symlink("nowhere", rig.path("d.log")).unwrap();
    rig.start();
    rig.until_lines(1);
    rig.append("c.log", "2\n");
    rig.until_lines(2);
    rig.append("e.log", "3\n");
    rig.until_lines(3);
    assert_eq!(rig.lines(), ["1", "2", "3"]);
    assert_eq!(rig.running.as_ref().unwrap().facts.summary().files, 2);
    rig.stop();
}

#[test]
fn a_link_that_is_pointed_elsewhere_leads_to_the_next_file() {
    let mut rig = Rig::new(&["current.log"]);
    for day in 1..5 {
        rig.append(&format!("{day}.txt"), &format!("{day}\n"));
        symlink(format!("{day}.txt"), rig.path("new")).unwrap();
        rig.rename("new", "current.log");
        if day == 1 {
            rig.start();
        }
        rig.until_lines(day);
    }
    rig.append("4.txt", "5\n");
    rig.until_lines(5);
    assert_eq!(rig.lines(), ["1", "2", "3", "4", "5"]);
    rig.stop();
}

#[test]
fn what_is_no_file_does_not_hold_up_the_others() {
    let mut rig = Rig::new(&["*.log"]);
    fs::create_dir(rig.path("folder.log")).unwrap();
    let fifo = rig.path("pipe.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    rig.append("a.log", "1\n");
    rig.start();
    rig.until_lines(1);
    fs::remove_dir(rig.path("folder.log")).unwrap();
    rig.append("folder.log", "2\n");
    rig.until_lines(2);
    rig.stop();
}

#[test]
fn a_file_without_permission_is_tried_again() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new(&["*.log"]);
    rig.append("secret.log", "2\n");
    let mode = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(rig.path("secret.log"), mode(0)).unwrap();
    if File::open(rig.path("secret.log")).is_ok() {
        // Root reads everything.
        return;
    }
    rig.append("a.log", "1\n");
    rig.start();
    rig.until_lines(1);
    fs::set_permissions(rig.path("secret.log"), mode(0o600)).unwrap();
    rig.until_lines(2);
    assert_eq!(rig.lines(), ["1", "2"]);
    rig.stop();
}

#[test]
fn long_lines_of_any_length_arrive_in_pieces_and_within_the_budget() {
    let mut rig = Rig::new(&["a.log"]);
    rig.settings.lines.max_line.size = 400_000;
    rig.memory = 2 << 20;
    let sizes = [0, 399_999, 400_000, 400_001, 5_000_000, 10];
    for (at, size) in sizes.into_iter().enumerate() {
        let end = if at % 2 == 0 { "\n" } else { "\r\n" };
        rig.append("a.log", &("x".repeat(size) + end));
    }
    rig.start();
    rig.until_read();
    let sizes: Vec<usize> = rig.lines().iter().map(|line| line.len()).collect();
    let mut expected = vec![0, 399_999, 400_000, 400_000, 1];
    expected.extend([400_000; 12]);
    expected.extend([200_000, 10]);
    assert_eq!(sizes, expected);
    rig.stop();
}

#[test]
fn a_long_half_line_that_grows_slowly_arrives_whole() {
    let mut rig = Rig::new(&["a.log"]);
    rig.start();
    let mut sum = String::new();
    for step in 0..40 {
        let piece = format!("{step:05}").repeat(1000);
        rig.append("a.log", &piece);
        sum += &piece;
        let size = sum.len() as u64;
        rig.until("growth", |rig| {
            rig.running.as_ref().unwrap().facts.summary().unread_bytes == size
        });
    }
    rig.append("a.log", "\nnext\n");
    rig.until_lines(2);
    assert_eq!(rig.lines(), [sum.as_str(), "next"]);
    rig.stop();
}

#[test]
fn a_backlog_in_one_file_does_not_hold_up_another() {
    let mut rig = Rig::new(&["*.log"]);
    let line = format!("{}\n", "x".repeat(99));
    rig.append("a-big.log", &line.repeat(200_000));
    rig.append("b-small.log", "now\n");
    rig.start();
    rig.until_lines(200_001);
    let before = rig.lines().iter().position(|line| *line == "now").unwrap();
    assert!(before < 30_000, "after {before} lines");
    rig.stop();
}

#[test]
fn more_files_than_may_be_open_are_all_followed() {
    let mut rig = Rig::new(&["*.log"]);
    for file in 0..1500 {
        rig.append(&format!("{file:04}.log"), "1\n");
    }
    rig.start();
    rig.until_lines(1500);
    for file in 0..1500 {
        rig.append(&format!("{file:04}.log"), "2\n");
    }
    rig.until_lines(3000);
    rig.rename("0007.log", "0007.txt");
    rig.append("0007.txt", "3\n");
    rig.until_lines(3001);
    rig.until_read();
    rig.stop();
    assert_eq!(rig.arrived.len(), 3001);
}

/// Random steps against a model: what was written arrives, in order per file, whatever happens; twice only after a kill.
#[test]
fn nothing_is_missing_after_random_steps() {
    for seed in 0..8 {
        eprintln!("seed {seed}");
        random_steps(seed);
    }
}

/// One application's log: lines `{app}-{number}-end`, written in halves at times.
#[derive(Default)]
struct Model {
    count: u64,
    half: bool,
    /// How many lines were written when each rotation came.
    rotations: Vec<u64>,
}

impl Model {
    fn write(&mut self, rig: &Rig, app: usize, half: bool) {
        self.finish(rig, app);
        self.count += 1;
        self.half = half;
        let end = if half { "" } else { "-end\n" };
        let text = format!("{app}-{:06}{end}", self.count);
        rig.append(&format!("app{app}.log"), &text);
    }

    fn finish(&mut self, rig: &Rig, app: usize) {
        if std::mem::take(&mut self.half) {
            rig.append(&format!("app{app}.log"), "-end\n");
        }
    }

    fn rotate(&mut self, rig: &Rig, app: usize) {
        self.finish(rig, app);
        let name = format!("app{app}.log");
        if rig.path(&name).exists() {
            self.rotations.push(self.count);
            rig.rename(&name, &format!("{name}.{}", self.rotations.len()));
        }
    }

    /// Which of the rotated files a line was written to.
    fn file_of(&self, number: u64) -> usize {
        self.rotations.partition_point(|&last| last < number)
    }
}

fn random_steps(seed: u64) {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (seed << 17);
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    // Half of the time the patterns find rotated files too.
    let pattern = ["app*.log*", "app*.log"][usize::from(seed & 2 > 0)];
    let mut rig = Rig::new(&[pattern]);
    rig.settings.lines.max_line.size = 64;
    if seed & 1 > 0 {
        rig.settings.watch = Watch::Poll;
    }
    if seed & 4 > 0 {
        rig.settings.max_open_files = 2;
    }
    rig.start();
    let mut models: [Model; 3] = Default::default();
    for (app, model) in models.iter_mut().enumerate() {
        model.write(&rig, app, false);
    }
    // A file that is rotated before the very first look is nobody's.
    rig.until_lines(3);
    rig.until_read();
    let mut kills = 0;
    for _ in 0..200 {
        let app = usize::try_from(random(3)).unwrap();
        let model = &mut models[app];
        match random(10) {
            0..6 => (0..=random(20)).for_each(|_| model.write(&rig, app, random(3) == 0)),
            6 => model.rotate(&rig, app),
            7 => {
                rig.take();
                rig.save();
            }
            8 => {
                rig.take();
                if random(2) == 0 {
                    rig.kill();
                    kills += 1;
                } else {
                    rig.stop();
                }
                rig.start();
            }
            _ => {
                let before = rig.arrived.len();
                if models.iter().map(|model| model.count).sum::<u64>() > before as u64 + 3 {
                    rig.until_lines(before + 1);
                }
            }
        }
    }
    for (app, model) in models.iter_mut().enumerate() {
        model.finish(&rig, app);
    }
    let expected = models.iter().enumerate().flat_map(|(app, model)| {
        (1..=model.count).map(move |number| format!("{app}-{number:06}-end"))
    });
    let expected: Vec<String> = expected.collect();
    let distinct = |rig: &Rig| {
        let mut lines: Vec<String> = rig.lines().into_iter().map(str::to_owned).collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    };
    rig.until("all lines", |rig| distinct(rig).len() >= expected.len());
    rig.until_read();
    rig.stop();
    assert_eq!(distinct(&rig), expected, "seed {seed}");
    if kills == 0 {
        assert_eq!(rig.arrived.len(), expected.len(), "seed {seed}");
    }
    // What arrives for the first time is in order within each file.
    let mut last: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for line in rig.lines() {
        let app: usize = line[..1].parse().unwrap();
        let number: u64 = line[2..8].parse().unwrap();
        let before = last.entry((app, models[app].file_of(number))).or_default();
        if seen.insert(line) {
            assert!(*before < number, "seed {seed}: {line} after {before}");
            *before = number;
        }
    }
}
