//! How a consumer ends: what was taken becomes durable and is committed, the group is told, the client is closed. Each with a deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decide::{self, GivenUp};
use super::session::{Session, bare};
use super::{End, QUICK, Report, Worker};
use crate::kafka::commit::Key;
use crate::kafka::native::{EventKind, Native};
use crate::kafka::rebalance::{Job, Why};

/// How long the last commit may take, and how long leaving the group may take.
const LAST: Duration = Duration::from_secs(5);
/// The same after a hard stop.
const LAST_HARD: Duration = Duration::from_millis(300);
/// How long a cluster that does not answer is given to be left.
const UNREACHED: Duration = Duration::from_millis(300);
/// How long the output is waited for to free the last messages.
const FREED: Duration = Duration::from_secs(1);
/// How long settlements are waited for when the output has given some records up: those behind them never come.
const GIVEN_UP: Duration = Duration::from_secs(2);

impl Worker {
    /// Ends with `session`.
    pub(super) fn leave(mut self, mut session: Session, end: End) -> Report {
        // What was not sent was not read.
        self.pending = None;
        // The output makes everything durable and settles it when it sees the end of the pipe.
        self.pipe = None;
        if !matches!(end, End::OutputGone | End::GivenUp(_)) {
            self.drain(&mut session);
        }
        let committed = self.last_commit(&mut session);
        self.deciding.take().into_iter().for_each(|it| it.leave());
        let left = self.close(&mut session);
        let Session {
            member, connected, ..
        } = session;
        let native = member.native().clone();
        let until = Instant::now()
            + if self.consumer.stop.is_hard() {
                LAST_HARD
            } else {
                FREED
            };
        // The member itself and `native`.
        while Arc::strong_count(&native) > 2 && Instant::now() < until {
            self.consumer.bell.wait(QUICK.min(FREED));
        }
        let mut leaked = false;
        if left && connected && Arc::strong_count(&native) == 2 {
            drop(member);
            drop(native);
        } else {
            // Destroying it now could wait for the network, or for whoever still holds messages of it.
            tracing::info!(output = %self.consumer.name, "the Kafka client is left behind without being closed: the cluster is away, or the output still holds records of it");
            std::mem::forget(member);
            std::mem::forget(native);
            leaked = true;
        }
        leaked |= self.leave_graves();
        self.consumer.state.change(|status| {
            status.connected = false;
            status.partitions.clear();
            status.absent.clear();
            status.refused = None;
        });
        Report {
            end,
            committed,
            left,
            leaked,
        }
    }

    /// Ends while there is no client.
    pub(super) fn end_without_client(mut self, end: End) -> Report {
        self.pending = None;
        self.pipe = None;
        self.deciding.take().into_iter().for_each(|it| it.leave());
        Report {
            end,
            committed: self.consumer.tracker.all_open_entries() == 0 && self.assignment.is_empty(),
            left: true,
            leaked: self.leave_graves(),
        }
    }

    /// Gives a client up that cannot be used any more. Its partitions are lost; what is on its way to the disk is waited for when they
    /// come back.
    pub(super) fn lose(&mut self, mut session: Session) {
        let keys = self.assignment.keys();
        self.let_go(&keys);
        for key in &keys {
            self.forget(key);
        }
        self.void();
        session.jobs.clear();
        if session.member.native().fatal_error().is_none() {
            self.close(&mut session);
        }
        self.consumer.state.change(|status| {
            status.connected = false;
            status.joined = false;
            status.partitions.clear();
            status.absent.clear();
            status.refused = None;
        });
        let Session { member, .. } = session;
        self.graves.push(member.native().clone());
        drop(member);
    }

    /// Waits until everything that the output has is settled.
    fn drain(&mut self, session: &mut Session) {
        let tracker = self.consumer.tracker.clone();
        let mut given_up: Option<Instant> = None;
        let since = Instant::now();
        while tracker.all_open_entries() > 0 && !self.consumer.stop.is_hard() {
            self.serve(session);
            if let Err(GivenUp(why)) = self.bring_to_decision(session) {
                tracing::error!(output = %self.consumer.name, "{why}");
                return;
            }
            // What is not decided is cut, or counted, at the next start.
            if self.deciding.is_some() && since.elapsed() > decide::LAST {
                return;
            }
            // Partitions that would come are not begun any more.
            if matches!(session.jobs.front(), Some(Job::Give(_))) {
                self.do_jobs(session);
            }
            self.commit(session);
            if tracker.abandoned() > self.abandoned {
                let since = *given_up.get_or_insert_with(Instant::now);
                if since.elapsed() > GIVEN_UP {
                    return;
                }
            }
            self.consumer.bell.wait(QUICK);
        }
    }

    /// Commits what is settled. `true` when nothing is left.
    fn last_commit(&mut self, session: &mut Session) -> bool {
        let patience = match (session.connected, self.consumer.stop.is_hard()) {
            (false, _) => Duration::ZERO,
            (true, false) => LAST,
            (true, true) => LAST_HARD,
        };
        let until = Instant::now() + patience;
        loop {
            self.serve(session);
            self.commit(session);
            if session.commits.is_idle() {
                return true;
            }
            let now = Instant::now();
            if now >= until {
                tracing::warn!(output = %self.consumer.name, group = %self.consumer.settings.group, "the last offsets could not be committed; the output's journal knows them at the next start");
                return false;
            }
            self.consumer.bell.wait(QUICK.min(until - now));
        }
    }

    /// Leaves the group. `true` when that is done.
    fn close(&mut self, session: &mut Session) -> bool {
        // The group waits for an answer to each of these before anything else.
        for job in std::mem::take(&mut session.jobs) {
            match job {
                Job::Take(take) if take.out_of_range.is_some() => {}
                Job::Give(give) if give.why == Why::OutOfRange => {}
                Job::Take(_) => self.answer(session.member.assign(&[])),
                Job::Give(give) => {
                    self.give_back(session, &give.keys);
                }
            }
        }
        if let Err(text) = session.member.close() {
            tracing::debug!(output = %self.consumer.name, "{text}");
            return session.member.is_closed();
        }
        let until = Instant::now()
            + match (session.connected, self.consumer.stop.is_hard()) {
                (false, _) => UNREACHED,
                (true, false) => LAST,
                (true, true) => LAST_HARD,
            };
        while !session.member.is_closed() {
            while let Some(event) = session.member.event() {
                if matches!(event.kind(), EventKind::Rebalance(_)) {
                    let keys: Vec<Key> = event
                        .partitions()
                        .iter()
                        .map(|partition| (partition.topic.as_str().into(), partition.partition))
                        .collect();
                    for key in &keys {
                        self.forget(key);
                    }
                    let held = bare(&keys);
                    if session.member.unassign(&held).is_err() {
                        self.answer(session.member.unassign(&[]));
                    }
                }
            }
            let now = Instant::now();
            if now >= until {
                tracing::warn!(output = %self.consumer.name, group = %self.consumer.settings.group, "the group could not be told that this member leaves; it notices after `session.timeout.ms`");
                return session.member.is_closed();
            }
            self.consumer.bell.wait(QUICK.min(until - now));
        }
        true
    }

    /// Clients that somebody still holds messages of are left behind. `true` when there are some.
    fn leave_graves(&mut self) -> bool {
        let mut any = false;
        for client in std::mem::take(&mut self.graves) {
            if Arc::strong_count(&client) > 1 {
                any = true;
                std::mem::forget::<Arc<Native>>(client);
            }
        }
        any
    }
}
