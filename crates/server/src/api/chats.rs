//! Chats: editing, deleting and pinning a message.
//!
//! What WhatsApp would refuse, or its clients ignore, is refused here before anything is sent.

use std::time::Duration;

use axum::extract::State;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Content;
use wharf_core::events::MessagePayload;
use wharf_core::ids::ChatKind;
use wharf_core::message::Message;

use super::AppState;
use super::chatting::TEXT_CHARS_MAX;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Id};
use super::sending::{NewMessage, PreviewWanted, Sender, Sending, Sent, Success};
use super::target::{self, Mentioned, chat_id};
use crate::validate::Fields;

/// How long a message can be edited after it was sent; WhatsApp's clients drop what comes later.
const EDIT_WITHIN: SignedDuration = SignedDuration::from_mins(15);
/// How long a message can be deleted for everyone, likewise: two days and twelve hours.
const REVOKE_WITHIN: SignedDuration = SignedDuration::from_hours(60);
/// For how many seconds a message can be pinned: one, seven or thirty days.
const PIN_SECONDS: &[u64] = &[86_400, 604_800, 2_592_000];

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(edit_message, delete_message))
        .routes(routes!(pin_message))
        .routes(routes!(unpin_message))
}

/// The message that a path names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessagePath {
    chat_id: String,
    message_id: String,
}

/// A new text for a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct EditMessageRequest {
    /// The new text, or the new caption.
    #[schema(default = "Hello, world!")]
    text: String,
    /// Who is mentioned, `["all"]` for everybody in a group; the text has `@` and the number of each.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    mentions: Mentioned,
    /// Whether the first link of the text gets a preview.
    #[schema(default = true)]
    link_preview: Option<bool>,
    /// Whether the preview has a large picture.
    #[schema(default = false)]
    link_preview_high_quality: Option<bool>,
}

/// For how long a message is pinned.
#[derive(Debug, Deserialize, ToSchema)]
struct PinMessageRequest {
    /// In seconds: 86400, 604800 or 2592000, which are one, seven or thirty days.
    #[schema(example = 86400)]
    duration: u64,
}

/// No body, or one that means nothing.
#[derive(Debug, Deserialize)]
struct NoBody {}

impl Body for EditMessageRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_text("text", TEXT_CHARS_MAX);
        Mentioned::check(fields);
        fields.boolean("linkPreview");
        fields.boolean("linkPreviewHighQuality");
    }
}

impl Body for PinMessageRequest {
    fn check(fields: &mut Fields<'_>) {
        let duration = fields.get("duration").and_then(serde_json::Value::as_u64);
        if !duration.is_some_and(|seconds| PIN_SECONDS.contains(&seconds)) {
            let allowed: Vec<_> = PIN_SECONDS.iter().map(u64::to_string).collect();
            let problem = format!("must be one of the following values: {}", allowed.join(", "));
            fields.fail("duration", &problem);
        }
    }
}

