//! What is done with messages that are there: forwarding, reactions, stars.

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Content;
use wharf_core::events::MessagePayload;

use crate::api::AppState;
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{Body, Working};
use crate::api::sending::{NewMessage, Sending, Sent};
use crate::api::target;
use crate::validate::Fields;

/// The most characters of a reaction. It is one emoji, which may consist of many.
const REACTION_CHARS_MAX: usize = 32;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(forward_message))
        .routes(routes!(set_reaction))
        .routes(routes!(set_star))
}

/// A message to be forwarded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageForwardRequest)]
struct ForwardMessageRequest {
    /// Where to.
    chat_id: String,
    /// The id that the new message will have, from `new-message-id`; of use once in a chat.
    #[expect(dead_code, reason = "read by the extractor")]
    id: Option<String>,
    /// Which message, by its full id or by WhatsApp's own.
    #[schema(example = "false_11111111111@c.us_AAAAAAAAAAAAAAAAAAAA")]
    message_id: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// A reaction to a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageReactionRequest)]
struct SetReactionRequest {
    /// Which message, by its full id or by WhatsApp's own.
    #[schema(example = "false_11111111111@c.us_AAAAAAAAAAAAAAAAAAAA")]
    message_id: String,
    /// An emoji; empty to take the reaction back.
    #[schema(example = "👍")]
    reaction: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// A star on a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageStarRequest)]
struct SetStarRequest {
    /// Which message, by its full id or by WhatsApp's own.
    #[schema(example = "false_11111111111@c.us_AAAAAAAAAAAAAAAAAAAA")]
    message_id: String,
    /// Its chat, which a full id names too.
    chat_id: Option<String>,
    /// Whether it has a star.
    star: bool,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

impl Body for ForwardMessageRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.required_string("messageId");
        fields.string("id");
    }
}

impl Body for SetReactionRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("messageId");
        match fields.get("reaction") {
            None => fields.fail("reaction", "must be a string"),
            Some(_) => fields.text("reaction", REACTION_CHARS_MAX),
        }
    }
}

impl Body for SetStarRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("messageId");
        fields.string("chatId");
        match fields.get("star") {
            None => fields.fail("star", "must be a boolean value"),
            Some(_) => fields.boolean("star"),
        }
    }
}

/// Forward a message.
///
/// Its media goes along without being uploaded again.
#[utoipa::path(
    post, path = "/api/forwardMessage", tag = "📤 Chatting", request_body = ForwardMessageRequest,
    responses((status = 201, description = "The new message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn forward_message(Sending { sender, body }: Sending<ForwardMessageRequest>) -> ApiResult<Sent> {
    let chat = target::chat_id("chatId", &body.chat_id)?;
    let original = target::message(&sender.connection, "messageId", &body.message_id, None).await?;
    if original.proto.is_empty() {
        let problem = format!(
            "messageId: nothing is kept of the message {} that could be forwarded",
            original.id
        );
        return Err(ApiError::Refused(problem));
    }
    let content = Content::Forward { proto: original.proto };
    sender.send(NewMessage::new(chat, content)).await
}

/// React to a message with an emoji.
#[utoipa::path(
    put, path = "/api/reaction", tag = "📤 Chatting", request_body = SetReactionRequest,
    responses((status = 200, description = "The reaction as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn set_reaction(Sending { sender, body }: Sending<SetReactionRequest>) -> ApiResult<Sent> {
    let target = target::message(&sender.connection, "messageId", &body.message_id, None).await?;
    let content = Content::Reaction {
        target: target.id.clone(),
        text: body.reaction,
    };
    sender.send(NewMessage::new(target.id.chat, content)).await
}

/// Star or unstar a message.
#[utoipa::path(
    put, path = "/api/star", tag = "📤 Chatting", request_body = SetStarRequest,
    responses((status = 200, description = "It has a star, or none")),
    security(("api_key" = ["send"]))
)]
async fn set_star(Working { connection, body }: Working<SetStarRequest>) -> ApiResult<StatusCode> {
    let chat = body.chat_id.as_deref().map(|chat| target::chat_id("chatId", chat));
    let chat = chat.transpose()?;
    let message = target::message(&connection, "messageId", &body.message_id, chat.as_ref()).await?;
    connection.set_starred(message.id, body.star).await?;
    Ok(StatusCode::OK)
}
