//! The time of day, passed in so that tests can move it.
//!
//! For moments that leave the process or outlive it: timestamps, and waits for a moment that is stored. What waits for a
//! while within the process uses tokio's clock (`tokio::time`), which nobody sets.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// How often a wait looks at the clock at the least: machines sleep, and their clocks are set.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Tells the time of day.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The present moment, in UTC.
    fn now(&self) -> Timestamp;

    /// Waits until this clock shows `moment` or later. A clock that is moved by hand has to wake its sleepers.
    async fn sleep_until(&self, moment: Timestamp) {
        // What is past has no duration that could be slept.
        while let Ok(left) = Duration::try_from(moment.duration_since(self.now()))
            && !left.is_zero()
        {
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
        }
    }
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the machine's clock"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
