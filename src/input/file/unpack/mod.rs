//! Compressed files, read as if they were plain: rotation often leaves `app.log.2.gz` behind.
//!
//! [`Packing::of`] tells the format by the first bytes; [`Unpacked`] is then read like a file, in plain offsets. It decodes forward only and
//! keeps the last bytes, so that half a line can be read again, and the file's first [`HEAD`], by which it is known. A place before them is
//! reached from the beginning again. Far places are reached in slices ([`Unpacked::advance`]), so that no file holds up the others.
//!
//! What is guaranteed:
//!
//! - The bytes at a plain offset are always the same ones, however they are reached, as long as the file is only appended to. Who
//!   reads has to notice that it was written over: by its identity, as with plain files.
//! - Members, frames and streams that follow one another are one text. Zeros behind a gzip or xz stream are skipped; anything else that is
//!   no further stream is damage, and what came before it counts.
//! - A file that ends inside a stream is [torn](Fault::Torn): everything that can be decoded was given, and when the file grows, reading goes
//!   on where it stopped. The plain end is only told where a stream is complete. A file that has not begun yet is torn too.
//! - Damage is told with its place, after everything that was decoded before it. Checksums stand behind what they check, so some
//!   of these bytes may be wrong: with gzip those of one member, with zstd of one frame (without a checksum, which the format allows, a change
//!   may stay unseen), with xz and bzip2 of one block. What an earlier checksum has passed is right.
//! - Memory: the window, 200 KiB beside it, and what the decoder needs: 50 KiB for gzip, 4 MiB for bzip2, about 128 MiB at most for xz and
//!   zstd (what their tools make by default takes 9 MiB or less); what would need more is [refused](Fault::TooLarge). The decoder is dropped
//!   at the plain end and at damage; a torn file keeps its own.
//! - A call takes no longer than its slice: the bytes that it decodes and the compressed ones that it reads are both limited. The smallest
//!   slices are a block of bzip2 (900 kB) and a block of zstd (128 KiB).
//!
//! Invariant: plain bytes are given in order, each once to the window, and none that a decoder did not say it wrote.

mod decoder;
mod fault;
mod input;
mod packing;
#[cfg(test)]
mod tests;
mod window;

use std::fs::File;
use std::os::unix::fs::FileExt;

use self::decoder::{Decoder, MOST_MEMORY, Why};
pub use self::fault::Fault;
use self::input::Input;
use self::packing::Begins;
pub use self::packing::{MAGIC, Packing, packed_name};
#[cfg(test)]
pub use self::tests::pack;
pub use self::window::HEAD;
use self::window::Window;

/// `plain` as gzip(1) would have it, for tests of what reads it.
#[cfg(test)]
pub(super) fn gzip(plain: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap_or_default();
    encoder.finish().unwrap_or_default()
}

/// How far a read goes by itself to a place that is not decoded yet, in bytes.
pub const LEAP: u64 = 4 << 20;

/// A compressed file that is read by plain offsets. It has an offset of its own: the file's is not moved.
pub struct Unpacked<F = File> {
    file: F,
    packing: Packing,
    window: Window,
    input: Input,
    state: State,
    /// Streams that are complete.
    complete: u64,
    /// The decoder filled its room: more may come of what it has.
    was_full: bool,
    ended: Option<u64>,
}

enum State {
    /// Where a stream may begin. The last one's decoder, if the file has more.
    Between(Option<Decoder>),
    Inside(Decoder),
    Failed(Why),
}

/// How far an [advance](Unpacked::advance) came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The place can be read.
    Reached,
    /// The slice is used up.
    Further,
    /// The plain end, so many bytes from the beginning, comes before the place.
    Ended(u64),
}

enum Step {
    On,
    Ended,
}

impl<F> std::fmt::Debug for Unpacked<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Unpacked");
        text.field("packing", &self.packing);
        text.field("decoded", &self.window.end());
        text.finish_non_exhaustive()
    }
}

