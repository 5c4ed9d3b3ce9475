//! Sees to it that a session has one connection at a time, whatever its owner does.
//!
//! Two clients of one device would use the same ratchets, and WhatsApp would end both. The owner ends a connection before
//! it makes the next one; this holds also where it could not wait for the end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedMutexGuard;
use wharf_core::ids::SessionName;

/// One slot for each session that is connected.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<HashMap<SessionName, Weak<tokio::sync::Mutex<()>>>>);

/// Held as long as anything of a connection is left.
pub(crate) type Slot = OwnedMutexGuard<()>;

impl Slots {
    /// Waits until no other connection of the session is left.
    pub(crate) async fn take(&self, session: &SessionName) -> Slot {
        let slot = {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            slots.retain(|_, slot| slot.strong_count() > 0);
            let known = slots.get(session).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let slot = Arc::default();
                slots.insert(session.clone(), Arc::downgrade(&slot));
                slot
            })
        };
        slot.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_session_waits_for_its_own_connection_and_for_no_other() {
        let slots = Slots::default();
        let (one, other) = ("one".parse().unwrap(), "other".parse().unwrap());
        let held = slots.take(&one).await;
        let _other = slots.take(&other).await;
        assert!(timeout(Duration::ZERO, slots.take(&one)).await.is_err());
        drop(held);
        let again = timeout(Duration::from_secs(5), slots.take(&one)).await;
        assert!(again.is_ok());
        drop(again);
        let _third = slots.take(&one).await;
        assert_eq!(slots.0.lock().unwrap().len(), 2, "what is over is forgotten");
    }
}
