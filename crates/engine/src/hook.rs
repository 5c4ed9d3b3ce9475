//! Holds WhatsApp's acknowledgement back until a message is stored.
//!
//! The protocol library calls the hook with every decrypted message before it tells WhatsApp that we have it. In here
//! nothing may disconnect, flush or send: the library waits for the hook while it holds the locks that those need. A
//! failure is told to the connection's own task instead ([`Ending`]), which ends the connection; until then every further
//! call fails, so that no later message is acknowledged before an earlier one, and nothing is written or sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use wacore::store::traits::PendingInboundKey;
use wacore::types::events::InboundMessage;
use wharf_core::clock::Clock;
use wharf_core::engine::Inbox;
use wharf_core::message::MessageKind;
use wharf_core::store::{Batch, StoreError};
use whatsapp_rust::{Client, InboundDurabilityHook};

use crate::backend::{Backend, secrets, seen_marks};
use crate::changes::Known;
use crate::ending::Ending;
use crate::incoming::{IncomingError, incoming};

/// How long a batch may take to be stored. A store that hangs must not leave a session deaf that says it works.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The hook of one connection.
pub(crate) struct Hook {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ending: Arc<Ending>,
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        self.keep(&client, batch, COMMIT_TIMEOUT).await.map_err(Into::into)
    }
}

/// Why messages are not acknowledged.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("an earlier message could not be stored")]
    Earlier,
    #[error(transparent)]
    Incoming(#[from] IncomingError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("storing a message took more than {} seconds", .0.as_secs())]
    TimedOut(Duration),
}

impl Hook {
    async fn keep(&self, client: &Client, batch: &[InboundMessage], limit: Duration) -> Result<(), HookError> {
        if self.ending.has_store_failed() {
            return Err(HookError::Earlier);
        }
        let stored = match tokio::time::timeout(limit, self.store(client, batch)).await {
            Ok(stored) => stored,
            Err(_) => Err(HookError::TimedOut(limit)),
        };
        stored.inspect_err(|error| match error {
            HookError::Store(error) | HookError::Incoming(IncomingError::Store(error)) => {
                self.ending.store_failed(error)
            }
            other => self.ending.store_failed(other),
        })
    }

    async fn store(&self, client: &Client, batch: &[InboundMessage]) -> Result<(), HookError> {
        let mut messages = Vec::with_capacity(batch.len());
        let mut strangers: BTreeMap<&'static str, usize> = BTreeMap::new();
        for inbound in batch {
            let known = Known {
                client,
                inbox: self.inbox.as_ref(),
                before: &messages,
            };
            match incoming(&known, inbound).await? {
                Some(message) if message.kind != MessageKind::Control => messages.push(message),
                Some(_) => {}
                None => *strangers.entry(inbound.info.source.chat.server.as_str()).or_default() += 1,
            }
        }
        for (server, count) in strangers {
            tracing::warn!(
                server,
                count,
                "messages in chats of a kind that is not known are passed over"
            );
        }
        Ok(self.inbox.commit(messages, self.marks(batch)).await?)
    }

    /// What is written in the same commit as the messages: their rows, from which they are replayed until they are told of,
    /// their secrets, and that they were seen. Of all of them, also those that are no messages to a person: what is not
    /// marked counts as lost when it comes again.
    fn marks(&self, batch: &[InboundMessage]) -> Batch {
        let now = self.clock.now();
        let addresses = addresses(batch);
        let keys = keys(batch, &addresses);
        // In this order: where a batch is not atomic, what is seen must have its row.
        let rows = self.backend.rows(&keys);
        rows.and(secrets(batch, now)).and(seen_marks(&keys, now))
    }
}

/// The marks of messages that are given to the session but pass no hook.
pub(crate) fn marks(batch: &[InboundMessage], now: Timestamp) -> Batch {
    seen_marks(&keys(batch, &addresses(batch)), now)
}

/// The chats and senders of messages, as text.
fn addresses(batch: &[InboundMessage]) -> Vec<(String, String)> {
    let sources = batch.iter().map(|inbound| &inbound.info.source);
    sources
        .map(|source| (source.chat.to_string(), source.sender.to_string()))
        .collect()
}

fn keys<'a>(batch: &'a [InboundMessage], addresses: &'a [(String, String)]) -> Vec<PendingInboundKey<'a>> {
    let key = |(inbound, (chat, sender)): (&'a InboundMessage, &'a (String, String))| {
        let id = &inbound.info.id;
        PendingInboundKey { chat, sender, id }
    };
    batch.iter().zip(addresses).map(key).collect()
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
