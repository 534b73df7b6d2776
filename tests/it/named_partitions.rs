//! `partitions` of an output: exactly these, without a group's balancing; the group only keeps the offsets.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::{Value, json};

use crate::kafka_to_file::{expected, folder, lines, output, produce};
use crate::support::command::{Said, logferry};
use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::scene::{Dice, LONG, Scene, complaints, turn};

fn groups(kafka: &RealKafka, line: &str) -> Said {
    logferry(&format!("groups {line} -b {}", kafka.brokers()))
}

/// Writes `count` records of today: retention would take older ones at any moment.
fn fill(kafka: &RealKafka, topic: &str, partition: i32, count: usize) {
    let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let today = i64::try_from(today.as_millis()).unwrap();
    kafka.produce_at(topic, partition, &vec![today; count]);
}

/// Waits until the group has everything of these partitions.
fn wait_committed(kafka: &RealKafka, group: &str, topic: &str, partitions: &[i32]) {
    let ends = kafka.end_offsets(topic);
    let ends: BTreeMap<i32, i64> = partitions.iter().map(|id| (*id, ends[id])).collect();
    eventually(LONG, "all of these partitions is committed", || {
        let committed = kafka.committed(group, topic);
        if committed == ends {
            Ok(())
        } else {
            Err(format!("{committed:?} of {ends:?}"))
        }
    });
}

fn assert_each_once(kafka: &RealKafka, topic: &str, folder: &Path, partitions: &[i32]) {
    for (partition, records) in expected(kafka, topic) {
        let found = lines(folder, partition);
        let wanted = if partitions.contains(&partition) {
            records
        } else {
            Vec::new()
        };
        let len = (found.len(), wanted.len());
        assert!(found == wanted, "partition {partition}: {len:?}");
    }
}

/// The output of `/status`.
fn archive(daemon: &Daemon) -> Value {
    daemon.status()["outputs"]["archive"].clone()
}

/// What was told of partitions that are waited for: which, and how often.
fn waited_for(daemon: &Daemon) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    for said in complaints(daemon) {
        if said.message.starts_with("waits for partitions") {
            let which = said.fields["partitions"].as_str().unwrap().to_owned();
            *told.entry(which).or_default() += 1;
        }
    }
    told
}

#[test]
fn the_named_partitions_alone_are_written_each_record_once_through_six_kills() {
    const KILLS: u64 = 6;
    const SHARE: u64 = 5_000;
    const NAMED: [i32; 2] = [0, 3];
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let mut dice = Dice::new();
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("named", 4), unique("group"));
    let more = format!("      partitions: {{ {topic}: [3, 0] }}");
    let yaml = output(&scene, kafka, &topic, &group, &more);
    let out = folder(&scene, &topic);
    let written = || NAMED.map(|id| lines(&out, id).len()).iter().sum::<usize>();

    for round in 0..KILLS {
        let before = written();
        let mut daemon = scene.launch(&yaml).start();
        std::thread::scope(|scope| {
            scope.spawn(|| produce(kafka, &topic, round * SHARE, SHARE));
            if round % 2 == 0 {
                eventually(LONG, "the files grow", || written() > before);
            }
            dice.pause(0, 700);
            daemon.sigkill();
        });
        for (partition, offset) in kafka.committed(&group, &topic) {
            let found = lines(&out, partition).len() as i64;
            assert!(found >= offset, "{found} of {offset} lines are there");
        }
    }
    let mut daemon = scene.launch(&yaml).start();
    wait_committed(kafka, &group, &topic, &NAMED);
    assert_each_once(kafka, &topic, &out, &NAMED);

    eventually(LONG, "the lag of each is told", || {
        let output = archive(&daemon);
        let lag = NAMED.map(|id| json!({"topic": topic, "partition": id, "lag": 0}));
        if output["lag"] == json!(lag) && output["assigned"] == 2 {
            Ok(())
        } else {
            Err(output.to_string())
        }
    });
    let (_, metrics) = daemon.get("/metrics").unwrap();
    for id in NAMED {
        let labels = ["output=\"archive\"", &format!("partition=\"{id}\"")];
        let of_it = |line: &&str| {
            line.starts_with("logferry_output_lag_records{")
                && labels.iter().all(|it| line.contains(it))
        };
        assert!(metrics.lines().any(|line| of_it(&line)), "{metrics}");
    }
    let document = groups(kafka, &format!("describe {group} --json")).json();
    assert_eq!(document["members"], json!([]), "{document}");
    let listed = document["partitions"].as_array().unwrap().iter();
    let listed: Vec<_> = listed
        .map(|it| (it["partition"].as_i64().unwrap(), it["lag"].clone()))
        .collect();
    assert_eq!(listed, [(0, json!(0)), (3, json!(0))], "{document}");

    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_each_once(kafka, &topic, &out, &NAMED);
    wait_committed(kafka, &group, &topic, &NAMED);
}

#[test]
fn sigterm_commits_what_is_written_and_a_reset_while_it_is_stopped_decides_where_it_goes_on() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("named-reset", 2), unique("group"));
    fill(kafka, &topic, 1, 10);
    let more = format!("      partitions: {{ {topic}: [1] }}");
    let yaml = output(&scene, kafka, &topic, &group, &more);
    let out = folder(&scene, &topic);
    let mut daemon = scene.launch(&yaml).start();
    eventually(LONG, "all is written", || lines(&out, 1).len() == 10);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_eq!(kafka.committed(&group, &topic), BTreeMap::from([(1, 10)]));

    let said = groups(
        kafka,
        &format!("reset {group} -t {topic}:1 --to 7 --execute"),
    );
    assert_eq!(said.code, Some(0), "{}", said.err);
    let mut daemon = scene.launch(&yaml).start();
    wait_committed(kafka, &group, &topic, &[1]);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_eq!(lines(&out, 1).len(), 10 + 3);
}

