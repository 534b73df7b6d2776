//! Framing as a source does it: in blocks, from anywhere on. And the promise that is held for any bytes: neither blocks nor restarts change a record.

use std::time::Duration;

use super::Framer;
use crate::checkpoint::Skip;
use crate::flow::{Arenas, Record, Span};
use crate::input::frame::settings::{
    FilterSettings, GroupRule, LineEndText, LineSettings, LongLine, MaxLine, MultilineSettings,
};
use crate::input::frame::{Block, Half, Rest, Skipped};

/// A record, or what was set aside: where it begins, its value, its source bytes and lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub at: usize,
    pub value: String,
    pub bytes: u32,
    pub lines: u32,
    pub is_aside: bool,
}

/// Where framing stood: offset, framing state, how many records came before, and what was skipped.
pub type Stood = (usize, bool, Option<Skip>, usize, Skipped);

pub struct Reading {
    pub seen: Vec<Seen>,
    pub stood: Vec<Stood>,
    pub skipped: Skipped,
}

/// Frames `text` from `start` on, with more of it there at each of `cuts`, at most `most` bytes at a time.
pub fn read(
    settings: &LineSettings,
    text: &[u8],
    from: Stood,
    cuts: &[usize],
    most: usize,
    last: Rest,
) -> Reading {
    let Ok(mut framer) = Framer::new(settings) else {
        panic!("{settings:?} cannot be obeyed");
    };
    let (mut at, inside_line, skip, _, _) = from;
    let mut half = Half {
        inside_line,
        skip,
        ..Half::default()
    };
    let mut reading = Reading {
        seen: Vec::new(),
        stood: Vec::new(),
        skipped: Skipped::default(),
    };
    let ends = cuts.iter().copied().filter(|&end| end > at);
    let ends: Vec<usize> = ends.chain([text.len()]).collect();
    for end in ends {
        loop {
            let until = end.min(at + most);
            let mut arena = Arenas::new(1).take(0);
            assert!(arena.push(b"before") && arena.push(&text[at..until.max(at)]));
            let rest = if until == text.len() {
                last
            } else {
                Rest::Waits
            };
            let mut records = vec![Record {
                value: Span { start: 0, len: 6 },
                at: 0,
                bytes: 6,
                lines: 1,
            }];
            let block = Block {
                bytes: arena.filled(),
                from: 6,
                rest,
            };
            let framed = framer.frame(block, at == 0, half, &mut records);
            let aside = framed.aside.map(|aside| Seen {
                at: at + aside.at as usize,
                value: String::from_utf8_lossy(framer.value(arena.filled(), aside.value))
                    .into_owned(),
                bytes: 0,
                lines: 0,
                is_aside: true,
            });
            framer.settle(&mut arena, 6, &framed, &mut records[1..]);
            for record in &records[1..] {
                let value = &arena.filled()[record.value.range()];
                reading.seen.push(Seen {
                    at: at + record.at as usize,
                    value: String::from_utf8_lossy(value).into_owned(),
                    bytes: record.bytes,
                    lines: record.lines,
                    is_aside: false,
                });
            }
            reading.seen.extend(aside);
            reading.skipped += framed.skipped;
            half = framed.half;
            at += framed.consumed;
            let (inside, skip) = (half.inside_line, half.skip);
            reading
                .stood
                .push((at, inside, skip, reading.seen.len(), reading.skipped));
            if framed.consumed == 0 {
                let stuck = until < end;
                assert!(!stuck, "{most} bytes at {at} of {text:?} decide nothing");
                break;
            }
        }
    }
    reading
}

pub const START: Stood = (
    0,
    false,
    None,
    0,
    Skipped {
        filtered: crate::flow::Count { lines: 0, bytes: 0 },
        too_long: crate::flow::Count { lines: 0, bytes: 0 },
        cut: crate::flow::Count { lines: 0, bytes: 0 },
        unframed: crate::flow::Count { lines: 0, bytes: 0 },
        illegal_topic: crate::flow::Count { lines: 0, bytes: 0 },
        too_large: crate::flow::Count { lines: 0, bytes: 0 },
        truncated: 0,
        dead_lettered: crate::flow::Count { lines: 0, bytes: 0 },
        hole: crate::flow::Count { lines: 0, bytes: 0 },
    },
);

