//! The input `stdin`: lines from a pipe, read once and never again.
//!
//! What was read is in memory or delivered, nowhere else; so a half line is carried over to the next arena, an unterminated last line is
//! a line, and after a soft stop what waits in the pipe by then is still read.
//!
//! Invariant: no byte that was taken from the descriptor is dropped before it was sent.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::dress::block::Undone;
use super::frame::framer::{self, First, Framers};
use super::frame::settings::LineSettings;
use super::frame::{Block, Half, Rest};
use super::outlet::{Ended, Ends, Outlet};
use super::{Finish, LongLine, Position, Report};
use crate::flow::{Count, Origin, SourceId};

/// The only source of this input.
pub const SOURCE: SourceId = SourceId(0);
/// Room that a read gets at least, in bytes.
const READ: usize = 32 * 1024;
/// For how long a quiet descriptor is waited for at a time; a stop is noticed after this at the latest.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How often it is tried again to set something aside.
const RETRY: Duration = Duration::from_millis(500);
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// What the standard input needs to run.
pub struct StdinInput {
    pub name: String,
    pub lines: LineSettings,
    pub ends: Ends,
    pub finish: Finish,
}

/// Reads standard input to its end, or until the stop. Blocks its thread.
///
/// # Errors
/// When the descriptor cannot be read, or a record is refused with `on_refused: stop`; what was read before is delivered.
pub fn run(input: StdinInput) -> io::Result<Report> {
    read_from(io::stdin(), input)
}

/// As [`run`], from any descriptor.
pub fn read_from(descriptor: impl AsFd, input: StdinInput) -> io::Result<Report> {
    let framers = Framers::new(&input.lines).map_err(io::Error::other)?;
    input.ends.tracker.add(SOURCE, Position::default());
    let origin = Arc::new(Origin {
        input: input.name.into(),
        path: None,
    });
    let mut reader = Reader {
        origin,
        framers,
        first: First::default(),
        finish: input.finish,
        outlet: Outlet::new(input.ends).reading_on_after_a_soft_stop(),
        carry: Vec::new(),
        half: Half::default(),
        at: 0,
        grown: Instant::now(),
        sent: false,
    };
    let read = reader.read(descriptor.as_fd());
    if matches!(read, Err(End::Outlet | End::Refused(_))) && !reader.carry.is_empty() {
        // Taken from the descriptor and never sent: it shows in the books as what was not delivered.
        reader.outlet.tracker().reads(Count {
            lines: 1,
            bytes: reader.carry.len() as u64,
        });
    }
    let sent = reader.outlet.sent();
    let report = Report {
        lines: sent.lines,
        bytes: sent.bytes,
        files: 0,
        unread: 0,
    };
    match read {
        // The caller knows why, and what was not delivered is in the books.
        Ok(()) | Err(End::Outlet) => Ok(report),
        Err(End::Descriptor(error)) => Err(error),
        Err(End::Refused(why)) => Err(io::Error::other(why)),
    }
}

struct Reader {
    origin: Arc<Origin>,
    framers: Framers,
    /// What the input began with.
    first: First,
    finish: Finish,
    outlet: Outlet,
    /// The half line that the last read ended with.
    carry: Vec<u8>,
    half: Half,
    /// Bytes before the half line.
    at: u64,
    /// When bytes came last.
    grown: Instant,
    /// The unterminated line that was left then was sent.
    sent: bool,
}

enum End {
    /// Stopped hard, or nobody takes batches any more.
    Outlet,
    Descriptor(io::Error),
    /// A record is refused, and that stops the input.
    Refused(String),
}

impl From<Ended> for End {
    fn from(_: Ended) -> Self {
        Self::Outlet
    }
}

