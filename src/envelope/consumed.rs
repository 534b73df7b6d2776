//! A record of a topic as one JSON object: everything that Kafka tells of it, in this order.
//!
//! `{"topic":"web","partition":3,"offset":42,"timestamp_ms":1795246085401,"timestamp_type":"create","key":"k","value":"v",`
//! `"headers":[{"name":"n","value":"v"}]}`. Null stays `null`; a record without a time has `"timestamp_ms":null` and the type `none`.

use std::io::Write;

use super::text::{push_bytes, push_string};
use crate::flow::{Consumed, TimestampKind};

/// Appends the record at `index` of `records`, without a line end.
pub fn push_record(records: &dyn Consumed, index: usize, out: &mut Vec<u8>) {
    let record = records.get(index);
    out.extend_from_slice(b"{\"topic\":");
    push_string(record.topic, out);
    // Writing into a Vec cannot fail.
    let _ = write!(
        out,
        ",\"partition\":{},\"offset\":{},\"timestamp_ms\":",
        record.partition, record.offset
    );
    let kind = match record.timestamp_kind {
        TimestampKind::None => "none",
        TimestampKind::Create => "create",
        TimestampKind::LogAppend => "log_append",
    };
    match record.timestamp_kind {
        TimestampKind::None => out.extend_from_slice(b"null"),
        _ => drop(write!(out, "{}", record.timestamp_ms)),
    }
    out.extend_from_slice(b",\"timestamp_type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    push_bytes("key", record.key, false, out);
    push_bytes("value", record.value, false, out);
    out.extend_from_slice(b",\"headers\":[");
    let mut first = true;
    records.headers(index, &mut |name, value| {
        out.extend_from_slice(if first { b"{" } else { b",{" });
        first = false;
        push_bytes("name", Some(name.as_bytes()), true, out);
        push_bytes("value", value, false, out);
        out.push(b'}');
    });
    out.extend_from_slice(b"]}");
}
