//! `logferry run`: the daemon.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use indicatif::ProgressBar;

use super::exit::ExitStatus;
use super::load::{host, load};
use super::{RunArgs, complain, print, summary};
use crate::control::systemd::stderr_is_journal;
use crate::daemon::{self, Ending, Options, progress};
use crate::logging::{self, Format, Level, LogSettings, Place};
use crate::plan::{LogFormat, Plan};

/// Runs the daemon until it is stopped, or with `--once` until everything is delivered.
pub fn run(args: RunArgs) -> ExitCode {
    let (plan, warnings) = match load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitStatus::Config.into();
        }
    };
    let bar = (args.once && io::stderr().is_terminal()).then(progress::bar);
    if let Err(error) = start_log(&plan, bar.clone()) {
        complain(&format!("logferry: {error}"));
        return ExitStatus::Config.into();
    }
    for line in warnings.lines() {
        tracing::warn!("{line}");
    }
    let options = Options {
        host: host(),
        once: args.once.then_some(args.timeout),
        progress: bar,
    };
    let run = daemon::run(&plan, &options);
    if args.once
        && let Some(look) = &run.look
    {
        // A reader that has gone does not change how the run ended.
        let _ = print(summary::of(look).as_bytes());
    }
    status(&run.ending).into()
}

fn start_log(plan: &Plan, bar: Option<ProgressBar>) -> Result<(), logging::LogError> {
    let format = match plan.log.format {
        LogFormat::Auto => Format::Auto,
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let settings = LogSettings {
        level: Level::named(&plan.log.level).unwrap_or_default(),
        format,
    };
    let place = Place::of_stderr(stderr_is_journal());
    let filter = logging::filter_from_environment();
    match bar {
        Some(bar) => logging::init_to(settings, place, filter.as_deref(), Box::new(Around(bar))),
        None => logging::init(settings, place, filter.as_deref()),
    }
}

/// Standard error with a progress bar on it: the bar makes room for each line.
struct Around(ProgressBar);

impl Write for Around {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says why, where that was not said yet, and gives the exit code.
fn status(ending: &Ending) -> ExitStatus {
    match ending {
        Ending::Done => ExitStatus::Done,
        Ending::Incomplete { undelivered: 0 } => {
            tracing::error!(
                "not everything was delivered: the books say what was set aside, dropped or lost, or a line before says what failed"
            );
            ExitStatus::Undelivered
        }
        Ending::Incomplete { undelivered } => {
            tracing::error!(undelivered, "not everything was delivered");
            ExitStatus::Undelivered
        }
        Ending::Overdue { undelivered } => {
            tracing::error!(
                undelivered,
                "stopped before everything was delivered; what is in files is read again at the next start"
            );
            ExitStatus::DrainTimeout
        }
        Ending::Fenced(why) => {
            tracing::error!("{why}");
            ExitStatus::Fenced
        }
        Ending::NotPermitted(why) => {
            tracing::error!("{why}");
            ExitStatus::NoPermission
        }
        Ending::Failed(why) => {
            tracing::error!("{why}");
            ExitStatus::Internal
        }
    }
}
