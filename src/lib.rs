//! logferry ships log lines from files and standard input into Kafka, and Kafka topics into files.

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod dead_letter;
pub mod disk;
pub mod envelope;
pub mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod input;
pub mod kafka;
pub mod logging;
pub mod metrics;
pub mod output;
pub mod plan;
pub mod spool;
pub mod template;
pub mod value;
pub mod yaml;
