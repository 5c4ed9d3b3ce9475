//! Local files: one SQLite database for the server and one for each session.
//!
//! `{base_dir}/{namespace}/wharf.sqlite3` and `{base_dir}/{session_namespace}/{session}/session.sqlite3`. One process at a
//! time uses a namespace; a lock that dies with the process says so. Each file has one worker ([`worker`]) that commits in
//! groups; session files are opened when needed and close when idle ([`pool`]), while their handles stay valid.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wharf_core::ids::SessionName;
use wharf_core::store::{Batch, Collection, Document, Storage, Store, StoreError};

use error::{closed, from_io};
use file::DatabaseFile;
use folder::{FolderLock, blocking, folder_name};
use pool::Pool;
use store::FileStore;
use worker::{Idling, Worker};

mod error;
mod file;
mod folder;
mod group;
mod pool;
mod statement;
mod store;
#[cfg(test)]
mod tests;
mod worker;

/// The file of the server's own documents, in the namespace's folder.
const SERVER_FILE: &str = "wharf.sqlite3";

/// The file of a session's documents, in the session's folder.
const SESSION_FILE: &str = "session.sqlite3";

/// The most calls that wait for one file; more wait outside, which slows the callers down.
const QUEUED_CALLS_MAX: usize = 256;

/// How much of the server's file SQLite keeps in memory, in KiB.
const SERVER_PAGE_CACHE_KIB: u32 = 4 * 1024;

/// How much of a session's file SQLite keeps in memory, in KiB.
const SESSION_PAGE_CACHE_KIB: u32 = 128;

/// The prepared statements kept for the server's file.
const SERVER_STATEMENTS_MAX: usize = 100;

/// The prepared statements kept for a session's file, at a few KiB each.
const SESSION_STATEMENTS_MAX: usize = 32;

/// Written by [`Storage::check`].
static CHECKS: Collection = Collection {
    name: "storage_checks",
    fields: &[],
};

/// Where the files are and how many are open.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// The folder of all namespaces.
    pub base_dir: PathBuf,
    /// Where the server's own file is: what it knows of another namespace's is not seen.
    pub namespace: String,
    /// Where the sessions' files are.
    pub session_namespace: String,
    /// The most session files that are open at once.
    pub open_sessions_max: usize,
    /// How long a session's file stays open with nothing to do.
    pub session_idle_timeout: Duration,
    /// How long to wait while another program, such as a backup, holds a file.
    pub busy_timeout: Duration,
}

impl LocalConfig {
    /// The usual limits, for the namespace in this folder.
    pub fn new(base_dir: impl Into<PathBuf>, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        Self {
            base_dir: base_dir.into(),
            session_namespace: namespace.clone(),
            namespace,
            open_sessions_max: 128,
            session_idle_timeout: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(10),
        }
    }
}

/// The files of one namespace.
#[derive(Debug)]
pub struct LocalStorage {
    sessions_folder: PathBuf,
    busy_timeout: Duration,
    session_idle_timeout: Duration,
    server: Arc<FileStore>,
    sessions: Mutex<HashMap<SessionName, Slot>>,
    pool: Arc<Pool>,
    workers: TaskTracker,
    stop: CancellationToken,
    /// Of the server's folder and of the sessions', which may be the same.
    locks: Mutex<Option<[Arc<FolderLock>; 2]>>,
}

/// The place of one session. Its lock is held while the session is opened or deleted.
type Slot = Arc<tokio::sync::Mutex<Option<SessionFile>>>;

#[derive(Debug)]
struct SessionFile {
    store: Arc<FileStore>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl LocalStorage {
    /// Opens the server's file; makes what is not there yet. Fails while another process uses the namespace.
    pub async fn open(config: LocalConfig) -> Result<Self, StoreError> {
        let folder = config.base_dir.join(folder_name(&config.namespace));
        let sessions_folder = config.base_dir.join(folder_name(&config.session_namespace));
        warn_of_others(&config.base_dir, &folder).await;
        let server_lock = lock(&folder).await?;
        let sessions_lock = match sessions_folder == folder {
            true => Arc::clone(&server_lock),
            false => lock(&sessions_folder).await?,
        };
        let workers = TaskTracker::new();
        let stop = CancellationToken::new();
        let file = DatabaseFile {
            path: folder.join(SERVER_FILE),
            page_cache_kib: SERVER_PAGE_CACHE_KIB,
            statements_max: SERVER_STATEMENTS_MAX,
            busy_timeout: config.busy_timeout,
        };
        let (server, _) = start(file, &workers, stop.child_token(), None, Arc::clone(&server_lock));
        let storage = Self {
            sessions_folder,
            busy_timeout: config.busy_timeout,
            session_idle_timeout: config.session_idle_timeout,
            server,
            sessions: Mutex::default(),
            pool: Arc::new(Pool::new(config.open_sessions_max)),
            workers,
            stop,
            locks: Mutex::new(Some([server_lock, sessions_lock])),
        };
        match storage.server.open().await {
            Ok(()) => Ok(storage),
            Err(error) => {
                storage.close().await;
                Err(error)
            }
        }
    }

    /// How many session files are open at the moment.
    pub fn open_sessions(&self) -> usize {
        self.pool.taken()
    }

    fn session_folder(&self, name: &SessionName) -> PathBuf {
        self.sessions_folder.join(folder_name(name.as_str()))
    }

    fn slot(&self, name: &SessionName) -> Slot {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sessions.entry(name.clone()).or_default())
    }

