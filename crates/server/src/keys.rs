//! API keys: made, changed and deleted by administrators, looked up at every request.
//!
//! What a request needs is in memory, by the digest of each key; the store is read once, at start. Every change is written
//! first and takes effect before the caller hears of it. The store has no key in plain: the digest is enough to recognize one,
//! and what the API shows again is encrypted.

mod action;
mod caller;
mod key;
mod seal;

pub(crate) use action::{Action, Actions};
pub(crate) use caller::Caller;
pub(crate) use key::{Grant, Key, Purpose};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use ulid::Ulid;
use wharf_core::clock::Clock;
use wharf_core::ids::SessionName;
use wharf_core::random::Random;
use wharf_core::store::{Batch, Collection, Page, Query, Store, StoreError};

use self::key::{Digest, digest};
use self::seal::Sealer;
use crate::config::MasterKey;

/// One document per key, under its id.
static KEYS: Collection = Collection {
    name: "keys",
    fields: &[],
};

/// The most keys; all of them are in memory. Enough for three per session.
const KEYS_MAX: usize = 20_000;
/// Random bytes in a key. More than anybody can guess, so that a fast digest is enough.
const KEY_BYTES: usize = 32;

/// All stored keys.
pub(crate) struct Keys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    /// Without one, keys are shown when they are made and never again.
    sealer: Option<Sealer>,
    index: RwLock<Index>,
    /// One change at a time, so that what is stored and what is in memory follow each other.
    changing: tokio::sync::Mutex<()>,
    /// Owns the changes: one that has begun is finished when its caller hangs up.
    tasks: TaskTracker,
}

#[derive(Default)]
struct Index {
    by_id: BTreeMap<String, Arc<Key>>,
    by_digest: HashMap<Digest, Arc<Key>>,
}

