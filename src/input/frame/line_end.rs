//! What a line ends with, as bytes of the source's encoding. Pure.

use memchr::{memchr, memmem};

use super::settings::LineEndText;
use crate::input::encoding::Encoding;

/// A line end, ready to be searched for.
#[derive(Debug, Clone)]
pub struct LineEnd {
    bytes: Vec<u8>,
    /// What is cut before it; empty for all but LF.
    cr: Vec<u8>,
    /// Line ends begin at multiples of this many bytes after the beginning of their line.
    unit: usize,
    forwards: memmem::Finder<'static>,
    backwards: memmem::FinderRev<'static>,
}

impl LineEnd {
    /// `None` when the text cannot be written in the encoding.
    pub fn new(text: &LineEndText, encoding: &Encoding) -> Option<Self> {
        let bytes = match text {
            LineEndText::Lf => encoding.encode("\n"),
            LineEndText::Nul => encoding.encode("\0"),
            LineEndText::Text(text) => encoding.encode(text),
        };
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        let cr = match text {
            LineEndText::Lf => encoding.encode("\r")?,
            LineEndText::Nul | LineEndText::Text(_) => Vec::new(),
        };
        Some(Self {
            forwards: memmem::Finder::new(&bytes).into_owned(),
            backwards: memmem::FinderRev::new(&bytes).into_owned(),
            bytes,
            cr,
            unit: encoding.unit(),
        })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// In bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a line end has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// LF in one byte, and a CR before it is cut.
    pub fn is_plain(&self) -> bool {
        self.bytes == b"\n" && self.cr == b"\r"
    }

    /// With what may be cut before it, in bytes.
    pub fn longest(&self) -> usize {
        self.bytes.len() + self.cr.len()
    }

    pub fn unit(&self) -> usize {
        self.unit
    }

    /// Where the first one in `bytes` begins; the line (or a part of it) begins with them.
    pub fn find(&self, bytes: &[u8]) -> Option<usize> {
        if let [byte] = self.bytes[..] {
            return memchr(byte, bytes);
        }
        let mut from = 0;
        loop {
            let at = from + self.forwards.find(&bytes[from..])?;
            if at % self.unit == 0 {
                return Some(at);
            }
            from = at + 1;
        }
    }

    /// Where the last one in `bytes` ends; they stand at `base` of the source.
    pub fn find_last(&self, bytes: &[u8], base: u64) -> Option<usize> {
        let mut to = bytes.len();
        loop {
            let at = self.backwards.rfind(&bytes[..to])?;
            if (base + at as u64).is_multiple_of(self.unit as u64) {
                return Some(at + self.bytes.len());
            }
            to = at + self.bytes.len() - 1;
        }
    }

    /// How much of `line` is left when what is cut before a line end is cut.
    pub fn content(&self, line: &[u8]) -> usize {
        if self.cr.is_empty() || !line.ends_with(&self.cr) {
            line.len()
        } else {
            line.len() - self.cr.len()
        }
    }

    /// How many of the last bytes of `line` may be the beginning of a line end.
    pub fn begun(&self, line: &[u8]) -> usize {
        let whole: Vec<u8> = [&self.cr[..], &self.bytes[..]].concat();
        let ends_with = |end: &[u8], len: usize| {
            len <= line.len()
                && len < end.len()
                && (line.len() - len).is_multiple_of(self.unit)
                && line.ends_with(&end[..len])
        };
        let most = whole.len().min(line.len());
        (1..=most)
            .rev()
            .find(|&len| ends_with(&whole, len) || ends_with(&self.bytes, len))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_end(text: LineEndText, encoding: &str) -> LineEnd {
        LineEnd::new(&text, &Encoding::of(encoding).unwrap()).unwrap()
    }

    #[test]
    fn line_ends_of_wide_units_are_found_only_where_units_begin() {
        let lf = line_end(LineEndText::Lf, "utf-16le");
        // U+0A61, then LF: the bytes 0a 00 stand at 1 and at 4.
        let bytes = [0x61, 0x0a, 0x00, 0x62, 0x0a, 0x00];
        assert_eq!(lf.find(&bytes), Some(4));
        assert_eq!(lf.find_last(&bytes, 0), Some(6));
        assert_eq!(lf.find(&bytes[..4]), None);
    }

    #[test]
    fn what_may_become_a_line_end_is_known() {
        let lf = line_end(LineEndText::Lf, "utf-8");
        assert_eq!((lf.begun(b"ab\r"), lf.begun(b"ab")), (1, 0));
        let text = line_end(LineEndText::Text("END".into()), "utf-8");
        assert_eq!((text.begun(b"abEN"), text.begun(b"abEx")), (2, 0));
        assert_eq!(text.content(b"ab\r"), 3);
    }
}
