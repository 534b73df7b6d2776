//! How much an input holds, and what becomes of files beyond that.

use std::os::fd::AsRawFd;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

impl Rig {
    /// How many of its files are open in this process.
    fn open_files(&self) -> usize {
        let handles = fs::read_dir("/proc/self/fd").unwrap();
        let targets = handles.filter_map(|handle| fs::read_link(handle.unwrap().path()).ok());
        let folder = self.folder.path();
        let ours = targets.filter(|path| path.starts_with(folder) && path != folder);
        ours.count()
    }

    fn summary(&self) -> crate::input::file::facts::Summary {
        self.running.as_ref().unwrap().facts.summary()
    }

    fn sorted(&self) -> Vec<&str> {
        let mut lines = self.lines();
        lines.sort_unstable();
        lines
    }
}

#[test]
fn far_fewer_handles_than_files_lose_and_repeat_nothing() {
    for pattern in ["*.log", "*.log*"] {
        let mut rig = Rig::new(&[pattern]);
        rig.settings.max_open_files = 2;
        let name = |file: usize| format!("{file:02}.log");
        let mut expected = Vec::new();
        let mut write = |rig: &Rig, round: usize, file: usize, name: &str| {
            let line = format!("{file:02}-{round:02}-{name}");
            rig.append(name, &format!("{line}\n"));
            expected.push(line);
        };
        (0..20).for_each(|file| write(&rig, 0, file, &name(file)));
        rig.start();
        rig.until_lines(20);
        let mut count = 20;
        for round in 1..6 {
            for file in 0..20 {
                let (live, rotated) = (name(file), format!("{}.{round}", name(file)));
                write(&rig, round, file, &live);
                count += 1;
                if (file + round) % 3 == 0 {
                    rig.rename(&live, &rotated);
                    write(&rig, round, file, &rotated);
                    write(&rig, round, file, &live);
                    count += 2;
                }
            }
            rig.until_lines(count);
            rig.until_read();
        }
        rig.until("closing", |rig| rig.open_files() <= 2);
        rig.stop();
        expected.sort_unstable();
        assert_eq!(rig.sorted(), expected, "{pattern}");
    }
}

#[test]
fn a_file_without_a_name_is_not_closed() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.max_open_files = 1;
    rig.timing.deleted_for = Duration::from_secs(3600);
    rig.append("a.log", "1\n");
    rig.start();
    rig.until_lines(1);
    let mut writer = OpenOptions::new()
        .append(true)
        .open(rig.path("a.log"))
        .unwrap();
    rig.until("opening", |rig| rig.open_files() == 2);
    fs::remove_file(rig.path("a.log")).unwrap();
    for file in 0..5 {
        rig.append(&format!("b{file}.log"), "2\n");
    }
    rig.until_lines(6);
    writer.write_all(b"3\n").unwrap();
    rig.until_lines(7);
    assert_eq!(rig.lines()[6], "3");
    rig.stop();
}

#[test]
fn a_file_that_was_replaced_in_place_while_it_was_closed_is_read_again() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.max_open_files = 1;
    rig.append("a.log", "one\ntwo\n");
    rig.append("b.log", "1\n");
    rig.start();
    rig.until_lines(3);
    rig.until_read();
    rig.until("closing", |rig| rig.open_files() <= 1);
    fs::write(rig.path("a.log"), "ONE\nTWO\nthree\n").unwrap();
    fs::write(rig.path("b.log"), "2\n").unwrap();
    rig.until_lines(7);
    assert_eq!(rig.sorted()[..4], ["1", "2", "ONE", "TWO"]);
    rig.stop();
}