impl<F: FileExt> Unpacked<F> {
    /// `window`: how many plain bytes can be read again, at least as many as are read at once. Reads nothing yet.
    pub fn new(file: F, packing: Packing, window: usize) -> Self {
        Self {
            file,
            packing,
            window: Window::new(window.max(1)),
            input: Input::default(),
            state: State::Between(None),
            complete: 0,
            was_full: false,
            ended: None,
        }
    }

    pub fn file(&self) -> &F {
        &self.file
    }

    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Plain bytes that are decoded, from the beginning on.
    pub fn decoded(&self) -> u64 {
        self.window.end()
    }

    /// Compressed bytes that they came from: what the file has beyond is unread.
    pub fn consumed(&self) -> u64 {
        self.input.at()
    }

    /// How many plain bytes there are, if the end was seen and nothing after it since.
    pub fn ended(&self) -> Option<u64> {
        self.ended
    }

    /// Goes back to the beginning, for good: also a damaged file is tried again.
    pub fn restart(&mut self) {
        self.state = State::Between(None);
        self.window.clear();
        self.input.clear();
        self.complete = 0;
        self.was_full = false;
        self.ended = None;
    }

    /// Reads plain bytes at `offset`. Fewer than `buf` has room for: the plain end, or the end of what can be read now, which
    /// the next call at that place explains. 0: the plain end, beyond it, or `buf` is empty.
    ///
    /// A place that is not decoded yet is gone to, but no further than [`LEAP`] in one call; one before the window from the beginning.
    ///
    /// # Errors
    /// [`Fault::NotYet`]: call again, or [`advance`](Self::advance) first. [`Fault::Io`]: reading the file failed; nothing is lost. The
    /// other faults: there is nothing at this place to be read.
    pub fn read_at(&mut self, buf: &mut [u8], offset: u64) -> Result<usize, Fault> {
        if buf.is_empty() {
            return Ok(0);
        }
        if !self.window.holds(offset, buf.len()) {
            self.restart();
        }
        let begin = (self.decoded(), self.consumed());
        // What does not fit in the window could not be found again by the next call.
        let most = match buf.len() {
            len if len <= self.window.keep() => LEAP.saturating_add(len as u64),
            _ => u64::MAX,
        };
        let to = offset.saturating_add(buf.len() as u64);
        let mut got = 0;
        loop {
            got += self.window.copy(offset + got as u64, &mut buf[got..]);
            if got == buf.len() {
                return Ok(got);
            }
            let (plain, packed) = (self.decoded() - begin.0, self.consumed() - begin.1);
            if plain >= most || packed >= most {
                let decoded = self.decoded();
                return Err(Fault::NotYet { decoded });
            }
            let missing = to - self.decoded();
            match self.step(missing.min(most - plain)) {
                Ok(Step::On) => {}
                Ok(Step::Ended) => return Ok(got),
                // It may pass, and a read that brings less than it could would look like an end.
                Err(fault @ Fault::Io(_)) => return Err(fault),
                Err(fault) => {
                    // What was decoded before it is given first.
                    got += self.window.copy(offset + got as u64, &mut buf[got..]);
                    return if got > 0 { Ok(got) } else { Err(fault) };
                }
            }
        }
    }

    /// Decodes on, at most `most` plain bytes (more than 0) and about as many compressed ones, so that `to` can be read, and the
    /// window before it. From the beginning, if `to` is before the window.
    ///
    /// # Errors
    /// The faults of the file, which begin before `to`; never [`Fault::NotYet`].
    pub fn advance(&mut self, to: u64, most: usize) -> Result<Progress, Fault> {
        if !self.window.holds(to, 0) {
            self.restart();
        }
        let begin = (self.decoded(), self.consumed());
        let most = most as u64;
        loop {
            let decoded = self.decoded();
            if decoded >= to {
                return Ok(Progress::Reached);
            }
            let (plain, packed) = (decoded - begin.0, self.consumed() - begin.1);
            if plain >= most || packed >= most {
                return Ok(Progress::Further);
            }
            match self.step((to - decoded).min(most - plain))? {
                Step::On => {}
                Step::Ended => return Ok(Progress::Ended(decoded)),
            }
        }
    }

