//! Copytruncate, and files that hold what is read elsewhere.

use std::fs::{self, File};
use std::io::Write;
use std::thread::yield_now;
use std::time::{Duration, Instant, UNIX_EPOCH};

use super::{PATIENCE, Rig};
use crate::input::file::settings::Watch;

impl Rig {
    fn copy(&self, from: &str, to: &str) {
        fs::copy(self.path(from), self.path(to)).unwrap();
    }

    fn cut(&self, name: &str) {
        File::options()
            .write(true)
            .open(self.path(name))
            .unwrap()
            .set_len(0)
            .unwrap();
    }

    /// What logrotate does with `copytruncate` and `rotate 9`.
    fn copytruncate(&self, name: &str) {
        for to in (1..9).rev() {
            if self.path(&format!("{name}.{to}")).exists() {
                self.rename(&format!("{name}.{to}"), &format!("{name}.{}", to + 1));
            }
        }
        self.copy(name, &format!("{name}.1"));
        self.cut(name);
    }

    /// Spins until the reader has come to where `done`, although nobody takes batches.
    fn until_blocked(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "no {what}");
            yield_now();
        }
    }

    fn size_of(&self, name: &str) -> Option<u64> {
        let (path, files) = (
            self.path(name),
            self.running.as_ref().unwrap().facts.files(),
        );
        files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.size)
    }
}

pub fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

fn expected(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("line {n}")).collect()
}

pub fn arrived(rig: &Rig) -> Vec<u32> {
    let number = |line: &&str| line[5..].parse().unwrap();
    rig.lines().iter().map(number).collect()
}

/// What arrived, as ranges of consecutive numbers.
pub fn runs(rig: &Rig) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in arrived(rig) {
        match runs.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => runs.push((number, number + 1)),
        }
    }
    runs
}

#[test]
fn the_copy_of_a_copytruncate_is_not_sent_again() {
    for (pattern, watch) in [
        ("app.log*", Watch::Auto),
        ("app.log*", Watch::Poll),
        ("app.log", Watch::Auto),
    ] {
        let mut rig = Rig::new(&[pattern]);
        rig.settings.watch = watch;
        rig.start();
        for round in 0..6 {
            rig.append("app.log", &numbers(round * 10..round * 10 + 10));
            rig.until_lines((round as usize + 1) * 10);
            rig.copytruncate("app.log");
            rig.until("cut", |rig| rig.size_of("app.log") == Some(0));
            if round == 3 {
                rig.until_read();
                rig.stop();
                rig.start();
            }
        }
        rig.append("app.log", &numbers(60..70));
        rig.until_lines(70);
        rig.until_read();
        rig.stop();
        assert!(
            rig.lines() == expected(0..70),
            "{pattern}: {:?}",
            runs(&rig)
        );
    }
}

#[test]
fn a_copy_is_known_however_much_was_read_at_once_behind_it() {
    let mut rig = Rig::new(&["app.log"]);
    rig.append("app.log", &numbers(0..10));
    rig.start();
    rig.until_lines(10);
    rig.until_read();
    rig.stop();
    rig.append("app.log", &numbers(10..1000));
    rig.copy("app.log", "app.log.1");
    rig.append("app.log", &numbers(1000..6000));
    rig.start();
    rig.until_lines(6000);
    rig.cut("app.log");
    rig.append("app.log", &numbers(6000..6010));
    rig.until_lines(6010);
    rig.until_read();
    rig.stop();
    assert!(rig.lines() == expected(0..6010), "{:?}", runs(&rig));
}

#[test]
fn what_was_not_read_before_the_cut_is_read_from_the_copy() {
    for pattern in ["app.log", "app*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.memory = 600_000;
        rig.append("app.log", &numbers(0..200_000));
        rig.start();
        rig.until_blocked("first look", |rig| rig.size_of("app.log").is_some());
        rig.copytruncate("app.log");
        rig.until_blocked("copy", |rig| rig.size_of("app.log.1").is_some());
        rig.append("app.log", &numbers(200_000..200_010));
        rig.until_lines(200_010);
        rig.until_read();
        assert_eq!(rig.lost("truncated"), 0);
        rig.stop();
        let mut lines = arrived(&rig);
        let old: Vec<u32> = lines.iter().copied().filter(|n| *n < 200_000).collect();
        assert!(old.is_sorted());
        lines.sort_unstable();
        assert!(lines.into_iter().eq(0..200_010), "{:?}", runs(&rig));
    }
}

#[test]
fn lines_written_between_the_copy_and_the_cut_are_sent_once_if_they_were_read() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.append("app.log", &numbers(0..500));
    rig.start();
    rig.until_lines(500);
    rig.copy("app.log", "app.log.1");
    rig.append("app.log", &numbers(500..510));
    rig.until_lines(510);
    rig.cut("app.log");
    rig.append("app.log", &numbers(510..520));
    rig.until_lines(520);
    rig.until_read();
    rig.stop();
    rig.start();
    rig.append("app.log", &numbers(520..521));
    rig.until_lines(521);
    rig.stop();
    assert!(rig.lines() == expected(0..521), "{:?}", runs(&rig));
}

