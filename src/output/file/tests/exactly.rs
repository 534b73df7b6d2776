//! Exactly once, on disks that crash: whatever a transaction's end was, the files hold what is committed and nothing else.

use super::*;
use crate::flow::{Found, Mark, Stamp};
use crate::output::file::repair::{Repairing, repair};
use crate::output::file::resume::{NotResumed, Resuming, gone, mark, not_written, resume};
use crate::output::file::settings::PART;

/// What Kafka knows.
#[derive(Clone, Default)]
struct Kafka {
    stamp: Option<Stamp>,
    marks: BTreeMap<String, Mark>,
    next: Vec<i64>,
}

impl Kafka {
    fn new() -> Self {
        Self {
            next: vec![0; PARTITIONS],
            ..Self::default()
        }
    }

    fn found(&self) -> Found {
        Found {
            stamp: self.stamp.clone(),
            marks: self.marks.values().cloned().collect(),
        }
    }

    /// The output is done with these files.
    fn forget(&mut self, stamp: &Stamp, paths: &[PathBuf]) {
        self.stamp = Some(stamp.clone());
        for path in paths {
            self.marks.remove(&gone(Path::new("/srv"), path).key);
        }
    }

    fn commit(&mut self, stamp: &Stamp, files: &[entry::FileLine], next: &[i64]) {
        self.stamp = Some(stamp.clone());
        for file in files {
            let mark = mark(Path::new("/srv"), file);
            self.marks.insert(mark.key.clone(), mark);
        }
        self.next = next.to_vec();
    }
}

impl Durable for Kafka {
    fn id(&self) -> &str {
        ""
    }

    fn place(&self, _: &str, partition: i32) -> Option<Place> {
        Some(Place {
            next: self.next[partition as usize],
            leader_epoch: -1,
        })
    }

    fn adopt(&self, _: &str, _: i32, _: i64) {}
}

fn exactly(template: &str, disk: &Arc<dyn Disk>) -> Result<FileOutput, JournalError> {
    exactly_as(setup(template, 2, disk.clone(), disk.clone()))
}

fn exactly_as(mut setup: Setup) -> Result<FileOutput, JournalError> {
    setup.settings.delivery = settings::Delivery::ExactlyOnce {
        timeout: Duration::from_secs(10),
    };
    FileOutput::open(setup)
}

fn resumed(output: &mut FileOutput, disk: &Arc<dyn Disk>, kafka: &Kafka) -> Result<(), NotResumed> {
    let resuming = Resuming {
        disk: &**disk,
        folder: Path::new("/srv"),
        longest: u64::MAX,
        now: "NOW",
    };
    let found = kafka.found();
    resume(&resuming, output.writer.journal(), &found)?;
    output.untold = not_written(Path::new("/srv"), output.writer.journal(), &found)?;
    Ok(())
}

/// Finishes files, and lets Kafka forget them. `false` when the process ends on the way.
fn rotate(
    output: &mut FileOutput,
    kafka: &mut Kafka,
    random: &mut Random,
    writer: &str,
    number: &mut u64,
) -> bool {
    if output.rotate().is_err() {
        return false;
    }
    while !output.untold.is_empty() {
        *number += 1;
        let stamp = Stamp {
            writer: writer.to_owned(),
            number: *number,
        };
        if output
            .writer
            .journal()
            .prepare(stamp.clone(), Vec::new())
            .is_err()
        {
            return false;
        }
        match random.below(6) {
            0 => {
                if random.below(2) == 0 {
                    kafka.forget(&stamp, &output.untold);
                }
                return false;
            }
            1 => {
                if output.writer.void().is_err() {
                    return false;
                }
            }
            _ => {
                kafka.forget(&stamp, &output.untold);
                output.writer.journal().committed();
                output.untold.clear();
            }
        }
    }
    true
}

