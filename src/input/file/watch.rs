//! Hints from the kernel that it is worth looking. The only file that names notify and inotify.
//!
//! Two kinds, so that an application that writes pays for neither while it writes:
//!
//! - folders are watched for names that come, go and change, never for writes;
//! - a file that has been idle is watched for its *next* write only (one event per idle period), after which it is polled.
//!
//! Invariant: nothing depends on a hint. Without inotify, past its limits and after an overflow the sweeps find everything, later.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inotify::{EventMask, Inotify, WatchMask};
use notify::{
    Config, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
    event::{ModifyKind, RenameMode},
};

use super::settings::Watch as Mode;
use crate::flow::{Bell, Ring};

/// Events of idle files that are taken from the kernel at once, in bytes.
const EVENTS: usize = 4096;

/// The hints of one input.
pub struct Watch {
    folders: Option<Folders>,
    files: Option<Files>,
}

struct Folders {
    watcher: RecommendedWatcher,
    watched: HashSet<PathBuf>,
    told: Arc<Told>,
    /// The limit of watches was met and said.
    full: bool,
}

/// What the watcher's own thread leaves for the reader.
struct Told {
    changed: AtomicBool,
    /// Folders that may have lost their watch.
    gone: Mutex<Vec<PathBuf>>,
    bell: Arc<Bell>,
}

struct Files {
    inotify: Inotify,
    /// The files that wait for their next write, by the number of their watch.
    armed: HashMap<i32, u64>,
    events: Vec<u8>,
}

impl Watch {
    /// Hints as `mode` says, as far as the system gives them. Changes of names ring `bell`; writes to idle files do not: ask
    /// [`Watch::written`] every now and then.
    pub fn new(mode: Mode, bell: &Arc<Bell>) -> Self {
        if mode == Mode::Poll {
            return Self {
                folders: None,
                files: None,
            };
        }
        let folders = Folders::new(bell.clone())
            .inspect_err(|error| {
                tracing::warn!(%error, "folders cannot be watched (inotify); new files are noticed by looking every second");
            })
            .ok();
        let files = Inotify::init()
            .inspect_err(|error| {
                tracing::warn!(%error, "idle files cannot be watched (inotify); their next line is noticed by looking every second");
            })
            .ok();
        Self {
            folders,
            files: files.map(|inotify| Files {
                inotify,
                armed: HashMap::new(),
                events: vec![0; EVENTS],
            }),
        }
    }

    /// Watches exactly these folders from now on. Sorted.
    pub fn set_folders(&mut self, folders: &[PathBuf]) {
        if let Some(watching) = &mut self.folders {
            watching.set(folders);
        }
    }

    /// Whether names changed since the last call.
    pub fn names_changed(&self) -> bool {
        let told = self.folders.as_ref().map(|folders| &folders.told);
        told.is_some_and(|told| told.changed.swap(false, Ordering::AcqRel))
    }

    /// Waits for the next write to an idle file. `false` when no hint will come.
    pub fn arm(&mut self, slot: u64, file: Option<&File>, path: &Path) -> bool {
        let Some(files) = &mut self.files else {
            return false;
        };
        // By handle, so that a rename in between does not make it another file.
        let handle = file.map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        let path = handle.as_deref().map_or(path, Path::new);
        let mask = WatchMask::MODIFY | WatchMask::ONESHOT;
        match files.inotify.watches().add(path, mask) {
            Ok(watch) => {
                files.armed.insert(watch.get_watch_descriptor_id(), slot);
                true
            }
            Err(_) => false,
        }
    }

    /// Whether idle files are waited for.
    pub fn is_armed(&self) -> bool {
        self.files.as_ref().is_some_and(|f| !f.armed.is_empty())
    }

