//! Events about messages, and the message itself as WAHA writes it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::MessageId;
use crate::message::{Ack, Message, MessageMedia, Source};

/// A message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAMessage)]
pub struct MessagePayload {
    /// `{fromMe}_{chat}_{id}[_{participant}]`.
    pub id: String,
    /// When it was sent, in seconds since 1970.
    pub timestamp: i64,
    /// Who wrote it: the chat, the group, or ourselves.
    pub from: String,
    /// Whether this account wrote it.
    pub from_me: bool,
    /// Where it was written; `api` for messages sent through this API.
    pub source: Source,
    /// Whom it is for.
    pub to: String,
    /// Who wrote it, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// The text, or the caption.
    pub body: String,
    /// Whether it has a picture, sound, video or file.
    pub has_media: bool,
    /// The media; `null` where there is none.
    pub media: Option<MediaPayload>,
    /// Deprecated: `media.url`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_url: Option<String>,
    /// How far it has come: -1 ERROR, 0 PENDING, 1 SERVER, 2 DEVICE, 3 READ, 4 PLAYED.
    pub ack: i8,
    /// The name of `ack`.
    pub ack_name: String,
    /// Deprecated: `participant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// A place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<LocationPayload>,
    /// Contact cards.
    #[serde(rename = "vCards")]
    pub v_cards: Vec<String>,
    /// The engine's own data; its shape depends on the dialect.
    #[serde(rename = "_data")]
    #[schema(value_type = Object)]
    pub data: Value,
    /// The message that this one answers.
    pub reply_to: Option<ReplyToPayload>,
}

/// The media of a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WAMedia)]
pub struct MediaPayload {
    /// Where to get it; `null` where it was not downloaded.
    pub url: Option<String>,
    /// Its type.
    pub mimetype: Option<String>,
    /// Its name, for documents.
    pub filename: Option<String>,
    /// Where it lies in S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub s3: Option<S3Payload>,
    /// Why it could not be downloaded.
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
}

/// An object in S3.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "PascalCase")]
#[schema(as = S3MediaData)]
pub struct S3Payload {
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
}

/// A place.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = WALocation)]
pub struct LocationPayload {
    /// Degrees north.
    pub latitude: String,
    /// Degrees east.
    pub longitude: String,
    /// Whether it moves.
    pub live: bool,
    /// The name of the place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// A link to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What the sender said about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A picture of the map, base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail: Option<String>,
}

