//! `--once`: what is there now, delivered, then a summary and the end.

use std::fs;

use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, judge, lines_of};
use crate::support::scene::{LONG, Scene, nowhere};

#[test]
fn once_delivers_what_is_there_sums_it_up_and_exits_0() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("once", 2);
    LineWriter::create(scene.path("logs/a.log"), "a", 80).append(1_111);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    for _ in 0..2 {
        // The second time there is nothing left to do.
        let mut daemon = scene.launch(&yaml).once().start();
        assert_eq!(daemon.wait_code(LONG), 0);
    }
    assert_eq!(kafka.written(&topic), 1_111);

    let first = scene.path("stderr-1.stdout");
    let summary = fs::read_to_string(first).unwrap();
    assert!(
        summary.contains("1111") && summary.contains("app") && summary.contains(&topic),
        "{summary}"
    );
}

#[test]
fn once_writes_the_topic_as_it_is_now_and_exits_0() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("once-out", 2), unique("group"));
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!("outputs:\n  archive:\n    from: {{ topics: [{topic}], group: {group} }}\n    to: {{ type: file, path: \"DIR/out/{{partition}}.log\" }}\n"),
    );
    let mut from = 0;
    for _ in 0..2 {
        kafka.produce(&topic, 700, |number| {
            let mut value = Vec::new();
            crate::support::lines::line(&mut value, "r", from + number, 50);
            value.pop();
            (Some(number.to_string().into_bytes()), value)
        });
        from += 700;
        let mut daemon = scene.launch(&yaml).once().start();
        assert_eq!(daemon.wait_code(LONG), 0);
        let summary = daemon.stdout();
        assert!(
            summary.contains("700") && summary.contains("archive"),
            "{summary}"
        );
    }

    let all = (0..2).flat_map(|partition| lines_of(&scene.path(&format!("out/{partition}.log"))));
    let findings = judge(all, "r", 50, 0..from);
    assert_eq!(
        (findings.missing.len(), findings.repeated, findings.foreign),
        (0, 0, 0)
    );
    assert_eq!(kafka.group_lag(&group, &topic), 0);
}

#[test]
fn once_goes_through_kafka_and_back() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("there-and-back", 3), unique("group"));
    LineWriter::create(scene.path("logs/a.log"), "a", 80).append(5_000);
    let input = scene.input_yaml(kafka.brokers(), &topic);
    let yaml = format!(
        "{input}outputs:\n  archive:\n    from: {{ topics: [{topic}], group: {group} }}\n    to: {{ type: file, path: \"{}/out/{{partition}}.log\" }}\n",
        scene.folder().display()
    );
    let mut daemon = scene.launch(&yaml).once().start();

    assert_eq!(daemon.wait_code(LONG), 0);
    let all = (0..3).flat_map(|partition| lines_of(&scene.path(&format!("out/{partition}.log"))));
    let all: Vec<_> = all.collect();
    let findings = judge(&all, "a", 80, 0..5_000);
    assert_eq!(
        (findings.missing.len(), findings.repeated, findings.foreign),
        (0, 0, 0)
    );
    assert_eq!(kafka.group_lag(&group, &topic), 0);
}

#[test]
fn once_gives_up_after_its_timeout_and_says_what_is_left() {
    let scene = Scene::new();
    LineWriter::create(scene.path("logs/a.log"), "a", 80).append(2_222);
    let mut daemon = scene
        .launch(&scene.input_yaml(&nowhere(), "nowhere"))
        .once()
        .argument("--timeout")
        .argument("3s")
        .start();

    let code = daemon.wait_code(LONG);
    assert!([1, 75].contains(&code), "{code}");
    let all = format!("{}{}", daemon.stdout(), daemon.stderr());
    assert!(all.contains("2222"), "{all}");
}
