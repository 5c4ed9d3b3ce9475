//! What becomes of messages after they were sent: reactions, edits, deletions, votes and pins, both ways.
//!
//! Each is a message of its own that names the one it is about by its key: chat, id and whether it is an own one, all as
//! its sender sees it (whatsmeow `send.go` `BuildReaction`, `BuildEdit`, `BuildRevoke`).

use buffa::MessageField;
use wacore_binary::Jid;
use waproto::whatsapp::message::pin_in_chat_message::Type as PinType;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;
use waproto::whatsapp::message::{
    FutureProofMessage, PinInChatMessage, PollUpdateMessage, ProtocolMessage, ReactionMessage,
};
use waproto::whatsapp::{Message, MessageContextInfo, MessageKey};

use super::Desk;
use super::attributes::pinned_for;
use super::compose::check_text;
use super::content::{said, unwrapped};
use super::inbox::{ChatMessage, entry};
use super::polls::chosen;
use super::secrets::sealed_edit;
use crate::error::SandboxError;
use crate::model::Space;
use crate::stanza::Malformed;
use crate::views::{Change, InboxEntry, InboxKind};

/// Longest reaction, in bytes: the longest emoji are families of people.
const EMOJI_LEN_MAX: usize = 64;

/// A change that arrived, or was made here.
pub(super) struct Changed<'m> {
    pub(super) chat: &'m str,
    /// Who changed it: digits.
    pub(super) by: &'m str,
    /// The id of the message that says so.
    pub(super) id: &'m str,
    pub(super) timestamp: u64,
    pub(super) message: &'m Message,
}

