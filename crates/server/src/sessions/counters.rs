//! What is counted of one session from the start of the server on, over all of its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

use super::SessionMetrics;

/// The counters of one session.
#[derive(Debug)]
pub(crate) struct Counters {
    /// When it last received or sent, in milliseconds since 1970; 0 for never.
    activity_ms: AtomicI64,
    /// The counters of all sessions.
    pub(super) all: Arc<SessionMetrics>,
}

impl Counters {
    /// Nothing counted yet of this session.
    pub(super) fn new(all: Arc<SessionMetrics>) -> Self {
        Self {
            activity_ms: AtomicI64::new(0),
            all,
        }
    }

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
