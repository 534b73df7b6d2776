//! `5%`, `0.5%`: parts of a whole as an operator writes them.
//!
//! Invariant: a number without `%` is refused, because half of the world reads 0.05 and the other half 5.

use super::ValueError;

/// How many parts one per cent has.
const PARTS: u16 = 100;

/// A part of a whole, from 0 % to 100 %, to the hundredth of a per cent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u16);

impl Percent {
    /// That part of `whole`, rounded down.
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(100 * PARTS);
        u64::try_from(part).unwrap_or(u64::MAX)
    }
}

/// Reads `5%`, `12.5%`, `0%`.
///
/// # Errors
/// When there is no number, no `%`, more than two decimals, or more than 100 %.
pub fn parse_percent(text: &str) -> Result<Percent, ValueError> {
    let wrong = |hint: String| ValueError::new(format!("`{text}` is not a percentage"), hint);
    let trimmed = text.trim();
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let Some(number) = trimmed.strip_suffix('%') else {
        return Err(wrong(match is_number(trimmed) {
            true => "write it with its sign, like `5%`".to_owned(),
            false => "write a number and `%`, like `5%` or `0.5%`".to_owned(),
        }));
    };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !are_digits(whole) || !are_digits(decimals) {
        return Err(wrong(
            "write a number and `%`, like `5%` or `0.5%`".to_owned(),
        ));
    }
    if decimals.len() > 2 {
        return Err(wrong("two decimals are the most".to_owned()));
    }
    let whole = whole.parse::<u16>().ok().filter(|&whole| whole <= 100);
    let hundredths = format!("{decimals:0<2}").parse::<u16>().ok();
    whole
        .zip(hundredths)
        .map(|(whole, hundredths)| whole * PARTS + hundredths)
        .filter(|&parts| parts <= 100 * PARTS)
        .map(Percent)
        .ok_or_else(|| wrong("from 0% to 100%".to_owned()))
}

/// The shortest way to write a percentage: `5%`, `12.5%`.
pub fn show_percent(percent: Percent) -> String {
    let (whole, hundredths) = (percent.0 / PARTS, percent.0 % PARTS);
    let text = format!("{whole}.{hundredths:02}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}%")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percentage_is_a_part_of_a_whole() {
        let of = |text: &str, whole| parse_percent(text).unwrap().of(whole);
        assert_eq!(of("5%", 1000), 50);
        assert_eq!(of("0.5%", 1000), 5);
        assert_eq!(of("12.25%", 10_000), 1225);
        assert_eq!((of("0%", 1000), of("100%", u64::MAX)), (0, u64::MAX));
    }

    #[test]
    fn a_bare_number_is_refused_with_the_sign_that_it_lacks() {
        for text in ["5", "0.05"] {
            let hint = parse_percent(text).unwrap_err().hint.unwrap();
            assert!(hint.contains("`5%`"), "{hint}");
        }
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in [
            "", "%", "x%", "-5%", "101%", "100.01%", "5.%", ".5%", "5.125%", "5 %", "1e1%", "5%%",
            "999999%",
        ] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(parts in 0u16..=10_000) {
            prop_assert_eq!(parse_percent(&show_percent(Percent(parts))), Ok(Percent(parts)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = parse_percent(&text);
        }
    }
}
