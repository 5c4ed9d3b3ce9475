//! The media hosts: files come in at `/mms/…` and go out at the addresses that were given out for them.
//!
//! As WhatsApp's hosts are seen by whatsapp-rust `upload.rs`, whatsmeow `upload.go`, `download.go`, and Baileys
//! `messages-media.ts`. Whoever uploads needs a token of `media_conn`; whoever has an address may fetch. Nothing is held
//! whole in memory, and nothing is decrypted.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json as Answer, Router};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, SeekFrom};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::error::ApiError;
use super::extract::{Chat, Json, Number, Path, Query};
use super::reset::Reset;
use super::routes::AppState;
use crate::faults::{FaultAction, FaultDirection};
use crate::media::{FILE_BYTES_MAX, Progress, Refusal, token as named, url};

/// What files are uploaded as (wacore `download.rs` `upload_path`).
const KINDS: [&str; 9] = [
    "image",
    "video",
    "audio",
    "document",
    "md-msg-hist",
    "md-app-state",
    "thumbnail-link",
    "sticker-pack",
    "thumbnail-sticker-pack",
];
/// Bytes of the hash that a token is.
const HASH_BYTES: usize = 32;
/// How much of an upload that is refused is read before the answer, in bytes.
const DRAIN_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The same, in time.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a file goes out at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/mms/{kind}/{token}", post(upload))
        .route("/v/{kind}/{name}", get(download))
}

/// The part of the control API that is about them.
pub(crate) fn admin() -> Router<AppState> {
    Router::new().route("/admin/phones/{number}/lose-media", post(lose))
}

/// Which file is lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lose {
    chat: Chat,
    id: String,
    /// Whether the phone has lost it, too.
    #[serde(default)]
    phone: bool,
}

async fn lose(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Lose>,
) -> Result<StatusCode, ApiError> {
    let Lose {
        chat: Chat(chat),
        id,
        phone,
    } = request;
    state.sandbox.lose_media(&number, &chat, &id, phone)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The query of an upload.
#[derive(Deserialize)]
struct Uploading {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    token: String,
    /// Asks how far an upload is, and sends nothing.
    resume: Option<String>,
    /// Where an upload goes on that broke off.
    #[serde(default)]
    file_offset: u64,
}

/// Where a file is now.
#[derive(Default, Serialize)]
struct Uploaded {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direct_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<String>,
}

impl Uploaded {
    fn at(direct_path: String) -> Self {
        Self {
            url: Some(url(&direct_path)),
            direct_path: Some(direct_path),
            resume: None,
        }
    }
}

async fn upload(
    State(state): State<AppState>,
    Extension(reset): Extension<Reset>,
    Path((kind, token)): Path<(String, String)>,
    Query(query): Query<Uploading>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let sandbox = &state.sandbox;
    let Some(number) = sandbox.uploader(&query.auth) else {
        drain(body).await;
        return Err(ApiError::unauthorized("this media_conn is not good, or not any more"));
    };
    let path = format!("/mms/{kind}/{token}");
    let fault = sandbox.media_fault(FaultDirection::Upload, &path, Some(&number));
    if let Some(refused) = befall(&state, &reset, FaultDirection::Upload, fault).await {
        drain(body).await;
        return Ok(refused);
    }
    let malformed = |what: &str| {
        sandbox.media_malformed(&number, format!("upload to {path}: {what}"));
        ApiError::bad_request(what)
    };
    if !KINDS.contains(&kind.as_str()) {
        return Err(malformed("there is no such kind of file"));
    }
    let Some(token) = hash_in(&token).filter(|token| hash_in(&query.token).as_ref() == Some(token)) else {
        return Err(malformed("the token is not a hash, or not the same twice"));
    };
    let media = sandbox.media_store();
    if query.resume.is_some() {
        let answer = match media.progress(&token).map_err(Refusal::from)? {
            Progress::Complete(direct_path) => Uploaded {
                resume: Some("complete".to_owned()),
                ..Uploaded::at(direct_path)
            },
            Progress::Partial(length) => Uploaded {
                resume: Some(length.to_string()),
                ..Uploaded::default()
            },
        };
        return Ok(Answer(answer).into_response());
    }
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let Some(length) = length.and_then(|length| length.parse::<u64>().ok()) else {
        return Err(malformed("an upload says how long it is"));
    };
    if query.file_offset.saturating_add(length) > FILE_BYTES_MAX {
        return Err(Refusal::TooLarge.into());
    }
    let store = media.clone();
    let beginning = spawn_blocking(move || store.begin(&kind, &token, query.file_offset)).await;
    let mut upload = beginning.map_err(|panic| Refusal::Io(io::Error::other(panic)))??;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| ApiError::bad_request("the upload broke off"))?;
        // Into the system's cache, which is as fast as a copy.
        upload.write(&piece)?;
    }
    let direct_path = upload.finish().inspect_err(|refusal| {
        if matches!(refusal, Refusal::WrongHash) {
            malformed("the token is not the hash of the file");
        }
    })?;
    sandbox.uploaded(length);
    Ok(Answer(Uploaded::at(direct_path)).into_response())
}

