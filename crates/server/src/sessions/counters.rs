//! What is counted of one session from the start of the server on, over all of its connections.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use jiff::Timestamp;

/// The counters of one session.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// When it last received or sent, in milliseconds since 1970; 0 for never.
    activity_ms: AtomicI64,
    /// Messages that cannot be read, of which `message.waiting` tells.
    pub(super) waiting: Counter,
    /// Times that a message was asked for again which an earlier process had lost.
    pub(super) asked_again: Counter,
    /// Messages that could only be kept in a reduced form.
    pub(super) reduced: Counter,
}

impl Counters {
    /// It received or sent something at this time.
    pub(super) fn active(&self, at: Timestamp) {
        self.activity_ms.fetch_max(at.as_millisecond(), Ordering::Relaxed);
    }

    /// When it last received or sent, in milliseconds since 1970.
    pub(crate) fn activity_ms(&self) -> Option<i64> {
        match self.activity_ms.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(millis),
        }
    }
}

/// A number that only rises.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Counts one more, and answers how many there are now.
    pub(super) fn count(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}
