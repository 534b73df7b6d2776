//! A bad network between a client and a broker: a TCP proxy that delays, goes silent, loses answers and cuts connections.
//!
//! ```text
//! client ─► reader ─► queue of (when due, bytes) ─► writer ─► broker      and the same back
//! ```
//!
//! Each direction reads ahead of its writer, so a delay adds latency and takes no throughput. A client stays behind the
//! proxy only when the broker advertises the proxy's address: see [`RealKafka::proxied_brokers`](super::kafka::RealKafka::proxied_brokers).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Reads that may wait in one direction of one connection.
const READ_AHEAD: usize = 4096;

/// Listens on a port of its own and passes everything on. Dropping it closes the port and cuts what is connected.
pub struct Proxy {
    port: u16,
    network: Arc<Network>,
}

#[derive(Default)]
struct Network {
    faults: Mutex<Faults>,
    changed: Condvar,
}

#[derive(Default)]
struct Faults {
    to_broker: Duration,
    to_client: Duration,
    silent: bool,
    answers_lost: bool,
    /// A request of this kind loses its answer and all that follow.
    fatal_request: Option<i16>,
    refusing: bool,
    closed: bool,
    connections: Vec<TcpStream>,
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    ToBroker,
    ToClient,
}

impl Proxy {
    /// Listens on `port` (0: any) of the loopback address and passes each connection on to `broker`'s.
    pub fn start(port: u16, broker: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let network = Arc::new(Network::default());
        let shared = Arc::clone(&network);
        spawn("proxy", move || shared.accept(&listener, broker));
        Ok(Self { port, network })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How long what is sent from now on takes to the broker, and back to the client.
    pub fn delay(&self, to_broker: Duration, to_client: Duration) {
        self.change(|faults| (faults.to_broker, faults.to_client) = (to_broker, to_client));
    }

    /// Nothing arrives any more in either direction, and nobody is told; turned off again, all that was sent arrives.
    pub fn silent(&self, on: bool) {
        self.change(|faults| faults.silent = on);
    }

    /// Requests arrive, answers do not. Turned off again, the connections that lost bytes are cut.
    pub fn lose_answers(&self, on: bool) {
        self.change(|faults| (faults.answers_lost, faults.fatal_request) = (on, None));
        if !on {
            self.cut();
        }
    }

    /// From the next request of this kind on (the protocol's `api_key`), which arrives, no answers do. [`lose_answers`](Self::lose_answers)
    /// turns it off again.
    pub fn lose_answers_after(&self, request: i16) {
        self.change(|faults| faults.fatal_request = Some(request));
    }

    /// New connections are closed at once.
    pub fn refuse(&self, on: bool) {
        self.change(|faults| faults.refusing = on);
    }

    /// Cuts every connection there is. Clients may come back.
    pub fn cut(&self) {
        self.change(|faults| {
            for connection in faults.connections.drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.network.lock());
        self.network.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|faults| faults.closed = true);
        self.cut();
        // Wakes the accepting thread, which sees that it is over.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, broker: u16) {
        for client in listener.incoming() {
            let mut faults = self.lock();
            if faults.closed {
                return;
            }
            let Ok(client) = client else { continue };
            if faults.refusing {
                continue;
            }
            // A broker that is down refuses, and dropping the client says the same to it.
            let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, broker)) else {
                continue;
            };
            for connection in [&client, &broker] {
                let _ = connection.set_nodelay(true);
                faults.connections.extend(connection.try_clone());
            }
            drop(faults);
            self.pass(&client, &broker, Way::ToBroker);
            self.pass(&broker, &client, Way::ToClient);
        }
    }

    fn pass(self: &Arc<Self>, from: &TcpStream, to: &TcpStream, way: Way) {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let (queue, queued) = sync_channel(READ_AHEAD);
        let (reading, writing) = (Arc::clone(self), Arc::clone(self));
        spawn("proxy-read", move || reading.read(from, &queue, way));
        spawn("proxy-write", move || writing.write(to, &queued, way));
    }

    fn read(&self, mut from: TcpStream, queue: &SyncSender<(Instant, Vec<u8>)>, way: Way) {
        let mut block = vec![0; 64 * 1024];
        let mut requests = Requests::default();
        loop {
            let length = match from.read(&mut block) {
                Ok(0) | Err(_) => break,
                Ok(length) => length,
            };
            let mut faults = self.lock();
            if way == Way::ToBroker {
                let fatal = faults.fatal_request;
                requests.take(&block[..length], |kind| {
                    faults.answers_lost |= fatal == Some(kind);
                });
            }
            let delay = if way == Way::ToBroker {
                faults.to_broker
            } else {
                faults.to_client
            };
            let lost = way == Way::ToClient && faults.answers_lost;
            drop(faults);
            if !lost
                && queue
                    .send((Instant::now() + delay, block[..length].to_vec()))
                    .is_err()
            {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Read);
    }

    fn write(&self, mut to: TcpStream, queued: &Receiver<(Instant, Vec<u8>)>, way: Way) {
        for (due, bytes) in queued {
            let mut faults = self.lock();
            loop {
                let left = due.saturating_duration_since(Instant::now());
                faults = match (faults.closed, faults.silent) {
                    (true, _) => return,
                    (false, true) => self
                        .changed
                        .wait(faults)
                        .unwrap_or_else(PoisonError::into_inner),
                    (false, false) if left.is_zero() => break,
                    (false, false) => {
                        self.changed
                            .wait_timeout(faults, left)
                            .unwrap_or_else(PoisonError::into_inner)
                            .0
                    }
                };
            }
            let lost = way == Way::ToClient && faults.answers_lost;
            drop(faults);
            if !lost && to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }
}

/// Finds the beginnings of requests in what a client sends: four bytes of length, two of kind.
#[derive(Default)]
struct Requests {
    head: Vec<u8>,
    /// Bytes of the present request that are still to come.
    left: usize,
}

impl Requests {
    fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(i16)) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            self.head.push(bytes[0]);
            bytes = &bytes[1..];
            if let [a, b, c, d, kind @ ..] = &self.head[..]
                && let Ok(kind) = kind.try_into()
            {
                each(i16::from_be_bytes(kind));
                self.left = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 2;
                self.head.clear();
            }
        }
    }
}

/// A thread that ends when its sockets do.
#[expect(
    clippy::disallowed_methods,
    reason = "the rule is the daemon's: nothing of the product runs here"
)]
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    thread::Builder::new()
        .name(name.into())
        .spawn(work)
        .expect("a thread for the proxy");
}
