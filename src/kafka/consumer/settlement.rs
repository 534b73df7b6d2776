//! Settling what an output left undecided, without consuming: `logferry outputs repair`.
//!
//! Invariant: whoever wrote under the name before is shut out, and finds a stamp that is not its own when it comes back.

use std::time::{Duration, Instant};

use super::transactor::{Contents, Ended, Transactor, Whose};
use crate::flow::{Found, Mark, Stamp};
use crate::kafka::producer::instance;
use crate::kafka::settings::{ClusterSettings, ExactlyOnce};
use crate::kafka::transaction::Home;

/// Where an output's lengths are kept.
#[derive(Debug, Clone)]
pub struct Standing(Whose);

/// The right to settle them.
pub struct Settlement {
    transactor: Transactor,
    writer: String,
}

impl Standing {
    pub fn new(
        cluster: &ClusterSettings,
        bootstrap: &str,
        client_id: &str,
        of: &ExactlyOnce,
    ) -> Self {
        Self(Whose {
            cluster: cluster.clone(),
            bootstrap: bootstrap.to_owned(),
            client_id: client_id.to_owned(),
            home: Home::new(of),
        })
    }

    /// What is committed now, without shutting anybody out.
    ///
    /// # Errors
    /// In words, when it cannot be read within `patience`.
    pub fn look(&self, patience: Duration) -> Result<Found, String> {
        let until = Instant::now() + patience;
        Transactor::read(&self.0, &|| Instant::now() > until)?.ok_or_else(silent)
    }

    /// Shuts out whoever writes under the name, and reads what is committed.
    ///
    /// # Errors
    /// In words, when that does not come to an end within `patience`.
    pub fn take_over(&self, patience: Duration) -> Result<(Settlement, Found), String> {
        let until = Instant::now() + patience;
        let over = || Instant::now() > until;
        let (transactor, found) = Transactor::establish(&self.0, &over)?.ok_or_else(silent)?;
        let writer = instance();
        Ok((Settlement { transactor, writer }, found))
    }
}

impl Settlement {
    /// Nothing is kept any more but that it was settled: whoever comes back finds this stamp.
    ///
    /// # Errors
    /// In words, when it was not, or may not have been, committed.
    pub fn clear(mut self, found: &Found) -> Result<(), String> {
        let marks: Vec<Mark> = found
            .marks
            .iter()
            .map(|mark| Mark {
                key: mark.key.clone(),
                value: None,
            })
            .collect();
        let stamp = Stamp {
            writer: self.writer.clone(),
            number: 1,
        };
        let contents = Contents {
            marks: &marks,
            stamp: Some(&stamp),
            offsets: None,
        };
        match self.transactor.transact(&contents, &|| false) {
            Ended::Committed => Ok(()),
            Ended::Aborted(why) | Ended::Unknown(why) => Err(why),
            Ended::Left => Err(silent()),
        }
    }
}

fn silent() -> String {
    "Kafka did not answer in time".to_owned()
}
