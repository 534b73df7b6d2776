//! Why positions cannot be read or saved, in words that say what to do.
//!
//! What needs a person carries its recipe: the command that goes on from there, and what it costs.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::checkpoint::data_dir::DataDirError;
use crate::disk::advice;

/// Why positions cannot be read or saved.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the saved positions cannot be read: {} is damaged ({what}){}; starting without them would read every file from its beginning, so nothing is started; {recipe}",
        path.display(),
        aside(set_aside)
    )]
    Damaged {
        path: PathBuf,
        what: String,
        /// Its name now; absent when it could not be renamed.
        set_aside: Option<PathBuf>,
        recipe: String,
    },
    #[error(
        "the saved positions cannot be read: {} is missing, but {} is there; starting without it would skip or repeat lines, so nothing is started; {recipe}",
        path.display(),
        witness.display()
    )]
    Missing {
        path: PathBuf,
        /// The file that shows that it was there.
        witness: PathBuf,
        recipe: String,
    },
    #[error(
        "{} has format {found}, which a later logferry wrote; run that version, or a later one",
        path.display()
    )]
    Newer { path: PathBuf, found: u32 },
}

impl StoreError {
    /// Another daemon holds the data_dir.
    pub fn is_held(&self) -> bool {
        matches!(self, Self::DataDir(DataDirError::Held { .. }))
    }

    /// The data_dir may not be written or read by this user, or not at all.
    pub fn is_permission(&self) -> bool {
        let (Self::Io { source, .. } | Self::DataDir(DataDirError::Io { source, .. })) = self
        else {
            return false;
        };
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
        matches!(source.kind(), PermissionDenied | ReadOnlyFilesystem)
    }
}

pub(super) fn io_error(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

fn aside(set_aside: &Option<PathBuf>) -> String {
    match set_aside {
        Some(path) => format!(" and was set aside as {}", path.display()),
        None => " and could not be set aside".to_owned(),
    }
}
