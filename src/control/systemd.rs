//! What the service manager is told: ready, what is going on, stopping, still alive.
//!
//! Protocol: sd_notify(3). Without `NOTIFY_SOCKET` (a terminal, a container) every call here does nothing. READY does not wait for Kafka: a log
//! shipper that is up and waiting for its broker is a healthy service, and whatever is ordered after it must not hang on Kafka.
//!
//! Invariant: the service manager never stops the daemon. A message that cannot be sent within [`SEND_TIMEOUT`] is an error for the log, no more.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::fs::fstat;
use sd_notify::NotifyState;

/// How long a message may take to be accepted.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Longest STATUS text, in bytes.
const LONGEST_STATUS: usize = 512;

/// The way to the service manager, or to nowhere.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    socket: Option<OsString>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// The service manager that started this process, if one did (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    pub fn of_environment() -> Self {
        Self {
            socket: std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()),
            watchdog: sd_notify::watchdog_enabled().filter(|every| !every.is_zero()),
        }
    }

    /// Whether somebody listens.
    pub fn listens(&self) -> bool {
        self.socket.is_some()
    }

    /// The daemon runs: configuration read, data_dir held, pipelines started.
    ///
    /// # Errors
    /// The message could not be sent; so for all of these.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))])
    }

    /// One line for `systemctl status`.
    ///
    /// # Errors
    /// As [`Manager::ready`].
    pub fn status(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Status(&one_line(status))])
    }

    /// The drain has begun.
    ///
    /// # Errors
    /// As [`Manager::ready`].
    pub fn stopping(&self, status: &str) -> io::Result<()> {
        self.send(&[
            NotifyState::Stopping,
            NotifyState::Status(&one_line(status)),
        ])
    }

    /// The drain needs this much longer, counted from now; to be said again before it is over. Keeps a unit whose `TimeoutStopSec=` is below
    /// `shutdown.timeout` from being killed in mid-drain.
    ///
    /// # Errors
    /// As [`Manager::ready`].
    pub fn extend_timeout(&self, by: Duration) -> io::Result<()> {
        let micros = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.send(&[NotifyState::ExtendTimeoutUsec(micros)])
    }

    /// How often [`Manager::alive`] is due: half of `WatchdogSec=`. `None`: nobody watches.
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.socket
            .as_ref()
            .and(self.watchdog)
            .map(|every| every / 2)
    }

    /// The daemon makes progress.
    ///
    /// # Errors
    /// As [`Manager::ready`].
    pub fn alive(&self) -> io::Result<()> {
        self.send(&[NotifyState::Watchdog])
    }

    /// Pings the watchdog for ever, as long as `lives` says so; returns at once when nobody watches. `lives` must be quick; when it says no the
    /// ping is left out, and when that lasts the service manager restarts the daemon.
    pub async fn watch(&self, lives: impl Fn() -> bool) {
        let Some(interval) = self.watchdog_interval() else {
            return;
        };
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if !lives() {
                tracing::warn!(
                    "the daemon makes no progress; the watchdog is not told that it lives"
                );
            } else if let Err(error) = self.alive() {
                tracing::warn!(%error, "the service manager's watchdog cannot be told that the daemon lives");
            }
        }
    }

    /// Sends to the socket by its address each time: the service manager may be replaced while the daemon runs.
    fn send(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let Some(path) = &self.socket else {
            return Ok(());
        };
        let mut message = String::new();
        for state in states {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "{state}");
        }
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.send_to_addr(message.as_bytes(), &address)?;
        Ok(())
    }
}

/// A socket that the service manager opened.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
    UnixStream(UnixListener),
    UnixDatagram(UnixDatagram),
}

