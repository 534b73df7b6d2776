//! Files to Kafka, exactly once: who reads only what is committed sees each line once, whatever happens in between.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{Findings, LineWriter, judge_files};
use crate::support::scene::{Dice, LONG, Scene, books, caught_up, try_status, turn};

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

/// Waits until everything that there is was read and committed.
#[track_caller]
fn delivered(daemon: &Daemon) {
    eventually(LONG, "everything is delivered", || {
        if try_status(daemon)?["inputs"]["app"]["files"] == 0 {
            return Err("no file is followed yet".to_owned());
        }
        caught_up(daemon, "app")
    });
}

fn balanced(books: &Value) -> bool {
    let lines = |name: &str| books[name]["lines"].as_u64().unwrap();
    let settled = [
        "acked",
        "unconfirmed",
        "dead_lettered",
        "filtered",
        "dropped",
        "spooled",
        "in_flight",
    ];
    lines("read") == settled.iter().map(|name| lines(name)).sum::<u64>()
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
    delivered(&daemon);
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
