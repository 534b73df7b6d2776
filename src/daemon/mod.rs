//! Running it: pipelines are wired, threads started, and then it is waited: for signals, for threads that end, for the drain.
//!
//! Reading order: `wiring` (what is connected to what), `mod` (the life of the daemon), `drain` (when it is over), `tasks`, `saver`, `look`.

pub mod aside;
mod drain;
pub mod ending;
mod heap;
pub mod look;
pub mod progress;
pub mod saver;
pub mod tasks;
pub mod wiring;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use self::drain::{Drain, LEAVE, Step, Why};
pub use self::ending::Ending;
use self::ending::StartError;
use self::heap::Heap;
use self::look::Look;
use self::progress::Progress;
use self::tasks::{Ended, Part};
use self::wiring::{Wired, wire};
use crate::control::http::{self, Admin};
use crate::control::signals::{Signal, Signals};
use crate::control::systemd::Manager;
use crate::flow::Ring;
use crate::plan::{Plan, SourceSettings};

/// How often the daemon looks whether a deadline passed.
const TICK: Duration = Duration::from_millis(200);
/// The same while there is none, and nobody watches.
const REST: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// This host's name.
    pub host: String,
    /// What is there now, delivered, then the end; at most for this long, if given.
    pub once: Option<Option<Duration>>,
    /// Where progress is shown, if somebody watches.
    pub progress: Option<indicatif::ProgressBar>,
}

/// How it went, and what can still be looked at.
pub struct Run {
    pub ending: Ending,
    pub look: Option<Arc<Look>>,
}

/// Runs a plan until it is stopped or has nothing left to do.
pub fn run(plan: &Plan, options: &Options) -> Run {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return Run {
                ending: Ending::Failed(format!("cannot start the runtime: {error}")),
                look: None,
            };
        }
    };
    runtime.block_on(async {
        match Daemon::start(plan, options).await {
            Ok(daemon) => daemon.live().await,
            Err(error) => Run {
                ending: error.into(),
                look: None,
            },
        }
    })
}

/// Takes as many descriptors as the process may have. What a shell or a unit begins with is low for the sake of programs that use select(2);
/// nothing here does.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let most = Rlimit {
            current: limit.maximum,
            ..limit
        };
        // Refused, it goes with what there is: files are closed and opened again.
        if let Err(error) = setrlimit(Resource::Nofile, most) {
            tracing::debug!(%error, "the limit of open files cannot be raised");
        }
    }
}

struct Daemon {
    wired: Wired,
    signals: Signals,
    admin: Option<tokio::net::TcpListener>,
    manager: Manager,
    progress: Progress,
    shutdown_timeout: Duration,
    once: bool,
    /// Ends by itself: `once`, or standard input and nothing else.
    finite: bool,
    running: HashSet<Part>,
    drain: Drain,
    /// Outputs were late when the stop was made hard.
    hard_outputs: bool,
    failed: bool,
    internal: Option<String>,
    /// Another daemon with the same id took over.
    fenced: Option<String>,
    /// Why the last positions are not saved.
    unsaved: Option<String>,
}

impl Daemon {
    async fn start(plan: &Plan, options: &Options) -> Result<Self, StartError> {
        raise_descriptors();
        let signals = Signals::catch().map_err(|error| format!("cannot catch signals: {error}"))?;
        let admin = match plan.admin {
            Some(address) => Some(
                http::bind(address)
                    .await
                    .map_err(|error| error.to_string())?,
            ),
            None => None,
        };
        let once = options.once.is_some();
        let wired = wire(plan, &options.host, once)?;
        let only_stdin = plan
            .inputs
            .iter()
            .all(|input| matches!(input.from, SourceSettings::Stdin(_)));
        let running = wired.tasks.parts().collect();
        let limit = options
            .once
            .flatten()
            .map(|timeout| Instant::now() + timeout);
        Ok(Self {
            progress: Progress::new(options.progress.clone()),
            signals,
            admin,
            manager: Manager::of_environment(),
            shutdown_timeout: plan.shutdown_timeout,
            once,
            finite: once || (plan.outputs.is_empty() && only_stdin),
            running,
            wired,
            drain: Drain::new(plan.shutdown_timeout, limit),
            hard_outputs: false,
            failed: false,
            internal: None,
            fenced: None,
            unsaved: None,
        })
    }

