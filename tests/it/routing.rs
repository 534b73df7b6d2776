//! Where lines go and what is made of them, read back from a real Kafka by somebody else.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, Record, unique};
use crate::support::scene::{LONG, Scene, balanced, books, caught_up, letters, turn};

/// A daemon's configuration with one file input, `app`; `to` is what its `to:` has.
fn yaml(scene: &Scene, brokers: &str, to: &str) -> String {
    scene.yaml(
        brokers,
        &format!(
            "inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"] }}\n    to: {{ {to} }}\n"
        ),
    )
}

fn object(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_ref().unwrap()).unwrap()
}

#[test]
fn lines_go_where_their_fields_say_with_everything_that_is_made_of_them() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("routed");
    for app in ["web", "db"] {
        kafka.create_topic(&format!("{prefix}-{app}"), 3);
    }
    let lines = [
        r#"{"app":"web","user":"anna","n":1.50}"#,
        r#"{"app":"db","user":"","n":2}"#,
        r#"{"app":"web","n":3}"#,
        r#"{"app":"not a name","user":"u","n":4}"#,
        "plain",
    ];
    fs::write(scene.path("logs/a.log"), lines.join("\n") + "\n").unwrap();
    let to = format!(
        "topic: \"{prefix}-{{json.app}}\", key: \"{{json.user}}\", format: json, fields: {{ env: prod }}, \
         headers: {{ n: \"{{json.n}}\", user: \"{{json.user}}\", tag: [one, \"{{file.name}}\"] }}"
    );
    let yaml = yaml(&scene, kafka.brokers(), &to);
    let mut daemon = scene.launch(&yaml).once().start();
    // Two lines have no topic.
    assert_eq!(daemon.wait_code(LONG), 1, "{}", daemon.stderr());

    let of = |app: &str| {
        let mut records = kafka.read_all(&format!("{prefix}-{app}"));
        records.sort_by_key(|record| object(record)["file"]["offset"].as_u64());
        records
    };
    let (web, db) = (of("web"), of("db"));
    assert_eq!((web.len(), db.len()), (2, 1));
    let header = |name: &str, value: &str| (name.to_owned(), Some(value.as_bytes().to_vec()));
    assert_eq!(web[0].key.as_deref(), Some(&b"anna"[..]));
    assert_eq!(
        web[0].headers,
        [
            header("n", "1.50"),
            header("user", "anna"),
            header("tag", "one"),
            header("tag", "a.log")
        ]
    );
    assert_eq!(
        db[0].key.as_deref(),
        Some(&b""[..]),
        "an empty key is a key"
    );
    assert_eq!(db[0].headers[1], header("user", ""));
    assert_eq!(web[1].key, None, "a missing one is none");
    assert_eq!(web[1].headers.len(), 3, "a missing header is left out");
    let object = object(&web[1]);
    let offset = lines[0].len() + lines[1].len() + 2;
    assert_eq!(object["message"], lines[2]);
    assert_eq!(
        object["file"]["path"],
        scene.path("logs/a.log").to_str().unwrap()
    );
    assert_eq!(object["file"]["offset"], offset);
    assert_eq!(
        (&object["input"], &object["fields"]["env"]),
        (&"app".into(), &"prod".into())
    );
    let read_time: jiff::Timestamp = object["read_time"].as_str().unwrap().parse().unwrap();
    let apart = read_time.as_millisecond() - web[1].timestamp.unwrap();
    assert!(apart.abs() < 60_000, "{apart} ms");

    let letters = letters(&scene, "app");
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["topic"], format!("{prefix}-not a name"));
    assert_eq!(letters[0]["key"], "u");
    assert_eq!(letters[0]["headers"][0]["value"], "4");
    assert_eq!(letters[0]["code"], "illegal_topic");
    let value: Value = serde_json::from_str(letters[0]["value"].as_str().unwrap()).unwrap();
    assert_eq!(value["message"], lines[3]);
    assert_eq!(letters[1]["key"], Value::Null);
    assert!(letters[1]["reason"].as_str().unwrap().contains("lacks"));
}

#[test]
fn standard_input_is_routed_by_its_lines_too() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("piped");
    for name in ["a", "b"] {
        kafka.create_topic(&format!("{prefix}-{name}"), 1);
    }
    let input = format!(
        "inputs:\n  app:\n    from: {{ type: stdin }}\n    to: {{ topic: \"{prefix}-{{json.t}}\", format: {{ template: \"{{json.n}}/{{input}}\" }} }}\n"
    );
    let yaml = scene.yaml(kafka.brokers(), &input);
    let mut daemon = scene.launch(&yaml).stdin(Stdio::piped()).start();
    let mut stdin = daemon.stdin();
    for n in 0..1000 {
        let name = ["a", "b"][n % 2];
        writeln!(stdin, "{{\"t\":\"{name}\",\"n\":{n}}}").unwrap();
    }
    drop(stdin);
    assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
    for (name, first) in [("a", 0), ("b", 1)] {
        let values = kafka.read_values(&format!("{prefix}-{name}"));
        let expected = (first..1000)
            .step_by(2)
            .map(|n| format!("{n}/app").into_bytes());
        assert!(values.into_iter().eq(expected), "{name}");
    }
}

