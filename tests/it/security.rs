//! A broker that asks who is there: whoever may, gets in; whoever may not yet, waits, is told once what to do, and goes on when it is done.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::command::logferry;
use crate::support::daemon::Daemon;
use crate::support::eventually::{eventually, pause};
use crate::support::kafka::secured::{Of, Right, Secured};
use crate::support::kafka::unique;
use crate::support::lines::{LineWriter, judge, lines_of};
use crate::support::on_path;
use crate::support::scene::{LONG, Said, Scene, balanced, books, complaints, skip, turn};

const SHORT: usize = 20;

/// A folder with the CA that the broker's certificates are signed by.
fn scene(kafka: &Secured) -> Scene {
    let scene = Scene::new();
    fs::write(scene.path("ca.pem"), &kafka.ca).expect("to write a certificate");
    scene
}

/// A configuration with these clusters: name, address, and what else is to be said of each.
fn yaml(scene: &Scene, clusters: &[(&str, String, &str)], rest: &str) -> String {
    let clusters: String = clusters
        .iter()
        .map(|(name, brokers, more)| format!("  {name}: {{ brokers: [\"{brokers}\"], {more} }}\n"))
        .collect();
    let clusters = clusters.replace("DIR", &scene.folder().display().to_string());
    let usual = scene.yaml("nobody:9", rest);
    usual.replace("  main: { brokers: [\"nobody:9\"] }\n", &clusters)
}

/// An input of the one file `logs/NAME.log`.
fn input(name: &str, to: &str) -> String {
    format!(
        "  {name}:\n    from: {{ type: file, paths: [DIR/logs/{name}.log] }}\n    to: {{ {to} }}\n"
    )
}

fn login(user: &str, mechanism: &str) -> String {
    format!(
        "tls: {{ ca_file: DIR/ca.pem }}, sasl: {{ mechanism: {mechanism}, username: {user}, password: secret }}"
    )
}

/// Waits until one complaint has all the `words`, and gives it.
#[track_caller]
fn complains(daemon: &Daemon, words: &[&str]) -> Said {
    eventually(LONG, &format!("it says {words:?}"), || {
        let all = complaints(daemon);
        let found = all
            .iter()
            .find(|said| words.iter().all(|word| said.text.contains(word)));
        found.cloned().ok_or_else(|| {
            let all: Vec<_> = all.into_iter().map(|said| said.text).collect();
            all.join("\n")
        })
    })
}

/// After a while in which all is tried again and again, nothing more was said.
#[track_caller]
fn says_no_more(daemon: &Daemon) {
    let before = complaints(daemon).len();
    pause(Duration::from_secs(3));
    let all = complaints(daemon);
    assert_eq!(all.len(), before, "{all:#?}");
}

#[track_caller]
fn delivered(daemon: &Daemon, input: &str, lines: u64) {
    eventually(LONG, "everything is delivered", || {
        let books = books(daemon, input)?;
        assert!(balanced(&books), "{books}");
        match books["acked"]["lines"] == lines {
            true => Ok(()),
            false => Err(books.to_string()),
        }
    });
}

#[track_caller]
fn exact(kafka: &Secured, topic: &str, name: &str, lines: u64) {
    let findings = judge(kafka.read_values(topic), name, SHORT, 0..lines);
    assert!(findings.is_exactly_once(), "{topic}: {findings}");
}

#[test]
fn every_way_to_log_in_over_tls_delivers() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let topic = kafka.topic("logins", 1);
    for user in ["one", "certified"] {
        kafka.allow(user, Of::Topic(&topic), &[Right::Write, Right::Describe]);
    }
    let scene = scene(kafka);
    fs::write(scene.path("client.pem"), &kafka.client.0).expect("to write a certificate");
    fs::write(scene.path("key.pem"), &kafka.client.1).expect("to write a key");
    let certificate = "cert_file: DIR/client.pem, key_file: DIR/";
    let certificate = |key| format!("tls: {{ ca_file: DIR/ca.pem, {certificate}{key} }}");
    let mut ways: Vec<_> = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
        .map(|mechanism| (kafka.login_at("localhost"), login("one", mechanism)))
        .into();
    ways.push((kafka.certificates(), certificate("key.pem")));
    if locked_key(&scene.path("key.pem"), &scene.path("locked.pem")) {
        let locked = certificate("locked.pem, key_password: sesame");
        ways.push((kafka.certificates(), locked));
    }
    let mut writer = LineWriter::create(scene.path("logs/app.log"), "app", SHORT);
    for (brokers, how) in &ways {
        writer.append(100);
        let inputs = format!("inputs:\n{}", input("app", &format!("topic: {topic}")));
        let yaml = yaml(&scene, &[("main", brokers.clone(), how)], &inputs);
        let mut daemon = scene.launch(&yaml).once().start();
        assert_eq!(daemon.wait_code(LONG), 0, "{how}");
    }
    exact(kafka, &topic, "app", writer.written());
}

