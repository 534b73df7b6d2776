//! Topics into files: each record once, whatever happens to the daemon, and the group's offset never ahead of the disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{judge, line, lines_of};
use crate::support::scene::{Dice, LONG, Scene, said, turn};

pub const LENGTH: usize = 100;

/// Produces the numbers from `from`, each with a key of its own, so that they spread over the partitions.
pub fn produce(kafka: &RealKafka, topic: &str, from: u64, count: u64) {
    kafka.produce(topic, count, |number| {
        let mut value = Vec::new();
        line(&mut value, "r", from + number, LENGTH);
        value.pop();
        (Some((from + number).to_string().into_bytes()), value)
    });
}

/// An output of `topics` (as YAML has them) into `DIR/FOLDER/{topic}/{partition}.log`.
pub fn output(scene: &Scene, kafka: &RealKafka, topics: &str, group: &str, more: &str) -> String {
    scene.yaml(
        kafka.brokers(),
        &format!(
            "outputs:
  archive:
    from:
      topics: [{topics}]
      group: {group}
{more}
    to:
      type: file
      path: \"DIR/out/{{topic}}/{{partition}}.log\"
      sync: {{ every: 200ms, bytes: 1MiB }}
"
        ),
    )
}

/// A member that is replaced by its successor at once, as the examples have it: a killed one is not waited for.
fn instance(group: &str) -> String {
    format!("      options: {{ group.instance.id: {group}-one }}")
}

pub fn folder(scene: &Scene, topic: &str) -> PathBuf {
    scene.path("out").join(topic)
}

/// What the files must hold: each partition's records in their order.
pub fn expected(kafka: &RealKafka, topic: &str) -> BTreeMap<i32, Vec<Vec<u8>>> {
    let mut partitions: BTreeMap<i32, Vec<Vec<u8>>> = BTreeMap::new();
    for record in kafka.read_all(topic) {
        partitions
            .entry(record.partition)
            .or_default()
            .push(record.value.unwrap_or_default());
    }
    partitions
}

/// The lines of a partition: of its finished files in their order, then of the one that is written to.
pub fn lines(folder: &Path, partition: i32) -> Vec<Vec<u8>> {
    let plain = format!("{partition}.log");
    let mut names: Vec<(i64, PathBuf)> = Vec::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = file.file_name().into_string().expect("a name");
        match name.strip_prefix(&plain) {
            Some("" | ".part" | ".zst") => names.push((i64::MAX, file.path())),
            Some(rest) => {
                let first = rest.trim_start_matches('.').split('.').next();
                let first = first.and_then(|it| it.parse().ok());
                names.push((first.expect("a first offset"), file.path()));
            }
            None => {}
        }
    }
    names.sort();
    let files = names.iter();
    files.flat_map(|(_, path)| unpacked_lines(path)).collect()
}

/// The lines of a file, up to where a compressed one is torn.
fn unpacked_lines(path: &Path) -> Vec<Vec<u8>> {
    if path.extension().is_none_or(|ending| ending != "zst") {
        return lines_of(path);
    }
    let bytes = fs::read(path).unwrap_or_default();
    let mut room = vec![0; 64 << 20];
    let (mut rest, mut plain) = (bytes.as_slice(), Vec::new());
    while let Ok(frame) = zstd_safe::find_frame_compressed_size(rest)
        && frame > 0
        && frame <= rest.len()
    {
        let len = zstd_safe::decompress(room.as_mut_slice(), &rest[..frame]);
        plain.extend_from_slice(&room[..len.expect("a frame")]);
        rest = &rest[frame..];
    }
    let lines = plain.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| line[..line.len() - 1].to_vec()).collect()
}

