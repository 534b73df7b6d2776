//! How a consumed record becomes bytes of a file. A codec is a file here, a line in [`Codec`], and an arm in each match below.
//!
//! Invariant: what a codec appends for a record ends where the record ends (with a line feed), so that a file cut between two records is
//! whole.

pub mod json;
pub mod raw;
pub mod template;

use super::file::settings::OutputFormat;
use crate::flow::Consumed;
use crate::template::{LineTemplate, TemplateError};
use jiff::tz::TimeZone;

/// The codecs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Codec {
    Raw,
    Json,
    Template(LineTemplate),
}

impl Codec {
    /// Times that templates make of records are in `zone`.
    ///
    /// # Errors
    /// Of a template that `check` would have refused.
    pub fn new(format: &OutputFormat, zone: &TimeZone) -> Result<Self, TemplateError> {
        Ok(match format {
            OutputFormat::Raw => Self::Raw,
            OutputFormat::Json => Self::Json,
            OutputFormat::Template(text) => {
                Self::Template(LineTemplate::parse(text)?.in_zone(zone.clone()))
            }
        })
    }

    /// Appends the record at `index`, its line end included.
    #[inline]
    pub fn append(
        &self,
        records: &dyn Consumed,
        index: usize,
        value: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Raw => raw::append(value, out),
            Self::Json => json::append(records, index, out),
            Self::Template(template) => template::append(template, records, index, out),
        }
    }

    /// Whether a null value leaves no trace that tells it from an empty one: such records are counted.
    pub fn hides_null(&self) -> bool {
        !matches!(self, Self::Json)
    }
}
