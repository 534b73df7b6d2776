//! The RFCs' own examples, what devices send, and that nothing panics.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// 2026-11-21T07:00:00Z, in Berlin.
pub(super) fn clock() -> Clock {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    Clock::new(zone, at("2026-11-21T07:00:00Z"))
}

fn at(text: &str) -> Moment {
    Moment(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

pub(super) fn auto(message: &[u8]) -> Result<Message<'_>, ParseError> {
    parse(message, Protocol::Auto, &clock())
}

/// Everything that a message told, as words: facility.severity time host app pid msgid sd | text
pub(super) fn told(message: &str) -> String {
    let text = |part: Option<&[u8]>| String::from_utf8_lossy(part.unwrap_or(b"-")).into_owned();
    match auto(message.as_bytes()) {
        Err(error) => format!("{error:?}"),
        Ok(parsed) => format!(
            "{} {} {} {} {} {} {} | {}",
            parsed.priority.map_or("-".into(), |it| format!(
                "{}.{}",
                it.facility(),
                it.severity()
            )),
            parsed
                .time
                .map_or("-".into(), |it| jiff::Timestamp::from_microsecond(it.0)
                    .unwrap()
                    .to_string()),
            text(parsed.hostname),
            text(parsed.app_name),
            text(parsed.proc_id),
            text(parsed.msg_id),
            text((!parsed.structured_data.is_empty()).then(|| parsed.structured_data.bytes())),
            String::from_utf8_lossy(parsed.text)
        ),
    }
}

#[test]
fn the_examples_of_rfc_5424_are_read() {
    assert_eq!(
        told(
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8"
        ),
        "auth.crit 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - | 'su root' failed for lonvick on /dev/pts/8"
    );
    assert_eq!(
        told(
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts."
        ),
        "local4.notice 2003-08-24T12:14:15.000003Z 192.0.2.1 myproc 8710 - - | %% It's time to make the do-nuts."
    );
    let sd = "[exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"]";
    assert_eq!(
        told(&format!(
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 {sd} \u{feff}An application event log entry..."
        )),
        format!(
            "local4.notice 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 {sd} | An application event log entry..."
        )
    );
    let two = format!("{sd}[examplePriority@32473 class=\"high\"]");
    assert_eq!(
        told(&format!(
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 {two}"
        )),
        format!(
            "local4.notice 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 {two} | "
        )
    );
    assert_eq!(told("<0>1 - - - - - -"), "kern.emerg - - - - - - | ");
}

#[test]
fn the_time_stamps_of_rfc_5424_are_read_and_its_invalid_one_is_not() {
    let stamp = |stamp: &str| told(&format!("<1>1 {stamp} h a - - -"));
    for (given, meant) in [
        ("1985-04-12T23:20:50.52Z", "1985-04-12T23:20:50.52Z"),
        ("1985-04-12T19:20:50.52-04:00", "1985-04-12T23:20:50.52Z"),
        ("2003-10-11T22:14:15.003Z", "2003-10-11T22:14:15.003Z"),
    ] {
        assert!(stamp(given).contains(meant), "{given}");
    }
    for (given, error) in [
        ("2003-08-24T05:14:15.000000003-07:00", "TimeForm"),
        ("2003-08-24t05:14:15Z", "TimeForm"),
        ("2003-08-24T05:14:15z", "TimeForm"),
        ("2003-08-24T05:14:15", "TimeForm"),
        ("2003-08-24T05:14:15.Z", "TimeForm"),
        ("2003-02-29T05:14:15Z", "Time"),
        ("2003-13-01T05:14:15Z", "Time"),
        ("2003-08-24T24:00:00Z", "Time"),
        ("2016-12-31T23:59:60Z", "Time"),
        ("2003-08-24T05:14:15+24:00", "Time"),
    ] {
        assert_eq!(stamp(given), error, "{given}");
    }
}

