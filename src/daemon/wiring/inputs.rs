//! An input: a thread that reads, a pipe to its producer, and where it resumes.
//!
//! Positions belong to one Kafka cluster: they are bound to the first one that is met, and never used for another.

use std::sync::{Arc, PoisonError};

use super::Wiring;
use super::marks::{FileMarks, Handoff};
use super::producers::Making;
use crate::checkpoint::Change;
use crate::control::systemd::{self, Socket};
use crate::daemon::aside::{set_aside_input, set_aside_long, set_aside_message, set_aside_records};
use crate::daemon::ending::StartError;
use crate::daemon::look::{InputLook, Life};
use crate::daemon::saver::{Collect, SharedStore};
use crate::daemon::tasks::Part;
use crate::flow::{
    Arenas, Batch, Bell, Books, Peal, Receiver, Ring, Share, SourceId, Tracker, pipe,
};
use crate::input::dress::Here;
use crate::input::dress::block::Blocks;
use crate::input::file::facts::Facts;
use crate::input::file::telling::Begin;
use crate::input::file::{self, FileInput};
use crate::input::outlet::{Ends, Way};
use crate::input::stdin::{self, StdinInput};
use crate::input::syslog::facts::SyslogFacts;
use crate::input::syslog::listen::{Inherited, OpenError, Sockets};
use crate::input::syslog::settings::{Listen, SyslogSettings};
use crate::input::syslog::{self, SyslogInput};
use crate::input::{Finish, Position};
use crate::kafka::producer::Pipeline;
use crate::kafka::route::Route;
use crate::plan::{InputPlan, SourceSettings};
use crate::spool;

/// How many batches may lie between an input and its producer.
const BATCHES: usize = 8;
/// How many may, when they come from a spool, which otherwise puts them on disk: the budget is what ends that.
const SPOOLED_BATCHES: usize = 256;
/// How many free arenas an input keeps.
const FREE_ARENAS: usize = 8;

