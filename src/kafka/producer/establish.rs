//! Getting to where transactions can begin: at the start, and again when a client is at its end.
//!
//! It is the same way both times. `init_transactions` shuts out whoever had the transactional id before and ends what was left open; then
//! what is committed is read. At the start it tells the source where to begin; later it tells how the transaction ended whose commit nobody
//! heard of, and whether another daemon took over meanwhile.

use std::time::{Duration, Instant};

use super::Running;
use super::transact::SLICE;
use crate::flow::{Found, Verdict, judge};
use crate::kafka::errors::advice;
use crate::kafka::native::{Kind, Native};
use crate::kafka::transaction::read::Reader;

/// How long librdkafka gives back what it holds.
const PURGE: Duration = Duration::from_secs(2);
/// How long somebody who took over may take to say so.
const RIVAL: Duration = Duration::from_secs(1);
/// How long the coordinator may be silent until that is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why something was not established.
enum Not {
    /// It is to be left.
    Stopped,
    /// In words; it is tried again with a new client.
    Yet(String),
}

impl Running {
    /// The start: the source begins where the last commit left it. Does nothing without transactions.
    pub(super) fn establish_first(&mut self) {
        if self.transactions.is_none() {
            return;
        }
        while self.producer.metadata.cluster_id().is_none() {
            if self.producer.stop.is_soft() {
                return;
            }
            self.serve(super::IDLE);
        }
        if !self.admit(0) {
            return;
        }
        let stop = self.producer.stop.clone();
        let Some(found) = self.establish_by(&|| stop.is_soft(), false) else {
            return;
        };
        let Some(it) = &mut self.transactions else {
            return;
        };
        it.last = found.stamp.clone();
        match it.marks.resume(found, &it.writer) {
            Ok(()) => {
                it.established = true;
                self.producer.state.change(|view| {
                    if let Some(view) = &mut view.transactions {
                        view.established = true;
                    }
                });
            }
            Err(why) => self.pipelines[0].halt(&self.producer.state, why),
        }
    }

    /// The client is at its end: a new one finds out how the transaction ended.
    pub(super) fn recover(&mut self, why: &str) {
        let Some(it) = &mut self.transactions else {
            return;
        };
        let (input, attempt) = (it.home.exactly_once.pipeline.clone(), it.deciding.clone());
        if it.is_news(why) || attempt.is_some() {
            tracing::error!(
                %input, why, in_doubt = attempt.is_some(),
                "the Kafka client is at its end; a new one finds out what was committed, and sends the rest again"
            );
        } else {
            tracing::debug!(%input, why, "another Kafka client is at its end");
        }
        if attempt.is_some() {
            self.producer.state.change(|view| {
                if let Some(counts) = &mut view.transactions {
                    counts.in_doubt += 1;
                }
            });
        }
        let stop = self.producer.stop.clone();
        let found = match self.look_for_rival() {
            Some(found) => Some(found),
            None => self.establish_by(&|| stop.is_hard(), true),
        };
        let (Some(found), Some(it)) = (found, &mut self.transactions) else {
            return;
        };
        match judge(found.stamp.as_ref(), it.last.as_ref(), attempt.as_ref()) {
            Verdict::Committed => self.decided(true),
            Verdict::Aborted => self.decided(false),
            Verdict::Rival(rival) => {
                let of = &it.home.exactly_once;
                let text = format!(
                    "another daemon with the id {} took over the input {input} (it wrote transaction {} as {}, this is {}): nothing more is sent \
                     from here, so that nothing is sent twice; give each daemon an `id` of its own, or stop one of them",
                    of.id, rival.number, rival.writer, it.writer
                );
                tracing::error!(%input, "{text}");
                it.given_up = Some(text.clone());
                self.producer.state.change(|view| view.fenced = Some(text));
            }
            Verdict::Lost => {
                it.given_up = Some(format!(
                    "the positions of the input {input} are gone from Kafka while it ran (was the topic made again?): nobody can tell what was \
                     committed; the next start begins where data_dir says"
                ));
            }
        }
    }