#[test]
fn the_limits_of_rfc_5424_are_kept() {
    let long = |most: usize| "x".repeat(most);
    let with = |host: &str, app: &str, pid: &str, msg: &str| {
        told(&format!("<1>1 - {host} {app} {pid} {msg} -"))
    };
    assert!(with(&long(255), &long(48), &long(128), &long(32)).starts_with("kern.alert - x"));
    assert_eq!(with(&long(256), "-", "-", "-"), "Hostname");
    assert_eq!(with("-", &long(49), "-", "-"), "AppName");
    assert_eq!(with("-", "-", &long(129), "-"), "ProcId");
    assert_eq!(with("-", "-", "-", &long(33)), "MsgId");
    assert_eq!(with("ü", "-", "-", "-"), "Hostname");
    assert_eq!(with("", "-", "-", "-"), "Hostname");
    for (message, error) in [
        ("<192>1 - - - - - -", "Priority"),
        ("<01>1 - - - - - -", "Priority"),
        ("<1>2 - - - - - -", "Version"),
        ("<1>1 - - - - -", "Ends"),
        ("<1>1 - ", "Ends"),
        ("<1>1 - - - - - -text", "Text"),
        ("<1>1 - - - - - text", "StructuredData"),
    ] {
        assert_eq!(told(message), error, "{message}");
    }
}

