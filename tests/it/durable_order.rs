//! The order in which things become durable, seen by strace on the real disk. A kill cannot show a missing fsync: the kernel
//! keeps what was written; only a power cut takes it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use crate::support::daemon::{Daemon, Launch};
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, lines_of};
use crate::support::on_path;
use crate::support::scene::{LONG, Scene, caught_up, skip, turn};

const CALLS: &str =
    "trace=write,pwrite64,writev,pwritev,fdatasync,fsync,sendmsg,sendto,rename,renameat,renameat2";

/// What the commit of an output's offset carries.
const COMMIT: &str = "logferry journal=";

/// A system call that matters to what is durable.
#[derive(Debug, Clone, PartialEq)]
enum Call {
    Write(String),
    /// It has succeeded.
    Sync(String),
    /// It is being sent.
    Commit,
    Rename(String, String),
}

/// Runs `launch` under strace, which writes to `trace`. `None` when there is no strace.
fn traced(launch: Launch, trace: &Path, test: &str) -> Option<Daemon> {
    if !on_path("strace") {
        skip(test, "strace is not installed");
        return None;
    }
    let trace = trace.display().to_string();
    let strace = [
        "strace",
        "-f",
        "-D",
        "-y",
        "-s",
        "4096",
        "-e",
        CALLS,
        "-e",
        "signal=none",
        "-o",
        &trace,
    ];
    Some(launch.under(&strace).start())
}

/// Reads a trace: a write counts where it ends, a sync where it has succeeded, a commit where its sending begins.
fn read(trace: &Path) -> Vec<Call> {
    let text = String::from_utf8_lossy(&fs::read(trace).unwrap()).into_owned();
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if rest.contains(COMMIT) && rest.starts_with("send") && !rest.contains("resumed>") {
            calls.push(Call::Commit);
        }
        if rest.contains("<unfinished ...>") {
            begun.insert(thread, rest);
        } else if rest.starts_with("<... ") {
            if let Some(begin) = begun.remove(thread) {
                calls.extend(call(begin, rest));
            }
        } else {
            calls.extend(call(rest, rest));
        }
    }
    calls
}

/// A call that has ended, from the text of its beginning and of its end.
fn call(begin: &str, end: &str) -> Option<Call> {
    let (name, arguments) = begin.split_once('(')?;
    let result = end.rsplit_once(" = ")?.1;
    if result.starts_with('-') {
        return None;
    }
    // `5</path>`: what follows the path begins with `, ` or `)`; paths of the tests hold no `>`.
    let path = || Some(arguments.split_once('<')?.1.split_once('>')?.0.to_owned());
    match name {
        "write" | "pwrite64" | "writev" | "pwritev" => path().map(Call::Write),
        "fdatasync" | "fsync" => path().map(Call::Sync),
        "rename" | "renameat" | "renameat2" => {
            let mut names = arguments.split('"').skip(1).step_by(2);
            Some(Call::Rename(
                names.next()?.to_owned(),
                names.next()?.to_owned(),
            ))
        }
        _ => None,
    }
}

