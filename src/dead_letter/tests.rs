use std::os::unix::fs::PermissionsExt;

use rustix::io::Errno;
use serde_json::{Value, json};

use super::*;
use crate::disk::RealDisk;
use crate::disk::model::{Fate, ModelDisk, Random};

pub(super) const DATA_DIR: &str = "/data";
pub(super) const PLENTY: u64 = 1 << 30;

pub(super) fn letter(pipeline: &str, value: &str) -> DeadLetter {
    DeadLetter {
        time: "2026-11-21T07:00:00.2Z".parse().unwrap(),
        pipeline: pipeline.into(),
        topic: Some("web".into()),
        key: None,
        value: Some(value.into()),
        headers: Vec::new(),
        place: None,
        timestamp_ms: None,
        source: Source::Stdin { offset: 0 },
        reason: "the record is larger than the topic takes".into(),
        code: "MSG_SIZE_TOO_LARGE".into(),
    }
}

pub(super) fn open(disk: &ModelDisk, max_size: u64) -> Result<DeadLetters, DeadLetterError> {
    DeadLetters::open(Arc::new(disk.clone()), Path::new(DATA_DIR), max_size)
}

fn path(pipeline: &str) -> PathBuf {
    Path::new(DATA_DIR)
        .join(FOLDER)
        .join(format!("{pipeline}.jsonl"))
}

/// The values of the letters in a pipeline's file, as a reader sees them.
fn values(disk: &ModelDisk, pipeline: &str) -> Vec<String> {
    let bytes = disk.read(&path(pipeline)).unwrap_or_default();
    let lines = bytes.split(|&byte| byte == b'\n');
    lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .map(|line| line["value"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_letter_is_a_json_line_with_the_exact_bytes() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, PLENTY).unwrap();
    let header = |name: &str, value: Option<&[u8]>| Header {
        name: name.into(),
        value: value.map(<[u8]>::to_vec),
    };
    let not_text = DeadLetter {
        key: Some(b"k\xff".to_vec()),
        headers: vec![
            header("env", Some(b"prod")),
            header("raw", Some(b"\xfe")),
            header("none", None),
        ],
        place: Some(b"7".to_vec()),
        source: Source::File {
            path: "/var/log/a.log".into(),
            offset: 30,
        },
        ..letter("nginx", "line\n\"1\"")
    };
    let nothing = DeadLetter {
        topic: None,
        value: None,
        source: Source::Topic {
            partition: 3,
            offset: 42,
        },
        ..letter("nginx", "")
    };
    letters.set_aside(&[not_text, nothing]).unwrap();

    let text = String::from_utf8(disk.read(&path("nginx")).unwrap()).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = json!({
        "time": "2026-11-21T07:00:00.2Z",
        "pipeline": "nginx",
        "topic": "web",
        "key": "k\u{fffd}",
        "key_base64": "a/8=",
        "value": "line\n\"1\"",
        "headers": [
            {"name": "env", "value": "prod"},
            {"name": "raw", "value": "\u{fffd}", "value_base64": "/g=="},
            {"name": "none", "value": null},
        ],
        "place": "7",
        "source": {"path": "/var/log/a.log", "offset": 30},
        "reason": "the record is larger than the topic takes",
        "code": "MSG_SIZE_TOO_LARGE",
    });
    assert_eq!(lines[0], first);
    assert_eq!(lines[1]["topic"], Value::Null);
    assert_eq!(lines[1]["key"], Value::Null);
    assert_eq!(lines[1]["value"], Value::Null);
    assert_eq!(lines[1]["source"], json!({"partition": 3, "offset": 42}));
    assert_eq!(lines.len(), 2);
}

#[test]
fn each_pipeline_has_a_file_that_only_the_daemon_reads() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk);
    let mut letters = DeadLetters::open(disk, dir.path(), PLENTY).unwrap();
    let both = [letter("a", "1"), letter("../b", "2"), letter("a", "3")];
    letters.set_aside(&both).unwrap();
    letters.set_aside(&both).unwrap();
    let folder = dir.path().join(FOLDER);
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(file("a.jsonl").lines().count(), 4);
    assert_eq!(file("%2E.%2Fb.jsonl").lines().count(), 2);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("a.jsonl")), 0o600);
    let size = file("a.jsonl").len() + file("%2E.%2Fb.jsonl").len();
    assert_eq!(letters.used().unwrap(), size as u64);
}

