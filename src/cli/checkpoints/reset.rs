//! `logferry checkpoints reset`: positions are put elsewhere, or forgotten.
//!
//! An input that is delivered exactly once has its positions in Kafka; whoever changes them here says that the next start goes by what stands
//! here.

use std::path::Path;

use super::{Refusal, ResetArgs, change, count, is_blank, known, now, plan};
use crate::checkpoint::{Entry, FileKey, Input, Inputs};
use crate::cli::table::{Align, Table, plain};
use crate::input::file::seek::{Target, find};
use crate::input::frame::LONGEST_LINE;
use crate::input::frame::framer::Framers;
use crate::input::frame::settings::LineSettings;
use crate::plan::{Plan, SourceSettings};

pub(super) fn reset(args: &ResetArgs) -> Result<String, Refusal> {
    let plan = plan(&args.config)?;
    let file = match &args.file {
        Some(file) => Some(
            std::path::absolute(file)
                .map_err(|error| Refusal::usage(format!("--file {}: {error}", file.display())))?,
        ),
        None => None,
    };
    let framer = framer(&plan, &args.input)?;
    change(&plan.data_dir, args.execute, |inputs| match args.to {
        Some(target) => put(inputs, &args.input, file.as_deref(), target, &framer),
        None => forget(inputs, &args.input, file.as_deref(), args.cluster),
    })
}

/// What tells where lines begin. Of an input that is not configured any more nobody knows: then they are plain ones, and the last line's
/// beginning is looked for all the further.
fn framer(plan: &Plan, input: &str) -> Result<Framers, Refusal> {
    let from = plan.inputs.iter().find(|known| known.name == input);
    let settings = match from.map(|input| &input.from) {
        Some(SourceSettings::File(settings)) => settings.lines.clone(),
        Some(SourceSettings::Stdin(_) | SourceSettings::Syslog(_)) | None => {
            LineSettings::plain(LONGEST_LINE)
        }
    };
    Framers::new(&settings).map_err(|error| Refusal::usage(error.to_string()))
}

/// The entries that are meant, by path.
fn meant<'a>(
    input: &'a Input,
    name: &str,
    file: Option<&Path>,
) -> Result<Vec<(FileKey, &'a Entry)>, Refusal> {
    let mut entries: Vec<_> = input
        .entries
        .iter()
        .filter(|(_, entry)| file.is_none_or(|file| *entry.path == *file))
        .map(|(key, entry)| (*key, entry))
        .collect();
    entries.sort_by(|a, b| (&a.1.path, a.0).cmp(&(&b.1.path, b.0)));
    match file {
        Some(file) if entries.is_empty() => Err(Refusal::usage(format!(
            "input {name} has no position of {}; `logferry checkpoints list --input {name}` shows those that it has",
            file.display()
        ))),
        _ => Ok(entries),
    }
}

fn put(
    inputs: &mut Inputs,
    name: &str,
    file: Option<&Path>,
    target: Target,
    framer: &Framers,
) -> Result<String, Refusal> {
    let input = known(inputs, name)?;
    let entries = meant(input, name, file)?;
    if entries.is_empty() {
        return Err(Refusal::usage(format!("input {name} has no positions")));
    }
    if let (Target::Offset(offset), 2..) = (target, entries.len()) {
        return Err(Refusal::usage(format!(
            "{} are meant, and byte {offset} is not the same place in each; name one with --file",
            count(entries.len(), "file")
        )));
    }
    let mut table = Table::new([
        ("FILE", Align::Left),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("SIZE", Align::Right),
        ("", Align::Left),
    ]);
    let mut moved: Vec<(FileKey, Entry)> = Vec::new();
    let mut gone: Vec<String> = Vec::new();
    let now = now();
    for (key, entry) in entries {
        let path = entry.path.display().to_string();
        let sighting = match find(entry) {
            Ok(Some(sighting)) => sighting,
            Ok(None) => {
                table.push([
                    path.clone(),
                    entry.offset.to_string(),
                    "-".into(),
                    "-".into(),
                    "left as it is: file not found".into(),
                ]);
                gone.push(path);
                continue;
            }
            Err(error) => {
                return Err(Refusal::usage(format!(
                    "cannot read {path}: {error}; nothing was changed"
                )));
            }
        };
        let new = sighting
            .moved(target, framer, now)
            .map_err(|error| Refusal::usage(format!("{error}; nothing was changed")))?;
        table.push([
            path,
            entry.offset.to_string(),
            new.offset.to_string(),
            sighting.size.to_string(),
            effect(entry, &new, sighting.is_rewritten),
        ]);
        moved.push((key, new));
    }
    if moved.is_empty() {
        return Err(Refusal::usage(format!(
            "nothing can be reset: {} not found; use --forget to give the positions up",
            gone.join(", ")
        )));
    }
    if let Some(input) = inputs.get_mut(name) {
        input.entries.extend(moved);
        input.keeper = None;
    }
    Ok(table.show())
}

/// What the daemon does because of it.
fn effect(old: &Entry, new: &Entry, is_rewritten: bool) -> String {
    match (old.offset, new.offset) {
        _ if is_rewritten => "the file was rewritten since".to_owned(),
        (from, to) if to < from => format!("{} bytes are sent again", from - to),
        (from, to) if to > from => format!("{} bytes are not sent", to - from),
        _ => "as it was".to_owned(),
    }
}

fn forget(
    inputs: &mut Inputs,
    name: &str,
    file: Option<&Path>,
    cluster: bool,
) -> Result<String, Refusal> {
    let input = known(inputs, name)?;
    let entries = meant(input, name, file)?;
    let keys: Vec<FileKey> = entries.iter().map(|(key, _)| *key).collect();
    let mut text = String::new();
    if !entries.is_empty() {
        let mut table = Table::new([
            ("FILE", Align::Left),
            ("FROM", Align::Right),
            ("TO", Align::Left),
        ]);
        for (_, entry) in entries {
            let path = entry.path.display().to_string();
            table.push([path, entry.offset.to_string(), "forgotten".into()]);
        }
        text = table.show();
    }
    let shown = plain(name);
    match (file, &input.cluster) {
        (Some(_), _) => text.push_str("the file is read from its beginning if it is found again\n"),
        (None, Some(known)) if cluster => text.push_str(&format!(
            "input {shown} begins as at its very first start, on any Kafka cluster; until now it belonged to {}\n",
            plain(known)
        )),
        (None, Some(known)) => text.push_str(&format!(
            "input {shown} begins as at its very first start, on the Kafka cluster {} as before; add --cluster to set it free\n",
            plain(known)
        )),
        (None, None) => text.push_str(&format!(
            "input {shown} begins as at its very first start\n"
        )),
    }
    if let Some(input) = inputs.get_mut(name) {
        for key in keys {
            input.entries.remove(&key);
        }
        input.keeper = None;
        if file.is_none() {
            input.started = None;
        }
        if cluster {
            input.cluster = None;
        }
        // Its next key stays where it ever gave one out: none is used twice.
        if is_blank(input) && input.next_key == 0 {
            inputs.remove(name);
        }
    }
    Ok(text)
}
