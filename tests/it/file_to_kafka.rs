//! Files into Kafka: nothing missing, order kept, and no repeat that nobody needed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::RealKafka;
use crate::support::lines::{Findings, LineWriter, judge, judge_files};
use crate::support::scene::{Dice, LONG, Scene, books, caught_up, said, try_status, turn};

/// Bytes of a line in these tests.
const LENGTH: usize = 120;

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn texts(kafka: &RealKafka, topic: &str) -> Vec<String> {
    let values = kafka.read_values(topic).into_iter();
    values
        .map(|value| String::from_utf8(value).unwrap())
        .collect()
}

/// Waits until the daemon says that it is done and the topic shows it, for every writer.
fn wait_all(
    daemon: &Daemon,
    kafka: &RealKafka,
    topic: &str,
    writers: &[(&str, Vec<Range<u64>>)],
) -> Vec<Findings> {
    let lines = |files: &[Range<u64>]| files.iter().map(|file| file.end - file.start).sum::<u64>();
    let total: u64 = writers.iter().map(|(_, files)| lines(files)).sum();
    eventually(LONG, "every line stands in the topic", || {
        caught_up(daemon, "app")?;
        let written = kafka.written(topic);
        if written < total {
            return Err(format!("{written} of {total} records"));
        }
        let values = kafka.read_values(topic);
        let findings = writers
            .iter()
            .map(|(name, files)| judge_files(&values, name, LENGTH, files));
        let findings: Vec<_> = findings.collect();
        match findings
            .iter()
            .find(|findings| !findings.missing.is_empty())
        {
            Some(findings) => Err(findings.to_string()),
            None => Ok(findings),
        }
    })
}

#[test]
pub fn nothing_is_missing_and_order_is_kept_through_rotations_and_twelve_kills() {
    const KILLS: u64 = 12;
    const SHARE: u64 = 50_000 / (KILLS + 1) + 1;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let topic = kafka.topic("kills", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writers = ["a", "b"]
        .map(|name| LineWriter::create(scene.path(&format!("logs/{name}.log")), name, LENGTH));

    for round in 0..KILLS {
        let before = kafka.written(&topic);
        let mut daemon = scene.launch(&yaml).start();
        let (mut chance, until) = (Dice::new(), (round + 1) * SHARE);
        std::thread::scope(|scope| {
            scope.spawn(|| write_to(&mut writers, until, &mut chance));
            // Every other kill comes when lines are moving for certain, the rest wherever it comes: at start, too.
            if round % 2 == 0 {
                eventually(LONG, "lines move", || kafka.written(&topic) > before);
            }
            dice.pause(0, 500);
            daemon.sigkill();
        });
        if dice.once_in(2) {
            // While it is down, too.
            writers[0].rotate();
        }
    }
    let mut daemon = scene.launch(&yaml).start();
    write_to(&mut writers, 50_000, &mut dice);
    let [a, b] = &writers;
    let written = [("a", a.files()), ("b", b.files())];
    let findings = wait_all(&daemon, kafka, &topic, &written);

    for findings in findings {
        println!("{findings}");
        assert!(findings.is_at_least_once(), "{findings}");
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}

/// Appends to both files in turn, until each has `until` lines, and rotates them now and then.
fn write_to(writers: &mut [LineWriter; 2], until: u64, dice: &mut Dice) {
    while writers.iter().any(|writer| writer.written() < until) {
        for writer in &mut *writers {
            let left = until - writer.written();
            writer.append(left.min(dice.between(1, 800)));
            if dice.once_in(12) {
                writer.rotate();
            }
        }
        dice.pause(0, 20);
    }
}

#[test]
fn sigterm_in_mid_flow_ends_with_0_and_repeats_nothing() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("terms", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", LENGTH);
    let mut dice = Dice::new();

    for round in 1..=5 {
        let before = kafka.written(&topic);
        let mut daemon = scene.launch(&yaml).start();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while writer.written() < round * 10_000 {
                    writer.append(500);
                    pause(Duration::from_millis(2));
                }
                writer.rotate();
            });
            eventually(LONG, "lines move", || kafka.written(&topic) > before);
            dice.pause(0, 100);
            daemon.sigterm();
            assert_eq!(daemon.wait_code(LONG), 0);
        });
    }
    let daemon = scene.launch(&yaml).start();
    let findings = wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);

    assert!(findings[0].is_exactly_once(), "{}", findings[0]);
    assert_eq!(kafka.written(&topic), 50_000);
}

