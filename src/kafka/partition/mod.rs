//! How a record's partition is chosen, bit for bit as other clients choose it.
//!
//! To add one: a file with its hash if it has one, a variant in [`Partitioner`], an arm in [`choose`].

mod fnv1a;
mod murmur2;

use super::settings::Partitioner;

/// What a partitioner says of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// This partition and no other.
    Fixed(u32),
    /// Whichever the batch goes to.
    Sticky,
    /// Any, anew for each record.
    Random,
}

/// Where a record with `key` goes among `partitions` (at least 1) partitions. A null key and an empty one are different things.
pub fn choose(partitioner: Partitioner, key: Option<&[u8]>, partitions: u32) -> Choice {
    let hashed = |hash: fn(&[u8]) -> u32, key: &[u8]| Choice::Fixed(hash(key) % partitions);
    match (partitioner, key) {
        (Partitioner::Sticky, _) => Choice::Sticky,
        (Partitioner::Random, _) => Choice::Random,
        (
            Partitioner::Murmur2Random | Partitioner::ConsistentRandom | Partitioner::Fnv1aRandom,
            None,
        ) => Choice::Sticky,
        (Partitioner::ConsistentRandom, Some([])) => Choice::Sticky,
        (Partitioner::Murmur2Random | Partitioner::Murmur2, key) => {
            hashed(murmur2::positive, key.unwrap_or_default())
        }
        (Partitioner::ConsistentRandom | Partitioner::Consistent, key) => {
            hashed(crc32fast::hash, key.unwrap_or_default())
        }
        (Partitioner::Fnv1aRandom | Partitioner::Fnv1a, key) => {
            hashed(fnv1a::absolute, key.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_key_sticks_and_an_empty_one_is_hashed_by_the_java_default() {
        assert_eq!(choose(Partitioner::Murmur2Random, None, 12), Choice::Sticky);
        assert_eq!(
            choose(Partitioner::Murmur2Random, Some(b""), 12),
            Choice::Fixed(0x106e_08d9 % 12)
        );
    }

    #[test]
    fn librdkafkas_default_treats_an_empty_key_as_none() {
        assert_eq!(
            choose(Partitioner::ConsistentRandom, Some(b""), 12),
            Choice::Sticky
        );
        assert_eq!(choose(Partitioner::Consistent, None, 12), Choice::Fixed(0));
    }
}