/// Says that a file was written to so long ago.
fn age(rig: &Rig, name: &str, age: Duration) {
    let file = OpenOptions::new().write(true).open(rig.path(name)).unwrap();
    let at = std::time::SystemTime::now() - age;
    file.set_modified(at).unwrap();
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[test]
fn an_old_file_is_read_only_when_it_is_written_to_again_and_then_whole() {
    for watch in [Watch::Auto, Watch::Poll] {
        let mut rig = Rig::new(&["*.log"]);
        rig.settings.ignore_older = Some(WEEK);
        rig.settings.watch = watch;
        for name in ["a.log", "b.log", "c.log"] {
            rig.append(name, "old\n");
            age(&rig, name, 2 * WEEK);
        }
        rig.append("new.log", "1\n");
        rig.start();
        rig.until_lines(1);
        rig.until("count", |rig| rig.summary().ignored == 3);
        assert_eq!(rig.summary().files, 1);
        rig.append("b.log", "2\n");
        rig.until_lines(3);
        assert_eq!(rig.lines(), ["1", "old", "2"]);
        rig.until("count", |rig| rig.summary().ignored == 2);
        rig.until_read();
        rig.stop();
        // What was followed once is not ignored, however old it is, nor when it was renamed meanwhile.
        rig.append("b.log", "3\n");
        age(&rig, "b.log", 2 * WEEK);
        rig.append("new.log", "4\n");
        age(&rig, "new.log", 2 * WEEK);
        rig.rename("new.log", "other.log");
        rig.start();
        rig.until_lines(5);
        rig.until("count", |rig| rig.summary().ignored == 2);
        assert_eq!(rig.sorted(), ["1", "2", "3", "4", "old"]);
        rig.stop();
    }
}

#[test]
fn what_the_very_first_start_passes_over_is_not_read_later_for_its_age() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.ignore_older = Some(WEEK);
    rig.settings.start_at = StartAt::End;
    rig.append("a.log", "old\n");
    age(&rig, "a.log", 2 * WEEK);
    rig.start();
    rig.until("start", |rig| rig.started && rig.saved.len() == 1);
    rig.append("a.log", "new\n");
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["new"]);
    rig.stop();
}

