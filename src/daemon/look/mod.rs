//! What the daemon shows of itself: readiness, metrics, status, and each pipeline's books for the log.
//!
//! It only looks: what it reads is written by the threads that it is about.

mod snapshot;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::SystemTime;

use serde_json::Value;

use crate::control::http::Admin;
use crate::flow::{Books, Budget};
use crate::input::file::facts::Facts;
use crate::input::syslog::facts::SyslogFacts;
use crate::kafka::consumer::ConsumerState;
use crate::kafka::producer::ProducerState;
use crate::metrics::{render, status_json};
use crate::output::books::OutputBooks;
use crate::spool;

/// Everything that can be looked at while the daemon runs.
pub struct Look {
    pub started: SystemTime,
    pub inputs: Vec<InputLook>,
    pub outputs: Vec<OutputLook>,
    pub producers: Vec<ProducerLook>,
    pub budget: Arc<Budget>,
    pub phase: Phase,
}

/// One input.
pub struct InputLook {
    pub name: String,
    pub books: Arc<Books>,
    pub facts: Option<Arc<Facts>>,
    pub syslog: Option<Arc<SyslogFacts>>,
    pub spool: Option<spool::Facts>,
    pub producer: usize,
    /// Where its records go: `CLUSTER, topic TOPIC`.
    pub target: String,
    pub life: Life,
}

/// One output.
pub struct OutputLook {
    pub name: String,
    pub books: Arc<OutputBooks>,
    /// The consumer's own books: what it took, and what was settled.
    pub tracker_books: Arc<Books>,
    pub consumer: Arc<ConsumerState>,
    /// Where its records go: the path's template.
    pub target: String,
    pub life: Life,
}

/// One producer.
pub struct ProducerLook {
    pub cluster: String,
    pub name: String,
    pub state: Arc<ProducerState>,
    pub metadata: Arc<crate::kafka::metadata::Metadata>,
}

/// Whether a pipeline runs, has ended, or failed.
#[derive(Debug, Default)]
pub struct Life(AtomicU8);

impl Life {
    pub fn end(&self) {
        self.0.fetch_max(1, Ordering::Relaxed);
    }

    pub fn fail(&self) {
        self.0.store(2, Ordering::Relaxed);
    }

    pub fn failed(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 2
    }

