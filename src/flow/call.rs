//! How something that is to be done once reaches several threads: each does it in its own time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::bell::Ring;

/// A call that is shared by those who make it and those who hear it. Cloning gives another handle to the same.
#[derive(Clone, Default)]
pub struct Call(Arc<Shared>);

#[derive(Default)]
struct Shared {
    calls: AtomicU64,
    /// Who is to be woken. Weak: a thread that has ended is not kept alive by its bell.
    bells: Mutex<Vec<Weak<dyn Ring>>>,
}

/// One who hears it: calls that come before it looks are one.
pub struct Listener {
    call: Call,
    heard: u64,
}

impl Call {
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls, and wakes whoever listens.
    pub fn call(&self) {
        self.0.calls.fetch_add(1, Ordering::AcqRel);
        let bells: Vec<_> = {
            let bells = self.0.bells.lock().unwrap_or_else(PoisonError::into_inner);
            bells.iter().filter_map(Weak::upgrade).collect()
        };
        for bell in bells {
            bell.ring();
        }
    }

    /// Hears the calls from now on, and is woken by `bell`.
    pub fn listen(&self, bell: &Arc<dyn Ring>) -> Listener {
        let mut bells = self.0.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
        Listener {
            call: self.clone(),
            heard: self.0.calls.load(Ordering::Acquire),
        }
    }
}

impl Listener {
    /// Whether there was a call since the last [`Listener::done`].
    pub fn is_called(&self) -> bool {
        self.call.0.calls.load(Ordering::Acquire) != self.heard
    }

    /// What was asked for is about to be done: a call from now on is another one.
    pub fn done(&mut self) {
        self.heard = self.call.0.calls.load(Ordering::Acquire);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::flow::Bell;

    #[test]
    fn a_call_is_heard_once_by_each_and_wakes_them() {
        let (call, bell) = (Call::new(), Arc::new(Bell::new()));
        let ring: Arc<dyn Ring> = bell.clone();
        let (mut one, other) = (call.listen(&ring), call.listen(&ring));
        assert!(!one.is_called());
        call.call();
        call.call();
        assert!(bell.wait(Duration::ZERO));
        assert!(one.is_called() && other.is_called());
        one.done();
        assert!(!one.is_called() && other.is_called());
        assert!(!call.listen(&ring).is_called());
    }
}
