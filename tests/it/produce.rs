//! `logferry produce`: lines become records, and each is told to be delivered or not.

use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::Signal;

use crate::support::command::logferry;
use crate::support::console::{Ended, run, spawn};
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, Record};
use crate::support::lines::{judge, line};
use crate::support::scene::{LONG, nowhere, turn};
use crate::support::temp_dir;

fn produce(kafka: &RealKafka, topic: &str, arguments: &[&str], stdin: &[u8]) -> Ended {
    let arguments = [&["-t", topic], arguments].concat();
    run("produce", kafka.brokers(), &arguments, stdin)
}

fn some(text: &str) -> Option<Vec<u8>> {
    Some(text.into())
}

/// Key and value; absent is null.
type Pair = (Option<Vec<u8>>, Option<Vec<u8>>);

fn pairs(records: Vec<Record>) -> Vec<Pair> {
    let records = records.into_iter();
    records.map(|record| (record.key, record.value)).collect()
}

#[test]
fn lines_become_records_and_their_count_is_told() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce", 1);
    let ended = produce(kafka, &topic, &[], b"one\n\ntwo\r\n\xff\0three");
    assert_eq!((ended.code, ended.text()), (0, String::new()));
    assert_eq!(ended.stderr, format!("4 records delivered to {topic}\n"));
    let expected: [&[u8]; 4] = [b"one", b"", b"two", b"\xff\0three"];
    assert_eq!(kafka.read_values(&topic), expected);

    let ended = produce(kafka, &topic, &["--quiet"], b"");
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn many_lines_arrive_once_and_in_order_with_every_kind_of_acks_and_codec() {
    const LINES: u64 = 60_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut bytes = Vec::new();
    (0..LINES).for_each(|number| line(&mut bytes, "p", number, 200));
    for arguments in [
        &[][..],
        &["--acks", "-1", "-z", "zstd"],
        &["--acks", "1", "--compression", "lz4"],
        &["--acks=1", "-z", "snappy", "-H", "a=b"],
        &["--acks", "0", "-z", "gzip"],
    ] {
        let topic = kafka.topic("produce-many", 1);
        let ended = produce(kafka, &topic, arguments, &bytes);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        if arguments.contains(&"0") {
            // Nobody confirms: they are on their way.
            assert!(ended.stderr.contains("unconfirmed"), "{}", ended.stderr);
            eventually(LONG, "all are there", || kafka.written(&topic) == LINES);
        }
        let findings = judge(kafka.read_values(&topic), "p", 200, 0..LINES);
        assert!(findings.is_exactly_once(), "{arguments:?}: {findings}");
    }
}

#[test]
fn keys_stand_before_a_delimiter_and_empty_ones_are_null_when_asked() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let text = b"k\tv\tw\n\te\nx\t\nplain\n";
    let topic = kafka.topic("produce-keys", 1);
    assert_eq!(produce(kafka, &topic, &["-K", r"\t"], text).code, 0);
    let expected = [
        (some("k"), some("v\tw")),
        (some(""), some("e")),
        (some("x"), some("")),
        (None, some("plain")),
    ];
    assert_eq!(pairs(kafka.read_all(&topic)), expected);

    let topic = kafka.topic("produce-null", 1);
    assert_eq!(produce(kafka, &topic, &["-K\t", "-Z"], text).code, 0);
    let expected = [
        (some("k"), some("v\tw")),
        (None, some("e")),
        (some("x"), None),
        (None, some("plain")),
    ];
    assert_eq!(pairs(kafka.read_all(&topic)), expected);
}

