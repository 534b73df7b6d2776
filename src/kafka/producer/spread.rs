//! The partitions of a topic, and which of them keyless records go to: one of them for about a batch's worth, then another, so that batches are full and the load is even.
//!
//! Pure. A partition without a leader is chosen only when none has one.

use std::sync::Arc;

use crate::kafka::lane::Lane;

/// The lanes of a topic, and where keyless records go now.
#[derive(Default)]
pub(super) struct Spread {
    /// The lane of each partition that there ever was. Empty until the topic's partitions are known.
    lanes: Vec<u32>,
    /// How many of them there are now.
    live: usize,
    leaders: Arc<[bool]>,
    /// The partition that is chosen, and how many bytes went there since.
    sticky: usize,
    sticky_bytes: usize,
    /// Whose turn it is, where records take turns.
    pub turn: u32,
}

impl Spread {
    /// By partition.
    pub fn lanes(&self) -> &[u32] {
        &self.lanes[..self.live]
    }

    /// Also those of partitions that are gone. Nothing is in them.
    pub fn all_lanes(&self) -> &[u32] {
        &self.lanes
    }

    pub fn leaders(&self) -> Arc<[bool]> {
        self.leaders.clone()
    }

    /// Which partitions there are, and which have a leader. `new_lane` makes the lane of a partition that was not there before.
    pub fn lead(&mut self, leaders: Arc<[bool]>, mut new_lane: impl FnMut(usize) -> u32) {
        self.leaders = leaders;
        while self.lanes.len() < self.leaders.len() {
            self.lanes.push(new_lane(self.lanes.len()));
        }
        self.live = self.live.max(self.leaders.len());
    }

    /// The topic has no more than so many partitions: no record may wait for the others.
    pub fn shrink(&mut self, partitions: usize) {
        self.live = self.live.min(partitions);
    }

    /// The partition for keyless records that weigh `bytes`. It stays the same until a batch's worth went there or it is backed up, then
    /// the one with a leader and the least backlog follows.
    pub fn stick(&mut self, lanes: &[Lane], batch: usize, bytes: usize) -> u32 {
        let current = self.sticky.min(self.live - 1);
        let backed_up = |at: usize| lanes[self.lanes[at] as usize].pending_bytes() >= batch;
        if self.sticky_bytes >= batch
            || backed_up(current)
            || !self.leaders.get(current).copied().unwrap_or(false)
        {
            let after = |at: usize| (at + self.live - current - 1) % self.live;
            let best = (0..self.live).min_by_key(|&at| {
                let leaderless = !self.leaders.get(at).copied().unwrap_or(false);
                (
                    leaderless,
                    backed_up(at),
                    lanes[self.lanes[at] as usize].backlog(),
                    after(at),
                )
            });
            self.sticky = best.unwrap_or(current);
            self.sticky_bytes = 0;
        }
        self.sticky_bytes += bytes;
        self.sticky.min(self.live - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::kafka::lane::Chunk;

    const BATCH: usize = 1000;

    /// A topic whose partitions have leaders as said, each with its lane.
    fn topic(leaders: &[bool]) -> (Spread, Vec<Lane>) {
        let (mut spread, mut lanes) = (Spread::default(), Vec::new());
        spread.lead(leaders.into(), |partition| {
            lanes.push(Lane::new(partition as u32));
            partition as u32
        });
        (spread, lanes)
    }

    /// Gives a lane `records` that weigh `bytes` together.
    fn fill(lane: &mut Lane, records: u32, bytes: usize) {
        let records = 0..records;
        lane.push(Chunk::Range { slot: 0, records }, bytes, Instant::now());
    }

    #[test]
    fn keyless_records_stay_with_a_partition_until_a_batch_is_full() {
        let (mut spread, lanes) = topic(&[true, true, true]);
        let mut stick = |bytes| spread.stick(&lanes, BATCH, bytes);
        assert_eq!([stick(600), stick(600), stick(600)], [0, 0, 1]);
    }

    #[test]
    fn partitions_that_are_equally_free_take_turns() {
        let (mut spread, lanes) = topic(&[true, true, true]);
        let mut stick = || spread.stick(&lanes, BATCH, BATCH);
        assert_eq!([stick(), stick(), stick(), stick()], [0, 1, 2, 0]);
    }

    #[test]
    fn a_partition_that_is_backed_up_is_left_for_the_one_with_the_least_backlog() {
        let (mut spread, mut lanes) = topic(&[true, true, true]);
        fill(&mut lanes[0], 10, BATCH);
        fill(&mut lanes[1], 5, 10);
        fill(&mut lanes[2], 2, 10);
        assert_eq!(spread.stick(&lanes, BATCH, 1), 2);
    }

    #[test]
    fn a_partition_without_a_leader_is_passed_over() {
        let (mut spread, mut lanes) = topic(&[false, false, true]);
        fill(&mut lanes[2], 100, 2 * BATCH);
        assert_eq!(spread.stick(&lanes, BATCH, 1), 2);
    }

    #[test]
    fn without_any_leader_records_wait_in_some_lane() {
        let (mut spread, lanes) = topic(&[false, false]);
        assert!(spread.stick(&lanes, BATCH, 1) < 2);
    }

    #[test]
    fn a_partition_that_is_added_gets_a_lane_and_the_others_keep_theirs() {
        let (mut spread, _) = topic(&[true, true]);
        let mut made = Vec::new();
        spread.lead([true; 3].into(), |partition| {
            made.push(partition);
            7
        });
        assert_eq!((spread.lanes(), made), (&[0, 1, 7][..], vec![2]));
    }

    #[test]
    fn a_topic_that_shrank_keeps_its_lanes_until_nothing_waits_for_them_and_takes_them_again_when_it_grows()
     {
        let (mut spread, lanes) = topic(&[true, true, true]);
        let lead = |spread: &mut Spread, leaders: &[bool]| {
            spread.lead(leaders.into(), |_| unreachable!("no lane is new"));
        };
        lead(&mut spread, &[true]);
        assert_eq!(spread.lanes().len(), 3);
        spread.shrink(1);
        assert_eq!(spread.lanes(), [0]);
        assert_eq!(spread.stick(&lanes, BATCH, BATCH), 0);
        assert_eq!(spread.stick(&lanes, BATCH, 1), 0);
        lead(&mut spread, &[true, true]);
        assert_eq!(spread.lanes(), [0, 1]);
    }
}
