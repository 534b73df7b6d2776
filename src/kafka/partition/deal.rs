//! Lays the records of a batch out by partition.
//!
//! Nearly always one decision holds for all of them, and the batch stays a range. Else the records are sorted by partition within buffers
//! that are used again; what is left of it is one list per batch, of which each partition gets its piece.
//!
//! Pure. Invariant: each record is in one group or refused, once, and in a group records keep their order.

use std::ops::Range;
use std::sync::Arc;

use super::{By, Choice, Rule, number};

/// The records of a batch, as far as their partition depends on them.
pub trait Records {
    /// The text that decides; `None` is a null key.
    fn text(&self, by: By, record: u32) -> Option<&[u8]>;
    /// Whether the records of a run all have the same text.
    fn are_alike(&self, by: By) -> bool;
    /// Bytes on the wire.
    fn weight(&self, record: u32) -> usize;
}

/// Where records can go.
pub struct Seats<'a> {
    /// At least 1.
    pub partitions: u32,
    /// Which partitions have a leader. Nothing that could go elsewhere goes to one that has none.
    pub leaders: &'a [bool],
    /// Whose turn it is, of those that have a leader; kept from batch to batch.
    pub turn: &'a mut u32,
}

/// Records that go to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub partition: u32,
    /// Absent: all of them.
    pub records: Option<Listed>,
    /// Bytes on the wire.
    pub bytes: usize,
}

/// The records that are dealt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hand {
    Range(Range<u32>),
    List(Listed),
}

/// Numbers of records, ascending: a piece of a list that the groups of a batch share.
#[derive(Debug, Clone)]
pub struct Listed {
    of: Arc<[u32]>,
    at: Range<usize>,
}

/// What is left for the next batch is only memory.
#[derive(Default)]
pub struct Dealer {
    random: Random,
    /// What was dealt last.
    pub groups: Vec<Group>,
    /// Records that name no partition.
    pub refused: Vec<u32>,
    /// For each record its partition, or one of the two below.
    homes: Vec<u32>,
    /// For each partition where its records begin in the list, and their bytes.
    starts: Vec<(usize, usize)>,
    list: Vec<u32>,
    /// Partitions with a leader.
    led: Vec<u32>,
}

/// It goes where the batch goes. There are never so many partitions.
const STICKS: u32 = u32::MAX;
const REFUSED: u32 = u32::MAX - 1;

/// xorshift64: spread is all that is asked of it.
struct Random(u64);

impl Dealer {
    /// Fills `groups` and `refused` with all of `records`. `stick` tells which partition a batch of so many bytes goes to.
    pub fn deal(
        &mut self,
        rule: &Rule,
        records: &Hand,
        of: &impl Records,
        seats: Seats<'_>,
        stick: impl FnOnce(usize) -> u32,
    ) {
        self.groups.clear();
        self.refused.clear();
        let Some(first) = records.iter().next() else {
            return;
        };
        match for_all(rule, first, of, seats.partitions) {
            Some(Choice::Fixed(partition)) => self.all(partition, weigh(records, of)),
            Some(Choice::Sticky) => {
                let bytes = weigh(records, of);
                self.all(stick(bytes), bytes);
            }
            Some(Choice::None) => self.refused.extend(records.iter()),
            Some(Choice::Random | Choice::Turn) | None => {
                self.choose(rule, records, of, seats);
                self.settle(records, of, stick);
                self.sort(records, of);
            }
        }
    }

    /// The records by partition, where what was dealt last goes to several. Before its groups are taken.
    pub fn order(&self) -> Option<&[u32]> {
        (self.groups.len() > 1).then_some(&self.list)
    }

    /// As [`Dealer::deal`], with all records for one partition.
    pub fn give_all(&mut self, partition: u32, records: &Hand, of: &impl Records) {
        self.groups.clear();
        self.refused.clear();
        self.all(partition, weigh(records, of));
    }

    fn all(&mut self, partition: u32, bytes: usize) {
        self.groups.push(Group {
            partition,
            records: None,
            bytes,
        });
    }

