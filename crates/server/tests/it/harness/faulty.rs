//! Storage that fails, or makes others wait, when a test wants it to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use wharf_core::ids::SessionName;
use wharf_core::store::{Batch, Collection, Condition, Document, Page, Query, Storage, Store, StoreError};
use wharf_storage::sqlite::LocalStorage;

use super::Door;

/// Local storage whose stores can be made to fail, and to wait.
pub(super) struct FaultyStorage {
    pub(super) inner: Arc<LocalStorage>,
    pub(super) is_full: Arc<AtomicBool>,
    pub(super) server_is_full: Arc<AtomicBool>,
    pub(super) server_panics: Arc<AtomicBool>,
    pub(super) server_misreports: Arc<Mutex<Option<StoreError>>>,
    pub(super) server_writes: Arc<Door>,
    pub(super) session_writes: Arc<Door>,
}

struct FaultyStore {
    inner: Arc<dyn Store>,
    is_full: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
    /// What the next write is answered with, though it is made.
    misreports: Arc<Mutex<Option<StoreError>>>,
    writes: Arc<Door>,
}

#[async_trait]
impl Storage for FaultyStorage {
    fn server(&self) -> Arc<dyn Store> {
        Arc::new(FaultyStore {
            inner: self.inner.server(),
            is_full: Arc::clone(&self.server_is_full),
            panics: Arc::clone(&self.server_panics),
            misreports: Arc::clone(&self.server_misreports),
            writes: Arc::clone(&self.server_writes),
        })
    }

    async fn session(&self, name: &SessionName) -> Result<Arc<dyn Store>, StoreError> {
        let inner = self.inner.session(name).await?;
        Ok(Arc::new(FaultyStore {
            inner,
            is_full: Arc::clone(&self.is_full),
            panics: Arc::default(),
            misreports: Arc::default(),
            writes: Arc::clone(&self.session_writes),
        }))
    }

    async fn delete_session(&self, name: &SessionName) -> Result<(), StoreError> {
        self.inner.delete_session(name).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(StoreError::Full),
            false => self.inner.check().await,
        }
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        self.inner.get(collection, id).await
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        self.inner.get_many(collection, ids).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        self.inner.find(collection, query).await
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        self.inner.count(collection, conditions).await
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.writes.pass().await;
        assert!(!self.panics.load(Ordering::SeqCst), "as the test asked");
        match self.is_full.load(Ordering::SeqCst) {
            true => return Err(StoreError::Full),
            false => self.inner.write(batch).await?,
        }
        let misreport = self.misreports.lock().unwrap().take();
        misreport.map_or(Ok(()), Err)
    }
}
