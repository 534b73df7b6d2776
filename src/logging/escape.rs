//! Text that came from anywhere, made fit for a line of log.
//!
//! What could end the line, move a terminal's cursor or turn the reading direction is written as an escape. Invariant: the result has no control
//! character, so one event stays one line.

use std::fmt::Write;

/// Longest text of one message or field, in bytes; of a longer one the start is kept and the rest is counted.
const LONGEST: usize = 32 * 1024;

/// Appends `text` as it is, but for what must be escaped.
pub fn push_plain(out: &mut String, text: &str) {
    let (head, cut) = shorten(text);
    for character in head.chars() {
        push_character(out, character);
    }
    push_cut(out, cut);
}

/// Appends the value of a `name=value` pair: bare when that is unambiguous, else in quotes with quotes and backslashes escaped.
pub fn push_value(out: &mut String, text: &str) {
    let (head, cut) = shorten(text);
    let bare = !head.is_empty()
        && cut == 0
        && head
            .chars()
            .all(|c| !c.is_whitespace() && !must_escape(c) && !matches!(c, '"' | '\\' | '='));
    if bare {
        out.push_str(head);
        return;
    }
    out.push('"');
    for character in head.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            other => push_character(out, other),
        }
    }
    push_cut(out, cut);
    out.push('"');
}

/// `text` cut at a character's end, for forms that escape by themselves.
pub fn shorten(text: &str) -> (&str, usize) {
    if text.len() <= LONGEST {
        return (text, 0);
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    (&text[..end], text.len() - end)
}

/// Says how much [`shorten`] took.
pub fn push_cut(out: &mut String, cut: usize) {
    if cut > 0 {
        // Writing to a String cannot fail.
        let _ = write!(out, "... ({cut} bytes more)");
    }
}

fn push_character(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        other if must_escape(other) => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(other));
        }
        other => out.push(other),
    }
}

/// Control characters (C0, DEL, C1), line and paragraph separators, and what turns the reading direction.
fn must_escape(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(text: &str) -> String {
        let mut out = String::new();
        push_plain(&mut out, text);
        out
    }

    fn value(text: &str) -> String {
        let mut out = String::new();
        push_value(&mut out, text);
        out
    }

    #[test]
    fn a_line_feed_and_a_cursor_movement_become_escapes() {
        assert_eq!(
            plain("a\nb\r\t\u{1b}[2J\u{9b}\u{7f}"),
            "a\\nb\\r\\t\\u{1b}[2J\\u{9b}\\u{7f}"
        );
        assert_eq!(plain("\u{2028}\u{202e}"), "\\u{2028}\\u{202e}");
    }

    #[test]
    fn a_value_is_quoted_only_where_it_must_be() {
        assert_eq!(value("/var/log/a.log"), "/var/log/a.log");
        assert_eq!(value("two words"), "\"two words\"");
        assert_eq!(value(""), "\"\"");
        assert_eq!(value("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(value("größe"), "größe");
    }

    #[test]
    fn a_long_text_keeps_its_start_and_says_how_much_is_missing() {
        let text = "ä".repeat(LONGEST);
        let out = plain(&text);
        assert!(out.ends_with(&format!("... ({LONGEST} bytes more)")));
        assert!(out.len() < LONGEST + 40);
    }

    proptest! {
        #[test]
        fn no_text_makes_a_second_line(text in any::<String>()) {
            prop_assert!(!plain(&text).chars().any(char::is_control));
            prop_assert!(!value(&text).chars().any(char::is_control));
        }
    }
}
