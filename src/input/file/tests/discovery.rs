//! What exists is found, whatever the kernel tells of it: folders that come late, go and come again, links that lead elsewhere, files
//! with several names, names of any bytes. All of it with events and without.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::*;

/// Runs `test` with events and without.
fn both_ways(patterns: &[&str], test: impl Fn(&mut Rig)) {
    for watch in [Watch::Auto, Watch::Poll] {
        let mut rig = Rig::new(patterns);
        rig.settings.watch = watch;
        test(&mut rig);
        if rig.running.is_some() {
            rig.stop();
        }
    }
}

fn link(rig: &Rig, to: &str, name: &str) {
    // Put in place at once, as those do who switch a link.
    symlink(to, rig.path("link.new")).unwrap();
    rig.rename("link.new", name);
}

fn files(rig: &Rig) -> usize {
    rig.running.as_ref().unwrap().facts.summary().files
}

/// Waits until so many whole sweeps have certainly been made: a new file was found that often.
fn sweeps(rig: &mut Rig, folder: &str, count: usize) {
    for _ in 0..count {
        let at = rig.arrived.len();
        rig.append(&format!("{folder}/{at}.mark.log"), &format!("mark {at}\n"));
        rig.until_lines(at + 1);
    }
}

#[test]
fn a_folder_that_is_made_later_is_found_at_any_depth() {
    both_ways(&["a/b/c/*.log"], |rig| {
        rig.start();
        for folder in ["a", "a/b", "a/b/c"] {
            fs::create_dir(rig.path(folder)).unwrap();
        }
        rig.append("a/b/c/x.log", "1\n");
        rig.until_lines(1);
        rig.append("a/b/c/y.log", "2\n");
        rig.until_lines(2);
        assert_eq!(rig.lines(), ["1", "2"]);
    });
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_followed_again() {
    both_ways(&["base/*.log"], |rig| {
        rig.append("base/a.log", "0\n");
        rig.start();
        rig.until_lines(1);
        for round in 1..8 {
            fs::remove_dir_all(rig.path("base")).unwrap();
            rig.append("base/a.log", &format!("{round}\n"));
            rig.until_lines(round + 1);
            // Also what comes into it afterwards.
            rig.append("base/a.log", "more\n");
            rig.until("more", |rig| rig.arrived.len() == round + 2);
            rig.arrived.pop();
        }
        assert_eq!(rig.lines(), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    });
}

#[test]
fn a_folder_that_is_renamed_away_is_read_to_its_end_and_its_successor_from_its_beginning() {
    both_ways(&["base/*.log"], |rig| {
        rig.append("base/a.log", "1\n");
        rig.start();
        rig.until_lines(1);
        rig.rename("base", "aside");
        rig.append("aside/a.log", "2\n");
        rig.append("base/a.log", "3\n");
        rig.until_lines(3);
        rig.append("aside/a.log", "4\n");
        rig.until_lines(4);
        let mut lines = rig.lines();
        lines.sort_unstable();
        assert_eq!(lines, ["1", "2", "3", "4"]);
    });
}

#[test]
fn a_folder_that_becomes_a_link_and_a_link_to_a_folder_that_is_switched_are_followed() {
    both_ways(&["base/*.log"], |rig| {
        rig.append("base/a.log", "1\n");
        rig.append("second/a.log", "2\n");
        rig.append("third/a.log", "3\n");
        rig.start();
        rig.until_lines(1);
        rig.rename("base", "first");
        link(rig, "second", "base");
        rig.until_lines(2);
        link(rig, "third", "base");
        rig.until_lines(3);
        rig.append("third/b.log", "4\n");
        rig.until_lines(4);
        // What is written on behind the link is read, and nothing again when it leads back.
        rig.append("first/a.log", "5\n");
        rig.until_lines(5);
        link(rig, "first", "base");
        rig.append("first/b.log", "6\n");
        rig.until_lines(6);
        assert_eq!(rig.lines(), ["1", "2", "3", "4", "5", "6"]);
    });
}

#[test]
fn a_link_to_a_folder_that_is_switched_as_a_whole_leads_to_the_next_files() {
    both_ways(&["logs/*.log"], |rig| {
        for version in 1..5 {
            rig.append(&format!("logs/..{version}/a.log"), &format!("a{version}\n"));
            rig.append(&format!("logs/..{version}/b.log"), &format!("b{version}\n"));
            link(rig, &format!("..{version}"), "logs/..data");
            if version == 1 {
                symlink("..data/a.log", rig.path("logs/a.log")).unwrap();
                symlink("..data/b.log", rig.path("logs/b.log")).unwrap();
                rig.start();
            } else {
                // Whoever switches takes the old one away.
                let old = format!("logs/..{}", version - 1);
                fs::remove_dir_all(rig.path(&old)).unwrap();
            }
            rig.until_lines(2 * version);
        }
        rig.append("logs/..4/a.log", "a5\n");
        rig.until_lines(9);
        let of = |name| -> Vec<&str> {
            let lines = rig.lines().into_iter();
            lines.filter(|line| line.starts_with(name)).collect()
        };
        assert_eq!(of("a"), ["a1", "a2", "a3", "a4", "a5"]);
        assert_eq!(of("b"), ["b1", "b2", "b3", "b4"]);
    });
}

#[test]
fn folders_that_come_and_go_quickly_lose_no_line_of_those_that_stay() {
    both_ways(&["**/*.log"], |rig| {
        rig.append("start.log", "start\n");
        rig.start();
        rig.until_lines(1);
        let mut expected = Vec::new();
        for round in 0..150 {
            // The same name again and again: sometimes gone before anybody looks, at last to stay.
            let folder = format!("x/{}/deep", round % 10);
            let line = format!("{round:03}");
            fs::create_dir_all(rig.path(&folder)).unwrap();
            if round % 3 == 0 {
                fs::remove_dir_all(rig.path(&format!("x/{}", round % 10))).unwrap();
            }
            if round >= 140 {
                rig.append(&format!("{folder}/{line}.log"), &format!("{line}\n"));
                expected.push(line);
            }
            if round % 7 == 0 {
                rig.take();
            }
        }
        // 141, 144 and 147 are gone before they are written to, and made again by that.
        rig.until_lines(1 + expected.len());
        let mut lines = rig.lines().split_off(1);
        lines.sort_unstable();
        assert_eq!(lines, expected);
        for folder in 0..10 {
            fs::remove_dir_all(rig.path(&format!("x/{folder}"))).unwrap();
        }
        rig.until("the end of what was removed", |rig| files(rig) == 1);
    });
}

#[test]
fn a_loop_of_links_hides_nothing_and_repeats_nothing() {
    both_ways(&["**/*.log"], |rig| {
        rig.append("a/x.log", "1\n");
        rig.append("b/y.log", "2\n");
        symlink("../b", rig.path("a/to-b")).unwrap();
        symlink("../a", rig.path("b/to-a")).unwrap();
        symlink(".", rig.path("here")).unwrap();
        symlink("myself.log", rig.path("myself.log")).unwrap();
        rig.start();
        rig.until_lines(2);
        rig.append("a/z.log", "3\n");
        rig.until_lines(3);
        sweeps(rig, "c", 12);
        let mut lines = rig.lines();
        lines.retain(|line| !line.starts_with("mark"));
        lines.sort_unstable();
        assert_eq!(lines, ["1", "2", "3"]);
    });
}

#[test]
fn a_link_that_leads_nowhere_comes_alive_with_its_file() {
    both_ways(&["*.log"], |rig| {
        symlink("later/file.txt", rig.path("a.log")).unwrap();
        rig.append("b.log", "1\n");
        rig.start();
        rig.until_lines(1);
        rig.append("later/file.txt", "2\n");
        rig.until_lines(2);
        fs::remove_dir_all(rig.path("later")).unwrap();
        rig.until("its end", |rig| files(rig) == 1);
        rig.append("later/file.txt", "3\n");
        rig.until_lines(3);
        assert_eq!(rig.lines(), ["1", "2", "3"]);
    });
}

#[test]
fn a_file_keeps_its_position_whichever_of_its_names_goes() {
    for gone in ["a.log", "b.log", "linked/c.log"] {
        both_ways(&["**/*.log"], |rig| {
            rig.append("a.log", "1\n");
            fs::hard_link(rig.path("a.log"), rig.path("b.log")).unwrap();
            fs::create_dir(rig.path("linked")).unwrap();
            fs::hard_link(rig.path("a.log"), rig.path("linked/c.log")).unwrap();
            rig.start();
            rig.until_lines(1);
            assert_eq!(files(rig), 1);
            fs::remove_file(rig.path(gone)).unwrap();
            sweeps(rig, "m", 12);
            rig.until_read();
            // The rest of its names hold the position also over a restart in which one more goes.
            rig.stop();
            let rest = ["a.log", "b.log", "linked/c.log"];
            let mut rest = rest.iter().filter(|name| **name != gone);
            fs::remove_file(rig.path(rest.next().unwrap())).unwrap();
            rig.append(rest.next().unwrap(), "2\n");
            let count = rig.arrived.len();
            rig.start();
            rig.until_lines(count + 1);
            sweeps(rig, "n", 12);
            let mut lines = rig.lines();
            lines.retain(|line| !line.starts_with("mark"));
            assert_eq!(lines, ["1", "2"], "without {gone}");
        });
    }
}

#[test]
fn a_file_found_by_its_name_and_by_a_link_stays_read_when_either_goes() {
    for (gone, kept) in [("real.log", "target.txt"), ("link.log", "real.log")] {
        both_ways(&["*.log"], |rig| {
            // A link to a file under a name of its own that no pattern finds, and that file's other name.
            rig.append("target.txt", "1\n");
            fs::hard_link(rig.path("target.txt"), rig.path("real.log")).unwrap();
            symlink("target.txt", rig.path("link.log")).unwrap();
            rig.start();
            rig.until_lines(1);
            fs::remove_file(rig.path(gone)).unwrap();
            rig.append(kept, "2\n");
            rig.until_lines(2);
            rig.until_read();
            rig.stop();
            rig.append(kept, "3\n");
            rig.start();
            rig.until_lines(3);
            assert_eq!(rig.lines(), ["1", "2", "3"]);
            assert_eq!(files(rig), 1);
        });
    }
}

#[test]
fn names_of_any_bytes_are_found_and_known_again_after_a_restart() {
    let names: [&[u8]; 6] = [
        b"not utf-8 \xff\xfe.log",
        b"line\nfeed.log",
        b" spaces  and\ttabs .log",
        b"quote\"back\\slash'.log",
        b"\xf0\x28\x8c\x28.log",
        b"[*]{?}!.log",
    ];
    both_ways(&["**/*.log"], |rig| {
        let folder = rig.path("x").join(OsStr::from_bytes(b"deep \xe4\n"));
        fs::create_dir_all(&folder).unwrap();
        let paths = names.map(|name| folder.join(OsStr::from_bytes(name)));
        let append = |path: &PathBuf, text: String| {
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(text.as_bytes()).unwrap();
        };
        for (at, path) in paths.iter().enumerate() {
            append(path, format!("{at} one\n"));
        }
        rig.start();
        rig.until_lines(names.len());
        rig.until_read();
        rig.stop();
        // Through the form in which positions are saved.
        let text = serde_json::to_string(&rig.saved.values().collect::<Vec<_>>()).unwrap();
        let entries: Vec<Entry> = serde_json::from_str(&text).unwrap();
        assert_eq!(entries, rig.saved.values().cloned().collect::<Vec<_>>());
        assert!(
            paths
                .iter()
                .all(|path| entries.iter().any(|e| *e.path == **path))
        );
        rig.saved = rig.saved.keys().copied().zip(entries).collect();
        for (at, path) in paths.iter().enumerate() {
            append(path, format!("{at} two\n"));
        }
        rig.start();
        rig.until_lines(2 * names.len());
        let mut arrived = rig.arrived.clone();
        arrived.sort_unstable_by(|a, b| a.1.cmp(&b.1));
        let expected = paths.iter().enumerate().flat_map(|(at, path)| {
            ["one", "two"].map(|word| (path.clone(), format!("{at} {word}")))
        });
        assert_eq!(arrived, expected.collect::<Vec<_>>());
    });
}

#[test]
fn what_cannot_be_looked_at_for_long_is_not_taken_for_gone_and_sent_again() {
    both_ways(&["base/*.log", "other/*.log"], |rig| {
        rig.timing.moved_for = Duration::from_millis(50);
        rig.append("real/a.log", "1\n");
        link(rig, "real", "base");
        rig.start();
        rig.until_lines(1);
        rig.until_read();
        // A link to itself: the folder cannot be listed, and nobody knows what is in it.
        link(rig, "base", "base");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(400) {
            sweeps(rig, "other", 1);
        }
        link(rig, "real", "base");
        rig.append("real/a.log", "2\n");
        rig.until("the next line", |rig| rig.lines().contains(&"2"));
        let mut lines = rig.lines();
        lines.retain(|line| !line.starts_with("mark"));
        assert_eq!(lines, ["1", "2"]);
    });
}

#[test]
fn the_position_of_a_file_that_cannot_be_looked_at_at_a_start_does_not_expire() {
    both_ways(&["base/*.log", "one.log", "other/*.log"], |rig| {
        rig.append("real/a.log", "1\n");
        rig.append("one.txt", "2\n");
        link(rig, "real", "base");
        link(rig, "one.txt", "one.log");
        rig.start();
        rig.until_lines(2);
        rig.until_read();
        rig.stop();
        link(rig, "base", "base");
        link(rig, "one.log", "one.log");
        // Out of its folder, where it would be found by its inode.
        fs::create_dir(rig.path("aside")).unwrap();
        rig.rename("one.txt", "aside/one.txt");
        rig.timing.missing_for = Duration::from_millis(20);
        rig.start();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(200) {
            sweeps(rig, "other", 1);
        }
        rig.append("real/a.log", "3\n");
        rig.append("aside/one.txt", "4\n");
        link(rig, "real", "base");
        link(rig, "aside/one.txt", "one.log");
        rig.until("the next lines", |rig| {
            ["3", "4"].iter().all(|line| rig.lines().contains(line))
        });
        let mut lines = rig.lines();
        lines.retain(|line| !line.starts_with("mark"));
        lines.sort_unstable();
        assert_eq!(lines, ["1", "2", "3", "4"]);
    });
}
