//! Text in other encodings to UTF-8. Pure.
//!
//! Bytes that mean nothing in their encoding become U+FFFD. Under UTF-8 nothing is changed at all, so invalid bytes stay as they are.
//! What is decoded begins where a character begins, and knows nothing of what stood before.

use encoding_rs::{DecoderResult, UTF_8, UTF_16BE, UTF_16LE};

/// The encoding of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    /// ISO 8859-1 itself; windows-1252 is an encoding of its own.
    Latin1,
    Other(&'static encoding_rs::Encoding),
}

impl Encoding {
    /// By its label: those of the WHATWG's Encoding Standard, and `latin-1`. `utf-16` has to say which byte comes first.
    pub fn of(label: &str) -> Option<Self> {
        let label = label.trim().to_ascii_lowercase();
        match label.as_str() {
            "latin-1" | "latin1" | "iso-8859-1" | "iso8859-1" | "iso_8859-1" => {
                return Some(Self::Latin1);
            }
            "utf-16" => return None,
            _ => {}
        }
        let encoding = encoding_rs::Encoding::for_label_no_replacement(label.as_bytes())?;
        Some(match encoding == UTF_8 {
            true => Self::Utf8,
            false => Self::Other(encoding),
        })
    }

    /// How many bytes the smallest part of a character has.
    pub fn unit(&self) -> usize {
        match self {
            Self::Other(encoding) if *encoding == UTF_16LE || *encoding == UTF_16BE => 2,
            _ => 1,
        }
    }

    /// Whether ASCII bytes that stand for themselves are ASCII characters.
    pub fn is_ascii_compatible(&self) -> bool {
        match self {
            Self::Utf8 | Self::Latin1 => true,
            Self::Other(encoding) => encoding.is_ascii_compatible(),
        }
    }

    /// Whether an ASCII byte may be a part of another character.
    pub fn hides_ascii(&self) -> bool {
        match self {
            Self::Other(encoding) => self.unit() == 1 && !encoding.is_single_byte(),
            Self::Utf8 | Self::Latin1 => false,
        }
    }

    /// What may stand at the very beginning, and is no part of the text.
    pub fn bom(&self) -> &'static [u8] {
        match self {
            Self::Utf8 => b"\xef\xbb\xbf",
            Self::Other(encoding) if *encoding == UTF_16LE => b"\xff\xfe",
            Self::Other(encoding) if *encoding == UTF_16BE => b"\xfe\xff",
            Self::Latin1 | Self::Other(_) => b"",
        }
    }

    /// The same text with the bytes of each unit in the other order.
    pub fn other_order(&self) -> Option<&'static str> {
        match self {
            Self::Other(encoding) if *encoding == UTF_16LE => Some("utf-16be"),
            Self::Other(encoding) if *encoding == UTF_16BE => Some("utf-16le"),
            Self::Utf8 | Self::Latin1 | Self::Other(_) => None,
        }
    }

    /// Appends what `bytes` mean to `text`, at most three bytes for each of them.
    pub fn decode(&self, bytes: &[u8], text: &mut Vec<u8>) {
        match self {
            Self::Utf8 => text.extend_from_slice(bytes),
            Self::Latin1 => {
                let decoded = encoding_rs::mem::decode_latin1(bytes);
                text.extend_from_slice(decoded.as_bytes());
            }
            Self::Other(encoding) => {
                let (decoded, _) = encoding.decode_without_bom_handling(bytes);
                text.extend_from_slice(decoded.as_bytes());
            }
        }
    }

    /// The bytes of `text`, if all of its characters exist in the encoding.
    pub fn encode(&self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Utf8 => Some(text.as_bytes().to_vec()),
            Self::Latin1 => text
                .chars()
                .map(|c| u8::try_from(u32::from(c)).ok())
                .collect(),
            Self::Other(encoding) if *encoding == UTF_16LE => {
                Some(text.encode_utf16().flat_map(u16::to_le_bytes).collect())
            }
            Self::Other(encoding) if *encoding == UTF_16BE => {
                Some(text.encode_utf16().flat_map(u16::to_be_bytes).collect())
            }
            Self::Other(encoding) => {
                let (bytes, _, unmappable) = encoding.encode(text);
                (!unmappable).then(|| bytes.into_owned())
            }
        }
    }

    /// How many of the first `most` bytes of a line are whole characters; under UTF-8, which is not decoded, all of them. 0 when there is none.
    pub fn cut(&self, bytes: &[u8], most: usize) -> usize {
        let most = most.min(bytes.len());
        let Self::Other(encoding) = self else {
            return most;
        };
        if encoding.is_single_byte() {
            return most;
        }
        // No character has more than four bytes.
        let ends = (most.saturating_sub(3)..=most).rev();
        let mut ends = ends.filter(|end| end.is_multiple_of(self.unit()) && *end > 0);
        ends.find(|&end| is_whole(encoding, &bytes[..end]))
            .unwrap_or(0)
    }
}

