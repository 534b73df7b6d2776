//! The log: one event, one line, on standard error, in the form that its reader wants.
//!
//! `auto` chooses: under systemd's journal a line begins with its `<N>` priority and has no time of its own; elsewhere it is text, coloured on a
//! terminal only. `json` is one object a line. Nothing that is logged can forge a line: line feeds and control bytes in messages and fields are
//! written as escapes. Secrets are a type ([`crate::value::Secret`]) that prints as `***`, so none can reach this place.
//!
//! Invariant: an event is one `write` of one complete line, and a log that cannot be written stops nothing.

mod escape;
mod layer;

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::filter::{Directive, EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use crate::flow::Seldom;
pub use layer::{LogLayer, Style};

/// The environment variable whose filter replaces `log.level`, for example `debug` or `info,logferry::kafka=trace`.
pub const FILTER_VARIABLE: &str = "LOGFERRY_LOG";

/// `log:` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    pub level: Level,
    pub format: Format,
}

/// `log.level`: what is logged of logferry itself. Of the libraries only warnings and errors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The level of that name in the configuration.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "error" => Self::Error,
            "warn" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return None,
        })
    }
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Journal priorities when standard error is the journal, text otherwise.
    #[default]
    Auto,
    /// A time, a level, a message, `name=value` pairs.
    Text,
    /// One JSON object a line.
    Json,
}

/// What standard error is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// systemd's journal, see [`crate::control::systemd::stderr_is_journal`].
    pub journal: bool,
    /// A terminal that wants colours.
    pub colours: bool,
}

impl Place {
    /// Looks at standard error. Colours: on a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    pub fn of_stderr(journal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            journal,
            colours: io::stderr().is_terminal() && !refused,
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{FILTER_VARIABLE} is not a log filter: {reason}; write a level such as `debug`, or `info,logferry::kafka=trace`"
    )]
    Filter { reason: String },
    #[error("the log was set up twice in one process: {reason}")]
    Twice { reason: String },
}

/// Starts the log of this process on standard error. `filter` is the value of [`FILTER_VARIABLE`], if it is set.
///
/// # Errors
/// A filter that cannot be read, or a second call in one process.
pub fn init(settings: LogSettings, place: Place, filter: Option<&str>) -> Result<(), LogError> {
    init_to(settings, place, filter, Box::new(io::stderr()))
}

/// As [`init`], on any writer: one that draws a progress bar makes room for the line first. It is given whole lines.
///
/// # Errors
/// As [`init`].
pub fn init_to(
    settings: LogSettings,
    place: Place,
    filter: Option<&str>,
    writer: Box<dyn Write + Send>,
) -> Result<(), LogError> {
    let filter = filter_for(settings.level, filter)?;
    let layer = LogLayer::new(style_for(settings.format, place), writer);
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(|error| LogError::Twice {
            reason: error.to_string(),
        })
}

/// The value of [`FILTER_VARIABLE`], if it is set and says something.
pub fn filter_from_environment() -> Option<String> {
    let value = std::env::var_os(FILTER_VARIABLE)?;
    Some(value.to_string_lossy().into_owned()).filter(|value| !value.trim().is_empty())
}

fn style_for(format: Format, place: Place) -> Style {
    match format {
        Format::Json => Style::Json,
        Format::Auto if place.journal => Style::Journal,
        Format::Auto | Format::Text => Style::Text {
            colours: place.colours,
        },
    }
}

fn filter_for(level: Level, filter: Option<&str>) -> Result<EnvFilter, LogError> {
    if let Some(filter) = filter {
        return EnvFilter::try_new(filter).map_err(|error| LogError::Filter {
            reason: error.to_string(),
        });
    }
    let level = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    let libraries: Directive = level.min(LevelFilter::WARN).into();
    let own = format!("logferry={level}").parse().map_err(
        |error: tracing_subscriber::filter::ParseError| LogError::Filter {
            reason: error.to_string(),
        },
    )?;
    Ok(EnvFilter::builder()
        .with_default_directive(libraries)
        .parse_lossy("")
        .add_directive(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINAL: Place = Place {
        journal: false,
        colours: true,
    };
    const JOURNAL: Place = Place {
        journal: true,
        colours: false,
    };

    #[test]
    fn auto_follows_what_standard_error_is() {
        assert_eq!(
            style_for(Format::Auto, TERMINAL),
            Style::Text { colours: true }
        );
        assert_eq!(style_for(Format::Auto, JOURNAL), Style::Journal);
        assert_eq!(
            style_for(Format::Text, JOURNAL),
            Style::Text { colours: false }
        );
        assert_eq!(style_for(Format::Json, JOURNAL), Style::Json);
    }

    #[test]
    fn the_level_is_for_logferry_and_libraries_only_warn() -> Result<(), LogError> {
        let filter = filter_for(Level::Debug, None)?.to_string();
        assert!(filter.contains("logferry=debug"), "{filter}");
        assert!(filter.contains("warn"), "{filter}");
        let filter = filter_for(Level::Error, None)?.to_string();
        assert!(!filter.contains("warn"), "{filter}");
        Ok(())
    }

    #[test]
    fn levels_have_the_names_that_the_configuration_uses() {
        assert_eq!(Level::named("info"), Some(Level::Info));
        assert_eq!(Level::named("INFO"), None);
    }

    #[test]
    fn the_environment_replaces_the_level() -> Result<(), LogError> {
        let filter = filter_for(Level::Error, Some("info,logferry::kafka=trace"))?.to_string();
        assert!(
            filter.contains("logferry::kafka=trace") && filter.contains("info"),
            "{filter}"
        );
        Ok(())
    }

    #[test]
    fn a_filter_that_cannot_be_read_names_its_variable() {
        let told =
            filter_for(Level::Info, Some("logferry=loud")).map_err(|error| error.to_string());
        assert!(told.is_err_and(|text| text.contains(FILTER_VARIABLE)));
    }
}
