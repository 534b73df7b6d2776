//! Kafka goes away, in every manner it has: nothing is lost, memory stays bounded, and people are told once.

use std::time::Duration;

use crate::support::eventually::{eventually, pause};
use crate::support::kafka::{RealKafka, unique};
use crate::support::lines::{Findings, LineWriter, judge, judge_files, line, lines_of};
use crate::support::scene::{
    LONG, Scene, balanced, books, caught_up, complaints, nowhere, said, try_status, turn,
};

/// The shortest line that carries a name of one letter and a number, and then some.
const SHORT: usize = 20;

const OUTAGE: Duration = Duration::from_secs(20);

/// `buffer.memory` and what everything else may take, in KiB.
const MEMORY: u64 = (64 + 40) * 1024;

fn findings(kafka: &RealKafka, topic: &str, names: &[&str], each: u64) -> Vec<Findings> {
    let values = kafka.read_values(topic);
    names
        .iter()
        .map(|name| judge(&values, name, SHORT, 0..each))
        .collect()
}

#[test]
fn nothing_is_lost_while_kafka_is_dead_or_silent_for_twenty_seconds_and_memory_is_bounded() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("outage", 3);
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "buffer: {{ memory: 64MiB }}\ninputs:\n  app:\n    from: {{ type: file, paths: [\"DIR/logs/*.log\"] }}\n    to: {{ topic: {topic}, key: \"{{file.name}}\" }}\n"
        ),
    );
    let daemon = scene.launch(&yaml).start();
    let mut writers = ["a", "b"]
        .map(|name| LineWriter::create(scene.path(&format!("logs/{name}.log")), name, SHORT));
    let mut append = |count| writers.iter_mut().for_each(|writer| writer.append(count));

    for silent in [false, true] {
        let before = kafka.written(&topic);
        append(25_000);
        eventually(LONG, "lines move", || kafka.written(&topic) > before);
        if silent {
            kafka.stop_process();
        } else {
            kafka.kill();
        }
        append(75_000);
        eventually(LONG, "/ready says that Kafka is away", || {
            let (code, body) = daemon.get("/ready")?;
            assert!(balanced(&books(&daemon, "app")?));
            if code == 503 && body.contains("main") {
                Ok(())
            } else {
                Err(format!("{code} {body}"))
            }
        });
        pause(OUTAGE);
        assert_eq!(daemon.get("/live").unwrap().0, 200);
        if silent {
            kafka.cont_process();
        } else {
            kafka.restart();
        }
        eventually(LONG, "everything is delivered", || {
            caught_up(&daemon, "app")
        });
        daemon.wait_ready(LONG);
    }
    eventually(LONG, "every line is read", || {
        let books = books(&daemon, "app")?;
        caught_up(&daemon, "app")?;
        if books["acked"]["lines"] == 400_000 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    let peak = daemon.rss_kib().peak;
    assert!(peak < MEMORY, "{peak} KiB at its highest, of {MEMORY}");
    let resent = daemon.status()["inputs"]["app"]["resent"].as_u64().unwrap();
    let mut repeated = 0;
    for findings in findings(&kafka, &topic, &["a", "b"], 200_000) {
        assert!(findings.is_at_least_once(), "{findings}");
        repeated += findings.repeated;
    }
    assert!(
        repeated <= resent,
        "{repeated} lines stand twice, {resent} are owned up to"
    );
}

#[test]
fn four_hundred_thousand_short_lines_wait_for_kafka_within_the_budget() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("backlog", 1);
    kafka.kill();
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let daemon = scene
        .launch(&format!("{yaml}buffer: {{ memory: 64MiB }}\n"))
        .start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", SHORT);
    writer.append(400_000);
    eventually(LONG, "the reader waits", || {
        let first = books(&daemon, "app")?;
        pause(Duration::from_millis(500));
        let second = books(&daemon, "app")?;
        if first == second && second["read"]["lines"] != 0 {
            Ok(())
        } else {
            Err(second.to_string())
        }
    });
    kafka.restart();
    eventually(LONG, "everything is delivered", || {
        let books = books(&daemon, "app")?;
        if books["acked"]["lines"] == 400_000 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    let peak = daemon.rss_kib().peak;
    assert!(peak < MEMORY, "{peak} KiB at its highest, of {MEMORY}");
    let found = &findings(&kafka, &topic, &["a"], 400_000)[0];
    assert!(found.is_exactly_once(), "{found}");
}

#[test]
fn generations_that_are_renamed_out_of_reach_in_an_outage_are_kept() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("rotated", 1);
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "buffer: {{ memory: 8MiB }}\ninputs:\n  app:\n    from: {{ type: file, paths: [DIR/logs/a.log] }}\n    to: {{ topic: {topic} }}\n"
        ),
    );
    let daemon = scene.launch(&yaml).start();
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", SHORT);
    writer.append(100);
    eventually(LONG, "lines move", || kafka.written(&topic) == 100);
    kafka.kill();
    // More than the buffer may hold: the reader has to wait, and must see what becomes of names all the same.
    writer.append(100_000);
    for files in 2..=4 {
        writer.rotate();
        writer.append(1_000);
        eventually(LONG, "the next generation is seen", || {
            let status = try_status(&daemon)?;
            if status["inputs"]["app"]["files"] == files {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    }
    let seen = writer.written() * (SHORT as u64 + 1);
    eventually(LONG, "the books tell the backlog", || {
        let books = books(&daemon, "app")?;
        if books["seen"]["bytes"] == seen && books["unread"]["bytes"] != 0 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });
    kafka.restart();
    eventually(LONG, "everything is delivered", || {
        let books = books(&daemon, "app")?;
        if books["acked"]["lines"] == writer.written() {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    let values = kafka.read_values(&topic);
    let found = judge_files(values, "a", SHORT, &writer.files());
    assert!(found.is_exactly_once(), "{found}");
}

#[test]
fn a_daemon_that_starts_before_its_kafka_says_so_once_and_becomes_ready_with_it() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("early", 1);
    kafka.kill();
    let daemon = scene
        .launch(&scene.input_yaml(kafka.brokers(), &topic))
        .start();
    LineWriter::create(scene.path("logs/a.log"), "a", SHORT).append(100);

    eventually(LONG, "/live answers", || {
        daemon.get("/live").is_ok_and(|(code, _)| code == 200)
    });
    eventually(LONG, "/ready names the cluster that is away", || {
        let (code, body) = daemon.get("/ready")?;
        if code == 503 && body.contains("main") {
            Ok(())
        } else {
            Err(format!("{code} {body}"))
        }
    });
    // Long enough for many attempts to connect.
    pause(Duration::from_secs(5));
    let told = complaints(&daemon);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].text.contains("main"), "{told:#?}");
    assert_eq!(daemon.get("/live").unwrap().0, 200);

    kafka.restart();
    daemon.wait_ready(LONG);
    eventually(LONG, "the lines", || {
        findings(&kafka, &topic, &["a"], 100)[0].is_exactly_once()
    });
    assert_eq!(complaints(&daemon).len(), 1, "{:#?}", complaints(&daemon));

    kafka.kill();
    eventually(LONG, "the next outage is told, too", || {
        complaints(&daemon).len() == 2
    });
    pause(Duration::from_secs(3));
    assert_eq!(complaints(&daemon).len(), 2, "{:#?}", complaints(&daemon));
}

#[test]
fn sigterm_without_a_kafka_ends_with_75_and_the_count_of_what_is_left() {
    let scene = Scene::new();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    let mut daemon = scene
        .launch(&format!("{yaml}shutdown: {{ timeout: 2s }}\n"))
        .start();
    LineWriter::create(scene.path("logs/a.log"), "a", SHORT).append(1_234);
    eventually(LONG, "the lines are read", || {
        let books = books(&daemon, "app")?;
        if books["in_flight"]["lines"] == 1_234 {
            Ok(())
        } else {
            Err(books.to_string())
        }
    });

    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 75);
    let messages = said(&daemon);
    assert!(
        messages
            .iter()
            .any(|said| said.level != "info" && said.text.contains("1234")),
        "{messages:#?}"
    );
    let last = messages
        .iter()
        .rfind(|said| said.message == "books")
        .unwrap();
    assert_eq!(last.fields["in_flight"], 1_234);
}

#[test]
fn a_second_sigterm_leaves_at_once() {
    let scene = Scene::new();
    let yaml = scene.input_yaml(&nowhere(), "nowhere");
    let mut daemon = scene
        .launch(&format!("{yaml}shutdown: {{ timeout: 10m }}\n"))
        .start();
    LineWriter::create(scene.path("logs/a.log"), "a", SHORT).append(100);
    eventually(LONG, "the lines are read", || {
        books(&daemon, "app").is_ok_and(|books| books["in_flight"]["lines"] == 100)
    });

    daemon.sigterm();
    eventually(LONG, "it drains", || {
        let status = try_status(&daemon)?;
        if status["inputs"]["app"]["state"] == "draining" {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    assert_eq!(daemon.exited(), None, "ten minutes have not passed");
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 143);
}

#[test]
fn files_stay_exact_while_kafka_is_killed_and_stopped() {
    let _turn = turn();
    let Some(mut kafka) = RealKafka::private() else {
        return;
    };
    let scene = Scene::new();
    let (topic, group) = (kafka.topic("back", 2), unique("group"));
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!("outputs:\n  archive:\n    from: {{ topics: [{topic}], group: {group} }}\n    to: {{ type: file, path: \"DIR/out/{{partition}}.log\" }}\n"),
    );
    let mut daemon = scene.launch(&yaml).start();
    let mut from = 0;
    for silent in [false, true] {
        kafka.produce(&topic, 20_000, |number| {
            let mut value = Vec::new();
            line(&mut value, "r", from + number, SHORT);
            value.pop();
            (Some(number.to_string().into_bytes()), value)
        });
        from += 20_000;
        eventually(LONG, "records move", || {
            daemon.status()["outputs"]["archive"]["written"]["lines"] != 0
        });
        if silent {
            kafka.stop_process();
            pause(Duration::from_secs(10));
            kafka.cont_process();
        } else {
            kafka.kill();
            pause(Duration::from_secs(5));
            kafka.restart();
        }
    }
    eventually(LONG, "the group's lag is 0", || {
        match kafka.group_lag(&group, &topic) {
            0 => Ok(()),
            lag => Err(format!("a lag of {lag}")),
        }
    });
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);

    let all = (0..2).flat_map(|partition| lines_of(&scene.path(&format!("out/{partition}.log"))));
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), 40_000);
    let findings = judge(&all, "r", SHORT, 0..40_000);
    assert_eq!(
        (findings.missing.len(), findings.repeated, findings.foreign),
        (0, 0, 0)
    );
}
