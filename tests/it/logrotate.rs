//! The real logrotate, which most log files meet, in every way that it rotates, while lines are written.
//!
//! Two inputs follow the same log: `live` finds `app.log` alone, `all` finds what becomes of it too. Neither may miss a line, nor send
//! one again, whether from a renamed file, a copy or a compressed one. At the end the daemon starts anew and looks at everything once more.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::RealKafka;
use crate::support::lines::{LineWriter, judge_files, lines_of};
use crate::support::on_path;
use crate::support::scene::{LONG, Scene, books, skip, turn};

/// With its line feed a power of two: a copy that ends in the middle of a write ends at a page of the file, and so between two lines.
const LENGTH: usize = 127;
const INPUTS: [&str; 2] = ["live", "all"];

/// What the application does about a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Application {
    /// It opens its log anew when `postrotate` tells it to.
    IsTold,
    /// It opens its log anew only when logrotate is done, and has written on into what was the log.
    IsLate,
    /// It happens to write nothing while logrotate works, but goes on in what was the log before it opens it anew.
    IsQuietAndLate,
    /// It knows nothing and writes on.
    WritesOn,
    /// It knows nothing, and happens to write nothing while logrotate works.
    IsQuiet,
}

/// What stands in Kafka, and what was written.
struct Outcome {
    /// They have ended, and say what they said when a test fails: before their folder goes.
    _daemons: [Daemon; 2],
    scene: Scene,
    /// How many records each input's topic had when the first daemon ended.
    sent: [u64; 2],
    /// The values of each input's topic.
    topics: [Vec<Vec<u8>>; 2],
    /// The numbers that were written from one rotation to the next; where the application writes on, the cuts lie after these.
    files: Vec<Range<u64>>,
    /// What each input counted as gone, in bytes.
    lost: [u64; 2],
}

impl Outcome {
    /// How many lines.
    fn written(&self) -> u64 {
        self.files.last().unwrap().end
    }

    fn is_exactly_once(&self) {
        for (input, topic) in INPUTS.iter().zip(&self.topics) {
            let findings = judge_files(topic, "a", LENGTH, &self.files);
            assert!(findings.is_exactly_once(), "{input}: {findings}");
            // Nothing else either, as the bytes of compressed files.
            assert_eq!(topic.len() as u64, self.written(), "{input}");
        }
        assert_eq!(self.lost, [0, 0]);
    }
}

/// Has a log rotated `times` by logrotate with `rules`, while the application writes to it. `None` where that is not possible.
fn rotated(times: u32, rules: &str, application: Application) -> Option<Outcome> {
    if !on_path("logrotate") {
        skip("logrotate", "logrotate is not installed");
        return None;
    }
    let kafka = RealKafka::shared()?;
    let scene = Scene::new();
    let topics = INPUTS.map(|input| kafka.topic(&format!("logrotate-{input}"), 1));
    let [live, all] = &topics;
    let yaml = scene.yaml(
        kafka.brokers(),
        &format!(
            "inputs:\n  \
             live:\n    from: {{ type: file, paths: [DIR/logs/app.log] }}\n    to: {{ topic: {live} }}\n  \
             all:\n    from: {{ type: file, paths: [\"DIR/logs/app.log*\"] }}\n    to: {{ topic: {all} }}\n"
        ),
    );
    let logrotate = Logrotate::new(&scene, rules, application);
    let mut daemon = scene.launch(&yaml).start();
    let writer = Mutex::new(LineWriter::create(scene.path("logs/app.log"), "a", LENGTH));
    let mut begins = vec![0];
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A failed wait must end the writer too.
        let _ends = Ends(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                lock(&writer).append(10);
                pause(Duration::from_millis(1));
            }
        });
        // logrotate comes once a day or once an hour: the daemon knows the file before it is rotated.
        let is_known = |begun: u64| INPUTS.map(|input| until_acked(&daemon, input, begun + 1));
        is_known(0);
        for _ in 0..times {
            let begun = logrotate.rotate(&writer);
            begins.push(begun);
            is_known(begun);
        }
    });
    let writer = writer.into_inner().unwrap();
    let ends = begins.iter().skip(1).copied().chain([writer.written()]);
    let files: Vec<_> = begins
        .iter()
        .zip(ends)
        .map(|(begin, end)| *begin..end)
        .collect();
    if application != Application::WritesOn {
        for input in INPUTS {
            until_acked(&daemon, input, writer.written());
        }
    }
    let lost = INPUTS.map(|input| lost_bytes(&daemon, input));
    daemon.sigterm();
    assert_eq!(daemon.wait_code(LONG), 0);
    let sent = [live, all].map(|topic| kafka.written(topic));
    // What is still to be read is read now. What would be sent again would be sent now.
    let mut again = scene.launch(&yaml).once().start();
    assert_eq!(again.wait_code(LONG), 0, "{}", again.stderr());
    Some(Outcome {
        topics: topics.map(|topic| kafka.read_values(&topic)),
        scene,
        files,
        lost,
        sent,
        _daemons: [daemon, again],
    })
}

