//! Any bytes as a segment: nothing panics, what is read was written, and damage takes no more than the blocks that it is in.

use std::sync::Arc;

use super::block::{Body, Contents, Found, Life, Parts, find, write};
use crate::flow::{Arenas, Count, Extras, Origin, Record, Run, Span};
use crate::fuzzing::Damage;

/// Six bytes of damage; a segment, or lines of which each becomes a block.
pub fn segment(data: &[u8]) {
    for life in [Life::NEW, Life::again(1)] {
        read(data, life, 0);
    }
    let Some((damage, text)) = Damage::split(data) else {
        return;
    };
    // The CRCs are right here: nobody guesses them.
    if let Some(body) = Body::read(text) {
        append(body);
    }
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
        push(&mut bytes, Life::NEW, number as u64, line);
        ends.push(bytes.len());
    }
    let all = read(&bytes, Life::NEW, 0);
    assert_eq!(all.len(), ends.len(), "what was written is read");
    let torn = bytes.len() / 2;
    let whole = ends.iter().filter(|end| **end <= torn).count();
    assert!(
        read(&bytes[..torn], Life::NEW, 0) == all[..whole],
        "a torn end is cut"
    );
    // In a block with a damaged head, lines that are blocks themselves would be found: the price of looking for the next one.
    let is_plain = memchr::memmem::find(text, b"LFS1").is_none();
    if is_plain && let Some(changed) = damage.apply(&mut bytes) {
        let begins = std::iter::once(0).chain(ends.iter().copied());
        let is_hit = |(begin, end): (usize, &usize)| begin < changed.end && changed.start < *end;
        let left: Vec<_> = begins
            .zip(&ends)
            .zip(&all)
            .filter(|(at, _)| !is_hit(*at))
            .map(|(_, block)| block.clone())
            .collect();
        assert!(read(&bytes, Life::NEW, 0) == left, "the others are read");
    }
    again(text);
}

/// The first half of the lines over all of them, in another life of the file.
fn again(text: &[u8]) {
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    // Nobody guesses it.
    let (one, other) = (
        Life::again(u64::from(crc32fast::hash(text)) << 32 | 1),
        Life::again(u64::from(crc32fast::hash(text)) << 32 | 2),
    );
    let (mut old, mut new, mut begin) = (Vec::new(), Vec::new(), 0);
    for (number, line) in lines.iter().enumerate() {
        push(&mut old, one, number as u64, line);
    }
    let half = lines.len().div_ceil(2);
    for (number, line) in lines[..half].iter().enumerate() {
        begin = new.len();
        push(&mut new, other, (lines.len() + number) as u64, line);
    }
    let over = |at: usize| {
        let mut bytes = old.clone();
        bytes.resize(old.len().max(new.len()), 0);
        bytes[at..new.len()].copy_from_slice(&new[at..]);
        bytes[..begin].copy_from_slice(&new[..begin]);
        read(&bytes, other, lines.len() as u64)
    };
    let all = over(0);
    assert_eq!(
        all.len(),
        half,
        "what was written is read, and nothing else"
    );
    let unborn = over(begin + other.head());
    assert!(
        unborn == all[..half - 1],
        "a block without its head is none"
    );
}

/// Number and value of each block.
fn read(bytes: &[u8], life: Life, least: u64) -> Vec<(u64, Vec<u8>)> {
    let (mut at, mut least, mut found) = (0, least, Vec::new());
    loop {
        let rest = &bytes[at..];
        match find(rest, life, least, true) {
            Found::End | Found::Torn | Found::Stale => return found,
            Found::Damage(len) => {
                assert!(len > 0 && len <= rest.len());
                at += len;
            }
            Found::Block(head) => {
                assert!(head.number >= least, "blocks are in order");
                if let Some(body) = head.body(rest).and_then(Body::read) {
                    found.push((head.number, body.text.to_vec()));
                    append(body);
                }
                let Some(next) = head.number.checked_add(1) else {
                    return found;
                };
                least = next;
                at += head.size();
            }
        }
    }
}

/// Everything in it can be looked at.
fn append(body: Body<'_>) {
    let mut parts = Parts::new(Arenas::new(0).take(body.text.len()));
    if !body.fits(&parts) {
        return;
    }
    let origin = Arc::new(Origin {
        input: "fuzz".into(),
        path: None,
    });
    body.append(&mut parts, &origin);
    let (text, extras) = (parts.arena.filled(), &parts.extras);
    for (at, record) in parts.records.iter().enumerate() {
        let _ = &text[record.value.range()];
        let _ = (
            extras.key_of(at),
            extras.place_of(at),
            extras.headers_of(at).count(),
        );
        let _ = extras
            .topics
            .get(at)
            .map(|topic| &extras.topic_names[*topic as usize]);
    }
    let last = parts.runs.last().map(|run| run.records.end as usize);
    assert_eq!(last, Some(parts.records.len()));
}

fn push(bytes: &mut Vec<u8>, life: Life, number: u64, line: &[u8]) {
    let len = u32::try_from(line.len()).unwrap_or(u32::MAX);
    let records = [Record {
        value: Span { start: 0, len },
        at: 0,
        bytes: len,
        lines: 1,
    }];
    let runs = [Run {
        origin: Arc::new(Origin {
            input: "fuzz".into(),
            path: None,
        }),
        base: number,
        records: 0..1,
    }];
    let contents = Contents {
        text: line,
        records: &records,
        runs: &runs,
        extras: &Extras::default(),
    };
    let count = Count { lines: 1, bytes: 1 };
    let written = write(bytes, life, (number, 0, count), &contents);
    assert!(written.is_ok());
}
