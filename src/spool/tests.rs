use std::ffi::CString;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::block::{Body, Contents, Found, HEAD, Life, Parts, find, write};
use super::settings::{Mode, SpoolSettings, Sync};
use super::*;
use crate::disk::model::ModelDisk;
use crate::flow::{
    Arenas, Batch, Bell, Books, Budget, Count, Extras, Origin, Outcome, Received, Receiver, Record,
    Run, Share, Span, Stop, pipe,
};

const DIR: &str = "/data/spool/in";

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        input: "in".into(),
        path: None,
    })
}

fn settings(mode: Mode, sync: Sync) -> SpoolSettings {
    SpoolSettings {
        mode,
        max_size: 1 << 20,
        sync,
    }
}

/// A spool that is driven by hand.
struct Rig {
    disk: ModelDisk,
    writer: Option<Writer>,
    feed: Feed,
    to_feed: Arc<Bell>,
    facts: Facts,
    input_share: Share,
    arenas: Arenas,
    receiver: Receiver<Batch>,
    books: Arc<Books>,
    stop: Stop,
    /// Taken from the pipe and not settled.
    under_way: Vec<Batch>,
    sent: Vec<u64>,
}

impl Rig {
    /// With a pipe of so many batches.
    fn start(disk: &ModelDisk, settings: SpoolSettings, room: usize) -> Result<Self, Error> {
        let (to_input, to_feed) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (sender, receiver) = pipe(room, Arc::new(Bell::new()), to_feed.clone());
        let (books, arenas, stop) = (Arc::new(Books::new()), Arenas::new(4), Stop::new());
        let (writer, feed, facts, input_share) = open(Ends {
            disk: Arc::new(disk.clone()),
            folder: DIR.into(),
            settings,
            input: "in".into(),
            books: books.clone(),
            share: Budget::split(64 << 20, 1).1.remove(0),
            arenas: arenas.clone(),
            sender,
            to_input,
            to_feed: to_feed.clone(),
            stop: stop.clone(),
        })?;
        Ok(Self {
            disk: disk.clone(),
            writer: Some(writer),
            feed,
            to_feed,
            facts,
            input_share,
            arenas,
            receiver,
            books,
            stop,
            under_way: Vec::new(),
            sent: Vec::new(),
        })
    }

    /// A batch of a line with this number, and `padding` more bytes.
    fn put(&mut self, number: u64, padding: usize) -> Result<(), NotTaken> {
        self.put_text(number, "x".repeat(padding).as_bytes())
    }

    /// A batch of a line with this number, and `more` behind it.
    fn put_text(&mut self, number: u64, more: &[u8]) -> Result<(), NotTaken> {
        let text = [format!("{number:08}").as_bytes(), more].concat();
        let mut arena = self.arenas.take(text.len());
        assert!(arena.push(&text));
        let len = u32::try_from(text.len()).unwrap();
        let mut hand = Some(Parcel {
            arena,
            made: None,
            records: vec![Record {
                value: Span { start: 0, len },
                at: 0,
                bytes: len + 1,
                lines: 1,
            }],
            runs: vec![Run {
                origin: origin(),
                base: number,
                records: 0..1,
            }],
            extras: Extras {
                topics: vec![0],
                topic_names: vec!["t".into()],
                ..Extras::default()
            },
            charge: self.input_share.try_take(text.len() as u64).unwrap(),
        });
        let put = self.writer.as_mut().unwrap().put(&mut hand);
        assert_eq!(hand.is_none(), put.is_ok());
        self.balanced();
        put
    }

    fn balanced(&self) {
        let entries = self.books.entries();
        assert!(entries.balanced(), "{entries:?}");
    }

    fn feed(&mut self) {
        while self.feed.feed() {
            self.balanced();
        }
    }

    /// Takes what is in the pipe, and feeds what is on disk, until neither has more.
    fn take(&mut self) {
        loop {
            self.feed();
            let Received::Item(batch) = self.receiver.try_recv() else {
                return;
            };
            for record in 0..batch.records.len() {
                let text = std::str::from_utf8(&batch.value(record)[..8]).unwrap();
                self.sent.push(text.parse().unwrap());
                let topic = batch.extras.topics[record] as usize;
                assert_eq!(&*batch.extras.topic_names[topic], "t");
                assert_eq!(batch.position_of(record), *self.sent.last().unwrap());
            }
            self.under_way.push(batch);
        }
    }