/// Says that it is over when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn lock(writer: &Mutex<LineWriter>) -> MutexGuard<'_, LineWriter> {
    writer.lock().unwrap()
}

fn until_acked(daemon: &Daemon, input: &str, lines: u64) {
    let what = format!("{input} has {lines} lines acknowledged");
    eventually(LONG, &what, || {
        let books = books(daemon, input)?;
        match books["acked"]["lines"].as_u64() {
            Some(acked) if acked >= lines => Ok(()),
            _ => Err(books.to_string()),
        }
    });
}

/// What is counted as gone.
fn lost_bytes(daemon: &Daemon, input: &str) -> u64 {
    let books = eventually(LONG, "the books are told", || books(daemon, input));
    books["lost"]["bytes"].as_u64().unwrap()
}

/// logrotate with its rules and its state in a folder.
struct Logrotate<'a> {
    scene: &'a Scene,
    application: Application,
}

impl<'a> Logrotate<'a> {
    fn new(scene: &'a Scene, rules: &str, application: Application) -> Self {
        let told = scene.path("told");
        let told = told.display();
        let script = match application {
            Application::IsTold => format!(
                "postrotate\n    touch {told}\n    while test -e {told}; do sleep 0.01; done\n  endscript\n"
            ),
            _ => String::new(),
        };
        let log = scene.path("logs/app.log");
        let text = format!(
            "{} {{\n  rotate 99\n  missingok\n  {rules}\n  {script}}}\n",
            log.display()
        );
        fs::write(scene.path("logrotate.conf"), text).unwrap();
        Self { scene, application }
    }

    /// Rotates. Gives the number of the first line that was written after it.
    fn rotate(&self, writer: &Mutex<LineWriter>) -> u64 {
        eventually(LONG, "no log carries this second", || {
            let mut names = fs::read_dir(self.scene.path("logs")).unwrap();
            // logrotate's clock is coarse: it may be some milliseconds behind.
            let now = UNIX_EPOCH.elapsed().unwrap() - Duration::from_millis(50);
            let now = now.as_secs().to_string();
            !names.any(|name| name.unwrap().file_name().to_string_lossy().contains(&now))
        });
        let is_quiet = matches!(
            self.application,
            Application::IsQuiet | Application::IsQuietAndLate
        );
        let quiet = is_quiet.then(|| lock(writer));
        let mut running = Command::new("logrotate")
            .arg("--force")
            .arg("--state")
            .arg(self.scene.path("logrotate.state"))
            .arg(self.scene.path("logrotate.conf"))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let told = self.scene.path("told");
        let mut reopened = None;
        eventually(LONG, "logrotate is done", || {
            if told.exists() {
                let mut writer = lock(writer);
                writer.reopen();
                reopened = Some(writer.written());
                fs::remove_file(&told).unwrap();
            }
            running.try_wait().unwrap()
        });
        let done = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{said}");
        let mut writer = quiet.unwrap_or_else(|| lock(writer));
        match self.application {
            Application::IsTold => return reopened.unwrap(),
            Application::IsLate => writer.reopen(),
            Application::IsQuietAndLate => {
                writer.append(10);
                writer.reopen();
            }
            Application::WritesOn | Application::IsQuiet => {}
        }
        writer.written()
    }
}

/// The number of a line.
fn number(line: &[u8]) -> u64 {
    let digits = std::str::from_utf8(&line["a ".len()..][..10]).unwrap();
    digits.parse().unwrap()
}

#[test]
fn nothing_is_missing_when_the_log_is_renamed() {
    let _turn = turn();
    if let Some(outcome) = rotated(10, "create 0644\n  nocompress", Application::IsLate) {
        outcome.is_exactly_once();
    }
}

#[test]
fn nothing_is_missing_when_the_renamed_log_is_compressed_at_once() {
    let _turn = turn();
    if let Some(outcome) = rotated(10, "create 0644\n  compress", Application::IsTold) {
        outcome.is_exactly_once();
    }
}

