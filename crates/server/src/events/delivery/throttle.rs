//! Spreads deliveries that had to wait over time: retries, and what came while a receiver was down or slow.
//!
//! A receiver that comes back with thousands of events behind it would otherwise have all of this machine, and what comes to
//! others meanwhile would stand in line. Who comes in time never asks here.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much of a pause may be made up for: timers are late by a millisecond or two.
const LATE_MAX: Duration = Duration::from_millis(20);

/// At most so many turns in a second.
pub(super) struct Throttle {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Throttle {
    /// So many in a second.
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.get(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for the next turn, in the order of coming.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let at = (*next).max(now.checked_sub(LATE_MAX).unwrap_or(now));
            *next = at + self.interval;
            at
        };
        sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn turns_are_spread_and_a_pause_is_hardly_made_up_for() {
        let throttle = Throttle::new(NonZeroU32::new(1_000).unwrap());
        // As after a long pause.
        *throttle.next.lock().unwrap() -= Duration::from_secs(60);
        let started = Instant::now();
        join_all((0..200).map(|_| throttle.turn())).await;
        let took = started.elapsed();
        assert!(took >= throttle.interval * 199 - LATE_MAX, "{took:?}");
    }
}
