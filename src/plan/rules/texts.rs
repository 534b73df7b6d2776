//! Rules about names and templates: the id, topics, keys, groups.

use regex::Regex;

use super::lines::not_regular;
use crate::plan::names::Names;
use crate::template::TemplateError;
use crate::yaml::{Problem, Span, Spanned};

/// The topic in which logferry keeps positions of exactly-once pipelines.
const POSITIONS: &str = "logferry-positions";

pub(super) fn the_id_is_a_name(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let id = &names.config.id;
    match names.resolve_id() {
        Err(error) => problems.push(of_template_error(id, error)),
        Ok(text) => {
            if text.is_empty() || text.len() > 200 || !text.chars().all(is_name_letter) {
                problems.push(
                    Problem::new(
                        id.span,
                        format!("the id `{text}` cannot be a name in Kafka"),
                    )
                    .hint("letters, digits and . _ - only, at most 200"),
                );
            }
        }
    }
}

pub(super) fn topics_of_inputs_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let Some(written) = input.to.as_ref().and_then(|to| to.topic.as_ref()) else {
            continue;
        };
        let template = match names.topic(input) {
            Ok(Some(template)) => template,
            Ok(None) => continue,
            Err(error) => {
                problems.push(of_template_error(written, error));
                continue;
            }
        };
        if let Some(wrong) = template
            .literals()
            .flat_map(str::chars)
            .find(|letter| !is_name_letter(*letter))
        {
            problems.push(
                Problem::new(
                    written.span,
                    format!("the character `{wrong}` cannot stand in a topic's name"),
                )
                .hint("letters, digits and . _ - only"),
            );
        } else if let Some(topic) = template.constant()
            && !is_topic(topic)
        {
            problems.push(
                Problem::new(written.span, format!("`{topic}` cannot be a topic's name"))
                    .hint("1 to 249 letters, digits and . _ -, but not `.` or `..` alone"),
            );
        }
    }
}

pub(super) fn keys_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        if let Some(written) = input.to.as_ref().and_then(|to| to.key.as_ref())
            && let Err(error) = names.key(input)
        {
            problems.push(of_template_error(written, error));
        }
    }
}

pub(super) fn topics_of_outputs_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for topic in consumed_topics(names) {
        if topic.value.starts_with('^') {
            if let Err(error) = Regex::new(&topic.value) {
                problems.push(not_regular(topic, &error));
            }
        } else if !is_topic(&topic.value) {
            problems.push(
                Problem::new(topic.span, format!("`{}` cannot be a topic's name", topic.value))
                    .hint("a regular expression begins with `^`; a name has letters, digits and . _ - only"),
            );
        }
    }
}

pub(super) fn groups_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for from in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
    {
        if let Some(group) = &from.group
            && let Err(error) = names.constant(group)
        {
            problems.push(of_template_error(group, error));
        }
    }
}

pub(super) fn consumer_options_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for from in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
    {
        for property in &from.options {
            if let Err(error) = names.constant(&property.value) {
                problems.push(of_template_error(&property.value, error));
            }
        }
    }
}

pub(super) fn outputs_leave_positions_alone(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for topic in consumed_topics(names) {
        let consumes = match topic.value.starts_with('^') {
            true => Regex::new(&topic.value).is_ok_and(|regex| regex.is_match(POSITIONS)),
            false => topic.value == POSITIONS,
        };
        if consumes {
            problems.push(
                Problem::new(
                    topic.span,
                    format!("this would consume `{POSITIONS}`, logferry's own topic"),
                )
                .hint("name the topics that are meant, or a narrower expression"),
            );
        }
    }
}

fn consumed_topics<'a>(names: &Names<'a>) -> impl Iterator<Item = &'a Spanned<String>> + use<'a> {
    names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .flat_map(|from| &from.topics)
}

pub(super) fn of_template_error(written: &Spanned<String>, error: TemplateError) -> Problem {
    let problem = Problem::new(within(written, error.at), error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// From a byte of a text to its end, when the text stands in the file as it is; else the whole text.
fn within(written: &Spanned<String>, at: usize) -> Span {
    let span = written.span;
    let one_line = span.line == span.end_line;
    let width = span.end_column.saturating_sub(span.column);
    let length = written.value.chars().count();
    // Two more are the quotes; anything else was escaped or came from the environment.
    let quotes = match width.checked_sub(length) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return span,
    };
    let before = written
        .value
        .get(..at)
        .map_or(0, |text| text.chars().count());
    if !one_line || before >= length {
        return span;
    }
    Span {
        column: span.column + quotes + before,
        end_column: span.end_column - quotes,
        ..span
    }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

/// Kafka's rule for names of topics.
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.chars().all(is_name_letter)
}
