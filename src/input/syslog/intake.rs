//! What is done with each message that a socket brought: filter, dress, hand on.
//!
//! Invariant: bytes that were taken from a socket are in a record, in the books as skipped, or, after a hard stop, in the books as not delivered.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use regex::bytes::Regex;

use super::dress::{Dresser, Taken};
use super::facts::SyslogFacts;
use super::frame::{Framer, Loss, Text, What};
use super::parse::{Clock, Moment, ParseError, Protocol, parse};
use super::settings::{OnRefused, SyslogSettings};
use super::{Refused, SetAside};
use crate::checkpoint::Skip;
use crate::flow::{Count, Origin, Seldom, SourceId, Span};
use crate::input::Position;
use crate::input::frame::Skipped;
use crate::input::outlet::{Ended, Outlet};
use crate::template::{Part, Template};

/// How often it is tried again to set something aside.
const RETRY: Duration = Duration::from_millis(500);

/// How often it is said that connections of one kind of fault are closed.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Why the input ends before its time.
#[derive(Debug)]
pub(super) enum End {
    /// Stopped hard, or nobody takes batches any more.
    Outlet,
    Failed(String),
}

impl From<Ended> for End {
    fn from(_: Ended) -> Self {
        Self::Outlet
    }
}

/// What became of the bytes of a stream.
pub(super) struct Fed {
    /// So many are dealt with; the rest waits for more.
    pub consumed: usize,
    /// Why the messages cannot be told apart any more.
    pub lost: Option<Loss>,
}

pub(super) struct Intake {
    pub outlet: Outlet,
    pub facts: Arc<SyslogFacts>,
    origin: Arc<Origin>,
    protocol: Protocol,
    clock: Clock,
    include: Option<Regex>,
    exclude: Option<Regex>,
    /// What the expressions look at, unless it is the whole message.
    filter_of: Option<Template>,
    looked_at: Vec<u8>,
    dresser: Dresser,
    /// Of this worker.
    source: SourceId,
    complaints: Seldom,
    on_illegal_topic: OnRefused,
    set_aside: SetAside,
    /// Bytes that were taken from all sockets.
    at: u64,
    /// Since when something is in hand.
    since: Option<Instant>,
}

impl Intake {
    pub fn new(
        outlet: Outlet,
        facts: Arc<SyslogFacts>,
        settings: &SyslogSettings,
        clock: Clock,
        names: (&str, &str, &str),
        source: SourceId,
        set_aside: SetAside,
    ) -> Result<Self, String> {
        let regex = |text: &Option<String>| {
            let regex = text.as_deref().map(Regex::new).transpose();
            regex.map_err(|error| error.to_string())
        };
        Ok(Self {
            outlet,
            facts,
            origin: Arc::new(Origin {
                input: names.2.into(),
                path: None,
            }),
            protocol: settings.protocol,
            clock,
            include: regex(&settings.filter.include)?,
            exclude: regex(&settings.filter.exclude)?,
            filter_of: (settings.filter_of.as_deref())
                .map(|text| Template::parse(text, Part::SYSLOG))
                .transpose()
                .map_err(|error| error.to_string())?,
            looked_at: Vec::new(),
            dresser: Dresser::new(&settings.dress, names)?,
            source,
            complaints: Seldom::new(COMPLAIN),
            on_illegal_topic: settings.dress.on_refused,
            set_aside,
            at: 0,
            since: None,
        })
    }

