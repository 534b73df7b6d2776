//! What the integration tests and `benches/end_to_end` stand on: a real Kafka, a bad network before it, the daemon as a
//! process, files that grow and are rotated, and the one way to wait.
//!
//! A test reads as a sentence because the how is here. Nothing in here knows what logferry is made of: it is run as its
//! users run it, and what it did is read with other means.

pub mod command;
pub mod console;
pub mod daemon;
pub mod eventually;
pub mod kafka;
pub mod lines;
pub mod proxy;
pub mod scene;

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder for what tests leave behind while they run: on the disk that holds the build, not in a RAM disk.
pub fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A folder of one's own that goes away when it is dropped.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new()
        .prefix("logferry-")
        .tempdir_in(scratch())
        .expect("a temporary folder in target/tmp")
}

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `N` different ports of the loopback address that nobody listens on now, and that this process gives out once.
///
/// They lie below the range that the kernel takes for outgoing connections, so that a broker that is stopped for a while
/// finds its port free again.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let free = || loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < 10_000, "no port between 20000 and 32000 is free");
        // Processes that run side by side begin at different places.
        let port =
            20_000 + ((u64::from(std::process::id()) * 97 + u64::from(tried)) % 12_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    };
    std::array::from_fn(|_| free())
}

/// Whether a program of that name can be run.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
