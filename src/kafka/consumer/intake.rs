//! From a batch of messages to records for the output: stragglers and news taken out, ends of partitions noted.

use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode;

use crate::flow::{Consumed, Count, RecordView, SourceId, TimestampKind};
use crate::kafka::commit::Key;
use crate::kafka::native::{Message, MessageBatch};
use crate::kafka::rebalance::Assignment;

/// What librdkafka needs for a consumed message besides key and value, in bytes.
pub const RECORD_OVERHEAD: u64 = 320;

/// Records that count, in the client's memory.
pub struct Records {
    batch: MessageBatch,
    runs: Vec<Run>,
    with_time: bool,
}

/// Records of one partition that follow each other in the batch.
struct Run {
    /// Index after the last one.
    end: usize,
    topic: Arc<str>,
    partition: i32,
    source: SourceId,
}

/// What a batch came to.
pub struct Intake {
    pub records: Records,
    /// How far each partition was read with it.
    pub ends: Vec<(SourceId, i64)>,
    pub count: Count,
    pub news: Vec<News>,
    /// Partitions that began where the group says, and where that was.
    pub begun: Vec<(Arc<str>, i32, i64)>,
}

/// What a partition tells between its records.
#[derive(Debug)]
pub enum News {
    /// The broker does not have the next offset.
    OutOfRange(Key, String),
    Trouble {
        topic: String,
        partition: i32,
        code: RDKafkaErrorCode,
        text: String,
    },
}

/// The run that the sorting is in.
struct Open {
    topic_token: usize,
    partition: i32,
    taken: Option<Run>,
    next: i64,
}

/// Sorts a batch. Records of partitions that are not held, that leave, or that are older than their assignment are destroyed at once.
/// `with_time`: whether anybody asks for the records' times.
pub fn sort(mut batch: MessageBatch, assignment: &mut Assignment, with_time: bool) -> Intake {
    let (mut runs, mut news) = (Vec::new(), Vec::new());
    let mut count = Count::default();
    let mut kept = 0;
    let mut open: Option<Open> = None;
    batch.retain(|message| {
        if let Some(code) = message.error() {
            close(open.take(), kept, assignment, &mut runs);
            tell(message, code, assignment, &mut news);
            return false;
        }
        let (token, partition) = (message.topic_token(), message.partition());
        if !open
            .as_ref()
            .is_some_and(|open| open.topic_token == token && open.partition == partition)
        {
            close(open.take(), kept, assignment, &mut runs);
            open = Some(begin(message, kept, assignment));
        }
        let Some(open) = &mut open else { return false };
        if open.taken.is_none() || message.offset() < open.next {
            return false;
        }
        open.next = message.offset() + 1;
        kept += 1;
        count.bytes += message.weight();
        true
    });
    close(open.take(), kept, assignment, &mut runs);
    count.lines = kept as u64;
    let mut ends: Vec<(SourceId, i64)> = Vec::new();
    let (mut begun, mut start) = (Vec::new(), 0);
    for run in &runs {
        if let Some(held) = assignment.held(&run.topic, run.partition)
            && held.begun.is_none()
        {
            let first = batch.get(start).offset();
            held.begun = Some(first);
            begun.push((run.topic.clone(), run.partition, first));
        }
        start = run.end;
        let last = batch.get(run.end - 1);
        let end = last.offset() + 1;
        if let Some(held) = assignment.held(&run.topic, run.partition) {
            held.epoch(last.offset(), last.leader_epoch());
        }
        match ends.iter_mut().find(|(source, _)| *source == run.source) {
            Some((_, before)) => *before = end,
            None => ends.push((run.source, end)),
        }
    }
    Intake {
        records: Records {
            batch,
            runs,
            with_time,
        },
        ends,
        count,
        news,
        begun,
    }
}

fn begin(message: Message<'_>, kept: usize, assignment: &mut Assignment) -> Open {
    let (topic, partition) = (message.topic(), message.partition());
    let mut open = Open {
        topic_token: message.topic_token(),
        partition,
        taken: None,
        next: 0,
    };
    if let (Some(name), Some(held)) = (
        assignment.name(topic),
        assignment
            .held(topic, partition)
            .filter(|held| !held.is_leaving()),
    ) {
        open.next = held.next;
        open.taken = Some(Run {
            end: kept,
            topic: name,
            partition,
            source: held.source,
        });
    }
    open
}

/// Ends a run. `kept`: how many records were kept up to here.
fn close(open: Option<Open>, kept: usize, assignment: &mut Assignment, runs: &mut Vec<Run>) {
    let Some(open) = open else { return };
    let Some(mut run) = open.taken else { return };
    // Nothing of it was kept.
    if run.end == kept {
        return;
    }
    run.end = kept;
    if let Some(held) = assignment.held(&run.topic, run.partition) {
        held.next = open.next;
    }
    runs.push(run);
}

fn tell(
    message: Message<'_>,
    code: RDKafkaErrorCode,
    assignment: &Assignment,
    news: &mut Vec<News>,
) {
    let (topic, partition) = (message.topic(), message.partition());
    let name = assignment.name(topic);
    match (code, name) {
        (RDKafkaErrorCode::AutoOffsetReset, Some(name)) => {
            news.push(News::OutOfRange((name, partition), message.error_text()));
        }
        _ => news.push(News::Trouble {
            topic: topic.to_owned(),
            partition,
            code,
            text: message.error_text(),
        }),
    }
}

impl Records {
    /// What they take from the budget, in bytes.
    pub fn cost(&self, count: Count) -> u64 {
        count.bytes + count.lines * RECORD_OVERHEAD
    }

    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Destroys the records of these assignments, and gives the count of those that are left.
    pub fn without(&mut self, sources: &[SourceId]) -> Count {
        let (mut at, mut run, mut kept) = (0, 0, 0);
        let mut ends = vec![0; self.runs.len()];
        let mut count = Count::default();
        let runs = &self.runs;
        self.batch.retain(|message| {
            while runs[run].end <= at {
                ends[run] = kept;
                run += 1;
            }
            at += 1;
            let keep = !sources.contains(&runs[run].source);
            if keep {
                kept += 1;
                count.bytes += message.weight();
            }
            keep
        });
        for end in &mut ends[run..] {
            *end = kept;
        }
        for (run, end) in self.runs.iter_mut().zip(ends) {
            run.end = end;
        }
        self.runs.retain(|run| !sources.contains(&run.source));
        count.lines = kept as u64;
        count
    }
}

impl Consumed for Records {
    fn len(&self) -> usize {
        self.batch.len()
    }

    fn get(&self, index: usize) -> RecordView<'_> {
        let message = self.batch.get(index);
        let (timestamp_ms, timestamp_kind) = if self.with_time {
            message.timestamp()
        } else {
            (0, TimestampKind::None)
        };
        let run = match &self.runs[..] {
            [only] => only,
            runs => &runs[runs.partition_point(|run| run.end <= index)],
        };
        RecordView {
            topic: &run.topic,
            partition: run.partition,
            offset: message.offset(),
            timestamp_ms,
            timestamp_kind,
            key: message.key(),
            value: message.value(),
        }
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.batch.get(index).headers(each);
    }
}
