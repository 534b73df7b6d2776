//! `logferry consume`: records of topics become lines, from where to where one says.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rustix::process::Signal;

use crate::support::console::{Console, Ended, run, spawn, spawn_into};
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{judge, line};
use crate::support::scene::{LONG, nowhere, turn};

fn consume(kafka: &RealKafka, topic: &str, arguments: &[&str]) -> Ended {
    let arguments = [&["-t", topic], arguments].concat();
    run("consume", kafka.brokers(), &arguments, b"")
}

fn producer(
    kafka: &RealKafka,
    settings: &[(&str, &str)],
) -> ThreadedProducer<DefaultProducerContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config.create().unwrap()
}

/// Values `0`, `1`, ... in partition 0, each a second after the other, from second 1000 of 1970 on.
fn seconds(kafka: &RealKafka, prefix: &str, partitions: i32, count: i64) -> String {
    let topic = kafka.topic(prefix, partitions);
    let producer = producer(kafka, &[]);
    for number in 0..count {
        let value = number.to_string();
        let record = BaseRecord::<(), _>::to(&topic)
            .payload(&value)
            .partition(0)
            .timestamp((1000 + number) * 1000);
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LONG).unwrap();
    topic
}

#[test]
fn it_begins_and_ends_where_it_is_told() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = seconds(kafka, "consume-places", 2, 10);
    let end = "--until=end";
    for (arguments, expected) in [
        (&[end][..], "0 1 2 3 4 5 6 7 8 9"),
        (&[end, "--from", "beginning"], "0 1 2 3 4 5 6 7 8 9"),
        (&[end, "--from", "end"], ""),
        (&[end, "--from", "7"], "7 8 9"),
        (&[end, "-o", "-2"], "8 9"),
        (&[end, "-o", "-200"], "0 1 2 3 4 5 6 7 8 9"),
        (&[end, "--from", "@1006500"], "7 8 9"),
        (&[end, "--from", "1970-01-01T00:16:48Z"], "8 9"),
        (&[end, "--from", "-1h"], ""),
        (&["-p0", "--until", "3"], "0 1 2"),
        (&["--until", "@1002000"], "0 1"),
        (&["--until", "2020-01-01", "--from", "8"], "8 9"),
        (&["--count", "4"], "0 1 2 3"),
        (&["--from", "5", "-n", "2"], "5 6"),
        (&["--for", "3s", "-o", "6"], "6 7 8 9"),
    ] {
        println!("{arguments:?}");
        let printed = consume(kafka, &topic, arguments).well();
        let printed: Vec<&str> = printed.lines().collect();
        assert_eq!(printed.join(" "), expected, "{arguments:?}");
    }
}

#[test]
fn without_an_end_it_waits_for_more_and_an_interrupt_ends_it_well() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = seconds(kafka, "consume-more", 1, 2);
    let arguments = ["consume", "-b", kafka.brokers(), "-t", &topic];
    let mut console = spawn(&arguments, Stdio::null());
    eventually(LONG, "both are printed", || console.stdout() == b"0\n1\n");
    kafka.produce(&topic, 1, |_| (None, b"new".to_vec()));
    eventually(LONG, "the new one is printed", || {
        console.stdout() == b"0\n1\nnew\n"
    });
    console.signal(Signal::INT);
    assert_eq!(console.ends().code, 0);
}

