//! One stream, member or frame of compressed bytes, decoded piece by piece: the four libraries behind one call.
//!
//! Invariant: what a decoder wrote before it met damage counts as written. zstd forgets what it wrote in a call that fails, so it is never
//! given more than one block in a call.

use std::borrow::Cow;

use liblzma::stream::Action;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::packing::Packing;

/// What a decoder may need beside the window of plain bytes: zstd's own window (as its power of two), and all of xz's memory.
const ZSTD_WINDOW_LOG: u32 = 27;
pub(super) const MOST_MEMORY: u64 = 1 << ZSTD_WINDOW_LOG;
/// zlib's largest window; what other windows were compressed with is decoded too.
const GZIP_WINDOW_BITS: u8 = 15;
/// The size of a zstd block's header, which the size of what it asks for includes.
const ZSTD_BLOCK_HEADER: usize = 3;
/// ZSTD_error_frameParameter_windowTooLarge and ZSTD_error_memory_allocation: numbers that the library promises not to change.
const ZSTD_WINDOW_TOO_LARGE: usize = 16;
const ZSTD_NO_MEMORY: usize = 64;

pub(super) enum Decoder {
    Gzip(flate2::Decompress),
    Zstd(Zstd),
    Xz(liblzma::stream::Stream),
    Bzip2(bzip2::Decompress),
}

pub(super) struct Zstd {
    context: DCtx<'static>,
    /// How many bytes it asks for.
    wants: usize,
}

/// What came of one call.
pub(super) struct Turn {
    pub read: usize,
    pub wrote: usize,
    /// Whether the stream is complete.
    pub outcome: Result<bool, Why>,
}

/// Why decoding cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    Damaged(Cow<'static, str>),
    /// More than [`MOST_MEMORY`] is asked for.
    TooLarge,
    /// The system has no memory left.
    NoMemory,
}

impl Decoder {
    pub fn new(packing: Packing) -> Result<Self, Why> {
        Ok(match packing {
            Packing::Gzip => Self::Gzip(flate2::Decompress::new_gzip(GZIP_WINDOW_BITS)),
            Packing::Zstd => {
                let mut context = DCtx::try_create().ok_or(Why::NoMemory)?;
                context
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(zstd)?;
                Self::Zstd(Zstd { context, wants: 1 })
            }
            Packing::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(MOST_MEMORY, 0);
                Self::Xz(stream.map_err(|error| xz(&error))?)
            }
            Packing::Bzip2 => Self::Bzip2(bzip2::Decompress::new(false)),
        })
    }

    /// For the next stream, once this one is complete.
    pub fn again(self, packing: Packing) -> Result<Self, Why> {
        match self {
            // A context costs more than a small frame, and goes on to the next one by itself.
            Self::Zstd(Zstd { context, .. }) => Ok(Self::Zstd(Zstd { context, wants: 1 })),
            Self::Gzip(_) | Self::Xz(_) | Self::Bzip2(_) => Self::new(packing),
        }
    }

    /// Decodes `input` into `room`. `was_full`: the last call filled its room, so that more may come without input.
    pub fn decode(&mut self, input: &[u8], room: &mut [u8], was_full: bool) -> Turn {
        match self {
            Self::Gzip(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let done = stream.decompress(input, room, flate2::FlushDecompress::None);
                Turn {
                    read: moved(before.0, stream.total_in()),
                    wrote: moved(before.1, stream.total_out()),
                    outcome: match done {
                        Ok(status) => Ok(status == flate2::Status::StreamEnd),
                        Err(error) => Err(damaged(error.message().map_or_else(
                            || "corrupt data".into(),
                            |words| Cow::from(words.to_owned()),
                        ))),
                    },
                }
            }
            Self::Zstd(stream) => stream.decode(input, room, was_full),
            Self::Xz(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let done = stream.process(input, room, Action::Run);
                Turn {
                    read: moved(before.0, stream.total_in()),
                    wrote: moved(before.1, stream.total_out()),
                    outcome: match done {
                        Ok(status) => Ok(matches!(status, liblzma::stream::Status::StreamEnd)),
                        Err(error) => Err(xz(&error)),
                    },
                }
            }
            Self::Bzip2(stream) => {
                let before = (stream.total_in(), stream.total_out());
                let done = stream.decompress(input, room);
                Turn {
                    read: moved(before.0, stream.total_in()),
                    wrote: moved(before.1, stream.total_out()),
                    outcome: match done {
                        Ok(bzip2::Status::MemNeeded) => Err(Why::NoMemory),
                        Ok(status) => Ok(status == bzip2::Status::StreamEnd),
                        Err(_) => Err(damaged("corrupt block, or its checksum is wrong")),
                    },
                }
            }
        }
    }
}

impl Zstd {
    fn decode(&mut self, input: &[u8], room: &mut [u8], was_full: bool) -> Turn {
        // What it asks for is a block and the next one's header: the header comes in a call of its own.
        let wants = match self.wants {
            wants @ ..=ZSTD_BLOCK_HEADER => wants,
            wants => wants - ZSTD_BLOCK_HEADER,
        };
        let most = if was_full { 0 } else { wants.min(input.len()) };
        let mut from = InBuffer::around(&input[..most]);
        let mut to = OutBuffer::around(room);
        let done = self.context.decompress_stream(&mut to, &mut from);
        let (read, wrote) = (from.pos, to.pos());
        Turn {
            read,
            wrote,
            outcome: done.map_err(zstd).map(|wants| {
                self.wants = wants;
                wants == 0
            }),
        }
    }
}

/// Never more than a slice is long.
fn moved(before: u64, after: u64) -> usize {
    (after - before) as usize
}

fn damaged(words: impl Into<Cow<'static, str>>) -> Why {
    Why::Damaged(words.into())
}

fn zstd(code: usize) -> Why {
    match 0_usize.wrapping_sub(code) {
        ZSTD_WINDOW_TOO_LARGE => Why::TooLarge,
        ZSTD_NO_MEMORY => Why::NoMemory,
        _ => damaged(zstd_safe::get_error_name(code)),
    }
}

fn xz(error: &liblzma::stream::Error) -> Why {
    use liblzma::stream::Error;
    match error {
        Error::MemLimit => Why::TooLarge,
        Error::Mem => Why::NoMemory,
        Error::Options => damaged("options that this version does not know, or a corrupt header"),
        Error::Format => damaged("corrupt header"),
        _ => damaged("corrupt block, or its checksum is wrong"),
    }
}