#[test]
fn a_file_renamed_out_of_reach_is_read_to_its_end() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("renamed", 1);
    // The rotated names match no pattern.
    let daemon = scene
        .launch(&scene.yaml(
            kafka.brokers(),
            &format!("inputs:\n  app:\n    from: {{ type: file, paths: [DIR/logs/a.log] }}\n    to: {{ topic: {topic} }}\n"),
        ))
        .start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", LENGTH);
    writer.append(1);
    wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);
    for _ in 0..10 {
        writer.append(2_000);
        // Its new name is not for long: the writer goes on in the renamed file before it makes the next one.
        let aside = scene.path("logs/aside");
        fs::rename(writer.path(), &aside).unwrap();
        writer.append(500);
        writer.reopen();
        writer.append(1);
        wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);
        fs::remove_file(aside).unwrap();
    }

    let findings = wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);
    assert!(findings[0].is_exactly_once(), "{}", findings[0]);
    assert_eq!(books(&daemon, "app").unwrap()["lost"]["bytes"], 0);
}

#[test]
fn a_file_that_appears_later_is_read_whole() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("later", 1);
    append(&scene.path("logs/first.log"), "one\n");
    let daemon = scene
        .launch(&scene.yaml(
            kafka.brokers(),
            &format!("inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/**/*.log\"] }}\n    to: {{ topic: {topic} }}\n"),
        ))
        .start();
    eventually(LONG, "the first line", || texts(kafka, &topic) == ["one"]);

    append(&scene.path("logs/second.log"), "two\nthree\n");
    eventually(LONG, "the second file's lines", || {
        texts(kafka, &topic) == ["one", "two", "three"]
    });
    // In a folder that appears later as well.
    fs::create_dir_all(scene.path("logs/deep/er")).unwrap();
    append(&scene.path("logs/deep/er/third.log"), "four\n");
    eventually(LONG, "the third file's line", || {
        texts(kafka, &topic) == ["one", "two", "three", "four"]
    });
    drop(daemon);
}

#[test]
fn half_a_line_is_held_until_its_end_comes() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("half", 1);
    let (half, other) = (scene.path("logs/half.log"), scene.path("logs/other.log"));
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    append(&half, "whole\nhal");
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "the whole line", || texts(kafka, &topic) == ["whole"]);

    // What was written after the half, elsewhere, comes before it. A restart does not change that.
    append(&other, "witness\n");
    eventually(LONG, "the witness", || {
        texts(kafka, &topic) == ["whole", "witness"]
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let _daemon = scene.launch(&yaml).start();
    append(&other, "again\n");
    eventually(LONG, "the second witness", || {
        texts(kafka, &topic) == ["whole", "witness", "again"]
    });

    append(&half, "f a line\r\n");
    eventually(LONG, "the line that came in halves", || {
        texts(kafka, &topic) == ["whole", "witness", "again", "half a line"]
    });
}

#[test]
fn a_truncated_file_is_read_from_its_beginning_again() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("truncated", 1);
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", LENGTH);
    for _ in 0..3 {
        writer.append(100);
        // Written far enough before the cut to be read: what copytruncate takes away sooner is lost.
        wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);
        writer.truncate();
        eventually(LONG, "the truncation is seen", || {
            let status = try_status(&daemon)?;
            let messages = said(&daemon);
            let told = messages
                .iter()
                .filter(|said| said.text.contains("a.log") && said.text.contains("cut"))
                .count();
            if told as u64 == writer.written() / 100 {
                Ok(())
            } else {
                Err(format!("{told} times: {status}"))
            }
        });
    }
    writer.append(50);
    let findings = wait_all(&daemon, kafka, &topic, &[("a", writer.files())]);

    assert!(findings[0].is_exactly_once(), "{}", findings[0]);
    assert_eq!(
        books(&daemon, "app").unwrap()["lost"]["bytes"],
        0,
        "everything had been read"
    );
}

