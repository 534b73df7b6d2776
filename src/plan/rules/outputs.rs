//! Rules about the files of outputs.

use super::texts::of_template_error;
use crate::config::FileFormat;
use crate::output::file::settings::Codec;
use crate::plan::names::Names;
use crate::yaml::Problem;

/// More than anybody means, in bytes; names have 255.
const LONGEST_SUFFIX: usize = 32;

pub(super) fn lines_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for to in outputs.filter_map(|output| output.to.as_ref()) {
        if let FileFormat::Template(text) = &to.format
            && let Err(error) = names.line(text)
        {
            problems.push(of_template_error(text, error));
        }
    }
}

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

pub(super) fn files_are_what_their_names_say(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for to in outputs.filter_map(|output| output.to.as_ref()) {
        let compression = &to.compression;
        if compression.value.codec == Codec::Gzip
            && compression.value.level.is_some_and(|level| level > 9)
        {
            problems.push(
                Problem::new(compression.span, "the level does not fit the codec")
                    .hint("gzip has the levels 1 to 9"),
            );
        }
        if compression.value.codec == Codec::None && compression.value.level.is_some() {
            problems.push(
                Problem::new(compression.span, "the level does not fit the codec")
                    .hint("`none` has no levels"),
            );
        }
        let (Some(path), Ok(Some(template))) = (&to.path, names.output_path(to)) else {
            continue;
        };
        let ending = compression.value.codec.ending();
        let packed = [".gz", ".zst"].into_iter();
        for other in packed.filter(|it| *it != ending && template.ends_with(it)) {
            problems.push(
                Problem::new(
                    path.span,
                    format!("a file called `*{other}` would not be one"),
                )
                .hint("the name is made of `path` and what `compression` puts behind it"),
            );
        }
    }
}

pub(super) fn retention_has_files_to_keep(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let outputs = names.config.outputs.iter();
    for to in outputs.filter_map(|output| output.to.as_ref()) {
        let Some(retention) = &to.retention else {
            continue;
        };
        if !retention.value.is_on() {
            problems.push(
                Problem::new(retention.span, "`retention` does not say what is kept")
                    .hint("for example `retention: { files: 30, age: 30d, total_size: 100GiB }`; any of them will do"),
            );
        }
        if to.rotate.is_none() {
            problems.push(
                Problem::new(
                    retention.span,
                    "`retention` removes finished files, and none is ever finished",
                )
                .hint("for example `rotate: { every: 1d }`"),
            );
        }
    }
}
