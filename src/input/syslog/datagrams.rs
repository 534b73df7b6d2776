//! Datagrams: each is one message. A line end or a NUL after it is cut.
//!
//! They are received several at a time, with what the kernel says about those that it dropped.

use std::io::{IoSliceMut, Result};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};

use super::connection::show;
use super::frame::{Framer, trim};
use super::intake::{End, Intake};
use super::listen::{DatagramKind, Datagrams};
use crate::input::frame::settings::MaxLine;

/// Datagrams per call.
const MANY: usize = 64;
/// Unix sockets queue few: with so many there, senders may wait already.
const MANY_OF_UNIX: usize = 8;
/// The longest datagram, in bytes.
const LONGEST: usize = 64 * 1024;
/// From one to the next. Were it a power of two, all would meet in the same lines of the processor's caches.
const STRIDE: usize = LONGEST + 7 * 64;

/// Room for datagrams, used by all sockets of an input.
pub(super) struct Room {
    memory: Vec<u8>,
    max_line: MaxLine,
    /// The last sender, as it is written.
    peer: Option<(SocketAddr, String)>,
    /// Length and sender of each that was received.
    received: Vec<(usize, Option<SocketAddr>)>,
}

/// What was received at once.
pub(super) struct Turn {
    pub bytes: usize,
    /// There may be more.
    pub has_more: bool,
}

impl Room {
    pub fn new(max_line: MaxLine) -> Self {
        Self {
            memory: vec![0; MANY * STRIDE],
            max_line,
            peer: None,
            received: Vec::with_capacity(MANY),
        }
    }

    /// Receives what is there, up to some, and hands it on; `None` when nothing was there.
    pub fn turn(
        &mut self,
        socket: &mut Datagrams,
        intake: &mut Intake,
    ) -> std::result::Result<Option<Turn>, End> {
        match self.receive(socket) {
            Ok(()) => {}
            Err(error) => {
                let is_quiet = matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted
                );
                if !is_quiet {
                    // Such as an ICMP error that a datagram of somebody else caused; the socket goes on.
                    tracing::debug!(socket = %socket.name, %error, "receiving failed");
                }
                return Ok(None);
            }
        }
        intake.tick();
        let mut sum = 0;
        for at in 0..self.received.len() {
            let (len, sender) = self.received[at];
            sum += len;
            let is_same = |known: &(SocketAddr, String)| Some(known.0) == sender;
            if !self.peer.as_ref().is_some_and(is_same) {
                self.peer = sender.map(|sender| (sender, show(sender)));
            }
            let peer = self.peer.as_ref().map(|(_, text)| text.as_str());
            let datagram = &self.memory[at * STRIDE..][..len];
            let message = trim(datagram);
            if message.is_empty() {
                continue;
            }
            let mut framer = Framer::of_datagram(message.len(), self.max_line);
            if let Err(end) = intake.feed(&mut framer, message, peer, true) {
                let rest: usize = self.received[at + 1..].iter().map(|(len, _)| len).sum();
                intake.give_up(rest);
                return Err(end);
            }
        }
        let many = match socket.kind {
            DatagramKind::Udp(_) => MANY,
            DatagramKind::Unix(_) => MANY_OF_UNIX,
        };
        Ok(Some(Turn {
            bytes: sum,
            has_more: self.received.len() >= many,
        }))
    }

    fn receive(&mut self, socket: &mut Datagrams) -> Result<()> {
        self.received.clear();
        match &socket.kind {
            DatagramKind::Unix(unix) => {
                for room in self.memory.chunks_mut(STRIDE) {
                    match unix.recv(&mut room[..LONGEST]) {
                        Ok(len) => self.received.push((len, None)),
                        Err(error) if self.received.is_empty() => return Err(error),
                        Err(_) => break,
                    }
                }
            }
            DatagramKind::Udp(udp) => {
                // Made anew each time: the kernel writes into the headers how much of their room it used.
                let space = nix::cmsg_space!(u32);
                let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(MANY, Some(space));
                let mut slices: Vec<[IoSliceMut<'_>; 1]> = self
                    .memory
                    .chunks_mut(STRIDE)
                    .map(|room| [IoSliceMut::new(&mut room[..LONGEST])])
                    .collect();
                let (fd, flags) = (udp.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
                let found =
                    recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None).map_err(error_of)?;
                for message in found {
                    let sender = message.address.as_ref().and_then(sender);
                    self.received.push((message.bytes, sender));
                    let Ok(controls) = message.cmsgs() else {
                        continue;
                    };
                    for control in controls {
                        if let ControlMessageOwned::RxqOvfl(drops) = control {
                            let more = u64::from(drops.wrapping_sub(socket.drops));
                            socket.drops = drops;
                            socket.dropped.add(more);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn error_of(error: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(error as i32)
}

fn sender(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddrV4::from(*v4).into());
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::from(*v6).into())
}
