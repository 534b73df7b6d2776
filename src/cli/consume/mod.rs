//! `logferry consume`: records of topics become lines.
//!
//! One thread reads a batch from librdkafka's memory, prints it into one large buffer, and commits for a group what was written.
//!
//! Invariant: of a group, nothing is committed that was not written to standard output.

mod args;
mod format;
mod out;
mod place;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use regex::bytes::Regex;

pub(in crate::cli) use self::args::ConsumeArgs;
use self::args::Print;
use self::out::{Closed, Out};
use super::exit::ExitStatus;
use super::kafka::{Refusal, count};
use super::{complain, console};
use crate::control::interrupts::{Interrupts, Second};
use crate::envelope::consumed::push_record;
use crate::flow::Consumed;
use crate::kafka::console::reader::{Came, Note, Reader, Records};
use crate::kafka::native::keep_what_is_freed;

/// How often it is looked for an interrupt and the time while records come.
const LOOK: Duration = Duration::from_millis(50);

pub(super) fn consume(args: &ConsumeArgs) -> ExitCode {
    match run(args) {
        Ok(status) => status.into(),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

fn run(args: &ConsumeArgs) -> Result<ExitStatus, Refusal> {
    let deadline = args.duration.map(|duration| Instant::now() + duration);
    keep_what_is_freed();
    let reader = Reader::start(args.reader()?).map_err(console::refusal)?;
    let interrupts = Interrupts::catch(Second::Ends).map_err(|error| Refusal {
        status: ExitStatus::Internal,
        text: format!("cannot catch signals: {error}"),
    })?;
    let watched = io::stderr().is_terminal() && !io::stdout().is_terminal() && !args.verbose;
    let bar = watched.then(|| bar(&reader));
    let mut consuming = Consuming {
        reader,
        interrupts,
        out: Out::new(),
        print: args.print(),
        grep: args.grep.clone(),
        left: args.count.unwrap_or(u64::MAX),
        in_group: args.group.is_some(),
        verbose: args.verbose,
        printed: 0,
        bar,
    };
    let end = consuming.run(deadline);
    let flushed = consuming.out.flush();
    // Also when the reader has gone: what is not written is not known as printed, and other members need not wait for this one.
    consuming.reader.leave();
    consuming.tell();
    if let Some(bar) = consuming.bar.take() {
        bar.finish_and_clear();
    }
    if args.verbose {
        let printed = usize::try_from(consuming.printed).unwrap_or(usize::MAX);
        complain(&count(printed, "record"));
    }
    match (end, flushed) {
        (Err(why), _) | (Ok(()), Err(Closed::Failed(why))) => Err(Refusal::failed(why)),
        (Ok(()), _) => Ok(ExitStatus::Done),
    }
}

/// Counts what is read, of how much there is where that is known.
fn bar(reader: &Reader) -> ProgressBar {
    let total = reader.progress().map(|(_, total)| total);
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{bar:30} {human_pos}/{human_len} records {rate}/s",
        None => "{human_pos} records {rate}/s",
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        // Its own rate has digits behind the point.
        let rate = |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = write!(out, "{}", HumanCount(state.per_sec() as u64));
        };
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}

struct Consuming {
    reader: Reader,
    interrupts: Interrupts,
    out: Out,
    print: Print,
    grep: Option<Regex>,
    /// How many records may still be printed.
    left: u64,
    in_group: bool,
    verbose: bool,
    printed: u64,
    bar: Option<ProgressBar>,
}

impl Consuming {
    /// Until the end that was given, an interrupt, or until nobody reads what is printed.
    fn run(&mut self, deadline: Option<Instant>) -> Result<(), String> {
        let mut looked = Instant::now();
        while self.left > 0 {
            let came = self.reader.more()?;
            let written = match &came {
                Came::End => return Ok(()),
                Came::Records(records) => self.records(records),
                Came::Nothing => self.out.flush(),
            };
            match written {
                Ok(()) => {}
                Err(Closed::Gone) => return Ok(()),
                Err(Closed::Failed(why)) => return Err(why),
            }
            let now = Instant::now();
            let nothing = matches!(came, Came::Nothing);
            if !nothing && now < looked + LOOK {
                continue;
            }
            looked = now;
            self.tell();
            self.reader.commit(false);
            if self.interrupts.count() > 0 || deadline.is_some_and(|deadline| now >= deadline) {
                return Ok(());
            }
            if nothing && self.out.is_gone() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn records(&mut self, records: &Records) -> Result<(), Closed> {
        let (mut at, before) = (0, self.left);
        while at < records.len() && self.left > 0 {
            if self.is_wanted(records, at) {
                self.left -= 1;
                self.one(records, at);
                self.out.spill()?;
            }
            at += 1;
        }
        self.printed += before - self.left;
        if self.in_group {
            // What a pattern left out was read all the same.
            self.out.flush()?;
            self.reader.printed(records, at);
        }
        Ok(())
    }

    fn is_wanted(&self, records: &Records, at: usize) -> bool {
        let Some(grep) = &self.grep else { return true };
        let message = records.message(at);
        let matches = |bytes: Option<&[u8]>| bytes.is_some_and(|bytes| grep.is_match(bytes));
        matches(message.value()) || matches(message.key())
    }

    fn one(&mut self, records: &Records, at: usize) {
        let out = &mut self.out.buffer;
        match &self.print {
            Print::Plain => {
                out.extend_from_slice(records.message(at).value().unwrap_or_default());
                out.push(b'\n');
            }
            Print::Json => {
                push_record(records, at, out);
                out.push(b'\n');
            }
            Print::Format(format) => format.append(records, at, out),
        }
    }

    /// News on standard error.
    fn tell(&mut self) {
        if let Some(bar) = &self.bar {
            match self.reader.progress() {
                // Of a group: partitions come and go.
                Some((done, total)) if bar.length().is_some() => {
                    bar.set_length(total);
                    bar.set_position(done);
                }
                _ => bar.set_position(self.printed),
            }
        }
        for note in self.reader.take_notes() {
            let text = match note {
                Note::Warning(text) => text,
                Note::Detail(text) if self.verbose => text,
                Note::Detail(_) => continue,
            };
            let say = || complain(&format!("logferry: {text}"));
            match &self.bar {
                Some(bar) => bar.suspend(say),
                None => say(),
            }
        }
    }
}
