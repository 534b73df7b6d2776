//! The disk under the positions: empty, damaged, full or read-only, it is said what to do, and nothing is sent again in
//! silence.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::eventually::eventually;
use crate::support::kafka::RealKafka;
use crate::support::lines::{LineWriter, judge};
use crate::support::on_path;
use crate::support::scene::{LONG, Scene, SmallDisk, caught_up, said, skip, turn};

/// Delivers `count` lines of `logs/a.log` and ends.
fn delivered(scene: &Scene, yaml: &str, count: u64) -> LineWriter {
    let mut writer = LineWriter::create(scene.path("logs/a.log"), "a", 80);
    writer.append(count);
    assert_eq!(scene.launch(yaml).once().start().wait_code(LONG), 0);
    writer
}

#[test]
fn positions_that_a_power_cut_made_empty_or_zeros_stop_the_start_and_nothing_is_sent_again() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    for length in [0, 1, 4096] {
        let scene = Scene::new();
        let topic = kafka.topic("zeros", 1);
        let yaml = scene.input_yaml(kafka.brokers(), &topic);
        let mut writer = delivered(&scene, &yaml, 10);
        let snapshot = scene.path("state/checkpoint.json");
        let whole = fs::read(&snapshot).unwrap();
        fs::write(&snapshot, vec![0; length]).unwrap();
        writer.append(5);

        // At every start, not only at the first.
        for _ in 0..2 {
            let mut daemon = scene.launch(&yaml).start();
            let code = daemon.wait_code(LONG);
            let stderr = daemon.stderr();
            assert_eq!(code, 70, "{stderr}");
            assert!(stderr.contains("checkpoint.json"), "{stderr}");
            assert!(stderr.contains("backup"), "{stderr}");
        }
        assert_eq!(kafka.written(&topic), 10);
        // With what the message asks for it goes on where it was.
        fs::write(&snapshot, whole).unwrap();
        fs::set_permissions(&snapshot, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);
        let findings = judge(kafka.read_values(&topic), "a", 80, 0..15);
        assert!(findings.is_exactly_once(), "{length} zeros: {findings}");
    }
}

