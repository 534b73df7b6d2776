//! Records that Kafka refuses for their own sake: only the guilty one is dealt with, as `on_refused` says, and nobody else notices.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::free_ports;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, judge};
use crate::support::scene::{LONG, Scene, balanced, books, caught_up, letters, said, try_status};

/// A topic with one partition that takes no batch of more than 3000 bytes.
fn small_topic(kafka: &RealKafka) -> String {
    let topic = unique("small");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "3000")]);
    topic
}

fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

/// A line that no topic of [`small_topic`] takes.
fn long(letter: &str) -> String {
    letter.repeat(5_000)
}

/// Waits until so many lines are read and settled.
fn settled(daemon: &Daemon, input: &str, lines: u64) {
    eventually(LONG, "everything is settled", || {
        let books = books(daemon, input)?;
        match books["read"]["lines"] == lines {
            true => caught_up(daemon, input),
            false => Err(books.to_string()),
        }
    });
}

#[test]
fn a_refused_record_is_set_aside_and_what_was_queued_behind_it_arrives_in_order() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = small_topic(kafka);
    let log = scene.path("logs/a.log");
    let mut writer = LineWriter::create(&log, "a", 80);
    writer.append(500);
    let place = fs::metadata(&log).unwrap().len();
    append(&log, &long("x"));
    writer.append(5_000);
    append(&log, &long("y"));
    writer.append(10);
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();
    settled(&daemon, "app", 5_512);

    let findings = judge(kafka.read_values(&topic), "a", 80, 0..5_510);
    assert!(findings.is_exactly_once(), "{findings}");
    let books = books(&daemon, "app").unwrap();
    assert_eq!(books["dead_lettered"]["lines"], 2);
    assert_eq!(books["acked"]["lines"], 5_510);
    assert!(balanced(&books), "{books}");
    let letters = letters(&scene, "app");
    let values: Vec<&str> = letters
        .iter()
        .map(|it| it["value"].as_str().unwrap())
        .collect();
    assert_eq!(values, [long("x"), long("y")]);
    assert_eq!(letters[0]["code"], "too_large");
    assert_eq!(letters[0]["topic"], topic.as_str());
    assert_eq!(letters[0]["source"]["path"], log.to_str().unwrap());
    assert_eq!(letters[0]["source"]["offset"], place);
    let meta = fs::metadata(scene.path("state/dead-letters/app.jsonl")).unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    // Two in ten seconds are one line of the log, which says where.
    let told: Vec<_> = said(&daemon)
        .into_iter()
        .filter(|said| said.message.contains("a record is refused"))
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].fields["offset"], place);
    assert!(told[0].text.contains("a.log"), "{}", told[0].text);
}

