//! The input on real sockets, with a reader in the producer's place.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use super::settings::{DressSettings, Listen, OnRefused, ServerTls, TimestampRange};
use super::*;
use crate::flow::{
    Arenas, Batch, Bell, Books, Budget, Outcome, Received, Receiver, Stop, Tracker, pipe,
};
use crate::input::dress::settings::Format;
use crate::input::frame::settings::{FilterSettings, LongLine, MaxLine};

/// How long something may take that has to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    topic: Option<String>,
    value: String,
    key: Option<String>,
    place: Option<String>,
    headers: Vec<String>,
    timestamp: Option<i64>,
}

struct Rig {
    folder: tempfile::TempDir,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: Option<SocketAddr>,
    thread: Option<JoinHandle<Result<Report, String>>>,
    receiver: Receiver<Batch>,
    bell: Arc<Bell>,
    stop: Stop,
    books: Arc<Books>,
    facts: Arc<SyslogFacts>,
    aside: Arc<Mutex<Vec<(String, String)>>>,
    sent: Vec<Sent>,
}

pub(super) fn settings() -> SyslogSettings {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    SyslogSettings {
        listen: vec![Listen::Udp(any), Listen::Tcp(any)],
        tls: None,
        framing: settings::Framing::Auto,
        protocol: settings::Protocol::Auto,
        time_zone: "UTC".into(),
        max_line: MaxLine {
            size: 1000,
            policy: LongLine::Split,
        },
        filter: FilterSettings::default(),
        max_connections: 2000,
        idle_timeout: None,
        receive_buffer: None,
        workers: 1,
        owner: None,
        filter_of: None,
        spool: None,
        mode: 0o600,
        dress: DressSettings {
            topic: "lines".into(),
            key: None,
            place: None,
            headers: vec![],
            format: Format::Raw,
            fields: vec![],
            timestamp: None,
            on_refused: OnRefused::DeadLetter,
            max_record: 1_000_000,
        },
    }
}

impl Rig {
    fn start(settings: SyslogSettings) -> Self {
        Self::with_memory(settings, 64 << 20)
    }

