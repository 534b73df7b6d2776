//! RFC 5424, to the letter: `<34>1 2003-10-11T22:14:15.003Z mymachine su - ID47 - text`.

use super::priority::{self, Priority};
use super::{Message, ParseError, Rfc, StructuredData, time};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Whether what follows the priority is a version and the beginning of a time stamp.
pub(super) fn begins(message: &[u8]) -> bool {
    let Some((_, rest)) = priority::split(message) else {
        return false;
    };
    let digits = rest
        .iter()
        .take(4)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let is_version = (1..=3).contains(&digits) && rest[0] != b'0';
    let Some(stamp) = rest.get(digits..).and_then(|rest| rest.strip_prefix(b" ")) else {
        return false;
    };
    let is_nil = stamp == b"-" || stamp.starts_with(b"- ");
    let is_date = stamp.len() > 4 && stamp[..4].iter().all(u8::is_ascii_digit) && stamp[4] == b'-';
    is_version && (is_nil || is_date)
}

pub(super) fn parse(message: &[u8]) -> Result<Message<'_>, ParseError> {
    let (digits, rest) = priority::split(message).ok_or(ParseError::Priority)?;
    if digits.len() > 1 && digits[0] == b'0' {
        return Err(ParseError::Priority);
    }
    let priority = Priority::new(priority::number(digits)).ok_or(ParseError::Priority)?;
    let (version, rest) = word(rest)?;
    if version != b"1" {
        return Err(ParseError::Version);
    }
    let (stamp, rest) = word(rest)?;
    let time = match stamp {
        b"-" => None,
        stamp => Some(time::rfc5424(stamp)?),
    };
    let (hostname, rest) = field(rest, 255, ParseError::Hostname)?;
    let (app_name, rest) = field(rest, 48, ParseError::AppName)?;
    let (proc_id, rest) = field(rest, 128, ParseError::ProcId)?;
    let (msg_id, rest) = field(rest, 32, ParseError::MsgId)?;
    let (structured_data, rest) = StructuredData::parse(rest)?;
    let text = match rest.split_first() {
        None => rest,
        Some((b' ', text)) => text.strip_prefix(BOM).unwrap_or(text),
        Some(_) => return Err(ParseError::Text),
    };
    Ok(Message {
        rfc: Rfc::Rfc5424,
        priority: Some(priority),
        time,
        hostname,
        app_name,
        proc_id,
        msg_id,
        structured_data,
        text,
    })
}

/// Up to the next space, and what follows it.
fn word(bytes: &[u8]) -> Result<(&[u8], &[u8]), ParseError> {
    let end = memchr::memchr(b' ', bytes).ok_or(ParseError::Ends)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

/// `-`, or 1 to `most` letters of printable ASCII; and what follows the space after it.
fn field(
    bytes: &[u8],
    most: usize,
    wrong: ParseError,
) -> Result<(Option<&[u8]>, &[u8]), ParseError> {
    let window = &bytes[..bytes.len().min(most + 1)];
    let Some(end) = window.iter().position(|byte| !byte.is_ascii_graphic()) else {
        return Err(if bytes.len() > most {
            wrong
        } else {
            ParseError::Ends
        });
    };
    if end == 0 || bytes[end] != b' ' {
        return Err(wrong);
    }
    let value = &bytes[..end];
    Ok(((value != b"-").then_some(value), &bytes[end + 1..]))
}
