//! `logferry checkpoints`: where each file stands, and how that is changed by hand.
//!
//! | command | does | while a daemon runs |
//! |---|---|---|
//! | `list` | shows what is saved, and the files beside it | works: it reads without the lock |
//! | `reset` | puts positions elsewhere, or forgets them | shows; is refused with `--execute` |
//! | `rename` | gives an input's positions to another name | shows; is refused with `--execute` |
//!
//! Invariant: without `--execute` nothing is changed; with it everything that was shown, or nothing.

mod list;
mod rename;
mod reset;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{ArgGroup, Args, Subcommand};

use super::exit::ExitStatus;
pub(super) use super::kafka::Refusal;
use super::load::load;
use super::{CONFIG, complain, print};
use crate::checkpoint::{DataDirError, Input, Inputs, Store, StoreError, view};
use crate::disk::RealDisk;
use crate::input::file::seek::Target;
use crate::plan::Plan;

/// `logferry checkpoints`
#[derive(Debug, Subcommand)]
pub enum CheckpointsCommand {
    /// Show where each file stands
    List(ListArgs),
    /// Put positions elsewhere, or forget them
    Reset(ResetArgs),
    /// Give the positions of a renamed input to its new name
    Rename(RenameArgs),
}

/// `logferry checkpoints list`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Only this input
    #[arg(long, value_name = "NAME")]
    input: Option<String>,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

/// `logferry checkpoints reset`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["to", "forget"])))]
pub struct ResetArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The input whose positions are meant
    #[arg(long, value_name = "NAME")]
    input: String,
    /// Only this file of the input
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Where to go on: beginning, end, or the byte at which a line begins
    #[arg(long, value_name = "WHERE", value_parser = target)]
    to: Option<Target>,
    /// Forget the positions: without --file the input begins as at its very first start
    #[arg(long)]
    forget: bool,
    /// With --forget: forget the Kafka cluster too, so that the input may begin anew on another one
    #[arg(long, requires = "forget", conflicts_with = "file")]
    cluster: bool,
    /// Do it; without this, what would be done is shown
    #[arg(long)]
    execute: bool,
}

/// `logferry checkpoints rename`
#[derive(Debug, Args)]
pub struct RenameArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The name that has the positions
    #[arg(value_name = "OLD")]
    old: String,
    /// The name that gets them
    #[arg(value_name = "NEW")]
    new: String,
    /// Do it; without this, what would be done is shown
    #[arg(long)]
    execute: bool,
}

fn target(text: &str) -> Result<Target, String> {
    match text {
        "beginning" => Ok(Target::Beginning),
        "end" => Ok(Target::End),
        number => number
            .parse()
            .map(Target::Offset)
            .map_err(|_| "beginning, end or a number of bytes is expected".to_owned()),
    }
}

pub(super) fn checkpoints(command: &CheckpointsCommand) -> ExitCode {
    let result = match command {
        CheckpointsCommand::List(args) => list::list(args),
        CheckpointsCommand::Reset(args) => reset::reset(args),
        CheckpointsCommand::Rename(args) => rename::rename(args),
    };
    match result {
        Ok(text) => print(text.as_bytes()),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

/// The configuration that says where positions are saved.
pub(super) fn plan(config: &Path) -> Result<Plan, Refusal> {
    load(config)
        .map(|(plan, _)| plan)
        .map_err(|errors| Refusal {
            status: ExitStatus::Config,
            text: errors.to_string(),
        })
}

fn is_configured(plan: &Plan, input: &str) -> bool {
    plan.inputs.iter().any(|known| known.name == input)
}

/// What is saved, without the lock.
fn look(dir: &Path) -> Result<Inputs, Refusal> {
    view(&RealDisk, dir).map_err(|error| Refusal {
        status: match error.is_permission() {
            true => ExitStatus::NoPermission,
            false => ExitStatus::Internal,
        },
        text: error.to_string(),
    })
}

/// Shows what `edit` does to the saved positions and, with `execute`, does it.
fn change(
    dir: &Path,
    execute: bool,
    edit: impl Fn(&mut Inputs) -> Result<String, Refusal>,
) -> Result<String, Refusal> {
    let mut inputs = look(dir)?;
    let shown = edit(&mut inputs)?;
    if !execute {
        return Ok(format!(
            "{shown}nothing was changed; stop the daemon and add --execute to do it\n"
        ));
    }
    check_owner(dir, "nothing was changed")?;
    let (mut store, _) = Store::open(Arc::new(RealDisk), dir).map_err(refused)?;
    // Under the lock nobody else changes it any more.
    let mut inputs = store.all().clone();
    let shown = edit(&mut inputs)?;
    store.replace(inputs).map_err(refused)?;
    Ok(format!("{shown}done\n"))
}

pub(super) fn refused(error: StoreError) -> Refusal {
    let status = if error.is_held() || error.is_permission() {
        ExitStatus::NoPermission
    } else {
        ExitStatus::Internal
    };
    let text = match error {
        StoreError::DataDir(DataDirError::Held { dir, pid }) => {
            let pid = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
            format!(
                "data_dir {} is held by a running logferry{pid}, which would save its own positions over these; nothing was changed: \
                 stop it first",
                dir.display()
            )
        }
        other => other.to_string(),
    };
    Refusal { status, text }
}

/// What another user writes into data_dir, the daemon could not read. `undone`: what was not done because of that, as "nothing was sent".
pub(super) fn check_owner(dir: &Path, undone: &str) -> Result<(), Refusal> {
    // Whatever keeps it from being looked at is met, and told, when it is opened.
    let Ok(meta) = std::fs::metadata(dir) else {
        return Ok(());
    };
    let owner = meta.uid();
    if owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Refusal {
        status: ExitStatus::NoPermission,
        text: format!(
            "data_dir {} belongs to user {owner}, who could not read what another user writes there; {undone}: run this as that \
             user, for instance with `sudo -u '#{owner}'`",
            dir.display()
        ),
    })
}

/// The input that has something saved under this name.
fn known<'a>(inputs: &'a Inputs, name: &str) -> Result<&'a Input, Refusal> {
    match inputs.get(name) {
        Some(input) if !is_blank(input) => Ok(input),
        _ => Err(Refusal::usage(format!(
            "nothing is saved for an input {name}{}",
            names(
                inputs
                    .iter()
                    .filter(|(_, input)| !is_blank(input))
                    .map(|(name, _)| name.as_str())
            )
        ))),
    }
}

/// Whether there is nothing to show of it: all that is left is the next key.
fn is_blank(input: &Input) -> bool {
    input.entries.is_empty() && input.cluster.is_none() && input.started.is_none()
}

/// The names to choose from, as the end of a sentence.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!("; there is {}", names.join(", ")),
    }
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Milliseconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Milliseconds since 1970 as RFC 3339 in UTC; absent when no calendar has them.
fn time(ms: i64) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(ms).ok()?;
    Some(at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}
