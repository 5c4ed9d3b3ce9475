//! Making and ending the connection of a session, and what to do when neither goes as it should.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use wharf_core::engine::EngineError;
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use super::dialing::{self, Dial, DialError};
use super::{Live, Supervisor};
use crate::sessions::backoff::{Backoff, Row};
use crate::sessions::settings::Settings;
use crate::sessions::state::{Problem, Trigger};
use crate::sessions::store::{Desired, SessionDocument};

/// The longest that ending a connection may take; longer than all the limits of the engine's own together.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(35);
/// The longest that receipts may take that came before the end of a connection.
const RECORDS_WITHIN: Duration = Duration::from_secs(2);
/// A connection that worked for this long is stable.
const STABLE_AFTER: Duration = Duration::from_secs(60);
/// What is said of a connection that does not end.
pub(super) const STUCK: &str =
    "the old connection did not end; restart the server, so that the device is not used twice";

impl Supervisor {
    /// Ends the connection, if there is one, and makes a new one after a while.
    pub(super) async fn rebuild(&mut self, problem: Problem, backoff: Backoff) {
        // A connection that did not end when it was told to may still say something; the session has failed by then.
        if !self.is_running() {
            return;
        }
        let was_stable = self
            .live
            .as_ref()
            .and_then(|live| live.working_since)
            .is_some_and(|since| since.elapsed() >= STABLE_AFTER);
        if was_stable {
            self.row = Row::default();
        }
        if !self.disconnect().await {
            return;
        }
        let Some(delay) = self.row.next(backoff, self.shared.random.as_ref()) else {
            let message = format!(
                "the connection ended again and again ({}); see the log, then restart the session",
                problem.message
            );
            return self.fail(Problem::new("UNSTABLE", message)).await;
        };
        let (reason, delay_ms) = (problem.reason, delay.as_millis());
        tracing::warn!(session = %self.name, reason, delay_ms, "connecting anew: {}", problem.message);
        self.shared.metrics.reconnects(reason);
        self.connect_at = Some(Instant::now() + delay);
        self.lose(problem).await;
    }

    /// Ends the connection, if there is one, and does not come back by itself.
    pub(super) async fn fail(&mut self, problem: Problem) {
        self.connect_at = None;
        self.disconnect().await;
        tracing::warn!(session = %self.name, reason = problem.reason, "{}", problem.message);
        self.enter(Trigger::GaveUp, Some(problem)).await;
    }

    /// After a panic: whatever was half-way is given up, and the session connects anew where it is to run.
    pub(super) async fn recover(&mut self) {
        tracing::error!(session = %self.name, "the session's own task panicked");
        let problem = Problem::new(
            "CRASHED",
            "the session failed inside; see the log and report it; restart the session if it does not come back",
        );
        let is_to_run = self.document.desired == Desired::Running && self.is_running();
        let again = async {
            match is_to_run {
                true => self.rebuild(problem, Backoff::BOUNDED).await,
                false => self.fail(problem).await,
            }
        };
        if AssertUnwindSafe(again).catch_unwind().await.is_err() {
            tracing::error!(session = %self.name, "the session cannot be taken down in order, it is left to itself");
            // What is forgotten ends as well, only nobody waits for it here. A start may come before that end: the engine
            // has the next connection wait for the session's slot, which the one that ends holds until nothing of it is
            // left (`engine/slots.rs`).
            self.live = None;
            self.dialing = JoinSet::new();
            self.connect_at = None;
            self.view.send_modify(|view| {
                view.status = SessionStatus::Failed;
                view.connection = None;
            });
        }
        if self.is_deleted() {
            self.delete_later("the session's own task panicked");
        }
    }

    /// A command that failed half-way must not leave a status that says the session runs when nothing does.
    pub(super) async fn fail_if_idle(&mut self, error: &StoreError) {
        if self.is_running() && self.live.is_none() && self.dialing.is_empty() && self.connect_at.is_none() {
            let message = format!(
                "the session's data could not be written ({}); see to that, then restart it",
                chain(error)
            );
            self.fail(Problem::new("STORE_FAILED", message)).await;
        }
    }

    /// Begins to make the connection. It goes on while commands are obeyed, and any of them can call it off.
    pub(super) async fn connect(&mut self) {
        self.connect_at = None;
        if let Err(error) = self.forget_unlinked().await {
            return self.dialed(Err(EngineError::Store(error).into())).await;
        }
        let dial = Dial {
            name: self.name.clone(),
            shared: Arc::clone(&self.shared),
            view: self.view.subscribe(),
            counters: Arc::clone(&self.counters),
            settings: Settings::of(&self.document.config, &self.shared.defaults),
            turn: self.document.turn,
        };
        self.dialing.spawn(dial.run());
    }

    /// What WhatsApp has unlinked is worthless, and would only be refused.
    pub(super) async fn forget_unlinked(&mut self) -> Result<(), StoreError> {
        if !self.document.unlinked {
            return Ok(());
        }
        self.shared.media_jobs.give_up(&self.name).await?;
        self.shared.storage.delete_session(&self.name).await?;
        let document = SessionDocument {
            unlinked: false,
            ..self.document.clone()
        };
        self.keep(document).await
    }

    /// Takes over the connection that was made, or does something about there being none.
    pub(super) async fn dialed(&mut self, dialed: Result<Live, DialError>) {
        match dialed {
            Ok(live) => {
                self.shared.metrics.connects.inc();
                let connection = live.connection.clone();
                self.live = Some(live);
                if self.document.me.is_some() && connection.engine().me().is_none() {
                    return self.fail(Problem::missing(&self.name)).await;
                }
                self.view.send_modify(|view| view.connection = Some(connection));
            }
            Err(error) => {
                if let Some(unusable) = error.unusable() {
                    return self.fail(Problem::unusable(&unusable)).await;
                }
                let backoff = match error {
                    DialError::Engine(EngineError::Store(_)) => Backoff::STEADILY,
                    _ => Backoff::BOUNDED,
                };
                self.rebuild(Problem::not_connected(&chain(&error)), backoff).await;
            }
        }
    }

    /// Ends the connection. `false` where it did not end in time: then there must be no other one for this device, and
    /// the session has failed.
    pub(super) async fn disconnect(&mut self) -> bool {
        self.view.send_modify(|view| {
            view.connection = None;
            view.qr = None;
            view.passkey = None;
        });
        self.dialing.abort_all();
        while let Some(dialed) = self.dialing.join_next().await {
            // It was just made when it was called off, and must end like any other.
            self.live = dialing::outcome(dialed).ok();
        }
        let Some(mut live) = self.live.take() else {
            return true;
        };
        live.place = None;
        live.connection.end_fetching();
        let ended = timeout(DISCONNECT_WITHIN, live.connection.engine().disconnect())
            .await
            .is_ok();
        let ended = live.connection.end_tasks().await && ended;
        live.connection.inbox().close_records();
        if timeout(RECORDS_WITHIN, live.records.join_next()).await.is_err() {
            // WhatsApp sends receipts once, so their states are lost; the messages themselves are not.
            tracing::warn!(session = %self.name, "receipts were left behind");
            live.records.shutdown().await;
        }
        if !ended {
            tracing::error!(session = %self.name, "{STUCK}");
            let problem = Problem::new("STUCK", STUCK);
            self.enter(Trigger::GaveUp, Some(problem)).await;
            // Kept, so that the next command asks it again instead of connecting beside it.
            self.live = Some(live);
        }
        ended
    }
}

/// The whole story of an error, for the log and for the session's status.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        story = format!("{story}: {cause}");
        source = cause.source();
    }
    story
}
