//! The store of one file: checks a call, turns it into SQL and hands it to the file's worker.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use wharf_core::store::{
    Batch, Collection, Condition, Cursor, Document, PAGE_DOCUMENTS_MAX, Page, Query, Store, StoreError,
};

use super::error::{closed, misuse};
use super::group::{Answer, Call, Task};
use super::statement::{Statement, count, select_ids, select_page, step};

/// The documents of one file. Stays valid while the file is closed and opened again.
#[derive(Debug, Clone)]
pub(super) struct FileStore {
    calls: mpsc::Sender<Call>,
    file: PathBuf,
}

impl FileStore {
    /// A store that hands its calls to the worker at the other end.
    pub(super) fn new(calls: mpsc::Sender<Call>, file: PathBuf) -> Self {
        Self { calls, file }
    }

    /// Opens the file now, to see whether it can be.
    pub(super) async fn open(&self) -> Result<(), StoreError> {
        self.call(Task::Open, false).await.map(drop)
    }

    /// Has the code that uses the file panic.
    #[cfg(test)]
    pub(super) async fn panic(&self) -> StoreError {
        self.call(Task::Panic, false).await.expect_err("it panicked")
    }

    async fn call(&self, task: Task, may_wait: bool) -> Result<Answer, StoreError> {
        let (reply, answer) = oneshot::channel();
        let call = Call { task, may_wait, reply };
        if self.calls.send(call).await.is_err() {
            return Err(closed());
        }
        match answer.await {
            Ok(result) => result,
            // Only a panic or the end of the runtime leaves a call without an answer.
            Err(_) => {
                tracing::error!(file = %self.file.display(), "a storage file gave no answer");
                Err(closed())
            }
        }
    }

    async fn read(
        &self,
        collection: &'static Collection,
        statements: Vec<Statement>,
    ) -> Result<Vec<Document>, StoreError> {
        Ok(self.call(Task::Read(collection, statements), false).await?.documents)
    }
}

#[async_trait]
impl Store for FileStore {
    async fn get(&self, collection: &'static Collection, id: &str) -> Result<Option<Document>, StoreError> {
        let statements = select_ids(collection, &[id.to_owned()]).map_err(misuse)?;
        Ok(self.read(collection, statements).await?.pop())
    }

    async fn get_many(&self, collection: &'static Collection, ids: &[String]) -> Result<Vec<Document>, StoreError> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let statements = select_ids(collection, &ids).map_err(misuse)?;
        self.read(collection, statements).await
    }

    async fn find(&self, collection: &'static Collection, query: Query) -> Result<Page, StoreError> {
        let documents_max = query.limit.min(PAGE_DOCUMENTS_MAX);
        let statement = select_page(collection, &query, documents_max).map_err(misuse)?;
        let mut documents = self.read(collection, vec![statement]).await?;
        let has_more = documents.len() > documents_max;
        documents.truncate(documents_max);
        let last = documents.last().filter(|_| has_more);
        let next = last.map(|last| Cursor {
            value: query.order_by.and_then(|field| last.field(field).cloned()),
            id: last.id.clone(),
        });
        Ok(Page { documents, next })
    }

    async fn count(&self, collection: &'static Collection, conditions: Vec<Condition>) -> Result<u64, StoreError> {
        let statement = count(collection, &conditions).map_err(misuse)?;
        Ok(self.call(Task::Count(collection, statement), false).await?.count)
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        let steps = batch
            .writes
            .into_iter()
            .map(step)
            .collect::<Result<_, _>>()
            .map_err(misuse)?;
        self.call(Task::Write(steps), batch.may_wait).await.map(drop)
    }
}
