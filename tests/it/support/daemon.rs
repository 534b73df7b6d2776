//! The built daemon as a process, run and watched as its users do: a configuration file, signals, the admin port, `/proc`.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::eventually::eventually;
use super::temp_dir;

/// Ticks of `/proc/PID/stat` in a second: USER_HZ, which Linux has fixed at 100.
const TICKS: u64 = 100;

/// What is going to be run, and how.
pub struct Launch {
    folder: PathBuf,
    yaml: String,
    arguments: Vec<String>,
    before: Vec<String>,
    stdin: Stdio,
}

impl Launch {
    /// `run` with a configuration of the text `yaml`, which is written to `FOLDER/logferry.yaml`. The same folder can be
    /// launched in again.
    pub fn new(folder: &Path, yaml: &str) -> Self {
        Self {
            folder: folder.into(),
            yaml: yaml.into(),
            arguments: Vec::new(),
            before: Vec::new(),
            stdin: Stdio::null(),
        }
    }

    /// Adds `--once`.
    pub fn once(self) -> Self {
        self.argument("--once")
    }

    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Runs under another program that leaves its process to the daemon, as `strace -D -f -o FILE` and `taskset` do:
    /// signals and `/proc` are then the daemon's.
    pub fn under(mut self, program: &[&str]) -> Self {
        self.before = program.iter().map(|&part| part.into()).collect();
        self
    }

    /// Gives it a standard input; `Stdio::piped()` is written through [`Daemon::stdin`].
    pub fn stdin(mut self, stdin: impl Into<Stdio>) -> Self {
        self.stdin = stdin.into();
        self
    }

    pub fn start(self) -> Daemon {
        let config = self.folder.join("logferry.yaml");
        fs::write(&config, &self.yaml).expect("to write the configuration");
        let stderr = (1..)
            .map(|run| self.folder.join(format!("stderr-{run}.log")))
            .find(|path| !path.exists());
        let stderr = stderr.expect("a free name for what it says");
        let program = env!("CARGO_BIN_EXE_logferry").to_owned();
        let mut words = self.before.into_iter().chain([program]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(["run", "-c"])
            .arg(&config)
            .args(self.arguments);
        let said = File::create(&stderr).expect("a file for what it says");
        let stdout = File::create(stderr.with_extension("stdout")).expect("a file for its output");
        command
            .current_dir(&self.folder)
            .stdin(self.stdin)
            .stdout(stdout)
            .stderr(said);
        let child = command.spawn().expect("to start the daemon");
        Daemon {
            child,
            stderr,
            admin: admin_address(&self.yaml),
            _own: None,
        }
    }
}

/// A daemon that runs, or has run. Dropping it kills it; when the test is failing, what it said is shown.
pub struct Daemon {
    child: Child,
    stderr: PathBuf,
    admin: Option<String>,
    _own: Option<TempDir>,
}

impl Daemon {
    /// Runs in a folder of its own that goes away with it.
    pub fn start(yaml: &str) -> Self {
        let folder = temp_dir();
        let mut daemon = Launch::new(folder.path(), yaml).start();
        daemon._own = Some(folder);
        daemon
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its standard input when that is a pipe; dropping what is given closes it. Given once.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child
            .stdin
            .take()
            .expect("a standard input of Stdio::piped()")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the daemon runs");
    }

    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills it and waits until it is gone.
    pub fn sigkill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits until it has exited by itself.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        eventually(deadline, "the daemon has exited", || self.exited())
    }

    /// The same, for its exit code; ended by a signal it is 128 and the signal's number, as in a shell.
    #[track_caller]
    pub fn wait_code(&mut self, deadline: Duration) -> i32 {
        let status = self.wait_exit(deadline);
        status
            .code()
            .or(status.signal().map(|signal| 128 + signal))
            .expect("a code or a signal")
    }

    /// How it has exited, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("to ask for the daemon's state")
    }

    /// What it has said on standard error until now.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// What it has said on standard output until now.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.stderr.with_extension("stdout")).unwrap_or_default())
            .into_owned()
    }

    /// Resident memory now and at its highest, in KiB.
    pub fn rss_kib(&self) -> Rss {
        rss_kib(self.pid()).expect("the daemon runs")
    }

    /// What it has used of processors, in user and kernel mode together, to 10 ms.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.pid()).expect("the daemon runs")
    }

    /// GET of the admin port: the status code and the body. `Err` while it does not answer.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let address = self
            .admin
            .as_deref()
            .expect("`admin: { listen: ... }` in the configuration");
        get(address, path).map_err(|error| format!("{address}: {error}"))
    }

    /// `/status`; waits until the admin port answers.
    #[track_caller]
    pub fn status(&self) -> Value {
        let (code, body) = eventually(Duration::from_secs(10), "/status answers", || {
            self.get("/status")
        });
        assert_eq!(code, 200, "{body}");
        serde_json::from_str(&body)
            .unwrap_or_else(|error| panic!("/status is not JSON: {error}: {body}"))
    }

    /// Waits until `/ready` says so.
    #[track_caller]
    pub fn wait_ready(&self, deadline: Duration) {
        eventually(deadline, "/ready is 200", || match self.get("/ready")? {
            (200, _) => Ok(()),
            (code, body) => Err(format!("{code} {body}")),
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.sigkill();
        if std::thread::panicking() {
            eprintln!(
                "--- what the daemon said ({})\n{}---",
                self.stderr.display(),
                self.stderr()
            );
        }
    }
}

/// Resident memory in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rss {
    pub now: u64,
    pub peak: u64,
}

/// Resident memory of a process; none when it has ended.
pub fn rss_kib(pid: Pid) -> Option<Rss> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let field = |name: &str| {
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse().ok()
    };
    Some(Rss {
        now: field("VmRSS")?,
        peak: field("VmHWM")?,
    })
}

/// Processor time of a process with all its threads, to 10 ms; also of one that has ended and was not waited for yet.
pub fn cpu_time(pid: Pid) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name, in brackets, may hold anything; utime and stime are fields 14 and 15, counted from 1.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// `listen:` of `admin:` as the text has it.
fn admin_address(yaml: &str) -> Option<String> {
    let (_, admin) = yaml.split_once("admin:")?;
    let (_, listen) = admin.split_once("listen:")?;
    let address = listen
        .trim_start()
        .split(|byte: char| byte.is_whitespace() || byte == '}' || byte == ',')
        .next()?;
    Some(address.trim_matches('"').to_owned())
}

/// HTTP 1.0, so that the body ends with the connection.
fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        connection,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other("not an HTTP answer"))?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((
        code.ok_or_else(|| std::io::Error::other("no status code"))?,
        body.to_owned(),
    ))
}
