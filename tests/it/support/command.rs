//! logferry as somebody types it: a command, what it said, how it ended.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Said {
    /// Its document. The command must have succeeded.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    /// The words of each line.
    pub fn rows(&self) -> Vec<Vec<&str>> {
        self.out
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect()
    }
}

/// `logferry` with the words of `line`, and these variables of the environment.
pub fn logferry_with(line: &str, environment: &[(&str, &str)]) -> Said {
    let begun = Instant::now();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(line.split_whitespace())
        .env_remove("LOGFERRY_BROKERS")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("to run logferry");
    Said {
        code: status.code(),
        out: String::from_utf8(stdout).expect("text"),
        err: String::from_utf8(stderr).expect("text"),
        took: begun.elapsed(),
    }
}

/// `logferry` with the words of `line`.
pub fn logferry(line: &str) -> Said {
    logferry_with(line, &[])
}
