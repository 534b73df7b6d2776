//! What joins a source to a sink. No I/O, no Kafka, no files.
//!
//! A **source** fills a [`Batch`] and opens an entry in its [`Tracker`] for what the batch covers. The batch travels through a
//! [`mod@pipe`] to a **sink**. When everything in the batch is accounted for, the sink settles the batch's [`Receipt`]; the tracker's
//! [`Ledger`]s turn settlements that come in any order into one in-order position per source, and that position is what gets saved.
//! Both directions use it: a file's position on the way into Kafka, a partition's offset on the way out.
//!
//! Reading order: `batch`, `pack`, `receipt`, `ledger`, `tracker`, `decision`, `proposal`, then what makes a source wait (`budget`, `pipe`, `bell`) and what ends it (`stop`).

pub mod arena;
pub mod backoff;
pub mod batch;
pub mod bell;
pub mod books;
pub mod budget;
mod call;
pub mod decision;
pub mod durable;
pub mod fetched;
pub mod ledger;
mod pack;
pub mod pipe;
pub mod proposal;
pub mod receipt;
pub mod seldom;
pub mod stop;
pub mod tracker;

pub use arena::{Arena, Arenas};
pub use backoff::Backoff;
pub use batch::{Batch, Extras, Origin, Record, Run, Span};
pub use bell::{Bell, Peal, Ring};
pub use books::{Books, Count, Entries};
pub use budget::{Budget, Charge, Share};
pub use call::{Call, Listener};
pub use decision::{Found, Mark, Marks, Stamp, Verdict, judge};
pub use durable::{Begin, Committed, Durable, Place, Reason, Start};
pub use fetched::{Consumed, Fetched, RecordView, TimestampKind};
pub use ledger::{EntryId, Ledger};
pub use pipe::{Received, Receiver, Sender, TrySend, pipe};
pub use proposal::{Beginning, Decider, Heard, Proposal, Proposer, proposals};
pub use receipt::{Outcome, Receipt, Settle};
pub use seldom::Seldom;
pub use stop::Stop;
pub use tracker::{SourceId, Tracker};
