use super::super::tests::{DATA_DIR, PLENTY, letter, open};
use super::super::{DeadLetters, look};
use super::*;
use crate::dead_letter::Found;
use crate::disk::model::{ModelDisk, Random};

fn begin(disk: &ModelDisk) -> Result<Resending, TakenError> {
    Resending::begin(Arc::new(disk.clone()), Path::new(DATA_DIR)).map(Option::unwrap)
}

fn set_aside(letters: &mut DeadLetters, values: &[&str]) -> bool {
    let letters_of: Vec<_> = values.iter().map(|value| letter("a", value)).collect();
    letters.set_aside(&letters_of).is_ok()
}

/// The values of all letters, from all files.
fn values(disk: &ModelDisk) -> Vec<String> {
    let mut found = Vec::new();
    look(disk, Path::new(DATA_DIR), &mut |seen| {
        if let Found::Letter(letter) = seen.found {
            found.push(String::from_utf8(letter.value.unwrap()).unwrap());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// The places of the letters with these values.
fn places(taken: &Taken<'_>, wanted: &[&str]) -> Vec<(u64, usize)> {
    let mut places = Vec::new();
    // After a crash of the model nothing can be read, which is met where it is written.
    let _ = each_line(taken.file(), &mut |offset, line| {
        if let LineKind::Letter(letter) = LineKind::of(line) {
            let value = String::from_utf8(letter.value.unwrap()).unwrap();
            if wanted.contains(&value.as_str()) {
                places.push((offset, line.len()));
            }
        }
        ControlFlow::Continue(())
    });
    places
}

const HOME: &str = "/data/dead-letters/a.jsonl";

#[test]
fn what_is_removed_is_gone_and_the_rest_stands_before_what_came_meanwhile() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, PLENTY).unwrap();
    set_aside(&mut letters, &["1", "2", "3", "4"]);
    let resending = begin(&disk).unwrap();
    let mut taken = resending.take(HOME.into()).unwrap().unwrap();
    assert!(set_aside(&mut letters, &["5"]), "the daemon goes on");
    taken.remove(&places(&taken, &["1", "3"])).unwrap();
    assert_eq!(
        values(&disk),
        ["5", "2", "4"],
        "nothing is hidden meanwhile"
    );
    taken.put_back().unwrap();
    assert_eq!(values(&disk), ["2", "4", "5"]);
    assert!(set_aside(&mut letters, &["6"]));
    assert_eq!(values(&disk), ["2", "4", "5", "6"]);
    assert_eq!(resending.homes().unwrap(), [PathBuf::from(HOME)]);
}

#[test]
fn a_file_of_which_everything_is_delivered_is_removed() {
    let disk = ModelDisk::new();
    set_aside(&mut open(&disk, PLENTY).unwrap(), &["1", "2"]);
    let resending = begin(&disk).unwrap();
    let mut taken = resending.take(HOME.into()).unwrap().unwrap();
    taken.remove(&places(&taken, &["1", "2"])).unwrap();
    taken.put_back().unwrap();
    assert!(resending.homes().unwrap().is_empty());
    assert!(resending.take(HOME.into()).unwrap().is_none());
}

#[test]
fn what_is_damaged_stays() {
    let disk = ModelDisk::new();
    set_aside(&mut open(&disk, PLENTY).unwrap(), &["1"]);
    let file = disk.open(Path::new(HOME), Open::Existing).unwrap();
    let len = file.len().unwrap();
    file.write_at(b"{\"half\n", len).unwrap();
    drop(file);
    let resending = begin(&disk).unwrap();
    let mut taken = resending.take(HOME.into()).unwrap().unwrap();
    taken.remove(&places(&taken, &["1"])).unwrap();
    taken.put_back().unwrap();
    assert_eq!(disk.read(Path::new(HOME)).unwrap(), b"{\"half\n");
}

#[test]
fn one_process_at_a_time_takes_letters() {
    let disk = ModelDisk::new();
    assert!(
        Resending::begin(Arc::new(disk.clone()), Path::new(DATA_DIR))
            .unwrap()
            .is_none()
    );
    set_aside(&mut open(&disk, PLENTY).unwrap(), &["1"]);
    let first = begin(&disk).unwrap();
    assert!(matches!(begin(&disk), Err(TakenError::Held(_))));
    drop(first);
    begin(&disk).unwrap();
}

#[test]
fn a_daemon_that_meets_the_lock_tries_again_later() {
    let disk = ModelDisk::new();
    let mut letters = open(&disk, PLENTY).unwrap();
    set_aside(&mut letters, &["1"]);
    let file = disk.open(Path::new(HOME), Open::Existing).unwrap();
    assert!(file.try_lock().unwrap());
    let error = letters.set_aside(&[letter("a", "2")]).unwrap_err();
    assert!(matches!(error, DeadLetterError::Busy { .. }), "{error}");
    drop(file);
    assert!(set_aside(&mut letters, &["2"]));
    assert_eq!(values(&disk), ["1", "2"]);
}

/// The whole of it: takes, delivers 1 and 3, then 4, while the daemon sets 5 aside. Gives what was delivered.
fn resend(disk: &ModelDisk, told: &mut Vec<&'static str>) -> Result<(), TakenError> {
    let resending = begin(disk)?;
    let Some(mut taken) = resending.take(HOME.into())? else {
        return Ok(());
    };
    if let Ok(mut letters) = open(disk, PLENTY)
        && set_aside(&mut letters, &["5"])
    {
        told.push("5");
    }
    taken.remove(&places(&taken, &["1", "3"]))?;
    taken.remove(&places(&taken, &["4"]))?;
    taken.put_back()
}

#[test]
fn no_letter_is_lost_at_any_crash_and_none_comes_back_after_the_end() {
    for seed in 0..40 {
        let mut at = 0;
        loop {
            let disk = ModelDisk::new();
            let first = ["1", "2", "3", "4"];
            assert!(set_aside(&mut open(&disk, PLENTY).unwrap(), &first));
            disk.crash_after(at);
            let mut told = vec!["2"];
            let done = resend(&disk, &mut told).is_ok();
            let disk = match Random(seed).below(3) {
                0 => disk.restart(),
                _ => disk.crash(seed),
            };
            let there = values(&disk);
            for value in &told {
                assert!(
                    there.iter().any(|it| it == value),
                    "seed {seed}, {at}: {value} of {there:?}"
                );
            }
            if done {
                assert_eq!(there, ["2", "5"], "seed {seed}");
                break;
            }
            // The next one finishes it: what is not delivered is there, and the daemon's file alone.
            drop(open(&disk, PLENTY).unwrap());
            drop(begin(&disk).unwrap());
            let there = values(&disk);
            for value in &told {
                assert!(
                    there.iter().any(|it| it == value),
                    "seed {seed}, {at}: {value} of {there:?}"
                );
            }
            assert_eq!(
                disk.list(Path::new("/data/dead-letters"))
                    .unwrap()
                    .iter()
                    .filter(|name| name.to_string_lossy().contains('~'))
                    .count(),
                0
            );
            at += 1;
            assert!(at < 500, "it never ends");
        }
    }
}
