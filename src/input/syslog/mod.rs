//! The input `syslog`: messages from sockets.
//!
//! A worker is a thread that looks after its own sockets; an input has one, or several that divide the senders among them. It waits for them together, reads a bounded piece of each in turn, and hands on what is in it;
//! where there is no budget it waits for that and reads nothing, so senders of streams are slowed, and datagrams pile up in the kernel, whose drops
//! are counted.
//!
//! Messages that come steadily are read a few milliseconds' worth at a time: after a look that found little the thread rests, so that waking up is not
//! what they cost. What is at hand waits that long for others anyway.
//!
//! Nobody answers for a message in syslog: what was read is in memory or delivered, nowhere else. After a soft stop what is on its way is still read,
//! until nothing comes any more; senders that do not end are cut off after a second.
//!
//! Reading order: `parse`, `frame` (both pure), `dress`, `intake`, `connection` and `datagrams`, then this.

mod connection;
mod datagrams;
mod dress;
pub mod facts;
pub mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod intake;
mod json;
pub mod listen;
pub mod parse;
pub mod settings;
pub mod tls;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ServerConfig;

use self::connection::{Connection, Stream, Turn};
use self::datagrams::Room;
use self::facts::SyslogFacts;
use self::frame::Framer;
use self::intake::{End, Intake};
use self::listen::{DatagramKind, ListenerKind, Sockets};
use self::parse::{Clock, Moment};
use self::settings::SyslogSettings;
use super::outlet::{Ends, Outlet};
use super::{Position, Report};
use crate::flow::SourceId;
pub use crate::value::zone;

/// How long a record waits in hand for others.
const GATHER: Duration = Duration::from_millis(5);
/// How long it rests after it found little, at most; the sockets gather meanwhile.
const REST: Duration = GATHER;
/// So much of a socket's buffer a datagram takes, in bytes, and so many may come in a millisecond: a rest may not fill more than half of it.
const DATAGRAM: (usize, usize) = (1280, 200);
/// A connection that brings so many bytes at a time has more.
const MUCH: usize = 16 * 1024;
/// For how long quiet sockets are waited for at a time; a stop is noticed after this at the latest.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often connections are looked at that nothing comes from, and listeners tried again.
const LOOK: Duration = Duration::from_secs(1);
/// After a soft stop: when nothing came for so long, nothing is on its way.
const QUIET: Duration = Duration::from_millis(50);
/// After a soft stop: how long senders that go on are listened to.
const STILL: Duration = Duration::from_secs(1);
/// Bytes that one connection may bring before it is the next one's turn.
const READ: usize = 64 * 1024;
/// Sockets that are told about at a time.
const EVENTS: usize = 256;
/// Connections that are accepted before others have their turn.
const ACCEPTS: usize = 64;

/// A message, or its beginning, that is set aside.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Bytes that the input had taken before it, from all its sockets.
    pub offset: u64,
    pub peer: Option<&'a str>,
    pub topic: Option<&'a str>,
    pub value: &'a [u8],
    pub code: &'static str,
    pub reason: &'a str,
}

