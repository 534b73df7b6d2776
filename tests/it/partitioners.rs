//! Where records land: what the daemon's partitioners do on a real Kafka is what a computation of the test's own says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;

use serde_json::Value;

use crate::support::command::logferry;
use crate::support::console::{run, spawn};
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::scene::{LONG, Scene, balanced, books, letters};

const PARTITIONS: u32 = 7;

/// Keys with bytes over 0x7f, with and without the top bit of each hash, and an empty one.
fn keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..150)
        .map(|number| format!("key-{number}").into())
        .collect();
    keys.extend(
        [
            &b"\xff\xfe"[..],
            b"\x80",
            "schlüssel".as_bytes(),
            b"1468509572224",
            b"",
        ]
        .map(Vec::from),
    );
    keys
}

mod theirs {
    //! The hashes as other clients compute them, written down anew and slowly.

    pub fn crc32(key: &[u8]) -> u32 {
        !key.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & 0u32.wrapping_sub(crc & 1))
            })
        })
    }

    pub fn fnv1a(key: &[u8]) -> i32 {
        let hash = key.iter().fold(2_166_136_261u64, |hash, byte| {
            ((hash ^ u64::from(*byte)) * 16_777_619) % (1 << 32)
        });
        hash as u32 as i32
    }

    pub fn murmur2(key: &[u8]) -> i32 {
        const M: i32 = 0x5bd1_e995;
        let mut h = 0x9747_b28c_u32 as i32 ^ key.len() as i32;
        let whole = key.len() / 4 * 4;
        for at in (0..whole).step_by(4) {
            let mut k = (0..4).fold(0, |k, byte| k | i32::from(key[at + byte]) << (8 * byte));
            k = k.wrapping_mul(M);
            k ^= (k as u32 >> 24) as i32;
            h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
        }
        for (at, byte) in key[whole..].iter().enumerate().rev() {
            h ^= i32::from(*byte) << (8 * at);
        }
        if whole < key.len() {
            h = h.wrapping_mul(M);
        }
        h ^= (h as u32 >> 13) as i32;
        h = h.wrapping_mul(M);
        h ^ (h as u32 >> 15) as i32
    }
}

/// The partition of a key, as the client that `partitioner` is named after computes it.
fn expected(partitioner: &str, key: &[u8]) -> i32 {
    let partitions = PARTITIONS as i32;
    match partitioner {
        "murmur2" | "murmur2_random" => (theirs::murmur2(key) & 0x7fff_ffff) % partitions,
        "consistent" | "consistent_random" => (theirs::crc32(key) % PARTITIONS) as i32,
        "fnv1a" | "fnv1a_random" => (theirs::fnv1a(key) % partitions).abs(),
        "sarama_reference" => (theirs::fnv1a(key) & 0x7fff_ffff) % partitions,
        other => panic!("{other}"),
    }
}

/// An input of the name of its log, with these keys in `to`.
fn input(name: &str, topic: &str, to: &str) -> String {
    format!(
        "  {name}:\n    from: {{ type: file, paths: [DIR/logs/{name}.log] }}\n    to: {{ topic: {topic}, {to} }}\n"
    )
}

