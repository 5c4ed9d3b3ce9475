//! The time of a sandbox network, or of a server that a test rigs: the machine's, plus what the test lets pass.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use wharf_simulator::{Clock, Env, SystemClock};

/// How much later it is there than on the machine, in milliseconds. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct TestTime(Arc<watch::Sender<u64>>);

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
        self.0.send_modify(|later| *later += ms);
    }

    /// Sets the clock back, by no more than was let pass.
    pub(crate) fn set_back(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.0.send_modify(|later| *later -= ms);
    }
}

impl Clock for TestTime {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + *self.0.borrow()
    }
}

#[async_trait]
impl wharf_core::clock::Clock for TestTime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms().cast_signed()).unwrap()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut later = self.0.subscribe();
        loop {
            later.borrow_and_update();
            let left = moment.duration_since(self.now());
            let Some(left) = Duration::try_from(left).ok().filter(|left| !left.is_zero()) else {
                return;
            };
            // Either that much time passes by itself, or the test lets it pass.
            let _ = tokio::time::timeout(left, later.changed()).await;
        }
    }
}