fn size(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

fn assert_each_once(kafka: &RealKafka, topic: &str, folder: &Path) {
    for (partition, records) in expected(kafka, topic) {
        let found = lines(folder, partition);
        let first = found
            .iter()
            .zip(&records)
            .position(|(found, record)| found != record);
        assert!(
            found == records,
            "partition {partition}: {} lines for {} records, the first difference at {first:?}; {}",
            found.len(),
            records.len(),
            judge(&found, "r", LENGTH, 0..1 << 20).repeated
        );
    }
}

#[test]
pub fn each_record_stands_once_in_the_files_through_twelve_kills() {
    through_kills("");
}

#[test]
fn each_record_stands_once_in_files_that_are_finished_while_the_daemon_is_killed() {
    through_kills("      rotate: { size: 200KiB, every: 1s }\n      part_suffix: .part\n");
}

#[test]
fn compressed_files_are_readable_up_to_the_last_sync_after_each_kill() {
    through_kills("      compression: zstd\n      rotate: { size: 100KiB }\n");
}

fn through_kills(more: &str) {
    const KILLS: u64 = 12;
    const SHARE: u64 = 100_000 / KILLS;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("archive", 4), unique("group"));
    let yaml = output(&scene, kafka, &topic, &group, &instance(&group)) + more;
    let out = folder(&scene, &topic);

    for round in 0..KILLS {
        let before = size(&out);
        let mut daemon = scene.launch(&yaml).start();
        std::thread::scope(|scope| {
            scope.spawn(|| produce(kafka, &topic, round * SHARE, SHARE));
            // Every other kill comes when records are moving for certain.
            if round % 2 == 0 {
                eventually(LONG, "the files grow", || size(&out) > before);
            }
            dice.pause(0, 700);
            daemon.sigkill();
        });
        // What is committed can be read without waiting for the next start.
        for (partition, offset) in kafka.committed(&group, &topic) {
            let found = lines(&out, partition).len() as i64;
            assert!(found >= offset, "{found} of {offset} lines can be read");
        }
    }
    produce(kafka, &topic, KILLS * SHARE, 100_000 - KILLS * SHARE);
    let mut daemon = scene.launch(&yaml).start();

    eventually(LONG, "the group's lag is 0", || {
        match kafka.group_lag(&group, &topic) {
            0 => Ok(()),
            lag => Err(format!("a lag of {lag}")),
        }
    });
    assert_each_once(kafka, &topic, &out);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_each_once(kafka, &topic, &out);
    let all: usize = (0..4).map(|partition| lines(&out, partition).len()).sum();
    assert_eq!(all, 100_000);
}

#[test]
fn sigterm_leaves_the_group_where_the_files_end() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("drain", 3), unique("group"));
    let yaml = output(&scene, kafka, &topic, &group, "");
    let out = folder(&scene, &topic);

    for round in 0..3 {
        let before = size(&out);
        let mut daemon = scene.launch(&yaml).start();
        std::thread::scope(|scope| {
            scope.spawn(|| produce(kafka, &topic, round * 10_000, 10_000));
            eventually(LONG, "the files grow", || size(&out) > before);
            dice.pause(0, 300);
            daemon.sigterm();
            assert_eq!(daemon.wait_code(LONG), 0);
        });
        for (partition, offset) in kafka.committed(&group, &topic) {
            assert_eq!(
                lines(&out, partition).len() as i64,
                offset,
                "partition {partition} after SIGTERM {round}"
            );
        }
    }
    let mut daemon = scene.launch(&yaml).start();
    // All may be written already, and a process that has just begun does not catch signals yet.
    daemon.wait_ready(LONG);
    eventually(LONG, "everything is written", || {
        let all: usize = (0..3).map(|partition| lines(&out, partition).len()).sum();
        if all == 30_000 {
            Ok(())
        } else {
            Err(format!("{all} lines"))
        }
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    assert_eq!(kafka.group_lag(&group, &topic), 0);
    assert_each_once(kafka, &topic, &out);
}

#[test]
fn a_file_that_is_moved_before_sigusr2_is_whole_and_the_next_begins_where_it_ends() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("moved", 1), unique("group"));
    let yaml = output(&scene, kafka, &topic, &group, "");
    let mut daemon = scene.launch(&yaml).start();
    let out = folder(&scene, &topic);
    let (file, kept) = (out.join("0.log"), scene.path("kept"));
    fs::create_dir(&kept).expect("a folder");
    std::thread::scope(|scope| {
        scope.spawn(|| produce(kafka, &topic, 0, 60_000));
        for round in 0..5 {
            eventually(LONG, "the file grows", || size(&out) > 0);
            fs::rename(&file, kept.join(round.to_string())).expect("to move it");
            daemon.signal(rustix::process::Signal::USR2);
            eventually(LONG, "the file is there again", || {
                file.exists() || kafka.group_lag(&group, &topic) == 0
            });
            if !file.exists() {
                break;
            }
        }
    });
    eventually(LONG, "the group's lag is 0", || {
        kafka.group_lag(&group, &topic) == 0
    });
    let mut found = Vec::new();
    for round in 0..5 {
        found.extend(lines_of(&kept.join(round.to_string())));
    }
    found.extend(lines_of(&file));
    let expected = expected(kafka, &topic).remove(&0).expect("records");
    assert!(found == expected, "{} lines", found.len());
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}

