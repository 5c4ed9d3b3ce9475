//! How many requests there may be at the same time: altogether, and to one receiver.
//!
//! Endpoints whose last request failed have a part of their own, and of either part no receiver gets more than its share. So
//! neither many dead receivers nor a slow one that many endpoints lead to can hold up all others. Who waits has his turn in the
//! order of coming.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{FAILING_SHARE, RECEIVER_SHARE};

/// All requests.
pub(super) struct Gates {
    all: Gate,
    by_receiver: Mutex<HashMap<String, Weak<Gate>>>,
}

/// Two kinds of requests that do not wait for each other.
struct Gate {
    answering: Arc<Semaphore>,
    failing: Arc<Semaphore>,
    answering_max: usize,
    failing_max: usize,
}

/// Room for a request, until it is dropped.
pub(super) struct Room {
    _of_receiver: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
    /// Known as long as anybody is at it.
    _gate: Arc<Gate>,
}

impl Gate {
    fn new(answering_max: usize, failing_max: usize) -> Self {
        Self {
            answering: Arc::new(Semaphore::new(answering_max)),
            failing: Arc::new(Semaphore::new(failing_max)),
            answering_max,
            failing_max,
        }
    }

    async fn enter(&self, is_failing: bool) -> Option<OwnedSemaphorePermit> {
        let part = if is_failing { &self.failing } else { &self.answering };
        // Never closed.
        Arc::clone(part).acquire_owned().await.ok()
    }

    fn share(&self) -> Self {
        let share = |max: usize| (max / RECEIVER_SHARE).max(1);
        Self::new(share(self.answering_max), share(self.failing_max))
    }
}

impl Gates {
    /// For so many requests.
    pub(super) fn new(requests_max: usize) -> Self {
        let failing = (requests_max / FAILING_SHARE).max(1);
        Self {
            all: Gate::new(requests_max.saturating_sub(failing).max(1), failing),
            by_receiver: Mutex::default(),
        }
    }

    /// Waits for room. Whether its endpoint fails is asked again when there is some.
    pub(super) async fn enter(&self, receiver: String, is_failing: &AtomicBool) -> Room {
        let gate = self.of(receiver);
        loop {
            let before = is_failing.load(Ordering::Relaxed);
            let room = Room {
                _of_receiver: gate.enter(before).await,
                _all: self.all.enter(before).await,
                _gate: Arc::clone(&gate),
            };
            if is_failing.load(Ordering::Relaxed) == before {
                return room;
            }
        }
    }

    fn of(&self, receiver: String) -> Arc<Gate> {
        let mut gates = self.by_receiver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(&receiver).and_then(Weak::upgrade) {
            return gate;
        }
        // Nobody is at the others.
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::new(self.all.share());
        gates.insert(receiver, Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn enter(gates: &Gates, receiver: &str, is_failing: bool) -> Option<Room> {
        let is_failing = AtomicBool::new(is_failing);
        gates.enter(receiver.to_owned(), &is_failing).now_or_never()
    }

    #[test]
    fn no_receiver_gets_more_than_its_share_of_either_part() {
        let gates = Gates::new(256);
        let held: Vec<_> = std::iter::from_fn(|| enter(&gates, "slow:80", false)).collect();
        assert_eq!(held.len(), 48);
        let failing: Vec<_> = std::iter::from_fn(|| enter(&gates, "slow:80", true)).collect();
        assert_eq!(failing.len(), 16);
        assert!(enter(&gates, "other:80", false).is_some() && enter(&gates, "other:80", true).is_some());
        drop(held);
        assert!(enter(&gates, "slow:80", false).is_some());
    }

    #[test]
    fn all_together_are_limited_and_nobody_is_remembered() {
        let gates = Gates::new(8);
        let mut held = Vec::new();
        for receiver in 0..100 {
            held.extend(enter(&gates, &receiver.to_string(), false));
        }
        assert_eq!(held.len(), 6);
        assert!(enter(&gates, "dead", true).is_some());
        drop(held);
        assert!(enter(&gates, "next", false).is_some());
        assert_eq!(gates.by_receiver.lock().unwrap().len(), 1);
    }
}
