//! Opening what is listened on, and leaving it clean.
//!
//! A unix socket is made under another name, gets its permissions, and is then renamed to its own: nobody ever finds it with the wrong ones. What lies
//! there before is replaced when it is a socket that nobody listens on, and left alone otherwise. At the end the path is removed if it is still ours.

use std::fmt;
use std::fs;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{setsockopt, sockopt};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};

use super::settings::{Listen, SyslogSettings};

/// Everything that an input listens on.
#[derive(Debug, Default)]
pub struct Sockets {
    pub(super) listeners: Vec<Listener>,
    pub(super) datagrams: Vec<Datagrams>,
}

/// A socket that came from the service manager.
#[derive(Debug)]
pub enum Inherited {
    Tcp(TcpListener),
    Udp(UdpSocket),
    UnixStream(UnixListener),
    UnixDatagram(UnixDatagram),
}

/// Where connections come from.
#[derive(Debug)]
pub(super) struct Listener {
    pub name: String,
    pub kind: ListenerKind,
    _path: Option<OwnPath>,
}

#[derive(Debug)]
pub(super) enum ListenerKind {
    Tcp(TcpListener),
    Tls(TcpListener),
    Unix(UnixListener),
}

/// Where datagrams come from.
#[derive(Debug)]
pub(super) struct Datagrams {
    pub name: String,
    pub kind: DatagramKind,
    /// What its buffer holds at most, in bytes.
    pub buffer: usize,
    /// How many the kernel said that it dropped, modulo 2^32.
    pub drops: u32,
    _path: Option<OwnPath>,
}

#[derive(Debug)]
pub(super) enum DatagramKind {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Why a socket cannot be opened, in words for who starts the daemon.
#[derive(Debug)]
pub struct OpenError {
    pub text: String,
    /// The system does not allow it.
    pub is_permission: bool,
}

impl OpenError {
    /// The service manager's sockets cannot be taken over.
    pub fn of_systemd(error: io::Error) -> Self {
        Self {
            text: format!("cannot take over the sockets of the service manager: {error}"),
            is_permission: false,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The path of a unix socket that this process made.
#[derive(Debug)]
struct OwnPath {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.id);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket's path cannot be removed");
        }
    }
}

impl Sockets {
    /// Opens all of `listen`. `inherited` are those of the service manager.
    ///
    /// # Errors
    /// The first that cannot be opened; those before are closed again.
    pub fn open(settings: &SyslogSettings, inherited: Vec<Inherited>) -> Result<Self, OpenError> {
        let mut sockets = Self::default();
        for listen in &settings.listen {
            sockets
                .open_one(listen, settings)
                .map_err(|error| explain(listen, &error))?;
        }
        for socket in inherited {
            sockets
                .adopt(socket, settings)
                .map_err(|error| explain(&Listen::Systemd, &error))?;
        }
        Ok(sockets)
    }

    fn open_one(&mut self, listen: &Listen, settings: &SyslogSettings) -> io::Result<()> {
        let name = listen.to_string();
        match listen {
            Listen::Udp(address) => {
                let socket = UdpSocket::bind(address)?;
                self.add_datagrams(name, DatagramKind::Udp(socket), None, settings)
            }
            Listen::Tcp(address) => {
                let socket = TcpListener::bind(address)?;
                self.add_listener(name, ListenerKind::Tcp(socket), None)
            }
            Listen::Tls(address) => {
                let socket = TcpListener::bind(address)?;
                self.add_listener(name, ListenerKind::Tls(socket), None)
            }
            Listen::UnixStream(path) => {
                let (socket, path) = take_path(path, settings.mode, |at| UnixListener::bind(at))?;
                self.add_listener(name, ListenerKind::Unix(socket), Some(path))
            }
            Listen::UnixDatagram(path) => {
                let (socket, path) = take_path(path, settings.mode, |at| UnixDatagram::bind(at))?;
                self.add_datagrams(name, DatagramKind::Unix(socket), Some(path), settings)
            }
            Listen::Systemd => Ok(()),
        }
    }

    fn adopt(&mut self, socket: Inherited, settings: &SyslogSettings) -> io::Result<()> {
        let name = |address: &dyn fmt::Display| format!("systemd {address}");
        let path = |address: io::Result<std::os::unix::net::SocketAddr>| {
            let address = address.ok();
            let path = address.as_ref().and_then(|address| address.as_pathname());
            name(&path.unwrap_or(Path::new("unix")).display())
        };
        match socket {
            Inherited::Tcp(socket) => {
                let name = name(&socket.local_addr()?);
                self.add_listener(name, ListenerKind::Tcp(socket), None)
            }
            Inherited::UnixStream(socket) => {
                let name = path(socket.local_addr());
                self.add_listener(name, ListenerKind::Unix(socket), None)
            }
            Inherited::Udp(socket) => {
                let name = name(&socket.local_addr()?);
                self.add_datagrams(name, DatagramKind::Udp(socket), None, settings)
            }
            Inherited::UnixDatagram(socket) => {
                let name = path(socket.local_addr());
                self.add_datagrams(name, DatagramKind::Unix(socket), None, settings)
            }
        }
    }