#[test]
fn a_template_says_what_is_written_and_a_header_where_and_what_has_none_is_set_aside() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("template", 1), unique("group"));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    for tenant in [Some("acme"), Some("../acme"), None, Some("acme")] {
        let tenant = tenant.map(|value| Header {
            key: "tenant",
            value: Some(value),
        });
        let headers = tenant.map_or_else(OwnedHeaders::new, |it| OwnedHeaders::new().insert(it));
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .timestamp(1_795_246_085_401)
            .key(b"k".as_slice())
            .payload(b"v".as_slice())
            .headers(headers);
        assert!(producer.send(record).is_ok());
    }
    producer.flush(LONG).unwrap();

    let yaml = output(&scene, kafka, &topic, &group, "").replace(
        "{partition}.log\"",
        "{header.tenant}-%Y-%m-%dT%H.log\"
      format: { template: \"%H:%M {timestamp} {partition}/{offset} {key}={value} {header.tenant}\\n\" }
      time_zone: Asia/Kathmandu",
    );
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "the group's lag is 0", || {
        kafka.group_lag(&group, &topic) == 0
    });
    let text = fs::read_to_string(folder(&scene, &topic).join("acme-2026-11-21T13.log"));
    assert_eq!(
        text.expect("the file"),
        "13:13 2026-11-21T07:28:05.401Z 0/0 k=v acme\n13:13 2026-11-21T07:28:05.401Z 0/3 k=v acme\n"
    );
    let files = fs::read_dir(folder(&scene, &topic)).expect("the folder");
    assert_eq!(files.count(), 1);
    assert_eq!(daemon.status()["outputs"]["archive"]["refused"], 2);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}

#[test]
fn json_keeps_nulls_bytes_and_headers() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("json", 1), unique("group"));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    let headers = OwnedHeaders::new()
        .insert(Header {
            key: "trace",
            value: Some("é"),
        })
        .insert(Header {
            key: "none",
            value: None::<&str>,
        })
        .insert(Header {
            key: "trace",
            value: Some(&[0xff_u8, 0][..]),
        });
    let binary: Vec<u8> = (0..=255).collect();
    let to = || {
        BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .timestamp(1_795_246_085_401)
    };
    let records = [
        to(),
        to().key(b"".as_slice()).payload(b"".as_slice()),
        to().key(b"k".as_slice())
            .payload("line\n\"two\"\u{1}".as_bytes()),
        to().key(&binary).payload(&binary).headers(headers),
    ];
    for record in records {
        assert!(producer.send(record).is_ok());
    }
    producer.flush(LONG).unwrap();

    let yaml = output(&scene, kafka, &topic, &group, "");
    let yaml = yaml.replace(
        "    to:\n      type: file",
        "    to:\n      type: file\n      format: json",
    );
    let _daemon = scene.launch(&yaml).start();
    let out = folder(&scene, &topic);
    eventually(LONG, "four lines", || lines(&out, 0).len() == 4);

    let found: Vec<Value> = lines(&out, 0)
        .iter()
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    for (offset, record) in found.iter().enumerate() {
        assert_eq!(record["topic"], json!(topic));
        assert_eq!(
            (&record["partition"], &record["offset"]),
            (&json!(0), &json!(offset))
        );
        assert_eq!(record["timestamp_ms"], 1_795_246_085_401_u64);
        assert_eq!(record["timestamp_type"], "create");
    }
    assert_eq!(
        (&found[0]["key"], &found[0]["value"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&found[1]["key"], &found[1]["value"]),
        (&json!(""), &json!(""))
    );
    assert_eq!(
        (&found[2]["key"], &found[2]["value"]),
        (&json!("k"), &json!("line\n\"two\"\u{1}"))
    );
    for name in ["key", "value"] {
        let exact = found[3][format!("{name}_base64")].as_str().unwrap();
        assert_eq!(STANDARD.decode(exact).unwrap(), binary, "{name}");
        assert!(found[3][name].as_str().unwrap().contains('\u{fffd}'));
    }
    let headers = found[3]["headers"].as_array().unwrap();
    assert_eq!(headers.len(), 3, "a name may come twice: {headers:?}");
    assert_eq!(headers[0], json!({"name": "trace", "value": "é"}));
    assert_eq!(headers[1], json!({"name": "none", "value": null}));
    assert_eq!(headers[2]["name"], "trace");
    assert_eq!(
        STANDARD
            .decode(headers[2]["value_base64"].as_str().unwrap())
            .unwrap(),
        [0xff, 0]
    );
}

