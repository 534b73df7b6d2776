//! How snapshot and journal look on disk. Pure.
//!
//! The snapshot is one JSON object, `{"crc32":"xxxxxxxx","checkpoint":BODY}` and a line feed, where the CRC covers the
//! bytes of BODY. The journal has a line for each save: the CRC in eight hex digits, a space, the JSON that it covers, a
//! line feed.
//!
//! Each journal line says how long the journal was when it was last synced (`synced`). That tells what a power cut may do
//! from what it cannot: a bad line at a place that no later line knows as synced was still on its way to the disk, and is
//! cut with all that follows. A bad line before such a place is damage, and nothing is cut.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use super::state::Inputs;
use super::{Change, Entry, Print, Skip};

/// The version of these formats, in each snapshot.
pub const FORMAT: u32 = 1;

const SNAPSHOT_START: &str = "{\"crc32\":\"";
const SNAPSHOT_MIDDLE: &str = "\",\"checkpoint\":";
const SNAPSHOT_END: &str = "}\n";
/// What each line's JSON begins with; [`Line`]'s first field.
const LINE_START: &str = " {\"generation\":";
const CRC_DIGITS: usize = 8;

/// A snapshot's BODY.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    pub format: u32,
    pub generation: u64,
    pub inputs: Inputs,
}

/// A journal line's JSON.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub generation: u64,
    /// Counted from 0 in each journal.
    pub record: u64,
    /// How many bytes of this journal were synced when the line was written.
    pub synced: u64,
    pub changes: Vec<Change>,
}

/// What a journal holds.
#[derive(Debug, PartialEq)]
pub struct Journal {
    pub lines: Vec<Line>,
    /// How many bytes they take; what follows is a torn tail.
    pub good: u64,
}

/// Why a snapshot cannot be read.
#[derive(Debug, PartialEq)]
pub enum BadSnapshot {
    /// A later logferry wrote it, in this format.
    Newer(u32),
    /// What is wrong with it.
    Damaged(String),
}

/// Where a journal is damaged.
#[derive(Debug, PartialEq)]
pub struct Damage {
    /// The bytes before it are good.
    pub offset: u64,
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

/// The whole snapshot file.
pub fn encode_snapshot(generation: u64, inputs: &Inputs) -> serde_json::Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        format: u32,
        generation: u64,
        inputs: &'a Inputs,
    }
    let mut bytes = format!("{SNAPSHOT_START}{:08x}{SNAPSHOT_MIDDLE}", 0).into_bytes();
    let start = bytes.len();
    let body = Body {
        format: FORMAT,
        generation,
        inputs,
    };
    serde_json::to_writer(&mut bytes, &body)?;
    let crc = format!("{:08x}", crc32fast::hash(&bytes[start..]));
    bytes[SNAPSHOT_START.len()..][..CRC_DIGITS].copy_from_slice(crc.as_bytes());
    bytes.extend_from_slice(SNAPSHOT_END.as_bytes());
    Ok(bytes)
}

