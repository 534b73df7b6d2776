//! The encoded bytes of one file in the window, kept until the sync that makes them durable.
//!
//! Records are encoded into the *buffer*; a buffer that was written becomes a *kept* chunk. Once the records of a batch are *released*
//! (dropped), these bytes are all that is left of them: after a failure they wait to be written again, in order.
//!
//! Invariant: what was released is in `kept` or in `buffer` until [`Chunks::commit`].

/// A buffer that holds this much is written. More saves nothing: what was encoded should still be in the processor's cache when it is
/// written, for many files too.
pub const FULL: usize = 64 * 1024;
/// Larger chunks (one record was large) are given back.
const LARGEST: usize = 2 * FULL;
/// How many free chunks are kept, over all files: 8 MiB or a little more.
const POOLED: usize = 128;

/// What the window has for one file.
#[derive(Debug, Default)]
pub struct Chunks {
    /// In order, none empty.
    kept: Vec<Vec<u8>>,
    /// How many of `kept` are in the file.
    written: usize,
    /// Bytes of `kept`.
    kept_bytes: u64,
    /// What comes after `kept`.
    buffer: Vec<u8>,
    /// So many bytes of the window cannot be encoded again.
    released: u64,
}

impl Chunks {
    /// Where the next record is appended.
    #[inline]
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What is to be written next; absent when everything is.
    pub fn waiting(&self) -> Option<&[u8]> {
        let next = self.kept.get(self.written).unwrap_or(&self.buffer);
        (!next.is_empty()).then_some(next)
    }

    /// How many bytes are to be written.
    pub fn waiting_bytes(&self) -> u64 {
        let kept = self.kept.get(self.written..).unwrap_or_default();
        let kept: usize = kept.iter().map(Vec::len).sum();
        (kept + self.buffer.len()) as u64
    }

    /// The buffer is full, and waits for the sync with the rest: another one comes after it.
    pub fn next(&mut self, pool: &mut Pool) {
        let next = pool.take();
        self.keep_buffer(next);
    }

    /// What [`Chunks::waiting`] gave is in the file. `keep`: whether it may still be released; what was released is kept anyway.
    pub fn wrote(&mut self, keep: bool, pool: &mut Pool) {
        if self.written < self.kept.len() {
            self.written += 1;
        } else if keep || self.kept_bytes < self.released {
            let next = if self.buffer.len() >= FULL {
                pool.take()
            } else {
                Vec::new()
            };
            self.keep_buffer(next);
            self.written += 1;
        } else {
            self.buffer.clear();
        }
    }

    /// From now on the bytes up to here cannot be encoded again. Not after bytes of the window were written without being kept.
    pub fn release(&mut self) {
        self.released = self.kept_bytes + self.buffer.len() as u64;
    }

    /// How many bytes of the window cannot be encoded again.
    pub fn released(&self) -> u64 {
        self.released
    }

    /// What was released waits to be written, as if none of it had been; the rest is forgotten. Does nothing when it was done already.
    pub fn take_back(&mut self) {
        if self.kept_bytes < self.released {
            self.keep_buffer(Vec::new());
        }
        self.buffer.clear();
        while let Some(last) = self.kept.last_mut() {
            let surplus = self.kept_bytes.saturating_sub(self.released);
            let len = last.len() as u64;
            if surplus < len {
                // Below `len`, which is one of a vector.
                last.truncate((len - surplus) as usize);
                self.kept_bytes -= surplus;
                break;
            }
            self.kept_bytes -= len;
            self.kept.pop();
        }
        self.written = 0;
    }

    /// Everything is durable. `keep`: whether the file keeps a buffer of its own.
    pub fn commit(&mut self, keep: bool, pool: &mut Pool) {
        if self.buffer.capacity() == 0 {
            let last = self.kept.pop().filter(|last| last.capacity() <= LARGEST);
            self.buffer = last.unwrap_or_default();
        }
        self.buffer.clear();
        for chunk in self.kept.drain(..) {
            pool.give(chunk);
        }
        if !keep {
            pool.give(std::mem::take(&mut self.buffer));
        }
        (self.written, self.kept_bytes, self.released) = (0, 0, 0);
    }

    fn keep_buffer(&mut self, next: Vec<u8>) {
        self.kept_bytes += self.buffer.len() as u64;
        self.kept.push(std::mem::replace(&mut self.buffer, next));
    }
}

/// Free chunks of all files.
#[derive(Debug, Default)]
pub struct Pool(Vec<Vec<u8>>);

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        // The last record makes a buffer longer than full.
        let new = || Vec::with_capacity(FULL + FULL / 8);
        self.0.pop().unwrap_or_else(new)
    }

    fn give(&mut self, mut chunk: Vec<u8>) {
        if self.0.len() < POOLED && (FULL..=LARGEST).contains(&chunk.capacity()) {
            chunk.clear();
            self.0.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(usize),
        Write,
        Release,
        TakeBack,
        Commit(bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![1..50usize, 1..3 * FULL].prop_map(Step::Append),
            4 => Just(Step::Write),
            2 => Just(Step::Release),
            2 => Just(Step::TakeBack),
            1 => any::<bool>().prop_map(Step::Commit),
        ]
    }

    proptest! {
        #[test]
        fn what_was_released_is_written_again_and_nothing_else(steps in proptest::collection::vec(step(), 1..60), drops_after in 0..60usize) {
            let (mut chunks, mut pool) = (Chunks::default(), Pool::default());
            let (mut file, mut window, mut released, mut number) = (Vec::new(), Vec::new(), 0, 0u8);
            // From some step on nothing more is released, and written bytes are not kept for it.
            for (n, step) in steps.into_iter().enumerate() {
                let keep = n < drops_after;
                match step {
                    Step::Append(len) => {
                        number = number.wrapping_add(1);
                        chunks.buffer().extend(std::iter::repeat_n(number, len));
                        window.extend(std::iter::repeat_n(number, len));
                    }
                    Step::Write => while let Some(bytes) = chunks.waiting() {
                        file.extend_from_slice(bytes);
                        chunks.wrote(keep, &mut pool);
                    },
                    Step::Release if keep => {
                        chunks.release();
                        released = window.len();
                    }
                    Step::Release => {}
                    Step::TakeBack => {
                        chunks.take_back();
                        chunks.take_back();
                        file.clear();
                        window.truncate(released);
                    }
                    Step::Commit(keep_buffer) => {
                        while let Some(bytes) = chunks.waiting() {
                            file.extend_from_slice(bytes);
                            chunks.wrote(keep, &mut pool);
                        }
                        prop_assert!(file == window);
                        chunks.commit(keep_buffer, &mut pool);
                        prop_assert!(chunks.buffer().is_empty() && chunks.waiting().is_none());
                        (file, window, released) = (Vec::new(), Vec::new(), 0);
                    }
                }
                prop_assert_eq!(chunks.released(), released as u64);
                prop_assert!(pool.0.len() <= POOLED);
            }
            while let Some(bytes) = chunks.waiting() {
                file.extend_from_slice(bytes);
                chunks.wrote(true, &mut pool);
            }
            prop_assert!(file == window);
        }
    }
}
