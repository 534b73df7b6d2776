//! What the fuzzers in `fuzz/` call: one function for each format that is read from disk or from a stranger. Each takes any bytes and panics when a promise is broken.
//!
//! `fuzz/corpus/NAME/` holds the shapes that were interesting, and the tests read all of them. A new target is a function beside the code that it is
//! about, a line here, a file in `fuzz/fuzz_targets/`, and its corpus.

pub use crate::checkpoint::fuzzing::{journal as checkpoint_journal, snapshot};
pub use crate::input::frame::framer::reading::fuzz as frame;
pub use crate::input::syslog::fuzzing::{frames as syslog_frames, message as syslog_message};
pub use crate::output::file::fuzzing::journal as output_journal;
pub use crate::spool::fuzzing::segment as spool;

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("frame", frame),
    ("snapshot", snapshot),
    ("checkpoint_journal", checkpoint_journal),
    ("output_journal", output_journal),
    ("spool", spool),
    ("syslog_frames", syslog_frames),
    ("syslog_message", syslog_message),
];

/// A change of up to four neighbouring bytes, as the first six bytes of a fuzzer's input say; a CRC-32 finds each of them.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    at: u16,
    bits: [u8; 4],
}

impl Damage {
    /// The damage, and what follows it.
    pub fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let ([low, high, bits @ ..], rest) = data.split_first_chunk::<6>()?;
        let at = u16::from_le_bytes([*low, *high]);
        Some((Self { at, bits: *bits }, rest))
    }

    /// Damages `bytes`, and says which of them are others now.
    pub fn apply(&self, bytes: &mut [u8]) -> Option<std::ops::Range<usize>> {
        let begin = usize::from(self.at).checked_rem(bytes.len())?;
        let bits = self.bits.iter().zip(&mut bytes[begin..]);
        let changed: Vec<usize> = bits
            .enumerate()
            .filter(|(_, (bits, _))| **bits != 0)
            .map(|(at, (bits, byte))| {
                *byte ^= bits;
                begin + at
            })
            .collect();
        Some(*changed.first()?..changed.last()? + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_target_holds_for_its_corpus() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        for (name, target) in TARGETS {
            let mut read = 0;
            for file in fs::read_dir(corpora.join(name)).unwrap() {
                let path = file.unwrap().path();
                // Shown when the target panics.
                println!("{}", path.display());
                target(&fs::read(path).unwrap());
                read += 1;
            }
            assert!(read > 0, "{name} has no corpus");
        }
    }
}
