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

mod examples;
mod harness;
mod layers;
mod systemd;
