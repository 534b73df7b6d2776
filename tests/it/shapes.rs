//! The shapes of what the operator's commands print, for people and for programs, held as snapshots in `snapshots/`: what changes here changes
//! somebody's scripts. `INSTA_UPDATE=always cargo test --test it shapes` takes new ones; keys of JSON are only ever added.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use insta::assert_snapshot;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;

use crate::support::command::logferry;
use crate::support::console::run;
use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::scene::{LONG, Scene, nowhere, turn};

/// What differs from run to run, as something of the same width where it stands in a table.
const FILTERS: [(&str, &str); 7] = [
    (r"127\.0\.0\.1:\d{5}", "127.0.0.1:PORT_"),
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "00000000-0000-0000-0000-000000000000",
    ),
    (r"\b1[78]\d{11}\b", "NOW"),
    (r"topic page-[\d-]+", "topic TOPIC"),
    // How much it is on disk depends on how records came together.
    (r"[\d.]+ ([KMG]i)?B\b", "SIZE"),
    (r" +SIZE\b", " SIZE"),
    (r#""size": \d+"#, r#""size": N"#),
];

/// Exit code, standard output, standard error.
fn said(line: &str, brokers: &str) -> String {
    let said = logferry(&format!("{line} -b {brokers}"));
    let code = said.code.unwrap_or(-1);
    format!(
        "$ logferry {line}\n{}{}[{code}]\n",
        said.out,
        match said.err.as_str() {
            "" => String::new(),
            err => format!("--- standard error\n{err}"),
        }
    )
}

macro_rules! held {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ filters => FILTERS.to_vec(), omit_expression => true, prepend_module_to_snapshot => false }, {
            assert_snapshot!($name, $text);
        });
    };
}

/// A member that has all partitions of the topic.
fn joined(kafka: &RealKafka, group: &str, topic: &str, partitions: usize) -> BaseConsumer {
    let member = kafka.member(group, topic, "reader", "classic");
    eventually(LONG, "the partitions are given to it", || {
        drop(member.poll(Duration::from_millis(20)));
        member.assignment().unwrap().count() == partitions
    });
    member
}

