//! Telling of messages whose events waited for their files.
//!
//! The event and the job's new state are one batch, and the event's id is that of its message: told again after a crash it is
//! still one event.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::sleep;
use wharf_core::events::MessagePayload;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};

use super::record::{JOBS, Record, State, id_of};
use super::{Job, SessionJobs};
use crate::events::{EventSource, message_events};
use crate::media::rendering;
use crate::sessions::reduced;

/// The wait after the log has failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Why a file is not fetched any more.
const DELETED: &str = "the message was deleted for everyone";
const LOGGED_OUT: &str = "the session was logged out";
/// What is said of what ended in a way that nobody foresaw.
pub(super) const PANICKED: &str = "something panicked";

/// What came of a job so far.
pub(super) enum Outcome {
    /// Nothing: it goes on.
    Unfinished,
    /// The file is there.
    Fetched,
    /// It will not come.
    GivenUp(String),
}

impl SessionJobs {
    /// Tells of the message of this stanza now, if its event waits: whatever is told next comes after it.
    pub(crate) async fn tell_now(&self, stanza: &str) -> Result<(), StoreError> {
        let job = self.jobs().get(stanza).cloned();
        match job {
            Some(job) if job.is_held() => self.tell_or_not(&job, stanza, &Outcome::Unfinished).await,
            _ => Ok(()),
        }
    }

    /// Ends the job of a message that was deleted for everyone, if it has one. It is told of all the same.
    pub(crate) async fn give_up(&self, stanza: &str) -> Result<(), StoreError> {
        let job = self.jobs().get(stanza).cloned();
        if let Some(job) = job {
            let outcome = Outcome::GivenUp(DELETED.to_owned());
            self.tell_or_not(&job, stanza, &outcome).await?;
            if !job.is_held() {
                job.over.cancel();
            }
        }
        Ok(())
    }

    /// Ends all jobs; what waits is told of.
    pub(super) async fn give_up_all(&self) -> Result<(), StoreError> {
        let jobs = self.jobs().clone();
        let mut ended = Batch::new();
        for (stanza, job) in jobs {
            if job.is_held() {
                let outcome = Outcome::GivenUp(LOGGED_OUT.to_owned());
                self.tell_or_not(&job, &stanza, &outcome).await?;
            }
            job.over.cancel();
            ended = ended.delete(&JOBS, id_of(&self.session, &stanza));
        }
        // None of them writes any more what is deleted here.
        let _turn = self.telling.lock().await;
        match ended.is_empty() {
            true => Ok(()),
            false => self.tools.store.write(ended).await,
        }
    }

    /// Tells of what came of a job, however long the log takes nothing.
    pub(super) async fn tell_surely(&self, job: &Job, stanza: &str, outcome: &Outcome) {
        loop {
            let told = AssertUnwindSafe(self.tell(job, stanza, outcome)).catch_unwind().await;
            match told.unwrap_or_else(|_| Err(StoreError::Internal(PANICKED.into()))) {
                Ok(()) => return,
                Err(error) => self.warn(stanza, &error),
            }
            sleep(AGAIN_AFTER).await;
        }
    }

    /// Tells of what came of a job. Where that is wrong with the message itself, it is not the matter of who asked.
    async fn tell_or_not(&self, job: &Job, stanza: &str, outcome: &Outcome) -> Result<(), StoreError> {
        match self.tell(job, stanza, outcome).await {
            Err(error @ StoreError::Internal(_)) => {
                self.warn(stanza, &error);
                Ok(())
            }
            told => told,
        }
    }

    async fn tell(&self, job: &Job, stanza: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let _turn = self.telling.lock().await;
        match self.tell_in_turn(stanza, outcome).await {
            // An earlier try was made though nobody heard the answer, and this one finds that.
            Err(StoreError::Conflict { .. }) => self.tell_in_turn(stanza, outcome).await?,
            told => told?,
        }
        // Whoever did it: also an earlier try may have, of which nobody heard the answer.
        if job.is_held.swap(false, Ordering::AcqRel) {
            self.told.send_modify(|told| *told += 1);
        }
        Ok(())
    }

    async fn tell_in_turn(&self, stanza: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let (id, store) = (id_of(&self.session, stanza), &self.tools.store);
        let Some(document) = store.get(&JOBS, &id).await? else {
            return Ok(());
        };
        let record = match Record::read(&document) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(job = id, %error, "a stored job cannot be read, it is left out");
                return Ok(());
            }
        };
        let was_held = record.state.held_until.is_some();
        let (along, why_not) = match outcome {
            Outcome::Unfinished if !was_held => return Ok(()),
            Outcome::Unfinished => {
                let state = State { held_until: None };
                let message = record.message.clone();
                let told = Record { message, state }.document(&self.session)?;
                (Batch::new().put(&JOBS, told), Some("it is still being fetched"))
            }
            Outcome::Fetched => (Batch::new().delete(&JOBS, id), None),
            Outcome::GivenUp(why) => (Batch::new().delete(&JOBS, id), Some(why.as_str())),
        };
        if !was_held {
            return store.write(along).await;
        }
        let message = record.message;
        let mut payload = self.tools.rendering.message(&self.session, &message).await?;
        if let Some(why_not) = why_not.filter(|_| payload.media_url.is_none()) {
            rendering::set_error(&mut payload, why_not);
        }
        match self.append(&message, &payload, along.clone()).await {
            // Neither time nor room helps.
            Err(StoreError::Internal(error)) => {
                let id = &message.id;
                tracing::error!(session = %self.session, %id, error = error.as_ref(), "a message is told of without most of it");
                let reduced = reduced(message);
                let mut payload = self.tools.rendering.without_files(&reduced);
                rendering::set_reduced(&mut payload);
                self.append(&reduced, &payload, along).await
            }
            outcome => outcome,
        }
    }

    async fn append(&self, message: &Message, payload: &MessagePayload, along: Batch) -> Result<(), StoreError> {
        let events = message_events(message, payload)?;
        self.tools.events.append(&self.source(), events, along).await
    }

    fn warn(&self, stanza: &str, error: &(dyn Error + 'static)) {
        tracing::error!(session = %self.session, stanza, error, "a message cannot be told of, it is tried again");
    }

    fn source(&self) -> EventSource {
        let view = self.view.borrow();
        EventSource {
            session: self.session.clone(),
            config: Arc::clone(&view.config),
            me: view.me.clone(),
        }
    }
}
