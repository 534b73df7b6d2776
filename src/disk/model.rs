//! A disk in memory that knows what is durable, for tests: it crashes at any operation and loses what a real one may.
//!
//! Every file and the name space keep a log of effects. An effect is *certain* once the sync that covers it succeeded;
//! each other one is kept or lost by itself at a power cut ([`ModelDisk::crash`], [`ModelDisk::crash_with`]). Writes are
//! split at pages, since a real disk keeps or loses each page. What a failed sync of a file covered stays uncertain for
//! ever, as on Linux. A killed process loses nothing but its handles and locks ([`ModelDisk::restart`]).
//!
//! Paths are absolute; folders cannot be renamed or removed. Not modelled: permissions, symbolic links, hard links.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Disk, DiskFile, Meta, Open, parent_of};

const PAGE: usize = 4096;

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct ModelDisk(Arc<Mutex<State>>);

/// An effect that no sync covers yet, shown to [`ModelDisk::crash_with`].
#[derive(Debug, Clone, Copy)]
pub struct Effect<'a> {
    /// The name that was used, or for a rename the new one.
    pub path: &'a Path,
    pub kind: EffectKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectKind {
    /// At most a page.
    Write {
        offset: u64,
        len: usize,
    },
    Truncate,
    Create,
    CreateDir,
    Rename,
    Remove,
}

/// What becomes of an effect in a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Kept,
    Lost,
    /// A write of which only the first bytes, this many, arrived. Like `Kept` for anything else.
    Torn(usize),
    /// A write of which only the file's new length arrived, so that NULs stand there. Like `Kept` for anything else.
    Zeroed,
}

#[derive(Debug)]
struct State {
    /// Grows when a process ends, so that the handles and locks of the earlier ones are dead.
    life: u64,
    operations: u64,
    faults: Vec<Fault>,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, Node>,
    durable_names: BTreeMap<PathBuf, Node>,
    name_log: Vec<Logged<NameOp>>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    from: u64,
    times: u64,
    /// `None`: the process is dead.
    error: Option<Errno>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    log: Vec<Logged<FileOp>>,
    /// The life and number of the handle that holds it.
    lock: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
struct Logged<T> {
    path: PathBuf,
    op: T,
    certain: bool,
    /// A failed sync covered it: no later one makes it certain.
    stuck: bool,
}

#[derive(Debug, Clone)]
enum FileOp {
    Write { offset: u64, bytes: Vec<u8> },
    Truncate(u64),
}

#[derive(Debug, Clone)]
enum NameOp {
    Create(PathBuf, Node),
    Rename(PathBuf, PathBuf, Node, Vec<PathBuf>),
    Remove(PathBuf, Node),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    Dir,
    File(u64),
}

impl Default for ModelDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl ModelDisk {
    /// An empty disk: there is `/` and nothing in it.
    pub fn new() -> Self {
        let names = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
        Self(Arc::new(Mutex::new(State {
            life: 0,
            operations: 0,
            faults: Vec::new(),
            next_inode: 1,
            inodes: BTreeMap::new(),
            durable_names: names.clone(),
            names,
            name_log: Vec::new(),
        })))
    }

    /// How many operations were asked for so far, reading ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The process dies after `more` operations: every later one fails without effect. See [`crashed`].
    pub fn crash_after(&self, more: u64) {
        self.fault(more, u64::MAX, None);
    }

    /// After `more` operations the next `times` fail with `error` (`u64::MAX`: until [`heal`](Self::heal)). Reading is not
    /// affected. A write that fails for space leaves a part of its bytes; a sync that fails loses its hold on what it
    /// should have synced.
    pub fn fail_after(&self, more: u64, times: u64, error: Errno) {
        self.fault(more, times, Some(error));
    }

    /// Takes back every crash and fault that was set.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// The same disk for the next process, after SIGKILL: everything written is there, durable or not.
    pub fn restart(&self) -> Self {
        let mut state = self.state();
        state.faults.clear();
        state.life += 1;
        drop(state);
        self.clone()
    }

    /// The disk after a power cut, with a fate by chance for each effect that no sync covers.
    pub fn crash(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        // Some cuts lose nearly everything, some nearly nothing: both find faults that an even mix does not.
        let lean = random.below(5);
        self.crash_with(|effect| match (random.below(4) + lean, effect.kind) {
            (0..=2, _) => Fate::Lost,
            (3, EffectKind::Write { len, .. }) => match random.below(3) {
                0 => Fate::Zeroed,
                _ => Fate::Torn(random.below(len as u64 + 1) as usize),
            },
            _ => Fate::Kept,
        })
    }

