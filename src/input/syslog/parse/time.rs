//! Time stamps to moments.
//!
//! Days are counted by arithmetic on the proleptic Gregorian calendar, so a date is either counted or refused. Local times go through the zone's rules:
//! one that falls into the hour that is skipped in spring is taken as if the clock had not been changed yet, one that comes twice in autumn is the
//! first.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::ParseError;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

/// What time stamps without a year or a zone are read by.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
    now: Moment,
    /// The year that it is in `zone`, or was a minute ago: the next and the last one are looked at too.
    year: i16,
    year_of: Moment,
}

/// 0000-01-01 and 10000-01-01.
const FIRST: Moment = Moment(-62_167_219_200_000_000);
const LAST: Moment = Moment(253_402_300_800_000_000);

const SECOND: i64 = 1_000_000;
const MINUTE: u64 = 60_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Half a year: what lies further away is nearer in another year.
const HALF_A_YEAR: i64 = 183 * DAY;

impl Clock {
    pub fn new(zone: TimeZone, now: Moment) -> Self {
        let mut clock = Self {
            zone,
            now,
            year: 1970,
            year_of: now,
        };
        clock.look();
        clock
    }

    /// It is `now`.
    pub fn set(&mut self, now: Moment) {
        self.now = now;
        if now.0.saturating_sub(self.year_of.0).unsigned_abs() >= MINUTE {
            self.look();
        }
    }

    fn look(&mut self) {
        self.year_of = self.now;
        let timestamp = Timestamp::from_microsecond(self.now.0).unwrap_or_default();
        self.year = self.zone.to_datetime(timestamp).year();
    }

    pub fn now(&self) -> Moment {
        self.now
    }
}

/// An offset that cannot be, `+25:00`: it names no time.
const NOWHERE: i32 = i32::MAX;

/// A date and a time of day, as a message tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    /// Absent: the one nearest to now.
    pub year: Option<i16>,
    pub month: u8,
    pub day: u8,
    pub hour: u8,
    pub minute: u8,
    pub second: u8,
    pub micros: u32,
    /// Seconds east of Greenwich. Absent: the clock's zone.
    pub offset: Option<i32>,
}

impl Civil {
    pub fn moment(&self, clock: &Clock) -> Result<Moment, ParseError> {
        let Some(year) = self.year else {
            return self.nearest(clock);
        };
        self.in_year(year, clock).ok_or(ParseError::Time)
    }

    /// In the year that brings it nearest to now.
    fn nearest(&self, clock: &Clock) -> Result<Moment, ParseError> {
        let distance = |moment: &Moment| (moment.0 - clock.now.0).abs();
        if let Some(this) = self.in_year(clock.year, clock)
            && distance(&this) < HALF_A_YEAR - 2 * DAY
        {
            return Ok(this);
        }
        (-1..=1)
            .filter_map(|by| self.in_year(clock.year.checked_add(by)?, clock))
            .min_by_key(distance)
            .ok_or(ParseError::Time)
    }

    fn in_year(&self, year: i16, clock: &Clock) -> Option<Moment> {
        if !(0..=9999).contains(&year)
            || !(1..=12).contains(&self.month)
            || !(1..=days_in(year, self.month)).contains(&self.day)
            || self.hour > 23
            || self.minute > 59
            || self.second > 59
            || self.offset == Some(NOWHERE)
        {
            return None;
        }
        let offset = match self.offset {
            Some(offset) => offset,
            None => self.local_offset(year, clock)?,
        };
        let of_day = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60;
        let seconds =
            days_before(year, self.month, self.day) * 86_400 + of_day + i64::from(self.second)
                - i64::from(offset);
        // With its offset it may lie in a year that is written with more than four digits.
        let moment = Moment(seconds * SECOND + i64::from(self.micros));
        (FIRST..LAST).contains(&moment).then_some(moment)
    }

