//! `logferry produce`: lines become records of a topic.
//!
//! One thread does it all: it waits in one `poll` for lines, for Kafka and for Ctrl-C, and gives what it reads to the daemon's lanes.
//! While more is on its way than may be, nothing is read.
//!
//! Invariant: every line that was read is counted once, as delivered or as undelivered with its reason and its place.

mod args;
mod lines;
mod source;

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

pub(in crate::cli) use self::args::ProduceArgs;
use self::lines::{Got, Lines};
use self::source::Source;
use super::exit::ExitStatus;
use super::kafka::{Refusal, count};
use super::load::host;
use super::{complain, console};
use crate::control::interrupts::{Interrupts, Second};
use crate::daemon::progress;
use crate::kafka::console::parcel::Parcel;
use crate::kafka::console::sender::{Fate, Sender};

/// How many undelivered lines are told one by one.
const TOLD: u64 = 20;

pub(super) fn produce(args: ProduceArgs) -> ExitCode {
    match run(args) {
        Ok(status) => status.into(),
        Err(Refusal { status, text }) => {
            complain(&format!("logferry: {text}"));
            status.into()
        }
    }
}

fn run(args: ProduceArgs) -> Result<ExitStatus, Refusal> {
    let style = args.style()?;
    for file in &args.files {
        // Before anything is sent: that a name is wrong is seldom wanted to be found half-way.
        // A pipe is opened once, by whoever reads it: its writer would take an early look for the end.
        let looked = std::fs::metadata(file).and_then(|meta| {
            if meta.is_file() {
                std::fs::File::open(file).map(drop)
            } else if meta.is_dir() {
                Err(io::ErrorKind::IsADirectory.into())
            } else {
                Ok(())
            }
        });
        if let Err(error) = looked {
            return Err(Refusal::usage(format!("{}: {error}", file.display())));
        }
    }
    let sender = Sender::connect(args.sender()?).map_err(console::refusal)?;
    let internal = |error: io::Error| Refusal {
        status: ExitStatus::Internal,
        text: format!("cannot catch signals: {error}"),
    };
    let interrupts = Interrupts::catch(Second::IsTold).map_err(internal)?;
    let source = Source::new(args.files.clone(), host());
    let bar = if io::stderr().is_terminal() && !source.is_terminal() && !args.quiet && !args.sync {
        source::size(&args.files).map(|size| {
            let bar = progress::bar();
            bar.set_length(size);
            bar
        })
    } else {
        None
    };
    let tally = Tally {
        topic: args.topic.clone(),
        delivered: 0,
        undelivered: 0,
        quiet: args.quiet,
        print: args.sync,
        acks: args.asks_for_acks(),
        printed: Vec::new(),
        bar,
    };
    let producing = Producing {
        prompts: source.is_terminal() && io::stderr().is_terminal() && !args.quiet,
        lines: Lines::new(style),
        source,
        sender,
        interrupts,
        tally,
        one_each: args.sync,
        waiting: std::collections::VecDeque::new(),
        begun: args.files.is_empty(),
        ended: false,
    };
    Ok(producing.run())
}

struct Producing {
    lines: Lines,
    source: Source,
    sender: Sender,
    interrupts: Interrupts,
    tally: Tally,
    /// Each record waits for its predecessor.
    one_each: bool,
    /// Read, and not given to the sender yet.
    waiting: std::collections::VecDeque<Parcel>,
    /// An input is open.
    begun: bool,
    /// Nothing more is read.
    ended: bool,
    /// A person is asked for each line.
    prompts: bool,
}

