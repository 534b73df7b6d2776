//! The rows `archive` and `archive-*`: topics to disk, each beside what it is compared with.
//!
//! Records are lines of the usual length. Every run has a group and folders of its own, reads from the first record to the end, and counts only if
//! its files hold all of it, byte for byte as long as it should be.

use std::fs;
use std::path::Path;

use crate::contenders::{KCAT_CONSUMER, Task, logferry_run};
use crate::judged::Judged;
use crate::measure::{self, Figures};
use crate::support::kafka::unique;
use crate::support::{on_path, temp_dir};
use crate::table::{Medians, Table};
use crate::{Bench, LINE};

const PATHS: u64 = 10_000;
/// Ten thousand files are made durable with each sync: with all records that row would take hours.
const PATHS_SHARE: u64 = 50;
/// More than a frame of a sync has.
const FRAME: usize = 64 << 20;

/// Megabytes.
const MOST_MEMORY: f64 = 60.0;

const RAW: Case = Case {
    name: "logferry, raw, sync 1s",
    writes: Some(Output {
        path: "0.log",
        to: "",
    }),
    source: Source {
        partitions: 1,
        keys: 0,
    },
};

const KCAT: Case = Case {
    name: "kcat -C -e > file",
    writes: None,
    ..RAW
};

/// One way to bring a topic to disk.
struct Case {
    name: &'static str,
    /// Absent: kcat does.
    writes: Option<Output>,
    source: Source,
}

struct Output {
    /// Within the run's folder.
    path: &'static str,
    /// What `to:` has besides.
    to: &'static str,
}

/// What a topic is like.
#[derive(Clone, Copy, PartialEq)]
struct Source {
    partitions: i32,
    keys: u64,
}

pub fn row(bench: &Bench) {
    if !on_path("kcat") {
        println!("archive: kcat is not on PATH, left out\n");
        return;
    }
    let mut judged = Judged::new("Kafka -> file beside kcat");
    match compare(bench, "Kafka -> file", bench.options.lines, &[RAW, KCAT]) {
        Some([ours, theirs]) => {
            judged.bound("CPU per record", ours.cpu / theirs.cpu, "of kcat's", 0.6);
            judged.bound("wall", ours.wall / theirs.wall, "of kcat's", 1.0 / 3.0);
            judged.bound("peak memory", ours.rss, "MB", MOST_MEMORY);
        }
        None => judged.failed("all", "one of them has no figures"),
    }
    println!("{}", judged.markdown());
}

pub fn zstd(bench: &Bench) {
    let zstd = Case {
        name: "logferry, zstd level 1",
        writes: Some(Output {
            path: "0.log",
            to: ", compression: { codec: zstd, level: 1 }",
        }),
        ..RAW
    };
    beside(bench, "Kafka -> compressed file", [RAW, zstd], 1, Some(2.5));
}

pub fn partitions(bench: &Bench) {
    let many = Case {
        name: "logferry, 64 partitions into 64 files",
        writes: Some(Output {
            path: "{partition}.log",
            to: "",
        }),
        source: Source {
            partitions: 64,
            keys: 0,
        },
    };
    beside(
        bench,
        "Kafka -> a file per partition",
        [RAW, many],
        1,
        Some(1.5),
    );
}

pub fn exactly_once(bench: &Bench) {
    let once = Case {
        name: "logferry, exactly once",
        writes: Some(Output {
            path: "0.log",
            to: ", delivery: exactly_once",
        }),
        ..RAW
    };
    beside(bench, "Kafka -> file, exactly once", [RAW, once], 1, None);
}

pub fn paths(bench: &Bench) {
    let source = Source {
        partitions: 1,
        keys: PATHS,
    };
    let one = Case { source, ..RAW };
    let many = Case {
        name: "logferry, 10,000 files, 256 open",
        writes: Some(Output {
            path: "{key}.log",
            to: ", max_open_files: 256",
        }),
        source,
    };
    beside(
        bench,
        "Kafka -> a file per key",
        [one, many],
        PATHS_SHARE,
        None,
    );
}

