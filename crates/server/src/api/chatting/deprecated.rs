//! Operations that WAHA keeps for its older clients; each has a newer one that does the same.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{Content, LinkPreview};
use wharf_core::events::MessagePayload;

use super::text::{self, SendTextRequest};
use super::{LABEL_CHARS_MAX, TEXT_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::{ApiError, ApiResult};
use crate::api::extract::{Body, Working};
use crate::api::sending::{NewMessage, PreviewWanted, Sending, Sent};
use crate::api::target::chat_id;
use crate::validate::Fields;

/// The routes of these operations.
#[expect(deprecated, reason = "for callers of the HTTP API they are")]
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_text_by_get))
        .routes(routes!(reply))
        .routes(routes!(send_link_preview))
        .routes(routes!(check_number_status))
}

/// A text in a query.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SendTextQuery {
    /// Where to: a phone number, or an id of a chat.
    phone: String,
    /// The text.
    text: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[param(default = "default", required = false, value_type = String)]
    session: Option<String>,
}

/// A link with a title, to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageLinkPreviewRequest)]
struct SendLinkPreviewRequest {
    /// Where to.
    chat_id: String,
    /// The id that the message will have, from `new-message-id`; of use once in a chat.
    #[expect(dead_code, reason = "read by the extractor")]
    id: Option<String>,
    /// The link.
    url: String,
    /// Its title.
    title: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[schema(default = "default", value_type = String)]
    session: Option<String>,
}

/// A number to be looked up.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct CheckNumberQuery {
    /// The phone number.
    #[param(example = "1213213213")]
    phone: String,
    /// The session.
    #[expect(dead_code, reason = "read by the extractor")]
    #[param(default = "default", required = false, value_type = String)]
    session: Option<String>,
}

/// Whether a number is on WhatsApp.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WANumberExistResult)]
struct NumberStatus {
    /// Whether it is.
    number_exists: bool,
    /// The chat to send to, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    chat_id: Option<String>,
}

impl Body for SendTextQuery {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("phone");
        fields.required_text("text", TEXT_CHARS_MAX);
    }
}

impl Body for SendLinkPreviewRequest {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("chatId");
        fields.string("id");
        fields.required_text("url", TEXT_CHARS_MAX);
        fields.link("url");
        fields.required_text("title", LABEL_CHARS_MAX);
    }
}

impl Body for CheckNumberQuery {
    fn check(fields: &mut Fields<'_>) {
        fields.required_string("phone");
    }
}

/// Send a text message.
#[utoipa::path(
    get, path = "/api/sendText", tag = "📤 Chatting", params(SendTextQuery),
    responses((status = 200, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
#[deprecated(note = "`POST /api/sendText`")]
async fn send_text_by_get(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendTextQuery>,
) -> ApiResult<Sent> {
    let chat = chat_id("phone", &body.phone)?;
    let (preview, guard) = PreviewWanted::Small.make(&state, &sender, &body.text).await;
    let content = Content::Text {
        text: body.text,
        preview,
    };
    sender.send_with(NewMessage::new(chat, content), guard).await
}

/// Answer a message with a text.
#[utoipa::path(
    post, path = "/api/reply", tag = "📤 Chatting", request_body = SendTextRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
#[deprecated(note = "`POST /api/sendText` with `reply_to`")]
async fn reply(State(state): State<AppState>, sending: Sending<SendTextRequest>) -> ApiResult<Sent> {
    text::send(&state, sending).await
}

/// Send a link with a title.
#[utoipa::path(
    post, path = "/api/sendLinkPreview", tag = "📤 Chatting", request_body = SendLinkPreviewRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
#[deprecated(note = "`POST /api/sendText` or `POST /api/send/link-custom-preview`")]
async fn send_link_preview(Sending { sender, body }: Sending<SendLinkPreviewRequest>) -> ApiResult<Sent> {
    let chat = chat_id("chatId", &body.chat_id)?;
    let content = Content::Text {
        text: format!("{}\n{}", body.title, body.url),
        preview: Some(LinkPreview {
            url: body.url,
            title: body.title,
            description: None,
            thumbnail: None,
            picture: None,
        }),
    };
    sender.send(NewMessage::new(chat, content)).await
}

/// Look up whether a number is on WhatsApp.
#[utoipa::path(
    get, path = "/api/checkNumberStatus", tag = "📤 Chatting", params(CheckNumberQuery),
    responses((status = 200, description = "Whether it is", body = NumberStatus)),
    security(("api_key" = ["read"]))
)]
#[deprecated(note = "`GET /api/contacts/check-exists`")]
async fn check_number_status(Working { connection, body }: Working<CheckNumberQuery>) -> ApiResult<Json<NumberStatus>> {
    let person = chat_id("phone", &body.phone)?;
    if !person.is_person() {
        return Err(ApiError::Invalid(vec![format!("phone: {person} is no person")]));
    }
    let found = connection.engine().find(&person).await?;
    Ok(Json(NumberStatus {
        number_exists: found.is_some(),
        chat_id: found.map(|chat| chat.to_string()),
    }))
}
