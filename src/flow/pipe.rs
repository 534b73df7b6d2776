//! A bounded queue between one source and one sink. Neither side blocks in it: each is woken by its own bell.
//!
//! Closing is how the end travels: when the sender is dropped, the receiver gets what is left and then [`Received::Closed`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::bell::Ring;

/// Both ends of a pipe that holds at most `capacity` items. `to_receiver` is rung when something came, `to_sender` when there is room.
pub fn pipe<T>(
    capacity: usize,
    to_receiver: Arc<dyn Ring>,
    to_sender: Arc<dyn Ring>,
) -> (Sender<T>, Receiver<T>) {
    let state = State {
        items: VecDeque::with_capacity(capacity),
        senders: 1,
        receiver: true,
    };
    let shared = Arc::new(Shared {
        capacity: capacity.max(1),
        to_receiver,
        to_sender,
        state: Mutex::new(state),
    });
    (Sender(shared.clone()), Receiver(shared))
}

struct Shared<T> {
    capacity: usize,
    to_receiver: Arc<dyn Ring>,
    to_sender: Arc<dyn Ring>,
    state: Mutex<State<T>>,
}

struct State<T> {
    items: VecDeque<T>,
    senders: usize,
    receiver: bool,
}

/// Where items go in. Dropping it closes the pipe, when there is no other one.
pub struct Sender<T>(Arc<Shared<T>>);

/// Where items come out. Dropping it makes the sender see that nobody listens.
pub struct Receiver<T>(Arc<Shared<T>>);

/// What became of an item that was offered.
#[derive(Debug)]
pub enum TrySend<T> {
    Sent,
    /// No room now: the item is given back, and the sender's bell rings when there is.
    Full(T),
    /// Nobody will ever take it.
    Closed(T),
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    Item(T),
    Empty,
    /// The sender is gone and nothing is left.
    Closed,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    pub fn try_send(&self, item: T) -> TrySend<T> {
        let first = {
            let mut state = self.0.lock();
            if !state.receiver {
                return TrySend::Closed(item);
            }
            if state.items.len() >= self.0.capacity {
                return TrySend::Full(item);
            }
            state.items.push_back(item);
            state.items.len() == 1
        };
        // A receiver that has items left over is awake already.
        if first {
            self.0.to_receiver.ring();
        }
        TrySend::Sent
    }

    /// Whether an item would find room now.
    pub fn has_room(&self) -> bool {
        self.0.lock().items.len() < self.0.capacity
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.senders -= 1;
            state.senders
        };
        if left == 0 {
            self.0.to_receiver.ring();
        }
    }
}

/// Another end for another thread. `to_sender` has to wake all of them.
impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Receiver<T> {
    pub fn try_recv(&self) -> Received<T> {
        let (item, was_full) = {
            let mut state = self.0.lock();
            let was_full = state.items.len() >= self.0.capacity;
            match state.items.pop_front() {
                Some(item) => (item, was_full),
                None if state.senders > 0 => return Received::Empty,
                None => return Received::Closed,
            }
        };
        if was_full {
            self.0.to_sender.ring();
        }
        Received::Item(item)
    }

    /// Whether nothing waits now.
    pub fn is_empty(&self) -> bool {
        self.0.lock().items.is_empty()
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = {
            let mut state = self.0.lock();
            state.receiver = false;
            std::mem::take(&mut state.items)
        };
        drop(left);
        self.0.to_sender.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Bell;
    use std::time::Duration;

    fn ends(capacity: usize) -> (Sender<u32>, Receiver<u32>, Arc<Bell>, Arc<Bell>) {
        let (to_receiver, to_sender) = (Arc::new(Bell::new()), Arc::new(Bell::new()));
        let (sender, receiver) = pipe(capacity, to_receiver.clone(), to_sender.clone());
        (sender, receiver, to_receiver, to_sender)
    }

    #[test]
    fn a_full_pipe_gives_the_item_back_and_rings_when_there_is_room() {
        let (sender, receiver, _, to_sender) = ends(1);
        assert!(matches!(sender.try_send(1), TrySend::Sent));
        assert!(matches!(sender.try_send(2), TrySend::Full(2)));
        assert_eq!(receiver.try_recv(), Received::Item(1));
        assert!(to_sender.wait(Duration::ZERO));
    }

    #[test]
    fn a_closed_pipe_is_emptied_before_it_ends() {
        let (sender, receiver, to_receiver, _) = ends(2);
        sender.try_send(1);
        drop(sender);
        assert!(to_receiver.wait(Duration::ZERO));
        assert_eq!(receiver.try_recv(), Received::Item(1));
        assert_eq!(receiver.try_recv(), Received::Closed);
    }

    #[test]
    fn the_last_of_several_senders_closes_the_pipe() {
        let (sender, receiver, _, _) = ends(2);
        let other = sender.clone();
        drop(sender);
        assert_eq!(receiver.try_recv(), Received::Empty);
        other.try_send(1);
        drop(other);
        assert_eq!(receiver.try_recv(), Received::Item(1));
        assert_eq!(receiver.try_recv(), Received::Closed);
    }

    #[test]
    fn a_sender_learns_that_nobody_listens() {
        let (sender, receiver, _, to_sender) = ends(1);
        drop(receiver);
        assert!(to_sender.wait(Duration::ZERO));
        assert!(matches!(sender.try_send(1), TrySend::Closed(1)));
    }
}
