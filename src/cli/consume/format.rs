//! How a record is printed: kcat's format strings.
//!
//! | | is | | is |
//! |---|---|---|---|
//! | `%s` | value | `%S` | its length, -1 when it is null |
//! | `%k` | key | `%K` | its length, -1 when it is null |
//! | `%t` | topic | `%p` | partition |
//! | `%o` | offset | `%T` | time, in milliseconds since 1970; -1 when there is none |
//! | `%h` | headers, `name=value,name=value` | `%R` | the value's length in 4 bytes, big endian |
//! | `%%` | a percent sign | `\n \r \t \0 \\ \xHH` | bytes |

use crate::cli::console::escaped;
use crate::flow::{Consumed, TimestampKind};
use crate::kafka::console::reader::Records;
use crate::kafka::native::Message;

/// A parsed format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    tokens: Vec<Token>,
    /// What stands for a null value or key.
    null: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Literal(Vec<u8>),
    Value,
    ValueLength,
    ValueLengthBytes,
    Key,
    KeyLength,
    Topic,
    Partition,
    Offset,
    Time,
    Headers,
}

impl Format {
    /// # Errors
    /// A letter or an escape that is unknown.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut pieces = text.split('%');
        let mut literal = pieces.next().unwrap_or_default().to_owned();
        // An empty piece stands between two percent signs.
        let mut doubled = false;
        let rest: Vec<&str> = pieces.collect();
        for (at, piece) in rest.iter().enumerate() {
            if std::mem::take(&mut doubled) {
                literal.push_str(piece);
                continue;
            }
            let mut letters = piece.chars();
            let token = match letters.next() {
                None if at + 1 < rest.len() => {
                    literal.push('%');
                    doubled = true;
                    continue;
                }
                None => return Err("a % at the end; a literal one is written %%".to_owned()),
                Some('s') => Token::Value,
                Some('S') => Token::ValueLength,
                Some('R') => Token::ValueLengthBytes,
                Some('k') => Token::Key,
                Some('K') => Token::KeyLength,
                Some('t') => Token::Topic,
                Some('p') => Token::Partition,
                Some('o') => Token::Offset,
                Some('T') => Token::Time,
                Some('h') => Token::Headers,
                Some(other) => {
                    return Err(format!(
                        "%{other} is unknown; there is %s %S %R %k %K %t %p %o %T %h %%"
                    ));
                }
            };
            push_literal(&mut tokens, &literal)?;
            tokens.push(token);
            literal = letters.as_str().to_owned();
        }
        push_literal(&mut tokens, &literal)?;
        Ok(Self {
            tokens,
            null: Vec::new(),
        })
    }

    /// The key, `delimiter`, the value and a line feed.
    pub fn with_key(delimiter: &[u8]) -> Self {
        let delimiter = Token::Literal(delimiter.to_vec());
        let end = Token::Literal(b"\n".to_vec());
        Self {
            tokens: vec![Token::Key, delimiter, Token::Value, end],
            null: Vec::new(),
        }
    }

    /// The value and a line feed.
    pub fn plain() -> Self {
        Self {
            tokens: vec![Token::Value, Token::Literal(b"\n".to_vec())],
            null: Vec::new(),
        }
    }

    /// With what stands for a null value or key.
    pub fn null_as(mut self, null: &[u8]) -> Self {
        self.null = null.to_vec();
        self
    }

    /// Appends the record at `index`.
    pub fn append(&self, records: &Records, index: usize, out: &mut Vec<u8>) {
        let message = records.message(index);
        for token in &self.tokens {
            self.token(token, &message, records, index, out);
        }
    }

    fn token(
        &self,
        token: &Token,
        message: &Message<'_>,
        records: &Records,
        index: usize,
        out: &mut Vec<u8>,
    ) {
        let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
        match token {
            Token::Literal(text) => out.extend_from_slice(text),
            Token::Value => out.extend_from_slice(message.value().unwrap_or(&self.null)),
            Token::Key => out.extend_from_slice(message.key().unwrap_or(&self.null)),
            Token::ValueLength => push_number(length(message.value()), out),
            Token::KeyLength => push_number(length(message.key()), out),
            Token::ValueLengthBytes => {
                // As a number of 32 bits with a sign: null is -1.
                let length = i32::try_from(length(message.value())).unwrap_or(i32::MAX);
                out.extend_from_slice(&length.to_be_bytes());
            }
            Token::Topic => out.extend_from_slice(message.topic().as_bytes()),
            Token::Partition => push_number(message.partition().into(), out),
            Token::Offset => push_number(message.offset(), out),
            Token::Time => push_number(
                match message.timestamp() {
                    (_, TimestampKind::None) => -1,
                    (ms, _) => ms,
                },
                out,
            ),
            Token::Headers => {
                let mut first = true;
                records.headers(index, &mut |name, value| {
                    if !std::mem::take(&mut first) {
                        out.push(b',');
                    }
                    out.extend_from_slice(name.as_bytes());
                    out.push(b'=');
                    out.extend_from_slice(value.unwrap_or(b"NULL"));
                });
            }
        }
    }
}

fn push_literal(tokens: &mut Vec<Token>, text: &str) -> Result<(), String> {
    if !text.is_empty() {
        tokens.push(Token::Literal(escaped(text)?));
    }
    Ok(())
}

fn push_number(number: i64, out: &mut Vec<u8>) {
    crate::envelope::text::push_number(number, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literal(text: &str) -> Token {
        Token::Literal(text.into())
    }

    #[test]
    fn letters_and_escapes_are_told_apart() {
        let format = Format::parse(r"%t[%p]\t%o: 100%%%s\n").unwrap();
        let expected = [
            Token::Topic,
            literal("["),
            Token::Partition,
            literal("]\t"),
            Token::Offset,
            literal(": 100%"),
            Token::Value,
            literal("\n"),
        ];
        assert_eq!(format.tokens, expected);
        assert_eq!(Format::parse("").unwrap().tokens, []);
        assert_eq!(Format::parse("%%%%s").unwrap().tokens, [literal("%%s")]);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for wrong in ["%q", "%", "a%%%", r"\q"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
