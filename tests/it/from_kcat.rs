//! docs/from-kcat.md: every line of its tables is typed into a shell as it stands, ours beside kcat's and those of Kafka's scripts, on a real
//! Kafka. What is written has to be equal, what is read has to be equal, what is asked has to be answered.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use regex::Regex;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, Record, unique};
use crate::support::scene::{LONG, turn};
use crate::support::{on_path, temp_dir};

/// Kafka's scripts, and what they run.
const SCRIPTS: [(&str, &str); 7] = [
    ("kafka-topics", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-configs", "kafka.admin.ConfigCommand"),
    ("kafka-log-dirs", "org.apache.kafka.tools.LogDirsCommand"),
    ("kafka-get-offsets", "org.apache.kafka.tools.GetOffsetShell"),
    (
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    ),
    (
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
    ),
    (
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ),
];

/// How many records a topic has that is read.
const RECORDS: usize = 50;
/// What is written, by lines with keys.
const KEYED: &str = "k1:one\nk2:two\nk1:three\nkey-4:four\n";

/// A line of a table: kcat's, the scripts' and ours.
struct Row {
    theirs: Vec<String>,
    ours: String,
}

/// The rows of the table under a title.
fn rows(title: &str) -> Vec<Row> {
    let page = fs::read_to_string("docs/from-kcat.md").unwrap();
    let (_, table) = page.split_once(&format!("## {title}\n")).unwrap();
    let lines = table
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2);
    let command = |cell: &str| {
        let text = cell.split('`').nth(1)?;
        Some(text.replace('\u{1}', "|"))
    };
    lines
        .map(|line| {
            let line = line.replace("\\|", "\u{1}");
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            assert_eq!(cells.len(), 3, "{line}");
            Row {
                theirs: [0, 1].iter().filter_map(|at| command(cells[*at])).collect(),
                ours: command(cells[2]).unwrap_or_else(|| panic!("{line}")),
            }
        })
        .collect()
}

/// A shell that knows the programs of the page.
struct Shell<'a> {
    kafka: &'a RealKafka,
    folder: TempDir,
}

/// A line that runs.
struct Running {
    child: Child,
    folder: TempDir,
}

impl<'a> Shell<'a> {
    fn new(kafka: &'a RealKafka) -> Option<Self> {
        let libs = RealKafka::jars()?;
        let folder = temp_dir();
        let shell = Self { kafka, folder };
        let program = shell.folder.path().join("logferry");
        symlink(env!("CARGO_BIN_EXE_logferry"), program).unwrap();
        let libs = libs.join("*").display().to_string();
        for (name, class) in SCRIPTS {
            let java = format!("java -Xmx200m -XX:TieredStopAtLevel=1 -Xshare:auto -cp '{libs}'");
            shell.script(
                name,
                &format!("exec {java} {class} --bootstrap-server $LOGFERRY_BROKERS \"$@\""),
            );
        }
        if on_path("kcat") {
            shell.script(
                "kcat",
                "PATH=$OTHERS exec stdbuf -oL kcat -b $LOGFERRY_BROKERS \"$@\"",
            );
        } else {
            println!("kcat is not here: its lines are left out");
        }
        Some(shell)
    }

    fn script(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn knows(&self, line: &str) -> bool {
        !line.starts_with("kcat") || self.folder.path().join("kcat").exists()
    }

    /// Starts a line with these names in it.
    fn start(&self, line: &str, names: &[(&str, &str)], stdin: &str) -> Running {
        let pattern = Regex::new(r"([\s'^])(T|G|NEW|COPY|FILE|KEY)\b").unwrap();
        let folder = temp_dir();
        let (path, others) = (folder.path(), std::env::var("PATH").unwrap());
        fs::write(path.join("FILE"), stdin).unwrap();
        let line = pattern.replace_all(line, |found: &regex::Captures<'_>| {
            let name = names.iter().find(|(name, _)| *name == &found[2]);
            format!("{}{}", &found[1], name.map_or(&found[2], |(_, is)| is))
        });
        println!("$ {line}");
        let stdin = File::open(path.join("FILE")).unwrap();
        let file = |name: &str| File::create(path.join(name)).unwrap();
        let child = Command::new("sh")
            .args(["-c", &line])
            .current_dir(path)
            .env("LOGFERRY_BROKERS", self.kafka.brokers())
            .env("OTHERS", &others)
            .env("PATH", format!("{}:{others}", self.folder.path().display()))
            .stdin(stdin)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .process_group(0)
            .spawn()
            .unwrap();
        Running { child, folder }
    }

