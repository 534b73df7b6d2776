//! A client that is at its end is replaced while the process runs.
//!
//! What it did not confirm is sent again from memory, never read again from a file that may have changed. What may have arrived all the same
//! is counted as resent.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;

use super::Running;
use crate::kafka::native::{Kind, Native};

impl Running {
    /// Puts a new client in the place of one that is at its end, and sends again from memory what that one did not confirm.
    pub(super) fn build_anew(&mut self, why: &str) {
        let cluster = self.producer.settings.cluster.name.clone();
        tracing::error!(%cluster, why, "the Kafka client is at its end; a new one is built and sends again what was not confirmed");
        let mut resent: HashMap<usize, u64> = HashMap::new();
        while self.flight.outstanding() > 0 && !self.producer.stop.is_hard() {
            let (lanes, back) = (&mut self.lanes, &mut self.back);
            let mut maybe_there = Vec::new();
            self.flight
                .purge(Duration::from_secs(1), |delivery, last_of_load| {
                    if delivery
                        .error
                        .is_some_and(|code| code != RDKafkaErrorCode::PurgeQueue)
                    {
                        maybe_there.push(delivery.ticket.slot);
                    }
                    back.take(lanes, delivery, last_of_load);
                });
            for slot in maybe_there {
                if let Some(load) = self.flight.load(slot) {
                    *resent.entry(load.pipeline).or_default() += 1;
                }
            }
        }
        self.land();
        self.renew = None;
        self.settle();
        for (pipeline, lines) in resent {
            self.pipelines[pipeline].pipeline.books.resent(lines);
        }
        for way in &self.pipelines {
            way.pipeline.books.rebuilt();
        }
        self.producer.bell.detach();
        while !self.producer.stop.is_hard() {
            match self.new_client() {
                Ok(()) => return,
                Err(error) => {
                    let wait = self.backoff.delay();
                    tracing::error!(%cluster, error, "the new Kafka client cannot be built; trying again");
                    self.serve(wait);
                }
            }
        }
    }

    fn new_client(&mut self) -> Result<(), String> {
        let native = Native::new(&(self.producer.config)()?, Kind::Producer)?;
        self.topics.renew(&native)?;
        self.producer.bell.attach(&native);
        self.flight.renew(native);
        Ok(())
    }
}
