//! Texts, with what is shown of a link in them.

use axum::extract::State;
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{Content, LinkPreview};
use wharf_core::events::MessagePayload;

use super::{Addressed, LABEL_CHARS_MAX, TEXT_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::ApiResult;
use crate::api::extract::Body;
use crate::api::sending::{NewMessage, PreviewWanted, Sending, Sent};
use crate::api::target::Mentioned;
use crate::api::upload::{self, File};
use crate::link_preview::PreviewPictures;
use crate::media::FileInput;
use crate::validate::Fields;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_text))
        .routes(routes!(send_link_custom_preview))
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

/// A text with a preview of the caller's own making.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageLinkCustomPreviewRequest)]
struct SendLinkCustomPreviewRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The text, with the link in it.
    #[schema(default = "Check this out! https://github.com/")]
    text: String,
    /// Who is mentioned, `["all"]` for everybody in a group; the text has `@` and the number of each.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    mentions: Mentioned,
    /// Whether the preview has a large picture.
    #[schema(default = true)]
    link_preview_high_quality: Option<bool>,
    /// What is shown of the link.
    preview: LinkPreviewData,
}

/// What is shown of a link.
#[derive(Debug, Deserialize, ToSchema)]
struct LinkPreviewData {
    /// The link as it stands in the text.
    #[schema(default = "https://github.com/")]
    url: String,
    /// The page's title.
    #[schema(default = "Your Title")]
    title: String,
    /// What the page says of itself.
    #[schema(default = "Check this out, amazing!")]
    description: Option<String>,
    /// A picture: where it is, or itself.
    #[schema(value_type = Option<File>)]
    image: Option<FileInput>,
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

impl Body for SendLinkCustomPreviewRequest {
    fn check(fields: &mut Fields<'_>) {
        Addressed::check(fields);
        fields.required_text("text", TEXT_CHARS_MAX);
        Mentioned::check(fields);
        fields.boolean("linkPreviewHighQuality");
        let text = fields
            .get("text")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        fields.required_object("preview", |preview| {
            preview.required_text("url", TEXT_CHARS_MAX);
            preview.link("url");
            let url = preview.get("url").and_then(Value::as_str);
            if url.is_some_and(|url| !text.contains(url)) {
                preview.fail("url", "must stand in text");
            }
            preview.required_text("title", LABEL_CHARS_MAX);
            preview.text("description", TEXT_CHARS_MAX);
            upload::check_optional_file(preview, "image");
        });
    }
}

/// Send a text message.
#[utoipa::path(
    post, path = "/api/sendText", tag = "📤 Chatting", request_body = SendTextRequest,
    responses((status = 201, description = "The message as it was sent; `message.ack` tells what becomes of it", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_text(State(state): State<AppState>, sending: Sending<SendTextRequest>) -> ApiResult<Sent> {
    send(&state, sending).await
}

/// Sends a text.
pub(super) async fn send(state: &AppState, Sending { sender, body }: Sending<SendTextRequest>) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let mentions = body.mentions.mentions()?;
    let wanted = PreviewWanted::new(body.link_preview, body.link_preview_high_quality);
    let (preview, guard) = wanted.make(state, &sender, &body.text).await;
    let content = Content::Text {
        text: body.text,
        preview,
    };
    let message = NewMessage {
        mentions,
        ..to.message(content)
    };
    sender.send_with(message, guard).await
}

/// Send a text message whose link is shown as the caller says.
///
/// For pages that cannot be fetched, such as those behind a captcha.
#[utoipa::path(
    post, path = "/api/send/link-custom-preview", tag = "📤 Chatting", request_body = SendLinkCustomPreviewRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_link_custom_preview(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendLinkCustomPreviewRequest>,
) -> ApiResult<Sent> {
    let to = body.to.destination(&sender).await?;
    let mentions = body.mentions.mentions()?;
    let high_quality = body.link_preview_high_quality.unwrap_or(true);
    let LinkPreviewData {
        url,
        title,
        description,
        image,
    } = body.preview;
    let PreviewPictures {
        thumbnail,
        picture,
        guard,
    } = match image {
        Some(image) => state.previews.pictures("preview.image", image, high_quality).await?,
        None => PreviewPictures::default(),
    };
    let content = Content::Text {
        text: body.text,
        preview: Some(LinkPreview {
            url,
            title,
            description,
            thumbnail,
            picture,
        }),
    };
    let message = NewMessage {
        mentions,
        ..to.message(content)
    };
    sender.send_with(message, guard).await
}
