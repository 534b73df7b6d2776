//! `logferry dead-letters resend`.
//!
//! A pipeline's file is taken from the daemon, its letters are sent topic by topic in their order, and what is confirmed is removed from the
//! taken file, durably, a second later at most. Then the rest is put back. A crash in between repeats what was confirmed in its last second.
//!
//! Letters of an output came from Kafka, and their records still stand there: they are sent only when a topic is named.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Refusal, ResendArgs, plan, refused};
use crate::cli::checkpoints::check_owner;
use crate::cli::complain;
use crate::cli::console::client_id;
use crate::cli::exit::ExitStatus;
use crate::control::interrupts::{Interrupts, Second};
use crate::daemon::progress;
use crate::dead_letter::{Letter, LineKind, Resending, Taken, TakenError, each_line};
use crate::disk::RealDisk;
use crate::flow::Arenas;
use crate::kafka::console::parcel::{Besides, Made, Parcel};
use crate::kafka::console::reach::Unreached;
use crate::kafka::console::sender::{Fate, Sender, SenderSettings};
use crate::kafka::settings::{Brokers, Partitioner, ProducerSettings};
use crate::plan::Plan;
use crate::template::{Part, Template};

/// How often what is confirmed is removed.
const REMOVE: Duration = Duration::from_secs(1);
/// How many letters that stay are told one by one.
const TOLD: u64 = 20;

pub(super) fn resend(args: &ResendArgs) -> Result<ExitStatus, Refusal> {
    let plan = plan(&args.config)?;
    check_owner(&plan.data_dir, "nothing was sent")?;
    let Some(resending) =
        Resending::begin(Arc::new(RealDisk), &plan.data_dir).map_err(|error| taken(&error))?
    else {
        complain("nothing is set aside");
        return Ok(ExitStatus::Done);
    };
    let interrupts = Interrupts::catch(Second::IsTold).map_err(|error| Refusal {
        status: ExitStatus::Internal,
        text: format!("cannot catch signals: {error}"),
    })?;
    let bar = (io::stderr().is_terminal() && !args.quiet).then(progress::bar);
    let mut resend = Resend {
        args,
        plan: &plan,
        interrupts,
        bar,
        delivered: 0,
        stay: 0,
        unreached: None,
    };
    for home in resending.homes().map_err(|error| taken(&error))? {
        if resend.is_over() {
            break;
        }
        let Some(mut file) = resending.take(home).map_err(|error| taken(&error))? else {
            continue;
        };
        let sent = resend.file(&mut file);
        // Whatever happened: the daemon gets back what is left.
        file.put_back().map_err(|error| taken(&error))?;
        sent.map_err(|error| taken(&error))?;
    }
    Ok(resend.end())
}

struct Resend<'a> {
    args: &'a ResendArgs,
    plan: &'a Plan,
    interrupts: Interrupts,
    bar: Option<ProgressBar>,
    delivered: u64,
    /// How many of those that were meant stay.
    stay: u64,
    unreached: Option<String>,
}

/// Where letters go together: cluster and topic with everything else that a producer has.
struct Way {
    producer: ProducerSettings,
    partitioner: Partitioner,
    topic: String,
    /// Where the letters stand, in order: offset and length.
    lines: Vec<(u64, usize)>,
}

