//! Sending texts, read receipts and typing, as the engine port names them.

mod recipients;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use buffa::MessageField;
use wacore::proto_helpers::{MessageBuilderExt as _, build_quote_context_with_info};
use wacore::types::message::AddressingMode;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use wharf_core::BoxError;
use wharf_core::engine::{
    Chatting, Content, EngineError, Lifecycle as _, Quote, SeenRequest, SendRequest, SentMessage, Typing,
};
use wharf_core::ids::{ChatId, ChatKind, MessageId};
use wharf_core::message::{Ack, Source};
use wharf_core::session::Me;
use whatsapp_rust::{Client, SendOptions};

pub(crate) use recipients::Recipients;

use crate::addresses::{me, to_jid};
use crate::connection::Connection;
use crate::error::failed;
use crate::message::{Envelope, message};

/// How long a message may take until it is written to the socket: it may need the recipient's devices and their keys.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a receipt, a typing notice or a presence may take.
pub(crate) const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);

#[async_trait]
impl Chatting for Connection {
    fn new_message_id(&self) -> String {
        self.client.generate_message_id()
    }

    async fn send(&self, request: SendRequest) -> Result<SentMessage, EngineError> {
        let me = self.ready()?;
        let recipient = self.recipients.find(&self.client, &me, &request.chat).await?;
        let author = match &request.quote {
            Some(quote) => Some(self.author(quote, &me).await?),
            None => None,
        };
        let proto = match &request.content {
            Content::Text { text, .. } => text_message(text, &request, author, &recipient.jid)?,
            // ENGINE-OUT replaces this.
            _ => {
                return Err(EngineError::Invalid(
                    "this kind of message cannot be sent yet".to_owned(),
                ));
            }
        };
        let envelope = Envelope {
            id: request.id.clone(),
            stanza: format!("{} {} {}", recipient.jid, me.id, request.id),
            chat: recipient.chat,
            sender: me.id.clone(),
            sender_alt: me.lid,
            me: me.id,
            from_me: true,
            timestamp: self.clock.now(),
            push_name: Some(me.push_name).filter(|name| !name.is_empty()),
            source: Source::Api,
            ack: Ack::Pending,
        };
        let message = message(envelope, &proto);
        // A repeat under the same id gets another `message_secret` (`wacore` send/dm.rs and send/group.rs make one where the
        // message has none), and phones keep the message that came first. Nothing that answers a text has to be opened with
        // it. Votes have to, so a poll must bring its own secret, the same at every repeat.
        let options = SendOptions::default().with_message_id(&request.id);
        self.sent.add(&request.id);
        let sending = self.client.send_message_with_options(recipient.jid, proto, options);
        match within(SEND_TIMEOUT, sending).await {
            Ok(_) => Ok(SentMessage { message }),
            Err(error) => {
                self.sent.take(&request.id);
                Err(error)
            }
        }
    }

    async fn send_seen(&self, request: SeenRequest) -> Result<(), EngineError> {
        self.ready()?;
        if request.ids.is_empty() {
            return Ok(());
        }
        let chat = self.wire(&request.chat).await;
        let author = match &request.participant {
            Some(participant) => Some(self.in_chat(&chat, participant).await),
            None => None,
        };
        let ids: Vec<&str> = request.ids.iter().map(String::as_str).collect();
        within(NOTICE_TIMEOUT, self.client.mark_as_read(&chat, author.as_ref(), &ids)).await
    }

    async fn set_typing(&self, chat: &ChatId, typing: Typing) -> Result<(), EngineError> {
        self.ready()?;
        let chat = self.wire(chat).await;
        let chatstate = self.client.chatstate();
        match typing {
            Typing::Composing => within(NOTICE_TIMEOUT, chatstate.send_composing(&chat)).await,
            Typing::Recording => within(NOTICE_TIMEOUT, chatstate.send_recording(&chat)).await,
            Typing::Paused => within(NOTICE_TIMEOUT, chatstate.send_paused(&chat)).await,
        }
    }

    async fn set_starred(&self, _message: &MessageId, _starred: bool) -> Result<(), EngineError> {
        // ENGINE-OUT replaces this.
        Err(EngineError::Invalid("stars are not built yet".to_owned()))
    }
}

#[async_trait]
impl wharf_core::engine::Contacts for Connection {
    async fn find(&self, _person: &ChatId) -> Result<Option<ChatId>, EngineError> {
        // ENGINE-OUT replaces this.
        Err(EngineError::Invalid("contacts are not built yet".to_owned()))
    }
}