#[test]
fn raw_writes_the_value_and_a_line_feed_and_an_empty_line_for_null() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("raw", 1), unique("group"));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    for value in [
        Some(&b"one"[..]),
        None,
        Some(&[0xff, 0xfe][..]),
        Some(&b""[..]),
    ] {
        let record = BaseRecord::<[u8], [u8]>::to(&topic).key(b"k".as_slice());
        let record = match value {
            Some(value) => record.payload(value),
            None => record,
        };
        assert!(producer.send(record).is_ok());
    }
    producer.flush(LONG).unwrap();

    let daemon = scene
        .launch(&output(&scene, kafka, &topic, &group, ""))
        .start();
    let file = folder(&scene, &topic).join("0.log");
    eventually(LONG, "all four", || {
        fs::read(&file).ok().as_deref() == Some(&b"one\n\n\xff\xfe\n\n"[..])
    });

    eventually(LONG, "the null is counted", || {
        daemon.status()["outputs"]["archive"]["null_values"] == 1
    });
}

#[test]
fn a_regular_expression_takes_in_topics_that_are_made_later() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (prefix, group) = (unique("audit"), unique("group"));
    let (first, second) = (format!("{prefix}.first"), format!("{prefix}.second"));
    kafka.create_topic(&first, 1);
    produce(kafka, &first, 0, 10);
    let yaml = output(
        &scene,
        kafka,
        &format!("\"^{prefix}\\\\..*\""),
        &group,
        "      options: { topic.metadata.refresh.interval.ms: 1000 }",
    );
    let _daemon = scene.launch(&yaml).start();
    let full = |topic: &str| lines(&folder(&scene, topic), 0).len() == 10;
    eventually(LONG, "the first topic", || full(&first));

    kafka.create_topic(&second, 1);
    produce(kafka, &second, 0, 10);
    eventually(LONG, "the second topic", || full(&second));

    assert_each_once(kafka, &first, &folder(&scene, &first));
    assert_each_once(kafka, &second, &folder(&scene, &second));
}

#[test]
fn two_daemons_share_the_partitions_and_one_takes_over_when_the_other_goes() {
    share("      options: { session.timeout.ms: 6000, heartbeat.interval.ms: 1000 }");
}

#[test]
fn the_same_where_the_brokers_assign() {
    share("      group_protocol: consumer");
}

