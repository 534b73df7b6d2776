//! `logferry completions SHELL`: completions, made of the command line's own description.

use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::Cli;

pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "logferry", &mut text);
    super::print(&text)
}