    fn local_offset(&self, year: i16, clock: &Clock) -> Option<i32> {
        let small = |byte: u8| i8::try_from(byte).ok();
        let date_time = DateTime::new(
            year,
            small(self.month)?,
            small(self.day)?,
            small(self.hour)?,
            small(self.minute)?,
            small(self.second)?,
            0,
        )
        .ok()?;
        let ambiguous = clock.zone.to_ambiguous_timestamp(date_time).offset();
        Some(
            match ambiguous {
                jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset,
                jiff::tz::AmbiguousOffset::Gap { before, .. }
                | jiff::tz::AmbiguousOffset::Fold { before, .. } => before,
            }
            .seconds(),
        )
    }
}

fn days_in(year: i16, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to this one. The year is taken to begin in March, so that the leap day is its last.
fn days_before(year: i16, month: u8, day: u8) -> i64 {
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + days - 719_468
}

/// TIMESTAMP of RFC 5424, `-` excluded: RFC 3339 with capitals, at most six digits of a second, no leap seconds.
pub(super) fn rfc5424(stamp: &[u8]) -> Result<Moment, ParseError> {
    let (mut civil, rest) = date_and_time(stamp, b'T').ok_or(ParseError::TimeForm)?;
    let rest = match rest.split_first() {
        Some((b'.', digits)) => {
            let (micros, rest) = fraction(digits).ok_or(ParseError::TimeForm)?;
            if digits.len() - rest.len() > 6 {
                return Err(ParseError::TimeForm);
            }
            civil.micros = micros;
            rest
        }
        _ => rest,
    };
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), hour @ .., b':', m1, m2] if hour.len() == 2 => {
            let hours = two(hour).ok_or(ParseError::TimeForm)?;
            let minutes = two(&[*m1, *m2]).ok_or(ParseError::TimeForm)?;
            offset(*sign, hours, minutes)
        }
        _ => return Err(ParseError::TimeForm),
    };
    civil.offset = Some(offset);
    let year = civil.year.unwrap_or_default();
    // The zone is told, so no clock is asked.
    civil.with_offset(year).ok_or(ParseError::Time)
}

impl Civil {
    /// With its own offset.
    fn with_offset(&self, year: i16) -> Option<Moment> {
        static GREENWICH: std::sync::LazyLock<Clock> =
            std::sync::LazyLock::new(|| Clock::new(TimeZone::UTC, Moment(0)));
        self.in_year(year, &GREENWICH)
    }
}

/// `YYYY-MM-DD`, `between`, `hh:mm:ss`, and what follows.
pub(super) fn date_and_time(bytes: &[u8], between: u8) -> Option<(Civil, &[u8])> {
    let head = bytes.get(..19)?;
    let marks = [head[4], head[7], head[10], head[13], head[16]];
    if marks != [b'-', b'-', between, b':', b':'] {
        return None;
    }
    let century = two(&head[..2])?;
    let civil = Civil {
        year: Some(i16::from(century) * 100 + i16::from(two(&head[2..4])?)),
        month: two(&head[5..7])?,
        day: two(&head[8..10])?,
        hour: two(&head[11..13])?,
        minute: two(&head[14..16])?,
        second: two(&head[17..19])?,
        micros: 0,
        offset: None,
    };
    Some((civil, &bytes[19..]))
}

/// Digits after the point, as microseconds, and what follows; at least one digit, those after the sixth do not count.
pub(super) fn fraction(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if digits == 0 {
        return None;
    }
    let digit = |at: usize| match at < digits {
        true => u32::from(bytes[at] - b'0'),
        false => 0,
    };
    let micros = (0..6).fold(0, |sum, at| sum * 10 + digit(at));
    Some((micros, &bytes[digits..]))
}

