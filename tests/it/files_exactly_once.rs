//! Topics into files exactly once: up to its committed length each file holds what nobody else holds, whatever becomes of the members of the group.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::{RealKafka, unique};
use crate::support::scene::{Dice, LONG, Scene, said, turn};

/// Where lengths are kept.
const POSITIONS: &str = "logferry-positions";

/// The delivery that is asked for, and what it promises.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promise {
    Once,
    AtLeastOnce,
}

/// A member's session is over after six seconds, whoever balances; of the brokers' groups they say so themselves.
const CLASSIC: &str = "options: { session.timeout.ms: 6000, heartbeat.interval.ms: 500 }";
const BROKERS: &str = "group_protocol: consumer";

/// A member of the group: a daemon with files of its own.
struct Member {
    scene: Scene,
    yaml: String,
    daemon: Option<Daemon>,
    /// Until when it is not running, or does not move.
    until: Option<Instant>,
    asleep: bool,
}

impl Member {
    fn new(brokers: &str, topic: &str, group: &str, path: &str, promise: Promise) -> Self {
        let scene = Scene::new();
        let delivery = match promise {
            Promise::Once => "exactly_once",
            Promise::AtLeastOnce => "at_least_once",
        };
        let yaml = scene.yaml(
            brokers,
            &format!(
                "outputs:
  archive:
    from:
      topics: [{topic}]
      group: {group}
      {CLASSIC}
    to:
      type: file
      path: \"DIR/out/{path}\"
      format: json
      sync: {{ every: 100ms, bytes: 1MiB }}
      delivery: {delivery}
"
            ),
        );
        Self {
            scene,
            yaml,
            daemon: None,
            until: None,
            asleep: false,
        }
    }

    /// The same in a group that is balanced in another way.
    fn balanced(mut self, by: &str) -> Self {
        assert!(self.yaml.contains(CLASSIC));
        self.yaml = self.yaml.replace(CLASSIC, by);
        self
    }

    fn start(&mut self) {
        self.daemon = Some(self.scene.launch(&self.yaml).start());
        self.until = None;
    }

