//! The operator's commands on a terminal: a prompt, bars that show how far a long run is, a status that refreshes in place, Ctrl-C and Ctrl-D as they
//! are typed.

use std::fs;
use std::io::Write;

use crate::support::console::{Console, type_on_terminal};
use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::LineWriter;
use crate::support::scene::{LONG, Scene, nowhere, turn};
use crate::support::temp_dir;

const CTRL_C: &[u8] = b"\x03";
const CTRL_D: &[u8] = b"\x04";
/// How a terminal is told to forget a line.
const CLEARED: &str = "\x1b[2K";

fn shown(console: &Console) -> String {
    String::from_utf8_lossy(&console.stdout()).into_owned()
}

/// Waits until the terminal shows `words`.
fn shows(console: &Console, words: &str) {
    eventually(LONG, &format!("the terminal shows {words:?}"), || {
        let shown = shown(console);
        if shown.contains(words) {
            Ok(())
        } else {
            Err(shown)
        }
    });
}

#[test]
fn a_person_is_asked_for_each_line_until_ctrl_d() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("typed", 1);
    let line = format!("logferry produce -b {} -t {topic} --sync", kafka.brokers());
    let mut console = type_on_terminal(&line);
    let mut keys = console.stdin();
    shows(&console, "> ");
    keys.write_all(b"one\n").unwrap();
    shows(&console, "0\t0\t");
    keys.write_all(b"two\n").unwrap();
    shows(&console, "0\t1\t");
    // The answer stands on a line of its own, and the next prompt after it.
    eventually(LONG, "it is asked for a third one", || {
        shown(&console).matches("> ").count() == 3
    });
    keys.write_all(CTRL_D).unwrap();
    let ended = console.ends();
    assert_eq!(ended.code, 0);
    let told = ended.text();
    let last = format!("> \r\n2 records delivered to {topic}\r\n");
    assert!(told.ends_with(&last), "{told:?}");
    assert_eq!(kafka.read_values(&topic), [b"one", b"two"]);
}

#[test]
fn ctrl_c_ends_typing_and_what_was_typed_is_delivered() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("interrupted", 1);
    let line = format!("logferry produce -b {} -t {topic}", kafka.brokers());
    let mut console = type_on_terminal(&line);
    let mut keys = console.stdin();
    shows(&console, "> ");
    keys.write_all(b"one\n").unwrap();
    eventually(LONG, "it is asked for a second one", || {
        shown(&console).matches("> ").count() == 2
    });
    keys.write_all(CTRL_C).unwrap();
    let ended = console.ends();
    assert_eq!(ended.code, 0);
    let told = ended.text();
    let last = format!("> ^C\r\n1 record delivered to {topic}\r\n");
    assert!(told.ends_with(&last), "{told:?}");
    assert_eq!(kafka.read_values(&topic), [b"one"]);
}

#[test]
fn long_runs_of_produce_and_consume_show_how_far_they_are_and_leave_nothing_behind() {
    const LINES: u64 = 100_000;
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let topic = kafka.topic("bars", 1);
    let folder = temp_dir();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    LineWriter::create(&from, "a", 199).append(LINES);
    let (from, to) = (from.display().to_string(), to.display().to_string());
    let flags = format!("-b {} -t {topic}", kafka.brokers());

    // Of a file that is named, and of one that is redirected.
    for input in [from.clone(), format!("< {from}")] {
        let mut console = type_on_terminal(&format!("logferry produce {flags} {input}"));
        let ended = console.ends();
        assert_eq!(ended.code, 0);
        let told = ended.text();
        assert!(told.contains("/19.07 MiB "), "{input}: {told:?}");
        assert!(!told.contains("> "), "{input}: {told:?}");
        let last = format!("{CLEARED}{LINES} records delivered to {topic}\r\n");
        assert!(told.ends_with(&last), "{input}: {told:?}");
    }
    let line = format!("logferry consume {flags} --until end > {to}");
    let ended = type_on_terminal(&line).ends();
    assert_eq!(ended.code, 0);
    let told = ended.text();
    assert!(told.contains("/200,000 records "), "{told:?}");
    assert!(told.ends_with(CLEARED), "{told:?}");
    let line = format!("logferry consume {flags} --count 150000 > {to}");
    let ended = type_on_terminal(&line).ends();
    assert_eq!(ended.code, 0);
    let told = ended.text();
    assert!(told.contains(" records "), "{told:?}");
    // Where the records themselves are shown, or nobody watches, there is no bar.
    let ended = type_on_terminal(&format!("logferry consume {flags} -n 2 -f '%o\\n'")).ends();
    assert_eq!(ended.text(), "0\r\n1\r\n");
    let line = format!("logferry produce {flags} {from} 2> said; cat said");
    let ended = type_on_terminal(&format!("sh -c '{line}'")).ends();
    let last = format!("{LINES} records delivered to {topic}\r\n");
    assert_eq!(ended.text(), last);
}

#[test]
fn a_watched_status_refreshes_in_place() {
    let scene = Scene::new();
    fs::write(scene.path("logs/a.log"), "one\ntwo\n").unwrap();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    fs::write(scene.path("logferry.yaml"), &yaml).unwrap();
    let daemon = scene.launch(&yaml).start();
    eventually(LONG, "/live answers", || daemon.get("/live").is_ok());
    let config = scene.path("logferry.yaml").display().to_string();
    let mut console = type_on_terminal(&format!("logferry status --watch -c {config}"));
    let mut keys = console.stdin();
    eventually(LONG, "it is shown three times, in one place", || {
        let shown = shown(&console);
        let looks: Vec<&str> = shown.split("\x1b[H\x1b[J").skip(1).collect();
        let whole = |look: &&str| look.contains("INPUT") && look.contains("\r\napp ");
        if looks.iter().filter(|look| whole(look)).count() >= 3 {
            Ok(())
        } else {
            Err(shown)
        }
    });
    keys.write_all(CTRL_C).unwrap();
    assert_eq!(console.ends().code, 130);
}
