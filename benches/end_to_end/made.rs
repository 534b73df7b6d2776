//! The row `made`: what it costs to make something of each line, beside the same lines as they are.
//!
//! Lines are JSON objects of the usual length. Their fields give a key that differs from line to line, or one of a hundred topics that take
//! turns; `format: json` puts an envelope around each.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::judged::Judged;
use crate::measure::{self, Figures};
use crate::table::{Table, median};
use crate::{Bench, LINE, contenders, support};

const TOPICS: u64 = 100;

/// What of a run is compared.
type Kind = fn(&Figures) -> Duration;

/// The first is the one that most others are compared with.
const CASES: [Case; 9] = [
    PLAIN,
    Case {
        name: "format: json",
        to: ", format: json",
        most: Some(3.0),
        ..PLAIN
    },
    Case {
        name: "pack: 64KiB",
        to: ", pack: 64KiB",
        ..PLAIN
    },
    Case {
        name: KEYLESS,
        partitions: 12,
        ..PLAIN
    },
    Case {
        name: "a key per line, 12 partitions",
        to: ", key: \"{file.offset}\"",
        partitions: 12,
        beside: KEYLESS,
        most: Some(1.5),
        ..PLAIN
    },
    Case {
        name: "a key of a field, 12 partitions",
        to: ", key: \"{json.n}\"",
        partitions: 12,
        beside: KEYLESS,
        ..PLAIN
    },
    Case {
        name: ONE,
        topic: "{json.o}",
        ..PLAIN
    },
    Case {
        name: "a hundred topics of a field",
        topic: "{json.t}",
        topics: TOPICS,
        beside: ONE,
        most: Some(2.0),
        ..PLAIN
    },
    Case {
        name: "exactly once, a commit each second",
        to: ", delivery: exactly_once",
        most: Some(1.1),
        ..PLAIN
    },
];
const KEYLESS: &str = "lines as they are, 12 partitions";
const ONE: &str = "one topic of a field";
const PLAIN: Case = Case {
    name: "lines as they are",
    to: "",
    topic: "0",
    topics: 1,
    partitions: 1,
    beside: "lines as they are",
    most: None,
};

struct Case {
    name: &'static str,
    /// What `to:` has besides.
    to: &'static str,
    /// What the topic's name ends with.
    topic: &'static str,
    topics: u64,
    partitions: i32,
    /// The case that it is compared with.
    beside: &'static str,
    /// How many times that one it may cost.
    most: Option<f64>,
}

pub fn row(bench: &Bench) {
    let (folder, lines) = (support::temp_dir(), bench.options.lines);
    let file = write(folder.path(), lines);
    let mut table = Table::new("made of each line", CASES.iter().map(|case| case.name));
    let mut runs = CASES.map(|_| Vec::new());
    for _ in 0..bench.options.runs {
        for (case, runs) in CASES.iter().zip(&mut runs) {
            let run = run(bench, case, &file);
            runs.extend(run.as_ref().ok());
            table.add(case.name, run);
        }
    }
    println!("{}", table.markdown(lines));
    let mut judged = Judged::new("against lines as they are, or as it says");
    let middle = |runs: &[Figures], of_run: Kind| {
        let seconds = runs.iter().map(|run| of_run(run).as_secs_f64());
        median(&mut seconds.collect::<Vec<_>>())
    };
    for (case, of_case) in CASES.iter().zip(&runs).skip(1) {
        let kinds: [(&str, Kind); 2] = [("CPU per line", |run| run.cpu), ("wall", |run| run.wall)];
        let beside = CASES.iter().position(|other| other.name == case.beside);
        let beside = &runs[beside.expect("a case's name")];
        for (what, of_run) in kinds {
            let times = middle(of_case, of_run)
                .zip(middle(beside, of_run))
                .map(|(case, beside)| case / beside);
            let mut name = format!("{}: {what}", case.name);
            if case.beside != PLAIN.name {
                name = format!("{}, beside {}: {what}", case.name, case.beside);
            }
            // How fast transactions are is the wall clock's to tell.
            let most = case
                .most
                .filter(|_| what == "wall" || !case.to.contains("exactly_once"));
            match (times, most) {
                (Some(times), Some(most)) => judged.bound(&name, times, "times", most),
                (Some(times), None) => judged.told(&name, times, "times"),
                (None, _) => judged.failed(&name, "a case has no figures"),
            }
        }
    }
    println!("{}", judged.markdown());
}

fn write(folder: &Path, lines: u64) -> PathBuf {
    let path = folder.join("lines.json");
    let mut file = BufWriter::new(File::create(&path).expect("a file for lines"));
    for n in 0..lines {
        let begin = format!(
            "{{\"t\":{},\"o\":0,\"n\":\"{n:010}\",\"text\":\"",
            n % TOPICS
        );
        let rest = LINE.saturating_sub(begin.len() + 3);
        writeln!(file, "{begin}{:.<rest$}\"}}", "").expect("to write lines");
    }
    file.flush().expect("to write lines");
    path
}

fn run(bench: &Bench, case: &Case, file: &Path) -> Result<Figures, String> {
    let (folder, prefix) = (support::temp_dir(), support::kafka::unique("made"));
    let topics: Vec<String> = (0..case.topics)
        .map(|at| format!("{prefix}-{at}"))
        .collect();
    for topic in &topics {
        bench
            .kafka
            .create_topic_with(topic, case.partitions, &[("file.delete.delay.ms", "1000")]);
    }
    let topic = format!("\"{prefix}-{}\"", case.topic);
    let yaml = contenders::input_yaml(bench.kafka.brokers(), &topic, file, folder.path());
    // Transactions of another run's id would say that everything was sent.
    let yaml = format!("id: {prefix}\n{yaml}");
    let plain = format!("to: {{ topic: {topic} }}");
    let yaml = yaml.replace(&plain, &format!("to: {{ topic: {topic}{} }}", case.to));
    let mut words = contenders::logferry_run(folder.path(), &yaml);
    words.push("--once".into());
    let figures = measure::run(
        &bench.processors,
        &words,
        folder.path(),
        &folder.path().join("stdout"),
        || false,
    )?;
    let written: u64 = topics.iter().map(|topic| bench.kafka.written(topic)).sum();
    // Each transaction's mark has an offset, too.
    let marks = if case.to.contains("exactly_once") {
        1000
    } else {
        0
    };
    let lines = bench.options.lines;
    // How many lines a packed record has is the daemon's to say, and it ended well.
    let least = match case.to.contains("pack") {
        true => lines * LINE as u64 / (64 * 1024),
        false => lines,
    };
    let arrived = (least..=lines + marks).contains(&written);
    for topic in &topics {
        bench.kafka.delete_topic(topic);
    }
    match arrived {
        true => Ok(figures),
        false => Err(format!("{written} of {lines} lines arrived")),
    }
}
