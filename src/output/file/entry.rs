//! The lines of a journal: `CRC32-HEX JSON LF`. Pure.
//!
//! The first line says what the file is. Each further one says what is true from then on; a later line about the same file or partition
//! replaces an earlier one.
//!
//! Invariant: a line that was not written whole is never taken for one: its checksum covers the JSON, and the line feed ends it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::flow::Stamp;

/// The newest version of the format that this code reads.
pub const FORMAT: u32 = 2;
/// The version of a journal without transactions and finished files: an older program reads it too.
pub const PLAIN_FORMAT: u32 = 1;

const CRC_DIGITS: usize = 8;
/// What stands between the CRC and the rest of each line's JSON.
const LINE_START: &str = " {\"";

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// The first line.
    Journal(Header),
    /// Bytes may follow in these files beyond the lengths that they were found with.
    Intent { files: Vec<FileLine> },
    /// These files are durable up to these lengths, and these partitions up to these offsets.
    Sync {
        files: Vec<FileLine>,
        places: Vec<PlaceLine>,
    },
    /// From here on transactions decide about lengths. The last one that is known to be committed, if there was one.
    Exactly { last: Option<StampLine> },
    /// These files are durable up to these lengths, which count when this transaction is committed. What was prepared before it is.
    Prepare {
        stamp: StampLine,
        files: Vec<FileLine>,
    },
    /// What was prepared last does not count, and is cut.
    Void {},
    /// These files are finished: nothing more is written into them, and each is about to get its other name.
    Finish { files: Vec<FinishLine> },
    /// These files have their names, in the order in which they were finished.
    Finished { files: Vec<FinishedLine> },
    /// These finished files were removed, or are not this output's any more.
    Removed { files: Vec<RemovedLine> },
}

/// What a journal says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    /// Names the journal in commits: 128 random bits in hex.
    pub id: String,
    /// The inode of the very file that this stands in. A copy (a restored backup) has another one, and is then known for a copy.
    pub inode: u64,
}

/// A file and its length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileLine {
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub path: PathBuf,
    /// The inode, which tells this file from another that has its name later.
    pub id: u64,
    pub len: u64,
    /// Absent: as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<BegunLine>,
}

/// How a file began that is to be finished some day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BegunLine {
    /// Milliseconds since 1970.
    pub at: i64,
    /// The name that it gets, up to where a number makes it another when it is taken.
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub stem: PathBuf,
    /// What follows then: the codec.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ending: String,
}

/// A file that gets another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishLine {
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub path: PathBuf,
    pub id: u64,
    pub len: u64,
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub to: PathBuf,
    /// What `to` ends with in any case.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ending: String,
    /// When it was finished, in milliseconds since 1970.
    pub at: i64,
}

/// A finished file that is not kept track of any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedLine {
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub path: PathBuf,
    pub id: u64,
}

impl From<FinishLine> for FinishedLine {
    fn from(line: FinishLine) -> Self {
        Self {
            path: line.to,
            id: line.id,
            len: line.len,
            at: line.at,
        }
    }
}

/// A file that has its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedLine {
    #[serde(serialize_with = "path_to_json", deserialize_with = "path_from_json")]
    pub path: PathBuf,
    pub id: u64,
    pub len: u64,
    /// When it was finished, in milliseconds since 1970.
    pub at: i64,
}

/// Names a transaction; see [`Stamp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StampLine {
    pub writer: String,
    pub number: u64,
}

impl From<Stamp> for StampLine {
    fn from(stamp: Stamp) -> Self {
        Self {
            writer: stamp.writer,
            number: stamp.number,
        }
    }
}

impl From<StampLine> for Stamp {
    fn from(line: StampLine) -> Self {
        Self {
            writer: line.writer,
            number: line.number,
        }
    }
}

/// A partition and the offset that it goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceLine {
    pub topic: String,
    pub partition: i32,
    pub next: i64,
    pub epoch: i32,
}

impl Entry {
    /// Appends the entry as a line.
    pub fn push_line(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(b"00000000 ");
        let body = out.len();
        // Nothing in these types can fail to be JSON, and a Vec takes everything. A line that were not whole has no checksum.
        if serde_json::to_writer(&mut *out, self).is_err() {
            out.truncate(start);
            return;
        }
        let crc = format!("{:08x}", crc32fast::hash(&out[body..]));
        out[start..start + 8].copy_from_slice(crc.as_bytes());
        out.push(b'\n');
    }

    /// Reads a line without its line feed; `None` when it is damaged.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (crc, rest) = line.split_at_checked(CRC_DIGITS)?;
        // Lower case only, as it was written, so that no other bytes pass for it.
        if !crc.iter().all(is_crc_digit) {
            return None;
        }
        let crc = u32::from_str_radix(std::str::from_utf8(crc).ok()?, 16).ok()?;
        let body = rest.strip_prefix(b" ")?;
        if crc32fast::hash(body) != crc {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}

/// What a journal's bytes hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub entries: Vec<Entry>,
    /// Length of the good lines, in bytes. What follows is the torn end of the last write.
    pub good: u64,
}

