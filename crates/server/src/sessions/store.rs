//! What the server remembers of each session across restarts: one document in its own store.
//!
//! What a session receives and its credentials are elsewhere, in the session's own store.

use serde::{Deserialize, Serialize};
use wharf_core::events::SessionStatusPoint;
use wharf_core::ids::SessionName;
use wharf_core::session::Me;
use wharf_core::store::{Batch, Collection, Document, Expect, Query, Store, StoreError};

use super::SessionConfig;

/// One document per session, under its name.
static SESSIONS: Collection = Collection {
    name: "sessions",
    fields: &[],
};

/// What is remembered of a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct SessionDocument {
    /// Its configuration.
    pub(super) config: SessionConfig,
    /// What it should be doing.
    pub(super) desired: Desired,
    /// Whose account it is linked to.
    pub(super) me: Option<Me>,
    /// The last statuses, oldest first.
    pub(super) statuses: Vec<SessionStatusPoint>,
    /// WhatsApp has unlinked the device: its store is worthless, and the next start begins with an empty one.
    pub(super) unlinked: bool,
    /// Its turn where sessions share a list of proxies: the first that was free when it was created.
    #[serde(default)]
    pub(super) turn: usize,
}

/// What a session should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Desired {
    /// Nothing.
    Stopped,
    /// Running, also after a restart of the server.
    Running,
    /// Going away; a restart of the server finishes it.
    Deleted,
}

impl SessionDocument {
    /// A session that was just made.
    pub(super) fn new(config: SessionConfig, turn: usize) -> Self {
        Self {
            config,
            desired: Desired::Stopped,
            me: None,
            statuses: Vec::new(),
            unlinked: false,
            turn,
        }
    }

    /// The write that keeps it.
    pub(super) fn put(&self, name: &SessionName, expect: Expect) -> Result<Batch, StoreError> {
        let body = serde_json::to_vec(self).map_err(|error| StoreError::Internal(error.into()))?;
        Ok(Batch::new().put_if(&SESSIONS, Document::new(name.as_str(), body), expect))
    }
}

/// The write that forgets a session.
pub(super) fn forget(name: &SessionName) -> Batch {
    Batch::new().delete(&SESSIONS, name.as_str())
}

/// Every session that is remembered.
pub(super) async fn load_all(store: &dyn Store) -> Result<Vec<(SessionName, SessionDocument)>, StoreError> {
    let mut sessions = Vec::new();
    let mut after = None;
    loop {
        let page = store.find(&SESSIONS, Query::all().after(after)).await?;
        for document in page.documents {
            let name: Result<SessionName, _> = document.id.parse();
            match (name, serde_json::from_slice(&document.body)) {
                (Ok(name), Ok(session)) => sessions.push((name, session)),
                // One unreadable document must not keep the other sessions from starting.
                _ => tracing::error!(
                    session = document.id,
                    "the stored configuration cannot be read, session left out"
                ),
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(sessions),
        }
    }
}