#[test]
fn keys_are_made_of_a_template_and_lines_are_named_by_their_file() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let folder = temp_dir();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("a.log"), "one\ntwo").unwrap();
    fs::write(path("b.log"), "x".repeat(3000) + "\n").unwrap();
    let topic = kafka.topic("produce-files", 1);
    let arguments = [
        "--key",
        "{file.name}@{file.offset}",
        "-X",
        "message.max.bytes=2000",
        &path("a.log"),
        &path("b.log"),
    ];
    let ended = produce(kafka, &topic, &arguments, b"");
    assert_eq!(ended.code, 1);
    let told = format!("{}:1: not delivered: larger than", path("b.log"));
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    let expected = [
        (some("a.log@0"), some("one")),
        (some("a.log@4"), some("two")),
    ];
    assert_eq!(pairs(kafka.read_all(&topic)), expected);

    let ended = produce(kafka, &topic, &["-k", "{file.name}"], b"x\n");
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("{host} {line}"), "{}", ended.stderr);
    let ended = produce(kafka, &topic, &[&path("missing.log")], b"");
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("missing.log"), "{}", ended.stderr);
    assert_eq!(produce(kafka, &topic, &["-k", "fixed"], b"x\n").code, 0);
    assert_eq!(kafka.read_all(&topic)[2].key, some("fixed"));
}

#[test]
fn a_pipe_with_a_name_is_read_to_its_end() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-fifo", 1);
    let folder = temp_dir();
    let path = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.unwrap().success());
    let fifo = path.to_str().unwrap();
    let arguments = ["produce", "-b", kafka.brokers(), "-t", &topic, fifo];
    let mut waiting = spawn(&arguments, Stdio::null());
    eventually(LONG, "interrupts are caught", || {
        waiting.catches_interrupts()
    });
    // It is heard while nobody writes.
    waiting.signal(Signal::INT);
    assert_eq!(waiting.ends().code, 0);
    let mut console = spawn(&arguments, Stdio::null());
    let mut writer = fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"one\n").unwrap();
    eventually(LONG, "the line is there", || kafka.written(&topic) == 1);
    writer.write_all(b"two").unwrap();
    drop(writer);
    assert_eq!(console.ends().code, 0);
    assert_eq!(kafka.read_values(&topic), [b"one", b"two"]);
    let ended = produce(kafka, &topic, &[folder.path().to_str().unwrap()], b"");
    assert_eq!(ended.code, 2);
}

#[test]
fn every_record_has_the_headers_in_their_order() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-headers", 1);
    let arguments = [
        "-H", "n=1", "--header", "n=2", "-H", "empty=", "-H", "m=a=b",
    ];
    assert_eq!(produce(kafka, &topic, &arguments, b"x\ny\n").code, 0);
    let reader: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", "nobody")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Beginning)
        .unwrap();
    reader.assign(&list).unwrap();
    for value in ["x", "y"] {
        let message = reader.poll(LONG).unwrap().unwrap();
        assert_eq!(message.payload(), Some(value.as_bytes()));
        let headers = message.headers().unwrap();
        let headers: Vec<_> = headers
            .iter()
            .map(|it| (it.key, it.value.map(String::from_utf8_lossy)))
            .collect();
        let expected = [("n", "1"), ("n", "2"), ("empty", ""), ("m", "a=b")];
        let expected = expected.map(|(name, value)| (name, Some(value.into())));
        assert_eq!(headers, expected);
    }
    assert_eq!(produce(kafka, &topic, &["-H", "=x"], b"").code, 2);
}

#[test]
fn all_records_go_to_the_partition_that_is_named() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-partition", 3);
    let ended = produce(kafka, &topic, &["-p", "2", "-K:"], b"a:1\nb:2\n3\n");
    assert_eq!(ended.code, 0);
    assert!(kafka.read_all(&topic).iter().all(|it| it.partition == 2));
    let ended = produce(kafka, &topic, &["-p", "3"], b"a\n");
    assert_eq!(ended.code, 1);
    let told = "has no partition 3: it has 3, counted from 0";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[test]
