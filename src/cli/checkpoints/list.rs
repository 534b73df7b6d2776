//! `logferry checkpoints list`: where each file stands.
//!
//! ```json
//! {"data_dir": "/var/lib/logferry",
//!  "inputs": [{"input": "nginx", "configured": true, "cluster_id": "K9x...", "started": "2026-11-21T07:00:00.000Z", "behind": 12,
//!              "files": [{"path": "/var/log/nginx/access.log", "path_now": "/var/log/nginx/access.log", "state": "found", "offset": 88,
//!                         "inside_line": false, "size": 100, "behind": 12, "device": 2049, "inode": 77,
//!                         "updated": "2026-11-21T07:30:00.000Z"}]}]}
//! ```
//!
//! `state`: `found`, `rewritten` (what stands before the offset is not what was read, so the next start begins it anew), `missing`, or
//! `unreadable` with the reason in `error`. What is not known is `null`: `path_now`, `size` and `behind` of a file that was not found,
//! `cluster_id` and `started` of an input that was never connected. A path that is not UTF-8 has U+FFFD in `path` and its bytes in
//! `path_base64` beside it, as in records. Sizes and offsets are bytes; an input's `behind` is the sum over its files.
//!
//! Invariant: keys are only ever added.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::{ListArgs, Refusal, is_blank, is_configured, look, names, plan, time};
use crate::checkpoint::{Entry, Input};
use crate::cli::table::{Align, Table, plain};
use crate::input::file::seek::{Sighting, find};

/// An input with its files, by path.
struct Row<'a> {
    name: &'a str,
    input: &'a Input,
    configured: bool,
    files: Vec<(&'a Entry, Seen)>,
}

/// What an entry's file looks like now.
enum Seen {
    At(Sighting),
    Missing,
    Unreadable(std::io::Error),
}

impl Seen {
    fn of(entry: &Entry) -> Self {
        match find(entry) {
            Ok(Some(sighting)) => Self::At(sighting),
            Ok(None) => Self::Missing,
            Err(error) => Self::Unreadable(error),
        }
    }

    fn state(&self) -> &'static str {
        match self {
            Self::At(sighting) if sighting.is_rewritten => "rewritten",
            Self::At(_) => "found",
            Self::Missing => "missing",
            Self::Unreadable(_) => "unreadable",
        }
    }

    fn size(&self) -> Option<u64> {
        match self {
            Self::At(sighting) => Some(sighting.size),
            _ => None,
        }
    }

    /// Bytes that the next start would read. A daemon may have gone on since the position was looked at, never back.
    fn behind(&self, entry: &Entry) -> Option<u64> {
        match self {
            Self::At(sighting) if sighting.is_rewritten => Some(sighting.size),
            _ => Some(self.size()?.saturating_sub(entry.offset)),
        }
    }
}

pub(super) fn list(args: &ListArgs) -> Result<String, Refusal> {
    let plan = plan(&args.config)?;
    let inputs = look(&plan.data_dir)?;
    if let Some(name) = &args.input
        && !is_configured(&plan, name)
        && inputs.get(name).is_none_or(is_blank)
    {
        let configured = plan.inputs.iter().map(|input| input.name.as_str());
        let saved = inputs.iter().filter(|(_, input)| !is_blank(input));
        let mut all: Vec<&str> = configured
            .chain(saved.map(|(name, _)| name.as_str()))
            .collect();
        all.sort_unstable();
        all.dedup();
        return Err(Refusal::usage(format!(
            "there is no input {name}, and nothing is saved for one{}",
            names(all.into_iter())
        )));
    }
    let rows: Vec<Row<'_>> = inputs
        .iter()
        .filter(|(name, input)| {
            !is_blank(input) && args.input.as_ref().is_none_or(|only| only == *name)
        })
        .map(|(name, input)| {
            let mut entries: Vec<_> = input.entries.iter().collect();
            entries.sort_by(|a, b| (&a.1.path, a.0).cmp(&(&b.1.path, b.0)));
            Row {
                name,
                input,
                configured: is_configured(&plan, name),
                files: entries
                    .into_iter()
                    .map(|(_, entry)| (entry, Seen::of(entry)))
                    .collect(),
            }
        })
        .collect();
    Ok(if args.json {
        let inputs: Vec<Value> = rows.iter().map(input_json).collect();
        let dir = plan.data_dir.to_string_lossy();
        format!("{:#}\n", json!({"data_dir": dir, "inputs": inputs}))
    } else {
        text(&rows, &plan.data_dir)
    })
}

