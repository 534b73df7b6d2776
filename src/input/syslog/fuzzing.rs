//! Any bytes as a stream and as a message: pieces change nothing, every byte is accounted for, nothing panics, and the JSON form is JSON.

use std::ops::Range;

use jiff::tz::TimeZone;
use serde_json::Value;

use super::frame::{Framer, Framing, What};
use super::json::push_syslog;
use super::parse::{Clock, Moment, ParseError, Protocol, Rfc, parse};
use crate::envelope::read::push_time;
use crate::input::frame::settings::{LongLine, MaxLine};

/// Four bytes for framing, policy, length and two cuts; a stream.
pub fn frames(data: &[u8]) {
    let Some(([how, size, first, second], stream)) = data.split_first_chunk::<4>() else {
        return;
    };
    let framing = [Framing::Auto, Framing::Octet, Framing::Lf, Framing::Nul];
    let policy = [
        LongLine::Split,
        LongLine::Truncate,
        LongLine::Drop,
        LongLine::DeadLetter,
    ];
    let framing = framing[usize::from(how & 3)];
    let max_line = MaxLine {
        size: u64::from(size % 64) + 1,
        policy: policy[usize::from(how >> 2 & 3)],
    };
    let whole = framed(Framer::new(framing, max_line), &[stream]);
    let cut = |at: &u8| usize::from(*at) % (stream.len() + 1);
    let (first, second) = (cut(first).min(cut(second)), cut(first).max(cut(second)));
    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
    let bytes: Vec<&[u8]> = stream.chunks(1).chain([&[][..]]).collect();
    for pieces in [&pieces[..], &bytes[..]] {
        let cut = framed(Framer::new(framing, max_line), pieces);
        assert_eq!(whole.0, cut.0, "pieces change nothing");
        if whole.0.last().is_none_or(|last| last != "lost") {
            assert_eq!(whole.1, cut.1);
        }
    }
    // But for empty frames at the end, which belong to no message.
    let is_filler = |byte: &&u8| matches!(byte, b'\n' | b'\r' | 0);
    let fillers = stream.iter().rev().take_while(is_filler).count();
    assert!(whole.1 <= stream.len() && whole.1 + fillers >= stream.len());
    if max_line.policy == LongLine::Split {
        let longest = whole.0.iter().map(|told| told.len()).max();
        // A byte that is not UTF-8 is told as three, and there are marks.
        assert!(longest.unwrap_or(0) <= 3 * max_line.size as usize + 4);
    }
}

/// A message, in every protocol.
pub fn message(data: &[u8]) {
    // 2026-11-21T07:00:00Z
    let clock = Clock::new(TimeZone::UTC, Moment(1_795_244_400_000_000));
    let protocols = [
        Protocol::Auto,
        Protocol::Rfc5424,
        Protocol::Rfc3164,
        Protocol::None,
    ];
    for protocol in protocols {
        let parsed = parse(data, protocol, &clock);
        if let Ok(message) = &parsed {
            let bom: &[u8] = b"\xef\xbb\xbf";
            assert!(data.ends_with(message.text), "the text is what is left");
            if let Some(time) = message.time {
                assert_eq!(
                    read_again(time),
                    Ok(Some(time)),
                    "a time is told as it was read"
                );
            }
            for part in [message.hostname, message.app_name, message.proc_id] {
                assert!(part.is_none_or(|part| !part.is_empty()));
            }
            assert!(message.rfc == Rfc::Rfc5424 || message.structured_data.is_empty());
            if message.rfc == Rfc::Rfc5424 && data.is_ascii() {
                let head = &data[..data.len() - message.text.len()];
                assert!(!head.ends_with(bom));
                assert!(message.priority.is_some());
            }
        }
        let mut json = b"{\"message\":\"\"".to_vec();
        let is_looked_into = protocol != Protocol::None;
        let parsed = parsed.as_ref().map_err(|error| *error);
        push_syslog(parsed, is_looked_into, None, &mut Vec::new(), &mut json);
        json.push(b'}');
        let object: Value = match serde_json::from_slice(&json) {
            Ok(object) => object,
            Err(error) => panic!("{error}: {}", json.escape_ascii()),
        };
        let syslog = &object["syslog"];
        assert_eq!(syslog["error"].is_string(), parsed.is_err());
        let elements = parsed.map_or(0, |it| it.structured_data.elements().count());
        let shown = syslog["structured_data"].as_object();
        assert_eq!(
            shown.map_or(0, |it| it.len()),
            elements,
            "ids are different"
        );
    }
}

/// The time of a message that tells it as the JSON form does.
fn read_again(time: Moment) -> Result<Option<Moment>, ParseError> {
    let mut told = Vec::new();
    push_time(time.0, &mut told);
    let clock = Clock::new(TimeZone::UTC, Moment(0));
    // Without its quotes.
    let message = [b"<13>1 ", &told[1..told.len() - 1], b" - - - - -"].concat();
    parse(&message, Protocol::Rfc5424, &clock).map(|message| message.time)
}

/// What a stream comes to when it arrives in these pieces: a word for each step that is not `More`, skipped bytes of one message together.
pub(super) fn framed(mut framer: Framer, pieces: &[&[u8]]) -> (Vec<String>, usize) {
    let (mut told, mut counted) = (Vec::new(), 0);
    let mut carry = Vec::new();
    let mut skipped = 0;
    for (at, piece) in pieces.iter().enumerate() {
        carry.extend_from_slice(piece);
        let last = at + 1 == pieces.len();
        loop {
            let step = framer.next(&carry, last);
            let text =
                |range: &Range<usize>| String::from_utf8_lossy(&carry[range.clone()]).into_owned();
            let mut is_over = step.consumed == 0;
            match &step.what {
                What::More => is_over = step.consumed == 0 || carry.len() == step.consumed,
                What::Text(it) => {
                    let marks = [
                        (it.is_piece, '+'),
                        (!it.ends, '~'),
                        (it.is_cut, '/'),
                        (it.is_torn, '!'),
                    ];
                    let marks: String = marks
                        .iter()
                        .filter(|mark| mark.0)
                        .map(|mark| mark.1)
                        .collect();
                    told.push(format!("{}{marks}", text(&it.at)));
                    counted += it.bytes;
                }
                What::Aside(range, bytes) => {
                    told.push(format!("aside {}", text(range)));
                    counted += bytes;
                }
                What::Skip(skip, bytes, ends) => {
                    counted += bytes;
                    skipped += bytes;
                    if *ends {
                        told.push(format!("{skip:?} {skipped}"));
                        skipped = 0;
                    }
                }
                What::Lost(bytes, _) => {
                    told.push("lost".into());
                    return (told, counted + bytes);
                }
            }
            carry.drain(..step.consumed);
            assert!(
                carry.len() < framer.lookahead() || !is_over,
                "it would wait for more than it needs"
            );
            if is_over || (carry.is_empty() && framer.is_between()) || carry.is_empty() && !last {
                break;
            }
        }
    }
    (told, counted)
}
