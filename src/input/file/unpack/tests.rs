//! Every format against a vector of bytes: whole, torn, damaged.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::rc::Rc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const ALL: [Packing; 4] = [Packing::Gzip, Packing::Zstd, Packing::Xz, Packing::Bzip2];

/// A file in memory that others append to, and that gives at most `most` bytes at once.
#[derive(Clone)]
struct Growing {
    bytes: Rc<RefCell<Vec<u8>>>,
    most: usize,
    /// The lowest offset that was read since it was set.
    lowest: Rc<Cell<u64>>,
    /// Every other read fails.
    is_flaky: bool,
    has_failed: Rc<Cell<bool>>,
}

impl Growing {
    fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: Rc::new(RefCell::new(bytes.to_vec())),
            most: usize::MAX,
            lowest: Rc::new(Cell::new(u64::MAX)),
            is_flaky: false,
            has_failed: Rc::default(),
        }
    }

    fn append(&self, bytes: &[u8]) {
        self.lowest.set(u64::MAX);
        self.bytes.borrow_mut().extend(bytes);
    }
}

impl FileExt for Growing {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        if self.is_flaky && !self.has_failed.replace(!self.has_failed.get()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.lowest.set(self.lowest.get().min(offset));
        let bytes = self.bytes.borrow();
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buf.len()).min(self.most);
        buf[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What the tools make of `plain`, all at once.
pub fn pack(packing: Packing, plain: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Gzip => {
            let level = flate2::Compression::new(6);
            let mut to = flate2::write::GzEncoder::new(Vec::new(), level);
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
        Packing::Zstd => {
            let mut context = zstd_safe::CCtx::create();
            let checksum = zstd_safe::CParameter::ChecksumFlag(true);
            context.set_parameter(checksum).unwrap();
            let mut to = vec![0; zstd_safe::compress_bound(plain.len())];
            let len = context.compress2(&mut to[..], plain).unwrap();
            to.truncate(len);
            to
        }
        Packing::Xz => {
            let mut to = liblzma::write::XzEncoder::new(Vec::new(), 1);
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
        Packing::Bzip2 => {
            let mut to = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
            to.write_all(plain).unwrap();
            to.finish().unwrap()
        }
    }
}

/// Lines of a log, all different.
fn lines(n: usize) -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "line {n} of {}\n",
            n.wrapping_mul(2_654_435_761) % 1_000_003
        )
    };
    (0..n).flat_map(|n| line(n).into_bytes()).collect()
}

/// Everything from `offset` on until there is no more, in reads of `len` bytes, and why there is no more.
fn rest<F: FileExt>(
    file: &mut Unpacked<F>,
    offset: u64,
    len: usize,
) -> (Vec<u8>, Result<(), Fault>) {
    let mut all = Vec::new();
    let mut buf = vec![0; len];
    loop {
        match file.read_at(&mut buf, offset + all.len() as u64) {
            Ok(0) => return (all, Ok(())),
            Ok(got) => all.extend(&buf[..got]),
            Err(Fault::NotYet { .. }) => {}
            Err(fault) => return (all, Err(fault)),
        }
    }
}

fn all<F: FileExt>(file: &mut Unpacked<F>) -> (Vec<u8>, Result<(), Fault>) {
    rest(file, 0, 1000)
}

fn unpacked(packing: Packing, packed: &[u8]) -> Unpacked<Growing> {
    Unpacked::new(Growing::new(packed), packing, 4096)
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0_usize..3_000).prop_map(lines),
        2 => prop::collection::vec(any::<u8>(), 0..5_000),
        1 => (any::<u8>(), 0_usize..400_000).prop_map(|(byte, len)| vec![byte; len]),
        1 => Just(lines(20_000)),
    ]
}

fn packing() -> impl Strategy<Value = Packing> {
    prop::sample::select(&ALL[..])
}

#[derive(Debug, Clone)]
enum Act {
    Read(Index, usize),
    Ahead(Index, usize),
}

