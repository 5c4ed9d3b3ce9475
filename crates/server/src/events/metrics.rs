//! What is counted of events, from the start of the server on.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use wharf_core::events::{EventName, Stage};

/// The upper ends of the buckets for appends, in seconds: from a commit in memory to a disk that hangs.
const APPEND_SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The counters of events.
#[derive(Debug)]
pub(crate) struct EventMetrics {
    pub(crate) logged: Family<EventLabels, Counter>,
    pub(crate) append: Histogram,
    pub(crate) attempts: Family<AttemptLabels, Counter>,
}

/// What came of an attempt to deliver an event to a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Attempted {
    /// It was taken.
    Delivered,
    /// It was not, and is tried again.
    Failed,
    /// It was not, for the last time.
    Dead,
}

/// Which event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct EventLabels {
    event: &'static str,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttemptLabels {
    result: &'static str,
}

impl Attempted {
    fn labels(self) -> AttemptLabels {
        let result = match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dead => "dead",
        };
        AttemptLabels { result }
    }
}

impl Default for EventMetrics {
    fn default() -> Self {
        let metrics = Self {
            logged: Family::default(),
            append: Histogram::new(APPEND_SECONDS),
            attempts: Family::default(),
        };
        // From the start on, because a rate cannot tell of a counter's first appearance.
        for event in EventName::ALL.iter().filter(|event| event.stage() == Stage::Emitted) {
            let _ = metrics.logged.get_or_create(&EventLabels { event: event.as_str() });
        }
        for outcome in [Attempted::Delivered, Attempted::Failed, Attempted::Dead] {
            let _ = metrics.attempts.get_or_create(&outcome.labels());
        }
        metrics
    }
}

impl EventMetrics {
    /// An event was posted to a webhook.
    pub(super) fn attempted(&self, outcome: Attempted) {
        self.attempts.get_or_create(&outcome.labels()).inc();
    }

    /// Events were logged, which took this long.
    pub(super) fn appended(&self, events: impl IntoIterator<Item = EventName>, took: Duration) {
        self.append.observe(took.as_secs_f64());
        for event in events {
            self.logged.get_or_create(&EventLabels { event: event.as_str() }).inc();
        }
    }
}
