//! Settlements in any order, one position in order.

use std::collections::VecDeque;

/// Names an entry of one ledger. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u64);

/// The open entries of one source, oldest first, and the position that everything before is settled up to.
///
/// Invariant: the position never passes an entry that is not settled.
#[derive(Debug, Clone)]
pub struct Ledger<P> {
    position: P,
    /// Ends of the entries after `position`, and whether each is settled. The first one is never settled.
    entries: VecDeque<(P, bool)>,
    /// The id of the first entry.
    first: u64,
}

impl<P: Clone> Ledger<P> {
    /// A ledger whose source starts at `position`.
    pub fn new(position: P) -> Self {
        Self {
            position,
            entries: VecDeque::new(),
            first: 0,
        }
    }

    /// Opens an entry that ends at `end`. Entries are opened in the source's order.
    pub fn open(&mut self, end: P) -> EntryId {
        let id = EntryId(self.first + self.entries.len() as u64);
        self.entries.push_back((end, false));
        id
    }

    /// Settles an entry; `true` when the position moved. Settling one twice changes nothing.
    pub fn settle(&mut self, id: EntryId) -> bool {
        let Some(entry) =
            id.0.checked_sub(self.first)
                .and_then(|at| self.entries.get_mut(usize::try_from(at).ok()?))
        else {
            return false;
        };
        entry.1 = true;
        let mut moved = false;
        while let Some((_, true)) = self.entries.front() {
            if let Some((end, _)) = self.entries.pop_front() {
                self.position = end;
                self.first += 1;
                moved = true;
            }
        }
        moved
    }

    /// Everything before this is settled.
    pub fn position(&self) -> &P {
        &self.position
    }

    /// The position as it will be when `also` (in any order) are settled too.
    pub fn position_with(&self, also: &[EntryId]) -> &P {
        let passed = self.entries.iter().enumerate();
        passed
            .take_while(|(at, (_, settled))| {
                *settled || also.contains(&EntryId(self.first + *at as u64))
            })
            .last()
            .map_or(&self.position, |(_, (end, _))| end)
    }

    /// Whether no entry is open any more when `also` are settled too.
    pub fn passes_all_with(&self, also: &[EntryId]) -> bool {
        let mut entries = self.entries.iter().enumerate();
        entries
            .all(|(at, (_, settled))| *settled || also.contains(&EntryId(self.first + at as u64)))
    }

    /// The end of the newest entry, or the position when none is open: where the source goes on.
    pub fn head(&self) -> &P {
        self.entries.back().map_or(&self.position, |(end, _)| end)
    }

    /// How many entries are not passed yet.
    pub fn open_entries(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_position_waits_for_the_oldest_open_entry() {
        let mut ledger = Ledger::new(0);
        let (a, b) = (ledger.open(10), ledger.open(20));
        assert!(!ledger.settle(b));
        assert_eq!(*ledger.position(), 0);
        assert!(ledger.settle(a));
        assert_eq!(*ledger.position(), 20);
        assert!(!ledger.settle(a));
    }

    proptest! {
        #[test]
        fn the_position_that_is_foretold_is_the_one_that_comes(first in proptest::collection::vec(0..20usize, 0..10), then in proptest::collection::vec(0..20usize, 0..20)) {
            let mut ledger = Ledger::new(0);
            let ids: Vec<_> = (1..=20).map(|end| ledger.open(end)).collect();
            for at in first {
                ledger.settle(ids[at]);
            }
            let then: Vec<_> = then.into_iter().map(|at| ids[at]).collect();
            let foretold = *ledger.position_with(&then);
            for id in then {
                ledger.settle(id);
            }
            prop_assert_eq!(foretold, *ledger.position());
        }

        #[test]
        fn the_position_is_the_end_of_the_settled_prefix(order in Just((0..40usize).collect::<Vec<_>>()).prop_shuffle(), settled in 0..40usize) {
            let mut ledger = Ledger::new(0);
            let ids: Vec<_> = (1..=40).map(|end| ledger.open(end)).collect();
            let done: Vec<_> = order[..settled].to_vec();
            for &at in &done {
                ledger.settle(ids[at]);
            }
            let prefix = (0..40).take_while(|at| done.contains(at)).count();
            prop_assert_eq!(*ledger.position(), prefix);
            prop_assert_eq!(ledger.open_entries(), 40 - prefix);
        }
    }
}
