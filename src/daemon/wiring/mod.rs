//! The one place that knows every part: pipelines from a plan.
//!
//! This file has the order in which everything is opened and started; how one of a kind is put together is in `inputs`, `producers` and
//! `outputs`, what stands between an input and its transactions in `marks`, and the brokers in this process are in `embedded`. Nothing runs before data_dir is known to be ours.

mod embedded;
mod inputs;
mod marks;
mod outputs;
mod producers;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::mpsc::Receiver as Told;

use self::embedded::InProcess;
use self::producers::Making;
use super::aside::Aside;
use super::ending::StartError;
use super::look::{Look, Phase};
use super::saver::{self, Collect, Finish, Saver, SharedStore};
use super::tasks::{Ended, Part, Tasks};
use crate::checkpoint::Store;
use crate::disk::{Disk, RealDisk};
use crate::flow::{Bell, Budget, Call, Stop};
use crate::input::file::rotate::Timing;
use crate::kafka::embedded::Embedded;
use crate::kafka::metadata::Metadata;
use crate::plan::{InputPlan, Plan};
use crate::spool;

/// What runs.
pub struct Wired {
    pub tasks: Tasks,
    pub told: Told<Ended>,
    pub stop: Stop,
    /// Output files are to be opened again.
    pub reopen: Call,
    pub look: Arc<Look>,
    pub finish: Arc<Finish>,
    /// Turns true when `once` outputs may end.
    pub may_end: Arc<AtomicBool>,
    /// Woken after `may_end` turned true.
    pub consumers: Vec<Arc<Bell>>,
    /// Per producer: turns true when it ended, so that its metadata thread does.
    pub over: Vec<(Arc<AtomicBool>, Arc<Metadata>)>,
    /// The brokers in this process; dropped last.
    pub embedded: Vec<Embedded>,
}

/// Opens what is on disk, connects everything, and starts the threads. Kafka is not waited for.
///
/// # Errors
/// data_dir that is held, not ours or damaged; a thread that cannot be started. A single output that cannot start is
/// said in the log and shown as failed; the others run.
pub fn wire(plan: &Plan, host: &str, once: bool) -> Result<Wired, StartError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let store = open_store(&disk, &plan.data_dir)?;
    let aside = Aside::new(disk.clone(), &plan.data_dir, plan.dead_letters_max_size);
    let with_spool = |input: &&InputPlan| input.from.spool().is_some();
    let spools = plan.inputs.iter().filter(with_spool);
    let spools: Vec<&str> = spools.map(|input| input.name.as_str()).collect();
    for path in spool::forgotten(&disk, &plan.data_dir, &spools) {
        tracing::warn!(path = %path.display(), "nobody sends what is in this spool: its input is gone or has no `spool` any more; give it back, or remove the folder");
    }
    let brokers = InProcess::start(plan)?;
    let pipelines = plan.pipelines();
    let (budget, shares) = Budget::split(plan.buffer_memory, pipelines);
    let mut shares = shares.into_iter();
    let (tasks, told) = Tasks::new(pipelines * 2 + plan.producers.len() * 2 + 1);
    let (stop, reopen) = (Stop::new(), Call::new());
    let mut wiring = Wiring {
        plan,
        host,
        once,
        disk,
        store,
        aside,
        stop: stop.clone(),
        reopen: reopen.clone(),
        timing: Timing::default(),
        tasks,
    };

    let mut producers: Vec<Making> = plan.producers.iter().map(Making::new).collect();
    let mut inputs = Vec::new();
    let mut collects: Vec<Collect> = Vec::new();
    for (at, input) in plan.inputs.iter().enumerate() {
        let own: Vec<_> = shares.by_ref().take(input.from.workers()).collect();
        if own.is_empty() {
            break;
        }
        let making = &mut producers[input.producer];
        let (look, collect) = wiring.input(at, input, making, own)?;
        inputs.push(look);
        collects.extend(collect);
    }
    let mut looks = Vec::new();
    let mut over = Vec::new();
    for (at, making) in producers.into_iter().enumerate() {
        let bootstrap = brokers.bootstrap(&making.settings.cluster);
        over.push(wiring.producer(at, making, &bootstrap, &mut looks)?);
    }
    let may_end = Arc::new(AtomicBool::new(false));
    let (mut outputs, mut consumers) = (Vec::new(), Vec::new());
    for (at, output) in plan.outputs.iter().enumerate() {
        let Some(share) = shares.next() else { break };
        let bootstrap = brokers.bootstrap(&output.from.cluster);
        let bell = Arc::new(Bell::new());
        outputs.push(wiring.output(at, output, &bootstrap, share, bell.clone(), &may_end)?);
        consumers.push(bell);
    }
    let finish = Arc::new(Finish::default());
    let saver = Saver {
        store: wiring.store.clone(),
        inputs: collects,
        every: plan.checkpoint_every,
        sync: plan.checkpoint_sync,
        finish: finish.clone(),
    };
    wiring
        .tasks
        .start(Part::Saver, "saver", move || saver::run(saver))?;
    let look = Look {
        started: SystemTime::now(),
        inputs,
        outputs,
        producers: looks,
        budget,
        phase: Phase::default(),
    };
    let tasks = wiring.tasks;
    Ok(Wired {
        tasks,
        told,
        stop,
        reopen,
        look: Arc::new(look),
        finish,
        may_end,
        consumers,
        over,
        embedded: brokers.into_brokers(),
    })
}

/// What is at hand while the parts are put together.
struct Wiring<'a> {
    plan: &'a Plan,
    host: &'a str,
    once: bool,
    disk: Arc<dyn Disk>,
    store: SharedStore,
    aside: Aside,
    stop: Stop,
    reopen: Call,
    /// One for all inputs, so that they wake their producer together.
    timing: Timing,
    tasks: Tasks,
}

fn open_store(disk: &Arc<dyn Disk>, dir: &Path) -> Result<SharedStore, StartError> {
    let (store, recovered) = Store::open(disk.clone(), dir).map_err(|error| {
        let text = error.to_string();
        if error.is_held() || error.is_permission() {
            StartError::NotPermitted(text)
        } else {
            StartError::Failed(text)
        }
    })?;
    if let Some(cut) = recovered.cut {
        tracing::warn!(path = %cut.path.display(), bytes = cut.bytes, "a torn tail was cut off the saved positions; what it said is read again");
    }
    Ok(Arc::new(Mutex::new(store)))
}
