//! The input `file`.

pub mod settings;
