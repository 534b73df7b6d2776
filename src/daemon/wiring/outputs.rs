//! An output: a thread that consumes, a pipe to one that writes, and the journal between them.
//!
//! One that cannot start is shown as failed and does not keep the others from running.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Wiring;
use crate::daemon::aside::refuse_output;
use crate::daemon::ending::StartError;
use crate::daemon::look::{Life, OutputLook};
use crate::daemon::tasks::Part;
use crate::disk::Disk;
use crate::flow::{Bell, Books, Proposer, Ring, Share, Tracker, pipe, proposals};
use crate::kafka::consumer::{self, Consumer, ConsumerState, End, Transacting};
use crate::kafka::settings::{Brokers, ExactlyOnce};
use crate::output::books::OutputBooks;
use crate::output::file::confined::ConfinedDisk;
use crate::output::file::folder::{self, Folder, FolderError};
use crate::output::file::settings::Delivery;
use crate::output::file::{
    self as file_output, FileOutput, Setup, journal_path, run_exactly_once, wall_clock,
};
use crate::plan::OutputPlan;
use crate::template::PathTemplate;

/// How many may lie between a consumer and its writer.
const FETCHED: usize = 8;

/// What the two threads of an output that decides with transactions have.
struct Ends {
    /// With the folder, which stays locked while its thread runs.
    writer: (Proposer, Folder),
    consumer: Transacting,
}

impl Wiring<'_> {
    pub(super) fn output(
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
        let with_time = template.time_step().is_some() || plan.to.format.uses_time();
        let files: Arc<dyn Disk> =
            Arc::new(ConfinedDisk::new(Path::new(template.literal_folder())));
        let to_writer = Arc::new(Bell::new());
        let deciding = match self.deciding(plan, &*files, &template, &to_writer, &bell) {
            Ok(deciding) => deciding,
            Err(error) => {
                tracing::error!(output = %plan.name, %error, "this output does not start");
                look.life.fail();
                return Ok(look);
            }
        };
        let (deciding, transacting) = match deciding {
            Some(Ends { writer, consumer }) => (Some(writer), Some(consumer)),
            None => (None, None),
        };
        let setup = Setup {
            name: plan.name.clone(),
            settings: plan.to.clone(),
            files,
            template,
            data_dir: self.plan.data_dir.clone(),
            disk: self.disk.clone(),
            refuse: refuse_output(self.aside.clone(), plan.name.clone()),
            books,
            hold: share.guaranteed() / 4,
            clock: wall_clock(),
            reopen: self.reopen.clone(),
        };
        let output = match FileOutput::open(setup) {
            Ok(output) => output,
            Err(error) => {
                tracing::error!(output = %plan.name, %error, "this output does not start");
                look.life.fail();
                return Ok(look);
            }
        };
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
            with_time,
            pipe,
            share,
            tracker: Arc::new(Tracker::new(consumed)),
            durable: output.durable(),
            stop: self.stop.clone(),
            bell,
            state,
            until_end: self.once.then(|| may_end.clone()),
            exactly_once: transacting,
        };
        let stop = self.stop.clone();
        self.tasks
            .start(Part::Writer(at), &format!("out-{}", plan.name), move || {
                match deciding {
                    None => file_output::run(output, &fetched, &to_writer, &stop),
                    Some((proposer, folder)) => {
                        run_exactly_once(output, &proposer, &fetched, &to_writer, &stop);
                        drop(folder);
                    }
                }
                Ok(())
            })?;
        self.tasks.start(
            Part::Consumer(at),
            &format!("from-{}", plan.name),
            move || {
                let report = consumer::run(consumer);
                match report.end {
                    End::NothingAssigned(why) | End::GivenUp(why) => Err(why),
                    End::OutputGone => Err("its writer ended".into()),
                    End::Stopped | End::CaughtUp => Ok(()),
                }
            },
        )?;
        Ok(look)
    }

    /// With `delivery: exactly_once`: both ends of what is decided, and the output's folder.
    fn deciding(
        &self,
        plan: &OutputPlan,
        files: &dyn Disk,
        template: &PathTemplate,
        to_writer: &Arc<Bell>,
        to_consumer: &Arc<Bell>,
    ) -> Result<Option<Ends>, FolderError> {
        let Delivery::ExactlyOnce { timeout } = plan.to.delivery else {
            return Ok(None);
        };
        let literal = Path::new(template.literal_folder());
        let folder = folder::open(files, literal, &plan.name, &self.plan.id)?;
        let (proposer, decider) = proposals(
            to_writer.clone() as Arc<dyn Ring>,
            to_consumer.clone() as Arc<dyn Ring>,
        );
        let transacting = Transacting {
            decider,
            exactly_once: ExactlyOnce {
                id: folder.name.id.clone(),
                pipeline: folder.name.pipeline.clone(),
                commit: plan.to.sync.every,
                timeout,
            },
        };
        Ok(Some(Ends {
            writer: (proposer, folder),
            consumer: transacting,
        }))
    }
}
