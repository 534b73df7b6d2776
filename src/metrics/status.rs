//! The JSON of `/status`.
//!
//! ```json
//! {"version": "0.1.0", "start_time": 1795246085.5,
//!  "inputs": {"NAME": {"state": "running", "books": {...}, "truncated": 0, "resent": 0, "rebuilds": 0, "files": 3, "expired_positions": 0,
//!             "ignored_files": 0, "oldest_unread_seconds": 1.5, "transactions": {"committed": 0, "aborted": 0, "in_doubt": 0, "last_commit": 1795246090.25}}},
//!  "outputs": {"NAME": {"state": "running", "consumed": C, "written": C, "synced": C, "committed": C, "syncs": 0, "refused": 0, "null_values": 0,
//!              "skipped": 0, "open_files": 2, "finished_files": 5, "removed_files": 1, "missing_files": 0,
//!              "assigned": 2, "total_lag": 11, "lag": [{"topic": "web", "partition": 0, "lag": 11}],
//!              "absent": [{"topic": "web", "partition": 7}], "waits": null,
//!              "transactions": {"committed": 0, "aborted": 0, "in_doubt": 0, "last_commit": 1795246090.25}}},
//!  "producers": [{"cluster": "main", "producer": "main-1", "connected": true, "outstanding": C, "requests": 0, "rtt_ms": 2.5}],
//!  "budget": {"capacity": 67108864, "used": 0}}
//! ```
//!
//! `C` is `{"lines": N, "bytes": N}`; of outputs and producers the lines are records. `books` has `seen`, `read`, `unread`, `lost`, `acked`,
//! `unconfirmed`, `dead_lettered`, `filtered`, `dropped`, `spooled`, `in_flight`, each a `C`; `lost` and `dropped` have `"by": {"REASON": C}` too.
//!
//! Inputs of the type `syslog` have `"syslog": {"connections": 2, "accepted": 9, "refused": 0, "timed_out": 0, "broken": 0, "unparsed": 0,
//! "torn": 0, "out_of_range": 0, "kernel_drops": 0, "sockets": [{"socket": "udp://0.0.0.0:514", "kernel_drops": 0, "receive_buffer": 16777216}]}`
//! too. `receive_buffer` is as the kernel counts: twice what was asked for. Of unix sockets the kernel drops nothing.
//!
//! Inputs with a spool have `"spool": {"bytes": 0, "max_bytes": 1073741824, "spare_bytes": 0, "segments": 1, "oldest_seconds": null, "found": C,
//! "damaged_segments": 0, "unreadable_bytes": 0, "cut_bytes": 0}` too. `found` was there at the start, and is among the `read`.
//!
//! Lines that nobody can count are `null`: those of `unread` when there are unread bytes, of `lost` where only bytes are known, and then of `seen`.
//!
//! `absent` are partitions that the configuration names and that are waited for; `waits` says in words why an output reads nothing more for now.
//!
//! `transactions` is `null` without `delivery: exactly_once`; `last_commit` is in seconds since 1970, `null` before the first one.
//!
//! Invariant: keys are only ever added. `seen = read + unread + lost` and
//! `read = acked + unconfirmed + dead_lettered + filtered + dropped + spooled + in_flight`.

use serde_json::{Map, Value, json};

use super::{
    Count, InputSnapshot, OutputSnapshot, ProducerSnapshot, Snapshot, TransactionsSnapshot,
};

/// The document of `/status`.
pub fn status_json(snapshot: &Snapshot) -> Value {
    let inputs: Map<String, Value> = snapshot
        .inputs
        .iter()
        .map(|input| (input.name.clone(), input_json(input)))
        .collect();
    let outputs: Map<String, Value> = snapshot
        .outputs
        .iter()
        .map(|output| (output.name.clone(), output_json(output)))
        .collect();
    let producers: Vec<Value> = snapshot.producers.iter().map(producer_json).collect();
    json!({
        "version": snapshot.version,
        "start_time": snapshot.start_time,
        "inputs": inputs,
        "outputs": outputs,
        "producers": producers,
        "budget": {"capacity": snapshot.budget.capacity, "used": snapshot.budget.used},
    })
}

