//! What was set aside: records that Kafka or a file refuses for the record's own sake, kept until somebody looks.
//!
//! Each pipeline has a file of JSON lines, `data_dir/dead-letters/PIPELINE.jsonl`. An operator may read, move or remove it
//! at any time, also while the daemon runs: it is opened anew for each call, and locked while it is written. `read` reads such files,
//! `taken` is how letters leave them again.
//!
//! Invariant: a letter is durable, content and name, before [`DeadLetters::set_aside`] returns `Ok`; only then may a
//! position pass it. One whose call failed may stand there all the same, and will stand there twice when it is set aside
//! again. After a power cut such a letter can leave a line of NULs or half a line behind; readers skip what is no JSON.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde::Serialize;
use thiserror::Error;

use crate::disk::{self, Disk, DiskFile, Open, advice};

mod read;
mod taken;

pub use read::{Found, Letter, LineKind, Seen, each_line, look};
pub use taken::{Resending, Taken, TakenError};

const FOLDER: &str = "dead-letters";
const EXTENSION: &str = ".jsonl";
/// How much is read at once while looking for the last line's end. In bytes.
const BLOCK: u64 = 64 << 10;

/// A record that was refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was refused.
    pub time: Timestamp,
    /// The input or output that it came through.
    pub pipeline: String,
    /// The topic that it was meant for, or came from; absent when there was none yet.
    pub topic: Option<String>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
    /// What its partition was to be made from, where that is not the key: the text of its route's `partition`.
    pub place: Option<Vec<u8>>,
    /// The record's own time, where it has one that is not that of sending: milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
    pub source: Source,
    /// For people.
    pub reason: String,
    /// For programs, and for counting: `too_large`, `invalid_record`, `line_too_long` and so on.
    pub code: String,
}

/// A record's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: Option<Vec<u8>>,
}

/// Where a refused record can be found in its original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file, where its first byte stands.
    File { path: PathBuf, offset: u64 },
    /// In standard input, counted in bytes from the daemon's start.
    Stdin { offset: u64 },
    /// In a message from a socket: who sent it, and bytes that came from all senders before it.
    Syslog { peer: Option<String>, offset: u64 },
    /// In the letter's topic.
    Topic { partition: i32, offset: i64 },
}

/// The files of all pipelines. Calls wait for the disk: not for a thread that runs tasks.
#[derive(Debug)]
pub struct DeadLetters {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_size: u64,
    /// Device and inode of the files whose names are known to be durable.
    durable: HashMap<PathBuf, (u64, u64)>,
}

