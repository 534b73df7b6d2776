//! Cuts a template's text into literals and placeholders. Pure.

use super::TemplateError;

/// A piece of a template's text. Literals may follow each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Literal(&'a str),
    /// The name between the braces, and the byte offset of the opening brace.
    Placeholder(&'a str, usize),
    /// What follows a `%` (with flags), and the byte offset of the `%`. Only with `strftime`.
    Time(char, usize),
}

/// Cuts `text`. With `strftime`, `%` begins a directive of one letter and `%%` is a literal.
///
/// # Errors
/// A brace without its partner, an empty placeholder, a `%` at the end.
pub(super) fn scan(text: &str, strftime: bool) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(|c| matches!(c, '{' | '}') || (strftime && c == '%')) {
        at += found;
        let rest = &text[at..];
        let literal = &text[start..at];
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        let length = if rest.starts_with("{{") || rest.starts_with("}}") || rest.starts_with("%%") {
            pieces.push(Piece::Literal(&rest[..1]));
            2
        } else if rest.starts_with('{') {
            let Some(end) = rest.find('}') else {
                return Err(error(
                    at,
                    "`{` without its `}`",
                    "a literal brace is written `{{`",
                ));
            };
            let name = &rest[1..end];
            if name.is_empty() || name.contains('{') {
                return Err(error(
                    at,
                    "a placeholder needs a name",
                    "a literal brace is written `{{`",
                ));
            }
            pieces.push(Piece::Placeholder(name, at));
            end + 1
        } else if rest.starts_with('}') {
            return Err(error(
                at,
                "`}` without its `{`",
                "a literal brace is written `}}`",
            ));
        } else {
            let Some(letter) = rest[1..].chars().next() else {
                return Err(error(
                    at,
                    "`%` at the end",
                    "a literal percent sign is written `%%`",
                ));
            };
            pieces.push(Piece::Time(letter, at));
            1 + letter.len_utf8()
        };
        at += length;
        start = at;
    }
    if start < text.len() {
        pieces.push(Piece::Literal(&text[start..]));
    }
    Ok(pieces)
}

pub(super) fn error(
    at: usize,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> TemplateError {
    TemplateError {
        at,
        message: message.into(),
        hint: Some(hint.into()),
    }
}

/// `text` as a literal of a template: the way back from [`scan`].
pub(super) fn escape(text: &str, strftime: bool, into: &mut String) {
    for c in text.chars() {
        into.push(c);
        if matches!(c, '{' | '}') || (strftime && c == '%') {
            into.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn doubled_braces_are_literals() {
        let pieces = scan("a{{b}}{host}", false).unwrap();
        assert_eq!(
            pieces,
            [
                Piece::Literal("a"),
                Piece::Literal("{"),
                Piece::Literal("b"),
                Piece::Literal("}"),
                Piece::Placeholder("host", 6),
            ]
        );
    }

    #[test]
    fn a_lone_brace_is_refused_where_it_stands() {
        assert_eq!(scan("ab{host", false).unwrap_err().at, 2);
        assert_eq!(scan("ab}", false).unwrap_err().at, 2);
        assert_eq!(scan("ab{}", false).unwrap_err().at, 2);
        assert_eq!(scan("100%", true).unwrap_err().at, 3);
        assert!(scan("100%", false).is_ok());
    }

    proptest! {
        #[test]
        fn escaped_text_is_all_literal(text in "[a-z{}%é]{0,20}") {
            let mut escaped = String::new();
            escape(&text, true, &mut escaped);
            let mut back = String::new();
            for piece in scan(&escaped, true).unwrap() {
                match piece {
                    Piece::Literal(literal) => back.push_str(literal),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert_eq!(back, text);
        }

        #[test]
        fn no_text_panics(text in "[a-z{}%é ]{0,20}") {
            let _ = scan(&text, true);
        }
    }
}
