use proptest::prelude::*;

use super::*;
use crate::input::syslog::fuzzing::framed;

fn max(size: u64, policy: LongLine) -> MaxLine {
    MaxLine { size, policy }
}

fn all(framing: Framing, stream: &str) -> Vec<String> {
    framed(
        Framer::new(framing, max(20, LongLine::Split)),
        &[stream.as_bytes()],
    )
    .0
}

#[test]
fn auto_looks_at_the_beginning_of_each_frame() {
    assert_eq!(
        all(Framing::Auto, "<1>a\n6 <1>b\nc<2>d\r\n4 <3>e4 <4>f"),
        ["<1>a", "<1>b\nc", "<2>d", "<3>e", "<4>f"]
    );
    assert_eq!(
        all(Framing::Auto, "2026-01-01 x\n45 bottles\n"),
        ["2026-01-01 x", "45 bottles"]
    );
    assert_eq!(
        all(Framing::Auto, "0 <1>a\n99999999999 <1>b\n<2>c\n"),
        ["0 <1>a", "99999999999 <1>b", "<2>c"]
    );
}

#[test]
fn each_framing_takes_its_own_ends_only() {
    assert_eq!(all(Framing::Lf, "4 <1>a\n\n\r\nb\0c"), ["4 <1>a", "b\0c"]);
    assert_eq!(all(Framing::Nul, "a\nb\0\0c\r\0"), ["a\nb", "c\r"]);
    assert_eq!(all(Framing::Octet, "3 a\nb\n4 <1>c"), ["a\nb", "<1>c"]);
}

#[test]
fn lengths_that_cannot_be_end_a_stream_of_lengths() {
    for wrong in [
        "0 <1>a",
        "<1>a\n",
        "x",
        "12345678901 a",
        "9999999999 a",
        "67108865 a",
        "3a",
        "03 abc",
    ] {
        assert_eq!(
            all(Framing::Octet, &format!("3 abc{wrong}")),
            ["abc", "lost"],
            "{wrong}"
        );
    }
}

#[test]
fn a_stream_that_begins_as_tls_does_is_none_of_messages() {
    for framing in [Framing::Auto, Framing::Octet, Framing::Lf, Framing::Nul] {
        assert_eq!(all(framing, "\x16\x03\x01\n<1>a\n"), ["lost"]);
    }
    assert_eq!(
        all(Framing::Auto, "\x16\n\x16\x03\n\x16"),
        ["\x16", "\x16\x03", "\x16"]
    );
    assert_eq!(all(Framing::Auto, "\x16"), ["\x16"]);
}

#[test]
fn one_line_end_at_the_end_of_a_length_is_cut() {
    let stream = "4 <1>\n5 <1>\r\n5 <1>\n\n";
    let messages = ["<1>", "<1>", "<1>\n"];
    assert_eq!(all(Framing::Auto, stream), messages);
    assert_eq!(all(Framing::Octet, stream), messages);
    // It is not there yet.
    assert_eq!(all(Framing::Octet, "9 <1>\n"), ["<1>\n!"]);
}

#[test]
fn what_the_stream_ends_inside_of_is_a_message() {
    assert_eq!(all(Framing::Auto, "<1>a\n<2>b"), ["<1>a", "<2>b"]);
    assert_eq!(all(Framing::Auto, "9 <1>a"), ["<1>a!"]);
    assert_eq!(all(Framing::Auto, "9"), ["9"]);
    assert_eq!(all(Framing::Octet, "9"), ["lost"]);
}