    fn start_session(&self, name: &SessionName) -> Result<SessionFile, StoreError> {
        let locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let [_, lock] = locks.ok_or_else(closed)?;
        let stop = self.stop.child_token();
        let file = DatabaseFile {
            path: self.session_folder(name).join(SESSION_FILE),
            page_cache_kib: SESSION_PAGE_CACHE_KIB,
            statements_max: SESSION_STATEMENTS_MAX,
            busy_timeout: self.busy_timeout,
        };
        let idling = Idling {
            pool: Arc::clone(&self.pool),
            timeout: self.session_idle_timeout,
        };
        let (store, worker) = start(file, &self.workers, stop.clone(), Some(idling), lock);
        Ok(SessionFile { store, stop, worker })
    }
}

#[async_trait]
impl Storage for LocalStorage {
    fn server(&self) -> Arc<dyn Store> {
        Arc::clone(&self.server) as Arc<dyn Store>
    }

    async fn session(&self, name: &SessionName) -> Result<Arc<dyn Store>, StoreError> {
        if self.stop.is_cancelled() {
            return Err(closed());
        }
        let slot = self.slot(name);
        let mut slot = slot.lock().await;
        if slot.is_none() {
            let session = self.start_session(name)?;
            if let Err(error) = session.store.open().await {
                session.end().await;
                return Err(error);
            }
            *slot = Some(session);
        }
        match &*slot {
            Some(session) => Ok(Arc::clone(&session.store) as Arc<dyn Store>),
            None => Err(closed()),
        }
    }

    async fn delete_session(&self, name: &SessionName) -> Result<(), StoreError> {
        let slot = self.slot(name);
        let mut session = slot.lock().await;
        if let Some(session) = session.take() {
            session.end().await;
        }
        let folder = self.session_folder(name);
        let path = folder.clone();
        let removed = blocking(move || folder::remove(&path)).await;
        drop(session);

        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        // New owners of the slot come from the map only, which is locked: two owners are the map and this call.
        if Arc::strong_count(&slot) == 2 {
            sessions.remove(name);
        }
        removed.map_err(|error| from_io(error, &folder))
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.server
            .write(Batch::new().put(&CHECKS, Document::new("check", "")))
            .await
    }

    async fn close(&self) {
        self.stop.cancel();
        self.workers.close();
        self.workers.wait().await;
        self.locks.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl SessionFile {
    /// Does what was asked before, then closes the file.
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.worker.await {
            tracing::error!(%error, "the worker of a storage file ended badly");
        }
    }
}

/// Whoever changes the engine or a name gets an empty server; this says where the full one went.
async fn warn_of_others(base_dir: &Path, folder: &Path) {
    if folder.join(SERVER_FILE).exists() {
        return;
    }
    let path = base_dir.to_owned();
    // Where the folder cannot be read, opening it says why.
    let others = blocking(move || folder::with_file(&path, SERVER_FILE))
        .await
        .unwrap_or_default();
    if !others.is_empty() {
        let (base_dir, namespaces) = (base_dir.display(), others.join(", "));
        tracing::warn!(%base_dir, namespaces, "there are sessions under other namespaces, see WAHA_NAMESPACE");
    }
}

async fn lock(folder: &Path) -> Result<Arc<FolderLock>, StoreError> {
    let path = folder.to_owned();
    let made = blocking(move || folder::make_private(&path)).await;
    made.map_err(|error| from_io(error, folder))?;
    let lock = FolderLock::take(folder)?;
    let path = folder.to_owned();
    let finished = blocking(move || folder::finish_removals(&path)).await;
    finished.map_err(|error| from_io(error, folder))?;
    Ok(Arc::new(lock))
}

fn start(
    file: DatabaseFile,
    workers: &TaskTracker,
    stop: CancellationToken,
    idling: Option<Idling>,
    lock: Arc<FolderLock>,
) -> (Arc<FileStore>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel(QUEUED_CALLS_MAX);
    let store = FileStore::new(sender, file.path.clone());
    let worker = workers.spawn(Worker::new(file, receiver, stop, idling, lock).run());
    (Arc::new(store), worker)
}