impl Producing {
    fn run(mut self) -> ExitStatus {
        let (mut prompted, prompts) = (false, self.prompts);
        let stopped = loop {
            let asked = self.interrupts.count();
            if asked > 0 && !self.ended {
                if std::mem::take(&mut prompted) {
                    // Ctrl-C leaves the cursor behind the prompt.
                    complain("");
                }
                self.stop_reading();
            }
            if asked > 1 {
                break Some("interrupted");
            }
            if self.sender.over().is_some() {
                break None;
            }
            self.give();
            if !self.ended && !self.begun {
                self.next_source();
                continue;
            }
            if self.ended && self.waiting.is_empty() && self.sender.is_idle() {
                break None;
            }
            let reads = !self.ended && self.waiting.is_empty() && self.sender.has_room();
            if reads && prompts && !prompted && self.sender.is_idle() {
                prompted = true;
                // A terminal that has gone is noticed when it is read.
                let _ = write!(io::stderr(), "> ");
            }
            if self.wait(reads) {
                self.read();
                if prompted && prompts && !self.begun {
                    // Ctrl-D leaves the cursor behind the prompt.
                    complain("");
                }
                prompted = false;
            }
            let (source, tally) = (&self.source, &mut self.tally);
            self.sender.turn(&mut |fate| tally.count(fate, source));
            if !self.tally.flush() {
                // Whoever read the positions has gone. What was read is delivered, as after Ctrl-C.
                self.stop_reading();
            }
        };
        self.finish(stopped)
    }

    /// What is left is counted, and the count is told.
    fn finish(mut self, stopped: Option<&str>) -> ExitStatus {
        let (source, tally) = (&self.source, &mut self.tally);
        let why = self.sender.over().or(stopped).unwrap_or("not sent");
        let why = why.to_owned();
        if !self.ended && stopped.is_none() {
            tally.note(&format!(
                "{why}; what follows {} was not read",
                source.place_of(self.lines.met())
            ));
        }
        self.sender
            .give_up(&why, &mut |fate| tally.count(fate, source));
        self.lines.flush();
        self.waiting.extend(self.lines.take_ready());
        for parcel in self.waiting {
            for record in 0..parcel.len() {
                let line = parcel.line(record);
                tally.count(Fate::Undelivered { line, why: &why }, source);
            }
        }
        tally.flush();
        let interrupted = stopped.is_some();
        match tally.end() {
            _ if interrupted && self.interrupts.is_terminated() => ExitStatus::Terminated,
            _ if interrupted => ExitStatus::Interrupted,
            0 => ExitStatus::Done,
            _ => ExitStatus::Undelivered,
        }
    }

    /// Gives the sender what it has room for.
    fn give(&mut self) {
        let (source, tally) = (&self.source, &mut self.tally);
        while self.sender.has_room() && (!self.one_each || self.sender.is_idle()) {
            let Some(parcel) = self.waiting.pop_front() else {
                return;
            };
            self.sender
                .send(parcel, &mut |fate| tally.count(fate, source));
        }
    }

    fn next_source(&mut self) {
        match self.source.open_next(self.lines.met()) {
            Some(Ok(place)) => {
                self.lines.begin(place);
                self.begun = true;
            }
            Some(Err(why)) => {
                self.tally.undelivered += 1;
                self.tally.note(&format!("not read: {why}"));
            }
            None => self.ended = true,
        }
    }