/// Seconds east of Greenwich; [`NOWHERE`] when there is no such offset.
pub(super) fn offset(sign: u8, hours: u8, minutes: u8) -> i32 {
    if hours > 23 || minutes > 59 {
        return NOWHERE;
    }
    let seconds = i32::from(hours) * 3600 + i32::from(minutes) * 60;
    if sign == b'-' { -seconds } else { seconds }
}

/// Two digits.
pub(super) fn two(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [a @ b'0'..=b'9', b @ b'0'..=b'9'] => Some((a - b'0') * 10 + (b - b'0')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn civil(month: u8, day: u8) -> Civil {
        Civil {
            year: None,
            month,
            day,
            hour: 12,
            minute: 0,
            second: 0,
            micros: 0,
            offset: None,
        }
    }

    fn at(text: &str) -> Moment {
        rfc5424(text.as_bytes()).unwrap()
    }

    fn clock(zone: &str, now: &str) -> Clock {
        Clock::new(TimeZone::get(zone).unwrap(), at(now))
    }

    #[test]
    fn a_stamp_without_a_year_is_in_the_year_nearest_to_now() {
        let new_year = clock("UTC", "2026-01-01T00:10:00Z");
        assert_eq!(
            civil(12, 31).moment(&new_year),
            Ok(at("2025-12-31T12:00:00Z"))
        );
        let old_year = clock("UTC", "2026-12-31T23:50:00Z");
        assert_eq!(
            civil(1, 1).moment(&old_year),
            Ok(at("2027-01-01T12:00:00Z"))
        );
        let summer = clock("UTC", "2026-07-01T00:00:00Z");
        assert_eq!(civil(6, 30).moment(&summer), Ok(at("2026-06-30T12:00:00Z")));
    }

    #[test]
    fn a_leap_day_is_in_a_leap_year_or_nowhere() {
        let before = clock("UTC", "2027-06-01T00:00:00Z");
        assert_eq!(civil(2, 29).moment(&before), Ok(at("2028-02-29T12:00:00Z")));
        let far = clock("UTC", "2026-03-01T00:00:00Z");
        assert_eq!(civil(2, 29).moment(&far), Err(ParseError::Time));
    }

    #[test]
    fn a_local_time_that_was_skipped_is_read_as_if_the_clock_had_not_changed() {
        let berlin = clock("Europe/Berlin", "2026-03-29T12:00:00Z");
        let skipped = Civil {
            hour: 2,
            minute: 30,
            ..civil(3, 29)
        };
        assert_eq!(skipped.moment(&berlin), Ok(at("2026-03-29T01:30:00Z")));
        let twice = Civil {
            hour: 2,
            minute: 30,
            ..civil(10, 25)
        };
        let autumn = clock("Europe/Berlin", "2026-10-25T12:00:00Z");
        assert_eq!(twice.moment(&autumn), Ok(at("2026-10-25T00:30:00Z")));
    }

    #[test]
    fn no_clock_and_no_stamp_reach_beyond_what_can_be_counted() {
        for now in [i64::MIN, i64::MAX, 0] {
            let clock = Clock::new(TimeZone::UTC, Moment(now.clamp(-1 << 60, 1 << 60)));
            let _ = civil(2, 29).moment(&clock);
        }
    }

    proptest! {
        #[test]
        fn days_are_counted_as_jiff_counts_them(second in -60_000_000_000i64..250_000_000_000, micro in 0i64..1_000_000) {
            let micros = second * SECOND + micro;
            let stamp = Timestamp::from_microsecond(micros).unwrap();
            let text = format!("{stamp:.6}");
            prop_assert_eq!(rfc5424(text.as_bytes()), Ok(Moment(micros)));
        }

        #[test]
        fn a_stamp_is_a_date_that_jiff_knows_too_or_an_error(month in 0u8..14, day in 0u8..33, year in 0i16..=9999) {
            let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
            let known = jiff::civil::Date::new(year, month as i8, day as i8).is_ok();
            prop_assert_eq!(rfc5424(text.as_bytes()).is_ok(), known);
        }
    }
}