impl Reader {
    fn read(&mut self, descriptor: impl AsFd) -> Result<(), End> {
        // After the soft stop: how much is still to be read.
        let mut waiting: Option<u64> = None;
        loop {
            if waiting.is_none() && self.outlet.stop().is_soft() {
                waiting = Some(rustix::io::ioctl_fionread(&descriptor).unwrap_or(u64::MAX));
            }
            if self.outlet.stop().is_hard() || waiting == Some(0) {
                break;
            }
            let patience = if self.outlet.holds_records() || waiting.is_some() {
                AT_ONCE
            } else {
                PATIENCE
            };
            if !is_ready(&descriptor, &patience) {
                self.send_overdue()?;
                self.outlet.flush()?;
                if waiting.is_some() {
                    break;
                }
                continue;
            }
            match self.take(&descriptor, waiting) {
                Ok(Some(0)) => break,
                Ok(Some(bytes)) => waiting = waiting.map(|left| left.saturating_sub(bytes)),
                Ok(None) => {}
                Err(End::Descriptor(error)) => {
                    self.frame_carry(Rest::Last)?;
                    return Err(End::Descriptor(error));
                }
                Err(end) => return Err(end),
            }
        }
        self.frame_carry(Rest::Last)?;
        Ok(())
    }

    /// One read, at most `most` bytes: `Some(0)` at the end of the input, `None` when nothing came after all.
    fn take(&mut self, descriptor: impl AsFd, most: Option<u64>) -> Result<Option<u64>, End> {
        let expansion = self.framers.expected().expansion();
        let filling = self.outlet.room((self.carry.len() + READ) * expansion)?;
        let from = filling.arena.len();
        let room = filling.arena.room() / expansion;
        if !filling.arena.push(&self.carry) {
            // The room was asked for.
            return Ok(None);
        }
        let spare = room.saturating_sub(self.carry.len());
        let most = most.map_or(spare, |most| {
            usize::try_from(most).map_or(spare, |most| most.min(spare))
        });
        let got = match rustix::io::read(&descriptor, &mut filling.arena.spare()[..most]) {
            Ok(got) => got,
            Err(Errno::INTR | Errno::AGAIN) => {
                filling.arena.truncate(from);
                return Ok(None);
            }
            Err(error) => {
                filling.arena.truncate(from);
                return Err(End::Descriptor(error.into()));
            }
        };
        filling.arena.advance(got);
        if got == 0 {
            filling.arena.truncate(from);
            return Ok(Some(0));
        }
        (self.grown, self.sent) = (Instant::now(), false);
        self.frame(from, Rest::Waits)?;
        Ok(Some(got as u64))
    }

    /// Sends what waited long enough for more.
    fn send_overdue(&mut self) -> Result<(), End> {
        match self.framers.expected().patience(&self.half) {
            Some((patience, rest)) if !self.sent && self.grown.elapsed() >= patience => {
                self.sent = rest >= Rest::Line;
                self.frame_carry(rest)
            }
            _ => Ok(()),
        }
    }

    /// Nothing comes after what is carried, or nothing came for long.
    fn frame_carry(&mut self, rest: Rest) -> Result<(), End> {
        if !self.carry.is_empty() {
            let wanted = self.carry.len() * self.framers.expected().expansion();
            let filling = self.outlet.room(wanted)?;
            let from = filling.arena.len();
            if filling.arena.push(&self.carry) {
                self.frame(from, rest)?;
            }
        }
        Ok(self.outlet.flush()?)
    }

