//! The events of what was kept: at once, or for a message whose file is to be fetched, once that is there.
//!
//! What waits is written with the events of all others, so that a message is either told of or has a job that tells of it, and
//! never neither. Nothing behind it waits along: only what is about the message itself comes after it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use wharf_core::events::{EventName, MessagePayload};
use wharf_core::message::Message;
use wharf_core::store::{Batch, Expect, StoreError};

use super::{Received, SessionInbox};
use crate::events::{NewEvent, message_events};
use crate::media::jobs::NewJob;
use crate::media::{SessionJobs, Wanted, rendering};
use crate::sessions::Connection;
use crate::sessions::messages::StoredMessage;

/// Jobs that begin when it is dropped, also where the write of theirs was cut off: it may be made all the same, and then nobody
/// else tells of the messages. One that is not on disk ends by itself.
struct Beginning<'a> {
    jobs: &'a Arc<SessionJobs>,
    new: Vec<NewJob>,
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.new.drain(..).for_each(|job| self.jobs.start(job));
    }
}

impl SessionInbox {
    /// Tells of what was kept, in its order, or has it told later. `are_new` says that hardly any was told before.
    pub(super) async fn tell(
        &self,
        told: &[Received],
        targets: &[StoredMessage],
        are_new: bool,
    ) -> Result<(), StoreError> {
        for target in targets {
            self.jobs.tell_now(&target.message.stanza).await?;
        }
        if are_new {
            match self.tell_these(told, targets, &HashSet::new(), true).await {
                Err(StoreError::Conflict { .. }) => {}
                outcome => return outcome,
            }
        }
        let settled = self.settled(told).await?;
        self.tell_these(told, targets, &settled, false).await
    }

    /// The stanzas of the messages with files of which nothing is left to be told: their events are in the log, or are told by
    /// jobs that there are already.
    async fn settled<'a>(&self, told: &'a [Received]) -> Result<HashSet<&'a str>, StoreError> {
        let mut settled = HashSet::new();
        for message in told.iter().map(|received| &received.message) {
            let (any, stanza) = (EventName::MessageAny, message.stanza.as_str());
            // The job first: in between it may be told of, but there is no way back.
            if self.jobs.wanted(message) == Wanted::Job
                && (self.jobs.has(stanza).await? || self.events.has(&self.name, any, message.timestamp, stanza).await?)
            {
                settled.insert(stanza);
            }
        }
        Ok(settled)
    }

    async fn tell_these<'a>(
        &self,
        told: &'a [Received],
        targets: &[StoredMessage],
        settled: &HashSet<&'a str>,
        are_new: bool,
    ) -> Result<(), StoreError> {
        // One page may have the same stanza twice, and one job tells of it.
        let mut stanzas = settled.clone();
        let is_left =
            |received: &&'a Received| received.change().is_some() || stanzas.insert(received.message.stanza.as_str());
        let changed: HashSet<&str> = told
            .iter()
            .filter_map(|received| Some(received.change()?.target().id.as_str()))
            .collect();
        let (expect, jobs) = (if are_new { Expect::Absent } else { Expect::Anything }, &self.jobs);
        let (mut events, mut along) = (Vec::new(), Batch::new());
        let mut beginning = Vec::new();
        for received in told.iter().filter(is_left) {
            let message = &received.message;
            if let Some(change) = received.change() {
                // What it changes may be what is too large.
                let targets = if received.is_reduced { &[] } else { targets };
                events.push(self.change_event(message, change, targets).await?);
                continue;
            }
            let wanted = jobs.wanted(message);
            let job = (wanted == Wanted::Job).then(|| {
                // What changes it is told of with these: there is no time to wait.
                jobs.new_job(message, !changed.contains(message.id.id.as_str()))
            });
            if !job.as_ref().is_some_and(NewJob::holds) {
                events.extend(self.message_events(received, &wanted).await?);
            }
            if let Some(job) = job {
                along = jobs.put(along, &job, expect)?;
                beginning.push(job);
            }
        }
        let mut beginning = Beginning { jobs, new: beginning };
        let appended = match are_new {
            true => self.events.append_new(&self.source(), events, along).await,
            false => self.events.append(&self.source(), events, along).await,
        };
        if let Err(StoreError::Conflict { .. }) = appended {
            // The one answer that says that nothing was written.
            beginning.new.clear();
        }
        appended
    }

    async fn message_events(&self, received: &Received, wanted: &Wanted) -> Result<Vec<NewEvent>, StoreError> {
        let Received { message, is_reduced } = received;
        let mut payload = self.jobs.rendering().message(&self.name, message).await?;
        if *is_reduced {
            rendering::set_reduced(&mut payload);
        }
        if let Wanted::Refused(why) = wanted {
            rendering::set_error(&mut payload, why);
        }
        message_events(message, &payload)
    }

    /// Messages as answers have them. With `download`, those files are fetched first that are not there.
    pub(in crate::sessions) async fn with_files(
        &self,
        connection: &Connection,
        messages: &[Message],
        download: bool,
    ) -> Result<Vec<MessagePayload>, StoreError> {
        let missing = match download {
            true => self.jobs.fetch_now(connection, messages).await?,
            false => HashMap::new(),
        };
        let mut payloads = self.jobs.rendering().messages(&self.name, messages).await?;
        for (message, payload) in messages.iter().zip(&mut payloads) {
            if let Some(why) = missing.get(&message.id) {
                rendering::set_error(payload, why);
            }
        }
        Ok(payloads)
    }
}
