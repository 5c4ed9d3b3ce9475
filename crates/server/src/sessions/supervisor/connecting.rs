//! Making and ending the connection of a session, and what to do when neither goes as it should.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use wharf_core::engine::{EngineError, EngineOptions};
use wharf_core::random::Random;
use wharf_core::store::StoreError;

use super::{Live, Supervisor};
use crate::sessions::Connection;
use crate::sessions::inbox::SessionInbox;
use crate::sessions::state::{Problem, Trigger};
use crate::sessions::store::SessionDocument;

/// The longest that setting up a connection may take; it does not include WhatsApp's answers.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// The longest that ending a connection may take; longer than all the limits of the engine's own together.
const DISCONNECT_WITHIN: Duration = Duration::from_secs(35);
/// The longest that receipts may take that came before the end of a connection.
const RECORDS_WITHIN: Duration = Duration::from_secs(2);
/// The wait before the first rebuild of a connection; it doubles with each.
const REBUILD_DELAY: Duration = Duration::from_secs(1);
/// The longest wait before a rebuild.
const REBUILD_DELAY_MAX: Duration = Duration::from_secs(60);
/// Rebuilds in a row, without a stable connection in between, before the session fails.
const REBUILDS_MAX: u32 = 10;
/// A connection that worked for this long is stable.
const STABLE_AFTER: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Ends the connection, if there is one, and makes a new one after a while.
    pub(super) async fn rebuild(&mut self, reason: &str, bounded: bool) {
        let was_stable = self
            .live
            .as_ref()
            .and_then(|live| live.working_since)
            .is_some_and(|since| since.elapsed() >= STABLE_AFTER);
        if was_stable {
            self.rebuilds = 0;
        }
        if !self.disconnect().await {
            return;
        }
        self.rebuilds += 1;
        if bounded && self.rebuilds > REBUILDS_MAX {
            let message = format!(
                "the connection ended {REBUILDS_MAX} times in a row ({reason}); see the log, then restart the session"
            );
            return self.fail(Problem::new("UNSTABLE", message)).await;
        }
        let delay = rebuild_delay(self.rebuilds, self.shared.random.as_ref());
        tracing::warn!(session = %self.name, reason, delay_ms = delay.as_millis(), "connecting anew");
        self.connect_at = Some(Instant::now() + delay);
        self.enter(Trigger::Lost, None).await;
    }

    /// Ends the connection, if there is one, and does not come back by itself.
    pub(super) async fn fail(&mut self, problem: Problem) {
        self.connect_at = None;
        self.disconnect().await;
        tracing::warn!(session = %self.name, reason = problem.reason, "{}", problem.message);
        self.enter(Trigger::GaveUp, Some(problem)).await;
    }

    /// A command that failed half-way must not leave a status that says the session runs when nothing does.
    pub(super) async fn fail_if_idle(&mut self, error: &StoreError) {
        if self.is_running() && self.live.is_none() && self.connect_at.is_none() {
            let message = format!(
                "the session's data could not be written ({}); see to that, then restart it",
                chain(error)
            );
            self.fail(Problem::new("STORE_FAILED", message)).await;
        }
    }

    /// Makes the connection.
    pub(super) async fn connect(&mut self) {
        self.connect_at = None;
        match timeout(CONNECT_WITHIN, self.try_connect()).await {
            Ok(Ok(live)) => {
                let connection = live.connection.clone();
                self.live = Some(live);
                self.view.send_modify(|view| view.connection = Some(connection));
            }
            Ok(Err(EngineError::Store(StoreError::Corrupt { file, cause }))) => {
                let message = format!(
                    "the session's data in {} is damaged ({cause}); restore it from a backup and restart the session, \
                     or log the session out and start it to begin anew",
                    file.display()
                );
                let problem = Problem::new("STORE_CORRUPT", message).with("file", file.display().to_string());
                self.fail(problem).await;
            }
            Ok(Err(error)) => {
                let bounded = !matches!(error, EngineError::Store(_));
                self.rebuild(&chain(&error), bounded).await;
            }
            Err(_) => self.rebuild("setting up the connection took too long", true).await,
        }
    }

    async fn try_connect(&mut self) -> Result<Live, EngineError> {
        let shared = Arc::clone(&self.shared);
        // The semaphore is never closed.
        let _permit = shared
            .connects
            .acquire()
            .await
            .map_err(|error| EngineError::Internal(error.into()))?;
        if self.document.unlinked {
            self.shared.storage.delete_session(&self.name).await?;
            self.keep(SessionDocument {
                unlinked: false,
                ..self.document.clone()
            })
            .await?;
        }
        let store = self.shared.storage.session(&self.name).await?;
        let (inbox, reports) = SessionInbox::new(
            self.name.clone(),
            Arc::clone(&store),
            Arc::clone(&self.shared.events),
            self.view.subscribe(),
            Arc::clone(&self.activity_ms),
        );
        let (device_name, browser_name) = self.document.config.device();
        let options = EngineOptions {
            session: self.name.clone(),
            store,
            device_name,
            browser_name,
        };
        let engine = self.shared.connector.connect(options, Arc::clone(&inbox) as _).await?;
        let mut records = JoinSet::new();
        let keeper = Arc::clone(&inbox);
        records.spawn(async move { keeper.keep_records(reports.records).await });
        Ok(Live {
            connection: Connection::new(engine, inbox, self.shared.tasks.clone()),
            signals: reports.lifecycle,
            records,
            working_since: None,
        })
    }

    /// Ends the connection. `false` where it did not end in time: then there must be no other one for this device, and
    /// the session has failed.
    pub(super) async fn disconnect(&mut self) -> bool {
        self.view.send_modify(|view| {
            view.connection = None;
            view.qr = None;
        });
        let Some(mut live) = self.live.take() else {
            return true;
        };
        let ended = timeout(DISCONNECT_WITHIN, live.connection.engine().disconnect())
            .await
            .is_ok();
        live.connection.inbox().close_records();
        if timeout(RECORDS_WITHIN, live.records.join_next()).await.is_err() {
            // WhatsApp sends receipts once, so their states are lost; the messages themselves are not.
            tracing::warn!(session = %self.name, "receipts were left behind");
        }
        if !ended {
            let message = "the old connection did not end; restart the server, so that the device is not used twice";
            let problem = Problem::new("STUCK", message);
            tracing::error!(session = %self.name, "{message}");
            self.enter(Trigger::GaveUp, Some(problem)).await;
            // Kept, so that the next command asks it again instead of connecting beside it.
            self.live = Some(live);
        }
        ended
    }
}

/// Doubles with each rebuild, up to a limit; half of it is random, so that many sessions do not come back at once.
fn rebuild_delay(rebuilds: u32, random: &dyn Random) -> Duration {
    let doublings = rebuilds.saturating_sub(1).min(16);
    let full = REBUILD_DELAY.saturating_mul(1 << doublings).min(REBUILD_DELAY_MAX);
    let share = f64::from(u16::from_be_bytes(random.bytes())) / f64::from(u16::MAX);
    full.mul_f64(0.5 + share / 2.0)
}

/// The whole story of an error, for the log and for the session's status.
fn chain(error: &dyn std::error::Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        story = format!("{story}: {cause}");
        source = cause.source();
    }
    story
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf_core::random::SystemRandom;

    #[test]
    fn the_delay_grows_up_to_a_limit_and_is_never_the_same_for_all() {
        for (rebuilds, seconds) in [(1, 1), (2, 2), (3, 4), (7, 60), (1_000, 60)] {
            let full = Duration::from_secs(seconds);
            let delay = rebuild_delay(rebuilds, &SystemRandom);
            assert!(delay >= full / 2 && delay <= full, "{rebuilds}: {delay:?}");
        }
    }
}
