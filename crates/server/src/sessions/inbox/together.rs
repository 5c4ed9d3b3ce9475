//! Keeps what waits for its turn together: one commit of the session's store, and one of the log, for all of it.
//!
//! The chats of a session wait for each other's commits, so the more comes in, the more shares one. Never waits for more to
//! come. Where one of them cannot be kept, each is kept alone, so that what is wrong with it stays its own matter.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wharf_core::store::{Batch, StoreError};

use super::{Received, SessionInbox, lock};

/// The most calls that are kept together.
const TOGETHER_MAX: usize = 64;

/// What one call wants kept.
pub(super) struct Wanted {
    told: Vec<Received>,
    marks: Batch,
    last: Batch,
    /// Somebody whose turn was before has taken it along.
    is_kept: AtomicBool,
}

/// A call's place among those that wait; given up when it is dropped.
struct Place<'a> {
    inbox: &'a SessionInbox,
    wanted: Arc<Wanted>,
}

impl Place<'_> {
    /// What waits here, and with it what others want that nobody has kept yet.
    fn and_others(&self) -> Vec<Arc<Wanted>> {
        let waiting = lock(&self.inbox.waiting);
        let others = waiting.iter().filter(|wanted| !Arc::ptr_eq(wanted, &self.wanted));
        let others = others.filter(|wanted| !wanted.is_kept.load(Ordering::Acquire));
        let all = std::iter::once(&self.wanted).chain(others);
        all.take(TOGETHER_MAX).cloned().collect()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        lock(&self.inbox.waiting).retain(|wanted| !Arc::ptr_eq(wanted, &self.wanted));
    }
}

impl SessionInbox {
    /// Keeps and tells messages. `marks` are written with them, `last` when all is told.
    pub(super) async fn keep_in_turn(&self, told: Vec<Received>, marks: Batch, last: Batch) -> Result<(), StoreError> {
        let wanted = Arc::new(Wanted {
            told,
            marks,
            last,
            is_kept: AtomicBool::new(false),
        });
        lock(&self.waiting).push(Arc::clone(&wanted));
        let place = Place { inbox: self, wanted };
        let _turn = self.turn.lock().await;
        if place.wanted.is_kept.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = self.keep_with_others(&place).await;
        // Before the turn ends, so that nobody takes it along once more.
        drop(place);
        outcome
    }

    async fn keep_with_others(&self, place: &Place<'_>) -> Result<(), StoreError> {
        let together = place.and_others();
        if together.len() > 1 {
            match self.keep_all(&together).await {
                Ok(()) => {
                    for wanted in together {
                        wanted.is_kept.store(true, Ordering::Release);
                    }
                    return Ok(());
                }
                Err(error @ (StoreError::Internal(_) | StoreError::Conflict { .. })) => {
                    let (count, cause): (_, &dyn Error) = (together.len(), &error);
                    tracing::debug!(session = %self.name, count, error = cause, "what waited is not kept together");
                }
                // The store's own failure: each of the others finds out for itself.
                Err(error) => return Err(error),
            }
        }
        self.keep_all(std::slice::from_ref(&place.wanted)).await
    }

    async fn keep_all(&self, together: &[Arc<Wanted>]) -> Result<(), StoreError> {
        let mut told: Vec<Received> = together.iter().flat_map(|wanted| wanted.told.iter().cloned()).collect();
        let all = |batch: fn(&Wanted) -> &Batch| {
            let batches = together.iter().map(|wanted| batch(wanted).clone());
            batches.fold(Batch::new(), Batch::and)
        };
        let (marks, last) = (all(|wanted| &wanted.marks), all(|wanted| &wanted.last));
        match self.take_in(&mut told, marks.clone()).await {
            // Neither room nor time helps: with the next redelivery it would be the same.
            Err(StoreError::Internal(error)) if !told.is_empty() && together.len() == 1 => {
                tracing::warn!(session = %self.name, error = error.as_ref(), "messages are taken in one by one");
                return self.take_in_one_by_one(told, marks.and(last)).await;
            }
            outcome => outcome?,
        }
        self.write(last).await
    }
}