    /// Finds the home of each record.
    fn choose(&mut self, rule: &Rule, records: &Hand, of: &impl Records, seats: Seats<'_>) {
        let Seats {
            partitions,
            leaders,
            turn,
        } = seats;
        let has_leader = |at: &u32| leaders.get(*at as usize).copied().unwrap_or(false);
        self.led.clear();
        self.led.extend((0..partitions).filter(has_leader));
        if self.led.is_empty() {
            self.led.extend(0..partitions);
        }
        let (led, random) = (&self.led, &mut self.random);
        let mut any = || led[random.below(led.len())];
        let records = records.iter();
        self.homes.clear();
        match rule {
            Rule::Sticky => self.homes.extend(records.map(|_| STICKS)),
            Rule::Random => self.homes.extend(records.map(|_| any())),
            Rule::RoundRobin => self.homes.extend(records.map(|_| {
                let at = *turn as usize % led.len();
                *turn = at as u32 + 1;
                led[at]
            })),
            Rule::Manual => {
                self.homes.extend(records.map(|record| {
                    number(of.text(By::Place, record), partitions).unwrap_or(REFUSED)
                }))
            }
            Rule::Hashed(hashed) => self.homes.extend(records.map(|record| {
                match hashed.choose(of.text(hashed.by, record), partitions) {
                    Choice::Fixed(partition) => partition,
                    Choice::Sticky => STICKS,
                    _ => any(),
                }
            })),
        }
    }

    /// Those that stick get the home of the batch.
    fn settle(&mut self, records: &Hand, of: &impl Records, stick: impl FnOnce(usize) -> u32) {
        let homes = records.iter().zip(&self.homes);
        let sticking = homes.filter(|(_, home)| **home == STICKS);
        let (count, bytes) = sticking.fold((0, 0), |(count, bytes), (record, _)| {
            (count + 1, bytes + of.weight(record))
        });
        if count > 0 {
            let partition = stick(bytes);
            for home in &mut self.homes {
                if *home == STICKS {
                    *home = partition;
                }
            }
        }
    }

    fn sort(&mut self, records: &Hand, of: &impl Records) {
        self.starts.clear();
        for (record, home) in records.iter().zip(&self.homes) {
            if *home == REFUSED {
                self.refused.push(record);
                continue;
            }
            let home = *home as usize;
            if home >= self.starts.len() {
                self.starts.resize(home + 1, (0, 0));
            }
            let (count, bytes) = &mut self.starts[home];
            *count += 1;
            *bytes += of.weight(record);
        }
        let mut next = 0;
        for (start, _) in &mut self.starts {
            next += std::mem::replace(start, next);
        }
        self.list.clear();
        self.list.resize(next, 0);
        for (record, home) in records.iter().zip(&self.homes) {
            if *home != REFUSED {
                let (at, _) = &mut self.starts[*home as usize];
                self.list[*at] = record;
                *at += 1;
            }
        }
        // Each start is now the next one's.
        let list: Arc<[u32]> = Arc::from(&self.list[..]);
        let mut start = 0;
        for (partition, (end, bytes)) in (0..).zip(&self.starts) {
            let at = std::mem::replace(&mut start, *end)..*end;
            if !at.is_empty() {
                let of = list.clone();
                self.groups.push(Group {
                    partition,
                    records: Some(Listed { of, at }),
                    bytes: *bytes,
                });
            }
        }
    }
}

/// The choice for all of the records, where one holds for all.
fn for_all(rule: &Rule, first: u32, of: &impl Records, partitions: u32) -> Option<Choice> {
    if partitions == 1 && !matches!(rule, Rule::Manual) {
        return Some(Choice::Fixed(0));
    }
    let text = match rule.by() {
        Some(by) if of.are_alike(by) => of.text(by, first),
        Some(_) => return None,
        None => None,
    };
    Some(rule.choose(text, partitions))
}

fn weigh(records: &Hand, of: &impl Records) -> usize {
    records.iter().map(|record| of.weight(record)).sum()
}

impl Hand {
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        let (range, list) = match self {
            Self::Range(records) => (records.clone(), &[][..]),
            Self::List(records) => (0..0, records.numbers()),
        };
        range.chain(list.iter().copied())
    }
}

impl Listed {
    /// A piece of a list.
    pub fn piece(of: &Arc<[u32]>, at: Range<usize>) -> Self {
        Self { of: of.clone(), at }
    }