    fn with_memory(mut settings: SyslogSettings, memory: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        settings
            .listen
            .push(Listen::UnixStream(folder.path().join("stream")));
        settings
            .listen
            .push(Listen::UnixDatagram(folder.path().join("dgram")));
        let mut sockets = Sockets::open(&settings, vec![]).unwrap();
        let facts = Arc::new(SyslogFacts::of(Sockets::facts(&sockets)));
        let sockets = sockets.remove(0);
        let address = |is_tls: bool| {
            sockets.listeners.iter().find_map(|it| match &it.kind {
                ListenerKind::Tcp(socket) if !is_tls => socket.local_addr().ok(),
                ListenerKind::Tls(socket) if is_tls => socket.local_addr().ok(),
                _ => None,
            })
        };
        let udp = sockets.datagrams.iter().find_map(|it| match &it.kind {
            listen::DatagramKind::Udp(socket) => socket.local_addr().ok(),
            listen::DatagramKind::Unix(_) => None,
        });
        let (tcp, tls_address) = (address(false).unwrap(), address(true));
        let (ring, bell) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (sender, receiver) = pipe(2, bell.clone(), ring.clone());
        let books = Arc::new(Books::new());
        let stop = Stop::new();
        let aside: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let input = SyslogInput {
            id: "ferry".into(),
            host: "web-1".into(),
            name: "syslog".into(),
            worker: crate::flow::SourceId(0),
            tls: settings.tls.as_ref().map(|it| tls::config(it).unwrap()),
            zone: zone(&settings.time_zone).unwrap(),
            once: false,
            settings,
            sockets,
            facts: facts.clone(),
            ends: Ends {
                tracker: Arc::new(Tracker::new(books.clone())),
                share: Budget::split(memory, 1).1.remove(0),
                arenas: Arenas::new(2),
                sender: sender.into(),
                bell: ring,
                stop: stop.clone(),
            },
            set_aside: {
                let aside = aside.clone();
                Box::new(move |refused| {
                    let value = String::from_utf8_lossy(refused.value).into_owned();
                    aside.lock().unwrap().push((refused.code.to_owned(), value));
                    Ok(())
                })
            },
        };
        Self {
            folder,
            udp: udp.unwrap(),
            tcp,
            tls: tls_address,
            thread: Some(std::thread::spawn(move || run(input))),
            receiver,
            bell,
            stop,
            books,
            facts,
            aside,
            sent: vec![],
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn send_udp(&self, message: &[u8]) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(message, self.udp).unwrap();
        socket.local_addr().unwrap()
    }

    /// Takes one batch, if there is one.
    fn take(&mut self) -> bool {
        let batch = match self.receiver.try_recv() {
            Received::Item(batch) => batch,
            Received::Empty | Received::Closed => return false,
        };
        for run in &batch.runs {
            for record in run.records.start as usize..run.records.end as usize {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let extras = &batch.extras;
                let topic = extras.topics.get(record).map(|at| *at as usize);
                self.sent.push(Sent {
                    topic: topic.map(|at| extras.topic_names[at].to_string()),
                    value: String::from_utf8_lossy(batch.value(record)).into_owned(),
                    key: extras.key_of(record).map(text),
                    place: extras.place_of(record).map(text),
                    headers: extras
                        .headers_of(record)
                        .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), text(value)))
                        .collect(),
                    timestamp: batch.extras.timestamps.get(record).copied(),
                });
            }
        }
        let acked = batch.count();
        batch.receipt.settle(&Outcome {
            acked,
            ..Outcome::default()
        });
        true
    }

    fn until(&mut self, what: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !what(self) {
            assert!(
                Instant::now() < deadline,
                "it never came to be, with {} messages: {:?}",
                self.sent.len(),
                self.facts
            );
            if !self.take() {
                self.bell.wait(Duration::from_millis(20));
            }
        }
    }

    /// Waits for so many messages, and gives their values.
    fn values(&mut self, count: usize) -> Vec<String> {
        self.until(|rig| rig.sent.len() >= count);
        self.sent.iter().map(|sent| sent.value.clone()).collect()
    }

    /// Stops softly, and takes everything until the end.
    fn finish(&mut self) -> Report {
        self.stop.soften();
        self.until(|rig| rig.thread.as_ref().unwrap().is_finished());
        while self.take() {}
        self.thread.take().unwrap().join().unwrap().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.harden();
    }
}

#[test]
fn messages_come_through_every_kind_of_socket() {
    let mut rig = Rig::start(settings());
    rig.send_udp(b"<1>udp\n");
    TcpStream::connect(rig.tcp)
        .unwrap()
        .write_all(b"<1>tcp\n6 <1>len")
        .unwrap();
    UnixStream::connect(rig.path("stream"))
        .unwrap()
        .write_all(b"<1>unix stream")
        .unwrap();
    let datagram = UnixDatagram::unbound().unwrap();
    datagram
        .send_to(b"<1>unix\ndatagram\0", rig.path("dgram"))
        .unwrap();
    let mut values = rig.values(5);
    values.sort();
    assert_eq!(
        values,
        [
            "<1>len",
            "<1>tcp",
            "<1>udp",
            "<1>unix\ndatagram",
            "<1>unix stream"
        ]
    );
    let stream = rig.path("stream");
    rig.finish();
    assert!(!stream.exists());
    assert!(rig.books.entries().balanced());
}

