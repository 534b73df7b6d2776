//! Events become lines.
//!
//! A subscriber layer of our own, because every form must hold one promise: an event is one line, whatever is in it. The fields of the spans around
//! an event stand behind its own, the inner ones first, each name once.

use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Number, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::escape;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `TIME LEVEL place: message name=value`
    Text { colours: bool },
    /// `<N>place: message name=value`: the journal adds the time and reads the priority.
    Journal,
    /// `{"time": ..., "level": ..., "target": ..., "message": ..., "fields": {...}}`
    Json,
}

/// Writes each event as one line.
pub struct LogLayer {
    style: Style,
    writer: Mutex<Box<dyn Write + Send>>,
    now: fn() -> Timestamp,
}

impl LogLayer {
    pub fn new(style: Style, writer: Box<dyn Write + Send>) -> Self {
        Self::with_clock(style, writer, Timestamp::now)
    }

    /// With a clock of the caller's.
    pub fn with_clock(style: Style, writer: Box<dyn Write + Send>, now: fn() -> Timestamp) -> Self {
        Self {
            style,
            writer: Mutex::new(writer),
            now,
        }
    }

    fn line(&self, level: Level, target: &str, fields: &Fields) -> String {
        match self.style {
            Style::Text { colours } => text_line((self.now)(), level, target, fields, colours),
            Style::Journal => journal_line(level, target, fields),
            Style::Json => json_line((self.now)(), level, target, fields),
        }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                for (name, value) in &around.pairs {
                    fields.add_outer(name, value);
                }
            }
        }
        let target = fields
            .log_target
            .take()
            .unwrap_or_else(|| event.metadata().target().to_owned());
        let mut line = self.line(*event.metadata().level(), own_place(&target), &fields);
        line.push('\n');
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written must not stop the shipping of lines.
        let _ = writer
            .write_all(line.as_bytes())
            .and_then(|()| writer.flush());
    }
}

/// An event's message and its named values.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    pairs: Vec<(&'static str, Value)>,
    /// The place named by an event that came through the `log` crate.
    log_target: Option<String>,
}

impl Fields {
    fn set(&mut self, field: &Field, value: Value) {
        let name = field.name();
        match name {
            "message" => {
                self.message = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
            }
            "log.target" => self.log_target = value.as_str().map(str::to_owned),
            "log.module_path" | "log.file" | "log.line" => {}
            _ => match self.pairs.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => self.pairs.push((name, value)),
            },
        }
    }

    fn add_outer(&mut self, name: &'static str, value: &Value) {
        if !self.pairs.iter().any(|(known, _)| *known == name) {
            self.pairs.push((name, value.clone()));
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::String(value.to_owned()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bool(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not a finite number.
        self.set(
            field,
            Number::from_f64(value).map_or_else(|| Value::String(value.to_string()), Value::Number),
        );
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.set(field, Value::String(text));
    }
}

fn text_line(now: Timestamp, level: Level, target: &str, fields: &Fields, colours: bool) -> String {
    let (dim, plain) = if colours {
        ("\u{1b}[2m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let colour = match level {
        _ if !colours => "",
        Level::ERROR => "\u{1b}[31m",
        Level::WARN => "\u{1b}[33m",
        Level::INFO => "\u{1b}[32m",
        Level::DEBUG => "\u{1b}[34m",
        Level::TRACE => "\u{1b}[35m",
    };
    let mut line = format!("{dim}{now:.3}{plain} {colour}{level:>5}{plain} {dim}");
    escape::push_plain(&mut line, target);
    let _ = write!(line, ":{plain} ");
    push_message(&mut line, fields);
    line
}

/// Priorities of sd-daemon(3).
fn journal_line(level: Level, target: &str, fields: &Fields) -> String {
    let priority = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    };
    let mut line = format!("<{priority}>");
    escape::push_plain(&mut line, target);
    line.push_str(": ");
    push_message(&mut line, fields);
    line
}

fn push_message(line: &mut String, fields: &Fields) {
    escape::push_plain(line, &fields.message);
    for (name, value) in &fields.pairs {
        let _ = write!(line, " {name}=");
        match value {
            Value::String(text) => escape::push_value(line, text),
            other => {
                let _ = write!(line, "{other}");
            }
        }
    }
}

fn json_line(now: Timestamp, level: Level, target: &str, fields: &Fields) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    };
    // Written in this order by hand: people read these lines too.
    let mut line = format!(
        "{{\"time\":\"{now:.6}\",\"level\":\"{level}\",\"target\":{},\"message\":{}",
        json_text(target),
        json_text(&fields.message)
    );
    if !fields.pairs.is_empty() {
        line.push_str(",\"fields\":{");
        for (index, (name, value)) in fields.pairs.iter().enumerate() {
            if index > 0 {
                line.push(',');
            }
            let _ = match value {
                Value::String(text) => write!(line, "{}:{}", json_text(name), json_text(text)),
                other => write!(line, "{}:{other}", json_text(name)),
            };
        }
        line.push('}');
    }
    line.push('}');
    line
}

