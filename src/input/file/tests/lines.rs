//! What the keys about lines do to files: through rotation, restarts, and whatever the books say.

use super::*;
use crate::flow::{Entries, Record};
use crate::input::frame::framer::Framer;
use crate::input::frame::settings::{
    FilterSettings, GroupRule, LineEndText, LongLine, MaxLine, MultilineSettings,
};
use crate::input::frame::{Block, Half, Rest};

fn rig(set: impl FnOnce(&mut LineSettings)) -> Rig {
    let mut rig = Rig::new(&["*.log"]);
    set(&mut rig.settings.lines);
    rig
}

fn multiline(timeout: Duration) -> Option<MultilineSettings> {
    Some(MultilineSettings {
        rule: GroupRule::Continue("^ ".into()),
        max_lines: 500,
        timeout,
    })
}

const FOR_EVER: Duration = Duration::from_secs(3600);
const AT_ONCE: Duration = Duration::from_millis(20);

impl Rig {
    fn books(&self) -> Entries {
        let entries = self.running.as_ref().unwrap().books.entries();
        assert!(entries.balanced(), "{entries:?}");
        entries
    }

    fn offset(&self) -> u64 {
        self.saved
            .values()
            .map(|entry| entry.offset)
            .max()
            .unwrap_or(0)
    }
}

/// `size` is 16; the second line is one byte too long.
const LONG: &str = "0123456789abcdef\n0123456789abcdefg\nshort\n";

fn with_policy(policy: LongLine) -> Rig {
    let rig = rig(|lines| lines.max_line = MaxLine { size: 16, policy });
    rig.append("a.log", LONG);
    rig
}

#[test]
fn a_truncated_line_keeps_its_beginning_and_the_rest_is_counted() {
    let mut rig = with_policy(LongLine::Truncate);
    rig.start();
    rig.until_read();
    assert_eq!(
        rig.lines(),
        ["0123456789abcdef", "0123456789abcdef", "short"]
    );
    let books = rig.books();
    assert_eq!((books.truncated, books.dropped["line_cut"].bytes), (1, 2));
    assert_eq!((books.read.lines, books.read.bytes), (3, LONG.len() as u64));
    rig.stop();
}

#[test]
fn a_dropped_line_is_counted_and_the_position_passes_it() {
    let mut rig = with_policy(LongLine::Drop);
    rig.start();
    rig.until_read();
    assert_eq!(rig.lines(), ["0123456789abcdef", "short"]);
    let dropped = rig.books().dropped["line_too_long"];
    assert_eq!((dropped.lines, dropped.bytes), (1, 18));
    rig.stop();
}

#[test]
fn a_line_for_the_dead_letters_is_not_passed_before_it_is_there() {
    let mut rig = with_policy(LongLine::DeadLetter);
    rig.is_full.store(true, Ordering::SeqCst);
    rig.start();
    rig.until_known("a.log");
    rig.append("b.log", "flows\n");
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["flows"]);
    assert_eq!(rig.saved[&FileKey(1)].offset, 0);
    rig.is_full.store(false, Ordering::SeqCst);
    rig.until_read();
    rig.until_lines(3);
    let aside = rig.aside.lock().unwrap().clone();
    assert_eq!(aside, [(17, "0123456789abcdef".to_owned())]);
    let dead = rig.books().dead_lettered;
    assert_eq!((dead.lines, dead.bytes), (1, 18));
    rig.stop();
}

#[test]
fn an_endless_line_takes_no_more_memory_than_a_long_one() {
    let mut rig = rig(|lines| {
        lines.max_line = MaxLine {
            size: 1024,
            policy: LongLine::Truncate,
        };
    });
    rig.memory = 1 << 20;
    rig.append("a.log", "first\nbegun ");
    rig.append("a.log", &"x".repeat(64 << 20));
    rig.start();
    rig.until_read();
    // In the middle of the line the rest is skipped by the next run too.
    rig.stop();
    rig.append("a.log", "end\nlast\n");
    rig.start();
    rig.until_lines(3);
    assert_eq!(rig.lines()[2], "last");
    assert_eq!(rig.lines()[1].len(), 1024);
    rig.stop();
}