#[test]
fn the_json_form_is_the_documented_one() {
    let mut of_json = settings();
    of_json.dress.format = Format::Json;
    of_json.dress.fields = vec![("env".into(), "prod".into())];
    let mut rig = Rig::start(of_json);
    let peer = rig.send_udp(
        b"<34>1 2026-11-21T07:00:00.123456Z mymachine su 10 ID47 [exampleSDID@32473 iut=\"3\" ip=\"192.0.2.1\" x=\"\\\"\\]\" ip=\"192.0.2.129\"] text",
    );
    let value = rig.values(1).remove(0);
    let mut object: Value = serde_json::from_str(&value).unwrap();
    let read_time = object["read_time"].take();
    assert_eq!(
        read_time.as_str().unwrap().len(),
        "2026-11-21T07:00:00.200000Z".len()
    );
    assert_eq!(
        object,
        json!({
            "message": "text", "event_time": "2026-11-21T07:00:00.123456Z", "read_time": null, "host": "web-1", "input": "syslog",
            "fields": {"env": "prod"},
            "syslog": {
                "facility": "auth", "severity": "crit", "hostname": "mymachine", "app_name": "su", "proc_id": "10", "msg_id": "ID47",
                "structured_data": {"exampleSDID@32473": {"iut": "3", "ip": ["192.0.2.1", "192.0.2.129"], "x": "\"]"}},
                "peer": peer.to_string(), "rfc": 5424,
            },
        })
    );
}

#[test]
fn what_cannot_be_read_or_is_not_utf_8_is_kept_whole() {
    let mut of_json = settings();
    of_json.dress.format = Format::Json;
    let mut rig = Rig::start(of_json);
    let mut stream = UnixStream::connect(rig.path("stream")).unwrap();
    stream
        .write_all(b"<34>1 2026-02-30T07:00:00Z m su - - - x\n")
        .unwrap();
    stream
        .write_all(b"<34>1 - - su - - [a b=\"\xff\" b=\"c\"] \xfe\n")
        .unwrap();
    let values = rig.values(2);
    let bad: Value = serde_json::from_str(&values[0]).unwrap();
    assert_eq!(bad["message"], "<34>1 2026-02-30T07:00:00Z m su - - - x");
    assert_eq!(
        bad["syslog"],
        json!({"error": "the time stamp names a time that does not exist"})
    );
    assert_eq!(bad.get("event_time"), None);
    let odd: Value = serde_json::from_str(&values[1]).unwrap();
    assert_eq!(
        (&odd["message"], &odd["message_base64"]),
        (&json!("\u{fffd}"), &json!("/g=="))
    );
    assert_eq!(
        odd["syslog"]["structured_data"]["a"],
        json!({"b": ["\u{fffd}", "c"], "b_base64": ["/w==", "Yw=="]})
    );
    assert_eq!(rig.facts.unparsed.get(), 1);
}

#[test]
fn topic_key_headers_and_time_come_from_the_message() {
    let mut dressed = settings();
    dressed.dress.topic = "syslog-{syslog.facility}".into();
    dressed.dress.key = Some("{syslog.hostname}/{syslog.msg_id}".into());
    dressed.dress.place = Some("{syslog.app_name}".into());
    dressed.dress.headers = vec![
        ("a".into(), "{syslog.sd.a@1.b}".into()),
        ("host".into(), "{host}".into()),
    ];
    dressed.dress.timestamp = Some(TimestampRange {
        past: Duration::from_secs(3600),
        future: Duration::from_secs(60),
    });
    let mut rig = Rig::start(dressed);
    let now = jiff::Timestamp::now();
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    writeln!(stream, "<34>1 {now:.3} m su - - [a@1 b=\"c\\\"\"] x").unwrap();
    stream
        .write_all(b"<13>1 1999-01-01T00:00:00Z m su - ID - y\n")
        .unwrap();
    rig.values(2);
    let first = &rig.sent[0];
    assert_eq!(first.topic.as_deref(), Some("syslog-auth"));
    assert_eq!(first.key.as_deref(), Some("m/-"));
    assert_eq!(first.place.as_deref(), Some("su"));
    assert_eq!(first.headers, ["a=c\"", "host=web-1"]);
    assert_eq!(first.timestamp, Some(now.as_millisecond()));
    let second = &rig.sent[1];
    assert_eq!(second.topic.as_deref(), Some("syslog-user"));
    assert_eq!(second.headers, ["a=-", "host=web-1"]);
    assert!(second.timestamp.unwrap() >= now.as_millisecond());
    assert_eq!(rig.facts.out_of_range.get(), 1);
}