    /// Bytes came just now.
    pub fn tick(&mut self) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let micros = since.map_or(0, |since| since.as_micros());
        self.clock
            .set(Moment(i64::try_from(micros).unwrap_or(i64::MAX)));
    }

    /// A connection is closed because of what came, and here is why. Said at once, then once a minute: a sender that is wrong tries again.
    pub fn breaks(&self, listener: &str, peer: Option<&str>, why: &str) {
        self.facts.broken.add(1);
        if let Some(held_back) = self.complaints.speak(why) {
            tracing::warn!(input = %self.origin.input, listener, peer, held_back, "a connection is closed: {why}");
        }
    }

    /// How long something has been in hand.
    pub fn held(&self) -> Option<Duration> {
        self.since.map(|since| since.elapsed())
    }

    /// Sends what is in hand.
    pub fn flush(&mut self) -> Result<(), End> {
        self.since = None;
        Ok(self.outlet.flush()?)
    }

    /// Takes the messages at the beginning of `bytes`. `last`: no more will come.
    pub fn feed(
        &mut self,
        framer: &mut Framer,
        bytes: &[u8],
        peer: Option<&str>,
        last: bool,
    ) -> Result<Fed, End> {
        let mut fed = Fed {
            consumed: 0,
            lost: None,
        };
        loop {
            let rest = &bytes[fed.consumed..];
            if rest.is_empty() && (!last || framer.is_between()) {
                return Ok(fed);
            }
            let step = framer.next(rest, last);
            let done = match step.what {
                What::More => {
                    fed.consumed += step.consumed;
                    return Ok(fed);
                }
                What::Text(text) => self.message(rest, &text, peer),
                What::Aside(at, counted) => {
                    let reason =
                        "the message is longer than max_line.size; this is what it begins with";
                    self.set_aside(&rest[at], peer, None, "line_too_long", reason)
                        .map(|()| self.skip(Skip::DeadLettered, counted, false))
                }
                What::Skip(skip, counted, ends) => {
                    self.skip(skip, counted, ends);
                    Ok(())
                }
                What::Lost(counted, loss) => {
                    fed.lost = Some(loss);
                    let unframed = count(1, counted);
                    self.skipped(
                        counted,
                        &Skipped {
                            unframed,
                            ..Skipped::default()
                        },
                    );
                    Ok(())
                }
            };
            if let Err(end) = done {
                self.give_up(rest.len());
                return Err(end);
            }
            fed.consumed += step.consumed;
            if fed.lost.is_some() {
                return Ok(fed);
            }
        }
    }

    /// Bytes that were taken from a socket and will not be sent: they show in the books as not delivered.
    pub fn give_up(&mut self, bytes: usize) {
        if bytes > 0 {
            self.outlet.tracker().reads(count(1, bytes));
        }
    }

    fn message(&mut self, bytes: &[u8], text: &Text, peer: Option<&str>) -> Result<(), End> {
        let message = &bytes[text.at.clone()];
        let counted = count(u64::from(text.ends), text.bytes);
        if text.is_torn {
            self.facts.torn.add(1);
        }
        if self.filter_of.is_none() && self.is_out(message) {
            self.filtered(text.bytes, counted);
            return Ok(());
        }
        let parsed = match text.is_piece {
            true => Err(ParseError::Piece),
            false => parse(message, self.protocol, &self.clock),
        };
        if parsed.is_err() {
            self.facts.unparsed.add(1);
        }
        let taken = Taken {
            bytes: message,
            parsed: parsed.as_ref().map_err(|error| *error),
            protocol: self.protocol,
            peer,
            at: self.at,
            read_time: self.clock.now().0,
        };
        if let Some(template) = &self.filter_of {
            let mut looked_at = std::mem::take(&mut self.looked_at);
            looked_at.clear();
            self.dresser.render(template, &taken, &mut looked_at);
            let is_out = self.is_out(&looked_at);
            self.looked_at = looked_at;
            if is_out {
                self.filtered(text.bytes, counted);
                return Ok(());
            }
        }
        match self.dresser.dress(&taken) {
            true => self.send(&taken, counted)?,
            false => self.refuse(message, counted, peer)?,
        }
        if text.is_cut {
            let cut = Skipped {
                truncated: 1,
                ..Skipped::default()
            };
            self.skipped(0, &cut);
        }
        Ok(())
    }

    /// Whether the expressions sort out what says this.
    fn is_out(&self, text: &[u8]) -> bool {
        let matches = |regex: &Option<Regex>| regex.as_ref().map(|it| it.is_match(text));
        matches(&self.include) == Some(false) || matches(&self.exclude) == Some(true)
    }

    fn filtered(&mut self, bytes: usize, filtered: Count) {
        let skipped = Skipped {
            filtered,
            ..Skipped::default()
        };
        self.skipped(bytes, &skipped);
    }

    fn send(&mut self, taken: &Taken<'_>, counted: Count) -> Result<(), End> {
        let dresser = &mut self.dresser;
        let len = match dresser.is_raw() {
            true => taken.bytes.len(),
            false => dresser.value.len(),
        };
        let filling = self.outlet.room(len)?;
        let start = small(filling.arena.len());
        // There is room: it was asked for.
        let fits = filling.arena.push(match dresser.is_raw() {
            true => taken.bytes,
            false => &dresser.value,
        });
        debug_assert!(fits, "the room that was given is not there");
        let value = Span {
            start,
            len: small(len),
        };
        dresser.push(taken, &mut filling.extras);
        if dresser.out_of_range {
            self.facts.out_of_range.add(1);
        }
        filling.add_record(&self.origin, self.source, value, (self.at, counted));
        self.at += counted.bytes;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// The message's topic cannot be one.
    fn refuse(&mut self, message: &[u8], counted: Count, peer: Option<&str>) -> Result<(), End> {
        let topic = String::from_utf8_lossy(self.dresser.topic()).into_owned();
        let mut skipped = Skipped::default();
        match self.on_illegal_topic {
            OnRefused::Stop => {
                return Err(End::Failed(format!(
                    "{topic:?}, made of a message, cannot be a topic's name, and on_refused is stop"
                )));
            }
            OnRefused::Drop => skipped.illegal_topic = counted,
            OnRefused::DeadLetter => {
                let reason = "the name that the message gives its topic cannot be one: 1 to 249 letters, digits and . _ -";
                self.set_aside(message, peer, Some(&topic), "illegal_topic", reason)?;
                skipped.dead_lettered = counted;
            }
        }
        self.skipped(usize::try_from(counted.bytes).unwrap_or(0), &skipped);
        Ok(())
    }

    /// Durable when it returns `Ok`.
    fn set_aside(
        &mut self,
        value: &[u8],
        peer: Option<&str>,
        topic: Option<&str>,
        code: &'static str,
        reason: &str,
    ) -> Result<(), End> {
        let refused = Refused {
            offset: self.at,
            peer,
            topic,
            value,
            code,
            reason,
        };
        let mut said = false;
        while let Err(error) = (self.set_aside)(&refused) {
            if !said {
                tracing::error!(
                    input = %self.origin.input, error, code,
                    "a message cannot be set aside; the input waits"
                );
                said = true;
            }
            if self.outlet.stop().is_hard() {
                return Err(End::Outlet);
            }
            self.outlet.bell().wait(RETRY);
        }
        Ok(())
    }

    fn skip(&mut self, skip: Skip, bytes: usize, ends: bool) {
        let mut skipped = Skipped::default();
        let lines = u64::from(ends);
        match skip {
            // The line that was cut has its record.
            Skip::Truncated => skipped.cut = count(0, bytes),
            Skip::Dropped => skipped.too_long = count(lines, bytes),
            Skip::DeadLettered => skipped.dead_lettered = count(lines, bytes),
            Skip::Filtered => skipped.filtered = count(lines, bytes),
        }
        self.skipped(bytes, &skipped);
    }

    /// Bytes that are in no record. They go into the books at once: nothing of them is saved anywhere.
    fn skipped(&mut self, bytes: usize, skipped: &Skipped) {
        self.at += bytes as u64;
        if self.outlet.holds_records() {
            let end = Position {
                offset: self.at,
                ..Position::default()
            };
            if let Some(filling) = self.outlet.hand() {
                filling.skip(self.source, skipped, end);
            }
        } else {
            let outcome = skipped.outcome();
            self.outlet.tracker().skips(&outcome, skipped.truncated);
        }
    }
}

fn count(lines: u64, bytes: usize) -> Count {
    Count {
        lines,
        bytes: bytes as u64,
    }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
