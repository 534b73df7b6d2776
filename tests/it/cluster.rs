//! Three brokers that die one by one or two at a time: nothing is lost, order stays, and what is waited for is said once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::three::Lease;
use crate::support::kafka::unique;
use crate::support::lines::{LineWriter, judge, judge_partitions};
use crate::support::scene::{Dice, LONG, Said, Scene, balanced, books, complaints, said, turn};

/// The shortest line that carries a name of one letter and a number, and then some.
const SHORT: usize = 20;

/// Waits until so many lines are acknowledged.
#[track_caller]
fn acked(daemon: &Daemon, lines: u64) {
    eventually(LONG, "lines are acknowledged", || {
        let books = books(daemon, "app")?;
        assert!(balanced(&books), "{books}");
        match books["acked"]["lines"].as_u64() {
            Some(acked) if acked >= lines => Ok(()),
            _ => Err(books.to_string()),
        }
    });
}

/// What is said about the topic beyond `info`.
fn about(daemon: &Daemon, topic: &str) -> Vec<Said> {
    let mut all = complaints(daemon);
    all.retain(|said| said.text.contains(topic));
    all
}

#[test]
fn two_hundred_thousand_lines_arrive_in_order_while_their_leaders_are_killed() {
    let Some(mut cluster) = Lease::take() else {
        return;
    };
    let _turn = turn();
    let mut dice = Dice::new();
    let scene = Scene::new();
    let topic = cluster.topic("leaders", 3);
    let daemon = scene
        .launch(&scene.input_yaml(cluster.brokers(), &topic))
        .start();
    let mut writers = ["a", "b"]
        .map(|name| LineWriter::create(scene.path(&format!("logs/{name}.log")), name, SHORT));
    let mut append = |count| writers.iter_mut().for_each(|writer| writer.append(count));
    for round in 1..=5 {
        append(10_000);
        dice.pause(0, 300);
        let partition = dice.between(0, 2) as i32;
        let leader = eventually(LONG, "somebody leads", || cluster.leader(&topic, partition));
        cluster.kill(leader);
        append(10_000);
        dice.pause(0, 2_000);
        if dice.once_in(2) {
            acked(&daemon, round * 40_000);
        }
        cluster.restart(leader);
        dice.pause(0, 1_000);
        // The two others are enough to write to, but only one of the three may be down.
        cluster.in_sync();
    }
    acked(&daemon, 200_000);
    let resent = daemon.status()["inputs"]["app"]["resent"].as_u64().unwrap();
    let records = cluster.read_partitions(&topic);
    let mut repeated = 0;
    for name in ["a", "b"] {
        let findings = judge_partitions(&records, name, SHORT, 0..100_000);
        assert!(findings.is_at_least_once(), "{name}: {findings}");
        repeated += findings.repeated;
    }
    assert!(
        repeated <= resent,
        "{repeated} lines stand twice, {resent} are owned up to"
    );
}

