//! The rows `syslog_udp`, `syslog_tcp` and `syslog_spool`: what a message from a socket costs, beside rsyslog doing the same.
//!
//! Messages have 300 bytes, are of RFC 5424 and have structured data. Datagrams come 50,000 a second, so that what the kernel drops shows;
//! connections bring as much as is taken; only beside a spool 100,000 a second, since it takes more than Kafka does, and what it reads back costs more.
//! What nobody can do without, taking datagrams from the kernel, is told beside it.
//! Senders run beside the broker. Processor time counts from the first message on, and is told per message
//! that arrived.

use std::fs::{self, File};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::contenders::{logferry_run, words, written, yaml};
use crate::judged::Judged;
use crate::measure::Figures;
use crate::support::daemon::{cpu_time, rss_kib};
use crate::support::eventually::pause;
use crate::support::free_ports;
use crate::table::{Table, median};
use crate::{Bench, bare, support};

const MESSAGE: usize = 300;
/// Datagrams a second.
const RATE: u64 = 50_000;
const CONNECTIONS: usize = 1000;
/// Without the broker a daemon needs no longer than this to listen.
const PATIENCE: Duration = Duration::from_secs(20);
/// When nothing arrived for so long, nothing more will.
const QUIET: Duration = Duration::from_secs(5);

/// What a contender is told.
struct Task<'a> {
    brokers: &'a str,
    topic: &'a str,
    port: u16,
    folder: &'a Path,
}

