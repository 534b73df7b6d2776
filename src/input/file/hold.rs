//! Which deleted files are given up although they are not read to their end, so that they do not fill the disk. Pure.
//!
//! A deleted file keeps its blocks as long as it is held open. When a limit is met, the file that was deleted first goes first; where space is
//! short, the first of that file system. For space no file is given up that was deleted just now: it may be all but read.
//!
//! Invariant: no file is given up that no limit asks for: what was given up before it did not suffice.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use super::settings::HoldDeleted;
use crate::value::{Percent, show_duration, show_percent, show_size};

/// A deleted file with something to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub slot: u64,
    /// Its file system.
    pub dev: u64,
    pub deleted: Instant,
    /// What it takes of its file system.
    pub bytes: u64,
}

/// What a file system has left, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    pub left: u64,
    pub size: u64,
}

/// Why a file is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Age(Duration),
    Bytes(u64),
    MinFree(Percent),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(age) => write!(f, "hold_deleted.age: {}", show_duration(*age)),
            Self::Bytes(bytes) => write!(f, "hold_deleted.bytes: {}", show_size(*bytes)),
            Self::MinFree(part) => write!(f, "hold_deleted.min_free: {}", show_percent(*part)),
        }
    }
}

/// The files to give up, and for which limit. One that was deleted less than `grace` ago is not given up for space. `free` tells of the file system of a file; `None` where that cannot be told, or not now.
pub fn to_give_up(
    mut held: Vec<Held>,
    limits: &HoldDeleted,
    grace: Duration,
    now: Instant,
    mut free: impl FnMut(&Held) -> Option<Free>,
) -> Vec<(u64, Limit)> {
    held.sort_by_key(|file| file.deleted);
    let mut total: u64 = held.iter().map(|file| file.bytes).sum();
    let mut systems: HashMap<u64, Option<Free>> = HashMap::new();
    let mut given_up = Vec::new();
    for file in held {
        let since = now.saturating_duration_since(file.deleted);
        let age = limits.age.filter(|&age| since >= age);
        let bytes = limits.bytes.filter(|&most| since >= grace && total > most);
        let min_free = limits.min_free.filter(|least| {
            let mut system = || *systems.entry(file.dev).or_insert_with(|| free(&file));
            since >= grace && system().is_some_and(|free| free.left < least.of(free.size))
        });
        let limit = (age.map(Limit::Age))
            .or(bytes.map(Limit::Bytes))
            .or(min_free.map(Limit::MinFree));
        let Some(limit) = limit else {
            continue;
        };
        total -= file.bytes;
        if let Some(Some(free)) = systems.get_mut(&file.dev) {
            free.left = free.left.saturating_add(file.bytes);
        }
        given_up.push((file.slot, limit));
    }
    given_up
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::parse_percent;

    const NONE: HoldDeleted = HoldDeleted {
        age: None,
        bytes: None,
        min_free: None,
    };

    const AT_ONCE: Duration = Duration::ZERO;

    /// Files of so many bytes, each deleted a second after the one before it, and when the last one was.
    fn held(bytes: &[(u64, u64)]) -> (Vec<Held>, Instant) {
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_secs(n as u64);
        let files = bytes.iter().enumerate().map(|(n, &(dev, bytes))| Held {
            slot: n as u64,
            dev,
            deleted: at(n),
            bytes,
        });
        (files.rev().collect(), at(bytes.len() - 1))
    }

    fn slots(given_up: &[(u64, Limit)]) -> Vec<u64> {
        given_up.iter().map(|(slot, _)| *slot).collect()
    }

    fn full(left: u64) -> impl FnMut(&Held) -> Option<Free> {
        move |_| Some(Free { left, size: 1000 })
    }

    #[test]
    fn without_limits_everything_is_held() {
        let (files, now) = held(&[(1, 1 << 60), (1, 1 << 60)]);
        assert_eq!(to_give_up(files, &NONE, AT_ONCE, now, full(0)), []);
    }

    #[test]
    fn a_file_is_given_up_when_it_was_deleted_long_enough_ago() {
        let (files, now) = held(&[(1, 5); 4]);
        let age = Duration::from_secs(2);
        let limits = HoldDeleted {
            age: Some(age),
            ..NONE
        };
        let given_up = to_give_up(files, &limits, AT_ONCE, now, full(1000));
        assert_eq!(given_up, [(0, Limit::Age(age)), (1, Limit::Age(age))]);
        assert_eq!(given_up[0].1.to_string(), "hold_deleted.age: 2s");
    }

    #[test]
    fn the_first_deleted_go_until_the_others_are_small_enough() {
        let (files, now) = held(&[(1, 10), (2, 10), (1, 10), (1, 1)]);
        let most = |bytes| HoldDeleted {
            bytes: Some(bytes),
            ..NONE
        };
        let given_up = |limit| {
            slots(&to_give_up(
                files.clone(),
                &most(limit),
                AT_ONCE,
                now,
                full(0),
            ))
        };
        assert_eq!(given_up(31), [0; 0]);
        assert_eq!(given_up(30), [0]);
        assert_eq!(given_up(11), [0, 1]);
        assert_eq!(given_up(0), [0, 1, 2, 3]);
    }

    #[test]
    fn what_was_deleted_just_now_is_not_given_up_for_space() {
        let (files, now) = held(&[(1, 10); 5]);
        let limits = HoldDeleted {
            age: Some(Duration::from_secs(4)),
            bytes: Some(0),
            min_free: parse_percent("50%").ok(),
        };
        let grace = Duration::from_secs(2);
        let given_up = to_give_up(files.clone(), &limits, grace, now, full(0));
        assert_eq!(slots(&given_up), [0, 1, 2]);
        let late = Duration::from_secs(9);
        let given_up = to_give_up(files, &limits, late, now, full(0));
        assert_eq!(slots(&given_up), [0]);
    }

    #[test]
    fn where_space_is_short_files_of_that_file_system_go_until_there_is_enough() {
        let (files, now) = held(&[(1, 10), (2, 10), (1, 10), (1, 10)]);
        let limits = HoldDeleted {
            min_free: parse_percent("5%").ok(),
            ..NONE
        };
        let mut asked = Vec::new();
        let given_up = to_give_up(files.clone(), &limits, AT_ONCE, now, |file| {
            asked.push(file.dev);
            let left = if file.dev == 1 { 35 } else { 50 };
            Some(Free { left, size: 1000 })
        });
        // 35 and twice 10 are 55 of 1000, which is enough.
        assert_eq!(slots(&given_up), [0, 2]);
        assert_eq!(asked, [1, 2]);
        assert_eq!(to_give_up(files, &limits, AT_ONCE, now, |_| None), []);
    }

    proptest! {
        #[test]
        fn no_more_is_given_up_than_the_limits_ask_for(
            bytes in proptest::collection::vec((0..3u64, 0..100u64), 1..20),
            most in 0..500u64,
            left in 0..200u64,
        ) {
            let (files, now) = held(&bytes);
            let limits = HoldDeleted {
                bytes: Some(most),
                min_free: parse_percent("10%").ok(),
                ..NONE
            };
            let given_up = to_give_up(files.clone(), &limits, AT_ONCE, now, full(left));
            let gone = |file: &Held| given_up.iter().any(|(slot, _)| *slot == file.slot);
            let kept: u64 = files.iter().filter(|file| !gone(file)).map(|file| file.bytes).sum();
            prop_assert!(kept <= most);
            for dev in 0..3 {
                let here = || files.iter().filter(|file| file.dev == dev);
                let freed: u64 = here().filter(|file| gone(file)).map(|file| file.bytes).sum();
                prop_assert!(left + freed >= 100 || here().all(gone));
            }
            // The last one was needed.
            if let Some((last, limit)) = given_up.last() {
                let last = files.iter().find(|file| file.slot == *last).unwrap();
                let freed: u64 = files
                    .iter()
                    .filter(|file| gone(file) && file.dev == last.dev && file.slot != last.slot)
                    .map(|file| file.bytes)
                    .sum();
                match limit {
                    Limit::Bytes(_) => prop_assert!(kept + last.bytes > most),
                    _ => prop_assert!(left + freed < 100),
                }
            }
        }
    }
}
