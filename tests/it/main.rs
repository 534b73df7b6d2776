//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on fails by panicking"
)]

#[allow(
    dead_code,
    reason = "a test takes what it needs; benches/end_to_end takes the rest"
)]
mod support;

mod admin;
mod bad_input;
mod checkpoints;
mod cluster;
mod consume;
mod dead_letters;
mod discovery;
mod durable_order;
mod exactly_once;
mod examples;
mod fairness;
mod file_to_kafka;
mod files_exactly_once;
mod from_kcat;
mod groups;
mod harness;
mod kafka_to_file;
mod layers;
mod listeners;
mod logrotate;
mod missing_topics;
mod named_partitions;
mod once;
mod outage;
mod packaging;
mod packed;
mod partitioners;
mod positions;
mod produce;
mod readme;
mod refused;
mod routing;
mod security;
mod shapes;
mod soak;
mod spool;
mod status;
mod stdin;
mod syslog;
mod systemd;
mod terminal;
mod topics;
mod topics_change;
