//! Syslog into Kafka, with `logger` of util-linux and rsyslog as the senders that they are for most.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::{judge, line};
use crate::support::scene::{LONG, Scene, balanced, books, caught_up, skip, try_status, turn};
use crate::support::{free_ports, on_path};

/// A daemon that listens on every kind of socket; `to` is what its `to:` has.
fn yaml(scene: &Scene, brokers: &str, [udp, tcp]: [u16; 2], to: &str) -> String {
    scene.yaml(
        brokers,
        &format!(
            "inputs:\n  syslog:\n    from:\n      type: syslog\n      listen: [udp://127.0.0.1:{udp}, tcp://127.0.0.1:{tcp}, unix+stream://DIR/stream, unix+dgram://DIR/dgram]\n      mode: \"0600\"\n    to: {{ {to} }}\n"
        ),
    )
}

fn logger(arguments: &[&str]) {
    let status = Command::new("logger").args(arguments).status().unwrap();
    assert!(status.success(), "logger {arguments:?}");
}

fn acked(daemon: &Daemon, lines: u64) {
    eventually(LONG, "everything is delivered", || {
        let books = books(daemon, "syslog")?;
        match books["acked"]["lines"].as_u64() >= Some(lines) {
            true => caught_up(daemon, "syslog"),
            false => Err(books.to_string()),
        }
    });
}