/// Sets a message aside; it is durable when this returns `Ok`. Else the input waits and tries again.
pub type SetAside = Box<dyn FnMut(&Refused<'_>) -> Result<(), String> + Send>;

/// What a worker of a syslog input needs to run.
pub struct SyslogInput {
    /// Which of the input's workers it is: each is a source of its own.
    pub worker: SourceId,
    pub id: String,
    pub host: String,
    pub name: String,
    pub settings: SyslogSettings,
    pub sockets: Sockets,
    /// For sockets of TLS.
    pub tls: Option<Arc<ServerConfig>>,
    pub zone: TimeZone,
    /// What waits at the start is read, and nothing else.
    pub once: bool,
    pub facts: Arc<SyslogFacts>,
    pub ends: Ends,
    pub set_aside: SetAside,
}

/// Receives until the stop. Blocks its thread.
///
/// # Errors
/// When sockets cannot be waited for, or a message's topic cannot be one and that stops the input.
pub fn run(input: SyslogInput) -> Result<Report, String> {
    input.ends.tracker.add(input.worker, Position::default());
    let outlet = Outlet::new(input.ends).reading_on_after_a_soft_stop();
    let names = (&*input.id, &*input.host, &*input.name);
    let clock = Clock::new(input.zone, Moment(0));
    let (settings, set_aside) = (&input.settings, input.set_aside);
    let intake = Intake::new(
        outlet,
        input.facts,
        settings,
        clock,
        names,
        input.worker,
        set_aside,
    )?;
    let waited = |error: Errno| format!("sockets cannot be waited for: {error}");
    let room = Room::new(input.settings.max_line);
    let rest = rest(&input.sockets);
    let mut server = Server {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).map_err(waited)?,
        settings: input.settings,
        name: input.name,
        sockets: input.sockets,
        tls: input.tls,
        intake,
        room,
        buffer: vec![0; READ],
        connections: Vec::new(),
        free: Vec::new(),
        paused: Vec::new(),
        looked: Instant::now(),
        said_full: false,
        rest,
        has_more: false,
    };
    let served = match input.once {
        true => Ok(()),
        false => server.serve(),
    };
    let served = served.and_then(|()| server.drain());
    let outlet = &mut server.intake.outlet;
    if served.is_err() {
        // What is in hand, and what was taken and not sent, shows in the books as not delivered.
        let _ = outlet.flush();
        let left = server.connections.iter().flatten();
        let left: usize = left.map(Connection::left).sum();
        server.intake.give_up(left);
    }
    let sent = server.intake.outlet.sent();
    let facts = &server.intake.facts;
    facts.connections.take_back(server.open() as u64);
    if let Err(End::Failed(_)) = served {
        facts.has_failed.store(true, Ordering::Relaxed);
    }
    match served {
        Ok(()) | Err(End::Outlet) => Ok(Report {
            lines: sent.lines,
            bytes: sent.bytes,
            files: 0,
            unread: 0,
        }),
        Err(End::Failed(error)) => Err(error),
    }
}

struct Server {
    epoll: OwnedFd,
    name: String,
    settings: SyslogSettings,
    sockets: Sockets,
    tls: Option<Arc<ServerConfig>>,
    intake: Intake,
    room: Room,
    buffer: Vec<u8>,
    connections: Vec<Option<Connection>>,
    /// Places in `connections` that are free.
    free: Vec<usize>,
    /// Listeners that are left alone until the next look, because nothing could be accepted.
    paused: Vec<usize>,
    /// When quiet connections were looked at last.
    looked: Instant,
    said_full: bool,
    rest: Duration,
    /// The last look found so much that there may be more.
    has_more: bool,
}

/// What an event is about: the numbers of listeners come first, then those of datagram sockets, then those of connections.
enum Who {
    Listener(usize),
    Datagrams(usize),
    Connection(usize),
}

impl Server {
    fn serve(&mut self) -> Result<(), End> {
        for at in 0..self.sockets.listeners.len() {
            self.watch_listener(at)?;
        }
        for (at, socket) in self.sockets.datagrams.iter().enumerate() {
            let number = self.sockets.listeners.len() + at;
            watch(&self.epoll, socket, number)?;
        }
        let mut events = Vec::with_capacity(EVENTS);
        while !self.intake.outlet.stop().is_soft() {
            if self.intake.facts.has_failed.load(Ordering::Relaxed) {
                // Another worker said why; what came here is delivered.
                return Ok(());
            }
            let patience = match self.intake.held() {
                Some(held) => GATHER.saturating_sub(held),
                None => PATIENCE,
            };
            self.round(&mut events, patience)?;
            if !events.is_empty() && !self.has_more {
                self.intake.outlet.bell().wait(self.rest);
            }
            if self.looked.elapsed() >= LOOK {
                self.look()?;
            }
        }
        Ok(())
    }

