//! Media: files in the form that WhatsApp's clients play.

use std::io;

use axum::body::{Body as HttpBody, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::stream::{self, Stream, StreamExt as _};
use serde::Deserialize;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::ApiResult;
use super::extract::{Body, Input, Linkable};
use super::pairing::Base64File;
use super::upload;
use crate::media::{FileError, FileInput, LocalFile};
use crate::validate::Fields;

/// What is read of a file at once, in bytes; a multiple of three, so that base64 of the pieces is base64 of the whole.
const PIECE_BYTES: usize = 48 * 1024;

/// The routes of this tag.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(convert_voice))
        .routes(routes!(convert_video))
}

/// A file to be converted.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ConvertFileRequest)]
struct ConvertRequest {
    /// Where it is: a public address, or one of `WHARF_EGRESS_ALLOW`.
    url: Option<String>,
    /// It, as base64.
    data: Option<String>,
    /// The same as in the operations that send.
    #[serde(default)]
    #[schema(value_type = Option<upload::File>)]
    file: FileInput,
}

impl Body for ConvertRequest {
    const TAKES_FILE: bool = true;

    fn check(fields: &mut Fields<'_>) {
        match fields.get(upload::FILE) {
            Some(_) => upload::check_file(fields, upload::FILE),
            None => upload::check_source(fields),
        }
    }

    fn file(&mut self) -> Option<&mut FileInput> {
        Some(&mut self.file)
    }
}

impl ConvertRequest {
    /// The file, and how the request calls it.
    fn input(self) -> (&'static str, FileInput) {
        let Self { url, data, file } = self;
        match url.is_some() || data.is_some() {
            true => (
                "",
                FileInput {
                    url,
                    data,
                    ..FileInput::default()
                },
            ),
            false => (upload::FILE, file),
        }
    }
}

/// Make a voice message of any sound: Opus in Ogg.
#[utoipa::path(
    post, path = "/api/{session}/media/convert/voice", tag = "🖼️ Media", request_body = ConvertRequest,
    params(("session" = String, Path, description = "The session's name")),
    responses((status = 201, description = "The file; JSON for `Accept: application/json`", content(
        (Vec<u8> = "audio/ogg; codecs=opus"),
        (Base64File = "application/json"),
    ))),
    security(("api_key" = ["send"]))
)]
async fn convert_voice(
    State(state): State<AppState>,
    _session: Linkable,
    headers: HeaderMap,
    Input(body): Input<ConvertRequest>,
) -> ApiResult<Response> {
    let (field, input) = body.input();
    let file = state.files.take(field, input).await?;
    answer(state.files.to_voice(field, &file).await?, &headers).await
}

/// Make a video that every phone plays: H.264 and AAC in MP4.
#[utoipa::path(
    post, path = "/api/{session}/media/convert/video", tag = "🖼️ Media", request_body = ConvertRequest,
    params(("session" = String, Path, description = "The session's name")),
    responses((status = 201, description = "The file; JSON for `Accept: application/json`", content(
        (Vec<u8> = "video/mp4"),
        (Base64File = "application/json"),
    ))),
    security(("api_key" = ["send"]))
)]
async fn convert_video(
    State(state): State<AppState>,
    _session: Linkable,
    headers: HeaderMap,
    Input(body): Input<ConvertRequest>,
) -> ApiResult<Response> {
    let (field, input) = body.input();
    let file = state.files.take(field, input).await?;
    answer(state.files.to_video(field, &file).await?, &headers).await
}

/// The file itself, or in JSON where that is asked for; piece by piece.
async fn answer(file: LocalFile, headers: &HeaderMap) -> ApiResult<Response> {
    let mimetype = file.mimetype.clone().unwrap_or_default();
    let pieces = pieces(file).await.map_err(FileError::from)?;
    let wants_json = headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept == "application/json");
    let (kind, body) = match wants_json {
        true => {
            // A type has no characters that JSON would write in another way.
            let begin = format!("{{\"mimetype\":\"{mimetype}\",\"data\":\"");
            let begin = stream::once(async { Ok(Bytes::from(begin)) });
            let data = pieces.map(|piece| piece.map(|piece| Bytes::from(BASE64.encode(piece))));
            let end = stream::once(async { Ok(Bytes::from_static(b"\"}")) });
            let body = HttpBody::from_stream(begin.chain(data).chain(end));
            (HeaderValue::from_static("application/json"), body)
        }
        false => {
            let kind = HeaderValue::try_from(mimetype).unwrap_or(HeaderValue::from_static("application/octet-stream"));
            (kind, HttpBody::from_stream(pieces))
        }
    };
    Ok((StatusCode::CREATED, [(header::CONTENT_TYPE, kind)], body).into_response())
}

/// The bytes of a file, which stays until they are read: each piece but the last is full.
async fn pieces(file: LocalFile) -> io::Result<impl Stream<Item = io::Result<Bytes>>> {
    let opened = File::open(&file.path).await?;
    Ok(stream::try_unfold((opened, file), |(mut opened, file)| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        (&mut opened).take(PIECE_BYTES as u64).read_to_end(&mut piece).await?;
        let piece = Some(Bytes::from(piece)).filter(|piece| !piece.is_empty());
        Ok(piece.map(|piece| (piece, (opened, file))))
    }))
}