#[test]
fn many_records_of_several_partitions_are_printed_once() {
    const RECORDS: u64 = 200_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("consume-many", 1);
    kafka.produce(&topic, RECORDS, |number| {
        let mut bytes = Vec::new();
        line(&mut bytes, "p", number, 100);
        bytes.pop();
        (None, bytes)
    });
    let ended = consume(kafka, &topic, &["--until", "end"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let lines = ended.stdout.split(|byte| *byte == b'\n');
    let findings = judge(lines, "p", 100, 0..RECORDS);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn partitions_and_topics_are_chosen_by_number_name_and_pattern() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (one, two) = (unique("choose-a"), unique("choose-b"));
    let producer = producer(kafka, &[]);
    for (topic, partitions) in [(&one, 3), (&two, 1)] {
        kafka.create_topic(topic, partitions);
        for partition in 0..partitions {
            let value = format!("{}{partition}", &topic[7..8]);
            let record = BaseRecord::<(), _>::to(topic)
                .payload(&value)
                .partition(partition);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(LONG).unwrap();
    let sorted = |topic: &str, arguments: &[&str]| {
        let arguments = [&["--until", "end"], arguments].concat();
        let printed = consume(kafka, topic, &arguments).well();
        let mut lines: Vec<_> = printed.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    assert_eq!(sorted(&one, &[]), "a0 a1 a2");
    assert_eq!(sorted(&one, &["-p", "0,2"]), "a0 a2");
    assert_eq!(sorted(&one, &["-p0", "-p", "1"]), "a0 a1");
    assert_eq!(sorted(&one, &["-t", &two]), "a0 a1 a2 b0");
    let pattern = format!("^choose-[ab]{}", &one[8..20]);
    assert_eq!(sorted(&pattern, &[]), "a0 a1 a2 b0");

    let ended = consume(kafka, &one, &["-p", "3"]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("no partition 3"), "{}", ended.stderr);
    let ended = consume(kafka, "^nothing-like-it$", &[]);
    assert!(
        ended.stderr.contains("no topic matches"),
        "{}",
        ended.stderr
    );
    let ended = consume(kafka, "no-such-topic", &[]);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("does not exist"), "{}", ended.stderr);
}

/// A record with everything, and one with nothing.
fn full_and_bare(kafka: &RealKafka) -> String {
    let topic = kafka.topic("consume-format", 1);
    let producer = producer(kafka, &[]);
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("n", Some("1")))
        .insert(header("n", Some("2")))
        .insert(header("null", None::<&str>));
    let record = BaseRecord::to(&topic)
        .key("key")
        .payload("value")
        .timestamp(1234)
        .headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    let record = BaseRecord::<(), ()>::to(&topic).timestamp(5678);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(LONG).unwrap();
    topic
}

#[test]
fn records_are_printed_by_a_format_string() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = full_and_bare(kafka);
    let print = |arguments: &[&str]| {
        let arguments = [&["--until", "end"], arguments].concat();
        consume(kafka, &topic, &arguments).well()
    };
    let format = r"%t[%p]@%o\t%k=%s (%K, %S) %T %h 100%%\x21\n";
    let expected = format!(
        "{topic}[0]@0\tkey=value (3, 5) 1234 n=1,n=2,null=NULL 100%!\n\
         {topic}[0]@1\t= (-1, -1) 5678  100%!\n"
    );
    assert_eq!(print(&["-f", format]), expected);
    assert_eq!(print(&["-Z", "-f", "%k:%s;"]), "key:value;NULL:NULL;");
    assert_eq!(print(&[]), "value\n\n");
    assert_eq!(print(&["-Z"]), "value\nNULL\n");
    assert_eq!(print(&["-K", r"\t"]), "key\tvalue\n\t\n");
    assert_eq!(print(&["-f", "%R", "-n1"]), "\0\0\0\x05");
    let json = print(&["--json"]);
    assert_eq!(
        json.lines().next().unwrap(),
        format!(
            r#"{{"topic":"{topic}","partition":0,"offset":0,"timestamp_ms":1234,"timestamp_type":"create","key":"key","value":"value","headers":[{{"name":"n","value":"1"}},{{"name":"n","value":"2"}},{{"name":"null","value":null}}]}}"#
        )
    );
    let ended = consume(kafka, &topic, &["-f", "%q"]);
    assert_eq!(ended.code, 2);
    assert!(ended.stderr.contains("%q is unknown"), "{}", ended.stderr);
}

#[test]
fn only_records_whose_value_or_key_matches_are_printed() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("consume-grep", 1);
    kafka.produce(&topic, 30, |number| {
        let key = (number == 7).then(|| b"lucky".to_vec());
        (key, format!("value {number}").into_bytes())
    });
    let arguments = ["--until", "end", "--grep", "^lucky$|[12]3$"];
    let printed = consume(kafka, &topic, &arguments).well();
    assert_eq!(printed, "value 7\nvalue 13\nvalue 23\n");
    let arguments = ["--grep", "value", "--count", "2"];
    assert_eq!(
        consume(kafka, &topic, &arguments).well(),
        "value 0\nvalue 1\n"
    );
}

#[test]
fn a_topic_is_copied_with_nulls_headers_times_and_every_byte() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (from, to) = (kafka.topic("copy-from", 1), kafka.topic("copy-to", 1));
    let producer = producer(kafka, &[]);
    let all: Vec<u8> = (0..=255).collect();
    let singles = (0..=255).map(|byte| vec![byte]);
    let parts: Vec<Option<Vec<u8>>> = [None, Some(Vec::new()), Some(all.clone())]
        .into_iter()
        .chain(singles.map(Some))
        .collect();
    for (at, part) in parts.iter().enumerate() {
        for (key, value) in [(part, &parts[at % 3]), (&parts[at % 3], part)] {
            let header = |key, value| Header { key, value };
            let headers = OwnedHeaders::new()
                .insert(header("same", part.as_ref()))
                .insert(header("same", Some(&all)))
                .insert(header("same", None));
            let mut record = BaseRecord::<[u8], [u8]>::to(&from).timestamp(1000 + at as i64);
            if at % 2 == 0 {
                record = record.headers(headers);
            }
            if let Some(key) = key {
                record = record.key(key);
            }
            if let Some(value) = value {
                record = record.payload(value);
            }
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
    }
    producer.flush(LONG).unwrap();
    let json = |topic: &str| consume(kafka, topic, &["--until", "end", "--json"]).well();
    let original = json(&from);
    assert_eq!(original.lines().count(), 2 * parts.len());
    let arguments = ["-t", &to, "--json"];
    let ended = run("produce", kafka.brokers(), &arguments, original.as_bytes());
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(json(&to), original.replace(&from, &to));
    assert_eq!(kafka.read_all(&to), kafka.read_all(&from));
}

#[test]
fn a_group_goes_on_behind_what_was_printed() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = seconds(kafka, "consume-group", 1, 10);
    let group = unique("group");
    let print = |arguments: &[&str]| {
        let arguments = [&["-g", &group], arguments].concat();
        consume(kafka, &topic, &arguments)
    };
    assert_eq!(print(&["--count", "3"]).well(), "0\n1\n2\n");
    assert_eq!(kafka.committed(&group, &topic), [(0, 3)].into());
    let ended = print(&["--until", "end", "-v"]);
    assert!(
        ended.stderr.contains("1 partition come"),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.well(), "3\n4\n5\n6\n7\n8\n9\n");
    assert_eq!(kafka.committed(&group, &topic), [(0, 10)].into());
    assert_eq!(print(&["--until", "end"]).well(), "");

    // Where a group has committed nothing, it begins where it is told.
    let group = unique("group");
    let arguments = ["-g", &group, "--from", "-2", "--until", "end"];
    assert_eq!(consume(kafka, &topic, &arguments).well(), "8\n9\n");
}

