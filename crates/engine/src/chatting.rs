//! Sending to chats, as the engine port names it: one way out for everything that becomes a message or changes one.
//!
//! What each kind becomes on the wire is in the modules below, by topic. Everything leaves under the id that the caller
//! gave, so the library's own helpers, which draw ids by lot, are not used: their messages are built here, and what stanzas
//! say of them (`edit`, `type`, `mediatype`, `<meta>`) the library reads off the message.

mod cards;
mod changes;
mod context;
mod forward;
mod interactive;
mod media;
mod original;
mod polls;
mod recipients;
mod secret;
mod text;

use std::time::Duration;

use async_trait::async_trait;
use wacore::proto_helpers::MessageExt as _;
use wacore::types::message::AddressingMode;
use wacore_binary::{Jid, JidExt as _, Server};
use waproto::whatsapp as wa;
use wharf_core::BoxError;
use wharf_core::engine::{
    Chatting, Content, EngineError, Lifecycle as _, SeenRequest, SendRequest, SentMessage, Typing,
};
use wharf_core::ids::{ChatId, ChatKind, MessageId};
use wharf_core::message::{Ack, MessageKind, Source};
use wharf_core::session::Me;
use whatsapp_rust::SendOptions;

use recipients::Recipient;
pub(crate) use recipients::Recipients;

use crate::addresses::{me, other_address, to_jid};
use crate::connection::Connection;
use crate::error::failed;
use crate::message::{Envelope, message};

/// How long a message may take until it is written to the socket: it may need the recipient's devices and their keys.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a receipt, a typing notice or a presence may take.
pub(crate) const NOTICE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long WhatsApp may take to take a star.
const STAR_TIMEOUT: Duration = Duration::from_secs(30);

#[async_trait]
impl Chatting for Connection {
    fn new_message_id(&self) -> String {
        self.client.generate_message_id()
    }

    async fn send(&self, request: SendRequest) -> Result<SentMessage, EngineError> {
        let me = self.ready()?;
        let recipient = self.recipients.find(&self.client, &me, &request.chat).await?;
        let proto = self.proto(&request, &recipient, &me).await?;
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
        let mut message = message(envelope, &proto);
        if let Some(change) = changes::change(&request.content) {
            // The request names its target and its options in the server's words.
            message.kind = MessageKind::Change(change);
        }
        if matches!(request.content, Content::Forward { .. }) && message.kind != MessageKind::Content {
            return Err(forward::not_forwarded());
        }
        let mut options = SendOptions::default().with_message_id(&request.id);
        // One that is forwarded is a list as well.
        if proto.list_message.is_set() {
            options = options.with_extra_stanza_nodes(vec![interactive::list_node()]);
        }
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
        let chat = self.wire(&request.chat).await?;
        let author = match &request.participant {
            Some(participant) => Some(self.in_chat(&chat, participant).await?),
            None => None,
        };
        let ids: Vec<&str> = request.ids.iter().map(String::as_str).collect();
        within(NOTICE_TIMEOUT, self.client.mark_as_read(&chat, author.as_ref(), &ids)).await
    }

    async fn set_typing(&self, chat: &ChatId, typing: Typing) -> Result<(), EngineError> {
        self.ready()?;
        let chat = self.wire(chat).await?;
        let chatstate = self.client.chatstate();
        match typing {
            Typing::Composing => within(NOTICE_TIMEOUT, chatstate.send_composing(&chat)).await,
            Typing::Recording => within(NOTICE_TIMEOUT, chatstate.send_recording(&chat)).await,
            Typing::Paused => within(NOTICE_TIMEOUT, chatstate.send_paused(&chat)).await,
        }
    }

    async fn set_starred(&self, message: &MessageId, starred: bool) -> Result<(), EngineError> {
        let me = self.ready()?;
        // The phone shares its keys soon after it is linked; the library's error for that could not be told from others.
        let keys = self.client.persistence_manager().backend();
        if keys.get_latest_sync_key_id().await.map_err(failed)?.is_none() {
            return Err(EngineError::NotSynced);
        }
        let chat = self.wire(&message.chat).await?;
        let author = match chat.is_group() && !message.from_me {
            true => Some(self.author(message, &me).await?),
            false => None,
        };
        let (actions, author, id) = (self.client.chat_actions(), author.as_ref(), message.id.as_str());
        if starred {
            within(STAR_TIMEOUT, actions.star_message(&chat, author, id, message.from_me)).await
        } else {
            within(STAR_TIMEOUT, actions.unstar_message(&chat, author, id, message.from_me)).await
        }
    }
}