#[test]
fn a_copy_that_is_being_made_waits_for_the_cut() {
    let mut rig = Rig::new(&["app.log*"]);
    let text = numbers(0..5_000);
    rig.append("app.log", &text);
    rig.start();
    rig.until_lines(5_000);
    for part in text.as_bytes().chunks(10_000) {
        let before = rig.running.as_ref().unwrap().facts.files().len();
        rig.append("app.log.1", std::str::from_utf8(part).unwrap());
        rig.append("app.log", "");
        rig.until("look", |rig| {
            rig.running.as_ref().unwrap().facts.files().len() == before
        });
    }
    rig.cut("app.log");
    rig.append("app.log", &numbers(5_000..5_001));
    rig.until_lines(5_001);
    rig.until_known("app.log.1");
    rig.until_read();
    rig.stop();
    assert!(rig.lines() == expected(0..5_001), "{:?}", runs(&rig));
}

#[test]
fn copies_made_while_nobody_looked_are_continued_and_those_between_are_read() {
    for pattern in ["app.log", "app.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.append("app.log", &numbers(0..100));
        rig.start();
        rig.until_lines(100);
        rig.until_read();
        rig.kill();
        rig.append("app.log", &numbers(100..110));
        rig.copytruncate("app.log");
        rig.append("app.log", &numbers(110..120));
        rig.copytruncate("app.log");
        rig.append("app.log", &numbers(120..130));
        rig.start();
        rig.until_lines(130);
        rig.until_read();
        rig.stop();
        let mut lines = arrived(&rig);
        lines.sort_unstable();
        assert!(lines.into_iter().eq(0..130), "{pattern}: {:?}", runs(&rig));
    }
}

#[test]
fn an_equal_beginning_does_not_make_a_file_a_copy() {
    let mut rig = Rig::new(&["app.log*"]);
    rig.append("app.log", "# header\none\n");
    rig.start();
    rig.until_lines(2);
    rig.append("app.log.1", "# header\n");
    // As short as that it is not waited for long.
    rig.until_lines(3);
    rig.append("app.log.2", "# header\ntwo\n");
    rig.until_lines(5);
    assert_eq!(
        rig.lines(),
        ["# header", "one", "# header", "# header", "two"]
    );
    rig.stop();
}

#[test]
fn equal_files_of_the_very_first_start_are_all_read() {
    let mut rig = Rig::new(&["app.log*"]);
    for name in ["app.log", "app.log.1", "app.log.2"] {
        rig.append(name, "started\n");
    }
    rig.start();
    rig.until_lines(3);
    rig.stop();
}

#[test]
fn every_cut_of_an_outage_is_noticed_and_counted() {
    let mut rig = Rig::new(&["app.log"]);
    rig.memory = 600_000;
    let line = format!("{}\n", "x".repeat(99));
    let mut written = 0;
    rig.append("app.log", &line.repeat(50_000));
    written += 5_000_000;
    rig.start();
    rig.until_blocked("size", |rig| rig.size_of("app.log") == Some(5_000_000));
    for round in 1..4 {
        rig.cut("app.log");
        rig.until_blocked("cut", |rig| rig.size_of("app.log") == Some(0));
        rig.append("app.log", &line.repeat(round));
        written += 100 * round as u64;
        let size = Some(100 * round as u64);
        rig.until_blocked("size", |rig| rig.size_of("app.log") == size);
    }
    rig.until("end", |rig| {
        let entries = rig.running.as_ref().unwrap().books.entries();
        entries.unread_bytes == 0 && entries.seen_bytes() == written
    });
    assert!(rig.lost("truncated") > 4_000_000);
    rig.stop();
}

#[test]
fn an_idle_file_that_was_rewritten_is_read_again() {
    for watch in [Watch::Auto, Watch::Poll] {
        let mut rig = Rig::new(&["a.log"]);
        rig.settings.watch = watch;
        rig.timing.idle_after = Duration::ZERO;
        rig.append("a.log", "one\n");
        rig.start();
        rig.until_read();
        for round in 1..20 {
            fs::write(rig.path("a.log"), format!("{round}\n").repeat(round + 3)).unwrap();
            rig.until("last line", |rig| {
                let last = round.to_string();
                rig.lines().iter().filter(|line| **line == last).count() == round + 3
            });
        }
        rig.stop();
    }
}

#[test]
fn a_file_that_was_rewritten_with_the_same_length_and_the_same_last_bytes_is_read_again() {
    for watch in [Watch::Auto, Watch::Poll] {
        let mut rig = Rig::new(&["a.log"]);
        rig.settings.watch = watch;
        rig.start();
        for round in 0..10 {
            let line = format!("{round}{}\n", "x".repeat(2000));
            let open = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(rig.path("a.log"));
            let mut file = open.unwrap();
            file.write_all(line.as_bytes()).unwrap();
            // The clock of the file system may stand still meanwhile.
            let at = UNIX_EPOCH + Duration::from_secs(1_000_000 + round as u64);
            file.set_modified(at).unwrap();
            rig.until_lines(round + 1);
        }
        rig.stop();
    }
}

#[test]
fn half_a_line_that_was_replaced_by_more_is_not_joined_to_it() {
    for _ in 0..20 {
        let mut rig = Rig::new(&["a.log"]);
        rig.append("a.log", "a half line");
        rig.start();
        rig.until("look", |rig| rig.size_of("a.log") == Some(11));
        fs::write(rig.path("a.log"), "1\n2\n3\n4\n5\n6\n7\n").unwrap();
        rig.until_read();
        rig.stop();
        assert_eq!(rig.lines(), ["1", "2", "3", "4", "5", "6", "7"]);
    }
}