impl Resend<'_> {
    fn is_over(&mut self) -> bool {
        self.unreached.is_some() || self.interrupts.count() > 0
    }

    /// Sends what is meant of one file.
    fn file(&mut self, taken: &mut Taken<'_>) -> Result<(), TakenError> {
        let mut ways: BTreeMap<(String, String), Result<Way, String>> = BTreeMap::new();
        let mut bytes = 0;
        let read = each_line(taken.file(), &mut |offset, line| {
            let LineKind::Letter(letter) = LineKind::of(line) else {
                return ControlFlow::Continue(());
            };
            if !self.args.which.means(&letter) {
                return ControlFlow::Continue(());
            }
            let key = (
                letter.pipeline.clone(),
                self.topic(&letter).unwrap_or_default(),
            );
            let way = ways.entry(key).or_insert_with(|| self.way(&letter));
            match way {
                Ok(way) => {
                    bytes += line.len() as u64;
                    way.lines.push((offset, line.len()));
                }
                Err(why) => {
                    let why = why.clone();
                    self.stays(&letter.place(), &why);
                }
            }
            ControlFlow::Continue(())
        });
        if let Err(source) = read {
            return Err(TakenError::Letters(
                crate::dead_letter::DeadLetterError::Io {
                    doing: "read",
                    path: taken.home().to_path_buf(),
                    source,
                },
            ));
        }
        if let Some(bar) = &self.bar {
            bar.inc_length(bytes);
        }
        for way in ways.into_values().flatten() {
            if self.is_over() {
                self.stay += way.lines.len() as u64;
                continue;
            }
            self.send(&way, taken)?;
        }
        Ok(())
    }

    /// The topic that a letter goes to, if there is one.
    fn topic(&self, letter: &Letter) -> Option<String> {
        if let Some(topic) = &self.args.topic {
            return Some(topic.clone());
        }
        if let Some(topic) = &letter.topic {
            return Some(topic.clone());
        }
        // A line that was too long was set aside before its topic was asked for.
        let input = self
            .plan
            .inputs
            .iter()
            .find(|it| it.name == letter.pipeline)?;
        let template = Template::parse(&input.route.topic, Part::ALL).ok()?;
        template.constant().map(str::to_owned)
    }

    fn way(&self, letter: &Letter) -> Result<Way, String> {
        if letter.is_from_kafka() && self.args.topic.is_none() {
            return Err(
                "it came from Kafka, where it still stands; --topic sends it to another topic"
                    .to_owned(),
            );
        }
        let topic = self
            .topic(letter)
            .ok_or("it has no topic; name one with --topic")?;
        let input = self
            .plan
            .inputs
            .iter()
            .find(|it| it.name == letter.pipeline);
        let output = self
            .plan
            .outputs
            .iter()
            .find(|it| it.name == letter.pipeline);
        let cluster = match &self.args.cluster {
            Some(name) => Some(
                (self.plan.clusters.iter().find(|it| it.name == *name))
                    .ok_or_else(|| format!("the configuration has no cluster {name}"))?,
            ),
            None => output.map(|output| &output.from.cluster),
        };
        let of_input = input.and_then(|input| self.plan.producers.get(input.producer));
        let base = of_input.or(self.plan.producers.first());
        let (cluster, partitioner) = match (cluster, of_input, input) {
            (Some(cluster), _, Some(input)) => (cluster, input.route.partitioner),
            (Some(cluster), ..) => (cluster, Partitioner::default()),
            (None, Some(of_input), Some(input)) => (&of_input.cluster, input.route.partitioner),
            _ => {
                return Err(format!(
                    "{} is not configured any more; say where its letters go with --cluster",
                    letter.pipeline
                ));
            }
        };
        if cluster.brokers == Brokers::Embedded {
            return Err(format!(
                "the cluster {} is `embedded`: nobody but the daemon reaches it",
                cluster.name
            ));
        }
        let mut producer = match base {
            Some(base) => base.clone(),
            None => ProducerSettings {
                cluster: cluster.clone(),
                acks: crate::kafka::settings::Acks::All,
                compression: crate::kafka::settings::Compression::default(),
                linger: crate::kafka::settings::Linger::Auto,
                batch_size: 1_000_000,
                max_record: 1_000_000,
                exactly_once: None,
            },
        };
        producer.cluster = cluster.clone();
        producer.exactly_once = None;
        // Nothing is removed that nobody confirmed.
        if producer.acks == crate::kafka::settings::Acks::None {
            producer.acks = crate::kafka::settings::Acks::All;
        }
        Ok(Way {
            producer,
            partitioner,
            topic,
            lines: Vec::new(),
        })
    }

    fn send(&mut self, way: &Way, taken: &mut Taken<'_>) -> Result<(), TakenError> {
        let settings = SenderSettings {
            producer: way.producer.clone(),
            topic: way.topic.clone(),
            partition: None,
            partitioner: way.partitioner,
            patience: self.args.timeout,
            client_id: client_id(),
        };
        let mut sender = match Sender::connect(settings) {
            Ok(sender) => sender,
            Err(why) => {
                self.stay += way.lines.len() as u64;
                let why_text = why.to_string();
                self.note(&format!("{} records stay: {why_text}", way.lines.len()));
                if matches!(why, Unreached::Nobody(_)) {
                    self.unreached = Some(why_text);
                }
                return Ok(());
            }
        };
        let arenas = Arenas::new(0);
        let (mut next, mut confirmed, mut removed) = (0, Vec::new(), Instant::now());
        loop {
            while next < way.lines.len() && sender.has_room() && self.interrupts.count() == 0 {
                let (offset, len) = way.lines[next];
                next += 1;
                let mut line = vec![0; len];
                let read = taken.file().read_at(&mut line, offset);
                match read.is_ok().then(|| LineKind::of(&line)) {
                    Some(LineKind::Letter(letter)) => {
                        let parcel = parcel(&arenas, &letter, next as u64, self.args.now);
                        sender.send(parcel, &mut |fate| self.fate(&fate, way, &mut confirmed));
                    }
                    _ => self.stays(&format!("byte {offset}"), "it cannot be read any more"),
                }
            }
            sender.turn(&mut |fate| self.fate(&fate, way, &mut confirmed));
            if confirmed.len() >= 1000 || removed.elapsed() >= REMOVE {
                taken.remove(&std::mem::take(&mut confirmed))?;
                removed = Instant::now();
            }
            let ended = next == way.lines.len() || self.interrupts.count() > 0;
            if (ended && sender.is_idle()) || sender.over().is_some() || self.interrupts.count() > 1
            {
                break;
            }
            self.wait(&sender);
        }
        sender.give_up("interrupted", &mut |fate| {
            self.fate(&fate, way, &mut confirmed)
        });
        self.stay += (way.lines.len() - next) as u64;
        taken.remove(&confirmed)
    }

    fn wait(&self, sender: &Sender) {
        let patience = sender.until_due().min(REMOVE) + Duration::from_micros(100);
        let patience = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(1),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut fds = [
            PollFd::from_borrowed_fd(sender.bell(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.interrupts.fd(), PollFlags::IN),
        ];
        // Being interrupted is looked at next.
        let _ = poll(&mut fds, Some(&patience));
    }

    fn fate(&mut self, fate: &Fate<'_>, way: &Way, confirmed: &mut Vec<(u64, usize)>) {
        let place = |line: u64| way.lines.get((line as usize).wrapping_sub(1)).copied();
        match fate {
            Fate::Delivered { line, .. } => {
                let Some(place) = place(*line) else { return };
                self.delivered += 1;
                confirmed.push(place);
                if let Some(bar) = &self.bar {
                    bar.inc(place.1 as u64);
                }
            }
            Fate::Undelivered { line, why } => {
                let at = place(*line).map_or(0, |(offset, _)| offset);
                self.stays(&format!("{} (byte {at} of its file)", way.topic), why);
            }
        }
    }

    fn stays(&mut self, what: &str, why: &str) {
        self.stay += 1;
        if self.stay <= TOLD {
            self.note(&format!("{what}: stays: {why}"));
        } else if self.stay == TOLD + 1 {
            self.note("more records stay; they are counted");
        }
    }

    fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| complain(&format!("logferry: {text}"))),
            None => complain(&format!("logferry: {text}")),
        }
    }

    fn end(mut self) -> ExitStatus {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let Self {
            delivered, stay, ..
        } = &self;
        if *stay > 0 {
            complain(&format!(
                "logferry: {delivered} records delivered and removed, {stay} stay set aside"
            ));
        } else if *delivered == 0 && !self.args.all && !self.args.quiet {
            complain("nothing that was set aside fits");
        } else if !self.args.quiet {
            complain(&format!("{delivered} records delivered and removed"));
        }
        match () {
            () if self.interrupts.count() > 0 && self.interrupts.is_terminated() => {
                ExitStatus::Terminated
            }
            () if self.interrupts.count() > 0 => ExitStatus::Interrupted,
            () if self.unreached.is_some() => ExitStatus::Unavailable,
            () if self.stay > 0 => ExitStatus::Undelivered,
            () => ExitStatus::Done,
        }
    }
}

