//! `logferry dead-letters`: what was set aside is shown, and reaches Kafka after all.

use std::fs;
use std::path::PathBuf;

use crate::support::command::logferry;
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::scene::{LONG, Scene, books, nowhere};

/// A daemon that has set two long lines of its three aside, and the topic.
fn aside(kafka: &RealKafka, scene: &Scene) -> (Daemon, String) {
    let topic = unique("small");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "3000")]);
    let (x, y) = ("x".repeat(5_000), "y".repeat(5_000));
    fs::write(scene.path("logs/a.log"), format!("{x}\nshort\n{y}\n")).unwrap();
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();
    eventually(LONG, "two are set aside", || {
        let books = books(&daemon, "app")?;
        match books["dead_lettered"]["lines"] == 2 && books["acked"]["lines"] == 1 {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
    (daemon, topic)
}

fn config(scene: &Scene) -> String {
    scene.path("logferry.yaml").display().to_string()
}

fn files(scene: &Scene) -> Vec<PathBuf> {
    let found = fs::read_dir(scene.path("state/dead-letters")).unwrap();
    let paths = found.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|it| it != "lock"))
        .collect()
}

#[test]
fn what_was_set_aside_is_listed_and_sent_again_beside_a_running_daemon() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (daemon, topic) = aside(kafka, &scene);
    let config = config(&scene);
    let list = logferry(&format!("dead-letters list -c {config} --json")).json();
    assert_eq!(list["count"], 2);
    assert_eq!(list["damaged"], 0);
    assert_eq!(list["groups"][0]["pipeline"], "app");
    assert_eq!(list["groups"][0]["code"], "too_large");
    let each = logferry(&format!("dead-letters list -c {config} --each"));
    assert!(each.out.contains("a.log:5007"), "{}", each.out);
    let none = logferry(&format!(
        "dead-letters list -c {config} --json --reason other"
    ));
    assert_eq!(none.json()["count"], 0);

    // As things are they are refused again, and stay.
    let again = logferry(&format!("dead-letters resend -c {config} --all"));
    assert_eq!(again.code, Some(1), "{}", again.err);
    assert!(again.err.contains("2 stay"), "{}", again.err);
    let list = logferry(&format!("dead-letters list -c {config} --json"));
    assert_eq!(list.json()["count"], 2);

    // Another topic takes them.
    let large = kafka.topic("large", 1);
    let sent = logferry(&format!(
        "dead-letters resend -c {config} --pipeline app --topic {large}"
    ));
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let values = kafka.read_values(&large);
    assert_eq!(
        values,
        ["x".repeat(5_000), "y".repeat(5_000)].map(String::into_bytes)
    );
    let list = logferry(&format!("dead-letters list -c {config}"));
    assert!(list.out.contains("nothing is set aside"), "{}", list.out);
    assert!(files(&scene).is_empty(), "{:?}", files(&scene));

    // The daemon goes on setting aside.
    let mut log = fs::OpenOptions::new()
        .append(true)
        .open(scene.path("logs/a.log"))
        .unwrap();
    std::io::Write::write_all(&mut log, format!("{}\n", "z".repeat(5_000)).as_bytes()).unwrap();
    eventually(LONG, "the next one is set aside", || {
        books(&daemon, "app").is_ok_and(|books| books["dead_lettered"]["lines"] == 3)
    });
    let list = logferry(&format!("dead-letters list -c {config} --json"));
    assert_eq!(list.json()["count"], 1);
    assert_eq!(kafka.read_values(&topic), [b"short"]);
}

#[test]
fn what_is_to_be_sent_again_is_said_and_without_kafka_it_stays() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (daemon, _) = aside(kafka, &scene);
    drop(daemon);
    let config = config(&scene);
    let unsaid = logferry(&format!("dead-letters resend -c {config}"));
    assert_eq!(unsaid.code, Some(2), "{}", unsaid.err);
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(kafka.brokers(), &nowhere())).unwrap();
    let away = logferry(&format!("dead-letters resend -c {config} --all"));
    assert_eq!(away.code, Some(69), "{}", away.err);
    let list = logferry(&format!("dead-letters list -c {config} --json"));
    assert_eq!(list.json()["count"], 2);
    assert_eq!(files(&scene).len(), 1);
}

#[test]
fn a_record_goes_to_the_partition_that_its_line_names_also_when_it_is_sent_again() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let small = unique("small");
    kafka.create_topic_with(&small, 4, &[("max.message.bytes", "3000")]);
    let large = kafka.topic("large", 4);
    let line = |p: u32| format!("{{\"p\":{p},\"t\":\"{}\"}}\n", "x".repeat(5_000));
    fs::write(scene.path("logs/a.log"), [line(3), line(1)].concat()).unwrap();
    let yaml = scene.input_yaml(kafka.brokers(), &small);
    let route = format!("topic: {small}, partitioner: manual, partition: \"{{json.p}}\"");
    let yaml = yaml.replace(&format!("topic: {small}"), &route);
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "both are set aside", || {
        books(&daemon, "app").is_ok_and(|books| books["dead_lettered"]["lines"] == 2)
    });
    let config = config(&scene);
    let sent = logferry(&format!(
        "dead-letters resend -c {config} --all --topic {large}"
    ));
    assert_eq!(sent.code, Some(0), "{}", sent.err);
    let brokers = kafka.brokers();
    let told = logferry(&format!(
        "consume -b {brokers} -t {large} --json --until end"
    ));
    assert_eq!(told.code, Some(0), "{}", told.err);
    let mut places: Vec<_> = (told.out.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|record| {
            let value = record["value"].as_str().unwrap().to_owned();
            (record["partition"].as_u64().unwrap(), value)
        })
        .collect();
    places.sort();
    let expected = [1, 3].map(|p| (u64::from(p), line(p).trim_end().to_owned()));
    assert_eq!(places, expected);
}