/// One life of the process, until everything is written or the disk is gone. Transactions are committed, void, or end so that this process
/// never hears of it.
fn live(disk: &Arc<dyn Disk>, template: &str, random: &mut Random, kafka: &mut Kafka) -> bool {
    let setup = setup(template, 2, disk.clone(), disk.clone());
    live_with(setup, disk, random, kafka)
}

/// The same; every other time files are finished as soon as there is something in them.
fn live_or_rotate(
    disk: &Arc<dyn Disk>,
    template: &str,
    random: &mut Random,
    kafka: &mut Kafka,
) -> bool {
    match random.below(2) {
        0 => live(disk, template, random, kafka),
        _ => live_with(rotating(template, disk), disk, random, kafka),
    }
}

fn live_with(setup: Setup, disk: &Arc<dyn Disk>, random: &mut Random, kafka: &mut Kafka) -> bool {
    let Ok(mut output) = exactly_as(setup) else {
        return false;
    };
    if resumed(&mut output, disk, kafka).is_err() {
        return false;
    }
    let writer = random.number().to_string();
    let (mut number, mut next) = (0, kafka.next.clone());
    if !rotate(&mut output, kafka, random, &writer, &mut number) {
        return false;
    }
    let mut ledgers = Ledgers::new(&next);
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
        if !done && random.below(3) > 0 {
            let early = match random.below(4) {
                0 => output
                    .writer
                    .encode()
                    .and_then(|()| output.writer.write_buffers()),
                _ => output.writer.encode(),
            };
            if early.is_err() {
                return false;
            }
            continue;
        }
        number += 1;
        let stamp = Stamp {
            writer: writer.clone(),
            number,
        };
        let Ok(Some(prepared)) = output.writer.prepare(stamp.clone()) else {
            return false;
        };
        match random.below(8) {
            // Nobody hears how it ended.
            0 => {
                if random.below(2) == 0 {
                    kafka.commit(&stamp, &prepared.files, &next);
                }
                return false;
            }
            // Partitions were lost.
            1 | 2 => {
                if output.writer.void().is_err() {
                    return false;
                }
                next = kafka.next.clone();
                ledgers = Ledgers::new(&next);
            }
            _ => {
                kafka.commit(&stamp, &prepared.files, &next);
                output.writer.committed();
                for (partition, next) in next.iter().enumerate() {
                    assert_eq!(ledgers.settled(partition as u64), *next);
                }
                if !rotate(&mut output, kafka, random, &writer, &mut number) {
                    return false;
                }
                if done {
                    return true;
                }
            }
        }
    }
}

/// Takes away what was moved aside, and what may not be there.
fn without_tails(disk: &ModelDisk, dir: &Path) {
    for name in disk.list(dir).unwrap_or_default() {
        let path = dir.join(&name);
        if disk.metadata(&path).unwrap().is_dir {
            without_tails(disk, &path);
        } else if name.to_string_lossy().contains(".cut-") {
            disk.remove(&path).unwrap();
        } else {
            let name = name.to_string_lossy();
            assert!(name.ends_with(PART) || is_finished(&path), "{name:?}");
        }
    }
}

/// What a reader does: files that nobody came back to, after the journal was lost, are as long as Kafka says.
fn cut_to_marks(disk: &ModelDisk, kafka: &Kafka) {
    let mut left = vec![PathBuf::from("/srv")];
    while let Some(path) = left.pop() {
        if disk.metadata(&path).is_ok_and(|meta| meta.is_dir) {
            let names = disk.list(&path).unwrap().into_iter();
            left.extend(names.map(|name| path.join(name)));
            continue;
        }
        if is_finished(&path) && !path.to_string_lossy().ends_with(PART) {
            continue;
        }
        let name = path.strip_prefix("/srv").unwrap().to_str().unwrap();
        let mark = kafka.marks.get(name).and_then(|mark| mark.value.as_deref());
        let len = mark.map_or(0, |value| {
            serde_json::from_str::<entry::FileLine>(value).unwrap().len
        });
        let Ok(file) = disk.open(&path, Open::Existing) else {
            assert_eq!(len, 0, "{} is gone", path.display());
            continue;
        };
        assert!(file.metadata().unwrap().len >= len);
        file.truncate(len).unwrap();
    }
}