fn input_json(input: &InputSnapshot) -> Value {
    let mut object = json!({
        "state": input.state,
        "books": books_json(input),
        "truncated": input.truncated,
        "resent": input.resent,
        "rebuilds": input.rebuilds,
        "files": input.files,
        "expired_positions": input.expired,
        "ignored_files": input.ignored,
        "oldest_unread_seconds": input.oldest_unread_seconds,
        "transactions": input.transactions.map(transactions_json),
    });
    if let Some(syslog) = &input.syslog {
        object["syslog"] = json!({
            "connections": syslog.connections,
            "accepted": syslog.accepted,
            "refused": syslog.refused,
            "timed_out": syslog.timed_out,
            "broken": syslog.broken,
            "unparsed": syslog.unparsed,
            "torn": syslog.torn,
            "out_of_range": syslog.out_of_range,
            "kernel_drops": syslog.kernel_drops,
            "sockets": syslog.sockets.iter().map(|socket| json!({
                "socket": socket.name,
                "kernel_drops": socket.kernel_drops,
                "receive_buffer": socket.buffer,
            })).collect::<Vec<_>>(),
        });
    }
    if let Some(spool) = &input.spool {
        object["spool"] = json!({
            "bytes": spool.bytes,
            "max_bytes": spool.max_bytes,
            "spare_bytes": spool.spare_bytes,
            "segments": spool.segments,
            "oldest_seconds": spool.oldest_seconds,
            "found": count_json(spool.found),
            "damaged_segments": spool.damaged,
            "unreadable_bytes": spool.unreadable_bytes,
            "cut_bytes": spool.cut_bytes,
        });
    }
    object
}

fn books_json(input: &InputSnapshot) -> Value {
    let lost = Count::sum(input.lost.iter().map(|(_, count)| count));
    let dropped = Count::sum(input.dropped.iter().map(|(_, count)| count));
    let unread_lines = (input.unread_bytes == 0).then_some(0);
    // One reason whose lines are unknown makes the sum unknown.
    let lost_lines = input
        .lost
        .iter()
        .map(|(_, count)| lines_if_known(count))
        .sum::<Option<u64>>();
    let seen_lines = unread_lines
        .zip(lost_lines)
        .map(|(unread, lost)| input.read.lines.saturating_add(unread).saturating_add(lost));
    let seen_bytes = input
        .read
        .bytes
        .saturating_add(input.unread_bytes)
        .saturating_add(lost.bytes);
    let lost_by: Map<String, Value> = input
        .lost
        .iter()
        .map(|(reason, count)| {
            (
                (*reason).to_owned(),
                json!({"lines": lines_if_known(count), "bytes": count.bytes}),
            )
        })
        .collect();
    let dropped_by: Map<String, Value> = input
        .dropped
        .iter()
        .map(|(reason, count)| (reason.clone(), count_json(*count)))
        .collect();
    json!({
        "seen": {"lines": seen_lines, "bytes": seen_bytes},
        "read": count_json(input.read),
        "unread": {"lines": unread_lines, "bytes": input.unread_bytes},
        "lost": {"lines": lost_lines, "bytes": lost.bytes, "by": lost_by},
        "acked": count_json(input.acked),
        "unconfirmed": count_json(input.unconfirmed),
        "dead_lettered": count_json(input.dead_lettered),
        "filtered": count_json(input.filtered),
        "dropped": {"lines": dropped.lines, "bytes": dropped.bytes, "by": dropped_by},
        "spooled": count_json(input.spooled),
        "in_flight": count_json(input.in_flight),
    })
}

fn output_json(output: &OutputSnapshot) -> Value {
    let lag: Vec<Value> = output
        .lag
        .iter()
        .map(|(topic, partition, lag)| json!({"topic": topic, "partition": partition, "lag": lag}))
        .collect();
    let absent = output.absent.iter();
    let absent: Vec<Value> = absent
        .map(|(topic, partition)| json!({"topic": topic, "partition": partition}))
        .collect();
    json!({
        "state": output.state,
        "consumed": count_json(output.consumed),
        "written": count_json(output.written),
        "synced": count_json(output.synced),
        "committed": count_json(output.committed),
        "syncs": output.syncs,
        "refused": output.refused,
        "null_values": output.null_values,
        "skipped": output.skipped,
        "open_files": output.open_files,
        "finished_files": output.finished_files,
        "removed_files": output.removed_files,
        "missing_files": output.missing_files,
        "assigned": output.assigned,
        "absent": absent,
        "waits": output.waits,
        "total_lag": output.lag.iter().fold(0u64, |sum, (_, _, lag)| sum.saturating_add(*lag)),
        "lag": lag,
        "transactions": output.transactions.map(transactions_json),
    })
}

