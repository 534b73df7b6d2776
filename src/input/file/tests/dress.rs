//! What is made of lines: topics, keys, headers and values, and what is refused for them.

use serde_json::{Value, json};

use super::*;
use crate::input::dress::settings::{Format, OnRefused};
use crate::input::frame::settings::{GroupRule, LongLine, MaxLine, MultilineSettings};

/// What a record has beside its value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Beside {
    topic: Option<String>,
    key: Option<String>,
    headers: Vec<String>,
    at: u64,
}

impl Beside {
    pub(super) fn of(batch: &Batch, record: usize) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let extras = &batch.extras;
        let topic = extras.topics.get(record);
        let headers = extras.headers_of(record);
        Self {
            topic: topic.map(|at| extras.topic_names[*at as usize].to_string()),
            key: extras.key_of(record).map(text),
            headers: headers
                .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), text(value)))
                .collect(),
            at: batch.position_of(record),
        }
    }
}

fn settings(topic: &str) -> DressSettings {
    DressSettings {
        topic: topic.into(),
        place: None,
        key: None,
        headers: vec![],
        format: Format::Raw,
        fields: vec![],
        timestamp: None,
        on_refused: OnRefused::DeadLetter,
        max_record: 1_000_000,
    }
}

fn rig(dress: DressSettings) -> Rig {
    let mut rig = Rig::new(&["*.log"]);
    rig.dress = Some(dress);
    rig
}

fn topics(rig: &Rig) -> Vec<&str> {
    let topics = rig.beside.iter().map(|it| it.topic.as_deref().unwrap());
    topics.collect()
}

#[test]
fn topic_key_and_headers_are_made_of_the_line_and_of_where_it_stands() {
    let mut rig = rig(DressSettings {
        key: Some("{json.user}".into()),
        headers: vec![
            ("env".into(), "prod".into()),
            ("file".into(), "{host}:{file.name}".into()),
            ("at".into(), "{file.offset}".into()),
            ("status".into(), "{json.http.status}".into()),
            ("env".into(), "{input}".into()),
        ],
        ..settings("app-{json.app}")
    });
    let lines = [
        r#"{"app":"web","user":"anna","http":{"status":200}}"#,
        r#"{"app":"db","user":""}"#,
        r#"{"app":"web","user":null}"#,
    ];
    rig.append("a.log", &format!("{}\n", lines.join("\n")));
    rig.start();
    rig.until_lines(3);
    assert_eq!(rig.lines(), lines);
    let second = lines[0].len() + 1;
    let third = second + lines[1].len() + 1;
    let beside = |topic: &str, key: Option<&str>, at: usize, status: Option<&str>| Beside {
        topic: Some(topic.into()),
        key: key.map(Into::into),
        headers: ["env=prod", "file=web-1:a.log", &format!("at={at}")]
            .into_iter()
            .map(str::to_owned)
            .chain(status.map(|status| format!("status={status}")))
            .chain(["env=in".to_owned()])
            .collect(),
        at: at as u64,
    };
    assert_eq!(
        rig.beside,
        [
            beside("app-web", Some("anna"), 0, Some("200")),
            beside("app-db", Some(""), second, None),
            beside("app-web", None, third, None),
        ]
    );
    rig.stop();
}

#[test]
fn the_json_form_of_a_line_is_the_documented_one() {
    let mut rig = rig(DressSettings {
        format: Format::Json,
        fields: vec![("env".into(), "prod".into())],
        key: Some("{line}".into()),
        ..settings("lines")
    });
    rig.append("a.log", "first\n");
    rig.append("a.log", "\n\"q\"\t\n");
    let path = rig.path("a.log");
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"\xff!\n").unwrap();
    rig.start();
    rig.until_lines(4);
    let mut objects = Vec::new();
    for line in rig.lines() {
        let mut object: Value = serde_json::from_str(line).unwrap();
        let read_time = object.as_object_mut().unwrap().remove("read_time").unwrap();
        let time: jiff::Timestamp = read_time.as_str().unwrap().parse().unwrap();
        assert!(jiff::Timestamp::now().duration_since(time).as_secs().abs() < 600);
        objects.push(object);
    }
    let object = |message: &str, offset: u64| {
        json!({
            "message": message, "host": "web-1", "input": "in",
            "file": {"path": path, "offset": offset}, "fields": {"env": "prod"},
        })
    };
    let mut odd = object("\u{fffd}!", 12);
    odd["message_base64"] = "/yE=".into();
    assert_eq!(
        objects[..3],
        [object("first", 0), object("", 6), object("\"q\"\t", 7)]
    );
    assert_eq!(objects[3], odd);
    let keys: Vec<_> = rig.beside.iter().map(|it| it.key.as_deref()).collect();
    assert_eq!(
        keys,
        [Some("first"), Some(""), Some("\"q\"\t"), Some("\u{fffd}!")]
    );
    rig.stop();
}

