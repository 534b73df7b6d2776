//! The input `syslog`: messages from sockets.

pub mod parse;
