//! From where to where a partition is read: what a person says, and the offsets that it comes to.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;

use crate::kafka::native::{Boundary, Member, PartitionOffset};

/// How long one question for offsets may take.
pub(super) const QUESTION: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Beginning,
    End,
    Offset(i64),
    /// So many records before the end, of each partition.
    Last(i64),
    /// The first record that is not older, in milliseconds since 1970.
    Time(i64),
}

/// Where to end: before this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// What is there when it is asked.
    End,
    Offset(i64),
    /// The first record that is not older, in milliseconds since 1970.
    Time(i64),
}

/// Where a partition begins and ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub first: i64,
    pub end: i64,
}

type Asked<T> = Result<T, String>;

/// The first and the end offset of each partition, in their order.
pub(super) fn bounds(member: &Member, partitions: &[PartitionOffset]) -> Asked<Vec<Bounds>> {
    let ask = |boundary| told(member.bounds(partitions, boundary, QUESTION));
    let (first, end) = (ask(Boundary::First)?, ask(Boundary::End)?);
    let pairs = first.into_iter().zip(end);
    Ok(pairs
        .map(|(first, end)| Bounds {
            first: first.unwrap_or(0),
            end: end.unwrap_or(0),
        })
        .collect())
}

/// Where each partition is begun.
pub(super) fn begin(
    member: &Member,
    partitions: &[PartitionOffset],
    bounds: &[Bounds],
    from: From,
) -> Asked<Vec<i64>> {
    let since = match from {
        From::Time(time) => told(member.since(partitions, time, QUESTION))?,
        _ => Vec::new(),
    };
    let each = bounds.iter().enumerate();
    Ok(each
        .map(|(at, bounds)| start(*bounds, from, since.get(at).copied().flatten()))
        .collect())
}

/// Pure: where one is begun. `since`: what the broker says to a time; nothing when every record is older.
fn start(bounds: Bounds, from: From, since: Option<i64>) -> i64 {
    let Bounds { first, end } = bounds;
    match from {
        From::Beginning => first,
        From::End => end,
        From::Offset(offset) => offset.max(first),
        From::Last(count) => end.saturating_sub(count).max(first),
        From::Time(_) => since.unwrap_or(end),
    }
}

/// Before which offset each partition ends; nothing while the time that was named lies ahead.
pub(super) fn stop(
    member: &Member,
    partitions: &[PartitionOffset],
    bounds: &[Bounds],
    until: Until,
    now_ms: i64,
) -> Asked<Option<Vec<i64>>> {
    let ends = || bounds.iter().map(|bounds| bounds.end);
    Ok(match until {
        Until::End => Some(ends().collect()),
        Until::Offset(offset) => Some(vec![offset; partitions.len()]),
        Until::Time(time) if time > now_ms => None,
        Until::Time(time) => {
            let since = told(member.since(partitions, time, QUESTION))?;
            let stops = since.into_iter().zip(ends());
            Some(stops.map(|(since, end)| since.unwrap_or(end)).collect())
        }
    })
}

/// The offsets of an answer.
pub(super) fn told(
    answer: Result<Vec<PartitionOffset>, (RDKafkaErrorCode, String)>,
) -> Asked<Vec<Option<i64>>> {
    let partitions = answer.map_err(|(_, text)| format!("offsets are not to be had: {text}"))?;
    let failed = |it: &PartitionOffset| {
        it.error
            .map(|code| format!("topic {}, partition {}: {code}", it.topic, it.partition))
    };
    match partitions.iter().find_map(failed) {
        Some(why) => Err(why),
        None => Ok(partitions.into_iter().map(|it| it.offset).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_lies_within_what_is_kept() {
        let bounds = Bounds {
            first: 10,
            end: 100,
        };
        for (from, since, expected) in [
            (From::Beginning, None, 10),
            (From::End, None, 100),
            (From::Offset(50), None, 50),
            (From::Offset(3), None, 10),
            (From::Offset(200), None, 200),
            (From::Last(5), None, 95),
            (From::Last(500), None, 10),
            (From::Time(7), Some(42), 42),
            (From::Time(7), None, 100),
        ] {
            assert_eq!(start(bounds, from, since), expected, "{from:?}");
        }
    }
}
