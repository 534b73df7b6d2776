//! Rules about files: patterns and paths, and that nothing reads what logferry itself writes.

use globset::GlobBuilder;

use super::texts::of_template_error;
use crate::config::{FileOutput, From};
use crate::plan::names::Names;
use crate::plan::overlap::{Pattern, Segment, can_meet, longer, of_folder, of_glob, of_template};
use crate::template::PathTemplate;
use crate::yaml::{Problem, Spanned};

pub(super) fn globs_are_globs(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let Some(From::File(file)) = &input.from else {
            continue;
        };
        let paths = file
            .paths
            .iter()
            .map(|path| (path, names.pattern(&path.value)));
        let excludes = file
            .exclude
            .iter()
            .map(|path| (path, names.exclusion(&path.value)));
        for (written, glob) in paths.chain(excludes) {
            if let Err(error) = GlobBuilder::new(&glob).literal_separator(true).build() {
                problems.push(
                    Problem::new(written.span, format!("`{}` is not a glob pattern: {}", written.value, error.kind()))
                        .hint("`*` and `?` stay within a folder, `**` crosses folders, `[ab]`, `{a,b}`; `[[]` is a literal bracket"),
                );
            } else if glob.split('/').any(|part| part == "..") {
                problems.push(
                    Problem::new(written.span, format!("`{}` contains `..`", written.value))
                        .hint("write the path that is meant; files are found by walking down"),
                );
            } else if glob == "/" || (written.value.ends_with('/') && file.paths.contains(written))
            {
                problems.push(
                    Problem::new(written.span, format!("`{}` names a folder", written.value))
                        .hint("say which files in it, like `/var/log/app/*.log`"),
                );
            }
        }
    }
}

pub(super) fn paths_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for to in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.to.as_ref())
    {
        if let Some(written) = &to.path
            && let Err(error) = names.output_path(to)
        {
            problems.push(of_template_error(written, error));
        }
    }
}

pub(super) fn inputs_do_not_read_what_outputs_write(
    names: &Names<'_>,
    problems: &mut Vec<Problem>,
) {
    for output in &names.config.outputs {
        let Some(to) = &output.to else { continue };
        let Ok(Some(template)) = names.output_path(to) else {
            continue;
        };
        let written = of_files(to, &template);
        // Excluded is what is excluded whatever is filled in: a stand-in that nobody writes shows it.
        let sample: String = template
            .shape()
            .map(|part| part.unwrap_or("\u{1}\u{2}"))
            .collect();
        let mut samples = vec![sample.clone()];
        if to.has_longer_names() {
            samples.push(sample + ".\u{1}");
        }
        for path in inputs_that_read(names, &written, &samples) {
            problems.push(
                Problem::new(
                    path.span,
                    format!(
                        "this would read what the output `{}` writes",
                        output.name.value
                    ),
                )
                .hint("write somewhere else, or name what it writes in `exclude`"),
            );
        }
    }
}

pub(super) fn data_dir_is_left_alone(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let data_dir = of_folder(&names.data_dir);
    let sample = format!("{}/\u{1}/\u{1}", names.data_dir);
    for path in inputs_that_read(names, &data_dir, &[sample]) {
        problems.push(
            Problem::new(path.span, "this would read logferry's own files").hint(format!(
                "`data_dir` is {}; name `{}/**` in `exclude`",
                names.data_dir, names.data_dir
            )),
        );
    }
    for to in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.to.as_ref())
    {
        if let (Some(path), Ok(Some(template))) = (&to.path, names.output_path(to))
            && can_meet(&of_template(&template), &data_dir)
        {
            problems.push(
                Problem::new(path.span, "this would write among logferry's own files").hint(
                    format!("`data_dir` is {}; write somewhere else", names.data_dir),
                ),
            );
        }
    }
}

pub(super) fn outputs_do_not_share_files(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut before: Vec<(&str, Pattern)> = Vec::new();
    for output in &names.config.outputs {
        let Some(to) = &output.to else { continue };
        let (Some(path), Ok(Some(template))) = (&to.path, names.output_path(to)) else {
            continue;
        };
        let pattern = of_files(to, &template);
        if let Some((other, _)) = before.iter().find(|(_, other)| can_meet(other, &pattern)) {
            problems.push(
                Problem::new(
                    path.span,
                    format!("this could be a file that the output `{other}` writes"),
                )
                .hint("give each output a folder of its own"),
            );
        }
        before.push((&output.name.value, pattern));
    }
}

/// What the files of an output can be called.
fn of_files(to: &FileOutput, template: &PathTemplate) -> Pattern {
    let pattern = of_template(template);
    match to.has_longer_names() {
        true => longer(pattern),
        false => pattern,
    }
}

/// The patterns of inputs that find files of `pattern`, unless `exclude` names them: `samples` are paths that stand for all of them.
fn inputs_that_read<'a>(
    names: &Names<'a>,
    pattern: &[Segment],
    samples: &[String],
) -> Vec<&'a Spanned<String>> {
    let mut found = Vec::new();
    for input in &names.config.inputs {
        let Some(From::File(file)) = &input.from else {
            continue;
        };
        let is_excluded = |sample: &String| {
            let mut excluded = file.exclude.iter();
            excluded.any(|exclude| excludes(&names.exclusion(&exclude.value), sample))
        };
        if samples.iter().all(is_excluded) {
            continue;
        }
        let reads = |path: &&Spanned<String>| {
            let globs = of_glob(&names.pattern(&path.value));
            globs.iter().any(|glob| can_meet(glob, pattern))
        };
        found.extend(file.paths.iter().filter(reads));
    }
    found
}

fn excludes(glob: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let subject = if glob.contains('/') { path } else { name };
    GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .is_ok_and(|glob| glob.compile_matcher().is_match(subject))
}