fn settled(daemon: &Daemon, name: &str, lines: u64) {
    eventually(LONG, &format!("all lines of {name} are settled"), || {
        let books = books(daemon, name)?;
        assert!(balanced(&books), "{books}");
        let settled = |what: &str| books[what]["lines"].as_u64().unwrap();
        match settled("acked") + settled("dead_lettered") + settled("dropped") == lines {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
}

/// Of each line in a topic where it stands.
fn homes(kafka: &RealKafka, topic: &str) -> BTreeMap<Vec<u8>, i32> {
    let records = kafka.read_all(topic);
    let count = records.len();
    let homes: BTreeMap<_, _> = (records.into_iter())
        .map(|record| (record.value.unwrap_or_default(), record.partition))
        .collect();
    assert_eq!(homes.len(), count, "each line stands there once");
    homes
}

fn log(scene: &Scene, name: &str, lines: &[Vec<u8>]) {
    let mut text = lines.join(&b'\n');
    text.push(b'\n');
    let path = scene.path(&format!("logs/{name}.log"));
    let mut file = fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(&text).unwrap();
}

#[test]
fn every_partitioner_of_the_daemon_puts_a_record_where_it_belongs() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    const KEYED: [&str; 7] = [
        "murmur2_random",
        "murmur2",
        "consistent_random",
        "consistent",
        "fnv1a_random",
        "fnv1a",
        "sarama_reference",
    ];
    const HASHED: [(&str, &str); 3] = [
        ("crc32", "consistent"),
        ("murmur2", "murmur2"),
        ("fnv1a", "fnv1a"),
    ];
    let scene = Scene::new();
    let keys = keys();
    let mut yaml = String::from("inputs:\n");
    let mut topics = BTreeMap::new();
    let mut add = |name: &str, to: &str, lines: &[Vec<u8>]| {
        let topic = kafka.topic(&name.replace('_', "-"), PARTITIONS as i32);
        yaml.push_str(&input(name, &topic, to));
        log(&scene, name, lines);
        topics.insert(name.to_owned(), topic);
    };
    for name in KEYED {
        add(
            name,
            &format!("key: \"{{line}}\", partitioner: {name}"),
            &keys,
        );
        add(
            &format!("keyless_{name}"),
            &format!("partitioner: {name}"),
            &keys,
        );
    }
    for (hash, _) in HASHED {
        let to = format!("key: other, partitioner: {{ hash: {hash}, of: \"{{line}}\" }}");
        add(&format!("of_{hash}"), &to, &keys);
    }
    for name in ["random", "round_robin", "sticky"] {
        add(name, &format!("key: same, partitioner: {name}"), &keys);
    }
    let numbers: Vec<Vec<u8>> = (0..40)
        .map(|number| format!("{number:03}").into())
        .collect();
    add(
        "manual",
        "partitioner: manual, partition: \"{line}\"",
        &numbers,
    );
    add("third", "partitioner: manual, partition: 3", &keys);
    let daemon = scene.launch(&scene.yaml(kafka.brokers(), &yaml)).start();

    for name in topics.keys() {
        let lines = if name == "manual" {
            numbers.len()
        } else {
            keys.len()
        };
        settled(&daemon, name, lines as u64);
    }
    let homes = |name: &str| homes(kafka, &topics[name]);
    for name in KEYED {
        for (key, home) in homes(name) {
            let is_free = key.is_empty() && name == "consistent_random";
            if !is_free {
                assert_eq!(home, expected(name, &key), "{name} {key:?}");
            }
        }
        let homes: BTreeSet<i32> = homes(&format!("keyless_{name}")).into_values().collect();
        match name {
            // Hashed as an empty key.
            "murmur2" | "consistent" | "fnv1a" => {
                assert_eq!(Vec::from_iter(homes), [expected(name, b"")], "{name}");
            }
            "sarama_reference" => assert!(homes.len() > 3, "{homes:?}"),
            // So few lines are one batch.
            _ => assert!(homes.len() < 4, "{name} {homes:?}"),
        }
    }
    for (hash, like) in HASHED {
        for (text, home) in homes(&format!("of_{hash}")) {
            assert_eq!(home, expected(like, &text), "{hash} {text:?}");
        }
    }
    let in_turn = homes("round_robin");
    for (at, key) in keys.iter().enumerate() {
        assert_eq!(in_turn[key], at as i32 % PARTITIONS as i32);
    }
    let random: BTreeSet<i32> = homes("random").into_values().collect();
    assert_eq!(random.len(), PARTITIONS as usize);
    let sticky: BTreeSet<i32> = homes("sticky").into_values().collect();
    assert!(sticky.len() < 4, "{sticky:?}");
    let third: BTreeSet<i32> = homes("third").into_values().collect();
    assert_eq!(Vec::from_iter(third), [3]);
    let manual = homes("manual");
    assert_eq!(manual.len(), PARTITIONS as usize, "nothing is wrapped");
    for (text, home) in manual {
        assert_eq!(String::from_utf8(text).unwrap(), format!("{home:03}"));
    }
    let letters = letters(&scene, "manual");
    assert_eq!(letters.len(), 33);
    assert_eq!(letters[0]["value"], "007");
    assert_eq!(letters[0]["code"], "bad_partition");
    assert_eq!(
        letters[0]["reason"],
        "there is no partition 007: the topic has 7, counted from 0"
    );
}

#[test]
fn partitions_that_are_added_to_a_running_topic_are_used_and_nothing_is_lost() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (named, turned) = (kafka.topic("named", 2), kafka.topic("turned", 2));
    let mut yaml = String::from("inputs:\n");
    yaml.push_str(&input(
        "named",
        &named,
        "partitioner: manual, partition: \"{line}\"",
    ));
    yaml.push_str(&input("turned", &turned, "partitioner: round_robin"));
    let mut daemon = scene.launch(&scene.yaml(kafka.brokers(), &yaml)).start();
    log(&scene, "named", &["0", "1", "4"].map(|it| it.into()));
    log(&scene, "turned", &["a", "b", "c"].map(|it| it.into()));
    settled(&daemon, "named", 3);
    settled(&daemon, "turned", 3);
    assert_eq!(
        letters(&scene, "named").len(),
        1,
        "there is no partition 4 yet"
    );

    kafka.add_partitions(&named, 6);
    kafka.add_partitions(&turned, 4);
    // A number that is not known yet makes the daemon ask.
    log(
        &scene,
        "named",
        &["00", "5", "05", "3", "9"].map(|it| it.into()),
    );
    settled(&daemon, "named", 8);
    let expected = [("0", 0), ("00", 0), ("05", 5), ("1", 1), ("3", 3), ("5", 5)];
    let expected = expected.map(|(text, home)| (Vec::from(text), home));
    assert_eq!(Vec::from_iter(homes(kafka, &named)), expected);
    assert_eq!(letters(&scene, "named").len(), 2);

    // Whoever names none finds them within a minute.
    let mut written = 3;
    eventually(LONG, "the new partitions are written to", || {
        let lines: Vec<Vec<u8>> = (written..written + 8)
            .map(|it| format!("{it}").into())
            .collect();
        log(&scene, "turned", &lines);
        written += 8;
        settled(&daemon, "turned", written);
        let ends = kafka.end_offsets(&turned);
        if ends[&2] > 0 && ends[&3] > 0 {
            Ok(())
        } else {
            Err(format!("{ends:?}"))
        }
    });
    assert_eq!(homes(kafka, &turned).len() as u64, written);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}

#[test]
fn a_record_that_names_no_partition_is_set_aside_once_in_transactions_too() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("exact", 3);
    let to = "partitioner: manual, partition: \"{line}\", delivery: exactly_once";
    let yaml = format!("inputs:\n{}", input("exact", &topic, to));
    let yaml = scene
        .yaml(kafka.brokers(), &yaml)
        .replace("id: test", &format!("id: {}", unique("host")));
    let lines: Vec<Vec<u8>> = (0..50)
        .map(|number| format!("{number:03}").into())
        .collect();
    log(&scene, "exact", &lines);
    let mut daemon = scene.launch(&yaml).start();
    settled(&daemon, "exact", 50);
    kafka.add_partitions(&topic, 5);
    log(&scene, "exact", &["4".into(), "x".into(), "02".into()]);
    settled(&daemon, "exact", 53);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let expected = [("000", 0), ("001", 1), ("002", 2), ("02", 2), ("4", 4)];
    let expected = expected.map(|(text, home)| (Vec::from(text), home));
    assert_eq!(Vec::from_iter(homes(kafka, &topic)), expected);
    assert_eq!(letters(&scene, "exact").len(), 48);
}