#[test]
fn lines_end_with_nul_or_with_a_text() {
    let mut nul = rig(|lines| lines.line_end = LineEndText::Nul);
    nul.append("a.log", "one\nline\0two\r\0half");
    nul.start();
    nul.until_lines(2);
    assert_eq!(nul.lines(), ["one\nline", "two\r"]);
    nul.stop();
    let mut text = rig(|lines| lines.line_end = LineEndText::Text("</e>\n".into()));
    text.append("a.log", "<e>1\n</e>\n<e>2</e");
    text.start();
    text.until_lines(1);
    text.append("a.log", ">\n");
    text.until_lines(2);
    assert_eq!(text.lines(), ["<e>1\n", "<e>2"]);
    text.stop();
}

#[test]
fn filtered_lines_are_counted_and_the_position_passes_them() {
    let mut rig = rig(|lines| {
        lines.filter = FilterSettings {
            include: Some("keep".into()),
            exclude: Some("^#".into()),
        };
    });
    rig.append("a.log", "keep 1\nno\n# keep\nkeep 2\nno\nno\n");
    rig.start();
    rig.until_read();
    assert_eq!(rig.lines(), ["keep 1", "keep 2"]);
    let books = rig.books();
    assert_eq!((books.filtered.lines, books.filtered.bytes), (4, 16));
    assert_eq!(books.read.lines, 6);
    rig.append("a.log", "nothing else\n");
    rig.until_read();
    assert_eq!(rig.books().filtered.lines, 5);
    rig.stop();
}

#[test]
fn a_line_that_is_not_ended_in_time_is_sent_and_goes_on_as_another() {
    let mut rig = rig(|lines| lines.partial_line_timeout = Some(AT_ONCE));
    rig.append("a.log", "one\nprompt> ");
    rig.start();
    rig.until_lines(2);
    rig.until_read();
    rig.append("a.log", "\ntwo\nhalf");
    rig.until_lines(4);
    rig.until_read();
    rig.stop();
    // What was sent is known to the next run too.
    rig.append("a.log", " and half\nthree\r\n");
    rig.start();
    rig.until_lines(6);
    rig.stop();
    let expected = ["one", "prompt> ", "two", "half", " and half", "three"];
    assert_eq!(rig.lines(), expected);
}

#[test]
fn a_late_timeout_is_kept_by_sweeps() {
    let mut rig = rig(|lines| lines.partial_line_timeout = Some(Duration::from_millis(200)));
    rig.append("a.log", "one\nhalf");
    rig.start();
    rig.until_lines(2);
    rig.until_read();
    assert_eq!(rig.lines(), ["one", "half"]);
    rig.stop();
}

#[test]
fn without_a_timeout_a_half_line_waits() {
    let mut rig = rig(|_| ());
    rig.append("a.log", "one\nhalf");
    rig.start();
    rig.until_lines(1);
    let start = Instant::now();
    rig.until("patience", |_| start.elapsed() > Duration::from_millis(100));
    assert_eq!(rig.lines(), ["one"]);
    rig.stop();
}

#[test]
fn an_open_group_survives_rotation_and_restart() {
    let mut rig = rig(|lines| lines.multiline = multiline(FOR_EVER));
    rig.append("a.log", "one\n at 1\ntwo\n at 1\n");
    rig.start();
    rig.until_lines(1);
    rig.until("position", |rig| rig.offset() == 10);
    rig.stop();
    assert_eq!(rig.offset(), 10);
    rig.rename("a.log", "b.log");
    rig.append("b.log", " at 2\n");
    rig.append("a.log", "new\nother\n");
    rig.start();
    rig.until_lines(2);
    rig.append("b.log", " at 3\nthree\n");
    rig.until_lines(3);
    let mut lines = rig.lines();
    lines.sort_unstable();
    assert_eq!(lines, ["new", "one\n at 1", "two\n at 1\n at 2\n at 3"]);
    rig.stop();
}

