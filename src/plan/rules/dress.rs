//! Rules about what is made of a line: headers, values, times.

use super::texts::of_template_error;
use crate::config::{From, Input, RecordFormat, Route};
use crate::input::dress::fields::MOST;
use crate::plan::names::Names;
use crate::template::Template;
use crate::yaml::Problem;

fn all<'a>(names: &Names<'a>) -> impl Iterator<Item = (&'a Input, &'a Route)> + use<'a> {
    let inputs = names.config.inputs.iter();
    inputs.filter_map(|input| Some((input, input.to.as_ref()?)))
}

pub(super) fn headers_and_values_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (input, to) in all(names) {
        let value = match &to.format {
            RecordFormat::Template(text) => Some(text),
            RecordFormat::Raw | RecordFormat::Json => None,
        };
        for text in to.headers.iter().map(|header| &header.value).chain(value) {
            if let Err(error) = names.template(input, text) {
                problems.push(of_template_error(text, error));
            }
        }
    }
}

pub(super) fn missing_topics_are_named_by_data(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (input, to) in all(names) {
        let (Some(after), Ok(Some(topic))) = (&to.dead_letter_after, names.topic(input)) else {
            continue;
        };
        if let Some(topic) = topic.constant() {
            let what = format!(
                "all records of `{}` go to the topic {topic}",
                input.name.value
            );
            problems.push(Problem::new(after.span, what).hint(
                "leave the key out: lines wait for it; the key is for topics that data name, like \"app-{json.service}\"",
            ));
        }
    }
}

pub(super) fn fields_of_lines_are_few(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (input, to) in all(names) {
        let value = match &to.format {
            RecordFormat::Template(text) => names.template(input, text).ok(),
            RecordFormat::Raw | RecordFormat::Json => None,
        };
        let headers = to.headers.iter();
        let templates: Vec<Template> = headers
            .filter_map(|header| names.template(input, &header.value).ok())
            .chain(names.topic(input).ok().flatten())
            .chain(names.key(input).ok().flatten())
            .chain(value)
            .collect();
        let mut fields: Vec<&str> = templates.iter().flat_map(Template::json_fields).collect();
        fields.sort_unstable();
        fields.dedup();
        if fields.len() > MOST {
            let what = format!("the templates name {} fields of the line", fields.len());
            problems.push(
                Problem::new(to.span, what).hint(format!("at most {MOST} can be looked for")),
            );
        }
    }
}

pub(super) fn times_come_from_events(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (input, to) in all(names) {
        let kind = match &input.from {
            Some(From::Syslog(_)) | None => None,
            Some(From::File(_)) => Some("a file"),
            Some(From::Stdin { .. }) => Some("standard input"),
        };
        if let Some(kind) = kind
            && to.event_time.value
        {
            problems.push(
                Problem::new(
                    to.event_time.span,
                    format!("lines of {kind} tell no time of their own"),
                )
                .hint("`timestamp: read`, the default; messages of syslog have a time"),
            );
        } else if let Some(span) = to.timestamp_range
            && !to.event_time.value
        {
            problems.push(
                Problem::new(span, "`timestamp_range` is about the time of events")
                    .hint("it needs `timestamp: event`, which messages of syslog can have"),
            );
        }
    }
}

pub(super) fn fields_are_of_json(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for (_, to) in all(names) {
        if let Some(first) = to.fields.first()
            && to.format != RecordFormat::Json
        {
            problems.push(
                Problem::new(first.name.span, "`fields` are added to objects of JSON")
                    .hint("add `format: json`, or send them as `headers`"),
            );
        }
    }
}
