//! `logferry status`: what a running daemon is doing.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::eventually::eventually;
use crate::support::scene::{LONG, Scene, nowhere};

fn status(scene: &Scene, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_logferry"))
        .arg("status")
        .arg("-c")
        .arg(scene.path("logferry.yaml"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn status_shows_a_running_daemon_and_says_when_none_answers() {
    let scene = Scene::new();
    fs::write(scene.path("logs/a.log"), "one\ntwo\n").unwrap();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    fs::write(scene.path("logferry.yaml"), &yaml).unwrap();
    let none = status(&scene, &[]);
    assert_eq!(none.status.code(), Some(69));
    let err = String::from_utf8(none.stderr).unwrap();
    assert!(
        err.contains("no daemon answers at 127.0.0.1:") && err.contains("refused"),
        "{err}"
    );

    let _daemon = scene.launch(&yaml).start();
    let text = eventually(LONG, "both lines are on their way", || {
        let output = status(&scene, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        let row = text.lines().find(|line| line.starts_with("app "));
        let cells: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
        match cells.get(3..6) {
            Some(["2", "0", "2"]) => Ok(text),
            _ => Err(text),
        }
    });
    assert!(!text.contains('\x1b'));
    let json = status(&scene, &["--json"]);
    assert_eq!(json.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["inputs"]["app"]["books"]["read"]["lines"], 2);
}
