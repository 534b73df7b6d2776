//! Nobody waits for what is not theirs: a file for another file's backlog, an input for another's cluster, a position for
//! another input's.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::eventually::{eventually, pause};
use crate::support::kafka::RealKafka;
use crate::support::lines::{LineWriter, judge, judge_files};
use crate::support::scene::{LONG, Scene, books, caught_up, nowhere, turn};

fn append(path: &Path, text: &str) {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_a_second_arrives_in_time_beside_a_backlog_of_300_megabytes() {
    const BACKLOG: u64 = 300_000_000;
    /// What a loaded machine may need; the backlog takes several times as long.
    const IN_TIME: Duration = Duration::from_secs(3);
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (big, small) = (kafka.topic("big", 1), kafka.topic("small", 1));
    // The same input for both: each file has a topic of its own name.
    let backlog = scene.path("logs").join(&big);
    let mut file = File::create(&backlog).unwrap();
    let megabyte = format!("{}\n", "x".repeat(999)).repeat(1000);
    for _ in 0..BACKLOG / 1_000_000 {
        file.write_all(megabyte.as_bytes()).unwrap();
    }
    drop(file);
    let yaml = scene.input_yaml(kafka.brokers(), "\"{file.name}\"");
    let yaml = yaml.replace("*.log*", "*");
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "the backlog is being read", || {
        kafka.written(&big) > 1_000
    });

    let (mut slowest, mut during) = (Duration::ZERO, 0);
    for line in 1.. {
        let begun = Instant::now();
        append(&scene.path("logs").join(&small), "now\n");
        eventually(LONG, "the line arrives", || kafka.written(&small) == line);
        let took = begun.elapsed();
        if kafka.written(&big) == BACKLOG / 1000 {
            break;
        }
        (slowest, during) = (slowest.max(took), line);
        pause(Duration::from_secs(1).saturating_sub(took));
    }
    println!("{during} lines beside the backlog, the slowest in {slowest:?}");
    assert!(during >= 1, "no line arrived before all of the backlog did");
    assert!(slowest < IN_TIME, "{slowest:?}");
    drop(daemon);
}

/// The line that an input writes.
fn input(name: &str, cluster: &str, topic: &str) -> String {
    format!(
        "  {name}:
    from: {{ type: file, paths: [DIR/logs/{name}.log] }}
    to: {{ cluster: {cluster}, topic: {topic} }}
"
    )
}

#[test]
fn a_cluster_that_is_away_stops_no_input_of_another_cluster() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("alive", 1);
    let yaml = format!(
        "{}{}",
        scene.yaml(
            kafka.brokers(),
            &format!(
                "  away: {{ brokers: [\"{}\"] }}\ninputs:\n{}{}",
                nowhere(),
                input("alive", "main", &topic),
                input("dead", "away", "nothing")
            )
            .replace("DIR", &scene.folder().display().to_string())
        ),
        "buffer: { memory: 8MiB }\nshutdown: { timeout: 3s }\n"
    );
    // More than all of the buffer, so that the dead one takes what it can get.
    let mut dead = LineWriter::create(scene.path("logs/dead.log"), "dead", 999);
    dead.append(40_000);
    let mut alive = LineWriter::create(scene.path("logs/alive.log"), "alive", 999);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "the dead input has read what it may", || {
        let books = books(&daemon, "dead")?;
        let read = books["read"]["bytes"].as_u64();
        (read > Some(1_000_000))
            .then_some(())
            .ok_or(books.to_string())
    });
    for _ in 0..20 {
        alive.append(1_000);
        eventually(LONG, "the other input goes on", || {
            kafka.written(&topic) == alive.written()
        });
    }
    // Also with more at once than its own share.
    alive.append(30_000);
    eventually(LONG, "the other input goes on", || {
        kafka.written(&topic) == alive.written()
    });
    let (code, ready) = daemon.get("/ready").unwrap();
    assert_eq!(code, 503, "{ready}");
    assert!(
        ready.contains("cluster away") && !ready.contains("main"),
        "{ready}"
    );
    eventually(LONG, "its books are closed", || caught_up(&daemon, "alive"));

    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 75, "what is dead is left");
    let mut daemon = scene.launch(&yaml).start();
    alive.append(10);
    eventually(LONG, "it goes on where it was", || {
        kafka.written(&topic) >= alive.written()
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 75);
    let lines = 0..alive.written();
    let findings = judge(kafka.read_values(&topic), "alive", 999, lines);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn two_inputs_read_the_same_file_with_positions_of_their_own_through_rotation_and_restarts() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (one, two) = (kafka.topic("one", 1), kafka.topic("two", 1));
    let yaml = |brokers_of_two: &str| {
        let rest = format!(
            "  other: {{ brokers: [\"{brokers_of_two}\"] }}
inputs:
  one:
    from: {{ type: file, paths: [\"DIR/logs/a.log*\"] }}
    to: {{ cluster: main, topic: {one} }}
  two:
    from: {{ type: file, paths: [\"DIR/logs/a.log\"] }}
    to: {{ cluster: other, topic: {two} }}
shutdown: {{ timeout: 2s }}
"
        );
        scene.yaml(kafka.brokers(), &rest)
    };
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    let delivered = |topic: &str, count| {
        eventually(LONG, "all lines are delivered", || {
            let written = kafka.written(topic);
            (written >= count).then_some(()).ok_or(written.to_string())
        });
    };

    // The second one has no Kafka, so their positions part.
    let away = nowhere();
    let mut daemon = scene.launch(&yaml(&away)).start();
    writer.append(100);
    delivered(&one, 100);
    writer.rotate();
    writer.append(100);
    delivered(&one, 200);
    eventually(LONG, "the second one holds both files", || {
        let books = books(&daemon, "two")?;
        let seen = books["read"]["bytes"].as_u64();
        (seen == Some(200 * 81))
            .then_some(())
            .ok_or(books.to_string())
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 75);
    assert_eq!(kafka.written(&two), 0);

    // Each goes on where it was; the first one has nothing to do.
    writer.append(50);
    let mut daemon = scene.launch(&yaml(kafka.brokers())).start();
    delivered(&one, 250);
    delivered(&two, 250);
    writer.append(25);
    writer.rotate();
    writer.append(25);
    delivered(&one, 300);
    delivered(&two, 300);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    writer.append(10);
    let mut daemon = scene.launch(&yaml(kafka.brokers())).start();
    delivered(&one, 310);
    delivered(&two, 310);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    for topic in [&one, &two] {
        let findings = judge_files(kafka.read_values(topic), "a", 80, &writer.files());
        assert!(findings.is_exactly_once(), "{topic}: {findings}");
    }
    assert!(fs::metadata(scene.path("logs/a.log.2")).is_ok());
}