struct Case {
    name: &'static str,
    program: Option<&'static str>,
    command: fn(&Task<'_>) -> Vec<String>,
}

const UDP: [Case; 2] = [
    Case {
        name: "logferry, udp",
        program: None,
        command: |task| logferry(task, "udp", "", ""),
    },
    Case {
        name: "rsyslog imudp -> omkafka",
        program: Some("rsyslogd"),
        command: |task| {
            rsyslog(
                task,
                "module(load=\"imudp\" batchSize=\"128\")",
                "input(type=\"imudp\" Port=\"PORT\" Address=\"127.0.0.1\" ruleset=\"ship\" rcvbufSize=\"8m\")",
                "template(name=\"line\" type=\"string\" string=\"%rawmsg%\")",
            )
        },
    },
];

const TCP: [Case; 2] = [
    Case {
        name: "logferry, tcp, json",
        program: None,
        command: |task| logferry(task, "tcp", ", max_connections: 2000", ", format: json"),
    },
    Case {
        name: "rsyslog imtcp -> omkafka, json",
        program: Some("rsyslogd"),
        command: |task| {
            rsyslog(
                task,
                "module(load=\"imtcp\" MaxSessions=\"2000\")",
                "input(type=\"imtcp\" Port=\"PORT\" Address=\"127.0.0.1\" ruleset=\"ship\")",
                JSON,
            )
        },
    },
];

/// What our JSON has, as far as rsyslog knows it.
const JSON: &str = r#"template(name="line" type="list" option.jsonf="on") {
  property(outname="message" name="msg" format="jsonf")
  property(outname="event_time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="read_time" name="timegenerated" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="$myhostname" format="jsonf")
  property(outname="input" name="inputname" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="hostname" name="hostname" format="jsonf")
  property(outname="app_name" name="app-name" format="jsonf")
  property(outname="proc_id" name="procid" format="jsonf")
  property(outname="msg_id" name="msgid" format="jsonf")
  property(outname="structured_data" name="structured-data" format="jsonf")
  property(outname="peer" name="fromhost-ip" format="jsonf")
}"#;

const SPOOL: [Case; 2] = [
    Case {
        name: "without a spool",
        program: None,
        command: |task| logferry(task, "tcp", "", ""),
    },
    Case {
        name: "spool: { mode: always, sync: none }",
        program: None,
        command: |task| logferry(task, "tcp", ", spool: { mode: always, sync: none }", ""),
    },
];

/// How messages are sent; gives how many were.
type Load = fn(port: u16, count: u64) -> u64;

/// Datagrams, and what the kernel drops of them.
pub fn udp(bench: &Bench) {
    let title = "syslog: 50,000 datagrams/s -> Kafka";
    let (runs, lost) = all(bench, title, &UDP, datagrams, |port| listens("udp", port));
    let mut judged = Judged::new(title);
    beside(&mut judged, &runs, 1.0 / 3.0);
    for (case, lost) in UDP.iter().zip(lost) {
        let what = format!("{}: dropped by the kernel, of all runs", case.name);
        match case.program {
            None => judged.bound(&what, lost as f64, "datagrams", 0.0),
            Some(_) => judged.told(&what, lost as f64, "datagrams"),
        }
    }
    alone(bench, &mut judged, runs.get(1));
    println!("{}", judged.markdown());
}

/// What the kernel takes of it, whoever receives.
fn alone(bench: &Bench, judged: &mut Judged, rsyslog: Option<&Vec<f64>>) {
    let count = bench.options.lines.min(1_000_000);
    let runs = (0..bench.options.runs).map(|_| bare::receiving(bench, count, datagrams));
    let what = "received and thrown away: CPU per message";
    match runs.collect::<Result<Vec<f64>, String>>() {
        Ok(mut runs) => {
            let own = median(&mut runs).unwrap_or_default();
            judged.told(what, own, "ns");
            if let Some(other) = rsyslog.and_then(|runs| median(&mut runs.clone())) {
                judged.told(&format!("{what}, of rsyslog's"), own / other, "times");
            }
        }
        Err(why) => judged.failed(what, &why),
    }
}

/// A thousand connections, JSON.
pub fn tcp(bench: &Bench) {
    let title = "syslog: 1,000 connections -> Kafka, JSON";
    let (runs, _) = all(bench, title, &TCP, crowd, |port| listens("tcp", port));
    let mut judged = Judged::new(title);
    beside(&mut judged, &runs, 1.0 / 3.0);
    println!("{}", judged.markdown());
}

/// What writing everything down first costs.
pub fn spool(bench: &Bench) {
    let title = "syslog: 100,000 messages/s -> Kafka, with a spool";
    let (mut runs, _) = all(bench, title, &SPOOL, few, |port| listens("tcp", port));
    let mut judged = Judged::new(title);
    runs.reverse();
    beside(&mut judged, &runs, 1.3);
    println!("{}", judged.markdown());
}

/// The processor time per message of the first, as a part of the second's.
fn beside(judged: &mut Judged, runs: &[Vec<f64>], most: f64) {
    let each = |runs: &Vec<f64>| median(&mut runs.clone());
    match (runs.first().and_then(each), runs.get(1).and_then(each)) {
        (Some(one), Some(other)) => {
            judged.bound("CPU per message", one / other, "times", most);
        }
        (Some(one), None) => judged.told("CPU per message, alone", one, "ns"),
        (None, _) => judged.failed("CPU per message", "it has no figures"),
    }
}

/// Nanoseconds per message of each case's runs, and how many messages did not arrive.
fn all(
    bench: &Bench,
    title: &str,
    cases: &[Case],
    load: Load,
    listens: fn(u16) -> bool,
) -> (Vec<Vec<f64>>, Vec<u64>) {
    let count = bench.options.lines.min(1_000_000);
    let mut table = Table::new(title, cases.iter().map(|case| case.name));
    let (mut runs, mut lost) = (vec![Vec::new(); cases.len()], vec![0; cases.len()]);
    for _ in 0..bench.options.runs {
        for (at, case) in cases.iter().enumerate() {
            if case.program.is_some_and(|it| !support::on_path(it)) {
                continue;
            }
            let run = once(bench, case, load, count, listens);
            if let Ok((figures, arrived)) = &run {
                runs[at].push(figures.cpu.as_secs_f64() * 1e9 / *arrived as f64);
                lost[at] += count - arrived;
            }
            // What did not arrive costs nothing; the table divides by all.
            table.add(case.name, run.map(|(figures, _)| figures));
        }
    }
    println!("{}", table.markdown(count));
    (runs, lost)
}

#[allow(
    clippy::disallowed_methods,
    reason = "a benchmark waits for its own threads"
)]
fn once(
    bench: &Bench,
    case: &Case,
    load: Load,
    count: u64,
    listens: fn(u16) -> bool,
) -> Result<(Figures, u64), String> {
    let (folder, topic) = (support::temp_dir(), bench.topic());
    let [port] = free_ports();
    let words = (case.command)(&Task {
        brokers: bench.kafka.brokers(),
        topic: &topic,
        port,
        folder: folder.path(),
    });
    let server = Server::start(bench, &words, folder.path())?;
    let deadline = Instant::now() + PATIENCE;
    while !listens(port) {
        if Instant::now() > deadline {
            return Err(format!(
                "it does not listen\n{}",
                server.said(folder.path())
            ));
        }
        pause(Duration::from_millis(20));
    }
    // What connecting to Kafka costs is not what messages cost.
    load(port, 1);
    let (mut begun, mut used, mut moved) = (Instant::now(), Duration::ZERO, Instant::now());
    let (mut arrived, mut is_warm) = (0, false);
    let mut sender = None;
    loop {
        let now = bench.kafka.written(&topic);
        if !is_warm && now == 1 {
            is_warm = true;
            (begun, used) = (Instant::now(), server.cpu()?);
            let broker = bench.processors.broker.clone();
            sender = Some(std::thread::spawn(move || {
                crate::measure::pin_thread(broker.as_deref());
                load(port, count)
            }));
        }
        if now > arrived {
            (arrived, moved) = (now, Instant::now());
        }
        let is_sent = sender.as_ref().is_some_and(|sender| sender.is_finished());
        if arrived == count + 1 || (is_sent || !is_warm) && moved.elapsed() > QUIET {
            break;
        }
        pause(Duration::from_millis(50));
    }
    let figures = Figures {
        wall: moved - begun,
        cpu: server.cpu()? - used,
        peak_rss_kib: rss_kib(server.pid).map_or(0, |rss| rss.peak),
    };
    let said = server.said(folder.path());
    drop(server);
    bench.kafka.delete_topic(&topic);
    let sent = sender.map(|sender| sender.join().unwrap_or(0));
    match sent {
        Some(sent) if sent == count && arrived > 1 => Ok((figures, arrived - 1)),
        _ => Err(format!(
            "{sent:?} of {count} were sent, {arrived} arrived\n{said}"
        )),
    }
}

