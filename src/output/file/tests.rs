//! The output as a whole, on disks that crash, fill up and fail.

mod exactly;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use rustix::io::Errno;

use super::confined::ConfinedDisk;
use super::settings::{OutputFormat, Sync};
use super::*;
use crate::disk::model::{Fate, ModelDisk, Random};
use crate::disk::{Open, RealDisk};
use crate::flow::{
    Books, Budget, Consumed, Place, Receipt, RecordView, SourceId, TimestampKind, Tracker, TrySend,
    pipe,
};

/// 2026-11-21T07:00:00Z.
const SEVEN: i64 = 1_795_244_400_000;
const HOUR: i64 = 3_600_000;

#[derive(Debug, Clone)]
struct Made {
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

struct MadeBatch(Vec<Made>);

impl Consumed for MadeBatch {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> RecordView<'_> {
        let made = &self.0[index];
        RecordView {
            topic: "web",
            partition: made.partition,
            offset: made.offset,
            timestamp_ms: made.timestamp_ms,
            timestamp_kind: TimestampKind::Create,
            key: made.key.as_deref(),
            value: Some(&made.value),
        }
    }

    fn headers(&self, _: usize, _: &mut dyn FnMut(&str, Option<&[u8]>)) {}
}

fn keyed(offset: i64, key: &[u8]) -> Made {
    Made {
        partition: 0,
        offset,
        timestamp_ms: SEVEN,
        key: Some(key.to_vec()),
        value: format!("{offset}").into_bytes(),
    }
}

fn setup(template: &str, most_open: usize, disk: Arc<dyn Disk>, files: Arc<dyn Disk>) -> Setup {
    Setup {
        name: "archive".to_owned(),
        settings: FileOutputSettings {
            path: template.to_owned(),
            format: OutputFormat::Raw,
            time_zone: "UTC".to_owned(),
            on_refused: settings::OnRefused::DeadLetter,
            sync: Sync {
                every: Duration::from_secs(3600),
                bytes: u64::MAX,
            },
            max_open_files: most_open,
            mode: 0o640,
            delivery: settings::Delivery::AtLeastOnce,
            compression: settings::Compression::default(),
            rotate: settings::Rotate::default(),
            retention: settings::Retention::default(),
            part_suffix: None,
        },
        template: PathTemplate::parse(template).unwrap(),
        data_dir: PathBuf::from("/data"),
        disk,
        files,
        refuse: Box::new(|_| Ok(())),
        books: Arc::new(OutputBooks::new()),
        hold: u64::MAX,
        clock: Arc::new(|| SEVEN),
        reopen: Call::new(),
    }
}

/// Files are finished after a few records and, by a clock that runs fast, every hour. With some templates they are compressed.
fn rotating(template: &str, disk: &Arc<dyn Disk>) -> Setup {
    let mut setup = setup(template, 2, disk.clone(), disk.clone());
    setup.settings.rotate = settings::Rotate {
        size: Some(40),
        every: Some(Duration::from_millis(HOUR as u64)),
    };
    setup.settings.compression.codec = match TEMPLATES.iter().position(|it| *it == template) {
        Some(1) => settings::Codec::Zstd,
        Some(2) => settings::Codec::Gzip,
        _ => settings::Codec::None,
    };
    let time = AtomicI64::new(SEVEN);
    setup.clock = Arc::new(move || time.fetch_add(HOUR / 9, Ordering::Relaxed));
    setup
}

/// What the consumer would hold: a ledger per partition.
struct Ledgers(Arc<Tracker<i64>>);

impl Ledgers {
    fn new(starts: &[i64]) -> Self {
        let tracker = Tracker::new(Arc::new(Books::new()));
        for (partition, start) in starts.iter().enumerate() {
            tracker.add(SourceId(partition as u64), *start);
        }
        Self(Arc::new(tracker))
    }

    fn receipt(&self, records: &[Made]) -> Receipt {
        let mut ends = BTreeMap::new();
        for record in records {
            ends.insert(record.partition as u64, record.offset + 1);
        }
        let entries = ends.into_iter().map(|(partition, end)| {
            let source = SourceId(partition);
            (source, self.0.open(source, end).unwrap())
        });
        Receipt::new(self.0.clone(), entries.collect())
    }

    fn settled(&self, partition: u64) -> i64 {
        self.0.position(SourceId(partition)).unwrap()
    }
}

fn take(output: &mut FileOutput, ledgers: &Ledgers, records: Vec<Made>) {
    let receipt = ledgers.receipt(&records);
    output
        .writer
        .take(Box::new(MadeBatch(records)), receipt, None);
}

/// All lines of all files below `dir`, by file.
fn lines(disk: &dyn Disk, dir: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let mut all = BTreeMap::new();
    for name in disk.list(dir).unwrap_or_default() {
        let path = dir.join(name);
        if disk.metadata(&path).unwrap().is_dir {
            all.extend(lines(disk, &path));
        } else {
            let text = String::from_utf8(plain(&path, disk.read(&path).unwrap())).unwrap();
            assert!(
                text.is_empty() || text.ends_with('\n'),
                "{path:?}: {text:?}"
            );
            all.insert(path, text.lines().map(str::to_owned).collect());
        }
    }
    all
}

/// What a file holds, unpacked if its name says so. Every frame is whole.
fn plain(path: &Path, bytes: Vec<u8>) -> Vec<u8> {
    let name = path.to_string_lossy().into_owned();
    if bytes.is_empty() {
        return bytes;
    }
    if name.contains(".gz") {
        let mut plain = Vec::new();
        let mut members = flate2::read::MultiGzDecoder::new(bytes.as_slice());
        members.read_to_end(&mut plain).unwrap();
        return plain;
    }
    if !name.contains(".zst") {
        return bytes;
    }
    let (mut plain, mut room) = (Vec::new(), vec![0; 1 << 17]);
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let frame = zstd_safe::find_frame_compressed_size(rest).unwrap();
        let len = zstd_safe::decompress(room.as_mut_slice(), &rest[..frame]).unwrap();
        plain.extend_from_slice(&room[..len]);
        rest = &rest[frame..];
    }
    plain
}

const PARTITIONS: usize = 3;
const RECORDS: i64 = 24;

/// The topic: record `offset` of `partition`, out of order in time around the hours.
fn record(partition: i32, offset: i64) -> Made {
    let jitter = (offset * 7 + i64::from(partition) * 3) % 5 - 2;
    Made {
        partition,
        offset,
        timestamp_ms: SEVEN + offset * HOUR / 10 + jitter * HOUR / 6,
        key: None,
        value: format!("{partition}:{offset}").into_bytes(),
    }
}

