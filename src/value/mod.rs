//! Durations, sizes, percentages, time zones and secrets as types, and how they are written.
//!
//! Invariant: nothing here prints a secret, and nothing here guesses a unit.

mod duration;
mod percent;
mod secret;
mod size;
mod zone;

pub use duration::{parse_duration, show_duration};
pub use percent::{Percent, parse_percent, show_percent};
pub use secret::{Secret, SecretError, SecretSource};
pub use size::{parse_size, show_size};
pub use zone::{zone, zones};

/// A text that is not a duration, a size or a percentage, and how it should have been written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ValueError {
    pub message: String,
    pub hint: Option<String>,
}

impl ValueError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}