    fn ended(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

/// Whether the daemon drains.
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

impl Phase {
    pub fn drain(&self) {
        self.0.store(1, Ordering::Relaxed);
    }

    fn draining(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 1
    }
}

impl Look {
    /// Source bytes that came to an end, over everything: when it stands still nothing moves.
    pub fn progress(&self) -> u64 {
        let inputs = self.inputs.iter().map(|input| {
            let entries = input.books.entries();
            entries.read.bytes - entries.in_flight.bytes - entries.spooled.bytes
        });
        let outputs = self.outputs.iter().map(|output| {
            let entries = output.books.entries();
            entries.consumed.bytes + entries.written.bytes
        });
        inputs.sum::<u64>() + outputs.sum::<u64>()
    }

    /// Lines that were read and are not accounted for.
    pub fn undelivered(&self) -> u64 {
        self.inputs
            .iter()
            .map(|input| input.books.entries().in_flight.lines)
            .sum()
    }

    /// Lines that lie on disk and are not under way.
    pub fn spooled(&self) -> u64 {
        let entries = self.inputs.iter().map(|input| input.books.entries());
        entries.map(|entries| entries.spooled.lines).sum()
    }

    /// Whether any line was dropped or set aside.
    pub fn anything_astray(&self) -> bool {
        let inputs = self.inputs.iter().any(|input| {
            let entries = input.books.entries();
            entries.dead_lettered.lines > 0 || entries.dropped.values().any(|count| count.lines > 0)
        });
        inputs
            || self
                .outputs
                .iter()
                .any(|output| output.books.entries().refused.lines > 0)
    }

    /// Whether a pipeline failed or stopped for good.
    pub fn anything_failed(&self) -> bool {
        self.inputs.iter().any(|input| input.life.failed())
            || self.outputs.iter().any(|output| output.life.failed())
            || self
                .producers
                .iter()
                .any(|producer| !producer.state.view().halted.is_empty())
    }

    /// Whether an input's positions are in Kafka and were not read yet.
    fn waits_to_begin(&self, input: &InputLook) -> bool {
        let producer = self.producers.get(input.producer);
        let transactions = producer.and_then(|it| it.state.view().transactions);
        transactions.is_some_and(|it| !it.established)
    }

    /// Every pipeline's books, a line each.
    pub fn log_books(&self) {
        for input in &self.inputs {
            let entries = input.books.entries();
            let lost: u64 = entries.lost.values().sum();
            let dropped: u64 = entries.dropped.values().map(|count| count.lines).sum();
            tracing::info!(
                input = %input.name,
                read = entries.read.lines,
                read_bytes = entries.read.bytes,
                acked = entries.acked.lines,
                unconfirmed = entries.unconfirmed.lines,
                dead_lettered = entries.dead_lettered.lines,
                filtered = entries.filtered.lines,
                dropped,
                truncated = entries.truncated,
                spooled = entries.spooled.lines,
                in_flight = entries.in_flight.lines,
                unread_bytes = entries.unread_bytes,
                lost_bytes = lost,
                resent = entries.resent,
                rebuilds = entries.rebuilds,
                "books"
            );
        }
        for output in &self.outputs {
            let entries = output.books.entries();
            tracing::info!(
                output = %output.name,
                consumed = entries.consumed.lines,
                written = entries.written.lines,
                refused = entries.refused.lines,
                waiting = entries.consumed.lines.saturating_sub(entries.written.lines + entries.refused.lines),
                file_bytes = entries.file_bytes,
                syncs = entries.syncs,
                "books"
            );
        }
    }
}

impl Admin for Look {
    fn ready(&self) -> Result<(), Vec<String>> {
        let mut missing = Vec::new();
        if self.phase.draining() {
            missing.push("the daemon is stopping".to_owned());
        }
        for producer in &self.producers {
            let view = producer.state.view();
            let (reached, asked_error) = producer.metadata.reached();
            if reached != Some(true) {
                let why = asked_error
                    .or(view.last_error)
                    .unwrap_or_else(|| "no answer yet".into());
                missing.push(format!(
                    "cluster {} is not reached: {why}",
                    producer.cluster
                ));
            }
            missing.extend(
                view.halted
                    .iter()
                    .map(|(name, why)| format!("input {name} stopped: {why}")),
            );
            missing.extend(
                view.paused
                    .iter()
                    .map(|(name, why)| format!("input {name} waits: {why}")),
            );
        }
        for input in self
            .inputs
            .iter()
            .filter(|input| self.waits_to_begin(input))
        {
            missing.push(format!(
                "input {} waits until Kafka has told where it begins",
                input.name
            ));
        }
        for input in self.inputs.iter().filter(|input| input.life.failed()) {
            missing.push(format!("input {} failed; the log says why", input.name));
        }
        for output in &self.outputs {
            let consumer = output.consumer.status();
            if output.life.failed() {
                missing.push(format!("output {} failed; the log says why", output.name));
            } else if !consumer.connected {
                let why = consumer
                    .last_error
                    .unwrap_or_else(|| "no answer yet".into());
                missing.push(format!(
                    "output {}: its cluster is not reached: {why}",
                    output.name
                ));
            }
            if let Some(why) = output.books.entries().paused.or(consumer.refused) {
                missing.push(format!("output {} waits: {why}", output.name));
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(missing)
        }
    }

    fn metrics(&self) -> String {
        render(&self.snapshot())
    }

    fn status(&self) -> Value {
        status_json(&self.snapshot())
    }
}
