//! What a phone shows: its chats, and a log of everything that happened, with a rising cursor.
//!
//! Both are bounded; the oldest goes first.

use std::collections::{BTreeMap, VecDeque};

use buffa::{Message as _, MessageField};
use serde::{Deserialize, Serialize};
use waproto::whatsapp::{Message, MessageContextInfo};

use super::secrets::secret_of;
use crate::keys::Blob;
use crate::views::{InboxEntry, InboxKind, InboxPage, ReceiptKind, TypingState};

/// Entries that the log keeps.
const ENTRIES_MAX: usize = 5_000;
/// Entries in one page.
const PAGE_MAX: usize = 500;
/// Messages that a chat keeps.
const CHAT_MESSAGES_MAX: usize = 1_000;
/// How long a typing state is shown, in seconds.
const TYPING_SHOWN_S: u64 = 30;

/// The log of a phone.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Inbox {
    entries: VecDeque<InboxEntry>,
    last: u64,
}

/// A message in a phone's chat.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ChatMessage {
    pub(crate) id: String,
    pub(crate) from_me: bool,
    pub(crate) text: Option<String>,
    pub(crate) timestamp: u64,
    /// How far an own message got.
    pub(crate) receipt: Option<ReceiptKind>,
    /// The encoded message, where it is more than a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Blob>,
    /// What votes and edits are encrypted with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Blob>,
    #[serde(default, skip_serializing_if = "Marks::is_none")]
    pub(crate) marks: Marks,
}

/// What was done with a message after it was sent.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Marks {
    /// The emoji of everyone who reacted, by digits.
    pub(crate) reactions: BTreeMap<String, String>,
    /// What everyone has chosen in a poll, by digits.
    pub(crate) votes: BTreeMap<String, Vec<String>>,
    pub(crate) edited: bool,
    pub(crate) revoked: bool,
    /// How long it is pinned, in seconds, if it is.
    pub(crate) pinned_for: Option<u32>,
    pub(crate) starred: bool,
}

impl Marks {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl ChatMessage {
    /// A message that is nothing but a text.
    pub(crate) fn text(id: &str, from_me: bool, text: &str, timestamp: u64) -> Self {
        Self {
            id: id.to_owned(),
            from_me,
            text: Some(text.to_owned()),
            timestamp,
            receipt: None,
            content: None,
            secret: None,
            marks: Marks::default(),
        }
    }

    /// A message of any kind; `text` is its text or caption.
    pub(crate) fn new(id: &str, from_me: bool, text: Option<String>, message: &Message, timestamp: u64) -> Self {
        // Most messages are texts, and a phone keeps many.
        let is_text = message.conversation.is_some();
        Self {
            id: id.to_owned(),
            from_me,
            text,
            timestamp,
            receipt: None,
            content: (!is_text).then(|| Blob(message.encode_to_vec())),
            secret: secret_of(message).map(Blob::from),
            marks: Marks::default(),
        }
    }

    pub(crate) fn secret(&self) -> Option<&[u8]> {
        self.secret.as_ref().map(|secret| &secret.0[..])
    }

    /// The message as it was sent, with the text that it has now where it is a plain one.
    pub(crate) fn message(&self) -> Message {
        let content = self.content.as_ref();
        let decoded = content.and_then(|content| Message::decode_from_slice(&content.0).ok());
        decoded.unwrap_or_else(|| Message {
            conversation: self.text.clone(),
            message_context_info: self.secret().map_or_else(MessageField::none, |secret| {
                MessageField::some(MessageContextInfo {
                    message_secret: Some(secret.to_vec()),
                    ..Default::default()
                })
            }),
            ..Default::default()
        })
    }

    /// Replaces what it says; `message` has the new text.
    pub(crate) fn edit(&mut self, text: &str, message: &Message) {
        self.text = Some(text.to_owned());
        if let Some(content) = &mut self.content {
            *content = Blob(message.encode_to_vec());
        }
        self.marks.edited = true;
    }

    /// Deletes what it says for everyone.
    pub(crate) fn revoke(&mut self) {
        self.text = None;
        self.content = None;
        self.secret = None;
        self.marks = Marks {
            revoked: true,
            ..Marks::default()
        };
    }
}

/// A chat of a phone.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Chat {
    pub(crate) messages: VecDeque<ChatMessage>,
    pub(crate) unread: u32,
    pub(crate) last_activity: u64,
    #[serde(skip)]
    typing: Option<(TypingState, u64)>,
}

