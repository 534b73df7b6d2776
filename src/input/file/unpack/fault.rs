//! Why a compressed file gives no bytes.

use std::borrow::Cow;
use std::io;

use thiserror::Error;

use super::packing::Packing;

/// Why there is nothing to read. It says nothing of the file's name: who reports it does.
#[derive(Debug, Error)]
pub enum Fault {
    /// The file ends inside a stream. What is appended is read by the next call.
    #[error(
        "the {packing} data ends at byte {at}, before its end: more may come; if nobody writes it any more, it was cut off"
    )]
    Torn {
        packing: Packing,
        /// The end of the file, in compressed bytes.
        at: u64,
    },
    /// The data is corrupt. It stays so until [`restart`](super::Unpacked::restart).
    #[error(
        "the {packing} data is damaged near byte {at} ({why}): {plain} bytes were unpacked before that, and the rest cannot be read; \
         restore the file from a copy to have the rest"
    )]
    Damaged {
        packing: Packing,
        /// Where, in compressed bytes.
        at: u64,
        /// How many plain bytes came before.
        plain: u64,
        why: Cow<'static, str>,
    },
    /// To decode it takes more memory than is allowed. It stays so until [`restart`](super::Unpacked::restart).
    #[error(
        "to unpack the {packing} data from byte {at} on takes more than {} MiB of memory: compress the file again with a smaller window \
         (zstd --long=27 or less, xz -9 or less), or unpack it", limit >> 20
    )]
    TooLarge {
        packing: Packing,
        /// Where, in compressed bytes.
        at: u64,
        /// In bytes.
        limit: u64,
    },
    /// The place is so far away that this call did not come to it. The next one goes on from `decoded`.
    #[error("only {decoded} bytes are unpacked so far")]
    NotYet { decoded: u64 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Fault {
    /// The fault in an error that was made from one.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Io(error) => return error,
            Fault::Torn { .. } => io::ErrorKind::UnexpectedEof,
            Fault::Damaged { .. } => io::ErrorKind::InvalidData,
            Fault::TooLarge { .. } => io::ErrorKind::Unsupported,
            Fault::NotYet { .. } => io::ErrorKind::WouldBlock,
        };
        Self::new(kind, fault)
    }
}