#[test]
fn a_time_that_kafka_cannot_tell_is_out_of_any_range_and_told_in_the_json_all_the_same() {
    let mut dressed = settings();
    dressed.dress.format = Format::Json;
    let ever = Duration::from_secs(9000 * 366 * 86_400);
    dressed.dress.timestamp = Some(TimestampRange {
        past: ever,
        future: ever,
    });
    let mut rig = Rig::start(dressed);
    let now = jiff::Timestamp::now().as_millisecond();
    let given = [
        ("1970-01-01T00:00:00.001000Z", Some(1)),
        ("9999-12-31T23:59:59.999999Z", Some(253_402_300_799_999)),
        ("1970-01-01T00:00:00.000999Z", None),
        ("1969-12-31T23:59:59.999999Z", None),
        ("0000-01-01T00:00:00.000000Z", None),
    ];
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    for (time, _) in given {
        writeln!(stream, "<13>1 {time} m su - ID - x").unwrap();
    }
    let values = rig.values(given.len());
    for (at, (time, timestamp)) in given.into_iter().enumerate() {
        let value: Value = serde_json::from_str(&values[at]).unwrap();
        assert_eq!(value["event_time"], time);
        let sent = rig.sent[at].timestamp.unwrap();
        match timestamp {
            Some(timestamp) => assert_eq!(sent, timestamp, "{time}"),
            None => assert!(sent >= now, "{time}: {sent}"),
        }
    }
    assert_eq!(rig.facts.out_of_range.get(), 3);
}

#[test]
fn a_topic_that_cannot_be_one_is_dealt_with_as_on_refused_says() {
    for (policy, asides) in [(OnRefused::DeadLetter, 1), (OnRefused::Drop, 0)] {
        let mut odd = settings();
        odd.dress.topic = "{syslog.app_name}".into();
        odd.dress.on_refused = policy;
        let mut rig = Rig::start(odd);
        let mut stream = TcpStream::connect(rig.tcp).unwrap();
        stream
            .write_all(b"<13>1 - - a/b - - - x\n<13>1 - - fine - - - y\n")
            .unwrap();
        assert_eq!(rig.values(1), ["<13>1 - - fine - - - y"]);
        rig.finish();
        assert_eq!(rig.aside.lock().unwrap().len(), asides);
        let entries = rig.books.entries();
        assert!(entries.balanced());
        assert_eq!((entries.read.lines, entries.acked.lines), (2, 1));
    }
}

#[test]
fn filters_look_at_the_whole_message() {
    let mut filtered = settings();
    filtered.filter.exclude = Some("^<1[0-9]>".into());
    let mut rig = Rig::start(filtered);
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    stream.write_all(b"<13>no\n<3>yes\n").unwrap();
    assert_eq!(rig.values(1), ["<3>yes"]);
    rig.finish();
    assert_eq!(rig.books.entries().filtered.lines, 1);
}

#[test]
fn a_filter_can_look_at_a_part_of_the_message() {
    let mut filtered = settings();
    filtered.filter_of = Some("{syslog.facility}.{syslog.severity}".into());
    filtered.filter.include = Some("^auth".into());
    filtered.filter.exclude = Some("debug$".into());
    let mut rig = Rig::start(filtered);
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    // kern.alert with `auth` in its text, auth.debug, auth.crit, and one without a priority.
    stream
        .write_all(b"<1>auth\n<39>no\n<34>yes\nauth\n")
        .unwrap();
    assert_eq!(rig.values(1), ["<34>yes"]);
    rig.finish();
    assert_eq!(rig.sent.len(), 1);
    assert_eq!(rig.books.entries().filtered.lines, 3);
}

