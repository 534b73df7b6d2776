//! The JSON forms of a record: one object a line, lossless.
//!
//! - [`consumed`]: a record of a topic, as outputs with `format: json` write it.
//! - [`read`]: a record that an input read, as inputs with `format: json` send it.
//! - [`read_back`]: the same line as the parts of a record.
//!
//! Both directions share [`text`]: wherever bytes are not valid UTF-8, the text holds U+FFFD and `NAME_base64` beside it has them exactly.
//! Everything is appended to the caller's buffer; nothing is allocated per record.

pub mod consumed;
pub mod read;
pub mod read_back;
pub mod text;
