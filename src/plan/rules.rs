//! What must hold between the parts of a configuration, one function each.
//!
//! To add a rule: one function here, its name in [`RULES`], one file in `tests/data/bad/` with what is then printed.
//!
//! Invariant: rules are independent. Each sees the whole configuration, and says nothing about a value whose problem was reported already.

use std::net::IpAddr;

use globset::GlobBuilder;
use regex::Regex;

use super::names::{Names, broker};
use super::overlap::{can_meet, of_folder, of_glob, of_template};
use super::properties::owner;
use super::share;
use crate::config::{From, Input, Property};
use crate::kafka::settings::{Acks, Brokers, Codec};
use crate::template::{Part, Template, TemplateError};
use crate::value::show_size;
use crate::yaml::{Problem, Span, Spanned, nearest};

/// The topic in which logferry keeps positions of exactly-once pipelines.
pub(super) const POSITIONS: &str = "logferry-positions";
/// The default of `batch.size`, in bytes.
pub(super) const BATCH_SIZE: u64 = 1_000_000;
/// What Kafka adds to a record, generously: varints of the record and the header of a batch that holds only it.
const RECORD_OVERHEAD: u64 = 100;

type Rule = fn(&Names<'_>, &mut Vec<Problem>);

pub(super) const RULES: &[Rule] = &[
    there_is_something_to_do,
    the_id_is_a_name,
    clusters_exist,
    brokers_are_addresses,
    the_embedded_broker_is_plain,
    client_certificates_have_keys,
    properties_are_not_owned,
    globs_are_globs,
    topics_of_inputs_are_names,
    keys_are_templates,
    topics_of_outputs_are_names,
    groups_are_names,
    consumer_options_are_templates,
    paths_are_templates,
    standard_input_is_read_once,
    levels_fit_their_codec,
    lines_fit_into_records,
    lines_fit_into_their_share,
    batches_fit,
    inputs_do_not_read_what_outputs_write,
    data_dir_is_left_alone,
    outputs_do_not_share_files,
    outputs_do_not_share_groups,
    outputs_leave_positions_alone,
];

fn there_is_something_to_do(names: &Names<'_>, problems: &mut Vec<Problem>) {
    if names.config.inputs.is_empty() && names.config.outputs.is_empty() {
        problems.push(
            Problem::of_file("there is nothing to do: neither `inputs` nor `outputs`")
                .hint("for example `inputs: { app: { from: { type: file, paths: [/var/log/app.log] }, to: { topic: app } } }`"),
        );
    }
}

fn the_id_is_a_name(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let id = &names.config.id;
    match names.resolve_id() {
        Err(error) => problems.push(of_template_error(id, error)),
        Ok(text) => {
            if text.is_empty() || text.len() > 200 || !text.chars().all(is_name_letter) {
                problems.push(
                    Problem::new(
                        id.span,
                        format!("the id `{text}` cannot be a name in Kafka"),
                    )
                    .hint("letters, digits and . _ - only, at most 200"),
                );
            }
        }
    }
}

fn clusters_exist(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let known: Vec<_> = names
        .config
        .clusters
        .iter()
        .map(|cluster| cluster.name.value.as_str())
        .collect();
    let inputs = names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.to.as_ref())
        .map(|to| (to.span, to.cluster.as_ref()));
    let outputs = names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .map(|from| (from.span, from.cluster.as_ref()));
    for (section, named) in inputs.chain(outputs) {
        if names.cluster(named).is_some() {
            continue;
        }
        problems.push(match named {
            _ if known.is_empty() => Problem::new(
                named.map_or(section, |name| name.span),
                "there is no cluster",
            )
            .hint("for example `clusters: { main: { brokers: [kafka-1:9092] } }`"),
            Some(name) => {
                let hint = nearest(&name.value, known.iter().copied()).map_or_else(
                    || format!("the clusters are {}", known.join(", ")),
                    |meant| format!("did you mean `{meant}`?"),
                );
                Problem::new(name.span, format!("no cluster is called `{}`", name.value)).hint(hint)
            }
            None => Problem::new(section, "`cluster` is missing here")
                .hint(format!("there are {}", known.join(", "))),
        });
    }
}

