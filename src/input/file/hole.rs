//! Holes: NULs that nobody wrote as a part of a line, and that are no part of any record.
//!
//! A writer that does not append goes on at its old offset after its file was truncated; everything before is a hole then. A file may also be
//! preallocated, and written later.
//!
//! | where NULs stand | they are |
//! |---|---|
//! | at the beginning of the file | skipped up to the first other byte, also where the file system has no hole |
//! | elsewhere, and run into a hole of the file system | skipped as well; a line that was begun before them ends there |
//! | up to the end of the file | waited for: something may be written into them |
//! | anywhere else | bytes of their line |
//!
//! Nothing of this costs a system call before NULs were read: a hole reads as NULs. Holes are told from NULs that were written only where the
//! file has fewer blocks than bytes, or where the NULs reach beyond what was read. Nothing may be known of holes where the file system keeps
//! blocks in reserve behind the file's end, or does not tell of holes: there NULs in the middle are bytes of their line.
//!
//! Invariant: what is skipped was NUL to its last byte when it was looked at, and is looked at again after every change of the file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use memchr::memchr;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// NULs that were written are read through in pieces of this many bytes.
const PIECE: usize = 64 * 1024;
/// So many of them at once, at most.
const AT_ONCE: u64 = 16 << 20;
/// So far back from a hole NULs are taken for its beginning.
const FARTHEST_BACK: u64 = 64 << 20;
/// How much of NULs up to the end is looked at again while nothing else tells of a change.
const PEEK: usize = 4096;

/// What is known about the NULs that come next in one file.
#[derive(Debug, Default)]
pub struct Holes {
    /// No hole of the file system begins before this.
    clear: u64,
    /// NULs before this are bytes of their lines.
    content: u64,
    run: Option<Run>,
}

/// NULs that are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub start: u64,
    /// NULs up to here, as far as was looked.
    pub until: u64,
    pub behind: Behind,
    /// At the beginning of the file, or with a hole of the file system in it.
    is_hole: bool,
}

/// What follows NULs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Another byte.
    Text,
    /// The end of the file.
    Nothing,
    /// Nobody looked so far.
    Unknown,
}

impl Holes {
    /// The NULs that come next; nothing is read beyond their start.
    pub fn run(&self) -> Option<Run> {
        self.run
    }

    /// The file was changed where it was looked at before.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// The file grew: what was found has to be looked at again before it is acted on.
    pub fn distrust(&mut self) {
        if let Some(run) = &mut self.run
            && run.behind != Behind::Unknown
        {
            (run.until, run.behind) = (run.start, Behind::Unknown);
        }
    }

    /// Looks for NULs that are not to be read, after `block` was read at `at` of a file with `size` bytes.
    pub fn find(
        &mut self,
        file: &File,
        at: u64,
        block: &[u8],
        size: u64,
        is_sparse: bool,
    ) -> io::Result<()> {
        if self.run.is_some() {
            return Ok(());
        }
        if at == 0 && block.first() == Some(&0) {
            return self.follow(file, 0, leading(block), true, size);
        }
        let until = at + block.len() as u64;
        if is_sparse && until > self.clear {
            let known = usize::try_from(self.clear.saturating_sub(at)).unwrap_or(0);
            if let Some(nul) = memchr(0, &block[known..]) {
                let from = at + (known + nul) as u64;
                match next_hole(file, from).filter(|&hole| hole < size) {
                    Some(hole) => {
                        let start = first_nul(file, at, hole)?;
                        return self.follow(file, start, hole, true, size);
                    }
                    None => self.clear = size,
                }
            }
        }
        let nuls = block.iter().rev().take_while(|&&byte| byte == 0).count() as u64;
        if nuls > 0 && until > self.content {
            return self.follow(file, until - nuls, until, false, size);
        }
        Ok(())
    }

