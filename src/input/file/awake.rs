//! Which files are looked at in every sweep. The others sleep: their next write is told by an event and nothing about them is due, and each
//! waits for its turn.
//!
//! One bit for each file, by slot. A sweep over ten thousand idle files then touches the memory of those whose turn it is, and of no others.
//! Files take turns by neighbours: their memory lies together. A bit that is missing delays a look until the file's turn, and does nothing worse.

use std::ops::Range;

/// Slots that take turns together.
const NEIGHBOURS: u64 = u64::BITS as u64;

/// By slot.
#[derive(Debug, Default)]
pub struct Awake(Vec<u64>);

/// Neighbours of which some are to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    first: u64,
    awake: u64,
    /// It counts up with the sweeps, and from one row to the next.
    turn: u64,
}

impl Awake {
    pub fn wake(&mut self, slot: u64) {
        let (row, bit) = place(slot);
        if row >= self.0.len() {
            self.0.resize(row + 1, 0);
        }
        self.0[row] |= bit;
    }

    pub fn sleep(&mut self, slot: u64) {
        let (row, bit) = place(slot);
        if let Some(bits) = self.0.get_mut(row) {
            *bits &= !bit;
        }
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.0.len() as u64
    }

    /// A row, when anything of it is to be looked at in this sweep; the turn of all comes at every `of`th.
    pub fn row(&self, row: u64, sweep: u64, of: u64) -> Option<Row> {
        let awake = *self.0.get(usize::try_from(row).ok()?)?;
        let turn = sweep + row;
        (awake != 0 || turn.is_multiple_of(of)).then_some(Row {
            first: row * NEIGHBOURS,
            awake,
            turn,
        })
    }
}

impl Row {
    pub fn slots(&self) -> Range<u64> {
        self.first..self.first + NEIGHBOURS
    }

    /// Whether one of its files is awake.
    pub fn has(&self, slot: u64) -> bool {
        self.awake & place(slot).1 != 0
    }

    /// Whether it is the turn of all of them, at every `of`th sweep.
    pub fn is_turn(&self, of: u64) -> bool {
        self.turn.is_multiple_of(of)
    }
}

fn place(slot: u64) -> (usize, u64) {
    let row = usize::try_from(slot / NEIGHBOURS).unwrap_or(usize::MAX - 1);
    (row, 1 << (slot % NEIGHBOURS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots up to 200 that a sweep looks at when turns come at every eighth.
    fn looked_at(awake: &Awake, sweep: u64) -> Vec<u64> {
        let rows = (0..awake.rows()).filter_map(|row| awake.row(row, sweep, 8));
        rows.flat_map(|row| {
            row.slots()
                .filter(move |slot| row.is_turn(8) || row.has(*slot))
        })
        .filter(|slot| *slot <= 200)
        .collect()
    }

    #[test]
    fn those_that_are_awake_are_looked_at_in_every_sweep_and_the_others_when_it_is_their_turn() {
        let mut awake = Awake::default();
        for slot in [0, 63, 64, 130, 200] {
            awake.wake(slot);
        }
        awake.sleep(64);
        awake.sleep(5000);
        assert_eq!(looked_at(&awake, 1), [0, 63, 130, 200]);
        let second: Vec<u64> = (64..128).collect();
        assert_eq!(
            looked_at(&awake, 7),
            [&[0, 63], &second[..], &[130, 200]].concat()
        );
        let turns = (1..9).map(|sweep| looked_at(&awake, sweep).contains(&100));
        assert_eq!(turns.filter(|is_turn| *is_turn).count(), 1);
    }
}