#[test]
fn without_memory_senders_of_streams_are_slowed_and_nothing_is_lost() {
    let mut rig = Rig::with_memory(settings(), 600 << 10);
    let stream = TcpStream::connect(rig.tcp).unwrap();
    let line = |at: usize| format!("<13>{at:0100}\n");
    let sender = std::thread::spawn(move || {
        let mut stream = io::BufWriter::new(stream);
        for at in 0..100_000 {
            stream.write_all(line(at).as_bytes()).unwrap();
        }
        stream.flush().unwrap();
    });
    // Nobody takes anything: it must stand still.
    let mut before = u64::MAX;
    let deadline = Instant::now() + LIMIT;
    while before != rig.books.entries().read.bytes || before == 0 {
        assert!(Instant::now() < deadline);
        before = rig.books.entries().read.bytes;
        rig.thread.as_ref().unwrap().thread().unpark();
        Bell::new().wait(Duration::from_millis(300));
    }
    assert!(!sender.is_finished());
    assert!(before < 2 << 20, "{before}");
    let values = rig.values(100_000);
    sender.join().unwrap();
    assert!(
        values
            .iter()
            .enumerate()
            .all(|(at, value)| value.trim_start_matches("<13>").parse() == Ok(at))
    );
}

#[test]
fn after_a_stop_what_waits_is_read_and_a_thousand_idle_connections_do_not_matter() {
    let mut rig = Rig::start(settings());
    let idle: Vec<_> = (0..1000)
        .map(|_| UnixStream::connect(rig.path("stream")).unwrap())
        .collect();
    rig.until(|rig| rig.facts.connections.get() == 1000);
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    stream.write_all(b"<1>a\n<1>no end").unwrap();
    rig.send_udp(b"<1>datagram");
    let begun = Instant::now();
    rig.finish();
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut values: Vec<_> = rig.sent.iter().map(|sent| sent.value.clone()).collect();
    values.sort();
    assert_eq!(values, ["<1>a", "<1>datagram", "<1>no end"]);
    drop(idle);
}

#[test]
fn connections_beyond_the_limit_are_closed_and_quiet_ones_after_their_time() {
    let mut few = settings();
    few.max_connections = 1;
    few.idle_timeout = Some(Duration::from_secs(1));
    let mut rig = Rig::start(few);
    let first = TcpStream::connect(rig.tcp).unwrap();
    rig.until(|rig| rig.facts.connections.get() == 1);
    let second = TcpStream::connect(rig.tcp).unwrap();
    rig.until(|rig| rig.facts.refused.get() == 1);
    rig.until(|rig| rig.facts.timed_out.get() == 1);
    drop((first, second));
    let mut third = TcpStream::connect(rig.tcp).unwrap();
    third.write_all(b"<1>x\n").unwrap();
    assert_eq!(rig.values(1), ["<1>x"]);
}

#[test]
fn a_stream_whose_lengths_are_none_is_closed_and_counted() {
    let mut octet = settings();
    octet.framing = settings::Framing::Octet;
    let mut rig = Rig::start(octet);
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    stream.write_all(b"4 <1>abroken").unwrap();
    rig.until(|rig| rig.facts.broken.get() == 1 && !rig.sent.is_empty());
    rig.finish();
    let entries = rig.books.entries();
    assert_eq!(entries.dropped["framing"].bytes, 6);
    assert!(entries.balanced());
}

#[test]
fn what_the_kernel_dropped_is_counted() {
    let mut rig = Rig::with_memory(settings(), 600 << 10);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(rig.udp).unwrap();
    let mut sent = 0u64;
    // Nobody takes anything, so the socket's buffer overflows some time.
    for _ in 0..20_000 {
        sent += u64::from(socket.send(&[b'x'; 500]).is_ok());
    }
    // The kernel tells with a datagram that comes after those that it dropped.
    let deadline = Instant::now() + LIMIT;
    while rig.books.entries().acked.lines + rig.facts.kernel_drops() < sent {
        assert!(
            Instant::now() < deadline,
            "{} of {sent}",
            rig.books.entries().acked.lines
        );
        if !rig.take() {
            sent += u64::from(socket.send(b"x").is_ok());
            rig.bell.wait(Duration::from_millis(20));
        }
    }
    assert!(rig.facts.kernel_drops() > 0);
    assert_eq!(
        rig.books.entries().acked.lines + rig.facts.kernel_drops(),
        sent
    );
}