impl Desk<'_> {
    /// Sends a change of a message, and answers the id of the message that says so.
    pub(super) fn change(&mut self, chat: &str, id: &str, change: &Change) -> Result<String, SandboxError> {
        let message = self.changing(chat, id, change)?;
        let change_id = self.message_id();
        self.deliver(chat, &change_id, &message)?;
        let changed = Changed {
            chat,
            by: self.number,
            id: &change_id,
            timestamp: self.now(),
            message: &message,
        };
        self.apply(&changed).map_err(|error| SandboxError::Refused(error.0))?;
        Ok(change_id)
    }

    /// The message that says what was changed.
    fn changing(&self, chat: &str, id: &str, change: &Change) -> Result<Message, SandboxError> {
        let target = self.memory.chats.message(chat, id);
        let target = target.filter(|target| !target.marks.revoked);
        let target = target.ok_or_else(|| SandboxError::not_found("message", id))?;
        let key = MessageField::some(self.key_of(chat, target));
        let now_ms = i64::try_from(self.network.env().clock.now_ms()).ok();
        match change {
            Change::React(emoji) if emoji.len() > EMOJI_LEN_MAX => Err(SandboxError::Invalid(format!(
                "a reaction has at most {EMOJI_LEN_MAX} bytes"
            ))),
            Change::React(emoji) => Ok(Message {
                reaction_message: MessageField::some(ReactionMessage {
                    key,
                    text: Some(emoji.clone()),
                    sender_timestamp_ms: now_ms,
                    ..Default::default()
                }),
                ..Default::default()
            }),
            Change::Edit(text) => {
                let edit = edit(key, target, text, now_ms)?;
                Ok(Message {
                    edited_message: MessageField::some(FutureProofMessage {
                        message: MessageField::some(edit),
                    }),
                    ..Default::default()
                })
            }
            Change::EncryptedEdit(text) => {
                let edit = edit(key.clone(), target, text, now_ms)?;
                self.seal_edit(chat, target, key, &edit)
            }
            Change::Revoke => {
                own(target, "deleted for everyone")?;
                Ok(Message {
                    protocol_message: MessageField::some(ProtocolMessage {
                        key,
                        r#type: Some(ProtocolType::REVOKE),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
            }
            Change::Vote(options) => self.vote(chat, id, options),
            Change::Pin(seconds) => Ok(pin(key, PinType::PIN_FOR_ALL, Some(*seconds), now_ms)),
            Change::Unpin => Ok(pin(key, PinType::UNPIN_FOR_ALL, None, now_ms)),
        }
    }

    /// The key of a message, as this account sees it.
    pub(super) fn key_of(&self, chat: &str, message: &ChatMessage) -> MessageKey {
        let state = self.network.lock();
        let chat = state
            .account(chat)
            .map(|account| account.user_jid(Space::Lid).to_string());
        MessageKey {
            remote_jid: chat,
            from_me: Some(message.from_me),
            id: Some(message.id.clone()),
            participant: None,
        }
    }

    /// Changes a message as this says, and shows it; answers whether it says so at all.
    ///
    /// # Errors
    /// When somebody changes what only another one may change.
    pub(super) fn apply(&mut self, changed: &Changed<'_>) -> Result<bool, Malformed> {
        let message = unwrapped(changed.message);
        if let Some(reaction) = message.reaction_message.as_option() {
            self.react(changed, &reaction.key, reaction.text.clone().unwrap_or_default())?;
        } else if let Some(update) = message.poll_update_message.as_option() {
            self.count_vote(changed, update)?;
        } else if let Some(pin) = message.pin_in_chat_message.as_option() {
            let is_pinned = pin.r#type == Some(PinType::PIN_FOR_ALL);
            let seconds = is_pinned.then(|| pinned_for(changed.message).unwrap_or_default());
            self.pin(changed, &pin.key, seconds)?;
        } else if let Some(sealed) = sealed_edit(message) {
            let opened = self.open_edit(changed.chat, changed.by, sealed);
            match opened.as_ref().and_then(|edit| edit.protocol_message.as_option()) {
                Some(protocol) => self.edit(changed, protocol)?,
                None => return Err(Malformed::new("an encrypted edit that cannot be read")),
            }
        } else if let Some(protocol) = message.protocol_message.as_option() {
            match protocol.r#type {
                Some(ProtocolType::REVOKE) => self.revoke(changed, &protocol.key)?,
                Some(ProtocolType::MESSAGE_EDIT) => self.edit(changed, protocol)?,
                _ => {} // Settings of the chat, which a simulated phone has not.
            }
        } else {
            return Ok(false);
        }
        self.network.tick();
        Ok(true)
    }

    fn react(&mut self, changed: &Changed<'_>, key: &MessageField<MessageKey>, emoji: String) -> Result<(), Malformed> {
        let Some(target) = self.target(changed, key)? else {
            return Ok(());
        };
        match emoji.is_empty() {
            true => target.marks.reactions.remove(changed.by),
            false => target.marks.reactions.insert(changed.by.to_owned(), emoji.clone()),
        };
        let shown = self.note(InboxKind::Reaction, changed, key);
        self.memory.inbox.push(InboxEntry {
            text: Some(emoji),
            ..shown
        });
        Ok(())
    }

    /// Pins a message for so many seconds, or unpins it.
    fn pin(
        &mut self,
        changed: &Changed<'_>,
        key: &MessageField<MessageKey>,
        seconds: Option<u32>,
    ) -> Result<(), Malformed> {
        let Some(target) = self.target(changed, key)? else {
            return Ok(());
        };
        target.marks.pinned_for = seconds;
        let shown = self.note(InboxKind::Pin, changed, key);
        self.memory.inbox.push(InboxEntry {
            state: Some(if seconds.is_some() { "pinned" } else { "unpinned" }.to_owned()),
            ..shown
        });
        Ok(())
    }

    fn revoke(&mut self, changed: &Changed<'_>, key: &MessageField<MessageKey>) -> Result<(), Malformed> {
        let is_own = changed.by == self.number;
        let Some(target) = self.target(changed, key)? else {
            return Ok(());
        };
        theirs(target, is_own, "deleted")?;
        target.revoke();
        let shown = self.note(InboxKind::Revoke, changed, key);
        self.memory.inbox.push(shown);
        Ok(())
    }

    fn edit(&mut self, changed: &Changed<'_>, protocol: &ProtocolMessage) -> Result<(), Malformed> {
        let is_own = changed.by == self.number;
        let text = protocol.edited_message.as_option().and_then(|edited| said(edited).text);
        let text = text.ok_or_else(|| Malformed::new("an edit without a text"))?;
        let Some(target) = self.target(changed, &protocol.key)? else {
            return Ok(());
        };
        theirs(target, is_own, "edited")?;
        let message = replaced(target, &text).map_err(|error| Malformed::new(error.to_string()))?;
        target.edit(&text, &message);
        let shown = self.note(InboxKind::Edit, changed, &protocol.key);
        self.memory.inbox.push(InboxEntry {
            text: Some(text),
            ..shown
        });
        Ok(())
    }

    fn count_vote(&mut self, changed: &Changed<'_>, update: &PollUpdateMessage) -> Result<(), Malformed> {
        let key = &update.poll_creation_message_key;
        let Some(poll) = self.target(changed, key)?.cloned() else {
            return Ok(());
        };
        let vote = update.vote.as_option();
        let vote = vote.and_then(|vote| self.open_vote(changed.chat, &poll, changed.by, vote));
        let Some(hashes) = vote else {
            let shown = self.note(InboxKind::VoteFailed, changed, key);
            self.memory.inbox.push(shown);
            return Ok(());
        };
        let options = chosen(&poll, &hashes)?;
        if let Some(poll) = self.target(changed, key)? {
            match options.is_empty() {
                true => poll.marks.votes.remove(changed.by),
                false => poll.marks.votes.insert(changed.by.to_owned(), options.clone()),
            };
        }
        let shown = self.note(InboxKind::Vote, changed, key);
        self.memory.inbox.push(InboxEntry {
            votes: options,
            ..shown
        });
        Ok(())
    }

    /// The message that a key names, if the phone has it and it was not deleted.
    ///
    /// # Errors
    /// When the key names the right id in another chat, or as a message of the other one: WhatsApp's clients look for
    /// all of it, and find nothing.
    fn target(
        &mut self,
        changed: &Changed<'_>,
        key: &MessageField<MessageKey>,
    ) -> Result<Option<&mut ChatMessage>, Malformed> {
        let key = key.as_option();
        let key = key.ok_or_else(|| Malformed::new("a change of no message"))?;
        let id = key.id.as_deref().unwrap_or_default();
        let is_own = changed.by == self.number;
        // The other party as who changes it sees it.
        let party = if is_own { changed.chat } else { self.number };
        let remote = key.remote_jid.as_deref().and_then(|jid| jid.parse::<Jid>().ok());
        let is_chat = remote
            .and_then(|jid| self.number_of(&jid))
            .is_some_and(|number| number == party);
        let number = self.number;
        let Some(found) = self.memory.chats.message_mut(changed.chat, id) else {
            tracing::debug!(phone = number, id, "a change of a message that the phone does not have");
            return Ok(None);
        };
        let is_of_sender = found.from_me == is_own;
        if !is_chat || key.from_me.unwrap_or_default() != is_of_sender {
            return Err(Malformed::new(format!(
                "a change of {id} by a key that is not that message's"
            )));
        }
        Ok(Some(found).filter(|message| !message.marks.revoked))
    }

    fn note(&self, kind: InboxKind, changed: &Changed<'_>, key: &MessageField<MessageKey>) -> InboxEntry {
        let is_own = changed.by == self.number;
        InboxEntry {
            id: key.as_option().and_then(|key| key.id.clone()),
            change: Some(changed.id.to_owned()),
            ..entry(kind, changed.chat, changed.by, is_own, changed.timestamp)
        }
    }
}

/// A person can do this with own messages only.
fn own(target: &ChatMessage, done: &str) -> Result<(), SandboxError> {
    match target.from_me {
        true => Ok(()),
        false => Err(SandboxError::Invalid(format!("only an own message can be {done}"))),
    }
}

/// Only who wrote a message may do this with it.
fn theirs(target: &ChatMessage, is_own: bool, done: &str) -> Result<(), Malformed> {
    match target.from_me == is_own {
        true => Ok(()),
        false => Err(Malformed::new(format!(
            "message {} was {done} by somebody who did not write it",
            target.id
        ))),
    }
}

/// The edit of an own message.
fn edit(
    key: MessageField<MessageKey>,
    target: &ChatMessage,
    text: &str,
    timestamp_ms: Option<i64>,
) -> Result<Message, SandboxError> {
    own(target, "edited")?;
    check_text("a text", text)?;
    let protocol = ProtocolMessage {
        key,
        r#type: Some(ProtocolType::MESSAGE_EDIT),
        edited_message: MessageField::some(replaced(target, text)?),
        timestamp_ms,
        ..Default::default()
    };
    Ok(Message {
        protocol_message: MessageField::some(protocol),
        ..Default::default()
    })
}

/// The message with another text or caption.
fn replaced(target: &ChatMessage, text: &str) -> Result<Message, SandboxError> {
    let message = target.message();
    let mut message = unwrapped(&message).clone();
    message.message_context_info = MessageField::none();
    let text = Some(text.to_owned());
    if let Some(extended) = message.extended_text_message.as_option_mut() {
        extended.text = text;
    } else if let Some(image) = message.image_message.as_option_mut() {
        image.caption = text;
    } else if let Some(video) = message.video_message.as_option_mut() {
        video.caption = text;
    } else if let Some(document) = message.document_message.as_option_mut() {
        document.caption = text;
    } else if message.conversation.is_some() {
        message.conversation = text;
    } else {
        return Err(SandboxError::Invalid(
            "only texts and captions can be edited".to_owned(),
        ));
    }
    Ok(message)
}

fn pin(key: MessageField<MessageKey>, kind: PinType, seconds: Option<u32>, timestamp_ms: Option<i64>) -> Message {
    let context = MessageContextInfo {
        message_add_on_duration_in_secs: seconds,
        ..Default::default()
    };
    Message {
        pin_in_chat_message: MessageField::some(PinInChatMessage {
            key,
            r#type: Some(kind),
            sender_timestamp_ms: timestamp_ms,
        }),
        message_context_info: MessageField::some(context),
        ..Default::default()
    }
}
