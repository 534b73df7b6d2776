//! The spool: a queue on disk for what cannot be read again.
//!
//! An input hands what it read to a [`Writer`]; a second thread, [`run`], sends what lies on disk, makes it durable, and puts away what Kafka has. While
//! that is caught up, a batch goes straight from memory into the pipe: it is written (with `mode: always`) and never read again.
//!
//! ```text
//! input ─► Writer ─► segment on disk ─► run ─┐
//!             └── while caught up ───────────┴─► flow::pipe ─► producer
//!                    position ◄─ flow::tracker ◄─ flow::receipt ◄─┘
//! ```
//!
//! The position is a block's number: what is before it is done. Numbers go on across restarts.
//!
//! Invariants: with `mode: always` a line is in the books as read only after it was written. Batches are sent in the order of their blocks: as long as
//! anything on disk waits to be sent, everything goes there. What is on disk and not under way is `spooled` in the books; what is found at the
//! start was read by an earlier process and is read again, from the spool.
//!
//! Reading order: `block` (pure), `segments`, `queue`, `feed`.

mod acks;
pub mod block;
mod feed;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod queue;
mod segments;
pub mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

pub use self::feed::{Feed, run};
pub use self::queue::{Ends, Facts, NotTaken, Parcel, View, Writer, open};
use crate::disk::{Disk, advice};

/// Where spools are, in `data_dir`.
const FOLDER: &str = "spool";

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
pub struct Error {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    pub fn is_permission(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// The folder of an input's spool.
pub fn folder(data_dir: &Path, input: &str) -> PathBuf {
    let mut name = String::new();
    for (at, byte) in input.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(byte.into()),
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    data_dir.join(FOLDER).join(name)
}

/// Spools that hold something and are not those of `inputs`: nobody sends it.
pub fn forgotten(disk: &Arc<dyn Disk>, data_dir: &Path, inputs: &[&str]) -> Vec<PathBuf> {
    let known: Vec<_> = inputs.iter().map(|input| folder(data_dir, input)).collect();
    let mut left = segments::left_over(disk.as_ref(), &data_dir.join(FOLDER));
    left.retain(|path| !known.contains(path));
    left
}