#[test]
fn too_few_replicas_are_waited_for_and_that_is_said_once() {
    let Some(mut cluster) = Lease::take() else {
        return;
    };
    let _turn = turn();
    let scene = Scene::new();
    let topic = cluster.topic("replicas", 1);
    let daemon = scene
        .launch(&scene.input_yaml(cluster.brokers(), &topic))
        .start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", SHORT);
    writer.append(1_000);
    acked(&daemon, 1_000);
    let leader = cluster.leader(&topic, 0).expect("a leader");
    let others: Vec<_> = (0..3).filter(|broker| *broker != leader).collect();
    for broker in &others {
        cluster.kill(*broker);
    }
    eventually(LONG, "it says that replicas are missing", || {
        writer.append(100);
        about(&daemon, &topic)
            .iter()
            .any(|said| said.text.contains("min.insync.replicas"))
    });
    let before = writer.written();
    pause(Duration::from_secs(8));
    let told = about(&daemon, &topic);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(daemon.get("/live").unwrap().0, 200);

    cluster.restart(others[0]);
    acked(&daemon, before);
    eventually(LONG, "it says that it goes on", || {
        said(&daemon)
            .iter()
            .any(|said| said.level == "info" && said.text.contains("are acknowledged again"))
    });
    assert_eq!(about(&daemon, &topic).len(), 1);
    let values = cluster.read_values(&topic);
    let findings = judge(&values, "a", SHORT, 0..before);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn lines_with_a_key_wait_for_their_own_partition_while_others_flow() {
    let Some(mut cluster) = Lease::take() else {
        return;
    };
    let _turn = turn();
    let scene = Scene::new();
    let topic = unique("leaderless");
    // One replica: where its broker is down, a partition has no leader.
    cluster.create_topic_of(&topic, 3, 1, &[("min.insync.replicas", "1")]);
    let yaml = scene.input_yaml(cluster.brokers(), &topic).replace(
        &format!("topic: {topic} }}"),
        &format!("topic: {topic}, key: \"{{file.name}}\" }}"),
    );
    let daemon = scene.launch(&yaml).start();
    let names: Vec<_> = ('a'..='l').map(String::from).collect();
    let mut writers: BTreeMap<_, _> = names
        .iter()
        .map(|name| {
            let path = scene.path(&format!("logs/{name}.log"));
            (name.clone(), LineWriter::create(path, name, SHORT))
        })
        .collect();
    let mut append = |count| writers.values_mut().for_each(|writer| writer.append(count));
    append(10);
    acked(&daemon, 120);
    let mut at: BTreeMap<i32, BTreeSet<String>> = BTreeMap::new();
    for (partition, value) in cluster.read_partitions(&topic) {
        let name = String::from_utf8_lossy(&value[..1]).into_owned();
        at.entry(partition).or_default().insert(name);
    }
    let (partition, stuck) = at.first_key_value().expect("a partition with lines");
    assert!(stuck.len() < 12, "twelve keys in one partition: {at:?}");
    let leader = cluster.leader(&topic, *partition).expect("a leader");
    cluster.kill(leader);
    append(10);
    let flowing = 20 * (12 - stuck.len()) as i64;
    eventually(LONG, "the others flow", || {
        let others = (0..3).filter(|other| other != partition);
        let ends = others.map(|other| cluster.end_offset(&topic, other));
        let written: i64 = ends.sum();
        match written == flowing {
            true => Ok(()),
            false => Err(format!("{written} of {flowing}")),
        }
    });
    // What is in one batch with lines that wait is in the books when they are there, too.
    let books = books(&daemon, "app").unwrap();
    let in_flight = books["in_flight"]["lines"].as_u64();
    assert!(in_flight >= Some(10 * stuck.len() as u64), "{books}");
    eventually(LONG, "it says what they wait for", || {
        about(&daemon, &topic)
            .iter()
            .any(|said| said.text.contains("has no leader"))
    });
    append(10);
    pause(Duration::from_secs(4));
    assert_eq!(about(&daemon, &topic).len(), 1);
    cluster.restart(leader);
    acked(&daemon, 360);
    let values = cluster.read_values(&topic);
    for name in &names {
        let findings = judge(&values, name, SHORT, 0..30);
        assert!(findings.is_exactly_once(), "{name}: {findings}");
    }
}

/// Which partition of `__transaction_state`, and so which broker, is responsible for a transactional id: the broker's own way to
/// choose, by Java's hash of a text.
fn coordinator_partition(transactional_id: &str) -> i32 {
    let hash = transactional_id.bytes().fold(0_i32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    (hash & i32::MAX) % 2
}

#[test]
fn each_line_is_there_once_when_the_coordinator_of_its_transactions_is_killed() {
    let Some(mut cluster) = Lease::take() else {
        return;
    };
    let _turn = turn();
    let mut dice = Dice::new();
    let scene = Scene::new();
    let (topic, id) = (cluster.topic("coordinator", 3), unique("host"));
    let yaml = scene
        .input_yaml(cluster.brokers(), &topic)
        .replace("id: test\n", &format!("id: {id}\n"))
        .replace(
            &format!("topic: {topic} }}"),
            &format!(
                "topic: {topic}, delivery: {{ exactly_once: {{ commit: 100ms, timeout: 10s }} }} }}"
            ),
        );
    let mut daemon = scene.launch(&yaml).start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", SHORT);
    for round in 0..3 {
        let before =
            books(&daemon, "app").map_or(0, |books| books["acked"]["lines"].as_u64().unwrap_or(0));
        writer.append(10_000);
        acked(&daemon, before + 10_000);
        let partition = coordinator_partition(&format!("{id}/app"));
        let coordinator = eventually(LONG, "there is a coordinator", || {
            cluster.leader("__transaction_state", partition)
        });
        writer.append(20_000);
        dice.pause(0, 400);
        cluster.kill(coordinator);
        writer.append(5_000);
        if round == 1 {
            daemon.sigkill();
            daemon = scene.launch(&yaml).start();
        }
        eventually(LONG, "another one takes over", || {
            let now = cluster.leader("__transaction_state", partition);
            now.is_some_and(|now| now != coordinator)
        });
        cluster.restart_all();
    }
    eventually(LONG, "every line stands in the topic", || {
        match cluster.read_values(&topic).len() as u64 {
            got if got < writer.written() => Err(format!("{got} of {}", writer.written())),
            _ => Ok(()),
        }
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(Duration::from_secs(30)), 0);
    let records = cluster.read_partitions(&topic);
    let findings = judge_partitions(&records, "a", SHORT, 0..writer.written());
    assert!(findings.is_exactly_once(), "{findings}");
}