    /// Whoever took over says so within moments: that is waited for before shutting out whoever that is in return, or both would go on doing
    /// so for a while. `None`: nobody did, as far as can be seen now.
    fn look_for_rival(&mut self) -> Option<Found> {
        let until = Instant::now() + RIVAL;
        let stop = self.producer.stop.clone();
        let over = || Instant::now() > until || stop.is_hard();
        loop {
            // Whether it can be read at all is not yet of interest.
            let found = self.reader()?.read(&over).ok()??;
            let it = self.transactions.as_ref()?;
            let verdict = judge(found.stamp.as_ref(), it.last.as_ref(), it.deciding.as_ref());
            if matches!(verdict, Verdict::Rival(_)) {
                return Some(found);
            }
            if over() {
                return None;
            }
            self.serve(SLICE);
        }
    }

    fn reader(&self) -> Option<Reader<'_>> {
        let it = self.transactions.as_ref()?;
        Some(Reader {
            cluster: &self.producer.settings.cluster,
            bootstrap: &it.bootstrap,
            home: &it.home,
        })
    }

    /// Tries until it is established, with a new client each time; the present one first unless it `is_spent`. `None` when `stop` says so.
    fn establish_by(&mut self, stop: &dyn Fn() -> bool, mut is_spent: bool) -> Option<Found> {
        let mut said = None;
        loop {
            let established = if is_spent {
                self.replace_client()
                    .map_err(Not::Yet)
                    .and_then(|()| self.establish(stop))
            } else {
                self.establish(stop)
            };
            match established {
                Ok(found) => {
                    self.renew = None;
                    self.backoff.reset();
                    self.producer.state.change(|view| view.last_error = None);
                    return Some(found);
                }
                Err(Not::Stopped) => return None,
                Err(Not::Yet(why)) => {
                    if said.as_ref() != Some(&why) {
                        tracing::error!("transactions cannot begin yet: {why}; it is tried again");
                        self.producer
                            .state
                            .change(|view| view.last_error = Some(why.clone()));
                        said = Some(why);
                    }
                    let until = Instant::now() + self.backoff.delay();
                    while Instant::now() < until && !stop() {
                        self.serve(SLICE);
                    }
                    if stop() {
                        return None;
                    }
                    is_spent = true;
                }
            }
        }
    }

    fn establish(&mut self, stop: &dyn Fn() -> bool) -> Result<Found, Not> {
        let begun = Instant::now();
        let mut said = false;
        loop {
            if stop() {
                return Err(Not::Stopped);
            }
            match self.flight.native().init_transactions(SLICE) {
                Ok(()) => break,
                Err(error) if error.retriable => {
                    if !said && begun.elapsed() > PATIENCE {
                        said = true;
                        tracing::warn!(
                            why = error.text,
                            "the transaction coordinator is waited for"
                        );
                    }
                    self.listen();
                    self.serve(Duration::from_millis(20));
                }
                Err(error) => {
                    let id = self.producer.settings.exactly_once.as_ref();
                    let id = id.map(|it| it.transactional_id()).unwrap_or_default();
                    let advice = advice(&error.text);
                    return Err(Not::Yet(format!(
                        "transactional id {id}: {}{advice}",
                        error.text
                    )));
                }
            }
        }
        let Some(reader) = self.reader() else {
            return Err(Not::Stopped);
        };
        match reader.read(stop) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(Not::Stopped),
            Err(why) => Err(Not::Yet(why)),
        }
    }

    /// A new client takes over what the old one holds.
    fn replace_client(&mut self) -> Result<(), String> {
        let native = Native::new(&(self.producer.config)()?, Kind::Producer)?;
        let (lanes, back) = (&mut self.lanes, &mut self.back);
        self.flight.purge(PURGE, |delivery, last_of_load| {
            back.take(lanes, delivery, last_of_load);
        });
        self.land();
        self.producer.bell.detach();
        self.topics.renew(&native)?;
        if let Some(it) = &mut self.transactions {
            it.renew(&native)?;
        }
        self.producer.bell.attach(&native);
        self.flight.renew(native);
        self.renew = None;
        for way in &self.pipelines {
            way.pipeline.books.rebuilt();
        }
        Ok(())
    }
}
