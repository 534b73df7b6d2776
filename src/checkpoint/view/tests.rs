use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

use super::*;
use crate::checkpoint::{Change, Entry, FileKey, Store};
use crate::disk::model::ModelDisk;
use crate::disk::{self, DiskFile, Meta, Open};

const DIR: &str = "/var/lib/logferry";

fn put(offset: u64) -> Change {
    Change::Put {
        input: "nginx".into(),
        key: FileKey(0),
        entry: Entry {
            path: Path::new("/var/log/a.log").into(),
            dev: 1,
            inode: 2,
            birth: None,
            offset,
            inside_line: false,
            skip: None,
            head: None,
            tail: None,
            half: None,
            packed: None,
            updated: 0,
        },
    }
}

fn offset(inputs: &Inputs) -> Option<u64> {
    Some(inputs.get("nginx")?.entries.get(&FileKey(0))?.offset)
}

/// Two lives of two saves; the first save of each life and what follows the second begin a generation. Gives the last
/// offset that was saved for certain.
fn write(disk: &ModelDisk) -> Option<u64> {
    let mut last = None;
    for life in 0..2 {
        let Ok((mut store, _)) = Store::open(Arc::new(disk.clone()), Path::new(DIR)) else {
            break;
        };
        for at in [life * 2, life * 2 + 1] {
            if store.save(&[put(at)]).is_err() {
                return last;
            }
            last = Some(at);
        }
        let inputs = store.all().clone();
        if store.replace(inputs).is_err() {
            break;
        }
    }
    last
}

/// A disk that goes on to another moment before each operation.
#[derive(Debug)]
struct Moving {
    moments: Vec<ModelDisk>,
    /// The moment of the first, second, ... operation; the last one stays.
    at: Vec<usize>,
    operations: AtomicUsize,
}

impl Moving {
    fn now(&self) -> &ModelDisk {
        let operation = self.operations.fetch_add(1, Ordering::Relaxed);
        let moment = self.at.get(operation).or(self.at.last()).unwrap();
        &self.moments[*moment]
    }
}

impl Disk for Moving {
    fn open(&self, _: &Path, _: Open) -> io::Result<Box<dyn DiskFile>> {
        Err(Errno::ROFS.into())
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.now().read(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Meta> {
        self.now().metadata(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.now().list(dir)
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(Errno::ROFS.into())
    }
    fn rename_new(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(Errno::ROFS.into())
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(Errno::ROFS.into())
    }
    fn create_dir(&self, _: &Path, _: u32) -> io::Result<()> {
        Err(Errno::ROFS.into())
    }
    fn fsync_dir(&self, _: &Path) -> io::Result<()> {
        Err(Errno::ROFS.into())
    }
}

#[test]
fn a_reader_during_any_steps_of_a_writer_sees_a_state_that_was_saved() {
    let whole = ModelDisk::new();
    assert_eq!(write(&whole), Some(3));
    // How the disk was after each of the writer's operations, and what was saved for certain by then.
    let mut moments = Vec::new();
    let mut saved = Vec::new();
    for at in 0..=whole.operations() {
        let disk = ModelDisk::new();
        disk.crash_after(at);
        saved.push(write(&disk));
        moments.push(disk.restart());
    }
    let last = moments.len() - 1;
    for (first, promised) in saved.iter().enumerate() {
        for second in first..=last {
            for third in second..=last {
                let disk = Moving {
                    moments: moments.clone(),
                    // The version, the snapshot, its journal; what is looked at again, a step later each.
                    at: [first, first, second]
                        .into_iter()
                        .chain(third..=last)
                        .collect(),
                    operations: AtomicUsize::new(0),
                };
                let seen = view(&disk, Path::new(DIR));
                let seen = offset(&seen.unwrap_or_else(|error| {
                    panic!("{first} {second} {third}: {error}");
                }));
                assert!(seen >= *promised, "{first} {second} {third}");
                assert!(seen <= Some(3));
            }
        }
    }
}

#[test]
fn a_folder_that_is_not_there_has_nothing_saved_and_is_not_made() {
    let disk = ModelDisk::new();
    assert_eq!(view(&disk, Path::new(DIR)).unwrap(), Inputs::new());
    assert!(disk.metadata(Path::new(DIR)).is_err());
}

#[test]
fn what_is_damaged_stays_as_it_is_and_is_named() {
    let disk = ModelDisk::new();
    write(&disk).unwrap();
    let snapshot = Path::new(DIR).join(SNAPSHOT);
    disk::replace(&disk, &snapshot, b"{}", 0o600).unwrap();
    let names = disk.list(Path::new(DIR)).unwrap();
    let text = view(&disk, Path::new(DIR)).unwrap_err().to_string();
    assert!(
        text.contains("checkpoint.json is damaged") && text.contains("nothing was changed"),
        "{text}"
    );
    assert_eq!(disk.list(Path::new(DIR)).unwrap(), names);
    assert_eq!(disk.read(&snapshot).unwrap(), b"{}");

    disk.remove(&snapshot).unwrap();
    let text = view(&disk, Path::new(DIR)).unwrap_err().to_string();
    assert!(text.contains("checkpoint.json is missing"), "{text}");
}

#[test]
fn a_torn_tail_is_left_out_and_left_alone() {
    let disk = ModelDisk::new();
    write(&disk).unwrap();
    let (mut store, _) = Store::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
    store.sync().unwrap();
    store.save(&[put(9)]).unwrap();
    let names = disk.list(Path::new(DIR)).unwrap();
    let journal = names.iter().find_map(|name| {
        let name = name.to_str()?;
        JournalNames::generation(name).map(|_| Path::new(DIR).join(name))
    });
    let journal = journal.unwrap();
    let bytes = disk.read(&journal).unwrap();
    let file = disk.open(&journal, Open::Existing).unwrap();
    file.truncate(bytes.len() as u64 - 5).unwrap();
    let seen = view(&disk, Path::new(DIR)).unwrap();
    assert_eq!(offset(&seen), Some(3));
    assert_eq!(file.len().unwrap(), bytes.len() as u64 - 5);
}

#[test]
fn a_later_format_is_told_apart() {
    let disk = ModelDisk::new();
    write(&disk).unwrap();
    disk::replace(&disk, &Path::new(DIR).join("version"), b"9\n", 0o600).unwrap();
    let error = view(&disk, Path::new(DIR)).unwrap_err();
    assert!(matches!(
        error,
        ViewError::DataDir(DataDirError::Newer { found: 9, .. })
    ));
}
