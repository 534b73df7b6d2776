//! The row `notice`: how long a line waits that is appended to a file which nobody has written to for a while.
//!
//! Measured from the write until a consumer of the topic has the record, nothing subtracted: noticing, reading, lingering, the broker's
//! acknowledgement and its way to the consumer.

use std::time::{Duration, Instant};

use crate::Bench;
use crate::crowd::{Crowd, FILES};
use crate::judged::Judged;
use crate::receiver::Receiver;
use crate::support::eventually::pause;
use crate::support::scene::Dice;

/// Between a line's arrival and the next line, in ms. As wide as the time between two sweeps, so that lines meet every moment of it; and
/// long enough for the daemon to be at rest again.
const GAP: (u64, u64) = (500, 1500);
const PATIENCE: Duration = Duration::from_secs(30);

/// The 99th percentile, in ms.
const BOUNDS: [(&str, f64); 2] = [("auto", 250.0), ("poll", 1000.0)];

pub fn row(bench: &Bench) {
    let mut judged = Judged::new(&format!(
        "append to one of {FILES} idle files -> a consumer has it, {} lines",
        bench.options.notices
    ));
    for (watch, most) in BOUNDS {
        match measured(bench, watch) {
            Ok(mut waits) => {
                waits.sort_by(f64::total_cmp);
                let what = |what: &str| format!("watch: {watch}, {what}");
                judged.told(&what("p50"), percentile(&waits, 50), "ms");
                judged.bound(&what("p99"), percentile(&waits, 99), "ms", most);
                judged.told(&what("longest"), percentile(&waits, 100), "ms");
            }
            Err(why) => judged.failed(&format!("watch: {watch}"), &why),
        }
    }
    println!("{}", judged.markdown());
}

/// In milliseconds.
fn measured(bench: &Bench, watch: &str) -> Result<Vec<f64>, String> {
    let crowd = Crowd::new(bench);
    let daemon = crowd.followed(bench, watch)?;
    let receiver = Receiver::new(bench, &crowd.topic);
    // Connected and waiting before the first line counts.
    receiver.has("nothing", Duration::from_secs(2));
    let mut dice = Dice::new();
    // Prime to their number: every file once, far from the one before.
    let step = 7_919;
    let mut waits = Vec::new();
    for turn in 0..bench.options.notices {
        let name = format!("notice-{turn}");
        let written = Instant::now();
        crowd.append(turn * step % FILES, &name);
        if !receiver.has(&name, PATIENCE) {
            return Err(format!(
                "a line did not arrive within {PATIENCE:?}\n{}",
                daemon.stderr()
            ));
        }
        waits.push(written.elapsed().as_secs_f64() * 1000.0);
        pause(Duration::from_millis(dice.between(GAP.0, GAP.1)));
    }
    bench.kafka.delete_topic(&crowd.topic);
    Ok(waits)
}

/// Of sorted values: the least that so many percent do not exceed.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