fn input_json(row: &Row<'_>) -> Value {
    let behind = row
        .files
        .iter()
        .filter_map(|(entry, seen)| seen.behind(entry))
        .fold(0_u64, u64::saturating_add);
    let files: Vec<Value> = row
        .files
        .iter()
        .map(|(entry, seen)| file_json(entry, seen))
        .collect();
    json!({
        "input": row.name,
        "configured": row.configured,
        "cluster_id": row.input.cluster,
        "started": row.input.started.and_then(time),
        "behind": behind,
        "files": files,
    })
}

fn file_json(entry: &Entry, seen: &Seen) -> Value {
    let mut file = Map::new();
    let mut put = |name: &str, value: Value| {
        file.insert(name.to_owned(), value);
    };
    put_path(&mut put, "path", Some(&entry.path));
    put_path(
        &mut put,
        "path_now",
        match seen {
            Seen::At(sighting) => Some(&sighting.path),
            _ => None,
        },
    );
    put("state", json!(seen.state()));
    if let Seen::Unreadable(error) = seen {
        put("error", json!(error.to_string()));
    }
    put("offset", json!(entry.offset));
    put("inside_line", json!(entry.inside_line));
    put("size", json!(seen.size()));
    put("behind", json!(seen.behind(entry)));
    put("device", json!(entry.dev));
    put("inode", json!(entry.inode));
    put("updated", json!(time(entry.updated)));
    Value::Object(file)
}

fn put_path(put: &mut impl FnMut(&str, Value), name: &str, path: Option<&Path>) {
    put(name, json!(path.map(Path::to_string_lossy)));
    if let Some(path) = path
        && path.to_str().is_none()
    {
        let bytes = BASE64_STANDARD.encode(path.as_os_str().as_bytes());
        put(&format!("{name}_base64"), json!(bytes));
    }
}

fn text(rows: &[Row<'_>], data_dir: &Path) -> String {
    if rows.is_empty() {
        return format!("no positions are saved in {}\n", data_dir.display());
    }
    let mut table = Table::new([
        ("INPUT", Align::Left),
        ("FILE", Align::Left),
        ("OFFSET", Align::Right),
        ("SIZE", Align::Right),
        ("BEHIND", Align::Right),
        ("INODE", Align::Right),
        ("CHANGED", Align::Left),
        ("CLUSTER ID", Align::Left),
        ("", Align::Left),
    ]);
    let absent = || "-".to_owned();
    let number = |number: Option<u64>| number.map_or_else(absent, |number| number.to_string());
    let mut left_over = Vec::new();
    for row in rows {
        if !row.configured {
            left_over.push(row.name);
        }
        let cluster = row.input.cluster.clone().unwrap_or_else(absent);
        let unknown = if row.configured { "" } else { "not configured" };
        for (entry, seen) in &row.files {
            let state = match seen {
                Seen::At(sighting) if sighting.is_rewritten => {
                    "rewritten: begins anew at the next start".to_owned()
                }
                Seen::At(sighting) if sighting.path != entry.path => {
                    format!("now {}", sighting.path.display())
                }
                Seen::At(_) => String::new(),
                Seen::Missing => "file not found".to_owned(),
                Seen::Unreadable(error) => format!("cannot be read: {error}"),
            };
            let notes: Vec<&str> = [state.as_str(), unknown]
                .into_iter()
                .filter(|note| !note.is_empty())
                .collect();
            table.push([
                row.name.to_owned(),
                entry.path.display().to_string(),
                entry.offset.to_string(),
                number(seen.size()),
                number(seen.behind(entry)),
                entry.inode.to_string(),
                time(entry.updated).unwrap_or_else(absent),
                cluster.clone(),
                notes.join(", "),
            ]);
        }
        if row.files.is_empty() {
            let note = ["no files", unknown]
                .into_iter()
                .filter(|note| !note.is_empty())
                .collect::<Vec<_>>()
                .join(", ");
            table.push([
                row.name.to_owned(),
                absent(),
                absent(),
                absent(),
                absent(),
                absent(),
                absent(),
                cluster,
                note,
            ]);
        }
    }
    let mut text = table.show();
    for name in left_over {
        let name = plain(name);
        text.push_str(&format!(
            "input {name} is not configured any more: give its positions to its new name with `logferry checkpoints rename {name} NEW`, \
             or forget them with `logferry checkpoints reset --input {name} --forget --cluster`\n"
        ));
    }
    text
}
