//! How a record's partition is chosen, bit for bit as other clients choose it.
//!
//! A [`Partitioner`] becomes a [`Rule`] once per batch, and [`deal`] lays the batch's records out by it.
//!
//! To add one: a file with its hash if it has one, a variant and its name in [`Partitioner`], an arm in [`Rule::of`].
//!
//! Invariant: a partition that is chosen is below the count; what names none is refused, never wrapped.

pub mod deal;
mod fnv1a;
mod manual;
mod murmur2;

pub use self::manual::{NoPartition, number};
use super::settings::{Hash, Partitioner};

/// What a partitioner says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This partition and no other.
    Fixed(u32),
    /// Whichever the batch goes to.
    Sticky,
    /// Any, anew for each record.
    Random,
    /// The one whose turn it is.
    Turn,
    /// There is none: the record is refused.
    None,
}

/// What a partitioner does.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    Sticky,
    Random,
    RoundRobin,
    Manual,
    Hashed(Hashed),
}

/// Which text of a record decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Key,
    /// What [`RouteSettings::place`](super::settings::RouteSettings::place) makes.
    Place,
}

/// A text is hashed. What is done with a key that is absent or empty differs from client to client.
#[derive(Debug, Clone, Copy)]
pub struct Hashed {
    hash: fn(&[u8]) -> u32,
    by: By,
    /// Absent: hashed as an empty text.
    null: Option<Choice>,
    /// Absent: hashed.
    empty: Option<Choice>,
}

impl Rule {
    /// What `partitioner` does.
    pub fn of(partitioner: Partitioner) -> Self {
        let key = |hash, null, empty| {
            let by = By::Key;
            Self::Hashed(Hashed {
                hash,
                by,
                null,
                empty,
            })
        };
        let (sticky, random) = (Some(Choice::Sticky), Some(Choice::Random));
        match partitioner {
            Partitioner::Murmur2Random => key(murmur2::positive, sticky, None),
            Partitioner::Murmur2 => key(murmur2::positive, None, None),
            Partitioner::ConsistentRandom => key(crc32fast::hash, sticky, sticky),
            Partitioner::Consistent => key(crc32fast::hash, None, None),
            Partitioner::Fnv1aRandom => key(fnv1a::absolute, sticky, None),
            Partitioner::Fnv1a => key(fnv1a::absolute, None, None),
            Partitioner::SaramaReference => key(fnv1a::masked, random, None),
            Partitioner::Random => Self::Random,
            Partitioner::RoundRobin => Self::RoundRobin,
            Partitioner::Sticky => Self::Sticky,
            Partitioner::Manual => Self::Manual,
            Partitioner::Hash(hash) => Self::Hashed(Hashed {
                hash: match hash {
                    Hash::Crc32 => crc32fast::hash,
                    Hash::Murmur2 => murmur2::positive,
                    Hash::Fnv1a => fnv1a::absolute,
                },
                by: By::Place,
                null: None,
                empty: None,
            }),
        }
    }

    /// Which text decides; absent: none does.
    pub fn by(&self) -> Option<By> {
        match self {
            Self::Sticky | Self::Random | Self::RoundRobin => None,
            Self::Manual => Some(By::Place),
            Self::Hashed(hashed) => Some(hashed.by),
        }
    }

    /// Where a record goes of which `text` decides, among `partitions` (at least 1). Absent and empty are different things.
    pub fn choose(&self, text: Option<&[u8]>, partitions: u32) -> Choice {
        match self {
            Self::Sticky => Choice::Sticky,
            Self::Random => Choice::Random,
            Self::RoundRobin => Choice::Turn,
            Self::Manual => number(text, partitions).map_or(Choice::None, Choice::Fixed),
            Self::Hashed(hashed) => hashed.choose(text, partitions),
        }
    }
}