/// A letter as the record that it was.
fn parcel(arenas: &Arenas, letter: &Letter, line: u64, now: bool) -> Parcel {
    let value = letter.value.as_deref();
    let key = letter.key.as_deref();
    let place = letter.place.as_deref();
    let headers = letter.headers.iter();
    let names: usize = headers
        .map(|it| it.name.len() + it.value.as_ref().map_or(0, Vec::len))
        .sum();
    let size = value.map_or(0, <[u8]>::len)
        + key.map_or(0, <[u8]>::len)
        + place.map_or(0, <[u8]>::len)
        + names;
    let mut parcel = Parcel::new(arenas.take(size.max(1)), Arc::from(Vec::new()));
    let mut put = |bytes: &[u8]| {
        let arena = parcel.arena_mut();
        let start = arena.len();
        // There is room: it was asked for.
        let fits = arena.push(bytes);
        debug_assert!(fits, "the room that was asked for is not there");
        start..arena.len()
    };
    let made = Made {
        value: value.map(&mut put),
        key: key.map(&mut put),
        place: place.map(&mut put),
        line,
    };
    let headers = letter.headers.iter();
    let headers = headers
        .map(|it| (put(it.name.as_bytes()), it.value.as_deref().map(&mut put)))
        .collect();
    let besides = Besides {
        timestamp: letter.timestamp_ms.filter(|_| !now),
        headers,
    };
    let is_plain = besides.timestamp.is_none() && besides.headers.is_empty();
    parcel.push(made, (!is_plain).then_some(besides));
    parcel
}

fn taken(error: &TakenError) -> Refusal {
    match error {
        TakenError::Letters(error) => refused(error),
        TakenError::Held(_) | TakenError::Locked(_) => Refusal {
            status: ExitStatus::NoPermission,
            text: error.to_string(),
        },
    }
}
