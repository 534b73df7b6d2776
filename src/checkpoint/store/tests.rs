use rustix::io::Errno;

use super::*;
use crate::checkpoint::state::Input;
use crate::checkpoint::{DataDirError, FileKey, Print};
use crate::disk::model::{Fate, ModelDisk, Random, crashed};
use crate::disk::{self, Open, RealDisk};

const SEEDS: std::ops::Range<u64> = 0..1000;
const DIR: &str = "/var/lib/logferry";

fn open(disk: &ModelDisk) -> Result<(Store, Recovered), StoreError> {
    Store::open(Arc::new(disk.clone()), Path::new(DIR))
}

fn entry(offset: u64) -> Entry {
    Entry {
        path: Path::new("/var/log/a.log").into(),
        dev: 1,
        inode: 2,
        birth: Some(1_795_246_085_401_000_000),
        offset,
        inside_line: offset % 2 == 1,
        skip: None,
        head: Some(Print { len: 4, crc: 5 }),
        tail: None,
        half: None,
        packed: None,
        updated: 1_795_246_085_401,
    }
}

fn put(key: u64, offset: u64) -> Change {
    Change::Put {
        input: "nginx".into(),
        key: FileKey(key),
        entry: entry(offset),
    }
}

fn offsets(store: &Store) -> Vec<(u64, u64)> {
    let entries = store.entries("nginx");
    entries.map(|(key, entry)| (key.0, entry.offset)).collect()
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn names(disk: &ModelDisk) -> Vec<String> {
    let names = disk.list(Path::new(DIR)).unwrap();
    names
        .into_iter()
        .map(|name| name.into_string().unwrap())
        .collect()
}

/// A disk on which generation 1 has `saves` saves, synced, one file each.
fn saved(saves: u64) -> ModelDisk {
    let disk = ModelDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    store.sync().unwrap();
    for n in 0..saves {
        store.save(&[put(n, n)]).unwrap();
        store.sync().unwrap();
    }
    disk
}

fn edit(disk: &ModelDisk, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = disk.read(&path(name)).unwrap();
    edit(&mut bytes);
    let file = disk.open(&path(name), Open::Existing).unwrap();
    file.truncate(0).unwrap();
    file.write_at(&bytes, 0).unwrap();
}

#[test]
fn what_was_saved_is_there_at_the_next_start() {
    let disk = ModelDisk::new();
    let (mut store, recovered) = open(&disk).unwrap();
    assert!(recovered.fresh);
    assert!(!store.started("nginx"));
    let key = store.next_key("nginx");
    let input = || "nginx".to_owned();
    store
        .save(&[
            Change::Bind {
                input: input(),
                cluster: "c1".into(),
            },
            Change::Started {
                input: input(),
                at: 7,
            },
            put(key.0, 10),
            put(key.0 + 1, 20),
        ])
        .unwrap();
    store
        .save(&[Change::Remove {
            input: input(),
            key: FileKey(key.0 + 1),
        }])
        .unwrap();
    drop(store);

    let (mut store, recovered) = open(&disk).unwrap();
    let expected = Recovered {
        fresh: false,
        cut: None,
        entries: 1,
    };
    assert_eq!(recovered, expected);
    assert_eq!(store.cluster_of("nginx"), Some("c1"));
    assert!(store.started("nginx"));
    assert_eq!(offsets(&store), [(key.0, 10)]);
    assert_eq!(store.inputs().collect::<Vec<_>>(), ["nginx"]);
    // The removed file's key is not given out again.
    assert_eq!(store.next_key("nginx"), FileKey(key.0 + 2));
    assert_eq!(store.entries("other").count(), 0);
    assert_eq!(store.cluster_of("other"), None);
}

#[test]
fn keys_are_not_given_out_again_after_a_new_generation() {
    let disk = saved(1);
    let (mut store, _) = open(&disk).unwrap();
    store
        .save(&[Change::Remove {
            input: "nginx".into(),
            key: FileKey(0),
        }])
        .unwrap();
    drop(store);
    let (mut store, _) = open(&disk).unwrap();
    assert_eq!(store.next_key("nginx"), FileKey(1));
}

#[test]
fn a_second_daemon_is_refused() {
    let disk = ModelDisk::new();
    let (_store, _) = open(&disk).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(error.is_held());
    assert!(error.to_string().contains("process"), "{error}");
}

#[test]
fn a_long_journal_becomes_a_snapshot() {
    let disk = ModelDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    for n in 0..10_000 {
        store.save(&[put(n % 10, n)]).unwrap();
        if n % 100 == 0 {
            store.sync().unwrap();
        }
    }
    let journal = store.journal.as_ref().unwrap();
    assert!(journal.generation > 1 && journal.len < 2 * JOURNAL_MIN);
    let journal = format!("checkpoint.{}.journal", journal.generation);
    let expected = [&journal, "checkpoint.json", "lock", "version"];
    assert_eq!(names(&disk), expected);
    drop(store);
    let (store, _) = open(&disk).unwrap();
    assert_eq!(offsets(&store)[9], (9, 9_999));
}

#[test]
fn a_journal_that_is_never_synced_does_not_grow_without_end() {
    let disk = ModelDisk::new();
    let (mut store, _) = open(&disk).unwrap();
    let many: Vec<Change> = (0..1000).map(|key| put(key, key)).collect();
    for _ in 0..100 {
        store.save(&many).unwrap();
    }
    let longest = (UNSYNCED_FACTOR + 1) * store.limit;
    assert!(store.journal.as_ref().unwrap().len < longest);
    assert!(store.begun > 1);
}

#[test]
fn a_torn_tail_is_cut() {
    let whole = saved(3).read(&path("checkpoint.1.journal")).unwrap();
    let lines: Vec<_> = whole.split_inclusive(|&byte| byte == b'\n').collect();
    let last = lines[3].len();
    for torn in 1..last {
        let disk = saved(3);
        edit(&disk, "checkpoint.1.journal", |bytes| {
            bytes.truncate(whole.len() - torn);
        });
        let (mut store, recovered) = open(&disk).unwrap();
        assert_eq!(offsets(&store), [(0, 0), (1, 1)]);
        let cut = recovered.cut.unwrap();
        assert_eq!(cut.offset, (whole.len() - last) as u64);
        assert_eq!(cut.bytes, (last - torn) as u64);
        store.save(&[put(5, 5)]).unwrap();
        drop(store);
        let (store, recovered) = open(&disk).unwrap();
        assert_eq!(offsets(&store), [(0, 0), (1, 1), (5, 5)]);
        assert_eq!(recovered.cut, None);
    }
}

#[test]
fn a_damaged_line_before_good_ones_stops_the_start_and_nothing_is_lost() {
    let disk = saved(3);
    let original = disk.read(&path("checkpoint.1.journal")).unwrap();
    let line = |n| {
        original
            .split_inclusive(|&byte| byte == b'\n')
            .nth(n)
            .unwrap()
    };
    let second = line(0).len() + line(1).len();
    edit(&disk, "checkpoint.1.journal", |bytes| {
        bytes[second + 40] ^= 1;
    });
    let damaged = disk.read(&path("checkpoint.1.journal")).unwrap();
    // At every start, not only at the first.
    for _ in 0..2 {
        let error = open(&disk).unwrap_err();
        let text = error.to_string();
        let StoreError::Damaged {
            what,
            set_aside: Some(aside),
            recipe,
            ..
        } = error
        else {
            panic!("{text}");
        };
        assert_eq!(what, "line 3: its CRC is wrong, and good lines follow");
        assert_eq!(disk.read(&aside).unwrap(), damaged);
        assert!(disk.metadata(&path("checkpoint.1.journal")).is_err());
        let cut = format!("truncate -s {second} {DIR}/checkpoint.1.journal");
        assert!(recipe.contains(&cut), "{recipe}");
    }
    // What the message says works.
    disk::replace(
        &disk,
        &path("checkpoint.1.journal"),
        &damaged[..second],
        0o600,
    )
    .unwrap();
    let (store, _) = open(&disk).unwrap();
    assert_eq!(offsets(&store), [(0, 0)]);
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_never_read_as_empty() {
    let whole = saved(1).read(&path("checkpoint.json")).unwrap();
    let bad_json = {
        let mut bytes = whole.clone();
        bytes[20] ^= 0x10;
        bytes
    };
    let half = whole[..whole.len() / 2].to_vec();
    for bytes in [vec![], vec![0; 300], bad_json, half, b"{}".to_vec()] {
        let disk = saved(1);
        disk::replace(&disk, &path("checkpoint.json"), &bytes, 0o600).unwrap();
        let error = open(&disk).unwrap_err();
        let StoreError::Damaged {
            set_aside: Some(aside),
            ..
        } = &error
        else {
            panic!("{error}");
        };
        let text = error.to_string();
        assert!(text.contains(&format!("{DIR}/checkpoint.json")), "{text}");
        assert!(text.contains("from a backup"), "{text}");
        assert_eq!(disk.read(aside).unwrap(), bytes);
        assert!(matches!(open(&disk), Err(StoreError::Missing { .. })));
        // Nor when the journal is gone as well.
        disk.remove(&path("checkpoint.1.journal")).unwrap();
        assert!(matches!(open(&disk), Err(StoreError::Missing { .. })));
        disk.remove(aside).unwrap();
        assert!(open(&disk).unwrap().1.fresh);
    }
}

#[test]
fn a_missing_snapshot_or_journal_stops_the_start() {
    let disk = saved(1);
    disk.remove(&path("checkpoint.json")).unwrap();
    let text = open(&disk).unwrap_err().to_string();
    let expected = format!("{DIR}/checkpoint.json is missing, but {DIR}/checkpoint.1.journal is");
    assert!(text.contains(&expected), "{text}");

    let disk = saved(1);
    disk.remove(&path("checkpoint.1.journal")).unwrap();
    let text = open(&disk).unwrap_err().to_string();
    let expected = format!("{DIR}/checkpoint.1.journal is missing, but {DIR}/checkpoint.json is");
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn a_full_disk_delays_saving_and_forgets_nothing() {
    let disk = saved(1);
    let (mut store, _) = open(&disk).unwrap();
    store.save(&[put(1, 1)]).unwrap();
    let before = disk.read(&path("checkpoint.2.journal")).unwrap();
    for tries in 1..5 {
        disk.fail_after(0, 1, Errno::NOSPC);
        let error = store.save(&[put(2, tries)]).unwrap_err().to_string();
        let expected = "/checkpoint.2.journal: No space left on device (os error 28); make room";
        assert!(error.contains(expected), "{error}");
        let after = disk.read(&path("checkpoint.2.journal")).unwrap();
        assert_eq!(after, before, "the part that was written is taken back");
    }
    assert_eq!(store.unsaved, [put(2, 4)]);
    disk.heal();
    store.save(&[put(3, 3)]).unwrap();
    drop(store);
    let (store, _) = open(&disk.restart()).unwrap();
    assert_eq!(offsets(&store), [(0, 0), (1, 1), (2, 4), (3, 3)]);
}

#[test]
fn a_full_disk_at_the_start_is_no_end() {
    let disk = saved(1);
    let (mut store, _) = open(&disk).unwrap();
    disk.fail_after(0, u64::MAX, Errno::NOSPC);
    store.save(&[put(1, 1)]).unwrap_err();
    store.sync().unwrap_err();
    disk.heal();
    store.sync().unwrap();
    let (store, _) = open(&disk.crash_with(|_| Fate::Lost)).unwrap();
    assert_eq!(offsets(&store), [(0, 0), (1, 1)]);
}

#[test]
fn after_a_failed_sync_everything_is_written_again() {
    let disk = saved(1);
    let (mut store, _) = open(&disk).unwrap();
    store.sync().unwrap();
    store.save(&[put(1, 1)]).unwrap();
    disk.fail_after(0, 1, Errno::IO);
    store.sync().unwrap_err();
    store.sync().unwrap();
    let (store, _) = open(&disk.crash_with(|_| Fate::Lost)).unwrap();
    assert_eq!(offsets(&store), [(0, 0), (1, 1)]);
}

#[test]
fn a_read_only_data_dir_is_named() {
    let disk = saved(1);
    let (mut store, _) = open(&disk).unwrap();
    disk.fail_after(0, u64::MAX, Errno::ROFS);
    let error = store.save(&[put(1, 1)]).unwrap_err();
    assert!(error.is_permission());
    let text = error.to_string();
    assert!(
        text.contains(DIR) && text.contains("mount it writable"),
        "{text}"
    );
}

#[test]
fn it_works_on_the_machines_own_disk() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    for n in 0..3 {
        let (mut store, recovered) = Store::open(Arc::clone(&disk), &dir).unwrap();
        assert_eq!(recovered.entries, n as usize);
        store.save(&[put(n, n)]).unwrap();
        store.save(&[put(n, n + 1)]).unwrap();
        store.sync().unwrap();
        let held = Store::open(Arc::clone(&disk), &dir).unwrap_err();
        assert!(held.is_held());
    }
}

/// A daemon's life after life on one disk, with what may be found at the next start.
struct History {
    random: Random,
    disk: ModelDisk,
    /// The states after each save, the oldest that may still be found first.
    states: Vec<Inputs>,
    /// Index of the last state that a sync covered.
    synced: usize,
    /// Index of the last state whose save succeeded.
    saved: usize,
    offset: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            disk: ModelDisk::new(),
            states: vec![Inputs::new()],
            synced: 0,
            saved: 0,
            offset: 0,
        }
    }

    /// Keys that were given out and never saved may be given out again.
    fn state(store: &Store) -> Inputs {
        let entries = |(name, input): (&String, &Input)| {
            let input = Input {
                next_key: 0,
                ..input.clone()
            };
            (name.clone(), input)
        };
        store.inputs.iter().map(entries).collect()
    }

    fn change(&mut self) -> Change {
        self.offset += 1;
        let input = format!("i{}", self.random.below(2));
        let key = FileKey(self.random.below(4));
        let entry = Entry {
            // Some lines span pages.
            path: PathBuf::from("x".repeat(match self.random.below(8) {
                0 => self.random.below(9000) as usize,
                _ => 5,
            }))
            .into(),
            ..entry(self.offset)
        };
        match self.random.below(8) {
            0 => Change::Remove { input, key },
            1 => Change::Bind {
                input,
                cluster: format!("c{}", self.offset),
            },
            2 => Change::Started {
                input,
                at: self.offset as i64,
            },
            _ => Change::Put { input, key, entry },
        }
    }

    /// One process, until its disk dies or it has done enough.
    fn live(&mut self) {
        if self.random.below(8) == 0 {
            let more = self.random.below(20);
            self.disk.crash_after(more);
        }
        let mut store = match open(&self.disk) {
            Ok((store, _)) => store,
            Err(StoreError::Io { source, .. })
            | Err(StoreError::DataDir(DataDirError::Io { source, .. }))
                if crashed(&source) =>
            {
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let found = Self::state(&store);
        let at = self.states.iter().rposition(|state| *state == found);
        let at = at.expect("a state that never was");
        assert!(at >= self.saved, "older than promised");
        self.states.truncate(at + 1);
        self.saved = at;

        match self.random.below(3) {
            0 => self.disk.crash_after(self.random.clone().below(150)),
            1 => {
                let errors = [Errno::NOSPC, Errno::IO, Errno::ROFS];
                let error = errors[self.random.below(3) as usize];
                let (more, times) = (self.random.below(60), 1 + self.random.below(12));
                self.disk.fail_after(more, times, error);
            }
            _ => {}
        }
        for _ in 0..self.random.below(40) {
            store.limit = store.limit.min(1500);
            if self.random.below(4) == 0 {
                if store.sync().is_ok() {
                    self.synced = self.states.len() - 1;
                    self.saved = self.synced;
                }
                continue;
            }
            let count = 1 + self.random.below(3);
            let changes: Vec<_> = (0..count).map(|_| self.change()).collect();
            let saved = store.save(&changes);
            self.states.push(Self::state(&store));
            if saved.is_ok() {
                self.saved = self.states.len() - 1;
            }
        }
    }

    fn die(&mut self) {
        if self.random.below(2) == 0 {
            self.disk = self.disk.restart();
        } else {
            let seed = self.random.number();
            self.disk = self.disk.crash(seed);
            self.saved = self.synced;
        }
    }
}

#[test]
fn every_start_finds_what_was_promised_after_kills_power_cuts_and_faults() {
    for seed in SEEDS {
        let mut history = History::new(seed);
        for _ in 0..6 {
            history.live();
            history.die();
        }
    }
}

#[test]
fn every_crash_point_of_a_history_leaves_what_was_promised() {
    for seed in 0..40 {
        for at in 0.. {
            let mut history = History::new(seed);
            let disk = history.disk.clone();
            let mut promised = (Inputs::new(), vec![Inputs::new()]);
            disk.crash_after(at);
            let mut failed = false;
            if let Ok((mut store, _)) = open(&disk) {
                for step in 0..12 {
                    store.limit = store.limit.min(700);
                    if step % 3 == 2 {
                        let result = store.sync();
                        failed |= result.is_err();
                        if result.is_ok() {
                            promised = (History::state(&store), vec![History::state(&store)]);
                        }
                    } else {
                        let changes = [history.change(), history.change()];
                        failed |= store.save(&changes).is_err();
                        promised.1.push(History::state(&store));
                    }
                    if failed {
                        break;
                    }
                }
            }
            for cut in 0..4 {
                let (store, _) = open(&disk.crash(seed << 8 | cut)).unwrap();
                assert!(promised.1.contains(&History::state(&store)));
            }
            if !failed && disk.operations() < at {
                break;
            }
        }
    }
}
