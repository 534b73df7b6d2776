//! Files to Kafka, exactly once: who reads only what is committed sees each line once, whatever happens in between.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{Findings, LineWriter, judge_files, lines_of};
use crate::support::scene::{
    Dice, LONG, Scene, balanced, books, caught_up, said, try_status, turn,
};

const LENGTH: usize = 100;

/// The usual input with transactions, in the name of `id`.
fn yaml(scene: &Scene, brokers: &str, id: &str, topic: &str, delivery: &str) -> String {
    let input = format!(
        "inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log*\"] }}\n    to: {{ topic: {topic}, key: same, delivery: {delivery} }}\n"
    );
    scene
        .yaml(brokers, &input)
        .replace("id: test\n", &format!("id: {id}\n"))
}

const QUICK: &str = "{ exactly_once: { commit: 100ms } }";

fn findings(kafka: &RealKafka, topic: &str, writer: &LineWriter) -> Findings {
    judge_files(kafka.read_values(topic), "app", LENGTH, &writer.files())
}

fn transactions(daemon: &Daemon, what: &str) -> Result<u64, String> {
    let status = try_status(daemon)?;
    let counts = &status["inputs"]["app"]["transactions"];
    counts[what]
        .as_u64()
        .ok_or_else(|| format!("no transactions: {status}"))
}

/// Waits until everything that there is was read and committed. There must be something to read since the start, for before the first
/// look nothing is known to be there.
#[track_caller]
fn delivered(daemon: &Daemon) {
    eventually(LONG, "everything is delivered", || {
        if books(daemon, "app")?["read"]["lines"] == 0 {
            return Err("nothing is read yet".to_owned());
        }
        caught_up(daemon, "app")
    });
}

/// The same, for every line that was written: what nobody has noticed yet is not `unread`.
fn arrived(daemon: &Daemon, kafka: &RealKafka, topic: &str, writer: &LineWriter) {
    eventually(LONG, "every line stands in the topic", || {
        let got = kafka.read_values(topic).len() as u64;
        match writer.written() {
            want if got < want => Err(format!("{got} of {want} lines")),
            _ => Ok(()),
        }
    });
    delivered(daemon);
}

#[test]
fn every_line_is_there_once_after_kills_and_a_lost_data_dir_under_rotation() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let topic = kafka.topic("exactly", 3);
    let yaml = yaml(&scene, kafka.brokers(), &unique("host"), &topic, QUICK);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    for kill in 0..24 {
        for _ in 0..dice.between(1, 5) {
            writer.append(dice.between(1, 3000));
            dice.pause(1, 60);
            if dice.once_in(6) {
                writer.rotate();
            }
        }
        if !dice.once_in(4) {
            // Otherwise it is killed while it starts.
            let commits = dice.between(1, 4);
            eventually(LONG, "transactions are committed", || {
                writer.append(3);
                match transactions(&daemon, "committed")? {
                    few if few < commits => Err(format!("{few} of {commits}")),
                    _ => Ok(()),
                }
            });
            writer.append(dice.between(1, 20_000));
        }
        dice.pause(0, 300);
        daemon.sigkill();
        if kill % 8 == 5 {
            fs::remove_dir_all(scene.path("state")).expect("to delete data_dir");
        }
        daemon = scene.launch(&yaml).start();
    }
    writer.append(1);
    arrived(&daemon, kafka, &topic, &writer);
    assert!(balanced(&books(&daemon, "app").unwrap()));
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(kafka, &topic, &writer);
    assert!(
        findings.is_exactly_once(),
        "{findings}, {} lines",
        writer.written()
    );
}

/// What the broker is asked for in the tests about time that passes.
const SHORT: &str = "{ exactly_once: { commit: 100ms, timeout: 4s } }";

/// Waits until so many more transactions are committed, with lines to commit.
#[track_caller]
fn commits(daemon: &Daemon, writer: &mut LineWriter, more: u64) {
    let before = eventually(LONG, "/status tells of transactions", || {
        transactions(daemon, "committed")
    });
    eventually(LONG, "transactions are committed", || {
        writer.append(3);
        match transactions(daemon, "committed")? {
            few if few < before + more => Err(format!("{few} of {}", before + more)),
            _ => Ok(()),
        }
    });
}