#[test]
fn a_template_makes_the_value_and_what_is_missing_is_left_out_of_it() {
    let mut rig = rig(DressSettings {
        format: Format::Template("{json.level}|{json.text}\n".into()),
        ..settings("lines")
    });
    rig.append("a.log", "{\"level\":\"info\",\"text\":\"a b\"}\n");
    rig.append("a.log", "{\"text\":\"c\"}\nplain\n");
    rig.start();
    rig.until_lines(3);
    assert_eq!(rig.lines(), ["info|a b\n", "|c\n", "|\n"]);
    rig.stop();
}

#[test]
fn what_cannot_be_a_topic_is_set_aside_with_all_that_was_made_of_it() {
    let mut rig = rig(DressSettings {
        key: Some("{json.user}".into()),
        headers: vec![("h".into(), "{json.app}".into())],
        format: Format::Json,
        ..settings("{json.app}")
    });
    rig.append(
        "a.log",
        "{\"app\":\"web\"}\n{\"app\":\"a/b\",\"user\":\"u\"}\nplain\n",
    );
    rig.append(
        "a.log",
        "{\"app\":\"__consumer_offsets\"}\n{\"app\":\"db\"}\n",
    );
    rig.is_full.store(true, Ordering::SeqCst);
    rig.start();
    // Nothing of the block counts while its letters cannot be written.
    rig.until("try", |rig| {
        let facts = &rig.running.as_ref().unwrap().facts;
        !facts.files().is_empty() && rig.arrived.is_empty()
    });
    rig.is_full.store(false, Ordering::SeqCst);
    rig.until_lines(2);
    rig.until_read();
    assert_eq!(topics(&rig), ["web", "db"]);
    let letters = std::mem::take(&mut *rig.refused.lock().unwrap());
    let told: Vec<_> = letters
        .iter()
        .map(|it| (it.topic.as_deref().unwrap(), it.offset, it.code))
        .collect();
    assert_eq!(
        told,
        [
            ("a/b", 14, "illegal_topic"),
            ("", 39, "illegal_topic"),
            ("__consumer_offsets", 45, "illegal_topic")
        ]
    );
    assert_eq!(letters[0].key.as_deref(), Some(&b"u"[..]));
    assert_eq!(letters[0].headers, [("h".to_owned(), b"a/b".to_vec())]);
    assert_eq!(letters[0].path.as_deref(), Some(&*rig.path("a.log")));
    assert_eq!((&letters[1].key, &letters[1].headers[..]), (&None, &[][..]));
    assert!(letters[1].reason.contains("lacks"));
    let object: Value = serde_json::from_slice(&letters[1].value).unwrap();
    assert_eq!(object["message"], "plain");
    let entries = rig.running.as_ref().unwrap().books.entries();
    assert_eq!(
        (
            entries.read.lines,
            entries.dead_lettered.lines,
            entries.acked.lines
        ),
        (5, 3, 2)
    );
    rig.stop();
}

#[test]
fn what_is_refused_is_dropped_or_stops_the_input_if_so_said() {
    let mut dropping = rig(DressSettings {
        on_refused: OnRefused::Drop,
        ..settings("{line}")
    });
    dropping.append("a.log", "one\nt w o\nthree\n");
    dropping.start();
    dropping.until_lines(2);
    assert_eq!(topics(&dropping), ["one", "three"]);
    let entries = dropping.running.as_ref().unwrap().books.entries();
    let dropped = entries
        .dropped
        .iter()
        .map(|(why, count)| (*why, count.lines));
    assert_eq!(dropped.collect::<Vec<_>>(), [("illegal_topic", 1)]);
    dropping.stop();

    let folder = tempfile::tempdir().unwrap();
    let aside: block::SetAside = Box::new(|_| Ok(()));
    let here = Here {
        id: String::new(),
        host: String::new(),
        input: String::new(),
    };
    let stopping = DressSettings {
        on_refused: OnRefused::Stop,
        ..settings("{line}")
    };
    let blocks = Blocks::new(&stopping, here, aside).unwrap();
    fs::write(folder.path().join("a.log"), "t w o\n").unwrap();
    let bell = Arc::new(Bell::new());
    let (sender, receiver) = pipe(4, bell.clone(), bell.clone());
    let tracker = Arc::new(Tracker::<Position>::new(Arc::new(Books::new())));
    let ended = run(FileInput {
        name: "in".into(),
        settings: FileSettings {
            paths: vec![folder.path().join("*.log").to_str().unwrap().to_owned()],
            ..dropping.settings.clone()
        },
        saved: Vec::new(),
        first_start: true,
        next_key: 1,
        once: false,
        ends: Ends {
            tracker: tracker.clone(),
            share: Budget::split(16 << 20, 1).1.remove(0),
            arenas: Arenas::new(4),
            sender: sender.into(),
            bell,
            stop: Stop::new(),
        },
        finish: Finish {
            set_aside: dropping.set_aside(),
            blocks: Some(blocks),
        },
        facts: Arc::new(Facts::new("in", tracker)),
        timing: dropping.timing,
    });
    let why = ended.unwrap_err().to_string();
    assert!(
        why.contains("\"t w o\"") && why.contains("on_refused is stop"),
        "{why}"
    );
    assert!(matches!(receiver.try_recv(), Received::Closed));
}

