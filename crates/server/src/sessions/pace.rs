//! Lets connections begin one after the other: at most so many in a second over all sessions, and at most so many that are
//! being set up at the same time.
//!
//! After a start of the server, or when the network comes back, all sessions want to dial at once: that would look like
//! an attack to WhatsApp, and be one to this machine.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

/// Tells each connection when to begin.
pub(crate) struct Pace {
    interval: Duration,
    places: Arc<Semaphore>,
    /// Held by the one whose turn is next; the others queue behind it in the order in which they came.
    next: Mutex<Instant>,
}

impl Pace {
    /// So many in a second, and so many at the same time.
    pub(crate) fn new(per_second: NonZeroU32, at_once: usize) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.get(),
            places: Arc::new(Semaphore::new(at_once)),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits until one may begin, and returns the place to hold while the connection is being set up. Whoever is called
    /// off while waiting takes nothing from the others. Nobody closes the places, so this does not fail.
    ///
    /// The place comes before the turn: turns that were taken while there was no place would let all dial in one rush as
    /// soon as there are places.
    pub(crate) async fn turn(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        let place = Arc::clone(&self.places).acquire_owned().await?;
        let mut next = self.next.lock().await;
        sleep_until(*next).await;
        *next = Instant::now() + self.interval;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn turns_are_apart_and_nobody_who_left_holds_them_up() {
        let pace = Pace::new(NonZeroU32::new(20).unwrap(), 5);
        let started = Instant::now();
        let _first = pace.turn().await;
        let mut turns = 4;
        for _ in 0..100 {
            let in_time = timeout(Duration::ZERO, pace.turn()).await;
            turns += u32::from(in_time.is_ok());
        }
        join_all((0..4).map(|_| pace.turn())).await;
        let passed = started.elapsed();
        assert!(passed >= pace.interval * turns, "{passed:?}");
        assert!(passed < Duration::from_secs(4), "those who left took turns: {passed:?}");
    }

    #[tokio::test]
    async fn whoever_waits_for_a_place_takes_no_turn_meanwhile() {
        const WAITING: u32 = 4;
        let pace = Pace::new(NonZeroU32::new(20).unwrap(), 2);
        let places = [pace.turn().await, pace.turn().await];
        let mut waiting = std::pin::pin!(join_all((0..WAITING).map(|_| async { drop(pace.turn().await) })));
        // Longer than all their turns together.
        let begun = timeout(pace.interval * 2 * WAITING, &mut waiting).await;
        assert!(begun.is_err(), "there was no place");
        let freed = Instant::now();
        drop(places);
        waiting.await;
        let passed = freed.elapsed();
        assert!(
            passed >= pace.interval * (WAITING - 1),
            "they began in a rush: {passed:?}"
        );
    }
}
