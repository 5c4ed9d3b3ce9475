//! The files of messages, by session and name, or by name alone as older links have them.
//!
//! A file is whatever a stranger has sent: only pictures, sound and videos are shown, everything else is for download, and no page
//! gets to run anything under our address. Parts are for players that seek; a request for several at once gets the whole file.

use std::ops::Range;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use wharf_core::ids::SessionName;
use wharf_core::media::{MediaStorageError, is_safe_to_show};

use super::AppState;
use super::error::{ApiError, ApiResult};
use crate::keys::Caller;
use crate::media::KeptFile;

/// What a file may do where a browser opens it: nothing.
const NO_SCRIPTS: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
/// A file may be replaced by a later fetch of it; its tag tells.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
/// The most characters of a sender's file name that are told.
const FILENAME_CHARS_MAX: usize = 200;

/// The routes of files; they have no tag of WAHA's.
pub(super) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_file))
        .routes(routes!(get_file_by_name))
}

/// WAHA's answer for a file that is not there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FileNotFound {
    /// What is wrong.
    error: FileProblem,
}

/// Why there is no file.
#[derive(Debug, Serialize, ToSchema)]
struct FileProblem {
    /// The status.
    code: u16,
    /// `FILE_NOT_FOUND`.
    key: &'static str,
    /// For people.
    message: &'static str,
    /// The same at more length.
    details: &'static str,
}

impl FileNotFound {
    /// The only one there is.
    pub(super) const BODY: Self = Self {
        error: FileProblem {
            code: StatusCode::NOT_FOUND.as_u16(),
            key: "FILE_NOT_FOUND",
            message: "File not found",
            details: "File not found or no longer available",
        },
    };
}

/// Get the file of a message, as `media.url` names it.
#[utoipa::path(
    get, path = "/api/files/{session}/{file}", tag = "🖼️ Media",
    params(("session" = String, Path), ("file" = String, Path, description = "The message's id and an extension")),
    responses(
        (status = 200, description = "The file", content_type = "*/*", body = Vec<u8>),
        (status = 206, description = "The part that `Range` asks for", content_type = "*/*", body = Vec<u8>),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "There is no such file, or no longer", body = FileNotFound),
        (status = 416, description = "It ends before `Range` begins")
    ),
    security(("api_key" = ["any"]), ("api_key_in_query" = ["any"]))
)]
async fn get_file(
    State(state): State<AppState>,
    _caller: Caller,
    Path((session, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let session: SessionName = session.parse().map_err(|_| ApiError::FileNotFound)?;
    serve(&state, Some(&session), &file, &method, &headers).await
}

/// Get the file of a message by its name alone, as older links have it. With a key of a session, only that session's.
#[utoipa::path(
    get, path = "/api/files/{file}", tag = "🖼️ Media",
    params(("file" = String, Path, description = "The message's id and an extension")),
    responses(
        (status = 200, description = "The file", content_type = "*/*", body = Vec<u8>),
        (status = 206, description = "The part that `Range` asks for", content_type = "*/*", body = Vec<u8>),
        (status = 304, description = "It is the one that `If-None-Match` names"),
        (status = 404, description = "There is no such file, or no longer", body = FileNotFound),
        (status = 416, description = "It ends before `Range` begins")
    ),
    security(("api_key" = ["any"]), ("api_key_in_query" = ["any"]))
)]
async fn get_file_by_name(
    State(state): State<AppState>,
    caller: Caller,
    Path(file): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> ApiResult<Response> {
    serve(&state, caller.session(), &file, &method, &headers).await
}

async fn serve(
    state: &AppState,
    session: Option<&SessionName>,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
) -> ApiResult<Response> {
    let found = state.library.find_file(session, name).await?;
    let file = found.ok_or(ApiError::FileNotFound)?;
    let tag = tag(&file);
    if matches_any(headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let wanted = wanted_part(headers, &tag, file.size);
    if let Some(Part::Behind) = wanted {
        return Ok(not_satisfiable(file.size));
    }
    let part = match &wanted {
        Some(Part::Bytes(range)) => Some(range.clone()),
        _ => None,
    };
    let (size, range, body) = match *method == Method::HEAD {
        true => (file.size, part.clone().unwrap_or(0..file.size), Body::empty()),
        false => {
            let seat = state.library.seat(&file).ok_or_else(|| {
                ApiError::Unavailable("too many files are being downloaded, try again in a moment".to_owned())
            })?;
            let read = match state.library.read(&file, part.clone()).await {
                // It is shorter than its record says.
                Err(MediaStorageError::OutOfRange { size }) => return Ok(not_satisfiable(size)),
                read => read?,
            };
            let name = name.to_owned();
            let body = read.body.inspect(move |piece| {
                let _held = &seat;
                if let Err(error) = piece {
                    tracing::warn!(%error, file = name, "a media file broke off while it was read");
                }
            });
            (read.size, read.range, Body::from_stream(body))
        }
    };
    let mut response = Response::new(body);
    if part.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = range.end.saturating_sub(1);
        set(
            &mut response,
            header::CONTENT_RANGE,
            &format!("bytes {}-{last}/{size}", range.start),
        );
    }
    set(
        &mut response,
        header::CONTENT_LENGTH,
        &(range.end - range.start).to_string(),
    );
    set(&mut response, header::CONTENT_TYPE, &file.mimetype);
    set(&mut response, header::CONTENT_DISPOSITION, &disposition(&file, name));
    set(&mut response, header::ETAG, &tag);
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, ASK_AGAIN);
    headers.insert(header::CONTENT_SECURITY_POLICY, NO_SCRIPTS);
    Ok(response)
}

