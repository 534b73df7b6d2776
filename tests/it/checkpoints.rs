//! `logferry checkpoints`: where each file stands, and how that is changed by hand.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::LineWriter;
use crate::support::scene::{LONG, Scene, nowhere, turn};

/// What a command said and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// `logferry checkpoints ... -c DIR/logferry.yaml`, with the words of `line`.
fn checkpoints(scene: &Scene, line: &str) -> Said {
    let mut words = line.split_whitespace();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .current_dir(scene.folder())
        .arg("checkpoints")
        .args(words.next())
        .arg("-c")
        .arg(scene.path("logferry.yaml"))
        .args(words)
        .output()
        .unwrap();
    Said {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

fn list(scene: &Scene) -> Value {
    let said = checkpoints(scene, "list --json");
    assert_eq!(said.code, Some(0), "{}", said.err);
    serde_json::from_str(&said.out).unwrap()
}

/// Delivers what is there.
fn once(scene: &Scene, yaml: &str) {
    assert_eq!(scene.launch(yaml).once().start().wait_code(LONG), 0);
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let bytes = fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), bytes)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn list_shows_where_files_stand_while_the_daemon_runs_and_reset_waits_for_its_end() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("checkpoints", 1);
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    writer.append(1_000);
    let size = fs::metadata(scene.path("logs/a.log")).unwrap().len();
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut daemon = scene.launch(&yaml).start();

    let shown = eventually(LONG, "everything is saved", || {
        let shown = list(&scene);
        match shown["inputs"][0]["files"][0]["offset"].as_u64() {
            Some(offset) if offset == size => Ok(shown),
            _ => Err(shown.to_string()),
        }
    });
    let input = &shown["inputs"][0];
    assert_eq!(input["input"], "app");
    assert_eq!(input["configured"], true);
    assert_eq!(input["behind"], 0);
    assert!(input["cluster_id"].is_string() && input["started"].is_string());
    let file = &input["files"][0];
    assert_eq!(file["state"], "found");
    assert_eq!(file["size"], size);
    assert_eq!(file["path"], file["path_now"]);

    let said = checkpoints(&scene, "reset --input app --to beginning --execute");
    assert_eq!(said.code, Some(77));
    let pid = format!("(process {})", daemon.pid().as_raw_nonzero());
    assert!(said.err.contains(&pid), "{}", said.err);

    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    writer.append(10);
    let said = checkpoints(&scene, "list");
    let rows: Vec<Vec<&str>> = said
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let now = fs::metadata(scene.path("logs/a.log")).unwrap().len();
    let numbers = [size, now, now - size].map(|number| number.to_string());
    assert_eq!(rows[0][..5], ["INPUT", "FILE", "OFFSET", "SIZE", "BEHIND"]);
    assert_eq!(rows[1][2..5], numbers, "{}", said.out);
    assert!(!said.out.contains('\x1b'));
}

#[test]
fn reset_sends_again_or_leaves_out_just_what_it_says() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("reset", 1);
    fs::write(scene.path("logs/a.log"), "one\ntwo\nthree\n").unwrap();
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    once(&scene, &yaml);
    assert_eq!(kafka.written(&topic), 3);

    let state = files(&scene.path("state"));
    let said = checkpoints(&scene, "reset --input app --to beginning");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("14 bytes are sent again") && said.out.contains("nothing was changed"),
        "{}",
        said.out
    );
    let said = checkpoints(&scene, "reset --input app --to 5 --execute");
    assert_eq!(said.code, Some(2));
    let why = "is inside a line; it begins at 4, the next one at 8; nothing was changed";
    assert!(said.err.contains(why), "{}", said.err);
    assert_eq!(files(&scene.path("state")), state);

    // From the second line on.
    let file = scene.path("logs/a.log");
    let line = format!(
        "reset --input app --file {} --to 4 --execute",
        file.display()
    );
    let said = checkpoints(&scene, &line);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.ends_with("done\n"), "{}", said.out);
    once(&scene, &yaml);
    assert_eq!(kafka.written(&topic), 5);

    // What came meanwhile is left out; the half line is not.
    fs::write(&file, "one\ntwo\nthree\nfour\nfive\nhal").unwrap();
    let said = checkpoints(&scene, "reset --input app --to end --execute");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("10 bytes are not sent"), "{}", said.out);
    once(&scene, &yaml);
    assert_eq!(kafka.written(&topic), 6);
    assert_eq!(
        kafka.read_values(&topic)[3..],
        [&b"two"[..], b"three", b"hal"]
    );

    // Forgotten, the input is new, and free for any cluster.
    let said = checkpoints(&scene, "reset --input app --forget --cluster --execute");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(list(&scene)["inputs"], Value::Array(Vec::new()));
    once(&scene, &yaml);
    assert_eq!(kafka.written(&topic), 12);
}

