//! A producer: gathers the pipelines of its inputs, then runs with a second thread that asks for metadata.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Wiring;
use crate::daemon::ending::StartError;
use crate::daemon::look::ProducerLook;
use crate::daemon::tasks::Part;
use crate::flow::{Marks, Ring};
use crate::kafka::metadata::Metadata;
use crate::kafka::native::QueueBell;
use crate::kafka::producer::{self, Pipeline, Producer, ProducerState, Transacting};
use crate::kafka::properties::producer_config;
use crate::kafka::settings::{Brokers, ProducerSettings};

/// A producer whose inputs are being gathered.
pub(super) struct Making {
    pub settings: ProducerSettings,
    pub bell: Arc<QueueBell>,
    pub pipelines: Vec<Pipeline>,
    /// The positions of the one input, if it is delivered exactly once, and what its transactions may hold of the budget.
    pub marks: Option<(Box<dyn Marks>, u64)>,
}

impl Making {
    pub fn new(settings: &ProducerSettings) -> Self {
        Self {
            settings: settings.clone(),
            bell: Arc::new(QueueBell::new()),
            pipelines: Vec::new(),
            marks: None,
        }
    }

    /// What an embedded broker confirmed is gone with it: no position is kept for it.
    pub fn keeps_positions(&self) -> bool {
        self.settings.cluster.brokers != Brokers::Embedded
    }
}

impl Wiring<'_> {
    pub(super) fn producer(
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
        // Who only asks has no transactions.
        let asking = {
            let settings = ProducerSettings {
                exactly_once: None,
                ..making.settings.clone()
            };
            let (bootstrap, id) = (bootstrap.to_owned(), self.plan.id.clone());
            move || producer_config(&settings, &bootstrap, &id)
        };
        let over = Arc::new(AtomicBool::new(false));
        {
            let (metadata, bell, stop, over) = (
                metadata.clone(),
                making.bell.clone(),
                self.stop.clone(),
                over.clone(),
            );
            self.tasks.start(
                Part::Metadata(at),
                &format!("topics-{cluster}"),
                move || metadata.run(&asking, &*bell, &stop, &|| over.load(Ordering::Acquire)),
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
            exactly_once: making.marks.map(|(marks, hold)| Transacting {
                bootstrap: bootstrap.to_owned(),
                marks,
                hold,
            }),
        };
        self.tasks
            .start(Part::Producer(at), &format!("to-{cluster}"), move || {
                producer::run(producer)
            })?;
        Ok((over, metadata))
    }
}
