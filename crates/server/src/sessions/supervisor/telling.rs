//! What a session tells: its status to the log and to whoever watches, and what it remembers to the store.

use std::sync::Arc;

use wharf_core::events::{EventName, SessionStatusPayload, SessionStatusPoint};
use wharf_core::session::{Me, SessionStatus};
use wharf_core::store::{Expect, StoreError};

use super::Supervisor;
use crate::events::{EventSource, Identity, NewEvent, SetBy};
use crate::sessions::SessionConfig;
use crate::sessions::state::{self, Problem, STATUSES_MAX, Trigger};
use crate::sessions::store::SessionDocument;

impl Supervisor {
    /// Goes where the trigger leads, and tells of it.
    pub(super) async fn enter(&mut self, trigger: Trigger, problem: Option<Problem>) {
        let now = self.view.borrow().status;
        let Some(status) = state::next(now, trigger) else {
            return;
        };
        // Of what repeats, only a new QR code and another problem are news.
        let has_new_problem = {
            let view = self.view.borrow();
            let told = view.problem.as_ref().map(|known| known.reason);
            problem.as_ref().is_some_and(|new| told != Some(new.reason))
        };
        if status == now && trigger != Trigger::QrCode && !has_new_problem {
            return;
        }
        if status != now {
            let timestamp = self.shared.clock.now().as_millisecond();
            self.document.statuses.push(SessionStatusPoint { status, timestamp });
            let surplus = self.document.statuses.len().saturating_sub(STATUSES_MAX);
            self.document.statuses.drain(..surplus);
        }
        let payload = SessionStatusPayload {
            name: self.name.to_string(),
            status,
            statuses: self.document.statuses.clone(),
            data: problem.as_ref().map(Problem::data),
        };
        // The log first: whoever sees the status finds its event told. The status itself holds, whatever the store says.
        if let Err(error) = self.tell(&payload).await {
            tracing::error!(session = %self.name, error = %error, "a change of status could not be logged");
        }
        self.view.send_modify(|view| {
            view.status = status;
            view.statuses = payload.statuses;
            view.problem = problem;
            if status != SessionStatus::ScanQrCode {
                view.qr = None;
            }
            if status != SessionStatus::Working {
                view.online = None;
            }
            if !matches!(
                status,
                SessionStatus::PasskeyRequired | SessionStatus::PasskeyConfirmationRequired
            ) {
                view.passkey = None;
            }
        });
    }

    /// Logs a status event together with the session's document.
    async fn tell(&self, payload: &SessionStatusPayload) -> Result<(), StoreError> {
        let source = {
            let view = self.view.borrow();
            EventSource {
                session: self.name.clone(),
                config: Arc::clone(&view.config),
                me: view.me.clone(),
            }
        };
        let event = NewEvent::new(EventName::SessionStatus, payload, Identity::Fresh)?;
        let document = self.document.put(&self.name, Expect::Anything)?;
        self.shared.events.append(&source, vec![event], document).await
    }

    /// Takes over the account that WhatsApp told, and stores it.
    pub(super) async fn remember(&mut self, me: Me) {
        let document = SessionDocument {
            me: Some(me.clone()),
            ..self.document.clone()
        };
        self.view.send_modify(|view| view.me = Some(me));
        if let Err(error) = self.keep(document).await {
            tracing::error!(session = %self.name, error = %error, "the account could not be stored");
        }
    }

    /// Takes another configuration over, with its webhooks.
    pub(super) async fn configure(&mut self, config: SessionConfig, set_by: SetBy) -> Result<(), StoreError> {
        let document = SessionDocument {
            config,
            ..self.document.clone()
        };
        let endpoints = self.shared.events.endpoints();
        let webhooks = document.config.webhooks.as_deref().unwrap_or_default();
        let mut change = endpoints.change(&self.name, webhooks, set_by).await?;
        let batch = change.take_batch().and(document.put(&self.name, Expect::Anything)?);
        self.shared.storage.server().write(batch).await?;
        endpoints.apply(change);
        self.document = document;
        Ok(())
    }

    /// Stores the document and takes it over.
    pub(super) async fn keep(&mut self, document: SessionDocument) -> Result<(), StoreError> {
        let batch = document.put(&self.name, Expect::Anything)?;
        self.shared.storage.server().write(batch).await?;
        self.document = document;
        Ok(())
    }
}