/// The protocol's number of the request that ends a transaction.
const END_TXN: i16 = 26;

#[test]
fn a_commit_whose_answer_is_lost_is_found_out_and_nothing_comes_twice() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("doubt", 1);
    let yaml = yaml(&scene, &kafka.proxied_brokers(), "host", &topic, SHORT);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    let mut dice = Dice::new();
    for round in 1..=3 {
        commits(&daemon, &mut writer, 2);
        // At some moment; then at the moment of a commit.
        writer.append(5_000);
        dice.pause(0, 150);
        kafka.proxy().lose_answers(true);
        dice.pause(200, 5000);
        kafka.proxy().lose_answers(false);
        commits(&daemon, &mut writer, 1);
        kafka.proxy().lose_answers_after(END_TXN);
        eventually(LONG, "a commit is in doubt", || {
            writer.append(3);
            match transactions(&daemon, "in_doubt")? {
                few if few < round => Err(few.to_string()),
                _ => Ok(()),
            }
        });
        kafka.proxy().lose_answers(false);
    }
    commits(&daemon, &mut writer, 1);
    arrived(&daemon, &kafka, &topic, &writer);
    let books = books(&daemon, "app").unwrap();
    assert!(balanced(&books), "{books}");
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn silence_for_longer_than_a_transaction_may_last_ends_with_the_same_daemon_and_each_line_once() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("silence", 1);
    let yaml = yaml(&scene, &kafka.proxied_brokers(), "host", &topic, SHORT);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    for _ in 0..2 {
        commits(&daemon, &mut writer, 2);
        writer.append(5_000);
        kafka.proxy().silent(true);
        writer.append(500);
        pause(Duration::from_secs(12));
        kafka.proxy().silent(false);
    }
    commits(&daemon, &mut writer, 1);
    arrived(&daemon, &kafka, &topic, &writer);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_daemon_that_was_suspended_for_longer_than_a_transaction_may_last_goes_on() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let topic = kafka.topic("suspended", 1);
    let yaml = yaml(&scene, kafka.brokers(), "host", &topic, SHORT);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    for round in 0.. {
        assert!(round < 8, "no transaction ever ran out of time");
        commits(&daemon, &mut writer, 2);
        writer.append(20_000);
        dice.pause(0, 100);
        daemon.signal(Signal::STOP);
        // The broker looks for such transactions every ten seconds.
        pause(Duration::from_secs(15));
        writer.append(500);
        daemon.signal(Signal::CONT);
        commits(&daemon, &mut writer, 1);
        let status = try_status(&daemon).unwrap();
        if round >= 1 && status["inputs"]["app"]["rebuilds"] != 0 {
            break;
        }
    }
    commits(&daemon, &mut writer, 1);
    arrived(&daemon, &kafka, &topic, &writer);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn of_two_daemons_with_the_same_id_one_stops_with_79_and_nothing_comes_twice() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (scene, other) = (Scene::new(), Scene::new());
    let (id, topic) = (unique("host"), kafka.topic("rivals", 1));
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut first = scene
        .launch(&yaml(&scene, kafka.brokers(), &id, &topic, QUICK))
        .start();
    commits(&first, &mut writer, 2);
    // The same files and the same name: what somebody has who clones a machine with its disks.
    let cloned = yaml(&other, kafka.brokers(), &id, &topic, QUICK).replace(
        &format!("{}/logs", other.folder().display()),
        &format!("{}/logs", scene.folder().display()),
    );
    let mut second = other.launch(&cloned).start();
    // Nearly always it is the one that was there first.
    let (code, first_lost) = eventually(LONG, "one of them has stopped", || {
        writer.append(3);
        let second = second.exited().map(|status| (status.code(), false));
        first
            .exited()
            .map(|status| (status.code(), true))
            .or(second)
    });
    let (loser, mut winner) = if first_lost {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(code, Some(79), "{}", loser.stderr());
    let told = said(&loser);
    assert!(
        told.iter()
            .any(|said| said.message.contains("another daemon with the id")),
        "{}",
        loser.stderr()
    );
    commits(&winner, &mut writer, 1);
    arrived(&winner, kafka, &topic, &writer);
    winner.sigterm();
    assert_eq!(winner.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_start_waits_for_a_strangers_open_transaction_before_it_believes_the_positions() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("stranger", 1);
    let yaml = yaml(&scene, kafka.brokers(), "host", &topic, QUICK);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    commits(&daemon, &mut writer, 2);
    // The stranger's transaction holds up everything that is committed behind its first record.
    let stranger = kafka.open_transaction("logferry-positions");
    commits(&daemon, &mut writer, 5);
    daemon.sigkill();
    fs::remove_dir_all(scene.path("state")).expect("to delete data_dir");
    writer.append(100);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "it says that it waits", || {
        said(&daemon)
            .iter()
            .any(|said| said.message.contains("transaction is still open"))
    });
    assert_eq!(transactions(&daemon, "committed"), Ok(0));
    let (code, body) = daemon.get("/ready").unwrap();
    assert_eq!(code, 503);
    assert!(
        body.contains("input app waits until Kafka has told"),
        "{body}"
    );
    drop(stranger);
    arrived(&daemon, &kafka, &topic, &writer);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_record_that_is_refused_is_set_aside_once_and_its_neighbours_count() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = unique("refused");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "3000")]);
    let yaml = yaml(&scene, kafka.brokers(), &unique("host"), &topic, QUICK)
        .replace("key: same", "key: same, batch: { size: 2kB }");
    let mut lines: Vec<String> = (0..300).map(|number| format!("line {number:04}")).collect();
    for at in [7, 150, 151, 299] {
        lines[at] = format!("{at:04}{}", "x".repeat(5000));
    }
    fs::write(scene.path("logs/app.log"), lines.join("\n") + "\n").expect("to write a log");
    let mut daemon = scene.launch(&yaml).start();
    delivered(&daemon);
    let books = books(&daemon, "app").unwrap();
    assert!(balanced(&books), "{books}");
    assert_eq!(
        (&books["acked"]["lines"], &books["dead_lettered"]["lines"]),
        (&296.into(), &4.into())
    );
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let values: Vec<String> = kafka
        .read_values(&topic)
        .into_iter()
        .map(|value| String::from_utf8(value).unwrap())
        .collect();
    lines.retain(|line| line.len() < 5000);
    assert_eq!(values, lines);
    let letters = fs::read_dir(scene.path("state/dead-letters")).expect("dead letters");
    let letters: usize = letters
        .map(|file| lines_of(&file.unwrap().path()).len())
        .sum();
    assert_eq!(letters, 4);
}

