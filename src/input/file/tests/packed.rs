//! Files that rotation compressed.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use super::copies::{numbers, runs};
use super::{FileStatus, OpenOptions, Rig};
use crate::input::file::settings::{StartAt, Watch};
use crate::input::file::unpack::gzip;

impl Rig {
    /// As gzip(1): the time of the last write stays, the plain file goes.
    pub fn compress(&self, name: &str) {
        let plain = fs::read(self.path(name)).unwrap();
        let written = fs::metadata(self.path(name)).unwrap().modified().unwrap();
        let packed = self.path(&format!("{name}.gz"));
        self.pack(&packed, &plain);
        let file = OpenOptions::new().append(true).open(&packed).unwrap();
        file.set_modified(written).unwrap();
        fs::remove_file(self.path(name)).unwrap();
    }

    fn pack(&self, path: &Path, plain: &[u8]) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(&gzip(plain)).unwrap();
    }

    /// Until everything that was unread is read.
    fn until_all_read(&mut self) {
        self.until("end", |rig| {
            let running = rig.running.as_ref().unwrap();
            let files = running.facts.files();
            running.books.entries().unread_bytes == 0
                && files.iter().all(|file| file.settled == file.read)
        });
    }
}

#[test]
fn a_file_that_was_compressed_while_nobody_looked_is_continued_at_the_same_line() {
    for pattern in ["app.log", "app.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.append("app.log", &numbers(0..1000));
        rig.start();
        rig.until_lines(1000);
        rig.until_read();
        rig.kill();
        rig.append("app.log", &numbers(1000..1100));
        rig.rename("app.log", "app.log.1");
        rig.compress("app.log.1");
        rig.append("app.log", &numbers(1100..1200));
        rig.start();
        rig.until_lines(1200);
        rig.until_all_read();
        rig.stop();
        rig.start();
        rig.append("app.log", &numbers(1200..1201));
        rig.until_lines(1201);
        rig.stop();
        let mut lines = super::copies::arrived(&rig);
        lines.sort_unstable();
        assert!(lines.into_iter().eq(0..1201), "{pattern}: {:?}", runs(&rig));
    }
}

#[test]
fn what_was_compressed_before_its_last_lines_came_is_known_after_a_restart() {
    let mut rig = Rig::new(&["app.log*"]);
    // It is read at once, so nothing but the position tells what stands half way.
    rig.append("app.log", &numbers(0..1000));
    rig.start();
    rig.until_lines(1000);
    rig.until_all_read();
    rig.stop();
    rig.rename("app.log", "app.log.1");
    rig.pack(&rig.path("app.log.1.gz"), numbers(0..990).as_bytes());
    fs::remove_file(rig.path("app.log.1")).unwrap();
    rig.append("app.log", &numbers(1000..1001));
    rig.start();
    rig.until_lines(1001);
    rig.until_all_read();
    rig.stop();
    let lines = super::copies::arrived(&rig);
    assert!(lines.into_iter().eq(0..1001), "{:?}", runs(&rig));
}

#[test]
fn generations_that_were_compressed_unseen_are_read_and_older_ones_are_not() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", "older\n");
    let hour = std::time::Duration::from_secs(3600);
    let file = OpenOptions::new()
        .append(true)
        .open(rig.path("app.log"))
        .unwrap();
    file.set_modified(std::time::SystemTime::now() - hour)
        .unwrap();
    rig.rename("app.log", "app.log.1");
    rig.compress("app.log.1");
    rig.append("app.log", &numbers(0..100));
    rig.start();
    rig.until_lines(100);
    rig.until_read();
    rig.kill();
    rig.rename("app.log.1.gz", "app.log.4.gz");
    for (from, to) in [(100, "app.log.3"), (200, "app.log.2"), (300, "app.log.1")] {
        rig.append("app.log", &numbers(from..from + 100));
        rig.rename("app.log", to);
        rig.compress(to);
    }
    rig.append("app.log", &numbers(400..500));
    rig.start();
    rig.until_lines(500);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..500), "{:?}", runs(&rig));
}

