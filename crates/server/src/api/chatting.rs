//! Chatting: send a text, tell that messages were read, show that we type.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{Content, Mentions, Quote, SendRequest, Typing};
use wharf_core::events::MessagePayload;
use wharf_core::ids::{ChatId, MessageId, MessageRef};
use wharf_core::session::SessionStatus;

use super::AppState;
use super::error::{ApiError, ApiResult};
use super::extract::{Body, Linkable, Working};
use super::sending::{Sending, Sent};
use crate::sessions::Connection;
use crate::validate::Fields;

/// The most bytes of a text; WhatsApp's own limit is 65,536 characters.
const TEXT_BYTES_MAX: usize = 4 * 65_536;
/// The most people that one message mentions; WhatsApp's largest groups have as many.
const MENTIONS_MAX: usize = 1_024;
/// The most ids of one "seen".
const SEEN_IDS_MAX: usize = 1_000;

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_text))
        .routes(routes!(new_message_id))
        .routes(routes!(send_seen))
        .routes(routes!(start_typing))
        .routes(routes!(stop_typing))
}

/// A text to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageTextRequest)]
struct SendTextRequest {
    /// Where to: a phone number, or an id of a chat.
    chat_id: String,
    /// The id that the message will have, from `new-message-id`; of use once in a chat.
    #[expect(dead_code, reason = "read by the extractor")]
    id: Option<String>,
    /// The message that this one answers, by its full id or by WhatsApp's own.
    #[serde(rename = "reply_to")]
    reply_to: Option<String>,
    /// The text.
    #[schema(default = "Hi there!")]
    text: String,
    /// Who is mentioned; the text has `@` and the number of each.
    #[serde(default)]
    mentions: Option<Vec<String>>,
    /// Whether links get a preview. Without effect yet: there is none.
    #[expect(dead_code, reason = "accepted for WAHA's clients, without effect yet")]
    #[schema(default = true)]
    link_preview: Option<bool>,
    /// Whether the preview is of high quality. Without effect yet: there is none.
    #[expect(dead_code, reason = "accepted for WAHA's clients, without effect yet")]
    #[schema(default = false)]
    link_preview_high_quality: Option<bool>,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// Messages that were read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendSeenRequest)]
struct SendSeenRequest {
    /// Where.
    chat_id: String,
    /// Deprecated: `messageIds`.
    message_id: Option<String>,
    /// Which messages; all unread ones of the chat where none are named.
    message_ids: Option<Vec<String>>,
    /// Who wrote them, in a group, where the messages are not known here.
    participant: Option<String>,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// A chat.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ChatRequest {
    /// Which.
    chat_id: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// Nothing to tell.
#[derive(Debug, Serialize, ToSchema)]
struct SeenAnswer {}

/// An id for a message.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewMessageIDResponse)]
struct NewMessageId {
    /// What to send as `id`.
    id: String,
}

impl Body for SendTextRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.required_string("text");
        fields.string("id");
        fields.string("reply_to");
        fields.strings("mentions", MENTIONS_MAX);
        fields.boolean("linkPreview");
        fields.boolean("linkPreviewHighQuality");
        let length = fields.get("text").and_then(|text| text.as_str()).map_or(0, str::len);
        if length > TEXT_BYTES_MAX {
            fields.fail("text", &format!("must not be longer than {TEXT_BYTES_MAX} bytes"));
        }
    }
}

impl Body for SendSeenRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.string("messageId");
        fields.strings("messageIds", SEEN_IDS_MAX);
        fields.string("participant");
    }
}

impl Body for ChatRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
    }
}

/// Send a text message.
#[utoipa::path(
    post, path = "/api/sendText", tag = "📤 Chatting", request_body = SendTextRequest,
    responses((status = 201, description = "The message as it was sent; `message.ack` tells what becomes of it", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_text(sending: Sending<SendTextRequest>) -> ApiResult<Sent> {
    let Sending {
        connection,
        draft,
        body,
    } = sending;
    let chat = chat_id("chatId", &body.chat_id)?;
    let mentions = body
        .mentions
        .iter()
        .flatten()
        .map(|mention| chat_id("mentions", mention));
    let mentions = mentions.collect::<ApiResult<Vec<_>>>()?;
    let quote = match &body.reply_to {
        Some(reply_to) => Some(quote(&connection, &chat, reply_to).await?),
        None => None,
    };
    let request = SendRequest {
        id: draft.id().to_owned(),
        chat,
        content: Content::Text {
            text: body.text,
            preview: None,
        },
        quote,
        mentions: Mentions {
            people: mentions,
            everyone: false,
        },
    };
    Ok(connection.send_message(draft, request).await?.into())
}

/// Make an id for a message that is to be sent.
#[utoipa::path(
    get, path = "/api/{session}/new-message-id", tag = "📤 Chatting",
    params(("session" = String, Path, description = "The session's name")),
    responses((status = 200, description = "An id that no message has", body = NewMessageId)),
    security(("api_key" = ["send"]))
)]
async fn new_message_id(State(state): State<AppState>, session: Linkable) -> ApiResult<Json<NewMessageId>> {
    let view = session.in_status(SessionStatus::Working, &state).await?;
    match &view.connection {
        Some(connection) => Ok(Json(NewMessageId {
            id: connection.engine().new_message_id(),
        })),
        None => Err(session.wrong_status(&view, SessionStatus::Working, &state)),
    }
}

