//! Fields of a line that is a JSON object, for `{json.FIELD}`: read once per line, and only those that a template asks for.
//!
//! - A dot leads into an object, or is part of a name: `log.level` is found in `{"log":{"level":1}}` and in `{"log.level":1}`.
//! - A text is itself, without its quotes; anything else is what stands in the line. `null` is absent, as is everything of a line that is
//!   no object. Of a name that comes twice the last one counts.
//!
//! Invariant: nothing is allocated per line, but where the line's own texts have escapes.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::template::{Facts, Part};

/// How many fields an input's templates can name.
pub const MOST: usize = 64;

/// The fields that are wanted, and those of the last line.
#[derive(Debug, Default)]
pub(super) struct Fields {
    wanted: Vec<String>,
    found: Found,
}

#[derive(Debug, Default)]
struct Found {
    /// For each field that is wanted, where in the text it is.
    places: Vec<Option<(usize, usize)>>,
    text: Vec<u8>,
}

impl Fields {
    /// # Errors
    /// More than [`MOST`].
    pub fn new<'a>(wanted: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut wanted: Vec<String> = wanted.map(str::to_owned).collect();
        wanted.sort_unstable();
        wanted.dedup();
        if wanted.len() > MOST {
            return Err(format!(
                "templates name more than {MOST} fields of the line"
            ));
        }
        Ok(Self {
            found: Found {
                places: vec![None; wanted.len()],
                text: Vec::new(),
            },
            wanted,
        })
    }

    /// Finds the fields in a line.
    pub fn read(&mut self, line: &[u8]) {
        if self.wanted.is_empty() {
            return;
        }
        self.found.text.clear();
        self.found.places.fill(None);
        let mut json = serde_json::Deserializer::from_slice(line);
        let all = u64::MAX >> (MOST - self.wanted.len());
        let level = Level {
            wanted: &self.wanted,
            from: &mut [0; MOST],
            open: all,
            found: &mut self.found,
        };
        let read = level.deserialize(&mut json).and_then(|()| json.end());
        if read.is_err() {
            self.found.places.fill(None);
        }
    }

    fn get(&self, field: &str) -> Option<&[u8]> {
        let at = self.wanted.iter().position(|wanted| wanted == field)?;
        let (from, to) = self.found.places[at]?;
        Some(&self.found.text[from..to])
    }
}

impl Facts for Fields {
    fn push(&self, _: Part, _: &mut Vec<u8>) -> bool {
        false
    }

    fn push_param(&self, _: &str, _: &str, _: &mut Vec<u8>) -> bool {
        false
    }

    fn push_json(&self, field: &str, out: &mut Vec<u8>) -> bool {
        let value = self.get(field);
        out.extend_from_slice(value.unwrap_or_default());
        value.is_some()
    }
}

/// An object, and which fields may be in it.
struct Level<'a> {
    wanted: &'a [String],
    /// From where on the names of open fields are looked for here.
    from: &'a mut [usize; MOST],
    /// A bit per field.
    open: u64,
    found: &'a mut Found,
}

/// The fields that a name ends, and those that it leads into.
#[derive(Clone, Copy)]
struct Matched {
    here: u64,
    below: u64,
}

fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (at < MOST).then_some(at)
    })
}

