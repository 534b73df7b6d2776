//! `logferry status`: what a running daemon is doing, asked at its admin port.
//!
//! | column | is |
//! |---|---|
//! | `LINES/S` | lines read or records written a second, in the tenth of a second before; with `--watch` since the last look |
//! | `READ`, `ACKED`, `IN FLIGHT` | lines: read, confirmed by the broker, on their way |
//! | `ASTRAY` | lines set aside, dropped or unconfirmed |
//! | `UNREAD BYTES`, `LOST BYTES` | what is in the files and was not read, and what was gone before they could be |
//! | `OLDEST` | age of the oldest line that is not read |
//!
//! `--json` prints the document of `/status` as it came: see [`crate::metrics::status_json`].
//!
//! Invariant: it only asks. An answer that is not understood in part is shown as far as it is.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::exit::ExitStatus;
use super::load::load;
use super::table::{Align, Table};
use super::{StatusArgs, complain, print};
use crate::value::show_duration;

/// For connecting, and for each part of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// No answer is longer, in bytes.
const LARGEST: u64 = 64 << 20;
/// Between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(1);
/// Between a look that is not shown and the first one that is: rates need two.
const BEFORE: Duration = Duration::from_millis(100);
/// Moves a terminal's cursor home and clears from there on.
const CLEAR: &str = "\x1b[H\x1b[J";

pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let plan = match load(&args.config) {
        Ok((plan, _)) => plan,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitStatus::Config.into();
        }
    };
    let Some(address) = plan.admin else {
        complain(&format!(
            "logferry: `admin.listen` is null in {}: a daemon with that configuration answers nobody",
            args.config.display()
        ));
        return ExitStatus::Config.into();
    };
    let address = reachable(address);
    let mut before: Option<(Instant, Value)> = None;
    let mut first = true;
    let (_never, pause): (SyncSender<()>, _) = sync_channel(0);
    loop {
        let text = match ask(address) {
            Ok(text) => text,
            Err(error) => {
                complain(&format!(
                    "logferry: no daemon answers at {address}: {error}; is it running, and with this configuration?"
                ));
                return ExitStatus::Unavailable.into();
            }
        };
        let now = Instant::now();
        let shown = if args.json {
            text.clone() + "\n"
        } else {
            match serde_json::from_str(&text) {
                Ok(status) => {
                    let rates = before.as_ref().map(|(at, old)| (now - *at, old));
                    let shown = show(&status, rates);
                    before = Some((now, status));
                    shown
                }
                Err(error) => {
                    complain(&format!(
                        "logferry: what answers at {address} is no logferry: {error}"
                    ));
                    return ExitStatus::Unavailable.into();
                }
            }
        };
        let is_first = std::mem::take(&mut first);
        if is_first && !args.json {
            // Nobody ever sends, as below.
            let _ = pause.recv_timeout(BEFORE);
            continue;
        }
        if !args.watch {
            return print(shown.as_bytes());
        }
        let clear = io::stdout().is_terminal() && !args.json;
        let mut out = io::stdout().lock();
        let begin = if clear { CLEAR } else { "" };
        if write!(out, "{begin}{shown}")
            .and_then(|()| out.flush())
            .is_err()
        {
            // Whoever read this has gone.
            return ExitStatus::Done.into();
        }
        drop(out);
        // Nobody ever sends: this only waits, until a signal ends the process.
        if pause.recv_timeout(EVERY) == Err(RecvTimeoutError::Disconnected) {
            return ExitStatus::Internal.into();
        }
    }
}