fn transactions_json(counts: TransactionsSnapshot) -> Value {
    json!({
        "committed": counts.committed,
        "aborted": counts.aborted,
        "in_doubt": counts.in_doubt,
        "last_commit": counts.last_commit,
    })
}

fn producer_json(producer: &ProducerSnapshot) -> Value {
    json!({
        "cluster": producer.cluster,
        "producer": producer.producer,
        "connected": producer.connected,
        "outstanding": {"lines": producer.outstanding_records, "bytes": producer.outstanding_bytes},
        "requests": producer.requests,
        "rtt_ms": producer.rtt_ms,
    })
}

fn count_json(count: Count) -> Value {
    json!({"lines": count.lines, "bytes": count.bytes})
}

fn lines_if_known(count: &Count) -> Option<u64> {
    (count.lines > 0 || count.bytes == 0).then_some(count.lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Snapshot, sample};
    use super::*;

    #[test]
    fn the_books_have_exactly_their_names() {
        let status = status_json(&sample::snapshot());
        let books = status["inputs"]["nginx"]["books"].as_object().unwrap();
        let mut names: Vec<&str> = books.keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut wanted = [
            "seen",
            "read",
            "unread",
            "lost",
            "acked",
            "unconfirmed",
            "dead_lettered",
            "filtered",
            "dropped",
            "spooled",
            "in_flight",
        ];
        wanted.sort_unstable();
        assert_eq!(names, wanted);
        assert!(
            books
                .values()
                .all(|book| book["bytes"].is_u64() && book.get("lines").is_some())
        );
    }

    #[test]
    fn lines_that_nobody_can_count_are_null() {
        let status = status_json(&sample::snapshot());
        let books = &status["inputs"]["nginx"]["books"];
        assert_eq!(books["unread"], json!({"lines": null, "bytes": 5}));
        assert_eq!(
            books["lost"],
            json!({"lines": null, "bytes": 7, "by": {"truncated": {"lines": null, "bytes": 7}}})
        );
        assert_eq!(
            books["seen"],
            json!({"lines": null, "bytes": 10_000 + 5 + 7})
        );
        let books = &status["inputs"]["pipe"]["books"];
        assert_eq!(books["seen"], json!({"lines": 9, "bytes": 900}));
        assert_eq!(books["unread"], json!({"lines": 0, "bytes": 0}));
    }

    #[test]
    fn partitions_that_are_waited_for_stand_by_topic_and_number() {
        let status = status_json(&sample::snapshot());
        let output = &status["outputs"]["archive"];
        assert_eq!(output["absent"], json!([{"topic": "web", "partition": 7}]));
        assert_eq!(output["waits"], Value::Null);
    }

    #[test]
    fn lag_stands_per_partition_and_in_sum() {
        let status = status_json(&sample::snapshot());
        assert_eq!(status["outputs"]["archive"]["total_lag"], 11);
        assert_eq!(
            status["outputs"]["archive"]["lag"][0],
            json!({"topic": "web", "partition": 0, "lag": 11})
        );
    }

    #[test]
    fn transactions_of_inputs_and_outputs_are_told_alike() {
        let status = status_json(&sample::snapshot());
        let told = &status["outputs"]["archive"]["transactions"];
        assert_eq!(
            *told,
            json!({"committed": 6, "aborted": 2, "in_doubt": 1, "last_commit": 1_795_246_090.25})
        );
        assert!(status["inputs"]["pipe"]["transactions"].is_null());
    }

    #[test]
    fn an_idle_daemon_has_every_key() {
        let status = status_json(&Snapshot::default());
        for key in [
            "version",
            "start_time",
            "inputs",
            "outputs",
            "producers",
            "budget",
        ] {
            assert!(status.get(key).is_some(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn seen_is_read_and_unread_and_lost(read in 0u64..1 << 40, unread in 0u64..1 << 40, lost in 0u64..1 << 40) {
            let input = InputSnapshot {
                read: Count { lines: read, bytes: read },
                unread_bytes: unread,
                lost: vec![("deleted", Count { lines: 0, bytes: lost })],
                ..InputSnapshot::default()
            };
            let books = books_json(&input);
            prop_assert_eq!(books["seen"]["bytes"].as_u64(), Some(read + unread + lost));
            prop_assert_eq!(books["seen"]["lines"].as_u64(), (unread == 0 && lost == 0).then_some(read));
        }
    }
}
