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
use crate::flow::{Bell, Books, Ring, Share, Tracker, pipe};
use crate::kafka::consumer::{self, Consumer, ConsumerState, End};
use crate::kafka::settings::Brokers;
use crate::output::books::OutputBooks;
use crate::output::file::confined::ConfinedDisk;
use crate::output::file::settings::OutputFormat;
use crate::output::file::{self as file_output, FileOutput, Setup, journal_path};
use crate::plan::OutputPlan;
use crate::template::PathTemplate;

/// How many may lie between a consumer and its writer.
const FETCHED: usize = 8;

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
        let with_time = template.time_step().is_some() || plan.to.format == OutputFormat::Json;
        let setup = Setup {
            name: plan.name.clone(),
            settings: plan.to.clone(),
            files: Arc::new(ConfinedDisk::new(Path::new(template.literal_folder()))),
            template,
            data_dir: self.plan.data_dir.clone(),
            disk: self.disk.clone(),
            refuse: refuse_output(self.aside.clone(), plan.name.clone()),
            books,
            hold: share.guaranteed() / 4,
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
            with_time,
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
