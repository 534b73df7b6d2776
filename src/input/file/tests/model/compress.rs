//! Compressing rotated files, as logrotate does it: `NAME.gz` is written while the plain file stands, then gets the time of that one's last
//! write, then the plain file goes. At once, one rotation later (`delaycompress`), or in steps, between which everything else goes on.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use super::{Random, World};
use crate::checkpoint::Entry;
use crate::input::file::identity::HEAD;
use crate::input::file::rotate::bases;
use crate::input::file::unpack::{Packing, pack};

/// When the rotated files of an application are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compress {
    Never,
    AtOnce,
    Delayed,
    InSteps,
}

/// A file that is being compressed.
pub(super) struct Job {
    plain: String,
    packed: String,
    /// What of it is still to be written.
    rest: Vec<u8>,
    /// So much the plain file had when it was read.
    len: usize,
    is_timed: bool,
}

/// A compressed file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    pub is_complete: bool,
    /// How many bytes it has, or will have.
    pub size: usize,
}

impl Compress {
    pub fn some(random: &mut Random) -> Self {
        [Self::Never, Self::AtOnce, Self::Delayed, Self::InSteps][random.below(4)]
    }
}

impl World {
    /// After a rotation.
    pub fn compress_rotated(&mut self, app: usize) {
        let behind = match self.apps[app].compress {
            Compress::AtOnce => 1,
            Compress::Delayed => 2,
            Compress::Never | Compress::InSteps => return,
        };
        let names = self.rotated(app);
        let name = names.len().checked_sub(behind).map(|at| names[at].clone());
        if let Some(name) = name.filter(|name| self.disk[name].packed.is_none()) {
            self.begin_to_compress(app, name);
            self.finish_compressing(app);
        }
    }

    /// Begins to compress some rotated file, or does a step more.
    pub fn compress_some(&mut self, app: usize) {
        if self.apps[app].job.is_some() {
            if self.random.one_in(8) {
                self.give_up_compressing(app);
            } else {
                self.compress_further(app, false);
            }
            return;
        }
        if self.apps[app].compress != Compress::InSteps {
            return;
        }
        let mut names = self.rotated(app);
        names.retain(|name| self.disk[name].packed.is_none());
        if !names.is_empty() {
            let at = self.random.below(names.len());
            self.begin_to_compress(app, names.swap_remove(at));
        }
    }

    fn begin_to_compress(&mut self, app: usize, plain: String) {
        let packing = match self.random.below(10) {
            7 => Packing::Zstd,
            8 => Packing::Xz,
            9 => Packing::Bzip2,
            _ => Packing::Gzip,
        };
        let ending = match packing {
            Packing::Gzip => "gz",
            Packing::Zstd => "zst",
            Packing::Xz => "xz",
            Packing::Bzip2 => "bz2",
        };
        let packed = format!("{plain}.{ending}");
        let rest = pack(packing, &fs::read(self.rig.path(&plain)).unwrap());
        let of = self.disk[&plain];
        self.note(format!(
            "compress {plain}: {} bytes as {} in {packed}",
            of.len,
            rest.len()
        ));
        File::create_new(self.rig.path(&packed)).unwrap();
        self.made(&packed, of.generation, of.len, of.is_copy);
        let file = self.disk.get_mut(&packed).unwrap();
        file.is_nobodys = of.is_nobodys;
        file.packed = Some(Packed {
            is_complete: false,
            size: rest.len(),
        });
        self.apps[app].job = Some(Job {
            plain,
            packed,
            rest,
            len: of.len,
            is_timed: false,
        });
    }

    /// The next step: bytes, the time, the end of the plain file.
    fn compress_further(&mut self, app: usize, is_whole: bool) {
        let Some(mut job) = self.apps[app].job.take() else {
            return;
        };
        let path = self.rig.path(&job.packed);
        if !job.rest.is_empty() {
            let len = match is_whole || self.random.one_in(2) {
                true => job.rest.len(),
                false => 1 + self.random.below(job.rest.len()),
            };
            let mut file = File::options().append(true).open(path).unwrap();
            file.write_all(&job.rest[..len]).unwrap();
            job.rest.drain(..len);
            self.note(format!("write {len} bytes of {}", job.packed));
            if job.rest.is_empty() {
                let file = self.disk.get_mut(&job.packed).unwrap();
                file.packed.as_mut().unwrap().is_complete = true;
                self.generations[file.generation].ends.push(job.len);
            }
        } else if !job.is_timed {
            let written = fs::metadata(self.rig.path(&job.plain)).unwrap().modified();
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(written.unwrap()).unwrap();
            job.is_timed = true;
        } else {
            return self.remove(&job.plain);
        }
        self.apps[app].job = Some(job);
    }

    /// A file was written to, perhaps after it was compressed: when that holds much less, nothing tells.
    pub fn outgrows(&mut self, app: usize, name: &str) {
        let job = self.apps[app].job.as_ref().filter(|job| job.plain == name);
        if let Some(len) = job.map(|job| job.len) {
            let known = &mut self.generations[self.disk[name].generation];
            known.has_short_copy |= known.text.len() > 2 * len || len < 4 * HEAD;
        }
    }

    pub fn finish_compressing(&mut self, app: usize) {
        while self.apps[app].job.is_some() {
            self.compress_further(app, true);
        }
    }

    /// At a start, what is no younger than the latest saved position is taken for read. As clocks of file systems are coarse, a little more
    /// is read again. So is what may be the compressed form of a file that nothing was read of, and that is gone.
    pub fn expect_forgotten(&mut self) {
        const TICK: Duration = Duration::from_millis(20);
        let files = self.disk.iter().filter(|(_, file)| file.packed.is_some());
        for (name, file) in files.filter(|_| !self.finds_rotated) {
            let app = self.generations[file.generation].app;
            let live = self.rig.path(&Self::live(app));
            let kin = self.rig.saved.values();
            let kin = kin.filter(|entry| bases(&entry.path).contains(&live));
            let latest = kin.clone().map(|entry| entry.updated).max().unwrap_or(0);
            let latest = UNIX_EPOCH + Duration::from_millis(latest.unsigned_abs());
            let written = fs::metadata(self.rig.path(name)).unwrap().modified();
            let written = written.unwrap() + TICK;
            let is_gone = |entry: &&Entry| {
                let mut files = self.disk.values();
                !files.any(|file| file.id == (entry.inode, entry.birth))
            };
            let unread = kin.filter(|entry| entry.offset == 0).filter(is_gone);
            let mut made = unread.map(|entry| entry.birth.unwrap_or(0).unsigned_abs());
            let is_later = made.any(|made| UNIX_EPOCH + Duration::from_nanos(made) <= written);
            self.generations[file.generation].is_forgotten |= is_later || written >= latest;
        }
    }

    /// As gzip(1) does when it is interrupted.
    fn give_up_compressing(&mut self, app: usize) {
        if let Some(job) = self.apps[app].job.take() {
            self.remove(&job.packed);
        }
    }
}
