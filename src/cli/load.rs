//! From a file's name to a plan, or to everything that is wrong with it. `check` and `run` begin here.
//!
//! Invariant: nothing but the file itself, the host's name and the current folder is read; nothing is written.

use std::io::Read;
use std::path::Path;

use super::probe::{Probes, probe, probe_alone};
use crate::config;
use crate::plan::{self, Plan, Site};
use crate::yaml::{Problem, Source};

/// No configuration is larger, in bytes.
const LARGEST: u64 = 16 << 20;

/// What works and should be known, ready to print: each note in a few lines.
#[derive(Debug, Default)]
pub struct Warnings {
    source: Source,
    notes: Vec<Problem>,
}

impl Warnings {
    /// As shown to people: place, excerpt, hint.
    pub fn show(&self) -> String {
        self.notes
            .iter()
            .map(|note| self.source.show(note, "note: "))
            .collect()
    }

    /// As one line each, for the log.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.notes.iter().map(|note| {
            let line = note
                .at
                .map_or(String::new(), |span| format!("{}:", span.line));
            let hint = note.hint.as_deref().unwrap_or_default();
            format!("{}:{line} {}: {hint}", self.source.name, note.message)
        })
    }
}

/// Everything that is wrong with a configuration. `Display` shows all of it, each with place, excerpt and hint.
#[derive(Debug)]
pub struct ConfigErrors {
    source: Source,
    problems: Vec<Problem>,
}

impl ConfigErrors {
    /// In the order of the file.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{}", self.source.show(problem, ""))?;
        }
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(
            f,
            "{}: {count} {noun}; nothing was started",
            self.source.name
        )
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads `path` and makes its plan.
///
/// # Errors
/// Everything that is wrong, at once: what is not YAML, what does not fit, what breaks a rule, what librdkafka refuses.
pub fn load(path: &Path) -> Result<(Plan, Warnings), ConfigErrors> {
    let name = path.display().to_string();
    let text = read(path).map_err(|problem| ConfigErrors {
        source: Source {
            name: name.clone(),
            ..Source::default()
        },
        problems: vec![problem],
    })?;
    // A current folder that was deleted has no name; absolute paths need none.
    let folder = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let site = Site {
        host: host(),
        folder,
    };
    load_text(
        &name,
        &text,
        &|name| std::env::var(name).ok(),
        &site,
        &Probes::LIBRDKAFKA,
    )
}

/// [`load`] with everything that comes from outside handed in.
pub(super) fn load_text(
    name: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    site: &Site,
    probes: &Probes,
) -> Result<(Plan, Warnings), ConfigErrors> {
    let reading = config::read(name, text, environment);
    let (source, mut problems) = (reading.source, reading.problems);
    let mut loaded = None;
    if let Some(config) = reading.config {
        match plan::plan(&config, site) {
            // What could not be read is missing in the plan, so then there is no client to ask librdkafka about.
            Ok(plan) if problems.is_empty() => {
                problems.extend(probe(&config, &plan, probes));
                loaded = Some((plan, plan::notes(&config)));
            }
            Ok(_) => {}
            Err(broken) => problems.extend(broken),
        }
        if loaded.is_none() {
            probe_alone(&config, probes, &mut problems);
        }
    }
    match loaded {
        Some((plan, notes)) if problems.is_empty() => Ok((plan, Warnings { source, notes })),
        _ => Err(ConfigErrors {
            source,
            problems: in_order(problems),
        }),
    }
}

/// By place, each once: what two aliases name has its problems once, though under two paths.
fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| problem.at);
    let mut once: Vec<Problem> = Vec::new();
    for problem in problems {
        let same = |other: &Problem| {
            other.at == problem.at
                && (other.message == problem.message
                    || (other.hint.is_some() && other.hint == problem.hint))
        };
        if !once.iter().any(same) {
            once.push(problem);
        }
    }
    once
}

fn read(path: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return Err(Problem::of_file(format!("cannot be read: {error}"))
            .hint("`-c FILE` names the configuration"));
    }
    if bytes.len() as u64 > LARGEST {
        return Err(Problem::of_file("is too large to be a configuration"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        Problem::of_file(format!("is not UTF-8 text: line {line}")).hint("save it as UTF-8")
    })
}

