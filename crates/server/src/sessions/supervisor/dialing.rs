//! Makes one connection of a session, in a task beside its supervisor's commands, any of which can call it off.
//!
//! Never touches the session's document: nothing of it is left where it was called off half-way.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, Span};
use wharf_core::engine::{EngineError, EngineOptions};
use wharf_core::ids::SessionName;
use wharf_core::store::Unusable;

use super::Live;
use crate::sessions::counters::Counters;
use crate::sessions::idempotency::Sends;
use crate::sessions::inbox::SessionInbox;
use crate::sessions::presence::PresenceKeeper;
use crate::sessions::settings::Settings;
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

impl DialError {
    /// The file that somebody must see to before there can be a connection.
    pub(super) fn unusable(&self) -> Option<Unusable> {
        match self {
            Self::Engine(EngineError::Store(error)) => error.unusable(),
            Self::Engine(_) | Self::TooLong => None,
        }
    }
}

/// What a connection is made from.
pub(super) struct Dial {
    pub(super) name: SessionName,
    pub(super) shared: Arc<Shared>,
    pub(super) view: watch::Receiver<View>,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: Settings,
    /// The session's turn where sessions share a list of proxies.
    pub(super) turn: usize,
}

impl Dial {
    /// Waits for a place and for its turn, as long as that takes, and makes the connection.
    pub(super) async fn run(self) -> Result<Live, DialError> {
        // While something is left of the connection before, the places are for others.
        self.shared.connector.vacated(&self.name).await;
        let place = self.shared.pace.turn().await;
        let place = place.map_err(|error| EngineError::Internal(error.into()))?;
        let span = self.settings.span(&self.name);
        match timeout(CONNECT_WITHIN, self.connect(place, span.clone()).instrument(span)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(DialError::TooLong),
        }
    }

    async fn connect(self, place: OwnedSemaphorePermit, span: Span) -> Result<Live, EngineError> {
        let wrong = |error| EngineError::Invalid(format!("config.proxy.server {error}"));
        let own_proxy = self.view.borrow().config.proxy().map_err(wrong)?;
        let proxy = own_proxy.or_else(|| self.shared.proxies.of(&self.name, self.turn).cloned());
        let store = self.shared.storage.session(&self.name).await?;
        let sends = Sends::new(
            Arc::clone(&store),
            Arc::clone(&self.shared.clock),
            self.shared.idempotency,
        );
        // Only a session that is being deleted has none.
        let jobs = self.shared.media_jobs.of(&self.name).ok_or(EngineError::Offline)?;
        let (inbox, reports) = SessionInbox::new(
            self.name.clone(),
            Arc::clone(&store),
            Arc::clone(&self.shared.events),
            jobs,
            self.view,
            self.counters,
            self.settings.ignore,
        );
        let Settings {
            device_name,
            browser_name,
            history,
            online,
            ..
        } = self.settings;
        let options = EngineOptions {
            session: self.name,
            store,
            device_name,
            browser_name,
            history,
            proxy: proxy.clone(),
            span: span.clone(),
        };
        let engine = self.shared.connector.connect(options, Arc::clone(&inbox) as _).await?;
        let mut records = JoinSet::new();
        let keeper = Arc::clone(&inbox);
        records.spawn(async move { keeper.keep_records(reports.records).await }.instrument(span.clone()));
        Ok(Live {
            presence: PresenceKeeper::new(online),
            connection: Connection::new(engine, inbox, sends, proxy, span),
            signals: reports.lifecycle,
            records,
            place: Some(place),
            login_by: Some(Instant::now() + self.shared.login_max),
            working_since: None,
        })
    }
}

/// What came of the task.
pub(super) fn outcome(dialed: Result<Result<Live, DialError>, JoinError>) -> Result<Live, DialError> {
    dialed.unwrap_or_else(|error| Err(EngineError::Internal(error.into()).into()))
}