#[test]
fn a_group_is_over_when_nothing_came_for_long() {
    let mut rig = rig(|lines| lines.multiline = multiline(AT_ONCE));
    rig.append("a.log", "one\r\n at 1\r\n at 2\r\nhal");
    rig.start();
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["one\n at 1\n at 2"]);
    let books = rig.books();
    assert_eq!((books.read.lines, books.read.bytes), (3, 19));
    rig.append("a.log", "f\n");
    rig.until_lines(2);
    assert_eq!(rig.lines()[1], "half");
    rig.stop();
}

#[test]
fn a_group_and_the_half_line_after_it_have_times_of_their_own() {
    let mut rig = rig(|lines| {
        lines.multiline = multiline(AT_ONCE);
        lines.partial_line_timeout = Some(2 * AT_ONCE);
    });
    rig.append("a.log", "one\n at 1\nhalf");
    rig.start();
    rig.until_lines(2);
    rig.until_read();
    assert_eq!(rig.lines(), ["one\n at 1", "half"]);
    rig.stop();
}

#[test]
fn once_sends_the_last_group_too() {
    let mut rig = rig(|lines| lines.multiline = multiline(FOR_EVER));
    rig.append("a.log", "one\n at 1\n at 2");
    rig.start_with(true);
    rig.end();
    assert_eq!(rig.lines(), ["one\n at 1\n at 2"]);
}

#[test]
fn other_encodings_arrive_as_utf_8_and_positions_are_those_of_the_file() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let mut rig = rig(|lines| lines.encoding = "utf-16le".into());
    let write = |rig: &Rig, bytes: &[u8]| {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(rig.path("a.log"));
        file.unwrap().write_all(bytes).unwrap();
    };
    write(&rig, &wide("\u{feff}grün\r\n"));
    write(&rig, &wide("😀\n")[..3]);
    rig.start();
    rig.until_lines(1);
    rig.stop();
    assert_eq!(rig.offset(), 14);
    write(&rig, &wide("😀\n")[3..]);
    rig.start();
    rig.until_lines(2);
    rig.stop();
    assert_eq!(rig.lines(), ["grün", "😀"]);
}

#[test]
fn a_byte_order_mark_that_says_the_other_order_is_believed_in_its_file_also_after_a_restart() {
    let little =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let big = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let mut rig = rig(|lines| lines.encoding = "utf-16le".into());
    let write = |rig: &Rig, name: &str, bytes: &[u8]| {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(rig.path(name));
        file.unwrap().write_all(bytes).unwrap();
    };
    // U+0A00 and U+0D0A hold the bytes of line ends, in either order.
    write(&rig, "a.log", &big("\u{feff}grün\u{a00}\r\nha"));
    write(&rig, "b.log", &little("ohne\u{d0a}\n"));
    rig.start();
    rig.until_lines(2);
    rig.stop();
    write(&rig, "a.log", &big("lb\n"));
    write(&rig, "b.log", &little("mehr\n"));
    write(&rig, "c.log", &big("\u{feff}c\n")[..1]);
    rig.start();
    rig.until_lines(4);
    write(&rig, "c.log", &big("\u{feff}c\n")[1..]);
    rig.until_lines(5);
    rig.stop();
    let mut lines = rig.lines();
    lines.sort();
    assert_eq!(lines, ["c", "grün\u{a00}", "halb", "mehr", "ohne\u{d0a}"]);
}

#[test]
fn start_at_end_finds_the_last_line_end_in_the_order_of_the_bytes() {
    let big = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let mut rig = rig(|lines| lines.encoding = "utf-16le".into());
    rig.settings.start_at = StartAt::End;
    fs::write(rig.path("a.log"), big("\u{feff}old\nne")).unwrap();
    rig.start();
    rig.until("start", |rig| rig.started);
    let file = OpenOptions::new().append(true).open(rig.path("a.log"));
    file.unwrap().write_all(&big("w\n")).unwrap();
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["new"]);
    rig.stop();
}

