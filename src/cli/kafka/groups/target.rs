//! Where a group's offsets are put: what was written, and the offset that it means in a partition.
//!
//! Invariant: an offset that comes out lies within what the partition has.

use jiff::Timestamp;

use crate::value::parse_duration;

/// Where to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Earliest,
    Latest,
    Offset(i64),
    /// So many offsets before the end.
    BeforeEnd(i64),
    /// The first record that is not older: milliseconds since 1970.
    Since(i64),
    /// The first record that is not older than so many milliseconds.
    Ago(i64),
}

/// What a partition has.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub beginning: i64,
    pub end: i64,
}

/// The offset that is meant, and what is to be said about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    pub offset: i64,
    pub note: &'static str,
}

pub fn parse(text: &str) -> Result<Target, String> {
    let wrong = || {
        "earliest, latest, an offset, a time like 2026-11-21T07:00:00Z, -N or -1h is expected"
            .to_owned()
    };
    match text {
        "earliest" => return Ok(Target::Earliest),
        "latest" => return Ok(Target::Latest),
        _ => {}
    }
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(back) = text.strip_prefix('-') {
        if is_number(back) {
            return back.parse().map(Target::BeforeEnd).map_err(|_| wrong());
        }
        let ago = parse_duration(back).map_err(|_| wrong())?;
        return Ok(Target::Ago(
            i64::try_from(ago.as_millis()).map_err(|_| wrong())?,
        ));
    }
    if is_number(text) {
        return text.parse().map(Target::Offset).map_err(|_| wrong());
    }
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(Target::Since(time.as_millisecond()))
}

impl Target {
    /// The time that is meant, in milliseconds since 1970, if it is one; `now` likewise.
    pub fn time(self, now: i64) -> Option<i64> {
        match self {
            Self::Since(time) => Some(time),
            Self::Ago(ago) => Some(now.saturating_sub(ago).max(0)),
            _ => None,
        }
    }

    /// The offset in a partition; `since` is that of the first record that is not older than the time that is meant.
    pub fn aim(self, bounds: Bounds, since: Option<i64>) -> Aim {
        let Bounds { beginning, end } = bounds;
        let plain = |offset| Aim { offset, note: "" };
        match self {
            Self::Earliest => plain(beginning),
            Self::Latest => plain(end),
            Self::BeforeEnd(back) => plain(end.saturating_sub(back).clamp(beginning, end)),
            Self::Offset(offset) if offset < beginning => Aim {
                offset: beginning,
                note: "that offset is gone: the beginning",
            },
            Self::Offset(offset) if offset > end => Aim {
                offset: end,
                note: "that offset is not there yet: the end",
            },
            Self::Offset(offset) => plain(offset),
            Self::Since(_) | Self::Ago(_) => match since {
                Some(offset) => plain(offset.clamp(beginning, end)),
                None => Aim {
                    offset: end,
                    note: "no record is that young: the end",
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_way_to_say_where_is_understood() {
        for (text, target) in [
            ("earliest", Target::Earliest),
            ("latest", Target::Latest),
            ("0", Target::Offset(0)),
            ("42", Target::Offset(42)),
            ("-5", Target::BeforeEnd(5)),
            ("-1h", Target::Ago(3_600_000)),
            ("-1h30m", Target::Ago(5_400_000)),
            ("1970-01-01T00:00:01Z", Target::Since(1000)),
            ("1970-01-01T02:00:01+02:00", Target::Since(1000)),
        ] {
            assert_eq!(parse(text), Ok(target), "{text}");
        }
        for wrong in [
            "",
            "-",
            "beginning",
            "1h",
            "--5",
            "+5",
            "2026-11-21",
            "2026-11-21T07:00:00",
            "99999999999999999999",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_offset_out_of_bounds_becomes_the_nearest_one_and_that_is_said() {
        let bounds = Bounds {
            beginning: 10,
            end: 20,
        };
        let aim = |target: Target| target.aim(bounds, None);
        assert_eq!(aim(Target::Offset(15)).offset, 15);
        assert_eq!(aim(Target::Offset(3)).offset, 10);
        assert!(!aim(Target::Offset(3)).note.is_empty());
        assert_eq!(aim(Target::Offset(21)).offset, 20);
        assert_eq!(aim(Target::BeforeEnd(3)).offset, 17);
        assert_eq!(aim(Target::BeforeEnd(100)).offset, 10);
        assert_eq!(aim(Target::Since(5)).offset, 20);
        assert_eq!(Target::Since(5).aim(bounds, Some(12)).offset, 12);
        assert_eq!(Target::Ago(1_000).time(1_500), Some(500));
    }

    proptest! {
        #[test]
        fn what_comes_out_is_there(
            beginning in 0_i64..100,
            length in 0_i64..100,
            number in any::<i64>(),
            since in proptest::option::of(0_i64..300),
        ) {
            let bounds = Bounds { beginning, end: beginning + length };
            for target in [
                Target::Earliest,
                Target::Latest,
                Target::Offset(number),
                Target::BeforeEnd(number.saturating_abs()),
                Target::Since(number),
            ] {
                let aim = target.aim(bounds, since);
                prop_assert!((beginning..=beginning + length).contains(&aim.offset));
            }
        }
    }
}