    /// Frames the arena in hand from `from` on; what is left is carried.
    fn frame(&mut self, mut from: usize, rest: Rest) -> Result<(), End> {
        let mut said = false;
        loop {
            let Some(filling) = self.outlet.hand() else {
                return Ok(());
            };
            let first = filling.records.len();
            let bytes = filling.arena.filled();
            let block = Block { bytes, from, rest };
            let records = &mut filling.records;
            if self.at == 0 {
                self.first = framer::first(&bytes[from..]);
            }
            let framer = self.framers.of_mut(self.first);
            let framed = framer.frame(block, self.at == 0, self.half, records);
            let aside = framed.aside.map_or(Ok(()), |aside| {
                (self.finish.set_aside)(&LongLine {
                    path: None,
                    offset: self.at + u64::from(aside.at),
                    value: framer.value(bytes, aside.value),
                })
            });
            let mut skipped = framed.skipped;
            let dressed = match (aside, &mut self.finish.blocks) {
                (Err(error), _) => Err(Undone::NotSetAside(error)),
                (Ok(()), None) => Ok(()),
                (Ok(()), Some(blocks)) => blocks
                    .dress(framer, filling, first, &self.origin, self.at)
                    .map(|refused| skipped += refused),
            };
            if let Err(undone) = dressed {
                filling.records.truncate(first);
                match undone {
                    Undone::NotSetAside(error) if !said => {
                        tracing::error!(
                            input = %self.origin.input, error,
                            "a record, or the beginning of a line longer than max_line, cannot be set aside; the input waits"
                        );
                        said = true;
                    }
                    Undone::NotSetAside(_) => {}
                    Undone::Stop(why) => {
                        self.take_back(from);
                        self.outlet.flush()?;
                        return Err(End::Refused(why));
                    }
                }
                if self.outlet.stop().is_hard() {
                    self.take_back(from);
                    return Err(End::Outlet);
                }
                self.outlet.bell().wait(RETRY);
                continue;
            }
            self.carry.clear();
            self.carry
                .extend_from_slice(&filling.arena.filled()[from + framed.consumed..]);
            if filling.is_made {
                filling.arena.truncate(from);
            } else {
                let new = &mut filling.records[first..];
                framer.settle(&mut filling.arena, from, &framed, new);
            }
            self.half = framed.half;
            let base = self.at;
            self.at += framed.consumed as u64;
            let end = Position {
                offset: self.at,
                inside_line: self.half.inside_line,
                skip: self.half.skip,
                tail: None,
                half: None,
            };
            let records = first..filling.records.len();
            filling.add_run(&self.origin, SOURCE, base, records, &skipped, end);
            if framed.aside.is_none() {
                return Ok(());
            }
            // The block was framed up to there only.
            from = filling.arena.len();
            if !filling.arena.push(&self.carry) {
                // It had room before.
                return Ok(());
            }
        }
    }

    /// What the arena in hand has from `from` on is in no record: it is carried.
    fn take_back(&mut self, from: usize) {
        if let Some(filling) = self.outlet.hand() {
            self.carry.clear();
            self.carry
                .extend_from_slice(&filling.arena.filled()[from..]);
            filling.arena.truncate(from);
        }
    }
}

