//! Bytes as JSON: strings escaped into a buffer, and the exact bytes beside them when they are not UTF-8.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// For each byte: 0 when it stands for itself in a JSON string, else the letter after the backslash (`u`: four hex digits follow).
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        table[control] = b'u';
        control += 1;
    }
    table[0x08] = b'b';
    table[b'\t' as usize] = b't';
    table[b'\n' as usize] = b'n';
    table[0x0c] = b'f';
    table[b'\r' as usize] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// How many bytes are asked at once whether they stand for themselves.
const PIECE: usize = 32;

/// Appends `,"NAME":VALUE` for bytes that may be absent (`null`) and need not be UTF-8 (U+FFFD inside, and `,"NAME_base64":"..."`).
/// `name` is a plain word. `first` leaves the comma out.
pub fn push_bytes(name: &str, bytes: Option<&[u8]>, first: bool, out: &mut Vec<u8>) {
    if !first {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    let Some(bytes) = bytes else {
        out.extend_from_slice(b"null");
        return;
    };
    if push_text(bytes, out) {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"_base64\":\"");
    push_base64(bytes, out);
    out.push(b'"');
}

/// Appends bytes as a JSON string, quotes included. `false`: they are not UTF-8, and U+FFFD stands for what is not.
pub fn push_text(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    out.push(b'"');
    // Most of it is ASCII that stands for itself: that is both questions in one.
    let (plain, rest) = bytes.split_at(plain_before(bytes));
    out.extend_from_slice(plain);
    let is_text = std::str::from_utf8(rest).is_ok();
    if is_text {
        escape(rest, out);
    } else {
        for chunk in rest.utf8_chunks() {
            escape(chunk.valid().as_bytes(), out);
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    out.push(b'"');
    is_text
}

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends a number.
pub fn push_number(number: i64, out: &mut Vec<u8>) {
    // Quicker than formatting it; a number is always JSON, and a Vec takes everything.
    let _ = serde_json::to_writer(out, &number);
}

fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut done = 0;
    for (piece, start) in text.chunks(PIECE).zip((0..).step_by(PIECE)) {
        // Most text needs nothing: a piece is asked as a whole, which the compiler turns into a few wide instructions.
        if piece.iter().fold(true, |all, byte| all & is_itself(*byte)) {
            continue;
        }
        for (byte, at) in piece.iter().zip(start..) {
            let letter = ESCAPES[usize::from(*byte)];
            if letter == 0 {
                continue;
            }
            out.extend_from_slice(&text[done..at]);
            out.extend_from_slice(&[b'\\', letter]);
            if letter == b'u' {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            done = at + 1;
        }
    }
    out.extend_from_slice(&text[done..]);
}

/// How many bytes at the beginning are ASCII that stands for itself, at least: whole pieces are asked, and what is left over.
fn plain_before(bytes: &[u8]) -> usize {
    let is_plain = |byte: u8| is_itself(byte) & byte.is_ascii();
    let mut plain = 0;
    let (pieces, rest) = bytes.as_chunks::<PIECE>();
    for piece in pieces {
        if !piece.iter().fold(true, |all, byte| all & is_plain(*byte)) {
            return plain;
        }
        plain += PIECE;
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        if !is_plain_word(u64::from_ne_bytes(*word)) {
            return plain;
        }
        plain += word.len();
    }
    plain + rest.iter().take_while(|byte| is_plain(**byte)).count()
}

/// Whether it stands for itself in a JSON string; bytes beyond ASCII do.
fn is_itself(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// The same question, and that of ASCII, for eight bytes at once.
fn is_plain_word(word: u64) -> bool {
    const EACH: u64 = u64::MAX / 0xff;
    const HIGH: u64 = EACH * 0x80;
    // A byte that borrows marks its high bit; a borrow may mark more than there is, never less.
    let below = |word: u64, limit: u64| word.wrapping_sub(EACH * limit) & !word & HIGH;
    let is = |byte: u8| below(word ^ (EACH * u64::from(byte)), 1);
    (word & HIGH) | below(word, 0x20) | is(b'"') | is(b'\\') == 0
}

/// Appends `bytes` in base64, without quotes.
pub fn push_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exactly what the alphabet with padding needs, so it always fits.
    let written = STANDARD
        .encode_slice(bytes, &mut out[start..])
        .unwrap_or_default();
    out.truncate(start + written);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_special_byte_is_found_wherever_it_stands() {
        for len in 0..100 {
            let plain = vec![b'a'; len];
            assert_eq!(plain_before(&plain), len);
            for (at, special) in (0..len).flat_map(|at| b"\0\x1f\"\\\x80\xff".map(|it| (at, it))) {
                let mut bytes = plain.clone();
                bytes[at] = special;
                let mut out = Vec::new();
                assert_eq!(push_text(&bytes, &mut out), special < 0x80);
                let back: String = serde_json::from_slice(&out).unwrap();
                assert_eq!(back, String::from_utf8_lossy(&bytes));
                assert!(plain_before(&bytes) <= at);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_by_a_json_parser(text in "(\\PC|[\\x00-\\x1f\"\\\\]|[a-z]{30}){0,9}") {
            let mut out = Vec::new();
            push_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_bytes_are_kept_exactly(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut out = b"{".to_vec();
            push_bytes("value", Some(&bytes), true, &mut out);
            out.push(b'}');
            let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(object["value"].as_str().unwrap(), String::from_utf8_lossy(&bytes));
            let back = match object.get("value_base64") {
                Some(exact) => STANDARD.decode(exact.as_str().unwrap()).unwrap(),
                None => object["value"].as_str().unwrap().as_bytes().to_vec(),
            };
            prop_assert_eq!(back, bytes);
        }
    }
}