#[test]
fn start_at_end_begins_after_the_last_line_end_of_the_encoding() {
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_be_bytes).collect() };
    let mut rig = rig(|lines| lines.encoding = "utf-16be".into());
    rig.settings.start_at = StartAt::End;
    fs::write(rig.path("a.log"), wide("old\nne")).unwrap();
    rig.start();
    rig.until("start", |rig| rig.started);
    let file = OpenOptions::new().append(true).open(rig.path("a.log"));
    file.unwrap().write_all(&wide("w\n")).unwrap();
    rig.until_lines(1);
    assert_eq!(rig.lines(), ["new"]);
    rig.stop();
}

#[test]
fn a_byte_order_mark_belongs_to_no_line() {
    let mut rig = rig(|_| ());
    rig.append("a.log", "\u{feff}one\ntwo\n");
    rig.start();
    rig.until_read();
    assert_eq!(rig.lines(), ["one", "two"]);
    assert_eq!(rig.books().read.bytes, 11);
    rig.stop();
}

#[test]
fn appends_and_restarts_anywhere_give_the_records_of_the_whole_file() {
    let group = |rule| {
        Some(MultilineSettings {
            rule,
            max_lines: 3,
            timeout: FOR_EVER,
        })
    };
    let kinds = [
        LineSettings {
            multiline: group(GroupRule::Start("^#".into())),
            ..LineSettings::default()
        },
        LineSettings {
            multiline: group(GroupRule::End("#$".into())),
            line_end: LineEndText::Text("\nx".into()),
            filter: FilterSettings {
                include: None,
                exclude: Some("x#".into()),
            },
            ..LineSettings::default()
        },
        LineSettings {
            max_line: MaxLine {
                size: 16,
                policy: LongLine::Truncate,
            },
            encoding: "utf-16be".into(),
            ..LineSettings::default()
        },
        LineSettings {
            max_line: MaxLine {
                size: 16,
                policy: LongLine::DeadLetter,
            },
            multiline: group(GroupRule::Continue("^x".into())),
            encoding: "latin-1".into(),
            ..LineSettings::default()
        },
    ];
    // A small generator: the same steps in every run.
    let mut state = 7_u32;
    let mut random = move |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    for settings in kinds {
        let mut rig = rig(|lines| *lines = settings.clone());
        let mut text = Vec::new();
        rig.append("a.log", "");
        for _ in 0..12 {
            rig.start();
            for _ in 0..3 {
                let bytes: Vec<u8> = (0..random(60))
                    .map(|_| b"xxxx##\n\n\r\n\0\0\0\xfc"[random(14) as usize])
                    .collect();
                let file = OpenOptions::new().append(true).open(rig.path("a.log"));
                file.unwrap().write_all(&bytes).unwrap();
                text.extend_from_slice(&bytes);
                rig.take();
            }
            let (expected, position) = whole(&settings, &text);
            rig.until("records", |rig| {
                rig.arrived.len() >= expected.len() && rig.offset() >= position
            });
            rig.stop();
            assert_eq!(rig.lines(), expected, "{settings:?}");
        }
    }
}

/// What is certain in `text`, and how much of it has to be read for that.
fn whole(settings: &LineSettings, text: &[u8]) -> (Vec<String>, u64) {
    let mut framer = Framer::new(settings).unwrap();
    let (mut half, mut at, mut values, mut settled) = (Half::default(), 0, Vec::new(), 0);
    loop {
        let block = Block {
            bytes: &text[at..],
            from: 0,
            rest: Rest::Waits,
        };
        let mut records: Vec<Record> = Vec::new();
        let framed = framer.frame(block, at == 0, half, &mut records);
        values.extend(records.iter().map(|record| {
            String::from_utf8_lossy(framer.value(&text[at..], record.value)).into_owned()
        }));
        half = framed.half;
        at += framed.consumed;
        if !records.is_empty() || !framed.skipped.is_empty() {
            settled = at as u64;
        }
        if framed.consumed == 0 {
            return (values, settled);
        }
    }
}