/// A daemon that listens everywhere is asked at the loopback address.
fn reachable(address: SocketAddr) -> SocketAddr {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// The body of `/status`. With HTTP 1.0 it ends with the connection, and comes in one piece.
fn ask(address: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    write!(
        connection,
        "GET /status HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    connection.take(LARGEST).read_to_string(&mut answer)?;
    body(&answer).map(str::to_owned).map_err(io::Error::other)
}

fn body(answer: &str) -> Result<&str, String> {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or("it does not speak HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(body.trim_end()),
        _ => Err(format!("it says {line:?}")),
    }
}

/// Everything as tables; with an earlier status, also what came since.
fn show(status: &Value, before: Option<(Duration, &Value)>) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut shown = format!("logferry {}\n", text(&status["version"]));
    let rate = |kind: &str, name: &str, path: &str| {
        let lines = |status: &Value| status[kind][name].pointer(path)?.as_u64();
        let (passed, old) = before?;
        let came = lines(status)?.saturating_sub(lines(old)?);
        Some((came as f64 / passed.as_secs_f64()).round() as u64)
    };
    if let Some(inputs) = filled(&status["inputs"]) {
        let mut table = Table::new([
            ("INPUT", Align::Left),
            ("STATE", Align::Left),
            ("LINES/S", Align::Right),
            ("READ", Align::Right),
            ("ACKED", Align::Right),
            ("IN FLIGHT", Align::Right),
            ("ASTRAY", Align::Right),
            ("UNREAD BYTES", Align::Right),
            ("LOST BYTES", Align::Right),
            ("OLDEST", Align::Right),
            ("RESENT", Align::Right),
            ("REBUILDS", Align::Right),
            ("FILES", Align::Right),
        ]);
        for (name, input) in inputs {
            let books = &input["books"];
            let astray = ["dead_lettered", "dropped", "unconfirmed"]
                .iter()
                .filter_map(|entry| books[entry]["lines"].as_u64())
                .sum();
            let age = input["oldest_unread_seconds"]
                .as_f64()
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .map(|age| show_duration(Duration::from_millis(age.as_millis() as u64)));
            table.push([
                name.clone(),
                text(&input["state"]),
                number(rate("inputs", name, "/books/read/lines")),
                number(books["read"]["lines"].as_u64()),
                number(books["acked"]["lines"].as_u64()),
                number(books["in_flight"]["lines"].as_u64()),
                number(Some(astray)),
                number(books["unread"]["bytes"].as_u64()),
                number(books["lost"]["bytes"].as_u64()),
                age.unwrap_or_else(|| "-".into()),
                number(input["resent"].as_u64()),
                number(input["rebuilds"].as_u64()),
                number(input["files"].as_u64()),
            ]);
        }
        shown.push('\n');
        shown.push_str(&table.show());
    }
    if let Some(outputs) = filled(&status["outputs"]) {
        let mut table = Table::new([
            ("OUTPUT", Align::Left),
            ("STATE", Align::Left),
            ("LINES/S", Align::Right),
            ("CONSUMED", Align::Right),
            ("WRITTEN", Align::Right),
            ("COMMITTED", Align::Right),
            ("REFUSED", Align::Right),
            ("SKIPPED", Align::Right),
            ("LAG", Align::Right),
            ("PARTITIONS", Align::Right),
        ]);
        for (name, output) in outputs {
            table.push([
                name.clone(),
                text(&output["state"]),
                number(rate("outputs", name, "/written/lines")),
                number(output["consumed"]["lines"].as_u64()),
                number(output["written"]["lines"].as_u64()),
                number(output["committed"]["lines"].as_u64()),
                number(output["refused"].as_u64()),
                number(output["skipped"].as_u64()),
                number(output["total_lag"].as_u64()),
                number(output["assigned"].as_u64()),
            ]);
        }
        shown.push('\n');
        shown.push_str(&table.show());
    }
    shown
}

fn filled(value: &Value) -> Option<&Map<String, Value>> {
    value.as_object().filter(|map| !map.is_empty())
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Snapshot, sample, status_json};

    fn column(shown: &str, row: &str, name: &str) -> String {
        let lines: Vec<&str> = shown.lines().collect();
        let at = lines.iter().position(|line| line.starts_with(row)).unwrap();
        let head = lines[..at]
            .iter()
            .rfind(|line| line.starts_with("INPUT") || line.starts_with("OUTPUT"))
            .unwrap();
        let end = head.find(name).unwrap() + name.len();
        let cells = lines[at].get(..end).unwrap_or(lines[at]);
        cells.split_whitespace().last().unwrap().to_owned()
    }

    #[test]
    fn every_pipeline_has_a_row_with_its_books() {
        let status = status_json(&sample::snapshot());
        let shown = show(&status, None);
        for (row, name, cell) in [
            ("nginx", "LINES/S", "-"),
            ("nginx", " READ", "100"),
            ("nginx", "ACKED", "80"),
            ("nginx", "ASTRAY", "8"),
            ("nginx", "UNREAD BYTES", "5"),
            ("nginx", "LOST BYTES", "7"),
            ("nginx", "OLDEST", "1s500ms"),
            ("nginx", "RESENT", "6"),
            ("pipe", "OLDEST", "-"),
            ("archive", "LAG", "11"),
            ("archive", "WRITTEN", "40"),
        ] {
            assert_eq!(column(&shown, row, name), cell, "{row} {name}\n{shown}");
        }
    }

    #[test]
    fn the_rate_is_what_came_in_the_time_between() {
        let mut snapshot = sample::snapshot();
        let before = status_json(&snapshot);
        snapshot.inputs[0].read.lines += 500;
        let shown = show(
            &status_json(&snapshot),
            Some((Duration::from_secs(2), &before)),
        );
        assert_eq!(column(&shown, "nginx", "LINES/S"), "250");
        // A daemon that was started anew counts from nothing.
        let shown = show(&status_json(&Snapshot::default()), Some((EVERY, &before)));
        assert_eq!(shown.lines().count(), 1);
    }

    #[test]
    fn an_answer_that_is_not_one_is_told() {
        assert_eq!(body("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}\n"), Ok("{}"));
        let why = body("HTTP/1.0 404 Not Found\r\n\r\nx").unwrap_err();
        assert_eq!(why, "it says \"HTTP/1.0 404 Not Found\"");
        assert!(body("SSH-2.0\n").is_err());
    }

    #[test]
    fn a_daemon_that_listens_everywhere_is_asked_here() {
        let text = |address: &str| reachable(address.parse().unwrap()).to_string();
        assert_eq!(text("0.0.0.0:9470"), "127.0.0.1:9470");
        assert_eq!(text("[::]:9470"), "[::1]:9470");
        assert_eq!(text("10.0.0.7:9470"), "10.0.0.7:9470");
    }
}
