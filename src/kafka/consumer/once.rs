//! `once`: when a consumer has read what there was.
//!
//! The ends of its partitions are asked for when nothing more will come into them from here; then it reads up to them. An assignment that
//! changes meanwhile begins this anew.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::session::{PROBED, Session, bare, ends, names};
use super::trouble::refused_by;
use super::{End, TICK, Worker};
use crate::kafka::commit::Key;
use crate::kafka::native::Boundary;

/// `once`: how long a member without partitions waits for some.
const NOTHING: Duration = Duration::from_secs(20);
/// The same when not even the group has answered: a dead member can hold up a rebalance for its session's time.
const NO_GROUP: Duration = Duration::from_secs(60);

/// What `once` waits for.
#[derive(Default)]
pub(super) struct Once {
    since: Option<Instant>,
    /// The assignment that the ends belong to.
    version: u64,
    asked: Option<Instant>,
    /// Since when the group takes no offsets.
    refused: Option<Instant>,
    ends: Option<BTreeMap<Key, i64>>,
    /// Everything was read and passed on, to be made durable.
    pub flushed: bool,
}

impl Worker {
    /// `once`: whether everything is done.
    pub(super) fn is_done(&mut self, session: &mut Session, now: Instant) -> Option<End> {
        let until_end = self.consumer.until_end.as_ref()?;
        if !until_end.load(Ordering::Acquire) {
            return None;
        }
        let since = *session.once.since.get_or_insert(now);
        if let Some(why) = self.is_refused_for_long(session, now) {
            return Some(End::GivenUp(why));
        }
        if !session.jobs.is_empty() {
            return None;
        }
        if self.assignment.is_empty() {
            return self.is_given_nothing(session, now - since);
        }
        if session.once.version != self.assignment.version {
            session.once = Once {
                since: Some(since),
                version: self.assignment.version,
                ..Once::default()
            };
        }
        let Some(ends) = &session.once.ends else {
            self.ask_ends(session, now);
            return None;
        };
        let mut behind = Vec::new();
        for (topic, partition, held) in self.assignment.iter() {
            let key = (topic.clone(), partition);
            if ends.get(&key).is_some_and(|end| held.read_to() < *end) {
                behind.push(key);
            }
        }
        let read = behind.is_empty();
        // Transaction markers are not given out, but counted.
        for place in session.member.positions(&bare(&behind)) {
            let held = self.assignment.held(&place.topic, place.partition);
            if let (Some(held), Some(position)) = (held, place.offset) {
                held.empty_to = held.empty_to.max(position);
            }
        }
        if !read || self.pending.is_some() {
            return None;
        }
        if !session.once.flushed {
            session.once.flushed = true;
            self.flush = true;
            self.pass_on();
        }
        let settled = self.consumer.tracker.all_open_entries() == 0
            && self.deciding.as_ref().is_none_or(|it| it.is_idle());
        (settled && session.commits.is_idle()).then_some(End::CaughtUp)
    }

    /// Why nothing can be committed, when that has stood for long enough.
    fn is_refused_for_long(&self, session: &mut Session, now: Instant) -> Option<String> {
        if !session.commits.is_refused() {
            session.once.refused = None;
            return None;
        }
        let since = *session.once.refused.get_or_insert(now);
        (now - since > NOTHING).then(|| refused_by(&self.consumer.settings.group))
    }

    fn is_given_nothing(&self, session: &Session, waited: Duration) -> Option<End> {
        let error = self.consumer.state.status().last_error;
        let known = session.joined || error.is_some();
        let enough = if known { NOTHING } else { NO_GROUP };
        (session.connected && waited > enough).then(|| {
            if let Some(roster) = &session.roster {
                return End::NothingAssigned(format!(
                    "there is none of the partitions that are named: {}",
                    names(&roster.named())
                ));
            }
            let why = error.unwrap_or_else(|| {
                if session.joined {
                    "the topics do not exist, or other members of the group have all partitions"
                        .to_owned()
                } else {
                    "the group did not answer".to_owned()
                }
            });
            End::NothingAssigned(format!(
                "group {} gave no partition of {} to this member: {why}",
                self.consumer.settings.group,
                self.consumer.settings.topics.join(", ")
            ))
        })
    }

    fn ask_ends(&mut self, session: &mut Session, now: Instant) {
        if session.once.asked.is_some_and(|asked| now - asked < TICK) {
            return;
        }
        session.once.asked = Some(now);
        let partitions = bare(&self.assignment.keys());
        match session.member.bounds(&partitions, Boundary::End, PROBED) {
            Ok(partitions) => session.once.ends = ends(&partitions),
            Err((_, text)) => {
                tracing::debug!(output = %self.consumer.name, "the ends are asked for again: {text}");
            }
        }
    }
}
