//! The output `file`.

pub mod settings;
