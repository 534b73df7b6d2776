//! The row `ask`: how long the commands take that ask one question, from exec to their end, on the local broker. One of Kafka's scripts beside
//! them says what a JVM takes.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::judged::Judged;
use crate::support::daemon::Launch;
use crate::support::kafka::unique;
use crate::support::lines::LineWriter;
use crate::table::median;
use crate::{Bench, LINE, contenders, support};

/// How often each is asked.
const TIMES: usize = 20;
const PARTITIONS: i32 = 12;
const PATIENCE: Duration = Duration::from_secs(30);

/// Milliseconds, for the middle one and for the slowest.
const MOST: f64 = 150.0;

pub fn row(bench: &Bench) {
    let (kafka, brokers) = (&bench.kafka, bench.kafka.brokers());
    let (folder, topic, group) = (support::temp_dir(), unique("ask"), unique("ask"));
    kafka.create_topic(&topic, PARTITIONS);
    for partition in 0..PARTITIONS {
        kafka.produce_at(&topic, partition, &[1_700_000_000_000; 100]);
    }
    let offsets: Vec<_> = (0..PARTITIONS).map(|partition| (partition, 42)).collect();
    kafka.commit(&group, &topic, &offsets);
    let mut writer = LineWriter::create(folder.path().join("a.log"), "a", LINE - 1);
    writer.append(1);
    let yaml = contenders::input_yaml(brokers, &topic, writer.path(), folder.path());
    let [port] = support::free_ports();
    let yaml = yaml.replace(
        "admin: null",
        &format!("admin: {{ listen: 127.0.0.1:{port} }}"),
    );
    let daemon = Launch::new(folder.path(), &yaml).start();
    daemon.wait_ready(PATIENCE);
    let config = folder.path().join("logferry.yaml").display().to_string();

    let mut judged = Judged::new(&format!("ask, {TIMES} times each"));
    let connected = format!("-b {brokers}");
    for (name, line) in [
        ("topics list", format!("topics list {connected}")),
        (
            "topics describe",
            format!("topics describe {topic} {connected}"),
        ),
        ("groups list", format!("groups list {connected}")),
        (
            "groups describe",
            format!("groups describe {group} {connected}"),
        ),
        (
            "groups describe --times",
            format!("groups describe {group} --times {connected}"),
        ),
        (
            "groups reset",
            format!("groups reset {group} --to earliest {connected}"),
        ),
        ("partition-of", "partition-of -n 12 user-7".to_owned()),
        ("status", format!("status -c {config}")),
    ] {
        let mut took = Vec::new();
        for _ in 0..TIMES {
            match asked(bench, &line) {
                Ok(time) => took.push(time.as_secs_f64() * 1000.0),
                Err(why) => judged.failed(name, &why),
            }
        }
        let most = took.iter().copied().fold(0.0, f64::max);
        if let Some(middle) = median(&mut took) {
            judged.bound(&format!("{name}, p50"), middle, "ms", MOST);
            judged.bound(&format!("{name}, the slowest"), most, "ms", MOST);
        }
    }
    let begun = Instant::now();
    if kafka
        .tool("org.apache.kafka.tools.TopicCommand", &["--list"])
        .is_some()
    {
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        judged.told("kafka-topics --list, once", took, "ms");
    }
    drop(daemon);
    kafka.delete_topic(&topic);
    println!("{}", judged.markdown());
}

fn asked(bench: &Bench, line: &str) -> Result<Duration, String> {
    let program = env!("CARGO_BIN_EXE_logferry").to_owned();
    let line = line.split_whitespace().map(str::to_owned);
    let mut words = bench
        .processors
        .pin()
        .into_iter()
        .chain([program])
        .chain(line);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).stdin(Stdio::null());
    let begun = Instant::now();
    let said = command.output().map_err(|error| error.to_string())?;
    let took = begun.elapsed();
    match said.status.success() && !said.stdout.is_empty() {
        true => Ok(took),
        false => Err(String::from_utf8_lossy(&said.stderr).into_owned()),
    }
}
