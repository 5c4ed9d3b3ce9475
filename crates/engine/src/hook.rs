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
use wacore::types::message::MessageInfo;
use wharf_core::clock::Clock;
use wharf_core::engine::Inbox;
use wharf_core::message::MessageKind;
use wharf_core::store::{Batch, StoreError};
use whatsapp_rust::{Client, InboundDurabilityHook};

use crate::backend::seen_marks;
use crate::ending::Ending;
use crate::incoming::{IncomingError, incoming};

/// How long a batch may take to be stored. A store that hangs must not leave a session deaf that says it works.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(60);

/// The hook of one connection.
pub(crate) struct Hook {
    pub(crate) inbox: Arc<dyn Inbox>,
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
            HookError::Store(error) => self.ending.store_failed(error),
            other => self.ending.store_failed(other),
        })
    }

    async fn store(&self, client: &Client, batch: &[InboundMessage]) -> Result<(), HookError> {
        let mut messages = Vec::with_capacity(batch.len());
        let mut strangers: BTreeMap<&'static str, usize> = BTreeMap::new();
        for inbound in batch {
            match incoming(client, inbound).await? {
                Some(message) if message.kind == MessageKind::Content => messages.push(message),
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
        // All of them, also those that are no messages to a person: what is not marked counts as lost when it comes again.
        Ok(self.inbox.commit(messages, marks(batch, self.clock.now())).await?)
    }
}

/// The marks of messages that are given to the session.
pub(crate) fn marks(batch: &[InboundMessage], now: Timestamp) -> Batch {
    let addresses: Vec<_> = batch.iter().map(|inbound| address(&inbound.info)).collect();
    let seen: Vec<_> = batch.iter().zip(&addresses).map(key).collect();
    seen_marks(&seen, now)
}

fn address(info: &MessageInfo) -> (String, String) {
    (info.source.chat.to_string(), info.source.sender.to_string())
}

fn key<'a>((inbound, (chat, sender)): (&'a InboundMessage, &'a (String, String))) -> PendingInboundKey<'a> {
    let id = &inbound.info.id;
    PendingInboundKey { chat, sender, id }
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
