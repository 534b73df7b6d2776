//! The same messages read by the crate `syslog_loose`, an independent parser; each difference is listed with its reason.

use chrono::Utc;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// 2026-11-21T07:00:00Z
const NOW: Moment = Moment(1_795_244_400_000_000);

/// Both read them alike.
const ALIKE: &[&str] = &[
    "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed",
    "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
    "<165>1 2003-10-11T22:14:15.003Z m evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventID=\"1011\"][p@1 c=\"high\"] entry",
    "<0>1 - - - - - - x",
    "<165>1 2003-10-11T22:14:15.003Z m e - - [a b=\"q\\\"\\]\"] x",
    "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
    "<13>Nov 21 07:00:00 host app[12]: text",
    "<13>Nov 21 07:00:00 host /usr/sbin/cron[9]: (root) CMD",
    "<22>Nov 21 07:00:00 mx postfix/smtpd[7]: connect",
    "<6>Nov 21 07:00:00 host kernel: [ 1234.567] usb",
    "<13>Nov 21 2025 07:00:00 host app: year",
    "<13>2026-11-21T07:00:00.5+01:00 host app: iso",
];

/// They differ, for this reason.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "<165>1 2003-10-11T22:14:15.003Z m e - - [a b=\"x\\ny\"] x",
        "it makes a line feed of a backslash and an n, which stand for themselves",
    ),
    (
        "<34>1 2003-10-11T22:14:15.003Z m su - ID47 - \u{feff}x",
        "it leaves the byte order mark in the text",
    ),
    (
        "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% x",
        "it takes the zone of RFC 3164's third example for the host",
    ),
    (
        "<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: x",
        "it does not read the time stamp of RFC 3164's fourth example",
    ),
    (
        "<34>1 2003-02-30T22:14:15.003Z m su - ID47 - x",
        "an impossible date makes it read the message as one of RFC 3164",
    ),
    (
        "<189>45: *Nov  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: y",
        "it does not know sequence numbers and clocks that are not set",
    ),
];

/// The parts of a message in the form that both can give.
fn ours(message: &str) -> Vec<Option<String>> {
    let text = |part: Option<&[u8]>| part.map(|it| String::from_utf8_lossy(it).into_owned());
    let Ok(parsed) = parse(
        message.as_bytes(),
        Protocol::Auto,
        &Clock::new(TimeZone::UTC, NOW),
    ) else {
        return vec![];
    };
    let mut parts = vec![
        parsed.priority.map(|it| (it.number() >> 3).to_string()),
        parsed.priority.map(|it| (it.number() & 7).to_string()),
        parsed.time.map(|it| it.0.to_string()),
        text(parsed.hostname),
        text(parsed.app_name),
        text(parsed.proc_id),
        text(parsed.msg_id),
        text(Some(parsed.text)),
    ];
    for element in parsed.structured_data.elements() {
        for param in element.params() {
            let mut value = Vec::new();
            param.value.push(&mut value);
            parts.push(text(Some(element.id)));
            parts.push(text(Some(param.name)));
            parts.push(text(Some(&value)));
        }
    }
    parts
}

fn theirs(message: &str) -> Vec<Option<String>> {
    let parsed = syslog_loose::parse_message_with_year_tz(
        message,
        |_| 2026,
        Some(Utc),
        syslog_loose::Variant::Either,
    );
    let mut parts = vec![
        parsed.facility.map(|it| (it as i32).to_string()),
        parsed.severity.map(|it| (it as i32).to_string()),
        parsed.timestamp.map(|it| it.timestamp_micros().to_string()),
        parsed.hostname.map(str::to_owned),
        parsed.appname.map(str::to_owned),
        parsed.procid.map(|it| it.to_string()),
        parsed.msgid.map(str::to_owned),
        Some(parsed.msg.to_owned()),
    ];
    for element in &parsed.structured_data {
        for (name, value) in element.params() {
            parts.push(Some(element.id.to_owned()));
            parts.push(Some((*name).to_owned()));
            parts.push(Some(value.to_string()));
        }
    }
    parts
}

#[test]
fn both_parsers_read_the_usual_messages_alike() {
    for message in ALIKE {
        assert_eq!(ours(message), theirs(message), "{message}");
    }
}

#[test]
fn every_known_difference_is_still_one() {
    for (message, reason) in DIFFERENT {
        assert_ne!(
            ours(message),
            theirs(message),
            "no longer a difference: {message} ({reason})"
        );
    }
}

fn word(letters: &'static str) -> impl Strategy<Value = String> {
    proptest::string::string_regex(letters).unwrap()
}

/// A part of a header: often absent.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![Just("-".to_owned()), word("[a-z][a-z0-9.]{0,10}")]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    // Of what is in `DIFFERENT` none is made here.
    #[test]
    fn both_parsers_read_messages_of_rfc_5424_alike(
        priority in 0u16..192,
        time in proptest::option::of((0i64..4_000_000_000, 0u32..1_000_000)),
        (host, app, msg) in (part(), part(), part()),
        pid in prop_oneof![Just("-".to_owned()), word("[1-9][0-9]{0,4}"), word("[a-z]{1,8}")],
        elements in proptest::collection::btree_map(
            word("[a-z]{1,8}@[0-9]{1,5}"),
            proptest::collection::vec((word("[a-z]{1,8}"), word("([a-zA-Z0-9 .:=\\[-]|\\\\[\"\\\\\\]]){0,12}")), 0..4),
            0..3,
        ),
        text in word("[a-zA-Z0-9][a-zA-Z0-9 ]{0,20}[a-z]"),
    ) {
        let stamp = time.map_or("-".into(), |(second, micros)| {
            let time = jiff::Timestamp::from_microsecond(second * 1_000_000 + i64::from(micros)).unwrap();
            format!("{time:.6}")
        });
        let mut data = String::new();
        for (id, params) in &elements {
            data += &format!("[{id}");
            for (name, value) in params {
                data += &format!(" {name}=\"{value}\"");
            }
            data += "]";
        }
        let data = if data.is_empty() { "-".to_owned() } else { data };
        let message = format!("<{priority}>1 {stamp} {host} {app} {pid} {msg} {data} {text}");
        prop_assert_eq!(ours(&message), theirs(&message), "{}", message);
    }

    #[test]
    fn both_parsers_read_messages_of_rfc_3164_alike(
        priority in 0u16..192,
        (month, day, hour) in (0usize..12, 1u8..29, 0u8..24),
        host in word("[a-z]{1,8}(\\.[a-z]{1,5})?"),
        tag in word("[a-z]{2,8}"),
        pid in proptest::option::of(1u32..99_999),
        text in word("[a-z]{2,8}( [a-z0-9]{1,8}){0,4}"),
    ) {
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let tag = pid.map_or(tag.clone(), |pid| format!("{tag}[{pid}]"));
        let message = format!("<{priority}>{} {day:2} 2026 {hour:02}:07:09 {host} {tag}: {text}", months[month]);
        prop_assert_eq!(ours(&message), theirs(&message), "{}", message);
    }
}
