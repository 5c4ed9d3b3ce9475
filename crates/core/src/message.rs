//! A message as Wharf keeps it, whatever the engine and whatever the dialect of the answer.

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ChatId, MessageId};

/// How far a message of ours has come. Only ever rises, apart from [`Ack::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Ack {
    /// WhatsApp refused it.
    Error,
    /// It has not left yet.
    Pending,
    /// WhatsApp has it.
    Server,
    /// A device of the recipient has it.
    Device,
    /// The recipient has read it.
    Read,
    /// The recipient has played it (voice, video).
    Played,
}

impl Ack {
    /// WAHA's number for it.
    pub fn number(self) -> i8 {
        match self {
            Self::Error => -1,
            Self::Pending => 0,
            Self::Server => 1,
            Self::Device => 2,
            Self::Read => 3,
            Self::Played => 4,
        }
    }

    /// WAHA's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Pending => "PENDING",
            Self::Server => "SERVER",
            Self::Device => "DEVICE",
            Self::Read => "READ",
            Self::Played => "PLAYED",
        }
    }
}

/// Where one of our own messages was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = MessageSource)]
pub enum Source {
    /// Through this API.
    Api,
    /// On the phone, or on another linked device, or by somebody else.
    App,
}

/// What a message is, as far as events tell messages apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageKind {
    /// Something that a person sees in the chat: text, media, a location, a poll...
    Content,
    /// A change to another message that has an event of its own.
    Change(Change),
    /// Any other change, or something between devices.
    Control,
}

/// What a message does to another one of the same chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Somebody reacted to it.
    Reaction {
        /// Which message.
        target: MessageId,
        /// An emoji; empty where the reaction was taken back.
        text: String,
    },
    /// Its author gave it a new text or caption. The message that carries this is what it is now: body, media, location,
    /// mentions, and the encoded message with the file that stays.
    Edited {
        /// Which message.
        target: MessageId,
    },
    /// It was deleted for everyone.
    Revoked {
        /// Which message.
        target: MessageId,
    },
    /// Somebody voted in a poll.
    PollVote {
        /// The poll.
        poll: MessageId,
        /// The names of all options that are chosen now; `None` where the vote cannot be read.
        options: Option<Vec<String>>,
    },
}

impl Change {
    /// The message that is changed.
    pub fn target(&self) -> &MessageId {
        match self {
            Self::Reaction { target, .. } | Self::Edited { target } | Self::Revoked { target } => target,
            Self::PollVote { poll, .. } => poll,
        }
    }
}

/// One message in one chat.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Which message.
    pub id: MessageId,
    /// The same message in the words of the stanza that carried it. Unlike `id` it is the same on every redelivery, also
    /// when the phone number of a linked identity is learnt in between.
    pub stanza: String,
    /// When it was sent, by the sender's or WhatsApp's clock.
    pub timestamp: Timestamp,
    /// Who wrote it: the chat, or ourselves, or the group.
    pub from: ChatId,
    /// Whom it is for.
    pub to: ChatId,
    /// Who wrote it, where `from` is a group.
    pub participant: Option<ChatId>,
    /// The same person in the other address space, where WhatsApp said so.
    pub sender_alt: Option<ChatId>,
    /// The name that the sender shows to others.
    pub push_name: Option<String>,
    /// Where it was written.
    pub source: Source,
    /// What kind of message it is.
    pub kind: MessageKind,
    /// The text, or the caption.
    pub body: String,
    /// The picture, sound, video or file, as far as the message itself tells.
    pub media: Option<MessageMedia>,
    /// The message that this one answers.
    pub reply_to: Option<ReplyTo>,
    /// Who is mentioned.
    pub mentions: Vec<ChatId>,
    /// A place.
    pub location: Option<Location>,
    /// Contact cards.
    pub vcards: Vec<String>,
    /// How far it has come.
    pub ack: Ack,
    /// The message in WhatsApp's own encoding (`waproto` `Message`), for quoting, forwarding and media.
    #[serde(skip)]
    pub proto: Bytes,
}

/// The media of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageMedia {
    /// As the sender said.
    pub mimetype: Option<String>,
    /// As the sender said; documents only.
    pub filename: Option<String>,
    /// In bytes, as the sender said.
    #[serde(default)]
    pub size: Option<u64>,
}

/// A quoted message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// WhatsApp's own id of the quoted message.
    pub id: String,
    /// Who wrote it.
    pub participant: Option<ChatId>,
    /// Its text or caption.
    pub body: Option<String>,
    /// Its picture, sound, video or file.
    #[serde(default)]
    pub media: Option<MessageMedia>,
}

/// A place on the map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Location {
    /// Degrees north, as the sender said: any number, or none.
    #[serde(with = "any_float")]
    pub latitude: f64,
    /// Degrees east, likewise.
    #[serde(with = "any_float")]
    pub longitude: f64,
    /// Whether it moves.
    pub live: bool,
    /// The name of the place.
    pub name: Option<String>,
    /// Its address.
    pub address: Option<String>,
    /// A link to it.
    pub url: Option<String>,
    /// What the sender said about it.
    pub description: Option<String>,
    /// A picture of the map: a JPEG in base64.
    #[serde(default)]
    pub thumbnail: Option<String>,
}

/// Numbers as text, because JSON has neither `NaN` nor infinities.
mod any_float {
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
