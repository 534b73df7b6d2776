//! The one place that knows every part: pipelines from a plan.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::mpsc::Receiver as Told;

use super::aside::{Aside, refuse_output, set_aside_input, set_aside_long};
use super::ending::StartError;
use super::look::{InputLook, Life, Look, OutputLook, Phase, ProducerLook};
use super::saver::{self, Collect, Finish, Saver, SharedStore};
use super::tasks::{Ended, Part, Tasks};
use crate::checkpoint::{Change, Entry, FileKey, Store};
use crate::disk::{Disk, RealDisk};
use crate::flow::{Arenas, Batch, Bell, Books, Budget, Receiver, Ring, Share, Stop, Tracker, pipe};
use crate::input::Position;
use crate::input::file::facts::Facts;
use crate::input::file::rotate::Timing;
use crate::input::file::{self, FileInput};
use crate::input::outlet::Ends;
use crate::input::stdin::{self, StdinInput};
use crate::kafka::consumer::{self, Consumer, ConsumerState, End};
use crate::kafka::embedded::Embedded;
use crate::kafka::metadata::Metadata;
use crate::kafka::native::QueueBell;
use crate::kafka::producer::{self, Pipeline, Producer, ProducerState};
use crate::kafka::properties::producer_config;
use crate::kafka::route::Route;
use crate::kafka::settings::{Brokers, ClusterSettings, ProducerSettings};
use crate::output::books::OutputBooks;
use crate::output::file::confined::ConfinedDisk;
use crate::output::file::{self as file_output, FileOutput, Setup, journal_path};
use crate::plan::{InputPlan, OutputPlan, Plan, SourceSettings};
use crate::template::{Part as Placeholder, PathTemplate, Template};

/// How many batches may lie between an input and its producer.
const BATCHES: usize = 8;
/// How many may lie between a consumer and its writer.
const FETCHED: usize = 8;
/// How many free arenas an input keeps.
const FREE_ARENAS: usize = 8;

/// What runs.
pub struct Wired {
    pub tasks: Tasks,
    pub told: Told<Ended>,
    pub stop: Stop,
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
    let brokers = InProcess::start(plan)?;
    let pipelines = plan.inputs.len() + plan.outputs.len();
    let (budget, shares) = Budget::split(plan.buffer_memory, pipelines);
    let mut shares = shares.into_iter();
    let (tasks, told) = Tasks::new(pipelines * 2 + plan.producers.len() * 2 + 1);
    let stop = Stop::new();
    let mut wiring = Wiring {
        plan,
        host,
        once,
        disk,
        store,
        aside,
        stop: stop.clone(),
        tasks,
    };

    let mut producers: Vec<Making> = plan.producers.iter().map(Making::new).collect();
    let mut inputs = Vec::new();
    let mut collects: Vec<Collect> = Vec::new();
    for (at, input) in plan.inputs.iter().enumerate() {
        let Some(share) = shares.next() else { break };
        let making = &mut producers[input.producer];
        let (look, collect) = wiring.input(at, input, making, share)?;
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
        look: Arc::new(look),
        finish,
        may_end,
        consumers,
        over,
        embedded: brokers.0.into_iter().map(|(_, broker)| broker).collect(),
    })
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

/// The embedded brokers, one per cluster that asks for one, by the cluster's name.
struct InProcess(Vec<(String, Embedded)>);

impl InProcess {
    /// Starts them, with the topics that the plan names: a group that joins before its topic exists waits long for it.
    fn start(plan: &Plan) -> Result<Self, String> {
        let mut brokers = Self(Vec::new());
        for input in &plan.inputs {
            let topic = Template::parse(&input.route.topic, Placeholder::FILE).ok();
            let topic = topic.as_ref().and_then(|topic| topic.constant());
            brokers.prepare(&plan.producers[input.producer].cluster, topic)?;
        }
        for output in &plan.outputs {
            for topic in output
                .from
                .topics
                .iter()
                .filter(|topic| !topic.starts_with('^'))
            {
                brokers.prepare(&output.from.cluster, Some(topic))?;
            }
        }
        Ok(brokers)
    }

    fn prepare(&mut self, cluster: &ClusterSettings, topic: Option<&str>) -> Result<(), String> {
        if cluster.brokers != Brokers::Embedded {
            return Ok(());
        }
        if !self.0.iter().any(|(name, _)| *name == cluster.name) {
            self.0.push((cluster.name.clone(), Embedded::start()?));
        }
        if let (Some((_, broker)), Some(topic)) =
            (self.0.iter().find(|(name, _)| *name == cluster.name), topic)
        {
            broker.make_topic(topic);
        }
        Ok(())
    }

    /// `HOST:PORT,...` of a cluster.
    fn bootstrap(&self, cluster: &ClusterSettings) -> String {
        match &cluster.brokers {
            Brokers::Addresses(addresses) => addresses.join(","),
            Brokers::Embedded => self
                .0
                .iter()
                .find(|(name, _)| *name == cluster.name)
                .map(|(_, broker)| broker.bootstrap())
                .unwrap_or_default(),
        }
    }
}