impl Connection {
    /// What leaves for a request.
    async fn proto(&self, request: &SendRequest, recipient: &Recipient, me: &Me) -> Result<wa::Message, EngineError> {
        if recipient.jid.server == Server::Newsletter {
            return self.channel_post(request).await;
        }
        let chat = self.wire(&recipient.chat).await?;
        let mut message = match &request.content {
            Content::Reaction { target, text } => return self.reaction(target, text, &chat, me).await,
            Content::Revoke { target } => return self.revoke(target, &chat, me).await,
            Content::PollVote { poll, proto, options } => return self.vote(poll, proto, options, &chat, me).await,
            Content::Pin { target, pinned_for } => return self.pin(target, *pinned_for, &chat, me).await,
            Content::Forward { proto } => forward::forwarded(proto)?,
            Content::Text { text, preview } => self.text(text, preview.as_ref()).await,
            Content::Edit {
                proto, text, preview, ..
            } => self.edited(proto, text, preview.as_ref()).await?,
            Content::Media(media) => self.media(media).await?,
            Content::Location {
                latitude,
                longitude,
                title,
            } => cards::location(*latitude, *longitude, title.as_deref()),
            Content::Contacts(cards) => cards::contacts(cards),
            Content::Poll {
                name,
                options,
                multiple,
            } => polls::creation(name, options, *multiple),
            Content::List(list) => interactive::list(list),
            Content::Buttons(buttons) => self.buttons(buttons, &request.id).await?,
            Content::ButtonReply { button, text } => interactive::button_reply(button, text),
        };
        if let Some(context) = self.context(request, &chat, me).await? {
            message.set_context_info(context);
        }
        let mut message = media::enveloped(message);
        if let Content::Edit { target, .. } = &request.content {
            return self.edit(target, message, &chat, me).await;
        }
        let device = self.client.persistence_manager().get_device_snapshot();
        let identity = device.identity_key.private_key.serialize();
        secret::give(&mut message, identity, &request.chat, &request.id);
        Ok(message)
    }

    /// What is posted to a channel: nothing there is encrypted, and nobody answers or votes by a secret.
    async fn channel_post(&self, request: &SendRequest) -> Result<wa::Message, EngineError> {
        match &request.content {
            Content::Text { text, preview } => Ok(self.text(text, preview.as_ref()).await),
            _ => {
                let hint = "chatId: only texts can be sent to channels yet";
                Err(EngineError::Invalid(hint.to_owned()))
            }
        }
    }

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
    pub(crate) async fn wire(&self, chat: &ChatId) -> Result<Jid, EngineError> {
        let jid = to_jid(chat);
        let by_lid = self.client.is_lid_migrated().await;
        match chat.kind() {
            ChatKind::Phone if by_lid => self.otherwise(jid).await,
            ChatKind::Lid if !by_lid => self.otherwise(jid).await,
            _ => Ok(jid),
        }
    }

    /// The address of a person in a group, which names its members in one address space.
    pub(crate) async fn in_chat(&self, chat: &Jid, person: &ChatId) -> Result<Jid, EngineError> {
        let jid = to_jid(person);
        if jid.is_pn() && chat.is_group() && self.is_by_lid(chat).await? {
            return self.otherwise(jid).await;
        }
        Ok(jid)
    }

    /// Our own address in a chat.
    async fn own_in(&self, chat: &Jid, me: &Me) -> Result<Jid, EngineError> {
        Ok(own_address(me, self.is_by_lid(chat).await?))
    }

    /// Whether a chat names people by linked identity.
    async fn is_by_lid(&self, chat: &Jid) -> Result<bool, EngineError> {
        if !chat.is_group() {
            return Ok(chat.is_lid());
        }
        let group = self.client.groups().query_info(chat).await.map_err(failed)?;
        Ok(group.addressing_mode == AddressingMode::Lid)
    }

    /// The person's other address, where that is known.
    async fn otherwise(&self, jid: Jid) -> Result<Jid, EngineError> {
        let other = other_address(&self.client, &jid).await.map_err(failed)?;
        Ok(other.unwrap_or(jid))
    }

    /// Who wrote a message.
    async fn author(&self, id: &MessageId, me: &Me) -> Result<Jid, EngineError> {
        let person = match (&id.participant, id.from_me) {
            (Some(participant), _) => participant,
            (None, true) => &me.id,
            (None, false) if id.chat.is_person() || id.chat.kind() == ChatKind::Newsletter => &id.chat,
            (None, false) => {
                let hint = format!("the message id {id} lacks the participant who wrote it");
                return Err(EngineError::Invalid(hint));
            }
        };
        self.in_chat(&to_jid(&id.chat), person).await
    }
}

/// Our own address in one of the two spaces, as far as it is known.
fn own_address(me: &Me, by_lid: bool) -> Jid {
    match &me.lid {
        Some(lid) if by_lid => to_jid(lid),
        _ => to_jid(&me.id),
    }
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