/// Writes the key again with the password `sesame` before it; `false` when nothing here can do that, which is noted.
fn locked_key(key: &Path, locked: &Path) -> bool {
    if !on_path("openssl") {
        skip("a key with a password", "openssl is not there");
        return false;
    }
    let done = Command::new("openssl")
        .args([
            "pkcs8",
            "-topk8",
            "-v2",
            "aes256",
            "-passout",
            "pass:sesame",
            "-in",
        ])
        .arg(key)
        .arg("-out")
        .arg(locked)
        .output();
    done.expect("openssl").status.success()
}

#[test]
fn credentials_that_are_refused_at_first_are_tried_until_broker_or_file_have_the_right_ones() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    let (mended, file) = (kafka.topic("mended", 1), kafka.topic("file", 1));
    kafka.allow("late", Of::Topic(&mended), &[Right::Write, Right::Describe]);
    kafka.allow("two", Of::Topic(&file), &[Right::Write, Right::Describe]);
    fs::write(scene.path("password"), "wrong").expect("to write a password");
    let in_file = login("two", "SCRAM-SHA-256")
        .replace("password: secret", "password: { file: DIR/password }");
    let clusters = [
        (
            "broker",
            kafka.login_at("localhost"),
            &*login("late", "SCRAM-SHA-512"),
        ),
        ("file", kafka.login_at("localhost"), &*in_file),
    ];
    let inputs = ["inputs:\n".to_owned()].into_iter().chain(
        [("mended", "broker", &mended), ("file", "file", &file)].map(|(name, cluster, topic)| {
            input(name, &format!("cluster: {cluster}, topic: {topic}"))
        }),
    );
    let yaml = yaml(&scene, &clusters, &inputs.collect::<String>());
    for name in ["mended", "file"] {
        LineWriter::create(scene.path(&format!("logs/{name}.log")), name, SHORT).append(100);
    }
    let daemon = scene.launch(&yaml).start();
    for cluster in ["broker", "file"] {
        let cluster = format!("\"cluster\":\"{cluster}\"");
        complains(&daemon, &[&cluster, "the login is refused"]);
    }
    says_no_more(&daemon);
    assert_eq!(daemon.get("/ready").unwrap().0, 503);

    fs::write(scene.path("password"), "secret\n").expect("to write a password");
    delivered(&daemon, "file", 100);
    let user = ["--alter", "--entity-type", "users", "--entity-name", "late"];
    let secret = ["--add-config", "SCRAM-SHA-512=[password=secret]"];
    kafka.tool("kafka.admin.ConfigCommand", &[&user[..], &secret].concat());
    delivered(&daemon, "mended", 100);
    daemon.wait_ready(LONG);
    exact(kafka, &mended, "mended", 100);
    exact(kafka, &file, "file", 100);
    says_no_more(&daemon);
}

#[test]
fn a_certificate_that_does_not_do_is_said_to_be_so_in_clear_words() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    fs::write(scene.path("stranger.pem"), &kafka.stranger).expect("to write a certificate");
    let by_ca = login("one", "PLAIN");
    let by_stranger = by_ca.replace("ca.pem", "stranger.pem");
    let clusters = [
        ("untrusted", kafka.login_at("localhost"), &*by_stranger),
        ("elsewhere", kafka.login_at("127.0.0.1"), &*by_ca),
        ("stale", kafka.expired(), &*by_ca),
        (
            "nobody",
            kafka.certificates(),
            "tls: { ca_file: DIR/ca.pem }",
        ),
    ];
    let inputs: String = clusters
        .iter()
        .map(|(name, ..)| input(name, &format!("cluster: {name}, topic: none")))
        .collect();
    let daemon = scene
        .launch(&yaml(&scene, &clusters, &format!("inputs:\n{inputs}")))
        .start();
    for (cluster, words) in [
        ("untrusted", &["ca_file", "signed by nobody"][..]),
        ("elsewhere", &["not for the host name 127.0.0.1"]),
        ("stale", &["has expired"]),
        ("nobody", &["cert_file"]),
    ] {
        let name = format!("\"cluster\":\"{cluster}\"");
        complains(&daemon, &[&[&*name], words].concat());
    }
    says_no_more(&daemon);
}

