//! What becomes of a followed file when it changes under the reader, and what rotation calls the ones before it. Pure.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::identity::Id;

use super::look::Look;
use super::unpack::packed_name;

/// How often and how long things are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two sweeps over all names.
    pub sweep: Duration,
    /// Between a hint that names changed and the sweep that follows, and between two such sweeps at least.
    pub hint: Duration,
    /// A folder's times are believed when they are older than this: file systems keep time coarsely.
    pub trust: Duration,
    /// A growing file is looked at again after this, twice that when nothing came, and so on up to `poll_most`.
    pub poll_first: Duration,
    pub poll_most: Duration,
    /// After so long without growth a file is left to events and sweeps.
    pub idle_after: Duration,
    /// A deleted file is held open until it was quiet for so long: writers may still have it open.
    pub deleted_for: Duration,
    /// A file that was renamed out of sight is followed until it was quiet for so long.
    pub moved_for: Duration,
    /// A short file that holds the same as a followed one may be a copy of it that is being made; it is waited for so long.
    pub copy_for: Duration,
    /// A saved position whose file was not found is kept so long: its file system may be mounted late.
    pub missing_for: Duration,
    /// Files that little comes of, and idle ones, are looked at together: at the same moments, so far apart. The reader wakes once for all,
    /// and their lines travel in one batch.
    pub beat: Duration,
    /// One of these moments.
    pub since: Instant,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            sweep: Duration::from_secs(1),
            hint: Duration::from_millis(50),
            trust: Duration::from_secs(3),
            poll_first: Duration::from_millis(10),
            poll_most: Duration::from_millis(250),
            idle_after: Duration::from_secs(2),
            deleted_for: Duration::from_secs(10),
            moved_for: Duration::from_secs(3600),
            copy_for: Duration::from_secs(10),
            missing_for: Duration::from_secs(3600),
            beat: Duration::from_millis(150),
            since: Instant::now(),
        }
    }
}

impl Timing {
    /// The first common moment after `now`.
    pub fn next_beat(&self, now: Instant) -> Instant {
        self.last_beat(now) + self.beat
    }

    /// The last common moment until `now`.
    pub fn last_beat(&self, now: Instant) -> Instant {
        let (past, beat) = (
            now.saturating_duration_since(self.since),
            self.beat.as_nanos(),
        );
        let beyond = past.as_nanos().checked_rem(beat).unwrap_or_default();
        now - Duration::from_nanos(u64::try_from(beyond).unwrap_or_default())
    }
}

/// What changed between two looks at one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growth {
    Nothing,
    /// There are bytes that were not seen before.
    More,
    /// It was written to without growing, or lost bytes that were not read: what stands before the position has to be proven.
    Touched,
    /// It is shorter than what was read of it, or than it was before anything was read.
    Cut,
}

/// Compares a look with the one before; `at` is how far the file was read.
pub fn growth(at: u64, before: &Look, now: &Look) -> Growth {
    // Of a file that nothing was read of, nothing can be proven to be there still.
    if now.size < at || (at == 0 && now.size < before.size) {
        Growth::Cut
    } else if now.size > before.size {
        Growth::More
    } else if now.size < before.size || now.stamp != before.stamp {
        Growth::Touched
    } else {
        Growth::Nothing
    }
}

/// Where a followed file stands among the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// One of the patterns finds it.
    Named,
    /// No pattern finds it any more, but it exists.
    Moved { since: Instant },
    /// It has no name any more.
    Deleted { since: Instant },
}

impl Standing {
    /// Since when it has been out of sight; the first such moment counts.
    fn since(self) -> Option<Instant> {
        match self {
            Self::Named => None,
            Self::Moved { since } | Self::Deleted { since } => Some(since),
        }
    }

    /// The standing of a file that no pattern finds.
    pub fn out_of_sight(self, links: u32, now: Instant) -> Self {
        let since = self.since().unwrap_or(now);
        match (self, links) {
            // Deletion starts its own time: writers get it whole.
            (Self::Deleted { .. }, 0) => self,
            (_, 0) => Self::Deleted { since: now },
            _ => Self::Moved { since },
        }
    }
}

/// Whether a file that is read to its end is left for good: its unterminated last line is delivered then, and its position forgotten.
/// `grew` is when bytes came last.
pub fn is_over(standing: Standing, grew: Instant, now: Instant, timing: &Timing) -> bool {
    let patience = match standing {
        Standing::Named => return false,
        Standing::Moved { .. } => timing.moved_for,
        Standing::Deleted { .. } => timing.deleted_for,
    };
    let quiet_since = standing.since().map_or(grew, |since| since.max(grew));
    now.saturating_duration_since(quiet_since) >= patience
}

