//! Texts, with what is shown of a link in them.

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::Content;
use wharf_core::events::MessagePayload;

use super::{Addressed, TEXT_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::ApiResult;
use crate::api::extract::Body;
use crate::api::sending::{NewMessage, Sending, Sent};
use crate::api::target::Mentioned;
use crate::validate::Fields;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(send_text))
}

/// A text to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageTextRequest)]
pub(super) struct SendTextRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The text.
    #[schema(default = "Hi there!")]
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

impl Body for SendTextRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_text("text", TEXT_CHARS_MAX);
        Mentioned::check(fields);
        fields.boolean("linkPreview");
        fields.boolean("linkPreviewHighQuality");
    }
}

/// Send a text message.
#[utoipa::path(
    post, path = "/api/sendText", tag = "📤 Chatting", request_body = SendTextRequest,
    responses((status = 201, description = "The message as it was sent; `message.ack` tells what becomes of it", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_text(sending: Sending<SendTextRequest>) -> ApiResult<Sent> {
    send(sending).await
}

/// Sends a text.
pub(super) async fn send(Sending { sender, body }: Sending<SendTextRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let mentions = body.mentions.mentions()?;
    let content = Content::Text {
        text: body.text,
        preview: None,
    };
    let message = NewMessage {
        mentions,
        ..to.message(content)
    };
    sender.send(message).await
}
