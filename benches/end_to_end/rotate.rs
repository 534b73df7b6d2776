//! The row `rotate`: what rotation costs, as the same lines once in one file and once in ten that were renamed one after the other.
//!
//! Twice: written before the daemon looks, and written while it reads, then with the writer a little ahead of what has arrived.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::judged::Judged;
use crate::measure::{self, Figures};
use crate::support::eventually::pause;
use crate::support::lines::LineWriter;
use crate::table::{Table, median};
use crate::{Bench, LINE, contenders, support};

/// With the usual 5,000,000 lines of 200 bytes a generation has 100 MB.
const GENERATIONS: u64 = 10;
/// The writer waits when so many generations have not arrived.
const AHEAD: f64 = 0.5;
/// What it writes at once, in parts of a generation.
const CHUNKS: u64 = 4;
const ASK: Duration = Duration::from_millis(20);

const MOST_PERCENT: f64 = 10.0;

/// Each beside the one that it is compared with.
const CASES: [Case; 4] = [
    Case::new("one file, written before", false, false),
    Case::new("rotated, written before", false, true),
    Case::new("one file, while it is written", true, false),
    Case::new("rotated, while it is written", true, true),
];

struct Case {
    name: &'static str,
    is_live: bool,
    is_rotated: bool,
}

impl Case {
    const fn new(name: &'static str, is_live: bool, is_rotated: bool) -> Self {
        Self {
            name,
            is_live,
            is_rotated,
        }
    }
}

pub fn row(bench: &Bench) {
    let lines = bench.options.lines;
    let megabytes = lines * LINE as u64 / GENERATIONS / 1_000_000;
    let title = format!("file -> Kafka, renamed every {megabytes} MB");
    let mut table = Table::new(&title, CASES.iter().map(|case| case.name));
    let mut runs: [Vec<Figures>; 4] = Default::default();
    for _ in 0..bench.options.runs {
        for (case, runs) in CASES.iter().zip(&mut runs) {
            let run = run(bench, case);
            runs.extend(run.as_ref().ok());
            table.add(case.name, run);
        }
    }
    println!("{}", table.markdown(lines));
    let mut judged = Judged::new("rotated against one file");
    for (of, when) in [(0, "written before"), (2, "while it is written")] {
        let more = |of_run: fn(&Figures) -> Duration| {
            let middle = |runs: &[Figures]| {
                let seconds = runs.iter().map(|run| of_run(run).as_secs_f64());
                median(&mut seconds.collect::<Vec<_>>())
            };
            Some((middle(&runs[of + 1])? / middle(&runs[of])? - 1.0) * 100.0)
        };
        for (what, more) in [
            ("CPU per line", more(|run| run.cpu)),
            ("wall", more(|run| run.wall)),
        ] {
            match more {
                Some(more) => {
                    judged.bound(&format!("{when}: more {what}"), more, "%", MOST_PERCENT)
                }
                None => judged.failed(when, "a case has no figures"),
            }
        }
    }
    println!("{}", judged.markdown());
}

fn run(bench: &Bench, case: &Case) -> Result<Figures, String> {
    let (folder, topic, lines) = (support::temp_dir(), bench.topic(), bench.options.lines);
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).expect("a folder for logs");
    let path = logs.join("app.log");
    let pattern = format!("\"{}*\"", path.display());
    let yaml = contenders::input_yaml(
        bench.kafka.brokers(),
        &topic,
        Path::new(&pattern),
        folder.path(),
    );
    let arrived = || bench.kafka.written(&topic);
    let writer = LineWriter::create(&path, "bench", LINE - 1);
    let mut words = contenders::logferry_run(folder.path(), &yaml);
    let measured = |words: &[String]| {
        measure::run(
            &bench.processors,
            words,
            folder.path(),
            &folder.path().join("stdout"),
            || case.is_live && arrived() >= lines,
        )
    };
    let figures = if case.is_live {
        thread::scope(|scope| {
            scope.spawn(|| {
                bench.processors.pin_thread_to_broker();
                write(writer, case, lines, &arrived);
            });
            measured(&words)
        })?
    } else {
        write(writer, case, lines, &|| lines);
        words.push("--once".into());
        measured(&words)?
    };
    let arrived = arrived();
    bench.kafka.delete_topic(&topic);
    if arrived == lines {
        Ok(figures)
    } else {
        Err(format!("{arrived} of {lines} lines arrived"))
    }
}

fn write(mut writer: LineWriter, case: &Case, lines: u64, arrived: &dyn Fn() -> u64) {
    let generation = lines.div_ceil(GENERATIONS).max(1);
    let chunk = generation.div_ceil(CHUNKS);
    let ahead = (generation as f64 * AHEAD) as u64;
    while writer.written() < lines {
        let in_generation = writer.written() % generation;
        if case.is_rotated && in_generation == 0 && writer.written() > 0 {
            writer.rotate();
        }
        let count = chunk
            .min(generation - in_generation)
            .min(lines - writer.written());
        writer.append(count);
        while writer.written() > arrived().saturating_add(ahead) {
            pause(ASK);
        }
    }
}