const TEMPLATES: [&str; 3] = [
    "/srv/{topic}/{partition}/%H.log",
    "/srv/{topic}-%H.log",
    "/srv/all.log",
];

/// Asserts that the files hold exactly the records below the places, each once, in order.
fn files_hold(disk: &ModelDisk, places: &dyn Durable) {
    let mut seen = [0; PARTITIONS];
    for lines in lines(disk, Path::new("/srv")).values() {
        let mut last = BTreeMap::new();
        for line in lines {
            let (partition, offset) = line.split_once(':').unwrap();
            let (partition, offset): (usize, i64) =
                (partition.parse().unwrap(), offset.parse().unwrap());
            assert!(
                last.insert(partition, offset)
                    .is_none_or(|last| last < offset)
            );
            seen[partition] += 1;
        }
    }
    for (partition, seen) in seen.into_iter().enumerate() {
        let place = places.place("web", partition as i32);
        assert_eq!(
            place.map_or(0, |place| place.next),
            seen,
            "partition {partition}"
        );
    }
}

/// One life of the process: goes on from the journal, and writes until everything is written or something fails. What was settled.
fn live(
    disk: &Arc<dyn Disk>,
    template: &str,
    random: &mut Random,
    retry: bool,
) -> (Vec<i64>, bool) {
    live_as(
        &|| setup(template, 2, disk.clone(), disk.clone()),
        random,
        retry,
    )
}

fn live_as(setup: &dyn Fn() -> Setup, random: &mut Random, retry: bool) -> (Vec<i64>, bool) {
    let mut settled = vec![0; PARTITIONS];
    // What is not survived after so many tries is the end of the process.
    let mut tries = if retry { 20 } else { 1 };
    let mut output = loop {
        match FileOutput::open(setup()) {
            Ok(output) => break output,
            Err(_) => tries -= 1,
        }
        if tries == 0 {
            return (settled, false);
        }
    };
    while output.recover().is_err() {
        tries -= 1;
        if tries == 0 {
            return (settled, false);
        }
    }
    let durable = output.durable();
    let start = |partition: usize| {
        let place = durable.place("web", partition as i32);
        place.map_or(0, |place| place.next)
    };
    let mut next: Vec<i64> = (0..PARTITIONS).map(start).collect();
    let ledgers = Ledgers::new(&next);
    loop {
        let mut batch = Vec::new();
        for _ in 0..random.below(4) + 1 {
            let partition = random.below(PARTITIONS as u64) as usize;
            if next[partition] < RECORDS {
                batch.push(record(partition as i32, next[partition]));
                next[partition] += 1;
            }
        }
        take(&mut output, &ledgers, batch);
        let done = next.iter().all(|next| *next == RECORDS);
        let sync = done || random.below(3) == 0;
        let ok = loop {
            let early = sync || random.below(4) > 0;
            let result = step(&mut output, sync).and_then(|_| match (sync, early) {
                (true, _) => Ok(()),
                // What a full buffer would do.
                (false, false) => output.writer.write_buffers(),
                (false, true) => Ok(()),
            });
            if result.is_ok() {
                break true;
            }
            tries -= 1;
            if tries == 0 {
                break false;
            }
        };
        for (partition, settled) in settled.iter_mut().enumerate() {
            *settled = ledgers.settled(partition as u64);
        }
        if !ok || done {
            return (settled, ok);
        }
    }
}

#[test]
fn a_crash_at_any_operation_leaves_every_record_once_up_to_the_journal() {
    for seed in 0..8 {
        let template = TEMPLATES[seed as usize % TEMPLATES.len()];
        for at in 0.. {
            let disk = ModelDisk::new();
            disk.crash_after(at);
            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let (settled, ended) = live(&as_disk, template, &mut Random(seed), false);

            // Power cuts and kills in turn, and another one while it recovers or goes on.
            let mut random = Random(seed * 1000 + at);
            let after = |disk: &ModelDisk, seed| match seed % 3 {
                0 => disk.restart(),
                _ => disk.crash(seed),
            };
            let mut disk = after(&disk, random.number());
            disk.crash_after(random.below(60));
            live(
                &(Arc::new(disk.clone()) as Arc<dyn Disk>),
                template,
                &mut random,
                false,
            );
            disk = after(&disk, random.number());

            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let setup_now = || setup(template, 2, as_disk.clone(), as_disk.clone());
            let mut output = FileOutput::open(setup_now()).unwrap();
            output.recover().unwrap();
            let durable = output.durable();
            files_hold(&disk, &*durable);
            for (partition, settled) in settled.iter().enumerate() {
                let place = durable.place("web", partition as i32);
                assert!(place.map_or(0, |place| place.next) >= *settled);
            }
            drop(output);
            let (settled, whole) = live(&as_disk, template, &mut random, false);
            assert!(whole && settled.iter().all(|settled| *settled == RECORDS));
            files_hold(&disk, &*FileOutput::open(setup_now()).unwrap().durable());
            if ended {
                break;
            }
        }
    }
}

#[test]
fn a_crash_at_any_operation_of_a_rotation_leaves_every_record_once_and_no_file_is_overwritten() {
    let mut finished = 0;
    for seed in 0..3 {
        let template = TEMPLATES[seed as usize % TEMPLATES.len()];
        for at in 0.. {
            let mut random = Random(seed * 1000 + at);
            let disk = ModelDisk::new();
            disk.crash_after(at);
            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let (_, ended) = live_as(&|| rotating(template, &as_disk), &mut Random(seed), false);
            let mut disk = disk;
            // The second time while it recovers or goes on.
            for most in [60, 0] {
                disk = match random.below(3) {
                    0 => disk.restart(),
                    _ => disk.crash(random.number()),
                };
                if most > 0 {
                    disk.crash_after(random.below(most));
                    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
                    live_as(&|| rotating(template, &as_disk), &mut random, false);
                }
            }
            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let mut output = FileOutput::open(rotating(template, &as_disk)).unwrap();
            output.recover().unwrap();
            files_hold(&disk, &*output.durable());
            drop(output);
            let (_, whole) = live_as(&|| rotating(template, &as_disk), &mut random, false);
            assert!(whole);
            let output = FileOutput::open(rotating(template, &as_disk)).unwrap();
            files_hold(&disk, &*output.durable());
            let files = lines(&disk, Path::new("/srv"));
            finished += files.keys().filter(|path| is_finished(path)).count();
            if ended {
                break;
            }
        }
    }
    assert!(finished > 500, "{finished}");
}

