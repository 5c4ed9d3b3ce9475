//! What a session can be told to do: start, stop, restart, log out, change, be deleted.
//!
//! One command after the other, each fine in every status and bounded in time. None waits for a connection to be made.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use super::{Command, Supervisor, connecting};
use crate::sessions::backoff::{Backoff, Row};
use crate::sessions::state::Trigger;
use crate::sessions::store::{Desired, SessionDocument, forget};

/// The longest that unlinking at WhatsApp may take; afterwards the credentials are deleted all the same.
const LOGOUT_WITHIN: Duration = Duration::from_secs(10);

impl Supervisor {
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Start | Command::StartAtBoot { .. } if self.is_running() => Ok(()),
            Command::Start | Command::Restart => self.start().await,
            Command::StartAtBoot { after } => {
                // Stored with its new status, as soon as there is room.
                self.document.desired = Desired::Running;
                self.begin(after).await;
                Ok(())
            }
            Command::Stop => self.stop().await,
            Command::Update(config, set_by) => {
                self.configure(*config, set_by).await?;
                let config = Arc::new(self.document.config.clone());
                self.view.send_modify(|view| view.config = config);
                match self.is_stopped() {
                    true => Ok(()),
                    false => self.start().await,
                }
            }
            Command::Logout => self.log_out().await,
            Command::Delete => self.delete().await,
        }
    }

    /// Whether somebody stopped it. One that has failed is to run, as in WAHA.
    fn is_stopped(&self) -> bool {
        self.view.borrow().status == SessionStatus::Stopped
    }

    async fn start(&mut self) -> Result<(), StoreError> {
        self.desire(Desired::Running).await?;
        self.begin(Duration::ZERO).await;
        Ok(())
    }

    /// Begins, or begins anew. The connection itself is made afterwards, so that the caller need not wait and the next
    /// command can still prevent it.
    async fn begin(&mut self, after: Duration) {
        if !self.disconnect().await {
            return;
        }
        self.row = Row::default();
        self.connect_at = Some(Instant::now() + after);
        self.enter(Trigger::Start, None).await;
    }

    /// Stores what the session should be doing. What is stored already needs no room on a full disk.
    async fn desire(&mut self, desired: Desired) -> Result<(), StoreError> {
        if self.document.desired == desired {
            return Ok(());
        }
        let document = SessionDocument {
            desired,
            ..self.document.clone()
        };
        self.keep(document).await
    }

    async fn stop(&mut self) -> Result<(), StoreError> {
        self.connect_at = None;
        self.disconnect().await;
        self.desire(Desired::Stopped).await?;
        self.enter(Trigger::Stop, None).await;
        Ok(())
    }

    /// The mark comes first, so that a crash in between is finished at the next start.
    async fn log_out(&mut self) -> Result<(), StoreError> {
        let was_stopped = self.is_stopped();
        self.connect_at = None;
        self.unlink().await?;
        self.keep(SessionDocument {
            me: None,
            unlinked: true,
            ..self.document.clone()
        })
        .await?;
        let forgotten = self.forget_unlinked().await;
        // Now, because what still waits for its file is told of as this account's.
        self.view.send_modify(|view| view.me = None);
        forgotten?;
        match was_stopped {
            true => Ok(()),
            false => self.start().await,
        }
    }

    /// Unlinks the device at WhatsApp, where that can be reached, and ends the connection, after which the session's
    /// store may be deleted. After an error it may not: the connection may still write to it.
    async fn unlink(&mut self) -> Result<(), StoreError> {
        if let Some(live) = &self.live {
            let connection = live.connection.clone();
            if timeout(LOGOUT_WITHIN, connection.engine().logout()).await.is_err() {
                tracing::warn!(session = %self.name, "WhatsApp did not confirm the logout in time");
            }
        }
        match self.disconnect().await {
            true => Ok(()),
            false => Err(StoreError::Unavailable(connecting::STUCK.into())),
        }
    }

    /// Begins with the deletion, or goes on with it. The mark comes first, so that a crash in between is finished at the
    /// next start.
    pub(super) async fn delete(&mut self) -> Result<(), StoreError> {
        self.delete_at = None;
        match self.desire(Desired::Deleted).await {
            // The session's folder is what makes room. After a crash in between the session says that its data is gone.
            Err(StoreError::Full) => self.document.desired = Desired::Deleted,
            outcome => outcome?,
        }
        self.view.send_modify(|view| view.is_deleted = true);
        self.connect_at = None;
        self.unlink().await?;
        self.view.send_modify(|view| {
            view.status = SessionStatus::Stopped;
            view.problem = None;
        });
        self.shared.storage.delete_session(&self.name).await?;
        self.shared.media_jobs.forget(&self.name).await?;
        self.shared.library.delete_session(&self.name).await?;
        self.shared.keys.forget(&self.name).await?;
        self.shared.events.forget(&self.name, forget(&self.name)).await
    }

    /// Goes on with the deletion after a while, until the session is gone: its name belongs to nobody else before.
    pub(super) fn delete_later(&mut self, why: &str) {
        let delay = self.row.next(Backoff::STEADILY, self.shared.random.as_ref());
        let delay_ms = delay.map(|delay| delay.as_millis());
        tracing::error!(session = %self.name, delay_ms, "the session cannot be deleted, it is tried again: {why}");
        self.delete_at = delay.map(|delay| Instant::now() + delay);
    }
}