/// The sockets that the service manager passed (`LISTEN_FDS`), all of them; only the first call gets them.
///
/// # Errors
/// There are none, or one is of another kind.
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Err(io::Error::other(
            "it passed none (LISTEN_FDS); a .socket unit of the same name as the service has to open them",
        ));
    }
    let mut sockets = Vec::new();
    for at in 0..passed.len() {
        let socket = if let Ok(Some(socket)) = passed.take_tcp_listener(at) {
            Socket::Tcp(socket)
        } else if let Ok(Some(socket)) = passed.take_udp_socket(at) {
            Socket::Udp(socket)
        } else if let Ok(Some(socket)) = passed.take_unix_listener(at) {
            Socket::UnixStream(socket)
        } else if let Ok(Some(socket)) = passed.take_unix_datagram(at) {
            Socket::UnixDatagram(socket)
        } else {
            return Err(io::Error::other(format!(
                "the one with the number {at} is neither a stream nor a datagram socket of IP or unix"
            )));
        };
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Whether standard error is systemd's journal: `JOURNAL_STREAM` names its device and inode. A child whose stderr was redirected to a file inherits
/// the variable, so its value is compared.
pub fn stderr_is_journal() -> bool {
    let Some(stream) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let Some(stream) = stream.to_str().and_then(device_and_inode) else {
        return false;
    };
    fstat(io::stderr()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == stream)
}

fn device_and_inode(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// A line feed in a status would begin another assignment.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_STATUS));
    for character in text.chars() {
        if line.len() + character.len_utf8() > LONGEST_STATUS {
            break;
        }
        line.push(if character.is_control() {
            ' '
        } else {
            character
        });
    }
    line
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::path::Path;

    use super::*;

    struct Listener {
        socket: UnixDatagram,
        manager: Manager,
        _folder: tempfile::TempDir,
    }

    fn listener() -> Listener {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Listener {
            socket,
            manager: manager_at(&path),
            _folder: folder,
        }
    }

    fn manager_at(path: &Path) -> Manager {
        Manager {
            socket: Some(path.as_os_str().to_owned()),
            watchdog: Some(Duration::from_secs(30)),
        }
    }

    impl Listener {
        fn heard(&self) -> String {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        }
    }

    #[test]
    fn the_life_of_a_service_is_told_in_the_manager_s_words() {
        let listener = listener();
        let manager = &listener.manager;
        manager.ready("shipping 2 inputs").unwrap();
        assert_eq!(listener.heard(), "READY=1\nSTATUS=shipping 2 inputs\n");
        manager.status("waiting for kafka-1:9092").unwrap();
        assert_eq!(listener.heard(), "STATUS=waiting for kafka-1:9092\n");
        manager.stopping("draining").unwrap();
        assert_eq!(listener.heard(), "STOPPING=1\nSTATUS=draining\n");
        manager.extend_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(listener.heard(), "EXTEND_TIMEOUT_USEC=5000000\n");
        manager.alive().unwrap();
        assert_eq!(listener.heard(), "WATCHDOG=1\n");
    }

    #[test]
    fn a_status_cannot_smuggle_in_another_word() {
        let listener = listener();
        listener.manager.status("topic a\nREADY=1").unwrap();
        assert_eq!(listener.heard(), "STATUS=topic a READY=1\n");
        listener.manager.status(&"ä".repeat(1000)).unwrap();
        assert!(listener.heard().len() <= LONGEST_STATUS + "STATUS=\n".len());
    }

    #[test]
    fn an_abstract_socket_is_reached_too() {
        let name = format!("logferry-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager {
            socket: Some(format!("@{name}").into()),
            watchdog: None,
        };
        manager.alive().unwrap();
        let mut buffer = [0; 64];
        assert_eq!(socket.recv(&mut buffer).unwrap(), "WATCHDOG=1\n".len());
    }

    #[test]
    fn without_a_manager_nothing_happens_and_nothing_fails() {
        let nobody = Manager::default();
        nobody.ready("x").unwrap();
        nobody.extend_timeout(Duration::MAX).unwrap();
        assert!(!nobody.listens());
        assert_eq!(nobody.watchdog_interval(), None);
    }

    #[test]
    fn a_manager_that_went_away_is_an_error_and_no_more() {
        let listener = listener();
        let manager = listener.manager.clone();
        drop(listener);
        assert!(manager.alive().is_err());
    }

    #[tokio::test]
    async fn the_watchdog_is_told_at_half_its_time_while_the_daemon_lives() {
        let mut listener = listener();
        listener.manager.watchdog = Some(Duration::from_millis(2));
        assert_eq!(
            listener.manager.watchdog_interval(),
            Some(Duration::from_millis(1))
        );
        let asked = Cell::new(0);
        let enough = tokio::sync::Notify::new();
        // Alive twice, then stuck.
        let lives = || {
            asked.set(asked.get() + 1);
            if asked.get() == 4 {
                enough.notify_one();
            }
            asked.get() <= 2
        };
        tokio::select! {
            () = listener.manager.watch(lives) => panic!("the watch ended"),
            () = enough.notified() => {}
        }
        assert_eq!(listener.heard(), "WATCHDOG=1\n");
        assert_eq!(listener.heard(), "WATCHDOG=1\n");
        listener.socket.set_nonblocking(true).unwrap();
        assert!(listener.socket.recv(&mut [0; 8]).is_err());
    }

    #[test]
    fn a_journal_stream_is_a_device_and_an_inode() {
        assert_eq!(device_and_inode("8:12345"), Some((8, 12345)));
        assert_eq!(device_and_inode("8"), None);
        assert_eq!(device_and_inode("a:b"), None);
    }
}
