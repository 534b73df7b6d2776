//! Hints from the kernel that it is worth looking. The only file that names notify and inotify.
//!
//! Two kinds, so that an application that writes pays for neither while it writes:
//!
//! - folders are watched for names that come, go and change, never for writes;
//! - a file that has been idle is watched for its *next* write only (one event per idle period), after which it is polled.
//!
//! Invariant: nothing depends on a hint. Without inotify, past its limits and after an overflow the sweeps find everything, later.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inotify::{EventMask, Inotify, WatchMask};
use notify::{
    Config, Event, EventKind, EventKindMask, RecommendedWatcher, RecursiveMode, Watcher,
    event::{ModifyKind, RenameMode},
};

use super::discover::Listed;
use super::settings::Watch as Mode;
use super::troubles::is_out_of_descriptors;
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
    /// With device and inode of the folder that the watch stands on.
    watched: HashMap<PathBuf, (u64, u64)>,
    told: Arc<Told>,
    /// The limit of watches was met and said.
    full: bool,
    /// Another reason why a folder cannot be watched was said.
    refused: bool,
}

/// What the watcher's own thread leaves for the reader.
struct Told {
    changed: AtomicBool,
    /// Events were lost, perhaps that a watch ended.
    missed: AtomicBool,
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
                tracing::warn!(%error, "folders cannot be watched (inotify); new files are noticed by looking every second{}", instances(io_error(error)));
            })
            .ok();
        let files = Inotify::init()
            .inspect_err(|error| {
                tracing::warn!(%error, "idle files cannot be watched (inotify); their next line is noticed by looking every second{}", instances(Some(error)));
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
    pub fn set_folders(&mut self, folders: &[Listed]) {
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
            missed: AtomicBool::new(false),
            gone: Mutex::new(Vec::new()),
            bell,
        });
        let teller = told.clone();
        let kinds = EventKindMask::CREATE | EventKindMask::REMOVE | EventKindMask::MODIFY_NAME;
        let config = Config::default().with_event_kinds(kinds);
        let watcher = RecommendedWatcher::new(move |event| teller.tell(event), config)?;
        Ok(Self {
            watcher,
            watched: HashMap::new(),
            told,
            full: false,
            refused: false,
        })
    }

    fn set(&mut self, folders: &[Listed]) {
        // Before the list: what is lost after this is told again.
        let missed = self.told.missed.swap(false, Ordering::AcqRel);
        let gone = std::mem::take(&mut *self.told.gone());
        for path in gone {
            if self.watched.remove(&path).is_some() {
                // It may still be there under this name: a new watch is set below.
                let _ = self.watcher.unwatch(&path);
            }
        }
        let watcher = &mut self.watcher;
        self.watched.retain(|path, id| {
            let listed = folders.binary_search_by(|folder| folder.path.cmp(path));
            // The path of a link may lead to another folder, and the watch stand on the one before.
            let keep = !missed && listed.is_ok_and(|at| folders[at].id == *id);
            if !keep {
                let _ = watcher.unwatch(path);
            }
            keep
        });
        for Listed { path, id } in folders {
            if self.watched.contains_key(path) {
                continue;
            }
            match self.watcher.watch(path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(path.clone(), *id);
                }
                Err(error) => self.cannot_watch(path, &error),
            }
        }
    }

    /// Said once for each kind of reason: there may be thousands of folders.
    fn cannot_watch(&mut self, path: &Path, error: &notify::Error) {
        match error.kind {
            notify::ErrorKind::PathNotFound => {}
            notify::ErrorKind::MaxFilesWatch if !self.full => {
                self.full = true;
                tracing::warn!(folder = %path.display(), %error, "a folder cannot be watched; new files in it are noticed by looking every second (raise fs.inotify.max_user_watches to change that)");
            }
            notify::ErrorKind::MaxFilesWatch => {}
            _ if !self.refused => {
                self.refused = true;
                tracing::warn!(folder = %path.display(), %error, "a folder cannot be watched; new files in it are noticed by looking every second");
            }
            _ => {}
        }
    }
}