#[test]
fn at_each_full_interval_files_are_finished_also_when_nothing_comes() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let time = Arc::new(AtomicI64::new(SEVEN + HOUR / 2));
    let now = time.clone();
    let mut setup = setup(
        "/srv/{topic}/{partition}.log",
        2,
        as_disk.clone(),
        as_disk.clone(),
    );
    setup.settings.rotate.every = Some(Duration::from_millis(HOUR as u64));
    setup.settings.part_suffix = Some(".open".to_owned());
    setup.clock = Arc::new(move || now.load(Ordering::Relaxed));
    let books = setup.books.clone();
    let mut output = FileOutput::open(setup).unwrap();
    output.recover().unwrap();
    let ledgers = Ledgers::new(&[0, 0, 0]);
    let names = || -> Vec<String> {
        let names = disk.list(Path::new("/srv/web")).unwrap_or_default();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    };
    take(&mut output, &ledgers, vec![record(0, 7), record(1, 3)]);
    step(&mut output, true).unwrap();
    assert_eq!(names(), ["0.log.open", "1.log.open"]);
    // Half an hour is left, and is looked at again before that: clocks are set.
    assert_eq!(output.rest(), Duration::from_secs(60));

    time.store(SEVEN + HOUR - 1, Ordering::Relaxed);
    assert_eq!(output.rest(), Duration::from_millis(1));
    step(&mut output, false).unwrap();
    assert_eq!(books.entries().finished_files, 0);
    time.store(SEVEN + HOUR, Ordering::Relaxed);
    step(&mut output, false).unwrap();
    assert_eq!(names(), ["0.log.7", "1.log.3"]);
    assert_eq!(books.entries().finished_files, 2);

    // In the middle of a window, which is synced for it.
    take(&mut output, &ledgers, vec![record(0, 8)]);
    step(&mut output, false).unwrap();
    step(&mut output, true).unwrap();
    take(&mut output, &ledgers, vec![record(0, 9)]);
    time.store(SEVEN + 2 * HOUR, Ordering::Relaxed);
    step(&mut output, false).unwrap();
    assert_eq!(ledgers.settled(0), 10);
    assert_eq!(names(), ["0.log.7", "0.log.8", "1.log.3"]);

    // A clock that is set back finishes nothing, and no name is used twice.
    time.store(SEVEN, Ordering::Relaxed);
    take(&mut output, &ledgers, vec![record(0, 8)]);
    step(&mut output, true).unwrap();
    assert_eq!(names(), ["0.log.7", "0.log.8", "0.log.open", "1.log.3"]);
    time.store(SEVEN + HOUR, Ordering::Relaxed);
    step(&mut output, false).unwrap();
    assert_eq!(names(), ["0.log.7", "0.log.8", "0.log.8.1", "1.log.3"]);
}

#[test]
fn retention_removes_what_this_output_finished_and_nothing_else() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let time = Arc::new(AtomicI64::new(SEVEN));
    let open = |files| {
        let now = time.clone();
        let mut setup = setup(
            "/srv/{topic}/{partition}.log",
            2,
            as_disk.clone(),
            as_disk.clone(),
        );
        setup.settings.rotate.every = Some(Duration::from_millis(HOUR as u64));
        setup.settings.retention.files = files;
        setup.clock = Arc::new(move || now.load(Ordering::Relaxed));
        let books = setup.books.clone();
        let mut output = FileOutput::open(setup).unwrap();
        output.recover().unwrap();
        (output, books)
    };
    let names = || -> Vec<String> {
        let names = disk.list(Path::new("/srv/web")).unwrap_or_default();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    };
    let ledgers = Ledgers::new(&[0, 0, 0]);
    let (mut output, _) = open(None);
    for offset in 1..5 {
        take(&mut output, &ledgers, vec![record(0, offset)]);
        step(&mut output, true).unwrap();
        time.fetch_add(HOUR, Ordering::Relaxed);
        step(&mut output, false).unwrap();
    }
    drop(output);
    // Others have put files there, one of them under the name of a finished one.
    for foreign in ["0.log.0", "9.log.1"] {
        let path = Path::new("/srv/web").join(foreign);
        disk.open(&path, Open::New { mode: 0o600 }).unwrap();
    }
    disk.remove(Path::new("/srv/web/0.log.2")).unwrap();
    disk.open(Path::new("/srv/web/0.log.2"), Open::New { mode: 0o600 })
        .unwrap();
    let (mut output, books) = open(Some(2));
    take(&mut output, &ledgers, vec![record(0, 5)]);
    step(&mut output, true).unwrap();
    let left = [
        "0.log", "0.log.0", "0.log.2", "0.log.3", "0.log.4", "9.log.1",
    ];
    assert_eq!(names(), left);
    assert_eq!(books.entries().removed_files, 1);
    // What it does not know any more it does not look for again, also after a start.
    drop(output);
    let (mut output, books) = open(Some(2));
    time.fetch_add(HOUR, Ordering::Relaxed);
    step(&mut output, false).unwrap();
    let left = ["0.log.0", "0.log.2", "0.log.4", "0.log.5", "9.log.1"];
    assert_eq!(names(), left);
    assert_eq!(books.entries().removed_files, 1);
}

