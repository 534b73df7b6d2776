//! What the daemon shows of itself: the admin port, and the books in the log.

#[allow(
    dead_code,
    reason = "the reader of the metrics' own tests; each takes what it needs"
)]
#[path = "../../src/metrics/strict.rs"]
mod strict;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::LineWriter;
use crate::support::scene::{Dice, LONG, SETTLED, Scene, books, nowhere, said, turn};

/// An input and an output that work on one topic.
fn both(scene: &Scene, brokers: &str, topic: &str) -> String {
    let group = unique("group");
    let input = scene.input_yaml(brokers, topic);
    let output = "outputs:\n  archive:\n    from: { topics: [TOPIC], group: GROUP }\n    to: { type: file, path: \"DIR/out/{partition}.log\" }\n";
    let output = output.replace("DIR", &scene.folder().display().to_string());
    format!(
        "{input}{}",
        output.replace("TOPIC", topic).replace("GROUP", &group)
    )
}

/// Asserts both equations of the books, in bytes, and in lines where they are known.
fn assert_balanced(books: &Value) {
    for unit in ["lines", "bytes"] {
        let count = |name: &str| books[name][unit].as_u64();
        let sum: Option<u64> = SETTLED.iter().map(|name| count(name)).sum();
        assert_eq!(count("read"), sum, "{unit} that were read: {books}");
        if let (Some(unread), Some(lost)) = (count("unread"), count("lost")) {
            assert_eq!(
                count("seen"),
                count("read").map(|read| read + unread + lost),
                "{unit} that were seen: {books}"
            );
        }
    }
}

#[test]
fn the_books_balance_at_every_moment_and_end_in_the_log() {
    const LINES: u64 = 60_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("books", 1);
    let mut daemon = scene.launch(&both(&scene, kafka.brokers(), &topic)).start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 100);
    let mut dice = Dice::new();
    eventually(LONG, "it works", || books(&daemon, "app").is_ok());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while writer.written() < LINES {
                writer.append(1_000);
                crate::support::eventually::pause(std::time::Duration::from_millis(10));
            }
        });
        for _ in 0..20 {
            assert_balanced(&books(&daemon, "app").unwrap());
            dice.pause(0, 60);
        }
    });
    eventually(LONG, "all is written", || {
        let status = daemon.status();
        assert_balanced(&status["inputs"]["app"]["books"]);
        let output = &status["outputs"]["archive"];
        // The lag is looked at once a second.
        let is_done = output["written"]["lines"] == LINES
            && output["committed"]["lines"] == LINES
            && output["total_lag"] == 0;
        if is_done {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    let last = daemon.status();
    assert_eq!(last["inputs"]["app"]["books"]["acked"]["lines"], LINES);
    assert_eq!(last["inputs"]["app"]["files"], 1);

    let told = |name: &str| {
        let mut all = said(&daemon);
        all.retain(|said| said.message == "books" && said.text.contains(name));
        all
    };
    let before = told("app").len();
    daemon.signal(Signal::USR1);
    eventually(LONG, "SIGUSR1 brings the books into the log", || {
        told("app").len() > before && told("archive").len() > before
    });
    assert_eq!(told("app").last().unwrap().fields["acked"], LINES);

    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let told = said(&daemon);
    for (kind, name, field) in [("input", "app", "acked"), ("output", "archive", "written")] {
        let of_it = told.iter().rfind(|said| said.fields[kind] == name).unwrap();
        assert_eq!(
            of_it.message, "books",
            "the last line of {name}: {}",
            of_it.text
        );
        assert_eq!(of_it.fields[field], LINES, "{}", of_it.text);
    }
}

#[test]
fn metrics_are_strict_openmetrics_and_count_what_happened() {
    const LINES: u64 = 500;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("metrics", 2);
    let daemon = scene.launch(&both(&scene, kafka.brokers(), &topic)).start();
    LineWriter::create(scene.path("logs/a.log"), "a", 99).append(LINES);
    eventually(LONG, "all is written", || {
        daemon.status()["outputs"]["archive"]["written"]["lines"] == LINES
    });

    let (code, text) = daemon.get("/metrics").unwrap();
    assert_eq!(code, 200);
    let samples = strict::parse(&text);
    let is = |label: &str, name: &str, value: u64| {
        samples.iter().any(|sample| {
            sample.labels.get(label).is_some_and(|found| found == name)
                && (sample.value - value as f64).abs() < 0.5
        })
    };
    assert!(is("input", "app", LINES), "{text}");
    assert!(is("input", "app", LINES * 100), "in bytes, too: {text}");
    assert!(is("output", "archive", LINES), "{text}");
}

#[test]
fn ready_is_told_from_alive() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("ready", 1);
    let daemon = scene.launch(&both(&scene, kafka.brokers(), &topic)).start();
    daemon.wait_ready(LONG);
    assert_eq!(daemon.get("/live").unwrap().0, 200);
    assert_eq!(daemon.get("/nothing").unwrap().0, 404);
    drop(daemon);

    let away = Scene::new();
    let daemon = away.launch(&both(&away, &nowhere(), &topic)).start();
    eventually(LONG, "/live answers", || daemon.get("/live").is_ok());
    assert_eq!(daemon.get("/live").unwrap().0, 200);
    let (code, why) = daemon.get("/ready").unwrap();
    assert_eq!(code, 503);
    assert!(why.contains("main") && why.contains("archive"), "{why}");
}
