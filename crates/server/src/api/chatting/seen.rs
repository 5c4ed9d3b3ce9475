//! What others are shown of us: that messages were read, that we type.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Typing;
use wharf_core::ids::{ChatId, MessageId, MessageRef};

use crate::api::AppState;
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{Body, Working};
use crate::api::target::{self, chat_id};
use crate::sessions::Connection;
use crate::validate::Fields;

/// The most ids of one "seen".
const SEEN_IDS_MAX: usize = 1_000;
/// How old an unread message may be that is read without being named, as in WAHA.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_hours(7 * 24);
/// The most messages that are read without being named, in a chat with one person and in others, as in WAHA.
const SEEN_DIRECT_MAX: usize = 30;
const SEEN_GROUP_MAX: usize = 100;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_seen))
        .routes(routes!(start_typing))
        .routes(routes!(stop_typing))
}

/// Messages that were read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendSeenRequest)]
struct SendSeenRequest {
    /// Where.
    chat_id: String,
    /// Deprecated: `messageIds`.
    #[schema(deprecated)]
    message_id: Option<String>,
    /// Which messages. Where none are named, the unread ones of the last seven days, at most 30 in a chat with one person and 100
    /// in others.
    message_ids: Option<Vec<String>>,
    /// Who wrote them, in a group, where the ids do not tell and the messages are not known here.
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

/// Tell the senders that their messages were read.
#[utoipa::path(
    post, path = "/api/sendSeen", tag = "📤 Chatting", request_body = SendSeenRequest,
    responses((status = 201, description = "They were told", body = SeenAnswer)),
    security(("api_key" = ["send"]))
)]
async fn send_seen(
    State(state): State<AppState>,
    Working { connection, body }: Working<SendSeenRequest>,
) -> ApiResult<(StatusCode, Json<SeenAnswer>)> {
    let chat = chat_id("chatId", &body.chat_id)?;
    let participant = body.participant.as_deref().map(|text| chat_id("participant", text));
    let participant = participant.transpose()?;
    let named = body.message_ids.iter().flatten().map(|id| ("messageIds", id));
    let named = named.chain(body.message_id.iter().map(|id| ("messageId", id)));
    let ids = named.map(|(field, id)| of_others(field, id, &chat, participant.as_ref()));
    let ids = ids.collect::<ApiResult<Vec<_>>>()?;
    if ids.is_empty() {
        let limit = match chat.is_person() {
            true => SEEN_DIRECT_MAX,
            false => SEEN_GROUP_MAX,
        };
        connection
            .read_all(chat, state.clock.now() - SEEN_WITHIN, limit)
            .await?;
    } else {
        connection.read_these(chat, ids).await?;
    }
    Ok((StatusCode::CREATED, Json(SeenAnswer {})))
}

/// A message that somebody else wrote in the chat.
fn of_others(field: &str, text: &str, chat: &ChatId, participant: Option<&ChatId>) -> ApiResult<MessageId> {
    let (id, author) = match target::message_ref(field, text)? {
        MessageRef::Full(id) if id.from_me => {
            let problem = format!("{field}: {text} is a message of this account");
            return Err(ApiError::Invalid(vec![problem]));
        }
        MessageRef::Full(id) => (id.id, id.participant),
        MessageRef::Bare(id) => (id, None),
    };
    Ok(MessageId {
        from_me: false,
        chat: chat.clone(),
        id,
        participant: author.or_else(|| participant.cloned()),
    })
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
