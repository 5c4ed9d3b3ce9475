//! What a person tells a phone to send or to change, and a message as the phone shows it now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ReceiptKind;
use super::content::{Contact, Content, Location, MediaKind};

/// A message to send.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// What it is.
    pub content: NewContent,
    /// The id of the message that it quotes.
    pub reply_to: Option<String>,
    /// Whom it mentions: digits.
    pub mentions: Vec<String>,
    /// Whether it is marked as forwarded.
    pub forwarded: bool,
}

/// What a new message is.
#[derive(Debug, Clone, PartialEq)]
pub enum NewContent {
    /// A text, with the preview of a link in it.
    Text(String, Option<NewLinkPreview>),
    /// A file.
    Media(NewMedia),
    /// A place.
    Location(Location),
    /// One card or more.
    Contacts(Vec<Contact>),
    /// A poll.
    Poll(NewPoll),
    /// The row of the quoted list, by its id.
    ListReply(String),
    /// The button of the quoted message, by its id.
    ButtonReply(String),
}

/// A file to send. What is not given is left out, or is what such files usually have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewMedia {
    /// What kind of message it becomes.
    pub kind: MediaKind,
    /// The file's type.
    pub mimetype: Option<String>,
    /// The file's name; for documents.
    pub filename: Option<String>,
    /// The bytes, base64 in JSON.
    #[serde(with = "base64_bytes")]
    pub data: Vec<u8>,
    /// The text below it; for images, videos and documents.
    pub caption: Option<String>,
    /// How long it plays.
    pub seconds: Option<u32>,
    /// The loudness of a voice message over its time, each 0 to 100.
    pub waveform: Option<Vec<u8>>,
    /// Width, in pixels.
    pub width: Option<u32>,
    /// Height, in pixels.
    pub height: Option<u32>,
    /// Pages of a document.
    pub pages: Option<u32>,
    /// A small JPEG, base64 in JSON.
    #[serde(default, with = "base64_bytes_optional")]
    pub thumbnail: Option<Vec<u8>>,
    /// Whether it can be opened only once.
    #[serde(default)]
    pub view_once: bool,
}

impl NewMedia {
    /// A file without anything that need not be there.
    pub fn new(kind: MediaKind, data: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            mimetype: None,
            filename: None,
            data: data.into(),
            caption: None,
            seconds: None,
            waveform: None,
            width: None,
            height: None,
            pages: None,
            thumbnail: None,
            view_once: false,
        }
    }
}

/// The preview of a link in a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLinkPreview {
    /// The link, as it is in the text.
    pub url: String,
    /// The title of the page.
    pub title: Option<String>,
    /// What the page is about.
    pub description: Option<String>,
    /// A small JPEG, base64 in JSON.
    #[serde(default, with = "base64_bytes_optional")]
    pub thumbnail: Option<Vec<u8>>,
}

/// A poll to send.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPoll {
    /// The question.
    pub name: String,
    /// What can be chosen.
    pub options: Vec<String>,
    /// Whether one person can choose several.
    #[serde(default)]
    pub multiple: bool,
}

impl From<NewContent> for NewMessage {
    fn from(content: NewContent) -> Self {
        Self {
            content,
            reply_to: None,
            mentions: Vec::new(),
            forwarded: false,
        }
    }
}

impl From<NewMedia> for NewMessage {
    fn from(media: NewMedia) -> Self {
        NewContent::Media(media).into()
    }
}

/// What a person does with a message that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// React with an emoji; an empty one takes the reaction back.
    React(String),
    /// Replace the text or the caption of an own message.
    Edit(String),
    /// The same, encrypted once more with the secret of the message, as newer clients do.
    EncryptedEdit(String),
    /// Delete an own message for everyone.
    Revoke,
    /// Vote in a poll, for all of these options and no other; for none takes the vote back.
    Vote(Vec<String>),
    /// Pin it for so many seconds.
    Pin(u32),
    /// Unpin it.
    Unpin,
}

/// A message as the phone shows it now.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// The other party's digits, or a group id.
    pub chat: String,
    /// Who wrote it: digits.
    pub from: String,
    /// Whether this account wrote it.
    pub from_me: bool,
    /// When it was sent, seconds since the Unix epoch.
    pub timestamp: u64,
    /// Its text or caption, after edits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it is besides the text.
    #[serde(skip_serializing_if = "Content::is_plain")]
    pub content: Content,
    /// How far an own message got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptKind>,
    /// The reactions to it: digits and emoji.
    pub reactions: BTreeMap<String, String>,
    /// Whether its text was changed.
    pub edited: bool,
    /// Whether it was deleted for everyone.
    pub revoked: bool,
    /// Whether it is pinned.
    pub pinned: bool,
    /// How long it was pinned for, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_for: Option<u32>,
    /// Whether this account has starred it.
    pub starred: bool,
}

/// Bytes that are base64 in JSON.
mod base64_bytes {
    use serde::{Deserialize as _, Deserializer};

    use crate::keys::Blob;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        Blob::deserialize(deserializer).map(|blob| blob.0)
    }
}

/// Bytes that are base64 in JSON, or not there.
mod base64_bytes_optional {
    use serde::{Deserialize as _, Deserializer};

    use crate::keys::Blob;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Blob>::deserialize(deserializer)?.map(|blob| blob.0))
    }
}