    fn ack(&mut self) {
        for batch in self.under_way.drain(..) {
            let count = batch.count();
            batch.receipt.settle(&Outcome::acked(count));
        }
        self.balanced();
        self.feed.tidy_now();
    }

    fn lines(&self, of: fn(&crate::flow::Entries) -> Count) -> u64 {
        of(&self.books.entries()).lines
    }

    /// SIGKILL, and the next start.
    fn kill(mut self, settings: SpoolSettings) -> Self {
        for batch in self.under_way.drain(..) {
            batch.receipt.forgo();
        }
        while let Received::Item(batch) = self.receiver.try_recv() {
            batch.receipt.forgo();
        }
        Self::start(&self.disk.restart(), settings, 4).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let names = self.disk.list(Path::new(DIR)).unwrap();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .filter(|name| name != "position")
            .collect()
    }
}

const ALWAYS: SpoolSettings = SpoolSettings {
    mode: Mode::Always,
    max_size: 1 << 20,
    sync: Sync::Never,
};

#[test]
fn what_was_put_is_sent_from_memory_and_found_after_a_kill() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 4).unwrap();
    for number in 0..3 {
        rig.put(number, 0).unwrap();
    }
    assert_eq!(rig.lines(|it| it.in_flight), 3);
    rig.take();
    assert_eq!(rig.sent, [0, 1, 2]);
    assert_eq!(rig.facts.view().oldest.map(|age| age.as_secs()), Some(0));
    let mut rig = rig.kill(ALWAYS);
    assert_eq!(
        (rig.lines(|it| it.read), rig.lines(|it| it.spooled)),
        (3, 3)
    );
    assert_eq!(rig.facts.view().found.lines, 3);
    rig.put(3, 0).unwrap();
    rig.take();
    assert_eq!(rig.sent, [0, 1, 2, 3], "what is old comes first");
    rig.ack();
    assert_eq!(rig.lines(|it| it.acked), 4);
    assert_eq!(rig.facts.view().bytes, 0);
    let rig = rig.kill(ALWAYS);
    assert_eq!(rig.lines(|it| it.read), 0, "nothing is sent twice");
    assert_eq!(rig.files(), [""; 0]);
}

#[test]
fn what_the_pipe_has_no_room_for_waits_on_disk_in_its_order() {
    for mode in [Mode::Always, Mode::Overflow] {
        let mut rig = Rig::start(&ModelDisk::new(), settings(mode, Sync::Never), 2).unwrap();
        for number in 0..100 {
            rig.put(number, 100).unwrap();
        }
        assert_eq!(rig.lines(|it| it.in_flight), 2);
        assert_eq!(rig.lines(|it| it.spooled), 98);
        rig.take();
        // Blocks are gathered.
        assert!(rig.under_way.len() < 10, "{}", rig.under_way.len());
        rig.put(100, 0).unwrap();
        rig.take();
        assert_eq!(rig.sent, (0..=100).collect::<Vec<_>>());
        rig.ack();
        assert_eq!(rig.lines(|it| it.acked), 101);
        assert_eq!(rig.facts.view().bytes, 0);
    }
}

