//! What a message does to another one: reactions, edits, deletions, votes.
//!
//! Pure, and in the words of the sender, who can name whatever message it likes: whether it may change that one is decided
//! where the other one is looked up (`crate::changes`). Where the message stands that is changed is not the sender's to
//! say: it is always the chat that the change came in.

use waproto::whatsapp as wa;
use waproto::whatsapp::message as wm;
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::Change;
use wm::protocol_message::Type;

use crate::own_id;

/// The most characters of a reaction that are kept. It is one emoji, and no emoji has as many.
const REACTION_CHARS_MAX: usize = 64;

/// What a message does to another one.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    /// The other one, as the sender of this one sees it.
    key: &'a wa::MessageKey,
    /// WhatsApp's own id of it.
    id: &'a str,
    /// What.
    pub(crate) what: What<'a>,
}

/// What is done.
#[derive(Clone, Copy)]
pub(crate) enum What<'a> {
    /// A reaction; empty where it is taken back.
    Reaction(&'a str),
    /// This takes its place.
    Edit(&'a wa::Message),
    /// It is deleted for everyone.
    Revoke,
    /// It is a poll, and this is what is chosen.
    Vote(&'a wm::PollEncValue),
}

/// Who wrote the message that is changed, as the sender of the change says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Author<'a> {
    /// The sender of the change.
    Sender,
    /// The other one of two.
    Partner,
    /// One of many, by address.
    Member(&'a str),
    /// One of many, without address.
    Unknown,
}

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// By phone number where known.
    pub(crate) chat: ChatId,
    /// Whether that is this account.
    pub(crate) is_me: bool,
}

/// What a message without envelopes does to another one, if that can be read.
pub(crate) fn told(m: &wa::Message) -> Option<Told<'_>> {
    let (key, what) = reaction(m).or_else(|| edit_or_revoke(m)).or_else(|| vote(m))?;
    let id = key.id.as_deref().filter(|id| !id.is_empty())?;
    Some(Told { key, id, what })
}

fn reaction(m: &wa::Message) -> Option<(&wa::MessageKey, What<'_>)> {
    let reaction = m.reaction_message.as_option()?;
    let text = reaction.text.as_deref().unwrap_or_default();
    let end = text.char_indices().nth(REACTION_CHARS_MAX);
    let text = end.map_or(text, |(end, _)| &text[..end]);
    Some((reaction.key.as_option()?, What::Reaction(text)))
}

fn edit_or_revoke(m: &wa::Message) -> Option<(&wa::MessageKey, What<'_>)> {
    let protocol = m.protocol_message.as_option()?;
    let what = match protocol.r#type? {
        Type::REVOKE => What::Revoke,
        Type::MESSAGE_EDIT => What::Edit(protocol.edited_message.as_option()?),
        _ => return None,
    };
    Some((protocol.key.as_option()?, what))
}

fn vote(m: &wa::Message) -> Option<(&wa::MessageKey, What<'_>)> {
    let update = m.poll_update_message.as_option()?;
    let vote = update.vote.as_option()?;
    Some((update.poll_creation_message_key.as_option()?, What::Vote(vote)))
}

impl<'a> Told<'a> {
    /// Who wrote the other message, in a chat of two people or of many.
    ///
    /// `fromMe` is the sender's view (Baileys `process-message.ts` normalises it the same way). An edit is always of one's
    /// own message, whatever its key says.
    pub(crate) fn author(&self, of_many: bool) -> Author<'a> {
        let member = self.key.participant.as_deref().filter(|_| of_many);
        match self.what {
            What::Edit(_) => Author::Sender,
            What::Revoke if of_many => member.map_or(Author::Sender, Author::Member),
            _ if self.key.from_me.unwrap_or_default() => Author::Sender,
            _ if of_many => member.map_or(Author::Unknown, Author::Member),
            _ => Author::Partner,
        }
    }

    /// The other message, named as messages of this chat are. `carrier` is the message that brought the change, `member` who
    /// wrote the other one where that is [`Author::Member`].
    pub(crate) fn target(&self, carrier: &MessageId, me: &ChatId, member: Option<Member>) -> MessageId {
        let of_many = carrier.participant.is_some();
        let (from_me, participant) = match self.author(of_many) {
            Author::Sender => (carrier.from_me, carrier.participant.clone()),
            // Whoever writes to themselves is both.
            Author::Partner => (!carrier.from_me || carrier.chat == *me, None),
            Author::Member(_) | Author::Unknown => match member {
                Some(member) => (member.is_me, Some(member.chat)),
                None => (false, None),
            },
        };
        MessageId {
            from_me,
            chat: carrier.chat.clone(),
            id: own_id::kept(self.id).into_owned(),
            participant,
        }
    }

    /// In Wharf's words. What is chosen in a poll is encrypted.
    pub(crate) fn change(&self, target: MessageId) -> Change {
        match self.what {
            What::Reaction(text) => Change::Reaction {
                target,
                text: text.to_owned(),
            },
            What::Edit(_) => Change::Edited { target },
            What::Revoke => Change::Revoked { target },
            What::Vote(_) => Change::PollVote {
                poll: target,
                options: None,
            },
        }
    }
}
