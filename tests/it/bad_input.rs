//! What goes wrong outside of logferry is said clearly, with what to do; what can go on goes on, and nothing is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{LineWriter, judge, lines_of};
use crate::support::scene::{
    LONG, Said, Scene, SmallDisk, books, caught_up, nowhere, powerless, said, skip, turn,
};

/// Waits for a line of the log at `level` or worse that has all of `words`, and gives it.
fn wait_said(daemon: &Daemon, words: &[&str]) -> Said {
    eventually(LONG, &format!("the log says {words:?}"), || {
        let found = said(daemon)
            .into_iter()
            .find(|said| words.iter().all(|word| said.text.contains(word)));
        found.ok_or_else(|| daemon.stderr())
    })
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_fault_of_a_configuration_is_told_with_its_place_and_nothing_is_touched() {
    let scene = Scene::new();
    let yaml = "data_dir: DIR/state
shutdown: { timeout: soon }
inptus: {}
clusters:
  main: { brokers: [\"127.0.0.1:9092\"], options: { socket.keepalive.enabel: true } }
inputs:
  web:
    from: { type: file, paths: [DIR/logs/*.log], exclude: 5 }
    to: { cluster: mian, topic: web, acks: 7 }
  log:
    from: { type: syslog, listen: [\"udp://0.0.0.0:514\"], spool: { mode: sometimes } }
    to: { topic: log }
  nowhere:
    from: { type: file, paths: [DIR/logs/*.txt] }
outputs:
  archive:
    from: { topics: [web] }
    to: { type: file, path: \"DIR/out/{topic}.log\", mode: \"99\" }
buffer: { memory: 1M }
"
    .replace("DIR", &scene.folder().display().to_string());
    let mut daemon = scene.launch(&yaml).start();

    assert_eq!(daemon.wait_code(LONG), 78);
    let stderr = daemon.stderr();
    let config = scene.path("logferry.yaml").display().to_string();
    for (line, words) in [
        (2, "soon"),
        (3, "inputs"),
        (5, "No such configuration property"),
        (8, "exclude"),
        (9, "main"),
        (9, "acks"),
        (11, "sometimes"),
        (13, "to"),
        (17, "group"),
        (18, "mode"),
        (19, "1M"),
    ] {
        let place = format!("{config}:{line}:");
        assert!(
            stderr.contains(&place) && stderr.contains(words),
            "line {line}, {words:?}, in\n{stderr}"
        );
    }
    assert!(!scene.path("state").exists(), "nothing is touched");
    assert!(!scene.path("out").exists(), "nothing is touched");
}

#[test]
fn a_missing_configuration_is_named() {
    let told = assert_cmd::Command::new(env!("CARGO_BIN_EXE_logferry"))
        .args(["run", "-c", "/nowhere/logferry.yaml"])
        .assert()
        .code(78);
    let stderr = String::from_utf8_lossy(&told.get_output().stderr).into_owned();
    assert!(stderr.contains("/nowhere/logferry.yaml"), "{stderr}");
}

#[test]
fn a_file_that_may_not_be_read_is_said_and_read_once_it_may() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let Some(powerless) = powerless() else {
        return skip(
            "a_file_that_may_not_be_read",
            "root without setpriv may read everything",
        );
    };
    let scene = Scene::new();
    let topic = kafka.topic("denied", 1);
    let secret = scene.path("logs/secret.log");
    fs::write(&secret, "hidden\n").unwrap();
    fs::write(scene.path("logs/open.log"), "open\n").unwrap();
    chmod(&secret, 0);
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .under(&powerless)
        .start();

    let told = wait_said(&daemon, &["secret.log", "ermission"]);
    assert_ne!(told.level, "info");
    eventually(LONG, "the other file goes on", || {
        kafka.read_values(&topic) == [b"open"]
    });
    chmod(&secret, 0o644);
    eventually(LONG, "it is read", || {
        kafka.read_values(&topic) == [&b"open"[..], b"hidden"]
    });
}

#[test]
fn a_directory_where_a_file_is_expected_is_said_and_the_others_go_on() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("directory", 1);
    fs::create_dir(scene.path("logs/folder.log")).unwrap();
    fs::write(scene.path("logs/file.log"), "line\n").unwrap();
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();

    let told = wait_said(&daemon, &["folder.log", "directory"]);
    assert_ne!(told.level, "info");
    eventually(LONG, "the file's line", || {
        kafka.read_values(&topic) == [b"line"]
    });
}

#[test]
fn a_data_dir_that_another_daemon_holds_is_refused_with_77_and_its_process() {
    let scene = Scene::new();
    let yaml = scene.input_yaml(&nowhere(), "held");
    let first = scene.launch(&yaml).start();
    eventually(LONG, "the first one runs", || first.get("/live").is_ok());

    let second = yaml.replace("admin: {", "admin: { listen: null } #");
    let mut second = scene.launch(&second).start();
    assert_eq!(second.wait_code(LONG), 77);
    let (stderr, pid) = (second.stderr(), first.pid().as_raw_nonzero().to_string());
    assert!(
        stderr.contains(&scene.path("state").display().to_string()) && stderr.contains(&pid),
        "{stderr}"
    );
    assert!(first.get("/live").is_ok(), "the first one goes on");
}

#[test]
fn a_data_dir_that_may_not_be_written_is_refused_with_77() {
    let Some(powerless) = powerless() else {
        return skip(
            "a_data_dir_that_may_not_be_written",
            "root without setpriv may write everywhere",
        );
    };
    let scene = Scene::new();
    let state = scene.path("state");
    fs::create_dir(&state).unwrap();
    chmod(&state, 0o555);
    let mut daemon = scene
        .launch(&scene.input_yaml(&nowhere(), "readonly"))
        .under(&powerless)
        .start();

    let code = daemon.wait_code(LONG);
    let stderr = daemon.stderr();
    assert_eq!(code, 77, "{stderr}");
    assert!(stderr.contains(&state.display().to_string()), "{stderr}");
    chmod(&state, 0o755);
}

#[test]
fn a_full_disk_under_the_positions_stops_no_line_and_is_over_when_there_is_room() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let disk = match SmallDisk::mount(&scene.path("state"), 64) {
        Ok(disk) => disk,
        Err(why) => return skip("a_full_disk_under_the_positions", &why),
    };
    let topic = kafka.topic("full", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let yaml = format!("{yaml}checkpoint: {{ every: 10ms, sync: 50ms }}\n");
    let mut daemon = scene.launch(&yaml).start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    writer.append(10);
    eventually(LONG, "it works", || kafka.written(&topic) == 10);

    let filler = disk.fill();
    let told = eventually(LONG, "it is said", || {
        // Until the last page of the journal is full, too.
        writer.append(1);
        said(&daemon).into_iter().find(|said| {
            said.level == "error" && said.text.contains("state") && said.text.contains("space")
        })
    });
    println!("{}", told.text);
    writer.append(1_000);
    eventually(LONG, "lines are shipped on", || {
        kafka.written(&topic) == writer.written()
    });
    assert_eq!(daemon.exited(), None);

    fs::remove_file(filler).unwrap();
    eventually(LONG, "positions are saved again", || {
        writer.append(1);
        said(&daemon)
            .iter()
            .any(|said| said.message.contains("saved again"))
    });
    eventually(LONG, "all is settled", || caught_up(&daemon, "app"));
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    let written = writer.written();
    let mut daemon = scene.launch(&yaml).start();
    writer.append(1);
    eventually(LONG, "the next start goes on", || {
        kafka.written(&topic) > written
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let findings = judge(kafka.read_values(&topic), "a", 80, 0..writer.written());
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn an_output_path_that_cannot_be_made_is_named_and_the_other_pipelines_go_on() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("blocked", 1);
    kafka.produce(&topic, 100, |number| {
        (None, number.to_string().into_bytes())
    });
    fs::write(scene.path("blocked"), "a file, no folder").unwrap();
    let group = unique("group");
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "outputs:
  blocked:
    from: {{ topics: [{topic}], group: {group}-1 }}
    to: {{ type: file, path: \"DIR/blocked/{{topic}}.log\" }}
  free:
    from: {{ topics: [{topic}], group: {group}-2 }}
    to: {{ type: file, path: \"DIR/free/{{partition}}.log\" }}
"
        ),
    );
    let mut daemon = scene.launch(&yaml).start();

    let blocked = scene.path("blocked").display().to_string();
    let told = wait_said(&daemon, &[&blocked, "\"blocked\""]);
    assert_eq!(told.level, "error", "{}", told.text);
    eventually(LONG, "the other output goes on", || {
        lines_of(&scene.path("free/0.log")).len() == 100
    });
    eventually(LONG, "/ready names the output", || {
        daemon
            .get("/ready")
            .is_ok_and(|(code, body)| code == 503 && body.contains("blocked"))
    });
    assert_eq!(kafka.group_lag(&format!("{group}-1"), &topic), 100);

    // With the obstacle gone it goes on by itself, or at the next start; nothing is lost.
    fs::remove_file(scene.path("blocked")).unwrap();
    eventually(LONG, "the blocked output goes on", || {
        lines_of(&scene.path(&format!("blocked/{topic}.log"))).len() == 100
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    assert_eq!(kafka.group_lag(&format!("{group}-1"), &topic), 0);
}

#[test]
fn an_input_pointed_at_another_cluster_stops_with_a_message_and_sends_nothing() {
    let _turn = turn();
    let (Some(first), Some(second)) = (RealKafka::shared(), RealKafka::private()) else {
        return;
    };
    let scene = Scene::new();
    let topic = unique("moved");
    for kafka in [first, &second] {
        kafka.create_topic(&topic, 1);
    }
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    writer.append(100);
    let mut daemon = scene
        .launch(&scene.input_yaml(first.brokers(), &topic))
        .start();
    eventually(LONG, "the lines are delivered", || {
        let books = books(&daemon, "app")?;
        if books["acked"]["lines"] == 100 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    writer.append(100);
    let moved = scene
        .launch(&scene.input_yaml(second.brokers(), &topic))
        .start();
    let told = wait_said(&moved, &["app", "cluster"]);
    assert!(told.level != "info", "{}", told.text);
    eventually(LONG, "/ready names the input", || {
        moved
            .get("/ready")
            .is_ok_and(|(code, body)| code == 503 && body.contains("app"))
    });
    assert_eq!(second.written(&topic), 0);
    drop(moved);

    // Back at its own cluster it goes on where it was.
    let daemon = scene
        .launch(&scene.input_yaml(first.brokers(), &topic))
        .start();
    eventually(LONG, "the rest is delivered", || {
        first.written(&topic) == 200
    });
    drop(daemon);
    let findings = judge(first.read_values(&topic), "a", 80, 0..200);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_record_that_kafka_refuses_is_set_aside_and_holds_up_no_other() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = unique("small");
    kafka.create_topic_with(&topic, 1, &[("max.message.bytes", "2000")]);
    let log = scene.path("logs/a.log");
    let long = "x".repeat(5_000);
    fs::write(&log, format!("one\n{long}\ntwo\n")).unwrap();
    let mut daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();

    eventually(LONG, "the long line is accounted for", || {
        let books = books(&daemon, "app")?;
        if books["dead_lettered"]["lines"] == 1 && books["acked"]["lines"] == 2 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });
    assert_eq!(kafka.read_values(&topic), [b"one", b"two"]);
    assert_ne!(wait_said(&daemon, &["refuse", "a.log"]).level, "info");
    daemon.sigterm();
    assert_eq!(
        daemon.wait_code(LONG),
        0,
        "lines set aside are no failure of the daemon"
    );
    let aside = walk(&scene.path("state"))
        .iter()
        .any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&long)));
    assert!(aside, "the line stands in full under data_dir");
}

/// Every file below a folder.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path],
        })
        .collect()
}
