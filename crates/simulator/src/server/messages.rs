//! `/admin/phones/{number}/…`: what a person does with messages, and what the phone shows of them.
//!
//! Each route parses and forwards; what happens is the network's business.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::error::ApiError;
use super::extract::{Chat, Json, Number, Path};
use super::phones::{MESSAGE_ID_CHARS_MAX, filled};
use super::routes::AppState;
use crate::views::{Change, Contact, Location, MessageView, NewContent, NewLinkPreview, NewMedia, NewMessage, NewPoll};

/// The largest body of a message, in bytes: a video of 100 MiB fits in base64.
const SEND_BYTES_MAX: usize = 150 * 1024 * 1024;
/// The bodies of all messages that come in at the same time, in bytes; further ones wait.
const SENDS_BYTES_MAX: usize = 2 * SEND_BYTES_MAX;
/// What one permit stands for, in bytes.
const PERMIT_BYTES: usize = 1024;
/// Characters of a text message; WhatsApp's own limit.
const TEXT_CHARS_MAX: usize = 65_536;
/// How long a pin lasts where nobody says, in seconds: the middle one of the three that the official apps offer.
const PIN_SECONDS: u32 = 7 * 24 * 60 * 60;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/phones/{number}/react", post(react))
        .route("/admin/phones/{number}/edit", post(edit))
        .route("/admin/phones/{number}/revoke", post(revoke))
        .route("/admin/phones/{number}/vote", post(vote))
        .route("/admin/phones/{number}/pin", post(pin))
        .route("/admin/phones/{number}/chats/{chat}", get(list_messages))
        .route("/admin/phones/{number}/chats/{chat}/{id}", get(get_message))
        .route("/admin/phones/{number}/chats/{chat}/{id}/media", get(get_media))
        .route("/admin/phones/{number}/chats/{chat}/{id}/thumbnail", get(get_thumbnail))
}

/// What has a body of its own size.
pub(crate) fn sending() -> Router<AppState> {
    let room = Arc::new(Semaphore::new(SENDS_BYTES_MAX / PERMIT_BYTES));
    Router::new()
        .route("/admin/phones/{number}/send", post(send))
        .layer(DefaultBodyLimit::max(SEND_BYTES_MAX))
        .layer(from_fn_with_state(room, in_turn))
}

/// Lets a message in when there is memory for it.
async fn in_turn(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    // The semaphore is never closed.
    let _permit = room.acquire_many_owned(permits(length)).await.ok();
    next.run(request).await
}

