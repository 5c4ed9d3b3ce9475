//! What a phone shows to whoever looks: itself, its chats, and each message as it is now.
//!
//! It changes nothing.

use super::content::{self, Said, said, unwrapped, with_file};
use super::inbox::ChatMessage;
use super::{Phone, polls};
use crate::error::SandboxError;
use crate::media::MediaRef;
use crate::model::Space;
use crate::network::Network;
use crate::views::{ChatView, ContactView, DeviceView, MediaView, MessageView, PhoneView};

impl Phone {
    pub(crate) fn view(&self, network: &Network) -> Result<PhoneView, SandboxError> {
        let compared_code = self.compared_code(|conn| network.lock().registration(conn).is_some());
        let memory = self.memory();
        let state = network.lock();
        let account = state
            .account(&self.number)
            .ok_or_else(|| SandboxError::not_found("phone", &*self.number))?;
        let name_of = |number: &str| {
            let in_book = memory.contacts.get(number).cloned();
            in_book.or_else(|| state.account(number).map(|account| account.name.clone()))
        };
        let now = state.now();
        let mut chats: Vec<(u64, ChatView)> = memory
            .chats
            .0
            .iter()
            .map(|(number, chat)| {
                let view = ChatView {
                    chat: number.clone(),
                    name: name_of(number).unwrap_or_else(|| number.clone()),
                    typing: memory.chats.typing(number, now),
                    unread: chat.unread,
                };
                (chat.last_activity, view)
            })
            .collect();
        chats.sort_by_key(|(last_activity, _)| std::cmp::Reverse(*last_activity));
        Ok(PhoneView {
            number: self.number.clone(),
            name: account.name.clone(),
            lid: account.user_jid(Space::Lid).to_string(),
            about: account.about.clone(),
            passkey: account.passkey.is_some(),
            wants_code: state.wants_link_code(&self.number),
            compared_code,
            devices: account
                .devices
                .values()
                .filter(|device| device.id != 0)
                .map(|device| DeviceView {
                    online: state.shows_online(device),
                    ..account.device_view(device)
                })
                .collect(),
            contacts: memory
                .contacts
                .iter()
                .map(|(number, name)| ContactView {
                    number: number.clone(),
                    name: name.clone(),
                })
                .collect(),
            chats: chats.into_iter().map(|(_, view)| view).collect(),
        })
    }

    /// The messages of a chat, oldest first.
    pub(crate) fn messages(&self, network: &Network, chat: &str) -> Vec<MessageView> {
        let desk = self.desk(network);
        let messages = desk
            .memory
            .chats
            .0
            .get(chat)
            .into_iter()
            .flat_map(|chat| &chat.messages);
        messages
            .map(|message| {
                message_view(
                    chat,
                    self.number(),
                    message,
                    desk.with_numbers(said(&message.message())),
                )
            })
            .collect()
    }

    pub(crate) fn message(&self, network: &Network, chat: &str, id: &str) -> Result<MessageView, SandboxError> {
        let desk = self.desk(network);
        let message = desk.memory.chats.message(chat, id);
        let message = message.ok_or_else(|| SandboxError::not_found("message", id))?;
        let said = desk.with_numbers(said(&message.message()));
        Ok(message_view(chat, self.number(), message, said))
    }

    /// Where the file of a message is, and what the message says of it.
    pub(crate) fn file(&self, chat: &str, id: &str) -> Result<(MediaRef, MediaView), SandboxError> {
        let memory = self.memory();
        let message = memory.chats.message(chat, id);
        let message = message.ok_or_else(|| SandboxError::not_found("message", id))?.message();
        let message = with_file(unwrapped(&message));
        let file = MediaRef::of(&message).zip(content::media(&message));
        file.ok_or_else(|| SandboxError::not_found("file of message", id))
    }

    /// The small picture in a message.
    pub(crate) fn thumbnail(&self, chat: &str, id: &str) -> Result<Vec<u8>, SandboxError> {
        let memory = self.memory();
        let message = memory.chats.message(chat, id);
        let message = message.ok_or_else(|| SandboxError::not_found("message", id))?.message();
        let message = with_file(unwrapped(&message));
        let picture = content::thumbnail(&message);
        let picture = picture.ok_or_else(|| SandboxError::not_found("thumbnail of message", id))?;
        Ok(picture.to_vec())
    }
}

fn message_view(chat: &str, owner: &str, message: &ChatMessage, said: Said) -> MessageView {
    let mut content = said.content;
    if let Some(poll) = &mut content.poll {
        polls::count(poll, message);
    }
    let marks = message.marks.clone();
    MessageView {
        id: message.id.clone(),
        chat: chat.to_owned(),
        from: if message.from_me { owner } else { chat }.to_owned(),
        from_me: message.from_me,
        timestamp: message.timestamp,
        text: message.text.clone(),
        content,
        receipt: message.receipt,
        reactions: marks.reactions,
        edited: marks.edited,
        revoked: marks.revoked,
        pinned: marks.pinned_for.is_some(),
        pinned_for: marks.pinned_for,
        starred: marks.starred,
    }
}
