//! The input `syslog`: messages from sockets.

pub mod frame;
pub mod parse;
