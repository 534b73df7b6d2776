//! A record of a topic as one JSON object: everything that Kafka tells of it, in this order.
//!
//! `{"topic":"web","partition":3,"offset":42,"timestamp_ms":1795246085401,"timestamp_type":"create","key":"k","value":"v",`
//! `"headers":[{"name":"n","value":"v"}]}`. Null stays `null`; a record without a time has `"timestamp_ms":null` and the type `none`.

use super::text::{push_bytes, push_number, push_string};
use crate::flow::{Consumed, TimestampKind};

/// Appends the record at `index` of `records`, without a line end.
pub fn push_record(records: &dyn Consumed, index: usize, out: &mut Vec<u8>) {
    let record = records.get(index);
    out.extend_from_slice(b"{\"topic\":");
    push_string(record.topic, out);
    out.extend_from_slice(b",\"partition\":");
    push_number(i64::from(record.partition), out);
    out.extend_from_slice(b",\"offset\":");
    push_number(record.offset, out);
    out.extend_from_slice(b",\"timestamp_ms\":");
    let kind = match record.timestamp_kind {
        TimestampKind::None => "none",
        TimestampKind::Create => "create",
        TimestampKind::LogAppend => "log_append",
    };
    match record.timestamp_kind {
        TimestampKind::None => out.extend_from_slice(b"null"),
        _ => push_number(record.timestamp_ms, out),
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