    /// Waits for something to come, and gives each socket its turn.
    fn round(&mut self, events: &mut Vec<epoll::Event>, patience: Duration) -> Result<(), End> {
        events.clear();
        self.wait(events, patience)?;
        self.has_more = events.len() >= EVENTS;
        for event in &*events {
            match self.who(event.data.u64()) {
                Who::Listener(at) => self.accept(at)?,
                Who::Datagrams(at) => {
                    if let Some(socket) = self.sockets.datagrams.get_mut(at) {
                        let turn = self.room.turn(socket, &mut self.intake)?;
                        self.has_more |= turn.is_some_and(|turn| turn.has_more);
                    }
                }
                Who::Connection(at) => self.turn(at)?,
            }
        }
        if self.intake.held().is_some_and(|held| held >= GATHER) {
            self.intake.flush()?;
        }
        Ok(())
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, patience: Duration) -> Result<(), End> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: patience.subsec_nanos().into(),
        };
        let room = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(End::Failed(format!(
                "sockets cannot be waited for: {error}"
            ))),
        }
    }

    fn who(&self, number: u64) -> Who {
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let listeners = self.sockets.listeners.len();
        let datagrams = self.sockets.datagrams.len();
        match number {
            at if at < listeners => Who::Listener(at),
            at if at < listeners + datagrams => Who::Datagrams(at - listeners),
            at => Who::Connection(at - listeners - datagrams),
        }
    }

    fn watch_listener(&self, at: usize) -> Result<(), End> {
        watch(&self.epoll, &self.sockets.listeners[at], at)
    }

    fn accept(&mut self, at: usize) -> Result<(), End> {
        for _ in 0..ACCEPTS {
            let listener = &self.sockets.listeners[at];
            let accepted = match &listener.kind {
                ListenerKind::Tcp(socket) => socket.accept().map(|(stream, peer)| {
                    keep_alive(&stream);
                    let stream = stream.set_nonblocking(true).map(|()| Stream::Tcp(stream));
                    (stream, Some(peer))
                }),
                ListenerKind::Tls(socket) => socket.accept().map(|(stream, peer)| {
                    keep_alive(&stream);
                    let stream = stream.set_nonblocking(true).and_then(|()| {
                        let config = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                        tls::wrap(config, stream).map(Stream::Tls)
                    });
                    (stream, Some(peer))
                }),
                ListenerKind::Unix(socket) => socket.accept().map(|(stream, _)| {
                    let stream = stream.set_nonblocking(true).map(|()| Stream::Unix(stream));
                    (stream, None)
                }),
            };
            match accepted {
                Ok((Ok(stream), peer)) => {
                    let listener = listener.name.clone();
                    self.connect(stream, listener, peer)?;
                    // Where one comes, more do.
                    self.has_more = true;
                }
                Ok((Err(error), _)) => {
                    tracing::warn!(input = self.name, %error, "a connection cannot be used");
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    // The sender went away before it was its turn.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        tracing::error!(
                            input = self.name, socket = %listener.name, %error,
                            "connections cannot be accepted; trying again in a second (LimitNOFILE=?)"
                        );
                        let _ = epoll::delete(&self.epoll, listener);
                        self.paused.push(at);
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    fn connect(
        &mut self,
        stream: Stream,
        listener: Arc<str>,
        peer: Option<std::net::SocketAddr>,
    ) -> Result<(), End> {
        let facts = self.intake.facts.clone();
        let open = facts.connections.get();
        if open >= self.settings.max_connections as u64 {
            facts.refused.add(1);
            if !self.said_full {
                tracing::warn!(
                    input = self.name,
                    open,
                    "further connections are closed at once: `max_connections` are open"
                );
                self.said_full = true;
            }
            return Ok(());
        }
        let framer = Framer::new(self.settings.framing, self.settings.max_line);
        let connection = Connection::new(stream, listener, peer, framer);
        let at = self.free.pop().unwrap_or(self.connections.len());
        let number = self.sockets.listeners.len() + self.sockets.datagrams.len() + at;
        let watched = watch(&self.epoll, &connection, number);
        if at == self.connections.len() {
            self.connections.push(None);
        }
        self.connections[at] = Some(connection);
        facts.accepted.add(1);
        facts.connections.add(1);
        watched
    }

    /// How many connections this worker has.
    fn open(&self) -> usize {
        self.connections.len() - self.free.len()
    }

    /// One turn of a connection.
    fn turn(&mut self, at: usize) -> Result<(), End> {
        let Some(Some(connection)) = self.connections.get_mut(at) else {
            return Ok(());
        };
        match connection.turn(&mut self.buffer, &mut self.intake)? {
            // TLS is decrypted in small pieces.
            Turn::Got(got) => self.has_more |= got >= MUCH || connection.is_tls(),
            Turn::Nothing => {}
            Turn::Over => self.close(at),
        }
        Ok(())
    }

    /// Its descriptor goes with it, and so does the interest in it.
    fn close(&mut self, at: usize) {
        self.connections[at] = None;
        self.free.push(at);
        self.intake.facts.connections.take_back(1);
        if self.open() < self.settings.max_connections {
            self.said_full = false;
        }
    }

    /// Closes connections that nothing came from, and tries listeners again.
    fn look(&mut self) -> Result<(), End> {
        self.looked = Instant::now();
        for at in std::mem::take(&mut self.paused) {
            self.watch_listener(at)?;
        }
        for at in 0..self.connections.len() {
            let timeout = self.settings.idle_timeout;
            let Some(connection) = &mut self.connections[at] else {
                continue;
            };
            if connection.is_overdue(timeout) {
                connection.finish(&mut self.intake)?;
                self.intake.facts.timed_out.add(1);
                self.close(at);
            }
        }
        Ok(())
    }

    /// After the soft stop: what is on its way is read, until nothing comes; of those who go on sending, what waits by then. Everything is closed.
    fn drain(&mut self) -> Result<(), End> {
        for at in 0..self.sockets.listeners.len() {
            self.accept(at)?;
            // It may be paused, and then it is not watched.
            let _ = epoll::delete(&self.epoll, &self.sockets.listeners[at]);
        }
        let begun = Instant::now();
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.round(&mut events, QUIET)?;
            if events.is_empty() || begun.elapsed() >= STILL {
                break;
            }
        }
        self.sockets.listeners.clear();
        for mut socket in std::mem::take(&mut self.sockets.datagrams) {
            let mut left = socket.buffer;
            while left > 0
                && let Some(turn) = self.room.turn(&mut socket, &mut self.intake)?
            {
                left = left.saturating_sub(turn.bytes.max(1));
            }
        }
        for at in 0..self.connections.len() {
            let Some(mut connection) = self.connections[at].take() else {
                continue;
            };
            let drained = self.drain_connection(&mut connection);
            if let Err(end) = drained {
                self.intake.give_up(connection.left());
                return Err(end);
            }
        }
        let open = self.open();
        self.connections.clear();
        self.free.clear();
        self.intake.facts.connections.take_back(open as u64);
        self.intake.flush()
    }

    fn drain_connection(&mut self, connection: &mut Connection) -> Result<(), End> {
        let mut left = connection.waiting();
        while left > 0 {
            match connection.turn(&mut self.buffer, &mut self.intake)? {
                Turn::Got(got) => left = left.saturating_sub(got as u64),
                Turn::Nothing => break,
                Turn::Over => return Ok(()),
            }
        }
        connection.finish(&mut self.intake)
    }
}

/// How long these sockets may be left alone.
fn rest(sockets: &Sockets) -> Duration {
    let buffers = sockets.datagrams.iter().map(|socket| match socket.kind {
        DatagramKind::Udp(_) => socket.buffer,
        // Senders wait there.
        DatagramKind::Unix(_) => usize::MAX,
    });
    let (size, rate) = DATAGRAM;
    let half = buffers.min().unwrap_or(usize::MAX) / 2 / size;
    let micros = half.saturating_mul(1000) / rate;
    REST.min(Duration::from_micros(micros as u64))
}

/// Tells about `socket` when something waits there, as `number`.
fn watch(epoll: &OwnedFd, socket: impl rustix::fd::AsFd, number: usize) -> Result<(), End> {
    let data = epoll::EventData::new_u64(number as u64);
    epoll::add(epoll, socket, data, epoll::EventFlags::IN)
        .map_err(|error| End::Failed(format!("a socket cannot be waited for: {error}")))
}

/// A peer that is gone without a word is noticed by the kernel, some time.
fn keep_alive(stream: &std::net::TcpStream) {
    if let Err(error) = rustix::net::sockopt::set_socket_keepalive(stream, true) {
        tracing::debug!(%error, "keep-alive cannot be turned on");
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test waits for its own threads"
)]
mod tests;
