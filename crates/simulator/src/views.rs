//! What the control interface shows and takes: plain data, serialised as snake_case JSON.
//!
//! No secrets: keys never appear in a view.

mod content;
mod messages;

use serde::{Deserialize, Serialize};

pub use content::{
    Button, Buttons, Contact, Content, LinkPreview, List, ListRow, ListSection, Location, MediaKind, MediaView, Poll,
    PollOption, Quoted, Selected,
};
pub use messages::{Change, MessageView, NewContent, NewLinkPreview, NewMedia, NewMessage, NewPoll};

/// What a new sandbox starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seed {
    /// Alice, Bob, Carol, Echo, their contacts and some history.
    Fresh,
    /// No accounts at all.
    Empty,
}

/// A simulated phone and its account.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhoneView {
    /// The phone number, digits only.
    pub number: String,
    /// The account's push name.
    pub name: String,
    /// The account's hidden id (`…@lid`).
    pub lid: String,
    /// The account's "about" text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Whether the account's passkey has to sign before a device is linked.
    pub passkey: bool,
    /// What a device calls itself that waits for its link code to be entered here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wants_code: Option<String>,
    /// The code to compare with that of a device which links with the passkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_code: Option<String>,
    /// Linked companions; the phone itself is not listed.
    pub devices: Vec<DeviceView>,
    /// The address book.
    pub contacts: Vec<ContactView>,
    /// Chats, the one with the newest entry first.
    pub chats: Vec<ChatView>,
}

/// A companion device of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceView {
    /// The device number within the account.
    pub device: u16,
    /// The device's phone-number address.
    pub jid: String,
    /// The device's hidden address.
    pub lid: String,
    /// What the client calls its platform when it registers.
    pub platform: String,
    /// The push name the client registered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub push_name: Option<String>,
    /// Whether it is logged in now.
    pub connected: bool,
    /// Whether it shows the account as online.
    pub online: bool,
    /// Stanzas that wait for delivery or for the device's acknowledgement.
    pub queued: usize,
    /// Messages of the history that its phone gave it when it was linked.
    pub history_given: usize,
    /// When it was linked, seconds since the Unix epoch.
    pub linked_at: u64,
}

/// What became of a device that a phone links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum LinkView {
    /// It is linked.
    Linked(DeviceView),
    /// It was asked for the account's passkey, and is linked once that has signed and the codes were compared.
    PasskeyAsked {
        /// Always true.
        passkey_asked: bool,
    },
}

impl LinkView {
    /// The device, if it is linked.
    pub fn device(&self) -> Option<&DeviceView> {
        match self {
            Self::Linked(device) => Some(device),
            Self::PasskeyAsked { .. } => None,
        }
    }
}

/// An entry of a phone's address book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContactView {
    /// The phone number, digits only.
    pub number: String,
    /// The name in the address book.
    pub name: String,
}

/// A chat as the phone's chat list shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatView {
    /// The other party's digits, or a group id.
    pub chat: String,
    /// The name the phone shows.
    pub name: String,
    /// What the other party does at the moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typing: Option<TypingState>,
    /// Messages that this account has not read.
    pub unread: u32,
}

/// What a person does in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypingState {
    /// Typing a text.
    Composing,
    /// Recording a voice message.
    Recording,
    /// Neither any more.
    Paused,
}

/// How far a message got at its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptKind {
    /// A device has it.
    Delivered,
    /// A person has seen it.
    Read,
    /// A person has listened to it or watched it.
    Played,
}

/// Many texts at once: in each chat between a phone of `from` and one of `to`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Who writes.
    pub from: Vec<String>,
    /// To whom.
    pub to: Vec<String>,
    /// How many texts in each chat. Each ends with the time at which it was sent, in milliseconds since the Unix epoch.
    pub texts: usize,
    /// How many in all chats together; as many as are acknowledged where it is missing.
    pub per_second: Option<std::num::NonZeroU32>,
}

/// How to end a device's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum KillMode {
    /// Close the socket in order, and say nothing of why.
    Close,
    /// Drop the socket without a word, as a network does that fails.
    Cut,
    /// Send `<stream:error code>` first.
    StreamError {
        /// The stream error's code, for example 503.
        code: u16,
    },
    /// Send `<stream:error><conflict type>` first.
    Conflict {
        /// `replaced` by another connection, or `device_removed`.
        #[serde(rename = "type")]
        kind: Conflict,
    },
    /// Send `<failure reason>` first, as after a refused login.
    Failure {
        /// The reason, for example 403.
        reason: u16,
    },
}

/// Why a connection must make way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conflict {
    /// Another connection of the same device logged in.
    Replaced,
    /// The device was unlinked.
    DeviceRemoved,
}

/// A page of a phone's inbox.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InboxPage {
    /// Entries after the asked cursor, oldest first.
    pub entries: Vec<InboxEntry>,
    /// Ask with this cursor for what follows.
    pub next: u64,
}

/// What an inbox entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InboxKind {
    /// A message, of others or of this account.
    Message,
    /// The server accepted a message of this phone.
    Ack,
    /// A message of this account got further.
    Receipt,
    /// The other party types, records, or stopped.
    Typing,
    /// The other party came online or went.
    Presence,
    /// The account's list of devices changed.
    Devices,
    /// A message arrived that could not be decrypted; the phone asked for it again.
    Undecryptable,
    /// Somebody reacted to a message, or took the reaction back.
    Reaction,
    /// The text of a message was replaced.
    Edit,
    /// A message was deleted for everyone.
    Revoke,
    /// Somebody voted in a poll.
    Vote,
    /// A vote came that the phone cannot read.
    VoteFailed,
    /// A message was pinned or unpinned.
    Pin,
    /// A companion starred a message of this account, or took the star back.
    Star,
}

/// One thing the phone shows, decrypted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Rising position of this entry.
    pub cursor: u64,
    /// What it is about.
    pub kind: InboxKind,
    /// The other party's digits, or a group id.
    pub chat: String,
    /// Who caused it: digits.
    pub from: String,
    /// Whether this account caused it.
    pub from_me: bool,
    /// The message it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The id of the message that changed the one it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<String>,
    /// The text or caption of a message; what it is after an edit; the emoji of a reaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The id of the quoted message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Who is mentioned: addresses as the message has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// What the message is besides its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Box<Content>>,
    /// What was chosen in a poll.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub votes: Vec<String>,
    /// The state of a typing or presence entry; whether a message was pinned or unpinned, starred or unstarred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How far a message of this account got.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptKind>,
    /// When it happened, seconds since the Unix epoch.
    pub timestamp: u64,
}
