//! What will run: defaults filled, names resolved, producers shared, rules checked.
//!
//! Invariant: pure. The host's name and the current folder are handed in; nothing is read, nothing is touched.

mod dress;
mod lines;
mod names;
mod notes;
mod overlap;
mod properties;
mod rules;
mod syslog;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::config::LogFormat;
use crate::config::{self, Config, FileFormat};
use crate::input::dress::settings::DressSettings;
use crate::input::file::settings::FileSettings;
use crate::input::frame::settings::LineSettings;
use crate::input::syslog::settings::SyslogSettings;
use crate::kafka::settings::{
    Brokers, ClusterSettings, ConsumerSettings, Delivery, ExactlyOnce, ProducerSettings,
    RouteSettings,
};
use crate::output::file::settings::{FileOutputSettings, OutputFormat};
use crate::spool::settings::SpoolSettings;
use crate::yaml::Problem;
use names::Names;
pub use notes::notes;

/// The default of `batch.size`, in bytes.
const BATCH_SIZE: u64 = 1_000_000;

/// Everything that will run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// This daemon's name in Kafka: letters, digits and `. _ -`.
    pub id: String,
    /// Absolute.
    pub data_dir: PathBuf,
    pub log: LogSettings,
    /// Absent: no port.
    pub admin: Option<SocketAddr>,
    pub shutdown_timeout: Duration,
    /// Bytes over all pipelines; see [`Plan::share`].
    pub buffer_memory: u64,
    pub checkpoint_every: Duration,
    pub checkpoint_sync: Duration,
    /// Bytes.
    pub dead_letters_max_size: u64,
    /// All of the configuration, used or not.
    pub clusters: Vec<ClusterSettings>,
    /// No two are equal.
    pub producers: Vec<ProducerSettings>,
    pub inputs: Vec<InputPlan>,
    pub outputs: Vec<OutputPlan>,
}

impl Plan {
    /// What each pipeline is guaranteed of `buffer_memory`, in bytes: an even part of one half. The other half is the common pool.
    pub fn share(&self) -> u64 {
        share(self.buffer_memory, self.pipelines())
    }

    /// Who divides the memory: every output, and every worker of an input.
    pub fn pipelines(&self) -> usize {
        let workers = self.inputs.iter().map(|input| input.from.workers());
        workers.sum::<usize>() + self.outputs.len()
    }
}

/// `log:`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    pub format: LogFormat,
}

/// One input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputPlan {
    pub name: String,
    pub from: SourceSettings,
    /// What a file or standard input makes of its lines. Absent: nothing.
    pub dress: Option<DressSettings>,
    /// `{id}`, `{host}` and `{input}` are put in.
    pub route: RouteSettings,
    /// Index into [`Plan::producers`].
    pub producer: usize,
}

/// Where an input's lines come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceSettings {
    File(FileSettings),
    Stdin(StdinSettings),
    Syslog(Box<SyslogSettings>),
}

/// `from:` with `type: stdin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StdinSettings {
    pub lines: LineSettings,
    pub spool: Option<SpoolSettings>,
}

impl SourceSettings {
    /// Threads that read.
    pub fn workers(&self) -> usize {
        match self {
            Self::Syslog(syslog) => syslog.workers.max(1),
            Self::File(_) | Self::Stdin(_) => 1,
        }
    }

    /// Where what was read waits on disk, if that was asked for.
    pub fn spool(&self) -> Option<SpoolSettings> {
        match self {
            Self::File(_) => None,
            Self::Stdin(stdin) => stdin.spool,
            Self::Syslog(syslog) => syslog.spool,
        }
    }
}

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputPlan {
    pub name: String,
    pub from: ConsumerSettings,
    /// `{id}` and `{host}` are put into the path.
    pub to: FileOutputSettings,
}

/// Where the daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The host's name, for `{host}`.
    pub host: String,
    /// The current folder, for relative paths. Absolute.
    pub folder: PathBuf,
}