#[test]
fn a_file_that_is_moved_away_gets_nothing_more_and_everything_stands_once() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("srv");
    let template = format!("{}/all.log", folder.display());
    let confined = Arc::new(ConfinedDisk::new(&folder));
    let mut setup = setup(&template, 2, Arc::new(RealDisk), confined);
    setup.data_dir = home.path().join("data");
    let (books, reopen) = (setup.books.clone(), setup.reopen.clone());
    let mut output = FileOutput::open(setup).unwrap();
    output.recover().unwrap();
    let bell: Arc<dyn Ring> = Arc::new(Bell::new());
    output.listen(&bell);
    let ledgers = Ledgers::new(&[0]);
    let (file, moved) = (folder.join("all.log"), folder.join("moved"));
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let sync = |output: &mut FileOutput| {
        // What is written is taken back once when it is noticed.
        eventually(|| step(output, true).is_ok());
    };
    take(&mut output, &ledgers, vec![keyed(0, b"")]);
    sync(&mut output);

    // Between two windows, with a call.
    std::fs::rename(&file, &moved).unwrap();
    reopen.call();
    step(&mut output, false).unwrap();
    assert!(!output.is_called());
    take(&mut output, &ledgers, vec![keyed(1, b"")]);
    sync(&mut output);
    assert_eq!((text(&moved), text(&file)), ("0\n".into(), "1\n".into()));

    // In the middle of one, without.
    take(&mut output, &ledgers, vec![keyed(2, b"")]);
    step(&mut output, false).unwrap();
    output.writer.write_buffers().unwrap();
    std::fs::rename(&file, &moved).unwrap();
    assert_eq!(text(&moved), "1\n2\n");
    take(&mut output, &ledgers, vec![keyed(3, b"")]);
    sync(&mut output);
    assert_eq!((text(&moved), text(&file)), ("1\n".into(), "2\n3\n".into()));

    // Truncated and deleted: what was there is gone, what comes is not.
    std::fs::write(&file, "").unwrap();
    take(&mut output, &ledgers, vec![keyed(4, b"")]);
    sync(&mut output);
    assert_eq!(text(&file), "4\n");
    std::fs::remove_file(&file).unwrap();
    take(&mut output, &ledgers, vec![keyed(5, b"")]);
    sync(&mut output);
    assert_eq!(text(&file), "5\n");
    assert_eq!(ledgers.settled(0), 6);
    assert_eq!(books.entries().missing_files, 3);
}

/// Whether a name says that nothing more is written there.
fn is_finished(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.split_once(".log.")
        .is_some_and(|(_, rest)| rest.starts_with(|it: char| it.is_ascii_digit()))
}

