//! Where records are printed: one large buffer before standard output.
//!
//! A reader that has gone is an end, not an error.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::disk::PIECE;

/// How much is gathered before it is written, in bytes: as much as is written at once.
const FULL: usize = PIECE;

/// Standard output with a buffer.
pub(super) struct Out {
    stdout: io::Stdout,
    pub buffer: Vec<u8>,
}

/// Why nothing more can be printed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Nobody reads it any more.
    Gone,
    Failed(String),
}

impl Out {
    pub fn new() -> Self {
        Self {
            stdout: io::stdout(),
            buffer: Vec::with_capacity(2 * FULL),
        }
    }

    /// Writes when there is enough, in whole pieces.
    pub fn spill(&mut self) -> Result<(), Closed> {
        match self.buffer.len() / FULL {
            0 => Ok(()),
            pieces => self.write(pieces * FULL),
        }
    }

    /// Writes what there is.
    pub fn flush(&mut self) -> Result<(), Closed> {
        self.write(self.buffer.len())
    }

    /// Writes the buffer up to `end`; the rest stays in it.
    fn write(&mut self, end: usize) -> Result<(), Closed> {
        let mut rest = &self.buffer[..end];
        while !rest.is_empty() {
            match rustix::io::write(&self.stdout, &rest[..rest.len().min(FULL)]) {
                Ok(written) => rest = &rest[written..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => self.wait(),
                Err(Errno::PIPE) => return Err(Closed::Gone),
                Err(error) => {
                    let error = io::Error::from(error);
                    return Err(Closed::Failed(format!(
                        "cannot write to standard output: {error}"
                    )));
                }
            }
        }
        self.buffer.drain(..end);
        Ok(())
    }

    /// Whether the reader has gone, though nothing is written now.
    pub fn is_gone(&self) -> bool {
        let fd = self.stdout.as_fd();
        let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut asked, Some(&now)), Ok(1..))
            && asked[0].revents().intersects(PollFlags::ERR)
    }

    /// Somebody made it non-blocking.
    fn wait(&self) {
        let fd = self.stdout.as_fd();
        // Tried again in any case.
        let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
    }
}
