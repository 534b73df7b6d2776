//! The rows `console-produce` and `console-consume`: the operator's commands beside kcat, as people type them, with all processors for all.
//!
//! Bound: producing takes half of kcat's processor time and is not slower; consuming takes 70 % of it and a third of its time.

use std::path::Path;

use crate::Bench;
use crate::contenders::{Contender, KCAT_CONSUMER, Task, words};
use crate::judged::Judged;
use crate::table::Table;

/// `COMMAND < FILE`: acks=all and idempotent, both.
const PRODUCERS: &[Contender] = &[
    Contender {
        name: "logferry produce",
        program: None,
        ends: true,
        prints: false,
        command: produce,
    },
    Contender {
        name: "kcat -P",
        program: Some("kcat"),
        ends: true,
        prints: false,
        command: kcat_produce,
    },
];

/// `COMMAND > FILE`
const CONSUMERS: &[Contender] = &[
    Contender {
        name: "logferry consume",
        program: None,
        ends: true,
        prints: true,
        command: consume,
    },
    KCAT_CONSUMER,
];

/// What may be used of what kcat uses.
struct Most {
    wall: f64,
    cpu: f64,
}

pub fn produce_row(bench: &Bench, file: &Path) {
    let brokers = bench.kafka.brokers();
    let table = bench.produce("produce < file", PRODUCERS, file, brokers);
    judge(
        "produce beside kcat",
        &table,
        PRODUCERS,
        &Most {
            wall: 1.0,
            cpu: 0.5,
        },
    );
}

pub fn consume_row(bench: &Bench) {
    let table = bench.consume("consume > file", CONSUMERS);
    judge(
        "consume beside kcat",
        &table,
        CONSUMERS,
        &Most {
            wall: 1.0 / 3.0,
            cpu: 0.7,
        },
    );
}

fn judge(title: &str, table: &Table, contenders: &[Contender], most: &Most) {
    let mut judged = Judged::new(title);
    let figures = [0, 1].map(|at: usize| table.medians(contenders[at].name));
    match figures {
        [Some(ours), Some(theirs)] => {
            judged.bound(
                "wall clock",
                ours.wall / theirs.wall,
                "of kcat's",
                most.wall,
            );
            judged.bound(
                "processor time",
                ours.cpu / theirs.cpu,
                "of kcat's",
                most.cpu,
            );
        }
        _ => judged.failed("both", "one of them has no figures"),
    }
    println!("{}", judged.markdown());
}

fn produce(task: &Task<'_>) -> Vec<String> {
    let logferry = env!("CARGO_BIN_EXE_logferry");
    let command = [
        logferry,
        "produce",
        "-q",
        "-b",
        task.brokers,
        "-t",
        task.topic,
    ];
    redirected(&command, task.file)
}

fn kcat_produce(task: &Task<'_>) -> Vec<String> {
    let options = ["-X", "acks=all", "-X", "enable.idempotence=true"];
    let command = [
        &["kcat", "-P", "-b", task.brokers, "-t", task.topic][..],
        &options,
    ];
    redirected(&command.concat(), task.file)
}

/// The shell becomes the command.
fn redirected(command: &[&str], file: &Path) -> Vec<String> {
    let mut all = words(&["sh", "-c", "exec \"$@\" < \"$0\""]);
    all.push(file.display().to_string());
    all.extend(words(command));
    all
}

fn consume(task: &Task<'_>) -> Vec<String> {
    let logferry = env!("CARGO_BIN_EXE_logferry");
    words(&[
        logferry,
        "consume",
        "-b",
        task.brokers,
        "-t",
        task.topic,
        "--until",
        "end",
    ])
}
