//! One connection: what was read of it and is not framed yet, and where its stream stands.
//!
//! Invariant: it holds no more than one message of the longest kind, and one read.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::frame::{Framer, Loss};
use super::intake::{End, Intake};
use super::tls::TlsStream;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
    Unix(UnixStream),
}

/// What a turn of a connection came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many bytes came; there may be more.
    Got(usize),
    Nothing,
    /// It is over, and what it brought is dealt with.
    Over,
}

pub(super) struct Connection {
    stream: Stream,
    /// What it came to.
    listener: Arc<str>,
    /// The address that it came from.
    peer: Option<String>,
    framer: Framer,
    carry: Vec<u8>,
    /// When bytes came last.
    heard: Instant,
}

impl Connection {
    pub fn new(
        stream: Stream,
        listener: Arc<str>,
        peer: Option<SocketAddr>,
        framer: Framer,
    ) -> Self {
        Self {
            stream,
            listener,
            peer: peer.map(show),
            framer,
            carry: Vec::new(),
            heard: Instant::now(),
        }
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Bytes that wait in the kernel, before any decryption.
    pub fn waiting(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or(u64::MAX)
    }

    /// Whether nothing came for too long.
    pub fn is_overdue(&self, idle_timeout: Option<Duration>) -> bool {
        let quiet = self.heard.elapsed();
        let shakes_hands =
            matches!(&self.stream, Stream::Tls(stream) if stream.conn.is_handshaking());
        idle_timeout.is_some_and(|most| quiet >= most) || (shakes_hands && quiet >= HANDSHAKE)
    }

    /// One read into `buffer`, and the messages that it completed.
    pub fn turn(&mut self, buffer: &mut [u8], intake: &mut Intake) -> Result<Turn, End> {
        let got = match self.read(buffer) {
            Ok(0) => {
                self.finish(intake)?;
                return Ok(Turn::Over);
            }
            Ok(got) => got,
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => return Ok(Turn::Nothing),
                kind => {
                    if let Stream::Tls(_) = self.stream
                        && kind == io::ErrorKind::InvalidData
                    {
                        let why = format!("TLS failed, or nobody spoke it: {error}");
                        intake.breaks(&self.listener, self.peer.as_deref(), &why);
                    }
                    // A reset is an end like any other: what came before it is sent.
                    self.finish(intake)?;
                    return Ok(Turn::Over);
                }
            },
        };
        self.heard = Instant::now();
        intake.tick();
        let lost = if self.carry.is_empty() {
            let bytes = &buffer[..got];
            let fed = intake.feed(&mut self.framer, bytes, self.peer.as_deref(), false)?;
            keep(&mut self.carry, &bytes[fed.consumed..]);
            fed.lost
        } else {
            // When it fails, what was not handed on is in the books, and is ours no more.
            let mut carry = std::mem::take(&mut self.carry);
            keep(&mut carry, &buffer[..got]);
            let fed = intake.feed(&mut self.framer, &carry, self.peer.as_deref(), false)?;
            carry.drain(..fed.consumed);
            self.carry = carry;
            fed.lost
        };
        if self.carry.is_empty() && self.carry.capacity() > 4096 {
            // An idle connection costs nothing but itself.
            self.carry = Vec::new();
        }
        if let Some(loss) = lost {
            let why = match loss {
                Loss::Length => {
                    "with `framing: octet` each message has its length before it, and here is none"
                }
                Loss::Tls => "it speaks TLS, and this is no `tls://`",
            };
            intake.breaks(&self.listener, self.peer.as_deref(), why);
            return Ok(Turn::Over);
        }
        Ok(Turn::Got(got))
    }

    /// No more will be read: what is left is a message.
    pub fn finish(&mut self, intake: &mut Intake) -> Result<(), End> {
        let carry = std::mem::take(&mut self.carry);
        intake.feed(&mut self.framer, &carry, self.peer.as_deref(), true)?;
        Ok(())
    }

    /// Bytes that were read and are not sent.
    pub fn left(&self) -> usize {
        self.carry.len()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Tls(stream) => stream.sock.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Appends what is not framed yet. Many connections can be in the middle of a long message, so little more is taken than is needed.
fn keep(carry: &mut Vec<u8>, bytes: &[u8]) {
    let needed = carry.len() + bytes.len();
    if needed > carry.capacity() {
        carry.reserve_exact(bytes.len().max(carry.len() / 4));
    }
    carry.extend_from_slice(bytes);
}

/// An address as it is written; one of IPv4 that came through IPv6 as one of IPv4.
pub(super) fn show(address: SocketAddr) -> String {
    SocketAddr::new(address.ip().to_canonical(), address.port()).to_string()
}
