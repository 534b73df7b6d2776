//! The input `file`.

pub mod facts;
pub mod identity;
pub mod look;
pub mod rotate;
pub mod settings;
