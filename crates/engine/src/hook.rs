//! Holds WhatsApp's acknowledgement back until a message is stored.
//!
//! The protocol library calls the hook with every decrypted message before it tells WhatsApp that we have it. In here
//! nothing may disconnect, flush or send: the library waits for the hook while it holds the locks that those need. A
//! failure is told to the connection's own task instead, which ends the connection; until then every further call
//! fails, so that no later message is acknowledged before an earlier one.

use std::sync::Arc;

use anyhow::bail;
use async_trait::async_trait;
use wacore::store::traits::PendingInboundKey;
use wacore::types::events::InboundMessage;
use wacore::types::message::MessageInfo;
use wharf_core::clock::Clock;
use wharf_core::engine::Inbox;
use wharf_core::message::MessageKind;
use whatsapp_rust::{Client, InboundDurabilityHook};

use crate::backend::seen_marks;
use crate::ending::Ending;
use crate::error::one_line;
use crate::incoming::incoming;

/// The hook of one connection.
pub(crate) struct Hook {
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ending: Arc<Ending>,
}

#[async_trait]
impl InboundDurabilityHook for Hook {
    async fn on_messages(&self, client: Arc<Client>, batch: &[InboundMessage]) -> anyhow::Result<()> {
        if self.ending.has_store_failed() {
            bail!("an earlier message could not be stored");
        }
        let mut messages = Vec::with_capacity(batch.len());
        for inbound in batch {
            match incoming(&client, inbound).await {
                Some(message) if message.kind == MessageKind::Content => messages.push(message),
                Some(_) => {}
                None => tracing::debug!(id = %inbound.info.id, "message without an address of ours is passed over"),
            }
        }
        // All of them, also those that are no messages to a person: what is not marked counts as lost when it comes again.
        let addresses: Vec<_> = batch.iter().map(|inbound| address(&inbound.info)).collect();
        let seen: Vec<_> = batch.iter().zip(&addresses).map(key).collect();
        let marks = seen_marks(&seen, self.clock.now());
        if let Err(error) = self.inbox.commit(messages, marks).await {
            self.ending.store_failed(one_line(&error));
            return Err(error.into());
        }
        Ok(())
    }
}

fn address(info: &MessageInfo) -> (String, String) {
    (info.source.chat.to_string(), info.source.sender.to_string())
}

fn key<'a>((inbound, (chat, sender)): (&'a InboundMessage, &'a (String, String))) -> PendingInboundKey<'a> {
    let id = &inbound.info.id;
    PendingInboundKey { chat, sender, id }
}