fn share(more: &str) {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scenes = [Scene::new(), Scene::new()];
    let (topic, group) = (kafka.topic("shared", 4), unique("group"));
    let yaml = scenes
        .each_ref()
        .map(|scene| output(scene, kafka, &topic, &group, more));
    let mut first = scenes[0].launch(&yaml[0]).start();
    produce(kafka, &topic, 0, 5_000);
    let out = scenes.each_ref().map(|scene| folder(scene, &topic));
    eventually(LONG, "the first works", || size(&out[0]) > 0);

    let mut second = scenes[1].launch(&yaml[1]).start();
    let mut from = 5_000;
    eventually(LONG, "the second has its part", || {
        produce(kafka, &topic, from, 200);
        from += 200;
        size(&out[1]) > 0
    });
    first.sigterm();
    produce(kafka, &topic, from, 5_000);
    from += 5_000;
    assert_eq!(first.wait_code(LONG), 0);
    eventually(LONG, "the second has all of the rest", || {
        match kafka.group_lag(&group, &topic) {
            0 => Ok(()),
            lag => Err(format!("a lag of {lag}")),
        }
    });
    second.sigterm();
    assert_eq!(second.wait_code(LONG), 0);

    let all = out
        .iter()
        .flat_map(|out| (0..4).flat_map(|partition| lines(out, partition)));
    let findings = judge(all, "r", LENGTH, 0..from);
    assert_eq!(findings.missing, [0; 0]);
    assert_eq!(
        (findings.foreign, findings.repeated),
        (0, 0),
        "both left in peace: {findings}"
    );
}

#[test]
fn a_group_begins_at_a_time_and_stops_where_the_next_record_is_gone() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("since", 1), unique("group"));
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    for number in 0..10 {
        let value = number.to_string();
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .timestamp(1_795_244_400_000 + number * 1000)
            .payload(value.as_bytes());
        assert!(producer.send(record).is_ok());
    }
    producer.flush(LONG).unwrap();
    let more = "      start_at: 2026-11-21T07:00:06.5Z\n      on_out_of_range: stop";
    let yaml = output(&scene, kafka, &topic, &group, more);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "the group's lag is 0", || {
        kafka.group_lag(&group, &topic) == 0
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let text = fs::read_to_string(folder(&scene, &topic).join("0.log")).expect("the file");
    assert_eq!(text, "7\n8\n9\n");

    // Somebody takes what it has not read yet.
    for number in 10..20 {
        let value = number.to_string();
        let record = BaseRecord::<[u8], [u8]>::to(&topic)
            .partition(0)
            .payload(value.as_bytes());
        assert!(producer.send(record).is_ok());
    }
    producer.flush(LONG).unwrap();
    kafka.delete_records(&topic, 0, 15);
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "it stops", || {
        said(&daemon)
            .iter()
            .any(|said| said.text.contains("`on_out_of_range` is `stop`"))
    });
    let after = fs::read_to_string(folder(&scene, &topic).join("0.log")).expect("the file");
    assert_eq!(after, text);
}

#[test]
fn a_daemon_killed_with_an_open_group_leaves_its_partitions_to_the_other() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scenes = [Scene::new(), Scene::new()];
    let (topic, group) = (kafka.topic("bereft", 4), unique("group"));
    let more = "      options: { session.timeout.ms: 6000, heartbeat.interval.ms: 1000 }";
    let yaml = scenes
        .each_ref()
        .map(|scene| output(scene, kafka, &topic, &group, more));
    let out = scenes.each_ref().map(|scene| folder(scene, &topic));
    let mut first = scenes[0].launch(&yaml[0]).start();
    let _second = scenes[1].launch(&yaml[1]).start();
    let mut from = 0;
    eventually(LONG, "both have their part", || {
        produce(kafka, &topic, from, 500);
        from += 500;
        size(&out[0]) > 0 && size(&out[1]) > 0
    });

    first.sigkill();
    produce(kafka, &topic, from, 1_000);
    from += 1_000;
    eventually(
        LONG + Duration::from_secs(10),
        "the other has the rest",
        || match kafka.group_lag(&group, &topic) {
            0 => Ok(()),
            lag => Err(format!("a lag of {lag}")),
        },
    );

    let all = out
        .iter()
        .flat_map(|out| (0..4).flat_map(|partition| lines(out, partition)));
    // The killed one's torn tail is cut only when it starts again, and may be half a line.
    let findings = judge(all, "r", LENGTH, 0..from);
    assert_eq!(findings.missing, [0; 0], "{findings}");
}
