//! A compressed file that is followed: what is unpacked of it, and the proof of what it holds.
//!
//! Offsets are those of its content. Whether it holds what was read before, elsewhere, shows only when it is unpacked: until then it has
//! **claims**, the generations that it may be, which are proven one after the other, slice by slice, from what is remembered of them.
//!
//! Invariant: a file with claims is not read before they are decided.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use super::identity::{HEAD, TAIL};
use super::look::Look;
use super::trace::Trace;
use super::unpack::{Fault, Packing, Progress, Unpacked};
use crate::checkpoint::{FileKey, Print};
use crate::flow::SourceId;
use crate::input::Position;

/// So much is unpacked in one go, in plain bytes.
const SLICE: usize = 4 << 20;
/// A torn file is tried again when it changed, and no sooner than after this at last.
const MOST_WAIT: Duration = Duration::from_secs(30);

pub struct Packed {
    packing: Packing,
    /// How many plain bytes can be read again.
    window: usize,
    /// None before and after reading: it takes memory.
    pub unpacked: Option<Unpacked>,
    pub proof: Option<Proof>,
    /// Where it ends, or where damage begins.
    pub end: Option<u64>,
    /// The compressed bytes that cannot be read.
    pub damaged: u64,
    /// It is read although it holds nothing that is known.
    pub is_wanted: bool,
    /// It has a position of its own already, although it is not decided yet what it holds.
    pub is_saved: bool,
    /// How many bytes the generation had that it holds, and how many of them were read elsewhere.
    pub whole: (u64, u64),
    /// Nothing is to be read before it changes.
    pub is_done: bool,
    /// Torn: not tried before.
    pub retry: Option<Instant>,
    wait: Duration,
}

/// A generation that a file may hold.
pub struct Claim {
    pub of: Of,
    pub trace: Trace,
    pub position: Position,
}

/// Whose generation it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A saved position's.
    Saved(FileKey),
    /// One that ended, by its ledger.
    Past(SourceId),
    /// Its own: it changed since it was read.
    Own,
}

pub struct Proof {
    pub claims: VecDeque<Claim>,
    /// How many prints of the first claim agree.
    agree: usize,
}

/// What a slice of proving came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proven {
    Further,
    /// It holds so many bytes of what was read, and perhaps more.
    Yes(u64),
    No,
}

impl Packed {
    /// `window`: how many plain bytes are read at once, at most. Without `claims` it is known what it holds.
    pub fn new(packing: Packing, window: usize, claims: Option<VecDeque<Claim>>) -> Self {
        Self {
            packing,
            window: window + TAIL,
            unpacked: None,
            proof: claims.map(|claims| Proof { claims, agree: 0 }),
            end: None,
            damaged: 0,
            is_wanted: true,
            is_saved: false,
            whole: (0, 0),
            is_done: false,
            retry: None,
            wait: Duration::ZERO,
        }
    }

    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Takes memory to unpack `file`.
    pub fn open(&mut self, file: std::fs::File) {
        self.unpacked = Some(Unpacked::new(file, self.packing, self.window));
    }

    /// It changed after its end was seen: it has to show that it still holds what was read.
    pub fn distrust(&mut self, trace: Trace, position: Position) {
        let claim = Claim {
            of: Of::Own,
            trace,
            position,
        };
        self.restart(VecDeque::from([claim]));
    }

    /// It is unpacked from its beginning.
    pub fn restart(&mut self, claims: VecDeque<Claim>) {
        self.proof = (!claims.is_empty()).then_some(Proof { claims, agree: 0 });
        if let Some(unpacked) = &mut self.unpacked {
            unpacked.restart();
        }
        (self.end, self.damaged, self.is_done, self.retry) = (None, 0, false, None);
    }

    /// It ends inside a stream. After `first` at the earliest it is tried again, and later each time.
    pub fn is_torn(&mut self, now: Instant, first: Duration) {
        self.wait = (self.wait * 2).clamp(first, MOST_WAIT);
        self.retry = Some(now + self.wait);
        if let Some(proof) = &mut self.proof {
            proof.agree = 0;
        }
    }