#[test]
fn long_messages_are_dealt_with_as_the_policy_says() {
    let run = |policy, stream: &str| {
        framed(
            Framer::new(Framing::Auto, max(4, policy)),
            &[stream.as_bytes()],
        )
    };
    for (lf, octet) in [("<1>abcdef\n<2>x\n", "9 <1>abcdef4 <2>x")] {
        for stream in [lf, octet] {
            let counted = stream.len();
            assert_eq!(
                run(LongLine::Split, stream),
                (
                    vec!["<1>a~".into(), "bcde+~".into(), "f+".into(), "<2>x".into()],
                    counted
                )
            );
            let (truncated, sum) = run(LongLine::Truncate, stream);
            assert_eq!(
                (
                    truncated[0].as_str(),
                    truncated.last().unwrap().as_str(),
                    sum
                ),
                ("<1>a/", "<2>x", counted)
            );
            let (dropped, sum) = run(LongLine::Drop, stream);
            assert_eq!(
                (dropped.len(), dropped.last().unwrap().as_str(), sum),
                (2, "<2>x", counted)
            );
            let (aside, sum) = run(LongLine::DeadLetter, stream);
            assert_eq!(
                (aside[0].as_str(), aside.last().unwrap().as_str(), sum),
                ("aside <1>a", "<2>x", counted)
            );
        }
    }
    assert_eq!(
        run(LongLine::Split, "<1>a\r\n<1>ab\r\n").0,
        ["<1>a", "<1>a~", "b+"]
    );
}

#[test]
fn an_endless_frame_needs_no_more_memory_than_a_long_message() {
    for policy in [
        LongLine::Split,
        LongLine::Truncate,
        LongLine::Drop,
        LongLine::DeadLetter,
    ] {
        for head in ["<1>", "67108864 <1>"] {
            let mut framer = Framer::new(Framing::Auto, max(100, policy));
            let mut carry = head.as_bytes().to_vec();
            for _ in 0..1000 {
                carry.extend_from_slice(&[b'x'; 64]);
                loop {
                    let step = framer.next(&carry, false);
                    carry.drain(..step.consumed);
                    if step.what == What::More && step.consumed == 0 || carry.is_empty() {
                        break;
                    }
                }
                assert!(carry.len() <= framer.lookahead());
            }
        }
    }
}

#[test]
fn a_datagram_is_one_message() {
    let run = |policy| framed(Framer::of_datagram(6, max(4, policy)), &[b"ab\ncde"]).0;
    assert_eq!(
        framed(
            Framer::of_datagram(6, max(20, LongLine::Split)),
            &[b"ab\ncde"]
        )
        .0,
        ["ab\ncde"]
    );
    assert_eq!(run(LongLine::Split), ["ab\nc~", "de+"]);
    assert_eq!(run(LongLine::Truncate), ["ab\nc/", "Truncated 2"]);
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let scraps: &[&[u8]] = &[
        b"<1>",
        b"5 <1>ab",
        b"12 ",
        b"0 ",
        b"7",
        b" ",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"abc",
        b"99999999999 ",
        b"99999999 <",
        b"\x16",
        b"\x03",
        b"abcdefghijklmnop",
    ];
    let scrap = proptest::sample::select(scraps);
    proptest::collection::vec(scrap, 0..20).prop_map(|scraps| scraps.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn how_the_bytes_came_in_pieces_changes_nothing(
        stream in stream(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        framing in prop_oneof![Just(Framing::Auto), Just(Framing::Octet), Just(Framing::Lf), Just(Framing::Nul)],
        policy in prop_oneof![Just(LongLine::Split), Just(LongLine::Truncate), Just(LongLine::Drop), Just(LongLine::DeadLetter)],
        size in 1u64..12,
    ) {
        let whole = framed(Framer::new(framing, max(size, policy)), &[&stream]);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        pieces.push(&stream[from..]);
        let split = framed(Framer::new(framing, max(size, policy)), &pieces);
        let is_lost = whole.0.last().is_some_and(|last| last == "lost");
        prop_assert_eq!(&whole.0, &split.0);
        if !is_lost {
            prop_assert_eq!(whole.1, split.1);
            let fillers = stream.iter().rev().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
            prop_assert!(whole.1 <= stream.len() && whole.1 + fillers >= stream.len(), "{} of {}", whole.1, stream.len());
        }
    }
}