    fn add_listener(
        &mut self,
        name: String,
        kind: ListenerKind,
        path: Option<OwnPath>,
    ) -> io::Result<()> {
        match &kind {
            ListenerKind::Tcp(socket) | ListenerKind::Tls(socket) => socket.set_nonblocking(true),
            ListenerKind::Unix(socket) => socket.set_nonblocking(true),
        }?;
        self.listeners.push(Listener {
            name,
            kind,
            _path: path,
        });
        Ok(())
    }

    fn add_datagrams(
        &mut self,
        name: String,
        kind: DatagramKind,
        path: Option<OwnPath>,
        settings: &SyslogSettings,
    ) -> io::Result<()> {
        match &kind {
            DatagramKind::Udp(socket) => {
                socket.set_nonblocking(true)?;
                setsockopt(socket, sockopt::RxqOvfl, &1)?;
            }
            DatagramKind::Unix(socket) => socket.set_nonblocking(true)?,
        }
        let mut datagrams = Datagrams {
            name,
            kind,
            buffer: 0,
            drops: 0,
            _path: path,
        };
        if let Some(bytes) = settings.receive_buffer {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if set_socket_recv_buffer_size_force(&datagrams, bytes).is_err() {
                set_socket_recv_buffer_size(&datagrams, bytes)?;
            }
            // The kernel doubles what it was asked for, for its own needs.
            let got = socket_recv_buffer_size(&datagrams)? / 2;
            if got < bytes {
                tracing::warn!(
                    socket = datagrams.name,
                    asked = bytes,
                    got,
                    "the receive buffer is smaller than `receive_buffer`; raise net.core.rmem_max"
                );
            }
        }
        datagrams.buffer = socket_recv_buffer_size(&datagrams)?;
        self.datagrams.push(datagrams);
        Ok(())
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            ListenerKind::Tcp(socket) | ListenerKind::Tls(socket) => socket.as_fd(),
            ListenerKind::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsFd for Datagrams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            DatagramKind::Udp(socket) => socket.as_fd(),
            DatagramKind::Unix(socket) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Datagrams {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Binds a unix socket and puts it at `path`.
fn take_path<S>(
    path: &Path,
    mode: u32,
    bind: impl FnOnce(&Path) -> io::Result<S>,
) -> io::Result<(S, OwnPath)> {
    if let Ok(found) = fs::symlink_metadata(path) {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something that is not a socket lies there",
            ));
        }
        if is_alive(path)? {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process listens there",
            ));
        }
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    // A process of this id that died between bind and rename.
    let _ = fs::remove_file(&temporary);
    let socket = bind(&temporary)?;
    let put = fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| fs::symlink_metadata(path));
    match put {
        Ok(found) => {
            let own = OwnPath {
                path: path.to_owned(),
                id: (found.dev(), found.ino()),
            };
            Ok((socket, own))
        }
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}

/// Whether somebody listens on the socket at `path`, of whatever kind.
fn is_alive(path: &Path) -> io::Result<bool> {
    let kinds = [
        UnixStream::connect(path).map(drop),
        UnixDatagram::unbound().and_then(|socket| socket.connect(path)),
    ];
    for result in kinds {
        match result {
            Ok(()) => return Ok(true),
            Err(error) => match error.raw_os_error().map(nix::errno::Errno::from_raw) {
                // Nobody, or somebody of the other kind, of which the other attempt knows.
                Some(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EPROTOTYPE) => {}
                Some(nix::errno::Errno::ENOENT) => return Ok(false),
                // Its queue is full, so it has one.
                Some(nix::errno::Errno::EAGAIN) => return Ok(true),
                _ => return Err(error),
            },
        }
    }
    Ok(false)
}

fn explain(listen: &Listen, error: &io::Error) -> OpenError {
    let advice = match (error.kind(), listen) {
        (io::ErrorKind::PermissionDenied, Listen::UnixStream(_) | Listen::UnixDatagram(_)) => {
            "; the daemon's user must be allowed to write into the folder"
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE (the unit's drop-in privileged-ports.conf), or take a higher one"
        }
        (io::ErrorKind::AddrInUse, _) => "; another program has it",
        (io::ErrorKind::AddrNotAvailable, _) => "; no interface of this host has the address",
        (io::ErrorKind::NotFound, _) => "; make the folder first",
        _ => "",
    };
    OpenError {
        text: format!("cannot listen on {listen}: {error}{advice}"),
        is_permission: error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(path: &Path) -> io::Result<(UnixListener, OwnPath)> {
        take_path(path, 0o600, |at| UnixListener::bind(at))
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        drop(UnixDatagram::bind(&path).unwrap());
        let (socket, own) = bind(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let as_datagrams = take_path(&path, 0o600, |at| UnixDatagram::bind(at));
        assert_eq!(as_datagrams.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((socket, own));
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "precious").unwrap();
        assert_eq!(
            bind(&path).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_path_that_somebody_else_took_over_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (_socket, own) = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(own);
        assert!(path.exists());
    }
}