    /// Calls `each` with the idle files that were written to. `true` when some may have been missed.
    pub fn written(&mut self, mut each: impl FnMut(u64)) -> bool {
        let armed = |files: &&mut Files| !files.armed.is_empty();
        let Some(files) = self.files.as_mut().filter(armed) else {
            return false;
        };
        let mut missed = false;
        while let Ok(events) = files.inotify.read_events(&mut files.events) {
            for event in events {
                missed |= event.mask.contains(EventMask::Q_OVERFLOW);
                // After the one event the kernel takes the watch away; its number may be given to another.
                if let Some(slot) = files.armed.remove(&event.wd.get_watch_descriptor_id()) {
                    each(slot);
                }
            }
        }
        missed
    }
}

impl Folders {
    fn new(bell: Arc<Bell>) -> notify::Result<Self> {
        let told = Arc::new(Told {
            changed: AtomicBool::new(false),
            gone: Mutex::new(Vec::new()),
            bell,
        });
        let teller = told.clone();
        let kinds = EventKindMask::CREATE | EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
        let config = Config::default().with_event_kinds(kinds);
        let watcher = RecommendedWatcher::new(move |event| teller.tell(event), config)?;
        Ok(Self {
            watcher,
            watched: HashSet::new(),
            told,
            full: false,
        })
    }

    fn set(&mut self, folders: &[PathBuf]) {
        let gone = std::mem::take(&mut *self.told.gone());
        for path in gone {
            if self.watched.remove(&path) {
                // It may still be there under this name: a new watch is set below.
                let _ = self.watcher.unwatch(&path);
            }
        }
        let watcher = &mut self.watcher;
        self.watched.retain(|path| {
            let keep = folders.binary_search(path).is_ok();
            if !keep {
                let _ = watcher.unwatch(path);
            }
            keep
        });
        for path in folders {
            if self.watched.contains(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone());
                }
                Err(error)
                    if !self.full && !matches!(error.kind, notify::ErrorKind::PathNotFound) =>
                {
                    self.full = true;
                    tracing::warn!(folder = %path.display(), %error, "a folder cannot be watched; new files in it are noticed by looking every second (raise fs.inotify.max_user_watches to change that)");
                }
                Err(_) => {}
            }
        }
    }
}

impl Told {
    fn tell(&self, event: notify::Result<Event>) {
        if let Ok(event) = event {
            let left = matches!(
                event.kind,
                EventKind::Remove(_)
                    | EventKind::Modify(ModifyKind::Name(RenameMode::From | RenameMode::Both))
            );
            if left {
                self.gone().extend(event.paths);
            }
        }
        self.changed.store(true, Ordering::Release);
        self.bell.ring();
    }

    fn gone(&self) -> std::sync::MutexGuard<'_, Vec<PathBuf>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::{Duration, Instant};

    #[test]
    fn an_idle_file_tells_of_its_next_write_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let mut file = File::create(&path).unwrap();
        let mut watch = Watch::new(Mode::Auto, &Arc::new(Bell::new()));
        if !watch.arm(7, None, &path) {
            return;
        }
        let mut told = Vec::new();
        file.write_all(b"one\n").unwrap();
        file.write_all(b"two\n").unwrap();
        assert!(!watch.written(|slot| told.push(slot)));
        assert_eq!(told, [7]);
        assert!(!watch.is_armed());
        assert!(watch.arm(7, Some(&file), &path));
    }

    #[test]
    fn a_new_name_rings_and_a_write_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let bell = Arc::new(Bell::new());
        let mut watch = Watch::new(Mode::Auto, &bell);
        if watch.folders.is_none() {
            return;
        }
        watch.set_folders(&[folder.path().to_path_buf()]);
        let mut file = File::create(folder.path().join("a.log")).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while !watch.names_changed() {
            assert!(Instant::now() < patience);
            bell.wait(Duration::from_millis(100));
        }
        file.write_all(b"one\n").unwrap();
        bell.wait(Duration::from_millis(50));
        assert!(!watch.names_changed());
    }

    #[test]
    fn polling_asks_the_kernel_for_nothing() {
        let mut watch = Watch::new(Mode::Poll, &Arc::new(Bell::new()));
        assert!(!watch.arm(1, None, Path::new("/")));
        assert!(!watch.names_changed());
        assert!(!watch.written(|_| panic!("nothing was armed")));
    }
}