/// The chats of a phone, by the other party's digits.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Chats(pub(crate) BTreeMap<String, Chat>);

impl Inbox {
    /// The cursor of the newest entry.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn push(&mut self, mut entry: InboxEntry) {
        self.last += 1;
        entry.cursor = self.last;
        self.entries.push_back(entry);
        if self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
        }
    }

    pub(crate) fn page(&self, after: u64) -> InboxPage {
        let entries: Vec<InboxEntry> = self
            .entries
            .iter()
            .filter(|entry| entry.cursor > after)
            .take(PAGE_MAX)
            .cloned()
            .collect();
        let next = entries.last().map_or(after.min(self.last), |entry| entry.cursor);
        InboxPage { entries, next }
    }
}

impl Chats {
    pub(crate) fn message(&self, chat: &str, id: &str) -> Option<&ChatMessage> {
        self.0.get(chat)?.messages.iter().rev().find(|message| message.id == id)
    }

    pub(crate) fn message_mut(&mut self, chat: &str, id: &str) -> Option<&mut ChatMessage> {
        let messages = &mut self.0.get_mut(chat)?.messages;
        messages.iter_mut().rev().find(|message| message.id == id)
    }

    pub(crate) fn add(&mut self, chat: &str, message: ChatMessage) {
        let chat = self.0.entry(chat.to_owned()).or_default();
        chat.last_activity = chat.last_activity.max(message.timestamp);
        if message.from_me {
            // Who answers has read what was there.
            chat.unread = 0;
        } else {
            chat.unread += 1;
            chat.typing = None;
        }
        chat.messages.push_back(message);
        if chat.messages.len() > CHAT_MESSAGES_MAX {
            chat.messages.pop_front();
        }
    }

    pub(crate) fn read(&mut self, chat: &str) {
        if let Some(chat) = self.0.get_mut(chat) {
            chat.unread = 0;
        }
    }

    /// An own message got further; answers whether that is news.
    pub(crate) fn advance(&mut self, chat: &str, id: &str, receipt: ReceiptKind) -> bool {
        match self.message_mut(chat, id) {
            Some(message) if message.from_me && message.receipt.is_none_or(|before| before < receipt) => {
                message.receipt = Some(receipt);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn set_typing(&mut self, chat: &str, state: TypingState, now: u64) {
        let chat = self.0.entry(chat.to_owned()).or_default();
        chat.typing = Some((state, now + TYPING_SHOWN_S)).filter(|_| state != TypingState::Paused);
    }

    pub(crate) fn typing(&self, chat: &str, now: u64) -> Option<TypingState> {
        self.0
            .get(chat)?
            .typing
            .filter(|(_, until)| *until > now)
            .map(|(state, _)| state)
    }
}

/// An entry with everything empty that its kind does not need.
pub(crate) fn entry(kind: InboxKind, chat: &str, from: &str, from_me: bool, timestamp: u64) -> InboxEntry {
    InboxEntry {
        cursor: 0,
        kind,
        chat: chat.to_owned(),
        from: from.to_owned(),
        from_me,
        id: None,
        text: None,
        reply_to: None,
        mentions: Vec::new(),
        content: None,
        change: None,
        votes: Vec::new(),
        state: None,
        receipt: None,
        timestamp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gaps_and_old_entries_fall_off() {
        let mut inbox = Inbox::default();
        for _ in 0..ENTRIES_MAX + 10 {
            inbox.push(entry(InboxKind::Message, "1", "2", false, 0));
        }
        let mut seen = Vec::new();
        let mut after = 0;
        loop {
            let page = inbox.page(after);
            if page.entries.is_empty() {
                break;
            }
            after = page.next;
            seen.extend(page.entries.into_iter().map(|entry| entry.cursor));
        }
        assert_eq!(seen, (11..=ENTRIES_MAX as u64 + 10).collect::<Vec<_>>());
        assert_eq!(inbox.page(after).next, after);
    }

    #[test]
    fn receipts_never_go_backwards() {
        let mut chats = Chats::default();
        chats.add("1", ChatMessage::text("A", true, "hi", 1));
        assert!(chats.advance("1", "A", ReceiptKind::Read));
        assert!(!chats.advance("1", "A", ReceiptKind::Delivered));
        assert!(!chats.advance("1", "B", ReceiptKind::Read));
        assert_eq!(chats.message("1", "A").unwrap().receipt, Some(ReceiptKind::Read));
    }
}