/// What [`encode_snapshot`] wrote.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, BadSnapshot> {
    let damaged = |what: &str| BadSnapshot::Damaged(what.to_owned());
    if bytes.is_empty() {
        return Err(damaged("it is empty"));
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Err(damaged("it holds nothing but NULs"));
    }
    let (crc, body) = bytes
        .strip_prefix(SNAPSHOT_START.as_bytes())
        .and_then(|rest| rest.split_at_checked(CRC_DIGITS))
        .and_then(|(crc, rest)| Some((crc, rest.strip_prefix(SNAPSHOT_MIDDLE.as_bytes())?)))
        .and_then(|(crc, rest)| Some((crc, rest.strip_suffix(SNAPSHOT_END.as_bytes())?)))
        .ok_or_else(|| damaged("it does not begin and end as logferry writes it"))?;
    if parse_crc(crc) != Some(crc32fast::hash(body)) {
        return Err(damaged("its CRC is wrong"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let not_understood = |error| BadSnapshot::Damaged(format!("it cannot be understood: {error}"));
    match serde_json::from_slice::<Version>(body).map_err(not_understood)? {
        Version { format } if format > FORMAT => Err(BadSnapshot::Newer(format)),
        _ => serde_json::from_slice(body).map_err(not_understood),
    }
}

/// Appends a journal line to `buffer`.
pub fn encode_line(
    buffer: &mut Vec<u8>,
    generation: u64,
    record: u64,
    synced: u64,
    changes: &[Change],
) -> serde_json::Result<()> {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        generation: u64,
        record: u64,
        synced: u64,
        changes: &'a [Change],
    }
    let start = buffer.len();
    buffer.extend_from_slice(b"00000000 ");
    let line = Borrowed {
        generation,
        record,
        synced,
        changes,
    };
    serde_json::to_writer(&mut *buffer, &line)?;
    let crc = format!("{:08x}", crc32fast::hash(&buffer[start + CRC_DIGITS + 1..]));
    buffer[start..][..CRC_DIGITS].copy_from_slice(crc.as_bytes());
    buffer.push(b'\n');
    Ok(())
}

/// The lines of a journal up to its torn tail, if it has one.
pub fn decode_journal(bytes: &[u8], generation: u64) -> Result<Journal, Damage> {
    let mut lines = Vec::new();
    let mut good = 0;
    for text in bytes.split_inclusive(|&byte| byte == b'\n') {
        let damage = |what| Damage {
            offset: good as u64,
            line: lines.len() + 1,
            what,
        };
        let Some(json) = covered(text) else {
            let known = synced_after(&bytes[good..]);
            if known > good as u64 {
                let what = "its CRC is wrong, and good lines follow".to_owned();
                return Err(damage(what));
            }
            break;
        };
        let line: Line = serde_json::from_slice(json)
            .map_err(|error| damage(format!("it cannot be understood: {error}")))?;
        if line.generation != generation {
            let what = format!("it is of generation {}, not {generation}", line.generation);
            return Err(damage(what));
        }
        if line.record != lines.len() as u64 {
            let what = format!("it is record {}, not {}", line.record, lines.len());
            return Err(damage(what));
        }
        lines.push(line);
        good += text.len();
    }
    Ok(Journal {
        lines,
        good: good as u64,
    })
}

/// The JSON of a line whose CRC is right.
fn covered(line: &[u8]) -> Option<&[u8]> {
    let (crc, rest) = line.strip_suffix(b"\n")?.split_at_checked(CRC_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    (parse_crc(crc)? == crc32fast::hash(json)).then_some(json)
}

/// The highest `synced` of the good lines in `bytes`, also where one follows garbage without a line feed between.
fn synced_after(bytes: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Synced {
        synced: u64,
    }
    memmem::find_iter(bytes, LINE_START)
        .filter_map(|space| {
            let rest = &bytes[space.checked_sub(CRC_DIGITS)?..];
            let end = memchr::memchr(b'\n', rest)?;
            let json = covered(&rest[..=end])?;
            Some(serde_json::from_slice::<Synced>(json).ok()?.synced)
        })
        .max()
        .unwrap_or(0)
}

fn parse_crc(digits: &[u8]) -> Option<u32> {
    // Lower case only, as it was written, so that no other bytes pass for it.
    if !digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// An [`Entry`] as JSON has it: a path that is not UTF-8 stands in `path` with U+FFFD and in `path_base64` exactly.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntryText {
    path: String,
    path_base64: Option<String>,
    dev: u64,
    inode: u64,
    birth: Option<i64>,
    offset: u64,
    #[serde(default)]
    inside_line: bool,
    skip: Option<Skip>,
    head: Option<Print>,
    tail: Option<Print>,
    half: Option<(u64, Print)>,
    packed: Option<u64>,
    updated: i64,
}

impl TryFrom<EntryText> for Entry {
    type Error = base64::DecodeError;

    fn try_from(text: EntryText) -> Result<Self, Self::Error> {
        use std::os::unix::ffi::OsStringExt;
        let path = match text.path_base64 {
            Some(bytes) => {
                PathBuf::from(std::ffi::OsString::from_vec(BASE64_STANDARD.decode(bytes)?))
            }
            None => PathBuf::from(text.path),
        };
        Ok(Self {
            path: path.into(),
            dev: text.dev,
            inode: text.inode,
            birth: text.birth,
            offset: text.offset,
            inside_line: text.inside_line,
            skip: text.skip,
            head: text.head,
            tail: text.tail,
            half: text.half,
            packed: text.packed,
            updated: text.updated,
        })
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Entry", 13)?;
        serialize_path(&self.path, &mut fields)?;
        fields.serialize_field("dev", &self.dev)?;
        fields.serialize_field("inode", &self.inode)?;
        if let Some(birth) = &self.birth {
            fields.serialize_field("birth", birth)?;
        }
        fields.serialize_field("offset", &self.offset)?;
        if self.inside_line {
            fields.serialize_field("inside_line", &true)?;
        }
        if let Some(skip) = &self.skip {
            fields.serialize_field("skip", skip)?;
        }
        if let Some(head) = &self.head {
            fields.serialize_field("head", head)?;
        }
        if let Some(tail) = &self.tail {
            fields.serialize_field("tail", tail)?;
        }
        if let Some(half) = &self.half {
            fields.serialize_field("half", half)?;
        }
        if let Some(packed) = &self.packed {
            fields.serialize_field("packed", packed)?;
        }
        fields.serialize_field("updated", &self.updated)?;
        fields.end()
    }
}

fn serialize_path<S: SerializeStruct>(path: &Path, fields: &mut S) -> Result<(), S::Error> {
    use std::os::unix::ffi::OsStrExt;
    match path.to_str() {
        Some(text) => fields.serialize_field("path", text),
        None => {
            fields.serialize_field("path", &path.to_string_lossy())?;
            let bytes = BASE64_STANDARD.encode(path.as_os_str().as_bytes());
            fields.serialize_field("path_base64", &bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::state::Input;
    use crate::checkpoint::{FileKey, Keeper};

    fn print() -> impl Strategy<Value = Option<Print>> {
        proptest::option::of((any::<u32>(), any::<u32>()).prop_map(|(len, crc)| Print { len, crc }))
    }

    fn path() -> impl Strategy<Value = PathBuf> {
        let bytes = proptest::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            "[a-z/\"\\\\ü\n]{0,20}".prop_map(PathBuf::from),
            bytes.prop_map(|bytes| PathBuf::from(OsString::from_vec(bytes))),
        ]
    }

    prop_compose! {
        fn entry()(
            path in path(),
            numbers in any::<(u64, u64, u64)>(),
            birth in any::<Option<i64>>(),
            inside_line in any::<bool>(),
            skip in proptest::option::of(prop_oneof![Just(Skip::Filtered), Just(Skip::DeadLettered)]),
            head in print(),
            tail in print(),
            half in proptest::option::of((any::<u64>(), print().prop_filter_map("a print", |print| print))),
            packed in any::<Option<u64>>(),
            updated in any::<i64>(),
        ) -> Entry {
            let (dev, inode, offset) = numbers;
            Entry { path: path.into(), dev, inode, birth, offset, inside_line, skip, head, tail, half, packed, updated }
        }
    }

    fn change() -> impl Strategy<Value = Change> {
        let input = "[a-z\"{} ]{0,6}";
        prop_oneof![
            (input, any::<u64>(), entry()).prop_map(|(input, key, entry)| Change::Put {
                input,
                key: FileKey(key),
                entry,
            }),
            (input, any::<u64>()).prop_map(|(input, key)| Change::Remove {
                input,
                key: FileKey(key),
            }),
            (input, ".*").prop_map(|(input, cluster)| Change::Bind { input, cluster }),
            (input, any::<i64>()).prop_map(|(input, at)| Change::Started { input, at }),
            (input, any::<Option<(u64, bool)>>()).prop_map(|(input, keeper)| Change::Keep {
                input,
                keeper: keeper.map(|(writer, took_over)| Keeper {
                    writer: writer.to_string(),
                    took_over,
                }),
            }),
        ]
    }

    fn inputs() -> impl Strategy<Value = Inputs> {
        let entries =
            proptest::collection::btree_map(any::<u64>().prop_map(FileKey), entry(), 0..4);
        let input = (
            any::<Option<String>>(),
            any::<Option<i64>>(),
            any::<u64>(),
            entries,
        )
            .prop_map(|(cluster, started, next_key, entries)| Input {
                cluster,
                started,
                keeper: None,
                next_key,
                entries,
            });
        proptest::collection::btree_map(".*", input, 0..3)
    }

    fn saves() -> impl Strategy<Value = Vec<Vec<Change>>> {
        proptest::collection::vec(proptest::collection::vec(change(), 0..3), 1..6)
    }

    /// A journal that was synced before every line whose index is a multiple of `every`; its lines' ends and what each
    /// line knows as synced.
    fn journal(saves: &[Vec<Change>], every: usize) -> (Vec<u8>, Vec<usize>, Vec<u64>) {
        let (mut bytes, mut ends, mut known) = (Vec::new(), Vec::new(), Vec::new());
        let mut synced = 0;
        for (n, changes) in saves.iter().enumerate() {
            if n % every == 0 {
                synced = bytes.len() as u64;
            }
            encode_line(&mut bytes, 7, n as u64, synced, changes).unwrap();
            ends.push(bytes.len());
            known.push(synced);
        }
        (bytes, ends, known)
    }

    fn changes(journal: Journal) -> Vec<Vec<Change>> {
        let lines = journal.lines.into_iter();
        lines.map(|line| line.changes).collect()
    }

    proptest! {
        #[test]
        fn a_snapshot_reads_as_it_was_written(generation in any::<u64>(), inputs in inputs()) {
            let bytes = encode_snapshot(generation, &inputs).unwrap();
            let expected = Snapshot { format: FORMAT, generation, inputs };
            prop_assert_eq!(decode_snapshot(&bytes), Ok(expected));
            serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        }

        #[test]
        fn a_snapshot_with_any_bit_flipped_or_byte_missing_is_damaged(
            inputs in inputs(),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut bytes = encode_snapshot(1, &inputs).unwrap();
            let at = at.index(bytes.len());
            prop_assert!(decode_snapshot(&bytes[..at]).is_err());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(matches!(decode_snapshot(&bytes), Err(BadSnapshot::Damaged(_))));
        }

        #[test]
        fn a_journal_reads_as_it_was_written(saves in saves()) {
            let (bytes, ..) = journal(&saves, 2);
            let read = decode_journal(&bytes, 7).unwrap();
            prop_assert_eq!(read.good, bytes.len() as u64);
            prop_assert_eq!(changes(read), saves);
        }

        #[test]
        fn a_journal_torn_at_any_byte_keeps_its_whole_lines(saves in saves()) {
            let (bytes, ends, _) = journal(&saves, 1);
            for torn in 0..bytes.len() {
                let read = decode_journal(&bytes[..torn], 7).unwrap();
                let whole = ends.iter().filter(|&&end| end <= torn).count();
                prop_assert_eq!(read.good as usize, if whole == 0 { 0 } else { ends[whole - 1] });
                prop_assert_eq!(changes(read), &saves[..whole]);
            }
        }

        #[test]
        fn a_flipped_bit_is_damage_where_it_was_synced_and_a_torn_tail_where_not(
            saves in saves(),
            every in 1..4_usize,
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let (mut bytes, ends, known) = journal(&saves, every);
            let at = at.index(bytes.len());
            let line = ends.iter().filter(|&&end| end <= at).count();
            let start = if line == 0 { 0 } else { ends[line - 1] };
            bytes[at] ^= 1_u8 << bit;
            // A line after the bad one says that it was synced, and can be told although a line end may be gone.
            let witness = known[line + 1..].iter().any(|&synced| synced > start as u64);
            match decode_journal(&bytes, 7) {
                Ok(read) => {
                    prop_assert!(!witness);
                    prop_assert_eq!(changes(read), &saves[..line]);
                }
                Err(damage) => {
                    prop_assert!(witness);
                    prop_assert_eq!(damage.offset, start as u64);
                    prop_assert_eq!(damage.line, line + 1);
                }
            }
        }

        #[test]
        fn garbage_is_never_read_as_something(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode_snapshot(&bytes).is_err());
            let read = decode_journal(&bytes, 7).unwrap();
            prop_assert!(read.lines.is_empty() && read.good == 0);
        }
    }

    #[test]
    fn the_files_look_like_this() {
        let entry = Entry {
            path: PathBuf::from(OsString::from_vec(b"/var/log/\xff.log".to_vec())).into(),
            dev: 1,
            inode: 2,
            birth: None,
            offset: 30,
            inside_line: true,
            skip: None,
            head: Some(Print { len: 4, crc: 5 }),
            tail: None,
            half: None,
            packed: None,
            updated: 1_795_246_085_401,
        };
        let text = concat!(
            r#"{"path":"/var/log/�.log","path_base64":"L3Zhci9sb2cv/y5sb2c=","dev":1,"inode":2,"offset":30,"#,
            r#""inside_line":true,"head":{"len":4,"crc":5},"updated":1795246085401}"#
        );
        let mut line = Vec::new();
        let (input, key) = ("nginx".to_owned(), FileKey(3));
        let put = Change::Put {
            input: input.clone(),
            key,
            entry: entry.clone(),
        };
        encode_line(&mut line, 7, 0, 12, &[put]).unwrap();
        let expected = format!(
            r#"{{"generation":7,"record":0,"synced":12,"changes":[{{"put":{{"input":"nginx","key":3,"entry":{text}}}}}]}}"#
        );
        let crc = crc32fast::hash(expected.as_bytes());
        let expected = format!("{crc:08x} {expected}\n");
        assert_eq!(String::from_utf8(line).unwrap(), expected);

        let value = Input {
            cluster: Some("c1".into()),
            started: Some(5),
            keeper: None,
            next_key: 4,
            entries: [(key, entry)].into(),
        };
        let snapshot = encode_snapshot(7, &[(input, value)].into()).unwrap();
        let body = format!(
            r#"{{"format":1,"generation":7,"inputs":{{"nginx":{{"cluster":"c1","started":5,"next_key":4,"entries":{{"3":{text}}}}}}}}}"#
        );
        let crc = crc32fast::hash(body.as_bytes());
        let expected = format!("{{\"crc32\":\"{crc:08x}\",\"checkpoint\":{body}}}\n");
        assert_eq!(String::from_utf8(snapshot).unwrap(), expected);
    }

    #[test]
    fn a_snapshot_of_a_later_format_is_told_apart() {
        let body = r#"{"format":2,"something":"new"}"#;
        let crc = crc32fast::hash(body.as_bytes());
        let text = format!("{{\"crc32\":\"{crc:08x}\",\"checkpoint\":{body}}}\n");
        assert_eq!(decode_snapshot(text.as_bytes()), Err(BadSnapshot::Newer(2)));
    }

    #[test]
    fn lines_of_another_journal_are_damage() {
        let mut bytes = Vec::new();
        encode_line(&mut bytes, 7, 0, 0, &[]).unwrap();
        let damage = decode_journal(&bytes, 8).unwrap_err();
        assert_eq!(damage.what, "it is of generation 7, not 8");
        encode_line(&mut bytes, 7, 2, 0, &[]).unwrap();
        let damage = decode_journal(&bytes, 7).unwrap_err();
        assert_eq!(
            (damage.line, damage.what.as_str()),
            (2, "it is record 2, not 1")
        );
    }

    #[test]
    fn a_hole_that_a_power_cut_left_is_a_torn_tail() {
        let mut bytes = Vec::new();
        encode_line(&mut bytes, 7, 0, 0, &[]).unwrap();
        let good = bytes.len();
        for record in 1..4 {
            encode_line(&mut bytes, 7, record, good as u64, &[]).unwrap();
        }
        let second = bytes[good..]
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap()
            + 1;
        bytes[good..][..second].fill(0);
        let read = decode_journal(&bytes, 7).unwrap();
        assert_eq!((read.lines.len(), read.good), (1, good as u64));
    }
}
