//! Rules about the files of outputs.

use crate::plan::names::Names;
use crate::yaml::Problem;

/// More than anybody means, in bytes; names have 255.
const LONGEST_SUFFIX: usize = 32;

pub(super) fn rotation_has_a_reason(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for to in outputs.filter_map(|output| output.to.as_ref()) {
        let Some(rotate) = &to.rotate else { continue };
        if !rotate.value.is_on() {
            problems.push(
                Problem::new(rotate.span, "`rotate` does not say when")
                    .hint("for example `rotate: { size: 256MiB, every: 1h }`; either will do"),
            );
        }
    }
}

pub(super) fn suffixes_are_parts_of_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for to in outputs.filter_map(|output| output.to.as_ref()) {
        let Some(suffix) = &to.part_suffix else {
            continue;
        };
        let is_part = !suffix.value.contains(['/', '\0']) && suffix.value.len() <= LONGEST_SUFFIX;
        if !is_part {
            problems.push(
                Problem::new(suffix.span, "this cannot stand behind a file's name")
                    .hint("for example `.part`"),
            );
        }
    }
}
