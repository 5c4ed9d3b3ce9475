//! Keeps the network in its snapshot file: read at the start, written after changes and at the end.
//!
//! A file that cannot be understood stops the start and is left alone: starting afresh over it would throw away accounts
//! that clients are linked to.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{StartError, files};
use crate::clock::Env;
use crate::sandbox::Sandbox;
use crate::views::Seed;

/// The largest snapshot that is read, in bytes.
const SNAPSHOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// The shortest time from a change to its write, so that a burst of changes is one write.
const SAVE_DELAY_MIN: Duration = Duration::from_millis(300);
/// The pause after a write, as a multiple of the time it took: a large network spends most of its time on other things.
const SAVE_PAUSE_FACTOR: u32 = 10;

/// The network from the snapshot file, or a new one when there is no file (or no path).
pub fn load_or_new(env: Env, seed: Seed, path: Option<&Path>) -> Result<Sandbox, StartError> {
    let Some(path) = path else {
        return Ok(Sandbox::new(env, seed));
    };
    let file_error = |source| StartError::SnapshotFile {
        path: path.to_owned(),
        source,
    };
    let Some(snapshot) = files::read(path, SNAPSHOT_BYTES_MAX).map_err(file_error)? else {
        return Ok(Sandbox::new(env, seed));
    };
    Sandbox::restore(env, &snapshot).map_err(|source| StartError::SnapshotDamaged {
        path: path.to_owned(),
        source,
    })
}

/// Writes a network's snapshots to one file.
pub(crate) struct Snapshots {
    path: PathBuf,
    sandbox: Sandbox,
    /// One write at a time: the one at the end may meet one that a change started.
    writing: Mutex<()>,
}

impl Snapshots {
    pub(crate) fn new(path: PathBuf, sandbox: Sandbox) -> Self {
        Self {
            path,
            sandbox,
            writing: Mutex::new(()),
        }
    }

    /// Writes the network as it is now.
    pub(crate) async fn save(self: &Arc<Self>) -> Result<(), StartError> {
        let snapshots = self.clone();
        // Serialising and syncing take long enough to matter to everyone else on this thread.
        let written = spawn_blocking(move || snapshots.write()).await;
        let written = written.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        written.map_err(|source| StartError::SnapshotFile {
            path: self.path.clone(),
            source,
        })
    }

    fn write(&self) -> io::Result<()> {
        // Held for the snapshot too, so that the newer one is written last.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        files::write_private(&self.path, &self.sandbox.snapshot())
    }

    /// Writes after changes until `stop`; the last write is up to who stops.
    pub(crate) async fn save_changes(self: Arc<Self>, stop: CancellationToken) {
        let save = async {
            let mut changed = self.sandbox.changed();
            let mut delay = SAVE_DELAY_MIN;
            while changed.changed().await.is_ok() {
                sleep(delay).await;
                changed.mark_unchanged();
                let started = Instant::now();
                if let Err(error) = self.save().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the sandbox was not saved");
                }
                delay = SAVE_DELAY_MIN.max(started.elapsed() * SAVE_PAUSE_FACTOR);
            }
        };
        stop.run_until_cancelled(save).await;
    }
}
