//! What a process used: wall clock, processor time, peak memory.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::support::daemon::{cpu_time, rss_kib};
use crate::support::eventually::pause;
use crate::support::on_path;

/// Longer than the slowest contender needs for five million lines.
const DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks at the memory; the peak is the kernel's, so only what grows in the last moments is missed.
const LOOK: Duration = Duration::from_millis(5);
/// Between two questions whether everything has arrived.
const ASK: Duration = Duration::from_millis(100);

/// What one run used.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_rss_kib: u64,
}

/// Which processors are the clients' and which the broker's, as lists for `taskset`.
pub struct Processors {
    pub clients: Option<String>,
    pub broker: Option<String>,
}

impl Processors {
    /// Gives the broker the second half, so that no client gains by taking processor time from it.
    pub fn split(broker: Pid) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        if count < 2 || !on_path("taskset") {
            return Self {
                clients: None,
                broker: None,
            };
        }
        let half = count / 2;
        let theirs = format!("{half}-{}", count - 1);
        let pinned = Command::new("taskset")
            .args([
                "-a",
                "-c",
                "-p",
                &theirs,
                &broker.as_raw_nonzero().to_string(),
            ])
            .stdout(Stdio::null())
            .status();
        if !pinned.is_ok_and(|status| status.success()) {
            return Self {
                clients: None,
                broker: None,
            };
        }
        Self {
            clients: Some(format!("0-{}", half - 1)),
            broker: Some(theirs),
        }
    }

    /// All processors for everybody, the broker included.
    pub fn shared(broker: Pid) -> Self {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let all = format!("0-{}", count.saturating_sub(1));
        let broker = broker.as_raw_nonzero().to_string();
        // Where taskset is missing nothing was pinned.
        let _ = Command::new("taskset")
            .args(["-a", "-c", "-p", &all, &broker])
            .stdout(Stdio::null())
            .status();
        Self {
            clients: None,
            broker: None,
        }
    }

    /// What a client's command line begins with.
    pub fn pin(&self) -> Vec<String> {
        taskset(self.clients.as_deref())
    }

    /// The same for what is to leave the clients' processors alone.
    pub fn pin_beside_broker(&self) -> Vec<String> {
        taskset(self.broker.as_deref())
    }

    /// Keeps the calling thread on the clients' processors.
    pub fn pin_thread_to_clients(&self) {
        pin_thread(self.clients.as_deref());
    }

    /// Keeps the calling thread on the broker's processors.
    pub fn pin_thread_to_broker(&self) {
        pin_thread(self.broker.as_deref());
    }

    fn command(&self, words: &[String]) -> Command {
        let mut words = self.pin().into_iter().chain(words.iter().cloned());
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        command
    }
}

fn taskset(list: Option<&str>) -> Vec<String> {
    list.map(|list| ["taskset", "-c", list].map(str::to_owned).into())
        .unwrap_or_default()
}

pub fn pin_thread(list: Option<&str>) {
    let Some(list) = list else {
        return;
    };
    let own = std::fs::read_link("/proc/thread-self").expect("/proc");
    let pinned = Command::new("taskset")
        .args(["-c", "-p", list])
        .arg(own.file_name().expect("the thread's number"))
        .stdout(Stdio::null())
        .status();
    assert!(
        pinned.is_ok_and(|status| status.success()),
        "the thread cannot be pinned"
    );
}

/// Runs a program until it exits, or until `is_done` says so, and gives what it used until then.
pub fn run(
    processors: &Processors,
    words: &[String],
    folder: &Path,
    output: &Path,
    is_done: impl Fn() -> bool,
) -> Result<Figures, String> {
    let create =
        |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut child = processors
        .command(words)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(create(output)?)
        .stderr(create(&folder.join("stderr"))?)
        .spawn()
        .map_err(|error| format!("{}: {error}", words[0]))?;
    let pid = Pid::from_child(&child);
    let (begun, mut asked, mut peak) = (Instant::now(), Instant::now(), 0);
    let ended = loop {
        peak = rss_kib(pid).map_or(peak, |rss| rss.peak);
        // Looks without taking: a process that has ended but was not waited for still tells its processor time.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), look).is_ok_and(|state| state.is_some()) {
            break true;
        }
        if begun.elapsed() > DEADLINE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("not done after {DEADLINE:?}"));
        }
        if asked.elapsed() > ASK {
            if is_done() {
                break false;
            }
            asked = Instant::now();
        }
        pause(LOOK);
    };
    let figures = Figures {
        wall: begun.elapsed(),
        cpu: cpu_time(pid).ok_or("its processor time is not known")?,
        peak_rss_kib: peak,
    };
    if !ended {
        let _ = kill_process(pid, Signal::TERM);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if ended && !status.success() {
        let said = std::fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        return Err(format!("{status}\n{said}"));
    }
    Ok(figures)
}