#[test]
fn a_denied_topic_holds_up_its_own_input_alone_until_it_is_allowed() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    let (denied, free) = (kafka.topic("denied", 3), kafka.topic("free", 1));
    let write = &[Right::Write, Right::Describe];
    kafka.allow("three", Of::Topic(&free), write);
    let inputs = [("denied", &denied), ("free", &free)]
        .map(|(name, topic)| input(name, &format!("topic: {topic}, key: \"{{line}}\"")))
        .concat();
    let at = [(
        "main",
        kafka.login_at("localhost"),
        &*login("three", "PLAIN"),
    )];
    let daemon = scene
        .launch(&yaml(&scene, &at, &format!("inputs:\n{inputs}")))
        .start();
    let mut writers = ["denied", "free"]
        .map(|name| LineWriter::create(scene.path(&format!("logs/{name}.log")), name, SHORT));
    let mut append = |count| writers.iter_mut().for_each(|writer| writer.append(count));
    // Not even to be seen; then seen, but not to be written to; then taken away while lines flow.
    append(1_000);
    complains(&daemon, &[&denied, "grant"]);
    delivered(&daemon, "free", 1_000);
    says_no_more(&daemon);
    kafka.allow("three", Of::Topic(&denied), &[Right::Describe]);
    says_no_more(&daemon);
    kafka.allow("three", Of::Topic(&denied), &[Right::Write]);
    delivered(&daemon, "denied", 1_000);
    let before = complaints(&daemon).len();
    kafka.withdraw("three", Of::Topic(&denied), &[Right::Write]);
    eventually(LONG, "it is denied again", || {
        append(10);
        complaints(&daemon).len() > before
    });
    says_no_more(&daemon);
    kafka.allow("three", Of::Topic(&denied), &[Right::Write]);
    let [lines, _] = writers.map(|writer| writer.written());
    delivered(&daemon, "denied", lines);
    delivered(&daemon, "free", lines);
    let values = kafka.read_values(&denied);
    let findings = judge(&values, "denied", SHORT, 0..lines);
    assert_eq!(
        (findings.missing.len(), findings.repeated, findings.foreign),
        (0, 0, 0)
    );
}

#[test]
fn exactly_once_says_which_right_is_missing_one_after_the_other() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    let (topic, id) = (kafka.topic("rights", 1), unique("host"));
    let transactional = format!("{id}/app");
    let to =
        format!("topic: {topic}, delivery: {{ exactly_once: {{ commit: 100ms, timeout: 10s }} }}");
    let at = [(
        "main",
        kafka.login_at("localhost"),
        &*login("four", "SCRAM-SHA-512"),
    )];
    let yaml = yaml(&scene, &at, &format!("inputs:\n{}", input("app", &to)))
        .replace("id: test\n", &format!("id: {id}\n"));
    LineWriter::create(scene.path("logs/app.log"), "app", SHORT).append(1_000);
    let daemon = scene.launch(&yaml).start();
    let allow = |of, rights: &[Right]| kafka.allow("four", of, rights);
    let positions = Of::Topic("logferry-positions");
    complains(&daemon, &[&transactional, "grant WRITE"]);
    says_no_more(&daemon);
    allow(
        Of::TransactionalId(&transactional),
        &[Right::Write, Right::Describe],
    );
    complains(&daemon, &["logferry-positions", "grant READ"]);
    says_no_more(&daemon);
    // It does not exist yet.
    allow(positions, &[Right::Read, Right::Describe]);
    complains(&daemon, &["logferry-positions", "cannot be made"]);
    says_no_more(&daemon);
    allow(positions, &[Right::Create]);
    complains(&daemon, &["a transaction is aborted", "grant WRITE"]);
    complains(&daemon, &[&topic, "grant WRITE"]);
    says_no_more(&daemon);
    allow(positions, &[Right::Write]);
    says_no_more(&daemon);
    allow(Of::Topic(&topic), &[Right::Write]);
    delivered(&daemon, "app", 1_000);
    exact(kafka, &topic, "app", 1_000);
}

