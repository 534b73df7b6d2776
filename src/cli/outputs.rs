//! `logferry outputs repair`: settles what an output with `delivery: exactly_once` left at the ends of its files.
//!
//! For a member of a group that never comes back, whose disk is at hand, and on the way from `exactly_once` to `at_least_once`. Kafka knows how
//! long each file is; what stands behind was never committed, and was written by somebody else since.
//!
//! Invariant: without `--execute` nothing is changed, on disk or in Kafka.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::checkpoints::{Refusal, check_owner, plan, refused};
use super::exit::ExitStatus;
use super::table::{Align, Table};
use super::{CONFIG, complain, print};
use crate::checkpoint::Store;
use crate::disk::{Disk, RealDisk};
use crate::flow::Found;
use crate::kafka::consumer::Standing;
use crate::kafka::settings::{Brokers, ExactlyOnce};
use crate::output::file::confined::ConfinedDisk;
use crate::output::file::folder::{self, FolderError};
use crate::output::file::journal::Journal;
use crate::output::file::repair::{Repairing, repair};
use crate::output::file::resume::{NotResumed, lengths};
use crate::output::file::{journal_path, now};
use crate::plan::{OutputPlan, Plan};
use crate::template::PathTemplate;

/// How long Kafka is waited for: a transaction of the member that is gone may have to end first.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the one transaction that is made here.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `logferry outputs`
#[derive(Debug, Subcommand)]
pub enum OutputsCommand {
    /// Settle the ends of files that were written exactly once, and give them their names
    Repair(RepairArgs),
}

/// `logferry outputs repair`
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// The output
    #[arg(value_name = "NAME")]
    output: String,
    /// Kafka knows nothing of the files any more: take them as they are
    #[arg(long)]
    forget: bool,
    /// Do it; without this, what would be done is shown
    #[arg(long)]
    execute: bool,
}

pub(super) fn outputs(command: &OutputsCommand) -> ExitCode {
    let OutputsCommand::Repair(args) = command;
    match run(args) {
        Ok(text) => print(text.as_bytes()),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

fn run(args: &RepairArgs) -> Result<String, Refusal> {
    let plan = plan(&args.config)?;
    let Some(output) = plan.outputs.iter().find(|it| it.name == args.output) else {
        return Err(Refusal::usage(format!(
            "there is no output {} in {}",
            args.output,
            args.config.display()
        )));
    };
    let template =
        PathTemplate::parse(&output.to.path).map_err(|error| Refusal::usage(error.to_string()))?;
    let literal = Path::new(template.literal_folder());
    let files: Arc<dyn Disk> = Arc::new(ConfinedDisk::new(literal));
    if !args.execute {
        return show(args, &plan, output, &*files, literal);
    }
    check_owner(&plan.data_dir, "nothing was changed")?;
    // Held until the end: a daemon that runs has it.
    let (_store, _) = Store::open(Arc::new(RealDisk), &plan.data_dir).map_err(refused)?;
    let held = folder::find(&*files, literal, &output.name).map_err(not_found)?;
    let standing = standing(&plan, output, &held.name);
    let taken = match args.forget {
        true => None,
        false => Some(standing.take_over(PATIENCE).map_err(unavailable)?),
    };
    let path = journal_path(&plan.data_dir, &output.name);
    let now = now();
    let mut journal = Journal::open(Arc::new(RealDisk), &path, &now).map_err(internal)?;
    let repairing = Repairing {
        files: &*files,
        folder: literal,
        sync_bytes: output.to.sync.bytes,
        suffix: output.to.suffix(),
        now: &now,
    };
    let found = taken.as_ref().map(|(_, found)| found);
    let repaired = repair(&repairing, &mut journal, found).map_err(|error| match error {
        NotResumed::Refused(why) => Refusal::usage(why),
        NotResumed::Trouble(trouble) => internal(trouble),
    })?;
    if let Some((settlement, found)) = taken {
        settlement.clear(&found).map_err(unavailable)?;
    }
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("BYTES", Align::Right),
        ("IS NOW", Align::Left),
    ]);
    for (part, name, len) in &repaired.finished {
        let shown = [part.display(), name.display()].map(|path| path.to_string());
        let [part, name] = shown;
        table.push([part, len.to_string(), name]);
    }
    let findings = repaired.findings;
    Ok(format!(
        "{}done; cut {} bytes that were not committed, moved {} tails aside\n",
        table.show(),
        findings.cut_bytes,
        findings.moved_tails
    ))
}

/// What would be done.
fn show(
    args: &RepairArgs,
    plan: &Plan,
    output: &OutputPlan,
    files: &dyn Disk,
    literal: &Path,
) -> Result<String, Refusal> {
    let name = folder::look(files, literal, &output.name).map_err(not_found)?;
    let found = match args.forget {
        true => Found::default(),
        false => standing(plan, output, &name)
            .look(PATIENCE)
            .map_err(unavailable)?,
    };
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("COMMITTED", Align::Right),
        ("SIZE", Align::Right),
    ]);
    let lengths = lengths(literal, &found).map_err(Refusal::usage)?;
    for (path, len) in lengths {
        let size = files.metadata(&path);
        let size = size.map_or_else(|_| "not found".to_owned(), |meta| meta.len.to_string());
        table.push([path.display().to_string(), len.to_string(), size]);
    }
    Ok(format!(
        "{}nothing was changed; stop the daemon that has this folder, and add --execute to cut files to what is committed and give them their \
         names\n",
        table.show()
    ))
}

fn standing(plan: &Plan, output: &OutputPlan, name: &folder::FolderName) -> Standing {
    let bootstrap = match &output.from.cluster.brokers {
        Brokers::Addresses(addresses) => addresses.join(","),
        Brokers::Embedded => String::new(),
    };
    let of = ExactlyOnce {
        id: name.id.clone(),
        pipeline: name.pipeline.clone(),
        commit: output.to.sync.every,
        timeout: TIMEOUT,
    };
    Standing::new(&output.from.cluster, &bootstrap, &plan.id, &of)
}

fn not_found(error: FolderError) -> Refusal {
    Refusal {
        status: match error {
            FolderError::Locked { .. } => ExitStatus::NoPermission,
            _ => ExitStatus::Usage,
        },
        text: error.to_string(),
    }
}

fn unavailable(why: String) -> Refusal {
    Refusal {
        status: ExitStatus::Unavailable,
        text: why,
    }
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal {
        status: ExitStatus::Internal,
        text: error.to_string(),
    }
}
