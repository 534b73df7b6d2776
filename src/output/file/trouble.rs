//! What goes wrong while files are written, and whose fault it is.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::disk::advice;
use crate::template::PathRefusal;

/// The machine's fault: the output pauses, and tries again.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {error}{}", path.display(), what_to_do(error))]
pub struct Trouble {
    pub doing: &'static str,
    pub path: PathBuf,
    pub error: io::Error,
}

/// The end of the sentence.
fn what_to_do(error: &io::Error) -> &'static str {
    match Refusal::from_error(error) {
        Some(Refusal::Link) => {
            "; links below the part of `path` before its first placeholder are not followed: put a folder there, or the link above it"
        }
        Some(Refusal::Folder | Refusal::BelowFile | Refusal::NotRegular) => {
            "; move what stands there away, or change the output's `path`"
        }
        Some(Refusal::LongName) => "; change the output's `path`",
        _ => advice(error),
    }
}

impl Trouble {
    /// For `map_err`.
    pub fn with(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |error| Self { doing, path, error }
    }
}

/// A record's fault: it is set aside, and the others go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no path can be made of it: {0}")]
    Path(#[from] PathRefusal),
    #[error("its path leads through a symbolic link")]
    Link,
    #[error("its path names a folder")]
    Folder,
    #[error("its path needs a folder where a file stands")]
    BelowFile,
    #[error("its path names something that is not a regular file")]
    NotRegular,
    #[error("its path has a name that is too long for the file system")]
    LongName,
}

impl Refusal {
    /// What an error says about a name that came from data.
    pub fn from_error(error: &io::Error) -> Option<Self> {
        let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
        if is(Errno::LOOP) {
            return Some(Self::Link);
        }
        match error.kind() {
            io::ErrorKind::IsADirectory => Some(Self::Folder),
            io::ErrorKind::NotADirectory => Some(Self::BelowFile),
            io::ErrorKind::InvalidFilename => Some(Self::LongName),
            io::ErrorKind::InvalidInput => Some(Self::NotRegular),
            _ => None,
        }
    }
}

/// Why the writer cannot go on from where it is. In both cases it begins its window again.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    /// Records of a file turned out to be refused; they are left out the next time.
    #[error("records of a file are refused")]
    Refused,
}
