//! RFC 3164 as it is met: `<34>Oct 11 22:14:15 mymachine su[10]: text`, and what devices make of it.
//!
//! Read from the left, each part only when it is there for certain; the rest is text:
//!
//! - a priority, or none;
//! - a sequence number, `45: ` (Cisco), and a host's name before or after it, when a time stamp follows;
//! - a time stamp: `Oct 11 22:14:15`, with a year behind the day, before the month or at the end, with a fraction, with `*` or `.` before it (Cisco's
//!   clock that is not set), with a zone (`UTC`, `CEST`, `+02:00`, `TZ-6`) and a colon after it, or as in RFC 3339;
//! - a host's name, only after a time stamp and unless the word there is a tag; none after a time stamp that ends with a colon;
//! - a tag: a word that ends with `:`, or with `[PID]` and perhaps `:`. A word that ends with neither is text.
//!
//! A time stamp that can be read and names a time that does not exist is an error.

use super::priority::{self, Priority};
use super::time::{Civil, Clock, date_and_time, fraction, offset, two};
use super::{Message, ParseError, Rfc};

/// Longest names that are taken for one, in bytes.
const LONGEST_HOST: usize = 255;
const LONGEST_TAG: usize = 128;
const LONGEST_PID: usize = 128;
/// Digits of a sequence number.
const LONGEST_NUMBER: usize = 10;

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Zones by name, in minutes east of Greenwich: those that mean one thing to nearly everybody.
const ZONES: [(&[u8], i32); 19] = [
    (b"UTC", 0),
    (b"GMT", 0),
    (b"Z", 0),
    (b"WET", 0),
    (b"WEST", 60),
    (b"CET", 60),
    (b"CEST", 120),
    (b"EET", 120),
    (b"EEST", 180),
    (b"MSK", 180),
    (b"JST", 540),
    (b"EST", -300),
    (b"EDT", -240),
    (b"CST", -360),
    (b"CDT", -300),
    (b"MST", -420),
    (b"MDT", -360),
    (b"PST", -480),
    (b"PDT", -420),
];

pub(super) fn parse<'a>(message: &'a [u8], clock: &Clock) -> Result<Message<'a>, ParseError> {
    let mut parsed = Message::empty(Rfc::Rfc3164);
    let mut rest = message;
    if let Some((digits, after)) = priority::split(message) {
        let number = Priority::new(priority::number(digits)).ok_or(ParseError::Priority)?;
        parsed.priority = Some(number);
        rest = after;
    }
    let (head, after) = head(rest);
    rest = after;
    if let Some(head) = head {
        parsed.time = Some(head.stamp.moment(clock)?);
        parsed.hostname = head.host;
        if head.host.is_none() && !head.colon {
            (parsed.hostname, rest) = host(rest);
        } else if head.host.is_none() && head.colon {
            (parsed.hostname, rest) = host_before_colon(rest);
        }
    }
    (parsed.app_name, parsed.proc_id, parsed.text) = tag(rest);
    Ok(parsed)
}

/// What stands before the text when there is a time stamp.
struct Head<'a> {
    stamp: Civil,
    /// A host that stood before the time stamp.
    host: Option<&'a [u8]>,
    /// A colon followed the time stamp.
    colon: bool,
}

/// The time stamp with all that may stand before it; nothing of `bytes` is taken when there is none.
fn head(bytes: &[u8]) -> (Option<Head<'_>>, &[u8]) {
    let made = |host, (stamp, colon, rest)| (Some(Head { stamp, host, colon }), rest);
    if let Some(found) = stamp(bytes) {
        return made(None, found);
    }
    let numbered = sequence_number(bytes);
    let after = skip_spaces(numbered.unwrap_or(bytes));
    if numbered.is_some()
        && let Some(found) = stamp(after)
    {
        return made(None, found);
    }
    // `45: router: *Mar  1 ...`, `router 45: *Mar  1 ...` or `router Mar  1 ...`
    if let Some((word, rest)) = word(after) {
        let host = word.strip_suffix(b":").unwrap_or(word);
        let rest = skip_spaces(rest);
        let rest = match numbered {
            None => sequence_number(rest).map_or(rest, skip_spaces),
            Some(_) => rest,
        };
        if is_host(host)
            && let Some(found) = stamp(rest)
        {
            return made(Some(host), found);
        }
    }
    (None, bytes)
}