#[test]
fn a_renamed_input_keeps_its_positions() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("rename", 1);
    fs::write(scene.path("logs/a.log"), "one\ntwo\n").unwrap();
    let old = scene.input_yaml(kafka.brokers(), &topic);
    once(&scene, &old);
    let new = old.replace("  app:\n", "  web:\n");
    fs::write(scene.path("logferry.yaml"), &new).unwrap();

    let said = checkpoints(&scene, "list --input app");
    assert!(said.out.contains("not configured"), "{}", said.out);
    assert!(
        said.out.contains("checkpoints rename app NEW"),
        "{}",
        said.out
    );
    assert_eq!(list(&scene)["inputs"][0]["configured"], false);

    let said = checkpoints(&scene, "rename app web");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("nothing was changed"), "{}", said.out);
    assert_eq!(list(&scene)["inputs"][0]["input"], "app");
    let said = checkpoints(&scene, "rename app web --execute");
    assert_eq!(said.code, Some(0), "{}", said.err);
    once(&scene, &new);
    assert_eq!(kafka.written(&topic), 2);

    // Both have positions now: nothing is put over anything.
    once(&scene, &old);
    assert_eq!(kafka.written(&topic), 4);
    let said = checkpoints(&scene, "rename app web --execute");
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("has positions of 1 file already"),
        "{}",
        said.err
    );
}

#[test]
fn an_input_begins_anew_on_another_cluster_as_the_daemon_says() {
    let _turn = turn();
    let (Some(here), Some(there)) = (RealKafka::shared(), RealKafka::private()) else {
        return;
    };
    let scene = Scene::new();
    let topic = here.topic("moves", 1);
    there.create_topic(&topic, 1);
    fs::write(scene.path("logs/a.log"), "one\ntwo\n").unwrap();
    once(&scene, &scene.input_yaml(here.brokers(), &topic));

    fs::write(scene.path("logs/a.log"), "one\ntwo\nthree\n").unwrap();
    let yaml = scene.input_yaml(there.brokers(), &topic);
    let mut daemon = scene.launch(&yaml).start();
    let line = "reset --input app --forget --cluster --execute";
    eventually(LONG, "it says what to do", || {
        match daemon
            .stderr()
            .contains(&format!("`logferry checkpoints {line}`"))
        {
            true => Ok(()),
            false => Err(daemon.stderr()),
        }
    });
    daemon.sigterm();
    daemon.wait_code(LONG);
    assert_eq!(there.written(&topic), 0);
    let said = checkpoints(&scene, line);
    assert_eq!(said.code, Some(0), "{}", said.err);
    once(&scene, &yaml);
    assert_eq!(there.written(&topic), 3);
}

#[test]
fn where_nothing_is_saved_it_says_so_and_makes_nothing() {
    let scene = Scene::new();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    fs::write(scene.path("logferry.yaml"), yaml).unwrap();
    let said = checkpoints(&scene, "list");
    assert_eq!(said.code, Some(0));
    assert!(
        said.out.starts_with("no positions are saved in"),
        "{}",
        said.out
    );
    for line in [
        "list --input apps",
        "reset --input app --to end --execute",
        "rename app web --execute",
    ] {
        let said = checkpoints(&scene, line);
        assert_eq!(said.code, Some(2), "{line}: {}", said.err);
    }
    for line in [
        "reset --input app",
        "reset --input app --to middle",
        "reset --input app --to end --cluster",
    ] {
        assert_eq!(checkpoints(&scene, line).code, Some(2), "{line}");
    }
    assert!(!scene.path("state").exists());
    fs::write(scene.path("logferry.yaml"), "inputs: 7\n").unwrap();
    assert_eq!(checkpoints(&scene, "list").code, Some(78));
}