#[test]
fn a_crash_at_any_operation_leaves_what_is_committed_and_nothing_else() {
    for seed in 0..6 {
        let template = TEMPLATES[seed as usize % TEMPLATES.len()];
        for at in (seed % 4..400).step_by(4) {
            let mut random = Random(seed * 1000 + at);
            let mut kafka = Kafka::new();
            let mut disk = ModelDisk::new();
            disk.crash_after(at);
            for life in 0..3 {
                let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
                live_or_rotate(&as_disk, template, &mut random, &mut kafka);
                disk = match random.below(3) {
                    0 => disk.restart(),
                    _ => disk.crash(random.number()),
                };
                // The journal is a help; what counts is in Kafka.
                if life == 1 && random.below(4) == 0 {
                    let _ = disk.remove(&journal_path(Path::new("/data"), "archive"));
                }
                disk.crash_after(random.below(80));
            }
            disk.heal();
            let disk = disk.restart();
            let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
            let mut output = exactly(template, &as_disk).unwrap();
            resumed(&mut output, &as_disk, &kafka).unwrap();
            without_tails(&disk, Path::new("/srv"));
            cut_to_marks(&disk, &kafka);
            files_hold(&disk, &kafka);
            // What a file holds that no transaction knows does not count later either.
            while !live_or_rotate(&as_disk, template, &mut random, &mut kafka) {}
            without_tails(&disk, Path::new("/srv"));
            cut_to_marks(&disk, &kafka);
            files_hold(&disk, &kafka);
        }
    }
}

#[test]
fn what_was_repaired_has_its_names_and_is_at_least_once_from_then_on() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut random, mut kafka) = (Random(3), Kafka::new());
    while !live(&as_disk, TEMPLATES[0], &mut random, &mut kafka) {}
    let plain = || FileOutput::open(setup(TEMPLATES[0], 2, as_disk.clone(), as_disk.clone()));
    assert!(matches!(plain(), Err(JournalError::Undecided { .. })));
    // A name that is taken is left alone.
    let taken = Path::new("/srv/web/0/06.log");
    disk.open(taken, Open::New { mode: 0o600 }).unwrap();

    let repairing = Repairing {
        files: &disk,
        folder: Path::new("/srv"),
        sync_bytes: 1,
        suffix: PART,
        now: "NOW",
    };
    let path = journal_path(Path::new("/data"), "archive");
    let mut journal = Journal::open(as_disk.clone(), &path, "NOW").unwrap();
    let repaired = repair(&repairing, &mut journal, Some(&kafka.found())).unwrap();
    drop(journal);
    assert!(!repaired.finished.is_empty());
    let all = lines(&disk, Path::new("/srv"));
    assert!(
        all.keys()
            .all(|path| !path.to_string_lossy().ends_with(PART))
    );
    assert!(all[taken].is_empty() && !all[Path::new("/srv/web/0/06.log.NOW")].is_empty());
    files_hold(&disk, &kafka);
    plain().unwrap().recover().unwrap();
    files_hold(&disk, &kafka);
}

#[test]
fn another_cluster_or_a_lost_topic_is_not_taken_for_an_empty_one() {
    let disk = ModelDisk::new();
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut random, mut kafka) = (Random(5), Kafka::new());
    while !live(&as_disk, TEMPLATES[2], &mut random, &mut kafka) {}
    let mut output = exactly(TEMPLATES[2], &as_disk).unwrap();
    let refused = resumed(&mut output, &as_disk, &Kafka::new());
    assert!(
        matches!(refused, Err(NotResumed::Refused(_))),
        "{refused:?}"
    );
    files_hold(&disk, &kafka);
}