#[test]
fn who_waits_for_budget_does_not_wake_himself() {
    let large = SpoolSettings {
        max_size: 1 << 30,
        ..ALWAYS
    };
    let mut rig = Rig::start(&ModelDisk::new(), large, 5000).unwrap();
    let mut number = 0;
    while rig.lines(|it| it.spooled) == 0 {
        rig.put(number, 100_000).unwrap();
        number += 1;
    }
    rig.to_feed.wait(Duration::ZERO);
    assert!(!rig.feed.feed(), "there is no budget");
    assert!(!rig.to_feed.wait(Duration::ZERO));
    rig.take();
    rig.ack();
    assert!(rig.to_feed.wait(Duration::ZERO));
    while rig.feed.feed() {}
    rig.take();
    assert_eq!(rig.sent, (0..number).collect::<Vec<_>>());
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
fn a_backlog_is_sent_as_fast_as_it_is_taken() {
    let large = SpoolSettings {
        max_size: 1 << 30,
        ..ALWAYS
    };
    let mut rig = Rig::start(&ModelDisk::new(), large, 1).unwrap();
    for number in 0..300 {
        rig.put(number, 200_000).unwrap();
    }
    let disk = rig.kill(large).disk.restart();
    // There is room for all of it, so nobody rings.
    let mut rig = Rig::start(&disk, large, 5000).unwrap();
    rig.writer = None;
    rig.feed.is_due();
    let Rig { feed, receiver, .. } = rig;
    let begun = Instant::now();
    let thread = std::thread::spawn(move || run(feed));
    let (mut batches, mut lines) = (0, 0);
    loop {
        match receiver.try_recv() {
            Received::Item(batch) => {
                let count = batch.count();
                batch.receipt.settle(&Outcome::acked(count));
                (batches, lines) = (batches + 1, lines + count.lines);
            }
            Received::Empty => std::thread::yield_now(),
            Received::Closed => break,
        }
    }
    thread.join().unwrap().unwrap();
    assert_eq!(lines, 300);
    // One for each time that it tidies would take ten seconds and more.
    assert!(batches > 100, "{batches}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{batches}");
}

#[test]
fn overflow_writes_nothing_while_memory_has_room() {
    let overflow = settings(Mode::Overflow, Sync::Never);
    let mut rig = Rig::start(&ModelDisk::new(), overflow, 4).unwrap();
    for number in 0..4 {
        rig.put(number, 0).unwrap();
    }
    assert_eq!(rig.files(), [""; 0]);
    rig.put(4, 0).unwrap();
    assert_eq!(rig.files().len(), 1);
    let mut rig = rig.kill(overflow);
    rig.take();
    assert_eq!(rig.sent, [4], "what was in memory is lost");
}

#[test]
fn a_full_spool_takes_nothing_until_something_is_acknowledged() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 1).unwrap();
    let mut put = 0;
    while rig.put(put, 10_000).is_ok() {
        put += 1;
    }
    assert!((80..110).contains(&put), "{put} of 10 kB in 1 MiB");
    assert_eq!(rig.put(put, 10_000), Err(NotTaken::Later));
    assert_eq!(rig.lines(|it| it.read), put);
    rig.take();
    assert_eq!(
        rig.put(put, 10_000),
        Err(NotTaken::Later),
        "sent is not enough"
    );
    rig.ack();
    rig.put(put, 10_000).unwrap();
    rig.take();
    assert_eq!(rig.sent, (0..=put).collect::<Vec<_>>());
}

#[test]
fn a_batch_larger_than_the_spool_passes_alone() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 1).unwrap();
    rig.put(0, 2 << 20).unwrap();
    assert_eq!(rig.put(1, 0), Err(NotTaken::Later));
    rig.take();
    rig.ack();
    rig.put(1, 2 << 20).unwrap();
    rig.put(2, 2 << 20).unwrap_err();
    let mut rig = rig.kill(ALWAYS);
    rig.take();
    assert_eq!(rig.sent, [1]);
}

#[test]
fn what_is_given_up_is_in_the_spool_again() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 4).unwrap();
    rig.put(0, 0).unwrap();
    rig.take();
    rig.under_way.pop().unwrap().receipt.forgo();
    rig.balanced();
    assert_eq!(rig.lines(|it| it.spooled), 1);
    rig.stop.harden();
    rig.writer = None;
    let (disk, books) = (rig.disk.clone(), rig.books.clone());
    run(rig.feed).unwrap();
    assert_eq!(books.entries().in_flight, Count::default());
    let rig = Rig::start(&disk.crash(1), ALWAYS, 4).unwrap();
    assert_eq!(rig.lines(|it| it.spooled), 1, "the end made it durable");
}

