//! Every example is a configuration that is accepted, and the quickstart does what its README says.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn logferry(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logferry"));
    command
        .current_dir(folder)
        .env("HOME", "/home/shipper")
        .env_remove("KAFKA")
        .env("KAFKA_PASSWORD", "secret");
    command
}

#[test]
fn check_accepts_every_example() {
    let root = examples().parent().unwrap().to_owned();
    let mut checked = 0;
    for folder in fs::read_dir(examples()).unwrap() {
        let folder = folder.unwrap().path();
        assert!(
            folder.join("README.md").is_file(),
            "{} has no README.md",
            folder.display()
        );
        logferry(&root)
            .arg("check")
            .arg("-c")
            .arg(folder.join("logferry.yaml"))
            .assert()
            .success();
        checked += 1;
    }
    assert!(checked >= 4);
}

#[test]
fn the_quickstart_brings_every_line_through_kafka_and_back_once() {
    let scratch = tempfile::tempdir().unwrap();
    let logs = scratch.path().join("examples/quickstart/logs");
    fs::create_dir_all(&logs).unwrap();
    let mut before = Vec::new();
    for log in fs::read_dir(examples().join("quickstart/logs")).unwrap() {
        let log = log.unwrap();
        fs::copy(log.path(), logs.join(log.file_name())).unwrap();
        before.extend(lines_of(&log.path()));
    }
    let configuration = scratch.path().join("examples/quickstart/logferry.yaml");
    fs::copy(examples().join("quickstart/logferry.yaml"), &configuration).unwrap();

    logferry(scratch.path())
        .args(["run", "-c", "examples/quickstart/logferry.yaml", "--once"])
        .timeout(std::time::Duration::from_secs(120))
        .assert()
        .success();

    let archive = scratch.path().join("target/quickstart/archive/web");
    let mut after = Vec::new();
    for partition in fs::read_dir(archive).unwrap() {
        let lines = lines_of(&partition.unwrap().path());
        keeps_the_order_of_worker_lines(&lines);
        after.extend(lines);
    }
    before.sort_unstable();
    after.sort_unstable();
    assert_eq!(before.len(), 569);
    assert_eq!(before, after);
}

fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The worker's lines are numbered.
fn keeps_the_order_of_worker_lines(lines: &[String]) {
    let jobs: Vec<u32> = lines
        .iter()
        .filter_map(|line| {
            let (_, rest) = line.split_once("\"job\":")?;
            rest.split_once(',')?.0.parse().ok()
        })
        .collect();
    assert!(jobs.is_sorted(), "{jobs:?}");
}