#[test]
fn structured_data_is_read_with_its_escapes_and_repetitions() {
    let message =
        br#"<1>1 - - - - - [a@1 ip="192.0.2.1" ip="192.0.2.129"][b q="\"\\\]\n"][c] text"#;
    let data = auto(message).unwrap().structured_data;
    let shown: Vec<_> = data
        .elements()
        .map(|element| {
            let params = element.params().map(|param| {
                let mut value = Vec::new();
                param.value.push(&mut value);
                format!(
                    "{}={}",
                    param.name.escape_ascii(),
                    String::from_utf8(value).unwrap()
                )
            });
            (
                element.id.escape_ascii().to_string(),
                params.collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (
                "a@1".into(),
                vec!["ip=192.0.2.1".into(), "ip=192.0.2.129".into()]
            ),
            ("b".into(), vec![r#"q="\]\n"#.into()]),
            ("c".into(), vec![]),
        ]
    );
    assert_eq!(
        data.param(b"a@1", b"ip").unwrap().plain(),
        Some(&b"192.0.2.1"[..])
    );
    assert_eq!(data.param(b"b", b"q").unwrap().plain(), None);
    assert_eq!(data.param(b"b", b"x"), None);
}

#[test]
fn structured_data_that_breaks_the_rules_is_an_error() {
    let sd = |sd: &str| told(&format!("<1>1 - - - - - {sd}"));
    for (given, error) in [
        ("[", "SdName"),
        ("[]", "SdName"),
        ("[ a=\"1\"]", "SdName"),
        ("[a", "Ends"),
        ("[a b]", "SdValue"),
        ("[a b=c]", "SdValue"),
        ("[a b=\"c", "Ends"),
        ("[a b=\"c\\\"]", "SdValue"),
        ("[a b=\"]\"]", "SdValue"),
        ("[a b=\"c\"", "Ends"),
        ("[a b=\"c\"  d=\"e\"]", "SdName"),
        ("[a][a]", "SdTwice"),
        ("[a] [b]", "- - - - - [a] | [b]"),
    ] {
        assert!(sd(given).contains(error), "{given}: {}", sd(given));
    }
    assert_eq!(sd(&format!("[{}]", "i".repeat(33))), "SdName");
    let many: String = (0..5000).map(|at| format!("[i{at}]")).collect();
    assert!(sd(&many).ends_with("| "));
    assert_eq!(sd(&format!("{many}[i7]")), "SdTwice");
}

#[test]
fn bytes_that_are_not_utf_8_are_kept() {
    let message = b"<1>1 - - - - - [a b=\"\xff\"] \xfe\xff";
    let parsed = auto(message).unwrap();
    assert_eq!(parsed.text, b"\xfe\xff");
    assert_eq!(
        parsed.structured_data.param(b"a", b"b").unwrap().plain(),
        Some(&b"\xff"[..])
    );
    assert_eq!(auto(b"<1>Oct 11 22:14:15 h a: \xff").unwrap().text, b"\xff");
}

#[test]
fn the_examples_of_rfc_3164_are_read() {
    // Example 1; the year is the nearest, the zone the configured one.
    assert_eq!(
        told("<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8"),
        "auth.crit 2026-10-11T20:14:15Z mymachine su - - - | 'su root' failed for lonvick on /dev/pts/8"
    );
    // Example 2.
    assert_eq!(told("Use the BFG!"), "- - - - - - - | Use the BFG!");
    // Example 3.
    assert_eq!(
        told(
            "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %% It's time to make the do-nuts.  %%"
        ),
        "local4.notice 1987-08-24T11:34:00Z mymachine myproc 10 - - | %% It's time to make the do-nuts.  %%"
    );
    // Example 4.
    assert_eq!(
        told(
            "<0>1990 Oct 22 10:52:01 TZ-6 scapegoat.dmz.example.org 10.1.2.3 sched[0]: That's All Folks!"
        ),
        "kern.emerg 1990-10-22T16:52:01Z scapegoat.dmz.example.org - - - - | 10.1.2.3 sched[0]: That's All Folks!"
    );
    // Section 5.4: what a relay adds.
    assert_eq!(
        told("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!"),
        "user.notice 2027-02-05T16:32:18Z 10.0.0.99 - - - - | Use the BFG!"
    );
}

#[test]
fn what_is_met_in_the_wild_is_read() {
    for (message, meant) in [
        (
            "<13>Nov 21 07:00:00 app[12]: local, no host",
            "user.notice 2026-11-21T06:00:00Z - app 12 - - | local, no host",
        ),
        (
            "<13>Nov 21 07:00:00 host /usr/sbin/cron[9]: (root) CMD",
            "user.notice 2026-11-21T06:00:00Z host /usr/sbin/cron 9 - - | (root) CMD",
        ),
        (
            "<22>Nov 21 07:00:00 mx postfix/smtpd[7]: connect",
            "mail.info 2026-11-21T06:00:00Z mx postfix/smtpd 7 - - | connect",
        ),
        (
            "<13>Nov 21 07:00:00 host app[12] no colon",
            "user.notice 2026-11-21T06:00:00Z host app 12 - - | no colon",
        ),
        (
            "<13>Nov 21 07:00:00 host app[12]:close",
            "user.notice 2026-11-21T06:00:00Z host app 12 - - | close",
        ),
        (
            "<13>Nov 21 07:00:00 host words and no tag",
            "user.notice 2026-11-21T06:00:00Z host - - - - | words and no tag",
        ),
        (
            "<13>Nov 21 07:00:00 host app[]: x",
            "user.notice 2026-11-21T06:00:00Z host app - - - | x",
        ),
        (
            "<13>2026-11-21T07:00:00.5+01:00 host app: iso",
            "user.notice 2026-11-21T06:00:00.5Z host app - - - | iso",
        ),
        (
            "<13>2026-11-21 07:00:00 host app: space",
            "user.notice 2026-11-21T06:00:00Z host app - - - | space",
        ),
        (
            "<13>2026-11-21T07:00:00Z app[1]: x",
            "user.notice 2026-11-21T07:00:00Z - app 1 - - | x",
        ),
        (
            "<13>Nov 21 2025 07:00:00 host app: year",
            "user.notice 2025-11-21T06:00:00Z host app - - - | year",
        ),
        (
            "<13>Nov 21 07:00:00.123 CEST host app: zone",
            "user.notice 2026-11-21T05:00:00.123Z host app - - - | zone",
        ),
        (
            "<13>Sat Nov 21 07:00:00 2026 host app: ctime",
            "user.notice 2026-11-21T06:00:00Z host app - - - | ctime",
        ),
        (
            "<13>Nov  1 07:00:00 fe80::1 app: six",
            "user.notice 2026-11-01T06:00:00Z fe80::1 app - - - | six",
        ),
        ("<13>app: no time", "user.notice - - app - - - | no time"),
        ("app[3]: no priority", "- - - app 3 - - | no priority"),
        (
            "<6>[ 1234.567] usb 1-1: new device",
            "kern.info - - - - - - | [ 1234.567] usb 1-1: new device",
        ),
        (
            "<6>Nov 21 07:00:00 host kernel: [ 1234.567] usb",
            "kern.info 2026-11-21T06:00:00Z host kernel - - - | [ 1234.567] usb",
        ),
        (
            "<189>45: *Mar  1 18:46:11.123 UTC: %SYS-5-CONFIG_I: Configured",
            "local7.notice 2027-03-01T18:46:11.123Z - %SYS-5-CONFIG_I - - - | Configured",
        ),
        (
            "<189>45: router: *Nov  1 18:48:50.483 UTC: %SYS-5-X: y",
            "local7.notice 2026-11-01T18:48:50.483Z router %SYS-5-X - - - | y",
        ),
        (
            "<189>router 45: .Nov  1 18:48:50: %SYS-5-X: y",
            "local7.notice 2026-11-01T17:48:50Z router %SYS-5-X - - - | y",
        ),
        (
            "<166>Apr 25 2013 13:57:58: %ASA-6-302016: Teardown",
            "local4.info 2013-04-25T11:57:58Z - %ASA-6-302016 - - - | Teardown",
        ),
        (
            "<166>Apr 25 2013 13:57:58: fw1 : %ASA-6-302016: Teardown",
            "local4.info 2013-04-25T11:57:58Z fw1 %ASA-6-302016 - - - | Teardown",
        ),
        (
            "<166>Apr 25 2013 13:57:58 fw1 : %ASA-6-302016: Teardown",
            "local4.info 2013-04-25T11:57:58Z fw1 - - - - | : %ASA-6-302016: Teardown",
        ),
        (
            "<187>: 2013 May  1 15:05:51 UTC: %ETHPORT-3-IF: down",
            "local7.err 2013-05-01T15:05:51Z - %ETHPORT-3-IF - - - | down",
        ),
        (
            "<189>46: 00:00:46: %LINK-3-UPDOWN: up",
            "local7.notice - - 46 - - - | 00:00:46: %LINK-3-UPDOWN: up",
        ),
        (
            "<13>host Nov 21 07:00:00 app: x",
            "user.notice 2026-11-21T06:00:00Z host app - - - | x",
        ),
        ("<13>1 foo", "user.notice - - - - - - | 1 foo"),
        ("<13>", "user.notice - - - - - - | "),
        ("", "- - - - - - - | "),
        ("<abc>x", "- - - - - - - | <abc>x"),
        ("<13>http://a b", "user.notice - - - - - - | http://a b"),
        ("<13>Nov 21", "user.notice - - - - - - | Nov 21"),
        (
            "<13>Nov 21 07:00:00",
            "user.notice 2026-11-21T06:00:00Z - - - - - | ",
        ),
        (
            "<13>Nov 21 07:00:00 word",
            "user.notice 2026-11-21T06:00:00Z - - - - - | word",
        ),
    ] {
        assert_eq!(told(message), meant, "{message}");
    }
}

#[test]
fn what_cannot_be_is_an_error_and_not_another_date() {
    for (message, error) in [
        ("<192>x", "Priority"),
        ("<999>x", "Priority"),
        ("<13>Feb 30 07:00:00 host app: x", "Time"),
        ("<13>Nov 31 07:00:00 host app: x", "Time"),
        ("<13>Nov 21 24:00:00 host app: x", "Time"),
        ("<13>Nov  0 07:00:00 host app: x", "Time"),
        ("<13>2026-13-01T07:00:00Z host app: x", "Time"),
        ("<13>Feb 29 2025 07:00:00 host app: x", "Time"),
        ("<13>Nov 21 07:00:00 -25:59 host app: x", "Time"),
        ("<13>Nov 21 07:00:00 TZ-24 host app: x", "Time"),
        ("<13>2026-11-21T07:00:00+0160 host app: x", "Time"),
    ] {
        assert_eq!(told(message), error, "{message}");
    }
}

#[test]
fn the_first_and_the_last_year_of_four_digits_are_read_and_none_beyond() {
    let first = Moment(-62_167_219_200_000_000);
    let last = Moment(253_402_300_799_999_999);
    for (stamp, time) in [
        ("0000-01-01T00:00:00Z", Ok(first)),
        ("0000-01-01T23:59:00+23:59", Ok(first)),
        ("9999-12-31T23:59:59.999999Z", Ok(last)),
        ("9999-12-31T00:00:59.999999-23:59", Ok(last)),
        ("0000-01-01T00:00:00+00:01", Err(ParseError::Time)),
        ("9999-12-31T23:59:59.999999-00:01", Err(ParseError::Time)),
        ("9999-12-31T23:59:60Z", Err(ParseError::Time)),
        ("2026-11-21T07:00:00-25:59", Err(ParseError::Time)),
    ] {
        for message in [
            format!("<1>1 {stamp} h a - - - x"),
            format!("<1>{stamp} h a: x"),
        ] {
            let read = auto(message.as_bytes()).map(|message| message.time);
            assert_eq!(read, time.map(Some), "{message}");
        }
    }
    // What is no time stamp is no other date either: without the protocol told, it is text.
    for stamp in ["-0001-01-01T00:00:00Z", "10000-01-01T00:00:00Z"] {
        let new = format!("<1>1 {stamp} h a - - - x");
        let read = parse(new.as_bytes(), Protocol::Rfc5424, &clock());
        assert_eq!(read, Err(ParseError::TimeForm), "{new}");
        assert_eq!(auto(new.as_bytes()).map(|it| it.time), Ok(None), "{new}");
        let old = format!("<1>{stamp} h a: x");
        assert_eq!(auto(old.as_bytes()).map(|it| it.time), Ok(None), "{old}");
    }
}

#[test]
fn a_local_time_at_the_edges_of_what_can_be_told_is_a_time_or_an_error() {
    let first = Moment(-62_167_219_200_000_000);
    let last = Moment(253_402_300_799_999_999);
    for zone in [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Pacific/Kiritimati",
        "Pacific/Niue",
    ] {
        let zone = TimeZone::get(zone).unwrap();
        for now in [first, Moment(0), last] {
            let clock = Clock::new(zone.clone(), now);
            for stamp in [
                "0000-01-01T00:00:00",
                "9999-12-31T23:59:59.999999",
                "Jan  1 00:00:00",
                "Dec 31 23:59:59",
                "Feb 29 00:00:00",
            ] {
                let message = format!("<1>{stamp} h a: x");
                match parse(message.as_bytes(), Protocol::Auto, &clock) {
                    Ok(message) => {
                        let time = message.time.unwrap();
                        assert!((first..=last).contains(&time), "{stamp} {time:?}");
                    }
                    Err(error) => assert_eq!(error, ParseError::Time, "{stamp}"),
                }
            }
        }
    }
}

#[test]
fn a_protocol_that_is_told_is_the_only_one() {
    let message = b"<34>1 2003-10-11T22:14:15.003Z m su - ID47 - x";
    let as_3164 = parse(message, Protocol::Rfc3164, &clock()).unwrap();
    assert_eq!((as_3164.rfc, as_3164.msg_id), (Rfc::Rfc3164, None));
    let old = b"<34>Oct 11 22:14:15 mymachine su: x";
    assert_eq!(
        parse(old, Protocol::Rfc5424, &clock()),
        Err(ParseError::Version)
    );
    let whole = parse(old, Protocol::None, &clock()).unwrap();
    assert_eq!((whole.text, whole.priority), (&old[..], None));
}

/// Pieces of messages, so that random ones get far.
fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let scrap = prop_oneof![
        Just(b"<34>".to_vec()),
        Just(b"1 ".to_vec()),
        Just(b"45: ".to_vec()),
        Just(b"2003-10-11T22:14:15.003Z ".to_vec()),
        Just(b"Oct 11 22:14:15 ".to_vec()),
        Just(b"1990 ".to_vec()),
        Just(b"Feb 29 02:30:00 ".to_vec()),
        Just(b"TZ-6 ".to_vec()),
        Just(b"- ".to_vec()),
        Just(b"host ".to_vec()),
        Just(b"app[1]: ".to_vec()),
        Just(b"[a@1 b=\"c\\\"\"]".to_vec()),
        Just(b"\xef\xbb\xbf".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..6),
        "[\\[\\]\"\\\\=: <>0-9a-zA-Z+.*-]{0,6}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(scrap, 0..14).prop_map(|scraps| scraps.concat())
}

fn nil_or(most: usize) -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[!-~]{1,40}".prop_map(move |text| {
        let text = text[..text.len().min(most)].to_owned();
        if text == "-" { "x".to_owned() } else { text }
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_panic(message in scraps()) {
        for protocol in [Protocol::Auto, Protocol::Rfc5424, Protocol::Rfc3164, Protocol::None] {
            if let Ok(parsed) = parse(&message, protocol, &clock()) {
                prop_assert!(message.ends_with(parsed.text));
                let mut value = Vec::new();
                for param in parsed.structured_data.elements().flat_map(|element| element.params()) {
                    param.value.push(&mut value);
                }
                prop_assert!(value.len() <= message.len());
            }
        }
    }

    #[test]
    fn what_is_written_by_rfc_5424_is_read_back(
        number in 0u16..192,
        micros in proptest::option::of(-60_000_000_000_000_000i64..250_000_000_000_000_000),
        host in nil_or(40), app in nil_or(40), pid in nil_or(40), msg in nil_or(32),
        data in proptest::collection::btree_map("[!#-<>-\\\\^-~]{1,32}", proptest::collection::vec(("[a-z]{1,3}", proptest::collection::vec(any::<u8>(), 0..12)), 0..4), 0..4),
        bom in any::<bool>(),
        text in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let stamp = micros.map_or("-".into(), |micros| format!("{:.6}", jiff::Timestamp::from_microsecond(micros).unwrap()));
        let nil = |part: &Option<String>| part.clone().unwrap_or("-".into());
        let mut message = format!("<{number}>1 {stamp} {} {} {} {} ", nil(&host), nil(&app), nil(&pid), nil(&msg)).into_bytes();
        if data.is_empty() {
            message.push(b'-');
        }
        for (id, params) in &data {
            message.extend_from_slice(format!("[{id}").as_bytes());
            for (name, value) in params {
                message.extend_from_slice(format!(" {name}=\"").as_bytes());
                for byte in value {
                    if matches!(byte, b'"' | b'\\' | b']') {
                        message.push(b'\\');
                    }
                    message.push(*byte);
                }
                message.push(b'"');
            }
            message.push(b']');
        }
        message.push(b' ');
        if bom {
            message.extend_from_slice(b"\xef\xbb\xbf");
        }
        message.extend_from_slice(&text);

        let parsed = parse(&message, Protocol::Rfc5424, &clock()).unwrap();
        let bytes = |part: &Option<String>| part.clone().map(String::into_bytes);
        let owned = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
        prop_assert_eq!(parsed.priority, Priority::new(number));
        prop_assert_eq!(parsed.time, micros.map(Moment));
        prop_assert_eq!(owned(parsed.hostname), bytes(&host));
        prop_assert_eq!(owned(parsed.app_name), bytes(&app));
        prop_assert_eq!(owned(parsed.proc_id), bytes(&pid));
        prop_assert_eq!(owned(parsed.msg_id), bytes(&msg));
        let text = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| !bom).unwrap_or(&text);
        prop_assert_eq!(parsed.text, text);
        let read: std::collections::BTreeMap<String, Vec<(String, Vec<u8>)>> = parsed.structured_data.elements().map(|element| {
            let params = element.params().map(|param| {
                let mut value = Vec::new();
                param.value.push(&mut value);
                (String::from_utf8(param.name.to_vec()).unwrap(), value)
            });
            (String::from_utf8(element.id.to_vec()).unwrap(), params.collect())
        }).collect();
        prop_assert_eq!(read, data);
    }
}
