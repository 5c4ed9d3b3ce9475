//! Makes one connection of a session, in a task beside its supervisor's commands, any of which can call it off.
//!
//! Never touches the session's document: nothing of it is left where it was called off half-way.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use wharf_core::engine::{EngineError, EngineOptions};
use wharf_core::ids::SessionName;

use super::Live;
use crate::sessions::inbox::SessionInbox;
use crate::sessions::state::View;
use crate::sessions::{Connection, Shared};

/// The longest that setting up a connection may take; it includes neither the wait for a place nor WhatsApp's answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The engine took too long.
    #[error("setting up the connection took too long")]
    TooLong,
    /// The engine could not.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// What a connection is made from.
pub(super) struct Dial {
    pub(super) name: SessionName,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Receiver<View>,
    pub(super) activity_ms: Arc<AtomicI64>,
    /// The device's name and its browser.
    pub(super) device: (String, String),
}

impl Dial {
    /// Waits for a place, as long as that takes, and makes the connection.
    pub(super) async fn run(self) -> Result<Live, DialError> {
        let place = Arc::clone(&self.shared.connects).acquire_owned().await;
        // The semaphore is never closed.
        let place = place.map_err(|error| EngineError::Internal(error.into()))?;
        match timeout(CONNECT_WITHIN, self.connect(place)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(DialError::TooLong),
        }
    }

    async fn connect(self, place: OwnedSemaphorePermit) -> Result<Live, EngineError> {
        let store = self.shared.storage.session(&self.name).await?;
        let (inbox, reports) = SessionInbox::new(
            self.name.clone(),
            Arc::clone(&store),
            Arc::clone(&self.shared.events),
            self.view,
            self.activity_ms,
        );
        let (device_name, browser_name) = self.device;
        let options = EngineOptions {
            session: self.name,
            store,
            device_name,
            browser_name,
        };
        let engine = self.shared.connector.connect(options, Arc::clone(&inbox) as _).await?;
        let mut records = JoinSet::new();
        let keeper = Arc::clone(&inbox);
        records.spawn(async move { keeper.keep_records(reports.records).await });
        Ok(Live {
            connection: Connection::new(engine, inbox),
            signals: reports.lifecycle,
            records,
            place: Some(place),
            working_since: None,
        })
    }
}

/// What came of the task.
pub(super) fn outcome(dialed: Result<Result<Live, DialError>, JoinError>) -> Result<Live, DialError> {
    dialed.unwrap_or_else(|error| Err(EngineError::Internal(error.into()).into()))
}
