//! A WhatsApp message in Wharf's words.
//!
//! Pure: who and where come in an [`Envelope`] that is already resolved, what was said in the protobuf. What a kind of
//! message says and carries is in [`content`]. The sender made up all of the protobuf, so whatever names a message, a
//! person or a place is checked here, where it enters: what is wrong is left out, never the message.

mod content;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use jiff::Timestamp;
use waproto::whatsapp as wa;
use wharf_core::ids::{ChatId, ChatKind, MessageId};
use wharf_core::message::{Ack, Message, ReplyTo, Source};

use crate::addresses::parse_chat;
use crate::own_id;

/// Everything about a message except what it says.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    /// WhatsApp's own id, whatever it is.
    pub(crate) id: String,
    /// Chat, sender and id in the stanza's own words.
    pub(crate) stanza: String,
    /// The chat it is in, by phone number where known.
    pub(crate) chat: ChatId,
    /// Who wrote it, by phone number where known.
    pub(crate) sender: ChatId,
    /// The sender's other address.
    pub(crate) sender_alt: Option<ChatId>,
    /// Ourselves.
    pub(crate) me: ChatId,
    /// Whether we wrote it.
    pub(crate) from_me: bool,
    /// When.
    pub(crate) timestamp: Timestamp,
    /// The name that the sender shows.
    pub(crate) push_name: Option<String>,
    /// Where it was written.
    pub(crate) source: Source,
    /// How far it has come.
    pub(crate) ack: Ack,
}

/// The message as it is kept.
pub(crate) fn message(envelope: Envelope, proto: &wa::Message) -> Message {
    let said = content::unwrapped(proto);
    let context = content::context(said);
    let many = matches!(envelope.chat.kind(), ChatKind::Group | ChatKind::Broadcast);
    let author = many.then(|| envelope.sender.clone());
    let (from, to) = if envelope.from_me {
        (envelope.me, envelope.chat.clone())
    } else {
        (envelope.chat.clone(), envelope.me)
    };
    Message {
        id: MessageId {
            from_me: envelope.from_me,
            chat: envelope.chat,
            id: own_id::kept(&envelope.id).into_owned(),
            participant: author.clone(),
        },
        stanza: envelope.stanza,
        timestamp: envelope.timestamp,
        from,
        to,
        participant: author.filter(|_| !envelope.from_me),
        sender_alt: envelope.sender_alt,
        push_name: envelope.push_name,
        source: envelope.source,
        kind: content::kind(said),
        body: content::body(said),
        media: content::media(said),
        reply_to: context.and_then(reply_to),
        mentions: context.map(mentions).unwrap_or_default(),
        location: content::location(said),
        vcards: content::vcards(said),
        ack: envelope.ack,
        proto: Bytes::from(waproto::codec::message_to_vec(proto)),
    }
}

fn reply_to(context: &wa::ContextInfo) -> Option<ReplyTo> {
    let id = context.stanza_id.as_deref().filter(|id| !id.is_empty())?;
    let quoted = context.quoted_message.as_option().map(content::unwrapped);
    Some(ReplyTo {
        id: own_id::kept(id).into_owned(),
        participant: context.participant.as_deref().and_then(parse_chat),
        body: quoted.map(content::body).filter(|body| !body.is_empty()),
        media: quoted.and_then(content::media),
    })
}

fn mentions(context: &wa::ContextInfo) -> Vec<ChatId> {
    context.mentioned_jid.iter().filter_map(|jid| parse_chat(jid)).collect()
}