/// The names that `path` may have been rotated from: `app.log` for `app.log.1`, `app.log-20261121`, `app-20261121.log` and `app.log.old`.
/// What was compressed has other content, and is none.
pub fn rotated_from(path: &Path) -> Vec<PathBuf> {
    let Some(name) = path.file_name().map(OsStrExt::as_bytes) else {
        return Vec::new();
    };
    let cuts = (1..name.len()).filter(|&at| matches!(name[at], b'.' | b'-' | b'_'));
    let behind = cuts
        .filter(|&at| is_generation(&name[at + 1..]))
        .map(|at| name[..at].to_vec());
    // Before the ending, for programs that go by it: app-20261121.log.
    let dot = memchr::memrchr(b'.', name)
        .filter(|&dot| dot > 0 && !is_generation(&name[dot + 1..]) && packed_name(path).is_none());
    let before = dot.into_iter().flat_map(|dot| {
        let (stem, ending) = name.split_at(dot);
        let cuts = (1..stem.len()).filter(|&at| matches!(stem[at], b'.' | b'-' | b'_'));
        cuts.filter(|&at| is_generation(&stem[at + 1..]))
            .map(move |at| [&stem[..at], ending].concat())
    });
    behind
        .chain(before)
        .map(|name| path.with_file_name(std::ffi::OsStr::from_bytes(&name)))
        .collect()
}

/// The same for a file that may have been compressed, and its own name without what compressing adds to it.
pub fn bases(path: &Path) -> Vec<PathBuf> {
    let plain = packed_name(path).unwrap_or_else(|| path.to_path_buf());
    let mut bases = rotated_from(&plain);
    bases.push(plain);
    bases
}

/// Whether a file that stood at `before` may stand at `now` after more rotations, perhaps compressed: numbers count up, dates stay.
pub fn may_become(before: &Path, now: &Path) -> bool {
    let plain = packed_name(now).unwrap_or_else(|| now.to_path_buf());
    let from = rotated_from(&plain);
    if plain == before || from.iter().any(|base| base == before) {
        return true;
    }
    let numbers = |base: &PathBuf| Some((number(before, base)?, number(&plain, base)?));
    let mut numbers = from.iter().filter_map(numbers);
    numbers.any(|(before, now)| before <= now)
}

/// The number of a file that was rotated from `base`.
fn number(path: &Path, base: &Path) -> Option<u32> {
    const DIGITS: usize = 5;
    let name = |path: &Path| Some(path.file_name()?.as_bytes().to_vec());
    let (name, base) = (name(path)?, name(base)?);
    let between = |start: usize| {
        let (head, tail) = (base.get(..start)?, base.get(start..)?);
        let rest = name.strip_prefix(head)?.strip_suffix(tail)?;
        let digits = std::str::from_utf8(rest.get(1..)?).ok()?;
        let is_short = digits.len() <= DIGITS;
        digits.parse().ok().filter(|_| is_short)
    };
    let dot = memchr::memrchr(b'.', &base);
    between(base.len()).or_else(|| between(dot?))
}

/// A number, a date, or `old`.
fn is_generation(suffix: &[u8]) -> bool {
    let of_date = |byte: &u8| byte.is_ascii_digit() || b".-_:TZ".contains(byte);
    let is_date = suffix.first().is_some_and(u8::is_ascii_digit) && suffix.iter().all(of_date);
    is_date || suffix == b"old"
}

/// Whether a file that has a rotated name stood at the live one after `before` and, if something stands there now, before `after`: born
/// between them, and neither of the two. Without birth times nothing is known to have been there.
pub fn was_between(before: &Id, after: Option<&Id>, found: &Id) -> bool {
    if found.is_same(before) || found.birth < before.birth {
        return false;
    }
    // Clocks of file systems are coarse, so the same moment counts.
    let is_before = |after: &Id| !found.is_same(after) && found.birth <= after.birth;
    before.birth.is_some() && found.birth.is_some() && after.is_none_or(is_before)
}

#[cfg(test)]
mod tests {
    use super::super::look::Kind;
    use super::*;

    fn look(size: u64, stamp: i64) -> Look {
        let id = Id {
            dev: 1,
            inode: 2,
            birth: None,
        };
        Look {
            id,
            kind: Kind::File,
            size,
            blocks: 8,
            links: 1,
            stamp: (stamp, stamp),
        }
    }

