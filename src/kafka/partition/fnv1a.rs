//! FNV-1a, 32 bits, as Sarama's hash partitioner takes it: as a signed number, and its absolute value.

/// The absolute value of the signed hash. The one number without a positive twin, -2^31, stays 2^31, as in Sarama and librdkafka.
pub fn absolute(key: &[u8]) -> u32 {
    fnv1a(key).cast_signed().unsigned_abs()
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
    fn a_hash_with_its_top_bit_set_counts_by_its_absolute_value() {
        assert_eq!(absolute(b"a"), 0x1bf3_d6d4);
    }
}
