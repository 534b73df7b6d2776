//! A record that an input read as one JSON object, in this order; what is absent is left out.
//!
//! `{"message":"text","event_time":"2026-11-21T07:00:00.123456Z","read_time":"...","host":"web-1","input":"nginx",`
//! `"file":{"path":"/var/log/nginx/access.log","offset":1234},"fields":{"env":"prod"}}`. What an input knows besides (`syslog`) it appends
//! before the end.

use super::text::{push_bytes, push_number, push_string};

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

    /// Appends the object's beginning, up to `fields`. Times are in microseconds since 1970. `rest` is what [`Envelope::rest`] made.
    pub fn begin(message: &[u8], event_time: Option<i64>, rest: &[u8], out: &mut Vec<u8>) {
        out.push(b'{');
        push_bytes("message", Some(message), true, out);
        if let Some(time) = event_time {
            out.extend_from_slice(b",\"event_time\":");
            push_time(time, out);
        }
        out.extend_from_slice(rest);
    }

    /// Appends what follows the message, up to `fields`: the same for all that were read at the same time.
    pub fn rest(&self, read_time: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"read_time\":");
        push_time(read_time, out);
        out.extend_from_slice(&self.place);
        out.extend_from_slice(&self.fields);
    }

    /// Makes what stands around the messages that were read at the same time, from the same file if from one. Microseconds since 1970.
    pub fn surround(&self, read_time: i64, path: Option<&[u8]>, around: &mut Around) {
        around.before.clear();
        around.before.extend_from_slice(b",\"read_time\":");
        push_time(read_time, &mut around.before);
        around.before.extend_from_slice(&self.place);
        around.after.clear();
        if let Some(path) = path {
            around.before.extend_from_slice(b",\"file\":{");
            push_bytes("path", Some(path), true, &mut around.before);
            around.before.extend_from_slice(b",\"offset\":");
            around.after.push(b'}');
        }
        around.has_offset = path.is_some();
        around.after.extend_from_slice(&self.fields);
        Self::end(&mut around.after);
    }

    /// Appends the object's end.
    pub fn end(out: &mut Vec<u8>) {
        out.push(b'}');
    }
}

/// What stands around the messages of a block: see [`Envelope::surround`].
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// From the message to the offset in its file.
    before: Vec<u8>,
    has_offset: bool,
    after: Vec<u8>,
}

impl Around {
    /// Appends the whole object of a message, which begins at `offset` of its file.
    pub fn push(&self, message: &[u8], offset: u64, out: &mut Vec<u8>) {
        out.push(b'{');
        push_bytes("message", Some(message), true, out);
        out.extend_from_slice(&self.before);
        if self.has_offset {
            push_number(i64::try_from(offset).unwrap_or(i64::MAX), out);
        }
        out.extend_from_slice(&self.after);
    }
}

/// Appends `"YYYY-MM-DDThh:mm:ss.ffffffZ"`, quotes included, for years of four digits.
pub fn push_time(micros: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000));
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let mut text = *b"\"0000-00-00T00:00:00.000000Z\"";
    let parts = [
        (1, year / 100),
        (3, year % 100),
        (6, month),
        (9, day),
        (12, of_day / 3600),
        (15, of_day / 60 % 60),
        (18, of_day % 60),
        (21, fraction / 10_000),
        (23, fraction / 100 % 100),
        (25, fraction % 100),
    ];
    for (at, number) in parts {
        // Two digits each: a remainder by ten is one.
        text[at] = b'0' + (number.div_euclid(10).rem_euclid(10)) as u8;
        text[at + 1] = b'0' + (number.rem_euclid(10)) as u8;
    }
    out.extend_from_slice(&text);
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
        let (mut rest, mut out) = (Vec::new(), Vec::new());
        envelope.rest(1_795_244_400_200_000, &mut rest);
        Envelope::begin(b"text", Some(1_795_244_400_123_456), &rest, &mut out);
        Envelope::end(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"message":"text","event_time":"2026-11-21T07:00:00.123456Z","read_time":"2026-11-21T07:00:00.200000Z","host":"web-1","input":"nginx","fields":{"env":"prod"}}"#
        );
    }

    #[test]
    fn a_line_of_a_file_says_which_file_and_where() {
        let fields = [("env".to_owned(), "prod".to_owned())];
        let (envelope, mut around) = (Envelope::new("web-1", "nginx", &fields), Around::default());
        let mut line = |path: Option<&str>| {
            let (path, mut out) = (path.map(str::as_bytes), Vec::new());
            envelope.surround(1_795_244_400_200_000, path, &mut around);
            around.push(b"text", 1234, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            line(Some("/var/log/nginx/access.log")),
            r#"{"message":"text","read_time":"2026-11-21T07:00:00.200000Z","host":"web-1","input":"nginx","file":{"path":"/var/log/nginx/access.log","offset":1234},"fields":{"env":"prod"}}"#
        );
        assert_eq!(
            line(None),
            r#"{"message":"text","read_time":"2026-11-21T07:00:00.200000Z","host":"web-1","input":"nginx","fields":{"env":"prod"}}"#
        );
    }

    proptest! {
        #[test]
        fn any_line_and_any_path_are_read_back(
            message in proptest::collection::vec(any::<u8>(), 0..60),
            path in proptest::collection::vec(1..=255u8, 1..30),
            offset in 0..u64::MAX / 2,
            value in "\\PC{0,9}",
            has_fields in any::<bool>(),
        ) {
            let fields = has_fields.then(|| ("a.b".to_owned(), value.clone()));
            let (envelope, mut around, mut out) = (Envelope::new(&value, "in", fields.as_slice()), Around::default(), Vec::new());
            envelope.surround(0, Some(&path), &mut around);
            around.push(&message, offset, &mut out);
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let exact = |of: &serde_json::Value, name: &str| match of.get(format!("{name}_base64")) {
                Some(exact) => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, exact.as_str().unwrap()).unwrap(),
                None => of[name].as_str().unwrap().as_bytes().to_vec(),
            };
            prop_assert_eq!(exact(&object, "message"), message);
            prop_assert_eq!(exact(&object["file"], "path"), path);
            prop_assert_eq!(object["file"]["offset"].as_u64(), Some(offset));
            prop_assert_eq!(object["host"].as_str(), Some(&*value));
            prop_assert_eq!(object.get("fields").is_some(), has_fields);
        }

        #[test]
        fn times_are_written_as_jiff_writes_them(micros in -62_167_219_200_000_000i64..253_402_207_200_000_000) {
            let mut out = Vec::new();
            push_time(micros, &mut out);
            let jiff = jiff::Timestamp::from_microsecond(micros).unwrap();
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("\"{jiff:.6}\""));
        }
    }
}