fn json_text(text: &str) -> Value {
    let (head, cut) = escape::shorten(text);
    let mut text = head.to_owned();
    escape::push_cut(&mut text, cut);
    Value::String(text)
}

/// A place in logferry is named without the crate, others in full.
fn own_place(target: &str) -> &str {
    target.strip_prefix("logferry::").unwrap_or(target)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn noon() -> Timestamp {
        "2026-11-21T12:00:00.123456Z".parse().unwrap()
    }

    fn logged(style: Style, say: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let layer = LogLayer::with_clock(style, Box::new(buffer.clone()), noon);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const TEXT: Style = Style::Text { colours: false };

    #[test]
    fn text_has_a_time_a_level_a_place_a_message_and_pairs() {
        let line = logged(
            TEXT,
            || tracing::warn!(target: "logferry::kafka::producer", broker = "a:9092", tries = 3, why = "no route", "cannot connect"),
        );
        assert_eq!(
            line,
            "2026-11-21T12:00:00.123Z  WARN kafka::producer: cannot connect broker=a:9092 tries=3 why=\"no route\"\n"
        );
    }

    #[test]
    fn colours_stand_only_where_they_were_asked_for() {
        assert!(
            logged(Style::Text { colours: true }, || tracing::error!("x"))
                .contains("\u{1b}[31mERROR\u{1b}[0m")
        );
        assert!(!logged(TEXT, || tracing::error!("x")).contains('\u{1b}'));
    }

    #[test]
    fn under_the_journal_a_line_has_its_priority_and_no_time() {
        let lines = logged(Style::Journal, || {
            tracing::error!(target: "logferry::daemon", "one");
            tracing::warn!(target: "logferry::daemon", "two");
            tracing::info!(target: "logferry::daemon", "three");
            tracing::debug!(target: "logferry::daemon", "four");
        });
        assert_eq!(
            lines,
            "<3>daemon: one\n<4>daemon: two\n<6>daemon: three\n<7>daemon: four\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_in_utc_microseconds() {
        let line = logged(
            Style::Json,
            || tracing::info!(target: "logferry::input", lines = 7u64, ok = true, share = 0.5, name = "a\nb", "said \"so\""),
        );
        assert_eq!(line.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&line).unwrap();
        let wanted = serde_json::json!({"time": "2026-11-21T12:00:00.123456Z", "level": "info", "target": "input", "message": "said \"so\"",
            "fields": {"lines": 7, "ok": true, "share": 0.5, "name": "a\nb"}});
        assert_eq!(value, wanted);
    }

    #[test]
    fn a_whole_second_still_has_its_fraction() {
        let whole: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        assert!(
            json_line(whole, Level::INFO, "x", &Fields::default())
                .contains("2026-11-21T12:00:00.000000Z")
        );
    }

    #[test]
    fn what_is_not_a_number_is_still_json() {
        let line = logged(Style::Json, || tracing::info!(rate = f64::NAN, "x"));
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }

    #[test]
    fn no_message_and_no_field_forges_a_line() {
        for style in [TEXT, Style::Journal, Style::Json] {
            let lines = logged(style, || {
                tracing::info!(
                    path = "/a\n<0>forged: x",
                    "first\r\n2026 ERROR forged\u{1b}[2J"
                )
            });
            assert_eq!(lines.matches('\n').count(), 1, "{lines}");
            assert!(
                !lines.contains('\r') && !lines.contains('\u{1b}'),
                "{lines}"
            );
        }
    }

    #[test]
    fn spans_add_their_fields_and_the_inner_one_wins() {
        let line = logged(TEXT, || {
            let outer = tracing::info_span!(
                "pipeline",
                input = "nginx",
                file = "outer",
                late = tracing::field::Empty
            );
            outer.record("late", 5);
            outer.in_scope(|| {
                tracing::info_span!("file", file = "a.log")
                    .in_scope(|| tracing::info!(target: "logferry::x", offset = 9, "read"));
            });
        });
        assert!(
            line.ends_with("x: read offset=9 file=a.log input=nginx late=5\n"),
            "{line}"
        );
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot save positions")]
        struct Outer(#[source] io::Error);

        let error = Outer(io::Error::other("disk full"));
        let line = logged(TEXT, || {
            tracing::error!(
                error = &error as &(dyn std::error::Error + 'static),
                "stopped"
            )
        });
        assert!(
            line.contains("error=\"cannot save positions: disk full\""),
            "{line}"
        );
    }

    #[test]
    fn a_writer_that_fails_stops_nothing() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
        let layer = LogLayer::new(TEXT, Box::new(Broken));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::error!("x")
        });
    }
}
