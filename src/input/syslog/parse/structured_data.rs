//! `[exampleSDID@32473 iut="3" eventSource="Application"]`: names and values beside the text (RFC 5424, 6.3).
//!
//! It is checked once, when the message is parsed, and kept as the bytes that it is; the iterators walk over them without a doubt.

use std::collections::HashSet;

use super::ParseError;

/// The longest SD-NAME, in bytes.
const LONGEST_NAME: usize = 32;
/// Up to so many elements are compared with each other; more are looked up.
const FEW: usize = 32;

/// Which bytes may stand in an SD-NAME.
const OF_NAMES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = true;
        byte += 1;
    }
    table[b'=' as usize] = false;
    table[b']' as usize] = false;
    table[b'"' as usize] = false;
    table
};

/// The elements of a message; none when it has `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StructuredData<'a>(&'a [u8]);

/// One element: an id and its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    pub id: &'a [u8],
    /// What follows the id.
    params: &'a [u8],
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    pub name: &'a [u8],
    pub value: ParamValue<'a>,
}

impl Param<'_> {
    /// None: for places that are filled later.
    pub const NONE: Self = Self {
        name: b"",
        value: ParamValue(b""),
    };
}

/// A value as it stands in the message, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParamValue<'a>(&'a [u8]);

impl<'a> StructuredData<'a> {
    /// Reads it from the beginning of `bytes`; also what follows it.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError> {
        if let Some(rest) = bytes.strip_prefix(b"-") {
            return Ok((Self::default(), rest));
        }
        let (mut at, mut elements) = (0, 0);
        while bytes.get(at) == Some(&b'[') {
            at = check_element(bytes, at)?;
            elements += 1;
        }
        if elements == 0 {
            return Err(ParseError::StructuredData);
        }
        let (own, rest) = bytes.split_at(at);
        let data = Self(own);
        if elements > 1 && data.has_an_id_twice(elements) {
            return Err(ParseError::SdTwice);
        }
        Ok((data, rest))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes of all elements.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    pub fn elements(&self) -> impl Iterator<Item = Element<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let inside = rest.strip_prefix(b"[")?;
            let id = &inside[..name_len(inside)];
            let params = &inside[id.len()..];
            let mut walk = params;
            while next_param(&mut walk).is_some() {}
            rest = walk.strip_prefix(b"]")?;
            Some(Element { id, params })
        })
    }

    /// The first value of a parameter.
    pub fn param(&self, id: &[u8], name: &[u8]) -> Option<ParamValue<'a>> {
        let element = self.elements().find(|element| element.id == id)?;
        let param = element.params().find(|param| param.name == name)?;
        Some(param.value)
    }

    fn has_an_id_twice(&self, elements: usize) -> bool {
        if elements > FEW {
            // Rare enough to be worth memory: comparing each with each would be the sender's weapon.
            let mut seen = HashSet::new();
            return !self.elements().all(|element| seen.insert(element.id));
        }
        self.elements().enumerate().any(|(at, element)| {
            self.elements()
                .take(at)
                .any(|before| before.id == element.id)
        })
    }
}

impl<'a> Element<'a> {
    /// In the order of the message; a name may come several times.
    pub fn params(&self) -> Params<'a> {
        Params(self.params)
    }
}

/// The parameters of an element.
#[derive(Debug, Clone)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Iterator for Params<'a> {
    type Item = Param<'a>;

    fn next(&mut self) -> Option<Param<'a>> {
        next_param(&mut self.0)
    }
}

impl<'a> ParamValue<'a> {
    /// The value when nothing in it is escaped.
    pub fn plain(self) -> Option<&'a [u8]> {
        memchr::memchr(b'\\', self.0).is_none().then_some(self.0)
    }

    /// Appends the value without its escapes. A backslash before any other letter stands for itself.
    pub fn push(self, out: &mut Vec<u8>) {
        let mut rest = self.0;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            rest = match rest.get(at + 1) {
                Some(b'"' | b'\\' | b']') => {
                    out.push(rest[at + 1]);
                    &rest[at + 2..]
                }
                _ => {
                    out.push(b'\\');
                    &rest[at + 1..]
                }
            };
        }
        out.extend_from_slice(rest);
    }
}

/// Checks the element that begins at `at`, and says where it ends.
fn check_element(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let mut at = check_name(bytes, at + 1)?;
    loop {
        match bytes.get(at) {
            Some(b']') => return Ok(at + 1),
            Some(b' ') => {}
            Some(_) => return Err(ParseError::SdName),
            None => return Err(ParseError::Ends),
        }
        at = check_name(bytes, at + 1)?;
        if bytes.get(at..at + 2) != Some(b"=\"") {
            return Err(ParseError::SdValue);
        }
        at = check_value(bytes, at + 2)?;
    }
}

fn check_name(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    match name_len(&bytes[at..]) {
        1..=LONGEST_NAME => Ok(at + name_len(&bytes[at..])),
        _ => Err(ParseError::SdName),
    }
}

/// How many bytes of `bytes` can be an SD-NAME; looks one byte too far at most.
fn name_len(bytes: &[u8]) -> usize {
    let window = &bytes[..bytes.len().min(LONGEST_NAME + 1)];
    let ends = |byte: &u8| !OF_NAMES[usize::from(*byte)];
    window.iter().position(ends).unwrap_or(window.len())
}

/// Where the value that begins at `at` ends, its quote included.
fn check_value(bytes: &[u8], mut at: usize) -> Result<usize, ParseError> {
    loop {
        let found = memchr::memchr3(b'"', b'\\', b']', &bytes[at..]).ok_or(ParseError::Ends)?;
        at += found;
        match bytes[at] {
            b'"' => return Ok(at + 1),
            b']' => return Err(ParseError::SdValue),
            // Before another letter the backslash stands for itself.
            _ => at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'"' | b'\\' | b']'))),
        }
    }
}

/// Takes ` name="value"` from checked bytes.
fn next_param<'a>(rest: &mut &'a [u8]) -> Option<Param<'a>> {
    let bytes = rest.strip_prefix(b" ")?;
    let name = &bytes[..name_len(bytes)];
    let quoted = bytes[name.len()..].strip_prefix(b"=\"")?;
    let end = check_value(quoted, 0).ok()?;
    *rest = &quoted[end..];
    Some(Param {
        name,
        value: ParamValue(&quoted[..end - 1]),
    })
}