#[test]
fn produce_takes_turns_and_takes_partitions_from_lines_and_from_json() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let produce = |topic: &str, arguments: &[&str], stdin: &[u8]| {
        run(
            "produce",
            kafka.brokers(),
            &[&["-t", topic], arguments].concat(),
            stdin,
        )
    };
    let topic = kafka.topic("in-turn", 3);
    let ended = produce(
        &topic,
        &["--partitioner", "round_robin", "-K:"],
        b"k:0\nk:1\nk:2\nk:3\nk:4\n",
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    for (value, home) in homes(kafka, &topic) {
        let number: i32 = String::from_utf8(value).unwrap().parse().unwrap();
        assert_eq!(home, number % 3);
    }

    let topic = kafka.topic("by-line", 3);
    let ended = produce(&topic, &["-p", "{line}"], b"2\n0\n3\n-1\n1\n");
    assert_eq!(ended.code, 1);
    for told in [
        "line 3: not delivered: there is no partition 3: the topic has 3, counted from 0",
        "line 4: not delivered: \"-1\" should name the partition and is no number",
        "3 records delivered",
    ] {
        assert!(ended.stderr.contains(told), "{}", ended.stderr);
    }
    let expected = [("0", 0), ("1", 1), ("2", 2)].map(|(text, home)| (Vec::from(text), home));
    assert_eq!(Vec::from_iter(homes(kafka, &topic)), expected);

    // A copy that keeps the partitions.
    let copy = kafka.topic("copy", 3);
    let consume = ["-t", &topic, "--until", "end", "--json"];
    let json = run("consume", kafka.brokers(), &consume, b"").well();
    let ended = produce(
        &copy,
        &["--json", "--partitioner", "manual"],
        json.as_bytes(),
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(Vec::from_iter(homes(kafka, &copy)), expected);

    for arguments in [
        &["--partitioner", "manual"][..],
        &["--partitioner", "murmur2", "-p", "1"],
        &["-p", "x"],
        &["-p", "{nonsense}"],
        &["--partitioner", "hash"],
    ] {
        let ended = produce(&topic, arguments, b"a\n");
        assert_eq!(ended.code, 2, "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn a_keys_partition_is_told_without_any_broker() {
    let said = logferry("partition-of -n 7 --json key-1 key-2");
    assert_eq!(said.code, Some(0), "{}", said.err);
    let lines: Vec<Value> = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (line, key) in lines.iter().zip(["key-1", "key-2"]) {
        for name in ["murmur2", "consistent", "fnv1a", "sarama_reference"] {
            assert_eq!(
                line["partitions"][name],
                expected(name, key.as_bytes()),
                "{name}"
            );
        }
    }
    assert_eq!(lines[0]["key_hex"], "6b65792d31");

    let mut console = spawn(
        &["partition-of", "-n", "7", "-"],
        std::process::Stdio::piped(),
    );
    let mut stdin = console.stdin();
    stdin.write_all(b"key-1\n").unwrap();
    let answer = format!("{:>7}", expected("murmur2", b"key-1"));
    eventually(
        LONG,
        "a key is answered before the next one is asked",
        || {
            let text = String::from_utf8(console.stdout()).unwrap();
            match text.lines().nth(1) {
                Some(line) if line.starts_with(&answer) && line.ends_with("  key-1") => Ok(()),
                _ => Err(text),
            }
        },
    );
    drop(stdin);
    assert_eq!(console.ends().code, 0);

    for (line, code) in [
        ("partition-of -n 0 a", 2),
        ("partition-of -n 7", 2),
        ("partition-of a", 2),
        ("partition-of -n 7 --hex abc", 2),
        ("partition-of -n 7 --hex abcd", 0),
        ("partition-of -n 7 -", 0),
    ] {
        assert_eq!(logferry(line).code, Some(code), "{line}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            logferry(&format!("completions {shell}"))
                .out
                .contains("partition-of")
        );
    }
}
