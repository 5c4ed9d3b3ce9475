//! Removes files: those that have expired, those that were never finished, and those of a session that is deleted.
//!
//! A file is removed before its record, so that one that cannot be removed now is not forgotten. What is to be removed is told of
//! to nobody from then on, whenever that succeeds.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wharf_core::ids::SessionName;
use wharf_core::media::MediaStorageError;
use wharf_core::store::{Batch, Condition, Document, Query, StoreError};

use super::Library;
use super::record::{FILES, Record};

/// Files that are removed between two writes of the store.
const STEP_FILES: usize = 128;
/// The wait after the storage, or the store, failed.
const RETRY_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The longest that the deletion of a session waits for the storage; what is left then is removed by the sweeper.
const DELETE_WITHIN: Duration = Duration::from_secs(15);

impl Library {
    /// Removes what expires, when it does, until `stop`.
    pub(crate) async fn sweep_on(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                let next = self.sweep().await.unwrap_or_else(|error| {
                    let cause = std::error::Error::source(&error).map(tracing::field::display);
                    tracing::warn!(%error, cause, "expired media files could not be removed, they are tried again");
                    self.clock.now().saturating_add(RETRY_AFTER).unwrap_or(Timestamp::MAX)
                });
                tokio::select! {
                    () = self.clock.sleep_until(next) => {}
                    () = self.sooner.notified() => {}
                }
            }
        })
        .await;
    }

    /// Removes every file of a session. Where the storage fails, they are gone for everybody all the same, and the sweeper goes on.
    pub(crate) async fn delete_session(&self, session: &SessionName) -> Result<(), StoreError> {
        self.own_seats().remove(session);
        let of_session = vec![Condition::Equal("session", session.as_str().into())];
        let outcome = timeout(DELETE_WITHIN, self.storage.delete_session(session)).await;
        if let Ok(Ok(())) = outcome {
            return self.store.write(Batch::new().delete_where(&FILES, of_session)).await;
        }
        tracing::warn!(%session, ?outcome, "the media files of a deleted session are still in the storage, they are tried again");
        let now = self.clock.now();
        loop {
            let mut page = Query::all().limit(STEP_FILES);
            page.conditions.clone_from(&of_session);
            let page = self.store.find(&FILES, page).await?;
            let hidden = page.documents.into_iter().map(|document| hidden(document, now));
            let batch = hidden.fold(Batch::new(), |batch, document| batch.put(&FILES, document));
            if batch.is_empty() {
                break;
            }
            self.store.write(batch).await?;
        }
        self.note_expiry(Some(now));
        Ok(())
    }

    /// Wakes the sweeper where something expires sooner than it wakes by itself.
    pub(super) fn note_expiry(&self, moment: Option<Timestamp>) {
        if moment.is_some_and(|moment| moment.as_millisecond() < self.sweeps_at.load(Ordering::Acquire)) {
            self.sooner.notify_one();
        }
    }

    /// Removes what has expired, and answers when the next file does.
    pub(super) async fn sweep(&self) -> Result<Timestamp, MediaStorageError> {
        // From here on whatever is written may have been missed.
        self.sweeps_at.store(i64::MAX, Ordering::Release);
        loop {
            let now = self.clock.now();
            let query = Query::all().ascending("expires_at").limit(STEP_FILES);
            let page = self.store.find(&FILES, query).await.map_err(super::unavailable)?;
            let mut removed = Batch::new();
            let (mut next, mut later) = (None, None);
            // Until the records are removed: whoever stores one of these files anew does so afterwards.
            let mut claims = Vec::new();
            for document in page.documents {
                let record = Record::read(&document);
                let expires_at = record.as_ref().and_then(|record| record.expires_at);
                if expires_at.is_some_and(|moment| moment > now) {
                    next = expires_at;
                    break;
                }
                let Some(claim) = self.claim(&document.id) else {
                    later = now.checked_add(RETRY_AFTER).ok();
                    continue;
                };
                claims.push(claim);
                let current = self.store.get(&FILES, &document.id).await.map_err(super::unavailable)?;
                if current.is_none_or(|current| current.version != document.version) {
                    // It was stored anew since the page was read.
                    later = now.checked_add(RETRY_AFTER).ok();
                    continue;
                }
                removed = match record {
                    Some(record) => self.remove(removed, document, &record, now).await?,
                    None => removed.delete(&FILES, document.id),
                };
            }
            let is_done = next.is_some() || removed.is_empty();
            if !removed.is_empty() {
                self.store.write(removed).await.map_err(super::unavailable)?;
            }
            if is_done {
                let next = [next, later].into_iter().flatten().min().unwrap_or(Timestamp::MAX);
                self.sweeps_at.store(next.as_millisecond(), Ordering::Release);
                return Ok(next);
            }
        }
    }

    /// Removes a file. One that cannot be removed by itself makes way for the others, and is tried again later.
    async fn remove(
        &self,
        batch: Batch,
        document: Document,
        record: &Record,
        now: Timestamp,
    ) -> Result<Batch, MediaStorageError> {
        match self.storage.delete(&record.key).await {
            Ok(()) => Ok(batch.delete(&FILES, document.id)),
            Err(error @ (MediaStorageError::Unavailable(_) | MediaStorageError::Refused(_))) => Err(error),
            Err(error) => {
                tracing::warn!(%error, file = %record.key, "an expired media file could not be removed");
                let later = now.saturating_add(RETRY_AFTER).unwrap_or(Timestamp::MAX);
                Ok(batch.put(&FILES, hidden(document, later)))
            }
        }
    }
}

/// The record as nobody finds it but the sweeper, from `moment` on.
fn hidden(document: Document, moment: Timestamp) -> Document {
    let body = match Record::read(&document) {
        Some(mut record) => {
            (record.stored_at, record.expires_at) = (None, Some(moment));
            serde_json::to_vec(&record).unwrap_or_default()
        }
        None => Vec::new(),
    };
    Document::new(document.id, body).with("expires_at", moment)
}