#[test]
fn any_failing_operation_is_survived_and_nothing_is_torn_or_doubled() {
    for seed in 0..3 {
        let template = TEMPLATES[seed as usize % TEMPLATES.len()];
        let new = |disk: &Arc<dyn Disk>| match seed % 2 {
            0 => setup(template, 2, disk.clone(), disk.clone()),
            _ => rotating(template, disk),
        };
        for (error, times) in [
            (Errno::NOSPC, 1),
            (Errno::IO, 1),
            (Errno::IO, 3),
            (Errno::ROFS, 9),
        ] {
            for at in 0.. {
                let disk = ModelDisk::new();
                let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
                // The journal is made first: an output whose journal cannot be made does not start.
                drop(FileOutput::open(new(&as_disk)).unwrap());
                disk.fail_after(at, times, error);
                let before = disk.operations();
                let (settled, whole) = live_as(&|| new(&as_disk), &mut Random(seed), true);
                assert!(whole && settled.iter().all(|settled| *settled == RECORDS));
                let failed = disk.operations() - before > at;
                disk.heal();
                for disk in [
                    disk.clone(),
                    disk.crash_with(|_| Fate::Lost),
                    disk.crash(at),
                ] {
                    let plain: Arc<dyn Disk> = Arc::new(disk.clone());
                    let mut output = FileOutput::open(new(&plain)).unwrap();
                    output.recover().unwrap();
                    let durable = output.durable();
                    let end = Some(Place {
                        next: RECORDS,
                        leader_epoch: -1,
                    });
                    assert_eq!(durable.place("web", 0), end);
                    files_hold(&disk, &*durable);
                }
                if !failed {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_kill_soon_after_a_failure_leaves_every_record_once_up_to_the_journal() {
    for seed in 0..3 {
        let template = TEMPLATES[seed as usize % TEMPLATES.len()];
        for (at, more) in (5..200).flat_map(|at| (1..12).map(move |more| (at, more))) {
            let disk = ModelDisk::new();
            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            disk.fail_after(at, 1, Errno::IO);
            disk.crash_after(at + more);
            let (settled, _) = live(&as_disk, template, &mut Random(seed), true);
            let disk = disk.restart();
            let plain: Arc<dyn Disk> = Arc::new(disk.clone());
            let mut output = FileOutput::open(setup(template, 2, plain.clone(), plain)).unwrap();
            output.recover().unwrap();
            assert_eq!(output.books.entries().missing_files, 0);
            let durable = output.durable();
            files_hold(&disk, &*durable);
            for (partition, settled) in settled.iter().enumerate() {
                let place = durable.place("web", partition as i32);
                assert!(place.map_or(0, |place| place.next) >= *settled);
            }
        }
    }
}

/// Writes down what is done, in order.
#[derive(Debug, Clone)]
struct Recording {
    disk: ModelDisk,
    log: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct RecordingFile(Box<dyn crate::disk::DiskFile>, PathBuf, Recording);

impl Recording {
    fn say(&self, what: &str, path: &Path) {
        let line = format!("{what} {}", path.display());
        self.log.lock().unwrap().push(line);
    }
}

impl Disk for Recording {
    fn open(
        &self,
        path: &Path,
        how: crate::disk::Open,
    ) -> io::Result<Box<dyn crate::disk::DiskFile>> {
        let file = self.disk.open(path, how)?;
        Ok(Box::new(RecordingFile(
            file,
            path.to_path_buf(),
            self.clone(),
        )))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn metadata(&self, path: &Path) -> io::Result<crate::disk::Meta> {
        self.disk.metadata(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
        self.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename_new(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.disk.create_dir(path, mode)
    }

    fn fsync_dir(&self, dir: &Path) -> io::Result<()> {
        self.say("fsync", dir);
        self.disk.fsync_dir(dir)
    }
}

impl crate::disk::DiskFile for RecordingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.2.say("write", &self.1);
        self.0.write_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.2.say("cut", &self.1);
        self.0.truncate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.2.say("fdatasync", &self.1);
        self.0.sync_data()
    }

    fn metadata(&self) -> io::Result<crate::disk::Meta> {
        self.0.metadata()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}

struct RecordedSettlement(Recording);

impl crate::flow::Settle for RecordedSettlement {
    fn settle(&self, _: &[(SourceId, crate::flow::EntryId)], _: &crate::flow::Outcome) {
        self.0.say("settle", Path::new(""));
    }

    fn abandon(&self, _: &[(SourceId, crate::flow::EntryId)]) {
        self.0.say("abandon", Path::new(""));
    }

    fn annul(&self, _: &[(SourceId, crate::flow::EntryId)], _: crate::flow::Count) {
        self.0.say("annul", Path::new(""));
    }
}

#[test]
fn a_sync_is_data_then_folders_then_journal_then_settlement() {
    let recording = Recording {
        disk: ModelDisk::new(),
        log: Arc::default(),
    };
    let disk: Arc<dyn Disk> = Arc::new(recording.clone());
    let setup = setup("/srv/{topic}/{partition}.log", 8, disk.clone(), disk);
    let mut output = FileOutput::open(setup).unwrap();
    crate::disk::create_dirs(&recording.disk, Path::new("/srv/web"), 0o700).unwrap();
    recording.log.lock().unwrap().clear();
    let settler = Arc::new(RecordedSettlement(recording.clone()));
    let mut sync = |records: Vec<Made>| {
        let receipt = Receipt::new(settler.clone(), Vec::new());
        output
            .writer
            .take(Box::new(MadeBatch(records)), receipt, None);
        output.writer.sync().unwrap();
        let log = std::mem::take(&mut *recording.log.lock().unwrap());
        log.join("\n")
            .replace("/data/outputs/archive.journal.new", "journal")
    };
    assert_eq!(
        sync(vec![record(0, 0), record(1, 0)]),
        "write journal\nfdatasync journal\n\
         write /srv/web/0.log\nwrite /srv/web/1.log\n\
         fdatasync /srv/web/0.log\nfdatasync /srv/web/1.log\n\
         fsync /\nfsync /srv\nfsync /srv/web\n\
         write journal\nfdatasync journal\nsettle "
    );
    assert_eq!(
        sync(vec![record(1, 1)]),
        "write /srv/web/1.log\nfdatasync /srv/web/1.log\nwrite journal\nfdatasync journal\nsettle "
    );
}

#[test]
fn few_descriptors_serve_many_files_and_none_is_closed_unsynced() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let setup = setup("/srv/{key}.log", 3, as_disk.clone(), as_disk);
    let books = setup.books.clone();
    let mut output = FileOutput::open(setup).unwrap();
    let ledgers = Ledgers::new(&[0]);
    for round in 0..2 {
        for half in 0..2 {
            let at = (round * 2 + half) * 20;
            let records = (at..at + 20).map(|n| keyed(n, format!("k{}", n % 20).as_bytes()));
            take(&mut output, &ledgers, records.collect());
            output.writer.encode().unwrap();
            output.writer.write_buffers().unwrap();
        }
        output.writer.sync().unwrap();
        assert!(books.entries().open_files <= 3);
    }
    let durable = lines(&disk.crash_with(|_| Fate::Lost), Path::new("/srv"));
    assert_eq!(durable.len(), 20);
    for (n, lines) in (0..20).zip([0, 1, 2]) {
        let path = PathBuf::from(format!("/srv/k{n}.log"));
        let expected: Vec<_> = (0..4).map(|round| format!("{}", round * 20 + n)).collect();
        assert_eq!(durable[&path], expected, "{lines}");
    }
}

/// Puts everything into a pipe, and gives the receiving end.
fn piped(batches: Vec<(Vec<Made>, Receipt)>, bell: &Arc<Bell>) -> Receiver<Fetched> {
    let (_, shares) = Budget::split(1 << 20, 1);
    let (sender, receiver) = pipe(64, bell.clone(), Arc::new(Bell::new()));
    for (records, receipt) in batches {
        let fetched = Fetched::Records {
            records: Box::new(MadeBatch(records)),
            receipt,
            charge: shares[0].try_take(1).unwrap(),
        };
        assert!(matches!(sender.try_send(fetched), TrySend::Sent));
        assert!(matches!(sender.try_send(Fetched::Flush), TrySend::Sent));
    }
    receiver
}

#[test]
fn a_refused_record_is_dropped_and_counted_or_stops_the_output_as_it_is_told() {
    for on_refused in [settings::OnRefused::Drop, settings::OnRefused::Stop] {
        let disk: Arc<dyn Disk> = Arc::new(ModelDisk::new());
        let mut setup = setup("/srv/{key}.log", 8, disk.clone(), disk.clone());
        setup.settings.on_refused = on_refused;
        setup.refuse = Box::new(|_| panic!("nothing is set aside"));
        let books = setup.books.clone();
        let mut output = FileOutput::open(setup).unwrap();
        output.recover().unwrap();
        let ledgers = Ledgers::new(&[0]);
        let records = vec![keyed(0, b"a"), keyed(1, b"../a"), keyed(2, b"a")];
        take(&mut output, &ledgers, records);
        let synced = step(&mut output, true);
        if on_refused == settings::OnRefused::Drop {
            synced.unwrap();
            assert_eq!(ledgers.settled(0), 3);
            let entries = ledgers.0.books().entries();
            assert_eq!(entries.acked.lines, 2);
            assert_eq!(entries.dropped["path_refused"].lines, 1);
            assert_eq!(books.entries().refused.lines, 1);
        } else {
            let told = synced.unwrap_err().to_string();
            assert!(
                told.contains("offset 1") && told.contains("`on_refused` is `stop`"),
                "{told}"
            );
            assert!(step(&mut output, true).is_err());
            assert_eq!(ledgers.settled(0), 0);
            output.writer.forgo();
        }
    }
}

#[test]
fn hostile_keys_touch_nothing_outside_and_are_set_aside_once() {
    let home = tempfile::tempdir().unwrap();
    let (inside, outside) = (home.path().join("in"), home.path().join("out"));
    std::fs::create_dir_all(inside.join("folder.log")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(outside.join("x"), inside.join("link.log")).unwrap();
    let template = format!("{}/{{key}}.log", inside.display());
    let disk = Arc::new(RealDisk);
    let confined = Arc::new(ConfinedDisk::new(&inside));
    let mut setup = setup(&template, 8, disk, confined);
    setup.data_dir = home.path().join("data");
    let refused = Arc::new(Mutex::new(Vec::new()));
    let log = refused.clone();
    setup.refuse = Box::new(move |refused| {
        let offset = refused.records.get(refused.index).offset;
        log.lock()
            .unwrap()
            .push((offset, refused.reason.to_string()));
        Ok(())
    });
    let books = setup.books.clone();
    let long = [b'k'; 300];
    let keys: [&[u8]; 11] = [
        b"fine", b"../x", b"/", b"nul\0", &long, b"link", b"folder", b"\xff", b"", b"..", b"fine",
    ];
    let mut records: Vec<_> = (0..).zip(keys).map(|(n, key)| keyed(n, key)).collect();
    records.push(Made {
        key: None,
        ..keyed(11, b"")
    });
    let ledgers = Ledgers::new(&[0]);
    let receipt = ledgers.receipt(&records);
    let bell = Arc::new(Bell::new());
    let pipe = piped(vec![(records, receipt)], &bell);
    run(FileOutput::open(setup).unwrap(), &pipe, &bell, &Stop::new());

    let mut refused = refused.lock().unwrap().clone();
    refused.sort();
    let offsets: Vec<_> = refused.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [1, 2, 3, 4, 5, 6, 8, 11], "{refused:?}");
    assert_eq!(refused[4].1, "its path leads through a symbolic link");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(std::fs::read(inside.join("fine.log")).unwrap(), b"0\n10\n");
    assert_eq!(std::fs::read(inside.join("...log")).unwrap(), b"9\n");
    let entries = books.entries();
    assert_eq!((entries.written.lines, entries.refused.lines), (4, 8));
    assert_eq!(entries.consumed.lines, 12);
    assert_eq!(ledgers.settled(0), 12);
}

/// Waits for another thread without a limit of its own: the test's runner has one.
fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::yield_now();
    }
}

#[test]
fn a_full_disk_pauses_the_output_and_it_goes_on_by_itself() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let setup = setup("/srv/{topic}.log", 8, as_disk.clone(), as_disk);
    let books = setup.books.clone();
    let output = FileOutput::open(setup).unwrap();
    let ledgers = Ledgers::new(&[0]);
    let records: Vec<_> = (0..9).map(|offset| record(0, offset)).collect();
    let receipt = ledgers.receipt(&records);
    let bell = Arc::new(Bell::new());
    let pipe = piped(vec![(records, receipt)], &bell);
    disk.fail_after(0, u64::MAX, Errno::NOSPC);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(output, &pipe, &bell, &Stop::new()));
        eventually(|| books.entries().paused.is_some());
        assert_eq!(ledgers.settled(0), 0);
        let why = books.entries().paused.unwrap();
        assert!(
            why.contains("/srv/web.log") && why.contains("make room"),
            "{why}"
        );
        disk.heal();
        running.join().unwrap();
    });
    assert_eq!(ledgers.settled(0), 9);
    assert_eq!(books.entries().paused, None);
    assert_eq!(
        lines(&disk, Path::new("/srv"))[Path::new("/srv/web.log")].len(),
        9
    );
}

#[test]
fn a_hard_stop_ends_a_paused_output_and_settles_nothing() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    // A file stands where a folder is needed.
    disk.open(Path::new("/srv"), crate::disk::Open::New { mode: 0o600 })
        .unwrap();
    let setup = setup("/srv/{topic}.log", 8, as_disk.clone(), as_disk);
    let books = setup.books.clone();
    let output = FileOutput::open(setup).unwrap();
    let ledgers = Ledgers::new(&[0]);
    let records = vec![record(0, 0)];
    let receipt = ledgers.receipt(&records);
    let (bell, stop) = (Arc::new(Bell::new()), Stop::new());
    let pipe = piped(vec![(records, receipt)], &bell);
    thread::scope(|scope| {
        let running = scope.spawn(|| run(output, &pipe, &bell, &stop));
        eventually(|| books.entries().paused.is_some());
        let why = books.entries().paused.unwrap();
        assert!(why.contains("move what stands there away"), "{why}");
        stop.harden();
        running.join().unwrap();
    });
    assert_eq!(ledgers.settled(0), 0);
    assert_eq!(ledgers.0.abandoned(), 1);
}

