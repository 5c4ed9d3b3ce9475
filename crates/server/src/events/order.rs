//! The one order of the log: the place that each event gets, and up to which place it may be told.
//!
//! Appends are committed in any order. An event is told only when everything at lower places is settled, so whoever was
//! told up to a place never misses an event before it. Never touches the store: what became of an append is said to it.
//!
//! A place is a count of bytes: where an event ends if the envelopes stood one behind the other. So two places say how
//! much of the log lies between them. What failed, or went with its session, leaves a hole that still counts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, mpsc};
use wharf_core::ids::EventId;

use super::log::LoggedEvent;

/// The newest events, kept in memory once for all readers. Who is further behind reads the store.
const LIVE_BACKLOG_MAX: usize = 1_024;

/// The order of the log.
pub(super) struct Order {
    state: Mutex<State>,
    live: broadcast::Sender<Arc<LoggedEvent>>,
    unsettled: mpsc::UnboundedSender<Unsettled>,
}

struct State {
    /// The last place that was given.
    given: i64,
    /// What was told last.
    told: Told,
    /// Appends that are not told, in the order of their places.
    open: VecDeque<Open>,
}

/// Up to where the log was told.
#[derive(Debug, Clone)]
pub(super) struct Told {
    /// Everything up to here is settled.
    pub(super) seq: i64,
    /// The last event up to here, where there is one.
    pub(super) newest: Option<EventId>,
}

struct Open {
    /// Its last place.
    seq: i64,
    /// The events to tell once its turn comes; `None` while nobody knows.
    outcome: Option<Vec<Arc<LoggedEvent>>>,
}

/// The places of one append. Whoever lets go of it without saying what became of the write (its caller gave up, or
/// panicked) leaves that to be found out: see [`Unsettled`].
pub(super) struct Places<'a> {
    order: &'a Order,
    seq: i64,
    events: Vec<Arc<LoggedEvent>>,
    is_settled: bool,
}

/// An append of which nobody knows whether it was written. What comes after it is held back until somebody does. Many may
/// wait while the store fails, so the envelopes are let go of: whatever was written is in the store.
pub(super) struct Unsettled {
    seq: i64,
    /// The events that were to be written, and their places.
    pub(super) events: Vec<(EventId, i64)>,
}

impl Order {
    /// Goes on behind what is in the log. Also returns where appends arrive that must be looked up.
    pub(super) fn new(told: Told) -> (Self, mpsc::UnboundedReceiver<Unsettled>) {
        let (unsettled, receiver) = mpsc::unbounded_channel();
        let order = Self {
            state: Mutex::new(State {
                given: told.seq,
                told,
                open: VecDeque::new(),
            }),
            live: broadcast::Sender::new(LIVE_BACKLOG_MAX),
            unsettled,
        };
        (order, receiver)
    }

    /// Gives these events the next places, in this order.
    pub(super) fn reserve(&self, events: Vec<LoggedEvent>) -> Places<'_> {
        let mut state = self.state();
        let mut placed = Vec::with_capacity(events.len());
        for mut event in events {
            // A body has at least its braces, so no two events share a place.
            state.given += i64::try_from(event.body.len()).unwrap_or(i64::MAX);
            event.seq = state.given;
            placed.push(Arc::new(event));
        }
        let seq = state.given;
        state.open.push_back(Open { seq, outcome: None });
        Places {
            order: self,
            seq,
            events: placed,
            is_settled: false,
        }
    }

    /// Settles an append that had to be looked up: tells those of its events that are `written`, which are in their order.
    pub(super) fn settle(&self, unsettled: &Unsettled, written: Vec<LoggedEvent>) {
        self.close(unsettled.seq, written.into_iter().map(Arc::new).collect());
    }

    /// Up to where the log was told, and everything that is told after that, without a gap between the two.
    pub(super) fn follow(&self) -> (Told, broadcast::Receiver<Arc<LoggedEvent>>) {
        let state = self.state();
        (state.told.clone(), self.live.subscribe())
    }

    /// Up to where the log was told.
    pub(super) fn told(&self) -> Told {
        self.state().told.clone()
    }

    /// Notes what became of an append, and tells whatever waited for it.
    fn close(&self, seq: i64, events: Vec<Arc<LoggedEvent>>) {
        let mut state = self.state();
        let state = &mut *state;
        if let Ok(at) = state.open.binary_search_by_key(&seq, |open| open.seq) {
            state.open[at].outcome = Some(events);
        }
        while state.open.front().is_some_and(|open| open.outcome.is_some())
            && let Some(open) = state.open.pop_front()
        {
            state.told.seq = open.seq;
            for event in open.outcome.into_iter().flatten() {
                state.told.newest = Some(event.id.clone());
                // Fails only where nobody listens.
                let _ = self.live.send(event);
            }
        }
    }

    /// What is guarded is whole between any two statements, also where a holder panicked.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places<'_> {
    /// The events in their places.
    pub(super) fn events(&self) -> &[Arc<LoggedEvent>] {
        &self.events
    }

    /// They were written: tells them as soon as everything before them is settled.
    pub(super) fn written(mut self) {
        self.is_settled = true;
        self.order.close(self.seq, std::mem::take(&mut self.events));
    }

    /// Nothing was written: leaves their places empty.
    pub(super) fn failed(mut self) {
        self.is_settled = true;
        self.order.close(self.seq, Vec::new());
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        if !self.is_settled {
            let events = self.events.iter().map(|event| (event.id.clone(), event.seq));
            let unsettled = Unsettled {
                seq: self.seq,
                events: events.collect(),
            };
            // Fails only where nobody looks anything up any more: the server stops.
            let _ = self.order.unsettled.send(unsettled);
        }
    }
}

#[cfg(test)]
mod tests;