/// Why nothing could be set aside.
#[derive(Debug, Error)]
pub enum DeadLetterError {
    #[error(
        "the dead letters are full: {} holds {used} bytes, {needed} more are to be set aside, and dead_letters.max_size is {max}; move files away or raise the limit, and it goes on by itself",
        dir.display()
    )]
    Full {
        dir: PathBuf,
        /// In bytes, over all pipelines, as the following two.
        used: u64,
        needed: u64,
        max: u64,
    },
    #[error("{} is being changed by `logferry dead-letters resend`; it is tried again", path.display())]
    Busy { path: PathBuf },
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl DeadLetters {
    /// Makes the folder (mode 0700) in `data_dir` when it is missing, and cuts half lines that a crash left at the files'
    /// ends. `max_size` is in bytes, for all files together.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        max_size: u64,
    ) -> Result<Self, DeadLetterError> {
        let dir = data_dir.join(FOLDER);
        disk::create_dirs(disk.as_ref(), &dir, 0o700)
            .map_err(|error| io_error("make the folder", &dir, error))?;
        let letters = Self {
            disk,
            dir,
            max_size,
            durable: HashMap::new(),
        };
        for (path, _) in letters.files()? {
            letters
                .disk
                .open(&path, Open::Existing)
                .and_then(|file| cut_half_line(file.as_ref(), &path))
                .map_err(|error| io_error("cut a half line off", &path, error))?;
        }
        Ok(letters)
    }

    /// Writes the letters and waits until they are durable. When they do not fit ([`DeadLetterError::Full`]) none is
    /// written; after another error some may be. Either way, set all of them aside again later.
    pub fn set_aside(&mut self, letters: &[DeadLetter]) -> Result<(), DeadLetterError> {
        // A line feed stands before each pipeline's first line too: see `append`.
        let mut pipelines: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        for letter in letters {
            let lines = pipelines
                .entry(&letter.pipeline)
                .or_insert_with(|| vec![b'\n']);
            serde_json::to_writer(&mut *lines, &Line::from(letter))
                .map_err(|error| io_error("write to", &self.dir, error.into()))?;
            lines.push(b'\n');
        }
        let needed = pipelines.values().map(|lines| lines.len() as u64).sum();
        let used = self.used()?;
        if used.saturating_add(needed) > self.max_size {
            return Err(DeadLetterError::Full {
                dir: self.dir.clone(),
                used,
                needed,
                max: self.max_size,
            });
        }
        for (pipeline, lines) in pipelines {
            let path = self.dir.join(file_name(pipeline));
            self.append(&path, &lines)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::WouldBlock => DeadLetterError::Busy { path: path.clone() },
                    _ => io_error("write to", &path, error),
                })?;
        }
        Ok(())
    }

    /// How much is taken, in bytes, by all files together.
    pub fn used(&self) -> Result<u64, DeadLetterError> {
        Ok(self.files()?.iter().map(|(_, len)| len).sum())
    }

    /// `lines` begins and ends with a line feed. The first one replaces the line feed that ends the file so far: should a
    /// power cut take the bytes before it, which nobody waited for, the new lines still begin as lines.
    fn append(&mut self, path: &Path, lines: &[u8]) -> io::Result<()> {
        let file = self.open_locked(path)?;
        let len = cut_half_line(file.as_ref(), path)?;
        let written = match len.checked_sub(1) {
            Some(last) => file.write_at(lines, last),
            None => file.write_at(&lines[1..], 0),
        };
        let result = written
            .and_then(|()| file.sync_data())
            .and_then(|()| self.make_name_durable(path, file.as_ref()));
        if result.is_err() {
            // Best effort, to give a full disk its space back. What stays is ended as any other line, and repeated.
            let _ = file.truncate(len);
        }
        result
    }

    /// The file under this name, which is made when there is none, locked: who takes letters out renames it under this lock, and what is
    /// written after that would be written into the wrong one. `WouldBlock` when somebody else has the lock.
    fn open_locked(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        for _ in 0..3 {
            let file = match self.disk.open(path, Open::Existing) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // Its inode may be that of one which was removed.
                    self.durable.remove(path);
                    self.disk.open(path, Open::OrCreate { mode: 0o600 })?
                }
                result => result?,
            };
            if !file.try_lock()? {
                break;
            }
            if is_at(self.disk.as_ref(), path, file.as_ref())? {
                return Ok(file);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn make_name_durable(&mut self, path: &Path, file: &dyn DiskFile) -> io::Result<()> {
        let meta = file.metadata()?;
        let id = (meta.dev, meta.inode);
        if self.durable.get(path) != Some(&id) {
            self.disk.fsync_dir(&self.dir)?;
            self.durable.insert(path.to_path_buf(), id);
        }
        Ok(())
    }

    fn files(&self) -> Result<Vec<(PathBuf, u64)>, DeadLetterError> {
        files(self.disk.as_ref(), &self.dir)
    }
}

/// The files of letters in a folder, with their sizes.
fn files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(PathBuf, u64)>, DeadLetterError> {
    let names = disk.list(dir);
    let names = names.map_err(|error| io_error("list", dir, error))?;
    let mut files = Vec::new();
    for name in names {
        if !name.as_encoded_bytes().ends_with(EXTENSION.as_bytes()) {
            continue;
        }
        let path = dir.join(name);
        match disk.metadata(&path) {
            Ok(meta) if meta.is_dir => {}
            Ok(meta) => files.push((path, meta.len)),
            // Moved away a moment ago.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("look at", &path, error)),
        }
    }
    Ok(files)
}

