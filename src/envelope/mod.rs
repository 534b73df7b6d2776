//! The JSON forms of a record.
