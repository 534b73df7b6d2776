//! `<34>`: how urgent a message is, and which part of a system it is from.

/// A number from 0 to 191: eight times the facility, plus the severity (RFC 5424, 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Priority(u8);

const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

const SEVERITIES: [&str; 8] = [
    "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug",
];

impl Priority {
    pub fn new(number: u16) -> Option<Self> {
        u8::try_from(number)
            .ok()
            .filter(|number| *number < 192)
            .map(Self)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// As syslog(3) and logger(1) name it.
    pub fn facility(self) -> &'static str {
        FACILITIES[usize::from(self.0 >> 3) % FACILITIES.len()]
    }

    /// As syslog(3) and logger(1) name it.
    pub fn severity(self) -> &'static str {
        SEVERITIES[usize::from(self.0 & 7)]
    }
}

/// `<` DIGITS `>`: the digits (1 to 3) and what follows.
pub(super) fn split(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = message.strip_prefix(b"<")?;
    let digits = inside
        .iter()
        .take(4)
        .position(|byte| !byte.is_ascii_digit())?;
    let rest = inside[digits..].strip_prefix(b">")?;
    (digits > 0).then_some((&inside[..digits], rest))
}

/// The number that at most three digits are.
pub(super) fn number(digits: &[u8]) -> u16 {
    digits
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}
