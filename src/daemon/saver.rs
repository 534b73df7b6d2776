//! The thread that saves positions: what the ledgers settled, and nothing else.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::checkpoint::{Change, Store};
use crate::flow::{Bell, Ring};

/// Gives what is to be saved of one input: settled positions, and what is known of their files.
pub type Collect = Box<dyn Fn(&mut Vec<Change>) + Send>;

/// The checkpoint, shared by the saver and by those who ask which cluster an input belongs to.
pub type SharedStore = Arc<Mutex<Store>>;

/// What the saver is made of.
pub struct Saver {
    pub store: SharedStore,
    pub inputs: Vec<Collect>,
    /// How often positions are written: what SIGKILL repeats.
    pub every: Duration,
    /// How often they are made durable: what a power cut repeats.
    pub sync: Duration,
    pub finish: Arc<Finish>,
}

/// Tells the saver that nothing will move any more.
#[derive(Default)]
pub struct Finish {
    asked: AtomicBool,
    bell: Bell,
}

impl Finish {
    /// The saver saves once more, syncs, and ends.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.bell.ring();
    }
}

/// Saves until it is asked to finish.
///
/// # Errors
/// When the last positions cannot be saved or made durable: the next start repeats what came since.
pub fn run(saver: Saver) -> Result<(), String> {
    let mut synced = Instant::now();
    let mut trouble = None;
    loop {
        saver.finish.bell.wait(saver.every);
        let last = saver.finish.asked.load(Ordering::Acquire);
        // Anew each time: at the start all files are in it, and hardly ever again.
        let mut changes = Vec::new();
        for collect in &saver.inputs {
            collect(&mut changes);
        }
        let mut store = saver.store.lock().unwrap_or_else(PoisonError::into_inner);
        let mut result = store.save(&changes);
        if result.is_ok() && (last || synced.elapsed() >= saver.sync) {
            result = store.sync();
            synced = Instant::now();
        }
        drop(store);
        match result {
            Ok(()) => {
                if trouble.take().is_some() {
                    tracing::info!("positions are saved again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                // Said once per change: the disk is as full in a second as it is now.
                if trouble.as_ref() != Some(&error) {
                    tracing::error!(
                        error,
                        "positions cannot be saved; lines are shipped on, and a restart would repeat them"
                    );
                    trouble = Some(error);
                }
            }
        }
        if last {
            return trouble.map_or(Ok(()), |error| {
                Err(format!(
                    "the last positions are not saved, the next start repeats lines: {error}"
                ))
            });
        }
    }
}
