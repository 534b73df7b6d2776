//! The rule about `pack`: what becomes one record must be lines as they are, alike in all but their bytes.

use crate::config::{From, Input, Route};
use crate::plan::dress::is_plain;
use crate::plan::names::Names;
use crate::template::Template;
use crate::value::show_size;
use crate::yaml::{Problem, Span};

/// What Kafka adds to a record, and a key, generously.
const OVERHEAD: u64 = 8 * 1024;

pub(super) fn packs_hold_lines_as_they_are(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let (Some(from), Some(to)) = (&input.from, &input.to) else {
            continue;
        };
        let Some(pack) = &to.pack else { continue };
        if let Some((what, hint)) = what_differs(names, input, from, to) {
            problems.push(Problem::new(pack.span, what).hint(hint));
        }
        problems.extend(too_large(pack.value, to.max_record.value, pack.span));
    }
}

/// Why lines of this input cannot be put together.
fn what_differs(
    names: &Names<'_>,
    input: &Input,
    from: &From,
    to: &Route,
) -> Option<(&'static str, &'static str)> {
    if matches!(from, From::Syslog(_)) {
        return Some((
            "messages of syslog are not packed",
            "one may hold line feeds, and then nobody could take them apart: leave `pack` out",
        ));
    }
    let lines = from.lines();
    if lines.multiline.is_some() {
        return Some((
            "records of several lines are not packed",
            "nobody could tell where one ends: leave `pack` or `multiline` out",
        ));
    }
    if lines.line_end.value != "lf" {
        return Some((
            "`pack` puts line feeds between lines, and these end otherwise",
            "leave `pack` or `line_end` out",
        ));
    }
    let differs = |template: &Template| !template.is_constant_per_file();
    let mut texts = [names.key(input), names.place(input)].into_iter();
    let is_alike = !texts.any(|text| text.ok().flatten().as_ref().is_some_and(differs));
    (!is_alike || !is_plain(names, input, to)).then_some((
        "`pack` makes one record of many lines, and here each has something of its own",
        "leave `pack` out, or what is made of each line: `format`, `headers`, `fields`, and a topic, key or partition that a line decides",
    ))
}

fn too_large(pack: u64, max_record: u64, span: Span) -> Option<Problem> {
    (pack.saturating_add(OVERHEAD) > max_record).then(|| {
        Problem::new(
            span,
            format!(
                "a record of {} with what is around it does not fit into `max_record`, {}",
                show_size(pack),
                show_size(max_record)
            ),
        )
        .hint("a smaller `pack`, or a larger `max_record` and message.max.bytes of the brokers")
    })
}