    /// Which places of the whole list are its own.
    pub fn places(&self) -> Range<u32> {
        self.at.start as u32..self.at.end as u32
    }

    /// The list that it is a piece of.
    pub fn whole(&self) -> &[u32] {
        &self.of
    }

    pub fn numbers(&self) -> &[u32] {
        &self.of[self.at.clone()]
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.numbers() == other.numbers()
    }
}

impl Eq for Listed {}

impl FromIterator<u32> for Listed {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let of: Arc<[u32]> = numbers.into_iter().collect();
        Self {
            at: 0..of.len(),
            of,
        }
    }
}

impl Default for Random {
    fn default() -> Self {
        use std::hash::{BuildHasher, RandomState};
        // Not the same in each process; and never zero, where xorshift would stay.
        Self(RandomState::new().hash_one(0) | 1)
    }
}

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half: the lower bits of xorshift are the weaker ones.
        ((self.0 >> 32) as usize * most) >> 32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kafka::settings::{Hash, Partitioner};

    /// A text per record, which decides; each weighs one more than its text.
    struct Texts(Vec<Option<Vec<u8>>>);

    impl Records for Texts {
        fn text(&self, _: By, record: u32) -> Option<&[u8]> {
            self.0[record as usize].as_deref()
        }

        fn are_alike(&self, _: By) -> bool {
            self.0.iter().all(Option::is_none)
        }

        fn weight(&self, record: u32) -> usize {
            1 + self.text(By::Key, record).map_or(0, <[u8]>::len)
        }
    }

    fn texts(texts: &[&str]) -> Texts {
        Texts(
            texts
                .iter()
                .map(|it| Some(it.as_bytes().to_vec()))
                .collect(),
        )
    }

    /// The partition of each record, with how many there are in each partition's group; what sticks goes to the last one.
    fn deal(
        dealer: &mut Dealer,
        partitioner: Partitioner,
        texts: &Texts,
        leaders: &[bool],
        turn: &mut u32,
    ) -> Vec<Option<u32>> {
        let partitions = leaders.len() as u32;
        let seats = Seats {
            partitions,
            leaders,
            turn,
        };
        let records = 0..texts.0.len() as u32;
        let rule = Rule::of(partitioner);
        let hand = Hand::Range(records.clone());
        dealer.deal(&rule, &hand, texts, seats, |_| partitions - 1);
        let mut homes = vec![None; texts.0.len()];
        let mut seen = 0;
        for group in &dealer.groups {
            let all: Vec<u32> = records.clone().collect();
            let list = group.records.as_ref().map_or(&all[..], Listed::numbers);
            assert!(list.is_sorted() && !list.is_empty());
            let weigh = list.iter().map(|record| texts.weight(*record));
            assert_eq!(group.bytes, weigh.sum::<usize>());
            for record in list {
                assert_eq!(homes[*record as usize].replace(group.partition), None);
                seen += 1;
            }
        }
        assert_eq!(seen + dealer.refused.len(), texts.0.len());
        homes
    }

    #[test]
    fn records_take_turns_exactly_and_the_turn_is_kept_from_batch_to_batch() {
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let mut go = |records: usize, leaders: &[bool]| {
            let texts = Texts(vec![None; records]);
            let homes = deal(
                &mut dealer,
                Partitioner::RoundRobin,
                &texts,
                leaders,
                &mut turn,
            );
            homes.into_iter().flatten().collect::<Vec<_>>()
        };
        assert_eq!(go(4, &[true; 3]), [0, 1, 2, 0]);
        assert_eq!(go(3, &[true; 3]), [1, 2, 0]);
        // One was added, then one lost its leader.
        assert_eq!(go(3, &[true; 4]), [1, 2, 3]);
        assert_eq!(go(3, &[true, false, true]), [0, 2, 0]);
        assert_eq!(go(3, &[false, false]), [1, 0, 1]);
    }

    #[test]
    fn random_records_go_everywhere_but_where_there_is_no_leader() {
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let texts = Texts(vec![None; 1000]);
        let leaders = [true, true, false, true];
        let homes = deal(
            &mut dealer,
            Partitioner::Random,
            &texts,
            &leaders,
            &mut turn,
        );
        for (partition, fewest) in [(0, 200), (1, 200), (2, 0), (3, 200)] {
            let count = homes
                .iter()
                .filter(|home| **home == Some(partition))
                .count();
            assert_eq!(
                count >= fewest && count > 0,
                partition != 2,
                "{partition}: {count}"
            );
        }
    }

    #[test]
    fn a_keyed_record_goes_to_its_own_partition_whether_that_has_a_leader_or_not() {
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let texts = texts(&["a", "b", "c", "d", "e", "f"]);
        let mut go = |leaders: &[bool]| {
            deal(
                &mut dealer,
                Partitioner::Consistent,
                &texts,
                leaders,
                &mut turn,
            )
        };
        assert_eq!(go(&[true; 5]), go(&[false, true, false, false, true]));
    }

    #[test]
    fn what_names_no_partition_is_refused_and_the_others_go_on() {
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let texts = texts(&["1", "x", "0", "3", "", "1", "-1"]);
        let homes = deal(
            &mut dealer,
            Partitioner::Manual,
            &texts,
            &[true; 3],
            &mut turn,
        );
        assert_eq!(homes, [Some(1), None, Some(0), None, None, Some(1), None]);
        assert_eq!(dealer.refused, [1, 3, 4, 6]);
        // Nothing at all names nothing at all.
        let homes = deal(
            &mut dealer,
            Partitioner::Manual,
            &Texts(vec![None; 2]),
            &[true],
            &mut turn,
        );
        assert_eq!(
            (homes, &dealer.refused[..]),
            (vec![None, None], &[0, 1][..])
        );
    }

    #[test]
    fn records_without_key_keep_their_order_beside_those_with_one() {
        // An empty key sticks; the batch goes to partition 1, where CRC-32 puts `a` of two.
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let texts = texts(&["", "a", "", "a", "b"]);
        let partitioner = Partitioner::ConsistentRandom;
        let homes = deal(&mut dealer, partitioner, &texts, &[true; 2], &mut turn);
        assert_eq!(homes, [Some(1), Some(1), Some(1), Some(1), Some(1)]);
        assert_eq!(dealer.groups.len(), 1);
    }

    #[test]
    fn one_decision_for_all_makes_no_list() {
        let (mut dealer, mut turn) = (Dealer::default(), 0);
        let (keyless, keyed) = (Texts(vec![None; 100]), texts(&["a"; 100]));
        for (partitioner, texts, partitions) in [
            (Partitioner::Sticky, &keyed, 3),
            (Partitioner::Murmur2Random, &keyless, 3),
            (Partitioner::Murmur2, &keyless, 3),
            (Partitioner::RoundRobin, &keyless, 1),
            (Partitioner::Fnv1a, &keyed, 1),
        ] {
            deal(
                &mut dealer,
                partitioner,
                texts,
                &vec![true; partitions],
                &mut turn,
            );
            let lists = dealer.groups.iter().map(|group| group.records.is_some());
            assert_eq!(lists.collect::<Vec<_>>(), [false], "{partitioner:?}");
        }
    }

    proptest! {
        #[test]
        fn every_record_has_one_home_below_the_count_or_is_refused(
            keys in proptest::collection::vec(proptest::option::of("[a-c0-9]{0,2}"), 1..80),
            partitions in 1..9usize,
            which in 0..Partitioner::NAMED.len() + 1,
        ) {
            let partitioner = Partitioner::NAMED.get(which).map_or(Partitioner::Hash(Hash::Fnv1a), |it| it.1);
            let texts = Texts(keys.into_iter().map(|it| it.map(String::into_bytes)).collect());
            let (mut dealer, mut turn) = (Dealer::default(), 0);
            let homes = deal(&mut dealer, partitioner, &texts, &vec![true; partitions], &mut turn);
            let rule = Rule::of(partitioner);
            for (record, home) in (0..).zip(homes) {
                let text = texts.text(By::Key, record);
                match rule.choose(text, partitions as u32) {
                    Choice::Fixed(partition) => prop_assert_eq!(home, Some(partition)),
                    Choice::None => prop_assert!(home.is_none() && dealer.refused.contains(&record)),
                    Choice::Sticky if partitions > 1 => prop_assert_eq!(home, Some(partitions as u32 - 1)),
                    _ => prop_assert!(home.is_some_and(|home| (home as usize) < partitions)),
                }
            }
        }
    }
}