#[test]
fn what_speaks_tls_to_a_plain_port_is_closed_and_the_others_go_on() {
    let mut rig = Rig::start(settings());
    let mut other = TcpStream::connect(rig.tcp).unwrap();
    other.write_all(b"<1>a\n<1>b").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let client = certificates(folder.path()).client;
    // It is closed, so the handshake fails.
    assert!(send_tls(rig.tcp, client, b"<13>secret\n").is_err());
    rig.until(|rig| rig.facts.broken.get() == 1 && rig.facts.connections.get() == 1);
    other.write_all(b"c\n").unwrap();
    assert_eq!(rig.values(2), ["<1>a", "<1>bc"]);
    rig.finish();
    let entries = rig.books.entries();
    assert_eq!(entries.dropped["framing"].lines, 1);
    assert!(entries.balanced());
}

struct Certificates {
    settings: ServerTls,
    client: rustls::ClientConfig,
    without: rustls::ClientConfig,
}

fn certificates(folder: &std::path::Path) -> Certificates {
    let key = rcgen::KeyPair::generate().unwrap();
    let own = rcgen::CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let (cert_file, key_file) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&cert_file, own.pem()).unwrap();
    fs::write(&key_file, key.serialize_pem()).unwrap();
    let client_key = rcgen::KeyPair::generate().unwrap();
    let of_client = rcgen::CertificateParams::new(vec!["sender".into()])
        .unwrap()
        .self_signed(&client_key)
        .unwrap();
    let client_ca_file = folder.join("clients.pem");
    fs::write(&client_ca_file, of_client.pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(own.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = || {
        rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
    };
    let client_key = rustls::pki_types::PrivatePkcs8KeyDer::from(client_key.serialize_der());
    Certificates {
        settings: ServerTls {
            cert_file,
            key_file,
            client_ca_file: Some(client_ca_file),
        },
        client: builder()
            .with_client_auth_cert(vec![of_client.der().clone()], client_key.into())
            .unwrap(),
        without: builder().with_no_client_auth(),
    }
}

fn send_tls(address: SocketAddr, config: rustls::ClientConfig, text: &[u8]) -> io::Result<()> {
    let name = "localhost".try_into().unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(text)?;
    stream.conn.send_close_notify();
    stream.flush()
}

#[test]
fn tls_brings_messages_of_those_whose_certificate_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = certificates(folder.path());
    let mut with_tls = settings();
    with_tls
        .listen
        .push(Listen::Tls("127.0.0.1:0".parse().unwrap()));
    with_tls.tls = Some(certificates.settings);
    let mut rig = Rig::start(with_tls);
    let address = rig.tls.unwrap();
    let many: String = (0..5000).map(|at| format!("<13>{at:050}\n")).collect();
    send_tls(address, certificates.client, many.as_bytes()).unwrap();
    assert_eq!(rig.values(5000).len(), 5000);
    let _ = send_tls(address, certificates.without, b"<13>stranger\n");
    TcpStream::connect(address)
        .unwrap()
        .write_all(b"<13>no tls\n")
        .unwrap();
    rig.until(|rig| rig.facts.broken.get() == 2);
    rig.finish();
    assert_eq!(rig.sent.len(), 5000);
}

#[test]
fn after_a_hard_stop_everything_that_was_taken_shows_as_not_delivered() {
    let mut rig = Rig::with_memory(settings(), 600 << 10);
    let mut stream = TcpStream::connect(rig.tcp).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // Until nothing more fits anywhere.
    while stream
        .write_all(&[b"<13>".as_slice(), &[b'x'; 5000], b"\n"].concat())
        .is_ok()
    {}
    rig.stop.harden();
    let report = rig.thread.take().unwrap().join().unwrap().unwrap();
    let entries = rig.books.entries();
    assert!(entries.balanced());
    assert_eq!((entries.acked.lines, entries.in_flight), (0, entries.read));
    assert!(
        entries.read.bytes > report.bytes,
        "what was taken and not handed on is missing"
    );
}