/// A contender that runs until it is dropped.
struct Server {
    child: Child,
    pid: Pid,
}

impl Server {
    fn start(bench: &Bench, words: &[String], folder: &Path) -> Result<Self, String> {
        let mut words = bench.processors.pin().into_iter().chain(words.to_vec());
        let said = File::create(folder.join("stderr")).map_err(|error| error.to_string())?;
        let child = Command::new(words.next().expect("a program"))
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(|error| error.to_string())?;
        let pid = Pid::from_child(&child);
        Ok(Self { child, pid })
    }

    fn cpu(&self) -> Result<Duration, String> {
        cpu_time(self.pid).ok_or_else(|| "its processor time is not known".to_owned())
    }

    fn said(&self, folder: &Path) -> String {
        fs::read_to_string(folder.join("stderr")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Whether somebody has bound the port, as the kernel's table has it.
fn listens(protocol: &str, port: u16) -> bool {
    let table = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
    let local = format!(":{port:04X}");
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (Some(address), Some(peer)) = (fields.next(), fields.next()) else {
            return false;
        };
        address.ends_with(&local) && peer.ends_with(":0000")
    })
}

/// The message with this number.
fn message(number: u64, out: &mut Vec<u8>) {
    let begin = out.len();
    write!(
        out,
        "<165>1 2026-11-21T07:00:00.000003Z host-{:02}.example.com app 8710 ID47 [meta@32473 sequenceId=\"{number}\" origin=\"bench\"] ",
        number % 100
    )
    .expect("writing to memory succeeds");
    out.resize(begin + MESSAGE, b'.');
}

fn datagrams(port: u16, count: u64) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(("127.0.0.1", port)).expect("an address");
    let (mut bytes, begun) = (Vec::new(), Instant::now());
    for number in 0..count {
        // A millisecond's worth at a time, as a busy network brings them.
        if number % (RATE / 1000) == 0 {
            let due = begun + Duration::from_millis(number * 1000 / RATE);
            pause(due.saturating_duration_since(Instant::now()));
        }
        bytes.clear();
        message(number, &mut bytes);
        if socket.send(&bytes).is_err() {
            return number;
        }
    }
    count
}