/// Makes the plan of `config`.
///
/// # Errors
/// Everything in which `config` breaks a rule. A plan comes only of a configuration that was read without problems: what could not be read is left
/// out here, so that the rules can be checked on the rest.
pub fn plan(config: &Config, site: &Site) -> Result<Plan, Vec<Problem>> {
    let names = Names::new(config, site);
    let mut problems = Vec::new();
    for rule in rules::RULES {
        rule(&names, &mut problems);
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut plan = Plan {
        id: names.id.clone(),
        data_dir: names.data_dir.clone().into(),
        log: LogSettings {
            level: config.log.level.clone(),
            format: config.log.format,
        },
        admin: config.admin_listen,
        shutdown_timeout: config.shutdown_timeout,
        buffer_memory: config.buffer_memory.value,
        checkpoint_every: config.checkpoint_every,
        checkpoint_sync: config.checkpoint_sync,
        dead_letters_max_size: config.dead_letters_max_size,
        clusters: config
            .clusters
            .iter()
            .filter_map(cluster_settings)
            .collect(),
        producers: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
    };
    for input in &config.inputs {
        if let Some((input, producer)) = input_plan(&names, input) {
            let shared = plan.producers.iter().position(|other| *other == producer);
            let index = shared.unwrap_or_else(|| {
                plan.producers.push(producer);
                plan.producers.len() - 1
            });
            plan.inputs.push(InputPlan {
                producer: index,
                ..input
            });
        }
    }
    plan.outputs = config
        .outputs
        .iter()
        .filter_map(|output| output_plan(&names, output))
        .collect();
    Ok(plan)
}

/// An even part of one half of the memory.
fn share(memory: u64, pipelines: usize) -> u64 {
    let pipelines = u64::try_from(pipelines.max(1)).unwrap_or(u64::MAX);
    memory / 2 / pipelines
}

fn input_plan(names: &Names<'_>, input: &config::Input) -> Option<(InputPlan, ProducerSettings)> {
    let to = input.to.as_ref()?;
    let lines = |lines: &config::Lines| LineSettings {
        // `raw` is about bytes, anything else about text.
        whole_characters: to.format != config::RecordFormat::Raw,
        ..lines::settings(lines)
    };
    let from = match input.from.as_ref()? {
        config::From::File(file) => SourceSettings::File(FileSettings {
            paths: file
                .paths
                .iter()
                .map(|path| names.pattern(&path.value))
                .collect(),
            exclude: file
                .exclude
                .iter()
                .map(|path| names.exclusion(&path.value))
                .collect(),
            start_at: file.start_at,
            watch: file.watch,
            ignore_older: file.ignore_older,
            max_open_files: file.max_open_files,
            hold_deleted: file.hold_deleted,
            lines: lines(&file.lines),
        }),
        config::From::Stdin {
            lines: of, spool, ..
        } => SourceSettings::Stdin(StdinSettings {
            lines: lines(of),
            spool: *spool,
        }),
        config::From::Syslog(syslog) => {
            SourceSettings::Syslog(Box::new(syslog::settings(names, input, syslog, to)?))
        }
    };
    let is_syslog = matches!(from, SourceSettings::Syslog(_));
    let dress = match is_syslog || dress::is_plain(names, input, to) {
        true => None,
        false => Some(dress::settings(names, input, to)?),
    };
    let route = RouteSettings {
        topic: names.topic(input).ok()??.source(),
        // Else the input makes it.
        key: (names.key(input).ok()?)
            .filter(|_| !is_syslog && dress.is_none())
            .map(|key| key.source()),
        partitioner: to.partitioner.as_ref()?.value,
        place: (names.place(input).ok()?)
            .filter(|_| !is_syslog && dress.is_none())
            .map(|place| place.source()),
        on_refused: to.on_refused,
        dead_letter_after: to.dead_letter_after.as_ref().map(|after| after.value),
        pack: (to.pack.as_ref()).map(|pack| u32::try_from(pack.value).unwrap_or(u32::MAX)),
    };
    let max_record = to.max_record.value;
    let producer = ProducerSettings {
        cluster: cluster_settings(names.cluster(to.cluster.as_ref())?)?,
        acks: to.acks.value,
        compression: to.compression.value,
        linger: to.linger,
        batch_size: to
            .batch_size
            .as_ref()
            .map_or(BATCH_SIZE.min(max_record), |size| size.value),
        max_record,
        exactly_once: match to.delivery.value {
            Delivery::AtLeastOnce => None,
            Delivery::ExactlyOnce { commit, timeout } => Some(ExactlyOnce {
                id: names.id.clone(),
                pipeline: input.name.value.clone(),
                commit,
                timeout,
            }),
        },
    };
    let plan = InputPlan {
        name: input.name.value.clone(),
        from,
        dress,
        route,
        producer: 0,
    };
    Some((plan, producer))
}

fn output_plan(names: &Names<'_>, output: &config::Output) -> Option<OutputPlan> {
    let from = output.from.as_ref()?;
    let to = output.to.as_ref()?;
    let mut options = BTreeMap::new();
    for property in &from.options {
        let value = names.constant(&property.value).ok()?;
        options.insert(property.name.value.clone(), value);
    }
    Some(OutputPlan {
        name: output.name.value.clone(),
        from: ConsumerSettings {
            cluster: cluster_settings(names.cluster(from.cluster.as_ref())?)?,
            topics: from
                .topics
                .iter()
                .map(|topic| topic.value.clone())
                .collect(),
            partitions: from.partitions.as_ref().map(|named| {
                let of = |it: &config::NamedPartitions| {
                    (it.topic.value.clone(), it.numbers.iter().copied().collect())
                };
                named.value.iter().map(of).collect()
            }),
            group: names.group(from)?,
            start_at: names::consume_from(&from.start_at.value)?,
            protocol: from.protocol.value,
            on_out_of_range: from.on_out_of_range,
            isolation: from.isolation.value,
            options,
        },
        to: FileOutputSettings {
            path: names.output_path(to).ok()??.source(),
            format: match &to.format {
                FileFormat::Raw => OutputFormat::Raw,
                FileFormat::Json => OutputFormat::Json,
                FileFormat::Template(text) => {
                    OutputFormat::Template(names.line(text).ok()?.source())
                }
            },
            time_zone: to.time_zone.value.clone(),
            on_refused: to.on_refused,
            sync: to.sync,
            max_open_files: to.max_open_files,
            mode: to.mode,
            delivery: to.delivery.value,
            compression: to.compression.value,
            rotate: to
                .rotate
                .as_ref()
                .map_or_else(Default::default, |rotate| rotate.value),
            retention: to
                .retention
                .as_ref()
                .map_or_else(Default::default, |retention| retention.value),
            part_suffix: to.part_suffix.as_ref().map(|suffix| suffix.value.clone()),
        },
    })
}

fn cluster_settings(cluster: &config::Cluster) -> Option<ClusterSettings> {
    let brokers = match &cluster.brokers.as_ref()?.value {
        Brokers::Embedded => Brokers::Embedded,
        Brokers::Addresses(addresses) => Brokers::Addresses(
            addresses
                .iter()
                .filter_map(|address| names::broker(address))
                .collect(),
        ),
    };
    Some(ClusterSettings {
        name: cluster.name.value.clone(),
        brokers,
        tls: cluster.tls.as_ref().map(|tls| tls.value.clone()),
        sasl: cluster.sasl.as_ref().map(|sasl| sasl.value.clone()),
        options: cluster
            .options
            .iter()
            .map(|property| (property.name.value.clone(), property.value.value.clone()))
            .collect(),
    })
}
