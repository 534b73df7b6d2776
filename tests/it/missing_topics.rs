//! Topics that data name and that do not exist: lines for them wait, or are set aside, and lines for others flow.

use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::scene::{LONG, Scene, balanced, books, letters, nowhere, turn};

/// Lines `{"t":TOPIC,"n":NUMBER}`, numbered for each topic.
struct Log {
    file: fs::File,
    written: [u64; 2],
}

impl Log {
    const TOPICS: [&str; 2] = ["here", "away"];

    fn create(scene: &Scene) -> Self {
        let file = fs::File::create(scene.path("logs/a.log")).unwrap();
        let written = [0; 2];
        Self { file, written }
    }

    /// So many for each topic, in turns.
    fn append(&mut self, count: u64) {
        let mut bytes = Vec::new();
        for _ in 0..count {
            for (topic, n) in Self::TOPICS.iter().zip(&mut self.written) {
                writeln!(bytes, "{{\"t\":\"{topic}\",\"n\":{n}}}").unwrap();
                *n += 1;
            }
        }
        self.file.write_all(&bytes).unwrap();
    }
}

/// One file input whose lines name their topics; `more` is added to its `to:`.
fn yaml(scene: &Scene, brokers: &str, prefix: &str, more: &str) -> String {
    scene.yaml(
        brokers,
        &format!(
            "inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"] }}\n    to: {{ topic: \"{prefix}-{{json.t}}\"{more} }}\n"
        ),
    )
}

/// The numbers in a topic, in order.
fn numbers(kafka: &RealKafka, topic: &str) -> Vec<u64> {
    let values = kafka.read_values(topic).into_iter();
    values.map(|value| number(&value)).collect()
}

fn number(value: &[u8]) -> u64 {
    let line: Value = serde_json::from_slice(value).unwrap();
    line["n"].as_u64().unwrap()
}

fn lines(daemon: &Daemon, what: &str) -> Result<u64, String> {
    let books = books(daemon, "app")?;
    assert!(balanced(&books), "{books}");
    Ok(books[what]["lines"].as_u64().unwrap())
}

#[track_caller]
fn arrive(kafka: &RealKafka, topic: &str, expected: std::ops::Range<u64>) {
    let count = expected.end - expected.start;
    eventually(LONG, "the topic has its lines", || {
        match kafka.written(topic) {
            written if written >= count => Ok(()),
            written => Err(format!("{written} of {count}")),
        }
    });
    assert_eq!(numbers(kafka, topic), expected.collect::<Vec<_>>());
}

#[test]
fn lines_for_a_topic_that_data_name_wait_for_it_while_others_flow() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("wait");
    let [here, away] = Log::TOPICS.map(|topic| format!("{prefix}-{topic}"));
    kafka.create_topic(&here, 1);
    let mut log = Log::create(&scene);
    log.append(500);
    let daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), &prefix, ""))
        .start();
    arrive(kafka, &here, 0..500);
    log.append(500);
    arrive(kafka, &here, 0..1_000);
    assert!(lines(&daemon, "in_flight").unwrap() >= 1_000);
    assert_eq!(lines(&daemon, "dead_lettered"), Ok(0));
    assert!(
        daemon.stderr().contains("does not exist"),
        "{}",
        daemon.stderr()
    );
    kafka.create_topic(&away, 1);
    arrive(kafka, &away, 0..1_000);
    log.append(10);
    arrive(kafka, &away, 0..1_010);
    eventually(LONG, "the books say so", || {
        lines(&daemon, "acked") == Ok(2_020)
    });
}

