//! `cargo bench --bench end_to_end`: the daemon, with the defaults that it ships, beside what its users would pick instead,
//! on a real Apache Kafka.
//!
//! ```text
//! cargo bench --bench end_to_end                           5,000,000 lines of 200 bytes, each contender three times
//! cargo bench --bench end_to_end -- --lines 200000         a quick look
//! cargo bench --bench end_to_end -- --only kcat,logferry   some of the contenders
//! cargo bench --bench end_to_end -- --rows idle,start      some of the rows
//! cargo bench --bench end_to_end -- --rows notice --notices 20
//! ```
//!
//! | row | measures | bound |
//! |---|---|---|
//! | produce | file -> Kafka, all contenders | |
//! | delay | the same through a slow network | |
//! | lz4 | file -> Kafka, compressed with lz4, beside kcat | 70 % of its processor time |
//! | consume | Kafka -> file, all contenders | |
//! | rate | the share of a processor for 1,000 lines/s | |
//! | follow | from an append to a consumer at 1,000 lines/s | p99 25 ms |
//! | made | JSON around each line, a key per line to 12 partitions, a hundred topics, exactly once, each beside what differs in that alone | 3, 1.5, 2 and 1.1 times |
//! | rotate | file -> Kafka from rotated files, beside one file | 10 % more processor time or wall clock |
//! | writer | what an application that writes at full speed loses | 5 % |
//! | start | from exec to ready and to the first line, 10,000 known files | 1 s |
//! | idle | 10,000 idle files and 10 active ones, by `watch` | 1 % of a processor, 40 MB |
//! | notice | from an append to an idle file to a consumer, by `watch` | p99 250 ms with events, 1 s without |
//! | syslog_udp | 50,000 datagrams/s -> Kafka, beside rsyslog | a third of its CPU per message, none dropped |
//! | syslog_tcp | 1,000 connections -> Kafka, JSON, beside rsyslog | a third of its CPU per message |
//! | syslog_spool | 100,000 messages/s -> Kafka with a spool, without fsync, beside none | 1.3 times the CPU |
//! | ask | commands that ask one question, from exec to their end | 150 ms |
//! | archive | Kafka -> file, a sync a second, beside kcat, with all processors for all | 60 % of its processor time, a third of its wall clock, 60 MB |
//! | archive-zstd | the same in zstd of level 1, beside uncompressed | 2.5 times its CPU |
//! | archive-64 | the same from 64 partitions into 64 files, beside one into one | 1.5 times its CPU |
//! | archive-exactly-once | the same exactly once, beside at least once | |
//! | archive-paths | the same into 10,000 files, 256 of them open, beside one; a fiftieth of the records | |
//! | shared | consume with all processors for all | |
//! | console-produce | the command `produce < file` beside kcat, with all processors for all | half of kcat's processor time, its wall clock |
//! | console-consume | the command `consume > file` beside kcat, with all processors for all | 70 % of kcat's processor time, a third of its wall clock |
//!
//! Contenders run in turn, and each figure is the median of its runs: one run differs from the next by more than the
//! contenders do. Every run is judged by the broker: one that did not deliver every line has no figures. Clients run on one half of
//! the processors and the broker on the other where `taskset` is there; consuming is measured once more with all processors for all, as on
//! most hosts. It needs `java` and `mvn`; kcat, rsyslogd,
//! vector and fluent-bit are left out, aloud, where they are missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a benchmark that cannot go on stops by panicking"
)]

mod archive;
mod ask;
mod bare;
mod console;
mod contenders;
mod crowd;
mod follow;
mod idle;
mod judged;
mod made;
mod measure;
mod notice;
mod rate;
mod receiver;
mod rotate;
mod start;
mod syslog;
mod table;
mod writer;

#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the integration tests, which use the rest"
)]
#[path = "../../tests/it/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contenders::{CONSUMERS, Contender, LZ4, PRODUCERS};
use measure::{Figures, Processors};
use support::daemon::Daemon;
use support::eventually::pause;
use support::kafka::{RealKafka, unique};
use support::lines::LineWriter;
use support::on_path;
use table::Table;

const LINE: usize = 200;
/// Each way: a round trip takes twice that.
const DELAY: Duration = Duration::from_millis(10);