    /// Compressed bytes that were not read, of `size`.
    pub fn unread(&self, size: u64) -> u64 {
        match &self.unpacked {
            _ if self.is_done => 0,
            Some(unpacked) => size.saturating_sub(unpacked.consumed()).max(1),
            None => size.max(1),
        }
    }

    /// Reads plain bytes at `offset`: how many came, and why no more, if not for the end.
    pub fn read_at(
        &mut self,
        buf: &mut [u8],
        offset: u64,
    ) -> Result<(usize, Option<Fault>), Fault> {
        let Some(unpacked) = &mut self.unpacked else {
            return Ok((0, None));
        };
        let mut got = 0;
        let fault = loop {
            match unpacked.read_at(&mut buf[got..], offset + got as u64) {
                Ok(0) => break None,
                Ok(more) => got += more,
                Err(fault) => break Some(fault),
            }
            if got == buf.len() {
                break None;
            }
        };
        self.end = unpacked.ended().or(self.end);
        match fault {
            Some(fault @ (Fault::Io(_) | Fault::NotYet { .. })) if got == 0 => Err(fault),
            fault => Ok((got, fault)),
        }
    }

    /// The CRC-32 of what is unpacked before `end`.
    fn print_of(unpacked: &mut Unpacked, end: u64, len: u32) -> Result<Option<u32>, Fault> {
        let mut bytes = vec![0; len as usize];
        let got = unpacked.read_at(&mut bytes, end - u64::from(len))?;
        Ok((got == bytes.len()).then(|| crc32fast::hash(&bytes)))
    }

    /// Looks at one slice of what the first claim has to show.
    pub fn prove(&mut self) -> Result<Proven, Fault> {
        let (Some(proof), Some(unpacked)) = (&mut self.proof, &mut self.unpacked) else {
            return Ok(Proven::No);
        };
        let Some(claim) = proof.claims.front() else {
            return Ok(Proven::No);
        };
        let checks = claim.trace.checks();
        while let Some(&(end, print)) = checks.get(proof.agree) {
            match unpacked.advance(end, SLICE) {
                Ok(Progress::Further) => return Ok(Proven::Further),
                Ok(Progress::Reached) => {
                    if Self::print_of(unpacked, end, print.len)? != Some(print.crc) {
                        return Ok(Proven::No);
                    }
                    proof.agree += 1;
                }
                Ok(Progress::Ended(size)) => {
                    // It is a copy of an earlier moment, if enough of it is known.
                    let known = checks[..proof.agree].iter().map(|check| check.0).max();
                    let is_part = known.is_some_and(|known| size - known.min(size) <= known);
                    return Ok(if is_part {
                        Proven::Yes(size)
                    } else {
                        Proven::No
                    });
                }
                Err(Fault::Damaged { .. } | Fault::TooLarge { .. }) => return Ok(Proven::No),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Proven::Yes(claim.trace.read()))
    }
}

impl Proof {
    /// The first claim is refuted, or settled.
    pub fn next(&mut self) -> Option<Claim> {
        self.agree = 0;
        self.claims.pop_front()
    }
}

impl Claim {
    /// The position of a file that holds `known` bytes of what was read; `tail` is the print before them.
    pub fn position_at(&self, known: u64, tail: Option<Print>) -> Position {
        if known == self.position.offset {
            return self.position.clone();
        }
        Position {
            offset: known,
            tail,
            ..Position::default()
        }
    }
}

/// What a compressed file begins with, up to [`HEAD`] plain bytes; `None` while too little of it is there, or where it cannot be unpacked.
pub fn head(file: &std::fs::File, packing: Packing) -> io::Result<Option<Vec<u8>>> {
    let mut unpacked = Unpacked::new(file.try_clone()?, packing, HEAD);
    let mut bytes = vec![0; HEAD];
    let mut got = 0;
    loop {
        match unpacked.read_at(&mut bytes[got..], got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(Fault::Io(error)) => return Err(error),
            Err(_) => return Ok(None),
        }
        if got == bytes.len() {
            break;
        }
    }
    bytes.truncate(got);
    Ok(Some(bytes))
}

/// Whether a compressed file may have other content than at the look before.
pub fn is_changed(before: &Look, now: &Look) -> bool {
    // Renaming changes the second stamp, too.
    (before.size, before.stamp.0) != (now.size, now.stamp.0)
}
