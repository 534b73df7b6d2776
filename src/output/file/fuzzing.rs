//! Any bytes as an output's journal: nothing panics, what is read means the same when it is written again, and damage before a good line is seen.

use super::entry::{Damaged, Entry, Read, read};
use crate::fuzzing::Damage;

/// Six bytes of damage, and lines: as they are, and with CRCs.
pub fn journal(data: &[u8]) {
    any_journal(data);
    let Some((damage, text)) = Damage::split(data) else {
        return;
    };
    let covered: Vec<Vec<u8>> = text
        .split(|&byte| byte == b'\n')
        .map(|json| {
            let crc = format!("{:08x} ", crc32fast::hash(json));
            [crc.as_bytes(), json, b"\n"].concat()
        })
        .collect();
    if let Some(entries) = any_journal(&covered.concat()) {
        damaged(&entries, damage);
    }
}

fn any_journal(bytes: &[u8]) -> Option<Vec<Entry>> {
    let Read { entries, good } = read(bytes).ok()?;
    let Some(whole) = usize::try_from(good)
        .ok()
        .and_then(|good| bytes.get(..good))
    else {
        panic!("more is good than there is");
    };
    let (again, _) = written(&entries);
    let good = again.len() as u64;
    let read_again = Ok(Read { entries, good });
    assert!(read(&again) == read_again);
    assert!(
        read(whole).map(|read| read.entries)
            == read_again
                .as_ref()
                .map(|read| read.entries.clone())
                .map_err(|error| *error)
    );
    read_again.ok().map(|read| read.entries)
}

fn written(entries: &[Entry]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for entry in entries {
        entry.push_line(&mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// It is damage if a whole line follows, and a torn end if not.
fn damaged(entries: &[Entry], damage: Damage) {
    let (mut bytes, ends) = written(entries);
    let Some(changed) = damage.apply(&mut bytes) else {
        return;
    };
    let first = ends.iter().filter(|end| **end <= changed.start).count();
    let is_followed = (first + 1..ends.len()).any(|line| ends[line - 1] >= changed.end);
    match read(&bytes) {
        Ok(read) => assert!(!is_followed && read.entries == entries[..first]),
        Err(Damaged { at }) => {
            let good = first.checked_sub(1).map_or(0, |before| ends[before]);
            assert!(is_followed && at == good as u64);
        }
    }
}
