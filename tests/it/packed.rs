//! `pack`: many lines in one record.

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::{LineWriter, judge};
use crate::support::scene::{Dice, LONG, Scene, balanced, books, caught_up, letters, turn};

const LENGTH: usize = 80;

fn yaml(scene: &Scene, kafka: &RealKafka, topic: &str, to: &str) -> String {
    scene.yaml(
        kafka.brokers(),
        &format!(
            "inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"] }}\n    to: {{ topic: {topic}{to} }}\n"
        ),
    )
}

/// The lines of all records.
fn lines(kafka: &RealKafka, topic: &str) -> Vec<Vec<u8>> {
    let records = kafka.read_values(topic);
    let lines = records
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b'\n'));
    lines.map(<[u8]>::to_vec).collect()
}

#[test]
fn lines_of_a_file_arrive_in_few_records_and_cut_at_line_feeds_they_are_the_file() {
    const LINES: u64 = 20_000;
    const PACK: usize = 16 * 1024;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("packed", 1);
    LineWriter::create(scene.path("logs/a.log"), "a", LENGTH).append(LINES);
    let yaml = yaml(&scene, kafka, &topic, ", pack: 16KiB");
    let mut daemon = scene.launch(&yaml).once().start();
    assert_eq!(daemon.wait_code(LONG), 0);

    let records = kafka.read_values(&topic);
    let wanted = LINES as usize * (LENGTH + 1) / PACK;
    assert!(
        (wanted..=2 * wanted + 50).contains(&records.len()),
        "{}",
        records.len()
    );
    assert!(
        records
            .iter()
            .all(|value| value.len() <= PACK && !value.ends_with(b"\n"))
    );
    let file = std::fs::read(scene.path("logs/a.log")).unwrap();
    assert_eq!([records.join(&b'\n'), b"\n".to_vec()].concat(), file);
    let summary = daemon.stdout();
    assert!(summary.contains("20000"), "lines are counted: {summary}");
}

#[test]
fn nothing_is_missing_of_packed_lines_after_kills() {
    const KILLS: u64 = 5;
    const LINES: u64 = 3_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (scene, mut dice) = (Scene::new(), Dice::new());
    let topic = kafka.topic("packed-kills", 1);
    let yaml = yaml(&scene, kafka, &topic, ", pack: 4KiB");
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", LENGTH);
    for _ in 0..KILLS {
        let before = kafka.written(&topic);
        let mut daemon = scene.launch(&yaml).start();
        writer.append(LINES);
        eventually(LONG, "lines move", || kafka.written(&topic) > before);
        dice.pause(0, 150);
        daemon.sigkill();
    }
    writer.append(LINES);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "everything is delivered", || {
        caught_up(&daemon, "app").is_ok()
    });
    let books: Value = books(&daemon, "app").unwrap();
    assert!(balanced(&books), "{books}");
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    let findings = judge(lines(kafka, &topic), "a", LENGTH, 0..writer.written());
    assert!(findings.is_at_least_once(), "{findings}");
}

#[test]
fn a_pack_that_the_broker_refuses_is_set_aside_as_one_with_all_its_lines() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("packed-large", 1);
    kafka.create_topic_with(
        &format!("{topic}-small"),
        1,
        &[("max.message.bytes", "2000")],
    );
    LineWriter::create(scene.path("logs/a.log"), "a", LENGTH).append(100);
    let to = "-small, pack: 4KiB";
    let mut daemon = scene
        .launch(&yaml(&scene, kafka, &topic, to))
        .once()
        .start();
    daemon.wait_code(LONG);

    let letters = letters(&scene, "app");
    let aside = letters
        .iter()
        .map(|letter| letter["value"].as_str().unwrap());
    let aside: usize = aside.map(|value| value.lines().count()).sum();
    let arrived = lines(kafka, &format!("{topic}-small")).len();
    assert_eq!(
        (aside + arrived, aside > 0),
        (100, true),
        "{aside} and {arrived}"
    );
}
