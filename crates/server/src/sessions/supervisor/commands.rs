//! What a session can be told to do: start, stop, restart, log out, change, be deleted.
//!
//! One command after the other, each fine in every status and bounded in time. None waits for a connection to be made.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wharf_core::session::SessionStatus;
use wharf_core::store::StoreError;

use super::{Command, Supervisor, connecting};
use crate::sessions::backoff::Row;
use crate::sessions::state::Trigger;
use crate::sessions::store::{Desired, SessionDocument, forget};

/// The longest that unlinking at WhatsApp may take; afterwards the credentials are deleted all the same.
const LOGOUT_WITHIN: Duration = Duration::from_secs(10);

impl Supervisor {
    pub(super) async fn obey(&mut self, command: Command) -> Result<(), StoreError> {
        match command {
            Command::Start { .. } if self.is_running() => Ok(()),
            Command::Start { after } => self.start(after).await,
            Command::Restart => self.start(Duration::ZERO).await,
            Command::Stop => self.stop().await,
            Command::Update(config) => {
                let mut document = self.document.clone();
                document.config = *config;
                self.keep(document).await?;
                let config = Arc::new(self.document.config.clone());
                self.view.send_modify(|view| view.config = config);
                match self.is_stopped() {
                    true => Ok(()),
                    false => self.start(Duration::ZERO).await,
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

    /// Begins, or begins anew. The connection itself is made afterwards, so that the caller need not wait and the next
    /// command can still prevent it.
    async fn start(&mut self, after: Duration) -> Result<(), StoreError> {
        self.keep(SessionDocument {
            desired: Desired::Running,
            ..self.document.clone()
        })
        .await?;
        if !self.disconnect().await {
            return Ok(());
        }
        self.row = Row::default();
        self.connect_at = Some(Instant::now() + after);
        self.enter(Trigger::Start, None).await;
        Ok(())
    }

    async fn stop(&mut self) -> Result<(), StoreError> {
        self.connect_at = None;
        self.disconnect().await;
        self.keep(SessionDocument {
            desired: Desired::Stopped,
            ..self.document.clone()
        })
        .await?;
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
        self.view.send_modify(|view| view.me = None);
        self.forget_unlinked().await?;
        match was_stopped {
            true => Ok(()),
            false => self.start(Duration::ZERO).await,
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

    /// The mark comes first, so that a crash in between is finished at the next start.
    async fn delete(&mut self) -> Result<(), StoreError> {
        self.keep(SessionDocument {
            desired: Desired::Deleted,
            ..self.document.clone()
        })
        .await?;
        self.connect_at = None;
        self.unlink().await?;
        self.shared.storage.delete_session(&self.name).await?;
        self.shared.events.forget(&self.name, forget(&self.name)).await?;
        self.view.send_modify(|view| {
            view.status = SessionStatus::Stopped;
            view.problem = None;
        });
        Ok(())
    }
}
