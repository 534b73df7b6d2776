//! A moment of everything, in the words of the metrics.

use std::sync::Arc;
use std::time::SystemTime;

use super::{InputLook, Look, OutputLook, ProducerLook};
use crate::flow::Count;
use crate::kafka::producer::TransactionsView;
use crate::metrics::{
    self, BudgetSnapshot, InputSnapshot, OutputSnapshot, ProducerSnapshot, Snapshot,
    SocketSnapshot, SpoolSnapshot, SyslogSnapshot, TransactionsSnapshot,
};
use crate::spool::View;

impl Look {
    /// A moment of everything.
    pub fn snapshot(&self) -> Snapshot {
        let start_time = self
            .started
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            start_time,
            inputs: self.inputs.iter().map(|input| self.input(input)).collect(),
            outputs: self
                .outputs
                .iter()
                .map(|output| self.output(output))
                .collect(),
            producers: self.producers.iter().map(producer).collect(),
            budget: BudgetSnapshot {
                capacity: self.budget.capacity(),
                used: self.budget.used(),
            },
        }
    }

    fn input(&self, input: &InputLook) -> InputSnapshot {
        let entries = input.books.entries();
        let summary = input
            .facts
            .as_ref()
            .map(|facts| facts.summary())
            .unwrap_or_default();
        InputSnapshot {
            name: input.name.clone(),
            state: self.input_state(input),
            read: count(entries.read),
            acked: count(entries.acked),
            unconfirmed: count(entries.unconfirmed),
            dead_lettered: count(entries.dead_lettered),
            filtered: count(entries.filtered),
            dropped: entries
                .dropped
                .iter()
                .map(|(reason, dropped)| ((*reason).to_owned(), count(*dropped)))
                .collect(),
            spooled: count(entries.spooled),
            in_flight: count(entries.in_flight),
            unread_bytes: entries.unread_bytes,
            lost: entries
                .lost
                .iter()
                .map(|(cause, bytes)| {
                    (
                        *cause,
                        metrics::Count {
                            lines: 0,
                            bytes: *bytes,
                        },
                    )
                })
                .collect(),
            truncated: entries.truncated,
            resent: entries.resent,
            rebuilds: entries.rebuilds,
            files: summary.files as u64,
            expired: summary.expired,
            ignored: summary.ignored,
            syslog: input.syslog.as_ref().map(|facts| SyslogSnapshot {
                connections: facts.connections.get(),
                accepted: facts.accepted.get(),
                refused: facts.refused.get(),
                timed_out: facts.timed_out.get(),
                broken: facts.broken.get(),
                unparsed: facts.unparsed.get(),
                torn: facts.torn.get(),
                out_of_range: facts.out_of_range.get(),
                kernel_drops: facts.kernel_drops(),
                sockets: facts
                    .sockets
                    .iter()
                    .map(|socket| SocketSnapshot {
                        name: socket.name.to_string(),
                        kernel_drops: socket.kernel_drops.get(),
                        buffer: socket.buffer as u64,
                    })
                    .collect(),
            }),
            spool: input.spool.as_ref().map(|facts| spooled(&facts.view())),
            oldest_unread_seconds: summary.oldest_unread.map(|age| age.as_secs_f64()),
            transactions: self
                .producers
                .get(input.producer)
                .and_then(|producer| producer.state.view().transactions)
                .map(transactions),
        }
    }

    fn input_state(&self, input: &InputLook) -> &'static str {
        let producer = self.producers.get(input.producer);
        let view = producer.map(|producer| producer.state.view());
        let view = view.unwrap_or_default();
        let names_it =
            |list: &[(Arc<str>, String)]| list.iter().any(|(name, _)| **name == *input.name);
        let (halted, paused) = (names_it(&view.halted), names_it(&view.paused));
        let away = producer.is_some_and(|producer| producer.metadata.reached().0 == Some(false));
        // Its reader may be at the end while what it read is still on its way.
        let entries = input.books.entries();
        let over = input.life.ended() && entries.in_flight.lines + entries.spooled.lines == 0;
        match () {
            () if halted || input.life.failed() => "failed",
            () if over => "stopped",
            () if self.phase.draining() => "draining",
            () if away || paused || self.waits_to_begin(input) => "waiting",
            () => "running",
        }
    }

    fn output(&self, output: &OutputLook) -> OutputSnapshot {
        let entries = output.books.entries();
        let consumer = output.consumer.status();
        let state = match () {
            () if output.life.failed() => "failed",
            () if output.life.ended() => "stopped",
            () if self.phase.draining() => "draining",
            () if entries.paused.is_some() || !consumer.connected => "waiting",
            () if consumer.refused.is_some() => "waiting",
            () if consumer.partitions.is_empty() && !consumer.absent.is_empty() => "waiting",
            () => "running",
        };
        OutputSnapshot {
            name: output.name.clone(),
            state,
            consumed: count(entries.consumed),
            written: count(entries.written),
            synced: count(entries.written),
            committed: count(output.tracker_books.entries().acked),
            syncs: entries.syncs,
            refused: entries.refused.lines,
            null_values: entries.nulls,
            skipped: consumer.skipped,
            lag: consumer
                .partitions
                .iter()
                .filter_map(|at| Some((at.topic.to_string(), at.partition, at.lag()?)))
                .collect(),
            open_files: entries.open_files as u64,
            finished_files: entries.finished_files,
            removed_files: entries.removed_files,
            missing_files: entries.missing_files,
            assigned: consumer.partitions.len() as u64,
            absent: consumer
                .absent
                .iter()
                .map(|(topic, partition)| (topic.to_string(), *partition))
                .collect(),
            waits: entries.paused.or(consumer.refused),
            transactions: consumer.transactions.map(transactions),
        }
    }
}

fn producer(producer: &ProducerLook) -> ProducerSnapshot {
    let view = producer.state.view();
    ProducerSnapshot {
        cluster: producer.cluster.clone(),
        producer: producer.name.clone(),
        connected: producer.metadata.reached().0.unwrap_or(false),
        outstanding_records: view.outstanding as u64,
        outstanding_bytes: view.outstanding_bytes as u64,
        requests: view.waves,
        rtt_ms: (!view.ack_time.is_zero()).then_some(view.ack_time.as_secs_f64() * 1000.0),
    }
}

fn transactions(counts: TransactionsView) -> TransactionsSnapshot {
    let since_1970 = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).ok();
    TransactionsSnapshot {
        committed: counts.committed,
        aborted: counts.aborted,
        in_doubt: counts.in_doubt,
        last_commit: counts
            .last_commit
            .and_then(since_1970)
            .map(|since| since.as_secs_f64()),
    }
}

fn spooled(view: &View) -> SpoolSnapshot {
    SpoolSnapshot {
        bytes: view.bytes,
        max_bytes: view.max_bytes,
        spare_bytes: view.spare_bytes,
        segments: view.segments,
        oldest_seconds: view.oldest.map(|age| age.as_secs_f64()),
        found: count(view.found),
        damaged: view.damaged,
        unreadable_bytes: view.lost,
        cut_bytes: view.cut,
    }
}

fn count(count: Count) -> metrics::Count {
    metrics::Count {
        lines: count.lines,
        bytes: count.bytes,
    }
}
