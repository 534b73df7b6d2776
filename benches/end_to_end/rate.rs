//! The row `rate`: the share of one processor that following a slow file costs.

use std::time::{Duration, Instant};

use crate::support::daemon::Launch;
use crate::support::eventually::pause;
use crate::support::lines::LineWriter;
use crate::{Bench, LINE, contenders, support, table};

const RATE: u64 = 1000;
const SECONDS: u64 = 20;
const PATIENCE: Duration = Duration::from_secs(30);

pub fn row(bench: &Bench) {
    let mut shares = Vec::new();
    for _ in 0..bench.options.runs {
        match once(bench) {
            Ok(share) => shares.push(share),
            Err(why) => return println!("{RATE} lines/s: failed: {why}\n"),
        }
    }
    let share = table::median(&mut shares).unwrap_or_default();
    println!(
        "| {RATE} lines/s for {SECONDS} s | % of one processor |\n|---|---|\n| logferry | {share:.1} |\n"
    );
}

fn once(bench: &Bench) -> Result<f64, String> {
    let (folder, topic) = (support::temp_dir(), bench.topic());
    let mut writer = LineWriter::create(folder.path().join("slow.log"), "slow", LINE - 1);
    let yaml = contenders::input_yaml(bench.kafka.brokers(), &topic, writer.path(), folder.path());
    let mut daemon = Launch::new(folder.path(), &yaml).start();
    // What starting costs is not what running costs: the first line is there before the clock is.
    writer.append(1);
    bench.arrived(&topic, 1, &mut daemon, PATIENCE)?;
    let (begun, used) = (Instant::now(), daemon.cpu_time());
    for tenth in 1..=SECONDS * 10 {
        writer.append(RATE / 10);
        pause(
            (begun + Duration::from_millis(100 * tenth)).saturating_duration_since(Instant::now()),
        );
    }
    let share = (daemon.cpu_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
    bench.arrived(&topic, writer.written(), &mut daemon, PATIENCE)?;
    bench.kafka.delete_topic(&topic);
    Ok(share)
}