fn brokers_are_addresses(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let addresses = names
        .config
        .clusters
        .iter()
        .flat_map(|cluster| &cluster.addresses);
    for address in addresses.filter(|address| broker(&address.value).is_none()) {
        problems.push(
            Problem::new(
                address.span,
                format!("`{}` is not the address of a broker", address.value),
            )
            .hint("write HOST:PORT, like `kafka-1:9092` or `[::1]:9092`"),
        );
    }
}

fn the_embedded_broker_is_plain(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for cluster in &names.config.clusters {
        if !matches!(&cluster.brokers, Some(brokers) if brokers.value == Brokers::Embedded) {
            continue;
        }
        let tls = cluster.tls.as_ref().map(|tls| (tls.span, "tls"));
        let sasl = cluster.sasl.as_ref().map(|sasl| (sasl.span, "sasl"));
        for (span, key) in [tls, sasl].into_iter().flatten() {
            problems.push(
                Problem::new(span, format!("the embedded broker has no `{key}`"))
                    .hint("leave the key out"),
            );
        }
    }
}

fn client_certificates_have_keys(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for tls in names
        .config
        .clusters
        .iter()
        .filter_map(|cluster| cluster.tls.as_ref())
    {
        let missing = match (&tls.value.cert_file, &tls.value.key_file) {
            (Some(_), None) => "`cert_file` needs its `key_file`",
            (None, Some(_)) => "`key_file` needs its `cert_file`",
            (None, None) if tls.value.key_password.is_some() => {
                "`key_password` needs its `key_file`"
            }
            _ => continue,
        };
        problems.push(
            Problem::new(tls.span, missing).hint("a client's certificate is both, or neither"),
        );
    }
}

fn properties_are_not_owned(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let clusters = names.config.clusters.iter().map(|cluster| &cluster.options);
    let outputs = names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .map(|from| &from.options);
    for Property { name, .. } in clusters.chain(outputs).flatten() {
        if let Some(instead) = owner(&name.value) {
            problems.push(
                Problem::new(name.span, format!("logferry sets `{}` itself", name.value))
                    .hint(instead),
            );
        }
    }
}

fn globs_are_globs(names: &Names<'_>, problems: &mut Vec<Problem>) {
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

fn topics_of_inputs_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let Some(written) = input.to.as_ref().and_then(|to| to.topic.as_ref()) else {
            continue;
        };
        let template = match names.topic(input) {
            Ok(Some(template)) => template,
            Ok(None) => continue,
            Err(error) => {
                problems.push(of_template_error(written, error));
                continue;
            }
        };
        if let Some(wrong) = template
            .literals()
            .flat_map(str::chars)
            .find(|letter| !is_name_letter(*letter))
        {
            problems.push(
                Problem::new(
                    written.span,
                    format!("the character `{wrong}` cannot stand in a topic's name"),
                )
                .hint("letters, digits and . _ - only"),
            );
        } else if let Some(topic) = template.constant()
            && !is_topic(topic)
        {
            problems.push(
                Problem::new(written.span, format!("`{topic}` cannot be a topic's name"))
                    .hint("1 to 249 letters, digits and . _ -, but not `.` or `..` alone"),
            );
        }
    }
}

fn keys_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        if let Some(written) = input.to.as_ref().and_then(|to| to.key.as_ref())
            && let Err(error) = names.key(input)
        {
            problems.push(of_template_error(written, error));
        }
    }
}

fn topics_of_outputs_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for topic in consumed_topics(names) {
        if topic.value.starts_with('^') {
            if let Err(error) = Regex::new(&topic.value) {
                let text = error.to_string();
                let reason = text
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                problems.push(
                    Problem::new(
                        topic.span,
                        format!("`{}` is not a regular expression", topic.value),
                    )
                    .hint(reason.to_owned()),
                );
            }
        } else if !is_topic(&topic.value) {
            problems.push(
                Problem::new(topic.span, format!("`{}` cannot be a topic's name", topic.value))
                    .hint("a regular expression begins with `^`; a name has letters, digits and . _ - only"),
            );
        }
    }
}

