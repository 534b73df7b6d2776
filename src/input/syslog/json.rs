//! The part `"syslog":{...}` of a record's JSON form.
//!
//! `{"facility":"auth","severity":"crit","hostname":"m","app_name":"su","proc_id":"10","msg_id":"ID47",`
//! `"structured_data":{"id@1":{"iut":"3","ip":["192.0.2.1","192.0.2.129"]}},"peer":"192.0.2.9:5140","rfc":5424}`, or `{"error":"...","peer":"..."}`.
//! A parameter that comes several times is a list.

use super::parse::{Element, Message, Param, ParseError, Rfc};
use crate::envelope::text::{push_base64, push_bytes, push_text};

/// Up to so many parameters are compared with each other; more are sorted.
const FEW: usize = 32;

/// Appends `,"syslog":{...}`. `value` is room for a value at a time.
pub(super) fn push_syslog(
    parsed: Result<&Message<'_>, ParseError>,
    is_looked_into: bool,
    peer: Option<&str>,
    value: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b",\"syslog\":{");
    let start = out.len();
    let push = |name: &str, text: Option<&[u8]>, out: &mut Vec<u8>| {
        if text.is_some() {
            push_bytes(name, text, out.len() == start, out);
        }
    };
    match parsed {
        Err(error) => push("error", Some(error.to_string().as_bytes()), out),
        Ok(message) => {
            let priority = message.priority;
            push("facility", priority.map(|it| it.facility().as_bytes()), out);
            push("severity", priority.map(|it| it.severity().as_bytes()), out);
            push("hostname", message.hostname, out);
            push("app_name", message.app_name, out);
            push("proc_id", message.proc_id, out);
            push("msg_id", message.msg_id, out);
            if !message.structured_data.is_empty() {
                // A message with structured data has a priority before it.
                out.extend_from_slice(b",\"structured_data\":");
                let mut opening = b'{';
                for element in message.structured_data.elements() {
                    out.push(opening);
                    opening = b',';
                    push_element(&element, value, out);
                }
                out.push(b'}');
            }
        }
    }
    push("peer", peer.map(str::as_bytes), out);
    if let Ok(message) = parsed
        && is_looked_into
    {
        let rfc: &[u8] = match message.rfc {
            Rfc::Rfc5424 => b"\"rfc\":5424",
            Rfc::Rfc3164 => b"\"rfc\":3164",
        };
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(rfc);
    }
    out.push(b'}');
}

fn push_element(element: &Element<'_>, value: &mut Vec<u8>, out: &mut Vec<u8>) {
    push_name(element.id, out);
    out.push(b'{');
    let mut few = [Param::NONE; FEW];
    let mut rest = element.params();
    let mut count = 0;
    for (place, param) in few.iter_mut().zip(rest.by_ref()) {
        *place = param;
        count += 1;
    }
    if count == FEW && rest.next().is_some() {
        // Comparing each with each would be the sender's weapon.
        let mut params: Vec<Param<'_>> = element.params().collect();
        params.sort_by_key(|param| param.name);
        let groups = params.chunk_by(|one, other| one.name == other.name);
        for (at, group) in groups.enumerate() {
            push_values(at == 0, group[0].name, group.iter().copied(), value, out);
        }
    } else {
        let params = &few[..count];
        for (at, param) in params.iter().enumerate() {
            let is_first = !params[..at].iter().any(|it| it.name == param.name);
            if is_first {
                let same = params[at..].iter().filter(|it| it.name == param.name);
                push_values(at == 0, param.name, same.copied(), value, out);
            }
        }
    }
    out.push(b'}');
}

/// All values of one name: a text, or a list of texts.
fn push_values<'a>(
    first: bool,
    name: &[u8],
    params: impl Iterator<Item = Param<'a>> + Clone,
    value: &mut Vec<u8>,
    out: &mut Vec<u8>,
) {
    if !first {
        out.push(b',');
    }
    push_name(name, out);
    let is_list = params.clone().nth(1).is_some();
    let mut is_text = true;
    let list = |opening: &[u8], out: &mut Vec<u8>| {
        if is_list {
            out.extend_from_slice(opening);
        }
    };
    list(b"[", out);
    for (at, param) in params.clone().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let bytes = match param.value.plain() {
            Some(plain) => plain,
            None => {
                value.clear();
                param.value.push(value);
                value.as_slice()
            }
        };
        is_text &= push_text(bytes, out);
    }
    list(b"]", out);
    if is_text {
        return;
    }
    out.push(b',');
    push_name(&[name, b"_base64"].concat(), out);
    list(b"[", out);
    for (at, param) in params.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        value.clear();
        param.value.push(value);
        out.push(b'"');
        push_base64(value, out);
        out.push(b'"');
    }
    list(b"]", out);
}

/// A name and its colon. Names of structured data are printable ASCII.
fn push_name(name: &[u8], out: &mut Vec<u8>) {
    push_text(name, out);
    out.push(b':');
}
