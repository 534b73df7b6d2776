//! Many lines in one record: what `pack` makes of a batch before it is sent.
//!
//! Nothing is copied. Records whose values follow each other in memory, with a line feed between them, and whose source bytes follow each other
//! in the file, become one whose value spans them all. It counts for all their lines, so that books and positions know nothing of it.
//!
//! Invariant: the values of a batch, cut at line feeds, are the same lines in the same order before and after.

use super::batch::{Batch, Record};

impl Batch {
    /// Joins lines to records of up to `most` bytes. A longer one stays alone. Does nothing where the input made something of each line.
    pub fn pack(&mut self, most: u32) {
        if self.extras.bytes() > 0 {
            return;
        }
        let text = self.arena.filled();
        let mut packed = 0;
        for run in &mut self.runs {
            let begin = packed;
            for at in run.records.start as usize..run.records.end as usize {
                let next = self.records[at];
                let last = (packed > begin).then(|| self.records[packed - 1]);
                match last.and_then(|last| joined(last, next, most, text)) {
                    Some(joined) => self.records[packed - 1] = joined,
                    None => {
                        self.records[packed] = next;
                        packed += 1;
                    }
                }
            }
            run.records = begin as u32..packed as u32;
        }
        self.records.truncate(packed);
    }
}

/// Both in one, where nothing but a line feed stands between them.
fn joined(one: Record, other: Record, most: u32, text: &[u8]) -> Option<Record> {
    let end = one.value.start.checked_add(one.value.len)?;
    let follows = one.at.checked_add(one.bytes) == Some(other.at)
        && end.checked_add(1) == Some(other.value.start)
        && text.get(end as usize) == Some(&b'\n');
    if !follows {
        // Nothing is known of where the other stands, which may be before this one.
        return None;
    }
    let mut both = one;
    both.value.len = one.value.len.checked_add(1 + other.value.len)?;
    both.bytes = one.bytes.checked_add(other.bytes)?;
    both.lines += other.lines;
    (both.value.len <= most).then_some(both)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::flow::arena::Arenas;
    use crate::flow::{Batch, Budget, Extras, Origin, Receipt, Record, Run, Span, Tracker};

    /// Lines of a file, of which some are left out, in runs of their own from there where `cuts` says so.
    fn batch(lines: &[(String, bool)], cuts: &[usize]) -> Batch {
        let (_, share) = Budget::split(1 << 20, 1);
        let mut arena = Arenas::new(2).take(0);
        let (mut records, mut runs) = (Vec::new(), Vec::new());
        let origin = Arc::new(Origin {
            input: "in".into(),
            path: None,
        });
        let mut begun = 0;
        for (number, (line, is_wanted)) in lines.iter().enumerate() {
            let start = arena.len() as u32;
            assert!(arena.push(line.as_bytes()) && arena.push(b"\n"));
            if *is_wanted {
                records.push(Record {
                    value: Span {
                        start,
                        len: line.len() as u32,
                    },
                    at: start,
                    bytes: line.len() as u32 + 1,
                    lines: 1,
                });
            }
            if cuts.contains(&number) || number + 1 == lines.len() {
                let end = records.len() as u32;
                runs.push(Run {
                    origin: origin.clone(),
                    base: 7,
                    records: std::mem::replace(&mut begun, end)..end,
                });
            }
        }
        Batch {
            arena,
            records,
            runs,
            extras: Extras::default(),
            receipt: Receipt::new(Arc::new(Tracker::<u64>::new(Arc::default())), Vec::new()),
            charge: share[0].try_take(1).unwrap(),
        }
    }

    /// The lines of each run, and how many of its records have more than `most` bytes although they hold several.
    fn lines_of(batch: &Batch, most: usize) -> (Vec<Vec<String>>, usize) {
        let mut too_large = 0;
        let runs = batch.runs.iter().map(|run| {
            let records = run.records.start as usize..run.records.end as usize;
            let mut lines = Vec::new();
            for record in records {
                let value = std::str::from_utf8(batch.value(record)).unwrap();
                let of_record: Vec<String> = value.split('\n').map(str::to_owned).collect();
                assert_eq!(of_record.len(), batch.records[record].lines as usize);
                too_large += usize::from(of_record.len() > 1 && value.len() > most);
                lines.extend(of_record);
            }
            lines
        });
        (runs.collect(), too_large)
    }

    proptest! {
        #[test]
        fn lines_are_the_same_in_the_same_order(
            lines in proptest::collection::vec(("[a-z]{0,12}", prop::bool::weighted(0.8)), 1..60),
            cuts in proptest::collection::vec(0..60usize, 0..4),
            most in 1..80u32,
        ) {
            let mut batch = batch(&lines, &cuts);
            let (before, _) = lines_of(&batch, 0);
            let count = batch.count();
            let places: Vec<u64> = (0..batch.records.len()).map(|at| batch.position_of(at)).collect();
            batch.pack(most);
            let (after, too_large) = lines_of(&batch, most as usize);
            prop_assert_eq!(after, before);
            prop_assert_eq!(too_large, 0);
            prop_assert_eq!(batch.count(), count);
            for record in 0..batch.records.len() {
                prop_assert!(places.contains(&batch.position_of(record)));
            }
        }
    }

    #[test]
    fn lines_that_follow_each_other_become_one_record() {
        let lines = ["one", "two", "", "four", "out", "six"].map(|it| (it.to_owned(), it != "out"));
        let mut batch = batch(&lines, &[]);
        batch.pack(1000);
        let values: Vec<&[u8]> = (0..batch.records.len()).map(|at| batch.value(at)).collect();
        assert_eq!(values, [&b"one\ntwo\n\nfour"[..], b"six"]);
        assert_eq!(batch.records[0].bytes, 14);
    }
}