type Row = (&'static str, fn(&Bench));

/// The rows that are made in a file of their own.
const ROWS: [Row; 16] = [
    ("rate", rate::row),
    ("follow", follow::row),
    ("made", made::row),
    ("rotate", rotate::row),
    ("writer", writer::row),
    ("start", start::row),
    ("idle", idle::row),
    ("notice", notice::row),
    ("syslog_udp", syslog::udp),
    ("syslog_tcp", syslog::tcp),
    ("syslog_spool", syslog::spool),
    ("ask", ask::row),
    ("archive-zstd", archive::zstd),
    ("archive-64", archive::partitions),
    ("archive-exactly-once", archive::exactly_once),
    ("archive-paths", archive::paths),
];

struct Options {
    lines: u64,
    runs: usize,
    notices: u64,
    only: Vec<String>,
    rows: Vec<String>,
}

/// What the runs of all contenders have in common.
struct Bench {
    kafka: RealKafka,
    processors: Processors,
    options: Options,
}

fn main() {
    // `cargo test --benches` runs it too, without this word; it is no test.
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        return;
    };
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let processors = Processors::split(kafka.pid());
    let mut bench = Bench {
        kafka,
        processors,
        options,
    };
    println!("{}\n", table::machine(&bench.processors));
    println!(
        "{} lines of {LINE} bytes, medians of {} runs taken in turn\n",
        bench.options.lines, bench.options.runs
    );

    let folder = support::temp_dir();
    if ["produce", "delay", "lz4"]
        .iter()
        .any(|row| bench.options.wants_row(row))
    {
        let file = bench.file_of_lines(folder.path());
        if bench.options.wants_row("produce") {
            bench.produce("file -> Kafka", PRODUCERS, &file, bench.kafka.brokers());
        }
        if bench.options.wants_row("lz4") {
            bench.produce("file -> Kafka, lz4", LZ4, &file, bench.kafka.brokers());
        }
        if bench.options.wants_row("delay") {
            bench.kafka.proxy().delay(DELAY, DELAY);
            let title = format!("file -> Kafka, round trip {} ms", 2 * DELAY.as_millis());
            bench.produce(
                &title,
                &PRODUCERS[..2],
                &file,
                &bench.kafka.proxied_brokers(),
            );
            bench.kafka.proxy().delay(Duration::ZERO, Duration::ZERO);
        }
        std::fs::remove_file(file).expect("to remove the lines");
    }
    if bench.options.wants_row("consume") {
        bench.consume("Kafka -> file", CONSUMERS);
    }
    for (name, row) in ROWS {
        if bench.options.wants_row(name) {
            row(&bench);
        }
    }
    // Last, because the processors stay shared.
    let wants = |row| bench.options.wants_row(row);
    let (shared, archives, produces, consumes) = (
        wants("shared"),
        wants("archive"),
        wants("console-produce"),
        wants("console-consume"),
    );
    if shared || archives || produces || consumes {
        bench.processors = Processors::shared(bench.kafka.pid());
    }
    if shared {
        bench.consume(
            "Kafka -> file, processors shared with the broker",
            CONSUMERS,
        );
    }
    if archives {
        archive::row(&bench);
    }
    if produces {
        let file = bench.file_of_lines(folder.path());
        console::produce_row(&bench, &file);
    }
    if consumes {
        console::consume_row(&bench);
    }
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let mut options = Self {
            lines: 5_000_000,
            runs: 3,
            notices: 200,
            only: Vec::new(),
            rows: Vec::new(),
        };
        let mut is_bench = false;
        let words = |list: String| list.split(',').map(str::to_owned).collect();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .unwrap_or_else(|| panic!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--lines" => options.lines = value().parse().expect("a number of lines"),
                "--runs" => {
                    options.runs = value().parse::<usize>().expect("a number of runs").max(1)
                }
                "--notices" => options.notices = value().parse().expect("a number of lines"),
                "--only" => options.only = words(value()),
                "--rows" => options.rows = words(value()),
                other => panic!(
                    "{other}: not known; there are --lines, --runs, --notices, --only and --rows"
                ),
            }
        }
        is_bench.then_some(options)
    }

    fn wants_row(&self, row: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|wanted| wanted == row)
    }

    /// The contenders that are wanted and there. Those that are missing are named.
    fn present<'a>(&self, contenders: &'a [Contender]) -> Vec<&'a Contender> {
        let wanted = |contender: &&Contender| {
            self.only.is_empty()
                || self
                    .only
                    .iter()
                    .any(|only| contender.name.starts_with(only.as_str()))
        };
        let (present, missing): (Vec<_>, Vec<_>) = contenders
            .iter()
            .filter(wanted)
            .partition(|contender| contender.program.is_none_or(on_path));
        for contender in missing {
            println!("{}: not on PATH, left out\n", contender.name);
        }
        present
    }
}