/// Starts a member of a group, which reads until it is ended.
fn member(kafka: &RealKafka, topic: &str, group: &str, arguments: &[&str]) -> Console {
    let all = ["consume", "-b", kafka.brokers(), "-t", topic, "-g", group];
    spawn(&[&all, arguments].concat(), Stdio::null())
}

#[test]
fn members_of_a_group_share_its_partitions_and_lose_nothing() {
    const RECORDS: u64 = 2_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("consume-share", 4), unique("group"));
    let member = || member(kafka, &topic, &group, &["-v"]);
    let mut first = member();
    eventually(LONG, "the first has all", || {
        first.stderr().contains("4 partitions come")
    });
    let keyed = |begin: u64| {
        move |number: u64| {
            let number = begin + number;
            (Some(number.to_string().into()), number.to_string().into())
        }
    };
    kafka.produce(&topic, RECORDS, keyed(0));
    let mut second = member();
    eventually(LONG, "the second has some", || {
        second.stderr().contains("2 partitions come")
    });
    assert!(first.stderr().contains("partitions go"));
    kafka.produce(&topic, RECORDS, keyed(RECORDS));
    eventually(LONG, "everything is committed", || {
        match kafka.group_lag(&group, &topic) {
            0 => Ok(()),
            lag => Err(format!("lag {lag}")),
        }
    });
    second.signal(Signal::TERM);
    first.signal(Signal::INT);
    let (first, second) = (first.ends(), second.ends());
    assert_eq!((first.code, second.code), (0, 0));
    let printed = first.text() + &second.text();
    let mut numbers: Vec<u64> = printed.lines().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..2 * RECORDS).collect::<Vec<_>>());
}

