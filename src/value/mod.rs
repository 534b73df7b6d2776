//! Durations, sizes and secrets as types.

mod secret;

pub use secret::Secret;