/// The second case beside the first, with that part of the records. `most`: how many times the CPU of the first it may take.
fn beside(bench: &Bench, title: &str, cases: [Case; 2], part: u64, most: Option<f64>) {
    let records = (bench.options.lines / part).max(1);
    let mut judged = Judged::new(&format!("{}, beside {}", cases[1].name, cases[0].name));
    match compare(bench, title, records, &cases) {
        Some([first, second]) => {
            let times = second.cpu / first.cpu;
            match most {
                Some(most) => judged.bound("CPU per record", times, "times", most),
                None => judged.told("CPU per record", times, "times"),
            }
            judged.told("wall", second.wall / first.wall, "times");
            judged.told("peak memory", second.rss, "MB");
        }
        None => judged.failed("all", "one of them has no figures"),
    }
    println!("{}", judged.markdown());
}

/// Runs both in turn. Absent when one has no figures.
fn compare(bench: &Bench, title: &str, records: u64, cases: &[Case; 2]) -> Option<[Medians; 2]> {
    let mut topics: Vec<(Source, String)> = Vec::new();
    for Case { source, .. } in cases {
        if topics.iter().all(|(known, _)| known != source) {
            let topic = bench.topic_of(source.partitions);
            bench.fill(&topic, records, source.keys);
            topics.push((*source, topic));
        }
    }
    let mut table = Table::new(title, cases.iter().map(|case| case.name));
    for _ in 0..bench.options.runs {
        for case in cases {
            let topic = topics.iter().find(|(source, _)| *source == case.source);
            let (_, topic) = topic.expect("a topic for each source");
            table.add(case.name, run(bench, case, topic, records));
        }
    }
    for (_, topic) in topics {
        bench.kafka.delete_topic(&topic);
    }
    println!("{}", table.markdown(records));
    let [first, second] = cases;
    Some([table.medians(first.name)?, table.medians(second.name)?])
}

fn run(bench: &Bench, case: &Case, topic: &str, records: u64) -> Result<Figures, String> {
    let folder = temp_dir();
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("a folder for files");
    let brokers = bench.kafka.brokers();
    let (words, stdout) = match &case.writes {
        Some(output) => {
            let yaml = yaml(brokers, topic, output, folder.path(), &out);
            let mut words = logferry_run(folder.path(), &yaml);
            words.push("--once".into());
            (words, folder.path().join("stdout"))
        }
        None => {
            let file = out.join("0.log");
            let task = Task {
                brokers,
                topic,
                file: &file,
                folder: folder.path(),
            };
            ((KCAT_CONSUMER.command)(&task), file)
        }
    };
    let figures = measure::run(&bench.processors, &words, folder.path(), &stdout, || false)?;
    let (written, expected) = (plain_bytes(&out)?, records * LINE as u64);
    if written == expected {
        Ok(figures)
    } else {
        Err(format!("the files hold {written} of {expected} bytes"))
    }
}

fn yaml(brokers: &str, topic: &str, output: &Output, folder: &Path, out: &Path) -> String {
    format!(
        "id: {id}
data_dir: {folder}/data
admin: null
clusters:
  main: {{ brokers: [\"{brokers}\"] }}
outputs:
  bench:
    from: {{ topics: [{topic}], group: \"{group}\" }}
    to: {{ type: file, path: \"{out}/{path}\", sync: {{ every: 1s }}{to} }}
",
        id = unique("bench"),
        group = unique("bench"),
        folder = folder.display(),
        out = out.display(),
        path = output.path,
        to = output.to,
    )
}

/// What all files of a folder hold, once they are unpacked.
fn plain_bytes(folder: &Path) -> Result<u64, String> {
    let mut room = Vec::new();
    let mut sum = 0;
    for file in fs::read_dir(folder).map_err(|error| error.to_string())? {
        let file = file.map_err(|error| error.to_string())?;
        // The name of the folder in Kafka.
        if file.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        sum += if file
            .path()
            .extension()
            .is_some_and(|ending| ending == "zst")
        {
            unpacked(&file.path(), &mut room)?
        } else {
            file.metadata().map_err(|error| error.to_string())?.len()
        };
    }
    Ok(sum)
}

/// How much the frames of a file hold.
fn unpacked(path: &Path, room: &mut Vec<u8>) -> Result<u64, String> {
    room.resize(FRAME, 0);
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let (mut rest, mut sum) = (bytes.as_slice(), 0);
    while !rest.is_empty() {
        let torn = || format!("{}: a frame is torn", path.display());
        let len = zstd_safe::find_frame_compressed_size(rest).map_err(|_| torn())?;
        let (frame, behind) = rest.split_at_checked(len).ok_or_else(torn)?;
        let plain = zstd_safe::decompress(room.as_mut_slice(), frame).map_err(|_| torn())?;
        sum += plain as u64;
        rest = behind;
    }
    Ok(sum)
}
