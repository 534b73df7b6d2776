//! Who may know whom: the table and the invariants of ARCHITECTURE.md, held against the source text.
//!
//! To allow something new, change the table below, and ARCHITECTURE.md with it. A rule that gets an exception says why in
//! the same line.

mod source;

use std::fs;
use std::path::Path as FilePath;

use self::source::{Path, paths, tokens, without_tests};
use crate::support::repository;

/// Modules that know nothing of ours.
const BOTTOM: &[&str] = &["value", "flow", "metrics", "disk"];
/// What is read and expanded.
const TEXT: &[&str] = &["yaml", "template"];
/// What both directions do to records: their JSON forms, and setting them aside.
const RECORDS: &[&str] = &["envelope", "dead_letter"];
/// What fuzz targets share; not in the program.
const FUZZING: &[&str] = &["fuzzing"];
/// What records go through, come from and go to.
const PARTS: &[&str] = &[
    "checkpoint",
    "spool",
    "dead_letter",
    "envelope",
    "kafka",
    "output",
    "input",
    "control",
    "logging",
];

/// A module of the crate's root, and whom it may name.
struct Layer {
    module: &'static str,
    may_use: &'static [&'static [&'static str]],
    /// Whether it may name the settings structs (`X::settings`, `X::Y::settings`) of any part.
    settings: bool,
}

const fn layer(module: &'static str, may_use: &'static [&'static [&'static str]]) -> Layer {
    Layer {
        module,
        may_use,
        settings: false,
    }
}

const LAYERS: &[Layer] = &[
    layer("value", &[]),
    layer("flow", &[]),
    layer("metrics", &[]),
    layer("disk", &[]),
    layer("yaml", &[&["value"]]),
    layer("template", &[&["value"]]),
    layer("checkpoint", &[BOTTOM, TEXT, FUZZING]),
    layer("spool", &[BOTTOM, TEXT, FUZZING]),
    layer("dead_letter", &[BOTTOM, TEXT]),
    layer("envelope", &[BOTTOM, TEXT]),
    layer("kafka", &[BOTTOM, TEXT, RECORDS]),
    layer("output", &[BOTTOM, TEXT, RECORDS, FUZZING]),
    layer(
        "input",
        &[
            BOTTOM,
            TEXT,
            &["checkpoint", "spool", "dead_letter", "envelope"],
        ],
    ),
    layer(
        "control",
        &[&["value", "yaml", "metrics", "flow", "logging"]],
    ),
    layer("logging", &[&["value", "yaml", "metrics", "flow"]]),
    Layer {
        module: "config",
        may_use: &[&["value"], TEXT],
        settings: true,
    },
    // Only in tests and fuzzers: the list of targets, and what those share.
    layer("fuzzing", &[PARTS]),
    layer("plan", &[BOTTOM, TEXT, PARTS, &["config"]]),
    layer("daemon", &[BOTTOM, &["template"], PARTS, &["plan"]]),
    layer("cli", &[BOTTOM, TEXT, PARTS, &["config", "plan", "daemon"]]),
];

/// Something that only some files may name.
struct Reserved {
    /// The path as it is written: its first parts for a crate, its last ones for a function.
    name: &'static [&'static str],
    /// Files, or folders (with a `/` at the end), under `src/`; `X*` for what begins with X.
    only_in: &'static [&'static str],
    why: &'static str,
}

const SPAWN: &str =
    "only daemon/tasks.rs starts threads and tasks, so that each has a name and is waited for";
const EXIT: &str = "only main.rs exits, so that what is open is settled first";
const RDKAFKA: &str = "only `kafka` knows the client library; inputs and outputs talk to `flow`";

const UNPACK: &str = "only `input::file::unpack` knows how compressed files are read, and `output::file::pack` how they are written";

