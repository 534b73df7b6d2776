//! Compressed files: a gzip member or a zstd frame per file and sync.
//!
//! What a window has for a file is packed when it is synced, all at once: so the file is readable to its end whenever nobody is just writing, its
//! journaled length is the end of a frame, and thousands of files share one compressor.
//!
//! Invariant: a frame depends on nothing but the bytes that were pushed since the one before.

use std::io;

use flate2::{Compress, Compression as Level, FlushCompress};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, zstd_sys::ZSTD_EndDirective};

use super::settings::{Codec, Compression};

/// Packed bytes are handed over in pieces of this size, or a little more.
pub const PIECE: usize = 256 * 1024;
/// zlib's largest window.
const GZIP_WINDOW_BITS: u8 = 15;
/// What there is room for before each call, in bytes.
const ROOM: usize = 128 * 1024;
const ZSTD_LEVEL: u32 = 3;
const GZIP_LEVEL: u32 = 6;

/// The compressor of an output.
pub struct Packer {
    engine: Engine,
    /// Packed, and not taken.
    out: Vec<u8>,
    /// Where zstd writes.
    room: Vec<u8>,
}

enum Engine {
    Gzip(Compress),
    Zstd(CCtx<'static>),
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// Nothing when nothing is packed.
    ///
    /// # Errors
    /// When there is no memory for it, or the level is not one of the codec's.
    pub fn new(compression: Compression) -> io::Result<Option<Self>> {
        let engine = match compression.codec {
            Codec::None => return Ok(None),
            Codec::Gzip => {
                let level = Level::new(compression.level.unwrap_or(GZIP_LEVEL));
                Engine::Gzip(Compress::new_gzip(level, GZIP_WINDOW_BITS))
            }
            Codec::Zstd => {
                let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
                let level = compression.level.unwrap_or(ZSTD_LEVEL);
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                for parameter in [
                    CParameter::CompressionLevel(level),
                    CParameter::ChecksumFlag(true),
                ] {
                    context.set_parameter(parameter).map_err(zstd_error)?;
                }
                Engine::Zstd(context)
            }
        };
        Ok(Some(Self {
            engine,
            out: Vec::new(),
            room: vec![0; ROOM],
        }))
    }

    /// Begins a frame of so many bytes, and forgets what was pushed into one that is not ended. A compressor that knows the length takes no more memory
    /// than it needs, which for many small frames is most of the work.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn begin(&mut self, len: u64) -> io::Result<()> {
        self.out.clear();
        match &mut self.engine {
            Engine::Gzip(context) => context.reset(),
            Engine::Zstd(context) => {
                let session = zstd_safe::ResetDirective::SessionOnly;
                context.reset(session).map_err(zstd_error)?;
                context
                    .set_pledged_src_size(Some(len))
                    .map_err(zstd_error)?;
            }
        }
        Ok(())
    }

    /// Packs more of the frame's bytes.
    ///
    /// # Errors
    /// When the library fails.
    pub fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.work(bytes, false)
    }

    /// Ends the frame.
    ///
    /// # Errors
    /// When the library fails.
    pub fn end(&mut self) -> io::Result<()> {
        self.work(&[], true)
    }

    /// What is packed so far; [`Packer::taken`] makes room for more.
    pub fn packed(&self) -> &[u8] {
        &self.out
    }

    pub fn taken(&mut self) {
        self.out.clear();
    }

    fn work(&mut self, mut bytes: &[u8], end: bool) -> io::Result<()> {
        loop {
            let over = match &mut self.engine {
                Engine::Gzip(context) => {
                    self.out.reserve(ROOM);
                    let flush = match end {
                        true => FlushCompress::Finish,
                        false => FlushCompress::None,
                    };
                    let before = context.total_in();
                    let status = context.compress_vec(bytes, &mut self.out, flush)?;
                    // At most the length of a slice.
                    bytes = &bytes[(context.total_in() - before) as usize..];
                    match end {
                        true => status == flate2::Status::StreamEnd,
                        false => bytes.is_empty(),
                    }
                }
                Engine::Zstd(context) => {
                    let directive = match end {
                        true => ZSTD_EndDirective::ZSTD_e_end,
                        false => ZSTD_EndDirective::ZSTD_e_continue,
                    };
                    let mut input = InBuffer::around(bytes);
                    let mut output = OutBuffer::around(self.room.as_mut_slice());
                    let left = context.compress_stream2(&mut output, &mut input, directive);
                    let left = left.map_err(zstd_error)?;
                    self.out.extend_from_slice(output.as_slice());
                    bytes = &bytes[input.pos()..];
                    bytes.is_empty() && (!end || left == 0)
                }
            };
            if over {
                return Ok(());
            }
        }
    }
}

fn zstd_error(code: usize) -> io::Error {
    io::Error::other(format!("zstd: {}", zstd_safe::get_error_name(code)))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn frame(packer: &mut Packer, pieces: &[Vec<u8>]) -> Vec<u8> {
        let len: usize = pieces.iter().map(Vec::len).sum();
        packer.begin(len as u64).unwrap();
        for piece in pieces {
            packer.push(piece).unwrap();
        }
        packer.end().unwrap();
        packer.packed().to_vec()
    }

    fn unpacked(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match codec {
            Codec::Gzip => drop(
                flate2::read::MultiGzDecoder::new(bytes)
                    .read_to_end(&mut plain)
                    .unwrap(),
            ),
            _ => {
                let mut context = zstd_safe::DCtx::create();
                let mut input = InBuffer::around(bytes);
                let mut room = vec![0; ROOM];
                loop {
                    let mut output = OutBuffer::around(room.as_mut_slice());
                    context.decompress_stream(&mut output, &mut input).unwrap();
                    let full = output.pos() == ROOM;
                    plain.extend_from_slice(output.as_slice());
                    if input.pos() == bytes.len() && !full {
                        break;
                    }
                }
            }
        }
        plain
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn frames_one_after_another_are_what_was_pushed_and_one_that_was_given_up_leaves_nothing(
            codec in proptest::sample::select(vec![Codec::Gzip, Codec::Zstd]),
            level in proptest::option::of(1..9u32),
            frames in proptest::collection::vec(
                (proptest::collection::vec((any::<u8>(), 0..200_000usize), 0..4), any::<bool>()), 1..6),
        ) {
            let mut packer = Packer::new(Compression { codec, level }).unwrap().unwrap();
            let (mut plain, mut packed) = (Vec::new(), Vec::new());
            for (pieces, gives_up) in frames {
                let pieces: Vec<Vec<u8>> = pieces
                    .into_iter()
                    .map(|(seed, len)| (0..len).map(|at| seed ^ (at % 251) as u8).collect())
                    .collect();
                if gives_up {
                    packer.begin(1_000_000).unwrap();
                    for piece in &pieces {
                        packer.push(piece).unwrap();
                    }
                }
                packed.extend(frame(&mut packer, &pieces));
                plain.extend(pieces.concat());
            }
            prop_assert!(unpacked(codec, &packed) == plain);
        }
    }
}