#[test]
fn a_window_is_synced_by_time_by_bytes_and_by_what_it_holds_without_being_asked() {
    let by_time: fn(&mut Setup) = |setup| setup.settings.sync.every = Duration::from_millis(1);
    let by_bytes: fn(&mut Setup) = |setup| setup.settings.sync.bytes = 4;
    let by_hold: fn(&mut Setup) = |setup| setup.hold = 100;
    for limit in [by_time, by_bytes, by_hold] {
        let disk: Arc<dyn Disk> = Arc::new(ModelDisk::new());
        let mut setup = setup("/srv/{topic}.log", 8, disk.clone(), disk);
        limit(&mut setup);
        let output = FileOutput::open(setup).unwrap();
        let ledgers = Ledgers::new(&[0]);
        let (bell, stop) = (Arc::new(Bell::new()), Stop::new());
        let (_, shares) = Budget::split(1 << 20, 1);
        let (sender, receiver) = pipe(4, bell.clone(), Arc::new(Bell::new()));
        let records = vec![record(0, 0)];
        let fetched = Fetched::Records {
            receipt: ledgers.receipt(&records),
            records: Box::new(MadeBatch(records)),
            charge: shares[0].try_take(100).unwrap(),
        };
        thread::scope(|scope| {
            let running = scope.spawn(|| run(output, &receiver, &bell, &stop));
            assert!(matches!(sender.try_send(fetched), TrySend::Sent));
            eventually(|| ledgers.settled(0) == 1 && shares[0].used() == 0);
            drop(sender);
            running.join().unwrap();
        });
    }
}

#[test]
fn a_file_that_somebody_removes_cuts_or_replaces_is_noticed_and_nothing_after_is_lost() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut output =
        FileOutput::open(setup("/srv/{topic}.log", 8, as_disk.clone(), as_disk)).unwrap();
    let ledgers = Ledgers::new(&[0]);
    let path = Path::new("/srv/web.log");
    let mut offset = 0;
    let mut write = |output: &mut FileOutput, meddle: &dyn Fn()| {
        take(output, &ledgers, vec![record(0, offset)]);
        offset += 1;
        output.writer.encode().unwrap();
        output.writer.write_buffers().unwrap();
        meddle();
        while output.writer.sync().is_err() {
            output.writer.begin_again().unwrap();
        }
    };
    let found = || {
        lines(&disk, Path::new("/srv"))
            .remove(path)
            .unwrap_or_default()
    };
    write(&mut output, &|| {});
    write(&mut output, &|| disk.remove(path).unwrap());
    assert_eq!(found(), ["0:1"]);
    disk.remove(path).unwrap();
    write(&mut output, &|| {});
    assert_eq!(found(), ["0:2"]);
    let cut = || {
        let file = disk.open(path, crate::disk::Open::Existing).unwrap();
        file.truncate(0).unwrap();
    };
    write(&mut output, &cut);
    assert_eq!(found(), ["0:3"]);
    cut();
    write(&mut output, &|| {});
    assert_eq!(found(), ["0:4"]);
    assert_eq!(ledgers.settled(0), 5);
}