#[test]
fn an_end_waits_until_everything_is_acknowledged() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 1).unwrap();
    for number in 0..3 {
        rig.put(number, 0).unwrap();
    }
    rig.take();
    rig.ack();
    rig.writer = None;
    run(rig.feed).unwrap();
    assert!(matches!(rig.receiver.try_recv(), Received::Closed));
    let rig = Rig::start(&rig.disk, ALWAYS, 1).unwrap();
    assert_eq!((rig.lines(|it| it.read), rig.files().len()), (0, 0));
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_rest_of_it_sent() {
    // Of the first block a body and a head, of the second one a head and a body.
    for (at, lost) in [(HEAD + 40, 0), (3, 0), (3, 1), (HEAD, 1)] {
        let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 1).unwrap();
        for number in 0..5 {
            rig.put(number, 100).unwrap();
        }
        let name = rig.files().remove(0);
        let path = Path::new(DIR).join(&name);
        let file = rig.disk.open(&path, crate::disk::Open::Existing).unwrap();
        // All blocks have the same size.
        let at = at as u64 + lost * file.len().unwrap() / 5;
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1], at).unwrap();
        let mut rig = rig.kill(ALWAYS);
        let view = rig.facts.view();
        assert_eq!(view.damaged, 1);
        assert!(view.lost > 0);
        rig.put(5, 0).unwrap();
        rig.take();
        let all: Vec<u64> = (0..6).filter(|number| *number != lost).collect();
        assert_eq!(rig.sent, all);
        rig.ack();
        let rig = rig.kill(ALWAYS);
        assert_eq!(rig.files(), [format!("{name}.damaged")]);
    }
}

#[test]
fn what_rots_while_it_waits_is_counted() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 1).unwrap();
    for number in 0..4 {
        rig.put(number, 100).unwrap();
    }
    let path = Path::new(DIR).join(rig.files().remove(0));
    let file = rig.disk.open(&path, crate::disk::Open::Existing).unwrap();
    let len = file.len().unwrap();
    file.write_at(&[0xff; 8], len - 20).unwrap();
    rig.take();
    assert_eq!(rig.sent, [0, 1, 2]);
    assert_eq!(rig.books.entries().dropped["spool_damaged"].lines, 1);
    assert_eq!(rig.facts.view().damaged, 1);
    rig.put(4, 0).unwrap();
    rig.take();
    rig.ack();
    assert_eq!(rig.sent, [0, 1, 2, 4]);
    assert_eq!(rig.lines(|it| it.spooled), 0);
}

#[test]
fn a_disk_that_is_full_makes_the_input_wait() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 9).unwrap();
    rig.put(0, 0).unwrap();
    rig.disk.fail_after(0, u64::MAX, rustix::io::Errno::NOSPC);
    assert_eq!(rig.put(1, 100), Err(NotTaken::Later));
    assert!(!rig.writer.as_ref().unwrap().is_worth_a_try());
    rig.disk.heal();
    rig.put(1, 50).unwrap();
    let mut rig = rig.kill(ALWAYS);
    assert_eq!(rig.facts.view().damaged, 0);
    rig.take();
    assert_eq!(rig.sent, [0, 1]);
}

/// Batches of 30 kB, four and an acknowledgement at a time, until the disk crashes: how many were accepted, how many acknowledged, and how many were
/// accepted when the spool was tidied last. Whether it came to the end.
fn batches(disk: &ModelDisk, settings: SpoolSettings) -> (u64, u64, u64, bool) {
    let (mut accepted, mut acked, mut tidied) = (0, 0, 0);
    let mut run = || -> Option<()> {
        let mut rig = Rig::start(disk, settings, 2).ok()?;
        for number in 0..20 {
            rig.put(number, 30_000).ok()?;
            accepted = number + 1;
            if number % 4 == 3 {
                rig.take();
                acked = rig.sent.len() as u64;
                rig.ack();
                // The position is saved now and then: it is not known whether it was.
                if disk.list(Path::new(DIR)).is_ok() {
                    tidied = accepted;
                }
            }
        }
        Some(())
    };
    let is_over = run().is_some();
    (accepted, acked, tidied, is_over)
}

