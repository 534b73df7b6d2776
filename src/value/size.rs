//! `64MiB`, `1MB`, `1000000B`: sizes as an operator writes them.
//!
//! Invariant: `1M` is refused, because half of the world reads 10^6 and the other half 2^20.

use super::ValueError;

const UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads `64MiB` (2^20), `1MB` (10^6), `1000000B`, `0`; bytes. `KB` is taken for `kB`; otherwise case counts.
///
/// # Errors
/// When there is no whole number, no unit, a unit with two meanings, or more than 2^63 - 1 bytes.
pub fn parse_size(text: &str) -> Result<u64, ValueError> {
    let wrong = |hint: String| ValueError::new(format!("`{text}` is not a size"), hint);
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(0);
    }
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    if number.is_empty() {
        return Err(wrong(
            "write a whole number and a unit, like `64MiB` or `1MB`".to_owned(),
        ));
    }
    if unit.is_empty() {
        return Err(wrong(format!(
            "which unit? `{number}B`, `{number}KiB` or `{number}MiB`"
        )));
    }
    let known = UNITS
        .iter()
        .find(|(name, _)| *name == unit || (unit == "KB" && *name == "kB"));
    let Some((_, factor)) = known else {
        let letter = unit.chars().next().map(|c| c.to_ascii_uppercase());
        return Err(wrong(match letter {
            Some(letter @ ('K' | 'M' | 'G' | 'T')) => {
                let decimal = if letter == 'K' { 'k' } else { letter };
                format!("`{number}{letter}iB` counts in 1024s, `{number}{decimal}B` in 1000s")
            }
            _ => {
                "the units are B, kB, MB, GB, TB (1000s) and KiB, MiB, GiB, TiB (1024s)".to_owned()
            }
        }));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| wrong("that is more than any disk holds".to_owned()))
}

/// The shortest exact way to write a size: `64MiB`, `1MB`, `1234B`.
pub fn show_size(bytes: u64) -> String {
    UNITS
        .iter()
        .filter(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor))
        .map(|(unit, factor)| format!("{}{unit}", bytes / factor))
        .min_by_key(String::len)
        .unwrap_or_else(|| format!("{bytes}B"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn binary_and_decimal_units_differ() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
        assert_eq!(parse_size("1000000B"), Ok(1_000_000));
        assert_eq!(parse_size("1KB"), Ok(1_000));
        assert_eq!(parse_size("0"), Ok(0));
    }

    #[test]
    fn an_ambiguous_unit_is_refused_with_both_meanings() {
        let hint = parse_size("1M").unwrap_err().hint.unwrap();
        assert!(hint.contains("`1MiB`") && hint.contains("`1MB`"), "{hint}");
        let hint = parse_size("1mb").unwrap_err().hint.unwrap();
        assert!(hint.contains("`1MB`"), "{hint}");
    }

    #[test]
    fn a_bare_number_is_refused() {
        assert!(parse_size("1000000").is_err());
    }

    #[test]
    fn sizes_are_shown_short_and_exact() {
        assert_eq!(show_size(256 << 10), "256KiB");
        assert_eq!(show_size(1_000_000), "1MB");
        assert_eq!(show_size(0), "0B");
        assert_eq!(show_size(1_234), "1234B");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(bytes in 0u64..i64::MAX as u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse_size(&text);
        }
    }
}
