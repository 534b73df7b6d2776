//! The partitions that a member of a classic group was given, as the group's leader has written it down.
//!
//! The form is the consumer protocol's `ConsumerProtocolAssignment` (KIP-4, Kafka's `ConsumerProtocolAssignment.json`): a version, topics
//! with their partitions, bytes of the assignor's own. Later versions only add to the end.
//!
//! Invariant: whatever the bytes are, reading them ends, takes no more memory than they have, and gives all or nothing.

/// The partitions in `bytes`, in order of topic and number; `None` when they are not of this form. No bytes: no partitions.
pub fn partitions(bytes: &[u8]) -> Option<Vec<(String, i32)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = Rest(bytes);
    let version = rest.i16()?;
    if version < 0 {
        return None;
    }
    let mut found = Vec::new();
    for _ in 0..rest.count()? {
        let topic = rest.text()?;
        for _ in 0..rest.count()? {
            found.push((topic.clone(), rest.i32()?));
        }
    }
    found.sort_unstable();
    Some(found)
}

/// What was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// How many elements follow. Each has bytes, so that more than there are bytes is wrong.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.i32()?).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.i16()?).ok()?;
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(version: i16, topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend((topics.len() as i32).to_be_bytes());
        for (topic, partitions) in topics {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            for partition in *partitions {
                bytes.extend(partition.to_be_bytes());
            }
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn every_partition_is_found_in_order() {
        let bytes = written(3, &[("web", &[2, 0]), ("app", &[7])]);
        let expected = [("app", 7), ("web", 0), ("web", 2)];
        let expected = expected.map(|(topic, partition)| (topic.to_owned(), partition));
        assert_eq!(partitions(&bytes), Some(expected.to_vec()));
        assert_eq!(partitions(&[]), Some(Vec::new()));
    }

    #[test]
    fn what_is_cut_off_or_lies_about_its_length_is_nothing() {
        let bytes = written(0, &[("web", &[2, 0])]);
        // The assignor's own bytes at the end are not looked at.
        for length in 1..bytes.len() - 4 {
            assert_eq!(partitions(&bytes[..length]), None, "{length}");
        }
        let mut many = written(0, &[]);
        many[2..6].copy_from_slice(&i32::MAX.to_be_bytes());
        assert_eq!(partitions(&many), None);
        assert_eq!(partitions(&written(-1, &[])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(found) = partitions(&bytes) {
                prop_assert!(found.len() <= bytes.len());
            }
        }
    }
}
