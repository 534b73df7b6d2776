//! Opening what is listened on, and leaving it clean.
//!
//! A unix socket is made under another name, gets its permissions, and is then renamed to its own: nobody ever finds it with the wrong ones. What lies
//! there before is replaced when it is a socket that nobody listens on, and left alone otherwise. At the end the path is removed if it is still ours.
//!
//! With several workers each has a socket of its own for every address of IP, all bound with SO_REUSEPORT: the kernel gives each sender to one of
//! them. What cannot be had twice (unix sockets, and those of the service manager) is the first worker's.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::sys::socket::{setsockopt, sockopt};
use nix::unistd::{Group, User};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, set_socket_reuseaddr,
    set_socket_reuseport, socket_recv_buffer_size,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::facts::{Counter, SocketFacts};
use super::settings::{Id, Listen, SyslogSettings};

/// Connections that wait to be accepted, as many as the system allows (net.core.somaxconn) at most: after a restart all senders come at once, and one
/// that finds no room tries again a second later.
const BACKLOG: i32 = 4096;

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
    pub name: Arc<str>,
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
    pub name: Arc<str>,
    pub kind: DatagramKind,
    /// What its buffer holds at most, in bytes.
    pub buffer: usize,
    /// How many the kernel said that it dropped, modulo 2^32.
    pub drops: u32,
    /// The same since the start, of all sockets of this address.
    pub dropped: Arc<Counter>,
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
    /// Opens all of `listen` for each worker. `inherited` are those of the service manager.
    ///
    /// # Errors
    /// The first that cannot be opened; those before are closed again.
    pub fn open(
        settings: &SyslogSettings,
        inherited: Vec<Inherited>,
    ) -> Result<Vec<Self>, OpenError> {
        let rights = Rights::of(settings)?;
        let workers = settings.workers.max(1);
        let mut all: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
        for listen in &settings.listen {
            open_one(&mut all, listen, settings, rights)
                .map_err(|error| explain(listen, &error))?;
        }
        for socket in inherited {
            all[0]
                .adopt(socket, settings)
                .map_err(|error| explain(&Listen::Systemd, &error))?;
        }
        say_small(&all, settings);
        Ok(all)
    }

    /// What is counted of the sockets of all workers, an address at a time.
    pub fn facts(all: &[Self]) -> Vec<SocketFacts> {
        let mut facts: Vec<SocketFacts> = Vec::new();
        for socket in all.iter().flat_map(|sockets| &sockets.datagrams) {
            let is_known = |it: &SocketFacts| Arc::ptr_eq(&it.kernel_drops, &socket.dropped);
            // Senders to unix sockets wait.
            if matches!(socket.kind, DatagramKind::Udp(_)) && !facts.iter().any(is_known) {
                facts.push(SocketFacts {
                    name: socket.name.clone(),
                    kernel_drops: socket.dropped.clone(),
                    buffer: socket.buffer,
                });
            }
        }
        facts
    }

    fn adopt(&mut self, socket: Inherited, settings: &SyslogSettings) -> io::Result<()> {
        let name = |address: &dyn fmt::Display| Arc::<str>::from(format!("systemd {address}"));
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
                self.add_datagrams(
                    name,
                    DatagramKind::Udp(socket),
                    None,
                    Arc::default(),
                    settings,
                )
            }
            Inherited::UnixDatagram(socket) => {
                let name = path(socket.local_addr());
                self.add_datagrams(
                    name,
                    DatagramKind::Unix(socket),
                    None,
                    Arc::default(),
                    settings,
                )
            }
        }
    }

    fn add_listener(
        &mut self,
        name: Arc<str>,
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
        name: Arc<str>,
        kind: DatagramKind,
        path: Option<OwnPath>,
        dropped: Arc<Counter>,
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
            dropped,
            _path: path,
        };
        if let (DatagramKind::Udp(_), Some(bytes)) = (&datagrams.kind, settings.receive_buffer) {
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            if set_socket_recv_buffer_size_force(&datagrams, bytes).is_err() {
                set_socket_recv_buffer_size(&datagrams, bytes)?;
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

/// Opens `listen` for those workers that can have it.
fn open_one(
    all: &mut [Sockets],
    listen: &Listen,
    settings: &SyslogSettings,
    rights: Rights,
) -> io::Result<()> {
    let name: Arc<str> = listen.to_string().into();
    let is_shared = all.len() > 1;
    let [first, rest @ ..] = all else {
        return Ok(());
    };
    match listen {
        Listen::Udp(address) => {
            let dropped: Arc<Counter> = Arc::default();
            let socket = udp(*address, is_shared)?;
            // With port 0 it is the kernel that says which.
            let address = socket.local_addr()?;
            let add = |sockets: &mut Sockets, socket| {
                let (name, kind) = (name.clone(), DatagramKind::Udp(socket));
                sockets.add_datagrams(name, kind, None, dropped.clone(), settings)
            };
            add(first, socket)?;
            for sockets in rest {
                add(sockets, udp(address, true)?)?;
            }
            Ok(())
        }
        Listen::Tcp(address) | Listen::Tls(address) => {
            let socket = tcp(*address, is_shared)?;
            let address = socket.local_addr()?;
            let add = |sockets: &mut Sockets, socket| {
                let kind = match listen {
                    Listen::Tls(_) => ListenerKind::Tls(socket),
                    _ => ListenerKind::Tcp(socket),
                };
                sockets.add_listener(name.clone(), kind, None)
            };
            add(first, socket)?;
            for sockets in rest {
                add(sockets, tcp(address, true)?)?;
            }
            Ok(())
        }
        Listen::UnixStream(path) => {
            let (socket, path) = take_path(path, rights, |at| UnixListener::bind(at))?;
            rustix::net::listen(&socket, BACKLOG)?;
            first.add_listener(name, ListenerKind::Unix(socket), Some(path))
        }
        Listen::UnixDatagram(path) => {
            let (socket, path) = take_path(path, rights, |at| UnixDatagram::bind(at))?;
            let kind = DatagramKind::Unix(socket);
            first.add_datagrams(name, kind, Some(path), Arc::default(), settings)
        }
        Listen::Systemd => Ok(()),
    }
}

/// Says once when the kernel gave less than was asked for.
fn say_small(all: &[Sockets], settings: &SyslogSettings) {
    let facts = Sockets::facts(all);
    let Some(asked) = settings.receive_buffer else {
        return;
    };
    // The kernel doubles what it was asked for, for its own needs.
    let small = facts.iter().filter(|it| (it.buffer as u64) / 2 < asked);
    if let Some(least) = small.min_by_key(|it| it.buffer) {
        tracing::warn!(
            socket = %least.name,
            asked,
            got = least.buffer / 2,
            "the receive buffer is smaller than `receive_buffer`, so that bursts of datagrams are dropped sooner: `sysctl -w net.core.rmem_max={asked}`, or ask for less"
        );
    }
}

fn udp(address: SocketAddr, is_shared: bool) -> io::Result<UdpSocket> {
    match is_shared {
        false => UdpSocket::bind(address),
        true => Ok(shared(address, SocketType::DGRAM)?.into()),
    }
}

fn tcp(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = match is_shared {
        false => TcpListener::bind(address)?.into(),
        true => shared(address, SocketType::STREAM)?,
    };
    // Also where it listens already: then only the number changes.
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A socket that others can be bound beside.
fn shared(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    set_socket_reuseport(&socket, true)?;
    if kind == SocketType::STREAM {
        set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Who may use unix sockets.
#[derive(Debug, Clone, Copy)]
struct Rights {
    mode: u32,
    user: Option<u32>,
    group: Option<u32>,
}

impl Rights {
    /// # Errors
    /// A user or a group that this system does not have.
    fn of(settings: &SyslogSettings) -> Result<Self, OpenError> {
        let owner = settings.owner.as_ref();
        let unknown = |what: &str, name: &str| OpenError {
            text: format!("`owner`: this system has no {what} `{name}`"),
            is_permission: false,
        };
        let user = match owner.and_then(|owner| owner.user.as_ref()) {
            None => None,
            Some(Id::Number(number)) => Some(*number),
            Some(Id::Name(name)) => {
                let found = User::from_name(name).ok().flatten();
                Some(found.ok_or_else(|| unknown("user", name))?.uid.as_raw())
            }
        };
        let group = match owner.and_then(|owner| owner.group.as_ref()) {
            None => None,
            Some(Id::Number(number)) => Some(*number),
            Some(Id::Name(name)) => {
                let found = Group::from_name(name).ok().flatten();
                Some(found.ok_or_else(|| unknown("group", name))?.gid.as_raw())
            }
        };
        Ok(Self {
            mode: settings.mode,
            user,
            group,
        })
    }

    /// The owner first: giving a file away takes bits from its mode.
    fn give(self, path: &Path) -> io::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            lchown(path, self.user, self.group).map_err(|error| {
                let who = "only root, or a member of the group, may give sockets that `owner`";
                io::Error::new(error.kind(), format!("{error} ({who})"))
            })?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(self.mode))
    }
}

/// Binds a unix socket and puts it at `path`.
fn take_path<S>(
    path: &Path,
    rights: Rights,
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
    let put = rights
        .give(&temporary)
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
        take_path(path, RIGHTS, |at| UnixListener::bind(at))
    }

    const RIGHTS: Rights = Rights {
        mode: 0o600,
        user: None,
        group: None,
    };

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
        let as_datagrams = take_path(&path, RIGHTS, |at| UnixDatagram::bind(at));
        assert_eq!(as_datagrams.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((socket, own));
        assert!(!path.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_socket_is_given_to_its_owner_before_anybody_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let own = fs::metadata(folder.path()).unwrap();
        // Root may give it to anybody, others to themselves.
        let (user, group) = match own.uid() {
            0 => (12_345, 54_321),
            user => (user, own.gid()),
        };
        let rights = Rights {
            mode: 0o660,
            user: Some(user),
            group: Some(group),
        };
        let _taken = take_path(&path, rights, |at| UnixListener::bind(at)).unwrap();
        let found = fs::metadata(&path).unwrap();
        let mode = found.mode() & 0o7777;
        assert_eq!((found.uid(), found.gid(), mode), (user, group, 0o660));
    }

    #[test]
    fn workers_divide_the_senders_among_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let any: SocketAddr = "[::1]:0".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let settings = SyslogSettings {
            listen: vec![
                Listen::Udp(local),
                Listen::Tcp(any),
                Listen::UnixStream(path),
            ],
            workers: 3,
            receive_buffer: Some(64 << 10),
            ..super::super::tests::settings()
        };
        let all = Sockets::open(&settings, vec![]).unwrap();
        let listeners: Vec<_> = all.iter().map(|it| it.listeners.len()).collect();
        assert_eq!(listeners, [2, 1, 1]);
        let facts = Sockets::facts(&all);
        assert_eq!(facts.len(), 1);
        assert!(facts[0].buffer >= 128 << 10);
        let udp: Vec<_> = (all.iter())
            .map(|it| match &it.datagrams[0].kind {
                DatagramKind::Udp(socket) => socket,
                DatagramKind::Unix(_) => panic!("a unix socket"),
            })
            .collect();
        for _ in 0..64 {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            let to = udp[0].local_addr().unwrap();
            sender.send_to(b"x", to).unwrap();
        }
        let got = udp.iter().map(|socket| {
            let mut room = [0; 8];
            std::iter::from_fn(|| socket.recv(&mut room).ok()).count()
        });
        let got: Vec<usize> = got.collect();
        assert_eq!(got.iter().sum::<usize>(), 64);
        assert!(got.iter().all(|got| *got > 0), "{got:?}");
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
