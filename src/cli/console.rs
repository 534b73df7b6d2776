//! What `produce` and `consume` share on the command line.

use super::exit::ExitStatus;
use super::kafka::Refusal;
use crate::kafka::console::reach::Unreached;

/// Why a command cannot begin, as its end.
pub(super) fn refusal(why: Unreached) -> Refusal {
    let status = match &why {
        Unreached::Nobody(_) => ExitStatus::Unavailable,
        Unreached::Refused(_) => ExitStatus::Undelivered,
        Unreached::Settings(_) => ExitStatus::Usage,
    };
    Refusal {
        status,
        text: why.to_string(),
    }
}

/// Bytes that were written with escapes, at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes(pub Vec<u8>);

/// # Errors
/// An unknown escape, or nothing at all.
pub(super) fn delimiter(text: &str) -> Result<Bytes, String> {
    match escaped(text)? {
        bytes if bytes.is_empty() => Err("a delimiter has at least one character".to_owned()),
        bytes => Ok(Bytes(bytes)),
    }
}

/// What the broker's logs and quotas know this process as.
pub(super) fn client_id() -> String {
    "logferry".to_owned()
}

/// Text with `\n \r \t \0 \\ \xHH` as the bytes that they stand for.
///
/// # Errors
/// An escape that is none of these.
pub(super) fn escaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let Some((&letter, after)) = rest.split_first() else {
            return Err("a backslash at the end; a literal one is written \\\\".to_owned());
        };
        rest = after;
        bytes.push(match letter {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'\\' => b'\\',
            b'x' => {
                let digits = rest.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
                let byte = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok());
                rest = rest.get(2..).unwrap_or_default();
                byte.ok_or("two hex digits follow \\x")?
            }
            other => {
                return Err(format!(
                    "\\{} is unknown; there is \\n \\r \\t \\0 \\\\ and \\xHH",
                    char::from(other).escape_default()
                ));
            }
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_their_bytes() {
        assert_eq!(
            escaped(r"a\t\x1F\\\n\0é").unwrap(),
            "a\t\u{1f}\\\n\0é".as_bytes()
        );
        for wrong in [r"\", r"\q", r"\x1", r"\xzz"] {
            assert!(escaped(wrong).is_err(), "{wrong}");
        }
    }
}