impl Wiring<'_> {
    pub(super) fn input(
        &mut self,
        at: usize,
        plan: &InputPlan,
        making: &mut Making,
        mut shares: Vec<Share>,
    ) -> Result<(InputLook, Option<Collect>), StartError> {
        // Each worker waits by itself, with a share and a bell of its own.
        let first = shares.remove(0);
        let others: Vec<_> = (shares.into_iter())
            .map(|share| (share, Arc::new(Bell::new())))
            .collect();
        let share = first;
        let bell = Arc::new(Bell::new());
        let to_producer: Arc<dyn Ring> = making.bell.clone();
        // With a spool it is that which sends.
        let spool = plan.from.spool().map(|it| (it, Arc::new(Bell::new())));
        let (room, most) = match &spool {
            Some((_, to_feed)) => (to_feed.clone(), SPOOLED_BATCHES),
            None => (bell.clone(), BATCHES + others.len()),
        };
        let mut room: Arc<dyn Ring> = room;
        if !others.is_empty() {
            let bells = others.iter().map(|(_, bell)| bell.clone() as Arc<dyn Ring>);
            room = Arc::new(Peal(bells.chain([room]).collect()));
        }
        let (sender, batches) = pipe(most, to_producer, room);
        let books = Arc::new(Books::new());
        let tracker: Arc<Tracker<Position>> = Arc::new(Tracker::new(books.clone()));
        let arenas = Arenas::new(FREE_ARENAS);
        let hold = share.guaranteed() / 2;
        let others: Vec<Ends> = (others.into_iter())
            .map(|(share, bell)| Ends {
                tracker: tracker.clone(),
                share,
                arenas: Arenas::new(FREE_ARENAS),
                sender: sender.clone().into(),
                bell,
                stop: self.stop.clone(),
            })
            .collect();
        let mut spooled = None;
        let (sender, share) = match spool {
            None => (Way::from(sender), share),
            Some((settings, to_feed)) => {
                let ends = spool::Ends {
                    disk: self.disk.clone(),
                    folder: spool::folder(&self.plan.data_dir, &plan.name),
                    settings,
                    input: plan.name.as_str().into(),
                    books: books.clone(),
                    share,
                    arenas: arenas.clone(),
                    sender,
                    to_input: bell.clone(),
                    to_feed,
                    stop: self.stop.clone(),
                };
                let (writer, facts, share) = self.spool(at, &plan.name, ends)?;
                spooled = Some(facts);
                (Way::Spool(Box::new(writer)), share)
            }
        };
        let ends = Ends {
            tracker: tracker.clone(),
            share,
            arenas,
            sender,
            bell: bell.clone(),
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
            syslog: None,
            spool: spooled,
            producer: plan.producer,
            target: format!(
                "{}, topic {}",
                making.settings.cluster.name, plan.route.topic
            ),
            life: Life::default(),
        };
        let finish = self.finish(plan)?;
        match &plan.from {
            SourceSettings::Stdin(settings) => {
                let input = StdinInput {
                    name: plan.name.clone(),
                    lines: settings.lines.clone(),
                    finish,
                    ends,
                };
                self.tasks.start(Part::Input(at), &thread, move || {
                    stdin::run(input)
                        .map(drop)
                        .map_err(|error| format!("standard input cannot be read: {error}"))
                })?;
                Ok((look, None))
            }
            SourceSettings::Syslog(settings) => {
                let open = |error: String| format!("input {}: {error}", plan.name);
                let sockets = self.sockets(settings).map_err(|error| {
                    let text = open(error.text);
                    match error.is_permission {
                        true => StartError::NotPermitted(text),
                        false => StartError::Failed(text),
                    }
                })?;
                let facts = Arc::new(SyslogFacts::of(Sockets::facts(&sockets)));
                look.syslog = Some(facts.clone());
                let tls = (settings.tls.as_ref())
                    .map(syslog::tls::config)
                    .transpose()
                    .map_err(open)?;
                let zone = syslog::zone(&settings.time_zone).map_err(open)?;
                let workers = sockets.into_iter().zip([ends].into_iter().chain(others));
                for (worker, (sockets, ends)) in workers.enumerate() {
                    let input = SyslogInput {
                        worker: SourceId(worker as u64),
                        id: self.plan.id.clone(),
                        host: self.host.to_owned(),
                        name: plan.name.clone(),
                        settings: (**settings).clone(),
                        sockets,
                        tls: tls.clone(),
                        zone: zone.clone(),
                        once: self.once,
                        facts: facts.clone(),
                        ends,
                        set_aside: set_aside_message(self.aside.clone(), plan.name.clone()),
                    };
                    let (part, thread) = match worker {
                        0 => (Part::Input(at), thread.clone()),
                        more => (Part::Worker(at, more), format!("in{more}-{}", plan.name)),
                    };
                    self.tasks
                        .start(part, &thread, move || syslog::run(input).map(drop))?;
                }
                Ok((look, None))
            }
            SourceSettings::File(settings) => {
                let facts = Arc::new(Facts::new(&plan.name, tracker));
                look.facts = Some(facts.clone());
                let (keeps, is_exact) = (
                    making.keeps_positions(),
                    making.settings.exactly_once.is_some(),
                );
                let handoff = is_exact.then(|| Handoff::new(bell));
                let begin = if let Some(handoff) = &handoff {
                    let marks = FileMarks {
                        input: plan.name.clone(),
                        store: self.store.clone(),
                        facts: facts.clone(),
                        handoff: handoff.clone(),
                        taking_over: None,
                    };
                    making.marks = Some((Box::new(marks), hold));
                    None
                } else {
                    Some(self.saved(&plan.name, keeps))
                };
                let (name, settings, once) = (plan.name.clone(), settings.clone(), self.once);
                let timing = self.timing;
                let reading = facts.clone();
                self.tasks.start(Part::Input(at), &thread, move || {
                    let begin = begin.or_else(|| handoff?.wait(&ends.stop));
                    let Some(begin) = begin else {
                        return Ok(());
                    };
                    let input = FileInput {
                        name,
                        settings,
                        saved: begin.entries.into_iter().collect(),
                        first_start: begin.started.is_none(),
                        next_key: begin.next_key,
                        once,
                        ends,
                        finish,
                        facts: reading,
                        timing,
                    };
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

    /// Opens an input's spool and starts the thread that sends what is in it: its end, what can be looked at, and what the input reads into.
    fn spool(
        &mut self,
        at: usize,
        input: &str,
        ends: spool::Ends,
    ) -> Result<(spool::Writer, spool::Facts, Share), StartError> {
        let (writer, feed, facts, share) = spool::open(ends).map_err(|error| {
            let text = format!("input {input}: {error}");
            match error.is_permission() {
                true => StartError::NotPermitted(text),
                false => StartError::Failed(text),
            }
        })?;
        let thread = format!("spool-{input}");
        self.tasks
            .start(Part::Spool(at), &thread, move || spool::run(feed))?;
        Ok((writer, facts, share))
    }

    /// What is done with the records of a file or of standard input before they count.
    fn finish(&self, plan: &InputPlan) -> Result<Finish, String> {
        let blocks = plan.dress.as_ref().map(|settings| {
            let here = Here {
                id: self.plan.id.clone(),
                host: self.host.to_owned(),
                input: plan.name.clone(),
            };
            let set_aside = set_aside_records(self.aside.clone(), plan.name.clone());
            Blocks::new(settings, here, set_aside)
        });
        Ok(Finish {
            set_aside: set_aside_long(self.aside.clone(), plan.name.clone()),
            blocks: blocks.transpose()?,
        })
    }

    /// What a syslog input listens on. Those of the service manager go to the one input that asks for them.
    fn sockets(&self, settings: &SyslogSettings) -> Result<Vec<Sockets>, OpenError> {
        let mut inherited = Vec::new();
        if settings.listen.contains(&Listen::Systemd) {
            let passed = systemd::sockets().map_err(OpenError::of_systemd)?;
            inherited.extend(passed.into_iter().map(|socket| match socket {
                Socket::Tcp(socket) => Inherited::Tcp(socket),
                Socket::Udp(socket) => Inherited::Udp(socket),
                Socket::UnixStream(socket) => Inherited::UnixStream(socket),
                Socket::UnixDatagram(socket) => Inherited::UnixDatagram(socket),
            }));
        }
        Sockets::open(settings, inherited)
    }

    /// Where an input begins as the checkpoint has it. From now on it is the checkpoint that has its positions.
    fn saved(&self, input: &str, keeps: bool) -> Begin {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if !keeps {
            return Begin::default();
        }
        let begin = Begin {
            entries: store
                .entries(input)
                .map(|(key, entry)| (key, entry.clone()))
                .collect(),
            started: store.all().get(input).and_then(|input| input.started),
            next_key: store.next_key(input).0,
        };
        if store.keeper(input).is_some() {
            let keep = Change::Keep {
                input: input.to_owned(),
                keeper: None,
            };
            if let Err(error) = store.save(&[keep]) {
                tracing::error!(input, %error, "it cannot be saved yet that positions are kept here again");
            }
        }
        begin
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
            dead_letter_after: plan.route.dead_letter_after,
            books,
            admit: Box::new(move |cluster| {
                if keeps {
                    admit(&store, &input, cluster)
                } else {
                    Ok(())
                }
            }),
            set_aside: set_aside_input(
                self.aside.clone(),
                plan.name.clone(),
                matches!(plan.from, SourceSettings::Syslog(_)),
            ),
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
