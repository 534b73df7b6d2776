//! The row `follow`: how long lines wait that come steadily, 1,000 a second.
//!
//! Measured from the write until a consumer of the topic has the record, nothing subtracted: noticing, reading, lingering, the broker's
//! acknowledgement, and the record's way to the consumer, which comes on top of what is promised.

use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};

use crate::judged::Judged;
use crate::notice::percentile;
use crate::receiver::Receiver;
use crate::support::daemon::Launch;
use crate::{Bench, LINE, contenders, support};

/// Lines at a time, and how often.
const LINES: usize = 10;
const EVERY: Duration = Duration::from_millis(10);
const SECONDS: usize = 20;
/// Before these: a broker that has just started answers slowly.
const WARMING: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);
/// The least linger, and 20 ms. In ms.
const MOST: f64 = 25.0;

pub fn row(bench: &Bench) {
    let mut judged = Judged::new("1,000 lines/s: append -> a consumer has it");
    match waits(bench) {
        Ok(mut waits) => {
            waits.sort_by(f64::total_cmp);
            judged.told("p50", percentile(&waits, 50), "ms");
            judged.bound("p99", percentile(&waits, 99), "ms", MOST);
            judged.told("longest", percentile(&waits, 100), "ms");
        }
        Err(why) => judged.failed("waits", &why),
    }
    println!("{}", judged.markdown());
}

/// In milliseconds, of each line.
fn waits(bench: &Bench) -> Result<Vec<f64>, String> {
    let (folder, topic) = (support::temp_dir(), bench.topic());
    let path = folder.path().join("steady.log");
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("a file for lines");
    let yaml = contenders::input_yaml(bench.kafka.brokers(), &topic, &path, folder.path());
    let receiver = Receiver::new(bench, &topic);
    let daemon = Launch::new(folder.path(), &yaml).start();
    writeln!(log, "first {:.<LINE$}", "").expect("to write a line");
    if !receiver.has("first", PATIENCE) {
        return Err(format!("nothing arrived\n{}", daemon.stderr()));
    }
    let lines_of = |seconds: usize| seconds * 1000 * LINES / EVERY.as_millis() as usize;
    let total = lines_of(WARMING + SECONDS);
    let (mut written, mut waits) = (Vec::with_capacity(total), Vec::with_capacity(total));
    let begun = Instant::now();
    let mut heard = begun;
    while waits.len() < total {
        let due = begun + EVERY * (written.len() / LINES) as u32;
        if written.len() < total && Instant::now() >= due {
            let numbers = written.len()..written.len() + LINES;
            let lines: String = numbers.map(|number| format!("{number:<LINE$}\n")).collect();
            written.resize(written.len() + LINES, Instant::now());
            log.write_all(lines.as_bytes()).expect("to write lines");
        }
        let patience = match written.len() < total {
            true => due.saturating_duration_since(Instant::now()),
            false => EVERY,
        };
        let Some(line) = receiver.next(patience.min(EVERY)) else {
            if heard.elapsed() > PATIENCE {
                return Err(format!("{} of {total} lines arrived", waits.len()));
            }
            continue;
        };
        heard = Instant::now();
        let number = std::str::from_utf8(&line).ok();
        let number = number.and_then(|line| line.trim().parse::<usize>().ok());
        let at = number.and_then(|number| written.get(number));
        let at = at.ok_or("a line that was never written")?;
        waits.push(heard.duration_since(*at).as_secs_f64() * 1000.0);
    }
    bench.kafka.delete_topic(&topic);
    Ok(waits.split_off(lines_of(WARMING)))
}