fn groups_are_names(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for from in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
    {
        if let Some(group) = &from.group
            && let Err(error) = names.constant(group)
        {
            problems.push(of_template_error(group, error));
        }
    }
}

fn consumer_options_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for from in names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
    {
        for property in &from.options {
            if let Err(error) = names.constant(&property.value) {
                problems.push(of_template_error(&property.value, error));
            }
        }
    }
}

fn paths_are_templates(names: &Names<'_>, problems: &mut Vec<Problem>) {
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

fn standard_input_is_read_once(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut first: Option<&Input> = None;
    for input in &names.config.inputs {
        if let Some(From::Stdin { span, .. }) = &input.from {
            match first {
                Some(first) => problems.push(
                    Problem::new(*span, "standard input is read by two inputs")
                        .hint(format!("`{}` reads it already", first.name.value)),
                ),
                None => first = Some(input),
            }
        }
    }
}

fn levels_fit_their_codec(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for to in names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.to.as_ref())
    {
        let compression = &to.compression;
        let Some(level) = compression.value.level else {
            continue;
        };
        let hint = match compression.value.codec {
            Codec::Gzip if level > 9 => "gzip has the levels 0 to 9",
            Codec::Snappy => "snappy has no levels",
            Codec::None => "`none` has no levels",
            Codec::Gzip | Codec::Lz4 | Codec::Zstd => continue,
        };
        problems.push(
            Problem::new(
                compression.span,
                format!("the level {level} does not fit the codec"),
            )
            .hint(hint),
        );
    }
}

fn lines_fit_into_records(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let (Some(from), Some(to)) = (&input.from, &input.to) else {
            continue;
        };
        let line = from.max_line();
        let key = match names.key(input) {
            Ok(Some(key)) => longest(&key, line.value.size),
            Ok(None) => 0,
            // Reported by the rule about keys.
            Err(_) => continue,
        };
        let needed = line
            .value
            .size
            .saturating_add(key)
            .saturating_add(RECORD_OVERHEAD);
        if needed > to.max_record.value {
            problems.push(
                Problem::new(
                    line.span,
                    format!(
                        "a line of {} with its key does not fit into `max_record`, {}",
                        show_size(line.value.size),
                        show_size(to.max_record.value)
                    ),
                )
                .hint(format!(
                    "a smaller `max_line`, or `max_record: {}` here and message.max.bytes of the brokers",
                    show_size(needed)
                )),
            );
        }
    }
}

/// The longest text that a key can become, in bytes.
fn longest(key: &Template, line: u64) -> u64 {
    let literals: usize = key.literals().map(str::len).sum();
    let literals = u64::try_from(literals).unwrap_or(u64::MAX);
    let parts = [
        (Part::FilePath, 4096),
        (Part::FileDir, 4096),
        (Part::FileName, 255),
        (Part::FileOffset, 20),
        (Part::Line, line),
    ];
    parts
        .iter()
        .filter(|(part, _)| key.uses(*part))
        .fold(literals, |sum, (_, most)| sum.saturating_add(*most))
}

fn lines_fit_into_their_share(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let half = half_share(names);
    for line in names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.from.as_ref())
        .map(From::max_line)
    {
        if line.value.size > half {
            problems.push(
                Problem::new(
                    line.span,
                    format!(
                        "a line of {} does not fit twice into this pipeline's share of the memory",
                        show_size(line.value.size)
                    ),
                )
                .hint(memory_hint(names, line.value.size)),
            );
        }
    }
}

fn batches_fit(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let half = half_share(names);
    for to in names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.to.as_ref())
    {
        let Some(batch) = &to.batch_size else {
            continue;
        };
        if batch.value > to.max_record.value {
            problems.push(
                Problem::new(
                    batch.span,
                    format!(
                        "a batch of {} is larger than `max_record`, {}",
                        show_size(batch.value),
                        show_size(to.max_record.value)
                    ),
                )
                .hint("brokers check a batch against the same limit as a record: raise both, or neither"),
            );
        } else if batch.value > half {
            problems.push(
                Problem::new(
                    batch.span,
                    format!(
                        "a batch of {} does not fit twice into this pipeline's share of the memory",
                        show_size(batch.value)
                    ),
                )
                .hint(memory_hint(names, batch.value)),
            );
        }
    }
}

