//! `/admin/traffic`: many texts with one request.

use axum::extract::State;
use axum::routing::post;
use axum::{Json as Answer, Router};
use serde::Serialize;

use super::error::ApiError;
use super::extract::Json;
use super::routes::AppState;
use crate::views::Traffic;

pub(crate) fn router() -> Router<AppState> {
    Router::new().route("/admin/traffic", post(send))
}

#[derive(Serialize)]
struct Sent {
    sent: usize,
}

/// Answers when all were sent.
async fn send(State(state): State<AppState>, Json(traffic): Json<Traffic>) -> Result<Answer<Sent>, ApiError> {
    tokio::select! {
        sent = state.sandbox.traffic(&traffic) => Ok(Answer(Sent { sent: sent? })),
        () = state.stop.cancelled() => Err(ApiError::conflict("the sandbox stops")),
    }
}
