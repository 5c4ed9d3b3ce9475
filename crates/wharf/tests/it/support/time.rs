//! The time of the sandbox network: the machine's, plus what a test lets pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wharf_simulator::{Clock, Env, SystemClock};

/// How much later it is on the network than on the machine. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct NetworkTime(Arc<AtomicU64>);

impl NetworkTime {
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

impl Clock for NetworkTime {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + self.0.load(Ordering::SeqCst)
    }
}
