//! What waits for one partition, and the one wave of it that is on its way.
//!
//! Idempotent producers keep one batch in flight per partition, and librdkafka spins while a second one that is ready waits behind it.
//! So a lane hands over one **wave** at a time, no larger than one batch on the wire, and the next one when every record of it has come
//! back. What came back with an error goes again before anything new, in its old order: that is what keeps order per partition.
//!
//! **The guilty record** of a wave that is refused is found by sending its halves, until one is refused alone; where the broker says which
//! it was, that one goes alone at once. Nothing else is ever given up. A broker that takes only smaller batches than ours refuses every wave
//! without any record being guilty: the lane remembers which size went through.
//!
//! In a transaction nothing can go again by itself: one failure ends the transaction, and everything that was sent in it goes again. A lane
//! that [keeps](Lane::keeping) remembers what it sent, so that it can be rewound.
//!
//! Pure: it knows tickets and times, not Kafka.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode;

use super::errors::{TOO_LARGE, Verdict, verdict};
use super::native::Ticket;
use super::partition::deal::{Group, Hand, Listed};

/// So many records of a wave that the broker names one by one are each sent alone; of more, the halves.
const MOST_NAMED: usize = 16;
/// After so many waves that went well a lane tries larger ones again.
const TRY_LARGER: u32 = 256;

/// How large a wave may be, and how long it may wait to become so.
#[derive(Debug, Clone, Copy)]
pub struct WaveLimits {
    /// Records.
    pub records: usize,
    /// Bytes on the wire.
    pub bytes: usize,
    /// How long the oldest record may wait for company.
    pub linger: Duration,
}

/// Some records of one load that go to the same partition, in order.
#[derive(Debug)]
pub enum Chunk {
    Range { slot: u32, records: Range<u32> },
    List { slot: u32, records: Listed },
}

impl Chunk {
    /// What was dealt to a lane, of `all` records that were dealt.
    pub fn of(group: Group, slot: u32, all: &Hand) -> Self {
        match (group.records, all) {
            (Some(records), _) => Self::List { slot, records },
            (None, Hand::List(records)) => Self::List {
                slot,
                records: records.clone(),
            },
            (None, Hand::Range(records)) => Self::Range {
                slot,
                records: records.clone(),
            },
        }
    }

    fn slot(&self) -> u32 {
        match self {
            Self::Range { slot, .. } | Self::List { slot, .. } => *slot,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Range { records, .. } => records.len(),
            Self::List { records, .. } => records.numbers().len(),
        }
    }

    fn record(&self, at: usize) -> u32 {
        match self {
            Self::Range { records, .. } => records.start + at as u32,
            Self::List { records, .. } => records.numbers()[at],
        }
    }
}

/// The queue of one partition.
#[derive(Debug, Default)]
pub struct Lane {
    /// Which of the producer's lanes this is.
    index: u32,
    pending: VecDeque<(Chunk, Instant)>,
    /// How far the first pending chunk is sent.
    sent_of_first: usize,
    pending_records: usize,
    pending_bytes: usize,
    /// What came back and goes again, before anything pending.
    again: VecDeque<Ticket>,
    /// When the last wave with failures came back.
    back_since: Option<Instant>,
    /// Waves that begin with these tickets have so many records, and no other wave reaches into them: one of them is refused.
    suspects: HashMap<Ticket, usize>,
    /// The wave on its way is one of the suspects.
    on_trial: bool,
    /// What a wave may have here, in bytes, because the broker refused larger ones; and how many have gone well since.
    smaller: Option<(usize, u32)>,
    /// What that was before the search that goes on: waves that were refused for one record's sake say nothing about their size.
    smaller_before: Option<(usize, u32)>,
    /// The wave on its way, in order.
    wave: Vec<Ticket>,
    wave_bytes: usize,
    /// How many of the wave have not come back.
    left: usize,
    failed: HashMap<Ticket, RDKafkaErrorCode>,
    sent_at: Option<Instant>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// What has to be remembered of a transaction.
    kept: Option<Kept>,
}

/// What a lane remembers of a transaction.
#[derive(Debug, Default)]
struct Kept {
    /// What was sent since the last decision, in order: a slot and records of it that follow each other.
    sent: Vec<(u32, Range<u32>)>,
}

