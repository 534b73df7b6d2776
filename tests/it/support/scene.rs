//! Where a test with a daemon takes place: a folder with its logs, its state and its configuration; chance that can be
//! repeated; turns for what is heavy; and what the daemon says of itself, as values.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::{Daemon, Launch};
use super::eventually::pause;
use super::{free_ports, on_path, temp_dir};

/// What a loaded machine may need for anything but an outage.
pub const LONG: Duration = Duration::from_secs(120);

/// How many heavy tests run at once: two processors serve a Kafka, a daemon and a test each.
const AT_ONCE: u32 = 2;

static RUNNING: Mutex<u32> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A heavy test's turn, until it is dropped. Taken first, so that it is dropped last.
pub struct Turn(());

/// Waits for a turn. Every test that moves many lines or has a Kafka of its own takes one.
pub fn turn() -> Turn {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    while *running >= AT_ONCE {
        running = ENDED.wait(running).unwrap_or_else(PoisonError::into_inner);
    }
    *running += 1;
    Turn(())
}

impl Drop for Turn {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// A folder of its own with `logs/` in it, and a port for the daemon's admin.
pub struct Scene {
    folder: TempDir,
    admin: u16,
}

impl Scene {
    pub fn new() -> Self {
        let folder = temp_dir();
        fs::create_dir(folder.path().join("logs")).expect("a folder for logs");
        let [admin] = free_ports();
        Self { folder, admin }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// A configuration with one cluster, `main`, at `brokers` (with commas between them); in `rest` the word `DIR` stands for the folder.
    pub fn yaml(&self, brokers: &str, rest: &str) -> String {
        let text = format!(
            "id: test\ndata_dir: DIR/state\nlog: {{ format: json }}\nadmin: {{ listen: 127.0.0.1:{} }}\n\
             clusters:\n  main: {{ brokers: [\"{}\"] }}\n{rest}",
            self.admin,
            brokers.replace(',', "\", \"")
        );
        text.replace("DIR", &self.folder.path().display().to_string())
    }

    /// The usual input, `app`: every file in `logs/`, rotated ones too, into one topic.
    pub fn input_yaml(&self, brokers: &str, topic: &str) -> String {
        self.yaml(
            brokers,
            &format!(
                "inputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log*\"] }}\n    to: {{ topic: {topic} }}\n"
            ),
        )
    }

    pub fn launch(&self, yaml: &str) -> Launch {
        Launch::new(self.folder.path(), yaml)
    }
}

/// An address of which nobody answers.
pub fn nowhere() -> String {
    let [port] = free_ports();
    format!("127.0.0.1:{port}")
}

/// The books of an input. `Err` while the daemon does not answer.
pub fn books(daemon: &Daemon, input: &str) -> Result<Value, String> {
    let status = try_status(daemon)?;
    let books = &status["inputs"][input]["books"];
    if books.is_object() {
        Ok(books.clone())
    } else {
        Err(format!("no books of {input}: {status}"))
    }
}

/// What becomes of what was read, as the books call it.
pub const SETTLED: [&str; 7] = [
    "acked",
    "unconfirmed",
    "dead_lettered",
    "filtered",
    "dropped",
    "spooled",
    "in_flight",
];

/// Whether every line that was read is settled or in flight.
pub fn balanced(books: &Value) -> bool {
    let lines = |name: &str| books[name]["lines"].as_u64().unwrap();
    lines("read") == SETTLED.iter().map(|name| lines(name)).sum::<u64>()
}

/// `/status`; `Err` while it does not answer.
pub fn try_status(daemon: &Daemon) -> Result<Value, String> {
    let (code, body) = daemon.get("/status")?;
    if code != 200 {
        return Err(format!("{code} {body}"));
    }
    serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
}

/// Whether everything that the input sees is read and acknowledged.
pub fn caught_up(daemon: &Daemon, input: &str) -> Result<(), String> {
    let books = books(daemon, input)?;
    if books["unread"]["bytes"] == 0 && books["in_flight"]["lines"] == 0 {
        Ok(())
    } else {
        Err(books.to_string())
    }
}

/// The dead letters of a pipeline; none where there is no file.
pub fn letters(scene: &Scene, pipeline: &str) -> Vec<Value> {
    let path = scene.path(&format!("state/dead-letters/{pipeline}.jsonl"));
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("a dead letter"))
        .collect()
}

/// One line of the log, in `log: { format: json }`.
#[derive(Debug, Clone)]
pub struct Said {
    pub level: String,
    pub message: String,
    pub fields: Value,
    /// The whole line, for searching.
    pub text: String,
}

/// What the daemon has logged until now. What is not a line of the log is left out.
pub fn said(daemon: &Daemon) -> Vec<Said> {
    let text = daemon.stderr();
    let lines = text.lines().filter_map(|line| {
        let value: Value = serde_json::from_str(line).ok()?;
        Some(Said {
            level: value["level"].as_str()?.to_owned(),
            message: value["message"].as_str()?.to_owned(),
            fields: value["fields"].clone(),
            text: line.to_owned(),
        })
    });
    lines.collect()
}

/// The same, warnings and errors alone.
pub fn complaints(daemon: &Daemon) -> Vec<Said> {
    let mut all = said(daemon);
    all.retain(|said| said.level != "info" && said.level != "debug");
    all
}

/// Chance that prints its seed and can be repeated with `LOGFERRY_TEST_SEED`.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let given = std::env::var("LOGFERRY_TEST_SEED").ok();
        let seed = given
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0));
        println!("LOGFERRY_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        least + (mixed ^ (mixed >> 31)) % (most - least + 1)
    }

    /// Once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.between(1, times) == 1
    }

    /// Lets a random time pass, in milliseconds.
    pub fn pause(&mut self, least: u64, most: u64) {
        pause(Duration::from_millis(self.between(least, most)));
    }
}

/// Says in a line that is seen (the test harness hides what `eprintln!` says) that a test is skipped, and why.
///
/// # Panics
/// When nothing may be skipped: `LOGFERRY_REQUIRE_KAFKA=1`.
pub fn skip(test: &str, why: &str) {
    assert!(
        std::env::var_os("LOGFERRY_REQUIRE_KAFKA").is_none_or(|on| on != "1"),
        "{test} cannot be skipped here: {why}"
    );
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// A program to run the daemon under so that file permissions hold for it too: root may do everything otherwise. `None`
/// when there is none, which is to be skipped.
pub fn powerless() -> Option<Vec<&'static str>> {
    if !rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    on_path("setpriv").then(|| vec!["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
}

/// A small RAM disk that is taken away when it is dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts `kib` KiB at `path`, which is made. The error says why that is not possible here.
    pub fn mount(path: &Path, kib: u64) -> Result<Self, String> {
        fs::create_dir_all(path).map_err(|error| error.to_string())?;
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(path)
            .output()
            .map_err(|error| format!("mount: {error}"))?;
        if mount.status.success() {
            Ok(Self(path.into()))
        } else {
            Err(format!(
                "no tmpfs can be mounted: {}",
                String::from_utf8_lossy(&mount.stderr).trim()
            ))
        }
    }

    /// Fills what is free, and gives the file that holds it.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).expect("a file to fill the disk with");
        let block = [0; 1024];
        while file.write_all(&block).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
