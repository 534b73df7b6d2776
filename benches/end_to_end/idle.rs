//! The row `idle`: what following ten thousand idle files costs, with ten beside them that are written to.

use std::time::{Duration, Instant};

use crate::crowd::{Crowd, FILES};
use crate::judged::Judged;
use crate::support::daemon::Daemon;
use crate::support::eventually::pause;
use crate::support::lines::LineWriter;
use crate::table::median;
use crate::{Bench, LINE};

const ACTIVE: u64 = 10;
/// Lines a second, in each of the active files.
const RATE: u64 = 10;
const WINDOW: Duration = Duration::from_secs(30);
/// Between the first line of the active files and the clock: being new costs more than being followed.
const BEFORE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(10);

const MOST_PERCENT: f64 = 1.0;
const MOST_MB: f64 = 40.0;

struct Used {
    percent: f64,
    /// Before the active files were there.
    at_rest: f64,
    rss_mb: f64,
    peak_mb: f64,
}

pub fn row(bench: &Bench) {
    let mut judged = Judged::new(&format!(
        "{FILES} idle files and {ACTIVE} with {RATE} lines/s each, {} s",
        WINDOW.as_secs()
    ));
    for watch in ["auto", "poll"] {
        match measured(bench, watch) {
            Ok(used) => {
                let Used {
                    percent,
                    at_rest,
                    rss_mb,
                    peak_mb,
                } = used;
                let what = |what: &str| format!("watch: {watch}, {what}");
                judged.bound(&what("one processor"), percent, "%", MOST_PERCENT);
                judged.told(&what("the idle files alone"), at_rest, "%");
                judged.bound(&what("RSS"), rss_mb, "MB", MOST_MB);
                judged.told(&what("peak RSS since the start"), peak_mb, "MB");
            }
            Err(why) => judged.failed(&format!("watch: {watch}"), &why),
        }
    }
    println!("{}", judged.markdown());
}

fn measured(bench: &Bench, watch: &str) -> Result<Used, String> {
    let crowd = Crowd::new(bench);
    let mut daemon = crowd.followed(bench, watch)?;
    let mut before = bench.kafka.written(&crowd.topic);
    let at_rest = share(&daemon, || pause(WINDOW));
    let mut writers: Vec<LineWriter> = (FILES..FILES + ACTIVE)
        .map(|number| LineWriter::create(crowd.file(number), "active", LINE - 1))
        .collect();
    write_for(BEFORE, &mut writers);
    let mut shares = Vec::new();
    for _ in 0..bench.options.runs {
        shares.push(share(&daemon, || write_for(WINDOW, &mut writers)));
    }
    eprintln!("watch: {watch}: % of one processor: {shares:.2?}");
    let rss = daemon.rss_kib();
    before += writers.iter().map(LineWriter::written).sum::<u64>();
    bench.arrived(&crowd.topic, before, &mut daemon, PATIENCE)?;
    bench.kafka.delete_topic(&crowd.topic);
    let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
    Ok(Used {
        percent: median(&mut shares).unwrap_or_default(),
        at_rest,
        rss_mb: mb(rss.now),
        peak_mb: mb(rss.peak),
    })
}

/// Of one processor, in percent, while something else goes on.
fn share(daemon: &Daemon, meanwhile: impl FnOnce()) -> f64 {
    let (begun, used) = (Instant::now(), daemon.cpu_time());
    meanwhile();
    (daemon.cpu_time() - used).as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0
}

/// Each file gets its lines at its own moments: were they written together, the daemon could sleep in between.
fn write_for(duration: Duration, writers: &mut [LineWriter]) {
    let begun = Instant::now();
    let between = Duration::from_secs(1) / (ACTIVE * RATE) as u32;
    for (writer, tick) in (0..writers.len()).cycle().zip(1..) {
        let next = begun + between * tick;
        if next > begun + duration {
            break;
        }
        pause(next.saturating_duration_since(Instant::now()));
        writers[writer].append(1);
    }
}
