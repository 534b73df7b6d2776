//! What a `syslog` input can be told. Each key is documented where it is obeyed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

pub use super::frame::Framing;
pub use super::parse::Protocol;
pub use crate::input::dress::settings::{DressSettings, OnRefused, TimestampRange};
use crate::input::frame::settings::{FilterSettings, MaxLine};
use crate::spool::settings::SpoolSettings;

/// The keys of `from:` with `type: syslog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogSettings {
    pub listen: Vec<Listen>,
    pub tls: Option<ServerTls>,
    pub framing: Framing,
    pub protocol: Protocol,
    /// A name of the IANA's time zone database, or `local`.
    pub time_zone: String,
    pub max_line: MaxLine,
    pub filter: FilterSettings,
    /// Open connections at most; further ones are closed at once.
    pub max_connections: usize,
    /// A connection on which nothing came for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// The kernel's buffer of each UDP socket, in bytes. Absent: what the system gives.
    pub receive_buffer: Option<u64>,
    /// Threads that receive.
    pub workers: usize,
    /// Permission bits of unix sockets.
    pub mode: u32,
    /// Who owns unix sockets. Absent: who runs the daemon.
    pub owner: Option<Owner>,
    /// Template of what the filter looks at. Absent: the whole message.
    pub filter_of: Option<String>,
    /// Where what was read waits on disk.
    pub spool: Option<SpoolSettings>,
    pub dress: DressSettings,
}

/// `tls:` of an input. Without `client_ca_file` anybody may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    pub client_ca_file: Option<PathBuf>,
}

/// `USER`, `USER:GROUP` or `:GROUP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub user: Option<Id>,
    pub group: Option<Id>,
}

/// A user or a group, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Id {
    Name(String),
    Number(u32),
}

impl FromStr for Owner {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let id = |text: &str| match text.parse() {
            Ok(number) => Id::Number(number),
            Err(_) => Id::Name(text.to_owned()),
        };
        let is_name = |text: &str| !text.contains([':', '/', '\0']) && text.trim() == text;
        let group_is_there = group.is_none_or(|group| !group.is_empty());
        if text == ":" || text.is_empty() || !group_is_there || !is_name(user) {
            return Err("write USER, USER:GROUP or :GROUP, like `root:adm`");
        }
        if !group.is_none_or(is_name) {
            return Err("write USER, USER:GROUP or :GROUP, like `root:adm`");
        }
        Ok(Self {
            user: (!user.is_empty()).then(|| id(user)),
            group: group.map(id),
        })
    }
}

/// One entry of `listen:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Tls(SocketAddr),
    UnixStream(PathBuf),
    UnixDatagram(PathBuf),
    /// The sockets that the service manager opened.
    Systemd,
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("write SCHEME://ADDRESS, like `udp://0.0.0.0:514`, or `systemd`")?;
        let address = || {
            rest.parse()
                .map_err(|_| "write IP:PORT, like `0.0.0.0:514` or `[::]:514`")
        };
        let path = || match rest.starts_with('/') && !rest.ends_with('/') {
            true => Ok(PathBuf::from(rest)),
            false => Err("write an absolute path, like `unix+stream:///run/logferry/log`"),
        };
        match scheme {
            "udp" => Ok(Self::Udp(address()?)),
            "tcp" => Ok(Self::Tcp(address()?)),
            "tls" => Ok(Self::Tls(address()?)),
            "unix+stream" => Ok(Self::UnixStream(path()?)),
            "unix+dgram" => Ok(Self::UnixDatagram(path()?)),
            _ => Err("the schemes are udp, tcp, tls, unix+stream and unix+dgram"),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Tls(address) => write!(f, "tls://{address}"),
            Self::UnixStream(path) => write!(f, "unix+stream://{}", path.display()),
            Self::UnixDatagram(path) => write!(f, "unix+dgram://{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_a_user_a_group_or_both() {
        let name = |text: &str| Some(Id::Name(text.into()));
        for (text, user, group) in [
            ("root", name("root"), None),
            ("root:adm", name("root"), name("adm")),
            (":adm", None, name("adm")),
            ("0:4", Some(Id::Number(0)), Some(Id::Number(4))),
        ] {
            assert_eq!(text.parse::<Owner>(), Ok(Owner { user, group }), "{text}");
        }
        for wrong in ["", ":", "root:", "a:b:c", " root", "/root"] {
            assert!(wrong.parse::<Owner>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_listened_on_is_read_and_written_alike() {
        for text in [
            "udp://0.0.0.0:514",
            "tcp://[::1]:601",
            "tls://127.0.0.1:6514",
            "unix+stream:///run/log",
            "unix+dgram:///run/log",
            "systemd",
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for wrong in [
            "514",
            "udp://514",
            "udp://host:514",
            "http://0.0.0.0:1",
            "unix+stream://log",
            "unix+stream:///",
        ] {
            assert!(wrong.parse::<Listen>().is_err(), "{wrong}");
        }
    }
}