impl Body for NoBody {
    fn check(_: &mut Fields<'_>) {}
}

impl MessagePath {
    /// The message as it is kept.
    async fn message(&self, sender: &Sender) -> ApiResult<Message> {
        let chat = chat_id("chatId", &self.chat_id)?;
        target::message(&sender.connection, "messageId", &self.message_id, Some(&chat)).await
    }
}

/// Edit a text, or the caption of a picture, a video or a file.
///
/// Only what this account has sent, and only for 15 minutes.
#[utoipa::path(
    put, path = "/api/{session}/chats/{chatId}/messages/{messageId}", tag = "💬 Chats", request_body = EditMessageRequest,
    params(
        ("session" = String, Path, description = "The session's name"),
        ("chatId" = String, Path, description = "The chat"),
        ("messageId" = String, Path, description = "The message, by its full id or by WhatsApp's own"),
    ),
    responses((status = 200, description = "The edit as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn edit_message(
    State(state): State<AppState>,
    Id(path): Id<MessagePath>,
    Sending { sender, body }: Sending<EditMessageRequest>,
) -> ApiResult<Sent> {
    let message = path.message(&sender).await?;
    check_editable(&message, state.clock.now())?;
    let mentions = body.mentions.mentions()?;
    let wanted = PreviewWanted::new(body.link_preview, body.link_preview_high_quality);
    let (preview, guard) = wanted.make(&state, &sender, &body.text).await;
    let content = Content::Edit {
        target: message.id.clone(),
        proto: message.proto,
        text: body.text,
        preview,
    };
    let edit = NewMessage {
        mentions,
        ..NewMessage::new(message.id.chat, content)
    };
    sender.send_with(edit, guard).await
}

/// Delete a message for everyone.
///
/// What this account has sent, and as an administrator of a group what others have sent in it; for two days and twelve hours.
#[utoipa::path(
    delete, path = "/api/{session}/chats/{chatId}/messages/{messageId}", tag = "💬 Chats",
    params(
        ("session" = String, Path, description = "The session's name"),
        ("chatId" = String, Path, description = "The chat"),
        ("messageId" = String, Path, description = "The message, by its full id or by WhatsApp's own"),
    ),
    responses((status = 200, description = "The deletion as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn delete_message(
    State(state): State<AppState>,
    Id(path): Id<MessagePath>,
    Sending { sender, .. }: Sending<NoBody>,
) -> ApiResult<Sent> {
    let message = path.message(&sender).await?;
    check_revocable(&message, state.clock.now())?;
    let content = Content::Revoke {
        target: message.id.clone(),
    };
    sender.send(NewMessage::new(message.id.chat, content)).await
}

/// Pin a message for everyone in the chat.
#[utoipa::path(
    post, path = "/api/{session}/chats/{chatId}/messages/{messageId}/pin", tag = "💬 Chats", request_body = PinMessageRequest,
    params(
        ("session" = String, Path, description = "The session's name"),
        ("chatId" = String, Path, description = "The chat"),
        ("messageId" = String, Path, description = "The message, by its full id or by WhatsApp's own"),
    ),
    responses((status = 201, description = "It is pinned", body = Success)),
    security(("api_key" = ["send"]))
)]
async fn pin_message(
    Id(path): Id<MessagePath>,
    Sending { sender, body }: Sending<PinMessageRequest>,
) -> ApiResult<Sent> {
    pin(sender, &path, Some(Duration::from_secs(body.duration))).await
}

/// Unpin a message for everyone in the chat.
#[utoipa::path(
    post, path = "/api/{session}/chats/{chatId}/messages/{messageId}/unpin", tag = "💬 Chats",
    params(
        ("session" = String, Path, description = "The session's name"),
        ("chatId" = String, Path, description = "The chat"),
        ("messageId" = String, Path, description = "The message, by its full id or by WhatsApp's own"),
    ),
    responses((status = 201, description = "It is not pinned any more", body = Success)),
    security(("api_key" = ["send"]))
)]
async fn unpin_message(Id(path): Id<MessagePath>, Sending { sender, .. }: Sending<NoBody>) -> ApiResult<Sent> {
    pin(sender, &path, None).await
}

async fn pin(sender: Sender, path: &MessagePath, pinned_for: Option<Duration>) -> ApiResult<Sent> {
    let message = path.message(&sender).await?;
    let content = Content::Pin {
        target: message.id.clone(),
        pinned_for,
    };
    sender.succeed(NewMessage::new(message.id.chat, content)).await
}

fn check_editable(message: &Message, now: Timestamp) -> ApiResult<()> {
    let kind = message.media.as_ref().and_then(|media| media.mimetype.as_deref());
    let has_no_text = message.location.is_some() || !message.vcards.is_empty();
    let problem = if !message.id.from_me {
        "was not sent by this account, only its own messages can be edited"
    } else if has_no_text || kind.is_some_and(|kind| kind.starts_with("audio/")) {
        "has no text and no caption that could be edited"
    } else if now.duration_since(message.timestamp) > EDIT_WITHIN {
        "is older than 15 minutes, it cannot be edited any more"
    } else {
        return Ok(());
    };
    Err(refused(message, problem))
}

fn check_revocable(message: &Message, now: Timestamp) -> ApiResult<()> {
    let problem = if !message.id.from_me && message.id.chat.kind() != ChatKind::Group {
        "was not sent by this account, only its own messages can be deleted for everyone in this chat"
    } else if now.duration_since(message.timestamp) > REVOKE_WITHIN {
        "is older than two days and twelve hours, it cannot be deleted for everyone any more"
    } else {
        return Ok(());
    };
    Err(refused(message, problem))
}

fn refused(message: &Message, problem: &str) -> ApiError {
    ApiError::Refused(format!("messageId: {} {problem}", message.id))
}