#[test]
fn what_logger_sends_arrives_with_everything_it_says() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    if !on_path("logger") {
        return skip("syslog", "there is no logger(1)");
    }
    let scene = Scene::new();
    let ports = free_ports();
    let topic = kafka.topic("syslog-auth", 1);
    let prefix = topic.replacen("syslog-auth", "syslog-{syslog.facility}", 1);
    let to = format!(
        "topic: \"{prefix}\", key: \"{{syslog.app_name}}\", format: json, timestamp: event, headers: {{ severity: \"{{syslog.severity}}\" }}"
    );
    let mut daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), ports, &to))
        .start();
    daemon.wait_ready(LONG);
    let [udp, tcp] = ports.map(|port| port.to_string());
    let (stream, dgram) = (scene.path("stream"), scene.path("dgram"));
    let unix = [stream.to_str().unwrap(), dgram.to_str().unwrap()];
    let common = ["-p", "auth.crit", "-t", "app", "--id=77"];
    let send = |how: &[&str], text: &str| logger(&[&common[..], how, &[text]].concat());
    let server = ["-n", "127.0.0.1", "--rfc5424"];
    send(
        &[
            &server[..],
            &[
                "-d",
                "-P",
                &udp,
                "--msgid",
                "M1",
                "--sd-id",
                "zoo@123",
                "--sd-param",
                "tiger=\"hungry\"",
            ],
        ]
        .concat(),
        "udp",
    );
    send(&[&server[..], &["-T", "-P", &tcp]].concat(), "tcp");
    send(
        &[&server[..], &["-T", "-P", &tcp, "--octet-count"]].concat(),
        "counted",
    );
    send(&["-n", "127.0.0.1", "-T", "-P", &tcp, "--rfc3164"], "old");
    send(&["-u", unix[1], "--socket-errors=on"], "unix datagram");
    send(&["-u", unix[0], "--socket-errors=on"], "unix stream");
    acked(&daemon, 6);

    let records = kafka.read_all(&topic);
    let mut messages = Vec::new();
    for record in &records {
        let object: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        let syslog = &object["syslog"];
        assert_eq!(
            (&syslog["facility"], &syslog["severity"]),
            (&"auth".into(), &"crit".into()),
            "{object}"
        );
        assert_eq!(
            (&syslog["app_name"], &syslog["proc_id"]),
            (&"app".into(), &"77".into()),
            "{object}"
        );
        assert_eq!(record.key.as_deref(), Some(&b"app"[..]));
        assert!(object["event_time"].is_string(), "{object}");
        let message = object["message"].as_str().unwrap().to_owned();
        if message == "udp" {
            assert_eq!(syslog["structured_data"]["zoo@123"]["tiger"], "hungry");
            assert_eq!(
                (&syslog["msg_id"], &syslog["rfc"]),
                (&"M1".into(), &5424.into())
            );
            assert!(syslog["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
        }
        messages.push(message);
    }
    messages.sort();
    assert_eq!(
        messages,
        [
            "counted",
            "old",
            "tcp",
            "udp",
            "unix datagram",
            "unix stream"
        ]
    );
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert!(!stream.exists() && !dgram.exists());
}

/// Ends rsyslogd with the test, however that ends.
struct Rsyslog(Child);

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_rsyslog_forwards_arrives_in_its_order() {
    const LINES: usize = 2_000;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    if !on_path("rsyslogd") {
        return skip("syslog", "there is no rsyslogd(8)");
    }
    let scene = Scene::new();
    let ports = free_ports();
    let topic = kafka.topic("rsyslog", 1);
    let to = format!("topic: {topic}, format: json, key: \"{{syslog.app_name}}\"");
    let daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), ports, &to))
        .start();
    daemon.wait_ready(LONG);
    let lines: Vec<String> = (0..LINES)
        .map(|number| format!("line {number} of \u{e4} file"))
        .collect();
    fs::write(scene.path("logs/in.log"), lines.join("\n") + "\n").unwrap();
    fs::create_dir(scene.path("spool")).unwrap();
    let config = format!(
        "global(workDirectory=\"DIR/spool\")\nmodule(load=\"imfile\")\n\
         input(type=\"imfile\" File=\"DIR/logs/in.log\" Tag=\"app\" Severity=\"warning\" Facility=\"local3\")\n\
         action(type=\"omfwd\" Target=\"127.0.0.1\" Port=\"{}\" Protocol=\"tcp\" TCP_Framing=\"octet-counted\" Template=\"RSYSLOG_SyslogProtocol23Format\")\n",
        ports[1]
    );
    let folder = scene.folder().display().to_string();
    fs::write(scene.path("rsyslog.conf"), config.replace("DIR", &folder)).unwrap();
    let rsyslogd = Command::new("rsyslogd")
        .arg("-n")
        .arg("-f")
        .arg(scene.path("rsyslog.conf"))
        .arg("-i")
        .arg(scene.path("rsyslog.pid"))
        .spawn();
    let _rsyslogd = Rsyslog(rsyslogd.unwrap());
    let messages = eventually(LONG, "everything is delivered", || {
        acked(&daemon, LINES as u64);
        let mut messages = Vec::new();
        for record in kafka.read_all(&topic) {
            let object: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
            let syslog = &object["syslog"];
            // It reports on itself too.
            if syslog["facility"] != "local3" {
                continue;
            }
            assert_eq!(syslog["severity"], "warning", "{object}");
            assert_eq!(syslog["rfc"], 5424, "{object}");
            assert_eq!(record.key.as_deref(), Some(&b"app"[..]));
            messages.push(object["message"].as_str().unwrap().trim_start().to_owned());
        }
        match messages.len() >= LINES {
            true => Ok(messages),
            false => Err(format!("{} messages", messages.len())),
        }
    });
    let differs = lines.iter().zip(&messages).find(|(line, got)| line != got);
    assert_eq!((messages.len(), differs), (LINES, None));
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
fn an_outage_of_twenty_seconds_under_load_slows_tcp_senders_and_loses_nothing() {
    const LINES: u64 = 300_000;
    const LENGTH: usize = 100;
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let ports = free_ports();
    let topic = kafka.topic("load", 1);
    let yaml = yaml(&scene, kafka.brokers(), ports, &format!("topic: {topic}"));
    let daemon = scene
        .launch(&format!("buffer: {{ memory: 4MiB }}\n{yaml}"))
        .start();
    daemon.wait_ready(LONG);
    let sender = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", ports[1])).unwrap();
        let mut bytes = Vec::new();
        for number in 0..LINES {
            line(&mut bytes, "s", number, LENGTH);
            if bytes.len() > 1 << 16 || number + 1 == LINES {
                stream.write_all(&bytes).unwrap();
                bytes.clear();
            }
        }
    });
    eventually(LONG, "lines move", || kafka.written(&topic) > 0);
    kafka.kill();
    let begun = Instant::now();
    let (code, mut before) = (daemon.get("/live").unwrap().0, 0);
    assert_eq!(code, 200);
    eventually(LONG, "the input stands still", || {
        let read = books(&daemon, "syslog")?["read"]["lines"].as_u64().unwrap();
        let stands = read == before;
        before = read;
        crate::support::eventually::pause(Duration::from_millis(500));
        if stands {
            Ok(())
        } else {
            Err(format!("{read} lines"))
        }
    });
    while begun.elapsed() < Duration::from_secs(20) {
        let books = books(&daemon, "syslog").unwrap();
        assert!(balanced(&books), "{books}");
        assert_eq!(books["read"]["lines"], before);
        assert!(!sender.is_finished());
        crate::support::eventually::pause(Duration::from_millis(500));
    }
    kafka.restart();
    sender.join().unwrap();
    acked(&daemon, LINES);
    let findings = judge(kafka.read_values(&topic), "s", LENGTH, 0..LINES);
    assert!(findings.is_at_least_once(), "{findings}");
}