#[test]
fn what_was_read_is_not_sent_again_when_it_is_compressed() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.start();
    for round in 0..5 {
        rig.append("app.log", &numbers(round * 10..round * 10 + 10));
        rig.until_lines((round as usize + 1) * 10);
        for to in (1..9).rev() {
            let from = format!("app.log.{to}.gz");
            if rig.path(&from).exists() {
                rig.rename(&from, &format!("app.log.{}.gz", to + 1));
            }
        }
        rig.rename("app.log", "app.log.1");
        rig.compress("app.log.1");
    }
    let name = rig.path("app.log.5.gz");
    rig.until("compressed files", |rig| {
        let files = rig.running.as_ref().unwrap().facts.files();
        files.len() == 5 && files.iter().any(|file| file.path == name)
    });
    rig.until_all_read();
    rig.stop();
    assert!(rig.lines().len() == 50, "{:?}", runs(&rig));
}

#[test]
fn a_copy_that_is_compressed_before_the_cut_is_noticed_is_not_sent_again() {
    let mut rig = Rig::new(&["app.log*"]);
    // Sweeps meet the new name before it is the file's turn.
    rig.settings.watch = Watch::Poll;
    rig.timing.poll_first = Duration::from_millis(200);
    rig.timing.poll_most = rig.timing.poll_first;
    rig.timing.idle_after = Duration::from_secs(3600);
    rig.start();
    for round in 0..3 {
        rig.append("app.log", &numbers(round * 100..round * 100 + 100));
        rig.until_lines((round as usize + 1) * 100);
        rig.until_all_read();
        let log = rig.path("app.log");
        fs::copy(&log, rig.path("copy")).unwrap();
        rig.compress("copy");
        let log = OpenOptions::new().write(true).open(log).unwrap();
        log.set_len(0).unwrap();
        rig.rename("copy.gz", &format!("app.log.{}.gz", 5 - round));
        rig.until("compressed file", |rig| {
            let files = rig.running.as_ref().unwrap().facts.files();
            files.len() == round as usize + 2
        });
        rig.until_all_read();
    }
    rig.append("app.log", &numbers(300..301));
    rig.until_lines(301);
    rig.stop();
    assert!(rig.lines().len() == 301, "{:?}", runs(&rig));
}

#[test]
fn a_copy_that_is_found_after_what_was_compressed_of_it_is_not_sent_twice() {
    let mut rig = Rig::new(&["app.log*"]);
    let (begun, rest) = (numbers(0..1000), numbers(1000..1100));
    rig.append("app.log", &begun);
    rig.start();
    rig.until_lines(1000);
    rig.until_read();
    // Whoever cut it is still compressing the copy.
    let packed = gzip((begun.clone() + &rest).as_bytes());
    let (first, last) = packed.split_at(packed.len() / 2);
    rig.append_bytes("app.log.1.gz", first);
    File::options()
        .write(true)
        .open(rig.path("app.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    rig.append("app.log", &numbers(1100..1150));
    rig.until_lines(1050);
    rig.append("app.log.1", &(begun + &rest));
    rig.until_lines(1150);
    rig.append_bytes("app.log.1.gz", last);
    rig.until_all_read();
    fs::remove_file(rig.path("app.log.1")).unwrap();
    rig.append("app.log", &numbers(1150..1160));
    rig.until_lines(1160);
    rig.until_all_read();
    rig.stop();
    rig.start();
    rig.append("app.log", &numbers(1160..1161));
    rig.until_lines(1161);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..1161), "{:?}", runs(&rig));
}

#[test]
fn a_copy_that_is_compressed_and_renamed_before_anybody_looks_is_not_sent_twice() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.settings.watch = Watch::Poll;
    rig.timing.deleted_for = Duration::from_millis(100);
    rig.append("app.log", &numbers(0..1000));
    rig.start();
    rig.until_lines(1000);
    rig.until_read();
    fs::copy(rig.path("app.log"), rig.path("app.log.1")).unwrap();
    let log = File::options().write(true).open(rig.path("app.log"));
    log.unwrap().set_len(0).unwrap();
    rig.append("app.log", &numbers(1000..1100));
    rig.until_lines(1100);
    rig.until_all_read();
    let (copy, packed) = (rig.path("app.log.1"), rig.path("app.log.2.gz"));
    let follows = |path: &Path| {
        let path = path.to_path_buf();
        move |rig: &Rig| {
            let files = rig.running.as_ref().unwrap().facts.files();
            files.iter().any(|file| file.path == path)
        }
    };
    rig.until("the copy", follows(&copy));
    rig.compress("app.log.1");
    rig.rename("app.log.1.gz", "app.log.2.gz");
    // What was cut is looked for in compressed files too, before any walk.
    fs::File::create(rig.path("app.log")).unwrap();
    rig.append("app.log", &numbers(1100..1110));
    rig.until_lines(1110);
    rig.until("the compressed copy", follows(&packed));
    rig.until_all_read();
    rig.stop();
    assert!(rig.lines().len() == 1110, "{:?}", runs(&rig));
}

