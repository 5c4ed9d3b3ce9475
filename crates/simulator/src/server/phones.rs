//! `/admin/phones`: what a person can do with a simulated phone, but for messages, which are in
//! [`super::messages`], and for linking devices, which is in [`super::linking`].
//!
//! Each route parses and forwards; what happens is the network's business.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use serde::Deserialize;

use super::error::ApiError;
use super::extract::{Chat, Json, Number, Path, Poll, Query};
use super::routes::AppState;
use crate::views::{InboxPage, PhoneView, ReceiptKind, TypingState};

/// Characters of a push name; WhatsApp's own limit.
const NAME_CHARS_MAX: usize = 25;
/// Characters of a message id; real ones have up to 32.
pub(super) const MESSAGE_ID_CHARS_MAX: usize = 128;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/phones", get(list_phones).post(create_phone))
        .route("/admin/phones/{number}", get(get_phone))
        .route("/admin/phones/{number}/receipt", post(send_receipt))
        .route("/admin/phones/{number}/typing", post(send_typing))
        .route("/admin/phones/{number}/inbox", get(read_inbox))
}

async fn list_phones(State(state): State<AppState>) -> Answer<Vec<PhoneView>> {
    Answer(state.sandbox.phones())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreatePhone {
    number: Option<Number>,
    name: Option<String>,
}

async fn create_phone(
    State(state): State<AppState>,
    Json(request): Json<CreatePhone>,
) -> Result<(StatusCode, Answer<PhoneView>), ApiError> {
    let name = request
        .name
        .map(|name| filled("name", name.trim(), NAME_CHARS_MAX).map(str::to_owned))
        .transpose()?;
    let phone = state
        .sandbox
        .create_phone(request.number.map(|number| number.0), name)
        .await?;
    Ok((StatusCode::CREATED, Answer(phone)))
}

async fn get_phone(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
) -> Result<Answer<PhoneView>, ApiError> {
    Ok(Answer(state.sandbox.phone(&number)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    chat: Chat,
    id: String,
    #[serde(rename = "type")]
    kind: ReceiptKind,
}

async fn send_receipt(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Receipt>,
) -> Result<StatusCode, ApiError> {
    let id = filled("id", &request.id, MESSAGE_ID_CHARS_MAX)?;
    state
        .sandbox
        .receipt(&number, &request.chat.0, id, request.kind)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Typing {
    chat: Chat,
    state: TypingState,
}

async fn send_typing(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Typing>,
) -> Result<StatusCode, ApiError> {
    state.sandbox.typing(&number, &request.chat.0, request.state).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn read_inbox(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Query(poll): Query<Poll>,
) -> Result<Answer<InboxPage>, ApiError> {
    tokio::select! {
        page = state.sandbox.inbox(&number, poll.after, poll.wait()) => Ok(Answer(page?)),
        // A server that stops answers what it has instead of keeping the caller waiting.
        () = state.stop.cancelled() => Ok(Answer(InboxPage { entries: Vec::new(), next: poll.after })),
    }
}

/// The value, if it is neither empty nor longer than `chars_max`.
pub(super) fn filled<'a>(field: &str, value: &'a str, chars_max: usize) -> Result<&'a str, ApiError> {
    if value.is_empty() {
        return Err(ApiError::unprocessable(format!("{field} must not be empty")));
    }
    if value.chars().count() > chars_max {
        return Err(ApiError::unprocessable(format!(
            "{field} is longer than {chars_max} characters"
        )));
    }
    Ok(value)
}
