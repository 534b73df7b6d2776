//! The threads of the daemon: all are started here, all have a name, none is detached.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// What a thread is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    Input(usize),
    /// A further thread of an input, by its number from 1.
    Worker(usize, usize),
    /// Sends what an input put on disk.
    Spool(usize),
    Producer(usize),
    Metadata(usize),
    Consumer(usize),
    Writer(usize),
    Saver,
}

/// A thread came to its end.
#[derive(Debug)]
pub struct Ended {
    pub part: Part,
    /// What went wrong, in words for the log.
    pub result: Result<(), String>,
}

/// The threads that were started.
pub struct Tasks {
    running: Vec<(Part, JoinHandle<()>)>,
    tell: Sender<Ended>,
}

impl Tasks {
    /// For at most `most` threads; what they come to is told through the receiver.
    pub fn new(most: usize) -> (Self, Receiver<Ended>) {
        let (tell, told) = channel(most.max(1));
        (
            Self {
                running: Vec::new(),
                tell,
            },
            told,
        )
    }

    /// Starts a thread. A panic in it becomes an error like any other, so that the rest can be stopped in order.
    ///
    /// # Errors
    /// When the system has no thread left to give.
    pub fn start(
        &mut self,
        part: Part,
        name: &str,
        run: impl FnOnce() -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let tell = self.tell.clone();
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|panic| Err(format!("internal error: {}", words_of(&*panic))));
            // The channel has room for every thread, so this does not block; nobody listening means that the daemon is gone.
            let _ = tell.try_send(Ended { part, result });
        };
        // Linux shows 15 bytes of a thread's name.
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the place where threads are started"
        )]
        let thread = Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(body);
        let thread = thread.map_err(|error| format!("cannot start the thread {name}: {error}; raise the limit of tasks (TasksMax=, ulimit -u)"))?;
        self.running.push((part, thread));
        Ok(())
    }

    /// Those that were started and not joined.
    pub fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.running.iter().map(|(part, _)| *part)
    }

    /// Waits for the end of all threads for which `which` is true.
    pub fn join(&mut self, which: impl Fn(Part) -> bool) {
        let (done, rest): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|(part, _)| which(*part));
        self.running = rest;
        for (_, thread) in done {
            // A panic was told as an error already.
            let _ = thread.join();
        }
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a thread panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_as_an_error() {
        let (mut tasks, mut told) = Tasks::new(2);
        tasks
            .start(Part::Saver, "saver", || panic!("at the disco"))
            .unwrap();
        let ended = told.blocking_recv().unwrap();
        assert_eq!(ended.result, Err("internal error: at the disco".into()));
        tasks.join(|_| true);
    }
}