#[test]
fn compressed_files_that_were_never_seen_are_read_once_with_all_their_members() {
    let mut rig = Rig::new(&["*.gz"]);
    rig.memory = 600_000;
    for (name, from) in [
        ("a.gz", 0),
        ("b.gz", 100_000),
        ("c.gz", 200_000),
        ("d.gz", 300_000),
        ("e.gz", 400_000),
        ("f.gz", 500_000),
    ] {
        let path = rig.path(name);
        rig.pack(&path, numbers(from..from + 40_000).as_bytes());
        rig.pack(
            &path,
            numbers(from + 40_000..from + 50_000).trim_end().as_bytes(),
        );
    }
    rig.start();
    rig.until_lines(100_000);
    rig.stop();
    rig.start();
    rig.until_lines(300_000);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    let expected = (0..6).flat_map(|n| n * 100_000..n * 100_000 + 50_000);
    assert!(lines.into_iter().eq(expected), "{:?}", runs(&rig));
    // Nothing is looked into again.
    assert!(rig.saved.values().all(|entry| entry.packed.is_some()));
    rig.start();
    rig.until("files", |rig| {
        rig.running.as_ref().unwrap().facts.files().len() == 6
    });
    rig.until_all_read();
    rig.stop();
    assert_eq!(rig.arrived.len(), 300_000);
}

/// What a stop leaves behind that came before anything was read.
fn forget_what_was_read(rig: &mut Rig) {
    for entry in rig.saved.values_mut() {
        (entry.offset, entry.head, entry.tail, entry.packed) = (0, None, None, None);
    }
}

/// As if positions had been saved long after anything was written.
fn save_later(rig: &mut Rig) {
    for entry in rig.saved.values_mut() {
        entry.updated += 3_600_000;
    }
}

#[test]
fn what_is_read_of_a_compressed_file_after_a_restart_is_known_again() {
    let mut rig = Rig::new(&["*.gz"]);
    rig.pack(&rig.path("a.gz"), numbers(0..100).as_bytes());
    rig.start();
    rig.until_all_read();
    rig.stop();
    forget_what_was_read(&mut rig);
    rig.arrived.clear();
    rig.start();
    rig.until_lines(100);
    rig.until_all_read();
    rig.stop();
    let entry = rig.saved.values().next().unwrap();
    assert!(entry.offset > 0 && entry.head.is_some() && entry.tail.is_some());
}

#[test]
fn what_was_compressed_before_it_was_read_to_its_end_is_found_however_long_ago_it_was_written() {
    for was_read in [false, true] {
        let mut rig = Rig::new(&["app.log"]);
        rig.append("app.log", &numbers(0..10));
        rig.start();
        rig.until_lines(10);
        rig.until_read();
        rig.stop();
        if !was_read {
            forget_what_was_read(&mut rig);
            rig.arrived.clear();
        }
        rig.append("app.log", &numbers(10..20));
        rig.rename("app.log", "app.log.1");
        rig.compress("app.log.1");
        rig.append("app.log", &numbers(20..30));
        save_later(&mut rig);
        rig.start();
        rig.until_lines(30);
        rig.until_all_read();
        rig.stop();
        let mut lines = super::copies::arrived(&rig);
        lines.sort_unstable();
        assert!(lines.into_iter().eq(0..30), "{was_read}: {:?}", runs(&rig));
    }
}

#[test]
fn a_compressed_file_that_the_patterns_do_not_find_is_not_read_unless_it_holds_what_was_cut() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..100));
    rig.pack(&rig.path("app.log.2.gz"), b"older\n");
    rig.start();
    rig.until_lines(100);
    rig.until_read();
    let log = OpenOptions::new().write(true).open(rig.path("app.log"));
    log.unwrap().set_len(0).unwrap();
    rig.append("app.log", &numbers(100..101));
    rig.until_lines(101);
    rig.until_all_read();
    rig.stop();
    assert_eq!(runs(&rig), [(0, 101)]);
}

