//! The real logrotate, which most log files meet: rename and create, while lines are written.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::support::eventually::{eventually, pause};
use crate::support::kafka::RealKafka;
use crate::support::lines::{LineWriter, judge_files};
use crate::support::on_path;
use crate::support::scene::{LONG, Scene, books, skip, turn};

#[test]
fn nothing_is_missing_through_five_rotations_by_logrotate() {
    const EACH: u64 = 4_000;
    let _turn = turn();
    if !on_path("logrotate") {
        return skip("logrotate", "logrotate is not installed");
    }
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("logrotate", 1);
    let log = scene.path("logs/app.log");
    let rules = scene.path("logrotate.conf");
    fs::write(
        &rules,
        format!(
            "{} {{\n  rotate 9\n  create 0644\n  nocompress\n  missingok\n}}\n",
            log.display()
        ),
    )
    .unwrap();
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!("inputs:\n  app:\n    from: {{ type: file, paths: [DIR/logs/app.log] }}\n    to: {{ topic: {topic} }}\n"),
    );
    let daemon = scene.launch(&yaml).start();
    let mut writer = LineWriter::create(&log, "a", 100);

    for rotation in 1..=5 {
        // logrotate comes once a day or once an hour: the daemon knows the file before it is rotated.
        let begun = writer.written();
        writer.append(1);
        eventually(LONG, "the new file is read", || {
            books(&daemon, "app")?["acked"]["lines"]
                .as_u64()
                .filter(|acked| *acked > begun)
                .ok_or_else(|| daemon.stderr())
        });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while writer.written() < rotation * EACH {
                    writer.append(100);
                    pause(Duration::from_millis(5));
                }
            });
            let told = Command::new("logrotate")
                .arg("--force")
                .arg("--state")
                .arg(scene.path("logrotate.state"))
                .arg(&rules)
                .output()
                .unwrap();
            assert!(
                told.status.success(),
                "{}",
                String::from_utf8_lossy(&told.stderr)
            );
        });
        // The application is told to open its log anew only after it has written on into the renamed file.
        writer.reopen();
    }
    writer.append(10);
    eventually(LONG, "every line is acknowledged", || {
        let books = books(&daemon, "app")?;
        if books["acked"]["lines"] == writer.written() {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    let findings = judge_files(kafka.read_values(&topic), "a", 100, &writer.files());
    assert!(findings.is_exactly_once(), "{findings}");
}
