//! What was accepted and not delivered waits on disk: through kills, outages, stops, and until there is no room.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::free_ports;
use crate::support::kafka::RealKafka;
use crate::support::lines::{judge, line};
use crate::support::scene::{Dice, LONG, Scene, balanced, books, nowhere, try_status, turn};

const LENGTH: usize = 200;

fn yaml(scene: &Scene, brokers: &str, topic: &str, [udp, tcp]: [u16; 2], spool: &str) -> String {
    scene.yaml(
        brokers,
        &format!(
            "buffer: {{ memory: 8MiB }}\nshutdown: {{ timeout: 3s }}\ninputs:\n  in:\n    from:\n      type: syslog\n      listen: [udp://127.0.0.1:{udp}, tcp://127.0.0.1:{tcp}]\n      receive_buffer: null\n      spool: {{ {spool} }}\n    to: {{ topic: {topic} }}\n"
        ),
    )
}

fn lines(books: &Value, name: &str) -> u64 {
    books[name]["lines"].as_u64().unwrap()
}

/// Everything that was read is acknowledged.
fn delivered(daemon: &Daemon) {
    eventually(LONG, "the spool is empty", || {
        let books = books(daemon, "in")?;
        assert!(balanced(&books), "{books}");
        match lines(&books, "read") > 0 && lines(&books, "read") == lines(&books, "acked") {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
}

/// Sends numbered lines until it has sent all, or until nobody takes them.
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
fn send(port: u16, name: &str, count: u64, pace: Duration) -> JoinHandle<u64> {
    let name = name.to_owned();
    let mut stream = eventually(LONG, "it listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        for number in 0..count {
            line(&mut bytes, &name, number, LENGTH);
            if bytes.len() >= 20_000 || number + 1 == count {
                if stream.write_all(&bytes).is_err() {
                    return number;
                }
                bytes.clear();
                pause(pace);
            }
        }
        count
    })
}

#[test]
fn nothing_that_was_accepted_is_missing_after_twelve_kills() {
    const LINES: u64 = 100_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::private() else {
        return;
    };
    let (scene, mut dice) = (Scene::new(), Dice::new());
    let topic = kafka.topic("kills", 1);
    let ports = free_ports();
    let yaml = yaml(&scene, kafka.brokers(), &topic, ports, "max_size: 64MiB");
    let mut accepted = Vec::new();
    for life in 0..12 {
        // Every third one finds no Kafka.
        if life % 3 == 1 {
            kafka.stop_process();
        }
        let mut daemon = scene.launch(&yaml).start();
        let sender = send(
            ports[1],
            &format!("s{life}"),
            LINES,
            Duration::from_millis(1),
        );
        let wanted = dice.between(1, 8_000);
        let seen = eventually(LONG, "lines are accepted", || {
            let status = try_status(&daemon)?["inputs"]["in"].clone();
            assert!(balanced(&status["books"]), "{status}");
            let own = lines(&status["books"], "read") - lines(&status["spool"], "found");
            match own >= wanted {
                true => Ok(own),
                false => Err(status.to_string()),
            }
        });
        daemon.sigkill();
        assert!(sender.join().unwrap() >= seen);
        accepted.push(seen);
        if life % 3 == 1 {
            kafka.cont_process();
        }
    }
    let mut daemon = scene.launch(&yaml).start();
    daemon.wait_ready(LONG);
    delivered(&daemon);
    let status = try_status(&daemon).unwrap()["inputs"]["in"]["spool"].clone();
    assert_eq!(status["damaged_segments"], 0, "{status}");
    assert_eq!(status["bytes"], 0, "{status}");
    let values = kafka.read_values(&topic);
    for (life, accepted) in accepted.into_iter().enumerate() {
        let findings = judge(&values, &format!("s{life}"), LENGTH, 0..LINES);
        assert_eq!((findings.foreign, findings.out_of_order), (0, 0), "{life}");
        let first = findings.missing.first().copied().unwrap_or(LINES);
        assert!(
            first >= accepted,
            "{life}: {first} is missing of {accepted}"
        );
        // What is missing was not accepted, and nothing after it was.
        let rest = first..LINES;
        assert!(
            rest.eq(findings.missing.iter().copied()),
            "{life}: {findings}"
        );
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
}

#[test]
fn an_outage_of_twenty_seconds_under_load_fills_the_spool_and_no_memory() {
    const LINES: u64 = 200_000;
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    for mode in ["always", "overflow"] {
        let scene = Scene::new();
        let (topic, ports) = (kafka.topic("outage", 1), free_ports());
        let spool = format!("mode: {mode}");
        let yaml = yaml(&scene, kafka.brokers(), &topic, ports, &spool);
        let mut daemon = scene.launch(&yaml).start();
        daemon.wait_ready(LONG);
        let sender = send(ports[1], "o", LINES, Duration::from_millis(10));
        eventually(LONG, "lines move", || kafka.written(&topic) > 0);
        kafka.kill();
        let begun = Instant::now();
        let before = lines(&books(&daemon, "in").unwrap(), "read");
        let mut spooled = 0;
        while begun.elapsed() < Duration::from_secs(20) {
            let status = try_status(&daemon).unwrap()["inputs"]["in"].clone();
            assert!(balanced(&status["books"]), "{status}");
            spooled = spooled.max(lines(&status["books"], "spooled"));
            pause(Duration::from_millis(200));
        }
        let after = lines(&books(&daemon, "in").unwrap(), "read");
        assert!(after > before + 20_000, "{mode}: only {before} to {after}");
        assert!(spooled > 10_000, "{mode}: {spooled}");
        // 8 MiB of buffers, librdkafka, and the program.
        let peak = daemon.rss_kib().peak;
        assert!(peak < 150 * 1024, "{mode}: {peak} KiB");
        kafka.restart();
        assert_eq!(sender.join().unwrap(), LINES);
        eventually(LONG, "everything is delivered", || {
            let books = books(&daemon, "in")?;
            match lines(&books, "acked") == LINES {
                true => Ok(()),
                false => Err(books.to_string()),
            }
        });
        let findings = judge(kafka.read_values(&topic), "o", LENGTH, 0..LINES);
        assert!(findings.is_at_least_once(), "{mode}: {findings}");
        daemon.sigterm();
        assert_eq!(daemon.wait_code(LONG), 0);
    }
}

#[test]
fn with_a_full_spool_streams_wait_and_datagrams_are_counted() {
    const LINES: u64 = 60_000;
    const DATAGRAMS: u64 = 3_000;
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let (topic, ports) = (kafka.topic("full", 1), free_ports());
    let yaml = yaml(&scene, kafka.brokers(), &topic, ports, "max_size: 1MiB");
    let daemon = scene.launch(&yaml).start();
    daemon.wait_ready(LONG);
    kafka.kill();
    let sender = send(ports[1], "f", LINES, Duration::ZERO);
    let mut before = 0;
    eventually(LONG, "the input stands still", || {
        let status = try_status(&daemon)?["inputs"]["in"].clone();
        let read = lines(&status["books"], "read");
        let size = status["spool"]["bytes"].as_u64().unwrap();
        assert!(size < (1 << 20) + 4096, "{status}");
        let stands = read == before && size > 700_000;
        before = read;
        pause(Duration::from_millis(500));
        if stands {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    assert!(before < LINES && !sender.is_finished());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0;
    let mut datagram = |count: u64| {
        for _ in 0..count {
            let mut bytes = Vec::new();
            line(&mut bytes, "u", sent, 1000);
            socket.send_to(&bytes, ("127.0.0.1", ports[0])).unwrap();
            sent += 1;
        }
        sent
    };
    datagram(DATAGRAMS);
    kafka.restart();
    assert_eq!(sender.join().unwrap(), LINES);
    eventually(LONG, "every datagram is delivered or counted", || {
        // The kernel tells of its drops with the next datagram.
        let sent = datagram(1);
        let status = try_status(&daemon)?["inputs"]["in"].clone();
        let drops = status["syslog"]["kernel_drops"].as_u64().unwrap();
        let read = lines(&status["books"], "read");
        pause(Duration::from_millis(100));
        match drops > 0 && read + drops + 1 >= LINES + sent {
            true => Ok(()),
            false => Err(status.to_string()),
        }
    });
    delivered(&daemon);
    let findings = judge(kafka.read_values(&topic), "f", LENGTH, 0..LINES);
    assert!(findings.is_at_least_once(), "{findings}");
}

#[test]
fn a_stop_during_an_outage_ends_with_0_and_the_next_start_delivers() {
    const LINES: u64 = 5_000;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let (topic, ports) = (kafka.topic("stop", 1), free_ports());
    let away = yaml(&scene, &nowhere(), &topic, ports, "sync: always");
    let mut daemon = scene.launch(&away).start();
    let sender = send(ports[1], "w", LINES, Duration::ZERO);
    eventually(LONG, "everything is accepted", || {
        let books = books(&daemon, "in")?;
        match lines(&books, "read") == LINES {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
    sender.join().unwrap();
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0, "{}", daemon.stderr());
    let back = yaml(&scene, kafka.brokers(), &topic, ports, "sync: always");
    let mut daemon = scene.launch(&back).start();
    delivered(&daemon);
    let status = try_status(&daemon).unwrap();
    assert_eq!(status["inputs"]["in"]["spool"]["found"]["lines"], LINES);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let findings = judge(kafka.read_values(&topic), "w", LENGTH, 0..LINES);
    assert!(findings.is_exactly_once(), "{findings}");
    // What is delivered is not sent again.
    let daemon = scene.launch(&back).start();
    daemon.wait_ready(LONG);
    assert_eq!(lines(&books(&daemon, "in").unwrap(), "read"), 0);
}

#[test]
fn what_standard_input_brought_during_an_outage_is_delivered_by_the_next_run() {
    const LINES: u64 = 20_000;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("pipe", 1);
    let run = |brokers: &str, bytes: &[u8]| {
        let input = format!(
            "shutdown: {{ timeout: 2s }}\ninputs:\n  in:\n    from: {{ type: stdin, spool: {{ }} }}\n    to: {{ topic: {topic} }}\n"
        );
        let launch = scene.launch(&scene.yaml(brokers, &input));
        let mut daemon = launch.stdin(Stdio::piped()).start();
        daemon.stdin().write_all(bytes).unwrap();
        let code = daemon.wait_code(LONG);
        (code, daemon.stderr())
    };
    let mut bytes = Vec::new();
    (0..LINES).for_each(|number| line(&mut bytes, "p", number, LENGTH));
    let (code, said) = run(&nowhere(), &bytes);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&LINES.to_string()), "{said}");
    let (code, said) = run(kafka.brokers(), b"");
    assert_eq!(code, 0, "{said}");
    let findings = judge(kafka.read_values(&topic), "p", LENGTH, 0..LINES);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_spool_that_nobody_sends_any_more_is_told_of() {
    let scene = Scene::new();
    let ports = free_ports();
    let with = yaml(&scene, &nowhere(), "t", ports, "mode: always");
    let mut daemon = scene.launch(&with).start();
    send(ports[1], "x", 10, Duration::ZERO).join().unwrap();
    eventually(LONG, "it is accepted", || {
        let books = books(&daemon, "in")?;
        match lines(&books, "read") == 10 {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
    daemon.sigkill();
    let without = with.replace("      spool: { mode: always }\n", "");
    assert_ne!(without, with);
    let daemon = scene.launch(&without).start();
    eventually(LONG, "it says so", || {
        daemon
            .stderr()
            .contains("nobody sends what is in this spool")
    });
}