#[test]
fn nothing_accepted_is_lost_at_any_crash() {
    for sync in [Sync::Always, Sync::Every(Duration::ZERO), Sync::Never] {
        for at in 0..400 {
            let disk = ModelDisk::new();
            disk.crash_after(at);
            let (accepted, acked, tidied, is_over) = batches(&disk, settings(Mode::Always, sync));
            // After a kill, everything that was accepted is there; after a power cut what was synced.
            let mut cuts = vec![(disk.restart(), accepted)];
            cuts.extend((0..4).map(|seed| {
                let safe = match sync {
                    Sync::Always => accepted,
                    Sync::Every(_) => tidied,
                    Sync::Never => 0,
                };
                (disk.crash(seed), safe)
            }));
            for (cut, (disk, safe)) in cuts.into_iter().enumerate() {
                let mut rig = Rig::start(&disk, ALWAYS, 2).unwrap();
                let next = accepted + 1;
                rig.put(next, 0).unwrap();
                rig.take();
                let sent = rig.sent.clone();
                let told = format!("{at} {sync:?} {cut}: {sent:?}, {acked} of {accepted}");
                // A power cut may bring one segment back that was put away, and not another.
                assert!(sent.is_sorted_by(|one, other| one < other), "{told}");
                assert_eq!(sent.last(), Some(&next), "{told}");
                assert!((acked..safe).all(|number| sent.contains(&number)), "{told}");
                if cut == 0 {
                    let old = &sent[..sent.len() - 1];
                    let first = old.first().copied().unwrap_or(accepted);
                    let end = old.last().map_or(first, |last| last + 1);
                    assert!(first <= acked && end >= accepted, "{told}");
                    assert!(old.iter().copied().eq(first..end), "{told}");
                    // Of a block that was being written, a power cut can leave the end without the beginning.
                    assert_eq!(rig.facts.view().damaged, 0, "{told}");
                }
                rig.balanced();
            }
            assert!(at < 399, "it never comes to its end");
            if is_over {
                break;
            }
        }
    }
}

#[test]
fn what_a_used_file_holds_is_never_taken_for_new() {
    // Each is a block of the next life as far as anybody can know it who does not know the life.
    let mut fake = Vec::new();
    for number in [0, 5, 1 << 40] {
        let records = [Record {
            value: Span { start: 0, len: 4 },
            at: 0,
            bytes: 4,
            lines: 1,
        }];
        let runs = [Run {
            origin: origin(),
            base: 0,
            records: 0..1,
        }];
        let contents = Contents {
            text: b"fake",
            records: &records,
            runs: &runs,
            extras: &Extras::default(),
        };
        for life in [Life::NEW, Life::again(1), Life::again(u64::MAX)] {
            write(&mut fake, life, (number, 0, Count::default()), &contents).unwrap();
        }
    }
    let disk = ModelDisk::new();
    let mut rig = Rig::start(&disk, ALWAYS, 4).unwrap();
    for number in 0..8 {
        rig.put_text(number, &fake.repeat(40)).unwrap();
        rig.take();
        rig.ack();
    }
    let used = rig.files().into_iter().find(|name| name.ends_with(".used"));
    assert!(used.is_some(), "{:?}", rig.files());
    let before = rig.files().len();
    rig.put_text(8, &fake.repeat(10)).unwrap();
    rig.put(9, 0).unwrap();
    assert_eq!(rig.files().len(), before, "a file was written over");
    let again = rig.files().into_iter().rfind(|name| name.contains('-'));
    let path = Path::new(DIR).join(again.unwrap());
    assert!(
        disk.metadata(&path).unwrap().len > 30_000,
        "it is no shorter than it was"
    );
    let mut rig = rig.kill(ALWAYS);
    let view = rig.facts.view();
    assert_eq!((view.damaged, view.lost, view.cut), (0, 0, 0));
    rig.take();
    assert_eq!(rig.sent, [8, 9]);
}

#[test]
fn files_that_are_written_over_take_no_more_of_the_disk_than_the_spool_may() {
    let disk = ModelDisk::new();
    let mut rig = Rig::start(&disk, ALWAYS, 2).unwrap();
    let on_disk = |rig: &Rig| -> u64 {
        let size = |name: String| disk.metadata(&Path::new(DIR).join(name)).unwrap().len;
        rig.files().into_iter().map(size).sum()
    };
    let (mut number, mut most, mut spare) = (0, 0, 0);
    for round in 0..12 {
        // Nothing is acknowledged until it is full, every third time.
        for _ in 0..if round % 3 == 2 { 100 } else { 7 } {
            if rig.put(number, 20_000).is_err() {
                break;
            }
            number += 1;
            let view = rig.facts.view();
            // What is done and not put away yet is in neither.
            let told = view.bytes + view.spare_bytes;
            assert!(
                (told..=told + (2 << 16)).contains(&on_disk(&rig)),
                "{view:?}"
            );
            most = most.max(on_disk(&rig));
        }
        rig.take();
        rig.ack();
        // Segments are put by one at a time.
        rig.feed.tidy_now();
        spare = spare.max(rig.facts.view().spare_bytes);
    }
    // The newest stays though it is done.
    assert!(most <= ALWAYS.max_size + (64 << 10), "{most}");
    assert!(
        most > ALWAYS.max_size - 100_000,
        "{most}: it was never full"
    );
    assert!(spare > 40_000, "{spare}: nothing was put by");
    assert_eq!(rig.sent, (0..number).collect::<Vec<_>>());
    rig.writer = None;
    run(rig.feed).unwrap();
    let names = disk.list(Path::new(DIR)).unwrap();
    assert_eq!(names, ["position"], "the end leaves nothing");
}

