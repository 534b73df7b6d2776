//! How much may be in flight, over all pipelines.
//!
//! Half of the memory is split evenly into guaranteed shares, the other half is a common pool. A pipeline takes from its own share
//! first; a dead cluster can therefore empty the pool, but never the share of another pipeline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Ring;

/// What librdkafka needs for a message of its own, in bytes.
pub const RECORD_OVERHEAD: u64 = 200;

/// The memory of all pipelines, in bytes.
pub struct Budget {
    capacity: u64,
    pool: Mutex<Pool>,
}

struct Pool {
    /// What is free of the common half.
    free: u64,
    shares: Vec<ShareState>,
}

struct ShareState {
    guaranteed: u64,
    used: u64,
    /// What of `used` was taken from the pool.
    borrowed: u64,
    /// Woken when something is given back.
    bell: Option<Arc<dyn Ring>>,
}

/// One pipeline's right to the budget.
#[derive(Clone)]
pub struct Share {
    budget: Arc<Budget>,
    index: usize,
}

/// What a batch has taken. Gives it back on drop.
pub struct Charge {
    share: Share,
    bytes: u64,
}

impl Budget {
    /// A budget of `capacity` bytes for `pipelines` pipelines, and their shares.
    pub fn split(capacity: u64, pipelines: usize) -> (Arc<Self>, Vec<Share>) {
        let guaranteed = guaranteed_share(capacity, pipelines);
        let shares = (0..pipelines)
            .map(|_| ShareState {
                guaranteed,
                used: 0,
                borrowed: 0,
                bell: None,
            })
            .collect();
        let pool = Pool {
            free: capacity - guaranteed * pipelines as u64,
            shares,
        };
        let budget = Arc::new(Self {
            capacity,
            pool: Mutex::new(pool),
        });
        let shares = (0..pipelines)
            .map(|index| Share {
                budget: budget.clone(),
                index,
            })
            .collect();
        (budget, shares)
    }

    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    pub fn used(&self) -> u64 {
        self.lock().shares.iter().map(|share| share.used).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What each of `pipelines` pipelines is sure of, in bytes.
pub fn guaranteed_share(capacity: u64, pipelines: usize) -> u64 {
    capacity / 2 / (pipelines.max(1) as u64)
}

impl Share {
    /// Wakes `bell` whenever budget is given back.
    pub fn rings(&self, bell: Arc<dyn Ring>) {
        self.budget.lock().shares[self.index].bell = Some(bell);
    }

    /// Takes `bytes`, or nothing when the share and the pool cannot give them now. A pipeline that has nothing out always gets what
    /// it asks for, so that one batch larger than its share does not stand still for ever.
    pub fn try_take(&self, bytes: u64) -> Option<Charge> {
        let mut pool = self.budget.lock();
        let state = &pool.shares[self.index];
        let own = state.guaranteed.saturating_sub(state.used - state.borrowed);
        let borrow = bytes.saturating_sub(own);
        if borrow > pool.free && state.used > 0 {
            return None;
        }
        self.charge(&mut pool, bytes, borrow);
        Some(Charge {
            share: self.clone(),
            bytes,
        })
    }

    /// How many bytes are out.
    pub fn used(&self) -> u64 {
        self.budget.lock().shares[self.index].used
    }

    /// The bytes that this pipeline can be sure of.
    pub fn guaranteed(&self) -> u64 {
        self.budget.lock().shares[self.index].guaranteed
    }

    fn charge(&self, pool: &mut Pool, bytes: u64, borrow: u64) {
        let borrow = borrow.min(pool.free);
        pool.free -= borrow;
        let state = &mut pool.shares[self.index];
        state.used += bytes;
        state.borrowed += borrow;
    }
}

impl Charge {
    /// Adds what turned out to be needed besides; never refused, for the memory is already in use.
    pub fn grow(&mut self, bytes: u64) {
        let mut pool = self.share.budget.lock();
        let state = &pool.shares[self.share.index];
        let own = state.guaranteed.saturating_sub(state.used - state.borrowed);
        self.share
            .charge(&mut pool, bytes, bytes.saturating_sub(own));
        self.bytes += bytes;
    }

    /// Gives back what is above `bytes`, and wakes whoever may wait for it.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(surplus) = self.bytes.checked_sub(bytes).filter(|it| *it > 0) {
            self.give_back(surplus);
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back `bytes`, at most all.
    fn give_back(&mut self, bytes: u64) {
        if bytes == 0 {
            // Nobody can do anything with it, and who rings himself awake with it never rests.
            return;
        }
        self.bytes -= bytes;
        let bells: Vec<Arc<dyn Ring>> = {
            let mut guard = self.share.budget.lock();
            let pool = &mut *guard;
            let state = &mut pool.shares[self.share.index];
            state.used = state.used.saturating_sub(bytes);
            let returned = bytes.min(state.borrowed);
            state.borrowed -= returned;
            pool.free += returned;
            if returned > 0 {
                pool.shares
                    .iter()
                    .filter_map(|share| share.bell.clone())
                    .collect()
            } else {
                state.bell.clone().into_iter().collect()
            }
        };
        for bell in bells {
            bell.ring();
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::Bell;

    #[test]
    fn a_pipeline_that_takes_everything_leaves_the_others_their_share() {
        let (_, shares) = Budget::split(100, 2);
        let mut out = Vec::new();
        while let Some(charge) = shares[0].try_take(5) {
            out.push(charge);
        }
        assert_eq!(shares[0].used(), 75);
        let other: Vec<_> = std::iter::from_fn(|| shares[1].try_take(5)).collect();
        assert_eq!(other.len(), 5);
    }

    #[test]
    fn one_batch_larger_than_everything_still_passes_alone() {
        let (_, shares) = Budget::split(100, 1);
        let big = shares[0].try_take(1000);
        assert!(big.is_some());
        assert!(shares[0].try_take(1).is_none());
        drop(big);
        assert!(shares[0].try_take(1).is_some());
    }

    #[test]
    fn a_charge_of_nothing_rings_nobody_when_it_goes() {
        let (_, shares) = Budget::split(100, 1);
        let bell = Arc::new(Bell::new());
        shares[0].rings(bell.clone());
        drop(shares[0].try_take(0).unwrap());
        assert!(!bell.wait(Duration::ZERO));
    }

    #[test]
    fn a_charge_that_shrinks_gives_the_rest_back_and_rings() {
        let (_, shares) = Budget::split(100, 1);
        let bell = Arc::new(Bell::new());
        shares[0].rings(bell.clone());
        let mut charge = shares[0].try_take(100).unwrap();
        assert!(shares[0].try_take(1).is_none());
        charge.shrink_to(100);
        charge.shrink_to(200);
        assert_eq!((charge.bytes(), shares[0].used()), (100, 100));
        charge.shrink_to(30);
        assert_eq!((charge.bytes(), shares[0].used()), (30, 30));
        // It would wait for an hour.
        bell.wait(Duration::from_secs(3600));
        assert!(shares[0].try_take(70).is_some());
        drop(charge);
        assert_eq!(shares[0].used(), 0);
    }

    proptest! {
        #[test]
        fn everything_given_back_is_there_again(steps in proptest::collection::vec((0..3usize, 0..60u64, any::<bool>()), 0..200)) {
            let (budget, shares) = Budget::split(300, 3);
            let mut out: Vec<Charge> = Vec::new();
            for (share, bytes, take) in steps {
                if take {
                    out.extend(shares[share].try_take(bytes));
                } else if !out.is_empty() {
                    let at = bytes as usize % out.len();
                    out[at].grow(3);
                    if bytes % 2 == 0 {
                        out[at].shrink_to(bytes / 2);
                    } else {
                        out.swap_remove(at);
                    }
                }
                let sum: u64 = out.iter().map(Charge::bytes).sum();
                prop_assert_eq!(budget.used(), sum);
            }
            out.clear();
            prop_assert_eq!(budget.used(), 0);
            prop_assert_eq!(budget.lock().free, 150);
        }
    }
}
