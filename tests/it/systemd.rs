//! The unit file that is shipped says what the daemon needs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// `Section.Key` and its values, in their order.
type Unit = BTreeMap<String, Vec<String>>;

fn read(path: &Path) -> Unit {
    let text = fs::read_to_string(path).unwrap();
    let mut unit = Unit::new();
    let mut section = String::new();
    for line in text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|line| line.strip_suffix(']'))
        {
            section = name.to_owned();
        } else {
            let (key, value) = line
                .split_once('=')
                .unwrap_or_else(|| panic!("{}: {line:?} is no assignment", path.display()));
            unit.entry(format!("{section}.{key}"))
                .or_default()
                .push(value.to_owned());
        }
    }
    unit
}

fn service() -> Unit {
    read(&folder().join("logferry.service"))
}

fn one<'a>(unit: &'a Unit, key: &str) -> &'a str {
    match unit.get(key).map(Vec::as_slice) {
        Some([value]) => value,
        other => panic!("{key} should stand once, not as {other:?}"),
    }
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap_or(text).parse().unwrap()
}

/// `shutdown.timeout` when the configuration does not say otherwise.
const DEFAULT_SHUTDOWN_TIMEOUT: u64 = 25;

#[test]
fn the_unit_stops_later_than_the_drain_ends() {
    let stop = seconds(one(&service(), "Service.TimeoutStopSec"));
    assert!(
        stop >= DEFAULT_SHUTDOWN_TIMEOUT + 10,
        "{stop} s is no room for a drain of {DEFAULT_SHUTDOWN_TIMEOUT} s"
    );
}

#[test]
fn the_unit_waits_for_ready_and_watches() {
    let unit = service();
    assert_eq!(one(&unit, "Service.Type"), "notify");
    assert!(seconds(one(&unit, "Service.WatchdogSec")) >= 10);
    assert_eq!(
        one(&unit, "Service.ExecStart"),
        "/usr/bin/logferry run -c /etc/logferry/logferry.yaml"
    );
    assert_eq!(one(&unit, "Service.KillSignal"), "SIGTERM");
    assert_eq!(one(&unit, "Install.WantedBy"), "multi-user.target");
}

#[test]
fn the_unit_restarts_but_not_on_what_a_restart_cannot_mend() {
    let unit = service();
    assert_eq!(one(&unit, "Service.Restart"), "always");
    let prevented: Vec<&str> = one(&unit, "Service.RestartPreventExitStatus")
        .split_whitespace()
        .collect();
    assert_eq!(prevented, ["78", "79"]);
}

#[test]
fn the_unit_is_unprivileged_and_writes_nowhere_but_its_state() {
    let unit = service();
    assert_eq!(one(&unit, "Service.User"), "logferry");
    assert_eq!(one(&unit, "Service.StateDirectory"), "logferry");
    assert_eq!(one(&unit, "Service.StateDirectoryMode"), "0700");
    assert_eq!(one(&unit, "Service.CapabilityBoundingSet"), "");
    for (key, wanted) in [
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("ProtectKernelTunables", "yes"),
        ("ProtectControlGroups", "yes"),
        ("RestrictNamespaces", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("SystemCallArchitectures", "native"),
    ] {
        assert_eq!(one(&unit, &format!("Service.{key}")), wanted, "{key}");
    }
    assert!(unit["Service.SystemCallFilter"].contains(&"@system-service".to_owned()));
    assert!(
        !unit.contains_key("Service.ReadWritePaths"),
        "output folders belong into the drop-in"
    );
}

#[test]
fn each_drop_in_does_what_its_name_says() {
    let drop_ins = folder().join("drop-ins");
    assert_eq!(
        one(
            &read(&drop_ins.join("read-root-only-logs.conf")),
            "Service.AmbientCapabilities"
        ),
        "CAP_DAC_READ_SEARCH"
    );
    assert_eq!(
        one(
            &read(&drop_ins.join("privileged-ports.conf")),
            "Service.AmbientCapabilities"
        ),
        "CAP_NET_BIND_SERVICE"
    );
    assert!(
        one(
            &read(&drop_ins.join("output-folders.conf")),
            "Service.ReadWritePaths"
        )
        .starts_with('/')
    );
}

#[test]
fn systemd_finds_no_fault_in_the_unit_and_its_drop_ins() {
    if Command::new("systemd-analyze")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!(
            "skipped: systemd-analyze is not installed, so the unit is checked by its keys alone"
        );
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let unit = scratch.path().join("logferry.service");
    // The program need not be installed for this.
    let text = fs::read_to_string(folder().join("logferry.service")).unwrap();
    fs::write(&unit, text.replace("/usr/bin/logferry", "/bin/true")).unwrap();
    let extra = scratch.path().join("logferry.service.d");
    fs::create_dir(&extra).unwrap();
    for drop_in in fs::read_dir(folder().join("drop-ins")).unwrap() {
        let drop_in = drop_in.unwrap();
        fs::copy(drop_in.path(), extra.join(drop_in.file_name())).unwrap();
    }
    let told = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&unit)
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&told.stderr);
    // Complaints about other units of the machine are not ours.
    let ours: Vec<&str> = complaints
        .lines()
        .filter(|line| line.contains("logferry"))
        .collect();
    assert!(ours.is_empty(), "{ours:#?}");
}