#[test]
fn what_rots_at_the_end_of_a_file_that_was_written_over_is_missed() {
    let mut rig = Rig::start(&ModelDisk::new(), ALWAYS, 2).unwrap();
    for number in 0..5 {
        rig.put(number, 25_000).unwrap();
        rig.take();
        rig.ack();
    }
    for number in 5..10 {
        rig.put(number, 20_000).unwrap();
    }
    let mut over = rig.files().into_iter().filter(|name| name.contains('-'));
    let path = Path::new(DIR).join(over.next().unwrap());
    let file = rig.disk.open(&path, crate::disk::Open::Existing).unwrap();
    let bytes = rig.disk.read(&path).unwrap();
    // The head of the last block that was written there.
    let last = memchr::memmem::rfind(&bytes, b"LFS2").unwrap() as u64;
    file.write_at(b"X", last).unwrap();
    let mut rig = rig.kill(ALWAYS);
    assert_eq!(rig.facts.view().damaged, 1);
    rig.take();
    assert_eq!(rig.sent.len(), 4, "{:?}", rig.sent);
}

#[test]
fn a_power_cut_leaves_only_what_was_written() {
    for seed in 0..200 {
        let disk = ModelDisk::new();
        let mut rig = Rig::start(&disk, ALWAYS, 1).unwrap();
        for number in 0..9 {
            rig.put(number, 9_000).unwrap();
        }
        let mut rig = Rig::start(&disk.crash(seed), ALWAYS, 1).unwrap();
        rig.put(9, 0).unwrap();
        rig.take();
        assert!(
            rig.sent.is_sorted_by(|one, other| one < other),
            "{:?}",
            rig.sent
        );
        assert_eq!(rig.sent.last(), Some(&9));
        rig.balanced();
    }
}

/// A text, pieces of it with a number each, how many headers, whether there are keys and timestamps, and which runs have topics.
type Given = (Vec<u8>, Vec<(u16, u16, u32)>, usize, bool, bool, u8);

fn contents() -> impl Strategy<Value = Given> {
    (
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec((any::<u16>(), any::<u16>(), any::<u32>()), 1..20),
        0..3usize,
        any::<bool>(),
        any::<bool>(),
        any::<u8>(),
    )
}

/// Records, runs and extras over a text.
fn parts(
    (text, spans, names, has_keys, has_times, topics): &Given,
) -> (Vec<Record>, Vec<Run>, Extras) {
    let span = |one: u16, other: u16| {
        let most = text.len() as u32 + 1;
        let (one, other) = (u32::from(one) % most, u32::from(other) % most);
        Span {
            start: one.min(other),
            len: one.abs_diff(other),
        }
    };
    let records: Vec<Record> = spans
        .iter()
        .map(|(one, other, number)| Record {
            value: span(*one, *other),
            at: *number,
            bytes: number.rotate_left(9),
            lines: number % 3,
        })
        .collect();
    let each = |is: bool| spans.iter().filter(move |_| is);
    let some = |number: u32, span: Span| (!number.is_multiple_of(5)).then_some(span);
    let extras = Extras {
        text: text.iter().rev().copied().collect(),
        keys: each(*has_keys)
            .map(|(one, other, number)| some(*number, span(*other, *one)))
            .collect(),
        places: each(!*has_keys)
            .map(|(one, _, number)| some(number / 7, span(*one, 7)))
            .collect(),
        timestamps: each(*has_times)
            .map(|(_, _, number)| -i64::from(*number))
            .collect(),
        headers: (0..*names)
            .flat_map(|_| spans.iter())
            .map(|(one, _, number)| some(number / 3, span(0, *one)))
            .collect(),
        header_names: (0..*names)
            .map(|name| CString::new(format!("h{name}")).unwrap())
            .collect(),
        topics: each(*topics > 0)
            .map(|(one, ..)| u32::from(topics >> (one % 8) & 1))
            .collect(),
        topic_names: vec!["t0".into(), "t1".into()],
    };
    let runs = (0..spans.len() as u32)
        .map(|at| Run {
            origin: origin(),
            base: u64::from(at) << 40,
            records: at..at + 1,
        })
        .collect();
    (records, runs, extras)
}

