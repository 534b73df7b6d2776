//! The commands that an operator has for Kafka itself.
//!
//! To add one: a file here, a variant of the enum that it belongs to, one line in its `match`. `connect` has the flags that say which
//! Kafka is meant.
//!
//! Invariant: a command that changes something says what it changed; one that could not, says so and ends with another code than 0.

pub mod connect;
pub mod groups;
pub mod topics;

use std::process::ExitCode;

use super::exit::ExitStatus;
use super::{complain, print};
use crate::kafka::admin::AdminError;

/// Why a command did nothing, or not all.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub text: String,
}

impl Refusal {
    /// What was asked for does not fit.
    pub fn usage(text: impl Into<String>) -> Self {
        Self {
            status: ExitStatus::Usage,
            text: text.into(),
        }
    }

    /// The configuration has problems.
    pub fn config(text: impl Into<String>) -> Self {
        Self {
            status: ExitStatus::Config,
            text: text.into(),
        }
    }

    /// Nobody answers.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self {
            status: ExitStatus::Unavailable,
            text: text.into(),
        }
    }

    /// Kafka answered, and did not do it.
    pub fn failed(text: impl Into<String>) -> Self {
        Self {
            status: ExitStatus::Undelivered,
            text: text.into(),
        }
    }
}

impl From<AdminError> for Refusal {
    fn from(error: AdminError) -> Self {
        let text = error.to_string();
        match error {
            AdminError::Config(_) => Self::config(text),
            AdminError::Unreachable(_) => Self::unavailable(text),
            AdminError::Failed(_) => Self::failed(text),
        }
    }
}

/// A number, or a dash for one that is not known.
fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

pub(in crate::cli) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Prints what came of a command.
pub fn answer(result: Result<String, Refusal>) -> ExitCode {
    match result {
        Ok(text) => print(text.as_bytes()),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}
