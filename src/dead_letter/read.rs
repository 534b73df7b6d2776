//! Letters as they are read back, by the commands that list them and send them again.
//!
//! Reading takes no lock: a file ends with the last complete line, and what is no letter is told as damaged, never dropped. A line of spaces
//! is a letter that was taken out.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use memchr::memchr;
use serde::Deserialize;

use super::{DeadLetterError, FOLDER, Header, files, io_error};
use crate::disk::{Disk, DiskFile, Open};

/// How much is read at once, in bytes.
const BLOCK: usize = 1 << 20;

/// A letter with the exact bytes of its record.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    pub time: Timestamp,
    pub pipeline: String,
    pub topic: Option<String>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// What its partition was to be made from, where that is not the key.
    pub place: Option<Vec<u8>>,
    pub timestamp_ms: Option<i64>,
    /// As it stands in the file.
    pub source: serde_json::Value,
    pub reason: String,
    pub code: String,
}

/// What a line is.
#[derive(Debug, Clone, PartialEq)]
pub enum LineKind {
    Letter(Box<Letter>),
    /// Taken out.
    Blank,
    /// Half of a letter that a power cut left, or nothing of ours.
    Damaged,
}

#[derive(Deserialize)]
struct Line {
    time: String,
    pipeline: String,
    topic: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<HeaderLine>,
    place: Option<String>,
    place_base64: Option<String>,
    timestamp_ms: Option<i64>,
    #[serde(default)]
    source: serde_json::Value,
    reason: String,
    code: String,
}

#[derive(Deserialize)]
struct HeaderLine {
    name: String,
    value: Option<String>,
    value_base64: Option<String>,
}

/// The exact bytes: of the base64 where there is one, else of the text.
fn bytes(text: Option<String>, exact: Option<String>) -> Option<Option<Vec<u8>>> {
    match exact {
        Some(exact) => BASE64_STANDARD.decode(exact).ok().map(Some),
        None => Some(text.map(String::into_bytes)),
    }
}

impl LineKind {
    /// Of a line without its line feed.
    pub fn of(line: &[u8]) -> Self {
        match line.first() {
            // Also one that a power cut kept from being blanked to its end: it is delivered.
            None | Some(b' ') => return Self::Blank,
            _ if line.iter().all(|byte| *byte == 0) => return Self::Blank,
            _ => {}
        }
        match Letter::parse(line) {
            Some(letter) => Self::Letter(Box::new(letter)),
            None => Self::Damaged,
        }
    }
}

impl Letter {
    fn parse(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let mut headers = Vec::with_capacity(line.headers.len());
        for header in line.headers {
            headers.push(Header {
                name: header.name,
                value: bytes(header.value, header.value_base64)?,
            });
        }
        Some(Self {
            time: line.time.parse().ok()?,
            pipeline: line.pipeline,
            topic: line.topic,
            key: bytes(line.key, line.key_base64)?,
            value: bytes(line.value, line.value_base64)?,
            headers,
            place: bytes(line.place, line.place_base64)?,
            timestamp_ms: line.timestamp_ms,
            source: line.source,
            reason: line.reason,
            code: line.code,
        })
    }

    /// Where the record stands in its original, for people.
    pub fn place(&self) -> String {
        let text = |name: &str| self.source.get(name).and_then(|it| it.as_str());
        let number = |name: &str| self.source.get(name).and_then(serde_json::Value::as_i64);
        match (
            text("path").or(text("peer")),
            number("partition"),
            number("offset"),
        ) {
            (Some(path), _, Some(offset)) => format!("{path}:{offset}"),
            (None, Some(partition), Some(offset)) => format!("partition {partition} at {offset}"),
            (None, None, Some(offset)) => format!("byte {offset}"),
            _ => "-".to_owned(),
        }
    }

    /// Whether its record was read from Kafka, and so still stands there.
    pub fn is_from_kafka(&self) -> bool {
        self.source.get("partition").is_some()
    }
}

/// Calls `each` with the offset and the bytes of every complete line, without its line feed.
pub fn each_line(
    file: &dyn DiskFile,
    each: &mut dyn FnMut(u64, &[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut held: Vec<u8> = Vec::new();
    let mut block = vec![0; BLOCK];
    // Where `held` begins, and how much of it has no line feed for sure.
    let (mut start, mut looked) = (0_u64, 0);
    loop {
        let read = file.read_at(&mut block, start + held.len() as u64)?;
        if read == 0 {
            return Ok(());
        }
        held.extend_from_slice(&block[..read]);
        let mut line = 0;
        while let Some(end) = memchr(b'\n', &held[looked.max(line)..]) {
            let end = looked.max(line) + end;
            if each(start + line as u64, &held[line..end]).is_break() {
                return Ok(());
            }
            line = end + 1;
        }
        held.drain(..line);
        start += line as u64;
        looked = held.len();
    }
}

/// A line of some file of letters.
pub struct Seen<'a> {
    pub path: &'a Path,
    pub offset: u64,
    pub line: &'a [u8],
    pub found: Found,
}

/// What is worth telling of a line.
pub enum Found {
    Letter(Box<Letter>),
    Damaged,
}

/// Shows `each` everything that is set aside in `data_dir`, file by file. Works beside a running daemon.
///
/// # Errors
/// What cannot be read. A folder that is not there holds nothing.
pub fn look(
    disk: &dyn Disk,
    data_dir: &Path,
    each: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
) -> Result<(), DeadLetterError> {
    let dir = data_dir.join(FOLDER);
    let files: Vec<(PathBuf, u64)> = match files(disk, &dir) {
        Err(DeadLetterError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(());
        }
        files => files?,
    };
    let mut broke = false;
    for (path, _) in files {
        let file = match disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file.map_err(|error| io_error("read", &path, error))?,
        };
        let mut show = |offset, line: &[u8]| {
            let found = match LineKind::of(line) {
                LineKind::Blank => return ControlFlow::Continue(()),
                LineKind::Letter(letter) => Found::Letter(letter),
                LineKind::Damaged => Found::Damaged,
            };
            let seen = Seen {
                path: &path,
                offset,
                line,
                found,
            };
            let flow = each(seen);
            broke = flow.is_break();
            flow
        };
        each_line(file.as_ref(), &mut show).map_err(|error| io_error("read", &path, error))?;
        if broke {
            break;
        }
    }
    Ok(())
}