#[test]
fn when_full_nothing_is_written_until_there_is_room_again() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, 700).unwrap();
    letters.set_aside(&[letter("a", "1")]).unwrap();
    letters.set_aside(&[letter("b", "2")]).unwrap();
    let used = letters.used().unwrap();
    let error = letters
        .set_aside(&[letter("a", "3"), letter("c", "4")])
        .unwrap_err();
    let full = matches!(error, DeadLetterError::Full { used: u, max: 700, .. } if u == used);
    assert!(full, "{error}");
    assert!(error.to_string().contains("/data/dead-letters"), "{error}");
    assert_eq!(letters.used().unwrap(), used);

    disk.rename(&path("b"), Path::new("/moved")).unwrap();
    letters.set_aside(&[letter("a", "3")]).unwrap();
    assert_eq!(values(&disk, "a"), ["1", "3"]);
}

#[test]
fn a_file_that_was_moved_away_is_begun_again() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, PLENTY).unwrap();
    letters.set_aside(&[letter("a", "1")]).unwrap();
    disk.rename(&path("a"), Path::new("/moved")).unwrap();
    letters.set_aside(&[letter("a", "2")]).unwrap();
    let disk = disk.crash_with(|_| Fate::Lost);
    assert_eq!(values(&disk, "a"), ["2"]);
}

#[test]
fn a_half_line_is_cut_at_the_next_start() {
    for half in [1, BLOCK as usize - 1, BLOCK as usize, 3 * BLOCK as usize] {
        let disk = ModelDisk::new();
        let mut letters = open(&disk, PLENTY).unwrap();
        letters.set_aside(&[letter("a", "1")]).unwrap();
        let len = letters.used().unwrap();
        let file = disk.open(&path("a"), Open::Existing).unwrap();
        file.write_at(&vec![b'{'; half], len).unwrap();
        let mut letters = open(&disk, PLENTY).unwrap();
        assert_eq!(letters.used().unwrap(), len);
        letters.set_aside(&[letter("a", "2")]).unwrap();
        assert_eq!(values(&disk, "a"), ["1", "2"]);
    }
}

#[test]
fn a_full_disk_is_named_and_takes_no_space() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, PLENTY).unwrap();
    letters.set_aside(&[letter("a", "1")]).unwrap();
    let used = letters.used().unwrap();
    disk.fail_after(6, 1, Errno::NOSPC);
    disk.fail_after(5, 1, Errno::NOSPC);
    let error = letters.set_aside(&[letter("a", "2")]).unwrap_err();
    let text = error.to_string();
    let expected = "cannot write to /data/dead-letters/a.jsonl: No space left on device (os error 28); make room";
    assert!(text.starts_with(expected), "{text}");
    disk.heal();
    letters.set_aside(&[letter("a", "2")]).unwrap();
    assert_eq!(values(&disk, "a"), ["1", "2"]);
    assert!(letters.used().unwrap() <= 2 * used);
}

#[test]
fn what_was_set_aside_survives_kills_power_cuts_and_faults() {
    for seed in 0..600 {
        let mut random = Random(seed);
        let mut disk = ModelDisk::new();
        let mut told: Vec<(&str, String)> = Vec::new();
        let mut number = 0;
        for _ in 0..5 {
            match random.below(4) {
                0 => disk.crash_after(random.below(60)),
                1 => {
                    let errors = [Errno::NOSPC, Errno::IO];
                    let error = errors[random.below(2) as usize];
                    disk.fail_after(10 + random.below(40), 1 + random.below(4), error);
                }
                _ => {}
            }
            if let Ok(mut letters) = open(&disk, PLENTY) {
                for _ in 0..random.below(8) {
                    let batch: Vec<_> = (0..1 + random.below(3))
                        .map(|_| {
                            number += 1;
                            let long = "x".repeat(random.below(5000) as usize);
                            let pipeline = ["a", "b"][random.below(2) as usize];
                            (pipeline, format!("{number}{long}"))
                        })
                        .collect();
                    let aside: Vec<_> = batch
                        .iter()
                        .map(|(pipeline, value)| letter(pipeline, value))
                        .collect();
                    if letters.set_aside(&aside).is_ok() {
                        told.extend(batch);
                    }
                }
            }
            disk = match random.below(2) {
                0 => disk.restart(),
                _ => disk.crash(random.number()),
            };
            for pipeline in ["a", "b"] {
                let there = values(&disk, pipeline);
                let mine = told.iter().filter(|(of, _)| *of == pipeline);
                for (_, value) in mine {
                    assert!(there.contains(value), "seed {seed}: {pipeline} {value:.8}");
                }
            }
        }
    }
}
