//! The files of messages that are kept: what there is, under which URL, and until when.
//!
//! Where the bytes are is the media storage's. Each file has a record here, which is written before the file, so that nothing is
//! kept that nobody knows of, and which says when it expires, so that a restart changes nothing about it. Does not fetch files;
//! serving them is `api/files.rs`'s.

mod names;
mod record;
mod sweep;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wharf_core::clock::Clock;
use wharf_core::ids::{MessageId, SessionName};
use wharf_core::media::{DiskSpace, MediaFile, MediaKey, MediaStorage, MediaStorageError, S3Location};
use wharf_core::store::{Batch, Condition, Query, Store, StoreError};

use crate::config::Config;
use record::{FILES, Record};

/// What was begun so long ago was never finished, and is removed.
const ABANDONED_AFTER: SignedDuration = SignedDuration::from_hours(24);
/// The longest that a health check waits for the storage.
const CHECK_WITHIN: Duration = Duration::from_secs(5);

/// Files that are read at the same time; each takes a piece of memory and a connection to its storage.
const READS_MAX: usize = 256;
/// The most of them that are of one session, whose readers may be slow.
const READS_PER_SESSION_MAX: usize = 64;

/// The files of messages.
pub(crate) struct Library {
    storage: Arc<dyn MediaStorage>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lifetime: Option<SignedDuration>,
    signed_url_for: Option<Duration>,
    free_bytes_min: u64,
    base_url: String,
    /// When the sweeper wakes, in milliseconds; what expires sooner wakes it.
    sweeps_at: AtomicI64,
    sooner: Notify,
    seats: Arc<Semaphore>,
    /// The same, of each session.
    own_seats: Mutex<HashMap<SessionName, Arc<Semaphore>>>,
    /// The records of the files that are being stored or removed.
    claimed: Mutex<HashSet<String>>,
    /// One of them is not any more.
    released: Notify,
}

/// The right to change a file and its record, until it is dropped.
struct Claim<'a> {
    library: &'a Library,
    id: String,
}

/// A file that is kept, as messages tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMedia {
    /// Where to get it.
    pub(crate) url: String,
    /// Where it is in S3.
    pub(crate) s3: Option<S3Location>,
}

/// A file that is kept, as it is served.
#[derive(Debug, Clone)]
pub(crate) struct KeptFile {
    key: MediaKey,
    /// Its type, fit for a header.
    pub(crate) mimetype: String,
    /// What its sender called it.
    pub(crate) filename: Option<String>,
    /// How large it is, in bytes.
    pub(crate) size: u64,
    /// When it was stored.
    pub(crate) stored_at: Timestamp,
}

/// How the storage is.
#[derive(Debug)]
pub(crate) enum Health {
    /// It takes files.
    Up(Option<DiskSpace>),
    /// It does not, or there is not enough room.
    Down {
        /// What there is.
        space: Option<DiskSpace>,
        /// What is wrong.
        message: String,
    },
}

impl Library {
    /// A library over this storage, with its records in `store`.
    pub(crate) fn new(
        storage: Arc<dyn MediaStorage>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        config: &Config,
    ) -> Arc<Self> {
        Arc::new(Self {
            storage,
            store,
            clock,
            lifetime: config.media.lifetime,
            signed_url_for: config.media.signed_url_for,
            free_bytes_min: config.media.free_bytes_min,
            base_url: config.http.base_url.clone(),
            sweeps_at: AtomicI64::new(i64::MAX),
            sooner: Notify::new(),
            seats: Arc::new(Semaphore::new(READS_MAX)),
            own_seats: Mutex::default(),
            claimed: Mutex::default(),
            released: Notify::new(),
        })
    }

    /// Keeps a copy of the local file `from` as the file of a message. The same again replaces it.
    pub(crate) async fn save(
        &self,
        session: &SessionName,
        message: &MessageId,
        mimetype: Option<&str>,
        filename: Option<&str>,
        from: &Path,
    ) -> Result<StoredMedia, MediaStorageError> {
        let (stem, mimetype) = (names::stem(message), names::plain_type(mimetype));
        let no_name = || MediaStorageError::Internal("no file can have the name of this message".into());
        let file = names::file_name(&stem, &mimetype).ok_or_else(no_name)?;
        let size = tokio::fs::metadata(from).await;
        let size = size.map_err(|error| MediaStorageError::Internal(error.into()))?.len();
        let now = self.clock.now();
        let mut record = Record {
            key: MediaKey {
                session: session.clone(),
                file,
            },
            message_id: message.to_string(),
            mimetype,
            filename: filename.map(str::to_owned),
            size,
            stored_at: None,
            expires_at: now.checked_add(ABANDONED_AFTER).ok(),
        };
        let _claim = self.turn(&record::id(session, &stem)).await;
        let before = self.record(session, &stem).await.map_err(unavailable)?;
        let before = before.filter(|before| before.is_there(now));
        // One that is there is told of until it is replaced.
        if before.is_none() {
            self.write(&record, &stem).await?;
        }
        self.storage.put(&record.key, &record.metadata(), from).await?;
        let now = self.clock.now();
        record.stored_at = Some(now);
        record.expires_at = self.lifetime.and_then(|lifetime| now.checked_add(lifetime).ok());
        self.write(&record, &stem).await?;
        if let Some(before) = before.filter(|before| before.key != record.key) {
            self.storage.delete(&before.key).await?;
        }
        Ok(self.told(&record.key).await)
    }

