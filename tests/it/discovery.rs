//! Files are found whatever the kernel tells of them, and whatever they are called.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::scene::{LONG, Scene, caught_up, said, skip};

fn append(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// What the daemon is run under so that inotify has only so much of something: a user namespace has limits of its own.
fn limited(limit: &str, to: u32) -> Result<[String; 6], String> {
    let script = format!("echo {to} > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
    let words = ["unshare", "--user", "--map-root-user", "sh", "-c", &script].map(str::to_owned);
    let tried = Command::new(&words[0])
        .args(&words[1..])
        .arg("true")
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    if tried.status.success() {
        Ok(words)
    } else {
        let why = String::from_utf8_lossy(&tried.stderr);
        Err(format!("no user namespace: {}", why.trim()))
    }
}

#[test]
fn past_every_limit_of_inotify_new_lines_files_and_folders_are_found_and_it_is_said_once() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let limits = [
        ("max_inotify_watches", 0, "fs.inotify.max_user_watches"),
        ("max_inotify_watches", 1, "fs.inotify.max_user_watches"),
        ("max_inotify_instances", 0, "fs.inotify.max_user_instances"),
    ];
    for (limit, to, advice) in limits {
        let words = match limited(limit, to) {
            Ok(words) => words,
            Err(why) => return skip("past_every_limit_of_inotify", &why),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let scene = Scene::new();
        let topic = kafka.topic("limits", 1);
        for folder in ["a", "b", "c"] {
            append(&scene.path(&format!("logs/{folder}/x.log")), "0\n");
        }
        let yaml = scene.input_yaml(kafka.brokers(), &topic);
        let yaml = yaml.replace("logs/*.log*", "logs/**/*.log");
        let mut daemon = scene.launch(&yaml).under(&words).start();
        let delivered = |count| {
            eventually(LONG, "the lines are delivered", || {
                let written = kafka.written(&topic);
                (written == count).then_some(()).ok_or(written.to_string())
            });
        };
        delivered(3);
        // A file that went idle, a new one, and new folders.
        append(&scene.path("logs/a/x.log"), "1\n");
        append(&scene.path("logs/b/y.log"), "2\n");
        append(&scene.path("logs/d/e/f/z.log"), "3\n");
        delivered(6);
        fs::remove_dir_all(scene.path("logs/d")).unwrap();
        append(&scene.path("logs/d/e/f/z.log"), "4\n");
        delivered(7);
        let all = said(&daemon);
        let told = all.iter().filter(|said| said.text.contains(advice));
        let told: Vec<&str> = told.map(|said| said.text.as_str()).collect();
        // Of folders and of idle files, where both are without.
        assert!(matches!(told.len(), 1 | 2), "{limit}={to}: {all:#?}");
        daemon.sigterm();
        assert_eq!(daemon.wait_code(LONG), 0);
        assert_eq!(kafka.written(&topic), 7, "{limit}={to}");
    }
}

#[test]
fn a_name_that_is_not_utf_8_is_a_key_byte_by_byte_and_keeps_its_position() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("bytes", 1);
    let names: [&[u8]; 3] = [b"caf\xe9.log", b"line\nfeed.log", b"two  spaces.log"];
    let paths = names.map(|name| scene.path("logs").join(OsStr::from_bytes(name)));
    for path in &paths {
        append(path, "one\n");
    }
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let yaml = yaml.replace(
        &format!("topic: {topic}"),
        &format!("topic: {topic}, key: \"{{file.path}}\""),
    );
    for line in ["two\n", "three\n"] {
        let mut daemon = scene.launch(&yaml).start();
        eventually(LONG, "all is delivered", || {
            caught_up(&daemon, "app").and_then(|()| {
                let written = kafka.written(&topic);
                (written > 0 && written % 3 == 0)
                    .then_some(())
                    .ok_or(written.to_string())
            })
        });
        for path in &paths {
            append(path, line);
        }
        daemon.sigterm();
        assert_eq!(daemon.wait_code(LONG), 0);
    }
    assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);

    for path in &paths {
        let key = Some(path.as_os_str().as_bytes().to_vec());
        let records = kafka.read_all(&topic).into_iter();
        let of_file = records.filter(|record| record.key == key);
        let values: Vec<Vec<u8>> = of_file.filter_map(|record| record.value).collect();
        assert_eq!(values, [&b"one"[..], b"two", b"three"], "{path:?}");
    }
    assert_eq!(kafka.written(&topic), 9);

    let list = Command::new(env!("CARGO_BIN_EXE_logferry"))
        .current_dir(scene.folder())
        .args(["checkpoints", "list", "--json", "-c", "logferry.yaml"])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let files = list["inputs"][0]["files"].as_array().unwrap();
    let base64 = BASE64_STANDARD.encode(paths[0].as_os_str().as_bytes());
    let of_bytes = files.iter().find(|file| file["path_base64"] == base64);
    let of_bytes = of_bytes.unwrap_or_else(|| panic!("{list:#}"));
    assert!(
        of_bytes["path"]
            .as_str()
            .unwrap()
            .ends_with("caf\u{fffd}.log")
    );
    assert_eq!(of_bytes["state"], "found");
}
