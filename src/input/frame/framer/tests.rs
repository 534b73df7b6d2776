//! All features, alone and together: split anywhere, begun again anywhere.

use std::time::Duration;

use proptest::prelude::*;

use super::reading::{Reading, START, assert_blocks_and_restarts_change_nothing, read};
use super::*;
use crate::input::frame::settings::{
    FilterSettings, GroupRule, LineEndText, LongLine, MaxLine, MultilineSettings,
};

fn whole(settings: &LineSettings, text: &[u8]) -> Reading {
    read(settings, text, START, &[], usize::MAX / 2, Rest::Last)
}

fn values(settings: &LineSettings, text: &[u8]) -> Vec<String> {
    let seen = whole(settings, text).seen;
    seen.into_iter()
        .map(|seen| {
            if seen.is_aside {
                format!("aside {}", seen.value)
            } else {
                seen.value
            }
        })
        .collect()
}

fn with_policy(policy: LongLine) -> LineSettings {
    LineSettings {
        max_line: MaxLine { size: 4, policy },
        ..LineSettings::default()
    }
}

#[test]
fn a_long_line_meets_its_policy_and_one_of_exactly_the_size_does_not() {
    let text = b"abcd\nabcd\r\nabcde\nx\nabcdefghi\r\ny";
    let of = |policy| values(&with_policy(policy), text);
    let split = ["abcd", "abcd", "abcd", "e", "x", "abcd", "efgh", "i", "y"];
    assert_eq!(of(LongLine::Split), split);
    assert_eq!(
        of(LongLine::Truncate),
        ["abcd", "abcd", "abcd", "x", "abcd", "y"]
    );
    assert_eq!(of(LongLine::Drop), ["abcd", "abcd", "x", "y"]);
    let aside = ["abcd", "abcd", "aside abcd", "x", "aside abcd", "y"];
    assert_eq!(of(LongLine::DeadLetter), aside);
}

#[test]
fn what_is_not_sent_of_long_lines_is_counted() {
    let text = b"abcde\nx\nabcdefghi\r\n";
    let of = |policy| whole(&with_policy(policy), text).skipped;
    let truncated = of(LongLine::Truncate);
    assert_eq!(
        (
            truncated.truncated,
            truncated.cut.lines,
            truncated.cut.bytes
        ),
        (2, 0, 9)
    );
    let dropped = of(LongLine::Drop).too_long;
    assert_eq!((dropped.lines, dropped.bytes), (2, 17));
    let aside = of(LongLine::DeadLetter).dead_lettered;
    assert_eq!((aside.lines, aside.bytes), (2, 17));
}

#[test]
fn lines_end_as_they_are_said_to() {
    let of = |line_end, text: &[u8]| {
        let settings = LineSettings {
            line_end,
            ..LineSettings::default()
        };
        values(&settings, text)
    };
    assert_eq!(
        of(LineEndText::Nul, b"a\r\0b\nc\0\0d"),
        ["a\r", "b\nc", "", "d"]
    );
    assert_eq!(
        of(LineEndText::Text("xx".into()), b"a\nxxxb"),
        ["a\n", "xb"]
    );
    assert_eq!(of(LineEndText::Text("\n".into()), b"a\r\nb"), ["a\r", "b"]);
    let text = LineEndText::Text("--\n".into());
    assert_eq!(of(text, b"a\nb--\n--\nc--"), ["a\nb", "", "c--"]);
}

