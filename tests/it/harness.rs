//! The harness is tested too: a test that stands on sand proves nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use crate::support::daemon::Launch;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, judge, line, lines_of};
use crate::support::{free_ports, temp_dir};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn what_is_produced_is_read_back_once_and_in_order() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("round-trip", 3);
    kafka.produce(&topic, 1000, |number| {
        (
            Some(format!("k{}", number % 7).into_bytes()),
            number.to_string().into_bytes(),
        )
    });

    let records = kafka.read_all(&topic);

    assert_eq!(records.len(), 1000);
    assert_eq!(kafka.written(&topic), 1000);
    assert_eq!(kafka.partitions(&topic), [0, 1, 2]);
    let mut last = std::collections::HashMap::new();
    for record in records {
        let number: u64 = String::from_utf8(record.value.unwrap())
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            record.key.clone().unwrap(),
            format!("k{}", number % 7).into_bytes()
        );
        assert!(
            last.insert(record.key, number)
                .is_none_or(|before| before < number),
            "a key's records keep their order"
        );
    }
}

#[test]
fn an_empty_topic_reads_as_nothing() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    assert_eq!(kafka.read_all(&kafka.topic("empty", 2)), []);
}

#[test]
fn lag_is_what_a_group_has_not_committed() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let (topic, group) = (kafka.topic("lag", 2), unique("group"));
    kafka.produce(&topic, 100, |number| {
        (Some(number.to_string().into_bytes()), b"v".to_vec())
    });
    assert_eq!(kafka.group_lag(&group, &topic), 100);

    let ends = kafka.end_offsets(&topic);
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .set("group.id", &group)
        .create()
        .unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets
        .add_partition_offset(&topic, 0, Offset::Offset(ends[&0]))
        .unwrap();
    member.commit(&offsets, CommitMode::Sync).unwrap();

    assert_eq!(kafka.committed(&group, &topic), [(0, ends[&0])].into());
    assert_eq!(kafka.group_lag(&group, &topic), ends[&1] as u64);
}

#[test]
fn a_private_broker_can_be_slowed_stopped_killed_and_started_again() {
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let topic = kafka.topic("private", 1);
    kafka.produce(&topic, 10, |number| (None, number.to_string().into_bytes()));

    // Through the proxy, and staying behind it: the partition's offsets are asked of the address that is advertised.
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.proxied_brokers())
        .create()
        .unwrap();
    let ask = |timeout| client.fetch_watermarks(&topic, 0, timeout);
    assert_eq!(ask(SOON).unwrap(), (0, 10));
    kafka
        .proxy()
        .delay(Duration::from_millis(30), Duration::from_millis(30));
    let begun = Instant::now();
    assert_eq!(ask(SOON).unwrap(), (0, 10));
    assert!(
        begun.elapsed() >= Duration::from_millis(60),
        "a round trip of {:?}",
        begun.elapsed()
    );
    kafka.proxy().delay(Duration::ZERO, Duration::ZERO);

    kafka.proxy().silent(true);
    assert!(ask(Duration::from_millis(200)).is_err());
    kafka.proxy().silent(false);
    assert_eq!(ask(SOON).unwrap(), (0, 10));

    kafka.proxy().lose_answers(true);
    assert!(ask(Duration::from_millis(200)).is_err());
    kafka.proxy().lose_answers(false);
    eventually(SOON, "the proxied client is back", || ask(SOON).is_ok());

    kafka.stop_process();
    let direct: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.brokers())
        .create()
        .unwrap();
    assert!(
        direct
            .fetch_metadata(None, Duration::from_millis(300))
            .is_err(),
        "a stopped broker answers nothing"
    );
    kafka.cont_process();
    direct.fetch_metadata(None, SOON).unwrap();

    kafka.kill();
    assert!(
        TcpStream::connect(kafka.brokers()).is_err(),
        "a killed broker refuses"
    );
    kafka.restart();
    assert_eq!(
        kafka.read_values(&topic).len(),
        10,
        "what was acknowledged before SIGKILL is still there"
    );
}

#[test]
fn the_oracle_tells_missing_repeated_disordered_and_foreign_lines_apart() {
    let made = |number| {
        let mut bytes = Vec::new();
        line(&mut bytes, "web", number, 40);
        bytes.pop();
        bytes
    };
    let exact = judge((0..5).map(made), "web", 40, 0..5);
    assert!(exact.is_exactly_once(), "{exact}");

    let replayed = judge([0, 1, 2, 1, 2, 3].map(made), "web", 40, 0..4);
    assert_eq!(
        (replayed.repeated, replayed.is_at_least_once()),
        (2, true),
        "{replayed}"
    );

    let disordered = judge([1, 0, 2].map(made), "web", 40, 0..3);
    assert_eq!(
        (disordered.out_of_order, disordered.is_at_least_once()),
        (1, false),
        "{disordered}"
    );

    let torn = judge(
        [
            made(0),
            made(1)[..30].to_vec(),
            made(9),
            b"other 0000000002 .".to_vec(),
        ],
        "web",
        40,
        0..2,
    );
    assert_eq!((torn.missing, torn.foreign), (vec![1], 2));
}

#[test]
fn a_rotated_file_and_its_successor_hold_all_lines_between_them() {
    let folder = temp_dir();
    let mut writer = LineWriter::create(folder.path().join("app.log"), "app", 200);
    writer.append(1000);
    let aside = writer.rotate();
    writer.append(500);
    writer.append_in_two(|| ());

    let all: Vec<_> = [aside.as_path(), writer.path()]
        .into_iter()
        .flat_map(lines_of)
        .collect();

    assert_eq!(writer.written(), 1501);
    assert_eq!(all[0].len(), 200);
    assert!(judge(all, "app", 200, 0..1501).is_exactly_once());
}

#[test]
fn a_daemon_is_watched_through_its_output_its_signals_and_proc() {
    let folder = temp_dir();
    let stand_in = "echo \"$2 of ${0##*/}\" >&2; exec sleep 60";
    let mut daemon = Launch::new(folder.path(), "id: x\n")
        .under(&["sh", "-c", stand_in])
        .start();

    eventually(SOON, "it has spoken", || !daemon.stderr().is_empty());
    assert_eq!(daemon.stderr(), "-c of logferry\n");
    assert!(daemon.rss_kib().peak >= daemon.rss_kib().now);
    assert!(daemon.cpu_time() < SOON);
    assert_eq!(daemon.exited(), None);

    daemon.sigterm();
    assert_eq!(daemon.wait_code(SOON), 128 + 15);
}

#[test]
fn the_admin_port_is_found_in_the_configuration() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!("admin: {{ listen: {} }}\n", listener.local_addr().unwrap());
    let folder = temp_dir();
    let daemon = Launch::new(folder.path(), &yaml)
        .under(&["sh", "-c", "exec sleep 60"])
        .start();
    let answer = |body: &'static str| {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = connection.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /status "));
        write!(
            connection,
            "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}"
        )
        .unwrap();
    };

    let status = std::thread::scope(|scope| {
        scope.spawn(|| answer("{\"version\": 1}"));
        daemon.status()
    });

    assert_eq!(status["version"], 1);
}

#[test]
fn ports_are_given_once() {
    let ports = free_ports::<8>();
    let distinct: std::collections::HashSet<_> = ports.iter().collect();
    assert_eq!(distinct.len(), 8);
}