fn pipelines(names: &Names<'_>) -> usize {
    names.config.inputs.len() + names.config.outputs.len()
}

fn half_share(names: &Names<'_>) -> u64 {
    share(names.config.buffer_memory.value, pipelines(names)) / 2
}

fn memory_hint(names: &Names<'_>, bytes: u64) -> String {
    let pipelines = pipelines(names);
    let enough = u64::try_from(pipelines)
        .unwrap_or(u64::MAX)
        .saturating_mul(4)
        .saturating_mul(bytes);
    let mib = enough.div_ceil(1 << 20).max(1);
    format!(
        "half of `buffer.memory`, {}, is shared out over {pipelines} pipelines: `buffer: {{ memory: {mib}MiB }}` would do",
        show_size(names.config.buffer_memory.value)
    )
}

fn inputs_do_not_read_what_outputs_write(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for output in &names.config.outputs {
        let Some(Ok(Some(template))) = output.to.as_ref().map(|to| names.output_path(to)) else {
            continue;
        };
        let written = of_template(&template);
        // Excluded is what is excluded whatever is filled in: a stand-in that nobody writes shows it.
        let sample: String = template
            .shape()
            .map(|part| part.unwrap_or("\u{1}\u{2}"))
            .collect();
        for input in &names.config.inputs {
            let Some(From::File(file)) = &input.from else {
                continue;
            };
            if file
                .exclude
                .iter()
                .any(|exclude| excludes(&names.exclusion(&exclude.value), &sample))
            {
                continue;
            }
            for path in &file.paths {
                let globs = of_glob(&names.pattern(&path.value));
                if globs.iter().any(|glob| can_meet(glob, &written)) {
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
    }
}

fn excludes(glob: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let subject = if glob.contains('/') { path } else { name };
    GlobBuilder::new(glob)
        .literal_separator(true)
        .build()
        .is_ok_and(|glob| glob.compile_matcher().is_match(subject))
}

fn data_dir_is_left_alone(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let data_dir = of_folder(&names.data_dir);
    let sample = format!("{}/\u{1}/\u{1}", names.data_dir);
    for input in &names.config.inputs {
        let Some(From::File(file)) = &input.from else {
            continue;
        };
        if file
            .exclude
            .iter()
            .any(|exclude| excludes(&names.exclusion(&exclude.value), &sample))
        {
            continue;
        }
        for path in &file.paths {
            let globs = of_glob(&names.pattern(&path.value));
            if globs.iter().any(|glob| can_meet(glob, &data_dir)) {
                problems.push(
                    Problem::new(path.span, "this would read logferry's own files").hint(format!(
                        "`data_dir` is {}; name `{}/**` in `exclude`",
                        names.data_dir, names.data_dir
                    )),
                );
            }
        }
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

fn outputs_do_not_share_files(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut before: Vec<(&str, super::overlap::Pattern)> = Vec::new();
    for output in &names.config.outputs {
        let Some(to) = &output.to else { continue };
        let (Some(path), Ok(Some(template))) = (&to.path, names.output_path(to)) else {
            continue;
        };
        let pattern = of_template(&template);
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

fn outputs_do_not_share_groups(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let mut before: Vec<(&str, &str, String)> = Vec::new();
    for output in &names.config.outputs {
        let Some(from) = &output.from else { continue };
        let (Some(written), Some(group)) = (&from.group, names.group(from)) else {
            continue;
        };
        let Some(cluster) = names.cluster(from.cluster.as_ref()) else {
            continue;
        };
        let cluster = cluster.name.value.as_str();
        if let Some((other, _, _)) = before
            .iter()
            .find(|(_, at, named)| *at == cluster && *named == group)
        {
            problems.push(
                Problem::new(written.span, format!("the output `{other}` is in the group `{group}` too"))
                    .hint("the two would share the partitions, each getting only some: give each a group of its own"),
            );
        }
        before.push((&output.name.value, cluster, group));
    }
}

fn outputs_leave_positions_alone(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for topic in consumed_topics(names) {
        let consumes = match topic.value.starts_with('^') {
            true => Regex::new(&topic.value).is_ok_and(|regex| regex.is_match(POSITIONS)),
            false => topic.value == POSITIONS,
        };
        if consumes {
            problems.push(
                Problem::new(
                    topic.span,
                    format!("this would consume `{POSITIONS}`, logferry's own topic"),
                )
                .hint("name the topics that are meant, or a narrower expression"),
            );
        }
    }
}

fn consumed_topics<'a>(names: &Names<'a>) -> impl Iterator<Item = &'a Spanned<String>> + use<'a> {
    names
        .config
        .outputs
        .iter()
        .filter_map(|output| output.from.as_ref())
        .flat_map(|from| &from.topics)
}

/// What works, and weakens a promise: for `check` and for the log.
pub fn notes(config: &crate::config::Config) -> Vec<Problem> {
    let mut notes = Vec::new();
    for to in config.inputs.iter().filter_map(|input| input.to.as_ref()) {
        let weakens = match to.acks.value {
            Acks::All => continue,
            Acks::Leader => {
                "a record counts as delivered when one broker has it: it is lost when that broker is lost before the others follow; \
                             without idempotence a retry can repeat and reorder records"
            }
            Acks::None => {
                "a record counts as delivered when it was sent: an outage loses records without a word, and order is not kept"
            }
        };
        notes.push(Problem::new(to.acks.span, "`acks` weaker than `all`").hint(weakens));
    }
    for cluster in &config.clusters {
        match &cluster.brokers {
            Some(brokers) if brokers.value == Brokers::Embedded => notes.push(
                Problem::new(
                    brokers.span,
                    "the embedded broker keeps everything in memory",
                )
                .hint("for a first try only: topics and positions are gone when logferry ends"),
            ),
            Some(brokers) if cluster.tls.is_none() && leaves_the_host(&brokers.value) => {
                if let Some(sasl) = &cluster.sasl {
                    notes
                        .push(Problem::new(sasl.span, "logs in without `tls`").hint(
                            "password and records cross the network readable: add `tls: {}`",
                        ));
                }
            }
            _ => {}
        }
        if let Some(tls) = &cluster.tls
            && !tls.value.verify
        {
            notes.push(
                Problem::new(tls.span, "brokers are not verified")
                    .hint("anyone on the way can read and change everything: `ca_file` is the way to trust a CA of one's own"),
            );
        }
    }
    notes
}

fn leaves_the_host(brokers: &Brokers) -> bool {
    let Brokers::Addresses(addresses) = brokers else {
        return false;
    };
    !addresses
        .iter()
        .filter_map(|address| broker(address))
        .all(|address| {
            let host = address
                .rsplit_once(':')
                .map_or(address.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
        })
}

fn of_template_error(written: &Spanned<String>, error: TemplateError) -> Problem {
    let problem = Problem::new(within(written, error.at), error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// From a byte of a text to its end, when the text stands in the file as it is; else the whole text.
fn within(written: &Spanned<String>, at: usize) -> Span {
    let span = written.span;
    let one_line = span.line == span.end_line;
    let width = span.end_column.saturating_sub(span.column);
    let length = written.value.chars().count();
    // Two more are the quotes; anything else was escaped or came from the environment.
    let quotes = match width.checked_sub(length) {
        Some(0) => 0,
        Some(2) => 1,
        _ => return span,
    };
    let before = written
        .value
        .get(..at)
        .map_or(0, |text| text.chars().count());
    if !one_line || before >= length {
        return span;
    }
    Span {
        column: span.column + quotes + before,
        end_column: span.end_column - quotes,
        ..span
    }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-')
}

/// Kafka's rule for names of topics.
fn is_topic(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.chars().all(is_name_letter)
}
