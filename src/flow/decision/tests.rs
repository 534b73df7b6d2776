//! Transactions against a sink that is all in memory.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::flow::{Books, Count, Outcome, Receipt, Tracker};

fn stamp(writer: &str, number: u64) -> Stamp {
    Stamp {
        writer: writer.into(),
        number,
    }
}

#[test]
fn the_last_stamp_tells_how_a_doubtful_transaction_ended() {
    let (before, attempt, rival) = (stamp("a", 1), stamp("a", 2), stamp("b", 7));
    let judged = |found: Option<&Stamp>| judge(found, Some(&before), Some(&attempt));
    assert_eq!(judged(Some(&attempt)), Verdict::Committed);
    assert_eq!(judged(Some(&before)), Verdict::Aborted);
    assert_eq!(judged(Some(&rival)), Verdict::Rival(rival.clone()));
    assert_eq!(judged(None), Verdict::Lost);
}

#[test]
fn the_first_transaction_of_all_may_be_aborted_too() {
    let attempt = stamp("a", 1);
    assert_eq!(judge(None, None, Some(&attempt)), Verdict::Aborted);
    assert_eq!(judge(None, None, None), Verdict::Aborted);
}

#[test]
fn a_successor_begins_where_the_predecessor_ended_and_that_one_finds_a_rival() {
    let (old, new) = (stamp("a", 9), stamp("b", 1));
    assert_eq!(
        judge(Some(&old), Some(&old), Some(&new)),
        Verdict::Aborted,
        "it did not write yet"
    );
    assert_eq!(
        judge(Some(&new), Some(&old), Some(&stamp("a", 10))),
        Verdict::Rival(new)
    );
}

/// A source of numbered lines in some files, which it can read again from any position.
struct FakeSource {
    tracker: Arc<Tracker<u64>>,
    /// How far each file was read.
    read: Vec<u64>,
    due: BTreeSet<usize>,
    pending: Vec<usize>,
}

impl FakeSource {
    /// Begins where `topic` says.
    fn begin(topic: &Topic) -> Self {
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        for (file, at) in topic.marks.iter().enumerate() {
            tracker.add(SourceId(file as u64), *at);
        }
        Self {
            tracker,
            read: topic.marks.to_vec(),
            due: BTreeSet::new(),
            pending: Vec::new(),
        }
    }

    fn batch(&mut self, file: usize, lines: u64) -> FakeBatch {
        let source = SourceId(file as u64);
        let from = self.read[file];
        self.read[file] += lines;
        let entry = self.tracker.open(source, self.read[file]).unwrap();
        self.tracker.reads(Count { lines, bytes: 0 });
        FakeBatch {
            file,
            lines: (from..from + lines).collect(),
            receipt: Receipt::new(self.tracker.clone(), vec![(source, entry)]),
            confirmed: false,
        }
    }

    fn marks(&mut self, entries: &[(SourceId, EntryId)]) -> Vec<(usize, u64)> {
        self.due
            .extend(entries.iter().map(|(source, _)| source.0 as usize));
        self.pending = std::mem::take(&mut self.due).into_iter().collect();
        let position = |&file: &usize| {
            let source = SourceId(file as u64);
            let own = entries.iter().filter(|(of, _)| *of == source);
            let own: Vec<_> = own.map(|(_, entry)| *entry).collect();
            let (at, all) = self.tracker.position_with(source, &own).unwrap();
            assert!(all, "everything that was sent is in the transaction");
            (file, at)
        };
        self.pending.iter().map(position).collect()
    }

    fn decided(&mut self, committed: bool) {
        let pending = std::mem::take(&mut self.pending);
        if !committed {
            self.due.extend(pending);
        }
    }
}

struct FakeBatch {
    file: usize,
    lines: Vec<u64>,
    receipt: Receipt,
    confirmed: bool,
}

/// What readers see who see only what is committed.
#[derive(Default)]
struct Topic {
    lines: Vec<(usize, u64)>,
    marks: [u64; FILES],
    stamp: Option<Stamp>,
}

const FILES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Read {
        file: usize,
        lines: u64,
    },
    /// Some batch is confirmed, whatever its turn.
    Confirm(prop::sample::Index),
    Commit,
    /// Nobody hears of the end of the commit; whether it took place only the topic knows.
    Doubt {
        took_place: bool,
    },
    Abort,
    /// The process is killed, and another begins where the topic says.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..FILES, 1..5u64).prop_map(|(file, lines)| Step::Read { file, lines }),
        4 => any::<prop::sample::Index>().prop_map(Step::Confirm),
        2 => Just(Step::Commit),
        1 => any::<bool>().prop_map(|took_place| Step::Doubt { took_place }),
        1 => Just(Step::Abort),
        1 => Just(Step::Kill),
    ]
}

