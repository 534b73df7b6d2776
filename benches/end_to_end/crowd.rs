//! Ten thousand log files that nobody writes to, and a daemon that has read them.
//!
//! They lie in a hundred folders and are found by one pattern, as the logs of many services or tenants on one host do.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::daemon::{Daemon, Launch};
use crate::support::eventually::pause;
use crate::support::{self, free_ports, lines};
use crate::{Bench, LINE};

pub const FILES: u64 = 10_000;
const FOLDERS: u64 = 100;
/// In each file.
const LINES: u64 = 5;
/// After what the last line of all cost; longer than the five seconds after which a file counts as idle here.
const QUIET: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Crowd {
    folder: TempDir,
    pub topic: String,
    admin: u16,
}

impl Crowd {
    pub fn new(bench: &Bench) -> Self {
        let crowd = Self {
            folder: support::temp_dir(),
            topic: bench.topic(),
            admin: free_ports::<1>()[0],
        };
        for folder in 0..FOLDERS {
            fs::create_dir_all(crowd.logs().join(format!("{folder:02}"))).expect("a folder");
        }
        let mut bytes = Vec::new();
        for number in 0..FILES {
            bytes.clear();
            for line in 0..LINES {
                lines::line(&mut bytes, &format!("idle-{number}"), line, LINE - 1);
            }
            fs::write(crowd.file(number), &bytes).expect("a file of a few lines");
        }
        crowd
    }

    fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// Where a file stands; also of those that are to be made beside the idle ones, from [`FILES`] on.
    pub fn file(&self, number: u64) -> PathBuf {
        let folder = format!("{:02}", number % FOLDERS);
        self.logs().join(folder).join(format!("app-{number}.log"))
    }

    /// Appends a line of its own to an idle file, with one write.
    pub fn append(&self, number: u64, name: &str) {
        let mut bytes = Vec::new();
        lines::line(&mut bytes, name, number, LINE - 1);
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.file(number))
            .expect("an idle file");
        file.write_all(&bytes).expect("to append a line");
    }

    /// A daemon that follows them all, just started; `watch` as in the configuration.
    pub fn start(&self, bench: &Bench, watch: &str) -> Daemon {
        let folder: &Path = self.folder.path();
        let yaml = format!(
            "data_dir: {data}/data
admin: {{ listen: 127.0.0.1:{admin} }}
clusters:
  main: {{ brokers: [\"{brokers}\"] }}
inputs:
  bench:
    from: {{ type: file, paths: [\"{logs}/*/*.log\"], watch: {watch} }}
    to: {{ topic: {topic} }}
",
            data = folder.display(),
            admin = self.admin,
            brokers = bench.kafka.brokers(),
            logs = self.logs().display(),
            topic = self.topic,
        );
        let pin = bench.processors.pin();
        let pin: Vec<&str> = pin.iter().map(String::as_str).collect();
        Launch::new(folder, &yaml).under(&pin).start()
    }

    /// A daemon that has read them all, and for which they are idle.
    pub fn followed(&self, bench: &Bench, watch: &str) -> Result<Daemon, String> {
        let mut daemon = self.start(bench, watch);
        bench.arrived(&self.topic, FILES * LINES, &mut daemon, PATIENCE)?;
        pause(QUIET);
        Ok(daemon)
    }
}
