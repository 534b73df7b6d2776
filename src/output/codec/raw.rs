//! `raw`: the value and a line feed. A null value is an empty line.

/// Appends one value.
#[inline]
pub fn append(value: Option<&[u8]>, out: &mut Vec<u8>) {
    let value = value.unwrap_or_default();
    out.reserve(value.len() + 1);
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_value_is_an_empty_line_and_bytes_are_unchanged() {
        let mut out = Vec::new();
        append(Some(b"a\xff\0"), &mut out);
        append(None, &mut out);
        append(Some(b""), &mut out);
        assert_eq!(out, b"a\xff\0\n\n\n");
    }
}