/// What a request asks for of a file.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    /// These bytes.
    Bytes(Range<u64>),
    /// What is behind the end.
    Behind,
}

/// The one part that `Range` asks for. Nothing else is understood, and the whole file is right then.
fn wanted_part(headers: &HeaderMap, tag: &str, size: u64) -> Option<Part> {
    let is_other = |value: &HeaderValue| value.as_bytes() != tag.as_bytes();
    if headers.get(header::IF_RANGE).is_some_and(is_other) {
        return None;
    }
    let text = headers.get(header::RANGE)?.to_str().ok()?;
    let (first, last) = text.strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| text.parse::<u64>().ok();
    let range = match (first, last) {
        ("", last) => size.saturating_sub(number(last).filter(|bytes| *bytes > 0)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            first..last.saturating_add(1).min(size)
        }
    };
    Some(match range.start < size {
        true => Part::Bytes(range),
        false => Part::Behind,
    })
}

fn not_satisfiable(size: u64) -> Response {
    let mut response = StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
    response
}

/// Tells this file from the one that replaces it.
fn tag(file: &KeptFile) -> String {
    format!("\"{:x}-{:x}\"", file.size, file.stored_at.as_millisecond())
}

fn matches_any(headers: &HeaderMap, tag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let mut tags = lines.flat_map(|line| line.split(',')).map(str::trim);
    tags.any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

/// Shown or for download, under the name that its sender gave it (RFC 6266).
fn disposition(file: &KeptFile, name: &str) -> String {
    let kind = match is_safe_to_show(&file.mimetype) {
        true => "inline",
        false => "attachment",
    };
    let plain: String = file
        .filename
        .as_deref()
        .unwrap_or(name)
        .chars()
        // Paths, and characters that turn the text around so that it ends otherwise than it seems to.
        .filter(|c| !c.is_control() && !matches!(c, '/' | '\\' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .take(FILENAME_CHARS_MAX)
        .collect();
    let ascii: String = plain
        .chars()
        .map(|c| {
            if matches!(c, ' '..='~') && !matches!(c, '"' | '%') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let encoded: String = plain
        .bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    // Everything that is set here is printable ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

impl From<MediaStorageError> for ApiError {
    fn from(error: MediaStorageError) -> Self {
        match error {
            MediaStorageError::NotFound | MediaStorageError::OutOfRange { .. } => Self::FileNotFound,
            MediaStorageError::Unavailable(cause) | MediaStorageError::Refused(cause) => {
                tracing::error!(error = cause.as_ref(), "media storage cannot be used");
                Self::Unavailable("media storage is unavailable, try again later".to_owned())
            }
            MediaStorageError::Internal(cause) => Self::Internal(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(range: &str) -> Option<Part> {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).unwrap())]);
        wanted_part(&headers, "\"t\"", 1_000)
    }

    #[test]
    fn one_part_is_understood_and_everything_else_is_the_whole_file() {
        for (range, expected) in [
            ("bytes=0-0", Some(Part::Bytes(0..1))),
            ("bytes=0-", Some(Part::Bytes(0..1_000))),
            ("bytes=999-2000", Some(Part::Bytes(999..1_000))),
            ("bytes=-1", Some(Part::Bytes(999..1_000))),
            ("bytes=-5000", Some(Part::Bytes(0..1_000))),
            ("bytes=1000-", Some(Part::Behind)),
            ("bytes=5000-6000", Some(Part::Behind)),
            ("bytes=0-18446744073709551615", Some(Part::Bytes(0..1_000))),
            ("bytes=-0", None),
            ("bytes=5-4", None),
            ("bytes=0-1,5-6", None),
            ("bytes=a-b", None),
            ("bytes=", None),
            ("bytes=-", None),
            ("items=0-1", None),
            ("bytes=99999999999999999999-", None),
        ] {
            assert_eq!(part(range), expected, "{range}");
        }
    }

    #[test]
    fn a_part_of_another_file_is_not_wanted() {
        let with = |tag: &str| {
            let mut headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=0-1"))]);
            headers.insert(header::IF_RANGE, HeaderValue::from_str(tag).unwrap());
            wanted_part(&headers, "\"t\"", 1_000)
        };
        assert_eq!(with("\"t\""), Some(Part::Bytes(0..2)));
        for other in ["\"u\"", "W/\"t\"", "Sun, 22 Nov 2026 12:00:00 GMT"] {
            assert_eq!(with(other), None, "{other}");
        }
    }
}