/// What follows `DIGITS:` or a lone `:`.
fn sequence_number(bytes: &[u8]) -> Option<&[u8]> {
    let digits = digits(bytes, LONGEST_NUMBER);
    bytes[digits..].strip_prefix(b":")
}

/// A time stamp, whether a colon follows it, and the rest without the spaces before it.
fn stamp(bytes: &[u8]) -> Option<(Civil, bool, &[u8])> {
    let bytes = match bytes {
        [b'*' | b'.', rest @ ..] => rest,
        _ => bytes,
    };
    let (civil, rest) = iso(bytes).or_else(|| by_month(bytes))?;
    let (colon, rest) = match rest.strip_prefix(b":") {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if !matches!(rest.first(), None | Some(b' ')) {
        return None;
    }
    Some((civil, colon, skip_spaces(rest)))
}

/// `2003-10-11T22:14:15.003Z`, also with a space in it and without a zone.
fn iso(bytes: &[u8]) -> Option<(Civil, &[u8])> {
    let (mut civil, mut rest) =
        date_and_time(bytes, b'T').or_else(|| date_and_time(bytes, b' '))?;
    if let Some((micros, after)) = point(rest) {
        (civil.micros, rest) = (micros, after);
    }
    if let Some(after) = rest.strip_prefix(b"Z") {
        (civil.offset, rest) = (Some(0), after);
    } else if let Some((offset, after)) = numeric_offset(rest) {
        (civil.offset, rest) = (Some(offset), after);
    }
    Some((civil, rest))
}

/// `Oct 11 22:14:15` and its relatives.
fn by_month(bytes: &[u8]) -> Option<(Civil, &[u8])> {
    let first: &[u8; 3] = bytes.first_chunk()?;
    let mut rest = bytes;
    let mut year = None;
    if WEEKDAYS.contains(&first) {
        rest = skip_spaces(rest[3..].strip_prefix(b" ")?);
    } else if first[0].is_ascii_digit() {
        let (found, after) = four_digits(rest)?;
        year = Some(found);
        rest = after.strip_prefix(b" ")?;
    }
    let name: &[u8; 3] = rest.first_chunk()?;
    let month = MONTHS
        .iter()
        .position(|month| month.eq_ignore_ascii_case(name))?;
    rest = skip_spaces(rest[3..].strip_prefix(b" ")?);
    let (day, after) = one_or_two(rest)?;
    rest = skip_spaces(after.strip_prefix(b" ")?);
    if year.is_none()
        && let Some((found, after)) = four_digits(rest)
    {
        year = Some(found);
        rest = after.strip_prefix(b" ")?;
    }
    let clock = rest.get(..8)?;
    if clock[2] != b':' || clock[5] != b':' {
        return None;
    }
    let mut civil = Civil {
        year,
        month: u8::try_from(month).ok()? + 1,
        day,
        hour: two(&clock[..2])?,
        minute: two(&clock[3..5])?,
        second: two(&clock[6..8])?,
        micros: 0,
        offset: None,
    };
    rest = &rest[8..];
    if let Some((micros, after)) = point(rest) {
        (civil.micros, rest) = (micros, after);
    }
    if let Some((offset, after)) = zone(rest) {
        (civil.offset, rest) = (Some(offset), after);
    }
    if civil.year.is_none()
        && let Some((found, after)) = rest.strip_prefix(b" ").and_then(four_digits)
        && (1970..2100).contains(&found)
    {
        (civil.year, rest) = (Some(found), after);
    }
    Some((civil, rest))
}

/// ` CEST`, ` +02:00`, `+0200`, `Z` or ` TZ-6`: seconds east of Greenwich.
fn zone(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    if let Some(found) = numeric_offset(bytes) {
        return Some(found);
    }
    if let Some([sign @ (b'+' | b'-'), rest @ ..]) = bytes.strip_prefix(b"TZ") {
        let (hours, rest) = one_or_two(rest)?;
        return Some((offset(*sign, hours, 0), rest));
    }
    let letters = bytes
        .iter()
        .take(5)
        .take_while(|byte| byte.is_ascii_uppercase())
        .count();
    let (name, rest) = bytes.split_at(letters);
    // Before a name of a host there is another space; a host may be called as a zone only when it is the last word.
    if !matches!(rest.first(), Some(b' ' | b':')) {
        return None;
    }
    let (_, minutes) = ZONES.iter().find(|(zone, _)| *zone == name)?;
    Some((minutes * 60, rest))
}

/// `+02:00` or `+0200`, and nothing that goes on after it.
fn numeric_offset(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (sign, rest) = bytes.split_first()?;
    if !matches!(sign, b'+' | b'-') {
        return None;
    }
    let hours = two(rest.get(..2)?)?;
    let rest = rest[2..].strip_prefix(b":").unwrap_or(&rest[2..]);
    let minutes = two(rest.get(..2)?)?;
    Some((offset(*sign, hours, minutes), &rest[2..]))
}

/// `.003` or `,003`.
fn point(bytes: &[u8]) -> Option<(u32, &[u8])> {
    match bytes {
        [b'.' | b',', digits @ ..] => fraction(digits),
        _ => None,
    }
}

/// The host's name after a time stamp, unless the word there is a tag.
fn host(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    match word(bytes) {
        Some((word, rest)) if is_host(word) => (Some(word), skip_spaces(rest)),
        _ => (None, bytes),
    }
}

/// `host : %ASA-6-302016: text`.
fn host_before_colon(bytes: &[u8]) -> (Option<&[u8]>, &[u8]) {
    if let Some((word, rest)) = word(bytes)
        && is_host(word)
        && let Some(rest) = rest.strip_prefix(b": ")
    {
        return (Some(word), skip_spaces(rest));
    }
    (None, bytes)
}

/// Whether a word can be the name or the address of a host.
fn is_host(word: &[u8]) -> bool {
    let fits = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/' | b'@' | b'%')
    };
    (1..=LONGEST_HOST).contains(&word.len())
        && word.iter().all(fits)
        && !word.ends_with(b":")
        && !word.starts_with(b"%")
}