#[test]
fn a_denied_group_is_told_and_joined_when_it_is_allowed() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    let (topic, group) = (kafka.topic("archived", 1), unique("group"));
    kafka.produce(&topic, 100, |number| {
        (None, number.to_string().into_bytes())
    });
    let at = [(
        "main",
        kafka.login_at("localhost"),
        &*login("five", "SCRAM-SHA-256"),
    )];
    let output = format!(
        "outputs:\n  archive:\n    from: {{ topics: [{topic}], group: {group} }}\n    to: {{ type: file, path: DIR/out.log }}\n"
    );
    let daemon = scene.launch(&yaml(&scene, &at, &output)).start();
    let read = &[Right::Read, Right::Describe];
    complains(&daemon, &["grant READ"]);
    kafka.allow("five", Of::Topic(&topic), read);
    complains(&daemon, &["grant READ on the group"]);
    says_no_more(&daemon);
    kafka.allow("five", Of::Group(&group), read);
    eventually(LONG, "every record is in the file", || {
        lines_of(&scene.path("out.log")).len() == 100
    });
    eventually(LONG, "the group's lag is 0", || {
        kafka.group_lag(&group, &topic) == 0
    });
}

#[test]
fn certificates_that_are_replaced_are_taken_without_a_restart() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let scene = scene(kafka);
    let (topic, archived, group) = (
        kafka.topic("replaced", 1),
        kafka.topic("kept", 1),
        unique("group"),
    );
    for topic in [&topic, &archived] {
        let rights = &[Right::Read, Right::Write, Right::Describe];
        kafka.allow("one", Of::Topic(topic), rights);
    }
    kafka.allow("one", Of::Group(&group), &[Right::Read, Right::Describe]);
    kafka.produce(&archived, 100, |number| {
        (None, number.to_string().into_bytes())
    });
    fs::write(scene.path("ca.pem"), &kafka.stranger).expect("to write a certificate");
    let at = [("main", kafka.login_at("localhost"), &*login("one", "PLAIN"))];
    let pipelines = format!(
        "inputs:\n{}outputs:\n  archive:\n    from: {{ topics: [{archived}], group: {group} }}\n    to: {{ type: file, path: DIR/out.log }}\n",
        input("app", &format!("topic: {topic}"))
    );
    LineWriter::create(scene.path("logs/app.log"), "app", SHORT).append(100);
    let daemon = scene.launch(&yaml(&scene, &at, &pipelines)).start();
    complains(&daemon, &["\"cluster\":\"main\"", "signed by nobody"]);
    complains(&daemon, &["\"output\":\"archive\"", "signed by nobody"]);

    fs::write(scene.path("ca.pem"), &kafka.ca).expect("to write a certificate");
    delivered(&daemon, "app", 100);
    exact(kafka, &topic, "app", 100);
    eventually(LONG, "every record is in the file", || {
        lines_of(&scene.path("out.log")).len() == 100
    });
}

/// Everything in files under `dir`, as text.
fn everything(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).expect("to list a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => text.push_str(&everything(&path)),
            false => text.push_str(&String::from_utf8_lossy(
                &fs::read(path).unwrap_or_default(),
            )),
        }
    }
    text
}

