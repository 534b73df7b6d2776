//! Any bytes as snapshots and journals: nothing panics, what is read means the same when it is written again, and damage is never read as a state
//! that was not there.

use super::format::{Journal, Line, decode_journal, decode_snapshot, encode_line, encode_snapshot};
use super::{Change, FileKey};
use crate::fuzzing::Damage;

const GENERATION: u64 = 7;

/// Six bytes of damage; a snapshot, or a body that is given its frame.
pub fn snapshot(data: &[u8]) {
    let _ = decode_snapshot(data);
    let Some((damage, body)) = Damage::split(data) else {
        return;
    };
    // The CRC is right here: nobody guesses it.
    let crc = crc32fast::hash(body);
    let start = format!("{{\"crc32\":\"{crc:08x}\",\"checkpoint\":");
    let framed = [start.as_bytes(), body, b"}\n"].concat();
    let Ok(read) = decode_snapshot(&framed) else {
        return;
    };
    let Ok(mut again) = encode_snapshot(read.generation, &read.inputs) else {
        panic!("what was read cannot be written");
    };
    match decode_snapshot(&again) {
        Ok(second) => {
            assert!((second.generation, &second.inputs) == (read.generation, &read.inputs))
        }
        Err(error) => panic!("what was written cannot be read: {error:?}"),
    }
    if damage.apply(&mut again).is_some() {
        assert!(decode_snapshot(&again).is_err(), "damage was not seen");
    }
}

/// Six bytes of damage, how often the journal is synced, and its lines: as they are, with CRCs, and each as what changed.
pub fn journal(data: &[u8]) {
    any_journal(data);
    let Some((damage, [every, text @ ..])) = Damage::split(data) else {
        return;
    };
    let lines = || text.split(|&byte| byte == b'\n');
    let covered: Vec<Vec<u8>> = lines()
        .map(|json| {
            let crc = format!("{:08x} ", crc32fast::hash(json));
            [crc.as_bytes(), json, b"\n"].concat()
        })
        .collect();
    any_journal(&covered.concat());

    let changes: Vec<Vec<Change>> = lines().map(changes).collect();
    let mut written = Written::new(&changes, usize::from(*every % 4) + 1);
    written.is_read(&written.bytes, written.lines.len());
    for torn in [usize::from(*every), written.bytes.len() / 2] {
        let torn = torn.min(written.bytes.len());
        let whole = written.ends.iter().filter(|end| **end <= torn).count();
        written.is_read(&written.bytes[..torn], whole);
    }
    written.damaged(damage);
}

/// What a line of the fuzzer's means: changes, or something that is easily made.
fn changes(text: &[u8]) -> Vec<Change> {
    serde_json::from_slice(text).unwrap_or_else(|_| {
        let input = String::from_utf8_lossy(text).into_owned();
        match text.len() % 3 {
            0 => vec![Change::Started { input, at: -1 }],
            1 => vec![Change::Remove {
                input,
                key: FileKey(u64::MAX),
            }],
            _ => Vec::new(),
        }
    })
}

fn any_journal(bytes: &[u8]) {
    let Ok(read) = decode_journal(bytes, GENERATION) else {
        return;
    };
    let Some(good) = usize::try_from(read.good)
        .ok()
        .and_then(|good| bytes.get(..good))
    else {
        panic!("more is good than there is");
    };
    assert!(decode_journal(good, GENERATION).as_ref() == Ok(&read));
    let mut again = Vec::new();
    for line in &read.lines {
        push(&mut again, line);
    }
    let second = decode_journal(&again, GENERATION);
    let good = again.len() as u64;
    let Journal { lines, .. } = read;
    assert!(second == Ok(Journal { lines, good }));
}

fn push(bytes: &mut Vec<u8>, line: &Line) {
    let written = encode_line(
        bytes,
        line.generation,
        line.record,
        line.synced,
        &line.changes,
    );
    assert!(written.is_ok(), "what was read cannot be written");
}

/// A journal as it is written.
struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    lines: Vec<Line>,
}

impl Written {
    /// It is synced before every line whose number is a multiple of `every`.
    fn new(saves: &[Vec<Change>], every: usize) -> Self {
        let (mut bytes, mut ends, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut synced = 0;
        for (record, changes) in saves.iter().enumerate() {
            if record % every == 0 {
                synced = bytes.len() as u64;
            }
            let line = Line {
                generation: GENERATION,
                record: record as u64,
                synced,
                changes: changes.clone(),
            };
            push(&mut bytes, &line);
            ends.push(bytes.len());
            lines.push(line);
        }
        Self { bytes, ends, lines }
    }

    fn is_read(&self, bytes: &[u8], whole: usize) {
        match decode_journal(bytes, GENERATION) {
            Ok(read) => assert!(read.lines == self.lines[..whole]),
            Err(damage) => panic!("{damage:?}"),
        }
    }

    /// It is damage if a line that is left knows the damaged place as synced, and a torn tail if not.
    fn damaged(&mut self, damage: Damage) {
        let Some(changed) = damage.apply(&mut self.bytes) else {
            return;
        };
        let first = self
            .ends
            .iter()
            .filter(|end| **end <= changed.start)
            .count();
        let good = first.checked_sub(1).map_or(0, |before| self.ends[before]);
        let left = (first + 1..self.lines.len()).filter(|line| self.ends[line - 1] >= changed.end);
        let is_known = left
            .into_iter()
            .any(|line| self.lines[line].synced > good as u64);
        match decode_journal(&self.bytes, GENERATION) {
            Ok(read) => assert!(!is_known && read.lines == self.lines[..first]),
            Err(found) => assert!(is_known && found.offset == good as u64, "{found:?}"),
        }
    }
}