    /// Those of these messages' files that are kept.
    pub(crate) async fn find(
        &self,
        session: &SessionName,
        messages: &[MessageId],
    ) -> Result<HashMap<MessageId, StoredMedia>, StoreError> {
        let ids: HashMap<_, _> = messages
            .iter()
            .map(|message| (record::id(session, &names::stem(message)), message))
            .collect();
        let wanted: Vec<_> = ids.keys().cloned().collect();
        let (mut found, now) = (HashMap::new(), self.clock.now());
        for document in self.store.get_many(&FILES, &wanted).await? {
            let record = Record::read(&document).filter(|record| record.is_there(now));
            if let (Some(message), Some(record)) = (ids.get(&document.id), record) {
                found.insert((*message).clone(), self.told(&record.key).await);
            }
        }
        Ok(found)
    }

    /// The file of this name, of one session, or of any where none is named.
    pub(crate) async fn find_file(
        &self,
        session: Option<&SessionName>,
        name: &str,
    ) -> Result<Option<KeptFile>, StoreError> {
        let Some((stem, _)) = name.rsplit_once('.') else {
            return Ok(None);
        };
        let records = match session {
            Some(session) => self.record(session, stem).await?.into_iter().collect(),
            None => {
                let same_name = Query::all().filter(Condition::Equal("stem", stem.into()));
                let page = self.store.find(&FILES, same_name).await?;
                page.documents.iter().filter_map(Record::read).collect::<Vec<_>>()
            }
        };
        let now = self.clock.now();
        let mut there = records
            .into_iter()
            .filter(|record| record.is_there(now) && record.key.file.as_str() == name);
        Ok(there.next().and_then(Record::kept))
    }

    /// The right to read this file, until it is dropped; `None` while too many are read.
    pub(crate) fn seat(&self, file: &KeptFile) -> Option<[OwnedSemaphorePermit; 2]> {
        let new = || Arc::new(Semaphore::new(READS_PER_SESSION_MAX));
        let own = Arc::clone(self.own_seats().entry(file.key.session.clone()).or_insert_with(new));
        let seat = |seats: Arc<Semaphore>| seats.try_acquire_owned().ok();
        Some([seat(own)?, seat(Arc::clone(&self.seats))?])
    }

    /// As in [`Library::claimed`].
    fn own_seats(&self) -> MutexGuard<'_, HashMap<SessionName, Arc<Semaphore>>> {
        self.own_seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a file, or a part of it.
    pub(crate) async fn read(
        &self,
        file: &KeptFile,
        range: Option<Range<u64>>,
    ) -> Result<MediaFile, MediaStorageError> {
        self.storage.get(&file.key, range).await
    }

    /// How the storage is.
    pub(crate) async fn check(&self) -> Health {
        let outcome = match tokio::time::timeout(CHECK_WITHIN, self.storage.check()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(MediaStorageError::Unavailable("it did not answer in time".into())),
        };
        match outcome {
            Ok(Some(space)) if space.free_bytes < self.free_bytes_min => Health::Down {
                space: Some(space),
                message: "there is not enough room for media files".to_owned(),
            },
            Ok(space) => Health::Up(space),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(tracing::field::display);
                tracing::error!(%error, cause, "media storage failed the health check");
                Health::Down {
                    space: None,
                    message: error.to_string(),
                }
            }
        }
    }

    /// What must be free where there is a disk, in bytes.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        self.free_bytes_min
    }

    /// `None` while somebody else has it.
    fn claim(&self, id: &str) -> Option<Claim<'_>> {
        let is_free = self.claimed().insert(id.to_owned());
        is_free.then(|| Claim {
            library: self,
            id: id.to_owned(),
        })
    }

    /// The same, once nobody else has it.
    async fn turn(&self, id: &str) -> Claim<'_> {
        loop {
            // From here on nothing that is released is missed.
            let released = self.released.notified();
            if let Some(claim) = self.claim(id) {
                return claim;
            }
            released.await;
        }
    }

    /// The guarded value is plain data, valid even if a holder panicked.
    fn claimed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn record(&self, session: &SessionName, stem: &str) -> Result<Option<Record>, StoreError> {
        let document = self.store.get(&FILES, &record::id(session, stem)).await?;
        Ok(document.as_ref().and_then(Record::read))
    }

    async fn write(&self, record: &Record, stem: &str) -> Result<(), MediaStorageError> {
        let batch = Batch::new().put(&FILES, record.document(stem));
        self.store.write(batch).await.map_err(unavailable)?;
        self.note_expiry(record.expires_at);
        Ok(())
    }

    /// Where a file is, as messages tell it.
    async fn told(&self, key: &MediaKey) -> StoredMedia {
        let signed = match self.signed_url_for {
            None => Ok(None),
            Some(lifetime) => self.storage.signed_url(key, lifetime).await,
        };
        let url = match signed {
            Ok(Some(url)) => url,
            Ok(None) => self.own_url(key),
            Err(error) => {
                tracing::warn!(%error, "a url of a media file could not be signed, the file is told of as served here");
                self.own_url(key)
            }
        };
        StoredMedia {
            url,
            s3: self.storage.location(key),
        }
    }

    fn own_url(&self, key: &MediaKey) -> String {
        format!("{}/api/files/{key}", self.base_url)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.library.claimed().remove(&self.id);
        self.library.released.notify_waiters();
    }
}

/// Records are part of the storage, for whoever keeps a file.
fn unavailable(error: StoreError) -> MediaStorageError {
    MediaStorageError::Unavailable(error.into())
}

#[cfg(test)]
mod tests;