    async fn live(mut self) -> Run {
        let look = self.wired.look.clone();
        let told_manager = |result: std::io::Result<()>| {
            if let Err(error) = result {
                tracing::warn!(%error, "the service manager cannot be told how it goes");
            }
        };
        told_manager(self.manager.ready(&format!(
            "{} inputs, {} outputs",
            look.inputs.len(),
            look.outputs.len()
        )));
        let manager = self.manager.clone();
        let listener = self.admin.take();
        let shown: Arc<dyn Admin> = look.clone();
        let (close, closed) = tokio::sync::oneshot::channel::<()>();
        let outside = async move {
            let serve = async {
                if let Some(listener) = listener {
                    let over = async move {
                        // The sender going away is the stop as well.
                        let _ = closed.await;
                    };
                    http::serve(listener, shown, over).await;
                }
            };
            tokio::join!(serve, manager.watch(|| true));
        };
        let mut outside = std::pin::pin!(outside);
        let mut outside_over = false;
        let mut heap = Heap::new(Instant::now());
        while !self.running.is_empty() {
            let tick = self.tick();
            tokio::select! {
                Some(signal) = self.signals.next() => self.signal(signal),
                Some(ended) = self.wired.told.recv() => self.ended(ended),
                () = tokio::time::sleep(tick) => {
                    if self.deadline_passed() {
                        break;
                    }
                    self.progress.show(&self.wired.look);
                    heap.look(Instant::now(), || self.wired.look.progress());
                }
                () = &mut outside, if !outside_over => outside_over = true,
            }
            self.go_on();
        }
        self.progress.end();
        drop(close);
        // Files of the process that are still held by threads that did not leave in time are released with the process.
        let left_in_time = self.running.is_empty();
        if left_in_time {
            self.wired.tasks.join(|_| true);
        }
        look.log_books();
        let ending = self.ending(left_in_time);
        if !left_in_time {
            // A thread that hangs in a client must not keep the process: it is left behind, and the process ends.
            std::mem::forget(self.wired);
        }
        Run {
            ending,
            look: Some(look),
        }
    }

    /// When to look next.
    fn tick(&self) -> Duration {
        if self.finite || self.drain.has_begun() || self.progress.is_shown() {
            TICK
        } else {
            REST
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Drain { by } => {
                tracing::info!(by, timeout = ?self.shutdown_timeout, "stopping: what was read is delivered; a second signal leaves at once");
                self.begin_drain(Why::Asked);
            }
            Signal::Report => self.wired.look.log_books(),
            Signal::Reopen => {
                tracing::info!("SIGUSR2: outputs open their files again");
                self.wired.reopen.call();
            }
            Signal::Reload => {}
        }
        if let Some(text) = signal.not_built_yet() {
            tracing::warn!("{text}");
        }
    }

    fn begin_drain(&mut self, why: Why) {
        let progress = self.wired.look.progress();
        if !self.drain.begin(why, Instant::now(), progress) || why == Why::EverythingRead {
            return;
        }
        self.wired.look.phase.drain();
        let stopping = self.manager.stopping("delivering what was read");
        let longer = self
            .manager
            .extend_timeout(self.shutdown_timeout + LEAVE + LEAVE);
        if let Err(error) = stopping.and(longer) {
            tracing::warn!(%error, "the service manager cannot be told about the stop");
        }
        self.wired.stop.soften();
    }