    /// The disk after a power cut; `fate` decides on each effect that no sync covers, in the order in which they were
    /// made per file, names last.
    pub fn crash_with(&self, mut fate: impl FnMut(Effect<'_>) -> Fate) -> Self {
        let state = self.state();
        let mut after = State {
            life: 0,
            operations: 0,
            faults: Vec::new(),
            next_inode: state.next_inode,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            name_log: Vec::new(),
        };
        for (&number, inode) in &state.inodes {
            let mut content = inode.durable.clone();
            for logged in &inode.log {
                let kind = match &logged.op {
                    FileOp::Write { offset, bytes } => EffectKind::Write {
                        offset: *offset,
                        len: bytes.len(),
                    },
                    FileOp::Truncate(_) => EffectKind::Truncate,
                };
                let fate = logged.fate(kind, &mut fate);
                apply(&mut content, &logged.op, fate);
            }
            let inode = Inode {
                now: content.clone(),
                durable: content,
                ..Inode::default()
            };
            after.inodes.insert(number, inode);
        }
        let mut names = state.durable_names.clone();
        for logged in &state.name_log {
            let kind = match &logged.op {
                NameOp::Create(_, Node::Dir) => EffectKind::CreateDir,
                NameOp::Create(..) => EffectKind::Create,
                NameOp::Rename(..) => EffectKind::Rename,
                NameOp::Remove(..) => EffectKind::Remove,
            };
            if logged.fate(kind, &mut fate) != Fate::Lost {
                rename(&mut names, &logged.op);
            }
        }
        // What stands in a folder that was lost is lost with it.
        after.names = names
            .iter()
            .filter(|(path, _)| {
                path.ancestors()
                    .skip(1)
                    .all(|above| names.get(above) == Some(&Node::Dir))
            })
            .map(|(path, node)| (path.clone(), *node))
            .collect();
        after.durable_names = after.names.clone();
        Self(Arc::new(Mutex::new(after)))
    }

    fn fault(&self, more: u64, times: u64, error: Option<Errno>) {
        let mut state = self.state();
        let from = state.operations + more;
        state.faults.push(Fault { from, times, error });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the error of an operation after [`ModelDisk::crash_after`].
pub fn crashed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Other && error.to_string() == CRASHED
}

const CRASHED: &str = "the process is dead";

impl<T> Logged<T> {
    fn fate(&self, kind: EffectKind, fate: &mut impl FnMut(Effect<'_>) -> Fate) -> Fate {
        if self.certain {
            return Fate::Kept;
        }
        fate(Effect {
            path: &self.path,
            kind,
        })
    }
}

fn apply(content: &mut Vec<u8>, op: &FileOp, fate: Fate) {
    match (op, fate) {
        (_, Fate::Lost) => {}
        (FileOp::Truncate(len), _) => content.resize(*len as usize, 0),
        (FileOp::Write { offset, bytes }, fate) => {
            let start = *offset as usize;
            let (bytes, end) = match fate {
                Fate::Torn(n) => {
                    let n = n.min(bytes.len());
                    (&bytes[..n], start + n)
                }
                Fate::Zeroed => (&bytes[..0], start + bytes.len()),
                _ => (&bytes[..], start + bytes.len()),
            };
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start.min(end)..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}

/// An entry that is replaced or gone by now is not touched on behalf of what had the name before.
fn rename(names: &mut BTreeMap<PathBuf, Node>, op: &NameOp) {
    let remove = |names: &mut BTreeMap<PathBuf, Node>, path: &Path, node: Node| {
        if names.get(path) == Some(&node) {
            names.remove(path);
        }
    };
    match op {
        NameOp::Create(path, node) => {
            names.insert(path.clone(), *node);
        }
        NameOp::Rename(from, to, node, _) => {
            remove(names, from, *node);
            names.insert(to.clone(), *node);
        }
        NameOp::Remove(path, node) => remove(names, path, *node),
    }
}

impl State {
    /// Counts an operation; an error when it must not happen.
    fn operation(&mut self, changes: bool) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let mut result = Ok(());
        for fault in &mut self.faults {
            if number < fault.from || fault.times == 0 {
                continue;
            }
            match fault.error {
                None => return Err(io::Error::other(CRASHED)),
                Some(error) if changes => {
                    fault.times -= 1;
                    result = Err(error.into());
                }
                Some(_) => {}
            }
        }
        result
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        let node = self.names.get(path).copied();
        node.ok_or(io::ErrorKind::NotFound.into())
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.node(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        match self.node(&parent_of(path))? {
            Node::Dir => Ok(()),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn change_names(&mut self, path: &Path, op: NameOp) {
        rename(&mut self.names, &op);
        self.name_log.push(Logged::new(path, op));
    }

    fn meta(&self, node: Node) -> Meta {
        let (len, inode) = match node {
            Node::Dir => (0, 0),
            Node::File(inode) => (self.len(inode), inode),
        };
        Meta {
            len,
            is_dir: node == Node::Dir,
            dev: 1,
            inode,
        }
    }

    fn len(&self, inode: u64) -> u64 {
        self.inodes
            .get(&inode)
            .map_or(0, |inode| inode.now.len() as u64)
    }
}

impl<T> Logged<T> {
    fn new(path: &Path, op: T) -> Self {
        Self {
            path: path.to_path_buf(),
            op,
            certain: false,
            stuck: false,
        }
    }
}

/// Makes what `covers` says certain, and forgets the log's certain beginning in favour of `fold`.
fn settle<T>(
    log: &mut Vec<Logged<T>>,
    mut covers: impl FnMut(&mut T) -> bool,
    mut fold: impl FnMut(&T),
) {
    for logged in log.iter_mut() {
        if covers(&mut logged.op) && !logged.stuck {
            logged.certain = true;
        }
    }
    let certain = log.iter().take_while(|logged| logged.certain).count();
    for logged in log.drain(..certain) {
        fold(&logged.op);
    }
}

impl Disk for ModelDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let exists = state.file(path);
        let creates = matches!(how, Open::OrCreate { .. } | Open::New { .. });
        state.operation(creates && exists.is_err())?;
        let inode = match (exists, how) {
            (Ok(_), Open::New { .. }) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Ok(inode), _) => inode,
            (Err(error), _) if error.kind() != io::ErrorKind::NotFound || !creates => {
                return Err(error);
            }
            (Err(_), _) => {
                state.parent(path)?;
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                let node = Node::File(inode);
                state.change_names(path, NameOp::Create(path.to_path_buf(), node));
                inode
            }
        };
        Ok(Box::new(ModelFile {
            disk: self.clone(),
            life: state.life,
            handle: state.operations,
            inode,
            path: path.to_path_buf(),
            writes: how != Open::Read,
        }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        state.operation(false)?;
        let inode = state.file(path)?;
        Ok(state.inodes[&inode].now.clone())
    }

    fn metadata(&self, path: &Path) -> io::Result<Meta> {
        let mut state = self.state();
        state.operation(false)?;
        let node = state.node(path)?;
        Ok(state.meta(node))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.state();
        state.operation(false)?;
        if state.node(dir)? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let names = state.names.keys().filter(inside);
        Ok(names
            .filter_map(|path| Some(path.file_name()?.to_os_string()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        let node = Node::File(state.file(from)?);
        state.parent(to)?;
        let unsynced = vec![parent_of(from), parent_of(to)];
        let op = NameOp::Rename(from.to_path_buf(), to.to_path_buf(), node, unsynced);
        state.change_names(to, op);
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        let node = Node::File(state.file(path)?);
        state.change_names(path, NameOp::Remove(path.to_path_buf(), node));
        Ok(())
    }

    fn create_dir(&self, path: &Path, _mode: u32) -> io::Result<()> {
        let mut state = self.state();
        state.operation(true)?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.parent(path)?;
        state.change_names(path, NameOp::Create(path.to_path_buf(), Node::Dir));
        Ok(())
    }

    fn fsync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.node(dir)? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let result = state.operation(true);
        let State {
            durable_names,
            name_log,
            ..
        } = &mut *state;
        let covers = |op: &mut NameOp| match op {
            NameOp::Create(path, _) | NameOp::Remove(path, _) => parent_of(path) == dir,
            NameOp::Rename(.., unsynced) => {
                unsynced.retain(|parent| parent != dir);
                unsynced.is_empty()
            }
        };
        if result.is_ok() {
            settle(name_log, covers, |op| rename(durable_names, op));
        }
        result
    }
}

#[derive(Debug)]
struct ModelFile {
    disk: ModelDisk,
    life: u64,
    /// Unique among the handles of a life.
    handle: u64,
    inode: u64,
    path: PathBuf,
    writes: bool,
}

impl ModelFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other(CRASHED));
        }
        Ok(state)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        if !self.writes {
            return Err(Errno::BADF.into());
        }
        self.state()
    }

    fn inode<'a>(&self, state: &'a mut State) -> &'a mut Inode {
        state.inodes.entry(self.inode).or_default()
    }

    fn apply(&self, inode: &mut Inode, op: FileOp) {
        apply(&mut inode.now, &op, Fate::Kept);
        inode.log.push(Logged::new(&self.path, op));
    }
}

impl DiskFile for ModelFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state()?;
        state.operation(false)?;
        let content = &self.inode(&mut state).now;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.change()?;
        let result = state.operation(true);
        let written = match &result {
            Ok(()) => bytes,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => &bytes[..bytes.len() / 2],
            Err(_) => &[],
        };
        let inode = self.inode(&mut state);
        let (mut at, mut rest) = (offset, written);
        while !rest.is_empty() {
            let (page, further) = rest.split_at(rest.len().min(PAGE - at as usize % PAGE));
            let bytes = page.to_vec();
            self.apply(inode, FileOp::Write { offset: at, bytes });
            at += page.len() as u64;
            rest = further;
        }
        result
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state()?;
        state.operation(false)?;
        Ok(state.len(self.inode))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        state.operation(true)?;
        self.apply(self.inode(&mut state), FileOp::Truncate(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state()?;
        let result = state.operation(true);
        let Inode { durable, log, .. } = self.inode(&mut state);
        match &result {
            Ok(()) => settle(log, |_| true, |op| apply(durable, op, Fate::Kept)),
            Err(error) if crashed(error) => {}
            Err(_) => log
                .iter_mut()
                .for_each(|logged| logged.stuck |= !logged.certain),
        }
        result
    }

    fn metadata(&self) -> io::Result<Meta> {
        let mut state = self.state()?;
        state.operation(false)?;
        Ok(state.meta(Node::File(self.inode)))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut state = self.state()?;
        state.operation(false)?;
        let me = (self.life, self.handle);
        let inode = self.inode(&mut state);
        let free = inode
            .lock
            .is_none_or(|holder| holder == me || holder.0 != self.life);
        if free {
            inode.lock = Some(me);
        }
        Ok(free)
    }
}

impl Drop for ModelFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let inode = self.inode(&mut state);
        if inode.lock == Some((self.life, self.handle)) {
            inode.lock = None;
        }
    }
}

/// Random numbers from a seed (splitmix64), so that a failing case can be had again.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is at least 1.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(disk: &ModelDisk, path: &str, content: &[u8]) -> Box<dyn DiskFile> {
        let file = disk
            .open(Path::new(path), Open::OrCreate { mode: 0o600 })
            .unwrap();
        file.write_at(content, 0).unwrap();
        file
    }

    fn read(disk: &ModelDisk, path: &str) -> Option<Vec<u8>> {
        disk.read(Path::new(path)).ok()
    }

    fn sync_root(disk: &ModelDisk) {
        disk.fsync_dir(Path::new("/")).unwrap();
    }

    #[test]
    fn a_synced_file_is_lost_without_its_name() {
        let disk = ModelDisk::new();
        create(&disk, "/a", b"x").sync_data().unwrap();
        assert_eq!(read(&disk.crash_with(|_| Fate::Lost), "/a"), None);
        sync_root(&disk);
        assert_eq!(read(&disk.crash_with(|_| Fate::Lost), "/a").unwrap(), b"x");
    }

    #[test]
    fn a_name_is_durable_without_its_content() {
        let disk = ModelDisk::new();
        create(&disk, "/a", b"xyz");
        sync_root(&disk);
        let after = |fate| read(&disk.crash_with(|_| fate), "/a").unwrap();
        assert_eq!(after(Fate::Lost), b"");
        assert_eq!(after(Fate::Torn(2)), b"xy");
        assert_eq!(after(Fate::Zeroed), b"\0\0\0");
        assert_eq!(after(Fate::Kept), b"xyz");
    }

    #[test]
    fn each_unsynced_effect_is_kept_or_lost_by_itself() {
        let disk = ModelDisk::new();
        let file = create(&disk, "/a", b"12");
        file.sync_data().unwrap();
        sync_root(&disk);
        file.write_at(b"34", 2).unwrap();
        file.truncate(3).unwrap();
        file.write_at(b"5", 3).unwrap();
        disk.rename(Path::new("/a"), Path::new("/b")).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for subset in 0..16 {
            let mut n = 0;
            let after = disk.crash_with(|_| {
                n += 1;
                match subset >> (n - 1) & 1 {
                    0 => Fate::Lost,
                    _ => Fate::Kept,
                }
            });
            assert_eq!(n, 4);
            let (a, b) = (read(&after, "/a"), read(&after, "/b"));
            assert_ne!(a.is_some(), b.is_some());
            seen.insert(a.or(b).unwrap());
        }
        let expected = ["12", "12\x005", "12\x00", "1234", "1235", "123"];
        assert_eq!(seen, expected.map(|text| text.as_bytes().to_vec()).into());
    }

    #[test]
    fn a_write_is_kept_page_by_page() {
        let disk = ModelDisk::new();
        create(&disk, "/a", &[b'x'; PAGE + 10]);
        sync_root(&disk);
        let first_lost = |effect: Effect<'_>| match effect.kind {
            EffectKind::Write { offset: 0, .. } => Fate::Lost,
            _ => Fate::Kept,
        };
        let content = read(&disk.crash_with(first_lost), "/a").unwrap();
        assert_eq!(content, [vec![0; PAGE], vec![b'x'; 10]].concat());
    }

    #[test]
    fn a_rename_over_a_file_keeps_one_of_the_two() {
        let disk = ModelDisk::new();
        create(&disk, "/a", b"old").sync_data().unwrap();
        create(&disk, "/b", b"new").sync_data().unwrap();
        sync_root(&disk);
        disk.rename(Path::new("/b"), Path::new("/a")).unwrap();
        assert_eq!(read(&disk, "/a").unwrap(), b"new");
        let lost = disk.crash_with(|_| Fate::Lost);
        assert_eq!(read(&lost, "/a").unwrap(), b"old");
        assert_eq!(read(&lost, "/b").unwrap(), b"new");
        sync_root(&disk);
        let kept = disk.crash_with(|_| Fate::Lost);
        assert_eq!(read(&kept, "/a").unwrap(), b"new");
        assert_eq!(read(&kept, "/b"), None);
    }

    #[test]
    fn what_a_failed_sync_covered_stays_uncertain() {
        let disk = ModelDisk::new();
        let file = create(&disk, "/a", b"x");
        sync_root(&disk);
        disk.fail_after(0, 1, Errno::IO);
        assert!(file.sync_data().is_err());
        file.sync_data().unwrap();
        assert_eq!(read(&disk.crash_with(|_| Fate::Lost), "/a").unwrap(), b"");
        file.write_at(b"x", 0).unwrap();
        file.sync_data().unwrap();
        assert_eq!(read(&disk.crash_with(|_| Fate::Lost), "/a").unwrap(), b"x");
    }

    #[test]
    fn a_full_disk_takes_a_part_of_a_write() {
        let disk = ModelDisk::new();
        let file = create(&disk, "/a", b"");
        disk.fail_after(0, u64::MAX, Errno::NOSPC);
        let error = file.write_at(b"1234", 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&disk, "/a").unwrap(), b"12");
        disk.heal();
        file.write_at(b"1234", 0).unwrap();
    }

    #[test]
    fn a_killed_process_keeps_its_writes_and_loses_its_locks() {
        let disk = ModelDisk::new();
        let file = create(&disk, "/a", b"x");
        assert!(file.try_lock().unwrap());
        disk.crash_after(1);
        file.write_at(b"y", 1).unwrap();
        assert!(crashed(&file.write_at(b"z", 2).unwrap_err()));
        let next = disk.restart();
        assert!(crashed(&file.write_at(b"z", 2).unwrap_err()));
        assert_eq!(read(&next, "/a").unwrap(), b"xy");
        let again = next.open(Path::new("/a"), Open::Existing).unwrap();
        assert!(again.try_lock().unwrap());
        drop(file);
        let other = next.open(Path::new("/a"), Open::Existing).unwrap();
        assert!(!other.try_lock().unwrap());
    }
}