#[test]
fn a_file_that_is_still_being_compressed_is_read_as_it_grows() {
    let mut rig = Rig::new(&["*.gz"]);
    rig.append("a.gz", "");
    rig.start();
    let path = rig.path("whole");
    rig.pack(&path, numbers(0..50_000).as_bytes());
    let packed = fs::read(&path).unwrap();
    for part in packed.chunks(packed.len() / 7 + 1) {
        let mut file = OpenOptions::new()
            .append(true)
            .open(rig.path("a.gz"))
            .unwrap();
        file.write_all(part).unwrap();
        let before = rig.arrived.len();
        if before < 40_000 {
            rig.until("more lines", |rig| rig.arrived.len() > before);
        }
    }
    rig.until_lines(50_000);
    rig.until_all_read();
    rig.stop();
    assert_eq!(runs(&rig), [(0, 50_000)]);
}

#[test]
fn damage_ends_a_compressed_file_and_is_counted() {
    let mut rig = Rig::new(&["*.gz"]);
    let path = rig.path("whole");
    rig.pack(&path, numbers(0..100_000).as_bytes());
    let mut packed = fs::read(&path).unwrap();
    let middle = packed.len() / 2;
    packed[middle..middle + 64].fill(0xff);
    fs::write(rig.path("a.gz"), &packed).unwrap();
    rig.start();
    rig.until("loss", |rig| rig.lost("unreadable") > 0);
    rig.until_all_read();
    assert!(rig.arrived.len() > 10_000 && rig.arrived.len() < 100_000);
    rig.stop();
}

#[test]
fn a_closed_file_that_was_compressed_before_it_was_read_to_its_end_is_continued() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..10));
    rig.start();
    rig.until_lines(10);
    rig.until_read();
    rig.stop();
    rig.append("app.log", &numbers(10..20));
    rig.rename("app.log", "app.log.1");
    rig.compress("app.log.1");
    rig.start();
    rig.until_lines(20);
    rig.stop();
    assert_eq!(runs(&rig), [(0, 20)]);
}

#[test]
fn start_at_end_passes_the_compressed_files_of_the_very_first_start() {
    let mut rig = Rig::new(&["*.gz"]);
    rig.settings.start_at = StartAt::End;
    rig.pack(&rig.path("a.gz"), b"old\n");
    rig.start();
    rig.until_known("a.gz");
    rig.pack(&rig.path("b.gz"), b"new\n");
    rig.until_lines(1);
    rig.stop();
    rig.start();
    rig.pack(&rig.path("c.gz"), b"newer\n");
    rig.until_lines(2);
    rig.stop();
    assert_eq!(rig.lines(), ["new", "newer"]);
}

#[test]
fn every_packing_is_read() {
    let mut rig = Rig::new(&["a.log.*"]);
    let mut count = 0;
    for (tool, ending) in [
        ("gzip", "gz"),
        ("zstd", "zst"),
        ("xz", "xz"),
        ("bzip2", "bz2"),
    ] {
        let name = format!("a.log.{count}");
        let text = numbers(count * 100..count * 100 + 100);
        fs::write(rig.path(&name), text).unwrap();
        let told = Command::new(tool).arg("-q").arg(rig.path(&name)).output();
        if told.is_ok_and(|told| told.status.success()) {
            assert!(File::open(rig.path(&format!("{name}.{ending}"))).is_ok());
            // zstd keeps the plain file.
            let _ = fs::remove_file(rig.path(&name));
        }
        count += 1;
    }
    rig.start();
    rig.until_lines(count as usize * 100);
    rig.until_all_read();
    rig.stop();
    assert_eq!(rig.arrived.len(), count as usize * 100);
}

#[test]
fn files_of_which_nothing_was_read_are_found_in_their_own_compressed_forms() {
    let mut rig = Rig::new(&["app.log"]);
    // The first one was read to its end, and what is known of it forgotten.
    compressed_unread(&mut rig, 0);
    rig.start();
    rig.until_lines(60);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    let all = (10..60).chain(100..110);
    assert!(lines.into_iter().eq(all), "{:?}", runs(&rig));
}