const CRATES: &[Reserved] = &[
    Reserved {
        name: &["rdkafka"],
        only_in: &["kafka/"],
        why: RDKAFKA,
    },
    Reserved {
        name: &["rdkafka_sys"],
        only_in: &["kafka/"],
        why: RDKAFKA,
    },
    Reserved {
        name: &["bzip2"],
        only_in: &["input/file/unpack/"],
        why: UNPACK,
    },
    Reserved {
        name: &["flate2"],
        only_in: &["input/file/unpack/", "output/file/pack.rs"],
        why: UNPACK,
    },
    Reserved {
        name: &["liblzma"],
        only_in: &["input/file/unpack/"],
        why: UNPACK,
    },
    Reserved {
        name: &["zstd_safe"],
        only_in: &["input/file/unpack/", "output/file/pack.rs"],
        why: UNPACK,
    },
    Reserved {
        name: &["serde_saphyr"],
        only_in: &["yaml/"],
        why: "only `yaml` knows the YAML crate",
    },
    Reserved {
        name: &["signal_hook"],
        only_in: &["control/"],
        why: "only `control` handles signals",
    },
    Reserved {
        name: &["signal_hook_tokio"],
        only_in: &["control/"],
        why: "only `control` handles signals",
    },
    Reserved {
        name: &["clap"],
        only_in: &["cli/", "main.rs"],
        why: "only `cli` parses arguments",
    },
    Reserved {
        name: &["clap_complete"],
        only_in: &["cli/"],
        why: "only `cli` parses arguments",
    },
    Reserved {
        name: &["clap_mangen"],
        only_in: &["cli/"],
        why: "only `cli` parses arguments",
    },
    Reserved {
        name: &["notify"],
        only_in: &["input/file/watch*"],
        why: "watching is a hint that one file hides",
    },
    Reserved {
        name: &["inotify"],
        only_in: &["input/file/watch*"],
        why: "watching is a hint that one file hides",
    },
    Reserved {
        name: &["rustls"],
        only_in: &["input/syslog/"],
        why: "only syslog's listeners speak TLS themselves; Kafka's is librdkafka's",
    },
    Reserved {
        name: &["nix"],
        only_in: &["input/syslog/"],
        why: "rustix is what the rest takes; it does not tell what the kernel dropped",
    },
    Reserved {
        name: &["listenfd"],
        only_in: &["control/"],
        why: "only `control` talks with the service manager",
    },
];

