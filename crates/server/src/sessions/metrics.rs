//! What is counted of all sessions together, from the start of the server on.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// The counters of all sessions.
#[derive(Debug, Default)]
pub(crate) struct SessionMetrics {
    /// Connections that were made.
    pub(crate) connects: Counter,
    /// Connections that are made anew, by why.
    pub(crate) reconnects: Family<ReasonLabels, Counter>,
    /// Messages that cannot be read, of which `message.waiting` tells.
    pub(crate) waiting: Counter,
    /// Times that a message was asked for again which an earlier process had lost.
    pub(crate) asked_again: Counter,
    /// Messages that could only be kept in a reduced form.
    pub(crate) reduced: Counter,
    /// Sends that were asked for again, and answered as before.
    pub(crate) repeated: Counter,
}

/// Why a connection is made anew, as `session.status` says it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ReasonLabels {
    reason: &'static str,
}

impl SessionMetrics {
    /// A connection is made anew.
    pub(super) fn reconnects(&self, reason: &'static str) {
        self.reconnects.get_or_create(&ReasonLabels { reason }).inc();
    }
}
