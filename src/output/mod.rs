//! Where consumed records go.

pub mod file;
