//! A WhatsApp message in Wharf's words.
//!
//! Pure: who and where come in an [`Envelope`] that is already resolved, what was said in the protobuf. What a kind of
//! message says is in [`content`], what it carries in [`media`], what it does to another one in [`changes`]. The sender
//! made up all of the protobuf, so whatever names a message, a person or a place is checked here, where it enters: what is
//! wrong is left out, never the message.

pub(crate) mod changes;
mod content;
mod kind;
mod media;
#[cfg(test)]
mod tests;
mod wrappers;

use bytes::Bytes;
use jiff::Timestamp;
use waproto::whatsapp as wa;
use wharf_core::ids::{ChatId, ChatKind, MessageId};
use wharf_core::message::{Ack, Message, MessageKind, ReplyTo, Source};

pub(crate) use content::{poll, secret};
pub(crate) use kind::is_empty;
pub(crate) use media::{attachment_inside, recaptioned, relocated};
pub(crate) use wrappers::{levels, unwrapped};

use crate::addresses::parse_chat;
use crate::own_id;
use changes::{Author, Member, Told, What};

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
///
/// An edit is kept as what it puts in the place of the other message. Who wrote a message that is changed stays as the sender
/// said, and what is chosen in a poll stays encrypted: neither can be found out without asking others.
pub(crate) fn message(envelope: Envelope, proto: &wa::Message) -> Message {
    let inner = unwrapped(proto);
    let told = changes::told(inner);
    let nothing = wa::Message::default();
    let (whole, said) = match told.map(|told| told.what) {
        Some(What::Edit(edited)) => (edited, unwrapped(edited)),
        Some(_) => (proto, &nothing),
        None => (proto, inner),
    };
    let context = content::context(said);
    let many = matches!(envelope.chat.kind(), ChatKind::Group | ChatKind::Broadcast);
    let author = many.then(|| envelope.sender.clone());
    let id = MessageId {
        from_me: envelope.from_me,
        chat: envelope.chat.clone(),
        id: own_id::kept(&envelope.id).into_owned(),
        participant: author.clone(),
    };
    let kind = match told {
        Some(told) => change(&told, &id, &envelope.me),
        None => kind::kind(inner),
    };
    let (from, to) = if envelope.from_me {
        (envelope.me, envelope.chat)
    } else {
        (envelope.chat, envelope.me)
    };
    Message {
        id,
        stanza: envelope.stanza,
        timestamp: envelope.timestamp,
        from,
        to,
        participant: author.filter(|_| !envelope.from_me),
        sender_alt: envelope.sender_alt,
        push_name: envelope.push_name,
        source: envelope.source,
        kind,
        body: content::body(said),
        media: media::attachment(said).map(|attachment| attachment.media()),
        reply_to: context.and_then(reply_to),
        mentions: context.map(mentions).unwrap_or_default(),
        location: content::location(said),
        vcards: content::vcards(said),
        ack: envelope.ack,
        proto: Bytes::from(waproto::codec::message_to_vec(whole)),
    }
}

/// A change as its sender tells it; what an edit puts in the place of a message must be a message itself.
fn change(told: &Told<'_>, carrier: &MessageId, me: &ChatId) -> MessageKind {
    if let What::Edit(edited) = told.what {
        let edited = unwrapped(edited);
        let is_message = kind::kind(edited) == MessageKind::Content && !is_empty(edited);
        if changes::told(edited).is_some() || !is_message {
            return MessageKind::Control;
        }
    }
    let member = match told.author(carrier.participant.is_some()) {
        Author::Member(address) => parse_chat(address).map(|chat| Member {
            is_me: chat == *me,
            chat,
        }),
        _ => None,
    };
    MessageKind::Change(told.change(told.target(carrier, me, member)))
}

fn reply_to(context: &wa::ContextInfo) -> Option<ReplyTo> {
    let id = context.stanza_id.as_deref().filter(|id| !id.is_empty())?;
    let quoted = context.quoted_message.as_option().map(unwrapped);
    Some(ReplyTo {
        id: own_id::kept(id).into_owned(),
        participant: context.participant.as_deref().and_then(parse_chat),
        body: quoted.map(content::body).filter(|body| !body.is_empty()),
        media: quoted.and_then(media::attachment).map(|attachment| attachment.media()),
    })
}

fn mentions(context: &wa::ContextInfo) -> Vec<ChatId> {
    context.mentioned_jid.iter().filter_map(|jid| parse_chat(jid)).collect()
}