/// The host's name as the kernel has it.
pub(super) fn host() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .trim()
        .to_owned();
    if name.is_empty() {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::keys::ROOT;
    use crate::config::shape::{Key, Shape};

    fn site() -> Site {
        Site {
            host: "web-1".to_owned(),
            folder: "/srv/here".into(),
        }
    }

    fn environment(name: &str) -> Option<String> {
        (name == "SET").then(|| "value".to_owned())
    }

    fn loaded(text: &str) -> Result<(Plan, Warnings), ConfigErrors> {
        load_text("a.yaml", text, &environment, &site(), &Probes::NONE)
    }

    #[test]
    fn where_records_are_text_no_piece_of_a_line_ends_inside_a_character() {
        use crate::plan::SourceSettings;

        for from in ["{ type: file, paths: [/var/log/a.log] }", "{ type: stdin }"] {
            for (format, is_text) in [
                ("raw", false),
                ("json", true),
                ("{ template: '{line}' }", true),
            ] {
                let text = format!(
                    "clusters: {{ main: {{ brokers: [\"b:9092\"] }} }}\ndata_dir: /data\n\
                     inputs: {{ i: {{ from: {from}, to: {{ topic: t, format: {format} }} }} }}\n"
                );
                let (plan, _) = loaded(&text).unwrap_or_else(|errors| panic!("{errors}"));
                let lines = match &plan.inputs[0].from {
                    SourceSettings::File(file) => &file.lines,
                    SourceSettings::Stdin(stdin) => &stdin.lines,
                    SourceSettings::Syslog(_) => panic!("no lines"),
                };
                assert_eq!(lines.whole_characters, is_text, "{from} {format}");
            }
        }
    }

    fn yaml_in(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut found = Vec::new();
        let mut open = vec![folder];
        while let Some(folder) = open.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|ext| ext == "yaml") {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// `LOGFERRY_UPDATE_EXPECTED=1 cargo test` writes them anew.
    #[test]
    fn every_bad_configuration_prints_what_is_expected() {
        let files = yaml_in("tests/data/bad");
        assert!(files.len() > 20);
        let mut wrong = Vec::new();
        for path in files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let printed = match load_text(&name, &text, &environment, &site(), &Probes::NONE) {
                Ok(_) => "accepted\n".to_owned(),
                Err(errors) => format!("{errors}\n"),
            };
            let expected = path.with_extension("expected");
            if std::env::var_os("LOGFERRY_UPDATE_EXPECTED").is_some() {
                std::fs::write(&expected, &printed).unwrap();
            }
            if std::fs::read_to_string(&expected).unwrap_or_default() != printed {
                wrong.push(format!("{name} prints\n{printed}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn the_tutorial_and_the_examples_are_good() {
        let mut files = yaml_in("config");
        assert!(!files.is_empty());
        files.extend(yaml_in("examples"));
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.display().to_string();
            if let Err(errors) = load_text(&name, &text, &environment, &site(), &Probes::NONE) {
                panic!("{errors}");
            }
        }
    }

    /// Calls `see` with each key of the tables, and whether this version has it.
    fn every_key(keys: &[Key], see: &mut dyn FnMut(&str, bool)) {
        for key in keys {
            see(key.name, !matches!(key.shape, Shape::Later(_)));
            match &key.shape {
                Shape::Table(keys) | Shape::WordOrTable(_, keys) => every_key(keys, see),
                Shape::Names(Shape::Table(keys)) => every_key(keys, see),
                Shape::Kinds(kinds) => {
                    for kind in *kinds {
                        every_key(kind.keys.unwrap_or_default(), see);
                    }
                }
                Shape::Word(words) => {
                    for word in *words {
                        see(word.text, false);
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn the_tutorial_has_every_key_and_names_what_comes_later() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/logferry.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let mut missing = Vec::new();
        every_key(ROOT, &mut |name, has_value| {
            let wanted = if has_value {
                format!("{name}:")
            } else {
                name.to_owned()
            };
            if !text.contains(&wanted) {
                missing.push(wanted);
            }
        });
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn no_value_of_any_key_makes_a_panic_and_every_problem_has_its_place() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/logferry.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let odd = [
            "",
            " null",
            " [[x]]",
            " { x: { y: [1] } }",
            " 'é{%'",
            " -1",
            " 99999999999999999999",
            " *x",
            " ${UNSET}",
            " \"\\0\"",
        ];
        for (at, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once(':').filter(|(key, _)| !key.contains('#')) else {
                continue;
            };
            for value in odd {
                let changed = format!("{key}:{value}");
                let mut lines = lines.clone();
                lines[at] = &changed;
                if let Err(errors) = loaded(&lines.join("\n")) {
                    let shown = errors.to_string();
                    assert!(!errors.problems().is_empty(), "{shown}");
                    for problem in errors.problems() {
                        let line = problem.at.map_or(1, |span| span.line);
                        assert!((1..=lines.len() + 1).contains(&line), "{changed}: {shown}");
                    }
                }
            }
        }
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let errors = loaded(
            "data_dirr: /x\nbuffer: { memory: 64M }\nclusters: { main: { brokers: [] } }\ninputs:\n  web:\n    from: { type: file, path: [/a] }\n    to: { cluster: mian, topic: 'a b', key: '{hots}', acks: 2 }\n",
        )
        .unwrap_err();
        let messages: Vec<_> = errors
            .problems()
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(messages.len(), 8, "{messages:#?}");
        let lines: Vec<_> = errors
            .problems()
            .iter()
            .map(|problem| problem.at.unwrap().line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 6, 7, 7, 7, 7]);
    }

    #[test]
    fn a_plan_has_names_resolved_and_producers_shared() {
        let (plan, _) = loaded(
            "id: '{host}-x'
data_dir: data
clusters: { main: { brokers: [kafka-1] } }
inputs:
  a: { from: { type: file, paths: ['logs/*.log'] }, to: { topic: 'a-{input}', key: '{host}:{file.path}' } }
  b: { from: { type: stdin }, to: { topic: b } }
  c: { from: { type: file, paths: [/c] }, to: { topic: c, acks: 1 } }
outputs:
  d:
    from: { topics: [a-a], group: 'g-{host}', options: { group.instance.id: '{id}-d' } }
    to: { type: file, path: 'out/{host}/{topic}-%Y.log' }
",
        )
        .unwrap();
        assert_eq!(plan.id, "web-1-x");
        assert_eq!(plan.data_dir, PathBuf::from("/srv/here/data"));
        assert_eq!(plan.producers.len(), 2);
        assert_eq!(
            plan.inputs
                .iter()
                .map(|input| input.producer)
                .collect::<Vec<_>>(),
            [0, 0, 1]
        );
        assert_eq!(plan.inputs[0].route.topic, "a-a");
        assert_eq!(
            plan.inputs[0].route.key.as_deref(),
            Some("web-1:{file.path}")
        );
        let plan::SourceSettings::File(file) = &plan.inputs[0].from else {
            panic!("file")
        };
        assert_eq!(file.paths, ["/srv/here/logs/*.log"]);
        assert_eq!(plan.outputs[0].from.group, "g-web-1");
        assert_eq!(
            plan.outputs[0].from.options["group.instance.id"],
            "web-1-x-d"
        );
        assert_eq!(
            plan.outputs[0].to.path,
            "/srv/here/out/web-1/{topic}-%Y.log"
        );
        assert_eq!(plan.share(), (64 << 20) / 2 / 4);
    }

    #[test]
    fn what_librdkafka_refuses_is_shown_where_the_property_stands() {
        let text = "clusters:
  main:
    brokers: [k]
    options:
      debug: all
      socket.nonsense: 1
inputs: { a: { from: { type: stdin }, to: { topic: t } }, b: { from: { type: stdin }, to: { topic: t, acks: 1 } } }
outputs: { o: { from: { topics: [t], group: g, options: { fetch.min.bytes: x } }, to: { type: file, path: /o/x } } }
"
        .replace("b: { from: { type: stdin }", "b: { from: { type: file, paths: [/b] }");
        let probes = Probes {
            producer: |settings| match settings.cluster.options.contains_key("socket.nonsense") {
                true => Err("No such configuration property: \"socket.nonsense\"".to_owned()),
                false => Ok(()),
            },
            consumer: |_| {
                Err("Invalid value \"x\" for configuration property \"fetch.min.bytes\"".to_owned())
            },
            ..Probes::NONE
        };
        let errors = load_text("a.yaml", &text, &environment, &site(), &probes).unwrap_err();
        let places: Vec<_> = errors
            .problems()
            .iter()
            .map(|problem| problem.at.unwrap().line)
            .collect();
        assert_eq!(places, [6, 8]);
    }

    #[test]
    fn options_are_tried_even_when_the_rest_makes_no_client() {
        let text = "clusters: { main: { brokers: [k], options: { debug: all, socket.nonsense: 1 } } }
inptus: {}
outputs: { o: { from: { topics: [t], group: g, options: { fetch.min.bytes: x } }, to: { type: file, path: /o/x } } }
";
        let errors =
            load_text("a.yaml", text, &environment, &site(), &Probes::LIBRDKAFKA).unwrap_err();
        let places: Vec<_> = errors
            .problems()
            .iter()
            .map(|problem| problem.at.unwrap().line)
            .collect();
        assert_eq!(places, [1, 2, 3]);
    }

    #[test]
    fn a_partitioner_that_does_what_is_not_expected_is_noted() {
        let noted = |to: &str| {
            let text = format!(
                "clusters: {{ main: {{ brokers: [k] }} }}\ninputs: {{ a: {{ from: {{ type: stdin }}, to: {{ topic: t, {to} }} }} }}\n"
            );
            loaded(&text).unwrap().1.show()
        };
        for quiet in [
            "acks: all",
            "key: \"{line}\"",
            "partitioner: round_robin",
            "partitioner: fnv1a_random",
        ] {
            assert_eq!(noted(quiet), "", "{quiet}");
        }
        for (to, words) in [
            (
                "partitioner: murmur2",
                "`murmur2` puts all of those into one partition",
            ),
            (
                "partitioner: sarama_reference",
                "each goes to a partition at random",
            ),
            (
                "partitioner: sticky, key: \"{line}\"",
                "with `sticky` the key does not choose",
            ),
            (
                "partitioner: murmur2_random, key: \"{line}\"",
                "partitions that are added to the topic move keys",
            ),
            (
                "partitioner: { hash: crc32, of: \"{line}\" }",
                "partitions that are added to the topic move keys",
            ),
            (
                "partitioner: { hash: crc32, of: x }",
                "the same text is hashed for every record",
            ),
            (
                "partitioner: manual, partition: 3",
                "all records go to one partition",
            ),
        ] {
            let shown = noted(to);
            assert!(shown.contains(words), "{to}: {shown}");
            assert_eq!(shown.matches("note: ").count(), 1, "{to}: {shown}");
        }
        assert_eq!(noted("partitioner: manual, partition: \"{line}\""), "");
    }

    #[test]
    fn weak_settings_are_noted() {
        let (_, warnings) = loaded(
            "clusters: { main: { brokers: [k], sasl: { mechanism: PLAIN, username: u, password: hunter2 } } }\ninputs: { a: { from: { type: stdin }, to: { topic: t, acks: 0 } } }\n",
        )
        .unwrap();
        let shown = warnings.show();
        assert!(
            shown.contains("`acks` weaker than `all`") && shown.contains("order"),
            "{shown}"
        );
        assert!(shown.contains("logs in without `tls`"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(warnings.lines().count(), 2);
    }

    #[test]
    fn a_missing_file_is_one_problem() {
        let errors = load(Path::new("/nowhere/logferry.yaml")).unwrap_err();
        assert!(
            errors
                .to_string()
                .starts_with("/nowhere/logferry.yaml: cannot be read")
        );
    }
}