    /// NULs begin at `start` and are known up to `until`: looks for what is behind them.
    fn follow(
        &mut self,
        file: &File,
        start: u64,
        until: u64,
        is_hole: bool,
        size: u64,
    ) -> io::Result<()> {
        self.run = Some(Run {
            start,
            until,
            behind: Behind::Unknown,
            is_hole,
        });
        self.look_on(file, size)
    }

    /// Looks on for what is behind the NULs, where that is not known. What is only written NULs with text behind is no run any more.
    pub fn look_on(&mut self, file: &File, size: u64) -> io::Result<()> {
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        if run.behind != Behind::Unknown {
            return Ok(());
        }
        (run.until, run.behind) = behind(file, run.until, size)?;
        if run.behind == Behind::Text && !run.is_hole {
            run.is_hole = next_hole(file, run.start).is_some_and(|hole| hole < run.until);
            if !run.is_hole {
                self.content = run.until;
                self.run = None;
            }
        }
        Ok(())
    }

    /// Something may have been written where NULs are waited for, although nothing tells of it: file systems keep time coarsely.
    pub fn peek(&mut self, file: &File) -> io::Result<()> {
        if let Some(run) = self.run.filter(|run| run.behind == Behind::Nothing) {
            let mut bytes = [0; PEEK];
            let got = file.read_at(&mut bytes, run.start)?;
            if leading(&bytes[..got]) < got as u64 {
                self.forget();
            }
        }
        Ok(())
    }
}

/// Where NULs that are known up to `from` end, and what is there. Reads about [`AT_ONCE`] at most, and nothing of holes.
fn behind(file: &File, mut from: u64, size: u64) -> io::Result<(u64, Behind)> {
    let mut bytes = vec![0; PIECE];
    let mut read = 0;
    loop {
        match rustix::fs::seek(file, SeekFrom::Data(from)) {
            Ok(data) => from = data.max(from),
            Err(Errno::NXIO) => from = size,
            // The file system does not tell.
            Err(_) => {}
        }
        if from >= size {
            return Ok((size, Behind::Nothing));
        }
        if read >= AT_ONCE {
            return Ok((from, Behind::Unknown));
        }
        let len = usize::try_from(size - from).map_or(PIECE, |len| len.min(PIECE));
        let got = file.read_at(&mut bytes[..len], from)?;
        if got == 0 {
            return Ok((size, Behind::Nothing));
        }
        let nuls = leading(&bytes[..got]);
        (from, read) = (from + nuls, read + nuls);
        if nuls < got as u64 {
            return Ok((from, Behind::Text));
        }
    }
}

/// Where the NULs before `hole` begin, not before `at`.
fn first_nul(file: &File, at: u64, hole: u64) -> io::Result<u64> {
    let farthest = at.max(hole.saturating_sub(FARTHEST_BACK));
    let mut bytes = vec![0; PIECE];
    let mut start = hole;
    while start > farthest {
        let len = usize::try_from(start - farthest).map_or(PIECE, |len| len.min(PIECE));
        let from = start - len as u64;
        file.read_exact_at(&mut bytes[..len], from)?;
        match bytes[..len].iter().rposition(|&byte| byte != 0) {
            Some(last) => return Ok(from + last as u64 + 1),
            None => start = from,
        }
    }
    Ok(start)
}

/// Where the next hole of the file system begins, at the latest where the file ends; `None` where nobody tells.
fn next_hole(file: &File, from: u64) -> Option<u64> {
    rustix::fs::seek(file, SeekFrom::Hole(from)).ok()
}

/// How many NULs `bytes` begin with.
fn leading(bytes: &[u8]) -> u64 {
    const STEP: usize = 64;
    let whole = bytes
        .chunks(STEP)
        .take_while(|step| step.iter().fold(0, |all, byte| all | byte) == 0);
    let known: usize = whole.map(<[u8]>::len).sum();
    let rest = bytes[known..].iter().take_while(|&&byte| byte == 0).count();
    (known + rest) as u64
}
