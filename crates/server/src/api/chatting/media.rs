//! Pictures, files, voice messages and videos.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::engine::{Content, MediaKind};
use wharf_core::events::MessagePayload;

use super::{Addressed, TEXT_CHARS_MAX};
use crate::api::AppState;
use crate::api::error::ApiResult;
use crate::api::extract::Body;
use crate::api::sending::{NewMessage, Sender, Sending, Sent};
use crate::api::target::Mentioned;
use crate::api::upload::{self, FILE, File};
use crate::media::{FileInput, Prepared};
use crate::validate::Fields;

/// The routes of this topic.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(send_image))
        .routes(routes!(send_file))
        .routes(routes!(send_voice))
        .routes(routes!(send_video))
}

/// A picture to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageImageRequest)]
struct SendImageRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The picture: JPEG, PNG, WebP or GIF.
    #[schema(value_type = File)]
    file: FileInput,
    /// What is said about it.
    caption: Option<String>,
    /// Who is mentioned, `["all"]` for everybody in a group; the caption has `@` and the number of each.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    mentions: Mentioned,
}

/// A file to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageFileRequest)]
struct SendFileRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The file, of any type.
    #[schema(value_type = File)]
    file: FileInput,
    /// What is said about it.
    caption: Option<String>,
    /// Who is mentioned, `["all"]` for everybody in a group; the caption has `@` and the number of each.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    mentions: Mentioned,
}

/// A voice message to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = MessageVoiceRequest)]
struct SendVoiceRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The sound. WhatsApp plays OGG with Opus, mono; everything else wants `convert`.
    #[schema(value_type = File)]
    file: FileInput,
    /// Whether it is converted to what WhatsApp plays.
    #[schema(default = false, value_type = bool)]
    convert: Option<bool>,
}

/// A video to be sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MessageVideoRequest)]
struct SendVideoRequest {
    #[serde(flatten)]
    to: Addressed,
    /// The video. WhatsApp plays MP4 with H.264 and AAC; everything else wants `convert`.
    #[schema(value_type = File)]
    file: FileInput,
    /// What is said about it.
    #[schema(example = "Just watch at this!")]
    caption: Option<String>,
    /// Whether it is a round video message.
    #[schema(default = false)]
    as_note: Option<bool>,
    /// Whether it is converted to what WhatsApp plays.
    #[schema(default = false, value_type = bool)]
    convert: Option<bool>,
    /// Who is mentioned, `["all"]` for everybody in a group; the caption has `@` and the number of each.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    mentions: Mentioned,
}

/// A file, and how it is sent.
struct MediaToSend {
    to: Addressed,
    file: FileInput,
    kind: MediaKind,
    convert: bool,
    caption: Option<String>,
    mentions: Mentioned,
}

impl Body for SendImageRequest {
    const TAKES_FILE: bool = true;

    fn check(fields: &mut Fields<'_>) {
        check_media(fields);
    }

    fn file(&mut self) -> Option<&mut FileInput> {
        Some(&mut self.file)
    }
}

impl Body for SendFileRequest {
    const TAKES_FILE: bool = true;

    fn check(fields: &mut Fields<'_>) {
        check_media(fields);
    }

    fn file(&mut self) -> Option<&mut FileInput> {
        Some(&mut self.file)
    }
}

impl Body for SendVoiceRequest {
    const TAKES_FILE: bool = true;

    fn check(fields: &mut Fields<'_>) {
        check_media(fields);
        fields.boolean("convert");
    }

    fn file(&mut self) -> Option<&mut FileInput> {
        Some(&mut self.file)
    }
}

impl Body for SendVideoRequest {
    const TAKES_FILE: bool = true;

    fn check(fields: &mut Fields<'_>) {
        check_media(fields);
        fields.boolean("convert");
        fields.boolean("asNote");
    }

    fn file(&mut self) -> Option<&mut FileInput> {
        Some(&mut self.file)
    }
}

fn check_media(fields: &mut Fields<'_>) {
    Addressed::check(fields);
    upload::check_file(fields, FILE);
    fields.text("caption", TEXT_CHARS_MAX);
    Mentioned::check(fields);
}

/// Send a picture.
#[utoipa::path(
    post, path = "/api/sendImage", tag = "📤 Chatting", request_body = SendImageRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_image(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendImageRequest>,
) -> ApiResult<Sent> {
    let media = MediaToSend {
        to: body.to,
        file: body.file,
        kind: MediaKind::Image,
        convert: false,
        caption: body.caption,
        mentions: body.mentions,
    };
    send_media(&state, sender, media).await
}

/// Send a file.
///
/// As a file it stays as it is, also a picture or a video.
#[utoipa::path(
    post, path = "/api/sendFile", tag = "📤 Chatting", request_body = SendFileRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_file(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendFileRequest>,
) -> ApiResult<Sent> {
    let media = MediaToSend {
        to: body.to,
        file: body.file,
        kind: MediaKind::Document,
        convert: false,
        caption: body.caption,
        mentions: body.mentions,
    };
    send_media(&state, sender, media).await
}

/// Send a voice message.
#[utoipa::path(
    post, path = "/api/sendVoice", tag = "📤 Chatting", request_body = SendVoiceRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_voice(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendVoiceRequest>,
) -> ApiResult<Sent> {
    let media = MediaToSend {
        to: body.to,
        file: body.file,
        kind: MediaKind::Voice,
        convert: body.convert.unwrap_or_default(),
        caption: None,
        mentions: Mentioned::default(),
    };
    send_media(&state, sender, media).await
}

/// Send a video.
#[utoipa::path(
    post, path = "/api/sendVideo", tag = "📤 Chatting", request_body = SendVideoRequest,
    responses((status = 201, description = "The message as it was sent", body = MessagePayload)),
    security(("api_key" = ["send"]))
)]
async fn send_video(
    State(state): State<AppState>,
    Sending { sender, body }: Sending<SendVideoRequest>,
) -> ApiResult<Sent> {
    let media = MediaToSend {
        to: body.to,
        file: body.file,
        kind: match body.as_note {
            Some(true) => MediaKind::VideoNote,
            _ => MediaKind::Video,
        },
        convert: body.convert.unwrap_or_default(),
        caption: body.caption,
        mentions: body.mentions,
    };
    send_media(&state, sender, media).await
}

async fn send_media(state: &AppState, sender: Sender, it: MediaToSend) -> ApiResult<Sent> {
    let to = it.to.destination(&sender).await?;
    let mentions = it.mentions.mentions()?;
    let Prepared { mut media, guard } = state.files.prepare(FILE, it.file, it.kind, it.convert).await?;
    media.caption = it.caption.filter(|caption| !caption.is_empty());
    let message = NewMessage {
        mentions,
        ..to.message(Content::Media(media))
    };
    sender.send_with(message, guard).await
}