#[test]
fn other_encodings_become_utf_8() {
    let of = |encoding: &str, text: &[u8]| {
        let settings = LineSettings {
            encoding: encoding.into(),
            ..LineSettings::default()
        };
        values(&settings, text)
    };
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    assert_eq!(
        of("utf-16le", &wide("\u{feff}grün\r\n\u{a61}\n😀")),
        ["grün", "\u{a61}", "😀"]
    );
    assert_eq!(of("utf-16le", &wide("a\n")), ["a"]);
    assert_eq!(of("latin-1", b"gr\xfcn\n\xe4"), ["grün", "ä"]);
    assert_eq!(of("shift_jis", b"\x93\xfa\x96\x7b\r\nx"), ["日本", "x"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_line() {
    let reading = whole(
        &LineSettings::default(),
        b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n",
    );
    assert_eq!(reading.seen[0].value, "one");
    assert_eq!((reading.seen[0].at, reading.seen[0].bytes), (0, 7));
    assert_eq!(reading.seen[1].value, "\u{feff}two");
    let exact = values(&with_policy(LongLine::Split), b"\xef\xbb\xbfabcd\n");
    assert_eq!(exact, ["abcd"]);
}

fn grouped(rule: GroupRule, max_lines: u32, size: u64) -> LineSettings {
    LineSettings {
        max_line: MaxLine {
            size,
            policy: LongLine::Split,
        },
        multiline: Some(MultilineSettings {
            rule,
            max_lines,
            timeout: Duration::from_secs(1),
        }),
        ..LineSettings::default()
    }
}

#[test]
fn lines_are_grouped_by_each_of_the_rules() {
    let text = b"at 0\nE 1\n at\r\n at\nE 2\nE 3\n at\n";
    let start = grouped(GroupRule::Start("^E".into()), 9, 99);
    let expected = ["at 0", "E 1\n at\n at", "E 2", "E 3\n at"];
    assert_eq!(values(&start, text), expected);
    let next = grouped(GroupRule::Continue("^ ".into()), 9, 99);
    assert_eq!(values(&next, text), expected);
    let end = grouped(GroupRule::End(";$".into()), 9, 99);
    assert_eq!(values(&end, b"a\nb;\nc;\n\nd"), ["a\nb;", "c;", "\nd"]);
    let lines: Vec<u32> = whole(&start, text)
        .seen
        .iter()
        .map(|seen| seen.lines)
        .collect();
    assert_eq!(lines, [1, 3, 1, 2]);
}

#[test]
fn groups_are_bounded() {
    let start = |max_lines, size| grouped(GroupRule::Start("^E".into()), max_lines, size);
    let text = b"E\n1\n2\n3\nE\n";
    assert_eq!(values(&start(2, 99), text), ["E\n1", "2\n3", "E"]);
    assert_eq!(values(&start(9, 5), text), ["E\n1\n2", "3", "E"]);
    // A line that is too long stands for itself.
    assert_eq!(
        values(&start(9, 5), b"E\n1234567\n2\n"),
        ["E", "12345", "67", "2"]
    );
}

#[test]
fn a_filter_is_asked_about_whole_records() {
    let mut settings = grouped(GroupRule::Start("^E".into()), 9, 8);
    settings.filter = FilterSettings {
        include: None,
        exclude: Some("bad".into()),
    };
    let reading = whole(&settings, b"E 1\nbad\nE 2\nok\nbad 56789 ok\nE\n");
    let values: Vec<_> = reading
        .seen
        .iter()
        .map(|seen| seen.value.as_str())
        .collect();
    assert_eq!(values, ["E 2\nok", "E"]);
    assert_eq!(
        (
            reading.skipped.filtered.lines,
            reading.skipped.filtered.bytes
        ),
        (3, 21)
    );
}

#[test]
fn what_waited_long_enough_is_sent_and_its_continuation_is_a_record() {
    let settings = LineSettings::default();
    let first = read(&settings, b"one\ntwo\r", START, &[], 99, Rest::Line);
    let stood = *first.stood.last().unwrap();
    assert_eq!(first.seen.len(), 2);
    // The CR may belong to the line end.
    assert_eq!((stood.0, stood.1), (7, true));
    let text = b"one\ntwo\r\nthree\n";
    let rest = read(&settings, text, stood, &[], 99, Rest::Waits);
    let values: Vec<_> = rest.seen.iter().map(|seen| seen.value.as_str()).collect();
    assert_eq!(values, ["three"]);
    let rest = read(&settings, b"one\ntwo\rx\n", stood, &[], 99, Rest::Waits);
    assert_eq!(rest.seen[0].value, "\rx");
}

fn settings() -> impl Strategy<Value = LineSettings> {
    let policy = prop_oneof![
        Just(LongLine::Split),
        Just(LongLine::Truncate),
        Just(LongLine::Drop),
        Just(LongLine::DeadLetter),
    ];
    let line_end = prop_oneof![
        3 => Just(LineEndText::Lf),
        1 => Just(LineEndText::Nul),
        1 => Just(LineEndText::Text("xx".into())),
        1 => Just(LineEndText::Text("\nx\n".into())),
    ];
    let encoding = prop_oneof![
        3 => Just("utf-8"),
        1 => Just("latin-1"),
        1 => Just("utf-16le"),
        1 => Just("utf-16be"),
        1 => Just("shift_jis"),
    ];
    let rule = prop_oneof![
        Just(GroupRule::Start("^#".into())),
        Just(GroupRule::Continue("^[^#]".into())),
        Just(GroupRule::End("#$".into())),
    ];
    let multiline = (rule, 1..4u32).prop_map(|(rule, max_lines)| MultilineSettings {
        rule,
        max_lines,
        timeout: Duration::from_secs(1),
    });
    let multiline = proptest::option::of(multiline);
    let pattern = || proptest::option::weighted(0.2, Just("#x".to_owned()));
    let filter = (pattern(), pattern());
    (4..12u64, policy, line_end, encoding, multiline, filter).prop_map(
        |(size, policy, line_end, encoding, multiline, (include, exclude))| LineSettings {
            max_line: MaxLine { size, policy },
            whole_characters: size % 2 == 0,
            line_end: match encoding {
                "shift_jis" => LineEndText::Lf,
                _ => line_end,
            },
            encoding: encoding.into(),
            partial_line_timeout: None,
            multiline,
            filter: FilterSettings { include, exclude },
        },
    )
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        6 => Just(b'x'),
        3 => Just(b'#'),
        4 => Just(b'\n'),
        2 => Just(b'\r'),
        3 => Just(0),
        1 => Just(0x93),
        1 => Just(0xd8),
        1 => Just(0xef),
    ];
    let unit = prop_oneof![
        3 => byte.prop_map(|byte| vec![byte]),
        2 => Just(b"\n\0".to_vec()),
        2 => Just(b"\0\n".to_vec()),
        1 => Just(b"\xd8\x3d\xde\x00".to_vec()),
        1 => Just(b"\nx\n".to_vec()),
    ];
    let bom = prop_oneof![
        4 => Just(&b""[..]),
        1 => Just(&b"\xef\xbb\xbf"[..]),
        1 => Just(&b"\xff\xfe"[..]),
    ];
    (bom, proptest::collection::vec(unit, 0..40))
        .prop_map(|(bom, units)| [bom, &units.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn blocks_and_restarts_change_nothing(
        settings in settings(),
        text in text(),
        cuts in proptest::collection::btree_set(0..100usize, 0..20),
        again in proptest::collection::btree_set(0..100usize, 0..20),
        last in prop_oneof![Just(Rest::Waits), Just(Rest::Last)],
    ) {
        let within = |cuts: std::collections::BTreeSet<usize>| -> Vec<usize> {
            cuts.into_iter().filter(|&cut| cut < text.len()).collect()
        };
        let (cuts, again) = (within(cuts), within(again));
        assert_blocks_and_restarts_change_nothing(&settings, &text, &cuts, &again, last);
    }

    #[test]
    fn every_source_byte_is_in_a_record_or_counted_as_skipped(settings in settings(), text in text()) {
        let reading = whole(&settings, &text);
        let records: u64 = reading.seen.iter().map(|seen| u64::from(seen.bytes)).sum();
        let skipped = reading.skipped.outcome().total().bytes;
        let bom = Framer::new(&settings).unwrap().lookahead() as u64;
        let counted = records + skipped;
        // But for a byte order mark whose line is skipped or that stands alone.
        prop_assert!(counted <= text.len() as u64 && counted + bom.min(3) >= text.len() as u64);
    }

    #[test]
    fn the_plain_way_and_the_general_one_are_one(
        text in text(),
        size in 1..9u64,
    ) {
        let settings = LineSettings {
            max_line: MaxLine { size, policy: LongLine::Split },
            ..LineSettings::default()
        };
        let plain = whole(&settings, &text).seen;
        let mut records = Vec::new();
        let mut general = General::new(&settings, size as usize).unwrap();
        let from = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
        let block = Block { bytes: &text, from, rest: Rest::Last };
        general.frame(block, Half::default(), &mut records);
        let seen: Vec<String> = records
            .iter()
            .map(|record| String::from_utf8_lossy(&text[record.value.range()]).into_owned())
            .collect();
        let plain: Vec<String> = plain.into_iter().map(|seen| seen.value).collect();
        prop_assert_eq!(seen, plain);
    }

    #[test]
    fn what_is_sent_early_is_neither_lost_nor_sent_twice(
        mut settings in settings(),
        text in text(),
        cuts in proptest::collection::btree_set(0..100usize, 0..20),
        rest in prop_oneof![Just(Rest::Group), Just(Rest::Line)],
    ) {
        settings.max_line.policy = LongLine::Split;
        settings.filter = FilterSettings::default();
        let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < text.len()).collect();
        // Each part is all that is there for long.
        let (mut stood, mut seen) = (START, Vec::new());
        for end in cuts.into_iter().chain([text.len()]) {
            let part = read(&settings, &text[..end], stood, &[], usize::MAX / 2, rest);
            stood = *part.stood.last().unwrap();
            seen.extend(part.seen);
        }
        let mut at = 0;
        let is_line_end = |bytes: &[u8]| bytes.iter().all(|byte| b"\n\r\0x\xef\xbb\xbf\xff\xfe".contains(byte));
        for record in seen {
            prop_assert!(record.at >= at && is_line_end(&text[at..record.at]), "{} {:?}", at, record);
            at = record.at + record.bytes as usize;
        }
        prop_assert!(at <= stood.0 && is_line_end(&text[at..stood.0]));
    }

    #[test]
    fn nothing_sent_early_makes_an_empty_record(
        text in proptest::collection::vec(prop_oneof![2 => Just(b'x'), 2 => Just(b'\n'), 1 => Just(b'\r')], 0..40),
        cuts in proptest::collection::btree_set(0..40usize, 0..20),
    ) {
        let settings = LineSettings::default();
        let cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut < text.len()).collect();
        let (mut stood, mut seen) = (START, Vec::new());
        for end in cuts.into_iter().chain([text.len()]) {
            let part = read(&settings, &text[..end], stood, &[], usize::MAX / 2, Rest::Line);
            stood = *part.stood.last().unwrap();
            seen.extend(part.seen);
        }
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let empty = lines.filter(|line| [&b"\n"[..], b"\r\n"].contains(line)).count();
        prop_assert_eq!(seen.iter().filter(|seen| seen.value.is_empty()).count(), empty);
    }

    #[test]
    fn lines_and_groups_are_what_a_simple_reading_says(
        text in "[x#\n\r ]{0,40}",
        end in prop_oneof![Just(None), Just(Some("\n")), Just(Some("xx")), Just(Some("\r\n#"))],
        encoding in prop_oneof![Just("utf-8"), Just("utf-16le"), Just("windows-1252")],
        rule in proptest::option::of(0..3usize),
        max_lines in 1..5u32,
    ) {
        let mut lines: Vec<&str> = text.split(end.unwrap_or("\n")).collect();
        if lines.last() == Some(&"") {
            lines.pop();
        }
        let is_ended = |at: usize| at + 1 < lines.len() || text.ends_with(end.unwrap_or("\n"));
        let cut = |(at, line): (usize, &&str)| match line.strip_suffix('\r') {
            Some(cut) if end.is_none() && is_ended(at) => cut.to_owned(),
            _ => (*line).to_owned(),
        };
        let lines: Vec<String> = lines.iter().enumerate().map(cut).collect();
        let mut groups: Vec<Vec<String>> = Vec::new();
        let mut is_open = false;
        for line in lines {
            let begins = match rule {
                Some(0) => line.starts_with('#'),
                Some(1) => !line.starts_with(' '),
                Some(_) => false,
                None => true,
            };
            let ends = rule == Some(2) && line.ends_with('#');
            if !is_open || begins {
                groups.push(Vec::new());
            }
            let group = groups.last_mut().unwrap();
            group.push(line);
            is_open = !ends && group.len() < max_lines as usize;
        }
        let expected: Vec<String> = groups.iter().map(|group| group.join("\n")).collect();
        let rules = [
            GroupRule::Start("^#".into()),
            GroupRule::Continue("^ ".into()),
            GroupRule::End("#$".into()),
        ];
        let settings = LineSettings {
            line_end: end.map_or(LineEndText::Lf, |end| LineEndText::Text(end.into())),
            encoding: encoding.into(),
            multiline: rule.map(|rule| MultilineSettings {
                rule: rules[rule].clone(),
                max_lines,
                timeout: Duration::from_secs(1),
            }),
            ..LineSettings::default()
        };
        let bytes = crate::input::encoding::Encoding::of(encoding).unwrap().encode(&text).unwrap();
        prop_assert_eq!(values(&settings, &bytes), expected);
    }
}
