//! Linking devices to simulated phones: by QR code, by link code, with the account's passkey; and unlinking them.
//!
//! Each route parses and forwards; what happens is the network's business.

use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json as Answer, Router};
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use super::extract::{Json, Number, Path};
use super::phones::filled;
use super::routes::AppState;
use super::sessions;
use crate::views::{LinkView, PhoneView};

/// Characters of a QR's text; real ones have about 240.
const QR_CHARS_MAX: usize = 1024;
/// Characters of a link code as it is typed; they have eight, and perhaps a dash.
const CODE_CHARS_MAX: usize = 32;

pub(crate) fn router() -> Router<AppState> {
    Router::new()
        .route("/admin/phones/{number}/scan", post(scan))
        .route("/admin/phones/{number}/enter-code", post(enter_code))
        .route("/admin/phones/{number}/passkey", post(set_passkey))
        .route("/admin/phones/{number}/passkey/sign", post(sign_with_passkey))
        .route("/admin/phones/{number}/unlink", post(unlink))
        .route("/admin/mock-phone/scan-qr", post(scan_with_any_phone))
        .route("/admin/qr-codes", post(set_qr_codes))
}

/// Either the QR itself or the name of a waiting session of the embedding server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    qr: Option<String>,
    session: Option<String>,
}

async fn scan(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Scan>,
) -> Result<Answer<LinkView>, ApiError> {
    // Asked first: a wrong number must not look like a wrong session.
    state.sandbox.phone(&number)?;
    let qr = match (request.qr, request.session) {
        (Some(qr), None) => qr,
        (None, Some(session)) => sessions::qr_of(&state, &session).await?,
        _ => return Err(ApiError::unprocessable("scan needs either qr or session")),
    };
    let qr = filled("qr", qr.trim(), QR_CHARS_MAX)?;
    Ok(Answer(state.sandbox.scan(&number, qr).await?))
}

async fn scan_with_any_phone(
    State(state): State<AppState>,
    body: Result<String, StringRejection>,
) -> Result<Answer<LinkView>, ApiError> {
    let body = body?;
    let qr = filled("qr", body.trim(), QR_CHARS_MAX)?;
    Ok(Answer(state.sandbox.scan_with_any_phone(qr).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlink {
    device: u16,
}

async fn unlink(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<Unlink>,
) -> Result<StatusCode, ApiError> {
    state.sandbox.unlink(&number, request.device).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnterCode {
    code: String,
}

async fn enter_code(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<EnterCode>,
) -> Result<Answer<LinkView>, ApiError> {
    let code = filled("code", request.code.trim(), CODE_CHARS_MAX)?;
    Ok(Answer(state.sandbox.enter_code(&number, code).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPasskey {
    required: bool,
}

async fn set_passkey(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(request): Json<SetPasskey>,
) -> Result<Answer<PhoneView>, ApiError> {
    Ok(Answer(state.sandbox.set_passkey(&number, request.required).await?))
}

/// Takes what `GET /api/{session}/auth/passkey/challenge` answers, answers what `POST /api/{session}/auth/passkey` takes.
async fn sign_with_passkey(
    State(state): State<AppState>,
    Path(Number(number)): Path<Number>,
    Json(challenge): Json<Value>,
) -> Result<Answer<Value>, ApiError> {
    Ok(Answer(state.sandbox.sign_with_passkey(&number, &challenge)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetQrCodes {
    count: usize,
}

async fn set_qr_codes(State(state): State<AppState>, Json(request): Json<SetQrCodes>) -> Result<StatusCode, ApiError> {
    state.sandbox.set_qr_codes(request.count)?;
    Ok(StatusCode::NO_CONTENT)
}
