//! What datagrams cost that are received and thrown away: no program that takes them from the kernel needs less.

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, setsockopt, sockopt};
use rustix::time::{ClockId, clock_gettime};

use crate::Bench;
use crate::measure::pin_thread;
use crate::support::eventually::pause;

/// Datagrams per call, and the longest one in bytes.
const MANY: usize = 64;
const LONGEST: usize = 1024;
/// Calls that bring less are this far apart: each costs more than a datagram.
const REST: Duration = Duration::from_millis(5);
const BUFFER: usize = 8 << 20;
/// When nothing came for so long, nothing more will.
const QUIET: Duration = Duration::from_secs(1);

/// Nanoseconds of processor time per datagram of `count` that `load` sends to a port.
#[allow(
    clippy::disallowed_methods,
    reason = "a benchmark waits for its own threads"
)]
pub fn receiving(
    bench: &Bench,
    count: u64,
    load: fn(port: u16, count: u64) -> u64,
) -> Result<f64, String> {
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER))
        .map_err(|error| error.to_string())?;
    let port = socket
        .local_addr()
        .map_err(|error| error.to_string())?
        .port();
    let own = bench.processors.clients.clone();
    let receiver = std::thread::spawn(move || {
        pin_thread(own.as_deref());
        take(&socket, count)
    });
    let broker = bench.processors.broker.clone();
    let sender = std::thread::spawn(move || {
        pin_thread(broker.as_deref());
        load(port, count)
    });
    let sent = sender.join().map_err(|_| "the sender panicked")?;
    let (got, used) = receiver.join().map_err(|_| "the receiver panicked")??;
    if sent != count || got != count {
        return Err(format!("{got} of {count} were received, {sent} sent"));
    }
    Ok(used.as_secs_f64() * 1e9 / got as f64)
}

/// How many came, and the thread's processor time since the first.
fn take(socket: &UdpSocket, count: u64) -> Result<(u64, Duration), String> {
    let mut memory = vec![0; MANY * LONGEST];
    // The sender begins a moment later.
    let (mut got, mut begun, mut last) = (0, Duration::ZERO, Instant::now() + QUIET);
    while got < count && last.elapsed() < QUIET {
        let before = used();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(MANY, None);
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = memory
            .chunks_mut(LONGEST)
            .map(|room| [IoSliceMut::new(room)])
            .collect();
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let found = match recvmmsg(fd, &mut headers, slices.iter_mut(), flags, None) {
            Ok(found) => found.count(),
            Err(Errno::EAGAIN) => 0,
            Err(error) => return Err(error.to_string()),
        };
        if found > 0 {
            if got == 0 {
                begun = before;
            }
            (got, last) = (got + found as u64, Instant::now());
        }
        if found < MANY {
            pause(REST);
        }
    }
    Ok((got, used() - begun))
}

/// The processor time of this thread.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
