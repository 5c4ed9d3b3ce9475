//! Lets connections begin one after the other, at most so many in a second over all sessions.
//!
//! After a start of the server, or when the network comes back, all sessions want to dial at once: that would look like
//! an attack to WhatsApp, and be one to this machine.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Tells each connection when to begin.
pub(crate) struct Pace {
    interval: Duration,
    /// Held by the one whose turn is next; the others queue behind it in the order in which they came.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many in a second.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.get(),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for one's turn. Whoever is called off while waiting takes no turn from the others.
    pub(crate) async fn turn(&self) {
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + self.interval;
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn turns_are_apart_and_nobody_who_left_holds_them_up() {
        let pace = Pace::new(NonZeroU32::new(20).unwrap());
        let started = Instant::now();
        pace.turn().await;
        for _ in 0..100 {
            let gave_up = tokio::time::timeout(Duration::ZERO, pace.turn()).await;
            assert!(gave_up.is_err());
        }
        join_all((0..4).map(|_| pace.turn())).await;
        let passed = started.elapsed();
        assert!(passed >= Duration::from_millis(200), "{passed:?}");
        assert!(passed < Duration::from_secs(4), "those who left took turns: {passed:?}");
    }
}
