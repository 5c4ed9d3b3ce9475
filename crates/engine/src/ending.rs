//! Why a connection ends. Whoever learns a reason says it here; the connection's own task acts on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio_util::sync::CancellationToken;
use wharf_core::engine::Closed;

/// The end of one connection, before and while it comes.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    begun: CancellationToken,
    asked: AtomicBool,
    unlinking: AtomicBool,
    store_failure: OnceLock<String>,
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

    /// A message could not be stored. The connection ends, so that WhatsApp sends the message again to the next one.
    pub(crate) fn store_failed(&self, reason: String) {
        let _ = self.store_failure.set(reason);
        self.begun.cancel();
    }

    /// Whether a message could not be stored.
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

    /// The reason, once the connection is over: what is worse for the account goes first.
    pub(crate) fn reason(&self) -> Closed {
        if let Some(reason) = self.store_failure.get() {
            let reason = reason.clone();
            return Closed::StoreFailed { reason };
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
        ending.store_failed("disk is full".to_owned());
        let reason = "disk is full".to_owned();
        assert_eq!(ending.reason(), Closed::StoreFailed { reason });
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