/// A bad line stands before a good one: no crash leaves that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// Where the bad line begins, in bytes.
    pub at: u64,
}

/// Reads all lines of a journal.
///
/// # Errors
/// When it is damaged in a way that a crash does not explain.
pub fn read(bytes: &[u8]) -> Result<Read, Damaged> {
    let mut entries = Vec::new();
    let mut good = 0;
    let mut bad = false;
    let mut at = 0;
    while let Some(end) = memchr::memchr(b'\n', &bytes[at..]) {
        match Entry::parse(&bytes[at..at + end]) {
            Some(_) if bad => return Err(Damaged { at: good }),
            Some(entry) => {
                entries.push(entry);
                good = (at + end + 1) as u64;
            }
            // What is left of a write that a crash ended holds no good line.
            None if ends_with_line(&bytes[at..at + end]) => return Err(Damaged { at: good }),
            None => bad = true,
        }
        at += end + 1;
    }
    Ok(Read { entries, good })
}

/// Whether a good line follows garbage without a line feed between.
fn ends_with_line(bytes: &[u8]) -> bool {
    memmem::find_iter(bytes, LINE_START)
        .filter_map(|space| space.checked_sub(CRC_DIGITS))
        .any(|start| Entry::parse(&bytes[start..]).is_some())
}

fn is_crc_digit(digit: &u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

/// Text, or `{"base64": "..."}` for a path that is not UTF-8.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PathJson {
    Text(String),
    Bytes { base64: String },
}

fn path_to_json<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    match path.to_str() {
        Some(text) => serializer.serialize_str(text),
        None => PathJson::Bytes {
            base64: STANDARD.encode(path.as_os_str().as_bytes()),
        }
        .serialize(serializer),
    }
}

fn path_from_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    match PathJson::deserialize(deserializer)? {
        PathJson::Text(text) => Ok(PathBuf::from(text)),
        PathJson::Bytes { base64 } => {
            let bytes = STANDARD.decode(base64).map_err(de::Error::custom)?;
            Ok(PathBuf::from(OsString::from_vec(bytes)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sync(path: &[u8], len: u64) -> Entry {
        Entry::Sync {
            files: vec![FileLine {
                path: PathBuf::from(OsString::from_vec(path.to_vec())),
                id: 7,
                len,
                begun: None,
            }],
            places: vec![PlaceLine {
                topic: "web".to_owned(),
                partition: 3,
                next: 42,
                epoch: -1,
            }],
        }
    }

    fn lines(entries: &[Entry]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in entries {
            entry.push_line(&mut bytes);
        }
        bytes
    }

    #[test]
    fn a_line_reads_as_people_and_programs_expect() {
        assert_eq!(
            String::from_utf8(lines(&[sync(b"/srv/a", 10)])).unwrap(),
            concat!(
                "b9de9a8e ",
                r#"{"sync":{"files":[{"path":"/srv/a","id":7,"len":10}],"places":[{"topic":"web","partition":3,"next":42,"epoch":-1}]}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_bad_line_before_a_good_one_is_damage_and_at_the_end_it_is_torn() {
        let (first, second) = (lines(&[sync(b"/a", 1)]), lines(&[sync(b"/a", 2)]));
        let mut bad = second.clone();
        bad[20] ^= 1;
        let torn = [first.clone(), bad.clone()].concat();
        assert_eq!(read(&torn).unwrap().good, first.len() as u64);
        let damaged = [first.clone(), bad, second].concat();
        let at = first.len() as u64;
        assert_eq!(read(&damaged), Err(Damaged { at }));
    }

    #[test]
    fn a_good_line_is_seen_although_the_line_feed_before_it_is_gone() {
        let (first, second) = (lines(&[sync(b"/a", 1)]), lines(&[sync(b"/a", 2)]));
        let mut bytes = [first.clone(), second].concat();
        bytes[first.len() - 1] = 0;
        assert_eq!(read(&bytes), Err(Damaged { at: 0 }));
    }

    #[test]
    fn a_checksum_in_other_digits_is_none() {
        let mut bytes = lines(&[sync(b"/srv/a", 10)]);
        bytes[..8].make_ascii_uppercase();
        assert_eq!(read(&bytes).unwrap().entries, []);
    }

    proptest! {
        #[test]
        fn lines_cut_anywhere_give_the_entries_before_the_cut(
            paths in proptest::collection::vec((proptest::collection::vec(1u8.., 1..9), any::<u64>()), 1..6),
            cut in any::<proptest::sample::Index>(),
        ) {
            let entries: Vec<_> = paths.iter().map(|(path, len)| sync(path, *len)).collect();
            let bytes = lines(&entries);
            prop_assert_eq!(&read(&bytes).unwrap().entries, &entries);
            let cut = cut.index(bytes.len());
            let whole = bytes[..cut].iter().filter(|byte| **byte == b'\n').count();
            let read = read(&bytes[..cut]).unwrap();
            prop_assert_eq!(&read.entries, &entries[..whole]);
            prop_assert!(read.good <= cut as u64);
        }
    }
}
