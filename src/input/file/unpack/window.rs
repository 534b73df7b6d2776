//! The plain bytes that were decoded last, to be read again. Pure.
//!
//! Invariant: every byte of the last `keep` ones, and of the file's first [`HEAD`], is what was decoded, also when a decoder scribbles
//! over all of the room that it was given and then says that it wrote less.

/// What a decoder is given at once, in bytes.
const ROOM: usize = 128 * 1024;
/// The file's first bytes stay: what a file is known by is looked at again when it is read far from its beginning.
pub const HEAD: usize = 4 * 1024;

pub(super) struct Window {
    /// The byte at plain offset `n` stands at `n % ring.len()`. Larger than `keep` by what a decoder may scribble over.
    ring: Box<[u8]>,
    keep: usize,
    end: u64,
    head: Vec<u8>,
}

impl Window {
    pub fn new(keep: usize) -> Self {
        Self {
            ring: vec![0; keep + ROOM].into_boxed_slice(),
            keep,
            end: 0,
            head: Vec::new(),
        }
    }

    /// How many bytes can be read again.
    pub fn keep(&self) -> usize {
        self.keep
    }

    /// Plain bytes that were decoded.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn clear(&mut self) {
        self.end = 0;
        self.head.clear();
    }

    /// Where the next bytes go, at most `most` and no more than is kept; not empty unless `most` is 0. [`Self::wrote`] says how many came.
    pub fn room(&mut self, most: u64) -> &mut [u8] {
        let at = self.slot(self.end);
        let limit = self.keep.min(ROOM);
        let most = usize::try_from(most).map_or(limit, |most| most.min(limit));
        let to = self.ring.len().min(at + most);
        &mut self.ring[at..to]
    }

    pub fn wrote(&mut self, len: usize) {
        if self.head.len() < HEAD {
            let at = self.slot(self.end);
            let missing = len.min(HEAD - self.head.len());
            self.head.extend_from_slice(&self.ring[at..at + missing]);
        }
        self.end += len as u64;
    }

    /// Whether what was decoded of `len` bytes from `offset` on is still there.
    pub fn holds(&self, offset: u64, len: usize) -> bool {
        let start = self.end.saturating_sub(self.keep as u64);
        let head = self.head.len() as u64;
        let to = offset.saturating_add(len as u64).min(self.end);
        offset >= start || to <= head || (offset < head && start <= head)
    }

    /// Copies what is there from `offset` on: all of it, if [`Self::holds`].
    pub fn copy(&self, offset: u64, buf: &mut [u8]) -> usize {
        let mut got = 0;
        while got < buf.len() {
            let at = offset + got as u64;
            let missing = buf.len() - got;
            let from = if at.saturating_add(self.keep as u64) < self.end {
                let head = usize::try_from(at)
                    .map_or(&[][..], |at| self.head.get(at..).unwrap_or_default());
                &head[..head.len().min(missing)]
            } else {
                let left = self.end.saturating_sub(at);
                let left = usize::try_from(left).map_or(missing, |left| left.min(missing));
                let slot = self.slot(at);
                &self.ring[slot..self.ring.len().min(slot + left)]
            };
            if from.is_empty() {
                break;
            }
            buf[got..got + from.len()].copy_from_slice(from);
            got += from.len();
        }
        got
    }

    fn slot(&self, at: u64) -> usize {
        // Less than the ring's length, which is a usize.
        (at % self.ring.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_written_is_read_again(
            keep in 1_usize..9_000,
            writes in prop::collection::vec((0_u64..ROOM as u64, 0..=100_usize), 1..12),
            reads in prop::collection::vec((any::<prop::sample::Index>(), 0..10_000_usize), 1..12),
        ) {
            let mut window = Window::new(keep);
            let mut model: Vec<u8> = Vec::new();
            for (most, percent) in writes {
                let room = window.room(most);
                prop_assert!(!room.is_empty() || most == 0);
                let used = room.len() * percent / 100;
                // What is given and not used is scribbled over.
                room.fill(0xff);
                for (n, byte) in room[..used].iter_mut().enumerate() {
                    *byte = (((model.len() + n) * 31) >> 3) as u8;
                }
                let used = room[..used].to_vec();
                window.wrote(used.len());
                model.extend(used);
                prop_assert_eq!(window.end(), model.len() as u64);
                for (at, len) in &reads {
                    let at = at.index(model.len() + 1);
                    let want = &model[at..(at + len).min(model.len())];
                    let mut buf = vec![0; *len];
                    if window.holds(at as u64, *len) {
                        let got = window.copy(at as u64, &mut buf);
                        prop_assert!(&buf[..got] == want);
                    } else {
                        prop_assert!(at + keep < model.len());
                        prop_assert!(at + len > HEAD.min(model.len()));
                    }
                }
            }
        }
    }
}