impl Bench {
    fn file_of_lines(&self, folder: &Path) -> PathBuf {
        let path = folder.join("lines.log");
        LineWriter::create(&path, "bench", LINE - 1).append(self.options.lines);
        path
    }

    /// A topic whose segments are gone a second after it is deleted: a run leaves a gigabyte.
    fn topic(&self) -> String {
        self.topic_of(1)
    }

    /// The same with so many partitions.
    fn topic_of(&self, partitions: i32) -> String {
        let topic = unique("bench");
        self.kafka
            .create_topic_with(&topic, partitions, &[("file.delete.delay.ms", "1000")]);
        topic
    }

    /// Writes records that are lines of the usual length, their ends left out. `keys`: so many keys take turns; 0: none has one.
    fn fill(&self, topic: &str, records: u64, keys: u64) {
        let mut line = Vec::new();
        self.kafka.produce(topic, records, |number| {
            line.clear();
            support::lines::line(&mut line, "bench", number, LINE - 1);
            let key = number.checked_rem(keys).map(|key| key.to_string().into());
            (key, line[..LINE - 1].to_vec())
        });
    }

    fn produce(&self, title: &str, contenders: &[Contender], file: &Path, brokers: &str) -> Table {
        let present = self.options.present(contenders);
        let mut table = Table::new(title, present.iter().map(|contender| contender.name));
        for _ in 0..self.options.runs {
            for contender in &present {
                let topic = self.topic();
                let arrived = || self.kafka.written(&topic);
                table.add(
                    contender.name,
                    self.run(contender, brokers, &topic, file, &arrived),
                );
                self.kafka.delete_topic(&topic);
            }
        }
        println!("{}", table.markdown(self.options.lines));
        table
    }

    fn consume(&self, title: &str, contenders: &[Contender]) -> Table {
        let topic = self.topic();
        self.fill(&topic, self.options.lines, 0);
        let present = self.options.present(contenders);
        let mut table = Table::new(title, present.iter().map(|contender| contender.name));
        for _ in 0..self.options.runs {
            for contender in &present {
                let folder = support::temp_dir();
                let file = folder.path().join("out.log");
                let size = || std::fs::metadata(&file).map_or(0, |file| file.len());
                let arrived = || size() / LINE as u64;
                table.add(
                    contender.name,
                    self.run(contender, self.kafka.brokers(), &topic, &file, &arrived),
                );
            }
        }
        self.kafka.delete_topic(&topic);
        println!("{}", table.markdown(self.options.lines));
        table
    }

    /// One run of one contender, in a folder of its own. The error says why it does not count.
    fn run(
        &self,
        contender: &Contender,
        brokers: &str,
        topic: &str,
        file: &Path,
        arrived: &dyn Fn() -> u64,
    ) -> Result<Figures, String> {
        let folder = support::temp_dir();
        let words = (contender.command)(&contenders::Task {
            brokers,
            topic,
            file,
            folder: folder.path(),
        });
        let output = if contender.prints {
            file.to_owned()
        } else {
            folder.path().join("stdout")
        };
        let lines = self.options.lines;
        let is_done = || !contender.ends && arrived() >= lines;
        let figures = measure::run(&self.processors, &words, folder.path(), &output, is_done)?;
        let arrived = arrived();
        if arrived == lines {
            return Ok(figures);
        }
        let said = std::fs::read_to_string(folder.path().join("stderr")).unwrap_or_default();
        Err(format!(
            "{arrived} of {lines} lines arrived\n{}",
            said.lines().rev().take(5).collect::<Vec<_>>().join("\n")
        ))
    }

    /// Waits until so many records stand in the topic, and no more.
    fn arrived(
        &self,
        topic: &str,
        count: u64,
        daemon: &mut Daemon,
        patience: Duration,
    ) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            let written = self.kafka.written(topic);
            if written == count {
                return Ok(());
            }
            if written > count || daemon.exited().is_some() || Instant::now() > deadline {
                let said = daemon.stderr();
                return Err(format!("{written} of {count} lines arrived\n{said}"));
            }
            pause(Duration::from_millis(10));
        }
    }
}