/// Tell the senders that their messages were read.
#[utoipa::path(
    post, path = "/api/sendSeen", tag = "📤 Chatting", request_body = SendSeenRequest,
    responses((status = 201, description = "They were told", body = SeenAnswer)),
    security(("api_key" = ["send"]))
)]
async fn send_seen(
    Working { connection, body }: Working<SendSeenRequest>,
) -> ApiResult<(StatusCode, Json<SeenAnswer>)> {
    let chat = chat_id("chatId", &body.chat_id)?;
    let participant = body.participant.as_deref().map(|text| chat_id("participant", text));
    let ids = body.message_ids.iter().flatten().chain(&body.message_id);
    let ids = ids.map(|id| Ok(message_ref("messageIds", id)?.id().to_owned()));
    let ids = ids.collect::<ApiResult<Vec<_>>>()?;
    connection.send_seen(chat, participant.transpose()?, ids).await?;
    Ok((StatusCode::CREATED, Json(SeenAnswer {})))
}

/// Show in a chat that we type.
#[utoipa::path(
    post, path = "/api/startTyping", tag = "📤 Chatting", request_body = ChatRequest,
    responses((status = 201, description = "It is shown, for about 25 seconds or until a message is sent")),
    security(("api_key" = ["send"]))
)]
async fn start_typing(Working { connection, body }: Working<ChatRequest>) -> ApiResult<StatusCode> {
    set_typing(&connection, &body, Typing::Composing).await
}

/// Show in a chat that we do not type any more.
#[utoipa::path(
    post, path = "/api/stopTyping", tag = "📤 Chatting", request_body = ChatRequest,
    responses((status = 201, description = "It is not shown any more")),
    security(("api_key" = ["send"]))
)]
async fn stop_typing(Working { connection, body }: Working<ChatRequest>) -> ApiResult<StatusCode> {
    set_typing(&connection, &body, Typing::Paused).await
}

async fn set_typing(connection: &Connection, body: &ChatRequest, typing: Typing) -> ApiResult<StatusCode> {
    let chat = chat_id("chatId", &body.chat_id)?;
    connection.set_typing(chat, typing).await?;
    Ok(StatusCode::CREATED)
}

fn chat_id(field: &str, text: &str) -> ApiResult<ChatId> {
    text.parse()
        .map_err(|error| ApiError::Invalid(vec![format!("{field}: {error}")]))
}

fn message_ref(field: &str, text: &str) -> ApiResult<MessageRef> {
    text.parse()
        .map_err(|error| ApiError::Invalid(vec![format!("{field}: {error}")]))
}

/// The message to be quoted. One that is not kept can still be quoted, without its text, if its author is known.
async fn quote(connection: &Connection, chat: &ChatId, reply_to: &str) -> ApiResult<Quote> {
    let reference = message_ref("reply_to", reply_to)?;
    let kept = match &reference {
        MessageRef::Full(id) => match connection.message(id).await? {
            Some(message) => Some(message),
            // The chat may be known under its other address, by phone number or linked identity.
            None => connection.message_in_chat(chat, &id.id).await?,
        },
        MessageRef::Bare(id) => connection.message_in_chat(chat, id).await?,
    };
    if let Some(message) = kept {
        return Ok(Quote {
            id: message.id,
            proto: message.proto,
        });
    }
    let id = match reference {
        MessageRef::Full(id) => id,
        MessageRef::Bare(id) if chat.is_person() => MessageId {
            from_me: false,
            chat: chat.clone(),
            id,
            participant: None,
        },
        MessageRef::Bare(id) => {
            let message = format!("message {id} is not known here; name it in full: false_<chat>_<id>_<participant>");
            return Err(ApiError::NotFound(message));
        }
    };
    Ok(Quote {
        id,
        proto: bytes::Bytes::new(),
    })
}