#[test]
fn zeros_at_the_end_of_the_journal_are_cut_and_nothing_is_missing() {
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("tail", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writer = delivered(&scene, &yaml, 10);
    let journal = fs::read_dir(scene.path("state"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "journal"))
        .unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    bytes.extend([0; 4096]);
    fs::write(&journal, bytes).unwrap();
    writer.append(5);
    let mut daemon = scene.launch(&yaml).once().start();
    assert_eq!(daemon.wait_code(LONG), 0);
    let said = daemon.stderr();
    assert!(said.contains("journal"), "what was cut is said: {said}");
    let findings = judge(kafka.read_values(&topic), "a", 80, 0..15);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_disk_that_is_full_at_the_start_stops_no_line() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let disk = match SmallDisk::mount(&scene.path("state"), 64) {
        Ok(disk) => disk,
        Err(why) => return skip("a_disk_that_is_full_at_the_start", &why),
    };
    let topic = kafka.topic("full-start", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writer = delivered(&scene, &yaml, 10);
    let filler = disk.fill();
    // The last bytes of the journal's page, too.
    let mut daemon = scene.launch(&yaml).start();
    let told = eventually(LONG, "it is said", || {
        writer.append(1);
        let told = said(&daemon)
            .into_iter()
            .find(|said| said.text.contains("space") && said.text.contains("state"));
        told.ok_or_else(|| daemon.stderr())
    });
    assert_eq!(told.level, "error", "{}", told.text);
    eventually(LONG, "lines are shipped", || {
        kafka.written(&topic) == writer.written()
    });
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
    assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);
    let findings = judge(kafka.read_values(&topic), "a", 80, 0..writer.written());
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_disk_that_is_full_at_the_stop_ends_it_with_70_and_the_word_that_lines_are_repeated() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let disk = match SmallDisk::mount(&scene.path("state"), 64) {
        Ok(disk) => disk,
        Err(why) => return skip("a_full_disk_at_the_stop", &why),
    };
    let topic = kafka.topic("full-stop", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writer = delivered(&scene, &yaml, 10);
    let mut daemon = scene.launch(&yaml).start();
    daemon.wait_ready(LONG);
    let filler = disk.fill();
    eventually(LONG, "it is said", || {
        writer.append(1);
        said(&daemon).iter().any(|said| said.level == "error")
    });
    eventually(LONG, "all is settled", || caught_up(&daemon, "app"));
    daemon.sigterm();
    let code = daemon.wait_code(LONG);
    let stderr = daemon.stderr();
    assert_eq!(code, 70, "{stderr}");
    assert!(stderr.contains("repeats lines"), "{stderr}");
    // As it was said: none is missing.
    let count = kafka.written(&topic);
    fs::remove_file(filler).unwrap();
    assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);
    assert!(
        kafka.written(&topic) > count,
        "what was not saved comes again"
    );
    let findings = judge(kafka.read_values(&topic), "a", 80, 0..writer.written());
    assert!(findings.is_at_least_once(), "{findings}");
}

#[test]
fn a_read_only_disk_is_named_with_77_nothing_is_sent_and_it_goes_on_when_it_can_be_written() {
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let state = scene.path("state");
    let _disk = match SmallDisk::mount(&state, 1024) {
        Ok(disk) => disk,
        Err(why) => return skip("a_read_only_disk", &why),
    };
    let remount = |how: &str| {
        let how = format!("remount,{how}");
        let mut mount = Command::new("mount");
        let done = mount.args(["-o", &how]).arg(&state).status();
        assert!(done.unwrap().success());
    };
    let topic = kafka.topic("ro", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    let mut writer = delivered(&scene, &yaml, 10);
    remount("ro");
    writer.append(5);
    let mut daemon = scene.launch(&yaml).start();
    let code = daemon.wait_code(LONG);
    let stderr = daemon.stderr();
    assert_eq!(code, 77, "{stderr}");
    assert!(
        stderr.contains(&state.display().to_string()) && stderr.contains("ead-only file system"),
        "{stderr}"
    );
    assert_eq!(kafka.written(&topic), 10);
    remount("rw");
    assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);
    let findings = judge(kafka.read_values(&topic), "a", 80, 0..15);
    assert!(findings.is_exactly_once(), "{findings}");
}

#[test]
fn a_limit_on_the_size_of_files_stops_no_line_and_is_said() {
    if !on_path("prlimit") {
        return skip("a_limit_on_the_size_of_files", "there is no prlimit");
    }
    let _turn = turn();
    let Some(kafka) = RealKafka::shared() else {
        return;
    };
    let scene = Scene::new();
    let topic = kafka.topic("fsize", 1);
    let yaml = scene.input_yaml(kafka.brokers(), &topic);
    // So many files that their positions do not fit, while what it says on standard error does.
    let mut writers: Vec<LineWriter> = (0..60)
        .map(|file| LineWriter::create(scene.path(&format!("logs/{file}.log")), "a", 80))
        .collect();
    for writer in &mut writers {
        writer.append(1);
    }
    assert_eq!(scene.launch(&yaml).once().start().wait_code(LONG), 0);
    let mut daemon = scene
        .launch(&yaml)
        .under(&["prlimit", "--fsize=8000"])
        .start();
    let mut count = 60;
    let told = eventually(LONG, "it is said", || {
        writers[0].append(1);
        count += 1;
        let told = said(&daemon)
            .into_iter()
            .find(|said| said.text.contains("positions cannot be saved"));
        told.ok_or_else(|| format!("{:?} {}", daemon.exited(), daemon.stderr()))
    });
    assert!(told.text.contains("state"), "{}", told.text);
    println!("{}", told.text);
    for writer in &mut writers {
        writer.append(1);
    }
    eventually(LONG, "lines are shipped on", || {
        kafka.written(&topic) == count + 60
    });
    assert_eq!(daemon.exited(), None);
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 70);
}