    #[test]
    fn growth_is_told_from_cuts_and_rewrites() {
        let before = look(10, 1);
        assert_eq!(growth(10, &before, &look(10, 1)), Growth::Nothing);
        assert_eq!(growth(10, &before, &look(12, 2)), Growth::More);
        assert_eq!(growth(10, &before, &look(10, 2)), Growth::Touched);
        assert_eq!(growth(8, &before, &look(9, 2)), Growth::Touched);
        assert_eq!(growth(10, &before, &look(9, 2)), Growth::Cut);
        assert_eq!(growth(0, &before, &look(9, 2)), Growth::Cut);
    }

    #[test]
    fn rotated_names_are_known_by_their_numbers_and_dates() {
        let from = |name: &str| -> Vec<String> {
            let bases = rotated_from(Path::new(name));
            bases
                .iter()
                .map(|path| path.to_str().unwrap().to_owned())
                .collect()
        };
        for name in [
            "/x/a.log.1",
            "/x/a.log-20261121",
            "/x/a.log.old",
            "/x/a.log_2026T10:00:00Z",
            "/x/a-20261121.log",
            "/x/a.1.log",
        ] {
            assert_eq!(from(name), ["/x/a.log"], "{name}");
        }
        assert!(from("/x/a.log.2026-11-21.7").contains(&"/x/a.log".to_owned()));
        for name in [
            "/x/a.log",
            "/x/a.log.1.gz",
            "/x/a.log.err",
            "/x/.1",
            "/x/a-error.log",
        ] {
            assert_eq!(from(name), Vec::<String>::new(), "{name}");
        }
    }

    #[test]
    fn numbers_count_up_and_dates_stay_when_files_are_rotated_on() {
        let may = |before: &str, now: &str| may_become(Path::new(before), Path::new(now));
        for now in [
            "/x/a.log.1",
            "/x/a.log.1.gz",
            "/x/a.log-20261121.xz",
            "/x/a.3.log.zst",
        ] {
            assert!(may("/x/a.log", now), "{now}");
        }
        assert!(may("/x/a.log.2", "/x/a.log.2.gz") && may("/x/a.log.2", "/x/a.log.10.gz"));
        assert!(!may("/x/a.log.2", "/x/a.log.1.gz") && !may("/x/a.log.2", "/x/a.log"));
        assert!(may("/x/a.2.log", "/x/a.3.log.gz") && !may("/x/a.3.log", "/x/a.2.log.gz"));
        assert!(may("/x/a.log-20261121", "/x/a.log-20261121.gz"));
        assert!(!may("/x/a.log-20261121", "/x/a.log-20261122.gz"));
        assert!(!may("/x/b.log", "/x/a.log.1.gz"));
    }

    #[test]
    fn only_what_was_born_between_two_files_was_there_between_them() {
        let id = |inode, birth| Id {
            dev: 1,
            inode,
            birth,
        };
        let (before, after) = (id(1, Some(10)), id(2, Some(20)));
        let between = |found| was_between(&before, Some(&after), &found);
        assert!(between(id(3, Some(10))) && between(id(3, Some(20))));
        assert!(!between(id(3, Some(9))) && !between(id(3, Some(21))));
        assert!(!between(id(3, None)));
        assert!(!between(id(1, Some(10))) && !between(id(2, Some(20))));
        assert!(was_between(&before, None, &id(3, Some(21))));
    }

    #[test]
    fn a_named_file_is_never_left() {
        let (now, timing) = (Instant::now(), Timing::default());
        let late = now + Duration::from_secs(1_000_000);
        assert!(!is_over(Standing::Named, now, late, &timing));
    }

    #[test]
    fn a_deleted_file_is_left_only_after_it_was_quiet() {
        let (start, timing) = (Instant::now(), Timing::default());
        let deleted = Standing::Named.out_of_sight(0, start);
        let grew = start + Duration::from_secs(7);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!is_over(deleted, grew, at(16), &timing));
        assert!(is_over(deleted, grew, at(17), &timing));
    }

    #[test]
    fn a_renamed_file_has_more_time_until_it_is_deleted_too() {
        let (start, timing) = (Instant::now(), Timing::default());
        let moved = Standing::Named.out_of_sight(1, start);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!is_over(moved, start, at(3599), &timing));
        let deleted = moved.out_of_sight(0, at(100));
        assert!(!is_over(deleted, start, at(109), &timing));
        assert!(is_over(deleted, start, at(110), &timing));
    }
}