#[test]
fn a_record_that_the_broker_names_is_set_aside_and_its_neighbours_of_the_same_batch_arrive() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = unique("timely");
    let hour = "3600000";
    kafka.create_topic_with(&topic, 1, &[("message.timestamp.before.max.ms", hour)]);
    let [port] = free_ports();
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "inputs:\n  syslog:\n    from: {{ type: syslog, listen: [\"tcp://127.0.0.1:{port}\"] }}\n    to: {{ topic: {topic}, timestamp: event }}\n"
        ),
    );
    let daemon = scene.launch(&yaml).start();
    daemon.wait_ready(LONG);
    let now = Timestamp::now();
    let mut messages = String::new();
    for number in 0..100 {
        let age = if number % 40 == 17 { 5 } else { 0 };
        let time = now - SignedDuration::from_hours(age);
        messages.push_str(&format!("<13>1 {time:.3} host app - - - {number}\n"));
    }
    let mut sender = TcpStream::connect(("127.0.0.1", port)).unwrap();
    sender.write_all(messages.as_bytes()).unwrap();
    eventually(LONG, "all are accounted for", || {
        let books = books(&daemon, "syslog")?;
        let is_over = books["read"]["lines"] == 100 && books["in_flight"]["lines"] == 0;
        if is_over {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    let numbers = |values: Vec<String>| -> Vec<u64> {
        let last = |text: &String| text.rsplit(' ').next().unwrap().parse().unwrap();
        values.iter().map(last).collect()
    };
    let arrived = kafka.read_values(&topic).into_iter();
    let arrived = arrived.map(|value| String::from_utf8(value).unwrap());
    let good: Vec<u64> = (0..100).filter(|number| number % 40 != 17).collect();
    assert_eq!(numbers(arrived.collect()), good);
    let letters = letters(&scene, "syslog");
    let aside = letters
        .iter()
        .map(|it| it["value"].as_str().unwrap().to_owned());
    assert_eq!(numbers(aside.collect()), [17, 57, 97]);
    for letter in letters {
        let code = letter["code"].as_str().unwrap();
        assert!(
            ["invalid_timestamp", "invalid_record"].contains(&code),
            "{letter}"
        );
    }
}

#[test]
fn a_refused_record_is_dropped_or_stops_its_input_as_configured_and_the_other_inputs_go_on() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topics = [small_topic(kafka), small_topic(kafka)];
    for name in ["drop", "stop"] {
        let log = scene.path(&format!("logs/{name}.log"));
        fs::write(&log, format!("before\n{}\nafter\n", long("x"))).unwrap();
    }
    let yaml = |stop: &str| {
        scene.yaml(
            kafka.brokers(),
            &format!(
                "inputs:
  drop:
    from: {{ type: file, paths: [DIR/logs/drop.log] }}
    to: {{ topic: {}, on_refused: drop }}
  stop:
    from: {{ type: file, paths: [DIR/logs/stop.log] }}
    to: {{ topic: {}, on_refused: {stop} }}
",
                topics[0], topics[1]
            ),
        )
    };
    let mut daemon = scene.launch(&yaml("stop")).start();
    settled(&daemon, "drop", 3);
    let of_drop = books(&daemon, "drop").unwrap();
    assert_eq!(of_drop["dropped"]["lines"], 1, "{of_drop}");
    assert_eq!(of_drop["acked"]["lines"], 2, "{of_drop}");
    assert!(balanced(&of_drop), "{of_drop}");
    let reasons = &try_status(&daemon).unwrap()["inputs"]["drop"]["books"]["dropped"];
    assert!(reasons.to_string().contains("too_large"), "{reasons}");
    assert_eq!(kafka.read_values(&topics[0]), [&b"before"[..], b"after"]);

    let told = eventually(LONG, "/ready names the input that stopped", || match daemon
        .get("/ready")?
    {
        (503, body) if body.contains("input stop stopped") => Ok(body),
        (code, body) => Err(format!("{code} {body}")),
    });
    assert!(told.contains("stop.log at byte 7"), "{told}");
    append(&scene.path("logs/drop.log"), "later");
    eventually(LONG, "the other one goes on", || {
        kafka.written(&topics[0]) == 3
    });
    assert!(letters(&scene, "stop").is_empty() && letters(&scene, "drop").is_empty());
    daemon.sigterm();
    daemon.wait_code(LONG);

    // Nothing was passed over: with another policy it goes on where it stopped.
    let daemon = scene.launch(&yaml("dead_letter")).start();
    settled(&daemon, "stop", 3);
    assert_eq!(letters(&scene, "stop").len(), 1);
    let values = kafka.read_values(&topics[1]);
    assert!(
        values.starts_with(&[b"before".to_vec()]) && values.ends_with(&[b"after".to_vec()]),
        "{values:?}"
    );
}

#[test]
fn full_dead_letters_pause_that_input_alone_until_there_is_room() {
    full_dead_letters("at_least_once");
}

#[test]
fn full_dead_letters_pause_an_input_that_is_delivered_exactly_once() {
    full_dead_letters("{ exactly_once: { commit: 100ms } }");
}

fn full_dead_letters(delivery: &str) {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    // The same partition and the same producer.
    let topic = small_topic(kafka);
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "dead_letters: {{ max_size: 8KB }}
inputs:
  full:
    from: {{ type: file, paths: [DIR/logs/full.log] }}
    to: {{ topic: {topic}, delivery: {delivery} }}
  free:
    from: {{ type: file, paths: [DIR/logs/free.log] }}
    to: {{ topic: {topic} }}
"
        ),
    );
    let full = scene.path("logs/full.log");
    fs::write(&full, format!("0\n{}\n{}\n1\n", long("x"), long("y"))).unwrap();
    let mut free = LineWriter::create(scene.path("logs/free.log"), "a", 80);
    free.append(10);
    let daemon = scene.launch(&yaml).start();

    let told = eventually(
        LONG,
        "/ready says which input waits, and why",
        || match daemon.get("/ready")? {
            (503, body) if body.contains("input full waits: the dead letters are full") => Ok(body),
            (code, body) => Err(format!("{code} {body}")),
        },
    );
    assert!(told.contains("dead letters are full"), "{told}");
    let status = try_status(&daemon).unwrap();
    assert_eq!(status["inputs"]["full"]["state"], "waiting");
    assert_eq!(status["inputs"]["free"]["state"], "running");
    let of_full = books(&daemon, "full").unwrap();
    assert!(balanced(&of_full), "{of_full}");
    assert_eq!(of_full["in_flight"]["lines"], 4, "one batch, not settled");
    append(&full, "2");
    for _ in 0..20 {
        free.append(10);
        settled(&daemon, "free", free.written());
    }
    assert_eq!(letters(&scene, "full").len(), 1);

    // An operator makes room.
    let file = scene.path("state/dead-letters/full.jsonl");
    fs::rename(&file, scene.path("moved")).unwrap();
    settled(&daemon, "full", 5);
    assert_eq!(letters(&scene, "full").len(), 1);
    daemon.wait_ready(LONG);
    let mine: Vec<_> = kafka.read_values(&topic);
    for number in [b"0", b"1", b"2"] {
        assert!(mine.iter().any(|value| value == number));
    }
}