fn keyed_records_go_where_other_clients_would_put_them() {
    const PARTITIONS: i32 = 7;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    let text: String = keys.iter().map(|key| format!("{key}:v\n")).collect();
    let placed = |topic: &str| {
        let records = kafka.read_all(topic).into_iter();
        let mut placed: Vec<_> = records.map(|it| (it.key.unwrap(), it.partition)).collect();
        placed.sort();
        placed
    };
    let names = keys.join(" ");
    let told: Vec<serde_json::Value> =
        logferry(&format!("partition-of -n {PARTITIONS} --json {names}"))
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
    let told = |hash: &str| {
        let partitions = told.iter().map(|one| one["partitions"][hash].as_i64());
        let partitions = partitions.map(|partition| partition.unwrap() as i32);
        let mut told: Vec<_> = (keys.iter().map(|key| key.clone().into_bytes()))
            .zip(partitions)
            .collect();
        told.sort();
        told
    };
    for ours in [
        "murmur2_random",
        "murmur2",
        "consistent_random",
        "consistent",
        "fnv1a_random",
        "fnv1a",
        "sarama_reference",
    ] {
        let topic = kafka.topic("ours", PARTITIONS);
        let arguments = ["-K:", "--partitioner", ours];
        assert_eq!(produce(kafka, &topic, &arguments, text.as_bytes()).code, 0);
        let hash = ours.trim_end_matches("_random");
        assert_eq!(placed(&topic), told(hash), "{ours} and partition-of");
        if ours == "sarama_reference" {
            // librdkafka does not know it.
            continue;
        }
        let other = kafka.topic("theirs", PARTITIONS);
        let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
            .set("bootstrap.servers", kafka.brokers())
            .set("partitioner", ours)
            .create()
            .unwrap();
        for key in &keys {
            let record = BaseRecord::to(&other).key(key).payload("v");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(LONG).unwrap();
        assert_eq!(placed(&topic), placed(&other), "{ours}");
    }
    let topic = kafka.topic("spread", PARTITIONS);
    let arguments = ["--partitioner", "random"];
    assert_eq!(produce(kafka, &topic, &arguments, text.as_bytes()).code, 0);
    assert!(kafka.end_offsets(&topic).values().all(|end| *end > 0));
}

#[test]
fn one_after_another_each_tells_where_it_stands() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-sync", 2);
    let ended = produce(
        kafka,
        &topic,
        &["--sync", "-K:", "-q"],
        b"a:1\nb:2\nc:3\na:4\n",
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let records = kafka.read_all(&topic);
    let told = ended.text();
    assert_eq!(told.lines().count(), 4);
    for (told, value) in told.lines().zip(["1", "2", "3", "4"]) {
        let record = records.iter().find(|it| it.value == some(value)).unwrap();
        let Record {
            partition, offset, ..
        } = record;
        let time = record.timestamp.unwrap();
        assert_eq!(told, format!("{partition}\t{offset}\t{time}"));
    }
}

#[test]
fn only_the_record_that_the_broker_refuses_is_undelivered() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = crate::support::kafka::unique("produce-large");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "1000")]);
    let text = format!("one\n{}\ntwo\n", "x".repeat(3000));
    let ended = produce(kafka, &topic, &[], text.as_bytes());
    assert_eq!(ended.code, 1);
    let told = "line 2: not delivered: larger than a record may be";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let told = format!("2 records delivered to {topic}, 1 NOT delivered");
    assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    assert_eq!(kafka.read_values(&topic), [b"one", b"two"]);
}

#[test]
fn a_line_that_is_no_record_in_json_is_told_and_the_others_are_delivered() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-json", 1);
    let text = b"{\"value\":\"a\",\"timestamp_ms\":1000}\n{\"level\":\"info\"}\n{\"key\":\"k\",\"value\":null}\n";
    let ended = produce(kafka, &topic, &["--json"], text);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("line 2: "), "{}", ended.stderr);
    let records = kafka.read_all(&topic);
    assert_eq!(records[0].timestamp, Some(1000));
    let expected = [(None, some("a")), (some("k"), None)];
    assert_eq!(pairs(records), expected);
}

