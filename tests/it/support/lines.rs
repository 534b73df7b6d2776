//! Files of numbered lines that grow and are rotated, and the oracle that says what became of the numbers.
//!
//! A line is `NAME NUMBER FILLER`: it names the file it was written to, so that order can be judged per file however the
//! records of many were mixed on the way.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Writes numbered lines to a file, as an application with a log file of its own does.
pub struct LineWriter {
    path: PathBuf,
    file: File,
    name: String,
    length: usize,
    next: u64,
    rotations: u32,
    /// The first number of each file that was made at the path.
    begins: Vec<u64>,
}

impl LineWriter {
    /// Makes the file at `path`. Its lines carry `name` and have `length` bytes, the line feed not counted (or as many as
    /// name and number need).
    pub fn create(path: impl Into<PathBuf>, name: &str, length: usize) -> Self {
        assert!(!name.contains(' '), "a space ends the name");
        let path = path.into();
        let file = open(&path);
        Self {
            path,
            file,
            name: name.into(),
            length,
            next: 0,
            rotations: 0,
            begins: vec![0],
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many lines were written.
    pub fn written(&self) -> u64 {
        self.next
    }

    /// The numbers that stand in each of the files, whatever they are called by now: the order of lines is a file's own.
    pub fn files(&self) -> Vec<Range<u64>> {
        let ends = self.begins.iter().skip(1).copied().chain([self.next]);
        self.begins
            .iter()
            .zip(ends)
            .map(|(begin, end)| *begin..end)
            .collect()
    }

    /// Appends `count` lines with few writes.
    pub fn append(&mut self, count: u64) {
        let mut bytes = Vec::with_capacity(1 << 20);
        for number in self.next..self.next + count {
            line(&mut bytes, &self.name, number, self.length);
            if bytes.len() >= 1 << 20 {
                self.file.write_all(&bytes).expect("to append lines");
                bytes.clear();
            }
        }
        self.file.write_all(&bytes).expect("to append lines");
        self.next += count;
    }

    /// Appends a line whose first part is on disk before its rest is asked for.
    pub fn append_in_two(&mut self, between: impl FnOnce()) {
        let mut bytes = Vec::new();
        line(&mut bytes, &self.name, self.next, self.length);
        let (first, rest) = bytes.split_at(bytes.len() / 2);
        self.file.write_all(first).expect("to append half a line");
        between();
        self.file
            .write_all(rest)
            .expect("to append the rest of a line");
        self.next += 1;
    }

    /// Renames the file to `PATH.1`, `PATH.2`, ... and makes it again, as logrotate's `create` does. Gives the old file's new path.
    pub fn rotate(&mut self) -> PathBuf {
        self.rotations += 1;
        let mut aside = self.path.clone().into_os_string();
        aside.push(format!(".{}", self.rotations));
        fs::rename(&self.path, &aside).expect("to rename a log file");
        self.reopen();
        aside.into()
    }

    /// Opens the file at its path anew, and makes it when it is gone, as applications do when logrotate tells them.
    pub fn reopen(&mut self) {
        self.file = open(&self.path);
        self.begins.push(self.next);
    }

    /// Cuts the file to nothing and goes on in it, as logrotate's `copytruncate` does after its copy.
    pub fn truncate(&mut self) {
        self.file.set_len(0).expect("to truncate a log file");
    }
}

/// Appends one line, its line feed included.
pub fn line(bytes: &mut Vec<u8>, name: &str, number: u64, length: usize) {
    let begin = bytes.len();
    write!(bytes, "{name} {number:010} ").expect("writing to memory succeeds");
    bytes.resize(bytes.len().max(begin + length), b'.');
    bytes.push(b'\n');
}

fn open(path: &Path) -> File {
    // Append, as applications open their logs: after a truncation the next write begins at 0.
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What became of the lines of one name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Numbers that never came.
    pub missing: Vec<u64>,
    /// Lines that came again.
    pub repeated: u64,
    /// Lines that came for the first time after a higher number of the same file had come: a repetition is not disorder.
    pub out_of_order: u64,
    /// Lines of the name with a number that nobody wrote, or that were changed.
    pub foreign: u64,
}

impl Findings {
    /// None missing, none foreign, in order. Lines may have come again.
    pub fn is_at_least_once(&self) -> bool {
        self.missing.is_empty() && self.foreign == 0 && self.out_of_order == 0
    }

    /// Each once, in order, and nothing else.
    pub fn is_exactly_once(&self) -> bool {
        self.is_at_least_once() && self.repeated == 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            missing,
            repeated,
            out_of_order,
            foreign,
        } = self;
        write!(f, "{} missing", missing.len())?;
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            write!(f, " ({first} to {last})")?;
        }
        write!(
            f,
            ", {repeated} repeated, {out_of_order} out of order, {foreign} foreign"
        )
    }
}

/// Judges `lines` (without line ends, in the order they came) by the `expected` numbers of the lines that carry `name` and were
/// written with `length`. Lines of other names are passed over.
pub fn judge<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    name: &str,
    length: usize,
    expected: Range<u64>,
) -> Findings {
    judge_files(lines, name, length, &[expected])
}

/// The same for lines of several files, one file's numbers after the other's: each file has an order of its own.
pub fn judge_files<L: AsRef<[u8]>>(
    lines: impl IntoIterator<Item = L>,
    name: &str,
    length: usize,
    files: &[Range<u64>],
) -> Findings {
    let expected =
        files.first().map_or(0, |file| file.start)..files.last().map_or(0, |file| file.end);
    let prefix = format!("{name} ");
    let mut findings = Findings::default();
    let mut seen = HashSet::new();
    let mut highest = vec![None; files.len()];
    let mut original = Vec::new();
    for found in lines {
        let found = found.as_ref();
        let Some(rest) = found.strip_prefix(prefix.as_bytes()) else {
            continue;
        };
        let number = rest
            .get(..10)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(number) = number.filter(|number| expected.contains(number)) else {
            findings.foreign += 1;
            continue;
        };
        original.clear();
        line(&mut original, name, number, length);
        if original.strip_suffix(b"\n") != Some(found) {
            findings.foreign += 1;
            continue;
        }
        // Empty files lie between others: the last one that begins here or before has the number.
        let file = files.partition_point(|file| file.start <= number) - 1;
        if !seen.insert(number) {
            findings.repeated += 1;
        } else if highest[file].is_some_and(|highest| number < highest) {
            findings.out_of_order += 1;
        } else {
            highest[file] = Some(number);
        }
    }
    findings.missing = expected.filter(|number| !seen.contains(number)).collect();
    findings
}

/// The same for lines of one file that came in several partitions, each with its number: every partition has an order of its own.
pub fn judge_partitions<L: AsRef<[u8]>>(
    lines: &[(i32, L)],
    name: &str,
    length: usize,
    expected: Range<u64>,
) -> Findings {
    let partitions: BTreeSet<_> = lines.iter().map(|(partition, _)| *partition).collect();
    let of = |partition| {
        let lines = lines.iter().filter(move |(of, _)| *of == partition);
        judge(lines.map(|(_, line)| line), name, length, expected.clone())
    };
    Findings {
        out_of_order: partitions.into_iter().map(|it| of(it).out_of_order).sum(),
        ..judge(
            lines.iter().map(|(_, line)| line),
            name,
            length,
            expected.clone(),
        )
    }
}

/// The lines of a file, without their line ends; none when there is no such file. What follows the last line feed counts as a line.
pub fn lines_of(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap_or_default();
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    if bytes.is_empty() {
        Vec::new()
    } else {
        whole
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect()
    }
}
