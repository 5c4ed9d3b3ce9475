//! What can be sent: kinds of messages, and changes to messages that are there already.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::MessageId;

/// What a message says or does.
#[derive(Debug, Clone)]
pub enum Content {
    /// A text.
    Text {
        /// It.
        text: String,
        /// What is shown of a link in it.
        preview: Option<LinkPreview>,
    },
    /// A picture, a sound, a video or a file.
    Media(OutgoingMedia),
    /// A place.
    Location {
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// The name of the place.
        title: Option<String>,
    },
    /// Contact cards.
    Contacts(Vec<ContactCard>),
    /// A poll.
    Poll {
        /// What is asked.
        name: String,
        /// What can be chosen.
        options: Vec<String>,
        /// Whether several options can be chosen.
        multiple: bool,
    },
    /// A list to choose from; direct chats only.
    List(List),
    /// A text with buttons.
    Buttons(Buttons),
    /// The answer to buttons, as if one had been pressed.
    ButtonReply {
        /// The button's id.
        button: String,
        /// What stands on it.
        text: String,
    },
    /// Another message again, with its media, marked as forwarded.
    Forward {
        /// It, in WhatsApp's own encoding.
        proto: Bytes,
    },
    /// A reaction to a message.
    Reaction {
        /// Which message.
        target: MessageId,
        /// An emoji; empty takes the reaction back.
        text: String,
    },
    /// A new text, or a new caption, for a message of ours.
    Edit {
        /// Which message.
        target: MessageId,
        /// It in WhatsApp's own encoding: its media stay with the new caption.
        proto: Bytes,
        /// The new text.
        text: String,
        /// What is shown of a link in it.
        preview: Option<LinkPreview>,
    },
    /// Deletes a message for everyone: one of ours, or as an administrator one of somebody else's.
    Revoke {
        /// Which message.
        target: MessageId,
    },
    /// A vote in a poll; it replaces the one before.
    PollVote {
        /// The poll.
        poll: MessageId,
        /// It in WhatsApp's own encoding, with its secret.
        proto: Bytes,
        /// The names of all chosen options.
        options: Vec<String>,
    },
    /// Pins a message for everyone in the chat, or unpins it.
    Pin {
        /// Which message.
        target: MessageId,
        /// For how long; `None` unpins it. WhatsApp knows 1, 7 and 30 days.
        pinned_for: Option<Duration>,
    },
}

/// A file that is sent.
#[derive(Debug, Clone)]
pub struct OutgoingMedia {
    /// What WhatsApp shows it as.
    pub kind: MediaKind,
    /// The file; it stays there until the send is over.
    pub path: PathBuf,
    /// Its type.
    pub mimetype: String,
    /// Its name, for documents.
    pub filename: Option<String>,
    /// What is said about it.
    pub caption: Option<String>,
    /// What is shown before it is downloaded.
    pub facts: MediaFacts,
}

/// What WhatsApp shows a file as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A round video message.
    VideoNote,
    /// A piece of sound.
    Audio,
    /// A voice message.
    Voice,
    /// A file.
    Document,
    /// A sticker.
    Sticker,
}

/// What is shown of a file before it is downloaded, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaFacts {
    /// A small picture of it, JPEG.
    pub thumbnail: Option<Bytes>,
    /// In pixels.
    pub width: Option<u32>,
    /// In pixels.
    pub height: Option<u32>,
    /// How long it plays.
    pub seconds: Option<u32>,
    /// How loud a voice message is over its length: 64 values from 0 to 100.
    pub waveform: Option<Bytes>,
    /// The pages of a document.
    pub pages: Option<u32>,
}

/// What is shown of a link.
#[derive(Debug, Clone)]
pub struct LinkPreview {
    /// The link as it stands in the text.
    pub url: String,
    /// The page's title.
    pub title: String,
    /// What the page says of itself.
    pub description: Option<String>,
    /// A small picture, JPEG.
    pub thumbnail: Option<Bytes>,
    /// A large one, which is uploaded.
    pub picture: Option<PreviewPicture>,
}

/// The large picture of a link preview.
#[derive(Debug, Clone)]
pub struct PreviewPicture {
    /// A JPEG file; it stays there until the send is over.
    pub path: PathBuf,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A contact card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactCard {
    /// The name that the chat shows.
    pub name: String,
    /// The card itself, vCard 3.0.
    pub vcard: String,
}

/// A list to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its title.
    pub title: String,
    /// What it is about.
    pub description: Option<String>,
    /// The small print.
    pub footer: Option<String>,
    /// What stands on the button that opens it.
    pub button: String,
    /// Its parts.
    pub sections: Vec<ListSection>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSection {
    /// Its title.
    pub title: String,
    /// What can be chosen in it.
    pub rows: Vec<ListRow>,
}

/// Something to choose from a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRow {
    /// What the answer names it by.
    pub id: String,
    /// Its title.
    pub title: String,
    /// More about it.
    pub description: Option<String>,
}

/// A text with buttons.
#[derive(Debug, Clone)]
pub struct Buttons {
    /// Its heading.
    pub header: Option<String>,
    /// A picture above it.
    pub picture: Option<OutgoingMedia>,
    /// The text.
    pub body: String,
    /// The small print.
    pub footer: Option<String>,
    /// What can be pressed.
    pub buttons: Vec<Button>,
}

/// A button.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Button {
    /// What stands on it.
    pub text: String,
    /// What it does.
    pub action: ButtonAction,
}

/// What a button does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ButtonAction {
    /// Answers with its id.
    Reply {
        /// The id.
        id: String,
    },
    /// Opens a page.
    Url(String),
    /// Calls a number.
    Call(String),
    /// Copies a code.
    Copy(String),
}