/// A producer whose inputs are being gathered.
struct Making {
    settings: ProducerSettings,
    bell: Arc<QueueBell>,
    pipelines: Vec<Pipeline>,
}

impl Making {
    fn new(settings: &ProducerSettings) -> Self {
        Self {
            settings: settings.clone(),
            bell: Arc::new(QueueBell::new()),
            pipelines: Vec::new(),
        }
    }

    fn keeps_positions(&self) -> bool {
        self.settings.cluster.brokers != Brokers::Embedded
    }
}

struct Wiring<'a> {
    plan: &'a Plan,
    host: &'a str,
    once: bool,
    disk: Arc<dyn Disk>,
    store: SharedStore,
    aside: Aside,
    stop: Stop,
    tasks: Tasks,
}

impl Wiring<'_> {
    fn input(
        &mut self,
        at: usize,
        plan: &InputPlan,
        making: &mut Making,
        share: Share,
    ) -> Result<(InputLook, Option<Collect>), StartError> {
        let bell = Arc::new(Bell::new());
        let to_producer: Arc<dyn Ring> = making.bell.clone();
        let (sender, batches) = pipe(BATCHES, to_producer, bell.clone() as Arc<dyn Ring>);
        let books = Arc::new(Books::new());
        let tracker: Arc<Tracker<Position>> = Arc::new(Tracker::new(books.clone()));
        let arenas = Arenas::new(FREE_ARENAS);
        let ends = Ends {
            tracker: tracker.clone(),
            share,
            arenas,
            sender,
            bell,
            stop: self.stop.clone(),
        };
        making.pipelines.push(self.pipeline(
            plan,
            batches,
            books.clone(),
            making.keeps_positions(),
        )?);
        let thread = format!("in-{}", plan.name);
        let mut look = InputLook {
            name: plan.name.clone(),
            books,
            facts: None,
            producer: plan.producer,
            target: format!(
                "{}, topic {}",
                making.settings.cluster.name, plan.route.topic
            ),
            life: Life::default(),
        };
        let set_aside = set_aside_long(self.aside.clone(), plan.name.clone());
        match &plan.from {
            SourceSettings::Stdin(settings) => {
                let input = StdinInput {
                    name: plan.name.clone(),
                    lines: settings.lines.clone(),
                    set_aside,
                    ends,
                };
                self.tasks.start(Part::Input(at), &thread, move || {
                    stdin::run(input)
                        .map(drop)
                        .map_err(|error| format!("standard input cannot be read: {error}"))
                })?;
                Ok((look, None))
            }
            SourceSettings::File(settings) => {
                let facts = Arc::new(Facts::new(&plan.name, tracker));
                look.facts = Some(facts.clone());
                let (saved, first_start, next_key) =
                    self.saved(&plan.name, making.keeps_positions());
                let input = FileInput {
                    name: plan.name.clone(),
                    settings: settings.clone(),
                    saved,
                    first_start,
                    next_key,
                    once: self.once,
                    ends,
                    set_aside,
                    facts: facts.clone(),
                    timing: Timing::default(),
                };
                self.tasks.start(Part::Input(at), &thread, move || {
                    file::run(input)
                        .map(drop)
                        .map_err(|error| error.to_string())
                })?;
                let collect: Collect = Box::new(move |changes| facts.collect(changes));
                // What an embedded broker confirmed is gone with it: its positions are thrown away.
                Ok((look, making.keeps_positions().then_some(collect)))
            }
        }
    }

    /// What the checkpoint has for an input, whether it never started before, and the first key that was never used.
    fn saved(&self, input: &str, keeps: bool) -> (Vec<(FileKey, Entry)>, bool, u64) {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if !keeps {
            return (Vec::new(), true, 0);
        }
        let saved = store
            .entries(input)
            .map(|(key, entry)| (key, entry.clone()))
            .collect();
        let first_start = !store.started(input);
        (saved, first_start, store.next_key(input).0)
    }

    fn pipeline(
        &self,
        plan: &InputPlan,
        batches: Receiver<Batch>,
        books: Arc<Books>,
        keeps: bool,
    ) -> Result<Pipeline, StartError> {
        let route =
            Route::new(&plan.route, &self.plan.id, self.host).map_err(|error| error.to_string())?;
        let (store, input) = (self.store.clone(), plan.name.clone());
        Ok(Pipeline {
            name: plan.name.as_str().into(),
            batches,
            route,
            on_refused: plan.route.on_refused,
            books,
            admit: Box::new(move |cluster| {
                if keeps {
                    admit(&store, &input, cluster)
                } else {
                    Ok(())
                }
            }),
            set_aside: set_aside_input(self.aside.clone(), plan.name.clone()),
        })
    }

    fn producer(
        &mut self,
        at: usize,
        making: Making,
        bootstrap: &str,
        looks: &mut Vec<ProducerLook>,
    ) -> Result<(Arc<AtomicBool>, Arc<Metadata>), StartError> {
        let cluster = making.settings.cluster.name.clone();
        let (state, metadata) = (Arc::new(ProducerState::default()), Metadata::new(&cluster));
        looks.push(ProducerLook {
            cluster: cluster.clone(),
            name: format!("{cluster}-{at}"),
            state: state.clone(),
            metadata: metadata.clone(),
        });
        self.stop.rings(&(making.bell.clone() as Arc<dyn Ring>));
        let config = {
            let (settings, bootstrap, id) = (
                making.settings.clone(),
                bootstrap.to_owned(),
                self.plan.id.clone(),
            );
            move || producer_config(&settings, &bootstrap, &id)
        };
        let over = Arc::new(AtomicBool::new(false));
        {
            let (config, metadata, bell, stop, over) = (
                config.clone(),
                metadata.clone(),
                making.bell.clone(),
                self.stop.clone(),
                over.clone(),
            );
            self.tasks.start(
                Part::Metadata(at),
                &format!("topics-{cluster}"),
                move || {
                    metadata.run(&config()?, &*bell, &stop, &|| {
                        over.load(std::sync::atomic::Ordering::Acquire)
                    })
                },
            )?;
        }
        let producer = Producer {
            settings: making.settings,
            config: Box::new(config),
            pipelines: making.pipelines,
            metadata: metadata.clone(),
            bell: making.bell,
            stop: self.stop.clone(),
            state,
        };
        self.tasks
            .start(Part::Producer(at), &format!("to-{cluster}"), move || {
                producer::run(producer)
            })?;
        Ok((over, metadata))
    }

    fn output(
        &mut self,
        at: usize,
        plan: &OutputPlan,
        bootstrap: &str,
        share: Share,
        bell: Arc<Bell>,
        may_end: &Arc<AtomicBool>,
    ) -> Result<OutputLook, StartError> {
        let books = Arc::new(OutputBooks::new());
        let consumed = Arc::new(Books::new());
        let state = Arc::new(ConsumerState::new());
        let look = OutputLook {
            name: plan.name.clone(),
            books: books.clone(),
            tracker_books: consumed.clone(),
            consumer: state.clone(),
            target: plan.to.path.clone(),
            life: Life::default(),
        };
        if plan.from.cluster.brokers == Brokers::Embedded {
            // The offsets that the journal knows belong to a broker that is gone.
            let _ = self
                .disk
                .remove(&journal_path(&self.plan.data_dir, &plan.name));
        }
        let template = PathTemplate::parse(&plan.to.path).map_err(|error| error.to_string())?;
        let setup = Setup {
            name: plan.name.clone(),
            settings: plan.to.clone(),
            files: Arc::new(ConfinedDisk::new(Path::new(template.literal_folder()))),
            template,
            data_dir: self.plan.data_dir.clone(),
            disk: self.disk.clone(),
            refuse: refuse_output(self.aside.clone(), plan.name.clone()),
            books,
            hold: share.guaranteed() / 2,
        };
        let output = match FileOutput::open(setup) {
            Ok(output) => output,
            Err(error) => {
                tracing::error!(output = %plan.name, %error, "this output does not start");
                look.life.fail();
                return Ok(look);
            }
        };
        let to_writer = Arc::new(Bell::new());
        let (pipe, fetched) = pipe(
            FETCHED,
            to_writer.clone() as Arc<dyn Ring>,
            bell.clone() as Arc<dyn Ring>,
        );
        let consumer = Consumer {
            name: plan.name.clone(),
            settings: plan.from.clone(),
            bootstrap: bootstrap.to_owned(),
            client_id: self.plan.id.clone(),
            prefetch_bytes: share.guaranteed() / 8,
            pipe,
            share,
            tracker: Arc::new(Tracker::new(consumed)),
            durable: output.durable(),
            stop: self.stop.clone(),
            bell,
            state,
            until_end: self.once.then(|| may_end.clone()),
        };
        let stop = self.stop.clone();
        self.tasks
            .start(Part::Writer(at), &format!("out-{}", plan.name), move || {
                file_output::run(output, &fetched, &to_writer, &stop);
                Ok(())
            })?;
        self.tasks.start(
            Part::Consumer(at),
            &format!("from-{}", plan.name),
            move || {
                let report = consumer::run(consumer);
                match report.end {
                    End::NothingAssigned(why) => Err(why),
                    End::OutputGone => Err("its writer ended".into()),
                    End::Stopped | End::CaughtUp => Ok(()),
                }
            },
        )?;
        Ok(look)
    }
}

/// Whether an input's positions may be kept for this cluster: for the one that they belong to, and for any when there are none.
fn admit(store: &SharedStore, input: &str, cluster: &str) -> Result<(), String> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    match store.cluster_of(input) {
        Some(known) if known == cluster => Ok(()),
        Some(known) => Err(format!(
            "its saved positions belong to the Kafka cluster {known}, but this is {cluster}: nothing is sent, so that nothing is skipped or \
             sent twice; give the input another name to begin anew on this cluster, or point it back"
        )),
        None => {
            let bind = Change::Bind {
                input: input.to_owned(),
                cluster: cluster.to_owned(),
            };
            if let Err(error) = store.save(&[bind]) {
                tracing::error!(input, %error, "the cluster's id cannot be saved yet");
            }
            Ok(())
        }
    }
}