impl Told {
    fn tell(&self, event: notify::Result<Event>) {
        let missed = event.as_ref().map_or(true, Event::need_rescan);
        self.missed.fetch_or(missed, Ordering::AcqRel);
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

fn io_error(error: &notify::Error) -> Option<&io::Error> {
    match &error.kind {
        notify::ErrorKind::Io(error) => Some(error),
        _ => None,
    }
}

/// What to do when there are no instances of inotify left.
fn instances(error: Option<&io::Error>) -> &'static str {
    if error.is_some_and(is_out_of_descriptors) {
        " (raise fs.inotify.max_user_instances, or how many files it may open, to change that)"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::file::look::Look;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    fn listed(folders: &[&Path]) -> Vec<Listed> {
        let of = |path: &&Path| {
            let look = Look::at(path).unwrap();
            Listed {
                path: path.to_path_buf(),
                id: (look.id.dev, look.id.inode),
            }
        };
        folders.iter().map(of).collect()
    }

    #[track_caller]
    fn wait_told(watch: &Watch, bell: &Bell) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !watch.names_changed() {
            assert!(Instant::now() < patience, "nothing was told");
            bell.wait(Duration::from_millis(100));
        }
    }

    /// Waits until everything that happened before this is told, and forgets it.
    fn drain(watch: &Watch, bell: &Bell, witness: &Path) {
        let told = &watch.folders.as_ref().unwrap().told;
        let mark = witness.join("mark");
        fs::write(&mark, b"").unwrap();
        fs::remove_file(&mark).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while !told.gone().contains(&mark) {
            assert!(Instant::now() < patience, "nothing was told");
            bell.wait(Duration::from_millis(100));
        }
        watch.names_changed();
    }

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
        watch.set_folders(&listed(&[folder.path()]));
        let mut file = File::create(folder.path().join("a.log")).unwrap();
        wait_told(&watch, &bell);
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

    #[test]
    fn a_folder_that_is_another_one_now_is_watched_again() {
        type Change = fn(&Path, &Path);
        let changes: [Change; 3] = [
            |folder, _| {
                fs::remove_dir(folder).unwrap();
                fs::create_dir(folder).unwrap();
            },
            |folder, aside| {
                fs::rename(folder, aside.join("old")).unwrap();
                fs::create_dir(folder).unwrap();
            },
            |folder, aside| {
                fs::rename(folder, aside.join("old")).unwrap();
                symlink(aside, folder).unwrap();
            },
        ];
        for change in changes {
            let root = tempfile::tempdir().unwrap();
            let (folder, aside) = (root.path().join("folder"), root.path().join("x/aside"));
            fs::create_dir(&folder).unwrap();
            fs::create_dir_all(&aside).unwrap();
            let bell = Arc::new(Bell::new());
            let mut watch = Watch::new(Mode::Auto, &bell);
            if watch.folders.is_none() {
                return;
            }
            let all = [root.path(), &folder];
            watch.set_folders(&listed(&all));
            change(&folder, &aside);
            drain(&watch, &bell, root.path());
            watch.set_folders(&listed(&all));
            File::create(folder.join("a.log")).unwrap();
            wait_told(&watch, &bell);
        }
    }

    #[test]
    fn a_link_that_leads_to_another_folder_is_watched_there() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        for folder in ["one", "two", "witness"] {
            fs::create_dir(path(folder)).unwrap();
        }
        symlink("one", path("link")).unwrap();
        let bell = Arc::new(Bell::new());
        let mut watch = Watch::new(Mode::Auto, &bell);
        if watch.folders.is_none() {
            return;
        }
        let (link, witness) = (path("link"), path("witness"));
        watch.set_folders(&listed(&[&link, &witness]));
        // Its own folder is not watched: nothing tells of this.
        symlink("two", path("new")).unwrap();
        fs::rename(path("new"), &link).unwrap();
        drain(&watch, &bell, &witness);
        watch.set_folders(&listed(&[&link, &witness]));
        File::create(path("two/a.log")).unwrap();
        wait_told(&watch, &bell);
    }

    #[test]
    fn lost_events_are_a_hint_and_all_folders_are_watched_anew() {
        let folder = tempfile::tempdir().unwrap();
        let bell = Arc::new(Bell::new());
        let mut watch = Watch::new(Mode::Auto, &bell);
        if watch.folders.is_none() {
            return;
        }
        let folders = listed(&[folder.path()]);
        watch.set_folders(&folders);
        // The watch is gone, and nobody was told.
        let watching = watch.folders.as_mut().unwrap();
        watching.watcher.unwatch(folder.path()).unwrap();
        let overflow = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
        watching.told.tell(Ok(overflow));
        assert!(watch.names_changed());
        watch.set_folders(&folders);
        File::create(folder.path().join("a.log")).unwrap();
        wait_told(&watch, &bell);
        // Once is enough.
        let told = &watch.folders.as_ref().unwrap().told;
        assert!(!told.missed.load(Ordering::Acquire));
    }

    #[test]
    fn more_writes_than_the_kernel_keeps_are_told_as_missed() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: u64 = most.trim().parse().unwrap();
        let mut watch = Watch::new(Mode::Auto, &Arc::new(Bell::new()));
        if watch.files.is_none() || most > 50_000 {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = |slot: u64| folder.path().join(slot.to_string());
        for slot in 0..most + 10 {
            File::create(path(slot)).unwrap();
            if !watch.arm(slot, None, &path(slot)) {
                return;
            }
        }
        for slot in 0..most + 10 {
            fs::write(path(slot), b"1").unwrap();
        }
        let mut told = 0;
        assert!(watch.written(|_| told += 1));
        assert!(told < most + 10);
    }
}