#[test]
fn many_topics_each_keep_their_order_through_a_kill() {
    const TOPICS: u64 = 25;
    const LINES: u64 = 25_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("many");
    for at in 0..TOPICS {
        kafka.create_topic(&format!("{prefix}-{at}"), 1);
    }
    let mut text = String::new();
    for n in 0..LINES {
        text += &format!("{{\"t\":{},\"n\":{n}}}\n", n % TOPICS);
    }
    fs::write(scene.path("logs/a.log"), text).unwrap();
    let to = format!("topic: \"{prefix}-{{json.t}}\", key: \"{{json.n}}\"");
    let yaml = yaml(&scene, kafka.brokers(), &to);
    let mut daemon = scene.launch(&yaml).start();
    let first = format!("{prefix}-0");
    eventually(LONG, "lines move", || kafka.written(&first) > 0);
    daemon.sigkill();
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "everything is delivered", || {
        let written = (0..TOPICS).map(|at| kafka.written(&format!("{prefix}-{at}")));
        // It has caught up before it began, too.
        match written.sum::<u64>() {
            LINES.. => caught_up(&daemon, "app"),
            few => Err(few.to_string()),
        }
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    for at in 0..TOPICS {
        let records = kafka.read_all(&format!("{prefix}-{at}"));
        let mut next = at;
        let mut seen = 0;
        for record in records {
            let value: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            let n = value["n"].as_u64().unwrap();
            assert_eq!((value["t"].as_u64(), n % TOPICS), (Some(at), at));
            assert_eq!(record.key.unwrap(), n.to_string().into_bytes());
            // What is repeated goes back, and on from there; nothing is left out.
            assert!(n <= next, "topic {at}: {n} after {next}");
            if n == next {
                (next, seen) = (n + TOPICS, seen + 1);
            }
        }
        assert_eq!(seen, LINES / TOPICS, "topic {at}");
    }
}

#[test]
fn exactly_once_holds_for_lines_of_many_topics_and_for_records_that_are_refused() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let prefix = unique("exact");
    for at in 0..5 {
        kafka.create_topic(&format!("{prefix}-{at}"), 2);
    }
    let to = format!(
        "topic: \"{prefix}-{{json.t}}\", format: json, headers: {{ n: \"{{json.n}}\" }}, max_record: 1200B, batch: {{ size: 1100B }}, \
         delivery: {{ exactly_once: {{ commit: 200ms, timeout: 5s }} }}"
    );
    let yaml = yaml(&scene, kafka.brokers(), &to)
        .replace("id: test", &format!("id: {}", unique("host")))
        .replace("*.log\"]", "*.log\"], max_line: { size: 600B }");
    let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut log = fs::File::create(scene.path("logs/a.log")).unwrap();
    let mut append = |range: std::ops::Range<u64>| {
        for n in range {
            let t = n % 5;
            // Escaped once more, some of them are too large.
            let x = match n % 100 {
                50 => r"\\".repeat(250),
                _ => String::new(),
            };
            writeln!(log, "{{\"t\":{t},\"n\":{n},\"x\":\"{x}\"}}").unwrap();
            if x.is_empty() {
                expected.entry(t).or_default().push(n.to_string());
            }
        }
    };
    append(0..3000);
    let mut daemon = scene.launch(&yaml).start();
    let first = format!("{prefix}-0");
    eventually(LONG, "lines move", || kafka.written(&first) > 0);
    daemon.sigkill();
    append(3000..4000);
    let mut daemon = scene.launch(&yaml).start();
    let lines: usize = expected.values().map(Vec::len).sum();
    eventually(LONG, "everything is delivered", || {
        let topics = (0..5).map(|t| kafka.read_all(&format!("{prefix}-{t}")).len());
        // It has caught up before it began, too.
        match topics.sum::<usize>() {
            read if read >= lines => caught_up(&daemon, "app"),
            few => Err(few.to_string()),
        }
    });
    let books = books(&daemon, "app").unwrap();
    assert!(balanced(&books), "{books}");
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    for (t, expected) in expected {
        let records = kafka.read_all(&format!("{prefix}-{t}"));
        let mut numbers: Vec<u64> = records
            .iter()
            .map(|record| {
                let text = record.headers[0].1.clone().unwrap();
                String::from_utf8(text).unwrap().parse().unwrap()
            })
            .collect();
        numbers.sort_unstable();
        let expected: Vec<u64> = expected.iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(numbers, expected, "topic {t}");
    }
    // After a kill one can be set aside twice.
    let letters = letters(&scene, "app");
    assert!(letters.iter().all(|it| it["code"] == "too_large"));
    assert!(letters.len() >= 40, "{}", letters.len());
}
