//! A record that an input read as one JSON object, in this order; what is absent is left out.
//!
//! `{"message":"text","event_time":"2026-11-21T07:00:00.123456Z","read_time":"...","host":"web-1","input":"nginx",`
//! `"fields":{"env":"prod"}}`. What an input knows besides (`file`, `syslog`) it appends before the end.

use super::text::{push_bytes, push_string};

/// What is the same in all records of an input.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// `,"host":"...","input":"..."`
    place: Vec<u8>,
    /// `,"fields":{...}`, or nothing.
    fields: Vec<u8>,
}

impl Envelope {
    pub fn new(host: &str, input: &str, fields: &[(String, String)]) -> Self {
        let mut envelope = Self::default();
        for (name, value) in [("host", host), ("input", input)] {
            push_bytes(name, Some(value.as_bytes()), false, &mut envelope.place);
        }
        if !fields.is_empty() {
            let out = &mut envelope.fields;
            out.extend_from_slice(b",\"fields\":");
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push(if at == 0 { b'{' } else { b',' });
                push_string(name, out);
                out.push(b':');
                push_string(value, out);
            }
            out.push(b'}');
        }
        envelope
    }

    /// Appends the object's beginning, up to `fields`. Times are in microseconds since 1970.
    pub fn begin(
        &self,
        message: &[u8],
        event_time: Option<i64>,
        read_time: i64,
        out: &mut Vec<u8>,
    ) {
        out.push(b'{');
        push_bytes("message", Some(message), true, out);
        if let Some(time) = event_time {
            out.extend_from_slice(b",\"event_time\":");
            push_time(time, out);
        }
        out.extend_from_slice(b",\"read_time\":");
        push_time(read_time, out);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(&self.fields);
    }

    /// Appends the object's end.
    pub fn end(out: &mut Vec<u8>) {
        out.push(b'}');
    }
}

/// Appends `"YYYY-MM-DDThh:mm:ss.ffffffZ"`, quotes included, for years of four digits.
pub fn push_time(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let parts = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (of_day / 3600, 2, b':'),
        (of_day / 60 % 60, 2, b':'),
        (of_day % 60, 2, b'.'),
        (fraction, 6, b'Z'),
    ];
    out.push(b'"');
    for (number, digits, after) in parts {
        let mut rest = number;
        let start = out.len();
        for _ in 0..digits {
            // A remainder by ten is a digit.
            out.push(b'0' + (rest.rem_euclid(10)) as u8);
            rest = rest.div_euclid(10);
        }
        out[start..].reverse();
        out.push(after);
    }
    out.push(b'"');
}

/// The date that is so many days after 1970-01-01. The year is taken to begin in March, so that the leap day is its last.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_parts_stand_in_the_documented_order() {
        let fields = [("env".to_owned(), "prod".to_owned())];
        let envelope = Envelope::new("web-1", "nginx", &fields);
        let mut out = Vec::new();
        envelope.begin(
            b"text",
            Some(1_795_244_400_123_456),
            1_795_244_400_200_000,
            &mut out,
        );
        Envelope::end(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"message":"text","event_time":"2026-11-21T07:00:00.123456Z","read_time":"2026-11-21T07:00:00.200000Z","host":"web-1","input":"nginx","fields":{"env":"prod"}}"#
        );
    }

    proptest! {
        #[test]
        fn times_are_written_as_jiff_writes_them(micros in -62_167_219_200_000_000i64..253_402_207_200_000_000) {
            let mut out = Vec::new();
            push_time(micros, &mut out);
            let jiff = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("\"{jiff:.6}\""));
        }
    }
}