#[test]
fn where_nobody_answers_address_and_reason_are_told_within_seconds() {
    let begun = Instant::now();
    let brokers = nowhere();
    let ended = run("produce", &brokers, &["-t", "t"], b"x\n");
    assert_eq!(ended.code, 69);
    let said = &ended.stderr;
    assert!(
        said.contains(&brokers) && said.contains("Connection refused"),
        "{said}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_topic_that_is_missing_is_told() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let ended = produce(kafka, "no-such-topic", &[], b"x\n");
    assert_eq!(ended.code, 1);
    let said = &ended.stderr;
    assert!(said.contains("no-such-topic does not exist"), "{said}");
}

#[test]
fn the_cluster_of_a_configuration_is_used() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-config", 1);
    let folder = temp_dir();
    let file = folder.path().join("a.yaml");
    let brokers = kafka.brokers();
    let yaml = format!(
        "data_dir: state\nclusters: {{ one: {{ brokers: [\"{brokers}\"] }}, two: {{ brokers: embedded }} }}\n\
         inputs: {{ p: {{ from: {{ type: stdin }}, to: {{ topic: t, cluster: one }} }} }}\n"
    );
    fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let arguments = ["produce", "-c", file, "--cluster", "one", "-t", &topic];
    let mut console = spawn(&arguments, Stdio::piped());
    console.stdin().write_all(b"x\n").unwrap();
    assert_eq!(console.ends().code, 0);
    assert_eq!(kafka.read_values(&topic), [b"x"]);
}

#[test]
fn interrupted_it_delivers_what_it_read() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("produce-interrupt", 1);
    let arguments = ["produce", "-b", kafka.brokers(), "-t", &topic];
    for (text, code) in [("one\ntwo\n", 0), ("three\nhal", 1)] {
        let mut console = spawn(&arguments, Stdio::piped());
        let mut stdin = console.stdin();
        let before = kafka.written(&topic);
        stdin.write_all(text.as_bytes()).unwrap();
        // Lines do not wait for others to come.
        let lines = text.matches('\n').count() as u64;
        eventually(LONG, "the lines are there", || {
            kafka.written(&topic) == before + lines
        });
        console.signal(Signal::INT);
        let ended = console.ends();
        assert_eq!(ended.code, code, "{}", ended.stderr);
        assert!(
            ended.stderr.contains(&format!("{lines} record")),
            "{}",
            ended.stderr
        );
    }
    assert_eq!(kafka.written(&topic), 3);
}

#[test]
fn when_kafka_hangs_every_line_is_counted() {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let topic = kafka.topic("produce-hang", 1);
    let arguments = [
        "produce",
        "-b",
        kafka.brokers(),
        "-t",
        &topic,
        "--timeout",
        "3s",
    ];
    let mut console = spawn(&arguments, Stdio::piped());
    let mut stdin = console.stdin();
    stdin.write_all(b"one\n").unwrap();
    eventually(LONG, "the line is there", || kafka.written(&topic) == 1);
    let arguments = ["produce", "-b", kafka.brokers(), "-t", &topic];
    let mut patient = spawn(&arguments, Stdio::piped());
    let mut typed = patient.stdin();
    typed.write_all(b"two\n").unwrap();
    eventually(LONG, "the line is there", || kafka.written(&topic) == 2);
    kafka.stop_process();
    typed.write_all(b"three\nfour\n").unwrap();
    let mut bytes = Vec::new();
    (0..50).for_each(|number| line(&mut bytes, "p", number, 30));
    stdin.write_all(&bytes).unwrap();
    drop(stdin);
    let ended = console.ends();
    // The first interrupt ends reading, the second one waiting.
    eventually(LONG, "the patient one leaves", || {
        patient.signal(Signal::INT);
        patient.has_ended()
    });
    let left = patient.ends();
    kafka.cont_process();
    assert_eq!(left.code, 130);
    let told = format!("1 record delivered to {topic}, 2 NOT delivered");
    assert!(left.stderr.contains(&told), "{}", left.stderr);
    assert!(left.stderr.contains("line 3: "), "{}", left.stderr);
    assert_eq!(ended.code, 1);
    let said = &ended.stderr;
    let told = format!("1 record delivered to {topic}, 50 NOT delivered");
    assert!(said.contains(&told), "{said}");
    assert!(
        said.contains("line 2: not delivered: no acknowledgement for 3s"),
        "{said}"
    );
}
