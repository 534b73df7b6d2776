//! `logferry dead-letters list`.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use jiff::Timestamp;
use serde_json::json;

use super::{ListArgs, Refusal, plan, refused};
use crate::cli::table::{Align, Table, plain};
use crate::dead_letter::{Found, Letter, look};
use crate::disk::RealDisk;
use crate::value::show_size;

/// How much of a value is shown to people, in characters.
const SHOWN: usize = 60;

/// Letters of one pipeline with one code.
struct Group {
    count: u64,
    bytes: u64,
    first: Timestamp,
    last: Timestamp,
}

pub(super) fn list(args: &ListArgs) -> Result<Vec<u8>, Refusal> {
    let plan = plan(&args.config)?;
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let mut lines = Vec::new();
    let mut table = Table::new([
        ("TIME", Align::Left),
        ("PIPELINE", Align::Left),
        ("REASON", Align::Left),
        ("TOPIC", Align::Left),
        ("FROM", Align::Left),
        ("VALUE", Align::Left),
    ]);
    let mut damaged = Vec::new();
    look(&RealDisk, &plan.data_dir, &mut |seen| {
        let letter = match seen.found {
            Found::Letter(letter) => letter,
            Found::Damaged => {
                damaged.push(format!("{}, byte {}", seen.path.display(), seen.offset));
                return ControlFlow::Continue(());
            }
        };
        if !args.which.means(&letter) {
            return ControlFlow::Continue(());
        }
        if args.each && args.json {
            lines.extend_from_slice(seen.line);
            lines.push(b'\n');
        } else if args.each {
            table.push(row(&letter));
        }
        let key = (letter.pipeline, letter.code);
        let group = groups.entry(key).or_insert(Group {
            count: 0,
            bytes: 0,
            first: letter.time,
            last: letter.time,
        });
        group.count += 1;
        group.bytes += seen.line.len() as u64 + 1;
        group.first = group.first.min(letter.time);
        group.last = group.last.max(letter.time);
        ControlFlow::Continue(())
    })
    .map_err(|error| refused(&error))?;

    let count: u64 = groups.values().map(|group| group.count).sum();
    let bytes: u64 = groups.values().map(|group| group.bytes).sum();
    if args.json && args.each {
        return Ok(lines);
    }
    if args.json {
        let shown: Vec<_> = (groups.iter())
            .map(|((pipeline, code), group)| {
                json!({
                    "pipeline": pipeline,
                    "code": code,
                    "count": group.count,
                    "bytes": group.bytes,
                    "first": group.first.to_string(),
                    "last": group.last.to_string(),
                })
            })
            .collect();
        let all = json!({
            "data_dir": plan.data_dir.to_string_lossy(),
            "count": count,
            "bytes": bytes,
            "max_size": plan.dead_letters_max_size,
            "damaged": damaged.len(),
            "groups": shown,
        });
        return Ok(format!("{all:#}\n").into_bytes());
    }
    let mut text = if count == 0 {
        format!("nothing is set aside in {}\n", plan.data_dir.display())
    } else if args.each {
        table.show()
    } else {
        sums(&groups)
    };
    for place in damaged {
        text.push_str(&format!("{}: damaged, and left alone\n", plain(&place)));
    }
    Ok(text.into_bytes())
}

fn sums(groups: &BTreeMap<(String, String), Group>) -> String {
    let mut table = Table::new([
        ("PIPELINE", Align::Left),
        ("REASON", Align::Left),
        ("COUNT", Align::Right),
        ("SIZE", Align::Right),
        ("FIRST", Align::Left),
        ("LAST", Align::Left),
    ]);
    for ((pipeline, code), group) in groups {
        table.push([
            pipeline.clone(),
            code.clone(),
            group.count.to_string(),
            show_size(group.bytes),
            seconds(group.first),
            seconds(group.last),
        ]);
    }
    table.show()
}

fn row(letter: &Letter) -> [String; 6] {
    let value = match &letter.value {
        None => "null".to_owned(),
        Some(value) => {
            let text = String::from_utf8_lossy(value);
            match text.char_indices().nth(SHOWN) {
                Some((end, _)) => format!("{}... ({} bytes)", &text[..end], value.len()),
                None => text.into_owned(),
            }
        }
    };
    [
        seconds(letter.time),
        letter.pipeline.clone(),
        letter.code.clone(),
        letter.topic.clone().unwrap_or_else(|| "-".to_owned()),
        letter.place(),
        value,
    ]
}

fn seconds(time: Timestamp) -> String {
    format!("{time:.0}")
}