async fn download(
    State(state): State<AppState>,
    Extension(reset): Extension<Reset>,
    Path((kind, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let sandbox = &state.sandbox;
    let path = format!("/v/{kind}/{name}");
    let fault = sandbox.media_fault(FaultDirection::Download, &path, None);
    if let Some(refused) = befall(&state, &reset, FaultDirection::Download, fault).await {
        return Ok(refused);
    }
    let opened = sandbox
        .media_store()
        .open(&kind, &name, query.as_deref().unwrap_or_default());
    let (file, length) = opened.inspect_err(|refusal| {
        if matches!(refusal, Refusal::Mangled) {
            sandbox.media_malformed("", format!("download of {path}: {refusal}"));
        }
    })?;
    sandbox.downloaded();
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (status, start, end) = match range.and_then(|range| within(range, length)) {
        Some((start, end)) => (StatusCode::PARTIAL_CONTENT, start, end),
        None => (StatusCode::OK, 0, length),
    };
    let mut file = File::from_std(file);
    file.seek(SeekFrom::Start(start)).await.map_err(Refusal::from)?;
    let outgoing = Outgoing {
        file,
        position: start,
        end,
        half: length / 2,
        fault,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(outgoing, Outgoing::next)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(range) = HeaderValue::try_from(format!("bytes {start}-{}/{length}", end - 1))
    {
        headers.insert(header::CONTENT_RANGE, range);
    }
    Ok(response)
}

/// The hash that a token is, as the files are named by it. Clients write it with padding (whatsmeow `upload.go`) or without.
fn hash_in(token: &str) -> Option<String> {
    let hash = BASE64_URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).ok()?;
    (hash.len() == HASH_BYTES).then(|| named(&hash))
}

/// What a fault answers instead; one of what is sent befalls it later.
async fn befall(
    state: &AppState,
    reset: &Reset,
    direction: FaultDirection,
    fault: Option<FaultAction>,
) -> Option<Response> {
    match fault {
        Some(FaultAction::Stall) if direction == FaultDirection::Upload => {
            state.stop.cancelled().await;
            Some(ApiError::fault(StatusCode::SERVICE_UNAVAILABLE).into_response())
        }
        Some(FaultAction::Status { code }) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Some(ApiError::fault(status).into_response())
        }
        Some(FaultAction::Drop) => {
            reset.request();
            // A body that fails ends the connection, and that is reset then.
            let broken = stream::once(async { Err::<Bytes, _>(io::Error::from(io::ErrorKind::ConnectionReset)) });
            Some(Response::new(Body::from_stream(broken)))
        }
        Some(FaultAction::Delay { ms }) => {
            tokio::select! {
                () = sleep(Duration::from_millis(ms)) => {}
                () = state.stop.cancelled() => {}
            }
            None
        }
        _ => None,
    }
}

/// Reads what nobody wants, within limits: a client that is still sending would not see the answer.
async fn drain(body: Body) {
    let mut pieces = body.into_data_stream();
    let reading = async {
        let mut length = 0;
        while length <= DRAIN_BYTES_MAX
            && let Some(Ok(piece)) = pieces.next().await
        {
            length += piece.len();
        }
    };
    // Who is not done by then sees the connection end.
    let _ = timeout(DRAIN_TIMEOUT, reading).await;
}

/// The first and the last byte plus one of a range that lies within the file. Another range is the whole file.
fn within(range: &str, length: u64) -> Option<(u64, u64)> {
    let (start, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = match last {
        "" => length,
        last => last.parse::<u64>().ok()?.saturating_add(1).min(length),
    };
    (start < end).then_some((start, end))
}

/// A file on its way out.
struct Outgoing {
    file: File,
    position: u64,
    end: u64,
    /// The middle of the whole file, where faults befall it.
    half: u64,
    fault: Option<FaultAction>,
}

impl Outgoing {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        if self.position >= self.end {
            return None;
        }
        let ends_at_half = matches!(self.fault, Some(FaultAction::Truncate | FaultAction::Stall));
        if ends_at_half && self.position >= self.half {
            if self.fault == Some(FaultAction::Stall) {
                std::future::pending::<()>().await;
            }
            // What came before goes out while there is nothing more.
            tokio::task::yield_now().await;
            return Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), self));
        }
        let until = if ends_at_half {
            self.half.min(self.end)
        } else {
            self.end
        };
        let wanted = usize::try_from(until - self.position)
            .unwrap_or(PIECE_BYTES)
            .min(PIECE_BYTES);
        let mut piece = vec![0; wanted];
        let piece = match self.file.read_exact(&mut piece).await {
            Ok(_) => piece,
            Err(error) => {
                self.end = self.position;
                return Some((Err(error), self));
            }
        };
        Some((Ok(self.passed(piece)), self))
    }

    fn passed(&mut self, mut piece: Vec<u8>) -> Bytes {
        let at_half = self
            .half
            .checked_sub(self.position)
            .and_then(|index| usize::try_from(index).ok());
        if self.fault == Some(FaultAction::Corrupt)
            && let Some(byte) = at_half.and_then(|index| piece.get_mut(index))
        {
            *byte ^= 1;
        }
        self.position += piece.len() as u64;
        piece.into()
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Unknown => StatusCode::NOT_FOUND,
            Refusal::Mangled => StatusCode::FORBIDDEN,
            Refusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::WrongHash | Refusal::WrongOffset => StatusCode::BAD_REQUEST,
            Refusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Full => StatusCode::INSUFFICIENT_STORAGE,
            Refusal::Io(error) => {
                tracing::warn!(%error, "the media hosts cannot use their folder");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_hash_with_or_without_padding() {
        let hash = named(&[0xfb; HASH_BYTES]);
        for token in [hash.clone(), format!("{hash}=")] {
            assert_eq!(hash_in(&token).as_deref(), Some(hash.as_str()));
        }
        for other in ["", "=", "../../etc/passwd", &named(&[1; 31]), &named(&[1; 33])] {
            assert_eq!(hash_in(other), None, "{other}");
        }
    }

    #[test]
    fn a_range_lies_within_the_file() {
        for (range, expected) in [
            ("bytes=0-", Some((0, 10))),
            ("bytes=4-5", Some((4, 6))),
            ("bytes=4-99", Some((4, 10))),
            ("bytes=10-", None),
            ("bytes=5-4", None),
            ("bytes=-4", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(within(range, 10), expected, "{range}");
        }
    }
}