#[test]
fn no_secret_is_told_by_anything() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let secrets = ["inline-5ba17e", "of-a-file-5ba17e", "sesame-5ba17e"];
    let scene = scene(kafka);
    fs::create_dir(scene.path("secrets")).expect("to make a folder");
    let put = |name: &str, text: &str| {
        fs::write(scene.path("secrets").join(name), text).expect("to write a secret");
    };
    put("password", secrets[1]);
    put("client.pem", &kafka.client.0);
    put("key.pem", &kafka.client.1);
    let inline = login("one", "SCRAM-SHA-256")
        .replace("password: secret", &format!("password: {}", secrets[0]));
    let in_file = login("two", "PLAIN").replace(
        "password: secret",
        "password: { file: DIR/secrets/password }",
    );
    let locked = format!(
        "tls: {{ ca_file: DIR/ca.pem, cert_file: DIR/secrets/client.pem, key_file: DIR/secrets/key.pem, key_password: {} }}",
        secrets[2]
    );
    let clusters = [
        ("inline", kafka.login_at("localhost"), &*inline),
        ("file", kafka.login_at("localhost"), &*in_file),
        ("locked", kafka.certificates(), &*locked),
    ];
    let inputs: String = clusters
        .iter()
        .map(|(name, ..)| input(name, &format!("cluster: {name}, topic: none")))
        .collect();
    // librdkafka says all that it can.
    let yaml = yaml(&scene, &clusters, &format!("inputs:\n{inputs}"))
        .replace("brokers: [", "options: { debug: \"all\" }, brokers: [");
    let yaml = yaml.replace("log: { format", "log: { level: trace, format");
    for (name, ..) in &clusters {
        fs::write(scene.path(&format!("logs/{name}.log")), "line\n").expect("to write a line");
    }
    let daemon = scene.launch(&yaml).start();
    for cluster in ["inline", "file"] {
        complains(
            &daemon,
            &[
                &format!("\"cluster\":\"{cluster}\""),
                "the login is refused",
            ],
        );
    }
    let config = scene.path("logferry.yaml").display().to_string();
    let mut told = vec![daemon.stderr(), everything(&scene.path("state"))];
    for page in ["/status", "/metrics", "/ready", "/"] {
        told.push(daemon.get(page).expect("an answer").1);
    }
    for command in [
        "check -c CONFIG",
        "status -c CONFIG --json",
        "topics list -c CONFIG --cluster inline",
        "topics list -c CONFIG --cluster file",
        "groups list -c CONFIG --cluster locked --json",
        "dead-letters list -c CONFIG",
        "checkpoints list -c CONFIG",
    ] {
        let ran = logferry(&command.replace("CONFIG", &config));
        told.extend([ran.out, ran.err]);
    }
    // A wrong configuration shows the line that is wrong, without what is secret on it.
    let broken = scene.path("broken.yaml");
    fs::write(
        &broken,
        yaml.replace("mechanism: SCRAM-SHA-256", "mechanism: SIMPLE"),
    )
    .expect("to write");
    let ran = logferry(&format!("check -c {}", broken.display()));
    assert_eq!(ran.code, Some(78), "{}", ran.err);
    told.extend([ran.out, ran.err]);
    for text in told {
        for secret in secrets {
            let found = text.lines().find(|line| line.contains(secret));
            assert_eq!(found, None);
        }
    }
}

/// Somebody who gives out tokens for the user `one` that nobody signed, which is what Kafka takes where nothing else is configured. Counts
/// how often it was asked by the client that it knows.
#[cfg(feature = "oidc")]
fn tokens() -> (u16, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 8192];
            let read = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            let known = BASE64_STANDARD.encode("shipper:secret");
            assert!(request.contains(&known), "{request}");
            count.fetch_add(1, Ordering::Relaxed);
            let now = jiff::Timestamp::now().as_second();
            let claims = format!("{{\"sub\":\"one\",\"iat\":{now},\"exp\":{}}}", now + 300);
            let [head, claims] =
                ["{\"alg\":\"none\"}", &claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
            let body = format!(
                "{{\"access_token\":\"{head}.{claims}.\",\"token_type\":\"Bearer\",\"expires_in\":300}}"
            );
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    (port, asked)
}

#[test]
#[cfg(feature = "oidc")]
fn who_has_a_token_gets_in() {
    let _turn = turn();
    let Some(kafka) = Secured::shared() else {
        return;
    };
    let (port, asked) = tokens();
    let scene = scene(kafka);
    let topic = kafka.topic("tokens", 1);
    kafka.allow("one", Of::Topic(&topic), &[Right::Write, Right::Describe]);
    let how = format!(
        "tls: {{ ca_file: DIR/ca.pem }}, sasl: {{ mechanism: OAUTHBEARER, username: shipper, password: secret, token_url: \"http://127.0.0.1:{port}/token\", scope: kafka }}"
    );
    let at = [("main", kafka.login_at("localhost"), &*how)];
    let inputs = format!("inputs:\n{}", input("app", &format!("topic: {topic}")));
    LineWriter::create(scene.path("logs/app.log"), "app", SHORT).append(100);
    let daemon = scene.launch(&yaml(&scene, &at, &inputs)).start();
    delivered(&daemon, "app", 100);
    exact(kafka, &topic, "app", 100);
    assert!(asked.load(std::sync::atomic::Ordering::Relaxed) > 0);
}
