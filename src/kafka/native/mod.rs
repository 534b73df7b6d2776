//! Where rdkafka's own interface ends: queues that wake, events, batches without copies. Every `unsafe` of Kafka is here.
//!
//! What is given out is safe: memory that librdkafka points into is owned by these types until the delivery report (or the end of the
//! client) says that nobody points into it any more.

#![allow(unsafe_code)]

mod admin;
mod certificate;
mod client;
mod consume;
mod courier;
mod elaborate;
mod event;
mod group;
mod groups;
mod memory;
mod offsets;
mod produce;
mod topics;
mod transaction;

pub use admin::{Answer, ConfigSource, ConfigValue, GroupListing, MemberListing};
pub use client::{Kind, Native, QueueBell};
pub use consume::{Message, MessageBatch};
pub use courier::{Courier, Report};
pub use event::{Event, EventKind};
pub use group::Member;
pub use groups::{NativeGroup, NativeMember};
pub use memory::{give_back_what_is_free, keep_what_is_freed};
pub use offsets::{Boundary, PartitionOffset};
pub use produce::{Delivery, Flight, MOST_RECORDS, Ticket, Topic};
pub use topics::NewTopic;
pub use transaction::{Membership, TransactionError};
