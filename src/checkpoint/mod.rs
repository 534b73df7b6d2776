//! Where inputs resume.

pub mod entry;