impl Kept {
    fn sent(&mut self, wave: &[Ticket]) {
        for ticket in wave {
            match self.sent.last_mut() {
                Some((slot, records)) if *slot == ticket.slot && records.end == ticket.record => {
                    records.end += 1;
                }
                _ => self
                    .sent
                    .push((ticket.slot, ticket.record..ticket.record + 1)),
            }
        }
    }
}

/// What became of a wave.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct WaveEnd {
    /// The records that were refused for their own sake: the caller answers for them from here on.
    pub refused: Vec<(Ticket, &'static str, RDKafkaErrorCode)>,
    /// How many go again.
    pub again: usize,
    /// Why sending waits, and the code.
    pub wait: Option<(&'static str, RDKafkaErrorCode)>,
    /// The client has to be built anew.
    pub client: bool,
    /// From handing the wave over to its last report.
    pub took: Duration,
    /// Why the last of those go again that nobody is to blame for.
    pub fault: Option<RDKafkaErrorCode>,
    /// A guilty record is looked for: what goes again need not wait.
    pub searches: bool,
    /// Of a lane that keeps: why the transaction cannot go on.
    pub failed: Option<RDKafkaErrorCode>,
}

impl Lane {
    pub fn new(index: u32) -> Self {
        Self {
            index,
            ..Self::default()
        }
    }

    /// One that can be rewound.
    pub fn keeping(index: u32) -> Self {
        Self {
            index,
            kept: Some(Kept::default()),
            ..Self::default()
        }
    }

    /// Of a lane that keeps: what was sent counts, and is not needed any more.
    pub fn forget(&mut self) {
        if let Some(kept) = &mut self.kept {
            *kept = Kept::default();
            self.suspects.clear();
        }
    }

    /// Of a lane that keeps: what was sent counts for nothing, and goes again in its order before anything new, but for what `is_gone`.
    /// What is on its way is forgotten: it must be back, or its client gone.
    pub fn rewind(&mut self, is_gone: impl Fn(Ticket) -> bool) {
        let Some(kept) = &mut self.kept else { return };
        let lane = self.index;
        let mut again: VecDeque<Ticket> = kept
            .sent
            .drain(..)
            .flat_map(|(slot, records)| records.map(move |record| Ticket { slot, lane, record }))
            .chain(self.again.drain(..))
            .filter(|ticket| !is_gone(*ticket))
            .collect();
        again.shrink_to_fit();
        self.again = again;
        self.back_since = Some(Instant::now());
        self.wave.clear();
        self.failed.clear();
        self.left = 0;
        self.sent_at = None;
    }

    /// Adds records that weigh `bytes` on the wire.
    pub fn push(&mut self, chunk: Chunk, bytes: usize, now: Instant) {
        if chunk.len() == 0 {
            return;
        }
        self.pending_records += chunk.len();
        self.pending_bytes += bytes;
        self.pending.push_back((chunk, now));
    }

    /// Bytes that wait; what is on its way does not count.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Bytes on their way.
    pub fn wave_bytes(&self) -> usize {
        if self.busy() { self.wave_bytes } else { 0 }
    }

    /// Records that wait or are on their way.
    pub fn backlog(&self) -> usize {
        self.pending_records + self.again.len() + self.wave.len()
    }

    /// Whether nothing waits, is on its way, or has to be remembered.
    pub fn is_empty(&self) -> bool {
        let kept = self.kept.as_ref().is_none_or(|kept| kept.sent.is_empty());
        self.backlog() == 0 && !self.busy() && kept
    }

    /// Whether a wave is on its way.
    pub fn busy(&self) -> bool {
        self.left > 0
    }

    /// When the next wave may go; `None` when nothing waits or one is on its way.
    pub fn due(&self, limits: &WaveLimits) -> Option<Instant> {
        if self.busy() {
            return None;
        }
        let due = match (self.again.front(), self.pending.front()) {
            (Some(_), _) => self.back_since?,
            (None, Some((_, since))) if self.is_full(limits) => *since,
            (None, Some((_, since))) => *since + limits.linger,
            (None, None) => return None,
        };
        Some(self.not_before.map_or(due, |earliest| earliest.max(due)))
    }

    fn is_full(&self, limits: &WaveLimits) -> bool {
        self.pending_records >= limits.records || self.pending_bytes >= self.most_bytes(limits)
    }

    fn most_bytes(&self, limits: &WaveLimits) -> usize {
        self.smaller
            .map_or(limits.bytes, |(bytes, _)| bytes.min(limits.bytes))
    }

    /// Takes the next wave. `weight` gives a record's bytes on the wire. Empty when nothing is due.
    pub fn next_wave(
        &mut self,
        limits: &WaveLimits,
        now: Instant,
        weight: impl Fn(Ticket) -> usize,
    ) -> &[Ticket] {
        if self.due(limits).is_none_or(|due| due > now) {
            return &[];
        }
        self.not_before = None;
        self.wave.clear();
        if self.smaller.is_some_and(|(bytes, _)| bytes >= limits.bytes) {
            self.smaller = None;
        }
        let most_bytes = self.most_bytes(limits);
        let (mut bytes, mut most) = (0, limits.records);
        self.on_trial = false;
        while self.wave.len() < most {
            let Some(&ticket) = self.again.front() else {
                break;
            };
            // In ordinary times there are none, and nothing is looked up.
            if !self.suspects.is_empty()
                && let Some(group) = self.suspects.get(&ticket)
            {
                if !self.wave.is_empty() {
                    // Nothing is added behind it: it waits for a wave of its own.
                    most = self.wave.len();
                    break;
                }
                most = *group;
                self.on_trial = true;
                if self.kept.is_none() {
                    self.suspects.remove(&ticket);
                }
            }
            let heavier = bytes + weight(ticket);
            if heavier > most_bytes && !self.wave.is_empty() {
                break;
            }
            bytes = heavier;
            self.again.pop_front();
            self.wave.push(ticket);
        }
        if self.again.is_empty() && !self.on_trial {
            bytes = self.fill_from_pending(most, most_bytes, bytes, weight);
        }
        if let Some(kept) = &mut self.kept {
            kept.sent(&self.wave);
        }
        self.left = self.wave.len();
        self.wave_bytes = bytes;
        self.sent_at = Some(now);
        &self.wave
    }

    fn fill_from_pending(
        &mut self,
        most: usize,
        most_bytes: usize,
        mut bytes: usize,
        weight: impl Fn(Ticket) -> usize,
    ) -> usize {
        while self.wave.len() < most {
            let Some((chunk, _)) = self.pending.front() else {
                return bytes;
            };
            while self.sent_of_first < chunk.len() && self.wave.len() < most {
                let ticket = Ticket {
                    slot: chunk.slot(),
                    lane: self.index,
                    record: chunk.record(self.sent_of_first),
                };
                let weight = weight(ticket);
                if bytes + weight > most_bytes && !self.wave.is_empty() {
                    return bytes;
                }
                bytes += weight;
                self.sent_of_first += 1;
                self.pending_records -= 1;
                self.pending_bytes = self.pending_bytes.saturating_sub(weight);
                self.wave.push(ticket);
            }
            if self.sent_of_first >= chunk.len() {
                self.pending.pop_front();
                self.sent_of_first = 0;
                if self.pending.is_empty() {
                    self.pending_bytes = 0;
                }
            }
        }
        bytes
    }

    /// A record of the wave came back. `true` when it was the last one: [`Lane::end_wave`] is next.
    pub fn came_back(&mut self, ticket: Ticket, error: Option<RDKafkaErrorCode>) -> bool {
        if let Some(error) = error {
            self.failed.insert(ticket, error);
        }
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// When the wave that is on its way was handed over.
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// Decides what becomes of a wave that is wholly back.
    pub fn end_wave(&mut self, now: Instant) -> WaveEnd {
        let took = self
            .sent_at
            .take()
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let mut end = WaveEnd {
            took,
            ..WaveEnd::default()
        };
        if self.failed.is_empty() {
            self.went_well();
            self.wave.clear();
            return end;
        }
        self.back_since = Some(now);
        let failed = std::mem::take(&mut self.failed);
        let alone = self.wave.len() == 1;
        if self.kept.is_some() {
            self.end_transaction(&failed, alone, &mut end);
            return end;
        }
        let mut again = VecDeque::new();
        for ticket in self.wave.drain(..) {
            let Some(&code) = failed.get(&ticket) else {
                continue;
            };
            match verdict(code) {
                Verdict::Record(reason) if alone => {
                    self.smaller = self.smaller_before;
                    end.refused.push((ticket, reason, code));
                    continue;
                }
                Verdict::Record(_) => {}
                Verdict::Wait(why) => end.wait = Some((why, code)),
                Verdict::Client => end.client = true,
                Verdict::Again => end.fault = Some(code),
            }
            again.push_back(ticket);
        }
        end.again = again.len();
        end.searches = self.suspect(again.make_contiguous(), &failed);
        again.append(&mut self.again);
        self.again = again;
        end
    }

    /// A wave of a transaction failed: it all goes again when the lane is rewound, but for a record that was refused alone.
    fn end_transaction(
        &mut self,
        failed: &HashMap<Ticket, RDKafkaErrorCode>,
        alone: bool,
        end: &mut WaveEnd,
    ) {
        for ticket in &self.wave {
            let Some(&code) = failed.get(ticket) else {
                continue;
            };
            match verdict(code) {
                Verdict::Record(reason) if alone => end.refused.push((*ticket, reason, code)),
                Verdict::Wait(why) => end.wait = Some((why, code)),
                Verdict::Record(_) | Verdict::Client | Verdict::Again => {}
            }
            // What was purged tells nothing of why.
            if end
                .failed
                .is_none_or(|code| verdict(code) == Verdict::Client)
            {
                end.failed = Some(code);
            }
        }
        let wave = std::mem::take(&mut self.wave);
        if !end.refused.is_empty() {
            self.smaller = self.smaller_before;
        }
        if !alone {
            end.searches = self.suspect(&wave, failed);
        }
        end.again = wave.len() - end.refused.len();
    }

    /// Remembers which of the records that go again have to go apart from the others, because one of them is refused. `true` when there
    /// are such.
    fn suspect(&mut self, again: &[Ticket], failed: &HashMap<Ticket, RDKafkaErrorCode>) -> bool {
        let refused = |ticket: &Ticket| match failed.get(ticket).map(|code| verdict(*code)) {
            Some(Verdict::Record(reason)) => Some(reason),
            _ => None,
        };
        let named: Vec<Ticket> = again
            .iter()
            .copied()
            .filter(|it| refused(it).is_some())
            .collect();
        let Some(first) = named.first() else {
            if self.on_trial
                && self.kept.is_none()
                && let Some(first) = again.first()
            {
                // It failed for another reason: the trial is still to come.
                self.suspects.insert(*first, again.len());
            }
            return false;
        };
        let others_are_without_fault = named.len() < again.len();
        if (others_are_without_fault || named.len() == 1) && named.len() <= MOST_NAMED {
            self.suspects
                .extend(named.iter().map(|ticket| (*ticket, 1)));
        } else {
            if refused(first) == Some(TOO_LARGE) {
                if !self.on_trial {
                    self.smaller_before = self.smaller;
                }
                self.smaller = Some((self.wave_bytes / 2, 0));
            }
            let (front, back) = again.split_at(again.len() / 2);
            for half in [front, back] {
                if let Some(begin) = half.first() {
                    self.suspects.insert(*begin, half.len());
                }
            }
        }
        true
    }

    fn went_well(&mut self) {
        if self.on_trial {
            return;
        }
        self.smaller_before = self.smaller;
        if let Some((bytes, waves)) = &mut self.smaller {
            *waves += 1;
            if *waves > TRY_LARGER {
                (*bytes, *waves) = (*bytes * 2, 0);
            }
        }
    }

    /// Takes out what waits of the slots that `is_meant`, in order; what is on its way stays.
    pub fn take_out(
        &mut self,
        is_meant: impl Fn(u32) -> bool,
        weight: impl Fn(Ticket) -> usize,
    ) -> Vec<Ticket> {
        let mut out = Vec::new();
        self.again.retain(|ticket| {
            let stays = !is_meant(ticket.slot);
            if !stays {
                out.push(*ticket);
            }
            stays
        });
        let lane = self.index;
        let mut sent = std::mem::take(&mut self.sent_of_first);
        for (chunk, since) in std::mem::take(&mut self.pending) {
            let sent = std::mem::take(&mut sent);
            if !is_meant(chunk.slot()) {
                // Only the first chunk can be sent in part, and then it is the first one again.
                self.sent_of_first = self.sent_of_first.max(sent);
                self.pending.push_back((chunk, since));
                continue;
            }
            for at in sent..chunk.len() {
                let (slot, record) = (chunk.slot(), chunk.record(at));
                let ticket = Ticket { slot, lane, record };
                self.pending_records -= 1;
                self.pending_bytes = self.pending_bytes.saturating_sub(weight(ticket));
                out.push(ticket);
            }
        }
        if self.pending.is_empty() {
            self.pending_bytes = 0;
        }
        for ticket in &out {
            self.suspects.remove(ticket);
        }
        out
    }

    /// Whether records came back that have to go again.
    pub fn goes_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// Gives away everything that waits, in its order. Nothing may be on its way, and nothing sent in a transaction that is not decided.
    pub fn drain(&mut self) -> Vec<Ticket> {
        let all = self.take_out(|_| true, |_| 0);
        self.not_before = None;
        self.forget();
        all
    }

    /// Nothing is sent before `until`.
    pub fn pause(&mut self, until: Instant) {
        self.not_before = Some(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: WaveLimits = WaveLimits {
        records: 10,
        bytes: 1000,
        linger: Duration::from_millis(5),
    };

    fn lane_with(records: u32) -> (Lane, Instant) {
        let (mut lane, now) = (Lane::new(7), Instant::now());
        lane.push(
            Chunk::Range {
                slot: 0,
                records: 0..records,
            },
            records as usize * 10,
            now,
        );
        (lane, now)
    }

    fn wave(lane: &mut Lane, now: Instant) -> Vec<u32> {
        lane.next_wave(&LIMITS, now + LIMITS.linger, |_| 10)
            .iter()
            .map(|ticket| ticket.record)
            .collect()
    }

    fn come_back(
        lane: &mut Lane,
        now: Instant,
        records: &[u32],
        error: impl Fn(u32) -> Option<RDKafkaErrorCode>,
    ) -> Option<WaveEnd> {
        let mut last = false;
        for &record in records {
            last = lane.came_back(
                Ticket {
                    slot: 0,
                    lane: 7,
                    record,
                },
                error(record),
            );
        }
        last.then(|| lane.end_wave(now))
    }

    #[test]
    fn a_small_wave_waits_for_company_and_a_full_one_does_not() {
        let (mut lane, now) = lane_with(3);
        assert!(lane.next_wave(&LIMITS, now, |_| 10).is_empty());
        assert_eq!(lane.due(&LIMITS), Some(now + LIMITS.linger));
        lane.push(
            Chunk::List {
                slot: 1,
                records: (0..20).collect(),
            },
            200,
            now,
        );
        assert_eq!(lane.next_wave(&LIMITS, now, |_| 10).len(), 10);
    }

    #[test]
    fn a_wave_is_no_larger_than_a_batch_but_one_large_record_passes() {
        let (mut lane, now) = lane_with(3);
        let first: Vec<_> = lane
            .next_wave(&LIMITS, now + LIMITS.linger, |_| 600)
            .to_vec();
        assert_eq!(first.len(), 1);
    }

    #[test]
    fn nothing_new_goes_while_a_wave_is_on_its_way() {
        let (mut lane, now) = lane_with(12);
        assert_eq!(wave(&mut lane, now).len(), 10);
        assert!(wave(&mut lane, now).is_empty());
        assert!(lane.due(&LIMITS).is_none());
    }

    #[test]
    fn what_failed_goes_again_in_order_before_anything_new() {
        let (mut lane, now) = lane_with(12);
        let first = wave(&mut lane, now);
        let end = come_back(&mut lane, now, &first, |record| {
            (record % 2 == 1).then_some(RDKafkaErrorCode::MessageTimedOut)
        });
        assert_eq!(end.unwrap().again, 5);
        assert_eq!(wave(&mut lane, now), [1, 3, 5, 7, 9, 10, 11]);
    }

    /// A broker that refuses a whole wave when `judge` finds fault with it. Gives what was delivered, what was refused, and how many
    /// waves that took.
    fn deliver(
        lane: &mut Lane,
        now: Instant,
        judge: impl Fn(&[u32], u32) -> Option<RDKafkaErrorCode>,
    ) -> (Vec<u32>, Vec<(u32, &'static str)>, usize) {
        let (mut delivered, mut refused, mut waves) = (Vec::new(), Vec::new(), 0);
        loop {
            let sent = wave(lane, now);
            if sent.is_empty() {
                return (delivered, refused, waves);
            }
            waves += 1;
            assert!(waves < 500, "it never ends");
            let end = come_back(lane, now, &sent, |record| judge(&sent, record)).unwrap();
            delivered.extend(sent.iter().filter(|it| judge(&sent, **it).is_none()));
            refused
                .extend((end.refused.iter()).map(|(ticket, reason, _)| (ticket.record, *reason)));
        }
    }

    #[test]
    fn the_guilty_record_of_a_refused_batch_is_found_by_halving_and_only_that_one_is_given_up() {
        let (mut lane, now) = lane_with(20);
        let too_large = RDKafkaErrorCode::MessageSizeTooLarge;
        let (delivered, refused, waves) = deliver(&mut lane, now, |sent, _| {
            sent.contains(&6).then_some(too_large)
        });
        assert_eq!(refused, [(6, "too_large")]);
        assert_eq!(delivered, (0..20).filter(|it| *it != 6).collect::<Vec<_>>());
        assert!(waves < 12, "{waves}");
    }

    #[test]
    fn a_record_that_the_broker_names_goes_alone_and_its_neighbours_together() {
        let (mut lane, now) = lane_with(10);
        let (delivered, refused, waves) = deliver(&mut lane, now, |sent, record| {
            let is_refused = sent.contains(&3) || sent.contains(&7);
            is_refused.then_some(match record {
                3 | 7 => RDKafkaErrorCode::InvalidRecord,
                _ => RDKafkaErrorCode::InvalidDifferentRecord,
            })
        });
        assert_eq!(refused, [(3, "invalid_record"), (7, "invalid_record")]);
        assert_eq!(delivered, [0, 1, 2, 4, 5, 6, 8, 9]);
        // The refused one; 0 to 2, 3, 4 to 6, 7, 8 to 9.
        assert_eq!(waves, 6);
    }

    #[test]
    fn a_broker_that_takes_smaller_batches_gets_smaller_ones_from_then_on() {
        let (mut lane, now) = lane_with(400);
        let too_large = RDKafkaErrorCode::MessageBatchTooLarge;
        let (delivered, refused, waves) = deliver(&mut lane, now, |sent, _| {
            (sent.len() > 4).then_some(too_large)
        });
        assert_eq!((delivered.len(), refused.len()), (400, 0));
        assert!(delivered.is_sorted());
        assert!(waves < 400 / 2 + 10, "{waves}");
        // Much later larger ones are tried again.
        lane.push(
            Chunk::Range {
                slot: 0,
                records: 0..4000,
            },
            40_000,
            now,
        );
        let mut largest = 0;
        while lane.backlog() > 0 {
            let sent = wave(&mut lane, now);
            largest = largest.max(sent.len());
            come_back(&mut lane, now, &sent, |_| None);
        }
        assert_eq!(largest, LIMITS.records);
    }

    #[test]
    fn a_trial_that_fails_for_another_reason_is_held_again() {
        let (mut lane, now) = lane_with(4);
        let first = wave(&mut lane, now);
        come_back(&mut lane, now, &first, |_| {
            Some(RDKafkaErrorCode::InvalidRecord)
        });
        for _ in 0..3 {
            let half = wave(&mut lane, now);
            assert_eq!(half, [0, 1]);
            let end = come_back(&mut lane, now, &half, |_| {
                Some(RDKafkaErrorCode::MessageTimedOut)
            });
            let end = end.unwrap();
            assert_eq!((end.again, end.searches), (2, false));
        }
    }

    #[test]
    fn what_is_taken_out_is_no_longer_sent_and_the_rest_keeps_its_order() {
        let (mut lane, now) = lane_with(12);
        for slot in [1, 2] {
            let records = 0..3;
            lane.push(Chunk::Range { slot, records }, 30, now);
        }
        let sent = wave(&mut lane, now);
        come_back(&mut lane, now, &sent, |record| {
            (record > 7).then_some(RDKafkaErrorCode::MessageTimedOut)
        });
        let out = lane.take_out(|slot| slot == 1, |_| 10);
        assert_eq!(
            out.iter().map(|it| it.record).collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert_eq!((lane.backlog(), lane.pending_bytes()), (7, 50));
        let out = lane.take_out(|slot| slot == 0, |_| 10);
        let records: Vec<u32> = out.iter().map(|it| it.record).collect();
        assert_eq!(records, [8, 9, 10, 11]);
        assert_eq!(wave(&mut lane, now), [0, 1, 2]);
        assert_eq!((lane.backlog(), lane.pending_bytes()), (3, 0));
    }

    #[test]
    fn faults_of_the_topic_wait_and_lose_nothing() {
        let (mut lane, now) = lane_with(2);
        let first = wave(&mut lane, now);
        let end = come_back(&mut lane, now, &first, |_| {
            Some(RDKafkaErrorCode::TopicAuthorizationFailed)
        })
        .unwrap();
        assert!(end.wait.is_some() && end.refused.is_empty());
        lane.pause(now + Duration::from_secs(1));
        assert!(wave(&mut lane, now).is_empty());
        assert_eq!(wave(&mut lane, now + Duration::from_secs(1)), [0, 1]);
    }

    fn kept_lane(records: u32) -> (Lane, Instant) {
        let (mut lane, now) = (Lane::keeping(7), Instant::now());
        lane.push(
            Chunk::Range {
                slot: 0,
                records: 0..records,
            },
            records as usize * 10,
            now,
        );
        (lane, now)
    }

    #[test]
    fn what_was_sent_in_an_aborted_transaction_goes_again_in_order_before_anything_new() {
        let (mut lane, now) = kept_lane(25);
        for _ in 0..2 {
            let sent = wave(&mut lane, now);
            assert!(come_back(&mut lane, now, &sent, |_| None).is_some());
        }
        lane.rewind(|ticket| ticket.record == 3);
        let mut sent = Vec::new();
        while lane.backlog() > 0 {
            let next = wave(&mut lane, now + Duration::from_secs(1));
            come_back(&mut lane, now, &next, |_| None);
            sent.extend(next);
        }
        assert_eq!(sent, (0..25).filter(|it| *it != 3).collect::<Vec<_>>());
    }

    #[test]
    fn what_counts_is_not_sent_again() {
        let (mut lane, now) = kept_lane(12);
        let sent = wave(&mut lane, now);
        come_back(&mut lane, now, &sent, |_| None);
        lane.forget();
        lane.rewind(|_| false);
        assert_eq!(wave(&mut lane, now), [10, 11]);
    }

    /// A broker that refuses whole waves for the records in `bad`, and forgets what was sent when a transaction is aborted. Gives the
    /// records that count, those that were found guilty, and how many transactions that took.
    fn transact(count: u32, bad: &[u32], outages: &[usize]) -> (Vec<u32>, Vec<u32>, usize) {
        let (mut lane, now) = kept_lane(count);
        let later = now + Duration::from_secs(1);
        let (mut guilty, mut tries, mut waves) = (Vec::new(), 0, 0);
        loop {
            let mut sent = Vec::new();
            let mut failed = false;
            tries += 1;
            assert!(tries < 500, "it never ends");
            while !failed && lane.backlog() > 0 {
                let next = wave(&mut lane, later);
                waves += 1;
                let away = outages.contains(&waves);
                let refused = next.iter().any(|record| bad.contains(record));
                let end = come_back(&mut lane, later, &next, |_| {
                    if away {
                        Some(RDKafkaErrorCode::MessageTimedOut)
                    } else {
                        refused.then_some(RDKafkaErrorCode::MessageSizeTooLarge)
                    }
                })
                .unwrap();
                guilty.extend(end.refused.iter().map(|(ticket, ..)| ticket.record));
                failed = end.failed.is_some();
                sent.extend(next);
            }
            if !failed {
                lane.forget();
                return (sent, guilty, tries);
            }
            lane.rewind(|ticket| guilty.contains(&ticket.record));
        }
    }

    #[test]
    fn a_guilty_record_is_found_in_a_transaction_by_halving() {
        let (sent, guilty, tries) = transact(10, &[6], &[]);
        assert_eq!(guilty, [6]);
        assert_eq!(sent, [0, 1, 2, 3, 4, 5, 7, 8, 9]);
        assert!(tries <= 6, "{tries}");
    }

    proptest! {
        /// Whatever is refused and whenever the broker is away: each guilty record is found once, and all others count, in order.
        #[test]
        fn a_transaction_ends_with_everything_but_the_guilty_records(
            count in 1..60u32,
            bad in proptest::collection::btree_set(0..60u32, 0..6),
            outages in proptest::collection::vec(1..60usize, 0..6),
        ) {
            let bad: Vec<u32> = bad.into_iter().filter(|it| *it < count).collect();
            let (sent, mut guilty, _) = transact(count, &bad, &outages);
            guilty.sort_unstable();
            prop_assert_eq!(&guilty, &bad);
            let good: Vec<u32> = (0..count).filter(|it| !bad.contains(it)).collect();
            prop_assert_eq!(sent, good);
        }
    }

    proptest! {
        /// Whatever comes back with whatever error: every record is confirmed or refused once, and the confirmed ones in order.
        #[test]
        fn every_record_ends_once_and_order_is_kept(
            sizes in proptest::collection::vec(1..30u32, 1..8),
            faults in proptest::collection::vec(0..6u8, 0..300),
            guilty in proptest::collection::hash_set((0..8u32, 0..30u32), 0..4),
        ) {
            let now = Instant::now();
            let mut lane = Lane::new(0);
            let mut expected = Vec::new();
            for (slot, &size) in sizes.iter().enumerate() {
                expected.extend((0..size).map(|record| (slot as u32, record)));
                let chunk = if slot % 2 == 0 {
                    Chunk::Range { slot: slot as u32, records: 0..size }
                } else {
                    Chunk::List { slot: slot as u32, records: (0..size).collect() }
                };
                lane.push(chunk, size as usize * 10, now);
            }
            let mut faults = faults.into_iter();
            let (mut log, mut refused) = (Vec::new(), Vec::new());
            loop {
                let sent: Vec<Ticket> = lane.next_wave(&LIMITS, now + LIMITS.linger, |_| 10).to_vec();
                if sent.is_empty() { break; }
                let bad = sent.iter().any(|ticket| guilty.contains(&(ticket.slot, ticket.record)));
                let fault = faults.next().unwrap_or(0);
                let mut last = false;
                for ticket in &sent {
                    // A batch is one unit for the broker: it is taken whole, refused whole, or fails whole.
                    let error = match fault {
                        1 => Some(RDKafkaErrorCode::MessageTimedOut),
                        2 => Some(RDKafkaErrorCode::UnknownTopicOrPartition),
                        3 => Some(RDKafkaErrorCode::PurgeQueue),
                        4 if bad && guilty.contains(&(ticket.slot, ticket.record)) => Some(RDKafkaErrorCode::InvalidRecord),
                        4 if bad => Some(RDKafkaErrorCode::InvalidDifferentRecord),
                        _ if bad => Some(RDKafkaErrorCode::MessageSizeTooLarge),
                        _ => None,
                    };
                    if error.is_none() { log.push((ticket.slot, ticket.record)); }
                    last = lane.came_back(*ticket, error);
                }
                prop_assert!(last);
                refused.extend(lane.end_wave(now).refused.iter().map(|(ticket, ..)| (ticket.slot, ticket.record)));
            }
            prop_assert_eq!(lane.backlog(), 0);
            let (kept, gone): (Vec<_>, Vec<_>) = expected.into_iter().partition(|record| !guilty.contains(record));
            prop_assert_eq!(log, kept);
            prop_assert_eq!(refused, gone);
        }
    }
}