#[test]
fn a_group_whose_member_is_killed_prints_everything_at_least_once() {
    const RECORDS: u64 = 300_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("consume-kill", 1), unique("group"));
    kafka.produce(&topic, RECORDS, |number| {
        let mut bytes = Vec::new();
        line(&mut bytes, "p", number, 100);
        bytes.pop();
        (None, bytes)
    });
    // Nobody waits long for who was killed.
    let patience = ["-X", "session.timeout.ms=6000"];
    let mut printed = Vec::new();
    for kills in 1.. {
        let mut member = member(kafka, &topic, &group, &patience);
        // The last one is left alone; the others are killed somewhere on their way.
        let most = if kills < 3 { 1_000 } else { usize::MAX };
        eventually(LONG, "it has printed some, or all is committed", || {
            let count = member.stdout().len() / 100;
            match count >= most || kafka.group_lag(&group, &topic) == 0 {
                true => Ok(()),
                false => Err(member.stderr()),
            }
        });
        member.signal(Signal::KILL);
        let ended = member.ends();
        assert_eq!(ended.code, 137, "{}", ended.stderr);
        let whole = ended.stdout.rsplitn(2, |byte| *byte == b'\n').nth(1);
        printed.extend_from_slice(whole.unwrap_or_default());
        printed.push(b'\n');
        if kafka.group_lag(&group, &topic) == 0 {
            break;
        }
    }
    let lines = printed.split(|byte| *byte == b'\n');
    let findings = judge(lines.filter(|line| !line.is_empty()), "p", 100, 0..RECORDS);
    assert!(findings.is_at_least_once(), "{findings}");
}

#[test]
fn until_a_time_that_lies_ahead_it_reads_what_comes_until_then() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = seconds(kafka, "consume-ahead", 1, 2);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let until = format!("@{}", now + 15_000);
    let arguments = [
        "consume",
        "-b",
        kafka.brokers(),
        "-t",
        &topic,
        "--until",
        &until,
    ];
    let mut console = spawn(&arguments, Stdio::null());
    eventually(LONG, "both are printed", || console.stdout() == b"0\n1\n");
    kafka.produce_at(&topic, 0, &[now, now + 60_000]);
    let ended = console.ends();
    assert_eq!((ended.code, ended.text()), (0, "0\n1\nx\n".to_owned()));
}

#[test]
fn the_first_of_many_records_is_enough_for_head() {
    const RECORDS: u64 = 200_000;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("consume-head", 1);
    kafka.produce(&topic, RECORDS, |number| {
        (None, format!("value {number}").into_bytes())
    });
    let logferry = env!("CARGO_BIN_EXE_logferry");
    for more in ["", "--until end", "--json", "-g head"] {
        let line = format!(
            "{logferry} consume -b {} -t {topic} {more} | head -1; echo ${{PIPESTATUS[0]}}",
            kafka.brokers()
        );
        let said = std::process::Command::new("bash")
            .args(["-c", &line])
            .output()
            .unwrap();
        let out = String::from_utf8(said.stdout).unwrap();
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].contains("value 0"), "{more}: {out}");
        assert_eq!(lines[1..], ["0"], "{more}: {out}");
        assert!(said.stderr.is_empty(), "{more}");
    }
}

#[test]
fn when_the_reader_of_the_pipe_goes_it_ends_well() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = seconds(kafka, "consume-pipe", 1, 3);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let arguments = ["consume", "-b", kafka.brokers(), "-t", &topic];
    let mut console = spawn_into(&arguments, writer.into());
    let mut first = [0; 2];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    // Nothing more comes, so nothing more is written.
    let ended = console.ends();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn the_end_is_reached_where_it_is_an_aborted_transaction() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("consume-aborted", 1);
    let id = unique("transaction");
    let producer = producer(kafka, &[("transactional.id", &id)]);
    producer.init_transactions(LONG).unwrap();
    for (value, counts) in [("kept", true), ("aborted", false)] {
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<(), _>::to(&topic).payload(value);
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(LONG).unwrap();
        if counts {
            producer.commit_transaction(LONG).unwrap();
        } else {
            producer.abort_transaction(LONG).unwrap();
        }
    }
    let begun = Instant::now();
    assert_eq!(consume(kafka, &topic, &["--until", "end"]).well(), "kept\n");
    assert!(begun.elapsed() < Duration::from_secs(60));
    let arguments = ["--until", "end", "-X", "isolation.level=read_uncommitted"];
    assert_eq!(consume(kafka, &topic, &arguments).well(), "kept\naborted\n");
    let group = unique("group");
    let arguments = ["--until", "end", "-g", &group];
    assert_eq!(consume(kafka, &topic, &arguments).well(), "kept\n");
}

#[test]
fn where_nobody_answers_address_and_reason_are_told() {
    let brokers = nowhere();
    for group in [&[][..], &["-g", "g"]] {
        let arguments = [&["-t", "t"], group].concat();
        let ended = run("consume", &brokers, &arguments, b"");
        assert_eq!(ended.code, 69);
        let said = &ended.stderr;
        assert!(
            said.contains(&brokers) && said.contains("Connection refused"),
            "{said}"
        );
    }
}