#[test]
fn what_is_truncated_before_it_could_be_read_is_counted_as_lost() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    // Without a Kafka the reader stops when its share of the buffer is full, and the file's rest is seen but not read.
    let scene = Scene::new();
    let topic = kafka.topic("lost", 1);
    kafka.kill();
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let daemon = scene
        .launch(&format!("{yaml}buffer: {{ memory: 8MiB }}\n"))
        .start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", LENGTH);
    writer.append(200_000);
    let size = 200_000 * (LENGTH as u64 + 1);
    let before = eventually(LONG, "the reader waits", || {
        let first = books(&daemon, "app")?;
        pause(Duration::from_millis(300));
        let second = books(&daemon, "app")?;
        if second["unread"]["bytes"] != 0 && first == second && second["seen"]["bytes"] == size {
            Ok(second)
        } else {
            Err(second.to_string())
        }
    });

    writer.truncate();
    writer.append(100);
    kafka.restart();
    let after = eventually(LONG, "everything that is left is delivered", || {
        let books = books(&daemon, "app")?;
        let is_done = books["lost"]["by"]["truncated"]["bytes"] != 0
            && books["unread"]["bytes"] == 0
            && books["in_flight"]["lines"] == 0;
        if is_done {
            Ok(books)
        } else {
            Err(books.to_string())
        }
    });

    let lost = size - (after["read"]["bytes"].as_u64().unwrap() - 100 * (LENGTH as u64 + 1));
    assert_eq!(after["lost"]["by"]["truncated"]["bytes"], lost, "{after}");
    assert!(lost <= before["unread"]["bytes"].as_u64().unwrap());
    assert_eq!(
        kafka.written(&topic),
        after["acked"]["lines"].as_u64().unwrap()
    );
    let values = kafka.read_values(&topic);
    let findings = judge(&values, "a", LENGTH, 0..200_100);
    assert_eq!(
        (findings.repeated, findings.out_of_order, findings.foreign),
        (0, 0, 0)
    );
    assert!(
        findings.missing.iter().all(|line| *line < 200_000),
        "the new lines are there"
    );
    assert!(
        said(&daemon)
            .iter()
            .any(|said| said.level != "info" && said.text.contains("a.log")),
        "the loss is said"
    );
}

#[test]
fn start_at_end_passes_what_was_there_and_reads_what_is_born_later() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("end", 1);
    append(&scene.path("logs/old.log"), "before\n");
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!("inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"], start_at: end }}\n    to: {{ topic: {topic} }}\n"),
    );
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "the old file is known", || {
        let status = try_status(&daemon)?;
        if status["inputs"]["app"]["files"] == 1 {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    append(&scene.path("logs/old.log"), "after\n");
    eventually(LONG, "the line after the start", || {
        texts(kafka, &topic) == ["after"]
    });
    append(&scene.path("logs/new.log"), "born\n");
    eventually(LONG, "the file born later", || {
        texts(kafka, &topic) == ["after", "born"]
    });

    // The first start was that one: what comes while the daemon is down is read.
    eventually(LONG, "all is settled", || caught_up(&daemon, "app"));
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    append(&scene.path("logs/old.log"), "between\n");
    append(&scene.path("logs/newer.log"), "unseen\n");
    let _daemon = scene.launch(&yaml).start();
    eventually(LONG, "what came in between", || {
        let mut all = texts(kafka, &topic);
        all.sort_unstable();
        if all == ["after", "between", "born", "unseen"] {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    });
}

#[test]
fn a_key_of_the_files_name_keeps_each_file_in_one_partition() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("keys", 4);
    let daemon = scene
        .launch(&scene.yaml(
            kafka.brokers(),
            &format!("inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"] }}\n    to: {{ topic: {topic}, key: \"{{file.name}}\" }}\n"),
        ))
        .start();
    let names: Vec<_> = (0..8).map(|number| format!("w{number}")).collect();
    let written: Vec<_> = names
        .iter()
        .map(|name| {
            let path = scene.path(&format!("logs/{name}.log"));
            let mut writer = LineWriter::create(path, name, LENGTH);
            writer.append(500);
            (name.as_str(), writer.files())
        })
        .collect();
    let findings = wait_all(&daemon, kafka, &topic, &written);

    assert!(findings.iter().all(Findings::is_exactly_once));
    let records = kafka.read_all(&topic);
    for name in &names {
        let key = format!("{name}.log").into_bytes();
        let start = format!("{name} ").into_bytes();
        let of_name = records
            .iter()
            .filter(|record| record.value.as_ref().unwrap().starts_with(&start));
        let of_name: Vec<_> = of_name.collect();
        assert!(
            of_name
                .iter()
                .all(|record| record.key.as_ref() == Some(&key))
        );
        assert!(
            of_name
                .iter()
                .all(|record| record.partition == of_name[0].partition)
        );
    }
}

#[test]
fn two_inputs_fill_two_topics() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (web, db) = (kafka.topic("web", 1), kafka.topic("db", 1));
    append(&scene.path("logs/web.log"), "GET /\n");
    append(&scene.path("logs/db.log"), "SELECT 1\n");
    append(&scene.path("logs/db.log.gz"), "excluded\n");
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "inputs:
  web:
    from: {{ type: file, paths: [DIR/logs/web.log] }}
    to: {{ topic: {web}, acks: 1, compression: zstd }}
  db:
    from: {{ type: file, paths: [\"DIR/logs/db.log*\"], exclude: [\"*.gz\"], watch: poll }}
    to: {{ cluster: main, topic: {db}, compression: lz4 }}
"
        ),
    );
    let mut daemon = scene.launch(&yaml).start();

    eventually(LONG, "both lines", || {
        texts(kafka, &web) == ["GET /"] && texts(kafka, &db) == ["SELECT 1"]
    });
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait_code(LONG), 0);
}
