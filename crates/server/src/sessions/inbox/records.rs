//! What is kept in the background, in the order in which it came: acks, and messages that the engine does not hold back
//! until they are kept.
//!
//! Nobody waits for it, so the first failure ends the connection. Of a message WhatsApp has no acknowledgement by then and
//! sends it again; an ack that came with the failure, or is still behind it, is lost.

use std::error::Error;
use std::time::Duration;

use tokio::select;
use tokio::sync::mpsc;
use wharf_core::engine::{AckUpdate, Closed, Signal};
use wharf_core::events::EventName;
use wharf_core::message::Message;
use wharf_core::store::{Batch, StoreError};

use super::{SessionInbox, lock};
use crate::events::{Identity, NewEvent};
use crate::sessions::messages;

/// How long acks wait for others, to share one commit with them: each commit costs more CPU time than everything else
/// about an ack, an ack seldom comes alone, and nobody waits for one.
const ACKS_GATHERED_FOR: Duration = Duration::from_millis(20);
/// The most records that are taken at once.
const RECORDS_AT_ONCE_MAX: usize = 128;

/// What is kept in the background, in order.
pub(in crate::sessions) enum Record {
    /// Messages have come further.
    Ack(AckUpdate),
    /// A message that was not held back until it was kept, with the engine's marks.
    Message(Box<Message>, Batch),
    /// A message that cannot be read, with the engine's marks.
    Waiting(Box<Message>, Batch),
}

impl SessionInbox {
    pub(super) fn record(&self, record: Record) {
        if let Some(records) = lock(&self.records).as_ref() {
            // Fails only when nothing more is kept on this connection, which ends.
            let _ = records.send(record);
        }
    }

    /// Takes no more records; [`Self::keep_records`] ends after those that are there.
    pub(in crate::sessions) fn close_records(&self) {
        lock(&self.records).take();
    }

    /// Keeps records until [`Self::close_records`], or until one cannot be kept: then the connection is to end.
    pub(in crate::sessions) async fn keep_records(&self, records: mpsc::UnboundedReceiver<Record>) {
        let Err(error) = self.keep_until_one_fails(records).await else {
            return;
        };
        let cause: &dyn Error = &error;
        tracing::error!(session = %self.name, error = cause, "a receipt or message could not be kept, the connection ends");
        let closed = error.unusable().map(Closed::StoreUnusable);
        let closed = closed.unwrap_or_else(|| Closed::StoreFailed {
            reason: error.to_string(),
        });
        // Fails only when the supervisor has let go of this connection.
        let _ = self.lifecycle.send(Signal::Closed(closed));
    }

    async fn keep_until_one_fails(&self, mut records: mpsc::UnboundedReceiver<Record>) -> Result<(), StoreError> {
        let (mut waiting, mut acks, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        let mut told = self.jobs.told();
        loop {
            select! {
                count = records.recv_many(&mut waiting, RECORDS_AT_ONCE_MAX) => if count == 0 {
                    break;
                },
                // There is a sender as long as there are jobs.
                Ok(()) = told.changed(), if !aside.is_empty() => {}
            }
            // First, because they came first.
            acks.append(&mut aside);
            if !waiting.is_empty() && waiting.iter().all(|record| matches!(record, Record::Ack(_))) {
                tokio::time::sleep(ACKS_GATHERED_FOR).await;
                let more = std::iter::from_fn(|| records.try_recv().ok());
                waiting.extend(more.take(RECORDS_AT_ONCE_MAX));
            }
            for record in waiting.drain(..) {
                match record {
                    Record::Ack(update) => acks.push(update),
                    Record::Message(message, marks) => {
                        self.raise_acks(&mut acks, Some(&mut aside)).await?;
                        self.keep_recovered(*message, marks).await?;
                    }
                    Record::Waiting(message, marks) => {
                        self.raise_acks(&mut acks, Some(&mut aside)).await?;
                        self.tell_waiting(*message, marks).await?;
                    }
                }
            }
            self.raise_acks(&mut acks, Some(&mut aside)).await?;
        }
        // Nobody tells of these again.
        self.raise_acks(&mut aside, None).await
    }

    /// Keeps a message that has no row at the engine's from which it could be taken in again. So the marks come last: once
    /// they are written, WhatsApp's redelivery is acknowledged.
    async fn keep_recovered(&self, mut message: Message, marks: Batch) -> Result<(), StoreError> {
        if let Some(known) = messages::same(self.store(), &message).await? {
            message.stanza = known.message.stanza;
        }
        self.keep(vec![message], Batch::new(), marks).await
    }

    /// Tells of a message that cannot be read, unless it was read meanwhile. The marks come last: the engine makes them
    /// to be told no more.
    async fn tell_waiting(&self, message: Message, marks: Batch) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let is_known = messages::same(self.store(), &message).await?.is_some();
        if !is_known && !self.ignores(&message) {
            let payload = self.jobs.rendering().message(&self.name, &message).await?;
            let identity = Identity::Repeatable {
                at: message.timestamp,
                key: message.stanza.clone(),
            };
            let event = NewEvent::new(EventName::MessageWaiting, &payload, identity)?;
            let events = vec![event.in_chat(&message.id.chat)];
            self.events.append(&self.source(), events, Batch::new()).await?;
            self.counters.all.waiting.inc();
            tracing::warn!(session = %self.name, id = %message.id, "a message cannot be read");
        }
        self.write(marks).await
    }
}
