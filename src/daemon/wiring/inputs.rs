//! An input: a thread that reads, a pipe to its producer, and where it resumes.
//!
//! Positions belong to one Kafka cluster: they are bound to the first one that is met, and never used for another.

use std::sync::{Arc, PoisonError};

use super::Wiring;
use super::producers::Making;
use crate::checkpoint::{Change, Entry, FileKey};
use crate::daemon::aside::{set_aside_input, set_aside_long};
use crate::daemon::ending::StartError;
use crate::daemon::look::{InputLook, Life};
use crate::daemon::saver::{Collect, SharedStore};
use crate::daemon::tasks::Part;
use crate::flow::{Arenas, Batch, Bell, Books, Receiver, Ring, Share, Tracker, pipe};
use crate::input::Position;
use crate::input::file::facts::Facts;
use crate::input::file::{self, FileInput};
use crate::input::outlet::Ends;
use crate::input::stdin::{self, StdinInput};
use crate::kafka::producer::Pipeline;
use crate::kafka::route::Route;
use crate::plan::{InputPlan, SourceSettings};

/// How many batches may lie between an input and its producer.
const BATCHES: usize = 8;
/// How many free arenas an input keeps.
const FREE_ARENAS: usize = 8;

impl Wiring<'_> {
    pub(super) fn input(
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
                    timing: self.timing,
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
}

/// Whether an input's positions may be kept for this cluster: for the one that they belong to, and for any when there are none.
fn admit(store: &SharedStore, input: &str, cluster: &str) -> Result<(), String> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    match store.cluster_of(input) {
        Some(known) if known == cluster => Ok(()),
        Some(known) => Err(format!(
            "its saved positions belong to the Kafka cluster {known}, but this is {cluster}: nothing is sent, so that nothing is skipped or \
             sent twice; point it back, or let it begin anew on this cluster: stop the daemon and \
             `logferry checkpoints reset --input {input} --forget --cluster --execute` (with the `-c FILE` of this daemon)"
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
