//! Where consumed records go. No Kafka here: records come through a pipe, and their receipts are settled when they are durable.
//!
//! An output is a folder here with a `run` of its own that takes a [`crate::flow::Receiver`] of [`crate::flow::Fetched`], and a line in
//! this list. What they share: [`codec`] makes bytes of a record, [`books`] counts what became of them.

pub mod books;
pub mod codec;
pub mod file;

pub use books::{OutputBooks, OutputEntries};
