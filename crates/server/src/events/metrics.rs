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
    /// Events that were logged.
    pub(crate) logged: Family<EventLabels, Counter>,
    /// How long it took to log some.
    pub(crate) append: Histogram,
    /// Attempts to deliver one.
    pub(crate) attempts: Family<AttemptLabels, Counter>,
    /// Deliveries that died.
    pub(crate) given_up: Counter,
    /// Websockets and streams that were ended because their client took nothing.
    pub(crate) too_slow: Counter,
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

const DELIVERED: AttemptLabels = AttemptLabels { result: "delivered" };
const FAILED: AttemptLabels = AttemptLabels { result: "failed" };

impl Default for EventMetrics {
    fn default() -> Self {
        let metrics = Self {
            logged: Family::default(),
            append: Histogram::new(APPEND_SECONDS),
            attempts: Family::default(),
            given_up: Counter::default(),
            too_slow: Counter::default(),
        };
        // From the start on, because no rate tells of a counter's first appearance.
        for event in EventName::ALL.iter().filter(|event| event.stage() == Stage::Emitted) {
            drop(metrics.logged.get_or_create(&EventLabels { event: event.as_str() }));
        }
        for result in [DELIVERED, FAILED] {
            drop(metrics.attempts.get_or_create(&result));
        }
        metrics
    }
}

impl EventMetrics {
    /// Events were logged, which took this long.
    pub(super) fn appended(&self, events: impl IntoIterator<Item = EventName>, took: Duration) {
        self.append.observe(took.as_secs_f64());
        for event in events {
            self.logged.get_or_create(&EventLabels { event: event.as_str() }).inc();
        }
    }

    /// A client took nothing for too long.
    pub(super) fn too_slow(&self) {
        self.too_slow.inc();
    }

    /// A receiver took an event.
    pub(super) fn delivered(&self) {
        self.attempts.get_or_create(&DELIVERED).inc();
    }

    /// A receiver did not take an event.
    pub(super) fn failed(&self) {
        self.attempts.get_or_create(&FAILED).inc();
    }
}