#[test]
fn an_offset_is_committed_after_data_then_folder_then_journal_are_durable() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("order", 1), unique("group"));
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "outputs:\n  archive:\n    from: {{ topics: [{topic}], group: {group} }}\n    to: {{ type: file, path: \"DIR/out/{{topic}}/0.log\", sync: {{ every: 100ms }} }}\n"
        ),
    );
    let trace = scene.path("trace");
    let test = "an_offset_is_committed_after_data_then_folder_then_journal_are_durable";
    let Some(mut daemon) = traced(scene.launch(&yaml), &trace, test) else {
        return;
    };
    let data = scene.path("out").join(&topic).join("0.log");
    for number in 1..=5 {
        // One record, so one sync, and everything of it must be durable at its commit.
        kafka.produce(&topic, 1, |_| {
            (None, format!("record {number}").into_bytes())
        });
        eventually(LONG, "it is committed", || {
            kafka.group_lag(&group, &topic) == 0
        });
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_eq!(lines_of(&data).len(), 5);
    let calls = eventually(LONG, "the trace is written", || {
        let calls = read(&trace);
        calls.contains(&Call::Commit).then_some(calls)
    });

    let data = data.display().to_string();
    let out = scene.path("out").join(&topic).display().to_string();
    let is_journal = |path: &str| path.ends_with("archive.journal");
    let (mut unsynced_data, mut unsynced_journal) = (false, false);
    // How much was durable when the journal was written, and when it was synced.
    let (mut writes, mut journaled, mut commits) = (0, 0, 0);
    let mut folder_durable = false;
    for call in &calls {
        match call {
            Call::Write(path) if *path == data => {
                unsynced_data = true;
                writes += 1;
            }
            Call::Sync(path) if *path == data => unsynced_data = false,
            Call::Sync(path) if *path == out => folder_durable = true,
            Call::Write(path) if is_journal(path) => {
                unsynced_journal = true;
                if writes > 0 {
                    assert!(
                        !unsynced_data,
                        "the journal speaks of data that is not durable: {calls:#?}"
                    );
                    assert!(
                        writes == 0 || folder_durable,
                        "the journal names a file whose folder is not durable: {calls:#?}"
                    );
                }
            }
            Call::Sync(path) if is_journal(path) => {
                unsynced_journal = false;
                journaled = writes;
            }
            Call::Commit => {
                commits += 1;
                assert!(
                    !unsynced_data && !unsynced_journal && journaled == writes,
                    "an offset is committed before data and journal are durable: {calls:#?}"
                );
            }
            _ => {}
        }
    }
    assert!(
        writes >= 5 && commits >= 5,
        "{writes} writes, {commits} commits: {calls:#?}"
    );
}

#[test]
fn positions_are_synced_and_a_snapshot_is_durable_before_it_takes_its_name() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("positions", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let yaml = format!("{yaml}checkpoint: {{ every: 50ms, sync: 200ms }}\n");
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    let state = scene.path("state").display().to_string();
    for round in 1..=2 {
        // The second start reads a journal, and makes a snapshot of it.
        let trace = scene.path(&format!("trace-{round}"));
        let test = "positions_are_synced_and_a_snapshot_is_durable_before_it_takes_its_name";
        let Some(mut daemon) = traced(scene.launch(&yaml), &trace, test) else {
            return;
        };
        for _ in 0..5 {
            writer.append(10);
            eventually(LONG, "the lines are delivered", || {
                caught_up(&daemon, "app")?;
                let written = kafka.written(&topic);
                if written == writer.written() {
                    Ok(())
                } else {
                    Err(format!("{written} records"))
                }
            });
        }
        daemon.sigterm();
        assert_eq!(daemon.wait_code(LONG), 0);
        let calls = eventually(LONG, "the trace is written", || {
            let calls = read(&trace);
            (!calls.is_empty()).then_some(calls)
        });
        assert_durable(&calls, &state);
    }
}

/// Everything that is renamed within `state` was synced before and its folder after; every journal ends synced.
fn assert_durable(calls: &[Call], state: &str) {
    let inside = |path: &str| path.starts_with(state);
    let (mut unsynced, mut unsynced_folder) = (BTreeSet::new(), false);
    let (mut renames, mut journal_syncs) = (0, 0);
    for call in calls {
        match call {
            Call::Write(path) if inside(path) => drop(unsynced.insert(path.clone())),
            Call::Sync(path) if path == state => unsynced_folder = false,
            Call::Sync(path) if inside(path) => {
                journal_syncs += u64::from(path.ends_with(".journal"));
                unsynced.remove(path);
            }
            Call::Rename(from, to) if inside(from) => {
                assert!(
                    !unsynced.contains(from),
                    "{from} became {to} before it was durable: {calls:#?}"
                );
                unsynced_folder = true;
                renames += 1;
            }
            _ => {}
        }
    }
    unsynced.retain(|path| path.ends_with(".journal"));
    assert_eq!(
        unsynced,
        BTreeSet::new(),
        "journals that were not synced at the end: {calls:#?}"
    );
    assert!(
        !unsynced_folder,
        "a rename that a power cut may undo: {calls:#?}"
    );
    assert!(
        renames > 0 && journal_syncs > 0,
        "{renames} renames, {journal_syncs} syncs: {calls:#?}"
    );
}