/// Every key of a document, but names of pipelines and reasons.
fn keys(document: &Value, into: &mut BTreeSet<String>) {
    match document {
        Value::Object(object) => {
            for (key, value) in object {
                into.insert(key.clone());
                let is_named = ["inputs", "outputs", "by"].contains(&key.as_str());
                match value.as_object().filter(|_| is_named) {
                    Some(named) => named.values().for_each(|value| keys(value, into)),
                    None => keys(value, into),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, into)),
        _ => {}
    }
}

/// README says what every key is called.
fn is_documented(document: &Value) {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut found = BTreeSet::new();
    keys(document, &mut found);
    assert!(!found.is_empty());
    for key in found {
        let named = [format!("`{key}`"), format!("`{key}["), format!("`{key}.")];
        let is_named = named.iter().any(|named| readme.contains(named.as_str()));
        assert!(is_named, "README does not name the key {key}");
    }
}

#[test]
fn what_topics_and_groups_print_keeps_its_shape() {
    let _turn = turn();
    // One of its own: what there is, is part of the shape.
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let brokers = kafka.brokers().to_owned();
    let all = |lines: &[&str]| -> String {
        let said = lines.iter().map(|line| said(line, &brokers) + "\n");
        said.collect()
    };
    held!(
        "topics_create",
        all(&[
            "topics create web --partitions 2 --replication 1 --config retention.ms=86400000",
            "topics create audit --partitions 1 --json",
            "topics create web --partitions 2",
        ])
    );
    kafka.produce_at("web", 0, &[1_000, 2_000, 3_000]);
    kafka.produce_at("web", 1, &[1_700_000_000_000; 12]);
    kafka.commit("archive", "web", &[(0, 2), (1, 10)]);
    held!(
        "topics_list",
        all(&[
            "topics list",
            "topics list --json",
            "topics list --json --internal"
        ])
    );
    held!(
        "topics_describe",
        all(&[
            "topics describe web",
            "topics describe web --json",
            "topics describe nothing"
        ])
    );
    held!("groups_list", all(&["groups list", "groups list --json"]));
    held!(
        "groups_describe",
        all(&[
            "groups describe archive",
            "groups describe archive --times",
            "groups describe archive --times --json",
            "groups describe nobody",
        ])
    );
    held!(
        "groups_reset",
        all(&[
            "groups reset archive --to earliest",
            "groups reset archive --to 5 --json",
            "groups reset archive -t web:1 --to -2 --execute",
        ])
    );
    let member = joined(&kafka, "archive", "web", 2);
    for line in [
        "topics list",
        "topics describe web",
        "groups list",
        "groups describe archive --times",
        "groups reset archive --to latest",
    ] {
        is_documented(&logferry(&format!("{line} --json -b {brokers}")).json());
    }
    held!(
        "groups_with_a_member",
        all(&[
            "groups list",
            "groups describe archive",
            "groups describe archive --json",
            "groups reset archive --to latest",
            "groups reset archive --to latest --execute",
        ])
    );
    drop(member);
    held!(
        "topics_delete",
        all(&[
            "topics delete web",
            "topics delete web --yes",
            "topics delete audit --yes --json"
        ])
    );
}

#[test]
fn what_produce_and_consume_print_keeps_its_shape() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("page", 1);
    let produced = |arguments: &[&str], stdin: &str| {
        let arguments = [&["-t", &topic], arguments].concat();
        let ended = run("produce", kafka.brokers(), &arguments, stdin.as_bytes());
        let shown = arguments[2..].join(" ");
        format!(
            "$ logferry produce {shown}\n{}--- standard error\n{}[{}]\n\n",
            ended.text(),
            ended.stderr.replace(&topic, "TOPIC"),
            ended.code
        )
    };
    let record = r#"{"topic":"a","partition":0,"offset":7,"timestamp_ms":1234,"timestamp_type":"create","key":"k","value":"v","headers":[{"name":"n","value":null}]}"#;
    let mut text = produced(&["-K:", "-Z", "-H", "a=b", "--sync"], "k:one\ntwo\n:\n");
    text += &produced(
        &["--json"],
        &format!("{record}\nnonsense\n{{\"key\":\"k\"}}\n"),
    );
    text += &produced(&["--acks", "0", "-q"], "");
    held!("produce", text);
    let consumed = |arguments: &[&str]| {
        let arguments = [&["-t", &topic, "--until", "end"], arguments].concat();
        let ended = run("consume", kafka.brokers(), &arguments, b"");
        let shown = arguments[4..].join(" ");
        let err = ended.stderr.clone();
        format!(
            "$ logferry consume {shown}\n{}--- standard error\n{err}\n",
            ended.well()
        )
        .replace(&topic, "TOPIC")
    };
    let mut text = consumed(&[]);
    text += &consumed(&["-Z", "-K", "="]);
    text += &consumed(&["-f", r"%t %p %o %k %s %S %K %h\n"]);
    let json = consumed(&["--json"]);
    for line in json.lines().filter(|line| line.starts_with('{')) {
        is_documented(&serde_json::from_str(line).unwrap());
    }
    text += &json;
    text += &consumed(&["-v", "--grep", "v|t"]);
    held!("consume", text);
}

#[test]
fn what_partition_of_and_status_print_keeps_its_shape() {
    let text = |line: &str| format!("$ logferry {line}\n{}\n", logferry(line).out);
    held!(
        "partition_of",
        text("partition-of -n 12 user-7 user-8")
            + &text("partition-of -n 12 --hex 00ff --json")
            + &text("partition-of -n 12 user-7 user-8 --json")
    );

    let scene = Scene::new();
    fs::write(scene.path("logs/a.log"), "one\ntwo\n").unwrap();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    let output = "outputs:\n  archive:\n    from: { topics: [t], group: g }\n    to: { type: file, path: \"DIR/out/{partition}.log\" }\n";
    let yaml = yaml + &output.replace("DIR", &scene.folder().display().to_string());
    fs::write(scene.path("logferry.yaml"), &yaml).unwrap();
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "both lines are on their way", || {
        let status = daemon.status();
        status["inputs"]["app"]["books"]["in_flight"]["lines"] == 2
            && status["outputs"]["archive"]["state"] == "waiting"
    });
    let config = scene.path("logferry.yaml").display().to_string();
    let shown = logferry(&format!("status -c {config}")).out;
    let document = logferry(&format!("status -c {config} --json")).json();
    is_documented(&document);
    // Of the document the kinds of its values count.
    let mut document = format!("{document:#}");
    for (pattern, kind) in [
        (r": -?\d[\d.e-]*(,?)\n", ": N$1\n"),
        (r"127.0.0.1:\d+", "ADDRESS"),
    ] {
        let pattern = regex::Regex::new(pattern).unwrap();
        document = pattern.replace_all(&document, kind).into_owned();
    }
    let first = shown.split_once('\n').unwrap();
    assert!(first.0.starts_with("logferry "), "{shown}");
    held!("status", format!("{}\n{document}\n", first.1));
}
