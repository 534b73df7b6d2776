//! What an input can be told about the records that it makes of its lines.

use std::time::Duration;

/// Topic, key, headers, time and form of an input's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DressSettings {
    /// Template.
    pub topic: String,
    /// Template; absent: a null key.
    pub key: Option<String>,
    /// Template of what decides the partition where the key does not.
    pub place: Option<String>,
    /// Names and templates; a name may come several times.
    pub headers: Vec<(String, String)>,
    pub format: Format,
    /// Names and values that are added to every JSON object.
    pub fields: Vec<(String, String)>,
    /// The event's time is the record's within this range; absent: the time of reading is.
    pub timestamp: Option<TimestampRange>,
    pub on_refused: OnRefused,
    /// What a record may have, key, value and headers together, in bytes.
    pub max_record: u64,
}

/// What a record's value is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Format {
    /// The line's bytes.
    #[default]
    Raw,
    /// An object with what is known of the line.
    Json,
    /// What this template makes of it.
    Template(String),
}

/// How far from the time of reading an event may be to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampRange {
    pub past: Duration,
    pub future: Duration,
}

/// What becomes of a record that cannot be sent for its own sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRefused {
    #[default]
    DeadLetter,
    Stop,
    Drop,
}
