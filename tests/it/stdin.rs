//! Standard input into Kafka: the end of the input is the end of the daemon, after the last line is delivered.

use std::io::Write;
use std::process::Stdio;

use crate::support::kafka::RealKafka;
use crate::support::lines::{judge, line};
use crate::support::scene::{LONG, Scene, nowhere, turn};

fn yaml(scene: &Scene, brokers: &str, topic: &str) -> String {
    scene.yaml(
        brokers,
        &format!("shutdown: {{ timeout: 2s }}\ninputs:\n  pipe:\n    from: {{ type: stdin }}\n    to: {{ topic: {topic} }}\n"),
    )
}

#[test]
fn four_hundred_thousand_lines_are_all_there_at_exit_0() {
    const LINES: u64 = 400_000;
    const LENGTH: usize = 60;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("stdin", 1);
    let mut daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), &topic))
        .stdin(Stdio::piped())
        .start();
    let mut stdin = daemon.stdin();
    let mut bytes = Vec::new();
    for number in 0..LINES {
        line(&mut bytes, "p", number, LENGTH);
        if bytes.len() > 1 << 16 {
            stdin.write_all(&bytes).unwrap();
            bytes.clear();
        }
    }
    stdin.write_all(&bytes).unwrap();
    drop(stdin);

    assert_eq!(daemon.wait_code(LONG), 0);
    let findings = judge(kafka.read_values(&topic), "p", LENGTH, 0..LINES);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_last_line_without_a_line_feed_is_delivered() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    for (text, records) in [
        (&b"one\ntwo"[..], &["one", "two"][..]),
        (b"one\r\n\ntwo\n", &["one", "", "two"]),
        (b"", &[]),
    ] {
        let scene = Scene::new();
        let topic = kafka.topic("last", 1);
        let mut daemon = scene
            .launch(&yaml(&scene, kafka.brokers(), &topic))
            .stdin(Stdio::piped())
            .start();
        daemon.stdin().write_all(text).unwrap();

        assert_eq!(daemon.wait_code(LONG), 0);
        let values = kafka.read_values(&topic);
        let expected = records.iter().map(|record| record.as_bytes());
        assert_eq!(values, expected.collect::<Vec<_>>());
    }
}

#[test]
fn without_a_kafka_it_ends_with_75_and_says_how_many_lines_were_not_delivered() {
    let scene = Scene::new();
    let mut daemon = scene
        .launch(&yaml(&scene, &nowhere(), "nowhere"))
        .stdin(Stdio::piped())
        .start();
    let mut bytes = Vec::new();
    (0..4_321).for_each(|number| line(&mut bytes, "p", number, 30));
    daemon.stdin().write_all(&bytes).unwrap();

    assert_eq!(daemon.wait_code(LONG), 75);
    let stderr = daemon.stderr();
    assert!(
        stderr
            .lines()
            .any(|line| line.contains("4321") && line.contains("deliver")),
        "{stderr}"
    );
}
