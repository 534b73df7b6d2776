//! `100ms`, `5s`, `1h30m`: durations as an operator writes them.
//!
//! Invariant: a number without a unit is refused (but for `0`), so that nobody waits minutes for what was meant as seconds.

use std::time::Duration;

use super::ValueError;

/// The units, and how many microseconds each has. Longest names first: `ms` begins like `m`.
const UNITS: [(&str, u64); 7] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
    ("w", 604_800_000_000),
];

/// Longest duration that can be written: 100 years.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Reads `100ms`, `5s`, `1h30m`, `0`. Units: `us ms s m h d w`; the parts add up.
///
/// # Errors
/// When there is no number, no unit, an unknown unit, or more than 100 years.
pub fn parse_duration(text: &str) -> Result<Duration, ValueError> {
    let wrong = |hint: &str| ValueError::new(format!("`{text}` is not a duration"), hint);
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong("write a number and a unit, like `5s` or `1h30m`"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(wrong(
                "write whole numbers with a unit each, like `5s`, `100ms` or `1h30m`",
            ));
        }
        let letters = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        if unit.is_empty() {
            return Err(if next.is_empty() {
                wrong(&format!(
                    "which unit? `{number}s`, `{number}ms`, `{number}m`, `{number}h` or `{number}d`"
                ))
            } else {
                wrong("write whole numbers with a unit each, like `1500ms` or `1h30m`")
            });
        }
        let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong("the units are us, ms, s, m (minutes), h, d and w"));
        };
        let part = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*micros))
            .map(Duration::from_micros);
        total = match part.and_then(|part| total.checked_add(part)) {
            Some(sum) if sum <= LONGEST => sum,
            _ => return Err(wrong("the longest duration is 100 years")),
        };
        rest = next;
    }
    Ok(total)
}

/// The shortest way to write a duration, to the microsecond: `1h30m`, `100ms`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, micros) in UNITS.iter().rev().skip(1) {
        if rest >= *micros {
            text.push_str(&format!("{}{unit}", rest / micros));
            rest %= micros;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_add_up() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_duration("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        assert_eq!(parse_duration("0s"), Ok(Duration::ZERO));
    }

    #[test]
    fn a_bare_number_is_refused_with_the_units_it_could_have() {
        let error = parse_duration("5").unwrap_err();
        assert!(error.hint.is_some_and(|hint| hint.contains("`5s`")));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "s",
            "5 s",
            "-5s",
            "1.5s",
            "5x",
            "5M",
            "5s3",
            "99999999999999999999s",
            "101w5300w",
            "1e3s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(micros in 0u64..3_000_000_000_000_000) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse_duration(&text);
        }
    }
}
