//! `logferry check`: everything that is wrong with a configuration, or a short summary of what would run.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::CheckArgs;
use super::complain;
use super::exit::ExitStatus;
use super::load::load;
use crate::input::file::settings::FileSettings;
use crate::plan::{Plan, SourceSettings};

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    for (asked, option) in [(args.local, "--local"), (args.live, "--live")] {
        if asked {
            complain(&format!("logferry: `check {option}` is not built yet"));
            return ExitStatus::Usage.into();
        }
    }
    match load(&args.config) {
        Ok((plan, warnings)) => {
            let notes = warnings.show();
            if !notes.is_empty() {
                complain(&notes);
            }
            let summary = format!("{}: ok: {}", args.config.display(), summary(&plan));
            super::print(summary.as_bytes())
        }
        Err(errors) => {
            complain(&errors.to_string());
            ExitStatus::Config.into()
        }
    }
}

/// How much of each, and one line for each pipeline.
fn summary(plan: &Plan) -> String {
    let mut clusters: Vec<_> = plan
        .producers
        .iter()
        .map(|producer| producer.cluster.name.as_str())
        .chain(
            plan.outputs
                .iter()
                .map(|output| output.from.cluster.name.as_str()),
        )
        .collect();
    clusters.sort_unstable();
    clusters.dedup();
    let mut text = format!(
        "{}, {}, {}\n",
        count(plan.inputs.len(), "input"),
        count(plan.outputs.len(), "output"),
        count(clusters.len(), "cluster"),
    );
    let inputs = plan.inputs.iter().map(|input| {
        let from = match &input.from {
            SourceSettings::File(FileSettings { paths, .. }) => paths.join(" "),
            SourceSettings::Stdin(_) => "standard input".to_owned(),
            SourceSettings::Syslog(syslog) => {
                let listen = syslog.listen.iter().map(ToString::to_string);
                listen.collect::<Vec<_>>().join(" ")
            }
        };
        let cluster = plan
            .producers
            .get(input.producer)
            .map_or("", |producer| producer.cluster.name.as_str());
        (
            &input.name,
            "input",
            from,
            format!("{cluster}: {}", input.route.topic),
        )
    });
    let outputs = plan.outputs.iter().map(|output| {
        let topics: Vec<_> = match &output.from.partitions {
            None => output.from.topics.clone(),
            Some(named) => named.iter().map(partitions).collect(),
        };
        let from = format!("{}: {}", output.from.cluster.name, topics.join(" "));
        (&output.name, "output", from, output.to.path.clone())
    });
    let lines: Vec<_> = inputs.chain(outputs).collect();
    let width = lines.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, kind, from, to) in lines {
        text.push_str(&format!("  {kind:6} {name:width$}  {from} -> {to}\n"));
    }
    text
}

/// `web[0,3]`
fn partitions((topic, numbers): (&String, &BTreeSet<i32>)) -> String {
    let numbers: Vec<_> = numbers.iter().map(i32::to_string).collect();
    format!("{topic}[{}]", numbers.join(","))
}

fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
