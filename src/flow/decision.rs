//! Who decides that a position is passed, when lines and positions are one transaction.
//!
//! Without transactions a batch is settled when its records are confirmed. With them confirmation is not enough: what was sent counts only
//! when the transaction that it is part of is **committed**; until then it may be **aborted**, and is sent again from memory, or be **in
//! doubt**, when nobody heard how the commit ended.
//!
//! A source gives **marks** along with its records: what is true once they are committed. To the sink they are opaque; it keeps them where
//! the transaction decides about them too, and hands them back at the next start. Each transaction also carries one mark of the sink's own,
//! the [`Stamp`]: who wrote it, and which of the writer's transactions it was. Whoever finds the last stamp can tell how a doubtful
//! transaction ended, and whether somebody else has taken over.
//!
//! Pure: no Kafka, no files.

use super::ledger::EntryId;
use super::tracker::SourceId;

/// What a source wants to be known at its next start. Opaque to whoever keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// A later mark with the same key takes the place of an earlier one.
    pub key: String,
    /// JSON. Absent: the key stands for nothing any more.
    pub value: Option<String>,
}

/// Names one transaction: the instance that wrote it, and its number there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// No two instances have the same one.
    pub writer: String,
    /// Counted from 1 by each writer.
    pub number: u64,
}

/// What the last stamp tells of a transaction whose end nobody heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything in it counts.
    Committed,
    /// Nothing in it counts: its records are sent again.
    Aborted,
    /// Somebody else wrote since: these positions are not ours any more.
    Rival(Stamp),
    /// What was known to be committed is not there any more: positions were lost, and nothing can be told.
    Lost,
}

/// Judges by the stamp that was `found`: `last` is that of the last transaction that is known to be committed (of ours, or found at the
/// start), `attempt` the one in doubt.
///
/// An own stamp that is found means that nobody came between. So a client that was shut out, and finds its own stamp, was shut out by a
/// transaction that ran out of time, not by a rival.
pub fn judge(found: Option<&Stamp>, last: Option<&Stamp>, attempt: Option<&Stamp>) -> Verdict {
    match found {
        Some(found) if Some(found) == attempt => Verdict::Committed,
        found if found == last => Verdict::Aborted,
        Some(found) => Verdict::Rival(found.clone()),
        None => Verdict::Lost,
    }
}

/// What was found where marks are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Of the last committed transaction; absent: there never was one.
    pub stamp: Option<Stamp>,
    /// The newest of each key, without those that stand for nothing any more.
    pub marks: Vec<Mark>,
}

/// A source whose positions are decided by transactions.
///
/// Invariant: what [`Marks::prepare`] gave is known at the next start exactly when the records of the same transaction are.
pub trait Marks: Send {
    /// The source begins where `found` says, and reads nothing before. `writer` is the instance that will write from now on.
    ///
    /// # Errors
    /// Words for the operator when what was found cannot be used: the pipeline stops.
    fn resume(&mut self, found: Found, writer: &str) -> Result<(), String>;

    /// Whether there is something to say though no records are on their way.
    fn is_due(&self) -> bool;

    /// What is true as soon as `entries` are settled, as far as it was not said before.
    fn prepare(&mut self, entries: &[(SourceId, EntryId)]) -> Vec<Mark>;

    /// How the transaction ended that carries what was prepared last.
    fn decided(&mut self, committed: bool);
}

#[cfg(test)]
mod tests;