fn crowd(port: u16, count: u64) -> u64 {
    connections(port, count, CONNECTIONS, 4, None)
}

fn few(port: u16, count: u64) -> u64 {
    connections(port, count, 8, 50, Some(2 * RATE))
}

/// So many connections in turn, `burst` messages at a time, `rate` of them a second or as fast as they are taken.
fn connections(port: u16, count: u64, connections: usize, burst: u64, rate: Option<u64>) -> u64 {
    let connections = connections.min(usize::try_from(count).unwrap_or(1));
    let mut streams = Vec::new();
    for _ in 0..connections {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => streams.push(stream),
            Err(_) => return 0,
        }
    }
    let (mut bytes, mut number, begun) = (Vec::new(), 0, Instant::now());
    while number < count {
        for stream in &mut streams {
            if let Some(rate) = rate {
                let due = begun + Duration::from_micros(number * 1_000_000 / rate);
                pause(due.saturating_duration_since(Instant::now()));
            }
            let until = (number + burst).min(count);
            bytes.clear();
            for number in number..until {
                message(number, &mut bytes);
                bytes.push(b'\n');
            }
            if stream.write_all(&bytes).is_err() {
                return number;
            }
            number = until;
        }
    }
    count
}

fn logferry(task: &Task<'_>, scheme: &str, from: &str, to: &str) -> Vec<String> {
    let Task {
        brokers,
        topic,
        port,
        folder,
    } = task;
    let from = format!("type: syslog, listen: [\"{scheme}://127.0.0.1:{port}\"]{from}");
    let to = format!("topic: {topic}{to}");
    logferry_run(folder, &yaml(brokers, folder, "inputs", &from, &to))
}

/// As tuned as where it reads files, and with its parser of RFC 5424 alone.
fn rsyslog(task: &Task<'_>, module: &str, input: &str, template: &str) -> Vec<String> {
    let Task {
        brokers,
        topic,
        port,
        folder,
    } = task;
    let config = format!(
        r#"global(workDirectory="{folder}" maxMessageSize="64k")
{module}
module(load="omkafka")
{template}
ruleset(name="ship" parser="rsyslog.rfc5424" queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="4096" queue.workerThreads="1") {{
  action(type="omkafka" broker=["{brokers}"] topic="{topic}" template="line" resubmitOnFailure="on" keepFailedMessages="on"
    topicConfParam=["request.required.acks=-1"]
    confParam=["queue.buffering.max.messages=500000", "queue.buffering.max.ms=50", "batch.num.messages=10000"])
}}
{input}
"#,
        folder = folder.display(),
        input = input.replace("PORT", &port.to_string())
    );
    let config = written(folder, "rsyslog.conf", &config);
    let pid = folder.join("rsyslog.pid").display().to_string();
    words(&["rsyslogd", "-n", "-f", &config, "-i", &pid])
}
