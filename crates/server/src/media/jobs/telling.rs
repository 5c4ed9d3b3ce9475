//! Telling of messages whose events waited for their files.
//!
//! The event and the job's new state are one batch, and the event's id is that of its message: told again after a crash it is
//! still one event.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use wharf_core::store::{Batch, StoreError};

use super::record::{JOBS, Record, State, id_of};
use super::{Job, SessionJobs};
use crate::events::{EventSource, message_events};
use crate::media::rendering;

/// The wait after the log has failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

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
            Some(job) if job.is_held.load(Ordering::Acquire) => self.tell(&job, stanza, &Outcome::Unfinished).await,
            _ => Ok(()),
        }
    }

    /// Tells of what came of a job, however long the log takes nothing.
    pub(super) async fn tell_surely(&self, job: &Job, stanza: &str, outcome: &Outcome) {
        while let Err(error) = self.tell(job, stanza, outcome).await {
            self.warn(stanza, &error);
            sleep(AGAIN_AFTER).await;
        }
    }

    async fn tell(&self, job: &Job, stanza: &str, outcome: &Outcome) -> Result<(), StoreError> {
        let _turn = self.telling.lock().await;
        let (id, store) = (id_of(&self.session, stanza), &self.tools.store);
        let Some(document) = store.get(&JOBS, &id).await? else {
            return Ok(());
        };
        let record = Record::read(&document).map_err(|error| StoreError::Internal(error.into()))?;
        let was_held = record.state.held_until.is_some();
        let (along, why_not) = match outcome {
            Outcome::Unfinished if !was_held => return Ok(()),
            Outcome::Unfinished => {
                let state = State {
                    held_until: None,
                    ..record.state
                };
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
        let mut payload = self.tools.rendering.message(&self.session, &record.message).await?;
        if let Some(why_not) = why_not {
            rendering::set_error(&mut payload, why_not);
        }
        let events = message_events(&record.message, &payload)?;
        self.tools.events.append(&self.source(), events, along).await?;
        job.is_held.store(false, Ordering::Release);
        self.told.send_modify(|told| *told += 1);
        Ok(())
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
