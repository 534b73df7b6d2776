//! `--from` and `--until` as they are written.
//!
//! | text | is |
//! |---|---|
//! | `beginning`, `end` | the ends of each partition |
//! | `42` | an offset |
//! | `-5` | the last 5 records of each partition |
//! | `-1h`, `-30s` | so long ago |
//! | `@1795246085401` | milliseconds since 1970 |
//! | `2026-11-21T07:00:00Z`, `2026-11-21 07:00`, `2026-11-21` | a time; without a zone it is the local one |

use crate::kafka::console::places::{From, Until};

const EXPECTED: &str = "beginning, end, an offset, -N (the last N), -1h (so long ago), @MILLISECONDS or a time like 2026-11-21T07:00:00Z is expected";

/// # Errors
/// What is expected.
pub(super) fn from(text: &str) -> Result<From, String> {
    match text {
        "beginning" | "earliest" => return Ok(From::Beginning),
        "end" | "latest" => return Ok(From::End),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>() {
        return Ok(match number {
            0.. => From::Offset(number),
            _ => From::Last(number.saturating_neg()),
        });
    }
    time(text).map(From::Time)
}

/// # Errors
/// What is expected.
pub(super) fn until(text: &str) -> Result<Until, String> {
    match text {
        "end" | "latest" => return Ok(Until::End),
        _ => {}
    }
    match text.parse::<i64>() {
        Ok(number @ 0..) => Ok(Until::Offset(number)),
        Ok(_) => Err("end, an offset or a time is expected".to_owned()),
        Err(_) => time(text).map(Until::Time),
    }
}

/// Milliseconds since 1970.
fn time(text: &str) -> Result<i64, String> {
    if let Some(ms) = text.strip_prefix('@') {
        return ms.parse().map_err(|_| EXPECTED.to_owned());
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = crate::cli::duration(ago)?;
        let now = jiff::Timestamp::now().as_millisecond();
        return Ok(now.saturating_sub(i64::try_from(ago.as_millis()).unwrap_or(i64::MAX)));
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .and_then(|at| at.to_zoned(jiff::tz::TimeZone::system()));
    local
        .map(|at| at.timestamp().as_millisecond())
        .map_err(|_| EXPECTED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_say_a_place_is_understood() {
        for (text, expected) in [
            ("beginning", From::Beginning),
            ("end", From::End),
            ("0", From::Offset(0)),
            ("-5", From::Last(5)),
            ("@1795246085401", From::Time(1_795_246_085_401)),
            ("1970-01-01T00:00:01.5Z", From::Time(1500)),
            ("1970-01-01T01:00:00+01:00", From::Time(0)),
        ] {
            assert_eq!(from(text), Ok(expected), "{text}");
        }
        assert_eq!(until("7"), Ok(Until::Offset(7)));
        assert_eq!(until("end"), Ok(Until::End));
        let Ok(From::Time(ago)) = from("-1h") else {
            panic!("a time")
        };
        let now = jiff::Timestamp::now().as_millisecond();
        assert!((now - ago - 3_600_000).abs() < 60_000);
        assert!(matches!(from("2026-11-21"), Ok(From::Time(_))));
    }

    #[test]
    fn anything_else_says_what_is_expected() {
        for wrong in ["", "start", "@", "12x", "-", "2026-13-01"] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
        assert!(until("-3").is_err());
        assert!(until("beginning").is_err());
    }
}