/// Frames `text` in one block and in several, and from each place where that stood in several others.
///
/// # Panics
/// When the records are not the same.
pub fn assert_blocks_and_restarts_change_nothing(
    settings: &LineSettings,
    text: &[u8],
    cuts: &[usize],
    again: &[usize],
    last: Rest,
) {
    // In one block only once and for all: what a group may still grow to is decided at the end.
    let all = read(settings, text, START, &[], usize::MAX / 2, last);
    let lookahead = Framer::new(settings).map_or(0, |framer| framer.lookahead());
    let reading = read(settings, text, START, cuts, lookahead, last);
    let plain = |seen: &[Seen]| -> Vec<(usize, String, u32, bool)> {
        seen.iter()
            .map(|seen| (seen.at, seen.value.clone(), seen.lines, seen.is_aside))
            .collect()
    };
    assert_eq!(plain(&reading.seen), plain(&all.seen));
    for (at, inside, skip, count, _) in reading.stood {
        let stood = (at, inside, skip, 0, Skipped::default());
        let rest = read(settings, text, stood, again, usize::MAX / 2, last);
        assert_eq!(
            plain(&rest.seen),
            plain(&all.seen[count..]),
            "from {stood:?}"
        );
    }
}

/// Four bytes of settings, the number of cuts, the distances between them, and text.
pub fn fuzz(data: &[u8]) {
    let Some(([size, how, line_end, group, cuts], rest)) = data.split_first_chunk::<5>() else {
        return;
    };
    let cuts = usize::from(cuts % 16).min(rest.len());
    let (cuts, text) = rest.split_at(cuts);
    // Restarts make it quadratic.
    let text = &text[..text.len().min(300)];
    let places = |step: &dyn Fn(u8) -> u8| -> Vec<usize> {
        let ends = cuts.iter().scan(0, |at, &cut| {
            *at += usize::from(step(cut)) + 1;
            Some(*at)
        });
        ends.filter(|end| *end < text.len()).collect()
    };
    let settings = settings(*size, *how, *line_end, *group);
    let last = if how & 0x80 == 0 {
        Rest::Last
    } else {
        Rest::Waits
    };
    let (cuts, again) = (places(&|cut| cut % 64), places(&|cut| cut / 16));
    assert_blocks_and_restarts_change_nothing(&settings, text, &cuts, &again, last);
    let reading = read(&settings, text, START, &[], usize::MAX / 2, Rest::Last);
    let records: u64 = reading.seen.iter().map(|seen| u64::from(seen.bytes)).sum();
    let counted = records + reading.skipped.outcome().total().bytes;
    // But for a byte order mark whose line is skipped or that stands alone.
    let all = text.len() as u64;
    assert!(
        counted <= all && counted + 3 >= all,
        "{counted} of {all} bytes"
    );
}

fn settings(size: u8, how: u8, line_end: u8, group: u8) -> LineSettings {
    let pick = |bits: u8, of: &[&'static str]| of[usize::from(bits) % of.len()];
    let encodings = [
        "utf-8",
        "utf-8",
        "latin-1",
        "utf-16le",
        "utf-16be",
        "shift_jis",
        "gb18030",
        "iso-2022-jp",
    ];
    let encoding = pick(how >> 2 & 7, &encodings);
    let ends = ["\n", "x", "xx", "xxxy", "\nx\n", "\r\n#"];
    let pattern = |bit: u8| (group & bit != 0).then(|| "#x".to_owned());
    let rule = match group >> 4 & 3 {
        0 => None,
        1 => Some(GroupRule::Start("^#".into())),
        2 => Some(GroupRule::Continue("^[^#]".into())),
        _ => Some(GroupRule::End("#$".into())),
    };
    LineSettings {
        max_line: MaxLine {
            // No shorter than the longest character; the configuration asks for more.
            size: u64::from(size % 16) + 4,
            policy: match how & 3 {
                0 => LongLine::Split,
                1 => LongLine::Truncate,
                2 => LongLine::Drop,
                _ => LongLine::DeadLetter,
            },
        },
        whole_characters: size & 0x80 != 0,
        line_end: match line_end % 4 {
            0 | 1 => LineEndText::Lf,
            2 => LineEndText::Nul,
            _ => LineEndText::Text(pick(line_end / 4, &ends).to_owned()),
        },
        encoding: encoding.to_owned(),
        partial_line_timeout: None,
        multiline: rule.map(|rule| MultilineSettings {
            rule,
            max_lines: u32::from(group & 3) + 1,
            timeout: Duration::from_secs(1),
        }),
        filter: FilterSettings {
            include: pattern(4),
            exclude: pattern(8),
        },
    }
}
