//! How a file is compressed: told by its first bytes, never by its name. Pure.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// So many of a file's first bytes decide: fewer can leave it open.
pub const MAGIC: usize = 10;

const GZIP: &[u8] = &[0x1f, 0x8b, 0x08];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Follows a byte from 0x50 to 0x5f.
const ZSTD_SKIPPABLE: &[u8] = &[0x2a, 0x4d, 0x18];
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2: &[u8] = b"BZh";
/// Follow `BZh` and the block size: a block, or the end of an empty stream. `BZh9` alone could begin a line of text.
const BZIP2_BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
const BZIP2_END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];

/// What rotation puts behind a name.
const ENDINGS: [&str; 4] = ["gz", "zst", "xz", "bz2"];

/// A compressed file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    Xz,
    Bzip2,
}

/// Whether something begins here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    Yes,
    No,
    /// It could, but there are too few bytes to tell.
    Perhaps,
}

impl Packing {
    const ALL: [Self; 4] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];

    /// The format of a file that begins with `first`; [`MAGIC`] bytes are enough, fewer only if the file has no more.
    #[must_use]
    pub fn of(first: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|packing| packing.begins(first) == Begins::Yes)
    }

    /// A file of which only `first` is written could yet become a compressed one. True for an empty file.
    #[must_use]
    pub fn is_open(first: &[u8]) -> bool {
        let mut all = Self::ALL.into_iter();
        Self::of(first).is_none() && all.any(|packing| packing.begins(first) == Begins::Perhaps)
    }

    /// Whether a stream, member or frame of this format begins with `bytes`.
    pub(super) fn begins(self, bytes: &[u8]) -> Begins {
        match self {
            Self::Gzip => prefix(bytes, GZIP),
            Self::Zstd => match bytes.first() {
                Some(0x50..=0x5f) => prefix(bytes.get(1..).unwrap_or_default(), ZSTD_SKIPPABLE),
                _ => prefix(bytes, ZSTD),
            },
            Self::Xz => prefix(bytes, XZ),
            Self::Bzip2 => match (prefix(bytes, BZIP2), bytes.get(3)) {
                (Begins::Yes, Some(b'1'..=b'9')) => {
                    let rest = bytes.get(4..).unwrap_or_default();
                    match (prefix(rest, BZIP2_BLOCK), prefix(rest, BZIP2_END)) {
                        (Begins::No, end) => end,
                        (block, _) => block,
                    }
                }
                (Begins::Yes, None) => Begins::Perhaps,
                (Begins::Yes, Some(_)) => Begins::No,
                (other, _) => other,
            },
        }
    }

    /// Zeros may follow a complete stream: gzip's from tapes, xz's stream padding.
    pub(super) fn is_padded(self) -> bool {
        matches!(self, Self::Gzip | Self::Xz)
    }
}

fn prefix(bytes: &[u8], magic: &[u8]) -> Begins {
    if bytes.starts_with(magic) {
        Begins::Yes
    } else if magic.starts_with(bytes) {
        Begins::Perhaps
    } else {
        Begins::No
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        })
    }
}

/// The name that a file had before it was compressed: without `.gz`, `.zst`, `.xz` or `.bz2`. `None`: it has no such ending.
#[must_use]
pub fn packed_name(path: &Path) -> Option<PathBuf> {
    let ending = path.extension().and_then(OsStr::to_str)?;
    let plain = path.file_stem().filter(|_| ENDINGS.contains(&ending))?;
    Some(path.with_file_name(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BZIP2_FILE: &[u8] = b"BZh91AY&SY";

    #[test]
    fn a_format_is_told_by_its_first_bytes() {
        let of = |bytes: &[u8]| Packing::of(bytes);
        assert_eq!(of(&[0x1f, 0x8b, 8, 0]), Some(Packing::Gzip));
        assert_eq!(of(&[0x28, 0xb5, 0x2f, 0xfd, 4]), Some(Packing::Zstd));
        assert_eq!(of(&[0x5a, 0x2a, 0x4d, 0x18]), Some(Packing::Zstd));
        assert_eq!(of(b"\xfd7zXZ\0\0"), Some(Packing::Xz));
        assert_eq!(of(BZIP2_FILE), Some(Packing::Bzip2));
        assert_eq!(
            of(b"BZh9\x17\x72\x45\x38\x50\x90\0"),
            Some(Packing::Bzip2),
            "an empty one"
        );
    }

    #[test]
    fn text_is_not_taken_for_a_format() {
        let texts: [&[u8]; 6] = [
            b"",
            b"2026-01-01 started\n",
            b"BZh9 is how bzip2 begins\n",
            b"BZh",
            b"P*M",
            b"\xfd7zXZ",
        ];
        for text in texts {
            assert_eq!(Packing::of(text), None, "{text:?}");
        }
        assert!(!Packing::is_open(b"BZh9 is"));
        assert!(!Packing::is_open(b"text"));
    }

    #[test]
    fn a_file_that_has_only_begun_is_left_open() {
        assert!(Packing::is_open(b""));
        for len in 1..BZIP2_FILE.len() {
            assert!(Packing::is_open(&BZIP2_FILE[..len]), "{len}");
        }
        assert!(Packing::is_open(&[0x1f]));
        assert!(!Packing::is_open(BZIP2_FILE));
    }

    #[test]
    fn a_name_loses_its_ending_and_no_other() {
        let plain = |name: &str| packed_name(Path::new(name));
        for ending in ENDINGS {
            let packed = format!("/var/log/app.log.1.{ending}");
            assert_eq!(plain(&packed), Some("/var/log/app.log.1".into()));
        }
        assert_eq!(plain("app.gz"), Some("app".into()));
        for name in [
            "app.log",
            "app.tgz",
            ".gz",
            "/var/log/.xz",
            "gz",
            "app.gz.1",
            "",
        ] {
            assert_eq!(plain(name), None, "{name}");
        }
    }
}
