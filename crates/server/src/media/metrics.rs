//! What is counted of the files of messages, from the start of the server on.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

/// The numbers of fetching files.
#[derive(Debug, Default)]
pub(crate) struct MediaMetrics {
    /// Events that wait for their files.
    pub(crate) held: Gauge,
    /// Files that are wanted and not there, those that are being fetched among them.
    pub(crate) waiting: Gauge,
    /// Files that are being fetched.
    pub(crate) running: Gauge,
    /// Files that were fetched and stored.
    pub(crate) fetched: Counter,
    /// Their bytes.
    pub(crate) bytes: Counter,
    /// Tries that came to nothing.
    pub(crate) failed_tries: Counter,
    /// Files that were given up.
    pub(crate) given_up: Counter,
}

/// One of a number of things that are there at the moment, until it is dropped.
pub(crate) struct Counted(Gauge);

impl Counted {
    /// One more.
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
