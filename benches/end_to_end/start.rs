//! The row `start`: from exec until the daemon is ready, and until it delivers, when it knows ten thousand files and has read them all.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Bench;
use crate::crowd::{Crowd, FILES};
use crate::judged::Judged;
use crate::receiver::Receiver;
use crate::support::daemon::Daemon;
use crate::support::eventually::pause;
use crate::table::median;

/// A start is short: it is tried at least so often.
const LEAST: usize = 5;
const PATIENCE: Duration = Duration::from_secs(30);

/// Seconds.
const MOST: f64 = 1.0;

struct Started {
    ready: f64,
    delivered: f64,
    /// At its highest until then: knowing the files, without having read them.
    rss_mb: f64,
}

pub fn row(bench: &Bench) {
    let starts = bench.options.runs.max(LEAST);
    let mut judged = Judged::new(&format!(
        "start with {FILES} known files, medians of {starts}"
    ));
    match measured(bench, starts) {
        Ok(started) => {
            let middle = |of: fn(&Started) -> f64| {
                median(&mut started.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
            };
            judged.bound("exec -> /ready", middle(|s| s.ready), "s", MOST);
            judged.bound(
                "exec -> a consumer has the line that waited",
                middle(|s| s.delivered),
                "s",
                MOST,
            );
            judged.told("peak RSS until then", middle(|s| s.rss_mb), "MB");
        }
        Err(why) => judged.failed("start", &why),
    }
    println!("{}", judged.markdown());
}

fn measured(bench: &Bench, starts: usize) -> Result<Vec<Started>, String> {
    let crowd = Crowd::new(bench);
    let mut daemon = crowd.followed(bench, "auto")?;
    stop(&mut daemon)?;
    let receiver = Receiver::new(bench, &crowd.topic);
    receiver.has("nothing", Duration::from_secs(2));
    let mut started = Vec::new();
    for start in 0..starts as u64 {
        let name = format!("start-{start}");
        crowd.append(FILES / 2 + start, &name);
        let begun = Instant::now();
        let mut daemon = crowd.start(bench, "auto");
        let (mut ready, mut delivered) = (None, None);
        while ready.is_none() || delivered.is_none() {
            if ready.is_none() && daemon.get("/ready").is_ok_and(|(code, _)| code == 200) {
                ready = Some(begun.elapsed());
            }
            if delivered.is_none() && receiver.has(&name, Duration::from_millis(2)) {
                delivered = Some(begun.elapsed());
            }
            if begun.elapsed() > PATIENCE || daemon.exited().is_some() {
                let why = format!("ready: {ready:?}, delivered: {delivered:?}");
                return Err(format!("{why}\n{}", daemon.stderr()));
            }
        }
        let seconds = |at: Option<Duration>| at.unwrap_or_default().as_secs_f64();
        let figures = Started {
            ready: seconds(ready),
            delivered: seconds(delivered),
            rss_mb: daemon.rss_kib().peak as f64 * 1024.0 / 1e6,
        };
        eprintln!(
            "start: ready after {:.3} s, delivered after {:.3} s, {:.0} MB",
            figures.ready, figures.delivered, figures.rss_mb
        );
        started.push(figures);
        stop(&mut daemon)?;
    }
    bench.kafka.delete_topic(&crowd.topic);
    Ok(started)
}

fn stop(daemon: &mut Daemon) -> Result<(), String> {
    daemon.signal(Signal::TERM);
    let begun = Instant::now();
    loop {
        match daemon.exited() {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{status} at the stop\n{}", daemon.stderr())),
            None if begun.elapsed() > PATIENCE => return Err("it does not stop".into()),
            None => pause(Duration::from_millis(10)),
        }
    }
}