#[test]
fn nothing_is_missing_when_the_application_writes_on_into_a_log_that_was_compressed() {
    let _turn = turn();
    let rules = "create 0644\n  compress";
    let Some(outcome) = rotated(10, rules, Application::IsQuietAndLate) else {
        return;
    };
    assert_eq!(outcome.sent, [outcome.written(); 2]);
    // A daemon that starts just now does not know the compressed files: each holds less than was read of the file that it was made of.
    for topic in &outcome.topics {
        let findings = judge_files(topic, "a", LENGTH, &outcome.files);
        assert!(findings.is_at_least_once(), "{findings}");
    }
    assert_eq!(outcome.lost, [0, 0]);
}

#[test]
fn nothing_is_missing_when_the_renamed_log_is_compressed_at_the_next_rotation() {
    let _turn = turn();
    let rules = "create 0644\n  compress\n  delaycompress";
    if let Some(outcome) = rotated(10, rules, Application::IsLate) {
        outcome.is_exactly_once();
    }
}

#[test]
fn nothing_is_missing_when_the_rotated_logs_carry_the_time() {
    let _turn = turn();
    // A name for each second: five rotations take five.
    let rules = "create 0644\n  compress\n  delaycompress\n  dateext\n  dateformat -%Y%m%d-%s";
    if let Some(outcome) = rotated(5, rules, Application::IsTold) {
        outcome.is_exactly_once();
    }
}

#[test]
fn nothing_is_missing_when_the_log_is_copied_and_cut_while_nobody_writes() {
    let _turn = turn();
    if let Some(outcome) = rotated(10, "copytruncate\n  nocompress", Application::IsQuiet) {
        outcome.is_exactly_once();
    }
}

#[test]
fn nothing_is_missing_when_the_copy_is_compressed_while_nobody_writes() {
    let _turn = turn();
    if let Some(outcome) = rotated(10, "copytruncate\n  compress", Application::IsQuiet) {
        outcome.is_exactly_once();
    }
}

#[test]
fn only_what_was_written_between_copy_and_cut_is_missing_when_the_log_is_copied_and_cut() {
    let _turn = turn();
    let Some(outcome) = rotated(10, "copytruncate\n  nocompress", Application::WritesOn) else {
        return;
    };
    let written = outcome.written();
    // The oldest copy has the highest number; the log itself comes last.
    let generations: Vec<(u64, u64)> = (1..=10)
        .rev()
        .map(|at| format!("logs/app.log.{at}"))
        .chain(["logs/app.log".to_owned()])
        .map(|name| first_and_last(&outcome.scene.path(&name)))
        .collect();
    let begins = generations.iter().map(|(first, _)| *first);
    let files: Vec<_> = begins
        .clone()
        .zip(begins.skip(1).chain([written]))
        .map(|(begin, end)| begin..end)
        .collect();
    assert_eq!((files[0].start, generations[10].1), (0, written - 1));
    for ((input, topic), lost) in INPUTS.iter().zip(&outcome.topics).zip(outcome.lost) {
        let findings = judge_files(topic, "a", LENGTH, &files);
        assert!(
            findings.repeated == 0 && findings.foreign == 0 && findings.out_of_order == 0,
            "{input}: {findings}"
        );
        let mut missing = 0;
        for (file, (_, copied)) in files.iter().zip(&generations) {
            let gone: Vec<u64> = (findings.missing.iter().copied())
                .filter(|number| file.contains(number))
                .collect();
            // What follows the copy up to the cut, but for what was read in time.
            let first = gone.first().copied().unwrap_or(file.end);
            assert!(first > *copied, "{input}: {first} is in a copy");
            assert!(
                gone.iter().copied().eq(first..file.end),
                "{input}: {gone:?}"
            );
            missing += gone.len() as u64;
        }
        assert_eq!(topic.len() as u64 + missing, written);
        // Nobody can count what was written after the last look before a cut; what is counted is missing.
        let line = LENGTH as u64 + 1;
        assert!(
            lost % line == 0 && lost / line <= missing,
            "{input}: {lost}"
        );
    }
}

/// The first and the last number in a file that holds whole lines.
fn first_and_last(path: &Path) -> (u64, u64) {
    assert_eq!(fs::metadata(path).unwrap().len() % (LENGTH as u64 + 1), 0);
    let lines = lines_of(path);
    (number(&lines[0]), number(lines.last().unwrap()))
}
