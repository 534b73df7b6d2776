//! FNV-1a, 32 bits, in the two ways in which Sarama makes a number without sign of it.

/// The absolute value of the signed hash. The one number without a positive twin, -2^31, stays 2^31, as in Sarama and librdkafka.
pub fn absolute(key: &[u8]) -> u32 {
    fnv1a(key).cast_signed().unsigned_abs()
}

/// The hash with its sign bit cleared, as Sarama's reference partitioner takes it.
pub fn masked(key: &[u8]) -> u32 {
    fnv1a(key) & 0x7fff_ffff
}

fn fnv1a(key: &[u8]) -> u32 {
    key.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors that the hash's authors publish (draft-eastlake-fnv, appendix C).
    #[test]
    fn the_hash_is_fnv_1a() {
        for (text, hash) in [
            ("", 0x811c_9dc5),
            ("a", 0xe40c_292c),
            ("foobar", 0xbf9c_f968),
        ] {
            assert_eq!(fnv1a(text.as_bytes()), hash);
        }
    }

    #[test]
    fn a_hash_with_its_top_bit_set_counts_by_its_absolute_value_or_loses_the_bit() {
        assert_eq!(absolute(b"a"), 0x1bf3_d6d4);
        assert_eq!(masked(b"a"), 0x640c_292c);
    }

    /// The text that Sarama's TestHashPartitionerMinInt32 takes for it.
    #[test]
    fn the_number_without_a_positive_twin_is_no_negative_partition() {
        let key = b"1468509572224";
        assert_eq!(fnv1a(key), 1 << 31);
        assert_eq!((absolute(key), masked(key)), (1 << 31, 0));
    }
}