/// Whether `bytes` do not end inside a character.
fn is_whole(encoding: &'static encoding_rs::Encoding, mut bytes: &[u8]) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut text = [0; 4096];
    loop {
        let (result, read, _) = decoder.decode_to_utf8_without_replacement(bytes, &mut text, false);
        bytes = &bytes[read..];
        if result == DecoderResult::InputEmpty {
            break;
        }
    }
    let (result, _, _) = decoder.decode_to_utf8_without_replacement(b"", &mut text, true);
    result == DecoderResult::InputEmpty
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(label: &str, bytes: &[u8]) -> String {
        let mut text = Vec::new();
        Encoding::of(label).unwrap().decode(bytes, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn encodings_are_known_by_their_labels() {
        assert_eq!(Encoding::of("UTF-8"), Some(Encoding::Utf8));
        assert_eq!(Encoding::of("latin-1"), Some(Encoding::Latin1));
        assert_eq!(Encoding::of("utf-16"), None);
        assert_eq!(Encoding::of("replacement"), None);
        for label in ["utf-16le", "shift_jis", "windows-1252", "gb18030", "koi8-r"] {
            assert!(Encoding::of(label).is_some(), "{label}");
        }
    }

    #[test]
    fn latin_1_is_not_windows_1252() {
        assert_eq!(decoded("latin-1", b"\xfc\x80"), "ü\u{80}");
        assert_eq!(decoded("windows-1252", b"\xfc\x80"), "ü€");
    }

    #[test]
    fn no_character_is_cut() {
        let utf16 = Encoding::of("utf-16be").unwrap();
        let bytes = utf16.encode("a😀b").unwrap();
        assert_eq!(utf16.cut(&bytes, 2), 2);
        assert_eq!(utf16.cut(&bytes, 4), 2);
        assert_eq!(utf16.cut(&bytes, 5), 2);
        assert_eq!(utf16.cut(&bytes, 6), 6);
        assert_eq!(utf16.cut(&bytes[2..4], 2), 0);
        let sjis = Encoding::of("shift_jis").unwrap();
        let bytes = sjis.encode("日本").unwrap();
        assert_eq!((sjis.cut(&bytes, 3), sjis.cut(&bytes, 4)), (2, 4));
        assert_eq!(Encoding::Utf8.cut("ü".as_bytes(), 1), 1);
    }

    #[test]
    fn bytes_that_mean_nothing_become_replacement_characters_within_bounds() {
        for label in ["utf-16le", "shift_jis", "gb18030", "big5", "euc-kr"] {
            for bytes in [&[0xff; 7][..], &[0x81, 0x00, 0xd8][..]] {
                let text = decoded(label, bytes);
                assert!(text.len() <= 3 * bytes.len(), "{label}: {text:?}");
            }
        }
    }
}