    /// Reads a piece of the file or decodes a piece of what was read, at most `most` plain bytes, which is not 0.
    fn step(&mut self, most: u64) -> Result<Step, Fault> {
        match std::mem::replace(&mut self.state, State::Between(None)) {
            State::Failed(why) => Err(self.fail(why)),
            State::Between(last) => self.begin(last),
            State::Inside(decoder) => self.decode(decoder, most),
        }
    }

    /// Between two streams: what comes next?
    fn begin(&mut self, last: Option<Decoder>) -> Result<Step, Fault> {
        if self.complete > 0 && self.packing.is_padded() {
            self.input.skip_zeros();
        }
        match self.packing.begins(self.input.bytes()) {
            Begins::Yes => {
                let next = match last {
                    Some(last) => last.again(self.packing),
                    None => Decoder::new(self.packing),
                };
                self.was_full = false;
                self.ended = None;
                self.state = State::Inside(next.map_err(|why| self.fail(why))?);
                Ok(Step::On)
            }
            Begins::No => Err(self.fail(Why::Damaged(match self.complete {
                0 => "its first bytes are of no such file".into(),
                _ => "what follows a complete stream is no other one".into(),
            }))),
            Begins::Perhaps => {
                if self.input.fill(&self.file)? {
                    self.state = State::Between(last);
                    return Ok(Step::On);
                }
                // The decoder is dropped here: an end is the place where a file stays for long.
                if self.complete > 0 && self.input.bytes().is_empty() {
                    self.ended = Some(self.decoded());
                    return Ok(Step::Ended);
                }
                self.ended = None;
                Err(self.torn())
            }
        }
    }

    /// Inside a stream.
    fn decode(&mut self, mut decoder: Decoder, most: u64) -> Result<Step, Fault> {
        if self.input.bytes().is_empty() && !self.was_full {
            let filled = self.input.fill(&self.file);
            self.state = State::Inside(decoder);
            return match filled {
                Ok(true) => Ok(Step::On),
                Ok(false) => Err(self.torn()),
                Err(error) => Err(error.into()),
            };
        }
        let input = self.input.bytes();
        let room = self.window.room(most);
        let turn = decoder.decode(input, room, self.was_full);
        let is_stuck = turn.read == 0 && turn.wrote == 0 && !self.was_full;
        self.was_full = turn.wrote == room.len();
        self.input.consume(turn.read);
        self.window.wrote(turn.wrote);
        match turn.outcome {
            Ok(true) => {
                self.complete += 1;
                self.state = State::Between(Some(decoder));
                Ok(Step::On)
            }
            // No decoder does that with input and room, and one that did would do it for ever.
            Ok(false) if is_stuck => {
                Err(self.fail(Why::Damaged("decoding makes no progress".into())))
            }
            Ok(false) => {
                self.state = State::Inside(decoder);
                Ok(Step::On)
            }
            Err(why) => Err(self.fail(why)),
        }
    }

    /// The end of this attempt; it is remembered, but for what may pass.
    fn fail(&mut self, why: Why) -> Fault {
        let packing = self.packing;
        let at = self.consumed();
        self.ended = None;
        let fault = match &why {
            Why::Damaged(words) => Fault::Damaged {
                packing,
                at,
                plain: self.decoded(),
                why: words.clone(),
            },
            Why::TooLarge => Fault::TooLarge {
                packing,
                at,
                limit: MOST_MEMORY,
            },
            Why::NoMemory => {
                // The decoder is lost, and with it the place.
                self.restart();
                return Fault::Io(std::io::ErrorKind::OutOfMemory.into());
            }
        };
        self.state = State::Failed(why);
        fault
    }

    fn torn(&self) -> Fault {
        Fault::Torn {
            packing: self.packing,
            at: self.input.end(),
        }
    }
}