/// Writes two records, of which the second one is not synced, and gives the disk.
fn with_unsynced_tail() -> ModelDisk {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut output =
        FileOutput::open(setup("/srv/{topic}.log", 8, as_disk.clone(), as_disk)).unwrap();
    let ledgers = Ledgers::new(&[0]);
    take(&mut output, &ledgers, vec![record(0, 0)]);
    output.writer.sync().unwrap();
    take(&mut output, &ledgers, vec![record(0, 1)]);
    output.writer.encode().unwrap();
    output.writer.write_buffers().unwrap();
    disk.restart()
}

fn recovered(disk: &ModelDisk) -> OutputBooks {
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let setup = setup("/srv/{topic}.log", 8, as_disk.clone(), as_disk);
    let mut output = FileOutput::open(setup).unwrap();
    output.recover().unwrap();
    let books = OutputBooks::new();
    books.change(|entries| *entries = output.books.entries());
    books
}

#[test]
fn the_tail_of_the_own_last_window_is_cut() {
    let disk = with_unsynced_tail();
    assert_eq!(recovered(&disk).entries().cut_bytes, 4);
    let files = lines(&disk, Path::new("/srv"));
    assert_eq!(files.values().flatten().collect::<Vec<_>>(), ["0:0"]);
    assert_eq!(files.len(), 1);
}

#[test]
fn a_tail_beside_a_restored_journal_is_moved_aside_and_never_deleted() {
    let disk = with_unsynced_tail();
    let journal = journal_path(Path::new("/data"), "archive");
    let bytes = disk.read(&journal).unwrap();
    disk.remove(&journal).unwrap();
    let copy = disk
        .open(&journal, crate::disk::Open::New { mode: 0o600 })
        .unwrap();
    copy.write_at(&bytes, 0).unwrap();
    assert_eq!(recovered(&disk).entries().moved_tails, 1);
    let files = lines(&disk, Path::new("/srv"));
    assert_eq!(files[Path::new("/srv/web.log")], ["0:0"]);
    let aside: Vec<_> = files
        .keys()
        .filter(|path| *path != Path::new("/srv/web.log"))
        .collect();
    assert!(aside[0].to_string_lossy().starts_with("/srv/web.log.cut-2"));
    assert_eq!(files[aside[0]], ["0:1"]);
    assert_eq!(recovered(&disk).entries(), OutputBooks::new().entries());
}

#[test]
fn files_that_are_gone_shorter_or_replaced_are_counted_once() {
    let disk = with_unsynced_tail();
    let path = Path::new("/srv/web.log");
    disk.open(path, crate::disk::Open::Existing)
        .unwrap()
        .truncate(2)
        .unwrap();
    assert_eq!(recovered(&disk).entries().missing_files, 1);
    disk.remove(path).unwrap();
    assert_eq!(recovered(&disk).entries().missing_files, 1);
    assert_eq!(recovered(&disk).entries().missing_files, 0);
    let disk = with_unsynced_tail();
    disk.remove(path).unwrap();
    disk.open(path, crate::disk::Open::New { mode: 0o600 })
        .unwrap()
        .write_at(b"another file\n", 0)
        .unwrap();
    assert_eq!(recovered(&disk).entries().missing_files, 1);
    assert_eq!(disk.read(path).unwrap(), b"another file\n");
}

/// Tells when it is dropped.
struct Watched(MadeBatch, Arc<Mutex<usize>>);

impl Drop for Watched {
    fn drop(&mut self) {
        *self.1.lock().unwrap() += 1;
    }
}

impl Consumed for Watched {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> RecordView<'_> {
        self.0.get(index)
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.0.headers(index, each);
    }
}

/// An output with batches that tell when they are dropped.
struct Watch {
    output: FileOutput,
    ledgers: Ledgers,
    dropped: Arc<Mutex<usize>>,
}

impl Watch {
    fn new(template: &str, disk: &ModelDisk) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(disk.clone());
        Self::of(setup(template, 2, disk.clone(), disk))
    }

    fn of(setup: Setup) -> Self {
        Self {
            output: FileOutput::open(setup).unwrap(),
            ledgers: Ledgers::new(&[0; PARTITIONS]),
            dropped: Arc::default(),
        }
    }

    fn take(&mut self, records: Vec<Made>, charge: Option<crate::flow::Charge>) {
        let receipt = self.ledgers.receipt(&records);
        let watched = Watched(MadeBatch(records), self.dropped.clone());
        self.output.writer.take(Box::new(watched), receipt, charge);
    }

    fn dropped(&self) -> usize {
        *self.dropped.lock().unwrap()
    }

    /// Does it until it does not fail. How often it failed.
    fn until_done(&mut self, mut what: impl FnMut(&mut Writer) -> Result<(), Fault>) -> usize {
        for failures in 0..20 {
            let begun = self.output.writer.begin_again().map_err(Fault::from);
            if begun.and_then(|()| what(&mut self.output.writer)).is_ok() {
                return failures;
            }
        }
        panic!("it fails for ever");
    }
}

/// Record `offset` of every partition.
fn row(offset: i64) -> Vec<Made> {
    (0..PARTITIONS as i32)
        .map(|partition| Made {
            timestamp_ms: SEVEN,
            key: Some(partition.to_string().into_bytes()),
            ..record(partition, offset)
        })
        .collect()
}

#[test]
fn records_are_dropped_before_the_sync_and_a_failure_after_that_loses_and_doubles_nothing() {
    for template in ["/srv/all.log", "/srv/{partition}.log", "/srv/{key}.log"] {
        for (second_window, at) in [false, true]
            .into_iter()
            .flat_map(|second| (0..40).map(move |at| (second, at)))
        {
            let disk = ModelDisk::new();
            let mut watch = Watch::new(template, &disk);
            let mut offset = 0;
            if second_window {
                watch.take(row(0), None);
                watch.until_done(Writer::sync);
                offset = 1;
            }
            // In the first window the files are not known before something is written.
            watch.take(row(offset), None);
            watch.output.writer.encode().unwrap();
            assert_eq!(watch.dropped() > offset as usize, second_window);
            watch.output.writer.write_buffers().unwrap();
            assert_eq!(watch.dropped(), offset as usize + 1);
            // Released from the buffer.
            watch.take(row(offset + 1), None);
            watch.output.writer.encode().unwrap();
            assert_eq!(watch.dropped(), offset as usize + 2);
            assert_eq!(watch.ledgers.settled(0), offset);
            let bytes = watch.output.writer.window_bytes();
            assert_eq!(bytes, 2 * 4 * PARTITIONS as u64);

            disk.fail_after(at, 1 + at % 3, Errno::IO);
            let mut failures = watch.until_done(Writer::write_buffers);
            assert_eq!(watch.output.writer.window_bytes(), bytes);
            watch.take(row(offset + 2), None);
            failures += watch.until_done(Writer::sync);
            assert_eq!(failures > 0, watch.output.books.entries().rewinds > 0);
            disk.heal();
            for partition in 0..PARTITIONS as u64 {
                assert_eq!(watch.ledgers.settled(partition), offset + 3);
            }
            let entries = watch.output.books.entries();
            let lines = (offset as u64 + 3) * PARTITIONS as u64;
            assert_eq!(entries.consumed.lines, lines);
            assert_eq!(entries.written.lines, lines);
            assert_eq!(entries.file_bytes, lines * 4);
            for disk in [disk.crash_with(|_| Fate::Lost), disk.restart()] {
                let plain: Arc<dyn Disk> = Arc::new(disk.clone());
                let again = FileOutput::open(setup(template, 2, plain.clone(), plain));
                files_hold(&disk, &*again.unwrap().durable());
            }
        }
    }
}

