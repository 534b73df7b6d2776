//! Who is compared: how each is told to do the same work with the same guarantees (acks=all, idempotent where it can be, no compression).

use std::fs;
use std::path::Path;

/// What is to be moved, from or to `file`.
pub struct Task<'a> {
    pub brokers: &'a str,
    pub topic: &'a str,
    pub file: &'a Path,
    /// Empty, and the run's own: for configurations and state.
    pub folder: &'a Path,
}

pub struct Contender {
    pub name: &'static str,
    /// What has to be on PATH; nothing for what is built here.
    pub program: Option<&'static str>,
    /// Whether it exits by itself when all is done. Otherwise it is done when every line has arrived.
    pub ends: bool,
    /// Whether its standard output is the file.
    pub prints: bool,
    pub command: fn(&Task<'_>) -> Vec<String>,
}

/// file -> Kafka. The first two are those that a delayed network is tried with.
pub const PRODUCERS: &[Contender] = &[
    Contender {
        name: "logferry",
        program: None,
        ends: true,
        prints: false,
        command: logferry_input,
    },
    Contender {
        name: "kcat -P -l",
        program: Some("kcat"),
        ends: true,
        prints: false,
        command: kcat_input,
    },
    Contender {
        name: "rsyslog imfile -> omkafka",
        program: Some("rsyslogd"),
        ends: false,
        prints: false,
        command: rsyslog,
    },
    Contender {
        name: "vector file -> kafka",
        program: Some("vector"),
        ends: false,
        prints: false,
        command: vector,
    },
    Contender {
        name: "fluent-bit tail -> kafka",
        program: Some("fluent-bit"),
        ends: false,
        prints: false,
        command: fluent_bit,
    },
];

/// The same, compressed with lz4.
pub const LZ4: &[Contender] = &[
    Contender {
        name: "logferry, lz4",
        program: None,
        ends: true,
        prints: false,
        command: logferry_lz4,
    },
    Contender {
        name: "kcat -P -l -z lz4",
        program: Some("kcat"),
        ends: true,
        prints: false,
        command: kcat_lz4,
    },
];

/// Kafka -> file.
pub const CONSUMERS: &[Contender] = &[
    Contender {
        name: "logferry, fdatasync each second, commits",
        program: None,
        ends: true,
        prints: false,
        command: logferry_output,
    },
    KCAT_CONSUMER,
];

/// `kcat -C -e > FILE`: from the first record to the end that the topic has by then.
pub const KCAT_CONSUMER: Contender = Contender {
    name: "kcat -C -e",
    program: Some("kcat"),
    ends: true,
    prints: true,
    command: kcat_output,
};

/// A configuration of one pipeline, `kind` being `inputs` or `outputs`, and every default.
pub fn yaml(brokers: &str, folder: &Path, kind: &str, from: &str, to: &str) -> String {
    format!(
        "data_dir: {folder}/data
admin: null
clusters:
  main: {{ brokers: [\"{brokers}\"] }}
{kind}:
  bench:
    from: {{ {from} }}
    to: {{ {to} }}
",
        folder = folder.display()
    )
}

/// A configuration with one input of files and every default.
pub fn input_yaml(brokers: &str, topic: &str, file: &Path, folder: &Path) -> String {
    let from = format!("type: file, paths: [{}]", file.display());
    yaml(brokers, folder, "inputs", &from, &format!("topic: {topic}"))
}

fn logferry_input(task: &Task<'_>) -> Vec<String> {
    logferry(
        task,
        &input_yaml(task.brokers, task.topic, task.file, task.folder),
    )
}

fn logferry_lz4(task: &Task<'_>) -> Vec<String> {
    let yaml = input_yaml(task.brokers, task.topic, task.file, task.folder);
    let to = format!("topic: {}", task.topic);
    logferry(task, &yaml.replace(&to, &format!("{to}, compression: lz4")))
}

fn logferry_output(task: &Task<'_>) -> Vec<String> {
    let Task {
        brokers,
        topic,
        file,
        folder,
    } = task;
    let group = crate::unique("bench");
    let from = format!("topics: [{topic}], group: \"{group}\"");
    let to = format!(
        "type: file, path: {}, sync: {{ every: 1s }}",
        file.display()
    );
    logferry(task, &yaml(brokers, folder, "outputs", &from, &to))
}

fn logferry(task: &Task<'_>, yaml: &str) -> Vec<String> {
    let mut words = logferry_run(task.folder, yaml);
    words.push("--once".into());
    words
}

/// The daemon, with its configuration in `folder`.
pub fn logferry_run(folder: &Path, yaml: &str) -> Vec<String> {
    let config = written(folder, "logferry.yaml", yaml);
    words(&[env!("CARGO_BIN_EXE_logferry"), "run", "-c", &config])
}

fn kcat_input(task: &Task<'_>) -> Vec<String> {
    let file = task.file.display().to_string();
    let options = ["-X", "acks=all", "-X", "enable.idempotence=true"];
    words(
        &[
            &["kcat", "-P", "-b", task.brokers, "-t", task.topic][..],
            &options,
            &["-l", &file],
        ]
        .concat(),
    )
}

fn kcat_lz4(task: &Task<'_>) -> Vec<String> {
    let mut words = kcat_input(task);
    words.splice(1..1, ["-z".to_owned(), "lz4".to_owned()]);
    words
}

fn kcat_output(task: &Task<'_>) -> Vec<String> {
    words(&[
        "kcat",
        "-C",
        "-b",
        task.brokers,
        "-t",
        task.topic,
        "-o",
        "beginning",
        "-e",
        "-q",
    ])
}

/// Tuned: larger queues and batches than its defaults, which are slower.
fn rsyslog(task: &Task<'_>) -> Vec<String> {
    let Task {
        brokers,
        topic,
        file,
        folder,
    } = task;
    let config = format!(
        r#"global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imfile" mode="inotify")
module(load="omkafka")
template(name="line" type="string" string="%msg%")
ruleset(name="ship" queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="4096" queue.workerThreads="1") {{
  action(type="omkafka" broker=["{brokers}"] topic="{topic}" template="line" resubmitOnFailure="on" keepFailedMessages="on"
    topicConfParam=["request.required.acks=-1"]
    confParam=["queue.buffering.max.messages=500000", "queue.buffering.max.ms=50", "batch.num.messages=10000"])
}}
input(type="imfile" File="{file}" Tag="bench" ruleset="ship" persistStateInterval="10000")
"#,
        folder = folder.display(),
        file = file.display()
    );
    let config = written(task.folder, "rsyslog.conf", &config);
    let pid = folder.join("rsyslog.pid").display().to_string();
    words(&["rsyslogd", "-n", "-f", &config, "-i", &pid])
}

fn vector(task: &Task<'_>) -> Vec<String> {
    let Task {
        brokers,
        topic,
        file,
        folder,
    } = task;
    let config = format!(
        "data_dir: {folder}
sources:
  lines: {{ type: file, include: [{file}], read_from: beginning }}
sinks:
  kafka:
    type: kafka
    inputs: [lines]
    bootstrap_servers: \"{brokers}\"
    topic: {topic}
    encoding: {{ codec: text }}
    acknowledgements: {{ enabled: true }}
    librdkafka_options: {{ acks: all, enable.idempotence: \"true\", linger.ms: \"50\" }}
",
        folder = folder.display(),
        file = file.display()
    );
    let config = written(task.folder, "vector.yaml", &config);
    words(&["vector", "--quiet", "--config", &config])
}

fn fluent_bit(task: &Task<'_>) -> Vec<String> {
    let Task {
        brokers,
        topic,
        file,
        folder,
    } = task;
    let config = format!(
        "service: {{ flush: 0.2, log_level: warn }}
pipeline:
  inputs:
    - {{ name: tail, path: {file}, read_from_head: true, buffer_chunk_size: 1M, buffer_max_size: 8M, db: {folder}/tail.db }}
  outputs:
    - name: kafka
      match: '*'
      brokers: {brokers}
      topics: {topic}
      format: raw
      raw_log_key: log
      rdkafka.acks: all
      rdkafka.enable.idempotence: true
      rdkafka.linger.ms: 50
",
        folder = folder.display(),
        file = file.display()
    );
    let config = written(task.folder, "fluent-bit.yaml", &config);
    words(&["fluent-bit", "-c", &config])
}

pub fn written(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("to write a configuration");
    path.display().to_string()
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