/// Whether a read would not wait.
fn is_ready(descriptor: impl AsFd, patience: &Timespec) -> bool {
    let mut asked = [PollFd::new(&descriptor, PollFlags::IN)];
    match poll(&mut asked, Some(patience)) {
        Ok(0) | Err(Errno::INTR) => false,
        // An error of the descriptor itself is told by the read.
        Ok(_) | Err(_) => true,
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests {
    use super::*;
    use crate::flow::{
        Arenas, Batch, Bell, Books, Budget, Outcome, Received, Receiver, Stop, Tracker, pipe,
    };
    use crate::input::dress::Here;
    use crate::input::dress::block::{self, Blocks};
    use crate::input::dress::settings::{DressSettings, Format, OnRefused};
    use crate::input::frame::settings::{
        FilterSettings, GroupRule, LongLine, MaxLine, MultilineSettings,
    };
    use std::io::{PipeWriter, Write};
    use std::sync::Mutex;
    use std::thread::JoinHandle;

    struct Rig {
        writer: Option<PipeWriter>,
        thread: JoinHandle<Report>,
        receiver: Receiver<Batch>,
        bell: Arc<Bell>,
        stop: Stop,
        tracker: Arc<Tracker<Position>>,
        lines: Vec<Vec<u8>>,
        aside: Arc<Mutex<Vec<(u64, String)>>>,
    }

    fn start(max_line: u64, memory: u64) -> Rig {
        let max_line = MaxLine {
            size: max_line,
            policy: LongLine::Split,
        };
        let lines = LineSettings {
            max_line,
            ..LineSettings::default()
        };
        start_with(lines, memory)
    }

    fn start_with(lines: LineSettings, memory: u64) -> Rig {
        start_dressed(lines, None, memory)
    }

    fn start_dressed(lines: LineSettings, dress: Option<DressSettings>, memory: u64) -> Rig {
        let (reader, writer) = io::pipe().unwrap();
        let (ring, bell) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (sender, receiver) = pipe(2, bell.clone(), ring.clone());
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        let stop = Stop::new();
        let aside: Arc<Mutex<Vec<(u64, String)>>> = Arc::default();
        let input = StdinInput {
            name: "in".into(),
            lines,
            finish: Finish {
                set_aside: {
                    let (aside, mut refusals) = (aside.clone(), 1);
                    Box::new(move |long| {
                        if refusals > 0 {
                            refusals -= 1;
                            return Err("full".into());
                        }
                        let value = String::from_utf8_lossy(long.value).into_owned();
                        aside.lock().unwrap().push((long.offset, value));
                        Ok(())
                    })
                },
                blocks: dress.map(|dress| {
                    let (aside, mut refusals) = (aside.clone(), 1);
                    let here = Here {
                        id: "ferry".into(),
                        host: "web-1".into(),
                        input: "in".into(),
                    };
                    let set_aside: block::SetAside = Box::new(move |refused| {
                        if refusals > 0 {
                            refusals -= 1;
                            return Err("full".into());
                        }
                        let letters = refused
                            .iter()
                            .map(|it| (it.offset, String::from_utf8_lossy(&it.value).into_owned()));
                        aside.lock().unwrap().extend(letters);
                        Ok(())
                    });
                    Blocks::new(&dress, here, set_aside).unwrap()
                }),
            },
            ends: Ends {
                tracker: tracker.clone(),
                share: Budget::split(memory, 1).1.remove(0),
                arenas: Arenas::new(2),
                sender: sender.into(),
                bell: ring,
                stop: stop.clone(),
            },
        };
        Rig {
            writer: Some(writer),
            thread: std::thread::spawn(move || read_from(reader, input).unwrap()),
            receiver,
            bell,
            stop,
            tracker,
            lines: Vec::new(),
            aside,
        }
    }

    impl Rig {
        fn write(&mut self, bytes: &[u8]) {
            self.writer.as_mut().unwrap().write_all(bytes).unwrap();
        }

        fn take(&mut self) -> bool {
            loop {
                match self.receiver.try_recv() {
                    Received::Empty => return true,
                    Received::Closed => return false,
                    Received::Item(batch) => {
                        let records = 0..batch.records.len();
                        self.lines
                            .extend(records.map(|at| batch.value(at).to_vec()));
                        let count = batch.count();
                        batch.receipt.settle(&Outcome::acked(count));
                    }
                }
            }
        }

        fn until_lines(&mut self, count: usize) {
            while self.lines.len() < count {
                assert!(self.take());
                self.bell.wait(Duration::from_millis(5));
            }
        }

        fn end(mut self) -> (Vec<String>, Report) {
            while self.take() {
                self.bell.wait(Duration::from_millis(5));
            }
            let report = self.thread.join().unwrap();
            let position = self.tracker.position(SOURCE).unwrap();
            assert_eq!(position.offset, report.bytes);
            let text = |line: &Vec<u8>| String::from_utf8_lossy(line).into_owned();
            (self.lines.iter().map(text).collect(), report)
        }
    }

    #[test]
    fn lines_arrive_at_once_and_the_last_one_without_its_end() {
        let mut rig = start(100, 16 << 20);
        rig.write(b"one\r\ntw");
        rig.until_lines(1);
        rig.write(b"o\n\nthree");
        rig.until_lines(3);
        rig.writer = None;
        let (lines, report) = rig.end();
        assert_eq!(lines, ["one", "two", "", "three"]);
        assert_eq!((report.lines, report.bytes), (4, 15));
    }

    #[test]
    fn many_lines_and_long_ones_arrive_whole_within_the_budget() {
        let mut rig = start(300_000, 2 << 20);
        let mut expected = Vec::new();
        let mut text = Vec::new();
        for at in 0..50_000 {
            expected.push(format!("line {at}"));
        }
        expected.push("x".repeat(300_000));
        expected.push("y".repeat(299_999));
        for line in &expected {
            text.extend_from_slice(line.as_bytes());
            text.push(b'\n');
        }
        let mut writer = rig.writer.take().unwrap();
        let writing = std::thread::spawn(move || writer.write_all(&text).unwrap());
        let (lines, _) = rig.end();
        writing.join().unwrap();
        assert!(lines == expected, "{} lines", lines.len());
    }

    #[test]
    fn what_waits_at_a_soft_stop_is_still_read() {
        let mut rig = start(100, 16 << 20);
        rig.write(b"first\n");
        rig.until_lines(1);
        rig.write(b"second\nha");
        rig.write(b"lf");
        rig.stop.soften();
        let (lines, _) = rig.end();
        assert_eq!(lines, ["first", "second", "half"]);
    }

    #[test]
    fn a_hard_stop_ends_it_even_when_nothing_is_settled() {
        let mut rig = start(100, 1);
        rig.write(b"first\n");
        while rig.receiver.is_empty() {
            rig.bell.wait(Duration::from_millis(5));
        }
        rig.write(b"second\n");
        rig.stop.harden();
        rig.thread.join().unwrap();
    }

    #[test]
    fn groups_and_half_lines_are_sent_when_nothing_comes_for_long() {
        let mut rig = start_with(
            LineSettings {
                partial_line_timeout: Some(Duration::from_millis(50)),
                multiline: Some(MultilineSettings {
                    rule: GroupRule::Continue("^ ".into()),
                    max_lines: 9,
                    timeout: Duration::from_millis(50),
                }),
                encoding: "latin-1".into(),
                ..LineSettings::default()
            },
            16 << 20,
        );
        rig.write(b"gr\xfcn\r\n at 1\n");
        rig.until_lines(1);
        rig.write(b"half");
        rig.until_lines(2);
        rig.write(b" and half\nlast\n at 2\n");
        rig.writer = None;
        let (lines, report) = rig.end();
        assert_eq!(lines, ["grün\n at 1", "half", " and half", "last\n at 2"]);
        assert_eq!(report.bytes, 37);
    }

    #[test]
    fn a_byte_order_mark_that_says_the_other_order_is_believed_to_the_end() {
        let mut rig = start_with(
            LineSettings {
                encoding: "utf-16be".into(),
                ..LineSettings::default()
            },
            16 << 20,
        );
        let text: Vec<u8> = ("\u{feff}eins\nzwei\n".encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        rig.write(&text[..1]);
        rig.write(&text[1..14]);
        rig.until_lines(1);
        rig.write(&text[14..]);
        rig.writer = None;
        let (lines, report) = rig.end();
        assert_eq!(lines, ["eins", "zwei"]);
        assert_eq!(report.bytes, text.len() as u64);
    }

    #[test]
    fn what_cannot_be_set_aside_waits_and_what_follows_arrives() {
        let mut rig = start_with(
            LineSettings {
                max_line: MaxLine {
                    size: 4,
                    policy: LongLine::DeadLetter,
                },
                filter: FilterSettings {
                    include: None,
                    exclude: Some("#".into()),
                },
                ..LineSettings::default()
            },
            16 << 20,
        );
        rig.write(b"one\n12345\ntwo\n#\n1234567\nthre");
        rig.writer = None;
        let (tracker, aside) = (rig.tracker.clone(), rig.aside.clone());
        while rig.take() {
            rig.bell.wait(Duration::from_millis(5));
        }
        rig.thread.join().unwrap();
        assert_eq!(rig.lines, [&b"one"[..], b"two", b"thre"]);
        let expected = [(4, "1234".to_owned()), (16, "1234".to_owned())];
        assert_eq!(*aside.lock().unwrap(), expected);
        let books = tracker.books().entries();
        assert!(books.balanced());
        assert_eq!((books.read.lines, books.read.bytes), (6, 28));
        assert_eq!((books.dead_lettered.lines, books.filtered.lines), (2, 1));
        assert_eq!(tracker.position(SOURCE).unwrap().offset, 28);
    }
    fn dressed(on_refused: OnRefused) -> DressSettings {
        DressSettings {
            topic: "t-{line}".into(),
            place: None,
            key: None,
            headers: vec![],
            format: Format::Template("{line}!".into()),
            fields: vec![],
            timestamp: None,
            on_refused,
            max_record: 1_000_000,
        }
    }

    #[test]
    fn values_are_made_and_what_is_refused_is_set_aside_before_it_counts() {
        let dress = dressed(OnRefused::DeadLetter);
        let mut rig = start_dressed(LineSettings::default(), Some(dress), 16 << 20);
        rig.write(b"one\ntwo words\nhal");
        rig.until_lines(1);
        rig.write(b"f\nlast");
        rig.writer = None;
        let (tracker, aside) = (rig.tracker.clone(), rig.aside.clone());
        let mut lines = std::mem::take(&mut rig.lines);
        while rig.take() {
            rig.bell.wait(Duration::from_millis(5));
        }
        lines.append(&mut rig.lines);
        rig.thread.join().unwrap();
        assert_eq!(lines, [&b"one!"[..], b"half!", b"last!"]);
        // The first try failed.
        assert_eq!(*aside.lock().unwrap(), [(4, "two words!".to_owned())]);
        let books = tracker.books().entries();
        assert!(books.balanced());
        assert_eq!((books.read.lines, books.dead_lettered.lines), (4, 1));
        assert_eq!(tracker.position(SOURCE).unwrap().offset, 23);
    }

    #[test]
    fn a_refused_line_stops_the_input_if_so_said_and_what_came_before_is_delivered() {
        let (reader, mut writer) = io::pipe().unwrap();
        let bell = Arc::new(Bell::new());
        let (sender, receiver) = pipe(2, bell.clone(), bell.clone());
        let tracker = Arc::new(Tracker::new(Arc::new(Books::new())));
        let here = Here {
            id: String::new(),
            host: String::new(),
            input: String::new(),
        };
        let set_aside: block::SetAside = Box::new(|_| Ok(()));
        let stopping = dressed(OnRefused::Stop);
        let input = StdinInput {
            name: "in".into(),
            lines: LineSettings::default(),
            finish: Finish {
                set_aside: Box::new(|_| Ok(())),
                blocks: Some(Blocks::new(&stopping, here, set_aside).unwrap()),
            },
            ends: Ends {
                tracker: tracker.clone(),
                share: Budget::split(16 << 20, 1).1.remove(0),
                arenas: Arenas::new(2),
                sender: sender.into(),
                bell,
                stop: Stop::new(),
            },
        };
        writer.write_all(b"two words\n").unwrap();
        let error = read_from(reader, input).unwrap_err().to_string();
        assert!(
            error.contains("two words") && error.contains("on_refused"),
            "{error}"
        );
        assert!(matches!(receiver.try_recv(), Received::Closed));
        // Taken and not delivered: it shows in the books.
        assert_eq!(tracker.books().entries().in_flight.bytes, 10);
    }
}
