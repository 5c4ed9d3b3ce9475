//! The time of a sandbox network, or of a server that a test rigs: the machine's, plus what the test lets pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use wharf_simulator::{Clock, Env, SystemClock};

/// How much later it is there than on the machine. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct TestTime(Arc<AtomicU64>);

impl TestTime {
    /// The surroundings of a network on this time.
    pub(crate) fn env(&self) -> Env {
        Env {
            clock: Arc::new(self.clone()),
            ..Env::system()
        }
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestTime {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0.load(Ordering::SeqCst)
    }
}

impl wharf_core::clock::Clock for TestTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms().cast_signed()).unwrap()
    }
}