const CALLS: &[Reserved] = &[
    Reserved {
        name: &["thread", "spawn"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["thread", "scope"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["thread", "Builder"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["tokio", "spawn"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["task", "spawn"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["task", "spawn_blocking"],
        only_in: &["daemon/tasks.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["task", "JoinSet"],
        // A task for each connection of the admin port; they end with the set.
        only_in: &["daemon/tasks.rs", "control/http.rs"],
        why: SPAWN,
    },
    Reserved {
        name: &["process", "exit"],
        only_in: &["main.rs"],
        why: EXIT,
    },
    Reserved {
        name: &["process", "abort"],
        only_in: &["main.rs"],
        why: EXIT,
    },
];

/// Where `unsafe` may stand, besides `kafka/native/`: named system-call wrappers, each with its reason.
const UNSAFE: &[&str] = &["kafka/native/"];

/// Every broken rule of one file. `file` is its path under `src/`.
fn violations(file: &str, source: &str) -> Vec<String> {
    let tokens = without_tests(tokens(source));
    let paths = paths(&tokens);
    let mut found = Vec::new();
    let mut broken = |line: usize, rule: String| found.push(format!("src/{file}:{line}: {rule}"));

    let module = module_of(file);
    for path in &paths {
        let whole = path.parts.join("::");
        if let Some(other) = crate_path(&module, path)
            && let Err(why) = may_use(&module, &other)
        {
            broken(path.line, format!("`{whole}`: {why}"));
        }
        let crates = CRATES
            .iter()
            .filter(|reserved| path.parts.starts_with(&owned(reserved.name)));
        let calls = CALLS
            .iter()
            .filter(|reserved| path.parts.windows(2).any(|pair| pair == reserved.name));
        for reserved in crates.chain(calls) {
            if !is_in(file, reserved.only_in) {
                let only_in = reserved.only_in.join(" and ");
                broken(
                    path.line,
                    format!(
                        "`{whole}` may be named in {only_in} alone: {}",
                        reserved.why
                    ),
                );
            }
        }
    }
    for token in tokens.iter().filter(|token| token.text == "unsafe") {
        if !is_in(file, UNSAFE) {
            let only_in = UNSAFE.join(" and ");
            broken(
                token.line,
                format!(
                    "`unsafe` may stand in {only_in} alone: what can break memory is read together"
                ),
            );
        }
    }
    found
}

/// The module of a file: `input/file/tail.rs` and `input/file/tail/mod.rs` are `[input, file, tail]`; the roots are `[]`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if matches!(path, "lib" | "main") {
        Vec::new()
    } else {
        path.split('/').map(str::to_owned).collect()
    }
}

/// What a path means from the crate's root on; none for one that leads elsewhere. `super` is followed.
fn crate_path(module: &[String], path: &Path) -> Option<Vec<String>> {
    let supers = path
        .parts
        .iter()
        .take_while(|part| *part == "super")
        .count();
    match path.parts[0].as_str() {
        "crate" => Some(path.parts[1..].to_vec()),
        // A module inside the file (none but tests should be) would make this too high, which the compiler's `super` would not be.
        "super" => {
            let above = module.len().checked_sub(supers)?;
            Some([&module[..above], &path.parts[supers..]].concat())
        }
        _ => None,
    }
}

fn may_use(module: &[String], other: &[String]) -> Result<(), String> {
    let (Some(from), Some(to)) = (module.first(), other.first()) else {
        return Ok(());
    };
    if from == to {
        return Ok(());
    }
    let Some(layer) = LAYERS.iter().find(|layer| layer.module == from) else {
        return Err(format!(
            "the module `{from}` has no line in the table of layers yet (tests/it/layers.rs)"
        ));
    };
    let is_known = LAYERS.iter().any(|layer| layer.module == to);
    let is_settings = layer.settings && other.iter().any(|part| part == "settings");
    if !is_known || is_settings || layer.may_use.iter().any(|list| list.contains(&to.as_str())) {
        return Ok(());
    }
    let mut may: Vec<_> = layer
        .may_use
        .iter()
        .flat_map(|list| list.iter().copied())
        .collect();
    if layer.settings {
        may.push("the settings of the others");
    }
    let may = if may.is_empty() {
        "nothing of ours".to_owned()
    } else {
        may.join(", ")
    };
    Err(format!(
        "`{from}` must not know `{to}`; it may use {may} (ARCHITECTURE.md, who may import whom)"
    ))
}

fn is_in(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| match place.strip_suffix('*') {
        Some(begin) => file.starts_with(begin),
        // `kafka/` is the folder; a module that is one file has the folder's name.
        None if place.ends_with('/') => {
            file.starts_with(place) || file.strip_suffix(".rs") == place.strip_suffix('/')
        }
        None => file == *place,
    })
}

fn owned(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}

/// Each source file's path under `src/` and its text. Files that hold tests only (`tests.rs`, `tests/`) are left out.
fn sources(folder: &FilePath, under: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name == "tests" {
            continue;
        }
        if path.is_dir() {
            sources(&path, &format!("{under}{name}/"), found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push((format!("{under}{name}"), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_module_names_only_whom_it_may() {
    let mut files = Vec::new();
    sources(&repository().join("src"), "", &mut files);
    assert!(files.len() > 10, "the sources were not found");
    files.sort();

    let broken: Vec<_> = files
        .iter()
        .flat_map(|(file, source)| violations(file, source))
        .collect();

    assert!(
        broken.is_empty(),
        "{} broken rules of architecture:\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn every_module_of_the_root_has_a_layer() {
    let root = fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    for pair in tokens(&root)
        .windows(2)
        .filter(|pair| pair[0].text == "mod")
    {
        let module = &pair[1].text;
        assert!(
            LAYERS.iter().any(|layer| layer.module == module),
            "`{module}` has no line in the table of layers"
        );
    }
}

#[track_caller]
fn assert_broken(file: &str, source: &str, line: usize, rule: &str) {
    let found = violations(file, source);
    assert_eq!(found.len(), 1, "{source}\n{found:#?}");
    let place = format!("src/{file}:{line}: ");
    assert!(
        found[0].starts_with(&place) && found[0].contains(rule),
        "{found:#?}"
    );
}

#[test]
fn a_forbidden_module_is_found_however_it_is_named() {
    let rule = "`input` must not know `kafka`";
    assert_broken("input/stdin.rs", "\nuse crate::kafka::Producer;", 2, rule);
    assert_broken(
        "input/stdin.rs",
        "use crate::{flow::Batch,\n kafka::{self as k}};",
        2,
        rule,
    );
    assert_broken("input/stdin.rs", "fn f() { crate::kafka::send() }", 1, rule);
    assert_broken(
        "input/stdin.rs",
        "use super::super::kafka::Producer;",
        1,
        rule,
    );
    assert_broken("input/mod.rs", "use super::kafka;", 1, rule);
    assert_broken(
        "flow/pipe.rs",
        "use crate::value::Secret;",
        1,
        "it may use nothing of ours",
    );
    assert_broken(
        "daemon/mod.rs",
        "use crate::config::Config;",
        1,
        "`daemon` must not know `config`",
    );
}

#[test]
fn settings_are_all_that_config_sees_of_the_parts() {
    assert_eq!(
        violations(
            "config/mod.rs",
            "use crate::input::file::settings::FileSettings;"
        ),
        [""; 0]
    );
    assert_broken(
        "config/mod.rs",
        "use crate::input::file::Tail;",
        1,
        "`config` must not know `input`",
    );
    assert_broken(
        "kafka/mod.rs",
        "use crate::output::file::settings::Sync;",
        1,
        "`kafka` must not know `output`",
    );
}

#[test]
fn a_reserved_crate_or_call_is_found_outside_its_place() {
    assert_broken(
        "output/file/mod.rs",
        "use rdkafka::Message;",
        1,
        "may be named in kafka/ alone",
    );
    assert_broken(
        "input/file/tail.rs",
        "use notify::Watcher;",
        1,
        "input/file/watch* alone",
    );
    assert_broken(
        "flow/pipe.rs",
        "fn f() { std::thread::spawn(|| ()); }",
        1,
        "daemon/tasks.rs alone",
    );
    assert_broken(
        "kafka/mod.rs",
        "use std::thread::{self, Builder};",
        1,
        "daemon/tasks.rs alone",
    );
    assert_broken(
        "cli/run.rs",
        "fn f() { std::process::exit(1) }",
        1,
        "main.rs alone",
    );
    assert_broken(
        "kafka/mod.rs",
        "fn f() { unsafe { g() } }",
        1,
        "kafka/native/ alone",
    );

    for (file, source) in [
        ("kafka/producer/mod.rs", "use rdkafka::Message;"),
        ("yaml/mod.rs", "use serde_saphyr::Spanned;"),
        ("input/file/watch/events.rs", "use inotify::Inotify;"),
        (
            "flow/pipe.rs",
            "fn f(c: &Condvar) { c.notify_all(); self.notify.fire(); }",
        ),
        ("kafka/native/queue.rs", "fn f() { unsafe { g() } }"),
        ("daemon/tasks.rs", "fn f() { std::thread::Builder::new(); }"),
    ] {
        assert_eq!(violations(file, source), [""; 0], "{source}");
    }
}

#[test]
fn comments_texts_and_tests_may_name_whom_they_like() {
    for source in [
        "// crate::kafka\n/* crate::kafka /* unsafe */ crate::kafka */ //! crate::kafka",
        "const A: &str = \"crate::kafka \\\" unsafe\"; const B: &str = r#\"a \" crate::kafka\"#; const C: char = '\"';",
        "fn f<'a>(x: &'a str) -> char { '\\'' }",
        "fn f() {}\n#[cfg(test)]\nmod tests { use crate::kafka::X; fn g() { unsafe { } } }",
        "#[cfg(test)]\nuse crate::kafka::X;\n#[cfg(all(test, unix))] fn f(a: [u8; 2]) { crate::kafka::g() }",
    ] {
        assert_eq!(violations("flow/pipe.rs", source), [""; 0], "{source}");
    }
    // What follows the tests, and what is compiled without them, counts.
    assert_broken(
        "flow/pipe.rs",
        "#[cfg(test)]\nmod tests {}\nuse crate::kafka::X;",
        3,
        "`flow` must not know",
    );
    assert_broken(
        "flow/pipe.rs",
        "#[cfg(not(test))]\nuse crate::kafka::X;",
        2,
        "`flow` must not know",
    );
}
