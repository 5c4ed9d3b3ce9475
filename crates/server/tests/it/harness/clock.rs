//! A clock that goes as the machine's, shortly after the messages of the tests, plus what a test lets pass.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::timeout;
use wharf_core::clock::{Clock, SystemClock};

/// When the tests begin on the servers' clock, in seconds since 1970: a little after what [`super::text`] wrote.
const BEGIN_SECONDS: i64 = 1_790_000_200;
/// When they begin on the machine's: one moment for all, so that a server that is started again goes on.
static BEGUN: LazyLock<Timestamp> = LazyLock::new(|| SystemClock.now());

/// A clock that tests move.
#[derive(Default)]
pub(crate) struct TestClock {
    later: watch::Sender<SignedDuration>,
}

impl TestClock {
    /// Lets time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.later
            .send_modify(|later| *later += SignedDuration::try_from(time).unwrap());
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let begun = *BEGUN;
        let passed = SystemClock.now().duration_since(begun);
        Timestamp::from_second(BEGIN_SECONDS).unwrap() + passed + *self.later.borrow()
    }

    async fn sleep_until(&self, moment: Timestamp) {
        let mut later = self.later.subscribe();
        loop {
            later.borrow_and_update();
            let left = Duration::try_from(moment.duration_since(self.now())).unwrap_or_default();
            if left.is_zero() {
                return;
            }
            // Either that much time passes by itself, or the test lets it pass.
            let _ = timeout(left, later.changed()).await;
        }
    }
}