/// How many permits a body takes; one that does not say its length, as many as the largest.
fn permits(length: Option<usize>) -> u32 {
    let length = length.unwrap_or(SEND_BYTES_MAX).clamp(1, SEND_BYTES_MAX);
    u32::try_from(length.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

/// One of the kinds of content must be there, and only one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Send {
    to: Chat,
    text: Option<String>,
    link_preview: Option<NewLinkPreview>,
    media: Option<NewMedia>,
    location: Option<Location>,
    contact: Option<Contact>,
    contacts: Option<Vec<Contact>>,
    poll: Option<NewPoll>,
    list_reply: Option<String>,
    button_reply: Option<String>,
    reply_to: Option<String>,
    #[serde(default)]
    mentions: Vec<Number>,
    #[serde(default)]
    forwarded: bool,
}

impl Send {
    fn message(self) -> Result<NewMessage, ApiError> {
        if let Some(text) = &self.text {
            filled("text", text.trim(), TEXT_CHARS_MAX)?;
        }
        if let Some(id) = &self.reply_to {
            filled("reply_to", id, MESSAGE_ID_CHARS_MAX)?;
        }
        let preview = self.link_preview;
        let given = [
            self.text.map(|text| NewContent::Text(text, preview)),
            self.media.map(NewContent::Media),
            self.location.map(NewContent::Location),
            self.contact.map(|contact| NewContent::Contacts(vec![contact])),
            self.contacts.map(NewContent::Contacts),
            self.poll.map(NewContent::Poll),
            self.list_reply.map(NewContent::ListReply),
            self.button_reply.map(NewContent::ButtonReply),
        ];
        let mut given = given.into_iter().flatten();
        let (Some(content), None) = (given.next(), given.next()) else {
            return Err(ApiError::unprocessable(
                "a message is one of text, media, location, contact, contacts, poll, list_reply and button_reply",
            ));
        };
        Ok(NewMessage {
            content,
            reply_to: self.reply_to,
            mentions: self.mentions.into_iter().map(|number| number.0).collect(),
            forwarded: self.forwarded,
        })
    }
}

#[derive(Serialize)]
struct Sent {
    id: String,
}

type SentAnswer = Result<(StatusCode, Answer<Sent>), ApiError>;

async fn send(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Send>,
) -> SentAnswer {
    let to = request.to.0.clone();
    let id = state.sandbox.send_message(&number, &to, request.message()?).await?;
    Ok((StatusCode::CREATED, Answer(Sent { id })))
}

async fn change(state: &AppState, number: &str, chat: &Chat, id: &str, change: Change) -> SentAnswer {
    let target = filled("id", id, MESSAGE_ID_CHARS_MAX)?;
    let id = state.sandbox.change(number, &chat.0, target, change).await?;
    Ok((StatusCode::CREATED, Answer(Sent { id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct React {
    chat: Chat,
    id: String,
    emoji: String,
}

async fn react(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<React>,
) -> SentAnswer {
    let reaction = Change::React(request.emoji);
    change(&state, &number, &request.chat, &request.id, reaction).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    chat: Chat,
    id: String,
    text: String,
    #[serde(default)]
    encrypted: bool,
}

async fn edit(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Edit>,
) -> SentAnswer {
    filled("text", request.text.trim(), TEXT_CHARS_MAX)?;
    let edit = match request.encrypted {
        true => Change::EncryptedEdit(request.text),
        false => Change::Edit(request.text),
    };
    change(&state, &number, &request.chat, &request.id, edit).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    chat: Chat,
    id: String,
}

async fn revoke(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Revoke>,
) -> SentAnswer {
    change(&state, &number, &request.chat, &request.id, Change::Revoke).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vote {
    chat: Chat,
    id: String,
    options: Vec<String>,
}

async fn vote(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Vote>,
) -> SentAnswer {
    let vote = Change::Vote(request.options);
    change(&state, &number, &request.chat, &request.id, vote).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    chat: Chat,
    id: String,
    pinned: bool,
    seconds: Option<u32>,
}

async fn pin(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Pin>,
) -> SentAnswer {
    let pin = match request.pinned {
        true => Change::Pin(request.seconds.unwrap_or(PIN_SECONDS)),
        false => Change::Unpin,
    };
    change(&state, &number, &request.chat, &request.id, pin).await
}

async fn list_messages(
    State(state): State<AppState>,
    Path((Number(number), chat)): Path<(Number, Chat)>,
) -> Result<Answer<Vec<MessageView>>, ApiError> {
    Ok(Answer(state.sandbox.messages(&number, &chat.0)?))
}

async fn get_message(
    State(state): State<AppState>,
    Path((Number(number), chat, id)): Path<(Number, Chat, String)>,
) -> Result<Answer<MessageView>, ApiError> {
    Ok(Answer(state.sandbox.message(&number, &chat.0, &id)?))
}

async fn get_media(
    State(state): State<AppState>,
    Path((Number(number), chat, id)): Path<(Number, Chat, String)>,
) -> Result<Response, ApiError> {
    let (media, bytes) = state.sandbox.file(&number, &chat.0, &id).await?;
    Ok(harmless(media.mimetype.as_deref(), bytes))
}

async fn get_thumbnail(
    State(state): State<AppState>,
    Path((Number(number), chat, id)): Path<(Number, Chat, String)>,
) -> Result<Response, ApiError> {
    let picture = state.sandbox.thumbnail(&number, &chat.0, &id)?;
    Ok(harmless(Some("image/jpeg"), picture))
}

/// A file of somebody else, so that a browser shows pictures, sounds and films and runs nothing.
fn harmless(mimetype: Option<&str>, bytes: Vec<u8>) -> Response {
    let shown = mimetype.filter(|mimetype| {
        let is_shown = ["image/", "audio/", "video/"]
            .iter()
            .any(|kind| mimetype.starts_with(kind));
        is_shown && !mimetype.starts_with("image/svg")
    });
    match shown.and_then(|mimetype| HeaderValue::from_str(mimetype).ok()) {
        Some(mimetype) => ([(CONTENT_TYPE, mimetype)], bytes).into_response(),
        None => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
                (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
            ];
            (headers, bytes).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_comes_in_at_the_same_time_and_no_more() {
        let room = SENDS_BYTES_MAX / PERMIT_BYTES;
        for largest in [None, Some(SEND_BYTES_MAX), Some(usize::MAX)] {
            assert_eq!(2 * permits(largest) as usize, room, "{largest:?}");
        }
        assert_eq!((permits(Some(0)), permits(Some(1025))), (1, 2));
    }
}