#[test]
fn a_record_that_grows_beyond_max_record_is_refused_and_the_rest_goes_on() {
    let mut rig = rig(DressSettings {
        key: Some("{file.name}".into()),
        headers: vec![("h".into(), "{line}".into())],
        max_record: 60,
        ..settings("lines")
    });
    let long = "x".repeat(30);
    rig.append("a.log", &format!("short\n{long}\nagain\n"));
    rig.start();
    rig.until_lines(2);
    assert_eq!(rig.lines(), ["short", "again"]);
    for beside in &rig.beside {
        assert_eq!(beside.key.as_deref(), Some("a.log"));
    }
    assert_eq!(rig.beside[1].headers, ["h=again"]);
    rig.until_read();
    let refused = rig.refused.lock().unwrap().clone();
    assert_eq!((refused.len(), refused[0].code), (1, "too_large"));
    assert_eq!(refused[0].value, long.as_bytes());
    assert_eq!(refused[0].topic.as_deref(), Some("lines"));
    rig.stop();
}

#[test]
fn restarts_and_groups_of_lines_change_no_offset_and_repeat_nothing() {
    let mut rig = rig(DressSettings {
        format: Format::Json,
        ..settings("t-{file.name}")
    });
    rig.settings.lines.multiline = Some(MultilineSettings {
        rule: GroupRule::Start("^#".into()),
        max_lines: 10,
        timeout: Duration::from_millis(10),
    });
    rig.append("a.log", "#1\n a\n#2\n");
    rig.start();
    rig.until_lines(2);
    rig.until_read();
    rig.stop();
    rig.append("a.log", "#3\n b\n");
    rig.start();
    rig.until_lines(3);
    rig.until_read();
    rig.stop();
    let told: Vec<_> = rig
        .lines()
        .iter()
        .map(|line| {
            let object: Value = serde_json::from_str(line).unwrap();
            let message = object["message"].as_str().unwrap().to_owned();
            (message, object["file"]["offset"].as_u64().unwrap())
        })
        .collect();
    let expected = [("#1\n a", 0), ("#2", 6), ("#3\n b", 9)];
    assert_eq!(told, expected.map(|(message, at)| (message.to_owned(), at)));
    assert_eq!(topics(&rig), ["t-a.log"; 3]);
}

#[test]
fn pieces_of_a_long_line_are_whole_characters_and_know_where_they_stand() {
    let mut rig = rig(DressSettings {
        format: Format::Json,
        ..settings("lines")
    });
    rig.settings.lines.whole_characters = true;
    rig.settings.lines.max_line = MaxLine {
        size: 16,
        policy: LongLine::Split,
    };
    let line = "ü".repeat(20);
    rig.append("a.log", &format!("a{line}\n"));
    rig.start();
    rig.until_lines(3);
    let mut text = String::new();
    for (line, beside) in rig.lines().iter().zip(&rig.beside) {
        let object: Value = serde_json::from_str(line).unwrap();
        assert_eq!(object.get("message_base64"), None);
        assert_eq!(object["file"]["offset"].as_u64(), Some(text.len() as u64));
        assert_eq!(beside.at, text.len() as u64);
        text += object["message"].as_str().unwrap();
    }
    assert_eq!(text, format!("a{line}"));
    rig.stop();
}

#[test]
fn many_made_values_come_in_batches_that_are_not_much_larger_than_an_arena() {
    let mut rig = rig(DressSettings {
        format: Format::Json,
        ..settings("t{json.n}")
    });
    let mut text = String::new();
    for at in 0..20_000 {
        text += &format!("{{\"n\":{},\"at\":{at}}}\n", at % 7);
    }
    rig.append("a.log", &text);
    rig.start();
    rig.until_lines(20_000);
    for (at, line) in rig.lines().iter().enumerate() {
        let object: Value = serde_json::from_str(line).unwrap();
        let message: Value = serde_json::from_str(object["message"].as_str().unwrap()).unwrap();
        assert_eq!(message["at"], at);
        assert_eq!(topics(&rig)[at..][..1], [format!("t{}", at % 7)]);
        if at > 200 {
            break;
        }
    }
    rig.until_read();
    rig.stop();
}