    /// Waits until there is something to do. Whether the input can be read.
    fn wait(&mut self, reads: bool) -> bool {
        let sends = !self.waiting.is_empty() && self.one_each && self.sender.is_idle();
        let patience = if sends {
            Duration::ZERO
        } else {
            self.sender.until_due()
        };
        // Rounded up: a wait that ends too early would be a busy one.
        let patience = if patience.is_zero() {
            patience
        } else {
            patience + Duration::from_micros(100)
        };
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let input = self.source.fd();
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.sender.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.interrupts.fd(), PollFlags::IN),
        ];
        if reads {
            fds.push(PollFd::from_borrowed_fd(input, PollFlags::IN));
        }
        // An error of the input itself is told by the read; being interrupted is looked at next.
        poll(&mut fds, Some(&patience)).is_ok()
            && fds.get(2).is_some_and(|fd| !fd.revents().is_empty())
    }

    /// Reads while something is there and it is not enough.
    fn read(&mut self) {
        loop {
            match self.lines.read(self.source.fd()) {
                Ok(Got::Bytes(bytes)) => {
                    self.tally.read(bytes);
                    if !self.lines.is_full() && is_ready(self.source.fd()) {
                        continue;
                    }
                }
                Ok(Got::Nothing) => {}
                Ok(Got::End) => {
                    self.lines.end();
                    self.begun = false;
                }
                Err(error) => {
                    self.lines.end();
                    self.begun = false;
                    self.tally.undelivered += 1;
                    let place = self.source.place_of(self.lines.met().max(1));
                    self.tally
                        .note(&format!("cannot read on after {place}: {error}"));
                }
            }
            break;
        }
        if self.begun && !self.lines.is_full() {
            // Nothing more is there now: what was read does not wait for it.
            self.lines.flush();
        }
        self.waiting.extend(self.lines.take_ready());
        for fault in self.lines.take_faults() {
            let (line, why) = (fault.line, fault.why.as_str());
            self.tally
                .count(Fate::Undelivered { line, why }, &self.source);
        }
    }

    /// Ctrl-C: what was read is delivered; a line whose end was not read is no line.
    fn stop_reading(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.lines.flush();
        self.waiting.extend(self.lines.take_ready());
        if self.lines.has_half_line() {
            let line = self.lines.met() + 1;
            let why = "interrupted before its end was read";
            self.tally
                .count(Fate::Undelivered { line, why }, &self.source);
        }
    }
}

fn is_ready(fd: impl AsFd) -> bool {
    let mut asked = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut asked, Some(&now)), Ok(1..))
}

/// What became of the lines, and who is told.
struct Tally {
    topic: String,
    delivered: u64,
    undelivered: u64,
    quiet: bool,
    /// Positions are printed.
    print: bool,
    /// Somebody confirms.
    acks: bool,
    printed: Vec<u8>,
    bar: Option<ProgressBar>,
}

impl Tally {
    fn count(&mut self, fate: Fate<'_>, source: &Source) {
        match fate {
            Fate::Delivered {
                partition,
                offset,
                timestamp_ms,
                ..
            } => {
                self.delivered += 1;
                if self.print {
                    let known = |number: i64| match number {
                        0.. => number.to_string(),
                        _ => "-".to_owned(),
                    };
                    let (offset, time) = (known(offset), known(timestamp_ms));
                    // Writing into a Vec cannot fail.
                    let _ = writeln!(self.printed, "{partition}\t{offset}\t{time}");
                }
            }
            Fate::Undelivered { line, why } => {
                self.undelivered += 1;
                if self.undelivered <= TOLD {
                    self.note(&format!("{}: not delivered: {why}", source.place_of(line)));
                } else if self.undelivered == TOLD + 1 {
                    self.note("more lines were not delivered; they are counted");
                }
            }
        }
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(&format!("logferry: {text}"))),
            None => complain(&format!("logferry: {text}")),
        }
    }

    fn read(&self, bytes: usize) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes as u64);
        }
    }

    /// Writes the positions. `false` when nobody reads them any more.
    fn flush(&mut self) -> bool {
        if self.printed.is_empty() {
            return true;
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(&self.printed).and_then(|()| out.flush());
        self.printed.clear();
        if written.is_err() {
            self.print = false;
        }
        written.is_ok()
    }

    /// Tells the count; gives how many were not delivered.
    fn end(&mut self) -> u64 {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        let Self {
            topic,
            delivered,
            undelivered,
            ..
        } = &*self;
        let what = if self.acks {
            "delivered"
        } else {
            "sent, unconfirmed"
        };
        let records = count(usize::try_from(*delivered).unwrap_or(usize::MAX), "record");
        if *undelivered > 0 {
            complain(&format!(
                "logferry: {records} {what} to {topic}, {undelivered} NOT delivered"
            ));
        } else if !self.quiet {
            complain(&format!("{records} {what} to {topic}"));
        }
        *undelivered
    }
}
