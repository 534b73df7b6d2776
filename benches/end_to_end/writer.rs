//! The row `writer`: how much slower an application writes its log because the daemon follows it.
//!
//! One thread makes a write(2) per line as fast as it can; pairs of runs with the daemon and without it, in turn, and the median of what
//! the pairs say: a run differs from the next by more than the daemon does. The daemon runs where the broker does, so that it does not
//! take processor time from the writer: that is the price of its work and stands in the other rows. What is left are the kernel's locks
//! and events of the file, and the disk that both use. What the writer waited for a processor is told apart, so that the row says something
//! on a busy machine too.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::judged::Judged;
use crate::support::daemon::Launch;
use crate::support::eventually::pause;
use crate::table::median;
use crate::{Bench, LINE, contenders, support};

const PAIRS: usize = 11;
/// Less than what the kernel keeps in memory before writers have to wait for the disk.
const MOST_LINES: u64 = 2_000_000;
/// For what the disk and the broker have left to do of the run before.
const REST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

const MOST_PERCENT: f64 = 5.0;

struct Written {
    wall: Duration,
    cpu: Duration,
    /// Ready to run, while something else had the processor.
    displaced: Duration,
}

impl Written {
    fn undisturbed(&self) -> Duration {
        self.wall.saturating_sub(self.displaced)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            wall,
            cpu,
            displaced,
        } = self;
        write!(
            f,
            "wall {wall:.3?}, of it cpu {cpu:.3?} and waiting for one {displaced:.3?}"
        )
    }
}

struct Pair {
    alone: Written,
    followed: Written,
    /// The share of the lines that had arrived when the last one was written.
    arrived: f64,
}

pub fn row(bench: &Bench) {
    let lines = bench.options.lines.min(MOST_LINES);
    let mut judged = Judged::new(&format!(
        "a write(2) per line, {lines} lines, followed against alone, medians of {PAIRS} pairs"
    ));
    match measured(bench, lines) {
        Ok(pairs) => {
            let middle = |of: &dyn Fn(&Pair) -> f64| {
                median(&mut pairs.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
            };
            let slower = |of: fn(&Written) -> Duration| {
                middle(&|pair| {
                    (of(&pair.followed).as_secs_f64() / of(&pair.alone).as_secs_f64() - 1.0) * 100.0
                })
            };
            judged.bound("slower", slower(|w| w.wall), "%", MOST_PERCENT);
            judged.bound(
                "slower, waiting for a processor left out",
                slower(Written::undisturbed),
                "%",
                MOST_PERCENT,
            );
            judged.bound("more processor time", slower(|w| w.cpu), "%", MOST_PERCENT);
            let each = |wall: Duration| wall.as_secs_f64() * 1e9 / lines as f64;
            judged.told("alone", middle(&|pair| each(pair.alone.wall)), "ns/line");
            judged.told(
                "arrived when the last line was written",
                middle(&|pair| pair.arrived),
                "%",
            );
        }
        Err(why) => judged.failed("writer", &why),
    }
    println!("{}", judged.markdown());
}

fn measured(bench: &Bench, lines: u64) -> Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    for pair in 0..PAIRS {
        let pair = if pair % 2 == 0 {
            let alone = alone(bench, lines);
            let (followed, arrived) = followed(bench, lines)?;
            Pair {
                alone,
                followed,
                arrived,
            }
        } else {
            let (followed, arrived) = followed(bench, lines)?;
            Pair {
                alone: alone(bench, lines),
                followed,
                arrived,
            }
        };
        eprintln!(
            "alone: {}; followed: {}; {:.0} % had arrived",
            pair.alone, pair.followed, pair.arrived
        );
        pairs.push(pair);
    }
    Ok(pairs)
}

fn alone(bench: &Bench, lines: u64) -> Written {
    let folder = support::temp_dir();
    rest();
    write(bench, &folder.path().join("app.log"), lines)
}

fn followed(bench: &Bench, lines: u64) -> Result<(Written, f64), String> {
    let (folder, topic) = (support::temp_dir(), bench.topic());
    let file = folder.path().join("app.log");
    fs::write(&file, "the first line\n").expect("a file");
    let yaml = contenders::input_yaml(bench.kafka.brokers(), &topic, &file, folder.path());
    let pin = bench.processors.pin_beside_broker();
    let pin: Vec<&str> = pin.iter().map(String::as_str).collect();
    let mut daemon = Launch::new(folder.path(), &yaml).under(&pin).start();
    bench.arrived(&topic, 1, &mut daemon, PATIENCE)?;
    rest();
    let written = write(bench, &file, lines);
    let arrived = bench.kafka.written(&topic) as f64 / lines as f64 * 100.0;
    bench.arrived(&topic, lines + 1, &mut daemon, PATIENCE)?;
    bench.kafka.delete_topic(&topic);
    Ok((written, arrived))
}

fn rest() {
    rustix::fs::sync();
    pause(REST);
}

/// On a thread of its own, where the clients run.
fn write(bench: &Bench, file: &Path, lines: u64) -> Written {
    let mut line = Vec::new();
    support::lines::line(&mut line, "app", 0, LINE - 1);
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .expect("a log file");
    let write = || {
        bench.processors.pin_thread_to_clients();
        let (begun, (ran, waited)) = (Instant::now(), thread_times());
        for _ in 0..lines {
            file.write_all(&line).expect("to append a line");
        }
        let (wall, (ran_since, waited_since)) = (begun.elapsed(), thread_times());
        Written {
            wall,
            cpu: ran_since - ran,
            displaced: waited_since - waited,
        }
    };
    std::thread::scope(|scope| scope.spawn(write).join().expect("the writer"))
}

/// How long the calling thread has run, and how long it has waited for a processor.
fn thread_times() -> (Duration, Duration) {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("/proc");
    let mut nanos = stat.split_whitespace().map(|field| {
        let nanos = field.parse().expect("nanoseconds");
        Duration::from_nanos(nanos)
    });
    let mut next = || nanos.next().unwrap_or_default();
    (next(), next())
}
