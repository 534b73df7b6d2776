//! How a run ended, in the words of the exit code.

/// How the daemon came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Everything that was read is accounted for.
    Done,
    /// `--once` or a run of standard input ended with lines that were not delivered, or were dropped or set aside.
    Incomplete { undelivered: u64 },
    /// The drain's deadline passed, or something stopped it.
    Overdue { undelivered: u64 },
    /// Another daemon with the same id took over.
    Fenced(String),
    /// data_dir is held by another daemon, or is not ours to write.
    NotPermitted(String),
    /// It did not start, or a part of it failed in a way that no configuration explains.
    Failed(String),
}

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    NotPermitted(String),
    #[error("{0}")]
    Failed(String),
}

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<StartError> for Ending {
    fn from(error: StartError) -> Self {
        match error {
            StartError::NotPermitted(text) => Self::NotPermitted(text),
            StartError::Failed(text) => Self::Failed(text),
        }
    }
}
