//! The commands `produce` and `consume` as a person types them: what they are given, what they print, how they end.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::eventually::eventually;
use super::scene::LONG;
use super::temp_dir;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// What it printed, as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }

    /// What it printed, when it ended well.
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.text()
    }
}

/// A command that runs. It is killed when it is dropped.
pub struct Console {
    child: Child,
    folder: TempDir,
}

/// Runs `logferry COMMAND -b BROKERS ARGUMENTS` to its end with `stdin`.
pub fn run(command: &str, brokers: &str, arguments: &[&str], stdin: &[u8]) -> Ended {
    let given = temp_dir();
    let path = given.path().join("stdin");
    fs::write(&path, stdin).expect("to write what it reads");
    let mut console = spawn(
        &[&[command, "-b", brokers], arguments].concat(),
        File::open(path).expect("to open what it reads").into(),
    );
    console.ends()
}

/// Starts `logferry ARGUMENTS`.
pub fn spawn(arguments: &[&str], stdin: Stdio) -> Console {
    let folder = temp_dir();
    let stdout = File::create(folder.path().join("stdout")).expect("a file for its output");
    spawn_to(arguments, stdin, stdout.into(), folder)
}

/// Starts it with a standard output of the test's own.
pub fn spawn_into(arguments: &[&str], stdout: Stdio) -> Console {
    spawn_to(arguments, Stdio::null(), stdout, temp_dir())
}

/// Starts a line of a shell on a terminal of 100 columns, where `logferry` stands for the program. What is written to its standard input is typed;
/// its standard output is everything that the terminal shows, with the control characters.
pub fn type_on_terminal(line: &str) -> Console {
    let folder = temp_dir();
    let line = line.replacen("logferry", env!("CARGO_BIN_EXE_logferry"), 1);
    let file = |name: &str| File::create(folder.path().join(name)).expect("a file");
    // Whoever runs the tests in the background may ignore Ctrl-C, and what is started would, too.
    let child = Command::new("env")
        .args(["--default-signal=INT", "script"])
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("stty cols 100; exec {line}"))
        .arg("/dev/null")
        .current_dir(folder.path())
        .env_remove("LOGFERRY_BROKERS")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("util-linux's script");
    Console { child, folder }
}

fn spawn_to(arguments: &[&str], stdin: Stdio, stdout: Stdio, folder: TempDir) -> Console {
    let stderr = File::create(folder.path().join("stderr")).expect("a file for what it says");
    let child = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(arguments)
        .current_dir(folder.path())
        .env_remove("LOGFERRY_BROKERS")
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("to start the command");
    Console { child, folder }
}

impl Console {
    /// Its standard input, once; dropping it closes it.
    pub fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("a piped standard input")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the command runs");
    }

    pub fn stdout(&self) -> Vec<u8> {
        fs::read(self.folder.path().join("stdout")).unwrap_or_default()
    }

    pub fn stderr(&self) -> String {
        let said = fs::read(self.folder.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Whether SIGINT would not just kill it.
    pub fn catches_interrupts(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap_or_default().trim(), 16);
        caught.is_ok_and(|signals| signals & 1 << (Signal::INT.as_raw() - 1) != 0)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("to ask for its state");
        ended.is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn ends(&mut self) -> Ended {
        self.ends_within(LONG)
    }

    #[track_caller]
    pub fn ends_within(&mut self, deadline: Duration) -> Ended {
        let status = eventually(deadline, "the command has ended", || {
            let ended = self.child.try_wait().expect("to ask for its state");
            ended.ok_or_else(|| self.stderr())
        });
        let signal = status.signal().map(|signal| 128 + signal);
        Ended {
            code: status.code().or(signal).expect("a code or a signal"),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
