//! What the process answers to whoever started it.

use std::process::ExitCode;

/// The exit codes, as `--help` and the manual list them.
pub(super) const HELP: &str = "\
Exit codes:
    0  done; a daemon that was stopped and delivered everything
    1  lines were left undelivered, dropped or set aside; a command for Kafka could not do it
    2  usage
   69  Kafka, or for status the daemon, cannot be reached
   70  internal error
   75  the time for stopping passed; what was left is counted in the log
   77  no permission, or data_dir is held by another daemon
   78  the configuration has problems
   79  another daemon with the same id took over
  130  forced by a second SIGINT
  143  forced by a second SIGTERM";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done.
    Done,
    /// 1: ended with undelivered, dropped or dead-lettered lines; a command for Kafka could not do it.
    Undelivered,
    /// 2: wrong arguments.
    Usage,
    /// 69: Kafka or, for `status`, the daemon cannot be reached.
    Unavailable,
    /// 70: a fault of logferry.
    Internal,
    /// 75: the drain's deadline passed.
    DrainTimeout,
    /// 77: no permission, or `data_dir` is held.
    NoPermission,
    /// 78: the configuration has problems.
    Config,
    /// 79: fenced by another daemon with the same `id`.
    Fenced,
    /// 130: a second SIGINT.
    Interrupted,
    /// 143: a second SIGTERM.
    Terminated,
}

impl ExitStatus {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Undelivered => 1,
            Self::Usage => 2,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::DrainTimeout => 75,
            Self::NoPermission => 77,
            Self::Config => 78,
            Self::Fenced => 79,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        for status in [
            ExitStatus::Done,
            ExitStatus::Undelivered,
            ExitStatus::Usage,
            ExitStatus::Unavailable,
            ExitStatus::Internal,
            ExitStatus::DrainTimeout,
            ExitStatus::NoPermission,
            ExitStatus::Config,
            ExitStatus::Fenced,
            ExitStatus::Interrupted,
            ExitStatus::Terminated,
        ] {
            let listed = format!("{:>5}  ", status.code());
            assert!(
                HELP.lines().any(|line| line.starts_with(&listed)),
                "{status:?}"
            );
        }
    }
}