impl Level<'_> {
    fn matches(&self, name: &str) -> Matched {
        let (mut here, mut below) = (0, 0);
        for at in bits(self.open) {
            match self.wanted[at][self.from[at]..].strip_prefix(name) {
                Some("") => here |= 1 << at,
                Some(rest) if rest.starts_with('.') => below |= 1 << at,
                _ => {}
            }
        }
        Matched { here, below }
    }

    /// The level below a name of `len` bytes.
    fn below(&mut self, below: u64, len: usize) -> Level<'_> {
        for at in bits(below) {
            self.from[at] += len + 1;
        }
        Level {
            wanted: self.wanted,
            from: self.from,
            open: below,
            found: self.found,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((matched, len)) = map.next_key_seed(Name(&self))? {
            if matched.here != 0 {
                let raw: &RawValue = map.next_value()?;
                self.found.put(matched.here, raw.get());
                if matched.below != 0 {
                    let mut json = serde_json::Deserializer::from_str(raw.get());
                    let below = self.below(matched.below, len);
                    below.deserialize(&mut json).map_err(A::Error::custom)?;
                }
            } else if matched.below != 0 {
                map.next_value_seed(self.below(matched.below, len))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            for at in bits(matched.below) {
                self.from[at] -= len + 1;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

/// A name is looked up where it stands.
struct Name<'a, 'b>(&'a Level<'b>);

impl<'de> DeserializeSeed<'de> for Name<'_, '_> {
    type Value = (Matched, usize);

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Self::Value, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_> {
    type Value = (Matched, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok((self.0.matches(name), name.len()))
    }
}

impl Found {
    /// Notes a value for some fields, as it stands in the line.
    fn put(&mut self, fields: u64, raw: &str) {
        let from = self.text.len();
        let is_there = match raw.as_bytes() {
            b"null" => false,
            [b'"', inner @ .., b'"'] if !inner.contains(&b'\\') => {
                self.text.extend_from_slice(inner);
                true
            }
            [b'"', ..] => {
                let mut json = serde_json::Deserializer::from_str(raw);
                json.deserialize_str(Text(&mut self.text)).is_ok()
            }
            other => {
                self.text.extend_from_slice(other);
                true
            }
        };
        for at in bits(fields) {
            self.places[at] = is_there.then_some((from, self.text.len()));
        }
    }
}

/// A text is appended without its escapes.
struct Text<'a>(&'a mut Vec<u8>);

impl Visitor<'_> for Text<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(wanted: &[&str], line: &str) -> Vec<Option<String>> {
        let mut fields = Fields::new(wanted.iter().copied()).unwrap();
        fields.read(b"{\"a\":\"of the line before\"}");
        fields.read(line.as_bytes());
        let text = |field: &&str| {
            let value = fields.get(field)?;
            Some(String::from_utf8(value.to_vec()).unwrap())
        };
        wanted.iter().map(text).collect()
    }

    fn one(field: &str, line: &str) -> Option<String> {
        read(&[field], line).remove(0)
    }

    #[test]
    fn texts_are_themselves_and_anything_else_is_as_it_stands() {
        assert_eq!(one("a", r#"{"a":"x"}"#).unwrap(), "x");
        assert_eq!(one("a", r#"{"a":"\u00e4\n\"b\""}"#).unwrap(), "ä\n\"b\"");
        assert_eq!(one("a", r#"{"a": 1.50 }"#).unwrap(), "1.50");
        let long = "123456789012345678901234567890";
        assert_eq!(one("a", &format!("{{\"a\":{long}}}")).unwrap(), long);
        assert_eq!(one("a", r#"{"a":true}"#).unwrap(), "true");
        assert_eq!(one("a", r#"{"a":[1, "b"]}"#).unwrap(), r#"[1, "b"]"#);
        assert_eq!(one("a", r#"{"a":""}"#).unwrap(), "");
    }

    #[test]
    fn null_and_what_is_no_object_are_absent() {
        for line in [
            r#"{"a":null}"#,
            r#"{"b":1}"#,
            r#"[{"a":1}]"#,
            r#""a""#,
            "12",
            "null",
            "",
            "a=1",
            r#"{"a":1"#,
            r#"{"a":1} x"#,
            r#"{"a":"\ud800"}"#,
        ] {
            assert_eq!(one("a", line), None, "{line}");
        }
        let mut fields = Fields::new(["a"].into_iter()).unwrap();
        fields.read(b"{\"a\":\"\xff\"}");
        assert_eq!(fields.get("a"), None);
        fields.read(b"{\"b\":\"\xff\",\"a\":1}");
        assert_eq!(fields.get("a"), Some(&b"1"[..]));
    }

    #[test]
    fn a_dot_leads_into_an_object_or_is_part_of_a_name() {
        assert_eq!(one("a.b", r#"{"a":{"b":1}}"#).unwrap(), "1");
        assert_eq!(one("a.b", r#"{"a.b":2}"#).unwrap(), "2");
        assert_eq!(
            one("a.b.c", r#"{"x":0,"a.b":{"c":3},"y":[]}"#).unwrap(),
            "3"
        );
        assert_eq!(one("a.b", r#"{"a":"text"}"#), None);
        assert_eq!(one("a.b", r#"{"a":[{"b":1}]}"#), None);
        let line = r#"{"a":{"b":{"c":1},"d":2},"e":{"b":3}}"#;
        let found = read(&["a", "a.b", "a.b.c", "a.d", "e.b", "e.d"], line);
        let found: Vec<_> = found.iter().map(Option::as_deref).collect();
        assert_eq!(
            found,
            [
                Some(r#"{"b":{"c":1},"d":2}"#),
                Some(r#"{"c":1}"#),
                Some("1"),
                Some("2"),
                Some("3"),
                None
            ]
        );
    }

    #[test]
    fn of_a_name_that_comes_twice_the_last_one_counts() {
        assert_eq!(one("a", r#"{"a":1,"a":2}"#).unwrap(), "2");
        assert_eq!(one("a", r#"{"a":1,"a":null}"#), None);
    }

    #[test]
    fn more_fields_than_there_are_bits_are_refused() {
        let names: Vec<_> = (0..=MOST).map(|at| format!("f{at}")).collect();
        assert!(Fields::new(names.iter().map(String::as_str)).is_err());
        let names = &names[1..];
        let line: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
        let mut fields = Fields::new(names.iter().map(String::as_str)).unwrap();
        fields.read(format!("{{{}}}", line.join(",")).as_bytes());
        assert!(names.iter().all(|name| fields.get(name).is_some()));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a\"\\\\ü\n]{0,4}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 30, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[abc]", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_field_is_what_a_json_parser_finds(value in value(), path in "[abc](\\.[abc]){0,2}") {
            let pointer = format!("/{}", path.replace('.', "/"));
            // A pointer also leads into lists, by numbers: names here are none.
            let expected = value.pointer(&pointer).filter(|_| value.is_object()).and_then(|found| match found {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            prop_assert_eq!(one(&path, &value.to_string()), expected);
        }

        #[test]
        fn no_line_panics(line in "[{}\\[\\]\":,a.b\\\\0-9e+-]{0,30}") {
            read(&["a", "a.b", "b"], &line);
        }
    }
}
