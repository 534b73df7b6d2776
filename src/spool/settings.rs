//! What a `spool` can be told.

use std::time::Duration;

/// `spool:` of an input that cannot be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSettings {
    pub mode: Mode,
    /// What is not acknowledged may take so much of the disk, in bytes. One batch that is larger passes alone.
    pub max_size: u64,
    pub sync: Sync,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything, before it is sent on.
    #[default]
    Always,
    /// What memory has no room for, because Kafka does not keep up.
    Overflow,
}

/// When what was written is made to survive a power cut. SIGKILL it survives at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Before it is sent on.
    Always,
    Every(Duration),
    /// When the kernel likes.
    Never,
}
