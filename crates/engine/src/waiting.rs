//! Messages that cannot be read: tells of each once, whichever way it is found out.
//!
//! Some come in a form that Signal cannot decrypt: the library has asked for them again by then, and WhatsApp has its
//! acknowledgement. Others were lost with an earlier process and asked for in vain; they are acknowledged only after they
//! were told of. Never keeps a message: if one is recovered, it comes like any other.

use std::sync::Arc;

use tokio::sync::SetOnce;
use wacore::messages::parse_message_info;
use wacore::store::error::StoreError as LibraryError;
use wacore::store::traits::PendingInboundKey;
use wacore::types::events::{DecryptFailMode, InboundMessage, UndecryptableMessage};
use wacore::types::message::{MessageCategory, MessageInfo};
use wharf_core::clock::Clock;
use wharf_core::engine::{Inbox, Signal};
use wharf_core::store::Batch;
use whatsapp_rust::Client;

use crate::addresses::{LookupError, other_address};
use crate::backend::{Backend, LostInbound, seen_marks, told_marks};
use crate::error::one_line;
use crate::hook::marks;
use crate::incoming::unreadable;
use crate::upkeep::stanza;

/// Tells of the messages of one connection.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub(crate) client: Arc<Client>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Set when everything was processed that WhatsApp had kept for us.
    pub(crate) drained: Arc<SetOnce<()>>,
}

/// Why a message that was recovered is not kept now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveredError {
    /// Who wrote it is not known.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Which lost message it is cannot be found out.
    #[error("the lost messages cannot be read")]
    Store(#[from] LibraryError),
}

impl Waiting {
    /// Signal cannot decrypt a message, or WhatsApp does not give its content to linked devices.
    pub(crate) async fn undecryptable(&self, told: &UndecryptableMessage) {
        // What phones show no placeholder for (changes to other messages), and what passes between our own devices.
        if told.decrypt_fail_mode == DecryptFailMode::Hide || told.info.category == MessageCategory::Peer {
            return;
        }
        self.tell(&told.info, Batch::new()).await;
    }

    /// A lost message was asked for in vain. Once that is told, its next redelivery is acknowledged.
    pub(crate) async fn given_up(&self, lost: &LostInbound) {
        let (chat, sender, id) = (&lost.chat, &lost.sender, &lost.id);
        let key = PendingInboundKey { chat, sender, id };
        // What was sent again may be among what WhatsApp has kept for us.
        self.drained.wait().await;
        match self.backend.was_seen(&key).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return failed(id, &error),
        }
        tracing::error!(id, "a message is lost; asking for it again did not help");
        let seen = seen_marks(&[key], self.clock.now());
        match self.info(lost).await {
            Ok(Some(info)) => self.tell(&info, seen).await,
            Ok(None) => self.mark(id, seen).await,
            Err(error) => failed(id, &error),
        }
    }

    /// The marks of a message that was recovered: its own, and those of the lost stanza that it came in. WhatsApp sends
    /// that one again, and it may name people otherwise than the phone does.
    pub(crate) async fn recovered(&self, inbound: &InboundMessage) -> Result<Batch, RecoveredError> {
        let (source, id) = (&inbound.info.source, &inbound.info.id);
        let mut names = Vec::new();
        for jid in [&source.chat, &source.sender] {
            let jid = jid.to_non_ad();
            let other = other_address(&self.client, &jid).await?;
            names.push([Some(jid), other].into_iter().flatten().collect::<Vec<_>>());
        }
        let stanzas = self.backend.lost(&names[0], &names[1], id).await?;
        let lost: Vec<_> = stanzas
            .iter()
            .map(|(chat, sender)| PendingInboundKey { chat, sender, id })
            .collect();
        let now = self.clock.now();
        Ok(marks(std::slice::from_ref(inbound), now).and(seen_marks(&lost, now)))
    }

    /// What was in the head of the stanza; for the time, the last time that it was asked for.
    async fn info(&self, lost: &LostInbound) -> Result<Option<MessageInfo>, LookupError> {
        let (Some(pn), Some(asked)) = (self.client.pn(), lost.given_up) else {
            return Ok(None);
        };
        let lid = self.client.lid();
        let stanza = stanza(&self.client, lost, asked.as_second()).await?;
        Ok(stanza.and_then(|stanza| parse_message_info(&stanza.as_node_ref(), &pn, lid.as_ref()).ok()))
    }

    async fn tell(&self, info: &MessageInfo, marks: Batch) {
        let (chat, sender) = (info.source.chat.to_string(), info.source.sender.to_string());
        let key = PendingInboundKey {
            chat: &chat,
            sender: &sender,
            id: &info.id,
        };
        let message = match self.backend.was_told(&key).await {
            Ok(true) => None,
            Ok(false) => match unreadable(&self.client, info).await {
                Ok(message) => message,
                Err(error) => return failed(&info.id, &error),
            },
            Err(error) => return failed(&info.id, &error),
        };
        let Some(message) = message else {
            return self.mark(&info.id, marks).await;
        };
        self.inbox.signal(Signal::Waiting {
            message: Box::new(message),
            marks: marks.and(told_marks(&key, self.clock.now())),
        });
    }

    /// Writes the marks of a message of which there is nothing to tell, now or at all.
    async fn mark(&self, id: &str, marks: Batch) {
        if let Err(error) = self.backend.mark(marks).await {
            failed(id, &error);
        }
    }
}

fn failed(id: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(id, error = %one_line(error), "it cannot be told that a message cannot be read");
}
