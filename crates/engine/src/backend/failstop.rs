//! The session's store, as one connection uses it: after its first failure nothing more is written.
//!
//! The protocol library lives on after a failed write, with a Signal state in memory that is ahead of the disk. Written
//! later, that state would make WhatsApp's redelivery of what was not stored a duplicate. So a failure ends the connection
//! ([`Ending::store_failed`]): no write begins after it, nothing is sent, and the next connection begins with what is on
//! disk. A write that the store had taken by then may still reach the disk; where that is Signal's state, the redelivery is
//! a duplicate without a row, which [`super::inbound`] recovers. A write that fails because of what is written concerns its
//! caller alone.

use std::sync::Arc;

use async_trait::async_trait;
use wharf_core::store::{Batch, Collection, Condition, Document, Page, Query, Store, StoreError};

use crate::ending::Ending;

/// A store that stops at its first failure.
pub(super) struct FailStop {
    store: Arc<dyn Store>,
    ending: Arc<Ending>,
}

impl FailStop {
    pub(super) fn new(store: Arc<dyn Store>, ending: Arc<Ending>) -> Self {
        Self { store, ending }
    }

    /// A read asks for nothing that could be wrong, so that every failure is the store's.
    fn read<T>(&self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        outcome.inspect_err(|error| self.ending.store_failed(error))
    }

    fn written(&self, outcome: Result<(), StoreError>) -> Result<(), StoreError> {
        outcome.inspect_err(|error| match error {
            StoreError::Conflict { .. } | StoreError::Internal(_) => {}
            StoreError::Full | StoreError::Unavailable(_) | StoreError::Corrupt { .. } | StoreError::Denied { .. } => {
                self.ending.store_failed(error)
            }
        })
    }
}

#[async_trait]
impl Store for FailStop {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.read(self.store.get(collection, id).await)
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        self.read(self.store.get_many(collection, ids).await)
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        self.read(self.store.find(collection, query).await)
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.read(self.store.count(collection, conditions).await)
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if self.ending.has_store_failed() {
            return Err(StoreError::Unavailable(
                "it failed before, and this connection ends".into(),
            ));
        }
        self.written(self.store.write(batch).await)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static THINGS: Collection = Collection {
        name: "things",
        fields: &[],
    };

    /// Answers the first write and every read with an error, and counts the writes.
    struct Disk(fn() -> StoreError, AtomicUsize);

    #[async_trait]
    impl Store for Disk {
        async fn get(&self, _: &'static Collection, _: &str) -> Result<Option<Document>, StoreError> {
            Err((self.0)())
        }

        async fn get_many(&self, _: &'static Collection, _: &[String]) -> Result<Vec<Document>, StoreError> {
            Ok(Vec::new())
        }

        async fn find(&self, _: &'static Collection, _: Query) -> Result<Page, StoreError> {
            Ok(Page::default())
        }

        async fn count(&self, _: &'static Collection, _: Vec<Condition>) -> Result<u64, StoreError> {
            Ok(0)
        }

        async fn write(&self, _: Batch) -> Result<(), StoreError> {
            match self.1.fetch_add(1, Ordering::Relaxed) {
                0 => Err((self.0)()),
                _ => Ok(()),
            }
        }
    }

    /// How many writes reach a disk whose first one fails like this, of three; and whether the connection ends.
    async fn three_writes(error: fn() -> StoreError) -> (usize, bool) {
        let disk = Arc::new(Disk(error, AtomicUsize::new(0)));
        let ending = Arc::new(Ending::default());
        let store = FailStop::new(disk.clone(), ending.clone());
        for _ in 0..3 {
            let _ = store.write(Batch::new().delete(&THINGS, "a")).await;
        }
        (disk.1.load(Ordering::Relaxed), ending.begun().is_cancelled())
    }

    #[tokio::test]
    async fn after_a_failure_of_the_store_nothing_is_written() {
        assert_eq!(three_writes(|| StoreError::Full).await, (1, true));
        assert_eq!(three_writes(|| StoreError::Unavailable("busy".into())).await, (1, true));
    }

    #[tokio::test]
    async fn nothing_is_written_after_a_read_that_failed_whatever_the_reason() {
        let disk = Arc::new(Disk(|| StoreError::Internal("odd".into()), AtomicUsize::new(0)));
        let ending = Arc::new(Ending::default());
        let store = FailStop::new(disk.clone(), ending.clone());
        assert!(store.get(&THINGS, "a").await.is_err());
        assert!(ending.begun().is_cancelled());
        assert!(store.write(Batch::new().delete(&THINGS, "a")).await.is_err());
        assert_eq!(disk.1.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_call_that_is_at_fault_itself_stops_nothing() {
        assert_eq!(
            three_writes(|| StoreError::Internal("too large".into())).await,
            (3, false)
        );
    }
}
