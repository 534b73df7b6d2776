//! A finding in the configuration, and how it is shown: `FILE:LINE:COL: message`, the line, a caret, a hint.

use super::node::Span;

/// Excerpts are cut to this many characters.
const EXCERPT: usize = 120;

/// One finding. Text is lowercase, without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where; absent when it is about the file as a whole.
    pub at: Option<Span>,
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    pub fn new(at: Span, message: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            message: message.into(),
            hint: None,
        }
    }

    /// A finding about the file as a whole.
    pub fn of_file(message: impl Into<String>) -> Self {
        Self {
            at: None,
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A file's name and text, as excerpts need them.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub name: String,
    pub text: String,
    /// What must not be shown.
    pub masked: Vec<Span>,
}

impl Source {
    /// `problem` in a few lines, with a line feed at the end. `severity` stands before the message, for example `note: `.
    pub fn show(&self, problem: &Problem, severity: &str) -> String {
        let mut shown = format!("{}:", self.name);
        let Some(span) = problem.at else {
            shown.push_str(&format!(" {severity}{}\n", problem.message));
            if let Some(hint) = &problem.hint {
                shown.push_str(&format!("  = {hint}\n"));
            }
            return shown;
        };
        shown.push_str(&format!(
            "{}:{}: {severity}{}\n",
            span.line, span.column, problem.message
        ));
        let margin = span.line.to_string().len();
        match self.excerpt(span) {
            Some((line, caret, width)) => {
                shown.push_str(&format!("{} | {line}\n", span.line));
                shown.push_str(&format!("{:margin$} | {caret}{}", "", "^".repeat(width)));
                if let Some(hint) = &problem.hint {
                    shown.push_str(&format!(" {hint}"));
                }
                shown.push('\n');
            }
            None => {
                if let Some(hint) = &problem.hint {
                    shown.push_str(&format!("{:margin$} = {hint}\n", ""));
                }
            }
        }
        shown
    }

    /// The line of `span` without its secrets, what stands below it before the caret, and the caret's width.
    fn excerpt(&self, span: Span) -> Option<(String, String, usize)> {
        let line = self.text.lines().nth(span.line.checked_sub(1)?)?;
        let end = if span.end_line > span.line {
            usize::MAX
        } else {
            span.end_column
        };
        // Far to the right: begin a little before the place.
        let first = if span.column > EXCERPT {
            span.column - EXCERPT / 2
        } else {
            1
        };
        let mut shown = String::new();
        let mut caret = String::new();
        let mut width = 0;
        let mut masking = false;
        for (column, letter) in (1..).zip(line.chars()).skip(first - 1).take(EXCERPT) {
            let masked = self.is_masked(span.line, column);
            let letters = match (masked, masking) {
                (true, true) => "",
                (true, false) => "***",
                (false, _) => "",
            };
            masking = masked;
            shown.push_str(letters);
            let mut wide = letters.len();
            if !masked {
                shown.push(if letter.is_control() && letter != '\t' {
                    ' '
                } else {
                    letter
                });
                wide = 1;
            }
            if column < span.column {
                // A tab below a tab keeps the caret in its column.
                caret.push_str(&if letter == '\t' {
                    "\t".to_owned()
                } else {
                    " ".repeat(wide)
                });
            } else if column < end {
                width += wide;
            }
        }
        Some((shown.trim_end().to_owned(), caret, width.max(1)))
    }

    fn is_masked(&self, line: usize, column: usize) -> bool {
        self.masked.iter().any(|span| {
            (span.line, span.column) <= (line, column)
                && (line, column) < (span.end_line, span.end_column)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(line: usize, column: usize, end_column: usize) -> Span {
        Span {
            line,
            column,
            end_line: line,
            end_column,
        }
    }

    fn source(text: &str) -> Source {
        Source {
            name: "a.yaml".to_owned(),
            text: text.to_owned(),
            masked: Vec::new(),
        }
    }

    #[test]
    fn a_problem_shows_its_line_and_its_hint() {
        let problem =
            Problem::new(span(2, 3, 7), "unknown key `path`").hint("did you mean `paths`?");
        assert_eq!(
            source("x:\n  path: 1\n").show(&problem, ""),
            "a.yaml:2:3: unknown key `path`\n2 |   path: 1\n  |   ^^^^ did you mean `paths`?\n"
        );
    }

    #[test]
    fn a_secret_in_the_line_is_masked_and_the_caret_still_fits() {
        let mut source = source("{ password: hunter2, x: 1 }");
        source.masked.push(span(1, 13, 20));
        assert_eq!(
            source.show(&Problem::new(span(1, 22, 23), "unknown key `x`"), ""),
            "a.yaml:1:22: unknown key `x`\n1 | { password: ***, x: 1 }\n  |                  ^\n"
        );
    }

    #[test]
    fn tabs_and_wide_lines_do_not_displace_the_caret() {
        let shown = source("\tx").show(&Problem::new(span(1, 2, 3), "m"), "");
        assert!(shown.ends_with("1 | \tx\n  | \t^\n"), "{shown:?}");
        let long = format!("{}x", " ".repeat(500));
        let shown = source(&long).show(&Problem::new(span(1, 501, 502), "m"), "");
        assert!(
            shown.lines().all(|line| line.chars().count() < 140),
            "{shown}"
        );
    }

    #[test]
    fn a_place_outside_of_the_file_still_shows_the_message() {
        let shown = source("").show(&Problem::new(span(9, 1, 1), "m").hint("h"), "note: ");
        assert_eq!(shown, "a.yaml:9:1: note: m\n  = h\n");
    }
}