/// Why a key could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is none with this id.
    #[error("key '{0}' not found")]
    Unknown(String),
    /// There are as many as there may be.
    #[error("there are {KEYS_MAX} api keys, delete some first")]
    TooMany,
    /// A key for one purpose stays what it is.
    #[error("key '{0}' can be switched on and off, but not changed; make another one with POST /api/keys")]
    Fixed(String),
    /// An administrator has switched the key for this purpose off.
    #[error("key '{0}' is switched off; an administrator can switch it on with PUT /api/keys/{0}")]
    Inactive(String),
    /// The key for this purpose is there but cannot be read.
    #[error(
        "key '{0}' cannot be shown: WHARF_MASTER_KEY is not the one under which it was stored; set that one, or delete the key"
    )]
    Unreadable(String),
    /// It could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keys {
    /// Reads all keys.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        master: Option<&MasterKey>,
        tasks: TaskTracker,
    ) -> Result<Arc<Self>, StoreError> {
        let mut index = Index::default();
        let mut after = None;
        loop {
            let Page { documents, next } = store.find(&KEYS, Query::all().after(after)).await?;
            for document in documents {
                match Key::read(&document) {
                    Some(key) => index.put(Arc::new(key)),
                    // One unreadable key must not lock the others out.
                    None => tracing::error!(key = document.id, "a stored api key cannot be read, it opens nothing"),
                }
            }
            after = next;
            if after.is_none() {
                break;
            }
        }
        Ok(Arc::new(Self {
            store,
            clock,
            random,
            sealer: master.and_then(Sealer::new),
            index: RwLock::new(index),
            changing: tokio::sync::Mutex::default(),
            tasks,
        }))
    }

    /// The key with this text, if it opens anything now.
    pub(crate) fn find(&self, text: &str) -> Option<Arc<Key>> {
        let digest = digest(text);
        let key = self.read().by_digest.get(&digest).cloned()?;
        // How long the look-up took can tell of digests, which are of no use to anybody.
        let is_same: bool = key.digest.ct_eq(&digest).into();
        (is_same && key.is_active).then_some(key)
    }

    /// All keys, oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Key>> {
        self.read().by_id.values().cloned().collect()
    }

    /// The text of a key; `None` where it was stored under another master key.
    pub(crate) fn text(&self, key: &Key) -> Option<String> {
        self.sealer.as_ref()?.open(&key.id, key.sealed.as_deref()?)
    }

    /// Makes a key; returns it with its text.
    pub(crate) async fn create(
        self: &Arc<Self>,
        grant: Grant,
        is_active: bool,
    ) -> Result<(Arc<Key>, String), KeyError> {
        self.undisturbed(move |keys: Arc<Self>| async move {
            let at = u64::try_from(keys.clock.now().as_millisecond()).unwrap_or_default();
            let ulid = Ulid::from_parts(at, u128::from_be_bytes(keys.random.bytes()));
            let id = format!("key_id_{}", ulid.to_string().to_ascii_lowercase());
            keys.make(id, grant, is_active).await
        })
        .await
    }

    /// The key of a session for this purpose with its text, made where there is none.
    pub(crate) async fn for_purpose(
        self: &Arc<Self>,
        purpose: Purpose,
        session: SessionName,
    ) -> Result<(Arc<Key>, String), KeyError> {
        self.undisturbed(move |keys: Arc<Self>| async move {
            let id = purpose.id(&session);
            match keys.get(&id) {
                Some(key) if !key.is_active => Err(KeyError::Inactive(id)),
                Some(key) => match keys.text(&key) {
                    Some(text) => Ok((key, text)),
                    None => Err(KeyError::Unreadable(id)),
                },
                None => keys.make(id, purpose.grant(&session), true).await,
            }
        })
        .await
    }

    /// Changes what a key opens, and whether. Its text stays.
    pub(crate) async fn update(
        self: &Arc<Self>,
        id: String,
        grant: Grant,
        is_active: bool,
    ) -> Result<Arc<Key>, KeyError> {
        self.undisturbed(move |keys: Arc<Self>| async move {
            let known = keys.get(&id).ok_or_else(|| KeyError::Unknown(id.clone()))?;
            if known.is_for_purpose() && known.grant != grant {
                return Err(KeyError::Fixed(id));
            }
            let key = Key {
                id,
                grant,
                is_active,
                digest: known.digest,
                sealed: known.sealed.clone(),
                changed: CancellationToken::new(),
            };
            Ok(keys.keep(key, &keys.asked_for_by(&known)).await?)
        })
        .await
    }

    /// Deletes a key.
    pub(crate) async fn delete(self: &Arc<Self>, id: String) -> Result<(), KeyError> {
        self.undisturbed(move |keys: Arc<Self>| async move {
            let known = keys.get(&id).ok_or(KeyError::Unknown(id))?;
            let mut gone = keys.asked_for_by(&known);
            gone.push(known);
            Ok(keys.remove(&gone).await?)
        })
        .await
    }

    /// Deletes every key of a session. Must not be cut off: only a task of its own may call this.
    pub(crate) async fn forget(&self, session: &SessionName) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        let is_theirs = |key: &Arc<Key>| matches!(&key.grant, Grant::Session { name, .. } if name == session);
        let theirs: Vec<_> = self
            .read()
            .by_id
            .values()
            .filter(|key| is_theirs(key))
            .cloned()
            .collect();
        self.remove(&theirs).await
    }

    /// The media and control key of a session, which whoever has this key may know: they must not outlive its rights. One that
    /// is switched off stays, or it could be made anew.
    fn asked_for_by(&self, key: &Key) -> Vec<Arc<Key>> {
        match &key.grant {
            Grant::Session { name, .. } if !key.is_for_purpose() => {
                let known = Purpose::ALL.iter().filter_map(|purpose| self.get(&purpose.id(name)));
                known.filter(|key| key.is_active).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Does this when no other change is under way, in a task of its own.
    async fn undisturbed<T, F>(
        self: &Arc<Self>,
        change: impl FnOnce(Arc<Self>) -> F + Send + 'static,
    ) -> Result<T, KeyError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, KeyError>> + Send + 'static,
    {
        let keys = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let own = Arc::clone(&keys);
            let _turn = keys.changing.lock().await;
            change(own).await
        });
        task.await.map_err(|error| StoreError::Internal(error.into()))?
    }

    async fn make(&self, id: String, grant: Grant, is_active: bool) -> Result<(Arc<Key>, String), KeyError> {
        if self.read().by_id.len() >= KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let text = format!("key_{}", hex::encode(self.random.bytes::<KEY_BYTES>()));
        let sealer = self.sealer.as_ref();
        let key = Key {
            sealed: sealer.and_then(|sealer| sealer.seal(&id, &text, self.random.as_ref())),
            id,
            grant,
            is_active,
            digest: digest(&text),
            changed: CancellationToken::new(),
        };
        Ok((self.keep(key, &[]).await?, text))
    }

    /// Stores a key, and removes others with it.
    async fn keep(&self, key: Key, gone: &[Arc<Key>]) -> Result<Arc<Key>, StoreError> {
        self.store.write(deletion(gone).put(&KEYS, key.document()?)).await?;
        let key = Arc::new(key);
        let mut index = self.write();
        index.remove_all(gone);
        index.put(Arc::clone(&key));
        Ok(key)
    }

    async fn remove(&self, keys: &[Arc<Key>]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.store.write(deletion(keys)).await?;
        self.write().remove_all(keys);
        Ok(())
    }

    fn get(&self, id: &str) -> Option<Arc<Key>> {
        self.read().by_id.get(id).cloned()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Puts a key in the place of the one with its id, and ends what that one had opened.
    fn put(&mut self, key: Arc<Key>) {
        self.remove(&key.id);
        self.by_digest.insert(key.digest, Arc::clone(&key));
        self.by_id.insert(key.id.clone(), key);
    }

    fn remove_all(&mut self, keys: &[Arc<Key>]) {
        for key in keys {
            self.remove(&key.id);
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(key) = self.by_id.remove(id) {
            self.by_digest.remove(&key.digest);
            key.changed.cancel();
        }
    }
}

fn deletion(keys: &[Arc<Key>]) -> Batch {
    keys.iter()
        .fold(Batch::new(), |batch, key| batch.delete(&KEYS, &key.id))
}

#[cfg(test)]
mod tests;
