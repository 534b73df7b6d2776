//! Senders of syslog that are many, slow, wrong or strangers: each harms nobody but itself.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::{judge, line};
use crate::support::scene::{
    LONG, Scene, balanced, books, caught_up, nowhere, powerless, said, skip, try_status,
};
use crate::support::{free_ports, on_path};

/// An input whose `from:` has this besides its type.
fn yaml(scene: &Scene, brokers: &str, from: &str, to: &str) -> String {
    let input =
        format!("inputs:\n  syslog:\n    from: {{ type: syslog, {from} }}\n    to: {{ {to} }}\n");
    scene.yaml(brokers, &input)
}

fn connect(port: u16) -> TcpStream {
    eventually(LONG, "it listens", || {
        TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())
    })
}

fn read_lines(daemon: &Daemon, lines: u64) {
    eventually(LONG, "everything is read", || {
        let books = books(daemon, "syslog")?;
        assert!(balanced(&books), "{books}");
        match books["read"]["lines"].as_u64() == Some(lines) {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
}

#[test]
fn a_thousand_slow_senders_of_long_frames_take_little_memory() {
    const SENDERS: usize = 1000;
    const PIECE: usize = 64 << 10;
    let scene = Scene::new();
    let [port] = free_ports();
    let from =
        format!("listen: [\"tcp://127.0.0.1:{port}\"], max_line: {{ size: 64KiB, policy: drop }}");
    let daemon = scene
        .launch(&yaml(&scene, &nowhere(), &from, "topic: t"))
        .start();
    let mut senders: Vec<TcpStream> = (0..SENDERS).map(|_| connect(port)).collect();
    let before = daemon.rss_kib().peak;
    // A frame of a megabyte each, a piece at a time: all are in the middle of theirs at once.
    let piece = vec![b'x'; PIECE];
    for round in 0..16 {
        for sender in &mut senders {
            let piece = &piece[..if round == 0 { PIECE - 1 } else { PIECE }];
            sender.write_all(piece).unwrap();
        }
    }
    for sender in &mut senders {
        sender.write_all(b"\n<13>short\n").unwrap();
    }
    read_lines(&daemon, 2 * SENDERS as u64);
    let dropped = books(&daemon, "syslog").unwrap()["dropped"]["by"]["line_too_long"].clone();
    assert_eq!(dropped["lines"], SENDERS, "{dropped}");
    // At most a message and a fourth of it per connection, of the gigabyte that came.
    let most = (SENDERS * PIECE * 5 / 4) as u64 / 1024 + 32 * 1024;
    let grown = daemon.rss_kib().peak - before;
    assert!(grown < most, "{grown} KiB of {most}");
}

#[test]
fn a_thousand_senders_that_come_at_once_find_room() {
    const SENDERS: usize = 1000;
    let scene = Scene::new();
    let [port] = free_ports();
    let from = format!("listen: [\"tcp://127.0.0.1:{port}\"]");
    let daemon = scene
        .launch(&yaml(&scene, &nowhere(), &from, "topic: t"))
        .start();
    drop(connect(port));
    // It does not accept meanwhile. One that finds no room would wait for a second and more, again and again.
    daemon.signal(Signal::STOP);
    let begun = Instant::now();
    let mut senders: Vec<TcpStream> = (0..SENDERS).map(|_| connect(port)).collect();
    assert!(begun.elapsed() < Duration::from_secs(2));
    daemon.signal(Signal::CONT);
    for sender in &mut senders {
        sender.write_all(b"<13>x\n").unwrap();
    }
    read_lines(&daemon, SENDERS as u64);
}

#[test]
fn wrong_connections_are_closed_said_once_and_counted_and_the_others_go_on() {
    let scene = Scene::new();
    let [plain, tls] = free_ports();
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(scene.path("cert.pem"), own.cert.pem()).unwrap();
    fs::write(scene.path("key.pem"), own.signing_key.serialize_pem()).unwrap();
    let from = format!(
        "listen: [\"tcp://127.0.0.1:{plain}\", \"tls://127.0.0.1:{tls}\"], framing: octet, tls: {{ cert_file: DIR/cert.pem, key_file: DIR/key.pem }}"
    );
    let daemon = scene
        .launch(&yaml(&scene, &nowhere(), &from, "topic: t"))
        .start();
    let mut healthy = connect(plain);
    healthy.write_all(b"4 <1>a6 <1").unwrap();
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
    let faults: [(u16, &[u8]); 5] = [
        (plain, b"<13>no length\n"),
        (plain, b"0 <13>"),
        (plain, b"99999999999999999999"),
        (plain, hello),
        (tls, b"<13>no TLS, though it was asked for\n"),
    ];
    for (port, bytes) in faults.iter().cycle().take(15) {
        let mut wrong = connect(*port);
        wrong.write_all(bytes).unwrap();
        // It is closed, perhaps with an alert before that.
        let ended = std::iter::from_fn(|| match wrong.read(&mut [0; 64]) {
            Ok(0) => None,
            Ok(_) => Some(()),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                None
            }
        });
        assert!(ended.count() <= 1);
    }
    healthy.write_all(b">bcd").unwrap();
    // Those of TLS had nothing that could be counted as a message.
    read_lines(&daemon, 2 + 12);
    let status = try_status(&daemon).unwrap()["inputs"]["syslog"].clone();
    assert_eq!(status["syslog"]["broken"], 15, "{status}");
    assert_eq!(status["syslog"]["connections"], 1, "{status}");
    assert_eq!(status["books"]["dropped"]["by"]["framing"]["lines"], 12);
    for (words, listener) in [
        ("has its length before it", plain),
        ("it speaks TLS", plain),
        ("TLS failed", tls),
    ] {
        let said: Vec<_> = said(&daemon)
            .into_iter()
            .filter(|said| said.message.contains(words))
            .collect();
        assert_eq!(said.len(), 1, "{words}: {}", daemon.stderr());
        assert_eq!(said[0].level, "warn");
        assert!(said[0].text.contains(&listener.to_string()));
    }
}

#[test]
fn openssl_sends_with_a_certificate_and_is_turned_away_without_one() {
    if !on_path("openssl") {
        return skip("listeners", "there is no openssl(1)");
    }
    let scene = Scene::new();
    let [port] = free_ports();
    for name in ["server", "client"] {
        let own = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(scene.path(&format!("{name}.pem")), own.cert.pem()).unwrap();
        let key = own.signing_key.serialize_pem();
        fs::write(scene.path(&format!("{name}.key")), key).unwrap();
    }
    let from = format!(
        "listen: [\"tls://127.0.0.1:{port}\"], tls: {{ cert_file: DIR/server.pem, key_file: DIR/server.key, client_ca_file: DIR/client.pem }}"
    );
    let daemon = scene
        .launch(&yaml(&scene, &nowhere(), &from, "topic: t"))
        .start();
    drop(connect(port));
    let send = |with: &[&str], text: &[u8]| {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-no_ign_eof", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .args(with)
            .current_dir(scene.folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = client.stdin.take().unwrap();
        // A client that was turned away may be gone before.
        let _ = stdin.write_all(text);
        drop(stdin);
        client.wait().unwrap();
    };
    send(&[], b"<13>stranger\n");
    send(
        &["-cert", "client.pem", "-key", "client.key"],
        b"<13>known\n5 <1>ab",
    );
    read_lines(&daemon, 2);
    let status = try_status(&daemon).unwrap()["inputs"]["syslog"].clone();
    assert_eq!(status["syslog"]["broken"], 1, "{status}");
}

#[test]
fn a_receive_buffer_that_the_kernel_does_not_give_is_told_once() {
    let Some(before) = powerless() else {
        return skip("listeners", "root cannot give up its powers here");
    };
    let scene = Scene::new();
    let [udp, other] = free_ports();
    let from = format!(
        "listen: [\"udp://127.0.0.1:{udp}\", \"udp://127.0.0.1:{other}\"], receive_buffer: 1GiB, workers: 2"
    );
    let yaml = yaml(&scene, &nowhere(), &from, "topic: t");
    let daemon = scene.launch(&yaml).under(&before).start();
    eventually(LONG, "it listens", || try_status(&daemon).map(drop));
    let said: Vec<_> = said(&daemon)
        .into_iter()
        .filter(|said| said.message.contains("net.core.rmem_max=1073741824"))
        .collect();
    assert_eq!(said.len(), 1, "{}", daemon.stderr());
    assert_eq!(said[0].level, "warn");
}

/// How many threads the daemon's input has.
fn workers(daemon: &Daemon) -> usize {
    let tasks = format!("/proc/{}/task", daemon.pid().as_raw_nonzero());
    let names = fs::read_dir(tasks).unwrap().filter_map(|task| {
        let name = fs::read_to_string(task.ok()?.path().join("comm")).ok()?;
        name.trim().ends_with("-syslog").then_some(name)
    });
    names.count()
}

#[test]
fn several_workers_take_everything_that_all_senders_send_in_its_order() {
    const LINES: u64 = 5_000;
    const LENGTH: usize = 100;
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let [udp, tcp] = free_ports();
    let topic = kafka.topic("workers", 1);
    let from = format!(
        "listen: [\"udp://127.0.0.1:{udp}\", \"tcp://127.0.0.1:{tcp}\", \"unix+stream://DIR/log\"], workers: 4"
    );
    let to = format!("topic: {topic}");
    let mut daemon = scene
        .launch(&yaml(&scene, kafka.brokers(), &from, &to))
        .start();
    daemon.wait_ready(LONG);
    assert_eq!(workers(&daemon), 4);
    let names: Vec<String> = (0..12).map(|at| format!("s{at}")).collect();
    let mut senders: Vec<_> = names.iter().map(|_| connect(tcp)).collect();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut bytes = Vec::new();
    for from in (0..LINES).step_by(100) {
        for (name, sender) in names.iter().zip(&mut senders) {
            bytes.clear();
            (from..from + 100).for_each(|number| line(&mut bytes, name, number, LENGTH));
            sender.write_all(&bytes).unwrap();
        }
        bytes.clear();
        line(&mut bytes, "u", from / 100, LENGTH);
        datagrams.send_to(&bytes, ("127.0.0.1", udp)).unwrap();
    }
    let count = LINES * names.len() as u64 + LINES / 100;
    eventually(LONG, "everything is delivered", || {
        let books = books(&daemon, "syslog")?;
        assert!(balanced(&books), "{books}");
        match books["acked"]["lines"].as_u64() == Some(count) {
            true => caught_up(&daemon, "syslog"),
            false => Err(books.to_string()),
        }
    });
    let status = try_status(&daemon).unwrap()["inputs"]["syslog"]["syslog"].clone();
    assert_eq!(status["connections"], names.len(), "{status}");
    let socket = &status["sockets"][0];
    assert_eq!(socket["socket"], format!("udp://127.0.0.1:{udp}"));
    assert!(socket["receive_buffer"].as_u64() > Some(0), "{status}");
    let metrics = daemon.get("/metrics").unwrap().1;
    let drops = format!(
        "logferry_input_kernel_dropped_datagrams_total{{input=\"syslog\",socket=\"udp://127.0.0.1:{udp}\"}} 0"
    );
    assert!(metrics.contains(&drops), "{metrics}");
    // What connected senders send last is read before the end.
    for (name, sender) in names.iter().zip(&mut senders) {
        bytes.clear();
        line(&mut bytes, name, LINES, LENGTH);
        sender.write_all(&bytes).unwrap();
    }
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let values = kafka.read_values(&topic);
    for name in &names {
        let findings = judge(&values, name, LENGTH, 0..LINES + 1);
        assert!(findings.is_exactly_once(), "{name}: {findings}");
    }
    let findings = judge(&values, "u", LENGTH, 0..LINES / 100);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn when_a_worker_cannot_go_on_the_others_end_too() {
    let scene = Scene::new();
    let [port] = free_ports();
    let from = format!("listen: [\"tcp://127.0.0.1:{port}\"], workers: 3");
    let to = "topic: \"{syslog.app_name}\", on_refused: stop";
    let daemon = scene.launch(&yaml(&scene, &nowhere(), &from, to)).start();
    let mut sender = connect(port);
    sender.write_all(b"<13>a/b: no topic\n").unwrap();
    sender.shutdown(Shutdown::Write).unwrap();
    eventually(
        LONG,
        "nobody listens any more",
        || match TcpStream::connect(("127.0.0.1", port)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    let status = try_status(&daemon).unwrap()["inputs"]["syslog"].clone();
    assert_eq!(status["state"], "failed", "{status}");
}