#[test]
fn what_nothing_was_read_of_is_found_beside_younger_files_that_were_read_to_their_end() {
    for read in 1..5 {
        let mut rig = Rig::new(&["app.log"]);
        compressed_unread(&mut rig, read);
        rig.start();
        rig.until_lines(60);
        rig.until_all_read();
        rig.stop();
        let lines = super::copies::arrived(&rig);
        let mut missing = (0..60).chain(100..110).filter(|n| !lines.contains(n));
        // It may be one that was not, by its time.
        assert!(missing.all(|n| n / 10 == read), "{:?}", runs(&rig));
    }
}

/// Six generations of ten lines that were rotated and compressed, and of which nothing was read; but `read` was, and is forgotten.
fn compressed_unread(rig: &mut Rig, read: u32) {
    const COUNT: u32 = 6;
    let mut saved = Vec::new();
    for round in 0..COUNT {
        rig.saved.clear();
        rig.append("app.log", &numbers(round * 10..round * 10 + 10));
        rig.start();
        rig.until_lines((round as usize + 1) * 10);
        rig.until_read();
        rig.stop();
        saved.extend(std::mem::take(&mut rig.saved));
        let to = format!("app.log.{}", COUNT - round);
        rig.rename("app.log", &to);
        rig.compress(&to);
    }
    saved.remove(read as usize);
    rig.saved = saved.into_iter().collect();
    forget_what_was_read(rig);
    save_later(rig);
    rig.arrived.clear();
    rig.append("app.log", &numbers(100..110));
}

#[test]
fn a_compressed_file_with_another_date_is_not_the_one_of_which_nothing_was_read() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..10));
    rig.start();
    rig.until_lines(10);
    rig.until_read();
    rig.stop();
    let mut gone = rig.saved.values().next().unwrap().clone();
    (gone.path, gone.inode) = (rig.path("app.log-20261120").into(), gone.inode + 1_000_000);
    (gone.offset, gone.head, gone.tail) = (0, None, None);
    let key = crate::checkpoint::FileKey(rig.next_key);
    rig.next_key += 1;
    rig.saved.insert(key, gone);
    rig.pack(&rig.path("app.log-20261121.gz"), b"read long ago\n");
    save_later(&mut rig);
    rig.start();
    rig.append("app.log", &numbers(10..20));
    rig.until_lines(20);
    rig.until("end of what is gone", |rig| !rig.saved.contains_key(&key));
    rig.until_all_read();
    rig.stop();
    assert_eq!(runs(&rig), [(0, 20)]);
}

#[test]
fn compressed_files_that_nobody_saw_are_read_although_the_daemon_dies_before_it_comes_to_them() {
    const COUNT: u32 = 8;
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..10));
    rig.start();
    rig.until_lines(10);
    rig.until_read();
    rig.kill();
    for round in 1..COUNT {
        let to = format!("app.log.{}", COUNT - round);
        rig.rename("app.log", &to);
        rig.compress(&to);
        rig.append("app.log", &numbers(round * 10..round * 10 + 10));
    }
    // More than are unpacked at a time.
    rig.memory = 1;
    rig.start();
    let (name, deadline) = (rig.path("app.log"), Instant::now() + super::PATIENCE);
    loop {
        let running = rig.running.as_ref().unwrap();
        let files = running.facts.files();
        let is_new = |file: &FileStatus| file.path == name && file.read > 0;
        if files.iter().any(is_new) {
            break;
        }
        assert!(Instant::now() < deadline, "{files:?}");
        running.bell.wait(Duration::from_millis(1));
    }
    rig.save();
    rig.kill();
    save_later(&mut rig);
    rig.memory = 16 << 20;
    rig.start();
    rig.until_lines(80);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    lines.dedup();
    assert!(lines.into_iter().eq(0..80), "{:?}", runs(&rig));
}