fn act() -> impl Strategy<Value = Act> {
    let len = prop_oneof![1_usize..300, 1_usize..100_000];
    prop_oneof![
        3 => (any::<Index>(), len.clone()).prop_map(|(at, len)| Act::Read(at, len)),
        1 => (any::<Index>(), len).prop_map(|(to, most)| Act::Ahead(to, most)),
    ]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(96))]

    #[test]
    fn any_place_gives_the_plain_bytes(
        packing in packing(),
        texts in prop::collection::vec(text(), 1..5),
        padding in 0_usize..3,
        window in prop_oneof![1_usize..5_000, Just(260 * 1024)],
        most in prop_oneof![1_usize..50, Just(usize::MAX)],
        acts in prop::collection::vec(act(), 1..12),
    ) {
        let plain = texts.concat();
        let mut packed: Vec<u8> = Vec::new();
        for text in &texts {
            packed.extend(pack(packing, text));
            if packing.is_padded() {
                packed.extend(vec![0; padding * 4]);
            }
        }
        let size = packed.len() as u64;
        let mut file = Growing::new(&packed);
        file.most = most;
        let mut file = Unpacked::new(file, packing, window);
        for act in acts {
            match act {
                Act::Read(at, len) => {
                    let at = at.index(plain.len() + 10);
                    let want = plain.get(at..).unwrap_or_default();
                    let want = &want[..want.len().min(len)];
                    let mut buf = vec![0; len];
                    let got = file.read_at(&mut buf, at as u64);
                    prop_assert!(&buf[..got.unwrap()] == want, "{at} {len}");
                }
                Act::Ahead(to, most) => {
                    let to = to.index(plain.len() + 10);
                    let mut slices = 0;
                    let end = loop {
                        let before = file.decoded();
                        let progress = file.advance(to as u64, most).unwrap();
                        if file.decoded() >= before {
                            prop_assert!(file.decoded() - before <= most as u64);
                        }
                        slices += 1;
                        prop_assert!(slices < 1_000_000);
                        if progress != Progress::Further {
                            break progress;
                        }
                    };
                    if to <= plain.len() {
                        prop_assert_eq!(end, Progress::Reached);
                    } else {
                        prop_assert_eq!(end, Progress::Ended(plain.len() as u64));
                    }
                }
            }
        }
        let (read, end) = rest(&mut file, 0, 70_000);
        prop_assert!(read == plain);
        prop_assert!(end.is_ok());
        prop_assert_eq!(file.ended(), Some(plain.len() as u64));
        prop_assert_eq!(file.consumed(), size);
    }

    #[test]
    fn a_damaged_byte_is_told_and_spoils_nothing_before_its_stream(
        packing in packing(),
        texts in prop::collection::vec(text(), 1..4),
        at in any::<Index>(),
        flip in 1_u8..,
    ) {
        let plain = texts.concat();
        let (mut packed, mut right) = (Vec::new(), 0);
        let parts: Vec<Vec<u8>> = texts.iter().map(|text| pack(packing, text)).collect();
        let at = at.index(parts.iter().map(Vec::len).sum());
        for (part, text) in parts.iter().zip(&texts) {
            packed.extend(part);
            if packed.len() <= at {
                right += text.len();
            }
        }
        packed[at] ^= flip;
        let mut file = unpacked(packing, &packed);
        let (read, end) = rest(&mut file, 0, 50_000);
        prop_assert!(read.len() >= right && read[..right] == plain[..right]);
        match end {
            // A byte that means nothing, as a time stamp.
            Ok(()) => prop_assert!(read == plain),
            Err(Fault::Damaged { plain, .. }) => prop_assert_eq!(plain, read.len() as u64),
            Err(Fault::Torn { .. } | Fault::TooLarge { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn no_bytes_at_all_are_too_strange(
        packing in packing(),
        mut noise in prop::collection::vec(any::<u8>(), 0..3_000),
        keep in 0_usize..100,
        cut in any::<Index>(),
    ) {
        let mut packed = pack(packing, &lines(40));
        packed.truncate(keep.max(cut.index(packed.len())));
        packed.append(&mut noise);
        let mut file = unpacked(packing, &packed);
        let _ = rest(&mut file, 0, 50_000);
        prop_assert!(file.consumed() <= packed.len() as u64);
    }
}

#[test]
fn a_file_torn_at_any_byte_is_continued_where_it_was_torn() {
    for packing in ALL {
        let texts = [lines(30), lines(3)];
        let plain = texts.concat();
        let first = pack(packing, &texts[0]);
        let packed = [first.clone(), pack(packing, &texts[1])].concat();
        for cut in 0..packed.len() {
            let mut file = unpacked(packing, &packed[..cut]);
            let (mut read, end) = all(&mut file);
            assert!(plain.starts_with(&read), "{packing} {cut}");
            if cut == first.len() {
                assert!(end.is_ok());
                assert_eq!(file.ended(), Some(texts[0].len() as u64));
            } else {
                let at = cut as u64;
                assert!(
                    matches!(end, Err(Fault::Torn { at: end, .. }) if end == at),
                    "{packing} {cut} {end:?}"
                );
                assert_eq!(file.ended(), None);
            }
            file.file().append(&packed[cut..]);
            let (more, end) = rest(&mut file, read.len() as u64, 1000);
            read.extend(more);
            assert!(end.is_ok() && read == plain, "{packing} {cut}");
            assert_eq!(file.file().lowest.get(), cut as u64, "it began anew");
            assert_eq!(file.ended(), Some(plain.len() as u64));
        }
    }
}

#[test]
fn a_file_that_grows_byte_by_byte_is_read_as_it_grows() {
    for packing in ALL {
        let plain = lines(30);
        let mut file = unpacked(packing, &[]);
        let mut read = Vec::new();
        for byte in pack(packing, &plain) {
            let (more, end) = rest(&mut file, read.len() as u64, 1000);
            read.extend(more);
            assert!(matches!(end, Err(Fault::Torn { .. })), "{packing}");
            file.file().append(&[byte]);
        }
        let (more, end) = rest(&mut file, read.len() as u64, 1000);
        read.extend(more);
        assert!(end.is_ok() && read == plain, "{packing}");
    }
}

#[test]
fn a_read_that_fails_is_told_and_then_done_again() {
    for packing in ALL {
        let plain = [lines(300), lines(20)];
        let packed: Vec<u8> = plain.iter().flat_map(|text| pack(packing, text)).collect();
        let mut file = Growing::new(&packed);
        (file.is_flaky, file.most) = (true, 100);
        let mut file = Unpacked::new(file, packing, 4096);
        let (mut read, mut failures) = (Vec::new(), 0);
        loop {
            let (more, end) = rest(&mut file, read.len() as u64, 1000);
            read.extend(more);
            match end {
                Ok(()) => break,
                Err(Fault::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
                Err(other) => panic!("{packing}: {other}"),
            }
            failures += 1;
        }
        assert!(read == plain.concat(), "{packing}");
        assert!(failures > packed.len() / 100, "{packing}: {failures}");
    }
}

#[test]
fn damage_in_zstd_hides_no_block_before_it() {
    let plain: Vec<u8> = lines(40_000);
    let packed = pack(Packing::Zstd, &plain);
    let mut torn = unpacked(Packing::Zstd, &packed[..packed.len() / 2]);
    let (there, _) = all(&mut torn);
    assert!(there.len() > 128 * 1024);
    // From the middle on nothing is right, so one more block at most can be decoded.
    let mut damaged = packed.clone();
    damaged[packed.len() / 2..].fill(0xff);
    let (read, end) = all(&mut unpacked(Packing::Zstd, &damaged));
    assert!(matches!(end, Err(Fault::Damaged { .. })));
    assert!(read.starts_with(&there));
}

#[test]
fn what_follows_a_complete_stream_and_is_none_is_damage_behind_it() {
    for packing in ALL {
        let plain = lines(100);
        let mut packed = pack(packing, &plain);
        let end = packed.len() as u64;
        packed.extend(b"garbage");
        let mut file = unpacked(packing, &packed);
        let (read, fault) = all(&mut file);
        assert_eq!(read, plain);
        let Err(Fault::Damaged { at, plain, .. }) = &fault else {
            panic!("{packing} {fault:?}");
        };
        assert_eq!((*at, *plain), (end, read.len() as u64));
        assert!(file.read_at(&mut [0; 10], *plain).is_err(), "it stays");
        let words = fault.unwrap_err().to_string();
        assert!(words.contains(&format!("near byte {end}")), "{words}");
    }
}

#[test]
fn a_damaged_file_is_tried_again_after_a_restart() {
    let plain = lines(100);
    let packed = pack(Packing::Gzip, &plain);
    let mut file = unpacked(Packing::Gzip, &vec![0; packed.len()]);
    assert!(all(&mut file).1.is_err());
    *file.file().bytes.borrow_mut() = packed;
    assert!(all(&mut file).1.is_err());
    file.restart();
    assert_eq!(all(&mut file).0, plain);
}

#[test]
fn zeros_are_skipped_only_where_the_format_has_them() {
    for packing in ALL {
        let mut packed = pack(packing, b"text");
        packed.extend([0; 512]);
        let mut file = unpacked(packing, &packed);
        let (read, end) = all(&mut file);
        assert_eq!(read, b"text");
        assert_eq!(end.is_ok(), packing.is_padded(), "{packing}");
    }
    let (read, end) = all(&mut unpacked(Packing::Gzip, &[0; 512]));
    assert!(read.is_empty() && matches!(end, Err(Fault::Damaged { .. })));
}

#[test]
fn frames_that_are_to_be_skipped_are_skipped() {
    let mut packed = vec![0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5];
    packed.extend(pack(Packing::Zstd, b"text"));
    packed.extend([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    assert_eq!(Packing::of(&packed), Some(Packing::Zstd));
    let (read, end) = all(&mut unpacked(Packing::Zstd, &packed));
    assert_eq!(read, b"text");
    assert!(end.is_ok(), "{end:?}");
}

#[test]
fn a_far_place_is_reached_in_slices() {
    for packing in ALL {
        let plain = vec![b'x'; 3 * LEAP as usize];
        let mut file = unpacked(packing, &pack(packing, &plain));
        let end = plain.len() as u64;
        let mut buf = [0; 100];
        let mut calls = 1;
        while let Err(fault) = file.read_at(&mut buf, end - 100) {
            assert!(matches!(fault, Fault::NotYet { decoded } if decoded == file.decoded()));
            assert!(file.decoded() <= calls * (LEAP + 100));
            calls += 1;
        }
        assert_eq!((calls, buf), (3, [b'x'; 100]));
    }
}

#[test]
fn streams_without_content_are_passed_in_slices() {
    for packing in ALL {
        let empty = pack(packing, b"");
        let mut packed = empty.repeat(1_000_000 / empty.len());
        packed.extend(pack(packing, b"text"));
        let mut file = unpacked(packing, &packed);
        let mut slices = 1;
        while file.advance(4, 100_000).unwrap() == Progress::Further {
            slices += 1;
            // It reads ahead by what its buffer has.
            assert!(
                file.consumed() < slices * (100_000 + 64 * 1024),
                "{packing}"
            );
        }
        assert!(slices > 5, "{packing}: {slices}");
        let mut buf = [0; 4];
        file.read_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"text");
    }
}

#[test]
fn the_files_first_bytes_are_read_again_without_unpacking_it_again() {
    for packing in ALL {
        let plain = lines(10_000);
        let mut file = unpacked(packing, &pack(packing, &plain));
        file.advance(100_000, usize::MAX).unwrap();
        file.file().lowest.set(u64::MAX);
        let mut buf = vec![0; HEAD];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), HEAD);
        assert_eq!(buf, plain[..HEAD]);
        file.read_at(&mut buf, 100_000 - HEAD as u64).unwrap();
        assert_eq!(buf, plain[100_000 - HEAD..100_000]);
        assert_eq!(file.decoded(), 100_000);
        file.read_at(&mut buf, 5_000).unwrap();
        assert_eq!(buf, plain[5_000..5_000 + HEAD], "from the beginning");
    }
}

#[test]
fn a_zstd_window_that_is_too_large_is_refused() {
    // A frame header with a window of 2^log bytes, and an empty last block.
    let frame = |log: u8| [0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3, 1, 0, 0];
    let (_, end) = all(&mut unpacked(Packing::Zstd, &frame(27)));
    assert!(end.is_ok(), "{end:?}");
    let mut file = unpacked(Packing::Zstd, &frame(28));
    for _ in 0..2 {
        let fault = all(&mut file).1.unwrap_err();
        assert!(matches!(fault, Fault::TooLarge { .. }), "{fault:?}");
        assert!(fault.to_string().contains("128 MiB"), "{fault}");
    }
}

#[test]
fn xz_data_that_takes_too_much_memory_is_refused() {
    let mut packed = pack(Packing::Xz, b"text");
    // The block's header: its length, flags, the filter's number, its properties' length, the dictionary's size.
    let header = 12..12 + (usize::from(packed[12]) + 1) * 4;
    assert_eq!(packed[14..16], [0x21, 1]);
    packed[16] = 40;
    let end = header.end - 4;
    let crc = crc32fast::hash(&packed[header.start..end]);
    packed[end..header.end].copy_from_slice(&crc.to_le_bytes());
    let fault = all(&mut unpacked(Packing::Xz, &packed)).1.unwrap_err();
    assert!(matches!(fault, Fault::TooLarge { .. }), "{fault:?}");
}

#[test]
fn a_fault_is_found_again_in_an_error_of_io() {
    let fault = all(&mut unpacked(Packing::Gzip, b"\x1f")).1.unwrap_err();
    let error = io::Error::from(fault);
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(matches!(Fault::of(&error), Some(Fault::Torn { at: 1, .. })));
    assert!(Fault::of(&io::ErrorKind::NotFound.into()).is_none());
}

#[test]
fn a_reader_can_be_handed_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<Unpacked>();
}

/// What a tool makes of `plain`. `None`: it is not installed.
fn tool(command: &[&str], plain: &[u8]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain");
    std::fs::write(&path, plain).unwrap();
    let output = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::from(File::open(&path).unwrap()))
        .output();
    match output {
        Ok(output) => {
            assert!(output.status.success(), "{command:?}: {output:?}");
            Some(output.stdout)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: {} is not installed", command[0]);
            None
        }
        Err(error) => panic!("{command:?}: {error}"),
    }
}

#[test]
fn what_the_tools_write_is_read() {
    let plain = lines(20_000);
    let commands: [(&[&str], Packing); 12] = [
        (&["gzip"], Packing::Gzip),
        (&["gzip", "-1"], Packing::Gzip),
        (&["gzip", "-9"], Packing::Gzip),
        (&["zstd", "-q"], Packing::Zstd),
        (&["zstd", "-q", "--no-check", "-19"], Packing::Zstd),
        (&["zstd", "-q", "-T2", "--long=27"], Packing::Zstd),
        (&["xz"], Packing::Xz),
        (&["xz", "-9", "--check=sha256"], Packing::Xz),
        (&["xz", "-1", "-T2", "--block-size=100000"], Packing::Xz),
        (&["xz", "--check=none"], Packing::Xz),
        (&["bzip2"], Packing::Bzip2),
        (&["bzip2", "-1"], Packing::Bzip2),
    ];
    for (command, packing) in commands {
        let Some(once) = tool(command, &plain) else {
            continue;
        };
        assert_eq!(Packing::of(&once[..MAGIC]), Some(packing), "{command:?}");
        let empty = tool(command, b"").unwrap();
        assert_eq!(Packing::of(&empty), Some(packing), "{command:?}, empty");
        let mut on_disk = tempfile::tempfile().unwrap();
        let both = [&once[..], &empty[..], &once[..]].concat();
        on_disk.write_all(&both).unwrap();
        let mut file = Unpacked::new(on_disk, packing, 260 * 1024);
        let (read, end) = rest(&mut file, 0, 256 * 1024);
        assert!(end.is_ok(), "{command:?} {end:?}");
        assert!(read == plain.repeat(2), "{command:?}");
    }
}