    /// `true`: even the threads' time to leave has passed.
    fn deadline_passed(&mut self) -> bool {
        match self.drain.step(Instant::now(), self.wired.look.progress()) {
            Step::GoOn => false,
            Step::Leave => true,
            Step::Harden { by_limit } => {
                if by_limit {
                    tracing::error!(
                        "--timeout passed; what was not delivered is read again next time"
                    );
                }
                tracing::error!(
                    undelivered = self.wired.look.undelivered(),
                    "the time for stopping has passed; leaving with lines that are not delivered"
                );
                let output = |part: &Part| matches!(part, Part::Consumer(_) | Part::Writer(_));
                self.hard_outputs = self.running.iter().any(output);
                self.wired.stop.harden();
                false
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        self.running.remove(&ended.part);
        let look = self.wired.look.clone();
        let life = match ended.part {
            Part::Input(at) => look.inputs.get(at).map(|input| (&input.life, &input.name)),
            Part::Consumer(at) | Part::Writer(at) => {
                let output = look.outputs.get(at);
                if let Some(why) = output.and_then(|output| output.consumer.status().fenced) {
                    self.fenced = Some(why);
                    self.begin_drain(Why::Asked);
                }
                output.map(|output| (&output.life, &output.name))
            }
            Part::Producer(at) | Part::Metadata(at) => {
                if let Part::Producer(_) = ended.part
                    && let Some((over, metadata)) = self.wired.over.get(at)
                {
                    over.store(true, Ordering::Release);
                    metadata.wake();
                    let view = look.producers.get(at).map(|it| it.state.view());
                    if let Some(why) = view.and_then(|view| view.fenced) {
                        // The rest of this daemon belongs to the other one as well.
                        self.fenced = Some(why);
                        self.begin_drain(Why::Asked);
                    }
                }
                None
            }
            // Its input has its own end.
            Part::Spool(at) | Part::Worker(at, _) if ended.result.is_err() => {
                look.inputs.get(at).map(|input| (&input.life, &input.name))
            }
            Part::Spool(_) | Part::Worker(..) | Part::Saver => None,
        };
        match ended.result {
            Ok(()) => {
                if let Some((life, _)) = life {
                    life.end();
                }
            }
            Err(error) => {
                self.failed = true;
                if ended.part == Part::Saver {
                    self.unsaved = Some(error.clone());
                }
                if error.starts_with("internal error") {
                    self.internal = Some(error.clone());
                    self.wired.stop.soften();
                    self.begin_drain(Why::Asked);
                }
                match life {
                    Some((life, name)) => {
                        life.fail();
                        tracing::error!(pipeline = %name, error, "a part of the daemon failed");
                    }
                    None => {
                        tracing::error!(part = ?ended.part, error, "a part of the daemon failed")
                    }
                }
            }
        }
    }

    /// What follows when threads have ended.
    fn go_on(&mut self) {
        let any = |running: &HashSet<Part>, which: fn(&Part) -> bool| running.iter().any(which);
        let inputs = any(&self.running, |part| {
            matches!(part, Part::Input(_) | Part::Worker(..))
        });
        let producers = any(&self.running, |part| {
            matches!(part, Part::Producer(_) | Part::Metadata(_))
        });
        let outputs = any(&self.running, |part| {
            matches!(part, Part::Consumer(_) | Part::Writer(_))
        });
        if !inputs && producers && !outputs && self.finite && !self.drain.has_begun() {
            // Everything is read: from now on a Kafka that stays away for too long ends it.
            self.begin_drain(Why::EverythingRead);
        }
        if !inputs && !producers && !self.wired.may_end.swap(true, Ordering::AcqRel) {
            for bell in &self.wired.consumers {
                bell.ring();
            }
        }
        if !inputs && !producers && !outputs {
            self.wired.finish.ask();
        }
    }

    fn ending(&self, left_in_time: bool) -> Ending {
        let look = &self.wired.look;
        let undelivered = look.undelivered();
        let spooled = look.spooled();
        if spooled > 0 {
            tracing::info!(
                lines = spooled,
                "what is in the spools is sent at the next start"
            );
        }
        let hard = self.drain.is_hard();
        if let Some(error) = &self.internal {
            return Ending::Failed(error.clone());
        }
        if let Some(why) = &self.fenced {
            return Ending::Fenced(why.clone());
        }
        // What was left is on disk, and nothing else was: it is sent at the next start.
        let is_kept = hard && !self.hard_outputs && left_in_time && undelivered == 0 && spooled > 0;
        if (hard && !is_kept) || !left_in_time {
            return Ending::Overdue { undelivered };
        }
        if self.finite
            && (undelivered + spooled > 0
                || look.anything_astray()
                || self.failed
                || look.anything_failed())
        {
            return Ending::Incomplete {
                undelivered: undelivered + spooled,
            };
        }
        if undelivered > 0 {
            return Ending::Overdue { undelivered };
        }
        if let Some(error) = &self.unsaved {
            return Ending::Failed(error.clone());
        }
        if !self.drain.has_begun() && !self.once && !self.finite {
            return Ending::Failed(
                "nothing is left to run; the log says why each part ended".into(),
            );
        }
        Ending::Done
    }
}