#[test]
fn two_outputs_of_one_group_take_the_partitions_that_each_names() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("named-two", 3), unique("group"));
    produce(kafka, &topic, 0, 3_000);
    let more = format!("      partitions: {{ {topic}: [0, 2] }}");
    let yaml = output(&scene, kafka, &topic, &group, &more)
        + &format!(
            "  other:
    from:
      topics: [{topic}]
      group: {group}
      partitions: {{ {topic}: [1] }}
    to:
      type: file
      path: \"{}/{{topic}}/{{partition}}.log\"
      sync: {{ every: 200ms }}
",
            scene.path("other").display()
        );
    let mut daemon = scene.launch(&yaml).start();
    wait_committed(kafka, &group, &topic, &[0, 1, 2]);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_each_once(kafka, &topic, &folder(&scene, &topic), &[0, 2]);
    assert_each_once(kafka, &topic, &scene.path("other").join(&topic), &[1]);
}

#[test]
fn what_is_not_there_is_told_once_and_begins_when_it_is_there_also_when_it_was_made_again() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (one, two) = (kafka.topic("named-grows", 1), unique("named-later"));
    let group = unique("group");
    produce(kafka, &one, 0, 10);
    let more = format!("      partitions: {{ {one}: [0, 2], {two}: [0] }}");
    let yaml = output(&scene, kafka, &format!("{one}, {two}"), &group, &more);
    let daemon = scene.launch(&yaml).start();
    let written = |topic: &str, partition| lines(&folder(&scene, topic), partition);
    eventually(LONG, "what is there flows", || written(&one, 0).len() == 10);
    let absent = |topic: &str, id: i32| json!({"topic": topic, "partition": id});
    let wait_absent = |wanted: Value| {
        eventually(LONG, "what is waited for is told", || {
            let output = archive(&daemon);
            if output["absent"] == wanted {
                Ok(output)
            } else {
                Err(output.to_string())
            }
        })
    };
    let state = wait_absent(json!([absent(&one, 2), absent(&two, 0)]));
    assert_eq!(
        (&state["state"], &state["assigned"]),
        (&json!("running"), &json!(1))
    );

    kafka.add_partitions(&one, 3);
    fill(kafka, &one, 1, 5);
    fill(kafka, &one, 2, 7);
    eventually(LONG, "the partition that was added", || {
        written(&one, 2).len() == 7
    });
    wait_absent(json!([absent(&two, 0)]));
    kafka.create_topic(&two, 1);
    fill(kafka, &two, 0, 8);
    eventually(LONG, "the topic that was made", || {
        written(&two, 0).len() == 8
    });
    wait_absent(json!([]));
    let told = BTreeMap::from([(format!("{one}[2]"), 1), (format!("{two}[0]"), 1)]);
    assert_eq!(waited_for(&daemon), told);
    assert_eq!(written(&one, 1).len(), 0);

    kafka.delete_topic(&two);
    wait_absent(json!([absent(&two, 0)]));
    kafka.create_topic(&two, 1);
    fill(kafka, &two, 0, 3);
    eventually(LONG, "the topic that was made again", || {
        written(&two, 0).len() == 8 + 3
    });
    fill(kafka, &one, 2, 1);
    eventually(LONG, "the others go on", || written(&one, 2).len() == 8);
}

#[test]
fn while_the_group_has_members_its_offsets_are_refused_and_the_output_waits() {
    refused_by("classic");
}

#[test]
fn the_same_while_brokers_balance_the_group() {
    refused_by("consumer");
}

fn refused_by(protocol: &str) {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("named-rival", 2), unique("group"));
    produce(kafka, &topic, 0, 1_000);
    let member = kafka.member(&group, &topic, "rival", protocol);
    joined(&member);
    let more = format!("      partitions: {{ {topic}: [0, 1] }}");
    let yaml = output(&scene, kafka, &topic, &group, &more);
    let mut daemon = scene.launch(&yaml).start();
    let why = "takes offsets from them only";
    eventually(LONG, "the output waits", || {
        let output = archive(&daemon);
        let waits = output["waits"].as_str().is_some_and(|it| it.contains(why));
        if waits && output["state"] == "waiting" {
            Ok(())
        } else {
            Err(output.to_string())
        }
    });
    let told = || {
        let complaints = complaints(&daemon);
        complaints
            .iter()
            .filter(|it| it.message.contains(why))
            .count()
    };
    assert_eq!(told(), 1);
    let (code, body) = daemon.get("/ready").unwrap();
    assert!(code == 503 && body.contains(why), "{code} {body}");
    let consumed = archive(&daemon)["consumed"].clone();
    produce(kafka, &topic, 1_000, 20_000);
    assert_eq!(
        archive(&daemon)["consumed"],
        consumed,
        "nothing more is read"
    );
    assert_eq!(kafka.committed(&group, &topic), BTreeMap::new());

    drop(member);
    wait_committed(kafka, &group, &topic, &[0, 1]);
    assert_eq!(told(), 1, "it is told once");
    daemon.wait_ready(LONG);
    assert_eq!(archive(&daemon)["waits"], Value::Null);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_each_once(kafka, &topic, &folder(&scene, &topic), &[0, 1]);
}

fn joined(member: &BaseConsumer) {
    eventually(LONG, "the rival has its partitions", || {
        drop(member.poll(Duration::from_millis(20)));
        let held = member.assignment().map_err(|error| error.to_string())?;
        if held.count() == 2 {
            Ok(())
        } else {
            Err(format!("{}", held.count()))
        }
    });
}