#[test]
fn what_was_compressed_after_the_last_look_is_found_although_positions_were_saved_later() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..10));
    rig.start();
    rig.until_lines(10);
    rig.until_read();
    rig.append("app.log", &numbers(10..20));
    let deadline = Instant::now() + super::PATIENCE;
    let is_read = |rig: &Rig| {
        let files = rig.running.as_ref().unwrap().facts.files();
        files[0].read == numbers(0..20).len() as u64
    };
    while !is_read(&rig) {
        assert!(Instant::now() < deadline);
        rig.running
            .as_ref()
            .unwrap()
            .bell
            .wait(Duration::from_millis(1));
    }
    // It ends with its last lines on their way.
    rig.running.as_ref().unwrap().stop.soften();
    let deadline = Instant::now() + super::PATIENCE;
    while !rig.running.as_ref().unwrap().thread.is_finished() {
        assert!(Instant::now() < deadline);
        rig.running
            .as_ref()
            .unwrap()
            .bell
            .wait(Duration::from_millis(1));
    }
    rig.rename("app.log", "app.log.2");
    rig.append("app.log", &numbers(20..30));
    rig.rename("app.log", "app.log.1");
    rig.compress("app.log.2");
    rig.compress("app.log.1");
    rig.append("app.log", &numbers(30..40));
    let written = fs::metadata(rig.path("app.log.1.gz")).unwrap().modified();
    let late = written.unwrap() + Duration::from_millis(50);
    while SystemTime::now() < late {
        rig.running
            .as_ref()
            .unwrap()
            .bell
            .wait(Duration::from_millis(5));
    }
    rig.end();
    rig.start();
    rig.until_lines(40);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..40), "{:?}", runs(&rig));
}

#[test]
fn what_was_deleted_and_of_which_nothing_was_read_is_forgotten_at_a_stop() {
    let mut rig = Rig::new(&["app.log"]);
    rig.timing.deleted_for = Duration::from_secs(3600);
    File::create(rig.path("app.log")).unwrap();
    rig.start();
    rig.until_known("app.log");
    fs::remove_file(rig.path("app.log")).unwrap();
    rig.append("app.log", &numbers(0..10));
    rig.until_lines(10);
    rig.until("both", |rig| {
        let files = rig.running.as_ref().unwrap().facts.files();
        files.len() == 2 && files.iter().all(|file| file.settled == file.size)
    });
    rig.stop();
    let offsets: Vec<u64> = rig.saved.values().map(|entry| entry.offset).collect();
    assert_eq!(offsets, [numbers(0..10).len() as u64]);
}

#[test]
fn a_copy_with_the_time_of_its_original_is_known_in_its_compressed_form_after_a_stop() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.timing.deleted_for = Duration::from_secs(3600);
    rig.append("app.log", &numbers(0..100));
    rig.start();
    rig.until_lines(100);
    rig.until_read();
    let copy = rig.path("app.log.1");
    fs::copy(rig.path("app.log"), &copy).unwrap();
    let file = OpenOptions::new().append(true).open(&copy).unwrap();
    let hour = Duration::from_secs(3600);
    file.set_modified(SystemTime::now() - hour).unwrap();
    let log = File::options().write(true).open(rig.path("app.log"));
    log.unwrap().set_len(0).unwrap();
    rig.append("app.log", &numbers(100..110));
    rig.until_lines(110);
    rig.until_known("app.log.1");
    rig.compress("app.log.1");
    // A walk comes by.
    rig.append("app.log.new", &numbers(110..120));
    rig.until_lines(120);
    rig.stop();
    rig.start();
    rig.append("app.log", &numbers(120..121));
    rig.until_lines(121);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..121), "{:?}", runs(&rig));
}

#[test]
fn what_was_compressed_before_the_last_lines_were_written_is_known_after_a_restart() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.timing.deleted_for = Duration::from_secs(3600);
    rig.append("app.log", &numbers(0..1000));
    rig.start();
    rig.until_lines(1000);
    rig.until_read();
    rig.rename("app.log", "app.log.1");
    let plain = fs::read(rig.path("app.log.1")).unwrap();
    rig.pack(&rig.path("app.log.1.gz"), &plain);
    // The application still has it open.
    rig.append("app.log.1", &numbers(1000..1010));
    rig.until_lines(1010);
    rig.until_all_read();
    fs::remove_file(rig.path("app.log.1")).unwrap();
    rig.append("app.log", &numbers(1010..1020));
    rig.until_lines(1020);
    rig.stop();
    for entry in rig.saved.values() {
        assert!(entry.half.is_none_or(|(at, _)| at < entry.offset));
    }
    rig.start();
    rig.append("app.log", &numbers(1020..1021));
    rig.until_lines(1021);
    rig.until_all_read();
    rig.stop();
    let mut lines = super::copies::arrived(&rig);
    lines.sort_unstable();
    assert!(lines.into_iter().eq(0..1021), "{:?}", runs(&rig));
}
