//! How many session files are open at once.
//!
//! An open file costs a thread, three descriptors and about 150 KiB, so there are fewer of them than sessions. Whoever
//! needs one more asks the file that has been idle the longest to close; where none is idle, those that are busy give
//! way after a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The right to open one file each, for so many files.
#[derive(Debug)]
pub(super) struct Pool {
    places: Arc<Semaphore>,
    places_max: usize,
    waiting: AtomicUsize,
    close_one: Notify,
}

impl Pool {
    /// A pool of so many places; at least one.
    pub(super) fn new(places_max: usize) -> Self {
        let places_max = places_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            waiting: AtomicUsize::new(0),
            close_one: Notify::new(),
        }
    }

    /// Waits for a place. Places are given in the order in which they were asked for.
    pub(super) async fn enter(&self) -> OwnedSemaphorePermit {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return place;
        }
        let _waiting = Waiting::start(&self.waiting);
        // Idle files wait in line for this notice, the one that has been idle the longest in front.
        self.close_one.notify_one();
        match Arc::clone(&self.places).acquire_owned().await {
            Ok(place) => place,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until an idle file is asked to close; at once while somebody waits for a place.
    pub(super) async fn asked_to_close(&self) {
        // Whoever starts to wait after this look leaves a notice that the next line finds.
        if !self.is_wanted() {
            self.close_one.notified().await;
        }
    }

    /// Whether somebody waits for a place.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.places_max - self.places.available_permits()
    }

    /// Waits until no place is taken.
    #[cfg(test)]
    pub(super) async fn empty(&self) {
        let all = u32::try_from(self.places_max).expect("tests use small pools");
        drop(self.places.acquire_many(all).await);
    }
}

/// Counts one that waits, also when its wait is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