/// A quoted message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReplyToMessage)]
pub struct ReplyToPayload {
    /// WhatsApp's own id of the quoted message.
    pub id: String,
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// Its text or caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether it has media.
    pub has_media: bool,
    /// Its media.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub media: Option<MediaPayload>,
    /// The engine's own data.
    #[serde(rename = "_data", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// How far a message has come.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAMessageAckBody)]
pub struct MessageAckPayload {
    /// The message.
    pub id: String,
    /// Who wrote it.
    pub from: String,
    /// Whom it is for.
    pub to: String,
    /// Who acknowledged it, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// Whether this account wrote it.
    pub from_me: bool,
    /// -1 ERROR, 0 PENDING, 1 SERVER, 2 DEVICE, 3 READ, 4 PLAYED.
    pub ack: i8,
    /// The name of `ack`.
    pub ack_name: String,
    /// The engine's own data.
    #[serde(rename = "_data", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// A reaction to a message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAMessageReaction)]
pub struct MessageReactionPayload {
    /// The message that carried the reaction.
    pub id: String,
    /// When it was sent, in seconds since 1970.
    pub timestamp: i64,
    /// Who reacted: the chat, the group, or ourselves.
    pub from: String,
    /// Whether this account reacted.
    pub from_me: bool,
    /// Where it was written; `api` for what is sent through this API.
    pub source: Source,
    /// Whom it is for.
    pub to: String,
    /// Who reacted, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
    /// The reaction.
    pub reaction: ReactionPayload,
}

/// What somebody reacted with, and to which message.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAReaction)]
pub struct ReactionPayload {
    /// An emoji; empty where the reaction was taken back.
    pub text: String,
    /// The message.
    pub message_id: String,
}

/// A message that was deleted for everyone.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAMessageRevokedBody)]
pub struct MessageRevokedPayload {
    /// WhatsApp's own id of the message, without chat and participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_message_id: Option<String>,
    /// What stands in its place now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub after: Option<MessagePayload>,
    /// What it was, where it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub before: Option<MessagePayload>,
    /// The engine's own data.
    #[serde(rename = "_data", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Value>,
}

/// A message after an edit.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WAMessageEditedBody)]
pub struct MessageEditedPayload {
    /// The message that carried the edit, with the new text.
    #[serde(flatten)]
    pub message: MessagePayload,
    /// WhatsApp's own id of the message that was edited, without chat and participant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited_message_id: Option<String>,
}

/// Which message, and between whom.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageDestination)]
pub struct MessageDestinationPayload {
    /// The message.
    pub id: String,
    /// Whom it is for; `me` where that is this account.
    pub to: String,
    /// Who wrote it; `me` where that is this account.
    pub from: String,
    /// Whether this account wrote it.
    pub from_me: bool,
    /// Who wrote it, in a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<String>,
}

impl MessagePayload {
    /// A message, with `data` as the dialect renders it.
    pub fn new(message: &Message, data: Value) -> Self {
        let participant = message.participant.as_ref().map(ToString::to_string);
        Self {
            id: message.id.to_string(),
            timestamp: message.timestamp.as_second(),
            from: message.from.to_string(),
            from_me: message.id.from_me,
            source: message.source,
            to: message.to.to_string(),
            author: participant.clone(),
            participant,
            body: message.body.clone(),
            has_media: message.media.is_some(),
            media: message.media.as_ref().map(MediaPayload::unfetched),
            media_url: None,
            ack: message.ack.number(),
            ack_name: message.ack.name().to_owned(),
            location: message.location.as_ref().map(|location| LocationPayload {
                latitude: location.latitude.to_string(),
                longitude: location.longitude.to_string(),
                live: location.live,
                name: location.name.clone(),
                address: location.address.clone(),
                url: location.url.clone(),
                description: location.description.clone(),
                thumbnail: location.thumbnail.clone(),
            }),
            v_cards: message.vcards.clone(),
            data,
            reply_to: message.reply_to.as_ref().map(|reply| ReplyToPayload {
                id: reply.id.clone(),
                participant: reply.participant.as_ref().map(ToString::to_string),
                body: reply.body.clone(),
                has_media: reply.media.is_some(),
                media: reply.media.as_ref().map(MediaPayload::unfetched),
                data: None,
            }),
        }
    }
}

impl MediaPayload {
    /// Media of which there is no file here.
    pub fn unfetched(media: &MessageMedia) -> Self {
        Self {
            url: None,
            mimetype: media.mimetype.clone(),
            filename: media.filename.clone(),
            s3: None,
            error: None,
        }
    }
}

impl MessageAckPayload {
    /// How far a message has come.
    pub fn new(message: &Message, participant: Option<String>, ack: Ack) -> Self {
        Self {
            id: message.id.to_string(),
            from: message.from.to_string(),
            to: message.to.to_string(),
            participant,
            from_me: message.id.from_me,
            ack: ack.number(),
            ack_name: ack.name().to_owned(),
            data: None,
        }
    }
}

impl MessageReactionPayload {
    /// The reaction `text` to `target`, which `message` carried.
    pub fn new(message: &Message, target: &MessageId, text: &str) -> Self {
        Self {
            id: message.id.to_string(),
            timestamp: message.timestamp.as_second(),
            from: message.from.to_string(),
            from_me: message.id.from_me,
            source: message.source,
            to: message.to.to_string(),
            participant: message.participant.as_ref().map(ToString::to_string),
            reaction: ReactionPayload {
                text: text.to_owned(),
                message_id: target.to_string(),
            },
        }
    }
}

impl MessageDestinationPayload {
    /// Between whom a message is: in a group from its author to the group, else one of both is `me`.
    pub fn new(id: &MessageId) -> Self {
        let (me, chat) = ("me".to_owned(), id.chat.to_string());
        let (from, to) = match (&id.participant, id.from_me) {
            (Some(participant), _) => (participant.to_string(), chat),
            (None, true) => (me, chat),
            (None, false) => (chat, me),
        };
        Self {
            id: id.to_string(),
            to,
            from,
            from_me: id.from_me,
            participant: id.participant.as_ref().map(ToString::to_string),
        }
    }
}
