//! Compressed bytes on their way from the file to the decoder.

use std::io;
use std::os::unix::fs::FileExt;

/// What is read of the file at once, in bytes.
const READ: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Input {
    /// Empty until the first read.
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Where in the file `from` is.
    at: u64,
}

impl Input {
    /// What was read and not consumed.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// How many bytes of the file were consumed.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How many bytes of the file were read.
    pub fn end(&self) -> u64 {
        self.at + (self.to - self.from) as u64
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn consume(&mut self, len: usize) {
        self.from += len;
        self.at += len as u64;
    }

    pub fn skip_zeros(&mut self) {
        let zeros = self.bytes().iter().take_while(|byte| **byte == 0).count();
        self.consume(zeros);
    }

    /// Reads on behind what is there, which must be little. False: there is no more.
    pub fn fill(&mut self, file: &impl FileExt) -> io::Result<bool> {
        self.buffer.resize(READ, 0);
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        let end = self.end();
        loop {
            match file.read_at(&mut self.buffer[self.to..], end) {
                Ok(read) => {
                    self.to += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
