//! Rules about what decides a record's partition.

use super::texts::of_template_error;
use crate::kafka::settings::Partitioner;
use crate::plan::names::Names;
use crate::template::Template;
use crate::yaml::{Problem, Spanned};

pub(super) fn places_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        if let Some(written) = input.to.as_ref().and_then(|to| to.place())
            && let Err(error) = names.place(input)
        {
            problems.push(of_template_error(written, error));
        }
    }
}

pub(super) fn manual_goes_with_a_partition(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for to in (names.config.inputs.iter()).filter_map(|input| input.to.as_ref()) {
        let Some(partitioner) = &to.partitioner else {
            continue;
        };
        match (partitioner.value, &to.partition) {
            (Partitioner::Manual, None) => problems.push(
                Problem::new(partitioner.span, "`manual` without `partition`")
                    .hint("add `partition:`, a number or a template like `{line}` that makes one"),
            ),
            (partitioner, Some(written)) if partitioner != Partitioner::Manual => problems.push(
                Problem::new(written.span, "`partition` does not count here")
                    .hint("add `partitioner: manual`, or leave it out"),
            ),
            _ => {}
        }
    }
}

pub(super) fn partitions_can_be_numbers(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let Some(to) = &input.to else { continue };
        let is_manual = (to.partitioner.as_ref()).is_some_and(|it| it.value == Partitioner::Manual);
        if let (true, Some(written), Ok(Some(template))) =
            (is_manual, &to.partition, names.place(input))
            && let Some(problem) = never_a_number(written, &template)
        {
            problems.push(problem);
        }
    }
}

/// Whatever the records are.
fn never_a_number(written: &Spanned<String>, template: &Template) -> Option<Problem> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let fits = match template.constant() {
        // Kafka numbers them with a sign.
        Some(text) => digits(text) && text.parse::<i32>().is_ok(),
        None => template.literals().all(digits),
    };
    (!fits).then(|| {
        let what = format!("`{}` never makes the number of a partition", written.value);
        Problem::new(written.span, what).hint(
            "a whole number from 0, or a template that makes one of each record, like `{line}`",
        )
    })
}
