//! How an output that writes and a consumer that commits decide together, when records and offsets are one transaction.
//!
//! ```text
//!  writer                                    consumer
//!    │ ◄────────── what was found ─────────────│   at the start: files are settled, then it joins the group
//!    │── begun ───────────────────────────────►│
//!    │── proposal: marks, entries ────────────►│   everything in it is durable
//!    │ ◄────────── committed ──────────────────│   receipts are settled
//!    │ ◄────────── void: everything since ─────│   partitions were lost, or are given back undecided
//!    │── voided ──────────────────────────────►│   files are cut, records are read again by whoever has the partitions
//! ```
//!
//! One proposal is open at a time, and the writer does nothing else until it is decided: what it wrote meanwhile would stand behind bytes that
//! may be cut. Void concerns everything that was sent until then, in the pipe, in memory and in the files; the consumer sends nothing more until
//! it is done.
//!
//! Invariant: after [`Decider::void`] nothing of what was sent before is ever proposed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Ring;
use super::decision::{Found, Mark};
use super::ledger::EntryId;
use super::tracker::SourceId;

/// What a writer has made durable, and wants to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Of its transaction's stamp. A proposal that is void is followed by one with a higher number.
    pub number: u64,
    /// What is true when it counts.
    pub marks: Vec<Mark>,
    /// The entries that are settled when it counts; none when only marks are told.
    pub entries: Vec<(SourceId, EntryId)>,
}

/// Where the writer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    /// What is committed.
    pub found: Found,
    /// This instance, for stamps.
    pub writer: String,
}

#[derive(Debug, Default)]
enum State {
    /// Nobody knows yet where to begin.
    #[default]
    Unknown,
    Found(Beginning),
    /// The writer brings its files to what was found.
    Beginning,
    /// Nothing is proposed.
    Idle,
    Proposed(Proposal),
    /// The consumer has the proposal.
    Deciding,
    Committed,
}

#[derive(Debug, Default)]
struct Table {
    state: State,
    void: bool,
    /// The other end is gone, or the writer cannot begin and why.
    proposer_gone: bool,
    decider_gone: bool,
    refused: Option<String>,
}

struct Shared {
    table: Mutex<Table>,
    to_proposer: Arc<dyn Ring>,
    to_decider: Arc<dyn Ring>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end. Dropping it tells the consumer that nothing more is proposed.
pub struct Proposer(Arc<Shared>);

/// The consumer's end. Dropping it tells the writer that nothing more is decided.
pub struct Decider(Arc<Shared>);

/// What the writer hears.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new: there is no proposal, or it is not decided.
    Nothing,
    /// The proposal counts.
    Committed,
    /// Cut everything since the last proposal that counted, then say [`Proposer::voided`].
    Void,
    /// Nobody decides any more.
    Over,
}

/// Both ends. Each is woken by its bell.
pub fn proposals(to_proposer: Arc<dyn Ring>, to_decider: Arc<dyn Ring>) -> (Proposer, Decider) {
    let shared = Arc::new(Shared {
        table: Mutex::default(),
        to_proposer,
        to_decider,
    });
    (Proposer(shared.clone()), Decider(shared))
}

impl Proposer {
    /// Where to begin, as soon as it is known; told once.
    pub fn beginning(&self) -> Option<Beginning> {
        let mut table = self.0.lock();
        match std::mem::replace(&mut table.state, State::Beginning) {
            State::Found(beginning) => Some(beginning),
            other => {
                table.state = other;
                None
            }
        }
    }

    /// The files are what was found.
    pub fn begun(&self) {
        self.0.lock().state = State::Idle;
        self.0.to_decider.ring();
    }

    /// The files cannot be brought to what was found, and trying again does not help; why, for the operator.
    pub fn refuse(&self, why: String) {
        self.0.lock().refused = Some(why);
        self.0.to_decider.ring();
    }

    /// Proposes. Only when nothing is proposed.
    pub fn propose(&self, proposal: Proposal) {
        {
            let mut table = self.0.lock();
            if table.void {
                return;
            }
            table.state = State::Proposed(proposal);
        }
        self.0.to_decider.ring();
    }

    /// What there is to hear now. [`Heard::Committed`] is heard once, [`Heard::Void`] until [`Proposer::voided`].
    pub fn hear(&self) -> Heard {
        let mut table = self.0.lock();
        match table.state {
            // What counts is settled, also when what came after it is void.
            State::Committed => {
                table.state = State::Idle;
                Heard::Committed
            }
            _ if table.void => Heard::Void,
            _ if table.decider_gone => Heard::Over,
            _ => Heard::Nothing,
        }
    }

    /// Everything is cut and forgotten.
    pub fn voided(&self) {
        {
            let mut table = self.0.lock();
            table.void = false;
            table.state = State::Idle;
        }
        self.0.to_decider.ring();
    }
}

impl Drop for Proposer {
    fn drop(&mut self) {
        self.0.lock().proposer_gone = true;
        self.0.to_decider.ring();
    }
}

