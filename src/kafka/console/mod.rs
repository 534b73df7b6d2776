//! What the console commands do with Kafka: records that somebody names go into one topic, records of some topics come out, once.
//!
//! [`sender`] sends [`parcel`]s through the daemon's lanes and says of each record what became of it; [`reader`] reads from one place of
//! each partition to another, [`member`] as a member of a group. All run on the thread of whoever calls them. [`reach`] tells in a few
//! seconds why nobody answers.

pub mod member;
pub mod parcel;
pub mod places;
pub mod reach;
pub mod reader;
pub mod sender;
