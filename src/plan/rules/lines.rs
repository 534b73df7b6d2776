//! Rules about lines: encodings, line ends, expressions.

use regex::bytes::Regex;

use crate::config::{From, Lines};
use crate::input::encoding::Encoding;
use crate::input::frame::line_end::LineEnd;
use crate::input::frame::settings::LineEndText;
use crate::plan::lines::settings;
use crate::plan::names::Names;
use crate::yaml::{Problem, Spanned};

fn all<'a>(names: &Names<'a>) -> impl Iterator<Item = &'a Lines> + use<'a> {
    names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.from.as_ref())
        .map(From::lines)
}

pub(super) fn encodings_are_known(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for lines in all(names) {
        let label = &lines.encoding;
        if Encoding::of(&label.value).is_some() {
            continue;
        }
        let problem = Problem::new(
            label.span,
            format!("the encoding `{}` is not known", label.value),
        );
        problems.push(match label.value.to_ascii_lowercase().as_str() {
            "utf-16" | "utf16" => problem.hint("which byte comes first: `utf-16le` or `utf-16be`"),
            _ => problem.hint(
                "utf-8, utf-16le, utf-16be, latin-1, windows-1252, shift_jis, gb18030 or another label of the WHATWG's Encoding Standard",
            ),
        });
    }
}

pub(super) fn line_ends_can_be_found(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for lines in all(names) {
        let Some(encoding) = Encoding::of(&lines.encoding.value) else {
            continue;
        };
        let (text, label) = (&lines.line_end, &lines.encoding.value);
        let line_end = settings(lines).line_end;
        let wrong = if LineEnd::new(&line_end, &encoding).is_none() {
            format!("the line end `{}` does not exist in `{label}`", text.value)
        } else if encoding.hides_ascii() && matches!(line_end, LineEndText::Text(_)) {
            format!(
                "the bytes of the line end `{}` may be parts of other characters in `{label}`",
                text.value
            )
        } else {
            continue;
        };
        problems.push(
            Problem::new(text.span, wrong).hint("`lf` and `nul` are found in every encoding"),
        );
    }
}

pub(super) fn groups_have_one_rule(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for multiline in all(names).filter_map(|lines| lines.multiline.as_ref()) {
        let rules = [&multiline.start, &multiline.r#continue, &multiline.end];
        let given = rules.into_iter().flatten().count();
        if given != 1 {
            problems.push(
                Problem::new(
                    multiline.span,
                    "`multiline` needs exactly one of `start`, `continue` and `end`",
                )
                .hint(r"for example `start: '^\d{4}-'`: a line that begins with a year begins a record"),
            );
        }
    }
}

pub(super) fn expressions_are_regular(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for lines in all(names) {
        let groups = lines.multiline.iter();
        let groups = groups.flat_map(|it| [&it.start, &it.r#continue, &it.end]);
        for pattern in groups.chain([&lines.include, &lines.exclude]).flatten() {
            if let Err(error) = Regex::new(&pattern.value) {
                problems.push(not_regular(pattern, &error));
            }
        }
    }
}

/// What is wrong with an expression.
pub(super) fn not_regular(pattern: &Spanned<String>, error: &regex::Error) -> Problem {
    let text = error.to_string();
    let reason = text
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    let what = format!("`{}` is not a regular expression", pattern.value);
    Problem::new(pattern.span, what).hint(reason.to_owned())
}
