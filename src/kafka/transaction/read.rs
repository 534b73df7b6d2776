//! Finding what was committed: a pipeline's marks and its last stamp.
//!
//! The end is taken first, by a client that sees everything; then it is read up to there by one that sees only what is committed. That one
//! comes to a stop at the first transaction of anybody that is still open: our own last marks may lie behind it, so it waits until that is
//! decided. The first end of the partition that it is told of is not the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::record::Reading;
use super::{Home, TOPIC, onlooker, topic};
use crate::flow::{Bell, Found};
use crate::kafka::errors::{Verdict, verdict};
use crate::kafka::native::{Boundary, Member};
use crate::kafka::settings::{ClusterSettings, Isolation};

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(2);
/// How long a reader waits until it looks up.
const LOOK_UP: Duration = Duration::from_millis(100);
/// A reader that gets nothing for so long says what it may be waiting for.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where to read.
pub struct Reader<'a> {
    pub cluster: &'a ClusterSettings,
    pub bootstrap: &'a str,
    pub home: &'a Home,
}

impl Reader<'_> {
    /// What is committed now. Only to be asked after `init_transactions`: before, a predecessor's transaction may still be decided. `None`
    /// when `stop` says so first.
    ///
    /// # Errors
    /// Words for the operator; it is worth trying again.
    pub fn read(&self, stop: &dyn Fn() -> bool) -> Result<Option<Found>, String> {
        let bell = Arc::new(Bell::new());
        let name = self.home.exactly_once.transactional_id();
        let open = |isolation| onlooker(self.cluster, self.bootstrap, &name, isolation, &bell);
        let all = open(Isolation::ReadUncommitted)?;
        topic::ensure(all.native())?;
        let begin = self.settled_bound(&all, Boundary::First, &bell, stop)?;
        let end = self.settled_bound(&all, Boundary::End, &bell, stop)?;
        drop(all);
        let mut reading = Reading::new(&self.home.exactly_once);
        if begin < end {
            let mut committed = open(Isolation::ReadCommitted)?;
            if !self.read_to(begin, end, &mut committed, &bell, &mut reading, stop)? {
                return Ok(None);
            }
        }
        Ok(Some(reading.finish()))
    }

    /// Where the partition begins or ends. A leader that moves, or that a new topic does not have yet, is waited for a moment.
    fn settled_bound(
        &self,
        client: &Member,
        boundary: Boundary,
        bell: &Bell,
        stop: &dyn Fn() -> bool,
    ) -> Result<i64, String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let (code, words) = match self.bound(client, boundary) {
                Ok(bound) => return Ok(bound),
                Err(why) => why,
            };
            let passes = code.is_some_and(|code| verdict(code) == Verdict::Again);
            if !passes || Instant::now() > until || stop() {
                return Err(format!("{TOPIC}: {words}"));
            }
            bell.wait(LOOK_UP);
        }
    }

    fn bound(
        &self,
        client: &Member,
        boundary: Boundary,
    ) -> Result<i64, (Option<RDKafkaErrorCode>, String)> {
        let bounds = client.bounds(&[self.home.place()], boundary, QUESTION);
        let bounds = bounds.map_err(|(code, words)| (Some(code), words))?;
        let bound = bounds.first().ok_or((None, "no answer".to_owned()))?;
        match bound.error {
            Some(code) => Err((Some(code), code.to_string())),
            None => (bound.offset).ok_or((None, "an answer without an offset".to_owned())),
        }
    }

    /// `false` when `stop` said so first.
    fn read_to(
        &self,
        begin: i64,
        end: i64,
        client: &mut Member,
        bell: &Bell,
        reading: &mut Reading<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, String> {
        let mut place = self.home.place();
        place.offset = Some(begin);
        client.assign(&[place])?;
        let (mut reached, mut moved, mut said) = (begin, Instant::now(), false);
        while reached < end {
            if stop() {
                return Ok(false);
            }
            while client.event().is_some() {}
            let Some(batch) = client.take() else {
                if !said && moved.elapsed() > PATIENCE {
                    said = true;
                    tracing::warn!(
                        topic = TOPIC,
                        partition = self.home.partition,
                        reached,
                        end,
                        "positions are being read, and somebody's transaction is still open there; waiting until it is over"
                    );
                }
                bell.wait(LOOK_UP);
                continue;
            };
            moved = Instant::now();
            for at in 0..batch.len() {
                let message = batch.get(at);
                match message.error() {
                    None => {
                        reading
                            .take(message.key(), message.value())
                            .map_err(|error| {
                                format!(
                                    "{TOPIC}: the record at offset {} of partition {} cannot be understood: {error}",
                                    message.offset(),
                                    message.partition()
                                )
                            })?;
                        reached = reached.max(message.offset() + 1);
                    }
                    Some(RDKafkaErrorCode::PartitionEOF) => {
                        reached = reached.max(message.offset());
                    }
                    Some(code) => {
                        return Err(format!("{TOPIC}: {code}: {}", message.error_text()));
                    }
                }
            }
        }
        Ok(true)
    }
}
