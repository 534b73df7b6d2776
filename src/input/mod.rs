//! Where records come from.

pub mod file;
pub mod frame;
pub mod stdin;
