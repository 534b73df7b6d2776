//! The memory that lines lie in, from the read to the broker's answer.
//!
//! A block of a file is read once into an arena; lines are spans of it, and librdkafka is handed pointers into it. An arena therefore
//! never moves its bytes once a batch holds it, and goes back to its pool only when the batch is decided.

use std::sync::{Arc, Mutex, PoisonError, Weak};

/// What an ordinary arena holds, in bytes. Read blocks of this size are on the plateau of throughput.
pub const ARENA_BYTES: usize = 256 * 1024;

/// What debug builds fill an arena with when it is given back.
const GIVEN_BACK: u8 = 0xdd;

/// A fixed piece of memory and how much of it is in use. Goes back to its pool on drop.
pub struct Arena {
    bytes: Vec<u8>,
    len: usize,
    pool: Weak<Pool>,
}

/// A pool of arenas. Keeps a few that are free, so that a steady flow allocates nothing.
#[derive(Clone)]
pub struct Arenas(Arc<Pool>);

struct Pool {
    free: Mutex<Free>,
    /// How many free ones are kept; those beyond are given back to the system after a burst.
    keep: usize,
}

struct Free {
    arenas: Vec<Vec<u8>>,
    /// The fewest that there were since [`Arenas::give_back_unused`].
    least: usize,
}

impl Arenas {
    pub fn new(keep: usize) -> Self {
        Self(Arc::new(Pool {
            free: Mutex::new(Free {
                arenas: Vec::new(),
                least: 0,
            }),
            keep,
        }))
    }

    /// Gives back to the system what nobody took since the last call. To be called every now and then.
    pub fn give_back_unused(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let used = free.arenas.len().saturating_sub(free.least);
        // The last ones are taken first.
        let unused = free.least;
        let given_back: Vec<_> = free.arenas.drain(..unused).collect();
        free.least = used;
        drop(free);
        drop(given_back);
    }

    /// An empty arena of at least `capacity` bytes. Only those of [`ARENA_BYTES`] are pooled.
    pub fn take(&self, capacity: usize) -> Arena {
        if capacity > ARENA_BYTES {
            return Arena {
                bytes: vec![0; capacity],
                len: 0,
                pool: Weak::new(),
            };
        }
        let bytes = {
            let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = free.arenas.pop();
            free.least = free.least.min(free.arenas.len());
            bytes
        };
        let bytes = bytes.unwrap_or_else(|| vec![0; ARENA_BYTES]);
        Arena {
            bytes,
            len: 0,
            pool: Arc::downgrade(&self.0),
        }
    }
}

impl Arena {
    /// One that holds what was made elsewhere, of no pool.
    pub fn of(made: Vec<u8>) -> Self {
        Self {
            len: made.len(),
            bytes: made,
            pool: Weak::new(),
        }
    }

    /// An empty one of at least `capacity` bytes, of the same pool.
    pub fn another(&self, capacity: usize) -> Self {
        match self.pool.upgrade() {
            Some(pool) => Arenas(pool).take(capacity),
            None => Self {
                bytes: vec![0; capacity],
                len: 0,
                pool: Weak::new(),
            },
        }
    }

    /// The bytes in use.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Room that is left, in bytes.
    pub fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// The memory behind what is in use, to be read into; [`Arena::advance`] then says how much was.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// Counts `n` bytes of [`Arena::spare`] as in use (at most all of it).
    pub fn advance(&mut self, n: usize) {
        self.len = (self.len + n).min(self.bytes.len());
    }

    /// Gives back what lies beyond `len`: the rest of a half line that will be read again.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends `bytes`, all or nothing. `false` when there is no room.
    #[must_use]
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.room() {
            return false;
        }
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        true
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        // Whoever still reads from here after it was given back reads this: in debug builds a late read is seen by every
        // test that looks at what arrives.
        if cfg!(debug_assertions) {
            self.bytes.fill(GIVEN_BACK);
        }
        let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.arenas.len() < pool.keep {
            free.arenas.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_arena_is_used_again() {
        let arenas = Arenas::new(1);
        let mut first = arenas.take(10);
        assert!(first.push(b"abc"));
        let at = first.filled().as_ptr();
        drop(first);
        let second = arenas.take(10);
        assert_eq!(second.spare_ptr(), at);
        assert!(second.is_empty());
    }

    #[test]
    fn free_arenas_that_nobody_takes_are_given_back() {
        let arenas = Arenas::new(3);
        let free = |arenas: &Arenas| arenas.0.free.lock().unwrap().arenas.len();
        drop([arenas.take(0), arenas.take(0), arenas.take(0)]);
        arenas.give_back_unused();
        assert_eq!(free(&arenas), 3, "all were taken");
        drop(arenas.take(0));
        arenas.give_back_unused();
        assert_eq!(free(&arenas), 1);
        arenas.give_back_unused();
        assert_eq!(free(&arenas), 0);
    }

    #[test]
    fn a_push_that_does_not_fit_changes_nothing() {
        let mut arena = Arenas::new(0).take(ARENA_BYTES);
        assert!(arena.push(&vec![1; ARENA_BYTES - 1]));
        assert!(!arena.push(b"ab"));
        assert_eq!(arena.len(), ARENA_BYTES - 1);
    }

    impl Arena {
        fn spare_ptr(&self) -> *const u8 {
            self.bytes.as_ptr()
        }
    }
}
