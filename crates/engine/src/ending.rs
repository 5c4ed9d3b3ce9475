//! Why a connection ends. Whoever learns a reason says it here; the connection's own task acts on it.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;
use wharf_core::engine::Closed;
use wharf_core::store::StoreError;

use crate::error::one_line;

/// The end of one connection, before and while it comes.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    begun: CancellationToken,
    asked: AtomicBool,
    unlinking: AtomicBool,
    store_failure: OnceLock<Closed>,
    told: Mutex<Option<Closed>>,
}

impl Ending {
    /// Cancelled once the connection is to end.
    pub(crate) fn begun(&self) -> &CancellationToken {
        &self.begun
    }

    /// The caller wants it to end.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.begun.cancel();
    }

    /// The caller unlinks the device; what WhatsApp then says about it is no news.
    pub(crate) fn ask_to_unlink(&self) {
        self.asked.store(true, Ordering::Release);
        self.unlinking.store(true, Ordering::Release);
    }

    /// The session's store failed. The connection ends, so that WhatsApp sends to the next one what was not stored.
    /// The first failure counts.
    pub(crate) fn store_failed(&self, error: &(dyn Error + 'static)) {
        let unusable = error.downcast_ref::<StoreError>().and_then(StoreError::unusable);
        let failure = unusable.map_or_else(
            || Closed::StoreFailed {
                reason: one_line(error),
            },
            Closed::StoreUnusable,
        );
        let _ = self.store_failure.set(failure);
        self.begun.cancel();
    }

    /// The failure of the session's store, where the library passes on no more than that there was one.
    pub(crate) fn store_error(&self) -> Option<StoreError> {
        match self.store_failure.get()? {
            Closed::StoreUnusable(unusable) => Some(unusable.clone().into()),
            Closed::StoreFailed { reason } => Some(StoreError::Unavailable(reason.as_str().into())),
            _ => None,
        }
    }

    /// Whether the session's store failed. Then nothing may be written or sent any more.
    pub(crate) fn has_store_failed(&self) -> bool {
        self.store_failure.get().is_some()
    }

    /// WhatsApp, or the library, gave a reason. The first one counts.
    pub(crate) fn tell(&self, reason: Closed) {
        if self.unlinking.load(Ordering::Acquire) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.get_or_insert(reason);
    }

    /// The connection is of no use any more, for this reason, and ends.
    pub(crate) fn give_up(&self, reason: Closed) {
        self.tell(reason);
        self.begun.cancel();
    }

    /// Whether there is a final reason already.
    pub(crate) fn is_told(&self) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The reason, once the connection is over: what is worse for the account goes first.
    pub(crate) fn reason(&self) -> Closed {
        if let Some(failure) = self.store_failure.get() {
            return failure.clone();
        }
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match told {
            Some(reason) => reason,
            None if self.asked.load(Ordering::Acquire) => Closed::Asked,
            None => Closed::Unexpected,
        }
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::store::{Defect, Unusable};

    use super::*;

    #[test]
    fn the_gravest_reason_wins() {
        let ending = Ending::default();
        assert_eq!(ending.reason(), Closed::Unexpected);
        ending.ask();
        assert_eq!(ending.reason(), Closed::Asked);
        ending.tell(Closed::Replaced);
        ending.tell(Closed::Outdated);
        assert_eq!(ending.reason(), Closed::Replaced);
        ending.store_failed(&StoreError::Full);
        ending.store_failed(&StoreError::Unavailable("gone".into()));
        let reason = "storage is full".to_owned();
        assert_eq!(ending.reason(), Closed::StoreFailed { reason });
    }

    #[test]
    fn a_file_that_somebody_must_see_to_is_named() {
        let ending = Ending::default();
        let damaged = Unusable {
            file: "session.sqlite3".into(),
            why: Defect::Corrupt,
            cause: "malformed".to_owned(),
        };
        ending.store_failed(&StoreError::from(damaged.clone()));
        assert_eq!(ending.reason(), Closed::StoreUnusable(damaged));
    }

    #[test]
    fn unlinking_ourselves_is_not_being_logged_out() {
        let ending = Ending::default();
        ending.ask_to_unlink();
        let reason = "401".to_owned();
        ending.tell(Closed::LoggedOut { reason });
        assert_eq!(ending.reason(), Closed::Asked);
    }
}