#[test]
fn lines_for_a_topic_that_stays_away_are_set_aside_after_the_time_that_was_given() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("aside");
    let [here, away] = Log::TOPICS.map(|topic| format!("{prefix}-{topic}"));
    kafka.create_topic(&here, 1);
    let mut log = Log::create(&scene);
    log.append(100);
    // What is refused for its own sake is something else.
    let more = ", on_missing_topic: { dead_letter_after: 2s }, on_refused: drop";
    let daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), &prefix, more))
        .start();
    let aside = |count| {
        eventually(LONG, "lines are set aside", || {
            match lines(&daemon, "dead_lettered")? {
                lines if lines == count => Ok(()),
                lines => Err(format!("{lines} of {count}")),
            }
        });
    };
    arrive(kafka, &here, 0..100);
    aside(100);
    let all = letters(&scene, "app");
    let told = all.iter().map(|letter| {
        assert_eq!(letter["code"], "missing_topic");
        assert_eq!(letter["topic"], away.as_str());
        number(letter["value"].as_str().unwrap().as_bytes())
    });
    assert!(told.eq(0..100));
    // It has been away for long enough: nothing waits any more.
    log.append(10);
    aside(110);
    kafka.create_topic(&away, 1);
    eventually(LONG, "the topic is found", || {
        log.append(1);
        kafka.written(&away) > 0
    });
    // A topic that goes away is missing, too.
    kafka.delete_topic(&here);
    let before = lines(&daemon, "dead_lettered").unwrap();
    log.append(20);
    eventually(LONG, "lines for the deleted topic are set aside", || {
        let last = letters(&scene, "app").pop().unwrap();
        lines(&daemon, "dead_lettered").unwrap() > before && last["topic"] == here.as_str()
    });
    assert_eq!(lines(&daemon, "dropped"), Ok(0));
}

#[test]
fn exactly_once_sets_lines_for_a_missing_topic_aside_once() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("once");
    let [here, _] = Log::TOPICS.map(|topic| format!("{prefix}-{topic}"));
    kafka.create_topic(&here, 1);
    let mut log = Log::create(&scene);
    log.append(100);
    let more = ", on_missing_topic: { dead_letter_after: 1s }, delivery: { exactly_once: { commit: 100ms, timeout: 10s } }";
    let yaml = yaml(&scene, kafka.brokers(), &prefix, more);
    let yaml = yaml.replace("id: test\n", &format!("id: {}\n", unique("host")));
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "everything has come to its end", || {
        log.append(1);
        let (acked, aside) = (lines(&daemon, "acked")?, lines(&daemon, "dead_lettered")?);
        match acked >= 150 && aside >= 150 {
            true => Ok(()),
            false => Err(format!("{acked}, {aside}")),
        }
    });
    let [written, _] = log.written;
    arrive_committed(kafka, &here, written);
    let letters = letters(&scene, "app");
    let numbers = letters
        .iter()
        .map(|letter| number(letter["value"].as_str().unwrap().as_bytes()));
    assert!(numbers.eq(0..written), "{} letters", letters.len());
}

/// Transaction marks count as records of a topic, so it is read.
#[track_caller]
fn arrive_committed(kafka: &RealKafka, topic: &str, count: u64) {
    eventually(LONG, "the topic has its lines", || {
        match numbers(kafka, topic).len() as u64 {
            read if read >= count => Ok(()),
            read => Err(format!("{read} of {count}")),
        }
    });
    assert!(numbers(kafka, topic).into_iter().eq(0..count));
}

#[test]
fn while_nobody_answers_no_topic_is_missing() {
    let scene = Scene::new();
    let mut log = Log::create(&scene);
    log.append(100);
    let more = ", on_missing_topic: { dead_letter_after: 0s }";
    let daemon = scene
        .launch(&yaml(&scene, &nowhere(), "gone", more))
        .start();
    eventually(LONG, "it says that nobody answers", || {
        daemon.stderr().contains("is not reached")
    });
    eventually(LONG, "lines are read", || {
        lines(&daemon, "in_flight").is_ok_and(|lines| lines == 200)
    });
    assert_eq!(lines(&daemon, "dead_lettered"), Ok(0));
    assert!(letters(&scene, "app").is_empty());
}
