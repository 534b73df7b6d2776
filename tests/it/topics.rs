//! `logferry topics`: what topics there are, making and deleting one; and how all Kafka commands find their cluster.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::command::{logferry, logferry_with};
use crate::support::kafka::{RealKafka, unique};
use crate::support::{free_ports, temp_dir};

/// What an operator waits for an answer that does not come, at most. The machine may be busy.
const FEW_SECONDS: Duration = Duration::from_secs(15);

#[test]
fn a_topic_is_made_described_listed_and_deleted() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (brokers, topic) = (kafka.brokers(), unique("made"));
    let said = logferry(&format!(
        "topics create {topic} -b {brokers} --partitions 3 --replication 1 --config retention.ms=86400000 --config max.message.bytes=2000 --json"
    ));
    assert_eq!(
        said.json(),
        json!({"created": topic, "partitions": 3, "replication": 1})
    );

    kafka.produce_at(&topic, 1, &[1_000, 2_000, 3_000]);
    let shown = logferry(&format!("topics describe {topic} -b {brokers} --json")).json();
    assert_eq!(shown["topic"], *topic);
    assert_eq!(shown["records"], 3);
    let node = &shown["partitions"][0]["leader"];
    assert!(node.is_i64(), "{shown}");
    let size = |partition: usize| shown["partitions"][partition]["size"].as_u64().unwrap();
    assert_eq!(
        shown["partitions"][1],
        json!({"partition": 1, "leader": node, "replicas": [node], "isr": [node], "beginning": 0, "end": 3, "size": size(1)})
    );
    assert!(size(1) > 0, "{shown}");
    assert_eq!(shown["size"], size(0) + size(1) + size(2));
    let tool = "org.apache.kafka.tools.LogDirsCommand";
    if let Some(told) = kafka.tool(tool, &["--describe", "--topic-list", &topic]) {
        let told = told.lines().find(|line| line.starts_with('{')).unwrap();
        let told: Value = serde_json::from_str(told).unwrap();
        let folders = &told["brokers"][0]["logDirs"];
        for one in folders[0]["partitions"].as_array().unwrap() {
            let name = one["partition"].as_str().unwrap();
            let number: usize = name.rsplit('-').next().unwrap().parse().unwrap();
            assert_eq!(one["size"], size(number), "{name}: {told}");
        }
    }
    assert_eq!(shown["partitions"].as_array().unwrap().len(), 3);
    let set: Vec<&Value> = shown["config"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["source"] == "topic")
        .collect();
    assert_eq!(
        set,
        [
            &json!({"name": "max.message.bytes", "value": "2000", "source": "topic"}),
            &json!({"name": "retention.ms", "value": "86400000", "source": "topic"}),
        ]
    );

    let said = logferry(&format!("topics describe {topic} -b {brokers}"));
    let rows = said.rows();
    assert_eq!(rows[0][..3], [&format!("{topic}:"), "3", "records,"]);
    assert_eq!(
        rows[2].join(" "),
        "PARTITION LEADER REPLICAS ISR BEGINNING END RECORDS SIZE"
    );
    assert_eq!(rows[4][4..7], ["0", "3", "3"]);
    assert!(!said.out.contains('\x1b'), "{}", said.out);

    let listed = |flags: &str| {
        let all = logferry(&format!("topics list -b {brokers} --json {flags}")).json();
        let all = all["topics"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["topic"] == *topic)
    };
    let expected = json!({"topic": topic, "partitions": 3, "replication": 1, "under_replicated": 0,
        "without_leader": 0, "internal": false});
    assert_eq!(listed(""), Some(expected.clone()));
    assert_eq!(listed("--internal"), Some(expected));
    let said = logferry(&format!("topics list -b {brokers}"));
    let row = said
        .rows()
        .into_iter()
        .find(|row| row.first() == Some(&&*topic));
    assert_eq!(row.unwrap()[1..], ["3", "1", "0", "0"]);

    let said = logferry(&format!("topics delete {topic} -b {brokers}"));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("3 partitions, 3 records"), "{}", said.err);
    assert!(listed("").is_some());
    let said = logferry(&format!("topics delete {topic} -b {brokers} --yes --json"));
    assert_eq!(
        said.json(),
        json!({"deleted": topic, "partitions": 3, "records": 3})
    );
    assert_eq!(listed(""), None);
}

#[test]
fn only_a_topic_that_is_named_letter_by_letter_is_deleted() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (brokers, topic) = (kafka.brokers(), kafka.topic("kept", 1));
    let pattern = &topic[..topic.len() - 1];
    for name in [
        format!("{pattern}*"),
        format!("^{topic}"),
        format!("{topic},b"),
    ] {
        let said = logferry(&format!("topics delete {name} -b {brokers} --yes"));
        assert_eq!(said.code, Some(2), "{name}: {}", said.err);
    }
    let said = logferry(&format!("topics delete {pattern} -b {brokers} --yes"));
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(kafka.partitions(&topic), [0]);
}

#[test]
fn what_the_broker_refuses_is_told_in_its_words() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (brokers, topic) = (kafka.brokers(), kafka.topic("there", 1));
    for (line, words) in [
        (format!("create {topic} --partitions 1"), "already exists"),
        (
            format!("create {} --partitions 1 --replication 30", unique("no")),
            "replicat",
        ),
        (
            format!("create {} --partitions 1 --config no.such=1", unique("no")),
            "no.such",
        ),
        (format!("describe {}", unique("no")), "there is no topic"),
        (
            format!("delete {} --yes", unique("no")),
            "there is no topic",
        ),
    ] {
        let said = logferry(&format!("topics {line} -b {brokers}"));
        assert_eq!(said.code, Some(1), "{line}: {}", said.err);
        assert!(said.err.contains(words), "{line}: {}", said.err);
        assert_eq!(said.out, "", "{line}");
    }
    for line in [
        "create x",
        "create x --partitions 0",
        "describe",
        "create x --partitions 1 --config y",
    ] {
        let said = logferry(&format!("topics {line} -b {brokers}"));
        assert_eq!(said.code, Some(2), "{line}");
    }
}