proptest! {
    #[test]
    fn blocks_read_back_are_those_that_were_written(given in contents(), again in 1..3u64, life in 0..2u64) {
        let life = if life == 0 { Life::NEW } else { Life::again(life) };
        let (records, runs, extras) = parts(&given);
        let contents = Contents { text: &given.0, records: &records, runs: &runs, extras: &extras };
        let count = Count { lines: 7, bytes: u64::MAX };
        let mut bytes = Vec::new();
        for number in 0..again {
            write(&mut bytes, life, (number, -5, count), &contents).unwrap();
        }
        let mut read = Parts::new(Arenas::new(0).take(1 << 16));
        let (mut at, len) = (0, given.0.len() as u32);
        for number in 0..again {
            let Found::Block(head) = find(&bytes[at..], life, number, false) else {
                return Err(TestCaseError::fail("no block"));
            };
            prop_assert_eq!((head.number, head.time, head.count), (number, -5, count));
            let body = head.body(&bytes[at..]).and_then(Body::read).unwrap();
            prop_assert!(body.fits(&read));
            body.append(&mut read, &origin());
            at += head.size();
        }
        prop_assert_eq!(at, bytes.len());
        let most = records.len();
        for number in 0..again as u32 {
            let moved = |span: &Span| Span { start: span.start + number * len, ..*span };
            let from = number as usize * most;
            for (at, record) in records.iter().enumerate() {
                let expected = Record { value: moved(&record.value), ..*record };
                prop_assert_eq!(read.records[from + at], expected);
            }
            for (at, run) in runs.iter().enumerate() {
                let other = &read.runs[from + at];
                prop_assert_eq!(other.base, run.base);
                let first = run.records.start + from as u32;
                prop_assert_eq!(&other.records, &(first..first + 1));
            }
            for at in 0..most {
                prop_assert_eq!(read.extras.key_of(from + at), extras.key_of(at));
                prop_assert_eq!(read.extras.place_of(from + at), extras.place_of(at));
                let headers: Vec<_> = read.extras.headers_of(from + at).collect();
                prop_assert_eq!(headers, extras.headers_of(at).collect::<Vec<_>>());
                prop_assert_eq!(read.extras.topics.get(from + at), extras.topics.get(at));
            }
        }
        prop_assert_eq!(&read.extras.topic_names, &extras.topic_names);
        prop_assert_eq!(read.extras.timestamps.len(), extras.timestamps.len() * again as usize);
        prop_assert_eq!(&read.extras.header_names, &extras.header_names);
    }

    #[test]
    fn a_block_that_is_cut_or_changed_anywhere_is_none(given in contents(), at in any::<u16>(), bit in 0..8u8) {
        let (records, runs, extras) = parts(&given);
        let contents = Contents { text: &given.0, records: &records, runs: &runs, extras: &extras };
        let mut bytes = Vec::new();
        write(&mut bytes, Life::NEW, (3, 0, Count::default()), &contents).unwrap();
        let at = usize::from(at) % bytes.len();
        prop_assert!(!matches!(find(&bytes[..at], Life::NEW, 0, true), Found::Block(_)));
        prop_assert!(at == 0 || find(&bytes[..at], Life::NEW, 0, true) == Found::Torn);
        let later = bytes.clone();
        bytes[at] ^= 1 << bit;
        prop_assert!(!matches!(find(&bytes, Life::NEW, 0, true), Found::Block(_)));
        let len = bytes.len();
        bytes.extend_from_slice(&later);
        prop_assert_eq!(find(&bytes, Life::NEW, 0, true), Found::Damage(len));
    }

    #[test]
    fn any_bytes_are_no_body_or_a_sound_one(bytes in proptest::collection::vec(any::<u8>(), 0..200), words in proptest::collection::vec(0..4u32, 7)) {
        let mut data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        data.extend(bytes);
        super::fuzzing::segment(&data);
        super::fuzzing::segment(&[&[0; 6][..], &data].concat());
    }
}
