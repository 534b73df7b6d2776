//! One file per command.
//!
//! To add a command: a file here, a variant of `Command`, one line in [`main`].
//!
//! Invariant: only this module knows clap, and nothing here exits the process: every command answers with an exit code.

mod check;
mod checkpoints;
mod completions;
mod console;
mod consume;
mod dead_letters;
pub mod exit;
pub mod kafka;
pub mod load;
mod man;
mod outputs;
mod partition_of;
mod probe;
mod produce;
pub mod run;
mod schema;
mod status;
mod summary;
pub mod table;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use exit::ExitStatus;

/// Where the configuration is looked for.
pub const CONFIG: &str = "/etc/logferry/logferry.yaml";

/// Ships log lines from files and standard input into Kafka, and Kafka topics into files.
#[derive(Debug, Parser)]
#[command(
    name = "logferry",
    version,
    disable_help_subcommand = true,
    after_help = exit::HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Run(RunArgs),
    /// Check the configuration and say what would run; nothing is started and nothing is touched
    Check(CheckArgs),
    /// Show what a running daemon is doing
    Status(StatusArgs),
    /// Write lines to a topic
    Produce(Box<produce::ProduceArgs>),
    /// Print records of topics
    Consume(Box<consume::ConsumeArgs>),
    /// Show where each file stands, and change it by hand
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    /// Settle the files of outputs by hand
    #[command(subcommand)]
    Outputs(outputs::OutputsCommand),
    /// Show what was set aside, and send it again
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Show, make and delete topics
    #[command(subcommand)]
    Topics(kafka::topics::TopicsCommand),
    /// Show consumer groups and what they lag behind, and put their offsets elsewhere
    #[command(subcommand)]
    Groups(kafka::groups::GroupsCommand),
    /// Tell which partition each known hash gives a key
    PartitionOf(partition_of::PartitionOfArgs),
    /// Print a JSON Schema of the configuration, for editors
    Schema,
    /// Print the manual page
    Man,
    /// Print completions for a shell
    Completions { shell: clap_complete::Shell },
}

/// `logferry run`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Deliver what is there now, print a summary and exit
    #[arg(long)]
    pub once: bool,
    /// With --once: give up after this time, like 30s or 10m
    #[arg(long, requires = "once", value_name = "TIME", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// `logferry check`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Also look at this host: globs, permissions, certificates (not built yet)
    #[arg(long)]
    pub local: bool,
    /// Also ask the clusters: topics, rights, limits (not built yet)
    #[arg(long)]
    pub live: bool,
}

/// `logferry status`
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// The configuration of the daemon
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    pub config: PathBuf,
    /// Look again every second, until stopped; on a terminal in place
    #[arg(long)]
    pub watch: bool,
    /// As JSON, for programs: what /status gives
    #[arg(long)]
    pub json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::value::parse_duration(text).map_err(|error| match error.hint {
        Some(hint) => format!("{}: {hint}", error.message),
        None => error.message,
    })
}

/// Runs the command that `args` (the program's name first) ask for.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come here too, and go to standard output. A reader that has gone is no error.
            let _ = error.print();
            return if error.use_stderr() {
                ExitStatus::Usage.into()
            } else {
                ExitStatus::Done.into()
            };
        }
    };
    match cli.command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Status(args) => status::status(&args),
        Command::Produce(args) => produce::produce(*args),
        Command::Consume(args) => consume::consume(&args),
        Command::Checkpoints(command) => checkpoints::checkpoints(&command),
        Command::Outputs(command) => outputs::outputs(&command),
        Command::DeadLetters(command) => dead_letters::dead_letters(&command),
        Command::Topics(command) => kafka::topics::topics(&command),
        Command::Groups(command) => kafka::groups::groups(&command),
        Command::PartitionOf(args) => partition_of::partition_of(&args),
        Command::Schema => schema::schema(),
        Command::Man => man::man(),
        Command::Completions { shell } => completions::completions(shell),
    }
}

/// Writes to standard output. That the reader has gone (`logferry man | head`) is no failure.
fn print(text: &[u8]) -> ExitCode {
    use std::io::{ErrorKind, Write};

    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => ExitStatus::Done.into(),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitStatus::Done.into(),
        Err(error) => {
            complain(&format!(
                "logferry: cannot write to standard output: {error}"
            ));
            ExitStatus::Internal.into()
        }
    }
}

/// Writes to standard error. When that is closed, the exit code has to do.
fn complain(text: &str) {
    use std::io::Write;

    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_timeout_needs_once_and_a_unit() {
        let parse = |args: &[&str]| Cli::try_parse_from([&["logferry"], args].concat());
        assert!(parse(&["run", "--timeout", "10m"]).is_err());
        assert!(parse(&["run", "--once", "--timeout", "10"]).is_err());
        let Command::Run(args) = parse(&["run", "--once", "--timeout", "10m"])
            .unwrap()
            .command
        else {
            panic!("run")
        };
        assert_eq!(args.timeout, Some(Duration::from_secs(600)));
        assert_eq!(args.config, PathBuf::from(CONFIG));
    }

    /// The words of a line as a shell takes them: quotes and nothing else.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (at, piece) in line.split('\'').enumerate() {
            if at % 2 == 1 {
                words.push(piece.to_owned());
                continue;
            }
            words.extend(piece.split_whitespace().map(str::to_owned));
        }
        words
    }

    #[test]
    fn every_line_that_the_documents_show_is_understood() {
        let documents = [
            include_str!("../../README.md"),
            include_str!("../../docs/from-kcat.md"),
        ];
        let mut lines = 0;
        for text in documents {
            // As a table has it.
            let text = text.replace("\\|", "|");
            let shown = text.split(['`', '\n', '|', '#']);
            for shown in shown {
                let Some(at) = shown.find("logferry ") else {
                    continue;
                };
                let line = shown[at..].trim();
                let shown = [
                    "produce -",
                    "consume -",
                    "partition-of ",
                    "dead-letters ",
                    "topics ",
                    "groups ",
                    "status -",
                    "checkpoints ",
                    "outputs ",
                ];
                let rest = line.get(9..).unwrap_or_default();
                // Where the command itself is meant, or some of several, a word says nothing to the program.
                let is_line = !rest.contains("...") && rest.split_whitespace().count() > 1;
                if !is_line || !shown.iter().any(|command| rest.starts_with(command)) {
                    continue;
                }
                lines += 1;
                if let Err(error) = Cli::try_parse_from(words(line)) {
                    panic!("{line}: {error}");
                }
            }
        }
        assert!(lines > 60, "{lines}");
    }
}
