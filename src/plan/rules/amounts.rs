//! Rules about amounts: lines, records, batches and the memory that holds them.

use crate::config::{From, Input, RecordFormat};
use crate::input::encoding::Encoding;
use crate::input::frame::settings::MaxLine;
use crate::kafka::settings::Codec;
use crate::plan::lines::settings;
use crate::plan::names::Names;
use crate::plan::share;
use crate::template::{Part, Template};
use crate::value::show_size;
use crate::yaml::{Problem, Spanned};

/// What Kafka adds to a record, generously: varints of the record and the header of a batch that holds only it.
const RECORD_OVERHEAD: u64 = 100;

pub(super) fn levels_fit_their_codec(names: &Names<'_>, problems: &mut Vec<Problem>) {
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

pub(super) fn lines_fit_into_records(names: &Names<'_>, problems: &mut Vec<Problem>) {
    for input in &names.config.inputs {
        let (Some(from), Some(to)) = (&input.from, &input.to) else {
            continue;
        };
        let (line, size) = longest_record(from);
        // Problems are reported by the rules about them.
        let Ok(key) = names.key(input) else { continue };
        let headers = to.headers.iter().map(|header| {
            let name = header.name.value.len() as u64;
            let value = names.template(input, &header.value);
            value.map_or(0, |value| name + longest(&value, size))
        });
        let value = match &to.format {
            RecordFormat::Raw => size,
            RecordFormat::Json => size.saturating_add(around(names, input)),
            RecordFormat::Template(text) => {
                let value = names.template(input, text);
                value.map_or(size, |value| longest(&value, size))
            }
        };
        let needed = key
            .iter()
            .map(|key| longest(key, size))
            .chain(headers)
            .fold(value.saturating_add(RECORD_OVERHEAD), u64::saturating_add);
        if needed > to.max_record.value {
            problems.push(
                Problem::new(
                    line.span,
                    format!(
                        "a line of {} with what is made of it does not fit into `max_record`, {}",
                        show_size(size),
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

/// What stands around a message in its JSON object, in bytes, when nothing in it needs an escape.
fn around(names: &Names<'_>, input: &Input) -> u64 {
    const NAMES_AND_TIMES: usize = 200;
    let fields = input.to.iter().flat_map(|to| &to.fields);
    let fields = fields.map(|field| field.name.value.len() + field.value.value.len() + 6);
    let place = names.site.host.len() + input.name.value.len();
    (NAMES_AND_TIMES + place + fields.sum::<usize>()) as u64
}

/// Where the longest line is told, and how many bytes a record of it may have: a byte of another encoding may become three.
fn longest_record(from: &From) -> (&Spanned<MaxLine>, u64) {
    let lines = from.lines();
    let size = lines.max_line.value.size;
    let is_utf8 = Encoding::of(&lines.encoding.value).is_none_or(|it| it == Encoding::Utf8);
    let size = if is_utf8 {
        size
    } else {
        size.saturating_mul(3)
    };
    (&lines.max_line, size)
}

/// The longest text that a template can become, in bytes. A field of the line is as good as never the whole line: a record that grows too
/// large with it is refused when it comes.
fn longest(key: &Template, line: u64) -> u64 {
    let literals: usize = key.literals().map(str::len).sum();
    let literals = u64::try_from(literals).unwrap_or(u64::MAX);
    let parts = [
        (Part::FilePath, 4096),
        (Part::FileDir, 4096),
        (Part::FileName, 255),
        (Part::FileOffset, 20),
        (Part::Line, line),
        (Part::SyslogFacility, 10),
        (Part::SyslogSeverity, 10),
        (Part::SyslogHostname, 255),
        (Part::SyslogAppName, 128),
        (Part::SyslogProcId, 128),
        (Part::SyslogMsgId, 32),
        (Part::SyslogPeer, 60),
        (Part::SyslogSd, line),
    ];
    parts
        .iter()
        .filter(|(part, _)| key.uses(*part))
        .fold(literals, |sum, (_, most)| sum.saturating_add(*most))
}

pub(super) fn lines_fit_into_their_share(names: &Names<'_>, problems: &mut Vec<Problem>) {
    let half = half_share(names);
    for line in names
        .config
        .inputs
        .iter()
        .filter_map(|input| input.from.as_ref())
        .map(From::lines)
    {
        let needed = settings(line).expansion();
        let line = &line.max_line;
        let needed = line.value.size.saturating_mul(needed);
        if needed > half {
            problems.push(
                Problem::new(
                    line.span,
                    format!(
                        "a line of {} does not fit twice into this pipeline's share of the memory",
                        show_size(line.value.size)
                    ),
                )
                .hint(memory_hint(names, needed)),
            );
        }
    }
}

pub(super) fn batches_fit(names: &Names<'_>, problems: &mut Vec<Problem>) {
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
    let more = names.config.inputs.iter().map(|input| match &input.from {
        Some(From::Syslog(syslog)) => syslog.workers.value.saturating_sub(1),
        _ => 0,
    });
    names.config.inputs.len() + more.sum::<usize>() + names.config.outputs.len()
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
