//! Reading what was saved, and what to say when that is not possible.
//!
//! Invariant: what is damaged or missing is never taken for a first start. It is set aside, and the error says how to go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{StoreError, io_error};
use super::generation::{DAMAGED, JournalNames, journal_path};
use super::{SNAPSHOT, Store};
use crate::checkpoint::data_dir::DataDir;
use crate::checkpoint::format::{self, BadSnapshot};
use crate::checkpoint::state::{Inputs, apply};
use crate::disk::{Disk, with_suffix};

/// What opening found, for the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// There was no checkpoint: this is the first start with this data_dir.
    pub fresh: bool,
    /// What stood torn at the journal's end, unsynced when the power or the system failed, and was left out.
    pub cut: Option<Cut>,
    /// How many files have a position.
    pub entries: usize,
}

/// A torn tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    pub path: PathBuf,
    /// The length of the good part, in bytes.
    pub offset: u64,
    /// How many bytes followed it.
    pub bytes: u64,
}

impl Store {
    /// The first start; or somebody took the snapshot away.
    pub(super) fn begin(
        disk: Arc<dyn Disk>,
        dir: DataDir,
    ) -> Result<(Self, Recovered), StoreError> {
        let path = dir.path().join(SNAPSHOT);
        let names = disk
            .list(dir.path())
            .map_err(|error| io_error("list", dir.path(), error))?;
        for name in names.iter().filter_map(|name| name.to_str()) {
            let witness = dir.path().join(name);
            let set_aside = JournalNames::is_set_aside(name);
            // A first start that was cut short leaves empty journals behind.
            let in_use = match JournalNames::generation(name) {
                Some(generation) => {
                    let bytes = disk
                        .read(&witness)
                        .map_err(|error| io_error("read", &witness, error))?;
                    !format::decode_journal(&bytes, generation)
                        .is_ok_and(|journal| journal.lines.is_empty())
                }
                None => false,
            };
            if set_aside || in_use {
                let recipe = give_up_recipe(dir.path());
                return Err(StoreError::Missing {
                    path,
                    witness,
                    recipe,
                });
            }
        }
        let recovered = Recovered {
            fresh: true,
            ..Recovered::default()
        };
        Ok((Self::new(disk, dir, 0, Inputs::new()), recovered))
    }

    pub(super) fn resume(
        disk: Arc<dyn Disk>,
        dir: DataDir,
        snapshot: &[u8],
    ) -> Result<(Self, Recovered), StoreError> {
        let at = dir.path().join(SNAPSHOT);
        let snapshot = match format::decode_snapshot(snapshot) {
            Ok(snapshot) => snapshot,
            Err(BadSnapshot::Newer(found)) => return Err(StoreError::Newer { path: at, found }),
            Err(BadSnapshot::Damaged(what)) => {
                return Err(StoreError::Damaged {
                    set_aside: set_aside(disk.as_ref(), dir.path(), &at),
                    path: at,
                    what,
                    recipe: give_up_recipe(dir.path()),
                });
            }
        };
        let path = journal_path(dir.path(), snapshot.generation);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(missing_journal(disk.as_ref(), dir.path(), path, &snapshot));
            }
            Err(error) => return Err(io_error("read", &path, error)),
        };
        let found = format::decode_journal(&bytes, snapshot.generation).map_err(|damage| {
            let set_aside = set_aside(disk.as_ref(), dir.path(), &path);
            damaged_journal(path.clone(), &damage, set_aside)
        })?;
        let mut inputs = snapshot.inputs;
        for change in found.lines.into_iter().flat_map(|line| line.changes) {
            apply(&mut inputs, change);
        }
        let torn = bytes.len() as u64 - found.good;
        let recovered = Recovered {
            fresh: false,
            cut: (torn > 0).then_some(Cut {
                path,
                offset: found.good,
                bytes: torn,
            }),
            entries: inputs.values().map(|input| input.entries.len()).sum(),
        };
        let store = Self::new(disk, dir, snapshot.generation, inputs);
        Ok((store, recovered))
    }
}

/// The journal that the snapshot calls for is not there: because it was set aside at an earlier start, or for a reason
/// that is not known.
fn missing_journal(
    disk: &dyn Disk,
    dir: &Path,
    path: PathBuf,
    snapshot: &format::Snapshot,
) -> StoreError {
    let is_aside = |aside: &PathBuf| {
        let prefix = with_suffix(&path, DAMAGED);
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        bytes(aside).starts_with(&bytes(&prefix))
    };
    let names = disk.list(dir).unwrap_or_default();
    let aside = names.iter().map(|name| dir.join(name)).rfind(is_aside);
    if let Some(aside) = aside
        && let Ok(bytes) = disk.read(&aside)
        && let Err(damage) = format::decode_journal(&bytes, snapshot.generation)
    {
        return damaged_journal(path, &damage, Some(aside));
    }
    let witness = dir.join(SNAPSHOT);
    let recipe = format!(
        "put it back from a backup, or go on from {SNAPSHOT} alone (what was sent since then is sent again): `cp -p {} {path} && truncate -s 0 {path}`",
        witness.display(),
        path = path.display(),
    );
    StoreError::Missing {
        path,
        witness,
        recipe,
    }
}

fn damaged_journal(
    path: PathBuf,
    damage: &format::Damage,
    set_aside: Option<PathBuf>,
) -> StoreError {
    let offset = damage.offset;
    let cut = format!("truncate -s {offset} {}", path.display());
    // Copied, not made anew, for the sake of its owner and mode.
    let command = match &set_aside {
        Some(aside) => format!("cp -p {} {} && {cut}", aside.display(), path.display()),
        None => cut,
    };
    let recipe = format!(
        "to go on from the last good position before the damage (what was sent since then is sent again): `{command}`"
    );
    StoreError::Damaged {
        path,
        what: format!("line {}: {}", damage.line, damage.what),
        set_aside,
        recipe,
    }
}

fn give_up_recipe(dir: &Path) -> String {
    format!(
        "put a good {SNAPSHOT} back from a backup, or give up the positions by removing every checkpoint.* from {}",
        dir.display()
    )
}

/// Renames a damaged file so that nothing reads or overwrites it. Its new name, unless that failed.
fn set_aside(disk: &dyn Disk, dir: &Path, path: &Path) -> Option<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let to = with_suffix(path, &format!("{DAMAGED}{time}"));
    disk.rename_new(path, &to).ok()?;
    // Best effort: should a power cut take the new name back, the damage is found again.
    let _ = disk.fsync_dir(dir);
    Some(to)
}