/// The tag, the process id in it, and the text after them.
fn tag(bytes: &[u8]) -> (Option<&[u8]>, Option<&[u8]>, &[u8]) {
    let none = (None, None, bytes);
    let window = &bytes[..bytes.len().min(LONGEST_TAG + 1)];
    let ends = |byte: &u8| *byte == b'[' || !byte.is_ascii_graphic();
    let end = window.iter().position(ends).unwrap_or(window.len());
    let (name, rest) = bytes.split_at(end);
    match rest.first() {
        Some(b'[') if !name.is_empty() => {
            let inside = &rest[1..];
            let window = &inside[..inside.len().min(LONGEST_PID + 1)];
            let Some(close) = memchr::memchr(b']', window) else {
                return none;
            };
            let pid = &inside[..close];
            let after = &inside[close + 1..];
            let text = match after.strip_prefix(b":") {
                Some(text) => text,
                None if matches!(after.first(), None | Some(b' ')) => after,
                None => return none,
            };
            if !pid.iter().all(u8::is_ascii_graphic) {
                return none;
            }
            let pid = (!pid.is_empty()).then_some(pid);
            (Some(name), pid, text.strip_prefix(b" ").unwrap_or(text))
        }
        None | Some(b' ') => match name.strip_suffix(b":") {
            Some(name) if !name.is_empty() => {
                (Some(name), None, rest.strip_prefix(b" ").unwrap_or(rest))
            }
            _ => none,
        },
        _ => none,
    }
}

/// Up to the next space, and what follows it.
fn word(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let window = &bytes[..bytes.len().min(LONGEST_HOST + 2)];
    let end = memchr::memchr(b' ', window)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

fn skip_spaces(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| **byte == b' ').count();
    &bytes[spaces..]
}

fn digits(bytes: &[u8], most: usize) -> usize {
    bytes
        .iter()
        .take(most)
        .take_while(|byte| byte.is_ascii_digit())
        .count()
}

fn four_digits(bytes: &[u8]) -> Option<(i16, &[u8])> {
    if digits(bytes, 5) != 4 {
        return None;
    }
    let number = bytes[..4]
        .iter()
        .fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0'));
    Some((number, &bytes[4..]))
}

fn one_or_two(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let digits = digits(bytes, 3);
    if !(1..=2).contains(&digits) {
        return None;
    }
    let number = bytes[..digits]
        .iter()
        .fold(0, |sum, digit| sum * 10 + (digit - b'0'));
    Some((number, &bytes[digits..]))
}
