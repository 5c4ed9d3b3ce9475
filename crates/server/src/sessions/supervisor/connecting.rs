//! Making and ending the connection of a session, and what to do when neither goes as it should.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wharf_core::engine::EngineError;
use wharf_core::random::Random;
use wharf_core::store::StoreError;

use super::dialing::{self, Dial, DialError};
use super::{Live, Supervisor};
use crate::sessions::state::{Problem, Trigger};
use crate::sessions::store::SessionDocument;

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
/// What is said of a connection that does not end.
pub(super) const STUCK: &str =
    "the old connection did not end; restart the server, so that the device is not used twice";

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
            self.rebuilds_bounded = 0;
        }
        if !self.disconnect().await {
            return;
        }
        self.rebuilds += 1;
        self.rebuilds_bounded += u32::from(bounded);
        if self.rebuilds_bounded > REBUILDS_MAX {
            let message = format!(
                "the connection ended {REBUILDS_MAX} times in a row ({reason}); see the log, then restart the session"
            );
            return self.fail(Problem::new("UNSTABLE", message)).await;
        }
        let delay = rebuild_delay(self.rebuilds, self.shared.random.as_ref());
        tracing::warn!(session = %self.name, reason, delay_ms = delay.as_millis(), "connecting anew");
        self.connect_at = Some(Instant::now() + delay);
        self.lose(reason).await;
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
            activity_ms: Arc::clone(&self.activity_ms),
            device: self.document.config.device(),
        };
        self.dialing.spawn(dial.run());
    }

    /// What WhatsApp has unlinked is worthless, and would only be refused.
    async fn forget_unlinked(&mut self) -> Result<(), StoreError> {
        if !self.document.unlinked {
            return Ok(());
        }
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
                let connection = live.connection.clone();
                self.live = Some(live);
                self.view.send_modify(|view| view.connection = Some(connection));
            }
            Err(DialError::Engine(EngineError::Store(StoreError::Corrupt { file, cause }))) => {
                let message = format!(
                    "the session's data in {} is damaged ({cause}); restore it from a backup and restart the session, \
                     or log the session out and start it to begin anew",
                    file.display()
                );
                let problem = Problem::new("STORE_CORRUPT", message).with("file", file.display().to_string());
                self.fail(problem).await;
            }
            Err(error) => {
                let bounded = !matches!(error, DialError::Engine(EngineError::Store(_)));
                self.rebuild(&chain(&error), bounded).await;
            }
        }
    }

    /// Ends the connection. `false` where it did not end in time: then there must be no other one for this device, and
    /// the session has failed.
    pub(super) async fn disconnect(&mut self) -> bool {
        self.view.send_modify(|view| {
            view.connection = None;
            view.qr = None;
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
        let ended = timeout(DISCONNECT_WITHIN, live.connection.engine().disconnect())
            .await
            .is_ok();
        live.connection.end_tasks().await;
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
