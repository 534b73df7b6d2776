//! `logferry run`: the daemon.

use std::process::ExitCode;

use super::RunArgs;
use super::complain;
use super::exit::ExitStatus;
use super::load::load;

/// Runs the daemon until it is stopped, or with `--once` until everything is delivered.
pub fn run(args: RunArgs) -> ExitCode {
    match load(&args.config) {
        Ok(_) => {
            complain("logferry: not wired");
            ExitStatus::Internal.into()
        }
        Err(errors) => {
            complain(&errors.to_string());
            ExitStatus::Config.into()
        }
    }
}