/// Waits without taking anything.
fn until_without_taking(rig: &Rig, mut done: impl FnMut(&Rig) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(rig) {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_deleted_file_beyond_the_limit_is_given_up_also_while_nobody_takes_batches() {
    let mut rig = Rig::new(&["*.log"]);
    rig.memory = 600_000;
    rig.settings.hold_deleted.bytes = Some(6_000_000);
    let text = format!("{}\n", "x".repeat(99)).repeat(50_000);
    let size = text.len() as u64;
    rig.append("a.log", &text);
    rig.start();
    until_without_taking(&rig, |rig| rig.summary().files == 1);
    fs::remove_file(rig.path("a.log")).unwrap();
    rig.append("b.log", "");
    until_without_taking(&rig, |rig| rig.summary().files == 2);
    // One alone is not too much.
    assert_eq!(rig.lost("deleted"), 0);
    let open = rig.open_files();
    rig.append("c.log", &text);
    until_without_taking(&rig, |rig| rig.summary().files == 3);
    fs::remove_file(rig.path("c.log")).unwrap();
    until_without_taking(&rig, |rig| rig.lost("deleted") > 0);
    // The first one is closed, and its space free.
    until_without_taking(&rig, |rig| rig.open_files() == open);
    let books = rig.running.as_ref().unwrap().books.clone();
    let entries = books.entries();
    assert_eq!(entries.seen_bytes(), 2 * size);
    let lost = entries.lost["deleted"];
    assert!(lost > size / 2 && lost < size, "{lost}");
    // What was read of it arrives, and the other one does whole.
    rig.until("removal", |rig| {
        rig.saved
            .values()
            .all(|entry| entry.path.ends_with("b.log"))
    });
    assert_eq!(rig.arrived.len() as u64, (2 * size - lost) / 100);
    assert_eq!(rig.lost("deleted"), lost);
    assert_eq!(rig.summary().unread_bytes, 0);
    rig.stop();
}

#[test]
fn a_deleted_file_is_held_for_its_time() {
    let mut rig = Rig::new(&["*.log"]);
    rig.memory = 600_000;
    rig.settings.hold_deleted.age = Some(Duration::from_millis(100));
    rig.append("a.log", &format!("{}\n", "x".repeat(99)).repeat(50_000));
    rig.start();
    until_without_taking(&rig, |rig| rig.summary().files == 1);
    let deleted = Instant::now();
    fs::remove_file(rig.path("a.log")).unwrap();
    until_without_taking(&rig, |rig| rig.lost("deleted") > 0);
    assert!(deleted.elapsed() >= Duration::from_millis(100));
    rig.until("removal", |rig| rig.saved.is_empty());
    rig.append("a.log", "next\n");
    rig.until("next line", |rig| rig.lines().last() == Some(&"next"));
    rig.stop();
}

/// Runs the scenario in a process of its own: no other test is to miss descriptors.
#[test]
fn files_are_not_gone_because_no_descriptor_is_left() {
    const CHILD: &str = "LOGFERRY_TEST_WITHOUT_DESCRIPTORS";
    if std::env::var_os(CHILD).is_some() {
        return without_descriptors();
    }
    let name = "input::file::tests::limits::files_are_not_gone_because_no_descriptor_is_left";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{text}");
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}

fn without_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let set = |current: u64| {
        let current = Some(current);
        setrlimit(Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    };
    let patience = |rig: &mut Rig| {
        // Many sweeps; nothing tells of them while they find nothing.
        let until = Instant::now() + Duration::from_millis(300);
        rig.until("sweeps", |_| Instant::now() >= until);
    };
    // Without descriptors from the beginning, or when all files are known.
    for (pattern, has_some) in [
        ("*.log", false),
        ("*.log*", false),
        ("*.log", true),
        ("*.log*", true),
    ] {
        let mut rig = Rig::new(&[pattern]);
        rig.settings.max_open_files = 4;
        // Whatever is forgotten early would be, here.
        rig.timing.moved_for = Duration::from_millis(50);
        rig.timing.missing_for = Duration::from_millis(200);
        let name = |file: usize| format!("{file:02}.log");
        for file in 0..20 {
            rig.append(&name(file), &format!("{file:02} a\n"));
        }
        rig.start();
        rig.until_lines(20);
        rig.until_read();
        // Some are renamed while nobody looks: they are found by their saved positions.
        rig.stop();
        for file in 0..5 {
            rig.append(&name(file), &format!("{file:02} b\n"));
            rig.rename(&name(file), &format!("{}.1", name(file)));
        }
        let mut writers: Vec<File> = (5..20)
            .map(|file| {
                let open = OpenOptions::new().append(true).open(rig.path(&name(file)));
                open.unwrap()
            })
            .collect();
        for file in 0..10 {
            rig.append(&format!("new.{file}"), &format!("{file:02} c\n"));
        }
        let last = u64::try_from(writers.last().unwrap().as_raw_fd()).unwrap();
        set(if has_some { last + 20 } else { 3 });
        rig.start();
        patience(&mut rig);
        assert_eq!(rig.arrived.len(), if has_some { 25 } else { 20 });
        set(3);
        for file in 0..10 {
            if file >= 5 {
                rig.rename(&name(file), &format!("{}.1", name(file)));
            }
            rig.rename(&format!("new.{file}"), &name(file));
        }
        for (writer, file) in writers.iter_mut().zip(5..) {
            writeln!(writer, "{file:02} b").unwrap();
        }
        patience(&mut rig);
        assert_eq!((rig.lost("deleted"), rig.lost("truncated")), (0, 0));
        set(limit.current.unwrap());
        rig.until_lines(50);
        rig.until("positions", |rig| {
            rig.summary().unread_bytes == 0 && rig.saved.len() >= 10
        });
        patience(&mut rig);
        assert_eq!((rig.lost("deleted"), rig.lost("truncated")), (0, 0));
        rig.stop();
        let of = |files: std::ops::Range<usize>, text: &'static str| {
            files.map(move |file| format!("{file:02} {text}"))
        };
        let mut expected: Vec<String> = of(0..20, "a")
            .chain(of(0..20, "b"))
            .chain(of(0..10, "c"))
            .collect();
        expected.sort_unstable();
        assert_eq!(rig.sorted(), expected, "{pattern}");
    }
}