impl Hashed {
    fn choose(&self, text: Option<&[u8]>, partitions: u32) -> Choice {
        let instead = match text {
            None => self.null,
            Some([]) => self.empty,
            Some(_) => None,
        };
        instead.unwrap_or_else(|| {
            let hash = (self.hash)(text.unwrap_or_default());
            Choice::Fixed(hash % partitions)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every rule that a key decides.
    const KEYED: [Partitioner; 7] = [
        Partitioner::Murmur2Random,
        Partitioner::Murmur2,
        Partitioner::ConsistentRandom,
        Partitioner::Consistent,
        Partitioner::Fnv1aRandom,
        Partitioner::Fnv1a,
        Partitioner::SaramaReference,
    ];

    fn choose(partitioner: Partitioner, key: Option<&[u8]>, partitions: u32) -> Choice {
        Rule::of(partitioner).choose(key, partitions)
    }

    /// The constants of librdkafka's own test of its partitioners (0048-partitioner), where they were obtained with the clients that they stand for:
    /// null, empty, and three texts.
    #[test]
    fn keys_go_where_librdkafka_puts_them() {
        const KEYS: [Option<&[u8]>; 5] = [
            None,
            Some(b""),
            Some(b"23456"),
            Some(b"this is another string with more length to it perhaps"),
            Some(b"hejsan"),
        ];
        let crc32 = [0, 0, 0xb1b4_51d7, 0xb015_0df7, 0xd077_037e];
        let murmur2 = [
            0x106e_08d9,
            0x106e_08d9,
            0x058d_780f,
            0x4f77_03da,
            0x5ec1_9395,
        ];
        let fnv1a = [
            0x7ee3_623b,
            0x7ee3_623b,
            0x27e6_f469,
            0x155e_3e5f,
            0x17b1_e27a,
        ];
        // How many of the keys, from the first one on, no hash decides.
        for (partitioner, hashes, undecided) in [
            (Partitioner::Consistent, crc32, 0),
            (Partitioner::ConsistentRandom, crc32, 2),
            (Partitioner::Murmur2, murmur2, 0),
            (Partitioner::Murmur2Random, murmur2, 1),
            (Partitioner::Fnv1a, fnv1a, 0),
            (Partitioner::Fnv1aRandom, fnv1a, 1),
        ] {
            for partitions in [1, 2, 7, 17, 1000, i32::MAX.unsigned_abs()] {
                for (at, (key, hash)) in KEYS.into_iter().zip(hashes).enumerate() {
                    let expected = match at < undecided {
                        true => Choice::Sticky,
                        false => Choice::Fixed(hash % partitions),
                    };
                    let chosen = choose(partitioner, key, partitions);
                    assert_eq!(chosen, expected, "{partitioner:?} {key:?} {partitions}");
                }
            }
        }
    }

    /// What `BuiltInPartitioner.partitionForKey` of Kafka's Java client 4.1.0 gives for 1, 2, 3, 7, 12, 100, 1000 and 2^31 - 1 partitions: bytes over
    /// 0x7f, hashes with the top bit set, an empty key.
    #[test]
    fn keys_go_where_the_java_client_puts_them() {
        const PARTITIONS: [u32; 8] = [1, 2, 3, 7, 12, 100, 1000, 0x7fff_ffff];
        let known: [(&[u8], [u32; 8]); 10] = [
            (b"", [0, 1, 0, 2, 9, 81, 681, 275_646_681]),
            (b"a", [0, 0, 1, 5, 4, 24, 524, 584_102_524]),
            (b"kafka", [0, 0, 1, 3, 4, 80, 580, 1_348_980_580]),
            (b"giberish123456789", [0, 0, 2, 5, 8, 20, 820, 257_239_820]),
            (b"\xff", [0, 1, 0, 5, 3, 63, 963, 1_836_015_963]),
            (
                b"\x80\x00\xfe\xff\x7f",
                [0, 0, 0, 5, 6, 58, 858, 1_006_935_858],
            ),
            ("é".as_bytes(), [0, 1, 0, 4, 3, 71, 271, 186_971_271]),
            (b"\xff\xff\xff\xff", [0, 1, 2, 6, 5, 29, 429, 644_171_429]),
            (b"\0", [0, 0, 2, 0, 8, 88, 588, 375_494_588]),
            (b"\0\0\0\0", [0, 0, 1, 6, 4, 20, 120, 850_957_120]),
        ];
        for (key, expected) in known {
            for (partitions, expected) in PARTITIONS.into_iter().zip(expected) {
                let chosen = choose(Partitioner::Murmur2Random, Some(key), partitions);
                assert_eq!(chosen, Choice::Fixed(expected), "{key:?} {partitions}");
            }
        }
    }

    /// The same client's answers for 2000 keys of 0 to 22 bytes and 97 partitions, put together.
    #[test]
    fn many_keys_of_every_length_go_where_the_java_client_puts_them() {
        let mut sum = 0i64;
        for number in 0..2000u32 {
            let byte = |at: u32| (number.wrapping_mul(31) + at * 17) as u8;
            let key: Vec<u8> = (0..number % 23).map(byte).collect();
            let Choice::Fixed(partition) = choose(Partitioner::Murmur2, Some(&key), 97) else {
                panic!("a key decides")
            };
            sum = sum.wrapping_mul(31).wrapping_add(i64::from(partition));
        }
        assert_eq!(sum, -6_099_987_773_850_756_221);
    }

    #[test]
    fn saramas_two_ways_differ_where_the_hash_has_its_top_bit_set() {
        // 0xe40c292c: |-468965076| and 1678518572.
        let both = [Partitioner::Fnv1a, Partitioner::SaramaReference];
        let chosen = both.map(|it| choose(it, Some(b"a"), 1000));
        assert_eq!(chosen, [Choice::Fixed(76), Choice::Fixed(572)]);
        // 0x27e6f469 has not.
        let chosen = both.map(|it| choose(it, Some(b"23456"), 1000));
        assert_eq!(chosen[0], chosen[1]);
        // 0x80000000 is the one without a positive twin: Sarama's test takes it for 50 partitions.
        let chosen = both.map(|it| choose(it, Some(b"1468509572224"), 50));
        assert_eq!(chosen, [Choice::Fixed(48), Choice::Fixed(0)]);
        assert_eq!(choose(both[1], None, 50), Choice::Random);
        // 0x811c9dc5 & 0x7fffffff
        assert_eq!(
            choose(both[1], Some(b""), 1000),
            Choice::Fixed(0x011c_9dc5 % 1000)
        );
    }

    #[test]
    fn any_text_can_be_hashed_as_keys_are() {
        for (hash, like) in [
            (Hash::Crc32, Partitioner::Consistent),
            (Hash::Murmur2, Partitioner::Murmur2),
            (Hash::Fnv1a, Partitioner::Fnv1a),
        ] {
            let rule = Rule::of(Partitioner::Hash(hash));
            assert_eq!(rule.by(), Some(By::Place));
            for text in [&b""[..], b"a", b"\xff\x80"] {
                let expected = choose(like, Some(text), 97);
                assert_eq!(rule.choose(Some(text), 97), expected, "{hash:?}");
            }
        }
    }

    #[test]
    fn a_name_and_what_it_means_belong_together() {
        for (name, partitioner) in Partitioner::NAMED {
            assert_eq!(Partitioner::named(name), Some(partitioner));
        }
        assert_eq!(Partitioner::named("hash"), None);
    }

    proptest! {
        #[test]
        fn the_same_key_goes_to_the_same_partition_below_the_count(
            key in proptest::collection::vec(any::<u8>(), 1..70), partitions in 1..=u32::MAX
        ) {
            for partitioner in KEYED {
                let chosen = choose(partitioner, Some(&key), partitions);
                let Choice::Fixed(partition) = chosen else { panic!("a key decides") };
                prop_assert!(partition < partitions);
                prop_assert_eq!(choose(partitioner, Some(&key), partitions), chosen);
            }
        }
    }
}
