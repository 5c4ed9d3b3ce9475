//! Storage that fails, or forgets to write, when a test wants it to: the failpoints, outside of the program.

use std::sync::Arc;

use async_trait::async_trait;
use wharf_core::ids::SessionName;
use wharf_core::store::{Batch, Collection, Condition, Document, Page, Query, Storage, Store, StoreError, Write};

/// What becomes of a write.
pub(crate) enum Verdict {
    /// It is written.
    Pass,
    /// It never is, and nobody hears of it.
    HoldBack,
    /// It is written, and nobody hears of it.
    Unheard,
    /// It is written but for what it has for this collection.
    Without(&'static str),
    /// There is no room for it.
    Full,
    /// The file turns out to be damaged.
    Damaged,
}

/// Decides over every write of a server, to its own store and to those of its sessions, and over what is read by id.
pub(crate) trait Judge: Send + Sync + 'static {
    /// Before a document is read by its id.
    fn judge_read(&self, _collection: &'static Collection, _id: &str) -> Result<(), StoreError> {
        Ok(())
    }

    /// Before it is written.
    fn judge(&self, batch: &Batch) -> Verdict;

    /// After it was written.
    fn written(&self, batch: &Batch);
}

/// The ids of the documents that a batch stores in a collection.
pub(crate) fn stored<'a>(batch: &'a Batch, name: &'a str) -> impl Iterator<Item = &'a str> {
    batch.writes.iter().filter_map(move |write| match write {
        Write::Put {
            collection, document, ..
        } if collection.name == name => Some(document.id.as_str()),
        _ => None,
    })
}

/// Storage over which somebody judges.
pub(crate) struct Rigged {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) judge: Arc<dyn Judge>,
}

impl Rigged {
    fn rig(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let judge = Arc::clone(&self.judge);
        Arc::new(RiggedStore { store, judge })
    }
}

#[async_trait]
impl Storage for Rigged {
    fn server(&self) -> Arc<dyn Store> {
        self.rig(self.storage.server())
    }

    async fn session(&self, name: &SessionName) -> Result<Arc<dyn Store>, StoreError> {
        Ok(self.rig(self.storage.session(name).await?))
    }

    async fn delete_session(&self, name: &SessionName) -> Result<(), StoreError> {
        self.storage.delete_session(name).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.judge.judge(&Batch::new()) {
            Verdict::Full => Err(StoreError::Full),
            _ => self.storage.check().await,
        }
    }

    async fn close(&self) {
        self.storage.close().await;
    }
}

struct RiggedStore {
    store: Arc<dyn Store>,
    judge: Arc<dyn Judge>,
}

#[async_trait]
impl Store for RiggedStore {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.judge.judge_read(collection, id)?;
        self.store.get(collection, id).await
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        ids.iter().try_for_each(|id| self.judge.judge_read(collection, id))?;
        self.store.get_many(collection, ids).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        self.store.find(collection, query).await
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.store.count(collection, conditions).await
    }

    async fn write(&self, mut batch: Batch) -> Result<(), StoreError> {
        let verdict = self.judge.judge(&batch);
        match verdict {
            Verdict::Pass | Verdict::Unheard => {}
            Verdict::Without(name) => {
                let is_for = |write: &Write| matches!(write, Write::Put { collection, .. } if collection.name == name);
                batch.writes.retain(|write| !is_for(write));
            }
            Verdict::HoldBack => std::future::pending().await,
            Verdict::Full => return Err(StoreError::Full),
            Verdict::Damaged => {
                return Err(StoreError::Corrupt {
                    file: "session.sqlite3".into(),
                    cause: "database disk image is malformed".into(),
                });
            }
        }
        self.store.write(batch.clone()).await?;
        self.judge.written(&batch);
        match verdict {
            Verdict::Unheard => std::future::pending().await,
            _ => Ok(()),
        }
    }
}