#[test]
fn the_way_to_exactly_once_and_back_keeps_the_positions() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (id, topic) = (unique("host"), kafka.topic("switch", 1));
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    for delivery in [
        "at_least_once",
        QUICK,
        "at_least_once",
        QUICK,
        QUICK,
        "at_least_once",
    ] {
        let yaml = yaml(&scene, kafka.brokers(), &id, &topic, delivery);
        let mut daemon = scene.launch(&yaml).start();
        writer.append(1000);
        writer.rotate();
        writer.append(500);
        let want = writer.written();
        eventually(LONG, "everything is delivered", || {
            caught_up(&daemon, "app")?;
            let got = kafka.written(&topic);
            if got < want {
                return Err(format!("{got} of {want}"));
            }
            Ok(())
        });
        delivered(&daemon);
        daemon.sigterm();
        assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    }
    let findings = findings(kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn the_topic_for_positions_is_made_as_it_has_to_be_and_another_one_is_not_used() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("made", 1);
    let yaml = yaml(&scene, kafka.brokers(), "host", &topic, QUICK);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    writer.append(10);
    kafka.create_topic("logferry-positions", 1);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "it says what is wrong with the topic", || {
        said(&daemon)
            .iter()
            .any(|said| said.text.contains("has 1 partitions and needs 32"))
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    assert_eq!(kafka.written(&topic), 0);
    kafka.delete_topic("logferry-positions");
    let mut daemon = scene.launch(&yaml).once().start();
    assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
    assert_eq!(kafka.partitions("logferry-positions").len(), 32);
    writer.append(10);
    let mut daemon = scene.launch(&yaml).once().start();
    assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn positions_that_are_changed_by_hand_count() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("reset", 1);
    let yaml = yaml(&scene, kafka.brokers(), &unique("host"), &topic, QUICK);
    let lines: Vec<Vec<u8>> = (0..10)
        .map(|number| format!("line {number}").into_bytes())
        .collect();
    fs::write(
        scene.path("logs/app.log"),
        [lines.join(&b'\n'), vec![b'\n']].concat(),
    )
    .expect("to write a log");
    let once = || {
        let mut daemon = scene.launch(&yaml).once().start();
        assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
        kafka.read_values(&topic)
    };
    let change = |words: &str| {
        let changed = Command::new(env!("CARGO_BIN_EXE_logferry"))
            .args(["checkpoints", "reset", "--input", "app", "--execute", "-c"])
            .arg(scene.path("logferry.yaml"))
            .args(words.split(' '))
            .output()
            .unwrap();
        assert!(changed.status.success(), "{changed:?}");
    };
    assert_eq!(once(), lines);
    assert_eq!(once(), lines);
    // The last three lines.
    change("--to 49");
    let mut expected = [&lines[..], &lines[7..]].concat();
    assert_eq!(once(), expected);
    change("--forget");
    expected.extend_from_slice(&lines);
    assert_eq!(once(), expected);
    fs::remove_dir_all(scene.path("state")).expect("to delete data_dir");
    assert_eq!(once(), expected);
}

#[test]
fn a_backlog_is_committed_by_bytes_and_does_not_wait_for_the_time() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("backlog", 1);
    let seldom = "{ exactly_once: { commit: 60s, timeout: 120s } }";
    let yaml = yaml(&scene, kafka.brokers(), &unique("host"), &topic, seldom)
        .replace("inputs:", "buffer: { memory: 8MiB }\ninputs:");
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    writer.append(200_000);
    let mut daemon = scene.launch(&yaml).once().start();
    // Waiting for the time it would take an hour.
    assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
    let findings = findings(kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn brokers_that_die_and_come_back_repeat_and_lose_nothing() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let topic = kafka.topic("dead", 3);
    let yaml = yaml(&scene, kafka.brokers(), "host", &topic, SHORT);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut daemon = scene.launch(&yaml).start();
    for round in 0..3 {
        commits(&daemon, &mut writer, 2);
        writer.append(20_000);
        dice.pause(0, 200);
        kafka.kill();
        writer.append(5_000);
        if round == 1 {
            // Also for longer than a transaction may last.
            pause(Duration::from_secs(8));
        }
        kafka.restart();
    }
    commits(&daemon, &mut writer, 1);
    arrived(&daemon, &kafka, &topic, &writer);
    let books = books(&daemon, "app").unwrap();
    assert!(balanced(&books), "{books}");
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let findings = findings(&kafka, &topic, &writer);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_file_that_is_gone_and_delivered_is_forgotten_in_kafka_too() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (id, topic) = (unique("host"), kafka.topic("gone", 1));
    let yaml = yaml(&scene, kafka.brokers(), &id, &topic, QUICK);
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", LENGTH);
    let mut other = LineWriter::create(scene.path("logs/other.log"), "other", LENGTH);
    writer.append(100);
    other.append(100);
    let daemon = scene.launch(&yaml).start();
    delivered(&daemon);
    fs::remove_file(other.path()).expect("to delete a log");
    // Of each file, whether it has a position.
    let known = || {
        let prefix = format!("{{\"id\":\"{id}\",\"pipeline\":\"app\",\"mark\":\"");
        let mut known = std::collections::BTreeMap::new();
        for record in kafka.read_all("logferry-positions") {
            let key = String::from_utf8(record.key.unwrap()).unwrap();
            let file = key.strip_prefix(&prefix).map(str::to_owned);
            if let Some(file) = file.filter(|file| !file.starts_with("input")) {
                known.insert(file, record.value.is_some());
            }
        }
        known.into_values().collect::<Vec<bool>>()
    };
    assert_eq!(known(), [true, true]);
    eventually(LONG, "one position is gone", || {
        let mut known = known();
        known.sort_unstable();
        if known == [false, true] {
            Ok(())
        } else {
            Err(format!("{known:?}"))
        }
    });
}