impl Decider {
    /// Tells the writer where to begin.
    pub fn found(&self, beginning: Beginning) {
        self.0.lock().state = State::Found(beginning);
        self.0.to_proposer.ring();
    }

    /// Whether the writer has begun.
    ///
    /// # Errors
    /// Why it never will.
    pub fn has_begun(&self) -> Result<bool, String> {
        let table = self.0.lock();
        if let Some(why) = &table.refused {
            return Err(why.clone());
        }
        Ok(!matches!(
            table.state,
            State::Unknown | State::Found(_) | State::Beginning
        ))
    }

    /// Whether nobody proposes any more.
    pub fn is_over(&self) -> bool {
        self.0.lock().proposer_gone
    }

    /// The proposal, if there is one; it is this end's until it is committed or void.
    pub fn proposal(&self) -> Option<Proposal> {
        let mut table = self.0.lock();
        match std::mem::replace(&mut table.state, State::Deciding) {
            State::Proposed(proposal) => Some(proposal),
            other => {
                table.state = other;
                None
            }
        }
    }

    /// The proposal that was taken counts.
    pub fn committed(&self) {
        self.0.lock().state = State::Committed;
        self.0.to_proposer.ring();
    }

    /// Nothing of what was sent since the last commit counts. Send nothing before [`Decider::is_void`] is false again.
    pub fn void(&self) {
        self.0.lock().void = true;
        self.0.to_proposer.ring();
    }

    /// Whether the writer has still to cut and forget.
    pub fn is_void(&self) -> bool {
        let table = self.0.lock();
        table.void && !table.proposer_gone
    }
}

impl Drop for Decider {
    fn drop(&mut self) {
        self.0.lock().decider_gone = true;
        self.0.to_proposer.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Bell;
    use std::time::Duration;

    fn ends() -> (Proposer, Decider, Arc<Bell>, Arc<Bell>) {
        let (to_proposer, to_decider) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (proposer, decider) = proposals(to_proposer.clone(), to_decider.clone());
        (proposer, decider, to_proposer, to_decider)
    }

    fn begun() -> (Proposer, Decider, Arc<Bell>, Arc<Bell>) {
        let ends = ends();
        ends.1.found(Beginning {
            found: Found::default(),
            writer: "w".into(),
        });
        ends.0.beginning().unwrap();
        ends.0.begun();
        ends.2.wait(Duration::ZERO);
        ends.3.wait(Duration::ZERO);
        ends
    }

    fn proposal(number: u64) -> Proposal {
        Proposal {
            number,
            marks: Vec::new(),
            entries: Vec::new(),
        }
    }

    #[test]
    fn nothing_begins_before_it_is_found_and_settled() {
        let (proposer, decider, to_proposer, to_decider) = ends();
        assert!(proposer.beginning().is_none());
        assert_eq!(decider.has_begun(), Ok(false));
        decider.found(Beginning {
            found: Found::default(),
            writer: "w".into(),
        });
        assert!(to_proposer.wait(Duration::ZERO));
        assert_eq!(proposer.beginning().unwrap().writer, "w");
        assert!(proposer.beginning().is_none());
        assert_eq!(decider.has_begun(), Ok(false));
        proposer.begun();
        assert!(to_decider.wait(Duration::ZERO));
        assert_eq!(decider.has_begun(), Ok(true));
    }

    #[test]
    fn a_proposal_is_decided_once() {
        let (proposer, decider, to_proposer, to_decider) = begun();
        proposer.propose(proposal(1));
        assert!(to_decider.wait(Duration::ZERO));
        assert_eq!(decider.proposal(), Some(proposal(1)));
        assert_eq!(decider.proposal(), None);
        assert_eq!(proposer.hear(), Heard::Nothing);
        decider.committed();
        assert!(to_proposer.wait(Duration::ZERO));
        assert_eq!(proposer.hear(), Heard::Committed);
        assert_eq!(proposer.hear(), Heard::Nothing);
    }

    #[test]
    fn what_is_void_is_not_proposed_and_not_committed() {
        let (proposer, decider, ..) = begun();
        proposer.propose(proposal(1));
        decider.void();
        proposer.propose(proposal(1));
        assert_eq!(proposer.hear(), Heard::Void);
        assert!(decider.is_void());
        proposer.voided();
        assert!(!decider.is_void());
        assert_eq!(decider.proposal(), None);
        proposer.propose(proposal(2));
        assert_eq!(decider.proposal(), Some(proposal(2)));
    }

    #[test]
    fn what_counts_is_heard_before_what_is_void() {
        let (proposer, decider, ..) = begun();
        proposer.propose(proposal(1));
        decider.proposal().unwrap();
        decider.committed();
        decider.void();
        assert_eq!(proposer.hear(), Heard::Committed);
        assert_eq!(proposer.hear(), Heard::Void);
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let (proposer, decider, ..) = begun();
        drop(decider);
        assert_eq!(proposer.hear(), Heard::Over);
        let (proposer, decider, ..) = begun();
        decider.void();
        drop(proposer);
        assert!(decider.is_over() && !decider.is_void());
    }
}