#[test]
fn when_nobody_answers_it_is_said_soon_where_and_why() {
    let [closed] = free_ports();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap();
    for command in [
        "topics list",
        "groups list",
        "groups describe g",
        "groups reset g --to latest",
        "topics describe t",
        "topics create t --partitions 1",
        "topics delete t --yes",
        "produce -t t",
        "consume -t t",
        "consume -t ^t -g g",
    ] {
        let said = logferry(&format!("{command} -b 127.0.0.1:{closed}"));
        assert_eq!(said.code, Some(69), "{command}: {}", said.err);
        let expected = format!("no broker answers at 127.0.0.1:{closed}: ");
        assert!(said.err.contains(&expected), "{}", said.err);
        assert!(said.err.contains("refused"), "{}", said.err);
        assert!(said.took < FEW_SECONDS, "{:?}", said.took);
    }
    for (flags, words) in [
        ("-b nohost.invalid:9092".to_owned(), "nohost.invalid"),
        (format!("-b {silent}"), "no broker answers at"),
    ] {
        for command in ["topics list", "produce -t t", "consume -t t"] {
            let said = logferry(&format!("{command} {flags}"));
            assert_eq!(said.code, Some(69), "{command} {flags}: {}", said.err);
            assert!(said.err.contains(words), "{command}: {}", said.err);
            assert!(said.took < FEW_SECONDS, "{command}: {:?}", said.took);
        }
    }
}

#[test]
fn tls_to_a_plain_listener_is_told_as_such() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let flags = format!("-b {} -X security.protocol=ssl", kafka.brokers());
    for command in ["topics list", "produce -t t", "consume -t t"] {
        let said = logferry(&format!("{command} {flags}"));
        assert_eq!(said.code, Some(69), "{command}: {}", said.err);
        assert!(said.err.contains("SSL"), "{command}: {}", said.err);
    }
}

#[test]
fn a_login_needs_no_secret_on_the_command_line_and_a_refused_one_is_told() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let Some(brokers) = kafka.login_brokers() else {
        return;
    };
    let folder = temp_dir();
    let file = folder.path().join("password");
    fs::write(&file, "secret\n").unwrap();
    let line = format!("topics list -b {brokers} -X sasl.mechanism=PLAIN -X sasl.username=me");
    let said = logferry(&format!("{line} -X sasl.password=@{}", file.display()));
    assert_eq!(said.code, Some(0), "{}", said.err);
    let said = logferry_with(&line, &[("LOGFERRY_X_SASL_PASSWORD", "secret")]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    // Who logs in is not told how large a topic is.
    let topic = kafka.topic("login", 1);
    let described = line.replace("topics list", &format!("topics describe {topic} --json"));
    let said = logferry_with(&described, &[("LOGFERRY_X_SASL_PASSWORD", "secret")]);
    assert_eq!(said.json()["size"], Value::Null);

    for command in ["topics list", "produce -t t", "consume -t t"] {
        let line = line.replace("topics list", command);
        let said = logferry(&format!("{line} -X sasl.password=wr0ng"));
        assert_eq!(said.code, Some(69), "{command}: {}", said.err);
        let expected = format!("no broker answers at {brokers}: the login is refused: ");
        assert!(said.err.contains(&expected), "{command}: {}", said.err);
        assert!(!said.err.contains("wr0ng"), "{}", said.err);
        assert!(said.took < FEW_SECONDS, "{:?}", said.took);
    }
    let said = logferry(&format!("topics list -b {brokers}"));
    assert_eq!(said.code, Some(69), "{}", said.err);
    assert!(said.err.contains("does it want TLS"), "{}", said.err);
}

#[test]
fn the_cluster_comes_from_the_configuration_or_the_environment() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let brokers = kafka.brokers();
    let folder = temp_dir();
    let file = folder.path().join("logferry.yaml");
    let write = |clusters: &str| {
        let pipe = "inputs: { p: { from: { type: stdin }, to: { topic: t, cluster: one } } }";
        fs::write(&file, format!("clusters: {clusters}\n{pipe}\n")).unwrap();
    };
    let file = file.display();
    let list = |flags: &str| logferry(&format!("topics list {flags}")).code;

    write(&format!("{{ one: {{ brokers: [\"{brokers}\"] }} }}"));
    assert_eq!(list(&format!("-c {file}")), Some(0));
    assert_eq!(list(&format!("-c {file} --cluster one")), Some(0));
    assert_eq!(list(&format!("-c {file} --cluster two")), Some(2));
    write(&format!(
        "{{ one: {{ brokers: [\"127.0.0.1:1\"] }}, two: {{ brokers: [\"{brokers}\"] }} }}"
    ));
    assert_eq!(list(&format!("-c {file}")), Some(2));
    assert_eq!(list(&format!("-c {file} --cluster two")), Some(0));
    assert_eq!(list(&format!("-c {file} -b {brokers}")), Some(2));
    write("{ one: { broker: [x] } }");
    assert_eq!(list(&format!("-c {file}")), Some(78));

    let said = logferry_with("topics list", &[("LOGFERRY_BROKERS", brokers)]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let wrong = [
        ("LOGFERRY_BROKERS", brokers),
        ("LOGFERRY_X_NO_SUCH", "value"),
    ];
    let said = logferry_with("topics list", &wrong);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("no.such"), "{}", said.err);
}