#[test]
fn released_records_go_into_the_file_that_stands_there_after_a_failure() {
    let home = tempfile::tempdir().unwrap();
    let inside = home.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    let path = inside.join("k.log");
    let template = format!("{}/{{key}}.log", inside.display());
    let confined = Arc::new(ConfinedDisk::new(&inside));
    let mut setup = setup(&template, 2, Arc::new(RealDisk), confined);
    setup.data_dir = home.path().join("data");
    let mut watch = Watch::of(setup);
    watch.take(vec![keyed(0, b"k")], None);
    watch.output.writer.encode().unwrap();
    watch.output.writer.write_buffers().unwrap();
    assert_eq!(watch.dropped(), 1);
    std::fs::remove_file(&path).unwrap();
    assert!(watch.output.writer.sync().is_err());
    watch.output.writer.begin_again().unwrap();
    // A folder in its place is not the record's fault any more: nobody has the record.
    std::fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        let result = watch.output.writer.sync();
        assert!(matches!(result, Err(Fault::Trouble(_))), "{result:?}");
        watch.output.writer.begin_again().unwrap();
    }
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "another\n").unwrap();
    watch.take(vec![keyed(1, b"k")], None);
    watch.until_done(Writer::sync);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "another\n0\n1\n");
    assert_eq!(watch.ledgers.settled(0), 2);
    assert_eq!(watch.output.books.entries().refused.lines, 0);
}

#[test]
fn a_refused_path_after_a_release_takes_back_only_what_was_not_released() {
    let disk = ModelDisk::new();
    crate::disk::create_dirs(&disk, Path::new("/srv/folder.log"), 0o700).unwrap();
    let mut watch = Watch::new("/srv/{key}.log", &disk);
    watch.take(vec![keyed(0, b"k")], None);
    watch.output.writer.encode().unwrap();
    watch.output.writer.write_buffers().unwrap();
    watch.take(
        vec![keyed(1, b"k"), keyed(2, b"folder"), keyed(3, b"k")],
        None,
    );
    watch.output.writer.encode().unwrap();
    assert_eq!(watch.dropped(), 1);
    assert_eq!(watch.until_done(Writer::sync), 1);
    assert_eq!(
        lines(&disk, Path::new("/srv"))[Path::new("/srv/k.log")],
        ["0", "1", "3"]
    );
    let entries = watch.output.books.entries();
    assert_eq!((entries.written.lines, entries.refused.lines), (3, 1));
    assert_eq!(watch.ledgers.settled(0), 4);
}

#[test]
fn a_released_batch_is_charged_for_its_encoded_bytes_and_given_up_as_its_records() {
    let (_, shares) = Budget::split(1 << 20, 1);
    let mut watch = Watch::new("/srv/all.log", &ModelDisk::new());
    watch.take(row(0), shares[0].try_take(5000));
    watch.output.writer.encode().unwrap();
    assert_eq!(watch.output.writer.charged(), 5000);
    watch.output.writer.write_buffers().unwrap();
    assert_eq!(watch.output.writer.charged(), 12);
    assert_eq!(shares[0].used(), 12);
    watch.take(row(1), shares[0].try_take(100));
    assert_eq!(watch.output.writer.charged(), 112);
    assert_eq!(watch.output.writer.forgo(), 2 * PARTITIONS);
    assert_eq!(shares[0].used(), 0);
}

#[test]
fn a_new_file_beside_a_busy_one_does_not_hold_records_back() {
    let mut watch = Watch::new("/srv/{key}.log", &ModelDisk::new());
    let large = |offset| Made {
        value: vec![b'x'; 600 * 1024],
        ..keyed(offset, b"busy")
    };
    watch.take(vec![large(0), keyed(1, b"busy")], None);
    watch.output.writer.encode().unwrap();
    assert_eq!(watch.dropped(), 1);
    watch.take(vec![keyed(2, b"new")], None);
    watch.output.writer.encode().unwrap();
    assert_eq!(watch.dropped(), 1);
    for offset in [3, 4] {
        watch.take(vec![large(offset)], None);
        watch.output.writer.encode().unwrap();
    }
    assert_eq!(watch.dropped(), 4);
    watch.output.writer.sync().unwrap();
    assert_eq!(watch.ledgers.settled(0), 5);
}

#[test]
fn a_window_of_many_files_is_not_released_further_and_survives_a_failure() {
    let disk = ModelDisk::new();
    let mut watch = Watch::new("/srv/{key}.log", &disk);
    watch.take(vec![keyed(0, b"0")], None);
    watch.output.writer.encode().unwrap();
    watch.output.writer.write_buffers().unwrap();
    let many = (1..200).map(|n| keyed(n, (n % 100).to_string().as_bytes()));
    watch.take(many.collect(), None);
    watch.output.writer.encode().unwrap();
    watch.output.writer.write_buffers().unwrap();
    assert_eq!(watch.dropped(), 1);
    disk.fail_after(9, 1, Errno::IO);
    assert_eq!(watch.until_done(Writer::sync), 1);
    let files = lines(&disk, Path::new("/srv"));
    assert_eq!(files.len(), 100);
    for n in 0..100 {
        let path = PathBuf::from(format!("/srv/{n}.log"));
        assert_eq!(files[&path], [n.to_string(), (n + 100).to_string()]);
    }
    assert_eq!(watch.ledgers.settled(0), 200);
}