/// A process: its source, what its sink holds, and what it knows of its transactions.
struct Process {
    source: FakeSource,
    held: Vec<FakeBatch>,
    writer: String,
    number: u64,
    last: Option<Stamp>,
}

impl Process {
    fn begin(topic: &Topic, writer: u64) -> Self {
        Self {
            source: FakeSource::begin(topic),
            held: Vec::new(),
            writer: writer.to_string(),
            number: 0,
            last: topic.stamp.clone(),
        }
    }

    /// Sends what is held, but for the lines that are `refused`, and asks for a commit, which `takes_place` or not. Gives its stamp.
    fn send(
        &mut self,
        topic: &mut Topic,
        refused: &dyn Fn(u64) -> bool,
        takes_place: bool,
    ) -> Stamp {
        let entries: Vec<_> = self
            .held
            .iter()
            .flat_map(|batch| batch.receipt.entries().to_vec())
            .collect();
        let marks = self.source.marks(&entries);
        self.number += 1;
        let stamp = stamp(&self.writer, self.number);
        if takes_place {
            for batch in &self.held {
                let lines = batch.lines.iter().filter(|line| !refused(**line));
                topic.lines.extend(lines.map(|line| (batch.file, *line)));
            }
            marks.iter().for_each(|(file, at)| topic.marks[*file] = *at);
            topic.stamp = Some(stamp.clone());
        }
        stamp
    }

    fn decided(&mut self, refused: &dyn Fn(u64) -> bool, committed: Option<Stamp>) {
        self.source.decided(committed.is_some());
        if committed.is_none() {
            // It all goes again: what was confirmed is not any more.
            self.held
                .iter_mut()
                .for_each(|batch| batch.confirmed = false);
            return;
        }
        self.last = committed;
        for batch in self.held.drain(..) {
            let bad = batch.lines.iter().filter(|line| refused(**line)).count() as u64;
            let lines = batch.lines.len() as u64 - bad;
            batch.receipt.settle(&Outcome {
                acked: Count { lines, bytes: 0 },
                dead_lettered: Count {
                    lines: bad,
                    bytes: 0,
                },
                ..Outcome::default()
            });
        }
    }

    fn check(&self) {
        let entries = self.source.tracker.books().entries();
        assert!(entries.balanced());
        let held: usize = self.held.iter().map(|batch| batch.lines.len()).sum();
        assert_eq!(
            entries.in_flight.lines, held as u64,
            "in flight until committed"
        );
    }
}

proptest! {
    /// Whatever happens and whenever: the committed lines are those before the committed positions, each once and in its file's order,
    /// but for those that are refused.
    #[test]
    fn lines_and_positions_count_together(steps in proptest::collection::vec(step(), 0..120), every in 2..9u64) {
        let refused = move |line: u64| line % every == 1;
        let mut topic = Topic::default();
        let mut process = Process::begin(&topic, 0);
        for (now, step) in steps.into_iter().enumerate() {
            match step {
                Step::Read { file, lines } => {
                    let batch = process.source.batch(file, lines);
                    process.held.push(batch);
                }
                Step::Confirm(at) if !process.held.is_empty() => {
                    let at = at.index(process.held.len());
                    process.held[at].confirmed = true;
                }
                Step::Commit if process.held.iter().all(|batch| batch.confirmed) => {
                    let stamp = process.send(&mut topic, &refused, true);
                    process.decided(&refused, Some(stamp));
                }
                Step::Doubt { took_place } if process.held.iter().all(|batch| batch.confirmed) => {
                    let attempt = process.send(&mut topic, &refused, took_place);
                    let verdict = judge(topic.stamp.as_ref(), process.last.as_ref(), Some(&attempt));
                    prop_assert_eq!(&verdict, if took_place { &Verdict::Committed } else { &Verdict::Aborted });
                    process.decided(&refused, took_place.then_some(attempt));
                }
                Step::Abort => process.decided(&refused, None),
                Step::Kill => {
                    process.held.drain(..).for_each(|batch| batch.receipt.forgo());
                    process = Process::begin(&topic, now as u64 + 1);
                }
                Step::Confirm(_) | Step::Commit | Step::Doubt { .. } => {}
            }
            process.check();
            for file in 0..FILES {
                let lines = topic.lines.iter().filter(|(of, _)| *of == file);
                let lines: Vec<u64> = lines.map(|(_, line)| *line).collect();
                let expected: Vec<u64> = (0..topic.marks[file]).filter(|line| !refused(*line)).collect();
                prop_assert_eq!(lines, expected);
            }
        }
        process.held.drain(..).for_each(|batch| batch.receipt.forgo());
    }
}