#[test]
fn a_stop_delivers_what_connected_senders_have_sent() {
    const LINES: u64 = 20_000;
    const LENGTH: usize = 100;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let ports = free_ports();
    let topic = kafka.topic("stop", 1);
    let yaml = yaml(&scene, kafka.brokers(), ports, &format!("topic: {topic}"));
    let mut daemon = scene.launch(&yaml).start();
    daemon.wait_ready(LONG);
    let mut senders = Vec::new();
    for name in ["a", "b", "c"] {
        let mut stream = TcpStream::connect(("127.0.0.1", ports[1])).unwrap();
        let mut bytes = Vec::new();
        for number in 0..LINES {
            line(&mut bytes, name, number, LENGTH);
        }
        stream.write_all(&bytes).unwrap();
        // It stays connected.
        senders.push(stream);
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    for name in ["a", "b", "c"] {
        let findings = judge(kafka.read_values(&topic), name, LENGTH, 0..LINES);
        assert!(findings.is_exactly_once(), "{name}: {findings}");
    }
    drop(senders);
}

#[test]
fn a_unix_socket_is_taken_over_from_the_dead_and_not_from_the_living() {
    let scene = Scene::new();
    let other = Scene::new();
    let (nobody, to) = (crate::support::scene::nowhere(), "topic: t");
    let mut first = scene
        .launch(&yaml(&scene, &nobody, free_ports(), to))
        .start();
    eventually(LONG, "it listens", || try_status(&first).map(drop));
    let folder = |scene: &Scene| scene.folder().display().to_string();
    let own = format!("{}/state", folder(&other));
    let rival = yaml(&other, &nobody, free_ports(), to)
        .replace(&folder(&other), &folder(&scene))
        .replace(&format!("{}/state", folder(&scene)), &own);
    let mut second = other.launch(&rival).start();
    assert_ne!(second.wait_code(LONG), 0);
    assert!(
        second.stderr().contains("another process listens there"),
        "{}",
        second.stderr()
    );
    assert!(scene.path("stream").exists());
    first.sigkill();
    assert!(scene.path("stream").exists());
    let third = other.launch(&rival).start();
    eventually(LONG, "it listens", || try_status(&third).map(drop));
}

#[test]
fn sockets_that_the_service_manager_opened_are_taken_over() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let program = "systemd-socket-activate";
    if !on_path(program) {
        return skip("syslog", "there is no systemd-socket-activate(1)");
    }
    let scene = Scene::new();
    let [port] = free_ports();
    let address = format!("127.0.0.1:{port}");
    let topic = kafka.topic("activated", 1);
    let input = format!(
        "inputs:\n  syslog: {{ from: {{ type: syslog, listen: systemd }}, to: {{ topic: {topic} }} }}\n"
    );
    let yaml = scene.yaml(kafka.brokers(), &input);
    let mut daemon = scene
        .launch(&yaml)
        .under(&[program, "-l", &address])
        .start();
    // The first connection makes it start the daemon.
    let mut stream = eventually(LONG, "it listens", || {
        TcpStream::connect(&address).map_err(|error| error.to_string())
    });
    stream.write_all(b"<13>activated\n").unwrap();
    acked(&daemon, 1);
    assert_eq!(kafka.read_values(&topic), [b"<13>activated"]);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}