/// Whether the name still leads to the file that is open.
fn is_at(disk: &dyn Disk, path: &Path, file: &dyn DiskFile) -> io::Result<bool> {
    let open = file.metadata()?;
    match disk.metadata(path) {
        Ok(named) => Ok((named.dev, named.inode) == (open.dev, open.inode)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Cuts what follows the last line feed, and gives the file's length. A letter that somebody was told of ends with one.
fn cut_half_line(file: &dyn DiskFile, path: &Path) -> io::Result<u64> {
    let len = file.len()?;
    let mut end = len;
    let mut block = vec![0; BLOCK.min(len) as usize];
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = &mut block[..(end - start) as usize];
        let read = file.read_at(part, start)?;
        if let Some(last) = memchr::memrchr(b'\n', &part[..read]) {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    if end < len {
        file.truncate(end)?;
        tracing::info!(
            path = %path.display(),
            bytes = len - end,
            "cut half a line that a crash left at the end of the dead letters"
        );
    }
    Ok(end)
}

/// A pipeline's file: its name, with what a file name should not have as `%XX`.
fn file_name(pipeline: &str) -> String {
    let mut name = String::new();
    for (n, byte) in pipeline.bytes().enumerate() {
        match byte {
            b'.' if n == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name + EXTENSION
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> DeadLetterError {
    DeadLetterError::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// A letter as its line has it.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    pipeline: &'a str,
    topic: Option<&'a str>,
    key: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    headers: Vec<HeaderLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_ms: Option<i64>,
    source: SourceLine<'a>,
    reason: &'a str,
    code: &'a str,
}

#[derive(Serialize)]
struct HeaderLine<'a> {
    name: &'a str,
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SourceLine<'a> {
    File {
        path: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path_base64: Option<String>,
        offset: u64,
    },
    Stdin {
        offset: u64,
    },
    Syslog {
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<&'a str>,
        offset: u64,
    },
    Topic {
        partition: i32,
        offset: i64,
    },
}

/// The text, with U+FFFD for what is not UTF-8; and then the exact bytes in base64.
fn text(bytes: &[u8]) -> (Cow<'_, str>, Option<String>) {
    let text = String::from_utf8_lossy(bytes);
    let exact = matches!(text, Cow::Owned(_)).then(|| BASE64_STANDARD.encode(bytes));
    (text, exact)
}

fn optional_text(bytes: &Option<Vec<u8>>) -> (Option<Cow<'_, str>>, Option<String>) {
    match bytes {
        Some(bytes) => {
            let (text, exact) = text(bytes);
            (Some(text), exact)
        }
        None => (None, None),
    }
}

impl<'a> From<&'a DeadLetter> for Line<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        let (key, key_base64) = optional_text(&letter.key);
        let (value, value_base64) = optional_text(&letter.value);
        let (place, place_base64) = optional_text(&letter.place);
        let headers = letter.headers.iter().map(|header| {
            let (value, value_base64) = optional_text(&header.value);
            HeaderLine {
                name: &header.name,
                value,
                value_base64,
            }
        });
        let source = match &letter.source {
            Source::File { path, offset } => {
                let (path, path_base64) = text(path.as_os_str().as_encoded_bytes());
                SourceLine::File {
                    path,
                    path_base64,
                    offset: *offset,
                }
            }
            Source::Stdin { offset } => SourceLine::Stdin { offset: *offset },
            Source::Syslog { peer, offset } => SourceLine::Syslog {
                peer: peer.as_deref(),
                offset: *offset,
            },
            Source::Topic { partition, offset } => SourceLine::Topic {
                partition: *partition,
                offset: *offset,
            },
        };
        Self {
            time: letter.time.to_string(),
            pipeline: &letter.pipeline,
            topic: letter.topic.as_deref(),
            key,
            key_base64,
            value,
            value_base64,
            headers: headers.collect(),
            place,
            place_base64,
            timestamp_ms: letter.timestamp_ms,
            source,
            reason: &letter.reason,
            code: &letter.code,
        }
    }
}

#[cfg(test)]
mod tests;