#[async_trait]
impl wharf_core::engine::Media for Connection {
    async fn download(
        &self,
        _message: &wharf_core::message::Message,
        _to: &std::path::Path,
    ) -> Result<u64, wharf_core::engine::MediaError> {
        // ENGINE-IN replaces this.
        Err(wharf_core::engine::MediaError::None)
    }

    async fn request_reupload(
        &self,
        _message: &wharf_core::message::Message,
    ) -> Result<wharf_core::message::Message, wharf_core::engine::MediaError> {
        // ENGINE-IN replaces this.
        Err(wharf_core::engine::MediaError::None)
    }
}

impl Connection {
    /// Ourselves, if something can be sent now.
    pub(crate) fn ready(&self) -> Result<Me, EngineError> {
        let me = me(&self.client).ok_or(EngineError::NotLinked)?;
        if self.is_connected() {
            Ok(me)
        } else {
            Err(EngineError::Offline)
        }
    }

    /// The address that the chat's stanzas carry. An account that WhatsApp has migrated to linked identities names
    /// people by those, another one by phone number (whatsmeow `send.go`); the library does this for messages only.
    async fn wire(&self, chat: &ChatId) -> Jid {
        let jid = to_jid(chat);
        let by_lid = self.client.is_lid_migrated().await;
        match chat.kind() {
            ChatKind::Phone if by_lid => other_address(&self.client, &jid).await.unwrap_or(jid),
            ChatKind::Lid if !by_lid => other_address(&self.client, &jid).await.unwrap_or(jid),
            _ => jid,
        }
    }

    /// The address of a person in a group, which names its members in one address space.
    async fn in_chat(&self, chat: &Jid, person: &ChatId) -> Jid {
        let jid = to_jid(person);
        if !jid.is_pn() || chat.server != wacore_binary::Server::Group {
            return jid;
        }
        match self.client.groups().query_info(chat).await {
            Ok(group) if group.addressing_mode == AddressingMode::Lid => {
                other_address(&self.client, &jid).await.unwrap_or(jid)
            }
            _ => jid,
        }
    }

    /// Who wrote a message that is quoted.
    async fn author(&self, quote: &Quote, me: &Me) -> Result<Jid, EngineError> {
        let id = &quote.id;
        let person = match (&id.participant, id.from_me) {
            (Some(participant), _) => participant,
            (None, true) => &me.id,
            (None, false) if id.chat.is_person() || id.chat.kind() == ChatKind::Newsletter => &id.chat,
            (None, false) => {
                let hint = format!("the id of the quoted message, {id}, lacks the participant who wrote it");
                return Err(EngineError::Invalid(hint));
            }
        };
        Ok(self.in_chat(&to_jid(&id.chat), person).await)
    }
}

/// The same person in the other address space, if known.
async fn other_address(client: &Client, jid: &Jid) -> Option<Jid> {
    let entry = client.get_lid_pn_entry(jid).await.ok().flatten()?;
    Some(if jid.is_lid() {
        Jid::pn(&*entry.phone_number)
    } else {
        Jid::lid(&*entry.lid)
    })
}

/// The text as WhatsApp's clients send it: bare, unless it quotes or mentions.
fn text_message(
    text: &str,
    request: &SendRequest,
    author: Option<Jid>,
    target: &Jid,
) -> Result<wa::Message, EngineError> {
    if request.quote.is_none() && request.mentions.people.is_empty() {
        return Ok(wa::Message::text(text));
    }
    let mut context = match (&request.quote, author) {
        (Some(quote), Some(author)) => quoting(quote, &author, target)?,
        _ => wa::ContextInfo::default(),
    };
    context.mentioned_jid = request
        .mentions
        .people
        .iter()
        .map(|chat| to_jid(chat).to_string())
        .collect();
    Ok(wa::Message {
        extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
            text: Some(text.to_owned()),
            context_info: MessageField::some(context),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn quoting(quote: &Quote, author: &Jid, target: &Jid) -> Result<wa::ContextInfo, EngineError> {
    let quoted = if quote.proto.is_empty() {
        // Phones show a quote only if there is something in it.
        wa::Message::text("")
    } else {
        waproto::codec::message_decode(&quote.proto).map_err(failed)?
    };
    let quoted_in = match quote.id.chat.is_person() {
        // Both addresses of a person are one chat, and `target` may be either.
        true => target.clone(),
        false => to_jid(&quote.id.chat),
    };
    let id = quote.id.id.as_str();
    Ok(build_quote_context_with_info(id, author, &quoted_in, target, &quoted))
}

/// Waits for something that WhatsApp may hold up.
pub(crate) async fn within<T, E: Into<BoxError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(outcome) => outcome.map_err(failed),
        Err(_) => Err(EngineError::TimedOut {
            seconds: limit.as_secs(),
        }),
    }
}
