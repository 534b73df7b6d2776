//! Topics that are deleted and made again under the daemon's hands: lines wait for them, and go to the partitions that there are.

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, judge_partitions};
use crate::support::scene::{Dice, LONG, Scene, balanced, books, complaints, turn};
use std::time::Duration;

const SHORT: usize = 20;

/// `buffer.memory` and what everything else may take, in KiB.
const MEMORY: u64 = (16 + 40) * 1024;

fn number(books: &serde_json::Value, what: &str) -> u64 {
    books[what]["lines"].as_u64().unwrap_or_default()
}

/// Six files with a key each, so that each has an order in whichever partition it goes to.
struct Writers(Vec<LineWriter>);

impl Writers {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    fn create(scene: &Scene) -> Self {
        let create =
            |name| LineWriter::create(scene.path(&format!("logs/{name}.log")), name, SHORT);
        Self(Self::NAMES.map(create).into())
    }

    fn append(&mut self, count: u64) {
        self.0.iter_mut().for_each(|writer| writer.append(count));
    }

    fn written(&self) -> u64 {
        self.0.iter().map(LineWriter::written).sum()
    }
}

fn yaml(scene: &Scene, kafka: &RealKafka, topic: &str, more: &str) -> String {
    scene
        .input_yaml(kafka.brokers(), topic)
        .replace(
            &format!("topic: {topic} }}"),
            &format!("topic: {topic}, key: \"{{file.name}}\"{more} }}"),
        )
        .replace("inputs:", "buffer: { memory: 16MiB }\ninputs:")
}

#[track_caller]
fn acked(daemon: &Daemon, lines: u64) {
    eventually(LONG, "lines are acknowledged", || {
        let books = books(daemon, "app")?;
        assert!(balanced(&books), "{books}");
        match number(&books, "acked") >= lines {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
}

/// Deletes the topic. What is written from then on cannot go with it.
#[track_caller]
fn delete(kafka: &RealKafka, topic: &str) {
    kafka.delete_topic(topic);
    eventually(LONG, "the topic is gone", || {
        kafka.partitions(topic).is_empty()
    });
    // A broker forgets a topic a moment before its records.
    pause(Duration::from_millis(500));
}

/// What stands in the topic that was made again: of each file no number is missing behind the first that is there, in order in each partition; and nothing is
/// gone with the old topic but the first `gone` lines.
#[track_caller]
fn is_whole(kafka: &RealKafka, topic: &str, writers: &Writers, gone: u64, resent: u64) {
    let values = kafka.read_partitions(topic);
    let mut repeated = 0;
    for writer in &writers.0 {
        let name = writer.path().file_stem().unwrap().to_str().unwrap();
        let findings = judge_partitions(&values, name, SHORT, 0..writer.written());
        assert_eq!(
            (findings.foreign, findings.out_of_order),
            (0, 0),
            "{name}: {findings}"
        );
        let lost = findings.missing.len() as u64;
        assert!(
            findings.missing.iter().copied().eq(0..lost) && lost <= gone,
            "{name} has a hole, or lines are missing behind the first {gone}: {findings}"
        );
        repeated += findings.repeated;
    }
    assert!(repeated <= resent, "{repeated} twice, {resent} owned up to");
}

#[test]
fn a_topic_that_is_made_again_with_other_partitions_gets_every_line_that_the_old_one_did_not() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    for (before, after) in [(4, 1), (1, 4)] {
        let scene = Scene::new();
        let topic = kafka.topic("again", before);
        let daemon = scene.launch(&yaml(&scene, kafka, &topic, "")).start();
        let mut writers = Writers::create(&scene);
        writers.append(1_000);
        acked(&daemon, 6_000);
        writers.append(5_000);
        dice.pause(0, 60);
        delete(kafka, &topic);
        writers.append(1_000);
        kafka.create_topic(&topic, after);
        writers.append(1_000);
        acked(&daemon, writers.written());
        let resent = daemon.status()["inputs"]["app"]["resent"].as_u64().unwrap();
        is_whole(kafka, &topic, &writers, 6_000, resent);
    }
}

#[test]
fn lines_wait_for_a_topic_that_is_away_for_a_while_within_the_budget() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("away", 3);
    let daemon = scene.launch(&yaml(&scene, kafka, &topic, "")).start();
    let mut writers = Writers::create(&scene);
    writers.append(1_000);
    acked(&daemon, 6_000);
    delete(kafka, &topic);
    writers.append(100_000);
    eventually(LONG, "it says that the topic is not there", || {
        complaints(&daemon)
            .iter()
            .any(|said| said.text.contains(&topic) && said.text.contains("does not exist"))
    });
    pause(Duration::from_secs(5));
    let told = complaints(&daemon);
    assert_eq!(told.len(), 1, "{told:#?}");
    kafka.create_topic(&topic, 2);
    acked(&daemon, writers.written());
    let peak = daemon.rss_kib().peak;
    assert!(peak < MEMORY, "{peak} KiB at its highest, of {MEMORY}");
    let resent = daemon.status()["inputs"]["app"]["resent"].as_u64().unwrap();
    is_whole(kafka, &topic, &writers, 1_000, resent);
}

#[test]
fn exactly_once_goes_on_in_a_topic_that_is_made_again() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, id) = (kafka.topic("once-again", 4), unique("host"));
    let delivery = ", delivery: { exactly_once: { commit: 100ms, timeout: 10s } }";
    let yaml = yaml(&scene, kafka, &topic, delivery).replace("id: test\n", &format!("id: {id}\n"));
    let daemon = scene.launch(&yaml).start();
    let mut writers = Writers::create(&scene);
    writers.append(1_000);
    acked(&daemon, 6_000);
    writers.append(5_000);
    delete(kafka, &topic);
    kafka.create_topic(&topic, 1);
    writers.append(1_000);
    acked(&daemon, writers.written());
    is_whole(kafka, &topic, &writers, 6_000, 0);
}
