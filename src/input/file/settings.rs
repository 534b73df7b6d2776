//! What a `file` input can be told. Each key is documented where it is obeyed.

/// The keys of `from:` with `type: file`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSettings {
    /// Glob patterns of the files to follow; `**` crosses folders. Absolute.
    pub paths: Vec<String>,
    /// Glob patterns of files to leave alone; a pattern without `/` is matched against the file's name.
    pub exclude: Vec<String>,
    /// Where the files that exist at this input's very first start begin. Files born later are read whole.
    pub start_at: StartAt,
    /// How growth and new files are noticed.
    pub watch: Watch,
    /// What becomes of a line longer than this.
    pub max_line: MaxLine,
}

/// Where a file that exists at the input's very first start is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    #[default]
    Beginning,
    End,
}

/// How growth and new files are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Watch {
    /// inotify as a hint, the sweep as authority.
    #[default]
    Auto,
    /// The sweep alone.
    Poll,
}

/// The longest line, in bytes without its line end, and what is done with a longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxLine {
    pub size: u64,
    pub policy: LongLine,
}

/// What is done with a line longer than `max_line.size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LongLine {
    /// It becomes several records of `size` bytes, the last one shorter.
    #[default]
    Split,
}
