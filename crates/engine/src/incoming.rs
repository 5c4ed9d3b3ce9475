//! From a message that the protocol library has decrypted to one that is kept: resolves who and where.

use jiff::Timestamp;
use wacore::types::events::InboundMessage;
use wacore::types::message::{EditAttribute, MessageCategory, MessageInfo};
use wacore_binary::{Jid, JidExt as _};
use waproto::whatsapp as wa;
use wharf_core::ids::ChatId;
use wharf_core::message::{Ack, Message, MessageKind, Source};
use wharf_core::store::StoreError;
use whatsapp_rust::Client;

use crate::addresses::{LookupError, known_chat, known_person, me, to_chat, to_jid};
use crate::changes::{Known, settle};
use crate::message::{Envelope, is_empty, message, unwrapped};
use crate::own_id;

/// What the server calls reactions, edits and the like (WhatsApp Web `WAWebHandleMsgParser`).
const ADD_ON: &str = "add_on";

/// Why a message cannot be kept now. It must come again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IncomingError {
    /// Messages are for an account, and the device's record names none.
    #[error("a message came to a device without an account")]
    NoAccount,
    /// Under which address it belongs is not known.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// Whether it may change another message is not known, because that one cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The message as it is kept, or `None` where it has no address that Wharf knows (bots, other messengers).
pub(crate) async fn incoming(known: &Known<'_>, inbound: &InboundMessage) -> Result<Option<Message>, IncomingError> {
    let client = known.client;
    let Some(envelope) = envelope(client, &inbound.info).await? else {
        return Ok(None);
    };
    let mut kept = message(envelope, &inbound.message);
    if kept.kind == MessageKind::Content && is_hidden(inbound) {
        kept.kind = MessageKind::Control;
    }
    if let Some(reply) = kept.reply_to.as_mut()
        && let Some(author) = reply.participant.take()
    {
        reply.participant = known_person(client, &to_jid(&author)).await?;
    }
    settle(known, inbound, &mut kept).await?;
    Ok(Some(kept))
}

/// Whether a message only looks like one: its stanza says that it is an edit, which it is not in any way that is known; or
/// nothing of it is known but that it changes another one, or is for our devices only.
fn is_hidden(inbound: &InboundMessage) -> bool {
    let info = &inbound.info;
    let is_add_on = info.edit != EditAttribute::Empty || info.meta_info.content_type.as_deref() == Some(ADD_ON);
    let is_between_devices = info.category == MessageCategory::Peer;
    info.edit == EditAttribute::MessageEdit
        || (is_add_on || is_between_devices) && is_empty(unwrapped(&inbound.message))
}

/// What is known of a message that cannot be read, or `None` where it has no address that Wharf knows.
pub(crate) async fn unreadable(client: &Client, info: &MessageInfo) -> Result<Option<Message>, IncomingError> {
    let envelope = envelope(client, info).await?;
    Ok(envelope.map(|envelope| Message {
        kind: MessageKind::Content,
        // WhatsApp has it, and no device of ours.
        ack: Ack::Server,
        ..message(envelope, &wa::Message::default())
    }))
}

async fn envelope(client: &Client, info: &MessageInfo) -> Result<Option<Envelope>, IncomingError> {
    let me = me(client).ok_or(IncomingError::NoAccount)?;
    let source = &info.source;
    let sender = known_chat(client, &source.sender, source.sender_alt.as_ref()).await?;
    let from_me = source.is_from_me;
    let chat = if is_broadcast_list(&source.chat) && !from_me {
        // A broadcast list is the sender's own; whoever gets it sees it in the chat with the sender.
        sender.clone()
    } else {
        known_chat(client, &source.chat, chat_alt(info)).await?
    };
    let at = Timestamp::from_second(info.timestamp.timestamp()).ok();
    let (Some(sender), Some(chat), Some(timestamp)) = (sender, chat, at) else {
        return Ok(None);
    };
    Ok(Some(Envelope {
        id: info.id.clone(),
        stanza: stanza(info),
        chat,
        sender_alt: second_address(info, &sender),
        sender,
        me: me.id,
        from_me,
        timestamp,
        push_name: Some(info.push_name.clone()).filter(|name| !name.is_empty()),
        source: Source::App,
        // WhatsApp has it, and nobody else needs to acknowledge it.
        ack: if from_me { Ack::Server } else { Ack::Device },
    }))
}

/// What a message is kept under. By phone numbers where the stanza tells them, and without devices, because so the phone
/// names a message that it was asked for. What was learnt elsewhere does not count: it may be learnt between two
/// deliveries of a message, which is kept under one name.
fn stanza(info: &MessageInfo) -> String {
    let source = &info.source;
    let (chat, sender) = (
        told(&source.chat, chat_alt(info)),
        told(&source.sender, source.sender_alt.as_ref()),
    );
    format!("{chat} {sender} {}", own_id::kept(&info.id))
}

/// A person's phone number where it is told beside the linked identity, else what is told.
fn told(jid: &Jid, alt: Option<&Jid>) -> Jid {
    let phone = alt.filter(|alt| jid.server.is_lid_family() && alt.server.is_pn_family());
    phone.unwrap_or(jid).to_non_ad()
}

fn is_broadcast_list(chat: &Jid) -> bool {
    chat.is_broadcast_list()
}

/// The chat's phone number, where the stanza tells it. In a chat with one person, the chat is the other person: the
/// sender of what we receive, the recipient of what our phone sent.
fn chat_alt(info: &MessageInfo) -> Option<&Jid> {
    let source = &info.source;
    if source.is_group {
        None
    } else if source.is_from_me {
        source.recipient_alt.as_ref().or(info.peer_recipient_pn.as_ref())
    } else {
        source.sender_alt.as_ref()
    }
}

/// The sender's address other than the one that is used.
fn second_address(info: &MessageInfo, sender: &ChatId) -> Option<ChatId> {
    let given = [Some(&info.source.sender), info.source.sender_alt.as_ref()];
    given
        .into_iter()
        .flatten()
        .filter_map(to_chat)
        .find(|address| address != sender)
}