    /// Runs a line to its end; it has to end well.
    fn run(&self, line: &str, names: &[(&str, &str)], stdin: &str) -> String {
        let mut running = self.start(line, names, stdin);
        let status = eventually(LONG, &format!("it has ended: {line}"), || {
            running.child.try_wait().unwrap()
        });
        let (out, err) = (running.read("stdout"), running.read("stderr"));
        assert!(status.success(), "{line}: {out}{err}");
        out
    }
}

impl Running {
    fn read(&self, name: &str) -> String {
        let text = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// What it printed when it has ended by itself, or has printed so many lines.
    fn lines(&mut self, most: usize) -> Vec<String> {
        eventually(LONG, "it has ended, or printed everything", || {
            let ended = self.child.try_wait().unwrap().is_some();
            let printed = self.read("stdout");
            let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
            match ended || (lines.len() >= most && printed.ends_with('\n')) {
                true => Ok(lines),
                false => Err(printed + &self.read("stderr")),
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A topic that is read: records of three days, with all kinds of keys, values and headers.
fn filled(kafka: &RealKafka) -> String {
    // A name that begins no other one, since patterns are typed too.
    let topic = unique("page") + "-end";
    kafka.create_topic(&topic, 1);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    for number in 0..RECORDS {
        let at = number as i64;
        let time = match number {
            0..20 => 1_600_000_000_000 + at,
            20..40 => 1_700_000_000_000 + (at - 20) * 1000,
            _ => now,
        };
        let (key, value) = (format!("k{number}"), format!("value {number}"));
        let mut record = BaseRecord::to(&topic).timestamp(time);
        if number % 7 != 0 {
            record = record.key(&key);
        }
        if number % 9 != 0 {
            record = record.payload(&value);
        }
        if number % 3 == 0 {
            let header = |key, value| Header { key, value };
            let headers = OwnedHeaders::new().insert(header("a", Some("b")));
            record = record.headers(headers.insert(header("c", Some("d"))));
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(LONG).unwrap();
    topic
}

/// What of a record has to be equal.
type Written = (
    Option<i32>,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
    Vec<(String, Option<Vec<u8>>)>,
);

fn written(kafka: &RealKafka, topic: &str, with_partitions: bool) -> Vec<Written> {
    let of = |record: Record| {
        let partition = with_partitions.then_some(record.partition);
        (partition, record.key, record.value, record.headers)
    };
    let mut records: Vec<_> = kafka.read_all(topic).into_iter().map(of).collect();
    records.sort();
    records
}

#[test]
fn lines_that_write_write_the_same() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let Some(shell) = Shell::new(kafka) else {
        return;
    };
    let mut compared = 0;
    for row in rows("Writing") {
        let text = match row.ours.contains("-Z") {
            true => format!("{KEYED}k5:\n"),
            false => KEYED.to_owned(),
        };
        let run = |line: &str| {
            let (from, to) = (kafka.topic("page-from", 4), kafka.topic("page-to", 4));
            let names = [("T", from.as_str()), ("COPY", &to), ("KEY", "key")];
            if line.contains("COPY") {
                shell.run("logferry produce -t T -K:", &names, &text);
                shell.run(line, &names, "");
                return to;
            }
            shell.run(line, &names, &text);
            from
        };
        let ours = run(&row.ours);
        let count = text.lines().count() as u64;
        assert_eq!(kafka.written(&ours), count, "{}", row.ours);
        for line in row.theirs.iter().filter(|line| shell.knows(line)) {
            let is_said = ["partitioner=", "-p ", "key.separator"]
                .iter()
                .any(|word| line.contains(word));
            let theirs = run(line);
            let (ours, theirs) = (
                written(kafka, &ours, is_said),
                written(kafka, &theirs, is_said),
            );
            assert_eq!(ours, theirs, "{} and {line}", row.ours);
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn lines_that_read_print_the_same() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let Some(shell) = Shell::new(kafka) else {
        return;
    };
    let topic = filled(kafka);
    let mut compared = 0;
    for row in rows("Reading") {
        let start = |line: &str| {
            let group = unique("page");
            shell.start(line, &[("T", &topic), ("G", &group)], "")
        };
        let theirs: Vec<_> = row
            .theirs
            .iter()
            .filter(|line| shell.knows(line))
            .map(|line| (line, start(line)))
            .collect();
        let mut ours = start(&row.ours);
        if row.ours.contains("--from end") {
            let other = kafka.topic("page-end", 1);
            drop((ours, theirs));
            let mut all: Vec<_> = (row.theirs.iter().filter(|line| shell.knows(line)))
                .chain([&row.ours])
                .map(|line| (line, shell.start(line, &[("T", &other)], "")))
                .collect();
            for (line, running) in &mut all {
                eventually(LONG, &format!("something new is printed by {line}"), || {
                    kafka.produce(&other, 1, |_| (None, b"new".to_vec()));
                    running.read("stdout").starts_with("new\n")
                });
            }
            continue;
        }
        let printed = ours.lines(RECORDS);
        assert!(!printed.is_empty(), "{}: {}", row.ours, ours.read("stderr"));
        for (line, mut running) in theirs {
            let others = running.lines(printed.len());
            let told = running.read("stderr");
            assert_eq!(printed.len(), others.len(), "{line}: {others:?} {told}");
            if line.starts_with("kcat") && !line.contains("-J") {
                assert_eq!(printed, others, "{} and {line}", row.ours);
            }
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
}

#[test]
fn lines_that_ask_are_answered_and_offsets_are_put_where_kafkas_tool_puts_them() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let Some(shell) = Shell::new(kafka) else {
        return;
    };
    let mut resets = 0;
    for row in rows("Looking at the cluster") {
        let run = |line: &str| {
            let (topic, group, new) = (filled(kafka), unique("page"), unique("page-new"));
            kafka.commit(&group, &topic, &[(0, 10)]);
            let names = [
                ("T", topic.as_str()),
                ("G", &group),
                ("NEW", &new),
                ("KEY", "k"),
            ];
            let printed = shell.run(line, &names, "");
            match line {
                _ if line.contains("reset") => {
                    format!("{:?}", kafka.committed(&group, &topic))
                }
                _ if line.contains(" NEW ") => format!("{:?}", kafka.partitions(&new)),
                _ if line.contains("1700000000000") => {
                    let number = printed.trim().rsplit([' ', ':']).next();
                    number.unwrap_or_default().to_owned()
                }
                _ if line.contains("-Q -t") => {
                    assert!(printed.contains("offset 50"), "{line}: {printed}");
                    String::new()
                }
                _ => {
                    let is_there = [" T", " G"].iter().all(|name| {
                        let name = match line.contains(name) {
                            true if *name == " T" => &topic,
                            true => &group,
                            false => return true,
                        };
                        printed.contains(name.as_str())
                    });
                    // Kafka's tool says nothing when it deletes, and of members that are not there.
                    let is_quiet = printed.is_empty() || line.contains("--members");
                    assert!(is_there || is_quiet, "{line}: {printed}");
                    String::new()
                }
            }
        };
        let ours = run(&row.ours);
        for line in row.theirs.iter().filter(|line| shell.knows(line)) {
            assert_eq!(ours, run(line), "{} and {line}", row.ours);
            resets += usize::from(line.contains("--reset-offsets"));
        }
    }
    assert!(resets >= 6, "{resets}");
}

#[test]
fn the_page_has_no_line_of_ours_that_is_typed_nowhere() {
    let page = fs::read_to_string("docs/from-kcat.md").unwrap();
    let typed = ["Writing", "Reading", "Looking at the cluster"]
        .iter()
        .map(|title| rows(title).len())
        .sum::<usize>();
    let shown = page.lines().filter(|line| line.starts_with('|')).count();
    assert_eq!(typed, shown - 3 * 2, "a table that is not tried");
    assert!(
        Path::new("docs/from-kcat.md").exists() && typed > 40,
        "{typed}"
    );
}
