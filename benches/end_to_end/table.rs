//! Medians in a Markdown table, ready for README.

use std::fmt::Write;
use std::fs;

use crate::measure::{Figures, Processors};

pub struct Table {
    title: String,
    rows: Vec<Row>,
}

/// Times in seconds.
pub struct Medians {
    pub wall: f64,
    pub cpu: f64,
    /// Peak memory, in megabytes.
    pub rss: f64,
}

struct Row {
    name: String,
    runs: Vec<Figures>,
    /// Why a run does not count; one is enough to leave the row without figures.
    failed: Option<String>,
}

impl Table {
    pub fn new(title: &str, names: impl Iterator<Item = &'static str>) -> Self {
        let rows = names
            .map(|name| Row {
                name: name.into(),
                runs: Vec::new(),
                failed: None,
            })
            .collect();
        Self {
            title: title.into(),
            rows,
        }
    }

    pub fn add(&mut self, name: &str, run: Result<Figures, String>) {
        let row = self
            .rows
            .iter_mut()
            .find(|row| row.name == name)
            .expect("a row for each contender");
        match run {
            Ok(figures) => {
                let Figures {
                    wall,
                    cpu,
                    peak_rss_kib,
                } = figures;
                eprintln!(
                    "{}: {name}: wall {wall:.1?}, cpu {cpu:.1?}, peak {} MB",
                    self.title,
                    peak_rss_kib / 1000
                );
                row.runs.push(figures);
            }
            Err(why) => {
                eprintln!("{}: {name}: failed: {why}", self.title);
                row.failed = why.lines().next().map(str::to_owned);
            }
        }
    }

    /// The medians of a row that has figures.
    pub fn medians(&self, name: &str) -> Option<Medians> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        if row.failed.is_some() {
            return None;
        }
        let figure =
            |of: fn(&Figures) -> f64| median(&mut row.runs.iter().map(of).collect::<Vec<_>>());
        Some(Medians {
            wall: figure(|run| run.wall.as_secs_f64())?,
            cpu: figure(|run| run.cpu.as_secs_f64())?,
            rss: figure(megabytes)?,
        })
    }

    pub fn markdown(&self, lines: u64) -> String {
        let mut text = format!(
            "| {} | wall s | lines/s | CPU ns/line | peak RSS MB |\n|---|---|---|---|---|\n",
            self.title
        );
        for Row { name, runs, failed } in &self.rows {
            let figure =
                |of: fn(&Figures) -> f64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
            let wall = figure(|run| run.wall.as_secs_f64());
            let cpu = figure(|run| run.cpu.as_secs_f64());
            let rss = figure(megabytes);
            let row = match (failed, wall, cpu, rss) {
                (None, Some(wall), Some(cpu), Some(rss)) => {
                    let (rate, each) = (lines as f64 / wall, cpu * 1e9 / lines as f64);
                    format!("{wall:.1} | {rate:.0} | {each:.0} | {rss:.0}")
                }
                (why, ..) => format!(
                    "failed: {} | | |",
                    why.as_deref().unwrap_or("it did not run")
                ),
            };
            writeln!(text, "| {name} | {row} |").expect("writing to memory succeeds");
        }
        text
    }
}

fn megabytes(run: &Figures) -> f64 {
    run.peak_rss_kib as f64 * 1024.0 / 1e6
}

/// The middle value; of an even number, the mean of the two in the middle.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], upper)
    } else {
        upper
    })
}

/// What it ran on, and when.
pub fn machine(processors: &Processors) -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        cpuinfo
            .lines()
            .find(|line| line.starts_with(name))?
            .split_once(": ")
            .map(|(_, value)| value)
    };
    let model = field("model name").unwrap_or("processor unknown");
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let today = jiff::Zoned::now().date();
    let pinned = match processors {
        Processors {
            clients: Some(clients),
            broker: Some(broker),
        } => {
            format!("clients on processors {clients}, the broker on {broker}")
        }
        _ => "not pinned to processors".to_owned(),
    };
    format!(
        "{today}, {count} x {model}, Linux {}, Apache Kafka on the same machine; {pinned}",
        kernel.trim()
    )
}