    fn sigkill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.sigkill();
        }
        self.asleep = false;
    }

    fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.sigterm();
            // 75: a rebalance that held it up for longer than it may take.
            let code = daemon.wait_code(LONG);
            assert!(matches!(code, 0 | 75), "{code}: {}", daemon.stderr());
        }
    }

    fn sleep(&mut self) {
        if let Some(daemon) = &self.daemon {
            daemon.signal(Signal::STOP);
            self.asleep = true;
        }
    }

    fn wake(&mut self) {
        if let Some(daemon) = &self.daemon {
            daemon.signal(Signal::CONT);
        }
        self.asleep = false;
        self.until = None;
    }

    fn out(&self) -> PathBuf {
        self.scene.path("out")
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// The committed length of each file of an output's folder, as Kafka has them.
fn committed_lengths(kafka: &RealKafka, out: &Path) -> BTreeMap<PathBuf, u64> {
    let marker = fs::read(out.join(".logferry-archive")).expect("the folder's name");
    let marker: Value = serde_json::from_slice(&marker).expect("JSON");
    let mut lengths = BTreeMap::new();
    for record in kafka.read_all(POSITIONS) {
        let key: Value = serde_json::from_slice(&record.key.unwrap_or_default()).expect("JSON");
        if key["id"] != marker["id"] || key["pipeline"] != marker["pipeline"] {
            continue;
        }
        let Some(mark) = key["mark"].as_str() else {
            continue;
        };
        let path = out.join(mark);
        match record.value {
            None => drop(lengths.remove(&path)),
            Some(value) => {
                let value: Value = serde_json::from_slice(&value).expect("JSON");
                let len = value["mark"]["len"].as_u64().expect("a length");
                lengths.insert(path, len);
            }
        }
    }
    lengths
}

/// What the files of all members hold, by partition and offset: how often.
fn held(kafka: &RealKafka, members: &[&Member], promise: Promise) -> BTreeMap<(i64, i64), usize> {
    let mut held = BTreeMap::new();
    for member in members {
        let lengths = match promise {
            Promise::Once => committed_lengths(kafka, &member.out()),
            Promise::AtLeastOnce => BTreeMap::new(),
        };
        for path in files(&member.out()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What was moved aside does not count.
            if name.starts_with(".logferry-") || name.contains(".cut-") {
                continue;
            }
            let mut bytes = fs::read(&path).expect("a file");
            if name.ends_with(".part") {
                let len = lengths.get(&path).copied().unwrap_or(0);
                assert!(
                    bytes.len() as u64 >= len,
                    "{} has {} bytes, and {len} are committed",
                    path.display(),
                    bytes.len()
                );
                bytes.truncate(len as usize);
            }
            for line in bytes.split(|byte| *byte == b'\n') {
                if line.is_empty() {
                    continue;
                }
                let record: Value = serde_json::from_slice(line)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let at = (
                    record["partition"].as_i64().expect("a partition"),
                    record["offset"].as_i64().expect("an offset"),
                );
                *held.entry(at).or_default() += 1;
            }
        }
    }
    held
}

/// The transaction of a member that was killed may still hide marks behind it: what is missing is looked for again, what is repeated is not.
#[track_caller]
fn assert_held(kafka: &RealKafka, topic: &str, members: &[&Member], promise: Promise) {
    let ends = kafka.end_offsets(topic);
    eventually(LONG, "every record is held", || {
        let held = held(kafka, members, promise);
        let (mut missing, mut repeated) = (Vec::new(), Vec::new());
        for (partition, end) in &ends {
            for offset in 0..*end {
                match held.get(&(i64::from(*partition), offset)) {
                    None => missing.push((*partition, offset)),
                    Some(1) => {}
                    Some(times) => repeated.push((*partition, offset, *times)),
                }
            }
        }
        let (lost, twice) = (missing.len(), repeated.len());
        missing.truncate(10);
        repeated.truncate(10);
        assert!(
            promise == Promise::AtLeastOnce || twice == 0,
            "{twice} records count more than once: {repeated:?}"
        );
        if lost == 0 {
            let all: i64 = ends.values().sum();
            println!("{all} records, {twice} more than once");
            Ok(())
        } else {
            Err(format!("{lost} records are missing: {missing:?}"))
        }
    });
}

fn produce(kafka: &RealKafka, topic: &str, from: u64, count: u64) {
    kafka.produce(topic, count, |number| {
        let number = from + number;
        let value = format!("{number:08} and what else stands in a line of a log");
        (Some(number.to_string().into_bytes()), value.into_bytes())
    });
}

fn caught_up(kafka: &RealKafka, group: &str, topic: &str) {
    eventually(LONG, "the group's lag is 0", || {
        match kafka.group_lag(group, topic) {
            0 => Ok(()),
            lag => Err(format!("a lag of {lag}")),
        }
    });
}

#[test]
pub fn each_record_counts_once_through_kills_of_the_only_member() {
    const KILLS: u64 = 8;
    const SHARE: u64 = 5_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let mut dice = Dice::new();
    let (topic, group) = (kafka.topic("archive", 4), unique("group"));
    let mut member = Member::new(
        kafka.brokers(),
        &topic,
        &group,
        "{topic}/{partition}.log",
        Promise::Once,
    );
    member.yaml += "      rotate: { size: 100KiB, every: 2s }\n";
    // Its successor has its place at once.
    let instance = format!("{{ group.instance.id: {group}-one, session");
    member.yaml = member.yaml.replace("{ session", &instance);
    for round in 0..KILLS {
        member.start();
        std::thread::scope(|scope| {
            scope.spawn(|| produce(&kafka, &topic, round * SHARE, SHARE));
            // Every other kill comes when records are moving for certain.
            if round % 2 == 0 {
                let daemon = member.daemon.as_ref().expect("it runs");
                eventually(LONG, "transactions are committed", || {
                    let status = daemon.status();
                    let counts = &status["outputs"]["archive"]["transactions"];
                    counts["committed"].as_u64().is_some_and(|it| it > 0)
                });
            }
            dice.pause(0, 700);
            member.sigkill();
        });
        // Also what is on disk between two lives.
        if round == KILLS / 2 {
            let held = held(&kafka, &[&member], Promise::Once);
            assert!(held.values().all(|times| *times == 1));
        }
    }
    // The journal is a help, not the word that counts.
    fs::remove_dir_all(member.scene.path("state/outputs")).expect("to remove the journal");
    member.start();
    caught_up(&kafka, &group, &topic);
    assert_held(&kafka, &topic, &[&member], Promise::Once);
    member.stop();
    assert_held(&kafka, &topic, &[&member], Promise::Once);
    let finished = files(&member.out()).into_iter();
    let finished = finished.filter(|path| !path.to_string_lossy().ends_with(".part"));
    assert!(finished.count() > 4, "hardly any file was finished");
    for (path, len) in committed_lengths(&kafka, &member.out()) {
        let found = fs::metadata(&path).expect("a file").len();
        assert_eq!(found, len, "{}", path.display());
    }
}

#[test]
fn a_member_that_slept_through_its_session_cuts_what_it_wrote() {
    slept(CLASSIC);
}

#[test]
fn the_same_where_the_brokers_balance_the_group() {
    slept(BROKERS);
}

fn slept(by: &str) {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let (topic, group) = (kafka.topic("archive", 3), unique("group"));
    let path = "{topic}/{partition}.log";
    let new = || Member::new(kafka.brokers(), &topic, &group, path, Promise::Once).balanced(by);
    let (mut first, mut second) = (new(), new());
    first.start();
    produce(&kafka, &topic, 0, 3_000);
    caught_up(&kafka, &group, &topic);
    std::thread::scope(|scope| {
        // It falls asleep while records are moving.
        scope.spawn(|| produce(&kafka, &topic, 3_000, 60_000));
        let before = kafka.committed(&group, &topic);
        eventually(LONG, "the group moves on", || {
            kafka.committed(&group, &topic) != before
        });
        first.sleep();
        second.start();
    });
    // On a busy machine it fell asleep with everything committed: of these it has read none, so the group goes on without it.
    produce(&kafka, &topic, 63_000, 3_000);
    caught_up(&kafka, &group, &topic);
    assert_held(&kafka, &topic, &[&first, &second], Promise::Once);
    first.wake();
    produce(&kafka, &topic, 66_000, 3_000);
    caught_up(&kafka, &group, &topic);
    let daemon = first.daemon.as_ref().expect("it runs");
    eventually(LONG, "the sleeper notices", || {
        said(daemon)
            .iter()
            .any(|said| said.message.contains("went on without this member"))
    });
    assert_held(&kafka, &topic, &[&first, &second], Promise::Once);
    first.stop();
    second.stop();
    assert_held(&kafka, &topic, &[&first, &second], Promise::Once);
}

/// Three members over twelve partitions for as long, killed, stopped and paused by chance while records arrive.
fn chaos(promise: Promise, by: &str, time: Duration) {
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let mut dice = Dice::new();
    let (topic, group) = (kafka.topic("archive", 12), unique("group"));
    let paths = ["{topic}/{partition}.log", "{topic}.log", "{topic}-%H%M.log"];
    let mut members: Vec<Member> = paths
        .iter()
        .map(|path| Member::new(kafka.brokers(), &topic, &group, path, promise).balanced(by))
        .collect();
    members[0].yaml += "      rotate: { size: 64KiB }\n";
    members[1].yaml += "      rotate: { size: 256KiB, every: 3s }\n";
    members.iter_mut().for_each(Member::start);
    let (over, produced) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut done = BTreeMap::<&str, u32>::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                produce(
                    &kafka,
                    &topic,
                    produced.fetch_add(500, Ordering::Relaxed),
                    500,
                );
                pause(Duration::from_millis(100));
            }
        });
        // Offsets that are committed stay committed.
        scope.spawn(|| {
            let mut last = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                for (partition, offset) in kafka.committed(&group, &topic) {
                    let before = last.insert(partition, offset).unwrap_or(0);
                    assert!(
                        before <= offset,
                        "partition {partition} went back from {before} to {offset}"
                    );
                }
                pause(Duration::from_millis(500));
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < time {
            dice.pause(50, 150);
            let now = Instant::now();
            for member in &mut members {
                if member.until.is_some_and(|until| now >= until) {
                    if member.asleep {
                        member.wake();
                    } else {
                        member.start();
                    }
                }
                if member.until.is_some() || !dice.once_in(45) {
                    continue;
                }
                let (what, most) = match dice.between(1, 4) {
                    1 | 2 => {
                        member.sigkill();
                        ("killed", 4_000)
                    }
                    3 => {
                        member.stop();
                        ("stopped", 2_000)
                    }
                    _ => {
                        member.sleep();
                        // Beyond its session more often than not.
                        ("asleep", 12_000)
                    }
                };
                *done.entry(what).or_default() += 1;
                member.until = Some(now + Duration::from_millis(dice.between(100, most)));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    println!("{done:?}");
    for member in &mut members {
        if member.asleep {
            member.wake();
        } else if member.daemon.is_none() {
            member.start();
        }
    }
    caught_up(&kafka, &group, &topic);
    let all: Vec<&Member> = members.iter().collect();
    assert_held(&kafka, &topic, &all, promise);
    members.iter_mut().for_each(Member::stop);
    let all: Vec<&Member> = members.iter().collect();
    assert_held(&kafka, &topic, &all, promise);
}

#[test]
fn members_that_are_killed_paused_and_stopped_by_chance_hold_each_record_once() {
    chaos(Promise::Once, CLASSIC, Duration::from_secs(50));
}

#[test]
fn members_that_are_killed_paused_and_stopped_by_chance_hold_each_record_at_least_once() {
    chaos(Promise::AtLeastOnce, CLASSIC, Duration::from_secs(25));
}

#[test]
fn the_same_exactly_once_where_the_brokers_balance_the_group() {
    chaos(Promise::Once, BROKERS, Duration::from_secs(25));
}
