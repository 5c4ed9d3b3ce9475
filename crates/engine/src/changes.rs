//! Decides what a change to another message changes: finds that one, and whether the sender may.
//!
//! The key that names it was made up by the sender, so nobody but its author edits or deletes a message, apart from an
//! administrator's deletion in a group, which WhatsApp vouches for. What may not be is ignored, as WhatsApp's own clients
//! ignore it. Votes are opened in [`votes`].

mod votes;

use wacore::types::events::InboundMessage;
use wacore::types::message::EditAttribute;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use wharf_core::engine::Inbox;
use wharf_core::ids::{ChatId, MessageId};
use wharf_core::message::{Change, Message, MessageKind};
use whatsapp_rust::Client;

use crate::addresses::{known_person, me, other_address, to_chat, to_jid};
use crate::incoming::IncomingError;
use crate::message::changes::{Author, Member, Told, What, told};
use crate::message::{attachment_inside, recaptioned, unwrapped};

/// Where the messages are that a change can be about.
pub(crate) struct Known<'a> {
    /// Asked for the other addresses of people.
    pub(crate) client: &'a Client,
    /// What is kept.
    pub(crate) inbox: &'a dyn Inbox,
    /// What is about to be kept together with the change.
    pub(crate) before: &'a [Message],
}

impl Known<'_> {
    /// The messages with this id of WhatsApp's in a chat, under whichever address of a person.
    async fn find(&self, chat: &ChatId, id: &str) -> Result<Vec<Message>, IncomingError> {
        let other = match chat.is_person() {
            true => other_address(self.client, &to_jid(chat))
                .await?
                .as_ref()
                .and_then(to_chat),
            false => None,
        };
        let is_it = |message: &&Message| {
            message.id.id == id && (message.id.chat == *chat || Some(&message.id.chat) == other.as_ref())
        };
        let mut found: Vec<Message> = self.before.iter().filter(is_it).cloned().collect();
        found.extend(self.inbox.find(chat, id).await?);
        if let Some(other) = &other {
            found.extend(self.inbox.find(other, id).await?);
        }
        // Changes have ids too, and nothing changes them.
        found.retain(|message| message.kind == MessageKind::Content);
        Ok(found)
    }
}

/// Completes a change as its sender told it. What is no change stays as it is.
pub(crate) async fn settle(
    known: &Known<'_>,
    inbound: &InboundMessage,
    carrier: &mut Message,
) -> Result<(), IncomingError> {
    let MessageKind::Change(_) = &carrier.kind else {
        return Ok(());
    };
    let Some(told) = told(unwrapped(&inbound.message)) else {
        return Ok(());
    };
    let settling = Settling { known, inbound, told };
    carrier.kind = settling.kind(carrier).await?;
    Ok(())
}

/// A change on its way from what its sender told to what it is.
struct Settling<'a> {
    known: &'a Known<'a>,
    inbound: &'a InboundMessage,
    told: Told<'a>,
}

impl Settling<'_> {
    async fn kind(&self, carrier: &mut Message) -> Result<MessageKind, IncomingError> {
        let Some(me) = me(self.known.client) else {
            return Err(IncomingError::NoAccount);
        };
        let author = self.told.author(carrier.id.participant.is_some());
        let member = match author {
            Author::Member(address) => self.member(address, &me.id).await?,
            Author::Sender | Author::Partner | Author::Unknown => None,
        };
        let named = self.told.target(&carrier.id, &me.id, member);
        let is_own = author == Author::Sender || wrote(carrier, &named);
        if matches!(self.told.what, What::Revoke) && !is_own && !self.is_by_administrator(carrier) {
            return Ok(ignored(carrier, "delete"));
        }
        let found = self.known.find(&named.chat, &named.id).await?;
        let target = match self.told.what {
            What::Edit(_) | What::Revoke if is_own => {
                let own = found.iter().find(|message| is_same_author(message, carrier));
                if own.is_none() && !found.is_empty() {
                    return Ok(ignored(carrier, "change"));
                }
                own
            }
            _ => {
                let by_author = found.iter().find(|message| wrote(message, &named));
                // Their addresses may differ, and nobody is harmed if it is another one.
                by_author.or(found.first())
            }
        };
        let mut change = self.told.change(target.map_or(named, |target| target.id.clone()));
        match (self.told.what, &mut change, target) {
            (What::Vote(vote), Change::PollVote { options, .. }, Some(poll)) => {
                *options = votes::open(self.known.client, self.inbound, vote, poll).await?;
            }
            (What::Edit(edited), _, Some(target)) => recaption(carrier, edited, target),
            _ => {}
        }
        Ok(MessageKind::Change(change))
    }

    async fn member(&self, address: &str, own: &ChatId) -> Result<Option<Member>, IncomingError> {
        let Ok(jid) = address.parse::<Jid>() else {
            return Ok(None);
        };
        let chat = known_person(self.known.client, &jid).await?;
        Ok(chat.map(|chat| Member {
            is_me: chat == *own,
            chat,
        }))
    }

    /// The stanza says that an administrator sent it, which WhatsApp's server is assumed to check (it has an error of its own
    /// for it: whatsmeow `receipt.go` NackUnsupportedAdminRevoke); and the phone passes on only what it believed itself.
    fn is_by_administrator(&self, carrier: &Message) -> bool {
        let info = &self.inbound.info;
        let is_told = info.edit == EditAttribute::AdminRevoke || info.unavailable_request_id.is_some();
        carrier.id.participant.is_some() && is_told
    }
}

/// Who wrote a message that is one of many people's, by both addresses.
fn author(message: &Message) -> [Option<&ChatId>; 2] {
    [message.id.participant.as_ref(), message.sender_alt.as_ref()]
}

/// Whether `id` names a message of whoever wrote `message`.
fn wrote(message: &Message, id: &MessageId) -> bool {
    let is_named = |participant| author(message).contains(&Some(participant));
    message.id.from_me == id.from_me && id.participant.as_ref().is_none_or(is_named)
}

/// Whether two messages of one chat are from the same person, under whichever addresses.
fn is_same_author(message: &Message, other: &Message) -> bool {
    let is_told_apart = !other.id.from_me && other.id.participant.is_some();
    let mut addresses = author(message).into_iter().flatten();
    let shares_address = addresses.any(|address| author(other).contains(&Some(address)));
    message.id.from_me == other.id.from_me && (!is_told_apart || shares_address)
}

fn ignored(carrier: &Message, what: &str) -> MessageKind {
    let (chat, id) = (&carrier.id.chat, &carrier.id.id);
    // Whoever does this can do it often.
    tracing::debug!(%chat, id, "somebody wants to {what} a message of somebody else, which is ignored");
    MessageKind::Control
}

/// An edited caption comes without what it takes to fetch the picture, which stays.
fn recaption(carrier: &mut Message, edited: &wa::Message, target: &Message) {
    let has_file =
        |message: &wa::Message| attachment_inside(message).is_some_and(|attachment| attachment.can_be_fetched());
    if has_file(edited) {
        return;
    }
    let Ok(kept) = waproto::codec::message_decode(&target.proto) else {
        return;
    };
    if has_file(&kept) {
        let merged = recaptioned(kept, carrier.body.clone());
        carrier.proto = waproto::codec::message_to_vec(&merged).into();
        carrier.media.clone_from(&target.media);
    }
}

#[cfg(test)]
#[cfg(feature = "sandbox")]
mod tests;
