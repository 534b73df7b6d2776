//! What `produce` reads: standard input, or files one after another, as one run of lines.
//!
//! Lines are counted over all of them; a message names the file and its own count.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use super::lines::Place;

/// The inputs, and which one is being read.
pub struct Source {
    /// Those that follow.
    files: std::vec::IntoIter<PathBuf>,
    open: Option<File>,
    stdin: io::Stdin,
    /// With the number of lines that were met before each.
    begun: Vec<(u64, PathBuf)>,
    host: String,
}

impl Source {
    /// No files: standard input.
    pub fn new(files: Vec<PathBuf>, host: String) -> Self {
        Self {
            files: files.into_iter(),
            open: None,
            stdin: io::stdin(),
            begun: Vec::new(),
            host,
        }
    }

    /// Opens the next one; `met` lines were met so far. Absent at the end of all.
    pub fn open_next(&mut self, met: u64) -> Option<Result<Place, String>> {
        let path = self.files.next()?;
        self.begun.push((met, path.clone()));
        // A pipe that nobody writes to yet would keep the command from hearing Ctrl-C; it is polled before it is read.
        let how = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::open(&path, how, Mode::empty()) {
            Ok(file) => {
                self.open = Some(file.into());
                Some(Ok(Place {
                    host: self.host.clone(),
                    path: path.as_os_str().as_bytes().to_vec(),
                }))
            }
            Err(error) => {
                let error = io::Error::from(error);
                Some(Err(format!("{}: {error}", path.display())))
            }
        }
    }

    /// What is read now.
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.open {
            Some(file) => file.as_fd(),
            None => self.stdin.as_fd(),
        }
    }

    /// Whether a person types the lines: no file is named.
    pub fn is_terminal(&self) -> bool {
        let has_files = !self.begun.is_empty() || !self.files.as_slice().is_empty();
        !has_files && self.stdin.is_terminal()
    }

    /// Where a line stands, in words.
    pub fn place_of(&self, line: u64) -> String {
        let at = self.begun.partition_point(|(met, _)| *met < line);
        match at.checked_sub(1).map(|at| &self.begun[at]) {
            Some((met, path)) => format!("{}:{}", path.display(), line - met),
            None => format!("line {line}"),
        }
    }
}

/// Bytes of `files`, or of standard input when it is a file; absent when that cannot be known.
pub fn size(files: &[PathBuf]) -> Option<u64> {
    if files.is_empty() {
        let stat = rustix::fs::fstat(io::stdin()).ok()?;
        let regular = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        return regular.then(|| u64::try_from(stat.st_size).unwrap_or(0));
    }
    let sizes = files.iter().map(|file| {
        let meta = std::fs::metadata(file).ok()?;
        meta.is_file().then_some(meta.len())
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_by_its_file_and_its_count_there() {
        let source = Source {
            begun: vec![(0, "a".into()), (3, "b".into()), (3, "c".into())],
            ..Source::new(Vec::new(), String::new())
        };
        let places = [1, 3, 4].map(|line| source.place_of(line));
        assert_eq!(places, ["a:1", "a:3", "c:1"]);
        let stdin = Source::new(Vec::new(), String::new());
        assert_eq!(stdin.place_of(7), "line 7");
    }
}
